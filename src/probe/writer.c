/* SPDX-License-Identifier: MIT */
/*
 * Pieces of programs: instructions, how a value is fetched and cut to its type.
 *
 * Memory is read with a helper that never faults. Where it fails, the rest of the chain is jumped over.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "probe/writer.h"

#define JUMP_MAX 32767   /* instructions, of a conditional jump */
#define GO_DEPTH_BITS 27 /* words of the deepest stack: Go's limit is 1 GiB */

void probe_put(struct probe_writer *w, uint8_t opcode, uint8_t dst, uint8_t src, int16_t offset, int32_t imm)
{
	if (!w->error)
		w->error = base_grow(&w->insns, &w->cap, w->count + 1, sizeof(*w->insns));
	if (!w->error && w->count == JUMP_MAX)
		w->error = -E2BIG;
	if (w->error)
		return;
	w->insns[w->count++] = (struct bpf_insn) { .opcode = opcode, .dst = dst, .src = src, .offset = offset, .imm = imm };
}

void probe_put_call(struct probe_writer *w, enum bpf_helper helper)
{
	probe_put(w, OP_CALL, 0, 0, 0, (int32_t)helper);
}

void probe_put_constant(struct probe_writer *w, uint8_t dst, uint64_t value)
{
	if ((int64_t)value == (int32_t)value) {
		probe_put(w, OP_MOVE_IMM, dst, 0, 0, (int32_t)value);
		return;
	}
	probe_put(w, OP_LOAD_IMM64, dst, 0, 0, (int32_t)value);
	probe_put(w, 0, 0, 0, 0, (int32_t)(value >> 32));
}

void probe_put_land(struct probe_writer *w, size_t at)
{
	if (!w->error)
		w->insns[at].offset = (int16_t)(w->count - at - 1);
}

void probe_put_faults_land(struct probe_writer *w, const struct probe_faults *faults)
{
	for (size_t i = 0; i < faults->count; i++)
		probe_put_land(w, faults->at[i]);
}

/* ---- types ---- */

static bool is_signed(const struct probe_arg *arg)
{
	return arg->format == PROBE_FORMAT_SIGNED;
}

uint8_t probe_load_opcode(const struct probe_arg *arg)
{
	if (arg->bits == 8)
		return is_signed(arg) ? OP_LOAD_S8 : OP_LOAD_8;
	if (arg->bits == 16)
		return is_signed(arg) ? OP_LOAD_S16 : OP_LOAD_16;
	if (arg->bits == 32)
		return is_signed(arg) ? OP_LOAD_S32 : OP_LOAD_32;
	return OP_LOAD_64;
}

void probe_put_field(struct probe_writer *w, const struct probe_arg *arg)
{
	int above = 64 - arg->field_at - arg->field_bits;

	if (!arg->field_bits || arg->field_bits == 64)
		return;
	probe_put(w, OP_SHIFT_LEFT_IMM, 1, 0, 0, above);
	probe_put(w, OP_SHIFT_RIGHT_IMM, 1, 0, 0, above + arg->field_at);
}

void probe_put_cut(struct probe_writer *w, const struct probe_arg *arg)
{
	if (arg->field_bits) {
		probe_put_field(w, arg);
		return;
	}
	if (arg->bits == 64)
		return;
	probe_put(w, OP_SHIFT_LEFT_IMM, 1, 0, 0, 64 - arg->bits);
	probe_put(w, is_signed(arg) ? OP_SHIFT_ARITHMETIC_IMM : OP_SHIFT_RIGHT_IMM, 1, 0, 0, 64 - arg->bits);
}

/* ---- values without memory ---- */

bool probe_is_direct(const struct probe_shape *shape, const struct probe_arg *arg)
{
	if (arg->nreads || probe_arg_is_long(arg))
		return false;
	if (probe_shape_is_unknown(shape, arg))
		return true;
	switch (arg->source) {
	case PROBE_ARG_REGISTER:
	case PROBE_ARG_RETVAL:
	case PROBE_ARG_IMMEDIATE:
		return true;
	case PROBE_ARG_IP:
		return !probe_shape_is_return(shape);
	case PROBE_ARG_STACK:
	case PROBE_ARG_GOID:
	case PROBE_ARG_FILE:
	case PROBE_ARG_COMM:
	case PROBE_ARG_TEXT:
	case PROBE_ARG_CALLERS:
		break;
	}
	return false;
}

/* r1 = a register as the probed place, or as the caller after a return, sees it */
static void put_register(struct probe_writer *w, const struct probe_shape *shape, const struct probe_arg *arg)
{
	if (arg->is_vector) {
		probe_put(w, OP_MOVE_IMM, 1, 0, 0, (int32_t)arg->word);
		probe_put_call(w, BPF_HELPER_VECTOR);
		probe_put(w, OP_MOVE, 1, 0, 0, 0);
		probe_put_cut(w, arg);
		return;
	}
	if (!probe_shape_is_return(shape) || arg->reg != ISA_SP) {
		probe_put(w, probe_load_opcode(arg), 1, 7, (int16_t)(8 * (int)arg->reg), 0);
		probe_put_field(w, arg);
		return;
	}
	probe_put(w, OP_LOAD_64, 1, 7, 8 * ISA_SP, 0);
	probe_put(w, OP_ADD_IMM, 1, 0, 0, 8);
	probe_put_cut(w, arg);
}

void probe_put_direct(struct probe_writer *w, const struct probe_shape *shape, const struct probe_arg *arg)
{
	if (probe_shape_is_unknown(shape, arg)) {
		probe_put(w, OP_MOVE_IMM, 1, 0, 0, 0);
	} else if (arg->source == PROBE_ARG_IMMEDIATE || arg->source == PROBE_ARG_IP) {
		probe_put_constant(w, 1, arg->source == PROBE_ARG_IP ? w->place.ip : arg->value);
		probe_put_cut(w, arg);
	} else {
		put_register(w, shape, arg);
	}
}

/* ---- memory ---- */

void probe_put_add(struct probe_writer *w, int64_t offset)
{
	if (offset == (int32_t)offset) {
		if (offset)
			probe_put(w, OP_ADD_IMM, 3, 0, 0, (int32_t)offset);
		return;
	}
	probe_put_constant(w, 1, (uint64_t)offset);
	probe_put(w, OP_ADD, 3, 1, 0, 0);
}

void probe_put_read(struct probe_writer *w, int16_t slot, int64_t offset, unsigned size, struct probe_faults *faults)
{
	probe_put_add(w, offset);
	probe_put(w, OP_MOVE, 1, 10, 0, 0);
	probe_put(w, OP_ADD_IMM, 1, 0, 0, slot);
	probe_put(w, OP_MOVE_IMM, 2, 0, 0, (int32_t)size);
	probe_put_call(w, BPF_HELPER_READ_USER);
	faults->at[faults->count++] = w->count;
	probe_put(w, OP_JUMP_UNEQUAL_IMM, 0, 0, 0, 0);
}

static void put_stack_word(struct probe_writer *w, uint32_t word)
{
	probe_put(w, OP_MOVE_IMM, 1, 0, 0, (int32_t)word);
	probe_put_call(w, BPF_HELPER_STACK_WORD);
	probe_put(w, OP_MOVE, 3, 0, 0, 0);
}

static void put_wide_register(struct probe_writer *w, const struct probe_shape *shape, const struct probe_arg *arg)
{
	static const uint8_t loads[] = { OP_LOAD_8, OP_LOAD_16, OP_LOAD_32, OP_LOAD_64 };
	bool is_caller_sp = probe_shape_is_return(shape) && arg->reg == ISA_SP;

	probe_put(w, loads[__builtin_ctz(arg->source_bits) - 3], 3, 7, (int16_t)(8 * (int)arg->reg), 0);
	if (is_caller_sp)
		probe_put(w, OP_ADD_IMM, 3, 0, 0, 8);
}

static void put_index(struct probe_writer *w, const struct probe_arg *arg)
{
	probe_put(w, OP_LOAD_64, 1, 7, (int16_t)(8 * (int)arg->index), 0);
	if (arg->scale > 1)
		probe_put(w, OP_SHIFT_LEFT_IMM, 1, 0, 0, __builtin_ctz(arg->scale));
	probe_put(w, OP_ADD, 3, 1, 0, 0);
}

/* r3 = the source, all its bits */
static void put_source(struct probe_writer *w, const struct probe_shape *shape, const struct probe_arg *arg)
{
	bool is_return = probe_shape_is_return(shape);

	switch (arg->source) {
	case PROBE_ARG_REGISTER:
	case PROBE_ARG_RETVAL:
		put_wide_register(w, shape, arg);
		break;
	case PROBE_ARG_STACK:
		put_stack_word(w, arg->word + is_return);
		break;
	case PROBE_ARG_IMMEDIATE:
		probe_put_constant(w, 3, arg->value);
		break;
	case PROBE_ARG_FILE:
		probe_put_constant(w, 3, w->place.base + arg->value);
		break;
	case PROBE_ARG_IP:
		if (is_return)
			put_stack_word(w, 0);
		else
			probe_put_constant(w, 3, w->place.ip);
		break;
	case PROBE_ARG_GOID:
	case PROBE_ARG_COMM:
	case PROBE_ARG_TEXT:
	case PROBE_ARG_CALLERS:
		break; /* no addresses: the parser refuses it */
	}
	if (arg->scale)
		put_index(w, arg);
}

void probe_put_chain(struct probe_writer *w, const struct probe_shape *shape, const struct probe_arg *arg, int16_t slot,
		     uint32_t nreads, unsigned size, struct probe_faults *faults)
{
	put_source(w, shape, arg);
	for (uint32_t i = 0; i < nreads; i++) {
		bool is_last = i + 1 == arg->nreads;

		probe_put_read(w, slot, arg->offset[i], is_last ? size : 8, faults);
		if (!is_last)
			probe_put(w, OP_LOAD_64, 3, 10, slot, 0);
	}
}

/* ---- Go ---- */

void probe_put_goid(struct probe_writer *w, int16_t slot)
{
	probe_put_call(w, BPF_HELPER_GOID_OFFSET);
	probe_put(w, OP_LOAD_64, 3, 7, 8 * ISA_R14, 0);
	probe_put(w, OP_ADD, 3, 0, 0, 0);
	probe_put(w, OP_MOVE, 1, 10, 0, 0);
	probe_put(w, OP_ADD_IMM, 1, 0, 0, slot);
	probe_put(w, OP_MOVE_IMM, 2, 0, 0, 8);
	probe_put_call(w, BPF_HELPER_READ_USER);
}

/*
 * What stays the same when the stack moves: the goroutine, and how far from the stack's high end (the second word of struct g) the return
 * slot is. Where %r14 points nowhere, both ends of the call say so.
 */
void probe_put_go_frame(struct probe_writer *w, int16_t slot)
{
	probe_put(w, OP_MOVE, 1, 10, 0, 0);
	probe_put(w, OP_ADD_IMM, 1, 0, 0, slot);
	probe_put(w, OP_MOVE_IMM, 2, 0, 0, 8);
	probe_put(w, OP_LOAD_64, 3, 7, 8 * ISA_R14, 0);
	probe_put(w, OP_ADD_IMM, 3, 0, 0, 8);
	probe_put_call(w, BPF_HELPER_READ_USER);
	probe_put(w, OP_LOAD_64, 1, 10, slot, 0);
	probe_put(w, OP_LOAD_64, 2, 7, 8 * ISA_SP, 0);
	probe_put(w, OP_SUBTRACT, 1, 2, 0, 0);
	probe_put(w, OP_SHIFT_RIGHT_IMM, 1, 0, 0, 3);
	probe_put(w, OP_AND_IMM, 1, 0, 0, (1 << GO_DEPTH_BITS) - 1);
	probe_put(w, OP_LOAD_64, 2, 7, 8 * ISA_R14, 0);
	probe_put(w, OP_SHIFT_RIGHT_IMM, 2, 0, 0, 5);
	probe_put(w, OP_SHIFT_LEFT_IMM, 2, 0, 0, GO_DEPTH_BITS);
	probe_put(w, OP_OR, 1, 2, 0, 0);
	probe_put(w, OP_MOVE_IMM, 2, 0, 0, 1);
	probe_put(w, OP_SHIFT_LEFT_IMM, 2, 0, 0, 63);
	probe_put(w, OP_OR, 1, 2, 0, 0);
	probe_put(w, OP_STORE_64, 10, 1, slot, 0);
}

/* ---- the header ---- */

void probe_put_header(struct probe_writer *w, const struct probe_shape *shape, uint32_t size, uint32_t flags)
{
	probe_put(w, OP_MOVE, 1, 7, 0, 0);
	probe_put_call(w, BPF_HELPER_COOKIE);
	if (shape->id_add)
		probe_put(w, OP_ADD_IMM, 0, 0, 0, (int32_t)shape->id_add);
	probe_put(w, OP_STORE_32, 6, 0, offsetof(struct wire_record, id), 0);
	probe_put(w, OP_STORE_IMM_32, 6, 0, offsetof(struct wire_record, size), (int32_t)(size | flags << 16));
	probe_put_call(w, BPF_HELPER_TIME);
	probe_put(w, OP_STORE_64, 6, 0, offsetof(struct wire_record, time), 0);
	probe_put_call(w, BPF_HELPER_PID_TGID);
	probe_put(w, OP_STORE_64, 6, 0, offsetof(struct wire_record, tid), 0); /* tid low, pid high, as the struct has them */
}
