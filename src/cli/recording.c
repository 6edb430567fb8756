/* SPDX-License-Identifier: MIT */
/* Files of utap record; see recording.h. */
#include "cli/recording.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void close_file(struct cli_recording *r)
{
	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1;
}

static int too_long(const struct cli_recording *r, struct utap_error *err)
{
	return base_error(err, -ENAMETOOLONG, UTAP_ERROR_USAGE, "-o %.100s..: the name is too long", r->path);
}

/* Is there something that is to be written where it is: a device, an empty file? */
static bool is_in_place(const char *path)
{
	struct stat st;

	return !stat(path, &st) && (!S_ISREG(st.st_mode) || st.st_size == 0);
}

static int open_in_place(struct cli_recording *r, struct utap_error *err)
{
	r->fd = open(r->path, O_RDWR | O_CLOEXEC);
	if (r->fd < 0)
		return base_error_system(err, -errno, "%s cannot be written", r->path);
	if (lseek(r->fd, 0, SEEK_SET) >= 0)
		return 0;
	close_file(r);
	return base_error(err, -ESPIPE, UTAP_ERROR_USAGE, "-o %s: a perf.data cannot be written to a pipe; use a file",
			  r->path);
}

/* Its name begins with a dot: FILE.* are the old one and snapshots. */
static int open_beside(struct cli_recording *r, struct utap_error *err)
{
	const char *slash = strrchr(r->name, '/');
	int directory = slash ? (int)(slash + 1 - r->name) : 0;

	if (snprintf(r->beside, sizeof(r->beside), "%.*s.%s.XXXXXX", directory, r->name, r->name + directory) >=
	    (int)sizeof(r->beside))
		return too_long(r, err);
	r->fd = mkostemp(r->beside, O_CLOEXEC);
	if (r->fd >= 0)
		return 0;
	r->beside[0] = '\0';
	return base_error_system(err, -errno, "%s cannot be written", r->path);
}

int cli_recording_open(struct cli_recording *r, const char *path, struct utap_error *err)
{
	char resolved[PATH_MAX];

	*r = (struct cli_recording) { .path = path, .fd = -1 };
	if (strcmp(path, "-") == 0)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE,
				  "-o -: a perf.data cannot be written to a pipe; name a file, or a format with --to");
	if (snprintf(r->name, sizeof(r->name), "%s", realpath(path, resolved) ? resolved : path) >= (int)sizeof(r->name))
		return too_long(r, err);
	return is_in_place(path) ? open_in_place(r, err) : open_beside(r, err);
}

/* What it is beside of becomes FILE.old. */
static int take_place(struct cli_recording *r)
{
	char old[sizeof(r->beside)];
	bool had_old;

	if (!r->beside[0])
		return 0;
	snprintf(old, sizeof(old), "%s.old", r->name);
	had_old = !rename(r->name, old);
	if (!had_old && errno != ENOENT)
		return -errno;
	if (rename(r->beside, r->name)) {
		int error = -errno;

		if (had_old)
			rename(old, r->name);
		return error;
	}
	r->beside[0] = '\0';
	return 0;
}

/* What it mapped when it was attached to, for it may be gone by now, and what it maps. */
static int describe_target(struct cli *cli, struct cli_events *events, uint32_t source)
{
	const struct session_target *targets;
	const struct process_maps *maps = session_maps(cli->session, source);
	int error;

	session_targets(cli->session, &targets);
	error = maps ? cli_events_maps(events, (uint32_t)targets[source].pid, maps) : 0;
	return error ? error : cli_events_process(events, (uint32_t)targets[source].pid);
}

int cli_recording_describe(struct cli *cli, struct cli_events *events)
{
	const struct session_target *targets;
	size_t count = session_targets(cli->session, &targets);
	int error = 0;

	for (size_t i = 0; i < count && !error; i++) {
		if (!cli_events_is_known(events, (uint32_t)targets[i].pid))
			error = describe_target(cli, events, (uint32_t)i);
		else if (targets[i].state == SESSION_RUNNING)
			error = cli_events_process(events, (uint32_t)targets[i].pid);
	}
	return error;
}

int cli_recording_mapped(struct cli *cli, struct cli_events *events, uint32_t source)
{
	const struct process_maps *maps = session_maps(cli->session, source);
	const struct session_target *targets;

	session_targets(cli->session, &targets);
	if (!cli_events_is_known(events, (uint32_t)targets[source].pid))
		return describe_target(cli, events, source);
	return maps ? cli_events_maps(events, (uint32_t)targets[source].pid, maps) : 0;
}

int cli_recording_start(struct cli *cli, struct cli_recording *r, struct utap_error *err)
{
	const struct trace_probe *probes;
	uint32_t count = session_probes(cli->session, &probes);
	int error = format_perf_create(r->fd, probes, count, &r->perf, err);

	if (error)
		return error;
	error = cli->options.compression ? format_perf_compress(r->perf, (int)cli->options.compression) : 0;
	if (error)
		return base_error_system(err, error, "%s cannot be written", r->path);
	r->probes = probes;
	r->nprobes = count;
	r->session = cli->session;
	error = cli_events_create(r->perf, &r->events);
	if (!error && cli->options.stack == WIRE_STACK_RAW)
		cli_events_with_tables(r->events);
	if (!error)
		error = cli_recording_describe(cli, r->events);
	if (!error)
		error = cli_events_build_ids(r->events, probes, count);
	if (!error)
		error = take_place(r);
	if (error)
		return base_error_system(err, error, "%s cannot be written", r->path);
	r->is_begun = true;
	return 0;
}

/* A perf.data begins with all its probes: with more of them it is written anew, beside, and then takes the old one's place. */
static int write_anew(struct cli_recording *r, const struct trace_probe *probes, uint32_t count)
{
	char path[sizeof(r->name) + 8];
	_cleanup_close_ int fd = -1;
	int error;

	if (snprintf(path, sizeof(path), "%s.grown", r->name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	error = format_perf_grow(r->perf, fd, probes, count, NULL);
	if (error < 0) {
		unlink(path);
		return error;
	}
	close(r->fd);
	r->fd = base_steal_fd(&fd);
	return rename(path, r->name) ? -errno : 0;
}

/* Programs executed since: their mappings are others than those known of the same process. */
static int describe_new(struct cli *cli, struct cli_recording *r)
{
	const struct session_target *targets;
	size_t count = session_targets(cli->session, &targets);
	int error = 0;

	for (; !error && r->ntargets < count; r->ntargets++)
		if (targets[r->ntargets].state == SESSION_RUNNING)
			error = describe_target(cli, r->events, (uint32_t)r->ntargets);
	return error;
}

int cli_recording_grow(struct cli *cli, struct cli_recording *r)
{
	const struct trace_probe *probes;
	uint32_t count = session_probes(cli->session, &probes);
	bool has_new = count > r->nprobes;
	int error;

	if (probes == r->probes && !has_new)
		return describe_new(cli, r);
	error = has_new ? write_anew(r, probes, count) : format_perf_grow(r->perf, -1, probes, count, NULL);
	if (error)
		return error;
	r->probes = probes;
	r->nprobes = count;
	error = has_new ? cli_recording_describe(cli, r->events) : 0;
	return !error && has_new ? cli_events_build_ids(r->events, probes, count) : error;
}

/* A process that nobody told of was forked by a target: it may be gone by now, and with it its mappings, which began as the parent's. */
static int describe_child(struct cli_recording *r, const struct trace_record *record)
{
	const struct session_target *targets;
	size_t count = session_targets(r->session, &targets);
	int error = 0;

	if (record->source < count && (uint32_t)targets[record->source].pid != record->pid)
		error = format_perf_fork(r->perf, record->pid, (uint32_t)targets[record->source].pid);
	return error ? error : cli_events_process(r->events, record->pid);
}

int cli_recording_put(struct cli_recording *r, const struct trace_record *record, bool is_new, const char *comm)
{
	int error = 0;

	if (is_new && !cli_events_is_known(r->events, record->pid))
		error = describe_child(r, record);
	if (!error && is_new && comm)
		error = format_perf_comm(r->perf, record->pid, record->tid, comm);
	return error ? error : format_perf_sample(r->perf, record);
}

static int write_lost(struct cli *cli, struct cli_recording *r)
{
	const struct trace_probe *probes;
	uint32_t count = session_probes(cli->session, &probes);
	uint64_t now = base_now_ns();
	int error = 0;

	for (uint32_t id = 0; id < count && !error; id++) {
		struct session_counts counts = { 0 };

		session_count(cli->session, id, &counts);
		if (counts.lost)
			error = format_perf_lost(r->perf, id, counts.lost, cli->ended_ns ? cli->ended_ns : now);
	}
	return error;
}

int cli_recording_finish(struct cli *cli, struct cli_recording *r, bool with_losses)
{
	int error = with_losses ? cli_recording_grow(cli, r) : 0;
	int finished;

	if (!error && with_losses)
		error = write_lost(cli, r);
	finished = format_perf_finish(r->perf);
	r->perf = NULL;
	if (close(r->fd) && !finished)
		finished = -errno;
	r->fd = -1;
	cli_events_destroy(r->events);
	r->events = NULL;
	return finished ? finished : error;
}

void cli_recording_abandon(struct cli_recording *r)
{
	if (r->perf && format_perf_finish(r->perf))
		base_log(BASE_LOG_DEBUG, "%s was not finished", r->path);
	r->perf = NULL;
	cli_events_destroy(r->events);
	r->events = NULL;
	if (!r->beside[0] && r->fd >= 0 && ftruncate(r->fd, 0))
		base_log(BASE_LOG_DEBUG, "%s is no file that can be emptied", r->path);
	close_file(r);
	if (r->beside[0])
		unlink(r->beside);
	r->beside[0] = '\0';
}

uint64_t cli_recording_size(const struct cli_recording *r)
{
	struct stat st;

	return stat(r->path, &st) == 0 ? (uint64_t)st.st_size : 0;
}
