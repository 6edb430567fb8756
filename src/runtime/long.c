/* SPDX-License-Identifier: MIT */
/*
 * LONG records inside targets: slots, and memory of the target appended to what is made in them.
 *
 * The rules are those of runtime.c. Besides: a slot is written only by its owner; it is taken from another one only after that one's
 * frame was seen to name it no longer (wire.h), and a program that goes on in a forked child, where all slots are free, is told so.
 */
#include <sys/syscall.h>

#include "runtime/slot.h"

#define FIRST_BYTES 256 /* of a string are read at once: most are shorter */
#define STACK_SHIFT 16  /* hits of one thread are mostly in one such piece of its stack, and take the same slot .. */
#define SPREAD 0x9e3779b97f4a7c15ULL /* .. and those of others another one: the bits that differ, mixed */
#define LOOKS 8         /* slots whose owners are looked at when none is free: each costs a system call or two */

static struct wire_slot *slot_at(const struct wire_control *shared, uint64_t index)
{
	return (struct wire_slot *)(shared->slots_at + (index & (shared->slots - 1)) * shared->slot_size);
}

/*
 * Make @slot ours if its owner is still @owner. What we are is said first: from the exchange on anybody may ask whether we are alive.
 */
static bool take(struct wire_long *frame, struct wire_slot *slot, uint64_t owner)
{
	frame->record = (uint64_t)slot->record;
	return __atomic_compare_exchange_n(&slot->owner, &owner, (uint64_t)frame, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

/* May the frame at @owner still be at work in @slot? Nobody but a thread itself changes the bytes of a frame it will come back to. */
static bool is_alive(struct wire_control *shared, const struct wire_slot *slot, uint64_t owner)
{
	uint64_t record = 0;

	return runtime_copy(shared, (uint64_t)&record, owner + offsetof(struct wire_long, record), sizeof(record)) ==
		       (long)sizeof(record) &&
	       record == (uint64_t)slot->record;
}

/*
 * Take a slot whose owner died or jumped away. It may come to life between our look and the exchange (another one freed the slot, and the
 * same frame address took it again), so look once more, and give it back then: it was not written meanwhile.
 */
static bool take_left(struct wire_control *shared, struct wire_long *frame, struct wire_slot *slot)
{
	uint64_t owner = __atomic_load_n(&slot->owner, __ATOMIC_RELAXED);

	if (!owner || is_alive(shared, slot, owner) || !take(frame, slot, owner))
		return false;
	if (owner == (uint64_t)frame || !is_alive(shared, slot, owner))
		return true;
	frame->record = 0;
	__atomic_store_n(&slot->owner, owner, __ATOMIC_RELEASE);
	return false;
}

static bool find_slot(struct wire_control *shared, struct wire_long *frame)
{
	uint64_t first = ((uint64_t)frame >> STACK_SHIFT) * SPREAD >> 32;

	for (uint64_t i = 0; i < shared->slots; i++) {
		struct wire_slot *slot = slot_at(shared, first + i);

		if (!__atomic_load_n(&slot->owner, __ATOMIC_RELAXED) && take(frame, slot, 0))
			return true;
	}
	frame->record = 0;
	first = __builtin_ia32_rdtsc();
	for (uint64_t i = 0; i < LOOKS && i < shared->slots && !shared->quiet; i++)
		if (take_left(shared, frame, slot_at(shared, first + i)))
			return true;
	frame->record = 0;
	return false;
}

static void clear(uint8_t *at, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes; i += 8)
		*(volatile uint64_t *)(at + i) = 0;
}

uint64_t runtime_long_reserve(struct wire_long *frame, uint64_t most)
{
	struct wire_control *shared = control();
	struct wire_slot *slot;

	if (most > slot_room(shared) || !find_slot(shared, frame)) {
		frame->record = 0;
		runtime_count_lost(shared, (uint32_t)(frame->what >> 32));
		return 0;
	}
	slot = slot_of(frame);
	slot->used = (uint32_t)frame->what;
	slot->most = (uint32_t)most;
	clear(slot->record, slot->used);
	return frame->record;
}

/* Bytes of @text up to its NUL, the NUL included; 0: there is none among the first @size. */
static uint64_t length_with_nul(const uint8_t *text, uint64_t size)
{
	const uint64_t ones = 0x0101010101010101, highs = 0x8080808080808080;
	uint64_t i = 0;

	for (; i + 8 <= size; i += 8) {
		uint64_t word = *(const uint64_t *)(text + i);

		if ((word - ones) & ~word & highs)
			break;
	}
	for (; i < size; i++)
		if (!text[i])
			return i + 1;
	return 0;
}

static uint64_t to_page_end(uint64_t address)
{
	return WIRE_PAGE - (address & (WIRE_PAGE - 1));
}

/* Page by page: one behind the NUL is not touched, it may be slow, or not there. */
uint64_t runtime_long_string(struct wire_long *frame, uint64_t unused)
{
	struct wire_control *shared = control();
	struct wire_slot *slot = slot_of(frame);
	uint64_t first = FIRST_BYTES;
	uint64_t got = 0;
	uint64_t used;
	uint64_t most;
	uint8_t *to;

	(void)unused;
	if (!is_ours(frame))
		return WIRE_LOCATOR_FAILURE(STALE);
	used = used_of(slot);
	most = least(frame->bytes, room_behind(shared, slot, used));
	to = slot->record + used;
	while (got < most) {
		uint64_t piece = least(least(most - got, to_page_end(frame->from + got)), first);
		long r = runtime_copy(shared, (uint64_t)(to + got), frame->from + got, piece);
		uint64_t length;

		if (r <= 0)
			return got ? finish(slot, got, true) : WIRE_LOCATOR_FAILURE(r ? -r : BAD_ADDRESS);
		length = length_with_nul(to + got, (uint64_t)r);
		if (length)
			return finish(slot, got + length, false);
		got += (uint64_t)r;
		first = WIRE_PAGE;
	}
	return got ? finish(slot, got, true) : WIRE_LOCATOR_FAILURE(OUT_OF_ROOM);
}

uint64_t runtime_long_bytes(struct wire_long *frame, uint64_t unused)
{
	struct wire_control *shared = control();
	struct wire_slot *slot = slot_of(frame);
	uint64_t used;
	uint64_t most;
	long r;

	(void)unused;
	if (!is_ours(frame))
		return WIRE_LOCATOR_FAILURE(STALE);
	used = used_of(slot);
	most = least(frame->bytes, room_behind(shared, slot, used));
	if (!frame->bytes)
		return finish(slot, 0, false);
	if (!most)
		return WIRE_LOCATOR_FAILURE(OUT_OF_ROOM);
	r = runtime_copy(shared, (uint64_t)(slot->record + used), frame->from, most);
	if (r <= 0)
		return WIRE_LOCATOR_FAILURE(r ? -r : BAD_ADDRESS);
	return finish(slot, (uint64_t)r, (uint64_t)r < frame->bytes);
}

/* Zeros up to the next multiple of 8, as far as there is room. Returns the record's bytes then. */
static uint64_t pad(struct wire_slot *slot, uint64_t used, uint64_t most)
{
	for (; used % 8 && used < most; used++)
		slot->record[used] = 0;
	return used & ~7ULL;
}

/* Sizes are bounded anew: the target may have written over the slot, and what is copied from here goes into the ring. */
uint64_t runtime_long_seal(struct wire_long *frame, uint64_t unused)
{
	struct wire_control *shared = control();
	struct wire_slot *slot = slot_of(frame);
	struct wire_record *record = (struct wire_record *)frame->record;
	uint64_t fixed = (uint32_t)frame->what;
	uint64_t used;
	uint64_t most;

	(void)unused;
	if (!is_ours(frame)) {
		frame->record = 0;
		runtime_count_lost(shared, (uint32_t)(frame->what >> 32));
		return 0;
	}
	used = used_of(slot);
	most = most_of(shared, slot);
	frame->bytes = used >= fixed && used <= most ? pad(slot, used, most) : fixed;
	record->size = (uint16_t)frame->bytes;
	record->flags |= WIRE_RECORD_LONG;
	return frame->bytes;
}

uint64_t runtime_long_free(struct wire_long *frame, uint64_t unused)
{
	(void)unused;
	if (is_ours(frame))
		__atomic_store_n(&slot_of(frame)->owner, 0, __ATOMIC_RELEASE);
	frame->record = 0;
	return 0;
}
