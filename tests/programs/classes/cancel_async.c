/* SPDX-License-Identifier: MIT */
/*
 * Threads that are cancelled asynchronously, at any instruction of a function that is probed; their clean-up handlers must run, from the
 * innermost on. Usage: cancel_async [ROUNDS]
 */
#include <pthread.h>
#include <sched.h>

#include "class.h"

static long began, cleaned;
static volatile long turns;

long async_spin(long n);
long async_down(long depth);

static void clean(void *arg)
{
	if ((long)arg != cleaned++)
		target_fail("clean-up handlers ran in the wrong order");
}

CLASS_FUNCTION long async_spin(long n)
{
	__asm__ volatile("nop"); /* what follows is a loop, and the function is entered once */
	for (;; n++)
		turns = n;
	return n;
}

CLASS_FUNCTION long async_down(long depth)
{
	volatile long result;

	pthread_cleanup_push(clean, (void *)depth);
	if (depth)
		result = async_down(depth - 1);
	else
		result = async_spin(1);
	pthread_cleanup_pop(0);
	return result;
}

static void *run(void *arg)
{
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	pthread_cleanup_push(clean, (void *)6);
	async_down(5);
	pthread_cleanup_pop(0);
	return arg;
}

int main(int argc, char **argv)
{
	class_start(argc, argv);
	for (long n = 0; class_goes_on(); n++) {
		struct timespec pause = { .tv_nsec = 50000 + n % 7 * 50000 };
		pthread_t thread;
		void *result;

		if (pthread_create(&thread, NULL, run, NULL))
			target_fail("no thread");
		while (!turns) /* not before all handlers are in place */
			sched_yield();
		nanosleep(&pause, NULL);
		pthread_cancel(thread);
		pthread_join(thread, &result);
		if (result != PTHREAD_CANCELED || cleaned != 7)
			target_fail("clean-up ran %ld times", cleaned);
		cleaned = turns = 0;
		began++;
	}
	class_told("async_spin", began);
	class_told("async_down", 6 * began);
	return target_success();
}
