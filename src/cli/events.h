/* SPDX-License-Identifier: MIT */
/*
 * What a perf.data tells of processes beside the hits: names of threads, mappings of code, build-ids. Each thing is
 * written once, when it is first seen.
 */
#ifndef CLI_EVENTS_H
#define CLI_EVENTS_H

#include "format/format.h"

struct process_maps;

struct cli_events;

/** cli_events_create() - @perf is borrowed until cli_events_destroy(); NULL: only remember mappings, for cli_events_repeat() */
int cli_events_create(struct format_perf *perf, struct cli_events **ret) BASE_MUST_CHECK;
/** cli_events_with_tables() - also what of files is mapped just to be read: perf unwinds copied stacks by that */
void cli_events_with_tables(struct cli_events *events);
void cli_events_destroy(struct cli_events *events); /* NULL is fine */

/**
 * cli_events_process() - names of all threads of @pid and its executable mappings, as far as not written yet
 *
 * A process that is gone, or that we may not look at, is passed over.
 * Return: 0, or an error of writing.
 */
int cli_events_process(struct cli_events *events, uint32_t pid) BASE_MUST_CHECK;

/** cli_events_maps() - @maps of @pid, as far as not written yet */
int cli_events_maps(struct cli_events *events, uint32_t pid, const struct process_maps *maps) BASE_MUST_CHECK;
/** cli_events_repeat() - write into @to what mappings @from has written, as far as it has not got them */
int cli_events_repeat(const struct cli_events *from, struct cli_events *to) BASE_MUST_CHECK;

/** cli_events_is_known() - was cli_events_process() called for @pid? */
bool cli_events_is_known(const struct cli_events *events, uint32_t pid);

/** cli_events_build_ids() - of the files of all probes */
int cli_events_build_ids(struct cli_events *events, const struct trace_probe *probes, uint32_t count) BASE_MUST_CHECK;

#endif
