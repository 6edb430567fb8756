/* SPDX-License-Identifier: MIT */
/*
 * A program that makes processes all the time while two of its threads are busy: each child calls probed_step() and
 * ends with a status that is checked. On SIGUSR1 it forks children that stay until the end, and prints "child PID" for
 * each.
 *
 * Usage: forker fork|vfork|spawn|idle|held. held: without other threads, waiting for a vfork child for two seconds,
 * uninterruptibly, then not any more.
 */
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/wait.h>

#include "target.h"

#define LINGERING 3

extern char **environ;
static volatile sig_atomic_t wanted;
static int until_end[2]; /* closed when the children are to end */

static void on_usr1(int number)
{
	(void)number;
	wanted = 1;
}

static void *work(void *arg)
{
	for (long i = 0; !target_stopping; i++) {
		target_step(i + (long)arg);
		if (i % 1024 == 0)
			usleep(100);
	}
	return NULL;
}

/* A child that lives long: busy until its parent closes the pipe. */
__attribute__((noreturn)) static void linger(void)
{
	char byte;
	long n = 0;

	close(until_end[1]);
	alarm(120);
	for (;;) {
		struct timespec pause = { .tv_nsec = 1000000 };

		for (int i = 0; i < 100; i++)
			target_step(n++);
		nanosleep(&pause, NULL);
		if (n % 1000 == 0 && getppid() == 1)
			_exit(4);
		if (read(until_end[0], &byte, 1) == 0)
			_exit(0);
	}
}

static void make_lingering(pid_t *children)
{
	for (int i = 0; i < LINGERING; i++) {
		fflush(stdout);
		children[i] = fork();
		if (!children[i])
			linger();
		printf("child %d\n", children[i]);
	}
	fflush(stdout);
}

static void check_status(pid_t child, int want)
{
	int status;

	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			target_fail("waitpid: %s", strerror(errno));
	if (!WIFEXITED(status) || WEXITSTATUS(status) != want)
		target_fail("a child ended with status 0x%x", status);
}

static void make_fork(long n)
{
	pid_t child = fork();

	if (!child) {
		for (long i = 0; i < 200; i++)
			target_step(n + i);
		_exit(7);
	}
	check_status(child, 7);
}

static void make_vfork(long n)
{
	pid_t child = vfork();

	if (!child) {
		target_step(n);
		_exit(9);
	}
	check_status(child, 9);
}

static void make_spawn(const char *self)
{
	char name[] = "forker", mode[] = "child";
	char *argv[] = { name, mode, NULL };
	pid_t child;

	if (posix_spawn(&child, self, NULL, NULL, argv, environ))
		target_fail("posix_spawn");
	check_status(child, 5);
}

static int run_held(void)
{
	target_start();
	if (!vfork()) {
		struct timespec pause = { .tv_sec = 2 };

		nanosleep(&pause, NULL);
		_exit(0);
	}
	puts("released");
	fflush(stdout);
	for (long n = 0; !target_stopping; n++) {
		target_step(n);
		usleep(100);
	}
	return target_success();
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "fork";
	struct sigaction action = { .sa_handler = on_usr1, .sa_flags = SA_RESTART };
	pid_t lingering[LINGERING] = { 0 };
	pthread_t threads[2];

	if (!strcmp(mode, "child")) {
		for (long i = 0; i < 100; i++)
			target_step(i);
		return 5;
	}
	if (!strcmp(mode, "held"))
		return run_held();
	sigaction(SIGUSR1, &action, NULL);
	if (pipe2(until_end, O_NONBLOCK))
		target_fail("no pipe");
	target_start();
	for (long i = 0; i < 2; i++)
		if (pthread_create(&threads[i], NULL, work, (void *)i))
			target_fail("no thread");
	for (long n = 0; !target_stopping; n++) {
		if (wanted && !lingering[0])
			make_lingering(lingering);
		if (!strcmp(mode, "fork"))
			make_fork(n);
		else if (!strcmp(mode, "vfork"))
			make_vfork(n);
		else if (!strcmp(mode, "spawn"))
			make_spawn("/proc/self/exe");
		usleep(500);
	}
	close(until_end[1]);
	for (int i = 0; i < LINGERING && lingering[i]; i++)
		check_status(lingering[i], 0);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	return target_success();
}
