/* SPDX-License-Identifier: MIT */
/* Bringing the session's probes into a process. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "session/inside.h"

static int keep_sites(struct session_attaching *a)
{
	struct session *session = a->session;
	int error = base_grow(&session->sites, &session->sites_cap, session->nsites + a->nsites, sizeof(*session->sites));

	for (size_t i = 0; !error && i < a->nsites; i++) {
		const struct patch_site *site = &a->sites[i];

		if (site->layer == PATCH_REFUSED)
			continue;
		session->sites[session->nsites++] = (struct session_site){
			.pid = a->process->pid, .id = site->id, .addr = site->addr, .layer = site->layer, .stub = site->stub,
			.stub_size = site->stub_size,
		};
	}
	return error;
}

/* Sites that fell out after the plan. */
static size_t count_applied(struct session_attaching *a)
{
	size_t n = 0;

	for (size_t i = 0; i < a->nsites; i++) {
		const struct trace_probe *probe = &a->session->probes[a->sites[i].id];

		if (a->sites[i].layer == PATCH_REFUSED)
			session_refuse(a->session, *probe->symbol ? probe->symbol : probe->path, a->sites[i].why);
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

static long attach_target(struct session_attaching *a, struct utap_error *err)
{
	struct patch_options options;
	size_t applied;
	int error = session_resolve_all(a, err);

	if (!error)
		error = session_plan_all(a, err);
	trace_reader_probes(a->session->reader, a->session->probes, a->session->nprobes); /* the table may have moved */
	if (error)
		return error;
	if (!a->nsites)
		return nothing_probed(a->session, err);
	session_progress(a->session, "patching", 0, a->nsites);
	options = session_geometry(a->session);
	error = patch_target_setup(a->target, &options, a->sites, a->nsites, err);
	if (!error)
		error = map_memory(a, err);
	if (!error)
		error = patch_target_apply(a->target, a->sites, a->nsites, 2 * (uint32_t)a->session->nspecs, session_emit_body, a, err);
	applied = error ? 0 : count_applied(a);
	if (!error && !applied)
		error = nothing_probed(a->session, err);
	if (!error && keep_sites(a))
		error = base_error_system(err, -ENOMEM, "cannot keep the list of places");
	if (error) {
		back_out(a);
		return error;
	}
	session_flush_refusal(a->session);
	return (long)applied;
}

static pid_t inner_pid(pid_t pid)
{
	struct process_status status;

	return process_status_read(pid, &status) || !status.inner_pid ? pid : status.inner_pid;
}

static int new_process(struct session *session, pid_t pid, struct session_process **ret)
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
	session->processes[n] = process;
	session->targets[n] = (struct session_target){ .pid = pid, .state = SESSION_RUNNING };
	session->nprocesses++;
	*ret = process;
	return 0;
}

static void drop_process(struct session *session)
{
	struct session_process *process = session->processes[--session->nprocesses];

	if (process->has_memory) {
		trace_reader_remove(session->reader, process->source);
		trace_memory_unmap(&process->memory);
	}
	patch_target_close(process->target);
	free(process->sites);
	free(process);
}

static void note_cost(struct session *session, struct session_process *process, uint64_t started)
{
	struct session_target *target = &session->targets[process->source];

	patch_target_cost(process->target, &target->memory, &target->ring, &target->stopped_ns);
	target->attach_ns = base_now_ns() - started;
}

long session_attach(struct session *session, pid_t pid, struct utap_error *err)
{
	struct session_attaching a = { .session = session };
	uint64_t started = base_now_ns();
	long result = new_process(session, pid, &a.process);

	if (result)
		return base_error_system(err, (int)result, "cannot attach to process %d", pid);
	result = patch_target_open(pid, &a.process->target, err);
	a.target = a.process->target;
	if (!result) {
		result = attach_target(&a, err);
		if (result < 0 && process_has_ended(pid)) /* whatever was said: that is the reason */
			result = base_error(err, -ECHILD, UTAP_ERROR_GONE, "process %d exited during the attach", pid);
	}
	free(a.matches);
	a.process->sites = a.sites;
	a.process->nsites = a.nsites;
	if (result < 0)
		drop_process(session);
	else
		note_cost(session, a.process, started);
	return result;
}
