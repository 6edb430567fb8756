/* SPDX-License-Identifier: MIT */
/*
 * What ten thousand probes take in the target. Shared memory is counted once, however often it is mapped: its proportional set size in
 * the target and in this process, which are all that map it. Private pages of ours are added; pages of text that had to be
 * copied are told apart, they are the target's own code. Read after the probes fired and the rings went round.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probing.h"
#include "rows.h"

#define ARGS " a=%di b=%si"
#define RING (1UL << 20) /* bytes a CPU, asked for, so that the limit can be computed */
#define KIB 1024.0
#define PROBES 10000

/* In KiB. */
struct footprint {
	uint64_t ours_pss, ours_rss; /* mappings of the shared memory */
	uint64_t text;               /* private pages of the program's code */
	uint64_t other;              /* private pages of everything else */
};

enum mapping { OURS, TEXT, OTHER };

/* A header line of smaps: "start-end perms offset dev inode   path". */
static enum mapping classify(const char *line, const char *program)
{
	char perms[8] = "";
	int at = 0;

	if (sscanf(line, "%*s %7s %*s %*s %*s %n", perms, &at) < 1)
		return OTHER;
	if (strncmp(line + at, "/memfd:" WIRE_NAME, sizeof("/memfd:" WIRE_NAME) - 1) == 0)
		return OURS;
	return perms[2] == 'x' && strncmp(line + at, program, strlen(program)) == 0 ? TEXT : OTHER;
}

static void add_field(struct footprint *sum, enum mapping mapping, const char *line)
{
	char name[40];
	uint64_t kib;

	if (sscanf(line, "%39[A-Za-z_]: %" SCNu64 " kB", name, &kib) != 2)
		return;
	if (strcmp(name, "Pss") == 0 && mapping == OURS)
		sum->ours_pss += kib;
	if (strcmp(name, "Rss") == 0 && mapping == OURS)
		sum->ours_rss += kib;
	if (strcmp(name, "Anonymous") == 0 && mapping == TEXT) /* a page of a fresh file can be dirty and still the file's */
		sum->text += kib;
	if (strcmp(name, "Private_Dirty") == 0 && mapping == OTHER)
		sum->other += kib;
}

static void read_footprint(const char *path, struct remote *remote, struct footprint *ret)
{
	enum mapping mapping = OTHER;
	FILE *in = fopen(path, "r");
	char line[5000];

	*ret = (struct footprint){ 0 };
	if (!in) {
		remote_fail(remote, "%s cannot be read", path);
		return;
	}
	while (fgets(line, sizeof(line), in)) {
		if (strchr(line, '-') && line[strcspn(line, " :")] == ' ')
			mapping = classify(line, remote->path);
		else
			add_field(ret, mapping, line);
	}
	fclose(in);
}

static void read_both(struct remote *remote, struct footprint *target, struct footprint *own)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/smaps", remote->pid);
	read_footprint(path, remote, target);
	read_footprint("/proc/self/smaps", remote, own);
}

static void work(struct remote *remote, struct probing *probing)
{
	for (int i = 0; i < 5; i++) {
		remote_measure(remote, "cold", 4 * PROBES, 2, NULL);
		if (probing)
			probing_drain(probing, remote);
	}
}

static void rows(struct bench *bench, bool record)
{
	static const char *const symbols[] = { "cold_[0-9]*" };
	struct footprint before, after, own;
	struct remote remote;
	struct probing probing;
	double shared, other, rings, limit;
	char path[4096], name[100];

	bench_path(bench, "bench-cold", path);
	remote_start(&remote, path);
	work(&remote, NULL); /* its own stacks and heap */
	read_both(&remote, &before, &own);
	probing_begin(&probing, &remote, record ? PROBE_RECORD : PROBE_COUNT, symbols, 1, record ? ARGS : "",
		      record ? RING : 0);
	work(&remote, &probing);
	read_both(&remote, &after, &own);
	probing_end(&probing, &remote);
	remote_end(&remote);
	snprintf(name, sizeof(name), "memory added by 10,000 %s probes", record ? "recording" : "counting");
	if (remote.error[0]) {
		report_absent(&bench->report, name, true, remote.error);
		return;
	}
	shared = (double)(after.ours_pss + own.ours_pss);
	other = (double)after.other - (double)before.other;
	rings = (double)probing.target.ring / KIB;
	limit = 64 + rings + 128.0 * (double)probing.places / KIB;
	report_limit(&bench->report, name, shared + other, limit, "KiB",
		     "%.1f bytes a probe besides 64 KiB and %.0f KiB of rings; shared %.0f, private %.0f; resident, ring counted "
		     "twice: %" PRIu64,
		     (shared + other - 64 - rings) * KIB / (double)probing.places, rings, shared, other, after.ours_rss);
	if (record)
		report_value(&bench->report, "text pages copied for them", (double)after.text - (double)before.text, "KiB",
			     "code of the target that is not shared with its file any more until detach");
}

void rows_memory(struct bench *bench)
{
	report_group(&bench->report, "memory", "memory in the target");
	rows(bench, false);
	rows(bench, true);
}
