/* SPDX-License-Identifier: MIT */
/*
 * One JSON object a record and line. Members: time_ns, cpu, pid, tid, comm (null when unknown), group, event; symbol
 * and symbol_offset where the symbol is known, else addr; args. Numbers stand for themselves, whatever their size;
 * addresses and arguments that are shown in hexadecimal are strings ("0x18"), because many readers round numbers above
 * 2^53.
 *
 * Source: RFC 8259.
 */
#include "format/format.h"

#include <inttypes.h>

#include "format/utf8.h"

/* Also escaped though JSON allows it: what terminals obey. */
static void print_character(FILE *out, uint32_t code, const char *text, size_t size)
{
	static const char shorts[] = "\"\"\\\\\bb\ff\nn\rr\tt";

	for (const char *pair = shorts; *pair; pair += 2) {
		if (code == (unsigned char)pair[0]) {
			putc('\\', out);
			putc(pair[1], out);
			return;
		}
	}
	if (code == FORMAT_UTF8_INVALID)
		fputs("\\ufffd", out);
	else if (format_utf8_is_control(code))
		fprintf(out, "\\u%04" PRIx32, code);
	else
		fwrite(text, 1, size, out);
}

void format_json_string(FILE *out, const char *text)
{
	putc('"', out);
	for (;;) {
		const char *start = text;
		uint32_t code = format_utf8_next(&text);

		if (!code)
			break;
		print_character(out, code, start, (size_t)(text - start));
	}
	putc('"', out);
}

static void print_args(FILE *out, const struct trace_probe *probe, const struct trace_record *record)
{
	uint32_t nargs = record->nargs < probe->nargs ? record->nargs : probe->nargs;

	for (uint32_t i = 0; i < nargs; i++) {
		const struct trace_arg *arg = &probe->args[i];
		const char *quote = arg->format == TRACE_HEX ? "\"" : "";
		char value[24];

		format_value(arg, record->args[i], value, sizeof(value));
		if (i)
			putc(',', out);
		format_json_string(out, arg->name);
		fprintf(out, ":%s%s%s", quote, value, quote);
	}
}

void format_json(FILE *out, const struct trace_probe *probe, const struct trace_record *record, const char *comm)
{
	flockfile(out);
	fprintf(out, "{\"time_ns\":%" PRIu64 ",\"cpu\":%" PRIu32 ",\"pid\":%" PRIu32 ",\"tid\":%" PRIu32 ",\"comm\":",
		record->time_ns, record->cpu, record->pid, record->tid);
	if (comm)
		format_json_string(out, comm);
	else
		fputs("null", out);
	fputs(",\"group\":", out);
	format_json_string(out, probe->group);
	fputs(",\"event\":", out);
	format_json_string(out, probe->event);
	if (probe->symbol && probe->symbol[0]) {
		fputs(",\"symbol\":", out);
		format_json_string(out, probe->symbol);
		fprintf(out, ",\"symbol_offset\":%" PRIu64, probe->symbol_offset);
	} else {
		fprintf(out, ",\"addr\":\"0x%" PRIx64 "\"", probe->addr);
	}
	fputs(",\"args\":{", out);
	print_args(out, probe, record);
	fputs("}}\n", out);
	funlockfile(out);
}
