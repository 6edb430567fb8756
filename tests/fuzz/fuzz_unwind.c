/* SPDX-License-Identifier: MIT */
/*
 * Stacks. First byte even: arbitrary bytes as an ELF file, of which a table is made: sorted, nothing twice in a row. Odd: arbitrary bytes as
 * tables' area, list and stack: the walk ends after as many frames as were asked for, reads the tables only inside of their area (it ends at the
 * end of the heap block, so that the sanitizer sees one byte too much), and addresses are where the words it was given said.
 */
#include <stdlib.h>
#include <string.h>

#include "object/unwind.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX (1UL << 20)
#define MOST 100

static void must(bool holds)
{
	if (!holds)
		abort();
}

/* ---- files ---- */

static void use_object(struct object *object)
{
	struct object_unwind unwind;
	struct utap_error err = { 0 };

	if (object_unwind_make(object, &unwind, &err)) {
		must(err.code < 0 && err.text[0]);
		return;
	}
	for (size_t i = 1; i < unwind.count; i++)
		must(unwind.rows[i - 1].offset < unwind.rows[i].offset && unwind.rows[i - 1].rule != unwind.rows[i].rule);
	for (size_t i = 0; i < unwind.count; i++)
		must(wire_unwind_kind(unwind.rows[i].rule) <= WIRE_UNWIND_END &&
		     wire_unwind_rule(unwind.rows, (uint32_t)unwind.count, unwind.rows[i].offset) == unwind.rows[i].rule);
	must(unwind.check_at % 8 == 0);
	object_unwind_free(&unwind);
}

static void use_file(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);
	struct object *object;

	must(copy);
	memcpy(copy, data, size);
	if (object_open_bytes("fuzz", copy, size, &object, NULL))
		return;
	use_object(object);
	object_close(object);
}

/* ---- walks ---- */

struct made_memory {
	struct wire_unwind_memory memory;
	const uint8_t *bytes;
	size_t size;
	unsigned reads;
};

static bool made_word(struct wire_unwind_memory *memory, uint64_t address, uint64_t *ret)
{
	struct made_memory *made = (struct made_memory *)memory;

	made->reads++;
	if (address > made->size || made->size - address < sizeof(*ret))
		return false;
	memcpy(ret, made->bytes + address, sizeof(*ret));
	return true;
}

struct start {
	uint64_t ip, sp, bp;
	uint32_t rule;
	uint16_t list, area; /* bytes: where the list is; of the area, the rest is the stack */
	uint8_t flags, most;
	uint8_t unused[6];
};

static void use_walk(const uint8_t *data, size_t size)
{
	struct start start;
	uint64_t addresses[MOST];

	if (size < sizeof(start))
		return;
	memcpy(&start, data, sizeof(start));
	data += sizeof(start);
	size -= sizeof(start);
	size_t area_size = start.area < size ? start.area : size;
	uint8_t *area = malloc(area_size ? area_size : 1);

	must(area);
	memcpy(area, data, area_size);
	struct made_memory made = { .memory = { .word = made_word }, .bytes = data + area_size, .size = size - area_size };
	struct wire_unwind_tables tables = { .area = (uint64_t)(uintptr_t)area,
					     .size = area_size,
					     .list = (const struct wire_unwind *)(uintptr_t)((uint64_t)(uintptr_t)area + start.list),
					     .check = start.flags & 1 };
	struct wire_unwind_walk walk = {
		.memory = &made.memory,
		.now = { .ip = start.ip, .sp = start.sp, .bp = start.bp, .is_exact = start.flags & 2, .rule = start.rule },
	};
	uint32_t most = start.most < MOST ? start.most : MOST;
	uint32_t count = wire_unwind_walk(&walk, &tables, addresses, most);

	must(count <= most && (count || !most) && (!most || addresses[0] == start.ip));
	must(made.reads <= 8 * most);
	for (uint32_t i = 1; i < count; i++)
		must((addresses[i] & ~WIRE_UNWIND_EXACT) >= 4096 && (addresses[i] & ~WIRE_UNWIND_EXACT) < 1ULL << 47);
	free(area);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size || size > INPUT_MAX)
		return 0;
	if (data[0] & 1)
		use_walk(data + 1, size - 1);
	else
		use_file(data + 1, size - 1);
	return 0;
}
