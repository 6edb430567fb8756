/* SPDX-License-Identifier: MIT */
/* The sets of bench-deep, named ROLE.deep: a function at the end of calls that are 19 deep, with frames of a usual size
 * and frame pointers. */
#include "target.h"

#if __has_attribute(noclone)
#define NOINLINE __attribute__((noinline, noclone))
#else
#define NOINLINE __attribute__((noinline))
#endif
#define DEPTH 18 /* calls of down(), then the leaf; with its caller twenty addresses */

NOINLINE static long down(long n, target_fn *leaf, long a, const long *b)
{
	volatile long room[10];
	long result;

	room[n % 10] = a;
	result = n ? down(n - 1, leaf, a + 1, b) : leaf(a, b);
	return result + room[n % 10];
}

/*
 * One a role, each with an address of its own. Its first instruction is the one that the kernel has the cheapest uprobes for, and no frame is made:
 * a ^ *b.
 */
#define LEAF(role)                                                                                     \
	target_fn deep_##role;                                                                         \
	target_fn deep_from_##role;                                                                    \
	__asm__(".text\n.balign 16\n.globl deep_" #role "\n.type deep_" #role ", @function\n"           \
		"deep_" #role ":\n.cfi_startproc\n.byte 0x0f, 0x1f, 0x44, 0x00, 0x00\n"                \
		"mov %rdi, %rax\nxor (%rsi), %rax\nret\n.cfi_endproc\n.size deep_" #role ", . - deep_" #role "\n"); \
	NOINLINE long deep_from_##role(long a, const long *b)                                          \
	{                                                                                              \
		return down(DEPTH - 1, deep_##role, a, b) + 1;                                         \
	}
LEAF(plain)
LEAF(utap)
LEAF(kernel)

#define ONE(name, function) { name, (target_fn *const[]) { function }, 1, false, NULL }
#define SET(role) ONE(#role ".deep", deep_from_##role), ONE(#role ".leaf", deep_##role)

const struct target_set target_sets[] = { SET(plain), SET(utap), SET(kernel) };
const size_t target_nsets = sizeof(target_sets) / sizeof(*target_sets);
