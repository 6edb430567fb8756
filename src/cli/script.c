/* SPDX-License-Identifier: MIT */
/* utap script: a recorded file, a line for each hit. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "cli/cli.h"
#include "format/format.h"

struct totals {
	uint64_t lost;
};

static int print_event(struct cli *cli, const struct trace_probe *probes, const struct format_perf_event *event)
{
	const char *comm = event->comm && cli_comm_known(event->comm) ? event->comm : NULL;

	if (cli->options.json)
		format_json(cli->out, &probes[event->record.id], &event->record, comm);
	else
		format_text(cli->out, &probes[event->record.id], &event->record, comm, cli->color);
	if (ferror(cli->out))
		return cli_output_failed(cli, errno ? -errno : -EIO);
	return cli_taken(cli);
}

static int print_all(struct cli *cli, struct format_perf_file *file, struct totals *totals, struct utap_error *err)
{
	const struct trace_probe *probes;
	struct format_perf_event event;
	int error = 0;

	format_perf_probes(file, &probes);
	while (cli->stop == CLI_RUNNING && !cli_signal()) {
		error = format_perf_next(file, &event, err);
		if (error || event.type == FORMAT_PERF_END)
			break;
		if (event.type == FORMAT_PERF_LOST)
			totals->lost += event.lost;
		else if (event.type == FORMAT_PERF_SAMPLE && print_event(cli, probes, &event))
			break;
	}
	return error;
}

int cli_script(struct cli *cli)
{
	const char *path = cli->options.input ? cli->options.input : "perf.data";
	struct format_perf_file *file;
	struct totals totals = { 0 };
	struct utap_error err = { 0 };
	int code = 0;

	if (cli->options.nargs) {
		base_error(&err, -EINVAL, UTAP_ERROR_USAGE, "'%s' is too much; a file is named with -i",
			   cli->options.args[0]);
		return cli_fail(cli, &err);
	}
	if (format_perf_open(path, &file, &err) || cli_open_output(cli, &err))
		return cli_fail(cli, &err);
	cli_signals();
	if (!cli->options.json && !cli->options.quiet)
		format_text_header(cli->out);
	if (print_all(cli, file, &totals, &err))
		code = cli_fail(cli, &err);
	format_perf_close(file);
	if (cli->stop == CLI_STOP_OUTPUT)
		return cli_explain_output(cli, "the output");
	if (cli->options.verbose || totals.lost)
		cli_note(cli, "%" PRIu64 " event%s, %" PRIu64 " lost", cli->events, cli->events == 1 ? "" : "s",
			 totals.lost);
	return code ? code : cli_close_output(cli);
}
