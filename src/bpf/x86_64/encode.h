/* SPDX-License-Identifier: MIT */
/*
 * The x86-64 instructions that the code generator uses, one function a form. Each appends to an emitter, whose sticky
 * error is checked at the end. No instruction writes a vector register: the code may run in any context.
 * Source: Intel SDM volume 2, chapter 2 (prefixes, ModRM, SIB) and the instruction pages.
 */
#ifndef BPF_X86_64_ENCODE_H
#define BPF_X86_64_ENCODE_H

#include "isa/isa.h"

enum x86_reg {
	X86_AX,
	X86_CX,
	X86_DX,
	X86_BX,
	X86_SP,
	X86_BP,
	X86_SI,
	X86_DI,
	X86_R8,
	X86_R9,
	X86_R10,
	X86_R11,
	X86_R12,
	X86_R13,
	X86_R14,
	X86_R15,
	X86_REGS,
	X86_NONE = 255,
};

/** A memory operand: base + (index << shift) + disp, or %fs:disp without a base. */
struct x86_mem {
	uint8_t base;  /* enum x86_reg, X86_NONE for %fs:disp */
	uint8_t index; /* enum x86_reg but X86_SP, or X86_NONE */
	uint8_t shift;
	int32_t disp;
};

static inline struct x86_mem x86_at(enum x86_reg base, int32_t disp)
{
	return (struct x86_mem) { .base = (uint8_t)base, .index = X86_NONE, .disp = disp };
}

static inline struct x86_mem x86_at_index(enum x86_reg base, enum x86_reg index, unsigned shift, int32_t disp)
{
	return (
	    struct x86_mem) { .base = (uint8_t)base, .index = (uint8_t)index, .shift = (uint8_t)shift, .disp = disp };
}

static inline struct x86_mem x86_fs(int32_t disp)
{
	return (struct x86_mem) { .base = X86_NONE, .index = X86_NONE, .disp = disp };
}

static inline struct x86_mem x86_plus(struct x86_mem mem, int32_t bytes)
{
	mem.disp += bytes;
	return mem;
}

/* The two-operand arithmetic group: the number is its place in the opcode map. */
enum x86_alu { X86_ADD, X86_OR, X86_ADC, X86_SBB, X86_AND, X86_SUB, X86_XOR, X86_CMP };
/* The shift group. */
enum x86_shift { X86_ROL, X86_ROR, X86_SHL = 4, X86_SHR, X86_SAR = 7 };
/* The unary group of opcode 0xf7. */
enum x86_unary { X86_NOT = 2, X86_NEG, X86_MUL, X86_IMUL, X86_DIV, X86_IDIV };
/* Conditions, as the low four bits of jcc, setcc and cmovcc. */
enum x86_cond {
	X86_B = 2,
	X86_AE,
	X86_E,
	X86_NE,
	X86_BE,
	X86_A,
	X86_S,
	X86_NS,
	X86_L = 12,
	X86_GE,
	X86_LE,
	X86_G,
};

/* @wide: 64-bit; else 32-bit, which clears the upper half of a destination. */
void x86_mov(struct isa_emitter *e, bool wide, enum x86_reg dst, enum x86_reg src);
void x86_mov_imm(struct isa_emitter *e, enum x86_reg dst, uint64_t value); /* the shortest form, no flags changed */
void x86_mov_extend(struct isa_emitter *e, enum x86_reg dst, enum x86_reg src, unsigned size, bool is_signed);
void x86_load(struct isa_emitter *e, enum x86_reg dst, struct x86_mem mem, unsigned size); /* zero-extends */
void x86_load_signed(struct isa_emitter *e, enum x86_reg dst, struct x86_mem mem, unsigned size);
void x86_store(struct isa_emitter *e, struct x86_mem mem, enum x86_reg src, unsigned size);
void x86_store_imm(struct isa_emitter *e, struct x86_mem mem, int32_t value, unsigned size); /* 8: sign-extended */
void x86_lea(struct isa_emitter *e, enum x86_reg dst, struct x86_mem mem);
/** x86_address() - an absolute address: lea relative to rip where it reaches, else a constant */
void x86_address(struct isa_emitter *e, enum x86_reg dst, utap_addr addr);
void x86_alu(struct isa_emitter *e, enum x86_alu op, bool wide, enum x86_reg dst, enum x86_reg src);
void x86_alu_imm(struct isa_emitter *e, enum x86_alu op, bool wide, enum x86_reg dst, int32_t value);
void x86_alu_load(struct isa_emitter *e, enum x86_alu op, bool wide, enum x86_reg dst, struct x86_mem mem);
void x86_alu_store(struct isa_emitter *e, enum x86_alu op, bool wide, struct x86_mem mem, enum x86_reg src);
void x86_alu_store_imm(struct isa_emitter *e, enum x86_alu op, bool wide, struct x86_mem mem, int32_t value);
void x86_test(struct isa_emitter *e, bool wide, enum x86_reg a, enum x86_reg b);
void x86_test_imm(struct isa_emitter *e, bool wide, enum x86_reg reg, int32_t value);
void x86_imul(struct isa_emitter *e, bool wide, enum x86_reg dst, enum x86_reg src);
void x86_imul_imm(struct isa_emitter *e, bool wide, enum x86_reg dst, int32_t value);
void x86_unary(struct isa_emitter *e, enum x86_unary op, bool wide, enum x86_reg reg);
void x86_shift_imm(struct isa_emitter *e, enum x86_shift op, bool wide, enum x86_reg reg, unsigned by);
void x86_shift_cl(struct isa_emitter *e, enum x86_shift op, bool wide, enum x86_reg reg);
void x86_bswap(struct isa_emitter *e, bool wide, enum x86_reg reg);
void x86_rotate16(struct isa_emitter *e, enum x86_reg reg); /* swaps the two low bytes */
void x86_cdq(struct isa_emitter *e, bool wide);             /* sign of rax into rdx */
void x86_cmov(struct isa_emitter *e, enum x86_cond cond, bool wide, enum x86_reg dst, enum x86_reg src);
void x86_lock(struct isa_emitter *e);
void x86_inc(struct isa_emitter *e, struct x86_mem mem); /* 64 bits */
void x86_xadd(struct isa_emitter *e, bool wide, struct x86_mem mem, enum x86_reg reg);
void x86_xchg(struct isa_emitter *e, bool wide, struct x86_mem mem, enum x86_reg reg);
void x86_cmpxchg(struct isa_emitter *e, bool wide, struct x86_mem mem, enum x86_reg reg);
void x86_push(struct isa_emitter *e, enum x86_reg reg);
void x86_pop(struct isa_emitter *e, enum x86_reg reg);
void x86_save_flags(struct isa_emitter *e);    /* into ax: lahf, seto %al */
void x86_restore_flags(struct isa_emitter *e); /* from ax, as saved; the arithmetic flags only */
/*
 * Halves of the 128-bit registers: 2 n the low 8 bytes of xmm(n), 2 n + 1 the high ones. The only instructions here that name such registers; they
 * read them, and have the encodings without VEX, which never touch what lies above 128 bits.
 */
void x86_mov_vector(struct isa_emitter *e, enum x86_reg dst, unsigned number); /* from the low half of xmm(number) */
void x86_store_vector(struct isa_emitter *e, struct x86_mem mem, unsigned half, unsigned size); /* 8; 4 of a low half */
void x86_rdtsc(struct isa_emitter *e);
void x86_rdpid(struct isa_emitter *e, enum x86_reg reg);
void x86_lsl(struct isa_emitter *e, enum x86_reg dst, enum x86_reg src);
void x86_pushf(struct isa_emitter *e);
void x86_popf(struct isa_emitter *e);
void x86_cld(struct isa_emitter *e);
void x86_copy_words(struct isa_emitter *e); /* rep movsq: rcx words from rsi to rdi, which it moves on */
void x86_ret(struct isa_emitter *e);

/*
 * Labels: places in the code being emitted that may be referred to before they are known. References are 32-bit
 * displacements, filled in by x86_labels_resolve().
 */
struct x86_labels {
	size_t *place; /* offset in the emitter's buffer, SIZE_MAX while unknown */
	size_t count, cap;
	struct x86_reference *references;
	size_t references_used, references_cap;
	int error; /* -ENOMEM, sticky */
};

struct x86_reference {
	size_t at; /* of the displacement, the last part of its instruction */
	size_t label;
	bool is_short; /* one byte */
};

void x86_labels_reset(struct x86_labels *l);
void x86_labels_free(struct x86_labels *l);
size_t x86_label(struct x86_labels *l); /* a new one; SIZE_MAX after an error */
void x86_label_here(struct x86_labels *l, struct isa_emitter *e, size_t label);
size_t x86_label_place(const struct x86_labels *l, size_t label);
/** x86_labels_resolve() - 0, -ENOMEM, -EINVAL when a label was never placed, -ERANGE when a short jump is too far */
int x86_labels_resolve(struct x86_labels *l, struct isa_emitter *e) BASE_MUST_CHECK;

void x86_jump(struct isa_emitter *e, struct x86_labels *l, size_t label);
void x86_jump_if(struct isa_emitter *e, struct x86_labels *l, enum x86_cond cond, size_t label);
void x86_jump_if_short(struct isa_emitter *e, struct x86_labels *l, enum x86_cond cond, size_t label);
void x86_jump_short(struct isa_emitter *e, struct x86_labels *l, size_t label);
void x86_jump_if_rcx_zero(struct isa_emitter *e, struct x86_labels *l, size_t label); /* short; no flags needed */
void x86_call_label(struct isa_emitter *e, struct x86_labels *l, size_t label);
void x86_call_through(struct isa_emitter *e, struct x86_labels *l, size_t label); /* the 8 bytes at @label */
void x86_lea_label(struct isa_emitter *e, struct x86_labels *l, enum x86_reg dst, size_t label);

#endif
