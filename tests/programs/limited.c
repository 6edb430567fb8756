/* SPDX-License-Identifier: MIT */
/*
 * Calls of which some are to be left out: threads named even and odd call nest(n, depth), which calls itself and leaf(n); some are left by
 * longjmp(), so that later calls find their frames. What is called does not depend on how the threads take turns.
 * Usage: limited THREADS ROUNDS
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

#define PROBED __attribute__((noinline, noclone, used))
#define THREADS_MAX 16

static long rounds;
static _Thread_local jmp_buf out;

long leaf(long n);
long nest(long n, int depth);
static long (*volatile deeper)(long n, int depth) = nest; /* or it would be inlined into itself */

PROBED long leaf(long n)
{
	__asm__ volatile("" ::: "memory");
	return n * 3;
}

PROBED long nest(long n, int depth)
{
	long result = leaf(n);

	if (depth > 0)
		result += deeper(n + 1, depth - 1);
	else if (n % 11 == 5)
		longjmp(out, 1);
	return result;
}

/* Its first instruction leaves it. */
__asm__(".text\n.globl hop\n.type hop, @function\nhop:\n\t.cfi_startproc\n\tjmp leaf\n\t.cfi_endproc\n.size hop, . - hop\n");
long hop(long n);

static void *work(void *arg)
{
	long thread = (long)arg;
	static _Thread_local volatile long sum;

	prctl(PR_SET_NAME, thread % 2 ? "odd" : "even");
	for (volatile long i = 0; i < rounds; i++)
		if (!setjmp(out))
			sum += nest(thread * 1000000 + i, (int)(i % 5)) + hop(i);
	return (void *)sum;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS_MAX];
	long count = argc > 1 ? atol(argv[1]) : 1;
	long total = 0;

	rounds = argc > 2 ? atol(argv[2]) : 100;
	for (long i = 0; i < count && i < THREADS_MAX; i++)
		pthread_create(&threads[i], NULL, work, (void *)i);
	for (long i = 0; i < count && i < THREADS_MAX; i++) {
		void *sum;

		pthread_join(threads[i], &sum);
		total += (long)sum;
	}
	printf("%ld EXIT-SUCCESS\n", total);
	return 0;
}
