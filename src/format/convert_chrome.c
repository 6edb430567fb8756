/* SPDX-License-Identifier: MIT */
/*
 * The trace event format of Chrome's tracing, which many viewers read: calls are B and E, other hits i, names of
 * processes and threads M, records that were lost the counter "lost". Times are microseconds with three decimals,
 * exact. Arguments are numbers as far as a double holds them exactly, else strings.
 *
 * It is complete after format_convert_finish() only; what was cut off before is read by viewers as well, for the format
 * allows the last bracket to be missing.
 *
 * Source: the "Trace Event Format" document; RFC 8259.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/convert_inside.h"
#include "format/format.h"

#define EXACT (1ULL << 53) /* doubles hold integers up to here */

struct chrome {
	bool is_begun; /* from now on a comma */
	struct format_frames *frames;
};

static void begin_event(struct format_convert *convert, char phase, uint32_t pid, uint32_t tid, uint64_t time_ns)
{
	struct chrome *chrome = convert->state;

	fprintf(convert->out, "%s{\"ph\":\"%c\",\"pid\":%" PRIu32 ",\"tid\":%" PRIu32 ",\"ts\":%" PRIu64 ".%03" PRIu64,
		chrome->is_begun ? ",\n" : "\n", phase, pid, tid, time_ns / 1000, time_ns % 1000);
	chrome->is_begun = true;
}

static int begin(struct format_convert *convert, struct utap_error *err)
{
	struct chrome *chrome = calloc(1, sizeof(*chrome));

	convert->state = chrome;
	if (!chrome || format_frames_create(false, &chrome->frames))
		return base_error(err, -ENOMEM, UTAP_ERROR_SYSTEM, "no memory to convert");
	fputs("{\"displayTimeUnit\":\"ns\",\"otherData\":{\"clock\":\"CLOCK_MONOTONIC\",\"writer\":\"utap\"},"
	      "\"traceEvents\":[",
	      convert->out);
	return 0;
}

static int end(struct format_convert *convert)
{
	const struct chrome *chrome = convert->state;
	const struct format_frame *frame;

	fputs("\n]", convert->out);
	for (uint64_t number = 1; (frame = format_frames_at(chrome->frames, number)); number++) {
		fprintf(convert->out, "%s\"%" PRIu64 "\":{\"name\":", number == 1 ? ",\n\"stackFrames\":{\n" : ",\n", number);
		format_json_string(convert->out, frame->name->text);
		if (frame->path) {
			fputs(",\"category\":", convert->out);
			format_json_string(convert->out, frame->path->text);
		}
		if (frame->parent)
			fprintf(convert->out, ",\"parent\":\"%" PRIu64 "\"", frame->parent->number);
		putc('}', convert->out);
	}
	fputs(format_frames_at(chrome->frames, 1) ? "\n}}\n" : "}\n", convert->out);
	return 0;
}

static void release(struct format_convert *convert)
{
	struct chrome *chrome = convert->state;

	if (chrome)
		format_frames_destroy(chrome->frames);
	free(chrome);
}

static int name_thread(struct format_convert *convert, const struct format_thread *thread)
{
	const char *comm = thread->comm[0] ? thread->comm : "<...>";

	begin_event(convert, 'M', thread->pid, thread->tid, 0);
	fputs(",\"name\":\"thread_name\",\"args\":{\"name\":", convert->out);
	format_json_string(convert->out, comm);
	fputs("}}", convert->out);
	if (thread->pid != thread->tid)
		return 0;
	begin_event(convert, 'M', thread->pid, thread->tid, 0);
	fputs(",\"name\":\"process_name\",\"args\":{\"name\":", convert->out);
	format_json_string(convert->out, comm);
	fputs("}}", convert->out);
	return 0;
}

/* ---- arguments ---- */

static bool is_number(const struct format_field *field)
{
	if (field->kind == FORMAT_UNSIGNED)
		return field->u <= EXACT;
	if (field->kind == FORMAT_SIGNED)
		return field->i >= -(int64_t)EXACT && field->i <= (int64_t)EXACT;
	return false;
}

static int print_value(struct format_convert *convert, const struct trace_arg *arg, const struct format_field *field)
{
	if (field->kind == FORMAT_UNKNOWN || field->kind == FORMAT_FAULT) {
		fputs(field->kind == FORMAT_FAULT ? "\"(fault)\"" : "null", convert->out);
		return 0;
	}
	if (field->kind == FORMAT_FLOATING && isfinite(field->f)) {
		fprintf(convert->out, "%.17g", field->f);
		return 0;
	}
	if (is_number(field) && field->kind == FORMAT_SIGNED) {
		fprintf(convert->out, "%" PRId64, field->i);
		return 0;
	}
	if (is_number(field)) {
		fprintf(convert->out, "%" PRIu64, field->u);
		return 0;
	}
	convert->text.size = 0;
	if (field->kind == FORMAT_TEXT)
		format_field_string(&convert->text, field);
	else
		format_field_text(&convert->text, arg, field);
	if (!convert->text.error)
		format_json_string(convert->out, (const char *)convert->text.data);
	return convert->text.error;
}

static int print_args(struct format_convert *convert, const struct format_event *event)
{
	const char *comma = "";
	int error = 0;

	if (!format_args_shown(event->probe))
		return 0;
	fputs(",\"args\":{", convert->out);
	for (uint32_t i = 0; i < format_args_shown(event->probe) && !error; i++) {
		struct format_field field;

		format_field_get(event->probe, event->record, i, &field);
		fputs(comma, convert->out);
		format_json_string(convert->out, event->probe->args[i].name);
		putc(':', convert->out);
		error = print_value(convert, &event->probe->args[i], &field);
		comma = ",";
	}
	putc('}', convert->out);
	return error;
}

/* "sf" names the innermost frame; all of them follow the events. */
static int print_stack(struct format_convert *convert, const struct format_event *event)
{
	const struct chrome *chrome = convert->state;
	struct format_frame *frame;
	int error = format_frames_get(chrome->frames, convert, event, &frame);

	if (!error && frame)
		fprintf(convert->out, ",\"sf\":\"%" PRIu64 "\"", frame->number);
	return error;
}

/* ---- events ---- */

static int print_event(struct format_convert *convert, const struct format_event *event, char phase, const char *name)
{
	int error;

	begin_event(convert, phase, event->thread->pid, event->thread->tid, event->record->time_ns);
	fputs(",\"cat\":", convert->out);
	format_json_string(convert->out, event->probe->group);
	fputs(",\"name\":", convert->out);
	format_json_string(convert->out, name);
	if (phase == 'i')
		fputs(",\"s\":\"t\"", convert->out);
	error = print_args(convert, event);
	if (!error)
		error = print_stack(convert, event);
	putc('}', convert->out);
	return error;
}

static int record(struct format_convert *convert, const struct format_event *event)
{
	return print_event(convert, event, 'i', event->probe->event);
}

static int enter(struct format_convert *convert, const struct format_event *event, struct format_open *call)
{
	(void)call;
	return print_event(convert, event, 'B', format_function_name(event->probe));
}

static int leave(struct format_convert *convert, const struct format_leave *leave)
{
	int error = 0;

	begin_event(convert, 'E', leave->thread->pid, leave->thread->tid, leave->end_ns);
	if (leave->exit)
		error = print_args(convert, leave->exit);
	else
		fprintf(convert->out, ",\"args\":{\"ended\":\"%s\"}",
			leave->how == FORMAT_ABANDONED ? "abandoned" : "still open");
	putc('}', convert->out);
	return error;
}

static int lost(struct format_convert *convert, uint32_t id, uint64_t lost, uint64_t time_ns)
{
	begin_event(convert, 'C', 0, 0, time_ns);
	fputs(",\"name\":\"lost\",\"args\":{", convert->out);
	format_json_string(convert->out, convert->probes[id].event);
	fprintf(convert->out, ":%" PRIu64 "}}", lost);
	return 0;
}

const struct format_kind format_kind_chrome = {
	.name = "chrome",
	.summary = "JSON for chrome://tracing, Perfetto and speedscope",
	.has_calls = true,
	.begin = begin,
	.thread = name_thread,
	.record = record,
	.enter = enter,
	.leave = leave,
	.lost = lost,
	.end = end,
	.release = release,
};
