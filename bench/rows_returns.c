/* SPDX-License-Identifier: MIT */
/*
 * Calls recorded at their entry and at their return, over the hand-written pair; and returns alone, with the value returned, against the
 * kernel's uretprobe. As rows_hit.c measures: every role its own copy of the function, in turn, in one process.
 */
#include <string.h>

#include "kernel.h"
#include "probing.h"
#include "rows.h"
#include "samples.h"

#define KINDS 4
#define CALLS 8000 /* two records each: well inside the usual ring */
#define KERNEL_CALLS 5000
#define KERNEL_EVERY 3
#define WARM_UP 4
#define ROUNDS 31

static const char *const kinds[KINDS] = { "nop5", "push", "lea", "mov" };
static const char *const symbols[KINDS] = { "hot_utap_nop5", "hot_utap_push", "hot_utap_lea", "hot_utap_mov" };
static const char *const kernel_kinds[] = { "nop5", "push" };
#define KERNEL_KINDS 2 /* the first of the others */

struct returns {
	struct remote remote;
	struct probing probing;
	uint64_t made, floor_made, kernel_made;
	struct samples plain[KINDS], floor[KINDS], utap[KINDS], kernel[KINDS]; /* ns a call */
};

static double measure(struct returns *returns, const char *role, const char *kind, size_t calls, uint64_t *made)
{
	char set[32];

	snprintf(set, sizeof(set), "%s.%s", role, kind);
	return remote_measure(&returns->remote, set, calls, 1, made);
}

static void measure_kinds(struct returns *returns, bool floor, bool kernel)
{
	for (size_t i = 0; i < KINDS; i++) {
		samples_add(&returns->plain[i], measure(returns, "plain", kinds[i], CALLS, NULL));
		if (floor)
			samples_add(&returns->floor[i], measure(returns, "floor", kinds[i], CALLS, &returns->floor_made));
		samples_add(&returns->utap[i], measure(returns, "utap", kinds[i], CALLS, &returns->made));
		probing_drain(&returns->probing, &returns->remote);
		if (kernel && i < KERNEL_KINDS)
			samples_add(&returns->kernel[i],
				    measure(returns, "event", kinds[i], KERNEL_CALLS, &returns->kernel_made));
	}
}

static void measure_all(struct bench *bench, struct returns *returns, bool floor, bool kernel)
{
	int rounds = bench_rounds(bench, ROUNDS);

	for (int i = 0; i < WARM_UP; i++)
		measure_kinds(returns, floor, kernel && i == 0);
	for (size_t i = 0; i < KINDS; i++)
		returns->plain[i].count = returns->floor[i].count = returns->utap[i].count = returns->kernel[i].count = 0;
	for (int i = 0; i < rounds && !returns->remote.error[0]; i++)
		measure_kinds(returns, floor, kernel && i % KERNEL_EVERY == 0);
}

static double cost(const struct samples *with, const struct samples *without)
{
	return samples_median(with) - samples_median(without);
}

static void report_exact(struct bench *bench, const struct returns *returns, const char *what, unsigned records)
{
	uint64_t lost = 0, hits = probing_hits(&returns->probing, &lost);

	report_truth(&bench->report, what, hits == records * returns->made && !lost, "%llu calls, %llu records, %llu lost",
		     (unsigned long long)returns->made, (unsigned long long)hits, (unsigned long long)lost);
}

static void report_pairs(struct bench *bench, const struct returns *returns)
{
	for (size_t i = 0; i < KINDS; i++) {
		double utap = cost(&returns->utap[i], &returns->plain[i]);
		double floor = cost(&returns->floor[i], &returns->plain[i]);
		char name[100];

		snprintf(name, sizeof(name), "entry and return recorded over the hand-written pair, %s", kinds[i]);
		report_limit(&bench->report, name, utap / floor, 1.7, "x", "utap %.2f ns, floor %.2f ns, unprobed call %.2f ns",
			     utap, floor, samples_median(&returns->plain[i]));
	}
}

static void rows_pairs(struct bench *bench)
{
	static struct returns returns;
	char path[4096];
	uint64_t before;

	returns = (struct returns){ 0 };
	bench_path(bench, "bench-hot", path);
	remote_start(&returns.remote, path);
	probing_begin_pairs(&returns.probing, &returns.remote, symbols, KINDS, "%return r=$retval");
	before = remote_floor(&returns.remote, "pair");
	measure_all(bench, &returns, true, false);
	if (remote_floor(&returns.remote, "off") - before != 2 * returns.floor_made)
		remote_fail(&returns.remote, "the hand-written pair does not record every call: it is no reference");
	if (returns.remote.error[0]) {
		report_absent(&bench->report, "entry and return", true, returns.remote.error);
	} else {
		report_pairs(bench, &returns);
		report_exact(bench, &returns, "every entry and return is there", 2);
	}
	probing_end(&returns.probing, &returns.remote);
	remote_end(&returns.remote);
}

static void report_kernel(struct bench *bench, const struct returns *returns)
{
	for (size_t i = 0; i < KERNEL_KINDS; i++) {
		double utap = cost(&returns->utap[i], &returns->plain[i]);
		double kernel = cost(&returns->kernel[i], &returns->plain[i]);
		char name[100];

		snprintf(name, sizeof(name), "return recorded against the kernel's uretprobe, %s", kinds[i]);
		report_limit(&bench->report, name, utap / kernel, 1.0 / 20, "x", "utap %.2f ns, kernel %.0f ns", utap, kernel);
	}
}

static void rows_single(struct bench *bench)
{
	static struct returns returns;
	uint64_t offsets[KERNEL_KINDS] = { 0 };
	struct kernel_events events;
	char why[300] = "";
	char path[4096];
	bool kernel;

	returns = (struct returns){ 0 };
	bench_path(bench, "bench-hot", path);
	remote_start(&returns.remote, path);
	probing_begin(&returns.probing, &returns.remote, PROBE_RECORD, symbols, KINDS, "%return r=$retval", 0);
	remote_where(&returns.remote, "event.nop5", &offsets[0]);
	remote_where(&returns.remote, "event.push", &offsets[1]);
	kernel = !returns.remote.error[0] &&
		 kernel_events_open(&events, returns.remote.path, kernel_kinds, offsets, KERNEL_KINDS, true, why);
	measure_all(bench, &returns, false, kernel);
	if (kernel && kernel_events_count(&events) < returns.kernel_made)
		snprintf(why, sizeof(why), "the kernel's events did not fire for every call");
	if (kernel)
		kernel_events_close(&events);
	if (returns.remote.error[0])
		report_absent(&bench->report, "returns", true, returns.remote.error);
	else
		report_exact(bench, &returns, "every return is there", 1);
	if (returns.remote.error[0] || *why)
		report_absent(&bench->report, "return recorded against the kernel's uretprobe", returns.remote.error[0],
			      returns.remote.error[0] ? returns.remote.error : why);
	else
		report_kernel(bench, &returns);
	probing_end(&returns.probing, &returns.remote);
	remote_end(&returns.remote);
}

void rows_returns(struct bench *bench)
{
	report_group(&bench->report, "returns", "entry and return of calls: utap, floor, uretprobe");
	rows_pairs(bench);
	rows_single(bench);
}
