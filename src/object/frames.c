/* SPDX-License-Identifier: MIT */
/*
 * .eh_frame: the ranges that have an FDE, and where their exception tables are; and Go's functions, which have none. The section is walked record by record
 * (LSB 5.0, "Exception Frames"); nothing is taken from the sorted table of .eh_frame_hdr but the place and the count,
 * since that table is optional.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "object/cursor.h"
#include "object/internal.h"

#define CIE_VERSION_MAX 4

struct cie {
	size_t offset; /* in the section; entries are in the order of the section */
	uint8_t pointer_encoding;
	uint8_t lsda_encoding;
	bool augmented; /* 'z': FDEs carry augmentation data */
};

struct walk {
	struct object *object;
	const uint8_t *bytes;
	size_t size;
	uint64_t vaddr;
	bool bounded;       /* size is that of the section; else the records must end by themselves */
	size_t frames_left; /* how many the header announced, when not bounded */
	struct cie *cies;
	size_t cie_count, cie_cap;
	struct object_frame *frames;
	size_t frame_count, frame_cap;
};

/* What follows the augmentation string, told by its letters. */
static void augmentation_read(struct object_cursor *cursor, const char *letters, struct cie *cie)
{
	uint64_t ignored;

	for (; *letters; letters++) {
		switch (*letters) {
		case 'z':
			object_cursor_uleb(cursor);
			cie->augmented = true;
			break;
		case 'L':
			cie->lsda_encoding = object_cursor_u8(cursor);
			break;
		case 'R':
			cie->pointer_encoding = object_cursor_u8(cursor);
			break;
		case 'P':
			object_cursor_pointer(cursor, object_cursor_u8(cursor), 0, &ignored);
			break;
		case 'S':
			break;
		default:
			/* How the FDEs are written is not known: they count as none (see fde_read()). */
			cie->pointer_encoding = OBJECT_PE_OMIT;
			return;
		}
	}
}

static int cie_read(struct walk *walk, struct object_cursor cursor, size_t offset, struct utap_error *err)
{
	struct cie cie = { .offset = offset, .lsda_encoding = OBJECT_PE_OMIT };
	uint8_t version = object_cursor_u8(&cursor);
	const char *letters = object_cursor_string(&cursor);

	if (!letters || version == 0 || version == 2 || version > CIE_VERSION_MAX)
		return object_damaged(walk->object, err, "CIE at .eh_frame+0x%zx: version %u", offset, version);
	if (strncmp(letters, "eh", 2) == 0) {
		object_cursor_skip(&cursor, 8);
		letters += 2;
	}
	if (version >= 4)
		object_cursor_skip(&cursor, 2); /* sizes of address and segment */
	object_cursor_uleb(&cursor);            /* code alignment */
	object_cursor_uleb(&cursor);            /* data alignment (signed, but skipped alike) */
	if (version == 1)
		object_cursor_u8(&cursor); /* register of the return address */
	else
		object_cursor_uleb(&cursor);
	augmentation_read(&cursor, letters, &cie);
	if (cursor.failed)
		return object_damaged(walk->object, err, "CIE at .eh_frame+0x%zx: augmentation", offset);
	if (base_grow(&walk->cies, &walk->cie_cap, walk->cie_count + 1, sizeof(cie)))
		return object_no_memory(walk->object, err);
	walk->cies[walk->cie_count++] = cie;
	return 0;
}

static const struct cie *cie_find(const struct walk *walk, size_t offset)
{
	size_t low = 0;
	size_t high = walk->cie_count;

	if (high && walk->cies[high - 1].offset == offset)
		return &walk->cies[high - 1];
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (walk->cies[middle].offset == offset)
			return &walk->cies[middle];
		if (walk->cies[middle].offset < offset)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* Linkers leave FDEs of dropped functions behind, with address 0 or size 0: a range counts when all of it is code. */
static bool range_is_code(const struct object *object, uint64_t start, uint64_t size)
{
	size_t available;

	return size && object_code(object, start, &available) && size <= available;
}

static int fde_read(struct walk *walk, struct object_cursor cursor, size_t offset, size_t cie_offset,
		    struct utap_error *err)
{
	const struct cie *cie = cie_find(walk, cie_offset);
	struct object_frame frame = { 0 };
	uint64_t size = 0;

	if (!cie)
		return object_damaged(walk->object, err, "FDE at .eh_frame+0x%zx: no CIE at 0x%zx", offset, cie_offset);
	if (cie->pointer_encoding & OBJECT_PE_INDIRECT) /* OBJECT_PE_OMIT too */
		return 0;
	bool readable = object_cursor_pointer(&cursor, cie->pointer_encoding, 0, &frame.start) &&
			object_cursor_pointer(&cursor, cie->pointer_encoding & OBJECT_PE_FORMAT, 0, &size);

	if (cie->augmented && readable) {
		object_cursor_uleb(&cursor);
		if (!(cie->lsda_encoding & OBJECT_PE_INDIRECT) && /* nor OBJECT_PE_OMIT */
		    !object_cursor_pointer(&cursor, cie->lsda_encoding, frame.start, &frame.lsda))
			frame.lsda = 0;
	}
	if (cursor.failed)
		return object_damaged(walk->object, err, "FDE at .eh_frame+0x%zx: cut off", offset);
	if (!readable || !range_is_code(walk->object, frame.start, size))
		return 0;
	frame.end = frame.start + size;
	if (base_grow(&walk->frames, &walk->frame_cap, walk->frame_count + 1, sizeof(frame)))
		return object_no_memory(walk->object, err);
	walk->frames[walk->frame_count++] = frame;
	return 0;
}

/* One record: length (4 bytes, or 4 + 8), then a word that is 0 in a CIE and in an FDE the distance back to its CIE. */
static int record_read(struct walk *walk, size_t *at, struct utap_error *err)
{
	struct object_cursor cursor = object_cursor_init(walk->bytes + *at, walk->size - *at, walk->vaddr + *at);
	size_t offset = *at;
	uint64_t length = object_cursor_u32(&cursor);

	if (length == 0 && !cursor.failed) {
		*at = walk->bounded ? *at + 4 : walk->size;
		return 0;
	}
	if (length == UINT32_MAX)
		length = object_cursor_u64(&cursor);
	if (cursor.failed || length < 4 || length > (size_t)(cursor.end - cursor.at))
		return object_damaged(walk->object, err, "record at .eh_frame+0x%zx: length 0x%llx", offset,
				      (unsigned long long)length);
	size_t id_at = (size_t)(cursor.at - walk->bytes);

	cursor.end = cursor.at + length;
	*at = id_at + length;
	uint32_t id = object_cursor_u32(&cursor);

	if (id == 0)
		return cie_read(walk, cursor, offset, err);
	if (!walk->bounded && walk->frames_left-- == 0) {
		*at = walk->size;
		return 0;
	}
	if (id > id_at)
		return object_damaged(walk->object, err, "FDE at .eh_frame+0x%zx: CIE before the section", offset);
	return fde_read(walk, cursor, offset, id_at - id, err);
}

/* PT_GNU_EH_FRAME: version 1, three encodings, the address of .eh_frame, the count of FDEs. */
static bool header_find(struct object *object, uint64_t *vaddr, uint64_t *frames)
{
	for (size_t i = 0; i < object->image.program_count; i++) {
		const Elf64_Phdr *program = &object->image.programs[i];
		size_t available;
		const uint8_t *bytes =
		    program->p_type == PT_GNU_EH_FRAME ? object_data(object, program->p_vaddr, &available) : NULL;

		if (!bytes || available < 4 || bytes[0] != 1)
			continue;
		struct object_cursor cursor = object_cursor_init(bytes, available, program->p_vaddr);
		uint64_t count = SIZE_MAX;

		object_cursor_skip(&cursor, 4);
		if (!object_cursor_pointer(&cursor, bytes[1], 0, vaddr))
			continue;
		if (bytes[2] == OBJECT_PE_OMIT || !object_cursor_pointer(&cursor, bytes[2], 0, &count))
			count = SIZE_MAX;
		*frames = count;
		return true;
	}
	return false;
}

bool object_eh_frame(struct object *object, struct object_cfi_section *ret)
{
	const Elf64_Shdr *section = object_image_section(&object->image, ".eh_frame");
	struct object_cfi_section found = { .eh = true, .endless = true };
	bool header = header_find(object, &found.vaddr, &found.most);
	size_t available;

	if (!header && !section)
		return false;
	if (section && (!header || found.vaddr - section->sh_addr < section->sh_size))
		found.vaddr = section->sh_addr;
	else
		section = NULL;
	found.bytes = object_data(object, found.vaddr, &available);
	if (!found.bytes)
		return false;
	found.endless = !section || section->sh_size > available;
	found.size = found.endless ? available : section->sh_size;
	*ret = found;
	return true;
}

/* Where the records are; false when there are none. */
static bool walk_init(struct walk *walk)
{
	struct object_cfi_section section;

	if (!object_eh_frame(walk->object, &section))
		return false;
	walk->bytes = section.bytes;
	walk->size = section.size;
	walk->vaddr = section.vaddr;
	walk->bounded = !section.endless;
	walk->frames_left = section.most;
	return true;
}

static int frames_sort(struct walk *walk)
{
	size_t count = walk->frame_count;
	_cleanup_free_ struct object_sort_item *items = malloc((count + 1) * sizeof(*items));
	_cleanup_free_ struct object_frame *sorted = malloc((count + 1) * sizeof(*sorted));
	size_t kept = 0;

	if (!items || !sorted || count > UINT32_MAX)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		items[i] = (struct object_sort_item) { .key = walk->frames[i].end, .index = (uint32_t)i };
	if (object_sort(items, count))
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		items[i].key = walk->frames[items[i].index].start;
	if (object_sort(items, count))
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		const struct object_frame *frame = &walk->frames[items[i].index];

		if (kept && sorted[kept - 1].start == frame->start && sorted[kept - 1].end == frame->end)
			sorted[kept - 1].lsda = sorted[kept - 1].lsda ? sorted[kept - 1].lsda : frame->lsda;
		else
			sorted[kept++] = *frame;
	}
	free(walk->frames);
	walk->frames = sorted;
	walk->frame_count = kept;
	sorted = NULL;
	return 0;
}

static int add_go_functions(struct walk *walk)
{
	struct object_go_table table;
	struct object_go_function function;

	if (!object_go_table(walk->object, &table))
		return 0;
	for (size_t i = 0; i < table.count; i++) {
		if (!object_go_function(walk->object, &table, i, &function))
			continue;
		if (base_grow(&walk->frames, &walk->frame_cap, walk->frame_count + 1, sizeof(*walk->frames)))
			return -ENOMEM;
		walk->frames[walk->frame_count++] = (struct object_frame) { .start = function.start, .end = function.end };
	}
	return 0;
}

static int frames_read(struct object *object, struct utap_error *err)
{
	struct walk walk = { .object = object };
	int r = 0;

	if (walk_init(&walk))
		for (size_t at = 0; !r && at < walk.size && walk.size - at >= 4;)
			r = record_read(&walk, &at, err);
	if (!r && add_go_functions(&walk))
		r = object_no_memory(object, err);
	struct object_range *ranges = r ? NULL : malloc((walk.frame_count + 1) * sizeof(*ranges));

	free(walk.cies);
	if (!r && (!ranges || frames_sort(&walk)))
		r = object_no_memory(object, err);
	if (r) {
		free(walk.frames);
		free(ranges);
		return r;
	}
	for (size_t i = 0; i < walk.frame_count; i++)
		ranges[i] = (struct object_range) { .start = walk.frames[i].start, .end = walk.frames[i].end };
	object->frames = walk.frames;
	object->ranges = ranges;
	object->frame_count = walk.frame_count;
	object->has_frames = true;
	return 0;
}

int object_frames(struct object *object, const struct object_frame **ret, size_t *count, struct utap_error *err)
{
	int r = object->has_frames ? 0 : frames_read(object, err);

	if (r)
		return r;
	*ret = object->frames;
	*count = object->frame_count;
	return 0;
}

int object_ranges(struct object *object, const struct object_range **ret, size_t *count, struct utap_error *err)
{
	const struct object_frame *frames;
	int r = object_frames(object, &frames, count, err);

	if (!r)
		*ret = object->ranges;
	return r;
}

/* FDEs do not overlap in files that linkers make; in others the one that starts last is taken. */
const struct object_range *object_range_at(struct object *object, uint64_t vaddr)
{
	const struct object_range *ranges;
	size_t high;
	size_t low = 0;

	if (object_ranges(object, &ranges, &high, NULL))
		return NULL;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (ranges[middle].start <= vaddr)
			low = middle + 1;
		else
			high = middle;
	}
	return low && vaddr < ranges[low - 1].end ? &ranges[low - 1] : NULL;
}
