/* SPDX-License-Identifier: MIT */
/*
 * Writing a perf.data. perf_layout.h says how the file looks and why.
 *
 * Records gather in a buffer. A flush puts them behind the data that is already valid and only then lets the header
 * count them, so a file that is cut off anywhere stays readable up to its last flush. The sections, which have to
 * follow the data, are written behind the new data before those behind the old data are overwritten: only between that
 * last small write and the next, of the header, could a killed writer leave a file without them, and then just perf
 * would miss them (format_perf_open() never looks there).
 *
 * The first failure sticks: later calls return it and write nothing. When the disk becomes full in a flush, the records
 * that did reach it and leave room for the sections are kept.
 *
 * perf sorts records by time in windows that FINISHED_ROUND ends; each flush ends one, so perf need not hold the whole
 * file in memory. Records without a time of their own get that of the last sample: they take effect where they stand.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "format/perf_layout.h"

#define FLUSH_SIZE (1UL << 20)
#define FLUSH_NS 1000000000  /* of samples' time: what a kill may cost a slow trace */
#define BUILD_IDS_ROOM 16384 /* for about 130 files; more are written behind everything else at the end */
#define SECTIONS_MOST (FORMAT_PERF_FEATURES * sizeof(struct format_perf_section))
#define BUFFER_SIZE (FLUSH_SIZE + FORMAT_PERF_RECORD_MAX + sizeof(struct perf_event_header) + SECTIONS_MOST)
#define PIECE_LARGEST (128U << 10) /* that a compressed record becomes again, at most */

struct format_perf {
	int fd; /* the caller's */
	int error;
	const struct trace_probe *probes; /* the caller's */
	uint32_t nprobes;
	struct format_perf_shape *shapes;
	struct format_places *places;
	struct format_perf_header header; /* as in the file, or about to be */
	struct format_perf_features features;
	uint8_t *buffer; /* BUFFER_SIZE: records; at a flush also FINISHED_ROUND and the sections */
	struct format_perf_pack *pack; /* NULL: records stay as they are */
	struct format_buffer packed;   /* of a flush */
	size_t used;
	uint64_t time_first, time_last, time_flushed;
	struct format_buffer build_ids;
	size_t build_ids_fit; /* bytes of whole rows that have room in front of the data */
	size_t build_ids_put; /* of them, written */
};

static size_t sections_size(const struct format_perf *perf)
{
	return perf->features.count * sizeof(struct format_perf_section);
}

struct attribute {
	uint8_t attr[FORMAT_PERF_ATTR_SIZE];
	struct format_perf_section ids;
};

static int write_at(int fd, const void *data, size_t size, uint64_t at, size_t *written)
{
	size_t done = 0;
	int r = 0;

	while (done < size && !r) {
		ssize_t n = pwrite(fd, (const uint8_t *)data + done, size - done, (off_t)(at + done));

		if (n > 0)
			done += (size_t)n;
		else if (!n)
			r = -ENOSPC;
		else if (errno != EINTR)
			r = -errno;
	}
	if (written)
		*written = done;
	return r;
}

/* ---- the file's front ---- */

/* What the samples of a probe with a user stack have beyond the others'. */
static void describe_stack(struct perf_event_attr *attr, const struct trace_arg *arg)
{
	attr->exclude_callchain_kernel = 1;
	attr->sample_type |= arg->format == TRACE_CALLERS ? FORMAT_PERF_SAMPLE_CHAIN : FORMAT_PERF_SAMPLE_COPY;
	if (arg->format == TRACE_CALLERS)
		return;
	attr->exclude_callchain_user = 1;
	attr->sample_regs_user = format_perf_stack_registers();
	attr->sample_stack_user = FORMAT_PERF_RECORD_MAX;
}

static void add_attributes(struct format_buffer *out, struct format_perf_header *header, const struct trace_probe *probes,
			   uint32_t nprobes)
{
	format_buffer_align(out, 8);
	uint64_t ids = out->size;

	for (uint32_t i = 0; i < nprobes; i++)
		format_buffer_u64(out, (uint64_t)i + 1);
	header->attr_size = sizeof(struct attribute);
	header->attrs = (struct format_perf_section) { out->size, nprobes * sizeof(struct attribute) };
	for (uint32_t i = 0; i < nprobes; i++) {
		struct perf_event_attr attr = { .type = PERF_TYPE_TRACEPOINT,
						.size = FORMAT_PERF_ATTR_SIZE,
						.config = format_perf_event_id(i),
						.sample_period = 1,
						.sample_type = FORMAT_PERF_SAMPLE_TYPE,
						.exclude_kernel = 1, /* perf then asks for no kernel symbols */
						.exclude_hv = 1,
						.sample_id_all = 1,
						.use_clockid = 1,
						.clockid = CLOCK_MONOTONIC };
		struct attribute row = { .ids = { ids + i * sizeof(uint64_t), sizeof(uint64_t) } };

		if (probes[i].nargs && trace_is_stack(&probes[i].args[probes[i].nargs - 1]))
			describe_stack(&attr, &probes[i].args[probes[i].nargs - 1]);
		attr.mmap = attr.mmap2 = attr.comm = i == 0; /* one event carries them, as with perf record */
		memcpy(row.attr, &attr, sizeof(row.attr));
		format_buffer_add(out, &row, sizeof(row));
	}
}

static void front_header(struct format_perf *perf, const struct format_buffer *out)
{
	memcpy(perf->header.magic, FORMAT_PERF_MAGIC, sizeof(perf->header.magic));
	perf->header.size = sizeof(perf->header);
	perf->header.data = (struct format_perf_section) { out->size, sizeof(struct perf_event_header) };
	for (uint32_t i = 0; i < perf->features.count; i++)
		perf->header.features[perf->features.bits[i] / 64] |= 1ULL << perf->features.bits[i] % 64;
}

/* Everything before the data, one record (perf warns of a file without data), and the sections. */
static int front_write(struct format_perf *perf)
{
	static const struct perf_event_header round = { .type = FORMAT_PERF_RECORD_FINISHED_ROUND,
							.size = sizeof(round) };
	/* Names of threads: PERF_RECORD_COMM has them. */
	const struct format_perf_tracing_head tracing = { .version = "0.6", .page_size = (uint32_t)sysconf(_SC_PAGESIZE) };
	_cleanup_buffer_ struct format_buffer out = { 0 };
	size_t start;

	format_buffer_zero(&out, sizeof(perf->header));
	format_perf_table(&out, perf->probes, perf->nprobes);
	add_attributes(&out, &perf->header, perf->probes, perf->nprobes);
	start = out.size;
	format_perf_tracing(&out, &tracing, perf->probes, perf->nprobes, perf->shapes);
	format_perf_features_mark(&perf->features, FORMAT_PERF_TRACING_DATA, &out, start);
	format_buffer_align(&out, 8);
	format_perf_features_mark(&perf->features, FORMAT_PERF_BUILD_ID, &out, out.size); /* empty so far */
	format_buffer_zero(&out, BUILD_IDS_ROOM);
	format_perf_features_host(&out, &perf->features, perf->pack);
	format_buffer_align(&out, 8);
	front_header(perf, &out);
	format_buffer_add(&out, &round, sizeof(round));
	format_buffer_add(&out, perf->features.sections, sections_size(perf));
	if (out.error)
		return out.error;
	memcpy(out.data, &perf->header, sizeof(perf->header));
	return write_at(perf->fd, out.data, out.size, 0, NULL);
}

/* Before it is written once more. */
static void front_reset(struct format_perf *perf)
{
	perf->header = (struct format_perf_header) { { 0 } };
	perf->features = (struct format_perf_features) { { 0 } };
	perf->build_ids_put = 0;
}

static void perf_destroy(struct format_perf *perf)
{
	if (!perf)
		return;
	format_perf_pack_destroy(perf->pack);
	format_buffer_deinit(&perf->packed);
	format_buffer_deinit(&perf->build_ids);
	format_places_destroy(perf->places);
	free(perf->shapes);
	free(perf->buffer);
	free(perf);
}

int format_perf_create(int fd, const struct trace_probe *probes, uint32_t nprobes, struct format_perf **ret,
		       struct utap_error *err)
{
	struct format_perf *perf = calloc(1, sizeof(*perf));

	if (!perf)
		return base_error(err, -ENOMEM, UTAP_ERROR_SYSTEM, "no memory to write a perf.data");
	perf->fd = fd;
	perf->probes = probes;
	perf->nprobes = nprobes;
	int r = format_perf_shapes(probes, nprobes, &perf->shapes, err);

	if (r < 0) {
		perf_destroy(perf);
		return r;
	}
	perf->buffer = malloc(BUFFER_SIZE);
	r = perf->buffer ? format_places_create(probes, nprobes, &perf->places) : -ENOMEM;
	if (!r)
		r = front_write(perf);
	if (r < 0) {
		perf_destroy(perf);
		return base_error_system(err, r, "writing the head of a perf.data with %u probes failed", nprobes);
	}
	*ret = perf;
	return 0;
}

int format_perf_compress(struct format_perf *perf, int level)
{
	int r = format_perf_pack_create(level, &perf->pack);

	if (r)
		return r;
	front_reset(perf);
	return front_write(perf);
}

/* ---- flushing ---- */

/* Small things in front of the data that changed: the times of the first and last sample, new build-ids. */
static int flush_features(struct format_perf *perf)
{
	const uint64_t times[2] = { perf->time_first, perf->time_last };
	struct format_perf_section *ids = format_perf_features_find(&perf->features, FORMAT_PERF_BUILD_ID);
	uint64_t times_at = format_perf_features_find(&perf->features, FORMAT_PERF_SAMPLE_TIME)->offset;
	int r = write_at(perf->fd, times, sizeof(times), times_at, NULL);

	if (!r && perf->pack) {
		uint32_t feature[5];

		format_perf_pack_feature(perf->pack, PIECE_LARGEST, feature);
		r = write_at(perf->fd, feature, sizeof(feature),
			     format_perf_features_find(&perf->features, FORMAT_PERF_COMPRESSED)->offset, NULL);
	}
	if (!r && perf->build_ids_put < perf->build_ids_fit) {
		r = write_at(perf->fd, perf->build_ids.data + perf->build_ids_put,
			     perf->build_ids_fit - perf->build_ids_put, ids->offset + perf->build_ids_put, NULL);
		if (!r)
			ids->size = perf->build_ids_put = perf->build_ids_fit;
	}
	return r;
}

/* The most bytes of whole records among the buffer's first @limit. */
static size_t whole_records(const uint8_t *buffer, size_t limit)
{
	size_t at = 0;

	for (;;) {
		struct perf_event_header header;

		if (limit - at < sizeof(header))
			return at;
		memcpy(&header, buffer + at, sizeof(header));
		if (header.size > limit - at)
			return at;
		at += header.size;
	}
}

/*
 * The disk took bytes only up to @reached behind the valid data: keep the records that fit there with the sections.
 * Nothing here needs new blocks.
 */
static int flush_salvage(struct format_perf *perf, uint8_t *buffer, uint64_t end, size_t size, size_t reached, size_t *kept)
{
	size_t keep = whole_records(buffer, reached - sections_size(perf) < size ? reached - sections_size(perf) : size);

	memcpy(buffer + keep, perf->features.sections, sections_size(perf));
	int r = write_at(perf->fd, buffer, keep + sections_size(perf), end, NULL);

	if (!r) {
		*kept = keep;
		if (ftruncate(perf->fd, (off_t)(end + keep + sections_size(perf))) < 0)
			r = -errno;
	}
	return r;
}

/* Put the @size bytes of records in @buffer, which has room for the sections behind them, at the end of the data. *kept: how many came
 * there. */
static int flush_data(struct format_perf *perf, uint8_t *buffer, size_t size, size_t *kept)
{
	uint64_t end = perf->header.data.offset + perf->header.data.size;
	size_t first =
	    size < sections_size(perf) ? size : sections_size(perf); /* these overwrite the sections behind the old data */
	size_t written;

	memcpy(buffer + size, perf->features.sections, sections_size(perf));
	int r = write_at(perf->fd, buffer + first, size + sections_size(perf) - first, end + first, &written);

	if (r) {
		size_t reached = first + written;

		(void)flush_salvage(perf, buffer, end, size, reached > sections_size(perf) ? reached : sections_size(perf), kept);
		return r;
	}
	r = write_at(perf->fd, buffer, first, end, NULL);
	if (!r)
		*kept = size;
	return r;
}

/* What the buffer holds, or what becomes of it. */
static int flush_records(struct format_perf *perf, size_t *kept)
{
	size_t size;
	int r;

	if (!perf->pack)
		return flush_data(perf, perf->buffer, perf->used, kept);
	perf->packed.size = 0;
	r = format_perf_pack(perf->pack, perf->buffer, perf->used, &perf->packed);
	size = perf->packed.size;
	format_buffer_zero(&perf->packed, sections_size(perf)); /* room */
	if (!r)
		r = perf->packed.error;
	return r ? r : flush_data(perf, perf->packed.data, size, kept);
}

static int flush(struct format_perf *perf)
{
	static const struct perf_event_header round = { .type = FORMAT_PERF_RECORD_FINISHED_ROUND,
							.size = sizeof(round) };
	size_t kept = 0;

	if (perf->error)
		return perf->error;
	if (perf->used) {
		memcpy(perf->buffer + perf->used, &round, sizeof(round));
		perf->used += sizeof(round);
	}
	perf->error = flush_features(perf);
	int r = flush_records(perf, &kept);

	perf->header.data.size += kept;
	perf->used = 0;
	perf->time_flushed = perf->time_last;
	if (!perf->error)
		perf->error = r;
	r = write_at(perf->fd, &perf->header, sizeof(perf->header), 0, NULL);
	if (!perf->error)
		perf->error = r;
	return perf->error;
}

int format_perf_flush(struct format_perf *perf)
{
	return flush(perf);
}

/* Build-ids that had no room in front of the data: all of them again, behind everything. */
static int finish_build_ids(struct format_perf *perf)
{
	uint64_t end = perf->header.data.offset + perf->header.data.size;
	struct format_perf_section *ids = format_perf_features_find(&perf->features, FORMAT_PERF_BUILD_ID);
	struct format_perf_section at = { end + sections_size(perf), perf->build_ids.size };

	if (perf->error || perf->build_ids.size == perf->build_ids_fit)
		return perf->error;
	int r = write_at(perf->fd, perf->build_ids.data, at.size, at.offset, NULL);

	if (r)
		return r;
	*ids = at;
	return write_at(perf->fd, perf->features.sections, sections_size(perf), end, NULL);
}

int format_perf_finish(struct format_perf *perf)
{
	int r = flush(perf);

	if (!r)
		r = finish_build_ids(perf);
	perf_destroy(perf);
	return r;
}

/* ---- growing ---- */

/* All data so far, into the new file; its front is there. */
static int copy_data(const struct format_perf *from, const struct format_perf *to)
{
	_cleanup_free_ uint8_t *chunk = malloc(FLUSH_SIZE);
	uint64_t size = from->header.data.size;
	int r = chunk ? 0 : -ENOMEM;

	for (uint64_t done = 0; !r && done < size;) {
		size_t part = size - done < FLUSH_SIZE ? size - done : FLUSH_SIZE;
		ssize_t n = pread(from->fd, chunk, part, (off_t)(from->header.data.offset + done));

		if (n > 0) {
			r = write_at(to->fd, chunk, (size_t)n, to->header.data.offset + done, NULL);
			done += (uint64_t)n;
		} else if (!n || errno != EINTR) {
			r = n ? -errno : -EIO;
		}
	}
	if (!r)
		r = write_at(to->fd, to->features.sections, sections_size(to), to->header.data.offset + size, NULL);
	return r;
}

/* The new front differs from the old one in the tables of probes; what is known of build-ids and times goes along. */
static int write_anew(struct format_perf *perf, struct format_perf *grown)
{
	int r;

	front_reset(grown);
	r = front_write(grown);
	if (!r)
		r = flush_features(grown);
	if (!r)
		r = copy_data(perf, grown);
	if (!r) {
		grown->header.data.size = perf->header.data.size;
		r = write_at(grown->fd, &grown->header, sizeof(grown->header), 0, NULL);
	}
	return r;
}

int format_perf_grow(struct format_perf *perf, int fd, const struct trace_probe *probes, uint32_t nprobes,
		     struct utap_error *err)
{
	struct format_perf grown;
	int r;

	if (nprobes <= perf->nprobes) {
		r = format_places_grow(perf->places, probes, perf->nprobes);
		perf->probes = r ? perf->probes : probes;
		return r;
	}
	r = flush(perf);
	if (r)
		return base_error_system(err, r, "writing a perf.data failed");
	grown = *perf;
	grown.fd = fd;
	grown.probes = probes;
	grown.nprobes = nprobes;
	r = format_perf_shapes(probes, nprobes, &grown.shapes, err);
	if (r)
		return r;
	r = write_anew(perf, &grown);
	if (!r)
		r = format_places_grow(perf->places, probes, nprobes);
	if (r) {
		free(grown.shapes);
		return base_error_system(err, r, "writing a perf.data with %u probes failed", nprobes);
	}
	free(perf->shapes);
	*perf = grown;
	return 1;
}

/* ---- records ---- */

/* Room for a record of @size bytes, a multiple of 8; NULL with perf->error set. */
static inline uint8_t *reserve(struct format_perf *perf, size_t size)
{
	if (perf->error || (perf->used + size > FLUSH_SIZE && perf->used && flush(perf) < 0))
		return NULL;
	uint8_t *at = perf->buffer + perf->used;

	perf->used += size;
	return at;
}

/* After a record of that time was added. */
static inline int note_time(struct format_perf *perf, uint64_t time_ns)
{
	if (!perf->time_first)
		perf->time_first = perf->time_flushed = time_ns;
	if (time_ns > perf->time_last)
		perf->time_last = time_ns;
	return perf->time_last - perf->time_flushed > FLUSH_NS ? flush(perf) : 0;
}

/* Around the raw data, and its state there. */
static void put_stack(const struct format_perf_stack *stack, const struct format_perf_shape *shape, uint8_t *chain, uint8_t *raw,
		      uint32_t raw_size)
{
	uint32_t state = format_perf_stack_state(stack);

	format_perf_stack_put_chain(stack, chain);
	memcpy(raw + shape->stack, &state, sizeof(state));
	if (stack->tail)
		format_perf_stack_put_tail(stack, raw + raw_size);
}

int format_perf_sample(struct format_perf *perf, const struct trace_record *record)
{
	if (record->id >= perf->nprobes)
		return -EINVAL;
	const struct format_perf_shape *shape = &perf->shapes[record->id];
	const struct trace_probe *probe = &perf->probes[record->id];
	uint32_t rest = shape->nlong ? format_perf_long_room(shape, probe, record) : shape->size;
	struct format_perf_stack stack;

	stack.chain = stack.tail = 0;
	if (shape->stack)
		format_perf_stack_plan(probe, record, FORMAT_PERF_RECORD_MAX - rest, &stack);
	uint32_t room = rest + stack.chain + stack.tail;
	uint8_t *at = reserve(perf, room), *raw = at + FORMAT_PERF_RAW + stack.chain;

	if (!at)
		return perf->error;
	uint64_t addr = format_places_addr(perf->places, record->id, record->pid);
	uint32_t size = format_perf_raw_put(shape, probe, record, addr, raw, rest - (uint32_t)FORMAT_PERF_RAW);
	const struct format_perf_sample_record sample = {
		.header = { .type = PERF_RECORD_SAMPLE,
			    .misc = PERF_RECORD_MISC_USER,
			    .size = (uint16_t)((uint32_t)(raw - at) + size + stack.tail) },
		.identifier = (uint64_t)record->id + 1,
		.ip = shape->tail ? record->caller : addr, /* as the kernel: of a return where it is when it has returned */
		.pid = record->pid,
		.tid = record->tid,
		.time = record->time_ns,
		.cpu = record->cpu,
		.period = 1,
	};

	memcpy(at, &sample, sizeof(sample));
	memcpy(raw - sizeof(size), &size, sizeof(size));
	if (shape->stack)
		put_stack(&stack, shape, at + sizeof(sample), raw, size);
	perf->used -= room - sample.header.size; /* what is not needed is given back */
	return note_time(perf, record->time_ns);
}

static struct format_perf_sample_id sample_id(const struct format_perf *perf, uint32_t pid, uint32_t tid,
					      uint64_t identifier, uint64_t time_ns)
{
	return (struct format_perf_sample_id) {
		.pid = pid,
		.tid = tid,
		.time = time_ns > perf->time_last ? time_ns : perf->time_last,
		.identifier = identifier,
	};
}

int format_perf_comm(struct format_perf *perf, uint32_t pid, uint32_t tid, const char *comm)
{
	struct {
		struct perf_event_header header;
		uint32_t pid, tid;
		char comm[FORMAT_PERF_COMM_SIZE];
		struct format_perf_sample_id sample;
	} record = { .header = { .type = PERF_RECORD_COMM, .misc = PERF_RECORD_MISC_USER, .size = sizeof(record) },
		     .pid = pid,
		     .tid = tid,
		     .sample = sample_id(perf, pid, tid, 1, 0) };

	memcpy(record.comm, comm, strnlen(comm, sizeof(record.comm) - 1));
	uint8_t *at = reserve(perf, record.header.size);

	if (!at)
		return perf->error;
	memcpy(at, &record, sizeof(record));
	return 0;
}

int format_perf_map(struct format_perf *perf, const struct format_map *map)
{
	struct format_perf_mmap2 record = { .header = { .type = PERF_RECORD_MMAP2, .misc = PERF_RECORD_MISC_USER },
		     .pid = map->pid,
		     .tid = map->pid,
		     .addr = map->start,
		     .len = map->size,
		     .pgoff = map->offset,
		     .maj = map->major,
		     .min = map->minor,
		     .ino = map->inode,
		     .prot = map->prot,
		     .flags = map->flags };
	size_t length = strlen(map->path);
	size_t padded = base_align_up(length + 1, 8);

	if (length >= 4096)
		return -ENAMETOOLONG;
	int r = format_places_map(perf->places, map);

	if (r < 0)
		return r;
	if (!(map->prot & PROT_EXEC))
		record.header.misc |= PERF_RECORD_MISC_MMAP_DATA;
	record.header.size = (uint16_t)(sizeof(record) + padded + sizeof(struct format_perf_sample_id));
	uint8_t *at = reserve(perf, record.header.size);

	if (!at)
		return perf->error;
	memcpy(at, &record, sizeof(record));
	memset(at + sizeof(record) + padded - 8, 0, 8);
	memcpy(at + sizeof(record), map->path, length);
	const struct format_perf_sample_id sample = sample_id(perf, map->pid, map->pid, 1, 0);

	memcpy(at + sizeof(record) + padded, &sample, sizeof(sample));
	return 0;
}

int format_perf_fork(struct format_perf *perf, uint32_t pid, uint32_t parent)
{
	struct {
		struct format_perf_fork_record fork;
		struct format_perf_sample_id sample;
	} record = { .fork = { .header = { .type = PERF_RECORD_FORK, .misc = PERF_RECORD_MISC_USER, .size = sizeof(record) },
			       .pid = pid,
			       .ppid = parent,
			       .tid = pid,
			       .ptid = parent },
		     .sample = sample_id(perf, pid, pid, 1, 0) };
	int r = format_places_fork(perf->places, pid, parent);
	uint8_t *at = r ? NULL : reserve(perf, sizeof(record));

	if (!at)
		return r ? r : perf->error;
	record.fork.time = record.sample.time;
	memcpy(at, &record, sizeof(record));
	return 0;
}

/*
 * Two records: perf script names the event of the first, but perf report gives the number of the second only. Our
 * reader takes the first.
 */
int format_perf_lost(struct format_perf *perf, uint32_t id, uint64_t lost, uint64_t time_ns)
{
	struct {
		struct perf_event_header header;
		uint64_t id, lost;
		struct format_perf_sample_id sample;
		struct perf_event_header samples_header;
		uint64_t samples_lost;
		struct format_perf_sample_id samples_sample;
	} records = { .header = { .type = PERF_RECORD_LOST,
				  .misc = PERF_RECORD_MISC_USER,
				  .size = offsetof(typeof(records), samples_header) },
		      .id = (uint64_t)id + 1,
		      .lost = lost,
		      .samples_header = { .type = PERF_RECORD_LOST_SAMPLES,
					  .misc = PERF_RECORD_MISC_USER,
					  .size = sizeof(records) - offsetof(typeof(records), samples_header) },
		      .samples_lost = lost };

	if (id >= perf->nprobes)
		return -EINVAL;
	uint8_t *at = reserve(perf, sizeof(records));

	if (!at)
		return perf->error;
	records.sample = records.samples_sample = sample_id(perf, 0, 0, records.id, time_ns);
	memcpy(at, &records, sizeof(records));
	return 0;
}

/* Is the row at @last, the last one, also an earlier one? */
static bool is_known_row(const struct format_buffer *rows, size_t last)
{
	struct perf_event_header header;

	for (size_t at = 0; at < last; at += header.size) {
		memcpy(&header, rows->data + at, sizeof(header));
		if (header.size == rows->size - last && !memcmp(rows->data + at, rows->data + last, header.size))
			return true;
	}
	return false;
}

int format_perf_build_id(struct format_perf *perf, const char *path, const uint8_t *id, size_t size)
{
	if (!size || size > 20)
		return -EINVAL;
	if (strlen(path) >= 4096)
		return -ENAMETOOLONG;
	size_t start = perf->build_ids.size;

	format_perf_build_id_record(&perf->build_ids, path, id, size);
	if (perf->build_ids.error) {
		int r = perf->build_ids.error;

		perf->build_ids.size = start;
		perf->build_ids.error = 0;
		return r;
	}
	if (is_known_row(&perf->build_ids, start)) {
		perf->build_ids.size = start;
		return 0;
	}
	if (perf->build_ids_fit == start && perf->build_ids.size <= BUILD_IDS_ROOM)
		perf->build_ids_fit = perf->build_ids.size;
	return 0;
}
