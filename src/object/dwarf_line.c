/* SPDX-License-Identifier: MIT */
/*
 * Line tables (.debug_line, versions 2 to 5): names of files, and rows of address, file and line. A table is read once a unit; whether it names
 * a file is found from its header alone. Rows are kept in the order of the file; each sequence ends with a row that ends it.
 */
#include <stdlib.h>
#include <string.h>

#include "object/dwarf_inside.h"

#define FILES_MAX 1000000
#define FORMATS_MAX 64
#define ROWS_MAX (64UL << 20)

struct line_header {
	struct object_cursor cursor; /* of the table, up to its end */
	struct object_cursor program;
	uint16_t version;
	uint8_t min_length, max_ops, line_range, opcode_base;
	int8_t line_base;
	bool default_statement;
	uint8_t lengths[256];
	uint8_t offset_size;
};

struct path {
	const char *name;
	uint64_t folder;
};

static bool header_read(struct dwarf_unit *unit, struct line_header *ret)
{
	const struct dwarf_section *section = &unit->part[DWARF_LINE];
	struct line_header header = { .cursor = object_cursor_init(section->bytes, section->size, 0), .offset_size = 4 };
	struct object_cursor *c = &header.cursor;

	object_cursor_skip(c, unit->stmt_list);
	uint64_t length = object_cursor_u32(c);

	if (length == UINT32_MAX) {
		length = object_cursor_u64(c);
		header.offset_size = 8;
	}
	if (!object_cursor_has(c, length))
		return false;
	c->end = c->at + length;
	header.version = (uint16_t)object_cursor_number(c, 2);
	if (header.version < 2 || header.version > 5)
		return false;
	if (header.version >= 5)
		object_cursor_skip(c, 2); /* sizes of addresses and segments */
	uint64_t rest = object_cursor_number(c, header.offset_size);

	header.program = *c;
	object_cursor_skip(&header.program, rest);
	header.min_length = object_cursor_u8(c);
	header.max_ops = header.version >= 4 ? object_cursor_u8(c) : 1;
	header.default_statement = object_cursor_u8(c);
	header.line_base = (int8_t)object_cursor_u8(c);
	header.line_range = object_cursor_u8(c);
	header.opcode_base = object_cursor_u8(c);
	for (unsigned i = 1; i < header.opcode_base; i++)
		header.lengths[i] = object_cursor_u8(c);
	*ret = header;
	return !c->failed && !header.program.failed && header.line_range;
}

/* ---- names of files ---- */

struct format {
	uint64_t content;
	uint16_t form;
};

typedef bool path_fn(void *arg, uint64_t index, bool folder, const struct path *path); /* false: enough */

static bool table_new(struct dwarf_unit *unit, struct line_header *header, bool folder, path_fn *fn, void *arg)
{
	struct object_cursor *c = &header->cursor;
	struct format formats[FORMATS_MAX];
	unsigned count = object_cursor_u8(c);

	if (count > FORMATS_MAX)
		return false;
	for (unsigned i = 0; i < count; i++) {
		formats[i].content = object_cursor_uleb(c);
		formats[i].form = (uint16_t)object_cursor_uleb(c);
	}
	uint64_t entries = object_cursor_uleb(c);

	for (uint64_t i = 0; i < entries && i < FILES_MAX && !c->failed && count; i++) {
		struct path path = { 0 };

		for (unsigned f = 0; f < count; f++) {
			struct dwarf_value value;

			if (!dwarf_form_read(unit, c, formats[f].form, 0, &value))
				return false;
			if (formats[f].content == DW_LNCT_path)
				path.name = value.string;
			else if (formats[f].content == DW_LNCT_directory_index)
				path.folder = value.u;
		}
		if (!fn(arg, i, folder, &path))
			return false;
	}
	return !c->failed;
}

static bool table_old(struct line_header *header, bool folder, path_fn *fn, void *arg)
{
	struct object_cursor *c = &header->cursor;

	for (uint64_t i = 1; i < FILES_MAX; i++) {
		struct path path = { .name = object_cursor_string(c) };

		if (!path.name || !*path.name)
			return path.name != NULL;
		if (!folder) {
			path.folder = object_cursor_uleb(c);
			object_cursor_uleb(c); /* time */
			object_cursor_uleb(c); /* size */
		}
		if (c->failed || !fn(arg, i, folder, &path))
			return false;
	}
	return false;
}

static bool paths_read(struct dwarf_unit *unit, struct line_header *header, path_fn *fn, void *arg)
{
	if (header->version >= 5)
		return table_new(unit, header, true, fn, arg) && table_new(unit, header, false, fn, arg);
	return table_old(header, true, fn, arg) && table_old(header, false, fn, arg);
}

bool dwarf_source_matches(const char *path, const char *name)
{
	size_t length = strlen(path);
	size_t wanted = strlen(name);

	return wanted && wanted <= length && strcmp(path + length - wanted, name) == 0 &&
	       (wanted == length || name[0] == '/' || path[length - wanted - 1] == '/');
}

struct source_search {
	const char *base; /* what follows the last '/' of the wanted name */
	bool found;
};

static bool compare_source(void *arg, uint64_t index, bool folder, const struct path *path)
{
	struct source_search *search = arg;

	if (!folder && path->name) {
		const char *slash = strrchr(path->name, '/');

		search->found = strcmp(slash ? slash + 1 : path->name, search->base) == 0;
	}
	return !search->found;
}

bool dwarf_unit_has_source(struct dwarf_unit *unit, const char *source)
{
	const char *slash = strrchr(source, '/');
	struct source_search search = { .base = slash ? slash + 1 : source };
	struct line_header header;

	if (!dwarf_unit_root(unit) || !unit->has_stmt_list || !header_read(unit, &header))
		return false;
	paths_read(unit, &header, compare_source, &search);
	return search.found;
}

struct path_list {
	struct dwarf_unit *unit;
	uint16_t version;
	const char **folders, **files;
	size_t folder_count, folder_cap, file_count, file_cap;
};

static const char *joined(struct path_list *list, const char *folder, const char *name)
{
	if (name[0] == '/' || !folder || !*folder)
		return name;
	return dwarf_print(&list->unit->dwarf->arena, "%s/%s", folder, name);
}

/* Index 0 of old tables means the folder of the compilation. */
static bool keep_path(void *arg, uint64_t index, bool folder, const struct path *path)
{
	struct path_list *list = arg;
	const char ***kept = folder ? &list->folders : &list->files;
	size_t *count = folder ? &list->folder_count : &list->file_count;
	size_t *cap = folder ? &list->folder_cap : &list->file_cap;
	const char *name = path->name ? path->name : "";

	if (base_grow(kept, cap, index + 1, sizeof(**kept)))
		return false;
	while (*count < index)
		(*kept)[(*count)++] = folder ? (list->unit->comp_dir ? list->unit->comp_dir : "") : "";
	if (folder)
		name = joined(list, list->unit->comp_dir, name);
	else if (path->folder < list->folder_count)
		name = joined(list, list->folders[path->folder], name);
	else if (path->folder == 0)
		name = joined(list, list->unit->comp_dir, name);
	(*kept)[(*count)++] = name;
	return name != NULL;
}

/* ---- rows ---- */

struct row_list {
	struct dwarf_lines *lines;
	size_t cap;
	bool failed;
};

struct state {
	uint64_t vaddr, op_index;
	uint32_t file;
	int64_t line;
	bool statement, prologue_end;
};

static void row_add(struct row_list *list, struct state *state, bool end)
{
	struct dwarf_lines *lines = list->lines;

	if (lines->count >= ROWS_MAX || base_grow(&lines->list, &list->cap, lines->count + 1, sizeof(*lines->list))) {
		list->failed = true;
		return;
	}
	lines->list[lines->count++] = (struct dwarf_line) {
		.vaddr = state->vaddr,
		.file = state->file,
		.line = state->line > 0 && state->line <= INT32_MAX ? (uint32_t)state->line : 0,
		.statement = state->statement,
		.sequence_end = end,
		.prologue_end = state->prologue_end,
	};
	state->prologue_end = false;
}

static void advance(const struct line_header *header, struct state *state, uint64_t by)
{
	if (header->max_ops <= 1) {
		state->vaddr += by * header->min_length;
		return;
	}
	state->vaddr += header->min_length * ((state->op_index + by) / header->max_ops);
	state->op_index = (state->op_index + by) % header->max_ops;
}

static struct state state_new(const struct line_header *header)
{
	return (struct state) { .file = 1, .line = 1, .statement = header->default_statement };
}

static void extended(const struct line_header *header, struct object_cursor *c, struct state *state, struct row_list *rows)
{
	uint64_t length = object_cursor_uleb(c);

	if (!length || !object_cursor_has(c, length)) {
		c->failed = true;
		return;
	}
	struct object_cursor inner = object_cursor_init(c->at, length, 0);

	c->at += length;
	switch (object_cursor_u8(&inner)) {
	case DW_LNE_end_sequence:
		row_add(rows, state, true);
		*state = state_new(header);
		break;
	case DW_LNE_set_address:
		state->vaddr = object_cursor_u64(&inner);
		state->op_index = 0;
		break;
	default: /* discriminators, and what is not for us */
		break;
	}
}

static void standard(const struct line_header *header, struct object_cursor *c, uint8_t opcode, struct state *state,
		     struct row_list *rows)
{
	switch (opcode) {
	case DW_LNS_copy:
		row_add(rows, state, false);
		break;
	case DW_LNS_advance_pc:
		advance(header, state, object_cursor_uleb(c));
		break;
	case DW_LNS_advance_line:
		state->line = (int64_t)((uint64_t)state->line + object_cursor_sleb(c));
		break;
	case DW_LNS_set_file:
		state->file = (uint32_t)object_cursor_uleb(c);
		break;
	case DW_LNS_negate_stmt:
		state->statement = !state->statement;
		break;
	case DW_LNS_const_add_pc:
		advance(header, state, (255U - header->opcode_base) / header->line_range);
		break;
	case DW_LNS_fixed_advance_pc:
		state->vaddr += object_cursor_number(c, 2);
		state->op_index = 0;
		break;
	case DW_LNS_set_prologue_end:
		state->prologue_end = true;
		break;
	default:
		for (unsigned i = 0; i < header->lengths[opcode]; i++)
			object_cursor_uleb(c);
		break;
	}
}

static void program_run(struct line_header *header, struct row_list *rows)
{
	struct object_cursor *c = &header->program;
	struct state state = state_new(header);

	c->end = header->cursor.end;
	while (c->at < c->end && !c->failed && !rows->failed) {
		uint8_t opcode = object_cursor_u8(c);

		if (opcode >= header->opcode_base) {
			unsigned adjusted = opcode - header->opcode_base;

			advance(header, &state, adjusted / header->line_range);
			state.line += header->line_base + (int64_t)(adjusted % header->line_range);
			row_add(rows, &state, false);
		} else if (opcode == 0) {
			extended(header, c, &state, rows);
		} else {
			standard(header, c, opcode, &state, rows);
		}
	}
	rows->lines->damaged = c->failed;
}

static struct dwarf_lines *lines_read(struct dwarf_unit *unit)
{
	struct dwarf_lines *lines = dwarf_alloc(&unit->dwarf->arena, sizeof(*lines));
	struct path_list paths = { .unit = unit };
	struct row_list rows = { .lines = lines };
	struct line_header header;

	if (!lines || !header_read(unit, &header))
		return NULL;
	paths.version = header.version;
	bool ok = paths_read(unit, &header, keep_path, &paths);

	if (ok && paths.file_count) {
		lines->files = dwarf_alloc(&unit->dwarf->arena, paths.file_count * sizeof(*lines->files));
		if (lines->files)
			memcpy(lines->files, paths.files, paths.file_count * sizeof(*lines->files));
		lines->file_count = lines->files ? paths.file_count : 0;
	}
	free(paths.folders);
	free(paths.files);
	program_run(&header, &rows);
	unit->lines = lines;
	return lines;
}

struct dwarf_lines *dwarf_unit_lines(struct dwarf_unit *unit)
{
	struct dwarf_unit *has = unit->skeleton ? unit->skeleton : unit;

	if (!has->lines_tried) {
		has->lines_tried = true;
		if (dwarf_unit_root(has) && has->has_stmt_list)
			lines_read(has);
	}
	return has->lines;
}

const char *dwarf_file_name(struct dwarf_unit *unit, uint64_t index)
{
	struct dwarf_lines *lines = dwarf_unit_lines(unit);

	return lines && index < lines->file_count && lines->files[index][0] ? lines->files[index] : NULL;
}

const struct dwarf_line *dwarf_lines_at(const struct dwarf_lines *lines, uint64_t vaddr)
{
	const struct dwarf_line *best = NULL;

	for (size_t i = 0; i + 1 < lines->count; i++) {
		const struct dwarf_line *line = &lines->list[i];

		if (line->vaddr <= vaddr && vaddr < line[1].vaddr && !line->sequence_end)
			best = line;
	}
	return best;
}

uint64_t dwarf_prologue_end(struct dwarf_unit *unit, uint64_t start, uint64_t end)
{
	const struct dwarf_lines *lines = dwarf_unit_lines(unit);
	uint64_t second = 0;

	for (size_t i = 0; lines && i < lines->count; i++) {
		const struct dwarf_line *line = &lines->list[i];

		if (line->sequence_end || line->vaddr < start || line->vaddr >= end)
			continue;
		if (line->prologue_end)
			return line->vaddr;
		if (line->vaddr > start && line->line && line->statement && (!second || line->vaddr < second))
			second = line->vaddr;
	}
	return second ? second : start;
}
