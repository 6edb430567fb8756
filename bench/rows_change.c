/* SPDX-License-Identifier: MIT */
/*
 * Inserting ten thousand probes in a running program, and taking them out. The program has a thread that calls these functions
 * without a pause on its own CPU; a second run with four threads is watched from outside for threads that stand still.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probing.h"
#include "process/process.h"
#include "rows.h"
#include "samples.h"

#define ARGS " a=%di b=%si"
#define COMMANDS 5 /* runs of the whole command */
#define WATCHED 4
#define WATCHED_RATE 2000000 /* calls a second: they work and sleep, and leave room for the watcher */

static const char *const symbols[] = { "cold_[0-9]*" };

struct change {
	struct remote remote;
	struct samples insert_ms, stopped_ms, remove_ms, remove_stopped_ms, command_ms;
	long places;
	size_t refused;
	char why[160];
};

static void measure_change(struct change *change)
{
	struct probing probing;

	probing_begin(&probing, &change->remote, PROBE_RECORD, symbols, 1, ARGS, 0);
	usleep(10000); /* it runs, probed */
	probing_end(&probing, &change->remote);
	if (change->remote.error[0])
		return;
	samples_add(&change->insert_ms, (double)probing.target.attach_ns / 1e6);
	samples_add(&change->stopped_ms, (double)probing.target.stopped_ns / 1e6);
	samples_add(&change->remove_ms, (double)probing.report.detach_ns / 1e6);
	samples_add(&change->remove_stopped_ms, (double)probing.report.stopped_ns / 1e6);
	change->places = probing.places;
	change->refused = probing.refused;
	snprintf(change->why, sizeof(change->why), "%s", probing.why);
}

/* The whole command, from start to exit: attach, count for 10 ms, detach, print ten thousand lines. */
static void measure_command(const struct bench *bench, struct change *change)
{
	char command[8192];
	uint64_t began = base_now_ns();

	snprintf(command, sizeof(command), "'%s/utap' stat -q -d 0.01 -e '%s:cold_[0-9]*' -p %d > /dev/null 2>&1", bench->build,
		 change->remote.path, change->remote.pid);
	if (change->remote.error[0])
		return;
	if (system(command))
		remote_fail(&change->remote, "failed: %.300s", command);
	else
		samples_add(&change->command_ms, (double)(base_now_ns() - began) / 1e6);
}

static void report_change(struct bench *bench, const struct change *change)
{
	struct report *report = &bench->report;

	report_limit(report, "inserting 10,000 probes in a running program", samples_median(&change->insert_ms), 150, "ms",
		     "%ld places, %zu refused%s%s", change->places, change->refused, change->refused ? ": " : "", change->why);
	report_limit(report, "of it, one thread stopped", samples_median(&change->stopped_ms), 20, "ms", "the longest single stop");
	report_limit(report, "removing them", samples_median(&change->remove_ms), 100, "ms", "longest single stop %.2f ms",
		     samples_median(&change->remove_stopped_ms));
	report_value(report, "utap stat -d 0.01 on them, from start to exit", samples_median(&change->command_ms), "ms",
		     "attach, 10 ms, detach, 10,000 lines of output");
}

/* ---- who stands still ---- */

struct watch {
	pid_t pid;
	atomic_bool stop;
	pid_t *tids;
	long count;
	unsigned *seen; /* looks at each thread that found it stopped by a tracer */
	uint64_t looks;
};

static char thread_state(pid_t pid, pid_t tid)
{
	char path[64], text[512];
	const char *end;
	FILE *in;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
	in = fopen(path, "r");
	if (!in)
		return '?';
	if (!fgets(text, sizeof(text), in))
		text[0] = '\0';
	fclose(in);
	end = strrchr(text, ')');
	return end && end[1] == ' ' ? end[2] : '?';
}

static void *watch_threads(void *arg)
{
	struct watch *watch = arg;

	while (!watch->stop) {
		for (long i = 0; i < watch->count; i++)
			watch->seen[i] += thread_state(watch->pid, watch->tids[i]) == 't';
		watch->looks++;
	}
	return NULL;
}

static bool watch_begin(struct watch *watch, struct remote *remote, pthread_t *thread)
{
	*watch = (struct watch){ .pid = remote->pid };
	watch->count = remote->error[0] ? -1 : process_threads(remote->pid, &watch->tids);
	watch->seen = calloc(watch->count > 0 ? (size_t)watch->count : 1, sizeof(*watch->seen));
	if (watch->count > 0 && watch->seen && !pthread_create(thread, NULL, watch_threads, watch))
		return true;
	remote_fail(remote, "the threads cannot be watched");
	free(watch->tids);
	free(watch->seen);
	return false;
}

/* Returns how many threads were ever seen stopped. */
static long watch_end(struct watch *watch, pthread_t thread, uint64_t *looks)
{
	long stopped = 0;

	watch->stop = true;
	pthread_join(thread, NULL);
	for (long i = 0; i < watch->count; i++)
		stopped += watch->seen[i] > 0;
	*looks += watch->looks;
	free(watch->tids);
	free(watch->seen);
	return stopped;
}

struct stopped {
	long inserting, removing; /* the most threads in one attach, one detach */
	uint64_t looks;
};

static void watch_change(struct remote *remote, struct stopped *most)
{
	struct probing probing;
	struct watch watch;
	pthread_t thread;
	long stopped;

	if (!watch_begin(&watch, remote, &thread))
		return;
	probing_begin(&probing, remote, PROBE_COUNT, symbols, 1, "", 0);
	stopped = watch_end(&watch, thread, &most->looks);
	most->inserting = stopped > most->inserting ? stopped : most->inserting;
	if (watch_begin(&watch, remote, &thread)) {
		probing_end(&probing, remote);
		stopped = watch_end(&watch, thread, &most->looks);
		most->removing = stopped > most->removing ? stopped : most->removing;
	}
	probing_end(&probing, remote);
}

static void rows_watched(struct bench *bench)
{
	struct stopped most = { 0 };
	struct remote remote;
	char path[4096];

	bench_path(bench, "bench-cold", path);
	remote_start(&remote, path);
	remote_spin(&remote, "cold", WATCHED, WATCHED_RATE);
	for (int i = 0; i < 10 && !remote.error[0]; i++)
		watch_change(&remote, &most);
	remote_stop(&remote);
	if (remote.error[0]) {
		report_absent(&bench->report, "threads stopped while inserting", true, remote.error);
	} else {
		report_limit(&bench->report, "threads stopped while inserting", (double)most.inserting, 1, "",
			     "of %d, the most seen in one of 10 attaches; %llu looks at each thread in all", WATCHED + 1,
			     (unsigned long long)most.looks);
		report_value(&bench->report, "threads stopped while removing", (double)most.removing, "",
			     "each of them shortly, one after another");
	}
	remote_end(&remote);
}

void rows_change(struct bench *bench)
{
	static struct change change;
	int rounds = bench_rounds(bench, 7);
	char path[4096];

	report_group(&bench->report, "change", "inserting and removing 10,000 probes");
	change = (struct change){ 0 };
	bench_path(bench, "bench-cold", path);
	remote_start(&change.remote, path);
	remote_spin(&change.remote, "cold", 1, 0);
	for (int i = 0; i < rounds && !change.remote.error[0]; i++)
		measure_change(&change);
	for (int i = 0; i < COMMANDS; i++)
		measure_command(bench, &change);
	remote_stop(&change.remote);
	if (change.insert_ms.count)
		report_change(bench, &change);
	if (change.remote.error[0])
		report_absent(&bench->report, "the program goes on, with right results", true, change.remote.error);
	else
		report_truth(&bench->report, "the program goes on, with right results", true,
			     "%d times probed and restored while it calls these functions", rounds + COMMANDS);
	remote_end(&change.remote);
	rows_watched(bench);
}
