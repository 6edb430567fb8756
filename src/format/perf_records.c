/* SPDX-License-Identifier: MIT */
/* The records of a perf.data being written: samples, and what describes processes, files and losses. They gather in the buffer of perf_write.c. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "format/perf_writer.h"

/* Room for a record of @size bytes, a multiple of 8; NULL with perf->error set. */
static inline uint8_t *reserve(struct format_perf *perf, size_t size)
{
	if (perf->error || (perf->used + size > FLUSH_SIZE && perf->used && format_perf_flush(perf) < 0))
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
	return perf->time_last - perf->time_flushed > FLUSH_NS ? format_perf_flush(perf) : 0;
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
