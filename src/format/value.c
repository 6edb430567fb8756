/* SPDX-License-Identifier: MIT */
/*
 * Arguments as text and as JSON. A locator is believed only as far as it lies inside the record's bytes. As text values look as the kernel's
 * trace file has them: numbers by their format, 'c', "string", {1,2,3}, and (fault) for what could not be read. What the kernel has
 * nothing like: ... behind what was cut short.
 *
 * In JSON: numbers; strings for what is shown in hexadecimal, for characters, symbols and strings; arrays; null for what could not be read.
 *
 * Source: the kernel's Documentation/trace/uprobetracer.rst.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/inside.h"
#include "format/utf8.h"

#define VALUE_MAX 64 /* a sign and 20 digits, 0x and 16, or a double with 17 digits and its exponent */

/* ---- words ---- */

/* With as few digits as read back the same. */
static void print_double(double value, char *text, size_t size)
{
	for (int digits = 6; digits <= 17; digits++) {
		snprintf(text, size, "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			return;
	}
}

static void print_float(float value, char *text, size_t size)
{
	for (int digits = 6; digits <= 9; digits++) {
		snprintf(text, size, "%.*g", digits, (double)value);
		if (strtof(text, NULL) == value)
			return;
	}
}

static void print_floating(const struct trace_arg *arg, uint64_t value, char *text, size_t size)
{
	double wide;
	float narrow;

	memcpy(&wide, &value, sizeof(wide));
	memcpy(&narrow, &value, sizeof(narrow));
	if (arg->bits == 32)
		print_float(narrow, text, size);
	else
		print_double(wide, text, size);
}

static void print_char(uint8_t value, char *text, size_t size)
{
	if (value >= 0x20 && value < 0x7f)
		snprintf(text, size, "'%c'", value);
	else
		snprintf(text, size, "'\\x%02x'", value);
}

void format_value(const struct trace_arg *arg, uint64_t value, char *text, size_t size)
{
	unsigned spare = arg->bits && arg->bits < 64 ? 64U - arg->bits : 0;

	value <<= spare;
	switch (arg->format) {
	case TRACE_UNSIGNED:
		snprintf(text, size, "%" PRIu64, value >> spare);
		return;
	case TRACE_SIGNED:
		snprintf(text, size, "%" PRId64, (int64_t)value >> spare);
		return;
	case TRACE_HEX:
	case TRACE_SYMBOL:
	case TRACE_TEXT:
	case TRACE_CALLERS:
	case TRACE_RAW_STACK:
		snprintf(text, size, "0x%" PRIx64, value >> spare);
		return;
	case TRACE_CHAR:
		print_char((uint8_t)(value >> spare), text, size);
		return;
	case TRACE_FLOAT:
		print_floating(arg, value >> spare, text, size);
		return;
	}
	snprintf(text, size, "?");
}

/* ---- what locators name ---- */

/** Bytes of a record; NULL: could not be read. */
struct piece {
	const uint8_t *data;
	uint32_t size;
	bool is_short;
};

static struct piece piece_of(const struct format_where *where, uint64_t locator)
{
	uint32_t offset = wire_locator_offset(locator);
	uint32_t size = wire_locator_bytes(locator);

	if (!locator || locator & WIRE_LOCATOR_FAILED || !where->bytes || offset > where->size || size > where->size - offset)
		return (struct piece) { .data = NULL };
	return (struct piece) { .data = where->bytes + offset, .size = size, .is_short = locator & WIRE_LOCATOR_SHORT };
}

static uint32_t element_size(const struct trace_arg *arg)
{
	return arg->bits <= 8 ? 1 : arg->bits <= 16 ? 2 : arg->bits <= 32 ? 4 : 8;
}

static uint64_t element(const struct trace_arg *arg, const struct piece *piece, uint32_t index)
{
	uint32_t size = element_size(arg);
	uint64_t value = 0;

	memcpy(&value, piece->data + (size_t)index * size, size);
	return value;
}

/* The text up to its NUL, as a string: characters are looked at one by one, and the last must not run on. */
static char *copy_text(const struct piece *piece)
{
	return strndup((const char *)piece->data, piece->size);
}

/* ---- as text ---- */

void format_safe(FILE *out, const char *text)
{
	for (;;) {
		const char *start = text;
		uint32_t code = format_utf8_next(&text);

		if (!code)
			return;
		if (code == FORMAT_UTF8_INVALID || format_utf8_is_control(code))
			putc('?', out);
		else
			fwrite(start, 1, (size_t)(text - start), out);
	}
}

static const char *symbol_of(const struct format_where *where, const struct trace_arg *arg, uint64_t value, uint64_t *offset)
{
	struct format_symbol found;

	if (arg->format != TRACE_SYMBOL || !where->symbol ||
	    !where->symbol(where->symbol_arg, where->source, where->pid, value, &found))
		return NULL;
	*offset = found.offset;
	return found.name;
}

static void put_word(FILE *out, const struct trace_arg *arg, uint64_t value, const struct format_where *where)
{
	uint64_t offset;
	const char *symbol = symbol_of(where, arg, value, &offset);
	char text[VALUE_MAX];

	if (symbol) {
		format_safe(out, symbol);
		fprintf(out, "+0x%" PRIx64, offset);
		return;
	}
	format_value(arg, value, text, sizeof(text));
	fputs(text, out);
}

static void put_string(FILE *out, uint64_t locator, const struct format_where *where)
{
	struct piece piece = piece_of(where, locator);
	_cleanup_free_ char *text = piece.data ? copy_text(&piece) : NULL;

	if (!text) {
		fputs("(fault)", out);
		return;
	}
	putc('"', out);
	format_safe(out, text);
	fputs(piece.is_short ? "\"..." : "\"", out);
}

static void put_array(FILE *out, const struct trace_arg *arg, uint64_t locator, const struct format_where *where)
{
	struct piece piece = piece_of(where, locator);
	uint32_t count = piece.size / element_size(arg);

	if (!piece.data) {
		fputs("(fault)", out);
		return;
	}
	putc('{', out);
	for (uint32_t i = 0; i < count; i++) {
		if (i)
			putc(',', out);
		if (arg->format == TRACE_TEXT)
			put_string(out, element(arg, &piece, i), where);
		else
			put_word(out, arg, element(arg, &piece, i), where);
	}
	fputs(piece.is_short ? "...}" : "}", out);
}

static void put_bytes(FILE *out, uint64_t locator, const struct format_where *where)
{
	struct piece piece = piece_of(where, locator);

	if (!piece.data)
		fputs("(fault)", out);
	for (uint32_t i = 0; i < piece.size; i++)
		fprintf(out, "%02x", piece.data[i]);
	if (piece.is_short)
		fputs("...", out);
}

void format_arg(FILE *out, const struct trace_arg *arg, uint64_t word, const struct format_where *where)
{
	switch (arg->kind) {
	case TRACE_WORD:
		put_word(out, arg, word, where);
		return;
	case TRACE_STRING:
		put_string(out, word, where);
		return;
	case TRACE_ARRAY:
		put_array(out, arg, word, where);
		return;
	case TRACE_BYTES:
		put_bytes(out, word, where);
		return;
	}
}

size_t format_arg_text(const struct trace_arg *arg, uint64_t word, const struct format_where *where, char *text, size_t size)
{
	FILE *out = size ? fmemopen(text, size, "w") : NULL;

	if (size)
		text[0] = text[size - 1] = '\0';
	if (!out)
		return 0;
	setbuf(out, NULL); /* what does not fit fails at once, and nothing else does */
	format_arg(out, arg, word, where);
	fclose(out);
	text[size - 1] = '\0';
	return strlen(text);
}

/* ---- as JSON ---- */

static void json_char(FILE *out, uint8_t value)
{
	char text[3] = { (char)value };

	if (value >= 0x80) { /* the character of that number */
		text[0] = (char)(0xc0 | value >> 6);
		text[1] = (char)(0x80 | (value & 0x3f));
	}
	if (value)
		format_json_string(out, text);
	else
		fputs("\"\\u0000\"", out);
}

static void json_word(FILE *out, const struct trace_arg *arg, uint64_t value, const struct format_where *where)
{
	bool quoted = arg->format == TRACE_HEX || arg->format == TRACE_SYMBOL;
	uint64_t offset;
	const char *symbol = symbol_of(where, arg, value, &offset);
	char text[VALUE_MAX + 512];

	if (arg->format == TRACE_CHAR) {
		json_char(out, (uint8_t)value);
		return;
	}
	if (symbol)
		snprintf(text, sizeof(text), "%.512s+0x%" PRIx64, symbol, offset);
	else
		format_value(arg, value, text, sizeof(text));
	if (quoted)
		format_json_string(out, text);
	else if (arg->format == TRACE_FLOAT && strpbrk(text, "an")) /* JSON has neither nan nor inf */
		fprintf(out, "\"%s\"", text);
	else
		fputs(text, out);
}

static void json_text(FILE *out, uint64_t locator, const struct format_where *where)
{
	struct piece piece = piece_of(where, locator);
	_cleanup_free_ char *text = piece.data ? copy_text(&piece) : NULL;

	if (text)
		format_json_string(out, text);
	else
		fputs("null", out);
}

static void json_array(FILE *out, const struct trace_arg *arg, uint64_t locator, const struct format_where *where)
{
	struct piece piece = piece_of(where, locator);
	uint32_t count = piece.size / element_size(arg);

	if (!piece.data) {
		fputs("null", out);
		return;
	}
	for (uint32_t i = 0; i < count; i++) {
		putc(i ? ',' : '[', out);
		if (arg->format == TRACE_TEXT)
			json_text(out, element(arg, &piece, i), where);
		else
			json_word(out, arg, element(arg, &piece, i), where);
	}
	fputs(count ? "]" : "[]", out);
}

static void json_bytes(FILE *out, uint64_t locator, const struct format_where *where)
{
	struct piece piece = piece_of(where, locator);

	if (!piece.data) {
		fputs("null", out);
		return;
	}
	putc('"', out);
	for (uint32_t i = 0; i < piece.size; i++)
		fprintf(out, "%02x", piece.data[i]);
	putc('"', out);
}

void format_json_arg(FILE *out, const struct trace_arg *arg, uint64_t word, const struct format_where *where)
{
	switch (arg->kind) {
	case TRACE_WORD:
		json_word(out, arg, word, where);
		return;
	case TRACE_STRING:
		json_text(out, word, where);
		return;
	case TRACE_ARRAY:
		json_array(out, arg, word, where);
		return;
	case TRACE_BYTES:
		json_bytes(out, word, where);
		return;
	}
}

bool format_arg_is_short(const struct trace_arg *arg, uint64_t word)
{
	return arg->kind != TRACE_WORD && !(word & WIRE_LOCATOR_FAILED) && word & WIRE_LOCATOR_SHORT;
}
