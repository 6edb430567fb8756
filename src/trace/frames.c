/* SPDX-License-Identifier: MIT */
/*
 * A table of the calls that are open, found by (source, process, slot).
 *
 * Invariants: at most one open call a slot; open addressing with linear steps, no deleted marks (what follows a removed entry moves up),
 * at most three quarters full.
 */
#include "trace/frames.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FRAMES_START 256

struct frame {
	uint64_t slot;  /* 0: an unused entry */
	uint64_t time_ns;
	uint64_t *args; /* heap; behind them .size bytes of a LONG record */
	uint32_t source, pid, tid;
	uint32_t id;    /* of the returns */
	uint32_t nargs;
	uint32_t size;
	uint16_t flags;
};

struct trace_frames {
	struct frame *table;
	size_t mask; /* entries - 1 */
	size_t limit;
	trace_call_fn *fn;
	void *arg;
	struct trace_frames_stats stats;
};

int trace_frames_create(size_t limit, trace_call_fn *fn, void *arg, struct trace_frames **ret)
{
	struct trace_frames *frames = calloc(1, sizeof(*frames));

	if (!frames)
		return -ENOMEM;
	*frames = (struct trace_frames) { .mask = FRAMES_START - 1, .limit = limit, .fn = fn, .arg = arg };
	frames->table = calloc(FRAMES_START, sizeof(*frames->table));
	if (!frames->table) {
		free(frames);
		return -ENOMEM;
	}
	*ret = frames;
	return 0;
}

void trace_frames_destroy(struct trace_frames *frames)
{
	if (!frames)
		return;
	for (size_t i = 0; i <= frames->mask; i++)
		free(frames->table[i].args);
	free(frames->table);
	free(frames);
}

/* ---- the table ---- */

static size_t home_of(const struct trace_frames *frames, uint64_t slot, uint32_t pid, uint32_t source)
{
	uint64_t hash = (slot >> 3 ^ (uint64_t)pid << 40 ^ (uint64_t)source << 20) * 0x9e3779b97f4a7c15ULL;

	return (size_t)(hash >> 24) & frames->mask;
}

/* The open call of that slot, or the unused entry where it would go. */
static struct frame *find(const struct trace_frames *frames, uint64_t slot, uint32_t pid, uint32_t source)
{
	size_t i = home_of(frames, slot, pid, source);

	for (;; i = (i + 1) & frames->mask) {
		struct frame *frame = &frames->table[i];

		if (!frame->slot || (frame->slot == slot && frame->pid == pid && frame->source == source))
			return frame;
	}
}

static int grow(struct trace_frames *frames)
{
	struct trace_frames larger = *frames;

	larger.mask = 2 * frames->mask + 1;
	larger.table = calloc(larger.mask + 1, sizeof(*larger.table));
	if (!larger.table)
		return -ENOMEM;
	for (size_t i = 0; i <= frames->mask; i++) {
		const struct frame *frame = &frames->table[i];

		if (frame->slot)
			*find(&larger, frame->slot, frame->pid, frame->source) = *frame;
	}
	free(frames->table);
	*frames = larger;
	return 0;
}

/* Entries behind the removed one move up when their way from home leads over it. */
static void take_out(struct trace_frames *frames, struct frame *frame)
{
	size_t hole = (size_t)(frame - frames->table);

	free(frame->args);
	for (size_t i = (hole + 1) & frames->mask; frames->table[i].slot; i = (i + 1) & frames->mask) {
		const struct frame *next = &frames->table[i];
		size_t home = home_of(frames, next->slot, next->pid, next->source);

		if (((i - home) & frames->mask) < ((i - hole) & frames->mask))
			continue;
		frames->table[hole] = *next;
		hole = i;
	}
	frames->table[hole] = (struct frame) { 0 };
	frames->stats.open--;
}

/* ---- ends ---- */

static struct trace_call call_of(const struct frame *frame, enum trace_ending ending, uint64_t end_ns)
{
	return (struct trace_call) { .ending = ending,
				     .id = frame->id,
				     .source = frame->source,
				     .pid = frame->pid,
				     .tid = frame->tid,
				     .flags = frame->flags,
				     .frame = frame->slot,
				     .start_ns = frame->time_ns,
				     .end_ns = end_ns > frame->time_ns ? end_ns : frame->time_ns,
				     .nargs = frame->nargs,
				     .args = frame->args,
				     .bytes = frame->size ? (const uint8_t *)(frame->args + frame->nargs) : NULL,
				     .size = frame->size };
}

/* The callback sees the frame's arguments, so the frame goes afterwards; it may not add records. */
static int end_frame(struct trace_frames *frames, struct frame *frame, enum trace_ending ending, uint64_t end_ns,
		     const struct trace_record *exit)
{
	struct trace_call call = call_of(frame, ending, end_ns);
	int result;

	call.exit = exit;
	frames->stats.abandoned += ending == TRACE_ABANDONED;
	result = frames->fn(frames->arg, &call);
	take_out(frames, frame);
	return result;
}

static int end_unpaired(struct trace_frames *frames, const struct trace_record *record)
{
	struct trace_call call = { .ending = TRACE_UNPAIRED,
				   .id = record->id,
				   .source = record->source,
				   .pid = record->pid,
				   .tid = record->tid,
				   .frame = record->frame,
				   .end_ns = record->time_ns,
				   .exit = record };

	frames->stats.unpaired++;
	return frames->fn(frames->arg, &call);
}

/* ---- records ---- */

static int enter(struct trace_frames *frames, const struct trace_record *record)
{
	struct frame *frame = find(frames, record->frame, record->pid, record->source);
	uint32_t size = record->flags & WIRE_RECORD_LONG ? record->size : 0;
	uint64_t *args = NULL;
	int result = 0;

	frames->stats.entries++;
	if (frame->slot) {
		result = end_frame(frames, frame, TRACE_ABANDONED, record->time_ns, NULL);
		frame = find(frames, record->frame, record->pid, record->source);
	}
	if (frames->stats.open >= frames->limit || !record->frame) {
		frames->stats.dropped++;
		return result;
	}
	if (record->nargs) {
		args = malloc(record->nargs * sizeof(*args) + size);
		if (!args)
			return -ENOMEM;
		memcpy(args, record->args, record->nargs * sizeof(*args));
		if (size)
			memcpy(args + record->nargs, record->bytes, size);
	}
	*frame = (struct frame) { .slot = record->frame,
				  .time_ns = record->time_ns,
				  .args = args,
				  .source = record->source,
				  .pid = record->pid,
				  .tid = record->tid,
				  .id = record->id + 1,
				  .nargs = record->nargs,
				  .size = record->nargs ? size : 0,
				  .flags = record->flags };
	frames->stats.open++;
	if (!result && frames->stats.open > (frames->mask + 1) / 4 * 3)
		result = grow(frames);
	return result;
}

static int leave(struct trace_frames *frames, const struct trace_record *record)
{
	bool tail = record->flags & WIRE_RECORD_TAIL;
	struct frame *frame = find(frames, record->frame, record->pid, record->source);
	int result = 0;

	frames->stats.returned += !tail;
	frames->stats.tailed += tail;
	if (frame->slot && frame->id == record->id)
		return end_frame(frames, frame, tail ? TRACE_TAILED : TRACE_RETURNED, record->time_ns, record);
	/* Another function leaves the frame: the one that was there is long gone. */
	if (frame->slot)
		result = end_frame(frames, frame, TRACE_ABANDONED, record->time_ns, NULL);
	return result ? result : end_unpaired(frames, record);
}

int trace_frames_add(struct trace_frames *frames, const struct trace_probe *probe, const struct trace_record *record)
{
	switch (probe->kind) {
	case TRACE_ENTRY:
		return enter(frames, record);
	case TRACE_RETURN:
		return leave(frames, record);
	case TRACE_PLACE:
		break;
	}
	return -EINVAL;
}

static int compare_frames(const void *left, const void *right)
{
	const struct frame *a = left;
	const struct frame *b = right;

	return a->time_ns > b->time_ns ? -1 : a->time_ns < b->time_ns;
}

int trace_frames_end(struct trace_frames *frames, trace_frames_gone_fn *is_gone, void *arg, uint64_t now_ns)
{
	_cleanup_free_ struct frame *gone = calloc(frames->stats.open + 1, sizeof(*gone));
	size_t count = 0;
	int result = 0;

	if (!gone)
		return -ENOMEM;
	for (size_t i = 0; i <= frames->mask; i++) {
		const struct frame *frame = &frames->table[i];

		if (frame->slot && is_gone(arg, frame->source, frame->pid))
			gone[count++] = *frame;
	}
	qsort(gone, count, sizeof(*gone), compare_frames);
	for (size_t i = 0; i < count && !result; i++) {
		struct frame *frame = find(frames, gone[i].slot, gone[i].pid, gone[i].source);

		result = end_frame(frames, frame, TRACE_ABANDONED, now_ns, NULL);
	}
	return result;
}

void trace_frames_stats(const struct trace_frames *frames, struct trace_frames_stats *ret) { *ret = frames->stats; }
