/* SPDX-License-Identifier: MIT */
/*
 * How long calls take: counts by duration in fixed memory. Sixteen steps to each power of two, so a duration is known to a sixteenth;
 * count, sum, least and most are exact.
 */
#ifndef TRACE_HISTOGRAM_H
#define TRACE_HISTOGRAM_H

#include "base/base.h"

#define TRACE_HISTOGRAM_STEPS 16  /* to a power of two */
#define TRACE_HISTOGRAM_POWERS 44 /* up to 4.8 hours in ns; what is longer counts as that long */
#define TRACE_HISTOGRAM_BUCKETS ((TRACE_HISTOGRAM_POWERS - 3) * TRACE_HISTOGRAM_STEPS)

/** All zero is an empty one. */
struct trace_histogram {
	uint64_t count, sum, least, most;
	uint64_t buckets[TRACE_HISTOGRAM_BUCKETS];
};

void trace_histogram_add(struct trace_histogram *histogram, uint64_t ns);
/** trace_histogram_quantile() - the duration that @share (0 to 1) of all do not exceed, to a sixteenth; 0 when it is empty */
uint64_t trace_histogram_quantile(const struct trace_histogram *histogram, double share);
/** trace_histogram_power() - how many lie in [2^power, 2^(power + 1)), of power 0 also those of 0 */
uint64_t trace_histogram_power(const struct trace_histogram *histogram, unsigned power);

#endif
