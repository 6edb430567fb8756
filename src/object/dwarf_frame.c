/* SPDX-License-Identifier: MIT */
/*
 * Call frame information at one address: how the CFA is made of a register, and where the caller's registers are. From .eh_frame of the object,
 * else from .debug_frame (Go, and what was built without unwind tables). An index of all descriptions is made at the first use; instructions are
 * run only for the one that is wanted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "object/dwarf_inside.h"

#define REMEMBERED 16
#define FDES_MAX (8UL << 20)

struct cie {
	uint64_t code_align;
	int64_t data_align;
	uint64_t return_register;
	uint8_t encoding;
	bool has_augmentation;
	const uint8_t *program, *end;
};

static const struct dwarf_section *section_of(const struct object_dwarf *dwarf, bool eh)
{
	return eh ? &dwarf->eh_frame : &dwarf->main->sections[DWARF_FRAME];
}

static struct object_cursor cursor_of(const struct object_dwarf *dwarf, bool eh, uint64_t at)
{
	const struct dwarf_section *section = section_of(dwarf, eh);
	struct object_cursor cursor = object_cursor_init(section->bytes, section->size, eh ? dwarf->eh_frame_vaddr : 0);

	object_cursor_skip(&cursor, at);
	return cursor;
}

/* A record: its id (0 or all ones: a CIE), and where its contents start. Cuts the cursor to it. */
struct record {
	uint64_t id, id_at;
	bool is_cie;
	uint64_t next;
};

static bool record_read(struct object_cursor *c, bool eh, struct record *ret)
{
	uint64_t length = object_cursor_u32(c);
	bool wide = length == UINT32_MAX;

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

static void augmentation(struct object_cursor *c, const char *text, struct cie *cie)
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
		} else if (*text == 'P') {
			uint8_t encoding = object_cursor_u8(&inner);

			if (!object_cursor_pointer(&inner, encoding, 0, &personality))
				c->failed = true;
		}
	}
	c->at += size;
	cie->has_augmentation = true;
}

static bool cie_read(struct object_dwarf *dwarf, bool eh, uint64_t at, struct cie *ret)
{
	struct object_cursor c = cursor_of(dwarf, eh, at);
	struct cie cie = { .encoding = OBJECT_PE_ABSOLUTE };
	struct record record;

	if (!record_read(&c, eh, &record) || !record.is_cie)
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

/* The range of an FDE; leaves the cursor at its instructions. */
static bool fde_read(struct object_dwarf *dwarf, bool eh, struct object_cursor *c, const struct record *record,
		     struct cie *cie, uint64_t *start, uint64_t *end)
{
	uint64_t cie_at = eh ? record->id_at - record->id : record->id;
	uint64_t size = 0;

	if (!cie_read(dwarf, eh, cie_at, cie) || !object_cursor_pointer(c, cie->encoding, 0, start) ||
	    !object_cursor_format(c, cie->encoding & OBJECT_PE_FORMAT, &size))
		return false;
	if (cie->has_augmentation)
		object_cursor_skip(c, object_cursor_uleb(c));
	*end = *start + size;
	return !c->failed && *start < *end;
}

/* ---- the index ---- */

static void index_section(struct object_dwarf *dwarf, bool eh)
{
	const struct dwarf_section *section = section_of(dwarf, eh);

	for (uint64_t at = 0; at < section->size && dwarf->fde_count < FDES_MAX;) {
		struct object_cursor c = cursor_of(dwarf, eh, at);
		struct dwarf_fde fde = { .at = at, .eh = eh };
		struct record record;
		struct cie cie;

		if (!record_read(&c, eh, &record))
			return;
		at = record.next;
		if (record.is_cie || !fde_read(dwarf, eh, &c, &record, &cie, &fde.start, &fde.end))
			continue;
		if (base_grow(&dwarf->fdes, &dwarf->fde_cap, dwarf->fde_count + 1, sizeof(*dwarf->fdes)))
			return;
		dwarf->fdes[dwarf->fde_count++] = fde;
	}
}

static int compare_fdes(const void *left, const void *right)
{
	const struct dwarf_fde *a = left;
	const struct dwarf_fde *b = right;

	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	return (int)b->eh - (int)a->eh; /* .eh_frame first */
}

static void index_make(struct object_dwarf *dwarf)
{
	struct object_image *image = &dwarf->object->image;
	const Elf64_Shdr *header = object_image_section(image, ".eh_frame");
	const uint8_t *bytes = header ? object_image_section_bytes(image, header) : NULL;

	dwarf->has_fdes = true;
	dwarf->eh_frame = DWARF_NO_SECTION;
	if (bytes) {
		dwarf->eh_frame = (struct dwarf_section) { .bytes = bytes, .size = header->sh_size };
		dwarf->eh_frame_vaddr = header->sh_addr;
	}
	index_section(dwarf, true);
	index_section(dwarf, false);
	if (dwarf->fde_count)
		qsort(dwarf->fdes, dwarf->fde_count, sizeof(*dwarf->fdes), compare_fdes);
}

static const struct dwarf_fde *fde_at(const struct object_dwarf *dwarf, uint64_t vaddr)
{
	size_t low = 0;
	size_t high = dwarf->fde_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (dwarf->fdes[middle].start <= vaddr)
			low = middle + 1;
		else
			high = middle;
	}
	const struct dwarf_fde *found = NULL;

	for (size_t back = 0; low > 0 && back < 4; low--, back++)
		if (vaddr < dwarf->fdes[low - 1].end && (!found || dwarf->fdes[low - 1].start == found->start))
			found = &dwarf->fdes[low - 1];
	return found;
}

/* ---- instructions ---- */

struct machine {
	struct dwarf_frame now, initial;
	struct dwarf_frame saved[REMEMBERED];
	unsigned depth;
	uint64_t vaddr, wanted;
	const struct cie *cie;
	bool beyond; /* the wanted row is complete */
};

static void set_rule(struct machine *m, uint64_t reg, enum dwarf_rule_kind kind, int64_t offset)
{
	if (reg < DWARF_REGISTERS)
		m->now.rules[reg] = (struct dwarf_rule) { .kind = kind, .offset = offset };
}

static void set_cfa(struct machine *m, bool known, uint64_t reg, int64_t offset)
{
	m->now.cfa_known = known && reg < DWARF_REGISTERS;
	m->now.cfa_reg = m->now.cfa_known ? (unsigned)reg : 0;
	m->now.cfa_offset = offset;
}

static void advance(struct machine *m, uint64_t by)
{
	m->vaddr += by * m->cie->code_align;
	m->beyond = m->vaddr > m->wanted;
}

static int64_t factored(const struct machine *m, uint64_t offset)
{
	return (int64_t)(offset * (uint64_t)m->cie->data_align);
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
		object_cursor_skip(c, object_cursor_uleb(c));
		set_cfa(m, false, 0, 0);
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
		set_rule(m, reg, DWARF_RULE_OFFSET, factored(m, object_cursor_uleb(c)));
		break;
	case DW_CFA_offset_extended_sf:
		reg = object_cursor_uleb(c);
		set_rule(m, reg, DWARF_RULE_OFFSET, factored(m, object_cursor_sleb(c)));
		break;
	case DW_CFA_restore_extended:
		reg = object_cursor_uleb(c);
		if (reg < DWARF_REGISTERS)
			m->now.rules[reg] = m->initial.rules[reg];
		break;
	case DW_CFA_undefined:
		set_rule(m, object_cursor_uleb(c), DWARF_RULE_OTHER, 0);
		break;
	case DW_CFA_same_value:
		set_rule(m, object_cursor_uleb(c), DWARF_RULE_SAME, 0);
		break;
	case DW_CFA_register:
	case DW_CFA_val_offset:
	case DW_CFA_val_offset_sf:
		set_rule(m, object_cursor_uleb(c), DWARF_RULE_OTHER, 0);
		object_cursor_uleb(c);
		break;
	case DW_CFA_expression:
	case DW_CFA_val_expression:
		set_rule(m, object_cursor_uleb(c), DWARF_RULE_OTHER, 0);
		object_cursor_skip(c, object_cursor_uleb(c));
		break;
	default:
		run_cfa(m, c, opcode);
		break;
	}
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
		set_rule(m, low, DWARF_RULE_OFFSET, factored(m, object_cursor_uleb(c)));
		return;
	case DW_CFA_restore:
		if (low < DWARF_REGISTERS)
			m->now.rules[low] = m->initial.rules[low];
		return;
	default:
		break;
	}
	switch (opcode) {
	case DW_CFA_nop:
		break;
	case DW_CFA_set_loc:
		m->vaddr = object_cursor_u64(c);
		m->beyond = m->vaddr > m->wanted;
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
	struct object_cursor c = object_cursor_init(program, (size_t)(end - program), 0);

	/* The row before the address is passed is the one that is wanted. */
	while (c.at < c.end && !c.failed && !m->beyond) {
		struct dwarf_frame before = m->now;

		run_one(m, &c);
		if (m->beyond)
			m->now = before;
	}
	return !c.failed;
}

int dwarf_frame_at(struct object_dwarf *dwarf, uint64_t vaddr, struct dwarf_frame *ret)
{
	if (!dwarf->has_fdes)
		index_make(dwarf);
	const struct dwarf_fde *fde = fde_at(dwarf, vaddr);
	struct record record;
	struct cie cie;
	uint64_t start;
	uint64_t end;

	if (!fde)
		return -ENOENT;
	struct object_cursor c = cursor_of(dwarf, fde->eh, fde->at);

	if (!record_read(&c, fde->eh, &record) || !fde_read(dwarf, fde->eh, &c, &record, &cie, &start, &end))
		return -EINVAL;
	struct machine m = { .cie = &cie, .vaddr = start, .wanted = vaddr };

	if (!run(&m, cie.program, cie.end))
		return -EINVAL;
	m.initial = m.now;
	m.beyond = false;
	m.vaddr = start;
	if (!run(&m, c.at, c.end))
		return -EINVAL;
	*ret = m.now;
	return 0;
}
