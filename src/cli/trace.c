/* SPDX-License-Identifier: MIT */
/* utap trace: a line for each hit; of each call with --duration; a tree of calls with --graph. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/calls.h"
#include "cli/convert.h"
#include "cli/symbols.h"
#include "cli/tree.h"
#include "format/format.h"

struct tracing {
	struct trace_frames *frames; /* NULL: hits, not calls */
	struct cli_tree *tree;       /* --graph */
	struct cli_symbols *symbols; /* NULL: not needed so far */
};

static int check_written(struct cli *cli)
{
	if (!ferror(cli->out))
		return 0;
	return cli_output_failed(cli, errno ? -errno : -EIO);
}

/* One event as a line. */
static int print(struct cli *cli, const struct trace_probe *probe, const struct trace_record *record,
		 struct format_call *call)
{
	struct tracing *tracing = cli->consumer;
	const char *comm = cli_comms_get(cli->comms, record->tid, record->time_ns, NULL);
	int error;

	if (!tracing->symbols && cli_symbols_create(cli->session, &tracing->symbols))
		return cli_output_failed(cli, -ENOMEM);
	cli_symbols_call(tracing->symbols, record, call);
	if (cli->options.json)
		format_json_call(cli->out, probe, record, call, cli_comm_known(comm) ? comm : NULL);
	else
		format_text_call(cli->out, probe, record, call, comm, cli->color);
	error = check_written(cli);
	return error ? error : cli_taken(cli);
}

/* A call that was abandoned has no record of its end. */
static int on_call(void *arg, const struct trace_call *call)
{
	struct cli *cli = arg;
	struct tracing *tracing = cli->consumer;
	struct trace_record record = {
		.time_ns = call->end_ns, .id = call->id, .source = call->source, .pid = call->pid, .tid = call->tid
	};
	const struct trace_probe *probes;
	int error;

	session_probes(cli->session, &probes);
	if (!tracing->tree)
		return print(cli, &probes[call->id], call->exit ? call->exit : &record,
			     &(struct format_call) { .call = call, .entry = &probes[call->id - 1] });
	cli_tree_leave(tracing->tree, &probes[call->id], call);
	error = check_written(cli);
	return error ? error : cli_taken(cli);
}

static int on_half(struct cli *cli, const struct trace_probe *probe, const struct trace_record *record)
{
	struct tracing *tracing = cli->consumer;
	int error = trace_frames_add(tracing->frames, probe, record); /* first: who was in the frame before ends there */

	if (error || !tracing->tree || probe->kind == TRACE_RETURN)
		return error;
	return cli_tree_enter(tracing->tree, probe, record);
}

static int on_record(void *arg, const struct trace_record *record)
{
	struct cli *cli = arg;
	struct tracing *tracing = cli->consumer;
	const struct trace_probe *probes;

	session_probes(cli->session, &probes);
	if (tracing->frames && probes[record->id].kind != TRACE_PLACE)
		return on_half(cli, &probes[record->id], record);
	if (tracing->tree) {
		int error = cli_tree_place(tracing->tree, &probes[record->id], record);

		return error ? error : cli_taken(cli);
	}
	return print(cli, &probes[record->id], record, &(struct format_call) { 0 });
}

static int on_idle(struct cli *cli)
{
	struct tracing *tracing = cli->consumer;

	if (tracing->tree)
		cli_tree_idle(tracing->tree);
	return fflush(cli->out) == 0 ? 0 : -errno;
}

static int on_start(struct cli *cli, struct utap_error *err)
{
	struct tracing *tracing = cli->consumer;

	(void)err;
	if (cli->options.json || cli->options.quiet)
		return 0;
	if (tracing->tree)
		cli_tree_header(cli->out);
	else
		format_text_header(cli->out);
	return 0;
}

static int check_options(const struct cli *cli, struct utap_error *err)
{
	if (cli->options.graph && cli->options.json)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "--graph is text; for JSON use --duration --json");
	return cli_run_check(cli, err);
}

static int begin(struct cli *cli, struct tracing *tracing, struct utap_error *err)
{
	int error = 0;

	if (!cli->options.durations && !cli->options.graph)
		return 0;
	error = cli_calls_create(on_call, cli, &tracing->frames);
	if (!error && cli->options.graph)
		error = cli_tree_create(cli->out, cli->color, &tracing->tree);
	return error ? base_error_system(err, error, "cannot follow calls") : 0;
}

/* What is open in processes that are gone ended there. */
static int finish(struct cli *cli, const struct tracing *tracing)
{
	int code = 0;

	if (tracing->tree && cli->stop != CLI_STOP_OUTPUT)
		cli_tree_idle(tracing->tree);
	if (tracing->frames && cli->stop != CLI_STOP_OUTPUT && cli->stop != CLI_STOP_EVENTS &&
	    cli_calls_end(cli, tracing->frames) == -ENOMEM) {
		struct utap_error err = { 0 };

		base_error_system(&err, -ENOMEM, "cannot list the open calls");
		code = cli_fail(cli, &err);
	}
	cli_summary(cli);
	if (tracing->frames)
		cli_calls_note(cli, tracing->frames);
	if (cli->stop == CLI_STOP_OUTPUT)
		return cli_explain_output(cli, cli->options.output ? cli->options.output : "standard output");
	return code ? code : cli_close_output(cli);
}

int cli_trace(struct cli *cli)
{
	const struct cli_consumer consumer = { .start = on_start, .record = on_record, .idle = on_idle };
	struct tracing tracing = { 0 };
	struct utap_error err = { 0 };
	int code;

	if (cli->options.to)
		return cli_convert_live(cli);
	cli->consumer = &tracing;
	if (check_options(cli, &err) || cli_hold_output(cli, &err))
		return cli_fail(cli, &err);
	code = begin(cli, &tracing, &err) ? cli_fail(cli, &err) : cli_run(cli, PROBE_RECORD, &consumer);
	if (!code)
		code = finish(cli, &tracing);
	cli_tree_destroy(tracing.tree);
	trace_frames_destroy(tracing.frames);
	cli_symbols_destroy(tracing.symbols);
	return code;
}
