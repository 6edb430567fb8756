/* SPDX-License-Identifier: MIT */
/* What becomes of the targets while they are traced, and of the program that we started. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

#define CHILD_WAIT_MS 1000 /* for a program to end after SIGTERM */

static void say_execed(struct cli *cli, pid_t pid)
{
	char link[32];
	char path[4096];
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/%d/exe", (int)pid);
	length = readlink(link, path, sizeof(path) - 1);
	snprintf(path + (length < 0 ? 0 : length), length < 0 ? sizeof(path) : 1, "%s",
		 length < 0 ? "another program" : "");
	if (!cli->options.follow)
		cli_note(cli, "pid %d executed %s: probes are gone with the old program (-f follows)", (int)pid, path);
	else if (cli->options.verbose)
		cli_note(cli, "pid %d executed %s", (int)pid, path);
}

static void say_exited(struct cli *cli, pid_t pid)
{
	if (pid != cli->child && (!cli->options.follow || cli->options.verbose)) /* its end is told with its status */
		cli_note(cli, "pid %d exited", (int)pid);
}

static void announce(struct cli *cli, const struct session_target *target)
{
	switch (target->state) {
	case SESSION_RUNNING:
	case SESSION_DETACHED:
		break;
	case SESSION_EXITED:
		say_exited(cli, target->pid);
		break;
	case SESSION_EXECED:
		say_execed(cli, target->pid);
		break;
	case SESSION_TAKEN:
		cli_note(cli, "somebody took the probes out of pid %d", (int)target->pid);
		break;
	}
}

bool cli_targets_look(struct cli *cli)
{
	const struct session_target *targets;
	size_t running = session_poll(cli->session);
	size_t count = session_targets(cli->session, &targets);

	if (base_grow(&cli->seen, &cli->seen_cap, count, sizeof(*cli->seen)))
		return running > 0;
	for (; cli->nseen < count; cli->nseen++)
		cli->seen[cli->nseen] = SESSION_RUNNING;
	for (size_t i = 0; i < count; i++) {
		if (cli->seen[i] == targets[i].state)
			continue;
		cli->seen[i] = targets[i].state;
		announce(cli, &targets[i]);
	}
	return running > 0;
}

/* ---- the child ---- */

static void say_status(struct cli *cli, int status)
{
	const char *name = cli->options.args[0];

	if (WIFEXITED(status))
		cli_note(cli, "%s (pid %d) exited with status %d", name, (int)cli->child, WEXITSTATUS(status));
	else if (WIFSIGNALED(status))
		cli_note(cli, "%s (pid %d) was ended by signal %d (%s)", name, (int)cli->child, WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
}

static bool reap(struct cli *cli, int timeout_ms)
{
	const struct timespec pause = { .tv_nsec = 5000000 };
	uint64_t until = base_now_ns() + (uint64_t)timeout_ms * 1000000;
	int status;

	for (;;) {
		pid_t got = waitpid(cli->child, &status, WNOHANG);

		if (got == cli->child) {
			say_status(cli, status);
			return true;
		}
		if (got < 0 && errno != EINTR)
			return true;
		if (base_now_ns() >= until)
			return false;
		nanosleep(&pause, NULL);
	}
}

void cli_child_end(struct cli *cli)
{
	if (!cli->child)
		return;
	if (!reap(cli, cli->stop == CLI_STOP_GONE ? CHILD_WAIT_MS / 10 : 0)) {
		bool execed = !cli->options.follow && cli->nseen && cli->seen[0] == SESSION_EXECED;
		bool taken = cli->nseen && cli->seen[0] == SESSION_TAKEN;

		if ((execed || taken) && cli->stop == CLI_STOP_GONE) {
			cli_note(cli, "%s (pid %d) runs on", cli->options.args[0], (int)cli->child);
			cli->child = 0;
			return;
		}
		kill(cli->child, SIGTERM);
		if (!reap(cli, CHILD_WAIT_MS))
			cli_note(cli, "%s (pid %d) was asked to end (SIGTERM) and still runs", cli->options.args[0],
				 (int)cli->child);
	}
	cli->child = 0;
}
