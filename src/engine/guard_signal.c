/* SPDX-License-Identifier: MIT */
/*
 * SIGTRAP as the program wants it: handled, ignored or neither. Only a thread of the process itself can ask or set that, so a stopped
 * one is made to. In that call all signals are blocked, and afterwards the thread stands in an event stop, where the kernel still
 * restarts what the stop interrupted.
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

#define RED_ZONE 128
#define ALL_SIGNALS (~0ULL)
#define SCAN 8192
#define MANY_STOPS 100 /* on the way to one that is expected */

/* ---- making calls ---- */

/* Any "syscall" will do, as the thread is stopped right behind it; every process has one in its vDSO. */
static int find_syscall(struct guard_process *process)
{
	static const uint8_t code[] = { 0x0f, 0x05 };
	struct process_maps maps;
	int error = process->syscall ? 0 : process_maps_read(process->pid, &maps);

	if (error || process->syscall)
		return error;
	for (size_t i = 0; i < maps.count && !process->syscall; i++) {
		const struct process_map *map = &maps.map[i];
		uint8_t text[SCAN];
		size_t size = map->end - map->start < SCAN ? map->end - map->start : SCAN;
		const uint8_t *found;

		if (strcmp(map->path, "[vdso]") || process_read(process->mem, map->start, text, size))
			continue;
		found = memmem(text, size, code, sizeof(code));
		if (found)
			process->syscall = map->start + (utap_addr)(found - text);
	}
	process_maps_free(&maps);
	return process->syscall ? 0 : -ENOTSUP;
}

/* A filter might kill the thread for our call. Suspending it needs CAP_SYS_ADMIN. */
static int suspend_filter(const struct guard_thread *thread, bool suspend)
{
	uintptr_t options = GUARD_OPTIONS | (suspend ? PTRACE_O_SUSPEND_SECCOMP : 0);

	return ptrace(PTRACE_SETOPTIONS, thread->tid, 0, options) < 0 ? -ENOTSUP : 0;
}

static bool is_confined(pid_t tid)
{
	struct process_status status;

	return !process_status_read(tid, &status) && status.seccomp;
}

/* The next stop at a system call. Signals cannot come but SIGSTOP, which is sent again when the thread is itself. */
static int step_to_call(struct guard *guard, struct guard_thread *thread)
{
	for (int i = 0; i < MANY_STOPS; i++) {
		int error = guard_step(guard, thread, 0);

		if (error || WSTOPSIG(thread->status) == (SIGTRAP | 0x80))
			return error;
		if (WSTOPSIG(thread->status) != SIGTRAP)
			thread->must_stop = true;
		if (guard_delivers(thread) == SIGSTOP)
			syscall(SYS_tgkill, thread->process->pid, thread->tid, SIGSTOP);
	}
	return -EIO;
}

static int step_to_event(struct guard *guard, struct guard_thread *thread)
{
	if (ptrace(PTRACE_INTERRUPT, thread->tid, 0, 0) < 0)
		return -ESRCH;
	for (int i = 0; i < MANY_STOPS; i++) {
		int error = guard_step(guard, thread, 0);

		if (error)
			return error;
		if (!thread_is_event_stop(thread->status))
			continue;
		thread->must_stop |= WSTOPSIG(thread->status) != SIGTRAP;
		return 0;
	}
	return -EIO;
}

static int make_call(struct guard *guard, struct guard_thread *thread, struct user_regs_struct regs, long number,
		     const uint64_t *args, int64_t *result)
{
	int error;

	regs.rip = thread->process->syscall;
	regs.eflags &= ~0x100UL; /* not in single steps */
	regs.orig_rax = ~0UL;
	regs.rax = (unsigned long)number;
	regs.rdi = args[0];
	regs.rsi = args[1];
	regs.rdx = args[2];
	regs.r10 = args[3];
	error = thread_set_regs(thread->tid, &regs);
	for (int stop = 0; !error && stop < 2; stop++) /* entry, exit */
		error = step_to_call(guard, thread);
	if (!error)
		error = thread_regs(thread->tid, &regs);
	if (!error)
		*result = (int64_t)regs.rax;
	return error;
}

/* What its filter lets it do itself we may do, too. */
static int pass_filter(const struct guard_thread *thread, long number)
{
	int error = is_confined(thread->tid) ? suspend_filter(thread, true) : 0;

	return error && number == SYS_rt_sigaction && thread->process->may_set ? 0 : error;
}

int guard_call(struct guard *guard, struct guard_thread *thread, long number, const uint64_t *args, int64_t *result)
{
	struct user_regs_struct own;
	uint64_t mask = thread->mask;
	int error = find_syscall(thread->process);

	if (!error)
		error = pass_filter(thread, number);
	if (!error && guard_is_entering(thread)) {
		guard_go_back(thread);
		error = guard_step(guard, thread, 0);
	}
	if (!error)
		error = thread_regs(thread->tid, &own);
	if (!error)
		error = thread_set_sigmask(thread->tid, ALL_SIGNALS);
	if (error)
		return error;
	error = make_call(guard, thread, own, number, args, result);
	if (!error)
		error = step_to_event(guard, thread);
	if (!error)
		error = thread_set_regs(thread->tid, &own);
	if (!error)
		error = thread_set_sigmask(thread->tid, mask);
	if (error)
		return error;
	thread->status = 0;
	if (is_confined(thread->tid) && suspend_filter(thread, false))
		base_log(BASE_LOG_DEBUG, "the filter of thread %d stays suspended", thread->tid);
	return 0;
}

/*
 * A call with a structure in memory. It lies where a hit's program would have its own, below the red zone of the thread's stack; what was
 * there is put back.
 */
static int call_with(struct guard *guard, struct guard_thread *thread, long number, uint64_t *args, unsigned which,
		     void *data, size_t size, int64_t *result)
{
	int mem = thread->process->mem;
	struct user_regs_struct regs;
	uint8_t old[256];
	utap_addr at;
	int error = size > sizeof(old) ? -EINVAL : thread_regs(thread->tid, &regs);

	if (error)
		return error;
	at = base_align_down(regs.rsp - RED_ZONE - size, 16);
	if (process_read(mem, at, old, size))
		at = base_align_up(regs.rsp, 16); /* the very end of a stack */
	error = process_read(mem, at, old, size);
	if (!error)
		error = process_write(mem, at, data, size);
	args[which] = at;
	if (!error)
		error = guard_call(guard, thread, number, args, result);
	if (!error)
		error = process_read(mem, at, data, size);
	if (!error)
		error = process_write(mem, at, old, size);
	return error;
}

/* ---- the action ---- */

bool guard_action_is_default(const struct guard_process *process) { return process->action.handler == 0; }

bool guard_action_is_ignore(const struct guard_process *process) { return process->action.handler == 1; }

/* Of the process's SIGTRAP, from outside: 'C' caught, 'I' ignored, '-' neither. */
static char disposition(pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	char path[64];
	const char *ignored;
	const char *caught;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (base_file_read(path, &text, NULL))
		return '?';
	ignored = strstr(text, "\nSigIgn:");
	caught = strstr(text, "\nSigCgt:");
	if (!ignored || !caught)
		return '?';
	if (strtoull(caught + 8, NULL, 16) & GUARD_SIGTRAP)
		return 'C';
	return strtoull(ignored + 8, NULL, 16) & GUARD_SIGTRAP ? 'I' : '-';
}

static int call_action(struct guard *guard, struct guard_thread *thread, unsigned which, struct guard_action *action)
{
	uint64_t args[4] = { SIGTRAP, 0, 0, sizeof(action->mask) };
	int64_t result = 0;
	int error = call_with(guard, thread, SYS_rt_sigaction, args, which, action, sizeof(*action), &result);

	return error ? error : (int)result;
}

static int get_action(struct guard *guard, struct guard_thread *thread, struct guard_action *ret)
{
	return call_action(guard, thread, 2, ret);
}

static int set_action(struct guard *guard, struct guard_thread *thread)
{
	struct guard_action action = thread->process->action;

	return call_action(guard, thread, 1, &action);
}

int guard_action_read(struct guard *guard, struct guard_thread *thread)
{
	struct guard_process *process = thread->process;
	struct guard_action action = { 0 };
	int error = disposition(process->pid) == '-' ? 0 : get_action(guard, thread, &action); /* the usual case is for free */

	if (!error) {
		process->action = action;
		process->is_reset = false;
	}
	return error;
}

void guard_action_repair(struct guard *guard, struct guard_thread *thread)
{
	struct guard_process *process = thread->process;
	int signal = guard_delivers(thread);
	siginfo_t info;

	if (!process->is_reset)
		return;
	if (signal && ptrace(PTRACE_GETSIGINFO, thread->tid, 0, &info) < 0)
		return;
	if (set_action(guard, thread)) {
		base_log(BASE_LOG_DEBUG, "the action for SIGTRAP of process %d cannot be set", process->pid);
		return;
	}
	process->is_reset = false;
	if (signal)
		guard_requeue(guard, thread, &info);
}

void guard_action_execed(struct guard *guard, struct guard_thread *thread)
{
	struct guard_process *process = thread->process;

	if (!guard_action_is_ignore(process) || disposition(process->pid) == 'I')
		return;
	if (process->mem >= 0)
		close(process->mem);
	process->mem = process_mem_open(process->pid);
	process->syscall = 0;
	process->action = (struct guard_action){ .handler = process->action.handler };
	if (!guard_step(guard, thread, 0) && set_action(guard, thread)) /* to the end of the execve */
		base_log(BASE_LOG_DEBUG, "SIGTRAP is not ignored in process %d any more", process->pid);
}

/*
 * Its action is a copy of its maker's, made perhaps just when a trap had reset that. A reset leaves flags and restorer, which a handler
 * must have; CLONE_CLEAR_SIGHAND clears them too, and leaves ignored what was.
 */
void guard_action_inherit(struct guard *guard, struct guard_thread *thread)
{
	struct guard_process *process = thread->process;
	struct guard_action now = { 0 };

	process->is_new = false;
	if (guard_action_is_default(process) || get_action(guard, thread, &now))
		return;
	process->is_reset = now.handler == 0 &&
			    (guard_action_is_ignore(process) ||
			     (now.flags == process->action.flags && now.restorer == process->action.restorer));
	if (process->is_reset)
		guard_action_repair(guard, thread);
	else
		process->action = now;
}

void guard_requeue(struct guard *guard, struct guard_thread *thread, const siginfo_t *info)
{
	siginfo_t copy = *info;
	uint64_t none[4] = { 0 };
	uint64_t args[4] = { 0, 0, (uint64_t)info->si_signo, 0 };
	int64_t pid = 0, tid = 0, result = 0;

	/* Under the numbers that the process itself knows: it may live in a namespace. */
	if (guard_call(guard, thread, SYS_getpid, none, &pid) || guard_call(guard, thread, SYS_gettid, none, &tid))
		return;
	args[0] = (uint64_t)pid;
	args[1] = (uint64_t)tid;
	if (call_with(guard, thread, SYS_rt_tgsigqueueinfo, args, 3, &copy, sizeof(copy), &result) || result)
		base_log(BASE_LOG_DEBUG, "signal %d of thread %d is lost", info->si_signo, thread->tid);
}
