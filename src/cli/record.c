/* SPDX-License-Identifier: MIT */
/* utap record: a perf.data file. With --overwrite it is snapshot.c's. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "cli/convert.h"
#include "cli/recording.h"
#include "cli/snapshot.h"

#define REFRESH_FIRST_NS 20000000ULL /* mappings are looked at again after this long, then twice as long .. */

struct record_run {
	struct cli_recording file;
	uint64_t refresh_ns; /* when to look at mappings again, since the start */
};

/* ---- while it runs ---- */

static int on_start(struct cli *cli, struct utap_error *err)
{
	struct record_run *run = cli->consumer;

	run->refresh_ns = REFRESH_FIRST_NS;
	return cli_recording_start(cli, &run->file, err);
}

static int on_record(void *arg, const struct trace_record *record)
{
	struct cli *cli = arg;
	struct record_run *run = cli->consumer;
	bool is_news;
	const char *comm = cli_comms_get(cli->comms, record->tid, record->time_ns, &is_news);
	int error = cli_recording_grow(cli, &run->file);

	if (!error)
		error = cli_recording_put(&run->file, record, is_news, cli_comm_known(comm) ? comm : NULL);

	return error ? cli_output_failed(cli, error) : cli_taken(cli);
}

/* What was recorded before belongs to the mappings before. */
static void on_mapped(struct cli *cli, uint32_t source)
{
	struct record_run *run = cli->consumer;
	bool takes = cli->stop != CLI_STOP_EVENTS && cli->stop != CLI_STOP_OUTPUT && cli->stop != CLI_STOP_FAILED;
	int error;

	if (takes && session_drain(cli->session, false, on_record, cli) < 0)
		base_log(BASE_LOG_DEBUG, "the rings were not read to the end where target %u waits", source);
	error = cli->stop == CLI_STOP_OUTPUT ? 0 : cli_recording_mapped(cli, run->file.events, source);
	if (error)
		cli_output_failed(cli, error);
}

/* What came since we looked last, of a target that does not wait for us. */
static void on_stop(struct cli *cli)
{
	struct record_run *run = cli->consumer;
	int error = run->file.events && cli->stop != CLI_STOP_OUTPUT ? cli_recording_describe(cli, run->file.events) : 0;

	if (error)
		cli_output_failed(cli, error);
}

/* Libraries that were loaded meanwhile; rarer and rarer, most are loaded early. */
static int on_idle(struct cli *cli)
{
	struct record_run *run = cli->consumer;

	if (base_now_ns() - cli->started_ns < run->refresh_ns)
		return 0;
	run->refresh_ns *= 2;
	return cli_recording_describe(cli, run->file.events);
}

/* ---- the end ---- */

/* Samples that really are in the file; on a full disk those still buffered are not. */
static uint64_t count_kept(const char *path)
{
	struct format_perf_file *file;
	struct format_perf_event event;
	uint64_t kept = 0;

	if (format_perf_open(path, &file, NULL))
		return 0;
	while (!format_perf_next(file, &event, NULL) && event.type != FORMAT_PERF_END)
		kept += event.type == FORMAT_PERF_SAMPLE;
	format_perf_close(file);
	return kept;
}

static int explain_full(struct cli *cli, const char *path)
{
	uint64_t kept = count_kept(path);
	struct utap_error err;

	base_error_system(&err, cli->failure,
			  "the probes are taken out and %s holds %" PRIu64 " of %" PRIu64
			  " events, because it cannot be written any more",
			  path, kept, cli->events);
	return cli_fail(cli, &err);
}

/* The file is finished whatever happened before, so that what it holds can be read. */
static int finish(struct cli *cli, struct cli_recording *file)
{
	int error = cli_recording_finish(cli, file, cli->stop != CLI_STOP_OUTPUT);

	if (error && cli->stop != CLI_STOP_OUTPUT)
		cli_output_failed(cli, error);
	cli_summary(cli);
	if (cli->stop == CLI_STOP_OUTPUT)
		return explain_full(cli, file->path);
	cli_note(cli, "%s: %" PRIu64 " KiB written", file->path, (cli_recording_size(file) + 1023) / 1024);
	return 0;
}

static int record(struct cli *cli)
{
	static const struct cli_consumer consumer = { .start = on_start, .record = on_record, .idle = on_idle, .mapped = on_mapped,
						       .stop = on_stop };
	const char *path = cli->options.output ? cli->options.output : "perf.data";
	struct record_run run = { 0 };
	struct utap_error err = { 0 };
	int finished;
	int code;

	cli->consumer = &run;
	cli_signals();
	if (cli_run_check(cli, &err) || cli_recording_open(&run.file, path, &err))
		return cli_fail(cli, &err);
	code = cli_run(cli, PROBE_RECORD, &consumer);
	if (!run.file.is_begun) {
		cli_recording_abandon(&run.file);
		return code;
	}
	finished = finish(cli, &run.file);
	return code ? code : finished;
}

int cli_record(struct cli *cli)
{
	if (cli->options.to)
		return cli_convert_live(cli);
	return cli->options.overwrite || cli->options.snapshot_on ? cli_snapshot_record(cli) : record(cli);
}
