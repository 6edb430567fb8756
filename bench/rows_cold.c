/* SPDX-License-Identifier: MIT */
/*
 * Ten thousand different functions called in turn, so that neither they nor their trampolines stay in the nearest caches and
 * predictors. The floor has its own trampoline for each as well; a round measures unprobed, floor and utap, in the same process.
 */
#include "probing.h"
#include "rows.h"
#include "samples.h"

#define FUNCTIONS 10000
#define CALLS (2 * FUNCTIONS) /* 40 bytes each: inside the usual ring */
#define ARGS " a=%di b=%si"

struct cold {
	struct remote remote;
	struct probing probing;
	bool record;
	uint64_t made, hits, lost;
	size_t places;
	struct samples plain, floor, utap;
};

/* Four in a row, the first not looked at: it brings pages in. */
static void measure(struct cold *cold, struct samples *into, bool probed)
{
	for (int i = 0; i < 4; i++) {
		double ns = remote_measure(&cold->remote, "cold", CALLS, 1, probed ? &cold->made : NULL);

		if (i)
			samples_add(into, ns);
		if (probed && cold->record)
			probing_drain(&cold->probing, &cold->remote);
	}
}

static void measure_utap(struct cold *cold)
{
	static const char *const symbols[] = { "cold_[0-9]*" };
	uint64_t lost = 0;

	probing_begin(&cold->probing, &cold->remote, cold->record ? PROBE_RECORD : PROBE_COUNT, symbols, 1,
		      cold->record ? ARGS : "", 0);
	measure(cold, &cold->utap, true);
	cold->hits += probing_hits(&cold->probing, &lost);
	cold->lost += lost;
	cold->places = (size_t)cold->probing.places;
	probing_end(&cold->probing, &cold->remote);
}

static void measure_round(struct cold *cold)
{
	measure(cold, &cold->plain, false);
	remote_floor(&cold->remote, cold->record ? "record" : "count");
	measure(cold, &cold->floor, false);
	remote_floor(&cold->remote, "off");
	measure_utap(cold);
}

static void report(struct bench *bench, const struct cold *cold)
{
	const char *what = cold->record ? "recorded" : "count-only";
	double plain = samples_median(&cold->plain);
	double utap = samples_median(&cold->utap) - plain, floor = samples_median(&cold->floor) - plain;
	/* Functions that cannot be probed cost nothing: what is measured is spread over the others. */
	double share = (double)cold->places / FUNCTIONS;
	char name[100];

	snprintf(name, sizeof(name), "%s hit round 10,000 functions over the hand-written one", what);
	report_limit(&bench->report, name, utap / share / floor, 1.6, "x",
		     "utap %.2f ns, floor %.2f ns, unprobed call %.2f ns", utap / share, floor, plain);
	snprintf(name, sizeof(name), "every %s hit is there, 10,000 functions", what);
	report_truth(&bench->report, name, cold->hits == cold->made / FUNCTIONS * cold->places && !cold->lost,
		     "%llu calls of %zu probed functions, %llu hits, %llu lost",
		     (unsigned long long)(cold->made / FUNCTIONS * cold->places), cold->places,
		     (unsigned long long)cold->hits, (unsigned long long)cold->lost);
}

static void rows(struct bench *bench, bool record)
{
	static struct cold cold;
	int rounds = bench_rounds(bench, 9);
	char path[4096];

	cold = (struct cold){ .record = record };
	bench_path(bench, "bench-cold", path);
	remote_start(&cold.remote, path);
	for (int i = 0; i < rounds && !cold.remote.error[0]; i++)
		measure_round(&cold);
	if (cold.remote.error[0])
		report_absent(&bench->report, record ? "recorded hit round 10,000 functions" : "count-only hit round 10,000 functions",
			      true, cold.remote.error);
	else
		report(bench, &cold);
	remote_end(&cold.remote);
}

void rows_cold(struct bench *bench)
{
	report_group(&bench->report, "cold", "10,000 functions in turn");
	rows(bench, false);
	rows(bench, true);
}
