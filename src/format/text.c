/* SPDX-License-Identifier: MIT */
/*
 * ftrace's text. The columns are those of the kernel's trace file, so that what reads that reads this: task and pid,
 * CPU, five flags (which say nothing about user space: dots), seconds with microseconds, event, place, arguments.
 *
 * Source: the kernel's Documentation/trace/ftrace.rst and uprobetracer.rst.
 */
#include "format/format.h"

#include <inttypes.h>

#include "format/utf8.h"

#define VALUE_MAX 24 /* a sign and 20 digits, or 0x and 16 */

struct text_colors {
	const char *task, *time, *event, *place, *name, *end;
};
static const struct text_colors plain = { "", "", "", "", "", "" };
static const struct text_colors ansi = {
	.task = "\033[32m",
	.time = "\033[2m",
	.event = "\033[1;36m",
	.place = "\033[33m",
	.name = "\033[34m",
	.end = "\033[0m",
};

void format_text_header(FILE *out)
{
	fputs("# tracer: utap\n"
	      "#\n"
	      "#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION\n"
	      "#              | |         |   |||||     |         |\n",
	      out);
}

void format_value(const struct trace_arg *arg, uint64_t value, char *text, size_t size)
{
	unsigned spare = arg->bits && arg->bits < 64 ? 64U - arg->bits : 0;

	value <<= spare;
	switch (arg->format) {
	case TRACE_UNSIGNED:
		snprintf(text, size, "%" PRIu64, value >> spare);
		return;
	case TRACE_SIGNED:
		snprintf(text, size, "%" PRId64, (int64_t)value >> spare);
		return;
	case TRACE_HEX:
		snprintf(text, size, "0x%" PRIx64, value >> spare);
		return;
	}
	snprintf(text, size, "?");
}

/* The text with '?' for every byte and character that does not belong on a terminal. */
static void print_safe(FILE *out, const char *text)
{
	for (;;) {
		const char *start = text;
		uint32_t code = format_utf8_next(&text);

		if (!code)
			return;
		if (code == FORMAT_UTF8_INVALID || format_utf8_is_control(code))
			putc('?', out);
		else
			fwrite(start, 1, (size_t)(text - start), out);
	}
}

static void print_task(FILE *out, const char *comm, uint32_t tid)
{
	size_t width = 0;

	for (const char *at = comm; format_utf8_next(&at);)
		width++;
	for (; width < 16; width++)
		putc(' ', out);
	print_safe(out, comm);
	fprintf(out, "-%-7" PRIu32, tid);
}

static void print_place(FILE *out, const struct trace_probe *probe)
{
	if (probe->symbol && probe->symbol[0]) {
		print_safe(out, probe->symbol);
		fprintf(out, "+0x%" PRIx64, probe->symbol_offset);
	} else {
		fprintf(out, "0x%" PRIx64, probe->addr);
	}
}

void format_text(FILE *out, const struct trace_probe *probe, const struct trace_record *record, const char *comm,
		 bool color)
{
	const struct text_colors *colors = color ? &ansi : &plain;
	uint32_t nargs = record->nargs < probe->nargs ? record->nargs : probe->nargs;

	flockfile(out);
	fputs(colors->task, out);
	print_task(out, comm ? comm : "<...>", record->tid);
	fprintf(out, "%s [%03" PRIu32 "] ..... %s%5" PRIu64 ".%06" PRIu64 "%s: %s", colors->end, record->cpu,
		colors->time, record->time_ns / 1000000000, record->time_ns % 1000000000 / 1000, colors->end,
		colors->event);
	print_safe(out, probe->event);
	fprintf(out, "%s: (%s", colors->end, colors->place);
	print_place(out, probe);
	fprintf(out, "%s)", colors->end);
	for (uint32_t i = 0; i < nargs; i++) {
		char value[VALUE_MAX];

		format_value(&probe->args[i], record->args[i], value, sizeof(value));
		fprintf(out, " %s", colors->name);
		print_safe(out, probe->args[i].name);
		fprintf(out, "%s=%s", colors->end, value);
	}
	putc('\n', out);
	funlockfile(out);
}
