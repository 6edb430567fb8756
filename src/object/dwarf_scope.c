/* SPDX-License-Identifier: MIT */
/*
 * Scopes: the function, blocks and inlined instances around an address, and the variables that can be named there. An inlined instance is a
 * function of its own: names of the function around it are not seen from inside.
 */
#include <string.h>

#include "object/dwarf_inside.h"

#define SEEN_MAX 256

static bool is_block(uint16_t tag)
{
	switch (tag) {
	case DW_TAG_subprogram:
	case DW_TAG_inlined_subroutine:
	case DW_TAG_lexical_block:
	case DW_TAG_try_block:
	case DW_TAG_catch_block:
		return true;
	default:
		return false;
	}
}

/* Functions may lie in namespaces, classes, and (nested ones, lambdas) in functions. */
static bool may_hold_functions(uint16_t tag)
{
	switch (tag) {
	case DW_TAG_compile_unit:
	case DW_TAG_namespace:
	case DW_TAG_module:
	case DW_TAG_class_type:
	case DW_TAG_structure_type:
	case DW_TAG_union_type:
		return true;
	default:
		return false;
	}
}

static bool has_code(const struct dwarf_die *die)
{
	return dwarf_die_attr(die, DW_AT_low_pc).class != DWARF_NONE || dwarf_die_attr(die, DW_AT_ranges).class != DWARF_NONE;
}

/* The outermost function that holds the address. */
static bool function_at(struct dwarf_unit *unit, uint64_t vaddr, struct dwarf_die *ret)
{
	struct dwarf_die root;
	struct dwarf_die die;
	struct dwarf_walk walk;

	if (!dwarf_unit_root(unit) || !dwarf_die_read(unit, unit->first, &root))
		return false;
	dwarf_walk_init(&walk, &root);
	while (dwarf_walk_next(&walk, &die)) {
		uint16_t tag = die.abbrev->tag;

		if (tag == DW_TAG_subprogram && dwarf_die_has_pc(&die, vaddr)) {
			*ret = die;
			return true;
		}
		if (!may_hold_functions(tag) || !die.abbrev->children)
			dwarf_walk_skip(&walk);
	}
	return false;
}

/* The child of the scope that holds the address; blocks without code of their own are looked into as if they were not there. */
static bool inner_at(const struct dwarf_die *scope, uint64_t vaddr, struct dwarf_die *ret)
{
	struct dwarf_walk walk;
	struct dwarf_die die;

	dwarf_walk_init(&walk, scope);
	while (dwarf_walk_next(&walk, &die)) {
		if (walk.depth == 0)
			continue;
		if (!is_block(die.abbrev->tag)) {
			dwarf_walk_skip(&walk);
		} else if (has_code(&die)) {
			if (dwarf_die_has_pc(&die, vaddr)) {
				*ret = die;
				return true;
			}
			dwarf_walk_skip(&walk);
		} else if (die.abbrev->tag != DW_TAG_lexical_block) {
			dwarf_walk_skip(&walk); /* an abstract one */
		}
	}
	return false;
}

void dwarf_scopes_at(struct dwarf_unit *unit, uint64_t vaddr, struct dwarf_scopes *ret)
{
	struct dwarf_die at;

	ret->count = 0;
	unit = dwarf_unit_real(unit);
	if (!function_at(unit, vaddr, &at))
		return;
	do
		ret->list[ret->count++] = at;
	while (ret->count < DWARF_NESTING && inner_at(&ret->list[ret->count - 1], vaddr, &at));
}

size_t dwarf_scopes_inner(const struct dwarf_scopes *scopes)
{
	for (size_t i = scopes->count; i > 0; i--)
		if (scopes->list[i - 1].abbrev->tag != DW_TAG_lexical_block)
			return i - 1;
	return 0;
}

/* ---- variables ---- */

struct seen {
	const char *names[SEEN_MAX];
	size_t count;
	dwarf_variable_fn *fn;
	void *arg;
	bool enough;
};

static bool is_variable(const struct dwarf_die *die)
{
	return die->abbrev->tag == DW_TAG_formal_parameter || die->abbrev->tag == DW_TAG_variable;
}

/* What an inner scope calls so hides what an outer one does. */
static void hand_out(struct seen *seen, const struct dwarf_die *die)
{
	const char *name = dwarf_die_name(die);

	if (!name || !*name)
		return;
	for (size_t i = 0; i < seen->count; i++)
		if (strcmp(seen->names[i], name) == 0)
			return;
	if (seen->count < SEEN_MAX)
		seen->names[seen->count++] = name;
	seen->enough = !seen->fn(seen->arg, die, name);
}

static void children_of(struct seen *seen, const struct dwarf_die *scope)
{
	struct dwarf_children children;
	struct dwarf_die child;

	dwarf_children_init(&children, scope);
	while (!seen->enough && dwarf_children_next(&children, &child))
		if (is_variable(&child))
			hand_out(seen, &child);
}

void dwarf_scopes_variables(const struct dwarf_scopes *scopes, size_t from, dwarf_variable_fn *fn, void *arg)
{
	struct seen seen = { .fn = fn, .arg = arg };
	size_t end = from + 1;

	while (end < scopes->count && scopes->list[end].abbrev->tag == DW_TAG_lexical_block)
		end++; /* a function inlined further in is not meant */
	for (size_t i = end < scopes->count ? end : scopes->count; i > from && !seen.enough; i--) {
		struct dwarf_die scope = scopes->list[i - 1];
		struct dwarf_die origin;

		/* A lexical block in the entries that has no code of its own was looked through: its variables are those of its parent. */
		children_of(&seen, &scope);
		/* What the compiler dropped is only in the abstract function. */
		for (unsigned n = 0; n < DWARF_REFERENCES && !seen.enough && dwarf_die_reference(&scope, DW_AT_abstract_origin, &origin); n++) {
			children_of(&seen, &origin);
			scope = origin;
		}
	}
}

void dwarf_externs(struct dwarf_unit *unit, bool qualified, dwarf_variable_fn *fn, void *arg)
{
	struct dwarf_die root;
	struct dwarf_die die;
	struct dwarf_walk walk;

	unit = dwarf_unit_real(unit);
	if (!dwarf_unit_root(unit) || !dwarf_die_read(unit, unit->first, &root))
		return;
	dwarf_walk_init(&walk, &root);
	while (dwarf_walk_next(&walk, &die)) {
		uint16_t tag = die.abbrev->tag;
		const char *name = tag == DW_TAG_variable ? dwarf_die_name(&die) : NULL;

		if (name && qualified)
			name = dwarf_die_qualified(&unit->dwarf->arena, &die);
		if (name && *name && !fn(arg, &die, name))
			return;
		if (walk.depth > 0 && tag != DW_TAG_namespace)
			dwarf_walk_skip(&walk);
	}
}
