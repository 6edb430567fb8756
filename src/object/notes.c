/* SPDX-License-Identifier: MIT */
/* ELF notes: in sections when there are some (a debug file keeps those), else in PT_NOTE. */
#include <string.h>

#include "object/internal.h"

/* The next note of @size bytes; false at the end, and when it does not fit. */
static bool note_next(const uint8_t *bytes, size_t size, size_t align, size_t *at, Elf64_Nhdr *header, size_t *name)
{
	if (*at > size || size - *at < sizeof(*header))
		return false;
	memcpy(header, bytes + *at, sizeof(*header));
	uint64_t descriptor = base_align_up((uint64_t)sizeof(*header) + header->n_namesz, align);
	uint64_t end = descriptor + header->n_descsz;

	if (end > size - *at)
		return false;
	*name = *at + sizeof(*header);
	*at += base_align_up(end, align);
	return true;
}

/* All of one section or segment, until @fn returns non-zero. */
static int note_each(const uint8_t *bytes, size_t size, size_t align, const char *name, uint32_t type, object_note_fn *fn, void *arg)
{
	size_t name_size = strlen(name) + 1;
	Elf64_Nhdr header;
	size_t text;
	int result = 0;

	for (size_t at = 0, start = 0; !result && note_next(bytes, size, align, &at, &header, &text); start = at) {
		if (header.n_type != type || header.n_namesz != name_size || memcmp(bytes + text, name, name_size) != 0)
			continue;
		result = fn(arg, bytes + start + base_align_up(sizeof(header) + header.n_namesz, align), header.n_descsz);
	}
	return result;
}

int object_notes(struct object_image *image, const char *name, uint32_t type, object_note_fn *fn, void *arg)
{
	bool in_sections = false;
	int result = 0;

	for (size_t i = 1; !result && i < image->section_count; i++) {
		const Elf64_Shdr *section = &image->sections[i];
		const uint8_t *bytes = section->sh_type == SHT_NOTE ? object_image_section_bytes(image, section) : NULL;

		in_sections |= bytes != NULL;
		if (bytes)
			result = note_each(bytes, section->sh_size, section->sh_addralign == 8 ? 8 : 4, name, type, fn, arg);
	}
	for (size_t i = 0; !result && !in_sections && i < image->program_count; i++) {
		const Elf64_Phdr *program = &image->programs[i];
		const uint8_t *bytes =
		    program->p_type == PT_NOTE ? object_image_bytes(image, program->p_offset, program->p_filesz) : NULL;

		if (bytes)
			result = note_each(bytes, program->p_filesz, program->p_align == 8 ? 8 : 4, name, type, fn, arg);
	}
	return result;
}

struct first_note {
	const uint8_t *bytes;
	size_t size;
};

static int take_first(void *arg, const uint8_t *bytes, size_t size)
{
	struct first_note *first = arg;

	*first = (struct first_note) { bytes, size };
	return size != 0;
}

size_t object_note(struct object_image *image, const char *name, uint32_t type, const uint8_t **ret)
{
	struct first_note first = { 0 };

	if (!object_notes(image, name, type, take_first, &first))
		return 0;
	*ret = first.bytes;
	return first.size;
}
