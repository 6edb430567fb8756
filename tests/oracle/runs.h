/* SPDX-License-Identifier: MIT */
/* The same program run untraced, under the kernel's uprobes and under utap: same arguments, environment and descriptors. */
#ifndef ORACLE_RUNS_H
#define ORACLE_RUNS_H

#include "places.h"

#define RUNS_WHYS 16

struct run {
	char *const *argv;
	const char *companion; /* a shell command to run beside it (a client), or NULL */
	const char *output;    /* file for what it prints */
	bool returns;          /* places are functions, whose returns are counted */
	unsigned timeout_s;
};

/** What utap said of its run. */
struct run_report {
	uint64_t hits;     /* of this process */
	uint64_t children; /* hits of children it forked */
	uint64_t lost;
	uint64_t damaged;  /* bytes or cells of the rings that made no sense */
	uint64_t counted;  /* what session_count() says of all probes */
	size_t probed, refused;
	struct {
		char text[120];
		size_t count;
	} whys[RUNS_WHYS]; /* reasons of refusals; the last one is for all others */
};

/*
 * run_utap() comes first: it finds out where probes and utap's memory can be. Both traced runs start counting at the same
 * instruction and, with address randomization off, have the same layout.
 *
 * Each returns 0 and the wait status, or a negative errno with a sentence.
 */
int run_plain(const struct run *run, int *status, struct utap_error *err) BASE_MUST_CHECK;
int run_utap(const struct run *run, struct places *places, int *status, struct run_report *report,
	     struct utap_error *err) BASE_MUST_CHECK;

/** run_kernel() - count at the places that utap probed and that are not hot, into kernel[@number] of each */
int run_kernel(const struct run *run, struct places *places, unsigned number, int *status,
	       struct utap_error *err) BASE_MUST_CHECK;

#endif
