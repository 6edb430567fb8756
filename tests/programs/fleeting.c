/* SPDX-License-Identifier: MIT */
/* A program that ends soon, with threads at work. Usage: fleeting MICROSECONDS */
#include <pthread.h>

#include "target.h"

static void *work(void *arg)
{
	for (long i = 0;; i++)
		target_step(i + (long)arg);
	return NULL;
}

int main(int argc, char **argv)
{
	uint64_t until = target_now_ns() + (argc > 1 ? strtoull(argv[1], NULL, 10) : 1000) * 1000;
	pthread_t thread;

	target_start();
	for (int i = 0; i < 2; i++)
		if (pthread_create(&thread, NULL, work, NULL))
			target_fail("no thread");
	while (target_now_ns() < until)
		target_step(1);
	return target_success();
}
