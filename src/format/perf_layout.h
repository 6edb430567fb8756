/* SPDX-License-Identifier: MIT */
/*
 * What the writer and the reader of perf.data share: the layout of the file and of its samples.
 *
 *     header        struct format_perf_header, 104 bytes
 *     table         our own: every probe with its path, symbol and arguments. No section of perf's names it, and no
 * feature bit either: perf inject crashes on bits it does not know ids           one u64 a probe attributes    one
 * struct perf_event_attr and the section of its ids a probe tracing data  the formats of the events, as ftrace
 * describes them features      host name, clock, ...; room for build-ids data          records; header.data says where
 * and how many bytes sections      struct format_perf_section for every feature, in the order of their bits: perf
 * demands that it starts where the data ends
 *
 * All features stand before the data, so that only the sections have to follow it. Every flush writes data, sections
 * and then header.data.size: a file whose writer was killed, or whose disk became full, is an ordinary perf.data that
 * ends at the last flush. Numbers are little-endian.
 *
 * Source: tools/perf/Documentation/perf.data-file-format.txt, include/uapi/linux/perf_event.h,
 * Documentation/trace/ftrace.rst (formats of events).
 */
#ifndef FORMAT_PERF_LAYOUT_H
#define FORMAT_PERF_LAYOUT_H

#include <assert.h>
#include <linux/perf_event.h>

#include "format/format.h"

#define FORMAT_PERF_MAGIC "PERFILE2"
#define FORMAT_PERF_ATTR_SIZE PERF_ATTR_SIZE_VER5 /* the smallest that has all we set; old readers take it too */
#define FORMAT_PERF_RECORD_MAX 65528              /* the u16 of a record's header, in whole u64 */
#define FORMAT_PERF_PROBES_MAX 60000              /* common_type is an u16 */
#define FORMAT_PERF_COMM_SIZE 16                  /* TASK_COMM_LEN */

struct format_perf_section {
	uint64_t offset, size;
};

struct format_perf_header {
	char magic[8];
	uint64_t size;      /* of this struct */
	uint64_t attr_size; /* of one attribute and its section */
	struct format_perf_section attrs, data, event_types;
	uint64_t features[4];
};
static_assert(sizeof(struct format_perf_header) == 104, "format_perf_header");

/* The bits of header.features that we set (tools/perf/util/header.h). */
enum format_perf_feature_bit {
	FORMAT_PERF_TRACING_DATA = 1,
	FORMAT_PERF_BUILD_ID = 2,
	FORMAT_PERF_HOSTNAME = 3,
	FORMAT_PERF_OSRELEASE = 4,
	FORMAT_PERF_VERSION = 5,
	FORMAT_PERF_ARCH = 6,
	FORMAT_PERF_NRCPUS = 7,
	FORMAT_PERF_CPUDESC = 8,
	FORMAT_PERF_CPUID = 9,
	FORMAT_PERF_TOTAL_MEM = 10,
	FORMAT_PERF_CMDLINE = 11,
	FORMAT_PERF_SAMPLE_TIME = 21,
	FORMAT_PERF_CLOCKID = 23,
	FORMAT_PERF_COMPRESSED = 27,
	FORMAT_PERF_CLOCK_DATA = 29
};

/* Records that perf itself adds, beyond enum perf_event_type (tools/lib/perf/include/perf/event.h). */
#define FORMAT_PERF_RECORD_BUILD_ID 67
#define FORMAT_PERF_RECORD_FINISHED_ROUND 68
#define FORMAT_PERF_MISC_BUILD_ID_SIZE (1 << 15)

#define FORMAT_PERF_SAMPLE_TYPE                                                                           \
	(PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_CPU | \
	 PERF_SAMPLE_PERIOD | PERF_SAMPLE_RAW)

/* Of probes with a user stack: addresses are a call chain; a copied one is registers and bytes (perf_stack.c). */
#define FORMAT_PERF_SAMPLE_CHAIN PERF_SAMPLE_CALLCHAIN
#define FORMAT_PERF_SAMPLE_COPY (PERF_SAMPLE_CALLCHAIN | PERF_SAMPLE_REGS_USER | PERF_SAMPLE_STACK_USER)

/* A sample of that type. Where there is a user stack its call chain follows: a u64, and so many of them. */
struct format_perf_sample_record {
	struct perf_event_header header;
	uint64_t identifier; /* index of the probe + 1 */
	uint64_t ip;
	uint32_t pid, tid;
	uint64_t time;
	uint32_t cpu, unused;
	uint64_t period;
};
static_assert(sizeof(struct format_perf_sample_record) == 56, "format_perf_sample_record");

/* Then the raw data. The arguments follow, each in its own size at its natural alignment from the start of the raw data. */
struct format_perf_raw_record {
	uint32_t raw_size;
	uint16_t common_type; /* raw data from here on */
	uint8_t common_flags, common_preempt_count;
	int32_t common_pid;
	uint64_t probe_ip; /* of a return: the function; __probe_ret_ip, a u64, follows */
} __attribute__((packed));
static_assert(sizeof(struct format_perf_raw_record) == 20, "format_perf_raw_record");
#define FORMAT_PERF_RET_IP (sizeof(struct format_perf_raw_record) - 4) /* from the start of the raw data */
#define FORMAT_PERF_RAW (sizeof(struct format_perf_sample_record) + 4) /* where it is without a call chain */

/* What ends every other record that the kernel would write, as attr.sample_id_all asks. */
struct format_perf_sample_id {
	uint32_t pid, tid;
	uint64_t time;
	uint32_t cpu, unused;
	uint64_t identifier;
};
static_assert(sizeof(struct format_perf_sample_id) == 32, "format_perf_sample_id");

/* PERF_RECORD_MMAP2; the path and a struct format_perf_sample_id follow. */
struct format_perf_mmap2 {
	struct perf_event_header header;
	uint32_t pid, tid;
	uint64_t addr, len, pgoff;
	uint32_t maj, min;
	uint64_t ino, ino_generation;
	uint32_t prot, flags;
};
static_assert(sizeof(struct format_perf_mmap2) == 72, "PERF_RECORD_MMAP2");

/* PERF_RECORD_FORK; a struct format_perf_sample_id follows. */
struct format_perf_fork_record {
	struct perf_event_header header;
	uint32_t pid, ppid, tid, ptid;
	uint64_t time;
};
static_assert(sizeof(struct format_perf_fork_record) == 32, "PERF_RECORD_FORK");

/* ---- where the arguments lie ---- */

/*
 * A string, or memory as it is, is a word of 4 bytes, offset and length of the bytes that follow the fields (__data_loc); an array of
 * strings so many words in a row. Elements of other arrays stand in a row. What the words cannot say of these, a state of 4 bytes does.
 */
struct format_perf_field {
	uint16_t offset; /* from the start of the raw data */
	uint8_t bytes;   /* of one element */
	bool is_signed;
	bool is_located; /* its elements are __data_loc words */
	uint32_t count;  /* elements, of a WORD 1 */
	uint16_t state;  /* offset of its state; 0: a WORD, which has none */
};
#define FORMAT_PERF_STATE_FAILED (1U << 31)
#define FORMAT_PERF_STATE_SHORT (1U << 30)
#define FORMAT_PERF_STATE_BYTES 0xffffU /* of an array that could be read */

struct format_perf_shape {
	uint16_t size; /* of the whole record, without the bytes that __data_loc words name and the user stack */
	uint16_t raw;  /* of its raw data, padding included */
	uint16_t end;  /* of the fields, from the start of the raw data: where such bytes can begin */
	uint32_t nlong; /* fields that have a state; 0: all records have this size */
	uint32_t nstrings; /* elements of all arrays of strings */
	uint16_t states; /* offset of the first state */
	uint16_t tail; /* of a return: offset of the byte that says so of a tail call, from the start of the raw data; 0: none */
	uint16_t stack; /* the last argument is the user stack, and its state is here; 0: it is not */
	uint16_t frame; /* of an entry or return: offset of the address of the frame, a u64, behind all other fields; 0: none */
	uint32_t nargs;
	const struct format_perf_field *fields;
};

/**
 * format_perf_shapes() - lay out the samples of every probe
 * @ret: one heap block, the caller frees
 * Return: 0; -ENOMEM; -EINVAL for an argument of odd width; -E2BIG for a record that is too long or too many probes.
 */
int format_perf_shapes(const struct trace_probe *probes, uint32_t nprobes, struct format_perf_shape **ret,
		       struct utap_error *err) BASE_MUST_CHECK;

/**
 * format_perf_raw_put() - the raw data of a record
 * @addr: where the probe stands, of a return its function
 * @raw:  @room bytes: shape->raw, or with shape->nlong format_perf_long_room() - FORMAT_PERF_RAW
 * Return: bytes of it.
 */
uint32_t format_perf_raw_put(const struct format_perf_shape *shape, const struct trace_probe *probe, const struct trace_record *record,
			     uint64_t addr, uint8_t *raw, uint32_t room);

/* ---- arguments that are more than a word (perf_long.c) ---- */

/** format_perf_long_room() - bytes that the sample of a record may take but for its user stack, at least shape->size and a multiple of 8 */
uint32_t format_perf_long_room(const struct format_perf_shape *shape, const struct trace_probe *probe,
			       const struct trace_record *record);
/**
 * format_perf_long_put() - fill in the fields that are no words, and the bytes that they name
 * @raw: the raw data, zeroed; @room bytes of it are there
 * Return: bytes of the raw data that are used.
 */
uint32_t format_perf_long_put(const struct format_perf_shape *shape, const struct trace_probe *probe,
			      const struct trace_record *record, uint8_t *raw, uint32_t room);
/**
 * format_perf_long_take() - the inverse
 * @size:   of the raw data, at least shape->raw
 * @bytes:  room for 8 * shape->nstrings + @size; what the locators count from
 * @values: of those arguments become locators
 */
void format_perf_long_take(const struct format_perf_shape *shape, const struct trace_probe *probe, const uint8_t *raw,
			   uint32_t size, uint8_t *bytes, uint64_t *values);

/* ---- user stacks (perf_stack.c) ---- */

/** What the sample of one record says of its stack. */
struct format_perf_stack {
	struct trace_stack stack; /* cut to what fits */
	uint32_t chain, tail;     /* bytes in front of the raw data and behind it, multiples of 8 */
};
#define FORMAT_PERF_STACK_LEAST 24 /* that a sample with a stack has more than one without */
/** format_perf_stack_plan() - @probe's last argument is a stack; @room: bytes for chain and tail together, at least FORMAT_PERF_STACK_LEAST */
void format_perf_stack_plan(const struct trace_probe *probe, const struct trace_record *record, uint32_t room,
			    struct format_perf_stack *ret);
void format_perf_stack_put_chain(const struct format_perf_stack *plan, uint8_t *at);
void format_perf_stack_put_tail(const struct format_perf_stack *plan, uint8_t *at);
uint32_t format_perf_stack_state(const struct format_perf_stack *plan);
/** format_perf_stack_registers() - attr.sample_regs_user */
uint64_t format_perf_stack_registers(void);

/** Parts of a sample that is read, inside of it. */
struct format_perf_taken {
	const uint8_t *chain;
	uint64_t entries;
	const uint8_t *raw; /* the raw data */
	uint32_t raw_size;
	const uint8_t *tail;
	uint32_t tail_size;
};
#define FORMAT_PERF_STACK_MOST (FORMAT_PERF_RECORD_MAX + sizeof(struct wire_stack_raw))
/**
 * format_perf_stack_take() - the locator of a stack
 * @bytes:  room for FORMAT_PERF_STACK_MOST; what the locator names goes there, @offset is what it says of where that is
 */
uint64_t format_perf_stack_take(const struct format_perf_taken *sample, enum trace_arg_format format, uint32_t state,
				uint32_t offset, uint8_t *bytes);

/* ---- compressed records (perf_pack.c) ---- */

struct format_perf_pack;
struct format_buffer;

int format_perf_pack_create(int level, struct format_perf_pack **ret) BASE_MUST_CHECK;
void format_perf_pack_destroy(struct format_perf_pack *pack); /* NULL is fine */
/** format_perf_pack() - append to @out what becomes of @size bytes of whole records; 0, -ENOMEM, -EIO */
int format_perf_pack(struct format_perf_pack *pack, const uint8_t *data, size_t size, struct format_buffer *out) BASE_MUST_CHECK;
/** format_perf_pack_feature() - the section COMPRESSED; @largest: bytes that a piece can become again, at most */
void format_perf_pack_feature(const struct format_perf_pack *pack, uint32_t largest, uint32_t ret[5]);

/* ---- bytes that grow ---- */

/** The first failure sticks in @error and later additions do nothing: check once, at the end. */
struct format_buffer {
	uint8_t *data;
	size_t size, cap;
	int error;
};

void format_buffer_deinit(struct format_buffer *buffer);
void format_buffer_add(struct format_buffer *buffer, const void *data, size_t size);
void format_buffer_zero(struct format_buffer *buffer, size_t size);
void format_buffer_align(struct format_buffer *buffer, size_t to);
void format_buffer_u32(struct format_buffer *buffer, uint32_t value);
void format_buffer_u64(struct format_buffer *buffer, uint64_t value);
void format_buffer_print(struct format_buffer *buffer, const char *format, ...) BASE_PRINTF(2, 3);
#define _cleanup_buffer_ __attribute__((cleanup(format_buffer_deinit)))

/* ---- the parts of the file ---- */

/** format_perf_event_id() - the id of the event in attr.config, common_type and the format's "ID:" */
static inline uint64_t format_perf_event_id(uint32_t probe)
{
	return (uint64_t)probe + 1000; /* clear of the kernel's own first numbers, which some readers know by heart */
}

struct format_perf_tracing_head {
	const char *version;
	uint32_t page_size; /* of ring buffers */
	const void *comms;  /* lines "TID NAME" */
	size_t comms_size;
};
/** format_perf_tracing() - append the tracing-data section, which is how a trace.dat begins, too */
void format_perf_tracing(struct format_buffer *out, const struct format_perf_tracing_head *head, const struct trace_probe *probes,
			 uint32_t nprobes,
			 const struct format_perf_shape *shapes);

/** format_perf_table() - append our own table of probes */
void format_perf_table(struct format_buffer *out, const struct trace_probe *probes, uint32_t nprobes);

/**
 * format_perf_table_read() - the inverse
 * @at:     where @data stands in the file, for @err
 * @probes: heap, the caller frees; their args point into @args, heap too
 * Return: 0, -ENOMEM, -EINVAL damaged.
 */
int format_perf_table_read(const uint8_t *data, size_t size, uint64_t at, struct trace_probe **probes,
			   uint32_t *nprobes, struct trace_arg **args, struct utap_error *err) BASE_MUST_CHECK;

#define FORMAT_PERF_FEATURES 15 /* the most; COMPRESSED only where it is */

/** The sections that follow the data, and which feature each describes. */
struct format_perf_features {
	uint8_t bits[FORMAT_PERF_FEATURES];
	struct format_perf_section sections[FORMAT_PERF_FEATURES];
	uint32_t count;
};

/** format_perf_features_mark() - note that feature @bit fills @out from @start to its end; call in the order of bits */
void format_perf_features_mark(struct format_perf_features *features, enum format_perf_feature_bit bit,
			       const struct format_buffer *out, size_t start);
struct format_perf_section *format_perf_features_find(struct format_perf_features *features,
						      enum format_perf_feature_bit bit);

/**
 * format_perf_features_host() - append what describes the machine and this run; times of samples are zero at first
 * @is_packed: with room for COMPRESSED
 */
void format_perf_features_host(struct format_buffer *out, struct format_perf_features *features, bool is_packed);

/* A row of the table of build-ids; the path follows. */
struct format_perf_build_id {
	struct perf_event_header header;
	int32_t pid;
	uint8_t id[20], size, unused[3];
};
static_assert(sizeof(struct format_perf_build_id) == 36, "format_perf_build_id");

/** format_perf_build_id_record() - append one row of the table of build-ids; @size of the id is at most 20 */
void format_perf_build_id_record(struct format_buffer *out, const char *path, const uint8_t *id, size_t size);

/* ---- the table of build-ids, as it is read (perf_build_ids.c) ---- */

/** format_perf_build_ids_read() - append the table of @fd; what cannot be read has none. 0 or -ENOMEM */
int format_perf_build_ids_read(int fd, struct format_buffer *out) BASE_MUST_CHECK;
/** format_perf_build_ids_find() - bytes of the build-id of @path, 0: not there */
size_t format_perf_build_ids_find(const struct format_buffer *ids, const char *path, const uint8_t **ret);
/** format_perf_section_read() - the section of feature @bit in @fd, whose header is @header; false: there is none */
bool format_perf_section_read(int fd, const struct format_perf_header *header, enum format_perf_feature_bit bit,
			      struct format_perf_section *ret);

/* ---- where probes stand in each process ---- */

struct format_places;

/** format_places_grow() - the table of probes is another, longer one now; 0 or -ENOMEM */
int format_places_grow(struct format_places *places, const struct trace_probe *probes, uint32_t nprobes) BASE_MUST_CHECK;
/** format_places_create() - @probes are borrowed until format_places_destroy() */
int format_places_create(const struct trace_probe *probes, uint32_t nprobes,
			 struct format_places **ret) BASE_MUST_CHECK;
void format_places_destroy(struct format_places *places);
/** format_places_map() - learn a mapping; one that holds no code is passed over */
int format_places_map(struct format_places *places, const struct format_map *map) BASE_MUST_CHECK;
/** format_places_fork() - a process that is not known yet begins with the mappings of another */
int format_places_fork(struct format_places *places, uint32_t pid, uint32_t parent) BASE_MUST_CHECK;
/** format_places_addr() - the address of probe @id in @pid; trace_probe.addr when no mapping of @pid is known to hold
 * it */
uint64_t format_places_addr(struct format_places *places, uint32_t id, uint32_t pid);

#endif
