/* SPDX-License-Identifier: MIT */
/*
 * What each stop means. A trap of ours: go on in its trampoline. Everything else is handed on as it is: signals with all that they say, stops
 * of the whole process, the program's own SIGTRAPs.
 *
 * After a signal's delivery the thread stops once more, before its handler's first instruction: there the mask can be read that the
 * handler runs with.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/prctl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/guard.h"

#define ALONE_MS 10000
#define RESET_HANDLER 0x80000000U /* SA_RESETHAND */

int guard_delivers(const struct guard_thread *thread)
{
	int status = thread->status;

	if (!thread->is_stopped || !status || status >> 16 || WSTOPSIG(status) == (SIGTRAP | 0x80))
		return 0;
	return WSTOPSIG(status);
}

/* ---- traps ---- */

static const struct engine_trap *trap_at(const struct guard *guard, const struct guard_thread *thread)
{
	struct user_regs_struct regs;

	return thread_regs(thread->tid, &regs) ? NULL : guard_trap_before(guard, regs.rip);
}

/*
 * Is this SIGTRAP that of a trap? A SIGTRAP that the program had pending takes the place of the trap's own: then it comes though it is
 * blocked, or in the middle of an instruction.
 */
static const struct engine_trap *trap_hit(const struct guard *guard, const struct guard_thread *thread,
					  const siginfo_t *info)
{
	const struct engine_trap *trap = trap_at(guard, thread);

	if (trap && info->si_code != SI_KERNEL && !(thread->mask & GUARD_SIGTRAP) && trap->length == 1)
		return NULL;
	return trap;
}

static void send_to_stub(struct guard *guard, struct guard_thread *thread, const struct engine_trap *trap,
			 const siginfo_t *info)
{
	struct user_regs_struct regs;
	bool blocked = thread->mask & GUARD_SIGTRAP;

	if ((blocked && !guard_action_is_default(thread->process)) || guard_action_is_ignore(thread->process))
		thread->process->is_reset = true;
	if (info->si_code != SI_KERNEL)
		guard_requeue(guard, thread, info);
	if (thread_regs(thread->tid, &regs))
		return;
	regs.rip = trap->stub;
	if ((blocked && thread_set_sigmask(thread->tid, thread->mask)) || thread_set_regs(thread->tid, &regs))
		return;
	guard->shared->hits++;
	thread->status = 0;
}

static bool has_sigtrap(pid_t tid)
{
	_cleanup_free_ char *text = NULL;
	char path[64];
	const char *at;

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	if (base_file_read(path, &text, NULL))
		return false;
	at = strstr(text, "\nSigPnd:"); /* of this thread alone */
	return at && (strtoull(at + 8, NULL, 16) & GUARD_SIGTRAP);
}

void guard_settle(struct guard *guard, struct guard_thread *thread)
{
	const struct engine_trap *trap;
	siginfo_t info;

	if (!thread->is_stopped)
		return;
	if (thread->process->is_new)
		guard_action_inherit(guard, thread);
	/* Asked to stop, it stops before the trap that it has run into is reported. That comes first then, before any instruction. */
	if (thread_is_event_stop(thread->status) && trap_at(guard, thread) && has_sigtrap(thread->tid)) {
		thread->must_stop = true;
		if (guard_step(guard, thread, 0))
			return;
	}
	if (guard_delivers(thread) != SIGTRAP || ptrace(PTRACE_GETSIGINFO, thread->tid, 0, &info) < 0)
		return;
	trap = trap_hit(guard, thread, &info);
	if (trap)
		send_to_stub(guard, thread, trap, &info);
}

/* ---- what must not meet a trap ---- */

static void stop_others(struct guard *guard, struct guard_thread *thread)
{
	struct guard_thread *other, *next;

	if (thread->process->threads == 1)
		return;
	guard_gather(guard, thread->process, thread, ALONE_MS);
	HASH_ITER (hh, guard->threads, other, next)
		if (other->process == thread->process && other != thread)
			guard_settle(guard, other);
}

/* The program's own: raised by it or sent to it, an int3 of its own, single steps. Ends with the thread going, or before its handler. */
static void deliver_sigtrap(struct guard *guard, struct guard_thread *thread, const siginfo_t *info)
{
	struct guard_process *process = thread->process;
	bool forced = info->si_code > 0;

	if (!forced && guard_action_is_ignore(process)) {
		guard_resume(guard, thread, 0);
		return;
	}
	if (guard_action_is_default(process) || guard_action_is_ignore(process) || (thread->mask & GUARD_SIGTRAP)) {
		guard_resume(guard, thread, SIGTRAP); /* and dies: a forced one cannot be blocked nor ignored */
		return;
	}
	stop_others(guard, thread);
	if (process->is_reset) {
		guard_action_repair(guard, thread);
		if (guard_step(guard, thread, 0) || guard_delivers(thread) != SIGTRAP) /* it comes again */
			return;
	}
	if (process->action.flags & RESET_HANDLER)
		process->action = (struct guard_action){ 0 };
	thread->is_mask_due = true;
	ptrace(PTRACE_INTERRUPT, thread->tid, 0, 0);
	if (guard_step(guard, thread, SIGTRAP))
		base_log(BASE_LOG_DEBUG, "a thread ended in SIGTRAP");
}

static void on_signal(struct guard *guard, struct guard_thread *thread)
{
	const struct engine_trap *trap;
	siginfo_t info;

	if (WSTOPSIG(thread->status) != SIGTRAP) {
		thread->must_stop = true;
		thread->is_mask_due = true;
		guard_resume(guard, thread, WSTOPSIG(thread->status));
		return;
	}
	if (ptrace(PTRACE_GETSIGINFO, thread->tid, 0, &info) < 0) {
		guard_resume(guard, thread, 0); /* it was killed: its end will be reported */
		return;
	}
	trap = trap_hit(guard, thread, &info);
	if (!trap) {
		deliver_sigtrap(guard, thread, &info);
		return;
	}
	send_to_stub(guard, thread, trap, &info);
	guard_resume(guard, thread, 0);
}

/* ---- system calls ---- */

enum call_kind { CALL_ACTION, CALL_SEND, CALL_CONFINE, CALL_TRACE_ME };

/* Calls that matter, and the value that one of their arguments has when they do. */
static const struct {
	uint32_t machine;
	uint32_t number;
	uint8_t argument;
	uint8_t kind;
	uint64_t value;
} calls[] = {
	{ AUDIT_ARCH_X86_64, SYS_rt_sigaction, 0, CALL_ACTION, SIGTRAP },
	{ AUDIT_ARCH_X86_64, SYS_tkill, 1, CALL_SEND, SIGTRAP },
	{ AUDIT_ARCH_X86_64, SYS_tgkill, 2, CALL_SEND, SIGTRAP },
	{ AUDIT_ARCH_X86_64, SYS_rt_tgsigqueueinfo, 2, CALL_SEND, SIGTRAP },
	{ AUDIT_ARCH_X86_64, SYS_pidfd_send_signal, 1, CALL_SEND, SIGTRAP },
	{ AUDIT_ARCH_X86_64, SYS_seccomp, 0, CALL_CONFINE, 0 }, /* SECCOMP_SET_MODE_STRICT */
	{ AUDIT_ARCH_X86_64, SYS_seccomp, 0, CALL_CONFINE, 1 }, /* SECCOMP_SET_MODE_FILTER */
	{ AUDIT_ARCH_X86_64, SYS_prctl, 0, CALL_CONFINE, PR_SET_SECCOMP },
	{ AUDIT_ARCH_X86_64, SYS_ptrace, 0, CALL_TRACE_ME, PTRACE_TRACEME },
	{ AUDIT_ARCH_X86_64, 0x40000000 + 512, 0, CALL_ACTION, SIGTRAP }, /* x32 */
	{ AUDIT_ARCH_X86_64, 0x40000000 + 536, 2, CALL_SEND, SIGTRAP },
	{ AUDIT_ARCH_I386, 48, 0, CALL_ACTION, SIGTRAP }, /* signal */
	{ AUDIT_ARCH_I386, 67, 0, CALL_ACTION, SIGTRAP },
	{ AUDIT_ARCH_I386, 174, 0, CALL_ACTION, SIGTRAP },
	{ AUDIT_ARCH_I386, 238, 1, CALL_SEND, SIGTRAP },
	{ AUDIT_ARCH_I386, 270, 2, CALL_SEND, SIGTRAP },
	{ AUDIT_ARCH_I386, 335, 2, CALL_SEND, SIGTRAP },
};

/* The kind of a call that matters, or -1. Arguments are 32 bits wide for the kernel, too. */
static int kind_of(const struct __ptrace_syscall_info *info)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (calls[i].number == info->entry.nr && calls[i].machine == info->arch &&
		    (uint32_t)info->entry.args[calls[i].argument] == calls[i].value)
			return calls[i].kind;
	return -1;
}

/* A child that nobody may trace would have our bytes, and die of them. */
static bool makes_untraced(const struct guard_thread *thread, const struct __ptrace_syscall_info *info)
{
	uint64_t flags = 0;

	if (info->arch != AUDIT_ARCH_X86_64)
		return false;
	if (info->entry.nr == SYS_clone)
		flags = info->entry.args[0];
	else if (info->entry.nr == SYS_clone3 && process_read(thread->process->mem, info->entry.args[0], &flags, sizeof(flags)))
		return false; /* as the kernel will find */
	return flags & CLONE_UNTRACED;
}

/* With a handler of its own and a filter on top, a reset handler could not be put back any more. Root can suspend the filter. */
static bool can_stay(const struct guard_thread *thread)
{
	return guard_action_is_default(thread->process) || geteuid() == 0;
}

/* The program asks for its action, or sets it. The others stand, and what a trap has reset was put back when it looks. */
static void change_action(struct guard *guard, struct guard_thread *thread, bool sets)
{
	struct user_regs_struct regs;

	if (thread->process->is_reset) {
		guard_action_repair(guard, thread);
		if (guard_step(guard, thread, 0) || !guard_is_entering(thread)) /* it makes the call anew; or a signal comes first */
			return;
	}
	if (guard_step(guard, thread, 0) || !sets)
		return;
	if (!thread_regs(thread->tid, &regs) && !regs.rax)
		thread->process->may_set = true;
	if (guard_action_read(guard, thread))
		base_log(BASE_LOG_DEBUG, "what process %d does with SIGTRAP is not known", thread->process->pid);
}

static void on_call_entry(struct guard *guard, struct guard_thread *thread, const struct __ptrace_syscall_info *info)
{
	int kind = kind_of(info);

	if (makes_untraced(thread, info)) {
		guard->must_leave = true;
		base_error(&guard->shared->error, -ENOTSUP, UTAP_ERROR_REFUSED,
			   "the traps were taken out of process %d: it makes a child that forbids being traced (CLONE_UNTRACED)",
			   thread->process->pid);
		return;
	}
	if (kind < 0) {
		guard_resume(guard, thread, 0);
		return;
	}
	switch ((enum call_kind)kind) {
	case CALL_CONFINE:
		guard->must_leave = !can_stay(thread);
		if (!guard->must_leave)
			guard_resume(guard, thread, 0);
		else
			base_error(&guard->shared->error, -ENOTSUP, UTAP_ERROR_REFUSED,
				   "the traps were taken out of process %d: it confines itself with seccomp and handles or ignores SIGTRAP, "
				   "which could not be kept right without root",
				   thread->process->pid);
		break;
	case CALL_TRACE_ME:
		if (!guard_release(guard, thread->process))
			guard_resume(guard, thread, 0); /* it will fail, as nobody has two tracers */
		break;
	case CALL_SEND:
		stop_others(guard, thread);
		if (guard_step(guard, thread, 0))
			base_log(BASE_LOG_DEBUG, "a thread ended when it sent SIGTRAP");
		break;
	case CALL_ACTION:
		stop_others(guard, thread);
		change_action(guard, thread, info->arch != AUDIT_ARCH_X86_64 || info->entry.args[1]);
		break;
	}
}

static void on_call(struct guard *guard, struct guard_thread *thread)
{
	struct __ptrace_syscall_info info = { 0 };
	uint64_t mask;

	if (ptrace(PTRACE_GET_SYSCALL_INFO, thread->tid, sizeof(info), &info) > 0 && info.op == PTRACE_SYSCALL_INFO_ENTRY) {
		on_call_entry(guard, thread, &info);
		return;
	}
	if (!thread_sigmask(thread->tid, &mask))
		thread->mask = mask;
	guard_resume(guard, thread, 0);
}

/* ---- events ---- */

static void on_event_stop(struct guard *guard, struct guard_thread *thread)
{
	if (WSTOPSIG(thread->status) != SIGTRAP) { /* the whole process is stopped: so is this thread, until it is continued */
		ptrace(PTRACE_LISTEN, thread->tid, 0, 0);
		guard_leaves_stop(guard, thread);
		return;
	}
	guard_repeat_call(thread);
	guard_resume(guard, thread, 0);
}

/* Another program, with none of our bytes. It has one thread, whose number is the process's. */
static void on_exec(struct guard *guard, struct guard_thread *thread)
{
	struct guard_thread *other, *next;
	struct guard_process *process = thread->process;

	HASH_ITER (hh, guard->threads, other, next)
		if (other->process == process && other != thread)
			guard_thread_forget(guard, other);
	guard_action_execed(guard, thread);
	thread_detach(thread->tid);
	guard_thread_forget(guard, thread);
}

void guard_handle(struct guard *guard, struct guard_thread *thread)
{
	int event = thread->status >> 16;

	if (thread->process->is_new)
		guard_action_inherit(guard, thread);
	if (!thread->status) {
		guard_repeat_call(thread);
		guard_resume(guard, thread, 0);
	} else if (event == PTRACE_EVENT_STOP) {
		on_event_stop(guard, thread);
	} else if (event == PTRACE_EVENT_EXEC) {
		on_exec(guard, thread);
	} else if (WSTOPSIG(thread->status) == (SIGTRAP | 0x80)) {
		on_call(guard, thread);
	} else if (!event) {
		on_signal(guard, thread);
	} else {
		guard_resume(guard, thread, 0);
		thread->in_vfork = event == PTRACE_EVENT_VFORK;
	}
}
