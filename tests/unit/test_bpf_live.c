/* SPDX-License-Identifier: MIT */
/*
 * bpf: compiled probes under fire. Several threads hit a record and a counter while signals interrupt them, some
 * handlers leave with siglongjmp, children are forked and killed, and a reader empties the rings. Every hit carries its
 * thread and number, so that a record that is missing, doubled or torn is seen.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "bpf_target.h"

#define THREADS 4
#define HITS 1000000U
#define ID_RECORD 5U
#define ID_COUNT 6U
#define ID_NESTED 7U
#define CHILDREN 10
#define CHILD_HITS 100000000U /* more than it lives */
#define KICK_NS 20000
#define TICKS 64

static const char record_text[] =
    "r7 = r1\nr1 = map 0\nr2 = 40\nr3 = 0\ncall 131\nr6 = r0\nif r6 == 0 goto out\nr1 = r7\ncall 174\n"
    "*(u32 *)(r6 + 0) = r0\n*(u32 *)(r6 + 4) = 40\ncall 65536\n*(u64 *)(r6 + 8) = r0\ncall 14\n*(u64 *)(r6 + 16) = r0\n"
    "r1 = *(u64 *)(r7 + 112)\n*(u64 *)(r6 + 24) = r1\nr1 = *(u64 *)(r7 + 104)\n*(u64 *)(r6 + 32) = r1\n"
    "r1 = r6\nr2 = 0\ncall 132\nout: r0 = 0\nexit\n";
static const char count_text[] = "call 65537\nr0 = 0\nexit\n";

enum hit_state { HIT_NEVER, HIT_BEGUN, HIT_DONE };

struct worker {
	pthread_t thread;
	unsigned index;
	bool unregister; /* give up rseq first */
	uint64_t *times; /* TSC before each hit; NULL: nobody wants to know */
	atomic_bool begun, ended;
	uint8_t *state; /* enum hit_state of each hit */
	uint8_t *seen;  /* records found of each hit */
};

static struct fake fake;
static fake_function *record, *count, *nested;
static struct worker workers[THREADS];
static atomic_bool jump_out; /* handlers leave with siglongjmp */
static atomic_ulong nested_hits, jumps;
static _Thread_local sigjmp_buf *way_out;
static _Thread_local unsigned signals_seen;

static int setup(void **state)
{
	fake_init(&fake);
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i].state = fake_map(HITS);
		workers[i].seen = fake_map(HITS);
	}
	return 0;
}

static void prepare(bool rseq)
{
	int32_t offset = fake.target.rseq_offset;

	fake_reset(&fake);
	fake.local->pid = 0;
	fake.target.rseq_offset = rseq ? offset : 0;
	record = fake_function_at(&fake, fake_compile_text(&fake, record_text, NULL), ID_RECORD);
	count = fake_function_at(&fake, fake_compile_text(&fake, count_text, NULL), ID_COUNT);
	nested = fake_function_at(&fake, fake_compile_text(&fake, count_text, NULL), ID_NESTED);
	fake.target.rseq_offset = offset;
	for (unsigned i = 0; i < THREADS; i++) {
		memset(workers[i].state, 0, HITS);
		memset(workers[i].seen, 0, HITS);
		workers[i].unregister = false;
		workers[i].times = NULL;
		workers[i].begun = false;
		workers[i].ended = false;
		workers[i].index = i;
	}
	nested_hits = jumps = 0;
	jump_out = false;
}

/* A handler is itself probed, and every third one leaves by a jump when that is on. */
static void on_kick(int signal)
{
	assert(nested(1, 2) == 3);
	nested_hits++;
	if (jump_out && way_out && ++signals_seen % 3 == 0) {
		jumps++;
		siglongjmp(*way_out, 1);
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;
	sigjmp_buf out;
	volatile unsigned i = 0;

	if (w->unregister) {
		void *area = (uint8_t *)__builtin_thread_pointer() + __rseq_offset;

		assert(syscall(SYS_rseq, area, 32, FAKE_RSEQ_FLAG_UNREGISTER, WIRE_RSEQ_SIGNATURE) == 0);
	}
	if (sigsetjmp(out, 1) == 0)
		w->begun = true;
	else
		i++; /* the hit that was left */
	way_out = &out;
	for (; i < HITS; i++) {
		w->state[i] = HIT_BEGUN;
		if (w->times)
			w->times[i] = __builtin_ia32_rdtsc();
		assert(record(w->index, i) == w->index + i);
		w->state[i] = HIT_DONE;
		assert(count(i, 1) == i + 1);
	}
	way_out = NULL;
	w->ended = true;
	return NULL;
}

static void see(const struct wire_record *r, uint64_t *last)
{
	const uint64_t *args = (const uint64_t *)(r + 1);

	assert_int_equal(r->id, ID_RECORD);
	assert_int_equal(r->size, 40);
	assert_true(r->time > *last);
	*last = r->time;
	if (args[0] >= THREADS) /* a child's */
		return;
	assert_true(args[1] < HITS);
	workers[args[0]].seen[args[1]]++;
}

static uint64_t last_time[1024];

/* Take what is complete from every ring. In one ring, time never goes back. */
static uint64_t drain_rings(void)
{
	uint64_t found = 0;

	for (unsigned cpu = 0; cpu < fake.cpus; cpu++) {
		struct wire_ring *ring = fake_ring(&fake, cpu);
		uint64_t head = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE), tail = ring->tail;

		assert_true(head - tail <= FAKE_RING);
		for (; tail < head; tail += 40, found++)
			see((const struct wire_record *)(fake.table[cpu] + WIRE_PAGE + (tail & (FAKE_RING - 1))),
			    &last_time[cpu]);
		__atomic_store_n(&ring->tail, tail, __ATOMIC_RELEASE);
		__atomic_store_n(&ring->limit, tail + FAKE_RING, __ATOMIC_RELAXED);
	}
	return found;
}

/* @final: nobody writes any more, so a cell without its number is a hit that was left for good. */
static uint64_t drain_cells(bool final, uint64_t *abandoned)
{
	uint64_t found = 0;

	for (unsigned cpu = 0; cpu < fake.cpus; cpu++) {
		struct wire_cells *cells = fake_cells(&fake, cpu);
		uint64_t next = __atomic_load_n(&cells->next, __ATOMIC_ACQUIRE), tail = cells->tail;

		assert_true(next - tail <= FAKE_CELLS);
		for (; tail < next; tail++) {
			struct wire_cell *cell = (struct wire_cell *)((uint8_t *)cells + WIRE_PAGE +
								      (tail & (FAKE_CELLS - 1)) * FAKE_CELL_SIZE);
			uint64_t none = 0;

			if (__atomic_load_n(&cell->seq, __ATOMIC_ACQUIRE) == tail + 1) {
				see((const struct wire_record *)cell->record,
				    &none); /* cells may overtake each other */
				found++;
			} else if (final) {
				++*abandoned;
			} else {
				break;
			}
		}
		__atomic_store_n(&cells->tail, tail, __ATOMIC_RELEASE);
		__atomic_store_n(&cells->limit, tail + FAKE_CELLS, __ATOMIC_RELAXED);
	}
	return found;
}

static bool all_ended(void)
{
	for (unsigned i = 0; i < THREADS; i++)
		if (!workers[i].ended)
			return false;
	return true;
}

struct outcome {
	uint64_t found, abandoned, done, begun, missing;
};

/* Start the threads, kick them with signals and read until they end; then look at every hit. */
static struct outcome run(bool cells)
{
	struct outcome o = { 0 };
	struct timespec pause = { .tv_nsec = KICK_NS };

	memset(last_time, 0, sizeof(last_time));
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	for (unsigned turn = 0; !all_ended(); turn++) {
		struct worker *w = &workers[turn % THREADS];

		if (w->begun && !w->ended)
			pthread_kill(w->thread, SIGUSR1);
		o.found += drain_rings();
		if (cells)
			o.found += drain_cells(false, &o.abandoned);
		nanosleep(&pause, NULL);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	o.found += drain_rings();
	o.found += drain_cells(true, &o.abandoned);
	for (unsigned i = 0; i < THREADS; i++)
		for (unsigned n = 0; n < HITS; n++) {
			if (workers[i].seen[n] > 1)
				fail_msg("thread %u, hit %u: %u records", i, n, workers[i].seen[n]);
			o.done += workers[i].state[n] == HIT_DONE;
			o.begun += workers[i].state[n] == HIT_BEGUN;
			o.missing += workers[i].state[n] == HIT_DONE && !workers[i].seen[n];
			assert_true(workers[i].state[n] != HIT_NEVER || !workers[i].seen[n]);
		}
	return o;
}

static void print_outcome(const char *what, const struct outcome *o)
{
	print_message("%s: %llu hits, %llu left by jumps, %llu records, %llu lost, %llu abandoned, %lu nested\n", what,
		      (unsigned long long)(o->done + o->begun), (unsigned long long)o->begun,
		      (unsigned long long)o->found, (unsigned long long)fake.lost[ID_RECORD],
		      (unsigned long long)o->abandoned, (unsigned long)nested_hits);
}

static bool have_rseq(void)
{
	if (fake.target.rseq_offset)
		return true;
	print_message("skipped: this C library registers no rseq\n");
	return false;
}

static void test_exact(void **state)
{
	if (!have_rseq())
		skip();
	prepare(true);

	struct outcome o = run(false);

	print_outcome("rseq", &o);
	assert_int_equal(o.done, (uint64_t)THREADS * HITS);
	assert_int_equal(o.found + fake.lost[ID_RECORD], o.done);
	assert_int_equal(o.missing, fake.lost[ID_RECORD]);
	assert_int_equal(fake_counted(&fake, ID_COUNT, false), o.done);
	assert_int_equal(fake_counted(&fake, ID_NESTED, false), nested_hits);
	assert_true(nested_hits > 100);
}

/* A hit that a jump left has a record or none; every other one has exactly one or was counted as lost. */
static void test_jumps(void **state)
{
	if (!have_rseq())
		skip();
	prepare(true);
	jump_out = true;

	struct outcome o = run(false);

	print_outcome("rseq, siglongjmp", &o);
	assert_true(jumps > 30);
	assert_int_equal(o.abandoned, 0);
	assert_true(o.missing <= fake.lost[ID_RECORD]);
	assert_true(fake.lost[ID_RECORD] <= o.missing + o.begun);
	assert_true(o.found + fake.lost[ID_RECORD] <= o.done + o.begun);
	assert_true(fake_counted(&fake, ID_COUNT, false) <= o.done);
	assert_true(fake_counted(&fake, ID_COUNT, false) + jumps >= o.done);
}

static void test_cells(void **state)
{
	prepare(false);

	struct outcome o = run(true);

	print_outcome("cells", &o);
	assert_int_equal(o.abandoned, 0);
	assert_int_equal(o.found + fake.lost[ID_RECORD], (uint64_t)THREADS * HITS);
	assert_int_equal(o.missing, fake.lost[ID_RECORD]);
	assert_int_equal(fake_counted(&fake, ID_COUNT, true), o.done);
	assert_int_equal(fake_counted(&fake, ID_NESTED, true), nested_hits);
}

/* What a reader finds in a cell at any moment: whole, and of its thread, or not there. Its number, or -1. */
static int64_t look_into_cell(const struct wire_cell *cell, uint64_t position, unsigned *thread)
{
	uint8_t copy[40];
	const struct wire_record *r = (const struct wire_record *)copy;
	const uint64_t *args = (const uint64_t *)(r + 1);
	uint64_t after;

	if (__atomic_load_n(&cell->seq, __ATOMIC_ACQUIRE) != position + 1)
		return -1;
	memcpy(copy, cell->record, sizeof(copy));
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (__atomic_load_n(&cell->seq, __ATOMIC_ACQUIRE) != position + 1)
		return -1;
	assert_int_equal(r->id, ID_RECORD);
	assert_int_equal(r->size, 40);
	assert_true(args[0] < THREADS && args[1] < HITS);
	*thread = (unsigned)args[0];
	/* A torn one would have the time of one hit and the number of another; a CPU may read its TSC a little early. */
	assert_true(r->time + TICKS > workers[*thread].times[args[1]]);
	after = args[1] + 1 < HITS ? __atomic_load_n(&workers[*thread].times[args[1] + 1], __ATOMIC_ACQUIRE) : 0;
	assert_true(!after || r->time < after + TICKS);
	return (int64_t)args[1];
}

static void look_into_cells(bool final, uint64_t *whole, uint64_t *torn)
{
	for (unsigned cpu = 0; cpu < fake.cpus; cpu++) {
		struct wire_cells *cells = fake_cells(&fake, cpu);
		uint64_t next = __atomic_load_n(&cells->next, __ATOMIC_ACQUIRE);

		for (uint64_t at = next > FAKE_CELLS ? next - FAKE_CELLS : 0; at < next; at++) {
			unsigned thread = 0;
			int64_t number = look_into_cell((struct wire_cell *)((uint8_t *)cells + WIRE_PAGE +
									     (at & (FAKE_CELLS - 1)) * FAKE_CELL_SIZE),
							at, &thread);

			*whole += number >= 0;
			*torn += number < 0;
			if (final && number >= 0)
				assert_int_equal(workers[thread].seen[number]++, 0);
		}
	}
}

/* Nobody empties the cells, and threads that are interrupted inside one are lapped many times: what can be read is whole. */
static void test_cells_replaced(void **state)
{
	struct timespec pause = { .tv_nsec = KICK_NS };
	uint64_t looks = 0, whole = 0, torn = 0, left = 0, positions = 0;

	fake.target.overwrite = true;
	prepare(false);
	fake.target.overwrite = false;
	for (unsigned cpu = 0; cpu < fake.cpus; cpu++)
		fake_cells(&fake, cpu)->limit = UINT64_MAX;
	for (unsigned i = 0; i < THREADS; i++)
		workers[i].times = fake_map(HITS * sizeof(uint64_t));
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	for (unsigned turn = 0; !all_ended(); turn++, looks++) {
		struct worker *w = &workers[turn / 64 % THREADS];

		if (turn % 64 == 0 && w->begun && !w->ended)
			pthread_kill(w->thread, SIGUSR1);
		look_into_cells(false, &whole, &torn);
		if (turn % 256 == 0)
			nanosleep(&pause, NULL);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	print_message("replaced: %lu looks, %lu cells whole, %lu not; %lu lost\n", looks, whole, torn, fake.lost[ID_RECORD]);
	whole = torn = 0;
	look_into_cells(true, &whole, &torn);
	for (unsigned i = 0; i < THREADS; i++)
		munmap(workers[i].times, HITS * sizeof(uint64_t));
	for (unsigned cpu = 0; cpu < fake.cpus; cpu++) {
		positions += fake_cells(&fake, cpu)->next;
		left += fake_cells(&fake, cpu)->next < FAKE_CELLS ? fake_cells(&fake, cpu)->next : FAKE_CELLS;
	}
	/* A hit that found its cell taken has a position, one that found none in time has not. */
	assert_in_range(positions, (uint64_t)THREADS * HITS - fake.lost[ID_RECORD], (uint64_t)THREADS * HITS);
	assert_int_equal(whole + torn, left);
	assert_true(torn <= fake.lost[ID_RECORD]);
	assert_int_equal(fake_runtime->cell_slow, 0);
}

/* Half of the threads have given up their rseq: the same code takes the other way for them. */
static void test_unregistered(void **state)
{
	if (!have_rseq())
		skip();
	prepare(true);
	workers[0].unregister = workers[1].unregister = true;

	struct outcome o = run(true);

	print_outcome("half unregistered", &o);
	assert_int_equal(o.done, (uint64_t)THREADS * HITS);
	assert_int_equal(o.found + fake.lost[ID_RECORD], o.done);
	assert_int_equal(fake_counted(&fake, ID_COUNT, false), o.done / 2);
	assert_int_equal(fake_counted(&fake, ID_COUNT, true), o.done / 2);
}

/* Children share the rings and are killed at any instruction: no hole, no torn record, and their own pid. */
static void test_children(void **state)
{
	if (!have_rseq())
		skip();
	prepare(true);
	assert_int_equal(record(THREADS, 0), THREADS); /* the pid page knows the parent now */
	for (int i = 0; i < CHILDREN; i++) {
		struct timespec life = { .tv_nsec = 1000000 + 377 * i };
		pid_t child = fork();
		uint64_t found = 0;

		assert_true(child >= 0);
		if (child == 0) {
			for (long n = 0; n < CHILD_HITS; n++)
				record(THREADS + 1, n);
			_exit(0);
		}
		do {
			nanosleep(&life, NULL);
			for (unsigned cpu = 0; cpu < fake.cpus; cpu++) {
				struct wire_ring *ring = fake_ring(&fake, cpu);
				const uint8_t *data = fake.table[cpu] + WIRE_PAGE;
				uint64_t head = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE);

				for (uint64_t at = ring->tail; at < head; at += 40) {
					const struct wire_record *r = (const void *)(data + (at & (FAKE_RING - 1)));

					assert_int_equal(r->pid,
							 ((const uint64_t *)(r + 1))[0] == THREADS ? getpid() : child);
					assert_int_equal(r->tid, r->pid);
				}
			}
			found += drain_rings();
		} while (found < 1000);
		assert_int_equal(kill(child, SIGKILL), 0);
		assert_int_equal(waitpid(child, NULL, 0), child);
		drain_rings();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exact),        cmocka_unit_test(test_jumps),    cmocka_unit_test(test_cells),
		cmocka_unit_test(test_unregistered), cmocka_unit_test(test_children), cmocka_unit_test(test_cells_replaced),
	};
	struct sigaction action = { .sa_handler = on_kick };

	sigaction(SIGUSR1, &action, NULL);
	return cmocka_run_group_tests(tests, setup, NULL);
}
