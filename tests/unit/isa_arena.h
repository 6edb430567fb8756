/* SPDX-License-Identifier: MIT */
/*
 * An arena runs one instruction from a given machine state and hands back the state after it: registers, flags, vector
 * registers, memory, stack, and where control went. Everything the instruction may touch lies in one mapping:
 *
 *   gate      generated code: loads the state, jumps to the entry, collects the state at an exit
 *   code      the original instruction, with exits behind it and around it
 *   data      memory operands point here
 *   stack     rsp points here
 *   state     struct arena_state
 *
 * and the relocated copy in a second mapping, near or far. Use only in a child process: a wrong relocation may do
 * anything.
 */
#ifndef TESTS_ISA_ARENA_H
#define TESTS_ISA_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARENA_GATE 0x0000
#define ARENA_CODE 0x1000
#define ARENA_DATA 0x2000
#define ARENA_STACK 0x4000
#define ARENA_STATE 0x6000
#define ARENA_SIZE 0x8000
#define ARENA_AREA 0x2000               /* bytes of data, and of stack */
#define ARENA_SITE (ARENA_CODE + 0x800) /* where the original instruction stands */
#define ARENA_FLAGS 0xcd5u              /* CF PF AF ZF SF DF OF */

/* Numbers as in instruction encodings. */
enum { AX, CX, DX, BX, SP, BP, SI, DI, R8, R9, R10, R11, R12, R13, R14, R15 };

/* Where control went. A signal is ARENA_SIGNAL + its number. */
enum arena_exit { ARENA_NOWHERE, ARENA_NEXT, ARENA_AFTER, ARENA_BEFORE, ARENA_FAR, ARENA_SIGNAL = 0x100 };

struct arena_regs {
	uint64_t gpr[16];
	uint64_t flags;
	uint8_t vector[16][32];
};

struct arena_state {
	struct arena_regs in, out;
	uint64_t entry;
	uint64_t host_sp;
	uint32_t exit;
	uint64_t fault_at; /* rip - entry at a signal */
};

struct arena {
	uint8_t *base;
	uint8_t *copy; /* a page */
	struct arena_state *state;
	uint64_t tail; /* where a signal handler resumes */
	bool has_avx;
	uint8_t data[2 * ARENA_AREA]; /* what data and stack hold before each run */
};

/** arena_create() - @low: the original below 2 GiB; @distance: wanted between it and the copy. 0 or a negative errno.
 */
int arena_create(struct arena *a, bool low, int64_t distance);
void arena_destroy(struct arena *a);

/** arena_place() - lay the instruction and the exit behind it */
void arena_place(struct arena *a, const uint8_t *code, size_t size);

/** arena_run() - from arena_state.in and arena.data, start at @entry */
void arena_run(struct arena *a, uint64_t entry);

/** arena_exit_at() - the address of an exit (ARENA_NEXT: behind an instruction of @size bytes) */
uint64_t arena_exit_at(const struct arena *a, enum arena_exit number, size_t size);

static inline uint64_t arena_addr(const struct arena *a, size_t offset)
{
	return (uint64_t)(a->base + offset);
}
static inline uint64_t arena_site(const struct arena *a)
{
	return arena_addr(a, ARENA_SITE);
}

#endif
