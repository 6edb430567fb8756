/* SPDX-License-Identifier: MIT */
/*
 * Threads that stay inside functions that are probed for as long as the program runs, each kind in a call of its own: a system call made
 * in the function itself, in libc's wrappers, a condition variable, a semaphore, a function that waits by calling itself. The main thread
 * works on. On SIGTERM all are let go and must come back with the right result. Usage: hang
 */
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include "class.h"

#define DEPTH 50

static int channel[2]; /* readable for ever once the program ends */
static int epoll;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int over;
static sem_t semaphore;
static long inside;

long hang_syscall(long n), hang_poll(long n), hang_epoll(long n), hang_cond(long n), hang_semaphore(long n), hang_deep(long n);
long hang_down(long depth, long n);

static void enter(void)
{
	__atomic_fetch_add(&inside, 1, __ATOMIC_SEQ_CST);
}

/* poll(2), by a system call instruction in a function of ours. */
CLASS_FUNCTION long hang_syscall(long n)
{
	struct pollfd fd = { .fd = channel[0], .events = POLLIN };
	register long timeout __asm__("rdx") = -1;
	long got = SYS_poll;

	enter();
	__asm__ volatile("syscall" : "+a"(got) : "D"(&fd), "S"(1), "r"(timeout) : "rcx", "r11", "memory");
	return got + n;
}

CLASS_FUNCTION long hang_poll(long n)
{
	struct pollfd fd = { .fd = channel[0], .events = POLLIN };

	enter();
	return poll(&fd, 1, -1) + n;
}

CLASS_FUNCTION long hang_epoll(long n)
{
	struct epoll_event event;

	enter();
	return epoll_wait(epoll, &event, 1, -1) + n;
}

CLASS_FUNCTION long hang_cond(long n)
{
	enter();
	pthread_mutex_lock(&lock);
	while (!over)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
	return n + 1;
}

CLASS_FUNCTION long hang_semaphore(long n)
{
	enter();
	while (sem_wait(&semaphore))
		;
	return n + 1;
}

CLASS_FUNCTION long hang_down(long depth, long n)
{
	volatile long here = depth;

	return depth ? hang_down(depth - 1, n) + here - depth : hang_poll(n);
}

CLASS_FUNCTION long hang_deep(long n)
{
	return hang_down(DEPTH, n);
}

static long (*const kinds[])(long) = { hang_syscall, hang_poll, hang_epoll, hang_cond, hang_semaphore, hang_deep };
#define KINDS (long)(sizeof(kinds) / sizeof(kinds[0]))

static void *stay(void *arg)
{
	long n = (long)arg;
	long got = kinds[n % KINDS](n);

	if (got != n + 1)
		target_fail("kind %ld came back with %ld, not %ld", n % KINDS, got, n + 1);
	return NULL;
}

int main(void)
{
	pthread_t threads[3 * KINDS];
	struct epoll_event event = { .events = EPOLLIN };
	struct timespec pause = { .tv_nsec = 1000000 };

	epoll = epoll_create1(0);
	if (pipe(channel) || epoll_ctl(epoll, EPOLL_CTL_ADD, channel[0], &event) || sem_init(&semaphore, 0, 0))
		target_fail("no channel");
	for (long i = 0; i < 3 * KINDS; i++)
		if (pthread_create(&threads[i], NULL, stay, (void *)i))
			target_fail("no thread");
	while (__atomic_load_n(&inside, __ATOMIC_SEQ_CST) < 3 * KINDS)
		nanosleep(&pause, NULL);
	target_start();
	for (long i = 0; !target_stopping; i++) {
		target_step(i);
		nanosleep(&pause, NULL);
	}
	pthread_mutex_lock(&lock);
	over = 1;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	for (long i = 0; i < 3 * KINDS; i++)
		sem_post(&semaphore);
	if (write(channel[1], "x", 1) != 1)
		target_fail("cannot write");
	for (long i = 0; i < 3 * KINDS; i++)
		pthread_join(threads[i], NULL);
	return target_success();
}
