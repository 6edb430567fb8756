/* SPDX-License-Identifier: MIT */
/*
 * All threads at once. Every one is interrupted first, then all are waited for: together they take hardly longer than one.
 *
 * A thread that is stopped can start no other, so once a full list of threads shows none that is not stopped, there is none. What waits in the
 * kernel uninterruptibly has been told to stop and will do so on its way out: it does not run either. It cannot be let go before, so that
 * comes last.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

#include "engine/thread.h"

#define HOLD_TIMEOUT_NS 1000000000ULL
#define SPIN_NS 50000ULL
#define NAP_NS 20000L
#define PATIENCE_NS 2000000ULL /* then it is looked at whether they wait in the kernel */
#define LET_GO_MS 10000        /* for one that waited in the kernel */
#define STAT_FLAGS 9           /* of /proc/PID/stat */
#define STAT_THREADS 20
#define ROUNDS_BUSY 8          /* then ending threads are given time */
#define ROUNDS_MAX 2000
#define KERNEL_FLAGS (0x10U | 0x4000U | 0x200000U) /* PF_IO_WORKER (or PF_USER_WORKER), PF_KTHREAD: never in a program */

enum held_state { HELD_COMING, HELD_STOPPED, HELD_ASLEEP, HELD_GONE };

struct held {
	pid_t pid, tid;
	enum held_state state;
	enum thread_hold hold;
	struct user_regs_struct regs;
};

struct engine_hold {
	struct held *threads;
	size_t count, cap;
	uint64_t since;
	bool executed; /* one of them did: there is another program now */
};

static bool is_held(const struct engine_hold *hold, pid_t tid)
{
	for (size_t i = 0; i < hold->count; i++)
		if (hold->threads[i].tid == tid)
			return true;
	return false;
}

/* Threads that end, and those that only ever run in the kernel, cannot be had and need not be. */
static int judge_refusal(pid_t tid, int code)
{
	struct process_status status;

	if (code == -ESRCH || process_status_read(tid, &status) || status.state == 'Z' || status.state == 'X')
		return 0;
	if (process_stat_number(tid, STAT_FLAGS) & KERNEL_FLAGS)
		return 0;
	return status.tracer ? -EBUSY : code;
}

static int catch_thread(struct engine_hold *hold, pid_t pid, pid_t tid)
{
	struct held held = { .pid = pid, .tid = tid };

	if (base_grow(&hold->threads, &hold->cap, hold->count + 1, sizeof(*hold->threads)))
		return -ENOMEM;
	if (ptrace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACEEXEC) < 0) {
		if (!thread_is_ours(tid))
			return judge_refusal(tid, -errno);
		held.hold = thread_is_held(tid) ? THREAD_HELD : THREAD_KEPT;
	}
	if (held.hold == THREAD_HELD)
		held.state = thread_regs(tid, &held.regs) ? HELD_GONE : HELD_STOPPED;
	else if (ptrace(PTRACE_INTERRUPT, tid, 0, 0) < 0)
		held.state = HELD_GONE;
	hold->threads[hold->count++] = held;
	return 0;
}

/*
 * How many came that were not held. While threads end a list may lack others; *complete says whether it has as many as there are.
 * Source: fs/proc/base.c, proc_task_readdir(); field 20 of /proc/PID/stat is counted under a lock.
 */
static long catch_new(struct engine_hold *hold, pid_t pid, bool *complete)
{
	_cleanup_free_ pid_t *tids = NULL;
	long count = process_threads(pid, &tids);
	size_t before = hold->count;

	for (long i = 0; i < count; i++) {
		int error = is_held(hold, tids[i]) ? 0 : catch_thread(hold, pid, tids[i]);

		if (error)
			return error;
	}
	*complete = *complete && count == (long)process_stat_number(pid, STAT_THREADS);
	return count < 0 ? count : (long)(hold->count - before);
}

/* Another stop on the way is passed on; it may have used up the interrupt. */
static void pass_on(struct held *held, int status)
{
	pid_t newborn = thread_is_birth(status) ? thread_message(held->tid) : 0;
	int pass = status >> 16 ? 0 : WSTOPSIG(status);

	if (ptrace(PTRACE_INTERRUPT, held->tid, 0, 0) < 0 || ptrace(PTRACE_CONT, held->tid, 0, pass) < 0)
		held->state = HELD_GONE;
	thread_let_run(newborn); /* a thread is held when it is listed */
}

/* One that executed another program stays in that stop. */
static void look(struct engine_hold *hold, struct held *held)
{
	int status;
	enum thread_news news = thread_look(held->tid, &status);

	if (news == THREAD_RUNS)
		return;
	if (news != THREAD_STOPPED) {
		held->state = HELD_GONE;
	} else if (thread_is_event_stop(status)) {
		held->state = thread_regs(held->tid, &held->regs) ? HELD_GONE : HELD_STOPPED;
	} else if (status >> 16 == PTRACE_EVENT_EXEC) {
		hold->executed = true;
		held->state = HELD_STOPPED;
	} else {
		pass_on(held, status);
	}
}

static void look_for_sleep(struct held *held)
{
	struct process_status status;

	if (!process_status_read(held->tid, &status) && status.state == 'D')
		held->state = HELD_ASLEEP;
}

static int await_all(struct engine_hold *hold)
{
	uint64_t start = base_now_ns();

	for (size_t i = 0; i < hold->count;) {
		uint64_t spent;

		look(hold, &hold->threads[i]);
		if (hold->threads[i].state != HELD_COMING) {
			i++;
			continue;
		}
		spent = base_now_ns() - start;
		if (spent > HOLD_TIMEOUT_NS)
			return -ETIMEDOUT;
		if (spent > PATIENCE_NS)
			look_for_sleep(&hold->threads[i]);
		if (spent > SPIN_NS) /* it needs a processor to come: perhaps this one */
			nanosleep(&(struct timespec){ .tv_nsec = NAP_NS }, NULL);
	}
	return 0;
}

/* Once through all processes; then whoever came is waited for. */
static int hold_round(struct engine_hold *hold, const pid_t *pids, size_t count, bool *quiet)
{
	*quiet = true;
	for (size_t i = 0; i < count; i++) {
		long came = catch_new(hold, pids[i], quiet);

		if (came < 0)
			return (int)came;
		*quiet = *quiet && !came;
	}
	return await_all(hold);
}

/* Until a list with all of the threads has none that is new; and once more, since one may have ended just as another came. */
static int hold_all(struct engine_hold *hold, const pid_t *pids, size_t count)
{
	int quiet_rounds = 0;

	for (int round = 0; quiet_rounds < 2; round++) {
		bool quiet;
		int error = hold_round(hold, pids, count, &quiet);

		if (error)
			return error;
		quiet_rounds = quiet ? quiet_rounds + 1 : 0;
		if (round > ROUNDS_MAX)
			return -ETIMEDOUT;
		if (round > ROUNDS_BUSY)
			nanosleep(&(struct timespec){ .tv_nsec = NAP_NS }, NULL);
	}
	if (hold->executed)
		return -ESTALE;
	return hold->count ? 0 : -ESRCH;
}

int engine_hold(const pid_t *pids, size_t count, struct engine_hold **ret)
{
	struct engine_hold *hold = calloc(1, sizeof(*hold));
	int error;

	if (!hold)
		return -ENOMEM;
	hold->since = base_now_ns();
	error = hold_all(hold, pids, count);
	if (error) {
		engine_hold_release(hold);
		return error;
	}
	*ret = hold;
	return 0;
}

size_t engine_hold_asleep(const struct engine_hold *hold)
{
	size_t asleep = 0;

	for (size_t i = 0; i < hold->count; i++)
		asleep += hold->threads[i].state == HELD_ASLEEP;
	return asleep;
}

int engine_hold_visit(struct engine_hold *hold, engine_visit_fn *fn, void *arg)
{
	int error = 0;

	for (size_t i = 0; !error && i < hold->count; i++) {
		const struct held *held = &hold->threads[i];
		struct engine_view view = { .tid = held->tid, .regs = held->regs };

		if (held->state == HELD_GONE)
			continue;
		if (held->state == HELD_ASLEEP && thread_asleep(held->pid, held->tid, &view))
			return -EAGAIN;
		error = fn(arg, &view);
	}
	return error;
}

/* A wait that the stop itself ended is begun again (thread_repeat_call()). */
static void let_go(const struct engine_hold *hold, struct held *held)
{
	uint64_t mask;

	if (!hold->executed && (int64_t)held->regs.orig_rax >= 0 && (int64_t)held->regs.rax == -EINTR &&
	    !thread_sigmask(held->tid, &mask)) {
		thread_repeat_call(held->tid, mask, &held->regs);
		if ((int64_t)held->regs.orig_rax < 0 && thread_set_regs(held->tid, &held->regs))
			base_log(BASE_LOG_DEBUG, "thread %d is gone", held->tid);
	}
	if (!hold->executed || held->hold == THREAD_SEIZED) /* else who follows it sees to it */
		thread_give(held->tid, held->hold);
}

static bool is_late(const struct held *held) { return held->state == HELD_COMING || held->state == HELD_ASLEEP; }

static void let_go_late(struct engine_hold *hold, struct held *held)
{
	uint64_t start = base_now_ns();

	for (look(hold, held); is_late(held); look(hold, held)) {
		if (base_now_ns() - start > LET_GO_MS * 1000000ULL) {
			base_log(BASE_LOG_WARN, "thread %d waits in the kernel; it stays traced until it returns or utap ends", held->tid);
			return;
		}
		nanosleep(&(struct timespec){ .tv_nsec = 50000 }, NULL);
	}
	if (held->state == HELD_STOPPED)
		let_go(hold, held);
}

uint64_t engine_hold_release(struct engine_hold *hold)
{
	uint64_t held_ns;

	for (size_t i = 0; i < hold->count; i++)
		if (hold->threads[i].state == HELD_STOPPED)
			let_go(hold, &hold->threads[i]);
	held_ns = base_now_ns() - hold->since;
	for (size_t i = 0; i < hold->count; i++)
		if (is_late(&hold->threads[i]))
			let_go_late(hold, &hold->threads[i]);
	free(hold->threads);
	free(hold);
	return held_ns;
}
