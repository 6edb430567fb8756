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

#include "format/perf_writer.h"

#define SECTIONS_MOST (FORMAT_PERF_FEATURES * sizeof(struct format_perf_section))
#define BUFFER_SIZE (FLUSH_SIZE + FORMAT_PERF_RECORD_MAX + sizeof(struct perf_event_header) + SECTIONS_MOST)
#define PIECE_LARGEST (128U << 10) /* that a compressed record becomes again, at most */

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
