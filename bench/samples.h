/* SPDX-License-Identifier: MIT */
/* Measurements of one thing, and their median. */
#ifndef BENCH_SAMPLES_H
#define BENCH_SAMPLES_H

#include <stddef.h>

#define SAMPLES 128

struct samples {
	size_t count;
	double value[SAMPLES];
};

/** samples_add() - one more; what is too much is dropped */
void samples_add(struct samples *samples, double value);

/** samples_median() - 0 when there are none */
double samples_median(const struct samples *samples);

#endif
