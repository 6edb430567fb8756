/* SPDX-License-Identifier: MIT */
/*
 * Calls: records of functions entered and left, put together. A call is known by the address of its frame's return slot, in its process,
 * not by its thread: so coroutines, and whatever else moves between threads, come out right.
 *
 * A call ends by a return, by a tail call (a jump to another function, in the same frame), or it is abandoned: an exception, longjmp or
 * the end of its thread left the frame without passing one of the function's exits. That shows when its slot is used for another call, or
 * when the process is gone. Until then such a call counts as open: a suspended coroutine looks the same.
 */
#ifndef TRACE_FRAMES_H
#define TRACE_FRAMES_H

#include "trace/trace.h"

enum trace_ending {
	TRACE_RETURNED,
	TRACE_TAILED,
	TRACE_ABANDONED,
	TRACE_UNPAIRED, /* it was left, but where it began was not seen: before the attach, in the parent of a fork, or lost */
};

/** A call that ended. Valid during the callback only. */
struct trace_call {
	enum trace_ending ending;
	uint32_t id;         /* of the probe of its returns */
	uint32_t source;
	uint32_t pid;
	uint32_t tid;        /* of the thread that entered it; UNPAIRED: that left it */
	uint16_t flags;      /* of the entry's record; UNPAIRED: 0 */
	uint64_t frame;
	uint64_t start_ns;   /* UNPAIRED: 0 */
	uint64_t end_ns;     /* ABANDONED: when that showed */
	uint32_t nargs;      /* as recorded at the entry */
	const uint64_t *args;
	const uint8_t *bytes; /* of a LONG record of the entry, as in struct trace_record; else NULL */
	uint32_t size;
	const struct trace_record *exit; /* ABANDONED: NULL */
};
typedef int trace_call_fn(void *arg, const struct trace_call *call); /* non-zero is handed on to the caller */

struct trace_frames_stats {
	uint64_t entries;   /* entered; = returned + tailed + abandoned - unpaired + open + dropped */
	uint64_t returned;  /* UNPAIRED ones included, likewise below */
	uint64_t tailed;
	uint64_t abandoned;
	uint64_t unpaired;
	uint64_t open;
	uint64_t dropped;   /* entries that found no room: their ends are unpaired */
};

struct trace_frames;

/**
 * trace_frames_create() - put the records of the probes that come in pairs together
 * @limit: calls open at a time; later ones are dropped, and counted
 * @fn:    called for each end of a call
 */
int trace_frames_create(size_t limit, trace_call_fn *fn, void *arg, struct trace_frames **ret) BASE_MUST_CHECK;
void trace_frames_destroy(struct trace_frames *frames);

/**
 * trace_frames_add() - the next record, in the order of time
 * @probe: of the record: TRACE_ENTRY or TRACE_RETURN
 *
 * Return: 0, -ENOMEM, or what @fn returned.
 */
int trace_frames_add(struct trace_frames *frames, const struct trace_probe *probe,
		     const struct trace_record *record) BASE_MUST_CHECK;

typedef bool trace_frames_gone_fn(void *arg, uint32_t source, uint32_t pid);
/**
 * trace_frames_end() - the open calls of processes that are gone were abandoned, the outermost last
 * @is_gone: asked for each open call
 * @now_ns:  when that showed
 *
 * Return: 0, -ENOMEM, or what the callback for calls returned.
 */
int trace_frames_end(struct trace_frames *frames, trace_frames_gone_fn *is_gone, void *arg, uint64_t now_ns) BASE_MUST_CHECK;

void trace_frames_stats(const struct trace_frames *frames, struct trace_frames_stats *ret);

#endif
