/* SPDX-License-Identifier: MIT */
/* Buckets: below 16 one a nanosecond, then sixteen to each power of two. */
#include "trace/histogram.h"

#define EXACT_POWER 4 /* 16 is 2^4 */

static unsigned power_of(uint64_t ns) { return 63 - (unsigned)__builtin_clzll(ns | 1); }

static size_t bucket_of(uint64_t ns)
{
	unsigned power;

	if (ns >> TRACE_HISTOGRAM_POWERS)
		return TRACE_HISTOGRAM_BUCKETS - 1;
	if (ns < TRACE_HISTOGRAM_STEPS)
		return ns;
	power = power_of(ns);
	return (power - EXACT_POWER + 1) * TRACE_HISTOGRAM_STEPS + (ns >> (power - EXACT_POWER)) - TRACE_HISTOGRAM_STEPS;
}

/* The longest duration of a bucket. */
static uint64_t bucket_end(size_t bucket)
{
	unsigned shift = bucket < TRACE_HISTOGRAM_STEPS ? 0 : (unsigned)(bucket / TRACE_HISTOGRAM_STEPS) - 1;
	uint64_t first = bucket < TRACE_HISTOGRAM_STEPS ? bucket :
							  TRACE_HISTOGRAM_STEPS + bucket % TRACE_HISTOGRAM_STEPS;

	return ((first + 1) << shift) - 1;
}

void trace_histogram_add(struct trace_histogram *histogram, uint64_t ns)
{
	if (!histogram->count || ns < histogram->least)
		histogram->least = ns;
	if (ns > histogram->most)
		histogram->most = ns;
	histogram->count++;
	histogram->sum += ns;
	histogram->buckets[bucket_of(ns)]++;
}

uint64_t trace_histogram_quantile(const struct trace_histogram *histogram, double share)
{
	double wanted = share * (double)histogram->count;
	uint64_t seen = 0;

	for (size_t i = 0; i < TRACE_HISTOGRAM_BUCKETS && histogram->count; i++) {
		seen += histogram->buckets[i];
		if (!histogram->buckets[i] || (double)seen < wanted)
			continue;
		uint64_t end = bucket_end(i);

		end = end < histogram->least ? histogram->least : end;
		return end > histogram->most ? histogram->most : end;
	}
	return histogram->most;
}

uint64_t trace_histogram_power(const struct trace_histogram *histogram, unsigned power)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < TRACE_HISTOGRAM_BUCKETS; i++)
		if (histogram->buckets[i] && power_of(bucket_end(i)) == power)
			sum += histogram->buckets[i];
	return sum;
}
