/* SPDX-License-Identifier: MIT */
/* `utap list`: the functions of files or of a process, and how each would be probed, or how many could be. Nothing is changed anywhere. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "session/inside.h"

struct listing {
	struct session *session;   /* for its files only */
	struct patch_target *target;
	pid_t pid;
	const char *glob;
	session_candidate_fn *fn;
	session_coverage_fn *cover; /* instead of @fn */
	unsigned sample;
	void *arg;
};

static int list_symbol(struct listing *l, struct patch_module *module, const struct object_symbol *symbol)
{
	struct patch_site site = { .module = module, .vaddr = symbol->vaddr };
	_cleanup_free_ char *name = object_demangle(symbol->name);
	struct session_candidate candidate = { .symbol = name ? name : symbol->name, .path = module->path };

	if (object_vaddr_to_offset(module->object, symbol->vaddr, &candidate.offset))
		return 0;
	if (symbol->ifunc) {
		candidate.why = "chosen at run time (ifunc): the implementation that a process uses is probed";
	} else {
		patch_target_plan(l->target, &site);
		candidate.layer = site.layer;
		candidate.why = site.why;
	}
	candidate.addr = l->pid ? symbol->vaddr + module->bias : 0;
	return l->fn(l->arg, &candidate);
}

static int list_symbols(struct listing *l, struct patch_module *module, struct session_file *file, struct utap_error *err)
{
	_cleanup_free_ const struct object_symbol **found = NULL;
	long n = object_find(file->object, l->glob ? l->glob : "*", true, &found, err);
	int error = n < 0 ? (int)n : 0;

	for (long i = 0; !error && i < n; i++)
		error = list_symbol(l, module, found[i]);
	return error;
}

static int list_map(struct listing *l, const struct process_map *map, struct session_file *file, struct utap_error *err)
{
	struct patch_module *module;
	int error = 0;

	if (!file->code)
		error = patch_code_create(file->object, l->session->options.allow_no_frame, &file->code, err);
	if (!error)
		error = patch_target_module(l->target, map, file->code, &module);
	if (error)
		return error;
	return l->cover ? session_cover(l->target, module, l->sample, l->cover, l->arg, err) : list_symbols(l, module, file, err);
}

static bool seen_before(const struct process_maps *maps, size_t index)
{
	for (size_t i = 0; i < index; i++)
		if (maps->map[i].execute && maps->map[i].inode == maps->map[index].inode)
			return true;
	return false;
}

static int list_process(struct listing *l, struct utap_error *err)
{
	const struct process_maps *maps = patch_target_maps(l->target);
	struct session_process process = { .pid = l->pid };
	struct session_process *processes[] = { &process };
	int error = 0;

	l->session->processes = processes; /* whose root directory files are looked up in */
	l->session->nprocesses = 1;
	for (size_t i = 0; !error && i < maps->count; i++) {
		const struct process_map *map = &maps->map[i];
		struct session_file *file;

		if (!map->execute || !map->inode || map->path[0] != '/' || !strncmp(map->path, "/memfd:", 7) ||
		    seen_before(maps, i) || session_file_of(l->session, map, &file, NULL))
			continue;
		error = list_map(l, map, file, err);
	}
	l->session->processes = NULL;
	l->session->nprocesses = 0;
	return error;
}

static int list_file(struct listing *l, const char *path, struct utap_error *err)
{
	struct session_file file = { .inode = 1 };
	struct process_map map;
	int error = object_open(path, &file.object, err);

	if (error)
		return error;
	error = patch_target_imagine(file.object, &l->target, &map);
	if (error)
		base_error(err, error, UTAP_ERROR_NOT_FOUND, "%s holds no code", path);
	else
		error = list_map(l, &map, &file, err);
	patch_target_close(l->target);
	l->target = NULL;
	patch_code_destroy(file.code);
	object_close(file.object);
	return error;
}

static int list(struct listing *l, const char *path, struct utap_error *err)
{
	struct session_options options = { .action = PROBE_COUNT };
	int error = session_create(&options, &l->session, err);

	if (error)
		return error;
	if (l->pid)
		error = patch_target_open(l->pid, &l->target, err);
	if (!error)
		error = l->pid ? list_process(l, err) : list_file(l, path, err);
	patch_target_close(l->target);
	session_destroy(l->session);
	return error;
}

int session_list(pid_t pid, const char *path, const char *glob, session_candidate_fn *fn, void *arg,
		 struct utap_error *err)
{
	return list(&(struct listing){ .pid = pid, .glob = glob, .fn = fn, .arg = arg }, path, err);
}

int session_coverage(pid_t pid, const char *path, unsigned sample, session_coverage_fn *fn, void *arg, struct utap_error *err)
{
	return list(&(struct listing){ .pid = pid, .cover = fn, .sample = sample, .arg = arg }, path, err);
}
