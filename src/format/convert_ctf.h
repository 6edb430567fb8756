/* SPDX-License-Identifier: MIT */
/*
 * The layout of our CTF traces, which convert_ctf_metadata.c describes and convert_ctf.c writes: all fields are aligned
 * to bytes, little-endian. Inside the room only.
 *
 *     metadata    text in TSDL; grows when probes do
 *     cpu_N       stream class 0: the records of ring N
 *     lost        stream class 1: records that found no room. Which ring they would have gone to is not known: losses
 * are counted a probe. So this stream alone has events_discarded, and an event "lost" tells each number by probe
 *
 * Source: the Common Trace Format's specification, version 1.8.2.
 */
#ifndef FORMAT_CONVERT_CTF_H
#define FORMAT_CONVERT_CTF_H

#include "format/convert_inside.h"

#define CTF_MAGIC 0xc1fc1fc1U

enum { CTF_STREAM_CPU = 0, CTF_STREAM_LOST = 1 };

struct ctf_packet {
	uint32_t magic;
	uint8_t uuid[16];
	uint32_t stream;
	uint64_t begin_ns, end_ns;
	uint64_t content_bits, packet_bits;
	uint64_t number;
	union { /* by stream */
		uint64_t cpu;
		uint64_t discarded;
	};
} __attribute__((packed));
static_assert(sizeof(struct ctf_packet) == 72, "ctf_packet");

struct ctf_event {
	uint32_t id;
	uint64_t time_ns;
} __attribute__((packed));

/** ctf_metadata_head() - append what stands before the events */
void ctf_metadata_head(struct format_buffer *out, const uint8_t uuid[16], uint64_t realtime_ns);
/** ctf_metadata_event() - append the description of the records of probe @id */
void ctf_metadata_event(struct format_buffer *out, const struct trace_probe *probe, uint32_t id);
/** ctf_width() - bytes of a WORD or element of @arg */
static inline unsigned ctf_width(const struct trace_arg *arg)
{
	return arg->bits <= 8 ? 1 : arg->bits <= 16 ? 2 : arg->bits <= 32 ? 4 : 8;
}

#endif
