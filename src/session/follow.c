/* SPDX-License-Identifier: MIT */
/*
 * Following targets into their children and into the programs that they execute (utap -f).
 *
 * A child that was forked inherits its parent's probes and memory: it only gets an entry, so that it is waited for and cleaned. A program that
 * is executed starts without anything of ours. It is held before its dynamic linker's first instruction, gets the place where it waits for us
 * (later.c) and runs on; it comes there when its libraries are in place and before any constructor, and then it is probed like any other.
 * Not a moment of that needs us alive: no breakpoint is set, no stop outlives us.
 */
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/engine.h"
#include "session/inside.h"

/* ---- entries ---- */

static struct session_process *find_process(const struct session *session, pid_t pid)
{
	for (size_t i = session->nprocesses; i-- > 0;)
		if (session->processes[i]->pid == pid && session->targets[i].state == SESSION_RUNNING)
			return session->processes[i];
	return NULL;
}

static void set_state(struct session *session, pid_t pid, enum session_target_state state)
{
	struct session_process *process = find_process(session, pid);

	if (process)
		session->targets[process->source].state = state;
}

static void note_child(struct session *session, pid_t pid, pid_t parent)
{
	const struct session_process *owner = find_process(session, parent);
	struct session_process *child;

	if (!owner || process_shares_memory(parent, pid)) /* until it executes, what it does is its parent's doing */
		return;
	if (session_process_new(session, pid, &child)) {
		session_note(session, "no memory for process %d, a child of process %d", pid, parent);
		return;
	}
	child->owner = owner->owner ? owner->owner : owner;
}

/* ---- programs executed ---- */

static void program_of(pid_t pid, char *text, size_t size)
{
	char link[64];
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/%d/exe", pid);
	length = readlink(link, text, size - 1);
	if (length < 0)
		snprintf(text, size, "another program");
	else
		text[length] = '\0';
}

/* The kernel drops the privileges of a program when a tracer without them looks on. */
static void note_privileges(const struct session *session, pid_t pid)
{
	char link[64], program[600];
	struct stat status;

	snprintf(link, sizeof(link), "/proc/%d/exe", pid);
	if (!geteuid() || stat(link, &status) || !(status.st_mode & (S_ISUID | S_ISGID)))
		return;
	program_of(pid, program, sizeof(program));
	session_note(session,
		     "process %d executed %s, which is set-uid: while it is followed by an ordinary user, the kernel gives it no "
		     "privileges; follow it as root",
		     pid, program);
}

static void attach_executed(struct session *session, pid_t pid)
{
	struct utap_error why = { 0 };
	long places = session_attach_executed(session, pid, &why);
	char program[600];

	program_of(pid, program, sizeof(program));
	if (places < 0 && !process_has_ended(pid))
		session_note(session, "process %d executed %s, which is not probed: %s", pid, program, why.text);
	else
		base_log(BASE_LOG_INFO, "process %d executed %s", pid, program);
}

static void handle(struct session *session, const struct engine_event *event)
{
	switch (event->kind) {
	case ENGINE_FORKED:
		note_child(session, event->pid, event->parent);
		break;
	case ENGINE_EXECED:
		set_state(session, event->pid, SESSION_EXECED);
		note_privileges(session, event->pid);
		attach_executed(session, event->pid);
		engine_follow_release(session->follow, event->pid);
		break;
	case ENGINE_EXITED:
		set_state(session, event->pid, SESSION_EXITED);
		break;
	}
}

bool session_follow_events(struct session *session)
{
	struct engine_event event;
	bool any = false;

	while (session->follow && engine_follow_next(session->follow, &event) > 0) {
		handle(session, &event);
		any = true;
	}
	return any;
}

/* ---- what is gone ---- */

static bool has_children(const struct session *session, const struct session_process *process)
{
	for (size_t i = 0; i < session->nprocesses; i++)
		if (session->processes[i]->owner == process && session->targets[i].state == SESSION_RUNNING)
			return true;
	return false;
}

static int keep_counts(struct session *session, const struct session_process *process)
{
	if (base_grow(&session->past, &session->past_cap, session->nprobes, sizeof(*session->past)))
		return -ENOMEM;
	for (; session->npast < session->nprobes; session->npast++)
		session->past[session->npast] = (struct session_counts){ 0 };
	for (uint32_t id = 0; id < session->nprobes && id < process->memory.geometry.max_probes; id++) {
		session->past[id].hits += trace_memory_hits(&process->memory, id);
		session->past[id].lost += trace_memory_lost(&process->memory, id);
		session->past[id].held += session_held(session, &process->memory, id);
	}
	return 0;
}

/* A run may follow thousands of programs; each would keep two descriptors and its rings. */
void session_follow_retire(struct session *session)
{
	bool reads = session->options.action == PROBE_RECORD;

	for (size_t i = 0; session->follow && !session->options.overwrite && i < session->nprocesses; i++) {
		struct session_process *process = session->processes[i];
		enum session_target_state state = session->targets[i].state;
		bool is_gone = state == SESSION_EXITED || state == SESSION_EXECED || state == SESSION_TAKEN;

		if (!is_gone || !process->target || has_children(session, process))
			continue;
		if (!process->gone_drains) {
			process->gone_drains = session->drains + 2; /* until all that it wrote was read */
			continue;
		}
		if (reads && process->has_memory && session->drains < process->gone_drains)
			continue;
		if (!process->has_memory || !keep_counts(session, process))
			session_process_strip(session, process);
	}
}

/* ---- beginning and end ---- */

int session_follow_begin(struct session *session, pid_t pid, struct utap_error *err)
{
	int error = session->follow ? 0 : engine_follow_create(&session->follow);

	if (error)
		return base_error_system(err, error, "cannot follow process %d", pid);
	return engine_follow_add(session->follow, pid, err);
}

int session_follow_spawned(struct session *session, pid_t pid, struct utap_error *err)
{
	int error = session->follow ? 0 : engine_follow_create(&session->follow);

	if (!error)
		error = engine_follow_take(session->follow, pid);
	return error ? base_error_system(err, error, "cannot follow process %d", pid) : 0;
}

void session_follow_end(struct session *session)
{
	engine_follow_destroy(session->follow);
	session->follow = NULL;
}
