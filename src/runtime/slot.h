/* SPDX-License-Identifier: MIT */
/* The slot that a LONG record is made in, for long.c and stack.c: it is ours as long as both sides name each other
 * (wire.h). */
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

/* How many bytes more fit. */
static inline uint64_t room_of(const struct wire_slot *slot)
{
	return slot->most > slot->used && slot->most <= WIRE_LONG_MAX ? slot->most - slot->used : 0;
}

/* The locator of @got bytes that were appended. */
static inline uint64_t finish(struct wire_slot *slot, uint64_t got, bool is_short)
{
	uint64_t locator = WIRE_LOCATOR(slot->used, got) | (is_short ? WIRE_LOCATOR_SHORT : 0);

	slot->used += (uint32_t)got;
	return locator;
}

#endif
