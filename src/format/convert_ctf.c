/* SPDX-License-Identifier: MIT */
/*
 * Writing CTF: a directory, see convert_ctf.h. Packets are put together in memory and appended whole to the file of
 * their stream, so the trace can be read at any moment. A file is opened for each packet: a machine may have more CPUs
 * than we may have descriptors.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/convert_ctf.h"

#define PACKET_FULL (256U << 10)

struct stream {
	struct format_buffer packet; /* begins with struct ctf_packet once there is an event */
	uint64_t begin_ns, end_ns;
	uint64_t number;
};

struct ctf {
	int directory;
	uint8_t uuid[16];
	uint32_t described; /* probes in the metadata */
	struct stream *cpus;
	size_t ncpus, cpus_cap;
	struct stream lost;
	uint64_t discarded;
};

static int append(const struct ctf *ctf, const char *name, const struct format_buffer *data)
{
	_cleanup_close_ int fd = -1;

	if (data->error)
		return data->error;
	fd = openat(ctf->directory, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	return base_write_all(fd, data->data, data->size);
}

/* ---- packets ---- */

static int write_packet(const struct ctf *ctf, struct stream *stream, const char *name, uint32_t class, uint64_t last)
{
	struct format_buffer *packet = &stream->packet;
	uint64_t bits = 8ULL * packet->size;
	struct ctf_packet head = {
		.magic = CTF_MAGIC,
		.stream = class,
		.begin_ns = stream->begin_ns,
		.end_ns = stream->end_ns,
		.content_bits = bits,
		.packet_bits = bits,
		.number = stream->number++,
		.cpu = last,
	};

	memcpy(head.uuid, ctf->uuid, sizeof(head.uuid));
	if (!packet->error)
		memcpy(packet->data, &head, sizeof(head));
	int error = append(ctf, name, packet);

	packet->size = 0;
	return error;
}

static int write_cpu(const struct ctf *ctf, size_t cpu)
{
	char name[32];

	if (!ctf->cpus[cpu].packet.size)
		return 0;
	snprintf(name, sizeof(name), "cpu_%zu", cpu);
	return write_packet(ctf, &ctf->cpus[cpu], name, CTF_STREAM_CPU, cpu);
}

static void begin_event(struct stream *stream, uint32_t id, uint64_t time_ns)
{
	struct ctf_event event = { .id = id, .time_ns = time_ns };

	if (!stream->packet.size) {
		format_buffer_zero(&stream->packet, sizeof(struct ctf_packet));
		stream->begin_ns = time_ns;
	}
	stream->end_ns = time_ns;
	format_buffer_add(&stream->packet, &event, sizeof(event));
}

static void add_string(struct format_buffer *out, const char *text)
{
	format_buffer_add(out, text, strlen(text) + 1);
}

/* ---- its life ---- */

/* A directory with nothing in it? errno is kept. */
static bool is_empty(const char *path)
{
	int before = errno;
	DIR *directory = opendir(path);
	bool is_empty = directory;
	const struct dirent *entry;

	while (is_empty && (entry = readdir(directory)))
		is_empty = !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..");
	if (directory)
		closedir(directory);
	errno = before;
	return is_empty;
}

static int begin(struct format_convert *convert, struct utap_error *err)
{
	const char *path = convert->options.directory;
	_cleanup_buffer_ struct format_buffer head = { 0 };
	struct ctf *ctf = calloc(1, sizeof(*ctf));

	if (!ctf)
		return base_error(err, -ENOMEM, UTAP_ERROR_SYSTEM, "no memory to convert");
	ctf->directory = -1;
	convert->state = ctf;
	if (mkdir(path, 0700) && (errno != EEXIST || !is_empty(path)))
		return base_error_system(err, -errno, "the directory %s cannot be made", path);
	ctf->directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (ctf->directory < 0)
		return base_error_system(err, -errno, "the directory %s cannot be opened", path);
	if (getrandom(ctf->uuid, sizeof(ctf->uuid), 0) != sizeof(ctf->uuid))
		return base_error_system(err, -errno, "no random numbers for the trace's uuid");
	ctf_metadata_head(&head, ctf->uuid, convert->options.realtime_ns);
	int error = append(ctf, "metadata", &head);

	return error ? base_error_system(err, error, "%s/metadata cannot be written", path) : 0;
}

static int learn_probes(struct format_convert *convert)
{
	struct ctf *ctf = convert->state;
	_cleanup_buffer_ struct format_buffer text = { 0 };

	for (uint32_t id = ctf->described; id < convert->nprobes; id++)
		ctf_metadata_event(&text, &convert->probes[id], id);
	int error = text.size || text.error ? append(ctf, "metadata", &text) : 0;

	if (!error)
		ctf->described = convert->nprobes;
	return error;
}

static int flush(struct format_convert *convert)
{
	struct ctf *ctf = convert->state;
	int error = 0;

	for (size_t cpu = 0; cpu < ctf->ncpus && !error; cpu++)
		error = write_cpu(ctf, cpu);
	return error;
}

static void release(struct format_convert *convert)
{
	struct ctf *ctf = convert->state;

	if (!ctf)
		return;
	for (size_t cpu = 0; cpu < ctf->ncpus; cpu++)
		format_buffer_deinit(&ctf->cpus[cpu].packet);
	format_buffer_deinit(&ctf->lost.packet);
	if (ctf->directory >= 0)
		close(ctf->directory);
	free(ctf->cpus);
	free(ctf);
}

/* ---- events ---- */

static int get_stream(struct ctf *ctf, uint32_t cpu, struct stream **ret)
{
	size_t before = ctf->ncpus;

	if (cpu >= WIRE_CPUS_MAX)
		return -ERANGE; /* no such CPU: the record is damaged */
	if (cpu >= before) {
		if (base_grow(&ctf->cpus, &ctf->cpus_cap, cpu + 1ULL, sizeof(*ctf->cpus)))
			return -ENOMEM;
		memset(&ctf->cpus[before], 0, (cpu + 1 - before) * sizeof(*ctf->cpus));
		ctf->ncpus = cpu + 1;
	}
	*ret = &ctf->cpus[cpu];
	return 0;
}

static void add_word(struct format_buffer *out, const struct trace_arg *arg, const struct format_field *field)
{
	uint64_t word = field->kind == FORMAT_UNKNOWN ? 0 : field->u;
	float single = (float)field->f;

	if (field->kind == FORMAT_FLOATING && ctf_width(arg) == sizeof(single))
		format_buffer_add(out, &single, sizeof(single));
	else
		format_buffer_add(out, &word, ctf_width(arg));
}

static int add_text(struct format_convert *convert, struct format_buffer *out, const struct format_field *field)
{
	_cleanup_buffer_ struct format_buffer raw = { 0 };

	if (field->kind == FORMAT_TEXT)
		add_string(out, format_clean(&convert->text, format_field_string(&raw, field), "\t\n\r", ""));
	else
		add_string(out, field->kind == FORMAT_FAULT ? "(fault)" : "");
	return raw.error ? raw.error : convert->text.error;
}

static int add_texts(struct format_convert *convert, struct format_buffer *out, const struct trace_arg *arg,
		     const struct format_field *array, uint32_t count)
{
	int error = 0;

	for (uint32_t i = 0; i < count && !error; i++) {
		struct format_field text;

		format_field_element(arg, array, i, &text);
		error = add_text(convert, out, &text);
	}
	return error;
}

static int add_arg(struct format_convert *convert, struct format_buffer *out, const struct trace_arg *arg,
		   const struct format_field *field)
{
	uint32_t width = arg->kind == TRACE_ARRAY ? ctf_width(arg) : 1;
	uint32_t count = field->data ? field->size / width : 0; /* what could not be read has none */

	switch (arg->kind) {
	case TRACE_WORD:
		add_word(out, arg, field);
		return 0;
	case TRACE_STRING:
		return add_text(convert, out, field);
	case TRACE_ARRAY:
	case TRACE_BYTES:
		format_buffer_u32(out, count);
		if (arg->kind == TRACE_ARRAY && arg->format == TRACE_TEXT)
			return add_texts(convert, out, arg, field, count);
		format_buffer_add(out, field->data, (size_t)count * width);
		break;
	}
	return 0;
}

/* The innermost address first; of a copied stack that nobody unwinds there is none. */
static void add_stack(const struct format_convert *convert, struct format_buffer *out, const struct format_event *event)
{
	struct trace_stack stack;
	bool has_stack = format_convert_stack(convert, event, &stack);
	uint32_t count = has_stack ? stack.count : 0;

	format_buffer_u32(out, count);
	for (uint32_t i = 0; i < count; i++) {
		bool is_exact;

		format_buffer_u64(out, trace_stack_address(&stack, i, &is_exact));
	}
}

static int record(struct format_convert *convert, const struct format_event *event)
{
	const struct trace_record *record = event->record;
	struct ctf *ctf = convert->state;
	struct stream *stream;
	int error = get_stream(ctf, record->cpu, &stream);

	if (error)
		return error;
	struct format_buffer *out = &stream->packet;

	begin_event(stream, record->id, record->time_ns);
	format_buffer_u32(out, record->pid);
	format_buffer_u32(out, record->tid);
	add_string(out, format_clean(&convert->text, event->thread->comm, "", ""));
	format_buffer_u64(out, event->ip);
	if (event->probe->kind == TRACE_RETURN) {
		format_buffer_u64(out, record->caller);
		format_buffer_add(out, &(uint8_t) { !!(record->flags & WIRE_RECORD_TAIL) }, 1);
	}
	for (uint32_t i = 0; i < event->probe->nargs && !error; i++) {
		struct format_field field;

		if (trace_is_stack(&event->probe->args[i])) {
			add_stack(convert, out, event);
			continue;
		}
		format_field_get(event->probe, record, i, &field);
		error = add_arg(convert, out, &event->probe->args[i], &field);
	}
	if (!error)
		error = out->error ? out->error : convert->text.error;
	return !error && out->size >= PACKET_FULL ? write_cpu(ctf, record->cpu) : error;
}

/* Readers count what was discarded between the ends of two packets: so the first is an empty one. */
static int lost(struct format_convert *convert, uint32_t id, uint64_t lost, uint64_t time_ns)
{
	struct ctf *ctf = convert->state;
	struct stream *stream = &ctf->lost;
	int error = 0;

	if (!stream->number) {
		stream->begin_ns = stream->end_ns = time_ns;
		format_buffer_zero(&stream->packet, sizeof(struct ctf_packet));
		error = write_packet(ctf, stream, "lost", CTF_STREAM_LOST, 0);
	}
	if (error)
		return error;
	begin_event(stream, 0, time_ns);
	add_string(&stream->packet, format_clean(&convert->text, convert->probes[id].event, "", ""));
	format_buffer_u64(&stream->packet, lost);
	ctf->discarded += lost;
	error = write_packet(ctf, stream, "lost", CTF_STREAM_LOST, ctf->discarded);
	return error ? error : convert->text.error;
}

const struct format_kind format_kind_ctf = {
	.name = "ctf",
	.summary = "Common Trace Format 1.8, a directory, for babeltrace2 and Trace Compass",
	.is_directory = true,
	.begin = begin,
	.probes = learn_probes,
	.record = record,
	.lost = lost,
	.flush = flush,
	.end = flush,
	.release = release,
};
