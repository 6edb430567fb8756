/* SPDX-License-Identifier: MIT */
/*
 * engine/: following. Children of this program fork, vfork, make threads and execute; what is told of them is known beforehand. While they are
 * followed threads are lent and looked at, signals and job control work, and afterwards nobody is traced.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/engine.h"

#define WAIT_MS 10000

/* What the children tell us. */
static struct {
	volatile unsigned long rounds;
	volatile int signals;
} *shared;

static void on_signal(int number)
{
	(void)number;
	shared->signals++;
}

__attribute__((noreturn)) static void spin(void)
{
	for (;;) {
		shared->rounds++;
		usleep(500);
	}
}

static void *thread_main(void *arg)
{
	spin();
	return arg;
}

static void work_threads(void)
{
	pthread_t thread;

	signal(SIGUSR1, on_signal);
	for (int i = 0; i < 3; i++)
		if (pthread_create(&thread, NULL, thread_main, NULL))
			_exit(9);
	spin();
}

static void wait_for_start(void)
{
	sigset_t set;
	int got;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigwait(&set, &got);
}

static void work_family(void)
{
	int status;
	pid_t child;

	wait_for_start();
	child = fork();
	if (!child)
		_exit(3);
	if (waitpid(child, &status, 0) != child || WEXITSTATUS(status) != 3)
		_exit(9);
	child = vfork();
	if (!child) {
		execlp("true", "true", NULL);
		_exit(127);
	}
	if (waitpid(child, &status, 0) != child || status)
		_exit(9);
	execlp("sleep", "sleep", "0.1", NULL);
	_exit(9);
}

static pid_t start(void (*work)(void))
{
	sigset_t set;
	pid_t pid;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	shared->rounds = 0;
	shared->signals = 0;
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		alarm(60);
		work();
		_exit(0);
	}
	return pid;
}

static void wait_for_rounds(unsigned long more)
{
	unsigned long until = shared->rounds + more;

	for (int ms = 0; shared->rounds < until && ms < WAIT_MS; ms++)
		usleep(1000);
	assert_true(shared->rounds >= until);
}

static struct engine_event next(struct engine_follow *follow)
{
	struct engine_event event = { 0 };

	for (int ms = 0; ms < WAIT_MS; ms++) {
		if (engine_follow_next(follow, &event) > 0)
			return event;
		usleep(1000);
	}
	fail_msg("nothing is told");
	return event;
}

static pid_t tracer_of(pid_t pid)
{
	struct process_status status;

	assert_int_equal(process_status_read(pid, &status), 0);
	return status.tracer;
}

static char state_of(pid_t pid)
{
	struct process_status status;

	assert_int_equal(process_status_read(pid, &status), 0);
	return status.state;
}

static void end(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

/* ---- events ---- */

static void test_events(void **state)
{
	pid_t pid = start(work_family);
	struct engine_follow *follow;
	struct engine_event event;
	pid_t forked, vforked;
	int status;

	assert_int_equal(engine_follow_create(&follow), 0);
	assert_int_equal(engine_follow_add(follow, pid, NULL), 0);
	assert_int_equal(engine_follow_next(follow, &event), 0);
	kill(pid, SIGUSR2);
	event = next(follow);
	assert_true(event.kind == ENGINE_FORKED && event.parent == pid);
	forked = event.pid;
	event = next(follow);
	assert_true(event.kind == ENGINE_EXITED && event.pid == forked && WEXITSTATUS(event.status) == 3);
	event = next(follow);
	assert_true(event.kind == ENGINE_FORKED && event.parent == pid);
	vforked = event.pid;
	event = next(follow);
	assert_true(event.kind == ENGINE_EXECED && event.pid == vforked);
	engine_follow_release(follow, vforked);
	event = next(follow);
	assert_true(event.kind == ENGINE_EXITED && event.pid == vforked && !event.status);
	event = next(follow);
	assert_true(event.kind == ENGINE_EXECED && event.pid == pid);
	usleep(150000); /* it is held: it does not sleep its 0.1 s meanwhile */
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	engine_follow_release(follow, pid);
	event = next(follow);
	assert_true(event.kind == ENGINE_EXITED && event.pid == pid && !event.status);
	assert_false(engine_follow_has(follow, pid));
	assert_int_equal(waitpid(pid, &status, 0), pid); /* its end was left for us */
	assert_int_equal(status, 0);
	assert_int_equal(engine_follow_next(follow, &event), 0);
	engine_follow_destroy(follow);
}

/* ---- lending, looking, signals ---- */

static int on_view(void *arg, const struct engine_view *view)
{
	int *seen = arg;

	assert_true(view->regs.rip != 0);
	++*seen;
	return 0;
}

static void serve(struct engine_follow *follow)
{
	struct engine_event event;

	assert_int_equal(engine_follow_next(follow, &event), 0);
}

static void test_loans(void **state)
{
	pid_t pid = start(work_threads);
	_cleanup_close_ int mem = process_mem_open(pid);
	static const uint64_t none[6];
	struct engine_follow *follow;
	struct engine_loan *loan;
	int64_t result;

	wait_for_rounds(20);
	assert_int_equal(engine_follow_create(&follow), 0);
	assert_int_equal(engine_follow_add(follow, pid, NULL), 0);
	for (int i = 0; i < 20; i++) {
		int seen = 0;

		assert_int_equal(engine_lend(pid, mem, &loan, NULL), 0);
		assert_int_equal(engine_call(loan, SYS_getpid, none, &result), 0);
		assert_int_equal(result, pid);
		engine_return(loan);
		assert_int_equal(engine_visit(pid, mem, 0, 0, on_view, &seen), 0);
		assert_int_equal(seen, 4);
		serve(follow);
		wait_for_rounds(3);
		assert_int_equal(tracer_of(pid), getpid());
	}
	engine_follow_destroy(follow);
	assert_int_equal(tracer_of(pid), 0);
	wait_for_rounds(3);
	end(pid);
}

static void test_signals(void **state)
{
	pid_t pid = start(work_threads);
	struct engine_follow *follow;

	wait_for_rounds(20);
	assert_int_equal(engine_follow_create(&follow), 0);
	assert_int_equal(engine_follow_add(follow, pid, NULL), 0);
	for (int i = 1; i <= 10; i++) {
		kill(pid, SIGUSR1);
		for (int ms = 0; shared->signals < i && ms < WAIT_MS; ms++) {
			serve(follow);
			usleep(1000);
		}
		assert_int_equal(shared->signals, i);
	}
	engine_follow_destroy(follow);
	end(pid);
}

/* It stands still while it is stopped, runs when it is continued, and stays stopped when it is let go. */
static void test_job_control(void **state)
{
	pid_t pid = start(work_threads);
	struct engine_follow *follow;
	unsigned long rounds;

	wait_for_rounds(20);
	assert_int_equal(engine_follow_create(&follow), 0);
	assert_int_equal(engine_follow_add(follow, pid, NULL), 0);
	for (int i = 0; i < 3; i++) {
		kill(pid, SIGSTOP);
		for (int ms = 0; ms < 100; ms++) {
			serve(follow);
			usleep(1000);
		}
		rounds = shared->rounds;
		usleep(20000);
		serve(follow);
		assert_int_equal(shared->rounds, rounds);
		kill(pid, SIGCONT);
		for (int ms = 0; shared->rounds < rounds + 5 && ms < WAIT_MS; ms++) {
			serve(follow);
			usleep(1000);
		}
		assert_true(shared->rounds >= rounds + 5);
	}
	kill(pid, SIGSTOP);
	for (int ms = 0; ms < 100; ms++) {
		serve(follow);
		usleep(1000);
	}
	rounds = shared->rounds;
	engine_follow_destroy(follow);
	usleep(20000);
	assert_int_equal(state_of(pid), 'T');
	assert_int_equal(shared->rounds, rounds);
	kill(pid, SIGCONT);
	wait_for_rounds(3);
	end(pid);
}

/* ---- our death, other tracers ---- */

static void test_death(void **state)
{
	for (int i = 0; i < 10; i++) {
		pid_t pid = start(work_threads);
		pid_t tracer;

		wait_for_rounds(20);
		tracer = fork();
		if (!tracer) {
			struct engine_follow *follow;

			if (engine_follow_create(&follow) || engine_follow_add(follow, pid, NULL))
				_exit(1);
			kill(pid, SIGUSR1); /* it stands in a stop of ours then */
			usleep(1000 * (useconds_t)(i % 3));
			kill(getpid(), SIGKILL);
		}
		waitpid(tracer, NULL, 0);
		wait_for_rounds(3);
		for (int ms = 0; !shared->signals && ms < WAIT_MS; ms++)
			usleep(1000); /* other threads may have made the rounds */
		assert_int_equal(shared->signals, 1);
		assert_int_equal(tracer_of(pid), 0);
		end(pid);
	}
}

static void test_refused(void **state)
{
	pid_t pid = start(work_threads);
	struct engine_follow *follow, *other;
	struct utap_error err = { 0 };
	int status;
	pid_t second;

	wait_for_rounds(20);
	assert_int_equal(engine_follow_create(&follow), 0);
	assert_int_equal(engine_follow_add(follow, pid, &err), 0);
	second = fork();
	if (!second) {
		if (engine_follow_create(&other) || engine_follow_add(other, pid, &err) != -EBUSY)
			_exit(1);
		_exit(strstr(err.text, "already traced") ? 0 : 2);
	}
	waitpid(second, &status, 0);
	assert_int_equal(status, 0);
	engine_follow_drop(follow, pid);
	assert_int_equal(tracer_of(pid), 0);
	end(pid);
	assert_true(engine_follow_add(follow, pid, &err) < 0);
	engine_follow_destroy(follow);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_events), cmocka_unit_test(test_loans), cmocka_unit_test(test_signals),
		cmocka_unit_test(test_job_control), cmocka_unit_test(test_death), cmocka_unit_test(test_refused),
	};

	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
