/* SPDX-License-Identifier: MIT */
/* The stack frame of a probe's body (layout: probe.h), calls of the runtime, and the tables behind the code. */
#include <errno.h>

#include "bpf/x86_64/probe.h"

#define CALL_BYTES 16 /* of a call of the runtime: flags, return address */
#define COPY_BYTES 24 /* while a LONG record is copied */
#define READ_BYTES 32 /* struct wire_read and 8 bytes for a word */
static_assert(sizeof(struct wire_read) + 8 == READ_BYTES, "wire_read");

static int32_t read_bytes(const struct probe_gen *g)
{
	return g->plan.read ? READ_BYTES : 0;
}
static int32_t tid_bytes(const struct probe_gen *g)
{
	return g->plan.tid ? 8 : 0;
}

static int32_t long_bytes(const struct probe_gen *g)
{
	return g->plan.has_long ? (int32_t)sizeof(struct wire_long) : 0;
}

static int32_t frame_bytes(const struct probe_gen *g)
{
	return read_bytes(g) + tid_bytes(g) + long_bytes(g) + g->plan.stack;
}

/* From the frame's low end to the place above the saved registers. */
static int32_t saved_end(const struct probe_gen *g)
{
	return frame_bytes(g) + (g->plan.flags ? 8 : 0) + 8 * __builtin_popcount(g->plan.saved);
}

void probe_prologue(struct probe_gen *g)
{
	if (g->plan.id)
		x86_push(g->e, X86_AX);
	for (unsigned reg = 0; reg < X86_REGS; reg++)
		if (g->plan.saved >> reg & 1)
			x86_push(g->e, reg);
	g->id_in_ax = !g->plan.flags && !g->target->id_known;
	if (g->plan.flags) {
		x86_save_flags(g->e);
		x86_push(g->e, X86_AX);
	}
	if (frame_bytes(g))
		x86_lea(g->e, X86_SP, x86_at(X86_SP, -frame_bytes(g)));
}

/*
 * The kernel reads the descriptor that a thread's rseq_cs names whenever it interrupts the thread, also long after the
 * section (a thread that sleeps in a system call keeps it), and kills the process when it finds none there. So the
 * pointer is taken back: it is set only while the thread's ip or a return address is in the body, and code that no
 * thread is in can go.
 */
void probe_epilogue(struct probe_gen *g)
{
	if (g->plan.section)
		x86_store_imm(g->e, x86_fs(g->target->rseq_offset + PROBE_RSEQ_CS), 0, 8);
	if (frame_bytes(g))
		x86_lea(g->e, X86_SP, x86_at(X86_SP, frame_bytes(g)));
	if (g->plan.flags) {
		x86_pop(g->e, X86_AX);
		x86_restore_flags(g->e);
	}
	for (unsigned reg = X86_REGS; reg-- > 0;)
		if (g->plan.saved >> reg & 1)
			x86_pop(g->e, reg);
	if (g->plan.id)
		x86_pop(g->e, X86_AX);
	if (g->target->finish)
		g->target->finish(g->target->finish_arg, g->e);
	else
		x86_ret(g->e);
}

/* What lies @offset above the frame's low end. */
static struct x86_mem in_frame(const struct probe_gen *g, int32_t offset)
{
	return x86_at(X86_SP, g->pushed + offset);
}

struct x86_mem probe_frame_mem(struct probe_gen *g, int64_t offset)
{
	int32_t depth = (int32_t)base_align_up((uint64_t)-offset, 8);

	if (depth > g->found.stack)
		g->found.stack = depth;
	return in_frame(g, (int32_t)(frame_bytes(g) + offset));
}

struct x86_mem probe_read_mem(struct probe_gen *g, int32_t offset)
{
	g->found.read = true;
	return in_frame(g, offset);
}

struct x86_mem probe_tid_mem(struct probe_gen *g)
{
	g->found.tid = true;
	return in_frame(g, read_bytes(g));
}

/* Behind the tid, in the same word. */
struct x86_mem probe_pid_mem(struct probe_gen *g)
{
	g->found.tid = true;
	return in_frame(g, read_bytes(g) + 4);
}

struct x86_mem probe_long_mem(struct probe_gen *g, int32_t offset)
{
	g->found.has_long = true;
	return in_frame(g, read_bytes(g) + tid_bytes(g) + offset);
}

struct x86_mem probe_id_mem(struct probe_gen *g)
{
	g->found.id = true;
	return in_frame(g, saved_end(g));
}

struct x86_mem probe_flags_mem(struct probe_gen *g)
{
	g->found.flags = true;
	return in_frame(g, frame_bytes(g));
}

struct x86_mem probe_rsp_mem(struct probe_gen *g, int32_t offset)
{
	int32_t entry = g->target->id_known ? PROBE_INLINE_TO_RSP : PROBE_ENTRY_TO_RSP;

	return in_frame(g, saved_end(g) + (g->plan.id ? 8 : 0) + entry + offset);
}

/* Registers are pushed in ascending order. rax stands where the trampoline put it, if it did. */
struct x86_mem probe_saved_mem(struct probe_gen *g, enum x86_reg reg)
{
	if (reg == X86_AX && !g->target->id_known)
		return probe_rsp_mem(g, 8 - PROBE_ENTRY_TO_RSP);

	uint32_t upto = g->plan.saved & ((2U << reg) - 1);

	return in_frame(g, saved_end(g) - 8 * __builtin_popcount(upto));
}

/* Direct where it reaches; else through a word behind the code, so that no register is needed. */
static void call_runtime(struct probe_gen *g, enum wire_runtime_entry entry)
{
	utap_addr to = g->target->runtime[entry];
	int64_t distance = (int64_t)(to - (isa_emit_here(g->e) + 5));

	g->called |= 1U << entry;
	if (distance == (int32_t)distance) {
		isa_emit_call(g->e, to);
		return;
	}
	if (g->literal[entry] == SIZE_MAX)
		g->literal[entry] = probe_label(g);
	x86_call_through(g->e, &g->labels, g->literal[entry]);
}

/* The direction flag may be set at the probed place: C code must not see it, and it must be set again afterwards. */
void probe_runtime(struct probe_gen *g, enum wire_runtime_entry entry)
{
	x86_pushf(g->e);
	x86_cld(g->e);
	call_runtime(g, entry);
	x86_popf(g->e);
}

uint32_t probe_stack_most(const struct probe_gen *g)
{
	const uint32_t deep = 1U << RT_LONG_RESERVE | 1U << RT_LONG_STRING | 1U << RT_LONG_BYTES | 1U << RT_LONG_SEAL | 1U << RT_LONG_FREE;
	uint32_t own = PROBE_ENTRY_TO_RSP + (g->plan.id ? 8 : 0) + (uint32_t)saved_end(g);
	uint32_t below = g->plan.has_long ? COPY_BYTES : 0;

	if (g->called & 1U << RT_LONG_STACK)
		below = CALL_BYTES + WIRE_RUNTIME_WALK_STACK;
	else if (g->called & deep)
		below = CALL_BYTES + WIRE_RUNTIME_LONG_STACK;
	else if (g->called)
		below = CALL_BYTES + WIRE_RUNTIME_STACK;
	return own + below;
}

size_t probe_label(struct probe_gen *g)
{
	return x86_label(&g->labels);
}
void probe_here(struct probe_gen *g, size_t label)
{
	x86_label_here(&g->labels, g->e, label);
}

void probe_add_stub(struct probe_gen *g, struct probe_stub stub)
{
	if (!g->error)
		g->error = base_grow(&g->stubs, &g->stubs_cap, g->stubs_used + 1, sizeof(*g->stubs));
	stub.pushed = g->pushed;
	if (!g->error)
		g->stubs[g->stubs_used++] = stub;
}

void probe_add_descriptor(struct probe_gen *g, struct probe_descriptor descriptor)
{
	if (!g->error)
		g->error =
		    base_grow(&g->descriptors, &g->descriptors_cap, g->descriptors_used + 1, sizeof(*g->descriptors));
	if (!g->error)
		g->descriptors[g->descriptors_used++] = descriptor;
}

static utap_addr address_of(const struct probe_gen *g, size_t label)
{
	return g->e->addr + x86_label_place(&g->labels, label);
}

/* struct rseq_cs: version, flags, start_ip, post_commit_offset, abort_ip */
static void emit_descriptor(struct probe_gen *g, const struct probe_descriptor *d)
{
	utap_addr start = address_of(g, d->start), end = address_of(g, d->end);

	probe_here(g, d->label);
	isa_emit_u32(g->e, 0);
	isa_emit_u32(g->e, 0);
	isa_emit_u64(g->e, start);
	isa_emit_u64(g->e, end - start);
	isa_emit_u64(g->e, address_of(g, d->abort));
}

void probe_emit_tables(struct probe_gen *g)
{
	while (g->descriptors_used && isa_emit_here(g->e) % 32 && !g->e->error)
		isa_emit_u8(g->e, 0xcc);
	for (size_t i = 0; i < g->descriptors_used; i++)
		emit_descriptor(g, &g->descriptors[i]);
	for (size_t i = 0; i < RT_ENTRIES; i++) {
		if (g->literal[i] == SIZE_MAX)
			continue;
		probe_here(g, g->literal[i]);
		isa_emit_u64(g->e, g->target->runtime[i]);
	}
}
