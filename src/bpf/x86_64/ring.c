/* SPDX-License-Identifier: MIT */
/*
 * Records, each in two versions; counters (count.c) are made the same way.
 *
 * rseq: the section is armed by storing its descriptor's address in the thread's struct rseq; the store is the last
 * instruction before start_ip, so that an interruption on either side of it starts again. The one store that publishes
 * is the last instruction before the end. Whatever interrupts in between makes the kernel go to the abort handler,
 * which jumps back to the arming: the interrupted record never existed. Code outside must not lie between start and
 * end, since it would be restarted too.
 *
 * cells (threads without rseq): a cell is reserved with a bounded compare-and-exchange loop, its sequence word is
 * stored last.
 *
 * Where the newest records replace the oldest (bpf_target.overwrite), a record in a ring is followed by a word by
 * which it is found backwards, and a cell is taken before it is written.
 *
 * Source: include/uapi/linux/rseq.h and kernel/rseq.c (the signature, the checks on descriptors).
 */
#include <errno.h>

#include "bpf/x86_64/probe.h"

struct probe_region *probe_region(struct probe_gen *g)
{
	return &g->regions[g->region];
}

/* The signature, as the displacement of an instruction that traps, then the way back. */
void probe_emit_abort(struct probe_gen *g, const struct probe_stub *stub)
{
	isa_emit_bytes(g->e, "\x0f\xb9\x3d", 3);
	isa_emit_u32(g->e, WIRE_RSEQ_SIGNATURE);
	probe_here(g, stub->label);
	x86_jump(g->e, &g->labels, stub->back);
}

void probe_arm(struct probe_gen *g, size_t descriptor, size_t start, enum x86_reg block, enum x86_reg scratch)
{
	g->found.section = true;
	x86_lea_label(g->e, &g->labels, block, descriptor);
	x86_store(g->e, x86_fs(g->target->rseq_offset + PROBE_RSEQ_CS), block, 8);
	probe_here(g, start);
	x86_load_signed(g->e, block, x86_fs(g->target->rseq_offset + PROBE_RSEQ_CPU_ID), 4);
	x86_address(g->e, scratch, g->target->table);
	x86_load(g->e, block, x86_at_index(scratch, block, 3, 0), 8);
}

void probe_load_block(struct probe_gen *g, enum x86_reg dst)
{
	probe_load_cpu(g, dst);
	x86_address(g->e, X86_DX, g->target->table);
	x86_load(g->e, dst, x86_at_index(X86_DX, dst, 3, 0), 8);
	x86_test(g->e, true, dst, dst);
}

void probe_load_saved_id(struct probe_gen *g, enum x86_reg dst)
{
	if (g->target->id_known)
		x86_mov_imm(g->e, dst, g->target->id);
	else
		x86_load(g->e, dst, probe_id_mem(g), 4);
}

/* rax = @arg, rdx = id << 32 | @size, then the runtime; its answer is tested. */
static void ask_for_room(struct probe_gen *g, enum wire_runtime_entry entry, int32_t size)
{
	probe_load_saved_id(g, X86_DX);
	x86_shift_imm(g->e, X86_SHL, true, X86_DX, 32);
	if (size)
		x86_alu_imm(g->e, X86_OR, true, X86_DX, size);
	x86_mov(g->e, true, X86_AX, PROBE_BLOCK);
	probe_runtime(g, entry);
	x86_test(g->e, true, X86_AX, X86_AX);
}

/* What a record takes in the ring: where records replace each other, also the word behind it. */
static int32_t ring_room(const struct probe_gen *g, const struct probe_region *region)
{
	return region->size + (g->target->overwrite ? (int32_t)WIRE_TRAILER_SIZE : 0);
}

static void emit_ring_slow(struct probe_gen *g, const struct probe_stub *stub)
{
	const struct probe_region *region = &g->regions[stub->region];

	probe_here(g, stub->label);
	ask_for_room(g, RT_RING_SLOW, ring_room(g, region));
	x86_jump_if(g->e, &g->labels, X86_NE, region->retry);
	x86_jump(g->e, &g->labels, region->gone);
}

static void emit_cell_slow(struct probe_gen *g, const struct probe_stub *stub)
{
	probe_here(g, stub->label);
	ask_for_room(g, RT_CELL_SLOW, stub->disp);
	x86_jump_if(g->e, &g->labels, X86_NE, stub->back);
	x86_jump(g->e, &g->labels, g->regions[stub->region].gone);
}

void probe_count_lost(struct probe_gen *g)
{
	probe_load_saved_id(g, X86_AX);
	x86_address(g->e, X86_DX, g->target->lost);
	x86_lock(g->e);
	x86_inc(g->e, x86_at_index(X86_DX, X86_AX, 3, 0));
}

/* No cell within the bound, or none that is large enough: counted here. */
static void emit_lost(struct probe_gen *g, const struct probe_stub *stub)
{
	probe_here(g, stub->label);
	probe_count_lost(g);
	x86_jump(g->e, &g->labels, g->regions[stub->region].gone);
}

static bool fits_cell(const struct probe_cells *cells, int32_t size)
{
	return cells->count && sizeof(struct wire_cell) + (uint64_t)size <= cells->size;
}

/*
 * Where cells replace each other the one reserved may still be another thread's: one that sleeps inside it, or died
 * there, or that came a lap later and was quicker. Take it, or give up. The seq of a taken one is above all others.
 */
static void take_cell(struct probe_gen *g, enum x86_reg record, size_t lost)
{
	struct x86_mem seq = x86_at(record, -(int32_t)offsetof(struct wire_cell, record));

	x86_load(g->e, X86_AX, seq, 8);
	x86_alu(g->e, X86_CMP, true, X86_AX, PROBE_BLOCK);
	x86_jump_if(g->e, &g->labels, X86_AE, lost);
	x86_mov(g->e, true, X86_DX, PROBE_BLOCK);
	x86_unary(g->e, X86_NOT, true, X86_DX); /* WIRE_CELL_BUSY */
	x86_lock(g->e);
	x86_cmpxchg(g->e, true, seq, X86_DX);
	x86_jump_if(g->e, &g->labels, X86_NE, lost);
}

void probe_reserve_cell(struct probe_gen *g, const struct probe_cells *cells)
{
	size_t again = probe_label(g), next = probe_label(g), got = probe_label(g);
	struct probe_stub lost = { .emit = emit_lost, .label = probe_label(g), .region = g->region };
	struct probe_stub slow = {
		.emit = emit_cell_slow, .label = probe_label(g), .back = next, .region = g->region, .disp = cells->which
	};

	probe_add_stub(g, lost);
	if (!fits_cell(cells, probe_region(g)->size)) {
		x86_jump(g->e, &g->labels, lost.label);
		return;
	}
	probe_load_block(g, PROBE_BLOCK);
	x86_jump_if(g->e, &g->labels, X86_E, lost.label);
	x86_lea(g->e, PROBE_BLOCK, x86_at(PROBE_BLOCK, (int32_t)cells->at));
	x86_mov_imm(g->e, cells->record, PROBE_CELL_TRIES); /* counts until it is the record */
	probe_here(g, again);
	x86_load(g->e, X86_AX, x86_at(PROBE_BLOCK, offsetof(struct wire_cells, next)), 8);
	x86_alu_load(g->e, X86_CMP, true, X86_AX, x86_at(PROBE_BLOCK, offsetof(struct wire_cells, limit)));
	x86_jump_if(g->e, &g->labels, X86_AE, slow.label);
	x86_lea(g->e, X86_DX, x86_at(X86_AX, 1));
	x86_lock(g->e);
	x86_cmpxchg(g->e, true, x86_at(PROBE_BLOCK, offsetof(struct wire_cells, next)), X86_DX);
	x86_jump_if_short(g->e, &g->labels, X86_E, got);
	probe_here(g, next);
	x86_alu_imm(g->e, X86_SUB, false, cells->record, 1);
	x86_jump_if_short(g->e, &g->labels, X86_NE, again);
	x86_jump(g->e, &g->labels, lost.label);
	probe_here(g, got);
	x86_alu_imm(g->e, X86_AND, false, X86_AX, (int32_t)(cells->count - 1));
	x86_shift_imm(g->e, X86_SHL, true, X86_AX, (unsigned)__builtin_ctzll(cells->size));
	x86_lea(g->e, cells->record,
		x86_at_index(PROBE_BLOCK, X86_AX, 0, WIRE_PAGE + (int32_t)offsetof(struct wire_cell, record)));
	x86_mov(g->e, true, PROBE_BLOCK, X86_DX);
	if (g->target->overwrite)
		take_cell(g, cells->record, lost.label);
	probe_add_stub(g, slow);
}

/* A cell for the record of the open region. */
static void reserve_cell(struct probe_gen *g)
{
	const struct bpf_target *t = g->target;

	probe_reserve_cell(g, &(struct probe_cells) {
				  .at = t->cells_at, .count = t->cells, .size = t->cell_size, .record = PROBE_RECORD });
}

static void publish_cell(struct probe_gen *g)
{
	x86_store(g->e, x86_at(PROBE_RECORD, -(int32_t)offsetof(struct wire_cell, record)), PROBE_BLOCK, 8);
}

void probe_add_section(struct probe_gen *g)
{
	const struct probe_region *region = probe_region(g);

	probe_add_stub(g, (struct probe_stub) { .emit = probe_emit_abort, .label = region->abort, .back = region->retry });
	probe_add_descriptor(
	    g, (struct probe_descriptor) {
		   .label = region->descriptor, .start = region->start, .end = region->end, .abort = region->abort });
}

/* Arm, find the room, leave for the slow ways when there is none. */
static void reserve_ring(struct probe_gen *g)
{
	struct probe_region *region = probe_region(g);
	struct probe_stub slow = { .emit = emit_ring_slow, .label = probe_label(g), .region = g->region };

	probe_here(g, region->retry);
	probe_arm(g, region->descriptor, region->start, PROBE_BLOCK, X86_DX);
	x86_test(g->e, true, PROBE_BLOCK, PROBE_BLOCK);
	x86_jump_if(g->e, &g->labels, X86_E, region->cell);
	x86_load(g->e, X86_AX, x86_at(PROBE_BLOCK, offsetof(struct wire_ring, head)), 8);
	x86_lea(g->e, X86_DX, x86_at(X86_AX, ring_room(g, region)));
	x86_alu_load(g->e, X86_CMP, true, X86_DX, x86_at(PROBE_BLOCK, offsetof(struct wire_ring, limit)));
	x86_jump_if(g->e, &g->labels, X86_A, slow.label);
	x86_alu_imm(g->e, X86_AND, false, X86_AX, (int32_t)(g->target->ring_size - 1));
	x86_lea(g->e, PROBE_RECORD, x86_at_index(PROBE_BLOCK, X86_AX, 0, WIRE_PAGE));
	probe_add_section(g);
	probe_add_stub(g, slow);
}

static void publish_ring(struct probe_gen *g)
{
	const struct probe_region *region = probe_region(g);

	if (g->target->overwrite)
		x86_store_imm(g->e, x86_at(PROBE_RECORD, region->size), (int32_t)WIRE_TRAILER(region->size), 8);
	x86_alu_store_imm(g->e, X86_ADD, true, x86_at(PROBE_BLOCK, offsetof(struct wire_ring, head)),
			  ring_room(g, region));
}

static bool region_uses_pid(const struct probe_gen *g, size_t at)
{
	for (size_t i = at + 1; i < g->count; i++)
		if (g->states[i].reached && g->states[i].reserve == (int32_t)at && bpf_is_call(&g->program[i]) &&
		    g->program[i].imm == BPF_HELPER_PID_TGID)
			return true;
	return false;
}

static size_t region_last(const struct probe_gen *g, size_t at)
{
	size_t last = at;

	for (size_t i = at + 1; i < g->count; i++)
		if (g->states[i].reached && g->states[i].reserve == (int32_t)at)
			last = i;
	return last;
}

bool probe_open_region(struct probe_gen *g, int32_t size)
{
	probe_use_ax(g);
	probe_use_flags(g);
	probe_use(g, PROBE_RECORD);
	probe_use(g, PROBE_BLOCK);
	probe_use(g, X86_DX);
	if (!g->target->id_known)
		probe_id_mem(g);
	if (!g->error)
		g->error = base_grow(&g->regions, &g->regions_cap, g->regions_used + 1, sizeof(*g->regions));
	if (g->error)
		return false;
	g->region = g->regions_used++;
	*probe_region(g) = (struct probe_region) {
		.at = g->at,
		.last = region_last(g, g->at),
		.size = size,
		.uses_pid = region_uses_pid(g, g->at),
		.retry = probe_label(g),
		.start = probe_label(g),
		.end = probe_label(g),
		.abort = probe_label(g),
		.descriptor = probe_label(g),
		.cell = probe_label(g),
		.gone = probe_label(g),
		.done = probe_label(g),
	};
	if (probe_region(g)->uses_pid) {
		probe_know_pid(g);
		x86_store(g->e, probe_pid_mem(g), X86_AX, 4);
	}
	if (probe_region(g)->uses_pid && !g->target->tid_offset) {
		probe_runtime(g, RT_TID);
		x86_store(g->e, probe_tid_mem(g), X86_AX, 4);
	}
	return true;
}

static void enter(struct probe_gen *g, size_t region, enum probe_mode mode)
{
	g->region = region;
	g->mode = mode;
	g->at = g->regions[region].at;
	g->falls_to = SIZE_MAX;
	g->id_in_ax = false;
	for (unsigned i = 0; i < BPF_REGS; i++)
		g->value[i] = g->regions[region].value[i];
}

static void emit_cell_version(struct probe_gen *g, const struct probe_stub *stub)
{
	enter(g, stub->region, PROBE_CELL);
	probe_here(g, stub->label);
	reserve_cell(g);
	g->falls_to = g->at + 1;
	probe_emit_region(g);
	probe_finish_way(g);
	g->mode = PROBE_OUTSIDE;
}

static void emit_gone(struct probe_gen *g, const struct probe_stub *stub)
{
	enter(g, stub->region, PROBE_OUTSIDE);
	probe_here(g, stub->label);
	g->value[0] = (struct probe_value) { .kind = PROBE_CONSTANT };
	probe_emit_gone(g);
}

void probe_reserve(struct probe_gen *g)
{
	if (!probe_open_region(g, (int32_t)g->states[g->at].reg[2].value))
		return;

	size_t index = g->region;
	struct probe_region *region = probe_region(g);

	g->value[0] = (struct probe_value) { .kind = PROBE_RESERVED };
	for (unsigned i = 1; i <= 5; i++)
		g->value[i] = (struct probe_value) { .kind = PROBE_NOTHING };
	for (unsigned i = 0; i < BPF_REGS; i++)
		region->value[i] = g->value[i];
	probe_add_stub(g, (struct probe_stub) { .emit = emit_gone, .label = region->gone, .region = index });
	if (!g->target->rseq_offset) {
		g->mode = PROBE_CELL;
		reserve_cell(g);
	} else {
		probe_add_stub(
		    g, (struct probe_stub) { .emit = emit_cell_version, .label = region->cell, .region = index });
		g->mode = PROBE_RSEQ;
		reserve_ring(g);
	}
	g->falls_to = g->at + 1;
	probe_emit_region(g);
	if (g->mode == PROBE_RSEQ)
		probe_here(g, g->regions[index].end);
	g->mode = PROBE_OUTSIDE;
}

/*
 * Not the last instruction of the region: the store that publishes must still be the last of a section. Hand over to a
 * second section that consists of that store alone; on either side of the hand-over an interruption aborts.
 */
static void publish_early(struct probe_gen *g)
{
	size_t descriptor = probe_label(g), start = probe_label(g), end = probe_label(g);

	probe_use_ax(g);
	x86_lea_label(g->e, &g->labels, X86_AX, descriptor);
	x86_store(g->e, x86_fs(g->target->rseq_offset + PROBE_RSEQ_CS), X86_AX, 8);
	probe_here(g, start);
	publish_ring(g);
	probe_here(g, end);
	probe_add_descriptor(g, (struct probe_descriptor) {
				    .label = descriptor, .start = start, .end = end, .abort = probe_region(g)->abort });
}

void probe_close(struct probe_gen *g, bool submit)
{
	g->value[0] = (struct probe_value) { .kind = PROBE_NOTHING };
	probe_settle(g, g->at + 1);
	if (g->mode == PROBE_CELL) {
		if (!submit)
			x86_store_imm(g->e, x86_at(PROBE_RECORD, 0), 0, 8); /* size 0: the reader skips it */
		publish_cell(g);
	} else if (submit && g->at == probe_region(g)->last) {
		publish_ring(g);
	} else if (submit) {
		publish_early(g);
	}
}

static void copy_output(struct probe_gen *g, size_t at)
{
	const struct bpf_reg *args = g->states[at].reg;

	for (int64_t i = 0; i < args[3].value; i += 8) {
		x86_load(g->e, X86_AX, probe_frame_mem(g, args[2].value + i), 8);
		x86_store(g->e, x86_at(PROBE_RECORD, (int32_t)i), X86_AX, 8);
	}
	x86_mov_imm(g->e, probe_home(g, 0), 0);
}

static void emit_output_cell(struct probe_gen *g, const struct probe_stub *stub)
{
	probe_here(g, stub->label);
	g->region = stub->region;
	reserve_cell(g);
	copy_output(g, g->regions[stub->region].at);
	publish_cell(g);
	x86_jump(g->e, &g->labels, g->regions[stub->region].done);
}

static void emit_output_gone(struct probe_gen *g, const struct probe_stub *stub)
{
	probe_here(g, stub->label);
	x86_mov_imm(g->e, probe_home(g, 0), (uint64_t)-ENOSPC);
	x86_jump(g->e, &g->labels, g->regions[stub->region].done);
}

void probe_output(struct probe_gen *g)
{
	if (!probe_open_region(g, (int32_t)g->states[g->at].reg[3].value))
		return;

	const struct probe_region *region = probe_region(g);

	probe_add_stub(g, (struct probe_stub) { .emit = emit_output_gone, .label = region->gone, .region = g->region });
	if (g->target->rseq_offset) {
		probe_add_stub(
		    g, (struct probe_stub) { .emit = emit_output_cell, .label = region->cell, .region = g->region });
		reserve_ring(g);
		copy_output(g, g->at);
		publish_ring(g);
		probe_here(g, region->end);
	} else {
		reserve_cell(g);
		copy_output(g, g->at);
		publish_cell(g);
	}
	probe_here(g, region->done);
	probe_set_home(g, 0);
}
