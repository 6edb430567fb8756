/* SPDX-License-Identifier: MIT */
/* A tour of all threads: each is stopped for some tens of microseconds, looked at, and let go before the next. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

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
	struct engine_view view = { .tid = tid };
	uint64_t mask;
	int error = thread_seize(tid, false);

	if (error)
		return error == -ESRCH ? 0 : -EBUSY;
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
	}
	thread_detach(tid);
	return error;
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
		error = strchr("RST", status.state) ? visit_thread(tids[i], mem, clear_from, clear_to, fn, arg) : -EBUSY;
	}
	return error;
}
