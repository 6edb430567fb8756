/* SPDX-License-Identifier: MIT */
/*
 * Conditions: text -> tests -> bpf instructions.
 *
 *     /EXPRESSION/   EXPRESSION = AND || AND ..   AND = TERM && TERM ..   TERM = ! TERM | ( EXPRESSION ) | VALUE [COMPARISON CONSTANT]
 *     VALUE = the name of an argument | pid | tid | cpu | comm     COMPARISON = == != < <= > >= & =~ (not: !~ .. is refused)
 *
 * Tests stand in the order of the text. Each says which test comes next if it holds and if it does not, always a later one, or that all is
 * decided: so the program only jumps forward. Until an operand's place is known its jumps form a list through the tests themselves.
 */
#include "probe/filter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 16 /* of brackets and negations */
#define SLOT (-16)   /* 16 bytes of the stack */

enum {
	OP_JUMP = 0x05,
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

/* ---- text ---- */

struct parsing {
	struct probe_input *input;
	const char *at, *end; /* of EXPRESSION */
	unsigned depth;
};

/* The tests of a piece of the expression: it begins with .first, and .. */
struct piece {
	uint8_t first;
	/* .. where it is decided goes on there: bits of tests whose jump that is */
	uint32_t true_of_true, true_of_false;   /* the piece holds: by the test's next if it holds, if it does not */
	uint32_t false_of_true, false_of_false; /* the piece does not hold */
};

static int parse_or(struct parsing *p, struct piece *ret);

static void skip(struct parsing *p)
{
	while (p->at < p->end && probe_is_blank(*p->at))
		p->at++;
}

static bool take(struct parsing *p, const char *text)
{
	size_t length = strlen(text);

	skip(p);
	if ((size_t)(p->end - p->at) < length || memcmp(p->at, text, length))
		return false;
	p->at += length;
	return true;
}

static int take_comparison(struct parsing *p, enum probe_comparison *ret)
{
	static const struct {
		const char *text;
		enum probe_comparison comparison;
	} comparisons[] = {
		{ "==", PROBE_EQUAL }, { "!=", PROBE_UNEQUAL },   { "<=", PROBE_LESS_EQUAL }, { ">=", PROBE_GREATER_EQUAL },
		{ "<", PROBE_LESS },   { ">", PROBE_GREATER }, { "&&", PROBE_NONZERO },    { "&", PROBE_SET },
	};

	for (size_t i = 0; i < sizeof(comparisons) / sizeof(comparisons[0]); i++) {
		const char *at = p->at;

		if (!take(p, comparisons[i].text))
			continue;
		*ret = comparisons[i].comparison;
		if (*ret == PROBE_NONZERO) /* that was the next term's */
			p->at = at;
		return 0;
	}
	*ret = PROBE_NONZERO;
	skip(p);
	if (p->at < p->end && (*p->at == '=' || *p->at == '~'))
		return probe_input_fail(p->input, p->at, "values are compared with == != < <= > >= and &");
	return 0;
}

static bool is_text_value(const struct probe_spec *spec, const struct probe_test *test)
{
	return test->value == PROBE_TEST_COMM || (test->value == PROBE_TEST_ARG && spec->args[test->arg].is_string);
}

static int take_string(struct parsing *p, struct probe_test *test)
{
	const char *start = p->at++;
	const char *close = memchr(p->at, '"', (size_t)(p->end - p->at));
	size_t length = close ? (size_t)(close - p->at) : 0;

	if (!close)
		return probe_input_fail(p->input, start, "this string is not closed");
	if (length >= sizeof(test->text))
		return probe_input_fail(p->input, start, "a string is compared up to %zu bytes", sizeof(test->text) - 1);
	memcpy(test->text, p->at, length);
	p->at = close + 1;
	return 0;
}

static int take_constant(struct parsing *p, struct probe_test *test)
{
	const struct probe_spec *spec = p->input->spec;
	const char *start, *digits;
	bool negative;

	skip(p);
	start = digits = p->at;
	if (p->at < p->end && *p->at == '"') {
		if (!is_text_value(spec, test))
			return probe_input_fail(p->input, start, "a number is not compared with text");
		if (test->comparison != PROBE_EQUAL && test->comparison != PROBE_UNEQUAL)
			return probe_input_fail(p->input, start, "text is compared with == and != only");
		return take_string(p, test);
	}
	if (is_text_value(spec, test))
		return probe_input_fail(p->input, start, "text is compared with \"text\"");
	negative = p->at < p->end && *p->at == '-';
	digits += negative;
	for (p->at = digits; p->at < p->end && (probe_is_name(p->at, 1) || probe_is_digit(*p->at)); p->at++)
		;
	if (!probe_number(digits, p->at, &test->constant) || (negative && test->constant > 1ULL << 63))
		return probe_input_fail(p->input, start, "a number is expected here, or \"text\"");
	if (negative)
		test->constant = 0 - test->constant;
	return 0;
}

static int find_value(struct parsing *p, const char *at, size_t length, struct probe_test *test)
{
	static const char *const names[] = { [PROBE_TEST_PID] = "pid", [PROBE_TEST_TID] = "tid", [PROBE_TEST_CPU] = "cpu", [PROBE_TEST_COMM] = "comm" };
	const struct probe_spec *spec = p->input->spec;

	for (size_t i = 0; i < spec->nargs; i++) {
		const struct probe_arg *arg = &spec->args[i];

		if (strlen(arg->name) != length || memcmp(arg->name, at, length))
			continue;
		if (arg->count || arg->source == PROBE_ARG_TEXT || arg->format == PROBE_FORMAT_FLOAT)
			return probe_input_fail(p->input, at, "only integers and strings can be compared yet, not arrays and floating point");
		if (arg->source == PROBE_ARG_FILE || arg->source == PROBE_ARG_IP)
			return probe_input_fail(p->input, at, "@+OFFSET and %%ip cannot be compared yet");
		test->value = arg->source == PROBE_ARG_COMM ? PROBE_TEST_COMM : PROBE_TEST_ARG;
		test->arg = (uint8_t)i;
		return 0;
	}
	for (size_t i = PROBE_TEST_PID; i <= PROBE_TEST_COMM; i++)
		if (strlen(names[i]) == length && !memcmp(names[i], at, length)) {
			test->value = (enum probe_test_value)i;
			return 0;
		}
	return probe_input_fail(p->input, at, "the probe has no argument '%.*s'; its arguments, pid, tid, cpu and comm can be compared", (int)length,
				at);
}

static int parse_test(struct parsing *p, struct piece *ret)
{
	struct probe_spec *spec = p->input->spec;
	struct probe_test test = { 0 };
	const char *start = p->at;
	uint32_t bit = 1U << spec->ntests;
	size_t length = 0;
	int error;

	while (start + length < p->end && probe_is_name(start, length + 1))
		length++;
	if (!length)
		return probe_input_fail(p->input, start, "the name of an argument is expected here, or pid, tid, cpu, comm");
	if (spec->ntests == PROBE_TESTS)
		return probe_input_fail(p->input, start, "a condition has at most %d comparisons", PROBE_TESTS);
	error = find_value(p, start, length, &test);
	p->at = start + length;
	if (!error)
		error = take_comparison(p, &test.comparison);
	if (!error && test.comparison == PROBE_NONZERO && is_text_value(spec, &test))
		error = probe_input_fail(p->input, start, "text is compared with == or != and \"text\"");
	if (!error && test.comparison != PROBE_NONZERO)
		error = take_constant(p, &test);
	if (error)
		return error;
	*ret = (struct piece){ .first = (uint8_t)spec->ntests, .true_of_true = bit, .false_of_false = bit };
	spec->tests[spec->ntests++] = test;
	return 0;
}

static int parse_term(struct parsing *p, struct piece *ret)
{
	struct piece inner;
	int error;

	skip(p);
	if (p->depth == DEPTH_MAX)
		return probe_input_fail(p->input, p->at, "brackets are nested deeper than %d", DEPTH_MAX);
	if (take(p, "!")) {
		p->depth++;
		error = parse_term(p, &inner);
		p->depth--;
		*ret = (struct piece){ inner.first, inner.false_of_true, inner.false_of_false, inner.true_of_true, inner.true_of_false };
		return error;
	}
	if (!take(p, "("))
		return parse_test(p, ret);
	p->depth++;
	error = parse_or(p, ret);
	p->depth--;
	if (!error && !take(p, ")"))
		error = probe_input_fail(p->input, p->at, "a ')' is expected here");
	return error;
}

/* All jumps of those tests lead to test @to. */
static void lead(struct probe_spec *spec, uint32_t if_true, uint32_t if_false, uint8_t to)
{
	for (size_t i = 0; i < spec->ntests; i++) {
		if (if_true >> i & 1)
			spec->tests[i].next_true = to;
		if (if_false >> i & 1)
			spec->tests[i].next_false = to;
	}
}

static int parse_and(struct parsing *p, struct piece *ret)
{
	struct piece next;
	int error = parse_term(p, ret);

	while (!error && take(p, "&&")) {
		error = parse_term(p, &next);
		if (error)
			break;
		lead(p->input->spec, ret->true_of_true, ret->true_of_false, next.first);
		ret->true_of_true = next.true_of_true;
		ret->true_of_false = next.true_of_false;
		ret->false_of_true |= next.false_of_true;
		ret->false_of_false |= next.false_of_false;
	}
	return error;
}

static int parse_or(struct parsing *p, struct piece *ret)
{
	struct piece next;
	int error = parse_and(p, ret);

	while (!error && take(p, "||")) {
		error = parse_and(p, &next);
		if (error)
			break;
		lead(p->input->spec, ret->false_of_true, ret->false_of_false, next.first);
		ret->false_of_true = next.false_of_true;
		ret->false_of_false = next.false_of_false;
		ret->true_of_true |= next.true_of_true;
		ret->true_of_false |= next.true_of_false;
	}
	return error;
}

int probe_parse_filter(struct probe_input *input, const char *at)
{
	struct probe_spec *spec = input->spec;
	const char *end = at + strlen(at);
	struct parsing p = { .input = input, .at = at + 1 };
	struct piece whole;
	int error;

	while (end > at + 1 && probe_is_blank(end[-1]))
		end--;
	if (end < at + 2 || end[-1] != '/')
		return probe_input_fail(input, at, "this condition is not closed: /EXPRESSION/ stands at the end");
	p.end = end - 1;
	error = parse_or(&p, &whole);
	skip(&p);
	if (!error && p.at != p.end)
		error = probe_input_fail(input, p.at, "&&, || or the closing / is expected here");
	if (error)
		return error;
	lead(spec, whole.true_of_true, whole.true_of_false, PROBE_TEST_PASS);
	lead(spec, whole.false_of_true, whole.false_of_false, PROBE_TEST_FAIL);
	return 0;
}

/* ---- instructions ---- */

/* What the jumps of a test wait for. */
struct writing {
	struct probe_writer *w;
	const struct probe_shape *shape;
	struct probe_filter_exits *exits;
	size_t to_true[PROBE_TESTS];        /* the jump that is taken if the test holds */
	size_t to_false[PROBE_TESTS];       /* .. if it does not: always a jump */
	struct probe_faults faults[PROBE_TESTS];
};

static uint8_t jump_opcode(const struct probe_test *test, bool is_signed)
{
	switch (test->comparison) {
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

/* r1 = the value of an argument */
static void put_arg(struct probe_writer *w, const struct probe_shape *shape, const struct probe_arg *arg, struct probe_faults *faults)
{
	if (probe_is_direct(shape, arg)) {
		probe_put_direct(w, shape, arg);
		return;
	}
	probe_put_chain(w, shape, arg, SLOT, arg->nreads, arg->bits / 8U, faults);
	if (arg->nreads) {
		probe_put(w, probe_load_opcode(arg), 1, 10, SLOT, 0);
		probe_put_field(w, arg);
	} else {
		probe_put(w, OP_MOVE, 1, 3, 0, 0);
		probe_put_cut(w, arg);
	}
}

/* r1 = a number */
static void put_number(struct writing *f, const struct probe_test *test, size_t i)
{
	struct probe_writer *w = f->w;

	switch (test->value) {
	case PROBE_TEST_ARG:
		put_arg(w, f->shape, &w->spec->args[test->arg], &f->faults[i]);
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

/* 16 bytes at SLOT: the first of the text, zeros where it was not read. A fault says it is another text. */
static void put_text_read(struct writing *f, const struct probe_test *test, size_t i, unsigned size)
{
	struct probe_writer *w = f->w;
	const struct probe_arg *arg = &w->spec->args[test->arg];

	probe_put(w, OP_STORE_IMM_64, 10, 0, SLOT, 0);
	probe_put(w, OP_STORE_IMM_64, 10, 0, SLOT + 8, 0);
	if (test->value == PROBE_TEST_COMM) {
		probe_put(w, OP_MOVE, 1, 10, 0, 0);
		probe_put(w, OP_ADD_IMM, 1, 0, 0, SLOT);
		probe_put(w, OP_MOVE_IMM, 2, 0, 0, 16);
		probe_put_call(w, BPF_HELPER_COMM);
		return;
	}
	probe_put_chain(w, f->shape, arg, SLOT, arg->nreads - (arg->nreads > 0), 8, &f->faults[i]);
	if (arg->nreads)
		probe_put_read(w, SLOT, arg->offset[arg->nreads - 1], size, &f->faults[i]);
}

/* Both words, up to the NUL; the first that differs decides. */
static void put_text(struct writing *f, const struct probe_test *test, size_t i)
{
	struct probe_writer *w = f->w;
	bool equal = test->comparison == PROBE_EQUAL;
	unsigned size = (unsigned)strlen(test->text) + 1;
	size_t differs[2];
	size_t ndiffers = 0;

	put_text_read(f, test, i, size);
	for (unsigned at = 0; at < size; at += 8) {
		unsigned bytes = size - at < 8 ? size - at : 8;
		uint64_t word = 0;

		memcpy(&word, test->text + at, bytes);
		probe_put(w, OP_LOAD_64, 1, 10, (int16_t)(SLOT + (int)at), 0);
		if (bytes < 8) {
			probe_put_constant(w, 2, (1ULL << 8 * bytes) - 1);
			probe_put(w, OP_AND_REGISTER, 1, 2, 0, 0);
		}
		probe_put_constant(w, 2, word);
		differs[ndiffers++] = w->count;
		probe_put(w, OP_JUMP_UNEQUAL, 1, 2, 0, 0);
	}
	/* Here they are equal. */
	if (equal) {
		f->to_true[i] = w->count;
		probe_put(w, OP_JUMP, 0, 0, 0, 0);
	} else {
		f->to_false[i] = w->count;
		probe_put(w, OP_JUMP, 0, 0, 0, 0);
	}
	for (size_t k = 0; k < ndiffers; k++)
		probe_put_land(w, differs[k]);
	if (!equal)
		probe_put_faults_land(w, &f->faults[i]);
	else
		f->to_false[i] = w->count;
	if (!equal) {
		f->to_true[i] = w->count;
		f->faults[i].count = 0;
	}
	probe_put(w, OP_JUMP, 0, 0, 0, 0);
}

static void put_test(struct writing *f, const struct probe_test *test, size_t i)
{
	struct probe_writer *w = f->w;
	const struct probe_arg *arg = test->value == PROBE_TEST_ARG ? &w->spec->args[test->arg] : NULL;

	if (test->value == PROBE_TEST_COMM || (arg && arg->is_string)) {
		put_text(f, test, i);
		return;
	}
	put_number(f, test, i);
	probe_put_constant(w, 2, test->constant);
	f->to_true[i] = w->count;
	probe_put(w, jump_opcode(test, arg && arg->format == PROBE_FORMAT_SIGNED), 1, 2, 0, 0);
	f->to_false[i] = w->count;
	probe_put(w, OP_JUMP, 0, 0, 0, 0);
}

/* Where the test does not hold, or cannot be made. */
static void land_false(struct writing *f, size_t i)
{
	probe_put_land(f->w, f->to_false[i]);
	probe_put_faults_land(f->w, &f->faults[i]);
}

/* What tests before @i lead to it land here. */
static void land_all(struct writing *f, size_t i, uint8_t number)
{
	for (size_t k = 0; k < i; k++) {
		if (f->w->spec->tests[k].next_true == number)
			probe_put_land(f->w, f->to_true[k]);
		if (f->w->spec->tests[k].next_false == number)
			land_false(f, k);
	}
}

void probe_put_filter(struct probe_writer *w, const struct probe_shape *shape, struct probe_filter_exits *exits)
{
	struct writing f = { .w = w, .shape = shape, .exits = exits };
	size_t count = w->spec->ntests;

	exits->count = 0;
	for (size_t i = 0; i < count && !w->error; i++) {
		land_all(&f, i, (uint8_t)i);
		put_test(&f, &w->spec->tests[i], i);
	}
	if (!count || w->error)
		return;
	/* What fails leaves from here; what passes goes on behind. */
	land_all(&f, count, PROBE_TEST_FAIL);
	exits->at[exits->count++] = w->count;
	probe_put(w, OP_JUMP, 0, 0, 0, 0);
	land_all(&f, count, PROBE_TEST_PASS);
}

void probe_put_filter_land(struct probe_writer *w, const struct probe_filter_exits *exits)
{
	for (size_t i = 0; i < exits->count && !w->error; i++)
		probe_put_land(w, exits->at[i]);
}
