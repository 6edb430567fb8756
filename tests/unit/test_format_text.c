/* SPDX-License-Identifier: MIT */
/*
 * ftrace's text and JSON: to the byte, since other programs read them; and no byte of a hostile name reaches a
 * terminal.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/format.h"

#include <cmocka.h>

static const struct trace_arg arg_table[] = {
	{ .name = "size", .bits = 64, .format = TRACE_HEX },
	{ .name = "fd", .bits = 32, .format = TRACE_SIGNED },
	{ .name = "n", .bits = 8, .format = TRACE_UNSIGNED },
};

static struct trace_probe *make_probe(uint32_t nargs)
{
	struct trace_probe *probe = calloc(1, sizeof(*probe));

	assert_non_null(probe);
	strcpy(probe->group, "probe_libc");
	strcpy(probe->event, "malloc");
	probe->path = "/usr/lib/libc.so.6";
	probe->symbol = "malloc";
	probe->symbol_offset = 4;
	probe->addr = 0x7f0012345678;
	probe->nargs = nargs;
	probe->record_size = 24 + 8 * nargs;
	probe->args = arg_table;
	return probe;
}

static const uint64_t values[] = { 0x18, 0xffffffff, 0x1ff };
static const struct trace_record sample = {
	.time_ns = 12345678901999, .cpu = 1, .pid = 1230, .tid = 1234, .nargs = 3, .args = values
};

/* A file whose bytes become the string *@text, on the heap. */
static FILE *open_text(char **text)
{
	char *bytes = calloc(1, 4096);
	FILE *out = bytes ? fmemopen(bytes, 4096, "w") : NULL;

	assert_non_null(out);
	*text = bytes;
	return out;
}

static char *text_of(const struct trace_probe *probe, const struct trace_record *record, const char *comm, bool color)
{
	char *text;
	FILE *out = open_text(&text);

	format_text(out, probe, record, comm, color);
	fclose(out);
	return text;
}

static char *json_of(const struct trace_probe *probe, const struct trace_record *record, const char *comm)
{
	char *text;
	FILE *out = open_text(&text);

	format_json(out, probe, record, comm);
	fclose(out);
	return text;
}

static void assert_text(char *text, const char *expected)
{
	assert_string_equal(text, expected);
	free(text);
}

static void test_values(void **state)
{
	static const struct {
		uint8_t bits;
		enum trace_arg_format format;
		uint64_t value;
		const char *text;
	} rows[] = {
		{ 64, TRACE_UNSIGNED, UINT64_MAX, "18446744073709551615" },
		{ 64, TRACE_SIGNED, UINT64_MAX, "-1" },
		{ 64, TRACE_SIGNED, 1ULL << 63, "-9223372036854775808" },
		{ 64, TRACE_HEX, UINT64_MAX, "0xffffffffffffffff" },
		{ 32, TRACE_UNSIGNED, 0xfffffffff, "4294967295" },
		{ 32, TRACE_SIGNED, 0x80000000, "-2147483648" },
		{ 32, TRACE_SIGNED, 0x17fffffff, "2147483647" },
		{ 16, TRACE_SIGNED, 0xffff, "-1" },
		{ 16, TRACE_HEX, 0x12345, "0x2345" },
		{ 8, TRACE_UNSIGNED, 0x1ff, "255" },
		{ 8, TRACE_SIGNED, 0x80, "-128" },
		{ 8, TRACE_HEX, 0, "0x0" },
		{ 0, TRACE_UNSIGNED, 24, "24" },
		{ 255, TRACE_HEX, UINT64_MAX, "0xffffffffffffffff" },
	};
	char text[32];
	char tiny[4];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct trace_arg arg = { .bits = rows[i].bits, .format = rows[i].format };

		format_value(&arg, rows[i].value, text, sizeof(text));
		assert_string_equal(text, rows[i].text);
	}
	format_value(&arg_table[2], 255, tiny, sizeof(tiny));
	assert_string_equal(tiny, "255");
	format_value(&arg_table[0], 0xabcdef, tiny, sizeof(tiny)); /* cut, never beyond the end */
	assert_string_equal(tiny, "0xa");
}

static void test_text(void **state)
{
	struct trace_probe *probe = make_probe(3);
	struct trace_record record = sample;

	assert_text(text_of(probe, &record, "python3", false),
		    "         python3-1234    [001] ..... 12345.678901: malloc: (malloc+0x4) size=0x18 fd=-1 n=255\n");
	record = (struct trace_record) { .time_ns = 999, .cpu = 1023, .tid = 4194304, .nargs = 3, .args = values };
	probe->symbol = "";
	assert_text(
	    text_of(probe, &record, NULL, false),
	    "           <...>-4194304 [1023] .....     0.000000: malloc: (0x7f0012345678) size=0x18 fd=-1 n=255\n");
	record.nargs = 1; /* the shorter of the two counts */
	assert_text(text_of(probe, &record, "a name of more than 16", false),
		    "a name of more than 16-4194304 [1023] .....     0.000000: malloc: (0x7f0012345678) size=0x18\n");
	record.nargs = 3;
	probe->nargs = 0;
	assert_text(text_of(probe, &record, "", false),
		    "                -4194304 [1023] .....     0.000000: malloc: (0x7f0012345678)\n");
	free(probe);
}

/* The header's columns stand over the fields. */
static void test_text_header(void **state)
{
	struct trace_probe *probe = make_probe(0);
	char *line = text_of(probe, &sample, "python3", false);
	char *text;
	FILE *out = open_text(&text);
	char *titles;
	char *bars;

	format_text_header(out);
	fclose(out);
	assert_int_equal(strncmp(text, "# tracer: utap\n#\n", 17), 0);
	titles = strstr(text, "#           TASK-PID");
	assert_non_null(titles);
	bars = strchr(titles, '\n') + 1;
	assert_ptr_equal(strchr(bars, '\n'), text + strlen(text) - 1);
	assert_int_equal(strstr(titles, "|||||") - titles, strstr(line, ".....") - line);
	assert_int_equal(line[strstr(titles, "CPU#") - titles], '[');
	assert_int_equal(strchr(titles, '-') - titles, strchr(line, '-') - line);
	for (char *at = text; *at; at = strchr(at, '\n') + 1)
		assert_int_equal(*at, '#');
	free(text);
	free(line);
	free(probe);
}

/* Colours add escape sequences and nothing else. */
static void test_text_color(void **state)
{
	struct trace_probe *probe = make_probe(3);
	char *plain = text_of(probe, &sample, "python3", false);
	char *color = text_of(probe, &sample, "python3", true);
	char *to = color;

	assert_non_null(strstr(color, "\033[0m"));
	assert_null(strchr(plain, '\033'));
	for (char *from = color; *from; from++) {
		if (*from == '\033')
			from = strchr(from, 'm');
		else
			*to++ = *from;
	}
	*to = '\0';
	assert_string_equal(color, plain);
	free(plain);
	free(color);
	free(probe);
}

static void test_text_hostile(void **state)
{
	struct trace_probe *probe = make_probe(0);
	struct trace_record record = sample;

	assert_text(text_of(probe, &record, "a\033]0;x\a\n", false),
		    "        a?]0;x?\?-1234    [001] ..... 12345.678901: malloc: (malloc+0x4)\n");
	probe->symbol = "f\xc2\x9b"
			"2J\x9b\xff\xc3";
	assert_text(text_of(probe, &record, "d\xc3\xa9mon", false),
		    "           d\xc3\xa9mon-1234    [001] ..... 12345.678901: malloc: (f?2J???+0x4)\n");
	free(probe);
}

static void test_json(void **state)
{
	struct trace_probe *probe = make_probe(3);
	struct trace_record record = sample;

	assert_text(json_of(probe, &record, "py\"thon"),
		    "{\"time_ns\":12345678901999,\"cpu\":1,\"pid\":1230,\"tid\":1234,\"comm\":\"py\\\"thon\","
		    "\"group\":\"probe_libc\",\"event\":\"malloc\",\"symbol\":\"malloc\",\"symbol_offset\":4,"
		    "\"args\":{\"size\":\"0x18\",\"fd\":-1,\"n\":255}}\n");
	probe->symbol = NULL; /* as good as "" */
	record.nargs = 0;
	assert_text(json_of(probe, &record, NULL),
		    "{\"time_ns\":12345678901999,\"cpu\":1,\"pid\":1230,\"tid\":1234,\"comm\":null,"
		    "\"group\":\"probe_libc\",\"event\":\"malloc\",\"addr\":\"0x7f0012345678\",\"args\":{}}\n");
	free(probe);
}

static void test_json_strings(void **state)
{
	static const struct {
		const char *text;
		const char *json;
	} rows[] = {
		{ "", "\"\"" },
		{ "plain /path", "\"plain /path\"" },
		{ "\"\\\b\f\n\r\t", "\"\\\"\\\\\\b\\f\\n\\r\\t\"" },
		{ "\x01\x1f\x7f\xc2\x80", "\"\\u0001\\u001f\\u007f\\u0080\"" },
		{ "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"" },
		{ "\x80x", "\"\\ufffdx\"" }, /* a follower alone */
		{ "\xc3", "\"\\ufffd\"" },   /* cut off */
		{ "\xe2\x82", "\"\\ufffd\\ufffd\"" },
		{ "\xf0\x9f\x98", "\"\\ufffd\\ufffd\\ufffd\"" },
		{ "\xc3(", "\"\\ufffd(\"" },
		{ "\xc0\xaf", "\"\\ufffd\\ufffd\"" }, /* overlong */
		{ "\xe0\x80\xaf", "\"\\ufffd\\ufffd\\ufffd\"" },
		{ "\xf0\x80\x80\xaf", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" },
		{ "\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"" },            /* a surrogate */
		{ "\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" }, /* above U+10FFFF */
		{ "\xf4\x8f\xbf\xbf", "\"\xf4\x8f\xbf\xbf\"" },
		{ "\xf8\x88\x80\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\"" },
		{ "\xff", "\"\\ufffd\"" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text;
		FILE *out = open_text(&text);

		format_json_string(out, rows[i].text);
		fclose(out);
		assert_text(text, rows[i].json);
	}
}

/* ---- returns and whole calls ---- */

static const struct trace_arg result_table[] = { { .name = "ret", .bits = 32, .format = TRACE_SIGNED, .is_result = true },
						 { .name = "dx", .bits = 64, .format = TRACE_HEX } };
static const uint64_t results[] = { 0xfffffffe, 0x77 };

static struct trace_probe *make_return(void)
{
	struct trace_probe *probe = make_probe(0);

	probe->kind = TRACE_RETURN;
	probe->symbol_offset = 0;
	probe->nargs = 2;
	probe->args = result_table;
	return probe;
}

static struct trace_record return_record(uint16_t flags)
{
	struct trace_record record = sample;

	record.nargs = 2;
	record.args = results;
	record.caller = 0x401234;
	record.flags = WIRE_RECORD_RETURN | flags;
	return record;
}

static char *call_text(const struct trace_probe *probe, const struct trace_record *record, const struct format_call *call)
{
	char *text;
	FILE *out = open_text(&text);

	format_text_call(out, probe, record, call, "x", false);
	fclose(out);
	return text;
}

static char *call_json(const struct trace_probe *probe, const struct trace_record *record, const struct format_call *call)
{
	char *text;
	FILE *out = open_text(&text);

	format_json_call(out, probe, record, call, NULL);
	fclose(out);
	return text;
}

#define LINE(rest) "               x-1234    [001] ..... 12345.678901: malloc: " rest "\n"

static void test_return(void **state)
{
	struct trace_probe *probe = make_return();
	struct trace_record record = return_record(0);
	struct format_call call = { .caller = "main", .caller_offset = 0x23 };

	assert_text(call_text(probe, &record, NULL), LINE("(0x401234 <- malloc) ret=-2 dx=0x77"));
	assert_text(call_text(probe, &record, &call), LINE("(main+0x23 <- malloc) ret=-2 dx=0x77"));
	record = return_record(WIRE_RECORD_TAIL);
	assert_text(call_text(probe, &record, &call), LINE("(main+0x23 <- malloc) ret=? dx=0x77 (tail call)"));
	probe->symbol = "";
	assert_text(call_text(probe, &record, NULL), LINE("(0x401234 <- 0x7f0012345678) ret=? dx=0x77 (tail call)"));
	free(probe);
}

static void test_whole_call(void **state)
{
	struct trace_probe *probe = make_return();
	struct trace_probe *entry = make_probe(3);
	struct trace_record record = return_record(0);
	struct trace_call whole = { .ending = TRACE_RETURNED, .start_ns = 1000, .end_ns = 2234, .nargs = 3, .args = values };
	struct format_call call = { .call = &whole, .entry = entry };

	whole.exit = &record;
	assert_text(call_text(probe, &record, &call),
		    LINE("(0x401234 <- malloc) size=0x18 fd=-1 n=255 ret=-2 dx=0x77 1.234 us"));
	whole.ending = TRACE_UNPAIRED;
	whole.nargs = 0;
	assert_text(call_text(probe, &record, &call), LINE("(0x401234 <- malloc) ret=-2 dx=0x77 (entered unseen)"));
	record = sample; /* as the command makes one of a call that was abandoned */
	record.nargs = 0;
	whole = (struct trace_call) { .ending = TRACE_ABANDONED, .start_ns = 5, .end_ns = 12000005, .nargs = 3, .args = values };
	assert_text(call_text(probe, &record, &call), LINE("(malloc) size=0x18 fd=-1 n=255 12.000 ms (abandoned)"));
	free(probe);
	free(entry);
}

#define OBJECT                                                                                                          \
	"{\"time_ns\":12345678901999,\"cpu\":1,\"pid\":1230,\"tid\":1234,\"comm\":null,\"group\":\"probe_libc\",\"event\":\"malloc\"," \
	"\"symbol\":\"malloc\",\"symbol_offset\":0,"

static void test_json_call(void **state)
{
	struct trace_probe *probe = make_return();
	struct trace_probe *entry = make_probe(1);
	struct trace_record record = return_record(0);
	struct trace_call whole = { .ending = TRACE_RETURNED, .start_ns = 1000, .end_ns = 2234, .nargs = 1, .args = values };
	struct format_call call = { .caller = "m\"n", .caller_offset = 35 };

	assert_text(call_json(probe, &record, &call),
		    OBJECT "\"caller\":\"0x401234\",\"caller_symbol\":\"m\\\"n\",\"caller_offset\":35,\"how\":\"return\","
			   "\"args\":{\"ret\":-2,\"dx\":\"0x77\"}}\n");
	call = (struct format_call) { .call = &whole, .entry = entry };
	record = return_record(WIRE_RECORD_TAIL);
	assert_text(call_json(probe, &record, &call),
		    OBJECT "\"caller\":\"0x401234\",\"how\":\"tail\",\"duration_ns\":1234,"
			   "\"args\":{\"size\":\"0x18\",\"ret\":null,\"dx\":\"0x77\"}}\n");
	whole.ending = TRACE_UNPAIRED;
	whole.nargs = 0;
	assert_text(call_json(probe, &record, &call),
		    OBJECT "\"caller\":\"0x401234\",\"how\":\"unpaired\",\"args\":{\"ret\":null,\"dx\":\"0x77\"}}\n");
	record = sample;
	record.nargs = 0;
	whole.ending = TRACE_ABANDONED;
	assert_text(call_json(probe, &record, &call), OBJECT "\"how\":\"abandoned\",\"duration_ns\":1234,\"args\":{}}\n");
	free(probe);
	free(entry);
}

static void test_duration(void **state)
{
	static const struct {
		uint64_t ns;
		const char *text;
	} rows[] = {
		{ 0, "  0.000 us" },	      { 1, "  0.001 us" },	      { 999999, "999.999 us" },
		{ 1000000, "  1.000 ms" },    { 999999999, "999.999 ms" },    { 1000000000, "  1.000  s" },
		{ 61234567890, " 61.234  s" }, { UINT64_MAX, "18446744073.709  s" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[32];

		format_duration(rows[i].ns, text, sizeof(text));
		assert_string_equal(text, rows[i].text);
	}
}

/* ---- user stacks ---- */

#define NAMED 0x401000 /* a function of 0x100 bytes, and what is around it belongs to no function */

static bool find_symbol(void *arg, uint32_t source, uint32_t pid, uint64_t addr, struct format_symbol *ret)
{
	assert_int_equal(pid, 1230);
	assert_int_equal(source, 0);
	(*(unsigned *)arg)++;
	if (addr < 0x400000 || addr >= 0x500000)
		return false;
	*ret = (struct format_symbol) { .path = "/lib/x\033.so", .path_offset = addr - 0x400000 };
	if (addr >= NAMED && addr < NAMED + 0x100) {
		ret->name = "deep\x1b";
		ret->offset = addr - NAMED;
	}
	return true;
}

/* Any stack as three addresses. */
static bool unwind(void *arg, const struct trace_record *record, const struct trace_stack *raw, struct trace_stack *ret)
{
	static const uint64_t addresses[] = { NAMED, NAMED + 1, NAMED + 2 };

	assert_non_null(raw->raw);
	assert_int_equal(record->pid, 1230);
	if (!*(const bool *)arg)
		return false;
	*ret = (struct trace_stack) { .format = TRACE_CALLERS, .count = 3, .addresses = (const uint8_t *)addresses };
	return true;
}

struct stack_bed {
	struct trace_arg args[2];
	struct trace_probe probe;
	uint64_t words[2];
	uint8_t bytes[1024];
	struct trace_record record;
	unsigned lookups;
	bool unwinds;
	struct format_call call;
};

/* A record whose stack stands at an odd place. */
static void stack_make(struct stack_bed *bed, enum trace_arg_format format, const void *data, uint32_t size, uint64_t flags)
{
	*bed = (struct stack_bed) {
		.args = { { .name = "n", .bits = 64 }, { .name = "stack", .bits = 8, .kind = TRACE_BYTES, .format = format } },
		.probe = { .event = "malloc", .group = "g", .symbol = "malloc", .nargs = 2 },
		.words = { 7, WIRE_LOCATOR(41, size) | flags },
		.record = sample,
	};
	memcpy(bed->bytes + 41, data, size);
	bed->probe.args = bed->args;
	bed->record.nargs = 2;
	bed->record.args = bed->words;
	bed->record.bytes = bed->bytes;
	bed->record.size = sizeof(bed->bytes);
	bed->call = (struct format_call) {
		.symbol = find_symbol, .symbol_arg = &bed->lookups, .unwind = unwind, .unwind_arg = &bed->unwinds
	};
}

static void expect_stack(struct stack_bed *bed, const char *text, const char *json)
{
	static const char line[] = "               x-1234    [001] ..... 12345.678901: malloc: (malloc+0x0) n=7\n"
				   "               x-1234    [001] ..... 12345.678901: <user stack trace>\n";
	char *got;
	FILE *out = open_text(&got);

	format_text_call(out, &bed->probe, &bed->record, &bed->call, "x", false);
	fclose(out);
	assert_memory_equal(got, line, strlen(line));
	assert_text(memmove(got, got + strlen(line), strlen(got + strlen(line)) + 1), text);
	out = open_text(&got);
	format_json_call(out, &bed->probe, &bed->record, &bed->call, "x");
	fclose(out);
	char *at = strstr(got, "\"args\"");

	assert_non_null(at);
	assert_string_equal(at, json);
	free(got);
}

static void test_stacks(void **state)
{
	/* The place; a call at a function's very end; of no function; of no file; what a signal interrupted. */
	static const uint64_t addresses[] = { NAMED, NAMED + 0x100, 0x402000, 0x123, (NAMED + 0x10) | WIRE_STACK_EXACT };
	struct stack_bed bed;

	stack_make(&bed, TRACE_CALLERS, addresses, sizeof(addresses), WIRE_LOCATOR_SHORT);
	expect_stack(&bed,
		     " => deep?+0x0 (x?.so)\n => deep?+0x100 (x?.so)\n => 0x402000 (x?.so)\n => 0x123\n => deep?+0x10 (x?.so)\n => ...\n",
		     "\"args\":{\"n\":7},\"short\":[\"stack\"],\"stack\":["
		     "{\"addr\":\"0x401000\",\"symbol\":\"deep\\u001b\",\"offset\":0,\"file\":\"/lib/x\\u001b.so\"},"
		     "{\"addr\":\"0x401100\",\"symbol\":\"deep\\u001b\",\"offset\":256,\"file\":\"/lib/x\\u001b.so\"},"
		     "{\"addr\":\"0x402000\",\"file\":\"/lib/x\\u001b.so\"},{\"addr\":\"0x123\"},"
		     "{\"addr\":\"0x401010\",\"symbol\":\"deep\\u001b\",\"offset\":16,\"file\":\"/lib/x\\u001b.so\",\"exact\":true}]}\n");
	assert_int_equal(bed.lookups, 10);
	bed.call.symbol = NULL;
	bed.words[1] = WIRE_LOCATOR(41, 15);
	expect_stack(&bed, " => 0x401000\n", "\"args\":{\"n\":7},\"stack\":[{\"addr\":\"0x401000\"}]}\n");
	bed.words[1] = WIRE_LOCATOR_FAILURE(EFAULT);
	expect_stack(&bed, " => (fault)\n", "\"args\":{\"n\":7},\"stack\":null}\n");
	bed.words[1] = WIRE_LOCATOR(1020, 16); /* not in the record */
	expect_stack(&bed, "", "\"args\":{\"n\":7},\"stack\":[]}\n");
}

static void test_copied_stacks(void **state)
{
	struct wire_stack_raw raw = { .reg = { [6] = 0x66, [7] = 0x77, [16] = NAMED } };
	uint8_t data[sizeof(raw) + 3];
	struct stack_bed bed;

	memcpy(data, &raw, sizeof(raw));
	memcpy(data + sizeof(raw), "\x01\x02\xff", 3);
	stack_make(&bed, TRACE_RAW_STACK, data, sizeof(data), 0);
	expect_stack(&bed, " => 3 bytes from 0x77\n",
		     "\"args\":{\"n\":7},\"stack\":{\"ip\":\"0x401000\",\"sp\":\"0x77\",\"bp\":\"0x66\",\"bytes\":\"0102ff\"}}\n");
	bed.unwinds = true;
	bed.call.symbol = NULL;
	expect_stack(&bed, " => 0x401000\n => 0x401001\n => 0x401002\n",
		     "\"args\":{\"n\":7},\"stack\":[{\"addr\":\"0x401000\"},{\"addr\":\"0x401001\"},{\"addr\":\"0x401002\"}]}\n");
	bed.words[1] = WIRE_LOCATOR(41, sizeof(raw) - 1); /* registers that are not whole: nothing to unwind */
	expect_stack(&bed, "", "\"args\":{\"n\":7},\"stack\":[]}\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),       cmocka_unit_test(test_text),
		cmocka_unit_test(test_text_header),  cmocka_unit_test(test_text_color),
		cmocka_unit_test(test_text_hostile), cmocka_unit_test(test_json),
		cmocka_unit_test(test_json_strings), cmocka_unit_test(test_return),
		cmocka_unit_test(test_whole_call),   cmocka_unit_test(test_json_call),
		cmocka_unit_test(test_duration),
		cmocka_unit_test(test_stacks),
		cmocka_unit_test(test_copied_stacks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
