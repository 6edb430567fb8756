/* SPDX-License-Identifier: MIT */
/*
 * Which layer takes a place. Pure: reads the target's bytes and mappings, changes nothing in it. The proof obligations P1..P8 and
 * P13 (docs/architecture.md) are checked here, in this order; the first that fails is the reason given.
 */
#include <errno.h>
#include <string.h>

#include "patch/inside.h"

static bool bit_any(const uint64_t *map, uint64_t from, unsigned count)
{
	for (uint64_t i = from; i < from + count; i++)
		if (map[i >> 6] >> (i & 63) & 1)
			return true;
	return false;
}

static void bits_set(uint64_t *map, uint64_t from, unsigned count)
{
	for (uint64_t i = from; i < from + count; i++)
		map[i >> 6] |= 1ULL << (i & 63);
}

static bool inside(const struct patch_module *module, uint64_t vaddr, unsigned count)
{
	return vaddr >= module->low && vaddr + count <= module->high;
}

static bool is_taken(const struct patch_module *module, uint64_t vaddr, unsigned count)
{
	return !inside(module, vaddr, count) || bit_any(module->patched, vaddr - module->low, count) ||
	       bit_any(module->depended, vaddr - module->low, count);
}

static bool padding_taken(const void *arg, uint64_t vaddr, unsigned count) { return is_taken(arg, vaddr, count); }

static void refuse(struct patch_site *site, const char *why)
{
	site->layer = PATCH_REFUSED;
	site->why = why;
}

/* P8: what runs there is what the file says: no debugger, no kernel probe, no self-modifying code. */
static bool is_as_in_file(const struct patch_target *target, const struct patch_module *module, uint64_t vaddr,
			  unsigned count)
{
	uint8_t live[2 * ISA_INSN_MAX];
	size_t available;
	const uint8_t *file = object_code(module->object, vaddr, &available);

	if (!file || available < count || count > sizeof(live))
		return false;
	if (!target->pid) /* imagined */
		return true;
	return !process_read(target->mem, vaddr + module->bias, live, count) && !memcmp(live, file, count);
}

/* The instruction to replace: the asked one, or the one after an endbr64. NULL, or why not. */
static const char *find_instruction(const struct patch_code *code, struct patch_site *site, uint64_t *vaddr)
{
	size_t available;
	const uint8_t *bytes;

	*vaddr = site->vaddr;
	for (int i = 0; i < 2; i++) {
		if (!patch_code_is_known(code, *vaddr))
			return "no frame description entry covers it, so it may not be code (--force-no-frame probes "
			       "functions that only a symbol describes)";
		if (!patch_code_is_start(code, *vaddr))
			return "it is not the start of an instruction";
		bytes = object_code(patch_code_object(code), *vaddr, &available);
		if (!bytes || isa_decode(bytes, available, *vaddr + site->module->bias, &site->insn))
			return "the bytes there are no instruction this version knows";
		if (site->insn.class != ISA_ENDBR)
			break;
		*vaddr += site->insn.length;
	}
	if (site->insn.class == ISA_REFUSED)
		return site->insn.why;
	if (site->insn.class == ISA_ENDBR)
		return "two landing instructions in a row";
	return NULL;
}

/* What a site changes is switched at once only within one mapping; an island in padding must be in the same. */
static bool in_one_mapping(const struct patch_target *target, utap_addr addr, unsigned length)
{
	const struct process_map *map = process_maps_at(&target->maps, addr);

	return !target->pid || (map && map->end - addr >= length);
}

static bool plan_l1(struct patch_site *site, uint64_t vaddr)
{
	if (site->insn.length < 5)
		return false;
	site->layer = PATCH_L1;
	site->by_call = site->insn.class == ISA_CALL || site->insn.class == ISA_CALL_INDIRECT;
	bits_set(site->module->patched, vaddr - site->module->low, site->insn.length);
	return true;
}

static bool plan_l3(const struct patch_target *target, struct patch_site *site, uint64_t vaddr)
{
	struct patch_module *module = site->module;
	uint64_t from = vaddr + 2 > 128 ? vaddr + 2 - 128 : 0;
	uint64_t island;

	if (site->insn.length < 2)
		return false;
	island = patch_code_padding(module->code, vaddr, from, vaddr + 2 + 127, 5, padding_taken, module);
	if (!island || !is_as_in_file(target, module, island, 5) ||
	    !in_one_mapping(target, (island < vaddr ? island : vaddr) + module->bias,
			    (unsigned)(island < vaddr ? vaddr - island : island - vaddr) + ISA_INSN_MAX))
		return false;
	site->layer = PATCH_L3;
	site->island = island + module->bias;
	bits_set(module->patched, vaddr - module->low, site->insn.length);
	bits_set(module->patched, island - module->low, 5);
	return true;
}

static bool try_pun(struct patch_target *target, struct patch_site *site, uint64_t vaddr, const uint8_t *next,
		    size_t available, unsigned prefixes)
{
	struct patch_module *module = site->module;
	unsigned length = site->insn.length;
	unsigned tail = prefixes + 5 - length; /* following bytes the jump depends on */
	unsigned covered = tail + ISA_INSN_MAX - 1 < available ? tail + ISA_INSN_MAX - 1 : (unsigned)available; /* and copies */
	utap_addr lo, hi;

	if (!inside(module, vaddr, length + tail) || bit_any(module->patched, vaddr + length - module->low, tail) ||
	    !is_as_in_file(target, module, vaddr + length, covered))
		return false;
	if (isa_pun(&site->insn, next, prefixes, &lo, &hi) || hi < lo ||
	    space_place(&target->space, &target->maps, lo, hi, &site->island))
		return false;
	site->layer = PATCH_L4;
	site->prefixes = (uint8_t)prefixes;
	bits_set(module->patched, vaddr - module->low, length);
	bits_set(module->depended, vaddr + length - module->low, tail);
	return true;
}

static bool plan_l4(struct patch_target *target, struct patch_site *site, uint64_t vaddr)
{
	unsigned length = site->insn.length;
	size_t available;
	const uint8_t *bytes = object_code(site->module->object, vaddr, &available);

	if (!bytes || available < length + 4)
		return false;
	for (unsigned prefixes = 0; prefixes < length; prefixes++)
		if (try_pun(target, site, vaddr, bytes + length, available - length, prefixes))
			return true;
	return false;
}

void patch_target_plan(struct patch_target *target, struct patch_site *site)
{
	struct patch_module *module = site->module;
	uint64_t vaddr;
	const char *why = find_instruction(module->code, site, &vaddr);
	unsigned length = site->insn.length;

	if (!why && patch_code_has_inner_target(module->code, vaddr, length))
		why = "a branch or pointer leads into the middle of the instruction";
	if (!why)
		why = patch_code_forbidden(module->code, vaddr, length);
	if (!why && is_taken(module, vaddr, length))
		why = "another probe is at this place or depends on its bytes";
	if (!why && !is_as_in_file(target, module, vaddr, length))
		why = "its bytes in memory are not those of the file: a debugger, a kernel probe or the program itself changed "
		      "them";
	site->addr = vaddr + module->bias;
	if (why) {
		refuse(site, why);
		return;
	}
	if (!in_one_mapping(target, site->addr, length)) {
		refuse(site, "it lies across two mappings, which cannot be changed at once");
		return;
	}
	if (plan_l1(site, vaddr) || plan_l3(target, site, vaddr) || plan_l4(target, site, vaddr))
		return;
	refuse(site, "the instruction is shorter than a jump and no island is in reach (this needs a patch of several "
		     "instructions, which this version does not make)");
}

uint64_t patch_target_nearest(struct patch_target *target, struct patch_module *module, uint64_t vaddr)
{
	uint64_t at = patch_code_is_start(module->code, vaddr) ? vaddr : patch_code_start_before(module->code, vaddr);

	for (int i = 0; at && i < 64; i++) {
		struct patch_site site = { .module = module };

		at = patch_code_start_after(module->code, at);
		site.vaddr = at;
		if (!at)
			break;
		/* Of plans that reserve nothing: an instruction of at least five bytes that nothing else objects to. */
		if (!find_instruction(module->code, &site, &site.vaddr) && site.insn.length >= 5 &&
		    !patch_code_has_inner_target(module->code, site.vaddr, site.insn.length) &&
		    !patch_code_forbidden(module->code, site.vaddr, site.insn.length) &&
		    !is_taken(module, site.vaddr, site.insn.length) &&
		    is_as_in_file(target, module, site.vaddr, site.insn.length))
			return site.vaddr;
	}
	return 0;
}
