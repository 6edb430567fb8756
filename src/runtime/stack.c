/* SPDX-License-Identifier: MIT */
/*
 * User stacks inside targets: along the frame pointers, by tables (tables.c), and a copy.
 *
 * The rules are those of runtime.c. A stack is any memory: what is not in a page that we run on ourselves is read by
 * the kernel, a window at a time. What cannot be followed ends the walk, and the locator says so.
 */
#include "runtime/stack.h"
#include "runtime/slot.h"

#define NOINLINE __attribute__((noinline))
#define ADDRESS_END (1ULL << 47) /* of user space */
#define GREGS 48                 /* from the return address of a signal handler to the registers in its frame .. */
#define GREG_BP (8 * 10)         /* .. and from these to some */
#define GREG_SP (8 * 15)
#define GREG_IP (8 * 16)

static bool in_page_of(uint64_t address, uint64_t other)
{
	return !((address ^ other) / WIRE_PAGE);
}

/* The window moves up with the walk; what is wanted may lie ahead of where the walk is. */
static bool move_window(struct runtime_walk *walk, uint64_t address)
{
	uint64_t low = __atomic_load_n(&walk->low, __ATOMIC_RELAXED);
	uint64_t from = address >= low && address - low < WIRE_STACK_WINDOW - 8 ? low & ~7ULL : address;
	long got = runtime_copy(control(), (uint64_t)runtime_walk_window(walk), from, WIRE_STACK_WINDOW);
	uint64_t size = got > 0 ? (uint64_t)got : 0;

	walk->start = from;
	walk->size = size;
	return address - from + 8 <= size;
}

/* In a page of the stack that we run on: .near is not further up than we came down, or it is not what we wrote. */
static bool is_near(const struct runtime_walk *walk, uint64_t address)
{
	uint64_t frame = (uint64_t)__builtin_frame_address(0);
	uint64_t near = __atomic_load_n(&walk->near, __ATOMIC_RELAXED);

	return in_page_of(address, frame) || (near - frame < WIRE_RUNTIME_WALK_STACK && in_page_of(address, near));
}

bool runtime_walk_word(struct runtime_walk *walk, uint64_t address, uint64_t *ret)
{
	uint64_t at;

	if (address % 8 || address >= ADDRESS_END)
		return false;
	if (is_near(walk, address)) {
		*ret = *(const volatile uint64_t *)address;
		return true;
	}
	at = address - __atomic_load_n(&walk->start, __ATOMIC_RELAXED);
	if (at > WIRE_STACK_WINDOW - 8 || at + 8 > __atomic_load_n(&walk->size, __ATOMIC_RELAXED)) {
		if (!move_window(walk, address))
			return false;
		at = address - __atomic_load_n(&walk->start, __ATOMIC_RELAXED);
	}
	if (at > WIRE_STACK_WINDOW - 8) /* it is no longer as it was left */
		return false;
	*ret = *(const volatile uint64_t *)(runtime_walk_window(walk) + at);
	return true;
}

bool runtime_walk_put(struct runtime_walk *walk, uint64_t address)
{
	struct wire_slot *slot = runtime_walk_slot(walk);
	uint32_t count = __atomic_load_n(&walk->count, __ATOMIC_RELAXED);
	uint64_t at = used_of(slot) + 8ULL * count;

	if (count >= walk->most || room_behind(control(), slot, at) < 8)
		return false;
	*(volatile uint64_t *)(slot->record + at) = address;
	walk->count = count + 1;
	return true;
}

/* mov $15,%rax or mov $15,%eax; syscall: nothing else returns from a signal handler. */
static bool is_restorer(uint64_t address)
{
	static const uint8_t wide[9] = { 0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05 };
	static const uint8_t narrow[7] = { 0xb8, 15, 0, 0, 0, 0x0f, 0x05 };
	volatile uint8_t code[16];
	unsigned same_wide = 0;
	unsigned same_narrow = 0;

	if (runtime_copy(control(), (uint64_t)code, address, sizeof(wide)) != sizeof(wide))
		return false;
	for (unsigned i = 0; i < sizeof(wide); i++)
		same_wide += code[i] == wide[i];
	for (unsigned i = 0; i < sizeof(narrow); i++)
		same_narrow += code[i] == narrow[i];
	return same_wide == sizeof(wide) || same_narrow == sizeof(narrow);
}

/* The frame's rbp is what the handler was entered with, so it comes back when it returns. Only where that holds the
 * code is looked at. */
uint64_t runtime_walk_signal(struct runtime_walk *walk, uint64_t at, uint64_t bp)
{
	uint64_t kept;
	uint64_t address;

	if (!runtime_walk_word(walk, at + GREGS + GREG_BP, &kept) || kept != bp ||
	    !runtime_walk_word(walk, at, &address) || !is_restorer(address))
		return 0;
	return at + GREGS;
}

/* Out of a signal frame, to what it interrupted. */
static bool leave_signal(struct runtime_walk *walk, uint64_t gregs, uint64_t *bp)
{
	uint64_t ip;

	if (!runtime_walk_word(walk, gregs + GREG_IP, &ip) || !runtime_walk_word(walk, gregs + GREG_SP, &walk->low) ||
	    ip >= ADDRESS_END || !runtime_walk_put(walk, ip | WIRE_STACK_EXACT))
		return false;
	return runtime_walk_word(walk, gregs + GREG_BP, bp);
}

/*
 * The return address at @at, and what lies behind it in a signal frame. *bp is rbp as after the return. Returns 1; 0 at
 * the stack's end; -1 where it cannot be followed.
 */
static int pass_return(struct runtime_walk *walk, uint64_t at, uint64_t *bp)
{
	uint64_t address;
	uint64_t gregs;

	if (!runtime_walk_word(walk, at, &address) || address >= ADDRESS_END)
		return -1;
	if (!address)
		return 0;
	walk->low = at;
	gregs = runtime_walk_signal(walk, at, *bp);
	if (!runtime_walk_put(walk, address | (gregs ? WIRE_STACK_EXACT : 0)))
		return -1;
	walk->low = at + 8;
	return gregs && !leave_signal(walk, gregs, bp) ? -1 : 1;
}

/* Out of the probed place's own frame, where it is known how. As pass_return(). */
static int leave_place(struct runtime_walk *walk, uint64_t place, uint64_t *bp)
{
	uint64_t end = walk->sp + 8 * WIRE_PLACE_UP(place);
	uint64_t kept = end - 8 * WIRE_PLACE_KEPT(place);

	if (!WIRE_PLACE_UP(place))
		return 1;
	if (WIRE_PLACE_KEPT(place) == WIRE_PLACE_MAYBE)
		kept = *bp == end - 16 ? *bp : end;
	if (kept != end && !runtime_walk_word(walk, kept, bp))
		return -1;
	return pass_return(walk, end - 8, bp);
}

/* Along the chain of saved frame pointers, each above the last; false: it goes on. */
static bool walk_chain(struct runtime_walk *walk, uint64_t place, uint64_t bp)
{
	int passed = leave_place(walk, place, &bp);

	while (passed > 0 && bp) {
		uint64_t frame = bp;

		if (frame < walk->low || !runtime_walk_word(walk, frame, &bp))
			return false;
		walk->low = frame;
		passed = pass_return(walk, frame + 8, &bp);
	}
	return passed >= 0;
}

static NOINLINE uint64_t append_copy(struct wire_slot *slot, uint64_t sp, uint64_t ip, uint64_t most)
{
	struct wire_control *shared = control();
	uint64_t used = used_of(slot);
	uint64_t room = room_behind(shared, slot, used);
	long got = 0;

	if (room < 8)
		return WIRE_LOCATOR_FAILURE(OUT_OF_ROOM);
	*(volatile uint64_t *)(slot->record + used) = ip;
	most = least(most, room - 8);
	if (most)
		got = runtime_copy(shared, (uint64_t)(slot->record + used + 8), sp, most);
	return finish(slot, 8 + (got > 0 ? (uint64_t)got : 0), got < 0 || (uint64_t)got == most);
}

/* WIRE_PLACE() of the probe; of a return what it returns to. */
static uint64_t place_of(struct runtime_walk *walk, uint32_t id, bool is_return)
{
	const struct wire_control *shared = control();
	const uint64_t *places = (const uint64_t *)((const uint8_t *)shared + shared->places_at);
	uint64_t place = 0;

	if (is_return)
		return runtime_walk_word(walk, walk->sp - 8, &place) ? WIRE_PLACE_ADDRESS(place) : 0;
	return id < shared->max_probes ? places[id] : 0;
}

/* Returns the place. */
static NOINLINE uint64_t start(struct runtime_walk *walk, const struct wire_long *frame, uint64_t sp)
{
	walk->count = 0;
	walk->most = (uint32_t)frame->bytes >> 8;
	walk->sp = walk->low = sp;
	walk->near = (uint64_t)frame;
	walk->start = walk->size = 0;
	return place_of(walk, (uint32_t)(frame->what >> 32), frame->bytes & WIRE_STACK_RETURN);
}

static NOINLINE uint64_t append_chain(struct runtime_walk *walk, const struct wire_long *frame, uint64_t place)
{
	bool is_whole = runtime_walk_put(walk, WIRE_PLACE_ADDRESS(place)) && walk_chain(walk, place, frame->from);

	return finish(runtime_walk_slot(walk), 8 * (uint64_t)walk->count, !is_whole);
}

/* Each kind of its own in a function: what one of them keeps on the stack is not below the others. */
uint64_t runtime_long_stack(struct wire_long *frame, uint64_t sp)
{
	struct runtime_walk *walk;
	uint64_t place;

	if (!is_ours(frame))
		return WIRE_LOCATOR_FAILURE(STALE);
	if (!control()->places_at)
		return WIRE_LOCATOR_FAILURE(INVALID);
	walk = runtime_walk_in(slot_of(frame));
	place = start(walk, frame, sp);
	switch (frame->bytes & WIRE_STACK_KINDS) {
	case WIRE_STACK_RAW:
		return append_copy(slot_of(frame), sp, WIRE_PLACE_ADDRESS(place), (uint32_t)frame->bytes >> 8);
	case WIRE_STACK_CFI:
		return runtime_walk_tables(walk, frame, place);
	case WIRE_STACK_FP:
		return append_chain(walk, frame, place);
	}
	return WIRE_LOCATOR_FAILURE(INVALID);
}
