/* SPDX-License-Identifier: MIT */
/*
 * Arguments that are more than a word, in samples: strings and memory as __data_loc fields, as the kernel has them, arrays in place. Writing
 * bounds everything by the room there is, reading by the bytes of the sample: locators of the record and words of the file are input.
 *
 * The bytes that a reader hands out are the locators of all arrays of strings, then the raw data of the sample.
 */
#include <string.h>

#include "format/perf_layout.h"

/* ---- writing ---- */

struct long_writer {
	uint8_t *raw;
	size_t used, room; /* from the start of the raw data */
	size_t fault;      /* where the text for what could not be read is; 0: not there yet */
	const struct trace_record *record;
};

/* Of the record, without those of the user stack. */
static size_t record_bytes(const struct format_perf_shape *shape, const struct trace_probe *probe, const struct trace_record *record)
{
	uint64_t locator = shape->stack && record->nargs >= probe->nargs ? record->args[probe->nargs - 1] : 0;
	uint32_t stack = locator & WIRE_LOCATOR_FAILED ? 0 : wire_locator_bytes(locator);

	return record->size > stack ? record->size - stack : 0;
}

uint32_t format_perf_long_room(const struct format_perf_shape *shape, const struct trace_probe *probe,
			       const struct trace_record *record)
{
	size_t limit = FORMAT_PERF_RECORD_MAX - FORMAT_PERF_STACK_LEAST - 8 * (size_t)shape->nstrings; /* so that a reader's locators reach all of it */
	size_t size = base_align_up(shape->size + record_bytes(shape, probe, record) + shape->nlong + shape->nstrings + sizeof("(fault)"), 8);

	if (limit > FORMAT_PERF_RECORD_MAX || limit < shape->size)
		limit = shape->size;
	return (uint32_t)(size < limit ? size : limit);
}

/* The bytes that @locator names; NULL: there are none. */
static const uint8_t *locate(const struct trace_record *record, uint64_t locator, uint32_t *size)
{
	uint32_t offset = wire_locator_offset(locator);

	*size = wire_locator_bytes(locator);
	if (!locator || locator & WIRE_LOCATOR_FAILED || !record->bytes || offset > record->size || *size > record->size - offset)
		return NULL;
	return record->bytes + offset;
}

/* Readers other than ours look at the offset only: no bytes, but there is a text. */
static void put_fault(struct long_writer *w, uint8_t *word)
{
	static const char text[] = "(fault)";
	uint32_t location;

	if (!w->fault && w->room - w->used >= sizeof(text)) {
		memcpy(w->raw + w->used, text, sizeof(text));
		w->fault = w->used;
		w->used += sizeof(text);
	}
	location = (uint32_t)w->fault;
	memcpy(word, &location, sizeof(location));
}

/* A __data_loc word and its bytes, a text with its NUL; returns the state. */
static uint32_t put_located(struct long_writer *w, uint8_t *word, uint64_t locator, bool is_text)
{
	uint32_t size;
	const uint8_t *data = locate(w->record, locator, &size);
	uint32_t state = locator & WIRE_LOCATOR_SHORT ? FORMAT_PERF_STATE_SHORT : 0;
	size_t left = w->room - w->used;
	uint32_t location;

	if (!data || left < is_text) {
		put_fault(w, word);
		return FORMAT_PERF_STATE_FAILED;
	}
	if (is_text)
		size = (uint32_t)strnlen((const char *)data, size);
	if (left - is_text < size) {
		state = FORMAT_PERF_STATE_SHORT;
		size = (uint32_t)(left - is_text);
	}
	memcpy(w->raw + w->used, data, size);
	if (is_text)
		w->raw[w->used + size] = 0;
	size += is_text;
	location = (uint32_t)w->used | size << 16;
	memcpy(word, &location, sizeof(location));
	w->used += size;
	return state;
}

static uint32_t put_strings(struct long_writer *w, const struct format_perf_field *field, uint64_t locator)
{
	uint32_t size;
	const uint8_t *data = locate(w->record, locator, &size);
	uint32_t state = 0;

	for (uint32_t i = 0; i < field->count; i++) {
		uint64_t element = 0;

		if (data && 8 * (size_t)(i + 1) <= size)
			memcpy(&element, data + 8 * (size_t)i, sizeof(element));
		state |= put_located(w, w->raw + field->offset + 4 * (size_t)i, element, true) & FORMAT_PERF_STATE_SHORT;
	}
	return data ? state : FORMAT_PERF_STATE_FAILED;
}

static uint32_t put_array(struct long_writer *w, const struct format_perf_field *field, uint64_t locator)
{
	uint32_t size;
	const uint8_t *data = locate(w->record, locator, &size);
	uint32_t most = field->bytes * field->count;

	if (!data)
		return FORMAT_PERF_STATE_FAILED;
	size = size < most ? size : most;
	memcpy(w->raw + field->offset, data, size);
	return size | (locator & WIRE_LOCATOR_SHORT ? FORMAT_PERF_STATE_SHORT : 0);
}

uint32_t format_perf_long_put(const struct format_perf_shape *shape, const struct trace_probe *probe,
			      const struct trace_record *record, uint8_t *raw, uint32_t room)
{
	struct long_writer w = { .raw = raw, .used = shape->end, .room = room, .record = record };

	for (uint32_t i = 0; i < shape->nargs; i++) {
		const struct format_perf_field *field = &shape->fields[i];
		uint64_t locator = i < record->nargs ? record->args[i] : 0;
		uint32_t state;

		if (!field->state || trace_is_stack(&probe->args[i]))
			continue;
		if (!field->is_located)
			state = put_array(&w, field, locator);
		else if (probe->args[i].kind == TRACE_ARRAY)
			state = put_strings(&w, field, locator);
		else
			state = put_located(&w, raw + field->offset, locator, probe->args[i].kind == TRACE_STRING);
		memcpy(raw + field->state, &state, sizeof(state));
	}
	return (uint32_t)w.used;
}

/* ---- reading ---- */

struct long_reader {
	const uint8_t *raw;
	uint32_t size;
	uint32_t before;  /* bytes in front of the raw data */
	uint8_t *words;   /* of arrays of strings: where the next locator goes, and its offset */
	uint32_t words_at;
};

static uint64_t take_located(const struct long_reader *r, const uint8_t *word, uint32_t state)
{
	uint32_t location;
	uint32_t at, size;

	memcpy(&location, word, sizeof(location));
	at = location & 0xffff;
	size = location >> 16;
	if (state & FORMAT_PERF_STATE_FAILED || at > r->size || size > r->size - at || r->before + at > 0xffff)
		return WIRE_LOCATOR_FAILED;
	return WIRE_LOCATOR(r->before + at, size) | (state & FORMAT_PERF_STATE_SHORT ? WIRE_LOCATOR_SHORT : 0);
}

static uint64_t take_strings(struct long_reader *r, const struct format_perf_field *field, uint32_t state)
{
	uint32_t at = r->words_at;

	if (state & FORMAT_PERF_STATE_FAILED)
		return WIRE_LOCATOR_FAILED;
	for (uint32_t i = 0; i < field->count; i++) {
		const uint8_t *word = r->raw + field->offset + 4 * (size_t)i;
		uint64_t locator = take_located(r, word, 0);

		if (!wire_locator_bytes(locator))
			locator = WIRE_LOCATOR_FAILED;
		memcpy(r->words, &locator, sizeof(locator));
		r->words += 8;
		r->words_at += 8;
	}
	return WIRE_LOCATOR(at, 8 * field->count) | (state & FORMAT_PERF_STATE_SHORT ? WIRE_LOCATOR_SHORT : 0);
}

static uint64_t take_array(const struct long_reader *r, const struct format_perf_field *field, uint32_t state)
{
	uint32_t most = field->bytes * field->count;
	uint32_t size = state & FORMAT_PERF_STATE_BYTES;

	if (state & FORMAT_PERF_STATE_FAILED || r->before + field->offset > 0xffff)
		return WIRE_LOCATOR_FAILED;
	return WIRE_LOCATOR(r->before + field->offset, size < most ? size : most) |
	       (state & FORMAT_PERF_STATE_SHORT ? WIRE_LOCATOR_SHORT : 0);
}

void format_perf_long_take(const struct format_perf_shape *shape, const struct trace_probe *probe, const uint8_t *raw,
			   uint32_t size, uint8_t *bytes, uint64_t *values)
{
	struct long_reader r = { .raw = raw, .size = size, .before = 8 * shape->nstrings, .words = bytes };

	for (uint32_t i = 0; i < shape->nargs; i++) {
		const struct format_perf_field *field = &shape->fields[i];
		uint32_t state;

		if (!field->state || trace_is_stack(&probe->args[i]))
			continue;
		memcpy(&state, raw + field->state, sizeof(state));
		if (!field->is_located)
			values[i] = take_array(&r, field, state);
		else if (probe->args[i].kind == TRACE_ARRAY)
			values[i] = take_strings(&r, field, state);
		else
			values[i] = take_located(&r, raw + field->offset, state);
	}
	memcpy(bytes + r.before, raw, size);
}
