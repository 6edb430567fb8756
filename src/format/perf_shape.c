/* SPDX-License-Identifier: MIT */
/*
 * Where the arguments of a probe lie in its samples. Writer, reader and the text of the formats all ask here, so they
 * cannot disagree: an argument has its own width and natural alignment, counted from the start of the raw data.
 */
#include <errno.h>
#include <stdlib.h>

#include "format/perf_layout.h"

static size_t element_bytes(const struct trace_arg *arg)
{
	return arg->bits <= 8 ? 1 : arg->bits <= 16 ? 2 : arg->bits <= 32 ? 4 : 8;
}

/* Of an argument of any kind, but for its place; false: there is no such argument. */
static bool field_init(struct format_perf_field *field, const struct trace_arg *arg)
{
	bool is_word = arg->kind == TRACE_WORD;
	bool is_located = arg->kind == TRACE_STRING || arg->kind == TRACE_BYTES || arg->format == TRACE_TEXT;

	if (trace_is_stack(arg)) { /* no field, just a state */
		*field = (struct format_perf_field) { 0 };
		return true;
	}
	if (!is_located && (arg->bits < 1 || arg->bits > 64))
		return false;
	if (arg->kind == TRACE_ARRAY && (arg->count < 1 || arg->count > FORMAT_PERF_RECORD_MAX))
		return false;
	*field = (struct format_perf_field) { .bytes = is_located ? 4 : (uint8_t)element_bytes(arg),
					      .is_signed = arg->format == TRACE_SIGNED,
					      .is_located = is_located && !is_word,
					      .count = arg->kind == TRACE_ARRAY ? arg->count : 1 };
	return true;
}

/* Offsets of the fields from @end on; the new end, or 0 when they do not fit. */
static size_t place_fields(struct format_perf_shape *shape, struct format_perf_field *fields, size_t end)
{
	for (uint32_t i = 0; i < shape->nargs; i++) {
		size_t offset = fields[i].bytes ? base_align_up(end, fields[i].bytes) : end;

		end = offset + (size_t)fields[i].bytes * fields[i].count;
		if (end > FORMAT_PERF_RECORD_MAX - FORMAT_PERF_RAW)
			return 0;
		fields[i].offset = (uint16_t)offset;
	}
	if (!shape->nlong)
		return end;
	end = base_align_up(end, 4);
	shape->states = (uint16_t)end;
	for (uint32_t i = 0; i < shape->nargs; i++) {
		if (!fields[i].state)
			continue;
		fields[i].state = (uint16_t)end;
		end += 4;
		if (end > FORMAT_PERF_RECORD_MAX - FORMAT_PERF_RAW)
			return 0;
	}
	return end;
}

static int shape_init(struct format_perf_shape *shape, struct format_perf_field *fields,
		      const struct trace_probe *probe)
{
	bool is_return = probe->kind == TRACE_RETURN;
	size_t end = FORMAT_PERF_RET_IP + (is_return ? sizeof(uint64_t) : 0);

	*shape = (struct format_perf_shape) { .nargs = probe->nargs, .fields = fields };
	for (uint32_t i = 0; i < probe->nargs; i++) {
		const struct trace_arg *arg = &probe->args[i];

		if (!field_init(&fields[i], arg))
			return -EINVAL;
		if (trace_is_stack(arg) && i + 1 < probe->nargs)
			return -EINVAL;
		fields[i].state = arg->kind != TRACE_WORD; /* until they have their place */
		shape->nlong += arg->kind != TRACE_WORD;
		shape->nstrings += arg->kind == TRACE_ARRAY && arg->format == TRACE_TEXT ? arg->count : 0;
	}
	end = place_fields(shape, fields, end);
	size_t frame = base_align_up(end + is_return, 8); /* where readers that know of none see padding */
	bool has_frame = probe->kind != TRACE_PLACE && !probe->no_frames;
	size_t size = base_align_up(FORMAT_PERF_RAW + (has_frame ? frame + 8 : end + is_return), 8);

	if (!end || size > FORMAT_PERF_RECORD_MAX - FORMAT_PERF_STACK_LEAST)
		return -E2BIG;
	if (probe->nargs && trace_is_stack(&probe->args[probe->nargs - 1]))
		shape->stack = fields[probe->nargs - 1].state;
	shape->size = (uint16_t)size;
	shape->raw = (uint16_t)(size - FORMAT_PERF_RAW);
	shape->tail = is_return ? (uint16_t)end : 0;
	shape->frame = has_frame ? (uint16_t)frame : 0;
	shape->end = (uint16_t)(size - FORMAT_PERF_RAW);
	return 0;
}

int format_perf_shapes(const struct trace_probe *probes, uint32_t nprobes, struct format_perf_shape **ret,
		       struct utap_error *err)
{
	uint64_t nfields = 0;

	if (nprobes > FORMAT_PERF_PROBES_MAX)
		return base_error(err, -E2BIG, UTAP_ERROR_REFUSED,
				  "%u probes are more than the %d that a perf.data can "
				  "tell apart; record fewer at a time",
				  nprobes, FORMAT_PERF_PROBES_MAX);
	for (uint32_t i = 0; i < nprobes; i++)
		nfields += probes[i].nargs;
	/* One block: the shapes, then their fields. */
	struct format_perf_shape *shapes =
	    calloc(1, nprobes * sizeof(*shapes) + nfields * sizeof(struct format_perf_field) + 1);

	if (!shapes)
		return base_error(err, -ENOMEM, UTAP_ERROR_SYSTEM, "no memory for the layout of %u probes", nprobes);
	struct format_perf_field *fields = (struct format_perf_field *)(shapes + nprobes);

	for (uint32_t i = 0; i < nprobes; i++) {
		int r = shape_init(&shapes[i], fields, &probes[i]);

		if (r < 0) {
			free(shapes);
			return base_error(err, r, UTAP_ERROR_SYSTEM, "probe %s:%s has %s", probes[i].group,
					  probes[i].event,
					  r == -EINVAL ? "an argument of a width or length that does not exist"
						       : "more arguments than a record of perf.data can hold");
		}
		fields += probes[i].nargs;
	}
	*ret = shapes;
	return 0;
}
