/* SPDX-License-Identifier: MIT */
/* The reader: opening and closing, source files, and which lines have code. */
#include "object/dwarf.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "object/dwarf_inside.h"

#define LINES_MAX 10000000U

int object_dwarf_open(struct object *object, struct object_dwarf **ret, struct utap_error *err)
{
	struct object_dwarf *dwarf = calloc(1, sizeof(*dwarf));

	if (!dwarf)
		return object_no_memory(object, err);
	dwarf->object = object;
	int r = dwarf_file_main(dwarf, err);

	if (r) {
		object_dwarf_close(dwarf);
		return r;
	}
	*ret = dwarf;
	return 0;
}

void object_dwarf_close(struct object_dwarf *dwarf)
{
	if (!dwarf)
		return;
	for (struct dwarf_file *file = dwarf->files, *next; file; file = next) {
		next = file->next;
		dwarf_file_close(file);
	}
	free(dwarf->spans);
	free(dwarf->fdes);
	dwarf_arena_free(&dwarf->arena);
	free(dwarf);
}

const char *object_dwarf_path(const struct object_dwarf *dwarf)
{
	return dwarf->main->path;
}

int object_dwarf_line_at(struct object_dwarf *dwarf, uint64_t vaddr, const char **source, unsigned *line)
{
	struct dwarf_unit *unit = dwarf_unit_for(dwarf, vaddr);
	const struct dwarf_lines *lines = unit ? dwarf_unit_lines(unit) : NULL;
	const struct dwarf_line *row = lines ? dwarf_lines_at(lines, vaddr) : NULL;

	if (!row || !row->line || row->file >= lines->file_count)
		return -ENOENT;
	*source = lines->files[row->file];
	*line = row->line;
	return 0;
}

/* ---- source files ---- */

int object_dwarf_source(const char *path, char **ret, size_t *size, struct utap_error *err)
{
	const char *folder = getenv("UTAP_SOURCE");
	char moved[PATH_MAX];
	int r = base_file_read(path, ret, size);

	/* The path, and ever shorter ends of it, below the folder. */
	for (const char *at = path; r && folder && at; at = strchr(at + 1, '/')) {
		int length = snprintf(moved, sizeof(moved), "%s/%s", folder, at);

		if (length < (int)sizeof(moved))
			r = base_file_read(moved, ret, size);
	}
	if (r == -ENOENT)
		return base_error(err, r, UTAP_ERROR_NOT_FOUND, "the source %s is not there; UTAP_SOURCE can name the folder that it was moved to", path);
	return r ? base_error_system(err, r, "cannot read the source %s", path) : 0;
}

/* ---- lines with code ---- */

struct coverage {
	struct object_dwarf_lines *lines;
	const char *path;    /* exactly this one */
	unsigned first, last; /* seen with code */
	bool mark;
};

static bool look(void *arg, struct dwarf_unit *unit, const struct dwarf_line *row, const char *path)
{
	struct coverage *coverage = arg;
	struct object_dwarf_lines *lines = coverage->lines;

	(void)unit;
	if (!coverage->path)
		coverage->path = path;
	if (strcmp(path, coverage->path) != 0 || row->line > LINES_MAX)
		return true;
	if (!coverage->first || row->line < coverage->first)
		coverage->first = row->line;
	if (row->line > coverage->last)
		coverage->last = row->line;
	if (coverage->mark && row->line >= lines->first && row->line <= lines->last)
		lines->has_code[row->line - lines->first] = true;
	return true;
}

static int set_range(struct object_dwarf_lines *lines, const struct dwarf_written *written, const struct coverage *coverage)
{
	lines->first = lines->base ? lines->base : 1;
	lines->last = coverage->last > lines->first ? coverage->last : lines->first;
	if (written->has_line) {
		uint64_t first = written->line + lines->base;
		uint64_t last = written->has_range ? written->last_line + lines->base : lines->last;

		if (first > LINES_MAX || !first)
			return -EINVAL;
		lines->first = (unsigned)first;
		lines->last = last > LINES_MAX ? LINES_MAX : last < first ? (unsigned)first : (unsigned)last;
	}
	lines->has_code = dwarf_alloc(lines->memory, lines->last - lines->first + 1);
	return lines->has_code ? 0 : -ENOMEM;
}

static int of_file(struct object_dwarf *dwarf, const struct dwarf_written *written, struct object_dwarf_lines *lines,
		   struct utap_error *err)
{
	struct coverage coverage = { .lines = lines };

	dwarf_rows_of(dwarf, written->source, look, &coverage);
	if (!coverage.path)
		return base_error(err, -ENOENT, UTAP_ERROR_NOT_FOUND, "no code of %s is in the file", written->source);
	int r = set_range(lines, written, &coverage);

	coverage.mark = true;
	if (!r)
		dwarf_rows_of(dwarf, written->source, look, &coverage);
	lines->source = dwarf_print(lines->memory, "%s", coverage.path);
	return r;
}

static int of_function(struct object_dwarf *dwarf, const struct dwarf_written *written, struct object_dwarf_lines *lines,
		       struct utap_error *err)
{
	struct coverage coverage = { .lines = lines };
	struct dwarf_instances instances = { 0 };
	unsigned declared = 0;
	int r = dwarf_functions(dwarf, written->function, written->source, &instances, err);

	for (size_t i = 0; i < instances.count && !r && !coverage.path; i++)
		if (!dwarf_declared(&instances.list[i].die, &coverage.path, &declared))
			coverage.path = NULL;
	if (!r && !coverage.path)
		r = base_error(err, -ENOENT, UTAP_ERROR_NOT_FOUND, "where '%s' was declared is not known", written->function);
	for (size_t i = 0; i < instances.count && !r; i++)
		dwarf_rows_in(&instances.list[i].die, look, &coverage);
	if (!r) {
		lines->base = declared;
		lines->function = dwarf_print(lines->memory, "%s", written->function);
		lines->source = dwarf_print(lines->memory, "%s", coverage.path);
		r = set_range(lines, written, &coverage);
		coverage.mark = true;
	}
	for (size_t i = 0; i < instances.count && !r; i++)
		dwarf_rows_in(&instances.list[i].die, look, &coverage);
	free(instances.list);
	return r;
}

int object_dwarf_lines(struct object_dwarf *dwarf, const char *range, struct object_dwarf_lines **ret, struct utap_error *err)
{
	struct object_dwarf_lines *lines = calloc(1, sizeof(*lines));
	struct dwarf_written written = { 0 };
	int r = dwarf_written_parse(dwarf, range, true, &written, err);

	if (lines)
		lines->memory = calloc(1, sizeof(struct dwarf_arena));
	if (!r && (!lines || !lines->memory))
		r = -ENOMEM;
	if (!r && written.by_address)
		r = base_error(err, -EINVAL, UTAP_ERROR_USAGE, "lines are shown of a function or of a file, not of an address");
	if (!r)
		r = written.function ? of_function(dwarf, &written, lines, err) : of_file(dwarf, &written, lines, err);
	dwarf_written_free(&written);
	if (!r && !lines->source)
		r = -ENOMEM;
	if (r) {
		object_dwarf_lines_free(lines);
		return r == -ENOMEM ? dwarf_no_memory(dwarf, err) : r;
	}
	*ret = lines;
	return 0;
}

void object_dwarf_lines_free(struct object_dwarf_lines *lines)
{
	if (!lines)
		return;
	if (lines->memory)
		dwarf_arena_free(lines->memory);
	free(lines->memory);
	free(lines);
}
