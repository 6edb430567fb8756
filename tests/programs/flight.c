/* SPDX-License-Identifier: MIT */
/*
 * For the flight recorder: threads call flight_step(thread, n) with n = 1, 2, 3 .. as quickly as they can, and say in
 * a file how far they have come: before[thread] = n, the call, after[thread] = n. So whoever finds the file after the
 * program's death knows which call was the last. SIGUSR1 makes the first thread call flight_alarm(n) once; SIGUSR2
 * makes it write to address 0.
 *
 *   flight FILE [THREADS [PAUSE]]      PAUSE: microseconds of sleep after every hundred calls
 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>

#include "target.h"

#define THREADS_MAX 64

struct progress {
	uint64_t before[THREADS_MAX];
	uint64_t after[THREADS_MAX];
};

static struct progress *progress;
static volatile sig_atomic_t alarm_wanted, crash_wanted;
static unsigned pause_us;

long flight_step(long thread, long n);
long flight_alarm(long n);

__attribute__((noinline)) long flight_step(long thread, long n)
{
	__asm__ volatile("" ::: "memory");
	return thread * 3 + (n ^ 5);
}

__attribute__((noinline)) long flight_alarm(long n)
{
	__asm__ volatile("" ::: "memory");
	return n * 7 - 1;
}

static void on_signal(int number)
{
	if (number == SIGUSR1)
		alarm_wanted = 1;
	else
		crash_wanted = 1;
}

static void look_at_wishes(long n)
{
	if (alarm_wanted) {
		alarm_wanted = 0;
		if (flight_alarm(n) != n * 7 - 1)
			target_fail("wrong result of flight_alarm");
	}
	if (crash_wanted)
		*(volatile int *)(uintptr_t)(crash_wanted - 1) = 1;
}

static void *fly(void *arg)
{
	long thread = (long)arg;

	for (long n = 1; !target_stopping; n++) {
		__atomic_store_n(&progress->before[thread], (uint64_t)n, __ATOMIC_RELEASE);
		if (flight_step(thread, n) != thread * 3 + (n ^ 5))
			target_fail("wrong result of flight_step(%ld, %ld)", thread, n);
		__atomic_store_n(&progress->after[thread], (uint64_t)n, __ATOMIC_RELEASE);
		if (thread == 0)
			look_at_wishes(n);
		if (pause_us && n % 100 == 0)
			usleep(pause_us);
	}
	return NULL;
}

static struct progress *open_progress(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	void *memory;

	if (fd < 0 || ftruncate(fd, sizeof(struct progress)))
		target_fail("%s: %s", path, strerror(errno));
	memory = mmap(NULL, sizeof(struct progress), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		target_fail("%s: %s", path, strerror(errno));
	close(fd);
	return memory;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	long count = argc > 2 ? atol(argv[2]) : 1;
	pthread_t threads[THREADS_MAX];

	if (argc < 2 || count < 1 || count > THREADS_MAX)
		target_fail("usage: flight FILE [THREADS]");
	pause_us = argc > 3 ? (unsigned)atoi(argv[3]) : 0;
	progress = open_progress(argv[1]);
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGUSR2, &action, NULL);
	target_start();
	for (long i = 1; i < count; i++)
		if (pthread_create(&threads[i], NULL, fly, (void *)i))
			target_fail("pthread_create: %s", strerror(errno));
	fly((void *)0);
	for (long i = 1; i < count; i++)
		pthread_join(threads[i], NULL);
	return target_success();
}
