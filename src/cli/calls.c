/* SPDX-License-Identifier: MIT */
#include "cli/calls.h"

#include <inttypes.h>

#include "process/process.h"

#define CALLS_OPEN (1U << 20) /* at a time: 64 MiB; a stack of usual size holds some 100,000 frames */

int cli_calls_create(trace_call_fn *fn, void *arg, struct trace_frames **ret)
{
	return trace_frames_create(CALLS_OPEN, fn, arg, ret);
}

/* Children that inherited the probes have numbers of their own. */
static bool is_gone(void *arg, uint32_t source, uint32_t pid)
{
	const struct cli *cli = arg;
	const struct session_target *targets;
	size_t count = session_targets(cli->session, &targets);

	if (source < count && targets[source].pid == (pid_t)pid)
		return targets[source].state == SESSION_EXITED || targets[source].state == SESSION_EXECED;
	return process_has_ended((pid_t)pid);
}

int cli_calls_end(struct cli *cli, struct trace_frames *frames)
{
	return trace_frames_end(frames, is_gone, cli, cli->ended_ns);
}

void cli_calls_note(struct cli *cli, const struct trace_frames *frames)
{
	struct trace_frames_stats stats;

	trace_frames_stats(frames, &stats);
	cli_note(cli,
		 "%" PRIu64 " calls entered; %" PRIu64 " returns, %" PRIu64 " tail calls, %" PRIu64 " abandoned, %" PRIu64
		 " still open",
		 stats.entries, stats.returned, stats.tailed, stats.abandoned, stats.open);
	if (stats.unpaired)
		cli_note(cli, "%" PRIu64 " of the returns and tail calls are of calls whose entry was not seen: before the attach, "
			 "before a fork, or lost",
			 stats.unpaired);
	if (stats.dropped)
		cli_note(cli, "%" PRIu64 " calls were not followed: %u were open at once", stats.dropped, CALLS_OPEN);
	if (cli_lost(cli) && stats.abandoned)
		cli_note(cli, "records were lost: a call whose return was lost counts as abandoned");
}
