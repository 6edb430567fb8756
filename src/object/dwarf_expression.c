/* SPDX-License-Identifier: MIT */
/*
 * DWARF expressions, run on what is known without the process: a number is a register (or constant, or address of the file), and then
 * additions and loads in turn (struct dwarf_chain), as fetch arguments nest. What does not have that shape is refused; nothing is guessed.
 */
#include "object/dwarf_inside.h"

#define STACK 32
#define DEPTH 8        /* of expressions that use others */
#define OPERATIONS 4096
#define PIECES 64

struct run {
	struct dwarf_context *context;
	struct dwarf_unit *unit;
	struct object_cursor cursor;
	unsigned depth;
	struct dwarf_chain stack[STACK];
	size_t used;
	struct dwarf_chain none; /* what an empty stack gives */
	bool simple; /* found is a whole location, not an address on the stack */
	struct dwarf_location found;
	const char *why; /* refused */
	bool nowhere;    /* why says why it is optimised out */
	bool lost;       /* an unknown operation: what follows cannot be read */
};

static void refuse(struct run *run, const char *why)
{
	if (!run->why)
		run->why = why;
}

static struct dwarf_chain constant(uint64_t value)
{
	return (struct dwarf_chain) { .base = DWARF_BASE_CONSTANT, .offsets = { (int64_t)value } };
}

static struct dwarf_chain in_register(uint64_t reg, int64_t offset)
{
	return (struct dwarf_chain) { .base = DWARF_BASE_REGISTER, .reg = (unsigned)reg, .offsets = { offset } };
}

static void push(struct run *run, struct dwarf_chain value)
{
	if (run->used == STACK)
		refuse(run, "its location needs too many numbers at a time");
	else
		run->stack[run->used++] = value;
}

static struct dwarf_chain *top(struct run *run)
{
	if (run->used)
		return &run->stack[run->used - 1];
	refuse(run, "its location is damaged: it takes a number where there is none");
	run->none = constant(0);
	return &run->none;
}

static struct dwarf_chain pop(struct run *run)
{
	struct dwarf_chain value = *top(run);

	run->used -= run->used > 0;
	return value;
}

static bool is_constant(const struct dwarf_chain *value)
{
	return value->base == DWARF_BASE_CONSTANT && !value->derefs && !value->cut && !value->shifted;
}

static bool is_cut(const struct dwarf_chain *value)
{
	return value->cut || value->shifted;
}

static void push_register(struct run *run, uint64_t reg, int64_t offset)
{
	if (reg >= OBJECT_CFI_REGISTERS - 1)
		refuse(run, "it depends on a vector register, which fetch arguments do not have");
	else
		push(run, in_register(reg, offset));
}

/* ---- arithmetic ---- */

static void add(struct run *run, struct dwarf_chain *value, uint64_t by)
{
	if (by && is_cut(value))
		refuse(run, "its location computes with a part of a register, which fetch arguments cannot");
	value->offsets[value->derefs] = (int64_t)((uint64_t)value->offsets[value->derefs] + by);
}

static void load(struct run *run, unsigned bytes, bool is_signed)
{
	struct dwarf_chain *value = top(run);

	if (is_cut(value) || value->derefs == DWARF_DEREFS) {
		refuse(run, "its location loads from an address that fetch arguments cannot compute");
		return;
	}
	value->offsets[++value->derefs] = 0;
	if (bytes < 8) {
		value->cut = (uint8_t)(bytes * 8);
		value->cut_signed = is_signed;
	}
	if (!bytes || bytes > 8)
		refuse(run, "its location is damaged: a load of an impossible size");
}

static uint64_t calculate(struct run *run, uint8_t op, uint64_t a, uint64_t b)
{
	switch (op) {
	case DW_OP_plus:
		return a + b;
	case DW_OP_minus:
		return a - b;
	case DW_OP_and:
		return a & b;
	case DW_OP_or:
		return a | b;
	case DW_OP_xor:
		return a ^ b;
	case DW_OP_mul:
		return a * b;
	case DW_OP_shl:
		return b < 64 ? a << b : 0;
	case DW_OP_shr:
		return b < 64 ? a >> b : 0;
	case DW_OP_shra:
		return (uint64_t)((int64_t)a >> (b < 64 ? b : 63));
	default:
		refuse(run, "its value is computed in a way that fetch arguments cannot express");
		return 0;
	}
}

static void mask(struct run *run, struct dwarf_chain *value, uint64_t bits)
{
	unsigned width = bits ? 64 - (unsigned)__builtin_clzll(bits) : 0;

	if (!bits || (bits & (bits + 1)) || value->shifted || (value->cut && value->cut_signed && value->cut < width))
		refuse(run, "its value is masked in a way that fetch arguments cannot express");
	else if (width < 64 && (!value->cut || width <= value->cut)) {
		value->cut = (uint8_t)width;
		value->cut_signed = false;
	}
}

static void shift(struct run *run, uint8_t op, struct dwarf_chain *value, uint64_t by)
{
	if (op == DW_OP_shl && !is_cut(value) && by > 0 && by < 64) {
		value->shifted = (uint8_t)by;
	} else if (op != DW_OP_shl && value->shifted && value->shifted == by) {
		value->shifted = 0;
		value->cut = (uint8_t)(64 - by);
		value->cut_signed = op == DW_OP_shra;
	} else {
		refuse(run, "its value is shifted in a way that fetch arguments cannot express");
	}
}

static void two(struct run *run, uint8_t op)
{
	struct dwarf_chain b = pop(run);
	struct dwarf_chain a = pop(run);

	if (is_constant(&a) && is_constant(&b)) {
		push(run, constant(calculate(run, op, (uint64_t)a.offsets[0], (uint64_t)b.offsets[0])));
		return;
	}
	if (is_constant(&a) && (op == DW_OP_plus || op == DW_OP_and)) {
		struct dwarf_chain swap = a;

		a = b;
		b = swap;
	}
	uint64_t by = (uint64_t)b.offsets[0];

	if (!is_constant(&b))
		refuse(run, "it is computed of two registers, which fetch arguments cannot express");
	else if (op == DW_OP_plus || op == DW_OP_minus)
		add(run, &a, op == DW_OP_plus ? by : 0 - by);
	else if (op == DW_OP_and)
		mask(run, &a, by);
	else if (op == DW_OP_shl || op == DW_OP_shr || op == DW_OP_shra)
		shift(run, op, &a, by);
	else
		refuse(run, "its value is computed in a way that fetch arguments cannot express");
	push(run, a);
}

/* ---- types ---- */

/* The size and the sign of a base type at an offset of the unit; 0 for others. */
static unsigned base_type(struct run *run, uint64_t offset, bool *is_signed)
{
	struct dwarf_die type;
	uint64_t bytes;

	*is_signed = false;
	if (offset == 0)
		return 64;
	if (!dwarf_die_read(run->unit, run->unit->offset + offset, &type) || !dwarf_type_size(&type, &bytes) ||
	    !bytes || bytes > 8)
		return 0;
	switch (dwarf_die_attr(&type, DW_AT_encoding).u) {
	case DW_ATE_signed:
	case DW_ATE_signed_char:
		*is_signed = true;
		return (unsigned)bytes * 8;
	case DW_ATE_unsigned:
	case DW_ATE_unsigned_char:
	case DW_ATE_boolean:
	case DW_ATE_UTF:
	case DW_ATE_address:
		return (unsigned)bytes * 8;
	default:
		return 0;
	}
}

static void convert(struct run *run, uint64_t offset)
{
	struct dwarf_chain *value = top(run);
	bool is_signed;
	unsigned bits = base_type(run, offset, &is_signed);

	if (!bits || value->shifted) {
		refuse(run, "its value is converted from or to a floating-point or vector type");
	} else if (bits < 64 && is_constant(value)) {
		uint64_t all = (uint64_t)value->offsets[0] << (64 - bits);

		*value = constant(is_signed ? (uint64_t)((int64_t)all >> (64 - bits)) : all >> (64 - bits));
	} else if (bits < 64 && (!value->cut || bits <= value->cut)) {
		value->cut = (uint8_t)bits;
		value->cut_signed = is_signed;
	} else if (bits < 64 && value->cut_signed && !is_signed) {
		refuse(run, "its value is converted in a way that fetch arguments cannot express");
	}
}

static void register_typed(struct run *run)
{
	uint64_t reg = object_cursor_uleb(&run->cursor);
	uint64_t type = object_cursor_uleb(&run->cursor);

	push_register(run, reg, 0);
	if (!run->why)
		convert(run, type);
}

static void constant_typed(struct run *run)
{
	uint64_t type = object_cursor_uleb(&run->cursor);
	uint8_t size = object_cursor_u8(&run->cursor);

	if (size > 8) {
		refuse(run, "a constant in its location is wider than 64 bits");
		return;
	}
	push(run, constant(object_cursor_number(&run->cursor, size)));
	convert(run, type);
}

static void load_typed(struct run *run)
{
	uint8_t size = object_cursor_u8(&run->cursor);
	bool is_signed;
	unsigned bits = base_type(run, object_cursor_uleb(&run->cursor), &is_signed);

	if (bits != size * 8U)
		refuse(run, "its location loads a floating-point or vector value");
	load(run, size, is_signed);
}

/* ---- what needs the function around it ---- */

static void frame_base(struct run *run)
{
	int64_t offset = (int64_t)object_cursor_sleb(&run->cursor);
	struct dwarf_chain base;
	const char *why = NULL;

	if (!dwarf_location_base(run->context, run->depth, &base, &why)) {
		refuse(run, why);
		return;
	}
	add(run, &base, (uint64_t)offset);
	push(run, base);
}

static void frame_cfa(struct run *run)
{
	struct dwarf_chain cfa;
	const char *why = NULL;

	if (dwarf_location_cfa(run->context, &cfa, &why))
		push(run, cfa);
	else
		refuse(run, why);
}

/* What the register holds that had to be saved: it is where the frame description says, or still in the register. */
static bool entry_saved(struct run *run, uint64_t reg)
{
	static const uint32_t saved = 1U << 3 | 1U << 6 | 1U << 12 | 1U << 13 | 1U << 14 | 1U << 15;
	const struct dwarf_context *context = run->context;
	struct dwarf_chain value;
	const char *why;

	if (reg > 15 || !(saved >> reg & 1) || !context->has_frame || dwarf_unit_is_go(run->unit))
		return false;
	const struct object_cfi_rule *rule = &context->frame.rules[reg];

	switch (rule->kind) {
	case OBJECT_CFI_NONE:
	case OBJECT_CFI_SAME:
		push(run, in_register(reg, 0));
		return true;
	case OBJECT_CFI_OFFSET:
		if (!dwarf_location_cfa(run->context, &value, &why))
			return false;
		add(run, &value, (uint64_t)rule->offset);
		push(run, value);
		load(run, 8, false);
		return true;
	case OBJECT_CFI_EXPRESSION:
	case OBJECT_CFI_UNDEFINED:
	case OBJECT_CFI_OTHER:
		break;
	}
	return false;
}

static void entry_value(struct run *run)
{
	uint64_t size = object_cursor_uleb(&run->cursor);

	if (!object_cursor_has(&run->cursor, size))
		return;
	struct object_cursor inner = object_cursor_init(run->cursor.at, size, 0);

	run->cursor.at += size;
	uint8_t op = object_cursor_u8(&inner);
	uint64_t reg = op == DW_OP_regx ? object_cursor_uleb(&inner) : op - (uint64_t)DW_OP_reg0;

	if (inner.failed || inner.at != inner.end || (op != DW_OP_regx && (op < DW_OP_reg0 || op > DW_OP_reg31))) {
		refuse(run, "optimized out: its value is the one at the function's entry, which only the caller knows");
		run->nowhere = true;
		return;
	}
	if (run->context->has_function && run->context->vaddr == run->context->entry && dwarf_register_is_vector(reg))
		push(run, in_register(reg, 0));
	else if (run->context->has_function && run->context->vaddr == run->context->entry)
		push_register(run, reg, 0);
	else if (!entry_saved(run, reg)) {
		refuse(run, "optimized out: its value is the one at the function's entry, which only the caller knows");
		run->nowhere = true;
	}
}

static void implicit_pointer(struct run *run)
{
	uint64_t offset = object_cursor_number(&run->cursor, run->unit->version <= 2 ? 8 : run->unit->offset_size);
	struct dwarf_unit *unit = dwarf_unit_at(run->unit->file, offset);

	run->simple = true;
	run->found = (struct dwarf_location) { .kind = DWARF_AS_POINTER };
	run->found.offset = (int64_t)object_cursor_sleb(&run->cursor);
	if (!unit || !dwarf_unit_root(unit) || !dwarf_die_read(unit, offset, &run->found.target))
		refuse(run, "its location is damaged: it points to no entry");
}

/* ---- the operations ---- */

static void set_simple(struct run *run, struct dwarf_chain chain)
{
	run->simple = true;
	run->found = (struct dwarf_location) { .kind = DWARF_IN_VALUE, .chain = chain };
}

static void set_register(struct run *run, uint64_t reg)
{
	if (dwarf_register_is_vector(reg))
		push(run, in_register(reg, 0));
	else
		push_register(run, reg, 0);
	set_simple(run, pop(run));
}

static void implicit_bytes(struct run *run)
{
	uint64_t size = object_cursor_uleb(&run->cursor);

	if (!object_cursor_has(&run->cursor, size))
		return;
	run->simple = true;
	run->found = (struct dwarf_location) { .kind = DWARF_IN_BYTES, .bytes = run->cursor.at, .size = size };
	run->cursor.at += size;
}

static void address(struct run *run, uint64_t vaddr)
{
	push(run, (struct dwarf_chain) { .base = DWARF_BASE_FILE, .offsets = { (int64_t)vaddr } });
}

static bool push_number(struct run *run, uint8_t op)
{
	struct object_cursor *c = &run->cursor;
	uint64_t vaddr;

	switch (op) {
	case DW_OP_addr:
		address(run, object_cursor_u64(c));
		return true;
	case DW_OP_addrx:
	case DW_OP_GNU_addr_index:
		if (dwarf_unit_address(run->unit, object_cursor_uleb(c), &vaddr))
			address(run, vaddr);
		else
			refuse(run, "its location is damaged: it names an address that is not there");
		return true;
	case DW_OP_const1u:
		push(run, constant(object_cursor_u8(c)));
		return true;
	case DW_OP_const1s:
		push(run, constant((uint64_t)(int8_t)object_cursor_u8(c)));
		return true;
	case DW_OP_const2u:
		push(run, constant(object_cursor_number(c, 2)));
		return true;
	case DW_OP_const2s:
		push(run, constant((uint64_t)(int16_t)object_cursor_number(c, 2)));
		return true;
	case DW_OP_const4u:
		push(run, constant(object_cursor_u32(c)));
		return true;
	case DW_OP_const4s:
		push(run, constant((uint64_t)(int32_t)object_cursor_u32(c)));
		return true;
	case DW_OP_const8u:
	case DW_OP_const8s:
		push(run, constant(object_cursor_u64(c)));
		return true;
	case DW_OP_constu:
		push(run, constant(object_cursor_uleb(c)));
		return true;
	case DW_OP_consts:
		push(run, constant(object_cursor_sleb(c)));
		return true;
	default:
		return false;
	}
}

static bool stack_operation(struct run *run, uint8_t op)
{
	size_t index;

	switch (op) {
	case DW_OP_dup:
		push(run, *top(run));
		return true;
	case DW_OP_drop:
		pop(run);
		return true;
	case DW_OP_over:
	case DW_OP_pick:
		index = op == DW_OP_over ? 1 : object_cursor_u8(&run->cursor);
		if (index >= run->used)
			refuse(run, "its location is damaged: it takes a number where there is none");
		else
			push(run, run->stack[run->used - 1 - index]);
		return true;
	case DW_OP_swap: {
		struct dwarf_chain a = pop(run);
		struct dwarf_chain b = pop(run);

		push(run, a);
		push(run, b);
		return true;
	}
	case DW_OP_nop:
		return true;
	default:
		return false;
	}
}

static bool typed_operation(struct run *run, uint8_t op)
{
	switch (op) {
	case DW_OP_regval_type:
	case DW_OP_GNU_regval_type:
		register_typed(run);
		return true;
	case DW_OP_const_type:
	case DW_OP_GNU_const_type:
		constant_typed(run);
		return true;
	case DW_OP_deref_type:
	case DW_OP_GNU_deref_type:
		load_typed(run);
		return true;
	case DW_OP_convert:
	case DW_OP_GNU_convert:
		convert(run, object_cursor_uleb(&run->cursor));
		return true;
	case DW_OP_entry_value:
	case DW_OP_GNU_entry_value:
		entry_value(run);
		return true;
	case DW_OP_implicit_pointer:
	case DW_OP_GNU_implicit_pointer:
		implicit_pointer(run);
		return true;
	case DW_OP_implicit_value:
		implicit_bytes(run);
		return true;
	case DW_OP_form_tls_address:
	case DW_OP_GNU_push_tls_address:
		refuse(run, "it is thread-local, and fetch arguments have no address of the thread's data");
		return true;
	default:
		return false;
	}
}

static void operation(struct run *run, uint8_t op)
{
	struct object_cursor *c = &run->cursor;

	if (op >= DW_OP_lit0 && op <= DW_OP_lit31) {
		push(run, constant(op - (uint64_t)DW_OP_lit0));
	} else if (op >= DW_OP_reg0 && op <= DW_OP_reg31) {
		set_register(run, op - (uint64_t)DW_OP_reg0);
	} else if (op >= DW_OP_breg0 && op <= DW_OP_breg31) {
		push_register(run, op - (uint64_t)DW_OP_breg0, (int64_t)object_cursor_sleb(c));
	} else if (push_number(run, op) || stack_operation(run, op) || typed_operation(run, op)) {
		return;
	} else if (op == DW_OP_regx) {
		set_register(run, object_cursor_uleb(c));
	} else if (op == DW_OP_bregx) {
		uint64_t reg = object_cursor_uleb(c);

		push_register(run, reg, (int64_t)object_cursor_sleb(c));
	} else if (op == DW_OP_fbreg) {
		frame_base(run);
	} else if (op == DW_OP_call_frame_cfa) {
		frame_cfa(run);
	} else if (op == DW_OP_plus_uconst) {
		add(run, top(run), object_cursor_uleb(c));
	} else if (op == DW_OP_deref) {
		load(run, 8, false);
	} else if (op == DW_OP_deref_size) {
		load(run, object_cursor_u8(c), false);
	} else if (op == DW_OP_neg || op == DW_OP_not) {
		struct dwarf_chain value = pop(run);

		if (is_constant(&value))
			push(run, constant(op == DW_OP_neg ? 0 - (uint64_t)value.offsets[0] : ~(uint64_t)value.offsets[0]));
		else
			refuse(run, "its value is computed in a way that fetch arguments cannot express");
	} else if (op == DW_OP_stack_value) {
		set_simple(run, pop(run));
	} else {
		run->lost = op == DW_OP_bra || op < DW_OP_abs || op > DW_OP_ne; /* those between have no operands */
		two(run, op);
	}
}

/* ---- the end of a location, or of a piece of one ---- */

static struct dwarf_location located(struct run *run)
{
	if (run->cursor.failed && !run->why)
		run->why = "its location is damaged: it ends too early";
	if (run->why)
		return (struct dwarf_location) { .kind = run->nowhere ? DWARF_NOWHERE : DWARF_REFUSED, .why = run->why };
	if (run->simple && run->found.kind == DWARF_IN_VALUE && run->found.chain.shifted)
		return (struct dwarf_location) { .kind = DWARF_REFUSED,
						 .why = "its value is shifted in a way that fetch arguments cannot express" };
	if (run->simple)
		return run->found;
	if (!run->used)
		return (struct dwarf_location) { .kind = DWARF_NOWHERE };
	struct dwarf_location memory = { .kind = DWARF_AT_MEMORY, .chain = *top(run) };

	if (is_cut(&memory.chain))
		return (struct dwarf_location) { .kind = DWARF_REFUSED,
						 .why = "its address is computed in a way that fetch arguments cannot express" };
	return memory;
}

static void take_piece(struct run *run, uint8_t op, struct dwarf_piece *list, size_t *count)
{
	uint64_t bits = object_cursor_uleb(&run->cursor);
	uint64_t offset = op == DW_OP_bit_piece ? object_cursor_uleb(&run->cursor) : 0;

	bits = op == DW_OP_piece ? bits * 8 : bits;
	if (offset)
		refuse(run, "its pieces do not start at whole bytes");
	if (*count == PIECES) {
		refuse(run, "it is in too many pieces");
		return;
	}
	list[*count].where = located(run);
	list[(*count)++].bits = bits;
	/* Each piece is a location of its own: one that is refused does not spoil the others. */
	run->used = 0;
	run->simple = run->nowhere = false;
	run->why = NULL;
}

struct dwarf_location dwarf_location_expression(struct dwarf_context *context, struct dwarf_unit *unit,
						const uint8_t *bytes, uint64_t size, unsigned depth)
{
	struct run run = { .context = context, .unit = unit, .depth = depth + 1 };
	struct dwarf_piece pieces[PIECES];
	size_t count = 0;

	if (depth >= DEPTH)
		return (struct dwarf_location) { .kind = DWARF_REFUSED, .why = "its location is damaged: it depends on itself" };
	run.cursor = object_cursor_init(bytes, size, 0);
	for (unsigned i = 0; i < OPERATIONS && run.cursor.at < run.cursor.end && !run.cursor.failed; i++) {
		uint8_t op = object_cursor_u8(&run.cursor);

		if (op == DW_OP_piece || op == DW_OP_bit_piece)
			take_piece(&run, op, pieces, &count);
		else
			operation(&run, op);
		if (run.lost)
			break;
	}
	if (!count || run.lost || run.cursor.failed)
		return located(&run);
	struct dwarf_location whole = { .kind = DWARF_IN_VALUE, .piece_count = count };

	whole.pieces = dwarf_alloc(context->arena, count * sizeof(*pieces));
	if (!whole.pieces)
		return (struct dwarf_location) { .kind = DWARF_REFUSED, .why = "no memory" };
	memcpy(whole.pieces, pieces, count * sizeof(*pieces));
	return whole;
}
