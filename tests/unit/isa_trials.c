/* SPDX-License-Identifier: MIT */
/*
 * Random instructions of every class, with states in which most of them do what they are about; a few fault (alignment,
 * division), which must look the same from both places.
 */
#include <string.h>

#include "isa_operands.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

/* What fs: reaches, for calls and jumps through thread-local memory. */
static __thread uint64_t thread_slot;

void trial_prepare(struct trial *t, const struct trial_kind *kind)
{
	t->size = 0;
	trial_random_state(t);
	kind->make(t);
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

struct template
{
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
	{ 0, 1, 0x10, 0x11, -1, 0 },
	{ 0, 1, 0x28, 0x29, -1, 0 },
	{ 0, 1, 0x54, 0x59, -1, 0 },
	{ 0, 1, 0x5c, 0x5f, -1, 0 },
	{ 0, 1, 0xc6, 0xc6, -1, T_IMM8 },
	{ 0, 1, 0x50, 0x50, -1, T_REGISTER },
	{ 0, 1, 0x2e, 0x2f, -1, 0 },
	{ 0x66, 1, 0x60, 0x6d, -1, 0 },
	{ 0x66, 1, 0x6f, 0x6f, -1, 0 },
	{ 0x66, 1, 0x7f, 0x7f, -1, 0 },
	{ 0x66, 1, 0xef, 0xef, -1, 0 },
	{ 0x66, 1, 0xfc, 0xfe, -1, 0 },
	{ 0x66, 1, 0x70, 0x70, -1, T_IMM8 },
	{ 0x66, 1, 0x74, 0x76, -1, 0 },
	{ 0x66, 1, 0xd7, 0xd7, -1, T_REGISTER },
	{ 0x66, 1, 0x6e, 0x6e, -1, 0 },
	{ 0x66, 1, 0x7e, 0x7e, -1, 0 },
	{ 0x66, 1, 0xd6, 0xd6, -1, 0 },
	{ 0xf3, 1, 0x10, 0x11, -1, 0 },
	{ 0xf3, 1, 0x58, 0x5a, -1, 0 },
	{ 0xf3, 1, 0x2a, 0x2a, -1, 0 },
	{ 0xf3, 1, 0x2c, 0x2d, -1, 0 },
	{ 0xf3, 1, 0x6f, 0x6f, -1, 0 },
	{ 0xf3, 1, 0x7e, 0x7f, -1, 0 },
	{ 0xf2, 1, 0x10, 0x11, -1, 0 },
	{ 0xf2, 1, 0x58, 0x5a, -1, 0 },
	{ 0xf2, 1, 0x2a, 0x2a, -1, 0 },
	{ 0xf2, 1, 0x2c, 0x2d, -1, 0 },
	{ 0xf2, 1, 0x70, 0x70, -1, T_IMM8 },
};

static struct trial_operand template_operand(struct trial *t, const struct template *p, unsigned field)
{
	if (p->flags & T_REGISTER || (!(p->flags & T_MEMORY) && trial_chance(t, 40)))
		return trial_operand_in_register(t, field & 7, trial_below(t, 16));
	return trial_operand_in_memory(t, field & 7);
}

static void make_from(struct trial *t, const struct template *p, bool may_resize)
{
	unsigned field = p->field >= 0 ? (unsigned)p->field : trial_below(t, 16);
	struct trial_operand o = template_operand(t, p, field);
	bool in_memory = o.bytes[0] < 0xc0;
	bool short_operand = may_resize && !(p->flags & T_NARROW) && !p->prefix && trial_chance(t, 20);
	unsigned wide = may_resize && !(p->flags & T_NARROW) && trial_chance(t, 50) ? 8 : 0;
	unsigned rex = wide | (field >> 3) << 2 | o.rex;
	size_t immediate = p->flags & T_IMM8 ? 1 : !(p->flags & T_IMMZ) ? 0 : short_operand && !wide ? 2 : 4;

	if (p->flags & T_LOCK && in_memory && trial_chance(t, 50))
		trial_put(t, 0xf0);
	if (short_operand)
		trial_put(t, 0x66);
	if (p->prefix)
		trial_put(t, p->prefix);
	if (rex || trial_chance(t, 10))
		trial_put(t, 0x40 | rex);
	if (p->map)
		trial_put(t, 0x0f);
	trial_put(t, p->first + trial_below(t, p->last - p->first + 1u));
	trial_put_operand(t, &o, immediate);
	trial_put_many(t, trial_random(t->seed), immediate);
}

static void make_integer(struct trial *t)
{
	make_from(t, &integer_templates[trial_below(t, COUNT(integer_templates))], true);
}

static void make_vector(struct trial *t)
{
	make_from(t, &vector_templates[trial_below(t, COUNT(vector_templates))], false);
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
	size_t which = trial_below(t, COUNT(operations));
	unsigned field = trial_below(t, 16), second = operations[which].two_operands ? 0 : trial_below(t, 16);
	struct trial_operand o = trial_chance(t, 30) ? trial_operand_in_register(t, field & 7, trial_below(t, 16))
						     : trial_operand_in_memory(t, field & 7);
	unsigned last = (~second & 0xf) << 3 | trial_below(t, 2) << 2 | operations[which].prefix;

	if (!t->arena->has_avx) {
		make_vector(t);
		return;
	}
	if (!o.rex && trial_chance(t, 60)) {
		trial_put(t, 0xc5);
		trial_put(t, (field < 8 ? 0x80 : 0) | last);
	} else {
		trial_put(t, 0xc4);
		trial_put(t, (field < 8 ? 0x80 : 0) | (o.rex & 2 ? 0 : 0x40) | (o.rex & 1 ? 0 : 0x20) | 1);
		trial_put(t, last);
	}
	trial_put(t, operations[which].opcode);
	trial_put_operand(t, &o, 0);
}

/* Three-byte opcodes: legacy, and VEX with general registers. */
static void make_long_opcode(struct trial *t)
{
	static const struct template templates[] = {
		{ 0x66, 0x38, 0x00, 0x0b, -1, 0 },	 /* pshufb .. pmulhrsw */
		{ 0x66, 0x38, 0x1c, 0x1e, -1, 0 },	 /* pabsb .. */
		{ 0x66, 0x38, 0x38, 0x40, -1, 0 },	 /* pminsb .. pmulld */
		{ 0xf2, 0x38, 0xf0, 0xf1, -1, 0 },	 /* crc32 */
		{ 0, 0x38, 0xf0, 0xf1, -1, T_MEMORY },	 /* movbe */
		{ 0x66, 0x3a, 0x08, 0x0f, -1, T_IMM8 },	 /* roundps .. palignr */
		{ 0x66, 0x3a, 0x63, 0x63, -1, T_IMM8 },	 /* pcmpistri: writes rcx and flags */
	};
	const struct template *p = &templates[trial_below(t, COUNT(templates))];
	unsigned field = trial_below(t, 16);
	struct trial_operand o = template_operand(t, p, field);
	unsigned rex = (field >> 3) << 2 | o.rex;

	if (p->prefix)
		trial_put(t, p->prefix);
	if (rex)
		trial_put(t, 0x40 | rex);
	trial_put(t, 0x0f);
	trial_put(t, p->map);
	trial_put(t, p->first + trial_below(t, p->last - p->first + 1u));
	trial_put_operand(t, &o, p->flags & T_IMM8 ? 1 : 0);
	if (p->flags & T_IMM8)
		trial_put(t, trial_below(t, 256));
}

static void make_bmi(struct trial *t)
{
	static const struct {
		uint8_t opcode, prefix;
	} operations[] = { { 0xf2, 0 }, { 0xf5, 0 }, { 0xf5, 2 }, { 0xf5, 3 }, { 0xf6, 3 }, { 0xf7, 0 }, { 0xf7, 1 }, { 0xf7, 2 }, { 0xf7, 3 } };
	size_t which = trial_below(t, COUNT(operations));
	unsigned field = trial_below(t, 16), second = trial_below(t, 16);
	struct trial_operand o = trial_chance(t, 30) ? trial_operand_in_register(t, field & 7, trial_below(t, 16))
						     : trial_operand_in_memory(t, field & 7);

	if (!__builtin_cpu_supports("bmi2")) {
		make_integer(t);
		return;
	}
	trial_put(t, 0xc4);
	trial_put(t, (field < 8 ? 0x80 : 0) | (o.rex & 2 ? 0 : 0x40) | (o.rex & 1 ? 0 : 0x20) | 2);
	trial_put(t, trial_below(t, 2) << 7 | (~second & 0xf) << 3 | operations[which].prefix);
	trial_put(t, operations[which].opcode);
	trial_put_operand(t, &o, 0);
}

/* EVEX, on the 16 vector registers and in the lengths that are looked at. A short displacement counts vectors. */
static void make_evex(struct trial *t)
{
	static const struct {
		uint8_t opcode, prefix;
		bool two_operands, wide;
	} operations[] = {
		{ 0x58, 0, false, false }, { 0x59, 1, false, true }, { 0xfe, 1, false, false }, { 0xef, 1, false, true },
		{ 0x6f, 2, true, true },   { 0x7f, 2, true, true },  { 0x6f, 1, true, false },	{ 0x10, 0, true, false },
	};
	size_t which = trial_below(t, COUNT(operations));
	unsigned field = trial_below(t, 16), second = operations[which].two_operands ? 0 : trial_below(t, 16);
	struct trial_operand o = trial_chance(t, 20) ? trial_operand_in_register(t, field & 7, trial_below(t, 16))
						     : trial_operand_in_memory(t, field & 7);

	if (!__builtin_cpu_supports("avx512vl")) {
		make_avx(t);
		return;
	}
	trial_put(t, 0x62);
	trial_put(t, (field < 8 ? 0x80 : 0) | (o.rex & 2 ? 0 : 0x40) | (o.rex & 1 ? 0 : 0x20) | 0x10 | 1);
	trial_put(t, (operations[which].wide ? 0x80 : 0) | (~second & 0xf) << 3 | 4 | operations[which].prefix);
	trial_put(t, trial_below(t, 2) << 5 | 8);
	trial_put(t, operations[which].opcode);
	trial_put_operand(t, &o, 0);
}

/* x87 loads, stores and arithmetic on memory. */
static void make_x87(struct trial *t)
{
	static const uint8_t operations[][2] = { { 0xd9, 0 }, { 0xd9, 2 }, { 0xdd, 0 }, { 0xdd, 3 }, { 0xdb, 0 },
						 { 0xdf, 3 }, { 0xd8, 0 }, { 0xdc, 1 }, { 0xd9, 5 } };
	size_t which = trial_below(t, COUNT(operations));
	struct trial_operand o = trial_operand_in_memory(t, operations[which][1]);

	if (operations[which][1] == 5) { /* fldcw with nothing unmasked */
		uint64_t masked = 0x037f;

		trial_poke(t, o.place, masked);
	}
	if (o.rex)
		trial_put(t, 0x40 | o.rex);
	trial_put(t, operations[which][0]);
	trial_put_operand(t, &o, 0);
}

static void make_single(struct trial *t)
{
	static const uint8_t opcodes[] = { 0x98, 0x99, 0x9c, 0x9e, 0x9f, 0xf5, 0xf8, 0xf9, 0xfc, 0xfd, 0x90 };

	if (trial_chance(t, 30)) { /* bswap */
		trial_put(t, 0x48 | trial_below(t, 2));
		trial_put(t, 0x0f);
		trial_put(t, 0xc8 + trial_below(t, 8));
		return;
	}
	if (trial_chance(t, 30))
		trial_put(t, 0x48);
	trial_put(t, opcodes[trial_below(t, COUNT(opcodes))]);
	if (t->code[0] == 0x90 || (t->size == 2 && t->code[1] == 0x90)) { /* an exchange, not a nop */
		t->size = 0;
		trial_put(t, 0x48 | trial_below(t, 2));
		trial_put(t, 0x91 + trial_below(t, 7));
	}
}

static void make_immediate(struct trial *t)
{
	unsigned number = trial_below(t, 16);
	bool wide = trial_chance(t, 50);

	trial_put(t, 0x40 | (wide ? 8 : 0) | number >> 3);
	trial_put(t, 0xb8 | (number & 7));
	trial_put_many(t, trial_random(t->seed), wide ? 8 : 4);
}

static void make_push_pop(struct trial *t)
{
	switch (trial_below(t, 4)) {
	case 0:
		trial_put(t, 0x68);
		trial_put_many(t, trial_random(t->seed), 4);
		return;
	case 1:
		trial_put(t, 0x6a);
		trial_put(t, trial_below(t, 256));
		return;
	}
	if (trial_chance(t, 10))
		trial_put(t, 0x66);
	if (trial_chance(t, 50))
		trial_put(t, 0x41);
	trial_put(t, 0x50 + trial_below(t, 16)); /* rsp too */
}

/* No single-stepping, no alignment traps, no nesting. */
static void make_popf(struct trial *t)
{
	trial_poke(t, *trial_reg(t, SP), (trial_peek(t, *trial_reg(t, SP)) & ARENA_FLAGS) | 0x202);
	trial_put(t, 0x9d);
}

static void make_frame(struct trial *t)
{
	*trial_reg(t, BP) = *trial_reg(t, SP) + trial_below(t, 32) * 8;
	if (trial_chance(t, 50)) {
		trial_put(t, 0xc9);
		return;
	}
	trial_put(t, 0xc8);
	trial_put_many(t, trial_below(t, 32) * 8, 2);
	trial_put(t, trial_below(t, 3));
}

static void make_string(struct trial *t)
{
	static const uint8_t opcodes[] = { 0xa4, 0xa6, 0xaa, 0xac, 0xae };
	bool low = arena_addr(t->arena, ARENA_SIZE) < UINT32_MAX;

	*trial_reg(t, SI) = trial_data_place(t, 1);
	*trial_reg(t, DI) = trial_data_place(t, 1);
	*trial_reg(t, CX) = trial_below(t, 24);
	if (low && trial_chance(t, 20))
		trial_put(t, 0x67);
	if (trial_chance(t, 70))
		trial_put(t, 0xf2 + trial_below(t, 2));
	if (trial_chance(t, 40))
		trial_put(t, 0x48);
	trial_put(t, opcodes[trial_below(t, COUNT(opcodes))] + trial_below(t, 2));
}

static void make_xlat(struct trial *t)
{
	*trial_reg(t, BX) = trial_data_place(t, 1);
	trial_put(t, 0xd7);
}

/* Reads of the thread's control block: self pointer, stack guard, and relative to a register. */
static void make_thread_read(struct trial *t)
{
	static const uint8_t opcodes[] = { 0x8b, 0x03, 0x2b, 0x3b, 0x33 };
	static const uint32_t offsets[] = { 0x00, 0x10, 0x28 };
	unsigned number = trial_below(t, 8), base = trial_below(t, 8);

	trial_put(t, 0x64);
	trial_put(t, 0x48 | (number & 1) << 2);
	trial_put(t, opcodes[trial_below(t, COUNT(opcodes))]);
	if (trial_chance(t, 50) || base == SP) {
		trial_put(t, number << 3 | 4);
		trial_put(t, 0x25);
	} else {
		*trial_reg(t, base) = 0;
		trial_put(t, 0x80 | number << 3 | base);
	}
	trial_put_many(t, offsets[trial_below(t, COUNT(offsets))], 4);
}

/*
 * Control flow
 */

static enum arena_exit any_exit(struct trial *t)
{
	return ARENA_NEXT + trial_below(t, 4);
}

static void put_distance(struct trial *t, enum arena_exit number, size_t size)
{
	size_t end = t->size + size;

	trial_put_many(t, arena_exit_at(t->arena, number, end) - (arena_site(t->arena) + end), size);
}

static void put_short_distance(struct trial *t)
{
	put_distance(t, ARENA_NEXT + trial_below(t, 3), 1);
}

static void make_jump(struct trial *t)
{
	if (trial_chance(t, 20))
		trial_put(t, trial_chance(t, 50) ? 0x3e : 0xf2);
	if (trial_chance(t, 50)) {
		trial_put(t, 0xeb);
		put_short_distance(t);
		return;
	}
	trial_put(t, 0xe9);
	put_distance(t, any_exit(t), 4);
}

static void make_branch(struct trial *t)
{
	unsigned condition = trial_below(t, 16);

	if (trial_chance(t, 20))
		trial_put(t, trial_chance(t, 50) ? 0x2e : 0x3e);
	if (trial_chance(t, 50)) {
		trial_put(t, 0x70 | condition);
		put_short_distance(t);
		return;
	}
	trial_put(t, 0x0f);
	trial_put(t, 0x80 | condition);
	put_distance(t, any_exit(t), 4);
}

static void make_loop(struct trial *t)
{
	static const uint64_t counts[] = { 0, 1, 2, 0x100000000, 0x100000001, UINT64_MAX };

	*trial_reg(t, CX) = counts[trial_below(t, COUNT(counts))];
	if (trial_chance(t, 40))
		trial_put(t, 0x67);
	if (trial_chance(t, 10))
		trial_put(t, 0x48);
	trial_put(t, 0xe0 + trial_below(t, 4));
	put_short_distance(t);
}

static void make_call(struct trial *t)
{
	unsigned how = trial_below(t, 100);

	if (how < 10)
		trial_put(t, 0x67);
	else if (how < 20)
		trial_put_many(t, 0x486666, 3);
	trial_put(t, 0xe8);
	put_distance(t, any_exit(t), 4);
}

/* call or jmp through a register or memory; @field says which. */
static void put_indirect(struct trial *t, unsigned field)
{
	uint64_t to = arena_exit_at(t->arena, ARENA_AFTER + trial_below(t, 3), 0);
	unsigned number;
	struct trial_operand o;

	if (trial_chance(t, 10))
		trial_put(t, 0x3e);
	switch (trial_below(t, 5)) {
	case 0:
		number = trial_any_base(t);
		o = trial_operand_in_register(t, field, number);
		*trial_reg(t, number) = to;
		break;
	case 1:
		o = trial_operand_by_stack(t, field, (int32_t)trial_below(t, 64) * 8);
		break;
	case 2:
		o = trial_operand_by_ip(t, field, trial_data_place(t, 8));
		break;
	case 3:
		thread_slot = to;
		trial_put(t, 0x64);
		o = (struct trial_operand) { .bytes = { field << 3 | 4, 0x25 }, .size = 2 };
		trial_set_displacement(&o, 2,
				       (int32_t)((uint8_t *)&thread_slot - (uint8_t *)__builtin_thread_pointer()));
		break;
	default:
		o = trial_operand_by_base(t, field, trial_data_place(t, 8));
		break;
	}
	if (o.place)
		trial_poke(t, o.place, to);
	if (o.rex || trial_chance(t, 10))
		trial_put(t, 0x40 | o.rex | (trial_chance(t, 20) ? 8 : 0));
	trial_put(t, 0xff);
	trial_put_operand(t, &o, 0);
}

static void make_call_indirect(struct trial *t)
{
	put_indirect(t, 2);
}
static void make_jump_indirect(struct trial *t)
{
	put_indirect(t, 4);
}

static void make_return(struct trial *t)
{
	trial_poke(t, *trial_reg(t, SP), arena_exit_at(t->arena, ARENA_AFTER + trial_below(t, 3), 0));
	if (trial_chance(t, 20))
		trial_put(t, 0xf2 + trial_below(t, 2));
	if (trial_chance(t, 30)) {
		trial_put(t, 0xc2);
		trial_put_many(t, trial_below(t, 64) * 8, 2);
		return;
	}
	trial_put(t, 0xc3);
}

/* Harmless ones: no such number, or who am I. */
static void make_syscall(struct trial *t)
{
	bool old = trial_chance(t, 20);

	*trial_reg(t, AX) = trial_chance(t, 50) ? 0x3fff : old ? 20 : 39;
	if (old) {
		trial_put(t, 0xcd);
		trial_put(t, 0x80);
		return;
	}
	if (trial_chance(t, 10))
		trial_put(t, 0x48);
	trial_put(t, 0x0f);
	trial_put(t, 0x05);
}

static void make_nop(struct trial *t)
{
	static const char *const nops[] = { "\x90", "\x66\x90", "\x0f\x1f\x44", "\x66\x2e\x0f\x1f\x84" };
	static const uint8_t sizes[][2] = { { 1, 0 }, { 2, 0 }, { 3, 2 }, { 5, 5 } };
	unsigned which = trial_below(t, COUNT(nops));

	for (size_t n = 0; n < sizes[which][0]; n++)
		trial_put(t, (uint8_t)nops[which][n]);
	trial_put_many(t, 0, sizes[which][1]);
}

const struct trial_kind trial_kinds[] = {
	{ "integer", make_integer, ISA_PLAIN },
	{ "integer, again", make_integer, ISA_PLAIN },
	{ "integer, and again", make_integer, ISA_PLAIN },
	{ "vector", make_vector, ISA_PLAIN },
	{ "avx", make_avx, ISA_PLAIN },
	{ "three-byte opcode", make_long_opcode, ISA_PLAIN },
	{ "bmi", make_bmi, ISA_PLAIN },
	{ "evex", make_evex, ISA_PLAIN },
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
