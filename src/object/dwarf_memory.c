/* SPDX-License-Identifier: MIT */
/* Arenas: many small pieces that live and die together. A piece is zeroed, aligned for any type, and never moves. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "object/dwarf_inside.h"

#define CHUNK (64UL << 10)
#define ALIGNMENT 16UL

struct dwarf_chunk {
	struct dwarf_chunk *next;
	size_t size, used;
	_Alignas(ALIGNMENT) uint8_t bytes[];
};

void *dwarf_alloc(struct dwarf_arena *arena, size_t size)
{
	struct dwarf_chunk *chunk = arena->chunks;

	if (size > SIZE_MAX / 4)
		return NULL;
	size = base_align_up(size ? size : 1, ALIGNMENT);
	if (!chunk || chunk->size - chunk->used < size) {
		size_t room = size > CHUNK ? size : CHUNK;

		chunk = calloc(1, sizeof(*chunk) + room);
		if (!chunk)
			return NULL;
		chunk->size = room;
		chunk->next = arena->chunks;
		arena->chunks = chunk;
	}
	void *piece = chunk->bytes + chunk->used;

	chunk->used += size;
	return piece;
}

char *dwarf_copy(struct dwarf_arena *arena, const char *text, size_t length)
{
	char *copy = dwarf_alloc(arena, length + 1);

	if (copy)
		memcpy(copy, text, length);
	return copy;
}

char *dwarf_print(struct dwarf_arena *arena, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	int length = vsnprintf(NULL, 0, format, ap);

	va_end(ap);
	char *text = length < 0 ? NULL : dwarf_alloc(arena, (size_t)length + 1);

	if (!text)
		return NULL;
	va_start(ap, format);
	vsnprintf(text, (size_t)length + 1, format, ap);
	va_end(ap);
	return text;
}

void dwarf_arena_free(struct dwarf_arena *arena)
{
	for (struct dwarf_chunk *chunk = arena->chunks, *next; chunk; chunk = next) {
		next = chunk->next;
		free(chunk);
	}
	arena->chunks = NULL;
}
