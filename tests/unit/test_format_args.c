/* SPDX-License-Identifier: MIT */
/* Arguments of every kind: as text, as JSON, into a perf.data and back. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "format/format.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define FAULT (WIRE_LOCATOR_FAILED | EFAULT)
#define ROOM 70000

/* A LONG record being made; what is appended begins behind the words. */
struct made {
	uint8_t bytes[ROOM];
	uint32_t size;
	struct trace_arg args[16];
	uint64_t words[16];
	uint32_t count;
};

static void start(struct made *m)
{
	memset(m, 0, sizeof(*m));
	m->size = 256; /* header, words: nobody looks at them here */
}

static uint64_t append(struct made *m, const void *data, uint32_t size)
{
	uint64_t locator = WIRE_LOCATOR(m->size, size);

	memcpy(m->bytes + m->size, data, size);
	m->size += size;
	return locator;
}

static void add(struct made *m, const char *name, enum trace_arg_kind kind, enum trace_arg_format format, uint8_t bits, uint32_t count,
		uint64_t word)
{
	struct trace_arg *arg = &m->args[m->count];

	snprintf(arg->name, sizeof(arg->name), "%s", name);
	arg->kind = kind;
	arg->format = format;
	arg->bits = bits;
	arg->count = count;
	m->words[m->count++] = word;
}

static void add_text(struct made *m, const char *name, uint64_t locator)
{
	add(m, name, TRACE_STRING, TRACE_TEXT, 64, 0, locator);
}

static void make_all(struct made *m)
{
	static const int16_t shorts[] = { -1, 2, -300 };
	static const double doubles[] = { 0.1, -2 };
	uint64_t strings[3];

	start(m);
	add(m, "word", TRACE_WORD, TRACE_SIGNED, 32, 0, (uint64_t)-5);
	add(m, "bits", TRACE_WORD, TRACE_UNSIGNED, 5, 0, 17);
	add(m, "char", TRACE_WORD, TRACE_CHAR, 8, 0, 'a');
	add(m, "float", TRACE_WORD, TRACE_FLOAT, 32, 0, 0x3fc00000);
	add_text(m, "text", append(m, "some \"text\"", 12));
	add(m, "shorts", TRACE_ARRAY, TRACE_SIGNED, 16, 3, append(m, shorts, sizeof(shorts)));
	add(m, "doubles", TRACE_ARRAY, TRACE_FLOAT, 64, 2, append(m, doubles, sizeof(doubles)));
	add(m, "chars", TRACE_ARRAY, TRACE_CHAR, 8, 4, append(m, "ab\n", 4));
	strings[0] = append(m, "alpha", 6);
	strings[1] = FAULT;
	strings[2] = append(m, "", 1);
	add(m, "strings", TRACE_ARRAY, TRACE_TEXT, 64, 3, append(m, strings, sizeof(strings)));
	add(m, "bytes", TRACE_BYTES, TRACE_HEX, 8, 0, append(m, "\x01\xff", 2));
	add_text(m, "fault", FAULT);
	add_text(m, "short", append(m, "cut", 3) | WIRE_LOCATOR_SHORT);
	add(m, "gone", TRACE_ARRAY, TRACE_HEX, 64, 4, FAULT);
	add(m, "part", TRACE_ARRAY, TRACE_HEX, 8, 4, append(m, "\x01\x02", 2) | WIRE_LOCATOR_SHORT);
	add(m, "symbol", TRACE_WORD, TRACE_SYMBOL, 64, 0, 0x1234);
}

static struct trace_probe probe_of(const struct made *m)
{
	return (struct trace_probe) { .group = "g", .event = "e", .path = "/p", .symbol = "f", .nargs = m->count, .args = m->args };
}

static struct trace_record record_of(const struct made *m)
{
	return (struct trace_record) { .time_ns = 1000000,
				       .pid = 7,
				       .tid = 7,
				       .nargs = m->count,
				       .args = m->words,
				       .bytes = m->bytes,
				       .size = m->size,
				       .flags = WIRE_RECORD_LONG };
}

static bool symbol(void *arg, uint32_t source, uint32_t pid, uint64_t addr, struct format_symbol *ret)
{
	*ret = (struct format_symbol) { .name = arg, .offset = 4, .path = "file" };
	return addr == 0x1234;
}

/* What is printed of the record, from its first argument on. */
static void check_printed(const struct trace_probe *probe, const struct trace_record *record, bool json, bool symbols, const char *want)
{
	struct format_call call = { .symbol = symbols ? symbol : NULL, .symbol_arg = "func" };
	char *text = NULL;
	const char *at;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	if (json)
		format_json_call(out, probe, record, &call, "c");
	else
		format_text_call(out, probe, record, &call, "c", false);
	fclose(out);
	at = strstr(text, json ? "\"args\":" : ") ");
	assert_non_null(at);
	assert_string_equal(at + (json ? 7 : 2), want);
	free(text);
}

static const char all_text[] = "word=-5 bits=17 char='a' float=1.5 text=\"some \"text\"\" shorts={-1,2,-300} doubles={0.1,-2} "
			       "chars={'a','b','\\x0a','\\x00'} strings={\"alpha\",(fault),\"\"} bytes=01ff fault=(fault) short=\"cut\"... "
			       "gone=(fault) part={0x1,0x2...} symbol=0x1234\n";

static void test_text(void **state)
{
	static struct made m;

	make_all(&m);
	struct trace_probe probe = probe_of(&m);
	struct trace_record record = record_of(&m);

	check_printed(&probe, &record, false, false, all_text);
	m.count = 1;
	m.args[0] = m.args[14];
	m.words[0] = m.words[14];
	probe.nargs = record.nargs = 1;
	check_printed(&probe, &record, false, true, "symbol=func+0x4\n");
	m.words[0] = 0x4321;
	check_printed(&probe, &record, false, true, "symbol=0x4321\n");
}

static void test_json(void **state)
{
	static struct made m;

	make_all(&m);
	struct trace_probe probe = probe_of(&m);
	struct trace_record record = record_of(&m);

	check_printed(&probe, &record, true, true,
		      "{\"word\":-5,\"bits\":17,\"char\":\"a\",\"float\":1.5,\"text\":\"some \\\"text\\\"\",\"shorts\":[-1,2,-300],"
		      "\"doubles\":[0.1,-2],\"chars\":[\"a\",\"b\",\"\\n\",\"\\u0000\"],\"strings\":[\"alpha\",null,\"\"],\"bytes\":\"01ff\","
		      "\"fault\":null,\"short\":\"cut\",\"gone\":null,\"part\":[\"0x1\",\"0x2\"],\"symbol\":\"func+0x4\"},"
		      "\"short\":[\"short\",\"part\"]}\n");
}

/* Locators are the target's: what does not lie in the record is not there. */
static void test_wild(void **state)
{
	static const uint64_t wild[] = { WIRE_LOCATOR(256, 1000), WIRE_LOCATOR(65535, 1), WIRE_LOCATOR(0, UINT32_MAX), 0,
					 WIRE_LOCATOR(300, 0xffffff00), UINT64_MAX };
	static struct made m;

	for (size_t i = 0; i < COUNT(wild); i++) {
		start(&m);
		m.size = 300;
		add_text(&m, "a", wild[i]);
		add(&m, "b", TRACE_ARRAY, TRACE_HEX, 64, 4, wild[i]);
		add(&m, "c", TRACE_ARRAY, TRACE_TEXT, 64, 4, wild[i]);
		add(&m, "d", TRACE_BYTES, TRACE_HEX, 8, 0, wild[i]);
		struct trace_probe probe = probe_of(&m);
		struct trace_record record = record_of(&m);

		check_printed(&probe, &record, false, false, "a=(fault) b=(fault) c=(fault) d=(fault)\n");
		record.bytes = NULL;
		check_printed(&probe, &record, false, false, "a=(fault) b=(fault) c=(fault) d=(fault)\n");
	}
}

static void test_values(void **state)
{
	static const struct {
		enum trace_arg_format format;
		uint8_t bits;
		uint64_t value;
		const char *want;
	} cases[] = {
		{ TRACE_FLOAT, 64, 0x3fb999999999999aULL, "0.1" },
		{ TRACE_FLOAT, 64, 0x3ff0000000000001ULL, "1.0000000000000002" },
		{ TRACE_FLOAT, 64, 0x7ff0000000000000ULL, "inf" },
		{ TRACE_FLOAT, 64, 0xffefffffffffffffULL, "-1.7976931348623157e+308" },
		{ TRACE_FLOAT, 32, 0x3dcccccd, "0.1" },
		{ TRACE_FLOAT, 32, 0xffffffff3dcccccdULL, "0.1" },
		{ TRACE_CHAR, 8, 0x27, "'''" },
		{ TRACE_CHAR, 8, 0x80, "'\\x80'" },
		{ TRACE_UNSIGNED, 1, 3, "1" },
		{ TRACE_SIGNED, 3, 7, "-1" },
		{ TRACE_HEX, 63, UINT64_MAX, "0x7fffffffffffffff" },
	};
	char text[64];

	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct trace_arg arg = { .bits = cases[i].bits, .format = cases[i].format };

		format_value(&arg, cases[i].value, text, sizeof(text));
		assert_string_equal(text, cases[i].want);
	}
	const struct trace_arg arg = { .kind = TRACE_STRING, .format = TRACE_TEXT, .bits = 64 };
	const struct format_where where = { .bytes = (const uint8_t *)"a longer text", .size = 13 };

	assert_int_equal(format_arg_text(&arg, WIRE_LOCATOR(0, 13), &where, text, 5), 4);
	assert_string_equal(text, "\"a l");
	assert_int_equal(format_arg_text(&arg, WIRE_LOCATOR(0, 13), &where, text, 64), 15);
	assert_string_equal(text, "\"a longer text\"");
}

/* ---- perf.data ---- */

static int write_file(const struct trace_probe *probes, uint32_t nprobes, const struct trace_record *records, size_t count)
{
	struct format_perf *perf;
	int fd = memfd_create("perf", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(format_perf_create(fd, probes, nprobes, &perf, NULL), 0);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(format_perf_sample(perf, &records[i]), 0);
	assert_int_equal(format_perf_finish(perf), 0);
	return fd;
}

static struct format_perf_file *open_file(int fd)
{
	struct format_perf_file *in;
	struct utap_error err = { 0 };
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (format_perf_open(path, &in, &err))
		fail_msg("%s", err.text);
	return in;
}

static void test_perf(void **state)
{
	static struct made m, small;
	struct format_perf_event event;
	const struct trace_probe *read;

	make_all(&m);
	start(&small);
	add_text(&small, "s", append(&small, "x", 2));
	struct trace_probe probes[] = { probe_of(&m), probe_of(&small) };
	struct trace_record records[] = { record_of(&m), record_of(&small), record_of(&m), record_of(&m) };

	probes[1].kind = TRACE_RETURN;
	records[1].id = 1;
	records[1].flags |= WIRE_RECORD_RETURN;
	records[1].caller = 0x1111;
	records[3].bytes = NULL; /* nothing can be read of it */
	int fd = write_file(probes, 2, records, COUNT(records));
	struct format_perf_file *in = open_file(fd);

	assert_int_equal(format_perf_probes(in, &read), 2);
	for (size_t i = 0; i < COUNT(records); i++) {
		assert_int_equal(format_perf_next(in, &event, NULL), 0);
		assert_int_equal(event.type, FORMAT_PERF_SAMPLE);
		assert_int_equal(event.record.id, records[i].id);
		if (i == 1) {
			assert_int_equal(event.record.caller, 0x1111);
			check_printed(&read[1], &event.record, false, false, "s=\"x\"\n");
		} else if (i < 3) {
			check_printed(&read[0], &event.record, false, false, all_text);
		} else {
			assert_true(event.record.args[4] & WIRE_LOCATOR_FAILED);
			assert_true(event.record.args[5] & WIRE_LOCATOR_FAILED);
		}
	}
	assert_int_equal(format_perf_next(in, &event, NULL), 0);
	assert_int_equal(event.type, FORMAT_PERF_END);
	format_perf_close(in);
	close(fd);
}

/* More than a sample can hold is cut off, and says so. */
static void test_perf_large(void **state)
{
	static struct made m;
	static char text[65000];
	struct format_perf_event event;
	struct format_where where;
	static char printed[66000];

	start(&m);
	memset(text, 'x', sizeof(text) - 1);
	add_text(&m, "a", append(&m, text, sizeof(text)));
	add_text(&m, "b", m.words[0]);
	add_text(&m, "c", FAULT);
	struct trace_probe probe = probe_of(&m);
	struct trace_record record = record_of(&m);
	int fd = write_file(&probe, 1, &record, 1);
	struct format_perf_file *in = open_file(fd);

	assert_int_equal(format_perf_next(in, &event, NULL), 0);
	where = (struct format_where) { .bytes = event.record.bytes, .size = event.record.size };
	assert_int_equal(format_arg_text(&m.args[0], event.record.args[0], &where, printed, sizeof(printed)), sizeof(text) + 1);
	assert_true(event.record.args[1] & WIRE_LOCATOR_SHORT);
	assert_true(format_arg_text(&m.args[1], event.record.args[1], &where, printed, sizeof(printed)) < 1000);
	assert_true(event.record.args[2] & WIRE_LOCATOR_FAILED);
	assert_int_equal(format_perf_next(in, &event, NULL), 0);
	assert_int_equal(event.type, FORMAT_PERF_END);
	format_perf_close(in);
	close(fd);
}

/* Every byte of such a file changed in its turn: reading ends, and prints what it takes for text. */
static void test_perf_damage(void **state)
{
	static struct made m;
	FILE *out = fopen("/dev/null", "w");

	make_all(&m);
	struct trace_probe probe = probe_of(&m);
	struct trace_record record = record_of(&m);
	int fd = write_file(&probe, 1, &record, 1);
	off_t size = lseek(fd, 0, SEEK_END);

	assert_non_null(out);
	for (off_t at = 0; at < size; at++) {
		struct format_perf_file *in;
		struct format_perf_event event = { 0 };
		const struct trace_probe *read;
		uint8_t old, new;
		char path[64];

		assert_int_equal(pread(fd, &old, 1, at), 1);
		if (!old && at > 4096 && at + 1024 < size) /* room for build-ids */
			continue;
		new = (uint8_t)(old ^ (1 << at % 8));
		assert_int_equal(pwrite(fd, &new, 1, at), 1);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (!format_perf_open(path, &in, NULL)) {
			format_perf_probes(in, &read);
			for (int i = 0; i < 100 && event.type != FORMAT_PERF_END && !format_perf_next(in, &event, NULL); i++)
				if (event.type == FORMAT_PERF_SAMPLE)
					format_text(out, &read[event.record.id], &event.record, event.comm, false);
			format_perf_close(in);
		}
		assert_int_equal(pwrite(fd, &old, 1, at), 1);
	}
	fclose(out);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_wild),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_perf),
		cmocka_unit_test(test_perf_large),
		cmocka_unit_test(test_perf_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
