/* SPDX-License-Identifier: MIT */
/*
 * What the dynamic linker sees: symbols, relocations, RELR. Taken from PT_DYNAMIC, so that files without section
 * headers work; a static executable has none, and its few relocations (IRELATIVE) are found through the sections.
 *
 * The size of the symbol table is written nowhere: DT_HASH counts it; DT_GNU_HASH leads to its last hashed symbol,
 * and all defined symbols that can be looked up are hashed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "object/internal.h"

#define TAGS_KEPT 64 /* the generic tags, DT_RELR among them */

struct tags {
	uint64_t values[TAGS_KEPT]; /* 0: absent */
	uint64_t gnu_hash;
};

static uint32_t load32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static uint64_t load64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static bool tags_read(struct object *object, struct tags *tags)
{
	const Elf64_Phdr *program = NULL;

	for (size_t i = 0; i < object->image.program_count && !program; i++)
		if (object->image.programs[i].p_type == PT_DYNAMIC)
			program = &object->image.programs[i];
	const uint8_t *bytes =
	    program ? object_image_bytes(&object->image, program->p_offset, program->p_filesz) : NULL;

	if (!bytes)
		return false;
	for (size_t at = 0; program->p_filesz - at >= sizeof(Elf64_Dyn); at += sizeof(Elf64_Dyn)) {
		uint64_t tag = load64(bytes + at);
		uint64_t value = load64(bytes + at + 8);

		if (tag == DT_NULL)
			break;
		if (tag < TAGS_KEPT)
			tags->values[tag] = value;
		else if (tag == DT_GNU_HASH)
			tags->gnu_hash = value;
	}
	return true;
}

/* DT_HASH: nbucket, nchain, ..; one chain word a symbol. */
static size_t count_by_hash(const struct object *object, uint64_t vaddr)
{
	size_t available;
	const uint8_t *table = object_data(object, vaddr, &available);

	return table && available >= 8 ? load32(table + 4) : 0;
}

/* DT_GNU_HASH: the largest bucket starts the last chain, whose last word has bit 0 set. */
static size_t count_by_gnu_hash(const struct object *object, uint64_t vaddr)
{
	size_t available;
	const uint8_t *table = object_data(object, vaddr, &available);

	if (!table || available < 16)
		return 0;
	uint64_t buckets = load32(table);
	uint64_t first = load32(table + 4);
	uint64_t chains = 16 + load32(table + 8) * 8ULL + buckets * 4;
	uint64_t last = 0;

	if (chains > available)
		return 0;
	for (uint64_t at = chains - buckets * 4; at < chains; at += 4)
		if (load32(table + at) > last)
			last = load32(table + at);
	if (last < first)
		return first;
	for (uint64_t at = chains + (last - first) * 4; at < available && available - at >= 4; at += 4, last++)
		if (load32(table + at) & 1)
			return last + 1;
	return 0;
}

static int symbols_locate(const struct object *object, const struct tags *tags, struct object_dynamic *dynamic,
			  struct utap_error *err)
{
	size_t symbols_available;
	size_t text_available;

	if (!tags->values[DT_SYMTAB] || !tags->values[DT_STRTAB])
		return 0;
	const uint8_t *records = object_data(object, tags->values[DT_SYMTAB], &symbols_available);
	const uint8_t *text = object_data(object, tags->values[DT_STRTAB], &text_available);

	if (!records || !text || tags->values[DT_STRSZ] > text_available)
		return object_damaged(object, err, "its dynamic symbols lie outside of the file");
	dynamic->symbols_readable = symbols_available / sizeof(Elf64_Sym);
	dynamic->symbols.records = records;
	dynamic->symbols.strings = object_strings_init(text, tags->values[DT_STRSZ]);
	if (tags->gnu_hash)
		dynamic->symbols.count = count_by_gnu_hash(object, tags->gnu_hash);
	if (!dynamic->symbols.count && tags->values[DT_HASH])
		dynamic->symbols.count = count_by_hash(object, tags->values[DT_HASH]);
	if (dynamic->symbols.count > dynamic->symbols_readable)
		return object_damaged(object, err, "its hash table counts %zu dynamic symbols, there is room for %zu",
				      dynamic->symbols.count, dynamic->symbols_readable);
	return 0;
}

static int relocations_add(const struct object *object, struct object_dynamic *dynamic, uint64_t vaddr, uint64_t size,
			   struct utap_error *err)
{
	size_t available;
	const uint8_t *records = size ? object_data(object, vaddr, &available) : NULL;

	if (!size)
		return 0;
	if (!records || size > available)
		return object_damaged(object, err, "relocations at 0x%llx lie outside of the file",
				      (unsigned long long)vaddr);
	dynamic->relocations[dynamic->relocation_count++] = (struct object_relocations) {
		.records = records,
		.count = size / sizeof(Elf64_Rela),
	};
	return 0;
}

static int relocations_locate(const struct object *object, const struct tags *tags, struct object_dynamic *dynamic,
			      struct utap_error *err)
{
	dynamic->relocations = calloc(2, sizeof(*dynamic->relocations));
	if (!dynamic->relocations)
		return object_no_memory(object, err);
	int r = relocations_add(object, dynamic, tags->values[DT_RELA], tags->values[DT_RELASZ], err);

	if (!r)
		r = relocations_add(object, dynamic, tags->values[DT_JMPREL], tags->values[DT_PLTRELSZ], err);
	if (r || !tags->values[DT_RELRSZ])
		return r;
	size_t available;
	const uint8_t *words = object_data(object, tags->values[DT_RELR], &available);

	if (!words || tags->values[DT_RELRSZ] > available)
		return object_damaged(object, err, "RELR relocations lie outside of the file");
	dynamic->relr = words;
	dynamic->relr_count = tags->values[DT_RELRSZ] / 8;
	return 0;
}

static int relocations_by_section(struct object *object, struct object_dynamic *dynamic, struct utap_error *err)
{
	size_t sections = object->image.section_count;

	dynamic->relocations = calloc(sections ? sections : 1, sizeof(*dynamic->relocations));
	if (!dynamic->relocations)
		return object_no_memory(object, err);
	for (size_t i = 1; i < sections; i++) {
		const Elf64_Shdr *section = &object->image.sections[i];

		if (section->sh_type != SHT_RELA || !(section->sh_flags & SHF_ALLOC))
			continue;
		int r = relocations_add(object, dynamic, section->sh_addr, section->sh_size, err);

		if (r)
			return r;
	}
	return 0;
}

static int dynamic_read(struct object *object, struct object_dynamic *dynamic, struct utap_error *err)
{
	struct tags tags = { 0 };

	dynamic->present = tags_read(object, &tags);
	if (!dynamic->present)
		return relocations_by_section(object, dynamic, err);
	dynamic->init = tags.values[DT_INIT];
	dynamic->fini = tags.values[DT_FINI];
	int r = symbols_locate(object, &tags, dynamic, err);

	return r ? r : relocations_locate(object, &tags, dynamic, err);
}

int object_dynamic(struct object *object, const struct object_dynamic **ret, struct utap_error *err)
{
	if (!object->has_dynamic) {
		struct object_dynamic dynamic = { 0 };
		int r = dynamic_read(object, &dynamic, err);

		if (r) {
			object_dynamic_free(&dynamic);
			return r;
		}
		object->dynamic = dynamic;
		object->has_dynamic = true;
	}
	*ret = &object->dynamic;
	return 0;
}

Elf64_Rela object_dynamic_relocation(const struct object_relocations *table, size_t index)
{
	Elf64_Rela relocation;

	memcpy(&relocation, table->records + index * sizeof(relocation), sizeof(relocation));
	return relocation;
}

/* An even word is a place; an odd one is a map of the 63 places after the last: the psABI proposal "RELR". */
int object_dynamic_relr(const struct object_dynamic *dynamic, object_relr_fn *fn, void *arg)
{
	uint64_t next = 0;

	for (size_t i = 0; i < dynamic->relr_count; i++) {
		uint64_t word = load64(dynamic->relr + i * 8);

		if (!(word & 1)) {
			int r = fn(arg, word);

			if (r)
				return r;
			next = word + 8;
			continue;
		}
		for (uint64_t bits = word >> 1, place = next; bits; bits >>= 1, place += 8) {
			int r = bits & 1 ? fn(arg, place) : 0;

			if (r)
				return r;
		}
		next += 63 * 8;
	}
	return 0;
}

void object_dynamic_free(struct object_dynamic *dynamic)
{
	free(dynamic->relocations);
	*dynamic = (struct object_dynamic) { 0 };
}
