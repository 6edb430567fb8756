/* SPDX-License-Identifier: MIT */
/*
 * perf.data: what was written comes back; damage, cut-off files and full disks end in an error, never in a crash; and
 * the real perf, when it is installed, prints the records as they were given.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <zstd.h>

#include "format/format.h"
#include "format/perf_layout.h"

#define NARGS 12
#define START_NS 1000000000000ULL

static const struct trace_arg all_args[NARGS] = {
	{ "x64", 64, TRACE_HEX },      { "x8", 8, TRACE_HEX },        { "u64", 64, TRACE_UNSIGNED },
	{ "s8", 8, TRACE_SIGNED },     { "s16", 16, TRACE_SIGNED },   { "u8", 8, TRACE_UNSIGNED },
	{ "s32", 32, TRACE_SIGNED },   { "s64", 64, TRACE_SIGNED },   { "x16", 16, TRACE_HEX },
	{ "u32", 32, TRACE_UNSIGNED }, { "u16", 16, TRACE_UNSIGNED }, { "x32", 32, TRACE_HEX },
};
/* Bits above an argument's width are set: they must not show. */
static const uint64_t all_values[NARGS] = {
	0x18,           0xfff,        24,     0xabcdffULL, (uint64_t)-2, 0x1c8,
	0x5ffffffffULL, (uint64_t)-5, 0xbeef, 4000000000U, 65535,        0x1cafebabeULL,
};
static const uint64_t all_expected[NARGS] = {
	0x18,         0xff,         24,     (uint64_t)-1, (uint64_t)-2, 0xc8,
	(uint64_t)-1, (uint64_t)-5, 0xbeef, 4000000000U,  65535,        0xcafebabe,
};

#define SYMBOLS 500

struct file {
	char path[64];
	char symbols[SYMBOLS][32]; /* of the probes, in turn */
	int fd;
	struct trace_probe *probes;
	uint32_t nprobes;
	struct format_perf *perf;
};

/* Probe 0 has every kind of argument, 1 has none, the others one each. */
static void file_open(struct file *file, uint32_t nprobes)
{
	*file = (struct file) { .path = "/tmp/utap-test-format-XXXXXX", .nprobes = nprobes };
	file->fd = mkstemp(file->path);
	assert_true(file->fd >= 0);
	file->probes = calloc(nprobes + 1, sizeof(*file->probes));
	assert_non_null(file->probes);
	for (uint32_t i = 0; i < nprobes; i++) {
		struct trace_probe *probe = &file->probes[i];

		snprintf(probe->group, sizeof(probe->group), "%s", i % 2 ? "libc" : "utap");
		snprintf(probe->event, sizeof(probe->event), "event%u", i);
		probe->path = i % 3 ? "/opt/other.so" : "/opt/one.so";
		snprintf(file->symbols[i % SYMBOLS], sizeof(file->symbols[0]), "ns::symbol<%u>", i % SYMBOLS);
		probe->symbol = file->symbols[i % SYMBOLS];
		probe->offset = 0x1000 + i;
		probe->symbol_offset = i;
		probe->addr = 0x7f0000001000 + i;
		probe->record_size = 24 + 8 * NARGS;
		probe->nargs = i == 0 ? NARGS : i != 1;
		probe->args = all_args;
	}
	assert_int_equal(format_perf_create(file->fd, file->probes, nprobes, &file->perf, NULL), 0);
}

static void file_close(struct file *file)
{
	close(file->fd);
	unlink(file->path);
	free(file->probes);
}

static void file_finish(struct file *file)
{
	assert_int_equal(format_perf_finish(file->perf), 0);
}

static int add_sample(struct file *file, uint32_t id, uint32_t pid, uint32_t tid, uint64_t time_ns)
{
	struct trace_record record = { .time_ns = time_ns,
				       .id = id,
				       .cpu = 1,
				       .pid = pid,
				       .tid = tid,
				       .nargs = file->probes[id].nargs,
				       .args = all_values };

	return format_perf_sample(file->perf, &record);
}

static struct format_map code_map(uint32_t pid, uint64_t start, const char *path)
{
	return (struct format_map) { .pid = pid,
				     .start = start,
				     .size = 0x10000,
				     .offset = 0x1000,
				     .major = 8,
				     .minor = 1,
				     .inode = 77,
				     .prot = PROT_READ | PROT_EXEC,
				     .flags = MAP_PRIVATE,
				     .path = path };
}

static struct format_perf_event next(struct format_perf_file *in)
{
	struct format_perf_event event;
	struct utap_error err = { 0 };
	int r = format_perf_next(in, &event, &err);

	if (r)
		fail_msg("%d: %s", r, err.text);
	return event;
}

/* Samples until the end, which must come without damage; -errno when the file does not open. */
static long count_samples(const char *path)
{
	struct format_perf_file *in;
	struct format_perf_event event;
	long count = 0;
	int r = format_perf_open(path, &in, NULL);

	if (r < 0)
		return r;
	for (event = next(in); event.type != FORMAT_PERF_END; event = next(in))
		count += event.type == FORMAT_PERF_SAMPLE;
	format_perf_close(in);
	return count;
}

static void test_everything_comes_back(void **state)
{
	struct file file;
	struct format_perf_file *in;
	const struct trace_probe *probes;

	file_open(&file, 3);
	assert_int_equal(format_perf_comm(file.perf, 10, 11, "a name of many bytes"), 0);
	assert_int_equal(add_sample(&file, 0, 10, 11, START_NS), 0);
	assert_int_equal(add_sample(&file, 1, 10, 12, START_NS + 1), 0);
	assert_int_equal(format_perf_lost(file.perf, 2, 1234, START_NS + 2), 0);
	assert_int_equal(add_sample(&file, 2, 10, 11, START_NS + 3), 0);
	file_finish(&file);
	assert_int_equal(format_perf_open(file.path, &in, NULL), 0);

	assert_int_equal(format_perf_probes(in, &probes), 3);
	for (uint32_t i = 0; i < 3; i++) {
		assert_string_equal(probes[i].group, file.probes[i].group);
		assert_string_equal(probes[i].event, file.probes[i].event);
		assert_string_equal(probes[i].path, file.probes[i].path);
		assert_string_equal(probes[i].symbol, file.probes[i].symbol);
		assert_int_equal(probes[i].offset, file.probes[i].offset);
		assert_int_equal(probes[i].symbol_offset, file.probes[i].symbol_offset);
		assert_int_equal(probes[i].addr, file.probes[i].addr);
		assert_int_equal(probes[i].record_size, file.probes[i].record_size);
		assert_int_equal(probes[i].nargs, file.probes[i].nargs);
		for (uint32_t j = 0; j < probes[i].nargs; j++) {
			assert_string_equal(probes[i].args[j].name, all_args[j].name);
			assert_int_equal(probes[i].args[j].bits, all_args[j].bits);
			assert_int_equal(probes[i].args[j].format, all_args[j].format);
		}
	}

	struct format_perf_event event = next(in);

	assert_int_equal(event.type, FORMAT_PERF_COMM);
	assert_string_equal(event.comm, "a name of many ");
	assert_int_equal(event.pid, 10);
	assert_int_equal(event.tid, 11);
	event = next(in);
	assert_int_equal(event.type, FORMAT_PERF_SAMPLE);
	assert_string_equal(event.comm, "a name of many ");
	assert_int_equal(event.record.time_ns, START_NS);
	assert_int_equal(event.record.id, 0);
	assert_int_equal(event.record.cpu, 1);
	assert_int_equal(event.record.pid, 10);
	assert_int_equal(event.record.tid, 11);
	assert_int_equal(event.ip, file.probes[0].addr);
	assert_int_equal(event.record.nargs, NARGS);
	assert_memory_equal(event.record.args, all_expected, sizeof(all_expected));
	event = next(in);
	assert_int_equal(event.type, FORMAT_PERF_SAMPLE);
	assert_null(event.comm);
	assert_int_equal(event.record.id, 1);
	assert_int_equal(event.record.nargs, 0);
	event = next(in);
	assert_int_equal(event.type, FORMAT_PERF_LOST);
	assert_int_equal(event.record.id, 2);
	assert_int_equal(event.record.time_ns, START_NS + 2);
	assert_int_equal(event.lost, 1234);
	event = next(in);
	assert_int_equal(event.type, FORMAT_PERF_SAMPLE);
	assert_int_equal(event.record.id, 2);
	assert_int_equal(event.record.args[0], 0x18);
	assert_int_equal(next(in).type, FORMAT_PERF_END);
	assert_int_equal(next(in).type, FORMAT_PERF_END);
	format_perf_close(in);
	file_close(&file);
}

/* The mapping comes back as it was given. */
static void check_map(struct format_perf_event event, const struct format_map *map)
{
	assert_int_equal(event.type, FORMAT_PERF_MAP);
	assert_int_equal(event.pid, map->pid);
	assert_string_equal(event.map.path, map->path);
	assert_int_equal(event.map.start, map->start);
	assert_int_equal(event.map.size, map->size);
	assert_int_equal(event.map.offset, map->offset);
	assert_int_equal(event.map.inode, map->inode);
	assert_int_equal(event.map.prot, map->prot);
}

static void test_address_of_each_process(void **state)
{
	struct file file;
	struct format_perf_file *in;
	static const uint8_t id[20] = { 1, 2, 3 };

	file_open(&file, 2);
	struct format_map first = code_map(10, 0x10000000, "/opt/one.so");
	struct format_map second = code_map(20, 0x20000000, "/opt/one.so");
	struct format_map data = code_map(20, 0x30000000, "/opt/one.so");

	data.prot = PROT_READ;
	assert_int_equal(format_perf_map(file.perf, &first), 0);
	assert_int_equal(format_perf_map(file.perf, &second), 0);
	assert_int_equal(format_perf_map(file.perf, &data), 0);
	assert_int_equal(format_perf_fork(file.perf, 40, 20), 0);
	assert_int_equal(format_perf_build_id(file.perf, "/opt/one.so", id, 16), 0);
	for (uint32_t pid = 10; pid <= 40; pid += 10)
		assert_int_equal(add_sample(&file, 0, pid, pid, START_NS), 0);
	first.start = 0x40000000; /* after an exec */
	assert_int_equal(format_perf_map(file.perf, &first), 0);
	assert_int_equal(add_sample(&file, 0, 10, 10, START_NS), 0);
	assert_int_equal(add_sample(&file, 1, 10, 10, START_NS), 0);
	file_finish(&file);

	assert_int_equal(format_perf_open(file.path, &in, NULL), 0);
	const uint8_t *got;

	assert_int_equal(format_perf_build_id_of(in, "/opt/one.so", &got), 16);
	assert_memory_equal(got, id, 16);
	assert_int_equal(format_perf_build_id_of(in, "/opt/one.s", &got), 0);
	first.start = 0x10000000;
	check_map(next(in), &first);
	check_map(next(in), &second);
	check_map(next(in), &data);
	struct format_perf_event fork = next(in);

	assert_int_equal(fork.type, FORMAT_PERF_FORK);
	assert_int_equal(fork.pid, 40);
	assert_int_equal(fork.parent, 20);
	assert_int_equal(next(in).ip, 0x10000000);
	assert_int_equal(next(in).ip, 0x20000000);
	assert_int_equal(next(in).ip, file.probes[0].addr);
	assert_int_equal(next(in).ip, 0x20000000);
	first.start = 0x40000000;
	check_map(next(in), &first);
	assert_int_equal(next(in).ip, 0x40000000);
	assert_int_equal(next(in).ip, file.probes[1].addr);
	assert_int_equal(next(in).type, FORMAT_PERF_END);
	format_perf_close(in);
	file_close(&file);
}

static void test_many(void **state)
{
	struct file file;
	struct format_perf_file *in;
	enum { PROBES = 10000, SAMPLES = 200000 };

	file_open(&file, PROBES);
	for (uint32_t i = 0; i < SAMPLES; i++) {
		if (i % 1000 == 0)
			assert_int_equal(format_perf_comm(file.perf, 1, i / 1000, i % 2000 ? "odd" : "even"), 0);
		assert_int_equal(add_sample(&file, i % PROBES, 1, i / 1000, START_NS + i), 0);
	}
	file_finish(&file);
	assert_int_equal(format_perf_open(file.path, &in, NULL), 0);
	for (uint32_t i = 0; i < SAMPLES; i++) {
		struct format_perf_event event = next(in);

		if (i % 1000 == 0) {
			assert_int_equal(event.type, FORMAT_PERF_COMM);
			event = next(in);
		}
		assert_int_equal(event.type, FORMAT_PERF_SAMPLE);
		assert_int_equal(event.record.id, i % PROBES);
		assert_int_equal(event.record.time_ns, START_NS + i);
		assert_string_equal(event.comm, i / 1000 % 2 ? "odd" : "even");
	}
	assert_int_equal(next(in).type, FORMAT_PERF_END);
	format_perf_close(in);
	file_close(&file);
}

static void test_refuses_what_does_not_fit(void **state)
{
	struct file file;
	struct format_perf *perf;
	struct utap_error err = { 0 };
	static const struct trace_arg odd = { "odd", 65, TRACE_HEX };
	_cleanup_free_ char *path = malloc(5000);
	_cleanup_free_ struct trace_arg *args = calloc(10000, sizeof(*args));

	file_open(&file, 2);
	struct trace_record record = { .id = 2 };

	assert_int_equal(format_perf_sample(file.perf, &record), -EINVAL);
	assert_int_equal(format_perf_lost(file.perf, 2, 1, 0), -EINVAL);
	memset(path, 'a', 4999);
	path[4999] = 0;
	struct format_map map = code_map(1, 0, path);

	assert_int_equal(format_perf_map(file.perf, &map), -ENAMETOOLONG);
	assert_int_equal(format_perf_build_id(file.perf, path, (const uint8_t *)"x", 1), -ENAMETOOLONG);
	assert_int_equal(format_perf_build_id(file.perf, "/a", (const uint8_t *)path, 21), -EINVAL);
	assert_int_equal(format_perf_build_id(file.perf, "/a", (const uint8_t *)path, 0), -EINVAL);
	assert_int_equal(add_sample(&file, 0, 1, 1, START_NS), 0); /* none of that was sticky */
	file_finish(&file);
	assert_int_equal(count_samples(file.path), 1);

	file.probes[0].args = &odd;
	file.probes[0].nargs = 1;
	assert_int_equal(format_perf_create(file.fd, file.probes, 1, &perf, &err), -EINVAL);
	assert_non_null(strstr(err.text, "utap:event0"));
	for (int i = 0; i < 10000; i++)
		args[i] = all_args[0];
	file.probes[0].args = args;
	file.probes[0].nargs = 10000;
	assert_int_equal(format_perf_create(file.fd, file.probes, 1, &perf, &err), -E2BIG);
	assert_int_equal(format_perf_create(file.fd, file.probes, 70000, &perf, &err), -E2BIG);
	assert_int_equal(format_perf_create(-1, file.probes + 1, 1, &perf, &err), -EBADF);
	assert_int_equal(format_perf_open("/nonexistent/perf.data", &(struct format_perf_file *) { 0 }, &err), -ENOENT);
	assert_int_equal(err.kind, UTAP_ERROR_NOT_FOUND);
	assert_int_equal(format_perf_open("/proc/self/exe", &(struct format_perf_file *) { 0 }, &err), -EINVAL);
	file_close(&file);
}

static void test_cut_off(void **state)
{
	struct file file;

	file_open(&file, 2);
	assert_int_equal(count_samples(file.path), 0); /* readable from the start */
	for (int i = 0; i < 100; i++)
		assert_int_equal(add_sample(&file, 0, 1, 1, START_NS + (uint64_t)i), 0);
	assert_int_equal(count_samples(file.path), 0);
	assert_int_equal(format_perf_flush(file.perf), 0);
	assert_int_equal(count_samples(file.path), 100);
	assert_int_equal(add_sample(&file, 1, 1, 1, START_NS + 200), 0);
	assert_int_equal(count_samples(file.path), 100);
	assert_int_equal(add_sample(&file, 1, 1, 1, START_NS + 2000000000), 0); /* a second later: flushes */
	assert_int_equal(count_samples(file.path), 102);
	for (int i = 0; i < 20000; i++) /* and by size */
		assert_int_equal(add_sample(&file, 0, 1, 1, START_NS + 2000000000), 0);
	assert_true(count_samples(file.path) > 102);
	file_finish(&file);
	assert_int_equal(count_samples(file.path), 20102);
	file_close(&file);
}

/* Records as they are, from the pieces that they became. */
static void expand_pieces(const struct format_buffer *packed, struct format_buffer *out)
{
	ZSTD_DStream *stream = ZSTD_createDStream();
	struct perf_event_header header;
	static uint8_t room[128 << 10];

	for (size_t at = 0; at < packed->size; at += header.size) {
		ZSTD_outBuffer to = { .dst = room, .size = sizeof(room) };

		memcpy(&header, packed->data + at, sizeof(header));
		assert_int_equal(header.type, 81);
		assert_true(header.size > sizeof(header) && header.size <= packed->size - at);
		ZSTD_inBuffer from = { .src = packed->data + at + sizeof(header), .size = header.size - sizeof(header) };

		assert_false(ZSTD_isError(ZSTD_decompressStream(stream, &to, &from)));
		assert_int_equal(from.pos, from.size); /* in one call: perf makes no second one */
		format_buffer_add(out, room, to.pos);
	}
	ZSTD_freeDStream(stream);
}

/* Records that get smaller and such that do not, up to the largest there can be. */
static void test_pieces(void **state)
{
	struct format_perf_pack *pack;
	struct format_buffer in = { 0 }, packed = { 0 }, out = { 0 };
	uint64_t random = 1;

	assert_int_equal(format_perf_pack_create(1, &pack), 0);
	for (uint32_t i = 0; i < 60; i++) {
		struct perf_event_header header = { .type = i, .size = (uint16_t)(i % 5 == 4 ? 65528 : 8 + 8 * (i * 137 % 800)) };
		size_t at = in.size;

		format_buffer_zero(&in, header.size);
		for (size_t j = 0; i % 2 && j < header.size; j++)
			in.data[at + j] = (uint8_t)((random = random * 6364136223846793005ULL + 1) >> 56);
		memcpy(in.data + at, &header, sizeof(header));
		if (i % 20 != 19)
			continue;
		assert_int_equal(format_perf_pack(pack, in.data, in.size, &packed), 0); /* a flush */
		expand_pieces(&packed, &out);
		assert_int_equal(out.size, in.size);
		assert_memory_equal(out.data, in.data, in.size);
		in.size = out.size = packed.size = 0;
		format_perf_pack_destroy(pack);
		assert_int_equal(format_perf_pack_create(1 + (int)i / 4, &pack), 0);
	}
	format_perf_pack_destroy(pack);
	format_buffer_deinit(&in);
	format_buffer_deinit(&packed);
	format_buffer_deinit(&out);
}

static void test_compressed_comes_back(void **state)
{
	struct file file;
	struct stat stat;

	file_open(&file, 2);
	assert_int_equal(format_perf_compress(file.perf, 3), 0);
	for (uint64_t i = 0; i < 30000; i++)
		assert_int_equal(add_sample(&file, i % 2, 1, 1, START_NS + i), 0);
	assert_int_equal(format_perf_flush(file.perf), 0);
	assert_int_equal(count_samples(file.path), 30000); /* as a killed writer leaves it */
	for (uint64_t i = 0; i < 30000; i++)
		assert_int_equal(add_sample(&file, i % 2, 1, 1, START_NS + 30000 + i), 0);
	file_finish(&file);
	assert_int_equal(count_samples(file.path), 60000);
	assert_int_equal(fstat(file.fd, &stat), 0);
	assert_in_range(stat.st_size, 20000, 1000000); /* of 8 million */
	file_close(&file);
}

/* Samples of @path, which must be those that were written, from the first on; *error is what ended them. */
static long count_right(const char *path, int *error)
{
	struct format_perf_file *file;
	struct format_perf_event event;
	struct utap_error err = { 0 };
	long count = 0;

	assert_int_equal(format_perf_open(path, &file, &err), 0);
	while (!(*error = format_perf_next(file, &event, &err)) && event.type != FORMAT_PERF_END)
		if (event.type == FORMAT_PERF_SAMPLE)
			assert_int_equal(event.record.time_ns, START_NS + (uint64_t)count++);
	if (*error)
		assert_non_null(strstr(err.text, "damaged from offset"));
	format_perf_close(file);
	return count;
}

/* A bit of compressed records anywhere, or their end: it is told, and nothing wrong comes before. */
static void test_compressed_damage(void **state)
{
	struct format_perf_header header;
	struct file file;
	uint64_t end;
	long told = 0, tried = 0;
	int error;

	file_open(&file, 2);
	assert_int_equal(format_perf_compress(file.perf, 3), 0);
	for (uint64_t i = 0; i < 4000; i++) {
		assert_int_equal(add_sample(&file, i % 2, 1, (uint32_t)i, START_NS + i), 0);
		if (i % 1000 == 999)
			assert_int_equal(format_perf_flush(file.perf), 0);
	}
	file_finish(&file);
	assert_int_equal(count_right(file.path, &error), 4000);
	assert_int_equal(error, 0);
	assert_int_equal(pread(file.fd, &header, sizeof(header), 0), sizeof(header));
	end = header.data.offset + header.data.size;
	for (uint64_t at = header.data.offset; at < end; at += at < header.data.offset + 40 ? 1 : 97) {
		uint8_t byte, changed;

		assert_int_equal(pread(file.fd, &byte, 1, (off_t)at), 1);
		changed = byte ^ (uint8_t)(1U << at % 8);
		assert_int_equal(pwrite(file.fd, &changed, 1, (off_t)at), 1);
		if (count_right(file.path, &error) < 4000) /* some bits mean nothing */
			assert_int_equal(error, -EINVAL);
		told += error == -EINVAL;
		tried++;
		assert_int_equal(pwrite(file.fd, &byte, 1, (off_t)at), 1);
	}
	assert_in_range(tried - told, 0, 8); /* the first record tells nothing, and two bytes of the next */
	for (uint64_t size = end - 1; size > header.data.offset; size -= size > header.data.offset + 97 ? 97 : 1) {
		assert_int_equal(ftruncate(file.fd, (off_t)size), 0);
		assert_in_range(count_right(file.path, &error), 0, 3999);
		assert_int_equal(error, -EINVAL);
	}
	file_close(&file);
}

/* What @limit bytes of disk leave of 40 samples, flushed by @batch. */
static void full_disk(uint64_t front, uint64_t limit, int batch, int level)
{
	struct file file;
	struct rlimit old, new;
	int r = 0, finished;
	struct stat stat;

	file_open(&file, 2);
	if (level)
		assert_int_equal(format_perf_compress(file.perf, level), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	new = old;
	new.rlim_cur = front + limit;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &new), 0); /* until it is lifted nothing else may be written */
	for (int i = 0; i < 40; i++) {
		r = add_sample(&file, 0, 1, 1, START_NS + (uint64_t)i);
		if (!r && i % batch == batch - 1)
			r = format_perf_flush(file.perf);
		if (r < 0)
			break;
	}
	finished = format_perf_finish(file.perf);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(fstat(file.fd, &stat), 0);
	long count = count_samples(file.path);
	long fits = ((long)limit - 8 * 40 / batch) / 144; /* a sample is 144 bytes; each flush adds a record of 8 */

	if (finished == -EFBIG && level)
		assert_in_range(count, 0, 39);
	else if (finished == -EFBIG)
		assert_in_range(count, fits > 0 ? fits - 1 : 0, 39);
	else
		assert_true(!finished && !r && count == 40);
	assert_true((uint64_t)stat.st_size <= front + limit);
	file_close(&file);
}

/* Bytes of a file without records. */
static uint64_t front_of(int level)
{
	struct file file;
	struct stat stat;

	file_open(&file, 2);
	if (level)
		assert_int_equal(format_perf_compress(file.perf, level), 0);
	assert_int_equal(fstat(file.fd, &stat), 0);
	file_finish(&file);
	file_close(&file);
	return (uint64_t)stat.st_size;
}

static void test_full_disk(void **state)
{
	uint64_t front = front_of(0), packed_front = front_of(1);
	void (*old)(int) = signal(SIGXFSZ, SIG_IGN);

	for (uint64_t limit = 0; limit < 6400; limit += limit < 900 ? 1 : 97) {
		full_disk(front, limit, 1, 0);
		full_disk(front, limit, 7, 0);
		full_disk(front, limit, 41, 0);
	}
	for (uint64_t limit = 0; limit < 1500; limit += 7) {
		full_disk(packed_front, limit, 1, 1);
		full_disk(packed_front, limit, 41, 1);
	}
	signal(SIGXFSZ, old);
}

/* Reads everything it can; must end, may fail. */
static int read_damaged(const uint8_t *data, size_t size, uint64_t *events)
{
	char path[32];
	int fd = memfd_create("damaged", MFD_CLOEXEC);
	struct format_perf_file *in;
	struct format_perf_event event = { 0 };
	struct utap_error err = { 0 };

	assert_true(fd >= 0);
	assert_int_equal(base_write_all(fd, data, size), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int r = format_perf_open(path, &in, &err);

	for (*events = 0; !r && event.type != FORMAT_PERF_END; ++*events) {
		assert_true(*events <= size);
		r = format_perf_next(in, &event, &err);
		if (r)
			assert_int_equal(format_perf_next(in, &event, &err), r);
		if (r || event.type == FORMAT_PERF_END)
			format_perf_close(in);
	}
	if (r)
		assert_true(r == -EINVAL && err.text[0]);
	close(fd);
	return r;
}

static void test_damage(void **state)
{
	struct file file;
	_cleanup_free_ char *data = NULL;
	size_t size;
	uint64_t events, all, random = 12345;

	file_open(&file, 3);
	assert_int_equal(format_perf_comm(file.perf, 1, 1, "name"), 0);
	for (uint32_t i = 0; i < 30; i++)
		assert_int_equal(add_sample(&file, i % 3, 1, 1, START_NS + i), 0);
	assert_int_equal(format_perf_lost(file.perf, 0, 1, START_NS + 99), 0);
	file_finish(&file);
	assert_int_equal(base_file_read(file.path, &data, &size), 0);
	assert_int_equal(read_damaged((uint8_t *)data, size, &all), 0);
	struct format_perf_section_view {
		uint64_t offset, size;
	} section;

	memcpy(&section, data + 40, sizeof(section)); /* header.data */
	for (size_t cut = 0; cut < section.offset + section.size;
	     cut += cut < 1500 || cut > section.offset - 64 ? 1 : 777) {
		assert_int_equal(read_damaged((uint8_t *)data, cut, &events), -EINVAL);
		assert_true(events <= all);
	}
	for (int i = 0; i < 20000; i++) {
		_cleanup_free_ uint8_t *copy = malloc(size);
		uint64_t front = i % 2 ? 1000 : section.offset; /* the table, or the records */
		uint64_t span = i % 2 ? 1000 : section.size;

		memcpy(copy, data, size);
		for (int flips = 1 + i % 3; flips > 0; flips--) {
			random = random * 6364136223846793005 + 1442695040888963407;
			copy[front - 1000 * (i % 2) + (random >> 33) % span] ^= (uint8_t)(1 << (random >> 60 & 7));
		}
		read_damaged(copy, size, &events);
	}
	file_close(&file);
}

/* ---- the real perf ---- */

/* What @command prints, also to its standard error; the caller frees. */
static char *output(const char *command, const char *path, int *status)
{
	char line[512];
	char *text = calloc(1, 1 << 20);

	assert_non_null(text);
	snprintf(line, sizeof(line), command, path);
	FILE *pipe = popen(line, "r");

	assert_non_null(pipe);
	size_t size = fread(text, 1, (1 << 20) - 1, pipe);

	text[size] = 0;
	*status = pclose(pipe);
	return text;
}

static void need_perf(void)
{
	if (system("command -v perf >/dev/null 2>&1 && perf --version >/dev/null 2>&1") != 0) {
		print_message("skipped: perf is not installed, or not for this kernel\n");
		skip();
	}
}

static void expect_output(const char *command, const char *path, const char *expected)
{
	int status;
	_cleanup_free_ char *text = output(command, path, &status);

	assert_string_equal(text, expected);
	assert_int_equal(status, 0);
}

#define SCRIPT "DEBUGINFOD_URLS= perf script -i %s --ns 2>&1 | sed 's/^ *//; s/  */ /g'"

static void test_perf_script(void **state)
{
	static const char *const lines = "prog 11 [001] 1000.000000000: utap:event0: (10000000) x64=0x18 x8=0xff "
					 "u64=24 s8=-1 s16=-2 u8=200 s32=-1 s64=-5 "
					 "x16=0xbeef u32=4000000000 u16=65535 x32=0xcafebabe\n"
					 "prog 11 [001] 1000.000000001: libc:event1: (7f0000001001)\n"
					 "other 20 [001] 1000.000000002: utap:event2: (7f0000001002) x64=0x18\n";
	struct file file;

	need_perf();
	file_open(&file, 3);
	struct format_map map = code_map(10, 0x10000000, "/opt/one.so");

	assert_int_equal(format_perf_comm(file.perf, 10, 10, "prog"), 0);
	assert_int_equal(format_perf_comm(file.perf, 10, 11, "prog"), 0);
	assert_int_equal(format_perf_map(file.perf, &map), 0);
	assert_int_equal(add_sample(&file, 0, 10, 11, START_NS), 0);
	assert_int_equal(add_sample(&file, 1, 10, 11, START_NS + 1), 0);
	assert_int_equal(format_perf_comm(file.perf, 20, 20, "other"), 0);
	assert_int_equal(add_sample(&file, 2, 20, 20, START_NS + 2), 0);
	assert_int_equal(format_perf_flush(file.perf), 0);
	expect_output(SCRIPT, file.path, lines); /* as a kill would leave it */
	file_finish(&file);
	expect_output(SCRIPT, file.path, lines);
	file_close(&file);
}

static void test_perf_tools(void **state)
{
	struct file file;
	uint8_t id[20];
	int status;

	need_perf();
	for (uint8_t i = 0; i < sizeof(id); i++)
		id[i] = (uint8_t)(0x10 + i);
	file_open(&file, 3);
	for (int i = 0; i < 300; i++) { /* more than have room in front of the data */
		char path[32];

		snprintf(path, sizeof(path), "/opt/file%03d", i);
		assert_int_equal(format_perf_build_id(file.perf, path, id, sizeof(id)), 0);
		assert_int_equal(format_perf_build_id(file.perf, path, id, sizeof(id)), 0); /* once is enough */
	}
	assert_int_equal(format_perf_flush(file.perf), 0);
	for (uint32_t i = 0; i < 9; i++)
		assert_int_equal(add_sample(&file, i % 3, 10, 10, START_NS + i), 0);
	assert_int_equal(format_perf_lost(file.perf, 0, 4321, START_NS + 9), 0);
	file_finish(&file);

	expect_output("perf evlist -i %s 2>/dev/null", file.path,
		      "utap:event0\nlibc:event1\nutap:event2\n# Tip: use 'perf evlist --trace-fields' to show fields "
		      "for tracepoint events\n");
	expect_output("perf buildid-list -i %s 2>&1 | grep -c '^101112131415161718191a1b1c1d1e1f20212223 /opt/file'",
		      file.path, "300\n");
	expect_output("perf buildid-list -i %s 2>&1 | wc -l", file.path, "300\n");
	expect_output("DEBUGINFOD_URLS= perf report --stdio -i %s 2>/dev/null | grep Total", file.path,
		      "# Total Lost Samples: 4321\n");
	_cleanup_free_ char *header = output("perf report --header-only -i %s 2>&1", file.path, &status);

	assert_int_equal(status, 0);
	assert_non_null(strstr(header, "perf version : utap "));
	assert_non_null(strstr(header, "time of first sample : 1000.000000"));
	assert_non_null(strstr(header, "clockid: monotonic"));
	assert_non_null(strstr(header, "test_format"));
	file_close(&file);
}

static void test_perf_opens_thousands(void **state)
{
	struct file file;

	need_perf();
	file_open(&file, 3000);
	for (uint32_t i = 2; i < 3000; i++)
		assert_int_equal(add_sample(&file, i, 10, 10, START_NS + i), 0);
	file_finish(&file);
	expect_output("DEBUGINFOD_URLS= perf script -i %s 2>&1 | grep -c 'x64=0x18$'", file.path, "2998\n");
	expect_output("DEBUGINFOD_URLS= perf script -i %s 2>&1 | wc -l", file.path, "2998\n");
	file_close(&file);
}

/* Probes 0 and 2 are of returns, as in the kernel's uretprobes; 1 is a place. */
static void make_returns(struct file *file)
{
	file_open(file, 3);
	assert_int_equal(format_perf_finish(file->perf), 0);
	file->probes[0].kind = TRACE_RETURN;
	file->probes[0].nargs = 3;
	file->probes[2].kind = TRACE_RETURN;
	file->probes[2].nargs = 0;
	assert_int_equal(ftruncate(file->fd, 0), 0);
	assert_int_equal(format_perf_create(file->fd, file->probes, 3, &file->perf, NULL), 0);
}

static void add_return(struct file *file, uint32_t id, uint64_t caller, uint16_t flags, uint64_t time_ns)
{
	struct trace_record record = { .time_ns = time_ns,
				       .id = id,
				       .cpu = 1,
				       .pid = 10,
				       .tid = 11,
				       .nargs = file->probes[id].nargs,
				       .args = all_values,
				       .flags = WIRE_RECORD_RETURN | flags,
				       .frame = 0x7ffc00000000 + time_ns,
				       .caller = caller };

	assert_int_equal(format_perf_sample(file->perf, &record), 0);
}

static void test_returns_come_back(void **state)
{
	struct file file;
	struct format_perf_file *in;
	const struct trace_probe *probes;

	make_returns(&file);
	add_return(&file, 0, 0x401234, 0, START_NS);
	add_return(&file, 2, 0x7fffffffffff, WIRE_RECORD_TAIL, START_NS + 1);
	assert_int_equal(add_sample(&file, 1, 10, 11, START_NS + 2), 0);
	file_finish(&file);
	assert_int_equal(format_perf_open(file.path, &in, NULL), 0);
	assert_int_equal(format_perf_probes(in, &probes), 3);
	assert_int_equal(probes[0].kind, TRACE_RETURN);
	assert_int_equal(probes[1].kind, TRACE_PLACE);

	struct format_perf_event event = next(in);

	assert_int_equal(event.ip, 0x401234);
	assert_int_equal(event.record.caller, 0x401234);
	assert_int_equal(event.record.flags, WIRE_RECORD_RETURN);
	assert_int_equal(event.record.frame, 0x7ffc00000000 + START_NS);
	assert_int_equal(event.record.nargs, 3);
	assert_memory_equal(event.record.args, all_expected, 3 * sizeof(*all_expected));
	event = next(in);
	assert_int_equal(event.record.caller, 0x7fffffffffff);
	assert_int_equal(event.record.flags, WIRE_RECORD_RETURN | WIRE_RECORD_TAIL);
	assert_int_equal(event.record.frame, 0x7ffc00000000 + START_NS + 1);
	event = next(in);
	assert_int_equal(event.record.frame, 0);
	assert_int_equal(event.record.caller, 0);
	assert_int_equal(event.record.flags, 0);
	assert_int_equal(event.ip, file.probes[1].addr);
	format_perf_close(in);
	file_close(&file);
}

/* As utap 0.1 wrote it: rows without what they are of. */
static void test_table_version_1(void **state)
{
	static const struct {
		char magic[8];
		uint32_t version, nprobes, nargs, unused;
		uint64_t offset, symbol_offset, addr;
		uint32_t record_size, nargs_1;
		uint16_t lengths[4];
		char texts[8];
	} table = { "utap.prb", 1, 1, 0, 0, 7, 8, 9, 24, 0, { 1, 2, 3, 2 }, "gev/p/sy" };
	struct trace_probe *probes;
	struct trace_arg *args;
	uint32_t nprobes;

	assert_int_equal(format_perf_table_read((const uint8_t *)&table, sizeof(table), 0, &probes, &nprobes, &args, NULL), 0);
	assert_int_equal(nprobes, 1);
	assert_string_equal(probes[0].group, "g");
	assert_string_equal(probes[0].event, "ev");
	assert_string_equal(probes[0].path, "/p/");
	assert_string_equal(probes[0].symbol, "sy");
	assert_int_equal(probes[0].kind, TRACE_PLACE);
	assert_int_equal(probes[0].addr, 9);
	free(probes);
	free(args);
}

static void test_perf_script_returns(void **state)
{
	static const char *const lines = "prog 11 [001] 1000.000000000: utap:event0: (10000000 <- 401234) x64=0x18 x8=0xff u64=24\n"
					 "prog 11 [001] 1000.000000001: utap:event2: (7f0000001002 <- 401235) (tail call)\n"
					 "prog 11 [001] 1000.000000002: libc:event1: (7f0000001001)\n";
	struct file file;

	need_perf();
	make_returns(&file);
	struct format_map map = code_map(10, 0x10000000, "/opt/one.so");

	assert_int_equal(format_perf_comm(file.perf, 10, 10, "prog"), 0);
	assert_int_equal(format_perf_comm(file.perf, 10, 11, "prog"), 0);
	assert_int_equal(format_perf_map(file.perf, &map), 0);
	add_return(&file, 0, 0x401234, 0, START_NS);
	add_return(&file, 2, 0x401235, WIRE_RECORD_TAIL, START_NS + 1);
	assert_int_equal(add_sample(&file, 1, 10, 11, START_NS + 2), 0);
	file_finish(&file);
	expect_output(SCRIPT, file.path, lines);
	file_close(&file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_everything_comes_back),
		cmocka_unit_test(test_address_of_each_process),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_refuses_what_does_not_fit),
		cmocka_unit_test(test_cut_off),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_compressed_comes_back),
		cmocka_unit_test(test_compressed_damage),
		cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_perf_script),
		cmocka_unit_test(test_perf_tools),
		cmocka_unit_test(test_perf_opens_thousands),
		cmocka_unit_test(test_returns_come_back),
		cmocka_unit_test(test_table_version_1),
		cmocka_unit_test(test_perf_script_returns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
