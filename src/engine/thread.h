/* SPDX-License-Identifier: MIT */
/* Inside engine/: stopping one thread and reading or writing its state. */
#ifndef ENGINE_THREAD_H
#define ENGINE_THREAD_H

#include "engine/engine.h"

#define THREAD_XSTATE_MAX 12288

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
