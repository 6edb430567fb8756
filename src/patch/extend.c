/* SPDX-License-Identifier: MIT */
/*
 * A target that is set up gets more sites: of a library that it loaded since. No descriptor is needed for that: the whole code part is
 * mapped behind the data part (the door), and mremap(MREMAP_DONTUNMAP) of a piece of it makes a second mapping of that piece. The address
 * asked for is a hint: nothing of the program's can be replaced. And each piece is the memory file's from its first instant, so
 * whoever cleans up after us knows it.
 *
 * The other way round: what a library needed that is unloaded is given to others.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "patch/inside.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4 /* Linux 5.7; 5.13 for file mappings */
#endif

static struct wire_call door_call(const struct patch_target *target, uint64_t offset, uint64_t size, utap_addr to)
{
	return (struct wire_call){ .number = SYS_mremap,
				   .args = { target->geometry.door + offset, size, size, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, to } };
}

static int unmap(struct engine_loan *loan, utap_addr addr, uint64_t size)
{
	uint64_t args[6] = { addr, size };
	int64_t result;

	return engine_call(loan, SYS_munmap, args, &result);
}

/* Where the call put it. Not where it should be: the place was taken since it was chosen. */
static int check_place(struct engine_loan *loan, const struct wire_call *call, utap_addr wanted)
{
	int error;

	if (call->result < 0 && call->result > -4096)
		return call->result == -EINVAL ? -ENOTSUP : (int)call->result;
	if ((utap_addr)call->result == wanted)
		return 0;
	error = unmap(loan, (utap_addr)call->result, call->args[1]);
	return error ? error : -EAGAIN;
}

static int map_pool(struct patch_target *target, struct engine_loan *loan, struct patch_pool *pool)
{
	struct wire_call call = door_call(target, pool->offset, pool->size, pool->addr);
	int error = engine_call(loan, (long)call.number, call.args, &call.result);

	if (!error)
		error = check_place(loan, &call, pool->addr);
	pool->mapped = !error;
	return error;
}

static int map_pools(struct patch_target *target, struct engine_loan *loan)
{
	int error = 0;

	for (size_t i = 0; !error && i < target->npools; i++)
		if (!target->pools[i].mapped)
			error = map_pool(target, loan, &target->pools[i]);
	return error;
}

static size_t view_calls(const struct patch_target *target, struct wire_call *calls)
{
	size_t n = 0;

	for (size_t i = 0; i < target->space.count; i++) {
		const struct space_view *view = &target->space.views[i];

		if (!view->mapped)
			calls[n++] = door_call(target, target->page_offset[view->page], BASE_PAGE, view->addr);
	}
	return n;
}

/* A page that cannot be had costs its sites, not the whole. */
static int map_views(struct patch_target *target, struct engine_loan *loan, struct patch_site *sites, size_t count)
{
	_cleanup_free_ struct wire_call *calls = calloc(target->space.count + 1, sizeof(*calls));
	size_t total;
	size_t at = 0;

	if (!calls)
		return -ENOMEM;
	total = view_calls(target, calls);
	while (at < total) {
		size_t made;
		int error = patch_calls(target, loan, calls + at, total - at, &made);
		size_t end = at + made + (at + made < total); /* the one that failed, too */

		if (error)
			return error;
		for (; at < end; at++) {
			error = check_place(loan, &calls[at], calls[at].args[4]);
			if (error == -ESRCH || error == -ENOMEM || error == -ENOTSUP)
				return error;
			if (error) {
				patch_refuse_view(calls[at].args[4], sites, count);
				space_drop(&target->space, calls[at].args[4]);
			} else {
				space_find(&target->space, calls[at].args[4])->mapped = true;
			}
		}
	}
	return 0;
}

static void drop_unmapped_views(struct patch_target *target)
{
	for (size_t i = target->space.count; i-- > 0;)
		if (!target->space.views[i].mapped)
			space_drop(&target->space, target->space.views[i].addr);
}

/* Pages whose islands are all forgotten, or were never made: nobody jumps there any more. */
static int unmap_dead_views(struct patch_target *target, struct engine_loan *loan)
{
	_cleanup_free_ bool *used = calloc(target->space.count + 1, sizeof(*used));
	struct patch_jump *jump, *next;
	int error = used ? 0 : -ENOMEM;

	HASH_ITER (hh, target->jumps, jump, next) {
		const struct space_view *view = error ? NULL : space_find(&target->space, jump->island);

		if (view)
			used[view - target->space.views] = true;
		for (size_t i = 0; !error && i < PATCH_TWINS; i++) {
			view = space_find(&target->space, jump->twins[i]);
			if (view)
				used[view - target->space.views] = true;
		}
	}
	for (size_t i = target->space.count; !error && i-- > 0;) {
		utap_addr addr = target->space.views[i].addr;

		if (used[i])
			continue;
		error = target->space.views[i].mapped ? unmap(loan, addr, BASE_PAGE) : 0;
		space_drop(&target->space, addr);
	}
	return error;
}

/* Pools that no place leads to any more are filled anew; the first one holds the runtime. */
static void empty_pools(struct patch_target *target)
{
	bool used[PATCH_POOLS] = { [0] = true };

	for (size_t i = 0; i < target->sites; i++)
		for (size_t j = 1; target->journal[i].changed && j < target->npools; j++)
			used[j] |= target->journal[i].stub - target->pools[j].offset < target->pools[j].size;
	for (size_t j = 0; j < target->npools; j++) {
		struct patch_pool *pool = &target->pools[j];

		if (used[j] || pool->kept || !pool->mapped)
			continue;
		free(pool->bodies);
		pool->bodies = NULL;
		pool->used = 0;
	}
}

static void refuse_unnumbered(const struct patch_target *target, struct patch_site *sites, size_t count)
{
	size_t room = target->geometry.max_sites - target->sites + target->nfree;
	size_t wanted = 0;

	for (size_t i = 0; i < count; i++) {
		if (sites[i].layer == PATCH_REFUSED)
			continue;
		wanted += 2;
		if (sites[i].id < target->geometry.max_probes && wanted <= room)
			continue;
		sites[i].layer = PATCH_REFUSED;
		sites[i].why = "there is no counter left for it: so many more places were not foreseen when the process was attached";
	}
}

static int extend(struct patch_target *target, struct engine_loan *loan, struct patch_site *sites, size_t count)
{
	int error;

	if (!target->facts.rseq_offset && !target->facts.tid_offset) /* attached before its libc was there */
		patch_find_facts(target, loan);
	error = unmap_dead_views(target, loan);
	if (!error)
		error = map_pools(target, loan);
	return error ? error : map_views(target, loan, sites, count);
}

int patch_extend(struct patch_target *target, const struct patch_options *options, struct patch_site *sites, size_t count,
		 struct utap_error *err)
{
	size_t before = target->npools;
	struct engine_loan *loan;
	int error;

	if (!target->geometry.door)
		return base_error(err, -ENOTSUP, UTAP_ERROR_REFUSED,
				  "process %d had no address space to spare when it was attached, so nothing can be added", target->pid);
	refuse_unnumbered(target, sites, count);
	empty_pools(target);
	error = patch_pools_choose(target, sites, count, options);
	if (error == -ENOENT) /* all were refused */
		return 0;
	if (!error)
		error = patch_pages_choose(target);
	if (!error)
		error = patch_lend(target, &loan, err);
	else
		return patch_setup_error(target, error, err);
	if (error) {
		patch_pools_drop(target, before);
		return error;
	}
	error = extend(target, loan, sites, count);
	for (size_t i = before; error && error != -ESRCH && i < target->npools; i++)
		if (target->pools[i].mapped && unmap(loan, target->pools[i].addr, target->pools[i].size))
			break;
	patch_give_back(target, loan);
	if (error)
		patch_pools_drop(target, before);
	drop_unmapped_views(target);
	return error ? patch_setup_error(target, error, err) : 0;
}

/* ---- unloaded ---- */

static const struct process_map *text_of(const struct patch_target *target, const struct patch_module *module, utap_addr addr)
{
	const struct process_map *map = process_maps_at(&target->maps, addr);

	return map && map->execute && map->inode == module->inode && map->major == module->major && map->minor == module->minor ? map :
																  NULL;
}

/* Whatever we wrote there is the file's again: then it was mapped anew at the same place. */
static bool is_pristine(const struct patch_target *target, const struct wire_site *site)
{
	uint8_t live[WIRE_SITE_BYTES], file[WIRE_SITE_BYTES];

	return !patch_original(target, site->addr, file, site->changed) &&
	       !process_read(target->mem, site->addr, live, site->changed) && !memcmp(live, file, site->changed);
}

bool patch_target_lost(const struct patch_target *target, const struct patch_module *module)
{
	utap_addr low = module->low + module->bias;

	if (!text_of(target, module, low))
		return true;
	for (size_t i = 0; i < target->sites; i++)
		if (target->journal[i].changed && target->journal[i].addr - low < module->high - module->low)
			return is_pristine(target, &target->journal[i]); /* one stands for all */
	return false;
}

/* An entry is another's from now on, unless a child may still need it: then it is only no longer ours. */
static void free_entry(struct patch_target *target, size_t i, bool alone)
{
	struct wire_site *shared = (struct wire_site *)(target->data + target->geometry.journal_at);
	struct patch_pool *pool = NULL;

	for (size_t j = 0; j < target->npools && !pool; j++)
		if (target->journal[i].stub - target->pools[j].offset < target->pools[j].size)
			pool = &target->pools[j];
	if (pool && !alone)
		pool->kept = true;
	target->journal[i] = (struct wire_site){ 0 };
	if (!alone || base_grow(&target->free_sites, &target->free_cap, target->nfree + 1, sizeof(*target->free_sites)))
		return;
	shared[i] = target->journal[i];
	target->free_sites[target->nfree++] = (uint32_t)i;
}

static bool is_inside(const struct patch_module *module, utap_addr addr)
{
	return addr - (module->low + module->bias) < module->high - module->low;
}

static void forget_jumps(struct patch_target *target, const struct patch_module *module, bool alone)
{
	struct patch_jump *jump, *next;
	size_t kept = 0;

	HASH_ITER (hh, target->jumps, jump, next) {
		if (!is_inside(module, jump->start))
			continue;
		if (alone)
			patch_release_islands(target, jump);
		HASH_DEL(target->jumps, jump);
		free(jump);
	}
	for (size_t i = 0; i < target->ntraps; i++)
		if (!is_inside(module, target->traps[i].addr))
			target->traps[kept++] = target->traps[i];
	target->ntraps = kept;
}

void patch_target_forget(struct patch_target *target, struct patch_module *module)
{
	_cleanup_free_ pid_t *children = NULL;
	/* No thread can be on its way through what is freed: it would come back into text that is gone. */
	bool alone = target->fd >= 0 && !patch_target_children(target, &children);

	for (size_t i = 0; i < target->sites; i++)
		if (target->journal[i].changed && is_inside(module, target->journal[i].addr))
			free_entry(target, i, alone);
	forget_jumps(target, module, alone);
	for (size_t i = 0; i < target->nmodules; i++)
		if (target->modules[i] == module) {
			target->modules[i] = target->modules[--target->nmodules];
			patch_module_free(module);
			break;
		}
}
