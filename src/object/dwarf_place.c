/* SPDX-License-Identifier: MIT */
/*
 * From a place of the source to addresses: of each instance of a function, or of each row of a line, the lowest one in that instance. Then the
 * arguments are resolved at each address.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "object/dwarf_inside.h"

#define SPOTS_MAX 65536

struct spot_found {
	uint64_t vaddr;
	struct dwarf_unit *unit;
	struct dwarf_die instance; /* unit NULL: to be found from the address */
	const char *path;
	unsigned line;
};

struct finder {
	struct object_dwarf *dwarf;
	struct dwarf_written written;
	bool variables; /* some arguments are */
	bool no_inlines;
	struct spot_found *list;
	size_t count, cap;
	bool no_memory, skipped, only_inlined;
	unsigned next_line; /* with code, behind the one that was asked for; 0: none */
	/* While rows are looked at: */
	const struct dwarf_instance *instance;
	const char *path;
	unsigned line;
};

struct range {
	uint64_t start, end;
};

static const struct dwarf_unit *lines_owner(struct dwarf_unit *unit)
{
	return unit->skeleton ? unit->skeleton : unit;
}

/* ---- rows ---- */

static const char *path_of(const struct dwarf_lines *lines, const struct dwarf_line *row)
{
	return row->file < lines->file_count ? lines->files[row->file] : "";
}

void dwarf_rows_of(struct object_dwarf *dwarf, const char *source, dwarf_row_fn *fn, void *arg)
{
	for (size_t i = 0; i < dwarf->main->unit_count; i++) {
		struct dwarf_unit *unit = dwarf->main->units[i];
		const struct dwarf_lines *lines;

		if (unit->type == DW_UT_type || !dwarf_unit_has_source(unit, source) || !(lines = dwarf_unit_lines(unit)))
			continue;
		for (size_t k = 0; k < lines->count; k++) {
			const struct dwarf_line *row = &lines->list[k];

			if (row->statement && !row->sequence_end && row->line &&
			    dwarf_source_matches(path_of(lines, row), source) &&
			    object_is_code(dwarf->object, row->vaddr) && !fn(arg, unit, row, path_of(lines, row)))
				return;
		}
	}
}

struct range_list {
	struct range *list; /* heap */
	size_t count, cap;
};

static bool collect_range(void *arg, uint64_t start, uint64_t end)
{
	struct range_list *ranges = arg;

	if (base_grow(&ranges->list, &ranges->cap, ranges->count + 1, sizeof(*ranges->list)))
		return false;
	ranges->list[ranges->count++] = (struct range) { .start = start, .end = end };
	return true;
}

static bool in_ranges(const struct range_list *ranges, uint64_t vaddr)
{
	for (size_t i = 0; i < ranges->count; i++)
		if (ranges->list[i].start <= vaddr && vaddr < ranges->list[i].end)
			return true;
	return false;
}

void dwarf_rows_in(const struct dwarf_die *die, dwarf_row_fn *fn, void *arg)
{
	const struct dwarf_lines *lines = dwarf_unit_lines(die->unit);
	struct range_list ranges = { 0 };

	dwarf_die_ranges(die, collect_range, &ranges);
	for (size_t k = 0; lines && k < lines->count; k++) {
		const struct dwarf_line *row = &lines->list[k];

		if (row->statement && !row->sequence_end && row->line && in_ranges(&ranges, row->vaddr) &&
		    !fn(arg, die->unit, row, path_of(lines, row)))
			break;
	}
	free(ranges.list);
}

/* ---- addresses ---- */

static void add(struct finder *finder, const struct spot_found *spot)
{
	if (finder->count == SPOTS_MAX ||
	    base_grow(&finder->list, &finder->cap, finder->count + 1, sizeof(*finder->list)))
		finder->no_memory = true;
	else
		finder->list[finder->count++] = *spot;
}

static bool is_optimised(const struct dwarf_die *function)
{
	const char *producer = lines_owner(function->unit)->producer;
	const char *flag = producer ? strstr(producer, " -O") : NULL;
	struct dwarf_walk walk;
	struct dwarf_die die;

	if (function->unit->producer && !flag)
		flag = strstr(function->unit->producer, " -O");
	if (flag && flag[3] != '0')
		return true;
	dwarf_walk_init(&walk, function);
	while (dwarf_walk_next(&walk, &die)) {
		struct dwarf_value where = dwarf_die_attr(&die, DW_AT_location);

		if (where.class == DWARF_OFFSET || where.class == DWARF_LIST_INDEX)
			return true;
		if (die.abbrev->tag == DW_TAG_formal_parameter && where.class == DWARF_BLOCK && where.size == 1 &&
		    where.block[0] >= DW_OP_reg0 && where.block[0] <= DW_OP_reg31)
			return true;
	}
	return false;
}

static bool first_range(void *arg, uint64_t start, uint64_t end)
{
	struct range *range = arg;

	if (start != range->start)
		return true;
	range->end = end;
	return false;
}

/* Variables of a function that is not optimised are in its frame, once the prologue has stored them. */
static uint64_t behind_prologue(struct finder *finder, const struct dwarf_instance *instance)
{
	struct range range = { .start = instance->entry, .end = instance->entry };

	if (instance->inlined || is_optimised(&instance->die))
		return instance->entry;
	dwarf_die_ranges(&instance->die, first_range, &range);
	uint64_t body = dwarf_prologue_end(instance->die.unit, range.start, range.end);

	finder->skipped |= body != instance->entry;
	return body;
}

static int at_entry(struct finder *finder, const struct dwarf_instance *instance, struct utap_error *err)
{
	const struct dwarf_written *written = &finder->written;
	struct spot_found spot = { .vaddr = instance->entry, .unit = instance->die.unit, .instance = instance->die };

	if (written->is_return && instance->inlined) {
		finder->only_inlined = true;
		return 0;
	}
	if (written->offset) {
		spot.vaddr += written->offset;
		if (!dwarf_die_has_pc(&instance->die, spot.vaddr))
			return base_error(err, -ENOENT, UTAP_ERROR_NOT_FOUND, "%s+0x%llx lies outside of the function", written->function,
					  (unsigned long long)written->offset);
	} else if (finder->variables && !written->is_return) {
		spot.vaddr = behind_prologue(finder, instance);
	}
	add(finder, &spot);
	return 0;
}

/* The lowest address of a line in an instance; remembers which line would have code. */
struct lowest {
	struct finder *finder;
	struct spot_found spot;
	bool found;
};

static bool look_lowest(void *arg, struct dwarf_unit *unit, const struct dwarf_line *row, const char *path)
{
	struct lowest *lowest = arg;
	struct finder *finder = lowest->finder;

	if (strcmp(path, finder->path) != 0)
		return true;
	if (row->line > finder->line && (!finder->next_line || row->line < finder->next_line))
		finder->next_line = row->line;
	if (row->line != finder->line || (lowest->found && lowest->spot.vaddr <= row->vaddr))
		return true;
	lowest->found = true;
	lowest->spot = (struct spot_found) { .vaddr = row->vaddr, .unit = unit, .path = path, .line = row->line };
	return true;
}

static bool line_in_instance(struct finder *finder, const struct dwarf_instance *instance, const char *path, unsigned line)
{
	struct lowest lowest = { .finder = finder };

	finder->path = path;
	finder->line = line;
	dwarf_rows_in(&instance->die, look_lowest, &lowest);
	if (!lowest.found)
		return false;
	lowest.spot.instance = instance->die;
	add(finder, &lowest.spot);
	return true;
}

struct extent {
	const char *path;
	unsigned last;
};

static bool look_last(void *arg, struct dwarf_unit *unit, const struct dwarf_line *row, const char *path)
{
	struct extent *extent = arg;

	(void)unit;
	if (row->line > extent->last && strcmp(path, extent->path) == 0)
		extent->last = row->line;
	return true;
}

static int pattern_in_instance(struct finder *finder, const struct dwarf_instance *instance, const char *path, unsigned first,
			       struct utap_error *err)
{
	_cleanup_free_ char *text = NULL;
	struct extent extent = { .path = path };
	size_t size;
	int r = object_dwarf_source(path, &text, &size, err);

	if (r)
		return r;
	dwarf_rows_in(&instance->die, look_last, &extent);
	unsigned number = 1;

	for (const char *at = text; *at && number <= extent.last; number++) {
		size_t length = strcspn(at, "\n");

		if (number >= first && dwarf_pattern_matches(at, length, finder->written.pattern))
			line_in_instance(finder, instance, path, number);
		at += length + (at[length] == '\n');
	}
	return 0;
}

static int in_instance(struct finder *finder, const struct dwarf_instance *instance, struct utap_error *err)
{
	const struct dwarf_written *written = &finder->written;
	const char *path;
	unsigned line;

	if ((!written->has_line || !written->line) && !written->pattern) /* line 0 is the function itself */
		return at_entry(finder, instance, err);
	if (!dwarf_declared(&instance->die, &path, &line))
		return 0;
	if (written->pattern)
		return pattern_in_instance(finder, instance, path, line, err);
	if (written->line <= UINT32_MAX - line)
		line_in_instance(finder, instance, path, line + (unsigned)written->line);
	return 0;
}

static int by_function(struct finder *finder, struct utap_error *err)
{
	const struct dwarf_written *written = &finder->written;
	struct dwarf_instances instances = { 0 };
	int r = dwarf_functions(finder->dwarf, written->function, written->source, &instances, err);

	for (size_t i = 0; i < instances.count && !r; i++)
		if (!finder->no_inlines || !instances.list[i].inlined)
			r = in_instance(finder, &instances.list[i], err);
	free(instances.list);
	if (r || finder->count)
		return r;
	if (finder->only_inlined)
		return base_error(err, -ENOENT, UTAP_ERROR_NOT_FOUND, "'%s' is only inlined into others: it has no returns", written->function);
	if (written->pattern)
		return base_error(err, -ENOENT, UTAP_ERROR_NOT_FOUND, "no line of '%s' that has code matches '%.100s'", written->function,
				  written->pattern);
	return base_error(err, -ENOENT, UTAP_ERROR_NOT_FOUND, "line %llu of '%s' has no code; see utap probe -L",
			  (unsigned long long)written->line, written->function);
}

/* ---- by file and line ---- */

struct file_lines {
	struct finder *finder;
	unsigned *lines; /* wanted, sorted */
	size_t count, cap;
	unsigned largest; /* with code */
};

/* Of one line in one instance (a copy of the function, inlined or not) the lowest address stays. */
static void keep_lowest(struct finder *finder, const struct spot_found *spot)
{
	for (size_t i = 0; i < finder->count; i++) {
		struct spot_found *have = &finder->list[i];

		if (have->line != spot->line || !have->instance.unit || !spot->instance.unit ||
		    !dwarf_die_same(&have->instance, &spot->instance))
			continue;
		if (spot->vaddr < have->vaddr)
			*have = *spot;
		return;
	}
	add(finder, spot);
}

/* A call that was inlined starts where its line does: the line belongs to the caller. */
static size_t function_of_line(const struct dwarf_scopes *scopes, uint64_t vaddr, unsigned line)
{
	size_t at = dwarf_scopes_inner(scopes);

	while (at > 0 && scopes->list[at].abbrev->tag == DW_TAG_inlined_subroutine) {
		struct dwarf_value call = dwarf_die_attr(&scopes->list[at], DW_AT_call_line);
		uint64_t entry;

		if (call.class != DWARF_CONSTANT || call.u != line || !dwarf_die_entry(&scopes->list[at], &entry) || entry != vaddr)
			break;
		do
			at--;
		while (at > 0 && scopes->list[at].abbrev->tag == DW_TAG_lexical_block);
	}
	return at;
}

static bool look_file(void *arg, struct dwarf_unit *unit, const struct dwarf_line *row, const char *path)
{
	struct file_lines *wanted = arg;
	struct spot_found spot = { .vaddr = row->vaddr, .unit = unit, .path = path, .line = row->line };
	struct dwarf_scopes scopes;
	bool meant = false;

	for (size_t i = 0; i < wanted->count; i++) {
		meant |= wanted->lines[i] == row->line;
		if (row->line > wanted->lines[i] && (!wanted->finder->next_line || row->line < wanted->finder->next_line))
			wanted->finder->next_line = row->line;
	}
	if (!meant)
		return true;
	dwarf_scopes_at(unit, row->vaddr, &scopes);
	if (scopes.count)
		spot.instance = scopes.list[function_of_line(&scopes, row->vaddr, row->line)];
	if (!wanted->finder->no_inlines || !spot.instance.unit || spot.instance.abbrev->tag == DW_TAG_subprogram)
		keep_lowest(wanted->finder, &spot);
	return !wanted->finder->no_memory;
}

static bool first_path(void *arg, struct dwarf_unit *unit, const struct dwarf_line *row, const char *path)
{
	const char **ret = arg;

	(void)unit;
	(void)row;
	*ret = path;
	return false;
}

static int lines_of_pattern(struct file_lines *wanted, struct utap_error *err)
{
	const struct dwarf_written *written = &wanted->finder->written;
	_cleanup_free_ char *text = NULL;
	const char *path = NULL;
	size_t size;

	dwarf_rows_of(wanted->finder->dwarf, written->source, first_path, &path);
	int r = path ? object_dwarf_source(path, &text, &size, err) : 0;

	if (r || !path)
		return r;
	unsigned number = 1;

	for (const char *at = text; *at; number++) {
		size_t length = strcspn(at, "\n");

		if (dwarf_pattern_matches(at, length, written->pattern)) {
			if (base_grow(&wanted->lines, &wanted->cap, wanted->count + 1, sizeof(*wanted->lines)))
				return base_error(err, -ENOMEM, UTAP_ERROR_SYSTEM, "no memory");
			wanted->lines[wanted->count++] = number;
		}
		at += length + (at[length] == '\n');
	}
	return 0;
}

static int by_file(struct finder *finder, struct utap_error *err)
{
	const struct dwarf_written *written = &finder->written;
	unsigned line = (unsigned)written->line;
	struct file_lines wanted = { .finder = finder, .lines = &line, .count = 1 };
	int r = 0;

	if (written->pattern) {
		wanted = (struct file_lines) { .finder = finder };
		r = lines_of_pattern(&wanted, err);
	}
	if (!r)
		dwarf_rows_of(finder->dwarf, written->source, look_file, &wanted);
	if (written->pattern)
		free(wanted.lines);
	if (r || finder->count)
		return r;
	if (written->pattern)
		return base_error(err, -ENOENT, UTAP_ERROR_NOT_FOUND, "no line of %s that has code matches '%.100s'", written->source,
				  written->pattern);
	if (finder->next_line)
		return base_error(err, -ENOENT, UTAP_ERROR_NOT_FOUND, "line %u of %s has no code; the next one that has is %u", line,
				  written->source, finder->next_line);
	return base_error(err, -ENOENT, UTAP_ERROR_NOT_FOUND, "line %u of %s has no code, nor has any after it", line, written->source);
}

static int by_address(struct finder *finder, struct utap_error *err)
{
	struct dwarf_unit *unit = dwarf_unit_for(finder->dwarf, finder->written.offset);

	if (!unit)
		return base_error(err, -ENOENT, UTAP_ERROR_NOT_FOUND, "%s: nothing is known about the address 0x%llx",
				  finder->dwarf->object->path, (unsigned long long)finder->written.offset);
	add(finder, &(struct spot_found) { .vaddr = finder->written.offset, .unit = unit });
	return 0;
}

/* ---- results ---- */

static int compare(const void *left, const void *right)
{
	const struct spot_found *a = left;
	const struct spot_found *b = right;

	return (a->vaddr > b->vaddr) - (a->vaddr < b->vaddr);
}

/* Index of the scope that the place means. */
static size_t meant_function(const struct dwarf_scopes *scopes, const struct spot_found *found)
{
	for (size_t i = 0; i < scopes->count; i++)
		if (found->instance.unit && dwarf_die_same(&scopes->list[i], &found->instance))
			return i;
	return scopes->count ? dwarf_scopes_inner(scopes) : 0;
}

static void describe(struct dwarf_arena *arena, const struct dwarf_spot *spot, const struct spot_found *found,
		     struct object_dwarf_place *place)
{
	const struct dwarf_lines *lines = dwarf_unit_lines(spot->unit);
	const struct dwarf_line *row = lines && !found->line ? dwarf_lines_at(lines, found->vaddr) : NULL;
	const char *path = row ? path_of(lines, row) : found->path;

	place->vaddr = place->entry = found->vaddr;
	place->function = "";
	place->line = row ? row->line : found->line;
	place->source = path ? dwarf_print(arena, "%s", path) : "";
	if (!spot->scopes.count)
		return;
	const struct dwarf_die *function = &spot->scopes.list[spot->function];

	place->function = dwarf_die_qualified(arena, function);
	place->inlined = function->abbrev->tag == DW_TAG_inlined_subroutine;
	dwarf_die_entry(function, &place->entry);
}

struct request {
	const char *const *args;
	size_t nargs;
	bool scope, externs; /* all variables, not args */
};

static int place_make(struct finder *finder, struct dwarf_arena *arena, const struct spot_found *found,
		      const struct request *request, struct object_dwarf_place *place, struct utap_error *err)
{
	struct dwarf_spot spot = { .unit = found->unit, .is_return = finder->written.is_return };
	struct dwarf_args args = { 0 };
	int r = 0;

	dwarf_context_init(&spot.context, finder->dwarf, arena, found->unit, found->vaddr);
	dwarf_scopes_at(found->unit, found->vaddr, &spot.scopes);
	spot.function = meant_function(&spot.scopes, found);
	describe(arena, &spot, found, place);
	place->is_return = finder->written.is_return;
	if (object_vaddr_to_offset(finder->dwarf->object, found->vaddr, &place->offset))
		return base_error(err, -ENOENT, UTAP_ERROR_NOT_FOUND, "the address 0x%llx is not in the file",
				  (unsigned long long)found->vaddr);
	for (size_t i = 0; i < request->nargs && !r; i++)
		r = dwarf_args_resolve(&spot, request->args[i], i, &args, err);
	if (request->scope)
		dwarf_args_scope(&spot, true, request->externs, false, 0, &args);
	place->args = args.list;
	place->nargs = args.count;
	return !r && (args.failed || !place->function || !place->source) ? dwarf_no_memory(finder->dwarf, err) : r;
}

static int results_make(struct finder *finder, const struct request *request, struct object_dwarf_places **ret,
			struct utap_error *err)
{
	struct object_dwarf_places *places = calloc(1, sizeof(*places));
	struct dwarf_arena *arena = calloc(1, sizeof(*arena));
	int r = 0;

	if (places)
		places->memory = arena;
	if (arena)
		places ? (void)(places->places = dwarf_alloc(arena, (finder->count + 1) * sizeof(*places->places))) : free(arena);
	if (!places || !arena || !places->places)
		r = dwarf_no_memory(finder->dwarf, err);
	qsort(finder->list, finder->count, sizeof(*finder->list), compare);
	for (size_t i = 0; i < finder->count && !r; i++) {
		if (i && finder->list[i].vaddr == finder->list[i - 1].vaddr)
			continue;
		r = place_make(finder, arena, &finder->list[i], request, &places->places[places->count], err);
		places->count++;
	}
	if (r) {
		object_dwarf_places_free(places);
		return r;
	}
	places->skipped_prologue = finder->skipped;
	*ret = places;
	return 0;
}

void object_dwarf_places_free(struct object_dwarf_places *places)
{
	if (!places)
		return;
	if (places->memory)
		dwarf_arena_free(places->memory);
	free(places->memory);
	free(places);
}

static bool is_variable(const char *text)
{
	const char *equals = strchr(text, '=');
	const char *what = equals ? equals + 1 : text;

	return strcmp(what, "$vars") == 0 || strcmp(what, "$params") == 0 || strcmp(what, "$locals") == 0 || !strchr("%@+-\\$", *what);
}

static int find(struct finder *finder, const char *text, const struct request *request, struct object_dwarf_places **ret,
		struct utap_error *err)
{
	int r = dwarf_written_parse(finder->dwarf, text, false, &finder->written, err);

	if (r)
		return r;
	if (finder->written.by_address)
		r = by_address(finder, err);
	else if (finder->written.function)
		r = by_function(finder, err);
	else
		r = by_file(finder, err);
	if (!r && finder->no_memory)
		r = dwarf_no_memory(finder->dwarf, err);
	if (!r)
		r = results_make(finder, request, ret, err);
	dwarf_written_free(&finder->written);
	free(finder->list);
	return r;
}

int object_dwarf_find(struct object_dwarf *dwarf, const char *place, const char *const *args, size_t nargs,
		      struct object_dwarf_places **ret, struct utap_error *err)
{
	struct finder finder = { .dwarf = dwarf };
	struct request request = { .args = args, .nargs = nargs };

	for (size_t i = 0; i < nargs; i++)
		finder.variables |= is_variable(args[i]);
	return find(&finder, place, &request, ret, err);
}

int object_dwarf_variables(struct object_dwarf *dwarf, const char *place, bool externs, bool no_inlines,
			   struct object_dwarf_places **ret, struct utap_error *err)
{
	struct finder finder = { .dwarf = dwarf, .variables = true, .no_inlines = no_inlines };
	struct request request = { .scope = true, .externs = externs };

	return find(&finder, place, &request, ret, err);
}
