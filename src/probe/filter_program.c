/* SPDX-License-Identifier: MIT */
/*
 * Conditions and limits: tests -> bpf instructions, before anything else of the program.
 *
 * Each test leads to a later one, or to where all is decided, so the program only jumps forward: a jump waits in a list until that place is
 * reached. What follows a test is fallen into. Jumps of a condition that does not hold still wait at the end: they leave the program.
 */
#include <string.h>

#include "probe/filter.h"

#define SLOT (-16) /* 16 bytes of the stack */

enum {
	OP_AND_REGISTER = 0x5f,
	OP_JUMP_EQUAL = 0x1d,
	OP_JUMP_GREATER = 0x2d,
	OP_JUMP_GREATER_EQUAL = 0x3d,
	OP_JUMP_SET = 0x4d,
	OP_JUMP_UNEQUAL = 0x5d,
	OP_JUMP_SIGNED_GREATER = 0x6d,
	OP_JUMP_SIGNED_GREATER_EQUAL = 0x7d,
	OP_JUMP_LESS = 0xad,
	OP_JUMP_LESS_EQUAL = 0xbd,
	OP_JUMP_SIGNED_LESS = 0xcd,
	OP_JUMP_SIGNED_LESS_EQUAL = 0xdd,
};

struct writing {
	struct probe_writer *w;
	const struct probe_shape *shape;
	struct probe_jumps *jumps;
	uint8_t next; /* what is fallen into behind the present test */
};

/* ---- jumps ---- */

static void wait_for(struct writing *f, size_t at, uint8_t to)
{
	f->jumps->at[f->jumps->count] = at;
	f->jumps->to[f->jumps->count++] = to;
}

/* A jump that compares r1 with r2, or is always taken. */
static void put_jump(struct writing *f, uint8_t opcode, uint8_t to)
{
	bool always = opcode == OP_JUMP;

	wait_for(f, f->w->count, to);
	probe_put(f->w, opcode, always ? 0 : 1, always ? 0 : 2, 0, 0);
}

static void put_goto(struct writing *f, uint8_t to)
{
	if (to != f->next)
		put_jump(f, OP_JUMP, to);
}

static void wait_for_faults(struct writing *f, const struct probe_faults *faults, uint8_t to)
{
	for (size_t i = 0; i < faults->count; i++)
		wait_for(f, faults->at[i], to);
}

/* What waits for test @to, or for PASS or FAIL, leads here. */
static void land(struct probe_writer *w, struct probe_jumps *jumps, uint8_t to)
{
	size_t kept = 0;

	for (size_t i = 0; i < jumps->count; i++) {
		if (jumps->to[i] == to) {
			probe_put_land(w, jumps->at[i]);
			continue;
		}
		jumps->at[kept] = jumps->at[i];
		jumps->to[kept++] = jumps->to[i];
	}
	jumps->count = kept;
}

/* ---- numbers ---- */

/* The jump that is taken when the comparison holds. */
static uint8_t jump_if(enum probe_comparison comparison, bool is_signed)
{
	switch (comparison) {
	case PROBE_EQUAL:
		return OP_JUMP_EQUAL;
	case PROBE_UNEQUAL:
	case PROBE_NONZERO:
		return OP_JUMP_UNEQUAL;
	case PROBE_LESS:
		return is_signed ? OP_JUMP_SIGNED_LESS : OP_JUMP_LESS;
	case PROBE_LESS_EQUAL:
		return is_signed ? OP_JUMP_SIGNED_LESS_EQUAL : OP_JUMP_LESS_EQUAL;
	case PROBE_GREATER:
		return is_signed ? OP_JUMP_SIGNED_GREATER : OP_JUMP_GREATER;
	case PROBE_GREATER_EQUAL:
		return is_signed ? OP_JUMP_SIGNED_GREATER_EQUAL : OP_JUMP_GREATER_EQUAL;
	case PROBE_SET:
		return OP_JUMP_SET;
	}
	return OP_JUMP_EQUAL;
}

static enum probe_comparison opposite(enum probe_comparison comparison)
{
	switch (comparison) {
	case PROBE_EQUAL:
		return PROBE_UNEQUAL;
	case PROBE_LESS:
		return PROBE_GREATER_EQUAL;
	case PROBE_LESS_EQUAL:
		return PROBE_GREATER;
	case PROBE_GREATER:
		return PROBE_LESS_EQUAL;
	case PROBE_GREATER_EQUAL:
		return PROBE_LESS;
	case PROBE_UNEQUAL:
	case PROBE_NONZERO:
	case PROBE_SET: /* has none */
		break;
	}
	return PROBE_EQUAL;
}

/* The jump that is taken when it does not; OP_JUMP: there is none. */
static uint8_t jump_unless(enum probe_comparison comparison, bool is_signed)
{
	return comparison == PROBE_SET ? OP_JUMP : jump_if(opposite(comparison), is_signed);
}

/* r1 = the value of an argument */
static void put_arg(struct writing *f, const struct probe_arg *arg, uint8_t if_unknown)
{
	struct probe_writer *w = f->w;
	struct probe_faults faults = { 0 };

	if (probe_is_direct(f->shape, arg)) {
		probe_put_direct(w, f->shape, arg);
		return;
	}
	if (arg->source == PROBE_ARG_GOID && !arg->nreads) {
		probe_put_goid(w, SLOT);
		probe_put(w, OP_LOAD_64, 1, 10, SLOT, 0);
		probe_put_cut(w, arg);
		return;
	}
	probe_put_chain(w, f->shape, arg, SLOT, arg->nreads, arg->bits / 8U, &faults);
	wait_for_faults(f, &faults, if_unknown);
	if (arg->nreads) {
		probe_put(w, probe_load_opcode(arg), 1, 10, SLOT, 0);
		probe_put_field(w, arg);
	} else {
		probe_put(w, OP_MOVE, 1, 3, 0, 0);
		probe_put_cut(w, arg);
	}
}

/* r1 = a number */
static void put_number(struct writing *f, const struct probe_test *test)
{
	struct probe_writer *w = f->w;

	switch (test->value) {
	case PROBE_TEST_ARG:
		put_arg(f, &w->spec->args[test->arg], test->next_false);
		return;
	case PROBE_TEST_PID:
	case PROBE_TEST_TID:
		probe_put_call(w, BPF_HELPER_PID_TGID);
		probe_put(w, OP_MOVE, 1, 0, 0, 0);
		if (test->value == PROBE_TEST_TID)
			probe_put(w, OP_SHIFT_LEFT_IMM, 1, 0, 0, 32);
		probe_put(w, OP_SHIFT_RIGHT_IMM, 1, 0, 0, 32);
		return;
	case PROBE_TEST_CPU:
		probe_put_call(w, BPF_HELPER_CPU);
		probe_put(w, OP_MOVE, 1, 0, 0, 0);
		return;
	case PROBE_TEST_COMM:
		break; /* is text */
	}
}

/* r1 = the key of the value whose bits it holds; what is not a number leaves. */
static void put_float_key(struct writing *f, unsigned bits, uint8_t if_nan)
{
	struct probe_writer *w = f->w;

	if (bits == 32)
		probe_put(w, OP_SHIFT_LEFT_IMM, 1, 0, 0, 32);
	probe_put(w, OP_MOVE, 2, 1, 0, 0);
	probe_put(w, OP_SHIFT_LEFT_IMM, 2, 0, 0, 1);
	probe_put_constant(w, 3, bits == 32 ? 0xffULL << 56 : 0x7ffULL << 53); /* infinity without its sign */
	wait_for(f, w->count, if_nan);
	probe_put(w, OP_JUMP_GREATER, 2, 3, 0, 0);
	probe_put_constant(w, 2, 0);
	probe_put(w, OP_JUMP_SIGNED_GREATER_EQUAL, 1, 2, 4, 0);
	probe_put_constant(w, 2, 1ULL << 63); /* two instructions */
	probe_put(w, OP_SUBTRACT, 2, 1, 0, 0);
	probe_put(w, OP_MOVE, 1, 2, 0, 0);
}

static void put_number_test(struct writing *f, const struct probe_test *test, const struct probe_arg *arg)
{
	bool is_float = arg && arg->format == PROBE_FORMAT_FLOAT;
	bool is_signed = is_float || (arg && arg->format == PROBE_FORMAT_SIGNED);
	uint8_t unless = jump_unless(test->comparison, is_signed);

	put_number(f, test);
	if (is_float)
		put_float_key(f, arg->field_bits ? arg->field_bits : arg->bits, test->next_false);
	probe_put_constant(f->w, 2, test->constant);
	if (test->next_true == f->next && unless != OP_JUMP) {
		put_jump(f, unless, test->next_false);
		return;
	}
	put_jump(f, jump_if(test->comparison, is_signed), test->next_true);
	put_goto(f, test->next_false);
}

/* ---- text ---- */

/* 16 bytes at SLOT: the first of the text, zeros where it was not read. */
static void put_text_read(struct writing *f, const struct probe_test *test, unsigned size, uint8_t if_unknown)
{
	struct probe_writer *w = f->w;
	const struct probe_arg *arg = &w->spec->args[test->arg];
	struct probe_faults faults = { 0 };

	probe_put(w, OP_STORE_IMM_64, 10, 0, SLOT, 0);
	probe_put(w, OP_STORE_IMM_64, 10, 0, SLOT + 8, 0);
	if (test->value == PROBE_TEST_COMM) {
		probe_put(w, OP_MOVE, 1, 10, 0, 0);
		probe_put(w, OP_ADD_IMM, 1, 0, 0, SLOT);
		probe_put(w, OP_MOVE_IMM, 2, 0, 0, 16);
		probe_put_call(w, BPF_HELPER_COMM);
		return;
	}
	probe_put_chain(w, f->shape, arg, SLOT, arg->nreads - (arg->nreads > 0), 8, &faults);
	if (arg->nreads)
		probe_put_read(w, SLOT, arg->offset[arg->nreads - 1], size, &faults);
	wait_for_faults(f, &faults, if_unknown);
}

/* The word of the text from @at on, cut where the text ends, against the one that was read. */
static void put_word_test(struct writing *f, const char *text, unsigned at, unsigned size, uint8_t if_other)
{
	unsigned bytes = size - at < 8 ? size - at : 8;
	uint64_t word = 0;

	memcpy(&word, text + at, bytes);
	probe_put(f->w, OP_LOAD_64, 1, 10, (int16_t)(SLOT + (int)at), 0);
	if (bytes < 8) {
		probe_put_constant(f->w, 2, (1ULL << 8 * bytes) - 1);
		probe_put(f->w, OP_AND_REGISTER, 1, 2, 0, 0);
	}
	probe_put_constant(f->w, 2, word);
	put_jump(f, OP_JUMP_UNEQUAL, if_other);
}

/* Word by word, up to and with the NUL, unless more may follow. What cannot be read is another text. */
static void put_text_test(struct writing *f, const struct probe_test *test)
{
	bool equal = test->comparison == PROBE_EQUAL;
	uint8_t if_same = equal ? test->next_true : test->next_false;
	uint8_t if_other = equal ? test->next_false : test->next_true;
	unsigned size = (unsigned)strlen(test->text) + !test->is_start;

	put_text_read(f, test, size, if_other);
	for (unsigned at = 0; at < size; at += 8)
		put_word_test(f, test->text, at, size, if_other);
	put_goto(f, if_same);
}

/* ---- all of it ---- */

static void put_test(struct writing *f, const struct probe_test *test)
{
	const struct probe_arg *arg = test->value == PROBE_TEST_ARG ? &f->w->spec->args[test->arg] : NULL;

	if (arg && probe_shape_is_unknown(f->shape, arg))
		put_goto(f, test->next_false); /* also where it is a text's */
	else if (test->value == PROBE_TEST_COMM || (arg && arg->is_string))
		put_text_test(f, test);
	else
		put_number_test(f, test, arg);
}

void probe_put_filter(struct probe_writer *w, const struct probe_shape *shape, struct probe_jumps *fail)
{
	struct writing f = { .w = w, .shape = shape, .jumps = fail };
	uint32_t count = w->spec->ntests;

	fail->count = 0;
	for (uint32_t i = 0; i < count && !w->error; i++) {
		f.next = i + 1 < count ? (uint8_t)(i + 1) : PROBE_TEST_PASS;
		land(w, fail, (uint8_t)i);
		put_test(&f, &w->spec->tests[i]);
	}
	land(w, fail, PROBE_TEST_PASS);
}

/* ---- limits ---- */

/* The first of so many. */
static void put_every(struct writing *f, uint64_t every)
{
	bool is_power = !(every & (every - 1));

	probe_put_call(f->w, BPF_HELPER_TICKET);
	probe_put(f->w, is_power ? OP_AND_IMM : OP_MODULO_IMM, 0, 0, 0, (int32_t)(is_power ? every - 1 : every));
	wait_for(f, f->w->count, PROBE_TEST_FAIL);
	probe_put(f->w, OP_JUMP_UNEQUAL_IMM, 0, 0, 0, 0);
}

/* What is held back is counted here. */
static void put_rate(struct writing *f, const struct probe_spec *spec)
{
	size_t pass;

	probe_put_constant(f->w, 1, spec->limit_ticks);
	probe_put_constant(f->w, 2, spec->burst_ticks);
	probe_put_call(f->w, BPF_HELPER_LIMIT);
	pass = f->w->count;
	probe_put(f->w, OP_JUMP_UNEQUAL_IMM, 0, 0, 0, 0);
	probe_put_call(f->w, BPF_HELPER_COUNT);
	put_jump(f, OP_JUMP, PROBE_TEST_FAIL);
	probe_put_land(f->w, pass);
}

void probe_put_limits(struct probe_writer *w, struct probe_jumps *fail)
{
	struct writing f = { .w = w, .jumps = fail };

	if (w->spec->every > 1)
		put_every(&f, w->spec->every);
	else if (w->spec->limit_ticks)
		put_rate(&f, w->spec);
}

void probe_put_filter_land(struct probe_writer *w, struct probe_jumps *fail)
{
	land(w, fail, PROBE_TEST_FAIL);
}
