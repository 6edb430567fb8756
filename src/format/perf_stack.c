/* SPDX-License-Identifier: MIT */
/*
 * User stacks in samples, as the kernel's own have them. Addresses are the call chain, with PERF_CONTEXT_USER before the first and before each
 * that is no return address. A copied stack is the registers and the bytes behind the raw data: perf unwinds them itself. That a stack could not
 * be read, or goes on, is a state in the raw data, as of other arguments that are more than a word.
 *
 * Source: include/uapi/linux/perf_event.h (PERF_RECORD_SAMPLE), arch/x86/include/uapi/asm/perf_regs.h.
 */
#include <asm/perf_regs.h>
#include <string.h>

#include "format/perf_layout.h"

#define NREGS 17

/* Of wire_stack_raw, which has DWARF's numbers, in the order of PERF_REG_X86_*. */
static const uint8_t order[NREGS] = { 0, 3, 2, 1, 4, 5, 6, 7, 16, 8, 9, 10, 11, 12, 13, 14, 15 };

uint64_t format_perf_stack_registers(void)
{
	return ((1ULL << (PERF_REG_X86_IP + 1)) - 1) | (((1ULL << 8) - 1) << PERF_REG_X86_R8);
}

static void put(uint8_t **at, uint64_t value)
{
	memcpy(*at, &value, sizeof(value));
	*at += sizeof(value);
}

static uint64_t take(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

/* ---- writing ---- */

/* As many addresses as fit, with the marks before them. */
static void plan_chain(struct format_perf_stack *plan, uint32_t room)
{
	uint32_t used = 8;

	for (uint32_t i = 0; i < plan->stack.count; i++) {
		bool is_exact;

		trace_stack_address(&plan->stack, i, &is_exact);
		if (used + 8 + 8 * is_exact > room) {
			plan->stack.count = i;
			plan->stack.is_short = true;
			break;
		}
		used += 8 + 8U * is_exact;
	}
	plan->chain = used;
}

void format_perf_stack_plan(const struct trace_probe *probe, const struct trace_record *record, uint32_t room,
			    struct format_perf_stack *ret)
{
	struct format_perf_stack plan = { .chain = 8, .tail = 16 };
	uint32_t fixed = 8 + 16 + 8 * NREGS + 8; /* of the chain, and around the bytes */

	if (!trace_stack_of(probe, record, &plan.stack))
		plan.stack.error = -1;
	if (probe->args[probe->nargs - 1].format == TRACE_CALLERS) {
		plan.tail = 0;
		plan_chain(&plan, room);
	} else if (plan.stack.raw && room >= fixed + 8) {
		plan.stack.is_short |= plan.stack.size > room - fixed;
		plan.stack.size = (uint32_t)base_align_down(plan.stack.size < room - fixed ? plan.stack.size : room - fixed, 8);
		plan.tail = fixed - 8 + plan.stack.size;
	} else {
		plan.stack.error = -1;
	}
	if (plan.stack.raw && !plan.stack.size) /* perf has no empty ones */
		plan.stack.error = -1, plan.tail = 16;
	*ret = plan;
}

void format_perf_stack_put_chain(const struct format_perf_stack *plan, uint8_t *at)
{
	put(&at, plan->chain / 8 - 1);
	for (uint32_t i = 0; plan->chain > 8 && i < plan->stack.count; i++) {
		bool is_exact;
		uint64_t address = trace_stack_address(&plan->stack, i, &is_exact);

		if (is_exact)
			put(&at, (uint64_t)PERF_CONTEXT_USER);
		put(&at, address);
	}
}

void format_perf_stack_put_tail(const struct format_perf_stack *plan, uint8_t *at)
{
	bool has_stack = !plan->stack.error && plan->stack.raw;

	put(&at, has_stack ? PERF_SAMPLE_REGS_ABI_64 : PERF_SAMPLE_REGS_ABI_NONE);
	for (unsigned i = 0; has_stack && i < NREGS; i++)
		put(&at, take(plan->stack.raw + 8UL * order[i]));
	put(&at, has_stack ? plan->stack.size : 0);
	if (!has_stack)
		return;
	memcpy(at, plan->stack.bytes, plan->stack.size);
	at += plan->stack.size;
	put(&at, plan->stack.size);
}

uint32_t format_perf_stack_state(const struct format_perf_stack *plan)
{
	return plan->stack.error ? FORMAT_PERF_STATE_FAILED : plan->stack.is_short ? FORMAT_PERF_STATE_SHORT : 0;
}

/* ---- reading ---- */

/* Addresses without the marks; their bytes. */
static uint32_t take_chain(const uint8_t *chain, uint64_t entries, uint8_t *bytes)
{
	uint32_t size = 0;
	bool is_marked = false;

	for (uint64_t i = 0; i < entries; i++) {
		uint64_t address = take(chain + 8 * i);

		if (address >= (uint64_t)PERF_CONTEXT_MAX) {
			is_marked = true;
			continue;
		}
		address = (address & ~WIRE_STACK_EXACT) | (is_marked && size ? WIRE_STACK_EXACT : 0);
		memcpy(bytes + size, &address, sizeof(address));
		size += 8;
		is_marked = false;
	}
	return size;
}

/* Registers and stack; bytes, 0: there is none, or not as we write it. */
static uint32_t take_raw(const uint8_t *tail, uint32_t size, uint8_t *bytes)
{
	const uint8_t *stack = tail + 8 + 8UL * NREGS + 8;

	if (size < 24 + 8 * NREGS || take(tail) != PERF_SAMPLE_REGS_ABI_64)
		return 0;
	uint64_t length = take(stack - 8), room = size - (uint32_t)(stack - tail) - 8;

	if (length > room || take(stack + length) > length)
		return 0;
	for (unsigned i = 0; i < NREGS; i++)
		memcpy(bytes + 8UL * order[i], tail + 8 + 8UL * i, 8);
	memcpy(bytes + sizeof(struct wire_stack_raw), stack, length);
	return (uint32_t)(sizeof(struct wire_stack_raw) + length);
}

uint64_t format_perf_stack_take(const struct format_perf_taken *sample, enum trace_arg_format format, uint32_t state,
				uint32_t offset, uint8_t *bytes)
{
	uint32_t size = format == TRACE_CALLERS ? take_chain(sample->chain, sample->entries, bytes)
						: take_raw(sample->tail, sample->tail_size, bytes);

	if (state & FORMAT_PERF_STATE_FAILED || (format == TRACE_RAW_STACK && !size))
		return WIRE_LOCATOR_FAILED;
	return WIRE_LOCATOR(offset, size) | (state & FORMAT_PERF_STATE_SHORT ? WIRE_LOCATOR_SHORT : 0);
}
