/* SPDX-License-Identifier: MIT */
/*
 * Reading one ring. Owns the private buffer that its bytes are copied to.
 *
 * Our own `at` is the truth about what was consumed; the shared tail and limit are only written. The head is read once
 * a drain and believed only within [at, at + size], so a drain never looks at more than one ring full. Whatever the
 * head's alignment: after a scribble the target goes on from there, and so do we.
 */
#include "trace/lane.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RING_BUFFER 16384 /* at least, and enough that a refill makes progress, and shows a whole row */
#define RING_CHAIN 4      /* records in a row that make a boundary plausible after damage */

void lane_ring_init(struct lane_ring *ring, void *block, const struct wire_control *geometry)
{
	*ring = (struct lane_ring) {
		.shared = block,
		.bytes = (const uint8_t *)block + WIRE_PAGE,
		.size = geometry->ring_size,
	};
	ring->at = __atomic_load_n(&ring->shared->tail, __ATOMIC_RELAXED);
	ring->end = ring->at;
	lane_ring_limit(ring, ring->size);
}

void lane_ring_deinit(struct lane_ring *ring)
{
	free(ring->buffer);
	ring->buffer = NULL;
	ring->room = 0;
}

/* Also when larger records came to the table: what was copied and not taken stays. */
static int ring_allocate(struct lane_ring *ring, uint32_t largest)
{
	uint32_t want = (RING_CHAIN + 1) * largest;
	uint8_t *buffer;

	if (want < RING_BUFFER)
		want = RING_BUFFER;
	if (ring->room >= want)
		return 0;
	buffer = realloc(ring->buffer, want);
	if (!buffer)
		return -ENOMEM;
	ring->buffer = buffer;
	ring->room = want;
	return 0;
}

void lane_ring_limit(struct lane_ring *ring, uint64_t room)
{
	/* Pairs with the target's slow path, which trusts only tail; the limit may be any value that is too small. */
	__atomic_store_n(&ring->shared->tail, ring->at, __ATOMIC_RELEASE);
	__atomic_store_n(&ring->shared->limit, ring->at + room, __ATOMIC_RELEASE);
}

/* Scribbled words would stop the ring for good if nothing in it were left to consume: look at them in any case. */
static void ring_restore(struct lane_ring *ring)
{
	if (__atomic_load_n(&ring->shared->tail, __ATOMIC_RELAXED) != ring->at ||
	    __atomic_load_n(&ring->shared->limit, __ATOMIC_RELAXED) != ring->at + ring->size)
		lane_ring_limit(ring, ring->size);
}

bool lane_ring_is_beyond(const struct lane_ring *ring, uint64_t room)
{
	return __atomic_load_n(&ring->shared->head, __ATOMIC_ACQUIRE) - ring->at > room;
}

/* The head went where no writer can have brought it: go on from there. */
static void ring_jump(struct lane_ring *ring, uint64_t head, struct trace_stats *stats)
{
	stats->overrun += lane_gap(ring->at, head, ring->size);
	ring->at = head;
	ring->end = head;
	lane_ring_limit(ring, ring->size);
}

int lane_ring_begin(struct lane_ring *ring, const struct lane_rules *rules)
{
	uint64_t head = __atomic_load_n(&ring->shared->head, __ATOMIC_ACQUIRE); /* pairs with the commit of a record */

	if (head - ring->at > ring->size) {
		ring_jump(ring, head, rules->stats);
		return 0;
	}
	if (head != ring->at && ring_allocate(ring, rules->largest))
		return -ENOMEM;
	ring->end = head;
	ring_restore(ring);
	return 0;
}

static void ring_refill(struct lane_ring *ring)
{
	uint32_t have = ring->to - ring->from;
	uint64_t want = ring->end - ring->at;

	memmove(ring->buffer, ring->buffer + ring->from, have);
	if (want > ring->room - have)
		want = ring->room - have;
	memcpy(ring->buffer + have, ring->bytes + (ring->at & (ring->size - 1)), want);
	ring->from = 0;
	ring->to = have + (uint32_t)want;
	ring->at += want;
	lane_ring_limit(ring, ring->size);
}

/* Is the time one that can follow in this ring? A few ticks back are the CPU's reordering, and are smoothed out. */
static bool ring_accepts_time(struct lane_ring *ring, struct wire_record *record, const struct lane_rules *rules)
{
	if (record->time > rules->latest)
		return false;
	if (record->time < ring->time) {
		if (ring->time - record->time > rules->jitter)
			return false;
		record->time = ring->time;
	}
	ring->time = record->time;
	return true;
}

/* Records in a row from buffer[from] on: enough of them to be no accident, or as many as there are up to the head. */
static bool ring_is_chain(const struct lane_ring *ring, const struct lane_rules *rules)
{
	bool is_all = ring->at == ring->end;
	uint64_t time = ring->time;
	uint32_t at = ring->from;

	for (int n = 0; n < RING_CHAIN; n++) {
		const struct wire_record *record = (const struct wire_record *)(ring->buffer + at);
		uint32_t left = ring->to - at;
		struct lane_shape shape;

		if (is_all && !left)
			return n;
		if (left < sizeof(*record))
			return false;
		shape = lane_shape(rules, record->id);
		if (!lane_size_fits(shape, record->size, record->flags) || record->size > left)
			return false;
		if (record->time > rules->latest || record->time + rules->jitter < time)
			return false;
		time = record->time;
		at += record->size;
	}
	return true;
}

/*
 * What stands at buffer[from] makes no sense. Records have no marks to find the next one by, but stand 8 apart and in
 * rows. Return: false when there is none up to the head; the head is where the next one will be.
 */
static bool ring_resync(struct lane_ring *ring, const struct lane_rules *rules)
{
	while (ring->to - ring->from >= 8) {
		ring->from += 8;
		rules->stats->damaged += 8;
		if (ring->to - ring->from < RING_CHAIN * rules->largest && ring->at != ring->end)
			ring_refill(ring);
		if (ring_is_chain(ring, rules))
			return true;
	}
	rules->stats->damaged += ring->to - ring->from;
	ring->from = 0;
	ring->to = 0;
	ring->time = 0; /* perhaps it was this that made no sense */
	return false;
}

const struct wire_record *lane_ring_peek(struct lane_ring *ring, const struct lane_rules *rules)
{
	for (;;) {
		uint32_t have = ring->to - ring->from;
		bool is_bad = have && ring->at == ring->end; /* unless it is whole: the head stands inside a record */

		if (have >= sizeof(struct wire_record)) {
			struct wire_record *record = (struct wire_record *)(ring->buffer + ring->from);
			struct lane_shape shape = lane_shape(rules, record->id);

			if (!lane_size_fits(shape, record->size, record->flags)) {
				is_bad = true;
			} else if (record->size <= have) {
				if (lane_locators_fit(rules, shape, record) && ring_accepts_time(ring, record, rules))
					return record;
				is_bad = true;
			}
		}
		if (is_bad) {
			if (!ring_resync(ring, rules))
				return NULL;
		} else if (ring->at == ring->end) {
			return NULL;
		} else {
			ring_refill(ring);
		}
	}
}
