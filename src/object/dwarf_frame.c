/* SPDX-License-Identifier: MIT */
/*
 * Call frame information at one address: how the CFA is made of a register, and where the caller's registers are. From .eh_frame of the object,
 * else from .debug_frame (Go, and what was built without unwind tables). An index of all descriptions is made at the first use; instructions are
 * run only for the one that is wanted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "object/dwarf_inside.h"

#define FDES_MAX (8UL << 20)

static struct object_cfi_section section_of(const struct object_dwarf *dwarf, bool eh)
{
	const struct dwarf_section *section = eh ? &dwarf->eh_frame : &dwarf->main->sections[DWARF_FRAME];

	return (struct object_cfi_section) {
		.bytes = section->bytes, .size = section->size, .vaddr = eh ? dwarf->eh_frame_vaddr : 0, .eh = eh
	};
}

/* ---- the index ---- */

static void index_section(struct object_dwarf *dwarf, bool eh)
{
	struct object_cfi_section section = section_of(dwarf, eh);
	struct object_cfi_fde fde;

	for (uint64_t at = 0; dwarf->fde_count < FDES_MAX && object_cfi_next(&section, &at, &fde);) {
		if (base_grow(&dwarf->fdes, &dwarf->fde_cap, dwarf->fde_count + 1, sizeof(*dwarf->fdes)))
			return;
		dwarf->fdes[dwarf->fde_count++] =
		    (struct dwarf_fde) { .start = fde.start, .end = fde.end, .at = fde.at, .eh = eh };
	}
}

static int compare_fdes(const void *left, const void *right)
{
	const struct dwarf_fde *a = left;
	const struct dwarf_fde *b = right;

	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	return (int)b->eh - (int)a->eh; /* .eh_frame first */
}

static void index_make(struct object_dwarf *dwarf)
{
	struct object_image *image = &dwarf->object->image;
	const Elf64_Shdr *header = object_image_section(image, ".eh_frame");
	const uint8_t *bytes = header ? object_image_section_bytes(image, header) : NULL;

	dwarf->has_fdes = true;
	dwarf->eh_frame = DWARF_NO_SECTION;
	if (bytes) {
		dwarf->eh_frame = (struct dwarf_section) { .bytes = bytes, .size = header->sh_size };
		dwarf->eh_frame_vaddr = header->sh_addr;
	}
	index_section(dwarf, true);
	index_section(dwarf, false);
	if (dwarf->fde_count)
		qsort(dwarf->fdes, dwarf->fde_count, sizeof(*dwarf->fdes), compare_fdes);
}

static const struct dwarf_fde *fde_at(const struct object_dwarf *dwarf, uint64_t vaddr)
{
	size_t low = 0;
	size_t high = dwarf->fde_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (dwarf->fdes[middle].start <= vaddr)
			low = middle + 1;
		else
			high = middle;
	}
	const struct dwarf_fde *found = NULL;

	for (size_t back = 0; low > 0 && back < 4; low--, back++)
		if (vaddr < dwarf->fdes[low - 1].end && (!found || dwarf->fdes[low - 1].start == found->start))
			found = &dwarf->fdes[low - 1];
	return found;
}

/* ---- the row ---- */

struct wanted {
	uint64_t vaddr;
	bool found;
	struct object_cfi_row row;
};

static bool look(void *arg, uint64_t start, uint64_t end, const struct object_cfi_row *row)
{
	struct wanted *wanted = arg;

	wanted->found = wanted->vaddr >= start && wanted->vaddr < end;
	if (wanted->found)
		wanted->row = *row;
	return !wanted->found;
}

int dwarf_frame_at(struct object_dwarf *dwarf, uint64_t vaddr, struct object_cfi_row *ret)
{
	if (!dwarf->has_fdes)
		index_make(dwarf);
	const struct dwarf_fde *fde = fde_at(dwarf, vaddr);
	struct wanted wanted = { .vaddr = vaddr };
	struct object_cfi_fde found;

	if (!fde)
		return -ENOENT;
	struct object_cfi_section section = section_of(dwarf, fde->eh);
	uint64_t at = fde->at;

	if (!object_cfi_next(&section, &at, &found) || (!object_cfi_rows(&found, look, &wanted) && !wanted.found) || !wanted.found)
		return -EINVAL;
	*ret = wanted.row;
	return 0;
}
