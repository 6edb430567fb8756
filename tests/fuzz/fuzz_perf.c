/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a perf.data: opening and reading must end, without a crash, and hand out only what is within bounds.
 *
 * Random bytes rarely get past the two magic words, so an input that does not start as a perf.data does is given a
 * well-formed header, and becomes the table of probes and the records behind it. Files of format_perf_create() are
 * seeds of the other kind.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "format/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const struct format_perf_event *event, const struct trace_probe *probes, size_t nprobes)
{
	if (event->type == FORMAT_PERF_SAMPLE) {
		const struct trace_record *record = &event->record;
		const struct format_where where = { .bytes = record->bytes, .size = record->size };

		assert(record->id < nprobes);
		assert(record->nargs == probes[record->id].nargs);
		for (uint32_t i = 0; i < record->nargs; i++) {
			char text[256];

			assert(format_arg_text(&probes[record->id].args[i], record->args[i], &where, text, sizeof(text)) < sizeof(text));
		}
	} else if (event->type == FORMAT_PERF_LOST) {
		assert(event->record.id < nprobes);
	}
	if (event->comm)
		assert(strlen(event->comm) < 16);
}

static void read_all(const char *path, size_t size)
{
	struct format_perf_file *file;
	struct format_perf_event event;
	struct utap_error err;
	const struct trace_probe *probes;
	size_t records = 0;

	if (format_perf_open(path, &file, &err) < 0)
		return;
	size_t nprobes = format_perf_probes(file, &probes);

	for (size_t i = 0; i < nprobes; i++) {
		assert(strlen(probes[i].group) < sizeof(probes[i].group) &&
		       strlen(probes[i].path) < 65536);
		for (uint32_t j = 0; j < probes[i].nargs; j++)
			assert(strlen(probes[i].args[j].name) < sizeof(probes[i].args[j].name));
	}
	while (!format_perf_next(file, &event, &err) && event.type != FORMAT_PERF_END) {
		use(&event, probes, nprobes);
		assert(++records <= size / 8);
	}
	format_perf_close(file);
}

static void put(int fd, const void *data, size_t size, off_t at)
{
	if (pwrite(fd, data, size, at) != (ssize_t)size)
		abort();
}

/* The header of a file whose table takes the first half of the input, and its records the rest. */
static void put_completed(int fd, const uint8_t *data, size_t size)
{
	struct {
		char magic[8];
		uint64_t size, attr_size, attrs[2], data[2], types[2], features[4];
	} header = { .magic = "PERFILE2", .size = sizeof(header), .attr_size = 128 };
	struct {
		char magic[8];
		uint32_t version;
	} table = { .magic = "utap.prb", .version = 1 };
	size_t half = size / 2;

	header.attrs[0] = header.data[0] = sizeof(header) + sizeof(table) + half;
	header.data[1] = size - half;
	put(fd, &header, sizeof(header), 0);
	put(fd, &table, sizeof(table), sizeof(header));
	put(fd, data, size, sizeof(header) + sizeof(table));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[32];
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (fd < 0)
		abort();
	if (size < 8 || memcmp(data, "PERFILE2", 8) != 0)
		put_completed(fd, data, size);
	else
		put(fd, data, size, 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	read_all(path, size + 256);
	close(fd);
	return 0;
}
