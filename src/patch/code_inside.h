/* SPDX-License-Identifier: MIT */
/*
 * Inside patch/: what is known about code, as code.c, flow.c, tables.c and exits.c share it.
 *
 * Invariants: ranges are sorted by start; cross and indirect are sorted by their first member, incoming by its target.
 * What is found on first question (states, bits of targets that jump tables lead to, incoming) hangs on pointers, so a
 * const code can still learn; a code belongs to one thread.
 */
#ifndef PATCH_CODE_INSIDE_H
#define PATCH_CODE_INSIDE_H

#include "isa/flow.h"
#include "patch/code.h"
#include "patch/exits.h"
#include "patch/gostack.h"

struct code_segment {
	uint64_t start, end; /* vaddr */
	uint64_t *starts;    /* one bit a byte: an instruction starts there */
	uint64_t *targets;   /* a branch, a pointer, a symbol, a table leads there */
	uint64_t *known;     /* decoded bytes */
	uint64_t *entries;   /* a call or a constant in code leads there; a constant may be a mere number */
};

/** A direct jump from one range into another one, or into none. */
struct code_cross {
	uint64_t from, to;
};

enum code_flow {
	CODE_FLOW_UNASKED,
	CODE_FLOW_UNKNOWN,
	CODE_FLOW_KNOWN,
};

struct code_lazy {
	struct code_cross *incoming; /* code->cross by target; NULL: not made yet */
	uint8_t *states;             /* an enum code_flow a range */
	bool *like_functions;        /* ranges found to be as good as functions, see flow.c */
	uint64_t *slots;             /* vaddrs, sorted; NULL: not made yet */
	size_t nslots;
	struct gostack *stack; /* of a Go program; NULL: not made yet */
};

struct patch_code {
	struct object *object;
	struct code_segment *segments;
	size_t count;
	const struct object_range *ranges; /* decoded: frame entries, and symbols when allowed */
	size_t nranges;
	struct object_range *own_ranges; /* heap, when ranges are not the object's */
	const uint64_t *pointers;
	size_t npointers;
	const struct object_symbol *symbols;
	size_t nsymbols;
	const struct object_range *rseq;
	size_t nrseq;
	bool is_go;
	struct object_range cancel; /* glibc's cancellable system call, empty when unknown */
	struct code_cross *cross;
	size_t ncross, cross_cap;
	uint64_t *indirect; /* jumps through a register or memory */
	size_t nindirect, indirect_cap;
	struct code_lazy *lazy;
};

static inline bool code_bit(const uint64_t *map, uint64_t i)
{
	return map[i >> 6] >> (i & 63) & 1;
}

static inline void code_set_bit(uint64_t *map, uint64_t i)
{
	map[i >> 6] |= 1ULL << (i & 63);
}

struct code_segment *code_segment_of(const struct patch_code *code, uint64_t vaddr);

/**
 * code_above() - the first of @count records of @size bytes whose first member, a uint64_t, is greater than @key
 * Return: its index, @count when there is none.
 */
size_t code_above(const void *records, size_t count, size_t size, uint64_t key);

/** code_sort() - by the first member, a uint64_t */
void code_sort(void *records, size_t count, size_t size);

/** code_symbol_from() - index of the first symbol at or above @vaddr */
size_t code_symbol_from(const struct patch_code *code, uint64_t vaddr);

#define CODE_NO_RANGE SIZE_MAX
/** code_range_of() - index of the range that holds @vaddr, or CODE_NO_RANGE */
size_t code_range_of(const struct patch_code *code, uint64_t vaddr);

/** code_lead_at() - the kind of the instruction at @vaddr; ISA_LEAD_ON with *@length 0 when there is none */
enum isa_lead code_lead_at(const struct patch_code *code, uint64_t vaddr, unsigned *length, uint64_t *target);
/** code_called() - does a call or a constant in code lead to @vaddr? */
bool code_called(const struct patch_code *code, uint64_t vaddr);
/** code_pointed() - does data, a symbol or a landing pad lead there? */
bool code_pointed(const struct patch_code *code, uint64_t vaddr);
/** code_mark_target() - remember that something leads there */
void code_mark_target(const struct patch_code *code, uint64_t vaddr);

/* flow.c */

/** The ranges that make a function: [0] holds its entry, the others are fragments that only it jumps to. */
struct code_parts {
	size_t ranges[PATCH_PARTS];
	size_t count;
};

/** code_is_own() - is the range a function that others enter, not a fragment? */
bool code_is_own(const struct patch_code *code, size_t range);

/** Jumps that leave their range, by where they are or by where they lead: those in [start, end). */
struct code_crosses {
	const struct code_cross *first;
	size_t count;
};
struct code_crosses code_outgoing(const struct patch_code *code, const struct object_range *range);
struct code_crosses code_incoming(const struct patch_code *code, const struct object_range *range);

/** code_parts_find() - the function whose entry lies in @range; 0, -ENOMEM, or -ENOTSUP with @why */
int code_parts_find(const struct patch_code *code, size_t range, struct code_parts *ret,
		    const char **why) BASE_MUST_CHECK;
/** code_parts_at() - index among the parts of the one that holds @vaddr, or CODE_NO_RANGE */
size_t code_parts_at(const struct patch_code *code, const struct code_parts *parts, uint64_t vaddr);

/* listing.c */

enum code_jump_kind {
	CODE_JUMP_UNSEEN,  /* no known way leads to it */
	CODE_JUMP_UNKNOWN, /* it may lead anywhere in its function */
	CODE_JUMP_POINTER, /* to an address that was made elsewhere: if it leads into its function, something known
			      points there */
	CODE_JUMP_SLOT,    /* through a slot that the dynamic linker fills: to another function */
	CODE_JUMP_TABLE,   /* through a table, to places of its function only; they have been marked */
};
#define CODE_JUMP_KINDS (CODE_JUMP_TABLE + 1)

struct code_jump {
	uint64_t vaddr;
	enum code_jump_kind kind;
};

#define LINE_TABLED_OFTEN UINT16_MAX
struct code_line {
	uint64_t vaddr;
	uint64_t target; /* of a direct branch or call */
	uint8_t length;
	uint8_t lead;    /* an enum isa_lead */
	uint16_t tabled; /* 0, or 1 + index of the jump whose table leads here, or LINE_TABLED_OFTEN */
	bool pointed;    /* a pointer, a landing pad, a symbol or a constant leads here */
};

struct code_branch {
	uint64_t target;
	size_t line;
};

/** The instructions of a function's parts, by vaddr; who branches to them, by target. Released with
 * code_listing_deinit(). */
struct code_listing {
	const struct patch_code *code;
	const struct code_parts *parts;
	struct code_line *lines;
	size_t count, cap;
	struct code_branch *branches;
	size_t nbranches, branches_cap;
	struct code_jump *jumps; /* borrowed: the indirect jumps, as far as they were judged */
	size_t njumps;
	size_t visits;          /* made for values so far */
	bool takes_own_address; /* a constant in code leads to a place of it */
	uint32_t *written; /* general registers that a line changes, as isa_effect says; with LISTING_ASKED once it was
			      asked */
};
int code_listing_init(struct code_listing *listing, const struct patch_code *code, const struct code_parts *parts,
		      struct code_jump *jumps, size_t njumps) BASE_MUST_CHECK;
void code_listing_deinit(struct code_listing *listing);
/** code_listing_at() - index of the instruction at @vaddr, or listing->count */
size_t code_listing_at(const struct code_listing *listing, uint64_t vaddr);

enum code_value_kind {
	CODE_VALUE_NONE,     /* no way leads here */
	CODE_VALUE_CONSTANT, /* number */
	CODE_VALUE_POINTER,  /* made elsewhere: read from memory as a whole, an argument, a function's result */
	CODE_VALUE_ENTRY,    /* such a pointer, number[i] of 8 bytes each */
	CODE_VALUE_OFFSET,   /* number[i] of 4 bytes each */
	CODE_VALUE_PLACE,    /* base + number[i] of 4 bytes each */
	CODE_VALUE_STACK,    /* an address in the stack */
	CODE_VALUE_UNKNOWN,
};

struct code_value {
	enum code_value_kind kind;
	bool is_signed;
	uint64_t number, base;
	size_t line;   /* ENTRY, OFFSET, PLACE: where the table is read */
	uint8_t index; /* and by which register, or ISA_NO_REGISTER */
};

/** code_listing_jump() - what the indirect jump at @line jumps to */
struct code_value code_listing_jump(struct code_listing *listing, size_t line);
/** code_listing_bound() - is @index, as read at @line, proved to be at most *@bound? */
bool code_listing_bound(struct code_listing *listing, size_t line, uint8_t index, uint64_t *bound);

/* tables.c */

/** code_is_stub() - is there nothing but a jump through a slot (an entry of the procedure linkage table)? */
bool code_is_stub(const struct patch_code *code, uint64_t vaddr);
/** code_is_thunk() - is there a jump to where a register points, perhaps made of a call and a return against
 * speculation? */
bool code_is_thunk(const struct patch_code *code, uint64_t vaddr);
/**
 * code_jumps_find() - all indirect jumps of @parts
 * @ret: heap, *@count of them
 */
int code_jumps_find(const struct patch_code *code, const struct code_parts *parts, struct code_jump **ret,
		    size_t *count) BASE_MUST_CHECK;

#endif
