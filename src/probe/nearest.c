/* SPDX-License-Identifier: MIT */
/* Edit distance over words of at most NEAREST_MAX letters; longer ones have no neighbours. No allocation. */
#include "probe/nearest.h"

#include <stdbool.h>
#include <string.h>

#define NEAREST_MAX 32

static unsigned smaller(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Optimal string alignment: three rows are enough, because a swap looks two rows back. */
static unsigned edits(const char *a, size_t a_length, const char *b, size_t b_length)
{
	unsigned rows[3][NEAREST_MAX + 1];

	for (size_t j = 0; j <= b_length; j++)
		rows[0][j] = (unsigned)j;
	for (size_t i = 1; i <= a_length; i++) {
		unsigned *row = rows[i % 3];
		const unsigned *above = rows[(i + 2) % 3];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= b_length; j++) {
			unsigned best = above[j - 1] + (a[i - 1] != b[j - 1]);

			best = smaller(best, smaller(above[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				best = smaller(best, rows[(i + 1) % 3][j - 2] + 1);
			row[j] = best;
		}
	}
	return rows[a_length % 3][b_length];
}

const char *probe_nearest(const char *word, size_t length, const char *const *words, size_t count)
{
	const char *best = NULL;
	unsigned least = 3;

	if (length == 0 || length > NEAREST_MAX)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		size_t other = strlen(words[i]);
		unsigned distance;

		if (other > NEAREST_MAX)
			continue;
		distance = edits(word, length, words[i], other);
		if (distance < least && distance * 2 <= length) {
			least = distance;
			best = words[i];
		}
	}
	return best;
}
