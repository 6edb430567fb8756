/* SPDX-License-Identifier: MIT */
/*
 * utap record --overwrite: the rings keep the newest records, and nothing is read until somebody wants to see them: at
 * the end, at SIGUSR2, at a hit of the probe that --snapshot-on names. The names of threads and the mappings are
 * looked at now and then, so that the file tells them of a program that was killed, too.
 */
#include "cli/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "cli/recording.h"
#include "process/process.h"

#define LOOK_NS 1000000000ULL     /* new mappings, names of threads */
#define TRIGGER_NS 1000000000ULL  /* between snapshots of a probe that is hit all the time */
#define WAIT_MS 10                /* how late a signal that came between two looks may be noticed */
#define WAIT_TRIGGER_MS 1         /* how late a hit is noticed: the ring goes on meanwhile */
#define NAME_TRIES 100
#define NAMED 4096

struct flight {
	struct cli_recording end;   /* opened first, to see that it can be written; filled at the end */
	struct cli_events *book;    /* mappings seen so far; NULL: the run did not begin */
	uint64_t look_ns;
	uint64_t triggered;         /* hits of --snapshot-on's probe that a snapshot was made for */
	uint64_t trigger_ns;        /* when the last was made */
};

/* One file being filled. */
struct snapshot_file {
	struct cli *cli;
	struct flight *flight;
	struct cli_recording *file;
	uint32_t named[NAMED]; /* threads whose names it has, by their low bits: more than once does no harm */
};

/* ---- filling a file ---- */

/* Not before there is a record: until then the rings are being copied, and the target goes on writing. */
static int start_file(struct snapshot_file *s)
{
	struct utap_error err = { 0 };
	int error = cli_recording_describe(s->cli, s->flight->book); /* or what is gone would be written over what came in its place */

	if (!error)
		error = cli_recording_start(s->cli, s->file, &err);
	return error ? error : cli_events_repeat(s->flight->book, s->file->events);
}

static int on_record(void *arg, const struct trace_record *record)
{
	struct snapshot_file *s = arg;
	uint32_t *named = &s->named[record->tid % NAMED];
	bool is_new = *named != record->tid;
	const char *comm = is_new ? cli_comms_get(s->cli->comms, record->tid, record->time_ns, NULL) : NULL;
	int error = s->file->perf ? 0 : start_file(s);

	*named = record->tid;
	if (comm && !cli_comm_known(comm))
		comm = NULL;
	return error ? error : cli_recording_put(s->file, record, is_new, comm);
}

static int fill(struct cli *cli, struct cli_recording *file, struct trace_snapshot *ret)
{
	struct flight *flight = cli->consumer;
	_cleanup_free_ struct snapshot_file *s = calloc(1, sizeof(*s));
	int error;

	if (!s)
		return -ENOMEM;
	*s = (struct snapshot_file) { .cli = cli, .flight = flight, .file = file };
	error = session_snapshot(cli->session, on_record, s, ret);
	return error || file->perf ? error : start_file(s);
}

static double to_seconds(uint64_t from_ns, uint64_t to_ns)
{
	return to_ns > from_ns ? (double)(to_ns - from_ns) / 1e9 : 0;
}

/* What is not in the file, in words; "" when everything is. */
static void describe_gone(const struct trace_snapshot *s, char *text, size_t size)
{
	char ring[48] = "";

	text[0] = '\0';
	if (!s->gone_records && !s->gone_bytes)
		return;
	if (s->gone_bytes)
		snprintf(ring, sizeof(ring), " (%" PRIu64 " KiB of ring)", s->gone_bytes / 1024);
	snprintf(text, size, ", none missing in the last %.6f s; %s%" PRIu64 " older overwritten%s",
		 to_seconds(s->since_ns, s->last_ns), s->gone_is_exact ? "" : "about ", s->gone_records, ring);
}

static void note_contents(struct cli *cli, const struct cli_recording *file, const struct trace_snapshot *s)
{
	uint64_t lost = cli_lost(cli);
	uint64_t held = cli_held(cli);
	char missing[64] = "";
	char limited[64] = "";
	char gone[192];

	describe_gone(s, gone, sizeof(gone));
	if (lost)
		snprintf(missing, sizeof(missing), ", %" PRIu64 " lost", lost);
	if (held)
		snprintf(limited, sizeof(limited), ", %" PRIu64 " held back", held);
	cli_note(cli, "%s: %" PRIu64 " event%s over %.6f s%s%s%s; %" PRIu64 " KiB written", file->path, s->records,
		 s->records == 1 ? "" : "s", to_seconds(s->first_ns, s->last_ns), gone, missing, limited,
		 (cli_recording_size(file) + 1023) / 1024);
	cli_damage(cli);
}

/* ---- snapshots while it runs ---- */

int cli_snapshot_name(const char *path, time_t seconds, unsigned hundredths, char *name, size_t size)
{
	struct tm now;
	char stamp[32];

	if (!localtime_r(&seconds, &now) || !strftime(stamp, sizeof(stamp), "%Y%m%d%H%M%S", &now))
		return -EOVERFLOW;
	return snprintf(name, size, "%s.%s%02u", path, stamp, hundredths) < (int)size ? 0 : -ENAMETOOLONG;
}

/* A new file: two snapshots within a hundredth of a second, the second waits for the next. */
static int make_file(struct cli_recording *file, const char *path, char *name, size_t size)
{
	const struct timespec pause = { .tv_nsec = 10000000 };
	struct timeval now;
	int error;

	*file = (struct cli_recording) { .path = name, .fd = -1 };
	for (int i = 0; i < NAME_TRIES; i++) {
		gettimeofday(&now, NULL);
		error = cli_snapshot_name(path, now.tv_sec, (unsigned)now.tv_usec / 10000, name, size);
		if (error)
			return error;
		file->fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (file->fd >= 0) {
			snprintf(file->name, sizeof(file->name), "%s", name);
			return 0;
		}
		if (errno != EEXIST)
			return -errno;
		nanosleep(&pause, NULL);
	}
	return -EEXIST;
}

/* One that fails is told of; the recorder goes on. */
static void take_snapshot(struct cli *cli)
{
	struct flight *flight = cli->consumer;
	struct trace_snapshot contents = { 0 };
	struct cli_recording file;
	struct utap_error err;
	char name[4096];
	int error = make_file(&file, flight->end.path, name, sizeof(name));

	if (!error) {
		error = fill(cli, &file, &contents);
		if (!error)
			error = cli_recording_finish(cli, &file, true);
		if (error) {
			cli_recording_abandon(&file);
			unlink(name);
		}
	}
	if (!error) {
		note_contents(cli, &file, &contents);
		return;
	}
	base_error_system(&err, error, "the snapshot %s.. was not made", flight->end.path);
	cli_fail(cli, &err);
}

static bool is_triggered(const struct cli *cli, struct flight *flight)
{
	uint64_t now = base_now_ns();
	uint64_t hits;

	if (!cli->options.snapshot_on || (flight->trigger_ns && now - flight->trigger_ns < TRIGGER_NS))
		return false;
	hits = session_triggered(cli->session);
	if (hits == flight->triggered)
		return false;
	flight->triggered = hits;
	flight->trigger_ns = now;
	return true;
}

/* Threads that end before anybody asks for their names would have none. */
static void look_at_threads(struct cli *cli)
{
	const struct session_target *targets;
	size_t count = session_targets(cli->session, &targets);

	for (size_t i = 0; i < count; i++) {
		_cleanup_free_ pid_t *tids = NULL;
		long threads = targets[i].state == SESSION_RUNNING ? process_threads(targets[i].pid, &tids) : 0;

		for (long n = 0; n < threads; n++)
			(void)cli_comms_get(cli->comms, (uint32_t)tids[n], base_now_ns(), NULL);
	}
}

static int on_idle(struct cli *cli)
{
	struct flight *flight = cli->consumer;
	uint64_t now = base_now_ns();
	bool is_asked = cli_signal_snapshot();

	if (is_triggered(cli, flight) || is_asked)
		take_snapshot(cli);
	if (session_drain(cli->session, false, NULL, NULL) < 0) /* nothing to read; but makes ready for a snapshot */
		return -ENOMEM;
	if (now < flight->look_ns)
		return 0;
	flight->look_ns = now + LOOK_NS;
	look_at_threads(cli);
	return cli_recording_describe(cli, flight->book);
}

static void on_mapped(struct cli *cli, uint32_t source)
{
	struct flight *flight = cli->consumer;

	if (cli_recording_mapped(cli, flight->book, source))
		base_log(BASE_LOG_WARN, "no memory to remember what a target mapped");
}

static int on_start(struct cli *cli, struct utap_error *err)
{
	struct flight *flight = cli->consumer;
	int error = cli_events_create(NULL, &flight->book);

	if (!error && cli->options.stack == WIRE_STACK_RAW)
		cli_events_with_tables(flight->book);
	if (!error)
		error = cli_recording_describe(cli, flight->book);
	return error ? base_error_system(err, error, "cannot describe the targets") : 0;
}

/* ---- the end ---- */

static int finish(struct cli *cli)
{
	struct flight *flight = cli->consumer;
	struct trace_snapshot contents = { 0 };
	struct utap_error err;
	int error = fill(cli, &flight->end, &contents);
	int finished = 0;

	if (flight->end.is_begun)
		finished = cli_recording_finish(cli, &flight->end, !error);
	else
		cli_recording_abandon(&flight->end);
	error = error ? error : finished;
	if (!error) {
		note_contents(cli, &flight->end, &contents);
		return 0;
	}
	base_error_system(&err, error,
			  "the probes are taken out, and %s is not complete, because it cannot be written any more",
			  flight->end.path);
	return cli_fail(cli, &err);
}

/* ---- the whole ---- */

static int check_options(const struct cli *cli, struct utap_error *err)
{
	const struct cli_options *options = &cli->options;

	if (!options->overwrite)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE,
				  "--snapshot-on %.200s is for --overwrite: otherwise every hit is in the file",
				  options->snapshot_on);
	if (options->events)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE,
				  "-n %" PRIu64
				  " needs somebody who reads: with --overwrite nobody does before the end; use -d",
				  options->events);
	return 0;
}

static bool is_event(const char *snapshot_on, const char *group, const char *event)
{
	char name[2 * PROBE_NAME + 2];

	snprintf(name, sizeof(name), "%s:%s", group, event);
	return strcmp(snapshot_on, event) == 0 || strcmp(snapshot_on, name) == 0;
}

bool cli_snapshot_is_trigger(const char *snapshot_on, const char *text, const struct probe_spec *spec)
{
	char name[2 * PROBE_NAME + 2];

	if (strcmp(snapshot_on, text) == 0)
		return true;
	if (spec->event[0])
		return is_event(snapshot_on, spec->group, spec->event);
	if (spec->glob || spec->by_offset)
		return false;
	probe_event_name(spec->symbol, spec->offset, name, sizeof(name));
	return strcmp(snapshot_on, name) == 0 || (!spec->offset && strcmp(snapshot_on, spec->symbol) == 0);
}

bool cli_snapshot_is_trigger_source(const char *snapshot_on, const char *text, const struct probe_source *source)
{
	const char *name = source->is_static ? strchr(source->place, ':') : NULL;

	if (strcmp(snapshot_on, text) == 0)
		return true;
	if (source->event[0])
		return is_event(snapshot_on, *source->group ? source->group : "utap", source->event);
	return strcmp(snapshot_on, source->place) == 0 || (name && strcmp(snapshot_on, name + 1) == 0);
}

int cli_snapshot_record(struct cli *cli)
{
	const struct cli_consumer consumer = { .start = on_start,
					       .idle = on_idle,
					       .mapped = on_mapped,
					       .wait_ms = cli->options.snapshot_on ? WAIT_TRIGGER_MS : WAIT_MS };
	const char *path = cli->options.output ? cli->options.output : "perf.data";
	struct flight flight = { 0 };
	struct utap_error err = { 0 };
	int finished;
	int code;

	cli->consumer = &flight;
	cli_signals();
	cli_signals_snapshot();
	if (check_options(cli, &err) || cli_run_check(cli, &err) || cli_recording_open(&flight.end, path, &err))
		return cli_fail(cli, &err);
	code = cli_run(cli, PROBE_RECORD, &consumer);
	if (!flight.book) {
		cli_recording_abandon(&flight.end);
		return code;
	}
	finished = finish(cli);
	cli_events_destroy(flight.book);
	return code ? code : finished;
}
