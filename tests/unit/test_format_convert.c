/* SPDX-License-Identifier: MIT */
/*
 * Conversion: each format says exactly what was given, calls nest whatever is lost or abandoned, names from targets
 * break nothing, and what cannot be written ends in an error.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "format/convert.h"
#include "format/convert_ctf.h"

/* A file's table: 0 outer's entry, 1 its return; 2 inner's place, 3 inner's return (asked for singly); 4 a place; 5
 * every kind of argument. */
enum { OUTER, OUTER_EXIT, INNER, INNER_EXIT, PLACE, ARGS, PROBES };

static const struct trace_arg one_arg[] = { { .name = "n", .bits = 32, .format = TRACE_SIGNED } };
static const struct trace_arg result[] = { { .name = "value", .bits = 64, .format = TRACE_HEX, .is_result = true } };
static const struct trace_arg all_args[] = {
	{ .name = "text", .format = TRACE_TEXT, .kind = TRACE_STRING },
	{ .name = "list", .bits = 16, .format = TRACE_SIGNED, .kind = TRACE_ARRAY, .count = 3 },
	{ .name = "raw", .bits = 8, .kind = TRACE_BYTES },
	{ .name = "real", .bits = 64, .format = TRACE_FLOAT },
	{ .name = "bit", .bits = 3, .format = TRACE_UNSIGNED },
	{ .name = "gone", .format = TRACE_TEXT, .kind = TRACE_STRING },
	{ .name = "n", .bits = 64, .format = TRACE_UNSIGNED },
};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct trace_probe probe(const char *event, const char *symbol, enum trace_probe_kind kind, uint64_t offset,
				const struct trace_arg *args, uint32_t nargs)
{
	struct trace_probe ret = { .group = "utap",
				   .path = "/opt/one.so",
				   .symbol = symbol,
				   .kind = kind,
				   .offset = offset,
				   .addr = 0x400000 + offset,
				   .nargs = nargs,
				   .args = args };

	snprintf(ret.event, sizeof(ret.event), "%s", event);
	return ret;
}

static void make_probes(struct trace_probe probes[PROBES])
{
	probes[OUTER] = probe("outer", "outer", TRACE_ENTRY, 0x100, one_arg, 1);
	probes[OUTER_EXIT] = probe("outer", "outer", TRACE_RETURN, 0x100, result, 1);
	probes[INNER] = probe("inner", "ns::inner<a;b>(\"x\" & 'y')", TRACE_PLACE, 0x200, NULL, 0);
	probes[INNER_EXIT] = probe("inner__return", probes[INNER].symbol, TRACE_RETURN, 0x200, NULL, 0);
	probes[PLACE] = probe("place", "outer", TRACE_PLACE, 0x104, NULL, 0);
	probes[PLACE].symbol_offset = 4;
	probes[ARGS] = probe("args", "", TRACE_PLACE, 0x300, all_args, COUNT(all_args));
}

/* One conversion into memory. */
struct bed {
	struct trace_probe probes[PROBES];
	struct format_convert *convert;
	FILE *out;
	char *text;
	size_t size;
	uint64_t time_ns;
};

static void bed_open_options(struct bed *bed, struct format_convert_options options)
{
	*bed = (struct bed) { .time_ns = 1000000000 };
	make_probes(bed->probes);
	bed->out = open_memstream(&bed->text, &bed->size);
	assert_non_null(bed->out);
	options.out = bed->out;
	assert_int_equal(format_convert_create(&options, bed->probes, PROBES, &bed->convert, NULL), 0);
}

static void bed_open(struct bed *bed, const char *to)
{
	bed_open_options(bed, (struct format_convert_options) { .to = to });
}

static void finish(struct bed *bed)
{
	assert_int_equal(format_convert_finish(bed->convert, false), 0);
	assert_int_equal(fclose(bed->out), 0);
}

static void bed_close(struct bed *bed)
{
	free(bed->text);
}

/* A hit 100 ns after the one before. */
static void hit_of(struct bed *bed, uint32_t id, uint32_t tid, uint64_t frame, uint16_t flags)
{
	static const uint64_t words[] = { 0x1fffffff7, 0 };
	uint16_t kind = bed->probes[id].kind == TRACE_RETURN ? WIRE_RECORD_RETURN : 0;
	struct trace_record record = { .time_ns = bed->time_ns += 100,
				       .id = id,
				       .cpu = tid % 2,
				       .pid = 70,
				       .tid = tid,
				       .args = words,
				       .nargs = bed->probes[id].nargs,
				       .frame = frame,
				       .flags = flags | kind,
				       .caller = kind ? 0x400abc : 0 };

	assert_int_equal(format_convert_record(bed->convert, &record, 0, tid == 70 ? "main" : "side"), 0);
}

static void hit(struct bed *bed, uint32_t id)
{
	hit_of(bed, id, 70, 0, 0);
}

static size_t count(const char *text, const char *what)
{
	size_t n = 0;

	for (; (text = strstr(text, what)); text += strlen(what))
		n++;
	return n;
}

/* ---- calls ---- */

static void test_calls_nest(void **state)
{
	static const char want[] = "main;outer 400\nmain;outer;ns::inner<a_b>(\"x\" & 'y') 100\n";
	struct bed bed;

	bed_open(&bed, "folded");
	hit(&bed, OUTER);      /* 100 */
	hit(&bed, PLACE);      /* takes no time */
	hit(&bed, INNER);      /* 300 */
	hit(&bed, INNER_EXIT); /* 400 */
	hit(&bed, PLACE);
	hit(&bed, OUTER_EXIT); /* 600 */
	finish(&bed);
	assert_string_equal(bed.text, want);
	bed_close(&bed);
}

static void test_weight_is_hits_without_calls(void **state)
{
	struct bed bed;

	bed_open(&bed, "folded");
	hit(&bed, PLACE);
	hit(&bed, PLACE);
	hit_of(&bed, PLACE, 71, 0, 0);
	finish(&bed);
	assert_string_equal(bed.text, "main;place 2\nside;place 1\n");
	bed_close(&bed);
	bed_open_options(&bed, (struct format_convert_options) { .to = "folded", .by_count = true });
	for (int i = 0; i < 3; i++) {
		hit(&bed, OUTER);
		hit(&bed, OUTER_EXIT);
	}
	finish(&bed);
	assert_string_equal(bed.text, "main;outer 3\n");
	bed_close(&bed);
}

/* An exit that was lost does not make what follows look like its callee, where frames are known. */
static void test_frames_show_what_was_left(void **state)
{
	struct bed bed;

	bed_open(&bed, "folded");
	hit_of(&bed, OUTER, 70, 0x7000, 0);
	hit_of(&bed, OUTER, 70, 0x7000, 0); /* the same frame: the first was left at 200 */
	hit_of(&bed, OUTER_EXIT, 70, 0x7000, 0);
	hit_of(&bed, OUTER, 70, 0x6000, 0);
	hit_of(&bed, OUTER, 70, 0x5000, 0);      /* recursion */
	hit_of(&bed, OUTER_EXIT, 70, 0x6000, 0); /* both */
	finish(&bed);
	assert_string_equal(bed.text, "main;outer 300\nmain;outer;outer 100\n");
	bed_close(&bed);
}

/* Without frames an exit is of the innermost call of its function; what is above was abandoned. Marks nest in each
 * thread whatever happens. */
static void test_marks_nest(void **state)
{
	struct bed bed;
	int depth[2] = { 0 };

	bed_open(&bed, "systrace");
	hit(&bed, INNER_EXIT); /* entered before the trace began: a place */
	srand(7);
	for (int i = 0; i < 20000; i++)
		hit_of(&bed, (uint32_t)(rand() % 5), 70 + (uint32_t)(rand() % 2),
		       i % 3 ? 0 : 0x7000 + 64 * (uint64_t)(rand() % 50), 0);
	finish(&bed);
	assert_non_null(strstr(bed.text, "I|70|inner__return\n"));
	for (char *line = strtok(bed.text, "\n"); line; line = strtok(NULL, "\n")) {
		int *of = &depth[strstr(line, "-71 ") ? 1 : 0];

		*of += strstr(line, ": B|70|") ? 1 : strstr(line, ": E|70") ? -1 : 0;
		assert_true(*of >= 0);
	}
	assert_int_equal(depth[0], 0);
	assert_int_equal(depth[1], 0);
	bed_close(&bed);
}

static void test_report_counts(void **state)
{
	struct bed bed;

	bed_open_options(
	    &bed, (struct format_convert_options) { .to = FORMAT_REPORT_FUNCTIONS, .json = true, .sort = "calls" });
	hit(&bed, INNER_EXIT);
	hit(&bed, OUTER); /* 200 .. 700 */
	hit(&bed, OUTER); /* 300 .. 600: inside, once in the total */
	hit(&bed, INNER); /* 400 .. 500 */
	hit(&bed, INNER_EXIT);
	hit_of(&bed, OUTER_EXIT, 70, 0, WIRE_RECORD_TAIL);
	hit(&bed, OUTER_EXIT);
	hit(&bed, OUTER); /* open at the end */
	assert_int_equal(format_convert_lost(bed.convert, OUTER_EXIT, 5, bed.time_ns), 0);
	finish(&bed);
	assert_non_null(strstr(bed.text, "\"calls\":2,\"total_ns\":500,\"self_ns\":400,\"min_ns\":300"));
	assert_non_null(
	    strstr(bed.text, "\"max_ns\":500,\"tail_calls\":1,\"abandoned\":0,\"open\":1,\"unpaired\":0,\"lost\":5}"));
	assert_non_null(strstr(bed.text, "\"calls\":1,\"total_ns\":100,\"self_ns\":100"));
	assert_non_null(strstr(bed.text, "\"unpaired\":1,\"lost\":0}"));
	bed_close(&bed);
}

static void test_report_tree(void **state)
{
	struct bed bed;

	bed_open_options(&bed, (struct format_convert_options) { .to = FORMAT_REPORT_TREE, .json = true });
	hit(&bed, OUTER);
	hit(&bed, INNER);
	hit(&bed, INNER_EXIT);
	hit(&bed, OUTER_EXIT);
	finish(&bed);
	assert_string_equal(bed.text, "{\"name\":\"all\",\"calls\":0,\"total_ns\":300,\"self_ns\":0,\"children\":[{"
				      "\"name\":\"main\",\"calls\":0,\"total_ns\":300,"
				      "\"self_ns\":0,\"children\":[{\"name\":\"outer\",\"calls\":1,\"total_ns\":300,"
				      "\"self_ns\":200,\"children\":[{\"name\":"
				      "\"ns::inner<a;b>(\\\"x\\\" & "
				      "'y')\",\"calls\":1,\"total_ns\":100,\"self_ns\":100,\"children\":[]}]}]}]}\n");
	bed_close(&bed);
}

/* ---- arguments ---- */

struct long_record {
	struct wire_record head;
	uint64_t words[COUNT(all_args)];
	char text[8];
	int16_t list[4];
	uint8_t raw[8];
};

static void hit_args(struct bed *bed, const char *text)
{
	struct long_record bytes = { .list = { 1, -2, 300, 0 }, .raw = { 0xde, 0xad, 0x00, 0x7f } };
	double real = 0.5;
	struct trace_record record = { .time_ns = bed->time_ns += 100,
				       .id = ARGS,
				       .cpu = 1,
				       .pid = 70,
				       .tid = 71,
				       .args = bytes.words,
				       .nargs = COUNT(all_args),
				       .bytes = (const uint8_t *)&bytes,
				       .size = sizeof(bytes),
				       .flags = WIRE_RECORD_LONG };

	memcpy(bytes.text, text, strnlen(text, sizeof(bytes.text)));
	bytes.words[0] = WIRE_LOCATOR(offsetof(struct long_record, text), 8);
	bytes.words[1] = WIRE_LOCATOR(offsetof(struct long_record, list), 6);
	bytes.words[2] = WIRE_LOCATOR(offsetof(struct long_record, raw), 4) | WIRE_LOCATOR_SHORT;
	memcpy(&bytes.words[3], &real, sizeof(real));
	bytes.words[4] = 0xfd;
	bytes.words[5] = WIRE_LOCATOR_FAILED | EFAULT;
	bytes.words[6] = UINT64_MAX;
	assert_int_equal(format_convert_record(bed->convert, &record, 0x1234, "\033[2Jx,\"y\n"), 0);
}

static void test_csv(void **state)
{
	struct bed bed;

	bed_open(&bed, "csv");
	hit(&bed, OUTER);
	hit_of(&bed, OUTER_EXIT, 70, 0, WIRE_RECORD_TAIL);
	hit_args(&bed, "a,\"b\"\033\xff");
	finish(&bed);
	assert_string_equal(bed.text, "time_ns,cpu,pid,tid,comm,group,event,symbol,symbol_offset,address,caller,how,n,"
				      "value,text,list,raw,real,bit,gone,more\r\n"
				      "1000000100,0,70,70,main,utap,outer,outer,0,0x400100,,,-9,,,,,,,,\r\n"
				      "1000000200,0,70,70,main,utap,outer,outer,0,0x400100,0x400abc,tail,,,,,,,,,\r\n"
				      "1000000300,1,70,71,\"?[2Jx,\"\"y\n\",utap,args,,0,0x1234,,,18446744073709551615,"
				      ",\"a,\"\"b\"\"?\xef\xbf\xbd\","
				      "\"{1,-2,300}\",dead007f..,0.5,5,(fault),\r\n");
	bed_close(&bed);
}

static void test_csv_grows(void **state)
{
	static const struct trace_arg late[] = { { .name = "later", .bits = 8 },
						 { .name = "n", .bits = 8 },
						 { .name = "n", .bits = 8 } };
	static const uint64_t words[] = { 1, 2, 3 };
	struct trace_probe more[PROBES + 1];
	struct bed bed;
	struct trace_record record = { .id = PROBES, .pid = 1, .tid = 1, .args = words, .nargs = 3 };

	bed_open(&bed, "csv");
	memcpy(more, bed.probes, sizeof(bed.probes));
	more[PROBES] = probe("late", "late", TRACE_PLACE, 0x900, late, 3);
	assert_int_equal(format_convert_probes(bed.convert, more, PROBES + 1), 0);
	assert_int_equal(format_convert_record(bed.convert, &record, 0, NULL), 0);
	finish(&bed);
	assert_non_null(strstr(bed.text, "\r\n0,0,1,1,,utap,late,late,0,0x400900,,,2,,,,,,,,later=1 n=3\r\n"));
	bed_close(&bed);
}

static void test_ftrace(void **state)
{
	struct bed bed;

	bed_open(&bed, "ftrace");
	hit(&bed, OUTER);
	hit(&bed, OUTER_EXIT);
	hit_args(&bed, "a\nb");
	assert_int_equal(format_convert_lost(bed.convert, PLACE, 3, bed.time_ns), 0);
	finish(&bed);
	assert_non_null(
	    strstr(bed.text, "            main-70      (     70) [000] .....     1.000000: outer: (0x400100) n=-9\n"));
	assert_non_null(strstr(bed.text, ": outer: (0x400abc <- 0x400100) value=0x1fffffff7\n"));
	assert_non_null(strstr(
	    bed.text,
	    "       ?[2Jx,\"y?-71      (     70) [001] .....     1.000000: args: (0x1234) text=\"a?b\" list={1,-2,300} "
	    "raw=dead007f.. real=0.5 bit=5 gone=(fault) n=18446744073709551615\n"));
	assert_non_null(strstr(bed.text, "# lost: 3 of place\n"));
	bed_close(&bed);
}

static void test_chrome(void **state)
{
	struct bed bed;

	bed_open(&bed, "chrome");
	hit(&bed, OUTER);
	hit(&bed, INNER);
	hit(&bed, OUTER_EXIT);
	hit_args(&bed, "a\"\\\n");
	finish(&bed);
	assert_non_null(strstr(bed.text, "{\"ph\":\"B\",\"pid\":70,\"tid\":70,\"ts\":1000000.100,\"cat\":\"utap\","
					 "\"name\":\"outer\",\"args\":{\"n\":-9}}"));
	assert_non_null(strstr(bed.text, "\"name\":\"ns::inner<a;b>(\\\"x\\\" & 'y')\"}"));
	assert_non_null(strstr(bed.text, "\"ts\":1000000.300,\"args\":{\"ended\":\"abandoned\"}}"));
	assert_non_null(strstr(
	    bed.text,
	    "\"args\":{\"text\":\"a\\\"\\\\\\n\",\"list\":\"{1,-2,300}\",\"raw\":\"dead007f..\",\"real\":0.5,\"bit\":5,"
	    "\"gone\":\"(fault)\",\"n\":\"18446744073709551615\"}}"));
	assert_int_equal(count(bed.text, "\"ph\":\"B\""), count(bed.text, "\"ph\":\"E\""));
	assert_string_equal(bed.text + bed.size - 4, "\n]}\n");
	bed_close(&bed);
}

static void test_flame_escapes(void **state)
{
	struct bed bed;

	bed_open_options(&bed, (struct format_convert_options) { .to = "flame", .title = "<script>]]>" });
	hit(&bed, OUTER);
	hit(&bed, INNER);
	hit(&bed, INNER_EXIT);
	hit(&bed, OUTER_EXIT);
	finish(&bed);
	assert_non_null(strstr(bed.text, ">&lt;script&gt;]]&gt;</text>"));
	assert_non_null(strstr(
	    bed.text, "<title>ns::inner&lt;a;b&gt;(&quot;x&quot; &amp; 'y'): 0.100 us, 33.33 %, 1 call</title>"));
	assert_non_null(strstr(bed.text, "data-x=\"0.000000000\" data-w=\"0.333333333\" data-d=\"3\""));
	assert_int_equal(count(bed.text, "<g class=\"f\""), 4);
	bed_close(&bed);
	bed_open(&bed, "flame"); /* nothing at all is a picture, too */
	finish(&bed);
	assert_int_equal(count(bed.text, "<g class=\"f\""), 0);
	assert_non_null(strstr(bed.text, "</svg>\n"));
	bed_close(&bed);
}

/* Locators that lie, and records without bytes (of a file that has no room for them), are faults in every format. */
static void test_bad_locators(void **state)
{
	static const uint64_t locators[] = { WIRE_LOCATOR(0, 1 << 30), WIRE_LOCATOR(65535, 8), WIRE_LOCATOR(40, 1000),
					     UINT64_MAX >> 2 };

	for (size_t format = 0; format_convert_name(format, NULL); format++) {
		if (format_convert_is_directory(format_convert_name(format, NULL)))
			continue;
		for (size_t i = 0; i < 2 * COUNT(locators); i++) {
			uint8_t bytes[64] = { 0 };
			uint64_t words[COUNT(all_args)];
			struct trace_record record = { .id = ARGS,
						       .args = words,
						       .nargs = COUNT(all_args),
						       .size = sizeof(bytes),
						       .bytes = i % 2 ? bytes : NULL,
						       .time_ns = i };
			struct bed bed;

			for (size_t n = 0; n < COUNT(words); n++)
				words[n] = locators[i / 2];
			bed_open(&bed, format_convert_name(format, NULL));
			assert_int_equal(format_convert_record(bed.convert, &record, 0, NULL), 0);
			finish(&bed);
			if (format == 5) /* ftrace */
				assert_non_null(strstr(bed.text, " text=(fault) list=(fault) raw=(fault) real="));
			bed_close(&bed);
		}
	}
}

/* ---- perfetto ---- */

struct cursor {
	const uint8_t *at, *end;
};

static uint64_t take_varint(struct cursor *c)
{
	uint64_t value = 0;

	for (unsigned shift = 0;; shift += 7) {
		assert_true(c->at < c->end && shift < 64);
		value |= (uint64_t)(*c->at & 0x7f) << shift;
		if (!(*c->at++ & 0x80))
			return value;
	}
}

/* The next field: its number, and its value or bytes. 0 at the end. */
static uint32_t take_field(struct cursor *c, uint64_t *value, struct cursor *inner)
{
	*value = 0;
	*inner = (struct cursor) { 0 };
	if (c->at == c->end)
		return 0;
	uint64_t tag = take_varint(c);

	switch (tag & 7) {
	case 0:
		*value = take_varint(c);
		break;
	case 1:
		assert_true(c->end - c->at >= 8);
		memcpy(value, c->at, 8);
		c->at += 8;
		break;
	case 2:
		*value = take_varint(c);
		assert_true(*value <= (uint64_t)(c->end - c->at));
		*inner = (struct cursor) { c->at, c->at + *value };
		c->at += *value;
		break;
	default:
		fail();
	}
	return (uint32_t)(tag >> 3);
}

/* Field @number of a message; fails when it has none. */
static uint64_t get(struct cursor message, uint32_t number, struct cursor *inner)
{
	uint64_t value;
	uint32_t field;

	while ((field = take_field(&message, &value, inner)))
		if (field == number)
			return value;
	fail_msg("no field %u", number);
	return 0;
}

static bool has(struct cursor message, uint32_t number)
{
	struct cursor inner;
	uint64_t value;
	uint32_t field;

	while ((field = take_field(&message, &value, &inner)))
		if (field == number)
			return true;
	return false;
}

static void test_perfetto(void **state)
{
	static const char *const types[] = { "?", "B", "E", "I", "C" };
	char seen[64] = "";
	struct cursor all, packet, inner, event;
	uint64_t value, before = 0;
	struct bed bed;

	bed_open_options(&bed,
			 (struct format_convert_options) { .to = "perfetto", .realtime_ns = 1700000000000000000 });
	hit(&bed, OUTER);
	hit(&bed, INNER);
	hit_args(&bed, "text");
	hit(&bed, INNER_EXIT);
	hit(&bed, OUTER_EXIT);
	hit(&bed, OUTER); /* open at the end */
	assert_int_equal(format_convert_lost(bed.convert, PLACE, 3, bed.time_ns), 0);
	assert_int_equal(format_convert_lost(bed.convert, PLACE, 4, bed.time_ns + 1), 0);
	finish(&bed);
	all = (struct cursor) { (uint8_t *)bed.text, (uint8_t *)bed.text + bed.size };
	while (take_field(&all, &value, &packet)) {
		if (!has(packet, 11)) /* track_event */
			continue;
		value = get(packet, 8, &inner); /* timestamp */
		assert_true(value >= before && value >= 1000000100);
		before = value;
		get(packet, 11, &event);
		strcat(seen, types[get(event, 9, &inner)]);
		if (has(event, 10)) /* names are known */
			assert_true(get(event, 10, &inner) >= 1);
		if (has(event, 30))
			assert_int_equal(get(event, 30, &inner), seen[strlen(seen) - 2] == 'C' ? 7 : 3);
	}
	assert_string_equal(seen, "BBIEEBCC");
	bed_close(&bed);
}

/* ---- ctf ---- */

static void remove_directory(const char *path)
{
	static const char *const names[] = { "metadata", "cpu_0", "cpu_1", "lost" };
	char name[128];

	for (size_t i = 0; i < COUNT(names); i++) {
		snprintf(name, sizeof(name), "%s/%s", path, names[i]);
		unlink(name);
	}
	rmdir(path);
}

/* Walks the packets of a stream; returns their number and the last one's header. */
static unsigned read_packets(const char *path, const char *name, struct ctf_packet *last)
{
	char file[128];
	char *data;
	size_t size, at = 0;
	unsigned packets = 0;

	snprintf(file, sizeof(file), "%s/%s", path, name);
	assert_int_equal(base_file_read(file, &data, &size), 0);
	while (at < size) {
		assert_true(size - at >= sizeof(*last));
		memcpy(last, data + at, sizeof(*last));
		assert_int_equal(last->magic, CTF_MAGIC);
		assert_int_equal(last->number, packets);
		assert_int_equal(last->content_bits, last->packet_bits);
		assert_true(last->packet_bits / 8 <= size - at && last->packet_bits / 8 >= sizeof(*last));
		assert_true(last->begin_ns <= last->end_ns);
		at += last->packet_bits / 8;
		packets++;
	}
	free(data);
	return packets;
}

static void test_ctf(void **state)
{
	char path[] = "/tmp/utap-test-ctf-XXXXXX";
	struct format_convert_options options = { .to = "ctf", .directory = path };
	struct bed bed = { .time_ns = 1000000000 };
	struct utap_error err;
	struct ctf_packet last;
	char *text;
	char name[64];

	make_probes(bed.probes);
	assert_non_null(mkdtemp(path)); /* an empty one may be there */
	snprintf(name, sizeof(name), "%s/else", path);
	assert_int_equal(mkdir(name, 0700), 0);
	assert_int_equal(format_convert_create(&options, bed.probes, PROBES, &bed.convert, &err),
			 -EEXIST); /* never into what is there */
	assert_int_equal(rmdir(name), 0);
	assert_int_equal(format_convert_create(&options, bed.probes, PROBES, &bed.convert, &err), 0);
	for (int i = 0; i < 20000; i++) /* more than one packet */
		hit(&bed, OUTER);
	hit_args(&bed, "text");
	assert_int_equal(format_convert_lost(bed.convert, PLACE, 3, bed.time_ns), 0);
	assert_int_equal(format_convert_lost(bed.convert, OUTER, 1000, bed.time_ns), 0);
	assert_int_equal(format_convert_finish(bed.convert, false), 0);
	assert_true(read_packets(path, "cpu_0", &last) > 1);
	assert_int_equal(last.end_ns, 1000000000 + 20000 * 100);
	assert_int_equal(read_packets(path, "cpu_1", &last), 1);
	assert_int_equal(read_packets(path, "lost", &last), 3);
	assert_int_equal(last.discarded, 1003);
	snprintf(name, sizeof(name), "%s/metadata", path);
	assert_int_equal(base_file_read(name, &text, NULL), 0);
	assert_int_equal(strncmp(text, "/* CTF 1.8 */", 13), 0);
	assert_int_equal(count(text, "event {"), PROBES + 1);
	free(text);
	remove_directory(path);
}

/* ---- what goes wrong ---- */

static void test_full_disk(void **state)
{
	for (size_t format = 0; format_convert_name(format, NULL); format++) {
		struct format_convert_options options = { .to = format_convert_name(format, NULL) };
		struct trace_probe probes[PROBES];
		struct trace_record record = { .id = PLACE, .pid = 1, .tid = 1 };
		struct format_convert *convert;
		int error = 0;

		if (format_convert_is_directory(options.to))
			continue;
		make_probes(probes);
		options.out = fopen("/dev/full", "we");
		assert_non_null(options.out);
		assert_int_equal(format_convert_create(&options, probes, PROBES, &convert, NULL), 0);
		for (int i = 0; i < 10000 && !error; i++)
			error = format_convert_record(convert, &record, 0, "x");
		assert_true(error == 0 || error == -ENOSPC);
		assert_int_equal(format_convert_finish(convert, false), -ENOSPC);
		fclose(options.out);
	}
}

static void test_names(void **state)
{
	struct format_convert_options options = { .to = "nonsense", .out = stdout };
	struct format_convert *convert;
	struct utap_error err;
	const char *summary;
	size_t n = 0;

	assert_int_equal(format_convert_create(&options, NULL, 0, &convert, &err), -EINVAL);
	assert_non_null(strstr(err.text, "nonsense"));
	for (; format_convert_name(n, &summary); n++)
		assert_true(format_convert_is_known(format_convert_name(n, NULL)) && *summary);
	assert_int_equal(n, 10);
	assert_false(format_convert_is_known(FORMAT_REPORT_TREE));
	assert_int_equal(format_perf_realtime("/dev/null"), 0);
	assert_int_equal(format_perf_realtime("/no/such/file"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls_nest),
		cmocka_unit_test(test_weight_is_hits_without_calls),
		cmocka_unit_test(test_frames_show_what_was_left),
		cmocka_unit_test(test_marks_nest),
		cmocka_unit_test(test_report_counts),
		cmocka_unit_test(test_report_tree),
		cmocka_unit_test(test_csv),
		cmocka_unit_test(test_csv_grows),
		cmocka_unit_test(test_ftrace),
		cmocka_unit_test(test_chrome),
		cmocka_unit_test(test_flame_escapes),
		cmocka_unit_test(test_bad_locators),
		cmocka_unit_test(test_perfetto),
		cmocka_unit_test(test_ctf),
		cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
