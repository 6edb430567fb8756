/* SPDX-License-Identifier: MIT */
/*
 * What a reader consists of: shared by reader.c (which delivers) and wait.c (which sleeps). Inside the room only.
 */
#ifndef TRACE_READER_H
#define TRACE_READER_H

#include "trace/clock.h"
#include "trace/lane.h"

struct reader_source;

struct reader_lane {
	bool is_cells;
	uint32_t cpu;
	const struct reader_source *source;
	union {
		struct lane_ring ring;
		struct lane_cells cells;
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

#endif
