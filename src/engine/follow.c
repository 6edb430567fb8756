/* SPDX-License-Identifier: MIT */
/*
 * Processes that stay seized so that what they start and execute is not missed (utap -f). A tracee runs undisturbed but for four things
 * that stop it for a moment: fork, vfork, clone and exec; and signals, which are handed on as they are. In a job-control stop it is left
 * (PTRACE_LISTEN). Nothing is asked of the kernel that outlives us: should we die, all of them run on, untraced.
 *
 * Owns the table of tasks. A task is in it from its seizure, or its first stop, to its end. A held task stands in an event stop, before the
 * first instruction of a program, until engine_follow_release().
 *
 * Statuses of children of ours are not consumed: who started them waits for them.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <uthash.h>

#include "engine/thread.h"

struct follow_task {
	pid_t tid; /* key */
	pid_t pid;
	bool held;
	UT_hash_handle hh;
};

struct engine_follow {
	struct follow_task *tasks; /* hash */
	struct engine_event *events; /* not told yet, oldest first */
	size_t nevents, events_cap;
};

int engine_follow_create(struct engine_follow **ret)
{
	struct engine_follow *follow = calloc(1, sizeof(*follow));

	if (!follow)
		return -ENOMEM;
	*ret = follow;
	return 0;
}

/* ---- the table ---- */

static struct follow_task *find_task(const struct engine_follow *follow, pid_t tid)
{
	struct follow_task *task;

	HASH_FIND_INT(follow->tasks, &tid, task);
	return task;
}

static struct follow_task *add_task(struct engine_follow *follow, pid_t tid, pid_t pid)
{
	struct follow_task *task = calloc(1, sizeof(*task));

	if (!task)
		return NULL; /* then it runs on, seized; its next stop tries again */
	task->tid = tid;
	task->pid = pid;
	HASH_ADD_INT(follow->tasks, tid, task);
	return task;
}

static void drop_task(struct engine_follow *follow, struct follow_task *task)
{
	HASH_DEL(follow->tasks, task);
	free(task);
}

static void queue_event(struct engine_follow *follow, const struct engine_event *event)
{
	if (base_grow(&follow->events, &follow->events_cap, follow->nevents + 1, sizeof(*follow->events)))
		base_log(BASE_LOG_WARN, "no memory: what process %d did is missed", event->pid);
	else
		follow->events[follow->nevents++] = *event;
}

/* ---- adding and removing processes ---- */

static int seize_threads(struct engine_follow *follow, pid_t pid, size_t *added)
{
	_cleanup_free_ pid_t *tids = NULL;
	long count = process_threads(pid, &tids);

	*added = 0;
	for (long i = 0; i < count; i++) {
		int error;

		if (find_task(follow, tids[i]))
			continue;
		error = thread_follow(tids[i]);
		if (error == -ESRCH || (error == -EPERM && (thread_is_ours(tids[i]) || thread_ends(tids[i]))))
			continue; /* it ended, or was made by one that is seized: its first stop will be seen */
		if (error)
			return error;
		if (!add_task(follow, tids[i], pid))
			return -ENOMEM;
		(*added)++;
	}
	return count < 0 ? (int)count : 0;
}

int engine_follow_add(struct engine_follow *follow, pid_t pid, struct utap_error *err)
{
	size_t added = 0;
	int error;

	do /* until each thread is seized: what these make is seized by the kernel */
		error = seize_threads(follow, pid, &added);
	while (!error && added);
	if (!error && find_task(follow, pid))
		return 0;
	engine_follow_drop(follow, pid);
	return process_explain(pid, error ? error : -ESRCH, err);
}

int engine_follow_take(struct engine_follow *follow, pid_t pid)
{
	struct follow_task *task;
	int error = thread_set_follow_options(pid, false);

	if (error)
		return error;
	task = add_task(follow, pid, pid);
	if (!task)
		return -ENOMEM;
	task->held = true;
	return 0;
}

static void let_go(struct engine_follow *follow, struct follow_task *task)
{
	enum thread_hold hold;

	if (!thread_take(task->tid, false, &hold) || thread_is_executing(task->tid))
		thread_detach(task->tid);
	drop_task(follow, task);
}

void engine_follow_drop(struct engine_follow *follow, pid_t pid)
{
	struct follow_task *task, *next;

	HASH_ITER (hh, follow->tasks, task, next) {
		if (task->pid == pid)
			let_go(follow, task);
	}
}

void engine_follow_destroy(struct engine_follow *follow)
{
	struct follow_task *task, *next;

	if (!follow)
		return;
	HASH_ITER (hh, follow->tasks, task, next)
		let_go(follow, task);
	free(follow->events);
	free(follow);
}

bool engine_follow_has(const struct engine_follow *follow, pid_t pid) { return find_task(follow, pid) != NULL; }

void engine_follow_release(struct engine_follow *follow, pid_t pid)
{
	struct follow_task *task = find_task(follow, pid);

	if (!task || !task->held)
		return;
	task->held = false;
	thread_resume(pid, 0);
}

/* ---- stops ---- */

static pid_t process_of(pid_t tid)
{
	struct process_status status;

	return process_status_read(tid, &status) ? 0 : status.tgid;
}

static pid_t parent_of(pid_t pid)
{
	struct process_status status;

	return process_status_read(pid, &status) ? 0 : status.ppid;
}

static struct follow_task *meet(struct engine_follow *follow, pid_t tid, pid_t parent)
{
	struct follow_task *task = find_task(follow, tid);
	pid_t pid = task ? task->pid : process_of(tid);

	if (task || !pid)
		return task;
	task = add_task(follow, tid, pid);
	if (task && tid == pid)
		queue_event(follow, &(struct engine_event){
				.kind = ENGINE_FORKED, .pid = pid, .parent = parent ? parent : parent_of(pid) });
	return task;
}

/* The thread that executed has the process's number now, and is its only one. */
static void note_exec(struct engine_follow *follow, struct follow_task *task)
{
	struct follow_task *other, *next;
	int error;

	HASH_ITER (hh, follow->tasks, other, next) {
		if (other->pid == task->pid && other != task)
			drop_task(follow, other);
	}
	error = thread_settle(task->tid, NULL);
	if (error) {
		base_log(BASE_LOG_DEBUG, "process %d ended while it executed a program", task->pid);
		return;
	}
	task->held = true;
	queue_event(follow, &(struct engine_event){ .kind = ENGINE_EXECED, .pid = task->pid });
}

static void note_end(struct engine_follow *follow, struct follow_task *task, int status)
{
	pid_t pid = task->pid;
	bool is_last = task->tid == pid; /* the first thread's end is told when all others have ended */
	struct follow_task *other, *next;

	drop_task(follow, task);
	if (!is_last)
		return;
	HASH_ITER (hh, follow->tasks, other, next) {
		if (other->pid == pid)
			drop_task(follow, other);
	}
	queue_event(follow, &(struct engine_event){ .kind = ENGINE_EXITED, .pid = pid, .status = status });
}

static void note_birth(struct engine_follow *follow, struct follow_task *task)
{
	pid_t newborn = thread_message(task->tid);
	bool is_known = find_task(follow, newborn);

	meet(follow, newborn, task->pid);
	thread_resume(task->tid, 0);
	if (!is_known)
		thread_let_run(newborn);
}

static void note_stop(struct engine_follow *follow, struct follow_task *task, int status)
{
	int signal = WSTOPSIG(status);

	switch (status >> 16) {
	case PTRACE_EVENT_FORK:
	case PTRACE_EVENT_VFORK:
	case PTRACE_EVENT_CLONE:
		note_birth(follow, task);
		break;
	case PTRACE_EVENT_EXEC:
		note_exec(follow, task);
		break;
	case PTRACE_EVENT_STOP:
		if (!task->held)
			thread_resume(task->tid, 0);
		break;
	case 0:
		thread_resume(task->tid, signal == (SIGTRAP | 0x80) ? 0 : signal);
		break;
	default:
		thread_resume(task->tid, 0);
		break;
	}
}

/* A new task waits until its maker's stop is seen: that one lets it run (thread_let_run()). Unless the maker was killed before. */
static bool has_maker(const struct engine_follow *follow, pid_t tid)
{
	pid_t pid = process_of(tid);
	const struct follow_task *maker = find_task(follow, pid == tid ? parent_of(tid) : pid);

	return thread_is_held(tid) && maker && !process_has_ended(maker->pid);
}

/* @return whether there was anything */
static bool look_at(struct engine_follow *follow, pid_t tid)
{
	struct follow_task *task = find_task(follow, tid);
	int status;

	if (!task && (!thread_is_ours(tid) || has_maker(follow, tid)))
		return false;
	switch (thread_look(tid, &status)) {
	case THREAD_STOPPED:
		task = task ? task : meet(follow, tid, 0);
		if (task)
			note_stop(follow, task, status);
		else
			thread_resume(tid, 0);
		return true;
	case THREAD_ENDED:
		if (task)
			note_end(follow, task, status);
		return task != NULL; /* else it is a child of ours whom its starter has not waited for yet */
	case THREAD_GONE:
		if (task && process_has_ended(tid))
			note_end(follow, task, 0);
		return false;
	case THREAD_RUNS:
		return false;
	}
	return false;
}

/* A child of ours that ended stays the first one that the kernel names until somebody reaps it: then all have to be asked. */
static bool look_at_all(struct engine_follow *follow)
{
	_cleanup_free_ pid_t *tids = calloc(HASH_COUNT(follow->tasks) + 1, sizeof(*tids));
	struct follow_task *task, *next;
	size_t count = 0;
	bool any = false;

	HASH_ITER (hh, follow->tasks, task, next) {
		if (tids)
			tids[count++] = task->tid;
	}
	for (size_t i = 0; i < count; i++) /* the table changes meanwhile */
		any = look_at(follow, tids[i]) || any;
	return any;
}

static bool look_once(struct engine_follow *follow)
{
	siginfo_t info = { 0 };

	if (waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT | __WALL) < 0 || !info.si_pid)
		return false;
	return look_at(follow, info.si_pid) || look_at_all(follow);
}

int engine_follow_next(struct engine_follow *follow, struct engine_event *ret)
{
	while (!follow->nevents && look_once(follow))
		;
	if (!follow->nevents)
		return 0;
	*ret = follow->events[0];
	follow->nevents--;
	for (size_t i = 0; i < follow->nevents; i++)
		follow->events[i] = follow->events[i + 1];
	return 1;
}

/* A loan may have met one while it waited for a thread to stop. */
void engine_follow_check(struct engine_follow *follow)
{
	_cleanup_free_ pid_t *pids = calloc(HASH_COUNT(follow->tasks) + 1, sizeof(*pids));
	struct follow_task *task, *next;
	size_t count = 0;

	HASH_ITER (hh, follow->tasks, task, next) {
		if (pids && task->tid == task->pid && !task->held)
			pids[count++] = task->pid;
	}
	for (size_t i = 0; i < count; i++) { /* the table changes meanwhile */
		task = find_task(follow, pids[i]);
		if (task && thread_is_executing(pids[i]))
			note_exec(follow, task);
		else if (task)
			look_at(follow, pids[i]);
	}
}
