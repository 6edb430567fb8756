/* SPDX-License-Identifier: MIT */
/* Threads that come and go all the time. Usage: churn */
#include <pthread.h>

#include "target.h"

#define ALIVE 8

static void *live(void *arg)
{
	long n = (long)arg;

	for (long i = 0; i < 300; i++)
		target_step(n + i);
	return (void *)(n + 1);
}

int main(void)
{
	pthread_t threads[ALIVE];
	long started = 0;

	target_start();
	for (; started < ALIVE; started++)
		if (pthread_create(&threads[started], NULL, live, (void *)started))
			target_fail("no thread");
	while (!target_stopping) {
		void *result;
		pthread_t *thread = &threads[started % ALIVE];

		pthread_join(*thread, &result);
		if ((long)result != started - ALIVE + 1)
			target_fail("a thread returned %ld", (long)result);
		if (pthread_create(thread, NULL, live, (void *)started))
			target_fail("no thread");
		started++;
	}
	for (int i = 0; i < ALIVE; i++)
		pthread_join(threads[i], NULL);
	return target_success();
}
