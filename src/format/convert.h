/* SPDX-License-Identifier: MIT */
/*
 * Conversion: a stream of records, in the order of time, becomes one file of another format. Where the records come
 * from, a perf.data or targets that run, is the caller's affair; so is which of the formats it is, by name.
 */
#ifndef FORMAT_CONVERT_H
#define FORMAT_CONVERT_H

#include <stdio.h>

#include "format/format.h"

struct format_convert;

/** What people choose. */
struct format_convert_options {
	const char *to;        /* a name that format_convert_name() knows */
	FILE *out;             /* borrowed; not used by formats that are a directory */
	const char *directory; /* borrowed; for those that are: made, unless it is there and empty */
	const char *title;     /* of a picture; NULL: none */
	const char *flow;      /* perfetto: hits whose arguments of this name are equal are tied together; NULL: none */
	bool by_count;         /* stacks weigh by calls, not by the time spent in them */
	const char *sort;      /* of the two reports: a key of format_convert_sort(); NULL: total */
	bool json, verbose;    /* of the two reports */
	format_symbol_fn *symbol; /* NULL: addresses have no names */
	void *symbol_arg;
	format_unwind_fn *unwind; /* NULL: copied stacks are left out, or shown as bytes */
	void *unwind_arg;
	uint64_t realtime_ns;  /* CLOCK_REALTIME - CLOCK_MONOTONIC of the records; 0: not known */
};

/** Two more formats, which are no files but tables for people: what utap report prints. */
#define FORMAT_REPORT_FUNCTIONS "report-functions"
#define FORMAT_REPORT_TREE "report-tree"

/** format_convert_sort() - key number @index (from 0) of FORMAT_REPORT_FUNCTIONS, NULL after the last */
const char *format_convert_sort(size_t index);
/** format_convert_name() - the name of format number @index (from 0), NULL after the last; @summary may be NULL */
const char *format_convert_name(size_t index, const char **summary);
/** format_convert_is_known() - is there a format of that name? */
bool format_convert_is_known(const char *name);
/** format_convert_has_calls() - does it show calls, which losses make uncertain? @name is known, or a report's */
bool format_convert_has_calls(const char *name);
/** format_convert_is_directory() - is it written as a directory (no pipe then)? @name is known */
bool format_convert_is_directory(const char *name);

/**
 * format_convert_create() - start writing
 * @probes: the table, borrowed until format_convert_finish() or format_convert_probes() with another
 *
 * Return: 0; -EINVAL for an unknown format; -EEXIST and others of making a directory; -ENOMEM. Nothing has to be undone
 * then.
 */
int format_convert_create(const struct format_convert_options *options, const struct trace_probe *probes,
			  uint32_t nprobes, struct format_convert **ret, struct utap_error *err) BASE_MUST_CHECK;

/**
 * format_convert_probes() - the table of probes moved or grew; cheap when it did neither
 * @probes: the ones there were, in the same order, and new ones; borrowed as before
 */
int format_convert_probes(struct format_convert *convert, const struct trace_probe *probes,
			  uint32_t nprobes) BASE_MUST_CHECK;

/**
 * format_convert_record() - the next record
 * @ip:   where the probe stands in the process, of a RETURN its function; 0: trace_probe.addr
 * @comm: of the thread, NULL when unknown
 *
 * Return: 0, or what writing or allocating failed with: the output is of no use from there on, but
 * format_convert_finish() is still due.
 */
int format_convert_record(struct format_convert *convert, const struct trace_record *record, uint64_t ip,
			  const char *comm) BASE_MUST_CHECK;
/** format_convert_lost() - @lost more records of probe @id found no room, up to @time_ns */
int format_convert_lost(struct format_convert *convert, uint32_t id, uint64_t lost, uint64_t time_ns) BASE_MUST_CHECK;
/** format_convert_flush() - nothing comes for now: let readers have what there is */
int format_convert_flush(struct format_convert *convert) BASE_MUST_CHECK;
/** format_convert_finish() - complete the output and free @convert; the first error of all. @is_bad: do not complete
 * it, just free */
int format_convert_finish(struct format_convert *convert, bool is_bad) BASE_MUST_CHECK;

/**
 * format_perf_expand() - a compressed perf.data becomes another, of which *@fd is then the descriptor; others stay
 * @damaged_at: where in the file the compressed records make no sense any more; what is before is all that was taken. 0: they all do
 *
 * Return: 0; negative errno, then *@fd is as it was.
 */
int format_perf_expand(int *fd, uint64_t *damaged_at, struct utap_error *err) BASE_MUST_CHECK;
/** format_perf_realtime() - the clock data of a perf.data: CLOCK_REALTIME - CLOCK_MONOTONIC when it was made; 0: it
 * does not tell */
uint64_t format_perf_realtime(const char *path);

#endif
