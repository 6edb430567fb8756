/* SPDX-License-Identifier: MIT */
/*
 * Conditions: random expressions over values of every kind, made as trees, printed, parsed, compiled and run; the program counts where the
 * tree is true. What cannot be read makes its comparison false, or another text.
 */
#include <math.h>

#include "probe_machine.h"

#define ROUNDS 3000
#define ARGS "a=%di:s32 b=%si:u8 c=+0(%dx):u64 d=+8(+0(%cx)):s16 f=%r8:b4@4/16 s=+0(%r9):string w=$stack1:u16 i=\\-5:s64 g=%r10:f64 h=%r11:f32 "
#define MEMORY 0x10000
#define STACK_WORD 0x8701 /* of word 1, cut to 16 bits: see probe_machine.h */

static uint64_t seed = 0x243f6a8885a308d3ULL;

static unsigned below(unsigned limit)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)(seed >> 33) % limit;
}

/* What one hit finds. */
struct scene {
	uint64_t c, chain;
	char text[24];
	bool has_c, has_chain, has_d, has_text;
	int32_t a;
	uint8_t b;
	int16_t d;
	uint8_t f;
	double g;
	float h;
	uint8_t cells[64]; /* what MEMORY holds */
};

struct writer {
	char text[2000];
	size_t used;
	unsigned comparisons;
};

static void put(struct writer *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct writer *w, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	w->used += (size_t)vsnprintf(w->text + w->used, sizeof(w->text) - w->used, format, ap);
	va_end(ap);
	assert_true(w->used < sizeof(w->text));
}

static void put_blank(struct writer *w)
{
	put(w, "%s", below(3) ? " " : "");
}

static const char *const signs[] = { "==", "!=", "<=", ">=", "<", ">", "&" };

static bool compare_signed(unsigned sign, int64_t left, int64_t right)
{
	const bool results[] = { left == right, left != right, left <= right, left >= right, left < right, left > right, left & right };

	return results[sign];
}

static bool compare_unsigned(unsigned sign, uint64_t left, uint64_t right)
{
	const bool results[] = { left == right, left != right, left <= right, left >= right, left < right, left > right, (left & right) != 0 };

	return results[sign];
}

/* A number near @value, or far from it. */
static int64_t constant_for(int64_t value)
{
	switch (below(4)) {
	case 0:
		return value;
	case 1:
		return value + 1;
	case 2:
		return (int64_t)below(10) - 5;
	default:
		return value - 1;
	}
}

static bool put_number(struct writer *w, const char *name, int64_t value, bool is_signed, bool is_known)
{
	unsigned sign = below(COUNT(signs));
	int64_t constant = constant_for(value);

	put(w, "%s", name);
	if (!below(5))
		return is_known && value;
	put_blank(w);
	put(w, "%s", signs[sign]);
	put_blank(w);
	put(w, below(2) && constant >= 0 ? "0x%llx" : "%lld", (long long)constant);
	return is_known && (is_signed ? compare_signed(sign, value, constant) : compare_unsigned(sign, (uint64_t)value, (uint64_t)constant));
}

/* As much of a text is compared as the constant has, and its NUL. */
static bool put_text(struct writer *w, const char *name, const char *value, bool is_known)
{
	static const char *const texts[] = { "", "w", "work", "worker", "worker1", "workers", "abcdefgh", "abcdefghijk" };
	const char *constant = below(3) ? texts[below(COUNT(texts))] : strlen(value) < 16 ? value : "x";
	bool equal = below(2);

	put(w, "%s%s\"%s\"", name, equal ? " == " : "!=", constant);
	return (is_known && !strcmp(value, constant)) == equal;
}

/* Of floating point; what is not a number compares as false. */
static bool put_float(struct writer *w, const char *name, double value, bool is_float)
{
	static const double others[] = { 0, -0.0, 1, -1, 0.5, 1e300, -1e300, 1e-310, 3.5e38 };
	unsigned sign = below(COUNT(signs) - 1);
	double constant = below(2) && isfinite(value) ? value : others[below(COUNT(others))];
	double right = is_float ? (double)(float)constant : constant;
	const bool results[] = { value == right, value != right, value <= right, value >= right, value < right, value > right };

	put(w, "%s", name);
	if (!below(5))
		return !isnan(value) && value != 0;
	put_blank(w);
	put(w, "%s %.17g", signs[sign], constant);
	return !isnan(value) && results[sign];
}

static bool put_start(struct writer *w, const char *name, const char *value, bool is_known)
{
	static const char *const texts[] = { "w", "work", "worker", "abcdefgh", "abcdefghijk" };
	const char *constant = texts[below(COUNT(texts))];
	bool equal = below(2);

	put(w, "%s %s \"%s*\"", name, equal ? "~" : "!~", constant);
	return (is_known && !strncmp(value, constant, strlen(constant))) == equal;
}

static bool put_comparison(struct writer *w, const struct scene *s)
{
	w->comparisons++;
	switch (below(16)) {
	case 12:
		return put_float(w, "g", s->g, false);
	case 13:
		return put_float(w, "h", (double)s->h, true);
	case 14:
		return put_start(w, "s", s->text, s->has_text);
	case 15:
		return put_start(w, "comm", "worker", true);
	case 0:
		return put_number(w, "a", s->a, true, true);
	case 1:
		return put_number(w, "b", s->b, false, true);
	case 2:
		return put_number(w, "c", (int64_t)s->c, false, s->has_c);
	case 3:
		return put_number(w, "d", s->d, true, s->has_chain && s->has_d);
	case 4:
		return put_number(w, "f", s->f, false, true);
	case 5:
		return put_text(w, "s", s->text, s->has_text);
	case 6:
		return put_text(w, "comm", "worker", true);
	case 7:
		return put_number(w, "pid", 4711, false, true);
	case 8:
		return put_number(w, "tid", 4712, false, true);
	case 9:
		return put_number(w, "w", STACK_WORD, false, true);
	case 10:
		return put_number(w, "i", -5, true, true);
	default:
		return put_number(w, "cpu", 3, false, true);
	}
}

static bool put_expression(struct writer *w, const struct scene *s, unsigned depth)
{
	unsigned kind = depth == 0 || w->comparisons >= PROBE_TESTS / 2 ? 0 : below(4);
	bool left, right, is_and;

	if (kind == 0)
		return put_comparison(w, s);
	if (kind == 1) {
		put(w, "!(");
		left = put_expression(w, s, depth - 1);
		put(w, ")");
		return !left;
	}
	is_and = kind == 2;
	put(w, "(");
	left = put_expression(w, s, depth - 1);
	put(w, is_and ? " && " : "||");
	if (w->comparisons == PROBE_TESTS)
		fail_msg("too many comparisons");
	right = put_expression(w, s, depth - 1);
	put(w, ")");
	return is_and ? left && right : left || right;
}

static double random_float(void)
{
	static const double values[] = { 0, -0.0, 1, -1, 0.5, 1e300, -1e300, 1e-310, -1e-310, INFINITY, -INFINITY, NAN, -NAN, 0.1, 1e-40, -3.5 };

	return values[below(COUNT(values))];
}

static void choose(struct scene *s, struct machine *m)
{
	static const char *const texts[] = { "", "w", "worker", "abcdefgh", "abcdefghijk", "abcdefghijklmnopqrst" };

	*s = (struct scene) { .a = (int32_t)below(9) - 4, .b = (uint8_t)below(4), .c = below(3) ? below(5) : ~0ULL - below(3),
			      .d = (int16_t)((int)below(7) - 3), .f = (uint8_t)below(16), .has_c = below(4), .has_chain = below(6),
			      .has_d = below(6), .has_text = below(5) };
	s->g = random_float();
	s->h = (float)random_float();
	memcpy(&m->context[ISA_R10], &s->g, 8);
	m->context[ISA_R11] = 0xabcdef00ULL << 32;
	memcpy(&m->context[ISA_R11], &s->h, 4);
	snprintf(s->text, sizeof(s->text), "%s", texts[below(COUNT(texts))]);
	s->chain = s->has_d ? MEMORY + 8 : 0x666000;
	memcpy(s->cells, &s->c, 8);
	memcpy(s->cells + 16, &s->d, 2); /* +8 from where the chain leads */
	memcpy(s->cells + 24, &s->chain, 8);
	memcpy(s->cells + 32, s->text, sizeof(s->text));
	m->memory[0] = (struct machine_memory) { .addr = MEMORY, .data = s->cells, .size = sizeof(s->cells) };
	m->context[ISA_DI] = 0xabcd00000000ULL | (uint32_t)s->a;
	m->context[ISA_SI] = 0xffffff00ULL | s->b;
	m->context[ISA_DX] = s->has_c ? MEMORY : 0x667000;
	m->context[ISA_CX] = s->has_chain ? MEMORY + 24 : 0x668000;
	m->context[ISA_R8] = 0xff0fULL | (uint64_t)s->f << 4;
	m->context[ISA_R9] = s->has_text ? MEMORY + 32 : 0x669000;
}

static void compile(const char *text, enum probe_action action, enum probe_part part, struct bpf_insn **program, size_t *count)
{
	static struct probe_spec spec;
	struct utap_error err = { 0 };

	if (probe_parse(text, &spec, NULL, &err))
		fail_msg("'%s' is refused: %s", text, err.text);
	assert_int_equal(probe_program(&spec, action, part, NULL, program, count), 0);
	if (bpf_check(*program, *count, BPF_PROBE, &err))
		fail_msg("'%s': %s", text, err.text);
}

static void test_expressions(void **state)
{
	unsigned held = 0;

	for (unsigned round = 0; round < ROUNDS; round++) {
		struct machine m = { 0 };
		struct writer w = { 0 };
		struct bpf_insn *program;
		struct scene scene;
		size_t count;
		bool want;

		choose(&scene, &m);
		put(&w, "%s", "f " ARGS "/");
		want = put_expression(&w, &scene, 3);
		put(&w, "/");
		compile(w.text, PROBE_COUNT, PROBE_PART_PLACE, &program, &count);
		run(&m, program, count);
		if (m.counts != want)
			fail_msg("%s: counted %u, want %d", w.text, m.counts, want);
		held += want;
		free(program);
	}
	assert_in_range(held, ROUNDS / 5, ROUNDS * 4 / 5);
}

/* Nothing is done where the condition does not hold; also nobody is triggered. */
static void test_records(void **state)
{
	for (uint32_t value = 0; value < 20; value++) {
		struct machine m = { .context = { [ISA_DI] = value / 2 } };
		bool holds = value / 2 > 3 && value / 2 != 7, is_trigger = value % 2;
		struct bpf_insn *program;
		size_t count;

		compile("f n=%di:u32 s=$stack2 /n > 3 && n != 7/", is_trigger ? PROBE_TRIGGER : PROBE_RECORD, PROBE_PART_PLACE, &program, &count);
		run(&m, program, count);
		assert_int_equal(m.submits, holds);
		assert_int_equal(m.words, holds);
		assert_int_equal(m.counts, holds && is_trigger);
		free(program);
	}
}

/* What a tail call will return is not known: no comparison with it holds, so that its negation does. */
static void test_unknown(void **state)
{
	static const struct {
		const char *condition;
		unsigned returns, tails;
	} rows[] = { { "/n == 7/", 1, 0 }, { "/n != 7/", 0, 0 }, { "/!(n == 8)/", 1, 1 }, { "/n == 7 || pid == 4711/", 1, 1 }, { "/n/", 1, 0 } };

	for (size_t i = 0; i < COUNT(rows); i++)
		for (int tail = 0; tail < 2; tail++) {
			struct machine m = { .context = { [ISA_AX] = 7 } };
			struct bpf_insn *program;
			char text[100];
			size_t count;

			snprintf(text, sizeof(text), "r:f n=$retval %s", rows[i].condition);
			compile(text, PROBE_COUNT, tail ? PROBE_PART_TAIL : PROBE_PART_RETURN, &program, &count);
			run(&m, program, count);
			assert_int_equal(m.counts, tail ? rows[i].tails : rows[i].returns);
			free(program);
		}
}

static void test_bad(void **state)
{
	static const struct {
		const char *condition, *why;
	} rows[] = {
		{ "g == nan", "a decimal number" },    { "g == 0x10", "the closing /" },  { "g < 1.5.2", "a decimal number" },
		{ "g == 1e", "a decimal number" },     { "g & 1", "is compared with" },      { "s ~ \"a*b\"", "a * at its end" },
		{ "s ~ \"*\"", "a * at its end" },     { "s ~ \"ab\"", "a * at its end" },   { "s !~ \"a?*\"", "a * at its end" },
		{ "a ~ \"x*\"", "with text" },	       { "a ~ 5", "~ compares text" },	     { "s < \"x\"", "== != ~ and !~" },
		{ "comm ~ 5", "is compared with" },    { "a === 5", "a number is expected" },
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		static struct probe_spec spec;
		struct utap_error err = { 0 };
		char text[200];

		snprintf(text, sizeof(text), "f %s/%s/", ARGS, rows[i].condition);
		assert_int_equal(probe_parse(text, &spec, NULL, &err), -EINVAL);
		if (!strstr(err.text, rows[i].why))
			fail_msg("%s: %s", rows[i].condition, err.text);
	}
}

/* ---- limits, and calls ---- */

static void run_spec(struct machine *m, const struct probe_spec *spec, enum probe_action action, enum probe_part part)
{
	struct utap_error err = { 0 };
	struct bpf_insn *program;
	size_t count;

	assert_int_equal(probe_program(spec, action, part, NULL, &program, &count), 0);
	if (bpf_check(program, count, BPF_PROBE, &err))
		fail_msg("%s", err.text);
	run(m, program, count);
	free(program);
}

/* The first of every so many of those for which the condition holds. */
static void test_every(void **state)
{
	static const uint64_t rows[] = { 1, 2, 5, 64 };
	static struct probe_spec spec;

	assert_int_equal(probe_parse("f n=%di /n & 1/", &spec, NULL, NULL), 0);
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct machine m = { 0 };

		spec.every = rows[i];
		for (uint64_t n = 0; n < 256; n++) {
			unsigned submits = m.submits;

			m.context[ISA_DI] = n;
			m.at = 0;
			run_spec(&m, &spec, PROBE_RECORD, PROBE_PART_PLACE);
			assert_int_equal(m.submits - submits, n & 1 && n / 2 % rows[i] == 0);
		}
		assert_int_equal(m.tickets, rows[i] > 1 ? 128 : 0);
		assert_int_equal(m.counts, 0);
	}
}

/* What is held back is counted; a count has no limit. */
static void test_limit(void **state)
{
	static struct probe_spec spec;
	struct machine m = { .limit = 3 };

	assert_int_equal(probe_parse("f n=%di /n & 1/", &spec, NULL, NULL), 0);
	spec.limit_ticks = 1000;
	spec.burst_ticks = 7000;
	for (uint64_t n = 0; n < 20; n++) {
		m.context[ISA_DI] = n;
		m.at = 0;
		run_spec(&m, &spec, PROBE_RECORD, PROBE_PART_PLACE);
		assert_int_equal(m.submits, n / 2 + n % 2 < 3 ? n / 2 + n % 2 : 3);
	}
	assert_int_equal(m.counts, 7);
	m = (struct machine) { .context = { [ISA_DI] = 1 } };
	run_spec(&m, &spec, PROBE_COUNT, PROBE_PART_PLACE);
	assert_int_equal(m.counts, 1);
}

/* The entry of a call that is left out says so, without arguments; exits are recorded always. */
static void test_calls(void **state)
{
	static struct probe_spec spec;

	assert_int_equal(probe_parse("f n=%di s=+0(%si):string /n == 1/", &spec, NULL, NULL), 0);
	for (uint64_t n = 0; n < 2; n++)
		for (enum probe_part part = PROBE_PART_ENTRY; part <= PROBE_PART_ENTRY_TAIL; part++) {
			struct machine m = { .memory = { { .addr = MEMORY, .data = "text", .size = 5 } } };
			bool has_entry = part != PROBE_PART_RETURN && part != PROBE_PART_TAIL, has_exit = part != PROBE_PART_ENTRY;
			struct wire_record *record = (struct wire_record *)(void *)m.record;

			m.context[ISA_DI] = n;
			m.context[ISA_SI] = MEMORY;
			m.context[ISA_SP] = 0x7000;
			run_spec(&m, &spec, PROBE_RECORD_CALLS, part);
			assert_int_equal(m.submits, has_entry + has_exit);
			if (has_entry) {
				assert_int_equal(record->flags, n ? WIRE_RECORD_ENTRY | WIRE_RECORD_LONG : WIRE_RECORD_ENTRY | WIRE_RECORD_LEFT_OUT);
				assert_int_equal(record->size, n ? 56 : 32);
				assert_int_equal(((uint64_t *)(record + 1))[0], 0x7000);
				record = (struct wire_record *)(void *)(m.record + record->size);
			}
			if (has_exit) {
				assert_true(record->flags & WIRE_RECORD_RETURN);
				assert_int_equal(((uint64_t *)(record + 1))[0], 0x7000);
			}
		}
}

/* Escapes of a text, and what is wrong with one. */
static void test_texts(void **state)
{
	static const struct {
		const char *constant, *text; /* NULL: refused */
	} rows[] = {
		{ "a\\n\\t", "a\n\t" }, { "\\\\\\\"", "\\\"" }, { "", "" },  { "123456789012345", "123456789012345" },
		{ "1234567890123456", NULL }, { "a\\x", NULL },     { "a\\", NULL },
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		static struct probe_spec spec;
		struct utap_error err = { 0 };
		size_t column = 0;
		char text[100];

		snprintf(text, sizeof(text), "f s=+0(%%di):string /s == \"%s\"/", rows[i].constant);
		assert_int_equal(probe_parse(text, &spec, &column, &err), rows[i].text ? 0 : -EINVAL);
		if (rows[i].text)
			assert_string_equal(spec.tests[0].text, rows[i].text);
		else
			assert_in_range(column, 26, 28);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_expressions), cmocka_unit_test(test_records), cmocka_unit_test(test_unknown),
					   cmocka_unit_test(test_texts), cmocka_unit_test(test_bad),	cmocka_unit_test(test_every),
					   cmocka_unit_test(test_limit),       cmocka_unit_test(test_calls) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
