/* SPDX-License-Identifier: MIT */
/* Threads that stay blocked inside a function that is probed, until SIGTERM. Usage: inside */
#include <pthread.h>

#include "target.h"

#define THREADS 4

static int channel[2];
static volatile int waiting;

long inside_wait(long n);

__attribute__((noinline)) long inside_wait(long n)
{
	long number = 0;

	__atomic_fetch_add(&waiting, 1, __ATOMIC_SEQ_CST);
	if (read(channel[0], &number, sizeof(number)) != sizeof(number))
		return -1;
	return number * 2 + n;
}

static void *wait_inside(void *arg)
{
	long n = (long)arg;

	for (long sum = 0;; sum++) {
		long got = inside_wait(n);

		if (got == n) /* number 0: the end */
			return NULL;
		if (got != 2 * 21 + n)
			target_fail("inside_wait returned %ld", got);
	}
}

static void send_number(long number)
{
	if (write(channel[1], &number, sizeof(number)) != sizeof(number))
		target_fail("cannot send");
}

int main(void)
{
	pthread_t threads[THREADS];

	if (pipe(channel))
		target_fail("no pipe");
	for (long i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, wait_inside, (void *)(i + 100)))
			target_fail("no thread");
	while (__atomic_load_n(&waiting, __ATOMIC_SEQ_CST) < THREADS)
		usleep(1000);
	target_start();
	for (long i = 1; !target_stopping; i++) {
		target_step(i);
		usleep(5000);
		if (i % 20 == 0) /* one of them goes round */
			send_number(21);
	}
	for (int i = 0; i < THREADS; i++)
		send_number(0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	return target_success();
}
