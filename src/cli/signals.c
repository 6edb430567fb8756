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
static volatile sig_atomic_t stray_signal;

static void on_stop(int number)
{
	stop_signal = number;
}

static void on_snapshot(int number)
{
	(void)number;
	snapshot_asked = 1;
}

static void on_stray(int number)
{
	stray_signal = number;
}

static void on_nothing(int number)
{
	(void)number; /* write(2) says EPIPE, or EFBIG; an alarm was somebody else's */
}

/* What is handled already, or ignored for us (nohup), stays so. */
static void handle(int number, void (*handler)(int))
{
	struct sigaction action = { .sa_handler = handler };
	struct sigaction old;

	if (sigaction(number, NULL, &old) == 0 && old.sa_handler == SIG_DFL)
		sigaction(number, &action, NULL);
}

void cli_signals(void)
{
	struct sigaction stop = { .sa_handler = on_stop };
	struct sigaction pipe = { .sa_handler = on_nothing };

	sigaction(SIGINT, &stop, NULL);
	sigaction(SIGTERM, &stop, NULL);
	sigaction(SIGQUIT, &stop, NULL);
	handle(SIGHUP, on_stop);
	handle(SIGUSR1, on_stray);
	handle(SIGUSR2, on_stray);
	handle(SIGALRM, on_nothing);
	sigaction(SIGPIPE, &pipe, NULL);
}

void cli_signals_output(void)
{
	handle(SIGPIPE, on_nothing);
}

void cli_signals_files(void)
{
	handle(SIGXFSZ, on_nothing);
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

int cli_signal_stray(void)
{
	int number = stray_signal;

	if (number)
		stray_signal = 0;
	return number;
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
