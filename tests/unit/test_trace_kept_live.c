/* SPDX-License-Identifier: MIT */
/* Snapshots of rings and cells whose writers go on at full speed: whatever the moment, nothing is torn and nothing is missing. */
#include "trace_kept.h"

#include <pthread.h>

/* ---- with writers running ---- */

struct writer {
	struct room *room;
	uint32_t cpu;
	bool cells;
	uint64_t written;
	bool *stop;
	pthread_t thread;
};

static void *writer_run(void *arg)
{
	struct writer *writer = arg;

	while (!__atomic_load_n(writer->stop, __ATOMIC_RELAXED)) {
		uint64_t number = (uint64_t)writer->cpu << 32 | writer->written;

		if (writer->cells)
			writer->written += keep_in_cell(writer->room, writer->cpu, target_now(), number);
		else
			keep_on(&writer->room->target, writer->cpu, 0, 40, target_now(), number), writer->written++;
	}
	return NULL;
}

struct checker {
	uint64_t next[CPUS];
	uint64_t count;
};

static int check_record(void *arg, const struct trace_record *record)
{
	struct checker *checker = arg;
	uint64_t cpu = record->args[0] >> 32;
	uint64_t number = record->args[0] & UINT32_MAX;

	assert_true(cpu < CPUS && cpu == record->cpu);
	assert_int_equal(record->args[1], ~record->args[0]);
	if (checker->next[cpu])
		assert_int_equal(number, checker->next[cpu]);
	checker->next[cpu] = number + 1;
	checker->count++;
	return 0;
}

/* One writer a CPU, as rseq guarantees. Whatever the moment, what is kept has no gap and nothing torn. */
static void check_live(struct room *room, bool cells)
{
	struct writer writers[CPUS];
	struct checker checker;
	uint64_t records = 0;
	uint64_t looks = 0;
	bool stop = false;
	uint64_t end = base_now_ns() + 1500000000;
	struct trace_snapshot snapshot;

	for (uint32_t i = 0; i < CPUS; i++) {
		writers[i] = (struct writer) { .room = room, .cpu = i, .cells = cells, .stop = &stop };
		assert_int_equal(pthread_create(&writers[i].thread, NULL, writer_run, &writers[i]), 0);
	}
	while (base_now_ns() < end) {
		checker = (struct checker) { 0 };
		assert_int_equal(trace_reader_snapshot(room->reader, true, check_record, &checker, &snapshot), 0);
		assert_int_equal(stats_of(room).damaged, 0);
		records += checker.count;
		looks++;
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (uint32_t i = 0; i < CPUS; i++)
		pthread_join(writers[i].thread, NULL);
	checker = (struct checker) { 0 };
	assert_int_equal(trace_reader_snapshot(room->reader, false, check_record, &checker, &snapshot), 0);
	for (uint32_t i = 0; i < CPUS; i++)
		assert_int_equal(checker.next[i], writers[i].written); /* the last one is there */
	print_message("%lu snapshots of running writers, %lu records in them\n", looks, records);
	assert_true(looks > 20 && records > looks);
}

static void test_live_rings(void **state)
{
	check_live(*state, false);
}

static void test_live_cells(void **state)
{
	check_live(*state, true);
}

/* One thread that changes its CPU all the time. */
static void *wander(void *arg)
{
	struct writer *writer = arg;
	unsigned seed = 5;

	for (; !__atomic_load_n(writer->stop, __ATOMIC_RELAXED); writer->written++) {
		uint32_t cpu = (uint32_t)rand_r(&seed) / 64 % CPUS;

		if (rand_r(&seed) % 8)
			keep_on(&writer->room->target, cpu, 0, 40, target_now(), writer->written);
		else
			(void)keep_in_cell(writer->room, cpu, target_now(), writer->written);
	}
	return NULL;
}

struct wanderer {
	uint64_t times[4096];
	uint64_t numbers[4096];
	size_t count;
};

static int note_wanderer(void *arg, const struct trace_record *record)
{
	struct wanderer *seen = arg;

	assert_true(seen->count < 4096);
	seen->times[seen->count] = record->time_ns;
	seen->numbers[seen->count++] = record->args[0];
	return 0;
}

/* Its records have no gap from the time on that the snapshot tells, up to their end. */
static void test_live_wandering(void **state)
{
	struct room *room = *state;
	bool stop = false;
	struct writer writer = { .room = room, .stop = &stop };
	uint64_t end = base_now_ns() + 1500000000;
	uint64_t checked = 0;
	struct wanderer *seen = calloc(1, sizeof(*seen));

	assert_non_null(seen);
	assert_int_equal(pthread_create(&writer.thread, NULL, wander, &writer), 0);
	while (base_now_ns() < end) {
		struct trace_snapshot snapshot;
		size_t first = 0;

		seen->count = 0;
		assert_int_equal(trace_reader_snapshot(room->reader, true, note_wanderer, seen, &snapshot), 0);
		while (first < seen->count && seen->times[first] < snapshot.since_ns)
			first++;
		for (size_t i = first + 1; i < seen->count; i++, checked++)
			assert_int_equal(seen->numbers[i], seen->numbers[i - 1] + 1);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(writer.thread, NULL);
	free(seen);
	print_message("%lu records without a gap\n", checked);
	assert_true(checked > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_KEPT(test_live_rings),
		IN_KEPT(test_live_cells),
		IN_KEPT(test_live_wandering),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
