/* SPDX-License-Identifier: MIT */
/*
 * A radix sort: the tables of a large executable have 100,000s of entries, and no arrangement of a damaged file may
 * make sorting slow. Bytes that are equal in all keys (the upper ones of addresses) cost nothing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "object/internal.h"

#define KEY_BYTES 8

static void histograms_fill(const struct object_sort_item *items, size_t count, size_t histograms[KEY_BYTES][256])
{
	for (size_t i = 0; i < count; i++)
		for (unsigned byte = 0; byte < KEY_BYTES; byte++)
			histograms[byte][(items[i].key >> (8 * byte)) & 0xff]++;
}

static void scatter(const struct object_sort_item *from, size_t count, struct object_sort_item *to, unsigned byte,
		    size_t histogram[256])
{
	size_t start = 0;

	for (unsigned digit = 0; digit < 256; digit++) {
		size_t here = histogram[digit];

		histogram[digit] = start;
		start += here;
	}
	for (size_t i = 0; i < count; i++)
		to[histogram[(from[i].key >> (8 * byte)) & 0xff]++] = from[i];
}

int object_sort(struct object_sort_item *items, size_t count)
{
	size_t histograms[KEY_BYTES][256] = { 0 };
	_cleanup_free_ struct object_sort_item *other = malloc((count ? count : 1) * sizeof(*other));
	struct object_sort_item *from = items;
	struct object_sort_item *to = other;

	if (!other)
		return -ENOMEM;
	histograms_fill(items, count, histograms);
	for (unsigned byte = 0; byte < KEY_BYTES && count; byte++) {
		if (histograms[byte][(items[0].key >> (8 * byte)) & 0xff] == count)
			continue;
		scatter(from, count, to, byte, histograms[byte]);
		struct object_sort_item *swap = from;

		from = to;
		to = swap;
	}
	if (from != items)
		memcpy(items, from, count * sizeof(*items));
	return 0;
}
