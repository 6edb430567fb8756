/* SPDX-License-Identifier: MIT */
/* Bringing the session's probes into a process. */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "session/inside.h"

#define LEAVES_ROOM 8  /* of address space that is limited we take at most such a part for later */
#define ATTACH_TRIES 5 /* when others map memory where we are just about to */

static int keep_sites(struct session_attaching *a)
{
	struct session *session = a->session;
	struct session_process *process = a->process;
	int error = base_grow(&session->sites, &session->sites_cap, session->nsites + a->nsites, sizeof(*session->sites));

	if (!error)
		error = base_grow(&process->sites, &process->sites_cap, process->nsites + a->nsites, sizeof(*process->sites));
	if (error)
		return error;
	memcpy(process->sites + process->nsites, a->sites, a->nsites * sizeof(*a->sites));
	process->nsites += a->nsites;

	for (size_t i = 0; i < a->nsites; i++) {
		const struct patch_site *site = &a->sites[i];

		if (site->layer == PATCH_REFUSED || session_is_pause(session, site))
			continue;
		session->sites[session->nsites++] = (struct session_site){
			.pid = a->process->pid, .id = site->id, .addr = site->addr, .layer = site->layer, .stub = site->stub,
			.stub_size = site->stub_size, .start = site->start, .changed = site->changed,
		};
	}
	return 0;
}

/* Sites that fell out after the plan. */
static size_t count_applied(struct session_attaching *a)
{
	size_t n = 0;

	for (size_t i = 0; i < a->nsites; i++) {
		if (session_is_pause(a->session, &a->sites[i])) /* without it, files are looked for now and then */
			a->process->polls = a->sites[i].layer == PATCH_REFUSED;
		else if (a->sites[i].layer == PATCH_REFUSED)
			session_refuse_site(a, i);
		else
			n++;
	}
	return n;
}

static int map_memory(struct session_attaching *a, struct utap_error *err)
{
	int error = trace_memory_map(patch_target_memory_fd(a->target), patch_target_geometry(a->target),
				     &a->process->memory);

	if (error)
		return base_error_system(err, error, "cannot map the rings of process %d", a->process->pid);
	a->process->has_memory = true;
	trace_reader_probes(a->session->reader, a->session->probes, a->session->nprobes);
	error = trace_reader_add(a->session->reader, &a->process->memory, a->process->source);
	return error ? base_error_system(err, error, "cannot read process %d", a->process->pid) : 0;
}

/* What is left in the process when an attach fails after setup. */
static void back_out(struct session_attaching *a)
{
	struct patch_report report = { 0 };

	session_traps_stop(a->process, NULL);
	session_semaphores_lower(a->process);
	if (patch_target_memory_fd(a->target) >= 0 && !patch_target_undo(a->target, &report, NULL) &&
	    patch_target_release(a->target, &report, NULL))
		base_log(BASE_LOG_WARN, "memory of ours stays in process %d", a->process->pid);
}

static int nothing_probed(const struct session *session, struct utap_error *err)
{
	if (session->refused == 1)
		return base_error(err, -ENOTSUP, UTAP_ERROR_REFUSED, "cannot probe %.240s: %.240s", session->first_place,
				  session->first_refusal);
	return base_error(err, -ENOTSUP, UTAP_ERROR_REFUSED, "none of %u places could be probed", session->refused);
}

static int make_tables(struct session_attaching *a, struct utap_error *err)
{
	int error = session_tables_renew(a->session, a->process);

	return error ? base_error_system(err, error, "cannot make the tables for stacks of process %d", a->process->pid) : 0;
}

/* What is kept free for later is address space, which may be limited: then no more of what is left than the program will hardly miss. */
static void find_room(const struct session_attaching *a)
{
	struct session_process *process = a->process;
	uint64_t wanted = (process->waits ? PATCH_CODE_SIZE : 0) + session_tables_spare(a->session);
	uint64_t room;

	if (process->has_memory || !wanted)
		return;
	room = process_address_room(process->pid);
	process->is_cramped = room != UINT64_MAX && wanted > room / LEAVES_ROOM;
	if (process->is_cramped)
		session_note(a->session,
			     "process %d may map only %llu MiB more (ulimit -v): no room is kept for what it loads later, which is not followed",
			     process->pid, (unsigned long long)(room >> 20));
}

long session_attach_sites(struct session_attaching *a, struct utap_error *err)
{
	struct patch_options options = session_geometry(a->session);
	long result;
	int error;

	session_progress(a->session, "patching", 0, a->nsites);
	error = session_traps_stop(a->process, err);
	if (error)
		return error;
	find_room(a);
	options.more = a->process->waits && !a->process->is_cramped;
	options.unwind_size = session_tables_size(a->session, a->process);
	error = patch_target_setup(a->target, &options, a->sites, a->nsites, err);
	if (!error) {
		session_settle_functions(a);
		error = a->process->has_memory ? 0 : map_memory(a, err);
	}
	if (!error)
		session_say_places(a);
	if (!error)
		error = make_tables(a, err);
	if (!error)
		error = patch_target_apply(a->target, a->sites, a->nsites, session_programs(a->session), session_emit_body, a, err);
	if (!error)
		error = session_traps_start(a->process, err);
	if (error)
		return error;
	error = session_semaphores_raise(a->process);
	if (error)
		return base_error_system(err, error, "cannot raise a reference counter of process %d", a->process->pid);
	if (keep_sites(a))
		return base_error_system(err, -ENOMEM, "cannot keep the list of places");
	result = (long)count_applied(a);
	error = make_tables(a, err); /* now it is known whether the process waits for us */
	return error ? error : result;
}

static long attach_target(struct session_attaching *a, struct utap_error *err)
{
	long result = session_resolve_all(a, err);

	if (!result && session_plan_pause(a)) /* first: it is needed more than a probe at the same place */
		result = base_error_system(err, -ENOMEM, "cannot plan where process %d waits", a->process->pid);
	if (!result)
		result = session_plan_all(a, err);
	trace_reader_probes(a->session->reader, a->session->probes, a->session->nprobes); /* the table may have moved */
	if (result)
		return result;
	if (!a->nsites && a->process->followed)
		return 0;
	if (!a->nsites && a->process->polls && !a->process->waits_for_tables)
		return base_error(err, -ENOTSUP, UTAP_ERROR_REFUSED,
				  "process %d does not map what is to be probed, and cannot be made to wait where it loads libraries",
				  a->process->pid);
	if (!a->nsites)
		return nothing_probed(a->session, err);
	result = session_attach_sites(a, err);
	if (!result && (!a->process->waits || a->process->waits_for_tables) && !a->process->followed)
		result = nothing_probed(a->session, err);
	if (result >= 0 && session_note_copies(a->process))
		result = base_error_system(err, -ENOMEM, "cannot keep the list of files");
	if (result < 0)
		back_out(a);
	else
		session_flush_refusal(a->session);
	return result;
}

static pid_t inner_pid(pid_t pid)
{
	struct process_status status;

	return process_status_read(pid, &status) || !status.inner_pid ? pid : status.inner_pid;
}

int session_process_new(struct session *session, pid_t pid, struct session_process **ret)
{
	size_t n = session->nprocesses;
	struct session_process *process;
	int error = base_grow(&session->processes, &session->processes_cap, n + 1, sizeof(struct session_process *));

	if (!error)
		error = base_grow(&session->targets, &session->targets_cap, n + 1, sizeof(*session->targets));
	process = error ? NULL : calloc(1, sizeof(*process));
	if (!process)
		return -ENOMEM;
	*process = (struct session_process){ .pid = pid, .inner_pid = inner_pid(pid), .source = (uint32_t)n };
	process->found = calloc(session->nspecs + 1, sizeof(*process->found));
	if (!process->found) {
		free(process);
		return -ENOMEM;
	}
	session->current = process;
	session->processes[n] = process;
	session->targets[n] = (struct session_target){ .pid = pid, .state = SESSION_RUNNING };
	session->nprocesses++;
	*ret = process;
	return 0;
}

void session_process_free(struct session_process *process)
{
	session_traps_stop(process, NULL);
	if (process->has_memory)
		trace_memory_unmap(&process->memory);
	patch_target_close(process->target);
	free(process->sites);
	free(process->copies);
	free(process->rows);
	free(process->pieces);
	session_layouts_free(process);
	free(process->semaphores);
	free(process->found);
	free(process);
}

void session_process_strip(struct session *session, struct session_process *process)
{
	if (process->has_memory) {
		trace_reader_remove(session->reader, process->source);
		trace_memory_unmap(&process->memory);
	}
	process->has_memory = process->waits = process->polls = false;
	patch_target_close(process->target);
	process->target = NULL;
}

static void drop_process(struct session *session)
{
	struct session_process *process = session->processes[--session->nprocesses];

	if (process->has_memory)
		trace_reader_remove(session->reader, process->source);
	session->current = NULL;
	session_process_free(process);
}

static void note_cost(struct session *session, struct session_process *process, uint64_t started)
{
	struct session_target *target = &session->targets[process->source];

	patch_target_cost(process->target, &target->memory, &target->ring, &target->stopped_ns);
	target->attach_ns = base_now_ns() - started;
}

static void free_attaching(struct session_attaching *a)
{
	free(a->matches);
	free(a->sites);
	free(a->groups);
}

/* What plans must keep to. */
static void set_limits(const struct session *session, struct patch_target *target)
{
	patch_target_stack(target, session->stack);
	if (session->options.debugger_safe)
		patch_target_keep_others(target);
}

static long attach(struct session *session, pid_t pid, struct utap_error *err)
{
	struct session_attaching a = { .session = session };
	uint64_t started = base_now_ns();
	long result = session_process_new(session, pid, &a.process);

	if (result)
		return base_error_system(err, (int)result, "cannot attach to process %d", pid);
	result = patch_target_open(pid, &a.process->target, err);
	a.target = a.process->target;
	if (!result) {
		patch_target_allow_trap(a.target, session->options.allow_trap);
		set_limits(session, a.target);
		result = attach_target(&a, err);
		if (result < 0 && process_has_ended(pid)) /* whatever was said: that is the reason */
			result = base_error(err, -ECHILD, UTAP_ERROR_GONE, "process %d exited during the attach", pid);
	}
	free_attaching(&a);
	if (result < 0)
		drop_process(session);
	else
		note_cost(session, a.process, started);
	return result;
}

long session_attach(struct session *session, pid_t pid, struct utap_error *err)
{
	int error = session->options.follow ? session_follow_begin(session, pid, err) : 0;
	uint32_t refused = session->refused;
	long result = error ? error : attach(session, pid, err);

	/* It, or another utap, mapped something just where we wanted to. Look again: another utap is seen now, and named. */
	for (int i = 0; i < ATTACH_TRIES && result == -EEXIST; i++) {
		session->refused = refused;
		result = attach(session, pid, err);
	}
	if (result < 0 && !error && session->options.follow)
		engine_follow_drop(session->follow, pid);
	return result;
}

/* Only the place where it will wait for us; a static program has none, and is probed at once. */
static long attach_start(struct session_attaching *a, struct utap_error *err)
{
	uint64_t base = 0;
	int error;

	a->process->followed = true;
	if (process_auxv(a->process->pid, AT_BASE, &base) || !base)
		return attach_target(a, err);
	a->process->waits = a->process->starting = true;
	error = session_plan_pause(a);
	if (error)
		return base_error_system(err, error, "cannot plan where process %d waits", a->process->pid);
	return a->nsites ? session_attach_sites(a, err) : 0;
}

long session_attach_executed(struct session *session, pid_t pid, struct utap_error *err)
{
	struct session_attaching a = { .session = session };
	uint64_t started = base_now_ns();
	long result = session_process_new(session, pid, &a.process);

	if (result)
		return base_error_system(err, (int)result, "cannot attach to process %d", pid);
	result = patch_target_open(pid, &a.process->target, err);
	a.target = a.process->target;
	if (!result) {
		set_limits(session, a.target);
		result = attach_start(&a, err);
	}
	if (result < 0 && a.target)
		back_out(&a);
	free_attaching(&a);
	if (result < 0) /* it goes on without probes, but is followed */
		session_process_strip(session, a.process);
	else
		note_cost(session, a.process, started);
	return result;
}
