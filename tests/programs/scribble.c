/* SPDX-License-Identifier: MIT */
/*
 * A program that writes random bytes over the memory it shares with utap while it is probed.
 *
 * Usage: scribble rings|all: only the rings and counters (then the program itself must come to no harm), or everything
 * but the table that generated code follows.
 */
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>

#include "target.h"

static void *work(void *arg)
{
	for (long i = (long)arg; !target_stopping; i++)
		target_step(i);
	return NULL;
}

/* The writable shared mappings of the memory file; the first holds descriptions, the others the rings. */
static int find_shared(uintptr_t *start, uintptr_t *end, int max)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	int n = 0;

	while (maps && n < max && fgets(line, sizeof(line), maps)) {
		char prot[8];

		if (strstr(line, "/memfd:utap") &&
		    sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %7s", &start[n], &end[n], prot) == 3 &&
		    !strcmp(prot, "rw-s"))
			n++;
	}
	if (maps)
		fclose(maps);
	return n;
}

/* utap may unmap what we just found. A fault anywhere else is one that we are here to find. */
static _Thread_local sigjmp_buf back;
static _Thread_local volatile uintptr_t writing;

static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)context;
	if (writing && (uintptr_t)info->si_addr == writing)
		siglongjmp(back, 1);
	signal(number, SIG_DFL); /* and again */
}

/* @return false: it is gone */
static int write_at(uintptr_t at, unsigned char value)
{
	if (sigsetjmp(back, 1)) {
		writing = 0;
		return 0;
	}
	writing = at;
	*(volatile unsigned char *)at = value;
	writing = 0;
	return 1;
}

static unsigned random_next(unsigned *seed)
{
	*seed = *seed * 1664525U + 1013904223U;
	return *seed >> 8;
}

int main(int argc, char **argv)
{
	int all = argc > 1 && !strcmp(argv[1], "all");
	unsigned seed = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
	uintptr_t start[64], end[64];
	pthread_t thread;
	long written = 0;

	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };

	target_start();
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	if (pthread_create(&thread, NULL, work, NULL))
		target_fail("no thread");
	while (!target_stopping) {
		int n = find_shared(start, end, 64);

		for (int i = all ? 0 : 1; i < n; i++)
			for (int j = 0; j < 200; j++) {
				uintptr_t at = start[i] + random_next(&seed) % (end[i] - start[i]);

				/* The first pages are what the probes and the runtime go by. */
				if (i == 0 && at - start[i] < 3 * 4096)
					continue;
				written += write_at(at, (unsigned char)random_next(&seed));
			}
		usleep(1000);
	}
	pthread_join(thread, NULL);
	printf("written %ld\n", written);
	return target_success();
}
