/* SPDX-License-Identifier: MIT */
/*
 * A program with children and grandchildren of all kinds: forked, vforked, spawned, executed by a thread that is not the first. Each makes
 * a known number of calls of probed_step(); all of them together are printed at the end: "calls N".
 *
 *   family now          at once, then it ends
 *   family wait         at SIGUSR1, then it stays until SIGTERM
 *   family leaf         what its children execute
 */
#include <pthread.h>
#include <spawn.h>
#include <sys/wait.h>

#include "target.h"

#define CALLS 50

extern char **environ;
static long calls; /* of all, as far as this process knows */

static void call(void)
{
	for (long i = 0; i < CALLS; i++)
		target_step(i);
}

static void expect(pid_t child, long its_calls)
{
	int status;

	if (child < 0 || waitpid(child, &status, 0) != child || status)
		target_fail("a child ended with 0x%x", status);
	calls += its_calls;
}

static void fork_two(void)
{
	pid_t child = fork();

	if (!child) {
		pid_t grandchild = fork();

		call();
		if (grandchild)
			expect(grandchild, CALLS);
		_exit(0);
	}
	expect(child, 2 * CALLS);
}

static char *const leaf[] = { (char[]){ "family" }, (char[]){ "leaf" }, NULL };

static void vfork_one(void)
{
	pid_t child = vfork();

	if (!child) {
		execv("/proc/self/exe", leaf);
		_exit(127);
	}
	expect(child, CALLS);
}

static void spawn_one(void)
{
	pid_t child;

	if (posix_spawn(&child, "/proc/self/exe", NULL, NULL, leaf, environ))
		target_fail("posix_spawn");
	expect(child, CALLS);
}

static void *execute(void *arg)
{
	(void)arg;
	execv("/proc/self/exe", leaf);
	_exit(127);
}

static void *rest(void *arg)
{
	for (;;)
		pause();
	return arg;
}

/* The first thread and another one are in the middle of something. */
static void execute_in_thread(void)
{
	pid_t child = fork();
	pthread_t threads[2];

	if (!child) {
		call();
		if (pthread_create(&threads[0], NULL, rest, NULL) || pthread_create(&threads[1], NULL, execute, NULL))
			_exit(126);
		rest(NULL);
	}
	expect(child, 2 * CALLS);
}

static void run(void)
{
	call();
	calls += CALLS;
	fork_two();
	vfork_one();
	spawn_one();
	execute_in_thread();
	printf("calls %ld\n", calls);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	sigset_t start;
	int got;

	if (!strcmp(mode, "leaf")) {
		call();
		return 0;
	}
	sigemptyset(&start);
	sigaddset(&start, SIGUSR1);
	if (strcmp(mode, "wait")) {
		run();
		return 0;
	}
	sigprocmask(SIG_BLOCK, &start, NULL);
	target_start();
	sigwait(&start, &got);
	run();
	while (!target_stopping)
		pause();
	return target_success();
}
