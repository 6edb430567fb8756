/* SPDX-License-Identifier: MIT */
/*
 * An instruction that cannot take any jump: it is one byte long, branches lead to it and to the next, and a punned jump would land inside
 * the program itself. What else a trap could disturb is checked all the time: SIGTRAP's action and mask, results, children.
 *
 * Usage: traps [default|blocked|ignored|handled [CALLS]]: with CALLS it makes so many, in three threads and children, and ends.
 */
#include <pthread.h>
#include <sys/wait.h>

#include "target.h"

#define THREADS 3

/* 16, and 1 more when n is even. traps_site is the stc. */
long traps_tight(long n);
__asm__(".pushsection .text\n"
	".globl traps_tight\n\t.type traps_tight, @function\n"
	"traps_tight:\n\t.cfi_startproc\n"
	"\tclc\n\ttestb $1, %dil\n\tjnz 2f\n\ttestb $2, %dil\n\tjnz 1f\n\tnop\n"
	".globl traps_site\n"
	"traps_site:\n"
	"1:\tstc\n"
	"2:\tmov $16, %eax\n\tadc $0, %eax\n\tret\n"
	".cfi_endproc\n\t.size traps_tight, . - traps_tight\n"
	"\t.fill 8192, 1, 0xcc\n" /* where the jump would land */
	".popsection\n");

static const char *mode;
static struct sigaction action;
static volatile long traps;

static void on_trap(int number)
{
	(void)number;
	traps++;
}

static void check_signal(void)
{
	struct sigaction now;
	sigset_t mask;

	sigaction(SIGTRAP, NULL, &now);
	sigprocmask(SIG_BLOCK, NULL, &mask);
	if (now.sa_handler != action.sa_handler)
		target_fail("the action for SIGTRAP was changed");
	if (sigismember(&mask, SIGTRAP) != !strcmp(mode, "blocked"))
		target_fail("the signal mask was changed");
}

static void call(long n)
{
	long got = traps_tight(n);

	if (got != 17 - (n & 1))
		target_fail("traps_tight(%ld) returned %ld", n, got);
}

static void *call_many(void *arg)
{
	for (long i = 0; i < (long)(intptr_t)arg; i++) {
		call(i);
		if (i % 16 == 0)
			check_signal();
	}
	return NULL;
}

/* A call more in a child; it is its own. */
static void fork_one(void)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		call(4);
		check_signal();
		_exit(7);
	}
	if (pid > 0 && (waitpid(pid, &status, 0) != pid || status != 7 << 8))
		target_fail("a child ended with %x", (unsigned)status);
}

static void run_counted(long calls)
{
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, call_many, (void *)(intptr_t)calls))
			target_fail("no thread");
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 10; i++)
		fork_one();
}

int main(int argc, char **argv)
{
	sigset_t set;

	mode = argc > 1 ? argv[1] : "default";
	action.sa_handler = !strcmp(mode, "ignored") ? SIG_IGN : !strcmp(mode, "default") ? SIG_DFL : on_trap;
	sigemptyset(&set);
	sigaddset(&set, SIGTRAP);
	sigaction(SIGTRAP, &action, NULL);
	if (!strcmp(mode, "blocked"))
		sigprocmask(SIG_BLOCK, &set, NULL);
	if (argc > 2) {
		run_counted(atol(argv[2]));
		return target_success();
	}
	target_start();
	for (long i = 0; !target_stopping; i++) {
		call(i);
		check_signal();
		if (!strcmp(mode, "handled") && i % 64 == 0) {
			long before = traps;

			raise(SIGTRAP);
			if (traps != before + 1)
				target_fail("a SIGTRAP of its own was lost");
		}
		if (i % 512 == 0)
			fork_one();
		usleep(100);
	}
	return target_success();
}
