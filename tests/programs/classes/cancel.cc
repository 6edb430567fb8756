/* SPDX-License-Identifier: MIT */
/*
 * Threads that are cancelled at a cancellation point, and that end by pthread_exit, inside functions that are probed. Destructors and
 * clean-up handlers of all their frames must run.
 * Usage: cancel [ROUNDS]
 */
extern "C" {
#include "class.h"
}
#include <pthread.h>
#include <semaphore.h>

#define DEPTH 20

static long counts[2];
static long guards_alive, cleaned;
static sem_t ready;

struct guard {
	guard() { guards_alive++; }
	~guard() { guards_alive--; }
};

extern "C" {
CLASS_FUNCTION long cancel_wait(long n)
{
	counts[0]++;
	sem_post(&ready);
	for (;;)
		pause();
	return n;
}

CLASS_FUNCTION long cancel_down(long depth, long n)
{
	guard here;
	long result;

	counts[1]++;
	if (depth)
		result = cancel_down(depth - 1, n) + 1;
	else if (n & 1)
		pthread_exit(reinterpret_cast<void *>(n));
	else
		result = cancel_wait(n);
	return result;
}

static void clean(void *arg)
{
	*static_cast<long *>(arg) += 1;
}
}

static void *run_down(void *arg)
{
	long n = reinterpret_cast<long>(arg);
	void *result = nullptr;

	pthread_cleanup_push(clean, &cleaned);
	result = reinterpret_cast<void *>(cancel_down(DEPTH, n));
	pthread_cleanup_pop(0);
	return result;
}

static void *run(long n, bool cancelled)
{
	pthread_t thread;
	void *result;

	if (pthread_create(&thread, nullptr, run_down, reinterpret_cast<void *>(n)))
		target_fail("no thread");
	if (cancelled) {
		while (sem_wait(&ready))
			;
		pthread_cancel(thread);
	}
	pthread_join(thread, &result);
	if (guards_alive || cleaned != 1)
		target_fail("%ld destructors were not run, clean-up ran %ld times", guards_alive, cleaned);
	cleaned = 0;
	return result;
}

int main(int argc, char **argv)
{
	sem_init(&ready, 0, 0);
	class_start(argc, argv);
	for (long n = 0; class_goes_on(); n += 2) {
		if (run(n, true) != PTHREAD_CANCELED)
			target_fail("a cancelled thread returned");
		if (run(n + 1, false) != reinterpret_cast<void *>(n + 1))
			target_fail("pthread_exit lost its value");
	}
	class_told("cancel_wait", counts[0]);
	class_told("cancel_down", counts[1]);
	return target_success();
}
