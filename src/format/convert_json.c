/* SPDX-License-Identifier: MIT */
/* JSON lines: what utap trace --json prints, and a line {"lost":N,"event":..} for each loss. */
#include <inttypes.h>

#include "format/convert_inside.h"
#include "format/format.h"

static int record(struct format_convert *convert, const struct format_event *event)
{
	const struct format_convert_options *options = &convert->options;
	struct format_call call = { .symbol = options->symbol,
				    .symbol_arg = options->symbol_arg,
				    .unwind = options->unwind,
				    .unwind_arg = options->unwind_arg };
	struct format_symbol caller;

	if (event->record->caller && format_convert_symbol(convert, event->record, event->record->caller, &caller)) {
		call.caller = caller.name;
		call.caller_offset = caller.offset;
	}
	format_json_call(convert->out, event->probe, event->record, &call, event->thread->comm[0] ? event->thread->comm : NULL);
	return 0;
}

static int lost(struct format_convert *convert, uint32_t id, uint64_t lost, uint64_t time_ns)
{
	fprintf(convert->out, "{\"time_ns\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"group\":", time_ns, lost);
	format_json_string(convert->out, convert->probes[id].group);
	fputs(",\"event\":", convert->out);
	format_json_string(convert->out, convert->probes[id].event);
	fputs("}\n", convert->out);
	return 0;
}

const struct format_kind format_kind_jsonl = {
	.name = "jsonl",
	.summary = "JSON, an object on a line for each hit",
	.record = record,
	.lost = lost,
};
