/* SPDX-License-Identifier: MIT */
/*
 * Text as the kernel's trace file has it. "ftrace" is what uprobe events look like there, addresses and all, with the
 * column of processes that the option record-tgid adds. "systrace" has the same columns, and calls and places as the
 * marks that programs write into trace_marker: importers of systrace and Perfetto make slices of them.
 *
 * A name cannot break a line: it is made of whole printable characters, without the '|' that separates the parts of a
 * mark.
 *
 * Source: the kernel's Documentation/trace/ftrace.rst and uprobetracer.rst.
 */
#include <inttypes.h>
#include <string.h>

#include "format/convert_inside.h"

static int begin(struct format_convert *convert, struct utap_error *err)
{
	(void)err;
	fputs("# tracer: nop\n"
	      "#\n"
	      "#           TASK-PID       TGID   CPU#  |||||  TIMESTAMP  FUNCTION\n"
	      "#              | |           |     |    |||||     |         |\n",
	      convert->out);
	return 0;
}

/* All before the event. */
static void print_columns(struct format_convert *convert, const struct format_thread *thread, uint32_t cpu,
			  uint64_t time_ns)
{
	const char *comm = thread->comm[0] ? format_clean(&convert->text, thread->comm, "", "") : "<...>";

	fprintf(convert->out, "%16s-%-7" PRIu32 " (%7" PRIu32 ") [%03" PRIu32 "] ..... %5" PRIu64 ".%06" PRIu64 ": ",
		comm, thread->tid, thread->pid, cpu, time_ns / 1000000000, time_ns % 1000000000 / 1000);
}

/* ---- ftrace ---- */

static int print_args(struct format_convert *convert, const struct format_event *event)
{
	_cleanup_buffer_ struct format_buffer clean = { 0 };

	for (uint32_t i = 0; i < format_args_shown(event->probe); i++) {
		const struct trace_arg *arg = &event->probe->args[i];
		struct format_field field;

		format_field_get(event->probe, event->record, i, &field);
		convert->text.size = 0;
		format_field_text(&convert->text, arg, &field);
		if (convert->text.error)
			return convert->text.error;
		fprintf(convert->out, " %s=", format_clean(&clean, arg->name, "", " "));
		fputs(format_clean(&clean, (const char *)convert->text.data, "", ""), convert->out);
	}
	return clean.error;
}

/* As the kernel writes it with the option userstacktrace and symbols known. */
static int print_stack(struct format_convert *convert, const struct format_event *event)
{
	_cleanup_buffer_ struct format_buffer clean = { 0 };
	struct trace_stack stack;

	if (!format_convert_stack(convert, event, &stack))
		return 0;
	print_columns(convert, event->thread, event->record->cpu, event->record->time_ns);
	fputs("<user stack trace>\n", convert->out);
	for (uint32_t i = 0; i < stack.count; i++) {
		struct format_symbol symbol;
		uint64_t address = format_convert_frame(convert, event, &stack, i, &symbol);

		if (symbol.name)
			fprintf(convert->out, " => %s+0x%" PRIx64 "\n", format_clean(&clean, symbol.name, "", ""), symbol.offset);
		else
			fprintf(convert->out, " => 0x%" PRIx64 "\n", address);
	}
	if (stack.is_short)
		fputs(" => ...\n", convert->out);
	return clean.error;
}

static int ftrace_record(struct format_convert *convert, const struct format_event *event)
{
	const struct trace_record *record = event->record;
	int error;

	print_columns(convert, event->thread, record->cpu, record->time_ns);
	fputs(format_clean(&convert->text, event->probe->event, "", " :"), convert->out);
	if (record->flags & WIRE_RECORD_RETURN)
		fprintf(convert->out, ": (0x%" PRIx64 " <- 0x%" PRIx64 ")", record->caller, event->ip);
	else
		fprintf(convert->out, ": (0x%" PRIx64 ")", event->ip);
	error = print_args(convert, event);
	putc('\n', convert->out);
	if (!error)
		error = print_stack(convert, event);
	return error ? error : convert->text.error;
}

static int ftrace_lost(struct format_convert *convert, uint32_t id, uint64_t lost, uint64_t time_ns)
{
	fprintf(convert->out, "# lost: %" PRIu64 " of %s\n", lost,
		format_clean(&convert->text, convert->probes[id].event, "", " "));
	return convert->text.error;
}

const struct format_kind format_kind_ftrace = {
	.name = "ftrace",
	.summary = "text as in the kernel's trace file",
	.begin = begin,
	.record = ftrace_record,
	.lost = ftrace_lost,
};

/* ---- systrace ---- */

static int mark(struct format_convert *convert, const struct format_thread *thread, uint32_t cpu, uint64_t time_ns,
		char letter, const char *name)
{
	print_columns(convert, thread, cpu, time_ns);
	fprintf(convert->out, "tracing_mark_write: %c|%" PRIu32, letter, thread->pid);
	if (name)
		fprintf(convert->out, "|%s", format_clean(&convert->text, name, "", "|"));
	putc('\n', convert->out);
	return convert->text.error;
}

static int systrace_record(struct format_convert *convert, const struct format_event *event)
{
	return mark(convert, event->thread, event->record->cpu, event->record->time_ns, 'I', event->probe->event);
}

static int systrace_enter(struct format_convert *convert, const struct format_event *event, struct format_open *call)
{
	(void)call;
	return mark(convert, event->thread, event->record->cpu, event->record->time_ns, 'B',
		    format_function_name(event->probe));
}

static int systrace_leave(struct format_convert *convert, const struct format_leave *leave)
{
	return mark(convert, leave->thread, leave->exit ? leave->exit->record->cpu : 0, leave->end_ns, 'E', NULL);
}

const struct format_kind format_kind_systrace = {
	.name = "systrace",
	.summary = "the same columns with marks of calls and places, for systrace and Perfetto",
	.has_calls = true,
	.begin = begin,
	.record = systrace_record,
	.enter = systrace_enter,
	.leave = systrace_leave,
	.lost = ftrace_lost,
};
