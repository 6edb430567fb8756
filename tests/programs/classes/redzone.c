/* SPDX-License-Identifier: MIT */
/*
 * Leaf functions that keep values in the 128 bytes below the stack pointer: one in assembly that fills all of them and reads them back,
 * one as the compiler makes it. A probe at any of their instructions must not write there. Usage: redzone [ROUNDS]
 */
#include "class.h"

long redzone_all(long seed);
long redzone_compiled(const long *values, long n);

__asm__(".text\n.p2align 4\n.globl redzone_all\n.type redzone_all, @function\n"
	"redzone_all:\n"
	"	.cfi_startproc\n"
	"	.set offset, -128\n"
	"	.rept 16\n"
	"	mov %rdi, offset(%rsp)\n"
	"	inc %rdi\n"
	"	.set offset, offset + 8\n"
	"	.endr\n"
	"	xor %eax, %eax\n"
	"	test %edi, %edi\n"
	"	jz 1f\n"
	"	nop\n"
	"1:	xchg %ax, %ax\n"
	"	.set offset, -128\n"
	"	.rept 16\n"
	"	imul $31, %rax, %rax\n"
	"	add offset(%rsp), %rax\n"
	"	.set offset, offset + 8\n"
	"	.endr\n"
	"	ret\n"
	"	.cfi_endproc\n"
	"	.size redzone_all, .-redzone_all\n.p2align 4\n");

/* Too many values for registers, and no call: they lie in the red zone (the script looks whether they do). */
CLASS_FUNCTION long redzone_compiled(const long *values, long n)
{
	volatile long kept[14];
	long sum = 0;

	for (int i = 0; i < 14; i++)
		kept[i] = values[i] * n;
	for (int i = 13; i >= 0; i--)
		sum = sum * 7 + kept[i];
	return sum;
}

static long want_all(long seed)
{
	unsigned long sum = 0;

	for (long i = 0; i < 16; i++)
		sum = sum * 31 + (unsigned long)(seed + i);
	return (long)sum;
}

static long want_compiled(const long *values, long n)
{
	unsigned long sum = 0;

	for (int i = 13; i >= 0; i--)
		sum = sum * 7 + (unsigned long)(values[i] * n);
	return (long)sum;
}

int main(int argc, char **argv)
{
	uint64_t seed = 12345;
	long calls = 0, values[14];

	class_start(argc, argv);
	while (class_goes_on()) {
		long n = (long)(class_random(&seed) >> 40);

		for (int i = 0; i < 14; i++)
			values[i] = (long)(class_random(&seed) >> 44);
		if (redzone_all(n) != want_all(n))
			target_fail("redzone_all: a value in the red zone changed");
		if (redzone_compiled(values, n) != want_compiled(values, n))
			target_fail("redzone_compiled: a value in the red zone changed");
		calls++;
	}
	class_told("redzone_all", calls);
	class_told("redzone_compiled", calls);
	return target_success();
}
