/* SPDX-License-Identifier: MIT */
/*
 * Arguments of records as values: the one place where the formats of format_convert_*() look into a record. A locator
 * is believed only as far as it lies inside the record.
 *
 * Source: the kernel's uprobetracer.rst for how values look.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "format/convert_inside.h"
#include "format/format.h"
#include "format/utf8.h"

#define VALUE_MAX 64

static uint64_t cut(uint64_t value, unsigned bits)
{
	return bits && bits < 64 ? value & ((1ULL << bits) - 1) : value;
}

static int64_t extend(uint64_t value, unsigned bits)
{
	unsigned spare = bits && bits < 64 ? 64 - bits : 0;

	return (int64_t)(value << spare) >> spare;
}

static void get_word(const struct trace_arg *arg, uint64_t word, struct format_field *ret)
{
	float single;

	switch (arg->format) {
	case TRACE_SIGNED:
		ret->kind = FORMAT_SIGNED;
		ret->i = extend(word, arg->bits);
		return;
	case TRACE_FLOAT:
		ret->kind = FORMAT_FLOATING;
		memcpy(&ret->f, &word, sizeof(ret->f));
		memcpy(&single, &word, sizeof(single));
		if (arg->bits == 32)
			ret->f = (double)single;
		return;
	case TRACE_HEX:
	case TRACE_SYMBOL:
		ret->kind = FORMAT_HEX;
		ret->u = cut(word, arg->bits);
		return;
	case TRACE_UNSIGNED:
	case TRACE_CHAR:
	case TRACE_TEXT:
	case TRACE_CALLERS:
	case TRACE_RAW_STACK:
		break;
	}
	ret->kind = FORMAT_UNSIGNED;
	ret->u = cut(word, arg->bits);
}

/* Bytes of the record that @locator names; what is outside of it counts as unread. */
static void get_bytes(const struct trace_record *record, uint64_t locator, struct format_field *ret)
{
	uint32_t offset = wire_locator_offset(locator), size = wire_locator_bytes(locator);

	if (locator & WIRE_LOCATOR_FAILED || !record->bytes || offset > record->size || size > record->size - offset) {
		ret->kind = FORMAT_FAULT;
		return;
	}
	ret->data = record->bytes + offset;
	ret->size = size;
	ret->is_short = locator & WIRE_LOCATOR_SHORT;
	ret->record = record;
}

static void get_text(const struct trace_record *record, uint64_t locator, struct format_field *ret)
{
	ret->kind = FORMAT_TEXT;
	get_bytes(record, locator, ret);
	if (ret->kind == FORMAT_TEXT)
		ret->size = (uint32_t)strnlen((const char *)ret->data, ret->size);
}

void format_field_get(const struct trace_probe *probe, const struct trace_record *record, uint32_t index,
		      struct format_field *ret)
{
	const struct trace_arg *arg = &probe->args[index];

	*ret = (struct format_field) { .kind = FORMAT_UNKNOWN };
	if (index >= record->nargs || (arg->is_result && record->flags & WIRE_RECORD_TAIL))
		return;
	switch (arg->kind) {
	case TRACE_WORD:
		get_word(arg, record->args[index], ret);
		return;
	case TRACE_STRING:
		get_text(record, record->args[index], ret);
		return;
	case TRACE_ARRAY:
		ret->kind = FORMAT_ARRAY;
		get_bytes(record, record->args[index], ret);
		return;
	case TRACE_BYTES:
		ret->kind = FORMAT_BYTES;
		get_bytes(record, record->args[index], ret);
		return;
	}
}

static uint32_t element_size(const struct trace_arg *arg)
{
	return arg->bits <= 8 ? 1 : arg->bits <= 16 ? 2 : arg->bits <= 32 ? 4 : 8;
}

uint32_t format_field_count(const struct trace_arg *arg, const struct format_field *array)
{
	return array->size / element_size(arg);
}

void format_field_element(const struct trace_arg *arg, const struct format_field *array, uint32_t index,
			  struct format_field *ret)
{
	uint32_t size = element_size(arg);
	uint64_t word = 0;

	memcpy(&word, array->data + (size_t)index * size, size);
	*ret = (struct format_field) { .kind = FORMAT_UNKNOWN };
	if (arg->format == TRACE_TEXT)
		get_text(array->record, word, ret);
	else
		get_word(arg, word, ret);
}

/* ---- as text ---- */

static void add(struct format_buffer *out, const char *text)
{
	format_buffer_add(out, text, strlen(text));
}

static void add_word(struct format_buffer *out, const struct trace_arg *arg, const struct format_field *field)
{
	char text[VALUE_MAX] = "?";

	if (field->kind == FORMAT_FLOATING) /* reads back as the same number */
		snprintf(text, sizeof(text), "%.*g", arg->bits == 32 ? 9 : 17, field->f);
	else
		format_value(arg, field->u, text, sizeof(text));
	add(out, text);
}

static void add_hex(struct format_buffer *out, const struct format_field *field)
{
	static const char digits[] = "0123456789abcdef";

	for (uint32_t i = 0; i < field->size; i++) {
		char pair[2] = { digits[field->data[i] >> 4], digits[field->data[i] & 15] };

		format_buffer_add(out, pair, sizeof(pair));
	}
}

static void add_array(struct format_buffer *out, const struct trace_arg *arg, const struct format_field *field)
{
	struct trace_arg element = *arg;

	element.kind = TRACE_WORD;
	add(out, "{");
	for (uint32_t i = 0; i < format_field_count(arg, field); i++) {
		struct format_field value;

		format_field_element(arg, field, i, &value);
		if (i)
			add(out, ",");
		format_field_text(out, &element, &value);
	}
	add(out, field->is_short ? ",..}" : "}");
}

void format_field_text(struct format_buffer *out, const struct trace_arg *arg, const struct format_field *field)
{
	switch (field->kind) {
	case FORMAT_UNKNOWN:
		add(out, "?");
		break;
	case FORMAT_FAULT:
		add(out, "(fault)");
		break;
	case FORMAT_UNSIGNED:
	case FORMAT_SIGNED:
	case FORMAT_HEX:
	case FORMAT_FLOATING:
		add_word(out, arg, field);
		break;
	case FORMAT_TEXT:
		add(out, "\"");
		format_buffer_add(out, field->data, field->size);
		add(out, field->is_short ? "\".." : "\"");
		break;
	case FORMAT_ARRAY:
		add_array(out, arg, field);
		break;
	case FORMAT_BYTES:
		add_hex(out, field);
		add(out, field->is_short ? ".." : "");
		break;
	}
	format_buffer_zero(out, 1);
	if (out->size && !out->error)
		out->size--; /* the terminator stays behind the text */
}

const char *format_field_string(struct format_buffer *out, const struct format_field *field)
{
	out->size = 0;
	if (field->kind == FORMAT_BYTES)
		add_hex(out, field);
	else
		format_buffer_add(out, field->data, field->size);
	format_buffer_zero(out, 1);
	return out->error ? "" : (const char *)out->data;
}

const char *format_clean(struct format_buffer *out, const char *text, const char *keep, const char *forbid)
{
	out->size = 0;
	for (;;) {
		const char *start = text;
		uint32_t code = format_utf8_next(&text);

		if (!code)
			break;
		if (code == FORMAT_UTF8_INVALID)
			add(out, "\357\277\275");
		else if (format_utf8_is_control(code) && !(code < 0x80 && strchr(keep, (int)code)))
			add(out, "?");
		else if (code < 0x80 && strchr(forbid, (int)code))
			add(out, "_");
		else
			format_buffer_add(out, start, (size_t)(text - start));
	}
	format_buffer_zero(out, 1);
	return out->error ? "" : (const char *)out->data;
}
