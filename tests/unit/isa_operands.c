/* SPDX-License-Identifier: MIT */
/*
 * What random instructions are made of: machine states, bytes, operands. Operands in memory always lie in the arena,
 * and registers that address them are set to fit.
 */
#include <assert.h>
#include <string.h>

#include "isa_operands.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
#define DATA_MIDDLE (ARENA_DATA + ARENA_AREA / 2)
#define STACK_MIDDLE (ARENA_STACK + ARENA_AREA / 2)

uint64_t trial_random(uint64_t *seed)
{
	*seed ^= *seed >> 12;
	*seed ^= *seed << 25;
	*seed ^= *seed >> 27;
	return *seed * 0x2545f4914f6cdd1dULL;
}

unsigned trial_below(struct trial *t, unsigned limit)
{
	return (unsigned)((trial_random(t->seed) >> 33) % limit);
}
bool trial_chance(struct trial *t, unsigned percent)
{
	return trial_below(t, 100) < percent;
}

void trial_put(struct trial *t, unsigned byte)
{
	assert(t->size < sizeof(t->code));
	t->code[t->size++] = (uint8_t)byte;
}

void trial_put_many(struct trial *t, uint64_t value, size_t size)
{
	for (size_t n = 0; n < size; n++)
		trial_put(t, value >> 8 * n & 0xff);
}

uint64_t *trial_reg(struct trial *t, unsigned number)
{
	return &t->arena->state->in.gpr[number];
}

/* A 64-bit word that the program will see at an address of data or stack. */
void trial_poke(struct trial *t, uint64_t addr, uint64_t value)
{
	memcpy(t->arena->data + (addr - arena_addr(t->arena, ARENA_DATA)), &value, sizeof(value));
}

uint64_t trial_peek(struct trial *t, uint64_t addr)
{
	uint64_t value;

	memcpy(&value, t->arena->data + (addr - arena_addr(t->arena, ARENA_DATA)), sizeof(value));
	return value;
}

uint64_t trial_data_place(struct trial *t, unsigned align)
{
	return arena_addr(t->arena, DATA_MIDDLE) + trial_below(t, 1024 / align) * align - 512;
}

static unsigned any_align(struct trial *t)
{
	static const unsigned aligns[] = { 16, 16, 16, 32, 8, 1 };

	return aligns[trial_below(t, COUNT(aligns))];
}

static uint64_t interesting(struct trial *t)
{
	static const uint64_t values[] = { 0,          1,          2,          0x7f,      0x80,       0xff,
					   0x7fffffff, 0x80000000, 0xffffffff, INT64_MAX, 1ULL << 63, UINT64_MAX };

	switch (trial_below(t, 4)) {
	case 0:
		return values[trial_below(t, COUNT(values))];
	case 1:
		return trial_below(t, 256);
	case 2:
		return trial_data_place(t, 8);
	}
	return trial_random(t->seed);
}

void trial_random_state(struct trial *t)
{
	struct arena_state *s = t->arena->state;

	for (size_t n = 0; n < sizeof(t->arena->data); n += 8) {
		uint64_t value = trial_chance(t, 50) ? interesting(t) : trial_random(t->seed);

		memcpy(t->arena->data + n, &value, 8);
	}
	for (unsigned n = 0; n < 16; n++) {
		*trial_reg(t, n) = interesting(t);
		for (unsigned b = 0; b < 32; b += 8) {
			uint64_t value = trial_random(t->seed);

			memcpy(s->in.vector[n] + b, &value, 8);
		}
	}
	*trial_reg(t, SP) = arena_addr(t->arena, STACK_MIDDLE) + trial_below(t, 64) * 8 - 256;
	s->in.flags = (trial_random(t->seed) & ARENA_FLAGS) | 0x202;
}

void trial_set_displacement(struct trial_operand *o, size_t at, int32_t value)
{
	memcpy(o->bytes + at, &value, 4);
	o->size = at + 4;
}

struct trial_operand trial_operand_by_ip(struct trial *t, unsigned field, uint64_t place)
{
	return (struct trial_operand) { .bytes = { field << 3 | 5 }, .size = 5, .by_ip = true, .place = place };
}

struct trial_operand trial_operand_by_stack(struct trial *t, unsigned field, int32_t offset)
{
	struct trial_operand o = { .bytes = { field << 3 | 4, 0x24 },
				   .size = 2,
				   .place = *trial_reg(t, SP) + (uint64_t)(int64_t)offset };

	if (offset == 0 && trial_chance(t, 50))
		return o;
	if (offset == (int8_t)offset && trial_chance(t, 70)) {
		o.bytes[0] |= 0x40;
		o.bytes[2] = (uint8_t)offset;
		o.size = 3;
		return o;
	}
	o.bytes[0] |= 0x80;
	trial_set_displacement(&o, 2, offset);
	return o;
}

unsigned trial_any_base(struct trial *t)
{
	unsigned base;

	do
		base = trial_below(t, 16);
	while (base == SP);
	return base;
}

/* disp(base) or disp(base,index,scale), with the base made to point to @place. */
struct trial_operand trial_operand_by_base(struct trial *t, unsigned field, uint64_t place)
{
	unsigned base = trial_any_base(t), index = trial_any_base(t), scale = trial_below(t, 4);
	bool has_index = index != base && trial_chance(t, 40);
	int32_t displacement =
	    trial_chance(t, 50) ? (int8_t)trial_random(t->seed) : (int32_t)trial_random(t->seed) >> 8;
	bool is_short = displacement == (int8_t)displacement;
	struct trial_operand o = { .rex = base >> 3, .place = place };
	size_t at = 1;

	o.bytes[0] = (is_short ? 0x40 : 0x80) | field << 3 | (has_index || (base & 7) == 4 ? 4 : base & 7);
	*trial_reg(t, base) = place - (uint64_t)(int64_t)displacement;
	if (has_index) {
		*trial_reg(t, index) = trial_below(t, 256);
		*trial_reg(t, base) -= *trial_reg(t, index) << scale;
		o.rex |= index >> 3 << 1;
		o.bytes[at++] = scale << 6 | (index & 7) << 3 | (base & 7);
	} else if ((base & 7) == 4) {
		o.bytes[at++] = 0x24;
	}
	if (is_short) {
		o.bytes[at++] = (uint8_t)displacement;
		o.size = at;
	} else {
		trial_set_displacement(&o, at, displacement);
	}
	return o;
}

struct trial_operand trial_operand_in_memory(struct trial *t, unsigned field)
{
	uint64_t place = trial_data_place(t, any_align(t));
	unsigned how = trial_below(t, 100);

	if (how < 40)
		return trial_operand_by_ip(t, field, place);
	if (how < 85)
		return trial_operand_by_base(t, field, place);
	return trial_operand_by_stack(t, field, (int32_t)trial_below(t, 64) * 8 - 256);
}

struct trial_operand trial_operand_in_register(struct trial *t, unsigned field, unsigned number)
{
	return (struct trial_operand) { .rex = number >> 3, .bytes = { 0xc0 | field << 3 | (number & 7) }, .size = 1 };
}

/* @immediate bytes of the instruction will follow. */
void trial_put_operand(struct trial *t, const struct trial_operand *o, size_t immediate)
{
	size_t at = t->size;

	for (size_t n = 0; n < o->size; n++)
		trial_put(t, o->bytes[n]);
	if (o->by_ip) {
		uint64_t end = arena_site(t->arena) + t->size + immediate;
		int32_t displacement = (int32_t)(int64_t)(o->place - end);

		memcpy(t->code + at + 1, &displacement, 4);
	}
}
