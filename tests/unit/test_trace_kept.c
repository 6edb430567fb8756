/* SPDX-License-Identifier: MIT */
/*
 * The flight recorder's reader: what rings hold that nobody drains, whatever else is in them. The target is played by
 * this process, one step at a time; test_trace_kept_live.c goes on while it is copied.
 */
#include "trace_kept.h"

static struct trace_snapshot look(struct room *room, bool live, struct log *log)
{
	struct trace_snapshot snapshot = { .records = 99 };

	*log = (struct log) { 0 };
	assert_int_equal(trace_reader_snapshot(room->reader, live, log_record, log, &snapshot), 0);
	assert_int_equal(snapshot.records, log->count);
	assert_int_equal(stats_of(room).records, log->count);
	if (log->count) {
		assert_int_equal(snapshot.first_ns, log->records[0].time_ns);
		assert_int_equal(snapshot.last_ns, log->records[log->count - 1].time_ns);
	}
	for (size_t i = 1; i < log->count; i++)
		assert_true(log->records[i].time_ns >= log->records[i - 1].time_ns);
	return snapshot;
}

static void assert_numbers(const struct log *log, uint64_t first, uint64_t count)
{
	assert_int_equal(log->count, count);
	for (uint64_t i = 0; i < count; i++)
		assert_int_equal(log->numbers[i], first + i);
}

/* ---- rings ---- */

static void test_nothing(void **state)
{
	struct room *room = *state;
	struct log log;
	struct trace_snapshot snapshot = look(room, true, &log);

	assert_int_equal(snapshot.records + snapshot.gone_bytes + snapshot.gone_records + snapshot.since_ns, 0);
	assert_true(snapshot.gone_is_exact);
}

static void test_all_there(void **state)
{
	struct room *room = *state;
	uint64_t before = base_now_ns();
	struct trace_snapshot snapshot;
	struct log log;

	for (uint64_t i = 0; i < 30; i++)
		keep(room, i % CPUS, i % 5 == 4 ? 1 : 0, target_now(), i);
	for (int again = 0; again < 3; again++) { /* a snapshot takes nothing away */
		snapshot = look(room, again % 2, &log);
		assert_int_equal(log.count, 30);
		for (uint64_t i = 0; i < 30; i++) {
			assert_int_equal(log.records[i].cpu, i % CPUS);
			assert_int_equal(log.records[i].id, i % 5 == 4 ? 1 : 0);
			assert_int_equal(log.records[i].tid, 1000 + log.records[i].id);
			assert_int_equal(log.records[i].source, 7);
			assert_int_equal(log.records[i].nargs, i % 5 == 4 ? 0 : 2);
			assert_int_equal(log.numbers[i], i % 5 == 4 ? 0 : i);
		}
		assert_int_equal(snapshot.gone_bytes + snapshot.gone_records + snapshot.since_ns, 0);
		assert_true(snapshot.first_ns + 5000 >= before && snapshot.last_ns <= base_now_ns() + 5000);
	}
	assert_int_equal(stats_of(room).damaged + stats_of(room).overrun + stats_of(room).abandoned, 0);
}

/* Many laps of one size: which are kept, and how many are gone, is known exactly. */
static void test_wraps(void **state)
{
	struct room *room = *state;
	struct trace_snapshot snapshot;
	uint64_t written = 0;
	struct log log;

	room->probes[1].record_size = 0; /* all records are of one size */
	room->probes[2].record_size = 0;
	trace_reader_probes(room->reader, room->probes, 1);
	for (int lap = 0; lap < 500; lap++) {
		for (int i = 0; i < 1 + lap % 300; i++)
			keep(room, 0, 0, target_now(), written++);
		snapshot = look(room, lap % 2, &log);
		assert_int_equal(snapshot.gone_records + log.count, written);
		assert_int_equal(snapshot.gone_bytes, snapshot.gone_records * TRAILED(40));
		assert_true(snapshot.gone_is_exact);
		assert_numbers(&log, snapshot.gone_records, written - snapshot.gone_records);
		/* All but what the next record would touch, and what that cuts through. */
		assert_true(log.count == written || log.count + 2 >= RING / TRAILED(40));
		assert_true(written == log.count ? !snapshot.since_ns : snapshot.since_ns == snapshot.first_ns);
		assert_int_equal(stats_of(room).damaged, 0);
	}
}

/* Of all sizes, so that the oldest is cut everywhere. */
static void test_wraps_mixed(void **state)
{
	struct room *room = *state;
	struct trace_snapshot snapshot;
	static const uint32_t ids[] = { 0, 1, 0, 2, 0, 1, 1 };
	uint64_t written = 0;
	struct log log;

	for (int lap = 0; lap < 2000; lap++) {
		uint64_t head;

		for (int i = 0; i < 1 + lap % 40; i++, written++)
			keep(room, 1, ids[written * 5 % 7], target_now(), written);
		snapshot = look(room, false, &log);
		head = target_ring(&room->target, 1)->head;
		for (size_t i = 0; i < log.count; i++) {
			head -= TRAILED(room->probes[log.records[i].id].record_size);
			if (log.records[i].nargs)
				assert_int_equal(log.numbers[i], written - log.count + i);
		}
		assert_int_equal(snapshot.gone_bytes, head);
		assert_true(!head || !snapshot.gone_is_exact);
		assert_true(!head || target_ring(&room->target, 1)->head - head + 2 * TRAILED(WIRE_RECORD_MAX) > RING);
		assert_int_equal(stats_of(room).damaged, 0);
	}
}

/* A writer was killed in the middle of a record: what it wrote, it wrote over the oldest, and above the head. */
static void test_torn(void **state)
{
	struct room *room = *state;
	uint64_t written = 0;
	struct log log;

	for (int turn = 0; turn < 400; turn++) {
		for (int i = 0; i < 1 + turn; i++)
			keep(room, 0, 0, target_now(), written++);
		memset(target_ring_bytes(&room->target, 0, target_ring(&room->target, 0)->head), 0xdd,
		       TRAILED(WIRE_RECORD_MAX));
		(void)look(room, turn % 2, &log);
		assert_numbers(&log, written - log.count, log.count);
		assert_true(log.count == written || log.count + 2 + TRAILED(WIRE_RECORD_MAX) / TRAILED(40) > RING / TRAILED(40));
		assert_int_equal(stats_of(room).damaged, 0);
	}
}

/* The ring's length is a record's and a bit, or less than what might be being written. */
static void test_tiny(void **state)
{
	const struct wire_control geometry = target_geometry(1, WIRE_PAGE, CELLS, CELL, PROBES);
	struct room *room = *state;
	struct target tiny;
	struct log log;

	trace_reader_remove(room->reader, 7);
	assert_int_equal(target_create(&geometry, &tiny), 0);
	assert_int_equal(trace_reader_add(room->reader, &tiny.memory, 8), 0);
	for (uint64_t i = 0; i < 50; i++) {
		uint32_t id = i % 3 ? 2 : 0;

		keep_on(&tiny, 0, id, (uint16_t)room->probes[id].record_size, target_now(), i);
		(void)look(room, false, &log);
		/* The largest is more than the ring without what might be being written. */
		assert_in_range(log.count, id == 0 ? 1 : 0, 2);
		assert_numbers(&log, i + 1 - log.count, log.count);
		assert_int_equal(stats_of(room).damaged, 0);
	}
	trace_reader_remove(room->reader, 8);
	target_destroy(&tiny);
}

/* ---- order ---- */

static void test_merged(void **state)
{
	struct room *room = *state;
	uint64_t base = target_now() - 10000000;
	unsigned seed = 1;
	struct target other;
	struct trace_snapshot snapshot;
	uint64_t first = 0;
	struct log log;

	assert_int_equal(target_create(&room->geometry, &other), 0);
	assert_int_equal(trace_reader_add(room->reader, &other.memory, 9), 0);
	for (uint64_t i = 0; i < 3000; i++) {
		bool is_other = rand_r(&seed) % 2;

		/* The other's CPU 2 is quiet: its records from long ago are still there. */
		keep_on(is_other ? &other : &room->target, is_other && i > 50 ? 0 : (uint32_t)rand_r(&seed) % CPUS, 0, 40,
			base + i * 10, i);
	}
	snapshot = look(room, false, &log);
	assert_true(log.count > 4 * 100);
	for (size_t i = 1; i < log.count; i++)
		assert_true(log.numbers[i] > log.numbers[i - 1]);
	assert_true(log.numbers[0] < 50);
	assert_int_equal(log.numbers[log.count - 1], 2999);
	/* From the time that it tells on, all of them are there. */
	while (log.records[first].time_ns < snapshot.since_ns)
		first++;
	assert_in_range(first, 1, log.count - 100);
	for (uint64_t i = first; i < log.count; i++)
		assert_int_equal(log.numbers[i], 3000 - log.count + i);
	trace_reader_remove(room->reader, 9);
	target_destroy(&other);
}

static void test_horizon(void **state)
{
	struct room *room = *state;
	uint64_t now = target_now();
	struct log log;

	keep(room, 0, 0, now - 1000, 1);
	keep(room, 0, 0, now + 300000000, 2); /* some 100 ms ahead */
	keep(room, 1, 0, now + 200000000, 3);
	(void)look(room, true, &log);
	assert_numbers(&log, 1, 1);
	(void)look(room, false, &log);
	assert_int_equal(log.count, 3);
	assert_int_equal(log.numbers[1], 3);
}

static int stop_at_third(void *arg, const struct trace_record *record)
{
	return ++*(int *)arg == 3 ? 77 : 0;
}

static void test_callback_stops(void **state)
{
	struct room *room = *state;
	struct trace_snapshot snapshot = { .records = 99 };
	struct log log;
	int count = 0;

	for (uint64_t i = 0; i < 10; i++)
		keep(room, i % 2, 0, target_now(), i);
	assert_int_equal(trace_reader_snapshot(room->reader, false, stop_at_third, &count, &snapshot), 77);
	assert_int_equal(count, 3);
	assert_int_equal(snapshot.records, 99);
	(void)look(room, false, &log);
	assert_numbers(&log, 0, 10);
}

/* Nothing is drained; limits that a target lowered would lose records. */
static void test_drain(void **state)
{
	struct room *room = *state;
	struct log log = { 0 };

	keep(room, 0, 0, target_now(), 1);
	for (uint32_t cpu = 0; cpu < CPUS; cpu++) {
		assert_true(target_ring(&room->target, cpu)->limit == UINT64_MAX);
		assert_true(target_cells(&room->target, cpu)->limit == UINT64_MAX);
		target_ring(&room->target, cpu)->limit = cpu;
		target_cells(&room->target, cpu)->limit = 0;
	}
	assert_int_equal(trace_reader_drain(room->reader, true, log_record, &log), 0);
	for (uint32_t cpu = 0; cpu < CPUS; cpu++) {
		assert_true(target_ring(&room->target, cpu)->limit == UINT64_MAX);
		assert_true(target_cells(&room->target, cpu)->limit == UINT64_MAX);
	}
	(void)look(room, false, &log);
	assert_numbers(&log, 1, 1);
}

/* ---- rings that lie ---- */

/* Damage of every length at every place costs the records it touches, and no other. */
static void test_scribbles(void **state)
{
	struct room *room = *state;
	unsigned seed = 3;

	for (int turn = 0; turn < 3000; turn++) {
		struct wire_ring *ring = target_ring(&room->target, 0);
		uint64_t starts[101];
		uint64_t bad_at;
		uint64_t bad_end;
		uint64_t hurt = 0;
		uint64_t newest = 0;
		struct trace_snapshot snapshot;
		struct log log;
		size_t got = 0;

		ring->head = 0;
		for (uint64_t i = 0; i < 100; i++) {
			starts[i] = ring->head;
			keep(room, 0, (uint32_t)rand_r(&seed) % 2, target_now(), i);
		}
		starts[100] = ring->head;
		bad_at = (uint64_t)rand_r(&seed) % ring->head & ~7ULL;
		bad_end = bad_at + 8 + ((uint64_t)rand_r(&seed) % 300 & ~7ULL);
		bad_end = bad_end < ring->head ? bad_end : ring->head;
		memset(target_ring_bytes(&room->target, 0, bad_at), 0xdd, bad_end - bad_at);
		snapshot = look(room, false, &log);
		for (uint64_t i = 0; i < 100; i++) {
			/* id and size, time, and the trailer are looked at; the rest is taken as it is */
			bool is_hurt = (bad_at < starts[i] + 16 && bad_end > starts[i]) ||
				       (bad_at < starts[i + 1] && bad_end >= starts[i + 1]);

			hurt += is_hurt ? starts[i + 1] - starts[i] : 0;
			newest = is_hurt ? i + 1 : newest;
			got += !is_hurt;
		}
		assert_int_equal(log.count, got);
		assert_int_equal(stats_of(room).damaged, hurt);
		assert_true(hurt ? snapshot.since_ns : !snapshot.since_ns);
		if (hurt && newest < 100) /* since: that of the first after the gap */
			assert_int_equal(snapshot.since_ns, log.records[got - (100 - newest)].time_ns);
	}
}

/* A time that contradicts those on both sides is the one that is wrong. */
static void test_wrong_times(void **state)
{
	struct room *room = *state;
	static const int64_t by[] = { -1000000000, 500000000, 1LL << 40, -(1LL << 40), INT64_MIN };

	for (size_t i = 0; i < sizeof(by) / sizeof(by[0]); i++) {
		for (uint64_t bad = 0; bad < 20; bad++) {
			uint64_t now = target_now() - 10000000000;
			struct log log;

			target_ring(&room->target, 0)->head = 0;
			for (uint64_t n = 0; n < 20; n++)
				keep(room, 0, 0, now + 100 * n + (n == bad ? (uint64_t)by[i] : 0), n);
			(void)look(room, false, &log);
			/* At an end there is only one side: the oldest may be old. */
			if ((bad == 0 && by[i] < 0 && by[i] != INT64_MIN) || (bad == 19 && by[i] == 500000000)) {
				assert_numbers(&log, 0, 20);
				continue;
			}
			assert_int_equal(stats_of(room).damaged, TRAILED(40));
			assert_int_equal(log.count, 19);
			/* Of the two youngest, nobody can tell which one it is. */
			for (uint64_t n = 0; n < (bad == 18 ? 18 : 19); n++)
				assert_int_equal(log.numbers[n], n + (n >= bad));
		}
	}
}

/* A few ticks back are the CPU's reordering. */
static void test_jitter(void **state)
{
	struct room *room = *state;
	uint64_t now = target_now();
	struct log log;

	keep(room, 0, 0, now, 0);
	keep(room, 0, 0, now - 2, 1);
	(void)look(room, false, &log);
	assert_numbers(&log, 0, 2);
	assert_int_equal(stats_of(room).damaged, 0);
}

static void test_wrong_heads(void **state)
{
	struct room *room = *state;
	struct wire_ring *ring = target_ring(&room->target, 0);
	static const uint64_t moves[] = { 8, 3, 16, 1000, RING, RING + 8, 1ULL << 63, 0 - 8ULL, 0 - 4800ULL, 0 - (1ULL << 40) };

	for (size_t i = 0; i < sizeof(moves) / sizeof(moves[0]); i++) {
		uint64_t base = target_now() - 2000000000;
		struct trace_snapshot snapshot;
		struct log log;

		ring->head = 48 * 1000;
		for (uint64_t n = 0; n < 1000; n++)
			keep(room, 0, 0, base + n * 1000000, n); /* a lap takes longer than what passes for jitter */
		ring->head += moves[i];
		snapshot = look(room, false, &log);
		/* Whatever is delivered are records that were written. */
		for (uint64_t n = 1; n < log.count; n++)
			assert_int_equal(log.numbers[n], log.numbers[0] + n);
		assert_true(!log.count || (log.numbers[0] + log.count <= 1000 && log.numbers[0] > 800));
		for (uint64_t n = 0; n < 10; n++) /* and it goes on from there */
			keep(room, 0, 0, target_now(), 5000 + n);
		snapshot = look(room, false, &log);
		assert_true(log.count >= 10);
		for (uint64_t n = 0; n < 10; n++)
			assert_int_equal(log.numbers[log.count - 10 + n], 5000 + n);
		assert_true(snapshot.last_ns);
	}
}

/* Whole trailers and headers, everywhere, that do not belong together. */
static void test_decoys(void **state)
{
	struct room *room = *state;
	uint64_t now = target_now();
	uint64_t decoy[6] = { 40ULL << 32, now, 0, 1, 2, WIRE_TRAILER(40) };
	struct log log;

	for (uint64_t n = 0; n < 300; n++)
		keep(room, 0, n % 2 * 2, now + n, n);
	/* One inside the arguments of each large record, and then the trailer of the youngest is gone. */
	for (uint64_t at = 0; at < RING; at += 8)
		if (*(uint64_t *)(void *)target_ring_bytes(&room->target, 0, at) == ((uint64_t)WIRE_RECORD_MAX << 32 | 2))
			memcpy(target_ring_bytes(&room->target, 0, at + 512), decoy, sizeof(decoy));
	*(uint64_t *)(void *)target_ring_bytes(&room->target, 0, target_ring(&room->target, 0)->head - 8) = 1;
	(void)look(room, false, &log);
	assert_int_equal(stats_of(room).damaged, TRAILED(WIRE_RECORD_MAX)); /* the youngest */
	assert_numbers(&log, 296, 3);
}

static void test_random_bytes(void **state)
{
	struct room *room = *state;
	unsigned seed = 11;

	for (int turn = 0; turn < 300; turn++) {
		struct log log;

		for (uint32_t cpu = 0; cpu < CPUS; cpu++) {
			target_ring(&room->target, cpu)->head = (uint64_t)rand_r(&seed) << (rand_r(&seed) % 40);
			target_cells(&room->target, cpu)->next = (uint64_t)rand_r(&seed) << (rand_r(&seed) % 40);
			for (uint64_t at = 0; at < RING; at += 4)
				*(uint32_t *)(void *)target_ring_bytes(&room->target, cpu, at) = (uint32_t)rand_r(&seed) % 4;
		}
		(void)look(room, turn % 2, &log);
		assert_int_equal(log.count, 0);
		for (uint32_t cpu = 0; cpu < CPUS; cpu++)
			keep(room, cpu, 0, target_now(), cpu);
		(void)look(room, false, &log);
		assert_numbers(&log, 0, CPUS);
	}
}

/* ---- cells ---- */

static void test_cells(void **state)
{
	struct room *room = *state;
	struct trace_snapshot snapshot;
	uint64_t written = 0;
	uint64_t base;
	struct log log;

	for (int lap = 0; lap < 100; lap++) {
		for (int i = 0; i < 1 + lap % 7; i++)
			assert_true(keep_in_cell(room, 2, target_now(), written++));
		snapshot = look(room, lap % 2, &log);
		assert_int_equal(snapshot.gone_records + log.count, written);
		assert_int_equal(log.count, written < CELLS ? written : CELLS);
		assert_numbers(&log, snapshot.gone_records, log.count);
		assert_int_equal(log.records[0].cpu, 2);
		assert_int_equal(snapshot.gone_is_exact, !snapshot.gone_records);
		assert_int_equal(snapshot.since_ns, snapshot.gone_records ? snapshot.first_ns : 0);
	}
	/* By time, not by place; and between those of a ring. */
	base = target_now();
	for (uint64_t i = 0; i < CELLS; i++)
		assert_true(keep_in_cell(room, 2, base + 1000 * (i ^ 5), 2 * (i ^ 5)));
	for (uint64_t i = 0; i < CELLS; i++)
		keep(room, 1, 0, base + 1000 * i + 500, 2 * i + 1);
	(void)look(room, false, &log);
	assert_numbers(&log, 0, 2 * CELLS);
}

static void test_cells_not_whole(void **state)
{
	struct room *room = *state;
	struct wire_cells *cells = target_cells(&room->target, 0);
	const union any_record bad[] = { make_record(5, 40, 1, 0), make_record(0, 24, 1, 0), make_record(2, WIRE_RECORD_MAX, 1, 0),
					 make_record(0, 40, UINT64_MAX, 0) };
	struct log log;

	for (uint64_t i = 0; i < CELLS; i++)
		assert_true(keep_in_cell(room, 0, target_now(), i));
	target_cell(&room->target, 0, 0)->seq = WIRE_CELL_BUSY(1);         /* a thread died there */
	target_cell(&room->target, 0, 1)->seq = 0;                         /* reserved, not taken yet */
	target_cell(&room->target, 0, 2)->seq = 3 + CELLS;                 /* not of this lap */
	memset(target_cell(&room->target, 0, 3)->record, 0, 8);            /* discarded */
	for (uint64_t i = 0; i < 4; i++)
		memcpy(target_cell(&room->target, 0, 4 + i)->record, &bad[i], 40);
	(void)look(room, true, &log);
	assert_numbers(&log, 8, CELLS - 8);
	assert_int_equal(stats_of(room).damaged, 4);
	assert_int_equal(stats_of(room).abandoned, 0); /* perhaps they come back */
	(void)look(room, false, &log);
	assert_int_equal(stats_of(room).abandoned, 3);
	assert_false(keep_in_cell(room, 0, target_now(), 1)); /* its place is the dead thread's */
	cells->next = UINT64_MAX - 3;
	(void)look(room, false, &log);
	assert_int_equal(log.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_KEPT(test_nothing),	       IN_KEPT(test_all_there),	  IN_KEPT(test_wraps),
		IN_KEPT(test_wraps_mixed),     IN_KEPT(test_torn),	  IN_KEPT(test_tiny),
		IN_KEPT(test_merged),	       IN_KEPT(test_horizon),	  IN_KEPT(test_callback_stops),
		IN_KEPT(test_drain),	       IN_KEPT(test_scribbles),	  IN_KEPT(test_wrong_times),
		IN_KEPT(test_jitter),	       IN_KEPT(test_wrong_heads), IN_KEPT(test_decoys),
		IN_KEPT(test_random_bytes),    IN_KEPT(test_cells),	  IN_KEPT(test_cells_not_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
