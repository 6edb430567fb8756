/* SPDX-License-Identifier: MIT */
/* utap record: a perf.data file. What was there becomes FILE.old, and comes back when nothing could be probed. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/events.h"

#define REFRESH_FIRST_NS 250000000ULL /* mappings are looked at again after this long, then twice as long .. */

struct recording {
	const char *path;
	char old[4096]; /* "" when there was none */
	int fd;
	struct format_perf *perf;
	struct cli_events *events;
	uint64_t refresh_ns; /* when to look at mappings again, since the start */
};

/* ---- the file ---- */

static int keep_old(struct recording *r, struct utap_error *err)
{
	struct stat st;

	r->old[0] = '\0';
	if (stat(r->path, &st) || !S_ISREG(st.st_mode) || st.st_size == 0)
		return 0;
	if (snprintf(r->old, sizeof(r->old), "%s.old", r->path) >= (int)sizeof(r->old))
		return base_error(err, -ENAMETOOLONG, UTAP_ERROR_USAGE, "-o %.100s..: the name is too long", r->path);
	if (rename(r->path, r->old)) {
		int error = -errno;

		r->old[0] = '\0';
		return base_error_system(err, error, "%s cannot be renamed to %s.old", r->path, r->path);
	}
	return 0;
}

static void give_back_old(const struct recording *r)
{
	if (r->old[0])
		rename(r->old, r->path);
	else
		unlink(r->path);
}

static int open_file(struct recording *r, struct utap_error *err)
{
	int error = keep_old(r, err);

	if (error)
		return error;
	r->fd = open(r->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (r->fd < 0) {
		error = base_error_system(err, -errno, "%s cannot be written", r->path);
		if (r->old[0])
			rename(r->old, r->path);
		return error;
	}
	if (lseek(r->fd, 0, SEEK_SET) < 0) {
		close(r->fd);
		return base_error(err, -ESPIPE, UTAP_ERROR_USAGE,
				  "-o %s: a perf.data cannot be written to a pipe; use a file", r->path);
	}
	return 0;
}

/* ---- while it runs ---- */

static int describe_targets(struct cli *cli)
{
	struct recording *r = cli->consumer;
	const struct session_target *targets;
	size_t count = session_targets(cli->session, &targets);
	int error = 0;

	for (size_t i = 0; i < count && !error; i++) {
		if (targets[i].state == SESSION_RUNNING)
			error = cli_events_process(r->events, (uint32_t)targets[i].pid);
	}
	return error;
}

static int on_start(struct cli *cli, struct utap_error *err)
{
	struct recording *r = cli->consumer;
	const struct trace_probe *probes;
	uint32_t count = session_probes(cli->session, &probes);
	int error = format_perf_create(r->fd, probes, count, &r->perf, err);

	if (error)
		return error;
	error = cli_events_create(r->perf, &r->events);
	if (!error)
		error = describe_targets(cli);
	if (!error)
		error = cli_events_build_ids(r->events, probes, count);
	r->refresh_ns = REFRESH_FIRST_NS;
	return error ? base_error_system(err, error, "%s cannot be written", r->path) : 0;
}

static int on_record(void *arg, const struct trace_record *record)
{
	struct cli *cli = arg;
	struct recording *r = cli->consumer;
	bool is_news;
	const char *comm = cli_comms_get(cli->comms, record->tid, record->time_ns, &is_news);
	int error = 0;

	if (is_news && !cli_events_is_known(r->events, record->pid))
		error = cli_events_process(r->events, record->pid);
	if (!error && is_news && cli_comm_known(comm))
		error = format_perf_comm(r->perf, record->pid, record->tid, comm);
	if (!error)
		error = format_perf_sample(r->perf, record);
	return error ? cli_output_failed(cli, error) : cli_taken(cli);
}

/* Libraries that were loaded meanwhile; rarer and rarer, most are loaded early. */
static int on_idle(struct cli *cli)
{
	struct recording *r = cli->consumer;

	if (base_now_ns() - cli->started_ns < r->refresh_ns)
		return 0;
	r->refresh_ns *= 2;
	return describe_targets(cli);
}

/* ---- the end ---- */

static int write_lost(struct cli *cli)
{
	struct recording *r = cli->consumer;
	const struct trace_probe *probes;
	uint32_t count = session_probes(cli->session, &probes);
	int error = 0;

	for (uint32_t id = 0; id < count && !error; id++) {
		struct session_counts counts = { 0 };

		session_count(cli->session, id, &counts);
		if (counts.lost)
			error = format_perf_lost(r->perf, id, counts.lost, cli->ended_ns);
	}
	return error;
}

static void note_file(struct cli *cli, const struct recording *r)
{
	struct stat st;

	if (stat(r->path, &st) == 0)
		cli_note(cli, "%s: %" PRIu64 " KiB written", r->path, ((uint64_t)st.st_size + 1023) / 1024);
}

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

static int explain_full(struct cli *cli, const struct recording *r)
{
	uint64_t kept = count_kept(r->path);
	struct utap_error err;

	base_error_system(&err, cli->failure,
			  "the probes are taken out and %s holds %" PRIu64 " of %" PRIu64
			  " events, because it cannot be written any more",
			  r->path, kept, cli->events);
	return cli_fail(cli, &err);
}

/* The file is finished whatever happened before, so that what it holds can be read. */
static int finish(struct cli *cli)
{
	struct recording *r = cli->consumer;
	int error = cli->stop == CLI_STOP_OUTPUT ? 0 : write_lost(cli);
	int finished = format_perf_finish(r->perf);

	r->perf = NULL;
	if (close(r->fd) && !finished)
		finished = -errno;
	r->fd = -1;
	if ((error || finished) && cli->stop != CLI_STOP_OUTPUT)
		cli_output_failed(cli, finished ? finished : error);
	cli_summary(cli);
	if (cli->stop != CLI_STOP_OUTPUT)
		note_file(cli, r);
	return cli->stop == CLI_STOP_OUTPUT ? explain_full(cli, r) : 0;
}

int cli_record(struct cli *cli)
{
	static const struct cli_consumer consumer = { .start = on_start, .record = on_record, .idle = on_idle };
	struct recording recording = { .path = cli->options.output ? cli->options.output : "perf.data", .fd = -1 };
	struct utap_error err = { 0 };
	int code;

	cli->consumer = &recording;
	if (cli_run_check(cli, &err) || open_file(&recording, &err))
		return cli_fail(cli, &err);
	code = cli_run(cli, PROBE_RECORD, &consumer);
	if (recording.perf) {
		int finished = finish(cli);

		code = code ? code : finished;
	} else {
		close(recording.fd);
		give_back_old(&recording);
	}
	cli_events_destroy(recording.events);
	return code;
}
