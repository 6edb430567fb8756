/* SPDX-License-Identifier: MIT */
/*
 * A trace.dat, which trace-cmd and KernelShark read: descriptions of the events as in our perf.data, then for each CPU pages as the kernel's ring
 * buffer has them. trace-cmd imports no text, so this is the way to it.
 *
 * Pages are gathered in a file without a name, in the order in which they become full; the output is written at the end, when it is known which CPUs
 * and threads there are. A page has 64 KiB, so that each record fits into one. What was lost is of no CPU: it is not in the file; user stacks are
 * not, either.
 *
 * Source: trace-cmd.dat.v6(5); the kernel's ring-buffer.h and events/header_page, events/header_event.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "format/convert_inside.h"

#define PAGE_SIZE_OF_RING 65536U
#define PAGE_HEAD 16U  /* time of the first event, bytes that count */
#define EVENT_MOST 16U /* in front of the data of one: a longer time, its header and its length */
#define TYPE_TIME_EXTEND 30U
#define TYPE_BITS 5
#define DELTA_BITS 27

struct ring_page {
	uint8_t bytes[PAGE_SIZE_OF_RING];
	uint32_t used; /* with the head; 0: there is no event in it */
	uint64_t time; /* of the last event */
};

struct trace_cmd {
	int fd; /* of the pages that are full */
	uint32_t *cpu_of; /* of each of them */
	size_t npages, pages_cap;
	struct ring_page **cpus; /* being filled; NULL: nothing came from there */
	size_t ncpus, cpus_cap;
	struct format_perf_shape *shapes;
	struct format_buffer comms;
	uint8_t *raw; /* of one record */
};

static int make_file(void)
{
	const char *directory = getenv("TMPDIR");
	int fd = open(directory ? directory : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0)
		fd = memfd_create("trace.dat", MFD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int begin(struct format_convert *convert, struct utap_error *err)
{
	struct trace_cmd *t = calloc(1, sizeof(*t));

	convert->state = t;
	if (!t)
		return base_error(err, -ENOMEM, UTAP_ERROR_SYSTEM, "no memory to convert");
	t->raw = malloc(FORMAT_PERF_RECORD_MAX);
	t->fd = t->raw ? make_file() : -ENOMEM;
	return t->fd < 0 ? base_error_system(err, t->fd, "no place for what is to become a trace.dat") : 0;
}

static void release(struct format_convert *convert)
{
	struct trace_cmd *t = convert->state;

	if (!t)
		return;
	for (size_t cpu = 0; cpu < t->ncpus; cpu++)
		free(t->cpus[cpu]);
	if (t->fd >= 0)
		close(t->fd);
	format_buffer_deinit(&t->comms);
	free(t->cpus);
	free(t->cpu_of);
	free(t->shapes);
	free(t->raw);
	free(t);
}

static int learn_probes(struct format_convert *convert)
{
	struct trace_cmd *t = convert->state;
	struct format_perf_shape *shapes;
	int error = format_perf_shapes(convert->probes, convert->nprobes, &shapes, NULL);

	if (error)
		return error;
	free(t->shapes);
	t->shapes = shapes;
	return 0;
}

static int tell_thread(struct format_convert *convert, const struct format_thread *thread)
{
	struct trace_cmd *t = convert->state;
	const char *comm = thread->comm[0] ? format_clean(&convert->text, thread->comm, "", "") : "<...>";

	format_buffer_print(&t->comms, "%" PRIu32 " %s\n", thread->tid, comm);
	return t->comms.error ? t->comms.error : convert->text.error;
}

/* ---- pages ---- */

/* A page that is full, or the last one of its CPU. */
static int put_page(struct trace_cmd *t, uint32_t cpu)
{
	struct ring_page *page = t->cpus[cpu];
	uint64_t commit = page->used - PAGE_HEAD;
	int error;

	memcpy(page->bytes + 8, &commit, sizeof(commit));
	memset(page->bytes + page->used, 0, PAGE_SIZE_OF_RING - page->used);
	if (base_grow(&t->cpu_of, &t->pages_cap, t->npages + 1, sizeof(*t->cpu_of)))
		return -ENOMEM;
	error = base_write_all(t->fd, page->bytes, PAGE_SIZE_OF_RING);
	if (error)
		return error;
	t->cpu_of[t->npages++] = cpu;
	page->used = 0;
	return 0;
}

static struct ring_page *get_page(struct trace_cmd *t, uint32_t cpu)
{
	size_t before = t->ncpus;

	if (cpu >= before) {
		if (base_grow(&t->cpus, &t->cpus_cap, cpu + 1ULL, sizeof(*t->cpus)))
			return NULL;
		memset(&t->cpus[before], 0, (cpu + 1 - before) * sizeof(*t->cpus));
		t->ncpus = cpu + 1;
	}
	if (!t->cpus[cpu]) {
		t->cpus[cpu] = malloc(sizeof(struct ring_page));
		if (t->cpus[cpu])
			t->cpus[cpu]->used = 0;
	}
	return t->cpus[cpu];
}

static void put_u32(struct ring_page *page, uint32_t value)
{
	memcpy(page->bytes + page->used, &value, sizeof(value));
	page->used += 4;
}

static void put_event(struct ring_page *page, uint64_t time_ns, const uint8_t *raw, uint32_t size)
{
	uint64_t delta = 0;

	if (!page->used) {
		memcpy(page->bytes, &time_ns, sizeof(time_ns));
		page->used = PAGE_HEAD;
	} else {
		delta = time_ns > page->time ? time_ns - page->time : 0;
	}
	page->time = delta || page->used == PAGE_HEAD ? time_ns : page->time;
	if (delta >> DELTA_BITS) {
		put_u32(page, TYPE_TIME_EXTEND | (uint32_t)delta << TYPE_BITS);
		put_u32(page, (uint32_t)(delta >> DELTA_BITS));
		delta = 0;
	}
	put_u32(page, (uint32_t)delta << TYPE_BITS);
	put_u32(page, size + 4); /* the length counts itself */
	memcpy(page->bytes + page->used, raw, size);
	page->used += size;
}

static int record(struct format_convert *convert, const struct format_event *event)
{
	struct trace_cmd *t = convert->state;
	const struct trace_record *record = event->record;
	const struct format_perf_shape *shape = &t->shapes[record->id];
	uint32_t room = shape->nlong ? format_perf_long_room(shape, event->probe, record) : shape->size;
	struct ring_page *page = record->cpu < WIRE_CPUS_MAX ? get_page(t, record->cpu) : NULL;
	uint32_t size;
	int error = 0;

	if (!page)
		return record->cpu < WIRE_CPUS_MAX ? -ENOMEM : -ERANGE; /* no such CPU: the record is damaged */
	size = (uint32_t)base_align_up(
	    format_perf_raw_put(shape, event->probe, record, event->ip, t->raw, room - (uint32_t)FORMAT_PERF_RAW), 4);
	/* A time further away than its bits reach begins another page. */
	if (page->used && (page->used + EVENT_MOST + size > PAGE_SIZE_OF_RING ||
			   (record->time_ns > page->time && (record->time_ns - page->time) >> DELTA_BITS >> 32)))
		error = put_page(t, record->cpu);
	if (!error)
		put_event(page, record->time_ns, t->raw, size);
	return error;
}

/* ---- the file ---- */

static uint64_t count_pages(const struct trace_cmd *t, uint32_t cpu)
{
	uint64_t count = 0;

	for (size_t i = 0; i < t->npages; i++)
		count += t->cpu_of[i] == cpu;
	return count;
}

static void put_head(const struct format_convert *convert, struct format_buffer *out)
{
	const struct trace_cmd *t = convert->state;
	const struct format_perf_tracing_head head = {
		.version = "6", .page_size = PAGE_SIZE_OF_RING, .comms = t->comms.data, .comms_size = t->comms.size
	};
	uint32_t cpus = t->ncpus ? (uint32_t)t->ncpus : 1;
	uint64_t at;

	format_perf_tracing(out, &head, convert->probes, convert->nprobes, t->shapes);
	format_buffer_u32(out, cpus);
	format_buffer_add(out, "options  \0\0", 12); /* no options */
	format_buffer_add(out, "flyrecord", 10);
	at = base_align_up(out->size + 16ULL * cpus, PAGE_SIZE_OF_RING);
	for (uint32_t cpu = 0; cpu < cpus; cpu++) {
		uint64_t size = count_pages(t, cpu) * PAGE_SIZE_OF_RING;

		format_buffer_u64(out, at);
		format_buffer_u64(out, size);
		at += size;
	}
	format_buffer_align(out, PAGE_SIZE_OF_RING);
}

static int copy_page(struct format_convert *convert, size_t number)
{
	struct trace_cmd *t = convert->state;
	uint8_t *page = t->cpus[t->cpu_of[number]]->bytes;

	for (size_t done = 0; done < PAGE_SIZE_OF_RING;) {
		ssize_t n = pread(t->fd, page + done, PAGE_SIZE_OF_RING - done, (off_t)(number * PAGE_SIZE_OF_RING + done));

		if (n <= 0 && errno != EINTR)
			return n ? -errno : -EIO;
		done += n > 0 ? (size_t)n : 0;
	}
	fwrite(page, 1, PAGE_SIZE_OF_RING, convert->out);
	return ferror(convert->out) ? (errno ? -errno : -EIO) : 0;
}

static int end(struct format_convert *convert)
{
	struct trace_cmd *t = convert->state;
	_cleanup_buffer_ struct format_buffer head = { 0 };
	int error = 0;

	for (uint32_t cpu = 0; cpu < t->ncpus && !error; cpu++)
		if (t->cpus[cpu] && t->cpus[cpu]->used)
			error = put_page(t, cpu);
	if (error)
		return error;
	put_head(convert, &head);
	if (head.error || t->comms.error)
		return head.error ? head.error : t->comms.error;
	fwrite(head.data, 1, head.size, convert->out);
	for (uint32_t cpu = 0; cpu < t->ncpus; cpu++)
		for (size_t i = 0; t->cpus[cpu] && i < t->npages && !error; i++)
			if (t->cpu_of[i] == cpu)
				error = copy_page(convert, i);
	return error;
}

const struct format_kind format_kind_tracecmd = {
	.name = "trace-cmd",
	.summary = "a trace.dat, for trace-cmd report and KernelShark",
	.begin = begin,
	.probes = learn_probes,
	.thread = tell_thread,
	.record = record,
	.end = end,
	.release = release,
};
