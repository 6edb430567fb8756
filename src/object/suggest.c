/* SPDX-License-Identifier: MIT */
/*
 * "Did you mean": function names a typing error away, then names that contain what was written. A name with :: is
 * compared with demangled names.
 */
#include <stdlib.h>
#include <string.h>

#include "object/internal.h"

#define LENGTH_MAX 127 /* of names that are compared */

struct suggestion {
	char *owned; /* text, when it was demangled; else NULL */
	const char *text;
	size_t score; /* smaller is closer */
};

struct ranking {
	struct suggestion *best; /* sorted, room for max */
	size_t count, max;
};

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Insertions, deletions, replacements and swaps of neighbours (optimal string alignment); both at most LENGTH_MAX long.
 */
static size_t distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
	size_t rows[3][LENGTH_MAX + 1];

	for (size_t j = 0; j <= b_length; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= a_length; i++) {
		size_t *row = rows[i % 3];
		const size_t *last = rows[(i + 2) % 3];
		const size_t *before = rows[(i + 1) % 3];

		row[0] = i;
		for (size_t j = 1; j <= b_length; j++) {
			row[j] = smaller(smaller(last[j], row[j - 1]) + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = smaller(row[j], before[j - 2] + 1);
		}
	}
	return rows[a_length % 3][b_length];
}

/* SIZE_MAX: not alike. */
static size_t score(const char *name, size_t length, const char *known)
{
	size_t limit = 1 + length / 4;
	size_t known_length = strnlen(known, LENGTH_MAX + 1);

	if (known_length > LENGTH_MAX)
		return SIZE_MAX;
	size_t difference = known_length > length ? known_length - length : length - known_length;
	size_t edits = difference <= limit ? distance(name, length, known, known_length) : SIZE_MAX;

	if (edits <= limit && edits < length)
		return edits;
	if (length >= 3 && strncmp(known, name, length) == 0)
		return limit + difference;
	return length >= 4 && strstr(known, name) ? limit + LENGTH_MAX + difference : SIZE_MAX;
}

/* Takes over what @it owns. */
static void ranking_add(struct ranking *ranking, struct suggestion it)
{
	size_t at = ranking->count;

	while (at && ranking->best[at - 1].score > it.score)
		at--;
	bool known = false;

	for (size_t i = 0; i < ranking->count; i++)
		known |= strcmp(ranking->best[i].text, it.text) == 0;
	if (known || at == ranking->max) {
		free(it.owned);
		return;
	}
	if (ranking->count == ranking->max)
		free(ranking->best[--ranking->count].owned);
	memmove(&ranking->best[at + 1], &ranking->best[at], (ranking->count - at) * sizeof(it));
	ranking->best[at] = it;
	ranking->count++;
}

static void consider(struct ranking *ranking, const char *name, size_t length, bool scoped, const char *known)
{
	struct suggestion it = { .text = known };

	if (scoped && object_demangle_as(known, OBJECT_DEMANGLE_BARE, &it.owned) == 0)
		it.text = it.owned;
	it.score = score(name, length, it.text);
	if (it.score == SIZE_MAX)
		free(it.owned);
	else
		ranking_add(ranking, it);
}

size_t object_suggest(struct object *object, const char *name, const char **ret, size_t max)
{
	const struct object_symbol *symbols;
	size_t length = strlen(name);
	bool scoped = strstr(name, "::");
	size_t count;
	_cleanup_free_ struct suggestion *best = calloc(max + 1, sizeof(*best));
	struct ranking ranking = { .best = best, .max = max };
	size_t given = 0;

	if (!best || length == 0 || length > LENGTH_MAX || object_symbols(object, &symbols, &count, NULL))
		return 0;
	for (size_t i = 0; i < count; i++)
		if (symbols[i].function)
			consider(&ranking, name, length, scoped, symbols[i].name);
	for (size_t i = 0; i < ranking.count; i++)
		if (!best[i].owned || object_name_keep(object, best[i].owned) == 0)
			ret[given++] = best[i].text;
	return given;
}
