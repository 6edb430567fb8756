/* SPDX-License-Identifier: MIT */
/*
 * Specification -> bpf program.
 *
 * Between RING_RESERVE and RING_SUBMIT the code may be restarted at any instruction, so everything that cannot be
 * repeated (reading the stack) is done before, and every value goes through a register that is dead at the reservation:
 * each load stands right before its store, the pair that the code generator makes one move of.
 *
 *   r6 record   r7 context   r8, r9 and the stack: words of the target's stack   r1 scratch
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "probe/input.h"
#include "wire/wire.h"

/* Opcodes, RFC 9669 section 4 and 5: class | source or size | operation or mode. */
enum {
	OP_LOAD_IMM64 = 0x18,
	OP_LOAD_8 = 0x71,
	OP_LOAD_16 = 0x69,
	OP_LOAD_32 = 0x61,
	OP_LOAD_64 = 0x79,
	OP_LOAD_S8 = 0x91,
	OP_LOAD_S16 = 0x89,
	OP_LOAD_S32 = 0x81,
	OP_STORE_32 = 0x63,
	OP_STORE_64 = 0x7b,
	OP_STORE_IMM_32 = 0x62,
	OP_MOVE = 0xbf,
	OP_MOVE_IMM = 0xb7,
	OP_SHIFT_LEFT_IMM = 0x67,
	OP_SHIFT_RIGHT_IMM = 0x77,
	OP_SHIFT_ARITHMETIC_IMM = 0xc7,
	OP_JUMP_EQUAL_IMM = 0x15,
	OP_CALL = 0x85,
	OP_EXIT = 0x95,
};

#define MAP_PSEUDO 1   /* source register of a LOAD_IMM64 that names a map */
#define FIXED_INSNS 32 /* instructions that do not depend on the arguments */
#define INSNS_A_WORD 3
#define INSNS_AN_ARG 4

/* A program being written; insns has room for all of it. */
struct writer {
	struct bpf_insn *insns;
	size_t count;
};

static void put(struct writer *w, uint8_t opcode, uint8_t dst, uint8_t src, int16_t offset, int32_t imm)
{
	w->insns[w->count++] =
	    (struct bpf_insn) { .opcode = opcode, .dst = dst, .src = src, .offset = offset, .imm = imm };
}

static void put_call(struct writer *w, enum bpf_helper helper)
{
	put(w, OP_CALL, 0, 0, 0, (int32_t)helper);
}

/* Where the k-th word of the target's stack is kept. */
static bool word_in_register(size_t k, uint8_t *reg)
{
	if (k >= 2)
		return false;
	*reg = (uint8_t)(8 + k);
	return true;
}

static int16_t word_slot(size_t k)
{
	return (int16_t)(-8 * (int)(k - 1));
}

static void put_words(struct writer *w, const uint32_t *words, size_t count)
{
	for (size_t k = 0; k < count; k++) {
		uint8_t reg;

		put(w, OP_MOVE_IMM, 1, 0, 0, (int32_t)words[k]);
		put_call(w, BPF_HELPER_STACK_WORD);
		if (word_in_register(k, &reg))
			put(w, OP_MOVE, reg, 0, 0, 0);
		else
			put(w, OP_STORE_64, 10, 0, word_slot(k), 0);
	}
}

static uint8_t load_opcode(const struct probe_arg *arg)
{
	bool is_signed = arg->format == PROBE_FORMAT_SIGNED;

	if (arg->bits == 8)
		return is_signed ? OP_LOAD_S8 : OP_LOAD_8;
	if (arg->bits == 16)
		return is_signed ? OP_LOAD_S16 : OP_LOAD_16;
	if (arg->bits == 32)
		return is_signed ? OP_LOAD_S32 : OP_LOAD_32;
	return OP_LOAD_64;
}

/* r1 = the word, cut and extended */
static void put_load_word(struct writer *w, const struct probe_arg *arg, size_t k)
{
	bool is_signed = arg->format == PROBE_FORMAT_SIGNED;
	uint8_t reg;

	if (!word_in_register(k, &reg)) {
		put(w, load_opcode(arg), 1, 10, word_slot(k), 0);
		return;
	}
	put(w, OP_MOVE, 1, reg, 0, 0);
	if (arg->bits == 64)
		return;
	put(w, OP_SHIFT_LEFT_IMM, 1, 0, 0, 64 - arg->bits);
	put(w, is_signed ? OP_SHIFT_ARITHMETIC_IMM : OP_SHIFT_RIGHT_IMM, 1, 0, 0, 64 - arg->bits);
}

static void put_args(struct writer *w, const struct probe_spec *spec, const uint32_t *words)
{
	for (size_t i = 0; i < spec->nargs; i++) {
		const struct probe_arg *arg = &spec->args[i];
		int16_t at = (int16_t)(sizeof(struct wire_record) + 8 * i);
		size_t k = 0;

		if (arg->source == PROBE_ARG_REGISTER) {
			put(w, load_opcode(arg), 1, 7, (int16_t)(8 * (int)arg->reg), 0);
		} else {
			while (words[k] != arg->word)
				k++;
			put_load_word(w, arg, k);
		}
		put(w, OP_STORE_64, 6, 1, at, 0);
	}
}

static void put_header(struct writer *w, uint32_t size)
{
	put(w, OP_MOVE, 1, 7, 0, 0);
	put_call(w, BPF_HELPER_COOKIE);
	put(w, OP_STORE_32, 6, 0, offsetof(struct wire_record, id), 0);
	put(w, OP_STORE_IMM_32, 6, 0, offsetof(struct wire_record, size), (int32_t)size); /* flags 0 above it */
	put_call(w, BPF_HELPER_TIME);
	put(w, OP_STORE_64, 6, 0, offsetof(struct wire_record, time), 0);
	put_call(w, BPF_HELPER_PID_TGID);
	put(w, OP_STORE_64, 6, 0, offsetof(struct wire_record, tid), 0); /* tid low, pid high, as the struct has them */
}

static void put_record(struct writer *w, const struct probe_spec *spec, const uint32_t *words, size_t nwords)
{
	uint32_t size = probe_record_size(spec);
	size_t jump;

	put(w, OP_MOVE, 7, 1, 0, 0);
	put_words(w, words, nwords);
	put(w, OP_LOAD_IMM64, 1, MAP_PSEUDO, 0, BPF_MAP_RING);
	put(w, 0, 0, 0, 0, 0);
	put(w, OP_MOVE_IMM, 2, 0, 0, (int32_t)size);
	put(w, OP_MOVE_IMM, 3, 0, 0, 0);
	put_call(w, BPF_HELPER_RING_RESERVE);
	put(w, OP_MOVE, 6, 0, 0, 0);
	jump = w->count;
	put(w, OP_JUMP_EQUAL_IMM, 6, 0, 0, 0);
	put_header(w, size);
	put_args(w, spec, words);
	put(w, OP_MOVE, 1, 6, 0, 0);
	put(w, OP_MOVE_IMM, 2, 0, 0, 0);
	put_call(w, BPF_HELPER_RING_SUBMIT);
	w->insns[jump].offset = (int16_t)(w->count - jump - 1);
}

uint32_t probe_record_size(const struct probe_spec *spec)
{
	return (uint32_t)(sizeof(struct wire_record) + 8 * spec->nargs);
}

int probe_program(const struct probe_spec *spec, enum probe_action action, struct bpf_insn **ret, size_t *count)
{
	uint32_t words[PROBE_ARGS];
	size_t nwords = probe_stack_words(spec, words);
	size_t most = FIXED_INSNS + INSNS_A_WORD * nwords + INSNS_AN_ARG * spec->nargs;
	struct writer w = { .insns = calloc(most, sizeof(*w.insns)) };

	if (!w.insns)
		return -ENOMEM;
	switch (action) {
	case PROBE_COUNT:
		put_call(&w, BPF_HELPER_COUNT);
		break;
	case PROBE_RECORD:
		put_record(&w, spec, words, nwords);
		break;
	}
	put(&w, OP_MOVE_IMM, 0, 0, 0, 0);
	put(&w, OP_EXIT, 0, 0, 0, 0);
	*ret = w.insns;
	*count = w.count;
	return 0;
}
