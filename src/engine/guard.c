/* SPDX-License-Identifier: MIT */
/*
 * The guardian's life: it becomes a process apart, puts the traps in while every thread stands, serves stops until it is asked to leave or
 * the one who started it is gone, and takes the traps out again while every thread stands.
 *
 * It sleeps in waitpid(). What is to wake it otherwise comes as a signal, which might come just before it sleeps: so the signal starts a timer
 * that goes on interrupting.
 */
#include "engine/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARM_MS 300      /* a process whose threads stand for longer is let go again */
#define LEAVE_MS 10000
#define SEIZE_ROUNDS 10 /* threads are made while we look */
#define ENDING_MS 20
#define STRAY_MS 1000
#define FOLLOW_STOPS 128
#define LOOK_ROUNDS 32 /* so often it is looked, too, whether it is time to go: with threads stopping all the time no wait is interrupted */

/* ---- a process apart ---- */

static void on_wake(int number)
{
	struct itimerval soon = { .it_value.tv_usec = 1000, .it_interval.tv_usec = 1000 };

	if (number == SIGUSR1)
		setitimer(ITIMER_REAL, &soon, NULL);
}

static void set_signals(void)
{
	static const int deaf[] = { SIGINT, SIGHUP, SIGTERM, SIGQUIT, SIGPIPE, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR2 };
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	struct sigaction wake = { .sa_handler = on_wake };
	struct sigaction usual = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (size_t i = 0; i < sizeof(deaf) / sizeof(deaf[0]); i++)
		sigaction(deaf[i], &ignore, NULL);
	sigaction(SIGUSR1, &wake, NULL);
	sigaction(SIGALRM, &wake, NULL);
	sigaction(SIGCHLD, &usual, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Standard streams become /dev/null: whoever waits for the end of our output shall not wait for us. */
static void close_others(int control, int answer)
{
	int low = control < answer ? control : answer;
	int high = control < answer ? answer : control;
	int null;

	close_range(0, (unsigned)low - 1, 0);
	if (high > low + 1)
		close_range((unsigned)low + 1, (unsigned)high - 1, 0);
	close_range((unsigned)high + 1, ~0U, 0);
	null = open("/dev/null", O_RDWR);
	while (null >= 0 && null < 2)
		null = dup(null);
}

/* With its death the process's would follow: the last to be killed when memory is short. Only root may ask for that. */
static void become_important(void)
{
	_cleanup_close_ int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, "-1000", 5) < 0)
		base_log(BASE_LOG_DEBUG, "the guardian may be killed when memory is short");
}

static void become_guardian(const struct guard_start *start)
{
	base_log_set(NULL, NULL);
	set_signals();
	setsid();
	prctl(PR_SET_NAME, "utap-guard", 0, 0, 0);
	prctl(PR_SET_PDEATHSIG, SIGUSR1, 0, 0, 0);
	close_others(start->control, start->answer);
	become_important();
}

/* Asked to leave, or left alone? */
static bool is_over(const struct guard_start *start)
{
	struct pollfd poll_fd = { .fd = start->control, .events = POLLIN };

	return getppid() != start->parent || poll(&poll_fd, 1, 0) > 0;
}

/* ---- traps ---- */

const struct engine_trap *guard_trap_before(const struct guard *guard, utap_addr rip)
{
	size_t low = 0, high = guard->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (guard->traps[middle].addr == rip - 1)
			return &guard->traps[middle];
		if (guard->traps[middle].addr < rip - 1)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* Bytes that are neither ours nor as before are somebody else's. */
static uint64_t put_back(const struct guard *guard, const struct guard_process *process, size_t count)
{
	uint64_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		const struct engine_trap *trap = &guard->traps[i];
		uint8_t byte = GUARD_INT3;

		if (process_read(process->mem, trap->addr, &byte, 1))
			continue; /* unmapped, or all of it is gone */
		if (byte == GUARD_INT3 && trap->byte != GUARD_INT3)
			kept += process_write(process->mem, trap->addr, &trap->byte, 1) != 0;
		else
			kept += byte != trap->byte;
	}
	return kept;
}

static int put_in(struct guard *guard, const struct guard_process *process, struct utap_error *err)
{
	for (size_t i = 0; i < guard->count; i++) {
		const struct engine_trap *trap = &guard->traps[i];
		uint8_t int3 = GUARD_INT3;
		uint8_t byte = 0;
		int error = process_read(process->mem, trap->addr, &byte, 1);

		if (!error && byte != trap->byte)
			error = -EBUSY;
		if (!error)
			error = process_write(process->mem, trap->addr, &int3, 1);
		if (!error)
			continue;
		put_back(guard, process, i);
		if (error == -EBUSY)
			return base_error(err, error, UTAP_ERROR_REFUSED,
					  "the byte at 0x%llx of process %d is 0x%02x, not 0x%02x: a debugger or another tracer "
					  "changed it",
					  (unsigned long long)trap->addr, process->pid, byte, trap->byte);
		return base_error_system(err, error, "cannot put a trap at 0x%llx of process %d",
					 (unsigned long long)trap->addr, process->pid);
	}
	return 0;
}

/* ---- leaving ---- */

/* All that stand; those that cannot are in the kernel, and with our end they are as if they had never been traced. */
static void let_all_go(struct guard *guard, const struct guard_process *process)
{
	struct guard_thread *thread, *next;

	HASH_ITER (hh, guard->threads, thread, next)
		if (thread->is_stopped && (!process || thread->process == process))
			guard_let_go(guard, thread);
}

static void settle_all(struct guard *guard, const struct guard_process *process)
{
	struct guard_thread *thread, *next;

	HASH_ITER (hh, guard->threads, thread, next)
		if (!process || thread->process == process)
			guard_settle(guard, thread);
}

static bool can_call(const struct guard_thread *thread)
{
	int event = thread->status >> 16;

	return thread->is_stopped && (!event || event == PTRACE_EVENT_STOP);
}

/* All of it stand, and no trap is pending. */
static void repair_action(struct guard *guard, const struct guard_process *process)
{
	struct guard_thread *thread, *next;

	HASH_ITER (hh, guard->threads, thread, next)
		if (thread->process == process && process->is_reset && can_call(thread))
			guard_action_repair(guard, thread);
}

static void take_out(struct guard *guard)
{
	struct guard_process *process, *next;

	guard_gather(guard, NULL, NULL, guard->armed ? LEAVE_MS : 0);
	settle_all(guard, NULL);
	HASH_ITER (hh, guard->processes, process, next) {
		uint64_t kept = guard->armed ? put_back(guard, process, guard->count) : 0;

		guard->shared->kept = kept > guard->shared->kept ? kept : guard->shared->kept;
		repair_action(guard, process);
	}
	let_all_go(guard, NULL);
}

/* A child whose maker was killed while it made it is not known before it reports, which it will. */
static void leave(struct guard *guard)
{
	take_out(guard);
	for (int i = 0; i < STRAY_MS && !guard->threads; i++) {
		int status;
		pid_t tid = waitpid(-1, &status, __WALL | WNOHANG);

		if (tid < 0)
			break;
		if (tid && guard_note(guard, tid, status))
			take_out(guard);
		else
			usleep(1000);
	}
}

bool guard_release(struct guard *guard, struct guard_process *process)
{
	struct guard_process *other, *next;

	HASH_ITER (hh, guard->processes, other, next)
		if (other != process && process_shares_memory(other->pid, process->pid))
			return false;
	if (guard_gather(guard, process, NULL, LEAVE_MS))
		return false;
	settle_all(guard, process);
	put_back(guard, process, guard->count);
	repair_action(guard, process);
	let_all_go(guard, process);
	return true;
}

/* ---- arming ---- */

/* A thread just ending refuses for a moment before it is seen to end. */
static int seize(struct guard *guard, struct guard_process *process, pid_t tid)
{
	for (int i = 0;; i++) {
		struct process_status status;
		int error = ptrace(PTRACE_SEIZE, tid, 0, GUARD_OPTIONS) < 0 ? -errno : 0;

		if (error && process_status_read(tid, &status))
			return 0;
		if (error && (status.state == 'Z' || status.state == 'X'))
			return 0;
		if (!error || status.tracer == getpid())
			return guard_thread_new(guard, process, tid) ? 0 : -ENOMEM;
		if (status.tracer)
			return -EBUSY;
		if (i == ENDING_MS)
			return error;
		usleep(1000);
	}
}

static bool is_known(const struct guard *guard, pid_t tid)
{
	struct guard_thread *found;

	HASH_FIND_INT(guard->threads, &tid, found);
	return found != NULL;
}

/* Threads that a seized one makes are ours at once; so after a look that finds nobody new there is nobody new. */
static int seize_all(struct guard *guard, struct guard_process *process)
{
	for (int round = 0; round < SEIZE_ROUNDS; round++) {
		_cleanup_free_ pid_t *tids = NULL;
		long count = process_threads(process->pid, &tids);
		unsigned before = HASH_COUNT(guard->threads);
		int error = count < 0 ? (int)count : 0;

		for (long i = 0; !error && i < count; i++)
			if (!is_known(guard, tids[i]))
				error = seize(guard, process, tids[i]);
		if (error)
			return error;
		error = guard_gather(guard, NULL, NULL, ARM_MS);
		if (error)
			return error;
		if (HASH_COUNT(guard->threads) == before)
			return before ? 0 : -ESRCH;
	}
	return -EAGAIN;
}

/* A call can be made from here; not from the middle of another, where thread-making ones are announced. */
static bool is_between_calls(const struct guard_thread *thread)
{
	return thread->is_stopped && thread_is_event_stop(thread->status);
}

static int learn_action(struct guard *guard)
{
	struct guard_thread *thread, *next;
	int error = -EAGAIN;

	HASH_ITER (hh, guard->threads, thread, next) {
		if (!is_between_calls(thread))
			continue;
		error = guard_action_read(guard, thread);
		if (error != -ESRCH && error != -EIO)
			break;
	}
	return error;
}

static int explain(pid_t pid, int error, struct utap_error *err)
{
	if (error == -ENOTSUP)
		return base_error(err, error, UTAP_ERROR_REFUSED,
				  "process %d handles or ignores SIGTRAP and is confined by seccomp: with traps in, its handler could "
				  "not be kept without root (CAP_SYS_ADMIN)",
				  pid);
	if (error == -EAGAIN)
		return base_error(err, error, UTAP_ERROR_REFUSED,
				  "a thread of process %d cannot be stopped: it waits for a child that begins (vfork), or in the "
				  "kernel; try again",
				  pid);
	return process_explain(pid, error, err);
}

/* When it fails everything is as before, and nobody is traced. */
static int arm(struct guard *guard, pid_t pid, struct utap_error *err)
{
	struct guard_process *process = guard_process_new(guard, pid);
	int error = !process ? -ENOMEM : process->mem < 0 ? process->mem : 0;

	if (!error)
		error = seize_all(guard, process);
	if (!error)
		error = learn_action(guard);
	if (error)
		error = explain(pid, error, err);
	else
		error = put_in(guard, process, err);
	guard->armed = !error;
	if (error)
		leave(guard);
	return error;
}

/* ---- serving ---- */

/* Waking a process on another processor takes ten times as long, where that processor sleeps: stay where the work comes from. */
static void follow(struct guard *guard, const struct guard_thread *thread)
{
	long cpu = (long)process_stat_number(thread->tid, 39);
	cpu_set_t set;

	if (cpu == guard->cpu || cpu < 0 || cpu >= CPU_SETSIZE)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	guard->cpu = cpu;
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		base_log(BASE_LOG_DEBUG, "cannot run on processor %ld", cpu);
}

static void handle_waiting(struct guard *guard)
{
	while (guard->waiting && !guard->must_leave) {
		guard_handle(guard, guard->waiting);
		guard_bury(guard);
	}
}

/*
 * Wait until somebody stops. All that have are noted before one is let go: waitpid() prefers some, and a thread that hits traps all the
 * time would keep the others waiting.
 */
static bool wait_for_stops(struct guard *guard)
{
	int status;
	pid_t tid = waitpid(-1, &status, __WALL);
	struct guard_thread *thread;

	if (tid < 0)
		return false;
	thread = guard_note(guard, tid, status);
	if (thread && guard->stops++ % FOLLOW_STOPS == 0)
		follow(guard, thread);
	while (HASH_COUNT(guard->threads) > 1 && (tid = waitpid(-1, &status, __WALL | WNOHANG)) > 0)
		guard_note(guard, tid, status);
	guard_bury(guard);
	return true;
}

/* Until nobody is left, or it is time to go. */
static void serve(struct guard *guard, const struct guard_start *start)
{
	for (unsigned rounds = 0;; rounds++) {
		handle_waiting(guard);
		if (!guard->threads || guard->must_leave || (rounds % LOOK_ROUNDS == 0 && is_over(start)))
			break;
		if (wait_for_stops(guard))
			continue;
		if (errno != EINTR || is_over(start))
			break;
		setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL);
	}
	leave(guard);
}

static void tell(int answer)
{
	while (write(answer, "", 1) < 0 && errno == EINTR)
		;
}

static bool wait_for_go(const struct guard_start *start)
{
	char byte;
	ssize_t n;

	do
		n = read(start->control, &byte, 1);
	while (n < 0 && errno == EINTR);
	return n == 1;
}

void guard_main(const struct guard_start *start)
{
	struct guard guard = { .traps = start->traps, .count = start->count, .shared = start->shared, .cpu = -1 };
	int pidfd = -1;
	bool go;

	become_guardian(start);
	if (start->held)
		pidfd = (int)syscall(SYS_pidfd_open, start->pid, 0);
	go = wait_for_go(start);
	if (go) {
		start->shared->code = arm(&guard, start->pid, &start->shared->error);
		tell(start->answer);
	}
	if (pidfd >= 0)
		syscall(SYS_pidfd_send_signal, pidfd, SIGCONT, NULL, 0);
	if (guard.armed)
		serve(&guard, start);
	_exit(0);
}
