/* SPDX-License-Identifier: MIT */
/*
 * Stacks of known shapes, built with frame pointers, once as it is written and once optimised (stacks-O2), and once without them (stacks-omit): the
 * same calls on each run, all leading to probed_leaf(). What is wanted of them is what gdb's backtrace says at the same place.
 *
 *   stacks MODE [TIMES]: nest, thread, signal, altstack, deep, junk; loop: nest for ever, until SIGTERM; crowd: from
 * CROWD threads at once, while signals come, whose handler does it too: it prints how often ("calls N")
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#if __has_attribute(noclone)
#define NOINLINE __attribute__((noinline, noclone))
#else
#define NOINLINE __attribute__((noinline))
#endif
#define DEEP 600
#define CROWD 6
#define EVERY_US 300 /* a signal */

static volatile sig_atomic_t ends;
static volatile long sink;
static long calls;

/* Some instructions, a call and memory, so that there is a prologue and something behind it. */
NOINLINE long probed_leaf(long n);
NOINLINE long probed_leaf(long n)
{
	volatile char room[40];

	memset((char *)room, (int)n, sizeof(room));
	sink += room[n & 31] + n;
	return n + 1;
}

NOINLINE static long nest_three(long n)
{
	long result = probed_leaf(n) * 3;

	sink++;
	return result;
}

NOINLINE static long nest_two(long n)
{
	volatile long kept[100] = { n };
	long result = nest_three(n + 1) + kept[0];

	sink++;
	return result;
}

NOINLINE static long nest_one(long n)
{
	long result = nest_two(n) ^ 5;

	sink++;
	return result;
}

NOINLINE static long deep(long n)
{
	long result = n ? deep(n - 1) + 1 : nest_one(n);

	sink++;
	return result;
}

static void *in_thread(void *arg)
{
	sink += nest_one((long)arg);
	return NULL;
}

NOINLINE static void run_thread(long n)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, in_thread, (void *)n) || pthread_join(thread, NULL))
		exit(1);
}

static void on_signal(int signal)
{
	__atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
	sink += nest_one(signal);
}

/* The signal comes right behind the system call, at the same instruction each time. */
NOINLINE static void hit_self(int signal)
{
	long result = SYS_tgkill;

	__asm__ volatile("syscall"
			 : "+a"(result)
			 : "D"((long)getpid()), "S"(syscall(SYS_gettid)), "d"((long)signal)
			 : "rcx", "r11", "memory");
	sink += result;
}

NOINLINE static void run_signal(int flags)
{
	static char room[65536];
	const stack_t stack = { .ss_sp = room, .ss_size = sizeof(room) };
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = flags };

	if ((flags & SA_ONSTACK && sigaltstack(&stack, NULL)) || sigaction(SIGUSR1, &action, NULL))
		exit(1);
	hit_self(SIGUSR1);
	sink++;
}

static void *in_crowd(void *arg)
{
	for (long i = 0; i < (long)arg; i++) {
		__atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
		sink += nest_one(i);
	}
	return NULL;
}

NOINLINE static void run_crowd(long times)
{
	const struct itimerval every = { { 0, EVERY_US }, { 0, EVERY_US } }, never = { { 0, 0 }, { 0, 0 } };
	const struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	pthread_t threads[CROWD];

	if (sigaction(SIGALRM, &action, NULL) || setitimer(ITIMER_REAL, &every, NULL))
		exit(1);
	for (int i = 0; i < CROWD; i++)
		if (pthread_create(&threads[i], NULL, in_crowd, (void *)times))
			exit(1);
	for (int i = 0; i < CROWD; i++)
		pthread_join(threads[i], NULL);
	if (setitimer(ITIMER_REAL, &never, NULL))
		exit(1);
	printf("calls %ld\n", calls);
}

/* A caller that uses %rbp for something else. */
long junk_call(long rbp, long n);
__asm__(".text\n.globl junk_call\n.type junk_call, @function\njunk_call:\n"
	"push %rbp\nmov %rdi, %rbp\nmov %rsi, %rdi\ncall probed_leaf\npop %rbp\nret\n.size junk_call, .-junk_call\n");

static void on_term(int signal)
{
	(void)signal;
	ends = 1;
}

NOINLINE static int run(const char *mode, long n)
{
	static char data[64] __attribute__((aligned(16)));

	if (!strcmp(mode, "nest") || !strcmp(mode, "loop"))
		sink += nest_one(n);
	else if (!strcmp(mode, "thread"))
		run_thread(n);
	else if (!strcmp(mode, "signal"))
		run_signal(0);
	else if (!strcmp(mode, "altstack"))
		run_signal(SA_ONSTACK);
	else if (!strcmp(mode, "deep"))
		sink += deep(DEEP);
	else if (!strcmp(mode, "junk"))
		sink += junk_call(16, n) + junk_call(-8, n) + junk_call(3, n) + junk_call((long)data, n) +
			junk_call(1L << 62, n);
	else
		return 1;
	return 0;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "nest";
	long times = argc > 2 ? atol(argv[2]) : 3;
	int failed = 0;

	if (!strcmp(mode, "crowd")) {
		run_crowd(times);
		puts("EXIT-SUCCESS");
		return 0;
	}
	signal(SIGTERM, on_term);
	printf("%d\n", (int)getpid());
	fflush(stdout);
	for (long i = 0; !ends && !failed && (i < times || !strcmp(mode, "loop")); i++) {
		failed = run(mode, i);
		if (!strcmp(mode, "loop"))
			usleep(1000);
	}
	puts(failed ? "FAILED" : "EXIT-SUCCESS");
	return failed;
}
