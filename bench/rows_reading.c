/* SPDX-License-Identifier: MIT */
/*
 * Two threads produce records on two CPUs while `utap record` writes them to disk, with the reader competing for the same CPUs.
 * The threads begin after the text is patched and end before it is restored: their own number of calls must be what was read
 * plus what was lost, exactly. Once at three million a second, which nothing may be lost of, once at five, once as fast as they can.
 *
 * Then a million of them as text: utap script against perf script, of the same file, by CPU time.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process/process.h"
#include "remote.h"
#include "rows.h"

#define THREADS 2
#define SECONDS 3
#define RATE 5000000.0
#define RATE_WHOLE 3000000.0 /* nothing is lost */
#define RING "16M" /* what utap may be late: the machine does other things, too */
#define SCRIPTED "1000000"
#define SCRIPTS 3
#define PATIENCE_MS 5000

struct reading {
	struct remote remote;
	char output[4096], notes[4096]; /* files: perf.data, what utap says */
	bool is_scripted;               /* it ends after SCRIPTED records, of three arguments */
	uint64_t made, read, lost;
	double seconds;
	double reader_seconds; /* CPU time of utap */
	uint64_t bytes;
};

static pid_t start_utap(const struct bench *bench, const struct reading *r)
{
	char program[4096], probe[4300], pid[20];
	pid_t child;

	snprintf(program, sizeof(program), "%s/utap", bench->build);
	snprintf(probe, sizeof(probe), "p:bench/hit %s:hot_utap_nop5 a=%%di b=%%si%s", r->remote.path, r->is_scripted ? " c=%dx:s32" : "");
	snprintf(pid, sizeof(pid), "%d", r->remote.pid);
	fflush(NULL);
	child = fork();
	if (child)
		return child;
	if (!freopen(r->notes, "w", stderr))
		_exit(127);
	if (r->is_scripted)
		execl(program, program, "record", "-n", SCRIPTED, "-o", r->output, "-e", probe, "-p", pid, (char *)NULL);
	else
		execl(program, program, "record", "--ring", RING, "-o", r->output, "-e", probe, "-p", pid, (char *)NULL);
	_exit(127);
}

/* Until the first byte of the function changes, and utap does not. */
static void await_patch(struct reading *r, uint64_t addr, uint8_t original)
{
	int mem = process_mem_open(r->remote.pid);
	uint8_t byte = original;

	for (int i = 0; i < PATIENCE_MS && mem >= 0 && byte == original; i++) {
		usleep(1000);
		if (process_read(mem, addr, &byte, 1))
			break;
	}
	if (mem >= 0)
		close(mem);
	if (byte == original)
		remote_fail(&r->remote, "utap record does not patch the function");
}

/* utap's last words: "N events, M lost". */
static void read_notes(struct reading *r)
{
	FILE *in = fopen(r->notes, "r");
	char line[1000], first[1000] = "it says nothing";
	bool found = false;

	while (in && fgets(line, sizeof(line), in)) {
		const char *at = strstr(line, " event");

		if (strcmp(first, "it says nothing") == 0)
			snprintf(first, sizeof(first), "%.*s", (int)strcspn(line, "\n"), line);
		while (at && at > line && at[-1] >= '0' && at[-1] <= '9')
			at--;
		if (at && sscanf(at, "%" SCNu64 " event%*[s], %" SCNu64 " lost", &r->read, &r->lost) == 2)
			found = true;
	}
	if (in)
		fclose(in);
	if (!found)
		remote_fail(&r->remote, "utap record does not say what it read: %.200s", first);
}

static void produce(struct reading *r, double rate)
{
	uint64_t began = base_now_ns();

	remote_spin(&r->remote, "utap.nop5", THREADS, rate);
	if (!r->remote.error[0])
		sleep(SECONDS);
	r->made = remote_stop(&r->remote);
	r->seconds = (double)(base_now_ns() - began) / 1e9;
}

static double seconds_of(const struct timeval *t) { return (double)t->tv_sec + (double)t->tv_usec / 1e6; }

static void measure(struct bench *bench, struct reading *r, double rate)
{
	struct rusage usage = { 0 };
	struct stat st = { 0 };
	uint64_t addr;
	uint8_t original = 0;
	int mem, status = 0;
	pid_t utap;

	addr = remote_where(&r->remote, "utap.nop5", NULL);
	mem = process_mem_open(r->remote.pid);
	if (mem < 0 || process_read(mem, addr, &original, 1))
		remote_fail(&r->remote, "the target's memory cannot be read");
	if (mem >= 0)
		close(mem);
	if (r->remote.error[0])
		return;
	utap = start_utap(bench, r);
	await_patch(r, addr, original);
	usleep(50000); /* the file's header */
	produce(r, rate);
	if (utap > 0) {
		kill(utap, SIGINT);
		wait4(utap, &status, 0, &usage);
		r->reader_seconds = seconds_of(&usage.ru_utime) + seconds_of(&usage.ru_stime);
	}
	read_notes(r);
	if (!stat(r->output, &st))
		r->bytes = (uint64_t)st.st_size;
}

static void report(struct bench *bench, const struct reading *r, const char *what)
{
	bool exact = r->read + r->lost == r->made;
	char name[100];

	snprintf(name, sizeof(name), "records read to disk, %s", what);
	report_value(&bench->report, name, (double)r->read / r->seconds / 1e6, "M/s",
		     "%.2f M/s made; %.2f %% lost; utap took %.0f ns of CPU time a record; %.0f MB written", (double)r->made / r->seconds / 1e6,
		     r->made ? 100.0 * (double)r->lost / (double)r->made : 0.0,
		     r->read ? r->reader_seconds * 1e9 / (double)r->read : 0.0, (double)r->bytes / 1e6);
	snprintf(name, sizeof(name), "all are read, or it is said exactly what was lost, %s", what);
	report_truth(&bench->report, name, exact && r->made > 0, "%" PRIu64 " made, %" PRIu64 " read, %" PRIu64 " lost", r->made,
		     r->read, r->lost);
}

static void report_whole(struct bench *bench, const struct reading *r)
{
	report_limit(&bench->report, "records lost at 3 M/s, of a hundred", r->made ? 100.0 * (double)r->lost / (double)r->made : 100, 0.001,
		     "%", "%.2f M/s made by 2 threads; %.2f M/s read to disk", (double)r->made / r->seconds / 1e6,
		     (double)r->read / r->seconds / 1e6);
}

/* CPU seconds of a program that writes nowhere; below 0: it failed. */
static double seconds_of_program(char *const argv[])
{
	struct rusage usage = { 0 };
	int status = -1;
	pid_t child;

	fflush(NULL);
	child = fork();
	if (!child) {
		if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
			_exit(127);
		execvp(argv[0], argv);
		_exit(127);
	}
	if (child < 0 || wait4(child, &status, 0, &usage) != child || status)
		return -1;
	return seconds_of(&usage.ru_utime) + seconds_of(&usage.ru_stime);
}

/* The least of some runs: others disturb, and make none quicker. */
static double best_of(char *const argv[])
{
	double best = -1;

	for (int i = 0; i < SCRIPTS; i++) {
		double seconds = seconds_of_program(argv);

		if (seconds < 0)
			return -1;
		best = best < 0 || seconds < best ? seconds : best;
	}
	return best;
}

static void report_script(struct bench *bench, struct reading *r)
{
	static const char name[] = "utap script over perf script, a million records";
	char program[4096];
	char *ours[] = { program, "script", "-q", "-i", r->output, NULL };
	char *theirs[] = { "perf", "script", "-i", r->output, NULL };
	double utap, perf;

	snprintf(program, sizeof(program), "%s/utap", bench->build);
	utap = best_of(ours);
	perf = best_of(theirs);
	if (utap < 0)
		report_absent(&bench->report, name, true, "utap script failed");
	else if (perf < 0)
		report_absent(&bench->report, name, false, "perf script does not run here");
	else
		report_limit(&bench->report, name, utap / perf, 1.0 / 5, "x", "CPU time: utap %.0f ns a record, perf %.0f ns", utap * 1e3,
			     perf * 1e3);
}

static void rows_script(struct bench *bench)
{
	struct reading r = { .is_scripted = true };
	char path[4096];

	snprintf(r.output, sizeof(r.output), "%s/bench-script.data", bench->build);
	snprintf(r.notes, sizeof(r.notes), "%s/bench-script.notes", bench->build);
	bench_path(bench, "bench-hot", path);
	remote_start(&r.remote, path);
	measure(bench, &r, RATE_WHOLE);
	if (r.remote.error[0])
		report_absent(&bench->report, "utap script", true, r.remote.error);
	else
		report_script(bench, &r);
	remote_end(&r.remote);
	unlink(r.output);
	unlink(r.notes);
}

static void rows(struct bench *bench, const char *what, double rate)
{
	struct reading r = { 0 };
	char path[4096];

	snprintf(r.output, sizeof(r.output), "%s/bench-reading.data", bench->build);
	snprintf(r.notes, sizeof(r.notes), "%s/bench-reading.notes", bench->build);
	bench_path(bench, "bench-hot", path);
	remote_start(&r.remote, path);
	measure(bench, &r, rate);
	if (r.remote.error[0])
		report_absent(&bench->report, what, true, r.remote.error);
	else
		report(bench, &r, what);
	if (!r.remote.error[0] && rate == RATE_WHOLE)
		report_whole(bench, &r);
	remote_end(&r.remote);
	unlink(r.output);
	unlink(r.notes);
}

void rows_reading(struct bench *bench)
{
	report_group(&bench->report, "reading", "reading records to disk");
	rows(bench, "2 threads at 3 M/s", RATE_WHOLE);
	rows(bench, "2 threads at 5 M/s", RATE);
	rows(bench, "2 threads without a pause", 0);
	rows_script(bench);
}
