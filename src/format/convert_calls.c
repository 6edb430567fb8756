/* SPDX-License-Identifier: MIT */
/*
 * Calls for formats that nest: a stack of open calls a thread.
 *
 * Where records carry the address of their frame (those read live from pairs), an exit belongs to the open call of its
 * function with that frame, and a call whose frame lies below that of a new one was left by an exception or a jump.
 * Where they do not (files), an exit belongs to the innermost open call of its function. Either way what lies above it
 * on the stack was abandoned: enter and leave always nest.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format/convert_inside.h"

#define NONE UINT32_MAX
#define DEPTH_MAX 4096          /* open calls a thread; exits that were lost would let it grow without end */
#define SAME_STACK (8ULL << 20) /* frames that are further apart are on different stacks */

struct format_calls {
	uint32_t *mate; /* of an entry the probe of its returns, of a return that of its entries, else NONE */
	size_t count, cap;
};

int format_calls_create(struct format_calls **ret)
{
	struct format_calls *calls = calloc(1, sizeof(*calls));

	if (!calls)
		return -ENOMEM;
	*ret = calls;
	return 0;
}

void format_calls_destroy(struct format_calls *calls)
{
	if (calls)
		free(calls->mate);
	free(calls);
}

/* ---- pairs ---- */

/* By function, entries before returns, then as in the table. */
static int compare(const void *left, const void *right, void *arg)
{
	const struct trace_probe *probes = arg;
	uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
	int order = strcmp(probes[a].path, probes[b].path);

	if (order)
		return order;
	if (probes[a].offset != probes[b].offset)
		return probes[a].offset < probes[b].offset ? -1 : 1;
	if ((probes[a].kind == TRACE_RETURN) != (probes[b].kind == TRACE_RETURN))
		return probes[a].kind == TRACE_RETURN ? 1 : -1;
	return a < b ? -1 : a > b;
}

static void join(struct format_calls *calls, uint32_t entry, uint32_t exit)
{
	if (calls->mate[entry] != NONE || calls->mate[exit] != NONE)
		return;
	calls->mate[entry] = exit;
	calls->mate[exit] = entry;
}

/* Places and returns of one function that were asked for singly: @ids are sorted, those of a function stand together.
 */
static void join_singles(struct format_calls *calls, const struct trace_probe *probes, const uint32_t *ids,
			 uint32_t count)
{
	for (uint32_t i = 0; i < count;) {
		uint32_t place = NONE;
		const struct trace_probe *first = &probes[ids[i]];

		for (; i < count && probes[ids[i]].offset == first->offset &&
		       strcmp(probes[ids[i]].path, first->path) == 0;
		     i++) {
			const struct trace_probe *probe = &probes[ids[i]];

			if (probe->kind == TRACE_PLACE && place == NONE && !probe->symbol_offset)
				place = ids[i];
			else if (probe->kind == TRACE_RETURN && place != NONE)
				join(calls, place, ids[i]);
		}
	}
}

int format_calls_probes(struct format_calls *calls, const struct trace_probe *probes, uint32_t nprobes)
{
	_cleanup_free_ uint32_t *ids = malloc((nprobes + 1ULL) * sizeof(*ids));

	if (!ids || base_grow(&calls->mate, &calls->cap, nprobes, sizeof(*calls->mate)))
		return -ENOMEM;
	calls->count = nprobes;
	for (uint32_t id = 0; id < nprobes; id++) {
		ids[id] = id;
		calls->mate[id] = NONE;
	}
	for (uint32_t id = 0; id + 1 < nprobes; id++)
		if (probes[id].kind == TRACE_ENTRY && probes[id + 1].kind == TRACE_RETURN)
			join(calls, id, id + 1);
	qsort_r(ids, nprobes, sizeof(*ids), compare, (void *)(uintptr_t)probes);
	join_singles(calls, probes, ids, nprobes);
	return 0;
}

bool format_calls_is_half(const struct format_calls *calls, uint32_t id)
{
	return calls->mate[id] != NONE;
}

uint32_t format_calls_entry(const struct format_calls *calls, const struct trace_probe *probe, uint32_t id)
{
	if (calls->mate[id] == NONE)
		return NONE;
	return probe->kind == TRACE_RETURN ? calls->mate[id] : id;
}

/* ---- the stack of a thread ---- */

static int leave(struct format_convert *convert, struct format_thread *thread, enum format_leave_how how,
		 const struct format_event *exit, uint64_t end_ns)
{
	const struct format_open *call = &thread->open[thread->nopen - 1];
	struct format_leave left = { .how = how,
				     .thread = thread,
				     .call = call,
				     .entry = &convert->probes[call->id],
				     .exit = exit,
				     .end_ns = end_ns > call->start_ns ? end_ns : call->start_ns };
	int error = convert->kind->leave(convert, &left);

	thread->nopen--;
	return error;
}

/* Abandoned: all above the first @keep. */
static int drop(struct format_convert *convert, struct format_thread *thread, size_t keep, uint64_t now_ns)
{
	int error = 0;

	while (!error && thread->nopen > keep)
		error = leave(convert, thread, FORMAT_ABANDONED, NULL, now_ns);
	return error;
}

static int enter(struct format_convert *convert, const struct format_event *event)
{
	struct format_thread *thread = event->thread;
	uint64_t frame = event->record->frame;
	size_t keep = thread->nopen;
	int error;

	for (; frame && keep; keep--) {
		uint64_t top = thread->open[keep - 1].frame;

		if (!top || top > frame || frame - top > SAME_STACK)
			break;
	}
	error = drop(convert, thread, keep, event->record->time_ns);
	if (error)
		return error;
	if (thread->nopen == DEPTH_MAX)
		return convert->kind->record(convert, event);
	if (base_grow(&thread->open, &thread->open_cap, thread->nopen + 1, sizeof(*thread->open)))
		return -ENOMEM;
	struct format_open *call = &thread->open[thread->nopen];

	*call = (struct format_open) { .frame = frame, .start_ns = event->record->time_ns, .id = event->record->id };
	error = convert->kind->enter(convert, event, call);
	if (!error)
		thread->nopen++;
	return error;
}

/* Which open call an exit belongs to: its number, or the count of them. */
static size_t find(const struct format_thread *thread, uint32_t entry, uint64_t frame)
{
	for (size_t i = thread->nopen; i-- > 0;)
		if (thread->open[i].id == entry && (!frame || !thread->open[i].frame || thread->open[i].frame == frame))
			return i;
	return thread->nopen;
}

int format_calls_add(struct format_convert *convert, const struct format_event *event)
{
	struct format_thread *thread = event->thread;
	uint32_t mate = convert->calls->mate[event->record->id];
	uint64_t now_ns = event->record->time_ns;
	size_t at;
	int error;

	if (mate == NONE)
		return convert->kind->record(convert, event);
	if (event->probe->kind != TRACE_RETURN)
		return enter(convert, event);
	at = find(thread, mate, event->record->frame);
	if (at == thread->nopen)
		return convert->kind->record(convert, event); /* entered before the trace began, or elsewhere */
	error = drop(convert, thread, at + 1, now_ns);
	if (error)
		return error;
	return leave(convert, thread, event->record->flags & WIRE_RECORD_TAIL ? FORMAT_TAILED : FORMAT_RETURNED, event,
		     now_ns);
}

int format_calls_end(struct format_convert *convert, struct format_thread *thread)
{
	int error = 0;

	while (!error && thread->nopen)
		error = leave(convert, thread, FORMAT_STILL_OPEN, NULL, convert->last_ns);
	return error;
}
