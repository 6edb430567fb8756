/* SPDX-License-Identifier: MIT */
/*
 * Reading features of a perf.data. Their sections follow the data, in the order of their bits; of a file that is cut off there are none.
 * The wall clock: the clock data, which is one moment on the clock of the samples and on the wall's.
 *
 * Source: tools/perf/Documentation/perf.data-file-format.txt, HEADER_BUILD_ID, HEADER_CLOCK_DATA.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "format/convert.h"
#include "format/perf_layout.h"

#define BUILD_IDS_MAX (64U << 20)

static bool read_at(int fd, void *to, size_t size, uint64_t at)
{
	return at <= INT64_MAX && pread(fd, to, size, (off_t)at) == (ssize_t)size;
}

static bool has_bit(const struct format_perf_header *header, unsigned bit)
{
	return header->features[bit / 64] >> bit % 64 & 1;
}

bool format_perf_section_read(int fd, const struct format_perf_header *header, enum format_perf_feature_bit bit,
			      struct format_perf_section *ret)
{
	unsigned number = 0;

	if (!has_bit(header, bit))
		return false;
	for (unsigned before = 0; before < bit; before++)
		number += has_bit(header, before);
	return read_at(fd, ret, sizeof(*ret), header->data.offset + header->data.size + number * sizeof(*ret));
}

uint64_t format_perf_realtime(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct format_perf_header header;
	struct format_perf_section section;
	struct {
		uint32_t version, clock;
		uint64_t wall_ns, clock_ns;
	} data;

	if (fd < 0 || !read_at(fd, &header, sizeof(header), 0) ||
	    !format_perf_section_read(fd, &header, FORMAT_PERF_CLOCK_DATA, &section) ||
	    !read_at(fd, &data, sizeof(data), section.offset))
		return 0;
	return data.version == 1 && data.clock == CLOCK_MONOTONIC && data.wall_ns > data.clock_ns
		   ? data.wall_ns - data.clock_ns
		   : 0;
}

/* ---- build-ids ---- */

int format_perf_build_ids_read(int fd, struct format_buffer *out)
{
	struct format_perf_header header;
	struct format_perf_section section;

	if (!read_at(fd, &header, sizeof(header), 0) || memcmp(header.magic, FORMAT_PERF_MAGIC, sizeof(header.magic)) != 0 ||
	    !format_perf_section_read(fd, &header, FORMAT_PERF_BUILD_ID, &section) || section.size > BUILD_IDS_MAX)
		return 0;
	_cleanup_free_ uint8_t *data = malloc(section.size + 1);

	if (!data)
		return -ENOMEM;
	if (read_at(fd, data, section.size, section.offset))
		format_buffer_add(out, data, section.size);
	return out->error;
}

size_t format_perf_build_ids_find(const struct format_buffer *ids, const char *path, const uint8_t **ret)
{
	struct format_perf_build_id row;
	size_t length = strlen(path);

	for (size_t at = 0; ids->size - at >= sizeof(row); at += row.header.size) {
		memcpy(&row, ids->data + at, sizeof(row));
		if (row.header.size < sizeof(row) || row.header.size > ids->size - at)
			return 0;
		if (length >= row.header.size - sizeof(row) || memcmp(ids->data + at + sizeof(row), path, length + 1) != 0)
			continue;
		*ret = ids->data + at + offsetof(struct format_perf_build_id, id);
		if (!(row.header.misc & FORMAT_PERF_MISC_BUILD_ID_SIZE))
			return sizeof(row.id);
		return row.size <= sizeof(row.id) ? row.size : 0;
	}
	return 0;
}
