/* SPDX-License-Identifier: MIT */
/*
 * Lazy values: what a BPF register stands for, and the machine code that makes it real. A value is materialised at most
 * once on a way; after that it is in its home register.
 */
#include <errno.h>
#include <string.h>

#include "bpf/x86_64/probe.h"

#define ARITHMETIC_FLAGS 0x8d5 /* CF PF AF ZF SF OF: what lahf and seto save */
#define OVERFLOW_BIT 11

/* The machine register behind a context register that is a general one; X86_NONE for the others. */
static enum x86_reg machine_of(enum isa_reg reg)
{
	static const uint8_t table[ISA_REGS] = {
		[ISA_R15] = X86_R15, [ISA_R14] = X86_R14, [ISA_R13] = X86_R13,    [ISA_R12] = X86_R12,
		[ISA_BP] = X86_BP,   [ISA_BX] = X86_BX,   [ISA_R11] = X86_R11,    [ISA_R10] = X86_R10,
		[ISA_R9] = X86_R9,   [ISA_R8] = X86_R8,   [ISA_AX] = X86_AX,      [ISA_CX] = X86_CX,
		[ISA_DX] = X86_DX,   [ISA_SI] = X86_SI,   [ISA_DI] = X86_DI,      [ISA_ORIG_AX] = X86_NONE,
		[ISA_IP] = X86_NONE, [ISA_CS] = X86_NONE, [ISA_FLAGS] = X86_NONE, [ISA_SP] = X86_NONE,
		[ISA_SS] = X86_NONE,
	};

	return table[reg];
}

/* Is the probed place's value no longer (rax) or not always in the register itself? */
static bool is_saved(const struct probe_gen *g, enum x86_reg reg)
{
	return (reg == X86_AX && !g->target->id_known) || g->plan.saved >> reg & 1;
}

void probe_use_flags(struct probe_gen *g)
{
	g->found.flags = true;
}

void probe_flush_time(struct probe_gen *g)
{
	for (unsigned i = 0; i < BPF_FP; i++)
		if (g->value[i].kind == PROBE_TIME)
			probe_materialise(g, i);
}

void probe_use(struct probe_gen *g, enum x86_reg reg)
{
	if (reg == X86_DX)
		probe_flush_time(g);
	g->found.saved |= 1U << reg;
}

void probe_use_ax(struct probe_gen *g)
{
	probe_flush_time(g);
	g->id_in_ax = false;
}

enum x86_reg probe_home(struct probe_gen *g, unsigned reg)
{
	static const uint8_t order[BPF_FP] = { X86_R10, X86_R12, X86_R13, X86_R14, X86_R15,
					       X86_R9,  X86_R8,  X86_BP,  X86_SI,  X86_DI };

	if (g->home[reg] == X86_NONE)
		g->home[reg] = order[g->homes++];
	g->found.saved |= 1U << g->home[reg];
	return g->home[reg];
}

void probe_set_home(struct probe_gen *g, unsigned reg)
{
	g->value[reg] = (struct probe_value) { .kind = PROBE_HOME };
}

void probe_load_id(struct probe_gen *g, enum x86_reg dst)
{
	if (g->target->id_known)
		x86_mov_imm(g->e, dst, g->target->id);
	else if (!g->id_in_ax)
		x86_load(g->e, dst, probe_id_mem(g), 4);
	else if (dst != X86_AX)
		x86_mov(g->e, false, dst, X86_AX);
}

/* rflags as they were: the arithmetic ones from the prologue's copy (ah and al), the others nobody has changed. */
static void load_flags(struct probe_gen *g, enum x86_reg dst)
{
	struct x86_mem saved = probe_flags_mem(g);

	probe_use_ax(g);
	probe_use_flags(g);
	x86_pushf(g->e);
	x86_pop(g->e, dst);
	x86_alu_imm(g->e, X86_AND, true, dst, ~ARITHMETIC_FLAGS);
	x86_load(g->e, X86_AX, saved, 1);
	x86_shift_imm(g->e, X86_SHL, false, X86_AX, OVERFLOW_BIT);
	x86_alu(g->e, X86_OR, true, dst, X86_AX);
	x86_load(g->e, X86_AX, x86_plus(saved, 1), 1);
	x86_alu(g->e, X86_OR, true, dst, X86_AX);
}

/* The whole register or its low @size bytes, extended. */
static void load_register(struct probe_gen *g, enum x86_reg dst, enum isa_reg reg, unsigned size, bool is_signed)
{
	enum x86_reg machine = machine_of(reg);

	if (machine != X86_NONE && is_saved(g, machine)) {
		if (is_signed)
			x86_load_signed(g->e, dst, probe_saved_mem(g, machine), size);
		else
			x86_load(g->e, dst, probe_saved_mem(g, machine), size);
		return;
	}
	if (reg == ISA_SP)
		x86_lea(g->e, dst, probe_rsp_mem(g, 0));
	else if (reg == ISA_FLAGS)
		load_flags(g, dst);
	else if (size == 8)
		x86_mov(g->e, true, dst, machine);
	if (size < 8)
		x86_mov_extend(g->e, dst, machine == X86_NONE ? dst : machine, size, is_signed);
}

static void materialise_cookie(struct probe_gen *g, enum x86_reg home, int64_t high)
{
	probe_load_id(g, home);
	if (!high)
		return;
	probe_use_ax(g);
	probe_use_flags(g);
	x86_mov_imm(g->e, X86_AX, (uint64_t)high);
	x86_alu(g->e, X86_OR, true, home, X86_AX);
}

static void materialise_pid_tgid(struct probe_gen *g, enum x86_reg home)
{
	probe_use_ax(g);
	probe_use_flags(g);
	probe_load_pid(g);
	x86_mov(g->e, false, home, X86_AX);
	x86_shift_imm(g->e, X86_SHL, true, home, 32);
	probe_load_tid(g);
	x86_alu(g->e, X86_OR, true, home, X86_AX);
}

/* Instructions without VEX, which leave the upper halves of the registers alone; a high half takes a way through memory. */
static void materialise_vector(struct probe_gen *g, enum x86_reg home, unsigned half)
{
	struct x86_mem word;

	if (half % 2 == 0) {
		x86_mov_vector(g->e, home, half / 2);
		return;
	}
	word = probe_read_mem(g, sizeof(struct wire_read));
	x86_store_vector(g->e, word, half, 8);
	x86_load(g->e, home, word, 8);
}

static void materialise_time(struct probe_gen *g, enum x86_reg home)
{
	probe_use_flags(g);
	x86_shift_imm(g->e, X86_SHL, true, X86_DX, 32);
	x86_alu(g->e, X86_OR, true, X86_DX, X86_AX);
	x86_mov(g->e, true, home, X86_DX);
}

void probe_materialise(struct probe_gen *g, unsigned reg)
{
	struct probe_value v = g->value[reg];

	if (v.kind == PROBE_HOME)
		return;

	enum x86_reg home = probe_home(g, reg);

	probe_set_home(g, reg);
	switch (v.kind) {
	case PROBE_CONSTANT:
		x86_mov_imm(g->e, home, (uint64_t)v.imm);
		break;
	case PROBE_CONTEXT:
		load_register(g, home, v.reg, v.size, v.is_signed);
		break;
	case PROBE_VECTOR:
		materialise_vector(g, home, v.reg);
		break;
	case PROBE_COOKIE:
		materialise_cookie(g, home, v.imm);
		break;
	case PROBE_PID_TGID:
		materialise_pid_tgid(g, home);
		break;
	case PROBE_TIME:
		materialise_time(g, home);
		break;
	case PROBE_HOME:
	case PROBE_NOTHING:
	case PROBE_CTX:
	case PROBE_RING:
	case PROBE_FRAME:
	case PROBE_RESERVED:
		g->error = -EINVAL; /* the checker lets no pointer be used as a number */
		break;
	}
}

enum x86_reg probe_read(struct probe_gen *g, unsigned reg)
{
	const struct probe_value *v = &g->value[reg];

	if (v->kind == PROBE_CONTEXT && v->size == 8) {
		enum x86_reg machine = machine_of(v->reg);

		if (machine != X86_NONE && !is_saved(g, machine))
			return machine;
	}
	probe_materialise(g, reg);
	return g->home[reg];
}

/* Registers whose value is the same everywhere in a 64-bit program. */
static bool context_constant(enum isa_reg reg, uint64_t *ret)
{
	if (reg == ISA_ORIG_AX)
		*ret = ~0ULL;
	else if (reg == ISA_CS)
		*ret = 0x33;
	else if (reg == ISA_SS)
		*ret = 0x2b;
	else
		return false;
	return true;
}

static int64_t cut(uint64_t value, unsigned size, bool is_signed)
{
	unsigned unused = 64 - 8 * size;

	return is_signed ? (int64_t)(value << unused) >> unused : (int64_t)(value << unused >> unused);
}

/* A load that is not simply the low bytes of a register. */
static void load_part(struct probe_gen *g, const struct bpf_insn *insn, enum isa_reg reg, unsigned shift)
{
	bool is_signed = (insn->opcode & BPF_MODE_MASK) == BPF_MODE_MEMSX;
	enum x86_reg home = probe_home(g, insn->dst);

	g->value[insn->dst].kind = PROBE_NOTHING;
	load_register(g, home, reg, 8, false);
	probe_use_flags(g);
	x86_shift_imm(g->e, X86_SHR, true, home, shift);
	x86_mov_extend(g->e, home, home, bpf_size(insn), is_signed);
	probe_set_home(g, insn->dst);
}

void probe_load_context(struct probe_gen *g, const struct bpf_insn *insn)
{
	enum isa_reg reg = (enum isa_reg)(insn->offset / 8);
	unsigned shift = 8 * (insn->offset & 7), size = bpf_size(insn);
	bool is_signed = (insn->opcode & BPF_MODE_MASK) == BPF_MODE_MEMSX;
	uint64_t value;

	if (context_constant(reg, &value))
		g->value[insn->dst] =
		    (struct probe_value) { .kind = PROBE_CONSTANT, .imm = cut(value >> shift, size, is_signed) };
	else if (shift)
		load_part(g, insn, reg, shift);
	else
		g->value[insn->dst] = (struct probe_value) {
			.kind = PROBE_CONTEXT, .reg = (uint8_t)reg, .size = (uint8_t)size, .is_signed = is_signed
		};
}

void probe_store_constant(struct probe_gen *g, struct x86_mem mem, int64_t value, unsigned size)
{
	if (size < 8 || value == (int32_t)value) {
		x86_store_imm(g->e, mem, (int32_t)(uint32_t)(uint64_t)value, size);
		return;
	}
	x86_store_imm(g->e, mem, (int32_t)(uint32_t)(uint64_t)value, 4);
	x86_store_imm(g->e, x86_plus(mem, 4), (int32_t)(uint32_t)((uint64_t)value >> 32), 4);
}

static void store_cookie(struct probe_gen *g, struct x86_mem mem, int64_t high, unsigned size)
{
	if (g->target->id_known) {
		x86_store_imm(g->e, mem, (int32_t)g->target->id, size < 4 ? size : 4);
	} else {
		if (!g->id_in_ax)
			probe_use_ax(g);
		probe_load_id(g, X86_AX);
		x86_store(g->e, mem, X86_AX, size < 4 ? size : 4);
	}
	if (size == 8)
		x86_store_imm(g->e, x86_plus(mem, 4), (int32_t)(uint32_t)((uint64_t)high >> 32), 4);
}

static void store_pid_tgid(struct probe_gen *g, struct x86_mem mem, unsigned size)
{
	probe_use_ax(g);
	probe_load_tid(g);
	x86_store(g->e, mem, X86_AX, size < 4 ? size : 4);
	if (size < 8)
		return;
	probe_load_pid(g);
	x86_store(g->e, x86_plus(mem, 4), X86_AX, 4);
}

static void store_time(struct probe_gen *g, struct x86_mem mem, unsigned size)
{
	x86_store(g->e, mem, X86_AX, size < 4 ? size : 4);
	if (size == 8)
		x86_store(g->e, x86_plus(mem, 4), X86_DX, 4);
}

static void store_context(struct probe_gen *g, struct x86_mem mem, const struct probe_value *v, unsigned size)
{
	enum x86_reg machine = machine_of(v->reg);

	if (machine != X86_NONE && !is_saved(g, machine) && size <= v->size) {
		x86_store(g->e, mem, machine, size);
		return;
	}
	probe_use_ax(g);
	load_register(g, X86_AX, v->reg, v->size, v->is_signed);
	x86_store(g->e, mem, X86_AX, size);
}

void probe_store(struct probe_gen *g, struct x86_mem mem, unsigned reg, unsigned size)
{
	const struct probe_value *v = &g->value[reg];

	switch (v->kind) {
	case PROBE_CONSTANT:
		probe_store_constant(g, mem, v->imm, size);
		return;
	case PROBE_COOKIE:
		store_cookie(g, mem, v->imm, size);
		return;
	case PROBE_PID_TGID:
		store_pid_tgid(g, mem, size);
		return;
	case PROBE_TIME:
		store_time(g, mem, size);
		return;
	case PROBE_VECTOR:
		if (size == 8 || (size == 4 && v->reg % 2 == 0)) {
			x86_store_vector(g->e, mem, v->reg, size);
			return;
		}
		break;
	case PROBE_CONTEXT:
		if (v->reg != ISA_FLAGS) {
			store_context(g, mem, v, size);
			return;
		}
		break;
	case PROBE_HOME:
	case PROBE_NOTHING:
	case PROBE_CTX:
	case PROBE_RING:
	case PROBE_FRAME:
	case PROBE_RESERVED:
		break;
	}
	probe_materialise(g, reg);
	x86_store(g->e, mem, g->home[reg], size);
}

void probe_settle(struct probe_gen *g, size_t to)
{
	if (!g->states[to].is_target)
		return;
	for (unsigned i = 0; i < BPF_FP; i++)
		if (g->live[to] >> i & 1 && g->states[to].reg[i].type == BPF_SCALAR)
			probe_materialise(g, i);
}

static struct probe_value assumed(const struct bpf_reg *reg)
{
	switch (reg->type) {
	case BPF_SCALAR:
		return (struct probe_value) { .kind = PROBE_HOME };
	case BPF_CTX:
		return (struct probe_value) { .kind = PROBE_CTX };
	case BPF_RING:
		return (struct probe_value) { .kind = PROBE_RING };
	case BPF_FRAME:
		return (struct probe_value) { .kind = PROBE_FRAME, .imm = reg->value };
	case BPF_RESERVED:
	case BPF_RESERVED_OR_NULL:
	case BPF_SCRATCH:
	case BPF_SCRATCH_OR_NULL:
		return (struct probe_value) { .kind = PROBE_RESERVED, .imm = reg->value };
	case BPF_UNSET:
		break;
	}
	return (struct probe_value) { .kind = PROBE_NOTHING };
}

void probe_assume(struct probe_gen *g, size_t at)
{
	g->id_in_ax = false;
	for (unsigned i = 0; i < BPF_REGS; i++) {
		bool live = i == BPF_FP || g->live[at] >> i & 1;

		g->value[i] = live ? assumed(&g->states[at].reg[i]) : (struct probe_value) { .kind = PROBE_NOTHING };
	}
}
