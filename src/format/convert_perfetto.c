/* SPDX-License-Identifier: MIT */
/*
 * Perfetto's protobuf: a sequence of packets of track events. Each process and thread is a track; calls are slices on
 * their thread's, other hits are instants, records that were lost a counter a probe. Names are interned: the packet
 * that uses one first also defines it. Arguments are debug annotations. Times are CLOCK_MONOTONIC, told to be the
 * trace's clock, with one snapshot that also has the wall clock where it is known.
 *
 * Each packet is complete in itself, so the output may be cut between any two of them.
 *
 * Source: perfetto's protos/perfetto/trace: trace_packet.proto, track_event/, interned_data/, clock_snapshot.proto.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format/convert_inside.h"
#include "format/convert_proto.h"

#define SEQUENCE 1
#define CLOCK_ID_REALTIME 1
#define CLOCK_ID_MONOTONIC 3
#define TRACK_COUNTER (1ULL << 62) /* uuids: processes are pid, threads number << 32, counters from here */

enum { TRACE_PACKET = 1 };
enum {
	PACKET_CLOCK_SNAPSHOT = 6,
	PACKET_TIMESTAMP = 8,
	PACKET_SEQUENCE = 10,
	PACKET_TRACK_EVENT = 11,
	PACKET_INTERNED = 12,
	PACKET_SEQUENCE_FLAGS = 13,
	PACKET_CLOCK = 58,
	PACKET_TRACK_DESCRIPTOR = 60,
};
enum { SEQUENCE_CLEARED = 1, SEQUENCE_NEEDS_STATE = 2 };
enum { SNAPSHOT_CLOCK = 1, SNAPSHOT_PRIMARY = 2, CLOCK_CLOCK_ID = 1, CLOCK_TIMESTAMP = 2 };
enum {
	TRACK_UUID = 1,
	TRACK_NAME = 2,
	TRACK_PROCESS = 3,
	TRACK_THREAD = 4,
	TRACK_PARENT = 5,
	TRACK_COUNTER_DESCRIPTOR = 8
};
enum {
	PROCESS_PID = 1,
	PROCESS_NAME = 6,
	THREAD_PID = 1,
	THREAD_TID = 2,
	THREAD_NAME = 5,
	COUNTER_UNIT = 3,
	UNIT_COUNT = 2
};
enum {
	EVENT_CATEGORY = 3,
	EVENT_ANNOTATION = 4,
	EVENT_TYPE = 9,
	EVENT_NAME = 10,
	EVENT_TRACK = 11,
	EVENT_COUNTER_VALUE = 30,
	EVENT_FLOW = 47,
	EVENT_STACK = 56,
};
enum event_type { TYPE_BEGIN = 1, TYPE_END = 2, TYPE_INSTANT = 3, TYPE_COUNTER = 4 };
enum {
	ANNOTATION_UINT = 3,
	ANNOTATION_INT = 4,
	ANNOTATION_DOUBLE = 5,
	ANNOTATION_STRING = 6,
	ANNOTATION_POINTER = 7,
	ANNOTATION_NAME = 10,
	ANNOTATION_ARRAY = 12,
};
enum {
	INTERNED_CATEGORY = 1,
	INTERNED_NAME = 2,
	INTERNED_FUNCTION = 5,
	INTERNED_FRAME = 6,
	INTERNED_STACK = 7,
	INTERNED_PATH = 17,
	INTERNED_MAPPING = 19,
	INTERNED_IID = 1,
	INTERNED_TEXT = 2
};
enum { FRAME_FUNCTION = 2, FRAME_MAPPING = 3, FRAME_PC = 4, STACK_FRAME = 2, MAPPING_PATH = 7 };

/* Of each probe. Event names have two numbers a probe: of the hit and of the call. */
struct told {
	bool category, event, function, counter;
	uint64_t lost;
};

struct perfetto {
	struct format_buffer packet;
	struct told *told;
	size_t ntold, told_cap;
	struct format_frames *frames;
};

/* ---- packets ---- */

static size_t packet_begin(struct perfetto *p, uint64_t time_ns)
{
	p->packet.size = 0;
	size_t start = proto_begin(&p->packet, TRACE_PACKET);

	proto_varint(&p->packet, PACKET_SEQUENCE, SEQUENCE);
	if (time_ns) {
		proto_varint(&p->packet, PACKET_TIMESTAMP, time_ns);
		proto_varint(&p->packet, PACKET_CLOCK, CLOCK_ID_MONOTONIC);
	}
	return start;
}

static int packet_end(struct format_convert *convert, size_t start)
{
	struct perfetto *p = convert->state;

	proto_end(&p->packet, start);
	if (!p->packet.error)
		fwrite(p->packet.data, 1, p->packet.size, convert->out);
	return p->packet.error ? p->packet.error : convert->text.error;
}

static void put_clock(struct format_buffer *out, uint64_t id, uint64_t ns)
{
	size_t clock = proto_begin(out, SNAPSHOT_CLOCK);

	proto_varint(out, CLOCK_CLOCK_ID, id);
	proto_varint(out, CLOCK_TIMESTAMP, ns);
	proto_end(out, clock);
}

static int begin(struct format_convert *convert, struct utap_error *err)
{
	struct perfetto *p = calloc(1, sizeof(*p));
	uint64_t realtime = convert->options.realtime_ns;

	if (!p)
		return base_error(err, -ENOMEM, UTAP_ERROR_SYSTEM, "no memory to convert");
	convert->state = p;
	if (format_frames_create(true, &p->frames))
		return base_error(err, -ENOMEM, UTAP_ERROR_SYSTEM, "no memory to convert");
	size_t packet = packet_begin(p, 0);

	proto_varint(&p->packet, PACKET_SEQUENCE_FLAGS, SEQUENCE_CLEARED);
	size_t snapshot = proto_begin(&p->packet, PACKET_CLOCK_SNAPSHOT);

	put_clock(&p->packet, CLOCK_ID_MONOTONIC, 1);
	if (realtime)
		put_clock(&p->packet, CLOCK_ID_REALTIME, realtime + 1);
	proto_varint(&p->packet, SNAPSHOT_PRIMARY, CLOCK_ID_MONOTONIC);
	proto_end(&p->packet, snapshot);
	return packet_end(convert, packet);
}

static int learn_probes(struct format_convert *convert)
{
	struct perfetto *p = convert->state;

	if (convert->nprobes <= p->ntold)
		return 0;
	if (base_grow(&p->told, &p->told_cap, convert->nprobes, sizeof(*p->told)))
		return -ENOMEM;
	memset(p->told + p->ntold, 0, (convert->nprobes - p->ntold) * sizeof(*p->told));
	p->ntold = convert->nprobes;
	return 0;
}

static void release(struct format_convert *convert)
{
	struct perfetto *p = convert->state;

	if (!p)
		return;
	format_buffer_deinit(&p->packet);
	format_frames_destroy(p->frames);
	free(p->told);
	free(p);
}

/* ---- tracks ---- */

static uint64_t thread_track(const struct format_thread *thread)
{
	return thread->number << 32;
}

static int tell_process(struct format_convert *convert, const struct format_thread *thread, const char *name)
{
	struct perfetto *p = convert->state;
	size_t packet = packet_begin(p, 0);
	size_t track = proto_begin(&p->packet, PACKET_TRACK_DESCRIPTOR);

	proto_varint(&p->packet, TRACK_UUID, thread->pid);
	size_t process = proto_begin(&p->packet, TRACK_PROCESS);

	proto_varint(&p->packet, PROCESS_PID, thread->pid);
	if (*name)
		proto_string(&p->packet, PROCESS_NAME, name);
	proto_end(&p->packet, process);
	proto_end(&p->packet, track);
	return packet_end(convert, packet);
}

static int tell_thread(struct format_convert *convert, const struct format_thread *thread)
{
	struct perfetto *p = convert->state;
	const char *name = format_clean(&convert->text, thread->comm, "", "");
	int error = tell_process(convert, thread, thread->pid == thread->tid ? name : "");

	if (error)
		return error;
	size_t packet = packet_begin(p, 0);
	size_t track = proto_begin(&p->packet, PACKET_TRACK_DESCRIPTOR);

	proto_varint(&p->packet, TRACK_UUID, thread_track(thread));
	proto_varint(&p->packet, TRACK_PARENT, thread->pid);
	size_t inner = proto_begin(&p->packet, TRACK_THREAD);

	proto_varint(&p->packet, THREAD_PID, thread->pid);
	proto_varint(&p->packet, THREAD_TID, thread->tid);
	if (*name)
		proto_string(&p->packet, THREAD_NAME, name);
	proto_end(&p->packet, inner);
	proto_end(&p->packet, track);
	return packet_end(convert, packet);
}

/* ---- names ---- */

static uint64_t category_iid(uint32_t id)
{
	return (uint64_t)id + 1;
}
static uint64_t event_iid(uint32_t id, bool is_call)
{
	return 2 * (uint64_t)id + is_call + 1;
}

static void put_name(struct format_convert *convert, uint32_t field, uint64_t iid, const char *text)
{
	struct perfetto *p = convert->state;
	size_t name = proto_begin(&p->packet, field);

	proto_varint(&p->packet, INTERNED_IID, iid);
	proto_string(&p->packet, INTERNED_TEXT, format_clean(&convert->text, text, "", ""));
	proto_end(&p->packet, name);
}

/* A file is told of as one mapping that begins at its start: so the place of a frame in it is one in the file. */
static void put_file(struct format_convert *convert, struct format_string *path)
{
	struct format_buffer *out = &((struct perfetto *)convert->state)->packet;

	if (path->is_path_told)
		return;
	path->is_path_told = true;
	put_name(convert, INTERNED_PATH, path->number, path->text);
	size_t mapping = proto_begin(out, INTERNED_MAPPING);

	proto_varint(out, INTERNED_IID, path->number);
	proto_varint(out, MAPPING_PATH, path->number);
	proto_end(out, mapping);
}

static void put_frame(struct format_convert *convert, struct format_frame *frame)
{
	struct format_buffer *out = &((struct perfetto *)convert->state)->packet;

	if (!frame->name->is_told)
		put_name(convert, INTERNED_FUNCTION, frame->name->number, frame->name->text);
	frame->name->is_told = true;
	if (frame->path)
		put_file(convert, frame->path);
	size_t message = proto_begin(out, INTERNED_FRAME);

	proto_varint(out, INTERNED_IID, frame->number);
	proto_varint(out, FRAME_FUNCTION, frame->name->number);
	if (frame->path) {
		proto_varint(out, FRAME_MAPPING, frame->path->number);
		proto_varint(out, FRAME_PC, frame->offset);
	}
	proto_end(out, message);
	frame->is_told = true;
}

/* The outermost frame is the first; as deep as stacks are recorded. */
static void put_stack_frames(struct format_buffer *out, const struct format_frame *frame)
{
	if (frame->parent)
		put_stack_frames(out, frame->parent);
	proto_varint(out, STACK_FRAME, frame->number);
}

static void put_stack(struct format_convert *convert, struct format_frame *innermost)
{
	struct format_buffer *out = &((struct perfetto *)convert->state)->packet;

	for (struct format_frame *frame = innermost; frame && !frame->is_told; frame = frame->parent)
		put_frame(convert, frame);
	size_t message = proto_begin(out, INTERNED_STACK);

	proto_varint(out, INTERNED_IID, innermost->number);
	put_stack_frames(out, innermost);
	proto_end(out, message);
	innermost->is_stack_told = true;
}

/* Define the names, and the stack, of an event that were not yet. */
static void put_names(struct format_convert *convert, uint32_t id, bool is_call, struct format_frame *stack)
{
	struct perfetto *p = convert->state;
	const struct trace_probe *probe = &convert->probes[id];
	struct told *told = &p->told[id];
	bool *is_told = is_call ? &told->function : &told->event;

	if (told->category && *is_told && (!stack || stack->is_stack_told))
		return;
	size_t interned = proto_begin(&p->packet, PACKET_INTERNED);

	if (!told->category)
		put_name(convert, INTERNED_CATEGORY, category_iid(id), probe->group);
	if (!*is_told)
		put_name(convert, INTERNED_NAME, event_iid(id, is_call),
			 is_call ? format_function_name(probe) : probe->event);
	if (stack && !stack->is_stack_told)
		put_stack(convert, stack);
	proto_end(&p->packet, interned);
	told->category = *is_told = true;
}

/* ---- arguments ---- */

static void put_string(struct format_convert *convert, const struct format_field *field)
{
	struct perfetto *p = convert->state;
	_cleanup_buffer_ struct format_buffer raw = { 0 };
	const char *text = format_field_string(&raw, field);

	proto_string(&p->packet, ANNOTATION_STRING, format_clean(&convert->text, text, "\t\n\r", ""));
	if (raw.error)
		p->packet.error = raw.error;
}

static void put_value(struct format_convert *convert, const struct trace_arg *arg, const struct format_field *field)
{
	struct format_buffer *out = &((struct perfetto *)convert->state)->packet;

	switch (field->kind) {
	case FORMAT_UNKNOWN:
		break;
	case FORMAT_FAULT:
		proto_string(out, ANNOTATION_STRING, "(fault)");
		break;
	case FORMAT_UNSIGNED:
		proto_varint(out, ANNOTATION_UINT, field->u);
		break;
	case FORMAT_SIGNED:
		proto_varint(out, ANNOTATION_INT, (uint64_t)field->i);
		break;
	case FORMAT_HEX:
		proto_varint(out, ANNOTATION_POINTER, field->u);
		break;
	case FORMAT_FLOATING:
		proto_double(out, ANNOTATION_DOUBLE, field->f);
		break;
	case FORMAT_TEXT:
	case FORMAT_BYTES:
		put_string(convert, field);
		break;
	case FORMAT_ARRAY:
		for (uint32_t i = 0; i < format_field_count(arg, field); i++) {
			struct format_field element;
			size_t value = proto_begin(out, ANNOTATION_ARRAY);

			format_field_element(arg, field, i, &element);
			put_value(convert, arg, &element);
			proto_end(out, value);
		}
		break;
	}
}

static void put_args(struct format_convert *convert, const struct format_event *event)
{
	struct format_buffer *out = &((struct perfetto *)convert->state)->packet;

	for (uint32_t i = 0; i < format_args_shown(event->probe); i++) {
		struct format_field field;

		format_field_get(event->probe, event->record, i, &field);
		if (field.kind == FORMAT_UNKNOWN)
			continue;
		size_t annotation = proto_begin(out, EVENT_ANNOTATION);

		proto_string(out, ANNOTATION_NAME, format_clean(&convert->text, event->probe->args[i].name, "", ""));
		put_value(convert, &event->probe->args[i], &field);
		proto_end(out, annotation);
	}
}

/* ---- flows ---- */

/* What is equal in two hits that belong together: the number, or of text and memory its bytes mixed (FNV-1a); 0: nothing is known. */
static uint64_t flow_of(const struct format_field *field)
{
	uint64_t mixed = 0xcbf29ce484222325ULL;

	switch (field->kind) {
	case FORMAT_UNSIGNED:
	case FORMAT_HEX:
		return field->u;
	case FORMAT_SIGNED:
		return (uint64_t)field->i;
	case FORMAT_TEXT:
	case FORMAT_BYTES:
		for (uint32_t i = 0; i < field->size; i++)
			mixed = (mixed ^ field->data[i]) * 0x100000001b3ULL;
		return field->size ? mixed : 0;
	case FORMAT_UNKNOWN:
	case FORMAT_FAULT:
	case FORMAT_FLOATING:
	case FORMAT_ARRAY:
		break;
	}
	return 0;
}

static void put_flow(struct format_convert *convert, const struct format_event *event)
{
	struct format_buffer *out = &((struct perfetto *)convert->state)->packet;

	for (uint32_t i = 0; convert->options.flow && i < format_args_shown(event->probe); i++) {
		struct format_field field;
		uint64_t flow;

		if (strcmp(event->probe->args[i].name, convert->options.flow))
			continue;
		format_field_get(event->probe, event->record, i, &field);
		flow = flow_of(&field);
		if (flow)
			proto_fixed64(out, EVENT_FLOW, flow);
	}
}

/* ---- events ---- */

static int put_event(struct format_convert *convert, const struct format_event *event, enum event_type type)
{
	struct perfetto *p = convert->state;
	uint32_t id = event->record->id;
	struct format_frame *stack;
	int error = format_frames_get(p->frames, convert, event, &stack);

	if (error)
		return error;
	size_t packet = packet_begin(p, event->record->time_ns);

	proto_varint(&p->packet, PACKET_SEQUENCE_FLAGS, SEQUENCE_NEEDS_STATE);
	put_names(convert, id, type == TYPE_BEGIN, stack);
	size_t body = proto_begin(&p->packet, PACKET_TRACK_EVENT);

	proto_varint(&p->packet, EVENT_TYPE, type);
	proto_varint(&p->packet, EVENT_TRACK, thread_track(event->thread));
	proto_varint(&p->packet, EVENT_CATEGORY, category_iid(id));
	proto_varint(&p->packet, EVENT_NAME, event_iid(id, type == TYPE_BEGIN));
	put_args(convert, event);
	put_flow(convert, event);
	if (stack)
		proto_varint(&p->packet, EVENT_STACK, stack->number);
	proto_end(&p->packet, body);
	return packet_end(convert, packet);
}

static int record(struct format_convert *convert, const struct format_event *event)
{
	return put_event(convert, event, TYPE_INSTANT);
}

static int enter(struct format_convert *convert, const struct format_event *event, struct format_open *call)
{
	(void)call;
	return put_event(convert, event, TYPE_BEGIN);
}

/* A call that is open at the end has a slice without an end: that is what viewers show then. */
static int leave(struct format_convert *convert, const struct format_leave *leave)
{
	struct perfetto *p = convert->state;

	if (leave->how == FORMAT_STILL_OPEN)
		return 0;
	size_t packet = packet_begin(p, leave->end_ns);

	proto_varint(&p->packet, PACKET_SEQUENCE_FLAGS, SEQUENCE_NEEDS_STATE);
	size_t body = proto_begin(&p->packet, PACKET_TRACK_EVENT);

	proto_varint(&p->packet, EVENT_TYPE, TYPE_END);
	proto_varint(&p->packet, EVENT_TRACK, thread_track(leave->thread));
	if (leave->exit)
		put_args(convert, leave->exit);
	if (leave->how == FORMAT_ABANDONED || leave->how == FORMAT_TAILED) {
		size_t annotation = proto_begin(&p->packet, EVENT_ANNOTATION);

		proto_string(&p->packet, ANNOTATION_NAME, "ended");
		proto_string(&p->packet, ANNOTATION_STRING, leave->how == FORMAT_TAILED ? "tail call" : "abandoned");
		proto_end(&p->packet, annotation);
	}
	proto_end(&p->packet, body);
	return packet_end(convert, packet);
}

/* ---- counters ---- */

static int tell_counter(struct format_convert *convert, uint32_t id)
{
	struct perfetto *p = convert->state;
	const struct trace_probe *probe = &convert->probes[id];
	_cleanup_buffer_ struct format_buffer name = { 0 };
	size_t packet = packet_begin(p, 0);
	size_t track = proto_begin(&p->packet, PACKET_TRACK_DESCRIPTOR);

	format_buffer_print(&name, "lost %s:%s", probe->group, probe->event);
	format_buffer_zero(&name, 1);
	if (name.error)
		return name.error;
	proto_varint(&p->packet, TRACK_UUID, TRACK_COUNTER + id);
	proto_string(&p->packet, TRACK_NAME, format_clean(&convert->text, (const char *)name.data, "", ""));
	size_t counter = proto_begin(&p->packet, TRACK_COUNTER_DESCRIPTOR);

	proto_varint(&p->packet, COUNTER_UNIT, UNIT_COUNT);
	proto_end(&p->packet, counter);
	proto_end(&p->packet, track);
	p->told[id].counter = true;
	return packet_end(convert, packet);
}

static int lost(struct format_convert *convert, uint32_t id, uint64_t lost, uint64_t time_ns)
{
	struct perfetto *p = convert->state;
	int error = p->told[id].counter ? 0 : tell_counter(convert, id);

	if (error)
		return error;
	p->told[id].lost += lost;
	size_t packet = packet_begin(p, time_ns);
	size_t body = proto_begin(&p->packet, PACKET_TRACK_EVENT);

	proto_varint(&p->packet, EVENT_TYPE, TYPE_COUNTER);
	proto_varint(&p->packet, EVENT_TRACK, TRACK_COUNTER + id);
	proto_varint(&p->packet, EVENT_COUNTER_VALUE, p->told[id].lost);
	proto_end(&p->packet, body);
	return packet_end(convert, packet);
}

const struct format_kind format_kind_perfetto = {
	.name = "perfetto",
	.summary = "Perfetto's protobuf: slices of calls, instants, tracks of threads",
	.has_calls = true,
	.begin = begin,
	.probes = learn_probes,
	.thread = tell_thread,
	.record = record,
	.enter = enter,
	.leave = leave,
	.lost = lost,
	.release = release,
};
