/* SPDX-License-Identifier: MIT */
/*
 * Raw TSC -> CLOCK_MONOTONIC. Owns how pairs are taken and the line through two of them.
 *
 * The second pair is renewed before every drain, so that what is converted lies between the pairs or just before the
 * second: the kernel may steer its clock as it likes, recent times stay within the error of one pair.
 */
#include "trace/clock.h"

#include <time.h>

#define CLOCK_TRIES 8
#define CLOCK_APART_NS 1000000 /* pairs closer than this would make the slope worse than 100 ppm */

/* The pair whose reading of CLOCK_MONOTONIC stands between the two closest readings of the TSC. */
static void clock_pair(uint64_t *tsc, uint64_t *ns)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < CLOCK_TRIES; i++) {
		uint64_t before = trace_clock_now();
		uint64_t now = base_now_ns();
		uint64_t after = trace_clock_now();

		if (after - before >= best)
			continue;
		best = after - before;
		*tsc = before + best / 2;
		*ns = now;
	}
}

void trace_clock_init(struct trace_clock *clock)
{
	struct timespec pause = { .tv_nsec = CLOCK_APART_NS };

	clock_pair(&clock->tsc[0], &clock->ns[0]);
	clock->tsc[1] = clock->tsc[0];
	clock->ns[1] = clock->ns[0];
	while (clock->ns[1] - clock->ns[0] < CLOCK_APART_NS) {
		nanosleep(&pause, NULL);
		clock_pair(&clock->tsc[1], &clock->ns[1]);
	}
}

void trace_clock_update(struct trace_clock *clock)
{
	uint64_t tsc = 0;
	uint64_t ns = 0;

	clock_pair(&tsc, &ns);
	if (tsc <= clock->tsc[0] || ns < clock->ns[0] + CLOCK_APART_NS)
		return;
	clock->tsc[1] = tsc;
	clock->ns[1] = ns;
}

void trace_scale_init(struct trace_scale *scale, const struct trace_clock *clock)
{
	unsigned __int128 mult = 0;

	if (clock->tsc[1] > clock->tsc[0] && clock->ns[1] > clock->ns[0])
		mult = ((unsigned __int128)(clock->ns[1] - clock->ns[0]) << TRACE_SCALE_BITS) /
		       (clock->tsc[1] - clock->tsc[0]);
	scale->tsc = clock->tsc[0];
	scale->ns = clock->ns[0];
	scale->mult = mult > UINT64_MAX ? UINT64_MAX : (uint64_t)mult;
}

uint64_t trace_scale_ticks(const struct trace_scale *scale, uint64_t ns)
{
	unsigned __int128 ticks = (unsigned __int128)ns << TRACE_SCALE_BITS;

	if (scale->mult)
		ticks /= scale->mult;
	if (ticks > UINT64_MAX)
		return UINT64_MAX;
	return ticks ? (uint64_t)ticks : 1;
}

uint64_t trace_clock_ticks(const struct trace_clock *clock, uint64_t ns)
{
	struct trace_scale scale;

	trace_scale_init(&scale, clock);
	return trace_scale_ticks(&scale, ns);
}

uint64_t trace_clock_ns(const struct trace_clock *clock, uint64_t tsc)
{
	struct trace_scale scale;

	trace_scale_init(&scale, clock);
	return trace_scale_ns(&scale, tsc);
}
