/* SPDX-License-Identifier: MIT */
/*
 * A target program driven over pipes (its commands: target.c). The first thing that goes wrong is kept as a sentence; from
 * then on every question answers 0 at once, so a caller looks at .error when it is done.
 */
#ifndef BENCH_REMOTE_H
#define BENCH_REMOTE_H

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

struct remote {
	pid_t pid;
	FILE *to, *from;
	char path[4096];
	char error[400]; /* "" while all is well */
};

void remote_start(struct remote *remote, const char *path);
void remote_end(struct remote *remote);

/** remote_fail() - keep a sentence, unless there is one already */
void remote_fail(struct remote *remote, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** remote_measure() - CPU time of a call in ns; *made (may be NULL) grows by the calls made */
double remote_measure(struct remote *remote, const char *set, size_t calls, int threads, uint64_t *made);
void remote_spin(struct remote *remote, const char *set, int threads, double rate);
uint64_t remote_stop(struct remote *remote); /* calls made */
uint64_t remote_floor(struct remote *remote, const char *mode); /* hits of the floor so far */
/** remote_where() - address of a set's first function; its file offset in *@offset (may be NULL) */
uint64_t remote_where(struct remote *remote, const char *set, uint64_t *offset);

#endif
