/* SPDX-License-Identifier: MIT */
/*
 * The tree of what was called from where: below the root a node for each program (the name of its threads), below these
 * their calls. A node is found by its parent and its function, or name. Its size depends on how many different stacks
 * there are, never on how many calls.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "format/convert_inside.h"

#define FRAME (1ULL << 40)

/* Hashed as bytes: no padding. */
struct node_key {
	const void *parent;
	uint64_t probe; /* UINT64_MAX: a program, by name; FRAME + number of its name: of a user stack */
	char name[32];  /* of a program; else zero */
};

struct node_entry {
	struct format_node node;
	struct node_key key;
	UT_hash_handle hh;
};

struct stacks {
	struct format_frames *frames;
	struct format_node root;
	struct node_entry *entries;
};

static struct format_node *get_node(struct stacks *stacks, struct format_node *parent, const struct node_key *key,
				    const char *name)
{
	struct node_entry *entry;
	char *copy;

	HASH_FIND(hh, stacks->entries, key, sizeof(*key), entry);
	if (entry)
		return &entry->node;
	entry = calloc(1, sizeof(*entry));
	copy = strdup(name);
	if (entry && copy) {
		entry->key = *key;
		HASH_ADD(hh, stacks->entries, key, sizeof(entry->key), entry);
		if (entry->hh.tbl) {
			entry->node.name = copy;
			entry->node.sibling = parent->children;
			parent->children = &entry->node;
			return &entry->node;
		}
	}
	free(entry);
	free(copy);
	return NULL;
}

static struct format_node *get_program(struct stacks *stacks, const struct format_thread *thread)
{
	struct node_key key = { .parent = &stacks->root, .probe = UINT64_MAX };
	const char *name = thread->comm[0] ? thread->comm : "<...>";

	memcpy(key.name, name, strnlen(name, sizeof(key.name) - 1));
	return get_node(stacks, &stacks->root, &key, name);
}

/* What was called last in @thread, or its program. */
static struct format_node *get_top(struct stacks *stacks, const struct format_thread *thread)
{
	return thread->nopen ? thread->open[thread->nopen - 1].node : get_program(stacks, thread);
}

/* The frames from the outermost to @frame: as deep as stacks are recorded. */
static struct format_node *get_frames(struct stacks *stacks, struct format_node *program, const struct format_frame *frame)
{
	struct format_node *parent = frame->parent ? get_frames(stacks, program, frame->parent) : program;
	struct node_key key = { .parent = parent, .probe = FRAME + frame->name->number };

	return parent ? get_node(stacks, parent, &key, frame->name->text) : NULL;
}

/* Where an event with a user stack belongs: its innermost frame, or, where that is another function, below it. */
static struct format_node *get_recorded(struct stacks *stacks, const struct format_event *event, const struct format_frame *frame,
					const char *name)
{
	struct format_node *program = get_program(stacks, event->thread);
	struct format_node *node = program ? get_frames(stacks, program, frame) : NULL;
	struct node_key key = { .parent = node, .probe = event->record->id };

	if (!node || (event->probe->kind != TRACE_RETURN && strcmp(frame->name->text, format_function_name(event->probe)) == 0))
		return node;
	return get_node(stacks, node, &key, name);
}

static struct format_node *get_call(const struct format_convert *convert, const struct format_event *event, const char *name)
{
	struct stacks *stacks = convert->state;
	struct format_frame *frame;
	struct format_node *top;

	if (format_frames_get(stacks->frames, convert, event, &frame))
		return NULL;
	if (frame)
		return get_recorded(stacks, event, frame, name);
	top = get_top(stacks, event->thread);
	struct node_key key = { .parent = top, .probe = event->record->id };

	return top ? get_node(stacks, top, &key, name) : NULL;
}

int format_stacks_begin(struct format_convert *convert, struct utap_error *err)
{
	struct stacks *stacks = calloc(1, sizeof(*stacks));

	convert->state = stacks;
	if (!stacks || format_frames_create(false, &stacks->frames))
		return base_error(err, -ENOMEM, UTAP_ERROR_SYSTEM, "no memory to convert");
	stacks->root.name = "all";
	return 0;
}

int format_stacks_enter(struct format_convert *convert, const struct format_event *event, struct format_open *call)
{
	struct format_node *node = get_call(convert, event, format_function_name(event->probe));

	if (!node)
		return -ENOMEM;
	node->calls++;
	call->node = node;
	return 0;
}

int format_stacks_leave(struct format_convert *convert, const struct format_leave *leave)
{
	struct format_thread *thread = leave->thread;
	struct format_node *node = leave->call->node;
	uint64_t ns = leave->end_ns - leave->call->start_ns;

	(void)convert;
	node->self_ns += ns > leave->call->inside_ns ? ns - leave->call->inside_ns : 0;
	if (thread->nopen > 1)
		thread->open[thread->nopen - 2].inside_ns += ns;
	return 0;
}

/* A hit that is no half of a call: it takes no time. A return whose entry was not seen is nothing at all. */
int format_stacks_record(struct format_convert *convert, const struct format_event *event)
{
	struct format_node *node;

	if (event->probe->kind == TRACE_RETURN && convert->calls &&
	    format_calls_is_half(convert->calls, event->record->id))
		return 0;
	node = get_call(convert, event, event->probe->event);
	if (!node)
		return -ENOMEM;
	node->calls++;
	return 0;
}

void format_stacks_release(struct format_convert *convert)
{
	struct stacks *stacks = convert->state;
	struct node_entry *entry;
	struct node_entry *next;

	if (!stacks)
		return;
	HASH_ITER(hh, stacks->entries, entry, next)
	{
		HASH_DEL(stacks->entries, entry);
		free((char *)(uintptr_t)entry->node.name);
		free(entry);
	}
	format_frames_destroy(stacks->frames);
	free(stacks);
}

/* ---- sums ---- */

static int compare(const void *left, const void *right)
{
	const struct format_node *const *a = left;
	const struct format_node *const *b = right;

	return strcmp((*a)->name, (*b)->name);
}

static int sort_children(struct format_node *node)
{
	size_t count = 0;

	for (struct format_node *child = node->children; child; child = child->sibling)
		count++;
	if (count < 2)
		return 0;
	_cleanup_free_ struct format_node **list = calloc(count, sizeof(struct format_node *));

	if (!list)
		return -ENOMEM;
	count = 0;
	for (struct format_node *child = node->children; child; child = child->sibling)
		list[count++] = child;
	qsort(list, count, sizeof(struct format_node *), compare);
	node->children = list[0];
	for (size_t i = 0; i < count; i++)
		list[i]->sibling = i + 1 < count ? list[i + 1] : NULL;
	return 0;
}

/* As deep as calls were: bounded by calls.c. */
static int sum(struct format_node *node, bool is_time)
{
	int error = sort_children(node);

	node->self = is_time ? node->self_ns : node->calls;
	node->total = node->self;
	for (struct format_node *child = node->children; child && !error; child = child->sibling) {
		error = sum(child, is_time);
		node->total += child->total;
	}
	return error;
}

int format_stacks_sort(struct format_convert *convert, const struct format_node **root, bool *is_time)
{
	struct stacks *stacks = convert->state;
	bool wants_time = false;
	int error;

	for (const struct node_entry *entry = stacks->entries; entry && !convert->options.by_count;
	     entry = entry->hh.next)
		wants_time |= entry->node.self_ns > 0;
	error = sum(&stacks->root, wants_time);
	if (error)
		return error;
	*root = &stacks->root;
	*is_time = wants_time;
	return 0;
}

int format_stacks_end(struct format_convert *convert, format_stacks_fn *print)
{
	const struct format_node *root;
	bool is_time;
	int error = format_stacks_sort(convert, &root, &is_time);

	return error ? error : print(convert, root, is_time);
}
