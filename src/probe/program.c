/* SPDX-License-Identifier: MIT */
/*
 * Specification -> bpf program.
 *
 * Between RING_RESERVE and RING_SUBMIT the code may be restarted at any instruction, so everything that cannot be
 * repeated (reading the stack) is done before, and every value goes through a register that is dead at the reservation:
 * each load stands right before its store, the pair that the code generator makes one move of.
 *
 *   r6 record   r7 context   r8, r9 and the stack: words of the target's stack   r1 scratch
 *
 * A function's return slot is where rsp points at its entry and at each exit. After the return, which is what a return probe shows, rsp
 * is one word higher.
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
	OP_ADD_IMM = 0x07,
	OP_ADD = 0x0f,
	OP_SUBTRACT = 0x1f,
	OP_AND_IMM = 0x57,
	OP_OR = 0x4f,
	OP_SHIFT_LEFT_IMM = 0x67,
	OP_SHIFT_RIGHT_IMM = 0x77,
	OP_SHIFT_ARITHMETIC_IMM = 0xc7,
	OP_JUMP_EQUAL_IMM = 0x15,
	OP_CALL = 0x85,
	OP_EXIT = 0x95,
};

#define MAP_PSEUDO 1   /* source register of a LOAD_IMM64 that names a map */
#define FIXED_INSNS 112 /* instructions that do not depend on the arguments, of two records */
#define GO_DEPTH_BITS 27 /* words of the deepest stack: Go's limit is 1 GiB */
#define INSNS_A_WORD 10
#define INSNS_AN_ARG 5

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

/* Also where words are counted from below the return address. */
static bool is_goid(uint32_t word)
{
	return word >= PROBE_GOID_WORD;
}

static int16_t word_slot(size_t k)
{
	return (int16_t)(-8 * (int)(k - 1));
}

/* The number of the goroutine into a slot of the stack. 0: %r14 points nowhere. */
static void put_goid(struct writer *w, int16_t slot)
{
	put_call(w, BPF_HELPER_GOID_OFFSET);
	put(w, OP_LOAD_64, 3, 7, 8 * ISA_R14, 0);
	put(w, OP_ADD, 3, 0, 0, 0);
	put(w, OP_MOVE, 1, 10, 0, 0);
	put(w, OP_ADD_IMM, 1, 0, 0, slot);
	put(w, OP_MOVE_IMM, 2, 0, 0, 8);
	put_call(w, BPF_HELPER_READ_USER);
}

static void put_words(struct writer *w, const uint32_t *words, size_t count)
{
	for (size_t k = 0; k < count; k++) {
		uint8_t reg;

		if (is_goid(words[k])) {
			int16_t slot = word_in_register(k, &reg) ? word_slot(PROBE_STACK_WORDS - 1) : word_slot(k);

			put_goid(w, slot); /* the last slot is filled last, so it is free until then */
			if (word_in_register(k, &reg))
				put(w, OP_LOAD_64, reg, 10, slot, 0);
			continue;
		}
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

/* r1 cut and extended */
static void put_cut(struct writer *w, const struct probe_arg *arg)
{
	bool is_signed = arg->format == PROBE_FORMAT_SIGNED;

	if (arg->bits == 64)
		return;
	put(w, OP_SHIFT_LEFT_IMM, 1, 0, 0, 64 - arg->bits);
	put(w, is_signed ? OP_SHIFT_ARITHMETIC_IMM : OP_SHIFT_RIGHT_IMM, 1, 0, 0, 64 - arg->bits);
}

/* r1 = the word, cut and extended */
static void put_load_word(struct writer *w, const struct probe_arg *arg, size_t k)
{
	uint8_t reg;

	if (!word_in_register(k, &reg)) {
		put(w, load_opcode(arg), 1, 10, word_slot(k), 0);
		return;
	}
	put(w, OP_MOVE, 1, reg, 0, 0);
	put_cut(w, arg);
}

/* One record as it will lie in memory. */
struct shape {
	enum probe_part part; /* not one of those that are two */
	size_t nargs;
	bool frame, caller;
	bool go;              /* the frame is a number made of goroutine and depth */
	uint32_t id_add;      /* of the second of two */
};

static bool is_return(enum probe_part part)
{
	return part == PROBE_PART_RETURN || part == PROBE_PART_TAIL;
}

static struct shape shape_of(const struct probe_spec *spec, enum probe_part part, bool go)
{
	bool at_return = spec->kind == PROBE_RETURN;

	return (struct shape) { .part = part,
				.nargs = at_return == is_return(part) ? spec->nargs : 0,
				.frame = part != PROBE_PART_PLACE,
				.go = go,
				.caller = is_return(part) };
}

static int16_t args_at(const struct shape *shape)
{
	return (int16_t)(sizeof(struct wire_record) + (shape->frame ? 8 : 0) + (shape->caller ? 8 : 0));
}

static uint32_t shape_size(const struct shape *shape)
{
	return (uint32_t)args_at(shape) + 8 * (uint32_t)shape->nargs;
}

static uint32_t shape_flags(const struct shape *shape)
{
	switch (shape->part) {
	case PROBE_PART_ENTRY:
		return WIRE_RECORD_ENTRY;
	case PROBE_PART_RETURN:
		return WIRE_RECORD_RETURN;
	case PROBE_PART_TAIL:
		return WIRE_RECORD_RETURN | WIRE_RECORD_TAIL;
	case PROBE_PART_PLACE:
	case PROBE_PART_ENTRY_RETURN:
	case PROBE_PART_ENTRY_TAIL:
	case PROBE_PART_GO_ENTRY:
	case PROBE_PART_GO_RETURN:
	case PROBE_PART_GO_TAIL:
	case PROBE_PART_GO_ENTRY_RETURN:
	case PROBE_PART_GO_ENTRY_TAIL:
		break; /* not the part of a shape */
	}
	return 0;
}

/* r1 = a register as the probed place, or as the caller after a return, sees it */
static void put_load_register(struct writer *w, const struct shape *shape, const struct probe_arg *arg)
{
	if (arg->source == PROBE_ARG_RETVAL && shape->part == PROBE_PART_TAIL) {
		put(w, OP_MOVE_IMM, 1, 0, 0, 0);
		return;
	}
	if (!is_return(shape->part) || arg->reg != ISA_SP) {
		put(w, load_opcode(arg), 1, 7, (int16_t)(8 * (int)arg->reg), 0);
		return;
	}
	put(w, OP_LOAD_64, 1, 7, 8 * ISA_SP, 0);
	put(w, OP_ADD_IMM, 1, 0, 0, 8);
	put_cut(w, arg);
}

static void put_args(struct writer *w, const struct probe_spec *spec, const struct shape *shape, const uint32_t *words)
{
	for (size_t i = 0; i < shape->nargs; i++) {
		const struct probe_arg *arg = &spec->args[i];
		int16_t at = (int16_t)(args_at(shape) + 8 * (int)i);
		size_t k = 0;

		if (arg->source != PROBE_ARG_STACK && arg->source != PROBE_ARG_GOID) {
			put_load_register(w, shape, arg);
		} else {
			while (words[k] != arg->word + (shape->caller ? 1 : 0))
				k++;
			put_load_word(w, arg, k);
		}
		put(w, OP_STORE_64, 6, 1, at, 0);
	}
}

/* The stack's words of a record, by their distance from rsp at the place: the return address, then those of the arguments. */
static size_t shape_words(const struct probe_spec *spec, const struct shape *shape, uint32_t *words)
{
	size_t count = 0;

	if (!shape->caller)
		return shape->nargs ? probe_stack_words(spec, words) : 0;
	words[0] = 0;
	if (shape->nargs)
		count = probe_stack_words(spec, words + 1);
	for (size_t i = 1; i <= count; i++)
		words[i]++;
	return count + 1;
}

/* The words of the stack take registers and slots; behind them there may be one for the frame of Go. */
static bool has_go_slot(const struct shape *shape, size_t nwords)
{
	return shape->go && nwords < PROBE_STACK_WORDS;
}

static int16_t go_slot(size_t nwords)
{
	return word_slot(nwords < 2 ? 2 : nwords);
}

/*
 * What stays the same when the stack moves: the goroutine, and how far from the stack's high end (the second word of struct g) the return
 * slot is. Where %r14 points nowhere, both ends of the call say so.
 */
static void put_go_frame(struct writer *w, int16_t slot)
{
	put(w, OP_MOVE, 1, 10, 0, 0);
	put(w, OP_ADD_IMM, 1, 0, 0, slot);
	put(w, OP_MOVE_IMM, 2, 0, 0, 8);
	put(w, OP_LOAD_64, 3, 7, 8 * ISA_R14, 0);
	put(w, OP_ADD_IMM, 3, 0, 0, 8);
	put_call(w, BPF_HELPER_READ_USER);
	put(w, OP_LOAD_64, 1, 10, slot, 0);
	put(w, OP_LOAD_64, 2, 7, 8 * ISA_SP, 0);
	put(w, OP_SUBTRACT, 1, 2, 0, 0);
	put(w, OP_SHIFT_RIGHT_IMM, 1, 0, 0, 3);
	put(w, OP_AND_IMM, 1, 0, 0, (1 << GO_DEPTH_BITS) - 1);
	put(w, OP_LOAD_64, 2, 7, 8 * ISA_R14, 0);
	put(w, OP_SHIFT_RIGHT_IMM, 2, 0, 0, 5);
	put(w, OP_SHIFT_LEFT_IMM, 2, 0, 0, GO_DEPTH_BITS);
	put(w, OP_OR, 1, 2, 0, 0);
	put(w, OP_MOVE_IMM, 2, 0, 0, 1);
	put(w, OP_SHIFT_LEFT_IMM, 2, 0, 0, 63);
	put(w, OP_OR, 1, 2, 0, 0);
	put(w, OP_STORE_64, 10, 1, slot, 0);
}

static void put_header(struct writer *w, const struct shape *shape)
{
	uint32_t size_and_flags = shape_size(shape) | shape_flags(shape) << 16;

	put(w, OP_MOVE, 1, 7, 0, 0);
	put_call(w, BPF_HELPER_COOKIE);
	if (shape->id_add)
		put(w, OP_ADD_IMM, 0, 0, 0, (int32_t)shape->id_add);
	put(w, OP_STORE_32, 6, 0, offsetof(struct wire_record, id), 0);
	put(w, OP_STORE_IMM_32, 6, 0, offsetof(struct wire_record, size), (int32_t)size_and_flags);
	put_call(w, BPF_HELPER_TIME);
	put(w, OP_STORE_64, 6, 0, offsetof(struct wire_record, time), 0);
	put_call(w, BPF_HELPER_PID_TGID);
	put(w, OP_STORE_64, 6, 0, offsetof(struct wire_record, tid), 0); /* tid low, pid high, as the struct has them */
}

static void put_frame(struct writer *w, const struct shape *shape, size_t nwords)
{
	uint8_t reg;

	if (shape->frame) {
		if (has_go_slot(shape, nwords))
			put(w, OP_LOAD_64, 1, 10, go_slot(nwords), 0);
		else
			put(w, OP_LOAD_64, 1, 7, 8 * ISA_SP, 0);
		put(w, OP_STORE_64, 6, 1, sizeof(struct wire_record), 0);
	}
	if (shape->caller && word_in_register(0, &reg))
		put(w, OP_STORE_64, 6, reg, sizeof(struct wire_record) + 8, 0);
}

static void put_record(struct writer *w, const struct probe_spec *spec, const struct shape *shape)
{
	uint32_t words[PROBE_ARGS + 1];
	size_t nwords = shape_words(spec, shape, words);
	size_t jump;

	put_words(w, words, nwords);
	if (has_go_slot(shape, nwords))
		put_go_frame(w, go_slot(nwords));
	put(w, OP_LOAD_IMM64, 1, MAP_PSEUDO, 0, BPF_MAP_RING);
	put(w, 0, 0, 0, 0, 0);
	put(w, OP_MOVE_IMM, 2, 0, 0, (int32_t)shape_size(shape));
	put(w, OP_MOVE_IMM, 3, 0, 0, 0);
	put_call(w, BPF_HELPER_RING_RESERVE);
	put(w, OP_MOVE, 6, 0, 0, 0);
	jump = w->count;
	put(w, OP_JUMP_EQUAL_IMM, 6, 0, 0, 0);
	put_header(w, shape);
	put_frame(w, shape, nwords);
	put_args(w, spec, shape, words);
	put(w, OP_MOVE, 1, 6, 0, 0);
	put(w, OP_MOVE_IMM, 2, 0, 0, 0);
	put_call(w, BPF_HELPER_RING_SUBMIT);
	w->insns[jump].offset = (int16_t)(w->count - jump - 1);
}

static enum probe_part without_go(enum probe_part part)
{
	return part < PROBE_PART_GO_ENTRY ? part : (enum probe_part)(part - PROBE_PART_GO_ENTRY + PROBE_PART_ENTRY);
}

/* The records that a program writes, one or two. */
static size_t shapes_of(const struct probe_spec *spec, enum probe_part part, struct shape shapes[static 2])
{
	enum probe_part plain = without_go(part);
	bool returns = plain == PROBE_PART_ENTRY_RETURN;
	bool go = plain != part;

	if (!returns && plain != PROBE_PART_ENTRY_TAIL) {
		shapes[0] = shape_of(spec, plain, go);
		return 1;
	}
	shapes[0] = shape_of(spec, PROBE_PART_ENTRY, go);
	shapes[1] = shape_of(spec, returns ? PROBE_PART_RETURN : PROBE_PART_TAIL, go);
	shapes[1].id_add = 1;
	return 2;
}

size_t probe_part_args(const struct probe_spec *spec, enum probe_part part)
{
	struct shape shapes[2];
	size_t count = shapes_of(spec, part, shapes);

	return shapes[0].nargs > shapes[count - 1].nargs ? shapes[0].nargs : shapes[count - 1].nargs;
}

uint32_t probe_record_size(const struct probe_spec *spec, enum probe_part part)
{
	struct shape shapes[2];
	size_t count = shapes_of(spec, part, shapes);
	uint32_t first = shape_size(&shapes[0]);
	uint32_t last = shape_size(&shapes[count - 1]);

	return first > last ? first : last;
}

int probe_program(const struct probe_spec *spec, enum probe_action action, enum probe_part part, struct bpf_insn **ret,
		  size_t *count)
{
	struct shape shapes[2];
	size_t nshapes = shapes_of(spec, part, shapes);
	size_t most = FIXED_INSNS + (INSNS_A_WORD + INSNS_AN_ARG) * (spec->nargs + 1);
	struct writer w = { .insns = calloc(most, sizeof(*w.insns)) };

	if (!w.insns)
		return -ENOMEM;
	switch (action) {
	case PROBE_COUNT:
		put_call(&w, BPF_HELPER_COUNT);
		break;
	case PROBE_RECORD:
		put(&w, OP_MOVE, 7, 1, 0, 0);
		for (size_t i = 0; i < nshapes; i++)
			put_record(&w, spec, &shapes[i]);
		break;
	}
	put(&w, OP_MOVE_IMM, 0, 0, 0, 0);
	put(&w, OP_EXIT, 0, 0, 0, 0);
	*ret = w.insns;
	*count = w.count;
	return 0;
}
