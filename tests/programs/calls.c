/* SPDX-License-Identifier: MIT */
/*
 * Calls that end in every way there is. Usage: calls MODE COUNTS-FILE. Each function named probed_* counts its entries, its returns and its
 * tail calls itself, also in forked children; at the end the sums stand in COUNTS-FILE, and what was computed on standard output, which
 * does not depend on how the threads took turns.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define PROBED __attribute__((noinline, noclone, used))
#define DEPTH 100000
#define STACK (64UL << 10)
#define COROUTINES 6
#define TURNS 200
#define ROUNDS 300

struct counts {
	atomic_ulong entered, returned, tailed;
	atomic_long results; /* sum of what probed_value() returned */
};
static struct counts *counts;

static void entered(void) { atomic_fetch_add_explicit(&counts->entered, 1, memory_order_relaxed); }
static void returned(void) { atomic_fetch_add_explicit(&counts->returned, 1, memory_order_relaxed); }
static void tailed(void) { atomic_fetch_add_explicit(&counts->tailed, 1, memory_order_relaxed); }

/* ---- plain calls ---- */

PROBED static long probed_value(long n)
{
	long result = n * 7 - 3;

	entered();
	if (n % 3 == 0)
		result = -result;
	atomic_fetch_add(&counts->results, result);
	returned();
	return result;
}

PROBED static long probed_tail(long n)
{
	entered();
	tailed();
	return probed_value(n + 1);
}

PROBED static long probed_maybe_tail(long n)
{
	entered();
	if (n & 1) {
		tailed();
		return probed_value(n);
	}
	returned();
	return n;
}

static void *plain(void *arg)
{
	long *sum = arg;

	for (long i = 0; i < 3000; i++)
		*sum += probed_value(i) + probed_tail(i) + probed_maybe_tail(i);
	return NULL;
}

static long run_plain(void)
{
	long sum = 0;

	plain(&sum);
	return sum;
}

static long run_threads(void)
{
	pthread_t threads[8];
	long sums[8] = { 0 };
	long sum = 0;

	for (int i = 0; i < 8; i++)
		pthread_create(&threads[i], NULL, plain, &sums[i]);
	for (int i = 0; i < 8; i++) {
		pthread_join(threads[i], NULL);
		sum += sums[i];
	}
	return sum;
}

PROBED static long probed_sleep(long ms)
{
	struct timespec wait = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	entered();
	while (nanosleep(&wait, &wait))
		;
	returned();
	return ms;
}

static long run_sleep(void) { return probed_sleep(30) + probed_sleep(30); }

/* ---- recursion ---- */

PROBED static long probed_recursion(long n)
{
	long result = 0;

	entered();
	if (n)
		result = probed_recursion(n - 1) + 1;
	returned();
	return result;
}

static void *recursion(void *arg)
{
	*(long *)arg = probed_recursion(DEPTH);
	return NULL;
}

static long run_recursion(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	long result = 0;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 128UL << 20);
	pthread_create(&thread, &attr, recursion, &result);
	pthread_join(thread, NULL);
	return result;
}

/* ---- longjmp ---- */

static jmp_buf home;
static volatile bool always = true; /* the compiler is not to see that some calls never return */

PROBED static long probed_jumper(long n)
{
	long result;

	entered();
	if (!n && always)
		longjmp(home, 1);
	result = n ? probed_jumper(n - 1) + 1 : 0;
	returned();
	return result;
}

PROBED static long probed_catcher(long n)
{
	entered();
	if (!setjmp(home))
		probed_jumper(n);
	returned();
	return n;
}

static long run_longjmp(void)
{
	long sum = 0;

	for (long i = 0; i < ROUNDS; i++)
		sum += probed_catcher(i % 20);
	return sum;
}

/* ---- coroutines: two threads resume whichever waits longest ---- */

struct coroutine {
	ucontext_t self, *back;
	long turns, sum;
	bool done;
};
static struct coroutine coroutines[COROUTINES];
static struct coroutine *queue[COROUTINES];
static size_t nqueue;
static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;

PROBED static void probed_yield(struct coroutine *co)
{
	entered();
	swapcontext(&co->self, co->back);
	returned();
}

PROBED static long probed_turn(struct coroutine *co, long n)
{
	long value;

	entered();
	value = probed_value(n);
	probed_yield(co);
	value += probed_value(n + 1);
	returned();
	return value;
}

static void coroutine_main(int index)
{
	struct coroutine *co = &coroutines[index];

	for (; co->turns < TURNS; co->turns++)
		co->sum += probed_turn(co, co->turns);
	co->done = true;
	setcontext(co->back);
}

static struct coroutine *take(void)
{
	struct coroutine *co = NULL;

	pthread_mutex_lock(&queue_lock);
	if (nqueue) {
		co = queue[0];
		memmove(queue, queue + 1, --nqueue * sizeof(*queue));
	}
	pthread_mutex_unlock(&queue_lock);
	return co;
}

static void put(struct coroutine *co)
{
	pthread_mutex_lock(&queue_lock);
	queue[nqueue++] = co;
	pthread_mutex_unlock(&queue_lock);
}

static atomic_int unfinished;

static void *scheduler(void *arg)
{
	ucontext_t mine;

	(void)arg;
	while (atomic_load(&unfinished)) {
		struct coroutine *co = take();

		if (!co) {
			sched_yield();
			continue;
		}
		co->back = &mine;
		swapcontext(&mine, &co->self);
		if (co->done)
			atomic_fetch_sub(&unfinished, 1);
		else
			put(co);
	}
	return NULL;
}

static long run_coroutines(void)
{
	static char stacks[COROUTINES][STACK];
	pthread_t threads[2];
	long sum = 0;

	for (int i = 0; i < COROUTINES; i++) {
		struct coroutine *co = &coroutines[i];

		getcontext(&co->self);
		co->self.uc_stack.ss_sp = stacks[i];
		co->self.uc_stack.ss_size = STACK;
		makecontext(&co->self, (void (*)(void))coroutine_main, 1, i);
		put(co);
	}
	unfinished = COROUTINES;
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, scheduler, NULL);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < COROUTINES; i++)
		sum += coroutines[i].sum;
	return sum;
}

/* ---- signals: a handler that is probed, now and then one that jumps away ---- */

static sigjmp_buf landing;
static volatile sig_atomic_t may_jump, nsignals;

PROBED static void probed_handler(int number)
{
	entered();
	nsignals = nsignals + 1;
	if (may_jump && nsignals % 7 == 0)
		siglongjmp(landing, 1);
	probed_value(number);
	returned();
}

PROBED static long probed_busy(long n)
{
	volatile long sum = 0;

	entered();
	for (long i = 0; i < n; i++)
		sum += i;
	returned();
	return sum;
}

static long run_signals(void)
{
	struct itimerval every = { { 0, 300 }, { 0, 300 } };
	struct sigaction action;
	stack_t stack = { .ss_size = 65536, .ss_sp = malloc(65536) };
	volatile long sum = 0;

	memset(&action, 0, sizeof(action));
	action.sa_handler = probed_handler;
	action.sa_flags = SA_ONSTACK | SA_RESTART;
	sigaltstack(&stack, NULL);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
	for (int i = 0; i < 3000; i++) {
		sum = sum + probed_busy(500);
		may_jump = 0;
		if (!sigsetjmp(landing, 1)) {
			may_jump = 1;
			for (volatile int k = 0; k < 2000; k++)
				;
		}
		may_jump = 0;
	}
	every = (struct itimerval){ 0 };
	setitimer(ITIMER_REAL, &every, NULL);
	signal(SIGALRM, SIG_IGN);
	return sum;
}

/* ---- cancellation ---- */

static atomic_int waiting;

PROBED static long probed_wait(long n)
{
	long result = 0;

	entered();
	if (n) {
		result = probed_wait(n - 1) + 1;
	} else {
		atomic_store(&waiting, 1);
		while (always)
			pause();
	}
	returned();
	return result;
}

static void *canceled(void *arg)
{
	(void)arg;
	probed_wait(10);
	return NULL;
}

static long run_cancel(void)
{
	long sum = 0;

	for (int i = 0; i < 20; i++) {
		pthread_t thread;
		void *result;

		atomic_store(&waiting, 0);
		pthread_create(&thread, NULL, canceled, NULL);
		while (!atomic_load(&waiting))
			sched_yield();
		pthread_cancel(thread);
		pthread_join(thread, &result);
		sum += result == PTHREAD_CANCELED;
	}
	return sum;
}

/* ---- processes ---- */

PROBED static long probed_child(long n)
{
	entered();
	returned();
	return n & 63;
}

PROBED static long probed_spawner(long n, bool shares)
{
	int status = 0;
	pid_t child;

	entered();
	child = shares ? vfork() : fork();
	if (!child)
		_exit((int)probed_child(n));
	waitpid(child, &status, 0);
	returned();
	return WEXITSTATUS(status);
}

static long run_vfork(void)
{
	long sum = 0;

	for (long i = 0; i < 50; i++)
		sum += probed_spawner(i, true);
	return sum;
}

/* Both processes return from it: the child has its parent's frames. */
PROBED static pid_t probed_fork(void)
{
	pid_t child;

	entered();
	child = fork();
	returned();
	return child;
}

static long run_fork(void)
{
	long sum = 0;

	for (long i = 0; i < 20; i++) {
		int status = 0;
		pid_t child = probed_fork();

		if (!child)
			_exit((int)probed_child(i));
		waitpid(child, &status, 0);
		sum += WEXITSTATUS(status) + probed_spawner(i, false);
	}
	return sum;
}

/* ---- a stack to look at ---- */

PROBED static long probed_pause(long n)
{
	long result = n;

	entered();
	if (n)
		result += probed_pause(n - 1);
	else
		pause();
	returned();
	return result;
}

static void on_term(int number) { (void)number; }

static long run_pause(void)
{
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_handler = on_term;
	sigaction(SIGTERM, &action, NULL);
	printf("%d\n", getpid());
	fflush(stdout);
	return probed_pause(5);
}

static const struct {
	const char *name;
	long (*run)(void);
} modes[] = {
	{ "plain", run_plain },	    { "threads", run_threads }, { "sleep", run_sleep },	    { "recursion", run_recursion },
	{ "longjmp", run_longjmp }, { "signals", run_signals }, { "cancel", run_cancel }, { "coroutines", run_coroutines },
	{ "vfork", run_vfork },	    { "fork", run_fork },	{ "pause", run_pause },
};

static int write_counts(const char *path)
{
	FILE *out = fopen(path, "w");

	if (!out)
		return 1;
	fprintf(out, "entered=%lu returned=%lu tailed=%lu results=%ld\n", counts->entered, counts->returned, counts->tailed,
		counts->results);
	return fclose(out) ? 1 : 0;
}

int main(int argc, char **argv)
{
	counts = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (argc != 3 || counts == MAP_FAILED)
		return 2;
	for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
		if (strcmp(argv[1], modes[i].name) != 0)
			continue;
		printf("%s %ld\n", argv[1], modes[i].run());
		fflush(stdout);
		return write_counts(argv[2]);
	}
	return 2;
}
