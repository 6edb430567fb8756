/* SPDX-License-Identifier: MIT */
/*
 * Our own table of probes inside a perf.data: what struct trace_probe knows and perf's formats have no place for (path,
 * symbol, offsets, exact names, how an argument is shown). It stands right behind the file's header, where perf has
 * nothing, so that reading it back depends on nothing that was written late.
 *
 * Read as input: every count is bounded by the bytes that are left before anything is allocated for it.
 *
 *     struct table_header
 *     for each probe: struct table_probe, struct table_more; group, event, path, symbol without terminators;
 *                     for each argument: struct table_arg, struct table_kind; name without terminator
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format/perf_layout.h"

#define TABLE_MAGIC "utap.prb"
#define TABLE_VERSION 3 /* 1: without struct table_more; 2: without struct table_kind */

struct table_header {
	char magic[8];
	uint32_t version;
	uint32_t nprobes;
	uint32_t nargs; /* of all probes together */
	uint32_t unused;
};
static_assert(sizeof(struct table_header) == 24, "table_header");

struct table_probe {
	uint64_t offset, symbol_offset, addr;
	uint32_t record_size, nargs;
	uint16_t group, event, path, symbol; /* lengths */
};
static_assert(sizeof(struct table_probe) == 40, "table_probe");

struct table_more {
	uint32_t kind;
	uint32_t flags;
};
#define TABLE_FRAMES 1 /* samples tell their frames */
static_assert(sizeof(struct table_more) == 8, "table_more");

struct table_arg {
	uint8_t bits, format, name, is_result; /* name: its length */
};
static_assert(sizeof(struct table_arg) == 4, "table_arg");

struct table_kind {
	uint32_t kind, count;
};
static_assert(sizeof(struct table_kind) == 8, "table_kind");

#define PATH_LIMIT 4095
#define SYMBOL_LIMIT 65535
#define LENGTH(text) ((uint16_t)strnlen((text), sizeof(text) - 1))

static void table_add_probe(struct format_buffer *out, const struct trace_probe *probe)
{
	struct table_probe row = { .offset = probe->offset,
				   .symbol_offset = probe->symbol_offset,
				   .addr = probe->addr,
				   .record_size = probe->record_size,
				   .nargs = probe->nargs,
				   .group = LENGTH(probe->group),
				   .event = LENGTH(probe->event),
				   .path = (uint16_t)strnlen(probe->path, PATH_LIMIT),
				   .symbol = (uint16_t)strnlen(probe->symbol, SYMBOL_LIMIT) };

	struct table_more more = { .kind = probe->kind,
				   .flags = probe->kind != TRACE_PLACE && !probe->no_frames ? TABLE_FRAMES : 0 };

	format_buffer_add(out, &row, sizeof(row));
	format_buffer_add(out, &more, sizeof(more));
	format_buffer_add(out, probe->group, row.group);
	format_buffer_add(out, probe->event, row.event);
	format_buffer_add(out, probe->path, row.path);
	format_buffer_add(out, probe->symbol, row.symbol);
	for (uint32_t i = 0; i < probe->nargs; i++) {
		const struct trace_arg *arg = &probe->args[i];
		struct table_arg arg_row = { .bits = arg->bits,
					     .format = (uint8_t)arg->format,
					     .name = (uint8_t)LENGTH(arg->name),
					     .is_result = arg->is_result };
		struct table_kind kind = { .kind = arg->kind, .count = arg->count };

		format_buffer_add(out, &arg_row, sizeof(arg_row));
		format_buffer_add(out, &kind, sizeof(kind));
		format_buffer_add(out, arg->name, arg_row.name);
	}
}

void format_perf_table(struct format_buffer *out, const struct trace_probe *probes, uint32_t nprobes)
{
	struct table_header header = { .magic = TABLE_MAGIC, .version = TABLE_VERSION, .nprobes = nprobes };

	for (uint32_t i = 0; i < nprobes; i++)
		header.nargs += probes[i].nargs;
	format_buffer_add(out, &header, sizeof(header));
	for (uint32_t i = 0; i < nprobes; i++)
		table_add_probe(out, &probes[i]);
}

/* ---- reading ---- */

struct cursor {
	const uint8_t *data;
	size_t size, at;
	uint32_t version;
	char *texts; /* where the next path or symbol goes; there is room for all that @data can hold */
};

static bool cursor_take(struct cursor *cursor, void *to, size_t size)
{
	if (size > cursor->size - cursor->at)
		return false;
	memcpy(to, cursor->data + cursor->at, size);
	cursor->at += size;
	return true;
}

/* A name of @length bytes into an array of @size; one with a zero byte inside, or too long, is damage. */
static bool cursor_text(struct cursor *cursor, char *to, size_t size, size_t length)
{
	if (length >= size || !cursor_take(cursor, to, length))
		return false;
	to[length] = 0;
	return !memchr(to, 0, length);
}

/* A path or symbol, kept behind the arguments. */
static bool cursor_keep(struct cursor *cursor, const char **to, size_t length)
{
	*to = cursor->texts;
	cursor->texts += length + 1;
	return length < cursor->size && cursor_text(cursor, cursor->texts - length - 1, length + 1, length);
}

static bool table_take_args(struct cursor *cursor, struct trace_arg *args, uint32_t nargs)
{
	for (uint32_t i = 0; i < nargs; i++) {
		struct table_arg row;
		struct table_kind kind = { .kind = TRACE_WORD };

		if (!cursor_take(cursor, &row, sizeof(row)) || row.format > TRACE_RAW_STACK)
			return false;
		if (cursor->version > 2 && (!cursor_take(cursor, &kind, sizeof(kind)) || kind.kind > TRACE_BYTES))
			return false;
		args[i].kind = (enum trace_arg_kind)kind.kind;
		args[i].count = kind.count;
		args[i].bits = row.bits; /* format_perf_shapes() judges it */
		args[i].format = (enum trace_arg_format)row.format;
		args[i].is_result = row.is_result;
		if (!cursor_text(cursor, args[i].name, sizeof(args[i].name), row.name))
			return false;
	}
	return true;
}

static bool table_take_probe(struct cursor *cursor, struct trace_probe *probe, struct trace_arg *args,
			     uint32_t args_left)
{
	struct table_probe row;
	struct table_more more = { .kind = TRACE_PLACE };

	if (!cursor_take(cursor, &row, sizeof(row)) || row.nargs > args_left)
		return false;
	if (cursor->version > 1 && (!cursor_take(cursor, &more, sizeof(more)) || more.kind > TRACE_RETURN))
		return false;
	probe->kind = (enum trace_probe_kind)more.kind;
	probe->no_frames = probe->kind != TRACE_PLACE && !(more.flags & TABLE_FRAMES);
	probe->offset = row.offset;
	probe->symbol_offset = row.symbol_offset;
	probe->addr = row.addr;
	probe->record_size = row.record_size;
	probe->nargs = row.nargs;
	probe->args = args;
	return cursor_text(cursor, probe->group, sizeof(probe->group), row.group) &&
	       cursor_text(cursor, probe->event, sizeof(probe->event), row.event) &&
	       row.path + row.symbol <= cursor->size - cursor->at && cursor_keep(cursor, &probe->path, row.path) &&
	       cursor_keep(cursor, &probe->symbol, row.symbol) &&
	       table_take_args(cursor, args, row.nargs);
}

int format_perf_table_read(const uint8_t *data, size_t size, uint64_t at, struct trace_probe **probes,
			   uint32_t *nprobes, struct trace_arg **args, struct utap_error *err)
{
	struct cursor cursor = { .data = data, .size = size };
	struct table_header header;

	if (!cursor_take(&cursor, &header, sizeof(header)) ||
	    memcmp(header.magic, TABLE_MAGIC, sizeof(header.magic)) != 0)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE,
				  "no table of probes at offset %llu: not written by utap; try "
				  "perf script",
				  (unsigned long long)at);
	if (header.version < 1 || header.version > TABLE_VERSION)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE,
				  "table of probes has version %u, this utap reads %d; use a "
				  "newer utap",
				  header.version, TABLE_VERSION);
	if (header.nprobes > FORMAT_PERF_PROBES_MAX || header.nprobes > size / sizeof(struct table_probe) ||
	    header.nargs > size / sizeof(struct table_arg))
		return base_error(err, -EINVAL, UTAP_ERROR_SYSTEM,
				  "table of probes at offset %llu is damaged: more probes than "
				  "bytes",
				  (unsigned long long)at);
	_cleanup_free_ struct trace_probe *new_probes = calloc((size_t)header.nprobes + 1, sizeof(*new_probes));
	size_t args_size = ((size_t)header.nargs + 1) * sizeof(struct trace_arg);
	_cleanup_free_ struct trace_arg *new_args = calloc(1, args_size + size + 2 * (size_t)header.nprobes);

	if (!new_probes || !new_args)
		return base_error(err, -ENOMEM, UTAP_ERROR_SYSTEM, "no memory for %u probes", header.nprobes);
	cursor.version = header.version;
	cursor.texts = (char *)new_args + args_size;
	for (uint32_t i = 0, used = 0; i < header.nprobes; used += new_probes[i++].nargs)
		if (!table_take_probe(&cursor, &new_probes[i], new_args + used, header.nargs - used))
			return base_error(err, -EINVAL, UTAP_ERROR_SYSTEM,
					  "table of probes is damaged near offset %llu, in probe %u",
					  (unsigned long long)(at + cursor.at), i);
	*probes = new_probes;
	*nprobes = header.nprobes;
	*args = new_args;
	new_probes = NULL;
	new_args = NULL;
	return 0;
}
