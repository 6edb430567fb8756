/* SPDX-License-Identifier: MIT */
/* For tests of the flight recorder: a target whose newest records replace the oldest, and writers that do it as a probe's program does. */
#ifndef TRACE_KEPT_H
#define TRACE_KEPT_H

#include "trace_room.h"

#define TRAILED(size) ((size) + WIRE_TRAILER_SIZE)

static inline int kept_setup(void **state)
{
	struct room *room = calloc(1, sizeof(*room));

	assert_non_null(room);
	room->geometry = target_geometry(CPUS, RING, CELLS, CELL, PROBES);
	room->probes = make_probes();
	assert_int_equal(target_create(&room->geometry, &room->target), 0);
	assert_int_equal(trace_reader_create(room->probes, 4, &room->reader), 0);
	trace_reader_overwrite(room->reader);
	assert_int_equal(trace_reader_add(room->reader, &room->target.memory, 7), 0);
	*state = room;
	return 0;
}

/* As the program of a probe does it: never full. */
static inline void keep_on(struct target *target, uint32_t cpu, uint32_t id, uint16_t size, uint64_t time, uint64_t number)
{
	struct wire_ring *ring = target_ring(target, cpu);
	union any_record record = make_record(id, size, time, number);
	uint64_t trailer = WIRE_TRAILER(size);

	memcpy(target_ring_bytes(target, cpu, ring->head), &record, size);
	memcpy(target_ring_bytes(target, cpu, ring->head) + size, &trailer, sizeof(trailer));
	__atomic_store_n(&ring->head, ring->head + TRAILED(size), __ATOMIC_RELEASE);
}

static inline void keep(struct room *room, uint32_t cpu, uint32_t id, uint64_t time, uint64_t number)
{
	keep_on(&room->target, cpu, id, (uint16_t)room->probes[id].record_size, time, number);
}

/* A cell, taken and finished. false: it was somebody else's. */
static inline bool keep_in_cell(struct room *room, uint32_t cpu, uint64_t time, uint64_t number)
{
	uint64_t position = __atomic_fetch_add(&target_cells(&room->target, cpu)->next, 1, __ATOMIC_SEQ_CST);
	struct wire_cell *cell = target_cell(&room->target, cpu, position);
	union any_record record = make_record(0, 40, time, number);
	uint64_t seq = __atomic_load_n(&cell->seq, __ATOMIC_RELAXED);

	if (seq > position || !__atomic_compare_exchange_n(&cell->seq, &seq, WIRE_CELL_BUSY(position + 1), false,
							   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
		return false;
	memcpy(cell->record, &record, 40);
	__atomic_store_n(&cell->seq, position + 1, __ATOMIC_RELEASE);
	return true;
}

#define IN_KEPT(test) cmocka_unit_test_setup_teardown(test, kept_setup, room_teardown)

#endif
