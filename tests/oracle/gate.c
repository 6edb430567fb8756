/* SPDX-License-Identifier: MIT */
/*
 * gate READY GO PROGRAM ARG...: says on descriptor READY that it runs, waits for a byte on GO, then becomes PROGRAM. Linked
 * statically: while uprobes are put into a process, it must not map the libc they are meant for, or the kernel refuses them all
 * for one it cannot step.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int ready, go;
	char byte = 0;

	if (argc < 4)
		return 2;
	ready = atoi(argv[1]);
	go = atoi(argv[2]);
	fcntl(ready, F_SETFD, FD_CLOEXEC);
	fcntl(go, F_SETFD, FD_CLOEXEC);
	if (write(ready, &byte, 1) != 1 || read(go, &byte, 1) != 1)
		return 126;
	execv(argv[3], argv + 3);
	return 127;
}
