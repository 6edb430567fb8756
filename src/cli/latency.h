/* SPDX-License-Identifier: MIT */
/* utap stat --latency: how long calls take, by function. */
#ifndef CLI_LATENCY_H
#define CLI_LATENCY_H

#include "cli/cli.h"

/** cli_latency() - the command; returns the exit code */
int cli_latency(struct cli *cli);

#endif
