/* SPDX-License-Identifier: MIT */
/*
 * Signals. Handlers, not SIG_IGN, because a program that we start inherits what is ignored but not what is handled. No
 * SA_RESTART: a signal must end the sleep it meets.
 */
#include <signal.h>
#include <stddef.h>

#include "cli/cli.h"

static volatile sig_atomic_t stop_signal;
static volatile sig_atomic_t snapshot_asked;

static void on_stop(int number)
{
	stop_signal = number;
}

static void on_snapshot(int number)
{
	(void)number;
	snapshot_asked = 1;
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

static void on_child(int number)
{
	(void)number; /* the sleep ends */
}

void cli_signals_children(void)
{
	struct sigaction child = { .sa_handler = on_child };

	sigaction(SIGCHLD, &child, NULL);
}

int cli_signal(void)
{
	return stop_signal;
}

void cli_signals_snapshot(void)
{
	struct sigaction snapshot = { .sa_handler = on_snapshot };

	sigaction(SIGUSR2, &snapshot, NULL);
}

bool cli_signal_snapshot(void)
{
	bool asked = snapshot_asked;

	if (asked)
		snapshot_asked = 0; /* one that comes just now means the snapshot that is about to be made */
	return asked;
}
