/* SPDX-License-Identifier: MIT */
/*
 * BPF_STANDALONE -> a System V function. Every BPF register has one machine register for the whole program. The
 * function saves the caller's registers, makes the first frame and calls the program like a local call, so that every
 * exit is a ret.
 *
 * A frame is BPF_STACK bytes below what r10 says; a local call saves r6 to r10 around itself.
 */
#include <errno.h>

#include "bpf/flow.h"
#include "bpf/x86_64/alu.h"

static const uint8_t homes[BPF_REGS] = { X86_R10, X86_DI,  X86_SI,  X86_R8,  X86_R9, X86_R11,
					 X86_BX,  X86_R12, X86_R13, X86_R14, X86_BP };
static const uint8_t saved_by_caller[] = { X86_BX, X86_BP, X86_R12, X86_R13, X86_R14 };
static const uint8_t saved_by_calls[] = { X86_BX, X86_R12, X86_R13, X86_R14, X86_BP };
#define SAVED (sizeof(saved_by_caller) / sizeof(saved_by_caller[0]))
static_assert(SAVED == sizeof(saved_by_calls), "both are five registers");

struct function {
	const struct bpf_insn *program;
	struct isa_emitter *e;
	struct x86_labels labels; /* the first ones are the instructions */
};

static void frame_enter(struct function *f)
{
	x86_lea(f->e, X86_BP, x86_at(X86_SP, 0));
	x86_lea(f->e, X86_SP, x86_at(X86_SP, -BPF_STACK));
}

static void frame_leave(struct function *f)
{
	x86_lea(f->e, X86_SP, x86_at(X86_SP, BPF_STACK));
}

static void call(struct function *f, size_t label)
{
	for (size_t i = 0; i < SAVED; i++)
		x86_push(f->e, saved_by_calls[i]);
	frame_enter(f);
	x86_call_label(f->e, &f->labels, label);
	frame_leave(f);
	for (size_t i = SAVED; i-- > 0;)
		x86_pop(f->e, saved_by_calls[i]);
}

static void entry(struct function *f)
{
	for (size_t i = 0; i < SAVED; i++)
		x86_push(f->e, saved_by_caller[i]);
	frame_enter(f);
	x86_call_label(f->e, &f->labels, 0);
	frame_leave(f);
	for (size_t i = SAVED; i-- > 0;)
		x86_pop(f->e, saved_by_caller[i]);
	x86_mov(f->e, true, X86_AX, homes[0]);
	x86_ret(f->e);
}

static void jump(struct function *f, size_t at)
{
	const struct bpf_insn *insn = &f->program[at];

	if (bpf_is_exit(insn)) {
		x86_ret(f->e);
		return;
	}

	size_t label = (size_t)bpf_jump_target(f->program, at);

	if (bpf_is_goto(insn))
		x86_jump(f->e, &f->labels, label);
	else if (bpf_is_call(insn))
		call(f, label);
	else
		bpf_x86_branch(f->e, &f->labels, insn, homes[insn->dst], homes[insn->src], label);
}

static void store(struct function *f, const struct bpf_insn *insn)
{
	struct x86_mem mem = x86_at(homes[insn->dst], insn->offset);

	if (bpf_class(insn) == BPF_CLASS_ST)
		x86_store_imm(f->e, mem, insn->imm, bpf_size(insn));
	else if (bpf_is_atomic(insn))
		bpf_x86_atomic(f->e, &f->labels, insn, mem, homes[insn->src], homes[0]);
	else
		x86_store(f->e, mem, homes[insn->src], bpf_size(insn));
}

static void emit(struct function *f, size_t at)
{
	const struct bpf_insn *insn = &f->program[at];

	switch (bpf_class(insn)) {
	case BPF_CLASS_LD:
		x86_mov_imm(f->e, homes[insn->dst], bpf_imm64(insn));
		break;
	case BPF_CLASS_LDX:
		bpf_x86_load(f->e, insn, homes[insn->dst], x86_at(homes[insn->src], insn->offset));
		break;
	case BPF_CLASS_ST:
	case BPF_CLASS_STX:
		store(f, insn);
		break;
	case BPF_CLASS_ALU:
	case BPF_CLASS_ALU64:
		bpf_x86_alu(f->e, &f->labels, insn, homes[insn->dst], homes[insn->src]);
		break;
	case BPF_CLASS_JMP:
	case BPF_CLASS_JMP32:
		jump(f, at);
		break;
	}
}

static int compile(struct function *f, size_t count)
{
	for (size_t i = 0; i < count; i++)
		x86_label(&f->labels);
	entry(f);
	for (size_t i = 0; i < count; i += bpf_length(&f->program[i])) {
		x86_label_here(&f->labels, f->e, i);
		emit(f, i);
	}
	return x86_labels_resolve(&f->labels, f->e);
}

int bpf_compile_function(const struct bpf_insn *program, size_t count, struct isa_emitter *e, struct utap_error *err)
{
	int r = bpf_check(program, count, BPF_STANDALONE, err);

	if (r < 0)
		return r;

	struct function f = { .program = program, .e = e };

	r = compile(&f, count);
	x86_labels_free(&f.labels);
	if (r < 0)
		return base_error(err, r, UTAP_ERROR_SYSTEM, "compiling a program of %zu instructions: %s", count,
				  r == -ENOSPC ? "the code buffer is too small" : "failed");
	return 0;
}
