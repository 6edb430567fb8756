/* SPDX-License-Identifier: MIT */
/* A program that seals its own text (mseal, Linux 6.10). Usage: sealed; exits with status 77 when the kernel cannot. */
#include <inttypes.h>
#include <sys/syscall.h>

#include "target.h"

#define MSEAL 462

static int seal_text(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	uintptr_t here = (uintptr_t)seal_text;
	uintptr_t start, end;
	char line[512];
	int result = -1;

	while (maps && fgets(line, sizeof(line), maps))
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &start, &end) == 2 && here >= start && here < end)
			result = (int)syscall(MSEAL, start, end - start, 0);
	if (maps)
		fclose(maps);
	return result;
}

int main(void)
{
	if (seal_text()) {
		fprintf(stderr, "mseal: %s\n", strerror(errno));
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
