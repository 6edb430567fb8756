/* SPDX-License-Identifier: MIT */
/*
 * The tracing-data section: the description of our events that lets libtraceevent, and so perf, decode the raw data of
 * samples by name. It is laid out as the kernel and trace-cmd would have it for uprobes of the same arguments, with
 * nothing in it from this machine's kernel: no ftrace events, symbols or printk formats.
 *
 * Names are cut down to what the grammar of formats allows; the exact ones stand in our own table (perf_table.c).
 *
 * Source: trace-cmd.dat.v6(5), Documentation/trace/uprobetracer.rst, Documentation/trace/events.rst.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/inside.h"
#include "format/perf_layout.h"

/* libtraceevent asks the page header for the width of a long; nothing else in it matters without ring buffer pages. */
static const char header_page[] = "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
				  "\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n"
				  "\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n"
				  "\tfield: char data;\toffset:16;\tsize:%u;\tsigned:1;\n";

static const char header_event[] = "# compressed entry header\n"
				   "\ttype_len    :    5 bits\n"
				   "\ttime_delta  :   27 bits\n"
				   "\tarray       :   32 bits\n"
				   "\n"
				   "\tpadding     : type == 29\n"
				   "\ttime_extend : type == 30\n"
				   "\ttime_stamp  : type == 31\n"
				   "\tdata max type_len  == 28\n";

static const char common_fields[] = "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
				    "\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n"
				    "\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n"
				    "\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n"
				    "\n";
static const char place_fields[] = "\tfield:unsigned long __probe_ip;\toffset:8;\tsize:8;\tsigned:0;\n";
static const char return_fields[] = "\tfield:unsigned long __probe_func;\toffset:8;\tsize:8;\tsigned:0;\n"
				    "\tfield:unsigned long __probe_ret_ip;\toffset:16;\tsize:8;\tsigned:0;\n";

static bool is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static const char *tracing_name(const char *name, char text[static 64])
{
	size_t length = strnlen(name, 63);

	for (size_t i = 0; i < length; i++)
		text[i] = is_name_char(name[i]) ? name[i] : '_';
	if (!length)
		text[length++] = '_';
	text[length] = 0;
	return text;
}

/* The conversion of one value. The h's matter: libtraceevent reads a field without its sign and cuts by conversion. */
static const char *tracing_conversion(const struct trace_arg *arg)
{
	bool wide = arg->bits > 32;

	if (arg->kind == TRACE_STRING)
		return "\\\"%s\\\"";
	if (arg->kind == TRACE_BYTES)
		return "%s";
	switch (arg->format) {
	case TRACE_HEX:
	case TRACE_SYMBOL: /* of the kernel's functions perf knows names, not of these */
	case TRACE_FLOAT:
		return wide ? "0x%Lx" : "0x%x";
	case TRACE_SIGNED:
		return wide ? "%Ld" : arg->bits > 16 ? "%d" : arg->bits > 8 ? "%hd" : "%hhd";
	case TRACE_CHAR: /* libtraceevent has no %c: a field of one character is a string to it */
		return arg->kind == TRACE_ARRAY ? "\\\"%s\\\"" : "'%s'";
	case TRACE_CALLERS:
	case TRACE_RAW_STACK:
	case TRACE_TEXT:
		return "\\\"%s\\\"";
	case TRACE_UNSIGNED:
		break;
	}
	return wide ? "%Lu" : "%u";
}

static bool is_strings(const struct trace_arg *arg)
{
	return arg->kind == TRACE_ARRAY && arg->format == TRACE_TEXT;
}

static void tracing_conversions(struct format_buffer *out, const struct trace_arg *arg)
{
	if (arg->kind != TRACE_ARRAY || arg->format == TRACE_CHAR) {
		format_buffer_print(out, "%s", tracing_conversion(arg));
		return;
	}
	for (uint32_t i = 0; i < arg->count; i++)
		format_buffer_print(out, "%c%s", i ? ',' : '{', tracing_conversion(arg));
	format_buffer_print(out, "}");
}

/* What the conversions are of; elements of an array of strings are fields of their own. */
static void tracing_values(struct format_buffer *out, const struct trace_arg *arg)
{
	char name[64];

	tracing_name(arg->name, name);
	if (arg->kind == TRACE_STRING)
		format_buffer_print(out, ", __get_str(%s)", name);
	else if (arg->kind == TRACE_BYTES)
		format_buffer_print(out, ", __print_hex(__get_dynamic_array(%s), __get_dynamic_array_len(%s))", name, name);
	else if (arg->kind == TRACE_WORD || arg->format == TRACE_CHAR)
		format_buffer_print(out, ", REC->%s", name);
	if (arg->format == TRACE_CHAR)
		return;
	for (uint32_t i = 0; arg->kind == TRACE_ARRAY && i < arg->count; i++)
		format_buffer_print(out, is_strings(arg) ? ", __get_str(%s_%u)" : ", REC->%s[%u]", name, i);
}

/* How perf prints the event: places and arguments as the kernel's own events of uprobes and uretprobes have them. */
static void tracing_print(struct format_buffer *out, const struct trace_probe *probe, bool is_return)
{
	uint32_t count = format_args_shown(probe);
	char name[64];

	format_buffer_print(out, "\nprint fmt: \"%s", is_return ? "(%lx <- %lx)" : "(%lx)");
	for (uint32_t i = 0; i < count; i++) {
		format_buffer_print(out, " %s=", tracing_name(probe->args[i].name, name));
		tracing_conversions(out, &probe->args[i]);
	}
	format_buffer_print(out, "%s\", REC->%s", is_return ? "%s" : "",
			    is_return ? "__probe_func, REC->__probe_ret_ip" : "__probe_ip");
	for (uint32_t i = 0; i < count; i++)
		tracing_values(out, &probe->args[i]);
	if (is_return)
		format_buffer_print(out, ", REC->__probe_tail ? \" (tail call)\" : \"\"");
	format_buffer_print(out, "\n");
}

static void tracing_field(struct format_buffer *out, const struct trace_arg *arg, const struct format_perf_field *field)
{
	unsigned size = field->bytes * field->count;
	char name[64];

	tracing_name(arg->name, name);
	if (arg->kind == TRACE_STRING || arg->kind == TRACE_BYTES) {
		format_buffer_print(out, "\tfield:__data_loc %s[] %s;\toffset:%u;\tsize:4;\tsigned:%d;\n",
				    arg->kind == TRACE_STRING ? "char" : "u8", name, field->offset, arg->kind == TRACE_STRING);
		return;
	}
	for (uint32_t i = 0; is_strings(arg) && i < arg->count; i++)
		format_buffer_print(out, "\tfield:__data_loc char[] %s_%u;\toffset:%u;\tsize:4;\tsigned:1;\n", name, i,
				    field->offset + 4 * i);
	if (is_strings(arg))
		return;
	if (arg->format == TRACE_CHAR)
		format_buffer_print(out, "\tfield:char %s[%u];\toffset:%u;\tsize:%u;\tsigned:1;\n", name, field->count, field->offset,
				    size);
	else if (arg->kind == TRACE_ARRAY)
		format_buffer_print(out, "\tfield:%c%u %s[%u];\toffset:%u;\tsize:%u;\tsigned:%d;\n",
				    field->is_signed ? 's' : 'u', field->bytes * 8U, name, field->count, field->offset, size,
				    field->is_signed);
	else
		format_buffer_print(out, "\tfield:%c%u %s;\toffset:%u;\tsize:%u;\tsigned:%d;\n", field->is_signed ? 's' : 'u',
				    field->bytes * 8U, name, field->offset, size, field->is_signed);
}

static void tracing_format(struct format_buffer *out, const struct trace_probe *probe, uint32_t id,
			   const struct format_perf_shape *shape)
{
	char name[64];

	format_buffer_print(out, "name: %s\nID: %u\nformat:\n", tracing_name(probe->event, name),
			    (unsigned int)format_perf_event_id(id));
	format_buffer_add(out, common_fields, sizeof(common_fields) - 1);
	if (shape->tail)
		format_buffer_add(out, return_fields, sizeof(return_fields) - 1);
	else
		format_buffer_add(out, place_fields, sizeof(place_fields) - 1);
	for (uint32_t i = 0; i < format_args_shown(probe); i++)
		tracing_field(out, &probe->args[i], &shape->fields[i]);
	if (shape->nlong)
		format_buffer_print(out, "\tfield:u32 __probe_state[%u];\toffset:%u;\tsize:%u;\tsigned:0;\n", shape->nlong,
				    shape->states, 4 * shape->nlong);
	if (shape->tail)
		format_buffer_print(out, "\tfield:u8 __probe_tail;\toffset:%u;\tsize:1;\tsigned:0;\n", shape->tail);
	if (shape->frame)
		format_buffer_print(out, "\tfield:u64 __probe_frame;\toffset:%u;\tsize:8;\tsigned:0;\n", shape->frame);
	tracing_print(out, probe, shape->tail);
}

static int by_group(const void *a, const void *b, void *arg)
{
	const struct trace_probe *probes = arg;
	uint32_t left, right;

	memcpy(&left, a, sizeof(left));
	memcpy(&right, b, sizeof(right));
	int order = strcmp(probes[left].group, probes[right].group);

	return order ? order : left < right ? -1 : left > right;
}

/* Probes [from, to) of @order are one group: its name, how many, each with its size in front. */
static void tracing_system(struct format_buffer *out, const struct trace_probe *probes,
			   const struct format_perf_shape *shapes, const uint32_t *order, uint32_t from, uint32_t to)
{
	char name[64];

	tracing_name(probes[order[from]].group, name);
	format_buffer_add(out, name, strlen(name) + 1);
	format_buffer_u32(out, to - from);
	for (uint32_t i = from; i < to; i++) {
		size_t start = out->size;

		format_buffer_u64(out, 0);
		tracing_format(out, &probes[order[i]], order[i], &shapes[order[i]]);
		uint64_t size = out->size - start - sizeof(size);

		if (!out->error)
			memcpy(out->data + start, &size, sizeof(size));
	}
}

static void tracing_systems(struct format_buffer *out, const struct trace_probe *probes, uint32_t nprobes,
			    const struct format_perf_shape *shapes)
{
	_cleanup_free_ uint32_t *order = calloc((size_t)nprobes + 1, sizeof(*order));
	uint32_t systems = 0;
	size_t start = out->size;

	if (!order) {
		out->error = -ENOMEM;
		return;
	}
	for (uint32_t i = 0; i < nprobes; i++)
		order[i] = i;
	qsort_r(order, nprobes, sizeof(*order), by_group, (void *)probes);
	format_buffer_u32(out, 0);
	for (uint32_t from = 0, to; from < nprobes; from = to, systems++) {
		for (to = from + 1; to < nprobes && !strcmp(probes[order[from]].group, probes[order[to]].group);)
			to++;
		tracing_system(out, probes, shapes, order, from, to);
	}
	if (!out->error)
		memcpy(out->data + start, &systems, sizeof(systems));
}

static void tracing_file(struct format_buffer *out, const char *name, const char *text)
{
	format_buffer_add(out, name, strlen(name) + 1);
	format_buffer_u64(out, strlen(text));
	format_buffer_add(out, text, strlen(text));
}

void format_perf_tracing(struct format_buffer *out, const struct format_perf_tracing_head *head, const struct trace_probe *probes,
			 uint32_t nprobes, const struct format_perf_shape *shapes)
{
	static const char magic[] = "\027\010\104tracing";
	static const uint8_t order_and_long[] = { 0, sizeof(long) }; /* little-endian */
	char page[sizeof(header_page) + 16];

	snprintf(page, sizeof(page), header_page, head->page_size - 16);
	format_buffer_add(out, magic, sizeof(magic) - 1);
	format_buffer_add(out, head->version, strlen(head->version) + 1);
	format_buffer_add(out, order_and_long, sizeof(order_and_long));
	format_buffer_u32(out, head->page_size);
	tracing_file(out, "header_page", page);
	tracing_file(out, "header_event", header_event);
	format_buffer_u32(out, 0); /* ftrace's own events */
	tracing_systems(out, probes, nprobes, shapes);
	format_buffer_u32(out, 0); /* bytes of kallsyms */
	format_buffer_u32(out, 0); /* bytes of printk formats */
	format_buffer_u64(out, head->comms_size);
	format_buffer_add(out, head->comms, head->comms_size);
}
