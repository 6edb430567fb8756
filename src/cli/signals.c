/* SPDX-License-Identifier: MIT */
/*
 * Signals. Handlers, not SIG_IGN, because a program that we start inherits what is ignored but not what is handled. No
 * SA_RESTART: a signal must end the sleep it meets.
 */
#include <signal.h>
#include <stddef.h>

#include "cli/cli.h"

static volatile sig_atomic_t stop_signal;

static void on_stop(int number)
{
	stop_signal = number;
}

static void on_pipe(int number)
{
	(void)number; /* write(2) says EPIPE */
}

static bool is_ignored(int number)
{
	struct sigaction old;

	return sigaction(number, NULL, &old) == 0 && old.sa_handler == SIG_IGN;
}

void cli_signals(void)
{
	struct sigaction stop = { .sa_handler = on_stop };
	struct sigaction pipe = { .sa_handler = on_pipe };

	sigaction(SIGINT, &stop, NULL);
	sigaction(SIGTERM, &stop, NULL);
	if (!is_ignored(SIGHUP)) /* nohup */
		sigaction(SIGHUP, &stop, NULL);
	sigaction(SIGPIPE, &pipe, NULL);
}

int cli_signal(void)
{
	return stop_signal;
}
