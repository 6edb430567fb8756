/* SPDX-License-Identifier: MIT */
/*
 * How much of the stack a probe uses: functions are called on a stack of their own that is filled with a pattern, and what was overwritten
 * is looked at. Below the stack pointer are 128 bytes that nobody may touch (the red zone), and below those 256 that a probe may use.
 * Usage: depth [ROUNDS]
 */
#include <sys/mman.h>

#include "class.h"

#define STACK 65536UL
#define PAGE 4096UL
#define PATTERN 0xa5
#define RED_ZONE 128
#define MAY_USE 256

long depth_leaf(long n, long m);
long depth_other(long n, long m);
long depth_on(void *top, long (*function)(long, long), long n, long m);

/* Calls function(n, m) with the stack pointer at top. */
__asm__(".text\n.type depth_on, @function\n"
	"depth_on:\n"
	"	.cfi_startproc\n"
	"	push %rbp\n"
	"	.cfi_def_cfa_offset 16\n"
	"	.cfi_offset %rbp, -16\n"
	"	mov %rsp, %rbp\n"
	"	.cfi_def_cfa_register %rbp\n"
	"	mov %rdi, %rsp\n"
	"	mov %rsi, %rax\n"
	"	mov %rdx, %rdi\n"
	"	mov %rcx, %rsi\n"
	"	call *%rax\n"
	"	leave\n"
	"	.cfi_def_cfa %rsp, 8\n"
	"	ret\n"
	"	.cfi_endproc\n"
	"	.size depth_on, .-depth_on\n");

/* Leaves that use no stack themselves. */
__asm__(".text\n.p2align 4\n.globl depth_leaf\n.type depth_leaf, @function\n"
	"depth_leaf: .cfi_startproc\n	lea 1(%rdi,%rsi), %rax\n	nopl 0(%rax)\n	ret\n	.cfi_endproc\n"
	"	.size depth_leaf, .-depth_leaf\n"
	".p2align 4\n.globl depth_other\n.type depth_other, @function\n"
	"depth_other: .cfi_startproc\n	mov %rdi, %rax\n	xor %rsi, %rax\n	ret\n	.cfi_endproc\n"
	"	.size depth_other, .-depth_other\n");

static unsigned char *stack;
static size_t deepest; /* bytes below the return address */

/* The call's own return address lies in the 8 bytes below the top. */
static void look(const char *name, const unsigned char *top)
{
	const unsigned char *below = top - 8;

	for (const unsigned char *at = below - RED_ZONE; at < below; at++)
		if (*at != PATTERN)
			target_fail("%s: the red zone was written to, %zd bytes below the stack pointer", name, below - at);
	for (size_t i = 0; i < STACK - 64 - RED_ZONE; i++) {
		if (stack[i] == PATTERN)
			continue;
		if ((size_t)(below - stack) - i > deepest)
			deepest = (size_t)(below - stack) - i;
		break;
	}
	if (deepest > RED_ZONE + MAY_USE)
		target_fail("%s: %zu bytes of stack were used", name, deepest);
	memset(stack, PATTERN, STACK);
}

int main(int argc, char **argv)
{
	unsigned char *memory = mmap(NULL, STACK + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	long calls = 0;

	stack = memory + PAGE;
	if (memory == MAP_FAILED || mprotect(stack, STACK, PROT_READ | PROT_WRITE))
		target_fail("no stack");
	memset(stack, PATTERN, STACK);
	class_start(argc, argv);
	for (; class_goes_on(); calls++) {
		unsigned char *top = stack + STACK - 64;

		if (depth_on(top, depth_leaf, calls, 5) != calls + 6)
			target_fail("depth_leaf gave a wrong result");
		look("depth_leaf", top);
		if (depth_on(top, depth_other, calls, 0x33) != (calls ^ 0x33))
			target_fail("depth_other gave a wrong result");
		look("depth_other", top);
	}
	fprintf(stderr, "at most %zu bytes below the stack pointer were used\n", deepest);
	class_told("depth_leaf", calls);
	class_told("depth_other", calls);
	return target_success();
}
