/* SPDX-License-Identifier: MIT */
/*
 * From a part of a variable to a fetch argument: the text of its location, and the type that fetches so many bits of it. Values that a fetch
 * argument would not bring exactly are refused.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "object/dwarf_inside.h"

#define ELEMENTS_MAX 64 /* of an array in a fetch argument, as in the kernel */

/* What is to be fetched. */
struct want {
	uint64_t bits;
	char letter; /* u, s, x */
	enum object_dwarf_show show;
	bool is_signed, is_float;
};

static void refuse(struct dwarf_context *context, struct object_dwarf_arg *arg, const char *why)
{
	const char *kept = dwarf_print(context->arena, "%s", why);

	arg->fetch = NULL;
	arg->why = kept ? kept : "no memory";
}

/* ---- text of locations ---- */

/* @+OFFSET counts from where the probed file's offset 0 would be, as the kernel has it. */
static char *file_text(struct dwarf_context *context, uint64_t vaddr)
{
	uint64_t offset;

	if (object_vaddr_to_offset(context->dwarf->object, context->vaddr, &offset) ||
	    vaddr + offset < context->vaddr)
		return NULL;
	return dwarf_print(context->arena, "@+0x%" PRIx64, vaddr + offset - context->vaddr);
}

/* What lies at the address that the chain is; NULL: no memory, or not possible. */
static char *memory_text(struct dwarf_context *context, const struct dwarf_chain *chain)
{
	const char *name = dwarf_register_name(chain->reg);
	char *text = NULL;

	switch (chain->base) {
	case DWARF_BASE_REGISTER:
		text = name ? dwarf_print(context->arena, "%+" PRId64 "(%%%s)", chain->offsets[0], name) : NULL;
		break;
	case DWARF_BASE_CONSTANT:
		text = dwarf_print(context->arena, "@0x%" PRIx64, (uint64_t)chain->offsets[0]);
		break;
	case DWARF_BASE_FILE:
		text = file_text(context, (uint64_t)chain->offsets[0]);
		break;
	}
	for (unsigned i = 1; i <= chain->derefs && text; i++)
		text = dwarf_print(context->arena, "%+" PRId64 "(%s)", chain->offsets[i], text);
	return text;
}

static bool is_in_vector(const struct dwarf_chain *chain)
{
	return chain->base == DWARF_BASE_REGISTER && !chain->derefs && dwarf_register_is_vector(chain->reg);
}

/* The chain's value itself; NULL with arg->why when fetch arguments cannot give it. */
static char *value_text(struct dwarf_context *context, const struct dwarf_chain *chain, struct object_dwarf_arg *arg)
{
	struct dwarf_chain address = *chain;
	char why[160];

	if (is_in_vector(chain) && !chain->offsets[0])
		return dwarf_print(context->arena, "%%xmm%u", chain->reg - 17);
	if (!chain->derefs && chain->base == DWARF_BASE_REGISTER && !chain->offsets[0] && !is_in_vector(chain))
		return dwarf_print(context->arena, "%%%s", dwarf_register_name(chain->reg));
	if (chain->derefs && !chain->offsets[chain->derefs]) {
		address.derefs--; /* the last load is the fetch itself */
		return memory_text(context, &address);
	}
	if (is_in_vector(chain))
		snprintf(why, sizeof(why), "its value is computed from a vector register, which fetch arguments cannot");
	else if (chain->base == DWARF_BASE_REGISTER && !chain->derefs)
		snprintf(why, sizeof(why), "its value is %%%s%+" PRId64 ", which fetch arguments cannot compute; what it points to can be fetched",
			 dwarf_register_name(chain->reg), chain->offsets[0]);
	else
		snprintf(why, sizeof(why), "its value is a computed address, which fetch arguments cannot give; what it points to can be fetched");
	refuse(context, arg, why);
	return NULL;
}

static void finish(struct dwarf_context *context, struct object_dwarf_arg *arg, const char *text, const char *type)
{
	arg->fetch = text && type ? dwarf_print(context->arena, "%s:%s", text, type) : NULL;
	if (!arg->fetch && !arg->why)
		refuse(context, arg, "it lies outside of what fetch arguments can address");
}

/* ---- types ---- */

static bool want_base(const struct dwarf_die *plain, struct want *want)
{
	switch (dwarf_die_attr(plain, DW_AT_encoding).u) {
	case DW_ATE_boolean:
		want->show = OBJECT_DWARF_BOOL;
		return true;
	case DW_ATE_signed:
		want->is_signed = true;
		want->show = OBJECT_DWARF_SIGNED;
		return true;
	case DW_ATE_signed_char:
		want->is_signed = true;
		want->show = OBJECT_DWARF_CHAR;
		return true;
	case DW_ATE_unsigned_char:
	case DW_ATE_UTF:
		want->show = OBJECT_DWARF_CHAR;
		return true;
	case DW_ATE_unsigned:
		want->show = OBJECT_DWARF_UNSIGNED;
		return true;
	case DW_ATE_address:
		want->show = OBJECT_DWARF_POINTER;
		return true;
	case DW_ATE_float:
		want->is_float = true;
		want->show = OBJECT_DWARF_FLOAT;
		return true;
	default:
		return false;
	}
}

static bool want_enum(const struct dwarf_die *plain, struct want *want)
{
	struct dwarf_die under = dwarf_type_of(plain);
	struct dwarf_die base = under.unit ? dwarf_type_strip(under) : under;

	if (dwarf_type_tag(&base) == DW_TAG_base_type)
		want_base(&base, want);
	want->show = OBJECT_DWARF_ENUM;
	return true;
}

/* A number of a machine's size; false: no such. */
static bool want_of(const struct dwarf_die *plain, struct want *want)
{
	uint64_t bytes;
	bool known = false;

	*want = (struct want) { .letter = 'u' };
	if (!plain->unit || !dwarf_type_size(plain, &bytes))
		return false;
	switch (plain->abbrev->tag) {
	case DW_TAG_base_type:
		known = want_base(plain, want);
		break;
	case DW_TAG_enumeration_type:
		known = want_enum(plain, want);
		break;
	case DW_TAG_pointer_type:
	case DW_TAG_subroutine_type:
		want->show = OBJECT_DWARF_POINTER;
		known = true;
		break;
	default:
		break;
	}
	want->bits = bytes * 8;
	if (want->show == OBJECT_DWARF_POINTER || want->is_float)
		want->letter = 'x';
	else if (want->is_signed)
		want->letter = 's';
	return known && (bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8);
}

static char *type_text(struct dwarf_context *context, const struct want *want)
{
	return dwarf_print(context->arena, "%c%" PRIu64, want->letter, want->bits);
}

static unsigned container(uint64_t bits)
{
	return bits <= 8 ? 8 : bits <= 16 ? 16 : bits <= 32 ? 32 : 64;
}

/* ---- values ---- */

static void fetch_constant(struct dwarf_context *context, const struct want *want, uint64_t value, struct object_dwarf_arg *arg)
{
	unsigned unused = 64 - (unsigned)want->bits;
	char *text;

	if (want->is_signed) {
		text = dwarf_print(context->arena, "\\%" PRId64, (int64_t)(value << unused) >> unused);
	} else {
		text = dwarf_print(context->arena, "\\%" PRIu64, value << unused >> unused);
	}
	finish(context, arg, text, dwarf_print(context->arena, "%c%u", want->letter, container(want->bits)));
}

static void fetch_bytes(struct dwarf_context *context, const struct dwarf_location *where, const struct want *want,
			struct object_dwarf_arg *arg)
{
	uint64_t value = 0;
	uint64_t first = where->shift / 8;
	uint64_t bytes = (where->shift % 8 + want->bits + 7) / 8;

	if (first > where->size || bytes > where->size - first || bytes > 8) {
		refuse(context, arg, "its constant value is too short");
		return;
	}
	memcpy(&value, where->bytes + first, bytes);
	fetch_constant(context, want, value >> (where->shift % 8), arg);
}

/* Only the low bits of the chain count; the variable's type has more. */
static void fetch_cut(struct dwarf_context *context, const struct dwarf_location *where, const struct want *want,
		      const char *text, struct object_dwarf_arg *arg)
{
	unsigned cut = where->chain.cut;
	bool whole = cut == 8 || cut == 16 || cut == 32;

	if (where->shift || want->is_float || (where->chain.cut_signed && (!whole || !want->is_signed))) {
		refuse(context, arg, "its value is made of a part of a register in a way that fetch arguments cannot express");
		return;
	}
	arg->bits = (uint8_t)cut;
	arg->is_signed = where->chain.cut_signed;
	finish(context, arg, text,
	       whole ? dwarf_print(context->arena, "%c%u", where->chain.cut_signed ? 's' : want->letter == 's' ? 'u' : want->letter, cut) :
		       dwarf_print(context->arena, "b%u@0/%u", cut, container(cut)));
}

/* One of its halves holds all of it, or a field of it. */
static void fetch_vector(struct dwarf_context *context, const struct dwarf_location *where, const struct want *want,
			 struct object_dwarf_arg *arg)
{
	const char *text = value_text(context, &where->chain, arg);
	uint64_t end = where->shift + want->bits;
	char letter = want->is_float ? 'f' : want->letter;

	if (!text)
		return;
	arg->in_vector = true;
	if (where->chain.cut && end > where->chain.cut)
		refuse(context, arg, "its value is made of a part of a register in a way that fetch arguments cannot express");
	else if (end > 128 || (where->shift < 64 && end > 64))
		refuse(context, arg, "it does not lie in one half of the vector register that it is said to be in");
	else if (!where->shift && want->bits == container(want->bits))
		finish(context, arg, text, dwarf_print(context->arena, "%c%" PRIu64, letter, want->bits));
	else
		finish(context, arg, text,
		       dwarf_print(context->arena, "%c%" PRIu64 "@%" PRIu64 "/128", want->is_float ? 'f' : 'b', want->bits, where->shift));
}

static void fetch_value(struct dwarf_context *context, const struct dwarf_location *where, const struct want *want,
			struct object_dwarf_arg *arg)
{
	const struct dwarf_chain *chain = &where->chain;

	if (chain->base == DWARF_BASE_CONSTANT && !chain->derefs) {
		if (where->shift >= 64)
			refuse(context, arg, "its constant value is too short");
		else
			fetch_constant(context, want, (uint64_t)chain->offsets[0] >> where->shift, arg);
		return;
	}
	if (is_in_vector(chain)) {
		fetch_vector(context, where, want, arg);
		return;
	}
	char *text = value_text(context, chain, arg);

	if (!text)
		finish(context, arg, NULL, NULL);
	else if (where->shift + want->bits > 64)
		refuse(context, arg, "it is wider than the register that it is said to be in");
	else if (chain->cut && where->shift + want->bits > chain->cut)
		fetch_cut(context, where, want, text, arg);
	else if (where->shift || want->bits != container(want->bits))
		finish(context, arg, text,
		       dwarf_print(context->arena, "b%" PRIu64 "@%" PRIu64 "/%u", want->bits, where->shift,
				   container(where->shift + want->bits)));
	else
		finish(context, arg, text, type_text(context, want));
}

static void fetch_location(struct dwarf_context *context, const struct dwarf_location *where, const struct want *want,
			   struct object_dwarf_arg *arg)
{
	switch (where->kind) {
	case DWARF_AT_MEMORY:
		finish(context, arg, memory_text(context, &where->chain), type_text(context, want));
		break;
	case DWARF_IN_VALUE:
		fetch_value(context, where, want, arg);
		break;
	case DWARF_IN_BYTES:
		fetch_bytes(context, where, want, arg);
		break;
	case DWARF_AS_POINTER:
		refuse(context, arg, "optimized out: only what it points to is known");
		break;
	case DWARF_NOWHERE:
		refuse(context, arg, where->why ? where->why : "optimized out at this address");
		break;
	case DWARF_REFUSED:
		refuse(context, arg, where->why);
		break;
	}
}

/* A bit field: in memory, of the word that its type has, or else of the bytes around it. */
static void fetch_bits(struct dwarf_context *context, const struct dwarf_part *part, struct want want,
		       struct object_dwarf_arg *arg)
{
	uint64_t first = part->bit_first / want.bits * want.bits;
	uint64_t size = want.bits;
	struct dwarf_location where = part->where;

	if (part->bit_first - first + part->bit_count > size) {
		first = part->bit_first / 8 * 8;
		size = container(part->bit_first - first + part->bit_count);
	}
	arg->bits = (uint8_t)part->bit_count;
	if (part->bit_first - first + part->bit_count > size) {
		refuse(context, arg, "the bit field lies across more bytes than can be fetched at once");
		return;
	}
	if (where.kind != DWARF_AT_MEMORY || where.piece_count) {
		where.shift += part->bit_first;
		where = dwarf_part_narrow(context, &where, part->bit_count);
		want.bits = part->bit_count;
		if (where.kind != DWARF_AT_MEMORY || where.shift) {
			fetch_location(context, &where, &want, arg);
			return;
		}
		refuse(context, arg, "the bit field lies in a piece of its own");
		return;
	}
	int64_t *last = &where.chain.offsets[where.chain.derefs];

	*last = (int64_t)((uint64_t)*last + first / 8);
	finish(context, arg, memory_text(context, &where.chain),
	       dwarf_print(context->arena, "b%" PRIu64 "@%" PRIu64 "/%" PRIu64, part->bit_count, part->bit_first - first, size));
}

/* ---- strings and arrays ---- */

static void fetch_string(struct dwarf_context *context, const struct dwarf_part *text, const char *type,
			 struct object_dwarf_arg *arg)
{
	struct dwarf_location where = dwarf_part_narrow(context, &text->where, 8);

	arg->show = OBJECT_DWARF_STRING;
	arg->bits = 0;
	if (where.kind == DWARF_AT_MEMORY)
		finish(context, arg, memory_text(context, &where.chain), type);
	else if (where.kind == DWARF_NOWHERE || where.kind == DWARF_REFUSED)
		refuse(context, arg, where.why ? where.why : "optimized out at this address");
	else
		refuse(context, arg, "its text is not in memory at this address");
}

static void fetch_array(struct dwarf_context *context, const struct dwarf_part *part, const struct dwarf_die *type, char letter,
			struct object_dwarf_arg *arg)
{
	struct dwarf_die element = dwarf_type_of(type);
	struct dwarf_die plain = dwarf_type_strip(element);
	struct want want;
	uint64_t count;
	uint64_t stride;

	if (!dwarf_array_shape(type, &count, &stride) || !count) {
		refuse(context, arg, "how many elements the array has is not known; name one with [N]");
		return;
	}
	if (!want_of(&plain, &want)) {
		refuse(context, arg, "its elements are not numbers; name one with [N]");
		return;
	}
	if (part->where.kind != DWARF_AT_MEMORY || part->where.piece_count) {
		struct dwarf_location where = part->where;

		if (where.kind == DWARF_REFUSED || where.kind == DWARF_NOWHERE)
			refuse(context, arg, where.why ? where.why : "optimized out at this address");
		else
			refuse(context, arg, "the array is not in memory at this address; name an element with [N]");
		return;
	}
	count = stride * count / (want.bits / 8); /* all dimensions */
	want.letter = letter ? letter : want.letter;
	arg->show = want.show;
	arg->bits = (uint8_t)want.bits;
	arg->is_signed = want.is_signed;
	if (count > ELEMENTS_MAX)
		arg->type = dwarf_print(context->arena, "%s, the first %d", arg->type, ELEMENTS_MAX);
	finish(context, arg, memory_text(context, &part->where.chain),
	       dwarf_print(context->arena, "%c%" PRIu64 "[%" PRIu64 "]", want.letter, want.bits,
			   count > ELEMENTS_MAX ? ELEMENTS_MAX : count));
}

/* ---- all ---- */

static bool is_string_cast(const char *cast)
{
	return cast && (strcmp(cast, "string") == 0 || strcmp(cast, "ustring") == 0);
}

/* A string is fetched through a pointer, or from an array. */
static void fetch_as_string(struct dwarf_context *context, const struct dwarf_part *part, const struct dwarf_die *type,
			    const char *cast, struct object_dwarf_arg *arg)
{
	uint16_t tag = dwarf_type_tag(type);

	if (tag == DW_TAG_array_type) {
		fetch_string(context, part, cast, arg);
	} else if (tag == DW_TAG_pointer_type) {
		struct dwarf_part text = dwarf_part_deref(context, part);

		fetch_string(context, &text, cast, arg);
	} else {
		refuse(context, arg, "a string is fetched through a pointer, or from an array of characters");
	}
}

/* uN, sN, xN: false when it is no such type. */
static bool cast_number(const char *cast, struct want *want)
{
	static const char *const widths[] = { "8", "16", "32", "64" };

	if (!*cast || !strchr("usx", *cast))
		return false;
	want->letter = *cast;
	want->is_signed = *cast == 's';
	want->show = *cast == 's' ? OBJECT_DWARF_SIGNED : *cast == 'u' ? OBJECT_DWARF_UNSIGNED : OBJECT_DWARF_HEX;
	if (!cast[1])
		return true;
	for (unsigned i = 0; i < 4; i++)
		if (strcmp(cast + 1, widths[i]) == 0) {
			want->bits = 8U << i;
			return true;
		}
	return false;
}

static void fetch_cast(struct dwarf_context *context, const struct dwarf_part *part, const struct dwarf_die *type,
		       const char *cast, struct object_dwarf_arg *arg)
{
	struct want want;
	uint64_t size;
	bool number = want_of(type, &want);
	uint64_t own = want.bits;

	if (dwarf_type_tag(type) == DW_TAG_array_type && *cast && !cast[1] && strchr("usx", *cast)) {
		fetch_array(context, part, type, *cast, arg);
		return;
	}
	if (!number && dwarf_type_size(type, &size) && size < 8)
		own = size * 8;
	if ((!cast[1] && !number) || !cast_number(cast, &want)) {
		refuse(context, arg, "a variable can be cast to u, s, x, u8..u64, s8..s64, x8..x64, string or ustring");
		return;
	}
	if (own && want.bits > own) {
		refuse(context, arg, dwarf_print(context->arena, "%s is wider than its type, %s", cast, arg->type));
		return;
	}
	arg->show = want.show;
	arg->bits = (uint8_t)want.bits;
	arg->is_signed = want.is_signed;
	if (part->is_bits) {
		want.bits = own;
		fetch_bits(context, part, want, arg);
		return;
	}
	struct dwarf_location where = dwarf_part_narrow(context, &part->where, want.bits);

	fetch_location(context, &where, &want, arg);
}

static void fetch_by_type(struct dwarf_context *context, const struct dwarf_part *part, const struct dwarf_die *type,
			  struct object_dwarf_arg *arg)
{
	uint16_t tag = dwarf_type_tag(type);
	struct dwarf_die to = tag == DW_TAG_pointer_type || tag == DW_TAG_array_type ? dwarf_type_of(type) :
										       (struct dwarf_die) { 0 };
	struct want want;

	to = to.unit ? dwarf_type_strip(to) : to;
	if (to.unit && dwarf_type_is_char(&to) && !dwarf_unit_is_go(type->unit) && !dwarf_unit_is_rust(type->unit)) {
		fetch_as_string(context, part, type, "string", arg);
	} else if (tag == DW_TAG_array_type) {
		fetch_array(context, part, type, 0, arg);
	} else if (!want_of(type, &want)) {
		refuse(context, arg,
		       !tag ? "it has no type" :
		       dwarf_type_is_whole(type) ? "it is a structure, of which only members can be fetched" :
		       want.bits > 64 ? "it is wider than 64 bits" : "values of its type cannot be fetched");
	} else {
		arg->show = want.show;
		arg->bits = (uint8_t)want.bits;
		arg->is_signed = want.is_signed;
		if (part->is_bits) {
			fetch_bits(context, part, want, arg);
			return;
		}
		struct dwarf_location where = dwarf_part_narrow(context, &part->where, want.bits);

		fetch_location(context, &where, &want, arg);
	}
}

void dwarf_part_fetch(struct dwarf_context *context, const struct dwarf_part *part, const char *cast,
		      struct object_dwarf_arg *arg)
{
	struct dwarf_die type;

	arg->fetch = arg->why = NULL;
	if (part->type.unit)
		arg->type = dwarf_type_name(context->arena, &part->type);
	if (!part->where.piece_count && part->where.kind == DWARF_NOWHERE) {
		refuse(context, arg, part->where.why ? part->where.why : "optimized out at this address");
		return;
	}
	if (part->where.kind == DWARF_REFUSED) {
		refuse(context, arg, part->where.why);
		return;
	}
	struct dwarf_part plain = dwarf_part_plain(context, part, &type);

	if (is_string_cast(cast))
		fetch_as_string(context, &plain, &type, cast, arg);
	else if (cast)
		fetch_cast(context, &plain, &type, cast, arg);
	else
		fetch_by_type(context, &plain, &type, arg);
}

void dwarf_return_fetch(struct dwarf_context *context, const struct dwarf_die *function, const char *cast,
			struct object_dwarf_arg *arg)
{
	struct dwarf_die type = dwarf_type_of(function);
	struct dwarf_die plain = type.unit ? dwarf_type_strip(type) : type;
	struct dwarf_die to = dwarf_type_tag(&plain) == DW_TAG_pointer_type ? dwarf_type_of(&plain) : (struct dwarf_die) { 0 };
	struct want want = { 0 };

	arg->type = type.unit ? dwarf_type_name(context->arena, &type) : "void";
	to = to.unit ? dwarf_type_strip(to) : to;
	if (!type.unit)
		refuse(context, arg, "the function returns nothing");
	else if (is_string_cast(cast) || (!cast && to.unit && dwarf_type_is_char(&to) && !dwarf_unit_is_go(type.unit))) {
		arg->show = OBJECT_DWARF_STRING;
		finish(context, arg, "+0($retval)", cast ? cast : "string");
	} else if (dwarf_type_is_reference(&plain)) {
		arg->show = OBJECT_DWARF_POINTER;
		arg->bits = 64;
		finish(context, arg, "$retval", "x64");
	} else if (!cast && want_of(&plain, &want) && want.is_float && !dwarf_unit_is_go(type.unit)) {
		arg->show = want.show;
		arg->bits = (uint8_t)want.bits;
		arg->in_vector = true;
		finish(context, arg, "$retval", dwarf_print(context->arena, "f%" PRIu64, want.bits));
	} else if (!want_of(&plain, &want) || want.is_float || dwarf_unit_is_go(type.unit)) {
		refuse(context, arg, "a value of its type is not returned in a register that can be fetched");
	} else if (cast && !cast_number(cast, &want)) {
		refuse(context, arg, "a value can be cast to u, s, x, u8..u64, s8..s64, x8..x64, string or ustring");
	} else {
		arg->show = want.show;
		arg->bits = (uint8_t)want.bits;
		arg->is_signed = want.is_signed;
		finish(context, arg, "$retval", type_text(context, &want));
	}
}
