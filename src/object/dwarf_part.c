/* SPDX-License-Identifier: MIT */
/*
 * From a variable to a part of it: members, elements, what a pointer points to. A part is a location and a type; nothing is read, offsets are
 * added up and loads are nested.
 */
#include <stdio.h>
#include <string.h>

#include "object/dwarf_inside.h"

#define MEMBER_DEPTH 8 /* of base classes and unnamed structures */

struct dwarf_part dwarf_part_refused(struct dwarf_context *context, const char *format, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	return (struct dwarf_part) { .where = dwarf_location_refused(context->arena, "%s", text) };
}

static bool is_nothing(const struct dwarf_part *part)
{
	return part->where.kind == DWARF_REFUSED || (part->where.kind == DWARF_NOWHERE && !part->where.piece_count);
}

bool dwarf_type_is_whole(const struct dwarf_die *plain)
{
	uint16_t tag = dwarf_type_tag(plain);

	return tag == DW_TAG_structure_type || tag == DW_TAG_class_type || tag == DW_TAG_union_type;
}

bool dwarf_type_is_reference(const struct dwarf_die *plain)
{
	uint16_t tag = dwarf_type_tag(plain);

	return tag == DW_TAG_reference_type || tag == DW_TAG_rvalue_reference_type;
}

bool dwarf_type_is_char(const struct dwarf_die *plain)
{
	uint64_t size;

	if (dwarf_type_tag(plain) != DW_TAG_base_type || !dwarf_type_size(plain, &size) || size != 1)
		return false;
	uint64_t encoding = dwarf_die_attr(plain, DW_AT_encoding).u;

	return encoding == DW_ATE_signed_char || encoding == DW_ATE_unsigned_char || encoding == DW_ATE_UTF;
}

/* ---- places inside of a location ---- */

static void move_by(struct dwarf_location *where, uint64_t bytes)
{
	if (where->kind == DWARF_AT_MEMORY && !where->piece_count)
		where->chain.offsets[where->chain.derefs] = (int64_t)((uint64_t)where->chain.offsets[where->chain.derefs] + bytes);
	else
		where->shift += bytes * 8;
}

struct dwarf_location dwarf_part_narrow(struct dwarf_context *context, const struct dwarf_location *where, uint64_t bits)
{
	uint64_t start = 0;

	if (!where->piece_count)
		return *where;
	for (size_t i = 0; i < where->piece_count; start += where->pieces[i].bits, i++) {
		const struct dwarf_piece *piece = &where->pieces[i];

		if (where->shift < start || where->shift - start >= piece->bits)
			continue;
		if (bits > piece->bits - (where->shift - start))
			return dwarf_location_refused(context->arena, "it lies in several places at this address");
		struct dwarf_location found = piece->where;

		if ((where->shift - start) % 8 && found.kind == DWARF_AT_MEMORY)
			return dwarf_location_refused(context->arena, "its pieces do not start at whole bytes");
		if (found.kind == DWARF_AT_MEMORY)
			move_by(&found, (where->shift - start) / 8);
		else
			found.shift += where->shift - start;
		return found;
	}
	return (struct dwarf_location) { .kind = DWARF_NOWHERE };
}

/* ---- pointers ---- */

static struct dwarf_location constant_address(const struct dwarf_location *where)
{
	struct dwarf_location ret = { .kind = DWARF_AT_MEMORY };
	uint64_t value = 0;

	if (where->shift / 8 > where->size || where->size - where->shift / 8 < 8)
		return (struct dwarf_location) { .kind = DWARF_NOWHERE };
	memcpy(&value, where->bytes + where->shift / 8, sizeof(value));
	ret.chain.offsets[0] = (int64_t)value;
	return ret;
}

static struct dwarf_location pointed_to(struct dwarf_context *context, struct dwarf_location where)
{
	switch (where.kind) {
	case DWARF_AT_MEMORY:
		if (where.chain.derefs == DWARF_DEREFS)
			return dwarf_location_refused(context->arena, "it is behind too many pointers");
		where.chain.offsets[++where.chain.derefs] = 0;
		return where;
	case DWARF_IN_VALUE:
		if (where.shift || where.chain.cut)
			return dwarf_location_refused(context->arena, "the pointer is only a part of a register");
		where.kind = DWARF_AT_MEMORY;
		return where;
	case DWARF_IN_BYTES:
		return constant_address(&where);
	case DWARF_AS_POINTER: {
		struct dwarf_location target = dwarf_location_of(context, &where.target);

		move_by(&target, (uint64_t)where.offset);
		return target;
	}
	case DWARF_NOWHERE:
	case DWARF_REFUSED:
		break;
	}
	return where;
}

struct dwarf_part dwarf_part_deref(struct dwarf_context *context, const struct dwarf_part *pointer)
{
	struct dwarf_die plain = dwarf_type_strip(pointer->type);
	uint16_t tag = dwarf_type_tag(&plain);

	if (is_nothing(pointer))
		return *pointer;
	if (tag == DW_TAG_array_type)
		return dwarf_part_element(context, pointer, 0);
	if (tag != DW_TAG_pointer_type && !dwarf_type_is_reference(&plain))
		return dwarf_part_refused(context, "%s is not a pointer", dwarf_type_name(context->arena, &pointer->type));
	struct dwarf_part part = { .type = dwarf_type_of(&plain) };
	struct dwarf_location where = dwarf_part_narrow(context, &pointer->where, 64);

	part.where = pointed_to(context, where);
	return part;
}

struct dwarf_part dwarf_part_plain(struct dwarf_context *context, const struct dwarf_part *part, struct dwarf_die *type)
{
	struct dwarf_part at = *part;
	struct dwarf_die plain = dwarf_type_strip(at.type);

	for (unsigned i = 0; i < DWARF_REFERENCES && dwarf_type_is_reference(&plain) && !is_nothing(&at); i++) {
		at = dwarf_part_deref(context, &at);
		plain = dwarf_type_strip(at.type);
	}
	if (plain.unit)
		plain = dwarf_type_complete(&plain);
	*type = plain;
	return at;
}

/* ---- members ---- */

/* A constant, or the expression that old compilers wrote for one. */
static bool member_offset(const struct dwarf_die *member, uint64_t *ret)
{
	struct dwarf_value value = dwarf_die_attr(member, DW_AT_data_member_location);

	*ret = value.u;
	if (value.class == DWARF_NONE || value.class == DWARF_CONSTANT)
		return true;
	if (value.class != DWARF_BLOCK)
		return false;
	struct object_cursor cursor = object_cursor_init(value.block, value.size, 0);

	if (object_cursor_u8(&cursor) != DW_OP_plus_uconst)
		return false;
	*ret = object_cursor_uleb(&cursor);
	return !cursor.failed && cursor.at == cursor.end;
}

static bool bit_field(const struct dwarf_die *member, struct dwarf_part *part)
{
	struct dwarf_value count = dwarf_die_attr(member, DW_AT_bit_size);
	struct dwarf_value first = dwarf_die_attr(member, DW_AT_data_bit_offset);
	struct dwarf_value old = dwarf_die_attr(member, DW_AT_bit_offset);
	struct dwarf_value storage = dwarf_die_attr(member, DW_AT_byte_size);
	uint64_t size;

	if (count.class == DWARF_NONE)
		return true;
	if (!dwarf_type_size(&part->type, &size))
		return false;
	if (storage.class == DWARF_CONSTANT)
		size = storage.u;
	part->is_bits = true;
	part->bit_count = count.u;
	if (first.class == DWARF_CONSTANT)
		part->bit_first = first.u;
	else if (old.class == DWARF_CONSTANT) /* counted from the storage's high end */
		part->bit_first = size * 8 - old.u - count.u;
	return count.u && count.u <= 64 && part->bit_first < UINT32_MAX;
}

struct dwarf_part dwarf_part_of(struct dwarf_context *context, const struct dwarf_part *whole, const struct dwarf_die *member)
{
	struct dwarf_part part = { .where = whole->where, .type = dwarf_type_of(member) };
	uint64_t offset;

	if (dwarf_die_flag(member, DW_AT_external) || dwarf_die_flag(member, DW_AT_declaration) ||
	    member->abbrev->tag == DW_TAG_variable) {
		part.where = dwarf_location_of(context, member);
		return part;
	}
	if (!member_offset(member, &offset) || offset > UINT32_MAX)
		return dwarf_part_refused(context, "where it lies in its object is known at run time only (a virtual base class)");
	if (!bit_field(member, &part))
		return dwarf_part_refused(context, "its bit field is described in a way that makes no sense");
	move_by(&part.where, offset);
	return part;
}

static bool names_member(const struct dwarf_die *die, const char *name, size_t length)
{
	const char *own = dwarf_die_name(die);

	if (!own)
		return false;
	if (strlen(own) == length && memcmp(own, name, length) == 0)
		return true;
	/* Rust's tuples: .0 is called __0. */
	return length && name[0] >= '0' && name[0] <= '9' && strncmp(own, "__", 2) == 0 && strlen(own) == length + 2 &&
	       memcmp(own + 2, name, length) == 0;
}

static bool member_find(struct dwarf_context *context, const struct dwarf_part *whole, const struct dwarf_die *type,
			const char *name, size_t length, unsigned depth, struct dwarf_part *ret)
{
	struct dwarf_children children;
	struct dwarf_die child;

	dwarf_children_init(&children, type);
	while (dwarf_children_next(&children, &child)) {
		uint16_t tag = child.abbrev->tag;

		if (tag != DW_TAG_member && tag != DW_TAG_inheritance && tag != DW_TAG_variable)
			continue;
		if (tag != DW_TAG_inheritance && names_member(&child, name, length)) {
			*ret = dwarf_part_of(context, whole, &child);
			return true;
		}
	}
	/* Own members hide those of bases and unnamed structures. */
	dwarf_children_init(&children, type);
	while (depth < MEMBER_DEPTH && dwarf_children_next(&children, &child)) {
		if (child.abbrev->tag != DW_TAG_inheritance && (child.abbrev->tag != DW_TAG_member || dwarf_die_name(&child)))
			continue;
		struct dwarf_part inner = dwarf_part_of(context, whole, &child);
		struct dwarf_die plain = dwarf_type_strip(inner.type);

		if (dwarf_type_is_whole(&plain) && member_find(context, &inner, &plain, name, length, depth + 1, ret))
			return true;
	}
	return false;
}

struct dwarf_part dwarf_part_member(struct dwarf_context *context, const struct dwarf_part *whole, const char *name,
				    size_t length)
{
	struct dwarf_part found;
	struct dwarf_die type;
	struct dwarf_part part = dwarf_part_plain(context, whole, &type);

	if (is_nothing(&part))
		return part;
	if (dwarf_type_tag(&type) == DW_TAG_pointer_type) { /* p.x is as good as p->x */
		part = dwarf_part_deref(context, &part);
		part = dwarf_part_plain(context, &part, &type);
		if (is_nothing(&part))
			return part;
	}
	if (!dwarf_type_is_whole(&type))
		return dwarf_part_refused(context, "%s has no members", dwarf_type_name(context->arena, &whole->type));
	if (dwarf_die_flag(&type, DW_AT_declaration))
		return dwarf_part_refused(context, "%s is only declared in this part of the program",
					  dwarf_type_name(context->arena, &type));
	if (!member_find(context, &part, &type, name, length, 0, &found))
		return dwarf_part_refused(context, "%s has no member '%.*s'", dwarf_type_name(context->arena, &type),
					  (int)(length < 100 ? length : 100), name);
	return found;
}

/* ---- elements ---- */

/* What an element of an array of several dimensions is: for all but the last index it has no entry of its own. */
struct dwarf_part dwarf_part_element(struct dwarf_context *context, const struct dwarf_part *whole, int64_t index)
{
	struct dwarf_die type;
	struct dwarf_part part = dwarf_part_plain(context, whole, &type);
	uint64_t count = 0;
	uint64_t stride;
	uint64_t size;

	if (is_nothing(&part))
		return part;
	if (dwarf_type_tag(&type) == DW_TAG_pointer_type) {
		part = dwarf_part_deref(context, &part);
		if (is_nothing(&part))
			return part;
		if (!dwarf_type_size(&part.type, &stride) || stride > UINT32_MAX)
			return dwarf_part_refused(context, "how large what it points to is, is not known");
	} else if (!dwarf_array_shape(&type, &count, &stride)) {
		return dwarf_part_refused(context, "%s has no elements", dwarf_type_name(context->arena, &whole->type));
	} else {
		part.type = dwarf_type_of(&type);
		if (count && (index < 0 || (uint64_t)index >= count))
			return dwarf_part_refused(context, "the array has %llu elements, from 0",
						  (unsigned long long)count);
		if (!dwarf_type_size(&part.type, &size) || size != stride)
			return dwarf_part_refused(context, "elements of arrays of several dimensions cannot be named yet");
	}
	if (index > INT32_MAX || index < INT32_MIN)
		return dwarf_part_refused(context, "the index is too large");
	move_by(&part.where, (uint64_t)(index * (int64_t)stride));
	return part;
}
