/* SPDX-License-Identifier: MIT */
/*
 * The sentence behind a failure.
 *
 * Functions return 0 or a negative errno. Where a person will ask "which pid, which address?" they also take a
 * caller-owned struct utap_error and fill it. It holds no pointers: nothing is to be freed, and it may be copied.
 */
#ifndef UTAP_ERROR_H
#define UTAP_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

/** What kind of failure it was; the command line turns it into its exit code. */
enum utap_error_kind {
	UTAP_ERROR_NONE = 0,
	UTAP_ERROR_USAGE = 2,      /* the arguments or the probe text are wrong */
	UTAP_ERROR_NOT_FOUND = 3,  /* no such process, file or symbol */
	UTAP_ERROR_PERMISSION = 4, /* the kernel or another tracer does not let us */
	UTAP_ERROR_REFUSED = 5,    /* it could be done, but not safely */
	UTAP_ERROR_GONE = 6,       /* the target exited or executed another program */
	UTAP_ERROR_SYSTEM = 7      /* memory, disk, descriptors, damaged input files */
};

struct utap_error {
	int code;                  /* negative errno, 0 when unset */
	enum utap_error_kind kind; /* see above */
	char text[500];            /* one sentence, always terminated, no newline */
};

#ifdef __cplusplus
}
#endif
#endif
