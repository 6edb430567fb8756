/* SPDX-License-Identifier: MIT */
/*
 * What the formats of format_convert_*() share. A format is a struct format_kind: functions that are called for each
 * thing of the stream, and a state of its own. Those that show calls get them properly nested for each thread: between
 * an enter and its leave, whatever was entered in that thread has been left. Inside the room only.
 *
 * Texts (names of threads, functions, events, arguments, and strings that were recorded) come from targets and from
 * files: each format escapes them in its own way.
 */
#ifndef FORMAT_CONVERT_INSIDE_H
#define FORMAT_CONVERT_INSIDE_H

#include "format/convert.h"
#include "format/inside.h"
#include "format/perf_layout.h"

/* ---- arguments ---- */

enum format_field_kind {
	FORMAT_UNKNOWN, /* the result of a function left by a tail call, or an argument that the record has not got */
	FORMAT_FAULT,   /* the memory could not be read */
	FORMAT_UNSIGNED,
	FORMAT_SIGNED,
	FORMAT_HEX, /* an address, or what is shown as one */
	FORMAT_FLOATING,
	FORMAT_TEXT,  /* data, size: without the NUL; any bytes */
	FORMAT_ARRAY, /* data, size: whole elements */
	FORMAT_BYTES, /* data, size */
};

/** One argument of a record, taken apart. */
struct format_field {
	enum format_field_kind kind;
	union {
		uint64_t u;
		int64_t i;
		double f;
	};
	const uint8_t *data;
	uint32_t size;
	bool is_short;                     /* of TEXT, ARRAY, BYTES: there was more */
	const struct trace_record *record; /* of an ARRAY: its elements may be locators */
};

/** format_field_get() - argument number @index; never reads outside the record, whatever a locator says */
void format_field_get(const struct trace_probe *probe, const struct trace_record *record, uint32_t index,
		      struct format_field *ret);
/** format_field_element() - number @index of an ARRAY whose elements are @arg's; as a value, of text a TEXT */
void format_field_element(const struct trace_arg *arg, const struct format_field *array, uint32_t index,
			  struct format_field *ret);
/** format_field_count() - elements of an ARRAY */
uint32_t format_field_count(const struct trace_arg *arg, const struct format_field *array);
/** format_field_text() - append an argument as people read it (ftrace's way), terminated: 24, 0x18, "text", {1,2},
 * (fault), ? */
void format_field_text(struct format_buffer *out, const struct trace_arg *arg, const struct format_field *field);
/** format_field_string() - the bytes of a TEXT, or two hexadecimal digits each of BYTES, as a terminated string in
 * @out, emptied first */
const char *format_field_string(struct format_buffer *out, const struct format_field *field);

/**
 * format_clean() - text as whole characters: what is no UTF-8 becomes U+FFFD, control characters a '?'
 * @keep:   control characters that stay
 * @forbid: characters of ASCII that become '_'
 *
 * Return: terminated, in @out, which is emptied first; "" without memory.
 */
const char *format_clean(struct format_buffer *out, const char *text, const char *keep, const char *forbid);

/* ---- the stream ---- */

/** A call that was entered and not left yet. */
struct format_open {
	uint64_t frame; /* 0: not known */
	uint64_t start_ns;
	uint32_t id;        /* of the probe of the entry */
	void *node;         /* the format's */
	uint64_t inside_ns; /* spent in calls inside of it; kept by the format */
};

struct format_thread {
	uint64_t key; /* pid << 32 | tid */
	uint32_t pid, tid;
	char comm[32];            /* "" when unknown */
	struct format_open *open; /* the innermost last */
	size_t nopen, open_cap;
	void *node;      /* the format's */
	uint64_t number; /* from 1, in the order in which threads were seen */
	bool is_named;   /* the format was told of it, by this name */
};

struct format_event {
	const struct trace_probe *probe;
	const struct trace_record *record;
	uint64_t ip;
	struct format_thread *thread;
	const char *comm; /* NULL when unknown */
};

enum format_leave_how { FORMAT_RETURNED, FORMAT_TAILED, FORMAT_ABANDONED, FORMAT_STILL_OPEN };

struct format_leave {
	enum format_leave_how how;
	struct format_thread *thread; /* open[nopen - 1] is the call */
	const struct format_open *call;
	const struct trace_probe *entry;
	const struct format_event *exit; /* NULL unless RETURNED or TAILED */
	uint64_t end_ns;
};

struct format_kind {
	const char *name, *summary;
	bool is_directory;
	bool is_report; /* not listed */
	bool has_calls; /* wants enter and leave; record() gets only what is no half of a call */
	int (*begin)(struct format_convert *convert, struct utap_error *err); /* may be NULL, as all but record */
	int (*probes)(struct format_convert *convert);                        /* also called behind begin() */
	int (*thread)(struct format_convert *convert,
		      const struct format_thread *thread); /* new, or it has another name */
	int (*record)(struct format_convert *convert, const struct format_event *event);
	int (*enter)(struct format_convert *convert, const struct format_event *event, struct format_open *call);
	int (*leave)(struct format_convert *convert, const struct format_leave *leave);
	int (*lost)(struct format_convert *convert, uint32_t id, uint64_t lost, uint64_t time_ns);
	int (*flush)(struct format_convert *convert);
	int (*end)(struct format_convert *convert);
	void (*release)(struct format_convert *convert);
};

struct format_calls;

struct format_convert {
	const struct format_kind *kind;
	struct format_convert_options options;
	FILE *out;
	const struct trace_probe *probes;
	uint32_t nprobes;
	uint64_t last_ns;           /* time of the newest record */
	struct format_calls *calls; /* NULL unless kind->has_calls */
	struct format_buffer text;  /* for one string at a time */
	void *threads;              /* a hash of convert.c's */
	struct format_thread *last;
	uint64_t nthreads;
	int error;   /* the first */
	void *state; /* the format's */
};

/** format_convert_symbol() - what holds @addr in the process of @record; false: not known */
bool format_convert_symbol(const struct format_convert *convert, const struct trace_record *record, uint64_t addr,
			   struct format_symbol *ret);
/** format_convert_stack() - the user stack of an event, as addresses; false: it has none, or it is a copy that nobody unwinds */
bool format_convert_stack(const struct format_convert *convert, const struct format_event *event, struct trace_stack *ret);
/** format_convert_frame() - address number @i of it, and what is known of that */
uint64_t format_convert_frame(const struct format_convert *convert, const struct format_event *event, const struct trace_stack *stack,
			      uint32_t i, struct format_symbol *symbol);
/** format_function_name() - for people: the function, else the event */
const char *format_function_name(const struct trace_probe *probe);

/* ---- calls.c: which record is half of which call ---- */

int format_calls_create(struct format_calls **ret) BASE_MUST_CHECK;
void format_calls_destroy(struct format_calls *calls);
/**
 * format_calls_probes() - find out which probes are the entry and the return of the same function
 *
 * A TRACE_ENTRY belongs to the TRACE_RETURN that follows it. A TRACE_PLACE at a function's first instruction and a
 * TRACE_RETURN of the same function make a pair as well, the first of each.
 */
int format_calls_probes(struct format_calls *calls, const struct trace_probe *probes, uint32_t nprobes) BASE_MUST_CHECK;
/** format_calls_is_half() - is probe @id an entry or return whose other half is probed, too? */
bool format_calls_is_half(const struct format_calls *calls, uint32_t id);
/** format_calls_entry() - the id of the probe of the entries of the function that probe @id is half of; UINT32_MAX: it
 * is no half */
uint32_t format_calls_entry(const struct format_calls *calls, const struct trace_probe *probe, uint32_t id);
/** format_calls_add() - hand a record on as enter, leave or record; calls that it shows to be left are left first */
int format_calls_add(struct format_convert *convert, const struct format_event *event) BASE_MUST_CHECK;
/** format_calls_end() - leave all that is open in @thread */
int format_calls_end(struct format_convert *convert, struct format_thread *thread) BASE_MUST_CHECK;

/* ---- convert_frames.c: user stacks, interned ---- */

/** A text that comes again and again. */
struct format_string {
	uint64_t number; /* from 1 */
	bool is_told, is_path_told; /* by the format, as a function and as a path */
	char text[];
};

/** A frame below all that called it: one of the innermost stands for its whole stack. */
struct format_frame {
	uint64_t number; /* from 1, larger than the parent's */
	struct format_frame *parent; /* NULL: the outermost */
	struct format_string *name; /* the function; "[file]" or "[unknown]" */
	struct format_string *path; /* NULL: not known */
	uint64_t offset;            /* in that file, when asked for by address */
	uint32_t depth;             /* 1: the outermost */
	bool is_told, is_stack_told;
};

struct format_frames;
/** format_frames_create() - @by_address: frames of a function differ by where in it they are; else they are one */
int format_frames_create(bool by_address, struct format_frames **ret) BASE_MUST_CHECK;
void format_frames_destroy(struct format_frames *frames); /* NULL is fine */
/** format_frames_get() - the innermost frame of the event's user stack; NULL: it has none. 0 or -ENOMEM */
int format_frames_get(struct format_frames *frames, const struct format_convert *convert, const struct format_event *event,
		      struct format_frame **ret) BASE_MUST_CHECK;
/** format_frames_at() - number @number, NULL after the last */
const struct format_frame *format_frames_at(const struct format_frames *frames, uint64_t number);

/* ---- stacks.c: the tree of what was called from where, for folded stacks and the flame graph ---- */

struct format_node {
	const char *name;                       /* as it is; owned by the tree */
	struct format_node *children, *sibling; /* in the order of names once format_stacks_sort() was called */
	uint64_t calls;                         /* that began here, or hits */
	uint64_t self_ns;                       /* time that is no child's */
	uint64_t self;                          /* what it weighs by itself, and .. */
	uint64_t total;                         /* .. with its children: set by format_stacks_sort() */
};

/** The state of a format that is made of stacks: its enter, leave, record, begin and release. */
int format_stacks_begin(struct format_convert *convert, struct utap_error *err) BASE_MUST_CHECK;
int format_stacks_enter(struct format_convert *convert, const struct format_event *event,
			struct format_open *call) BASE_MUST_CHECK;
int format_stacks_leave(struct format_convert *convert, const struct format_leave *leave) BASE_MUST_CHECK;
int format_stacks_record(struct format_convert *convert, const struct format_event *event) BASE_MUST_CHECK;
void format_stacks_release(struct format_convert *convert);
/**
 * format_stacks_sort() - weights, totals, and children by name
 * @is_time: weights are ns; else calls, because that was asked for or because there was not one whole call
 *
 * Return: 0 or -ENOMEM. The root's children are programs.
 */
int format_stacks_sort(struct format_convert *convert, const struct format_node **root, bool *is_time) BASE_MUST_CHECK;

typedef int format_stacks_fn(struct format_convert *convert, const struct format_node *root, bool is_time);
/** format_stacks_end() - the end of such a format: sort, then @print */
int format_stacks_end(struct format_convert *convert, format_stacks_fn *print) BASE_MUST_CHECK;

extern const struct format_kind format_kind_chrome, format_kind_csv, format_kind_ctf, format_kind_flame,
    format_kind_folded, format_kind_ftrace, format_kind_systrace, format_kind_jsonl, format_kind_perfetto,
    format_kind_tracecmd, format_kind_functions, format_kind_tree;

#endif
