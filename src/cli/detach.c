/* SPDX-License-Identifier: MIT */
/* utap detach: takes out what a utap that is gone left behind. */
#include <errno.h>
#include <inttypes.h>

#include "cli/cli.h"

static void note(struct cli *cli, pid_t pid, const struct session_report *report)
{
	if (!report->sites && !report->kept && !report->memory_kept && !report->text_checked) {
		cli_note(cli, "pid %d: nothing of utap is there", (int)pid);
		return;
	}
	cli_note(cli, "pid %d: %zu place%s restored; %" PRIu64 " bytes of text compared with the files: %s", (int)pid,
		 report->sites, report->sites == 1 ? "" : "s", report->text_checked,
		 report->text_foreign ? "others changed some of it" : "equal");
	if (report->kept)
		cli_note(cli, "pid %d: %zu place%s left as somebody else changed %s: the jump there passes through",
			 (int)pid, report->kept, report->kept == 1 ? " was" : "s were",
			 report->kept == 1 ? "it" : "them");
	if (report->memory_kept)
		cli_note(cli, "pid %d: %" PRIu64 " KiB stay mapped: a thread may still be on its way through them",
			 (int)pid, report->memory_kept / 1024);
}

/* All processes are tried; the first failure decides the exit code. */
int cli_detach(struct cli *cli)
{
	struct utap_error err = { 0 };
	int code = 0;

	if (!cli->options.npids || cli->options.nargs) {
		base_error(&err, -EINVAL, UTAP_ERROR_USAGE, "processes are expected: -p PID; see utap detach --help");
		return cli_fail(cli, &err);
	}
	cli_signals();
	for (size_t i = 0; i < cli->options.npids; i++) {
		struct session_report report = { 0 };
		pid_t pid = cli->options.pids[i];

		if (session_clean(pid, cli->options.force, &report, &err)) {
			int failed = cli_fail(cli, &err);

			code = code ? code : failed;
		} else {
			note(cli, pid, &report);
		}
	}
	return code;
}
