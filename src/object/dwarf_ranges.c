/* SPDX-License-Identifier: MIT */
/*
 * The code of an entry: low and high, or a list (.debug_ranges, .debug_rnglists). Ranges of code that the linker dropped start where no code
 * is; they are left out.
 */
#include "object/dwarf_inside.h"

#define RANGES_MAX 65536 /* of one entry */

struct range_walk {
	struct dwarf_unit *unit;
	dwarf_range_fn *fn;
	void *arg;
	size_t count;
	bool enough;
};

static const struct dwarf_unit *owner(const struct dwarf_unit *unit)
{
	return unit->skeleton ? unit->skeleton : unit;
}

bool dwarf_unit_address(struct dwarf_unit *unit, uint64_t index, uint64_t *ret)
{
	const struct dwarf_unit *has = owner(unit);
	const struct dwarf_section *section = &has->file->sections[DWARF_ADDR];

	if (has->addr_base > section->size || index >= (section->size - has->addr_base) / 8)
		return false;
	memcpy(ret, section->bytes + has->addr_base + index * 8, 8);
	return true;
}

static bool range_emit(struct range_walk *walk, uint64_t start, uint64_t end)
{
	if (start < end && object_is_code(walk->unit->dwarf->object, start)) {
		walk->count++;
		walk->enough = !walk->fn(walk->arg, start, end);
	}
	return !walk->enough && walk->count < RANGES_MAX;
}

static void ranges_old(struct range_walk *walk, uint64_t offset)
{
	const struct dwarf_unit *has = owner(walk->unit);
	const struct dwarf_section *section = &has->file->sections[DWARF_RANGES];
	struct object_cursor cursor = object_cursor_init(section->bytes, section->size, 0);
	uint64_t base = has->low;

	object_cursor_skip(&cursor, offset);
	for (;;) {
		uint64_t start = object_cursor_u64(&cursor);
		uint64_t end = object_cursor_u64(&cursor);

		if (cursor.failed || (!start && !end))
			return;
		if (start == UINT64_MAX)
			base = end;
		else if (!range_emit(walk, base + start, base + end))
			return;
	}
}

/* One entry of a list in .debug_rnglists; false at the end. */
static bool range_entry(struct range_walk *walk, struct object_cursor *cursor, uint64_t *base)
{
	uint8_t kind = object_cursor_u8(cursor);
	uint64_t start = 0;
	uint64_t end = 0;

	switch (kind) {
	case DW_RLE_base_addressx:
		return dwarf_unit_address(walk->unit, object_cursor_uleb(cursor), base) && !cursor->failed;
	case DW_RLE_base_address:
		*base = object_cursor_u64(cursor);
		return !cursor->failed;
	case DW_RLE_startx_endx:
		if (!dwarf_unit_address(walk->unit, object_cursor_uleb(cursor), &start) ||
		    !dwarf_unit_address(walk->unit, object_cursor_uleb(cursor), &end))
			return false;
		break;
	case DW_RLE_startx_length:
		if (!dwarf_unit_address(walk->unit, object_cursor_uleb(cursor), &start))
			return false;
		end = start + object_cursor_uleb(cursor);
		break;
	case DW_RLE_offset_pair:
		start = *base + object_cursor_uleb(cursor);
		end = *base + object_cursor_uleb(cursor);
		break;
	case DW_RLE_start_end:
		start = object_cursor_u64(cursor);
		end = object_cursor_u64(cursor);
		break;
	case DW_RLE_start_length:
		start = object_cursor_u64(cursor);
		end = start + object_cursor_uleb(cursor);
		break;
	default: /* DW_RLE_end_of_list, and what nobody knows */
		return false;
	}
	return !cursor->failed && range_emit(walk, start, end);
}

static void ranges_new(struct range_walk *walk, const struct dwarf_value *value)
{
	struct dwarf_unit *unit = walk->unit;
	const struct dwarf_section *section = &unit->part[DWARF_RNGLISTS];
	struct object_cursor cursor = object_cursor_init(section->bytes, section->size, 0);
	uint64_t base = owner(unit)->low;

	if (value->class == DWARF_LIST_INDEX) {
		if (value->u > section->size)
			return;
		object_cursor_skip(&cursor, unit->rnglists_base + value->u * unit->offset_size);
		uint64_t offset = object_cursor_number(&cursor, unit->offset_size);

		if (cursor.failed)
			return;
		cursor = object_cursor_init(section->bytes, section->size, 0);
		object_cursor_skip(&cursor, unit->rnglists_base + offset);
	} else {
		object_cursor_skip(&cursor, value->u);
	}
	while (range_entry(walk, &cursor, &base))
		;
}

size_t dwarf_die_ranges(const struct dwarf_die *die, dwarf_range_fn *fn, void *arg)
{
	struct range_walk walk = { .unit = die->unit, .fn = fn, .arg = arg };
	struct dwarf_value ranges = dwarf_die_attr(die, DW_AT_ranges);

	if (ranges.class == DWARF_NONE) {
		struct dwarf_value low = dwarf_die_attr(die, DW_AT_low_pc);
		struct dwarf_value high = dwarf_die_attr(die, DW_AT_high_pc);

		if (low.class == DWARF_ADDRESS && high.class == DWARF_ADDRESS)
			range_emit(&walk, low.u, high.u);
		else if (low.class == DWARF_ADDRESS && high.class == DWARF_CONSTANT)
			range_emit(&walk, low.u, low.u + high.u);
	} else if (die->unit->version >= 5) {
		ranges_new(&walk, &ranges);
	} else {
		/* In GNU's split DWARF 4 offsets count from a base that the skeleton has. */
		ranges_old(&walk, ranges.u + (die->unit->skeleton ? die->unit->skeleton->ranges_base : 0));
	}
	return walk.count;
}

struct wanted {
	uint64_t vaddr;
	bool found;
};

static bool look(void *arg, uint64_t start, uint64_t end)
{
	struct wanted *wanted = arg;

	wanted->found = start <= wanted->vaddr && wanted->vaddr < end;
	return !wanted->found;
}

bool dwarf_die_has_pc(const struct dwarf_die *die, uint64_t vaddr)
{
	struct wanted wanted = { .vaddr = vaddr };

	dwarf_die_ranges(die, look, &wanted);
	return wanted.found;
}

static bool take_first(void *arg, uint64_t start, uint64_t end)
{
	uint64_t *lowest = arg;

	if (start < *lowest)
		*lowest = start;
	return true;
}

bool dwarf_die_entry(const struct dwarf_die *die, uint64_t *ret)
{
	struct dwarf_value entry = dwarf_die_attr(die, DW_AT_entry_pc);
	uint64_t lowest = UINT64_MAX;

	if (dwarf_die_ranges(die, take_first, &lowest) == 0)
		return false;
	if (entry.class == DWARF_CONSTANT) { /* DWARF 5: from the low end of the entry */
		struct dwarf_value low = dwarf_die_attr(die, DW_AT_low_pc);

		entry.u += low.class == DWARF_ADDRESS ? low.u : lowest;
	}
	struct dwarf_value low = dwarf_die_attr(die, DW_AT_low_pc);

	if (entry.class != DWARF_NONE && dwarf_die_has_pc(die, entry.u))
		*ret = entry.u;
	else if (low.class == DWARF_ADDRESS && dwarf_die_has_pc(die, low.u))
		*ret = low.u;
	else
		*ret = lowest;
	return true;
}
