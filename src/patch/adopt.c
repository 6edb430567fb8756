/* SPDX-License-Identifier: MIT */
/*
 * Taking over a target from its memory alone: after the utap that patched it is gone, or in a child that was forked meanwhile. The
 * journal is the target's to scribble on: each entry is checked against what the process really maps.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "patch/inside.h"

#define SITES_LIMIT (1U << 24)
#define SLOTS_LIMIT 4096
#define SLOT_LIMIT (1U << 20)
#define VIEW_PAGES 16 /* neighbouring island pages may show as one mapping of so many */

static bool is_our_code(const struct process_map *map)
{
	return map && map->execute && !map->write && !strcmp(map->path, "/memfd:" WIRE_NAME);
}

static int damaged(pid_t pid, struct utap_error *err)
{
	return base_error(err, -EINVAL, UTAP_ERROR_REFUSED,
			  "process %d holds memory of a utap whose description is damaged or of another version; restart the "
			  "process to be rid of it",
			  pid);
}

static bool makes_sense(const struct wire_control *control, const struct process_map *memory)
{
	return control->magic == WIRE_MAGIC && control->version == WIRE_VERSION && control->self == memory->start &&
	       control->sites <= control->max_sites && control->max_sites <= SITES_LIMIT &&
	       control->stages_used <= WIRE_STAGES &&
	       control->span >= memory->end - memory->start && control->span < 1ULL << 40 &&
	       control->local == control->self - BASE_PAGE && control->blocks_at <= memory->end - memory->start &&
	       control->lend_at <= control->blocks_at && control->blocks_at - control->lend_at >= sizeof(struct wire_lend) &&
	       control->journal_at <= control->blocks_at && control->slots <= SLOTS_LIMIT && control->slot_size <= SLOT_LIMIT;
}

static int add_views(struct patch_target *target, const struct process_map *map)
{
	struct space *space = &target->space;

	for (utap_addr at = map->start; at < map->end; at += BASE_PAGE) {
		if (base_grow(&space->views, &space->cap, space->count + 1, sizeof(*space->views)))
			return -ENOMEM;
		space->views[space->count++] = (struct space_view){ .addr = at, .mapped = true };
	}
	return 0;
}

/* Where our code is: trampolines, and the pages of islands. By address, as the mappings are. */
static int read_code(struct patch_target *target)
{
	int error = 0;

	for (size_t i = 0; !error && i < target->maps.count; i++) {
		const struct process_map *map = &target->maps.map[i];
		uint64_t size = map->end - map->start;

		if (!is_our_code(map) || map->inode != target->memory_inode)
			continue;
		if (size > VIEW_PAGES * BASE_PAGE && target->npools < PATCH_POOLS)
			target->pools[target->npools++] = (struct patch_pool){ .addr = map->start, .size = size, .mapped = true };
		else
			error = add_views(target, map);
	}
	return error;
}

/* The file behind a patched place. */
static int module_for(struct patch_target *target, utap_addr addr, struct utap_error *err)
{
	const struct process_map *map = process_maps_at(&target->maps, addr);
	struct patch_module *module;
	struct object *object;
	int error;

	if (!map || !map->execute || !map->inode || patch_module_at(target, addr))
		return 0;
	error = patch_mapped_file(target->pid, map, &object, err);
	if (error)
		return error;
	error = patch_add_module(target, map, object, &module);
	if (error || module->object != object)
		object_close(object);
	return error ? base_error_system(err, error, "cannot use %s", map->path) : 0;
}

static int read_journal(struct patch_target *target, struct utap_error *err)
{
	const struct wire_control *control = &target->geometry;
	_cleanup_free_ struct wire_site *sites = calloc(control->sites + 1, sizeof(*sites));
	size_t kept = 0;
	int error = sites ? process_read(target->mem, control->self + control->journal_at, sites,
					 control->sites * sizeof(*sites)) :
			    -ENOMEM;

	if (error)
		return base_error_system(err, error, "cannot read the journal in process %d", target->pid);
	for (uint32_t i = 0; !error && i < control->sites; i++) {
		if (!sites[i].changed || sites[i].changed > WIRE_SITE_BYTES)
			continue;
		error = module_for(target, sites[i].addr, err);
		if (patch_module_at(target, sites[i].addr))
			sites[kept++] = sites[i];
	}
	if (error)
		return error;
	target->journal = sites;
	target->sites = kept;
	sites = NULL;
	return 0;
}

/* Does the utap that attached still read the memory? */
static bool has_controller(const struct patch_target *target)
{
	pid_t controller = (pid_t)target->geometry.controller;
	struct process_maps maps;
	bool reads = false;
	int error;

	if (controller == getpid() || !patch_is_controlled(&target->geometry))
		return controller == getpid();
	error = process_maps_read(controller, &maps);
	if (error == -EACCES || error == -EPERM) /* another user's: its start time says that it is the same one */
		return true;
	for (size_t i = 0; !error && i < maps.count; i++)
		reads = reads || (maps.map[i].inode == target->memory_inode && maps.map[i].shared &&
				  !strcmp(maps.map[i].path, "/memfd:" WIRE_NAME));
	if (!error)
		process_maps_free(&maps);
	return reads;
}

/* The description, when the process maps our memory; -ENOENT it does not. */
static int read_description(struct patch_target *target, struct utap_error *err)
{
	const struct process_map *memory = patch_find_memory(&target->maps);

	if (!memory)
		return -ENOENT;
	if (process_read(target->mem, memory->start, &target->geometry, sizeof(target->geometry)) ||
	    !makes_sense(&target->geometry, memory))
		return damaged(target->pid, err);
	target->reserved = true;
	target->memory_inode = memory->inode;
	target->memory_major = memory->major;
	target->memory_minor = memory->minor;
	return 0;
}

int patch_target_adopt(pid_t pid, struct patch_target **ret, pid_t *owner, struct utap_error *err)
{
	struct patch_target *target = calloc(1, sizeof(*target));
	int error;

	if (!target)
		return base_error_system(err, -ENOMEM, "cannot adopt process %d", pid);
	*target = (struct patch_target){ .pid = pid, .fd = -1, .adopted = true };
	target->since = process_stat_number(pid, PROCESS_STAT_START); /* what was forked from it is younger */
	target->mem = process_mem_open(pid);
	error = target->mem < 0 ? process_explain(pid, target->mem, err) : patch_target_refresh(target, err);
	if (error)
		goto fail;
	error = read_description(target, err);
	*owner = !error && has_controller(target) ? (pid_t)target->geometry.controller : 0;
	if (!error && !*owner && target->geometry.lent) { /* it may change all that until it is home */
		patch_await_lent(target);
		error = patch_target_refresh(target, err);
		if (!error)
			error = read_description(target, err);
	}
	if (error == -ENOENT && patch_has_leftovers(target)) { /* not described yet, or no longer: no text is changed */
		*ret = target;
		return 0;
	}
	if (error)
		goto fail;
	error = read_code(target);
	if (error)
		base_error_system(err, error, "cannot read what utap left in process %d", pid);
	if (!error)
		error = read_journal(target, err);
	if (error)
		goto fail;
	*ret = target;
	return 0;
fail:
	patch_target_close(target);
	return error;
}

/* Every process for which @wanted says so. */
static long list_processes(const struct patch_target *target, bool (*wanted)(pid_t, const struct patch_target *), pid_t **ret)
{
	_cleanup_free_ pid_t *pids = NULL;
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	size_t count = 0;
	size_t cap = 0;

	if (!proc)
		return -errno;
	while ((entry = readdir(proc))) {
		pid_t pid = isdigit((unsigned char)entry->d_name[0]) ? atoi(entry->d_name) : 0;

		if (!pid || pid == target->pid || !wanted(pid, target))
			continue;
		if (base_grow(&pids, &cap, count + 1, sizeof(*pids))) {
			closedir(proc);
			return -ENOMEM;
		}
		pids[count++] = pid;
	}
	closedir(proc);
	*ret = pids;
	pids = NULL;
	return (long)count;
}

static bool shares_memory(pid_t pid, const struct patch_target *target) { return process_shares_memory(target->pid, pid); }

long patch_target_sharers(const struct patch_target *target, pid_t **ret)
{
	return list_processes(target, shares_memory, ret);
}

static bool maps_memory(pid_t pid, const struct patch_target *target)
{
	struct process_maps maps;
	const struct process_map *memory;
	bool found;

	if (process_maps_read(pid, &maps))
		return false;
	memory = patch_find_memory(&maps);
	/* A child has it where its parent has it; a utap that reads it, elsewhere. */
	found = memory && memory->start == target->geometry.self && memory->inode == target->memory_inode && memory->major == target->memory_major &&
		memory->minor == target->memory_minor;
	process_maps_free(&maps);
	return found;
}

/* Of those that are older than the memory, not even the mappings need to be read: there may be thousands, and some are long lists. */
static bool is_young(pid_t pid, const struct patch_target *target)
{
	return process_stat_number(pid, PROCESS_STAT_START) >= target->since;
}

/* One that runs in the same address space is no process of its own to be cleaned. */
static bool is_child(pid_t pid, const struct patch_target *target)
{
	return is_young(pid, target) && maps_memory(pid, target) && !process_shares_memory(target->pid, pid);
}

long patch_target_children(const struct patch_target *target, pid_t **ret) { return list_processes(target, is_child, ret); }
