/* SPDX-License-Identifier: MIT */
/*
 * The only caller of ptrace. A loan stops one thread of a process, lets it make system calls for us, and puts it back exactly
 * where it was; every other thread runs on. PTRACE_SEIZE only; no ptrace remains when a loan is returned.
 *
 * Our death at any instant is harmless: whenever the thread's registers are not its own, its stack (ours, or dead space below
 * its own) holds a signal frame with all of its state, and the code it runs ends in rt_sigreturn.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <sys/types.h>
#include <sys/user.h>

#include "base/base.h"
#include "process/process.h"
#include "wire/wire.h"

struct engine_loan;

/**
 * engine_lend() - borrow a thread
 * @pid:  a process that nobody traces (or that is followed, or one that engine_spawn() started and that is still stopped)
 * @mem:  its open /proc/PID/mem, borrowed until the return
 *
 * Picks a thread that can be stopped and has room below its stack pointer. With a seccomp filter on it, suspends the
 * filter (needs CAP_SYS_ADMIN and kernel support), else refuses.
 *
 * Return: 0; -ESRCH gone; -EPERM, -EBUSY (process_explain()); -ENOTSUP seccomp, or no thread fits; -ETIMEDOUT.
 */
int engine_lend(pid_t pid, int mem, struct engine_loan **ret, struct utap_error *err) BASE_MUST_CHECK;

/**
 * engine_call() - one system call
 * @result: what the kernel returned (negative errno on failure)
 * Return: 0, or -ESRCH when the thread is gone (the loan can only be returned then).
 */
int engine_call(struct engine_loan *loan, long number, const uint64_t args[6], int64_t *result) BASE_MUST_CHECK;

/**
 * engine_batch() - all the calls in @lend->calls[0 .. count), at full speed; stops at the first that fails
 * @lend:      our mapping of the target's lend area; completed and the results are valid afterwards
 * @lend_addr: where the target sees it
 * @entry:     the runtime's RT_BATCH
 * Return: 0 (look at completed), or -ESRCH, -ETIMEDOUT.
 */
int engine_batch(struct engine_loan *loan, struct wire_lend *lend, utap_addr lend_addr, utap_addr entry) BASE_MUST_CHECK;

/** engine_return() - put the thread back and let it go; frees @loan. Returns the nanoseconds it was stopped. */
uint64_t engine_return(struct engine_loan *loan);

pid_t engine_loan_tid(const struct engine_loan *loan);
/** A page of dead stack of the thread, for strings that its calls need. */
utap_addr engine_loan_scratch(const struct engine_loan *loan);
/** The thread's %fs base, and its rseq area (0: none registered) with its signature. */
utap_addr engine_loan_fs_base(const struct engine_loan *loan);
utap_addr engine_loan_rseq(const struct engine_loan *loan, uint32_t *signature);

/** What engine_visit() shows of each stopped thread. */
struct engine_view {
	pid_t tid;
	struct user_regs_struct regs;
	utap_addr rseq; /* 0: none */
	utap_addr *elsewhere; /* set it to let the thread go on there; NULL: it cannot be moved */
};
/** @return non-zero to stop the tour */
typedef int engine_visit_fn(void *arg, const struct engine_view *view);

/**
 * engine_visit() - stop each thread of @pid for a moment, one after the other, and look at it
 * Also clears a thread's rseq_cs when it points into [clear_from, clear_to): a stale pointer into memory about to be unmapped.
 *
 * Return: 0; what the callback returned; -EBUSY when a thread could not be looked at; -ESRCH; -EPERM.
 */
int engine_visit(pid_t pid, int mem, utap_addr clear_from, utap_addr clear_to, engine_visit_fn *fn,
		 void *arg) BASE_MUST_CHECK;

struct engine_hold;

/**
 * engine_hold() - stop all threads of @pids, processes that share one address space, and keep them stopped all at once
 *
 * Threads that start meanwhile are stopped too. One that waits in the kernel where it cannot be stopped (for a disk, for its vfork child)
 * cannot run on either: it stops before it returns to its program. Nothing of the threads is changed. Should we die, the kernel lets all of
 * them go.
 *
 * Return: 0; -EBUSY somebody else traces one; -ESTALE it executed another program; -ETIMEDOUT; -ESRCH; -EPERM; -ENOMEM. On an error
 * nothing is held.
 */
int engine_hold(const pid_t *pids, size_t count, struct engine_hold **ret) BASE_MUST_CHECK;
/** engine_hold_asleep() - how many of them wait in the kernel */
size_t engine_hold_asleep(const struct engine_hold *hold);
/** engine_hold_visit() - show each of them; 0, what the callback returned, or -EAGAIN: one that waited in the kernel does not any more */
int engine_hold_visit(struct engine_hold *hold, engine_visit_fn *fn, void *arg) BASE_MUST_CHECK;
/** engine_hold_release() - let all go; frees @hold. Returns the nanoseconds since the first was stopped. */
uint64_t engine_hold_release(struct engine_hold *hold);

/**
 * engine_spawn() - start a program and stop it before its first instruction (of its dynamic linker)
 * @argv: NULL-terminated, argv[0] looked up in $PATH
 *
 * Until engine_release() our death kills the child: it has not begun to run its own code.
 *
 * Return: 0 and *pid; -ENOENT, -EACCES, -ENOEXEC .. as execvp(3).
 */
int engine_spawn(char *const argv[], pid_t *pid, struct utap_error *err) BASE_MUST_CHECK;

/** engine_run_to() - let a spawned, stopped process run until it reaches @addr (a hardware breakpoint); 0, -ESRCH it ended, -errno */
int engine_run_to(pid_t pid, utap_addr addr) BASE_MUST_CHECK;

/** engine_release() - let a spawned process go, untraced */
void engine_release(pid_t pid);

/** Processes that stay seized, so that no process they make and no program they execute is missed. */
struct engine_follow;

enum engine_event_kind {
	ENGINE_FORKED, /* a new process, child of parent; it may share its parent's memory (vfork) until it executes */
	ENGINE_EXECED, /* it executed a program, and is held before the first instruction of its dynamic linker */
	ENGINE_EXITED, /* with status, as of waitpid(2); 0 when it is not known */
};
struct engine_event {
	enum engine_event_kind kind;
	pid_t pid;
	pid_t parent;
	int status;
};

int engine_follow_create(struct engine_follow **ret) BASE_MUST_CHECK;
/** engine_follow_destroy() - let all of them go; they run on. NULL is fine. */
void engine_follow_destroy(struct engine_follow *follow);

/**
 * engine_follow_add() - follow a running process: all its threads are seized, none is stopped
 * Return: 0, or as process_explain(): -EBUSY when another tracer has it, -EPERM, -ESRCH.
 */
int engine_follow_add(struct engine_follow *follow, pid_t pid, struct utap_error *err) BASE_MUST_CHECK;
/** engine_follow_take() - follow what engine_spawn() started; it stays held. 0 or negative errno */
int engine_follow_take(struct engine_follow *follow, pid_t pid) BASE_MUST_CHECK;
/** engine_follow_drop() - let one process go */
void engine_follow_drop(struct engine_follow *follow, pid_t pid);
bool engine_follow_has(const struct engine_follow *follow, pid_t pid);

/**
 * engine_follow_next() - what happened; to be asked often (SIGCHLD says when): who did something stands still until then
 * Does not reap children of ours: who started them waits for them.
 * Return: 1 and an event, or 0 nothing for now.
 */
int engine_follow_next(struct engine_follow *follow, struct engine_event *ret) BASE_MUST_CHECK;
/** engine_follow_check() - once in a while: find programs executed just while a thread was lent */
void engine_follow_check(struct engine_follow *follow);
/** engine_follow_release() - let a held process run */
void engine_follow_release(struct engine_follow *follow, pid_t pid);

#endif
