/* SPDX-License-Identifier: MIT */
/*
 * What the target programs have in common: they print their pid, call probed_step() and check its result all the time,
 * and end on SIGTERM with EXIT-SUCCESS. Anything wrong is said on stderr and ends the program with status 1.
 */
#ifndef PROGRAMS_TARGET_H
#define PROGRAMS_TARGET_H

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t target_stopping;

__attribute__((unused)) static void target_on_term(int number)
{
	(void)number;
	target_stopping = 1;
}

__attribute__((noreturn, unused, format(printf, 1, 2))) static void target_fail(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
	_exit(1);
}

__attribute__((unused)) static void target_start(void)
{
	struct sigaction action; /* C++ has no initialiser for the handler */

	memset(&action, 0, sizeof(action));
	action.sa_handler = target_on_term;
	action.sa_flags = SA_RESTART;
	sigfillset(&action.sa_mask); /* or a handler that jumps away could take it along */
	sigaction(SIGTERM, &action, NULL);
	printf("%d\n", getpid());
	fflush(stdout);
}

__attribute__((unused)) static int target_success(void)
{
	puts("EXIT-SUCCESS");
	return fflush(stdout) ? 1 : 0;
}

/* The function that is probed: an ordinary frame, a branch, a loop. */
__attribute__((noinline, used)) static long probed_step(long n)
{
	volatile long sum = 1;

	for (long i = 0; i < (n & 3); i++)
		sum += n;
	if (n & 1)
		sum ^= 0x55;
	return sum;
}

__attribute__((unused)) static void target_step(long n)
{
	long want = 1 + (n & 3) * n;

	if (n & 1)
		want ^= 0x55;
	if (probed_step(n) != want)
		target_fail("wrong result of probed_step(%ld)", n);
}

__attribute__((unused)) static uint64_t target_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

#endif
