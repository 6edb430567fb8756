/* SPDX-License-Identifier: MIT */
/*
 * ftrace's text. The columns are those of the kernel's trace file, so that what reads that reads this: task and pid,
 * CPU, five flags (which say nothing about user space: dots), seconds with microseconds, event, place, arguments. What the kernel has
 * nothing like, how long a call took and how it ended, follows the arguments.
 *
 * Source: the kernel's Documentation/trace/ftrace.rst and uprobetracer.rst.
 */
#include "format/inside.h"

#include <inttypes.h>
#include <string.h>

#include "format/utf8.h"

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

static void print_task(FILE *out, const char *comm, uint32_t tid)
{
	size_t width = 0;

	for (const char *at = comm; format_utf8_next(&at);)
		width++;
	for (; width < 16; width++)
		putc(' ', out);
	format_safe(out, comm);
	fprintf(out, "-%-7" PRIu32, tid);
}

static void print_place(FILE *out, const struct trace_probe *probe)
{
	if (probe->symbol && probe->symbol[0]) {
		format_safe(out, probe->symbol);
		fprintf(out, "+0x%" PRIx64, probe->symbol_offset);
	} else {
		fprintf(out, "0x%" PRIx64, probe->addr);
	}
}

/* Of a return as the kernel has it: where to, from which function. */
static void print_way(FILE *out, const struct trace_probe *probe, const struct trace_record *record,
		      const struct format_call *call)
{
	if (call && call->caller) {
		format_safe(out, call->caller);
		fprintf(out, "+0x%" PRIx64 " <- ", call->caller_offset);
	} else if (record->caller) {
		fprintf(out, "0x%" PRIx64 " <- ", record->caller);
	}
	if (probe->symbol && probe->symbol[0])
		format_safe(out, probe->symbol);
	else
		fprintf(out, "0x%" PRIx64, probe->addr);
}

static struct format_where where_of(const struct trace_record *record, const struct format_call *call)
{
	return (struct format_where) { .bytes = record->bytes,
				       .size = record->size,
				       .source = record->source,
				       .pid = record->pid,
				       .symbol = call ? call->symbol : NULL,
				       .symbol_arg = call ? call->symbol_arg : NULL };
}

static void print_args(FILE *out, const struct text_colors *colors, const struct trace_probe *probe,
		       const uint64_t *args, uint32_t nargs, bool tail, const struct format_where *where)
{
	if (nargs > probe->nargs)
		nargs = probe->nargs;
	for (uint32_t i = 0; i < nargs; i++) {
		if (trace_is_stack(&probe->args[i]))
			continue;
		fprintf(out, " %s", colors->name);
		format_safe(out, probe->args[i].name);
		fprintf(out, "%s=", colors->end);
		if (tail && probe->args[i].is_result)
			putc('?', out);
		else
			format_arg(out, &probe->args[i], args[i], where);
	}
}

void format_duration(uint64_t ns, char *text, size_t size)
{
	if (ns < 1000000)
		snprintf(text, size, "%3" PRIu64 ".%03" PRIu64 " us", ns / 1000, ns % 1000);
	else if (ns < 1000000000)
		snprintf(text, size, "%3" PRIu64 ".%03" PRIu64 " ms", ns / 1000000, ns / 1000 % 1000);
	else
		snprintf(text, size, "%3" PRIu64 ".%03" PRIu64 "  s", ns / 1000000000, ns / 1000000 % 1000);
}

static const char *ending(const struct trace_record *record, const struct trace_call *call)
{
	if (record->flags & WIRE_RECORD_TAIL)
		return " (tail call)";
	if (!call)
		return "";
	switch (call->ending) {
	case TRACE_ABANDONED:
		return " (abandoned)";
	case TRACE_UNPAIRED:
		return " (entered unseen)";
	case TRACE_RETURNED:
	case TRACE_TAILED:
		break;
	}
	return "";
}

static void print_end(FILE *out, const struct text_colors *colors, const struct trace_record *record,
		      const struct trace_call *call)
{
	char text[32];

	if (call && call->ending != TRACE_UNPAIRED) {
		format_duration(call->end_ns - call->start_ns, text, sizeof(text));
		fprintf(out, " %s%s%s", colors->time, text + strspn(text, " "), colors->end);
	}
	fputs(ending(record, call), out);
}

/* What all lines of a record start with. */
static void print_start(FILE *out, const struct text_colors *colors, const struct trace_record *record, const char *comm)
{
	fputs(colors->task, out);
	print_task(out, comm ? comm : "<...>", record->tid);
	fprintf(out, "%s [%03" PRIu32 "] ..... %s%5" PRIu64 ".%06" PRIu64 "%s: ", colors->end, record->cpu, colors->time,
		record->time_ns / 1000000000, record->time_ns % 1000000000 / 1000, colors->end);
}

static void print_stack(FILE *out, const struct text_colors *colors, const struct trace_probe *probe, const struct trace_record *record,
			const struct format_call *call, const char *comm)
{
	struct trace_stack stack;

	if (!format_stack_of(probe, record, call, &stack))
		return;
	print_start(out, colors, record, comm);
	fputs("<user stack trace>\n", out);
	format_stack_text(out, &stack, record, call);
}

void format_text_call(FILE *out, const struct trace_probe *probe, const struct trace_record *record,
		      const struct format_call *call, const char *comm, bool color)
{
	const struct text_colors *colors = color ? &ansi : &plain;
	const struct trace_call *whole = call ? call->call : NULL;
	struct format_where where = where_of(record, call);

	flockfile(out);
	print_start(out, colors, record, comm);
	fputs(colors->event, out);
	format_safe(out, probe->event);
	fprintf(out, "%s: (%s", colors->end, colors->place);
	if (probe->kind == TRACE_RETURN)
		print_way(out, probe, record, call);
	else
		print_place(out, probe);
	fprintf(out, "%s)", colors->end);
	if (whole && call->entry) {
		struct format_where entry = where;

		entry.bytes = whole->bytes;
		entry.size = whole->size;
		print_args(out, colors, call->entry, whole->args, whole->nargs, false, &entry);
	}
	print_args(out, colors, probe, record->args, record->nargs, record->flags & WIRE_RECORD_TAIL, &where);
	print_end(out, colors, record, whole);
	putc('\n', out);
	print_stack(out, colors, probe, record, call, comm);
	funlockfile(out);
}

void format_text(FILE *out, const struct trace_probe *probe, const struct trace_record *record, const char *comm,
		 bool color)
{
	format_text_call(out, probe, record, NULL, comm, color);
}
