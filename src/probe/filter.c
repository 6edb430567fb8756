/* SPDX-License-Identifier: MIT */
/*
 * Conditions: text -> tests. filter_program.c makes instructions of them.
 *
 *     /EXPRESSION/   EXPRESSION = AND || AND ..   AND = TERM && TERM ..   TERM = ! TERM | ( EXPRESSION ) | VALUE [COMPARISON CONSTANT]
 *     VALUE = the name of an argument | pid | tid | cpu | comm     COMPARISON = == != < <= > >= & | of texts == != ~ !~
 *
 * Tests stand in the order of the text. Each says which test comes next if it holds and if it does not, always a later one, or that all is
 * decided: so the program only jumps forward. Where a piece of the expression leads is known only behind it; until then it is bits of tests.
 */
#include "probe/filter.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 16 /* of brackets and negations */

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

static int take_comparison(struct parsing *p, struct probe_test *test)
{
	static const struct {
		const char *text;
		enum probe_comparison comparison;
	} comparisons[] = {
		{ "==", PROBE_EQUAL }, { "!=", PROBE_UNEQUAL },   { "<=", PROBE_LESS_EQUAL }, { ">=", PROBE_GREATER_EQUAL },
		{ "<", PROBE_LESS },   { ">", PROBE_GREATER }, { "&&", PROBE_NONZERO },    { "&", PROBE_SET },
		{ "~", PROBE_EQUAL },  { "!~", PROBE_UNEQUAL },
	};

	for (size_t i = 0; i < sizeof(comparisons) / sizeof(comparisons[0]); i++) {
		const char *at = p->at;

		if (!take(p, comparisons[i].text))
			continue;
		test->comparison = comparisons[i].comparison;
		test->is_start = strchr(comparisons[i].text, '~');
		if (test->comparison == PROBE_NONZERO) /* that was the next term's */
			p->at = at;
		return 0;
	}
	test->comparison = PROBE_NONZERO;
	skip(p);
	if (p->at < p->end && *p->at == '=')
		return probe_input_fail(p->input, p->at, "values are compared with == != < <= > >= and &");
	return 0;
}

static bool is_text_value(const struct probe_spec *spec, const struct probe_test *test)
{
	return test->value == PROBE_TEST_COMM || (test->value == PROBE_TEST_ARG && spec->args[test->arg].is_string);
}

/* The byte that a backslash and @c stand for; -1: none. */
static int escaped(char c)
{
	static const char pairs[] = "n\nt\t\"\"\\\\";

	for (size_t i = 0; pairs[i]; i += 2)
		if (pairs[i] == c)
			return pairs[i + 1];
	return -1;
}

static int take_string(struct parsing *p, struct probe_test *test)
{
	const char *start = p->at++;
	size_t length = 0;

	for (; p->at < p->end && *p->at != '"'; p->at++) {
		int byte = (unsigned char)*p->at;

		if (byte == '\\')
			byte = ++p->at < p->end ? escaped(*p->at) : -1;
		if (byte < 0)
			return probe_input_fail(p->input, p->at - 1, "\\ is followed by n, t, \" or \\");
		if (length + 1 == sizeof(test->text))
			return probe_input_fail(p->input, start, "a string is compared up to %zu bytes", sizeof(test->text) - 1);
		test->text[length++] = (char)byte;
	}
	if (p->at >= p->end)
		return probe_input_fail(p->input, start, "this string is not closed");
	p->at++;
	return 0;
}

/* The one '*' of a pattern stands at its end, and goes. */
static int take_pattern(struct parsing *p, const char *start, struct probe_test *test)
{
	size_t length = strcspn(test->text, "*?[");

	if (!length || test->text[length] != '*' || test->text[length + 1])
		return probe_input_fail(p->input, start, "a pattern is a text with a * at its end, as \"work*\"");
	test->text[length] = '\0';
	return 0;
}

/* "1.5", "-2e-3" .. as wide as the argument; not hexadecimal, not inf or nan. */
static int take_float(struct parsing *p, unsigned bits, struct probe_test *test)
{
	const char *start = p->at;
	char text[64], *end;
	size_t length = 0;

	if (test->comparison == PROBE_SET)
		return probe_input_fail(p->input, start, "floating point is compared with == != < <= > and >=");
	for (; p->at < p->end && length + 1 < sizeof(text); p->at++) {
		bool is_sign = *p->at == '-' || *p->at == '+';

		if (is_sign ? length && text[length - 1] != 'e' && text[length - 1] != 'E' : !probe_is_digit(*p->at) && !strchr(".eE", *p->at))
			break;
		text[length++] = *p->at;
	}
	text[length] = '\0';
	if (bits == 32) {
		float value = strtof(text, &end);
		uint32_t raw;

		memcpy(&raw, &value, sizeof(raw));
		test->constant = probe_float_key((uint64_t)raw << 32);
	} else {
		double value = strtod(text, &end);
		uint64_t raw;

		memcpy(&raw, &value, sizeof(raw));
		test->constant = probe_float_key(raw);
	}
	return !length || *end ? probe_input_fail(p->input, start, "a decimal number is expected here, as 1.5 or -2e-3") : 0;
}

static int take_constant(struct parsing *p, struct probe_test *test)
{
	const struct probe_spec *spec = p->input->spec;
	const struct probe_arg *arg = test->value == PROBE_TEST_ARG ? &spec->args[test->arg] : NULL;
	const char *start, *digits;
	bool negative;
	int error;

	skip(p);
	start = digits = p->at;
	if (p->at < p->end && *p->at == '"') {
		if (!is_text_value(spec, test))
			return probe_input_fail(p->input, start, "a number is not compared with text");
		if (test->comparison != PROBE_EQUAL && test->comparison != PROBE_UNEQUAL)
			return probe_input_fail(p->input, start, "text is compared with == != ~ and !~ only");
		error = take_string(p, test);
		return !error && test->is_start ? take_pattern(p, start, test) : error;
	}
	if (is_text_value(spec, test))
		return probe_input_fail(p->input, start, "text is compared with \"text\"");
	if (test->is_start)
		return probe_input_fail(p->input, start, "~ compares text with a pattern, as \"work*\"");
	if (arg && arg->format == PROBE_FORMAT_FLOAT)
		return take_float(p, arg->field_bits ? arg->field_bits : arg->bits, test);
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
		if (arg->count || arg->source == PROBE_ARG_TEXT)
			return probe_input_fail(p->input, at, "numbers and strings can be compared, not arrays");
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
		error = take_comparison(p, &test);
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
