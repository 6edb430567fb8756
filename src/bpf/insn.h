/* SPDX-License-Identifier: MIT */
/*
 * The encoding of RFC 9669: field values, and what an instruction reads, writes and means. Private to the room.
 * Everything here is a pure function of one instruction.
 */
#ifndef BPF_INSN_H
#define BPF_INSN_H

#include "bpf/bpf.h"

/* Section 3.1: the low three bits of the opcode. */
enum bpf_class {
	BPF_CLASS_LD,
	BPF_CLASS_LDX,
	BPF_CLASS_ST,
	BPF_CLASS_STX,
	BPF_CLASS_ALU,
	BPF_CLASS_JMP,
	BPF_CLASS_JMP32,
	BPF_CLASS_ALU64,
};

/* Section 4.1: the high four bits of an arithmetic opcode. */
enum bpf_alu {
	BPF_ALU_ADD,
	BPF_ALU_SUB,
	BPF_ALU_MUL,
	BPF_ALU_DIV,
	BPF_ALU_OR,
	BPF_ALU_AND,
	BPF_ALU_LSH,
	BPF_ALU_RSH,
	BPF_ALU_NEG,
	BPF_ALU_MOD,
	BPF_ALU_XOR,
	BPF_ALU_MOV,
	BPF_ALU_ARSH,
	BPF_ALU_END,
};

/* Section 4.3: the high four bits of a jump opcode. */
enum bpf_jump {
	BPF_JUMP_JA,
	BPF_JUMP_EQ,
	BPF_JUMP_GT,
	BPF_JUMP_GE,
	BPF_JUMP_SET,
	BPF_JUMP_NE,
	BPF_JUMP_SGT,
	BPF_JUMP_SGE,
	BPF_JUMP_CALL,
	BPF_JUMP_EXIT,
	BPF_JUMP_LT,
	BPF_JUMP_LE,
	BPF_JUMP_SLT,
	BPF_JUMP_SLE,
};

#define BPF_SOURCE_REG 0x08 /* the second operand is a register, not imm */
#define BPF_MODE_MASK 0xe0  /* section 5 */
#define BPF_MODE_MEM 0x60
#define BPF_MODE_MEMSX 0x80
#define BPF_MODE_ATOMIC 0xc0
#define BPF_OP_LD_IMM64 0x18
#define BPF_OP_CALL 0x85
#define BPF_OP_EXIT 0x95
#define BPF_OP_JA 0x05
#define BPF_OP_JA32 0x06
#define BPF_CALL_HELPER 0
#define BPF_CALL_LOCAL 1
#define BPF_LD_MAP 1 /* src of a pseudo map load */

/* Section 5.3: imm of an atomic instruction. */
#define BPF_ATOMIC_ADD 0x00
#define BPF_ATOMIC_OR 0x40
#define BPF_ATOMIC_AND 0x50
#define BPF_ATOMIC_XOR 0xa0
#define BPF_ATOMIC_FETCH 0x01
#define BPF_ATOMIC_XCHG 0xe1
#define BPF_ATOMIC_CMPXCHG 0xf1

#define BPF_REGS 11
#define BPF_FP 10 /* the read-only frame pointer */

static inline enum bpf_class bpf_class(const struct bpf_insn *insn)
{
	return insn->opcode & 7;
}
static inline unsigned bpf_code(const struct bpf_insn *insn)
{
	return insn->opcode >> 4;
}
static inline bool bpf_has_source_reg(const struct bpf_insn *insn)
{
	return insn->opcode & BPF_SOURCE_REG;
}

static inline bool bpf_is_alu(const struct bpf_insn *insn)
{
	return bpf_class(insn) == BPF_CLASS_ALU || bpf_class(insn) == BPF_CLASS_ALU64;
}

static inline bool bpf_is_call(const struct bpf_insn *insn)
{
	return insn->opcode == BPF_OP_CALL;
}
static inline bool bpf_is_exit(const struct bpf_insn *insn)
{
	return insn->opcode == BPF_OP_EXIT;
}

static inline bool bpf_is_goto(const struct bpf_insn *insn)
{
	return insn->opcode == BPF_OP_JA || insn->opcode == BPF_OP_JA32;
}

/** bpf_is_branch() - a conditional jump */
static inline bool bpf_is_branch(const struct bpf_insn *insn)
{
	return (bpf_class(insn) == BPF_CLASS_JMP || bpf_class(insn) == BPF_CLASS_JMP32) && !bpf_is_goto(insn) &&
	       !bpf_is_call(insn) && !bpf_is_exit(insn);
}

static inline bool bpf_is_atomic(const struct bpf_insn *insn)
{
	return bpf_class(insn) == BPF_CLASS_STX && (insn->opcode & BPF_MODE_MASK) == BPF_MODE_ATOMIC;
}

/** bpf_size() - bytes a load, store or atomic instruction accesses */
static inline unsigned bpf_size(const struct bpf_insn *insn)
{
	static const uint8_t sizes[] = { 4, 2, 1, 8 };

	return sizes[insn->opcode >> 3 & 3];
}

/** bpf_length() - slots an instruction takes */
static inline size_t bpf_length(const struct bpf_insn *insn)
{
	return insn->opcode == BPF_OP_LD_IMM64 ? 2 : 1;
}

/** bpf_imm64() - the constant of a 16-byte load, whose second half must be there */
static inline uint64_t bpf_imm64(const struct bpf_insn *insn)
{
	return (uint32_t)insn[0].imm | (uint64_t)(uint32_t)insn[1].imm << 32;
}

/** bpf_target() - where the jump, branch or local call at @at leads; may be outside the program */
static inline int64_t bpf_jump_target(const struct bpf_insn *program, size_t at)
{
	const struct bpf_insn *insn = &program[at];
	bool wide = insn->opcode == BPF_OP_JA32 || bpf_is_call(insn);

	return (int64_t)at + 1 + (wide ? insn->imm : insn->offset);
}

/** bpf_insn_valid() - NULL, or a static sentence: why RFC 9669 does not define this instruction */
const char *bpf_insn_valid(const struct bpf_insn *insn);

/** bpf_helper_args() - how many registers from r1 on a helper reads, or -ENOENT when there is no such helper */
int bpf_helper_args(int32_t helper);

/** bpf_insn_reads(), bpf_insn_writes() - registers as a bit mask; a call writes r0 to r5 */
uint16_t bpf_insn_reads(const struct bpf_insn *insn);
uint16_t bpf_insn_writes(const struct bpf_insn *insn);

/**
 * bpf_insn_fold() - the result of arithmetic on two known values
 *
 * Return: false for operations that are not folded (division, byte order).
 */
bool bpf_insn_fold(const struct bpf_insn *insn, uint64_t dst, uint64_t src, uint64_t *ret);

#endif
