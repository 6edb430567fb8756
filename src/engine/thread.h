/* SPDX-License-Identifier: MIT */
/* Inside engine/: stopping one thread and reading or writing its state. */
#ifndef ENGINE_THREAD_H
#define ENGINE_THREAD_H

#include "engine/engine.h"

#define THREAD_XSTATE_MAX 12288

/** How a thread came to stand still for us, and what becomes of it afterwards. */
enum thread_hold {
	THREAD_SEIZED, /* just now: let go */
	THREAD_KEPT,   /* it is followed (follow.c): runs on, followed */
	THREAD_HELD,   /* it stood still before its first instruction: stays there */
};

/**
 * thread_take() - bring @tid into an event stop, whoever of us traces it already
 * Return: 0; -ESTALE it just executed another program (a followed one then stays in that stop); negative errno as thread_seize().
 */
int thread_take(pid_t tid, bool suspend_seccomp, enum thread_hold *hold) BASE_MUST_CHECK;
/** thread_give() - and back, from an event stop */
void thread_give(pid_t tid, enum thread_hold hold);

/** thread_ends() - is it gone, or will it be in a moment? (Nobody can trace it any more then.) */
bool thread_ends(pid_t tid);
/** thread_is_ours() - do we trace it? */
bool thread_is_ours(pid_t tid);
/** thread_is_executing() - does it stand where it just executed a program? */
bool thread_is_executing(pid_t tid);
/** thread_is_held() - does it stand in an event stop that is no job-control stop? */
bool thread_is_held(pid_t tid);

/** thread_follow() - seize @tid without stopping it, and what it will make */
int thread_follow(pid_t tid) BASE_MUST_CHECK;
int thread_set_follow_options(pid_t tid, bool suspend_seccomp) BASE_MUST_CHECK;
/** thread_resume() - out of a stop, with @signal; one in a job-control stop stays in it */
void thread_resume(pid_t tid, int signal);
/** thread_message() - what came with an event: the new task's tid */
pid_t thread_message(pid_t tid);
/** thread_is_birth() - did it just make another task? thread_message() says which */
bool thread_is_birth(int status);
/** thread_let_run() - let a new task run that stands still since it was made */
void thread_let_run(pid_t newborn);
/** thread_look() - without waiting: stopped and ended come with the wait status */
enum thread_news { THREAD_RUNS, THREAD_STOPPED, THREAD_ENDED, THREAD_GONE };
enum thread_news thread_look(pid_t tid, int *status);

/** thread_seize() - attach to @tid and wait until it stands in a ptrace event stop; 0 or negative errno (then not attached) */
int thread_seize(pid_t tid, bool suspend_seccomp) BASE_MUST_CHECK;

/** thread_interrupt() - bring a running tracee into an event stop */
int thread_interrupt(pid_t tid, int *stop_signal) BASE_MUST_CHECK;

/** thread_settle() - bring a tracee from whatever ptrace stop into an event stop, where changed registers are final */
int thread_settle(pid_t tid, int *stop_signal) BASE_MUST_CHECK;

/** thread_wait() - wait for the next stop of @tid, at most @timeout_ms; 0 and the wait status, -ETIMEDOUT, -ESRCH it is gone */
int thread_wait(pid_t tid, int timeout_ms, int *status) BASE_MUST_CHECK;

bool thread_is_event_stop(int status);
void thread_detach(pid_t tid);

int thread_regs(pid_t tid, struct user_regs_struct *ret) BASE_MUST_CHECK;
int thread_set_regs(pid_t tid, const struct user_regs_struct *regs) BASE_MUST_CHECK;
int thread_sigmask(pid_t tid, uint64_t *ret) BASE_MUST_CHECK;
int thread_set_sigmask(pid_t tid, uint64_t mask) BASE_MUST_CHECK;
int thread_rseq(pid_t tid, utap_addr *area, uint32_t *signature) BASE_MUST_CHECK;

/**
 * thread_abort_rseq() - when the thread stands inside an rseq critical section, do what the kernel would do before running
 * anything else: send it to the abort handler (in @regs) and disarm the section
 */
void thread_abort_rseq(int mem, utap_addr area, struct user_regs_struct *regs);

/**
 * thread_repeat_call() - when the stop itself made a waiting system call give up with EINTR (some do, see signal(7)), and no signal is
 * there that would have done so: let the thread make the call again (in @regs)
 */
void thread_repeat_call(pid_t tid, uint64_t mask, struct user_regs_struct *regs);

/** thread_asleep() - where a thread that cannot be stopped sleeps in the kernel: its rip and rsp; -EBUSY when it does not */
int thread_asleep(pid_t pid, pid_t tid, struct engine_view *ret) BASE_MUST_CHECK;

/** thread_sees() - does @tid itself see @value at @addr? Not when it executed another program since its memory was opened. */
bool thread_sees(pid_t tid, utap_addr addr, uint64_t value);

/**
 * thread_frame() - build a signal frame with which rt_sigreturn restores @regs, @mask and the vector state of a stopped thread
 * @addr:   where it will lie in the target, 64-byte aligned; at the system call rsp must be @addr
 * @buffer: filled; @size bytes
 * Return: bytes used, or negative errno.
 * Source: arch/x86/kernel/signal_64.c, fpu/signal.c.
 */
long thread_frame(pid_t tid, const struct user_regs_struct *regs, uint64_t mask, utap_addr addr, uint8_t *buffer,
		  size_t size) BASE_MUST_CHECK;

#endif
