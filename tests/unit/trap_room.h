/* SPDX-License-Identifier: MIT */
/* What the tests of traps do with their target: start it, put traps in, look that nothing is left. To be included after cmocka. */
#ifndef UNIT_TRAP_ROOM_H
#define UNIT_TRAP_ROOM_H

#include "engine/thread.h"
#include "unit/trap_target.h"

static pid_t trap_pid;

/* Afresh, and without the target of a test that failed. */
static void make_shared(void)
{
	if (trap_pid && !waitpid(trap_pid, NULL, WNOHANG))
		kill(trap_pid, SIGKILL);
	if (trap_shared)
		munmap(trap_shared, sizeof(*trap_shared));
	trap_shared = mmap(NULL, sizeof(*trap_shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(trap_shared != MAP_FAILED);
	trap_pid = 0;
}

static void nap(void) { usleep(1000); }

/* The child waits for the traps, does its work, and says that it is done. It ends when its maker lets it. */
__attribute__((unused)) static pid_t start(void (*run)(void))
{
	pid_t pid;

	make_shared();
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		alarm(120);
		while (!trap_shared->go)
			nap();
		run();
		trap_shared->done = 1;
		while (trap_shared->go != 2)
			nap();
		_exit(trap_shared->wrong != 0);
	}
	trap_pid = pid;
	return pid;
}

__attribute__((unused)) static void wait_for(const volatile int *flag)
{
	for (int i = 0; i < 60000 && !*flag && !trap_shared->wrong; i++)
		nap();
	if (trap_shared->wrong)
		fail_msg("the target found something wrong at line %d: %lld", trap_shared->wrong,
			 (long long)trap_shared->detail);
	assert_true(*flag);
}

__attribute__((unused)) static struct engine_traps *put_in(pid_t pid)
{
	struct engine_trap list[TRAP_SITES];
	struct engine_traps *traps = NULL;
	struct utap_error err = { 0 };
	int error;

	trap_list(list);
	error = engine_traps_start(pid, list, TRAP_SITES, &traps, &err);
	if (error)
		fail_msg("%d: %s", error, err.text);
	return traps;
}

__attribute__((unused)) static void take_out(struct engine_traps *traps)
{
	struct engine_traps_report report = { 0 };
	struct utap_error err = { 0 };
	int error = engine_traps_stop(traps, &report, &err);

	if (error)
		fail_msg("%d: %s", error, err.text);
	assert_int_equal(report.kept, 0);
}

/* Our own copy of the text is the pristine one. */
__attribute__((unused)) static void check_text(pid_t pid)
{
	_cleanup_close_ int mem = process_mem_open(pid);
	uint8_t text[16];

	assert_int_equal(process_read(mem, trap_address(trap_site_a), text, sizeof(text)), 0);
	assert_memory_equal(text, trap_site_a, sizeof(text));
}

__attribute__((unused)) static void check_untraced(pid_t pid)
{
	_cleanup_free_ pid_t *tids = NULL;
	long count = process_threads(pid, &tids);
	struct process_status status;

	for (long i = 0; i < count; i++)
		if (!process_status_read(tids[i], &status))
			assert_int_equal(status.tracer, 0);
}

__attribute__((unused)) static void finish(pid_t pid)
{
	int status;

	trap_shared->go = 2;
	trap_pid = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fail_msg("the target ended with %x; wrong at line %d", status, trap_shared->wrong);
}

/* Traps in, the work done, traps out: each call hit three times, afterwards none does. */
__attribute__((unused)) static void whole(void (*run)(void))
{
	pid_t pid = start(run);
	struct engine_traps *traps = put_in(pid);
	uint64_t hits;

	trap_shared->go = 1;
	wait_for(&trap_shared->done);
	hits = engine_traps_hits(traps);
	take_out(traps);
	check_untraced(pid);
	check_text(pid);
	assert_true(trap_shared->calls > 0);
	assert_int_equal(trap_shared->hits, TRAP_SITES * trap_shared->calls);
	assert_int_equal(hits, trap_shared->hits);
	finish(pid);
}

#endif
