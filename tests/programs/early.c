/* SPDX-License-Identifier: MIT */
/* Calls from constructors and from the start of main(), a known number of times. Usage: early */
#include "target.h"

__attribute__((constructor)) static void before_main(void)
{
	for (long i = 0; i < 3; i++)
		target_step(i);
}

int main(void)
{
	for (long i = 0; i < 5; i++)
		target_step(i);
	printf("probed_step 8\n");
	return target_success();
}
