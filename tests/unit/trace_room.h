/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the trace room share: a target with one reader on it, and the few probes it has.
 */
#ifndef TRACE_ROOM_H
#define TRACE_ROOM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "trace_target.h"

#include <cmocka.h>

#define CPUS 3
#define RING 8192
#define CELLS 16
#define CELL 128
#define PROBES 8

/* Probe 0 has two arguments, 1 none, 2 the most a record can have, 3 is count-only, 4 appears later. */
static inline struct trace_probe *make_probes(void)
{
	struct trace_probe *probes = calloc(5, sizeof(*probes));

	assert_non_null(probes);
	probes[0].record_size = 40;
	probes[0].nargs = 2;
	probes[1].record_size = 24;
	probes[2].record_size = WIRE_RECORD_MAX;
	probes[2].nargs = (WIRE_RECORD_MAX - 24) / 8;
	probes[4].record_size = 32;
	probes[4].nargs = 1;
	return probes;
}

struct room {
	struct wire_control geometry;
	struct target target;
	struct trace_probe *probes;
	struct trace_reader *reader;
};

static inline int room_setup(void **state)
{
	struct room *room = calloc(1, sizeof(*room));

	assert_non_null(room);
	room->geometry = target_geometry(CPUS, RING, CELLS, CELL, PROBES);
	room->probes = make_probes();
	assert_int_equal(target_create(&room->geometry, &room->target), 0);
	assert_int_equal(trace_reader_create(room->probes, 4, &room->reader), 0);
	assert_int_equal(trace_reader_add(room->reader, &room->target.memory, 7), 0);
	*state = room;
	return 0;
}

static inline int room_teardown(void **state)
{
	struct room *room = *state;

	trace_reader_destroy(room->reader);
	target_destroy(&room->target);
	free(room->probes);
	free(room);
	return 0;
}

/* A record of probe 0 and 2 carries a number in its first argument. */
union any_record {
	struct wire_record header;
	struct {
		struct wire_record head;
		uint64_t args[(WIRE_RECORD_MAX - 24) / 8];
	} full;
};

static inline union any_record make_record(uint32_t id, uint16_t size, uint64_t time, uint64_t number)
{
	union any_record record = { .header = { .id = id, .size = size, .time = time, .tid = 1000 + id, .pid = 1000 } };

	record.full.args[0] = number;
	record.full.args[1] = ~number;
	return record;
}

static inline bool put(struct room *room, uint32_t cpu, uint32_t id, uint64_t time, uint64_t number)
{
	union any_record record = make_record(id, (uint16_t)room->probes[id].record_size, time, number);

	return target_put(&room->target, cpu, &record.header, record.header.size);
}

#define LOG 2048

/* What a drain delivered. */
struct log {
	struct trace_record records[LOG];
	uint64_t numbers[LOG];
	size_t count;
	size_t stop_at; /* return 77 at this record; 0: never */
};

static inline int log_record(void *arg, const struct trace_record *record)
{
	struct log *log = arg;

	assert_true(log->count < LOG);
	log->records[log->count] = *record;
	log->numbers[log->count] = record->nargs ? record->args[0] : 0;
	log->count++;
	return log->count == log->stop_at ? 77 : 0;
}

static inline struct trace_stats stats_of(struct room *room)
{
	struct trace_stats stats;

	trace_reader_stats(room->reader, &stats);
	return stats;
}

static inline void assert_drains(struct room *room, struct log *log, long count)
{
	*log = (struct log) { 0 };
	assert_int_equal(trace_reader_drain(room->reader, true, log_record, log), count);
	assert_int_equal(log->count, count);
}

static inline uint64_t cell_reserve(struct room *room)
{
	uint64_t position;

	assert_true(target_cell_reserve(&room->target, 0, 0, &position));
	return position;
}

static inline void cell_complete(struct room *room, uint64_t position, uint64_t time, uint64_t number)
{
	union any_record record = make_record(0, 40, time, number);

	target_cell_complete(&room->target, 0, position, &record.header);
}

#define IN_ROOM(test) cmocka_unit_test_setup_teardown(test, room_setup, room_teardown)

#endif
