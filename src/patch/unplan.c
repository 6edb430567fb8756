/* SPDX-License-Identifier: MIT */
/* Giving back what a plan reserved: the site, and its jump when no other site needs that. Nothing here was written into the target yet. */
#include <stdlib.h>

#include "patch/planning.h"

#define NEIGHBOUR 32 /* bytes between the starts of two jumps that depend on one byte, at most */

static void clear_bits(uint64_t *map, uint64_t from, unsigned count)
{
	for (uint64_t i = from; i < from + count; i++)
		map[i >> 6] &= ~(1ULL << (i & 63));
}

/* Bytes behind a punned jump that it depends on; those of other layers depend on none. */
static unsigned tail_of(const struct patch_jump *jump)
{
	return jump->layer == PATCH_L4 ? jump->prefixes + 5U - jump->length : 0;
}

/* Several jumps may depend on one byte: what the neighbours need is marked again. */
static void keep_neighbours(struct patch_target *target, struct patch_module *module, utap_addr start)
{
	for (utap_addr at = start - NEIGHBOUR; at <= start + NEIGHBOUR; at++) {
		struct patch_jump *jump;

		HASH_FIND(hh, target->jumps, &at, sizeof(at), jump);
		if (jump && tail_of(jump))
			plan_set_bits(module->depended, at + jump->length - module->bias - module->low, tail_of(jump));
	}
}

void patch_release_islands(struct patch_target *target, const struct patch_jump *jump)
{
	if (jump->island)
		space_release(&target->space, jump->island);
	for (size_t i = 0; i < PATCH_TWINS; i++) {
		if (!jump->twins[i])
			continue;
		space_release(&target->space, jump->twins[i]);
		target->twins--;
	}
}

static void drop_jump(struct patch_target *target, struct patch_module *module, struct patch_jump *jump)
{
	uint64_t first = jump->start - module->bias - module->low;
	unsigned patched = jump->layer == PATCH_L4 || jump->layer == PATCH_L0 ? jump->length : jump->changed;

	HASH_DEL(target->jumps, jump);
	clear_bits(module->patched, first, patched);
	clear_bits(module->carried, first, jump->reach);
	clear_bits(module->depended, first + jump->length, tail_of(jump));
	keep_neighbours(target, module, jump->start);
	if (jump->in_padding)
		clear_bits(module->patched, jump->island - module->bias - module->low, 5);
	else
		patch_release_islands(target, jump);
	free(jump);
}

/* Another site of the place stays. */
static bool forget_again(struct patch_jump *jump, utap_addr addr)
{
	for (unsigned i = 0; i < jump->nagain; i++)
		if (jump->again[i] == addr) {
			jump->again[i] = jump->again[--jump->nagain];
			return true;
		}
	return false;
}

void patch_target_unplan(struct patch_target *target, struct patch_site *site)
{
	struct patch_module *module = site->module;
	struct patch_jump *jump;

	if (site->layer == PATCH_REFUSED)
		return;
	HASH_FIND(hh, target->jumps, &site->start, sizeof(site->start), jump);
	if (jump && forget_again(jump, site->addr))
		return;
	clear_bits(module->sited, site->addr - module->bias - module->low, 1);
	if (jump && !jump->applied && !plan_bit_any(module->sited, jump->start - module->bias - module->low, jump->reach))
		drop_jump(target, module, jump);
}
