/* SPDX-License-Identifier: MIT */
/*
 * From what a person wrote to symbols. Three attempts, cheapest first: the name as it is in the file (hashed), a glob
 * over those names, demangled names. A later one runs only if the earlier ones found nothing, or if the pattern has to
 * be a demangled name.
 */
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "object/internal.h"

struct search {
	struct object *object;
	const struct object_pattern *pattern;
	bool functions_only;
	const struct object_symbol *symbols;
	size_t count;
};

/* FNV-1a */
static uint32_t name_hash(const char *name)
{
	uint32_t hash = 2166136261U;

	for (; *name; name++)
		hash = (hash ^ (uint8_t)*name) * 16777619U;
	return hash;
}

/* Sorted by hash: names chosen to collide cost a longer scan, never a quadratic build. */
static int index_build(struct object *object)
{
	size_t count = object->symbol_count;
	struct object_sort_item *items = malloc((count + 1) * sizeof(*items));

	if (!items)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		items[i] =
		    (struct object_sort_item) { .key = name_hash(object->symbols[i].name), .index = (uint32_t)i };
	if (object_sort(items, count)) {
		free(items);
		return -ENOMEM;
	}
	object->by_name = items;
	return 0;
}

static size_t index_first(const struct object *object, uint64_t hash)
{
	size_t low = 0;
	size_t high = object->symbol_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (object->by_name[middle].key < hash)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct found {
	const struct object_symbol **symbols;
	size_t count, cap;
};

/* Symbols come in order, so those of one vaddr come together; the first is the preferred one. */
static int found_add(struct found *found, const struct object_symbol *symbol)
{
	if (found->count && found->symbols[found->count - 1]->vaddr == symbol->vaddr)
		return 0;
	if (base_grow(&found->symbols, &found->cap, found->count + 1, sizeof(*found->symbols)))
		return -ENOMEM;
	found->symbols[found->count++] = symbol;
	return 0;
}

static int find_exact(const struct search *search, struct found *found)
{
	const struct object *object = search->object;
	uint32_t hash = name_hash(search->pattern->text);

	for (size_t at = index_first(object, hash); at < search->count && object->by_name[at].key == hash; at++) {
		const struct object_symbol *symbol = &search->symbols[object->by_name[at].index];

		if ((search->functions_only && !symbol->function) || strcmp(symbol->name, search->pattern->text) != 0)
			continue;
		int r = found_add(found, symbol);

		if (r)
			return r;
	}
	return 0;
}

static bool match_names(const struct search *search, uint8_t *matches)
{
	bool any = false;

	for (size_t i = 0; i < search->count; i++) {
		if ((search->functions_only && !search->symbols[i].function) ||
		    fnmatch(search->pattern->text, search->symbols[i].name, 0) != 0)
			continue;
		matches[i] = OBJECT_MATCH_GLOB;
		any = true;
	}
	return any;
}

static int match_demangled(const struct search *search, uint8_t *matches, enum object_match *best)
{
	for (size_t i = 0; i < search->count; i++) {
		if (search->functions_only && !search->symbols[i].function)
			continue;
		int match = object_pattern_match(search->pattern, search->symbols[i].name);

		if (match < 0)
			return match;
		if (match > matches[i])
			matches[i] = (uint8_t)match;
		if (matches[i] > *best)
			*best = matches[i];
	}
	return 0;
}

static int find_matching(const struct search *search, struct found *found)
{
	_cleanup_free_ uint8_t *matches = calloc(search->count + 1, 1);
	enum object_match best = OBJECT_MATCH_GLOB;

	if (!matches)
		return -ENOMEM;
	bool any = search->pattern->glob && match_names(search, matches);
	int r = !any || search->pattern->scoped ? match_demangled(search, matches, &best) : 0;

	for (size_t i = 0; !r && i < search->count; i++)
		if (matches[i] == best)
			r = found_add(found, &search->symbols[i]);
	return r;
}

static long find(const struct search *search, const struct object_symbol ***ret)
{
	struct found found = { 0 };
	int r = search->object->by_name ? 0 : index_build(search->object);

	if (!r)
		r = find_exact(search, &found);
	if (!r && !found.count)
		r = find_matching(search, &found);
	/* Nothing found is an array too: the caller frees it in any case. */
	if (!r && !found.symbols)
		r = base_grow(&found.symbols, &found.cap, 1, sizeof(*found.symbols));
	if (r) {
		free(found.symbols);
		return r;
	}
	*ret = found.symbols;
	return (long)found.count;
}

long object_find(struct object *object, const char *pattern, bool functions_only, const struct object_symbol ***ret,
		 struct utap_error *err)
{
	struct object_pattern taken_apart;
	struct search search = { .object = object, .pattern = &taken_apart, .functions_only = functions_only };
	int r = object_symbols(object, &search.symbols, &search.count, err);

	if (r)
		return r;
	if (object_pattern_init(pattern, &taken_apart))
		return object_no_memory(object, err);
	long found = find(&search, ret);

	object_pattern_free(&taken_apart);
	return found == -ENOMEM ? object_no_memory(object, err) : found;
}
