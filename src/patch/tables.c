/* SPDX-License-Identifier: MIT */
/*
 * Where indirect jumps lead: through a slot of the dynamic linker, through a table of the function's own places, to a
 * pointer that was made elsewhere; anything else is unknown.
 *
 * Compilers of position-independent code write tables of 4-byte distances, others of 8-byte addresses. A table has no
 * written length. Where the code compares the index first, that is its length, and each entry must be good, else the
 * table is not what it was taken for. Other tables are read as far as their entries lead into the function; entries too
 * many only make places count as targets that are none.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "isa/flow.h"
#include "patch/code_inside.h"

#define THUNK_MAX 64 /* bytes that a call inside one may skip */

static int slots_make(const struct patch_code *code)
{
	const struct object_slot *slots;
	struct code_lazy *lazy = code->lazy;
	size_t count;

	if (lazy->slots)
		return 0;
	if (object_slots(code->object, &slots, &count, NULL))
		return -EINVAL;
	lazy->slots = malloc((count + 1) * sizeof(*lazy->slots));
	if (!lazy->slots)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		lazy->slots[i] = slots[i].vaddr;
	lazy->nslots = count;
	code_sort(lazy->slots, count, sizeof(*lazy->slots));
	return 0;
}

static bool is_slot(const struct patch_code *code, uint64_t vaddr)
{
	if (slots_make(code))
		return false;
	size_t above = code_above(code->lazy->slots, code->lazy->nslots, sizeof(uint64_t), vaddr);

	return above && code->lazy->slots[above - 1] == vaddr;
}

static bool decode_at(const struct patch_code *code, uint64_t vaddr, struct isa_insn *insn)
{
	size_t available;
	const uint8_t *bytes = object_code(code->object, vaddr, &available);

	return bytes && !isa_decode(bytes, available, vaddr, insn);
}

bool code_is_stub(const struct patch_code *code, uint64_t vaddr)
{
	struct isa_insn insn;

	if (!decode_at(code, vaddr, &insn) || (insn.class == ISA_ENDBR && !decode_at(code, vaddr + insn.length, &insn)))
		return false;
	return insn.class == ISA_JUMP_INDIRECT && insn.has_rip_operand && is_slot(code, insn.rip_operand);
}

bool code_is_thunk(const struct patch_code *code, uint64_t vaddr)
{
	static const uint8_t fence[] = { 0x0f, 0xae, 0xe8 };
	size_t available;
	const uint8_t *bytes = object_code(code->object, vaddr, &available);
	struct isa_effect effect;
	uint64_t target = 0;
	unsigned length;

	if (bytes && available > sizeof(fence) && !memcmp(bytes, fence, sizeof(fence))) {
		vaddr += sizeof(fence);
		bytes += sizeof(fence);
		available -= sizeof(fence);
	}
	enum isa_lead lead = code_lead_at(code, vaddr, &length, &target);

	if (lead == ISA_LEAD_CALL)
		return target > vaddr && target - vaddr <= THUNK_MAX;
	return lead == ISA_LEAD_JUMP_INDIRECT && !isa_effect(bytes, available, vaddr, &effect) &&
	       effect.kind == ISA_EFFECT_JUMP && effect.to != ISA_NO_REGISTER;
}

#define TABLE_MAX 65536 /* entries */

/* Tables must not change, or what the file says is not what runs. */
static const uint8_t *table_bytes(const struct patch_code *code, uint64_t vaddr, size_t *available)
{
	const struct object_segment *segments;
	size_t count = object_segments(code->object, &segments);

	for (size_t i = 0; i < count; i++)
		if (segments[i].write && vaddr - segments[i].vaddr < segments[i].memory_size)
			return NULL;
	return object_data(code->object, vaddr, available);
}

/*
 * May an entry of a table lead there? To an instruction of the function, or of a fragment that nothing else leads to;
 * or just behind the function, which is what compilers write for cases that cannot happen.
 */
static bool is_place(const struct patch_code *code, const struct code_parts *parts, uint64_t vaddr)
{
	size_t range = code_range_of(code, vaddr);

	for (size_t i = 0; i < parts->count; i++)
		if (vaddr == code->ranges[parts->ranges[i]].end)
			return true;
	if (range == CODE_NO_RANGE || !patch_code_is_start(code, vaddr))
		return false;
	return code_parts_at(code, parts, vaddr) != CODE_NO_RANGE || !code_is_own(code, range);
}

static uint64_t entry_at(const struct code_value *value, const uint8_t *bytes, size_t index)
{
	uint32_t distance;
	uint64_t address;

	if (value->kind == CODE_VALUE_ENTRY) {
		memcpy(&address, bytes + 8 * index, sizeof(address));
		return address;
	}
	memcpy(&distance, bytes + 4 * index, sizeof(distance));
	return value->base + (value->is_signed ? (uint64_t)(int64_t)(int32_t)distance : distance);
}

static void mark_tabled(struct code_line *line, size_t jump)
{
	if (!line->tabled && jump + 1 < LINE_TABLED_OFTEN)
		line->tabled = (uint16_t)(jump + 1);
	else if (line->tabled != jump + 1)
		line->tabled = LINE_TABLED_OFTEN;
}

/* How many of at most @most entries lead into the function; each is marked. */
static size_t read_table(struct code_listing *listing, size_t jump, const struct code_value *value, size_t most)
{
	const struct patch_code *code = listing->code;
	size_t available;
	const uint8_t *bytes = table_bytes(code, value->number, &available);
	size_t count = bytes ? available / (value->kind == CODE_VALUE_ENTRY ? 8 : 4) : 0;
	size_t i;

	for (i = 0; i < count && i < most; i++) {
		uint64_t place = entry_at(value, bytes, i);

		if (!is_place(code, listing->parts, place))
			break;
		code_mark_target(code, place);
		size_t line = code_listing_at(listing, place);

		if (line < listing->count)
			mark_tabled(&listing->lines[line], jump);
	}
	return i;
}

/* A table of whole addresses can lead to other functions too: that it does not is known only with its length. */
static enum code_jump_kind judge_table(struct code_listing *listing, size_t jump, const struct code_value *value)
{
	enum code_jump_kind otherwise = value->kind == CODE_VALUE_ENTRY ? CODE_JUMP_POINTER : CODE_JUMP_UNKNOWN;
	uint64_t bound;
	bool bounded = code_listing_bound(listing, value->line, value->index, &bound);

	if (value->kind == CODE_VALUE_ENTRY && (!bounded || object_is_pie(listing->code->object)))
		return otherwise;
	if (!bounded)
		return read_table(listing, jump, value, TABLE_MAX) ? CODE_JUMP_TABLE : otherwise;
	return bound < TABLE_MAX && read_table(listing, jump, value, bound + 1) == bound + 1 ? CODE_JUMP_TABLE
											     : otherwise;
}

static enum code_jump_kind judge(struct code_listing *listing, size_t jump)
{
	uint64_t vaddr = listing->jumps[jump].vaddr;
	struct isa_insn insn;

	if (!decode_at(listing->code, vaddr, &insn))
		return CODE_JUMP_UNKNOWN;
	if (insn.has_rip_operand && is_slot(listing->code, insn.rip_operand))
		return CODE_JUMP_SLOT;
	struct code_value value = code_listing_jump(listing, code_listing_at(listing, vaddr));

	switch (value.kind) {
	case CODE_VALUE_CONSTANT:
	case CODE_VALUE_POINTER:
		/* Nobody else can make a pointer from distances to places of this function, unless it takes such a
		 * place's address. */
		return listing->takes_own_address ? CODE_JUMP_UNKNOWN : CODE_JUMP_POINTER;
	case CODE_VALUE_ENTRY:
	case CODE_VALUE_PLACE:
		return judge_table(listing, jump, &value);
	case CODE_VALUE_NONE:
		return CODE_JUMP_UNSEEN;
	case CODE_VALUE_OFFSET:
	case CODE_VALUE_STACK:
	case CODE_VALUE_UNKNOWN:
		break;
	}
	return CODE_JUMP_UNKNOWN;
}

/* Changes with every place that a table was found to lead to. */
static size_t sum_tabled(const struct code_listing *listing)
{
	size_t sum = 0;

	for (size_t i = 0; i < listing->count; i++)
		sum += listing->lines[i].tabled;
	return sum;
}

#define ROUNDS 10

/*
 * Begins as if no indirect jump led anywhere. What one leads to is a way to more code, on which registers may have
 * other values, so all is judged again until nothing changes: then the answer agrees with all ways that it implies.
 */
static void judge_all(struct code_listing *listing)
{
	bool changed = true;

	for (size_t i = 0; i < listing->njumps; i++)
		listing->jumps[i].kind = CODE_JUMP_UNSEEN;
	for (int round = 0; changed && round < ROUNDS; round++) {
		size_t before = sum_tabled(listing);

		changed = false;
		for (size_t i = 0; i < listing->njumps; i++) {
			enum code_jump_kind kind = judge(listing, i);

			changed |= kind != listing->jumps[i].kind;
			listing->jumps[i].kind = kind;
		}
		changed |= sum_tabled(listing) != before;
	}
	for (size_t i = 0; i < listing->njumps; i++)
		if (changed || listing->jumps[i].kind == CODE_JUMP_UNSEEN)
			listing->jumps[i].kind = CODE_JUMP_UNKNOWN;
}

/* The indirect jumps of the parts, not judged yet. */
static int jumps_list(const struct patch_code *code, const struct code_parts *parts, struct code_jump **ret,
		      size_t *count)
{
	struct code_jump *jumps = NULL;
	size_t cap = 0;

	*count = 0;
	for (size_t i = 0; i < parts->count; i++) {
		const struct object_range *range = &code->ranges[parts->ranges[i]];
		size_t at =
		    range->start ? code_above(code->indirect, code->nindirect, sizeof(uint64_t), range->start - 1) : 0;

		for (; at < code->nindirect && code->indirect[at] < range->end; at++) {
			if (base_grow(&jumps, &cap, *count + 1, sizeof(*jumps))) {
				free(jumps);
				return -ENOMEM;
			}
			jumps[(*count)++] =
			    (struct code_jump) { .vaddr = code->indirect[at], .kind = CODE_JUMP_UNKNOWN };
		}
	}
	code_sort(jumps, *count, sizeof(*jumps));
	*ret = jumps;
	return 0;
}

/* Left unknown: functions so large, with so many indirect jumps, that nobody wrote them. */
#define WORK_MAX 100000000

static uint64_t parts_size(const struct patch_code *code, const struct code_parts *parts)
{
	uint64_t size = 0;

	for (size_t i = 0; i < parts->count; i++)
		size += code->ranges[parts->ranges[i]].end - code->ranges[parts->ranges[i]].start;
	return size;
}

int code_jumps_find(const struct patch_code *code, const struct code_parts *parts, struct code_jump **ret,
		    size_t *count)
{
	struct code_listing listing;
	struct code_jump *jumps;
	int error = jumps_list(code, parts, &jumps, count);

	if (error)
		return error;
	if (*count && *count <= WORK_MAX / (parts_size(code, parts) + 1)) {
		error = code_listing_init(&listing, code, parts, jumps, *count);
		if (!error)
			judge_all(&listing);
		code_listing_deinit(&listing);
	}
	if (error) {
		free(jumps);
		return error;
	}
	*ret = jumps;
	return 0;
}
