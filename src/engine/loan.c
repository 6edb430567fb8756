/* SPDX-License-Identifier: MIT */
/*
 * A borrowed thread.
 *
 * Before anything of ours is in the process, calls run on two pieces of code that every process has: "syscall; ret" and the signal
 * restorer ("mov $15,%eax; syscall"). The stack is arranged so that after the call the thread would fall into the restorer with a
 * signal frame of its own state on top: that is what happens should we die. Normally we take it out of the exit stop instead.
 *
 *      [rsp]      address of the restorer      popped by "ret"
 *      [rsp + 8]  signal frame                 consumed by rt_sigreturn
 *
 * Order matters: registers are changed before signals are blocked and unblocked before they are put back, so that at each
 * instant the thread, left alone, ends up with its own registers and its own mask.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/thread.h"

#define RED_ZONE 128
#define FRAME_ROOM (RED_ZONE + THREAD_XSTATE_MAX + 512 + 64)
#define SCRATCH 4096
#define STACK_ROOM (FRAME_ROOM + SCRATCH + 1024) /* needed below the stack pointer, in its mapping */
#define CALL_TIMEOUT_MS 30000
#define ROUNDS 3      /* over all threads */
#define PASSED_OVER 4 /* threads in timed waits that are passed over at first */
#define SCAN_CHUNK (1U << 20)
#define ALL_SIGNALS (~0ULL)
#define USER_CS 0x33 /* of 64-bit code */

struct engine_loan {
	pid_t pid;
	pid_t tid;
	int mem;
	enum thread_hold hold;        /* what becomes of the thread afterwards */
	bool gone;
	bool home;                    /* went back by itself, as it does when we are too slow: its registers are its own */
	bool in_event_stop;           /* else in a system-call stop */
	int stop_signal;              /* a SIGSTOP that came while lent, sent on afterwards */
	uint64_t since;               /* ns, of the stop */
	uint64_t mask;
	struct user_regs_struct regs; /* the thread's own */
	utap_addr syscall_ret;        /* code "syscall; ret" */
	utap_addr restorer;           /* code "mov $15, %eax; syscall" */
	utap_addr rseq;
	uint32_t rseq_signature;
	utap_addr chain;              /* rsp for single calls */
};

pid_t engine_loan_tid(const struct engine_loan *loan) { return loan->tid; }
utap_addr engine_loan_scratch(const struct engine_loan *loan) { return loan->chain - 512 - SCRATCH; }
utap_addr engine_loan_fs_base(const struct engine_loan *loan) { return loan->regs.fs_base; }

utap_addr engine_loan_rseq(const struct engine_loan *loan, uint32_t *signature)
{
	*signature = loan->rseq_signature;
	return loan->rseq;
}

/* ---- finding code ---- */

static const uint8_t code_syscall_ret[] = { 0x0f, 0x05, 0xc3 };
static const uint8_t code_restorer[] = { 0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05 };
static const uint8_t code_restorer_short[] = { 0xb8, 0x0f, 0, 0, 0, 0x0f, 0x05 };

static utap_addr find_bytes(const uint8_t *text, size_t size, utap_addr addr, const uint8_t *bytes, size_t length)
{
	const uint8_t *found = memmem(text, size, bytes, length);

	return found ? addr + (utap_addr)(found - text) : 0;
}

static void scan_map(struct engine_loan *loan, const struct process_map *map, uint8_t *buffer)
{
	for (utap_addr at = map->start; at < map->end && !(loan->syscall_ret && loan->restorer);
	     at += SCAN_CHUNK - 16) {
		size_t size = map->end - at < SCAN_CHUNK ? map->end - at : SCAN_CHUNK;

		if (process_read(loan->mem, at, buffer, size))
			return;
		if (!loan->syscall_ret)
			loan->syscall_ret = find_bytes(buffer, size, at, code_syscall_ret, sizeof(code_syscall_ret));
		if (!loan->restorer)
			loan->restorer = find_bytes(buffer, size, at, code_restorer, sizeof(code_restorer));
		if (!loan->restorer)
			loan->restorer =
				find_bytes(buffer, size, at, code_restorer_short, sizeof(code_restorer_short));
	}
}

/*
 * A program without a signal restorer (static, or just started): put both pieces into the unused end of the vDSO's last page, which is
 * the process's private copy once written. They stay there: another tracer of ours may be using them.
 */
static int borrow_vdso(struct engine_loan *loan, const struct process_map *vdso)
{
	uint8_t code[sizeof(code_syscall_ret) + sizeof(code_restorer_short)];
	uint8_t old[sizeof(code)];
	utap_addr at = vdso->end - sizeof(code);
	int error = process_read(loan->mem, at, old, sizeof(old));

	memcpy(code, code_syscall_ret, sizeof(code_syscall_ret));
	memcpy(code + sizeof(code_syscall_ret), code_restorer_short, sizeof(code_restorer_short));
	for (size_t i = 0; !error && i < sizeof(old); i++)
		if (old[i] != 0 && old[i] != code[i])
			return -ENOTSUP;
	if (!error)
		error = process_write(loan->mem, at, code, sizeof(code));
	if (error)
		return error;
	loan->syscall_ret = at;
	loan->restorer = at + sizeof(code_syscall_ret);
	return 0;
}

static bool is_libc(const struct process_map *map)
{
	const char *name = strrchr(map->path, '/');

	return name && (!strncmp(name, "/libc.", 6) || !strncmp(name, "/libc-", 6) || !strncmp(name, "/ld-musl", 8));
}

/* Ours, most of it never touched, and whatever else comes and goes. */
static bool is_memory(const struct process_map *map) { return !strncmp(map->path, "/memfd:", 7); }

/* A loaded file has its segments side by side; text alone is a copy that a dead utap was preparing, and may be unmapped. */
static bool stands_alone(const struct process_maps *maps, size_t i)
{
	const struct process_map *map = &maps->map[i];
	const struct process_map *before = i ? map - 1 : NULL;
	const struct process_map *after = i + 1 < maps->count ? map + 1 : NULL;

	return map->inode && !(before && before->inode == map->inode && before->end == map->start) &&
	       !(after && after->inode == map->inode && after->start == map->end);
}

static int find_code(struct engine_loan *loan, const struct process_maps *maps)
{
	_cleanup_free_ uint8_t *buffer = malloc(SCAN_CHUNK);
	const struct process_map *vdso = NULL;

	if (!buffer)
		return -ENOMEM;
	for (int pass = 0; pass < 2; pass++) /* libc first: it has both */
		for (size_t i = 0; i < maps->count; i++) {
			const struct process_map *map = &maps->map[i];

			if (!strcmp(map->path, "[vdso]"))
				vdso = map;
			if (map->execute && map->read && is_libc(map) == (pass == 0) && !stands_alone(maps, i) && !is_memory(map))
				scan_map(loan, map, buffer);
		}
	if (loan->syscall_ret && loan->restorer)
		return 0;
	return vdso ? borrow_vdso(loan, vdso) : -ENOTSUP;
}

/* ---- choosing and stopping a thread ---- */

/*
 * Is the memory below the thread's stack pointer surely dead stack? The main thread's is, on [stack]; a libc thread's is when its
 * thread block (at the %fs base) lies above in the same mapping, with a guard below: so the mapping is its stack. A stack
 * pointer anywhere else (a coroutine's, a goroutine's, an alternate signal stack) may have somebody's data right below.
 */
static bool is_own_stack(const struct engine_loan *loan, const struct process_maps *maps, const struct process_map *stack)
{
	if (!strcmp(stack->path, "[stack]"))
		return true;
	return loan->regs.fs_base > loan->regs.rsp && loan->regs.fs_base < stack->end && stack > maps->map &&
	       stack[-1].end == stack->start && !stack[-1].read && !stack[-1].write;
}

/* Below everything that the main thread's stack ever reached there is room that nobody uses: writing there makes it grow. */
static utap_addr below_main_stack(const struct process_maps *maps)
{
	for (size_t i = 0; i < maps->count; i++)
		if (!strcmp(maps->map[i].path, "[stack]"))
			return maps->map[i].start;
	return 0;
}

static int place_chain(struct engine_loan *loan, const struct process_maps *maps)
{
	const struct process_map *stack = process_maps_at(maps, loan->regs.rsp);
	utap_addr top = loan->regs.rsp;

	if (!stack || !stack->write || top - stack->start < STACK_ROOM || !is_own_stack(loan, maps, stack))
		top = below_main_stack(maps);
	if (!top)
		return -ENOTSUP;
	loan->chain = base_align_down(top - FRAME_ROOM, 64) - 8;
	return 0;
}

static int write_chain(struct engine_loan *loan)
{
	uint8_t buffer[8 + THREAD_XSTATE_MAX + 512];
	long size = thread_frame(loan->tid, &loan->regs, loan->mask, loan->chain + 8, buffer + 8, sizeof(buffer) - 8);

	if (size < 0)
		return (int)size;
	memcpy(buffer, &loan->restorer, 8);
	return process_write(loan->mem, loan->chain, buffer, 8 + (size_t)size);
}

static void set_call(struct engine_loan *loan, struct user_regs_struct *regs, long number, const uint64_t *args)
{
	*regs = loan->regs;
	regs->rip = loan->syscall_ret;
	regs->rsp = loan->chain;
	regs->eflags &= ~0x500UL; /* no trap flag, no direction flag */
	regs->orig_rax = ~0UL;    /* no system call to be restarted */
	regs->rax = (unsigned long)number;
	regs->rdi = args[0];
	regs->rsi = args[1];
	regs->rdx = args[2];
	regs->r10 = args[3];
	regs->r8 = args[4];
	regs->r9 = args[5];
}

/* From its own state into ours; see the top of the file for the order. */
static int take_over(struct engine_loan *loan)
{
	static const uint64_t none[6];
	struct user_regs_struct regs;
	int error = write_chain(loan);

	if (error)
		return error;
	if (!thread_sees(loan->tid, loan->chain, loan->restorer)) /* @mem is that of an earlier program */
		return -ESTALE;
	set_call(loan, &regs, 0, none);
	regs.rip = loan->restorer; /* left alone now it would just go home */
	regs.rsp = loan->chain + 8;
	error = thread_set_regs(loan->tid, &regs);
	return error ? error : thread_set_sigmask(loan->tid, ALL_SIGNALS);
}

static int borrow_stopped(struct engine_loan *loan, const struct process_maps *maps)
{
	int error = thread_regs(loan->tid, &loan->regs);

	if (!error)
		error = thread_sigmask(loan->tid, &loan->mask);
	if (!error && thread_rseq(loan->tid, &loan->rseq, &loan->rseq_signature))
		loan->rseq = 0;
	if (!error && loan->regs.cs != USER_CS)
		error = -ENOTSUP; /* in 32-bit code: ours is 64-bit */
	if (!error) {
		thread_abort_rseq(loan->mem, loan->rseq, &loan->regs);
		thread_repeat_call(loan->tid, loan->mask, &loan->regs);
		error = place_chain(loan, maps);
	}
	if (!error)
		error = take_over(loan);
	loan->in_event_stop = true;
	return error == -EIO ? -ENOTSUP : error; /* the main stack cannot grow any more */
}

static bool can_stop(char state) { return strchr("RST", state) != NULL; }

/*
 * A thread taken out of a timed wait cannot be brought back into the rest of it by a signal frame: should we die, it would wait anew, or,
 * taken out for a second time, see EINTR. So others are tried first, a few of them.
 */
static bool is_in_timed_wait(pid_t tid)
{
	struct user_regs_struct regs;

	return !thread_regs(tid, &regs) && (int64_t)regs.orig_rax >= 0 && (int64_t)regs.rax == -516; /* ERESTART_RESTARTBLOCK */
}

/* 0; -EAGAIN it was passed over; others */
static int borrow_thread(struct engine_loan *loan, const struct process_maps *maps, pid_t tid, bool suspend_seccomp,
			 bool may_pass_over)
{
	struct process_status status;
	int error;

	if (process_status_read(tid, &status))
		return -ESRCH;
	if (status.tracer && status.tracer != getpid())
		return -EBUSY;
	if (status.tracer ? status.state == 'D' : !can_stop(status.state))
		return -ENOTSUP;
	loan->since = base_now_ns();
	error = thread_take(tid, suspend_seccomp || status.seccomp, &loan->hold); /* a thread may have a filter of its own */
	if (error)
		return error;
	loan->tid = tid;
	error = may_pass_over && is_in_timed_wait(tid) ? -EAGAIN : borrow_stopped(loan, maps);
	if (error)
		thread_give(tid, loan->hold);
	return error;
}

/* A thread that is just ending cannot be had either, with -ESRCH or -EPERM: then another, and once all went, the same again. */
static int borrow_any(struct engine_loan *loan, const struct process_maps *maps, bool suspend_seccomp)
{
	int error = -ENOTSUP;

	for (int round = 0; round < ROUNDS; round++) {
		_cleanup_free_ pid_t *tids = NULL;
		long count = process_threads(loan->pid, &tids);
		long passed_over = 0;

		if (count < 0)
			return (int)count;
		for (long i = 0; i < count; i++) {
			int result = borrow_thread(loan, maps, tids[i], suspend_seccomp, !round && passed_over < PASSED_OVER);

			if (!result || (result != -ESRCH && result != -EPERM && result != -EAGAIN && result != -ENOTSUP))
				return result;
			passed_over += result == -EAGAIN;
			error = result == -EAGAIN ? error : result;
		}
		if (!passed_over)
			nanosleep(&(struct timespec){ .tv_nsec = 500000 }, NULL);
	}
	return error;
}

static int lend_error(pid_t pid, int code, bool seccomp, struct utap_error *err)
{
	if (seccomp && (code == -EPERM || code == -EINVAL))
		return base_error(err, -ENOTSUP, UTAP_ERROR_REFUSED,
				  "process %d is confined by seccomp, and suspending its filter needs root "
				  "(CAP_SYS_ADMIN) and a kernel with CONFIG_CHECKPOINT_RESTORE; run utap as root",
				  pid);
	if (code == -ENOTSUP)
		return base_error(err, code, UTAP_ERROR_REFUSED,
				  "no thread of process %d can be borrowed: each is in an uninterruptible wait or has less than "
				  "%d bytes of stack left; try again",
				  pid, STACK_ROOM);
	if (code == -ESTALE)
		return base_error(err, -ECHILD, UTAP_ERROR_GONE, "process %d executed another program meanwhile", pid);
	if (code == -ETIMEDOUT)
		return base_error(err, code, UTAP_ERROR_SYSTEM, "a thread of process %d did not stop in time; try again",
				  pid);
	return process_explain(pid, code, err);
}

int engine_lend(pid_t pid, int mem, struct engine_loan **ret, struct utap_error *err)
{
	struct engine_loan *loan = calloc(1, sizeof(*loan));
	struct process_status status;
	struct process_maps maps = { 0 };
	bool seccomp = false;
	int error = loan ? process_status_read(pid, &status) : -ENOMEM;

	if (!error)
		error = process_maps_read(pid, &maps);
	if (!error && status.shadow_stack) {
		process_maps_free(&maps);
		free(loan);
		return base_error(err, -ENOTSUP, UTAP_ERROR_REFUSED,
				  "process %d runs with user shadow stacks, which this version cannot keep in step; start it with "
				  "GLIBC_TUNABLES=glibc.cpu.x86_shstk=off",
				  pid);
	}
	if (!error) {
		seccomp = status.seccomp != 0;
		*loan = (struct engine_loan){ .pid = pid, .mem = mem };
		error = find_code(loan, &maps);
	}
	if (!error)
		error = borrow_any(loan, &maps, seccomp);
	process_maps_free(&maps);
	if (error) {
		free(loan);
		return lend_error(pid, error, seccomp, err);
	}
	*ret = loan;
	return 0;
}

/* ---- using it ---- */

/* The next stop that is a system call's; signals cannot come (all blocked) but SIGSTOP, which is kept for later. */
static int next_call_stop(struct engine_loan *loan)
{
	for (;;) {
		int status;
		int error;

		if (ptrace(PTRACE_SYSCALL, loan->tid, 0, 0) < 0)
			return -ESRCH;
		error = thread_wait(loan->tid, CALL_TIMEOUT_MS, &status);
		if (error)
			return error;
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			return 0;
		if (status >> 16 == PTRACE_EVENT_EXEC) /* another thread did: there is nothing of ours in this program */
			return -ESRCH;
		if (!(status >> 16) && WSTOPSIG(status) != SIGTRAP)
			loan->stop_signal = WSTOPSIG(status);
	}
}

int engine_call(struct engine_loan *loan, long number, const uint64_t args[6], int64_t *result)
{
	struct user_regs_struct regs;
	int error = loan->gone ? -ESRCH : 0;

	if (loan->home)
		return -ETIMEDOUT;
	if (!error) { /* in whichever stop it is: only on the way home does the kind matter */
		set_call(loan, &regs, number, args);
		error = thread_set_regs(loan->tid, &regs);
	}
	loan->in_event_stop = false;
	for (int stop = 0; !error && stop < 2; stop++) /* entry, exit */
		error = next_call_stop(loan);
	if (!error)
		error = thread_regs(loan->tid, &regs);
	if (error) {
		loan->gone = true;
		return -ESRCH;
	}
	*result = (int64_t)regs.rax;
	return 0;
}

static int wait_for_batch(struct engine_loan *loan, struct wire_lend *lend)
{
	uint64_t start = base_now_ns();

	while (!__atomic_load_n(&lend->done, __ATOMIC_ACQUIRE)) {
		uint64_t spent = base_now_ns() - start;
		struct timespec nap = { .tv_nsec = 1000000 };
		int status;

		if (spent > CALL_TIMEOUT_MS * 1000000ULL)
			return -ETIMEDOUT;
		if (thread_look(loan->tid, &status) != THREAD_RUNS) {
			if (!WIFSTOPPED(status) || status >> 16 == PTRACE_EVENT_EXEC)
				return -ESRCH;
			if (!(status >> 16))
				loan->stop_signal = WSTOPSIG(status);
			if (ptrace(PTRACE_CONT, loan->tid, 0, 0) < 0)
				return -ESRCH;
		}
		if (spent < 300000)
			sched_yield();
		else
			syscall(SYS_futex, &lend->done, FUTEX_WAIT, 0, &nap, NULL, 0);
	}
	return 0;
}

int engine_batch(struct engine_loan *loan, struct wire_lend *lend, utap_addr lend_addr, utap_addr entry)
{
	utap_addr frame = base_align_up(lend_addr + offsetof(struct wire_lend, frame), 64);
	size_t skip = frame - lend_addr - offsetof(struct wire_lend, frame);
	struct user_regs_struct regs = loan->regs;
	long size;
	int error = loan->gone ? -ESRCH : loan->home ? -ETIMEDOUT : 0;

	if (error)
		return error;
	lend->completed = 0;
	lend->done = 0;
	lend->released = 0;
	size = thread_frame(loan->tid, &loan->regs, loan->mask, frame, lend->frame + skip, sizeof(lend->frame) - skip);
	if (size < 0)
		return (int)size;
	regs.rip = entry;
	regs.rdi = lend_addr;
	regs.rbx = frame;
	regs.rsp = lend_addr + offsetof(struct wire_lend, stack) + sizeof(lend->stack) - 16;
	regs.eflags &= ~0x500UL;
	regs.orig_rax = ~0UL;
	error = thread_set_regs(loan->tid, &regs);
	if (!error && ptrace(PTRACE_CONT, loan->tid, 0, 0) < 0)
		error = -ESRCH;
	if (!error)
		error = wait_for_batch(loan, lend);
	if (!error || error == -ETIMEDOUT) {
		int stopped = thread_interrupt(loan->tid, &loan->stop_signal);

		error = error ? error : stopped;
		loan->gone = stopped != 0;
	}
	loan->in_event_stop = true;
	if (!error)
		error = thread_regs(loan->tid, &regs);
	if (!error && regs.rsp - lend_addr >= sizeof(*lend)) {
		loan->home = true;
		return -ETIMEDOUT;
	}
	if (error == -ESRCH)
		loan->gone = true;
	return error;
}

static int put_back(struct engine_loan *loan)
{
	int error;

	if (loan->home)
		return 0;
	error = loan->in_event_stop ? 0 : thread_settle(loan->tid, &loan->stop_signal);

	/* In an event stop: only there does the kernel restart the system call that the stop interrupted. */
	if (!error)
		error = thread_set_sigmask(loan->tid, loan->mask);
	return error ? error : thread_set_regs(loan->tid, &loan->regs);
}

uint64_t engine_return(struct engine_loan *loan)
{
	uint64_t stopped;
	int error = loan->gone ? -ESRCH : put_back(loan);

	if (error)
		base_log(BASE_LOG_DEBUG, "thread %d is gone: %s", loan->tid, strerror(-error));
	if (!loan->gone || loan->hold == THREAD_SEIZED) /* a followed one that executed a program is left there for follow.c */
		thread_give(loan->tid, loan->hold);
	stopped = base_now_ns() - loan->since;
	if (loan->stop_signal)
		syscall(SYS_tgkill, loan->pid, loan->tid, loan->stop_signal);
	free(loan);
	return stopped;
}
