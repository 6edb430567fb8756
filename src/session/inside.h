/* SPDX-License-Identifier: MIT */
/* Inside session/: files, places, targets. */
#ifndef SESSION_INSIDE_H
#define SESSION_INSIDE_H

#include <uthash.h>

#include "patch/target.h"
#include "session/session.h"

/** A file that some target maps: opened once, whoever maps it. */
struct session_file {
	uint64_t inode;
	uint32_t major, minor;
	struct object *object;
	struct patch_code *code; /* NULL until a place in it is planned */
};

/** Where a probe is, in a file; the key of the table of probes. Files, not processes: two targets share an id. */
struct session_place_key {
	const struct session_file *file;
	uint64_t vaddr;
};

struct session_place {
	struct session_place_key key;
	uint32_t id;
	uint32_t spec;
	UT_hash_handle hh;
};

struct session_name {
	char name[2 * PROBE_NAME + 2]; /* group/event */
	unsigned copies;               /* later ones of the same name, told apart by a number */
	UT_hash_handle hh;
};

struct session_program {
	struct bpf_insn *insns;
	size_t count;
	uint32_t same;          /* number of the first spec with the very same program: one body serves all */
	struct trace_arg *args; /* of the spec */
	uint64_t *offsets;      /* of session_add_places(), instead of the spec's own */
	size_t noffsets;
};

struct session_process {
	pid_t pid;
	pid_t inner_pid; /* what its records say: its number in its own pid namespace */
	uint32_t source;
	struct patch_target *target;
	struct trace_memory memory;
	bool has_memory;
	struct patch_site *sites;
	size_t nsites;
};

struct session {
	struct session_options options;
	struct probe_spec *specs;
	struct session_program *programs; /* one a spec */
	size_t nspecs, specs_cap, programs_cap;
	struct session_file **files;
	size_t nfiles, files_cap;
	struct session_place *places;     /* hash */
	struct session_name *names;       /* hash */
	struct trace_probe *probes;       /* by id */
	uint32_t nprobes;
	size_t probes_cap;
	uint64_t *delivered;              /* records by id */
	size_t delivered_cap;
	struct session_process **processes;
	struct session_target *targets;   /* same index */
	size_t nprocesses, processes_cap, targets_cap;
	struct session_site *sites;
	size_t nsites, sites_cap;
	struct trace_reader *reader;
	uint64_t polled_ns;
	uint32_t refused;                 /* places, in all attaches */
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

/** session_resolve_ifunc() - the vaddr of the implementation that @target uses; 0, -ENOENT not bound anywhere yet */
int session_resolve_ifunc(struct session *session, struct patch_target *target, struct session_file *file,
			  const struct process_map *map, const struct object_symbol *symbol, uint64_t *ret) BASE_MUST_CHECK;

/** session_id_of() - the id of a place, a new one when it has none; -EEXIST when an earlier spec probes it already */
int session_id_of(struct session *session, const struct session_match *match, utap_addr addr, uint32_t *ret) BASE_MUST_CHECK;

/** An attach under way. */
struct session_attaching {
	struct session *session;
	struct session_process *process;
	struct patch_target *target;
	struct session_match *matches;
	size_t nmatches, matches_cap;
	struct patch_site *sites;
	size_t nsites;
};

/** session_resolve_all(), session_plan_all() - what all probes name in the target; and how each place would be patched (plan.c) */
int session_resolve_all(struct session_attaching *a, struct utap_error *err) BASE_MUST_CHECK;
int session_plan_all(struct session_attaching *a, struct utap_error *err) BASE_MUST_CHECK;

/** session_geometry(), session_emit_body() - the sizes of the shared memory, and a patch_body_fn (programs.c); its arg is struct session_attaching */
struct patch_options session_geometry(const struct session *session);
int session_emit_body(void *arg, uint32_t program, const struct patch_tail *tail, struct isa_emitter *e,
		      struct utap_error *err) BASE_MUST_CHECK;

/** session_runs_early() - may the place be reached by a thread whose rseq area is not registered yet? Its records go to cells. */
bool session_runs_early(const struct session_match *match);

/** session_run_to_start() - let a program that engine_spawn() stopped run until its libraries are in place, no constructor run yet */
int session_run_to_start(pid_t pid, struct utap_error *err) BASE_MUST_CHECK;

void session_progress(const struct session *session, const char *what, size_t done, size_t total);
void session_refuse(struct session *session, const char *place, const char *why);
void session_flush_refusal(struct session *session);

#endif
