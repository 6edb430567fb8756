/* SPDX-License-Identifier: MIT */
/*
 * Many lanes, one stream. Owns the sources of a reader and the merge: a heap of the lanes that have a record old
 * enough, by the time of that record.
 *
 * Order: the time of a ring's record is taken inside the section that commits it. So what has not appeared when the
 * heads are read, at time T, is younger than T but for the length of one section (READER_SLACK_NS): everything below
 * T - slack is there, and is delivered. Two things come late and are delivered late: cells, which any signal can delay,
 * and a section that the hypervisor interrupted.
 *
 * Bounded: the heads are read once a drain; what arrives meanwhile is for the next one.
 */
#include "trace/reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define READER_SLACK_NS 20000
#define READER_FUTURE_NS 1000000000ULL

int trace_reader_create(const struct trace_probe *probes, uint32_t nprobes, struct trace_reader **ret)
{
	struct trace_reader *reader = calloc(1, sizeof(*reader));

	if (!reader)
		return -ENOMEM;
	trace_clock_init(&reader->clock);
	trace_reader_probes(reader, probes, nprobes);
	*ret = reader;
	return 0;
}

static void lane_deinit(struct reader_lane *lane)
{
	switch (lane->kind) {
	case READER_RING:
		lane_ring_deinit(&lane->ring);
		break;
	case READER_CELLS:
		lane_cells_deinit(&lane->cells);
		break;
	case READER_KEPT:
		lane_kept_deinit(&lane->kept);
		break;
	}
}

static void source_destroy(struct reader_source *source)
{
	for (uint32_t i = 0; i < source->nlanes; i++)
		lane_deinit(&source->lanes[i]);
	free(source->lanes);
	free(source);
}

void trace_reader_destroy(struct trace_reader *reader)
{
	if (!reader)
		return;
	for (size_t i = 0; i < reader->nsources; i++)
		source_destroy(reader->sources[i]);
	free(reader->sources);
	free(reader->shapes);
	free(reader->heap);
	free(reader);
}

void trace_reader_probes(struct trace_reader *reader, const struct trace_probe *probes, uint32_t nprobes)
{
	reader->probes = probes;
	reader->nprobes = nprobes;
	reader->shapes_stale = true;
}

static void lane_init(struct reader_lane *lane, void *block, const struct wire_control *geometry, enum lane_which which)
{
	switch (lane->kind) {
	case READER_RING:
		lane_ring_init(&lane->ring, block, geometry);
		break;
	case READER_CELLS:
		lane_cells_init(&lane->cells, block, geometry, which);
		break;
	case READER_KEPT:
		lane_kept_init(&lane->kept, block, geometry, which);
		break;
	}
}

/* The ring, the cells, and where there are any the long cells. */
static uint32_t lanes_of(const struct wire_control *geometry) { return geometry->long_cells ? 3 : 2; }

static int source_create(struct trace_memory *memory, uint32_t id, bool overwrites, struct reader_source **ret)
{
	const struct wire_control *geometry = &memory->geometry;
	struct reader_source *source = calloc(1, sizeof(*source));
	uint32_t lanes = lanes_of(geometry);

	if (!source)
		return -ENOMEM;
	source->lanes = calloc(lanes * (size_t)geometry->cpus, sizeof(*source->lanes));
	if (!source->lanes) {
		free(source);
		return -ENOMEM;
	}
	source->memory = memory;
	source->id = id;
	source->nlanes = lanes * geometry->cpus;
	for (uint32_t i = 0; i < source->nlanes; i++) {
		enum lane_which which = (enum lane_which)(i % lanes);
		enum reader_kind kind = overwrites ? READER_KEPT : which == LANE_RING ? READER_RING : READER_CELLS;

		source->lanes[i] = (struct reader_lane) { .kind = kind, .cpu = i / lanes, .source = source };
		lane_init(&source->lanes[i], memory->blocks[i / lanes], geometry, which);
	}
	*ret = source;
	return 0;
}

int trace_reader_add(struct trace_reader *reader, struct trace_memory *memory, uint32_t id)
{
	struct reader_source *source;
	size_t lanes = lanes_of(&memory->geometry) * (size_t)memory->geometry.cpus;
	int r;

	for (size_t i = 0; i < reader->nsources; i++) {
		if (reader->sources[i]->id == id)
			return -EEXIST;
		lanes += reader->sources[i]->nlanes;
	}
	r = base_grow(&reader->sources, &reader->sources_cap, reader->nsources + 1, sizeof(*reader->sources));
	if (!r)
		r = base_grow(&reader->heap, &reader->heap_cap, lanes, sizeof(*reader->heap));
	if (!r)
		r = source_create(memory, id, reader->overwrites, &source);
	if (r)
		return r;
	reader->sources[reader->nsources++] = source;
	return 0;
}

void trace_reader_remove(struct trace_reader *reader, uint32_t id)
{
	for (size_t i = 0; i < reader->nsources; i++) {
		struct reader_source *source = reader->sources[i];

		if (source->id != id)
			continue;
		for (uint32_t lane = 0; lane < source->nlanes; lane++)
			if (source->lanes[lane].kind == READER_CELLS)
				reader->stats.abandoned += lane_cells_unfinished(&source->lanes[lane].cells);
		source_destroy(source);
		memmove(&reader->sources[i], &reader->sources[i + 1],
			(reader->nsources - i - 1) * sizeof(*reader->sources));
		reader->nsources--;
		return;
	}
}

void trace_reader_stats(const struct trace_reader *reader, struct trace_stats *ret)
{
	*ret = reader->stats;
}

/* Restore the heap below its first entry. */
static void heap_sink(struct reader_head *heap, size_t count, size_t at)
{
	struct reader_head sinking = heap[at];

	for (;;) {
		size_t child = 2 * at + 1;

		if (child >= count)
			break;
		if (child + 1 < count && heap[child + 1].time < heap[child].time)
			child++;
		if (heap[child].time >= sinking.time)
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = sinking;
}

/* How far the first lane may run before another one's turn comes. */
static uint64_t heap_second(const struct reader_head *heap, size_t count)
{
	uint64_t second = UINT64_MAX;

	if (count > 1)
		second = heap[1].time;
	if (count > 2 && heap[2].time < second)
		second = heap[2].time;
	return second;
}

static const struct wire_record *lane_peek(struct reader_lane *lane, const struct lane_rules *rules)
{
	switch (lane->kind) {
	case READER_RING:
		return lane_ring_peek(&lane->ring, rules);
	case READER_CELLS:
		return lane_cells_peek(&lane->cells);
	case READER_KEPT:
		return lane_kept_peek(&lane->kept);
	}
	return NULL;
}

static void lane_skip(struct reader_lane *lane, const struct wire_record *record)
{
	switch (lane->kind) {
	case READER_RING:
		lane_ring_skip(&lane->ring, record);
		break;
	case READER_CELLS:
		lane_cells_skip(&lane->cells);
		break;
	case READER_KEPT:
		lane_kept_skip(&lane->kept, record);
		break;
	}
}

/* Show the lane's oldest record in @head. Return: false if it has none up to the horizon. */
static bool lane_show(struct reader_lane *lane, const struct lane_rules *rules, uint64_t horizon,
		      struct reader_head *head)
{
	const struct wire_record *record = lane_peek(lane, rules);

	if (!record || record->time > horizon)
		return false;
	*head = (struct reader_head) { .time = record->time, .record = record, .lane = lane };
	return true;
}

void reader_show(struct trace_reader *reader, struct reader_lane *lane, const struct lane_rules *rules,
		 uint64_t horizon)
{
	if (lane_show(lane, rules, horizon, &reader->heap[reader->nheap]))
		reader->nheap++;
}

static uint64_t reader_ns(struct trace_reader *reader, uint64_t tsc)
{
	uint64_t ns = trace_scale_ns(&reader->scale, tsc);

	if (tsc >= reader->last_tsc) {
		if (ns < reader->last_ns)
			ns = reader->last_ns;
		reader->last_tsc = tsc;
		reader->last_ns = ns;
	}
	return ns;
}

/* Take the record off its lane (its bytes stay until the lane is looked at again) and hand it out. */
static int reader_deliver(struct trace_reader *reader, const struct lane_rules *rules, const struct reader_head *head,
			  trace_record_fn *fn, void *arg)
{
	const struct wire_record *record = head->record;
	const uint64_t *words = (const uint64_t *)(record + 1);
	struct lane_shape shape = lane_shape(rules, record->id);
	struct trace_record out = {
		.time_ns = reader_ns(reader, record->time),
		.id = record->id,
		.cpu = head->lane->cpu,
		.pid = record->pid,
		.tid = record->tid,
		.source = head->lane->source->id,
		.nargs = record->flags & WIRE_RECORD_LEFT_OUT ? 0 : shape.nargs,
		.args = words + shape.words,
		.bytes = (const uint8_t *)record,
		.size = record->size,
		.flags = record->flags,
		.frame = shape.words ? words[0] : 0,
		.caller = shape.words > 1 ? words[1] : 0,
	};

	lane_skip(head->lane, record);
	reader->stats.records++;
	return fn(arg, &out);
}

int reader_merge(struct trace_reader *reader, const struct lane_rules *rules, uint64_t horizon, trace_record_fn *fn,
		 void *arg)
{
	struct reader_head *heap = reader->heap;

	for (size_t i = reader->nheap / 2; i-- > 0;)
		heap_sink(heap, reader->nheap, i);
	while (reader->nheap) {
		uint64_t second = heap_second(heap, reader->nheap);
		bool more;

		do {
			int r = reader_deliver(reader, rules, &heap[0], fn, arg);

			if (r)
				return r;
			more = lane_show(heap[0].lane, rules, horizon, &heap[0]);
		} while (more && heap[0].time <= second);
		if (!more)
			heap[0] = heap[--reader->nheap];
		if (reader->nheap)
			heap_sink(heap, reader->nheap, 0);
	}
	return 0;
}

static int reader_shapes(struct trace_reader *reader)
{
	if (!reader->shapes_stale)
		return 0;
	if (base_grow(&reader->shapes, &reader->shapes_cap, reader->nprobes, sizeof(*reader->shapes)))
		return -ENOMEM;
	if (reader->nprobes)
		memset(reader->shapes, 0, reader->nprobes * sizeof(*reader->shapes));
	reader->largest = sizeof(struct wire_record);
	for (uint32_t id = 0; id < reader->nprobes; id++) {
		uint32_t size = lane_largest(&reader->probes[id]);

		reader->largest = size > reader->largest ? size : reader->largest;
	}
	reader->shapes_stale = false;
	return 0;
}

int reader_rules(struct trace_reader *reader, struct lane_rules *ret)
{
	uint64_t now;
	int r = reader_shapes(reader);

	if (r)
		return r;
	trace_clock_update(&reader->clock);
	trace_scale_init(&reader->scale, &reader->clock);
	now = trace_clock_now();
	*ret = (struct lane_rules) {
		.probes = reader->probes,
		.shapes = reader->shapes,
		.nprobes = reader->nprobes,
		.largest = reader->largest,
		.now = now,
		.latest = now + trace_scale_ticks(&reader->scale, READER_FUTURE_NS),
		.jitter = trace_scale_ticks(&reader->scale, READER_SLACK_NS),
		.now_ns = reader->clock.ns[1],
		.stats = &reader->stats,
	};
	return 0;
}

static int lane_begin(struct reader_lane *lane, const struct lane_rules *rules)
{
	switch (lane->kind) {
	case READER_RING:
		return lane_ring_begin(&lane->ring, rules);
	case READER_CELLS:
		return lane_cells_begin(&lane->cells, rules);
	case READER_KEPT:
		return lane_kept_prepare(&lane->kept);
	}
	return 0;
}

/* Look at every lane once, collect those with something to deliver. */
static int reader_begin(struct trace_reader *reader, const struct lane_rules *rules, uint64_t horizon)
{
	reader->nheap = 0;
	for (size_t i = 0; i < reader->nsources; i++) {
		struct reader_source *source = reader->sources[i];

		for (uint32_t n = 0; n < source->nlanes; n++) {
			int r = lane_begin(&source->lanes[n], rules);

			if (r)
				return r;
			reader_show(reader, &source->lanes[n], rules, horizon);
		}
	}
	return 0;
}

long trace_reader_drain(struct trace_reader *reader, bool all, trace_record_fn *fn, void *arg)
{
	uint64_t before = reader->stats.records;
	struct lane_rules rules;
	uint64_t horizon;
	int r = reader_rules(reader, &rules);

	if (r)
		return r;
	horizon = all ? UINT64_MAX : rules.now - rules.jitter;
	r = reader_begin(reader, &rules, horizon);
	if (!r)
		r = reader_merge(reader, &rules, horizon, fn, arg);
	return r ? r : (long)(reader->stats.records - before);
}
