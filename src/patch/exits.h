/* SPDX-License-Identifier: MIT */
/*
 * The ways out of a function, found in its code: each return, and each jump that leaves it for another function (a tail call). Pure: bytes in,
 * facts out.
 *
 * A function is its frame entry and the fragments that the compiler moved away from it (NAME.cold, or stretches that only this function
 * jumps to). A call that does not return is no way out; neither is an exception: no instruction of the function is left by it. Nor is a jump
 * back to the entry, a loop, although a probe at the entry sees each turn.
 */
#ifndef PATCH_EXITS_H
#define PATCH_EXITS_H

#include "patch/code.h"
#include "patch/target.h"

#define PATCH_PARTS 4

struct patch_exit {
	uint64_t vaddr;      /* of the instruction that leaves */
	bool tail;           /* it goes on in another function, which returns to our caller */
	enum patch_when when; /* REACHED: ret and jmp; TAKEN: a conditional jump out; LEAVING: an indirect jump that may also stay */
};

/** A function and its ways out; released with patch_function_release(). */
struct patch_function {
	struct object_range parts[PATCH_PARTS]; /* parts[0] holds the entry */
	size_t nparts;
	struct patch_exit *exits; /* heap, by vaddr; none: it never returns. With one that is LEAVING there are at most two parts. */
	size_t nexits;
};

/**
 * patch_function_find() - the function that starts at @vaddr and all its ways out
 * @why: on refusal, a static sentence
 *
 * Return: 0; -ENOTSUP when it cannot be proved that these are all and only its own (code without a frame entry, bytes that are no
 * instruction, a fragment that two functions share, another function that begins or jumps inside, too many parts); -ENOMEM.
 */
int patch_function_find(const struct patch_code *code, uint64_t vaddr, struct patch_function *ret,
			const char **why) BASE_MUST_CHECK;
void patch_function_release(struct patch_function *function);

#endif
