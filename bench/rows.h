/* SPDX-License-Identifier: MIT */
/* The groups of rows. Each starts its own target programs and leaves nothing behind; what fails is a row that says so. */
#ifndef BENCH_ROWS_H
#define BENCH_ROWS_H

#include "report.h"

struct bench {
	char build[2048]; /* directory with utap and bench/ */
	struct report report;
	int effort;       /* rounds: 100 is the usual number, less is quicker and noisier */
};

int bench_rounds(const struct bench *bench, int usual); /* never below 7 */
void bench_path(const struct bench *bench, const char *name, char path[4096]);

void rows_hit(struct bench *bench);     /* hot.c's functions: utap, floor, kernel, threads */
void rows_filter(struct bench *bench);  /* hits that conditions and limits leave out */
void rows_cold(struct bench *bench);    /* ten thousand functions in turn */
void rows_change(struct bench *bench);  /* inserting, removing */
void rows_memory(struct bench *bench);  /* what it takes in the target */
void rows_stacks(struct bench *bench);  /* user stacks with each hit */
void rows_returns(struct bench *bench); /* entry and return of a call, returns alone */
void rows_idle(struct bench *bench);    /* probes that do not fire */
void rows_reading(struct bench *bench); /* records to disk */
void rows_programs(struct bench *bench); /* python3 and node, probed everywhere */

#endif
