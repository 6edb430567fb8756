/* SPDX-License-Identifier: MIT */
/*
 * LONG records. They grow in a slot of scratch memory, outside of any section, with the runtime's help; only SUBMIT commits: it copies
 * the whole record into the ring inside an rseq section, or into a long cell, and takes the time there, so that a ring stays ordered by time.
 *
 * PROBE_RECORD is the slot's record from RESERVE to SUBMIT. Whether the slot is still ours is looked at inside the section: a signal
 * handler may have forked, and the child, where all slots are free, must not copy what is no record any more.
 *
 * While it copies, rsi, rdi and the direction flag are on the stack: they may be homes, or be read by the program later.
 */
#include "bpf/x86_64/probe.h"

#define LOOP_WORDS 32 /* up to here a loop is quicker than rep movsq */
#define LONG_PUSHED 24
#define LONG_SIZE ((int32_t)offsetof(struct wire_long, bytes)) /* after LONG_SEAL */

static void call_long(struct probe_gen *g, enum wire_runtime_entry entry)
{
	x86_lea(g->e, X86_AX, probe_long_mem(g, 0));
	probe_runtime(g, entry);
}

void probe_long_reserve(struct probe_gen *g)
{
	const struct bpf_reg *args = g->states[g->at].reg;
	int32_t what = (int32_t)offsetof(struct wire_long, what);

	probe_use_ax(g);
	probe_use_flags(g);
	probe_use(g, PROBE_RECORD);
	probe_use(g, X86_DX);
	if (!g->target->id_known)
		probe_id_mem(g);
	probe_load_saved_id(g, X86_AX);
	x86_store(g->e, probe_long_mem(g, what + 4), X86_AX, 4);
	x86_store_imm(g->e, probe_long_mem(g, what), (int32_t)args[2].value, 4);
	x86_mov_imm(g->e, X86_DX, (uint64_t)args[3].value);
	call_long(g, RT_LONG_RESERVE);
	x86_mov(g->e, true, PROBE_RECORD, X86_AX);
	g->value[0] = (struct probe_value) { .kind = PROBE_RESERVED };
}

void probe_long_append(struct probe_gen *g, bool is_string)
{
	probe_use_ax(g);
	probe_use_flags(g);
	probe_store(g, probe_long_mem(g, (int32_t)offsetof(struct wire_long, bytes)), 2, 8);
	probe_store(g, probe_long_mem(g, (int32_t)offsetof(struct wire_long, from)), 3, 8);
	call_long(g, is_string ? RT_LONG_STRING : RT_LONG_BYTES);
	x86_mov(g->e, true, probe_home(g, 0), X86_AX);
	probe_set_home(g, 0);
}

void probe_long_stack(struct probe_gen *g)
{
	probe_use_ax(g);
	probe_use_flags(g);
	probe_use(g, X86_DX);
	probe_store(g, probe_long_mem(g, (int32_t)offsetof(struct wire_long, bytes)), 2, 8);
	probe_store(g, probe_long_mem(g, (int32_t)offsetof(struct wire_long, from)), 4, 8);
	x86_mov(g->e, true, X86_DX, probe_read(g, 3));
	call_long(g, RT_LONG_STACK);
	x86_mov(g->e, true, probe_home(g, 0), X86_AX);
	probe_set_home(g, 0);
}

void probe_long_discard(struct probe_gen *g)
{
	probe_use_ax(g);
	probe_use_flags(g);
	call_long(g, RT_LONG_FREE);
	g->value[0] = (struct probe_value) { .kind = PROBE_CONSTANT };
}

/* In a child that was forked meanwhile the slot is not ours any more. */
static void check_owner(struct probe_gen *g, size_t lost)
{
	x86_lea(g->e, X86_AX, probe_long_mem(g, 0));
	x86_alu_load(g->e, X86_CMP, true, X86_AX,
		     x86_at(PROBE_RECORD, (int32_t)offsetof(struct wire_slot, owner) - (int32_t)sizeof(struct wire_slot)));
	x86_jump_if(g->e, &g->labels, X86_NE, lost);
}

/* The sealed record to where rdi points, but for its time; rdi stays. Scratches rax, rcx, rsi. */
static void copy_record(struct probe_gen *g)
{
	size_t large = probe_label(g), again = probe_label(g), done = probe_label(g);

	x86_load(g->e, X86_CX, probe_long_mem(g, LONG_SIZE), 4);
	x86_shift_imm(g->e, X86_SHR, false, X86_CX, 3);
	x86_mov(g->e, true, X86_SI, PROBE_RECORD);
	x86_alu_imm(g->e, X86_CMP, false, X86_CX, LOOP_WORDS);
	x86_jump_if_short(g->e, &g->labels, X86_A, large);
	probe_here(g, again);
	x86_load(g->e, X86_AX, x86_at_index(X86_SI, X86_CX, 3, -8), 8);
	x86_store(g->e, x86_at_index(X86_DI, X86_CX, 3, -8), X86_AX, 8);
	x86_alu_imm(g->e, X86_SUB, false, X86_CX, 1);
	x86_jump_if_short(g->e, &g->labels, X86_NE, again);
	x86_jump_short(g->e, &g->labels, done);
	probe_here(g, large);
	x86_mov(g->e, true, X86_AX, X86_DI);
	x86_copy_words(g->e);
	x86_mov(g->e, true, X86_DI, X86_AX);
	probe_here(g, done);
}

/* Last, so that what comes later in the ring is younger by no more than a store takes. */
static void stamp_time(struct probe_gen *g)
{
	x86_rdtsc(g->e);
	x86_store(g->e, x86_at(X86_DI, offsetof(struct wire_record, time)), X86_AX, 4);
	x86_store(g->e, x86_at(X86_DI, offsetof(struct wire_record, time) + 4), X86_DX, 4);
}

static void emit_long_slow(struct probe_gen *g, const struct probe_stub *stub)
{
	const struct probe_region *region = &g->regions[stub->region];

	probe_here(g, stub->label);
	probe_load_saved_id(g, X86_DX);
	x86_shift_imm(g->e, X86_SHL, true, X86_DX, 32);
	x86_alu_load(g->e, X86_OR, true, X86_DX, probe_long_mem(g, LONG_SIZE));
	if (g->target->overwrite)
		x86_alu_imm(g->e, X86_ADD, true, X86_DX, (int32_t)WIRE_TRAILER_SIZE);
	x86_mov(g->e, true, X86_AX, PROBE_BLOCK);
	probe_runtime(g, RT_RING_SLOW);
	x86_test(g->e, true, X86_AX, X86_AX);
	x86_jump_if(g->e, &g->labels, X86_NE, region->retry);
	x86_jump(g->e, &g->labels, region->gone);
}

/* The slot went: the record is lost, and there is nothing to free. */
static void emit_long_lost(struct probe_gen *g, const struct probe_stub *stub)
{
	probe_here(g, stub->label);
	probe_count_lost(g);
	x86_jump(g->e, &g->labels, stub->back);
}

/* The section, up to the store that publishes. */
static void submit_ring(struct probe_gen *g, size_t lost)
{
	const struct probe_region *region = probe_region(g);
	int32_t trailer = g->target->overwrite ? (int32_t)WIRE_TRAILER_SIZE : 0;
	struct probe_stub slow = { .emit = emit_long_slow, .label = probe_label(g), .region = g->region };

	probe_add_stub(g, slow);
	probe_here(g, region->retry);
	probe_arm(g, region->descriptor, region->start, PROBE_BLOCK, X86_DX);
	x86_test(g->e, true, PROBE_BLOCK, PROBE_BLOCK);
	x86_jump_if(g->e, &g->labels, X86_E, region->cell);
	check_owner(g, lost);
	x86_load(g->e, X86_AX, x86_at(PROBE_BLOCK, offsetof(struct wire_ring, head)), 8);
	x86_load(g->e, X86_DX, probe_long_mem(g, LONG_SIZE), 4);
	x86_lea(g->e, X86_DX, x86_at_index(X86_AX, X86_DX, 0, trailer));
	x86_alu_load(g->e, X86_CMP, true, X86_DX, x86_at(PROBE_BLOCK, offsetof(struct wire_ring, limit)));
	x86_jump_if(g->e, &g->labels, X86_A, slow.label);
	x86_alu_imm(g->e, X86_AND, false, X86_AX, (int32_t)(g->target->ring_size - 1));
	x86_lea(g->e, X86_DI, x86_at_index(PROBE_BLOCK, X86_AX, 0, WIRE_PAGE));
	copy_record(g);
	stamp_time(g);
	x86_load(g->e, X86_CX, probe_long_mem(g, LONG_SIZE), 4);
	if (trailer) {
		x86_mov(g->e, false, X86_AX, X86_CX);
		x86_alu_imm(g->e, X86_OR, true, X86_AX, (int32_t)WIRE_TRAILER(0));
		x86_store(g->e, x86_at_index(X86_DI, X86_CX, 0, 0), X86_AX, 8);
		x86_alu_imm(g->e, X86_ADD, false, X86_CX, trailer);
	}
	x86_alu_store(g->e, X86_ADD, true, x86_at(PROBE_BLOCK, offsetof(struct wire_ring, head)), X86_CX);
	probe_here(g, region->end);
	probe_add_section(g);
}

static void submit_cell(struct probe_gen *g, size_t lost)
{
	const struct bpf_target *t = g->target;
	const struct probe_cells cells = {
		.at = t->long_cells_at, .count = t->long_cells, .size = t->long_cell_size, .record = X86_DI, .which = 1
	};

	check_owner(g, lost);
	probe_reserve_cell(g, &cells);
	copy_record(g);
	stamp_time(g);
	x86_store(g->e, x86_at(X86_DI, -(int32_t)offsetof(struct wire_cell, record)), PROBE_BLOCK, 8);
}

static void emit_submit_cell(struct probe_gen *g, const struct probe_stub *stub)
{
	g->region = stub->region;
	probe_here(g, stub->label);
	submit_cell(g, stub->back);
	x86_jump(g->e, &g->labels, g->regions[stub->region].gone);
}

/* The copy, with what it scratches put away; then the slot is free again. */
static void submit(struct probe_gen *g)
{
	size_t away = probe_label(g);
	struct probe_stub lost = { .emit = emit_long_lost, .label = probe_label(g), .back = away };

	x86_push(g->e, X86_SI);
	x86_push(g->e, X86_DI);
	x86_pushf(g->e);
	x86_cld(g->e);
	g->pushed = LONG_PUSHED;
	probe_add_stub(g, lost);
	if (g->target->rseq_offset) {
		probe_add_stub(g, (struct probe_stub) { .emit = emit_submit_cell,
							.label = probe_region(g)->cell,
							.back = lost.label,
							.region = g->region });
		submit_ring(g, lost.label);
	} else {
		submit_cell(g, lost.label);
	}
	probe_here(g, probe_region(g)->gone);
	x86_store_imm(g->e,
		      x86_at(PROBE_RECORD, (int32_t)offsetof(struct wire_slot, owner) - (int32_t)sizeof(struct wire_slot)), 0, 8);
	probe_here(g, away);
	x86_popf(g->e);
	x86_pop(g->e, X86_DI);
	x86_pop(g->e, X86_SI);
	g->pushed = 0;
}

void probe_long_submit(struct probe_gen *g)
{
	size_t over = probe_label(g);
	/* The scratch is the r1 of this call; what it was reserved with is with the call that took it. */
	int32_t most = (int32_t)g->states[g->states[g->at].scratch].reg[3].value;

	if (!probe_open_region(g, most))
		return;
	probe_use(g, X86_CX);
	call_long(g, RT_LONG_SEAL);
	x86_test(g->e, true, X86_AX, X86_AX);
	x86_jump_if(g->e, &g->labels, X86_E, over);
	submit(g);
	probe_here(g, over);
	g->value[0] = (struct probe_value) { .kind = PROBE_CONSTANT };
}
