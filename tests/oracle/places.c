/* SPDX-License-Identifier: MIT */
#include "places.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "isa/isa.h"

struct list {
	uint64_t *offsets;
	size_t count, cap;
};

static int add_vaddr(struct list *list, const struct object *object, uint64_t vaddr)
{
	uint64_t offset;
	size_t available;

	if (!object_code(object, vaddr, &available) || object_vaddr_to_offset(object, vaddr, &offset))
		return 0; /* not code in the file */
	if (base_grow(&list->offsets, &list->cap, list->count + 1, sizeof(*list->offsets)))
		return -ENOMEM;
	list->offsets[list->count++] = offset;
	return 0;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void sort_unique(struct list *list)
{
	size_t n = 0;

	qsort(list->offsets, list->count, sizeof(*list->offsets), compare);
	for (size_t i = 0; i < list->count; i++)
		if (!n || list->offsets[n - 1] != list->offsets[i])
			list->offsets[n++] = list->offsets[i];
	list->count = n;
}

static int list_functions(struct object *object, struct list *list, struct utap_error *err)
{
	const struct object_symbol *symbols;
	const struct object_range *ranges;
	size_t nsymbols, nranges;
	int error = object_symbols(object, &symbols, &nsymbols, err);

	if (!error)
		error = object_ranges(object, &ranges, &nranges, err);
	if (error)
		return error;
	for (size_t i = 0; i < nsymbols && !error; i++)
		if (symbols[i].function)
			error = add_vaddr(list, object, symbols[i].vaddr);
	for (size_t i = 0; i < nranges && !error; i++)
		error = add_vaddr(list, object, ranges[i].start);
	if (!error && !list->count)
		error = -ENOENT;
	if (error)
		return base_error_system(err, error, "cannot list the functions of %s", object_path(object));
	sort_unique(list);
	return 0;
}

/* xorshift64: any seed but 0 */
static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Each instruction of code with a frame description, with a chance of 1 in @one_in. */
static int list_instructions(struct object *object, const struct places_choice *choice, struct list *list,
			     struct utap_error *err)
{
	const struct object_range *ranges;
	uint64_t seed = choice->seed;
	size_t nranges;
	int error = object_ranges(object, &ranges, &nranges, err);

	for (size_t i = 0; i < nranges && !error; i++) {
		size_t available;
		const uint8_t *code = object_code(object, ranges[i].start, &available);
		uint64_t size = ranges[i].end - ranges[i].start;

		for (uint64_t at = 0; code && at < size && at < available && !error;) {
			struct isa_insn insn;

			if (isa_decode(code + at, available - at, ranges[i].start + at, &insn))
				break;
			if (next_random(&seed) % choice->one_in == 0 && insn.class != ISA_ENDBR)
				error = add_vaddr(list, object, ranges[i].start + at);
			at += insn.length;
		}
	}
	if (!error && !list->count)
		error = -ENOENT;
	if (error)
		return base_error_system(err, error, "cannot list the instructions of %s", object_path(object));
	sort_unique(list);
	return 0;
}

static int add_file(struct places *places, const char *path, const struct places_choice *choice, unsigned sample,
		    struct utap_error *err)
{
	struct places_file *file = &places->files[places->nfiles];
	struct list list = { 0 };
	int error;

	if (!realpath(path, file->path))
		return base_error_system(err, -errno, "cannot find %s", path);
	error = object_open(file->path, &file->object, err);
	if (error)
		return error;
	error = choice->one_in ? list_instructions(file->object, choice, &list, err) :
				 list_functions(file->object, &list, err);
	file->place = error ? NULL : calloc(list.count, sizeof(*file->place));
	if (!error && !file->place)
		error = base_error_system(err, -ENOMEM, "cannot list the functions of %s", path);
	for (size_t i = 0; !error && i < list.count; i += sample)
		file->place[file->count++] =
		    (struct place) { .file = (uint8_t)places->nfiles, .offset = list.offsets[i] };
	free(list.offsets);
	if (error) {
		object_close(file->object);
		file->object = NULL;
	} else {
		places->nfiles++;
	}
	return error;
}

static int find_start(struct places *places, struct utap_error *err)
{
	_cleanup_free_ const struct object_symbol **found = NULL;
	struct object *loader;
	int error = object_open(places->loader, &loader, err);
	long n;

	if (error)
		return error;
	n = object_find(loader, "_dl_debug_state", true, &found, err);
	if (n < 1 || object_vaddr_to_offset(loader, found[0]->vaddr, &places->start))
		error = base_error(err, -ENOENT, UTAP_ERROR_NOT_FOUND, "%s has no _dl_debug_state", places->loader);
	object_close(loader);
	return error;
}

int places_find(const char *program, const struct places_choice *choice, struct places *ret, struct utap_error *err)
{
	Dl_info libc;
	int error = add_file(ret, program, choice, choice->sample, err);

	if (error || !object_interpreter(ret->files[0].object))
		return error;
	if (!realpath(object_interpreter(ret->files[0].object), ret->loader))
		return base_error_system(err, -errno, "cannot find the interpreter of %s", program);
	error = find_start(ret, err);
	if (!error && !dladdr((void *)(uintptr_t)getenv, &libc))
		error = base_error(err, -ENOENT, UTAP_ERROR_NOT_FOUND, "cannot find libc");
	return error ? error : add_file(ret, libc.dli_fname, choice, 1, err);
}

void places_free(struct places *places)
{
	for (size_t i = 0; i < places->nfiles; i++) {
		free(places->files[i].place);
		object_close(places->files[i].object);
	}
	free(places->reserved);
}

struct place *places_at(struct places *places, const char *path, uint64_t offset)
{
	for (size_t i = 0; i < places->nfiles; i++) {
		struct places_file *file = &places->files[i];
		size_t low = 0, high = file->count;

		if (strcmp(file->path, path))
			continue;
		while (low < high) {
			size_t middle = low + (high - low) / 2;

			if (file->place[middle].offset == offset)
				return &file->place[middle];
			if (file->place[middle].offset < offset)
				low = middle + 1;
			else
				high = middle;
		}
	}
	return NULL;
}

void places_function(const struct places *places, const struct place *place, char *text, size_t size)
{
	struct object *object = places->files[place->file].object;
	const struct object_symbol *symbol = NULL;
	uint64_t vaddr;

	if (!object_offset_to_vaddr(object, place->offset, &vaddr))
		symbol = object_symbol_at(object, vaddr);
	snprintf(text, size, "%s", symbol && symbol->vaddr == vaddr ? symbol->name : "");
}

void places_name(const struct places *places, const struct place *place, char *text, size_t size)
{
	const struct places_file *file = &places->files[place->file];
	const struct object_symbol *symbol = NULL;
	const char *base = strrchr(file->path, '/') + 1;
	uint64_t vaddr = 0;

	if (!object_offset_to_vaddr(file->object, place->offset, &vaddr))
		symbol = object_symbol_at(file->object, vaddr);
	if (symbol)
		snprintf(text, size, "%s:%s+0x%lx (0x%lx)", base, symbol->name, (unsigned long)(vaddr - symbol->vaddr),
			 (unsigned long)place->offset);
	else
		snprintf(text, size, "%s:0x%lx", base, (unsigned long)place->offset);
}

size_t places_code(const struct places *places, const struct place *place, uint8_t *to, size_t size)
{
	const struct object *object = places->files[place->file].object;
	size_t available;
	const uint8_t *code;
	uint64_t vaddr;

	if (object_offset_to_vaddr(object, place->offset, &vaddr))
		return 0;
	code = object_code(object, vaddr, &available);
	if (!code)
		return 0;
	if (available > size)
		available = size;
	memcpy(to, code, available);
	return available;
}
