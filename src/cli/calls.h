/* SPDX-License-Identifier: MIT */
/* Calls put together for a command: trace --duration, trace --graph, stat --latency. */
#ifndef CLI_CALLS_H
#define CLI_CALLS_H

#include "cli/cli.h"
#include "trace/frames.h"

/** cli_calls_create() - @fn is called for each end of a call, with @arg */
int cli_calls_create(trace_call_fn *fn, void *arg, struct trace_frames **ret) BASE_MUST_CHECK;

/** cli_calls_end() - after the run: the open calls of processes that are gone end as abandoned; 0 or what the callback returned */
int cli_calls_end(struct cli *cli, struct trace_frames *frames) BASE_MUST_CHECK;

/** cli_calls_note() - how many calls there were, and how they ended */
void cli_calls_note(struct cli *cli, const struct trace_frames *frames);

#endif
