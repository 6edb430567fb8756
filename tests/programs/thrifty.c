/* SPDX-License-Identifier: MIT */
/* Calls probed_step() all the time; told to (SIGUSR1) it takes 100 MiB at once and says whether it got them: "got" or "no memory". */
#include "target.h"

#define WANTED (100UL << 20)

static volatile sig_atomic_t asked;

static void on_ask(int number)
{
	(void)number;
	asked = 1;
}

static void take(void)
{
	char *memory = malloc(WANTED);

	if (memory)
		*(volatile char *)(memory + WANTED - 1) = 1;
	puts(memory ? "got" : "no memory");
	free(memory);
	fflush(stdout);
}

int main(void)
{
	struct timespec pause = { .tv_nsec = 1000000 };

	signal(SIGUSR1, on_ask);
	target_start();
	for (long n = 0; !target_stopping; n++) {
		if (asked)
			take();
		asked = 0;
		probed_step(n);
		nanosleep(&pause, NULL);
	}
	return target_success();
}
