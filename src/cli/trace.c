/* SPDX-License-Identifier: MIT */
/* utap trace: a line for each hit. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "format/format.h"

static int check_written(struct cli *cli)
{
	if (!ferror(cli->out))
		return 0;
	return cli_output_failed(cli, errno ? -errno : -EIO);
}

static int on_record(void *arg, const struct trace_record *record)
{
	struct cli *cli = arg;
	const char *comm = cli_comms_get(cli->comms, record->tid, record->time_ns, NULL);
	const struct trace_probe *probes;
	int error;

	session_probes(cli->session, &probes);
	if (cli->options.json)
		format_json(cli->out, &probes[record->id], record, cli_comm_known(comm) ? comm : NULL);
	else
		format_text(cli->out, &probes[record->id], record, comm, cli->color);
	error = check_written(cli);
	return error ? error : cli_taken(cli);
}

static int on_idle(struct cli *cli)
{
	return fflush(cli->out) == 0 ? 0 : -errno;
}

static int on_start(struct cli *cli, struct utap_error *err)
{
	(void)err;
	if (!cli->options.json && !cli->options.quiet)
		format_text_header(cli->out);
	return 0;
}

int cli_trace(struct cli *cli)
{
	const struct cli_consumer consumer = { .start = on_start, .record = on_record, .idle = on_idle };
	struct utap_error err = { 0 };
	int code;

	if (cli_run_check(cli, &err) || cli_open_output(cli, &err))
		return cli_fail(cli, &err);
	code = cli_run(cli, PROBE_RECORD, &consumer);
	if (code)
		return code;
	cli_summary(cli);
	if (cli->stop == CLI_STOP_OUTPUT)
		return cli_explain_output(cli, cli->options.output ? cli->options.output : "standard output");
	return cli_close_output(cli);
}
