/* SPDX-License-Identifier: MIT */
/* A library that storm_target loads and unloads; it is probed, too. */
long storm_library(long n);
long storm_library_inner(long n);

static int loads;

__attribute__((constructor)) static void storm_library_begin(void)
{
	loads++;
}

__attribute__((noinline)) long storm_library_inner(long n)
{
	return n * 3 + (loads == 1);
}

__attribute__((visibility("default"))) long storm_library(long n)
{
	return storm_library_inner(n);
}
