/* SPDX-License-Identifier: MIT */
/*
 * Programs of tests/integration/classes.sh: one class of failure each, known from other tracers. A program does rounds that check
 * themselves: as many as its argument says, or until SIGTERM. At the end it says how often it called each function that it counts,
 * a line NAME CALLS, and EXIT-SUCCESS. The same number of rounds gives the same output, the first line (its pid) apart.
 */
#ifndef PROGRAMS_CLASS_H
#define PROGRAMS_CLASS_H

#include "../target.h"

/* The compiler makes the function and each call of it as they are written: it neither inlines nor clones it nor cuts calls. */
#ifdef __clang__
#define CLASS_FUNCTION __attribute__((noinline, optnone))
#else
#define CLASS_FUNCTION __attribute__((noipa))
#endif

static long class_rounds_left; /* -1: until SIGTERM */

__attribute__((unused)) static void class_start(int argc, char **argv)
{
	class_rounds_left = argc > 1 ? strtol(argv[1], NULL, 0) : -1;
	target_start();
}

__attribute__((unused)) static int class_goes_on(void)
{
	if (target_stopping || !class_rounds_left)
		return 0;
	if (class_rounds_left > 0)
		class_rounds_left--;
	return 1;
}

__attribute__((unused)) static void class_told(const char *function, long calls)
{
	printf("%s %ld\n", function, calls);
}

/* Numbers that look random and are the same in each run. */
__attribute__((unused)) static uint64_t class_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

#endif
