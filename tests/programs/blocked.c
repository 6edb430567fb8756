/* SPDX-License-Identifier: MIT */
/*
 * The main thread waits in one kind of system call, again and again, for 40 ms each time; a call that is cut short,
 * fails, or gives other data than was sent ends the program. Another thread sends. Usage: blocked KIND
 */
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "target.h"

#define WAIT_NS 40000000L

static int channel[2]; /* the other thread writes a number there every WAIT_NS */
static int epoll;
static unsigned futex_word, futex_still; /* one changes with each number, one never */
static sigset_t chosen;                  /* SIGUSR1, for sigtimedwait */

static void expect(const char *what, long got, long want)
{
	if (got != want)
		target_fail("%s returned %ld, not %ld: %s", what, got, want, strerror(errno));
}

static void wait_nanosleep(void)
{
	expect("nanosleep", nanosleep(&(struct timespec) { .tv_nsec = WAIT_NS }, NULL), 0);
}

static void wait_absolute(void)
{
	uint64_t until = target_now_ns() + WAIT_NS;
	struct timespec when = { .tv_sec = (time_t)(until / 1000000000), .tv_nsec = (long)(until % 1000000000) };

	expect("clock_nanosleep", clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL), 0);
}

static void wait_poll_timeout(void)
{
	expect("poll", poll(NULL, 0, WAIT_NS / 1000000), 0);
}

static void wait_select_timeout(void)
{
	struct timeval timeout = { .tv_usec = WAIT_NS / 1000 };

	expect("select", select(0, NULL, NULL, NULL, &timeout), 0);
}

static void wait_futex_timeout(void)
{
	struct timespec timeout = { .tv_nsec = WAIT_NS };
	long got = syscall(SYS_futex, &futex_still, FUTEX_WAIT_PRIVATE, 0, &timeout, NULL, 0);

	if (got != -1 || errno != ETIMEDOUT)
		target_fail("futex returned %ld: %s", got, strerror(errno));
}

static void wait_epoll_timeout(void)
{
	struct epoll_event event;

	expect("epoll_wait", epoll_wait(epoll, &event, 1, WAIT_NS / 1000000), 0);
}

static void wait_child(void)
{
	int status;
	pid_t child = fork();

	if (!child) {
		usleep(WAIT_NS / 1000);
		_exit(7);
	}
	expect("waitpid", waitpid(child, &status, 0), child);
	expect("the child", WEXITSTATUS(status), 7);
}

static void wait_signal(void)
{
	struct timespec timeout = { .tv_nsec = WAIT_NS };

	if (sigtimedwait(&chosen, NULL, &timeout) != -1 || errno != EAGAIN)
		target_fail("sigtimedwait: %s", strerror(errno));
}

/* The kinds that wait for data: the number that comes is the one after the last. */
static void take_number(long got, long number)
{
	static long last;

	expect("reading", got, sizeof(number));
	if (last && number != last + 1)
		target_fail("%ld came after %ld", number, last);
	last = number;
}

static void wait_read(void)
{
	long number = 0;
	long got = read(channel[0], &number, sizeof(number));

	take_number(got, number);
}

static void wait_recv(void)
{
	long number = 0;
	long got = recv(channel[0], &number, sizeof(number), 0);

	take_number(got, number);
}

static void wait_poll(void)
{
	struct pollfd fd = { .fd = channel[0], .events = POLLIN };

	expect("poll", poll(&fd, 1, -1), 1);
	wait_read();
}

static void wait_select(void)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(channel[0], &set);
	expect("select", select(channel[0] + 1, &set, NULL, NULL, NULL), 1);
	wait_read();
}

static void wait_epoll(void)
{
	struct epoll_event event;

	expect("epoll_wait", epoll_wait(epoll, &event, 1, -1), 1);
	wait_read();
}

static void wait_futex(void)
{
	unsigned seen = __atomic_load_n(&futex_word, __ATOMIC_SEQ_CST);
	long got = syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);

	if (got && errno != EAGAIN)
		target_fail("futex returned %ld: %s", got, strerror(errno));
}

static const struct kind {
	const char *name;
	void (*wait)(void);
	int timed, data;
} kinds[] = {
	{ "nanosleep", wait_nanosleep, 1, 0 },
	{ "absolute", wait_absolute, 1, 0 },
	{ "poll-timeout", wait_poll_timeout, 1, 0 },
	{ "select-timeout", wait_select_timeout, 1, 0 },
	{ "futex-timeout", wait_futex_timeout, 1, 0 },
	{ "epoll-timeout", wait_epoll_timeout, 1, 0 },
	{ "child", wait_child, 1, 0 },
	{ "sigtimedwait", wait_signal, 1, 0 },
	{ "read", wait_read, 0, 1 },
	{ "recv", wait_recv, 0, 2 },
	{ "poll", wait_poll, 0, 1 },
	{ "select", wait_select, 0, 1 },
	{ "epoll", wait_epoll, 0, 1 },
	{ "futex", wait_futex, 0, 0 },
};

/* Blocks SIGTERM like everybody here, and asks for it: a handler would cut calls short rightly. */
static void *send_numbers(void *arg)
{
	const struct kind *kind = arg;
	sigset_t term;

	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	for (long number = 1;; number++) {
		struct timespec pause = { .tv_nsec = WAIT_NS };

		if (sigtimedwait(&term, NULL, &pause) == SIGTERM)
			target_stopping = 1;
		target_step(number);
		if (kind->data && write(channel[1], &number, sizeof(number)) != sizeof(number))
			target_fail("cannot send");
		__atomic_fetch_add(&futex_word, 1, __ATOMIC_SEQ_CST);
		if (!kind->timed)
			syscall(SYS_futex, &futex_word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
	}
	return NULL;
}

static const struct kind *find_kind(const char *name)
{
	for (size_t i = 0; name && i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(kinds[i].name, name))
			return &kinds[i];
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		puts(kinds[i].name);
	exit(2);
}

int main(int argc, char **argv)
{
	const struct kind *kind = find_kind(argc > 1 ? argv[1] : NULL);
	struct epoll_event event = { .events = EPOLLIN };
	sigset_t blocked;
	pthread_t thread;
	long rounds = 0;

	if (kind->data == 2 ? socketpair(AF_UNIX, SOCK_DGRAM, 0, channel) : pipe(channel))
		target_fail("no channel");
	epoll = epoll_create1(0);
	if (kind->data && epoll_ctl(epoll, EPOLL_CTL_ADD, channel[0], &event))
		target_fail("epoll_ctl");
	sigemptyset(&chosen);
	sigaddset(&chosen, SIGUSR1);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &blocked, NULL);
	target_start();
	if (pthread_create(&thread, NULL, send_numbers, (void *)(uintptr_t)kind))
		target_fail("no thread");
	for (; !target_stopping; rounds++) {
		uint64_t start = target_now_ns();

		kind->wait();
		target_step(rounds);
		if (kind->timed && target_now_ns() - start < WAIT_NS - 1000000)
			target_fail("%s came back after %lu us", kind->name,
				    (unsigned long)(target_now_ns() - start) / 1000);
	}
	return target_success();
}
