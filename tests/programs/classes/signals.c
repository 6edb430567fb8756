/* SPDX-License-Identifier: MIT */
/*
 * Signals in probed code: a timer interrupts two threads some thousand times a second, wherever they are; the handler calls the functions
 * that it interrupts, nested up to four deep. Every call is counted by the program. Usage: signals [ROUNDS]
 */
#include <pthread.h>
#include <sys/time.h>

#include "class.h"

#define STEPS 2000
#define SIGNALS 4

static const int numbers[SIGNALS] = { SIGALRM, SIGUSR1, SIGUSR2, SIGVTALRM };
static long steps, handled, deepest;
static __thread long depth;

long signals_step(long n);
void signals_handler(int number, siginfo_t *info, void *context);

CLASS_FUNCTION long signals_step(long n)
{
	volatile long sum = n;

	__atomic_fetch_add(&steps, 1, __ATOMIC_RELAXED);
	for (long i = 0; i < (n & 3); i++)
		sum += n;
	return sum;
}

static void check_step(long n)
{
	if (signals_step(n) != n + (n & 3) * n)
		target_fail("a wrong result");
}

/* Each handler raises the next signal: they nest. */
void signals_handler(int number, siginfo_t *info, void *context)
{
	long n = __atomic_fetch_add(&handled, 1, __ATOMIC_RELAXED);
	int saved = errno;

	(void)context;
	if (info->si_signo != number)
		target_fail("the information about a signal is wrong");
	depth++;
	for (long i = 0; i < 50; i++)
		check_step(n + i);
	if (depth < SIGNALS && number != numbers[SIGNALS - 1])
		for (int i = 0; i + 1 < SIGNALS; i++)
			if (numbers[i] == number)
				raise(numbers[i + 1]);
	if (depth > deepest)
		deepest = depth;
	depth--;
	errno = saved;
}

static void *work(void *arg)
{
	for (long i = 0; i < STEPS; i++)
		check_step((long)arg + i);
	return NULL;
}

int main(int argc, char **argv)
{
	struct itimerval often = { { 0, 300 }, { 0, 300 } }, never = { 0 };
	long rounds = 0;

	for (int i = 0; i < SIGNALS; i++) {
		struct sigaction action = { .sa_sigaction = signals_handler, .sa_flags = SA_SIGINFO | SA_RESTART };

		sigaction(numbers[i], &action, NULL);
	}
	class_start(argc, argv);
	setitimer(ITIMER_REAL, &often, NULL);
	for (; class_goes_on(); rounds++) {
		pthread_t thread;
		int failed = pthread_create(&thread, NULL, work, (void *)rounds);

		if (failed)
			target_fail("no thread: %s", strerror(failed));
		work((void *)(rounds + 1));
		pthread_join(thread, NULL);
	}
	setitimer(ITIMER_REAL, &never, NULL);
	fprintf(stderr, "%ld signals, nested up to %ld deep\n", handled, deepest);
	class_told("signals_step", steps);
	class_told("signals_handler", handled);
	return target_success();
}
