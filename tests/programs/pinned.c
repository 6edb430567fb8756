/* SPDX-License-Identifier: MIT */
/* A program that locked all of its memory. Usage: pinned; exits with status 77 when the limit forbids it. */
#include <sys/mman.h>

#include "target.h"

int main(void)
{
	if (mlockall(MCL_CURRENT)) {
		fprintf(stderr, "mlockall: %s\n", strerror(errno));
		return 77;
	}
	target_start();
	for (long i = 0; !target_stopping; i++) {
		target_step(i);
		if (i % 4096 == 0)
			usleep(100);
	}
	return target_success();
}
