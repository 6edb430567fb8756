/* SPDX-License-Identifier: MIT */
/*
 * User stacks inside targets: along the frame pointers, by tables (tables.c), and a copy.
 *
 * The rules are those of runtime.c. A stack is any memory: what is not in a page that we run on ourselves is read by
 * the kernel, a window at a time. What cannot be followed ends the walk, and the locator says so.
 */
#include "runtime/stack.h"
#include "runtime/slot.h"

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
	uint64_t from =
	    address >= walk->low && address - walk->low < WIRE_STACK_WINDOW - 8 ? walk->low & ~7ULL : address;
	long got = runtime_copy(walk->shared, (uint64_t)walk->window, from, WIRE_STACK_WINDOW);

	walk->start = from;
	walk->size = got > 0 ? (uint64_t)got : 0;
	return address - from + 8 <= walk->size;
}

bool runtime_walk_word(struct runtime_walk *walk, uint64_t address, uint64_t *ret)
{
	if (address % 8 || address >= ADDRESS_END)
		return false;
	if (in_page_of(address, walk->near) || in_page_of(address, (uint64_t)__builtin_frame_address(0))) {
		*ret = *(const volatile uint64_t *)address;
		return true;
	}
	if ((address < walk->start || address - walk->start + 8 > walk->size) && !move_window(walk, address))
		return false;
	*ret = *(const volatile uint64_t *)(walk->window + (address - walk->start));
	return true;
}

bool runtime_walk_put(struct runtime_walk *walk, uint64_t address)
{
	if (walk->count == walk->most)
		return false;
	((volatile uint64_t *)walk->to)[walk->count++] = address;
	return true;
}

/* mov $15,%rax or mov $15,%eax; syscall: nothing else returns from a signal handler. */
static bool is_restorer(struct runtime_walk *walk, uint64_t address)
{
	static const uint8_t wide[9] = { 0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05 };
	static const uint8_t narrow[7] = { 0xb8, 15, 0, 0, 0, 0x0f, 0x05 };
	volatile uint8_t code[16];
	unsigned same_wide = 0;
	unsigned same_narrow = 0;

	if (runtime_copy(walk->shared, (uint64_t)code, address, sizeof(wide)) != sizeof(wide))
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
	    !runtime_walk_word(walk, at, &address) || !is_restorer(walk, address))
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

static uint64_t append_copy(struct runtime_walk *walk, struct wire_slot *slot, uint64_t ip, uint64_t most)
{
	uint64_t room = room_of(slot);
	long got = 0;

	if (room < 8)
		return WIRE_LOCATOR_FAILURE(OUT_OF_ROOM);
	*(volatile uint64_t *)(slot->record + slot->used) = ip;
	most = least(most, room - 8);
	if (most)
		got = runtime_copy(walk->shared, (uint64_t)(slot->record + slot->used + 8), walk->sp, most);
	return finish(slot, 8 + (got > 0 ? (uint64_t)got : 0), got < 0 || (uint64_t)got == most);
}

/* WIRE_PLACE() of the probe; of a return what it returns to. */
static uint64_t place_of(struct runtime_walk *walk, uint32_t id, bool is_return)
{
	const struct wire_control *shared = walk->shared;
	const uint64_t *places = (const uint64_t *)((const uint8_t *)shared + shared->places_at);
	uint64_t place = 0;

	if (is_return)
		return runtime_walk_word(walk, walk->sp - 8, &place) ? WIRE_PLACE_ADDRESS(place) : 0;
	return id < shared->max_probes ? places[id] : 0;
}

uint64_t runtime_long_stack(struct wire_long *frame, uint64_t sp)
{
	struct wire_control *shared = control();
	struct wire_slot *slot = slot_of(frame);
	uint32_t kind = frame->bytes & WIRE_STACK_KINDS;
	uint32_t most = (uint32_t)frame->bytes >> 8;
	struct runtime_walk walk;
	uint64_t place;
	bool is_whole = false;

	if (!is_ours(frame))
		return WIRE_LOCATOR_FAILURE(STALE);
	if (!shared->places_at)
		return WIRE_LOCATOR_FAILURE(INVALID);
	walk.shared = shared;
	walk.to = (uint64_t *)(slot->record + slot->used);
	walk.count = 0;
	walk.most = (uint32_t)least(most, room_of(slot) / 8);
	walk.sp = walk.low = sp;
	walk.near = (uint64_t)frame;
	walk.window = (uint8_t *)slot + shared->slot_size - WIRE_STACK_WINDOW - WIRE_STACK_STATE;
	walk.start = walk.size = 0;
	place = place_of(&walk, (uint32_t)(frame->what >> 32), frame->bytes & WIRE_STACK_RETURN);
	if (kind == WIRE_STACK_RAW)
		return append_copy(&walk, slot, WIRE_PLACE_ADDRESS(place), most);
	if (kind == WIRE_STACK_CFI)
		is_whole = runtime_walk_tables(&walk, place, frame->bytes & WIRE_STACK_RETURN, frame->from);
	else if (kind != WIRE_STACK_FP)
		return WIRE_LOCATOR_FAILURE(INVALID);
	else if (runtime_walk_put(&walk, WIRE_PLACE_ADDRESS(place)))
		is_whole = walk_chain(&walk, place, frame->from);
	return finish(slot, 8 * (uint64_t)walk.count, !is_whole);
}
