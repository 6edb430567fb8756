/* SPDX-License-Identifier: MIT */
/*
 * Functions by name: units that can hold the name are walked for entries that have it (seeds); what refers to those - definitions of declarations,
 * concrete functions, inlined instances, also in other units - is one function. What has code becomes an instance.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "object/dwarf_inside.h"

#define SEEDS_MAX 4096
#define ROUNDS 4 /* seeds of seeds in one unit, where references point forward */

struct search {
	struct object_dwarf *dwarf;
	const char *name, *last; /* last: behind the scopes */
	const char *source;
	struct dwarf_die *seeds;
	size_t seed_count, seed_cap;
	uint64_t seed_bits[1024]; /* of the low bits of their offsets: says no quickly */
	struct dwarf_instances *found;
	bool no_memory;
	struct dwarf_file *file; /* whose units are marked */
	bool *marks, *walked;
};

/* ---- names ---- */

/* Equal, where @name may leave out "<...>" at its end. */
static bool same_name(const char *have, const char *name, size_t length)
{
	return strncmp(have, name, length) == 0 &&
	       (have[length] == '\0' || (have[length] == '<' && !memchr(name, '<', length)));
}

/* The scopes that were written before the name, from the inside: those of the entry must be the same. */
static bool same_scopes(const struct dwarf_walk *walk, const char *name, const char *last)
{
	unsigned depth = walk->depth;

	while (last > name) {
		const char *end = last - 2;
		const char *start = end;
		unsigned nested = 0;

		while (start > name && (nested || start[-1] != ':')) {
			start--;
			nested += *start == '>';
			nested -= *start == '<' && nested;
		}
		const char *scope = depth > 1 ? dwarf_die_name(&walk->parents[depth - 1]) : NULL;

		if (!scope || !same_name(scope, start, (size_t)(end - start)))
			return false;
		depth--;
		last = start;
	}
	return true;
}

static bool is_named(const struct search *search, const struct dwarf_walk *walk, const struct dwarf_die *die)
{
	struct dwarf_value own = dwarf_die_attr(die, DW_AT_name);
	const char *last = search->last;

	if (own.class == DWARF_STRING && same_name(own.string, last, strlen(last)) && same_scopes(walk, search->name, last))
		return true;
	own = dwarf_die_attr(die, DW_AT_linkage_name);
	return own.class == DWARF_STRING && strcmp(own.string, search->name) == 0;
}

static bool is_seed(const struct search *search, const struct dwarf_die *die)
{
	if (!(search->seed_bits[die->offset / 64 % 1024] >> (die->offset % 64) & 1))
		return false;
	for (size_t i = 0; i < search->seed_count; i++)
		if (dwarf_die_same(&search->seeds[i], die))
			return true;
	return false;
}

static void seed_add(struct search *search, const struct dwarf_die *die)
{
	if (search->seed_count >= SEEDS_MAX || is_seed(search, die))
		return;
	if (base_grow(&search->seeds, &search->seed_cap, search->seed_count + 1, sizeof(*search->seeds)))
		search->no_memory = true;
	else
		search->seeds[search->seed_count++] = *die;
	search->seed_bits[die->offset / 64 % 1024] |= 1ULL << (die->offset % 64);
}

/* ---- units ---- */

static bool refers_to_seed(const struct search *search, const struct dwarf_die *die)
{
	struct dwarf_die at = *die;
	struct dwarf_die origin;

	for (unsigned i = 0; i < DWARF_REFERENCES && dwarf_die_origin(&at, &origin); i++) {
		if (is_seed(search, &origin))
			return true;
		at = origin;
	}
	return false;
}

bool dwarf_declared(const struct dwarf_die *die, const char **source, unsigned *line)
{
	struct dwarf_die at = *die;
	struct dwarf_die origin;

	for (unsigned i = 0; i < DWARF_REFERENCES; i++) {
		struct dwarf_value number = dwarf_die_attr(&at, DW_AT_decl_line);
		struct dwarf_value file = dwarf_die_attr(&at, DW_AT_decl_file);

		if (number.class == DWARF_CONSTANT && number.u && number.u < UINT32_MAX) {
			/* A definition in the file of its declaration leaves the file out. */
			if (file.class != DWARF_CONSTANT)
				file = dwarf_die_attr_integrate(&at, DW_AT_decl_file);
			*source = file.class == DWARF_CONSTANT ? dwarf_file_name(at.unit, file.u) : NULL;
			*line = (unsigned)number.u;
			return *source != NULL;
		}
		if (!dwarf_die_origin(&at, &origin))
			break;
		at = origin;
	}
	return false;
}

static void instance_add(struct search *search, const struct dwarf_die *die)
{
	struct dwarf_instance instance = { .die = *die, .inlined = die->abbrev->tag == DW_TAG_inlined_subroutine };
	const char *source;
	unsigned line;

	if (!dwarf_die_entry(die, &instance.entry))
		return;
	if (search->source && (!dwarf_declared(die, &source, &line) || !dwarf_source_matches(source, search->source)))
		return;
	for (size_t i = 0; i < search->found->count; i++)
		if (dwarf_die_same(&search->found->list[i].die, die))
			return;
	if (base_grow(&search->found->list, &search->found->cap, search->found->count + 1, sizeof(*search->found->list)))
		search->no_memory = true;
	else
		search->found->list[search->found->count++] = instance;
}

static bool is_function(const struct dwarf_die *die)
{
	return die->abbrev->tag == DW_TAG_subprogram || die->abbrev->tag == DW_TAG_inlined_subroutine;
}

/* One pass over a unit; true when seeds came to it that may be referred to from further up. */
static bool unit_pass(struct search *search, struct dwarf_unit *unit)
{
	size_t before = search->seed_count;
	struct dwarf_die root;
	struct dwarf_die die;
	struct dwarf_walk walk;

	if (!dwarf_unit_root(unit) || !dwarf_die_read(unit, unit->first, &root))
		return false;
	dwarf_walk_init(&walk, &root);
	while (dwarf_walk_next(&walk, &die)) {
		if (!is_function(&die))
			continue;
		bool meant = is_seed(search, &die) || refers_to_seed(search, &die);

		if (!meant && die.abbrev->tag == DW_TAG_subprogram)
			meant = is_named(search, &walk, &die);
		if (meant && die.abbrev->tag == DW_TAG_subprogram)
			seed_add(search, &die);
		if (meant)
			instance_add(search, &die);
	}
	return search->seed_count > before;
}

static void marked_walk(struct search *search)
{
	for (size_t i = 0; i < search->file->unit_count; i++) {
		if (!search->marks[i] || search->walked[i])
			continue;
		search->walked[i] = true;
		for (unsigned round = 0; round < ROUNDS && unit_pass(search, search->file->units[i]); round++)
			;
	}
}

/* Units that refer to what was found in others: LTO, and what dwz moved away. */
static int referring_mark(struct search *search)
{
	_cleanup_free_ uint32_t *offsets = calloc(search->seed_count + 1, sizeof(*offsets));
	size_t count = 0;

	if (!offsets)
		return -ENOMEM;
	for (size_t i = 0; i < search->seed_count; i++) {
		const struct dwarf_die *seed = &search->seeds[i];
		bool other = seed->unit->file != search->file;

		if (other && seed->unit->file != search->file->alternate)
			continue;
		/* What has code itself is not referred to from elsewhere. */
		if (other || dwarf_die_attr(seed, DW_AT_low_pc).class == DWARF_NONE)
			offsets[count++] = (uint32_t)seed->offset;
	}
	return count ? dwarf_filter_offsets(search->file, offsets, count, search->marks) : 0;
}

static int file_search(struct search *search, struct dwarf_file *file)
{
	_cleanup_free_ bool *marks = calloc(file->unit_count + 1, sizeof(*marks));
	_cleanup_free_ bool *walked = calloc(file->unit_count + 1, sizeof(*walked));

	if (!marks || !walked)
		return -ENOMEM;
	search->file = file;
	search->marks = marks;
	search->walked = walked;
	int r = dwarf_filter_name(file, search->name, marks);

	if (r && r != -ENOMEM)
		return r;
	marked_walk(search);
	r = referring_mark(search);
	marked_walk(search);
	return search->no_memory ? -ENOMEM : r;
}

/* Skeletons know no names: what they stand for is opened first. */
static void splits_open(struct object_dwarf *dwarf)
{
	for (size_t i = 0; i < dwarf->main->unit_count; i++)
		if (dwarf_unit_root(dwarf->main->units[i]))
			dwarf_unit_real(dwarf->main->units[i]);
}

/* ---- by symbol ---- */

/* An alias, or a mangled name: the function whose code starts where the symbol points. */
static int by_symbol(struct search *search)
{
	const struct object_symbol **symbols = NULL;
	long count = object_find(search->dwarf->object, search->name, true, &symbols, NULL);

	for (long i = 0; i < count; i++) {
		struct dwarf_unit *unit = dwarf_unit_for(search->dwarf, symbols[i]->vaddr);
		struct dwarf_scopes scopes = { .count = 0 };

		if (unit)
			dwarf_scopes_at(unit, symbols[i]->vaddr, &scopes);
		if (scopes.count)
			instance_add(search, &scopes.list[0]);
	}
	if (count >= 0)
		free(symbols);
	return search->no_memory ? -ENOMEM : 0;
}

static int not_found(struct search *search, struct utap_error *err)
{
	const char *near[3];
	size_t count = object_suggest(search->dwarf->object, search->name, near, 3);
	char hint[200] = "";

	for (size_t i = 0; i < count; i++) {
		size_t used = strlen(hint);

		snprintf(hint + used, sizeof(hint) - used, "%s%.50s", i ? ", " : "; did you mean ", near[i]);
	}
	return base_error(err, -ENOENT, UTAP_ERROR_NOT_FOUND, "%s: no code of a function '%.150s'%s%.80s is known to its debug information%s%s",
			  search->dwarf->object->path, search->name, search->source ? " in " : "",
			  search->source ? search->source : "", hint, count ? "?" : "");
}

int dwarf_functions(struct object_dwarf *dwarf, const char *name, const char *source, struct dwarf_instances *ret,
		    struct utap_error *err)
{
	struct search search = { .dwarf = dwarf, .name = name, .last = dwarf_name_last(name), .source = source, .found = ret };
	int r = 0;

	splits_open(dwarf);
	/* What dwz shares first: seeds there are referred to by the others. */
	if (dwarf->main->alternate)
		r = file_search(&search, dwarf->main->alternate);
	for (struct dwarf_file *file = dwarf->files; file && !r; file = file->next)
		if (file != dwarf->main->alternate)
			r = file_search(&search, file);
	if (!r && !ret->count)
		r = by_symbol(&search);
	free(search.seeds);
	if (r)
		return dwarf_no_memory(dwarf, err);
	return ret->count ? 0 : not_found(&search, err);
}
