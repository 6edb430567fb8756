/* SPDX-License-Identifier: MIT */
/* Which targets are still there, and taking probes out of them, of children forked since, and of what a dead utap left. */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/engine.h"
#include "session/inside.h"

#define POLL_NS 100000000ULL /* states are looked at so often at most */
#define CHILD_ROUNDS 8       /* a child may fork while we look for children */

/* Confined since we attached: the runtime must not make system calls any more. */
static void keep_quiet(const struct session_process *process)
{
	if (process->has_memory && process_is_confined(process->pid))
		patch_target_quiet(process->target);
}

/* Uprobes that were put over places of ours while we trace. */
static void give_way(const struct session_process *process)
{
	long count = process->has_memory && !process->traps ? patch_target_yield(process->target) : 0;

	if (count)
		base_log(BASE_LOG_WARN, "the kernel probes %ld of our places in process %d now, too; hits there count no more", count,
			 process->pid);
}

/* Then the kernel tells what becomes of it (follow.c). */
static bool is_followed(const struct session *session, pid_t pid)
{
	return session->follow && engine_follow_has(session->follow, pid);
}

/* A debugger came: say what it must not do. Threads lent to us now and then are traced by ourselves. */
static void look_at_tracer(const struct session *session, struct session_process *process, pid_t tracer)
{
	bool is_traced = tracer && tracer != getpid() && !process->traps && !is_followed(session, process->pid);
	size_t exposed = is_traced && !process->is_traced && process->has_memory ? patch_target_exposed(process->target) : 0;
	char name[32] = "a process";

	process->is_traced = is_traced;
	if (!exposed)
		return;
	process_comm(tracer, name, sizeof(name));
	session_note(session,
		     "%s (pid %d) traces process %d now: a breakpoint of it inside the %zu jumps that are longer than an instruction would break "
		     "them. End utap before setting breakpoints next to its probes, or probe with --debugger-safe",
		     name, tracer, process->pid, exposed);
}

/* An open /proc/PID/mem stays with the memory that it was opened for. */
static bool is_same_program(const struct session_process *process)
{
	uint64_t entry;
	uint8_t byte;

	return !process_auxv(process->pid, AT_ENTRY, &entry) &&
	       !process_read(patch_target_mem(process->target), entry, &byte, sizeof(byte));
}

static enum session_target_state state_of(const struct session *session, struct session_process *process)
{
	struct process_status status;
	struct process_maps maps;

	if (process_status_read(process->pid, &status) || process_has_ended(process->pid))
		return SESSION_EXITED;
	if (process->owner)
		return patch_target_is_present_in(process->owner->target, process->pid) ? SESSION_RUNNING : SESSION_EXECED;
	if (!process->has_memory) /* followed, and nothing of it is probed */
		return SESSION_RUNNING;
	keep_quiet(process);
	look_at_tracer(session, process, status.tracer);
	if (patch_target_is_present(process->target))
		return SESSION_RUNNING;
	/* On its way out it maps nothing before it becomes a zombie. */
	if (process_maps_read(process->pid, &maps))
		return SESSION_EXITED;
	process_maps_free(&maps);
	return is_same_program(process) ? SESSION_TAKEN : SESSION_EXECED;
}

void session_watch(struct session *session)
{
	uint64_t now = base_now_ns();

	if (now - session->watched_ns < SESSION_WATCH_MS * 1000000ULL)
		return;
	session->watched_ns = now;
	for (size_t i = 0; i < session->nprocesses; i++)
		if (session->targets[i].state == SESSION_RUNNING)
			give_way(session->processes[i]);
}

size_t session_poll(struct session *session)
{
	uint64_t now = base_now_ns();
	size_t running = 0;

	if (session->follow && now - session->polled_ns >= POLL_NS)
		engine_follow_check(session->follow);
	session_follow_events(session);
	session_look(session, now - session->polled_ns >= POLL_NS);

	for (size_t i = 0; i < session->nprocesses; i++) {
		struct session_target *target = &session->targets[i];

		if (target->state == SESSION_RUNNING && now - session->polled_ns >= POLL_NS) {
			if (is_followed(session, target->pid))
				keep_quiet(session->processes[i]);
			else
				target->state = state_of(session, session->processes[i]);
		}
		running += target->state == SESSION_RUNNING;
	}
	if (now - session->polled_ns >= POLL_NS) {
		session_follow_retire(session);
		session_traps_look(session);
	}
	if (now - session->polled_ns >= POLL_NS)
		session->polled_ns = now;
	return running;
}

static void add_report(struct session_report *report, const struct patch_report *part)
{
	report->sites += part->sites;
	report->kept += part->kept;
	report->text_checked += part->text_checked;
	report->text_foreign += part->text_foreign;
	report->memory_kept += part->memory_kept;
	if (part->stopped_ns > report->stopped_ns)
		report->stopped_ns = part->stopped_ns;
}

static int clean_adopted(struct patch_target *target, struct patch_report *report, struct utap_error *err)
{
	int error = patch_target_undo(target, report, err);

	return error ? error : patch_target_release(target, report, err);
}

static int clean_child(pid_t pid, struct session_report *report, bool *cleaned, struct utap_error *err)
{
	struct patch_report part = { 0 };
	struct patch_target *child;
	pid_t owner;
	int error = patch_target_adopt(pid, &child, &owner, err);

	if (!error) {
		error = clean_adopted(child, &part, err);
		patch_target_close(child);
		add_report(report, &part);
		*cleaned |= !error && !part.memory_kept;
	}
	return error == -ENOENT || error == -ESRCH ? 0 : error; /* it ended meanwhile: as clean as can be */
}

/* Children inherited patched pages and the memory. One that cannot be cleaned does not keep the others from being; the first reason is told. */
static int clean_children(const struct patch_target *parent, struct session_report *report, struct utap_error *err)
{
	bool cleaned = true;
	int result = 0;

	for (int round = 0; round < CHILD_ROUNDS && cleaned; round++) {
		_cleanup_free_ pid_t *pids = NULL;
		long count = patch_target_children(parent, &pids);

		cleaned = false;
		for (long i = 0; i < count; i++) {
			struct utap_error reason = { 0 };
			int error = clean_child(pids[i], report, &cleaned, &reason);

			if (error && !result && err)
				*err = reason;
			result = result ? result : error;
		}
	}
	return result;
}

static int detach_one(struct session *session, size_t i, struct session_report *report, struct utap_error *err)
{
	struct session_process *process = session->processes[i];
	struct patch_report part = { 0 };
	int error;

	session_resume(process);
	session_semaphores_lower(process);
	error = patch_target_undo(process->target, &part, err);
	if (!error) {
		struct utap_error reason = { 0 };
		int children = clean_children(process->target, report, &reason);

		error = patch_target_release(process->target, &part, err);
		if (!error && children && err)
			*err = reason;
		error = error ? error : children;
	}
	part.sites -= part.sites && process->waits && !process->polls; /* the place where it waits for us is no probe */
	add_report(report, &part);
	return error;
}

int session_detach(struct session *session, struct session_report *report, struct utap_error *err)
{
	uint64_t started = base_now_ns();
	struct session_report sum = { 0 };
	int result = 0;

	session->polled_ns = 0;
	session_poll(session);
	for (size_t i = 0; i < session->nprocesses; i++) {
		struct utap_error reason = { 0 }, traps = { 0 };
		int error = 0;
		int left;

		if (!session->processes[i]->has_memory)
			continue;
		left = session_traps_stop(session->processes[i], &traps); /* if that fails there is all the more to take out */
		/* One that is gone may have left children behind. */
		if (session->targets[i].state == SESSION_RUNNING)
			error = detach_one(session, i, &sum, &reason);
		else if (session->targets[i].state != SESSION_DETACHED)
			error = clean_children(session->processes[i]->target, &sum, &reason);
		if (!error && left) {
			error = left;
			reason = traps;
		}
		if (error && state_of(session, session->processes[i]) == SESSION_RUNNING && !result) {
			result = error;
			if (err)
				*err = reason;
		}
		if (session->targets[i].state == SESSION_RUNNING)
			session->targets[i].state = error ? state_of(session, session->processes[i]) : SESSION_DETACHED;
	}
	session_follow_end(session);
	sum.detach_ns = base_now_ns() - started;
	*report = sum;
	return result;
}

int session_clean(pid_t pid, bool force, struct session_report *report, struct utap_error *err)
{
	struct session_report sum = { 0 };
	struct patch_report part = { 0 };
	struct patch_target *target;
	uint64_t started = base_now_ns();
	pid_t owner;
	int error = patch_target_adopt(pid, &target, &owner, err);

	*report = sum;
	if (error == -ENOENT)
		return 0;
	if (error)
		return error;
	if (!force && owner && owner != getpid()) {
		patch_target_close(target);
		return base_error(err, -EBUSY, UTAP_ERROR_REFUSED,
				  "utap pid %d still probes process %d; stop it (kill -INT %d), or use --force", owner, pid,
				  owner);
	}
	error = clean_adopted(target, &part, err);
	if (!error)
		error = clean_children(target, &sum, err);
	patch_target_close(target);
	add_report(&sum, &part);
	sum.detach_ns = base_now_ns() - started;
	*report = sum;
	return error;
}
