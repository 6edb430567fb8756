/* SPDX-License-Identifier: MIT */
/*
 * User stacks as a tree of frames, the outermost at the root, and their texts as numbers: each different stack is there once. Its size depends
 * on how many different ones there are.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "format/convert_inside.h"

struct string_entry {
	UT_hash_handle hh;
	struct format_string string;
};

/* Hashed as bytes: no padding. */
struct frame_key {
	uint64_t parent, name, path, offset; /* numbers; 0: none */
};

struct frame_entry {
	struct format_frame frame;
	struct frame_key key;
	UT_hash_handle hh;
};

struct format_frames {
	bool by_address;
	struct string_entry *strings;
	struct frame_entry *entries;
	struct format_frame **list; /* by number - 1 */
	size_t count, cap;
};

int format_frames_create(bool by_address, struct format_frames **ret)
{
	struct format_frames *frames = calloc(1, sizeof(*frames));

	if (!frames)
		return -ENOMEM;
	frames->by_address = by_address;
	*ret = frames;
	return 0;
}

void format_frames_destroy(struct format_frames *frames)
{
	struct string_entry *string, *next_string;
	struct frame_entry *entry, *next;

	if (!frames)
		return;
	HASH_ITER(hh, frames->strings, string, next_string)
	{
		HASH_DEL(frames->strings, string);
		free(string);
	}
	HASH_ITER(hh, frames->entries, entry, next)
	{
		HASH_DEL(frames->entries, entry);
		free(entry);
	}
	free(frames->list);
	free(frames);
}

const struct format_frame *format_frames_at(const struct format_frames *frames, uint64_t number)
{
	return number - 1 < frames->count ? frames->list[number - 1] : NULL;
}

static struct format_string *get_string(struct format_frames *frames, const char *text)
{
	size_t length = strlen(text);
	struct string_entry *entry;

	HASH_FIND(hh, frames->strings, text, length, entry);
	if (entry)
		return &entry->string;
	entry = calloc(1, sizeof(*entry) + length + 1);
	if (!entry)
		return NULL;
	memcpy(entry->string.text, text, length);
	entry->string.number = HASH_COUNT(frames->strings) + 1;
	HASH_ADD_KEYPTR(hh, frames->strings, entry->string.text, length, entry);
	if (entry->hh.tbl)
		return &entry->string;
	free(entry);
	return NULL;
}

static struct format_frame *add_frame(struct format_frames *frames, const struct frame_key *key)
{
	struct frame_entry *entry;

	if (base_grow(&frames->list, &frames->cap, frames->count + 1, sizeof(*frames->list)))
		return NULL;
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return NULL;
	entry->key = *key;
	entry->frame.number = frames->count + 1;
	HASH_ADD(hh, frames->entries, key, sizeof(entry->key), entry);
	if (!entry->hh.tbl) {
		free(entry);
		return NULL;
	}
	frames->list[frames->count++] = &entry->frame;
	return &entry->frame;
}

static struct format_frame *get_frame(struct format_frames *frames, struct format_frame *parent, const struct format_symbol *symbol)
{
	struct format_string *path = symbol->path ? get_string(frames, symbol->path) : NULL;
	struct format_string *name;
	struct format_frame *frame;
	struct frame_entry *entry;
	char file[300] = "[unknown]";

	if (symbol->path)
		snprintf(file, sizeof(file), symbol->path[0] == '[' ? "%.290s" : "[%.290s]", format_file_name(symbol->path));
	name = get_string(frames, symbol->name ? symbol->name : file);
	if (!name || (symbol->path && !path))
		return NULL;
	const struct frame_key key = { .parent = parent ? parent->number : 0,
				       .name = name->number,
				       .path = path ? path->number : 0,
				       .offset = frames->by_address ? symbol->path_offset : 0 };

	HASH_FIND(hh, frames->entries, &key, sizeof(key), entry);
	if (entry)
		return &entry->frame;
	frame = add_frame(frames, &key);
	if (!frame)
		return NULL;
	frame->parent = parent;
	frame->name = name;
	frame->path = path;
	frame->offset = key.offset;
	frame->depth = parent ? parent->depth + 1 : 1;
	return frame;
}

int format_frames_get(struct format_frames *frames, const struct format_convert *convert, const struct format_event *event,
		      struct format_frame **ret)
{
	struct format_frame *frame = NULL;
	struct trace_stack stack;

	if (format_convert_stack(convert, event, &stack)) {
		for (uint32_t i = stack.count; i-- > 0;) {
			struct format_symbol symbol;

			format_convert_frame(convert, event, &stack, i, &symbol);
			frame = get_frame(frames, frame, &symbol);
			if (!frame)
				return -ENOMEM;
		}
	}
	*ret = frame;
	return 0;
}
