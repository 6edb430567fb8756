/* SPDX-License-Identifier: MIT */
/*
 * Where a variable is at one address: the expression that holds there (of a location list, or the only one), the frame base and the CFA.
 *
 * A variable with one location for its whole scope, in the frame, does not hold its value before the function's prologue has stored it: there it
 * is refused. What the caller stored (at or above the CFA) is there from the beginning; not so in Go, which keeps arguments in registers and has room
 * for them above.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "object/dwarf_inside.h"

#define NOT_STORED "it is not stored yet at this address, where the function's prologue still runs; probe its first line instead"

const char *dwarf_register_name(unsigned number)
{
	static const char *const names[16] = { "ax", "dx", "cx", "bx",  "si",  "di",  "bp",  "sp",
					       "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15" };

	return number < 16 ? names[number] : NULL;
}

struct dwarf_location dwarf_location_refused(struct dwarf_arena *arena, const char *format, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	const char *why = dwarf_copy(arena, text, strlen(text));

	return (struct dwarf_location) { .kind = DWARF_REFUSED, .why = why ? why : "no memory" };
}

/* ---- the function around ---- */

static bool is_function(const struct dwarf_die *die)
{
	return die->abbrev->tag == DW_TAG_subprogram;
}

struct around {
	uint64_t vaddr, start, end;
};

static bool keep_range(void *arg, uint64_t start, uint64_t end)
{
	struct around *around = arg;

	if (start <= around->vaddr && around->vaddr < end) {
		around->start = start;
		around->end = end;
		return false;
	}
	return true;
}

void dwarf_context_init(struct dwarf_context *context, struct object_dwarf *dwarf, struct dwarf_arena *arena,
			struct dwarf_unit *unit, uint64_t vaddr)
{
	struct dwarf_scopes scopes;

	*context = (struct dwarf_context) { .dwarf = dwarf, .arena = arena, .vaddr = vaddr };
	dwarf_scopes_at(unit, vaddr, &scopes);
	for (size_t i = 0; i < scopes.count; i++)
		if (is_function(&scopes.list[i])) {
			context->function = scopes.list[i];
			context->has_function = true;
		}
	if (context->has_function && dwarf_die_entry(&context->function, &context->entry)) {
		struct around around = { .vaddr = vaddr, .start = context->entry, .end = context->entry };

		dwarf_die_ranges(&context->function, keep_range, &around);
		context->end = around.end;
		/* Cold parts, which are entered by jumps, have no prologue. */
		context->body = around.start == context->entry ? dwarf_prologue_end(unit, around.start, around.end) : vaddr;
	}
	context->has_frame = dwarf_frame_at(dwarf, vaddr, &context->frame) == 0;
}

bool dwarf_location_cfa(struct dwarf_context *context, struct dwarf_chain *ret, const char **why)
{
	if (!context->has_frame || !context->frame.cfa_known || context->frame.cfa_reg > 15) {
		*why = context->has_frame ? "the frame at this address is described by an expression" :
					    "there is no frame description (.eh_frame) for this address, so its place on the stack is unknown";
		return false;
	}
	*ret = (struct dwarf_chain) { .base = DWARF_BASE_REGISTER,
				      .reg = context->frame.cfa_reg,
				      .offsets = { context->frame.cfa_offset } };
	return true;
}

/* A register as the frame base: does it hold the base here, as it does in the body? */
static bool base_register_holds(struct dwarf_context *context, unsigned reg, const char **why)
{
	struct object_cfi_row body;

	*why = "the register that its place counts from is not set up, or not any more, at this address";
	if (!context->has_frame || !context->frame.cfa_known) {
		*why = "there is no frame description (.eh_frame) for this address, so its place on the stack is unknown";
		return false;
	}
	if (reg == 6 && context->frame.cfa_reg == 6)
		return true;
	/* The stack pointer: it must be as far from the CFA as behind the prologue. */
	return reg == 7 && context->frame.cfa_reg == 7 && dwarf_frame_at(context->dwarf, context->body, &body) == 0 &&
	       body.cfa_known && body.cfa_reg == 7 && body.cfa_offset == context->frame.cfa_offset;
}

static struct dwarf_location base_of(struct dwarf_context *context, unsigned depth);

bool dwarf_location_base(struct dwarf_context *context, unsigned depth, struct dwarf_chain *ret, const char **why)
{
	if (!context->has_function) {
		*why = "no function is known around this address";
		return false;
	}
	struct dwarf_location base = base_of(context, depth);

	if (base.kind != DWARF_AT_MEMORY && base.kind != DWARF_IN_VALUE) {
		*why = base.why ? base.why : "the base of the function's frame is not known at this address";
		return false;
	}
	if (base.kind == DWARF_IN_VALUE && (base.piece_count || base.chain.cut)) {
		*why = "the base of the function's frame is described in a way that is not supported";
		return false;
	}
	*ret = base.chain;
	return true;
}

/* ---- location lists ---- */

struct expression {
	struct dwarf_unit *unit;
	const uint8_t *bytes;
	uint64_t size;
	bool found;
	bool single; /* the only one: holds in the whole scope */
};

static const struct dwarf_unit *owner(const struct dwarf_unit *unit)
{
	return unit->skeleton ? unit->skeleton : unit;
}

static bool take(struct object_cursor *c, uint64_t size, bool here, struct expression *ret)
{
	if (!object_cursor_has(c, size))
		return false;
	if (here) {
		ret->bytes = c->at;
		ret->size = size;
		ret->found = true;
	}
	c->at += size;
	return !here; /* the first that holds is the one */
}

/* .debug_loc of DWARF 2 to 4. */
static void list_old(struct dwarf_unit *unit, uint64_t offset, uint64_t vaddr, struct expression *ret)
{
	const struct dwarf_section *section = &unit->part[DWARF_LOC];
	struct object_cursor c = object_cursor_init(section->bytes, section->size, 0);
	uint64_t base = owner(unit)->low;

	object_cursor_skip(&c, offset);
	for (;;) {
		uint64_t start = object_cursor_u64(&c);
		uint64_t end = object_cursor_u64(&c);

		if (c.failed || (!start && !end))
			return;
		if (start == UINT64_MAX) {
			base = end;
			continue;
		}
		uint64_t size = object_cursor_number(&c, 2);

		if (!take(&c, size, base + start <= vaddr && vaddr < base + end, ret))
			return;
	}
}

/* .debug_loc.dwo of GNU's split DWARF 4. */
static void list_old_split(struct dwarf_unit *unit, uint64_t offset, uint64_t vaddr, struct expression *ret)
{
	const struct dwarf_section *section = &unit->part[DWARF_LOC];
	struct object_cursor c = object_cursor_init(section->bytes, section->size, 0);
	uint64_t base = 0;
	uint64_t start = 0;
	uint64_t end = 0;

	object_cursor_skip(&c, offset);
	for (;;) {
		uint8_t kind = object_cursor_u8(&c);

		if (c.failed || kind == 0 || kind > 4)
			return;
		if (kind == 1) {
			if (!dwarf_unit_address(unit, object_cursor_uleb(&c), &base))
				return;
			continue;
		}
		if (kind == 4) {
			start = base + object_cursor_u32(&c);
			end = base + object_cursor_u32(&c);
		} else if (!dwarf_unit_address(unit, object_cursor_uleb(&c), &start)) {
			return;
		} else if (kind == 3) {
			end = start + object_cursor_u32(&c);
		} else if (!dwarf_unit_address(unit, object_cursor_uleb(&c), &end)) {
			return;
		}
		uint64_t size = object_cursor_number(&c, 2);

		if (!take(&c, size, start <= vaddr && vaddr < end, ret))
			return;
	}
}

struct span {
	uint64_t start, end;
	bool fallback;
};

/* The range of one entry of .debug_loclists: 1 an entry with an expression, 0 a base or a view, -1 the end. */
static int entry_span(struct dwarf_unit *unit, struct object_cursor *c, uint64_t *base, struct span *ret)
{
	*ret = (struct span) { 0 };
	switch (object_cursor_u8(c)) {
	case DW_LLE_base_addressx:
		return dwarf_unit_address(unit, object_cursor_uleb(c), base) ? 0 : -1;
	case DW_LLE_base_address:
		*base = object_cursor_u64(c);
		return 0;
	case 0x09: /* DW_LLE_GNU_view_pair */
		object_cursor_uleb(c);
		object_cursor_uleb(c);
		return 0;
	case DW_LLE_startx_endx:
		return dwarf_unit_address(unit, object_cursor_uleb(c), &ret->start) &&
				       dwarf_unit_address(unit, object_cursor_uleb(c), &ret->end) ? 1 : -1;
	case DW_LLE_startx_length:
		if (!dwarf_unit_address(unit, object_cursor_uleb(c), &ret->start))
			return -1;
		ret->end = ret->start + object_cursor_uleb(c);
		return 1;
	case DW_LLE_offset_pair:
		ret->start = *base + object_cursor_uleb(c);
		ret->end = *base + object_cursor_uleb(c);
		return 1;
	case DW_LLE_default_location:
		ret->fallback = true;
		return 1;
	case DW_LLE_start_end:
		ret->start = object_cursor_u64(c);
		ret->end = object_cursor_u64(c);
		return 1;
	case DW_LLE_start_length:
		ret->start = object_cursor_u64(c);
		ret->end = ret->start + object_cursor_uleb(c);
		return 1;
	default:
		return -1;
	}
}

static void list_new(struct dwarf_unit *unit, const struct dwarf_value *value, uint64_t vaddr, struct expression *ret)
{
	const struct dwarf_section *section = &unit->part[DWARF_LOCLISTS];
	struct object_cursor c = object_cursor_init(section->bytes, section->size, 0);
	struct expression fallback = { .unit = unit };
	uint64_t base = owner(unit)->low;
	uint64_t offset = value->u;

	if (value->class == DWARF_LIST_INDEX) {
		if (value->u > section->size)
			return;
		object_cursor_skip(&c, unit->loclists_base + value->u * unit->offset_size);
		offset = unit->loclists_base + object_cursor_number(&c, unit->offset_size);
		if (c.failed)
			return;
		c = object_cursor_init(section->bytes, section->size, 0);
	}
	object_cursor_skip(&c, offset);
	while (!c.failed) {
		struct span span;
		int kind = entry_span(unit, &c, &base, &span);

		if (kind < 0 || c.failed)
			break;
		if (kind == 0)
			continue;
		uint64_t size = object_cursor_uleb(&c);

		if (!take(&c, size, span.start <= vaddr && vaddr < span.end, ret))
			break;
		if (span.fallback && !c.failed)
			fallback = (struct expression) { .unit = unit, .bytes = c.at - size, .size = size, .found = true };
	}
	if (!ret->found)
		*ret = fallback;
}

static struct expression expression_at(struct dwarf_unit *unit, const struct dwarf_value *value, uint64_t vaddr)
{
	struct expression ret = { .unit = unit };

	if (value->class == DWARF_BLOCK) {
		ret.bytes = value->block;
		ret.size = value->size;
		ret.found = ret.single = true;
	} else if (value->class != DWARF_OFFSET && value->class != DWARF_LIST_INDEX && value->class != DWARF_CONSTANT) {
		ret.found = false;
	} else if (unit->version >= 5) {
		list_new(unit, value, vaddr, &ret);
	} else if (unit->file->split) {
		list_old_split(unit, value->u, vaddr, &ret);
	} else {
		list_old(unit, value->u, vaddr, &ret);
	}
	return ret;
}

static struct dwarf_location base_of(struct dwarf_context *context, unsigned depth)
{
	struct dwarf_value value = dwarf_die_attr(&context->function, DW_AT_frame_base);
	struct expression expression = expression_at(context->function.unit, &value, context->vaddr);
	const char *why;

	if (!expression.found)
		return (struct dwarf_location) { .kind = DWARF_NOWHERE };
	struct dwarf_location base =
	    dwarf_location_expression(context, expression.unit, expression.bytes, expression.size, depth);

	/* A plain register, for the whole function: is it set up? */
	if (expression.single && base.kind == DWARF_IN_VALUE && !base.piece_count &&
	    base.chain.base == DWARF_BASE_REGISTER && !base_register_holds(context, base.chain.reg, &why))
		return dwarf_location_refused(context->arena, "%s", why);
	return base;
}

/* ---- a variable ---- */

/* In this function's own part of the frame, and the prologue has not ended. */
static bool is_not_stored(const struct dwarf_context *context, const struct expression *expression,
			  const struct dwarf_location *where)
{
	const struct dwarf_chain *chain = &where->chain;

	if (!expression->single || where->kind != DWARF_AT_MEMORY || chain->base != DWARF_BASE_REGISTER ||
	    (chain->reg != 6 && chain->reg != 7) || !context->has_function || context->vaddr >= context->body)
		return false;
	return dwarf_unit_is_go(expression->unit) || !context->has_frame || !context->frame.cfa_known ||
	       chain->reg != context->frame.cfa_reg || chain->offsets[0] < context->frame.cfa_offset;
}

static struct dwarf_location constant_of(const struct dwarf_die *die, const struct dwarf_value *value)
{
	struct dwarf_location ret = { .kind = DWARF_IN_VALUE };

	(void)die;
	if (value->class == DWARF_BLOCK)
		return (struct dwarf_location) { .kind = DWARF_IN_BYTES, .bytes = value->block, .size = value->size };
	if (value->class == DWARF_STRING)
		return (struct dwarf_location) { .kind = DWARF_IN_BYTES,
						 .bytes = (const uint8_t *)value->string,
						 .size = strlen(value->string) + 1 };
	ret.chain.base = DWARF_BASE_CONSTANT;
	ret.chain.offsets[0] = (int64_t)value->u;
	return ret;
}

/* A variable that is only declared here: where its definition is, the symbols say. */
static struct dwarf_location declared_elsewhere(struct dwarf_context *context, const struct dwarf_die *die)
{
	struct dwarf_value linkage = dwarf_die_attr_integrate(die, DW_AT_linkage_name);
	const char *name = linkage.class == DWARF_STRING ? linkage.string : dwarf_die_name(die);
	const struct object_symbol **found = NULL;
	long count = name ? object_find(context->dwarf->object, name, false, &found, NULL) : 0;
	struct dwarf_location where = { .kind = DWARF_NOWHERE };

	if (count == 1 && !found[0]->function) {
		where = (struct dwarf_location) { .kind = DWARF_AT_MEMORY };
		where.chain.base = DWARF_BASE_FILE;
		where.chain.offsets[0] = (int64_t)found[0]->vaddr;
	} else {
		where = dwarf_location_refused(context->arena, "it is defined in another file");
	}
	if (count >= 0)
		free(found);
	return where;
}

struct dwarf_location dwarf_location_of(struct dwarf_context *context, const struct dwarf_die *die)
{
	struct dwarf_value value = dwarf_die_attr_integrate(die, DW_AT_location);

	if (value.class == DWARF_NONE) {
		value = dwarf_die_attr_integrate(die, DW_AT_const_value);
		if (value.class != DWARF_NONE)
			return constant_of(die, &value);
		if (dwarf_die_flag(die, DW_AT_declaration) || dwarf_die_attr_integrate(die, DW_AT_external).u)
			return declared_elsewhere(context, die);
		return (struct dwarf_location) { .kind = DWARF_NOWHERE };
	}
	struct expression expression = expression_at(die->unit, &value, context->vaddr);

	if (!expression.found || !expression.size)
		return (struct dwarf_location) { .kind = DWARF_NOWHERE };
	struct dwarf_location where =
	    dwarf_location_expression(context, die->unit, expression.bytes, expression.size, 0);

	if (is_not_stored(context, &expression, &where))
		return dwarf_location_refused(context->arena, NOT_STORED);
	return where;
}
