/* SPDX-License-Identifier: MIT */
/*
 * Arbitrary bytes as an ELF file, through every function of the room. Beyond not crashing: what is handed out is
 * sorted, and every byte promised can be read.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "object/object.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX (1UL << 20)

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void touch(const uint8_t *bytes, size_t size)
{
	unsigned sum = 0;

	for (size_t i = 0; i < size; i++)
		sum += bytes[i];
	__asm__ volatile("" : : "r"(sum));
}

static void use_segments(const struct object *object)
{
	const struct object_segment *segments;
	size_t count = object_segments(object, &segments);

	for (size_t i = 0; i < count; i++) {
		const uint8_t *bytes;
		size_t available;
		uint64_t offset;
		uint64_t vaddr;

		if (!segments[i].file_size)
			continue;
		bytes = object_data(object, segments[i].vaddr, &available);
		must(bytes && available == segments[i].file_size);
		touch(bytes, available);
		must((object_code(object, segments[i].vaddr, &available) != NULL) == segments[i].execute);
		bytes = object_page(object, segments[i].vaddr + segments[i].file_size, &available);
		if (bytes)
			touch(bytes, available);
		bytes = object_page(object, segments[i].vaddr, &available);
		if (bytes)
			touch(bytes, available);
		must(object_vaddr_to_offset(object, segments[i].vaddr, &offset) == 0 && offset == segments[i].offset);
		must(object_offset_to_vaddr(object, offset, &vaddr) == 0);
	}
}

static void use_find(struct object *object, const char *pattern)
{
	const struct object_symbol **found;
	long count = object_find(object, pattern, false, &found, NULL);

	for (long i = 1; i < count; i++)
		must(found[i - 1]->vaddr < found[i]->vaddr);
	if (count >= 0)
		free(found);
}

static void use_symbols(struct object *object)
{
	const struct object_symbol *symbols;
	const char *suggested[4];
	size_t count;

	if (object_symbols(object, &symbols, &count, NULL))
		return;
	for (size_t i = 0; i < count; i++) {
		must(symbols[i].name[0] && (!i || symbols[i - 1].vaddr <= symbols[i].vaddr));
		must(!symbols[i].function || object_symbol_at(object, symbols[i].vaddr));
	}
	for (size_t i = 0; i < count && i < 8; i++) {
		char *text = object_demangle(symbols[i].name);

		must(text);
		free(text);
		use_find(object, symbols[i].name);
		must(object_suggest(object, symbols[i].name, suggested, 4) <= 4);
	}
	use_find(object, "*");
	use_find(object, "a::*");
	use_find(object, "f(int)");
}

static void use_ranges(struct object *object)
{
	const struct object_range *ranges;
	size_t count;

	if (object_ranges(object, &ranges, &count, NULL) == 0)
		for (size_t i = 0; i < count; i++) {
			must(ranges[i].start < ranges[i].end && (!i || ranges[i - 1].start <= ranges[i].start));
			must(object_range_at(object, ranges[i].start) != NULL);
		}
	if (object_rseq_ranges(object, &ranges, &count, NULL) == 0)
		for (size_t i = 0; i < count; i++)
			must(ranges[i].start < ranges[i].end);
}

static void use_pointers(struct object *object)
{
	const struct object_slot *slots;
	const uint64_t *pointers;
	size_t available;
	size_t count;

	if (object_pointers(object, &pointers, &count, NULL) == 0)
		for (size_t i = 0; i < count; i++)
			must(object_code(object, pointers[i], &available) && (!i || pointers[i - 1] < pointers[i]));
	if (object_slots(object, &slots, &count, NULL) == 0)
		for (size_t i = 0; i < count; i++)
			must(strlen(slots[i].name) < INPUT_MAX);
}

static void use_demangle(const uint8_t *data, size_t size, const char *prefix)
{
	char name[512];

	snprintf(name, sizeof(name), "%s%.*s", prefix, (int)(size < 480 ? size : 480), (const char *)data);
	char *text = object_demangle(name);

	must(text);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct utap_error err = { 0 };
	struct object *object;
	const uint8_t *id;
	uint64_t offset;
	char path[64];

	if (size > INPUT_MAX)
		return 0;
	use_demangle(data, size, "_Z");
	use_demangle(data, size, "_R");
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	must(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (object_open(path, &object, &err)) {
		must(err.code < 0 && err.text[0]);
		close(fd);
		return 0;
	}
	use_segments(object);
	size_t id_size = object_build_id(object, &id);

	if (id_size)
		touch(id, id_size);
	if (object_interpreter(object))
		must(strlen(object_interpreter(object)) < size);
	object_is_go(object);
	if (object_go_goid_offset(object, &offset) == 0)
		must(object_is_go(object) && offset % 8 == 0);
	must(object_path(object) != path && strcmp(object_path(object), path) == 0);
	use_ranges(object);
	use_symbols(object);
	use_pointers(object);
	object_close(object);
	close(fd);
	return 0;
}
