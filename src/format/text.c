/* SPDX-License-Identifier: MIT */
/*
 * ftrace's text. The columns are those of the kernel's trace file, so that what reads that reads this: task and pid,
 * CPU, five flags (which say nothing about user space: dots), seconds with microseconds, event, place, arguments. What the kernel has
 * nothing like, how long a call took and how it ended, follows the arguments.
 *
 * Source: the kernel's Documentation/trace/ftrace.rst and uprobetracer.rst.
 */
#include "format/line.h"

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

static void print_task(struct format_line *line, const char *comm, uint32_t tid)
{
	size_t width = 0, digits = line_digits(tid);

	for (const char *at = comm; format_utf8_next(&at);)
		width++;
	line_fill(line, ' ', width < 16 ? 16 - width : 0);
	line_safe(line, comm);
	line_char(line, '-');
	line_decimal(line, tid, 0, ' ');
	line_fill(line, ' ', digits < 7 ? 7 - digits : 0);
}

static void print_offset(struct format_line *line, const char *symbol, uint64_t offset)
{
	line_safe(line, symbol);
	line_char(line, '+');
	line_hex(line, offset);
}

static void print_place(struct format_line *line, const struct trace_probe *probe)
{
	if (probe->symbol && probe->symbol[0])
		print_offset(line, probe->symbol, probe->symbol_offset);
	else
		line_hex(line, probe->addr);
}

/* Of a return as the kernel has it: where to, from which function. */
static void print_way(struct format_line *line, const struct trace_probe *probe, const struct trace_record *record,
		      const struct format_call *call)
{
	if (call && call->caller)
		print_offset(line, call->caller, call->caller_offset);
	else if (record->caller)
		line_hex(line, record->caller);
	if (record->caller || (call && call->caller))
		line_text(line, " <- ");
	if (probe->symbol && probe->symbol[0])
		line_safe(line, probe->symbol);
	else
		line_hex(line, probe->addr);
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

/* Whole numbers, as format_value() has them; false: it is something else. */
static bool print_number(struct format_line *line, const struct trace_arg *arg, uint64_t value)
{
	unsigned spare = arg->bits && arg->bits < 64 ? 64U - arg->bits : 0;
	int64_t number = (int64_t)(value << spare) >> spare;

	if (arg->kind != TRACE_WORD || (arg->format != TRACE_UNSIGNED && arg->format != TRACE_SIGNED && arg->format != TRACE_HEX))
		return false;
	value = value << spare >> spare;
	if (arg->format == TRACE_HEX) {
		line_hex(line, value);
	} else if (arg->format == TRACE_SIGNED && number < 0) {
		line_char(line, '-');
		line_decimal(line, 0 - (uint64_t)number, 0, ' ');
	} else {
		line_decimal(line, value, 0, ' ');
	}
	return true;
}

static void print_args(struct format_line *line, const struct text_colors *colors, const struct trace_probe *probe,
		       const uint64_t *args, uint32_t nargs, bool tail, const struct format_where *where)
{
	if (nargs > format_args_shown(probe))
		nargs = format_args_shown(probe);
	for (uint32_t i = 0; i < nargs; i++) {
		line_char(line, ' ');
		line_text(line, colors->name);
		line_safe(line, probe->args[i].name);
		line_char(line, '=');
		line_text(line, colors->end);
		if (tail && probe->args[i].is_result) {
			line_char(line, '?');
		} else if (!print_number(line, &probe->args[i], args[i])) {
			line_flush(line);
			format_arg(line->out, &probe->args[i], args[i], where);
		}
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

static void print_end(struct format_line *line, const struct text_colors *colors, const struct trace_record *record,
		      const struct trace_call *call)
{
	char text[32];

	if (call && call->ending != TRACE_UNPAIRED) {
		format_duration(call->end_ns - call->start_ns, text, sizeof(text));
		line_char(line, ' ');
		line_text(line, colors->time);
		line_text(line, text + strspn(text, " "));
		line_text(line, colors->end);
	}
	line_text(line, ending(record, call));
}

/* What all lines of a record start with. */
static void print_start(struct format_line *line, const struct text_colors *colors, const struct trace_record *record, const char *comm)
{
	line_text(line, colors->task);
	print_task(line, comm ? comm : "<...>", record->tid);
	line_text(line, colors->end);
	line_add(line, " [", 2);
	line_decimal(line, record->cpu, 3, '0');
	line_text(line, "] ..... ");
	line_text(line, colors->time);
	line_decimal(line, record->time_ns / 1000000000, 5, ' ');
	line_char(line, '.');
	line_decimal(line, record->time_ns % 1000000000 / 1000, 6, '0');
	line_text(line, colors->end);
	line_add(line, ": ", 2);
}

static void print_stack(struct format_line *line, const struct text_colors *colors, const struct trace_probe *probe,
			const struct trace_record *record, const struct format_call *call, const char *comm)
{
	struct trace_stack stack;

	if (!format_stack_of(probe, record, call, &stack))
		return;
	print_start(line, colors, record, comm);
	line_text(line, "<user stack trace>\n");
	line_flush(line);
	format_stack_text(line->out, &stack, record, call);
}

static void print_event(struct format_line *line, const struct text_colors *colors, const struct trace_probe *probe,
			const struct trace_record *record, const struct format_call *call)
{
	line_text(line, colors->event);
	line_safe(line, probe->event);
	line_text(line, colors->end);
	line_text(line, ": (");
	line_text(line, colors->place);
	if (probe->kind == TRACE_RETURN)
		print_way(line, probe, record, call);
	else
		print_place(line, probe);
	line_text(line, colors->end);
	line_char(line, ')');
}

void format_text_call(FILE *out, const struct trace_probe *probe, const struct trace_record *record,
		      const struct format_call *call, const char *comm, bool color)
{
	const struct text_colors *colors = color ? &ansi : &plain;
	const struct trace_call *whole = call ? call->call : NULL;
	struct format_where where = where_of(record, call);
	struct format_line line;

	line.out = out;
	line.used = 0;
	print_start(&line, colors, record, comm);
	print_event(&line, colors, probe, record, call);
	if (whole && call->entry) {
		struct format_where entry = where;

		entry.bytes = whole->bytes;
		entry.size = whole->size;
		print_args(&line, colors, call->entry, whole->args, whole->nargs, false, &entry);
	}
	print_args(&line, colors, probe, record->args, record->nargs, record->flags & WIRE_RECORD_TAIL, &where);
	print_end(&line, colors, record, whole);
	line_char(&line, '\n');
	print_stack(&line, colors, probe, record, call, comm);
	line_flush(&line);
}

void format_text(FILE *out, const struct trace_probe *probe, const struct trace_record *record, const char *comm,
		 bool color)
{
	format_text_call(out, probe, record, NULL, comm, color);
}
