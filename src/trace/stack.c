/* SPDX-License-Identifier: MIT */
/*
 * The user stack of a record. Its locator was checked with the others (shape.c) or comes from a file's reader: it is
 * bounded here all the same, and what it names is any bytes.
 */
#include <errno.h>
#include <string.h>

#include "trace/trace.h"

static const uint8_t *located(const struct trace_record *record, uint64_t locator, uint32_t *size)
{
	uint32_t offset = wire_locator_offset(locator);

	*size = wire_locator_bytes(locator);
	if (!locator || !record->bytes || offset > record->size || *size > record->size - offset)
		return NULL;
	return record->bytes + offset;
}

bool trace_stack_of(const struct trace_probe *probe, const struct trace_record *record, struct trace_stack *ret)
{
	uint32_t last = probe->nargs - 1;
	struct trace_stack stack = { 0 };
	uint64_t locator;
	uint32_t size;
	const uint8_t *data;

	if (!probe->nargs || !probe->args || !trace_is_stack(&probe->args[last]) || record->nargs <= last)
		return false;
	locator = record->args[last];
	stack.format = probe->args[last].format;
	if (locator & WIRE_LOCATOR_FAILED) {
		stack.error = (int)(wire_locator_bytes(locator) & 0xfff);
		stack.error = stack.error ? stack.error : EFAULT; /* files do not keep it */
		*ret = stack;
		return true;
	}
	data = located(record, locator, &size);
	stack.is_short = locator & WIRE_LOCATOR_SHORT;
	if (stack.format == TRACE_CALLERS) {
		stack.addresses = data;
		stack.count = data ? size / 8 : 0;
	} else if (data && size >= sizeof(struct wire_stack_raw)) {
		stack.raw = data;
		stack.bytes = data + sizeof(struct wire_stack_raw);
		stack.size = size - (uint32_t)sizeof(struct wire_stack_raw);
	}
	*ret = stack;
	return true;
}

uint64_t trace_stack_address(const struct trace_stack *stack, uint32_t i, bool *is_exact)
{
	uint64_t address;

	memcpy(&address, stack->addresses + 8 * (size_t)i, sizeof(address));
	*is_exact = !i || address & WIRE_STACK_EXACT;
	return address & ~WIRE_STACK_EXACT;
}
