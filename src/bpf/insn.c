/* SPDX-License-Identifier: MIT */
/*
 * Which encodings RFC 9669 defines, and what each reads and writes. Knowledge of the encoding is in the tables; a
 * reserved field that is not zero makes an instruction invalid, so that later meanings cannot change old programs.
 */
#include <errno.h>

#include "bpf/insn.h"

#define BIT(reg) ((uint16_t)(1U << (reg)))

static const char *alu_valid(const struct bpf_insn *insn)
{
	bool wide = bpf_class(insn) == BPF_CLASS_ALU64, by_reg = bpf_has_source_reg(insn);
	unsigned code = bpf_code(insn);

	if (code > BPF_ALU_END)
		return "unknown arithmetic operation";
	if (code == BPF_ALU_END) {
		if (insn->imm != 16 && insn->imm != 32 && insn->imm != 64)
			return "byte order of a width other than 16, 32, 64";
		if (insn->src || insn->offset || (wide && by_reg))
			return "reserved field of a byte order instruction is set";
		return NULL;
	}
	if (code == BPF_ALU_NEG && by_reg)
		return "negation takes no source register";
	if ((by_reg && insn->imm) || (!by_reg && insn->src) || (code == BPF_ALU_NEG && insn->imm))
		return "reserved operand of an arithmetic instruction is set";
	if (insn->offset == 0)
		return NULL;
	if ((code == BPF_ALU_DIV || code == BPF_ALU_MOD) && insn->offset == 1)
		return NULL;
	if (code == BPF_ALU_MOV && by_reg && (insn->offset == 8 || insn->offset == 16 || (wide && insn->offset == 32)))
		return NULL;
	return "reserved offset of an arithmetic instruction is set";
}

static const char *call_valid(const struct bpf_insn *insn)
{
	if (insn->dst || insn->offset)
		return "reserved field of a call is set";
	if (insn->src > BPF_CALL_LOCAL)
		return "calls of functions by BTF id are not supported";
	return NULL;
}

static const char *jump_valid(const struct bpf_insn *insn)
{
	bool narrow = bpf_class(insn) == BPF_CLASS_JMP32, by_reg = bpf_has_source_reg(insn);
	unsigned code = bpf_code(insn);

	if (code > BPF_JUMP_SLE)
		return "unknown jump";
	if (code == BPF_JUMP_CALL && by_reg)
		return "calls through a register are not supported";
	if ((code == BPF_JUMP_JA || code == BPF_JUMP_EXIT || code == BPF_JUMP_CALL) && by_reg)
		return "unknown jump";
	if (narrow && (code == BPF_JUMP_EXIT || code == BPF_JUMP_CALL))
		return "unknown jump";
	if (code == BPF_JUMP_CALL)
		return call_valid(insn);
	if (code == BPF_JUMP_EXIT)
		return insn->dst || insn->src || insn->offset || insn->imm ? "reserved field of exit is set" : NULL;
	if (code == BPF_JUMP_JA)
		return insn->dst || insn->src || (narrow ? insn->offset : insn->imm) ? "reserved field of a jump is set"
										     : NULL;
	return (by_reg ? insn->imm : insn->src) ? "reserved field of a jump is set" : NULL;
}

static const char *atomic_valid(const struct bpf_insn *insn)
{
	if (bpf_size(insn) < 4)
		return "atomic operation on less than 4 bytes";
	switch (insn->imm) {
	case BPF_ATOMIC_ADD:
	case BPF_ATOMIC_OR:
	case BPF_ATOMIC_AND:
	case BPF_ATOMIC_XOR:
	case BPF_ATOMIC_ADD | BPF_ATOMIC_FETCH:
	case BPF_ATOMIC_OR | BPF_ATOMIC_FETCH:
	case BPF_ATOMIC_AND | BPF_ATOMIC_FETCH:
	case BPF_ATOMIC_XOR | BPF_ATOMIC_FETCH:
	case BPF_ATOMIC_XCHG:
	case BPF_ATOMIC_CMPXCHG:
		return NULL;
	}
	return "unknown atomic operation";
}

static const char *memory_valid(const struct bpf_insn *insn)
{
	unsigned mode = insn->opcode & BPF_MODE_MASK;
	enum bpf_class class = bpf_class(insn);

	if (class == BPF_CLASS_STX && mode == BPF_MODE_ATOMIC)
		return atomic_valid(insn);
	if (class == BPF_CLASS_LDX && mode == BPF_MODE_MEMSX && bpf_size(insn) < 8)
		return insn->imm ? "reserved immediate of a load is set" : NULL;
	if (mode != BPF_MODE_MEM)
		return "unknown memory access";
	if (class == BPF_CLASS_ST)
		return insn->src ? "reserved register of a store is set" : NULL;
	return insn->imm ? "reserved immediate of a memory access is set" : NULL;
}

const char *bpf_insn_valid(const struct bpf_insn *insn)
{
	if (insn->dst >= BPF_REGS || insn->src >= BPF_REGS)
		return "no such register";
	switch (bpf_class(insn)) {
	case BPF_CLASS_LD:
		if (insn->opcode != BPF_OP_LD_IMM64)
			return "legacy packet access is not supported";
		if (insn->src > BPF_LD_MAP)
			return "unknown kind of 64-bit constant";
		return insn->offset ? "reserved offset of a 64-bit load is set" : NULL;
	case BPF_CLASS_LDX:
	case BPF_CLASS_ST:
	case BPF_CLASS_STX:
		return memory_valid(insn);
	case BPF_CLASS_ALU:
	case BPF_CLASS_ALU64:
		return alu_valid(insn);
	case BPF_CLASS_JMP:
	case BPF_CLASS_JMP32:
		return jump_valid(insn);
	}
	return "unknown class";
}

int bpf_helper_args(int32_t helper)
{
	static const struct {
		int32_t helper;
		int args;
	} table[] = {
		{ BPF_HELPER_CPU, 0 },          { BPF_HELPER_PID_TGID, 0 },     { BPF_HELPER_READ_USER, 3 },
		{ BPF_HELPER_RING_OUTPUT, 4 },  { BPF_HELPER_RING_RESERVE, 3 }, { BPF_HELPER_RING_SUBMIT, 2 },
		{ BPF_HELPER_RING_DISCARD, 2 }, { BPF_HELPER_COOKIE, 1 },       { BPF_HELPER_TIME, 0 },
		{ BPF_HELPER_COUNT, 0 },        { BPF_HELPER_STACK_WORD, 1 },   { BPF_HELPER_GOID_OFFSET, 0 },
		{ BPF_HELPER_LONG_RESERVE, 3 }, { BPF_HELPER_LONG_STRING, 3 }, { BPF_HELPER_LONG_BYTES, 3 },
		{ BPF_HELPER_LONG_SUBMIT, 2 },  { BPF_HELPER_LONG_DISCARD, 2 }, { BPF_HELPER_COMM, 2 },
		{ BPF_HELPER_LONG_STACK, 4 },
		{ BPF_HELPER_VECTOR, 1 },       { BPF_HELPER_TICKET, 0 },       { BPF_HELPER_LIMIT, 2 },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].helper == helper)
			return table[i].args;
	return -ENOENT;
}

static uint16_t call_reads(const struct bpf_insn *insn)
{
	int args = insn->src == BPF_CALL_HELPER ? bpf_helper_args(insn->imm) : 0;

	return args < 0 ? 0 : (uint16_t)(((1U << args) - 1) << 1);
}

static uint16_t alu_reads(const struct bpf_insn *insn)
{
	unsigned code = bpf_code(insn);
	uint16_t mask = code == BPF_ALU_MOV ? 0 : BIT(insn->dst);

	if (code != BPF_ALU_END && bpf_has_source_reg(insn))
		mask |= BIT(insn->src);
	return mask;
}

uint16_t bpf_insn_reads(const struct bpf_insn *insn)
{
	switch (bpf_class(insn)) {
	case BPF_CLASS_LD:
		return 0;
	case BPF_CLASS_LDX:
		return BIT(insn->src);
	case BPF_CLASS_ST:
		return BIT(insn->dst);
	case BPF_CLASS_STX:
		return BIT(insn->dst) | BIT(insn->src) |
		       (bpf_is_atomic(insn) && insn->imm == BPF_ATOMIC_CMPXCHG ? BIT(0) : 0);
	case BPF_CLASS_ALU:
	case BPF_CLASS_ALU64:
		return alu_reads(insn);
	case BPF_CLASS_JMP:
	case BPF_CLASS_JMP32:
		if (bpf_is_call(insn))
			return call_reads(insn);
		if (bpf_is_exit(insn))
			return BIT(0);
		if (bpf_is_goto(insn))
			return 0;
		return BIT(insn->dst) | (bpf_has_source_reg(insn) ? BIT(insn->src) : 0);
	}
	return 0;
}

uint16_t bpf_insn_writes(const struct bpf_insn *insn)
{
	switch (bpf_class(insn)) {
	case BPF_CLASS_LD:
	case BPF_CLASS_LDX:
	case BPF_CLASS_ALU:
	case BPF_CLASS_ALU64:
		return BIT(insn->dst);
	case BPF_CLASS_STX:
		if (!bpf_is_atomic(insn) || !(insn->imm & BPF_ATOMIC_FETCH))
			return 0;
		return insn->imm == BPF_ATOMIC_CMPXCHG ? BIT(0) : BIT(insn->src);
	case BPF_CLASS_JMP:
		return bpf_is_call(insn) ? 0x3f : 0;
	case BPF_CLASS_ST:
	case BPF_CLASS_JMP32:
		return 0;
	}
	return 0;
}

static uint64_t fold_move(const struct bpf_insn *insn, uint64_t src)
{
	switch (insn->offset) {
	case 8:
		return (uint64_t)(int64_t)(int8_t)src;
	case 16:
		return (uint64_t)(int64_t)(int16_t)src;
	case 32:
		return (uint64_t)(int64_t)(int32_t)src;
	}
	return src;
}

static uint64_t fold_arsh(bool wide, uint64_t dst, unsigned by)
{
	return wide ? (uint64_t)((int64_t)dst >> by) : (uint64_t)((int32_t)dst >> by);
}

bool bpf_insn_fold(const struct bpf_insn *insn, uint64_t dst, uint64_t src, uint64_t *ret)
{
	bool wide = bpf_class(insn) == BPF_CLASS_ALU64;
	unsigned by = src & (wide ? 63 : 31);
	uint64_t result = 0;

	switch ((enum bpf_alu)bpf_code(insn)) {
	case BPF_ALU_ADD:
		result = dst + src;
		break;
	case BPF_ALU_SUB:
		result = dst - src;
		break;
	case BPF_ALU_MUL:
		result = dst * src;
		break;
	case BPF_ALU_OR:
		result = dst | src;
		break;
	case BPF_ALU_AND:
		result = dst & src;
		break;
	case BPF_ALU_XOR:
		result = dst ^ src;
		break;
	case BPF_ALU_LSH:
		result = dst << by;
		break;
	case BPF_ALU_RSH:
		result = (wide ? dst : (uint32_t)dst) >> by;
		break;
	case BPF_ALU_ARSH:
		result = fold_arsh(wide, dst, by);
		break;
	case BPF_ALU_NEG:
		result = -dst;
		break;
	case BPF_ALU_MOV:
		result = fold_move(insn, src);
		break;
	case BPF_ALU_DIV:
	case BPF_ALU_MOD:
	case BPF_ALU_END:
		return false;
	}
	*ret = wide ? result : (uint32_t)result;
	return true;
}
