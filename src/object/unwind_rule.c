/* SPDX-License-Identifier: MIT */
/*
 * Rows of call frame information as rules of the walker. The expressions that compilers, linkers and C libraries write are known by their shape;
 * what is not known, or does not fit into a rule, is unknown.
 */
#include <dwarf.h>

#include "object/internal.h"
#include "object/unwind_inside.h"

#define UNKNOWN WIRE_UNWIND_RULE(WIRE_UNWIND_UNKNOWN, 0, 0, 0)

/* The kernel's struct ucontext, as wire_unwind_walk() reads it. */
#define UCONTEXT_BP 120
#define UCONTEXT_SP 160
#define UCONTEXT_IP 168

/* *(reg + offset) + plus, or where not is_read: reg + offset. */
struct shape {
	unsigned reg;
	int64_t offset;
	bool is_read;
	uint64_t plus;
};

static bool shape_read(const uint8_t *expression, uint32_t size, struct shape *ret)
{
	struct object_cursor c = object_cursor_init(expression, size, 0);
	unsigned op = object_cursor_u8(&c);
	struct shape shape = { .reg = op - DW_OP_breg0 };

	if (op < DW_OP_breg0 || op > DW_OP_breg31)
		return false;
	shape.offset = (int64_t)object_cursor_sleb(&c);
	if (c.at < c.end && !c.failed) {
		if (object_cursor_u8(&c) != DW_OP_deref)
			return false;
		shape.is_read = true;
	}
	if (c.at < c.end && !c.failed) {
		if (object_cursor_u8(&c) != DW_OP_plus_uconst)
			return false;
		shape.plus = object_cursor_uleb(&c);
	}
	*ret = shape;
	return !c.failed && c.at == c.end;
}

/* In eighths, where it fits. */
static bool eighth(int64_t offset, int64_t most, int32_t *ret)
{
	if (offset % 8 || offset / 8 > most || offset / 8 < -most - 1)
		return false;
	*ret = (int32_t)(offset / 8);
	return true;
}

static uint32_t with_n(enum wire_unwind_kind kind, int64_t offset)
{
	int32_t n;

	return eighth(offset, WIRE_UNWIND_N_MAX, &n) ? WIRE_UNWIND_RULE(kind, n, 0, 0) : UNKNOWN;
}

/* A linker's entry of the PLT: sp + 8, and 8 more once it has pushed its number: ((ip & 15) >= n) << 3. */
static uint32_t plt_rule(const uint8_t *expression, uint32_t size)
{
	static const uint8_t plt[] = { DW_OP_breg7, 8, DW_OP_breg16, 0, DW_OP_lit15, DW_OP_and, 0, DW_OP_ge, DW_OP_lit3,
				       DW_OP_shl, DW_OP_plus };

	if (size != sizeof(plt))
		return UNKNOWN;
	for (size_t i = 0; i < sizeof(plt); i++)
		if (plt[i] && expression[i] != plt[i])
			return UNKNOWN;
	if (expression[3] || expression[6] < DW_OP_lit0 || expression[6] > DW_OP_lit15)
		return UNKNOWN;
	return WIRE_UNWIND_RULE(WIRE_UNWIND_PLT, expression[6] - DW_OP_lit0, 0, 0);
}

static uint32_t cfa_rule(const struct object_cfi_row *row)
{
	struct shape shape;

	if (row->cfa_known && (row->cfa_reg == OBJECT_CFI_SP || row->cfa_reg == OBJECT_CFI_BP))
		return with_n(row->cfa_reg == OBJECT_CFI_SP ? WIRE_UNWIND_SP : WIRE_UNWIND_BP, row->cfa_offset);
	if (row->cfa_known || !row->cfa_expression)
		return UNKNOWN;
	if (!shape_read(row->cfa_expression, row->cfa_size, &shape))
		return plt_rule(row->cfa_expression, row->cfa_size);
	if ((shape.reg != OBJECT_CFI_SP && shape.reg != OBJECT_CFI_BP) || (shape.plus && shape.plus != 8))
		return UNKNOWN;
	if (shape.reg == OBJECT_CFI_SP)
		return with_n(!shape.is_read ? WIRE_UNWIND_SP : shape.plus ? WIRE_UNWIND_AT_SP_8 : WIRE_UNWIND_AT_SP, shape.offset);
	return with_n(!shape.is_read ? WIRE_UNWIND_BP : shape.plus ? WIRE_UNWIND_AT_BP_8 : WIRE_UNWIND_AT_BP, shape.offset);
}

/* Where the caller's bp is, as a part of a rule. */
static uint32_t bp_rule(const struct object_cfi_rule *rule)
{
	struct shape shape;
	int32_t m;

	switch (rule->kind) {
	case OBJECT_CFI_NONE:
	case OBJECT_CFI_SAME:
		return WIRE_UNWIND_RULE(0, 0, WIRE_UNWIND_BP_SAME, 0);
	case OBJECT_CFI_OFFSET:
		if (!eighth(rule->offset, WIRE_UNWIND_M_MAX, &m))
			break;
		return WIRE_UNWIND_RULE(0, 0, WIRE_UNWIND_BP_AT_CFA, m);
	case OBJECT_CFI_EXPRESSION:
		if (!shape_read(rule->expression, rule->size, &shape) || shape.is_read || shape.reg != OBJECT_CFI_BP ||
		    !eighth(shape.offset, WIRE_UNWIND_M_MAX, &m))
			break;
		return WIRE_UNWIND_RULE(0, 0, WIRE_UNWIND_BP_AT_BP, m);
	case OBJECT_CFI_UNDEFINED:
	case OBJECT_CFI_OTHER:
		break;
	}
	return WIRE_UNWIND_RULE(0, 0, WIRE_UNWIND_BP_LOST, 0);
}

static bool is_saved_at_sp(const struct object_cfi_rule *rule, int64_t offset)
{
	struct shape shape;

	return rule->kind == OBJECT_CFI_EXPRESSION && shape_read(rule->expression, rule->size, &shape) && !shape.is_read &&
	       shape.reg == OBJECT_CFI_SP && shape.offset == offset;
}

/* As C libraries describe what a signal handler returns to. */
static bool is_signal_frame(const struct object_cfi_row *row)
{
	struct shape cfa;

	return row->cfa_expression && shape_read(row->cfa_expression, row->cfa_size, &cfa) && cfa.is_read && !cfa.plus &&
	       cfa.reg == OBJECT_CFI_SP && cfa.offset == UCONTEXT_SP &&
	       is_saved_at_sp(&row->rules[OBJECT_CFI_RETURN], UCONTEXT_IP) &&
	       is_saved_at_sp(&row->rules[OBJECT_CFI_BP], UCONTEXT_BP);
}

uint32_t object_unwind_rule(const struct object_cfi_cie *cie, const struct object_cfi_row *row)
{
	const struct object_cfi_rule *back = &row->rules[OBJECT_CFI_RETURN];
	uint32_t rule;

	if (cie->return_register != OBJECT_CFI_RETURN)
		return UNKNOWN;
	if (cie->is_signal)
		return is_signal_frame(row) ? WIRE_UNWIND_RULE(WIRE_UNWIND_SIGNAL, 0, 0, 0) : UNKNOWN;
	if (back->kind == OBJECT_CFI_UNDEFINED)
		return WIRE_UNWIND_RULE(WIRE_UNWIND_END, 0, 0, 0);
	if (back->kind != OBJECT_CFI_OFFSET || back->offset != -8 || row->rules[OBJECT_CFI_SP].kind != OBJECT_CFI_NONE)
		return UNKNOWN;
	rule = cfa_rule(row);
	return wire_unwind_kind(rule) == WIRE_UNWIND_UNKNOWN ? UNKNOWN : rule | bp_rule(&row->rules[OBJECT_CFI_BP]);
}
