/* SPDX-License-Identifier: MIT */
/*
 * A lane is one CPU's stream of records: its ring, or its cells. Inside the room only.
 *
 * Both kinds work alike: begin() looks at the shared positions once a drain and bounds them; peek() shows the oldest
 * record, copied to private memory first and checked after; skip() takes it. Room is given back to the target as soon
 * as its bytes were copied; what was copied and not yet taken stays in the lane for the next drain.
 */
#ifndef TRACE_LANE_H
#define TRACE_LANE_H

#include <string.h>

#include "trace/trace.h"

/* What the check of a record needs of its probe, in few bytes that stay cached; size 0: not looked up yet. */
struct lane_shape {
	uint16_t size; /* of the fixed part */
	uint16_t most; /* of the largest: only LONG ones differ */
	uint8_t nargs;
	uint8_t words; /* before the arguments: the frame, the caller */
	bool has_locators;
};

/* What holds for every lane during one drain. */
struct lane_rules {
	const struct trace_probe *probes;
	struct lane_shape *shapes; /* nprobes of them */
	uint32_t nprobes;
	uint32_t largest; /* bytes of the largest record of any probe */
	uint64_t now;    /* TSC, when the drain began */
	uint64_t latest; /* TSC: a record cannot be younger */
	uint64_t jitter; /* TSC: how far time may step back within a ring */
	uint64_t now_ns;
	struct trace_stats *stats;
};

struct lane_ring {
	struct wire_ring *shared;
	const uint8_t *bytes; /* mapped twice */
	uint64_t size;
	uint64_t at;     /* position: all below was copied; the true tail, the shared one is only told */
	uint64_t end;    /* head, as read for this drain; at <= end <= at + size */
	uint64_t time;   /* of the youngest record that was checked */
	uint8_t *buffer; /* NULL until there is something to copy */
	uint32_t room;   /* bytes of it */
	uint32_t from;   /* buffer[from, to) was copied and not taken */
	uint32_t to;
};

/* A cell that was copied and not delivered; its bytes stand in the mirror. */
struct lane_held {
	uint64_t time;
	uint64_t position;
};

struct lane_cells {
	struct wire_cells *shared;
	const uint8_t *bytes;
	uint64_t count;
	uint64_t cell_size;
	uint64_t at;          /* position: all below was copied or given up */
	uint64_t stuck_since; /* ns: when the cell at `at` was first seen unfinished, 0: it was not */
	uint64_t stuck_at;
	uint64_t stuck_next; /* cells below were reserved then */
	uint8_t *mirror;     /* copies of 2 * count cells; NULL, as the three below, until there is something to copy */
	uint8_t *taken;      /* by slot: the cell of [at, at + count) there was dealt with */
	uint8_t *held;       /* by slot of the mirror: it holds a record not delivered yet */
	struct lane_held *order; /* order[first, last) by time; room for the whole mirror */
	size_t first;
	size_t last;
};

#define LANE_KEPT_END UINT64_MAX

/* What a ring or cells held at one moment where nothing is read: private copies, chained (kept.c). */
struct lane_kept {
	bool is_cells;
	uint64_t *head, *limit; /* shared: of cells next, and their limit */
	const uint8_t *shared;  /* the ring, mapped twice; or the cells */
	uint64_t count;         /* bytes of the ring, or cells; a power of two */
	uint64_t stride;        /* bytes of a cell, and of its copy, in which the offset takes the place of seq; 1 */

	uint8_t *bytes;   /* records, each followed by the offset of the next younger one; NULL: nothing was there yet */
	uint64_t touched; /* bytes of it that have memory */
	uint64_t next;    /* offset of the oldest that was not delivered; LANE_KEPT_END: none */
	uint64_t start;   /* position of what is at bytes[0] */
	uint64_t end;     /* from there to the head, in bytes or cells */
	uint64_t low;     /* what is below is not copied, or was perhaps overwritten meanwhile */
	bool wrapped;     /* there was more once */

	uint64_t gone;  /* bytes of a ring, or cells, that were overwritten */
	uint64_t since; /* TSC: nothing younger is missing; 0: nothing is */
	uint64_t records;
	uint64_t size;           /* ring: bytes of records, with their trailers */
	struct lane_held *order; /* cells only, as are the next: the copies, youngest first */
	uint64_t whole;          /* copies */
	uint64_t unfinished;     /* begun, and not finished or given up */
};

void lane_ring_init(struct lane_ring *ring, void *block, const struct wire_control *geometry);
void lane_ring_deinit(struct lane_ring *ring);
int lane_ring_begin(struct lane_ring *ring, const struct lane_rules *rules) BASE_MUST_CHECK;
const struct wire_record *lane_ring_peek(struct lane_ring *ring, const struct lane_rules *rules);
/** lane_ring_limit() - let the target write up to @room bytes before its slow path */
void lane_ring_limit(struct lane_ring *ring, uint64_t room);
bool lane_ring_is_beyond(const struct lane_ring *ring, uint64_t room);

static inline void lane_ring_skip(struct lane_ring *ring, const struct wire_record *record)
{
	ring->from += record->size;
}

/** Which cells of a block; LANE_LONG_CELLS only where there are LONG records. */
enum lane_which { LANE_RING, LANE_CELLS, LANE_LONG_CELLS };

void lane_cells_init(struct lane_cells *cells, void *block, const struct wire_control *geometry, enum lane_which which);
void lane_cells_deinit(struct lane_cells *cells);
int lane_cells_begin(struct lane_cells *cells, const struct lane_rules *rules) BASE_MUST_CHECK;
const struct wire_record *lane_cells_peek(const struct lane_cells *cells);
void lane_cells_skip(struct lane_cells *cells);
void lane_cells_limit(struct lane_cells *cells, uint64_t room);
bool lane_cells_is_beyond(const struct lane_cells *cells, uint64_t room);
/** lane_cells_unfinished() - cells that were reserved and never completed: at the end they are given up */
uint64_t lane_cells_unfinished(const struct lane_cells *cells);

void lane_kept_init(struct lane_kept *kept, void *block, const struct wire_control *geometry, enum lane_which which);
/** lane_kept_prepare() - the limit is up, and there is memory for a copy; now and then, and before each copy */
int lane_kept_prepare(struct lane_kept *kept) BASE_MUST_CHECK;
/** lane_kept_begin() - what is below the head of this moment will be copied */
void lane_kept_begin(struct lane_kept *kept);
/**
 * lane_kept_copy() - the next piece, from the head downwards; false when there is no other
 * @largest: bytes of the largest record, with its trailer: how much can be overwritten above the head
 */
bool lane_kept_copy(struct lane_kept *kept, uint64_t largest);
/** lane_kept_link() - find the records in the copy, check them, put them in order */
void lane_kept_link(struct lane_kept *kept, const struct lane_rules *rules);
void lane_kept_deinit(struct lane_kept *kept);

static inline const struct wire_record *lane_kept_peek(const struct lane_kept *kept)
{
	return kept->next == LANE_KEPT_END ? NULL : (const struct wire_record *)(kept->bytes + kept->next);
}

static inline void lane_kept_skip(struct lane_kept *kept, const struct wire_record *record)
{
	memcpy(&kept->next, (const uint8_t *)record + record->size, sizeof(kept->next));
}

/**
 * lane_cell_copy() - what a cell holds: as much as the record says it has, @room bytes at most
 * What it says is copied first, so the size that is checked later is the one that was used here.
 */
void lane_cell_copy(struct wire_record *to, const struct wire_cell *cell, uint64_t room);

/** lane_held_compare() - by time, then by position; for qsort() */
int lane_held_compare(const void *left, const void *right);

/** lane_shape_lookup() - the slow half of lane_shape(): the first record of a probe */
struct lane_shape lane_shape_lookup(const struct lane_rules *rules, uint32_t id);

/** lane_largest() - bytes of the largest record of a probe */
uint32_t lane_largest(const struct trace_probe *probe);

/** lane_shape() - what a record of @id looks like; size 0 when there can be none */
static inline struct lane_shape lane_shape(const struct lane_rules *rules, uint32_t id)
{
	if (id >= rules->nprobes)
		return (struct lane_shape) { 0 };
	if (!rules->shapes[id].size)
		return lane_shape_lookup(rules, id);
	return rules->shapes[id];
}

/** lane_size_fits() - can a record of @size and @flags have that shape? */
static inline bool lane_size_fits(struct lane_shape shape, uint32_t size, uint32_t flags)
{
	if (flags & WIRE_RECORD_LEFT_OUT) /* no arguments */
		return shape.size && shape.words && size == sizeof(struct wire_record) + 8U * shape.words;
	if (size == shape.size)
		return size;
	return flags & WIRE_RECORD_LONG && size > shape.size && size <= shape.most && !(size % 8);
}

/** lane_locators_fit() - of a record whose size fits: do they lie inside of it? */
bool lane_locators_fit(const struct lane_rules *rules, struct lane_shape shape, const struct wire_record *record);

/** lane_gap() - bytes or cells that a scribbled position can have cost: at most all there were */
static inline uint64_t lane_gap(uint64_t from, uint64_t to, uint64_t most)
{
	uint64_t gap = to - from;

	if (gap > -gap)
		gap = -gap;
	return gap < most ? gap : most;
}

#endif
