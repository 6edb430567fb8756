/* SPDX-License-Identifier: MIT */
/*
 * What became of places that were patched: still ours, the file's again, or somebody else's.
 *
 * The kernel's uprobes among them. One that is put over a place of ours runs the file's instruction, and when it is taken out the kernel puts
 * the file's first byte back, whatever was there before: by then the bytes behind it must be the file's. Nobody runs them while the breakpoint is
 * there. The kernel tells nobody, so the places' first bytes are looked at again and again.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "patch/inside.h"

#define YIELD_SITES 256U /* given up at a time */
#define LOOK_SITES 1024U /* looked at a time: as many as one call takes (IOV_MAX) */
#define INT3 0xcc

int patch_compare_changes(const void *a, const void *b)
{
	const struct patch_change *x = a;
	const struct patch_change *y = b;

	return x->addr < y->addr ? -1 : x->addr > y->addr;
}

/* wrote[] holds the first 8 bytes, what follows is int3. */
static void expected_bytes(const struct wire_site *site, uint8_t *bytes)
{
	memset(bytes, INT3, WIRE_SITE_BYTES);
	memcpy(bytes, site->wrote, site->changed < sizeof(site->wrote) ? site->changed : sizeof(site->wrote));
}

/* The first byte is a breakpoint or, when the breakpoint was taken out again, the file's. No debugger is there when we change text. */
static enum patch_state look_behind(const struct wire_site *site, const uint8_t *live, struct patch_change *change)
{
	size_t behind = site->changed - 1U;

	if (!memcmp(live + 1, change->bytes + 1, behind))
		return PATCH_STATE_CLEAN;
	if (memcmp(live + 1, change->old + 1, behind))
		return PATCH_STATE_FOREIGN;
	change->old[0] = change->bytes[0] = *live;
	return PATCH_STATE_TRAPPED;
}

enum patch_state patch_look_at(const struct patch_target *target, const struct wire_site *site, struct patch_change *change)
{
	uint8_t live[WIRE_SITE_BYTES];

	if (patch_original(target, site->addr, change->bytes, site->changed) ||
	    process_read(target->mem, site->addr, live, site->changed))
		return PATCH_STATE_CLEAN; /* unmapped: nothing of ours is left */
	change->addr = site->addr;
	change->length = site->changed;
	expected_bytes(site, change->old);
	if (!memcmp(live, change->old, site->changed))
		return PATCH_STATE_OURS;
	if (!memcmp(live, change->bytes, site->changed))
		return PATCH_STATE_CLEAN;
	return *live == INT3 || *live == change->bytes[0] ? look_behind(site, live, change) : PATCH_STATE_FOREIGN;
}

/* ---- the kernel's uprobes ---- */

/* The first bytes of sites[0..count), in one call; what cannot be read is as it should be. */
static void read_first(const struct patch_target *target, const struct wire_site *const *sites, size_t count, uint8_t *first)
{
	struct iovec remote[LOOK_SITES];
	size_t done = 0;

	for (size_t i = 0; i < count; i++) {
		first[i] = sites[i]->wrote[0];
		remote[i] = (struct iovec){ .iov_base = (void *)sites[i]->addr, .iov_len = 1 };
	}
	while (done < count) {
		struct iovec local = { .iov_base = first + done, .iov_len = count - done };
		ssize_t got = process_vm_readv(target->pid, &local, 1, remote + done, count - done, 0);

		done += got > 0 ? (size_t)got : 1;
	}
}

static size_t next_sites(struct patch_target *target, const struct wire_site **sites)
{
	size_t count = 0;

	for (size_t i = 0; i < LOOK_SITES && i < target->sites; i++) {
		const struct wire_site *site = &target->journal[target->looked_at++ % target->sites];

		if (site->changed && site->kind != WIRE_SITE_ISLAND && site->wrote[0] != INT3)
			sites[count++] = site;
	}
	return count;
}

static size_t collect_trapped(struct patch_target *target, struct patch_change *changes)
{
	const struct wire_site *sites[LOOK_SITES];
	uint8_t first[LOOK_SITES];
	size_t nsites = next_sites(target, sites);
	size_t count = 0;

	read_first(target, sites, nsites, first);
	for (size_t i = 0; i < nsites && count < YIELD_SITES; i++)
		if (first[i] != sites[i]->wrote[0])
			count += patch_look_at(target, sites[i], &changes[count]) == PATCH_STATE_TRAPPED;
	qsort(changes, count, sizeof(*changes), patch_compare_changes);
	return count;
}

long patch_target_yield(struct patch_target *target)
{
	struct patch_change changes[YIELD_SITES];
	_cleanup_free_ struct patch_run *runs = NULL;
	struct utap_error why = { 0 };
	struct process_status status;
	size_t count = collect_trapped(target, changes);
	long nruns;

	if (!count || process_status_read(target->pid, &status) || (status.tracer && status.tracer != getpid()))
		return 0; /* with a tracer: a debugger's breakpoint, which it will take out again itself */
	if (patch_target_refresh(target, NULL))
		return 0;
	nruns = patch_runs(target, changes, count, &runs);
	if (nruns >= 0 && !patch_text_switch(target, runs, (size_t)nruns, changes, count, &why))
		return (long)count;
	base_log(BASE_LOG_DEBUG, "places under the kernel's uprobes stay as they are: %s", why.text);
	return 0;
}
