/* SPDX-License-Identifier: MIT */
/*
 * Any probes, names, arguments and records in any format: it must end, without a crash and without reading outside of a
 * record. The input is taken apart: which format, how many probes, their names and arguments, then records, each with
 * what ids, words and flags the bytes give.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/convert.h"

#define PROBES 6
#define ARGS 5

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *data;
	size_t size;
};

static uint64_t take(struct input *in, size_t bytes)
{
	uint64_t value = 0;

	if (bytes > in->size)
		bytes = in->size;
	memcpy(&value, in->data, bytes);
	in->data += bytes;
	in->size -= bytes;
	return value;
}

static void take_name(struct input *in, char *to, size_t size)
{
	size_t length = take(in, 1) % size;

	for (size_t i = 0; i < length; i++)
		to[i] = (char)take(in, 1);
	to[length] = '\0';
}

struct table {
	struct trace_probe probes[PROBES];
	struct trace_arg args[PROBES][ARGS];
	char symbols[PROBES][40];
};

static void take_table(struct input *in, struct table *table)
{
	static const uint8_t widths[] = { 1, 3, 8, 16, 32, 33, 64 };

	for (size_t id = 0; id < PROBES; id++) {
		struct trace_probe *probe = &table->probes[id];

		take_name(in, probe->event, sizeof(probe->event));
		take_name(in, probe->group, 8);
		take_name(in, table->symbols[id], sizeof(table->symbols[id]));
		probe->path = "/p";
		probe->symbol = table->symbols[id];
		probe->kind = (enum trace_probe_kind)(take(in, 1) % (TRACE_RETURN + 1));
		probe->offset = take(in, 1) % 3;
		probe->nargs = (uint32_t)take(in, 1) % (ARGS + 1);
		probe->args = table->args[id];
		for (size_t i = 0; i < ARGS; i++) {
			struct trace_arg *arg = &table->args[id][i];

			take_name(in, arg->name, 12);
			arg->kind = (enum trace_arg_kind)(take(in, 1) % (TRACE_BYTES + 1));
			arg->format = (enum trace_arg_format)(take(in, 1) % (TRACE_TEXT + 1));
			arg->bits = widths[take(in, 1) % sizeof(widths)];
			arg->is_result = take(in, 1) & 1;
			if (arg->format == TRACE_FLOAT) /* as everybody makes them */
				arg->bits = arg->bits <= 32 ? 32 : 64;
			if (arg->format == TRACE_TEXT)
				arg->bits = 64;
			if (arg->kind == TRACE_ARRAY && arg->bits % 8)
				arg->bits = 16;
			arg->count = 1 + arg->bits % 5;
		}
		if (probe->nargs && take(in, 1) & 1) { /* a user stack, which is the last */
			struct trace_arg *last = &table->args[id][probe->nargs - 1];

			last->kind = TRACE_BYTES;
			last->format = take(in, 1) & 1 ? TRACE_CALLERS : TRACE_RAW_STACK;
			last->bits = 64;
		}
	}
}

static int take_record(struct input *in, struct format_convert *convert, const struct table *table)
{
	uint8_t *bytes; /* on the heap, so that the sanitizer sees each byte beyond */
	uint64_t words[ARGS];
	char comm[24];
	struct trace_record record = { .id = (uint32_t)take(in, 1) % PROBES };
	int error;

	record.size = (uint32_t)take(in, 1) % 65;
	bytes = malloc(record.size ? record.size : 1);
	if (!bytes)
		abort();
	for (size_t i = 0; i < record.size; i++)
		bytes[i] = (uint8_t)take(in, 1);
	for (size_t i = 0; i < ARGS; i++)
		words[i] = take(in, 1) & 1 ? WIRE_LOCATOR(take(in, 1) % 70, take(in, 1) % 70) : take(in, 8);
	take_name(in, comm, sizeof(comm));
	record.args = words;
	record.bytes = record.size ? bytes : NULL;
	record.nargs = (uint32_t)take(in, 1) % (table->probes[record.id].nargs + 1);
	record.time_ns = take(in, 2);
	record.cpu = (uint32_t)take(in, 1) % 4;
	record.pid = record.tid = (uint32_t)take(in, 1) % 3;
	record.frame = take(in, 1);
	record.flags = (uint16_t)take(in, 1);
	error = format_convert_record(convert, &record, take(in, 4), comm[0] ? comm : NULL);
	free(bytes);
	return error;
}

/* Of some addresses this, of some that, of some nothing. */
static bool find_symbol(void *arg, uint32_t source, uint32_t pid, uint64_t addr, struct format_symbol *ret)
{
	static const char *const names[] = { "f", "g<a;b>\n\"", NULL };
	static const char *const paths[] = { "/lib/a.so", "[vdso]", "", NULL };

	*ret = (struct format_symbol) {
		.name = names[addr % 3], .path = paths[addr / 3 % 4], .offset = addr % 17, .path_offset = addr % 1000
	};
	return ret->name || ret->path;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = { "perfetto",        "chrome", "folded",
					     "flame",           "ftrace", "systrace",
					     "jsonl",           "csv",    FORMAT_REPORT_FUNCTIONS,
					     FORMAT_REPORT_TREE, "trace-cmd" };
	struct input in = { data, size };
	struct table *table = calloc(1, sizeof(*table));
	char *text = NULL;
	size_t length = 0;
	struct format_convert_options options = { .to = names[take(&in, 1) % (sizeof(names) / sizeof(names[0]))] };
	struct format_convert *convert;
	uint8_t choices = (uint8_t)take(&in, 1);

	options.out = open_memstream(&text, &length);
	options.by_count = choices & 1;
	options.json = choices & 2;
	options.verbose = choices & 4;
	if (!table || !options.out)
		abort();
	take_table(&in, table);
	options.symbol = find_symbol;
	if (format_convert_create(&options, table->probes, PROBES, &convert, NULL)) {
		if (strcmp(options.to, "trace-cmd") != 0) /* has no room for some arguments */
			abort();
		goto end;
	}
	for (int i = 0; i < 200 && in.size; i++) {
		if (take_record(&in, convert, table) ||
		    (i % 16 == 15 && format_convert_lost(convert, (uint32_t)i % PROBES, take(&in, 2), take(&in, 4))))
			abort();
	}
	if (format_convert_finish(convert, false))
		abort();
end:
	fclose(options.out);
	free(text);
	free(table);
	return 0;
}
