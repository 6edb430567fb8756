/* SPDX-License-Identifier: MIT */
/*
 * Split DWARF: the unit that a skeleton stands for, in a package beside the object (FILE.dwp) or in the .dwo file that it names. In a package each
 * unit has a part of each section, which the package's index tells by the unit's signature.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "object/dwarf_inside.h"

#define COLUMNS_MAX 16

/* Which of our sections a column of the index means: by version, DWARF 5 7.3.5.3 and GNU's version 2. */
static unsigned column_section(uint32_t version, uint32_t id)
{
	static const unsigned new_ids[9] = { DWARF_SECTIONS, DWARF_INFO,	DWARF_SECTIONS, DWARF_ABBREV, DWARF_LINE,
					     DWARF_LOCLISTS, DWARF_STR_OFFSETS, DWARF_SECTIONS, DWARF_RNGLISTS };
	static const unsigned old_ids[9] = { DWARF_SECTIONS, DWARF_INFO,	DWARF_TYPES,	DWARF_ABBREV,  DWARF_LINE,
					     DWARF_LOC,	     DWARF_STR_OFFSETS, DWARF_SECTIONS, DWARF_SECTIONS };

	return id > 8 ? DWARF_SECTIONS : version == 5 ? new_ids[id] : old_ids[id];
}

struct index_table {
	struct object_cursor all;
	uint32_t version, columns, units, slots;
	uint64_t rows_at; /* the ids of columns, then offsets, then sizes */
};

static bool index_read(const struct dwarf_section *section, struct index_table *ret)
{
	struct object_cursor c = object_cursor_init(section->bytes, section->size, 0);

	ret->all = c;
	ret->version = object_cursor_u32(&c) & 0xffff;
	ret->columns = object_cursor_u32(&c);
	ret->units = object_cursor_u32(&c);
	ret->slots = object_cursor_u32(&c);
	ret->rows_at = 16 + (uint64_t)ret->slots * 12;
	object_cursor_skip(&c, (uint64_t)ret->slots * 12);
	return !c.failed && (ret->version == 2 || ret->version == 5) && ret->columns && ret->columns <= COLUMNS_MAX &&
	       object_cursor_has(&c, 4ULL * ret->columns * (1 + 2ULL * ret->units));
}

static uint32_t number_at(const struct index_table *index, uint64_t offset)
{
	uint32_t value;

	memcpy(&value, index->all.start + offset, sizeof(value)); /* index_read() checked that all of it is there */
	return value;
}

/* The row of a signature, from 1; 0: none. A probing hash table: reading all of it is quick enough. */
static uint32_t row_of(const struct index_table *index, uint64_t signature)
{
	for (uint64_t i = 0; i < index->slots; i++) {
		uint64_t have;
		uint32_t row = number_at(index, 16 + 8ULL * index->slots + 4 * i);

		memcpy(&have, index->all.start + 16 + 8 * i, sizeof(have));
		if (have == signature && row && row <= index->units)
			return row;
	}
	return 0;
}

/* Restrict the unit to its parts. */
static struct dwarf_unit *unit_of_row(struct dwarf_file *file, const struct index_table *index, uint32_t row)
{
	uint64_t offsets = index->rows_at + 4ULL * index->columns * row;
	uint64_t sizes = offsets + 4ULL * index->columns * index->units;
	struct dwarf_unit *unit = NULL;

	for (uint32_t i = 0; i < index->columns; i++)
		if (column_section(index->version, number_at(index, index->rows_at + 4ULL * i)) == DWARF_INFO)
			unit = dwarf_unit_at(file, (uint64_t)number_at(index, offsets + 4ULL * i) + 24);
	if (!unit)
		return NULL;
	for (uint32_t i = 0; i < index->columns; i++) {
		unsigned id = column_section(index->version, number_at(index, index->rows_at + 4ULL * i));
		uint64_t offset = number_at(index, offsets + 4ULL * i);
		uint64_t size = number_at(index, sizes + 4ULL * i);

		if (id >= DWARF_PARTS || id == DWARF_INFO)
			continue;
		const struct dwarf_section *whole = &file->sections[id];
		bool inside = offset <= whole->size && size <= whole->size - offset;

		unit->part[id] = inside ? (struct dwarf_section) { .bytes = whole->bytes + offset, .size = size } :
					  DWARF_NO_SECTION;
	}
	return unit;
}

static struct dwarf_unit *in_package(struct object_dwarf *dwarf, uint64_t signature)
{
	char path[PATH_MAX];
	struct index_table index;
	struct utap_error err = { 0 };

	if (!dwarf->package_tried) {
		dwarf->package_tried = true;
		int length = snprintf(path, sizeof(path), "%s.dwp", dwarf->object->path);

		if (length < (int)sizeof(path) && access(path, R_OK) == 0 &&
		    dwarf_file_open(dwarf, path, true, &dwarf->package, &err))
			base_log(BASE_LOG_WARN, "debug file not used: %s", err.text[0] ? err.text : path);
	}
	if (!dwarf->package || !index_read(&dwarf->package->sections[DWARF_CU_INDEX], &index))
		return NULL;
	uint32_t row = row_of(&index, signature);

	return row ? unit_of_row(dwarf->package, &index, row) : NULL;
}

static struct dwarf_unit *in_file(struct object_dwarf *dwarf, const char *folder, const char *name)
{
	char path[PATH_MAX];
	struct dwarf_file *file = NULL;
	struct utap_error err = { 0 };
	const char *slash = strrchr(dwarf->object->path, '/');
	const char *base = strrchr(name, '/');

	int length = name[0] == '/' || !folder ? snprintf(path, sizeof(path), "%s", name) :
						 snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (length < (int)sizeof(path) && access(path, R_OK) != 0) /* moved: beside the object */
		length = snprintf(path, sizeof(path), "%.*s%s", slash ? (int)(slash - dwarf->object->path) + 1 : 0,
				  dwarf->object->path, base ? base + 1 : name);
	if (length >= (int)sizeof(path) || dwarf_file_open(dwarf, path, true, &file, &err)) {
		base_log(BASE_LOG_WARN, "split debug information %s is not there; a part of the program has no variables", name);
		return NULL;
	}
	for (size_t i = 0; i < file->unit_count; i++)
		if (file->units[i]->type == DW_UT_compile || file->units[i]->type == DW_UT_split_compile)
			return file->units[i];
	return NULL;
}

struct dwarf_unit *dwarf_split_find(struct dwarf_unit *skeleton)
{
	struct dwarf_die root;

	if (skeleton->type == DW_UT_type || !dwarf_unit_root(skeleton) || !dwarf_die_read(skeleton, skeleton->first, &root))
		return NULL;
	struct dwarf_value name = dwarf_die_attr(&root, DW_AT_dwo_name);
	struct dwarf_value id = dwarf_die_attr(&root, DW_AT_GNU_dwo_id);

	if (name.class != DWARF_STRING)
		name = dwarf_die_attr(&root, DW_AT_GNU_dwo_name);
	if (name.class != DWARF_STRING)
		return NULL;
	uint64_t signature = id.class == DWARF_CONSTANT ? id.u : skeleton->signature;
	struct dwarf_unit *unit = in_package(skeleton->dwarf, signature);

	if (!unit)
		unit = in_file(skeleton->dwarf, skeleton->comp_dir, name.string);
	if (!unit || unit->skeleton)
		return NULL;
	unit->skeleton = skeleton;
	if (dwarf_unit_root(unit)) {
		unit->low = skeleton->low;
		return unit;
	}
	return NULL;
}
