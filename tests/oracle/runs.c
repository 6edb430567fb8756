/* SPDX-License-Identifier: MIT */
#include "runs.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/engine.h"
#include "session/inside.h"
#include "uprobes.h"

#define RING (64ULL << 20) /* bytes a CPU */
#define POLL_MS 20
#define LOADER_CALLS 2 /* of _dl_debug_state: it begins to add objects; all are in place */

/* ---- common ---- */

/* Point our own 0, 1 and 2 where the program's are to be. */
static int redirect(const char *output)
{
	_cleanup_close_ int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int out = open(output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (null < 0 || out < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
		return -errno;
	return 0;
}

/* Standard output and error of this program, kept while a run uses 0, 1 and 2. */
static void restore(int saved[2])
{
	dup2(saved[0], 1);
	dup2(saved[1], 2);
	close(saved[0]);
	close(saved[1]);
}

static int save(int saved[2])
{
	saved[0] = fcntl(1, F_DUPFD_CLOEXEC, 10);
	saved[1] = fcntl(2, F_DUPFD_CLOEXEC, 10);
	return saved[0] < 0 || saved[1] < 0 ? -errno : 0;
}

static pid_t start_companion(const struct run *run)
{
	pid_t pid = run->companion ? fork() : 0;

	if (!run->companion || pid)
		return pid;
	if (redirect("/dev/null"))
		_exit(126);
	execl("/bin/sh", "sh", "-c", run->companion, NULL);
	_exit(127);
}

static void end_companion(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGTERM);
	waitpid(pid, NULL, 0);
}

/* One step of waiting: 1 it ended, 0 not yet, negative errno. */
static int look(pid_t pid, uint64_t deadline_ns, int *status, struct utap_error *err)
{
	pid_t done = waitpid(pid, status, WNOHANG);

	if (done == pid)
		return 1;
	if (done < 0)
		return base_error_system(err, -errno, "cannot wait for the program");
	if (base_now_ns() < deadline_ns)
		return 0;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return base_error_system(err, -ETIMEDOUT, "the program did not end");
}

static uint64_t deadline(const struct run *run) { return base_now_ns() + run->timeout_s * 1000000000ULL; }

/* Wait for a program that runs. */
static int wait_for(const struct run *run, pid_t pid, int *status, struct utap_error *err)
{
	uint64_t until = deadline(run);
	pid_t companion = start_companion(run);
	int result = 0;

	while (!result) {
		result = look(pid, until, status, err);
		usleep(result ? 0 : 2000);
	}
	end_companion(companion);
	return result < 0 ? result : 0;
}

int run_plain(const struct run *run, int *status, struct utap_error *err)
{
	pid_t pid = fork();

	if (pid < 0)
		return base_error_system(err, -errno, "cannot start the program");
	if (!pid) {
		if (!redirect(run->output))
			execv(run->argv[0], run->argv);
		_exit(127);
	}
	return wait_for(run, pid, status, err);
}

/* ---- started, and stopped where the libraries are in place ---- */

static int spawn(const struct run *run, pid_t *pid, struct utap_error *err)
{
	int saved[2];
	int error = save(saved);

	if (error)
		return base_error_system(err, error, "cannot keep standard output");
	error = redirect(run->output);
	error = error ? base_error_system(err, error, "cannot write %s", run->output) : engine_spawn(run->argv, pid, err);
	restore(saved);
	return error;
}

static void kill_spawned(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, __WALL);
}

/* Both sides have this one uprobe: the kernel maps the page it steps instructions in at the first hit, at the same place then. */
static int attach_start(struct uprobes *uprobes, pid_t pid, const struct places *places)
{
	uint64_t cookie = UPROBES_START;

	return *places->loader ? uprobes_attach(uprobes, pid, places->loader, &places->start, &cookie, 1) : 0;
}

/* ---- the kernel ---- */

static bool is_counted(const struct place *place) { return place->probed && !place->hot && !place->no_kernel; }

static uint32_t count_all(const struct places *places)
{
	uint32_t n = 0;

	for (size_t f = 0; f < places->nfiles; f++)
		for (size_t i = 0; i < places->files[f].count; i++)
			n += is_counted(&places->files[f].place[i]);
	return n;
}

static int attach_file(struct uprobes *uprobes, pid_t pid, const struct places_file *file, uint64_t *cookie)
{
	_cleanup_free_ uint64_t *offsets = calloc(file->count + 1, sizeof(*offsets));
	_cleanup_free_ uint64_t *cookies = calloc(file->count + 1, sizeof(*cookies));
	uint32_t n = 0;

	if (!offsets || !cookies)
		return -ENOMEM;
	for (size_t i = 0; i < file->count; i++)
		if (is_counted(&file->place[i])) {
			offsets[n] = file->place[i].offset;
			cookies[n++] = (*cookie)++;
		}
	return uprobes_attach(uprobes, pid, file->path, offsets, cookies, n);
}

static int attach_all(struct uprobes *uprobes, pid_t pid, const struct places *places, struct utap_error *err)
{
	uint64_t cookie = UPROBES_START + 1;
	int error = attach_start(uprobes, pid, places);

	for (size_t f = 0; !error && f < places->nfiles; f++)
		error = attach_file(uprobes, pid, &places->files[f], &cookie);
	return error ? base_error_system(err, error, "cannot set the kernel's uprobes") : 0;
}

/* Nothing may lie where utap's memory was: what the program maps then lies where it lay under utap. */
static int reserve(pid_t pid, const struct places *places, struct utap_error *err)
{
	_cleanup_close_ int mem = process_mem_open(pid);
	struct engine_loan *loan;
	int error = engine_lend(pid, mem, &loan, err);

	if (error)
		return error;
	for (size_t i = 0; !error && i < places->nreserved; i++) {
		uint64_t args[6] = {
			places->reserved[i].start,
			places->reserved[i].end - places->reserved[i].start,
			PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE,
			(uint64_t)-1,
			0,
		};
		int64_t result = 0;

		error = engine_call(loan, SYS_mmap, args, &result);
		if (!error && (uint64_t)result != args[0])
			error = result < 0 ? (int)result : -EEXIST;
	}
	engine_return(loan);
	return error ? base_error_system(err, error, "cannot reserve utap's room in process %d", pid) : 0;
}

static void take_counts(const struct uprobes *uprobes, struct places *places, unsigned number)
{
	const volatile struct uprobes_counter *counter = uprobes_counters(uprobes) + 1;

	for (size_t f = 0; f < places->nfiles; f++)
		for (size_t i = 0; i < places->files[f].count; i++) {
			struct place *place = &places->files[f].place[i];

			if (!is_counted(place))
				continue;
			place->kernel[number] = (struct place_count) {
				.count = counter->count, .sum = counter->sum, .mapped = counter->mapped, .low = counter->low
			};
			place->early = counter->early;
			counter++;
		}
}

static int run_counted(const struct run *run, struct uprobes *uprobes, const struct places *places, int *status,
		       struct utap_error *err)
{
	pid_t pid;
	int error = spawn(run, &pid, err);

	if (error)
		return error;
	error = attach_all(uprobes, pid, places, err);
	if (!error)
		error = session_run_to_start(pid, err);
	if (!error)
		error = reserve(pid, places, err);
	if (error) {
		kill_spawned(pid);
		return error;
	}
	engine_release(pid);
	error = wait_for(run, pid, status, err);
	if (!error && *places->loader && uprobes_counters(uprobes)[UPROBES_START].count < LOADER_CALLS)
		error = base_error(err, -EINVAL, UTAP_ERROR_SYSTEM, "the dynamic linker did not call _dl_debug_state");
	return error;
}

int run_kernel(const struct run *run, struct places *places, unsigned number, int *status, struct utap_error *err)
{
	struct uprobes *uprobes = NULL;
	int error = uprobes_create(run->returns, count_all(places) + 1, *places->loader ? LOADER_CALLS : 0, &uprobes);

	if (error)
		return base_error_system(err, error, "cannot load the kernel's side (uprobe_multi needs root and Linux 6.6)");
	error = run_counted(run, uprobes, places, status, err);
	if (!error)
		take_counts(uprobes, places, number);
	uprobes_destroy(uprobes);
	return error;
}

/* ---- utap ---- */

struct consumer {
	struct place **by_id;
	uint32_t nprobes;
	uint32_t pid;
	struct run_report *report;
};

static void count(struct place_count *count, uint64_t first)
{
	count->count++;
	if (first >> 39 == UPROBES_MMAP_PREFIX && first >> 27 < UPROBES_MMAP_END) {
		count->mapped++;
		count->low += first & UPROBES_LOW;
	} else {
		count->sum += first;
	}
}

static int consume(void *arg, const struct trace_record *record)
{
	struct consumer *c = arg;
	struct place *place = c->by_id[record->id];

	if (!place)
		return -EINVAL; /* no such place was patched */
	if (record->pid != c->pid) {
		c->report->children++;
		return 0;
	}
	c->report->hits++;
	count(&place->utap, record->args[0]);
	place->utap.tails += !!(record->flags & WIRE_RECORD_TAIL);
	return 0;
}

static void on_refused(void *arg, const char *place, const char *why)
{
	struct run_report *report = arg;
	size_t i = 0;

	(void)place;
	report->refused++;
	while (i < RUNS_WHYS - 1 && report->whys[i].count && strncmp(report->whys[i].text, why, sizeof(report->whys[i].text) - 1))
		i++;
	if (!report->whys[i].count++)
		snprintf(report->whys[i].text, sizeof(report->whys[i].text), "%s", i < RUNS_WHYS - 1 ? why : "other reasons");
}

static int add_file(struct session *session, const struct places_file *file, bool returns, struct utap_error *err)
{
	_cleanup_free_ struct probe_spec *spec = calloc(1, sizeof(*spec));
	_cleanup_free_ uint64_t *offsets = calloc(file->count, sizeof(*offsets));
	char text[4200];
	int error;

	if (!spec || !offsets)
		return base_error_system(err, -ENOMEM, "cannot add probes");
	snprintf(text, sizeof(text), returns ? "%s:0x1%%return result=$retval:x64" : "%s:0x1 first=%%di:x64", file->path);
	error = probe_parse(text, spec, NULL, err);
	for (size_t i = 0; i < file->count; i++)
		offsets[i] = file->place[i].offset;
	return error ? error : session_add_places(session, spec, offsets, file->count, err);
}

/* Which place each id is; two ids never are one place, but an id may have many: the exits of a function. */
static int find_places(struct session *session, struct places *places, struct consumer *c, struct utap_error *err)
{
	const struct session_site *sites;
	const struct trace_probe *probes;
	size_t nsites = session_sites(session, &sites);

	c->nprobes = session_probes(session, &probes);
	c->by_id = calloc(c->nprobes + 1, sizeof(struct place *));
	if (!c->by_id)
		return base_error_system(err, -ENOMEM, "cannot keep the probes");
	for (size_t i = 0; i < nsites; i++) {
		uint32_t id = sites[i].id;
		struct place *place = places_at(places, probes[id].path, probes[id].offset);

		if (place && place->probed && place->id == id)
			continue;
		if (!place || place->probed)
			return base_error(err, -EINVAL, UTAP_ERROR_SYSTEM, "utap probes %s:0x%lx, which was not asked for",
					  probes[id].path, (unsigned long)probes[id].offset);
		c->by_id[id] = place;
		place->probed = true;
		place->id = id;
		place->layer = sites[i].layer;
	}
	for (uint32_t id = 0; id < c->nprobes; id++)
		c->report->probed += c->by_id[id] != NULL;
	return 0;
}

static int follow(const struct run *run, struct session *session, struct consumer *c, int *status,
		  struct utap_error *err)
{
	uint64_t until = deadline(run);
	int ended = 0;

	while (!ended) {
		session_wait(session, POLL_MS);
		ended = look((pid_t)c->pid, until, status, err);
		if (ended < 0)
			return ended;
		if (session_drain(session, ended, consume, c) < 0)
			return base_error_system(err, -EIO, "cannot read the rings");
	}
	return 0;
}

static void take_totals(struct session *session, struct consumer *c)
{
	struct trace_stats stats;

	session_stats(session, &stats);
	c->report->damaged = stats.damaged + stats.overrun + stats.abandoned;
	for (uint32_t id = 0; id < c->nprobes; id++) {
		struct session_counts counts;

		session_count(session, id, &counts);
		c->report->counted += counts.hits;
		c->report->lost += counts.lost;
	}
}

/* What is mapped in @after and was not in @before, by address. */
static int find_reserved(const struct process_maps *before, const struct process_maps *after, struct places *places)
{
	for (size_t i = 0; i < after->count; i++) {
		const struct process_map *map = &after->map[i];
		struct places_range *last = places->nreserved ? &places->reserved[places->nreserved - 1] : NULL;

		if (map->start == map->end || process_maps_at(before, map->start))
			continue;
		if (last && last->end == map->start) {
			last->end = map->end;
			continue;
		}
		if (base_grow(&places->reserved, &places->reserved_cap, places->nreserved + 1, sizeof(*places->reserved)))
			return -ENOMEM;
		places->reserved[places->nreserved++] = (struct places_range) { .start = map->start, .end = map->end };
	}
	return 0;
}

/* As session_spawn(), and what it maps in the process is noted. */
static int start_session(const struct run *run, struct session *session, struct uprobes *uprobes, struct places *places,
			 pid_t *pid, struct utap_error *err)
{
	struct process_maps before = { 0 }, after = { 0 };
	int error = spawn(run, pid, err);

	if (error)
		return error;
	error = attach_start(uprobes, *pid, places);
	error = error ? base_error_system(err, error, "cannot set a uprobe") : session_run_to_start(*pid, err);
	if (!error && process_maps_read(*pid, &before))
		error = base_error_system(err, -ESRCH, "cannot read what process %d maps", *pid);
	if (!error)
		error = (int)session_attach(session, *pid, err);
	if (error >= 0 && (process_maps_read(*pid, &after) || find_reserved(&before, &after, places)))
		error = base_error_system(err, -ESRCH, "cannot read what process %d maps", *pid);
	process_maps_free(&before);
	process_maps_free(&after);
	if (error < 0)
		kill_spawned(*pid);
	else
		engine_release(*pid);
	return error < 0 ? error : 0;
}

static int run_session(const struct run *run, struct session *session, struct uprobes *uprobes, struct places *places,
		       int *status, struct run_report *report, struct utap_error *err)
{
	struct consumer c = { .report = report };
	pid_t companion, pid;
	int error = 0;

	for (size_t f = 0; !error && f < places->nfiles; f++)
		error = add_file(session, &places->files[f], run->returns, err);
	if (!error)
		error = start_session(run, session, uprobes, places, &pid, err);
	if (error)
		return error;
	companion = start_companion(run);
	c.pid = (uint32_t)pid;
	error = find_places(session, places, &c, err);
	if (error)
		kill_spawned(pid);
	else
		error = follow(run, session, &c, status, err);
	end_companion(companion);
	if (!error)
		take_totals(session, &c);
	free(c.by_id);
	return error;
}

int run_utap(const struct run *run, struct places *places, int *status, struct run_report *report,
	     struct utap_error *err)
{
	struct session_options options = {
		.action = PROBE_RECORD,
		.ring_size = RING,
		.refused = on_refused,
		.refused_arg = report,
	};
	struct session *session;
	struct uprobes *uprobes = NULL;
	int error = session_create(&options, &session, err);

	if (error)
		return error;
	error = uprobes_create(false, UPROBES_START + 1, 0, &uprobes);
	error = error ? base_error_system(err, error, "cannot load the kernel's side") :
			run_session(run, session, uprobes, places, status, report, err);
	uprobes_destroy(uprobes);
	session_destroy(session);
	return error;
}
