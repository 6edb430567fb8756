/* SPDX-License-Identifier: MIT */
/* A session on one target program, through the same library calls that the command line uses. */
#ifndef BENCH_PROBING_H
#define BENCH_PROBING_H

#include "remote.h"
#include "session/session.h"

struct probing {
	struct session *session; /* NULL: not attached */
	long places;
	size_t refused;
	char why[160]; /* the first refusal */
	struct session_target target;  /* when attached */
	struct session_report report;  /* when detached */
};

/**
 * probing_begin() - attach @count probes (the text of utap -e, FILE is put in front of the symbol) to @remote
 * @args: " a=%di b=%si" or ""
 * @ring: bytes a CPU, 0: what utap takes by itself
 *
 * On failure remote->error has the sentence and nothing is attached.
 */
void probing_begin(struct probing *probing, struct remote *remote, enum probe_action action,
		   const char *const *symbols, size_t count, const char *args, uint64_t ring);
/** probing_begin_options() - likewise, with all that a session can be asked for */
void probing_begin_options(struct probing *probing, struct remote *remote, const struct session_options *options,
			   const char *const *symbols, size_t count, const char *args);
/** probing_begin_pairs() - likewise, to record each call at its entry and at its return */
void probing_begin_pairs(struct probing *probing, struct remote *remote, const char *const *symbols, size_t count,
			 const char *args);
/** probing_drain() - empty the rings; records read */
uint64_t probing_drain(struct probing *probing, struct remote *remote);
/** probing_hits() - over all probes, lost ones in *@lost (may be NULL) */
uint64_t probing_hits(const struct probing *probing, uint64_t *lost);
/** probing_end() - detach and forget; the report stays */
void probing_end(struct probing *probing, struct remote *remote);

#endif
