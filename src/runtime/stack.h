/* SPDX-License-Identifier: MIT */
/*
 * A walk up a user stack: memory of it through a window, addresses into the record. All of it is bounded: by the
 * addresses asked for, and by .low, which only a signal frame moves down.
 */
#ifndef RUNTIME_STACK_H
#define RUNTIME_STACK_H

#include "runtime/runtime.h"

struct runtime_walk {
	struct wire_control *shared;
	uint64_t *to; /* addresses so far, in the slot */
	uint32_t count, most;
	uint64_t sp;          /* where it starts; said by a program, so nothing has to be there */
	uint64_t near;        /* on the stack that we run on: its page is there */
	uint64_t low;         /* the stack below is done with: no frame may lie there */
	uint8_t *window;      /* WIRE_STACK_WINDOW bytes in the slot: what of the stack was read last .. */
	uint64_t start, size; /* .. from here on, so much */
};

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
 * runtime_walk_tables() - the addresses of a stack by the unwind tables (tables.c); nothing was walked before
 * @place: WIRE_PLACE(); @is_return: its address is one returned to
 * Return: false: the stack goes on.
 */
bool runtime_walk_tables(struct runtime_walk *stack, uint64_t place, bool is_return, uint64_t bp);

#endif
