/* SPDX-License-Identifier: MIT */
/*
 * Compressed records: all of a file are one zstd stream, of which each PERF_RECORD_COMPRESSED holds a piece. A piece ends where a whole
 * number of records does, and the stream is flushed there, so what is cut off behind a piece is readable up to it. Only a record that does
 * not get smaller and is as large as records get takes two pieces.
 *
 * What is written at once is a frame, with a checksum: so damage is noticed, and everything before its frame is known to be right. A frame
 * ends in the piece of its last records, for a piece that becomes no record is an error to perf.
 *
 * Source: tools/perf/Documentation/perf.data-file-format.txt, PERF_RECORD_COMPRESSED and HEADER_COMPRESSED; RFC 8878.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "format/perf_layout.h"

#define RECORD_COMPRESSED 81
#define CHUNK (56U << 10) /* of records in a piece: they fit also when they do not get smaller */
#define TYPE_ZSTD 1

struct format_perf_pack {
	ZSTD_CStream *stream;
	int level;
	uint64_t from, to; /* bytes so far */
};

int format_perf_pack_create(int level, struct format_perf_pack **ret)
{
	struct format_perf_pack *pack = calloc(1, sizeof(*pack));

	if (!pack)
		return -ENOMEM;
	pack->level = level;
	pack->stream = ZSTD_createCStream();
	if (!pack->stream || ZSTD_isError(ZSTD_initCStream(pack->stream, level)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(pack->stream, ZSTD_c_checksumFlag, 1))) {
		format_perf_pack_destroy(pack);
		return -ENOMEM;
	}
	*ret = pack;
	return 0;
}

void format_perf_pack_destroy(struct format_perf_pack *pack)
{
	if (pack)
		ZSTD_freeCStream(pack->stream);
	free(pack);
}

void format_perf_pack_feature(const struct format_perf_pack *pack, uint32_t largest, uint32_t ret[5])
{
	uint64_t ratio = pack->to ? pack->from / pack->to : 1;

	ret[0] = 1; /* version */
	ret[1] = TYPE_ZSTD;
	ret[2] = (uint32_t)pack->level;
	ret[3] = ratio > UINT32_MAX ? UINT32_MAX : (uint32_t)ratio;
	ret[4] = largest;
}

/* Whole records of the first CHUNK bytes, at least one. */
static size_t chunk_size(const uint8_t *data, size_t size)
{
	size_t at = 0;

	while (at < size) {
		struct perf_event_header header;

		memcpy(&header, data + at, sizeof(header));
		if (at && at + header.size > CHUNK)
			break;
		at += header.size;
	}
	return at;
}

static int pack_chunk(struct format_perf_pack *pack, ZSTD_inBuffer *in, ZSTD_EndDirective how, struct format_buffer *out)
{
	size_t left = 1;

	while (left) {
		struct perf_event_header header = { .type = RECORD_COMPRESSED };
		size_t at = out->size;

		format_buffer_zero(out, FORMAT_PERF_RECORD_MAX);
		if (out->error)
			return out->error;
		ZSTD_outBuffer to = { .dst = out->data + at, .size = FORMAT_PERF_RECORD_MAX, .pos = sizeof(header) };

		left = ZSTD_compressStream2(pack->stream, &to, in, how);
		if (ZSTD_isError(left))
			return -EIO;
		out->size = at + to.pos;
		header.size = (uint16_t)to.pos;
		memcpy(out->data + at, &header, sizeof(header));
	}
	return 0;
}

int format_perf_pack(struct format_perf_pack *pack, const uint8_t *data, size_t size, struct format_buffer *out)
{
	int error = 0;

	for (size_t at = 0; at < size && !error;) {
		ZSTD_inBuffer in = { .src = data + at, .size = chunk_size(data + at, size - at) };
		size_t before = out->size;

		at += in.size;
		error = pack_chunk(pack, &in, at == size && in.size <= CHUNK ? ZSTD_e_end : ZSTD_e_flush, out);
		pack->from += in.size;
		pack->to += out->size - before;
	}
	return error;
}
