/* SPDX-License-Identifier: MIT */
/*
 * Room for trampolines: pools, one for each neighbourhood of modules, and pages for islands. Here it is only decided where; memory.c
 * and extend.c map what is new. Offsets in the code part are given out once; a pool nothing leads to any more is used again where it is.
 */
#include <errno.h>
#include <stdlib.h>

#include "patch/inside.h"

#define POOL_EXTRA (96ULL << 10) /* room in a pool besides: the runtime, bodies that are part of trampolines */
#define POOL_PER_SITE 128
#define POOL_LATER (1ULL << 20)  /* the least size of a pool for what comes later: more may follow it */
#define POOL_ROOMY (64ULL << 10) /* a pool with so much room is filled further, though another may have more */
#define POOL_SKEW 0x2a7b000ULL   /* branch predictors see little of an address: code at the same low bits collides */
#define POOL_SLACK (1ULL << 28)  /* what may be added to POOL_REACH for displacements to stay in 32 bits */

static utap_addr low_of(const struct patch_module *module) { return module->low + module->bias; }
static utap_addr high_of(const struct patch_module *module) { return module->high + module->bias; }

static int compare_modules(const void *a, const void *b)
{
	const struct patch_module *const *x = a;
	const struct patch_module *const *y = b;

	return low_of(*x) < low_of(*y) ? -1 : low_of(*x) > low_of(*y);
}

static size_t sites_in(const struct patch_site *sites, size_t count, const struct patch_module *module)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++)
		n += sites[i].module == module && sites[i].layer != PATCH_REFUSED;
	return n;
}

static bool is_in_reach(const struct patch_pool *pool, utap_addr low, utap_addr high)
{
	return (pool->addr < low ? high - pool->addr : pool->addr + pool->size - low) <= POOL_REACH + POOL_SLACK;
}

static uint64_t room_of(const struct patch_pool *pool) { return pool->size - pool->used; }

static int add_pool(struct patch_target *target, utap_addr low, utap_addr high, uint64_t wanted)
{
	struct patch_pool *pool = &target->pools[target->npools];
	uint64_t size = base_align_up(target->fd >= 0 && wanted < POOL_LATER ? POOL_LATER : wanted, BASE_PAGE);
	utap_addr first = high > POOL_REACH ? high - POOL_REACH : 0;
	utap_addr near = low > POOL_REACH / 2 ? low - POOL_REACH / 2 + POOL_SKEW : high + POOL_REACH / 2 + POOL_SKEW;
	utap_addr addr;
	int error;

	if (target->npools == PATCH_POOLS || target->code_used + size > PATCH_CODE_SIZE)
		return -ENOSPC;
	error = process_maps_hole(&target->maps, size, near, first, low + POOL_REACH, BASE_PAGE, &addr);
	if (error)
		return error;
	*pool = (struct patch_pool){ .addr = addr, .size = size, .offset = target->code_used };
	target->code_used += size;
	target->npools++;
	return 0;
}

/* Does a pool of an earlier setup have the room? Bodies are in it, or not: generously. */
static bool has_room(const struct patch_target *target, utap_addr low, utap_addr high, uint64_t wanted)
{
	for (size_t i = 0; i < target->npools; i++)
		if (target->pools[i].mapped && is_in_reach(&target->pools[i], low, high) && room_of(&target->pools[i]) >= wanted)
			return true;
	return false;
}

int patch_pools_choose(struct patch_target *target, const struct patch_site *sites, size_t count,
		       const struct patch_options *options)
{
	uint64_t per_site = POOL_PER_SITE + options->site_room;
	_cleanup_free_ struct patch_module **modules = calloc(target->nmodules + 1, sizeof(struct patch_module *));
	size_t before = target->npools;
	size_t used = 0;

	if (!modules)
		return -ENOMEM;
	for (size_t i = 0; i < target->nmodules; i++)
		if (sites_in(sites, count, target->modules[i]))
			modules[used++] = target->modules[i];
	qsort(modules, used, sizeof(struct patch_module *), compare_modules);
	for (size_t i = 0; i < used;) {
		utap_addr low = low_of(modules[i]);
		utap_addr high = high_of(modules[i]);
		uint64_t wanted = sites_in(sites, count, modules[i]) * per_site + POOL_EXTRA + options->body_room;
		int error;

		for (i++; i < used && high_of(modules[i]) - low < POOL_REACH / 2; i++) {
			high = high_of(modules[i]);
			wanted += sites_in(sites, count, modules[i]) * per_site;
		}
		error = has_room(target, low, high, wanted) ? 0 : add_pool(target, low, high, wanted);
		if (error) {
			patch_pools_drop(target, before);
			return error;
		}
	}
	return used ? 0 : -ENOENT;
}

/* Their part of the file is not given to others: some of them may have been mapped. */
void patch_pools_drop(struct patch_target *target, size_t from)
{
	for (size_t i = from; i < target->npools; i++)
		free(target->pools[i].bodies);
	target->npools = from < target->npools ? from : target->npools;
}

struct patch_pool *patch_pool_for(struct patch_target *target, const struct patch_module *module)
{
	struct patch_pool *best = NULL;

	for (size_t i = 0; i < target->npools; i++) {
		struct patch_pool *pool = &target->pools[i];

		if (!is_in_reach(pool, low_of(module), high_of(module)))
			continue;
		if (room_of(pool) >= POOL_ROOMY)
			return pool;
		if (!best || room_of(pool) > room_of(best))
			best = pool;
	}
	return best;
}

struct patch_pool *patch_pool_at(struct patch_target *target, utap_addr addr)
{
	for (size_t i = 0; i < target->npools; i++)
		if (addr - target->pools[i].addr < target->pools[i].size)
			return &target->pools[i];
	return NULL;
}

int patch_pages_choose(struct patch_target *target)
{
	int error = base_grow(&target->page_offset, &target->page_offset_cap, target->space.npages + 1, sizeof(uint64_t));

	if (error)
		return error;
	for (; target->page_offsets < target->space.npages; target->page_offsets++) {
		if (target->code_used + BASE_PAGE > PATCH_CODE_SIZE)
			return -ENOSPC;
		target->page_offset[target->page_offsets] = target->code_used;
		target->code_used += BASE_PAGE;
	}
	return 0;
}
