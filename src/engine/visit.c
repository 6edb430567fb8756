/* SPDX-License-Identifier: MIT */
/* A tour of all threads: each is stopped for some tens of microseconds, looked at, and let go before the next. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/thread.h"

static void clear_stale_rseq(int mem, utap_addr area, utap_addr from, utap_addr to)
{
	uint64_t pointer = 0;

	if (!area || process_read(mem, area + 8, &pointer, sizeof(pointer)) || pointer < from || pointer >= to)
		return;
	pointer = 0;
	if (process_write(mem, area + 8, &pointer, sizeof(pointer)))
		base_log(BASE_LOG_DEBUG, "cannot clear a stale rseq section");
}

static int visit_thread(pid_t tid, int mem, utap_addr from, utap_addr to, engine_visit_fn *fn, void *arg)
{
	utap_addr elsewhere = 0;
	struct engine_view view = { .tid = tid, .elsewhere = &elsewhere };
	enum thread_hold hold;
	uint64_t mask;
	int error = thread_take(tid, false, &hold);

	if (error)
		return error == -ESRCH ? 0 : error == -ESTALE ? -ESRCH : -EBUSY; /* it executed: none of its threads is there */
	error = thread_regs(tid, &view.regs);
	if (!error && thread_rseq(tid, &view.rseq, NULL))
		view.rseq = 0;
	if (!error)
		error = thread_sigmask(tid, &mask);
	if (!error) {
		thread_abort_rseq(mem, view.rseq, &view.regs);
		thread_repeat_call(tid, mask, &view.regs);
		error = thread_set_regs(tid, &view.regs);
	}
	if (!error) {
		error = fn(arg, &view);
		if (!error)
			clear_stale_rseq(mem, view.rseq, from, to);
		if (elsewhere) {
			view.regs.rip = elsewhere;
			if (thread_set_regs(tid, &view.regs))
				base_log(BASE_LOG_DEBUG, "thread %d is gone", tid);
		}
	}
	thread_give(tid, hold);
	return error;
}

/*
 * A thread that cannot be stopped (it waits for its vfork child, or for a disk) can still be looked at: the kernel tells where it sleeps.
 * Source: Documentation/filesystems/proc.rst, /proc/PID/syscall: number, arguments, stack pointer, program counter.
 */
int thread_asleep(pid_t pid, pid_t tid, struct engine_view *ret)
{
	_cleanup_free_ char *text = NULL;
	struct engine_view view = { .tid = tid };
	char path[64];
	char *last;
	char *before;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", pid, tid);
	if (base_file_read(path, &text, NULL) || !strncmp(text, "running", 7))
		return -EBUSY;
	last = strrchr(text, ' ');
	if (!last)
		return -EBUSY;
	view.regs.rip = strtoull(last, NULL, 16);
	*last = '\0';
	before = strrchr(text, ' ');
	if (!before)
		return -EBUSY;
	view.regs.rsp = strtoull(before, NULL, 16);
	*ret = view;
	return 0;
}

static int visit_sleeping(pid_t pid, pid_t tid, engine_visit_fn *fn, void *arg)
{
	struct engine_view view;
	int error = thread_asleep(pid, tid, &view);

	return error ? error : fn(arg, &view);
}

int engine_visit(pid_t pid, int mem, utap_addr clear_from, utap_addr clear_to, engine_visit_fn *fn, void *arg)
{
	_cleanup_free_ pid_t *tids = NULL;
	long count = process_threads(pid, &tids);
	int error = count < 0 ? (int)count : 0;

	for (long i = 0; !error && i < count; i++) {
		struct process_status status;

		if (process_status_read(tids[i], &status) || status.state == 'Z' || status.state == 'X')
			continue;
		if (strchr("RST", status.state) || (status.tracer == getpid() && status.state != 'D'))
			error = visit_thread(tids[i], mem, clear_from, clear_to, fn, arg);
		else
			error = status.state == 'D' ? visit_sleeping(pid, tids[i], fn, arg) : -EBUSY;
	}
	return error;
}
