/* SPDX-License-Identifier: MIT */
/* A small interpreter of the programs that probe_program() writes, with helpers that count their calls and check their arguments. */
#ifndef PROBE_MACHINE_H
#define PROBE_MACHINE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "probe/probe.h"
#include "wire/wire.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct machine {
	uint64_t regs[11];
	uint64_t context[ISA_REGS];
	uint64_t stack[BPF_PROBE_STACK / 8];
	uint8_t record[WIRE_LONG_MAX];
	uint32_t at;       /* in record: where the next one goes */
	uint32_t reserved; /* bytes */
	bool full;         /* RING_RESERVE fails */
	unsigned limit;    /* hits that LIMIT lets pass */
	uint64_t tickets;
	unsigned counts, reserves, submits, words, reads;
	uint64_t read; /* what READ_USER finds */
	bool inside; /* between RESERVE and SUBMIT */
	bool goid;   /* the next READ_USER is of the goroutine's number */
	/* LONG records are made in scratch and copied. */
	uint8_t scratch[WIRE_LONG_MAX];
	uint32_t most, used; /* of scratch; most 0: none is open */
	unsigned longs;
	/* Memory of the target; nothing else can be read. None: what .read says is everywhere. */
	struct machine_memory {
		uint64_t addr;
		const void *data;
		size_t size;
	} memory[8];
	bool unnamed; /* the thread's name cannot be had */
	enum wire_stack_kind stack_kind; /* of an argument that is added; 0: none */
	uint32_t stack_most;
	bool no_stack; /* nothing of it can be had */
};
#define GOID_OFFSET 0x98
#define MACHINE_BASE 0x7f1122330000ULL /* of the file that is probed */
#define MACHINE_IP 0x7f1122334455ULL

/* The bytes that can be read from @addr on. */
static const uint8_t *find_memory(const struct machine *m, uint64_t addr, size_t *left)
{
	for (size_t i = 0; i < COUNT(m->memory); i++)
		if (m->memory[i].data && addr - m->memory[i].addr < m->memory[i].size) {
			*left = m->memory[i].size - (addr - m->memory[i].addr);
			return (const uint8_t *)m->memory[i].data + (addr - m->memory[i].addr);
		}
	*left = 0;
	return NULL;
}

static uint64_t read_user(struct machine *m)
{
	uint8_t *to = (uint8_t *)(uintptr_t)m->regs[1];
	size_t left;
	const uint8_t *from = find_memory(m, m->regs[3], &left);

	assert_false(m->inside);
	m->reads++;
	assert_in_range(m->regs[2], 1, 16); /* a condition compares so much of a text */
	assert_in_range(m->regs[1], (uint64_t)(uintptr_t)m->stack, (uint64_t)(uintptr_t)(m->stack + BPF_PROBE_STACK / 8) - m->regs[2]);
	if (m->memory[0].data) {
		memset(to, 0xee, m->regs[2]); /* what is there after a failure is anybody's guess */
		if (left < m->regs[2])
			return (uint64_t)-EFAULT;
		memcpy(to, from, m->regs[2]);
		return 0;
	}
	assert_int_equal(m->regs[2], 8);
	assert_int_equal(m->regs[3], m->context[ISA_R14] + (m->goid ? GOID_OFFSET : 8));
	memcpy(to, &m->read, 8);
	return 0;
}

static uint64_t append(struct machine *m, const uint8_t *from, size_t size, bool cut)
{
	uint64_t locator = WIRE_LOCATOR(m->used, size);

	if (!from)
		return WIRE_LOCATOR_FAILED | EFAULT;
	if (size > m->most - m->used) {
		size = m->most - m->used;
		locator = WIRE_LOCATOR(m->used, size);
		cut = true;
	}
	memcpy(m->scratch + m->used, from, size);
	m->used += (uint32_t)size;
	return locator | (cut ? WIRE_LOCATOR_SHORT : 0);
}

static uint64_t long_helper(struct machine *m, int32_t helper)
{
	size_t left;
	const uint8_t *from = find_memory(m, m->regs[3], &left);
	size_t size = left < m->regs[2] ? left : m->regs[2];
	size_t length = from ? strnlen((const char *)from, size) : 0;

	assert_true(m->most);
	assert_int_equal(m->regs[1], (uint64_t)(uintptr_t)m->scratch);
	switch (helper) {
	case BPF_HELPER_LONG_STRING:
		return append(m, from, length < size ? length + 1 : size, length == size);
	case BPF_HELPER_LONG_BYTES:
		m->used = (m->used + 7) & ~7U;
		return append(m, from, size, size < m->regs[2]);
	default:
		assert_int_equal(m->regs[2], 0);
		m->used = (m->used + 7) & ~7U;
		memcpy(m->record + m->at, m->scratch, m->used);
		((struct wire_record *)(void *)(m->record + m->at))->size = (uint16_t)m->used;
		((struct wire_record *)(void *)(m->record + m->at))->flags |= WIRE_RECORD_LONG;
		m->at += m->used;
		m->most = 0;
		m->submits++;
		return 0;
	}
}

/* What the real one appends is another test's: here the kind, sp, bp, as a program gave them. */
static uint64_t long_stack(struct machine *m)
{
	assert_true(m->most);
	assert_int_equal(m->regs[1], (uint64_t)(uintptr_t)m->scratch);
	return m->no_stack ? WIRE_LOCATOR_FAILED | EFAULT : append(m, (const uint8_t *)&m->regs[2], 24, true);
}

static uint64_t long_reserve(struct machine *m)
{
	assert_int_equal(m->regs[1], 0xf00d);
	assert_in_range(m->regs[2], sizeof(struct wire_record), WIRE_RECORD_MAX);
	assert_in_range(m->regs[3], m->regs[2], WIRE_LONG_MAX);
	assert_int_equal(m->most, 0);
	m->longs++;
	m->reserved = m->used = (uint32_t)m->regs[2];
	if (m->full)
		return 0;
	m->most = (uint32_t)m->regs[3];
	memset(m->scratch, 0, sizeof(m->scratch));
	return (uint64_t)(uintptr_t)m->scratch;
}

static uint64_t comm(struct machine *m)
{
	assert_int_equal(m->regs[2], 16);
	memcpy((void *)(uintptr_t)m->regs[1], "worker\0xxxxxxxx", 16);
	return m->unnamed ? (uint64_t)-EPERM : 0;
}

static uint64_t stack_word(uint64_t n)
{
	return 0x8182838485868700ULL + n;
}

static void call(struct machine *m, int32_t helper)
{
	uint64_t result = 0;

	switch (helper) {
	case BPF_HELPER_TICKET:
		assert_false(m->inside);
		result = m->tickets++;
		break;
	case BPF_HELPER_LIMIT:
		assert_false(m->inside);
		assert_int_equal(m->regs[1], 1000);
		assert_int_equal(m->regs[2], 7000);
		result = m->limit && m->limit--;
		break;
	case BPF_HELPER_VECTOR:
		assert_in_range(m->regs[1], 0, 31);
		result = 0xa1b2c3d4e5f60000ULL + m->regs[1];
		break;
	case BPF_HELPER_CPU:
		result = 3;
		break;
	case BPF_HELPER_COUNT:
		m->counts++;
		break;
	case BPF_HELPER_STACK_WORD:
		assert_false(m->inside);
		m->words++;
		result = stack_word(m->regs[1]);
		break;
	case BPF_HELPER_READ_USER:
		result = read_user(m);
		break;
	case BPF_HELPER_COMM:
		result = comm(m);
		break;
	case BPF_HELPER_LONG_RESERVE:
		result = long_reserve(m);
		break;
	case BPF_HELPER_LONG_STACK:
		result = long_stack(m);
		break;
	case BPF_HELPER_LONG_STRING:
	case BPF_HELPER_LONG_BYTES:
	case BPF_HELPER_LONG_SUBMIT:
		result = long_helper(m, helper);
		break;
	case BPF_HELPER_GOID_OFFSET:
		assert_false(m->inside);
		m->goid = true;
		result = GOID_OFFSET;
		break;
	case BPF_HELPER_RING_RESERVE:
		assert_int_equal(m->regs[1], 0xf00d);
		assert_int_equal(m->regs[3], 0);
		m->reserves++;
		m->reserved = (uint32_t)m->regs[2];
		m->inside = !m->full;
		result = m->full ? 0 : (uint64_t)(uintptr_t)(m->record + m->at);
		break;
	case BPF_HELPER_COOKIE:
		assert_int_equal(m->regs[1], (uint64_t)(uintptr_t)m->context);
		result = 0xffffffff00000123ULL; /* only 32 bits of it are the id */
		break;
	case BPF_HELPER_TIME:
		result = 0x1122334455667788ULL;
		break;
	case BPF_HELPER_PID_TGID:
		result = 4711ULL << 32 | 4712;
		break;
	case BPF_HELPER_RING_SUBMIT:
		assert_true(m->inside);
		assert_int_equal(m->regs[1], (uint64_t)(uintptr_t)(m->record + m->at));
		assert_int_equal(m->regs[2], 0);
		m->at += m->reserved;
		m->inside = false;
		m->submits++;
		break;
	default:
		fail_msg("unknown helper %d", helper);
	}
	m->regs[0] = result;
	for (int i = 1; i <= 5; i++)
		m->regs[i] = 0xdead0000 + (uint64_t)i; /* a call clobbers them */
}

/* Does a jump that compares two registers go? */
static bool compares(uint8_t opcode, uint64_t left, uint64_t right)
{
	switch (opcode) {
	case 0x1d:
		return left == right;
	case 0x2d:
		return left > right;
	case 0x3d:
		return left >= right;
	case 0x4d:
		return left & right;
	case 0x5d:
		return left != right;
	case 0x6d:
		return (int64_t)left > (int64_t)right;
	case 0x7d:
		return (int64_t)left >= (int64_t)right;
	case 0xad:
		return left < right;
	case 0xbd:
		return left <= right;
	case 0xcd:
		return (int64_t)left < (int64_t)right;
	default:
		return (int64_t)left <= (int64_t)right;
	}
}

static unsigned width_of(uint8_t opcode)
{
	static const unsigned widths[] = { 4, 2, 1, 8 };

	return widths[opcode >> 3 & 3];
}

static void load(struct machine *m, const struct bpf_insn *insn, bool is_signed)
{
	const uint8_t *from = (const uint8_t *)(uintptr_t)m->regs[insn->src] + insn->offset;
	unsigned width = width_of(insn->opcode);
	uint64_t value = 0;

	memcpy(&value, from, width);
	if (is_signed)
		value = (uint64_t)((int64_t)(value << (64 - 8 * width)) >> (64 - 8 * width));
	m->regs[insn->dst] = value;
}

static void store(struct machine *m, const struct bpf_insn *insn, uint64_t value)
{
	uint8_t *to = (uint8_t *)(uintptr_t)m->regs[insn->dst] + insn->offset;

	if (insn->dst == 10) {
		assert_true(insn->offset < 0 && insn->offset >= -BPF_PROBE_STACK);
		assert_false(m->inside);
	} else {
		assert_true(m->inside || m->most);
		assert_true(insn->offset >= 0 && insn->offset + width_of(insn->opcode) <= m->reserved);
	}
	memcpy(to, &value, width_of(insn->opcode));
}

/* Runs until exit; only the instructions that probe_program() writes. */
static void run(struct machine *m, const struct bpf_insn *program, size_t count)
{
	m->regs[1] = (uint64_t)(uintptr_t)m->context;
	m->regs[10] = (uint64_t)(uintptr_t)(m->stack + BPF_PROBE_STACK / 8);
	for (size_t at = 0; at < count; at++) {
		const struct bpf_insn *insn = &program[at];
		uint64_t *dst = &m->regs[insn->dst];

		switch (insn->opcode) {
		case 0x18:
			assert_in_range(insn->src, 0, 1);
			*dst = (uint32_t)insn[0].imm | (uint64_t)(uint32_t)insn[1].imm << 32;
			assert_true(!insn->src || *dst == BPF_MAP_RING);
			*dst = insn->src ? 0xf00d : *dst;
			at++;
			break;
		case 0x61:
		case 0x69:
		case 0x71:
		case 0x79:
			load(m, insn, false);
			break;
		case 0x81:
		case 0x89:
		case 0x91:
			load(m, insn, true);
			break;
		case 0x62:
		case 0x7a:
			store(m, insn, (uint64_t)(int64_t)insn->imm);
			break;
		case 0x63:
		case 0x6b:
		case 0x73:
		case 0x7b:
			store(m, insn, m->regs[insn->src]);
			break;
		case 0xbf:
			*dst = m->regs[insn->src];
			break;
		case 0xb7:
			*dst = (uint64_t)(int64_t)insn->imm;
			break;
		case 0x07:
			*dst += (uint64_t)(int64_t)insn->imm;
			break;
		case 0x0f:
			*dst += m->regs[insn->src];
			break;
		case 0x1f:
			*dst -= m->regs[insn->src];
			break;
		case 0x4f:
			*dst |= m->regs[insn->src];
			break;
		case 0x57:
			*dst &= (uint64_t)(int64_t)insn->imm;
			break;
		case 0x97:
			*dst %= (uint64_t)(int64_t)insn->imm;
			break;
		case 0x67:
			*dst <<= insn->imm;
			break;
		case 0x77:
			*dst >>= insn->imm;
			break;
		case 0xc7:
			*dst = (uint64_t)((int64_t)*dst >> insn->imm);
			break;
		case 0x15:
			at += *dst == (uint64_t)(int64_t)insn->imm ? (size_t)insn->offset : 0;
			break;
		case 0x55:
			at += *dst != (uint64_t)(int64_t)insn->imm ? (size_t)insn->offset : 0;
			break;
		case 0xc5:
			at += (int64_t)*dst < insn->imm ? (size_t)insn->offset : 0;
			break;
		case 0x05:
			at += (size_t)insn->offset;
			break;
		case 0x1d:
		case 0x2d:
		case 0x3d:
		case 0x4d:
		case 0x5d:
		case 0x6d:
		case 0x7d:
		case 0xad:
		case 0xbd:
		case 0xcd:
		case 0xdd:
			at += compares(insn->opcode, *dst, m->regs[insn->src]) ? (size_t)insn->offset : 0;
			break;
		case 0x5f:
			*dst &= m->regs[insn->src];
			break;
		case 0x85:
			call(m, insn->imm);
			break;
		case 0x95:
			assert_false(m->inside);
			assert_int_equal(m->regs[0], 0);
			return;
		default:
			fail_msg("unknown opcode 0x%02x", insn->opcode);
		}
	}
	fail_msg("no exit");
}

/* Parses, checks, runs; the record is in m->record. */
static inline void run_part(struct machine *m, const char *text, enum probe_action action, enum probe_part part)
{
	static const struct probe_place place = { .base = MACHINE_BASE, .ip = MACHINE_IP };
	static struct probe_spec spec;
	struct utap_error err = { 0 };
	struct bpf_insn *program;
	size_t count;

	if (probe_parse(text, &spec, NULL, &err))
		fail_msg("'%s' is refused: %s", text, err.text);
	if (m->stack_kind && probe_add_stack(&spec, m->stack_kind, m->stack_most, &err))
		fail_msg("'%s': no stack: %s", text, err.text);
	assert_int_equal(probe_program(&spec, action, part, &place, &program, &count), 0);
	if (bpf_check(program, count, BPF_PROBE, &err))
		fail_msg("'%s': %s", text, err.text);
	for (int i = 0; i < ISA_REGS; i++)
		m->context[i] = 0xf1f2f3f4f5f6f700ULL + (uint64_t)i;
	run(m, program, count);
	free(program);
}

static inline void run_text(struct machine *m, const char *text, enum probe_action action)
{
	run_part(m, text, action, PROBE_PART_PLACE);
}

#endif
