/* SPDX-License-Identifier: MIT */
/* The flight recorder: utap record --overwrite. */
#ifndef CLI_SNAPSHOT_H
#define CLI_SNAPSHOT_H

#include "cli/cli.h"

/** cli_snapshot_record() - the command with --overwrite, or with an option that needs it; returns the exit code */
int cli_snapshot_record(struct cli *cli);

/**
 * cli_snapshot_is_trigger() - does --snapshot-on mean this probe?
 * @text: as the probe was written
 *
 * It does when it repeats the text, the event (also as GROUP:EVENT), the function's name, or the name that the event
 * gets from it.
 */
bool cli_snapshot_is_trigger(const char *snapshot_on, const char *text, const struct probe_spec *spec);

/** cli_snapshot_is_trigger_source() - likewise of a place that debug information or static probes tell: the text, the event, the place or the
 * static probe's name */
bool cli_snapshot_is_trigger_source(const char *snapshot_on, const char *text, const struct probe_source *source);

/** cli_snapshot_name() - FILE.YEARMONTHDAYHOURMINUTESECOND and hundredths, as perf record --switch-output has it */
int cli_snapshot_name(const char *path, time_t seconds, unsigned hundredths, char *name, size_t size) BASE_MUST_CHECK;

#endif
