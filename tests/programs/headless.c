/* SPDX-License-Identifier: MIT */
/* A program whose first thread has ended; the others go on. Usage: headless */
#include <pthread.h>

#include "target.h"

static void *work(void *arg)
{
	(void)arg;
	usleep(20000);
	target_start();
	for (long i = 0; !target_stopping; i++) {
		target_step(i);
		if (i % 4096 == 0)
			usleep(100);
	}
	exit(target_success());
}

int main(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, work, NULL))
		target_fail("no thread");
	pthread_exit(NULL);
}
