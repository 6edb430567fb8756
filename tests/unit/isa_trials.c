/* SPDX-License-Identifier: MIT */
/*
 * Random instructions. Operands in memory always lie in the arena, and registers that address them are set to fit, so
 * that most trials do what they are about; a few fault (alignment, division), which must look the same from both
 * places.
 */
#include <assert.h>
#include <string.h>
#include <unistd.h>

#include "isa_trials.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
#define DATA_MIDDLE (ARENA_DATA + ARENA_AREA / 2)
#define STACK_MIDDLE (ARENA_STACK + ARENA_AREA / 2)

/* Where the linker put a pointer that fs: reaches, for calls and jumps through thread-local memory. */
static __thread uint64_t thread_slot;

uint64_t trial_random(uint64_t *seed)
{
	*seed ^= *seed >> 12;
	*seed ^= *seed << 25;
	*seed ^= *seed >> 27;
	return *seed * 0x2545f4914f6cdd1dULL;
}

static unsigned below(struct trial *t, unsigned limit) { return (unsigned)((trial_random(t->seed) >> 33) % limit); }
static bool chance(struct trial *t, unsigned percent) { return below(t, 100) < percent; }

static void put(struct trial *t, unsigned byte)
{
	assert(t->size < sizeof(t->code));
	t->code[t->size++] = (uint8_t)byte;
}

static void put_many(struct trial *t, uint64_t value, size_t size)
{
	for (size_t n = 0; n < size; n++)
		put(t, value >> 8 * n & 0xff);
}

static uint64_t *reg(struct trial *t, unsigned number) { return &t->arena->state->in.gpr[number]; }

/* A 64-bit word that the program will see at an address of data or stack. */
static void poke(struct trial *t, uint64_t addr, uint64_t value)
{
	memcpy(t->arena->data + (addr - arena_addr(t->arena, ARENA_DATA)), &value, sizeof(value));
}

static uint64_t peek(struct trial *t, uint64_t addr)
{
	uint64_t value;

	memcpy(&value, t->arena->data + (addr - arena_addr(t->arena, ARENA_DATA)), sizeof(value));
	return value;
}

static uint64_t data_place(struct trial *t, unsigned align)
{
	return arena_addr(t->arena, DATA_MIDDLE) + below(t, 1024 / align) * align - 512;
}

static unsigned any_align(struct trial *t)
{
	static const unsigned aligns[] = { 16, 16, 16, 32, 8, 1 };

	return aligns[below(t, COUNT(aligns))];
}

static uint64_t interesting(struct trial *t)
{
	static const uint64_t values[] = { 0, 1, 2, 0x7f, 0x80, 0xff, 0x7fffffff, 0x80000000, 0xffffffff, INT64_MAX,
					   1ULL << 63, UINT64_MAX };

	switch (below(t, 4)) {
	case 0:
		return values[below(t, COUNT(values))];
	case 1:
		return below(t, 256);
	case 2:
		return data_place(t, 8);
	}
	return trial_random(t->seed);
}

static void random_state(struct trial *t)
{
	struct arena_state *s = t->arena->state;

	for (size_t n = 0; n < sizeof(t->arena->data); n += 8) {
		uint64_t value = chance(t, 50) ? interesting(t) : trial_random(t->seed);

		memcpy(t->arena->data + n, &value, 8);
	}
	for (unsigned n = 0; n < 16; n++) {
		*reg(t, n) = interesting(t);
		for (unsigned b = 0; b < 32; b += 8) {
			uint64_t value = trial_random(t->seed);

			memcpy(s->in.vector[n] + b, &value, 8);
		}
	}
	*reg(t, SP) = arena_addr(t->arena, STACK_MIDDLE) + below(t, 64) * 8 - 256;
	s->in.flags = (trial_random(t->seed) & ARENA_FLAGS) | 0x202;
}

void trial_prepare(struct trial *t, const struct trial_kind *kind)
{
	t->size = 0;
	random_state(t);
	kind->make(t);
}

/*
 * Operands
 */

/* A place for an operand in memory and how to write it down: ModRM, SIB, displacement. */
struct operand {
	unsigned rex; /* X and B */
	uint8_t bytes[6];
	size_t size;
	bool by_ip; /* the displacement is of the place itself, to be made relative when the length is known */
	uint64_t place;
};

static void set_displacement(struct operand *o, size_t at, int32_t value)
{
	memcpy(o->bytes + at, &value, 4);
	o->size = at + 4;
}

static struct operand operand_by_ip(struct trial *t, unsigned field, uint64_t place)
{
	return (struct operand){ .bytes = { field << 3 | 5 }, .size = 5, .by_ip = true, .place = place };
}

static struct operand operand_by_stack(struct trial *t, unsigned field, int32_t offset)
{
	struct operand o = { .bytes = { field << 3 | 4, 0x24 }, .size = 2, .place = *reg(t, SP) + (uint64_t)(int64_t)offset };

	if (offset == 0 && chance(t, 50))
		return o;
	if (offset == (int8_t)offset && chance(t, 70)) {
		o.bytes[0] |= 0x40;
		o.bytes[2] = (uint8_t)offset;
		o.size = 3;
		return o;
	}
	o.bytes[0] |= 0x80;
	set_displacement(&o, 2, offset);
	return o;
}

static unsigned any_base(struct trial *t)
{
	unsigned base;

	do
		base = below(t, 16);
	while (base == SP);
	return base;
}

/* disp(base) or disp(base,index,scale), with the base made to point to @place. */
static struct operand operand_by_base(struct trial *t, unsigned field, uint64_t place)
{
	unsigned base = any_base(t), index = any_base(t), scale = below(t, 4);
	bool has_index = index != base && chance(t, 40);
	int32_t displacement = chance(t, 50) ? (int8_t)trial_random(t->seed) : (int32_t)trial_random(t->seed) >> 8;
	bool is_short = displacement == (int8_t)displacement;
	struct operand o = { .rex = base >> 3, .place = place };
	size_t at = 1;

	o.bytes[0] = (is_short ? 0x40 : 0x80) | field << 3 | (has_index || (base & 7) == 4 ? 4 : base & 7);
	*reg(t, base) = place - (uint64_t)(int64_t)displacement;
	if (has_index) {
		*reg(t, index) = below(t, 256);
		*reg(t, base) -= *reg(t, index) << scale;
		o.rex |= index >> 3 << 1;
		o.bytes[at++] = scale << 6 | (index & 7) << 3 | (base & 7);
	} else if ((base & 7) == 4) {
		o.bytes[at++] = 0x24;
	}
	if (is_short) {
		o.bytes[at++] = (uint8_t)displacement;
		o.size = at;
	} else {
		set_displacement(&o, at, displacement);
	}
	return o;
}

static struct operand operand_in_memory(struct trial *t, unsigned field)
{
	uint64_t place = data_place(t, any_align(t));
	unsigned how = below(t, 100);

	if (how < 40)
		return operand_by_ip(t, field, place);
	if (how < 85)
		return operand_by_base(t, field, place);
	return operand_by_stack(t, field, (int32_t)below(t, 64) * 8 - 256);
}

static struct operand operand_in_register(struct trial *t, unsigned field, unsigned number)
{
	return (struct operand){ .rex = number >> 3, .bytes = { 0xc0 | field << 3 | (number & 7) }, .size = 1 };
}

/* @immediate bytes of the instruction will follow. */
static void put_operand(struct trial *t, const struct operand *o, size_t immediate)
{
	size_t at = t->size;

	for (size_t n = 0; n < o->size; n++)
		put(t, o->bytes[n]);
	if (o->by_ip) {
		uint64_t end = arena_site(t->arena) + t->size + immediate;
		int32_t displacement = (int32_t)(int64_t)(o->place - end);

		memcpy(t->code + at + 1, &displacement, 4);
	}
}

/*
 * Plain instructions, from templates
 */

enum {
	T_MEMORY = 1,   /* no register form */
	T_REGISTER = 2, /* no memory form */
	T_LOCK = 4,     /* a lock prefix is legal before the memory form */
	T_IMM8 = 8,
	T_IMMZ = 16,
	T_NARROW = 32, /* REX.W and 66 change nothing or something else: leave them out */
};

struct template {
	uint8_t prefix, map, first, last; /* opcodes first to last; map 0: one byte, 1: 0f */
	int8_t field;                     /* ModRM reg field, -1 any */
	uint8_t flags;
};

static const struct template integer_templates[] = {
	{ 0, 0, 0x00, 0x01, -1, T_LOCK },
	{ 0, 0, 0x08, 0x09, -1, T_LOCK },
	{ 0, 0, 0x10, 0x11, -1, T_LOCK },
	{ 0, 0, 0x28, 0x29, -1, T_LOCK },
	{ 0, 0, 0x30, 0x31, -1, T_LOCK },
	{ 0, 0, 0x18, 0x1b, -1, 0 },
	{ 0, 0, 0x22, 0x23, -1, 0 },
	{ 0, 0, 0x38, 0x3b, -1, 0 },
	{ 0, 0, 0x80, 0x80, -1, T_IMM8 },
	{ 0, 0, 0x81, 0x81, -1, T_IMMZ },
	{ 0, 0, 0x83, 0x83, -1, T_IMM8 },
	{ 0, 0, 0x83, 0x83, 0, T_IMM8 | T_LOCK },
	{ 0, 0, 0x81, 0x81, 1, T_IMMZ | T_LOCK },
	{ 0, 0, 0x84, 0x85, -1, 0 },
	{ 0, 0, 0x86, 0x87, -1, T_LOCK },
	{ 0, 0, 0x88, 0x8b, -1, 0 },
	{ 0, 0, 0x8d, 0x8d, -1, T_MEMORY },
	{ 0, 0, 0x63, 0x63, -1, 0 },
	{ 0, 0, 0x69, 0x69, -1, T_IMMZ },
	{ 0, 0, 0x6b, 0x6b, -1, T_IMM8 },
	{ 0, 0, 0xc0, 0xc1, -1, T_IMM8 },
	{ 0, 0, 0xd0, 0xd3, -1, 0 },
	{ 0, 0, 0xc6, 0xc6, 0, T_IMM8 },
	{ 0, 0, 0xc7, 0xc7, 0, T_IMMZ },
	{ 0, 0, 0xf6, 0xf6, 0, T_IMM8 },
	{ 0, 0, 0xf7, 0xf7, 0, T_IMMZ },
	{ 0, 0, 0xf6, 0xf7, 2, T_LOCK },
	{ 0, 0, 0xf6, 0xf7, 3, T_LOCK },
	{ 0, 0, 0xf6, 0xf7, 4, 0 },
	{ 0, 0, 0xf6, 0xf7, 5, 0 },
	{ 0, 0, 0xf6, 0xf7, 6, 0 }, /* div: most fault */
	{ 0, 0, 0xf6, 0xf7, 7, 0 },
	{ 0, 0, 0xfe, 0xff, 0, T_LOCK },
	{ 0, 0, 0xfe, 0xff, 1, T_LOCK },
	{ 0, 0, 0xff, 0xff, 6, 0 }, /* push */
	{ 0, 0, 0x8f, 0x8f, 0, 0 }, /* pop */
	{ 0, 1, 0x18, 0x18, 1, T_MEMORY },
	{ 0, 1, 0x40, 0x4f, -1, 0 },
	{ 0, 1, 0x90, 0x9f, -1, 0 },
	{ 0, 1, 0xa3, 0xa3, -1, T_REGISTER },
	{ 0, 1, 0xab, 0xab, -1, T_REGISTER },
	{ 0, 1, 0xa4, 0xa4, -1, T_IMM8 },
	{ 0, 1, 0xa5, 0xa5, -1, 0 },
	{ 0, 1, 0xac, 0xac, -1, T_IMM8 },
	{ 0, 1, 0xaf, 0xaf, -1, 0 },
	{ 0, 1, 0xb0, 0xb1, -1, T_LOCK },
	{ 0, 1, 0xb6, 0xb7, -1, 0 },
	{ 0, 1, 0xba, 0xba, 4, T_IMM8 },
	{ 0, 1, 0xba, 0xba, 5, T_IMM8 | T_LOCK },
	{ 0, 1, 0xba, 0xba, 7, T_IMM8 | T_LOCK },
	{ 0, 1, 0xbc, 0xbd, -1, 0 },
	{ 0xf3, 1, 0xb8, 0xb8, -1, 0 },
	{ 0, 1, 0xbe, 0xbf, -1, 0 },
	{ 0, 1, 0xc0, 0xc1, -1, T_LOCK },
	{ 0, 1, 0xc3, 0xc3, -1, T_MEMORY | T_NARROW },
	{ 0, 1, 0xc7, 0xc7, 1, T_MEMORY | T_LOCK }, /* cmpxchg8b, 16b */
};

static const struct template vector_templates[] = {
	{ 0, 1, 0x10, 0x11, -1, 0 },         { 0, 1, 0x28, 0x29, -1, 0 },      { 0, 1, 0x54, 0x59, -1, 0 },
	{ 0, 1, 0x5c, 0x5f, -1, 0 },         { 0, 1, 0xc6, 0xc6, -1, T_IMM8 }, { 0, 1, 0x50, 0x50, -1, T_REGISTER },
	{ 0, 1, 0x2e, 0x2f, -1, 0 },         { 0x66, 1, 0x60, 0x6d, -1, 0 },   { 0x66, 1, 0x6f, 0x6f, -1, 0 },
	{ 0x66, 1, 0x7f, 0x7f, -1, 0 },      { 0x66, 1, 0xef, 0xef, -1, 0 },   { 0x66, 1, 0xfc, 0xfe, -1, 0 },
	{ 0x66, 1, 0x70, 0x70, -1, T_IMM8 }, { 0x66, 1, 0x74, 0x76, -1, 0 },   { 0x66, 1, 0xd7, 0xd7, -1, T_REGISTER },
	{ 0x66, 1, 0x6e, 0x6e, -1, 0 },      { 0x66, 1, 0x7e, 0x7e, -1, 0 },   { 0x66, 1, 0xd6, 0xd6, -1, 0 },
	{ 0xf3, 1, 0x10, 0x11, -1, 0 },      { 0xf3, 1, 0x58, 0x5a, -1, 0 },   { 0xf3, 1, 0x2a, 0x2a, -1, 0 },
	{ 0xf3, 1, 0x2c, 0x2d, -1, 0 },      { 0xf3, 1, 0x6f, 0x6f, -1, 0 },   { 0xf3, 1, 0x7e, 0x7f, -1, 0 },
	{ 0xf2, 1, 0x10, 0x11, -1, 0 },      { 0xf2, 1, 0x58, 0x5a, -1, 0 },   { 0xf2, 1, 0x2a, 0x2a, -1, 0 },
	{ 0xf2, 1, 0x2c, 0x2d, -1, 0 },      { 0xf2, 1, 0x70, 0x70, -1, T_IMM8 },
};

static struct operand template_operand(struct trial *t, const struct template *p, unsigned field)
{
	if (p->flags & T_REGISTER || (!(p->flags & T_MEMORY) && chance(t, 40)))
		return operand_in_register(t, field & 7, below(t, 16));
	return operand_in_memory(t, field & 7);
}

static void make_from(struct trial *t, const struct template *p, bool may_resize)
{
	unsigned field = p->field >= 0 ? (unsigned)p->field : below(t, 16);
	struct operand o = template_operand(t, p, field);
	bool in_memory = o.bytes[0] < 0xc0;
	bool short_operand = may_resize && !(p->flags & T_NARROW) && !p->prefix && chance(t, 20);
	unsigned wide = may_resize && !(p->flags & T_NARROW) && chance(t, 50) ? 8 : 0;
	unsigned rex = wide | (field >> 3) << 2 | o.rex;
	size_t immediate = p->flags & T_IMM8 ? 1 : !(p->flags & T_IMMZ) ? 0 : short_operand && !wide ? 2 : 4;

	if (p->flags & T_LOCK && in_memory && chance(t, 50))
		put(t, 0xf0);
	if (short_operand)
		put(t, 0x66);
	if (p->prefix)
		put(t, p->prefix);
	if (rex || chance(t, 10))
		put(t, 0x40 | rex);
	if (p->map)
		put(t, 0x0f);
	put(t, p->first + below(t, p->last - p->first + 1u));
	put_operand(t, &o, immediate);
	put_many(t, trial_random(t->seed), immediate);
}

static void make_integer(struct trial *t)
{
	make_from(t, &integer_templates[below(t, COUNT(integer_templates))], true);
}

static void make_vector(struct trial *t)
{
	make_from(t, &vector_templates[below(t, COUNT(vector_templates))], false);
}

/* VEX: three-operand arithmetic and moves, in both lengths of the prefix and of the vectors. */
static void make_avx(struct trial *t)
{
	static const struct {
		uint8_t opcode, prefix;
		bool two_operands;
	} operations[] = {
		{ 0x58, 0, false }, { 0x59, 1, false }, { 0x57, 0, false }, { 0xef, 1, false }, { 0xfe, 1, false },
		{ 0x74, 1, false }, { 0x6f, 2, true },  { 0x7f, 2, true },  { 0x6f, 1, true },  { 0x10, 0, true },
		{ 0x11, 1, true },  { 0x28, 0, true },  { 0x58, 3, false }, { 0x5a, 3, false },
	};
	size_t which = below(t, COUNT(operations));
	unsigned field = below(t, 16), second = operations[which].two_operands ? 0 : below(t, 16);
	struct operand o = chance(t, 30) ? operand_in_register(t, field & 7, below(t, 16)) : operand_in_memory(t, field & 7);
	unsigned last = (~second & 0xf) << 3 | below(t, 2) << 2 | operations[which].prefix;

	if (!t->arena->has_avx) {
		make_vector(t);
		return;
	}
	if (!o.rex && chance(t, 60)) {
		put(t, 0xc5);
		put(t, (field < 8 ? 0x80 : 0) | last);
	} else {
		put(t, 0xc4);
		put(t, (field < 8 ? 0x80 : 0) | (o.rex & 2 ? 0 : 0x40) | (o.rex & 1 ? 0 : 0x20) | 1);
		put(t, last);
	}
	put(t, operations[which].opcode);
	put_operand(t, &o, 0);
}

/* x87 loads, stores and arithmetic on memory. */
static void make_x87(struct trial *t)
{
	static const uint8_t operations[][2] = { { 0xd9, 0 }, { 0xd9, 2 }, { 0xdd, 0 }, { 0xdd, 3 }, { 0xdb, 0 },
						 { 0xdf, 3 }, { 0xd8, 0 }, { 0xdc, 1 }, { 0xd9, 5 } };
	size_t which = below(t, COUNT(operations));
	struct operand o = operand_in_memory(t, operations[which][1]);

	if (operations[which][1] == 5) { /* fldcw with nothing unmasked */
		uint64_t masked = 0x037f;

		poke(t, o.place, masked);
	}
	if (o.rex)
		put(t, 0x40 | o.rex);
	put(t, operations[which][0]);
	put_operand(t, &o, 0);
}

static void make_single(struct trial *t)
{
	static const uint8_t opcodes[] = { 0x98, 0x99, 0x9c, 0x9e, 0x9f, 0xf5, 0xf8, 0xf9, 0xfc, 0xfd, 0x90 };

	if (chance(t, 30)) { /* bswap */
		put(t, 0x48 | below(t, 2));
		put(t, 0x0f);
		put(t, 0xc8 + below(t, 8));
		return;
	}
	if (chance(t, 30))
		put(t, 0x48);
	put(t, opcodes[below(t, COUNT(opcodes))]);
	if (t->code[0] == 0x90 || (t->size == 2 && t->code[1] == 0x90)) { /* an exchange, not a nop */
		t->size = 0;
		put(t, 0x48 | below(t, 2));
		put(t, 0x91 + below(t, 7));
	}
}

static void make_immediate(struct trial *t)
{
	unsigned number = below(t, 16);
	bool wide = chance(t, 50);

	put(t, 0x40 | (wide ? 8 : 0) | number >> 3);
	put(t, 0xb8 | (number & 7));
	put_many(t, trial_random(t->seed), wide ? 8 : 4);
}

static void make_push_pop(struct trial *t)
{
	switch (below(t, 4)) {
	case 0:
		put(t, 0x68);
		put_many(t, trial_random(t->seed), 4);
		return;
	case 1:
		put(t, 0x6a);
		put(t, below(t, 256));
		return;
	}
	if (chance(t, 10))
		put(t, 0x66);
	if (chance(t, 50))
		put(t, 0x41);
	put(t, 0x50 + below(t, 16)); /* rsp too */
}

/* No single-stepping, no alignment traps, no nesting. */
static void make_popf(struct trial *t)
{
	poke(t, *reg(t, SP), (peek(t, *reg(t, SP)) & ARENA_FLAGS) | 0x202);
	put(t, 0x9d);
}

static void make_frame(struct trial *t)
{
	*reg(t, BP) = *reg(t, SP) + below(t, 32) * 8;
	if (chance(t, 50)) {
		put(t, 0xc9);
		return;
	}
	put(t, 0xc8);
	put_many(t, below(t, 32) * 8, 2);
	put(t, below(t, 3));
}

static void make_string(struct trial *t)
{
	static const uint8_t opcodes[] = { 0xa4, 0xa6, 0xaa, 0xac, 0xae };
	bool low = arena_addr(t->arena, ARENA_SIZE) < UINT32_MAX;

	*reg(t, SI) = data_place(t, 1);
	*reg(t, DI) = data_place(t, 1);
	*reg(t, CX) = below(t, 24);
	if (low && chance(t, 20))
		put(t, 0x67);
	if (chance(t, 70))
		put(t, 0xf2 + below(t, 2));
	if (chance(t, 40))
		put(t, 0x48);
	put(t, opcodes[below(t, COUNT(opcodes))] + below(t, 2));
}

static void make_xlat(struct trial *t)
{
	*reg(t, BX) = data_place(t, 1);
	put(t, 0xd7);
}

/* Reads of the thread's control block: self pointer, stack guard, and relative to a register. */
static void make_thread_read(struct trial *t)
{
	static const uint8_t opcodes[] = { 0x8b, 0x03, 0x2b, 0x3b, 0x33 };
	static const uint32_t offsets[] = { 0x00, 0x10, 0x28 };
	unsigned number = below(t, 8), base = below(t, 8);

	put(t, 0x64);
	put(t, 0x48 | (number & 1) << 2);
	put(t, opcodes[below(t, COUNT(opcodes))]);
	if (chance(t, 50) || base == SP) {
		put(t, number << 3 | 4);
		put(t, 0x25);
	} else {
		*reg(t, base) = 0;
		put(t, 0x80 | number << 3 | base);
	}
	put_many(t, offsets[below(t, COUNT(offsets))], 4);
}

/*
 * Control flow
 */

static enum arena_exit any_exit(struct trial *t) { return ARENA_NEXT + below(t, 4); }

static void put_distance(struct trial *t, enum arena_exit number, size_t size)
{
	size_t end = t->size + size;

	put_many(t, arena_exit_at(t->arena, number, end) - (arena_site(t->arena) + end), size);
}

static void put_short_distance(struct trial *t) { put_distance(t, ARENA_NEXT + below(t, 3), 1); }

static void make_jump(struct trial *t)
{
	if (chance(t, 20))
		put(t, chance(t, 50) ? 0x3e : 0xf2);
	if (chance(t, 50)) {
		put(t, 0xeb);
		put_short_distance(t);
		return;
	}
	put(t, 0xe9);
	put_distance(t, any_exit(t), 4);
}

static void make_branch(struct trial *t)
{
	unsigned condition = below(t, 16);

	if (chance(t, 20))
		put(t, chance(t, 50) ? 0x2e : 0x3e);
	if (chance(t, 50)) {
		put(t, 0x70 | condition);
		put_short_distance(t);
		return;
	}
	put(t, 0x0f);
	put(t, 0x80 | condition);
	put_distance(t, any_exit(t), 4);
}

static void make_loop(struct trial *t)
{
	static const uint64_t counts[] = { 0, 1, 2, 0x100000000, 0x100000001, UINT64_MAX };

	*reg(t, CX) = counts[below(t, COUNT(counts))];
	if (chance(t, 40))
		put(t, 0x67);
	if (chance(t, 10))
		put(t, 0x48);
	put(t, 0xe0 + below(t, 4));
	put_short_distance(t);
}

static void make_call(struct trial *t)
{
	unsigned how = below(t, 100);

	if (how < 10)
		put(t, 0x67);
	else if (how < 20)
		put_many(t, 0x486666, 3);
	put(t, 0xe8);
	put_distance(t, any_exit(t), 4);
}

/* call or jmp through a register or memory; @field says which. */
static void put_indirect(struct trial *t, unsigned field)
{
	uint64_t to = arena_exit_at(t->arena, ARENA_AFTER + below(t, 3), 0);
	unsigned number;
	struct operand o;

	if (chance(t, 10))
		put(t, 0x3e);
	switch (below(t, 5)) {
	case 0:
		number = any_base(t);
		o = operand_in_register(t, field, number);
		*reg(t, number) = to;
		break;
	case 1:
		o = operand_by_stack(t, field, (int32_t)below(t, 64) * 8);
		break;
	case 2:
		o = operand_by_ip(t, field, data_place(t, 8));
		break;
	case 3:
		thread_slot = to;
		put(t, 0x64);
		o = (struct operand){ .bytes = { field << 3 | 4, 0x25 }, .size = 2 };
		set_displacement(&o, 2, (int32_t)((uint8_t *)&thread_slot - (uint8_t *)__builtin_thread_pointer()));
		break;
	default:
		o = operand_by_base(t, field, data_place(t, 8));
		break;
	}
	if (o.place)
		poke(t, o.place, to);
	if (o.rex || chance(t, 10))
		put(t, 0x40 | o.rex | (chance(t, 20) ? 8 : 0));
	put(t, 0xff);
	put_operand(t, &o, 0);
}

static void make_call_indirect(struct trial *t) { put_indirect(t, 2); }
static void make_jump_indirect(struct trial *t) { put_indirect(t, 4); }

static void make_return(struct trial *t)
{
	poke(t, *reg(t, SP), arena_exit_at(t->arena, ARENA_AFTER + below(t, 3), 0));
	if (chance(t, 20))
		put(t, 0xf2 + below(t, 2));
	if (chance(t, 30)) {
		put(t, 0xc2);
		put_many(t, below(t, 64) * 8, 2);
		return;
	}
	put(t, 0xc3);
}

/* Harmless ones: no such number, or who am I. */
static void make_syscall(struct trial *t)
{
	bool old = chance(t, 20);

	*reg(t, AX) = chance(t, 50) ? 0x3fff : old ? 20 : 39;
	if (old) {
		put(t, 0xcd);
		put(t, 0x80);
		return;
	}
	if (chance(t, 10))
		put(t, 0x48);
	put(t, 0x0f);
	put(t, 0x05);
}

static void make_nop(struct trial *t)
{
	static const char *const nops[] = { "\x90", "\x66\x90", "\x0f\x1f\x44", "\x66\x2e\x0f\x1f\x84" };
	static const uint8_t sizes[][2] = { { 1, 0 }, { 2, 0 }, { 3, 2 }, { 5, 5 } };
	unsigned which = below(t, COUNT(nops));

	for (size_t n = 0; n < sizes[which][0]; n++)
		put(t, (uint8_t)nops[which][n]);
	put_many(t, 0, sizes[which][1]);
}

const struct trial_kind trial_kinds[] = {
	{ "integer", make_integer, ISA_PLAIN },
	{ "integer, again", make_integer, ISA_PLAIN },
	{ "integer, and again", make_integer, ISA_PLAIN },
	{ "vector", make_vector, ISA_PLAIN },
	{ "avx", make_avx, ISA_PLAIN },
	{ "x87", make_x87, ISA_PLAIN },
	{ "single byte", make_single, ISA_PLAIN },
	{ "immediate", make_immediate, ISA_PLAIN },
	{ "push and pop", make_push_pop, ISA_PLAIN },
	{ "popf", make_popf, ISA_PLAIN },
	{ "enter and leave", make_frame, ISA_PLAIN },
	{ "string", make_string, ISA_PLAIN },
	{ "xlat", make_xlat, ISA_PLAIN },
	{ "thread memory", make_thread_read, ISA_PLAIN },
	{ "nop", make_nop, ISA_NOP },
	{ "jump", make_jump, ISA_JUMP },
	{ "branch", make_branch, ISA_BRANCH },
	{ "branch, again", make_branch, ISA_BRANCH },
	{ "loop", make_loop, ISA_LOOP },
	{ "call", make_call, ISA_CALL },
	{ "call indirect", make_call_indirect, ISA_CALL_INDIRECT },
	{ "jump indirect", make_jump_indirect, ISA_JUMP_INDIRECT },
	{ "return", make_return, ISA_RETURN },
	{ "system call", make_syscall, ISA_SYSCALL },
};
const size_t trial_kind_count = COUNT(trial_kinds);
