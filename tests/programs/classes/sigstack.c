/* SPDX-License-Identifier: MIT */
/*
 * Signal handlers on a stack that is just large enough: it ends at a page that cannot be touched, and below the deepest frame of the
 * handler are only 128 bytes (the red zone) and 256 (what a probe may use). The handler and what it calls are probed.
 * Usage: sigstack [ROUNDS]
 */
#include <sys/auxv.h>
#include <sys/mman.h>

#include "class.h"

#define ROOM (128 + 256)
#define PAGE 4096UL

static volatile long handled, stepped;
static volatile uintptr_t lowest; /* stack pointer in the deepest function */

long sigstack_step(long n);
void sigstack_handler(int number);

CLASS_FUNCTION long sigstack_step(long n)
{
	uintptr_t stack = (uintptr_t)__builtin_frame_address(0);

	if (!lowest || stack < lowest)
		lowest = stack;
	stepped++;
	return n * 3 + 1;
}

void sigstack_handler(int number)
{
	long n = handled++;

	if (sigstack_step(n) != n * 3 + 1 || number != SIGUSR1)
		target_fail("a wrong result in the handler");
}

/* The next signals run on the @size bytes above @bottom. */
static void use_stack(unsigned char *bottom, size_t size)
{
	stack_t stack = { .ss_sp = bottom, .ss_size = size };

	if (sigaltstack(&stack, NULL))
		target_fail("no signal stack of %zu bytes: %s", size, strerror(errno));
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = sigstack_handler, .sa_flags = SA_ONSTACK };
	unsigned long least = getauxval(AT_MINSIGSTKSZ);
	size_t large = 64 * PAGE;
	unsigned char *memory = mmap(NULL, PAGE + large, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	sigfillset(&action.sa_mask); /* no second handler on this stack */
	if (memory == MAP_FAILED || mprotect(memory, PAGE, PROT_NONE) || sigaction(SIGUSR1, &action, NULL))
		target_fail("no signal stack");
	memory += PAGE;
	use_stack(memory, large);
	/* The frame that the kernel makes is aligned to 64 bytes: the same size at the same alignment needs the same room. */
	raise(SIGUSR1);
	size_t used = (uintptr_t)memory + large - lowest + 16; /* the saved frame pointer is at lowest, the leaf's own bytes below */
	size_t size = (used + ROOM + 63) & ~63UL;
	if (least && size < least)
		size = (least + 63) & ~63UL;
	use_stack(memory, size);
	class_start(argc, argv);
	while (class_goes_on()) {
		raise(SIGUSR1);
		if (lowest < (uintptr_t)memory + ROOM - 64)
			target_fail("the test itself uses too much of the stack");
	}
	class_told("sigstack_handler", handled);
	class_told("sigstack_step", stepped);
	return target_success();
}
