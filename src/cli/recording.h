/* SPDX-License-Identifier: MIT */
/*
 * A perf.data being written: the file, and what has to stand in it besides the hits.
 *
 * Until it begins with its header and its probes it is written beside, under a name of its own; then what stood there before becomes
 * FILE.old, and it takes that place. So a run that fails before leaves FILE and FILE.old as they were. What is there and is no file
 * with something in it (a device, an empty file) is written where it is.
 */
#ifndef CLI_RECORDING_H
#define CLI_RECORDING_H

#include "cli/cli.h"
#include "cli/events.h"

struct cli_recording {
	const char *path; /* borrowed */
	char name[4096];  /* what path names, links resolved */
	char beside[4096 + 16]; /* where it is written so far; "" from when it is at name */
	bool is_begun;         /* nothing can be abandoned any more */
	int fd;
	struct format_perf *perf; /* NULL until cli_recording_start() */
	const struct trace_probe *probes; /* the session's table as the file knows it */
	uint32_t nprobes;
	size_t ntargets; /* told of */
	struct cli_events *events;
	const struct session *session; /* whose targets the records are of */
};

/** cli_recording_open() - make the file, beside; nothing is written yet. 0 or negative errno; -o's path is borrowed */
int cli_recording_open(struct cli_recording *r, const char *path, struct utap_error *err) BASE_MUST_CHECK;
/** cli_recording_start() - begin a perf.data with the session's probes, and describe its targets; then it takes its place */
int cli_recording_start(struct cli *cli, struct cli_recording *r, struct utap_error *err) BASE_MUST_CHECK;
/** cli_recording_describe() - threads and mappings of targets that run, as far as not written yet */
int cli_recording_describe(struct cli *cli, struct cli_events *events) BASE_MUST_CHECK;
/** cli_recording_mapped() - what the target numbered @source maps now, by session_maps(), as far as not written yet */
int cli_recording_mapped(struct cli *cli, struct cli_events *events, uint32_t source) BASE_MUST_CHECK;
/** cli_recording_grow() - the file learns of probes that came since (a library was loaded, a program executed); 0 or negative errno */
int cli_recording_grow(struct cli *cli, struct cli_recording *r) BASE_MUST_CHECK;
/** cli_recording_put() - a hit, after what has to be told of its process; @comm may be NULL: told already, or not known */
int cli_recording_put(struct cli_recording *r, const struct trace_record *record, bool is_new,
		      const char *comm) BASE_MUST_CHECK;
/**
 * cli_recording_finish() - losses, and all that makes the file readable
 * @with_losses: false where the disk is full already
 */
int cli_recording_finish(struct cli *cli, struct cli_recording *r, bool with_losses) BASE_MUST_CHECK;
/** cli_recording_abandon() - away with a file that is not begun; what there was before is there still */
void cli_recording_abandon(struct cli_recording *r);
/** cli_recording_size() - bytes of the file, 0 when nobody knows */
uint64_t cli_recording_size(const struct cli_recording *r);

#endif
