/* SPDX-License-Identifier: MIT */
/*
 * What records of a probe may look like, and whether one does. What a probe's row says is ours, what a record says the target's: sizes are
 * compared with the row, and a locator may lead nowhere but behind the header of the very record it stands in (short texts may stand in
 * the fixed part).
 */
#include "trace/lane.h"

#define ERRNO_MOST 4095

uint32_t lane_largest(const struct trace_probe *probe)
{
	uint32_t most = probe->record_most > probe->record_size ? probe->record_most : probe->record_size;

	return most < WIRE_LONG_MAX ? most : WIRE_LONG_MAX;
}

static bool has_locators(const struct trace_probe *probe, uint32_t nargs)
{
	for (uint32_t i = 0; probe->args && i < nargs; i++)
		if (probe->args[i].kind != TRACE_WORD)
			return true;
	return false;
}

struct lane_shape lane_shape_lookup(const struct lane_rules *rules, uint32_t id)
{
	const struct trace_probe *probe = &rules->probes[id];
	uint32_t size = probe->record_size;
	uint32_t words = probe->kind == TRACE_RETURN ? 2 : probe->kind == TRACE_ENTRY ? 1 : 0;
	uint32_t nargs = probe->nargs;
	struct lane_shape shape;
	uint32_t room;

	if (size < sizeof(struct wire_record) + 8 * words || size > WIRE_RECORD_MAX || size % 8)
		return (struct lane_shape) { 0 };
	room = (uint32_t)((size - sizeof(struct wire_record)) / sizeof(uint64_t) - words);
	if (nargs > room)
		nargs = room;
	shape = (struct lane_shape) {
		.size = (uint16_t)size,
		.most = (uint16_t)lane_largest(probe),
		.nargs = (uint8_t)nargs,
		.words = (uint8_t)words,
		.has_locators = has_locators(probe, nargs),
	};
	rules->shapes[id] = shape;
	return shape;
}

static bool locator_fits(uint64_t locator, uint32_t size)
{
	uint32_t offset = wire_locator_offset(locator);
	uint32_t bytes = wire_locator_bytes(locator);

	if (locator & WIRE_LOCATOR_FAILED)
		return locator == WIRE_LOCATOR_FAILURE(bytes) && bytes && bytes <= ERRNO_MOST;
	if (!locator)
		return true;
	return (locator & ~WIRE_LOCATOR_SHORT) == WIRE_LOCATOR(offset, bytes) && offset >= sizeof(struct wire_record) && offset <= size &&
	       bytes <= size - offset;
}

/* An array of texts: its elements are locators. */
static bool elements_fit(const struct wire_record *record, uint64_t locator)
{
	const uint8_t *at = (const uint8_t *)record + wire_locator_offset(locator);
	uint32_t count = locator & WIRE_LOCATOR_FAILED ? 0 : wire_locator_bytes(locator) / sizeof(uint64_t);

	for (uint32_t i = 0; i < count; i++) {
		uint64_t element;

		memcpy(&element, at + i * sizeof(element), sizeof(element));
		if (!locator_fits(element, record->size))
			return false;
	}
	return true;
}

static bool argument_fits(const struct trace_arg *arg, const struct wire_record *record, uint64_t word)
{
	if (arg->kind == TRACE_WORD)
		return true;
	return locator_fits(word, record->size) &&
	       (arg->kind != TRACE_ARRAY || arg->format != TRACE_TEXT || elements_fit(record, word));
}

bool lane_locators_fit(const struct lane_rules *rules, struct lane_shape shape, const struct wire_record *record)
{
	const uint64_t *words = (const uint64_t *)(record + 1) + shape.words;
	const struct trace_arg *args = rules->probes[record->id].args;

	if (!shape.has_locators || record->flags & WIRE_RECORD_LEFT_OUT)
		return true;
	for (uint32_t i = 0; i < shape.nargs; i++)
		if (!argument_fits(&args[i], record, words[i]))
			return false;
	return true;
}
