/* SPDX-License-Identifier: MIT */
/*
 * A clock made ready for millions of conversions: one multiplication each. Inside the room only.
 */
#ifndef TRACE_CLOCK_H
#define TRACE_CLOCK_H

#include "trace/trace.h"

#define TRACE_SCALE_BITS 56 /* a clock may tick as slowly as 1 / 256 ns; over a month the rounding stays under 1 ns */

/** ns + (t - tsc) * mult / 2^TRACE_SCALE_BITS: a line that never falls */
struct trace_scale {
	uint64_t tsc;
	uint64_t ns;
	uint64_t mult;
};

void trace_scale_init(struct trace_scale *scale, const struct trace_clock *clock);

/** trace_scale_ticks() - how many TSC ticks @ns are, at least 1 */
uint64_t trace_scale_ticks(const struct trace_scale *scale, uint64_t ns);

static inline uint64_t trace_clock_now(void)
{
	return __builtin_ia32_rdtsc();
}

static inline uint64_t trace_scale_ns(const struct trace_scale *scale, uint64_t tsc)
{
	bool before = tsc < scale->tsc;
	uint64_t ticks = before ? scale->tsc - tsc : tsc - scale->tsc;
	unsigned __int128 distance = ((unsigned __int128)ticks * scale->mult) >> TRACE_SCALE_BITS;

	if (before)
		return distance > scale->ns ? 0 : scale->ns - (uint64_t)distance;
	return distance > UINT64_MAX - scale->ns ? UINT64_MAX : scale->ns + (uint64_t)distance;
}

#endif
