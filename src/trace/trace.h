/* SPDX-License-Identifier: MIT */
/*
 * Reading what targets wrote: map the shared memory file, copy records out, check every byte, merge by time, account for
 * losses. The target may scribble on all of it at any moment: a word is copied once, bounded, then used.
 */
#ifndef TRACE_TRACE_H
#define TRACE_TRACE_H

#include "base/base.h"
#include "wire/wire.h"

enum trace_arg_format { TRACE_UNSIGNED, TRACE_SIGNED, TRACE_HEX };

struct trace_arg {
	char name[64];
	uint8_t bits; /* 8, 16, 32, 64 */
	enum trace_arg_format format;
};

/** A probe as readers and formats know it; its index in the session's table is the id in the records. */
struct trace_probe {
	char group[64];
	char event[64];
	const char *path;     /* the file, absolute; borrowed like args */
	const char *symbol;   /* function name for people, demangled, "" when unknown; borrowed */
	uint64_t offset;      /* of the probed place in the file */
	uint64_t symbol_offset; /* of the place from the symbol */
	uint64_t addr;        /* in the first process that maps it */
	uint32_t record_size; /* bytes of its records; 0 for count-only probes, which never write any */
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
	const uint64_t *args;
};

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
 * trace_reader_wait() - sleep until a target passed its watermark, @timeout_ms passed or a signal came; needs no ptrace
 * @timeout_ms: how late a lone record may be shown; 50 to 100 is a good choice, 0 or less does not sleep
 */
void trace_reader_wait(struct trace_reader *reader, int timeout_ms);

void trace_reader_stats(const struct trace_reader *reader, struct trace_stats *ret);

#endif
