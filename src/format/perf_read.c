/* SPDX-License-Identifier: MIT */
/*
 * Reading a perf.data that perf_write.c wrote: probes from our own table, then records in the order of the file, with
 * the command name of each sample's thread. Records that this reader has no use for (rounds) are passed over.
 *
 * The file is input: it is read with pread(2), never mapped (it may shrink meanwhile); no size or count in it is used
 * before it was compared with what is there. Damage in the records ends the reading, sticks, and says where.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "format/convert.h"
#include "format/perf_layout.h"

#define WINDOW_SIZE (1UL << 20)
#define TABLE_MAX (1UL << 30) /* 60,000 probes with the longest names are 0.4 GiB */

struct thread_name {
	uint32_t tid;
	char comm[FORMAT_PERF_COMM_SIZE];
	UT_hash_handle hh;
};

struct format_perf_file {
	int fd;
	struct trace_probe *probes;
	struct trace_arg *args; /* of all probes */
	uint32_t nprobes;
	struct format_perf_shape *shapes;
	uint8_t *bytes;   /* of the current sample: what the locators of its arguments name */
	uint64_t *values; /* of the current sample; room for the probe with the most arguments */
	struct format_buffer build_ids;
	struct thread_name *threads;
	struct thread_name *last;
	uint8_t *window; /* bytes [window_at, window_at + filled) of the file */
	uint64_t window_at;
	size_t filled, used;
	uint64_t end; /* of the data */
	bool damaged;
	uint64_t broken_at; /* in the file as it was before it was expanded: behind the end of these data; 0: nothing is */
};

/* All @size bytes at @at; -EINVAL when the file ends before. */
static int read_at(int fd, void *data, size_t size, uint64_t at)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = pread(fd, (uint8_t *)data + done, size - done, (off_t)(at + done));

		if (!n)
			return -EINVAL;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			done += (size_t)n;
	}
	return 0;
}

/* ---- opening ---- */

static int open_header(struct format_perf_file *file, uint64_t file_size, struct format_perf_header *header,
		       struct utap_error *err)
{
	int r = read_at(file->fd, header, sizeof(*header), 0);

	if (r == -EINVAL || (!r && memcmp(header->magic, FORMAT_PERF_MAGIC, sizeof(header->magic)) != 0))
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE,
				  "not a perf.data file: no \"" FORMAT_PERF_MAGIC "\" at offset 0");
	if (r < 0)
		return base_error_system(err, r, "reading the header at offset 0 failed");
	if (header->size != sizeof(*header) || header->data.offset < sizeof(*header) || header->data.offset > file_size)
		return base_error(err, -EINVAL, UTAP_ERROR_SYSTEM,
				  "the header at offset 0 is damaged: data would start at %llu of "
				  "%llu bytes",
				  (unsigned long long)header->data.offset, (unsigned long long)file_size);
	if (header->data.size > INT64_MAX - header->data.offset)
		return base_error(err, -EINVAL, UTAP_ERROR_SYSTEM,
				  "the header at offset 0 is damaged: 0x%llx bytes of data",
				  (unsigned long long)header->data.size);
	return 0;
}

/* The table stands between the header and the attributes. */
static int open_table(struct format_perf_file *file, const struct format_perf_header *header, struct utap_error *err)
{
	uint64_t at = sizeof(*header);
	uint64_t size = header->data.offset - at;

	if (header->attrs.offset >= at && header->attrs.offset - at < size)
		size = header->attrs.offset - at;
	if (size > TABLE_MAX)
		size = TABLE_MAX;
	_cleanup_free_ uint8_t *data = malloc(size + 1);

	if (!data)
		return base_error(err, -ENOMEM, UTAP_ERROR_SYSTEM, "no memory for a table of probes of %llu bytes",
				  (unsigned long long)size);
	int r = read_at(file->fd, data, size, at);

	if (r < 0)
		return base_error_system(err, r, "reading the table of probes at offset %llu failed",
					 (unsigned long long)at);
	r = format_perf_table_read(data, size, at, &file->probes, &file->nprobes, &file->args, err);
	if (r < 0)
		return r;
	r = format_perf_shapes(file->probes, file->nprobes, &file->shapes, err);
	return r == -E2BIG ? -EINVAL : r; /* nobody wrote samples of such a size */
}

static int open_all(struct format_perf_file *file, struct utap_error *err)
{
	struct format_perf_header header;
	struct stat stat;
	uint32_t most = 0;

	if (fstat(file->fd, &stat) < 0)
		return base_error_system(err, -errno, "looking at the file failed");
	int r = open_header(file, (uint64_t)stat.st_size, &header, err);

	if (!r)
		r = open_table(file, &header, err);
	if (r < 0)
		return r;
	uint32_t strings = 0;

	for (uint32_t i = 0; i < file->nprobes; i++)
		strings = file->shapes[i].nstrings > strings ? file->shapes[i].nstrings : strings;
	file->bytes = malloc(8 * (size_t)strings + UINT16_MAX + 8 + FORMAT_PERF_STACK_MOST); /* a sample is no longer, nor is its stack */
	for (uint32_t i = 0; i < file->nprobes; i++)
		most = file->probes[i].nargs > most ? file->probes[i].nargs : most;
	file->values = calloc((size_t)most + 1, sizeof(*file->values));
	file->window = malloc(WINDOW_SIZE);
	if (!file->values || !file->window || !file->bytes)
		return base_error(err, -ENOMEM, UTAP_ERROR_SYSTEM, "no memory to read a perf.data");
	file->window_at = header.data.offset;
	file->end = header.data.offset + header.data.size;
	return 0;
}

int format_perf_open(const char *path, struct format_perf_file **ret, struct utap_error *err)
{
	struct utap_error why = { 0 };
	struct format_perf_file *file = calloc(1, sizeof(*file));

	if (!file)
		return base_error(err, -ENOMEM, UTAP_ERROR_SYSTEM, "no memory to read %s", path);
	file->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (file->fd < 0) {
		int r = -errno;

		free(file);
		return base_error(err, r, r == -ENOENT		      ? UTAP_ERROR_NOT_FOUND
						 : r == -EACCES || r == -EPERM ? UTAP_ERROR_PERMISSION
									       : UTAP_ERROR_SYSTEM, "%s: %s", path,
				  strerror(-r));
	}
	int r = format_perf_build_ids_read(file->fd, &file->build_ids);

	if (!r)
		r = format_perf_expand(&file->fd, &file->broken_at, &why);
	if (!r)
		r = open_all(file, &why);

	if (r < 0) {
		format_perf_close(file);
		return base_error(err, r, why.kind, "%s: %s", path, why.text);
	}
	*ret = file;
	return 0;
}

void format_perf_close(struct format_perf_file *file)
{
	if (!file)
		return;
	struct thread_name *thread, *next;

	HASH_ITER(hh, file->threads, thread, next)
	{
		HASH_DEL(file->threads, thread);
		free(thread);
	}
	close(file->fd);
	format_buffer_deinit(&file->build_ids);
	free(file->window);
	free(file->values);
	free(file->bytes);
	free(file->shapes);
	free(file->args);
	free(file->probes);
	free(file);
}

size_t format_perf_probes(const struct format_perf_file *file, const struct trace_probe **ret)
{
	*ret = file->probes;
	return file->nprobes;
}

size_t format_perf_build_id_of(const struct format_perf_file *file, const char *path, const uint8_t **ret)
{
	return format_perf_build_ids_find(&file->build_ids, path, ret);
}

/* ---- names of threads ---- */

static struct thread_name *thread_find(struct format_perf_file *file, uint32_t tid)
{
	struct thread_name *thread = file->last;

	if (thread && thread->tid == tid)
		return thread;
	HASH_FIND(hh, file->threads, &tid, sizeof(tid), thread);
	if (thread)
		file->last = thread;
	return thread;
}

static struct thread_name *thread_get(struct format_perf_file *file, uint32_t tid)
{
	struct thread_name *thread = thread_find(file, tid);

	if (thread)
		return thread;
	thread = calloc(1, sizeof(*thread));
	if (!thread)
		return NULL;
	thread->tid = tid;
	HASH_ADD(hh, file->threads, tid, sizeof(thread->tid), thread);
	if (!thread->hh.tbl) {
		free(thread);
		return NULL;
	}
	return thread;
}

/* ---- records ---- */

static uint64_t position(const struct format_perf_file *file)
{
	return file->window_at + file->used;
}

static int damage(struct format_perf_file *file, struct utap_error *err, const char *what)
{
	file->damaged = true;
	return base_error(err, -EINVAL, UTAP_ERROR_SYSTEM, "perf.data is damaged from offset %llu on: %s",
			  (unsigned long long)position(file), what);
}

/* Of a compressed file, whose offsets are not those of what is read. */
static int broken(struct format_perf_file *file, struct utap_error *err)
{
	return base_error(err, -EINVAL, UTAP_ERROR_SYSTEM,
			  "perf.data is damaged from offset %llu on: its compressed records cannot be expanded",
			  (unsigned long long)file->broken_at);
}

/* Move the rest of the window to its front and fill it up, not beyond the data. */
static int refill(struct format_perf_file *file)
{
	memmove(file->window, file->window + file->used, file->filled - file->used);
	file->filled -= file->used;
	file->window_at += file->used;
	file->used = 0;
	while (file->filled < WINDOW_SIZE) {
		uint64_t at = file->window_at + file->filled;
		uint64_t size = WINDOW_SIZE - file->filled;

		if (size > file->end - at)
			size = file->end - at;
		if (!size)
			break;
		ssize_t n = pread(file->fd, file->window + file->filled, size, (off_t)at);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (!n)
			break;
		if (n > 0)
			file->filled += (size_t)n;
	}
	return 0;
}

/* The next whole record, in the window until the next call; NULL at the end. */
static int next_record(struct format_perf_file *file, const uint8_t **ret, struct perf_event_header *header,
		       struct utap_error *err)
{
	bool is_refilled = false;

	for (;;) {
		size_t left = file->filled - file->used;

		if (left >= sizeof(*header)) {
			memcpy(header, file->window + file->used, sizeof(*header));
			if (header->size < sizeof(*header))
				return damage(file, err, "a record of less than 8 bytes");
			if (header->size <= left)
				break;
		}
		if (position(file) == file->end) {
			*ret = NULL;
			return 0;
		}
		if (is_refilled)
			return damage(file, err, "a record reaches beyond the end");
		int r = refill(file);

		if (r < 0)
			return base_error_system(err, r, "reading perf.data at offset %llu failed",
						 (unsigned long long)position(file));
		is_refilled = true;
	}
	*ret = file->window + file->used;
	return 0;
}

static uint64_t take_argument(const uint8_t *raw, const struct format_perf_field *field)
{
	uint64_t value = 0;

	switch (field->bytes) { /* constant sizes: loads, not calls */
	case 1:
		memcpy(&value, raw + field->offset, 1);
		return field->is_signed ? (uint64_t)(int8_t)value : value;
	case 2:
		memcpy(&value, raw + field->offset, 2);
		return field->is_signed ? (uint64_t)(int16_t)value : value;
	case 4:
		memcpy(&value, raw + field->offset, 4);
		return field->is_signed ? (uint64_t)(int32_t)value : value;
	default:
		memcpy(&value, raw + field->offset, 8);
		return value;
	}
}

static uint16_t flags_of(const struct format_perf_shape *shape, const uint8_t *raw)
{
	uint16_t is_long = shape->nlong ? WIRE_RECORD_LONG : 0;

	if (!shape->tail)
		return is_long | (shape->frame ? WIRE_RECORD_ENTRY : 0);
	return is_long | WIRE_RECORD_RETURN | (raw[shape->tail] ? WIRE_RECORD_TAIL : 0);
}

/* Where the parts of a sample are; false: it has not what its probe says. */
static bool cut_sample(const struct format_perf_shape *shape, const uint8_t *data, uint32_t size, struct format_perf_taken *ret)
{
	struct format_perf_taken taken = { 0 };
	uint32_t at = sizeof(struct format_perf_sample_record);

	if (shape->stack) {
		if (size - at < sizeof(taken.entries))
			return false;
		memcpy(&taken.entries, data + at, sizeof(taken.entries));
		at += sizeof(taken.entries);
		if (taken.entries > (size - at) / 8)
			return false;
		taken.chain = data + at;
		at += 8 * (uint32_t)taken.entries;
	}
	if (size - at < sizeof(taken.raw_size))
		return false;
	memcpy(&taken.raw_size, data + at, sizeof(taken.raw_size));
	at += sizeof(taken.raw_size);
	if (taken.raw_size > size - at || taken.raw_size < shape->raw)
		return false;
	taken.raw = data + at;
	taken.tail = data + at + taken.raw_size;
	taken.tail_size = size - at - taken.raw_size;
	*ret = taken;
	return true;
}

/* Arguments that are more than words: their bytes, and of those how many there are. */
static uint32_t take_long(struct format_perf_file *file, const struct format_perf_shape *shape, const struct trace_probe *probe,
			  const struct format_perf_taken *taken)
{
	uint32_t used = (uint32_t)base_align_up(8 * shape->nstrings + taken->raw_size, 8);
	uint64_t locator;
	uint32_t state;

	format_perf_long_take(shape, probe, taken->raw, taken->raw_size, file->bytes, file->values);
	if (!shape->stack)
		return 8 * shape->nstrings + taken->raw_size;
	memcpy(&state, taken->raw + shape->stack, sizeof(state));
	locator = format_perf_stack_take(taken, probe->args[probe->nargs - 1].format, state, used, file->bytes + used);
	file->values[probe->nargs - 1] = locator;
	return used + (locator & WIRE_LOCATOR_FAILED ? 0 : wire_locator_bytes(locator));
}

static int take_sample(struct format_perf_file *file, const uint8_t *data, size_t size, struct format_perf_event *ret,
		       struct utap_error *err)
{
	struct format_perf_sample_record sample;
	struct format_perf_taken taken;

	if (size < sizeof(sample))
		return damage(file, err, "a sample is too short");
	memcpy(&sample, data, sizeof(sample));
	if (!sample.identifier || sample.identifier > file->nprobes)
		return damage(file, err, "a sample of an unknown event");
	uint32_t id = (uint32_t)(sample.identifier - 1);
	const struct format_perf_shape *shape = &file->shapes[id];

	if (!cut_sample(shape, data, (uint32_t)size, &taken))
		return damage(file, err, "a sample is too short for its arguments");
	for (uint32_t i = 0; i < shape->nargs; i++)
		if (!shape->fields[i].state)
			file->values[i] = take_argument(taken.raw, &shape->fields[i]);
	uint32_t bytes = shape->nlong ? take_long(file, shape, &file->probes[id], &taken) : 0;
	const struct thread_name *thread = thread_find(file, sample.tid);
	uint64_t caller = 0, frame = 0;

	if (shape->tail)
		memcpy(&caller, taken.raw + FORMAT_PERF_RET_IP, sizeof(caller));
	if (shape->frame)
		memcpy(&frame, taken.raw + shape->frame, sizeof(frame));
	*ret = (struct format_perf_event) { .type = FORMAT_PERF_SAMPLE,
					    .record = { .time_ns = sample.time,
							.id = id,
							.cpu = sample.cpu,
							.pid = sample.pid,
							.tid = sample.tid,
							.nargs = shape->nargs,
							.args = file->values,
							.bytes = shape->nlong ? file->bytes : NULL,
							.size = bytes,
							.flags = flags_of(shape, taken.raw),
							.frame = frame,
							.caller = caller },
					    .ip = sample.ip,
					    .comm = thread ? thread->comm : NULL,
					    .pid = sample.pid,
					    .tid = sample.tid };
	return 0;
}

static int take_comm(struct format_perf_file *file, const uint8_t *data, size_t size, struct format_perf_event *ret,
		     struct utap_error *err)
{
	struct {
		struct perf_event_header header;
		uint32_t pid, tid;
	} record;

	if (size <= sizeof(record))
		return damage(file, err, "a command name is too short");
	memcpy(&record, data, sizeof(record));
	const char *comm = (const char *)data + sizeof(record);
	struct thread_name *thread = thread_get(file, record.tid);

	if (!thread)
		return base_error(err, -ENOMEM, UTAP_ERROR_SYSTEM, "no memory for the name of thread %u", record.tid);
	size_t length = strnlen(comm, size - sizeof(record));

	if (length >= sizeof(thread->comm))
		length = sizeof(thread->comm) - 1;
	memset(thread->comm, 0, sizeof(thread->comm));
	memcpy(thread->comm, comm, length);
	*ret = (struct format_perf_event) {
		.type = FORMAT_PERF_COMM, .comm = thread->comm, .pid = record.pid, .tid = record.tid
	};
	return 0;
}

static int take_lost(struct format_perf_file *file, const uint8_t *data, size_t size, struct format_perf_event *ret,
		     struct utap_error *err)
{
	struct {
		struct perf_event_header header;
		uint64_t id, lost;
		struct format_perf_sample_id sample;
	} record;

	if (size < sizeof(record))
		return damage(file, err, "a record of losses is too short");
	memcpy(&record, data, sizeof(record));
	if (!record.id || record.id > file->nprobes)
		return damage(file, err, "a record of losses of an unknown event");
	*ret =
	    (struct format_perf_event) { .type = FORMAT_PERF_LOST,
					 .record = { .id = (uint32_t)(record.id - 1), .time_ns = record.sample.time },
					 .lost = record.lost };
	return 0;
}

static int take_map(struct format_perf_file *file, const uint8_t *data, size_t size, struct format_perf_event *ret,
		    struct utap_error *err)
{
	struct format_perf_mmap2 record;

	if (size <= sizeof(record) || !memchr(data + sizeof(record), 0, size - sizeof(record)))
		return damage(file, err, "a mapping is too short");
	memcpy(&record, data, sizeof(record));
	*ret = (struct format_perf_event) { .type = FORMAT_PERF_MAP,
					    .pid = record.pid,
					    .tid = record.tid,
					    .map = { .pid = record.pid,
						     .start = record.addr,
						     .size = record.len,
						     .offset = record.pgoff,
						     .major = record.maj,
						     .minor = record.min,
						     .inode = record.ino,
						     .prot = record.prot,
						     .flags = record.flags,
						     .path = (const char *)data + sizeof(record) } };
	return 0;
}

static int take_fork(struct format_perf_file *file, const uint8_t *data, size_t size, struct format_perf_event *ret,
		     struct utap_error *err)
{
	struct format_perf_fork_record record;

	if (size < sizeof(record))
		return damage(file, err, "a fork is too short");
	memcpy(&record, data, sizeof(record));
	*ret = (struct format_perf_event) {
		.type = FORMAT_PERF_FORK, .pid = record.pid, .tid = record.tid, .parent = record.ppid
	};
	return 0;
}

int format_perf_next(struct format_perf_file *file, struct format_perf_event *ret, struct utap_error *err)
{
	if (file->damaged)
		return damage(file, err, "see the first message");
	for (;;) {
		struct perf_event_header header;
		const uint8_t *data = NULL;
		int r = next_record(file, &data, &header, err);

		if (r < 0)
			return r;
		if (!data && file->broken_at)
			return broken(file, err);
		if (!data) {
			*ret = (struct format_perf_event) { .type = FORMAT_PERF_END };
			return 0;
		}
		bool is_passed_over = false;

		if (header.type == PERF_RECORD_SAMPLE)
			r = take_sample(file, data, header.size, ret, err);
		else if (header.type == PERF_RECORD_COMM)
			r = take_comm(file, data, header.size, ret, err);
		else if (header.type == PERF_RECORD_LOST)
			r = take_lost(file, data, header.size, ret, err);
		else if (header.type == PERF_RECORD_MMAP2)
			r = take_map(file, data, header.size, ret, err);
		else if (header.type == PERF_RECORD_FORK)
			r = take_fork(file, data, header.size, ret, err);
		else
			is_passed_over = true;
		if (!r)
			file->used += header.size;
		if (!is_passed_over)
			return r;
	}
}
