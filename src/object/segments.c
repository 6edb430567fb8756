/* SPDX-License-Identifier: MIT */
/*
 * PT_LOAD: between file offsets and vaddrs. Segments are sorted, do not overlap, and their file part lies in the file;
 * so every pointer handed out from here is good for the bytes promised.
 */
#include <errno.h>
#include <stdlib.h>

#include "object/internal.h"

static int segment_check(const struct object *object, size_t index, struct utap_error *err)
{
	const Elf64_Phdr *program = &object->image.programs[index];
	uint64_t end;

	if (program->p_filesz > program->p_memsz || __builtin_add_overflow(program->p_vaddr, program->p_memsz, &end))
		return object_damaged(object, err, "segment %zu has impossible sizes", index);
	if (__builtin_add_overflow(program->p_offset, program->p_filesz, &end) || end > object->image.size)
		return object_damaged(
		    object, err, "segment %zu ends beyond the file (is it cut off, or a separate debug file?)", index);
	return 0;
}

static int by_vaddr(const void *left, const void *right)
{
	const struct object_segment *a = left;
	const struct object_segment *b = right;

	return (a->vaddr > b->vaddr) - (a->vaddr < b->vaddr);
}

int object_segments_read(struct object *object, struct utap_error *err)
{
	size_t programs = object->image.program_count;
	_cleanup_free_ struct object_segment *segments = calloc(programs ? programs : 1, sizeof(*segments));
	size_t count = 0;

	if (!segments)
		return object_no_memory(object, err);
	for (size_t i = 0; i < programs; i++) {
		const Elf64_Phdr *program = &object->image.programs[i];

		if (program->p_type != PT_LOAD || program->p_memsz == 0)
			continue;
		int r = segment_check(object, i, err);

		if (r)
			return r;
		segments[count++] = (struct object_segment) {
			.vaddr = program->p_vaddr,
			.offset = program->p_offset,
			.file_size = program->p_filesz,
			.memory_size = program->p_memsz,
			.execute = program->p_flags & PF_X,
			.write = program->p_flags & PF_W,
		};
	}
	if (count == 0)
		return base_error(err, -ENOEXEC, UTAP_ERROR_USAGE, "%s: it has nothing to load", object->path);
	qsort(segments, count, sizeof(*segments), by_vaddr);
	for (size_t i = 1; i < count; i++)
		if (segments[i].vaddr - segments[i - 1].vaddr < segments[i - 1].memory_size)
			return object_damaged(object, err, "segments overlap at 0x%llx",
					      (unsigned long long)segments[i].vaddr);
	object->segments = segments;
	object->segment_count = count;
	segments = NULL;
	return 0;
}

size_t object_segments(const struct object *object, const struct object_segment **ret)
{
	*ret = object->segments;
	return object->segment_count;
}

const struct object_segment *object_segment_at(const struct object *object, uint64_t vaddr)
{
	for (size_t i = 0; i < object->segment_count; i++)
		if (vaddr - object->segments[i].vaddr < object->segments[i].memory_size)
			return &object->segments[i];
	return NULL;
}

static const struct object_segment *file_part_at(const struct object *object, uint64_t vaddr)
{
	const struct object_segment *segment = object_segment_at(object, vaddr);

	return segment && vaddr - segment->vaddr < segment->file_size ? segment : NULL;
}

static const uint8_t *bytes_in(const struct object *object, const struct object_segment *segment, uint64_t vaddr,
			       size_t *available)
{
	uint64_t inside = vaddr - segment->vaddr;

	*available = segment->file_size - inside;
	return object->image.bytes + segment->offset + inside;
}

const uint8_t *object_data(const struct object *object, uint64_t vaddr, size_t *available)
{
	const struct object_segment *segment = file_part_at(object, vaddr);

	return segment ? bytes_in(object, segment, vaddr, available) : NULL;
}

const uint8_t *object_code(const struct object *object, uint64_t vaddr, size_t *available)
{
	const struct object_segment *segment = file_part_at(object, vaddr);

	return segment && segment->execute ? bytes_in(object, segment, vaddr, available) : NULL;
}

bool object_is_code(const struct object *object, uint64_t vaddr)
{
	const struct object_segment *segment = file_part_at(object, vaddr);

	return segment && segment->execute;
}

int object_offset_to_vaddr(const struct object *object, uint64_t offset, uint64_t *ret)
{
	const struct object_segment *found = NULL;

	/* Two segments may load one page of the file; code is what is asked for. */
	for (size_t i = 0; i < object->segment_count; i++) {
		const struct object_segment *segment = &object->segments[i];

		if (offset - segment->offset < segment->file_size && (!found || (segment->execute && !found->execute)))
			found = segment;
	}
	if (!found)
		return -ENOENT;
	*ret = found->vaddr + (offset - found->offset);
	return 0;
}

int object_vaddr_to_offset(const struct object *object, uint64_t vaddr, uint64_t *ret)
{
	const struct object_segment *segment = file_part_at(object, vaddr);

	if (!segment)
		return -ENOENT;
	*ret = segment->offset + (vaddr - segment->vaddr);
	return 0;
}

const uint8_t *object_page(const struct object *object, uint64_t vaddr, size_t *available)
{
	for (size_t i = 0; i < object->segment_count; i++) {
		const struct object_segment *segment = &object->segments[i];
		uint64_t start = base_align_down(segment->vaddr, BASE_PAGE);
		uint64_t end = base_align_up(segment->vaddr + segment->file_size, BASE_PAGE);
		uint64_t before = segment->vaddr - start;
		uint64_t offset;

		if (!segment->execute || vaddr - start >= end - start || segment->offset < before)
			continue;
		offset = segment->offset - before + (vaddr - start);
		if (offset >= object->image.size) /* the last page goes on behind the end of the file */
			return NULL;
		*available = end - vaddr < object->image.size - offset ? end - vaddr : object->image.size - offset;
		return object->image.bytes + offset;
	}
	return NULL;
}
