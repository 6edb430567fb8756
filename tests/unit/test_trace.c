/* SPDX-License-Identifier: MIT */
/*
 * The trace room against a target played in this process: what is in the rings comes out once, in order, and whatever
 * else is in them is counted and does no harm.
 */
#include "trace_room.h"

/* ---- the clock ---- */

static void test_clock_agrees(void **state)
{
	struct trace_clock clock;
	uint64_t before;
	uint64_t after;
	uint64_t ns;

	trace_clock_init(&clock);
	for (int i = 0; i < 20; i++) {
		struct timespec pause = { .tv_nsec = 2000000 };

		nanosleep(&pause, NULL);
		before = base_now_ns();
		ns = target_now();
		after = base_now_ns();
		trace_clock_update(&clock);
		ns = trace_clock_ns(&clock, ns);
		assert_true(ns + 5000 >= before && ns <= after + 5000);
	}
}

static void test_clock_is_a_line(void **state)
{
	struct trace_clock clock = { .tsc = { 1000000, 1000000 + 2300000000ULL }, .ns = { 5000000000, 6000000000 } };
	uint64_t last = 0;

	assert_int_equal(trace_clock_ns(&clock, 1000000), 5000000000);
	assert_in_range(trace_clock_ns(&clock, 1000000 + 2300000000ULL), 5999999999, 6000000000);
	/* Ten years on: exact to a microsecond. */
	assert_in_range(trace_clock_ns(&clock, 1000000 + 2300000000ULL * 315360000),
			(5 + 315360000ULL) * 1000000000 - 1000, (5 + 315360000ULL) * 1000000000);
	/* Before the first pair, and before there was time at all. */
	assert_in_range(trace_clock_ns(&clock, 0), 5000000000 - 434783, 5000000000 - 434782);
	clock.tsc[0] += 1ULL << 60;
	clock.tsc[1] += 1ULL << 60;
	assert_int_equal(trace_clock_ns(&clock, 0), 0);
	for (uint64_t tsc = clock.tsc[0] - 2000; tsc < clock.tsc[0] + 2000; tsc++) {
		assert_true(trace_clock_ns(&clock, tsc) >= last);
		last = trace_clock_ns(&clock, tsc);
	}
	assert_true(trace_clock_ns(&clock, UINT64_MAX) > last);
	/* A clock that makes no sense still gives numbers that do not fall. */
	clock = (struct trace_clock) { .tsc = { 5, 5 }, .ns = { 9, 9 } };
	assert_int_equal(trace_clock_ns(&clock, UINT64_MAX), 9);
	clock = (struct trace_clock) { .tsc = { 5, 6 }, .ns = { 0, UINT64_MAX } };
	assert_int_equal(trace_clock_ns(&clock, UINT64_MAX), UINT64_MAX);
}

/* ---- the memory ---- */

static void test_memory_layout(void **state)
{
	struct room *room = *state;
	const struct wire_control *geometry = &room->geometry;
	uint8_t *block = room->target.memory.blocks[1];
	uint64_t file = geometry->blocks_at + geometry->block_file_size;
	uint64_t places[] = { 0,
			      WIRE_PAGE,
			      WIRE_PAGE + RING - 1,
			      geometry->counters_at,
			      geometry->shared_at,
			      geometry->cells_at,
			      geometry->block_span - 1 };

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		uint64_t at = file + places[i] - (places[i] >= geometry->counters_at ? RING : 0);
		uint8_t byte = 0;

		block[places[i]] = (uint8_t)(i + 1);
		assert_int_equal(pread(room->target.fd, &byte, 1, (off_t)at), 1);
		assert_int_equal(byte, i + 1);
	}
	assert_int_equal(block[WIRE_PAGE + RING], 2); /* the ring's second copy */
	assert_int_equal(block[WIRE_PAGE + 2 * RING - 1], 3);
	target_control(&room->target)->sites = 99;
	assert_int_equal(pread(room->target.fd, &room->geometry.sites, 4, offsetof(struct wire_control, sites)), 4);
	assert_int_equal(room->geometry.sites, 99);
}

static void assert_refused(const struct room *room, const struct wire_control *geometry)
{
	struct trace_memory memory = { .fd = 12345 };

	assert_int_equal(trace_memory_map(room->target.fd, geometry, &memory), -EINVAL);
	assert_int_equal(memory.fd, 12345); /* untouched */
}

/* Each row changes one number of a good geometry. */
static void test_memory_refuses(void **state)
{
	struct room *room = *state;
	static const struct {
		size_t at;
		uint64_t value;
	} wide[] = {
		{ offsetof(struct wire_control, ring_size), 0 },
		{ offsetof(struct wire_control, ring_size), 2048 },
		{ offsetof(struct wire_control, ring_size), 3 * 4096 },
		{ offsetof(struct wire_control, ring_size), 2 * RING },
		{ offsetof(struct wire_control, ring_size), 1ULL << 63 },
		{ offsetof(struct wire_control, counters_at), 0 },
		{ offsetof(struct wire_control, counters_at), UINT64_MAX - 7 },
		{ offsetof(struct wire_control, shared_at), 4096 },
		{ offsetof(struct wire_control, cells_at), 4096 },
		{ offsetof(struct wire_control, cells), 0 },
		{ offsetof(struct wire_control, cells), 15 },
		{ offsetof(struct wire_control, cells), 1ULL << 60 },
		{ offsetof(struct wire_control, cell_size), 16 },
		{ offsetof(struct wire_control, cell_size), 100 },
		{ offsetof(struct wire_control, cell_size), 8192 },
		{ offsetof(struct wire_control, block_span), 4096 },
		{ offsetof(struct wire_control, block_span), UINT64_MAX - 4095 },
		{ offsetof(struct wire_control, block_file_size), 4096 },
		{ offsetof(struct wire_control, blocks_at), 4096 },
		{ offsetof(struct wire_control, blocks_at), 1ULL << 62 },
		{ offsetof(struct wire_control, lost_at), 1ULL << 40 },
		{ offsetof(struct wire_control, lost_at), UINT64_MAX - 7 },
		{ offsetof(struct wire_control, journal_at), 4 },
		{ offsetof(struct wire_control, lend_at), 1ULL << 40 },
		{ offsetof(struct wire_control, file_size), UINT64_MAX },
		{ offsetof(struct wire_control, file_size), 4096 },
	};

	for (size_t i = 0; i < sizeof(wide) / sizeof(wide[0]); i++) {
		struct wire_control bad = room->geometry;

		memcpy((uint8_t *)&bad + wide[i].at, &wide[i].value, 8);
		assert_refused(room, &bad);
	}
	for (uint32_t i = 0; i < 4; i++) {
		struct wire_control bad = room->geometry;

		bad.cpus = (const uint32_t[]) { 0, CPUS + 1, UINT32_MAX, CPUS }[i];
		bad.max_probes = i == 3 ? UINT32_MAX : PROBES;
		assert_refused(room, &bad);
	}
}

static void test_memory_counters(void **state)
{
	struct room *room = *state;
	const struct trace_memory *memory = &room->target.memory;

	for (uint32_t cpu = 0; cpu < CPUS; cpu++) {
		uint64_t *counters = (uint64_t *)((uint8_t *)memory->blocks[cpu] + room->geometry.counters_at);
		uint64_t *shared = (uint64_t *)((uint8_t *)memory->blocks[cpu] + room->geometry.shared_at);

		counters[3] = 10 + cpu;
		shared[3] = 100 * (cpu + 1);
		counters[PROBES - 1] = 1;
	}
	assert_int_equal(trace_memory_hits(memory, 3), 33 + 600);
	assert_int_equal(trace_memory_hits(memory, PROBES - 1), CPUS);
	assert_int_equal(trace_memory_hits(memory, 0), 0);
	assert_int_equal(trace_memory_hits(memory, PROBES), 0);
	assert_int_equal(trace_memory_hits(memory, UINT32_MAX), 0);
	target_lose(&room->target, 2);
	target_lose(&room->target, 2);
	assert_int_equal(trace_memory_lost(memory, 2), 2);
	assert_int_equal(trace_memory_lost(memory, 1), 0);
	assert_int_equal(trace_memory_lost(memory, UINT32_MAX), 0);
}

/* ---- rings ---- */

static void test_ring_delivers(void **state)
{
	struct room *room = *state;
	uint64_t before = base_now_ns();
	struct log log;

	assert_drains(room, &log, 0);
	assert_true(put(room, 1, 0, target_now(), 42));
	assert_true(put(room, 1, 1, target_now(), 0));
	assert_true(put(room, 1, 2, target_now(), 44));
	assert_drains(room, &log, 3);
	assert_int_equal(log.records[0].id, 0);
	assert_int_equal(log.records[0].cpu, 1);
	assert_int_equal(log.records[0].pid, 1000);
	assert_int_equal(log.records[0].tid, 1000);
	assert_int_equal(log.records[0].source, 7);
	assert_int_equal(log.records[0].nargs, 2);
	assert_int_equal(log.numbers[0], 42);
	assert_int_equal(log.records[1].id, 1);
	assert_int_equal(log.records[1].tid, 1001);
	assert_int_equal(log.records[1].nargs, 0);
	assert_int_equal(log.records[2].nargs, (WIRE_RECORD_MAX - 24) / 8);
	assert_int_equal(log.numbers[2], 44);
	assert_true(log.records[0].time_ns + 5000 >= before && log.records[0].time_ns <= base_now_ns() + 5000);
	assert_true(log.records[0].time_ns <= log.records[1].time_ns);
	assert_drains(room, &log, 0);
	assert_int_equal(stats_of(room).records, 3);
	assert_int_equal(target_ring(&room->target, 1)->tail, 40 + 24 + WIRE_RECORD_MAX);
	assert_int_equal(target_ring(&room->target, 1)->limit, 40 + 24 + WIRE_RECORD_MAX + RING);
}

/* Many laps with sizes that never fit the ring's end; a full ring loses exactly what it says. */
static void test_ring_wraps_and_fills(void **state)
{
	struct room *room = *state;
	static const uint32_t ids[] = { 0, 1, 0, 2, 0 };
	uint64_t written = 0;
	uint64_t lost = 0;
	uint64_t read = 0;

	for (int lap = 0; lap < 2000; lap++) {
		uint64_t first = written;
		struct log log;

		for (int i = 0; i < 1 + lap % 300; i++) {
			if (put(room, 0, ids[(written + lost) % 5], target_now(), written))
				written++;
			else
				lost++;
		}
		assert_drains(room, &log, (long)(written - first));
		for (size_t i = 0; i < log.count; i++, read++)
			if (log.records[i].nargs)
				assert_int_equal(log.numbers[i], read);
	}
	assert_true(lost > 1000 && written > 20 * RING / 40);
	assert_int_equal(trace_memory_lost(&room->target.memory, 0) + trace_memory_lost(&room->target.memory, 1) +
			     trace_memory_lost(&room->target.memory, 2),
			 lost);
	assert_int_equal(stats_of(room).records, written);
	assert_int_equal(stats_of(room).damaged + stats_of(room).overrun, 0);
}

static void test_merge_by_time(void **state)
{
	struct room *room = *state;
	uint64_t base = target_now() - 1000000;
	unsigned seed = 1;
	struct log log;

	for (uint64_t i = 0; i < 300; i++)
		assert_true(put(room, (uint32_t)rand_r(&seed) % CPUS, 0, base + i * 10, i));
	assert_drains(room, &log, 300);
	for (uint64_t i = 0; i < 300; i++) {
		assert_int_equal(log.numbers[i], i);
		assert_true(i == 0 || log.records[i].time_ns >= log.records[i - 1].time_ns);
	}
}

/* What is younger than the horizon waits until nothing older can come, or for the end. */
static void test_horizon(void **state)
{
	struct room *room = *state;
	uint64_t now = target_now();
	struct log log = { 0 };

	assert_true(put(room, 0, 0, now - 100000000, 1));
	assert_true(put(room, 0, 0, now + 100000000, 3)); /* about 40 ms ahead */
	assert_int_equal(trace_reader_drain(room->reader, false, log_record, &log), 1);
	assert_int_equal(trace_reader_drain(room->reader, false, log_record, &log), 0);
	assert_true(put(room, 1, 0, now + 50000000, 2)); /* older, came later: still in order */
	assert_int_equal(trace_reader_drain(room->reader, true, log_record, &log), 2);
	for (uint64_t i = 0; i < 3; i++)
		assert_int_equal(log.numbers[i], i + 1);
}

static void test_callback_stops(void **state)
{
	struct room *room = *state;
	struct log log = { .stop_at = 3 };

	for (uint64_t i = 0; i < 10; i++)
		assert_true(put(room, i % 2, 0, target_now(), i));
	assert_int_equal(trace_reader_drain(room->reader, true, log_record, &log), 77);
	assert_int_equal(log.count, 3);
	assert_int_equal(trace_reader_drain(room->reader, true, log_record, &log), 7);
	for (uint64_t i = 0; i < 10; i++)
		assert_int_equal(log.numbers[i], i);
}

static void test_probes_grow(void **state)
{
	struct room *room = *state;
	struct log log;

	assert_true(put(room, 0, 4, target_now(), 1)); /* not in the table yet */
	assert_drains(room, &log, 0);
	assert_int_equal(stats_of(room).damaged, 32);
	trace_reader_probes(room->reader, room->probes, 5);
	assert_true(put(room, 0, 4, target_now(), 2));
	assert_drains(room, &log, 1);
	assert_int_equal(log.numbers[0], 2);
	assert_int_equal(log.records[0].nargs, 1);
	/* More arguments than the record can hold are not read. */
	room->probes[4].nargs = 1000;
	trace_reader_probes(room->reader, room->probes, 5);
	assert_true(put(room, 0, 4, target_now(), 3));
	assert_drains(room, &log, 1);
	assert_int_equal(log.records[0].nargs, 1);
}

/* Two targets, one stream; one leaves. */
static void test_sources(void **state)
{
	struct room *room = *state;
	struct target other;
	uint64_t base = target_now() - 1000000;
	struct log log;

	assert_int_equal(target_create(&room->geometry, &other), 0);
	assert_int_equal(trace_reader_add(room->reader, &other.memory, 7), -EEXIST);
	assert_int_equal(trace_reader_add(room->reader, &other.memory, 9), 0);
	for (uint64_t i = 0; i < 20; i++) {
		union any_record record = make_record(0, 40, base + i, i);

		assert_true(target_put(i % 3 ? &room->target : &other, 2, &record.header, 40));
	}
	assert_drains(room, &log, 20);
	for (uint64_t i = 0; i < 20; i++) {
		assert_int_equal(log.numbers[i], i);
		assert_int_equal(log.records[i].source, i % 3 ? 7 : 9);
	}
	trace_reader_remove(room->reader, 9);
	trace_reader_remove(room->reader, 1234);
	target_destroy(&other);
	assert_true(put(room, 0, 0, target_now(), 5));
	assert_drains(room, &log, 1);
}

/* A reader that comes later goes on where the last one stopped. */
static void test_second_reader(void **state)
{
	struct room *room = *state;
	struct log log;

	assert_true(put(room, 0, 0, target_now(), 1));
	assert_drains(room, &log, 1);
	assert_true(put(room, 0, 0, target_now(), 2));
	trace_reader_destroy(room->reader);
	assert_int_equal(trace_reader_create(room->probes, 4, &room->reader), 0);
	assert_int_equal(trace_reader_add(room->reader, &room->target.memory, 7), 0);
	assert_drains(room, &log, 1);
	assert_int_equal(log.numbers[0], 2);
}

/* ---- rings that lie ---- */

static void test_damaged_records(void **state)
{
	struct room *room = *state;
	uint64_t now = target_now();
	const struct {
		union any_record record;
		uint64_t bytes;
	} rows[] = {
		{ make_record(5, 40, now, 0), 40 }, /* no such probe */
		{ make_record(UINT32_MAX, 40, now, 0), 40 },
		{ make_record(3, 24, now, 0), 24 }, /* a probe without records */
		{ make_record(0, 48, now, 0), 48 }, /* another size */
		{ make_record(0, 0, now, 0), 40 },
		{ make_record(0, 65535, now, 0), 40 },
		{ make_record(0, 40, now - 1000000000, 0), 40 },   /* goes back in time */
		{ make_record(0, 40, now + 100000000000, 0), 40 }, /* from the future */
		{ make_record(0, 40, UINT64_MAX, 0), 40 },
		{ make_record(0, 40, now, 0), 32 }, /* the head stands inside it */
		{ make_record(0, 40, now, 0), 8 },
	};
	uint64_t damaged = 0;
	struct log log;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_true(put(room, 0, 0, now, 1));
		memcpy(target_ring_bytes(&room->target, 0, target_ring(&room->target, 0)->head), &rows[i].record, 64);
		target_ring(&room->target, 0)->head += rows[i].bytes;
		if (rows[i].bytes >= 40)
			assert_true(put(room, 0, 0, now, 2)); /* behind a bad one: found again */
		damaged += rows[i].bytes;
		assert_drains(room, &log, rows[i].bytes >= 40 ? 2 : 1);
		assert_int_equal(log.numbers[0], 1);
		if (rows[i].bytes >= 40)
			assert_int_equal(log.numbers[1], 2);
		assert_int_equal(stats_of(room).damaged, damaged);
		assert_true(put(room, 0, 0, now, 3)); /* and it goes on */
		assert_drains(room, &log, 1);
		assert_int_equal(log.numbers[0], 3);
	}
	assert_int_equal(stats_of(room).overrun, 0);
}

/* Damage of every length at every place costs the records it touches, and no other. */
static void test_resync(void **state)
{
	struct room *room = *state;
	unsigned seed = 7;

	for (int turn = 0; turn < 3000; turn++) {
		uint64_t from = target_ring(&room->target, 0)->head;
		uint64_t before = stats_of(room).damaged;
		uint64_t starts[101];
		uint64_t hurt = 0;
		uint64_t bad_at;
		uint64_t bad_size;
		struct log log = { 0 };
		size_t got = 0;

		for (uint64_t i = 0; i < 100; i++) {
			starts[i] = target_ring(&room->target, 0)->head;
			assert_true(put(room, 0, (uint32_t)rand_r(&seed) % 2, target_now(), i));
		}
		starts[100] = target_ring(&room->target, 0)->head;
		bad_at = (uint64_t)rand_r(&seed) % (starts[100] - from) & ~7ULL; /* words, so that none of a header stays plausible */
		bad_size = 8 + ((uint64_t)rand_r(&seed) % 300 & ~7ULL);
		for (uint64_t n = bad_at; n < bad_at + bad_size && n < starts[100] - from; n++)
			*target_ring_bytes(&room->target, 0, from + n) = 0xdd;
		assert_true(trace_reader_drain(room->reader, true, log_record, &log) >= 0);
		for (uint64_t i = 0; i < 100; i++) {
			bool is_hurt = starts[i] < from + bad_at + bad_size && starts[i + 1] > from + bad_at;
			bool is_header = is_hurt && starts[i] + 16 > from + bad_at; /* id, size, time: others are taken as they are */

			hurt += is_header ? starts[i + 1] - starts[i] : 0;
			got += !is_header;
		}
		assert_int_equal(log.count, got);
		assert_int_equal(stats_of(room).damaged - before, hurt);
	}
	assert_int_equal(stats_of(room).overrun, 0);
}

/* Two ticks back are no damage: order within the ring wins. */
static void test_time_jitter(void **state)
{
	struct room *room = *state;
	uint64_t now = target_now();
	struct log log;

	assert_true(put(room, 0, 0, now, 1));
	assert_true(put(room, 0, 0, now - 2, 2));
	assert_drains(room, &log, 2);
	assert_int_equal(log.numbers[1], 2);
	assert_true(log.records[1].time_ns >= log.records[0].time_ns);
	assert_int_equal(stats_of(room).damaged, 0);
}

static void test_head_jumps(void **state)
{
	struct room *room = *state;
	struct wire_ring *ring = target_ring(&room->target, 0);
	static const uint64_t heads[] = { 40 + RING + 8, 0, 1ULL << 63, UINT64_MAX, 12345, 40 };
	uint64_t overrun = 0;
	struct log log;

	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		assert_true(put(room, 0, 0, target_now(), i));
		assert_drains(room, &log, 1);
		ring->head = heads[i];
		assert_drains(room, &log, 0);
		assert_true(stats_of(room).overrun > overrun && stats_of(room).overrun <= overrun + RING);
		overrun = stats_of(room).overrun;
		assert_int_equal(ring->tail, heads[i]);
		assert_int_equal(ring->limit, heads[i] + RING);
		assert_true(put(room, 0, 0, target_now(), 100 + i)); /* odd positions are fine */
		assert_drains(room, &log, 1);
		assert_int_equal(log.numbers[0], 100 + i);
	}
	assert_int_equal(stats_of(room).damaged, 0);
	/* The shared tail and limit are not believed: they are written again with the next bytes consumed. */
	ring->tail = 1;
	assert_true(put(room, 0, 0, target_now(), 1));
	assert_drains(room, &log, 1);
	assert_int_equal(ring->tail, ring->head);
}

/* Words of ours that were overwritten while there was nothing to consume. */
static void test_positions_restored(void **state)
{
	struct room *room = *state;
	struct wire_ring *ring = target_ring(&room->target, 0);
	struct wire_cells *cells = target_cells(&room->target, 0);
	struct log log;

	for (int i = 0; i < RING / 40; i++)
		assert_true(put(room, 0, 0, target_now(), 1));
	assert_drains(room, &log, RING / 40);
	ring->tail = 0;
	ring->limit = 0;
	cells->tail = 0 - (uint64_t)CELLS;
	cells->limit = 1ULL << 60;
	assert_false(put(room, 0, 0, target_now(), 2));
	assert_drains(room, &log, 0);
	assert_true(put(room, 0, 0, target_now(), 3));
	assert_int_equal(cells->tail, 0);
	assert_int_equal(cells->limit, CELLS);
	assert_drains(room, &log, 1);
}

/* ---- cells ---- */

static void test_cells_sorted(void **state)
{
	struct room *room = *state;
	uint64_t base = target_now() - 1000000;
	struct log log;

	for (uint64_t lap = 0; lap < 10; lap++) {
		for (uint64_t i = 0; i < 7; i++)
			cell_complete(room, cell_reserve(room), base + (i * 5) % 7 * 10, (i * 5) % 7 * 2);
		for (uint64_t i = 0; i < 7; i++) /* and between records of a ring */
			assert_true(put(room, 1, 0, base + i * 10 + 5, i * 2 + 1));
		assert_drains(room, &log, 14);
		for (uint64_t i = 0; i < 14; i++) {
			assert_int_equal(log.numbers[i], i);
			assert_int_equal(log.records[i].cpu, i % 2);
		}
		base += 100;
	}
	assert_int_equal(target_cells(&room->target, 0)->tail, 70);
	assert_int_equal(target_cells(&room->target, 0)->limit, 70 + CELLS);
}

static void test_cells_fill(void **state)
{
	struct room *room = *state;
	struct log log;
	uint64_t position;

	for (uint64_t lap = 1; lap <= 5; lap++) {
		for (uint64_t i = 0; i < CELLS; i++)
			cell_complete(room, cell_reserve(room), target_now(), i);
		assert_false(target_cell_reserve(&room->target, 0, 0, &position));
		assert_int_equal(trace_memory_lost(&room->target.memory, 0), lap);
		assert_drains(room, &log, CELLS);
	}
}

/* The unfinished hold the tail, not the others; they are given up only when old and overtaken. */
static void test_cells_unfinished(void **state)
{
	struct room *room = *state;
	struct timespec second = { .tv_sec = 1, .tv_nsec = 50000000 };
	uint64_t slow = cell_reserve(room);
	struct log log;
	uint64_t dead;

	cell_complete(room, cell_reserve(room), target_now(), 1);
	assert_drains(room, &log, 1);
	assert_drains(room, &log, 0);
	assert_drains(room, &log, 0); /* overtaken, but young */
	assert_int_equal(target_cells(&room->target, 0)->tail, 0);
	cell_complete(room, slow, target_now(), 2);
	assert_drains(room, &log, 1);
	assert_int_equal(target_cells(&room->target, 0)->tail, 2);

	dead = cell_reserve(room);
	assert_drains(room, &log, 0);
	nanosleep(&second, NULL);
	assert_drains(room, &log, 0); /* old, but nobody overtook it */
	assert_int_equal(stats_of(room).abandoned, 0);
	cell_complete(room, cell_reserve(room), target_now(), 3);
	(void)cell_reserve(room); /* young and last: stays */
	assert_drains(room, &log, 1);
	assert_int_equal(stats_of(room).abandoned, 1);
	assert_int_equal(target_cells(&room->target, 0)->tail, 4);
	cell_complete(room, dead, target_now(), 4); /* too late: nobody looks there */
	assert_drains(room, &log, 0);
	for (uint64_t i = 0; i < CELLS - 1; i++)
		cell_complete(room, cell_reserve(room), target_now(), 10 + i);
	assert_drains(room, &log, CELLS - 1);
	trace_reader_remove(room->reader, 7);
	assert_int_equal(stats_of(room).abandoned, 2);
	assert_int_equal(stats_of(room).damaged, 0);
}

/* All threads died in their cells: the ring comes back. */
static void test_cells_all_dead(void **state)
{
	struct room *room = *state;
	struct timespec second = { .tv_sec = 1, .tv_nsec = 50000000 };
	struct log log;

	for (uint64_t i = 0; i < CELLS; i++)
		(void)cell_reserve(room);
	assert_drains(room, &log, 0);
	nanosleep(&second, NULL);
	assert_drains(room, &log, 0);
	assert_int_equal(stats_of(room).abandoned, CELLS);
	cell_complete(room, cell_reserve(room), target_now(), 1);
	assert_drains(room, &log, 1);
}

/* Records that a stopped drain left are not overwritten by the laps after them. */
static void test_cells_held(void **state)
{
	struct room *room = *state;
	struct log log = { 0 };
	uint64_t number = 0;

	for (uint64_t lap = 1; lap <= 3; lap++) {
		for (uint64_t i = 0; i < CELLS; i++, number++)
			cell_complete(room, cell_reserve(room), target_now(), number);
		log.stop_at = lap;
		assert_int_equal(trace_reader_drain(room->reader, true, log_record, &log), 77);
		/* Two laps fit into the private copies; the third waits where it is. */
		assert_int_equal(target_cells(&room->target, 0)->tail, lap < 3 ? number : number - CELLS + 2);
	}
	while (log.count < number)
		assert_true(trace_reader_drain(room->reader, true, log_record, &log) > 0);
	for (uint64_t i = 0; i < number; i++)
		assert_int_equal(log.numbers[i], i);
}

/* A lap written while the lap before waits for its horizon is still merged in order. */
static void test_cells_lapped(void **state)
{
	struct room *room = *state;
	uint64_t soon = target_now() + 20000000; /* some 10 ms ahead */
	struct log log = { 0 };
	uint64_t number = 0;

	for (uint64_t i = 0; i < CELLS; i++, number++)
		cell_complete(room, cell_reserve(room), soon + number, number);
	assert_int_equal(trace_reader_drain(room->reader, false, log_record, &log), 0);
	for (uint64_t i = 0; i < CELLS; i++, number++)
		cell_complete(room, cell_reserve(room), soon + number, number);
	assert_true(put(room, 1, 0, soon + number, number));
	assert_int_equal(trace_reader_drain(room->reader, true, log_record, &log), number + 1);
	for (uint64_t i = 0; i <= number; i++)
		assert_int_equal(log.numbers[i], i);
}

static void test_cells_damaged(void **state)
{
	struct room *room = *state;
	const union any_record rows[] = { make_record(5, 40, 1, 0), make_record(0, 24, 1, 0), make_record(3, 24, 1, 0),
					  make_record(2, WIRE_RECORD_MAX, 1, 0), make_record(0, 40, UINT64_MAX, 0) };
	struct wire_cells *cells = target_cells(&room->target, 0);
	struct log log;
	uint64_t position;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		position = cell_reserve(room);
		memcpy(target_cell(&room->target, 0, position)->record, &rows[i], 40);
		target_cell(&room->target, 0, position)->seq = position + 1;
	}
	position = cell_reserve(room);
	target_cell(&room->target, 0, position)->seq = position + 1 + CELLS; /* nobody can be there yet */
	assert_drains(room, &log, 0);
	assert_int_equal(stats_of(room).damaged, 6);
	assert_int_equal(cells->tail, 6);
	cells->next = 6 + CELLS + 1;
	assert_drains(room, &log, 0);
	assert_int_equal(stats_of(room).overrun, CELLS * CELL);
	assert_int_equal(cells->tail, 6 + CELLS + 1);
	cells->next = 3;
	assert_drains(room, &log, 0);
	assert_int_equal(stats_of(room).overrun, 2 * CELLS * CELL);
	target_cell(&room->target, 0, 3)->seq = 0;
	cell_complete(room, cell_reserve(room), target_now(), 9);
	assert_drains(room, &log, 1);
	assert_int_equal(log.numbers[0], 9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clock_agrees),
		cmocka_unit_test(test_clock_is_a_line),
		IN_ROOM(test_memory_layout),
		IN_ROOM(test_memory_refuses),
		IN_ROOM(test_memory_counters),
		IN_ROOM(test_ring_delivers),
		IN_ROOM(test_ring_wraps_and_fills),
		IN_ROOM(test_merge_by_time),
		IN_ROOM(test_horizon),
		IN_ROOM(test_callback_stops),
		IN_ROOM(test_probes_grow),
		IN_ROOM(test_sources),
		IN_ROOM(test_second_reader),
		IN_ROOM(test_damaged_records),
		IN_ROOM(test_resync),
		IN_ROOM(test_time_jitter),
		IN_ROOM(test_head_jumps),
		IN_ROOM(test_positions_restored),
		IN_ROOM(test_cells_sorted),
		IN_ROOM(test_cells_fill),
		IN_ROOM(test_cells_unfinished),
		IN_ROOM(test_cells_all_dead),
		IN_ROOM(test_cells_held),
		IN_ROOM(test_cells_lapped),
		IN_ROOM(test_cells_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
