/* SPDX-License-Identifier: MIT */
/* utap report --latency and --graph: the calls of a recorded file. */
#ifndef CLI_REPORT_CALLS_H
#define CLI_REPORT_CALLS_H

#include "cli/cli.h"
#include "format/format.h"

/** cli_report_calls() - read @file to its end and print; returns the exit code */
int cli_report_calls(struct cli *cli, struct format_perf_file *file);

#endif
