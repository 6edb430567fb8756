/* SPDX-License-Identifier: MIT */
/*
 * bpf: tickets and limits, run: every so many hits exactly, a burst exactly, a rate as time goes on, also by many threads at once, with and
 * without rseq.
 */
#include <pthread.h>

#include "bpf_hit.h"

#define THREADS 6
#define HITS 2000 /* a thread's */

/* A record of each so many hits; its word is the ticket. */
static char text[2000];
static const char *every_text(unsigned every)
{
	snprintf(text, sizeof(text),
		 "r7 = r1\ncall 65550\nr8 = r0\nr0 %%= %u\nif r0 != 0 goto out\nr1 = r7\n" RESERVE(32) "if r6 == 0 goto out\n" HEADER(
		     32) "*(u64 *)(r6 + 24) = r8\n" SUBMIT "out: " EXIT,
		 every);
	return text;
}

static const char *limited(uint64_t ticks, uint64_t burst)
{
	snprintf(text, sizeof(text), "r1 = 0x%llx ll\nr2 = 0x%llx ll\ncall 65551\nif r0 == 0 goto out\ncall 65537\nout: " EXIT,
		 (unsigned long long)ticks, (unsigned long long)burst);
	return text;
}

static uint64_t counted(void)
{
	return fake_counted(&fake, ID, true) + fake_counted(&fake, ID, false);
}

/* How many of the hits of all counters are the first of @every. */
static uint64_t firsts(uint64_t every)
{
	uint64_t sum = 0;

	for (unsigned cpu = 0; cpu < fake.cpus; cpu++) {
		const uint64_t *rows[] = { (const uint64_t *)(fake.table[cpu] + FAKE_COUNTERS_AT), (const uint64_t *)(fake.table[cpu] + FAKE_SHARED_AT) };

		for (int i = 0; i < 2; i++)
			sum += (rows[i][ID] + every - 1) / every;
	}
	return sum;
}

static void test_ticket(void **state)
{
	static const unsigned rows[] = { 1, 2, 7, 8, 1000 };

	for (size_t w = 0; w < WORLDS; w++)
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
			const struct wire_record *record;
			uint64_t found = 0;

			if (!enter_world(&worlds[w]))
				continue;

			const void *entry = compile(every_text(rows[i]));

			for (unsigned n = 0; n < 250; n++) {
				struct fake_machine m = { 0 };

				hit(&m, entry);
			}
			for (; (record = next_record()); found++)
				assert_int_equal(word(record, 0) % rows[i], 0);
			assert_int_equal(fake_counted(&fake, ID, !fake.target.rseq_offset), 250);
			assert_int_equal(found, firsts(rows[i]));
		}
}

/* Nothing comes after the burst for as long as a record takes at that rate. */
static void test_burst(void **state)
{
	static const uint64_t bursts[] = { 0, 1, 9 };

	for (size_t w = 0; w < WORLDS; w++)
		for (size_t i = 0; i < sizeof(bursts) / sizeof(bursts[0]); i++) {
			uint64_t ticks = 1ULL << 36; /* some 20 seconds; ten of them are longer than the machine may be up */

			if (!enter_world(&worlds[w]))
				continue;
			fake.limits[ID] = __builtin_ia32_rdtsc() - (bursts[i] + 3) * ticks; /* nothing for long */

			const void *entry = compile(limited(ticks, bursts[i] * ticks));

			for (unsigned n = 0; n < 100; n++) {
				struct fake_machine m = { 0 };

				hit(&m, entry);
			}
			assert_int_equal(counted(), bursts[i] + 1);
			assert_int_equal(fake.limits[ID - 1], 0);
			assert_int_equal(fake.limits[ID + 1], 0);
		}
}

/* A stream: each hit passes when its time has come, and moves the time on, from no further back than a burst. */
static void test_rate(void **state)
{
	const uint64_t ticks = 20000, burst = 4 * ticks;

	for (size_t w = 0; w < WORLDS; w++) {
		uint64_t passed = 0, held = 0;

		if (!enter_world(&worlds[w]))
			continue;

		const void *entry = compile(limited(ticks, burst));

		for (int n = 0; n < 3000; n++) {
			struct fake_machine m = { 0 };
			uint64_t due = fake.limits[ID], before = __builtin_ia32_rdtsc(), after, next;

			hit(&m, entry);
			after = __builtin_ia32_rdtsc();
			next = fake.limits[ID];
			if (next == due) {
				assert_true(due > before);
				held++;
				continue;
			}
			assert_true(due <= after);
			assert_in_range(next, (due > before - burst ? due : before - burst) + ticks, (due > after - burst ? due : after - burst) + ticks);
			passed++;
		}
		assert_int_equal(counted(), passed);
		assert_true(passed > 5 && held > 0);
	}
}

/* ---- many threads ---- */

static fake_function *function;
static bool unregister[THREADS];

static void *work(void *arg)
{
	bool *without = arg;

	if (*without) {
		void *area = (uint8_t *)__builtin_thread_pointer() + __rseq_offset;

		assert(syscall(SYS_rseq, area, 32, FAKE_RSEQ_FLAG_UNREGISTER, WIRE_RSEQ_SIGNATURE) == 0);
	}
	for (long i = 0; i < HITS; i++)
		assert(function(i, 2) == i + 2);
	return NULL;
}

static void run_threads(void)
{
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++) {
		unregister[i] = i % 3 == 2 && fake.target.rseq_offset;
		assert_int_equal(pthread_create(&threads[i], NULL, work, &unregister[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

/* Each counter gives out each number once, whoever asks: so many records, and not one more. */
static void test_ticket_threads(void **state)
{
	for (size_t w = 0; w < 4; w++) {
		uint64_t found = 0;

		if (!enter_world(&worlds[w]))
			continue;
		function = fake_function_at(&fake, fake_compile_text(&fake, every_text(97), NULL), ID);
		run_threads();
		assert_int_equal(counted(), THREADS * HITS);
		while (next_ring_record())
			found++;
		while (next_cell_record())
			found++;
		assert_int_equal(found + fake.lost[ID], firsts(97));
	}
}

static void test_burst_threads(void **state)
{
	for (size_t w = 0; w < 4; w++) {
		uint64_t ticks = 1ULL << 36;

		if (!enter_world(&worlds[w]))
			continue;
		fake.limits[ID] = __builtin_ia32_rdtsc() - 100 * ticks;
		function = fake_function_at(&fake, fake_compile_text(&fake, limited(ticks, 39 * ticks), NULL), ID);
		run_threads();
		assert_int_equal(counted(), 40);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ticket),	       cmocka_unit_test(test_burst),	    cmocka_unit_test(test_rate),
		cmocka_unit_test(test_ticket_threads), cmocka_unit_test(test_burst_threads),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
