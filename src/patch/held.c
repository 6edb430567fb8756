/* SPDX-License-Identifier: MIT */
/*
 * Writing groups. A thread may stand on an instruction inside of one: after the change that byte would be another thing. So all threads of
 * the process, and of those that run in its memory, are held; it is looked at where each is; the groups nobody is in are written; all are
 * let go. Groups somebody is in have to wait for the next time.
 *
 * Written in place, through /proc/PID/mem: nobody runs, so nobody can see half of a jump. It is our own system call that writes, while we
 * hold: should we be killed, the kernel ends that call before it lets anybody go. (A lent thread could not do it: it would be let go
 * together with the others, and finish its call while they run.) A group lies in one page, which is written as a whole or not at all.
 * docs/decisions/0007 has the measurements.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "patch/inside.h"

#define STACK_SCAN (8U << 20) /* as much as a stack usually may be */
#define TRIES 100
#define PAUSE_NS 100000L      /* and more each time */

struct writing {
	struct patch_target *target;
	struct patch_group *groups;
	size_t count;
	size_t left; /* neither written nor given up */
};

static void give_up(struct writing *w, struct patch_group *group, const char *why)
{
	group->why = why;
	w->left--;
}

static bool is_left(const struct patch_group *group) { return !group->written && !group->why; }

static void give_up_all(struct writing *w, const char *why)
{
	for (size_t i = 0; i < w->count; i++)
		if (is_left(&w->groups[i]))
			give_up(w, &w->groups[i], why);
}

/* Marks the group that @ip is inside of, if any; the tour goes on. */
static bool mark_blocked(void *arg, utap_addr ip)
{
	struct writing *w = arg;
	size_t low = 0;
	size_t high = w->count;

	while (low < high) { /* the last that starts below @ip */
		size_t middle = low + (high - low) / 2;

		if (w->groups[middle].change.addr < ip)
			low = middle + 1;
		else
			high = middle;
	}
	if (low && ip - w->groups[low - 1].change.addr < w->groups[low - 1].change.length)
		w->groups[low - 1].blocked = true;
	return false;
}

static void write_group(struct writing *w, struct patch_group *group)
{
	const struct patch_change *change = &group->change;
	uint8_t live[WIRE_SITE_BYTES];

	if (process_read(w->target->mem, change->addr, live, change->length) || memcmp(live, change->old, change->length)) {
		give_up(w, group, "somebody else changed its bytes during the attach");
		return;
	}
	if (process_write(w->target->mem, change->addr, change->bytes, change->length)) {
		give_up(w, group, "the kernel does not let its bytes be written");
		return;
	}
	group->written = true;
	w->left--;
}

static int look_and_write(struct writing *w, struct engine_hold *hold, struct patch_scan *scan)
{
	int error;

	for (size_t i = 0; i < w->count; i++)
		w->groups[i].blocked = false;
	scan->unknown = false;
	error = engine_hold_visit(hold, patch_scan_thread, scan);
	if (error || scan->unknown)
		return error ? error : -EAGAIN;
	for (size_t i = 0; i < w->count; i++)
		if (is_left(&w->groups[i]) && !w->groups[i].blocked)
			write_group(w, &w->groups[i]);
	return 0;
}

/* The process and those that run in its memory; *ret heap. */
static long list_pids(const struct patch_target *target, pid_t **ret)
{
	_cleanup_free_ pid_t *sharers = NULL;
	long count = patch_target_sharers(target, &sharers);
	pid_t *pids = count < 0 ? NULL : malloc((size_t)(count + 1) * sizeof(*pids));

	if (!pids)
		return count < 0 ? count : -ENOMEM;
	pids[0] = target->pid;
	if (count)
		memcpy(pids + 1, sharers, (size_t)count * sizeof(*pids));
	*ret = pids;
	return count + 1;
}

/* A thread that sleeps in the kernel may have started a process there (vfork) after they were listed. */
static bool has_new_sharer(const struct patch_target *target, const struct engine_hold *hold, long known)
{
	_cleanup_free_ pid_t *pids = NULL;

	return engine_hold_asleep(hold) && list_pids(target, &pids) != known;
}

static int try_once(struct writing *w, struct patch_scan *scan)
{
	_cleanup_free_ pid_t *pids = NULL;
	struct engine_hold *hold;
	uint64_t held_ns;
	long count;
	int error = patch_target_refresh(w->target, NULL);

	if (error)
		return error;
	count = list_pids(w->target, &pids);
	if (count < 0)
		return (int)count;
	error = engine_hold(pids, (size_t)count, &hold);
	if (error)
		return error;
	error = has_new_sharer(w->target, hold, count) ? -EAGAIN : look_and_write(w, hold, scan);
	held_ns = engine_hold_release(hold);
	patch_note_stop(w->target, held_ns);
	if (held_ns > w->target->held_ns)
		w->target->held_ns = held_ns;
	return error;
}

int patch_write_groups(struct patch_target *target, struct patch_group *groups, size_t count, struct utap_error *err)
{
	_cleanup_free_ uint64_t *chunk = malloc(PATCH_SCAN_CHUNK);
	struct writing w = { .target = target, .groups = groups, .count = count, .left = count };
	struct patch_scan scan = { .target = target, .is_inside = mark_blocked, .arg = &w, .limit = STACK_SCAN, .chunk = chunk };
	int error = chunk ? 0 : -ENOMEM;

	for (long i = 0; !error && w.left && i < TRIES; i++) {
		error = try_once(&w, &scan);
		if (error == -EBUSY || error == -EPERM) {
			give_up_all(&w, "it needs all threads to stand still for a moment, and somebody else traces one");
			return 0;
		}
		if (error == -EAGAIN || error == -ETIMEDOUT)
			error = 0;
		if (!error && w.left)
			nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NS + i * 7000L }, NULL);
	}
	if (error == -ESTALE)
		return base_error(err, -ECHILD, UTAP_ERROR_GONE, "process %d executed another program meanwhile", target->pid);
	if (error == -ESRCH)
		return process_explain(target->pid, error, err);
	if (error)
		return base_error_system(err, error, "cannot change several instructions of process %d at once", target->pid);
	give_up_all(&w, "a thread stays inside the instructions that would have to be changed together; try again");
	return 0;
}
