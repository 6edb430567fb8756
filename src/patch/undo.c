/* SPDX-License-Identifier: MIT */
/*
 * Taking probes out. First the places: bytes that are still ours go back to the file's, whatever else changed in the page stays. Then, once
 * no thread can be inside our code (none has its instruction pointer there, none has a signal frame on its stack that would return
 * there, twice in a row: idle.c), the islands in padding: a thread may have taken the short jump to one and not yet the jump on it. Then
 * memory.
 *
 * Groups need no more than others: nobody is inside of one, so a thread runs either their first instruction or the jump over it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "patch/inside.h"

#define STACK_SCAN (1U << 20)
#define RELEASE_TRIES 200
#define RELEASE_PAUSE_NS 1000000L /* and a little more each time, so as not to keep step with the program */
#define CHECK_CHUNK (64U << 10)

/* ---- text ---- */

/* Does the run equal the file once the changes are made? Then the file itself can be mapped there. */
static bool becomes_pristine(const struct patch_target *target, const struct patch_run *run,
			     const struct patch_change *changes, size_t count)
{
	_cleanup_free_ uint8_t *live = malloc(run->size);
	size_t available;
	const uint8_t *file;

	if (!live || !run->module || process_read(target->mem, run->start, live, run->size))
		return false;
	for (size_t i = 0; i < count; i++)
		for (unsigned j = 0; j < changes[i].length; j++)
			if (changes[i].addr + j - run->start < run->size)
				live[changes[i].addr + j - run->start] = changes[i].bytes[j];
	file = object_page(run->module->object, run->start - run->module->bias, &available);
	return file && !memcmp(live, file, available < run->size ? available : run->size);
}

/* What a pass undoes: places or islands, of all applies or of one. */
struct undo_what {
	bool islands;
	uint32_t batch; /* 0: of all */
};

static bool is_wanted(const struct patch_target *target, size_t i, const struct undo_what *what)
{
	const struct wire_site *site = &target->journal[i];

	return site->changed && (site->kind == WIRE_SITE_ISLAND) == what->islands &&
	       (!what->batch || target->batches[i] == what->batch);
}

/* A place that was unloaded and loaded again may be described twice (a child shared the memory meanwhile): one of them is true. */
static bool is_described_again(const struct patch_target *target, size_t i)
{
	struct patch_change change;

	for (size_t j = 0; j < target->sites; j++)
		if (j != i && target->journal[j].changed && target->journal[j].addr == target->journal[i].addr &&
		    patch_look_at(target, &target->journal[j], &change) != PATCH_STATE_FOREIGN)
			return true;
	return false;
}

static size_t collect_changes(const struct patch_target *target, const struct undo_what *what, struct patch_change *changes,
			      struct patch_report *report)
{
	size_t n = 0;

	for (size_t i = 0; i < target->sites; i++) {
		if (!is_wanted(target, i, what))
			continue;
		switch (patch_look_at(target, &target->journal[i], &changes[n])) {
		case PATCH_STATE_OURS:
			n++;
			report->sites += target->journal[i].places;
			break;
		case PATCH_STATE_TRAPPED:
			n++;
			break;
		case PATCH_STATE_FOREIGN:
			report->kept += !is_described_again(target, i);
			break;
		case PATCH_STATE_CLEAN:
			break;
		}
	}
	qsort(changes, n, sizeof(*changes), patch_compare_changes);
	return n;
}

/* The changes that touch a run, as a sub-array: both are sorted. */
static size_t changes_from(const struct patch_change *changes, size_t count, utap_addr addr)
{
	size_t i = 0;

	while (i < count && changes[i].addr + changes[i].length <= addr)
		i++;
	return i;
}

static void judge_runs(const struct patch_target *target, struct patch_run *runs, size_t nruns,
		       const struct patch_change *changes, size_t count)
{
	size_t at = 0;

	for (size_t i = 0; i < nruns; i++) {
		size_t end;

		at += changes_from(changes + at, count - at, runs[i].start);
		for (end = at; end < count && changes[end].addr < runs[i].start + runs[i].size;)
			end++;
		runs[i].pristine = becomes_pristine(target, &runs[i], changes + at, end - at);
	}
}

/*
 * A comparison of each touched module's whole text with its file. Stretches without private pages show the file itself: reading
 * them would only fill the target with pages it does not use.
 */
static void check_text(struct patch_target *target, struct patch_report *report)
{
	_cleanup_free_ uint8_t *live = malloc(CHECK_CHUNK);

	for (size_t i = 0; live && i < target->maps.count; i++) {
		const struct process_map *map = &target->maps.map[i];
		struct patch_module *module = map->execute ? patch_module_at(target, map->start) : NULL;

		for (utap_addr at = map->start; module && at < map->end;) {
			size_t size = map->end - at < CHECK_CHUNK ? map->end - at : CHECK_CHUNK;
			size_t available = 0;
			const uint8_t *file = object_page(module->object, at - module->bias, &available);
			size_t compared = available < size ? available : size;

			if (!file)
				break;
			if (patch_has_private_pages(target, at, size)) {
				if (process_read(target->mem, at, live, size))
					break;
				for (size_t j = 0; memcmp(live, file, compared) && j < compared; j++)
					report->text_foreign += live[j] != file[j];
			}
			report->text_checked += compared;
			at += size;
		}
	}
}

/* Places we must leave alone still lead to our trampolines: make those do nothing. */
static void disarm(struct patch_target *target)
{
	const uint8_t ret = 0xc3;

	for (size_t i = 0; i < target->npools; i++) {
		const struct patch_pool *pool = &target->pools[i];

		for (uint32_t j = 0; pool->bodies && j < target->programs; j++)
			if (pool->bodies[j])
				__atomic_store_n(target->code + pool->offset + (pool->bodies[j] - pool->addr), ret, __ATOMIC_RELAXED);
	}
}

/* ---- who is inside ---- */

static bool is_ours(const struct patch_target *target, utap_addr addr)
{
	for (size_t i = 0; i < target->npools; i++)
		if (addr - target->pools[i].addr < target->pools[i].size)
			return true;
	for (size_t i = 0; i < target->sites; i++)
		if (target->journal[i].kind == WIRE_SITE_ISLAND &&
		    addr - target->journal[i].addr < target->journal[i].changed)
			return true;
	return space_find(&target->space, addr) != NULL;
}

/* Bounds that every address of our code lies in. */
static void code_bounds(const struct patch_target *target, utap_addr *low, utap_addr *high)
{
	*low = UINT64_MAX;
	*high = 0;
	for (size_t i = 0; i < target->npools; i++) {
		if (target->pools[i].addr < *low)
			*low = target->pools[i].addr;
		if (target->pools[i].addr + target->pools[i].size > *high)
			*high = target->pools[i].addr + target->pools[i].size;
	}
}

static bool is_ours_inside(void *arg, utap_addr ip) { return is_ours(arg, ip); }

/* Its threads, and the children that run in its memory until they execute. */
static int visit_all(struct patch_target *target, utap_addr low, utap_addr high, struct patch_scan *scan)
{
	_cleanup_free_ pid_t *pids = NULL;
	int error = engine_visit(target->pid, target->mem, low, high, patch_scan_thread, scan);
	long count = error ? 0 : patch_target_sharers(target, &pids);

	for (long i = 0; !error && i < count; i++) {
		error = engine_visit(pids[i], target->mem, low, high, patch_scan_thread, scan);
		if (error == -ESRCH)
			error = 0;
	}
	return count < 0 ? (int)count : error;
}

static int wait_until_idle(struct patch_target *target)
{
	_cleanup_free_ uint64_t *chunk = malloc(PATCH_SCAN_CHUNK);
	struct patch_scan scan = { .target = target, .is_inside = is_ours_inside, .arg = target, .moves = true,
				   .limit = STACK_SCAN, .chunk = chunk };
	utap_addr low, high;
	int clean = 0;

	if (!chunk)
		return -ENOMEM;
	code_bounds(target, &low, &high);
	for (int i = 0; i < RELEASE_TRIES && clean < 2; i++) {
		int error = visit_all(target, low, high, &scan);

		if (error == -ESRCH || error == -EPERM)
			return error;
		clean = error ? 0 : clean + 1;
		if (error)
			nanosleep(&(struct timespec){ .tv_nsec = RELEASE_PAUSE_NS + i * 37000L }, NULL);
	}
	return clean < 2 ? -EAGAIN : 0;
}

/* ---- text, in order ---- */

static int undo_pass(struct patch_target *target, const struct undo_what *what, struct patch_report *report,
		     struct utap_error *err)
{
	_cleanup_free_ struct patch_change *changes = calloc(target->sites + 1, sizeof(*changes));
	_cleanup_free_ struct patch_run *runs = NULL;
	size_t count;
	long nruns;
	int error = patch_target_refresh(target, err);

	if (error)
		return error;
	if (!changes)
		return base_error_system(err, -ENOMEM, "cannot undo");
	count = collect_changes(target, what, changes, report);
	if (!count)
		return 0;
	nruns = patch_runs(target, changes, count, &runs);
	if (nruns < 0)
		return base_error_system(err, (int)nruns, "cannot undo");
	judge_runs(target, runs, (size_t)nruns, changes, count);
	return patch_text_switch(target, runs, (size_t)nruns, changes, count, err);
}

static bool has_islands(const struct patch_target *target, uint32_t batch)
{
	const struct undo_what what = { .islands = true, .batch = batch };

	for (size_t i = 0; i < target->sites; i++)
		if (is_wanted(target, i, &what))
			return true;
	return false;
}

int patch_undo_batch(struct patch_target *target, uint32_t batch, struct patch_report *report, struct utap_error *err)
{
	const struct undo_what places = { .batch = batch };
	const struct undo_what islands = { .islands = true, .batch = batch };
	int error = undo_pass(target, &places, report, err);

	if (!error && report->kept) {
		if (!batch)
			disarm(target);
	} else if (!error && has_islands(target, batch)) {
		error = wait_until_idle(target);
		if (!error)
			error = undo_pass(target, &islands, report, err);
		else if (error == -EAGAIN) /* the islands stay, and what they lead to; release() will see the same */
			error = 0;
		else
			error = process_explain(target->pid, error, err);
	}
	return error;
}

int patch_target_undo(struct patch_target *target, struct patch_report *report, struct utap_error *err)
{
	int error = patch_undo_batch(target, 0, report, err);

	if (error)
		return error;
	patch_text_mend(target);
	if (!patch_target_refresh(target, NULL))
		check_text(target, report);
	if (target->stopped_ns > report->stopped_ns)
		report->stopped_ns = target->stopped_ns;
	return 0;
}

/* ---- memory ---- */

static struct wire_call unmap_call(utap_addr addr, uint64_t size)
{
	return (struct wire_call){ .number = SYS_munmap, .args = { addr, size } };
}

/* The private memory below the data part, if it is what it should be. What is left of the reserved range is address space only. */
static size_t adopted_local(const struct patch_target *target, struct wire_call *call)
{
	const struct process_map *map = process_maps_at(&target->maps, target->geometry.local);
	utap_addr start = target->geometry.local - target->geometry.slots * target->geometry.slot_size;

	if (!map || map->inode || *map->path || map->start != start ||
	    map->end != target->geometry.local + BASE_PAGE || !map->write)
		return 0;
	*call = unmap_call(map->start, map->end - map->start);
	return 1;
}

/* Islands in a batch (its code is in pool 0), then everything else with calls that need nothing of ours. */
static int unmap_all(struct patch_target *target, struct engine_loan *loan)
{
	_cleanup_free_ struct wire_call *calls = calloc(target->space.count + 1, sizeof(*calls));
	struct wire_call rest[PATCH_POOLS + 1];
	uint64_t slots = target->geometry.slots * target->geometry.slot_size;
	size_t n = 0;
	size_t made;
	int error;

	if (!calls)
		return -ENOMEM;
	for (size_t i = 0; i < target->space.count; i++)
		if (target->space.views[i].mapped)
			calls[n++] = unmap_call(target->space.views[i].addr, BASE_PAGE);
	error = patch_calls(target, loan, calls, n, &made);
	if (error)
		return error;
	n = 0;
	for (size_t i = 0; i < target->npools; i++)
		if (target->pools[i].mapped)
			rest[n++] = unmap_call(target->pools[i].addr, target->pools[i].size);
	if (target->adopted) /* what the target says of sizes is not believed: patch_sweep() goes by what is mapped */
		n += adopted_local(target, &rest[n]);
	else if (target->reserved)
		rest[n++] = unmap_call(target->geometry.local - slots, slots + BASE_PAGE + target->geometry.span + target->geometry.unwind_size + target->door_size);
	for (size_t i = 0; i < n; i++) {
		int64_t result;

		error = engine_call(loan, (long)rest[i].number, rest[i].args, &result);
		if (error)
			return error;
	}
	return 0;
}

static bool islands_left(const struct patch_target *target)
{
	struct patch_change change;

	for (size_t i = 0; i < target->sites; i++)
		if (target->journal[i].kind == WIRE_SITE_ISLAND &&
		    patch_look_at(target, &target->journal[i], &change) == PATCH_STATE_OURS)
			return true;
	return false;
}

int patch_target_release(struct patch_target *target, struct patch_report *report, struct utap_error *err)
{
	struct engine_loan *loan;
	uint64_t memory, ring, stopped;
	int error = report->kept || islands_left(target) ? -EAGAIN : wait_until_idle(target);

	patch_target_cost(target, &memory, &ring, &stopped);
	if (error == -EAGAIN) {
		report->memory_kept += memory + ring;
		return 0;
	}
	if (error)
		return process_explain(target->pid, error, err);
	error = patch_lend(target, &loan, err);
	if (error)
		return error;
	error = patch_sweep(target, loan, PATCH_SWEEP_STAGES);
	if (!error)
		error = unmap_all(target, loan);
	if (!error)
		error = patch_sweep(target, loan, PATCH_SWEEP_MEMORY);
	patch_give_back(target, loan);
	if (target->stopped_ns > report->stopped_ns)
		report->stopped_ns = target->stopped_ns;
	return error ? base_error_system(err, error, "cannot unmap our memory from process %d", target->pid) : 0;
}
