/* SPDX-License-Identifier: MIT */
/*
 * User stacks of twenty frames with each hit: along frame pointers, by unwind tables, and copied. As rows_hit.c
 * measures: a hit's cost is the median of a call's CPU time less that of the copy that nobody probes; the kernel's is a
 * uprobe that perf records with call chains.
 */
#include <string.h>

#include "kernel.h"
#include "probing.h"
#include "rows.h"
#include "samples.h"

#define FRAMES 20
#define COPIED 8192
#define CALLS 400 /* of the largest records a ring holds a few more */
#define RING (4UL << 20)
#define KERNEL_CALLS 2000
#define ROUNDS 41
#define WARM_UP 4

struct stacks {
	struct remote remote;
	struct probing probing;
	uint64_t made, records, bytes, addresses;
	bool all;                           /* each stack had FRAMES addresses */
	struct samples plain, utap, kernel; /* ns a call */
};

static int on_record(void *arg, const struct trace_record *record)
{
	struct stacks *stacks = arg;
	const struct trace_probe *probes;
	struct trace_stack stack = { 0 };

	session_probes(stacks->probing.session, &probes);
	stacks->records++;
	stacks->bytes += record->size;
	trace_stack_of(&probes[record->id], record, &stack);
	stacks->all = stacks->all && (stack.count == FRAMES || stack.raw);
	return 0;
}

static void drain(struct stacks *stacks)
{
	if (!stacks->remote.error[0] && session_drain(stacks->probing.session, true, on_record, stacks) < 0)
		remote_fail(&stacks->remote, "reading the rings failed");
}

static void measure_round(struct stacks *stacks)
{
	samples_add(&stacks->plain, remote_measure(&stacks->remote, "plain.deep", CALLS, 1, NULL));
	samples_add(&stacks->utap, remote_measure(&stacks->remote, "utap.deep", CALLS, 1, &stacks->made));
	drain(stacks);
}

/* One kind, attached, measured and detached: what a hit costs; bytes of a record in *@bytes. */
static double measure_kind(struct bench *bench, struct stacks *stacks, enum wire_stack_kind kind, uint32_t most,
			   double *bytes)
{
	static const char *const symbols[] = { "deep_utap" };
	const struct session_options options = {
		.action = PROBE_RECORD, .ring_size = RING, .stack = kind, .stack_most = most
	};
	int rounds = bench_rounds(bench, ROUNDS);
	uint64_t lost = 0;

	stacks->plain.count = stacks->utap.count = 0;
	stacks->made = stacks->records = stacks->bytes = 0;
	stacks->all = true;
	probing_begin_options(&stacks->probing, &stacks->remote, &options, symbols, 1, "");
	for (int i = 0; i < WARM_UP + rounds && !stacks->remote.error[0]; i++) {
		if (i == WARM_UP)
			stacks->plain.count = stacks->utap.count = 0;
		measure_round(stacks);
	}
	probing_hits(&stacks->probing, &lost);
	if (stacks->records != stacks->made || lost || (kind && !stacks->all))
		remote_fail(&stacks->remote, "%llu calls, %llu records, %llu lost, or not all with %d frames",
			    (unsigned long long)stacks->made, (unsigned long long)stacks->records,
			    (unsigned long long)lost, FRAMES);
	probing_end(&stacks->probing, &stacks->remote);
	*bytes = stacks->records ? (double)stacks->bytes / (double)stacks->records : 0;
	return samples_median(&stacks->utap) - samples_median(&stacks->plain);
}

static double measure_kernel(struct bench *bench, struct stacks *stacks, char why[300])
{
	struct kernel_chain chain;
	uint64_t offset, made = 0, samples = 0, addresses = 0;
	int rounds = bench_rounds(bench, 11);

	remote_where(&stacks->remote, "kernel.leaf", &offset);
	if (stacks->remote.error[0] || !kernel_chain_open(&chain, stacks->remote.path, offset, FRAMES, why))
		return 0;
	stacks->plain.count = stacks->kernel.count = 0;
	for (int i = 0; i < rounds && !stacks->remote.error[0]; i++) {
		samples_add(&stacks->plain, remote_measure(&stacks->remote, "plain.deep", KERNEL_CALLS, 1, NULL));
		samples_add(&stacks->kernel, remote_measure(&stacks->remote, "kernel.deep", KERNEL_CALLS, 1, &made));
		samples += kernel_chain_drain(&chain, &addresses);
	}
	kernel_chain_close(&chain);
	if (samples < made || addresses < samples * FRAMES)
		snprintf(why, 300, "the kernel recorded %llu of %llu calls, %.1f addresses each",
			 (unsigned long long)samples, (unsigned long long)made,
			 samples ? (double)addresses / (double)samples : 0);
	return samples_median(&stacks->kernel) - samples_median(&stacks->plain);
}

void rows_stacks(struct bench *bench)
{
	static struct stacks stacks;
	double none_bytes, fp_bytes, cfi_bytes, raw_bytes;
	double none, fp, cfi, raw, kernel;
	char why[300] = "";
	char path[4096];

	report_group(&bench->report, "stacks", "user stacks of twenty frames");
	stacks = (struct stacks) { 0 };
	bench_path(bench, "bench-deep", path);
	remote_start(&stacks.remote, path);
	none = measure_kind(bench, &stacks, 0, 0, &none_bytes);
	fp = measure_kind(bench, &stacks, WIRE_STACK_FP, FRAMES, &fp_bytes);
	cfi = measure_kind(bench, &stacks, WIRE_STACK_CFI, FRAMES, &cfi_bytes);
	raw = measure_kind(bench, &stacks, WIRE_STACK_RAW, COPIED, &raw_bytes);
	kernel = measure_kernel(bench, &stacks, why);
	remote_end(&stacks.remote);
	if (stacks.remote.error[0]) {
		report_absent(&bench->report, "stacks", true, stacks.remote.error);
		return;
	}
	report_limit(&bench->report, "20 frames by unwind tables, in the probe", (cfi - none) / 1000, 10, "us",
		     "hit %.0f ns, without a stack %.0f", cfi, none);
	report_value(&bench->report, "20 frames along frame pointers", fp - none, "ns",
		     "hit %.0f ns; copying %d bytes: %.0f ns", fp, COPIED, raw);
	report_limit(&bench->report, "bytes of such a record over those of a copied stack", cfi_bytes / raw_bytes, 0.1,
		     "x", "%.0f, along frame pointers %.0f, copied %.0f", cfi_bytes, fp_bytes, raw_bytes);
	if (*why)
		report_absent(&bench->report, "frame pointers against the kernel's uprobe with call chains", false,
			      why);
	else
		report_limit(&bench->report, "frame pointers against the kernel's uprobe with call chains", fp / kernel,
			     1, "x", "utap %.0f ns, kernel %.0f ns", fp, kernel);
}
