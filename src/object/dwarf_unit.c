/* SPDX-License-Identifier: MIT */
/*
 * Units: their headers (all read when a file is opened), what their first entry says and their abbreviations (read when they are needed),
 * and which unit's code an address is in. Units live in the reader's arena.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "object/dwarf_inside.h"

#define LINEAR_MAX 4096 /* abbreviations that are not numbered in their order are searched one by one */

int dwarf_no_memory(const struct object_dwarf *dwarf, struct utap_error *err)
{
	return object_no_memory(dwarf->object, err);
}

/* ---- headers ---- */

static void header_types(struct object_cursor *cursor, struct dwarf_unit *unit)
{
	unit->signature = object_cursor_u64(cursor);
	unit->type_offset = object_cursor_number(cursor, unit->offset_size);
}

static bool header_fields(struct object_cursor *cursor, struct dwarf_unit *unit, bool types)
{
	unit->version = (uint16_t)object_cursor_number(cursor, 2);
	if (unit->version < 2 || unit->version > 5)
		return false;
	if (unit->version == 5) {
		unit->type = object_cursor_u8(cursor);
		unit->address_size = object_cursor_u8(cursor);
		unit->abbrev_offset = object_cursor_number(cursor, unit->offset_size);
		if (unit->type == DW_UT_skeleton || unit->type == DW_UT_split_compile)
			unit->signature = object_cursor_u64(cursor);
		else if (unit->type == DW_UT_type || unit->type == DW_UT_split_type)
			header_types(cursor, unit);
	} else {
		unit->type = types ? DW_UT_type : DW_UT_compile;
		unit->abbrev_offset = object_cursor_number(cursor, unit->offset_size);
		unit->address_size = object_cursor_u8(cursor);
		if (types)
			header_types(cursor, unit);
	}
	return !cursor->failed && unit->address_size == 8;
}

/* *@next is set whenever the length makes sense, so that units of unknown kinds are passed over. */
static bool header_read(struct dwarf_unit *unit, bool types, uint64_t *next)
{
	struct object_cursor cursor = object_cursor_init(unit->info.bytes, unit->info.size, 0);

	object_cursor_skip(&cursor, unit->offset);
	uint64_t length = object_cursor_u32(&cursor);

	unit->offset_size = 4;
	if (length == UINT32_MAX) {
		length = object_cursor_u64(&cursor);
		unit->offset_size = 8;
	}
	uint64_t start = object_cursor_vaddr(&cursor);

	*next = unit->info.size;
	if (cursor.failed || length > unit->info.size - start || !length)
		return false;
	unit->end = *next = start + length;
	cursor.end = unit->info.bytes + unit->end;
	bool known = header_fields(&cursor, unit, types);

	unit->first = object_cursor_vaddr(&cursor);
	return known;
}

static int unit_add(struct dwarf_file *file, const struct dwarf_unit *unit, struct object_dwarf *dwarf)
{
	struct dwarf_unit *kept = dwarf_alloc(&dwarf->arena, sizeof(*kept));

	if (!kept || base_grow(&file->units, &file->unit_cap, file->unit_count + 1, sizeof(*file->units)))
		return -ENOMEM;
	*kept = *unit;
	file->units[file->unit_count++] = kept;
	return 0;
}

int dwarf_units_read(struct object_dwarf *dwarf, struct dwarf_file *file)
{
	static const enum dwarf_section_id holders[] = { DWARF_INFO, DWARF_TYPES };

	for (size_t i = 0; i < 2; i++) {
		const struct dwarf_section *info = &file->sections[holders[i]];
		uint64_t next;

		for (uint64_t at = 0; at < info->size; at = next) {
			struct dwarf_unit unit = { .dwarf = dwarf, .file = file, .info = *info, .offset = at };

			memcpy(unit.part, file->sections, sizeof(unit.part));
			if (header_read(&unit, holders[i] == DWARF_TYPES, &next) && unit_add(file, &unit, dwarf))
				return -ENOMEM;
		}
	}
	return 0;
}

void dwarf_units_free(struct dwarf_file *file)
{
	for (size_t i = 0; i < file->unit_count; i++) {
		free(file->units[i]->abbrevs.list);
		free(file->units[i]->abbrevs.attrs);
		if (file->units[i]->lines)
			free(file->units[i]->lines->list);
	}
	free(file->units);
}

/* ---- abbreviations ---- */

static bool abbrev_attrs(struct dwarf_abbrevs *table, struct object_cursor *cursor)
{
	for (;;) {
		struct dwarf_abbrev_attr attr = { .name = (uint16_t)object_cursor_uleb(cursor) };

		attr.form = (uint16_t)object_cursor_uleb(cursor);
		if (attr.form == DW_FORM_implicit_const)
			attr.implicit = (int64_t)object_cursor_sleb(cursor);
		if (cursor->failed)
			return false;
		if (!attr.name && !attr.form)
			return true;
		if (base_grow(&table->attrs, &table->attr_cap, table->attr_count + 1, sizeof(*table->attrs)))
			return false;
		table->attrs[table->attr_count++] = attr;
	}
}

/* What lets walks pass over an entry without reading it. */
static void abbrev_measure(const struct dwarf_unit *unit, struct dwarf_abbrev *abbrev)
{
	const struct dwarf_abbrev_attr *attrs = dwarf_abbrev_attrs(&unit->abbrevs, abbrev);

	abbrev->fixed = 0;
	abbrev->sibling = -1;
	for (uint32_t i = 0; i < abbrev->count && abbrev->fixed >= 0; i++) {
		int size = dwarf_form_size(unit, attrs[i].form);

		if (attrs[i].name == DW_AT_sibling && attrs[i].form == DW_FORM_ref4)
			abbrev->sibling = abbrev->fixed;
		abbrev->fixed = size < 0 ? -1 : abbrev->fixed + size;
	}
}

/* Reads one more; false at the end of the table. */
static bool abbrev_more(struct dwarf_unit *unit)
{
	const struct dwarf_section *section = &unit->part[DWARF_ABBREV];
	struct dwarf_abbrevs *table = &unit->abbrevs;
	struct object_cursor cursor = object_cursor_init(section->bytes, section->size, 0);

	if (table->done)
		return false;
	table->done = true; /* unless it goes well */
	object_cursor_skip(&cursor, table->at ? table->at : unit->abbrev_offset);
	struct dwarf_abbrev abbrev = { .code = object_cursor_uleb(&cursor), .first = (uint32_t)table->attr_count };

	abbrev.tag = (uint16_t)object_cursor_uleb(&cursor);
	abbrev.children = object_cursor_u8(&cursor);
	if (cursor.failed || !abbrev.code || !abbrev_attrs(table, &cursor) ||
	    base_grow(&table->list, &table->cap, table->count + 1, sizeof(*table->list)))
		return false;
	abbrev.count = (uint32_t)(table->attr_count - abbrev.first);
	abbrev_measure(unit, &abbrev);
	table->list[table->count++] = abbrev;
	table->at = object_cursor_vaddr(&cursor);
	table->done = false;
	return true;
}

/*
 * Pointers to abbreviations stay good until the table grows: entries keep them, so a unit whose entries are walked has its whole table.
 */
static void abbrevs_complete(struct dwarf_unit *unit)
{
	while (abbrev_more(unit))
		;
}

const struct dwarf_abbrev *dwarf_abbrev_find(struct dwarf_unit *unit, uint64_t code)
{
	struct dwarf_abbrevs *table = &unit->abbrevs;

	if (unit->has_root)
		abbrevs_complete(unit);
	else /* only the first entry is being read, whose abbreviation mostly is the first */
		while (!table->count || table->list[table->count - 1].code != code)
			if (!abbrev_more(unit))
				break;
	if (code <= table->count && code && table->list[code - 1].code == code)
		return &table->list[code - 1];
	for (size_t i = 0; i < table->count && i < LINEAR_MAX; i++)
		if (table->list[i].code == code)
			return &table->list[i];
	return NULL;
}

/* ---- the first entry ---- */

static uint64_t default_base(const struct dwarf_unit *unit, unsigned header4, unsigned header8)
{
	return unit->offset_size == 4 ? header4 : header8;
}

static void root_bases(struct dwarf_unit *unit, const struct dwarf_die *root)
{
	bool split = unit->file->split;

	unit->str_offsets_base = unit->version >= 5 ? default_base(unit, 8, 16) : 0;
	unit->rnglists_base = unit->loclists_base = split ? default_base(unit, 12, 20) : 0;
	struct dwarf_value value = dwarf_die_attr(root, DW_AT_str_offsets_base);

	if (value.class != DWARF_NONE)
		unit->str_offsets_base = value.u;
	value = dwarf_die_attr(root, DW_AT_addr_base);
	if (value.class == DWARF_NONE)
		value = dwarf_die_attr(root, DW_AT_GNU_addr_base);
	unit->addr_base = value.class == DWARF_NONE ? (unit->version >= 5 ? default_base(unit, 8, 16) : 0) : value.u;
	value = dwarf_die_attr(root, DW_AT_rnglists_base);
	if (value.class != DWARF_NONE)
		unit->rnglists_base = value.u;
	value = dwarf_die_attr(root, DW_AT_GNU_ranges_base);
	unit->ranges_base = value.u;
	value = dwarf_die_attr(root, DW_AT_loclists_base);
	if (value.class != DWARF_NONE)
		unit->loclists_base = value.u;
}

static void root_rest(struct dwarf_unit *unit, const struct dwarf_die *root)
{
	unit->name = dwarf_die_attr(root, DW_AT_name).string;
	unit->comp_dir = dwarf_die_attr(root, DW_AT_comp_dir).string;
	unit->producer = dwarf_die_attr(root, DW_AT_producer).string;
	unit->language = dwarf_die_attr(root, DW_AT_language).u;
	struct dwarf_value value = dwarf_die_attr(root, DW_AT_low_pc);

	unit->has_low = value.class == DWARF_ADDRESS;
	unit->low = value.u;
	value = dwarf_die_attr(root, DW_AT_stmt_list);
	unit->has_stmt_list = value.class != DWARF_NONE;
	unit->stmt_list = value.u;
}

bool dwarf_unit_root(struct dwarf_unit *unit)
{
	struct dwarf_die root;

	if (unit->has_root)
		return !unit->root_failed;
	if (!dwarf_die_read(unit, unit->first, &root)) {
		unit->has_root = unit->root_failed = true;
		return false;
	}
	root_bases(unit, &root);
	root_rest(unit, &root);
	unit->has_root = true;
	return true;
}

struct dwarf_unit *dwarf_unit_real(struct dwarf_unit *unit)
{
	if (!unit->split_tried && !unit->file->split) {
		unit->split_tried = true;
		unit->split = dwarf_split_find(unit);
	}
	return unit->split ? unit->split : unit;
}

/* ---- which one ---- */

struct dwarf_unit *dwarf_unit_at(const struct dwarf_file *file, uint64_t offset)
{
	size_t low = 0;
	size_t high = file->unit_count;
	const uint8_t *info = file->sections[DWARF_INFO].bytes;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		struct dwarf_unit *unit = file->units[middle];

		if (unit->info.bytes != info || offset < unit->offset)
			high = middle;
		else if (offset >= unit->end)
			low = middle + 1;
		else
			return offset >= unit->first ? unit : NULL;
	}
	return NULL;
}

struct span_list {
	struct object_dwarf *dwarf;
	struct dwarf_unit *unit;
};

static bool add_span(void *arg, uint64_t start, uint64_t end)
{
	struct span_list *list = arg;
	struct object_dwarf *dwarf = list->dwarf;

	if (base_grow(&dwarf->spans, &dwarf->span_cap, dwarf->span_count + 1, sizeof(*dwarf->spans)))
		return false;
	dwarf->spans[dwarf->span_count++] = (struct dwarf_span) { .start = start, .end = end, .unit = list->unit };
	return true;
}

static int compare_spans(const void *left, const void *right)
{
	const struct dwarf_span *a = left;
	const struct dwarf_span *b = right;

	return (a->start > b->start) - (a->start < b->start);
}

static void spans_read(struct object_dwarf *dwarf)
{
	const struct dwarf_file *file = dwarf->main;

	for (size_t i = 0; i < file->unit_count; i++) {
		struct span_list list = { .dwarf = dwarf, .unit = file->units[i] };
		struct dwarf_die root;

		if (file->units[i]->type == DW_UT_type || !dwarf_unit_root(file->units[i]))
			continue;
		file->units[i]->has_root = false; /* the first abbreviation is enough */
		bool ok = dwarf_die_read(file->units[i], file->units[i]->first, &root);

		if (ok)
			dwarf_die_ranges(&root, add_span, &list);
		file->units[i]->has_root = true;
	}
	if (dwarf->span_count)
		qsort(dwarf->spans, dwarf->span_count, sizeof(*dwarf->spans), compare_spans);
	dwarf->has_spans = true;
}

struct dwarf_unit *dwarf_unit_for(struct object_dwarf *dwarf, uint64_t vaddr)
{
	if (!dwarf->has_spans)
		spans_read(dwarf);
	size_t low = 0;
	size_t high = dwarf->span_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (dwarf->spans[middle].start <= vaddr)
			low = middle + 1;
		else
			high = middle;
	}
	/* Ranges of units do not overlap, but for damaged ones: a few steps back are enough. */
	for (size_t back = 0; low > 0 && back < 8; low--, back++)
		if (vaddr < dwarf->spans[low - 1].end)
			return dwarf->spans[low - 1].unit;
	return NULL;
}

/* ---- languages ---- */

bool dwarf_unit_is_c_family(const struct dwarf_unit *unit)
{
	switch (unit->language) {
	case DW_LANG_C89:
	case DW_LANG_C:
	case DW_LANG_C99:
	case DW_LANG_C11:
	case 0x002c: /* DW_LANG_C17 */
		return true;
	default:
		return false;
	}
}

bool dwarf_unit_is_go(const struct dwarf_unit *unit)
{
	return unit->language == DW_LANG_Go;
}

bool dwarf_unit_is_rust(const struct dwarf_unit *unit)
{
	return unit->language == DW_LANG_Rust;
}
