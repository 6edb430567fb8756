/* SPDX-License-Identifier: MIT */
/*
 * What a process loads after it was attached, and what it unloads. It waits for us where its dynamic linker says that something changed
 * (pause.c), or, where that is not possible, we look now and then.
 *
 * Files are told apart by device and inode, copies of a file by where they are mapped. What was looked at once is not looked at again.
 */
#include <elf.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "session/inside.h"

void session_note(const struct session *session, const char *format, ...)
{
	char text[700];
	va_list args;

	if (!session->options.note)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	session->options.note(session->options.note_arg, text);
}

/* ---- copies of files ---- */

static struct session_copy copy_of(const struct process_map *map)
{
	return (struct session_copy){
		.inode = map->inode, .major = map->major, .minor = map->minor, .base = map->start - map->offset
	};
}

static bool is_copy(const struct session_copy *copy, const struct process_map *map)
{
	return copy->inode == map->inode && copy->major == map->major && copy->minor == map->minor &&
	       copy->base == map->start - map->offset;
}

bool session_is_same_copy(const struct process_map *a, const struct process_map *b)
{
	struct session_copy copy = copy_of(a);

	return is_copy(&copy, b);
}

bool session_is_seen(const struct session_process *process, const struct process_map *map)
{
	for (size_t i = 0; process && i < process->ncopies; i++)
		if (is_copy(&process->copies[i], map))
			return true;
	return false;
}

int session_note_copies(struct session_process *process)
{
	const struct process_maps *maps = patch_target_maps(process->target);

	process->ncopies = 0;
	for (size_t i = 0; i < maps->count; i++) {
		const struct process_map *map = &maps->map[i];

		if (!session_is_candidate(map) || session_is_seen(process, map))
			continue;
		if (base_grow(&process->copies, &process->copies_cap, process->ncopies + 1, sizeof(*process->copies)))
			return -ENOMEM;
		process->copies[process->ncopies++] = copy_of(map);
	}
	return 0;
}

/* A function asked for by its name alone is the one that the program would call: the first. */
bool session_is_found(const struct session_process *process, const struct probe_spec *spec, uint32_t number)
{
	return process->found[number] && !*spec->path && !spec->glob;
}

static bool is_program_file(const char *path)
{
	struct stat status;
	char magic[4] = "";
	FILE *file = !stat(path, &status) && S_ISREG(status.st_mode) ? fopen(path, "re") : NULL;

	if (!file)
		return false;
	if (fread(magic, 1, sizeof(magic), file) != sizeof(magic))
		magic[0] = '\0';
	fclose(file);
	return !memcmp(magic, ELFMAG, SELFMAG);
}

bool session_waits_for(const struct session *session, struct session_process *process, const struct probe_spec *spec)
{
	bool may_come = strchr(spec->path, '/') && is_program_file(spec->path);

	if (!may_come && !(session->options.follow && process->followed))
		return false;
	if (may_come && !process->followed)
		session_note(session, "process %d does not map %s; its probe waits until it does", process->pid, spec->path);
	process->waits = true;
	return true;
}

/* ---- looking ---- */

static struct wire_control *control_of(const struct session_process *process) { return process->memory.data; }

static void forget_sites(struct session *session, struct session_process *process, const struct patch_module *module)
{
	size_t kept = 0;

	for (size_t i = 0; i < session->nsites; i++) {
		const struct session_site *site = &session->sites[i];

		if (site->pid != process->pid || site->addr - (module->low + module->bias) >= module->high - module->low)
			session->sites[kept++] = *site;
	}
	session->nsites = kept;
	kept = 0;
	for (size_t i = 0; i < process->nsites; i++)
		if (process->sites[i].module != module)
			process->sites[kept++] = process->sites[i];
	process->nsites = kept;
}

static bool is_copy_of(const struct session_copy *copy, const struct patch_module *module)
{
	const struct object_segment *segments;
	size_t count = object_segments(module->object, &segments);

	for (size_t i = 0; i < count; i++)
		if (copy->inode == module->inode && copy->major == module->major && copy->minor == module->minor &&
		    segments[i].execute && copy->base == module->bias + segments[i].vaddr - segments[i].offset)
			return true;
	return false;
}

static void forget_copy(struct session_process *process, const struct patch_module *module)
{
	size_t kept = 0;

	for (size_t i = 0; i < process->ncopies; i++)
		if (!is_copy_of(&process->copies[i], module))
			process->copies[kept++] = process->copies[i];
	process->ncopies = kept;
}

static void forget_lost(struct session *session, struct session_process *process)
{
	struct patch_module *const *modules;
	size_t count = patch_target_modules(process->target, &modules);

	for (size_t i = count; i-- > 0;) {
		struct patch_module *module = modules[i];

		if (!patch_target_lost(process->target, module))
			continue;
		base_log(BASE_LOG_DEBUG, "process %d unloaded %s", process->pid, module->path);
		forget_sites(session, process, module);
		forget_copy(process, module);
		patch_target_forget(process->target, module);
	}
}

static bool has_new_copy(const struct session_process *process)
{
	const struct process_maps *maps = patch_target_maps(process->target);

	for (size_t i = 0; i < maps->count; i++)
		if (session_is_candidate(&maps->map[i]) && !session_is_seen(process, &maps->map[i]))
			return true;
	return false;
}

static long bring_new(struct session_attaching *a, struct utap_error *err)
{
	long result = session_resolve_all(a, err);

	if (!result)
		result = session_plan_all(a, err);
	trace_reader_probes(a->session->reader, a->session->probes, a->session->nprobes); /* the table may have moved */
	if (!result && a->nsites)
		result = session_attach_sites(a, err);
	free(a->matches);
	free(a->sites);
	free(a->groups);
	return result;
}

long session_bring(struct session *session, struct session_process *process, struct utap_error *err)
{
	struct session_attaching a = { .session = session, .process = process, .target = process->target };
	uint64_t started = base_now_ns();
	long result = patch_target_refresh(process->target, err);
	int noted;

	if (result)
		return result;
	if (session->options.mapped)
		session->options.mapped(session->options.mapped_arg, process->source);
	session->current = process;
	process->later = true;
	forget_lost(session, process);
	result = session_tables_renew(session, process);
	if (result)
		return base_error_system(err, (int)result, "cannot make the tables for stacks of process %d", process->pid);
	if (!has_new_copy(process))
		return session_traps_renew(process, err);
	result = bring_new(&a, err);
	noted = session_note_copies(process);
	if (result > 0)
		base_log(BASE_LOG_INFO, "process %d: %ld more places probed in %.1f ms", process->pid, result,
			 (double)(base_now_ns() - started) / 1e6);
	return result < 0 ? result : noted ? noted : result;
}

static void let_go(struct session_process *process, uint32_t pauses, uint32_t hurried)
{
	struct wire_control *control = control_of(process);

	process->resumed = pauses;
	__atomic_store_n(&control->hurried, hurried, __ATOMIC_RELAXED);
	__atomic_store_n(&control->resumed, pauses, __ATOMIC_RELEASE); /* pairs with the target's acquire load */
	syscall(SYS_futex, &control->resumed, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void session_resume(struct session_process *process)
{
	if (process->has_memory && process->waits)
		let_go(process, __atomic_load_n(&control_of(process)->pauses, __ATOMIC_ACQUIRE), 1);
}

/* Of a program that was just executed: are its libraries in place and its threads able to run probed code? */
static bool is_started(struct session_process *process)
{
	int32_t state = RT_CONSISTENT;

	if (!process->starting)
		return true;
	if (process->link_state && process_read(patch_target_mem(process->target), process->link_state, &state, sizeof(state)))
		return false;
	process->starting = state != RT_CONSISTENT;
	return !process->starting;
}

static void look_at(struct session *session, struct session_process *process, bool now)
{
	uint32_t pauses = process->has_memory ? __atomic_load_n(&control_of(process)->pauses, __ATOMIC_ACQUIRE) : 0;
	bool is_paused = pauses != process->resumed;
	struct utap_error why = { 0 };

	if (!is_paused && !(now && process->polls))
		return;
	if (is_paused && __atomic_load_n(&control_of(process)->hurried, __ATOMIC_RELAXED))
		session_note(session, "process %d waited for utap in vain and went on: what it loaded ran for a while without probes",
			     process->pid);
	if (is_started(process) && session_bring(session, process, &why) < 0 && !process_has_ended(process->pid))
		session_note(session, "what process %d loaded is not probed: %s", process->pid, why.text);
	if (is_paused)
		let_go(process, pauses, 0);
}

/* It is gone, but children that were forked from it may load something, and wait. */
static void let_children_go(struct session_process *process)
{
	uint32_t pauses = process->has_memory ? __atomic_load_n(&control_of(process)->pauses, __ATOMIC_ACQUIRE) : 0;

	if (pauses != process->resumed)
		let_go(process, pauses, 0);
}

void session_look(struct session *session, bool now)
{
	for (size_t i = 0; i < session->nprocesses; i++) {
		struct session_process *process = session->processes[i];

		if (!process->waits)
			continue;
		if (session->targets[i].state != SESSION_RUNNING)
			let_children_go(process);
		else if (process->has_memory || process->polls)
			look_at(session, process, now);
	}
}
