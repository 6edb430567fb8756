/* SPDX-License-Identifier: MIT */
/* utap script: a recorded file, a line for each hit. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "cli/symbols.h"

struct script {
	const struct trace_probe *probes;
	struct cli_symbols *symbols;
	uint64_t lost;
};

static int print_event(struct cli *cli, struct script *script, const struct format_perf_event *event)
{
	const char *comm = event->comm && cli_comm_known(event->comm) ? event->comm : NULL;
	const struct trace_probe *probe = &script->probes[event->record.id];
	struct format_call call = { 0 };

	cli_symbols_call(script->symbols, &event->record, &call);
	if (cli->options.json)
		format_json_call(cli->out, probe, &event->record, &call, comm);
	else
		format_text_call(cli->out, probe, &event->record, &call, comm, cli->color);
	if (ferror(cli->out))
		return cli_output_failed(cli, errno ? -errno : -EIO);
	return cli_taken(cli);
}

static int print_all(struct cli *cli, struct format_perf_file *file, struct script *script, struct utap_error *err)
{
	struct format_perf_event event;
	int error = cli_symbols_create(NULL, &script->symbols);

	if (error)
		return base_error_system(err, error, "cannot read the file");
	format_perf_probes(file, &script->probes);
	while (cli->stop == CLI_RUNNING && !cli_signal()) {
		error = format_perf_next(file, &event, err);
		if (error || event.type == FORMAT_PERF_END)
			break;
		if (event.type == FORMAT_PERF_LOST)
			script->lost += event.lost;
		else if (event.type == FORMAT_PERF_SAMPLE && print_event(cli, script, &event))
			break;
		error = cli_symbols_event(script->symbols, file, &event);
		if (error)
			return base_error_system(err, error, "cannot remember a mapping");
	}
	return error;
}

int cli_script(struct cli *cli)
{
	const char *path = cli->options.input ? cli->options.input : "perf.data";
	struct format_perf_file *file;
	struct script script = { 0 };
	struct utap_error err = { 0 };
	int code = 0;

	if (cli->options.nargs) {
		base_error(&err, -EINVAL, UTAP_ERROR_USAGE, "'%s' is too much; a file is named with -i",
			   cli->options.args[0]);
		return cli_fail(cli, &err);
	}
	if (cli_check_output(cli, path, &err) || format_perf_open(path, &file, &err))
		return cli_fail(cli, &err);
	if (cli_open_output(cli, &err)) {
		format_perf_close(file);
		return cli_fail(cli, &err);
	}
	cli_signals();
	if (!cli->options.json && !cli->options.quiet)
		format_text_header(cli->out);
	if (print_all(cli, file, &script, &err))
		code = cli_fail(cli, &err);
	cli_symbols_destroy(script.symbols);
	format_perf_close(file);
	if (cli->stop == CLI_STOP_OUTPUT)
		return cli_explain_output(cli, "the output");
	if (cli->options.verbose || script.lost)
		cli_note(cli, "%" PRIu64 " event%s, %" PRIu64 " lost", cli->events, cli->events == 1 ? "" : "s",
			 script.lost);
	return code ? code : cli_close_output(cli);
}
