/* SPDX-License-Identifier: MIT */
/*
 * Types: what they are without typedefs, how large, and what they are called. C's words are put together ("struct conn *"); in C++, Rust and Go
 * an entry brings its name, and the namespaces around it are put before it.
 */
#include <string.h>

#include "object/dwarf_inside.h"

#define NAME_DEPTH 24

struct dwarf_die dwarf_type_of(const struct dwarf_die *die)
{
	struct dwarf_die at = *die;
	struct dwarf_die type;
	struct dwarf_die origin;

	for (unsigned i = 0; at.unit && i < DWARF_REFERENCES; i++) {
		if (dwarf_die_reference(&at, DW_AT_type, &type)) {
			struct dwarf_die full;

			/* A stand-in for a type in a unit of its own. */
			return dwarf_die_reference(&type, DW_AT_signature, &full) ? full : type;
		}
		if (!dwarf_die_origin(&at, &origin))
			break;
		at = origin;
	}
	return (struct dwarf_die) { 0 };
}

uint16_t dwarf_type_tag(const struct dwarf_die *type)
{
	return type->unit ? type->abbrev->tag : 0;
}

static bool is_qualifier(uint16_t tag)
{
	return tag == DW_TAG_const_type || tag == DW_TAG_volatile_type || tag == DW_TAG_restrict_type ||
	       tag == DW_TAG_atomic_type;
}

struct dwarf_die dwarf_type_strip(struct dwarf_die type)
{
	for (unsigned i = 0; i < DWARF_REFERENCES; i++) {
		uint16_t tag = dwarf_type_tag(&type);

		if (tag != DW_TAG_typedef && !is_qualifier(tag))
			return type;
		type = dwarf_type_of(&type);
	}
	return (struct dwarf_die) { 0 };
}

struct dwarf_die dwarf_type_complete(const struct dwarf_die *type)
{
	const char *name = dwarf_die_name(type);
	struct dwarf_die root;
	struct dwarf_die die;
	struct dwarf_walk walk;
	struct dwarf_die full;

	if (!dwarf_die_flag(type, DW_AT_declaration))
		return *type;
	if (dwarf_die_reference(type, DW_AT_signature, &full))
		return full;
	if (!name || !dwarf_die_read(type->unit, type->unit->first, &root))
		return *type;
	dwarf_walk_init(&walk, &root);
	while (dwarf_walk_next(&walk, &die)) {
		uint16_t tag = die.abbrev->tag;

		if (tag == type->abbrev->tag && !dwarf_die_flag(&die, DW_AT_declaration)) {
			const char *other = dwarf_die_name(&die);

			if (other && strcmp(other, name) == 0)
				return die;
		}
		if (tag != DW_TAG_compile_unit && tag != DW_TAG_partial_unit && tag != DW_TAG_namespace && walk.depth > 0)
			dwarf_walk_skip(&walk);
	}
	return *type;
}

/* ---- arrays ---- */

static bool subrange_count(const struct dwarf_die *range, uint64_t *ret)
{
	struct dwarf_value count = dwarf_die_attr(range, DW_AT_count);
	struct dwarf_value upper = dwarf_die_attr(range, DW_AT_upper_bound);
	struct dwarf_value lower = dwarf_die_attr(range, DW_AT_lower_bound);

	if (count.class == DWARF_CONSTANT) {
		*ret = count.u;
		return true;
	}
	if (upper.class != DWARF_CONSTANT || (lower.class != DWARF_NONE && lower.class != DWARF_CONSTANT))
		return false;
	*ret = upper.u - lower.u + 1;
	return true;
}

/* Elements of all dimensions but the first @skip ones; *@first of the first of them. */
static bool dimensions(const struct dwarf_die *type, uint64_t *first, uint64_t *inner)
{
	struct dwarf_children children;
	struct dwarf_die child;
	unsigned seen = 0;

	*inner = 1;
	dwarf_children_init(&children, type);
	while (dwarf_children_next(&children, &child)) {
		uint64_t count;

		if (child.abbrev->tag != DW_TAG_subrange_type && child.abbrev->tag != DW_TAG_enumeration_type)
			continue;
		if (!subrange_count(&child, &count)) {
			if (seen)
				return false;
			count = 0; /* int a[]: no length */
		}
		if (seen++ == 0)
			*first = count;
		else if (count && *inner > UINT32_MAX / count)
			return false;
		else
			*inner *= count;
	}
	return seen > 0;
}

bool dwarf_array_shape(const struct dwarf_die *type, uint64_t *count, uint64_t *stride)
{
	struct dwarf_die element = dwarf_type_of(type);
	uint64_t inner;
	uint64_t size;

	if (dwarf_type_tag(type) != DW_TAG_array_type || !element.unit || !dimensions(type, count, &inner) ||
	    !dwarf_type_size(&element, &size) || size > UINT32_MAX)
		return false;
	*stride = size * inner;
	return true;
}

/* @depth: arrays of typedefs of arrays .. */
static bool size_of(const struct dwarf_die *type, unsigned depth, uint64_t *ret)
{
	struct dwarf_die plain = dwarf_type_strip(*type);

	if (!plain.unit || depth > 8)
		return false;
	struct dwarf_die whole = dwarf_type_complete(&plain);
	struct dwarf_value size = dwarf_die_attr(&whole, DW_AT_byte_size);
	uint64_t first;
	uint64_t inner;

	if (size.class == DWARF_CONSTANT) {
		*ret = size.u;
		return true;
	}
	switch (whole.abbrev->tag) {
	case DW_TAG_pointer_type:
	case DW_TAG_reference_type:
	case DW_TAG_rvalue_reference_type:
	case DW_TAG_subroutine_type:
		*ret = 8;
		return true;
	case DW_TAG_enumeration_type: {
		struct dwarf_die under = dwarf_type_of(&whole);

		return size_of(&under, depth + 1, ret);
	}
	case DW_TAG_array_type: {
		struct dwarf_die element = dwarf_type_of(&whole);

		if (!dimensions(&whole, &first, &inner) || !size_of(&element, depth + 1, ret) || *ret > UINT32_MAX ||
		    first > UINT32_MAX || (first && inner > UINT32_MAX / first))
			return false;
		*ret *= first * inner;
		return true;
	}
	default:
		return false;
	}
}

bool dwarf_type_size(const struct dwarf_die *type, uint64_t *ret)
{
	return size_of(type, 0, ret);
}

/* ---- names ---- */

static char *name_at(struct dwarf_arena *arena, const struct dwarf_die *type, unsigned depth);

/* "int *": a blank before the first star only. */
static char *pointer_name(struct dwarf_arena *arena, const char *to, const char *sign)
{
	size_t length = strlen(to);
	bool close = length && (to[length - 1] == '*' || to[length - 1] == '&');
	const char *function = strstr(to, " (");

	if (function && to[length - 1] == ')' && function[2] != '*') /* a pointer to a function */
		return dwarf_print(arena, "%.*s (%s)%s", (int)(function - to), to, sign, function + 1);
	return dwarf_print(arena, "%s%s%s", to, close ? "" : " ", sign);
}

static char *function_name(struct dwarf_arena *arena, const struct dwarf_die *type, unsigned depth)
{
	struct dwarf_die returned = dwarf_type_of(type);
	char *text = dwarf_print(arena, "%s (", name_at(arena, &returned, depth));
	struct dwarf_children children;
	struct dwarf_die child;
	bool any = false;

	if (depth > 4) /* types of damaged files may hold themselves */
		return dwarf_print(arena, "%s...)", text ? text : "(");
	dwarf_children_init(&children, type);
	while (text && dwarf_children_next(&children, &child)) {
		struct dwarf_die parameter = dwarf_type_of(&child);

		if (child.abbrev->tag == DW_TAG_formal_parameter)
			text = dwarf_print(arena, "%s%s%s", text, any ? ", " : "", name_at(arena, &parameter, depth));
		else if (child.abbrev->tag == DW_TAG_unspecified_parameters)
			text = dwarf_print(arena, "%s%s...", text, any ? ", " : "");
		any = true;
	}
	return dwarf_print(arena, "%s%s)", text ? text : "(", any ? "" : "void");
}

static char *array_name(struct dwarf_arena *arena, const struct dwarf_die *type, unsigned depth)
{
	struct dwarf_die element = dwarf_type_of(type);
	const char *base = name_at(arena, &element, depth);
	struct dwarf_children children;
	struct dwarf_die child;
	char *text = dwarf_print(arena, "%s", "");

	dwarf_children_init(&children, type);
	while (text && dwarf_children_next(&children, &child)) {
		uint64_t count;

		if (child.abbrev->tag != DW_TAG_subrange_type)
			continue;
		if (subrange_count(&child, &count))
			text = dwarf_print(arena, "%s[%llu]", text, (unsigned long long)count);
		else
			text = dwarf_print(arena, "%s[]", text);
	}
	/* An array of arrays (typedefs): the outer length comes first. */
	const char *bracket = strchr(base, '[');

	if (bracket)
		return dwarf_print(arena, "%.*s%s%s", (int)(bracket - base), base, text ? text : "[]", bracket);
	return dwarf_print(arena, "%s %s", base, text ? text : "[]");
}

static const char *c_word(const struct dwarf_die *type)
{
	if (!dwarf_unit_is_c_family(type->unit))
		return "";
	switch (type->abbrev->tag) {
	case DW_TAG_structure_type:
		return "struct ";
	case DW_TAG_union_type:
		return "union ";
	case DW_TAG_enumeration_type:
		return "enum ";
	default:
		return "";
	}
}

static char *named(struct dwarf_arena *arena, const struct dwarf_die *type)
{
	const char *qualified = dwarf_die_qualified(arena, type);

	if (qualified && *qualified)
		return dwarf_print(arena, "%s%s", c_word(type), qualified);
	return dwarf_print(arena, "%s{...}", type->abbrev->tag == DW_TAG_union_type	  ? "union " :
					     type->abbrev->tag == DW_TAG_enumeration_type ? "enum " :
											    "struct ");
}

static char *qualified_name(struct dwarf_arena *arena, const struct dwarf_die *type, unsigned depth)
{
	struct dwarf_die inner = dwarf_type_of(type);
	const char *word = type->abbrev->tag == DW_TAG_const_type    ? "const" :
			   type->abbrev->tag == DW_TAG_volatile_type ? "volatile" :
			   type->abbrev->tag == DW_TAG_atomic_type   ? "_Atomic" :
								       "restrict";
	char *text = name_at(arena, &inner, depth);
	uint16_t tag = dwarf_type_tag(&inner);

	if (tag == DW_TAG_pointer_type || tag == DW_TAG_reference_type)
		return dwarf_print(arena, "%s %s", text, word);
	return dwarf_print(arena, "%s %s", word, text);
}

static char *name_at(struct dwarf_arena *arena, const struct dwarf_die *type, unsigned depth)
{
	struct dwarf_die inner;
	char *text = NULL;

	if (!type->unit)
		return dwarf_print(arena, "void");
	if (depth > NAME_DEPTH)
		return dwarf_print(arena, "...");
	switch (type->abbrev->tag) {
	case DW_TAG_pointer_type:
	case DW_TAG_reference_type:
	case DW_TAG_rvalue_reference_type:
		if (dwarf_die_name(type)) { /* Rust and Go name them */
			text = dwarf_print(arena, "%s", dwarf_die_name(type));
			break;
		}
		inner = dwarf_type_of(type);
		text = name_at(arena, &inner, depth + 1);
		text = pointer_name(arena, text ? text : "",
				    type->abbrev->tag == DW_TAG_pointer_type   ? "*" :
				    type->abbrev->tag == DW_TAG_reference_type ? "&" :
										 "&&");
		break;
	case DW_TAG_const_type:
	case DW_TAG_volatile_type:
	case DW_TAG_restrict_type:
	case DW_TAG_atomic_type:
		text = qualified_name(arena, type, depth + 1);
		break;
	case DW_TAG_array_type:
		text = dwarf_die_name(type) ? dwarf_print(arena, "%s", dwarf_die_name(type)) :
					      array_name(arena, type, depth + 1);
		break;
	case DW_TAG_subroutine_type:
		text = dwarf_die_name(type) ? dwarf_print(arena, "%s", dwarf_die_name(type)) :
					      function_name(arena, type, depth + 1);
		break;
	default:
		text = named(arena, type);
		break;
	}
	return text ? text : dwarf_print(arena, "?");
}

char *dwarf_type_name(struct dwarf_arena *arena, const struct dwarf_die *type)
{
	char *text = name_at(arena, type, 0);

	return text ? text : "?";
}
