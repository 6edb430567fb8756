/* SPDX-License-Identifier: MIT */
/*
 * Counters of probes: hits, tickets (the number of a hit), and the word that says when a limited probe may record again.
 *
 * A counter is one word a CPU for threads with rseq, incremented by the one store of a section (ring.c says how sections work), and one a
 * CPU for all others, incremented under the bus lock. A ticket is what such a word was before, so it is one of its own CPU and kind.
 *
 * A limit is one word of the whole process: the time from which on the next record is due. A record moves it on by the time that one
 * record takes at the allowed rate, but it never lies further back than a burst takes. So within any time t there are at most
 * t / ticks a record, and a burst.
 */
#include "bpf/x86_64/probe.h"

#define LIMIT_TRIES 4 /* whoever is overtaken so often is held back: others recorded */

/* A counter of this probe in the block that @block points to: rax holds the id, unless it is known. */
static struct x86_mem counter_mem(const struct probe_gen *g, enum x86_reg block, uint64_t at)
{
	if (g->target->id_known)
		return x86_at(block, (int32_t)(at + 8ULL * g->target->id));
	return x86_at_index(block, X86_AX, 3, (int32_t)at);
}

/* rax is kept; flags are the caller's matter. A ticket is left in rdx, plus 1. */
static void count_shared(struct probe_gen *g, bool is_ticket)
{
	size_t none = probe_label(g);

	probe_load_block(g, X86_CX);
	if (is_ticket)
		x86_mov_imm(g->e, X86_DX, 1);
	x86_jump_if_short(g->e, &g->labels, X86_E, none);
	x86_lock(g->e);
	if (is_ticket) {
		x86_xadd(g->e, true, counter_mem(g, X86_CX, g->target->shared_at), X86_DX);
		x86_lea(g->e, X86_DX, x86_at(X86_DX, 1));
	} else {
		x86_inc(g->e, counter_mem(g, X86_CX, g->target->shared_at));
	}
	probe_here(g, none);
}

/* A program that only counts saves no flags: only this way does. */
static void count_shared_keeping_flags(struct probe_gen *g)
{
	x86_push(g->e, X86_AX);
	x86_save_flags(g->e);
	x86_push(g->e, X86_AX);
	if (!g->target->id_known)
		x86_load(g->e, X86_AX, x86_at(X86_SP, 8), 4);
	count_shared(g, false);
	x86_pop(g->e, X86_AX);
	x86_restore_flags(g->e);
	x86_pop(g->e, X86_AX);
}

static void emit_count_slow(struct probe_gen *g, const struct probe_stub *stub)
{
	probe_here(g, stub->label);
	if (g->plan.flags)
		count_shared(g, false);
	else
		count_shared_keeping_flags(g);
	x86_jump(g->e, &g->labels, stub->back);
}

static void emit_ticket_slow(struct probe_gen *g, const struct probe_stub *stub)
{
	probe_here(g, stub->label);
	count_shared(g, true);
	x86_jump(g->e, &g->labels, stub->back);
}

/* One store: mov, lea, mov change no flags. */
static void increment(struct probe_gen *g, bool is_ticket)
{
	struct x86_mem counter = counter_mem(g, X86_CX, g->target->counters_at);

	if (g->plan.flags && !is_ticket) {
		x86_inc(g->e, counter);
		return;
	}
	x86_load(g->e, X86_DX, counter, 8);
	x86_lea(g->e, X86_DX, x86_at(X86_DX, 1));
	x86_store(g->e, counter, X86_DX, 8);
}

static void count_rseq(struct probe_gen *g, bool is_ticket)
{
	size_t retry = probe_label(g), start = probe_label(g), end = probe_label(g);
	size_t abort = probe_label(g), descriptor = probe_label(g);
	struct probe_stub slow = { .emit = is_ticket ? emit_ticket_slow : emit_count_slow, .label = probe_label(g), .back = end };

	probe_here(g, retry);
	probe_arm(g, descriptor, start, X86_CX, X86_DX);
	if (g->plan.flags) {
		x86_test(g->e, true, X86_CX, X86_CX);
		x86_jump_if(g->e, &g->labels, X86_E, slow.label);
	} else {
		x86_jump_if_rcx_zero(g->e, &g->labels, slow.label);
	}
	increment(g, is_ticket);
	probe_here(g, end);
	probe_add_stub(g, slow);
	probe_add_stub(g, (struct probe_stub) { .emit = probe_emit_abort, .label = abort, .back = retry });
	probe_add_descriptor(
	    g, (struct probe_descriptor) { .label = descriptor, .start = start, .end = end, .abort = abort });
}

static void count(struct probe_gen *g, bool is_ticket)
{
	if (!g->id_in_ax && !g->target->id_known)
		probe_use_ax(g);
	probe_use(g, X86_CX);
	probe_use(g, X86_DX);
	if (is_ticket)
		probe_use_flags(g);
	if (!g->target->id_known)
		probe_load_id(g, X86_AX);
	if (g->target->rseq_offset) {
		count_rseq(g, is_ticket);
	} else {
		probe_use_flags(g);
		if (g->plan.flags)
			count_shared(g, is_ticket);
	}
	g->id_in_ax = !g->target->id_known;
}

void probe_count(struct probe_gen *g)
{
	count(g, false);
	g->value[0] = (struct probe_value) { .kind = PROBE_CONSTANT };
}

void probe_ticket(struct probe_gen *g)
{
	enum x86_reg home = probe_home(g, 0);

	count(g, true);
	x86_lea(g->e, home, x86_at(X86_DX, -1));
	probe_set_home(g, 0);
}

/* rcx = where this probe's word is, @now = the time */
static void look_at_limit(struct probe_gen *g, enum x86_reg now)
{
	probe_load_id(g, X86_AX);
	x86_address(g->e, X86_CX, g->target->limits);
	x86_lea(g->e, X86_CX, x86_at_index(X86_CX, X86_AX, 3, 0));
	x86_rdtsc(g->e);
	x86_shift_imm(g->e, X86_SHL, true, X86_DX, 32);
	x86_alu(g->e, X86_OR, true, X86_DX, X86_AX);
	x86_mov(g->e, true, now, X86_DX);
}

/* Times are compared as signed numbers: a burst may reach back to before the clock began. */
static void try_limit(struct probe_gen *g, enum x86_reg now, size_t held, size_t got)
{
	const struct bpf_reg *args = g->states[g->at].reg;

	x86_alu(g->e, X86_CMP, true, X86_AX, now);
	x86_jump_if(g->e, &g->labels, X86_G, held);
	x86_mov_imm(g->e, X86_DX, 0 - (uint64_t)args[2].value);
	x86_alu(g->e, X86_ADD, true, X86_DX, now);
	x86_alu(g->e, X86_CMP, true, X86_DX, X86_AX);
	x86_cmov(g->e, X86_L, true, X86_DX, X86_AX);
	x86_mov_imm(g->e, PROBE_BLOCK, (uint64_t)args[1].value);
	x86_alu(g->e, X86_ADD, true, X86_DX, PROBE_BLOCK);
	x86_lock(g->e);
	x86_cmpxchg(g->e, true, x86_at(X86_CX, 0), X86_DX); /* rax becomes what is there */
	x86_jump_if(g->e, &g->labels, X86_E, got);
}

void probe_limit(struct probe_gen *g)
{
	enum x86_reg home = probe_home(g, 0);
	size_t held = probe_label(g), got = probe_label(g), done = probe_label(g);

	probe_use_ax(g);
	probe_use_flags(g);
	probe_use(g, X86_CX);
	probe_use(g, X86_DX);
	probe_use(g, PROBE_BLOCK);
	look_at_limit(g, home);
	x86_load(g->e, X86_AX, x86_at(X86_CX, 0), 8);
	for (int i = 0; i < LIMIT_TRIES; i++)
		try_limit(g, home, held, got);
	probe_here(g, held);
	x86_mov_imm(g->e, home, 0);
	x86_jump_short(g->e, &g->labels, done);
	probe_here(g, got);
	x86_mov_imm(g->e, home, 1);
	probe_here(g, done);
	probe_set_home(g, 0);
}
