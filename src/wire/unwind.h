/* SPDX-License-Identifier: MIT */
/*
 * How stacks are walked without frame pointers: tables that utap makes of the files' unwind information, and the walker that reads them. The
 * walker (runtime/unwind.c) runs in targets, inside a probe, and in utap, for stacks that were copied.
 *
 * A table is an array of rows, sorted by the offset of the code they begin to hold for. A row is good up to the next one; before the first one
 * nothing is known. A list names the pieces of code of a process and their tables, sorted by address. Everything is read as if somebody had
 * written over it: positions are compared with sizes, and the walk is bounded.
 *
 * In a target the tables lie in their own part of the memory file, which the target can only read: WIRE_UNWIND_LISTS places for lists, then
 * rows. wire_control.unwind names the list that is good now. Places are used in turn, so a list is written over when many came after it; its
 * number is 0 meanwhile, and another one afterwards: a walk that does not find it the same at its end throws away what it found.
 */
#ifndef WIRE_UNWIND_H
#define WIRE_UNWIND_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

/* How the CFA is had: the stack pointer's value before the call. The return address is right below it. N is the row's number. */
enum wire_unwind_kind {
	WIRE_UNWIND_UNKNOWN,    /* the walk ends: the stack goes on, but how is not known */
	WIRE_UNWIND_SP,         /* sp + N */
	WIRE_UNWIND_BP,         /* bp + N */
	WIRE_UNWIND_AT_SP,      /* *(sp + N): functions that align the stack */
	WIRE_UNWIND_AT_SP_8,    /* *(sp + N) + 8 */
	WIRE_UNWIND_AT_BP,      /* *(bp + N) */
	WIRE_UNWIND_AT_BP_8,    /* *(bp + N) + 8 */
	WIRE_UNWIND_PLT,        /* sp + 8, and 8 more from the Nth byte on of each 16 */
	WIRE_UNWIND_SIGNAL,     /* the kernel's signal frame: all registers are in it */
	WIRE_UNWIND_END,        /* nobody called this: the stack ends */
};

/* Where the caller's bp is. */
enum wire_unwind_bp {
	WIRE_UNWIND_BP_SAME,
	WIRE_UNWIND_BP_AT_CFA, /* *(CFA + 8 * M) */
	WIRE_UNWIND_BP_AT_BP,  /* *(bp + 8 * M) */
	WIRE_UNWIND_BP_LOST,
};

/* rule: kind in 4 bits, enum wire_unwind_bp in 2, M in 7 (signed), N / 8 in 19 (signed); of PLT N itself. */
struct wire_unwind_row {
	uint32_t offset;
	uint32_t rule;
};
static_assert(sizeof(struct wire_unwind_row) == 8, "wire_unwind_row");

#define WIRE_UNWIND_M_MAX 63         /* and -64 */
#define WIRE_UNWIND_N_MAX ((1 << 18) - 1) /* in units of 8 bytes; and -(1 << 18) */
#define WIRE_UNWIND_RULE(kind, n, bp, m) \
	((uint32_t)(kind) | (uint32_t)(bp) << 4 | ((uint32_t)(m) & 0x7f) << 6 | (uint32_t)(n) << 13)
static inline enum wire_unwind_kind wire_unwind_kind(uint32_t rule) { return (enum wire_unwind_kind)(rule & 15); }
static inline enum wire_unwind_bp wire_unwind_bp(uint32_t rule) { return (enum wire_unwind_bp)(rule >> 4 & 3); }
static inline int32_t wire_unwind_m(uint32_t rule) { return (int32_t)(rule << 19) >> 25; }
static inline int32_t wire_unwind_n(uint32_t rule) { return (int32_t)rule >> 13; }

/* Of code that keeps frame pointers, after a function's first instructions; and what is tried where there is no unwind information. */
#define WIRE_UNWIND_RULE_FRAME WIRE_UNWIND_RULE(WIRE_UNWIND_BP, 2, WIRE_UNWIND_BP_AT_CFA, -2)

/*
 * A piece of code that one mapping of a file shows. Where it has no rows (utap's own code, a file that cannot be read) a walk ends. Code of no
 * piece belongs to no file, it was made at run time: there frame pointers are tried.
 */
struct wire_unwind_piece {
	uint64_t start, end; /* target addresses */
	uint64_t base;       /* address that the rows' offsets count from */
	uint64_t rows;       /* offset of the first row in the area */
	uint32_t count;      /* rows */
	uint32_t unused;
	uint64_t check_at;   /* 0, or where, while the file is mapped, ... */
	uint64_t check;      /* ... this word stands */
};
static_assert(sizeof(struct wire_unwind_piece) == 56, "wire_unwind_piece");

struct wire_unwind {
	uint64_t number; /* 0: being written */
	uint32_t count;  /* pieces */
	uint32_t pid;    /* of the process that it was made for: in others, forked since, each piece is checked first. 0: in all */
	struct wire_unwind_piece pieces[];
};

#define WIRE_UNWIND_LISTS 16U
#define WIRE_UNWIND_LIST_SIZE (128U << 10) /* bytes of a place */
#define WIRE_UNWIND_PIECES ((WIRE_UNWIND_LIST_SIZE - sizeof(struct wire_unwind)) / sizeof(struct wire_unwind_piece))

/* ---- the walker ---- */

/** What a walk may read. All of it is bounded: a list or rows that do not lie in the area are not there. */
struct wire_unwind_tables {
	uint64_t area;       /* address of where the rows are */
	uint64_t size;       /* its bytes */
	const struct wire_unwind *list; /* inside of the area, or NULL */
	bool check;          /* compare each piece's word first; what is in no piece may be anything */
};

/** Memory of the process whose stack it is; whoever walks puts its own state behind it. Not in targets: there wire_unwind_word() is another one. */
struct wire_unwind_memory {
	/* read the word at @address (of any alignment); false: it cannot be read. */
	bool (*word)(struct wire_unwind_memory *memory, uint64_t address, uint64_t *ret);
};

/** Registers of a frame. */
struct wire_unwind_frame {
	uint64_t ip, sp, bp;
	bool is_exact;   /* ip is where it is, not where a call will return to */
	uint32_t rule;   /* for this frame, where tables have none; 0 */
};

#define WIRE_UNWIND_EXACT (1ULL << 63) /* in an address: interrupted here, or a signal's restorer: no return address */

/** A walk: .memory and .now are given, the rest is the walker's. Numbers only, as far as targets use it: there it lies where others write. */
struct wire_unwind_walk {
	struct wire_unwind_memory *memory; /* not in targets */
	struct wire_unwind_frame now; /* the innermost frame */
	uint32_t piece;  /* of the last frame, its number in the list from 1 on; 0 */
	bool is_bp_lost;
	bool is_short; /* afterwards: the stack goes on but could not be followed, or there was no more room */
};

/**
 * wire_unwind_walk() - the addresses of a stack, innermost first: now.ip as it is, then return addresses
 * @tables:    what nobody but the caller can change
 * @addresses: room for @most of them; a signal frame's, and what it interrupted, have WIRE_UNWIND_EXACT set
 *
 * Each frame lies above the last one, but for those behind a signal frame: a handler may have its own stack.
 *
 * Return: how many, at least one where @most is not 0.
 */
uint32_t wire_unwind_walk(struct wire_unwind_walk *walk, const struct wire_unwind_tables *tables, uint64_t *addresses, uint32_t most);

/** wire_unwind_word() - in targets: the word at @address, for @walk; false: it cannot be read. It is called directly: nothing that a target can write is. */
bool wire_unwind_word(struct wire_unwind_walk *walk, uint64_t address, uint64_t *ret);

/** wire_unwind_has_list() - does the list's head lie in the area? */
bool wire_unwind_has_list(const struct wire_unwind_tables *tables);

/** wire_unwind_rule() - the rule for code at @offset, as rows say; 0: none */
uint32_t wire_unwind_rule(const struct wire_unwind_row *rows, uint32_t count, uint32_t offset);

#endif
