/* SPDX-License-Identifier: MIT */
/*
 * Traps and their guardian, without probes: every hit is counted, and the program notices nothing: not in its masks and handlers, not in its
 * children, not when whoever put the traps in dies.
 */
#include <elf.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <time.h>

#include <cmocka.h>

#include "unit/trap_room.h"

/* ---- threads and children ---- */

static void *call_in_thread(void *arg)
{
	trap_block(SIG_BLOCK, SIGUSR2);
	trap_calls((long)(uintptr_t)arg);
	return NULL;
}

static void run_threads(void)
{
	for (int round = 0; round < 10; round++) {
		pthread_t threads[8];

		for (size_t i = 0; i < 8; i++)
			EXPECT(!pthread_create(&threads[i], NULL, call_in_thread, (void *)(uintptr_t)(10 * i)), i);
		trap_calls(20);
		for (size_t i = 0; i < 8; i++)
			pthread_join(threads[i], NULL);
	}
}

static void test_threads(void **state)
{
	(void)state;
	whole(run_threads);
}

static void reap(pid_t pid, int want)
{
	int status = -1;

	EXPECT(waitpid(pid, &status, 0) == pid, errno);
	EXPECT(status == want, status);
}

static void *fork_in_thread(void *arg)
{
	(void)arg;
	for (int i = 0; i < 10; i++) {
		pid_t pid = fork();

		if (!pid) {
			trap_calls(5);
			if (!fork()) {
				trap_calls(1);
				_exit(2);
			}
			wait(NULL);
			_exit(3);
		}
		trap_calls(5);
		reap(pid, 3 << 8);
	}
	return NULL;
}

static void run_forks(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, fork_in_thread, NULL);
	fork_in_thread(NULL);
	for (int i = 0; i < 10; i++) {
		pid_t pid = vfork();

		if (!pid) {
			trap_calls(3);
			_exit(4);
		}
		reap(pid, 4 << 8);
		EXPECT(system("exit 5") == 5 << 8, i);
	}
	pthread_join(thread, NULL);
}

static void test_forks(void **state)
{
	(void)state;
	whole(run_forks);
}

/* A child that outlives the work is trapped like its parent and comes out with it. */
static void run_left_child(void)
{
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (trap_shared->go != 3) {
			trap_call(7);
			nap();
		}
		_exit(0);
	}
	trap_shared->detail = pid;
	trap_calls(10);
}

static void test_left_child(void **state)
{
	pid_t pid = start(run_left_child);
	struct engine_traps *traps = put_in(pid);
	pid_t child;

	(void)state;
	trap_shared->go = 1;
	wait_for(&trap_shared->done);
	child = (pid_t)trap_shared->detail;
	while (trap_shared->calls < 30)
		nap();
	take_out(traps);
	check_untraced(child);
	check_text(child);
	check_text(pid);
	kill(child, SIGSTOP);
	while (process_status_read(child, &(struct process_status){ 0 }))
		nap();
	usleep(20000);
	assert_true(trap_shared->hits <= TRAP_SITES * trap_shared->calls);
	assert_true(trap_shared->hits >= 60);
	kill(child, SIGKILL);
	finish(pid);
}

/* ---- signals ---- */

static volatile int64_t queued_sum;

static void on_queued(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	EXPECT(info->si_code == SI_QUEUE, info->si_code);
	/* Two threads may be here at once. */
	__atomic_fetch_add(&queued_sum, info->si_value.sival_int, __ATOMIC_RELAXED);
	__atomic_fetch_add(&trap_shared->signals, 1, __ATOMIC_RELAXED);
	trap_call(3);
}

static void *call_until_signalled(void *arg)
{
	(void)arg;
	while (trap_shared->signals < 1000)
		trap_call(1);
	return NULL;
}

static void run_storm(void)
{
	struct sigaction action = { .sa_sigaction = on_queued, .sa_flags = SA_SIGINFO };
	pthread_t thread;
	int64_t sum = 0;

	sigaction(SIGRTMIN + 2, &action, NULL);
	pthread_create(&thread, NULL, call_until_signalled, NULL);
	for (int i = 0; i < 1000; i++) {
		while (sigqueue(getpid(), SIGRTMIN + 2, (union sigval){ .sival_int = i }))
			nap();
		sum += i;
		trap_call(2);
	}
	pthread_join(thread, NULL);
	EXPECT(trap_shared->signals == 1000, trap_shared->signals);
	EXPECT(queued_sum == sum, queued_sum);
}

static void test_storm(void **state)
{
	(void)state;
	whole(run_storm);
}

/* Waiting calls are not ended by our stops, nor by signals that nobody handles. */
static void run_waits(void)
{
	struct epoll_event event;
	int epoll = epoll_create1(0);
	pid_t child = fork();

	if (!child) {
		usleep(20000);
		_exit(0);
	}
	EXPECT(epoll_wait(epoll, &event, 1, 100) == 0, errno);
	reap(child, 0);
	EXPECT(!nanosleep(&(struct timespec){ .tv_nsec = 30000000 }, NULL), errno);
	trap_calls(3);
	close(epoll);
}

static void test_waits(void **state)
{
	(void)state;
	whole(run_waits);
}

static void *epoll_in_thread(void *arg)
{
	struct epoll_event event;
	int epoll = epoll_create1(0);

	(void)arg;
	while (!trap_shared->done) {
		int n = epoll_wait(epoll, &event, 1, 50);

		EXPECT(n == 0, errno);
		trap_shared->rounds++;
	}
	return NULL;
}

static void run_idle(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, epoll_in_thread, NULL);
	while (trap_shared->go == 1) {
		trap_call(1);
		nap();
	}
}

static void run_busy(void)
{
	while (trap_shared->go == 1) {
		trap_call(1);
		nap();
	}
}

/* In and out many times, under a process that waits: it never sees an interrupted call. */
static void test_in_and_out(void **state)
{
	pid_t pid = start(run_idle);

	(void)state;
	trap_shared->go = 1;
	while (!trap_shared->rounds)
		nap();
	for (int i = 0; i < 30; i++) {
		struct engine_traps *traps = put_in(pid);

		usleep((useconds_t)(i * 300));
		take_out(traps);
		check_untraced(pid);
		check_text(pid);
	}
	assert_int_equal(trap_shared->wrong, 0);
	assert_true(trap_shared->hits > 0);
	trap_shared->go = 0;
	wait_for(&trap_shared->done);
	finish(pid);
}

static char state_of(pid_t pid)
{
	struct process_status status;

	return process_status_read(pid, &status) ? '?' : status.state;
}

/* Stopped and continued as a shell does it; its parent, we, see both; stopped it stays when the guardian leaves. */
static void test_stopped(void **state)
{
	pid_t pid = start(run_busy); /* to be continued ends some waits, as signal(7) says */
	struct engine_traps *traps = put_in(pid);
	uint64_t calls;
	int status;

	(void)state;
	trap_shared->go = 1;
	for (int i = 0; i < 10; i++) {
		kill(pid, SIGSTOP);
		assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
		assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
		usleep(2000);
		calls = trap_shared->calls;
		usleep(10000);
		assert_int_equal(calls, trap_shared->calls);
		kill(pid, SIGCONT);
		assert_int_equal(waitpid(pid, &status, WCONTINUED), pid);
		assert_true(WIFCONTINUED(status));
		while (trap_shared->calls == calls)
			nap();
	}
	kill(pid, SIGSTOP);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	take_out(traps);
	check_text(pid);
	calls = trap_shared->calls;
	usleep(20000);
	assert_int_equal(state_of(pid), 'T');
	assert_int_equal(calls, trap_shared->calls);
	traps = put_in(pid); /* into a stopped one */
	usleep(20000);
	assert_int_equal(calls, trap_shared->calls);
	kill(pid, SIGCONT);
	while (trap_shared->calls == calls)
		nap();
	take_out(traps);
	trap_shared->go = 0;
	wait_for(&trap_shared->done);
	assert_true(trap_shared->hits > 30);
	finish(pid);
}

/* ---- what is refused ---- */

static void test_refused(void **state)
{
	pid_t pid = start(run_idle);
	struct engine_trap list[TRAP_SITES];
	struct engine_traps *traps = NULL;
	struct utap_error err = { 0 };
	pid_t tracer;
	char name[32];

	(void)state;
	trap_list(list);
	list[1].byte ^= 1;
	assert_int_equal(engine_traps_start(pid, list, TRAP_SITES, &traps, &err), -EBUSY);
	assert_non_null(strstr(err.text, "changed it"));
	check_text(pid);
	check_untraced(pid);
	trap_list(list);
	list[2].addr = 0x1000;
	assert_true(engine_traps_start(pid, list, TRAP_SITES, &traps, &err) < 0);
	assert_non_null(strstr(err.text, "0x1000"));
	check_text(pid);
	tracer = fork();
	if (!tracer) {
		trap_shared->detail = ptrace(PTRACE_SEIZE, pid, 0, 0) ? 2 : 1;
		pause();
		_exit(0);
	}
	while (!trap_shared->detail)
		nap();
	assert_int_equal(trap_shared->detail, 1);
	trap_list(list);
	assert_int_equal(engine_traps_start(pid, list, TRAP_SITES, &traps, &err), -EBUSY);
	snprintf(name, sizeof(name), "pid %d", tracer);
	assert_non_null(strstr(err.text, name));
	kill(tracer, SIGKILL);
	waitpid(tracer, NULL, 0);
	assert_null(traps);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_int_equal(engine_traps_start(pid, list, TRAP_SITES, &traps, &err), -ESRCH);
}

/* ---- ends ---- */

static void run_exec(void)
{
	trap_calls(10);
	execlp("sleep", "sleep", "0.05", NULL);
}

static void test_exec(void **state)
{
	pid_t pid = start(run_exec);
	struct engine_traps *traps = put_in(pid);
	int status;

	(void)state;
	trap_shared->go = 1;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	take_out(traps);
	assert_int_equal(trap_shared->hits, 10 * TRAP_SITES);
}

static void *call_for_ever(void *arg)
{
	for (;;)
		trap_call((long)(uintptr_t)arg);
	return NULL;
}

static void run_exit(void)
{
	pthread_t thread;

	for (int i = 0; i < 4; i++)
		pthread_create(&thread, NULL, call_for_ever, NULL);
	trap_calls(10);
	if (trap_shared->go == 3)
		execlp("true", "true", NULL);
	_exit(0);
}

/* All threads in the middle of hits. */
static void test_exit(void **state)
{
	(void)state;
	for (int i = 0; i < 60; i++) {
		pid_t pid = start(run_exit);
		struct engine_traps *traps = put_in(pid);
		int status;

		trap_shared->go = i % 3 == 1 ? 3 : 1;
		if (i % 3 == 2) {
			usleep((useconds_t)(i * 50));
			kill(pid, SIGKILL);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(status == 0 || (i % 3 == 2 && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
		take_out(traps);
	}
}

/* A program started by us, stopped before its first instruction: the guardian takes it over, and nothing runs before the trap is in. */
static void test_spawned(void **state)
{
	char name[] = "true";
	char *argv[] = { name, NULL };

	(void)state;
	for (int i = 0; i < 20; i++) {
		struct engine_traps *traps = NULL;
		struct utap_error err = { 0 };
		struct engine_trap trap = { 0 };
		uint64_t entry;
		pid_t pid;
		int status;

		assert_int_equal(engine_spawn(argv, &pid, &err), 0);
		assert_int_equal(process_auxv(pid, AT_ENTRY, &entry), 0);
		{
			_cleanup_close_ int mem = process_mem_open(pid);

			assert_int_equal(process_read(mem, entry, &trap.byte, 1), 0);
		}
		/* endbr64, or xor %ebp, %ebp which is 0 anyhow: can be left out */
		trap.length = trap.byte == 0xf3 ? 4 : 2;
		trap.addr = entry;
		trap.stub = entry + trap.length;
		if (engine_traps_start(pid, &trap, 1, &traps, &err))
			fail_msg("%s", err.text);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		assert_int_equal(engine_traps_hits(traps), 1);
		take_out(traps);
	}
}

/* The guardian itself is killed: what can be put back is. */
static void test_guardian_killed(void **state)
{
	pid_t pid = start(run_busy);
	struct engine_traps *traps = put_in(pid); /* it does not come to them before it is let */
	struct utap_error err = { 0 };

	(void)state;
	assert_false(engine_traps_left(traps, &err));
	kill(engine_traps_guardian(traps), SIGKILL);
	for (int i = 0; i < 1000 && !engine_traps_left(traps, &err); i++)
		nap();
	assert_int_equal(err.code, -ECHILD);
	assert_int_equal(engine_traps_stop(traps, NULL, &err), -ECHILD);
	check_text(pid);
	check_untraced(pid);
	trap_shared->go = 1;
	while (trap_shared->calls < 10)
		nap();
	trap_shared->go = 0;
	wait_for(&trap_shared->done);
	finish(pid);
}

static void run_confined(void)
{
	struct sock_filter allow = { BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW };
	struct sock_fprog program = { 1, &allow };
	struct sigaction action = { .sa_handler = SIG_IGN };

	sigaction(SIGTRAP, &action, NULL);
	trap_calls(5);
	EXPECT(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), errno);
	EXPECT(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), errno);
	EXPECT(trap_action_is(&action), 0);
	for (int i = 0; i < 5; i++)
		trap_work(i);
	EXPECT(trap_action_is(&action), 1);
}

/* As root the filter can be suspended, and the traps stay; else they leave, and say so. */
static void test_confined(void **state)
{
	pid_t pid = start(run_confined);
	struct engine_traps *traps = put_in(pid);
	struct utap_error err = { 0 };

	(void)state;
	trap_shared->go = 1;
	wait_for(&trap_shared->done);
	if (geteuid()) {
		assert_true(engine_traps_left(traps, &err));
		assert_non_null(strstr(err.text, "seccomp"));
	}
	take_out(traps);
	check_text(pid);
	check_untraced(pid);
	assert_int_equal(trap_shared->hits, (geteuid() ? 5 : 10) * TRAP_SITES);
	finish(pid);
}

static void run_untraced(void)
{
	long pid;

	trap_calls(5);
	pid = syscall(SYS_clone, CLONE_UNTRACED | SIGCHLD, 0, 0, 0, 0);
	if (!pid) {
		trap_work(1);
		_exit(8);
	}
	reap((pid_t)pid, 8 << 8);
	trap_work(1);
}

/* A child that may not be traced: no trap may be in its text. */
static void test_untraced(void **state)
{
	pid_t pid = start(run_untraced);
	struct engine_traps *traps = put_in(pid);
	struct utap_error err = { 0 };

	(void)state;
	trap_shared->go = 1;
	wait_for(&trap_shared->done);
	/* The traps are out before the guardian says so. */
	for (int ms = 0; !engine_traps_left(traps, &err) && ms < 10000; ms++)
		nap();
	assert_true(engine_traps_left(traps, &err));
	assert_non_null(strstr(err.text, "CLONE_UNTRACED"));
	take_out(traps);
	assert_int_equal(trap_shared->hits, 5 * TRAP_SITES);
	finish(pid);
}

static void run_debugger(void)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		trap_calls(3);
		if (ptrace(PTRACE_TRACEME, 0, 0, 0))
			_exit(1);
		raise(SIGSTOP);
		trap_work(3); /* not counted any more */
		_exit(7);
	}
	EXPECT(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status), status);
	EXPECT(!ptrace(PTRACE_CONT, pid, 0, 0), errno);
	reap(pid, 7 << 8);
	trap_calls(3);
}

static void test_debugger(void **state)
{
	(void)state;
	whole(run_debugger);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_forks),
		cmocka_unit_test(test_left_child),
		cmocka_unit_test(test_storm),
		cmocka_unit_test(test_waits),
		cmocka_unit_test(test_in_and_out),
		cmocka_unit_test(test_stopped),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_exec),
		cmocka_unit_test(test_exit),
		cmocka_unit_test(test_spawned),
		cmocka_unit_test(test_debugger),
		cmocka_unit_test(test_guardian_killed),
		cmocka_unit_test(test_confined),
		cmocka_unit_test(test_untraced),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
