/* SPDX-License-Identifier: MIT */
/*
 * What one CPU's ring or cells hold where nobody reads and the newest records replace the oldest. Owns the private
 * copies, whose memory is made ready beforehand: while it is copied the target writes on.
 *
 * A ring is copied from its head downwards, and the head is looked at again after each piece: a writer overwrites
 * [head - size, head - size + largest), so what is above that was whole when it was copied. Where the writer has come,
 * the rest is gone. The records are then found backwards from the head by the word that follows each, every one
 * checked like any other bytes of the target, and chained forwards: that word, in the copy, becomes the offset of the
 * next record.
 *
 * A cell is whole when its seq names its position before and after it was copied: a writer changes seq before it
 * writes.
 */
#include "trace/lane.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_PIECE (64ULL << 10) /* bytes: some microseconds, after which it is another lane's turn */
#define KEPT_CELLS 512           /* the same for cells */
#define KEPT_CHAIN 4             /* records in a row that make a boundary plausible after damage */

/* Also where the target wrote over it: a limit that is reached loses records. */
static void lift_limit(struct lane_kept *kept)
{
	if (__atomic_load_n(kept->limit, __ATOMIC_RELAXED) != UINT64_MAX)
		__atomic_store_n(kept->limit, UINT64_MAX, __ATOMIC_RELAXED);
}

void lane_kept_init(struct lane_kept *kept, void *block, const struct wire_control *geometry, enum lane_which which)
{
	bool is_cells = which != LANE_RING;
	bool is_long = which == LANE_LONG_CELLS;
	uint8_t *page = (uint8_t *)block + (is_long ? geometry->long_cells_at : is_cells ? geometry->cells_at : 0);

	*kept = (struct lane_kept) {
		.is_cells = is_cells,
		.head = is_cells ? &((struct wire_cells *)page)->next : &((struct wire_ring *)page)->head,
		.limit = is_cells ? &((struct wire_cells *)page)->limit : &((struct wire_ring *)page)->limit,
		.shared = page + WIRE_PAGE,
		.count = is_long ? geometry->long_cells : is_cells ? geometry->cells : geometry->ring_size,
		.stride = is_long ? geometry->long_cell_size : is_cells ? geometry->cell_size : 1,
		.next = LANE_KEPT_END,
	};
	lift_limit(kept);
}

void lane_kept_deinit(struct lane_kept *kept)
{
	free(kept->bytes);
	free(kept->order);
	*kept = (struct lane_kept) { .next = LANE_KEPT_END };
}

int lane_kept_prepare(struct lane_kept *kept)
{
	uint64_t head = __atomic_load_n(kept->head, __ATOMIC_RELAXED);
	uint64_t used = (head < kept->count ? head : kept->count) * kept->stride;

	kept->next = LANE_KEPT_END;
	lift_limit(kept);
	if (head && !kept->bytes)
		kept->bytes = malloc(kept->count * kept->stride);
	if (head && kept->is_cells && !kept->order)
		kept->order = calloc(kept->count, sizeof(*kept->order));
	if (head && (!kept->bytes || (kept->is_cells && !kept->order)))
		return -ENOMEM;
	if (used > kept->touched) { /* no page faults later */
		memset(kept->bytes + kept->touched, 0, used - kept->touched);
		kept->touched = used;
	}
	return 0;
}

void lane_kept_begin(struct lane_kept *kept)
{
	uint64_t head = __atomic_load_n(kept->head, __ATOMIC_ACQUIRE); /* pairs with the commit of a record */

	kept->start = head > kept->count ? head - kept->count : 0;
	if (!kept->is_cells && !kept->start)
		kept->start = head & 7; /* records stand 8 apart, counted from the head */
	if (!kept->bytes)
		kept->start = head;
	kept->end = head - kept->start;
	kept->low = kept->end;
	kept->wrapped = false;
	kept->gone = kept->since = kept->records = kept->size = kept->whole = kept->unfinished = 0;
	kept->next = LANE_KEPT_END;
}

static bool copy_bytes(struct lane_kept *kept, uint64_t largest)
{
	uint64_t end = kept->start + kept->low;
	uint64_t piece = kept->low < KEPT_PIECE ? kept->low : KEPT_PIECE;
	uint64_t at = end - piece;
	uint64_t now;

	memcpy(kept->bytes + (at - kept->start), kept->shared + (at & (kept->count - 1)), piece);
	__atomic_thread_fence(__ATOMIC_ACQUIRE); /* copy before the second look at the head */
	now = __atomic_load_n(kept->head, __ATOMIC_RELAXED);
	if (now + largest > kept->count && now + largest - kept->count > at) {
		at = now + largest - kept->count;
		at = at < end ? at : end;
		kept->wrapped = true;
	}
	kept->low = at - kept->start;
	return kept->low && !kept->wrapped;
}

static bool cell_is_whole(const struct wire_cell *cell, uint64_t position)
{
	return __atomic_load_n(&cell->seq, __ATOMIC_ACQUIRE) == position + 1; /* pairs with its store */
}

static void copy_cell(struct lane_kept *kept, uint64_t position)
{
	uint64_t slot = position & (kept->count - 1);
	const struct wire_cell *cell =
	    (const struct wire_cell *)(kept->shared + slot * kept->stride);

	if (!cell_is_whole(cell, position)) {
		kept->unfinished++;
		return;
	}
	lane_cell_copy((struct wire_record *)(kept->bytes + kept->whole * kept->stride), cell,
		       kept->stride - sizeof(struct wire_cell));
	__atomic_thread_fence(__ATOMIC_ACQUIRE); /* copy before the second look at seq */
	if (cell_is_whole(cell, position))
		kept->order[kept->whole++] = (struct lane_held) { .position = position };
}

static bool copy_cells(struct lane_kept *kept)
{
	uint64_t stop = kept->low > KEPT_CELLS ? kept->low - KEPT_CELLS : 0;
	uint64_t next;
	uint64_t gone;

	while (kept->low > stop)
		copy_cell(kept, kept->start + --kept->low);
	/* Others of a lap that is being overwritten may be gone: none of it is kept. */
	next = __atomic_load_n(kept->head, __ATOMIC_RELAXED);
	gone = next - kept->start > kept->count ? next - kept->start - kept->count : 0;
	kept->wrapped = kept->start || gone;
	if (gone < kept->low)
		return kept->low;
	kept->low = gone < kept->end ? gone : kept->end;
	return false;
}

bool lane_kept_copy(struct lane_kept *kept, uint64_t largest)
{
	if (!kept->low || !kept->end)
		return false;
	return kept->is_cells ? copy_cells(kept) : copy_bytes(kept, largest);
}

/* ---- rings ---- */

/* Going from the head backwards. Offsets are those of the copy. */
struct walk {
	struct lane_kept *kept;
	const struct lane_rules *rules;
	uint64_t at;    /* the end of the next older record */
	uint64_t time;  /* of the next newer record: no older one is younger */
	uint64_t bound; /* the same, but for what the CPU reorders */
};

/* The bytes of the record that the word before @end tells of; 0: it is no such word. */
static uint32_t trailer_size(const struct lane_kept *kept, uint64_t end)
{
	uint64_t trailer;
	uint32_t size;

	if (end - kept->low < WIRE_TRAILER_SIZE)
		return 0;
	memcpy(&trailer, kept->bytes + end - WIRE_TRAILER_SIZE, sizeof(trailer));
	size = (uint16_t)trailer;
	return trailer == WIRE_TRAILER(size) && size >= sizeof(struct wire_record) && size % 8 == 0 ? size : 0;
}

/* The record that ends at @end with its trailer, but for its time; NULL when nothing there makes sense. */
static struct wire_record *record_before(const struct walk *walk, uint64_t end)
{
	const struct lane_kept *kept = walk->kept;
	uint32_t size = trailer_size(kept, end);
	struct wire_record *record;
	struct lane_shape shape;

	if (!size || end - kept->low < size + WIRE_TRAILER_SIZE)
		return NULL;
	record = (struct wire_record *)(kept->bytes + end - WIRE_TRAILER_SIZE - size);
	shape = lane_shape(walk->rules, record->id);
	return record->size == size && lane_size_fits(shape, size, record->flags) && lane_locators_fit(walk->rules, shape, record) ?
		       record : NULL;
}

static uint64_t record_start(const struct wire_record *record, uint64_t end)
{
	return end - WIRE_TRAILER_SIZE - record->size;
}

/* Does a record that was overwritten in part end at @end? Then it is the end of what is whole, and no damage. */
static bool is_cut(const struct walk *walk, uint64_t end)
{
	const struct lane_kept *kept = walk->kept;
	uint64_t left = end - kept->low;

	if (!kept->wrapped || left < WIRE_TRAILER_SIZE)
		return kept->wrapped || !left;
	return trailer_size(kept, end) + WIRE_TRAILER_SIZE > left;
}

/* Are there some records in a row before @end, or as many as there is room for? */
static bool is_chain(const struct walk *walk, uint64_t end)
{
	uint64_t bound = walk->bound;

	for (int n = 0; n < KEPT_CHAIN; n++) {
		const struct wire_record *record = record_before(walk, end);

		if (!record)
			return n && is_cut(walk, end);
		if (record->time > bound)
			return false;
		bound = record->time + walk->rules->jitter;
		end = record_start(record, end);
	}
	return true;
}

/* Everything in [to, walk->at) makes no sense. What is older is not complete any more. */
static void walk_skip(struct walk *walk, uint64_t to)
{
	walk->rules->stats->damaged += walk->at - to;
	walk->at = to;
	if (!walk->kept->since)
		walk->kept->since = walk->time;
}

static void walk_resync(struct walk *walk)
{
	for (uint64_t at = walk->at; at - walk->kept->low >= 8;) {
		at -= 8;
		if (is_chain(walk, at)) {
			walk_skip(walk, at);
			return;
		}
	}
	walk_skip(walk, walk->kept->low);
}

/*
 * Is the record's time one that fits between its neighbours? Where it and the older one contradict each other, the one
 * that contradicts the newer one too is wrong.
 */
static bool walk_fits(const struct walk *walk, const struct wire_record *record)
{
	const struct wire_record *older;

	if (record->time > walk->bound)
		return false;
	older = record_before(walk, record_start(record, walk->at));
	return !older || older->time <= record->time + walk->rules->jitter || older->time > walk->bound;
}

/* The next older record that is good; NULL: there is none. */
static struct wire_record *walk_back(struct walk *walk)
{
	while (!is_cut(walk, walk->at)) {
		struct wire_record *record = record_before(walk, walk->at);

		if (!record) {
			walk_resync(walk);
		} else if (!walk_fits(walk, record)) {
			walk_skip(walk, record_start(record, walk->at));
		} else {
			walk->at = record_start(record, walk->at);
			return record;
		}
	}
	return NULL;
}

static void link_ring(struct lane_kept *kept, const struct lane_rules *rules)
{
	struct walk walk = {
		.kept = kept, .rules = rules, .at = kept->end, .time = rules->latest, .bound = rules->latest
	};
	struct wire_record *record;

	while (kept->end && (record = walk_back(&walk))) {
		if (record->time > walk.time)
			record->time = walk.time;
		walk.time = record->time;
		walk.bound = record->time + rules->jitter;
		memcpy((uint8_t *)record + record->size, &kept->next, sizeof(kept->next));
		kept->next = walk.at;
		kept->records++;
		kept->size += record->size + WIRE_TRAILER_SIZE;
	}
	if (kept->wrapped) {
		kept->gone = kept->start + walk.at;
		if (!kept->since)
			kept->since = walk.time;
	}
}

/* ---- cells ---- */

/* A discarded one starts with 0: neither a record nor damage. */
static bool cell_is_discarded(const struct wire_record *record)
{
	return !record->id && !record->size && !record->flags;
}

static bool cell_is_good(const struct wire_record *record, const struct lane_kept *kept, const struct lane_rules *rules)
{
	struct lane_shape shape = lane_shape(rules, record->id);

	return lane_size_fits(shape, record->size, record->flags) && record->size <= kept->stride - sizeof(struct wire_cell) &&
	       record->time <= rules->latest && lane_locators_fit(rules, shape, record);
}

/* The good ones to the front of the order, with their times, and with their slots in the copy as positions. */
static uint64_t gather_good(struct lane_kept *kept, const struct lane_rules *rules)
{
	uint64_t good = 0;

	for (uint64_t i = 0; i < kept->whole; i++) {
		struct wire_record *record = (struct wire_record *)(kept->bytes + i * kept->stride);

		if (kept->order[i].position - kept->start < kept->low || cell_is_discarded(record))
			continue;
		if (!cell_is_good(record, kept, rules)) {
			rules->stats->damaged++;
			continue;
		}
		kept->since = record->time; /* the last is the one of the lowest position */
		kept->order[good++] = (struct lane_held) { .time = record->time, .position = i };
	}
	return good;
}

static void link_cells(struct lane_kept *kept, const struct lane_rules *rules)
{
	uint64_t good = gather_good(kept, rules);

	if (!kept->wrapped)
		kept->since = 0;
	else if (!good)
		kept->since = rules->latest;
	if (good)
		qsort(kept->order, good, sizeof(*kept->order), lane_held_compare);
	for (uint64_t i = good; i--;) {
		uint64_t at = kept->order[i].position * kept->stride;
		const struct wire_record *record = (const struct wire_record *)(kept->bytes + at);

		memcpy(kept->bytes + at + record->size, &kept->next, sizeof(kept->next));
		kept->next = at;
	}
	kept->records = good;
	kept->gone = kept->wrapped ? kept->start + kept->low : 0;
}

void lane_kept_link(struct lane_kept *kept, const struct lane_rules *rules)
{
	if (kept->is_cells)
		link_cells(kept, rules);
	else
		link_ring(kept, rules);
}
