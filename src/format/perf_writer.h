/* SPDX-License-Identifier: MIT */
/* A perf.data being written: what the file (perf_write.c) and its records (perf_records.c) share. Inside the room only. */
#ifndef FORMAT_PERF_WRITER_H
#define FORMAT_PERF_WRITER_H

#include "format/perf_layout.h"

#define FLUSH_SIZE (1UL << 20)
#define FLUSH_NS 1000000000  /* of samples' time: what a kill may cost a slow trace */
#define BUILD_IDS_ROOM 16384 /* for about 130 files; more are written behind everything else at the end */

struct format_perf {
	int fd; /* the caller's */
	int error;
	const struct trace_probe *probes; /* the caller's */
	uint32_t nprobes;
	struct format_perf_shape *shapes;
	struct format_places *places;
	struct format_perf_header header; /* as in the file, or about to be */
	struct format_perf_features features;
	uint8_t *buffer; /* BUFFER_SIZE: records; at a flush also FINISHED_ROUND and the sections */
	struct format_perf_pack *pack; /* NULL: records stay as they are */
	struct format_buffer packed;   /* of a flush */
	size_t used;
	uint64_t time_first, time_last, time_flushed;
	struct format_buffer build_ids;
	size_t build_ids_fit; /* bytes of whole rows that have room in front of the data */
	size_t build_ids_put; /* of them, written */
};

#endif
