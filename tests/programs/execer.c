/* SPDX-License-Identifier: MIT */
/*
 * A program that executes itself again and again: each life has two threads and lasts some milliseconds. Usage: execer
 * LIVES [MS]
 */
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
	long lives = argc > 1 ? atol(argv[1]) : 1;
	long ms = argc > 2 ? atol(argv[2]) : 5;
	uint64_t until = target_now_ns() + (uint64_t)ms * 1000000;
	char left[32];
	char *next[] = { argv[0], left, argc > 2 ? argv[2] : NULL, NULL };
	pthread_t thread;

	if (argc > 3 || !getenv("UTAP_EXECER")) { /* the first life */
		setenv("UTAP_EXECER", "1", 1);
		target_start();
	}
	signal(SIGTERM, SIG_IGN);
	if (pthread_create(&thread, NULL, work, NULL))
		target_fail("no thread");
	for (long i = 0; target_now_ns() < until; i++)
		target_step(i);
	if (lives <= 1)
		return target_success();
	snprintf(left, sizeof(left), "%ld", lives - 1);
	execv("/proc/self/exe", next);
	target_fail("execv: %s", strerror(errno));
}
