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

static size_t note_find(const uint8_t *bytes, size_t size, size_t align, const char *name, uint32_t type,
			const uint8_t **ret)
{
	size_t name_size = strlen(name) + 1;
	Elf64_Nhdr header;
	size_t text;

	for (size_t at = 0, start = 0; note_next(bytes, size, align, &at, &header, &text); start = at) {
		if (header.n_type != type || header.n_namesz != name_size || memcmp(bytes + text, name, name_size) != 0)
			continue;
		*ret = bytes + start + base_align_up(sizeof(header) + header.n_namesz, align);
		return header.n_descsz;
	}
	return 0;
}

size_t object_note(struct object_image *image, const char *name, uint32_t type, const uint8_t **ret)
{
	for (size_t i = 1; i < image->section_count; i++) {
		const Elf64_Shdr *section = &image->sections[i];
		const uint8_t *bytes = section->sh_type == SHT_NOTE ? object_image_section_bytes(image, section) : NULL;
		size_t found =
		    bytes ? note_find(bytes, section->sh_size, section->sh_addralign == 8 ? 8 : 4, name, type, ret) : 0;

		if (found)
			return found;
	}
	for (size_t i = 0; i < image->program_count; i++) {
		const Elf64_Phdr *program = &image->programs[i];
		const uint8_t *bytes =
		    program->p_type == PT_NOTE ? object_image_bytes(image, program->p_offset, program->p_filesz) : NULL;
		size_t found =
		    bytes ? note_find(bytes, program->p_filesz, program->p_align == 8 ? 8 : 4, name, type, ret) : 0;

		if (found)
			return found;
	}
	return 0;
}
