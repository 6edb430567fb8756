/* SPDX-License-Identifier: MIT */
/*
 * Functions that are left by longjmp, and setjmp that returns twice: out of 30 frames, out of a signal handler that interrupted anything,
 * again and again to the same place, with and without the signal mask. Usage: longjmp [ROUNDS]
 */
#include <setjmp.h>
#include <sys/time.h>

#include "class.h"

static jmp_buf back;
static sigjmp_buf signal_back;
static volatile long downs, leaves, tries, spun;
static volatile int spinning;

long jump_down(long depth, long n);
long jump_try(long n);
long jump_spin(long n);
_Noreturn void jump_leave(long n);

CLASS_FUNCTION void jump_leave(long n)
{
	leaves++;
	longjmp(back, (int)(n % 1000) + 1);
}

CLASS_FUNCTION long jump_down(long depth, long n)
{
	volatile long kept = depth * n;

	downs++;
	if (depth)
		return jump_down(depth - 1, n) + kept;
	jump_leave(n);
}

CLASS_FUNCTION long jump_try(long n)
{
	volatile long again = 0;
	int got = setjmp(back);

	tries += !got;
	if (got && again++ == 3)
		return got - 1;
	jump_down(30, n);
	return -1;
}

/* Runs until a signal's handler jumps out of it. */
CLASS_FUNCTION long jump_spin(long n)
{
	for (spun = 0;; spun++)
		target_step(n + spun);
}

static void on_alarm(int number)
{
	(void)number;
	if (!spinning)
		return;
	spinning = 0;
	siglongjmp(signal_back, 7);
}

static void interrupt(long n)
{
	struct itimerval soon = { .it_value = { 0, 50 + n % 100 } };
	int got = sigsetjmp(signal_back, 1);

	if (!got) {
		spinning = 1;
		setitimer(ITIMER_REAL, &soon, NULL);
		jump_spin(n);
	}
	if (got != 7)
		target_fail("siglongjmp gave %d", got);
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_alarm };

	sigaction(SIGALRM, &action, NULL);
	class_start(argc, argv);
	for (long n = 0; class_goes_on(); n++) {
		if (jump_try(n) != n % 1000)
			target_fail("longjmp gave a wrong value");
		interrupt(n);
	}
	class_told("jump_down", downs);
	class_told("jump_leave", leaves);
	class_told("jump_try", tries);
	return target_success();
}
