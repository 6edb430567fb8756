/* SPDX-License-Identifier: MIT */
/*
 * Reading one CPU's cells, which threads without an rseq area write. Owns their private copies (the mirror) and decides
 * when an unfinished cell is given up.
 *
 * A cell goes: reserved (next is above it), complete (seq == position + 1), taken (copied, or damaged, or given up).
 * The tail moves over taken cells only; complete cells behind an unfinished one are copied all the same. An unfinished
 * cell whose thread died looks like one whose thread is slow. It is given up when it is a second old and the ring
 * clearly goes on without it: a later cell is complete, or there is no room for one. Should the thread come back
 * after that, it can damage one later record of the same slot: the price for not being blocked for ever.
 */
#include "trace/lane.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CELLS_PATIENCE_NS 1000000000ULL

enum cell_state { CELL_UNFINISHED, CELL_COMPLETE, CELL_DAMAGED };

void lane_cells_init(struct lane_cells *cells, void *block, const struct wire_control *geometry, enum lane_which which)
{
	bool is_long = which == LANE_LONG_CELLS;
	uint8_t *page = (uint8_t *)block + (is_long ? geometry->long_cells_at : geometry->cells_at);

	*cells = (struct lane_cells) {
		.shared = (struct wire_cells *)page,
		.bytes = page + WIRE_PAGE,
		.count = is_long ? geometry->long_cells : geometry->cells,
		.cell_size = is_long ? geometry->long_cell_size : geometry->cell_size,
	};
	cells->at = __atomic_load_n(&cells->shared->tail, __ATOMIC_RELAXED);
	lane_cells_limit(cells, cells->count);
}

void lane_cells_deinit(struct lane_cells *cells)
{
	free(cells->mirror);
	free(cells->taken);
	free(cells->held);
	free(cells->order);
	*cells = (struct lane_cells) { 0 };
}

void lane_cells_limit(struct lane_cells *cells, uint64_t room)
{
	__atomic_store_n(&cells->shared->tail, cells->at, __ATOMIC_RELEASE);
	__atomic_store_n(&cells->shared->limit, cells->at + room, __ATOMIC_RELEASE);
}

/* As in a ring: scribbled words must not stop it for good. */
static void cells_restore(struct lane_cells *cells)
{
	if (__atomic_load_n(&cells->shared->tail, __ATOMIC_RELAXED) != cells->at ||
	    __atomic_load_n(&cells->shared->limit, __ATOMIC_RELAXED) != cells->at + cells->count)
		lane_cells_limit(cells, cells->count);
}

bool lane_cells_is_beyond(const struct lane_cells *cells, uint64_t room)
{
	return __atomic_load_n(&cells->shared->next, __ATOMIC_ACQUIRE) - cells->at > room;
}

static uint64_t cells_slot(const struct lane_cells *cells, uint64_t position)
{
	return position & (cells->count - 1);
}

static const struct wire_cell *cells_shared(const struct lane_cells *cells, uint64_t position)
{
	return (const struct wire_cell *)(cells->bytes + cells_slot(cells, position) * cells->cell_size);
}

/*
 * The mirror has two laps: at any drain there can be copies of the last lap that were too young to be delivered then,
 * and the cells of the next.
 */
static uint64_t mirror_slot(const struct lane_cells *cells, uint64_t position)
{
	return position & (2 * cells->count - 1);
}

static struct wire_record *cells_copy(const struct lane_cells *cells, uint64_t position)
{
	return (struct wire_record *)(cells->mirror + mirror_slot(cells, position) * cells->cell_size);
}

static enum cell_state cells_state(const struct lane_cells *cells, uint64_t position)
{
	uint64_t seq =
	    __atomic_load_n(&cells_shared(cells, position)->seq, __ATOMIC_ACQUIRE); /* pairs with its store */

	if (seq == position + 1)
		return CELL_COMPLETE;
	/* Left over from an earlier lap, or a number that no writer can have stored before this cell was free again? */
	return seq <= position ? CELL_UNFINISHED : CELL_DAMAGED;
}

static int cells_allocate(struct lane_cells *cells)
{
	if (!cells->mirror)
		cells->mirror = malloc(2 * cells->count * cells->cell_size);
	if (!cells->taken)
		cells->taken = calloc(cells->count, 1);
	if (!cells->held)
		cells->held = calloc(2 * cells->count, 1);
	if (!cells->order)
		cells->order = calloc(2 * cells->count, sizeof(*cells->order));
	return cells->mirror && cells->taken && cells->held && cells->order ? 0 : -ENOMEM;
}

/* next went where no writer can have brought it: go on from there. */
static void cells_jump(struct lane_cells *cells, uint64_t next, struct trace_stats *stats)
{
	stats->overrun += lane_gap(cells->at, next, cells->count) * cells->cell_size;
	cells->at = next;
	cells->stuck_since = 0;
	if (cells->taken)
		memset(cells->taken, 0, cells->count);
	lane_cells_limit(cells, cells->count);
}

static bool cells_copy_is_good(const struct lane_cells *cells, uint64_t position, const struct lane_rules *rules)
{
	const struct wire_record *record = cells_copy(cells, position);
	struct lane_shape shape = lane_shape(rules, record->id);

	return lane_size_fits(shape, record->size, record->flags) &&
	       record->size <= cells->cell_size - sizeof(struct wire_cell) && record->time <= rules->latest &&
	       lane_locators_fit(rules, shape, record) && cells_state(cells, position) == CELL_COMPLETE;
}

void lane_cell_copy(struct wire_record *to, const struct wire_cell *cell, uint64_t room)
{
	uint64_t size;

	memcpy(to, cell->record, sizeof(*to));
	size = to->size < room ? to->size : room;
	if (size > sizeof(*to))
		memcpy(to + 1, cell->record + sizeof(*to), size - sizeof(*to));
}

/* Copy the cell if it is complete and its slot of the mirror is free. */
static void cells_take(struct lane_cells *cells, uint64_t position, const struct lane_rules *rules)
{
	enum cell_state state = cells_state(cells, position);

	if (cells->held[mirror_slot(cells, position)] || state == CELL_UNFINISHED)
		return;
	cells->taken[cells_slot(cells, position)] = 1;
	if (state == CELL_COMPLETE) {
		lane_cell_copy(cells_copy(cells, position), cells_shared(cells, position),
			       cells->cell_size - sizeof(struct wire_cell));
		__atomic_thread_fence(__ATOMIC_ACQUIRE); /* copy before the second look at seq */
	}
	if (state == CELL_DAMAGED || !cells_copy_is_good(cells, position, rules)) {
		rules->stats->damaged++;
		return;
	}
	cells->held[mirror_slot(cells, position)] = 1;
	cells->order[cells->last++] =
	    (struct lane_held) { .time = cells_copy(cells, position)->time, .position = position };
}

/* Move the tail over the cells that were dealt with. */
static void cells_advance(struct lane_cells *cells, uint64_t next)
{
	while (cells->at != next && cells->taken[cells_slot(cells, cells->at)]) {
		cells->taken[cells_slot(cells, cells->at)] = 0;
		cells->at++;
	}
}

/* Is the cell at the tail unfinished, and has been for so long that the thread is not coming back? */
static bool cells_is_stuck(struct lane_cells *cells, uint64_t next, uint64_t now_ns)
{
	if (cells->at == next || cells_state(cells, cells->at) != CELL_UNFINISHED) {
		cells->stuck_since = 0;
		return false;
	}
	if (!cells->stuck_since || cells->stuck_at != cells->at) {
		cells->stuck_since = now_ns;
		cells->stuck_at = cells->at;
		cells->stuck_next = next;
		return false;
	}
	return now_ns - cells->stuck_since >= CELLS_PATIENCE_NS;
}

/* How many cells from the tail on the ring has clearly left behind: those before a taken one; all when it is full. */
static uint64_t cells_overtaken(const struct lane_cells *cells, uint64_t next)
{
	uint64_t overtaken = next - cells->at;

	if (overtaken == cells->count)
		return overtaken;
	while (overtaken && !cells->taken[cells_slot(cells, cells->at + overtaken - 1)])
		overtaken--;
	return overtaken;
}

static void cells_give_up(struct lane_cells *cells, uint64_t next, struct trace_stats *stats)
{
	uint64_t overtaken = cells_overtaken(cells, next);
	uint64_t old = cells->stuck_next - cells->at;

	for (uint64_t i = 0; i < overtaken && i < old; i++) {
		uint64_t slot = cells_slot(cells, cells->at + i);

		if (cells->taken[slot] || cells_state(cells, cells->at + i) != CELL_UNFINISHED)
			continue;
		cells->taken[slot] = 1;
		stats->abandoned++;
	}
	if (overtaken)
		cells->stuck_since = 0;
}

int lane_held_compare(const void *left, const void *right)
{
	const struct lane_held *a = left;
	const struct lane_held *b = right;

	if (a->time != b->time)
		return a->time < b->time ? -1 : 1;
	return a->position < b->position ? -1 : a->position > b->position;
}

/* Append to what an earlier drain left, then sort all of it. */
static void cells_gather(struct lane_cells *cells, uint64_t next, const struct lane_rules *rules)
{
	size_t before;

	memmove(cells->order, cells->order + cells->first, (cells->last - cells->first) * sizeof(*cells->order));
	cells->last -= cells->first;
	cells->first = 0;
	before = cells->last;
	for (uint64_t position = cells->at; position != next; position++)
		if (!cells->taken[cells_slot(cells, position)])
			cells_take(cells, position, rules);
	if (cells->last != before)
		qsort(cells->order, cells->last, sizeof(*cells->order), lane_held_compare);
}

int lane_cells_begin(struct lane_cells *cells, const struct lane_rules *rules)
{
	uint64_t next = __atomic_load_n(&cells->shared->next, __ATOMIC_ACQUIRE);

	if (next - cells->at > cells->count) {
		cells_jump(cells, next, rules->stats);
		return 0;
	}
	if (next != cells->at) {
		if (cells_allocate(cells))
			return -ENOMEM;
		cells_gather(cells, next, rules);
		cells_advance(cells, next);
		if (cells_is_stuck(cells, next, rules->now_ns)) {
			cells_give_up(cells, next, rules->stats);
			cells_advance(cells, next);
		}
	}
	cells_restore(cells);
	return 0;
}

const struct wire_record *lane_cells_peek(const struct lane_cells *cells)
{
	return cells->first == cells->last ? NULL : cells_copy(cells, cells->order[cells->first].position);
}

void lane_cells_skip(struct lane_cells *cells)
{
	cells->held[mirror_slot(cells, cells->order[cells->first].position)] = 0;
	cells->first++;
}

uint64_t lane_cells_unfinished(const struct lane_cells *cells)
{
	uint64_t next = __atomic_load_n(&cells->shared->next, __ATOMIC_ACQUIRE);
	uint64_t unfinished = 0;

	if (next - cells->at > cells->count)
		return 0;
	for (uint64_t position = cells->at; position != next; position++)
		if (!(cells->taken && cells->taken[cells_slot(cells, position)]) &&
		    cells_state(cells, position) == CELL_UNFINISHED)
			unfinished++;
	return unfinished;
}
