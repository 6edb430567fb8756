/* SPDX-License-Identifier: MIT */
/* One stopped thread: stop it, read and write its state, describe that state as a signal frame. */
#include "engine/thread.h"

#include <elf.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STOP_TIMEOUT_MS 10000 /* threads that cannot stop (state D) are not asked to; a loaded machine is slow */
#define ENDING_LOOKS 100 /* every 100 us */
#define REAP_EVERY 10 /* naps of 100 us */
#define SPIN_NS 2000000ULL /* look without sleeping for so long: a stop usually takes 20 us */

static long trace(int request, pid_t tid, uintptr_t addr, uintptr_t data)
{
	return ptrace((enum __ptrace_request)request, tid, addr, data) < 0 ? -errno : 0;
}

bool thread_is_event_stop(int status) { return WIFSTOPPED(status) && status >> 16 == PTRACE_EVENT_STOP; }

/* Its end is told to whoever started it. */
static bool is_own_child(pid_t tid)
{
	struct process_status status;

	return !process_status_read(tid, &status) && status.ppid == getpid() && status.tgid == tid;
}

static int wait_status(const siginfo_t *info)
{
	return info->si_code == CLD_EXITED ? (info->si_status & 0xff) << 8 : info->si_status & 0x7f;
}

enum thread_news thread_look(pid_t tid, int *status)
{
	siginfo_t info = { 0 };

	*status = 0;
	if (waitid(P_PID, (id_t)tid, &info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT | __WALL) < 0)
		return errno == EINTR ? THREAD_RUNS : THREAD_GONE;
	if (!info.si_pid)
		return THREAD_RUNS;
	if (info.si_code != CLD_TRAPPED && info.si_code != CLD_STOPPED && is_own_child(tid)) {
		*status = wait_status(&info);
		return THREAD_ENDED;
	}
	if (waitpid(tid, status, __WALL | WNOHANG) != tid)
		return THREAD_RUNS;
	return WIFSTOPPED(*status) ? THREAD_STOPPED : THREAD_ENDED;
}

/*
 * A process that executes a program waits until its other threads are gone, and one that is traced is gone when its tracer has waited for
 * it: it may be one that is followed, while we wait for the thread that executes.
 */
static void reap_threads(pid_t tid)
{
	_cleanup_free_ pid_t *tids = NULL;
	long count = process_threads(tid, &tids);

	for (long i = 0; i < count; i++) {
		struct process_status status;
		int ended;

		if (tids[i] != tid && !process_status_read(tids[i], &status) && status.state == 'Z' && status.tgid != tids[i] &&
		    status.tracer == getpid())
			(void)waitpid(tids[i], &ended, __WALL | WNOHANG);
	}
}

int thread_wait(pid_t tid, int timeout_ms, int *status)
{
	uint64_t start = base_now_ns();
	unsigned naps = 0;

	for (;;) {
		enum thread_news news = thread_look(tid, status);
		uint64_t spent = base_now_ns() - start;

		if (news != THREAD_RUNS)
			return news == THREAD_STOPPED ? 0 : -ESRCH;
		if (spent > (uint64_t)timeout_ms * 1000000ULL)
			return -ETIMEDOUT;
		if (spent < SPIN_NS) {
			sched_yield();
			continue;
		}
		if (++naps % REAP_EVERY == 0)
			reap_threads(tid);
		nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
	}
}

bool thread_is_birth(int status)
{
	int event = status >> 16;

	return WIFSTOPPED(status) &&
	       (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK || event == PTRACE_EVENT_CLONE);
}

/*
 * A new task stands still until its tracer lets it go, and its parent, in vfork, uninterruptibly, until it executes: so it is not left to
 * wait. Nobody else lets it go.
 */
void thread_let_run(pid_t newborn)
{
	int status;

	if (newborn > 0 && !thread_wait(newborn, STOP_TIMEOUT_MS, &status))
		thread_resume(newborn, thread_is_event_stop(status) || status >> 16 ? 0 : WSTOPSIG(status));
}

/*
 * Signals that stop the tracee on the way are handed on (or, when @stop_signal is given, a SIGSTOP is kept for later): the next stop is ours.
 * Any stop may have used up the interrupt (kernel/signal.c, ptrace_stop() clears JOBCTL_TRAP_STOP), so it is asked for again while the tracee
 * stands.
 */
static int wait_for_event_stop(pid_t tid, int timeout_ms, int *stop_signal)
{
	for (;;) {
		int status;
		int error = thread_wait(tid, timeout_ms, &status);
		pid_t newborn;
		int pass;

		if (error)
			return error;
		if (thread_is_event_stop(status))
			return 0;
		newborn = thread_is_birth(status) ? thread_message(tid) : 0;
		if (status >> 16 == PTRACE_EVENT_EXEC)
			return -ESTALE;
		pass = status >> 16 || WSTOPSIG(status) == (SIGTRAP | 0x80) ? 0 : WSTOPSIG(status);
		if (stop_signal && pass) {
			*stop_signal = pass;
			pass = 0;
		}
		error = (int)trace(PTRACE_INTERRUPT, tid, 0, 0);
		if (!error)
			error = (int)trace(PTRACE_CONT, tid, 0, (uintptr_t)pass);
		thread_let_run(newborn);
		if (error)
			return error;
	}
}

int thread_seize(pid_t tid, bool suspend_seccomp)
{
	uintptr_t options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC | (suspend_seccomp ? PTRACE_O_SUSPEND_SECCOMP : 0);
	int error = (int)trace(PTRACE_SEIZE, tid, 0, options);

	if (error)
		return error;
	error = (int)trace(PTRACE_INTERRUPT, tid, 0, 0);
	if (!error)
		error = wait_for_event_stop(tid, STOP_TIMEOUT_MS, NULL);
	if (error)
		thread_detach(tid);
	return error;
}

#define FOLLOW_OPTIONS \
	(PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE)

int thread_follow(pid_t tid) { return (int)trace(PTRACE_SEIZE, tid, 0, FOLLOW_OPTIONS); }

int thread_set_follow_options(pid_t tid, bool suspend_seccomp)
{
	return (int)trace(PTRACE_SETOPTIONS, tid, 0, FOLLOW_OPTIONS | (suspend_seccomp ? PTRACE_O_SUSPEND_SECCOMP : 0));
}

bool thread_is_ours(pid_t tid)
{
	struct process_status status;

	return !process_status_read(tid, &status) && status.tracer == getpid();
}

bool thread_ends(pid_t tid)
{
	for (int i = 0; i < ENDING_LOOKS; i++) {
		struct process_status status;

		if (process_status_read(tid, &status) || status.state == 'Z' || status.state == 'X')
			return true;
		if (status.tracer)
			return false;
		nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
	}
	return false;
}

/* Which stop it stands in: as in a wait status, from bit 8 on; 0: none. Source: ptrace(2), PTRACE_GETSIGINFO in event stops. */
static int stop_code(pid_t tid)
{
	siginfo_t info = { 0 };

	return trace(PTRACE_GETSIGINFO, tid, 0, (uintptr_t)&info) ? 0 : info.si_code;
}

bool thread_is_executing(pid_t tid) { return stop_code(tid) == (SIGTRAP | PTRACE_EVENT_EXEC << 8); }
bool thread_is_held(pid_t tid) { return stop_code(tid) == (SIGTRAP | PTRACE_EVENT_STOP << 8); }

static bool is_job_stopped(pid_t tid)
{
	int code = stop_code(tid);

	return code >> 8 == PTRACE_EVENT_STOP && (code & 0xff) != SIGTRAP;
}

void thread_resume(pid_t tid, int signal)
{
	if (!signal && is_job_stopped(tid))
		trace(PTRACE_LISTEN, tid, 0, 0);
	else
		trace(PTRACE_CONT, tid, 0, (uintptr_t)signal);
}

pid_t thread_message(pid_t tid)
{
	unsigned long message = 0;

	return trace(PTRACE_GETEVENTMSG, tid, 0, (uintptr_t)&message) ? 0 : (pid_t)message;
}

int thread_take(pid_t tid, bool suspend_seccomp, enum thread_hold *hold)
{
	int error;

	if (!thread_is_ours(tid)) {
		*hold = THREAD_SEIZED;
		return thread_seize(tid, suspend_seccomp);
	}
	if (thread_is_executing(tid)) /* seen before, and left there for follow.c */
		return -ESTALE;
	*hold = thread_is_held(tid) ? THREAD_HELD : THREAD_KEPT;
	error = *hold == THREAD_HELD ? 0 : thread_interrupt(tid, NULL);
	if (!error && suspend_seccomp) {
		error = thread_set_follow_options(tid, true);
		if (error)
			thread_give(tid, *hold);
	}
	return error;
}

void thread_give(pid_t tid, enum thread_hold hold)
{
	switch (hold) {
	case THREAD_SEIZED:
		thread_detach(tid);
		break;
	case THREAD_KEPT:
		if (!thread_set_follow_options(tid, false))
			thread_resume(tid, 0);
		break;
	case THREAD_HELD:
		break;
	}
}

int thread_interrupt(pid_t tid, int *stop_signal)
{
	int error = (int)trace(PTRACE_INTERRUPT, tid, 0, 0);

	return error ? error : wait_for_event_stop(tid, STOP_TIMEOUT_MS, stop_signal);
}

int thread_settle(pid_t tid, int *stop_signal)
{
	int error = (int)trace(PTRACE_INTERRUPT, tid, 0, 0);

	if (!error)
		error = (int)trace(PTRACE_CONT, tid, 0, 0);
	return error ? error : wait_for_event_stop(tid, STOP_TIMEOUT_MS, stop_signal);
}

void thread_detach(pid_t tid) { trace(PTRACE_DETACH, tid, 0, 0); }

int thread_regs(pid_t tid, struct user_regs_struct *ret) { return (int)trace(PTRACE_GETREGS, tid, 0, (uintptr_t)ret); }

int thread_set_regs(pid_t tid, const struct user_regs_struct *regs)
{
	return (int)trace(PTRACE_SETREGS, tid, 0, (uintptr_t)regs);
}

int thread_sigmask(pid_t tid, uint64_t *ret)
{
	return (int)trace(PTRACE_GETSIGMASK, tid, sizeof(*ret), (uintptr_t)ret);
}

int thread_set_sigmask(pid_t tid, uint64_t mask)
{
	return (int)trace(PTRACE_SETSIGMASK, tid, sizeof(mask), (uintptr_t)&mask);
}

int thread_rseq(pid_t tid, utap_addr *area, uint32_t *signature)
{
	struct __ptrace_rseq_configuration config = { 0 };
	long got = ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tid, sizeof(config), &config);

	if (got < 0)
		return -errno;
	*area = config.rseq_abi_pointer;
	if (signature)
		*signature = config.signature;
	return 0;
}

bool thread_sees(pid_t tid, utap_addr addr, uint64_t value)
{
	errno = 0;
	return (uint64_t)ptrace(PTRACE_PEEKDATA, tid, addr, 0) == value && !errno;
}

void thread_abort_rseq(int mem, utap_addr area, struct user_regs_struct *regs)
{
	struct {
		uint32_t version, flags;
		uint64_t start, length, abort;
	} section;
	uint64_t pointer;

	if (!area || process_read(mem, area + 8, &pointer, sizeof(pointer)) || !pointer)
		return;
	if (process_read(mem, pointer, &section, sizeof(section)) || regs->rip - section.start >= section.length)
		return;
	pointer = 0;
	if (!process_write(mem, area + 8, &pointer, sizeof(pointer)))
		regs->rip = section.abort;
}

/* Signals that wait for @tid and that @mask lets through. */
static bool has_signal(pid_t tid, uint64_t mask)
{
	_cleanup_free_ char *text = NULL;
	uint64_t pending = 0;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	if (base_file_read(path, &text, NULL))
		return true;
	for (const char *at = strstr(text, "Pnd:\t"); at; at = strstr(at + 1, "Pnd:\t")) /* SigPnd, ShdPnd */
		pending |= strtoull(at + 5, NULL, 16);
	return (pending & ~mask) != 0;
}

static bool gives_up(uint64_t number)
{
	switch (number) {
	case SYS_read: /* inotify */
	case SYS_accept: /* and these with a timeout on the socket */
	case SYS_accept4:
	case SYS_recvfrom:
	case SYS_recvmsg:
	case SYS_recvmmsg:
	case SYS_sendto:
	case SYS_sendmsg:
	case SYS_semop:
	case SYS_semtimedop:
	case SYS_rt_sigtimedwait:
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
	case SYS_epoll_pwait2:
	case SYS_io_getevents:
	case SYS_io_uring_enter:
		return true;
	default:
		return false;
	}
}

void thread_repeat_call(pid_t tid, uint64_t mask, struct user_regs_struct *regs)
{
	if ((int64_t)regs->orig_rax < 0 || (int64_t)regs->rax != -EINTR || !gives_up(regs->orig_rax) || has_signal(tid, mask))
		return;
	regs->rip -= 2;
	regs->rax = regs->orig_rax;
	regs->orig_rax = ~0UL;
}

/* The kernel's struct ucontext and sigcontext for x86-64; libc's differ in names only, but pull in their own rules. */
struct frame_context {
	uint64_t flags, link;
	uint64_t stack_pointer;
	uint32_t stack_flags, stack_pad;
	uint64_t stack_size;
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15, di, si, bp, bx, dx, ax, cx, sp, ip, eflags;
	uint16_t cs, gs, fs, ss;
	uint64_t err, trap, oldmask, cr2, fpstate, reserved[8];
	uint64_t sigmask;
};
static_assert(sizeof(struct frame_context) == 304, "struct ucontext of the kernel");

#define FRAME_FP_XSTATE 1
#define FRAME_SIGCONTEXT_SS 2
#define FRAME_STRICT_RESTORE_SS 4
#define XSTATE_SOFTWARE 464 /* bytes of the legacy area that software may use */
#define XSTATE_HEADER 512 /* XSTATE_BV: the components that are not in their initial state */
#define XSTATE_AMX (3ULL << 17)
#define XSTATE_WITHOUT_AMX 2696 /* the standard format up to PKRU */
#define XSTATE_MAGIC1 0x46505853U
#define XSTATE_MAGIC2 0x46505845U

/*
 * rt_sigreturn does not restart interrupted system calls: do here what the kernel would do on the way back to the program.
 * Source: arch/x86/kernel/signal.c, arch_do_signal_or_restart().
 */
static void restart_call(struct frame_context *context, uint64_t orig_ax)
{
	if ((int64_t)orig_ax < 0)
		return;
	switch (-(int64_t)context->ax) {
	case 512: /* ERESTARTSYS */
	case 513: /* ERESTARTNOINTR */
	case 514: /* ERESTARTNOHAND */
		context->ax = orig_ax;
		context->ip -= 2;
		break;
	case 516: /* ERESTART_RESTARTBLOCK: rt_sigreturn would make it EINTR; to wait anew, for longer, is never wrong */
		context->ax = orig_ax;
		context->ip -= 2;
		break;
	default:
		break;
	}
}

static long add_xstate(pid_t tid, uint8_t *area, size_t room)
{
	struct iovec io = { .iov_base = area, .iov_len = base_align_down(room - 4, 8) };
	struct {
		uint32_t magic1, extended_size;
		uint64_t features;
		uint32_t size, pad[7];
	} software = { .magic1 = XSTATE_MAGIC1 };
	uint32_t magic2 = XSTATE_MAGIC2;
	uint64_t in_use;
	int error = (int)trace(PTRACE_GETREGSET, tid, NT_X86_XSTATE, (uintptr_t)&io);

	if (error)
		return error;
	memcpy(&software.features, area + XSTATE_SOFTWARE, 8); /* ptrace leaves XCR0 here */
	software.size = (uint32_t)io.iov_len;
	memcpy(&in_use, area + XSTATE_HEADER, sizeof(in_use));
	if (!(in_use & XSTATE_AMX) && software.size > XSTATE_WITHOUT_AMX) {
		software.size = XSTATE_WITHOUT_AMX; /* more than a task without AMX may restore */
		software.features &= ~XSTATE_AMX;
	}
	software.extended_size = software.size + 4;
	memcpy(area + XSTATE_SOFTWARE, &software, sizeof(software));
	memcpy(area + software.size, &magic2, sizeof(magic2));
	return (long)(software.size + sizeof(magic2));
}

long thread_frame(pid_t tid, const struct user_regs_struct *regs, uint64_t mask, utap_addr addr, uint8_t *buffer,
		  size_t size)
{
	size_t xstate_at = base_align_up(sizeof(struct frame_context), 64);
	long xstate;
	struct frame_context context = {
		.flags = FRAME_FP_XSTATE | FRAME_SIGCONTEXT_SS | FRAME_STRICT_RESTORE_SS,
		.stack_size = 0, /* too small: the kernel then leaves the alternate stack as it is */
		.r8 = regs->r8, .r9 = regs->r9, .r10 = regs->r10, .r11 = regs->r11,
		.r12 = regs->r12, .r13 = regs->r13, .r14 = regs->r14, .r15 = regs->r15,
		.di = regs->rdi, .si = regs->rsi, .bp = regs->rbp, .bx = regs->rbx,
		.dx = regs->rdx, .ax = regs->rax, .cx = regs->rcx, .sp = regs->rsp, .ip = regs->rip,
		.eflags = regs->eflags, .cs = (uint16_t)regs->cs, .ss = (uint16_t)regs->ss,
		.fpstate = addr + xstate_at, .sigmask = mask,
	};

	if (size < xstate_at + 1024)
		return -ENOSPC;
	restart_call(&context, regs->orig_rax);
	memset(buffer, 0, size);
	memcpy(buffer, &context, sizeof(context));
	xstate = add_xstate(tid, buffer + xstate_at, size - xstate_at);
	return xstate < 0 ? xstate : (long)xstate_at + xstate;
}
