/* SPDX-License-Identifier: MIT */
/*
 * Helpers that only look: time, pid and tid, cpu, memory. Between RESERVE and SUBMIT nothing here makes a system call:
 * what might need one is asked for before (probe_know_pid(), the tid's slot), once, whatever the answer.
 */
#include <errno.h>

#include "bpf/x86_64/probe.h"

#define CPU_SEGMENT 0x7b /* its limit holds the cpu in the low 12 bits, as rdpid's value does */
#define CPU_MASK 0xfff

static void emit_pid_slow(struct probe_gen *g, const struct probe_stub *stub)
{
	probe_here(g, stub->label);
	x86_address(g->e, X86_AX, g->target->local);
	probe_runtime(g, RT_PID);
	x86_jump(g->e, &g->labels, stub->back);
}

void probe_know_pid(struct probe_gen *g)
{
	struct probe_stub stub = { .emit = emit_pid_slow, .label = probe_label(g), .back = probe_label(g) };

	probe_use_flags(g);
	x86_address(g->e, X86_AX, g->target->local);
	x86_load(g->e, X86_AX, x86_at(X86_AX, offsetof(struct wire_local, pid)), 4);
	x86_test(g->e, false, X86_AX, X86_AX);
	x86_jump_if(g->e, &g->labels, X86_E, stub.label);
	probe_here(g, stub.back);
	probe_add_stub(g, stub);
}

void probe_load_pid(struct probe_gen *g)
{
	if (g->mode == PROBE_OUTSIDE) {
		probe_know_pid(g);
		return;
	}
	x86_load(g->e, X86_AX, probe_pid_mem(g), 4);
}

void probe_load_tid(struct probe_gen *g)
{
	if (g->target->tid_offset) {
		x86_load(g->e, X86_AX, x86_fs(g->target->tid_offset), 4);
	} else if (g->mode == PROBE_OUTSIDE) {
		probe_use_flags(g);
		probe_runtime(g, RT_TID);
		x86_mov(g->e, false, X86_AX, X86_AX);
	} else {
		x86_load(g->e, X86_AX, probe_tid_mem(g), 4);
	}
}

void probe_load_cpu(struct probe_gen *g, enum x86_reg dst)
{
	if (g->target->has_rdpid) {
		x86_rdpid(g->e, dst);
	} else {
		x86_mov_imm(g->e, dst, CPU_SEGMENT);
		x86_lsl(g->e, dst, dst);
	}
	x86_alu_imm(g->e, X86_AND, false, dst, CPU_MASK);
	x86_alu(g->e, X86_XOR, false, X86_DX, X86_DX);
	x86_alu_imm(g->e, X86_CMP, false, dst, (int32_t)g->target->cpus);
	x86_cmov(g->e, X86_AE, false, dst, X86_DX);
}

static void emit_cpu_slow(struct probe_gen *g, const struct probe_stub *stub)
{
	probe_here(g, stub->label);
	probe_load_cpu(g, stub->home);
	x86_jump(g->e, &g->labels, stub->back);
}

static void cpu(struct probe_gen *g)
{
	enum x86_reg home = probe_home(g, 0);

	probe_use_flags(g);
	probe_use(g, X86_DX);
	if (!g->target->rseq_offset) {
		probe_load_cpu(g, home);
	} else {
		struct probe_stub stub = {
			.emit = emit_cpu_slow, .label = probe_label(g), .back = probe_label(g), .home = (uint8_t)home
		};

		x86_load(g->e, home, x86_fs(g->target->rseq_offset + PROBE_RSEQ_CPU_ID), 4);
		x86_test(g->e, false, home, home);
		x86_jump_if(g->e, &g->labels, X86_S, stub.label);
		probe_here(g, stub.back);
		probe_add_stub(g, stub);
	}
	probe_set_home(g, 0);
}

static void time_helper(struct probe_gen *g)
{
	probe_use_ax(g);
	probe_use(g, X86_DX);
	x86_rdtsc(g->e);
	g->value[0] = (struct probe_value) { .kind = PROBE_TIME };
}

static void pid_tgid(struct probe_gen *g)
{
	g->value[0] = (struct probe_value) { .kind = PROBE_PID_TGID };
	if (g->mode == PROBE_OUTSIDE) /* may need system calls: here and now */
		probe_materialise(g, 0);
}

/* struct wire_read's address into rax, then the call. */
static void call_read(struct probe_gen *g)
{
	x86_lea(g->e, X86_AX, probe_read_mem(g, 0));
	probe_runtime(g, RT_READ);
}

/* Where READ_USER puts what it reads. */
static struct x86_mem read_to(struct probe_gen *g, const struct bpf_reg *to, int64_t offset)
{
	if (to->type == BPF_SCRATCH)
		return x86_at(PROBE_RECORD, (int32_t)(to->value + offset));
	return probe_frame_mem(g, to->value + offset);
}

/* 0 is what is left where memory could not be read, whatever was read of it. */
static void clear_unless_read(struct probe_gen *g, const struct bpf_reg *to, int64_t size)
{
	size_t ok = probe_label(g);

	x86_test(g->e, true, X86_AX, X86_AX);
	x86_jump_if(g->e, &g->labels, X86_E, ok);
	for (int64_t offset = 0; offset < size;) {
		int64_t left = size - offset;
		unsigned part = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;

		x86_store_imm(g->e, read_to(g, to, offset), 0, part);
		offset += part;
	}
	probe_here(g, ok);
}

/* Any memory: by the runtime. r3 is in stub->home, its call is stub->region. */
static void emit_read_slow(struct probe_gen *g, const struct probe_stub *stub)
{
	const struct bpf_reg *args = g->states[stub->region].reg;

	probe_here(g, stub->label);
	x86_store(g->e, probe_read_mem(g, offsetof(struct wire_read, from)), stub->home, 8);
	x86_lea(g->e, X86_AX, read_to(g, &args[1], 0));
	x86_store(g->e, probe_read_mem(g, offsetof(struct wire_read, to)), X86_AX, 8);
	probe_store_constant(g, probe_read_mem(g, offsetof(struct wire_read, size)), args[2].value, 8);
	call_read(g);
	clear_unless_read(g, &args[1], args[2].value);
	x86_jump(g->e, &g->labels, stub->back);
}

/*
 * The page right below rsp is there: the trampoline has written to it. What lies in it (most of a function's own variables do) is read as it
 * is. rax becomes 0, as it is after the slow way when that succeeded.
 */
static void read_near(struct probe_gen *g, enum x86_reg from, unsigned size, size_t slow)
{
	x86_lea(g->e, X86_AX, probe_rsp_mem(g, -1));
	x86_alu(g->e, X86_XOR, true, X86_AX, from);
	x86_test_imm(g->e, true, X86_AX, -WIRE_PAGE);
	x86_jump_if(g->e, &g->labels, X86_NE, slow);
	x86_mov(g->e, false, X86_AX, from);
	x86_alu_imm(g->e, X86_AND, false, X86_AX, WIRE_PAGE - 1);
	x86_alu_imm(g->e, X86_CMP, false, X86_AX, (int32_t)(WIRE_PAGE - size));
	x86_jump_if(g->e, &g->labels, X86_A, slow);
	x86_load(g->e, X86_AX, x86_at(from, 0), size);
	x86_store(g->e, read_to(g, &g->states[g->at].reg[1], 0), X86_AX, size);
	x86_mov_imm(g->e, X86_AX, 0);
}

static void read_user(struct probe_gen *g)
{
	int64_t size = g->states[g->at].reg[2].value;
	bool is_word = size == 1 || size == 2 || size == 4 || size == 8;
	struct probe_stub slow = { .emit = emit_read_slow, .region = g->at };

	probe_use_ax(g);
	probe_use_flags(g);
	slow.home = (uint8_t)probe_read(g, 3);
	slow.label = probe_label(g);
	slow.back = probe_label(g);
	if (is_word)
		read_near(g, slow.home, (unsigned)size, slow.label);
	else
		x86_jump(g->e, &g->labels, slow.label);
	probe_here(g, slow.back);
	probe_add_stub(g, slow);
	x86_mov(g->e, true, probe_home(g, 0), X86_AX);
	probe_set_home(g, 0);
}

/* The name of this thread; the runtime is told where it goes. */
static void comm(struct probe_gen *g)
{
	probe_use_ax(g);
	probe_use_flags(g);
	x86_lea(g->e, X86_AX, probe_frame_mem(g, g->states[g->at].reg[1].value));
	probe_runtime(g, RT_COMM);
	x86_mov(g->e, true, probe_home(g, 0), X86_AX);
	probe_set_home(g, 0);
}

/* The word is not in the page that rsp points into: ask the runtime. */
static void emit_stack_word_slow(struct probe_gen *g, const struct probe_stub *stub)
{
	size_t ok = probe_label(g), word = sizeof(struct wire_read);

	probe_here(g, stub->label);
	x86_lea(g->e, X86_AX, probe_read_mem(g, (int32_t)word));
	x86_store(g->e, probe_read_mem(g, offsetof(struct wire_read, to)), X86_AX, 8);
	x86_lea(g->e, X86_AX, probe_rsp_mem(g, stub->disp));
	x86_store(g->e, probe_read_mem(g, offsetof(struct wire_read, from)), X86_AX, 8);
	x86_store_imm(g->e, probe_read_mem(g, offsetof(struct wire_read, size)), 8, 8);
	call_read(g);
	x86_test(g->e, true, X86_AX, X86_AX);
	x86_jump_if(g->e, &g->labels, X86_E, ok);
	x86_store_imm(g->e, probe_read_mem(g, (int32_t)word), 0, 8);
	probe_here(g, ok);
	x86_load(g->e, stub->home, probe_read_mem(g, (int32_t)word), 8);
	x86_jump(g->e, &g->labels, stub->back);
}

static void stack_word(struct probe_gen *g)
{
	int32_t disp = (int32_t)(8 * g->states[g->at].reg[1].value);
	enum x86_reg home = probe_home(g, 0);
	struct probe_stub stub = { .emit = emit_stack_word_slow,
				   .label = probe_label(g),
				   .back = probe_label(g),
				   .disp = disp,
				   .home = (uint8_t)home };

	probe_use_ax(g);
	probe_use_flags(g);
	if (disp + 8 > WIRE_PAGE) {
		x86_jump(g->e, &g->labels, stub.label);
	} else {
		x86_lea(g->e, X86_AX, probe_rsp_mem(g, 0));
		x86_alu_imm(g->e, X86_AND, false, X86_AX, WIRE_PAGE - 1);
		x86_alu_imm(g->e, X86_CMP, false, X86_AX, WIRE_PAGE - 8 - disp);
		x86_jump_if(g->e, &g->labels, X86_A, stub.label);
		x86_load(g->e, home, probe_rsp_mem(g, disp), 8);
	}
	probe_here(g, stub.back);
	probe_add_stub(g, stub);
	probe_set_home(g, 0);
}

void probe_helper(struct probe_gen *g, const struct bpf_insn *insn)
{
	switch ((enum bpf_helper)insn->imm) {
	case BPF_HELPER_CPU:
		cpu(g);
		break;
	case BPF_HELPER_PID_TGID:
		pid_tgid(g);
		break;
	case BPF_HELPER_TIME:
		time_helper(g);
		break;
	case BPF_HELPER_COOKIE:
		g->value[0] = (struct probe_value) { .kind = PROBE_COOKIE };
		break;
	case BPF_HELPER_GOID_OFFSET:
		g->value[0] = (struct probe_value) { .kind = PROBE_CONSTANT, .imm = g->target->goid_offset };
		break;
	case BPF_HELPER_COUNT:
		probe_count(g);
		break;
	case BPF_HELPER_TICKET:
		probe_ticket(g);
		break;
	case BPF_HELPER_VECTOR:
		g->value[0] = (struct probe_value) { .kind = PROBE_VECTOR, .reg = (uint8_t)g->states[g->at].reg[1].value };
		break;
	case BPF_HELPER_LIMIT:
		probe_limit(g);
		break;
	case BPF_HELPER_READ_USER:
		read_user(g);
		break;
	case BPF_HELPER_COMM:
		comm(g);
		break;
	case BPF_HELPER_STACK_WORD:
		stack_word(g);
		break;
	case BPF_HELPER_RING_OUTPUT:
		probe_output(g);
		break;
	case BPF_HELPER_RING_RESERVE:
		probe_reserve(g); /* and everything up to its SUBMIT: the values are those after it */
		return;
	case BPF_HELPER_RING_SUBMIT:
	case BPF_HELPER_RING_DISCARD:
		probe_close(g, insn->imm == BPF_HELPER_RING_SUBMIT);
		break;
	case BPF_HELPER_LONG_RESERVE:
		probe_long_reserve(g);
		break;
	case BPF_HELPER_LONG_STRING:
	case BPF_HELPER_LONG_BYTES:
		probe_long_append(g, insn->imm == BPF_HELPER_LONG_STRING);
		break;
	case BPF_HELPER_LONG_STACK:
		probe_long_stack(g);
		break;
	case BPF_HELPER_LONG_SUBMIT:
		probe_long_submit(g);
		break;
	case BPF_HELPER_LONG_DISCARD:
		probe_long_discard(g);
		break;
	}
	for (unsigned i = 1; i <= 5; i++)
		g->value[i] = (struct probe_value) { .kind = PROBE_NOTHING };
}
