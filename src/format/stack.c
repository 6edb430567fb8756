/* SPDX-License-Identifier: MIT */
/*
 * User stacks as text and as JSON. A return address is behind its call, and may be the first byte of another function:
 * what is looked up is the byte before it, what is shown the address itself.
 */
#include <inttypes.h>
#include <string.h>

#include "format/inside.h"

bool format_stack_of(const struct trace_probe *probe, const struct trace_record *record, const struct format_call *call,
		     struct trace_stack *ret)
{
	struct trace_stack stack;

	if (!trace_stack_of(probe, record, &stack))
		return false;
	if (stack.raw && call && call->unwind && call->unwind(call->unwind_arg, record, &stack, ret))
		return true;
	*ret = stack;
	return true;
}

bool format_stack_frame(const struct trace_stack *stack, uint32_t i, const struct trace_record *record,
			const struct format_call *call, uint64_t *address, struct format_symbol *symbol)
{
	bool is_exact;

	*symbol = (struct format_symbol) { 0 };
	*address = trace_stack_address(stack, i, &is_exact);
	if (!call || !call->symbol ||
	    !call->symbol(call->symbol_arg, record->source, record->pid, *address - !is_exact, symbol))
		return false;
	symbol->offset += !is_exact;
	symbol->path_offset += !is_exact;
	return true;
}

static uint64_t raw_register(const struct trace_stack *stack, unsigned number)
{
	uint64_t value;

	memcpy(&value, stack->raw + 8UL * number, sizeof(value));
	return value;
}

/* ---- text ---- */

const char *format_file_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return *path == '/' && slash ? slash + 1 : path;
}

static void put_frame(FILE *out, uint64_t address, const struct format_symbol *symbol)
{
	fputs(" => ", out);
	if (symbol->name) {
		format_safe(out, symbol->name);
		fprintf(out, "+0x%" PRIx64, symbol->offset);
	} else {
		fprintf(out, "0x%" PRIx64, address);
	}
	if (symbol->path) {
		fputs(" (", out);
		format_safe(out, format_file_name(symbol->path));
		putc(')', out);
	}
	putc('\n', out);
}

void format_stack_text(FILE *out, const struct trace_stack *stack, const struct trace_record *record,
		       const struct format_call *call)
{
	struct format_symbol symbol;
	uint64_t address;

	if (stack->error)
		fputs(" => (fault)\n", out);
	else if (stack->raw)
		fprintf(out, " => %" PRIu32 " bytes from 0x%" PRIx64 "\n", stack->size, raw_register(stack, 7));
	for (uint32_t i = 0; i < stack->count; i++) {
		format_stack_frame(stack, i, record, call, &address, &symbol);
		put_frame(out, address, &symbol);
	}
	if (stack->is_short)
		fputs(" => ...\n", out);
}

/* ---- JSON ---- */

static void json_frame(FILE *out, const struct trace_stack *stack, uint32_t i, const struct trace_record *record,
		       const struct format_call *call)
{
	struct format_symbol symbol;
	uint64_t address;
	bool is_exact;

	format_stack_frame(stack, i, record, call, &address, &symbol);
	fprintf(out, "{\"addr\":\"0x%" PRIx64 "\"", address);
	if (symbol.name) {
		fputs(",\"symbol\":", out);
		format_json_string(out, symbol.name);
		fprintf(out, ",\"offset\":%" PRIu64, symbol.offset);
	}
	if (symbol.path) {
		fputs(",\"file\":", out);
		format_json_string(out, symbol.path);
	}
	trace_stack_address(stack, i, &is_exact);
	fputs(i && is_exact ? ",\"exact\":true}" : "}", out);
}

static void json_raw(FILE *out, const struct trace_stack *stack)
{
	fprintf(out, "{\"ip\":\"0x%" PRIx64 "\",\"sp\":\"0x%" PRIx64 "\",\"bp\":\"0x%" PRIx64 "\",\"bytes\":\"",
		raw_register(stack, 16), raw_register(stack, 7), raw_register(stack, 6));
	for (uint32_t i = 0; i < stack->size; i++)
		fprintf(out, "%02x", stack->bytes[i]);
	fputs("\"}", out);
}

void format_stack_json(FILE *out, const struct trace_stack *stack, const struct trace_record *record,
		       const struct format_call *call)
{
	if (stack->error) {
		fputs("null", out);
		return;
	}
	if (stack->raw) {
		json_raw(out, stack);
		return;
	}
	putc('[', out);
	for (uint32_t i = 0; i < stack->count; i++) {
		if (i)
			putc(',', out);
		json_frame(out, stack, i, record, call);
	}
	putc(']', out);
}
