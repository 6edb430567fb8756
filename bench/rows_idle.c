/* SPDX-License-Identifier: MIT */
/*
 * What a probe costs that does not fire: a function that is not probed, in a page where others are, called with these
 * probes in place and without them. The same function in a page that is never touched shows how much such a comparison is worth.
 */
#include <math.h>

#include "probing.h"
#include "rows.h"
#include "samples.h"

#define CALLS 1000000
#define NOTHING_NS 0.1 /* a third of a cycle of noise is what two equal measurements show here */

static void measure(struct remote *remote, struct samples *near, struct samples *far)
{
	samples_add(near, remote_measure(remote, "utap.idle", CALLS, 1, NULL));
	samples_add(far, remote_measure(remote, "plain.idle", CALLS, 1, NULL));
}

static double median_difference(const struct samples *with, const struct samples *without)
{
	struct samples differences = { 0 };

	for (size_t i = 0; i < with->count && i < without->count; i++)
		samples_add(&differences, with->value[i] - without->value[i]);
	return samples_median(&differences);
}

void rows_idle(struct bench *bench)
{
	static const char *const symbols[] = { "hot_utap_nop5", "hot_utap_push", "hot_utap_lea", "hot_utap_mov" };
	static struct samples near[2], far[2]; /* without, with probes */
	int rounds = bench_rounds(bench, 21);
	struct remote remote;
	char path[4096];

	report_group(&bench->report, "idle", "probes that do not fire");
	bench_path(bench, "bench-hot", path);
	remote_start(&remote, path);
	for (int i = 0; i < rounds && !remote.error[0]; i++) {
		struct probing probing;

		measure(&remote, &near[0], &far[0]);
		probing_begin(&probing, &remote, PROBE_COUNT, symbols, 4, "", 0);
		measure(&remote, &near[1], &far[1]);
		probing_end(&probing, &remote);
	}
	if (remote.error[0])
		report_absent(&bench->report, "a probe that does not fire", true, remote.error);
	else
		report_limit(&bench->report, "a probe that does not fire, added to a call in its page",
			     fabs(median_difference(&near[1], &near[0])), NOTHING_NS, "ns",
			     "%.3f ns before, %.3f ns with probes; a page never probed: %.3f and %.3f ns",
			     samples_median(&near[0]), samples_median(&near[1]), samples_median(&far[0]),
			     samples_median(&far[1]));
	remote_end(&remote);
}
