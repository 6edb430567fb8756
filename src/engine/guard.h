/* SPDX-License-Identifier: MIT */
/*
 * Inside engine/: the guardian, a process of its own with one thread that traces all threads of a process and of the children that
 * it forks.
 *
 *   guard.c          its life: arming, serving stops, leaving
 *   guard_stop.c     what each stop means
 *   guard_tasks.c    the threads and processes it knows; stopping all of them
 *   guard_signal.c   the program's own SIGTRAP: what it wants done with it, kept as the program set it
 *
 * Why system calls are watched: an int3 hit with SIGTRAP blocked unblocks it and resets the handler, an ignored one resets that, and the
 * kernel says nowhere what was before. So it has to be known before. Source: kernel/signal.c, force_sig_info_to_task().
 *
 * Invariants:
 *  - a thread runs program code only while guard_thread.mask is its mask, but for SIGTRAP's bit between a trap and its stop;
 *  - guard_process.action is what the program wants of SIGTRAP. The kernel's may have been reset (is_reset): all SIGTRAPs come to us first;
 *  - what reads or sets that action (rt_sigaction, the delivery of a SIGTRAP that is the program's), or puts a SIGTRAP into a thread's
 *    own queue (tgkill), happens while no other thread of the process runs and none has a trap of ours pending.
 */
#ifndef ENGINE_GUARD_H
#define ENGINE_GUARD_H

#include <signal.h>
#include <uthash.h>
#include <utlist.h>

#include "engine/thread.h"
#include "engine/trap.h"

#define GUARD_SIGTRAP (1ULL << (SIGTRAP - 1)) /* in a mask */
#define GUARD_INT3 0xcc
#define GUARD_OPTIONS                                                                                                  \
	(PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC)

/** The kernel's struct sigaction. */
struct guard_action {
	uint64_t handler, flags, restorer, mask;
};

struct guard_process {
	pid_t pid;
	int mem;
	struct guard_action action; /* for SIGTRAP, as the program wants it */
	bool is_reset;              /* a trap has reset it in the kernel, and it was not put back yet */
	bool may_set;               /* it runs under a filter that lets it set actions for SIGTRAP */
	utap_addr syscall;          /* code "syscall" in it, to make calls with; 0: not looked for yet */
	size_t threads;             /* that are recorded */
	size_t unburied;            /* and those that are gone, whose records are still there */
	bool is_new;                /* a child that has not run yet */
	UT_hash_handle hh;
};

struct guard_thread {
	pid_t tid;
	struct guard_process *process;
	uint64_t mask;
	bool is_mask_due; /* it may have another mask; will be read at its next stop */
	bool is_stopped;
	int status;       /* of that stop, as waitpid(2); 0: dealt with, it only waits to be let go */
	bool must_stop;   /* once let go it shall stop again, so that a stop of the whole group is not missed */
	bool in_vfork;    /* it waits for a child to execute, and cannot be stopped */
	bool is_gone;     /* forgotten; the record stays until guard_bury(), as somebody may be working on it */
	struct guard_thread *next_gone;
	struct guard_thread *prev, *next; /* in guard.waiting */
	UT_hash_handle hh;
};

/** Shared with the process that started the guardian. */
struct guard_shared {
	uint64_t hits, kept;
	int code; /* of the arming */
	struct utap_error error; /* why it failed; later: why the guardian left though nobody asked it to */
};

struct guard {
	const struct engine_trap *traps; /* by address */
	size_t count;
	bool armed;
	bool must_leave; /* what the program is about to do cannot be kept right with traps in */
	struct guard_process *processes; /* hash */
	struct guard_thread *threads;    /* hash */
	struct guard_thread *gone;
	struct guard_thread *waiting;    /* list of those that are stopped, the first that stopped first */
	struct guard_shared *shared;
	uint64_t stops;
	long cpu; /* where it keeps itself; -1: anywhere */
};

/* ---- guard.c ---- */

struct guard_start {
	pid_t pid;
	pid_t parent;
	int control; /* a byte: begin; end of file, or another: leave */
	int answer;  /* a byte when the arming is over; the result is in shared */
	bool held;   /* the process was stopped with SIGSTOP for us */
	const struct engine_trap *traps;
	size_t count;
	struct guard_shared *shared;
};

/** guard_main() - all of a guardian's life, in a child just forked */
__attribute__((noreturn)) void guard_main(const struct guard_start *start);

/**
 * guard_release() - put the bytes of one process back and let it go; not one whose memory is that of another that stays
 * Return: was it let go? Then its threads are forgotten.
 */
bool guard_release(struct guard *guard, struct guard_process *process);

/** guard_trap_before() - the trap that a thread at @rip has just executed, or NULL */
const struct engine_trap *guard_trap_before(const struct guard *guard, utap_addr rip);

/* ---- guard_tasks.c ---- */

struct guard_process *guard_process_new(struct guard *guard, pid_t pid);
struct guard_thread *guard_thread_new(struct guard *guard, struct guard_process *process, pid_t tid);
/** guard_thread_forget() - it is gone or not ours any more; its process, too, when it was the last */
void guard_thread_forget(struct guard *guard, struct guard_thread *thread);

/** guard_bury() - release what was forgotten; nobody may be working on any thread */
void guard_bury(struct guard *guard);

/**
 * guard_note() - what waitpid() said; makes a record of a thread or process that is new
 * Return: the thread, stopped; NULL: it ended.
 */
struct guard_thread *guard_note(struct guard *guard, pid_t tid, int status);

/** guard_leaves_stop() - it does not stand any more */
void guard_leaves_stop(struct guard *guard, struct guard_thread *thread);

/** guard_resume() - let it go on until its next stop or system call, with @signal delivered */
void guard_resume(struct guard *guard, struct guard_thread *thread, int signal);

/** guard_step() - guard_resume() and wait for its next stop; 0, -ESRCH it ended (and is forgotten), -ETIMEDOUT */
int guard_step(struct guard *guard, struct guard_thread *thread, int signal) BASE_MUST_CHECK;

/** guard_repeat_call() - a stop, or a signal that nobody handles, made a waiting system call give up: it is made again */
void guard_repeat_call(const struct guard_thread *thread);

/** guard_is_entering() - does it stand at the entry of a system call? */
bool guard_is_entering(const struct guard_thread *thread);

/** guard_go_back() - at the entry of a call: it is not made, but the thread goes back to the instruction before it, to make it anew */
void guard_go_back(const struct guard_thread *thread);

/** guard_let_go() - a stopped thread goes on, untraced, wherever it stands; it is forgotten */
void guard_let_go(struct guard *guard, struct guard_thread *thread);

/**
 * guard_gather() - stop all threads, or all of @process, except @except
 * Those that sleep in the kernel where they cannot be stopped are left alone: they will stop before they run program code.
 * Return: 0; -EAGAIN some did not stop in time
 */
int guard_gather(struct guard *guard, const struct guard_process *process, const struct guard_thread *except,
		 int timeout_ms);

/* ---- guard_stop.c ---- */

/** guard_handle() - deal with the stop of @thread and let it go */
void guard_handle(struct guard *guard, struct guard_thread *thread);

/** guard_settle() - a gathered thread: if it has just hit a trap, send it to the trampoline; it stays stopped */
void guard_settle(struct guard *guard, struct guard_thread *thread);

/** guard_delivers() - the signal that is about to be delivered to @thread in its present stop, or 0 */
int guard_delivers(const struct guard_thread *thread);

/* ---- guard_signal.c ---- */

/**
 * guard_call() - let a thread make a system call; it is stopped afterwards, ready to be let go
 * @thread: stopped, but not in the middle of a call (PTRACE_EVENT_CLONE and the like). A signal that it was about to be delivered is gone.
 */
int guard_call(struct guard *guard, struct guard_thread *thread, long number, const uint64_t *args,
	       int64_t *result) BASE_MUST_CHECK;

/** guard_action_read() - what the process of a stopped thread wants of SIGTRAP, asked in that thread; 0, -ESRCH, -ENOTSUP confined */
int guard_action_read(struct guard *guard, struct guard_thread *thread) BASE_MUST_CHECK;

/** guard_action_is_default() - neither handled nor ignored? guard_action_is_ignore() - ignored? */
bool guard_action_is_default(const struct guard_process *process);
bool guard_action_is_ignore(const struct guard_process *process);

/** guard_action_inherit() - in a child that has not run yet: find its action, which is a copy of its maker's */
void guard_action_inherit(struct guard *guard, struct guard_thread *thread);

/**
 * guard_action_repair() - in a stopped thread, while no other has a trap pending: the kernel's action is the program's again
 *
 * To ignore a signal takes away those that are pending, in all threads: a trap's would be gone, and its thread would run on behind it. And it
 * takes a dozen stops. So it is only done where the program could see or use the action.
 */
void guard_action_repair(struct guard *guard, struct guard_thread *thread);

/** guard_action_execed() - in a program just executed, which inherits what is ignored */
void guard_action_execed(struct guard *guard, struct guard_thread *thread);

/** guard_requeue() - a signal of the program's that our doings used up: it is sent again, by the thread itself */
void guard_requeue(struct guard *guard, struct guard_thread *thread, const siginfo_t *info);

#endif
