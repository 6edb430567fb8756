/* SPDX-License-Identifier: MIT */
/* SIGTRAP belongs to the program: blocked, ignored or handled, it is so at the end as at the start. Usage: sigtrap
 * blocked|ignored|handled */
#include "target.h"

static volatile long traps;

static void on_trap(int number)
{
	(void)number;
	traps++;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "handled";
	struct sigaction action = { .sa_handler = !strcmp(mode, "ignored") ? SIG_IGN : on_trap };
	struct sigaction now;
	sigset_t set, mask;
	long raised = 0;

	sigemptyset(&set);
	sigaddset(&set, SIGTRAP);
	sigaction(SIGTRAP, &action, NULL);
	if (!strcmp(mode, "blocked"))
		sigprocmask(SIG_BLOCK, &set, NULL);
	target_start();
	for (long i = 0; !target_stopping; i++) {
		target_step(i);
		if (i % 4096 == 0) {
			raised++;
			raise(SIGTRAP);
			usleep(100);
		}
	}
	sigprocmask(SIG_BLOCK, NULL, &mask);
	sigaction(SIGTRAP, NULL, &now);
	if (now.sa_handler != action.sa_handler)
		target_fail("the disposition of SIGTRAP was changed");
	if (sigismember(&mask, SIGTRAP) != !strcmp(mode, "blocked"))
		target_fail("the signal mask was changed");
	if (traps != (!strcmp(mode, "handled") ? raised : 0))
		target_fail("%ld of %ld traps came", traps, raised);
	return target_success();
}
