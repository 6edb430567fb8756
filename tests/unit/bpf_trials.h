/* SPDX-License-Identifier: MIT */
/*
 * Random probe programs that the checker accepts, and what each must record. Made from a stream of bytes: a seed's in
 * the unit test, the fuzzer's in the fuzz target. The same program, with its helpers replaced by what they return and
 * the context as plain memory, runs in the reference interpreter.
 */
#ifndef TESTS_BPF_TRIALS_H
#define TESTS_BPF_TRIALS_H

#include "bpf_reference.h"
#include "bpf_target.h"

#define TRIAL_INSNS 400
#define TRIAL_ID 3 /* ID of bpf_hit.h: what an inline body knows */
#define TRIAL_WORDS 8                             /* words of the BPF stack, recorded by output or one by one */
#define TRIAL_RECORD (24 + 8 * (TRIAL_WORDS + 4)) /* with r8, r9 and two context loads */

struct trial_bytes {
	const uint8_t *at, *end;
	uint64_t seed; /* used when at is NULL */
};

struct trial {
	struct bpf_insn probe[TRIAL_INSNS];     /* as compiled */
	struct bpf_insn reference[TRIAL_INSNS]; /* as interpreted: the same length up to the tail */
	size_t count, prefix;
	bool output;     /* ends with RING_OUTPUT, else RESERVE to SUBMIT */
	int16_t last[2]; /* context offsets of the two loads between RESERVE and SUBMIT .. */
	uint8_t last_opcode[2];
};

static uint8_t trial_byte(struct trial_bytes *b)
{
	if (b->at)
		return b->at < b->end ? *b->at++ : 0;
	b->seed ^= b->seed << 13;
	b->seed ^= b->seed >> 7;
	b->seed ^= b->seed << 17;
	return (uint8_t)(b->seed >> 32);
}

static void trial_put2(struct trial *t, struct bpf_insn probe, struct bpf_insn reference)
{
	t->probe[t->count] = probe;
	t->reference[t->count++] = reference;
}

static void trial_put(struct trial *t, uint8_t opcode, unsigned dst, unsigned src, int offset, int32_t imm)
{
	struct bpf_insn insn = {
		.opcode = opcode, .dst = dst & 15, .src = src & 15, .offset = (int16_t)offset, .imm = imm
	};

	trial_put2(t, insn, insn);
}

/* A call, and the value that the reference has in r0 instead. */
static void trial_call(struct trial *t, int32_t helper, int32_t result)
{
	trial_put2(t, (struct bpf_insn) { .opcode = 0x85, .imm = helper },
		   (struct bpf_insn) { .opcode = 0xb7, .imm = result });
}

/* r0 to r5, r8 and r9 hold numbers; r7 is the context, r6 will be the record. */
static unsigned trial_reg(struct trial_bytes *b)
{
	static const uint8_t regs[] = { 0, 1, 2, 3, 4, 5, 8, 9 };

	return regs[trial_byte(b) & 7];
}

static int32_t trial_imm(struct trial_bytes *b)
{
	static const int32_t some[] = { 0, 1, -1, 31, 32, 64, INT32_MAX, INT32_MIN, 255, 65535, -128 };
	uint8_t choice = trial_byte(b);

	if (choice < 128)
		return some[choice % 11];
	return (int32_t)((uint32_t)trial_byte(b) << 24 | (uint32_t)trial_byte(b) << 11 | trial_byte(b));
}

/* A load opcode, and an offset in the context that suits it. */
static uint8_t trial_context(struct trial_bytes *b, int16_t *offset)
{
	static const uint8_t opcodes[] = { 0x61, 0x69, 0x71, 0x79, 0x81, 0x89, 0x91, 0x79 };
	static const uint8_t sizes[] = { 4, 2, 1, 8, 4, 2, 1, 8 };
	uint8_t choice = trial_byte(b) & 7, reg = trial_byte(b) % ISA_REGS;

	if (reg == ISA_IP)
		reg = ISA_DI;
	*offset = (int16_t)(8 * reg + trial_byte(b) % 8 / sizes[choice] * sizes[choice]);
	return opcodes[choice];
}

static void trial_set(struct trial *t, struct trial_bytes *b, unsigned reg)
{
	int16_t offset;
	uint8_t opcode;

	if (trial_byte(b) & 1) {
		trial_put(t, 0xb7, reg, 0, 0, trial_imm(b));
		return;
	}
	opcode = trial_context(b, &offset);
	trial_put(t, opcode, reg, 7, offset, 0);
}

static void trial_alu(struct trial *t, struct trial_bytes *b)
{
	static const int8_t moves[] = { 0, 0, 8, 16 };
	uint8_t op = trial_byte(b) % 14, class = trial_byte(b) & 1 ? 7 : 4;
	bool by_reg = trial_byte(b) & 1 && op != 8;
	unsigned dst = trial_reg(b), src = by_reg ? trial_reg(b) : 0;
	int offset = op == 3 || op == 9 ? trial_byte(b) & 1 : op == 11 && by_reg ? moves[trial_byte(b) & 3] : 0;

	if (op == 13)
		trial_put(t, (uint8_t)(0xd0 | class | (class == 4 && by_reg ? 8 : 0)), dst, 0, 0,
			  16 << trial_byte(b) % 3);
	else
		trial_put(t, (uint8_t)(op << 4 | class | (by_reg ? 8 : 0)), dst, src, offset,
			  by_reg || op == 8 ? 0 : trial_imm(b));
}

static void trial_stack(struct trial *t, struct trial_bytes *b)
{
	static const uint8_t codes[] = { 0x00, 0x08, 0x10, 0x18 }, sizes[] = { 4, 2, 1, 8 };
	static const int32_t atomics[] = { 0x00, 0x40, 0x50, 0xa0, 0x01, 0x41, 0x51, 0xa1, 0xe1, 0xf1 };
	uint8_t size = trial_byte(b) & 3, kind = trial_byte(b) & 3;
	int at = -64 + trial_byte(b) % 64 / sizes[size] * sizes[size];
	unsigned reg = trial_reg(b);

	if (kind == 0)
		trial_put(t, 0x61 | codes[size], reg, 10, at, 0);
	else if (kind == 1)
		trial_put(t, 0x62 | codes[size], 10, 0, at, trial_imm(b));
	else if (kind == 2)
		trial_put(t, 0x63 | codes[size], 10, reg, at, 0);
	else
		trial_put(t, 0xc3 | codes[size & 1 ? 3 : 0], 10, reg, size & 1 ? at & ~7 : at & ~3,
			  atomics[trial_byte(b) % 10]);
}

/* Forward over what follows: the place is filled in when it is known to start an instruction. */
static void trial_branch(struct trial *t, struct trial_bytes *b, size_t *open)
{
	static const uint8_t ops[] = { 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13 };
	uint8_t op = ops[trial_byte(b) % 11], class = trial_byte(b) & 1 ? 5 : 6;
	bool by_reg = trial_byte(b) & 1;
	unsigned dst = trial_reg(b);

	*open = t->count;
	trial_put(t, (uint8_t)(op << 4 | class | (by_reg ? 8 : 0)), dst, by_reg ? trial_reg(b) : 0, 0,
		  by_reg ? 0 : trial_imm(b));
}

static void trial_land(struct trial *t, size_t *open)
{
	if (*open != SIZE_MAX)
		t->probe[*open].offset = t->reference[*open].offset = (int16_t)(t->count - *open - 1);
	*open = SIZE_MAX;
}

static void trial_helper(struct trial *t, struct trial_bytes *b)
{
	trial_put(t, 0xbf, 1, 7, 0, 0);
	if (trial_byte(b) & 1)
		trial_call(t, BPF_HELPER_COUNT, 0);
	else
		trial_call(t, BPF_HELPER_COOKIE, TRIAL_ID);
	for (unsigned reg = 1; reg <= 5; reg++)
		trial_set(t, b, reg);
}

/* Everything before the record: identical in both programs but for the helpers. */
static void trial_prefix(struct trial *t, struct trial_bytes *b)
{
	static const uint8_t regs[] = { 0, 1, 2, 3, 4, 5, 8, 9 };
	size_t open = SIZE_MAX, steps = 3 + trial_byte(b) % 40;

	trial_put(t, 0xbf, 7, 1, 0, 0);
	for (size_t i = 0; i < 8; i++)
		trial_set(t, b, regs[i]);
	for (int i = 1; i <= TRIAL_WORDS; i++)
		trial_put(t, 0x7a, 10, 0, -8 * i, i);
	for (size_t i = 0; i < steps && t->count < TRIAL_INSNS - 100; i++) {
		uint8_t choice = trial_byte(b) % 16;

		if (choice < 8)
			trial_alu(t, b);
		else if (choice < 11)
			trial_stack(t, b);
		else if (choice < 13)
			trial_set(t, b, trial_reg(b));
		else if (choice == 13 && open == SIZE_MAX)
			trial_branch(t, b, &open);
		else if (choice == 14)
			trial_land(t, &open);
		else if (choice == 15)
			trial_helper(t, b);
	}
	trial_land(t, &open);
	for (int i = 0; i < 6; i++) /* r0 to r5 are lost at the record: keep them */
		trial_put(t, 0x7b, 10, (unsigned)i, -8 * (i + 1), 0);
	t->prefix = t->count;
}

static void trial_probe_only(struct trial *t, uint8_t opcode, unsigned dst, unsigned src, int offset, int32_t imm)
{
	trial_put(t, opcode, dst, src, offset, imm);
}

static void trial_tail_output(struct trial *t)
{
	trial_probe_only(t, 0x18, 1, 1, 0, 0);
	trial_probe_only(t, 0, 0, 0, 0, 0);
	trial_probe_only(t, 0xbf, 2, 10, 0, 0);
	trial_probe_only(t, 0x07, 2, 0, 0, -64);
	trial_probe_only(t, 0xb7, 3, 0, 0, 64);
	trial_probe_only(t, 0xb7, 4, 0, 0, 0);
	trial_probe_only(t, 0x85, 0, 0, 0, BPF_HELPER_RING_OUTPUT);
}

static void trial_tail_reserve(struct trial *t, struct trial_bytes *b)
{
	trial_probe_only(t, 0x18, 1, 1, 0, 0);
	trial_probe_only(t, 0, 0, 0, 0, 0);
	trial_probe_only(t, 0xb7, 2, 0, 0, TRIAL_RECORD);
	trial_probe_only(t, 0xb7, 3, 0, 0, 0);
	trial_probe_only(t, 0x85, 0, 0, 0, BPF_HELPER_RING_RESERVE);
	trial_probe_only(t, 0xbf, 6, 0, 0, 0);

	size_t test = t->count;

	trial_probe_only(t, 0x15, 6, 0, 0, 0);
	trial_probe_only(t, 0x7b, 6, 8, 24, 0);
	trial_probe_only(t, 0x7b, 6, 9, 32, 0);
	for (int i = 0; i < 2; i++) {
		t->last_opcode[i] = trial_context(b, &t->last[i]);
		trial_probe_only(t, t->last_opcode[i], (unsigned)i + 1, 7, t->last[i], 0);
		trial_probe_only(t, 0x7b, 6, (unsigned)i + 1, 40 + 8 * i, 0);
	}
	for (int i = 0; i < TRIAL_WORDS; i++) {
		trial_probe_only(t, 0x79, 1, 10, -64 + 8 * i, 0);
		trial_probe_only(t, 0x7b, 6, 1, 56 + 8 * i, 0);
	}
	trial_probe_only(t, 0xbf, 1, 6, 0, 0);
	trial_probe_only(t, 0xb7, 2, 0, 0, 0);
	trial_probe_only(t, 0x85, 0, 0, 0, BPF_HELPER_RING_SUBMIT);
	t->probe[test].offset = (int16_t)(t->count - test - 1);
}

static void trial_make(struct trial *t, struct trial_bytes *b)
{
	memset(t, 0, sizeof(*t));
	t->output = trial_byte(b) & 1;
	trial_prefix(t, b);
	if (t->output)
		trial_tail_output(t);
	else
		trial_tail_reserve(t, b);
	trial_probe_only(t, 0xb7, 0, 0, 0, 0);
	trial_probe_only(t, 0x95, 0, 0, 0, 0);

	/* The reference ends where the record begins, with its two loads. */
	size_t at = t->prefix;

	for (int i = 0; i < 2 && !t->output; i++)
		t->reference[at++] = (struct bpf_insn) {
			.opcode = t->last_opcode[i], .dst = (uint8_t)(i + 1) & 15, .src = 7, .offset = t->last[i]
		};
	t->reference[at++] = (struct bpf_insn) { .opcode = 0xb7 };
	t->reference[at] = (struct bpf_insn) { .opcode = 0x95 };
}

/* The context of a hit, as struct pt_regs has it. */
static void trial_context_of(const struct fake_machine *m, uint64_t *regs)
{
	static const uint8_t numbers[] = { 15, 14, 13, 12, 5, 3, 11, 10, 9, 8, 0, 1, 2, 6, 7 };

	for (size_t i = 0; i < sizeof(numbers); i++)
		regs[i] = m->in[numbers[i]];
	regs[ISA_ORIG_AX] = ~0ULL;
	regs[ISA_IP] = 0;
	regs[ISA_CS] = 0x33;
	regs[ISA_FLAGS] = m->in_flags;
	regs[ISA_SP] = m->in[4];
	regs[ISA_SS] = 0x2b;
}

/* What the record must hold after its header (output: from its start). */
static bool trial_expect(const struct trial *t, const struct fake_machine *m, uint64_t *words)
{
	uint64_t regs[ISA_REGS];
	struct reference r = {
		.memory = (uint8_t *)regs, .memory_at = 0x10000, .memory_size = sizeof(regs), .stack_at = 0x20000
	};

	trial_context_of(m, regs);
	if (reference_run(&r, t->reference) != REFERENCE_DONE)
		return false;
	if (!t->output) {
		*words++ = r.reg[8];
		*words++ = r.reg[9];
		*words++ = r.reg[1];
		*words++ = r.reg[2];
	}
	memcpy(words, r.stack + BPF_STACK - 64, 64);
	return true;
}

#endif
