/* SPDX-License-Identifier: MIT */
/*
 * Sleeping until a target has filled a quarter of a ring.
 *
 * While the reader is awake, the limits stand at the full ring. Before it sleeps it lowers them to the watermark, says
 * so (sleeping = 1), and looks once more. A writer that runs into a lowered limit takes its slow path, which raises the
 * limit and, if it can exchange sleeping for 0, wakes. One of the two sees the other: both have a full barrier between
 * their store and their load. The words in the memory are hints only: a target that lies about them costs itself its
 * records, and us at most a thousand wake-ups a second.
 */
#include "trace/reader.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define WAIT_POLL_NS 5000000
#define WAIT_LEAST_NS 1000000

static uint64_t watermark(uint64_t size)
{
	return size / 4;
}

/* A record that would have ended above the watermark may have stopped one record below it. */
static uint64_t nearly(uint64_t mark, uint64_t record)
{
	return mark > 2 * record ? mark - record : 0;
}

static uint32_t *source_sleeping(const struct reader_source *source)
{
	return &((struct wire_control *)source->memory->data)->sleeping;
}

static void source_arm(struct reader_source *source)
{
	for (uint32_t i = 0; i < source->nlanes; i++) {
		struct reader_lane *lane = &source->lanes[i];

		if (lane->kind == READER_CELLS)
			lane_cells_limit(&lane->cells, watermark(lane->cells.count));
		else if (lane->kind == READER_RING)
			lane_ring_limit(&lane->ring, watermark(lane->ring.size));
	}
	__atomic_store_n(source_sleeping(source), 1, __ATOMIC_SEQ_CST); /* pairs with the target's exchange */
}

static void source_disarm(struct reader_source *source)
{
	__atomic_store_n(source_sleeping(source), 0, __ATOMIC_SEQ_CST);
	for (uint32_t i = 0; i < source->nlanes; i++) {
		struct reader_lane *lane = &source->lanes[i];

		if (lane->kind == READER_CELLS)
			lane_cells_limit(&lane->cells, lane->cells.count);
		else if (lane->kind == READER_RING)
			lane_ring_limit(&lane->ring, lane->ring.size);
	}
}

/* A thread waits for us to look at its process (RT_PAUSE): it counted itself before it looked whether we sleep. */
static bool source_is_waited_for(const struct reader_source *source)
{
	const struct wire_control *control = source->memory->data;

	return __atomic_load_n(&control->pauses, __ATOMIC_SEQ_CST) != __atomic_load_n(&control->resumed, __ATOMIC_RELAXED);
}

/* Known from the first drain on. */
static uint64_t most_bytes(const struct trace_reader *reader)
{
	return reader->largest > WIRE_RECORD_MAX ? reader->largest : WIRE_RECORD_MAX;
}

static bool lane_is_ready(const struct reader_lane *lane, uint64_t largest)
{
	if (lane->kind == READER_CELLS)
		return lane_cells_is_beyond(&lane->cells, nearly(watermark(lane->cells.count), 1));
	return lane->kind == READER_RING &&
	       lane_ring_is_beyond(&lane->ring, nearly(watermark(lane->ring.size), largest));
}

static bool reader_is_ready(const struct trace_reader *reader)
{
	for (size_t i = 0; i < reader->nsources; i++) {
		const struct reader_source *source = reader->sources[i];

		if (!__atomic_load_n(source_sleeping(source), __ATOMIC_SEQ_CST) || source_is_waited_for(source))
			return true;
		for (uint32_t n = 0; n < source->nlanes; n++)
			if (lane_is_ready(&source->lanes[n], most_bytes(reader)))
				return true;
	}
	return false;
}

static struct timespec to_timespec(uint64_t ns)
{
	return (struct timespec) { .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000) };
}

/* For kernels without futex_waitv, more targets than it takes, or none. */
static void sleep_polling(const struct trace_reader *reader, uint64_t deadline)
{
	for (;;) {
		uint64_t now = base_now_ns();
		uint64_t left = now < deadline ? deadline - now : 0;
		struct timespec pause = to_timespec(reader->nsources && left > WAIT_POLL_NS ? WAIT_POLL_NS : left);

		if (!left || nanosleep(&pause, NULL) || (reader->nsources && reader_is_ready(reader)))
			return;
	}
}

static void sleep_one(const struct reader_source *source, uint64_t deadline)
{
	uint64_t now = base_now_ns();
	struct timespec left = to_timespec(now < deadline ? deadline - now : 0);

	/* Any reason to return is good; the mapping is shared, so the futex is not a private one. */
	(void)syscall(SYS_futex, source_sleeping(source), FUTEX_WAIT, 1, &left, NULL, 0);
}

/* Return: false when the kernel cannot. */
static bool sleep_many(const struct trace_reader *reader, uint64_t deadline)
{
	struct futex_waitv waiters[FUTEX_WAITV_MAX];
	struct timespec until = to_timespec(deadline);

	if (reader->nsources > FUTEX_WAITV_MAX)
		return false;
	for (size_t i = 0; i < reader->nsources; i++)
		waiters[i] = (struct futex_waitv) {
			.val = 1,
			.uaddr = (uintptr_t)source_sleeping(reader->sources[i]),
			.flags = FUTEX_32,
		};
	return syscall(SYS_futex_waitv, waiters, reader->nsources, 0, &until, CLOCK_MONOTONIC) >= 0 ||
	       (errno != ENOSYS && errno != EPERM);
}

static void reader_sleep(const struct trace_reader *reader, uint64_t deadline)
{
	if (reader->nsources == 1)
		sleep_one(reader->sources[0], deadline);
	else if (reader->nsources == 0 || !sleep_many(reader, deadline))
		sleep_polling(reader, deadline);
}

/* Woken at once and for nothing: somebody scribbles on the futex. Do not let that become a busy loop. */
static void reader_dampen(const struct trace_reader *reader, uint64_t started)
{
	struct timespec pause = to_timespec(WAIT_LEAST_NS);

	for (size_t i = 0; i < reader->nsources; i++)
		if (source_is_waited_for(reader->sources[i]))
			return;
	for (size_t i = 0; i < reader->nsources; i++)
		for (uint32_t n = 0; n < reader->sources[i]->nlanes; n++)
			if (lane_is_ready(&reader->sources[i]->lanes[n], most_bytes(reader)))
				return;
	if (base_now_ns() - started < WAIT_LEAST_NS)
		(void)nanosleep(&pause, NULL);
}

void trace_reader_wait(struct trace_reader *reader, int timeout_ms)
{
	uint64_t started = base_now_ns();

	if (timeout_ms <= 0)
		return;
	for (size_t i = 0; i < reader->nsources; i++)
		source_arm(reader->sources[i]);
	if (!reader_is_ready(reader)) {
		reader_sleep(reader, started + (uint64_t)timeout_ms * 1000000);
		reader_dampen(reader, started);
	}
	for (size_t i = 0; i < reader->nsources; i++)
		source_disarm(reader->sources[i]);
}
