/* SPDX-License-Identifier: MIT */
/* utap stat: exact counts, no records. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "cli/cli.h"
#include "cli/latency.h"
#include "format/format.h"

static double seconds(const struct cli *cli)
{
	return (double)(cli->ended_ns - cli->started_ns) / 1e9;
}

static void print_json(const struct cli *cli)
{
	const struct trace_probe *probes;
	uint32_t count = session_probes(cli->session, &probes);

	fputs("{\"probes\":[", cli->out);
	for (uint32_t id = 0; id < count; id++) {
		struct session_counts counts = { 0 };

		session_count(cli->session, id, &counts);
		fprintf(cli->out, "%s{\"event\":", id ? "," : "");
		format_json_string(cli->out, probes[id].event);
		fputs(",\"file\":", cli->out);
		format_json_string(cli->out, probes[id].path);
		fprintf(cli->out, ",\"offset\":%" PRIu64 ",\"hits\":%" PRIu64 ",\"lost\":%" PRIu64 "}",
			probes[id].offset, counts.hits, counts.lost);
	}
	fprintf(cli->out, "],\"seconds\":%.6f}\n", seconds(cli));
}

static void print_row(const struct cli *cli, const struct trace_probe *probe, const struct session_counts *counts)
{
	double elapsed = seconds(cli);

	fprintf(cli->out, "%16" PRIu64 " %12" PRIu64 " %14.0f  %s:%s  ", counts->hits, counts->lost,
		elapsed > 0 ? (double)counts->hits / elapsed : 0.0, probe->group, probe->event);
	if (probe->symbol[0])
		fprintf(cli->out, "%s:%s+0x%" PRIx64 "\n", probe->path, probe->symbol, probe->symbol_offset);
	else
		fprintf(cli->out, "%s:0x%" PRIx64 "\n", probe->path, probe->offset);
}

static void print_table(const struct cli *cli)
{
	const struct trace_probe *probes;
	uint32_t count = session_probes(cli->session, &probes);
	struct session_counts total = { 0 };

	fprintf(cli->out, "%16s %12s %14s  %s\n", "HITS", "LOST", "PER SECOND", "EVENT  PLACE");
	for (uint32_t id = 0; id < count; id++) {
		struct session_counts counts = { 0 };

		session_count(cli->session, id, &counts);
		print_row(cli, &probes[id], &counts);
		total.hits += counts.hits;
		total.lost += counts.lost;
	}
	fprintf(cli->out, "\n%16" PRIu64 " %12" PRIu64 " %14s  in %.3f seconds\n", total.hits, total.lost, "",
		seconds(cli));
}

int cli_stat(struct cli *cli)
{
	const struct cli_consumer consumer = { .record = NULL };
	struct utap_error err = { 0 };
	int code;

	if (cli->options.latency)
		return cli_latency(cli);
	if (cli->options.every || cli->options.rate)
		base_error(&err, -EINVAL, UTAP_ERROR_USAGE, "--every and --max limit what is recorded, and stat counts all hits; they go with --latency");
	if (err.code || cli_run_check(cli, &err) || cli_hold_output(cli, &err))
		return cli_fail(cli, &err);
	code = cli_run(cli, PROBE_COUNT, &consumer);
	if (code)
		return code;
	if (cli->options.json)
		print_json(cli);
	else
		print_table(cli);
	return cli_close_output(cli);
}
