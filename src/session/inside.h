/* SPDX-License-Identifier: MIT */
/* Inside session/: files, places, targets. */
#ifndef SESSION_INSIDE_H
#define SESSION_INSIDE_H

#include <uthash.h>

#include "object/unwind.h"
#include "patch/target.h"
#include "session/session.h"
#include "trace/frames.h"

/** A file that some target maps: opened once, whoever maps it. */
struct session_file {
	uint64_t inode;
	uint32_t major, minor;
	struct object *object;
	struct patch_code *code; /* NULL until a place in it is planned */
	struct object_unwind unwind; /* once has_unwind; empty where it could not be made (unwind.c) */
	bool has_unwind;
	struct patch_code *unframed; /* with what only symbols describe (pause.c); NULL: not needed yet */
};

/** Where a probe is, in a file; the key of the table of probes. Files, not processes: two targets share an id. */
struct session_place_key {
	const struct session_file *file;
	uint64_t vaddr;
	uint32_t what; /* enum session_what */
	uint32_t spec; /* or an earlier one that stands for it: session_program.stands_for */
};

struct session_place {
	struct session_place_key key;
	uint32_t id; /* of a pair that of the entry; the returns have the next one */
	uint32_t spec;
	/* By which attach it was planned last, and in which copy of the file: symbols with one address are one place. */
	uint64_t attach;
	const struct patch_module *module;
	UT_hash_handle hh;
};

struct session_name {
	char name[2 * PROBE_NAME + 2]; /* group/event */
	unsigned copies;               /* later ones of the same name, told apart by a number */
	UT_hash_handle hh;
};

/** A program that some spec has; one body in a target serves all specs whose programs are the same. */
struct session_body {
	struct bpf_insn *insns;
	size_t count;
};

#define SESSION_NO_BODY UINT32_MAX

struct session_program {
	uint32_t body[PROBE_PARTS]; /* indices of bodies; SESSION_NO_BODY: the spec has no such part */
	struct trace_arg *args; /* of the spec */
	bool triggers;          /* its hits are counted, too */
	uint32_t stands_for;    /* the first spec that does the same, if nobody can tell what of both was hit; else its own number */
	uint64_t *offsets;      /* of session_add_places(), instead of the spec's own */
	size_t noffsets;
};

/** A reference counter in the data of a file that a process maps. */
struct session_semaphore {
	utap_addr addr;
	uint64_t inode; /* of the file: somebody else's memory may be there once it is unloaded */
	uint32_t major, minor;
};

/** Where in a process's shared memory a file's rows are. */
struct session_rows {
	const struct session_file *file;
	uint64_t at;
};

/** The code that a process mapped from some time on. */
struct session_layout {
	uint64_t from_ns, seen_ns; /* looked at first, last */
	struct session_unwinder *unwinder;
};
#define SESSION_LAYOUTS 32 /* the last so many are kept: records wait to be read for a moment only */

struct session_process {
	pid_t pid;
	pid_t inner_pid; /* what its records say: its number in its own pid namespace */
	uint32_t source;
	struct patch_target *target;
	struct trace_memory memory;
	bool has_memory;
	struct patch_site *sites; /* of all attaches to it */
	size_t nsites, sites_cap;
	struct session_copy *copies; /* files that were looked at */
	size_t ncopies, copies_cap;
	bool *found;             /* by spec: it matched something */
	bool later;              /* probed already: only what it loaded since is looked at */
	bool waits;              /* for files that it may load */
	bool followed;           /* it executed its program while it was followed: what it does not map does not matter */
	bool starting;           /* its libraries are not in place yet */
	utap_addr link_state;    /* r_debug.r_state; 0: not known */
	bool is_traced;          /* a debugger was there when we last looked */
	bool waits_for_tables;   /* it waits only so that tables for stacks are made of what it loads */
	struct session_rows *rows; /* in its shared memory (unwind.c) */
	size_t nrows, rows_cap;
	struct wire_unwind_piece *pieces; /* the list that it walks stacks by */
	size_t npieces;
	pid_t list_pid;          /* as in struct wire_unwind */
	bool has_pieces;
	bool is_full;            /* there is no room for more rows */
	bool is_cramped;         /* its address space is limited: no room is kept for what it loads later */
	struct session_layout layouts[SESSION_LAYOUTS]; /* for stacks that were copied, by time */
	size_t nlayouts;
	bool polls;              /* they are looked for now and then: it cannot be made to wait for us where it loads them */
	uint64_t gone_drains;    /* drains when it was found gone; 0: it was not */
	uint32_t resumed;        /* as in struct wire_control */
	struct engine_traps *traps; /* NULL: no traps are in */
	size_t ntraps;
	struct session_semaphore *semaphores; /* of what is probed, each once */
	size_t nsemaphores, semaphores_cap, nraised;
	const struct session_process *owner; /* whose memory it shares, as a child forked from it; NULL: it has its own */
};

/** A copy of a file in a process: dlmopen makes several. */
struct session_copy {
	uint64_t inode;
	uint32_t major, minor;
	uint64_t base; /* where offset 0 of the file would be */
};

struct session {
	struct session_options options;
	struct probe_spec *specs;
	struct session_program *programs; /* one a spec */
	size_t nspecs, specs_cap, programs_cap;
	struct session_body *bodies;
	size_t nbodies, bodies_cap;
	unsigned stack; /* bytes of a thread's stack that the greediest of them takes */
	struct session_body *placed;      /* programs that depend on their place (placed.c) */
	size_t nplaced, placed_cap;
	struct session_file **files;
	size_t nfiles, files_cap;
	struct session_file *vdso;        /* NULL: not needed yet */
	struct session_place *places;     /* hash */
	struct session_name *names;       /* hash */
	struct trace_probe *probes;       /* by id */
	uint32_t nprobes;
	size_t probes_cap;
	uint64_t attaches;                /* that began to plan */
	bool adding_trigger;              /* session_add() is for session_add_trigger() */
	uint32_t *triggers;               /* ids of probes whose hits are counted besides */
	size_t ntriggers, triggers_cap;
	uint32_t triggers_known;          /* ids below were looked at */
	uint64_t *delivered;              /* records by id */
	size_t delivered_cap;
	uint32_t *specs_of;               /* by id */
	size_t specs_of_cap;
	struct trace_clock clock;         /* where there is options.rate */
	struct trace_frames *calls;       /* NULL: none are left out (limits.c) */
	bool drops;                       /* the record that is being added to .calls */
	struct session_counts *past;      /* by id: of processes that are gone and whose memory was let go */
	size_t npast, past_cap;
	uint64_t drains;                  /* of all that was there */
	struct session_process **processes;
	struct session_process *current;  /* being attached */
	struct engine_follow *follow;     /* NULL: nobody is followed */
	struct session_target *targets;   /* same index */
	size_t nprocesses, processes_cap, targets_cap;
	struct session_site *sites;
	size_t nsites, sites_cap;
	struct trace_reader *reader;
	uint64_t polled_ns;
	uint64_t watched_ns;
	uint32_t refused;                 /* places, in all attaches */
	struct session_wheres *wheres;    /* addresses that were looked up (where.c) */
	char first_place[1400];
	char first_refusal[400];
	bool first_waits;                 /* not reported yet */
};

/** session_file_of() - the file behind a mapping, opened at the first call; 0 or negative errno */
int session_file_of(struct session *session, const struct process_map *map, struct session_file **ret,
		    struct utap_error *err) BASE_MUST_CHECK;
void session_files_free(struct session *session);

/** A place that a spec names in a target: before it has an id. */
struct session_match {
	uint32_t spec;
	struct session_file *file;
	const struct process_map *map;
	uint64_t vaddr;
	const struct object_symbol *symbol; /* NULL: none known */
	uint64_t symbol_offset;
};

/**
 * session_resolve() - the places that spec number @spec names in @target, appended to *@matches
 * Return: 0; -ENOENT nothing matches (with suggestions in @err); others.
 */
int session_resolve(struct session *session, struct patch_target *target, uint32_t spec, struct session_match **matches,
		    size_t *count, size_t *cap, struct utap_error *err) BASE_MUST_CHECK;

/* Copies of files (later.c). */
/** session_is_candidate() - is it a file's code that probes may name? */
bool session_is_candidate(const struct process_map *map);
/** session_map_is_named() - does a person who writes @wanted ("" is any, a path, "libc") mean the file of that mapping? */
bool session_map_is_named(const struct process_map *map, const char *wanted);
bool session_is_same_copy(const struct process_map *a, const struct process_map *b);
/** session_is_seen() - was @map's file looked at in the process? */
bool session_is_seen(const struct session_process *process, const struct process_map *map);
/** session_is_found() - is nothing more wanted for spec @number? */
bool session_is_found(const struct session_process *process, const struct probe_spec *spec, uint32_t number);
/** session_waits_for() - @spec names a file that the process does not map: may it come? Then the process waits for it */
bool session_waits_for(const struct session *session, struct session_process *process, const struct probe_spec *spec);
/** session_map_bias() - where vaddr 0 of a mapped file is; 0 or -ENOENT */
int session_map_bias(const struct process_map *map, const struct object *object, uint64_t *bias) BASE_MUST_CHECK;

/** session_resolve_ifunc() - the vaddr of the implementation that @target uses; 0, -ENOENT not bound anywhere yet */
int session_resolve_ifunc(struct session *session, struct patch_target *target, struct session_file *file,
			  const struct process_map *map, const struct object_symbol *symbol, uint64_t *ret) BASE_MUST_CHECK;

struct session_attaching;

/** What is probed of a match. */
enum session_what {
	SESSION_PLACE,   /* its instruction */
	SESSION_RETURNS, /* the ways out of the function that starts there */
	SESSION_PAIR,    /* its entry and the ways out */
};
enum session_what session_what_of(const struct session *session, const struct session_match *match);

/** session_id_of() - the id of a place, a new one when it has none; -EEXIST when an earlier match, -EADDRINUSE when an earlier spec that does the same probes it already, or one of whose calls are recorded */
int session_id_of(struct session_attaching *a, const struct session_match *match, const struct patch_module *module,
		  uint32_t *ret) BASE_MUST_CHECK;

/** An attach under way. */
struct session_attaching {
	struct session *session;
	uint64_t number; /* from 1; given when planning begins */
	struct session_process *process;
	struct patch_target *target;
	struct session_match *matches;
	size_t nmatches, matches_cap;
	struct patch_site *sites;
	uint32_t *groups; /* of each site: 0, or the number of the function whose sites are patched all or none */
	size_t nsites, sites_cap, groups_cap;
	uint32_t ngroups;
	struct session_owner *owners;       /* of the sites at entries and exits, hash by address (functions.c) */
	struct session_function *functions; /* whose exits are still to be planned (functions.c) */
	size_t nfunctions, functions_cap;
};

/** session_resolve_all(), session_plan_all() - what all probes name in the target; and how each place would be patched (plan.c) */
int session_resolve_all(struct session_attaching *a, struct utap_error *err) BASE_MUST_CHECK;
int session_plan_all(struct session_attaching *a, struct utap_error *err) BASE_MUST_CHECK;

/** session_plan_site() - plan one place for @match; its id, part and group are given. The site is appended also when it is refused */
int session_plan_site(struct session_attaching *a, const struct session_match *match, const struct patch_site *asked,
		      enum probe_part part, uint32_t group) BASE_MUST_CHECK;
/**
 * session_plan_function() - of SESSION_RETURNS and SESSION_PAIR: find the exits, plan the entry; why[] says why it cannot be (functions.c)
 * session_plan_exits() - for all of these: the exits; where one cannot be had, none of the function's sites stays
 */
int session_plan_function(struct session_attaching *a, const struct session_match *match, struct patch_module *module,
			  uint32_t id, char why[static 400]) BASE_MUST_CHECK;
int session_plan_exits(struct session_attaching *a) BASE_MUST_CHECK;
void session_forget_functions(struct session_attaching *a);
/** session_refuse_match() - say why a match is not probed, and for one asked for by name where else it could be; @module may be NULL */
void session_refuse_match(struct session_attaching *a, const struct session_match *match, struct patch_module *module,
			  const char *why);
/** session_is_pause() - is it the place where the process waits for us, not a probe's? (later.c) */
bool session_is_pause(const struct session *session, const struct patch_site *site);
bool session_wants_more(const struct session_attaching *a);
/** session_plan_pause() - such a place, where one is wanted; when it cannot be had, files are looked for now and then */
int session_plan_pause(struct session_attaching *a) BASE_MUST_CHECK;
int session_emit_pause(const struct session_attaching *a, const struct patch_tail *tail, struct isa_emitter *e) BASE_MUST_CHECK;
int session_process_new(struct session *session, pid_t pid, struct session_process **ret) BASE_MUST_CHECK;
void session_process_free(struct session_process *process);
/** session_process_strip() - it has nothing of ours any more; the entry stays */
void session_process_strip(struct session *session, struct session_process *process);
/** session_attach_executed() - probe the program that a followed process just executed; 0 when that is done where it waits for us */
long session_attach_executed(struct session *session, pid_t pid, struct utap_error *err) BASE_MUST_CHECK;

/* Following (follow.c). */
int session_follow_begin(struct session *session, pid_t pid, struct utap_error *err) BASE_MUST_CHECK;
int session_follow_spawned(struct session *session, pid_t pid, struct utap_error *err) BASE_MUST_CHECK;
/** session_follow_events() - handle what followed processes did; whether there was anything */
bool session_follow_events(struct session *session);
/** session_follow_retire() - give up what processes that are gone still hold: their counts are kept */
void session_follow_retire(struct session *session);
/** session_follow_end() - let all of them go, untraced */
void session_follow_end(struct session *session);
/** session_note_copies() - what is mapped now was looked at */
int session_note_copies(struct session_process *process) BASE_MUST_CHECK;
/** session_bring() - probe what the process loaded since; places, or a negative errno with the reason */
long session_bring(struct session *session, struct session_process *process, struct utap_error *err) BASE_MUST_CHECK;
#define SESSION_WATCH_MS 10 /* what nobody tells us of is seen so late: the kernel's uprobes, a followed process that stops just before we sleep */
/** session_watch() - give places up that an uprobe of the kernel lies over; does nothing when called more often than that */
void session_watch(struct session *session);
/** session_look() - let processes go on that wait for us, after their new files are probed; @now: also look at those that cannot wait */
void session_look(struct session *session, bool now);
/** session_resume() - let go on whoever waits in @process, and nobody wait any more: we leave */
void session_resume(struct session_process *process);
/** session_attach_sites() - setup, apply and bookkeeping of what @a planned; how many places */
long session_attach_sites(struct session_attaching *a, struct utap_error *err) BASE_MUST_CHECK;
void session_note(const struct session *session, const char *format, ...) BASE_PRINTF(2, 3);
/** session_refuse_site() - say that a site fell out after the plan, and of a function once; some of its other sites may be patched */
void session_refuse_site(const struct session_attaching *a, size_t index);
/** session_settle_functions() - after patch_target_setup(): where one site of a function fell out, the others do too */
void session_settle_functions(struct session_attaching *a);
/**
 * session_program_of() - the number of the program for a part of a place; it is made if the place is part of it (placed.c)
 * Return: 0; -E2BIG there are too many of these; -ENOMEM.
 */
int session_program_of(struct session *session, const struct session_match *match, enum probe_part part,
		       const struct probe_place *place, uint32_t *ret) BASE_MUST_CHECK;
/** session_body_of() - the inverse; @early: for session_runs_early() */
const struct session_body *session_body_of(const struct session *session, uint32_t program, bool *early);
/** session_placed_max() - how many there can be, whatever is attached later */
uint32_t session_placed_max(const struct session *session);
void session_placed_free(struct session *session);

/** session_log_program() - its instructions, for whoever asked for what is done inside */
void session_log_program(const struct session *session, uint32_t number);
/** session_action() - what programs do */
enum probe_action session_action(const struct session *session, bool is_trigger);
/** session_programs() - how many programs patch_target_apply() may ask session_emit_body() for */
uint32_t session_programs(const struct session *session);
/** session_code_of() - what is known of a file's code, looked at when it is first asked for */
int session_code_of(struct session *session, struct session_file *file, struct utap_error *err) BASE_MUST_CHECK;

/** session_geometry(), session_emit_body() - the sizes of the shared memory, and a patch_body_fn (programs.c); its arg is struct session_attaching */
struct patch_options session_geometry(const struct session *session);
int session_emit_body(void *arg, uint32_t program, const struct patch_tail *tail, struct isa_emitter *e,
		      struct utap_error *err) BASE_MUST_CHECK;

/** session_runs_early() - may the place be reached by a thread whose rseq area is not registered yet? Its records go to cells. */
bool session_runs_early(const struct session_match *match);

/** session_run_to_start() - let a program that engine_spawn() stopped run until its libraries are in place, no constructor run yet */
int session_run_to_start(pid_t pid, struct utap_error *err) BASE_MUST_CHECK;

void session_wheres_free(struct session *session);
void session_progress(const struct session *session, const char *what, size_t done, size_t total);
void session_refuse(struct session *session, const char *place, const char *why);
void session_flush_refusal(struct session *session);

/** session_cover() - judge the places of one file (coverage.c) */
int session_cover(struct patch_target *target, struct patch_module *module, unsigned sample, session_coverage_fn *fn, void *arg,
		  struct utap_error *err) BASE_MUST_CHECK;

/** session_traps_start() - after everything else was applied: the traps, if there are any; see engine_traps_start() */
int session_traps_start(struct session_process *process, struct utap_error *err) BASE_MUST_CHECK;
/** session_traps_stop() - before anything else is changed or taken out; see engine_traps_stop() */
int session_traps_stop(struct session_process *process, struct utap_error *err);
/** session_traps_look() - now and then: a guardian that is gone (its process ended, or it had to leave) is cleaned up after */
void session_traps_look(struct session *session);
/** session_traps_renew() - what the process unloaded takes its traps along */
int session_traps_renew(struct session_process *process, struct utap_error *err) BASE_MUST_CHECK;

/**
 * session_is_fragment() - what compilers move away from a function has a symbol of its own, but is not called: NAME.cold, NAME.cold.1
 * @symbol: may be NULL
 */
bool session_is_fragment(const struct object_symbol *symbol);

/* limits.c */

/** session_has_gate() - is there a condition, or a limit? */
bool session_has_gate(const struct probe_spec *spec);
/** session_set_limits() - those of the options */
void session_set_limits(const struct session *session, struct probe_spec *spec);
/** session_check_gate() - can it be had as the session records? 0 or -EINVAL with the reason */
int session_check_gate(const struct session *session, const struct probe_spec *spec, struct utap_error *err) BASE_MUST_CHECK;
/** session_calls_begin() - from now on session_drops() knows */
int session_calls_begin(struct session *session) BASE_MUST_CHECK;
/** session_drops() - is the next record one of a call that was left out? */
bool session_drops(struct session *session, const struct trace_record *record);
/** session_held() - hits of a probe that its limit held back in a process */
uint64_t session_held(const struct session *session, const struct trace_memory *memory, uint32_t id);

/* stacks.c */

/** session_stack_is_elsewhere() - is the probe at another address of the process already (a second copy of the file)? */
bool session_stack_is_elsewhere(const struct session_attaching *a, uint32_t id, utap_addr addr);
/** session_say_places() - tell the target what stacks start with at the places planned; before they are applied */
void session_say_places(const struct session_attaching *a);

/* unwind.c */

/** session_file_unwind() - make the file's table, if it is not made */
void session_file_unwind(struct session_file *file);

/** session_has_tables() - do stacks need tables in targets? */
bool session_has_tables(const struct session *session);
/** session_tables_size() - room for the tables of a process that is not set up yet, with some for what it loads later; 0: none are needed */
uint64_t session_tables_size(struct session *session, struct session_process *process);
/** session_tables_spare() - of that, the room for what is loaded later, which a process that is_cramped does not get */
uint64_t session_tables_spare(const struct session *session);
/** session_tables_renew() - tell a process that is set up by which tables stacks are walked from now on; nothing where none are needed */
int session_tables_renew(struct session *session, struct session_process *process) BASE_MUST_CHECK;
/** session_unwinder_fill() - all code of a process that is no JIT compiler's (unwind.c) */
int session_unwinder_fill(struct session *session, struct session_process *process, const struct process_maps *maps,
			  struct session_unwinder *unwinder) BASE_MUST_CHECK;
/** session_unwinder_renew() - look how the process is laid out now, for copied stacks of records from now on */
int session_unwinder_renew(struct session *session, struct session_process *process) BASE_MUST_CHECK;
void session_layouts_free(struct session_process *process);
/** session_wants_loads() - have stacks to know what is loaded and unloaded? */
bool session_wants_loads(const struct session *session);
void session_vdso_free(struct session *session);

/* semaphore.c */

/** session_semaphore_want() - the counter at file offset @reference of the matched file; 0, -ENOENT it is not in memory, -ENOMEM */
int session_semaphore_want(struct session_process *process, const struct session_match *match, uint64_t reference) BASE_MUST_CHECK;
/** session_semaphores_raise() - those that are not yet; 0 or negative errno */
int session_semaphores_raise(struct session_process *process) BASE_MUST_CHECK;
void session_semaphores_lower(struct session_process *process);

#endif
