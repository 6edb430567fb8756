/* SPDX-License-Identifier: MIT */
/*
 * The threads and processes that the guardian traces. Threads that a traced one makes are traced from their first instruction and
 * report by themselves, before or after their maker does: so a record is made for whoever reports.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/guard.h"

#define STEP_MS 10000
#define SLICE_MS 20 /* after so long it is looked whether a thread can stop at all */
#define ASLEEP_MS 100 /* that sleeps where it cannot be stopped: many do for a moment */

static struct guard_process *find_process(const struct guard *guard, pid_t pid)
{
	struct guard_process *found;

	HASH_FIND_INT(guard->processes, &pid, found);
	return found;
}

static struct guard_thread *find_thread(const struct guard *guard, pid_t tid)
{
	struct guard_thread *found;

	HASH_FIND_INT(guard->threads, &tid, found);
	return found;
}

struct guard_process *guard_process_new(struct guard *guard, pid_t pid)
{
	struct guard_process *process = calloc(1, sizeof(*process));

	if (!process)
		return NULL;
	*process = (struct guard_process){ .pid = pid, .mem = process_mem_open(pid) };
	HASH_ADD_INT(guard->processes, pid, process);
	return process;
}

struct guard_thread *guard_thread_new(struct guard *guard, struct guard_process *process, pid_t tid)
{
	struct guard_thread *thread = calloc(1, sizeof(*thread));

	if (!thread)
		return NULL;
	*thread = (struct guard_thread){ .tid = tid, .process = process, .is_mask_due = true };
	process->threads++;
	process->unburied++;
	HASH_ADD_INT(guard->threads, tid, thread);
	return thread;
}

void guard_leaves_stop(struct guard *guard, struct guard_thread *thread)
{
	if (thread->is_stopped)
		DL_DELETE(guard->waiting, thread);
	thread->is_stopped = false;
}

void guard_thread_forget(struct guard *guard, struct guard_thread *thread)
{
	if (thread->is_gone)
		return;
	guard_leaves_stop(guard, thread);
	thread->is_gone = true;
	HASH_DEL(guard->threads, thread);
	thread->next_gone = guard->gone;
	guard->gone = thread;
	if (!--thread->process->threads)
		HASH_DEL(guard->processes, thread->process);
}

void guard_bury(struct guard *guard)
{
	while (guard->gone) {
		struct guard_thread *thread = guard->gone;
		struct guard_process *process = thread->process;

		guard->gone = thread->next_gone;
		free(thread);
		if (--process->unburied)
			continue;
		if (process->mem >= 0)
			close(process->mem);
		free(process);
	}
}

/* A child starts with its maker's action. The maker's record may be gone by then: so its other child's, or whoever is there. */
static const struct guard_process *maker_of(const struct guard *guard, const struct process_status *status)
{
	const struct guard_process *maker = find_process(guard, status->ppid);

	return maker ? maker : guard->processes;
}

static struct guard_thread *meet(struct guard *guard, pid_t tid)
{
	struct process_status status;
	struct guard_process *process;

	if (process_status_read(tid, &status))
		return NULL;
	process = find_process(guard, status.tgid);
	if (!process) {
		const struct guard_process *maker = maker_of(guard, &status);

		process = guard_process_new(guard, status.tgid);
		if (process && maker) {
			process->action = maker->action;
			process->syscall = maker->syscall;
			process->is_new = true;
		}
	}
	return process ? guard_thread_new(guard, process, tid) : NULL;
}

static bool has_child(int status)
{
	int event = status >> 16;

	return event == PTRACE_EVENT_CLONE || event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK;
}

/* From here on it is waited for, whether it has reported yet or not. */
static void meet_child(struct guard *guard, pid_t maker)
{
	unsigned long child = 0;

	if (ptrace(PTRACE_GETEVENTMSG, maker, 0, &child) == 0 && !find_thread(guard, (pid_t)child) &&
	    !meet(guard, (pid_t)child))
		base_log(BASE_LOG_DEBUG, "thread %lu has ended already", child);
}

struct guard_thread *guard_note(struct guard *guard, pid_t tid, int status)
{
	struct guard_thread *thread = find_thread(guard, tid);

	if (!WIFSTOPPED(status)) {
		if (thread)
			guard_thread_forget(guard, thread);
		return NULL;
	}
	if (!thread)
		thread = meet(guard, tid);
	if (!thread)
		return NULL;
	thread->status = status;
	if (!thread->is_stopped)
		DL_APPEND(guard->waiting, thread);
	thread->is_stopped = true;
	thread->in_vfork = false;
	if (thread->is_mask_due && !thread_sigmask(tid, &thread->mask))
		thread->is_mask_due = false;
	if (has_child(status))
		meet_child(guard, tid);
	return thread;
}

void guard_resume(struct guard *guard, struct guard_thread *thread, int signal)
{
	if (thread->must_stop)
		ptrace(PTRACE_INTERRUPT, thread->tid, 0, 0);
	thread->must_stop = false;
	guard_leaves_stop(guard, thread);
	ptrace(PTRACE_SYSCALL, thread->tid, 0, (uintptr_t)signal); /* fails when it was killed: its end will be reported */
}

/* Ends that others report on the way are kept in the kernel until they are asked for. */
static int wait_for(struct guard *guard, struct guard_thread *thread, int timeout_ms)
{
	int status;
	int error = thread_wait(thread->tid, timeout_ms, &status);

	if (!error)
		guard_note(guard, thread->tid, status);
	if (error == -ESRCH)
		guard_thread_forget(guard, thread);
	return error;
}

int guard_step(struct guard *guard, struct guard_thread *thread, int signal)
{
	guard_leaves_stop(guard, thread);
	if (ptrace(PTRACE_SYSCALL, thread->tid, 0, (uintptr_t)signal) < 0 && errno != ESRCH)
		return -errno;
	return wait_for(guard, thread, STEP_MS);
}

/* Is it making another process or thread? Source: Documentation/filesystems/proc.rst, /proc/PID/syscall. */
static bool is_forking(pid_t tid)
{
	_cleanup_free_ char *text = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/syscall", tid);
	if (base_file_read(path, &text, NULL))
		return true;
	switch (strtol(text, NULL, 10)) { /* "running": 0, a call that no longer runs then */
	case SYS_clone:
	case SYS_fork:
	case SYS_vfork:
	case SYS_clone3:
		return true;
	default:
		return !strncmp(text, "running", 7);
	}
}

/*
 * A thread that waits for its vfork child cannot be stopped, nor one that waits for a disk; neither runs program code before it has stopped.
 * One that executes another program has become another thread. One that is still making a process has to be waited for: the child would have
 * our bytes, or not, and we could not know.
 */
static int wait_to_stand(struct guard *guard, struct guard_thread *thread, int timeout_ms)
{
	for (int spent = 0;; spent += SLICE_MS) {
		struct process_status status;
		int error = thread->in_vfork && !spent ? -ETIMEDOUT : wait_for(guard, thread, SLICE_MS);

		if (error != -ETIMEDOUT)
			return error == -ESRCH ? 0 : error;
		if (process_status_read(thread->tid, &status)) {
			guard_thread_forget(guard, thread);
			return 0;
		}
		if (strchr("ZX", status.state)) /* a first thread that ended before the others */
			return 0;
		if (status.state == 'D' && (thread->in_vfork || (spent >= ASLEEP_MS && !is_forking(thread->tid))))
			return 0;
		if (spent >= timeout_ms)
			return -EAGAIN;
	}
}

static bool is_meant(const struct guard_thread *thread, const struct guard_process *process,
		     const struct guard_thread *except)
{
	return thread != except && !thread->is_stopped && !thread->is_gone && (!process || thread->process == process);
}

/* Also those that come to be known meanwhile, children of those that were about to make them. */
int guard_gather(struct guard *guard, const struct guard_process *process, const struct guard_thread *except,
		 int timeout_ms)
{
	struct guard_thread *thread, *next;
	unsigned before;
	int result = 0;

	do {
		before = HASH_COUNT(guard->threads);
		HASH_ITER (hh, guard->threads, thread, next)
			if (is_meant(thread, process, except))
				ptrace(PTRACE_INTERRUPT, thread->tid, 0, 0);
		HASH_ITER (hh, guard->threads, thread, next)
			if (is_meant(thread, process, except) && wait_to_stand(guard, thread, timeout_ms))
				result = -EAGAIN;
	} while (HASH_COUNT(guard->threads) > before && !result);
	return result;
}

void guard_repeat_call(const struct guard_thread *thread)
{
	struct user_regs_struct regs;
	utap_addr rip;

	if (thread_regs(thread->tid, &regs))
		return;
	rip = regs.rip;
	thread_repeat_call(thread->tid, thread->mask, &regs);
	if (regs.rip != rip && thread_set_regs(thread->tid, &regs))
		base_log(BASE_LOG_DEBUG, "thread %d is gone", thread->tid);
}

bool guard_is_entering(const struct guard_thread *thread)
{
	struct __ptrace_syscall_info info = { 0 };

	return thread->status && WSTOPSIG(thread->status) == (SIGTRAP | 0x80) &&
	       ptrace(PTRACE_GET_SYSCALL_INFO, thread->tid, sizeof(info), &info) > 0 &&
	       info.op == PTRACE_SYSCALL_INFO_ENTRY;
}

void guard_go_back(const struct guard_thread *thread)
{
	struct user_regs_struct regs;

	if (thread_regs(thread->tid, &regs))
		return;
	regs.rip -= 2;
	regs.rax = regs.orig_rax;
	regs.orig_rax = ~0UL;
	if (thread_set_regs(thread->tid, &regs))
		base_log(BASE_LOG_DEBUG, "thread %d is gone", thread->tid);
}

void guard_let_go(struct guard *guard, struct guard_thread *thread)
{
	int signal = guard_delivers(thread);

	if (signal) { /* up to its handler's first instruction */
		ptrace(PTRACE_INTERRUPT, thread->tid, 0, 0);
		if (guard_step(guard, thread, signal))
			return;
	}
	/* It would find in the call that there is something to look at, and many calls give up for that. */
	if (guard_is_entering(thread))
		guard_go_back(thread);
	else
		guard_repeat_call(thread);
	ptrace(PTRACE_DETACH, thread->tid, 0, 0);
	guard_thread_forget(guard, thread);
}
