/* SPDX-License-Identifier: MIT */
/*
 * User stacks inside targets, by the unwind tables that utap made (wire/unwind.h). The walker is unwind.c; here is what it reads: the tables'
 * part of the shared memory, and the stack through the window of stack.c.
 *
 * The rules are those of runtime.c.
 */
#include "runtime/stack.h"
#include "wire/unwind.h"

#define BEHIND 512 /* of what was asked for last, downwards: saved registers lie below return addresses */

/* In the slot, behind the window: there is little stack. */
struct state {
	struct wire_unwind_memory memory;
	struct runtime_walk *stack;
	struct wire_unwind_walk walk;
};
_Static_assert(sizeof(struct state) <= WIRE_STACK_STATE, "it fits behind the window");

/* The window starts a little below, and in the same page: one further down may not be there. */
static bool stack_word(struct wire_unwind_memory *memory, uint64_t address, uint64_t *ret)
{
	struct runtime_walk *walk = ((struct state *)memory)->stack;
	uint64_t in_page = address % WIRE_PAGE;

	walk->low = address - (in_page < BEHIND ? in_page : BEHIND);
	return runtime_walk_word(walk, address, ret);
}

/* In a process that was forked since the list was made, something else may be where its pieces were. */
static bool is_other_process(struct wire_control *shared, const struct wire_unwind *list)
{
	return list->pid != (uint32_t)runtime_pid((struct wire_local *)shared->local, 0);
}

static void start(struct state *state, uint64_t place, bool is_return, uint64_t bp)
{
	const struct wire_control *shared = state->stack->shared;
	int kept = (int)WIRE_PLACE_KEPT(place);
	uint32_t bp_rule = kept > WIRE_UNWIND_M_MAX ? WIRE_UNWIND_BP_LOST : kept ? WIRE_UNWIND_BP_AT_CFA : WIRE_UNWIND_BP_SAME;
	struct wire_unwind_walk *walk = &state->walk;

	state->memory.word = stack_word;
	walk->memory = &state->memory;
	walk->tables.area = shared->unwind_at;
	walk->tables.size = shared->unwind_size;
	walk->piece = 0;
	walk->is_bp_lost = false;
	walk->now.ip = WIRE_PLACE_ADDRESS(place);
	walk->now.sp = state->stack->sp;
	walk->now.bp = bp;
	walk->now.is_exact = !is_return;
	walk->now.rule = WIRE_PLACE_UP(place) ? WIRE_UNWIND_RULE(WIRE_UNWIND_SP, WIRE_PLACE_UP(place), bp_rule, -kept) : 0;
}

bool runtime_walk_tables(struct runtime_walk *stack, uint64_t place, bool is_return, uint64_t bp)
{
	struct wire_control *shared = stack->shared;
	const struct wire_unwind *list = (const struct wire_unwind *)__atomic_load_n(&shared->unwind, __ATOMIC_ACQUIRE);
	struct state *state = (struct state *)(stack->window + WIRE_STACK_WINDOW);
	uint64_t number;

	if (!list)
		return false;
	number = __atomic_load_n(&list->number, __ATOMIC_ACQUIRE);
	state->stack = stack;
	start(state, place, is_return, bp);
	state->walk.tables.list = list;
	state->walk.tables.check = is_other_process(shared, list);
	stack->count = wire_unwind_walk(&state->walk, stack->to, stack->most);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (!number || __atomic_load_n(&list->number, __ATOMIC_RELAXED) != number) { /* it was written over meanwhile */
		stack->count = stack->count ? 1 : 0;
		return false;
	}
	return !state->walk.is_short;
}
