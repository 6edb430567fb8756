/* SPDX-License-Identifier: MIT */
/*
 * Writing protocol buffers into a format_buffer. A message inside another begins with room for its length, four bytes:
 * a varint may be longer than it has to be. Inside the room only.
 *
 * Source: the encoding chapter of the Protocol Buffers documentation.
 */
#ifndef FORMAT_CONVERT_PROTO_H
#define FORMAT_CONVERT_PROTO_H

#include <string.h>

#include "format/perf_layout.h"

#define PROTO_LENGTH 4
#define PROTO_MAX ((1U << 28) - 1) /* of a message with such a length */

enum proto_type { PROTO_VARINT = 0, PROTO_FIXED64 = 1, PROTO_BYTES = 2 };

static inline void proto_raw(struct format_buffer *out, uint64_t value)
{
	uint8_t bytes[10];
	size_t size = 0;

	for (; value >= 0x80; value >>= 7)
		bytes[size++] = (uint8_t)(value | 0x80);
	bytes[size++] = (uint8_t)value;
	format_buffer_add(out, bytes, size);
}

static inline void proto_tag(struct format_buffer *out, uint32_t field, enum proto_type type)
{
	proto_raw(out, (uint64_t)field << 3 | type);
}

static inline void proto_varint(struct format_buffer *out, uint32_t field, uint64_t value)
{
	proto_tag(out, field, PROTO_VARINT);
	proto_raw(out, value);
}

static inline void proto_fixed64(struct format_buffer *out, uint32_t field, uint64_t value)
{
	proto_tag(out, field, PROTO_FIXED64);
	format_buffer_u64(out, value);
}

static inline void proto_double(struct format_buffer *out, uint32_t field, double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	proto_fixed64(out, field, bits);
}

static inline void proto_string(struct format_buffer *out, uint32_t field, const char *text)
{
	proto_tag(out, field, PROTO_BYTES);
	proto_raw(out, strlen(text));
	format_buffer_add(out, text, strlen(text));
}

/** proto_begin() - a message inside; returns what proto_end() wants */
static inline size_t proto_begin(struct format_buffer *out, uint32_t field)
{
	proto_tag(out, field, PROTO_BYTES);
	format_buffer_zero(out, PROTO_LENGTH);
	return out->size;
}

static inline void proto_end(struct format_buffer *out, size_t start)
{
	size_t size = out->size - start;

	if (out->error)
		return;
	assert(size <= PROTO_MAX); /* records have 64 KiB at most, names less */
	for (size_t i = 0; i < PROTO_LENGTH; i++)
		out->data[start - PROTO_LENGTH + i] =
		    (uint8_t)((size >> (7 * i) & 0x7f) | (i + 1 < PROTO_LENGTH ? 0x80 : 0));
}

#endif
