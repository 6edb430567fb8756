/* SPDX-License-Identifier: MIT */
/*
 * A walk up a user stack: memory of it through a window, addresses into the record. All of it is bounded: by the
 * addresses asked for, and by .low, which only a signal frame moves down.
 *
 * It lies in the slot, behind the window: there is little stack. So the target can write it, and it is zeros in a child that the handler of a
 * signal forks in the middle of a walk: it holds no pointers, each number is used as if anybody had chosen it, and where two of them belong
 * together they are read once.
 */
#ifndef RUNTIME_STACK_H
#define RUNTIME_STACK_H

#include "runtime/runtime.h"
#include "wire/unwind.h"

struct runtime_walk {
	struct wire_unwind_walk unwind; /* by tables */
	uint32_t count, most; /* addresses so far, in the slot */
	uint64_t sp;          /* where it starts; said by a program, so nothing has to be there */
	uint64_t near;        /* on the stack that we run on: its page is there */
	uint64_t low;         /* the stack below is done with: no frame may lie there */
	uint64_t start, size; /* of the stack so much, from here on, is in the window: what was read last */
};
_Static_assert(sizeof(struct runtime_walk) <= WIRE_STACK_STATE, "it fits behind the window");

static inline struct runtime_walk *runtime_walk_in(struct wire_slot *slot)
{
	return (struct runtime_walk *)((uint8_t *)slot + control()->slot_size - WIRE_STACK_STATE);
}
static inline struct wire_slot *runtime_walk_slot(struct runtime_walk *walk)
{
	return (struct wire_slot *)((uint8_t *)walk + WIRE_STACK_STATE - control()->slot_size);
}
/* WIRE_STACK_WINDOW bytes */
static inline uint8_t *runtime_walk_window(struct runtime_walk *walk)
{
	return (uint8_t *)walk - WIRE_STACK_WINDOW;
}

/** runtime_walk_word() - the word of the stack at a multiple of 8; false: it cannot be read */
bool runtime_walk_word(struct runtime_walk *walk, uint64_t address, uint64_t *ret);
/** runtime_walk_put() - one address more; false: there are as many as asked for */
bool runtime_walk_put(struct runtime_walk *walk, uint64_t address);
/**
 * runtime_walk_signal() - is the return address at @at a signal's restorer, with what was interrupted behind it?
 * @bp:  rbp as it is when the handler returned
 * @ret: r8 .. r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip are at its address, in this order; 0: it is none
 */
uint64_t runtime_walk_signal(struct runtime_walk *walk, uint64_t at, uint64_t bp);
/**
 * runtime_walk_tables() - append the addresses of a stack by the unwind tables (tables.c); nothing was walked before
 * @place: WIRE_PLACE()
 * Return: their locator.
 */
uint64_t runtime_walk_tables(struct runtime_walk *stack, const struct wire_long *frame, uint64_t place);

#endif
