/* SPDX-License-Identifier: MIT */
/* The raw data of samples, laid out as perf_shape.c says: what a tracepoint of the kernel with these arguments would write. */
#include <string.h>

#include "format/perf_layout.h"

static inline void put_argument(uint8_t *to, uint8_t bytes, uint64_t value)
{
	switch (bytes) { /* constant sizes: stores, not calls */
	case 1:
		memcpy(to, &value, 1);
		break;
	case 2:
		memcpy(to, &value, 2);
		break;
	case 4:
		memcpy(to, &value, 4);
		break;
	default:
		memcpy(to, &value, 8);
	}
}

static void put_words(const struct format_perf_shape *shape, const struct trace_record *record, uint8_t *raw)
{
	if (shape->tail) {
		memcpy(raw + FORMAT_PERF_RET_IP, &record->caller, sizeof(record->caller));
		raw[shape->tail] = !!(record->flags & WIRE_RECORD_TAIL);
	}
	if (shape->frame)
		memcpy(raw + shape->frame, &record->frame, sizeof(record->frame));
	for (uint32_t i = 0; i < shape->nargs; i++)
		if (!shape->fields[i].state)
			put_argument(raw + shape->fields[i].offset, shape->fields[i].bytes,
				     i < record->nargs ? record->args[i] : 0);
}

uint32_t format_perf_raw_put(const struct format_perf_shape *shape, const struct trace_probe *probe, const struct trace_record *record,
			     uint64_t addr, uint8_t *raw, uint32_t room)
{
	const struct format_perf_raw_record head = {
		.common_type = (uint16_t)format_perf_event_id(record->id),
		.common_pid = (int32_t)record->tid,
		.probe_ip = addr,
	};
	const size_t head_size = sizeof(head) - sizeof(head.raw_size);

	memcpy(raw, &head.common_type, head_size);
	memset(raw + head_size, 0, shape->raw - head_size); /* gaps between fields, and what is not known */
	put_words(shape, record, raw);
	if (!shape->nlong)
		return shape->raw;
	uint32_t used = format_perf_long_put(shape, probe, record, raw, room);
	uint32_t size = (uint32_t)base_align_up(FORMAT_PERF_RAW + used, 8) - (uint32_t)FORMAT_PERF_RAW;

	memset(raw + used, 0, size - used);
	return size;
}
