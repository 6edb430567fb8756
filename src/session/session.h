/* SPDX-License-Identifier: MIT */
/*
 * Probes x processes. A session holds probes (places in files) and targets (processes); it brings each probe into each
 * target that maps its file, reads what they record, and takes everything out again.
 *
 * Life: create -> add probes -> attach or spawn targets -> drain .. -> detach -> destroy. One thread uses a session.
 */
#ifndef SESSION_SESSION_H
#define SESSION_SESSION_H

#include <sys/types.h>

#include "patch/layer.h"
#include "probe/probe.h"
#include "probe/source.h"
#include "trace/trace.h"

struct session;

#define SESSION_RING_MAX (256ULL << 20)
#define SESSION_RATE 1000000000ULL

struct session_options {
	enum probe_action action; /* of all probes */
	uint64_t ring_size;       /* bytes a CPU, rounded up to a power of two of pages, at most SESSION_RING_MAX; 0: 1 MiB */
	bool allow_no_frame;      /* also probe code without a frame description entry */
	bool overwrite;           /* PROBE_RECORD: the newest records replace the oldest; session_snapshot() reads, session_drain() nothing */
	/*
	 * PROBE_RECORD: a probe of a function, at its entry or return, records both: two probes of the table, a TRACE_ENTRY and then a
	 * TRACE_RETURN, for trace_frames. Others stay single.
	 */
	bool pairs;
	/*
	 * PROBE_RECORD: of each probe's hits for which its condition holds, record the first of every so many, on each CPU; or at most so many a
	 * second in each process, a tenth of them at once. 0: no limit; not both. With pairs limits are of calls. What is held back is counted.
	 */
	uint64_t every;           /* at most PROBE_EVERY */
	uint64_t rate;            /* at most SESSION_RATE */
	bool allow_trap;          /* where nothing else is possible put an int3; see engine_traps_start() for what that costs. Not with follow */
	bool debugger_safe;       /* only jumps that no breakpoint of a debugger can break: patch_target_keep_others() */
	/* Called now and then while an attach takes long; may be NULL. done of total, "reading symbols", "patching" .. */
	void (*progress)(void *arg, const char *what, size_t done, size_t total);
	void *progress_arg;
	/* PROBE_RECORD without pairs: records end with the user stack; 0: they do not. See probe_add_stack(). */
	enum wire_stack_kind stack;
	uint32_t stack_most;
	bool follow;              /* also children and the programs that targets execute; see session_follow() */
	void (*note)(void *arg, const char *text); /* what a person may want to know while it runs; may be NULL */
	void *note_arg;
	/*
	 * Called when a target was found to map something else than before, or may: session_maps() says what; may be NULL. Where a target waits for
	 * us it waits now: what it recorded so far belongs to what it mapped before. Not from within a drain.
	 */
	void (*mapped)(void *arg, uint32_t source);
	void *mapped_arg;
	/* Called for each place that could not be probed, with a sentence; may be NULL. */
	void (*refused)(void *arg, const char *place, const char *why);
	void *refused_arg;
};

int session_create(const struct session_options *options, struct session **ret, struct utap_error *err) BASE_MUST_CHECK;

/** session_destroy() - free everything. Targets not detached stay patched and correct; `utap detach` cleans them. NULL is fine. */
void session_destroy(struct session *session);

/** session_add() - one more probe, before any attach; resolved when a target is attached */
int session_add(struct session *session, const struct probe_spec *spec, struct utap_error *err) BASE_MUST_CHECK;

/** Whose files are looked in for a place of which only the file's contents say where it is. */
struct session_search {
	const pid_t *pids;
	size_t npids;
	const char *program; /* to be started, NULL: none */
};

/**
 * session_add_source() - all places that a source line, a function's variables or a static probe stand for, each as session_add()
 * @is_trigger: each as session_add_trigger()
 *
 * Debug information of the first file that has such a place is used; static probes are all that there are. Arguments that one of several places
 * lacks are said to options.note, and left out there.
 *
 * Return: 0; -ENOENT no such function, line, static probe, variable; -ENOTSUP an argument that cannot be recorded at any of them; as session_add(),
 * object_open().
 */
int session_add_source(struct session *session, const struct probe_source *source, const struct session_search *search,
		       bool is_trigger, struct utap_error *err) BASE_MUST_CHECK;

/**
 * session_add_places() - one probe at many places of one file: one program serves them all
 * @spec:    names the file (with '/') and the arguments; by_offset, its own offset is not used
 * @offsets: in the file, @count of them, copied
 *
 * As a glob's, places that cannot be probed go to options.refused and do not make an attach fail.
 */
int session_add_places(struct session *session, const struct probe_spec *spec, const uint64_t *offsets, size_t count,
		       struct utap_error *err) BASE_MUST_CHECK;

/**
 * session_attach() - probe a running process
 *
 * A spec that matches many places attaches where it can; each refusal goes to options.refused. It fails when a spec matches
 * nothing, or when all its places are refused (the first reason is in @err); then the target is as it was.
 *
 * Return: number of places probed, or -ESRCH no such process, -EPERM, -EACCES, -EBUSY already traced (by whom is in
 * @err), -ENOENT no such file or symbol, -EINVAL, -ENOTSUP every place refused, -ECHILD it exited meanwhile, others.
 */
long session_attach(struct session *session, pid_t pid, struct utap_error *err) BASE_MUST_CHECK;

/**
 * session_spawn() - start a program (found in $PATH) with the probes in place before its first instruction
 * @argv:  NULL-terminated
 * @pid:   of the child; the caller reaps it
 *
 * Return: number of places probed or a negative errno as for session_attach(); on failure the child is gone.
 */
long session_spawn(struct session *session, char *const argv[], pid_t *pid, struct utap_error *err) BASE_MUST_CHECK;

/** session_probes() - the table of places probed; ids index it; valid until the next attach */
uint32_t session_probes(const struct session *session, const struct trace_probe **ret);

/** What an address of a target belongs to; the texts are valid until the next look-up. */
struct session_where {
	const char *symbol;  /* the function, demangled; NULL: not known */
	uint64_t offset;     /* from its start */
	const char *path;    /* of the mapping; "" for memory without a name; NULL: nothing is mapped there */
	uint64_t path_offset; /* in the file */
};
/** session_where() - look up @addr in the target numbered @source (as in a record), for people; false: nothing is mapped there */
bool session_where(struct session *session, uint32_t source, uint64_t addr, struct session_where *ret);

/** session_maps() - what the target numbered @source mapped when that was looked at last, also when it is gone; NULL: not known */
const struct process_maps *session_maps(const struct session *session, uint32_t source);

/*
 * Stacks that were copied (--stack=raw), walked by the unwind information of the files that the process had mapped.
 */
struct session_unwinder; /* of one process */
struct object;
struct object_unwind;
int session_unwinder_create(struct session_unwinder **ret) BASE_MUST_CHECK;
void session_unwinder_destroy(struct session_unwinder *unwinder); /* NULL is fine */
/**
 * session_unwinder_add() - code at [start, end), in any order, not overlapping
 * @offset: of @start in its file
 * @object: its file, and @table of it, borrowed; NULL: nothing is known of it. What was added nowhere was made at run time: there frame pointers
 *          are tried.
 */
int session_unwinder_add(struct session_unwinder *unwinder, uint64_t start, uint64_t end, uint64_t offset, const struct object *object,
			 const struct object_unwind *table) BASE_MUST_CHECK;
void session_unwinder_clear(struct session_unwinder *unwinder);
/**
 * session_unwinder_walk() - the stack of @record, which has a copy: @raw
 * @ret:  as CALLERS; its addresses are valid until the next walk
 * Return: false: there is no copy.
 */
bool session_unwinder_walk(struct session_unwinder *unwinder, const struct trace_record *record, const struct trace_stack *raw,
			   struct trace_stack *ret);
/** session_unwind() - likewise, of a target that runs: by what it maps now; false also when it is gone and was never looked at */
bool session_unwind(struct session *session, const struct trace_record *record, const struct trace_stack *raw, struct trace_stack *ret);

/** How one place is probed, for `utap list`, `utap probe --explain` and -v. */
struct session_site {
	pid_t pid;
	uint32_t id;
	utap_addr addr;
	enum patch_layer layer;
	utap_addr start;   /* where the jump to it stands: addr, or before it */
	unsigned changed;  /* bytes changed there */
	utap_addr stub;
	uint32_t stub_size;
};
size_t session_sites(const struct session *session, const struct session_site **ret);
/** session_read_code() - bytes of a target, for explaining; 0 or negative errno */
int session_read_code(struct session *session, pid_t pid, utap_addr addr, void *to, size_t size) BASE_MUST_CHECK;

enum session_target_state {
	SESSION_RUNNING,
	SESSION_EXITED,
	SESSION_EXECED,
	SESSION_TAKEN, /* it runs on, but somebody else took our probes out */
	SESSION_DETACHED,
};
struct session_target {
	pid_t pid;
	enum session_target_state state;
	uint64_t attach_ns;  /* the whole attach */
	uint64_t stopped_ns; /* of it, the time one thread was stopped */
	uint64_t memory;     /* bytes added: code and counters, without the ring */
	uint64_t ring;       /* bytes of rings */
};
/** session_poll() - look which targets exited or executed another program; returns how many still run probed code */
size_t session_poll(struct session *session);
size_t session_targets(const struct session *session, const struct session_target **ret);

long session_drain(struct session *session, bool all, trace_record_fn *fn, void *arg) BASE_MUST_CHECK;
void session_wait(struct session *session, int timeout_ms);

/** session_snapshot() - with options.overwrite: what trace_reader_snapshot() delivers; of this moment while a target runs */
int session_snapshot(struct session *session, trace_record_fn *fn, void *arg, struct trace_snapshot *ret) BASE_MUST_CHECK;
/** session_add_trigger() - session_add(), and count the hits besides recording them */
int session_add_trigger(struct session *session, const struct probe_spec *spec, struct utap_error *err) BASE_MUST_CHECK;
/** session_triggered() - hits so far of all probes that session_add_trigger() added */
uint64_t session_triggered(struct session *session);

/** Exact counts, over all targets, of one probe. For PROBE_RECORD hits = records written + lost + held. */
struct session_counts {
	uint64_t hits;
	uint64_t lost;
	uint64_t held; /* back by a limit */
};
void session_count(const struct session *session, uint32_t id, struct session_counts *ret);
void session_stats(const struct session *session, struct trace_stats *ret);

/** What a detach found. */
struct session_report {
	size_t sites;          /* places restored */
	size_t kept;           /* places left patched because somebody else changed them since (pass-through) */
	uint64_t text_checked; /* bytes of text compared with the file afterwards and found equal */
	uint64_t text_foreign; /* bytes that differ, none of them ours */
	uint64_t memory_kept;  /* bytes of trampolines left because a thread may still be inside */
	uint64_t detach_ns;
	uint64_t stopped_ns;   /* the longest time one thread was stopped */
};

/**
 * session_detach() - take everything out of all targets (and of children that inherited it); counters stay readable, drain with
 * all = true afterwards delivers the rest
 */
int session_detach(struct session *session, struct session_report *report, struct utap_error *err) BASE_MUST_CHECK;

/**
 * session_clean() - `utap detach`: take out what a utap that is gone left in @pid
 * Return: 0 (also when there was nothing: report all zero), -EBUSY when the utap that attached is still alive and @force is false, as for
 * session_attach() otherwise.
 */
int session_clean(pid_t pid, bool force, struct session_report *report, struct utap_error *err) BASE_MUST_CHECK;

/** One place that could be probed, for `utap list`. */
struct session_candidate {
	const char *symbol; /* demangled */
	const char *path;
	uint64_t offset;    /* in the file */
	utap_addr addr;     /* 0 without a process */
	enum patch_layer layer; /* PATCH_REFUSED: why is set */
	const char *why;
};
typedef int session_candidate_fn(void *arg, const struct session_candidate *candidate);

/**
 * session_list() - functions that match @glob (NULL: all) in @path, or in all files that @pid maps, and how each would be probed.
 * Without a process (pid 0) punned jumps are judged for a fresh address space.
 */
int session_list(pid_t pid, const char *path, const char *glob, session_candidate_fn *fn, void *arg,
		 struct utap_error *err) BASE_MUST_CHECK;

/** Places by how they would be probed: layers[] by enum patch_layer, PATCH_REFUSED those that cannot be. */
struct session_coverage_row {
	uint64_t total;
	uint64_t layers[PATCH_L0 + 1];
};
struct session_coverage_reason {
	const char *why;
	uint64_t entries, instructions;
};
/** What of one file can be probed, each place judged as if it were the only one. */
struct session_coverage {
	const char *path;
	unsigned sample; /* one of so many instructions was looked at */
	struct session_coverage_row entries, instructions;
	const struct session_coverage_reason *reasons; /* most instructions first */
	size_t nreasons;
};
typedef int session_coverage_fn(void *arg, const struct session_coverage *coverage);

/** session_coverage() - of @path, or of each file that @pid maps; as session_list() */
int session_coverage(pid_t pid, const char *path, unsigned sample, session_coverage_fn *fn, void *arg,
		     struct utap_error *err) BASE_MUST_CHECK;

#endif
