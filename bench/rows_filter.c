/* SPDX-License-Identifier: MIT */
/*
 * What a hit costs that a condition leaves out, or a limit holds back: as ratio to counting it. Two copies of the same program, one with
 * probes that count, one with probes that would record, are measured in turn.
 */
#include "probing.h"
#include "rows.h"
#include "samples.h"

#define KINDS 4
#define CALLS 200000
#define WARM_UP 4

static const char *const kinds[KINDS] = { "nop5", "push", "lea", "mov" };
static const char *const symbols[KINDS] = { "hot_utap_nop5", "hot_utap_push", "hot_utap_lea", "hot_utap_mov" };

/* A program with probes in it. */
struct side {
	struct remote remote;
	struct probing probing;
	uint64_t made;
	struct samples plain[KINDS], utap[KINDS]; /* ns a call */
};

static void begin(struct bench *bench, struct side *side, const struct session_options *options, const char *args)
{
	char path[4096];

	*side = (struct side){ 0 };
	bench_path(bench, "bench-hot", path);
	remote_start(&side->remote, path);
	probing_begin_options(&side->probing, &side->remote, options, symbols, KINDS, args);
}

static void measure(struct side *side)
{
	for (size_t i = 0; i < KINDS; i++) {
		char set[32];

		snprintf(set, sizeof(set), "plain.%s", kinds[i]);
		samples_add(&side->plain[i], remote_measure(&side->remote, set, CALLS, 1, NULL));
		snprintf(set, sizeof(set), "utap.%s", kinds[i]);
		samples_add(&side->utap[i], remote_measure(&side->remote, set, CALLS, 1, &side->made));
	}
}

static void measure_both(struct bench *bench, struct side *count, struct side *other)
{
	int rounds = bench_rounds(bench, 21);

	for (int i = 0; i < rounds + WARM_UP && !count->remote.error[0] && !other->remote.error[0]; i++) {
		measure(count);
		measure(other);
		for (size_t k = 0; k < KINDS && i == WARM_UP - 1; k++)
			count->plain[k].count = count->utap[k].count = other->plain[k].count = other->utap[k].count = 0;
	}
}

/* The mean of the kinds: a single one may hide nearly all of its cost behind the call. */
static double cost(const struct side *side)
{
	double sum = 0;

	for (size_t i = 0; i < KINDS; i++)
		sum += samples_median(&side->utap[i]) - samples_median(&side->plain[i]);
	return sum / KINDS;
}

/* What was left out was left out, and what was held back is counted. */
static void report_exact(struct bench *bench, struct side *side, const char *what)
{
	uint64_t recorded = probing_drain(&side->probing, &side->remote);
	uint64_t hits = probing_hits(&side->probing, NULL);
	char name[100];

	snprintf(name, sizeof(name), "%s: all are accounted for", what);
	report_truth(&bench->report, name, hits == 0 ? !recorded : hits == side->made, "%llu calls, %llu hits, %llu recorded",
		     (unsigned long long)side->made, (unsigned long long)hits, (unsigned long long)recorded);
}

static void compare(struct bench *bench, const char *what, const struct session_options *options, const char *args, double target)
{
	const struct session_options counts = { .action = PROBE_COUNT };
	static struct side count, other;
	const char *error;

	begin(bench, &count, &counts, "");
	begin(bench, &other, options, args);
	measure_both(bench, &count, &other);
	error = count.remote.error[0] ? count.remote.error : other.remote.error;
	if (*error)
		report_absent(&bench->report, what, true, error);
	if (!*error) {
		char name[100];

		snprintf(name, sizeof(name), "%s over a count-only hit", what);
		report_limit(&bench->report, name, cost(&other) / cost(&count), target, "x", "%.2f ns, counted %.2f ns", cost(&other), cost(&count));
		report_exact(bench, &other, what);
	}
	probing_end(&count.probing, &count.remote);
	probing_end(&other.probing, &other.remote);
	remote_end(&count.remote);
	remote_end(&other.remote);
}

void rows_filter(struct bench *bench)
{
	const struct session_options records = { .action = PROBE_RECORD };
	const struct session_options every = { .action = PROBE_RECORD, .every = 1000000 };
	const struct session_options rate = { .action = PROBE_RECORD, .rate = 10 };

	report_group(&bench->report, "filter", "hits left out by a condition, held back by a limit, against counting them");
	compare(bench, "a false condition on a register", &records, " a=%di b=%si /a > 0x7000000000000000/", 1.5);
	compare(bench, "a false condition on 32 bits of a register", &records, " a=%di:s32 b=%si /a == -77777/", 1.5);
	compare(bench, "held back by --every", &every, " a=%di b=%si", 4);
	compare(bench, "held back by --max", &rate, " a=%di b=%si", 12);
}
