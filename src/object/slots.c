/* SPDX-License-Identifier: MIT */
/*
 * The 8-byte words that the dynamic linker fills with addresses of functions, in the order of the relocations. Reading
 * them in a live process tells what an ifunc was resolved to.
 */
#include <errno.h>
#include <stdlib.h>

#include "object/internal.h"

static bool in_memory(const struct object *object, uint64_t vaddr)
{
	const struct object_segment *segment = object_segment_at(object, vaddr);

	return segment && segment->memory_size - (vaddr - segment->vaddr) >= 8;
}

/* Undefined symbols often have no type; variables always have one. */
static bool slot_read(const struct object_dynamic *dynamic, const Elf64_Rela *relocation, struct object_slot *ret)
{
	size_t index = ELF64_R_SYM(relocation->r_info);
	unsigned kind = ELF64_R_TYPE(relocation->r_info);

	if (kind == R_X86_64_IRELATIVE) {
		*ret = (struct object_slot) {
			.name = "",
			.vaddr = relocation->r_offset,
			.resolver = (uint64_t)relocation->r_addend,
		};
		return true;
	}
	if (kind != R_X86_64_JUMP_SLOT && kind != R_X86_64_GLOB_DAT &&
	    !(kind == R_X86_64_64 && relocation->r_addend == 0))
		return false;
	if (index == 0 || index >= dynamic->symbols_readable)
		return false;
	Elf64_Sym symbol = object_table_symbol(&dynamic->symbols, index);
	const char *name = object_strings_at(&dynamic->symbols.strings, symbol.st_name);
	unsigned type = ELF64_ST_TYPE(symbol.st_info);

	if (!name || !*name || (type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_NOTYPE))
		return false;
	*ret = (struct object_slot) { .name = name, .vaddr = relocation->r_offset };
	return true;
}

static int slots_read(struct object *object, struct utap_error *err)
{
	_cleanup_free_ struct object_slot *slots = NULL;
	const struct object_dynamic *dynamic;
	size_t count = 0;
	size_t cap = 0;
	int r = object_dynamic(object, &dynamic, err);

	if (r)
		return r;
	for (size_t t = 0; t < dynamic->relocation_count; t++) {
		for (size_t i = 0; i < dynamic->relocations[t].count; i++) {
			Elf64_Rela relocation = object_dynamic_relocation(&dynamic->relocations[t], i);
			struct object_slot slot;

			if (!slot_read(dynamic, &relocation, &slot) || !in_memory(object, slot.vaddr))
				continue;
			if (base_grow(&slots, &cap, count + 1, sizeof(*slots)))
				return object_no_memory(object, err);
			slots[count++] = slot;
		}
	}
	object->slots = slots;
	object->slot_count = count;
	object->has_slots = true;
	slots = NULL;
	return 0;
}

int object_slots(struct object *object, const struct object_slot **ret, size_t *count, struct utap_error *err)
{
	int r = object->has_slots ? 0 : slots_read(object, err);

	if (r)
		return r;
	*ret = object->slots;
	*count = object->slot_count;
	return 0;
}
