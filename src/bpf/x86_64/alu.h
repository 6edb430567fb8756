/* SPDX-License-Identifier: MIT */
/*
 * One BPF instruction on machine registers, whoever assigned them. rax, rcx and rdx are never homes of BPF registers:
 * they are what these functions scratch (bpf_x86_scratch() says which). Flags are not preserved.
 */
#ifndef BPF_X86_64_ALU_H
#define BPF_X86_64_ALU_H

#include "bpf/insn.h"
#include "bpf/x86_64/encode.h"

/** bpf_x86_scratch() - machine registers that the functions below may scratch for @insn, as a bit mask */
uint32_t bpf_x86_scratch(const struct bpf_insn *insn);

/**
 * bpf_x86_alu() - arithmetic
 * @src: machine register of the second operand; unused for the immediate forms
 */
void bpf_x86_alu(struct isa_emitter *e, struct x86_labels *l, const struct bpf_insn *insn, enum x86_reg dst,
		 enum x86_reg src);

void bpf_x86_load(struct isa_emitter *e, const struct bpf_insn *insn, enum x86_reg dst, struct x86_mem mem);

/** bpf_x86_atomic() - @r0: the home of r0, used by cmpxchg only */
void bpf_x86_atomic(struct isa_emitter *e, struct x86_labels *l, const struct bpf_insn *insn, struct x86_mem mem,
		    enum x86_reg src, enum x86_reg r0);

/** bpf_x86_branch() - compare and jump to @label */
void bpf_x86_branch(struct isa_emitter *e, struct x86_labels *l, const struct bpf_insn *insn, enum x86_reg dst,
		    enum x86_reg src, size_t label);

#endif
