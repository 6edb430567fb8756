/* SPDX-License-Identifier: MIT */
/*
 * A program to be probed: it calls its functions as its driver says, one command a line on standard input, one answer a line
 * on standard output ("ok ..." or "error ..."), and one "ok" when it is ready. It knows nothing of utap; it can patch the hand-written floor into itself.
 *
 *   measure SET CALLS THREADS   call at once from so many threads, CALLS in all -> "ok NS CALLS", CPU time a call, calls made
 *   spin SET THREADS RATE       call in the background, RATE calls a second in all (0: as fast as possible) -> "ok"
 *   stop                        end that -> "ok CALLS"
 *   floor off|count|record|pair -> "ok HITS", what the floor counted so far
 *   where SET                   -> "ok ADDRESS" of its first function
 *   quit
 *
 * Every result is compared with what the functions returned when nothing was patched; a wrong one ends the program.
 */
#include "target.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "floor.h"

#define MAX_THREADS 64
#define SPIN_CHUNK 256 /* calls between two looks at the time and at `stopping` */

struct worker {
	pthread_t thread;
	const struct target_set *set;
	atomic_int *waiting; /* threads that did not come to the start yet */
	size_t calls;        /* to make; made */
	double rate;         /* calls a second, 0: no limit */
	uint64_t cpu_ns;
	int index;
};

static const long argument[8] = { 10, 20, 30, 40, 50, 60, 70, 80 };
static long *expected[64]; /* a set's results, function by function */
static struct worker workers[MAX_THREADS];
static int nworkers;
static atomic_bool stopping;

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

/* ---- calling ---- */

#define CALL_A 7 /* the first argument of every call */

/* The sum would hide two errors that cancel out; a set's results all differ in weight. */
__attribute__((noinline, aligned(64))) static long call_one(target_fn *f, size_t calls)
{
	long sum = 0;

	for (size_t i = 0; i < calls; i++)
		sum += f(CALL_A, argument);
	return sum;
}

__attribute__((noinline, aligned(64))) static long call_round(target_fn *const *functions, size_t count)
{
	long sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += functions[i](CALL_A, argument);
	return sum;
}

static const long *expectation(const struct target_set *set) { return expected[set - target_sets]; }

static void fail_wrong(const struct target_set *set)
{
	printf("error the functions of %s return something else than they did unprobed\n", set->name);
	fflush(stdout);
	_exit(1);
}

/* Whole rounds; returns the calls made. */
static size_t call_set(const struct target_set *set, size_t calls)
{
	const long *good = expectation(set);
	size_t rounds = (calls + set->count - 1) / set->count;

	if (set->count == 1) {
		if (call_one(set->functions[0], calls) != (long)((unsigned long)good[0] * calls))
			fail_wrong(set);
		return calls;
	}
	for (size_t i = 0; i < rounds; i++)
		if (call_round(set->functions, set->count) != good[set->count])
			fail_wrong(set);
	return rounds * set->count;
}

static int learn(const struct target_set *set)
{
	long *good = calloc(set->count + 1, sizeof(*good));

	if (!good)
		return -ENOMEM;
	for (size_t i = 0; i < set->count; i++) {
		good[i] = set->functions[i](CALL_A, argument);
		good[set->count] += good[i];
	}
	expected[set - target_sets] = good;
	return 0;
}

/* ---- threads ---- */

static void pin(int index)
{
	cpu_set_t mine;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	CPU_ZERO(&mine);
	CPU_SET((size_t)((cpus - 1 - index % cpus)), &mine);
	sched_setaffinity(0, sizeof(mine), &mine); /* a machine that does not let us is only noisier */
}

static void *measure_worker(void *arg)
{
	struct worker *worker = arg;
	uint64_t before;

	pin(worker->index);
	atomic_fetch_sub(worker->waiting, 1);
	while (atomic_load(worker->waiting) > 0) /* a sleeper would come too late to hit at once with the others */
		sched_yield();
	before = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	worker->calls = call_set(worker->set, worker->calls);
	worker->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - before;
	return NULL;
}

static void *spin_worker(void *arg)
{
	struct worker *worker = arg;
	uint64_t began = clock_ns(CLOCK_MONOTONIC);
	size_t made = 0;

	pin(worker->index);
	while (!stopping) {
		double due = worker->rate * (double)(clock_ns(CLOCK_MONOTONIC) - began) / 1e9;

		if (worker->rate > 0 && (double)made > due)
			usleep(500);
		else
			made += call_set(worker->set, SPIN_CHUNK);
	}
	worker->calls = made;
	return NULL;
}

static const struct target_set *find_set(const char *name)
{
	for (size_t i = 0; i < target_nsets; i++)
		if (strcmp(target_sets[i].name, name) == 0)
			return &target_sets[i];
	return NULL;
}

static int start_workers(int threads, void *(*run)(void *))
{
	for (nworkers = 0; nworkers < threads; nworkers++) {
		int error = pthread_create(&workers[nworkers].thread, NULL, run, &workers[nworkers]);

		if (error)
			return -error;
	}
	return 0;
}

static void join_workers(void)
{
	for (int i = 0; i < nworkers; i++)
		pthread_join(workers[i].thread, NULL);
}

static size_t calls_made(void)
{
	size_t calls = 0;

	for (int i = 0; i < nworkers; i++)
		calls += workers[i].calls;
	nworkers = 0;
	return calls;
}

/* ---- commands ---- */

static const char *measure(const struct target_set *set, size_t calls, int threads)
{
	atomic_int waiting = threads;
	uint64_t ns = 0;
	size_t made;

	for (int i = 0; i < threads; i++)
		workers[i] = (struct worker){
			.set = set, .waiting = &waiting, .calls = calls / (size_t)threads, .index = i
		};
	if (start_workers(threads, measure_worker))
		return "a thread cannot be started"; /* those started wait for ever; the driver ends us */
	join_workers();
	for (int i = 0; i < threads; i++)
		ns += workers[i].cpu_ns;
	made = calls_made();
	printf("ok %.4f %zu\n", (double)ns / (double)made, made);
	return NULL;
}

static const char *spin(const struct target_set *set, int threads, double rate)
{
	stopping = false;
	for (int i = 0; i < threads; i++)
		workers[i] = (struct worker){ .set = set, .rate = rate / threads, .index = i };
	if (start_workers(threads, spin_worker))
		return "a thread cannot be started";
	printf("ok\n");
	return NULL;
}

static const char *stop(void)
{
	stopping = true;
	join_workers();
	printf("ok %zu\n", calls_made());
	return NULL;
}

static const char *floor_command(const char *mode)
{
	enum floor_mode wanted = strcmp(mode, "count") == 0	 ? FLOOR_COUNT
				 : strcmp(mode, "record") == 0 ? FLOOR_RECORD
				 : strcmp(mode, "pair") == 0   ? FLOOR_PAIR
							       : FLOOR_OFF;
	const char *why = floor_set(wanted);

	if (!why)
		printf("ok %llu\n", (unsigned long long)floor_hits());
	return why;
}

static const char *where(const struct target_set *set)
{
	printf("ok %p\n", (void *)set->functions[0]);
	return NULL;
}

static const char *obey(const char *line)
{
	char word[64] = "", name[64] = "";
	double first = 0, second = 0;
	const struct target_set *set;

	if (sscanf(line, "%63s %63s %lf %lf", word, name, &first, &second) < 1)
		return "an empty command";
	set = find_set(name);
	if (strcmp(word, "stop") == 0)
		return stop();
	if (strcmp(word, "floor") == 0)
		return floor_command(name);
	if (!set)
		return "no such set of functions";
	if (strcmp(word, "where") == 0)
		return where(set);
	if (strcmp(word, "measure") == 0 && first >= 1 && second >= 1 && second <= MAX_THREADS && first >= second)
		return measure(set, (size_t)first, (int)second);
	if (strcmp(word, "spin") == 0 && first >= 1 && first <= MAX_THREADS)
		return spin(set, (int)first, second);
	return "no such command";
}

/* Why the floor cannot be had is said when it is asked for. */
static const char *make_floor(void)
{
	static uint8_t *functions[FLOOR_PLACES], *returns[FLOOR_PLACES];
	size_t count = 0;

	for (size_t i = 0; i < target_nsets; i++) {
		const struct target_set *set = &target_sets[i];

		for (size_t k = 0; k < set->count && set->has_floor && count < FLOOR_PLACES; k++, count++) {
			functions[count] = (uint8_t *)(uintptr_t)set->functions[k];
			returns[count] = set->returns ? set->returns[k] : NULL;
		}
	}
	return floor_create(functions, returns, count);
}

int main(void)
{
	const char *no_floor = make_floor();
	char line[256];

	for (size_t i = 0; i < target_nsets; i++)
		if (learn(&target_sets[i]))
			return 1;
	printf("ok\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin) && strncmp(line, "quit", 4) != 0) {
		const char *why = strncmp(line, "floor", 5) == 0 && no_floor ? no_floor : obey(line);

		if (why)
			printf("error %s\n", why);
		fflush(stdout);
	}
	return 0;
}
