/* SPDX-License-Identifier: MIT */
/*
 * Programs being written: instructions, the shape of the record, and how an argument is fetched. Private to this room.
 *
 *   r6 record   r7 context   r8, r9 and the stack: values held while a record is made   r0 to r5 scratch
 */
#ifndef PROBE_WRITER_H
#define PROBE_WRITER_H

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
	OP_STORE_8 = 0x73,
	OP_STORE_16 = 0x6b,
	OP_STORE_32 = 0x63,
	OP_STORE_64 = 0x7b,
	OP_STORE_IMM_32 = 0x62,
	OP_STORE_IMM_64 = 0x7a,
	OP_MOVE = 0xbf,
	OP_MOVE_IMM = 0xb7,
	OP_ADD_IMM = 0x07,
	OP_ADD = 0x0f,
	OP_SUBTRACT = 0x1f,
	OP_AND_IMM = 0x57,
	OP_MODULO_IMM = 0x97,
	OP_OR = 0x4f,
	OP_SHIFT_LEFT_IMM = 0x67,
	OP_SHIFT_RIGHT_IMM = 0x77,
	OP_SHIFT_ARITHMETIC_IMM = 0xc7,
	OP_JUMP = 0x05,
	OP_JUMP_EQUAL_IMM = 0x15,
	OP_JUMP_UNEQUAL_IMM = 0x55,
	OP_JUMP_NEGATIVE_IMM = 0xc5, /* signed less than: 0 */
	OP_CALL = 0x85,
	OP_EXIT = 0x95,
};

#define MAP_PSEUDO 1   /* source register of a LOAD_IMM64 that names a map */

/** A program being written. The first failure sticks; check it once, at the end. */
struct probe_writer {
	struct bpf_insn *insns;
	size_t count, cap;
	int error;
	const struct probe_spec *spec;
	struct probe_place place;
};

void probe_put(struct probe_writer *w, uint8_t opcode, uint8_t dst, uint8_t src, int16_t offset, int32_t imm);
void probe_put_call(struct probe_writer *w, enum bpf_helper helper);
/** probe_put_constant() - dst = value */
void probe_put_constant(struct probe_writer *w, uint8_t dst, uint64_t value);
/** probe_put_land() - the jump at @at leads here */
void probe_put_land(struct probe_writer *w, size_t at);

/** One record as it will lie in memory. */
struct probe_shape {
	enum probe_part part; /* not one of those that are two */
	size_t nargs;
	bool frame, caller;
	bool go;              /* the frame is a number made of goroutine and depth */
	uint32_t id_add;      /* of the second of two */
	bool left_out;        /* an entry of which nothing but that is recorded */
};

bool probe_shape_is_return(const struct probe_shape *shape);
/** probe_shape_args_at() - where the first argument's word is in the record */
uint32_t probe_shape_args_at(const struct probe_shape *shape);
/** probe_shape_inline_at() - and where argument @i has the bytes of probe_arg_inline(); of nargs the end of the fixed part */
uint32_t probe_shape_inline_at(const struct probe_spec *spec, const struct probe_shape *shape, size_t i);
/** probe_shape_flags() - enum wire_record_flag, without LONG */
uint32_t probe_shape_flags(const struct probe_shape *shape);
/** probe_shape_is_long() - is it a LONG record, made in scratch memory? */
bool probe_shape_is_long(const struct probe_spec *spec, const struct probe_shape *shape);
/** probe_shape_is_unknown() - can the argument not be known there: what a tail call returns */
bool probe_shape_is_unknown(const struct probe_shape *shape, const struct probe_arg *arg);

/** Jumps that leave a chain of reads because memory cannot be read. */
struct probe_faults {
	size_t at[PROBE_READS];
	size_t count;
};

/**
 * probe_put_chain() - fetch the source of @arg and read memory @nreads times, at most all
 * @slot: 8 bytes of the stack for it
 * @size: bytes of the last read, which stay in @slot
 *
 * With nreads 0, or all but the last, r3 is the value, and the address before its last offset; else the last value is in the slot only.
 */
void probe_put_chain(struct probe_writer *w, const struct probe_shape *shape, const struct probe_arg *arg, int16_t slot,
		     uint32_t nreads, unsigned size, struct probe_faults *faults);
/** probe_put_read() - read @size bytes at r3 + @offset into the slot; clobbers r0 to r5 */
void probe_put_read(struct probe_writer *w, int16_t slot, int64_t offset, unsigned size, struct probe_faults *faults);
/** probe_put_add() - r3 += offset; clobbers r1 */
void probe_put_add(struct probe_writer *w, int64_t offset);
void probe_put_faults_land(struct probe_writer *w, const struct probe_faults *faults);
/** probe_put_goid() - the goroutine's number into the slot; 0 where %r14 points nowhere */
void probe_put_goid(struct probe_writer *w, int16_t slot);
/** probe_put_go_frame() - the number that stands for a frame of Go into the slot */
void probe_put_go_frame(struct probe_writer *w, int16_t slot);

/** probe_load_opcode() - that loads a value of @arg, extended to 64 bits; of a bit field its container */
uint8_t probe_load_opcode(const struct probe_arg *arg);
/** probe_put_cut() - r1, whose low bits are the value, cut and extended; its bit field extracted */
void probe_put_cut(struct probe_writer *w, const struct probe_arg *arg);
/** probe_put_field() - r1, loaded by probe_load_opcode(): its bit field extracted, if it is one */
void probe_put_field(struct probe_writer *w, const struct probe_arg *arg);
/** probe_put_direct() - r1 = an argument that needs no memory and no helper: a register, a constant; cut and extended */
void probe_put_direct(struct probe_writer *w, const struct probe_shape *shape, const struct probe_arg *arg);
/** probe_is_direct() */
bool probe_is_direct(const struct probe_shape *shape, const struct probe_arg *arg);

/** probe_put_header() - the record's header, at r6; the frame and the caller are the caller's */
void probe_put_header(struct probe_writer *w, const struct probe_shape *shape, uint32_t size, uint32_t flags);
/** probe_shape_most() - bytes of the largest LONG record of that shape */
uint32_t probe_shape_most(const struct probe_spec *spec, const struct probe_shape *shape);
/** probe_put_long() - a whole LONG record (long.c) */
void probe_put_long(struct probe_writer *w, const struct probe_shape *shape);

#endif
