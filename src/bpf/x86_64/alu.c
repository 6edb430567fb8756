/* SPDX-License-Identifier: MIT */
/*
 * Arithmetic, atomics and branches. Where the machine and RFC 9669 differ, the RFC wins: division by zero gives 0,
 * modulo by zero leaves the value, the smallest number divided by -1 is itself.
 */
#include "bpf/x86_64/alu.h"

#define BIT(reg) (1U << (reg))

uint32_t bpf_x86_scratch(const struct bpf_insn *insn)
{
	unsigned code = bpf_code(insn);

	if (bpf_is_alu(insn)) {
		if (code == BPF_ALU_DIV || code == BPF_ALU_MOD)
			return BIT(X86_AX) | BIT(X86_DX) | (bpf_has_source_reg(insn) ? 0 : BIT(X86_CX));
		if ((code == BPF_ALU_LSH || code == BPF_ALU_RSH || code == BPF_ALU_ARSH) && bpf_has_source_reg(insn))
			return BIT(X86_CX);
		return 0;
	}
	if (bpf_is_atomic(insn))
		return BIT(X86_AX) | BIT(X86_DX);
	return 0;
}

/* rax and rdx hold the dividend; quotient and remainder come back there. */
static void divide(struct isa_emitter *e, bool wide, bool is_signed, enum x86_reg by)
{
	if (is_signed)
		x86_cdq(e, wide);
	else
		x86_alu(e, X86_XOR, false, X86_DX, X86_DX);
	x86_unary(e, is_signed ? X86_IDIV : X86_DIV, wide, by);
}

/* The divisor is 0: for modulo the value stays, but 32-bit operations clear the upper half. */
static void divide_by_zero(struct isa_emitter *e, bool wide, bool modulo, enum x86_reg dst)
{
	if (!modulo)
		x86_alu(e, X86_XOR, false, dst, dst);
	else if (!wide)
		x86_mov(e, false, dst, dst);
}

static void divide_by_minus_one(struct isa_emitter *e, bool wide, bool modulo, enum x86_reg dst)
{
	if (modulo)
		x86_alu(e, X86_XOR, false, dst, dst);
	else
		x86_unary(e, X86_NEG, wide, dst);
}

static void division(struct isa_emitter *e, struct x86_labels *l, const struct bpf_insn *insn, enum x86_reg dst,
		     enum x86_reg by)
{
	bool wide = bpf_class(insn) == BPF_CLASS_ALU64, is_signed = insn->offset == 1;
	bool modulo = bpf_code(insn) == BPF_ALU_MOD;
	size_t zero = x86_label(l), done = x86_label(l), minus_one = x86_label(l);

	x86_test(e, wide, by, by);
	x86_jump_if_short(e, l, X86_E, zero);
	if (is_signed) {
		x86_alu_imm(e, X86_CMP, wide, by, -1);
		x86_jump_if_short(e, l, X86_E, minus_one);
	}
	x86_mov(e, wide, X86_AX, dst);
	divide(e, wide, is_signed, by);
	x86_mov(e, wide, dst, modulo ? X86_DX : X86_AX);
	x86_jump_short(e, l, done);
	x86_label_here(l, e, minus_one);
	if (is_signed) {
		divide_by_minus_one(e, wide, modulo, dst);
		x86_jump_short(e, l, done);
	}
	x86_label_here(l, e, zero);
	divide_by_zero(e, wide, modulo, dst);
	x86_label_here(l, e, done);
}

static void division_imm(struct isa_emitter *e, struct x86_labels *l, const struct bpf_insn *insn, enum x86_reg dst)
{
	bool wide = bpf_class(insn) == BPF_CLASS_ALU64;

	x86_mov_imm(e, X86_CX, wide ? (uint64_t)(int64_t)insn->imm : (uint32_t)insn->imm);
	division(e, l, insn, dst, X86_CX);
}

static void shift(struct isa_emitter *e, const struct bpf_insn *insn, enum x86_shift op, enum x86_reg dst,
		  enum x86_reg src)
{
	bool wide = bpf_class(insn) == BPF_CLASS_ALU64;

	if (bpf_has_source_reg(insn)) {
		x86_mov(e, false, X86_CX, src);
		x86_shift_cl(e, op, wide, dst);
		/* A shift by 0 must still clear the upper half; the machine does so, as it writes a 32-bit register. */
		return;
	}

	unsigned by = (unsigned)insn->imm & (wide ? 63 : 31);

	x86_shift_imm(e, op, wide, dst, by);
}

static void byte_order(struct isa_emitter *e, const struct bpf_insn *insn, enum x86_reg dst)
{
	bool swap = bpf_class(insn) == BPF_CLASS_ALU64 || bpf_has_source_reg(insn);

	if (insn->imm == 16) {
		if (swap)
			x86_rotate16(e, dst);
		x86_mov_extend(e, dst, dst, 2, false);
	} else if (swap) {
		x86_bswap(e, insn->imm == 64, dst);
	} else if (insn->imm == 32) {
		x86_mov(e, false, dst, dst);
	}
}

static void move(struct isa_emitter *e, const struct bpf_insn *insn, enum x86_reg dst, enum x86_reg src)
{
	bool wide = bpf_class(insn) == BPF_CLASS_ALU64;

	if (!bpf_has_source_reg(insn)) {
		x86_mov_imm(e, dst, wide ? (uint64_t)(int64_t)insn->imm : (uint32_t)insn->imm);
	} else if (insn->offset) {
		x86_mov_extend(e, dst, src, (unsigned)insn->offset / 8, true);
		if (!wide)
			x86_mov(e, false, dst, dst);
	} else {
		x86_mov(e, wide, dst, src);
	}
}

static void simple(struct isa_emitter *e, const struct bpf_insn *insn, enum x86_alu op, enum x86_reg dst,
		   enum x86_reg src)
{
	bool wide = bpf_class(insn) == BPF_CLASS_ALU64;

	if (bpf_has_source_reg(insn))
		x86_alu(e, op, wide, dst, src);
	else
		x86_alu_imm(e, op, wide, dst, insn->imm);
}

static void multiply(struct isa_emitter *e, const struct bpf_insn *insn, enum x86_reg dst, enum x86_reg src)
{
	bool wide = bpf_class(insn) == BPF_CLASS_ALU64;

	if (bpf_has_source_reg(insn))
		x86_imul(e, wide, dst, src);
	else
		x86_imul_imm(e, wide, dst, insn->imm);
}

void bpf_x86_alu(struct isa_emitter *e, struct x86_labels *l, const struct bpf_insn *insn, enum x86_reg dst,
		 enum x86_reg src)
{
	switch ((enum bpf_alu)bpf_code(insn)) {
	case BPF_ALU_ADD:
		simple(e, insn, X86_ADD, dst, src);
		break;
	case BPF_ALU_SUB:
		simple(e, insn, X86_SUB, dst, src);
		break;
	case BPF_ALU_MUL:
		multiply(e, insn, dst, src);
		break;
	case BPF_ALU_DIV:
	case BPF_ALU_MOD:
		if (bpf_has_source_reg(insn))
			division(e, l, insn, dst, src);
		else
			division_imm(e, l, insn, dst);
		break;
	case BPF_ALU_OR:
		simple(e, insn, X86_OR, dst, src);
		break;
	case BPF_ALU_AND:
		simple(e, insn, X86_AND, dst, src);
		break;
	case BPF_ALU_LSH:
		shift(e, insn, X86_SHL, dst, src);
		break;
	case BPF_ALU_RSH:
		shift(e, insn, X86_SHR, dst, src);
		break;
	case BPF_ALU_NEG:
		x86_unary(e, X86_NEG, bpf_class(insn) == BPF_CLASS_ALU64, dst);
		break;
	case BPF_ALU_XOR:
		simple(e, insn, X86_XOR, dst, src);
		break;
	case BPF_ALU_MOV:
		move(e, insn, dst, src);
		break;
	case BPF_ALU_ARSH:
		shift(e, insn, X86_SAR, dst, src);
		break;
	case BPF_ALU_END:
		byte_order(e, insn, dst);
		break;
	}
}

void bpf_x86_load(struct isa_emitter *e, const struct bpf_insn *insn, enum x86_reg dst, struct x86_mem mem)
{
	if ((insn->opcode & BPF_MODE_MASK) == BPF_MODE_MEMSX)
		x86_load_signed(e, dst, mem, bpf_size(insn));
	else
		x86_load(e, dst, mem, bpf_size(insn));
}

static enum x86_alu atomic_op(int32_t imm)
{
	switch (imm & ~BPF_ATOMIC_FETCH) {
	case BPF_ATOMIC_OR:
		return X86_OR;
	case BPF_ATOMIC_AND:
		return X86_AND;
	case BPF_ATOMIC_XOR:
		return X86_XOR;
	}
	return X86_ADD;
}

/* The machine fetches only with add; the others are a compare-and-exchange loop. */
static void fetch_loop(struct isa_emitter *e, struct x86_labels *l, enum x86_alu op, bool wide, struct x86_mem mem,
		       enum x86_reg src)
{
	size_t again = x86_label(l);

	x86_load(e, X86_AX, mem, wide ? 8 : 4);
	x86_label_here(l, e, again);
	x86_mov(e, wide, X86_DX, X86_AX);
	x86_alu(e, op, wide, X86_DX, src);
	x86_lock(e);
	x86_cmpxchg(e, wide, mem, X86_DX);
	x86_jump_if_short(e, l, X86_NE, again);
	x86_mov(e, wide, src, X86_AX);
}

static void compare_exchange(struct isa_emitter *e, bool wide, struct x86_mem mem, enum x86_reg src, enum x86_reg r0)
{
	x86_mov(e, wide, X86_AX, r0);
	x86_lock(e);
	x86_cmpxchg(e, wide, mem, src);
	x86_mov(e, wide, r0, X86_AX);
}

void bpf_x86_atomic(struct isa_emitter *e, struct x86_labels *l, const struct bpf_insn *insn, struct x86_mem mem,
		    enum x86_reg src, enum x86_reg r0)
{
	bool wide = bpf_size(insn) == 8;

	switch (insn->imm) {
	case BPF_ATOMIC_XCHG:
		x86_xchg(e, wide, mem, src);
		break;
	case BPF_ATOMIC_CMPXCHG:
		compare_exchange(e, wide, mem, src, r0);
		break;
	case BPF_ATOMIC_ADD | BPF_ATOMIC_FETCH:
		x86_lock(e);
		x86_xadd(e, wide, mem, src);
		break;
	default:
		if (insn->imm & BPF_ATOMIC_FETCH) {
			fetch_loop(e, l, atomic_op(insn->imm), wide, mem, src);
		} else {
			x86_lock(e);
			x86_alu_store(e, atomic_op(insn->imm), wide, mem, src);
		}
	}
}

static enum x86_cond condition(const struct bpf_insn *insn)
{
	static const uint8_t table[] = {
		[BPF_JUMP_EQ] = X86_E,  [BPF_JUMP_GT] = X86_A,  [BPF_JUMP_GE] = X86_AE,  [BPF_JUMP_SET] = X86_NE,
		[BPF_JUMP_NE] = X86_NE, [BPF_JUMP_SGT] = X86_G, [BPF_JUMP_SGE] = X86_GE, [BPF_JUMP_LT] = X86_B,
		[BPF_JUMP_LE] = X86_BE, [BPF_JUMP_SLT] = X86_L, [BPF_JUMP_SLE] = X86_LE,
	};

	return table[bpf_code(insn)];
}

void bpf_x86_branch(struct isa_emitter *e, struct x86_labels *l, const struct bpf_insn *insn, enum x86_reg dst,
		    enum x86_reg src, size_t label)
{
	bool wide = bpf_class(insn) == BPF_CLASS_JMP, by_reg = bpf_has_source_reg(insn);

	if (bpf_code(insn) == BPF_JUMP_SET) {
		if (by_reg)
			x86_test(e, wide, dst, src);
		else
			x86_test_imm(e, wide, dst, insn->imm);
	} else if (by_reg) {
		x86_alu(e, X86_CMP, wide, dst, src);
	} else {
		x86_alu_imm(e, X86_CMP, wide, dst, insn->imm);
	}
	x86_jump_if(e, l, condition(insn), label);
}
