/* SPDX-License-Identifier: MIT */
/*
 * Where the arguments of a probe lie in its samples. Writer, reader and the text of the formats all ask here, so they
 * cannot disagree: an argument has its own width and natural alignment, counted from the start of the raw data.
 */
#include <errno.h>
#include <stdlib.h>

#include "format/perf_layout.h"

static int shape_init(struct format_perf_shape *shape, struct format_perf_field *fields,
		      const struct trace_probe *probe)
{
	bool is_return = probe->kind == TRACE_RETURN;
	size_t end = FORMAT_PERF_RET_IP + (is_return ? sizeof(uint64_t) : 0);

	for (uint32_t i = 0; i < probe->nargs; i++) {
		uint8_t bits = probe->args[i].bits;

		if (bits != 8 && bits != 16 && bits != 32 && bits != 64)
			return -EINVAL;
		size_t bytes = bits / 8;
		size_t offset = base_align_up(end, bytes);

		if (offset + bytes > FORMAT_PERF_RECORD_MAX - FORMAT_PERF_RAW)
			return -E2BIG;
		fields[i] = (struct format_perf_field) { .offset = (uint16_t)offset,
							 .bytes = (uint8_t)bytes,
							 .is_signed = probe->args[i].format == TRACE_SIGNED };
		end = offset + bytes;
	}
	size_t size = base_align_up(FORMAT_PERF_RAW + end + is_return, 8);

	if (size > FORMAT_PERF_RECORD_MAX)
		return -E2BIG;
	*shape = (struct format_perf_shape) { .size = (uint16_t)size,
					      .raw = (uint16_t)(size - FORMAT_PERF_RAW),
					      .tail = is_return ? (uint16_t)end : 0,
					      .nargs = probe->nargs,
					      .fields = fields };
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
					  r == -EINVAL ? "an argument that is not 8, 16, 32 or 64 bits wide"
						       : "more arguments than a record of perf.data can hold");
		}
		fields += probes[i].nargs;
	}
	*ret = shapes;
	return 0;
}
