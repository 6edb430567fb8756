/* SPDX-License-Identifier: MIT */
/* User stacks in perf.data: what was written comes back, in whatever company and however long; damage does no harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "format/perf_layout.h"

#define PAST 0x200 /* where the stack is in a record */

static const struct trace_arg fp_args[] = {
	{ .name = "n", .bits = 64, .format = TRACE_UNSIGNED },
	{ .name = "text", .bits = 8, .format = TRACE_TEXT, .kind = TRACE_STRING },
	{ .name = "stack", .bits = 64, .format = TRACE_CALLERS, .kind = TRACE_BYTES },
};
static const struct trace_arg raw_args[] = { { .name = "stack", .bits = 64, .format = TRACE_RAW_STACK, .kind = TRACE_BYTES } };
static const struct trace_probe probes[] = {
	{ .group = "utap", .event = "fp", .path = "/opt/a", .symbol = "f", .record_size = 48, .record_most = 65528, .nargs = 3,
	  .args = fp_args },
	{ .group = "utap", .event = "raw", .path = "/opt/a", .symbol = "f", .record_size = 40, .record_most = 65528, .nargs = 1,
	  .args = raw_args },
	{ .group = "utap", .event = "left", .path = "/opt/a", .symbol = "f", .kind = TRACE_RETURN, .record_size = 48,
	  .record_most = 65528, .nargs = 3, .args = fp_args },
};
#define NPROBES (sizeof(probes) / sizeof(*probes))

struct bed {
	char path[40];
	int fd;
	struct format_perf *perf;
	struct format_perf_file *in;
	uint64_t words[3];
	uint8_t bytes[1 << 17];
};

static int set_up(void **state)
{
	struct bed *bed = calloc(1, sizeof(*bed));

	strcpy(bed->path, "/tmp/utap-test-stack-XXXXXX");
	bed->fd = mkstemp(bed->path);
	assert_true(bed->fd >= 0);
	assert_int_equal(format_perf_create(bed->fd, probes, NPROBES, &bed->perf, NULL), 0);
	for (size_t i = 0; i < sizeof(bed->bytes); i++)
		bed->bytes[i] = (uint8_t)(i * 7 + i / 256);
	strcpy((char *)bed->bytes + 100, "hello");
	bed->words[0] = 24;
	bed->words[1] = WIRE_LOCATOR(100, 6);
	*state = bed;
	return 0;
}

static int tear_down(void **state)
{
	struct bed *bed = *state;

	format_perf_close(bed->in);
	close(bed->fd);
	unlink(bed->path);
	free(bed);
	return 0;
}

static void put(struct bed *bed, uint32_t id, uint64_t locator, uint32_t size)
{
	bed->words[probes[id].nargs - 1] = locator;
	struct trace_record record = { .time_ns = 1000 + id,
				       .id = id,
				       .pid = 10,
				       .tid = 11,
				       .nargs = probes[id].nargs,
				       .args = bed->words,
				       .bytes = bed->bytes,
				       .size = size,
				       .flags = WIRE_RECORD_LONG,
				       .caller = probes[id].kind == TRACE_RETURN ? 0x401000 : 0 };

	assert_int_equal(format_perf_sample(bed->perf, &record), 0);
}

static void put_addresses(struct bed *bed, uint32_t id, const uint64_t *addresses, uint32_t count, uint64_t flags)
{
	memcpy(bed->bytes + PAST, addresses, 8 * (size_t)count);
	put(bed, id, WIRE_LOCATOR(PAST, 8 * count) | flags, PAST + 8 * count);
}

static void reopen(struct bed *bed)
{
	struct utap_error err = { 0 };

	assert_int_equal(format_perf_finish(bed->perf), 0);
	if (format_perf_open(bed->path, &bed->in, &err))
		fail_msg("%s", err.text);
}

static struct format_perf_event next(struct bed *bed)
{
	struct format_perf_event event;
	struct utap_error err = { 0 };

	if (format_perf_next(bed->in, &event, &err))
		fail_msg("%s", err.text);
	assert_int_equal(event.type, FORMAT_PERF_SAMPLE);
	return event;
}

static void check_addresses(const struct format_perf_event *event, const uint64_t *want, uint32_t count, bool is_short)
{
	struct trace_stack stack;

	assert_true(trace_stack_of(&probes[event->record.id], &event->record, &stack));
	assert_int_equal(stack.format, TRACE_CALLERS);
	assert_int_equal(stack.error, 0);
	assert_int_equal(stack.count, count);
	assert_int_equal(stack.is_short, is_short);
	for (uint32_t i = 0; i < count; i++) {
		bool is_exact;

		assert_int_equal(trace_stack_address(&stack, i, &is_exact), want[i] & ~WIRE_STACK_EXACT);
		assert_int_equal(is_exact, !i || want[i] & WIRE_STACK_EXACT);
	}
}

static void test_addresses(void **state)
{
	struct bed *bed = *state;
	static const uint64_t addresses[] = { 0x401000, 0x402000, 0x7f0000001000, 0x403000 | WIRE_STACK_EXACT, 0x404000 };

	put_addresses(bed, 0, addresses, 5, 0);
	put_addresses(bed, 2, addresses, 2, WIRE_LOCATOR_SHORT);
	put_addresses(bed, 0, addresses, 1, 0);
	put_addresses(bed, 0, addresses, 0, WIRE_LOCATOR_SHORT);
	put(bed, 0, WIRE_LOCATOR_FAILURE(14), PAST);
	reopen(bed);
	struct format_perf_event event = next(bed);

	check_addresses(&event, addresses, 5, false);
	assert_int_equal(event.record.args[0], 24);
	assert_memory_equal(event.record.bytes + wire_locator_offset(event.record.args[1]), "hello", 6);
	event = next(bed);
	check_addresses(&event, addresses, 2, true);
	assert_int_equal(event.record.caller, 0x401000);
	assert_memory_equal(event.record.bytes + wire_locator_offset(event.record.args[1]), "hello", 6);
	event = next(bed);
	check_addresses(&event, addresses, 1, false);
	event = next(bed);
	check_addresses(&event, addresses, 0, true);
	struct trace_stack stack;

	event = next(bed);
	assert_true(trace_stack_of(&probes[0], &event.record, &stack));
	assert_int_not_equal(stack.error, 0);
}

/* The most frames, with a string that leaves them no room. */
static void test_room(void **state)
{
	struct bed *bed = *state;
	static uint64_t addresses[8000];
	struct trace_stack stack;

	for (uint32_t i = 0; i < 8000; i++)
		addresses[i] = 0x400000 + i;
	put_addresses(bed, 0, addresses, 512, 0);
	put_addresses(bed, 0, addresses, 7000, 0);
	for (uint32_t i = 0; i < 8000; i++)
		addresses[i] |= WIRE_STACK_EXACT; /* takes twice as much in the file */
	memset(bed->bytes + PAST + 8 * 5000, 'x', 20000);
	bed->words[1] = WIRE_LOCATOR(PAST + 8 * 5000, 20000);
	memcpy(bed->bytes + PAST, addresses, 8 * 5000);
	put(bed, 0, WIRE_LOCATOR(PAST, 8 * 5000), PAST + 8 * 5000 + 20000);
	reopen(bed);
	struct format_perf_event event = next(bed);

	for (uint32_t i = 0; i < 8000; i++)
		addresses[i] &= ~WIRE_STACK_EXACT;
	check_addresses(&event, addresses, 512, false);
	event = next(bed);
	check_addresses(&event, addresses, 7000, false);
	for (uint32_t i = 0; i < 8000; i++)
		addresses[i] |= WIRE_STACK_EXACT;
	event = next(bed);
	assert_true(trace_stack_of(&probes[0], &event.record, &stack));
	assert_true(stack.is_short);
	assert_in_range(stack.count, 100, 4999);
	check_addresses(&event, addresses, stack.count, true);
}

static void check_raw(const struct bed *bed, const struct format_perf_event *event, uint32_t size, bool is_short)
{
	struct trace_stack stack;

	assert_true(trace_stack_of(&probes[1], &event->record, &stack));
	assert_int_equal(stack.error, 0);
	assert_non_null(stack.raw);
	assert_int_equal(stack.size, size);
	assert_int_equal(stack.is_short, is_short);
	assert_memory_equal(stack.raw, bed->bytes + PAST, sizeof(struct wire_stack_raw));
	assert_memory_equal(stack.bytes, bed->bytes + PAST + sizeof(struct wire_stack_raw), size);
}

static void test_copies(void **state)
{
	struct bed *bed = *state;
	const uint32_t head = sizeof(struct wire_stack_raw);

	put(bed, 1, WIRE_LOCATOR(PAST, head + 8192), PAST + head + 8192);
	put(bed, 1, WIRE_LOCATOR(PAST, head + 60000) | WIRE_LOCATOR_SHORT, PAST + head + 60000);
	put(bed, 1, WIRE_LOCATOR(PAST, head + 65000), PAST + head + 65000); /* more than a sample can have */
	put(bed, 1, WIRE_LOCATOR(PAST, head + 8), PAST + head + 8);
	put(bed, 1, WIRE_LOCATOR_FAILURE(14), PAST);
	put(bed, 1, WIRE_LOCATOR(PAST, head), PAST + head); /* not a byte of the stack */
	reopen(bed);
	struct format_perf_event event = next(bed);

	check_raw(bed, &event, 8192, false);
	event = next(bed);
	check_raw(bed, &event, 60000, true);
	event = next(bed);
	struct trace_stack stack;

	assert_true(trace_stack_of(&probes[1], &event.record, &stack));
	assert_in_range(stack.size, 64000, 64999);
	check_raw(bed, &event, stack.size, true);
	event = next(bed);
	check_raw(bed, &event, 8, false);
	for (int i = 0; i < 2; i++) {
		event = next(bed);
		assert_true(trace_stack_of(&probes[1], &event.record, &stack));
		assert_int_not_equal(stack.error, 0);
	}
}

/* Each byte of the samples wrong in turn: an end, or anything that lies inside. */
static void test_damage(void **state)
{
	struct bed *bed = *state;
	static const uint64_t addresses[] = { 0x401000, 0x402000, 0x403000 | WIRE_STACK_EXACT };
	struct format_perf_header header;
	uint64_t sum = 0;

	put_addresses(bed, 0, addresses, 3, 0);
	put(bed, 1, WIRE_LOCATOR(PAST, 136 + 64), PAST + 136 + 64);
	assert_int_equal(format_perf_finish(bed->perf), 0);
	assert_int_equal(pread(bed->fd, &header, sizeof(header), 0), sizeof(header));
	for (uint64_t at = header.data.offset; at < header.data.offset + header.data.size; at++) {
		for (int change = 0; change < 3; change++) {
			struct format_perf_event event = { .type = FORMAT_PERF_SAMPLE };
			uint8_t byte, wrong;

			assert_int_equal(pread(bed->fd, &byte, 1, (off_t)at), 1);
			wrong = change == 0 ? 0xff : change == 1 ? 0 : byte ^ 8;
			assert_int_equal(pwrite(bed->fd, &wrong, 1, (off_t)at), 1);
			assert_int_equal(format_perf_open(bed->path, &bed->in, NULL), 0);
			while (event.type != FORMAT_PERF_END && !format_perf_next(bed->in, &event, NULL)) {
				struct trace_stack stack;
				bool is_exact;

				if (event.type != FORMAT_PERF_SAMPLE || !trace_stack_of(&probes[event.record.id], &event.record, &stack))
					continue;
				for (uint32_t i = 0; i < stack.count; i++)
					sum += trace_stack_address(&stack, i, &is_exact);
				for (uint32_t i = 0; stack.raw && i < stack.size; i++)
					sum += stack.bytes[i];
			}
			format_perf_close(bed->in);
			bed->in = NULL;
			assert_int_equal(pwrite(bed->fd, &byte, 1, (off_t)at), 1);
		}
	}
	assert_int_not_equal(sum, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_addresses, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_room, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_copies, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_damage, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
