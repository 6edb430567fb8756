/* SPDX-License-Identifier: MIT */
/*
 * A table of functions: how often each was called, how long in all (calls inside of calls of the same function count
 * once), how long without the probed functions that it called, and how the durations of single calls are spread. Calls
 * that were abandoned, or were open at the end, have no duration: they are told beside.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/convert_inside.h"
#include "format/format.h"
#include "trace/histogram.h"


/* By id of the entries. */
struct function {
	struct trace_histogram *histogram; /* NULL: not one whole call */
	uint64_t total_ns, self_ns;
	uint64_t entered, tailed, abandoned, open, unpaired, lost;
};

struct functions {
	struct function *rows;
	size_t count, cap;
};

/* ---- counting ---- */

static int begin(struct format_convert *convert, struct utap_error *err)
{
	convert->state = calloc(1, sizeof(struct functions));
	return convert->state ? 0 : base_error(err, -ENOMEM, UTAP_ERROR_SYSTEM, "no memory to sum up the calls");
}

static int learn_probes(struct format_convert *convert)
{
	struct functions *f = convert->state;

	if (convert->nprobes <= f->count)
		return 0;
	if (base_grow(&f->rows, &f->cap, convert->nprobes, sizeof(*f->rows)))
		return -ENOMEM;
	memset(f->rows + f->count, 0, (convert->nprobes - f->count) * sizeof(*f->rows));
	f->count = convert->nprobes;
	return 0;
}

static void release(struct format_convert *convert)
{
	struct functions *f = convert->state;

	for (size_t i = 0; f && i < f->count; i++)
		free(f->rows[i].histogram);
	if (f)
		free(f->rows);
	free(f);
}

static int enter(struct format_convert *convert, const struct format_event *event, struct format_open *call)
{
	struct functions *f = convert->state;

	(void)call;
	f->rows[event->record->id].entered++;
	return 0;
}

/* Not one of the calls around it is of the same function. */
static bool is_outermost(const struct format_leave *leave)
{
	for (size_t i = leave->thread->nopen - 1; i-- > 0;)
		if (leave->thread->open[i].id == leave->call->id)
			return false;
	return true;
}

static int leave(struct format_convert *convert, const struct format_leave *leave)
{
	struct functions *f = convert->state;
	struct function *row = &f->rows[leave->call->id];
	uint64_t ns = leave->end_ns - leave->call->start_ns, inside = leave->call->inside_ns;

	if (leave->thread->nopen > 1)
		leave->thread->open[leave->thread->nopen - 2].inside_ns += ns;
	if (!leave->exit) {
		row->abandoned += leave->how == FORMAT_ABANDONED;
		row->open += leave->how == FORMAT_STILL_OPEN;
		return 0;
	}
	if (!row->histogram)
		row->histogram = calloc(1, sizeof(*row->histogram));
	if (!row->histogram)
		return -ENOMEM;
	trace_histogram_add(row->histogram, ns);
	row->tailed += leave->how == FORMAT_TAILED;
	row->self_ns += ns > inside ? ns - inside : 0;
	row->total_ns += is_outermost(leave) ? ns : 0;
	return 0;
}

static int record(struct format_convert *convert, const struct format_event *event)
{
	struct functions *f = convert->state;
	uint32_t id = format_calls_entry(convert->calls, event->probe, event->record->id);

	if (id != UINT32_MAX && id != event->record->id)
		f->rows[id].unpaired++;
	else if (id != UINT32_MAX)
		f->rows[id].open++; /* too deep to be followed */
	return 0;
}

static int lost(struct format_convert *convert, uint32_t id, uint64_t lost, uint64_t time_ns)
{
	struct functions *f = convert->state;
	uint32_t entry = format_calls_entry(convert->calls, &convert->probes[id], id);

	(void)time_ns;
	if (entry != UINT32_MAX)
		f->rows[entry].lost += lost;
	return 0;
}

/* ---- order ---- */

enum sort_key { BY_TOTAL, BY_SELF, BY_CALLS, BY_MEAN, BY_P50, BY_P99, BY_MAX, BY_NAME };
static const char *const sort_names[] = { "total", "self", "calls", "mean", "p50", "p99", "max", "name" };

const char *format_convert_sort(size_t index)
{
	return index < sizeof(sort_names) / sizeof(sort_names[0]) ? sort_names[index] : NULL;
}

static enum sort_key key_of(const char *name)
{
	for (size_t i = 0; name && i < sizeof(sort_names) / sizeof(sort_names[0]); i++)
		if (strcmp(name, sort_names[i]) == 0)
			return (enum sort_key)i;
	return BY_TOTAL;
}

static const struct trace_histogram none;

static const struct trace_histogram *histogram_of(const struct function *row)
{
	return row->histogram ? row->histogram : &none;
}

static uint64_t mean(const struct trace_histogram *h)
{
	return h->count ? h->sum / h->count : 0;
}

static uint64_t weight(const struct function *row, enum sort_key key)
{
	const struct trace_histogram *h = histogram_of(row);

	switch (key) {
	case BY_TOTAL:
	case BY_NAME:
		return row->total_ns;
	case BY_SELF:
		return row->self_ns;
	case BY_CALLS:
		return h->count;
	case BY_MEAN:
		return mean(h);
	case BY_P50:
		return trace_histogram_quantile(h, 0.5);
	case BY_P99:
		return trace_histogram_quantile(h, 0.99);
	case BY_MAX:
		return h->most;
	}
	return 0;
}

struct ranked {
	uint64_t weight;
	const char *name; /* NULL: not by name */
	uint32_t id;
};

/* The most first; names in the order of bytes. */
static int compare(const void *left, const void *right)
{
	const struct ranked *a = left, *b = right;
	int order = a->name ? strcmp(a->name, b->name) : 0;

	if (order)
		return order;
	if (a->weight != b->weight)
		return a->weight > b->weight ? -1 : 1;
	return a->id < b->id ? -1 : a->id > b->id;
}

static bool is_seen(const struct function *row)
{
	return row->entered || row->unpaired || row->lost || row->open;
}

/* Functions that were called, heap. */
static struct ranked *rank(const struct format_convert *convert, size_t *ret)
{
	const struct functions *f = convert->state;
	enum sort_key key = key_of(convert->options.sort);
	struct ranked *list = calloc(f->count + 1, sizeof(*list));

	*ret = 0;
	for (uint32_t id = 0; list && id < f->count; id++) {
		if (!is_seen(&f->rows[id]))
			continue;
		list[(*ret)++] =
		    (struct ranked) { .weight = weight(&f->rows[id], key),
				      .name = key == BY_NAME ? format_function_name(&convert->probes[id]) : NULL,
				      .id = id };
	}
	if (list)
		qsort(list, *ret, sizeof(*list), compare);
	return list;
}

/* ---- text ---- */

/* What the columns leave out, and only where there is something. */
static void print_rest(FILE *out, const struct function *row)
{
	const struct {
		uint64_t count;
		const char *text;
	} parts[] = {
		{ row->tailed, "of the calls ended by tail calls" },
		{ row->abandoned, "more were abandoned" },
		{ row->open, "more were not seen to end" },
		{ row->unpaired, "more ended whose entry was not seen" },
		{ row->lost, "records were lost" },
	};
	const char *before = "              ";

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (!parts[i].count)
			continue;
		fprintf(out, "%s%" PRIu64 " %s", before, parts[i].count, parts[i].text);
		before = "; ";
	}
	if (before[0] == ';')
		putc('\n', out);
}

static int print_text(struct format_convert *convert, const struct ranked *list, size_t count)
{
	const struct functions *f = convert->state;
	FILE *out = convert->out;

	fprintf(out, "%12s %11s %11s %11s %11s %11s %11s  %s\n", "CALLS", "TOTAL", "SELF", "MEAN", "P50", "P99", "MAX",
		"FUNCTION");
	for (size_t i = 0; i < count; i++) {
		const struct function *row = &f->rows[list[i].id];
		const struct trace_histogram *h = histogram_of(row);

		fprintf(out, "%12" PRIu64, h->count);
		format_duration_column(out, row->total_ns);
		format_duration_column(out, row->self_ns);
		format_duration_column(out, mean(h));
		format_duration_column(out, trace_histogram_quantile(h, 0.5));
		format_duration_column(out, trace_histogram_quantile(h, 0.99));
		format_duration_column(out, h->most);
		fprintf(out, "  %s\n",
			format_clean(&convert->text, format_function_name(&convert->probes[list[i].id]), "", ""));
		print_rest(out, row);
		if (convert->options.verbose)
			format_bars(out, h);
	}
	if (!count)
		fputs("# not one call: functions have to be recorded with their returns\n", out);
	return convert->text.error;
}

/* ---- JSON ---- */

static void print_json(struct format_convert *convert, const struct ranked *list, size_t count)
{
	const struct functions *f = convert->state;
	FILE *out = convert->out;

	fputs("{\"functions\":[", out);
	for (size_t i = 0; i < count; i++) {
		const struct trace_probe *probe = &convert->probes[list[i].id];
		const struct function *row = &f->rows[list[i].id];
		const struct trace_histogram *h = histogram_of(row);

		fprintf(out, "%s{\"event\":", i ? "," : "");
		format_json_string(out, probe->event);
		fputs(",\"symbol\":", out);
		format_json_string(out, probe->symbol ? probe->symbol : "");
		fputs(",\"file\":", out);
		format_json_string(out, probe->path);
		fprintf(out,
			",\"offset\":%" PRIu64 ",\"calls\":%" PRIu64 ",\"total_ns\":%" PRIu64 ",\"self_ns\":%" PRIu64
			",\"min_ns\":%" PRIu64 ",\"mean_ns\":%" PRIu64 ",\"p50_ns\":%" PRIu64 ",\"p99_ns\":%" PRIu64
			",\"max_ns\":%" PRIu64,
			probe->offset, h->count, row->total_ns, row->self_ns, h->least, mean(h),
			trace_histogram_quantile(h, 0.5), trace_histogram_quantile(h, 0.99), h->most);
		fprintf(out,
			",\"tail_calls\":%" PRIu64 ",\"abandoned\":%" PRIu64 ",\"open\":%" PRIu64
			",\"unpaired\":%" PRIu64 ",\"lost\":%" PRIu64 "}",
			row->tailed, row->abandoned, row->open, row->unpaired, row->lost);
	}
	fputs("]}\n", out);
}

static int end(struct format_convert *convert)
{
	size_t count;
	_cleanup_free_ struct ranked *list = rank(convert, &count);

	if (!list)
		return -ENOMEM;
	if (!convert->options.json)
		return print_text(convert, list, count);
	print_json(convert, list, count);
	return 0;
}

const struct format_kind format_kind_functions = {
	.name = FORMAT_REPORT_FUNCTIONS,
	.is_report = true,
	.has_calls = true,
	.begin = begin,
	.probes = learn_probes,
	.record = record,
	.enter = enter,
	.leave = leave,
	.lost = lost,
	.end = end,
	.release = release,
};
