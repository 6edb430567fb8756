/* SPDX-License-Identifier: MIT */
/*
 * Restartable sequences: the descriptors in section __rseq_cs (struct rseq_cs of linux/rseq.h). Their addresses are
 * filled in by relocations in position-independent files, so a copy of the section is relocated first.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "object/internal.h"

#define SIGNATURE_SIZE 4

struct descriptor {
	uint32_t version, flags;
	uint64_t start, size, abort;
};
static_assert(sizeof(struct descriptor) == 32, "struct rseq_cs");

/* RELR places hold their value already. */
static void relocate(uint8_t *copy, const Elf64_Shdr *section, const struct object_dynamic *dynamic)
{
	for (size_t t = 0; t < dynamic->relocation_count; t++) {
		for (size_t i = 0; i < dynamic->relocations[t].count; i++) {
			Elf64_Rela relocation = object_dynamic_relocation(&dynamic->relocations[t], i);
			uint64_t inside = relocation.r_offset - section->sh_addr;

			if (ELF64_R_TYPE(relocation.r_info) == R_X86_64_RELATIVE && section->sh_size >= 8 &&
			    inside <= section->sh_size - 8)
				memcpy(copy + inside, &relocation.r_addend, 8);
		}
	}
}

static int by_start(const void *left, const void *right)
{
	const struct object_range *a = left;
	const struct object_range *b = right;

	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	return (a->end > b->end) - (a->end < b->end);
}

/* Both ranges of each descriptor, as far as they are code. */
static size_t ranges_fill(const struct object *object, const uint8_t *bytes, size_t descriptors,
			  struct object_range *ranges)
{
	size_t count = 0;

	for (size_t i = 0; i < descriptors; i++) {
		struct descriptor it;
		size_t available;

		memcpy(&it, bytes + i * sizeof(it), sizeof(it));
		if (it.size && object_code(object, it.start, &available) && it.size <= available)
			ranges[count++] = (struct object_range) { it.start, it.start + it.size };
		if (object_code(object, it.abort - SIGNATURE_SIZE, &available) && available >= SIGNATURE_SIZE)
			ranges[count++] = (struct object_range) { it.abort - SIGNATURE_SIZE, it.abort };
	}
	return count;
}

static int rseq_read(struct object *object, const Elf64_Shdr *section, struct utap_error *err)
{
	const uint8_t *bytes = object_image_section_bytes(&object->image, section);
	size_t descriptors = section->sh_size / sizeof(struct descriptor);
	const struct object_dynamic *dynamic;
	int r = object_dynamic(object, &dynamic, err);

	if (r)
		return r;
	if (!bytes)
		return object_damaged(object, err, "section __rseq_cs lies outside of the file");
	_cleanup_free_ uint8_t *copy = malloc(section->sh_size + 1);
	_cleanup_free_ struct object_range *ranges = calloc(2 * descriptors + 1, sizeof(*ranges));

	if (!copy || !ranges)
		return object_no_memory(object, err);
	memcpy(copy, bytes, section->sh_size);
	relocate(copy, section, dynamic);
	object->rseq_count = ranges_fill(object, copy, descriptors, ranges);
	qsort(ranges, object->rseq_count, sizeof(*ranges), by_start);
	object->rseq = ranges;
	ranges = NULL;
	return 0;
}

int object_rseq_ranges(struct object *object, const struct object_range **ret, size_t *count, struct utap_error *err)
{
	if (!object->has_rseq) {
		const Elf64_Shdr *section = object_image_section(&object->image, "__rseq_cs");
		int r = section ? rseq_read(object, section, err) : 0;

		if (r)
			return r;
		object->has_rseq = true;
	}
	*ret = object->rseq;
	*count = object->rseq_count;
	return 0;
}
