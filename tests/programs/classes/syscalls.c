/* SPDX-License-Identifier: MIT */
/*
 * Callers blocked in system calls of libc functions that are probed, at all their instructions, the system call itself included: while
 * they wait probes come and go. No call may come back early, fail or lose data. Usage: syscalls [ROUNDS]
 */
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "class.h"

#define PAUSE_NS 2000000L

static int channel[2], socket_pair[2];

long syscalls_raw(long number, long a, long b, long c, long d);

__asm__(".text\n.p2align 4\n.globl syscalls_raw\n.type syscalls_raw, @function\n"
	"syscalls_raw:\n"
	"	.cfi_startproc\n"
	"	mov %rdi, %rax\n"
	"	mov %rsi, %rdi\n"
	"	mov %rdx, %rsi\n"
	"	mov %rcx, %rdx\n"
	"	mov %r8, %r10\n"
	"	syscall\n"
	"	ret\n"
	"	.cfi_endproc\n"
	"	.size syscalls_raw, .-syscalls_raw\n.p2align 4\n");

static void expect(const char *what, long got, long want)
{
	if (got != want)
		target_fail("%s gave %ld, not %ld: %s", what, got, want, strerror(errno));
}

static void sleep_once(int raw)
{
	struct timespec pause = { .tv_nsec = PAUSE_NS };
	uint64_t start = target_now_ns();

	if (raw)
		expect("the system call nanosleep", syscalls_raw(SYS_nanosleep, (long)&pause, 0, 0, 0), 0);
	else
		expect("nanosleep", nanosleep(&pause, NULL), 0);
	if (target_now_ns() - start < PAUSE_NS)
		target_fail("nanosleep came back early");
}

/* SIGTERM is blocked everywhere, and asked for here: a handler would cut calls short rightly. */
__attribute__((noreturn)) static void *send_numbers(void *arg)
{
	const sigset_t *term = arg;

	for (long n = 1;; n++) {
		struct timespec pause = { .tv_nsec = PAUSE_NS }, none = { 0 };

		if (sigtimedwait(term, NULL, &none) == SIGTERM)
			target_stopping = 1;
		nanosleep(&pause, NULL);
		expect("write", write(channel[1], &n, sizeof(n)), sizeof(n));
		expect("send", send(socket_pair[1], &n, sizeof(n), 0), sizeof(n));
	}
}

static void receive(long n)
{
	struct pollfd fd = { .fd = socket_pair[0], .events = POLLIN };
	long got = 0;

	if (n & 1)
		expect("read", read(channel[0], &got, sizeof(got)), sizeof(got));
	else
		expect("the system call read", syscalls_raw(SYS_read, channel[0], (long)&got, sizeof(got), 0), sizeof(got));
	expect("the number read", got, n);
	expect("poll", poll(&fd, 1, -1), 1);
	expect("recv", recv(socket_pair[0], &got, sizeof(got), 0), sizeof(got));
	expect("the number received", got, n);
}

int main(int argc, char **argv)
{
	sigset_t term;
	pthread_t thread;
	long n = 0, raw = 0;

	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &term, NULL);
	if (pipe(channel) || socketpair(AF_UNIX, SOCK_DGRAM, 0, socket_pair))
		target_fail("no channel");
	class_start(argc, argv);
	if (pthread_create(&thread, NULL, send_numbers, &term))
		target_fail("no thread");
	while (class_goes_on()) {
		receive(++n);
		raw += !(n & 1);
		if (n % 4 == 0) {
			sleep_once(1);
			sleep_once(0);
			raw++;
		}
	}
	class_told("syscalls_raw", raw);
	return target_success();
}
