/* SPDX-License-Identifier: MIT */
/*
 * Places in code that something other than code points to. Too many are harmless (a patch is refused that could have
 * been made), one too few is not: so in files linked to a fixed address, where the linker left no relocations, every
 * word of the data that could be a pointer counts as one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "object/internal.h"

/* Tables of different functions may share bytes; a damaged file must not make us read one table 100,000 times. */
#define LANDING_BUDGET_FACTOR 4

struct pointer_set {
	struct object *object;
	uint64_t low, high; /* of all code: rejects most words quickly */
	struct object_sort_item *items;
	size_t count, cap;
};

static int pointer_add(void *arg, uint64_t vaddr)
{
	struct pointer_set *set = arg;

	if (vaddr < set->low || vaddr >= set->high || !object_is_code(set->object, vaddr))
		return 0;
	if (base_grow(&set->items, &set->cap, set->count + 1, sizeof(*set->items)))
		return -ENOMEM;
	set->items[set->count++].key = vaddr;
	return 0;
}

static uint64_t word_at(const struct object *object, uint64_t vaddr)
{
	size_t available;
	const uint8_t *bytes = object_data(object, vaddr, &available);
	uint64_t word = 0;

	if (bytes && available >= sizeof(word))
		memcpy(&word, bytes, sizeof(word));
	return word;
}

/* What the dynamic linker will store; 0 when that is not an address of this file. */
static uint64_t relocation_value(const struct object_dynamic *dynamic, const Elf64_Rela *relocation)
{
	uint64_t addend = (uint64_t)relocation->r_addend;
	size_t index = ELF64_R_SYM(relocation->r_info);

	switch (ELF64_R_TYPE(relocation->r_info)) {
	case R_X86_64_RELATIVE:
	case R_X86_64_RELATIVE64:
	case R_X86_64_IRELATIVE:
		return addend;
	case R_X86_64_GLOB_DAT:
	case R_X86_64_JUMP_SLOT:
		addend = 0;
		break;
	case R_X86_64_64:
		break;
	default:
		return 0;
	}
	if (index >= dynamic->symbols_readable)
		return 0;
	Elf64_Sym symbol = object_table_symbol(&dynamic->symbols, index);

	return symbol.st_shndx == SHN_UNDEF ? 0 : symbol.st_value + addend;
}

static int add_in_place(void *arg, uint64_t vaddr)
{
	struct pointer_set *set = arg;

	return pointer_add(set, word_at(set->object, vaddr));
}

static int add_relocations(struct pointer_set *set, const struct object_dynamic *dynamic)
{
	int r = object_dynamic_relr(dynamic, add_in_place, set);

	for (size_t t = 0; !r && t < dynamic->relocation_count; t++) {
		const struct object_relocations *table = &dynamic->relocations[t];

		for (size_t i = 0; !r && i < table->count; i++) {
			Elf64_Rela relocation = object_dynamic_relocation(table, i);

			r = pointer_add(set, relocation_value(dynamic, &relocation));
		}
	}
	if (!r)
		r = pointer_add(set, dynamic->init);
	if (!r)
		r = pointer_add(set, dynamic->fini);
	return r ? r : pointer_add(set, object_entry(set->object));
}

static int add_symbols(struct pointer_set *set, struct utap_error *err)
{
	const struct object_symbol *symbols;
	size_t count;
	int r = object_symbols(set->object, &symbols, &count, err);

	for (size_t i = 0; !r && i < count; i++)
		if (symbols[i].function)
			r = pointer_add(set, symbols[i].vaddr);
	return r;
}

static int add_landing_pads(struct pointer_set *set, struct utap_error *err)
{
	uint64_t budget = LANDING_BUDGET_FACTOR * (uint64_t)set->object->image.size;
	const struct object_frame *frames;
	size_t count;
	int r = object_frames(set->object, &frames, &count, err);

	for (size_t i = 0; !r && i < count; i++) {
		r = object_landing_pads(set->object, &frames[i], &budget, pointer_add, set);
		if (r == -EINVAL)
			return object_damaged(set->object, err, "its exception tables overlap");
	}
	return r;
}

static int add_go_functions(struct pointer_set *set)
{
	struct object_go_table table;
	struct object_go_function function;
	int r = 0;

	if (!object_go_table(set->object, &table))
		return 0;
	for (size_t i = 0; !r && i < table.count; i++) {
		if (!object_go_function(set->object, &table, i, &function))
			continue;
		r = pointer_add(set, function.start);
		if (!r && function.landing)
			r = pointer_add(set, function.landing);
	}
	return r;
}

static int add_words(struct pointer_set *set, uint64_t vaddr, uint64_t size)
{
	uint64_t from = base_align_up(vaddr, 8);
	size_t available;
	const uint8_t *bytes = from >= vaddr ? object_data(set->object, from, &available) : NULL;

	if (!bytes || from - vaddr >= size)
		return 0;
	size -= from - vaddr;
	size = size < available ? size : available;
	for (uint64_t at = 0; size - at >= 8; at += 8) {
		uint64_t word;

		memcpy(&word, bytes + at, sizeof(word));
		int r = pointer_add(set, word);

		if (r)
			return r;
	}
	return 0;
}

/* Old linkers put read-only data into the segment of the code: sections tell them apart, without those all is data. */
static int add_data(struct pointer_set *set)
{
	struct object *object = set->object;
	int r = 0;

	if (object_is_pie(object))
		return 0;
	for (size_t i = 1; !r && i < object->image.section_count; i++) {
		const Elf64_Shdr *section = &object->image.sections[i];

		if ((section->sh_flags & (SHF_ALLOC | SHF_EXECINSTR)) == SHF_ALLOC && section->sh_type != SHT_NOBITS)
			r = add_words(set, section->sh_addr, section->sh_size);
	}
	for (size_t i = 0; !r && i < object->segment_count; i++) {
		const struct object_segment *segment = &object->segments[i];

		if (!object->image.section_count || !segment->execute)
			r = add_words(set, segment->vaddr, segment->file_size);
	}
	return r;
}

static int pointers_sort(struct pointer_set *set, uint64_t **ret, size_t *count)
{
	uint64_t *pointers = malloc((set->count + 1) * sizeof(*pointers));
	size_t kept = 0;

	if (!pointers || object_sort(set->items, set->count)) {
		free(pointers);
		return -ENOMEM;
	}
	for (size_t i = 0; i < set->count; i++)
		if (!kept || pointers[kept - 1] != set->items[i].key)
			pointers[kept++] = set->items[i].key;
	*ret = pointers;
	*count = kept;
	return 0;
}

static void code_bounds(struct pointer_set *set)
{
	set->low = UINT64_MAX;
	for (size_t i = 0; i < set->object->segment_count; i++) {
		const struct object_segment *segment = &set->object->segments[i];
		uint64_t end = segment->vaddr + segment->file_size;

		if (!segment->execute)
			continue;
		set->low = segment->vaddr < set->low ? segment->vaddr : set->low;
		set->high = end > set->high ? end : set->high;
	}
}

static int pointers_read(struct object *object, struct utap_error *err)
{
	struct pointer_set set = { .object = object };
	const struct object_dynamic *dynamic;
	int r = object_dynamic(object, &dynamic, err);

	if (r)
		return r;
	code_bounds(&set);
	r = add_symbols(&set, err);
	if (!r)
		r = add_landing_pads(&set, err);
	if (!r)
		r = add_go_functions(&set);
	if (!r)
		r = add_relocations(&set, dynamic);
	if (!r)
		r = add_data(&set);
	if (!r)
		r = pointers_sort(&set, &object->pointers, &object->pointer_count);
	free(set.items);
	object->has_pointers = r == 0;
	return r == -ENOMEM ? object_no_memory(object, err) : r;
}

int object_pointers(struct object *object, const uint64_t **ret, size_t *count, struct utap_error *err)
{
	int r = object->has_pointers ? 0 : pointers_read(object, err);

	if (r)
		return r;
	*ret = object->pointers;
	*count = object->pointer_count;
	return 0;
}
