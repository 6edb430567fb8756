/* SPDX-License-Identifier: MIT */
/*
 * Comma-separated values, one line a record: what every record has, then a column for each name of an argument that any
 * probe has, then "more" for arguments of probes that came when the header was written already ("name=value", separated
 * by blanks). Strings stand as they are, without ftrace's quotes; characters that obey terminals, and bytes that are
 * none, are replaced.
 *
 * Source: RFC 4180.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "format/convert_inside.h"

struct column {
	char name[64];
	uint32_t number;
	uint64_t stamp; /* of the row for which arg is set */
	uint32_t arg;
	UT_hash_handle hh;
};

struct csv {
	struct column *columns;
	uint64_t row; /* counts rows, for stamps */
	bool is_begun;
};

/* Quoted where that is needed. */
static int print_text(struct format_convert *convert, const char *text)
{
	const char *clean = format_clean(&convert->text, text, "\t\r\n", "");

	if (!strpbrk(clean, ",\"\r\n")) {
		fputs(clean, convert->out);
		return convert->text.error;
	}
	putc('"', convert->out);
	for (; *clean; clean++) {
		if (*clean == '"')
			putc('"', convert->out);
		putc(*clean, convert->out);
	}
	putc('"', convert->out);
	return convert->text.error;
}

static int add_column(struct csv *csv, const char *name)
{
	struct column *column;

	HASH_FIND_STR(csv->columns, name, column);
	if (column)
		return 0;
	column = calloc(1, sizeof(*column));
	if (!column)
		return -ENOMEM;
	snprintf(column->name, sizeof(column->name), "%s", name);
	column->number = HASH_COUNT(csv->columns);
	HASH_ADD_STR(csv->columns, name, column);
	if (column->hh.tbl)
		return 0;
	free(column);
	return -ENOMEM;
}

static int print_header(struct format_convert *convert)
{
	const struct csv *csv = convert->state;
	int error = 0;

	fputs("time_ns,cpu,pid,tid,comm,group,event,symbol,symbol_offset,address,caller,how", convert->out);
	for (const struct column *column = csv->columns; column && !error; column = column->hh.next) {
		putc(',', convert->out);
		error = print_text(convert, column->name);
	}
	fputs(",more\r\n", convert->out);
	return error;
}

static int begin(struct format_convert *convert, struct utap_error *err)
{
	convert->state = calloc(1, sizeof(struct csv));
	return convert->state ? 0 : base_error(err, -ENOMEM, UTAP_ERROR_SYSTEM, "no memory to convert");
}

static int learn_probes(struct format_convert *convert)
{
	struct csv *csv = convert->state;
	int error = 0;

	if (csv->is_begun)
		return 0;
	csv->is_begun = true;
	for (uint32_t id = 0; id < convert->nprobes; id++)
		for (uint32_t i = 0; i < convert->probes[id].nargs && !error; i++)
			error = add_column(csv, convert->probes[id].args[i].name);
	return error ? error : print_header(convert);
}

/* "function+0x12;caller+0x34", the innermost first. */
static void stack_text(const struct format_convert *convert, const struct format_event *event, struct format_buffer *out)
{
	struct trace_stack stack;

	if (format_convert_stack(convert, event, &stack)) {
		for (uint32_t i = 0; i < stack.count; i++) {
			struct format_symbol symbol;
			uint64_t address = format_convert_frame(convert, event, &stack, i, &symbol);

			if (symbol.name)
				format_buffer_print(out, "%s%s+0x%" PRIx64, i ? ";" : "", symbol.name, symbol.offset);
			else
				format_buffer_print(out, "%s0x%" PRIx64, i ? ";" : "", address);
		}
		if (stack.is_short)
			format_buffer_print(out, ";...");
	}
	format_buffer_zero(out, 1);
	if (out->size && !out->error)
		out->size--; /* the terminator stays behind the text */
}

static int print_arg(struct format_convert *convert, const struct format_event *event, uint32_t index)
{
	_cleanup_buffer_ struct format_buffer text = { 0 };
	struct format_field field;

	if (trace_is_stack(&event->probe->args[index])) {
		stack_text(convert, event, &text);
		return text.error ? text.error : print_text(convert, (const char *)text.data);
	}

	format_field_get(event->probe, event->record, index, &field);
	if (field.kind == FORMAT_UNKNOWN)
		return 0;
	if (field.kind == FORMAT_TEXT)
		format_field_string(&text, &field);
	else
		format_field_text(&text, &event->probe->args[index], &field);
	return text.error ? text.error : print_text(convert, (const char *)text.data);
}

/* Arguments whose name has no column, or comes twice. */
static int print_more(struct format_convert *convert, const struct format_event *event)
{
	struct csv *csv = convert->state;
	_cleanup_buffer_ struct format_buffer more = { 0 };

	for (uint32_t i = 0; i < event->probe->nargs; i++) {
		const struct trace_arg *arg = &event->probe->args[i];
		struct format_field field;
		struct column *column;

		HASH_FIND_STR(csv->columns, arg->name, column);
		if (column && column->stamp == csv->row && column->arg == i)
			continue;
		if (trace_is_stack(arg)) {
			if (more.size)
				format_buffer_add(&more, " ", 1);
			format_buffer_print(&more, "stack=");
			stack_text(convert, event, &more);
			continue;
		}
		format_field_get(event->probe, event->record, i, &field);
		if (more.size)
			format_buffer_add(&more, " ", 1);
		format_buffer_add(&more, arg->name, strlen(arg->name));
		format_buffer_add(&more, "=", 1);
		format_field_text(&more, arg, &field);
	}
	if (!more.size || more.error)
		return more.error;
	return print_text(convert, (const char *)more.data);
}

static int print_args(struct format_convert *convert, const struct format_event *event)
{
	struct csv *csv = convert->state;
	int error = 0;

	csv->row++;
	for (uint32_t i = 0; i < event->probe->nargs; i++) {
		struct column *column;

		HASH_FIND_STR(csv->columns, event->probe->args[i].name, column);
		if (!column || column->stamp == csv->row)
			continue;
		column->stamp = csv->row;
		column->arg = i;
	}
	for (struct column *column = csv->columns; column && !error; column = column->hh.next) {
		putc(',', convert->out);
		if (column->stamp == csv->row)
			error = print_arg(convert, event, column->arg);
	}
	putc(',', convert->out);
	return error ? error : print_more(convert, event);
}

static int record(struct format_convert *convert, const struct format_event *event)
{
	const struct trace_record *record = event->record;
	const struct trace_probe *probe = event->probe;
	const char *const texts[] = { event->thread->comm, probe->group, probe->event,
				      probe->symbol ? probe->symbol : "" };
	int error = 0;

	fprintf(convert->out, "%" PRIu64 ",%" PRIu32 ",%" PRIu32 ",%" PRIu32, record->time_ns, record->cpu, record->pid,
		record->tid);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]) && !error; i++) {
		putc(',', convert->out);
		error = print_text(convert, texts[i]);
	}
	if (error)
		return error;
	fprintf(convert->out, ",%" PRIu64 ",0x%" PRIx64 ",", probe->symbol_offset, event->ip);
	if (record->flags & WIRE_RECORD_RETURN)
		fprintf(convert->out, "0x%" PRIx64 ",%s", record->caller,
			record->flags & WIRE_RECORD_TAIL ? "tail" : "return");
	else
		putc(',', convert->out);
	error = print_args(convert, event);
	fputs("\r\n", convert->out);
	return error;
}

static void release(struct format_convert *convert)
{
	struct csv *csv = convert->state;
	struct column *column;
	struct column *next;

	if (!csv)
		return;
	HASH_ITER(hh, csv->columns, column, next)
	{
		HASH_DEL(csv->columns, column);
		free(column);
	}
	free(csv);
}

const struct format_kind format_kind_csv = {
	.name = "csv",
	.summary = "comma-separated values, a line for each hit, with a header",
	.begin = begin,
	.probes = learn_probes,
	.record = record,
	.release = release,
};
