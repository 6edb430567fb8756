/* SPDX-License-Identifier: MIT */
/*
 * One JSON object a record and line. Members: time_ns, cpu, pid, tid, comm (null when unknown), group, event; symbol
 * and symbol_offset where the symbol is known, else addr; args. Of a return also: caller (the return address), caller_symbol and
 * caller_offset where they are known, how ("return", "tail", "abandoned" or "unpaired"; an abandoned call has no caller), and of a whole call
 * duration_ns (not when its entry was not seen) and args of entry and return together. What a tail call returns is null. Numbers stand for themselves, whatever their size;
 * addresses and arguments that are shown in hexadecimal are strings ("0x18"), because many readers round numbers above
 * 2^53. Strings, characters and symbols are strings, arrays are arrays, what could not be read is null; the names of arguments that could only be
 * read in part follow in "short". The user stack, innermost first, is "stack": objects of addr, symbol and offset, file, as far as they are known,
 * and exact where it is no return address but where a signal came; of a copied stack ip, sp, bp and bytes.
 *
 * Source: RFC 8259.
 */
#include "format/inside.h"

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

/* Arguments of one record, or of the entry of a call. */
struct some_args {
	const struct trace_probe *probe;
	const uint64_t *args;
	uint32_t nargs;
	bool tail;
	struct format_where where;
	bool is_stack_short; /* as it is shown: a copied one is walked */
};

/* Returns how many members stand there now. */
static uint32_t print_args(FILE *out, uint32_t members, const struct some_args *some)
{
	for (uint32_t i = 0; i < some->nargs; i++) {
		const struct trace_arg *arg = &some->probe->args[i];

		if (trace_is_stack(arg))
			continue;
		if (members++)
			putc(',', out);
		format_json_string(out, arg->name);
		putc(':', out);
		if (some->tail && arg->is_result)
			fputs("null", out);
		else
			format_json_arg(out, arg, some->args[i], &some->where);
	}
	return members;
}

/* The names of those that could only be read in part. */
static uint32_t print_short(FILE *out, uint32_t before, const struct some_args *some)
{
	for (uint32_t i = 0; i < some->nargs; i++) {
		const struct trace_arg *arg = &some->probe->args[i];

		if (trace_is_stack(arg) ? !some->is_stack_short : !format_arg_is_short(arg, some->args[i]))
			continue;
		fputs(before++ ? "," : ",\"short\":[", out);
		format_json_string(out, arg->name);
	}
	return before;
}

static void print_all_args(FILE *out, const struct trace_probe *probe, const struct trace_record *record,
			   const struct format_call *call, const struct trace_stack *stack)
{
	struct some_args own = { .probe = probe,
				 .args = record->args,
				 .nargs = record->nargs < probe->nargs ? record->nargs : probe->nargs,
				 .tail = record->flags & WIRE_RECORD_TAIL,
				 .is_stack_short = stack && stack->is_short,
				 .where = { .bytes = record->bytes,
					    .size = record->size,
					    .source = record->source,
					    .pid = record->pid,
					    .symbol = call ? call->symbol : NULL,
					    .symbol_arg = call ? call->symbol_arg : NULL } };
	struct some_args entry = own;
	uint32_t members = 0;

	entry.nargs = 0;
	if (call && call->call && call->entry) {
		entry.probe = call->entry;
		entry.args = call->call->args;
		entry.nargs = call->call->nargs < call->entry->nargs ? call->call->nargs : call->entry->nargs;
		entry.tail = false;
		entry.where.bytes = call->call->bytes;
		entry.where.size = call->call->size;
	}
	fputs(",\"args\":{", out);
	print_args(out, print_args(out, 0, &entry), &own);
	putc('}', out);
	members = print_short(out, 0, &entry);
	members = print_short(out, members, &own);
	if (members)
		putc(']', out);
}

static const char *how(const struct trace_record *record, const struct trace_call *call)
{
	if (call && call->ending == TRACE_ABANDONED)
		return "abandoned";
	if (call && call->ending == TRACE_UNPAIRED)
		return "unpaired";
	return record->flags & WIRE_RECORD_TAIL ? "tail" : "return";
}

static void print_return(FILE *out, const struct trace_record *record, const struct format_call *call)
{
	const struct trace_call *whole = call ? call->call : NULL;

	if (!whole || whole->ending != TRACE_ABANDONED)
		fprintf(out, ",\"caller\":\"0x%" PRIx64 "\"", record->caller);
	if (call && call->caller) {
		fputs(",\"caller_symbol\":", out);
		format_json_string(out, call->caller);
		fprintf(out, ",\"caller_offset\":%" PRIu64, call->caller_offset);
	}
	fprintf(out, ",\"how\":\"%s\"", how(record, whole));
	if (whole && whole->ending != TRACE_UNPAIRED)
		fprintf(out, ",\"duration_ns\":%" PRIu64, whole->end_ns - whole->start_ns);
}

void format_json_call(FILE *out, const struct trace_probe *probe, const struct trace_record *record,
		      const struct format_call *call, const char *comm)
{
	struct trace_stack stack;
	bool has_stack = format_stack_of(probe, record, call, &stack);

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
	if (probe->kind == TRACE_RETURN)
		print_return(out, record, call);
	print_all_args(out, probe, record, call, has_stack ? &stack : NULL);
	if (has_stack) {
		fputs(",\"stack\":", out);
		format_stack_json(out, &stack, record, call);
	}
	fputs("}\n", out);
	funlockfile(out);
}

void format_json(FILE *out, const struct trace_probe *probe, const struct trace_record *record, const char *comm)
{
	format_json_call(out, probe, record, NULL, comm);
}
