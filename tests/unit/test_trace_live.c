/* SPDX-License-Identifier: MIT */
/*
 * The trace room while the target runs: sleeping and being woken, exact accounting with writers at full speed, a target
 * that scribbles on everything, and how fast a drain is.
 */
#include "trace_room.h"

#include <pthread.h>
#include <sched.h>

/* ---- waiting ---- */

static void *write_later(void *arg)
{
	struct room *room = arg;
	struct timespec pause = { .tv_nsec = 20000000 };

	nanosleep(&pause, NULL);
	for (int i = 0; i < RING / 4 / 40 + 1; i++)
		put(room, 1, 0, target_now(), 1);
	return NULL;
}

static uint64_t waited_ms(struct room *room, int timeout_ms)
{
	uint64_t start = base_now_ns();

	trace_reader_wait(room->reader, timeout_ms);
	assert_int_equal(target_control(&room->target)->sleeping, 0);
	assert_int_equal(target_ring(&room->target, 1)->limit, target_ring(&room->target, 1)->tail + RING);
	return (base_now_ns() - start) / 1000000;
}

static void check_wait(struct room *room)
{
	pthread_t thread;
	struct log log;

	assert_in_range(waited_ms(room, 30), 29, 5000);
	assert_true(waited_ms(room, 0) < 5000);
	assert_int_equal(pthread_create(&thread, NULL, write_later, room), 0);
	assert_in_range(waited_ms(room, 20000), 10, 10000); /* woken, not timed out */
	pthread_join(thread, NULL);
	assert_true(waited_ms(room, 20000) < 10000); /* beyond the watermark: does not sleep */
	assert_drains(room, &log, RING / 4 / 40 + 1);
}

static void test_wait_one(void **state)
{
	check_wait(*state);
}

static void check_wait_with(struct room *room, size_t others)
{
	struct target *other = calloc(others, sizeof(*other));

	assert_non_null(other);
	for (size_t i = 0; i < others; i++) {
		assert_int_equal(target_create(&room->geometry, &other[i]), 0);
		assert_int_equal(trace_reader_add(room->reader, &other[i].memory, 100 + (uint32_t)i), 0);
	}
	check_wait(room);
	for (size_t i = 0; i < others; i++) {
		trace_reader_remove(room->reader, 100 + (uint32_t)i);
		target_destroy(&other[i]);
	}
	free(other);
}

static void test_wait_several(void **state)
{
	check_wait_with(*state, 2);
}

/* More than one futex_waitv call takes: polls. */
static void test_wait_many(void **state)
{
	check_wait_with(*state, FUTEX_WAITV_MAX);
}

static void test_wait_without_sources(void **state)
{
	struct room *room = *state;
	uint64_t start = base_now_ns();

	trace_reader_remove(room->reader, 7);
	trace_reader_wait(room->reader, 20);
	assert_in_range((base_now_ns() - start) / 1000000, 19, 5000);
}

/* ---- with writers running ---- */

struct writer {
	struct room *room;
	uint32_t cpu;
	uint64_t attempts;
	uint64_t written;
	bool cells;
	bool *stop;
	pthread_t thread;
};

static void *writer_run(void *arg)
{
	struct writer *writer = arg;

	for (uint64_t i = 0; i < writer->attempts; i++) {
		uint64_t number = (uint64_t)writer->cpu << 32 | writer->written;
		uint64_t position;

		if (!writer->cells) {
			writer->written += put(writer->room, writer->cpu, 0, target_now(), number);
		} else if (target_cell_reserve(&writer->room->target, 0, 0, &position)) {
			cell_complete(writer->room, position, target_now(), number);
			writer->written++;
		}
		if (i % 1024 == 0)
			sched_yield();
	}
	return NULL;
}

/* Numbers of each writer come without a gap; time does not fall within a CPU's ring. */
struct checker {
	uint64_t next[8];
	uint64_t time[8];
	uint64_t late; /* records older than one delivered before */
	uint64_t last;
	uint64_t count;
};

static int check_record(void *arg, const struct trace_record *record)
{
	struct checker *checker = arg;
	uint64_t writer = record->args[0] >> 32;

	assert_true(writer < 8);
	assert_int_equal(record->args[0] & UINT32_MAX, checker->next[writer]);
	assert_int_equal(record->args[1], ~record->args[0]);
	checker->next[writer]++;
	assert_true(record->time_ns >= checker->time[writer]);
	checker->time[writer] = record->time_ns;
	checker->late += record->time_ns < checker->last;
	if (record->time_ns > checker->last)
		checker->last = record->time_ns;
	checker->count++;
	return 0;
}

static void *drain_until(void *arg)
{
	struct writer *writer = arg;

	for (int i = 0; i < 8; i++)
		if (writer[i].attempts)
			pthread_join(writer[i].thread, NULL);
	__atomic_store_n(writer[0].stop, true, __ATOMIC_RELEASE);
	return NULL;
}

static void test_writers_exact(void **state)
{
	struct room *room = *state;
	struct writer writers[8] = { 0 };
	struct checker checker = { 0 };
	uint64_t attempts = 0;
	uint64_t written = 0;
	bool stop = false;
	pthread_t joiner;

	for (uint32_t i = 0; i < CPUS + 2; i++) {
		writers[i] = (struct writer) { .room = room, .cpu = i, .cells = i >= CPUS, .stop = &stop };
		writers[i].attempts = i >= CPUS ? 20000 : 200000;
		attempts += writers[i].attempts;
		assert_int_equal(pthread_create(&writers[i].thread, NULL, writer_run, &writers[i]), 0);
	}
	assert_int_equal(pthread_create(&joiner, NULL, drain_until, writers), 0);
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		assert_true(trace_reader_drain(room->reader, false, check_record, &checker) >= 0);
		trace_reader_wait(room->reader, 20);
	}
	pthread_join(joiner, NULL);
	assert_true(trace_reader_drain(room->reader, true, check_record, &checker) >= 0);
	for (uint32_t i = 0; i < CPUS + 2; i++) {
		assert_int_equal(checker.next[i], writers[i].written);
		written += writers[i].written;
	}
	assert_int_equal(checker.count, written);
	assert_int_equal(written + trace_memory_lost(&room->target.memory, 0), attempts);
	assert_int_equal(stats_of(room).records, written);
	assert_int_equal(stats_of(room).damaged + stats_of(room).overrun + stats_of(room).abandoned, 0);
	/* The threads of this test can be interrupted between taking the time and committing, which rseq would undo. */
	assert_true(checker.late < written / 20);
	print_message("delivered %lu of %lu, %lu late\n", written, attempts, checker.late);
}

struct scribbler {
	struct room *room;
	unsigned seed;
	bool stop;
};

/* A random word anywhere in the data part, most often where positions stand. */
static void scribble_word(struct scribbler *scribbler)
{
	struct trace_memory *memory = &scribbler->room->target.memory;
	uint64_t *block = memory->blocks[(uint32_t)rand_r(&scribbler->seed) % CPUS];
	uint64_t value = (uint64_t)rand_r(&scribbler->seed) << 33 ^ (uint64_t)rand_r(&scribbler->seed);
	int kind = rand_r(&scribbler->seed) % 16;

	if (kind < 2)
		block[kind ? 0 : memory->geometry.cells_at / 8] += value % (RING / 2) & ~7ULL;
	else if (kind == 2)
		block[(uint32_t)rand_r(&scribbler->seed) % 3] = value;
	else if (kind == 3)
		((uint64_t *)memory->data)[value % (memory->geometry.blocks_at / 8)] = value;
	else
		block[(uint32_t)rand_r(&scribbler->seed) % (memory->geometry.block_span / 8)] = value;
}

static void *scribble(void *arg)
{
	struct scribbler *scribbler = arg;

	while (!__atomic_load_n(&scribbler->stop, __ATOMIC_RELAXED))
		scribble_word(scribbler);
	return NULL;
}

static int check_scribbled(void *arg, const struct trace_record *record)
{
	struct room *room = arg;
	uint64_t sum = 0;

	assert_true(record->id < 4 && record->id != 3 && record->cpu < CPUS && record->source == 7);
	assert_int_equal(record->nargs, room->probes[record->id].nargs);
	for (uint32_t i = 0; i < record->nargs; i++)
		sum += record->args[i];
	return sum == 0x123456789; /* the arguments are readable */
}

/* A record behind whatever the head is now. */
static void put_blindly(struct room *room, uint32_t cpu, uint64_t number)
{
	union any_record record = make_record(0, 40, target_now(), number);
	struct wire_ring *ring = target_ring(&room->target, cpu);
	uint64_t head = ring->head;

	memcpy(target_ring_bytes(&room->target, cpu, head), &record, 40);
	ring->head = head + 40;
}

/* One thread scribbles whenever it can; so that much happens on a busy machine too, so does this one between drains. */
static void test_scribbled(void **state)
{
	struct room *room = *state;
	struct scribbler scribbler = { .room = room, .seed = (unsigned)base_now_ns() };
	struct scribbler own = { .room = room, .seed = scribbler.seed + 1 };
	struct trace_stats before;
	struct trace_stats stats;
	struct log log;
	pthread_t thread;

	print_message("seed %u\n", scribbler.seed);
	assert_int_equal(pthread_create(&thread, NULL, scribble, &scribbler), 0);
	for (uint64_t i = 0; i < 20000; i++) {
		for (uint32_t cpu = 0; cpu < CPUS; cpu++)
			put_blindly(room, cpu, i);
		for (uint64_t n = 0; n < i % 8; n++)
			scribble_word(&own);
		assert_true(trace_reader_drain(room->reader, i % 2, check_scribbled, room) >= 0);
		if (i % 1000 == 0)
			trace_reader_wait(room->reader, 1);
	}
	__atomic_store_n(&scribbler.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	assert_true(trace_reader_drain(room->reader, true, check_scribbled, room) >= 0);
	stats = stats_of(room);
	print_message("records %lu damaged %lu overrun %lu abandoned %lu\n", stats.records, stats.damaged,
		      stats.overrun, stats.abandoned);
	assert_true(stats.damaged && stats.overrun);
	/* After it, all is as if nothing had been. */
	before = stats;
	for (uint64_t i = 0; i < 30; i++)
		assert_true(put(room, i % CPUS, 0, target_now(), i));
	assert_drains(room, &log, 30);
	for (uint64_t i = 0; i < 30; i++)
		assert_int_equal(log.numbers[i], i);
	assert_int_equal(stats_of(room).damaged, before.damaged);
	assert_int_equal(stats_of(room).overrun, before.overrun);
}

/* ---- speed ---- */

static int count_record(void *arg, const struct trace_record *record)
{
	*(uint64_t *)arg += record->args[0];
	return 0;
}

/* Two rings, 40-byte records, taking turns record by record: only the drains are timed. */
static void test_throughput(void **state)
{
	const struct wire_control geometry = target_geometry(2, 1 << 20, CELLS, CELL, PROBES);
	struct room *room = *state;
	struct target target;
	uint64_t spent = 0;
	uint64_t count = 0;
	uint64_t sum = 0;

	assert_int_equal(target_create(&geometry, &target), 0);
	assert_int_equal(trace_reader_add(room->reader, &target.memory, 8), 0);
	for (int lap = 0; lap < 200; lap++) {
		uint64_t base = target_now() - 1000000;
		uint64_t start;

		for (uint64_t i = 0; i < 20000; i++) {
			union any_record record;

			record.header = (struct wire_record) { .id = 0, .size = 40, .time = base + i };
			record.full.args[0] = 1;
			record.full.args[1] = 2;
			assert_true(target_put(&target, i % 2, &record.header, 40));
		}
		start = base_now_ns();
		assert_int_equal(trace_reader_drain(room->reader, false, count_record, &sum), 20000);
		spent += base_now_ns() - start;
		count += 20000;
	}
	assert_int_equal(sum, count);
	print_message("%.1f million records/s\n", (double)count * 1e3 / (double)spent);
	trace_reader_remove(room->reader, 8);
	target_destroy(&target);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_ROOM(test_wait_one),      IN_ROOM(test_wait_several),
		IN_ROOM(test_wait_many),     IN_ROOM(test_wait_without_sources),
		IN_ROOM(test_writers_exact), IN_ROOM(test_scribbled),
		IN_ROOM(test_throughput),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
