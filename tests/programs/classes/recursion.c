/* SPDX-License-Identifier: MIT */
/* Recursion 200,000 frames deep, by one function and by two in turn, with a check in each frame on the way back. Usage: recursion [ROUNDS] */
#include <pthread.h>

#include "class.h"

#define DEPTH 200000
#define STACK (256UL << 20)

static long counts[3];

long recursion_down(long depth, long n);
long recursion_even(long n);
long recursion_odd(long n);

CLASS_FUNCTION long recursion_down(long depth, long n)
{
	volatile long kept = depth ^ n;
	long below;

	counts[0]++;
	if (!depth)
		return n;
	below = recursion_down(depth - 1, n);
	if (kept != (depth ^ n) || below != n + depth - 1)
		target_fail("frame %ld is damaged", depth);
	return below + 1;
}

CLASS_FUNCTION long recursion_odd(long n)
{
	volatile long kept = n;

	counts[2]++;
	return n ? recursion_even(n - 1) + kept - n + 1 : 0;
}

CLASS_FUNCTION long recursion_even(long n)
{
	volatile long kept = n;

	counts[1]++;
	return n ? recursion_odd(n - 1) + kept - n + 1 : 0;
}

static void *go_down(void *arg)
{
	(void)arg;
	for (long n = 0; class_goes_on(); n++)
		if (recursion_down(DEPTH, n) != n + DEPTH || recursion_even(DEPTH) != DEPTH)
			target_fail("a wrong result");
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	class_start(argc, argv);
	if (pthread_create(&thread, &attr, go_down, NULL))
		target_fail("no thread");
	pthread_join(thread, NULL);
	class_told("recursion_down", counts[0]);
	class_told("recursion_even", counts[1]);
	class_told("recursion_odd", counts[2]);
	return target_success();
}
