/* SPDX-License-Identifier: MIT */
/* Other formats than perf.data, from a file or live: the options --to and --by. */
#ifndef CLI_CONVERT_H
#define CLI_CONVERT_H

#include "cli/cli.h"
#include "format/format.h"

/** cli_convert_lost() - say what @lost records mean for calls read from a file */
void cli_convert_lost(struct cli *cli, const struct format_perf_file *file, const char *format, uint64_t lost);
/** cli_convert_live() - trace and record with --to: hits are written in that format while they come; returns the exit
 * code */
int cli_convert_live(struct cli *cli);

#endif
