/* SPDX-License-Identifier: MIT */
/* Bringing the session's probes into a process. */
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/engine.h"
#include "session/inside.h"

#define RING_DEFAULT (1ULL << 20)
#define CELLS 4096
#define PROGRESS_EVERY 256

struct attaching {
	struct session *session;
	struct session_process *process;
	struct patch_target *target;
	struct session_match *matches;
	size_t nmatches, matches_cap;
	struct patch_site *sites;
	size_t nsites;
};

/* ---- geometry ---- */

static uint32_t possible_cpus(void)
{
	long n = sysconf(_SC_NPROCESSORS_CONF);

	return n < 1 ? 1 : (uint32_t)n;
}

static uint64_t power_of_two(uint64_t at_least, uint64_t value)
{
	while (value < at_least)
		value *= 2;
	return value;
}

static uint64_t largest_record(const struct session *session)
{
	uint64_t largest = sizeof(struct wire_record);

	for (size_t i = 0; i < session->nspecs; i++)
		if (probe_record_size(&session->specs[i]) > largest)
			largest = probe_record_size(&session->specs[i]);
	return largest;
}

/*
 * Generously: the code of a program is emitted twice (rseq and cells), an instruction takes 20 bytes or so, and there may be
 * a version for session_runs_early().
 */
static uint64_t body_room(const struct session *session)
{
	uint64_t room = 0;

	for (size_t i = 0; i < session->nspecs; i++)
		if (session->programs[i].same == i)
			room += 2048 + 96 * session->programs[i].count;
	return room;
}

static struct patch_options geometry(const struct session *session)
{
	bool record = session->options.action == PROBE_RECORD;
	uint64_t ring = session->options.ring_size ? session->options.ring_size : RING_DEFAULT;

	return (struct patch_options){
		.cpus = possible_cpus(),
		.max_probes = session->nprobes ? session->nprobes : 1,
		.ring_size = record ? power_of_two(ring, 4096) : 4096,
		.cell_size = power_of_two(largest_record(session) + sizeof(struct wire_cell), 64),
		.cells = record ? power_of_two(ring / 64 < CELLS ? CELLS : ring / 64, CELLS) : 64,
		.body_room = body_room(session),
	};
}

/* ---- planning ---- */

static int code_of(struct session *session, struct session_file *file, struct utap_error *err)
{
	if (file->code)
		return 0;
	return patch_code_create(file->object, session->options.allow_no_frame, &file->code, err);
}

static void describe(const struct session_match *match, char *text, size_t size)
{
	_cleanup_free_ char *name = match->symbol ? object_demangle(match->symbol->name) : NULL;
	uint64_t offset = 0;

	if (name)
		snprintf(text, size, "%s+0x%lx in %s", name, (unsigned long)match->symbol_offset, match->map->path);
	else if (!object_vaddr_to_offset(match->file->object, match->vaddr, &offset))
		snprintf(text, size, "%s:0x%lx", match->map->path, (unsigned long)offset);
	else
		snprintf(text, size, "%s", match->map->path);
}

/* For one place asked for by name a person wants to know where else; for a thousand, not. */
static void refuse_match(struct attaching *a, const struct session_match *match, struct patch_module *module,
			 const char *why)
{
	const struct probe_spec *spec = &a->session->specs[match->spec];
	char text[400];
	char place[1400];
	bool many = spec->glob || a->session->programs[match->spec].noffsets;
	uint64_t nearest = many || !module ? 0 : patch_target_nearest(a->target, module, match->vaddr);

	describe(match, place, sizeof(place));
	if (nearest && match->symbol)
		snprintf(text, sizeof(text), "%s; the nearest place that can be probed is %.100s+0x%lx", why,
			 match->symbol->name, (unsigned long)(nearest - match->symbol->vaddr));
	else
		snprintf(text, sizeof(text), "%s", why);
	session_refuse(a->session, place, text);
}

static int plan_match(struct attaching *a, const struct session_match *match, struct utap_error *err)
{
	struct patch_site *site = &a->sites[a->nsites];
	struct patch_module *module;
	uint32_t id;
	int error;

	if (match->map->shared) {
		refuse_match(a, match, NULL, "its mapping is shared: a change would reach the file and other processes");
		return 0;
	}
	if (match->map->write) {
		refuse_match(a, match, NULL, "its mapping is writable: the program may change its code itself");
		return 0;
	}
	error = code_of(a->session, match->file, err);
	if (error)
		return error;
	error = patch_target_module(a->target, match->map, match->file->code, &module);
	if (error)
		return base_error_system(err, error, "the mapping of %s does not fit the file", match->map->path);
	error = session_id_of(a->session, match, match->vaddr + module->bias, &id);
	if (error == -EEXIST)
		return 0; /* an earlier probe is there: one is enough */
	if (error)
		return base_error_system(err, error, "cannot add a probe");
	*site = (struct patch_site){
		.id = id,
		.program = a->session->programs[match->spec].same,
		.module = module,
		.vaddr = match->vaddr,
	};
	if (session_runs_early(match))
		site->program += (uint32_t)a->session->nspecs;
	patch_target_plan(a->target, site);
	if (site->layer == PATCH_REFUSED)
		refuse_match(a, match, module, site->why);
	else
		a->nsites++;
	return 0;
}

static int resolve_all(struct attaching *a, struct utap_error *err)
{
	for (uint32_t i = 0; i < a->session->nspecs; i++) {
		size_t before = a->nmatches;
		int error = session_resolve(a->session, a->target, i, &a->matches, &a->nmatches, &a->matches_cap, err);

		if (error)
			return error;
		session_progress(a->session, "reading symbols", i + 1, a->session->nspecs);
		base_log(BASE_LOG_DEBUG, "probe %u names %zu places in process %d", i, a->nmatches - before, a->process->pid);
	}
	return 0;
}

static int plan_all(struct attaching *a, struct utap_error *err)
{
	a->sites = calloc(a->nmatches + 1, sizeof(*a->sites));
	if (!a->sites)
		return base_error_system(err, -ENOMEM, "cannot plan %zu probes", a->nmatches);
	for (size_t i = 0; i < a->nmatches; i++) {
		int error = plan_match(a, &a->matches[i], err);

		if (error)
			return error;
		if (i % PROGRESS_EVERY == 0)
			session_progress(a->session, "planning", i, a->nmatches);
	}
	return 0;
}

/* ---- code ---- */

static int emit_body(void *arg, uint32_t program, const struct patch_tail *tail, struct isa_emitter *e,
		     struct utap_error *err)
{
	struct attaching *a = arg;
	uint32_t specs = (uint32_t)a->session->nspecs;
	bool early = program >= specs;
	const struct session_program *source = &a->session->programs[early ? program - specs : program];
	const struct wire_control *geometry = patch_target_geometry(a->target);
	struct patch_facts facts;
	struct bpf_target target;

	patch_target_facts(a->target, &facts);
	target = (struct bpf_target){
		.rseq_offset = early ? 0 : facts.rseq_offset,
		.tid_offset = facts.tid_offset,
		.has_rdpid = isa_has_rdpid(),
		.cpus = geometry->cpus,
		.table = facts.data + geometry->table_at + 2 * sizeof(uint64_t),
		.lost = facts.data + geometry->lost_at,
		.local = facts.local,
		.ring_size = geometry->ring_size,
		.counters_at = geometry->counters_at,
		.shared_at = geometry->shared_at,
		.cells_at = geometry->cells_at,
		.cells = geometry->cells,
		.cell_size = geometry->cell_size,
		.finish = tail ? tail->emit : NULL,
		.finish_arg = tail ? tail->arg : NULL,
	};
	for (int i = 0; i < RT_ENTRIES; i++)
		target.runtime[i] = facts.runtime[i];
	return bpf_compile_probe(source->insns, source->count, &target, e, err);
}

static int keep_sites(struct attaching *a)
{
	struct session *session = a->session;
	int error = base_grow(&session->sites, &session->sites_cap, session->nsites + a->nsites, sizeof(*session->sites));

	for (size_t i = 0; !error && i < a->nsites; i++) {
		const struct patch_site *site = &a->sites[i];

		if (site->layer == PATCH_REFUSED)
			continue;
		session->sites[session->nsites++] = (struct session_site){
			.pid = a->process->pid, .id = site->id, .addr = site->addr, .layer = site->layer, .stub = site->stub,
			.stub_size = site->stub_size,
		};
	}
	return error;
}

/* Sites that fell out after the plan. */
static size_t count_applied(struct attaching *a)
{
	size_t n = 0;

	for (size_t i = 0; i < a->nsites; i++) {
		const struct trace_probe *probe = &a->session->probes[a->sites[i].id];

		if (a->sites[i].layer == PATCH_REFUSED)
			session_refuse(a->session, *probe->symbol ? probe->symbol : probe->path, a->sites[i].why);
		else
			n++;
	}
	return n;
}

static int map_memory(struct attaching *a, struct utap_error *err)
{
	int error = trace_memory_map(patch_target_memory_fd(a->target), patch_target_geometry(a->target),
				     &a->process->memory);

	if (error)
		return base_error_system(err, error, "cannot map the rings of process %d", a->process->pid);
	a->process->has_memory = true;
	trace_reader_probes(a->session->reader, a->session->probes, a->session->nprobes);
	error = trace_reader_add(a->session->reader, &a->process->memory, a->process->source);
	return error ? base_error_system(err, error, "cannot read process %d", a->process->pid) : 0;
}

/* What is left in the process when an attach fails after setup. */
static void back_out(struct attaching *a)
{
	struct patch_report report = { 0 };

	if (patch_target_memory_fd(a->target) >= 0 && !patch_target_undo(a->target, &report, NULL) &&
	    patch_target_release(a->target, &report, NULL))
		base_log(BASE_LOG_WARN, "memory of ours stays in process %d", a->process->pid);
}

static int nothing_probed(const struct session *session, struct utap_error *err)
{
	if (session->refused == 1)
		return base_error(err, -ENOTSUP, UTAP_ERROR_REFUSED, "cannot probe %.240s: %.240s", session->first_place,
				  session->first_refusal);
	return base_error(err, -ENOTSUP, UTAP_ERROR_REFUSED, "none of %u places could be probed", session->refused);
}

static long attach_target(struct attaching *a, struct utap_error *err)
{
	struct patch_options options;
	size_t applied;
	int error = resolve_all(a, err);

	if (!error)
		error = plan_all(a, err);
	trace_reader_probes(a->session->reader, a->session->probes, a->session->nprobes); /* the table may have moved */
	if (error)
		return error;
	if (!a->nsites)
		return nothing_probed(a->session, err);
	session_progress(a->session, "patching", 0, a->nsites);
	options = geometry(a->session);
	error = patch_target_setup(a->target, &options, a->sites, a->nsites, err);
	if (!error)
		error = map_memory(a, err);
	if (!error)
		error = patch_target_apply(a->target, a->sites, a->nsites, 2 * (uint32_t)a->session->nspecs, emit_body, a, err);
	applied = error ? 0 : count_applied(a);
	if (!error && !applied)
		error = nothing_probed(a->session, err);
	if (!error && keep_sites(a))
		error = base_error_system(err, -ENOMEM, "cannot keep the list of places");
	if (error) {
		back_out(a);
		return error;
	}
	session_flush_refusal(a->session);
	return (long)applied;
}

static pid_t inner_pid(pid_t pid)
{
	struct process_status status;

	return process_status_read(pid, &status) || !status.inner_pid ? pid : status.inner_pid;
}

static int new_process(struct session *session, pid_t pid, struct session_process **ret)
{
	size_t n = session->nprocesses;
	struct session_process *process;
	int error = base_grow(&session->processes, &session->processes_cap, n + 1, sizeof(struct session_process *));

	if (!error)
		error = base_grow(&session->targets, &session->targets_cap, n + 1, sizeof(*session->targets));
	process = error ? NULL : calloc(1, sizeof(*process));
	if (!process)
		return -ENOMEM;
	*process = (struct session_process){ .pid = pid, .inner_pid = inner_pid(pid), .source = (uint32_t)n };
	session->processes[n] = process;
	session->targets[n] = (struct session_target){ .pid = pid, .state = SESSION_RUNNING };
	session->nprocesses++;
	*ret = process;
	return 0;
}

static void drop_process(struct session *session)
{
	struct session_process *process = session->processes[--session->nprocesses];

	if (process->has_memory) {
		trace_reader_remove(session->reader, process->source);
		trace_memory_unmap(&process->memory);
	}
	patch_target_close(process->target);
	free(process->sites);
	free(process);
}

static void note_cost(struct session *session, struct session_process *process, uint64_t started)
{
	struct session_target *target = &session->targets[process->source];

	patch_target_cost(process->target, &target->memory, &target->ring, &target->stopped_ns);
	target->attach_ns = base_now_ns() - started;
}

long session_attach(struct session *session, pid_t pid, struct utap_error *err)
{
	struct attaching a = { .session = session };
	uint64_t started = base_now_ns();
	long result = new_process(session, pid, &a.process);

	if (result)
		return base_error_system(err, (int)result, "cannot attach to process %d", pid);
	result = patch_target_open(pid, &a.process->target, err);
	a.target = a.process->target;
	if (!result) {
		result = attach_target(&a, err);
		if (result < 0 && process_has_ended(pid)) /* whatever was said: that is the reason */
			result = base_error(err, -ECHILD, UTAP_ERROR_GONE, "process %d exited during the attach", pid);
	}
	free(a.matches);
	a.process->sites = a.sites;
	a.process->nsites = a.nsites;
	if (result < 0)
		drop_process(session);
	else
		note_cost(session, a.process, started);
	return result;
}

/* ---- starting a program ---- */

/* Where a freshly started program's dynamic linker says that all libraries are in place and relocated, constructors not yet run. */
struct loader {
	utap_addr notify; /* _dl_debug_state */
	utap_addr state;  /* r_debug.r_state; 0: unknown */
};

static utap_addr loader_symbol(struct object *object, const char *name, uint64_t base)
{
	_cleanup_free_ const struct object_symbol **found = NULL;
	long n = object_find(object, name, false, &found, NULL);

	return n > 0 ? base + found[0]->vaddr : 0;
}

static int find_loader(pid_t pid, struct loader *ret)
{
	struct process_maps maps;
	struct object *object = NULL;
	const struct process_map *map;
	uint64_t base = 0;
	int error = process_auxv(pid, AT_BASE, &base);

	*ret = (struct loader){ 0 };
	if (error || !base)
		return error == -ENOENT ? 0 : error; /* static: nothing to wait for */
	error = process_maps_read(pid, &maps);
	if (error)
		return error;
	map = process_maps_at(&maps, base);
	if (map && !object_open(map->path, &object, NULL)) {
		utap_addr debug = loader_symbol(object, "_r_debug", base);

		ret->notify = loader_symbol(object, "_dl_debug_state", base);
		ret->state = debug ? debug + 24 : 0;
		object_close(object);
	}
	process_maps_free(&maps);
	return 0;
}

static bool is_consistent(pid_t pid, const struct loader *loader)
{
	_cleanup_close_ int mem = process_mem_open(pid);
	uint32_t state = 0;

	return !loader->state || mem < 0 || process_read(mem, loader->state, &state, sizeof(state)) || state == 0;
}

int session_run_to_start(pid_t pid, struct utap_error *err)
{
	struct loader loader;
	uint64_t entry;
	int error = find_loader(pid, &loader);

	if (!error && loader.notify) {
		do
			error = engine_run_to(pid, loader.notify);
		while (!error && !is_consistent(pid, &loader));
	} else if (!error) {
		uint64_t base = 0;

		/* Without the notification: the program's entry; a static program's is its first instruction. */
		error = process_auxv(pid, AT_ENTRY, &entry);
		if (!error && !process_auxv(pid, AT_BASE, &base) && base)
			error = engine_run_to(pid, entry);
	}
	if (error == -ESRCH)
		return base_error(err, -ECHILD, UTAP_ERROR_GONE, "the program ended before it began");
	return error ? base_error_system(err, error, "cannot stop the program before its first instruction") : 0;
}

long session_spawn(struct session *session, char *const argv[], pid_t *pid, struct utap_error *err)
{
	pid_t child;
	long result = engine_spawn(argv, &child, err);

	if (result)
		return result;
	result = session_run_to_start(child, err);
	if (!result)
		result = session_attach(session, child, err);
	if (result < 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, __WALL);
		return result;
	}
	engine_release(child);
	*pid = child;
	return result;
}
