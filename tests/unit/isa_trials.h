/* SPDX-License-Identifier: MIT */
/* Random instructions with machine states in which they do something, for test_isa_exec.c. */
#ifndef TESTS_ISA_TRIALS_H
#define TESTS_ISA_TRIALS_H

#include "isa/isa.h"
#include "isa_arena.h"

/* One instruction; the state it starts from is in the arena. */
struct trial {
	struct arena *arena;
	uint64_t *seed;
	uint8_t code[ISA_INSN_MAX + 1];
	size_t size;
};

struct trial_kind {
	const char *name;
	void (*make)(struct trial *t);
	enum isa_class class;
};

extern const struct trial_kind trial_kinds[];
extern const size_t trial_kind_count;

/** trial_random() - xorshift64*; never seed it with 0 */
uint64_t trial_random(uint64_t *seed);

/** trial_prepare() - random registers, flags, memory; then what the kind makes */
void trial_prepare(struct trial *t, const struct trial_kind *kind);

#endif
