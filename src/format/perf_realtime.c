/* SPDX-License-Identifier: MIT */
/*
 * The wall clock of a perf.data: its clock data (one moment on the clock of the samples and on the wall's). Sections of
 * features follow the data, in the order of their bits.
 *
 * Source: tools/perf/Documentation/perf.data-file-format.txt, HEADER_CLOCK_DATA.
 */
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "format/convert.h"
#include "format/perf_layout.h"

static bool read_at(int fd, void *to, size_t size, uint64_t at)
{
	return at <= INT64_MAX && pread(fd, to, size, (off_t)at) == (ssize_t)size;
}

static bool has_bit(const struct format_perf_header *header, unsigned bit)
{
	return header->features[bit / 64] >> bit % 64 & 1;
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
	unsigned number = 0;

	if (fd < 0 || !read_at(fd, &header, sizeof(header), 0) || !has_bit(&header, FORMAT_PERF_CLOCK_DATA))
		return 0;
	for (unsigned bit = 0; bit < FORMAT_PERF_CLOCK_DATA; bit++)
		number += has_bit(&header, bit);
	if (!read_at(fd, &section, sizeof(section), header.data.offset + header.data.size + number * sizeof(section)) ||
	    !read_at(fd, &data, sizeof(data), section.offset))
		return 0;
	return data.version == 1 && data.clock == CLOCK_MONOTONIC && data.wall_ns > data.clock_ns
		   ? data.wall_ns - data.clock_ns
		   : 0;
}
