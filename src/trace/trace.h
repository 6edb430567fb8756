/* SPDX-License-Identifier: MIT */
/*
 * Reading what targets wrote: map the shared memory file, copy records out, check every byte, merge by time, account for
 * losses. The target may scribble on all of it at any moment: a word is copied once, bounded, then used.
 */
#ifndef TRACE_TRACE_H
#define TRACE_TRACE_H

#include "base/base.h"
#include "wire/wire.h"

enum trace_arg_format {
	TRACE_UNSIGNED,
	TRACE_SIGNED,
	TRACE_HEX,
	TRACE_CHAR,
	TRACE_SYMBOL,
	TRACE_FLOAT,
	TRACE_TEXT, /* of a STRING; of an ARRAY: its elements, of 64 bits, are locators of text, checked like the others */
	TRACE_CALLERS,   /* of BYTES: a user stack's addresses, see struct trace_stack; always the last argument */
	TRACE_RAW_STACK, /* of BYTES: struct wire_stack_raw and a copy of the stack; likewise */
};

/** What an argument's word in a record is. */
enum trace_arg_kind {
	TRACE_WORD,   /* the value itself */
	TRACE_STRING, /* a locator (WIRE_LOCATOR): text, its NUL included */
	TRACE_ARRAY,  /* a locator: elements of .bits (8, 16, 32, 64), each printed as .format says */
	TRACE_BYTES,  /* a locator: memory as it is */
};

struct trace_arg {
	char name[64];
	uint8_t bits; /* 8, 16, 32, 64; of a bit field's WORD 1 to 64 */
	enum trace_arg_format format; /* FLOAT: of 32 or 64 bits, IEEE 754 */
	bool is_result; /* what a function returns: not known at a tail call */
	enum trace_arg_kind kind;
	uint32_t count; /* of an ARRAY: elements asked for */
};

/** What the records of a probe are of. */
enum trace_probe_kind {
	TRACE_PLACE,  /* a place that was reached */
	TRACE_ENTRY,  /* a function that was entered: of a pair, the next probe of the table has its returns */
	TRACE_RETURN, /* a function that was left */
};

/** A probe as readers and formats know it; its index in the session's table is the id in the records. */
struct trace_probe {
	char group[64];
	char event[64];
	const char *path;     /* the file, absolute; borrowed like args */
	const char *symbol;   /* function name for people, demangled, "" when unknown; borrowed */
	enum trace_probe_kind kind;
	bool no_frames;       /* of an ENTRY or RETURN in a file of long ago: records do not tell the frame */
	uint64_t offset;      /* of the probed place in the file; of a RETURN that of the function */
	uint64_t symbol_offset; /* of the place from the symbol */
	uint64_t addr;        /* in the first process that maps it */
	uint32_t record_size; /* bytes of its records, of LONG ones the fixed part; 0 for count-only probes, which never write any */
	uint32_t record_most; /* bytes of the largest; 0 or record_size: all are of that size, also LONG ones */
	uint32_t nargs;
	const struct trace_arg *args; /* borrowed from the session */
};

/** One record, checked. Valid during the callback only. */
struct trace_record {
	uint64_t time_ns;  /* CLOCK_MONOTONIC */
	uint32_t id;       /* < number of probes */
	uint32_t cpu;
	uint32_t pid;
	uint32_t tid;
	uint32_t source;   /* which target's memory it came from */
	uint32_t nargs;
	const uint64_t *args; /* of other kinds than WORD: locators, checked: FAILED with an errno, or they lie inside .bytes; 0: nothing */
	const uint8_t *bytes; /* the record from its first byte; what locators count from */
	uint32_t size;        /* of .bytes */
	uint16_t flags;    /* enum wire_record_flag */
	uint64_t frame;    /* ENTRY and RETURN: address of the return slot */
	uint64_t caller;   /* RETURN: where it returns to */
};

/** The user stack of a record. Bytes are the record's, and as unaligned. */
struct trace_stack {
	enum trace_arg_format format; /* CALLERS or RAW_STACK */
	int error;                    /* CALLERS, RAW_STACK: a positive errno: there is none, nothing could be read */
	bool is_short;                /* it goes on, but could not be followed, or there was no more room */
	uint32_t count;               /* CALLERS: addresses */
	const uint8_t *addresses;     /* of trace_stack_address() */
	const uint8_t *raw;           /* RAW_STACK: struct wire_stack_raw; NULL where it is not whole */
	const uint8_t *bytes;         /* RAW_STACK: what follows it: the stack from its rsp on .. */
	uint32_t size;                /* .. so many bytes */
};

/** trace_stack_of() - the stack that a record of @probe has; false: none was asked for, or the record has not the argument */
bool trace_stack_of(const struct trace_probe *probe, const struct trace_record *record, struct trace_stack *ret);
/** trace_is_stack() - is it the argument that trace_stack_of() is about? Formats show it elsewhere than the others */
static inline bool trace_is_stack(const struct trace_arg *arg)
{
	return arg->kind == TRACE_BYTES && (arg->format == TRACE_CALLERS || arg->format == TRACE_RAW_STACK);
}
/**
 * trace_stack_address() - the @i-th address of CALLERS, from 0, the innermost
 * @is_exact: the thread was just there (the probed place, what a signal interrupted); false: it is a return address, one below is in the call
 */
uint64_t trace_stack_address(const struct trace_stack *stack, uint32_t i, bool *is_exact);

/*
 * The clock: raw TSC -> CLOCK_MONOTONIC, from pairs taken at different times (each pair is the tightest of several).
 */
struct trace_clock {
	uint64_t tsc[2];
	uint64_t ns[2];
};
void trace_clock_init(struct trace_clock *clock);   /* takes the first pair, and a second ~1 ms later */
void trace_clock_update(struct trace_clock *clock); /* replaces the second pair */
uint64_t trace_clock_ns(const struct trace_clock *clock, uint64_t tsc);
uint64_t trace_clock_ticks(const struct trace_clock *clock, uint64_t ns); /* how many TSC ticks @ns are, at least 1 */

/*
 * The controller's view of one target's memory file. geometry is our own copy, made when the file was laid out: nothing in it
 * was read back from the target.
 */
struct trace_memory {
	int fd;                       /* borrowed */
	struct wire_control geometry;
	void *data;                   /* file bytes [0, blocks_at), shared */
	void **blocks;                /* geometry.cpus of them, each laid out as in the target (ring twice) */
};

/**
 * trace_memory_map() - map all of it read-write
 * Return: 0, -EINVAL for a geometry that contradicts itself or the file's size, -ENOMEM, or what mmap(2) said.
 */
int trace_memory_map(int fd, const struct wire_control *geometry, struct trace_memory *ret) BASE_MUST_CHECK;
void trace_memory_unmap(struct trace_memory *memory);

/** trace_memory_hits() - exact hits of a count-only probe so far: sum over CPUs of counters and shared */
uint64_t trace_memory_hits(const struct trace_memory *memory, uint32_t id);
/**
 * trace_memory_held() - hits of @id that its limit held back
 * @every: the limit lets the first of so many pass, and all hits were counted; 0: those were counted that it held back
 */
uint64_t trace_memory_held(const struct trace_memory *memory, uint32_t id, uint64_t every);
/** trace_memory_lost() - records of @id that found no room so far */
uint64_t trace_memory_lost(const struct trace_memory *memory, uint32_t id);

struct trace_reader;
typedef int trace_record_fn(void *arg, const struct trace_record *record); /* non-zero stops the drain and is returned */

struct trace_stats {
	uint64_t records;   /* delivered */
	uint64_t damaged;   /* bytes or cells skipped because they made no sense (the target scribbled) */
	uint64_t abandoned; /* reserved cells whose thread died or jumped away before finishing them */
	uint64_t overrun;   /* bytes that can only have been lost because positions were scribbled on */
};

/**
 * trace_reader_create() - read several memories as one stream ordered by time
 * @probes: table of @nprobes, borrowed; may grow later through trace_reader_probes()
 */
int trace_reader_create(const struct trace_probe *probes, uint32_t nprobes, struct trace_reader **ret) BASE_MUST_CHECK;
void trace_reader_destroy(struct trace_reader *reader);
void trace_reader_probes(struct trace_reader *reader, const struct trace_probe *probes, uint32_t nprobes);

/**
 * trace_reader_add() - one more target; @memory is borrowed and stays mapped until the reader is destroyed or the source removed
 *
 * Return: 0, -EEXIST when there is a @source of that number, -ENOMEM.
 * Context: not from the callback of a drain; nor are the others that change the reader.
 */
int trace_reader_add(struct trace_reader *reader, struct trace_memory *memory, uint32_t source) BASE_MUST_CHECK;
/** trace_reader_remove() - forget it; drain with @all first. Cells still unfinished now count as abandoned. */
void trace_reader_remove(struct trace_reader *reader, uint32_t source);

/**
 * trace_reader_drain() - deliver, in order of time, what is complete
 * @all: also what is younger than the ordering horizon (at the end); otherwise a record is held back until nothing
 *       older can still appear, a few microseconds
 *
 * Frees the room in the rings, sets their limits for the next watermark.
 *
 * Return: records delivered, or what the callback returned when not 0 (the rest comes with the next drain), or -ENOMEM.
 */
long trace_reader_drain(struct trace_reader *reader, bool all, trace_record_fn *fn, void *arg) BASE_MUST_CHECK;

/**
 * trace_reader_overwrite() - rings of this reader are never full: the newest records replace the oldest, which is no loss
 *
 * To be called before the first source is added; the targets' programs must be made for it (bpf_target.overwrite). A
 * drain delivers nothing then, it makes ready for a quick snapshot (and mends what the target may have scribbled on):
 * call it now and then.
 */
void trace_reader_overwrite(struct trace_reader *reader);

/** What a snapshot holds. */
struct trace_snapshot {
	uint64_t records;
	uint64_t first_ns, last_ns; /* time of the first and the last of them; 0 when there are none */
	uint64_t since_ns;          /* what is younger is there without a gap (but for losses); 0: everything is, from the start */
	uint64_t gone_bytes;        /* that were overwritten in rings: records with their trailers, exact */
	uint64_t gone_records;      /* records that were overwritten, in rings and cells .. */
	bool gone_is_exact;         /* .. unless they were of different sizes, or in cells: then about */
};

/**
 * trace_reader_snapshot() - deliver, in order of time, what the rings hold at this moment; they stay as they are
 * @live: the target may be running: only what is older than this call is delivered, so that each thread's records are
 *        there without a gap up to its last; false at the end: everything
 *
 * What a running target overwrites meanwhile is left out. trace_reader_stats() is about the last snapshot.
 *
 * The newest are copied first: while a target writes faster than they can be copied, its oldest are lost.
 *
 * Return: 0, or what the callback returned when not 0, or -ENOMEM (copies take as much memory as what is used of the
 * rings).
 */
int trace_reader_snapshot(struct trace_reader *reader, bool live, trace_record_fn *fn, void *arg,
			  struct trace_snapshot *ret) BASE_MUST_CHECK;

/**
 * trace_reader_wait() - sleep until a target passed its watermark, @timeout_ms passed or a signal came; needs no ptrace
 * @timeout_ms: how late a lone record may be shown; 50 to 100 is a good choice, 0 or less does not sleep
 */
void trace_reader_wait(struct trace_reader *reader, int timeout_ms);

void trace_reader_stats(const struct trace_reader *reader, struct trace_stats *ret);

#endif
