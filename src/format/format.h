/* SPDX-License-Identifier: MIT */
/*
 * Other people's formats: ftrace's text, perf.data, JSON. Writers take records in order of time; readers treat files as
 * input that may be damaged.
 */
#ifndef FORMAT_FORMAT_H
#define FORMAT_FORMAT_H

#include <stdio.h>

#include "trace/frames.h"
#include "trace/histogram.h"
#include "trace/trace.h"

/** An address of a target, for people. The texts are valid until the next look-up. */
struct format_symbol {
	const char *name;     /* the function, demangled; NULL: not known */
	uint64_t offset;      /* of the address from the function's start */
	const char *path;     /* the file that is mapped there, or "[vdso]", "[utap]", "[jit]" ..; NULL: not known */
	uint64_t path_offset; /* in that file */
};
/** format_symbol_fn() - what holds @addr in process @pid, whose records came from the target numbered @source; false: neither name nor path is known */
typedef bool format_symbol_fn(void *arg, uint32_t source, uint32_t pid, uint64_t addr, struct format_symbol *ret);

/** Where an argument's word comes from: what it names is there. */
struct format_where {
	const uint8_t *bytes; /* of the record; what locators count from */
	uint32_t size;
	uint32_t source, pid;
	format_symbol_fn *symbol; /* NULL: addresses are shown as numbers */
	void *symbol_arg;
};

/** format_unwind_fn() - a RAW_STACK as CALLERS: @ret and its addresses are valid until the next call; false: it cannot be done */
typedef bool format_unwind_fn(void *arg, const struct trace_record *record, const struct trace_stack *raw, struct trace_stack *ret);

/** What is known of a record of a return, or of a whole call, beyond the record itself. */
struct format_call {
	const char *caller;              /* the function it returns to, for people; NULL: not known */
	uint64_t caller_offset;          /* of the return address from that function */
	const struct trace_call *call;   /* NULL: the return alone. An ABANDONED call's record has only time, thread, process and id */
	const struct trace_probe *entry; /* with call: the probe that its args are of */
	format_symbol_fn *symbol;        /* for stacks, and arguments that are shown as symbols; NULL: as numbers */
	void *symbol_arg;
	format_unwind_fn *unwind;        /* for stacks that were copied; NULL: only their size is shown */
	void *unwind_arg;
};

/** format_duration() - "1.234 us", "12.345 ms", "1.234  s": ten characters, longer from 28 hours on */
void format_duration(uint64_t ns, char *text, size_t size);
/** format_duration_column() - likewise, a blank and eleven characters */
void format_duration_column(FILE *out, uint64_t ns);
/** format_bars() - a line for each power of two that has any, with a bar as long as its share of the largest */
void format_bars(FILE *out, const struct trace_histogram *histogram);

/* ---- ftrace's text, one line a record ---- */

/** format_text_header() - the comment lines ftrace prints above a trace */
void format_text_header(FILE *out);

/**
 * format_text() - "            comm-tid     [cpu] ..... seconds.micros: event: (symbol+0x0) name=value ..."
 * @comm: of the thread, "<...>" when unknown, as ftrace
 * @color: ANSI colours
 */
void format_text(FILE *out, const struct trace_probe *probe, const struct trace_record *record, const char *comm,
		 bool color);

/**
 * format_text_call() - likewise, of a return: "(caller+0x12 <- symbol) name=value ...", and with @call->call how long the call took
 * @call: NULL: as format_text()
 */
void format_text_call(FILE *out, const struct trace_probe *probe, const struct trace_record *record,
		      const struct format_call *call, const char *comm, bool color);

/** format_value() - a word as ftrace prints it: u 24, s -1, x 0x18, char 'a', floats as 1.5; cut to its bits; 64 bytes are enough */
void format_value(const struct trace_arg *arg, uint64_t value, char *text, size_t size);
/** format_arg() - an argument of any kind as ftrace prints it: also "string", {1,2,3}, (fault); ... behind what was cut short */
void format_arg(FILE *out, const struct trace_arg *arg, uint64_t word, const struct format_where *where);
/** format_arg_text() - likewise, into @text; what does not fit is cut off. Returns its length */
size_t format_arg_text(const struct trace_arg *arg, uint64_t word, const struct format_where *where, char *text, size_t size);

/** format_json() - a record as one JSON object on one line */
void format_json(FILE *out, const struct trace_probe *probe, const struct trace_record *record, const char *comm);
/** format_json_call() - likewise with "caller", and with @call->call "how" and "duration_ns"; @call may be NULL */
void format_json_call(FILE *out, const struct trace_probe *probe, const struct trace_record *record,
		      const struct format_call *call, const char *comm);
/** format_json_string() - a quoted, escaped JSON string (invalid UTF-8 replaced) */
void format_json_string(FILE *out, const char *text);

/* ---- perf.data ---- */

struct format_map { /* a mapping of a process, for PERF_RECORD_MMAP2 */
	uint32_t pid;
	uint64_t start, size, offset;
	uint32_t major, minor;
	uint64_t inode;
	uint32_t prot, flags;
	const char *path;
};

struct format_perf; /* a perf.data being written */

/**
 * format_perf_create() - start a file: tracepoint events (attr.type PERF_TYPE_TRACEPOINT), whose formats stand in the tracing-data
 * section, so that perf script, perf report and libtraceevent decode the arguments by name
 * @fd:     owned by the caller, seekable, empty
 * @probes: borrowed until format_perf_finish()
 *
 * Sample fields: IP, TID, TIME, CPU, PERIOD, RAW, IDENTIFIER. Events are system "GROUP", name "EVENT", fields common_* and the arguments.
 *
 * Source: tools/perf/Documentation/perf.data-file-format.txt; include/uapi/linux/perf_event.h.
 */
int format_perf_create(int fd, const struct trace_probe *probes, uint32_t nprobes, struct format_perf **ret,
		       struct utap_error *err) BASE_MUST_CHECK;
/**
 * format_perf_compress() - let records be compressed; before the first of them
 * @level: 1 (quick) to 22 (small)
 */
int format_perf_compress(struct format_perf *perf, int level) BASE_MUST_CHECK;
int format_perf_comm(struct format_perf *perf, uint32_t pid, uint32_t tid, const char *comm) BASE_MUST_CHECK;
/** format_perf_map() - a mapping; the addresses of samples follow from their process's code mappings, else trace_probe.addr */
int format_perf_map(struct format_perf *perf, const struct format_map *map) BASE_MUST_CHECK;
/** format_perf_fork() - process @pid began as a copy of @parent, or so it is to be read: with its mappings */
int format_perf_fork(struct format_perf *perf, uint32_t pid, uint32_t parent) BASE_MUST_CHECK;
int format_perf_sample(struct format_perf *perf, const struct trace_record *record) BASE_MUST_CHECK;
int format_perf_lost(struct format_perf *perf, uint32_t id, uint64_t lost, uint64_t time_ns) BASE_MUST_CHECK;

/**
 * format_perf_grow() - the table of probes grew, or moved: go on in another file
 * @fd:     as for format_perf_create(); what was written so far is copied there. When the table only moved: not used
 * @probes: the ones there were, in the same order, and new ones; borrowed as before
 *
 * On an error nothing changed but that @fd may hold something; the old file stays complete in either case, up to now.
 *
 * Return: 1 @fd is the file now; 0 no need for it; negative errno.
 */
int format_perf_grow(struct format_perf *perf, int fd, const struct trace_probe *probes, uint32_t nprobes,
		     struct utap_error *err) BASE_MUST_CHECK;

/**
 * format_perf_build_id() - remember a file's build-id for the header's table, so that perf finds symbols later
 */
int format_perf_build_id(struct format_perf *perf, const char *path, const uint8_t *id, size_t size) BASE_MUST_CHECK;

/**
 * format_perf_flush() - let the file hold all that was given so far; happens by itself every MiB and every second of samples,
 * so call it when the target is quiet for long
 */
int format_perf_flush(struct format_perf *perf) BASE_MUST_CHECK;

/**
 * format_perf_finish() - flush, complete the feature sections (tracing data, build-ids, hostname, osrelease, version, arch, nrcpus,
 * cmdline, sample time, clock data) and the header, free @perf (also on error)
 *
 * perf and utap can read the file from format_perf_create() on: without this call, or on a full disk, it ends at its last flush.
 *
 * Return: 0, or the first error that any call met (-ENOSPC ...); the data written before it stays readable.
 */
int format_perf_finish(struct format_perf *perf) BASE_MUST_CHECK;

struct format_perf_file; /* a perf.data being read */

/** What a reader hands out; all pointers are valid until the next call. */
struct format_perf_event {
	enum {
		FORMAT_PERF_SAMPLE,
		FORMAT_PERF_COMM,
		FORMAT_PERF_LOST,
		FORMAT_PERF_MAP,
		FORMAT_PERF_FORK,
		FORMAT_PERF_END
	} type;
	struct trace_record record; /* SAMPLE: id indexes format_perf_probes(); LOST: id and time_ns only */
	uint64_t ip;
	const char *comm;           /* COMM, and of the thread for SAMPLE; NULL when unknown */
	uint32_t pid, tid;
	uint32_t parent;            /* FORK: whose mappings pid began with */
	uint64_t lost;              /* LOST */
	struct format_map map;      /* MAP */
};

/**
 * format_perf_open() - open a perf.data written by format_perf_create() (of this or the other byte layout versions we wrote)
 * Return: 0; -EINVAL not such a file or damaged, with the offset in @err; -ENOENT ..
 */
int format_perf_open(const char *path, struct format_perf_file **ret, struct utap_error *err) BASE_MUST_CHECK;
void format_perf_close(struct format_perf_file *file);
size_t format_perf_probes(const struct format_perf_file *file, const struct trace_probe **ret);
/** format_perf_build_id_of() - bytes of the build-id that the file at @path had, 0 when that was not recorded */
size_t format_perf_build_id_of(const struct format_perf_file *file, const char *path, const uint8_t **ret);
/** format_perf_next() - 0 with *ret filled (type END at the end), -EINVAL damaged from here on (@err says where) */
int format_perf_next(struct format_perf_file *file, struct format_perf_event *ret, struct utap_error *err) BASE_MUST_CHECK;

#endif
