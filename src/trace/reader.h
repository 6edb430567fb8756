/* SPDX-License-Identifier: MIT */
/*
 * What a reader consists of: shared by reader.c (which delivers), wait.c (which sleeps) and snapshot.c (which reads
 * what nobody drains). Inside the room only.
 */
#ifndef TRACE_READER_H
#define TRACE_READER_H

#include "trace/clock.h"
#include "trace/lane.h"

struct reader_source;

enum reader_kind { READER_RING, READER_CELLS, READER_KEPT };

struct reader_lane {
	enum reader_kind kind;
	uint32_t cpu;
	const struct reader_source *source;
	union {
		struct lane_ring ring;
		struct lane_cells cells;
		struct lane_kept kept;
	};
};

struct reader_source {
	struct trace_memory *memory; /* borrowed */
	uint32_t id;
	uint32_t nlanes; /* two for each CPU */
	struct reader_lane *lanes;
};

/* A lane that has something to deliver, by the time of its oldest record. */
struct reader_head {
	uint64_t time;
	const struct wire_record *record;
	struct reader_lane *lane;
};

struct trace_reader {
	const struct trace_probe *probes; /* borrowed */
	uint32_t nprobes;
	struct lane_shape *shapes;
	size_t shapes_cap;
	bool shapes_stale; /* the table changed: look everything up again */
	uint32_t largest;  /* bytes of the largest record of any probe */
	bool overwrites;   /* the newest records replace the oldest */

	struct reader_source **sources;
	size_t nsources;
	size_t sources_cap;

	struct reader_head *heap; /* room for every lane of every source */
	size_t nheap;
	size_t heap_cap;

	struct trace_clock clock;
	struct trace_scale scale;
	uint64_t last_tsc; /* what was delivered last, so that a renewed clock cannot bend time backwards */
	uint64_t last_ns;
	struct trace_stats stats;
};

/** reader_rules() - look at the clock: what holds for the drain that begins now; 0 or -ENOMEM */
int reader_rules(struct trace_reader *reader, struct lane_rules *ret) BASE_MUST_CHECK;
/** reader_show() - a lane's oldest record into the heap, if it has one up to the horizon; the heap has room */
void reader_show(struct trace_reader *reader, struct reader_lane *lane, const struct lane_rules *rules,
		 uint64_t horizon);
/** reader_merge() - deliver what the lanes in the heap have up to the horizon; what the callback returned when not 0 */
int reader_merge(struct trace_reader *reader, const struct lane_rules *rules, uint64_t horizon, trace_record_fn *fn,
		 void *arg) BASE_MUST_CHECK;

#endif
