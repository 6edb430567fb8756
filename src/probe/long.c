/* SPDX-License-Identifier: MIT */
/*
 * LONG records: strings, arrays, and more values from memory than can be held. They are made in scratch memory, where any helper may be
 * called, so each argument is fetched and stored in its turn.
 *
 * The fixed part is header, frame, one word an argument, then what probe_arg_inline() counts. Scratch memory starts as zeros. A locator first
 * says that nothing could be read; what is read replaces it.
 */
#include <errno.h>
#include <string.h>

#include "probe/writer.h"

#define SLOT (-8)     /* what is read from memory for the moment */
#define COMM_SIZE 16  /* as the kernel's, NUL included */
#define COMM_SLOT (-16)
#define FAULT (WIRE_LOCATOR_FAILED | EFAULT)
#define ADDRESS 8     /* the register that holds an array's address */

static void put_store(struct probe_writer *w, uint32_t at, uint64_t value)
{
	probe_put_constant(w, 1, value);
	probe_put(w, OP_STORE_64, 6, 1, (int16_t)at, 0);
}

/* Append what is at r3: r0 becomes the locator. */
static void put_append(struct probe_writer *w, enum bpf_helper helper, uint32_t most)
{
	probe_put(w, OP_MOVE, 1, 6, 0, 0);
	probe_put(w, OP_MOVE_IMM, 2, 0, 0, (int32_t)most);
	probe_put_call(w, helper);
}

/* r3 = where a string or an array starts: all reads but the last, whose offset is added */
static void put_address(struct probe_writer *w, const struct probe_shape *shape, const struct probe_arg *arg,
			struct probe_faults *faults)
{
	uint32_t nreads = arg->nreads ? arg->nreads - 1 : 0;

	probe_put_chain(w, shape, arg, SLOT, nreads, 8, faults);
	if (arg->nreads)
		probe_put_add(w, arg->offset[nreads]);
}

static uint32_t room_for_string(const struct probe_writer *w, const struct probe_shape *shape)
{
	return WIRE_LONG_MAX - probe_shape_inline_at(w->spec, shape, shape->nargs);
}

/* ---- the kinds ---- */

static void put_word(struct probe_writer *w, const struct probe_shape *shape, const struct probe_arg *arg, uint32_t at)
{
	struct probe_faults faults = { 0 };

	if (arg->source == PROBE_ARG_GOID) {
		probe_put_goid(w, SLOT);
		probe_put(w, OP_LOAD_64, 1, 10, SLOT, 0);
		probe_put_cut(w, arg);
	} else {
		probe_put_chain(w, shape, arg, SLOT, arg->nreads, arg->bits / 8U, &faults);
		if (arg->nreads) {
			probe_put(w, probe_load_opcode(arg), 1, 10, SLOT, 0);
			probe_put_field(w, arg);
		} else {
			probe_put(w, OP_MOVE, 1, 3, 0, 0);
			probe_put_cut(w, arg);
		}
	}
	probe_put(w, OP_STORE_64, 6, 1, (int16_t)at, 0);
	probe_put_faults_land(w, &faults);
}

static void put_text(struct probe_writer *w, const char *text, uint32_t inline_at, uint32_t at)
{
	uint32_t size = (uint32_t)strlen(text) + 1;

	put_store(w, at, WIRE_LOCATOR(inline_at, size));
	for (uint32_t done = 0; done < size; done += 8) {
		uint64_t word = 0;

		memcpy(&word, text + done, size - done < 8 ? size - done : 8);
		put_store(w, inline_at + done, word);
	}
}

static void put_comm(struct probe_writer *w, uint32_t inline_at, uint32_t at)
{
	size_t jump;

	put_store(w, at, FAULT);
	probe_put(w, OP_MOVE, 1, 10, 0, 0);
	probe_put(w, OP_ADD_IMM, 1, 0, 0, COMM_SLOT);
	probe_put(w, OP_MOVE_IMM, 2, 0, 0, COMM_SIZE);
	probe_put_call(w, BPF_HELPER_COMM);
	jump = w->count;
	probe_put(w, OP_JUMP_UNEQUAL_IMM, 0, 0, 0, 0);
	for (int16_t done = 0; done < COMM_SIZE; done += 8) {
		probe_put(w, OP_LOAD_64, 1, 10, (int16_t)(COMM_SLOT + done), 0);
		probe_put(w, OP_STORE_64, 6, 1, (int16_t)((int16_t)inline_at + done), 0);
	}
	put_store(w, at, WIRE_LOCATOR(inline_at, COMM_SIZE));
	probe_put_land(w, jump);
}

/* A string, or an array whose elements are as they are in memory. */
static void put_memory(struct probe_writer *w, const struct probe_shape *shape, const struct probe_arg *arg, uint32_t at)
{
	struct probe_faults faults = { 0 };

	put_store(w, at, FAULT);
	put_address(w, shape, arg, &faults);
	if (arg->is_string)
		put_append(w, BPF_HELPER_LONG_STRING, room_for_string(w, shape));
	else
		put_append(w, BPF_HELPER_LONG_BYTES, arg->count * (arg->bits / 8U));
	probe_put(w, OP_STORE_64, 6, 0, (int16_t)at, 0);
	probe_put_faults_land(w, &faults);
}

/* The locators of the strings are what the array's own locator names. */
static void put_strings(struct probe_writer *w, const struct probe_shape *shape, const struct probe_arg *arg,
			uint32_t inline_at, uint32_t at)
{
	struct probe_faults faults = { 0 };

	put_store(w, at, FAULT);
	for (uint32_t i = 0; i < arg->count; i++)
		put_store(w, inline_at + 8 * i, FAULT);
	put_address(w, shape, arg, &faults);
	probe_put(w, OP_MOVE, ADDRESS, 3, 0, 0);
	put_store(w, at, WIRE_LOCATOR(inline_at, 8 * arg->count));
	for (uint32_t i = 0; i < arg->count; i++) {
		struct probe_faults fault = { 0 };

		probe_put(w, OP_MOVE, 3, ADDRESS, 0, 0);
		probe_put_read(w, SLOT, 8 * (int64_t)i, 8, &fault);
		probe_put(w, OP_LOAD_64, 3, 10, SLOT, 0);
		put_append(w, BPF_HELPER_LONG_STRING, room_for_string(w, shape));
		probe_put(w, OP_STORE_64, 6, 0, (int16_t)(inline_at + 8 * i), 0);
		probe_put_faults_land(w, &fault);
	}
	probe_put_faults_land(w, &faults);
}

/* Bit fields are extracted one by one; all of them can be read, or none is there. */
static void put_fields(struct probe_writer *w, const struct probe_shape *shape, const struct probe_arg *arg,
		       uint32_t inline_at, uint32_t at)
{
	static const uint8_t stores[] = { OP_STORE_8, OP_STORE_16, OP_STORE_32, OP_STORE_64 };
	uint32_t size = arg->bits / 8U;
	struct probe_faults faults = { 0 };

	put_store(w, at, FAULT);
	put_address(w, shape, arg, &faults);
	probe_put(w, OP_MOVE, ADDRESS, 3, 0, 0);
	for (uint32_t i = 0; i < arg->count; i++) {
		struct probe_faults fault = { 0 };

		probe_put(w, OP_MOVE, 3, ADDRESS, 0, 0);
		probe_put_read(w, SLOT, size * (int64_t)i, size, &fault);
		probe_put(w, probe_load_opcode(arg), 1, 10, SLOT, 0);
		probe_put_field(w, arg);
		probe_put(w, stores[__builtin_ctz(size)], 6, 1, (int16_t)(inline_at + size * i), 0);
		put_store(w, at, WIRE_LOCATOR(inline_at, size * (i + 1)) | (i + 1 < arg->count ? WIRE_LOCATOR_SHORT : 0));
		probe_put_faults_land(w, &fault);
	}
	probe_put_faults_land(w, &faults);
}

/* All registers, as they are after a return, where it is one; by DWARF's numbers. */
static void put_registers(struct probe_writer *w, const struct probe_shape *shape, uint32_t inline_at)
{
	static const uint8_t by_number[16] = { ISA_AX, ISA_DX, ISA_CX, ISA_BX, ISA_SI, ISA_DI, ISA_BP, ISA_SP,
					       ISA_R8, ISA_R9, ISA_R10, ISA_R11, ISA_R12, ISA_R13, ISA_R14, ISA_R15 };

	for (uint32_t i = 0; i < 16; i++) {
		probe_put(w, OP_LOAD_64, 1, 7, (int16_t)(8 * by_number[i]), 0);
		if (by_number[i] == ISA_SP && probe_shape_is_return(shape))
			probe_put(w, OP_ADD_IMM, 1, 0, 0, 8);
		probe_put(w, OP_STORE_64, 6, 1, (int16_t)(inline_at + 8 * i), 0);
	}
}

/* The first of all that is appended: so registers, which end the fixed part, and the copy of a stack are one piece. */
static void put_stack(struct probe_writer *w, const struct probe_shape *shape, const struct probe_arg *arg, uint32_t inline_at,
		      uint32_t at)
{
	bool is_raw = arg->word == WIRE_STACK_RAW;
	bool is_return = probe_shape_is_return(shape);
	size_t jump;

	if (is_raw)
		put_registers(w, shape, inline_at);
	probe_put(w, OP_MOVE, 1, 6, 0, 0);
	probe_put(w, OP_MOVE_IMM, 2, 0, 0, (int32_t)WIRE_STACK(arg->word | (is_return ? WIRE_STACK_RETURN : 0), arg->count));
	probe_put(w, OP_LOAD_64, 3, 7, 8 * ISA_SP, 0);
	if (is_return)
		probe_put(w, OP_ADD_IMM, 3, 0, 0, 8);
	probe_put(w, OP_LOAD_64, 4, 7, 8 * ISA_BP, 0);
	probe_put_call(w, BPF_HELPER_LONG_STACK);
	if (is_raw) {
		jump = w->count;
		probe_put(w, OP_JUMP_NEGATIVE_IMM, 0, 0, 0, 0); /* WIRE_LOCATOR_FAILED */
		probe_put_constant(w, 1, WIRE_LOCATOR(-(uint64_t)PROBE_STACK_REGISTERS, PROBE_STACK_REGISTERS));
		probe_put(w, OP_ADD, 0, 1, 0, 0);
		probe_put_land(w, jump);
	}
	probe_put(w, OP_STORE_64, 6, 0, (int16_t)at, 0);
}

static void put_arg(struct probe_writer *w, const struct probe_shape *shape, size_t i)
{
	const struct probe_arg *arg = &w->spec->args[i];
	uint32_t at = probe_shape_args_at(shape) + 8 * (uint32_t)i;
	uint32_t inline_at = probe_shape_inline_at(w->spec, shape, i);

	if (probe_is_direct(shape, arg)) {
		probe_put_direct(w, shape, arg);
		probe_put(w, OP_STORE_64, 6, 1, (int16_t)at, 0);
	} else if (probe_shape_is_unknown(shape, arg)) {
		put_store(w, at, probe_arg_is_long(arg) ? FAULT : 0);
	} else if (arg->source == PROBE_ARG_CALLERS) {
		put_stack(w, shape, arg, inline_at, at);
	} else if (arg->source == PROBE_ARG_COMM) {
		put_comm(w, inline_at, at);
	} else if (arg->source == PROBE_ARG_TEXT) {
		put_text(w, w->spec->strings + arg->value, inline_at, at);
	} else if (!probe_arg_is_long(arg)) {
		put_word(w, shape, arg, at);
	} else if (arg->is_string && arg->count) {
		put_strings(w, shape, arg, inline_at, at);
	} else if (arg->field_bits) {
		put_fields(w, shape, arg, inline_at, at);
	} else {
		put_memory(w, shape, arg, at);
	}
}

/* ---- the record ---- */

static void put_frame(struct probe_writer *w, const struct probe_shape *shape)
{
	if (shape->frame) {
		if (shape->go)
			probe_put_go_frame(w, SLOT);
		probe_put(w, OP_LOAD_64, 1, shape->go ? 10 : 7, shape->go ? SLOT : 8 * ISA_SP, 0);
		probe_put(w, OP_STORE_64, 6, 1, sizeof(struct wire_record), 0);
	}
	if (shape->caller) {
		probe_put(w, OP_MOVE_IMM, 1, 0, 0, 0);
		probe_put_call(w, BPF_HELPER_STACK_WORD);
		probe_put(w, OP_STORE_64, 6, 0, sizeof(struct wire_record) + 8, 0);
	}
}

static bool has_stack(const struct probe_spec *spec, const struct probe_shape *shape)
{
	return shape->nargs && spec->args[shape->nargs - 1].source == PROBE_ARG_CALLERS;
}

uint32_t probe_shape_most(const struct probe_spec *spec, const struct probe_shape *shape)
{
	uint64_t most = probe_shape_inline_at(spec, shape, shape->nargs);

	for (size_t i = 0; i < shape->nargs; i++)
		most += probe_arg_most(&spec->args[i]);
	return most < WIRE_LONG_MAX ? (uint32_t)base_align_up(most, 8) : WIRE_LONG_MAX;
}

void probe_put_long(struct probe_writer *w, const struct probe_shape *shape)
{
	uint32_t fixed = probe_shape_inline_at(w->spec, shape, shape->nargs);
	size_t jump;

	probe_put(w, OP_LOAD_IMM64, 1, MAP_PSEUDO, 0, BPF_MAP_RING);
	probe_put(w, 0, 0, 0, 0, 0);
	probe_put(w, OP_MOVE_IMM, 2, 0, 0, (int32_t)fixed);
	probe_put(w, OP_MOVE_IMM, 3, 0, 0, (int32_t)probe_shape_most(w->spec, shape));
	probe_put_call(w, BPF_HELPER_LONG_RESERVE);
	probe_put(w, OP_MOVE, 6, 0, 0, 0);
	jump = w->count;
	probe_put(w, OP_JUMP_EQUAL_IMM, 6, 0, 0, 0);
	probe_put_header(w, shape, fixed, probe_shape_flags(shape) | WIRE_RECORD_LONG);
	put_frame(w, shape);
	if (has_stack(w->spec, shape))
		put_arg(w, shape, shape->nargs - 1);
	for (size_t i = 0; i < shape->nargs - has_stack(w->spec, shape); i++)
		put_arg(w, shape, i);
	probe_put(w, OP_MOVE, 1, 6, 0, 0);
	probe_put(w, OP_MOVE_IMM, 2, 0, 0, 0);
	probe_put_call(w, BPF_HELPER_LONG_SUBMIT);
	probe_put_land(w, jump);
}
