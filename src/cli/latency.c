/* SPDX-License-Identifier: MIT */
/*
 * A histogram for each function that was called, made at its first call. Only calls whose both ends were seen count as calls; how many others
 * there were is said beside them.
 */
#include "cli/latency.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/calls.h"
#include "format/format.h"
#include "trace/histogram.h"


struct row {
	struct trace_histogram *histogram; /* NULL: no call yet */
	uint64_t tailed, abandoned, unpaired;
};

struct latency {
	struct cli *cli;
	struct trace_frames *frames;
	struct row *rows; /* by id of the returns */
	size_t nrows, rows_cap;
};

static double seconds(const struct cli *cli) { return (double)(cli->ended_ns - cli->started_ns) / 1e9; }

/* ---- counting ---- */

static int row_of(struct latency *latency, uint32_t id, struct row **ret)
{
	size_t before = latency->nrows;

	if (id >= before) {
		if (base_grow(&latency->rows, &latency->rows_cap, (size_t)id + 1, sizeof(*latency->rows)))
			return -ENOMEM;
		memset(&latency->rows[before], 0, (id + 1 - before) * sizeof(*latency->rows));
		latency->nrows = (size_t)id + 1;
	}
	*ret = &latency->rows[id];
	return 0;
}

static int add_duration(struct row *row, uint64_t ns)
{
	if (!row->histogram)
		row->histogram = calloc(1, sizeof(*row->histogram));
	if (!row->histogram)
		return -ENOMEM;
	trace_histogram_add(row->histogram, ns);
	return 0;
}

static int on_call(void *arg, const struct trace_call *call)
{
	struct latency *latency = arg;
	struct row *row;
	int error = row_of(latency, call->id, &row);

	if (error)
		return error;
	switch (call->ending) {
	case TRACE_TAILED:
		row->tailed++;
		return add_duration(row, call->end_ns - call->start_ns);
	case TRACE_RETURNED:
		return add_duration(row, call->end_ns - call->start_ns);
	case TRACE_ABANDONED:
		row->abandoned++;
		break;
	case TRACE_UNPAIRED:
		row->unpaired++;
		break;
	}
	return 0;
}

static int on_record(void *arg, const struct trace_record *record)
{
	struct cli *cli = arg;
	struct latency *latency = cli->consumer;
	const struct trace_probe *probes;
	int error = 0;

	session_probes(cli->session, &probes);
	if (probes[record->id].kind != TRACE_PLACE)
		error = trace_frames_add(latency->frames, &probes[record->id], record);
	return error ? error : cli_taken(cli);
}

/* ---- the table ---- */

static const struct trace_histogram none;

static const struct trace_histogram *histogram_of(const struct latency *latency, uint32_t id)
{
	return id < latency->nrows && latency->rows[id].histogram ? latency->rows[id].histogram : &none;
}

static struct row row_at(const struct latency *latency, uint32_t id)
{
	return id < latency->nrows ? latency->rows[id] : (struct row) { 0 };
}

/* Records of entries and returns that found no room. */
static uint64_t lost_of(const struct cli *cli, uint32_t id)
{
	struct session_counts entry = { 0 };
	struct session_counts exit = { 0 };

	session_count(cli->session, id - 1, &entry);
	session_count(cli->session, id, &exit);
	return entry.lost + exit.lost;
}

static void print_function(FILE *out, const struct trace_probe *probe)
{
	fprintf(out, "  %s:%s  ", probe->group, probe->event);
	if (probe->symbol[0])
		fprintf(out, "%s:%s\n", probe->path, probe->symbol);
	else
		fprintf(out, "%s:0x%" PRIx64 "\n", probe->path, probe->offset);
}

/* What the columns leave out, and only where there is something. */
static void print_rest(FILE *out, const struct row *row, uint64_t lost)
{
	if (!row->tailed && !row->abandoned && !row->unpaired && !lost)
		return;
	fprintf(out, "    ");
	if (row->tailed)
		fprintf(out, " %" PRIu64 " of the calls ended by tail calls.", row->tailed);
	if (row->abandoned)
		fprintf(out, " %" PRIu64 " more were abandoned.", row->abandoned);
	if (row->unpaired)
		fprintf(out, " %" PRIu64 " more ended whose entry was not seen.", row->unpaired);
	if (lost)
		fprintf(out, " %" PRIu64 " records were lost.", lost);
	fputc('\n', out);
}

static void print_row(const struct latency *latency, const struct trace_probe *probe, uint32_t id)
{
	static const double shares[] = { 0.5, 0.9, 0.99 };
	const struct trace_histogram *h = histogram_of(latency, id);
	struct row row = row_at(latency, id);
	FILE *out = latency->cli->out;

	fprintf(out, "%12" PRIu64, h->count);
	format_duration_column(out, h->least);
	format_duration_column(out, h->count ? h->sum / h->count : 0);
	for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++)
		format_duration_column(out, trace_histogram_quantile(h, shares[i]));
	format_duration_column(out, h->most);
	format_duration_column(out, h->sum);
	print_function(out, probe);
	print_rest(out, &row, lost_of(latency->cli, id));
	if (latency->cli->options.verbose)
		format_bars(out, h);
}

static bool is_seen(const struct latency *latency, uint32_t id)
{
	struct row row = row_at(latency, id);

	return row.histogram || row.abandoned || row.unpaired || lost_of(latency->cli, id);
}

/* Those that took most of the time first. */
static int compare_totals(const void *left, const void *right, void *arg)
{
	const uint32_t *a = left, *b = right;
	uint64_t total_a = histogram_of(arg, *a)->sum, total_b = histogram_of(arg, *b)->sum;

	if (total_a != total_b)
		return total_a > total_b ? -1 : 1;
	return *a < *b ? -1 : *a > *b;
}

/* Ids of functions that were called, heap; *silent: how many others there are. */
static uint32_t *list_seen(const struct latency *latency, uint32_t *ret, uint32_t *silent)
{
	const struct trace_probe *probes;
	uint32_t count = session_probes(latency->cli->session, &probes);
	uint32_t *ids = calloc((size_t)count + 1, sizeof(*ids));

	*ret = *silent = 0;
	for (uint32_t id = 1; ids && id < count; id++) {
		if (probes[id].kind != TRACE_RETURN)
			continue;
		if (is_seen(latency, id))
			ids[(*ret)++] = id;
		else
			(*silent)++;
	}
	if (ids)
		qsort_r(ids, *ret, sizeof(*ids), compare_totals, (void *)(uintptr_t)latency);
	return ids;
}

static int print_table(const struct latency *latency)
{
	const struct trace_probe *probes;
	uint32_t seen, silent;
	_cleanup_free_ uint32_t *ids = list_seen(latency, &seen, &silent);
	FILE *out = latency->cli->out;

	if (!ids)
		return -ENOMEM;
	session_probes(latency->cli->session, &probes);
	fprintf(out, "%12s %11s %11s %11s %11s %11s %11s %11s  %s\n", "CALLS", "MIN", "MEAN", "P50", "P90", "P99", "MAX", "TOTAL",
		"EVENT  FUNCTION");
	for (uint32_t i = 0; i < seen; i++)
		print_row(latency, &probes[ids[i]], ids[i]);
	fprintf(out, "\n%12s in %.3f seconds", "", seconds(latency->cli));
	if (silent)
		fprintf(out, "; %" PRIu32 " function%s not called", silent, silent == 1 ? " was" : "s were");
	fputc('\n', out);
	return 0;
}

/* ---- JSON ---- */

static void print_json_histogram(FILE *out, const struct trace_histogram *h)
{
	const char *comma = "";

	fputs(",\"histogram\":[", out);
	for (unsigned power = 0; power < 63; power++) {
		uint64_t count = trace_histogram_power(h, power);

		if (!count)
			continue;
		fprintf(out, "%s{\"from_ns\":%" PRIu64 ",\"to_ns\":%" PRIu64 ",\"calls\":%" PRIu64 "}", comma,
			(uint64_t)(power ? 1ULL << power : 0), (uint64_t)(2ULL << power), count);
		comma = ",";
	}
	fputc(']', out);
}

static void print_json_row(const struct latency *latency, const struct trace_probe *probe, uint32_t id)
{
	const struct trace_histogram *h = histogram_of(latency, id);
	struct row row = row_at(latency, id);
	FILE *out = latency->cli->out;

	fputs("{\"event\":", out);
	format_json_string(out, probe->event);
	fputs(",\"symbol\":", out);
	format_json_string(out, probe->symbol);
	fputs(",\"file\":", out);
	format_json_string(out, probe->path);
	fprintf(out,
		",\"offset\":%" PRIu64 ",\"calls\":%" PRIu64 ",\"min_ns\":%" PRIu64 ",\"mean_ns\":%" PRIu64 ",\"p50_ns\":%" PRIu64
		",\"p90_ns\":%" PRIu64 ",\"p99_ns\":%" PRIu64 ",\"max_ns\":%" PRIu64 ",\"total_ns\":%" PRIu64,
		probe->offset, h->count, h->least, h->count ? h->sum / h->count : 0, trace_histogram_quantile(h, 0.5),
		trace_histogram_quantile(h, 0.9), trace_histogram_quantile(h, 0.99), h->most, h->sum);
	fprintf(out, ",\"tail_calls\":%" PRIu64 ",\"abandoned\":%" PRIu64 ",\"unpaired\":%" PRIu64 ",\"lost\":%" PRIu64, row.tailed,
		row.abandoned, row.unpaired, lost_of(latency->cli, id));
	print_json_histogram(out, h);
	fputc('}', out);
}

static void print_json(const struct latency *latency)
{
	const struct trace_probe *probes;
	uint32_t count = session_probes(latency->cli->session, &probes);
	const char *comma = "";

	fputs("{\"functions\":[", latency->cli->out);
	for (uint32_t id = 1; id < count; id++) {
		if (probes[id].kind != TRACE_RETURN)
			continue;
		fputs(comma, latency->cli->out);
		print_json_row(latency, &probes[id], id);
		comma = ",";
	}
	fprintf(latency->cli->out, "],\"seconds\":%.6f}\n", seconds(latency->cli));
}

/* ---- the command ---- */

static int print(struct cli *cli, struct latency *latency)
{
	int error = cli_calls_end(cli, latency->frames);

	if (!error && cli->options.json)
		print_json(latency);
	else if (!error)
		error = print_table(latency);
	if (error) {
		struct utap_error err = { 0 };

		base_error_system(&err, error, "cannot sum up the calls");
		return cli_fail(cli, &err);
	}
	if (cli->options.verbose || cli_lost(cli))
		cli_calls_note(cli, latency->frames);
	if (cli_held(cli))
		cli_note(cli, "%" PRIu64 " calls held back", cli_held(cli));
	return cli_close_output(cli);
}

static void latency_free(struct latency *latency)
{
	for (size_t i = 0; i < latency->nrows; i++)
		free(latency->rows[i].histogram);
	free(latency->rows);
	trace_frames_destroy(latency->frames);
}

int cli_latency(struct cli *cli)
{
	const struct cli_consumer consumer = { .record = on_record };
	struct latency latency = { .cli = cli };
	struct utap_error err = { 0 };
	int code;

	cli->consumer = &latency;
	if (cli_run_check(cli, &err) || cli_hold_output(cli, &err))
		return cli_fail(cli, &err);
	if (cli_calls_create(on_call, &latency, &latency.frames)) {
		base_error_system(&err, -ENOMEM, "cannot follow calls");
		return cli_fail(cli, &err);
	}
	code = cli_run(cli, PROBE_RECORD, &consumer);
	if (!code)
		code = print(cli, &latency);
	latency_free(&latency);
	return code;
}
