/* SPDX-License-Identifier: MIT */
/*
 * The process that test_trap.c puts traps into: a child that calls a function with three places, counts its calls and checks all that
 * a trap could disturb. The trampolines are made here by hand; each counts a hit.
 */
#ifndef UNIT_TRAP_TARGET_H
#define UNIT_TRAP_TARGET_H

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/trap.h"

/* What the child and the test tell each other. */
struct trap_shared {
	volatile uint64_t hits;    /* counted by trampolines */
	volatile uint64_t calls;   /* of the function, three hits each while the traps are in */
	volatile uint64_t rounds;  /* goes up while the target lives */
	volatile uint64_t signals; /* handled */
	volatile int go, done;
	volatile int wrong;        /* the first line of the test that found something wrong */
	volatile int64_t detail;
};
extern struct trap_shared *trap_shared;
struct trap_shared *trap_shared;

#define EXPECT(condition, value)                                                                                       \
	do {                                                                                                           \
		if (!(condition) && !trap_shared->wrong) {                                                             \
			trap_shared->detail = (int64_t)(value);                                                        \
			trap_shared->wrong = __LINE__;                                                                 \
		}                                                                                                      \
	} while (0)

/* 3 * n + 5. Three places: an instruction of one byte, of three, and one of one byte behind which the function returns. */
long trap_work(long n);
extern const char trap_site_a[], trap_site_b[], trap_site_c[], trap_stub_a[], trap_stub_b[], trap_stub_c[];
__asm__(".pushsection .text\n"
	".globl trap_work\n"
	"trap_work:\n"
	"trap_site_a: push %rbx\n"
	"trap_site_b: mov %rdi, %rbx\n"
	"1:\t lea 5(%rbx,%rbx,2), %rax\n"
	"trap_site_c: pop %rbx\n"
	"2:\t ret\n"
	".macro count_hit\n"
	"\t lea -128(%rsp), %rsp\n\t pushfq\n\t push %rax\n"
	"\t mov trap_shared(%rip), %rax\n\t lock incq (%rax)\n"
	"\t pop %rax\n\t popfq\n\t lea 128(%rsp), %rsp\n"
	".endm\n"
	"trap_stub_a: count_hit\n\t push %rbx\n\t jmp trap_site_b\n"
	"trap_stub_b: count_hit\n\t mov %rdi, %rbx\n\t jmp 1b\n"
	"trap_stub_c: count_hit\n\t pop %rbx\n\t jmp 2b\n"
	".popsection\n");

#define TRAP_SITES 3

static inline utap_addr trap_address(const char *at) { return (utap_addr)(uintptr_t)at; }

__attribute__((unused)) static void trap_list(struct engine_trap ret[TRAP_SITES])
{
	ret[0] = (struct engine_trap){ trap_address(trap_site_a), trap_address(trap_stub_a), 0x53, 1 };
	ret[1] = (struct engine_trap){ trap_address(trap_site_c), trap_address(trap_stub_c), 0x5b, 1 };
	ret[2] = (struct engine_trap){ trap_address(trap_site_b), trap_address(trap_stub_b), 0x48, 3 };
}

__attribute__((unused)) static void trap_call(long n)
{
	__atomic_fetch_add(&trap_shared->calls, 1, __ATOMIC_RELAXED);
	EXPECT(trap_work(n) == 3 * n + 5, n);
}

__attribute__((unused)) static void trap_calls(long count)
{
	for (long i = 0; i < count; i++)
		trap_call(i);
}

/* SIGTRAP's bit of the mask, and its action, as they are now. */
__attribute__((unused)) static bool trap_is_blocked(void)
{
	sigset_t set;

	sigprocmask(SIG_BLOCK, NULL, &set);
	return sigismember(&set, SIGTRAP);
}

__attribute__((unused)) static bool trap_action_is(const struct sigaction *want)
{
	struct sigaction now;

	sigaction(SIGTRAP, NULL, &now);
	return now.sa_handler == want->sa_handler && (now.sa_flags & ~0x04000000) == (want->sa_flags & ~0x04000000) &&
	       !memcmp(&now.sa_mask, &want->sa_mask, 8);
}

__attribute__((unused)) static void trap_block(int how, int signal)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signal);
	sigprocmask(how, &set, NULL);
}

#endif
