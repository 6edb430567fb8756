/* SPDX-License-Identifier: MIT */
/*
 * How many bytes of a goroutine's stack are left for certain when one of its functions is at some place. Pure: the file in, numbers out;
 * all places are vaddrs of the file.
 */
#ifndef PATCH_GOSTACK_H
#define PATCH_GOSTACK_H

#include "object/object.h"

struct gostack;

/* Where a call was replaced, its return address stands below the place's stack pointer before the program runs. */
#define GOSTACK_CALL 8

/**
 * gostack_create() - look at the functions of a Go program
 * @object: borrowed until gostack_destroy()
 *
 * Return: 0; -ENOENT: it has no table of functions; -ENOMEM.
 */
int gostack_create(struct object *object, struct gostack **ret) BASE_MUST_CHECK;
void gostack_destroy(struct gostack *stack); /* NULL is fine */

/**
 * gostack_left() - are at least *@left bytes free below the stack pointer whenever the instruction at @vaddr is about to run?
 * @left: at least 0; 0 also where nothing is known
 *
 * Return: false, when @vaddr is in no function of the table.
 */
bool gostack_left(const struct gostack *stack, uint64_t vaddr, unsigned *left);

/**
 * gostack_why_not() - why a probe at @vaddr whose program takes @needed bytes might write below the stack; NULL: it does not. The sentence lives
 * as long as @stack.
 */
const char *gostack_why_not(struct gostack *stack, uint64_t vaddr, unsigned needed);

/* ---- one function (goprologue.c) ---- */

/** A function that looks, before all else, whether its stack reaches, and has it grown if not. */
struct go_check {
	uint64_t body;  /* from here on it does */
	uint64_t grow;  /* from here on it has it grown, and begins again */
	uint64_t frame; /* the stack pointer at the entry less this is above the limit */
};
/**
 * go_check_find() - does the function do that?
 * @is_morestack: is that the entry of the runtime's function that makes stacks grow?
 */
bool go_check_find(const struct object *object, const struct object_go_function *function,
		   bool (*is_morestack)(const void *arg, uint64_t vaddr), const void *arg, struct go_check *ret);

/** How an instruction changes the stack pointer. */
enum go_move {
	GO_MOVE_TOLD,   /* not, or by a known number of bytes: the table of depths says so too */
	GO_MOVE_STACK,  /* it is read from memory: another stack */
	GO_MOVE_UNTOLD, /* else */
};
/** go_move() - of the instruction at @code, of which @length bytes are readable; @change: GO_MOVE_TOLD: bytes that it goes down */
enum go_move go_move(const uint8_t *code, unsigned length, uint64_t vaddr, int64_t *change);

#endif
