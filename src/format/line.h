/* SPDX-License-Identifier: MIT */
/*
 * Text that is put together before it is written: a line takes a few dozen parts, and stdio's own way costs more for each than the part is worth.
 * What does not fit is written at once. Inside the room only.
 */
#ifndef FORMAT_LINE_H
#define FORMAT_LINE_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "format/inside.h"

#define LINE_ROOM 2048

struct format_line {
	FILE *out;
	size_t used;
	char text[LINE_ROOM];
};

/** line_flush() - write what there is; to be called at the end, and before anything else writes to @line->out */
static inline void line_flush(struct format_line *line)
{
	fwrite(line->text, 1, line->used, line->out);
	line->used = 0;
}

static inline void line_add(struct format_line *line, const char *text, size_t size)
{
	if (size > LINE_ROOM - line->used)
		line_flush(line);
	if (size > LINE_ROOM) {
		fwrite(text, 1, size, line->out);
		return;
	}
	memcpy(line->text + line->used, text, size);
	line->used += size;
}

/** line_room() - where up to @size bytes go; line_took() says how many did */
static inline char *line_room(struct format_line *line, size_t size)
{
	if (__builtin_expect(size > LINE_ROOM - line->used, 0))
		line_flush(line);
	return line->text + line->used;
}

static inline void line_took(struct format_line *line, const char *end)
{
	line->used = (size_t)(end - line->text);
}

static inline void line_text(struct format_line *line, const char *text)
{
	if (*text)
		line_add(line, text, strlen(text));
}

static inline void line_char(struct format_line *line, char c)
{
	*line_room(line, 1) = c;
	line->used++;
}

static inline void line_fill(struct format_line *line, char c, size_t count)
{
	for (; count; count--)
		line_char(line, c);
}

/** line_digits() - how many digits a number has */
static inline size_t line_digits(uint64_t value)
{
	size_t digits = 1;

	for (; value >= 10000; value /= 10000)
		digits += 4;
	return digits + (value >= 10) + (value >= 100) + (value >= 1000);
}

/** line_decimal() - at least @width characters, with @fill in front */
static inline void line_decimal(struct format_line *line, uint64_t value, size_t width, char fill)
{
	size_t digits = line_digits(value);
	char *at;

	if (digits < width)
		line_fill(line, fill, width - digits);
	at = line_room(line, digits) + digits;
	line->used += digits;
	for (; value >= 100; value /= 100) {
		unsigned two = (unsigned)(value % 100);

		*--at = (char)('0' + two % 10);
		*--at = (char)('0' + two / 10);
	}
	if (value >= 10)
		*--at = (char)('0' + value % 10);
	*--at = (char)('0' + (value >= 10 ? value / 10 : value));
}

/** line_hex() - with 0x in front */
static inline void line_hex(struct format_line *line, uint64_t value)
{
	unsigned digits = value ? (67U - (unsigned)__builtin_clzll(value)) / 4 : 1;
	char *at = line_room(line, 18);

	*at++ = '0';
	*at++ = 'x';
	while (digits--)
		*at++ = "0123456789abcdef"[value >> 4 * digits & 15];
	line_took(line, at);
}

/** line_safe() - as format_safe() */
static inline void line_safe(struct format_line *line, const char *text)
{
	enum { SHORT = 256 };
	char *at = line_room(line, SHORT);
	const char *from = text;

	/* Characters that show as themselves, as far as they go. */
	while (from - text < SHORT && (unsigned char)(*from - 0x20) < 0x5f)
		*at++ = *from++;
	if (!*from) {
		line_took(line, at);
		return;
	}
	line_flush(line);
	format_safe(line->out, text);
}

#endif
