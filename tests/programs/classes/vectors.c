/* SPDX-License-Identifier: MIT */
/*
 * All that a thread has in registers must be the same after a call as before it: x87 with its control and status words, mxcsr, xmm, ymm,
 * zmm and mask registers, general registers, flags with the direction flag. The functions called change none of these. A second thread
 * calls them, too, so that rings are contended and slow paths are taken. Usage: vectors [ROUNDS]
 */
#include <cpuid.h>
#include <pthread.h>

#include "class.h"

#define COMPONENTS 0xe7U /* of XCR0: x87, SSE, AVX, and the three of AVX-512 */
#define AREA 16384
#define GENERAL 15
#define FLAGS 0xcd5UL /* OF DF SF ZF AF PF CF */

uint64_t vectors_before[GENERAL + 1], vectors_after[GENERAL + 1]; /* general registers without rsp, then flags */
unsigned char vectors_in[AREA] __attribute__((aligned(64)));
unsigned char vectors_out[AREA] __attribute__((aligned(64)));
uint64_t vectors_mask;
void (*vectors_function)(void);
void vectors_call(void);
void vectors_nop(void), vectors_lea(void), vectors_push(void), vectors_mov(void), vectors_movaps(void), vectors_ret(void);
void vectors_calls(void), vectors_rip(void), vectors_jmp(void), vectors_short(void);

/* The register state is loaded, the function called, the state stored; nothing between uses a register. */
__asm__(".text\n.type vectors_call, @function\n"
	"vectors_call:\n"
	"	.cfi_startproc\n"
	"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"	mov vectors_mask(%rip), %eax\n"
	"	xor %edx, %edx\n"
	"	xrstor64 vectors_in(%rip)\n"
	"	push vectors_before+120(%rip)\n"
	"	popfq\n"
	"	mov vectors_before+0(%rip), %rax\n"
	"	mov vectors_before+8(%rip), %rbx\n"
	"	mov vectors_before+16(%rip), %rcx\n"
	"	mov vectors_before+24(%rip), %rdx\n"
	"	mov vectors_before+32(%rip), %rsi\n"
	"	mov vectors_before+40(%rip), %rdi\n"
	"	mov vectors_before+48(%rip), %rbp\n"
	"	mov vectors_before+56(%rip), %r8\n"
	"	mov vectors_before+64(%rip), %r9\n"
	"	mov vectors_before+72(%rip), %r10\n"
	"	mov vectors_before+80(%rip), %r11\n"
	"	mov vectors_before+88(%rip), %r12\n"
	"	mov vectors_before+96(%rip), %r13\n"
	"	mov vectors_before+104(%rip), %r14\n"
	"	mov vectors_before+112(%rip), %r15\n"
	"	call *vectors_function(%rip)\n"
	"	mov %rax, vectors_after+0(%rip)\n"
	"	mov %rbx, vectors_after+8(%rip)\n"
	"	mov %rcx, vectors_after+16(%rip)\n"
	"	mov %rdx, vectors_after+24(%rip)\n"
	"	mov %rsi, vectors_after+32(%rip)\n"
	"	mov %rdi, vectors_after+40(%rip)\n"
	"	mov %rbp, vectors_after+48(%rip)\n"
	"	mov %r8, vectors_after+56(%rip)\n"
	"	mov %r9, vectors_after+64(%rip)\n"
	"	mov %r10, vectors_after+72(%rip)\n"
	"	mov %r11, vectors_after+80(%rip)\n"
	"	mov %r12, vectors_after+88(%rip)\n"
	"	mov %r13, vectors_after+96(%rip)\n"
	"	mov %r14, vectors_after+104(%rip)\n"
	"	mov %r15, vectors_after+112(%rip)\n"
	"	pushfq\n"
	"	pop vectors_after+120(%rip)\n"
	"	cld\n"
	"	mov vectors_mask(%rip), %eax\n"
	"	xor %edx, %edx\n"
	"	xsave64 vectors_out(%rip)\n"
	"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"	ret\n"
	"	.cfi_endproc\n"
	"	.size vectors_call, .-vectors_call\n");

/* A function whose code is given; it changes no register and no flag. */
#define FUNCTION(name, code)                                                                                            \
	__asm__(".text\n.p2align 4\n.globl " #name "\n.type " #name ", @function\n" #name ":\n.cfi_startproc\n" code "\n" \
		".cfi_endproc\n.size " #name ", .-" #name "\n.p2align 4\n")

FUNCTION(vectors_nop, "nopl 0x11223344(%rax,%rax); ret");
FUNCTION(vectors_lea, "lea -8(%rsp), %rsp; lea 8(%rsp), %rsp; ret");
FUNCTION(vectors_push, "push %rbp; mov %rsp, %rbp; pop %rbp; ret");
FUNCTION(vectors_mov, "mov %rdi, %rdi; mov %rsp, %rsp; mov %r12, -8(%rsp); ret");
FUNCTION(vectors_movaps, "movaps %xmm3, %xmm3; movaps %xmm15, %xmm15; ret");
FUNCTION(vectors_ret, "ret");
FUNCTION(vectors_calls, "call vectors_lea; ret");
FUNCTION(vectors_rip, "push vectors_mask(%rip); lea 8(%rsp), %rsp; ret");
FUNCTION(vectors_jmp, "jmp vectors_push");
FUNCTION(vectors_short, "nop; jmp 1f; 1: nop; ret");

static struct {
	const char *name;
	void (*call)(void);
	long calls;
} functions[] = {
	{ "vectors_nop", vectors_nop, 0 },	 { "vectors_lea", vectors_lea, 0 },   { "vectors_push", vectors_push, 0 },
	{ "vectors_mov", vectors_mov, 0 },	 { "vectors_movaps", vectors_movaps, 0 }, { "vectors_ret", vectors_ret, 0 },
	{ "vectors_calls", vectors_calls, 0 }, { "vectors_rip", vectors_rip, 0 },   { "vectors_jmp", vectors_jmp, 0 },
	{ "vectors_short", vectors_short, 0 },
};
#define FUNCTIONS (sizeof(functions) / sizeof(functions[0]))

static volatile int stop_beside;
static struct { /* of AVX and the three components of AVX-512 in the image; asked once: cpuid is slow in virtual machines */
	unsigned offset, size;
} components[8];

static void fill(unsigned char *bytes, size_t size, uint64_t *seed)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)(class_random(seed) >> 32);
}

/* An image for xrstor64 with random contents and every exception masked. */
static void make_state(uint64_t *seed)
{
	uint16_t control = 0x037f | (uint16_t)(class_random(seed) & 0xc00); /* any rounding */
	uint16_t status = (uint16_t)(class_random(seed) & 0x7f40);           /* top, conditions; nothing pending */
	uint32_t mxcsr = 0x1f80 | (uint32_t)(class_random(seed) & 0x603f);   /* rounding, flags already raised */

	memset(vectors_in, 0, sizeof(vectors_in));
	memcpy(vectors_in, &control, 2);
	memcpy(vectors_in + 2, &status, 2);
	vectors_in[4] = 0xff;
	memcpy(vectors_in + 24, &mxcsr, 4);
	for (int i = 0; i < 8; i++)
		fill(vectors_in + 32 + 16 * i, 10, seed);
	fill(vectors_in + 160, 256, seed);
	memcpy(vectors_in + 512, &vectors_mask, 8);
	for (unsigned i = 2; i < 8; i++)
		fill(vectors_in + components[i].offset, components[i].size, seed);
}

static void compare(const char *name, const char *what, size_t offset, size_t size)
{
	for (size_t i = offset; i < offset + size; i++)
		if (vectors_in[i] != vectors_out[i])
			target_fail("%s changed %s: byte %zu was %02x and is %02x", name, what, i - offset, vectors_in[i],
				    vectors_out[i]);
}

static void check_state(const char *name)
{
	compare(name, "the x87 control, status and tag words", 0, 5);
	compare(name, "mxcsr", 24, 4);
	for (size_t i = 0; i < 8; i++)
		compare(name, "an x87 register", 32 + 16 * i, 10);
	compare(name, "an xmm register", 160, 256);
	for (unsigned i = 2; i < 8; i++)
		compare(name, i == 2 ? "a ymm register" : i == 5 ? "a mask register" : "a zmm register", components[i].offset,
			components[i].size);
	for (int i = 0; i < GENERAL; i++)
		if (vectors_before[i] != vectors_after[i])
			target_fail("%s changed general register %d from %lx to %lx", name, i, (unsigned long)vectors_before[i],
				    (unsigned long)vectors_after[i]);
	if ((vectors_before[GENERAL] ^ vectors_after[GENERAL]) & FLAGS)
		target_fail("%s changed the flags from %lx to %lx", name, (unsigned long)vectors_before[GENERAL],
			    (unsigned long)vectors_after[GENERAL]);
}

static void check(size_t which, uint64_t *seed)
{
	make_state(seed);
	for (int i = 0; i < GENERAL; i++)
		vectors_before[i] = class_random(seed);
	vectors_before[GENERAL] = 0x202 | (class_random(seed) & FLAGS);
	vectors_function = functions[which].call;
	memset(vectors_out, 0, sizeof(vectors_out));
	vectors_call();
	check_state(functions[which].name);
	functions[which].calls++;
}

static void *call_beside(void *arg)
{
	(void)arg;
	while (!stop_beside)
		for (long i = 0; i < 100; i++)
			target_step(i);
	return NULL;
}

static void find_components(void)
{
	unsigned a, b, c, d;

	__cpuid(1, a, b, c, d);
	if (!(c & bit_OSXSAVE))
		target_fail("this machine has no xsave");
	__asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
	vectors_mask = a & COMPONENTS;
	for (unsigned i = 2; i < 8; i++) {
		if (!(vectors_mask >> i & 1))
			continue;
		__cpuid_count(0xd, i, components[i].size, components[i].offset, c, d);
		if (components[i].offset + components[i].size > AREA)
			target_fail("the state is larger than expected");
	}
}

int main(int argc, char **argv)
{
	uint64_t seed = 88172645463325252ULL;
	pthread_t beside;

	find_components();
	class_start(argc, argv);
	if (pthread_create(&beside, NULL, call_beside, NULL))
		target_fail("no thread");
	while (class_goes_on())
		for (size_t i = 0; i < FUNCTIONS; i++)
			check(i, &seed);
	stop_beside = 1;
	pthread_join(beside, NULL);
	/* vectors_jmp ends in vectors_push, vectors_calls calls vectors_lea. */
	functions[1].calls += functions[6].calls;
	functions[2].calls += functions[8].calls;
	for (size_t i = 0; i < FUNCTIONS; i++)
		class_told(functions[i].name, functions[i].calls);
	return target_success();
}
