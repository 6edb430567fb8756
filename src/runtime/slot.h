/* SPDX-License-Identifier: MIT */
/* The slot that a LONG record is made in, for long.c and stack.c: it is ours as long as both sides name each other
 * (wire.h). What is read from it is bounded: the target may have written over it, and in a forked child it is zeros from one instruction to
 * the next. */
#ifndef RUNTIME_SLOT_H
#define RUNTIME_SLOT_H

#include "runtime/runtime.h"

/* errno values as the kernel gives them */
#define NOT_PERMITTED 1
#define BAD_ADDRESS 14
#define INVALID 22
#define OUT_OF_ROOM 28
#define STALE 116

static inline uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline struct wire_slot *slot_of(const struct wire_long *frame)
{
	return (struct wire_slot *)(frame->record - sizeof(struct wire_slot));
}

static inline bool is_ours(const struct wire_long *frame)
{
	return frame->record && __atomic_load_n(&slot_of(frame)->owner, __ATOMIC_RELAXED) == (uint64_t)frame;
}

/* Bytes that a record may have in any slot. */
static inline uint64_t slot_room(const struct wire_control *shared)
{
	return shared->slot_size - sizeof(struct wire_slot) - (shared->places_at ? WIRE_STACK_WINDOW + WIRE_STACK_STATE : 0);
}

/* Bytes that this record may have. */
static inline uint64_t most_of(const struct wire_control *shared, const struct wire_slot *slot)
{
	return least(__atomic_load_n(&slot->most, __ATOMIC_RELAXED), least(slot_room(shared), WIRE_LONG_MAX));
}

/* How many bytes more fit behind the first @used, which are read once: what is written goes where they were then. */
static inline uint64_t room_behind(const struct wire_control *shared, const struct wire_slot *slot, uint64_t used)
{
	uint64_t most = most_of(shared, slot);

	return most > used ? most - used : 0;
}

static inline uint64_t used_of(const struct wire_slot *slot)
{
	return __atomic_load_n(&slot->used, __ATOMIC_RELAXED);
}

/* The locator of @got bytes that were appended. */
static inline uint64_t finish(struct wire_slot *slot, uint64_t got, bool is_short)
{
	uint64_t locator = WIRE_LOCATOR(slot->used, got) | (is_short ? WIRE_LOCATOR_SHORT : 0);

	slot->used += (uint32_t)got;
	return locator;
}

#endif
