/* SPDX-License-Identifier: MIT */
/*
 * Call frame information: records, and running their instructions. See cfi.h.
 *
 * Invariant: a number, a pointer, an expression is used only when a cursor found it inside of its record.
 */
#include <dwarf.h>

#include "object/cfi.h"

#define REMEMBERED 16

static struct object_cursor cursor_at(const struct object_cfi_section *section, uint64_t at)
{
	struct object_cursor cursor = object_cursor_init(section->bytes, section->size, section->vaddr);

	object_cursor_skip(&cursor, at);
	return cursor;
}

/* A record: its id (of a CIE 0 or all ones, of an FDE where its CIE is), and where the next one starts. Cuts the cursor to it. */
struct record {
	uint64_t id, id_at;
	bool is_cie;
	uint64_t next;
};

static bool record_read(struct object_cursor *c, const struct object_cfi_section *section, struct record *ret)
{
	uint64_t length = object_cursor_u32(c);
	bool wide = length == UINT32_MAX;
	bool eh = section->eh;

	if (wide)
		length = object_cursor_u64(c);
	if (c->failed || !length || length > (uint64_t)(c->end - c->at))
		return false;
	ret->next = (uint64_t)(c->at - c->start) + length;
	ret->id_at = (uint64_t)(c->at - c->start);
	c->end = c->at + length;
	ret->id = object_cursor_number(c, wide && !eh ? 8 : 4);
	ret->is_cie = eh ? ret->id == 0 : ret->id == (wide ? UINT64_MAX : UINT32_MAX);
	return !c->failed;
}

static void augmentation(struct object_cursor *c, const char *text, struct object_cfi_cie *cie)
{
	uint64_t size = object_cursor_uleb(c);

	if (!object_cursor_has(c, size))
		return;
	struct object_cursor inner = object_cursor_init(c->at, size, object_cursor_vaddr(c));
	uint64_t personality;

	for (text++; *text && !inner.failed; text++) {
		if (*text == 'R') {
			cie->encoding = object_cursor_u8(&inner);
		} else if (*text == 'L') {
			object_cursor_u8(&inner);
		} else if (*text == 'S') {
			cie->is_signal = true;
		} else if (*text == 'P') {
			uint8_t encoding = object_cursor_u8(&inner);

			if (!object_cursor_pointer(&inner, encoding, 0, &personality))
				c->failed = true;
		}
	}
	c->at += size;
	cie->has_augmentation = true;
}

static bool cie_read(const struct object_cfi_section *section, uint64_t at, struct object_cfi_cie *ret)
{
	struct object_cursor c = cursor_at(section, at);
	struct object_cfi_cie cie = { .encoding = OBJECT_PE_ABSOLUTE };
	struct record record;

	if (!record_read(&c, section, &record) || !record.is_cie)
		return false;
	uint8_t version = object_cursor_u8(&c);
	const char *text = object_cursor_string(&c);

	if (!text || version < 1 || version > 4)
		return false;
	if (version == 4)
		object_cursor_skip(&c, 2); /* sizes of addresses and segments */
	cie.code_align = object_cursor_uleb(&c);
	cie.data_align = (int64_t)object_cursor_sleb(&c);
	cie.return_register = version == 1 ? object_cursor_u8(&c) : object_cursor_uleb(&c);
	if (*text == 'z')
		augmentation(&c, text, &cie);
	else if (*text)
		return false;
	cie.program = c.at;
	cie.end = c.end;
	*ret = cie;
	return !c.failed;
}

static bool fde_read(const struct object_cfi_section *section, struct object_cursor *c, const struct record *record,
		     struct object_cfi_fde *ret)
{
	uint64_t cie_at = section->eh ? record->id_at - record->id : record->id;
	struct object_cfi_fde fde = { .eh = section->eh };
	uint64_t size = 0;

	if (!cie_read(section, cie_at, &fde.cie) || fde.cie.encoding & OBJECT_PE_INDIRECT || /* nor OBJECT_PE_OMIT */
	    !object_cursor_pointer(c, fde.cie.encoding, 0, &fde.start) ||
	    !object_cursor_format(c, fde.cie.encoding & OBJECT_PE_FORMAT, &size))
		return false;
	if (fde.cie.has_augmentation)
		object_cursor_skip(c, object_cursor_uleb(c));
	fde.end = fde.start + size;
	fde.program = c->at;
	fde.program_end = c->end;
	fde.program_vaddr = object_cursor_vaddr(c);
	*ret = fde;
	return !c->failed && fde.start < fde.end;
}

bool object_cfi_next(const struct object_cfi_section *section, uint64_t *at, struct object_cfi_fde *ret)
{
	while (*at < section->size) {
		struct object_cursor c = cursor_at(section, *at);
		struct record record;
		uint64_t here = *at;
		uint32_t length = object_cursor_u32(&c);

		if (!c.failed && !length && !section->endless) { /* of several pieces put together */
			*at += 4;
			continue;
		}
		c = cursor_at(section, here);
		if (!record_read(&c, section, &record))
			break;
		*at = record.next;
		if (!record.is_cie && fde_read(section, &c, &record, ret)) {
			ret->at = here;
			return true;
		}
	}
	*at = section->size;
	return false;
}

/* ---- instructions ---- */

struct machine {
	struct object_cfi_row now, initial;
	struct object_cfi_row saved[REMEMBERED];
	unsigned depth;
	uint64_t vaddr;
	const struct object_cfi_fde *fde;
	object_cfi_row_fn *fn; /* NULL while the CIE's are run */
	void *arg;
	bool is_done;
};

static void set_rule(struct machine *m, uint64_t reg, enum object_cfi_kind kind, int64_t offset)
{
	if (reg < OBJECT_CFI_REGISTERS)
		m->now.rules[reg] = (struct object_cfi_rule) { .kind = kind, .offset = offset };
}

static void set_cfa(struct machine *m, bool known, uint64_t reg, int64_t offset)
{
	m->now.cfa_known = known && reg < OBJECT_CFI_REGISTERS;
	m->now.cfa_reg = m->now.cfa_known ? (unsigned)reg : 0;
	m->now.cfa_offset = offset;
	m->now.cfa_expression = NULL;
}

/* What holds now held up to @vaddr. */
static void go_to(struct machine *m, uint64_t vaddr)
{
	uint64_t end = vaddr < m->fde->end ? vaddr : m->fde->end;

	if (m->fn && m->vaddr < end && !m->fn(m->arg, m->vaddr, end, &m->now))
		m->is_done = true;
	m->vaddr = vaddr;
}

static void advance(struct machine *m, uint64_t by)
{
	go_to(m, m->vaddr + by * m->fde->cie.code_align);
}

/* An instruction's expression; NULL: it is cut off. */
static const uint8_t *expression_read(struct object_cursor *c, uint32_t *size)
{
	uint64_t length = object_cursor_uleb(c);
	const uint8_t *at = c->at;

	object_cursor_skip(c, length);
	*size = (uint32_t)length;
	return c->failed || length > UINT32_MAX ? NULL : at;
}

static void set_expression(struct machine *m, struct object_cursor *c, uint64_t reg)
{
	uint32_t size;
	const uint8_t *at = expression_read(c, &size);

	if (at && reg < OBJECT_CFI_REGISTERS)
		m->now.rules[reg] = (struct object_cfi_rule) { .kind = OBJECT_CFI_EXPRESSION, .size = size, .expression = at };
}

static int64_t factored(const struct machine *m, uint64_t offset)
{
	return (int64_t)(offset * (uint64_t)m->fde->cie.data_align);
}

static void remember(struct machine *m, struct object_cursor *c)
{
	if (m->depth == REMEMBERED)
		c->failed = true;
	else
		m->saved[m->depth++] = m->now;
}

static void restore_state(struct machine *m, struct object_cursor *c)
{
	if (m->depth == 0)
		c->failed = true;
	else
		m->now = m->saved[--m->depth];
}

static void run_cfa(struct machine *m, struct object_cursor *c, uint8_t opcode)
{
	uint64_t value;

	switch (opcode) {
	case DW_CFA_def_cfa:
		value = object_cursor_uleb(c);
		set_cfa(m, true, value, (int64_t)object_cursor_uleb(c));
		break;
	case DW_CFA_def_cfa_sf:
		value = object_cursor_uleb(c);
		set_cfa(m, true, value, factored(m, object_cursor_sleb(c)));
		break;
	case DW_CFA_def_cfa_register:
		set_cfa(m, m->now.cfa_known, object_cursor_uleb(c), m->now.cfa_offset);
		break;
	case DW_CFA_def_cfa_offset:
		set_cfa(m, m->now.cfa_known, m->now.cfa_reg, (int64_t)object_cursor_uleb(c));
		break;
	case DW_CFA_def_cfa_offset_sf:
		set_cfa(m, m->now.cfa_known, m->now.cfa_reg, factored(m, object_cursor_sleb(c)));
		break;
	case DW_CFA_def_cfa_expression:
		set_cfa(m, false, 0, 0);
		m->now.cfa_expression = expression_read(c, &m->now.cfa_size);
		break;
	case DW_CFA_GNU_args_size:
		object_cursor_uleb(c);
		break;
	default:
		c->failed = true; /* unknown: what follows cannot be read */
		break;
	}
}

static void run_rule(struct machine *m, struct object_cursor *c, uint8_t opcode)
{
	uint64_t reg;

	switch (opcode) {
	case DW_CFA_offset_extended:
		reg = object_cursor_uleb(c);
		set_rule(m, reg, OBJECT_CFI_OFFSET, factored(m, object_cursor_uleb(c)));
		break;
	case DW_CFA_offset_extended_sf:
		reg = object_cursor_uleb(c);
		set_rule(m, reg, OBJECT_CFI_OFFSET, factored(m, object_cursor_sleb(c)));
		break;
	case DW_CFA_restore_extended:
		reg = object_cursor_uleb(c);
		if (reg < OBJECT_CFI_REGISTERS)
			m->now.rules[reg] = m->initial.rules[reg];
		break;
	case DW_CFA_undefined:
		set_rule(m, object_cursor_uleb(c), OBJECT_CFI_UNDEFINED, 0);
		break;
	case DW_CFA_same_value:
		set_rule(m, object_cursor_uleb(c), OBJECT_CFI_SAME, 0);
		break;
	case DW_CFA_register:
	case DW_CFA_val_offset:
	case DW_CFA_val_offset_sf:
		set_rule(m, object_cursor_uleb(c), OBJECT_CFI_OTHER, 0);
		object_cursor_uleb(c);
		break;
	case DW_CFA_expression:
		set_expression(m, c, object_cursor_uleb(c));
		break;
	case DW_CFA_val_expression:
		set_rule(m, object_cursor_uleb(c), OBJECT_CFI_OTHER, 0);
		object_cursor_skip(c, object_cursor_uleb(c));
		break;
	default:
		run_cfa(m, c, opcode);
		break;
	}
}

static void set_location(struct machine *m, struct object_cursor *c)
{
	uint64_t vaddr;

	if (!object_cursor_pointer(c, m->fde->eh ? m->fde->cie.encoding : OBJECT_PE_ABSOLUTE, 0, &vaddr) || vaddr < m->vaddr)
		c->failed = true;
	else
		go_to(m, vaddr);
}

static void run_one(struct machine *m, struct object_cursor *c)
{
	uint8_t opcode = object_cursor_u8(c);
	uint8_t low = opcode & 0x3f;

	switch (opcode & 0xc0) {
	case DW_CFA_advance_loc:
		advance(m, low);
		return;
	case DW_CFA_offset:
		set_rule(m, low, OBJECT_CFI_OFFSET, factored(m, object_cursor_uleb(c)));
		return;
	case DW_CFA_restore:
		if (low < OBJECT_CFI_REGISTERS)
			m->now.rules[low] = m->initial.rules[low];
		return;
	default:
		break;
	}
	switch (opcode) {
	case DW_CFA_nop:
		break;
	case DW_CFA_set_loc:
		set_location(m, c);
		break;
	case DW_CFA_advance_loc1:
		advance(m, object_cursor_u8(c));
		break;
	case DW_CFA_advance_loc2:
		advance(m, object_cursor_number(c, 2));
		break;
	case DW_CFA_advance_loc4:
		advance(m, object_cursor_u32(c));
		break;
	case DW_CFA_remember_state:
		remember(m, c);
		break;
	case DW_CFA_restore_state:
		restore_state(m, c);
		break;
	default:
		run_rule(m, c, opcode);
		break;
	}
}

static bool run(struct machine *m, const uint8_t *program, const uint8_t *end)
{
	struct object_cursor c = object_cursor_init(program, (size_t)(end - program), m->fde->program_vaddr);

	while (c.at < c.end && !c.failed && !m->is_done && m->vaddr < m->fde->end)
		run_one(m, &c);
	return !c.failed;
}

bool object_cfi_rows(const struct object_cfi_fde *fde, object_cfi_row_fn *fn, void *arg)
{
	struct machine m = { .fde = fde, .vaddr = fde->start };

	if (!run(&m, fde->cie.program, fde->cie.end))
		return false;
	m.initial = m.now;
	m.vaddr = fde->start;
	m.depth = 0;
	m.fn = fn;
	m.arg = arg;
	if (!run(&m, fde->program, fde->program_end))
		return false;
	if (!m.is_done)
		go_to(&m, fde->end);
	return true;
}
