/* SPDX-License-Identifier: MIT */
/*
 * One function called in tight loops with pauses between (a loop's records fit into utap's ring); every 100 ms a line with the
 * nanoseconds that a call took in the quickest loop. Usage: hot [SECONDS]
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define BATCH 15000

long hot_call(long a, long b);

__attribute__((noinline)) long hot_call(long a, long b)
{
	__asm__ volatile("" ::: "memory");
	return a * 3 + (b ^ a);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

int main(int argc, char **argv)
{
	double end = now() + 1e9 * (argc > 1 ? atoi(argv[1]) : 10);
	volatile long sink = 0;

	printf("%d\n", getpid());
	fflush(stdout);
	while (now() < end) {
		double from = now();
		double best = 1e9;

		while (now() - from < 1e8) {
			double start = now();

			for (long i = 0; i < BATCH; i++)
				sink += hot_call(i, i + 1);
			if ((now() - start) / BATCH < best)
				best = (now() - start) / BATCH;
			nanosleep(&(struct timespec){ .tv_nsec = 4000000 }, NULL);
		}
		printf("%.2f\n", best);
		fflush(stdout);
	}
	return sink == 1; /* never: it only keeps the sum alive */
}
