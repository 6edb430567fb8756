/* SPDX-License-Identifier: MIT */
/*
 * A library for loader.c. Its constructor calls plugin_step() PLUGIN_EARLY times, its destructor once: whoever counts from the first
 * instruction on counts these, too.
 */
#define PLUGIN_EARLY 3

__attribute__((visibility("default"))) long plugin_step(long n);

__attribute__((noinline)) long plugin_step(long n)
{
	volatile long sum = 1;

	for (long i = 0; i < (n & 3); i++)
		sum += n;
	if (n & 1)
		sum ^= 0x55;
	return sum;
}

static long (*volatile step)(long n) = plugin_step; /* a real call, whatever the compiler sees */

__attribute__((constructor)) static void begin(void)
{
	for (long i = 0; i < PLUGIN_EARLY; i++)
		step(i);
}

__attribute__((destructor)) static void end(void) { step(9); }
