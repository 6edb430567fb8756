/* SPDX-License-Identifier: MIT */
/*
 * User stacks inside targets, by the unwind tables that utap made (wire/unwind.h). The walker is unwind.c; here is what it reads: the tables'
 * part of the shared memory, and the stack through the window of stack.c.
 *
 * The rules are those of runtime.c and stack.h.
 */
#include "runtime/slot.h"
#include "runtime/stack.h"

#define BEHIND 512 /* of what was asked for last, downwards: saved registers lie below return addresses */

/* The window starts a little below, and in the same page: one further down may not be there. */
bool wire_unwind_word(struct wire_unwind_walk *unwind, uint64_t address, uint64_t *ret)
{
	struct runtime_walk *walk = (struct runtime_walk *)((uint8_t *)unwind - offsetof(struct runtime_walk, unwind));
	uint64_t in_page = address % WIRE_PAGE;

	walk->low = address - (in_page < BEHIND ? in_page : BEHIND);
	return runtime_walk_word(walk, address, ret);
}

/* In a process that was forked since the list was made, something else may be where its pieces were. */
static bool is_other_process(struct wire_control *shared, const struct wire_unwind *list)
{
	return list->pid != (uint32_t)runtime_pid((struct wire_local *)shared->local, 0);
}

static void start(struct runtime_walk *stack, const struct wire_long *frame, uint64_t place)
{
	int kept = (int)WIRE_PLACE_KEPT(place);
	uint32_t bp_rule = kept > WIRE_UNWIND_M_MAX ? WIRE_UNWIND_BP_LOST : kept ? WIRE_UNWIND_BP_AT_CFA : WIRE_UNWIND_BP_SAME;
	struct wire_unwind_walk *walk = &stack->unwind;

	walk->piece = 0;
	walk->is_bp_lost = false;
	walk->now.ip = WIRE_PLACE_ADDRESS(place);
	walk->now.sp = stack->sp;
	walk->now.bp = frame->from;
	walk->now.is_exact = !(frame->bytes & WIRE_STACK_RETURN);
	walk->now.rule = WIRE_PLACE_UP(place) ? WIRE_UNWIND_RULE(WIRE_UNWIND_SP, WIRE_PLACE_UP(place), bp_rule, -kept) : 0;
}

/* The tables are on our own stack: they are followed, so nobody may change them on the way. */
uint64_t runtime_walk_tables(struct runtime_walk *stack, const struct wire_long *frame, uint64_t place)
{
	struct wire_control *shared = control();
	struct wire_unwind_tables tables = {
		.area = shared->unwind_at,
		.size = shared->unwind_size,
		.list = (const struct wire_unwind *)__atomic_load_n(&shared->unwind, __ATOMIC_ACQUIRE),
	};
	struct wire_slot *slot = runtime_walk_slot(stack);
	uint64_t used = used_of(slot);
	uint32_t most = (uint32_t)least(stack->most, room_behind(shared, slot, used) / 8);
	uint64_t number;
	uint32_t count;

	if (!wire_unwind_has_list(&tables))
		return finish(slot, 0, true);
	number = __atomic_load_n(&tables.list->number, __ATOMIC_ACQUIRE);
	start(stack, frame, place);
	tables.check = is_other_process(shared, tables.list);
	count = wire_unwind_walk(&stack->unwind, &tables, (uint64_t *)(slot->record + used), most);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (!number || __atomic_load_n(&tables.list->number, __ATOMIC_RELAXED) != number) /* it was written over meanwhile */
		return finish(slot, count ? 8 : 0, true);
	return finish(slot, 8 * (uint64_t)count, stack->unwind.is_short);
}
