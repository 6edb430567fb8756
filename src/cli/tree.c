/* SPDX-License-Identifier: MIT */
/*
 * One list of open calls a thread. The line of a call waits until it is known whether the next thing in its thread is its end.
 *
 * Only the indentation depends on what is guessed here: a call whose frame lies above those that are open, on what looks like the same stack,
 * means that these were left by an exception or a jump. Should one of them end after all (a coroutine's), its line comes then.
 */
#include "cli/tree.h"

#include <errno.h>
#include <stdlib.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "format/format.h"

#define SAME_STACK (8ULL << 20) /* frames that are further apart are on different stacks */
#define INDENT_MAX 100          /* levels shown; deeper ones stand below each other */
#define TEXT_MAX 1024

struct open_call {
	uint64_t frame;
	uint32_t id; /* of the returns */
};

struct tree_thread {
	uint32_t tid;
	struct open_call *calls;
	size_t count, cap;
	char *waiting; /* the innermost call, not shown yet: its name and arguments; NULL: none */
	UT_hash_handle hh;
};

struct cli_tree {
	FILE *out;
	bool color;
	struct tree_thread *threads; /* hash by tid */
};

int cli_tree_create(FILE *out, bool color, struct cli_tree **ret)
{
	struct cli_tree *tree = calloc(1, sizeof(*tree));

	if (!tree)
		return -ENOMEM;
	*tree = (struct cli_tree) { .out = out, .color = color };
	*ret = tree;
	return 0;
}

void cli_tree_destroy(struct cli_tree *tree)
{
	struct tree_thread *thread;
	struct tree_thread *next;

	if (!tree)
		return;
	HASH_ITER(hh, tree->threads, thread, next)
	{
		HASH_DEL(tree->threads, thread);
		free(thread->calls);
		free(thread->waiting);
		free(thread);
	}
	free(tree);
}

void cli_tree_header(FILE *out) { fputs("#  DURATION    TID      FUNCTION\n", out); }

static struct tree_thread *find_thread(const struct cli_tree *tree, uint32_t tid)
{
	struct tree_thread *thread;

	HASH_FIND(hh, tree->threads, &tid, sizeof(tid), thread);
	return thread;
}

static struct tree_thread *get_thread(struct cli_tree *tree, uint32_t tid)
{
	struct tree_thread *thread = find_thread(tree, tid);

	if (thread)
		return thread;
	thread = calloc(1, sizeof(*thread));
	if (!thread)
		return NULL;
	thread->tid = tid;
	HASH_ADD(hh, tree->threads, tid, sizeof(thread->tid), thread);
	if (thread->hh.tbl)
		return thread;
	free(thread);
	return NULL;
}

/* ---- lines ---- */

/* Text of the target's for a terminal: names of C++ and Rust functions are long, but plain. */
static void print_plain(FILE *out, const char *text)
{
	for (; *text; text++)
		putc((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text, out);
}

static void begin_line(const struct cli_tree *tree, uint32_t tid, size_t depth, const uint64_t *ns)
{
	char text[32] = "";

	if (ns)
		format_duration(*ns, text, sizeof(text));
	fprintf(tree->out, "%s%11s%s [%6u] | %*s", tree->color ? "\033[2m" : "", text, tree->color ? "\033[0m" : "", tid,
		(int)(2 * (depth < INDENT_MAX ? depth : INDENT_MAX)), "");
}

static void end_line(const struct cli_tree *tree, const char *format, const char *text)
{
	const char *at = strstr(format, "%s");

	fprintf(tree->out, "%.*s%s", (int)(at - format), format, tree->color ? "\033[36m" : "");
	print_plain(tree->out, text);
	fprintf(tree->out, "%s%s\n", tree->color ? "\033[0m" : "", at + 2);
}

/* The innermost call turns out to have others inside. */
static void show_waiting(const struct cli_tree *tree, struct tree_thread *thread)
{
	if (!thread->waiting)
		return;
	begin_line(tree, thread->tid, thread->count - 1, NULL);
	end_line(tree, "%s {", thread->waiting);
	free(thread->waiting);
	thread->waiting = NULL;
}

static const char *name_of(const struct trace_probe *probe)
{
	return probe->symbol && *probe->symbol ? probe->symbol : probe->event;
}

static size_t put_args(char *text, size_t size, const struct trace_probe *probe, const struct trace_record *record)
{
	const struct format_where where = { .bytes = record->bytes, .size = record->size, .source = record->source };
	size_t used = 0;

	for (uint32_t i = 0; i < record->nargs && i < probe->nargs && used < size - 1; i++) {
		char value[TEXT_MAX / 2];

		format_arg_text(&probe->args[i], record->args[i], &where, value, sizeof(value));
		used += (size_t)snprintf(text + used, size - used, "%s%s=%s", i ? ", " : "", probe->args[i].name, value);
	}
	return used < size ? used : size - 1;
}

/* "name(a=1, b=2)"; a demangled name has its own brackets, of types. */
static void put_call(char *text, size_t size, const struct trace_probe *entry, const struct trace_record *record)
{
	char inner[TEXT_MAX / 2] = "";
	const char *name = name_of(entry);

	put_args(inner, sizeof(inner), entry, record);
	if (strchr(name, '(') && !*inner)
		snprintf(text, size, "%.*s", (int)size / 2, name);
	else
		snprintf(text, size, "%.*s(%s)", (int)size / 2, name, inner);
}

/* " = 24", and what else was recorded at the return */
static void put_result(char *text, size_t size, const struct trace_probe *probe, const struct trace_call *call)
{
	const struct trace_record *exit = call->exit;
	size_t used;

	*text = '\0';
	if (!exit || !exit->nargs || call->ending == TRACE_TAILED)
		return;
	used = (size_t)snprintf(text, size, " = ");
	if (exit->nargs == 1 && probe->nargs == 1 && probe->args[0].is_result)
		format_arg_text(&probe->args[0], exit->args[0],
				&(struct format_where) { .bytes = exit->bytes, .size = exit->size, .source = exit->source }, text + used,
				size - used);
	else
		put_args(text + used, size - used, probe, exit);
}

static const char *ending(const struct trace_call *call)
{
	switch (call->ending) {
	case TRACE_TAILED:
		return ": tail call";
	case TRACE_ABANDONED:
		return ": abandoned";
	case TRACE_UNPAIRED:
		return ": entered unseen";
	case TRACE_RETURNED:
		break;
	}
	return "";
}

/* ---- calls ---- */

/* Those that a frame at @frame shows to be left: they lie below it on the same stack. */
static void drop_below(const struct cli_tree *tree, struct tree_thread *thread, uint64_t frame)
{
	while (thread->count) {
		uint64_t top = thread->calls[thread->count - 1].frame;

		if (top > frame || frame - top > SAME_STACK)
			return;
		show_waiting(tree, thread);
		thread->count--;
	}
}

int cli_tree_enter(struct cli_tree *tree, const struct trace_probe *entry, const struct trace_record *record)
{
	struct tree_thread *thread = get_thread(tree, record->tid);
	char text[TEXT_MAX];

	if (!thread)
		return -ENOMEM;
	show_waiting(tree, thread);
	drop_below(tree, thread, record->frame);
	if (base_grow(&thread->calls, &thread->cap, thread->count + 1, sizeof(*thread->calls)))
		return -ENOMEM;
	put_call(text, sizeof(text), entry, record);
	thread->waiting = strdup(text);
	if (!thread->waiting)
		return -ENOMEM;
	thread->calls[thread->count++] = (struct open_call) { .frame = record->frame, .id = record->id + 1 };
	return 0;
}

/* Index of the call in the thread's list, or SIZE_MAX. */
static size_t find_call(const struct tree_thread *thread, const struct trace_call *call)
{
	for (size_t i = thread ? thread->count : 0; i-- > 0;)
		if (thread->calls[i].frame == call->frame && thread->calls[i].id == call->id)
			return i;
	return SIZE_MAX;
}

/* It ended, but not as the innermost call of the thread that ends it: taken out wherever it stands. */
static void forget_call(const struct cli_tree *tree, const struct trace_call *call)
{
	struct tree_thread *thread = find_thread(tree, call->tid);
	size_t at = find_call(thread, call);

	if (at == SIZE_MAX)
		return;
	show_waiting(tree, thread);
	thread->count--;
	memmove(&thread->calls[at], &thread->calls[at + 1], (thread->count - at) * sizeof(*thread->calls));
}

static void print_end(const struct cli_tree *tree, uint32_t tid, size_t depth, const struct trace_probe *probe,
		      const struct trace_call *call)
{
	uint64_t ns = call->end_ns - call->start_ns;
	char result[TEXT_MAX];
	char text[TEXT_MAX];

	put_result(result, sizeof(result), probe, call);
	begin_line(tree, tid, depth, call->ending == TRACE_UNPAIRED || call->ending == TRACE_ABANDONED ? NULL : &ns);
	snprintf(text, sizeof(text), "%.*s%s%.*s", TEXT_MAX / 2, name_of(probe), ending(call), TEXT_MAX / 4, result);
	end_line(tree, call->ending == TRACE_ABANDONED ? "/* %s */" : "} /* %s */", text);
}

static void print_leaf(const struct cli_tree *tree, struct tree_thread *thread, const struct trace_probe *probe,
		       const struct trace_call *call)
{
	uint64_t ns = call->end_ns - call->start_ns;
	char result[TEXT_MAX];
	char text[2 * TEXT_MAX];

	put_result(result, sizeof(result), probe, call);
	snprintf(text, sizeof(text), "%s%s", thread->waiting, result);
	begin_line(tree, thread->tid, thread->count, &ns);
	end_line(tree, call->ending == TRACE_TAILED ? "%s; /* tail call */" : "%s;", text);
	free(thread->waiting);
	thread->waiting = NULL;
}

void cli_tree_leave(struct cli_tree *tree, const struct trace_probe *probe, const struct trace_call *call)
{
	uint32_t tid = call->exit ? call->exit->tid : call->tid;
	struct tree_thread *thread = find_thread(tree, tid);
	size_t at = find_call(thread, call);

	if (call->ending == TRACE_ABANDONED || call->ending == TRACE_UNPAIRED || at == SIZE_MAX) {
		if (thread)
			show_waiting(tree, thread);
		forget_call(tree, call);
		print_end(tree, tid, thread ? thread->count : 0, probe, call);
		return;
	}
	if (at + 1 < thread->count)
		show_waiting(tree, thread);
	thread->count = at;
	if (thread->waiting)
		print_leaf(tree, thread, probe, call);
	else
		print_end(tree, tid, at, probe, call);
}

int cli_tree_place(struct cli_tree *tree, const struct trace_probe *probe, const struct trace_record *record)
{
	struct tree_thread *thread = get_thread(tree, record->tid);
	char args[TEXT_MAX / 2] = "";
	char text[TEXT_MAX];

	if (!thread)
		return -ENOMEM;
	show_waiting(tree, thread);
	put_args(args, sizeof(args), probe, record);
	snprintf(text, sizeof(text), "%s%s%s", probe->event, *args ? " " : "", args);
	begin_line(tree, record->tid, thread->count, NULL);
	end_line(tree, "/* %s */", text);
	return 0;
}

void cli_tree_idle(struct cli_tree *tree)
{
	for (struct tree_thread *thread = tree->threads; thread; thread = thread->hh.next)
		show_waiting(tree, thread);
}
