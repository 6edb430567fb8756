/* SPDX-License-Identifier: MIT */
/* Records of entries and returns -> calls; and the histogram of how long they take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "trace/frames.h"
#include "trace/histogram.h"

#define LIMIT 200000
#define SLOT(n) (0x7ffc00001000ULL - 0x20 * (uint64_t)(n))

/* Functions 0, 1 .. are probes 2n (entry) and 2n + 1 (return). */
static const struct trace_probe entry_probe = { .kind = TRACE_ENTRY };
static const struct trace_probe return_probe = { .kind = TRACE_RETURN };

struct seen {
	struct trace_call last;
	uint64_t last_arg;
	uint64_t count[4]; /* by ending */
	uint64_t ns;
	uint32_t order[8]; /* ids */
	size_t norder;
	int answer;
};

static int on_call(void *arg, const struct trace_call *call)
{
	struct seen *seen = arg;

	seen->last = *call;
	seen->last_arg = call->nargs ? call->args[0] : 0;
	seen->count[call->ending]++;
	seen->ns += call->end_ns - call->start_ns;
	if (seen->norder < 8)
		seen->order[seen->norder++] = call->id;
	return seen->answer;
}

struct room {
	struct trace_frames *frames;
	struct seen seen;
	uint64_t now;
	uint32_t pid, tid;
};

static void room_init(struct room *room, size_t limit)
{
	*room = (struct room) { .now = 1000, .pid = 10, .tid = 11 };
	assert_int_equal(trace_frames_create(limit, on_call, &room->seen, &room->frames), 0);
}

static int enter_with(struct room *room, uint32_t function, uint64_t slot, uint64_t arg)
{
	struct trace_record record = { .time_ns = room->now,
				       .id = 2 * function,
				       .pid = room->pid,
				       .tid = room->tid,
				       .nargs = 1,
				       .args = &arg,
				       .flags = WIRE_RECORD_ENTRY,
				       .frame = slot };

	room->now += 10;
	return trace_frames_add(room->frames, &entry_probe, &record);
}

static void enter(struct room *room, uint32_t function, uint64_t slot)
{
	assert_int_equal(enter_with(room, function, slot, 0), 0);
}

static int leave_with(struct room *room, uint32_t function, uint64_t slot, uint16_t flags)
{
	struct trace_record record = { .time_ns = room->now,
				       .id = 2 * function + 1,
				       .pid = room->pid,
				       .tid = room->tid,
				       .flags = WIRE_RECORD_RETURN | flags,
				       .frame = slot };

	room->now += 10;
	return trace_frames_add(room->frames, &return_probe, &record);
}

static void leave(struct room *room, uint32_t function, uint64_t slot)
{
	assert_int_equal(leave_with(room, function, slot, 0), 0);
}

/* entered = returned + tailed + abandoned - unpaired + open + dropped, always */
static struct trace_frames_stats check_sum(const struct room *room)
{
	struct trace_frames_stats stats;

	trace_frames_stats(room->frames, &stats);
	assert_int_equal(stats.entries + stats.unpaired,
			 stats.returned + stats.tailed + stats.abandoned + stats.open + stats.dropped);
	assert_int_equal(stats.unpaired, room->seen.count[TRACE_UNPAIRED]);
	assert_int_equal(stats.abandoned, room->seen.count[TRACE_ABANDONED]);
	return stats;
}

static bool everybody(void *arg, uint32_t source, uint32_t pid) { return true; }
static bool only_pid(void *arg, uint32_t source, uint32_t pid) { return pid == *(uint32_t *)arg; }

static void test_nested(void **state)
{
	struct room room;

	room_init(&room, LIMIT);
	assert_int_equal(enter_with(&room, 0, SLOT(0), 77), 0);
	enter(&room, 1, SLOT(1));
	leave(&room, 1, SLOT(1));
	assert_int_equal(room.seen.last.ending, TRACE_RETURNED);
	assert_int_equal(room.seen.last.id, 3);
	assert_int_equal(room.seen.last.end_ns - room.seen.last.start_ns, 10);
	leave(&room, 0, SLOT(0));
	assert_int_equal(room.seen.last.id, 1);
	assert_int_equal(room.seen.last.end_ns - room.seen.last.start_ns, 30);
	assert_int_equal(room.seen.last_arg, 77);
	assert_int_equal(room.seen.last.tid, 11);
	assert_non_null(room.seen.last.exit);
	assert_int_equal(check_sum(&room).open, 0);
	trace_frames_destroy(room.frames);
}

/* f jumps to g, which returns to f's caller: one frame, two calls. */
static void test_tail(void **state)
{
	struct room room;

	room_init(&room, LIMIT);
	enter(&room, 0, SLOT(0));
	assert_int_equal(leave_with(&room, 0, SLOT(0), WIRE_RECORD_TAIL), 0);
	assert_int_equal(room.seen.last.ending, TRACE_TAILED);
	enter(&room, 1, SLOT(0));
	leave(&room, 1, SLOT(0));
	assert_int_equal(room.seen.count[TRACE_TAILED], 1);
	assert_int_equal(room.seen.count[TRACE_RETURNED], 1);
	assert_int_equal(check_sum(&room).abandoned, 0);
	trace_frames_destroy(room.frames);
}

/* An exception goes through 1 and 2; the next calls stand where they stood. */
static void test_abandoned(void **state)
{
	struct room room;

	room_init(&room, LIMIT);
	enter(&room, 0, SLOT(0));
	enter(&room, 1, SLOT(1));
	enter(&room, 2, SLOT(2));
	enter(&room, 3, SLOT(1));
	assert_int_equal(room.seen.last.ending, TRACE_ABANDONED);
	assert_int_equal(room.seen.last.id, 3);
	assert_null(room.seen.last.exit);
	leave(&room, 3, SLOT(1));
	leave(&room, 4, SLOT(2)); /* its entry was not seen: 2 is gone all the same */
	assert_int_equal(room.seen.count[TRACE_ABANDONED], 2);
	assert_int_equal(room.seen.count[TRACE_UNPAIRED], 1);
	leave(&room, 0, SLOT(0));
	assert_int_equal(check_sum(&room).open, 0);
	trace_frames_destroy(room.frames);
}

/* Two coroutines on stacks of their own, resumed by other threads than those that entered. */
static void test_coroutines(void **state)
{
	struct room room;

	room_init(&room, LIMIT);
	enter(&room, 0, 0x1000);
	room.tid = 12;
	enter(&room, 0, 0x2000);
	leave(&room, 0, 0x1000);
	assert_int_equal(room.seen.last.ending, TRACE_RETURNED);
	assert_int_equal(room.seen.last.tid, 11);
	room.tid = 11;
	leave(&room, 0, 0x2000);
	assert_int_equal(room.seen.last.tid, 12);
	assert_int_equal(check_sum(&room).returned, 2);
	trace_frames_destroy(room.frames);
}

/* A forked child has its parent's slots. */
static void test_processes(void **state)
{
	struct room room;
	uint32_t child = 20;

	room_init(&room, LIMIT);
	enter(&room, 0, SLOT(0));
	room.pid = child;
	enter(&room, 1, SLOT(0));
	enter(&room, 1, SLOT(1));
	room.pid = 10;
	leave(&room, 0, SLOT(0));
	assert_int_equal(room.seen.last.ending, TRACE_RETURNED);
	assert_int_equal(trace_frames_end(room.frames, only_pid, &child, room.now), 0);
	assert_int_equal(room.seen.count[TRACE_ABANDONED], 2);
	room.pid = child;
	leave(&room, 1, SLOT(0));
	assert_int_equal(room.seen.last.ending, TRACE_UNPAIRED);
	assert_int_equal(check_sum(&room).open, 0);
	trace_frames_destroy(room.frames);
}

static void test_end_order(void **state)
{
	static const uint32_t inner_first[] = { 5, 3, 1 };
	struct room room;

	room_init(&room, LIMIT);
	for (uint32_t i = 0; i < 3; i++)
		enter(&room, i, SLOT(i));
	assert_int_equal(trace_frames_end(room.frames, everybody, NULL, room.now), 0);
	assert_memory_equal(room.seen.order, inner_first, sizeof(inner_first));
	assert_int_equal(room.seen.last.end_ns, room.now);
	check_sum(&room);
	trace_frames_destroy(room.frames);
}

static void test_recursion(void **state)
{
	struct room room;
	enum { DEPTH = 100000 };

	room_init(&room, LIMIT);
	for (uint64_t i = 0; i < DEPTH; i++)
		enter(&room, 0, SLOT(i));
	assert_int_equal(check_sum(&room).open, DEPTH);
	for (uint64_t i = DEPTH; i-- > 0;)
		leave(&room, 0, SLOT(i));
	assert_int_equal(room.seen.count[TRACE_RETURNED], DEPTH);
	assert_int_equal(room.seen.ns, 10ULL * DEPTH * DEPTH);
	assert_int_equal(check_sum(&room).open, 0);
	trace_frames_destroy(room.frames);
}

static void test_limit(void **state)
{
	struct room room;

	room_init(&room, 3);
	for (uint64_t i = 0; i < 5; i++)
		enter(&room, 0, SLOT(i));
	for (uint64_t i = 5; i-- > 0;)
		leave(&room, 0, SLOT(i));
	assert_int_equal(check_sum(&room).dropped, 2);
	assert_int_equal(room.seen.count[TRACE_UNPAIRED], 2);
	assert_int_equal(room.seen.count[TRACE_RETURNED], 3);
	trace_frames_destroy(room.frames);
}

/* A target may write anything: no slot, times that run backwards. */
static void test_nonsense(void **state)
{
	struct room room;

	room_init(&room, LIMIT);
	enter(&room, 0, 0);
	leave(&room, 0, 0);
	assert_int_equal(room.seen.last.ending, TRACE_UNPAIRED);
	room.now = 5000;
	enter(&room, 0, SLOT(0));
	room.now = 100;
	leave(&room, 0, SLOT(0));
	assert_int_equal(room.seen.last.end_ns, room.seen.last.start_ns);
	check_sum(&room);
	trace_frames_destroy(room.frames);
}

/* Many slots, entered and left in an order of their own, against a plain array. */
static void test_random(void **state)
{
	enum { SLOTS = 500, STEPS = 200000 };
	static uint32_t open[SLOTS];
	uint64_t seed = 1;
	uint64_t want[4] = { 0 };
	struct room room;

	room_init(&room, LIMIT);
	for (int i = 0; i < STEPS; i++) {
		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		uint32_t slot = seed >> 33 & 0xffff, function = seed >> 50 & 3;

		slot %= SLOTS;
		if (seed >> 60 & 1) {
			want[TRACE_ABANDONED] += open[slot] != 0;
			enter(&room, function, SLOT(slot * 7));
			open[slot] = function + 1;
			continue;
		}
		want[TRACE_RETURNED] += open[slot] == function + 1;
		want[TRACE_UNPAIRED] += open[slot] != function + 1;
		want[TRACE_ABANDONED] += open[slot] && open[slot] != function + 1;
		leave(&room, function, SLOT(slot * 7));
		open[slot] = 0;
	}
	assert_memory_equal(room.seen.count, want, sizeof(want));
	check_sum(&room);
	trace_frames_destroy(room.frames);
}

static void test_answer(void **state)
{
	struct room room;

	room_init(&room, LIMIT);
	enter(&room, 0, SLOT(0));
	room.seen.answer = -125;
	assert_int_equal(leave_with(&room, 0, SLOT(0), 0), -125);
	assert_int_equal(check_sum(&room).open, 0);
	trace_frames_destroy(room.frames);
}

/* ---- the histogram ---- */

static void test_histogram(void **state)
{
	static struct trace_histogram h;

	assert_int_equal(trace_histogram_quantile(&h, 0.5), 0);
	for (uint64_t ns = 1; ns <= 1000; ns++)
		trace_histogram_add(&h, ns);
	assert_int_equal(h.count, 1000);
	assert_int_equal(h.sum, 500500);
	assert_int_equal(h.least, 1);
	assert_int_equal(h.most, 1000);
	assert_in_range(trace_histogram_quantile(&h, 0.5), 500, 532);
	assert_in_range(trace_histogram_quantile(&h, 0.99), 990, 1000);
	assert_int_equal(trace_histogram_quantile(&h, 1), 1000);
	assert_int_equal(trace_histogram_quantile(&h, 0), 1);
	assert_int_equal(trace_histogram_power(&h, 0), 1);
	assert_int_equal(trace_histogram_power(&h, 3), 8);
	assert_int_equal(trace_histogram_power(&h, 8), 256);
	assert_int_equal(trace_histogram_power(&h, 9), 1000 - 511);
}

/* Any duration lands where at most a sixteenth is lost. */
static void test_histogram_precision(void **state)
{
	for (unsigned power = 0; power < TRACE_HISTOGRAM_POWERS; power++)
		for (uint64_t ns = 1ULL << power; ns < 2ULL << power; ns += (1ULL << power) / 37 + 1) {
			static struct trace_histogram h;
			uint64_t got;

			h = (struct trace_histogram) { 0 };
			trace_histogram_add(&h, ns);
			trace_histogram_add(&h, 1ULL << 50); /* so that the most does not help */
			got = trace_histogram_quantile(&h, 0.5);
			assert_true(got >= ns && got - ns <= ns / 16);
		}
}

static void test_histogram_long(void **state)
{
	static struct trace_histogram h;

	trace_histogram_add(&h, UINT64_MAX);
	trace_histogram_add(&h, 0);
	assert_int_equal(h.most, UINT64_MAX);
	assert_int_equal(trace_histogram_power(&h, 0), 1);
	assert_int_equal(trace_histogram_quantile(&h, 0.25), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nested),	   cmocka_unit_test(test_tail),
		cmocka_unit_test(test_abandoned),  cmocka_unit_test(test_coroutines),
		cmocka_unit_test(test_processes),  cmocka_unit_test(test_end_order),
		cmocka_unit_test(test_recursion),  cmocka_unit_test(test_limit),
		cmocka_unit_test(test_nonsense),   cmocka_unit_test(test_random),
		cmocka_unit_test(test_answer),	   cmocka_unit_test(test_histogram),
		cmocka_unit_test(test_histogram_precision), cmocka_unit_test(test_histogram_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
