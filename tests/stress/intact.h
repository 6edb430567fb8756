/* SPDX-License-Identifier: MIT */
/*
 * Is a process as it was? An eye of the tests' own: it shares no code with what is tested. A state is taken before and
 * compared after: mappings (of files exactly, with permissions and split as they were), every byte of executable
 * mappings against their files, open descriptors, locked memory; nothing named /memfd:utap, no tracer.
 */
#ifndef STRESS_INTACT_H
#define STRESS_INTACT_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

struct intact {
	char *maps;  /* lines "start-end perms offset dev path"; heap's end and stacks' start are left out */
	char *files; /* those of files only */
	long fds;
	long locked_kib;
	long size_kib; /* VmSize */
	long resident_kib;
};

enum intact_how {
	INTACT_ALL,   /* all mappings and descriptors are as before */
	INTACT_FILES, /* only mappings of files: the program itself maps and unmaps memory meanwhile */
};

/** intact_take() - the state now; false when the process is gone. Release it with intact_free(). */
bool intact_take(pid_t pid, struct intact *ret);
void intact_free(struct intact *state);

/** intact_text() - bytes of executable mappings that differ from their files (0: equal), -1 when it cannot be read;
 * explained on @why */
long intact_text(pid_t pid, FILE *why);

/** intact_check() - is @pid as @before says? What is not is written to @why, a line each. */
bool intact_check(pid_t pid, const struct intact *before, enum intact_how how, FILE *why);

/** intact_save(), intact_load() - to and from a file */
bool intact_save(const struct intact *state, const char *path);
bool intact_load(const char *path, struct intact *ret);

/** intact_is_alive() - it exists and is no zombie */
bool intact_is_alive(pid_t pid);

#endif
