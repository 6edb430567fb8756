/* SPDX-License-Identifier: MIT */
/*
 * Which units can hold a name, found without reading entries: the name is looked for in the sections of strings, and then the offsets where it is in
 * the bytes of .debug_info and .debug_str_offsets. That goes at the speed of memory. A unit is marked when in doubt, never left out.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "object/dwarf_inside.h"

#define HASH_BITS 16
#define OFFSETS_MAX (1UL << 20)

/* A set of 32-bit numbers that is quick to say no. */
struct offsets {
	uint32_t *list; /* sorted once it is complete */
	size_t count, cap;
	uint64_t bits[(1UL << HASH_BITS) / 64];
};

static unsigned hash(uint32_t value)
{
	return (value * 2654435761U) >> (32 - HASH_BITS);
}

static int compare(const void *left, const void *right)
{
	uint32_t a = *(const uint32_t *)left;
	uint32_t b = *(const uint32_t *)right;

	return (a > b) - (a < b);
}

static int offsets_add(struct offsets *set, uint32_t value)
{
	if (set->count == OFFSETS_MAX || base_grow(&set->list, &set->cap, set->count + 1, sizeof(*set->list)))
		return -ENOMEM;
	set->list[set->count++] = value;
	set->bits[hash(value) / 64] |= 1ULL << (hash(value) % 64);
	return 0;
}

static inline bool offsets_have(const struct offsets *set, uint32_t value)
{
	unsigned h = hash(value);

	return (set->bits[h / 64] >> (h % 64) & 1) &&
	       bsearch(&value, set->list, set->count, sizeof(value), compare) != NULL;
}

/* ---- strings ---- */

/* Names end there, or go on with what a template or a generic function was made for. */
static bool ends_name(const uint8_t *at, const uint8_t *end, bool has_arguments)
{
	return at == end || *at == '\0' || (*at == '<' && !has_arguments);
}

/* Linkers let a string be the end of another, so every occurrence can be meant. */
static int occurrences(const struct dwarf_section *section, const char *name, struct offsets *set)
{
	const uint8_t *at = section->bytes;
	const uint8_t *end = at + section->size;
	size_t length = strlen(name);
	bool has_arguments = strchr(name, '<') != NULL;

	while (at && at < end && (at = memmem(at, (size_t)(end - at), name, length)) != NULL) {
		if (ends_name(at + length, end, has_arguments) && offsets_add(set, (uint32_t)(at - section->bytes)))
			return -ENOMEM;
		at++;
	}
	return 0;
}

/* ---- units ---- */

static void mark_at(const struct dwarf_file *file, unsigned holder, uint64_t offset, bool *marks)
{
	const uint8_t *info = file->sections[holder].bytes;
	size_t low = 0;
	size_t high = file->unit_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct dwarf_unit *unit = file->units[middle];
		bool other = unit->info.bytes != info;

		if (other ? holder == DWARF_INFO : offset < unit->offset)
			high = middle;
		else if (other || offset >= unit->end)
			low = middle + 1;
		else {
			marks[middle] = true;
			return;
		}
	}
}

/* Four bytes anywhere that are such an offset. */
static void scan_values(const struct dwarf_file *file, unsigned holder, const struct offsets *set, bool *marks)
{
	const struct dwarf_section *info = &file->sections[holder];
	uint32_t value;

	if (!set->count || info->size < sizeof(value))
		return;
	if (set->count == 1) {
		const uint8_t *end = info->bytes + info->size;

		for (const uint8_t *at = info->bytes; (at = memmem(at, (size_t)(end - at), set->list, 4)) != NULL; at++)
			mark_at(file, holder, (uint64_t)(at - info->bytes), marks);
		return;
	}
	for (size_t at = 0; at <= info->size - sizeof(value); at++) {
		memcpy(&value, info->bytes + at, sizeof(value));
		if (offsets_have(set, value))
			mark_at(file, holder, at, marks);
	}
}

/* The name itself among the attributes (DW_FORM_string). */
static void scan_text(const struct dwarf_file *file, unsigned holder, const char *name, bool *marks)
{
	const struct dwarf_section *info = &file->sections[holder];
	const uint8_t *at = info->bytes;
	const uint8_t *end = at + info->size;
	size_t length = strlen(name);
	bool has_arguments = strchr(name, '<') != NULL;

	while (at && at < end && (at = memmem(at, (size_t)(end - at), name, length)) != NULL) {
		if (ends_name(at + length, end, has_arguments))
			mark_at(file, holder, (uint64_t)(at - info->bytes), marks);
		at++;
	}
}

/* Units that name strings by an index have a table of offsets. */
static void scan_indexes(const struct dwarf_file *file, const struct offsets *set, bool *marks)
{
	if (!file->sections[DWARF_STR_OFFSETS].size)
		return;
	for (size_t i = 0; i < file->unit_count; i++) {
		struct dwarf_unit *unit = file->units[i];
		const struct dwarf_section *table = &unit->part[DWARF_STR_OFFSETS];

		if (!dwarf_unit_root(unit) || marks[i] || unit->str_offsets_base > table->size)
			continue;
		struct object_cursor cursor = object_cursor_init(table->bytes, table->size, 0);

		/* Its length lies before it, if it has a header (DWARF 5). */
		if (unit->version >= 5 && unit->offset_size == 4 && unit->str_offsets_base >= 8) {
			object_cursor_skip(&cursor, unit->str_offsets_base - 8);
			uint64_t length = object_cursor_u32(&cursor);

			if (object_cursor_has(&cursor, length))
				cursor.end = cursor.at + length;
			cursor.failed = false;
			object_cursor_skip(&cursor, 4);
		} else {
			object_cursor_skip(&cursor, unit->str_offsets_base);
		}
		while (!marks[i] && !cursor.failed) {
			uint64_t value = object_cursor_number(&cursor, unit->offset_size);

			marks[i] = !cursor.failed && offsets_have(set, (uint32_t)value);
		}
	}
}

const char *dwarf_name_last(const char *name)
{
	const char *last = name;
	unsigned nested = 0;

	for (const char *at = name; *at; at++) {
		nested += *at == '<';
		nested -= *at == '>' && nested;
		if (at[0] == ':' && at[1] == ':' && !nested && at[2])
			last = at + 2;
	}
	return last;
}

int dwarf_filter_name(const struct dwarf_file *file, const char *name, bool *marks)
{
	static const unsigned holders[] = { DWARF_INFO, DWARF_TYPES };
	const char *last = dwarf_name_last(name);
	_cleanup_free_ struct offsets *set = calloc(1, sizeof(*set));

	if (!set)
		return -ENOMEM;
	int r = occurrences(&file->sections[DWARF_STR], last, set);

	if (!r && file->alternate)
		r = occurrences(&file->alternate->sections[DWARF_STR], last, set);
	if (r) {
		free(set->list);
		memset(marks, 1, file->unit_count * sizeof(*marks)); /* a name that is everywhere */
		return r;
	}
	if (set->count)
		qsort(set->list, set->count, sizeof(*set->list), compare);
	for (size_t i = 0; i < 2; i++) {
		scan_values(file, holders[i], set, marks);
		scan_text(file, holders[i], last, marks);
	}
	scan_indexes(file, set, marks);
	free(set->list);
	return 0;
}

int dwarf_filter_offsets(const struct dwarf_file *file, const uint32_t *offsets, size_t count, bool *marks)
{
	_cleanup_free_ struct offsets *set = calloc(1, sizeof(*set));
	int r = set ? 0 : -ENOMEM;

	for (size_t i = 0; i < count && !r; i++)
		r = offsets_add(set, offsets[i]);
	if (!r && count) {
		qsort(set->list, set->count, sizeof(*set->list), compare);
		scan_values(file, DWARF_INFO, set, marks);
	}
	if (set)
		free(set->list);
	return r;
}
