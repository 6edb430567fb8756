/* SPDX-License-Identifier: MIT */
/*
 * Compressed perf.data: records of which each holds a piece of one zstd stream, made from other records. Such a file is
 * expanded into one without a name, which is then read as any other; so records may lie across pieces, and the reader
 * knows nothing of it.
 *
 * The file is input: a stream that is damaged ends the data there, and the reader tells so after the last record. Where a frame has a
 * checksum nothing of it is taken when it is damaged; of one that has none, and of one that was not ended (the recorder was killed), what
 * comes out of it. What expands to more than EXPANDED_MAX is refused.
 *
 * Source: tools/perf/Documentation/perf.data-file-format.txt, PERF_RECORD_COMPRESSED and HEADER_COMPRESSED; RFC 8878.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "format/convert.h"
#include "format/perf_layout.h"

#define FEATURE_COMPRESSED 27
#define RECORD_COMPRESSED 81  /* the pieces fill the record */
#define RECORD_COMPRESSED2 83 /* a u64 tells how many of the bytes count */
#define EXPANDED_MAX (64ULL << 30)
#define OUT_SIZE (256UL << 10)

struct expansion {
	int from, to;
	uint64_t written; /* of data */
	uint64_t frame_at, frame_written; /* of the frame that is read: where it begins in the file, and in the data */
	bool in_frame, is_checked;        /* it is not over yet; it ends with a checksum */
	bool has_pieces, has_others;      /* records so far that are compressed, that are not */
	ZSTD_DStream *stream;
	uint64_t damaged_at; /* in the file that is read; 0: nothing is */
	uint8_t *out; /* OUT_SIZE bytes */
	uint8_t record[UINT16_MAX];
};

static void expansion_deinit(struct expansion *e)
{
	ZSTD_freeDStream(e->stream);
	free(e->out);
	if (e->to >= 0)
		close(e->to);
}

/* Bytes read, fewer at the end of the file; negative errno. */
static ssize_t read_at(int fd, void *to, size_t size, uint64_t at)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = pread(fd, (uint8_t *)to + done, size - done, (off_t)(at + done));

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			break;
		done += n > 0 ? (size_t)n : 0;
	}
	return (ssize_t)done;
}

static int put(struct expansion *e, const void *data, size_t size)
{
	if (size > EXPANDED_MAX - e->written)
		return -EFBIG;
	e->written += size;
	return base_write_all(e->to, data, size);
}

/* A frame begins with 4 bytes of magic and the descriptor, of which bit 2 promises a checksum. Source: RFC 8878, 3.1.1.1.1. */
static void begin_frame(struct expansion *e, const uint8_t *data, size_t size, uint64_t at)
{
	e->in_frame = true;
	e->frame_at = at;
	e->frame_written = e->written;
	e->is_checked = size > 4 && data[4] & 4;
}

/* 1: the stream is damaged here. @at: of the record, in the file. */
static int expand_piece(struct expansion *e, const uint8_t *data, size_t size, uint64_t at)
{
	ZSTD_inBuffer in = { .src = data, .size = size };
	ZSTD_outBuffer out = { .dst = e->out, .size = OUT_SIZE };
	int error = 0;

	e->has_pieces = true;
	do {
		out.pos = 0;
		if (!e->in_frame && in.pos < in.size)
			begin_frame(e, data + in.pos, size - in.pos, at);
		size_t left = ZSTD_decompressStream(e->stream, &out, &in);

		if (ZSTD_isError(left) || (e->is_checked && e->has_others))
			return 1;
		e->in_frame = left;
		error = put(e, e->out, out.pos);
	} while (!error && (in.pos < in.size || out.pos == out.size));
	return error;
}

/* The data end before what is damaged: @at, or where its frame began. */
static int cut_damage(struct expansion *e, uint64_t head, uint64_t at)
{
	bool takes_nothing = e->in_frame && e->is_checked;

	e->damaged_at = takes_nothing ? e->frame_at : at;
	if (!takes_nothing)
		return 0;
	e->written = e->frame_written;
	if (ftruncate(e->to, (off_t)(head + e->written)) || lseek(e->to, 0, SEEK_END) < 0)
		return -errno;
	return 0;
}

static int expand_record(struct expansion *e, const struct perf_event_header *header, uint64_t at)
{
	size_t head = sizeof(*header);
	uint64_t size = header->size - head;

	if (header->type == RECORD_COMPRESSED2) {
		head += sizeof(size);
		if (header->size < head)
			return 1;
		memcpy(&size, e->record + sizeof(*header), sizeof(size));
		if (size > header->size - head)
			return 1;
	} else if (header->type != RECORD_COMPRESSED) {
		bool is_other = header->type != FORMAT_PERF_RECORD_FINISHED_ROUND;

		e->has_others |= is_other;
		if (is_other && e->is_checked) /* who writes checksums, writes nothing between */
			return 1;
		return put(e, e->record, header->size);
	}
	return expand_piece(e, e->record + head, size, at);
}

/* To the end, or as far as it makes sense. 1: there it is damaged, at *at. */
static int expand_records(struct expansion *e, uint64_t *at, uint64_t end)
{
	int error = 0;

	while (!error && *at < end) {
		struct perf_event_header header;
		size_t most = end - *at < sizeof(e->record) ? (size_t)(end - *at) : sizeof(e->record);
		ssize_t got = read_at(e->from, e->record, most, *at);

		if (got < 0)
			return (int)got;
		if ((size_t)got < sizeof(header))
			return 1;
		memcpy(&header, e->record, sizeof(header));
		if (header.size < sizeof(header) || header.size > got)
			return 1;
		error = expand_record(e, &header, *at);
		if (!error)
			*at += header.size;
	}
	return error ? error : e->has_others && !e->has_pieces;
}

/* All before the data as it is. */
static int copy_head(struct expansion *e, uint64_t size)
{
	for (uint64_t at = 0; at < size;) {
		size_t most = size - at < OUT_SIZE ? (size_t)(size - at) : OUT_SIZE;
		ssize_t got = read_at(e->from, e->out, most, at);

		if (got <= 0)
			return got ? (int)got : -EINVAL;
		int error = base_write_all(e->to, e->out, (size_t)got);

		if (error)
			return error;
		at += (uint64_t)got;
	}
	return 0;
}

static int make_file(void)
{
	const char *directory = getenv("TMPDIR");
	int fd = open(directory ? directory : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0)
		fd = memfd_create("perf.data", MFD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int expand(struct expansion *e, struct format_perf_header *header)
{
	uint64_t at = header->data.offset;
	uint64_t end = at + header->data.size;
	struct stat st;
	int error;

	e->stream = ZSTD_createDStream();
	e->out = malloc(OUT_SIZE);
	if (!e->stream || !e->out)
		return -ENOMEM;
	e->to = make_file();
	if (e->to < 0)
		return e->to;
	if (fstat(e->from, &st))
		return -errno;
	error = copy_head(e, at);
	if (!error)
		error = expand_records(e, &at, end < (uint64_t)st.st_size ? end : (uint64_t)st.st_size);
	if (error == 1 || (!error && end > (uint64_t)st.st_size))
		error = cut_damage(e, header->data.offset, at);
	if (error)
		return error;
	header->data.size = e->written;
	header->features[0] &= ~(1ULL << FEATURE_COMPRESSED);
	return pwrite(e->to, header, sizeof(*header), 0) == (ssize_t)sizeof(*header) ? 0 : -EIO;
}

int format_perf_expand(int *fd, uint64_t *damaged_at, struct utap_error *err)
{
	struct format_perf_header header;
	struct stat st;

	if (read_at(*fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header) || fstat(*fd, &st) ||
	    memcmp(header.magic, FORMAT_PERF_MAGIC, sizeof(header.magic)) != 0 ||
	    !(header.features[0] >> FEATURE_COMPRESSED & 1) || header.data.offset < sizeof(header) ||
	    header.data.offset > (uint64_t)st.st_size || header.data.size > INT64_MAX - header.data.offset)
		return 0;
	struct expansion *e = calloc(1, sizeof(*e));

	if (!e)
		return base_error(err, -ENOMEM, UTAP_ERROR_SYSTEM, "no memory to expand a compressed perf.data");
	e->from = *fd;
	e->to = -1;
	int error = expand(e, &header);

	if (!error) {
		close(*fd);
		*fd = base_steal_fd(&e->to);
		*damaged_at = e->damaged_at;
	}
	expansion_deinit(e);
	free(e);
	return error ? base_error_system(err, error, "the compressed records cannot be expanded") : 0;
}
