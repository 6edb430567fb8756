/* SPDX-License-Identifier: MIT */
/* A program that has no free descriptor left. Usage: nofds */
#include <fcntl.h>
#include <sys/resource.h>

#include "target.h"

int main(void)
{
	struct rlimit limit = { 16, 16 };
	int last = 0;

	if (setrlimit(RLIMIT_NOFILE, &limit))
		target_fail("setrlimit");
	while (last >= 0)
		last = open("/dev/null", O_RDONLY);
	target_start();
	for (long i = 0; !target_stopping; i++) {
		target_step(i);
		if (i % 4096 == 0)
			usleep(100);
	}
	return target_success();
}
