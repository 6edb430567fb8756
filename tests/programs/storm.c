/* SPDX-License-Identifier: MIT */
/*
 * A storm of signals. The handler runs on an alternate stack that lies between guarded bytes, most of the time, and
 * leaves every third time by siglongjmp. Usage: storm
 */
#include <setjmp.h>
#include <sys/time.h>

#include "target.h"

#define STACK (64 << 10)
#define GUARD (64 << 10)
#define PATTERN 0x5a

static struct {
	unsigned char below[GUARD];
	unsigned char stack[STACK];
	unsigned char above[GUARD];
} area __attribute__((aligned(4096)));
static sigjmp_buf back;
static volatile long handled;

/* Once: siglongjmp() unblocks the signal while still on the signal stack, and one after the other would fill that. */
static void ask_for_signal(void)
{
	struct itimerval soon = { .it_value = { 0, 100 } };

	setitimer(ITIMER_REAL, &soon, NULL);
}

static void on_alarm(int number)
{
	long n = ++handled;

	(void)number;
	for (long i = 0; i < 4000; i++)
		target_step(n + i);
	if (n % 3 == 0)
		siglongjmp(back, 1);
	ask_for_signal();
}

static void check(const unsigned char *guard, const char *which)
{
	for (int i = 0; i < GUARD; i++)
		if (guard[i] != PATTERN)
			target_fail("the memory %s the signal stack was written to at %d", which, i);
}

int main(void)
{
	struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_ONSTACK | SA_RESTART };
	stack_t stack = { .ss_sp = area.stack, .ss_size = STACK };
	static volatile long rounds;

	memset(area.below, PATTERN, GUARD);
	memset(area.above, PATTERN, GUARD);
	if (sigaltstack(&stack, NULL) || sigaction(SIGALRM, &action, NULL))
		target_fail("no signal stack");
	target_start();
	sigsetjmp(back, 1);
	ask_for_signal();
	while (!target_stopping) {
		for (long i = 0; i < 100; i++)
			target_step(rounds + i);
		rounds++;
		check(area.below, "below");
		check(area.above, "above");
	}
	if (handled < 10)
		target_fail("only %ld signals came", handled);
	return target_success();
}
