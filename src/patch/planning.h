/* SPDX-License-Identifier: MIT */
/* Inside patch/: planning one place, as plan.c, layers.c, run.c and group.c share it. Addresses here are vaddrs of the file. */
#ifndef PATCH_PLANNING_H
#define PATCH_PLANNING_H

#include "patch/inside.h"

struct planning {
	struct patch_target *target;
	struct patch_module *module;
	bool alone;   /* as if nothing else were planned */
	bool reserve; /* take what the plan needs; else only ask */
};

struct plan_insn {
	uint64_t vaddr;
	struct isa_insn insn;
};

/* ---- ownership: P7 (plan.c) ---- */

/** plan_is_taken() - is any of the bytes patched, or does a jump depend on it, or are they outside of the code? */
bool plan_is_taken(const struct planning *p, uint64_t vaddr, unsigned count);
/** plan_is_patched() - likewise, but several jumps may depend on one byte */
bool plan_is_patched(const struct planning *p, uint64_t vaddr, unsigned count);
/** plan_is_as_in_file() - P8: what runs there is what the file says: no debugger, no kernel probe, no self-modifying code */
bool plan_is_as_in_file(const struct planning *p, uint64_t vaddr, unsigned count);
/** plan_in_one_mapping() - what is changed at once must lie in one mapping */
bool plan_in_one_mapping(const struct planning *p, uint64_t vaddr, unsigned count);
/** plan_is_dead_after() - P3: are the @count bytes that follow an instruction after which control goes elsewhere dead padding? */
bool plan_is_dead_after(const struct planning *p, const struct plan_insn *insn, unsigned count);
bool plan_falls_through(const struct isa_insn *insn);

/* ---- one instruction (layers.c): true: *jump is filled, and what it needs is taken ---- */

bool plan_l1(const struct planning *p, const struct plan_insn *at, struct patch_jump *jump);
bool plan_l3(const struct planning *p, const struct plan_insn *at, struct patch_jump *jump);
bool plan_l4(const struct planning *p, const struct plan_insn *at, struct patch_jump *jump);
bool plan_l0(const struct planning *p, const struct plan_insn *at, struct patch_jump *jump);

/* ---- several (run.c) ---- */

#define PLAN_RUN 8 /* instructions looked back at */

/**
 * Instructions that end with the place: insn[0] is the place, insn[1] the one before it .. Nothing leads to any but the last one but from
 * the one before, and each can be copied.
 */
struct plan_run {
	struct plan_insn insn[PLAN_RUN];
	unsigned count; /* at least 1 */
	const char *why; /* it does not go further back */
};
void plan_run_find(const struct planning *p, const struct plan_insn *place, struct plan_run *run);

/** plan_may_copy() - may a trampoline that is not its own run a copy of it, and go on behind it? */
bool plan_may_copy(const struct planning *p, const struct plan_insn *insn);
/** plan_covering() - the jump whose trampoline runs the instruction at @vaddr, or NULL */
struct patch_jump *plan_covering(const struct planning *p, uint64_t vaddr);
/** plan_join() - a place whose instruction a trampoline runs already; NULL and *ret, or why it cannot be had */
const char *plan_join(const struct planning *p, const struct plan_insn *place, struct patch_jump **ret);
/** plan_extend() - let the trampoline of an earlier instruction go on to the place; NULL: there is none; @by_trap: one that a trap leads to */
struct patch_jump *plan_extend(const struct planning *p, const struct plan_run *run, bool by_trap);
/** plan_carry() - a jump over an earlier instruction, whose trampoline goes on to the place; @by_pun: L4, else L1 or L3 */
bool plan_carry(const struct planning *p, const struct plan_run *run, bool by_pun, struct patch_jump *jump);
/** plan_mark_run() - the instructions that @jump's trampoline runs besides the first belong to it from now on */
void plan_mark_run(const struct planning *p, const struct patch_jump *jump);

/** plan_group() - L2 (group.c); false: *why is set */
bool plan_group(const struct planning *p, const struct plan_run *run, struct patch_jump *jump, const char **why);

static inline bool plan_bit(const uint64_t *map, uint64_t i) { return map[i >> 6] >> (i & 63) & 1; }
static inline bool plan_bit_any(const uint64_t *map, uint64_t from, unsigned count)
{
	for (uint64_t i = from; i < from + count; i++)
		if (plan_bit(map, i))
			return true;
	return false;
}
static inline void plan_set_bits(uint64_t *map, uint64_t from, unsigned count)
{
	for (uint64_t i = from; i < from + count; i++)
		map[i >> 6] |= 1ULL << (i & 63);
}

#endif
