/* SPDX-License-Identifier: MIT */
/*
 * An interpreter for standalone programs, written from RFC 9669 and independent of src/bpf but for the instruction's
 * layout. It sees two objects, the memory and the stack, at addresses of the caller's choice; anything else is out of
 * bounds. No local calls.
 */
#ifndef TESTS_BPF_REFERENCE_H
#define TESTS_BPF_REFERENCE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "bpf/bpf.h"

#define REFERENCE_STEPS 20000

enum reference_end { REFERENCE_DONE, REFERENCE_OUT_OF_BOUNDS, REFERENCE_TOO_LONG, REFERENCE_UNKNOWN };

struct reference {
	uint64_t reg[11];
	uint8_t *memory;
	uint64_t memory_at, memory_size;
	uint8_t stack[BPF_STACK];
	uint64_t stack_at;
};

static uint8_t *reference_find(struct reference *m, uint64_t at, unsigned size)
{
	if (at >= m->memory_at && at - m->memory_at <= m->memory_size && m->memory_size - (at - m->memory_at) >= size)
		return m->memory + (at - m->memory_at);
	if (at >= m->stack_at && at - m->stack_at <= BPF_STACK && BPF_STACK - (at - m->stack_at) >= size)
		return m->stack + (at - m->stack_at);
	return NULL;
}

static uint64_t reference_swap(uint64_t value, int bits)
{
	uint64_t result = 0;

	for (int i = 0; i < bits; i += 8)
		result |= (value >> i & 0xff) << (bits - 8 - i);
	return result;
}

static uint64_t reference_extend(uint64_t value, int bits)
{
	return bits == 64 ? value : (value & ((1ULL << bits) - 1)) - ((value >> (bits - 1) & 1) << bits);
}

/* Signed division that rounds to zero; 0 and -1 as section 4.1 says. */
static uint64_t reference_signed_div(uint64_t a, uint64_t b, bool modulo)
{
	uint64_t x = (int64_t)a < 0 ? -a : a, y = (int64_t)b < 0 ? -b : b;

	if (modulo)
		return b == 0 ? a : (int64_t)a < 0 ? -(x % y) : x % y;
	return b == 0 ? 0 : ((int64_t)a < 0) != ((int64_t)b < 0) ? -(x / y) : x / y;
}

static uint64_t reference_alu64(unsigned op, int offset, uint64_t a, uint64_t b, bool *known)
{
	switch (op) {
	case 0x0:
		return a + b;
	case 0x1:
		return a - b;
	case 0x2:
		return a * b;
	case 0x3:
		return offset ? reference_signed_div(a, b, false) : b ? a / b : 0;
	case 0x4:
		return a | b;
	case 0x5:
		return a & b;
	case 0x8:
		return 0 - a;
	case 0x9:
		return offset ? reference_signed_div(a, b, true) : b ? a % b : a;
	case 0xa:
		return a ^ b;
	case 0xb:
		return offset ? reference_extend(b, offset) : b;
	}
	*known = false;
	return 0;
}

static uint64_t reference_shift(unsigned op, int bits, uint64_t a, uint64_t b)
{
	unsigned by = (unsigned)b % (unsigned)bits;

	if (op == 0x6)
		return a << by;
	if (op == 0x7 || (int64_t)a >= 0)
		return a >> by;
	return ~(~a >> by);
}

static bool reference_alu(struct reference *m, const struct bpf_insn *insn)
{
	bool wide = (insn->opcode & 7) == 7, known = true;
	unsigned op = insn->opcode >> 4;
	uint64_t a = m->reg[insn->dst];
	uint64_t b = insn->opcode & 8 ? m->reg[insn->src] : (uint64_t)(int64_t)insn->imm;
	int bits = wide ? 64 : 32;

	if (op == 0xd) {
		bool swap = wide || (insn->opcode & 8);

		a &= insn->imm == 64 ? ~0ULL : (1ULL << insn->imm) - 1;
		m->reg[insn->dst] = swap ? reference_swap(a, insn->imm) : a;
		return true;
	}
	if (!wide) { /* the operand as the operation sees it: sign-extended only where it is signed */
		bool is_signed = op == 0xc || ((op == 3 || op == 9) && insn->offset);

		a = is_signed ? reference_extend(a, 32) : (uint32_t)a;
		b = is_signed ? reference_extend(b, 32) : (uint32_t)b;
	}
	uint64_t r = op == 0x6 || op == 0x7 || op == 0xc ? reference_shift(op, bits, a, b)
							 : reference_alu64(op, insn->offset, a, b, &known);

	m->reg[insn->dst] = wide ? r : (uint32_t)r;
	return known;
}

static bool reference_branch(const struct reference *m, const struct bpf_insn *insn)
{
	bool wide = (insn->opcode & 7) == 5;
	uint64_t a = m->reg[insn->dst];
	uint64_t b = insn->opcode & 8 ? m->reg[insn->src] : (uint64_t)(int64_t)insn->imm;
	int64_t sa, sb;

	if (!wide) {
		a = (uint32_t)a;
		b = (uint32_t)b;
	}
	sa = wide ? (int64_t)a : (int32_t)a;
	sb = wide ? (int64_t)b : (int32_t)b;
	switch (insn->opcode >> 4) {
	case 0x1:
		return a == b;
	case 0x2:
		return a > b;
	case 0x3:
		return a >= b;
	case 0x4:
		return a & b;
	case 0x5:
		return a != b;
	case 0x6:
		return sa > sb;
	case 0x7:
		return sa >= sb;
	case 0xa:
		return a < b;
	case 0xb:
		return a <= b;
	case 0xc:
		return sa < sb;
	}
	return sa <= sb;
}

static void reference_atomic(struct reference *m, const struct bpf_insn *insn, uint8_t *at, unsigned size)
{
	uint64_t old = 0, src = m->reg[insn->src], new = 0, mask = size == 8 ? ~0ULL : 0xffffffffULL;

	memcpy(&old, at, size);
	switch (insn->imm & 0xf0) {
	case 0x00:
		new = old + src;
		break;
	case 0x40:
		new = old | src;
		break;
	case 0x50:
		new = old &src;
		break;
	case 0xa0:
		new = old ^ src;
		break;
	case 0xe0:
		new = src;
		break;
	case 0xf0:
		new = old == (m->reg[0] & mask) ? src : old;
		break;
	}
	memcpy(at, &new, size);
	if (insn->imm == 0xf1)
		m->reg[0] = old;
	else if (insn->imm & 1)
		m->reg[insn->src] = old;
}

/* false: out of bounds */
static bool reference_memory(struct reference *m, const struct bpf_insn *insn)
{
	static const unsigned sizes[] = { 4, 2, 1, 8 };
	unsigned class = insn->opcode & 7, size = sizes[insn->opcode >> 3 & 3];
	uint64_t base = m->reg[class == 1 ? insn->src : insn->dst];
	uint8_t *at = reference_find(m, base + (uint64_t)(int64_t)insn->offset, size);
	uint64_t value = 0;

	if (!at)
		return false;
	if (class == 1) {
		memcpy(&value, at, size);
		m->reg[insn->dst] = insn->opcode >> 5 == 4 ? reference_extend(value, (int)size * 8) : value;
	} else if (class == 3 && insn->opcode >> 5 == 6) {
		reference_atomic(m, insn, at, size);
	} else {
		value = class == 2 ? (uint64_t)(int64_t)insn->imm : m->reg[insn->src];
		memcpy(at, &value, size);
	}
	return true;
}

/* Run a program that passed the checker. */
static enum reference_end reference_run(struct reference *m, const struct bpf_insn *program)
{
	size_t at = 0;

	m->reg[1] = m->memory_at;
	m->reg[2] = m->memory_size;
	m->reg[10] = m->stack_at + BPF_STACK;
	for (int steps = 0; steps < REFERENCE_STEPS; steps++) {
		const struct bpf_insn *insn = &program[at++];
		unsigned class = insn->opcode & 7;

		if (insn->opcode == 0x18) {
			m->reg[insn->dst] = (uint32_t)insn[0].imm | (uint64_t)(uint32_t)insn[1].imm << 32;
			at++;
		} else if (class == 4 || class == 7) {
			if (!reference_alu(m, insn))
				return REFERENCE_UNKNOWN;
		} else if (class >= 1 && class <= 3) {
			if (!reference_memory(m, insn))
				return REFERENCE_OUT_OF_BOUNDS;
		} else if (insn->opcode == 0x95) {
			return REFERENCE_DONE;
		} else if (insn->opcode == 0x85) {
			return REFERENCE_UNKNOWN;
		} else if (insn->opcode == 0x06) {
			at += (size_t)(int64_t)insn->imm;
		} else if (insn->opcode == 0x05 || reference_branch(m, insn)) {
			at += (size_t)(int64_t)insn->offset;
		}
	}
	return REFERENCE_TOO_LONG;
}

#endif
