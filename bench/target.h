/* SPDX-License-Identifier: MIT */
/* What a target program consists of: sets of functions. target.c calls them as it is told. */
#ifndef BENCH_TARGET_H
#define BENCH_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Any value of b is fine for the hot functions; the generated ones read b[0] to b[7]. */
typedef long target_fn(long a, const long *b);

struct target_set {
	const char *name;
	target_fn *const *functions;
	size_t count;
	bool has_floor;
	uint8_t *const *returns; /* of its functions, their only `ret`; NULL: not known */
};

extern const struct target_set target_sets[];
extern const size_t target_nsets;

#endif
