/* SPDX-License-Identifier: MIT */
/*
 * utap stat: exact counts, no records. A probe that was put nowhere has no count: nobody shall take "never hit" for it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/latency.h"
#include "format/format.h"

struct stat_run {
	bool *placed; /* by id: it was somewhere, for a time at least */
	size_t placed_cap;
	uint32_t nprobes; /* of them */
};

/* Places come with libraries and programs, and go. */
static int learn_places(struct cli *cli)
{
	struct stat_run *run = cli->consumer;
	const struct session_site *sites;
	const struct trace_probe *probes;
	size_t nsites = session_sites(cli->session, &sites);
	uint32_t nprobes = session_probes(cli->session, &probes);

	if (base_grow(&run->placed, &run->placed_cap, nprobes + 1, sizeof(*run->placed)))
		return -ENOMEM;
	for (; run->nprobes < nprobes; run->nprobes++)
		run->placed[run->nprobes] = false;
	for (size_t i = 0; i < nsites; i++)
		run->placed[sites[i].id] |= sites[i].layer != PATCH_REFUSED;
	return 0;
}

static int on_start(struct cli *cli, struct utap_error *err)
{
	return learn_places(cli) ? base_error(err, -ENOMEM, UTAP_ERROR_SYSTEM, "no memory to count") : 0;
}

static bool was_placed(const struct cli *cli, uint32_t id, const struct session_counts *counts)
{
	const struct stat_run *run = cli->consumer;

	return counts->hits || counts->lost || (id < run->nprobes && run->placed[id]);
}

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
		fprintf(cli->out, ",\"offset\":%" PRIu64, probes[id].offset);
		if (was_placed(cli, id, &counts))
			fprintf(cli->out, ",\"hits\":%" PRIu64 ",\"lost\":%" PRIu64 "}", counts.hits, counts.lost);
		else
			fputs(",\"hits\":null,\"lost\":null,\"why\":\"not probed: a note on standard error says why\"}",
			      cli->out);
	}
	fprintf(cli->out, "],\"seconds\":%.6f}\n", seconds(cli));
}

/* @counts: NULL: none, it was not probed */
static void print_row(const struct cli *cli, const struct trace_probe *probe, const struct session_counts *counts)
{
	double elapsed = seconds(cli);

	if (counts)
		fprintf(cli->out, "%16" PRIu64 " %12" PRIu64 " %14.0f  %s:%s  ", counts->hits, counts->lost,
			elapsed > 0 ? (double)counts->hits / elapsed : 0.0, probe->group, probe->event);
	else
		fprintf(cli->out, "%16s %12s %14s  %s:%s  ", "-", "-", "-", probe->group, probe->event);
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
		print_row(cli, &probes[id], was_placed(cli, id, &counts) ? &counts : NULL);
		total.hits += counts.hits;
		total.lost += counts.lost;
	}
	fprintf(cli->out, "\n%16" PRIu64 " %12" PRIu64 " %14s  in %.3f seconds\n", total.hits, total.lost, "",
		seconds(cli));
}

int cli_stat(struct cli *cli)
{
	const struct cli_consumer consumer = { .start = on_start, .idle = learn_places };
	struct stat_run run = { 0 };
	struct utap_error err = { 0 };
	int code;

	if (cli->options.latency)
		return cli_latency(cli);
	if (cli->options.every || cli->options.rate)
		base_error(&err, -EINVAL, UTAP_ERROR_USAGE, "--every and --max limit what is recorded, and stat counts all hits; they go with --latency");
	if (err.code || cli_run_check(cli, &err) || cli_hold_output(cli, &err))
		return cli_fail(cli, &err);
	cli->consumer = &run;
	code = cli_run(cli, PROBE_COUNT, &consumer);
	if (!code && cli->options.json)
		print_json(cli);
	else if (!code)
		print_table(cli);
	free(run.placed);
	if (code)
		return code;
	return cli_close_output(cli);
}
