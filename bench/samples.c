/* SPDX-License-Identifier: MIT */
#include "samples.h"

#include <stdlib.h>
#include <string.h>

void samples_add(struct samples *samples, double value)
{
	if (samples->count < SAMPLES)
		samples->value[samples->count++] = value;
}

static int compare(const void *a, const void *b)
{
	const double *x = a;
	const double *y = b;

	return *x < *y ? -1 : *x > *y;
}

double samples_median(const struct samples *samples)
{
	struct samples sorted = *samples;
	size_t middle = sorted.count / 2;

	if (!sorted.count)
		return 0;
	qsort(sorted.value, sorted.count, sizeof(double), compare);
	return sorted.count % 2 ? sorted.value[middle] : (sorted.value[middle - 1] + sorted.value[middle]) / 2;
}
