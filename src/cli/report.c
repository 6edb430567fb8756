/* SPDX-License-Identifier: MIT */
/* utap report: a recorded file summed up, by event, then by command and thread, the most hits first. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "cli/cli.h"
#include "cli/report_calls.h"
#include "format/format.h"

/* Hashed as bytes: no padding. */
struct row_key {
	uint32_t id, pid, tid;
	char comm[20];
};

struct row {
	struct row_key key;
	uint64_t samples;
	UT_hash_handle hh;
};

struct event_total {
	uint64_t samples, lost;
};

struct report {
	const struct trace_probe *probes;
	size_t nprobes;
	struct event_total *totals; /* nprobes of them */
	struct row *rows;
};

static void report_free(struct report *report)
{
	struct row *row;
	struct row *next;

	HASH_ITER(hh, report->rows, row, next)
	{
		HASH_DEL(report->rows, row);
		free(row);
	}
	free(report->totals);
}

static int count_sample(struct report *report, const struct format_perf_event *event)
{
	struct row_key key = { .id = event->record.id, .pid = event->record.pid, .tid = event->record.tid };
	struct row *row;

	snprintf(key.comm, sizeof(key.comm), "%s", event->comm ? event->comm : "<...>");
	report->totals[key.id].samples++;
	HASH_FIND(hh, report->rows, &key, sizeof(key), row);
	if (!row) {
		row = calloc(1, sizeof(*row));
		if (!row)
			return -ENOMEM;
		row->key = key;
		HASH_ADD(hh, report->rows, key, sizeof(row->key), row);
		if (!row->hh.tbl) {
			free(row);
			return -ENOMEM;
		}
	}
	row->samples++;
	return 0;
}

static int read_all(struct report *report, struct format_perf_file *file, struct utap_error *err)
{
	for (;;) {
		struct format_perf_event event;
		int error = format_perf_next(file, &event, err);

		if (error || event.type == FORMAT_PERF_END)
			return error;
		if (event.type == FORMAT_PERF_LOST)
			report->totals[event.record.id].lost += event.lost;
		else if (event.type == FORMAT_PERF_SAMPLE && count_sample(report, &event))
			return base_error(err, -ENOMEM, UTAP_ERROR_SYSTEM, "no memory to sum the file up");
	}
}

/* By event, then the most samples first. */
static int compare(const struct row *a, const struct row *b)
{
	if (a->key.id != b->key.id)
		return a->key.id < b->key.id ? -1 : 1;
	if (a->samples != b->samples)
		return a->samples > b->samples ? -1 : 1;
	return a->key.tid < b->key.tid ? -1 : a->key.tid > b->key.tid;
}

static double percent(const struct report *report, const struct row *row)
{
	return 100.0 * (double)row->samples / (double)report->totals[row->key.id].samples;
}

/* Control characters would obey nobody's terminal but the writer's of the file. */
static void print_comm(FILE *out, const char *comm)
{
	char text[sizeof(((struct row_key *)NULL)->comm)];

	snprintf(text, sizeof(text), "%s", comm);
	for (char *c = text; *c; c++) {
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	}
	fprintf(out, "%-16s", text);
}

/* A pair of probes, of a function's entry and of its returns, has one name. */
static const char *kind_of(const struct report *report, uint32_t id)
{
	if (report->probes[id].kind == TRACE_ENTRY)
		return "entries";
	return report->probes[id].kind == TRACE_RETURN && id && report->probes[id - 1].kind == TRACE_ENTRY ? "returns" : NULL;
}

static const struct row *print_event(FILE *out, const struct report *report, uint32_t id, const struct row *row)
{
	const struct trace_probe *probe = &report->probes[id];
	const struct event_total *total = &report->totals[id];
	const char *kind = kind_of(report, id);

	fprintf(out, "# Samples: %" PRIu64 "  of event '%s:%s'%s%s\n# Lost: %" PRIu64 "\n#\n", total->samples, probe->group,
		probe->event, kind ? ", " : "", kind ? kind : "", total->lost);
	if (total->samples)
		fputs("# Overhead  Command               Pid      Tid      Samples\n"
		      "# ........  ................  .......  .......  ...........\n#\n",
		      out);
	for (; row && row->key.id == id; row = row->hh.next) {
		fprintf(out, "%9.2f%%  ", percent(report, row));
		print_comm(out, row->key.comm);
		fprintf(out, "  %7" PRIu32 "  %7" PRIu32 "  %11" PRIu64 "\n", row->key.pid, row->key.tid, row->samples);
	}
	fputc('\n', out);
	return row;
}

static bool is_silent(const struct report *report, uint32_t id)
{
	return !report->totals[id].samples && !report->totals[id].lost;
}

static void print_text(FILE *out, const struct report *report)
{
	const struct row *row = report->rows;
	size_t silent = 0;

	for (uint32_t id = 0; id < report->nprobes; id++) {
		if (is_silent(report, id))
			silent++;
		else
			row = print_event(out, report, id, row);
	}
	if (silent)
		fprintf(out, "# %zu event%s without a hit\n", silent, silent == 1 ? "" : "s");
}

static const struct row *print_json_event(FILE *out, const struct report *report, uint32_t id, const struct row *row)
{
	const struct trace_probe *probe = &report->probes[id];
	const char *kind = kind_of(report, id);
	const char *comma = "";

	fputs("{\"group\":", out);
	format_json_string(out, probe->group);
	fputs(",\"event\":", out);
	format_json_string(out, probe->event);
	if (kind)
		fprintf(out, ",\"kind\":\"%s\"", kind);
	fprintf(out, ",\"samples\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"threads\":[", report->totals[id].samples,
		report->totals[id].lost);
	for (; row && row->key.id == id; row = row->hh.next) {
		fprintf(out, "%s{\"comm\":", comma);
		format_json_string(out, row->key.comm);
		fprintf(out, ",\"pid\":%" PRIu32 ",\"tid\":%" PRIu32 ",\"samples\":%" PRIu64 ",\"percent\":%.2f}",
			row->key.pid, row->key.tid, row->samples, percent(report, row));
		comma = ",";
	}
	fputs("]}", out);
	return row;
}

static void print_json(FILE *out, const struct report *report)
{
	const struct row *row = report->rows;

	fputs("{\"events\":[", out);
	for (uint32_t id = 0; id < report->nprobes; id++) {
		if (id)
			fputc(',', out);
		row = print_json_event(out, report, id, row);
	}
	fputs("]}\n", out);
}

static int print(struct cli *cli, struct report *report)
{
	HASH_SORT(report->rows, compare);
	if (cli->options.json)
		print_json(cli->out, report);
	else
		print_text(cli->out, report);
	return cli_close_output(cli);
}

/* A damaged file is summed up as far as it could be read; the exit code says so. */
static int report_file(struct cli *cli, struct format_perf_file *file, struct report *report)
{
	struct utap_error err = { 0 };
	int damaged = 0;
	int code;

	report->nprobes = format_perf_probes(file, &report->probes);
	report->totals = calloc(report->nprobes + 1, sizeof(*report->totals));
	if (!report->totals) {
		base_error(&err, -ENOMEM, UTAP_ERROR_SYSTEM, "no memory to sum the file up");
		return cli_fail(cli, &err);
	}
	if (read_all(report, file, &err))
		damaged = cli_fail(cli, &err);
	if (cli_open_output(cli, &err))
		return cli_fail(cli, &err);
	code = print(cli, report);
	return damaged ? damaged : code;
}

static int unsorted(struct cli *cli)
{
	struct utap_error err = { 0 };

	base_error(&err, -EINVAL, UTAP_ERROR_USAGE, "--sort is for --latency and --graph");
	return cli_fail(cli, &err);
}

int cli_report(struct cli *cli)
{
	struct report report = { 0 };
	const char *path = cli->options.input ? cli->options.input : "perf.data";
	struct format_perf_file *file;
	struct utap_error err = { 0 };
	int code;

	if (cli->options.nargs) {
		base_error(&err, -EINVAL, UTAP_ERROR_USAGE, "'%s' is too much; a file is named with -i",
			   cli->options.args[0]);
		return cli_fail(cli, &err);
	}
	if (cli_check_output(cli, path, &err) || format_perf_open(path, &file, &err))
		return cli_fail(cli, &err);
	cli_signals_output();
	if (cli->options.latency || cli->options.graph)
		code = cli_report_calls(cli, file);
	else if (cli->options.sort)
		code = unsorted(cli);
	else
		code = report_file(cli, file, &report);
	report_free(&report);
	format_perf_close(file);
	return code;
}
