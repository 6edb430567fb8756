/* SPDX-License-Identifier: MIT */
/*
 * What Go's linker leaves in every program, stripped or not: the table of functions by which its runtime unwinds
 * (debug/gosym describes it, runtime/symtab.go reads it), and which Go built it (debug/buildinfo).
 *
 * The table has a header, of which four shapes exist, and in the header's order: an array of places, each with the
 * offset of a record of the function, whose name is at an offset again. Nothing is used before it was found to lie
 * inside of the file.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "object/internal.h"

enum {
	MAGIC_2 = 0xfffffffb,  /* Go 1.2 */
	MAGIC_16 = 0xfffffffa, /* Go 1.16 */
	MAGIC_18 = 0xfffffff0, /* Go 1.18 */
	MAGIC_20 = 0xfffffff1, /* Go 1.20, as 1.18 */
};

#define HEADER_SIZE 72 /* of the longest */

static uint64_t number_at(const uint8_t *bytes, size_t size)
{
	uint64_t number = 0;

	memcpy(&number, bytes, size);
	return number;
}

/* What the dynamic linker stores at @vaddr, where it does; what the file has there otherwise. */
static uint64_t relocated_word(struct object *object, uint64_t vaddr, const uint8_t *bytes)
{
	const struct object_dynamic *dynamic;

	if (object_dynamic(object, &dynamic, NULL))
		return number_at(bytes, 8);
	for (size_t t = 0; t < dynamic->relocation_count; t++)
		for (size_t i = 0; i < dynamic->relocations[t].count; i++) {
			Elf64_Rela relocation = object_dynamic_relocation(&dynamic->relocations[t], i);

			if (relocation.r_offset == vaddr && ELF64_R_TYPE(relocation.r_info) == R_X86_64_RELATIVE)
				return (uint64_t)relocation.r_addend;
		}
	return number_at(bytes, 8);
}

/* The array of places must fit, with the one place that ends the last function. */
static bool table_fits(const struct object_go_table *table)
{
	return table->functions_at < table->size && table->names_at < table->size && table->depths_at < table->size &&
	       table->count < (table->size - table->functions_at) / table->entry_size;
}

static bool table_read(struct object *object, const uint8_t *bytes, size_t size, uint64_t vaddr,
		       struct object_go_table *ret)
{
	struct object_go_table table = { .bytes = bytes, .size = size };

	if (size < HEADER_SIZE || number_at(bytes + 4, 2) || bytes[6] != 1 || bytes[7] != 8)
		return false;
	table.count = number_at(bytes + 8, 8);
	switch ((uint32_t)number_at(bytes, 4)) {
	case MAGIC_2:
		table.functions_at = 16;
		break;
	case MAGIC_16:
		table.names_at = number_at(bytes + 24, 8);
		table.depths_at = number_at(bytes + 48, 8);
		table.functions_at = table.records_at = number_at(bytes + 56, 8);
		break;
	case MAGIC_18:
	case MAGIC_20:
		table.text = relocated_word(object, vaddr + 24, bytes + 24);
		table.names_at = number_at(bytes + 32, 8);
		table.depths_at = number_at(bytes + 56, 8);
		table.functions_at = table.records_at = number_at(bytes + 64, 8);
		table.is_short = true;
		break;
	default:
		return false;
	}
	table.entry_size = table.is_short ? 8 : 16;
	if (!table_fits(&table))
		return false;
	*ret = table;
	return true;
}

/* Where the system's linker made one section of several, the header is found by its first eight bytes. */
static bool table_search(struct object *object, struct object_go_table *ret)
{
	for (size_t i = 0; i < object->segment_count; i++) {
		const struct object_segment *segment = &object->segments[i];
		size_t available;
		const uint8_t *bytes = object_data(object, segment->vaddr, &available);
		size_t start = (8 - segment->vaddr % 8) % 8;

		if (!bytes || segment->execute)
			continue;
		for (size_t at = start; at < available && available - at >= HEADER_SIZE; at += 8)
			if (bytes[at + 7] == 8 && bytes[at + 6] == 1 && bytes[at + 3] == 0xff &&
			    table_read(object, bytes + at, available - at, segment->vaddr + at, ret) &&
			    object_go_function(object, ret, 0, &(struct object_go_function) { 0 }))
				return true;
	}
	return false;
}

bool object_go_table(struct object *object, struct object_go_table *ret)
{
	static const char *const names[] = { ".gopclntab", ".data.rel.ro.gopclntab" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const Elf64_Shdr *section = object_image_section(&object->image, names[i]);
		const uint8_t *bytes = section ? object_image_section_bytes(&object->image, section) : NULL;

		if (bytes && table_read(object, bytes, section->sh_size, section->sh_addr, ret))
			return true;
	}
	return object_is_go(object) && table_search(object, ret);
}

static uint64_t place_at(const struct object_go_table *table, size_t index)
{
	const uint8_t *entry = table->bytes + table->functions_at + index * table->entry_size;

	return table->is_short ? table->text + number_at(entry, 4) : number_at(entry, 8);
}

/* The record of a function, at least @size bytes, or NULL. It begins with the place, as wide as in the array. */
static const uint8_t *record_of(const struct object_go_table *table, size_t index, size_t size)
{
	unsigned half = (unsigned)table->entry_size / 2;
	uint64_t offset = number_at(table->bytes + table->functions_at + index * table->entry_size + half, half);

	/* records_at is below size */
	if (offset > table->size - table->records_at || table->size - table->records_at - offset < half + size)
		return NULL;
	return table->bytes + table->records_at + offset + half;
}

static const char *name_at(const struct object_go_table *table, uint64_t name)
{
	if (name >= table->size - table->names_at)
		return NULL;
	const char *text = (const char *)table->bytes + table->names_at + name;

	return memchr(text, '\0', table->size - table->names_at - name) ? text : NULL;
}

bool object_go_function(const struct object *object, const struct object_go_table *table, size_t index,
			struct object_go_function *ret)
{
	uint64_t start = place_at(table, index);
	uint64_t end = place_at(table, index + 1);
	struct object_go_function function = { .start = start, .end = end };
	size_t available;

	if (!object_code(object, start, &available) || end <= start || end - start > available)
		return false;
	/* Offset of the name, bytes of arguments, offset of the call where a function goes on that recovered, offset of its depths. */
	const uint8_t *record = record_of(table, index, 12);

	if (record) {
		uint64_t depths = record_of(table, index, 16) ? number_at(record + 12, 4) : 0;

		if (depths && depths < table->size - table->depths_at) {
			function.depths = table->bytes + table->depths_at + depths;
			function.depths_end = table->bytes + table->size;
		}
		function.name = name_at(table, number_at(record, 4));
		function.landing = start + number_at(record + 8, 4);
	}
	if (function.landing <= start || function.landing >= end)
		function.landing = 0;
	*ret = function;
	return true;
}

/* ---- versions ---- */

#define BUILDINFO "\xff Go buildinf:"
#define BUILDINFO_SIZE 32
#define BUILDINFO_INLINE 2 /* flag: the strings follow */

/* The version's text in one piece of data that begins with the magic. */
static size_t version_read(struct object *object, const uint8_t *bytes, size_t size, const char **ret)
{
	const uint8_t *text = bytes + BUILDINFO_SIZE + 1;
	size_t length;

	if (size <= BUILDINFO_SIZE || memcmp(bytes, BUILDINFO, sizeof(BUILDINFO) - 1) != 0 || bytes[14] != 8)
		return 0;
	length = bytes[BUILDINFO_SIZE]; /* one byte of a number that is never larger here */
	if (!(bytes[15] & BUILDINFO_INLINE)) {
		/* The address of a string: address and length */
		const uint8_t *string = object_data(object, number_at(bytes + 16, 8), &size);

		if (!string || size < 16)
			return 0;
		length = number_at(string + 8, 8);
		text = object_data(object, number_at(string, 8), &size);
		if (!text || length > size || length > 127)
			return 0;
	} else if (length > 127 || length > size - BUILDINFO_SIZE - 1) {
		return 0;
	}
	*ret = (const char *)text;
	return length;
}

/* The minor version of "go1.N..": 0 when it is another text. */
static unsigned minor_of(const char *text, size_t length)
{
	unsigned minor = 0;

	if (length < 5 || memcmp(text, "go1.", 4) != 0)
		return 0;
	for (size_t i = 4; i < length && text[i] >= '0' && text[i] <= '9' && minor < 1000; i++)
		minor = minor * 10 + (unsigned)(text[i] - '0');
	return minor;
}

unsigned object_go_minor(struct object *object)
{
	const Elf64_Shdr *section = object_image_section(&object->image, ".go.buildinfo");
	const uint8_t *bytes = section ? object_image_section_bytes(&object->image, section) : NULL;
	const char *text;
	size_t length = bytes ? version_read(object, bytes, section->sh_size, &text) : 0;

	return length ? minor_of(text, length) : 0;
}

int object_go_goid_offset(struct object *object, uint64_t *ret)
{
	/* By runtime/runtime2.go: 1.23 added g.syscallbp, 1.25 took gobuf.ret away, both before goid. */
	static const struct {
		unsigned from, to;
		uint64_t offset;
	} offsets[] = { { 9, 22, 152 }, { 23, 24, 160 }, { 25, 26, 152 } };
	unsigned minor = object_is_go(object) ? object_go_minor(object) : 0;

	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		if (minor < offsets[i].from || minor > offsets[i].to)
			continue;
		*ret = offsets[i].offset;
		return 0;
	}
	return -ENOENT;
}
