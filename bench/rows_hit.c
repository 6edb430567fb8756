/* SPDX-License-Identifier: MIT */
/*
 * One tiny function called in a loop. Every role has its own copy of it, so that unprobed, floor, utap and kernel are measured
 * in turn, round after round, in one process; a hit's cost is the median of a call's CPU time less that of the unprobed copy's.
 * The rings are emptied between the measurements: no record may be lost, or less than the whole work would be measured.
 */
#include <math.h>
#include <string.h>

#include "kernel.h"
#include "probing.h"
#include "rows.h"
#include "samples.h"

#define KINDS 4
#define ARGS " a=%di b=%si"
#define COUNT_CALLS 200000
#define RECORD_CALLS 16000 /* 40 bytes each: well inside the usual ring */
#define KERNEL_CALLS 10000
#define KERNEL_EVERY 3     /* rounds; the kernel takes its time */
#define WARM_UP 4          /* rounds not looked at */
#define THREAD_RING (32UL << 20)
#define THREAD_CALLS 700000 /* a CPU: long enough for 8 threads to be preempted, and to fit that ring */

static const char *const kinds[KINDS] = { "nop5", "push", "lea", "mov" };
static const char *const symbols[KINDS] = { "hot_utap_nop5", "hot_utap_push", "hot_utap_lea", "hot_utap_mov" };
static const int thread_counts[] = { 1, 2, 8 };
#define THREAD_COUNTS 3

struct hit {
	struct remote remote;
	struct probing probing;
	bool record;
	size_t calls;
	uint64_t made, floor_made, kernel_made;
	struct samples plain[KINDS], floor[KINDS], utap[KINDS], kernel[KINDS]; /* ns a call */
	struct samples threads_plain[THREAD_COUNTS], threads_utap[THREAD_COUNTS];
};

static double measure(struct hit *hit, const char *role, const char *kind, size_t calls, int threads, uint64_t *made)
{
	char set[32];

	snprintf(set, sizeof(set), "%s.%s", role, kind);
	return remote_measure(&hit->remote, set, calls, threads, made);
}

static void measure_utap(struct hit *hit, const char *kind, int threads, size_t calls, struct samples *into)
{
	samples_add(into, measure(hit, "utap", kind, calls, threads, &hit->made));
	if (hit->record)
		probing_drain(&hit->probing, &hit->remote);
}

static void measure_kinds(struct hit *hit, const char *kernel_role, unsigned kernel_kinds)
{
	for (size_t i = 0; i < KINDS; i++) {
		samples_add(&hit->plain[i], measure(hit, "plain", kinds[i], hit->calls, 1, NULL));
		samples_add(&hit->floor[i], measure(hit, "floor", kinds[i], hit->calls, 1, &hit->floor_made));
		measure_utap(hit, kinds[i], 1, hit->calls, &hit->utap[i]);
		if (kernel_kinds >> i & 1)
			samples_add(&hit->kernel[i],
				    measure(hit, kernel_role, kinds[i], KERNEL_CALLS, 1, &hit->kernel_made));
	}
}

static void forget_samples(struct hit *hit)
{
	for (size_t i = 0; i < KINDS; i++)
		hit->plain[i].count = hit->floor[i].count = hit->utap[i].count = hit->kernel[i].count = 0;
	for (size_t i = 0; i < THREAD_COUNTS; i++)
		hit->threads_plain[i].count = hit->threads_utap[i].count = 0;
}

/* @kernel_kinds: a bit for each kind that @kernel_role is probed at by the kernel */
static void measure_all(struct bench *bench, struct hit *hit, const char *kernel_role, unsigned kernel_kinds)
{
	int rounds = bench_rounds(bench, 31);

	remote_floor(&hit->remote, hit->record ? "record" : "count");
	for (int i = 0; i < WARM_UP; i++)
		measure_kinds(hit, kernel_role, i == 0 ? kernel_kinds : 0);
	forget_samples(hit);
	for (int i = 0; i < rounds && !hit->remote.error[0]; i++)
		measure_kinds(hit, kernel_role, i % KERNEL_EVERY == 0 ? kernel_kinds : 0);
}

static void measure_threads(struct bench *bench, struct hit *hit, const char *kind)
{
	int rounds = bench_rounds(bench, hit->record ? 7 : 11);

	for (int round = -2; round < rounds && !hit->remote.error[0]; round++) {
		if (round == 0)
			forget_samples(hit);
		for (size_t i = 0; i < THREAD_COUNTS; i++) {
			int threads = thread_counts[i];
			size_t calls = (size_t)(threads < 2 ? 1 : 2) * THREAD_CALLS;

			samples_add(&hit->threads_plain[i], measure(hit, "plain", kind, calls, threads, NULL));
			measure_utap(hit, kind, threads, calls, &hit->threads_utap[i]);
		}
	}
}

/* ---- rows ---- */

static double cost(const struct samples *with, const struct samples *without)
{
	return samples_median(with) - samples_median(without);
}

static void report_floor(struct bench *bench, const struct hit *hit)
{
	for (size_t i = 0; i < KINDS; i++) {
		double utap = cost(&hit->utap[i], &hit->plain[i]), floor = cost(&hit->floor[i], &hit->plain[i]);
		char name[100];

		snprintf(name, sizeof(name), "%s hit over the hand-written one, %s", hit->record ? "recorded" : "count-only",
			 kinds[i]);
		report_limit(&bench->report, name, utap / floor, hit->record ? 1.4 : 1.5, "x",
			     "utap %.2f ns, floor %.2f ns, unprobed call %.2f ns", utap, floor,
			     samples_median(&hit->plain[i]));
	}
}

static void report_kernel(struct bench *bench, const struct hit *hit, size_t kind, const char *what, double target)
{
	double utap = cost(&hit->utap[kind], &hit->plain[kind]), kernel = cost(&hit->kernel[kind], &hit->plain[kind]);
	char name[100];

	snprintf(name, sizeof(name), "%s hit against the kernel's %s, %s", hit->record ? "recorded" : "count-only", what,
		 kinds[kind]);
	report_limit(&bench->report, name, utap / kernel, target, "x", "utap %.2f ns, kernel %.0f ns", utap, kernel);
}

static void report_threads(struct bench *bench, const struct hit *hit)
{
	double least = INFINITY, most = 0, ns[THREAD_COUNTS];
	char name[100];

	for (size_t i = 0; i < THREAD_COUNTS; i++) {
		ns[i] = cost(&hit->threads_utap[i], &hit->threads_plain[i]);
		least = fmin(least, ns[i]);
		most = fmax(most, ns[i]);
	}
	snprintf(name, sizeof(name), "%s hit with 1, 2 and 8 threads, dearest over cheapest",
		 hit->record ? "recorded" : "count-only");
	report_limit(&bench->report, name, most / least, 1.5, "x", "CPU time a hit %.2f, %.2f, %.2f ns", ns[0], ns[1], ns[2]);
}

static void report_exact(struct bench *bench, const struct hit *hit, const char *when)
{
	uint64_t lost = 0, hits = probing_hits(&hit->probing, &lost);
	char name[100];

	snprintf(name, sizeof(name), "every %s hit is there, %s", hit->record ? "recorded" : "count-only", when);
	report_truth(&bench->report, name, hits == hit->made && !lost, "%llu calls, %llu hits, %llu lost",
		     (unsigned long long)hit->made, (unsigned long long)hits, (unsigned long long)lost);
}

static void check_floor(struct hit *hit, uint64_t before)
{
	uint64_t hits = remote_floor(&hit->remote, "off") - before;

	if (hits != hit->floor_made)
		remote_fail(&hit->remote, "the hand-written floor counts %llu of %llu hits: it is no reference",
			    (unsigned long long)hits, (unsigned long long)hit->floor_made);
}

/* ---- the three parts ---- */

static void begin(struct bench *bench, struct hit *hit, bool record, uint64_t ring)
{
	char path[4096];

	*hit = (struct hit){ .record = record, .calls = record ? RECORD_CALLS : COUNT_CALLS };
	bench_path(bench, "bench-hot", path);
	remote_start(&hit->remote, path);
	probing_begin(&hit->probing, &hit->remote, record ? PROBE_RECORD : PROBE_COUNT, symbols, KINDS,
		      record ? ARGS : "", ring);
}

static void end(struct hit *hit)
{
	probing_end(&hit->probing, &hit->remote);
	remote_end(&hit->remote);
}

static void rows_record(struct bench *bench)
{
	static struct hit hit;
	const char *const names[] = { "nop5", "push" };
	struct kernel_events events;
	uint64_t offsets[2] = { 0 }, floor_before;
	char why[300] = "";
	bool kernel;

	begin(bench, &hit, true, 0);
	remote_where(&hit.remote, "event.nop5", &offsets[0]);
	remote_where(&hit.remote, "event.push", &offsets[1]);
	kernel = !hit.remote.error[0] && kernel_events_open(&events, hit.remote.path, names, offsets, 2, false, why);
	floor_before = remote_floor(&hit.remote, "off");
	measure_all(bench, &hit, "event", kernel ? 3 : 0);
	check_floor(&hit, floor_before);
	if (kernel && kernel_events_count(&events) < hit.kernel_made) {
		snprintf(why, sizeof(why), "the kernel's events did not fire for every call");
		kernel_events_close(&events);
		kernel = false;
	} else if (kernel) {
		kernel_events_close(&events);
	}
	if (hit.remote.error[0]) {
		report_absent(&bench->report, "recorded hit", true, hit.remote.error);
	} else {
		report_floor(bench, &hit);
		report_exact(bench, &hit, "1 thread");
	}
	if (hit.remote.error[0] || !kernel) {
		report_absent(&bench->report, "recorded hit against the kernel's trace event", hit.remote.error[0],
			      hit.remote.error[0] ? hit.remote.error : why);
	} else {
		report_kernel(bench, &hit, 0, "trace event", 1.0 / 20);
		report_kernel(bench, &hit, 1, "trace event", 1.0 / 40);
	}
	end(&hit);
}

static void rows_count(struct bench *bench)
{
	static struct hit hit;
	struct kernel_link link;
	uint64_t offset = 0, floor_before;
	char why[300] = "";
	bool kernel;

	begin(bench, &hit, false, 0);
	remote_where(&hit.remote, "link.nop5", &offset);
	kernel = !hit.remote.error[0] && kernel_link_open(&link, hit.remote.path, offset, hit.remote.pid, why);
	floor_before = remote_floor(&hit.remote, "off");
	measure_all(bench, &hit, "link", kernel ? 1 : 0);
	check_floor(&hit, floor_before);
	if (kernel && kernel_link_hits(&link) != hit.kernel_made) {
		snprintf(why, sizeof(why), "the link counted %llu of %llu calls", (unsigned long long)kernel_link_hits(&link),
			 (unsigned long long)hit.kernel_made);
		kernel_link_close(&link);
		kernel = false;
	} else if (kernel) {
		kernel_link_close(&link);
	}
	if (hit.remote.error[0]) {
		report_absent(&bench->report, "count-only hit", true, hit.remote.error);
	} else {
		report_floor(bench, &hit);
		report_exact(bench, &hit, "1 thread");
	}
	if (hit.remote.error[0] || !kernel)
		report_absent(&bench->report, "count-only hit against a uprobe_multi link", hit.remote.error[0],
			      hit.remote.error[0] ? hit.remote.error : why);
	else
		report_kernel(bench, &hit, 0, "uprobe_multi link", 1.0 / 80);
	end(&hit);
}

static void rows_threads(struct bench *bench, bool record)
{
	static struct hit hit;

	begin(bench, &hit, record, record ? THREAD_RING : 0);
	measure_threads(bench, &hit, "nop5"); /* the cheapest: the ratio hides nothing */
	if (hit.remote.error[0]) {
		report_absent(&bench->report, "1, 2 and 8 threads", true, hit.remote.error);
	} else {
		report_threads(bench, &hit);
		report_exact(bench, &hit, "up to 8 threads");
	}
	end(&hit);
}

void rows_hit(struct bench *bench)
{
	report_group(&bench->report, "count", "counting hits: utap, floor, uprobe_multi");
	rows_count(bench);
	report_group(&bench->report, "record", "recording hits: utap, floor, trace events");
	rows_record(bench);
	report_group(&bench->report, "threads", "1, 2 and 8 threads");
	rows_threads(bench, false);
	rows_threads(bench, true);
}
