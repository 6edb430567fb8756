/* SPDX-License-Identifier: MIT */
/*
 * Bytes that grow, for the parts of a perf.data that are put together in memory. A failed allocation sticks, so that
 * the code that describes a layout reads as a list and checks once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format/perf_layout.h"

void format_buffer_deinit(struct format_buffer *buffer)
{
	free(buffer->data);
	*buffer = (struct format_buffer) { 0 };
}

static uint8_t *buffer_extend(struct format_buffer *buffer, size_t size)
{
	if (!buffer->error)
		buffer->error = base_grow(&buffer->data, &buffer->cap, buffer->size + size, 1);
	if (buffer->error)
		return NULL;
	uint8_t *at = buffer->data + buffer->size;

	buffer->size += size;
	return at;
}

void format_buffer_add(struct format_buffer *buffer, const void *data, size_t size)
{
	uint8_t *at = size ? buffer_extend(buffer, size) : NULL;

	if (at)
		memcpy(at, data, size);
}

void format_buffer_zero(struct format_buffer *buffer, size_t size)
{
	uint8_t *at = size ? buffer_extend(buffer, size) : NULL;

	if (at)
		memset(at, 0, size);
}

void format_buffer_align(struct format_buffer *buffer, size_t to)
{
	format_buffer_zero(buffer, base_align_up(buffer->size, to) - buffer->size);
}

void format_buffer_u32(struct format_buffer *buffer, uint32_t value)
{
	format_buffer_add(buffer, &value, sizeof(value));
}

void format_buffer_u64(struct format_buffer *buffer, uint64_t value)
{
	format_buffer_add(buffer, &value, sizeof(value));
}

void format_buffer_print(struct format_buffer *buffer, const char *format, ...)
{
	char text[512]; /* the longest line of a format holds one name of 63 bytes */
	va_list ap;

	va_start(ap, format);
	int length = vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	assert(length >= 0 && (size_t)length < sizeof(text));
	format_buffer_add(buffer, text, (size_t)length);
}
