/* SPDX-License-Identifier: MIT */
/*
 * Stacks that were copied, walked here by the very walker that runs in targets (wire/unwind.h). Its tables are those of the files, where they
 * are in our memory: the area is all of it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "object/unwind.h"
#include "session/inside.h"

#define MAPS_NS 1000000000ULL /* the mappings of a process that does not say when it loads something are read again so often */

struct session_unwinder {
	struct wire_unwind *list;
	size_t room; /* pieces */
	bool is_sorted;
	bool doubts; /* what was added nowhere may be anything */
	uint64_t addresses[WIRE_STACK_FRAMES];
};

int session_unwinder_create(struct session_unwinder **ret)
{
	struct session_unwinder *unwinder = calloc(1, sizeof(*unwinder));

	if (!unwinder)
		return -ENOMEM;
	*ret = unwinder;
	return 0;
}

void session_unwinder_destroy(struct session_unwinder *unwinder)
{
	if (unwinder)
		free(unwinder->list);
	free(unwinder);
}

void session_unwinder_clear(struct session_unwinder *unwinder)
{
	if (unwinder->list)
		unwinder->list->count = 0;
}

static int grow(struct session_unwinder *unwinder)
{
	size_t count = unwinder->list ? unwinder->list->count : 0;
	size_t room = unwinder->room ? 2 * unwinder->room : 64;
	struct wire_unwind *list;

	if (count < unwinder->room)
		return 0;
	list = realloc(unwinder->list, sizeof(*list) + room * sizeof(list->pieces[0]));
	if (!list)
		return -ENOMEM;
	list->number = 1;
	list->count = (uint32_t)count;
	unwinder->list = list;
	unwinder->room = room;
	return 0;
}

int session_unwinder_add(struct session_unwinder *unwinder, uint64_t start, uint64_t end, uint64_t offset, const struct object *object,
			 const struct object_unwind *table)
{
	struct wire_unwind_piece piece = { .start = start, .end = end };
	const struct process_map map = { .start = start, .offset = offset };
	int error = grow(unwinder);
	uint64_t bias;

	if (error)
		return error;
	if (table && !session_map_bias(&map, object, &bias)) {
		piece.base = bias + table->base;
		piece.rows = (uint64_t)(uintptr_t)table->rows;
		piece.count = (uint32_t)table->count;
	}
	unwinder->list->pieces[unwinder->list->count++] = piece;
	unwinder->is_sorted = false;
	return 0;
}

static int compare_pieces(const void *left, const void *right)
{
	const struct wire_unwind_piece *a = left;
	const struct wire_unwind_piece *b = right;

	return a->start < b->start ? -1 : a->start > b->start;
}

/* ---- the copy ---- */

struct copied_memory {
	struct wire_unwind_memory memory;
	const uint8_t *bytes;
	uint64_t start, size;
};

static bool copied_word(struct wire_unwind_memory *memory, uint64_t address, uint64_t *ret)
{
	const struct copied_memory *copy = (const struct copied_memory *)memory;
	uint64_t at = address - copy->start;

	if (at > copy->size || copy->size - at < sizeof(*ret))
		return false;
	memcpy(ret, copy->bytes + at, sizeof(*ret));
	return true;
}

bool session_unwinder_walk(struct session_unwinder *unwinder, const struct trace_record *record, const struct trace_stack *raw,
			   struct trace_stack *ret)
{
	struct wire_stack_raw registers;
	struct copied_memory copy = { .memory = { .word = copied_word }, .bytes = raw->bytes, .size = raw->size };
	struct wire_unwind_walk walk = { .memory = &copy.memory };
	struct wire_unwind *list = unwinder->list;
	struct wire_unwind_tables tables;

	if (!raw->raw)
		return false;
	memcpy(&registers, raw->raw, sizeof(registers));
	if (list && !unwinder->is_sorted)
		qsort(list->pieces, list->count, sizeof(list->pieces[0]), compare_pieces);
	unwinder->is_sorted = true;
	copy.start = registers.reg[OBJECT_UNWIND_SP];
	tables = (struct wire_unwind_tables) { .size = UINT64_MAX, .list = list, .check = unwinder->doubts };
	walk.now = (struct wire_unwind_frame) {
		.ip = registers.reg[OBJECT_UNWIND_IP],
		.sp = registers.reg[OBJECT_UNWIND_SP],
		.bp = registers.reg[OBJECT_UNWIND_BP],
		.is_exact = !(record->flags & WIRE_RECORD_RETURN),
	};
	uint32_t count = wire_unwind_walk(&walk, &tables, unwinder->addresses, WIRE_STACK_FRAMES);

	*ret = (struct trace_stack) {
		.format = TRACE_CALLERS,
		.count = count,
		.addresses = (const uint8_t *)unwinder->addresses,
		.is_short = walk.is_short,
	};
	return true;
}

/* ---- of targets ---- */

/* Of one that is gone, what was seen last. */
static int fill(struct session *session, struct session_process *process, struct session_unwinder *unwinder)
{
	const struct process_maps *seen = session_maps(session, process->source);
	struct process_maps maps = { 0 };
	bool is_there = !process_maps_read(process->pid, &maps);
	int error = is_there || seen ? 0 : -ESRCH;

	if (!error)
		error = session_unwinder_fill(session, process, is_there ? &maps : seen, unwinder);
	process_maps_free(&maps);
	return error;
}

static bool is_same(const struct session_unwinder *a, const struct session_unwinder *b)
{
	uint32_t count = a->list ? a->list->count : 0;

	return b->list && b->list->count == count && (!count || !memcmp(a->list->pieces, b->list->pieces, count * sizeof(a->list->pieces[0])));
}

int session_unwinder_renew(struct session *session, struct session_process *process)
{
	struct session_layout layout = { .from_ns = base_now_ns() };
	size_t n = process->nlayouts;
	int error = session_unwinder_create(&layout.unwinder);

	if (error)
		return error;
	error = fill(session, process, layout.unwinder);
	if (error || (n && is_same(process->layouts[n - 1].unwinder, layout.unwinder))) {
		session_unwinder_destroy(layout.unwinder);
		if (n)
			process->layouts[n - 1].seen_ns = layout.from_ns;
		return error;
	}
	if (n == SESSION_LAYOUTS) {
		session_unwinder_destroy(process->layouts[0].unwinder);
		memmove(process->layouts, process->layouts + 1, --n * sizeof(layout));
	}
	layout.seen_ns = layout.from_ns;
	process->layouts[n] = layout;
	process->nlayouts = n + 1;
	return 0;
}

void session_layouts_free(struct session_process *process)
{
	for (size_t i = 0; i < process->nlayouts; i++)
		session_unwinder_destroy(process->layouts[i].unwinder);
	process->nlayouts = 0;
}

/* How the process was laid out at @time_ns: it waits for us where that changes. Before the first look it was as at the first. */
static struct session_unwinder *layout_at(const struct session_process *process, uint64_t time_ns)
{
	size_t i = process->nlayouts;

	while (i > 1 && process->layouts[i - 1].from_ns > time_ns)
		i--;
	return i ? process->layouts[i - 1].unwinder : NULL;
}

/* One that does not wait is looked at now and then. */
static bool is_due(const struct session_process *process)
{
	return !process->nlayouts ||
	       ((!process->waits || process->polls) && base_now_ns() - process->layouts[process->nlayouts - 1].seen_ns > MAPS_NS);
}

bool session_unwind(struct session *session, const struct trace_record *record, const struct trace_stack *raw, struct trace_stack *ret)
{
	struct session_process *process = record->source < session->nprocesses ? session->processes[record->source] : NULL;
	struct session_unwinder *unwinder;

	if (!process || (is_due(process) && session_unwinder_renew(session, process) && !process->nlayouts))
		return false;
	unwinder = layout_at(process, record->time_ns);
	unwinder->doubts = record->pid != (uint32_t)process->inner_pid; /* a forked child may have loaded something else */
	return session_unwinder_walk(unwinder, record, raw, ret);
}
