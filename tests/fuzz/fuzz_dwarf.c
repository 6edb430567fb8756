/* SPDX-License-Identifier: MIT */
/*
 * Arbitrary bytes as an ELF file with debug information, through everything that reads it: places by function, line and address, all variables
 * there, lines. Beyond not crashing: what is handed out is complete, each argument is a fetch argument or a sentence.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "object/dwarf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX (1UL << 18)

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void use_places(struct object_dwarf_places *places)
{
	must(places->count > 0);
	for (size_t i = 0; i < places->count; i++) {
		const struct object_dwarf_place *place = &places->places[i];

		must(place->function && place->source && (!i || places->places[i - 1].vaddr < place->vaddr));
		for (size_t k = 0; k < place->nargs; k++) {
			const struct object_dwarf_arg *arg = &place->args[k];

			must(arg->name && (arg->fetch != NULL) != (arg->why != NULL));
			must(!arg->fetch || (*arg->fetch && strlen(arg->fetch) < 100000));
			must(!arg->why || *arg->why);
			must(!arg->type || strlen(arg->type) < 10000000);
		}
	}
	object_dwarf_places_free(places);
}

static void use_place(struct object_dwarf *dwarf, const char *text)
{
	static const char *const args[] = { "$vars", "conn->addr.port[1]", "*conn", "n=size:u", "%di" };
	struct object_dwarf_places *places;
	struct utap_error err = { 0 };

	if (object_dwarf_find(dwarf, text, args, sizeof(args) / sizeof(args[0]), &places, &err) == 0)
		use_places(places);
	else
		must(err.text[0]);
	if (object_dwarf_variables(dwarf, text, true, false, &places, &err) == 0)
		use_places(places);
}

static void use_lines(struct object_dwarf *dwarf, const char *text)
{
	struct object_dwarf_lines *lines;
	struct utap_error err = { 0 };

	if (object_dwarf_lines(dwarf, text, &lines, &err) == 0) {
		must(lines->source && lines->first && lines->first <= lines->last);
		for (unsigned i = 0; i <= lines->last - lines->first; i++)
			must(lines->has_code[i] == false || lines->has_code[i] == true);
		object_dwarf_lines_free(lines);
	} else {
		must(err.text[0]);
	}
}

static void use_code(struct object *object, struct object_dwarf *dwarf)
{
	const struct object_segment *segments;
	size_t count = object_segments(object, &segments);
	const char *source;
	unsigned line;
	char text[32];

	for (size_t i = 0; i < count; i++)
		for (uint64_t at = 0; segments[i].execute && at < segments[i].file_size && at < 4096; at += 97) {
			if (object_dwarf_line_at(dwarf, segments[i].vaddr + at, &source, &line) == 0)
				must(source && line);
			if (at % 3)
				continue;
			snprintf(text, sizeof(text), "0x%llx", (unsigned long long)(segments[i].vaddr + at));
			use_place(dwarf, text);
		}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct utap_error err = { 0 };
	struct object_dwarf *dwarf;
	struct object *object;
	char path[64];

	if (size > INPUT_MAX)
		return 0;
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	must(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (object_open(path, &object, &err) == 0) {
		if (object_dwarf_open(object, &dwarf, &err) == 0) {
			static const char *const places[] = { "handle", "twice", "main:3", "small.c:12", "handle;total*", "ns::f", "handle%return" };

			must(object_dwarf_path(dwarf) != NULL);
			for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
				use_place(dwarf, places[i]);
			use_lines(dwarf, "handle");
			use_lines(dwarf, "small.c:1-40");
			use_code(object, dwarf);
			object_dwarf_close(dwarf);
		} else {
			must(err.code < 0 && err.text[0]);
		}
		object_close(object);
	}
	close(fd);
	return 0;
}
