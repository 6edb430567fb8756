/* SPDX-License-Identifier: MIT */
/*
 * Jumps that change one instruction (and dead padding): no thread's instruction pointer, no signal frame and no jump table can point into
 * the middle of the change.
 */
#include <string.h>

#include "patch/planning.h"

#define JUMP 5
#define SHORT_JUMP 2
#define BREAKPOINT 0xccU
#define TWINS_MOST 512 /* each may take a page and a mapping */

static struct patch_jump start_jump(const struct planning *p, const struct plan_insn *at, enum patch_layer layer, unsigned changed)
{
	return (struct patch_jump){
		.start = at->vaddr + p->module->bias,
		.reach = at->insn.length,
		.length = at->insn.length,
		.layer = layer,
		.changed = (uint8_t)changed,
	};
}

static bool is_off(const struct planning *p, enum patch_layer layer) { return p->target->without >> layer & 1; }

static void take(const struct planning *p, uint64_t vaddr, unsigned count)
{
	if (p->reserve)
		plan_set_bits(p->module->patched, vaddr - p->module->low, count);
}

/* An instruction after which control goes elsewhere, and the dead padding behind it, are as good as one long instruction. */
static unsigned room(const struct planning *p, const struct plan_insn *at, unsigned wanted)
{
	unsigned length = at->insn.length;

	if (length < wanted && !plan_falls_through(&at->insn) && plan_is_dead_after(p, at, wanted - length))
		return wanted;
	return length;
}

bool plan_l1(const struct planning *p, const struct plan_insn *at, struct patch_jump *jump)
{
	unsigned changed = room(p, at, JUMP);

	if (changed < JUMP || is_off(p, PATCH_L1))
		return false;
	*jump = start_jump(p, at, PATCH_L1, changed);
	jump->by_call = at->insn.class == ISA_CALL || at->insn.class == ISA_CALL_INDIRECT;
	take(p, at->vaddr, changed);
	return true;
}

static bool padding_taken(const void *arg, uint64_t vaddr, unsigned count) { return plan_is_taken(arg, vaddr, count); }

bool plan_l3(const struct planning *p, const struct plan_insn *at, struct patch_jump *jump)
{
	uint64_t vaddr = at->vaddr;
	uint64_t from = vaddr + SHORT_JUMP > 128 ? vaddr + SHORT_JUMP - 128 : 0;
	unsigned changed = room(p, at, SHORT_JUMP);
	uint64_t island;
	uint64_t first;

	/* Go's runtime looks up where a signal finds a thread, and ends the program over an address between functions. */
	if (changed < SHORT_JUMP || is_off(p, PATCH_L3) || object_is_go(p->module->object))
		return false;
	if (changed > at->insn.length) /* not over its own padding */
		island = patch_code_padding(p->module->code, vaddr, vaddr + changed, vaddr + SHORT_JUMP + 127, JUMP, padding_taken, p);
	else
		island = patch_code_padding(p->module->code, vaddr, from, vaddr + SHORT_JUMP + 127, JUMP, padding_taken, p);
	first = island < vaddr ? island : vaddr;
	if (!island || !plan_is_as_in_file(p, island, JUMP) ||
	    !plan_in_one_mapping(p, first, (unsigned)(island < vaddr ? vaddr - island : island - vaddr) + ISA_INSN_MAX))
		return false;
	*jump = start_jump(p, at, PATCH_L3, changed);
	jump->island = island + p->module->bias;
	jump->in_padding = true;
	take(p, vaddr, changed);
	take(p, island, JUMP);
	return true;
}

/* What starts under the punned jump is run by the trampoline (docs/decisions/0005), as far as it can be. */
static unsigned reach_of_pun(const struct planning *p, const struct plan_insn *at, unsigned end)
{
	struct plan_insn next = *at;

	while (plan_falls_through(&next.insn) && next.vaddr + next.insn.length < at->vaddr + end) {
		next.vaddr += next.insn.length;
		if (!patch_insn_at(p->module, next.vaddr, &next.insn) || !plan_may_copy(p, &next))
			return (unsigned)(next.vaddr - at->vaddr);
	}
	return (unsigned)(next.vaddr + next.insn.length - at->vaddr);
}

static bool find_island(const struct planning *p, utap_addr lo, utap_addr hi, utap_addr *ret)
{
	*ret = 0;
	if (!p->reserve)
		return space_could(&p->target->maps, lo, hi);
	return !space_place(&p->target->space, &p->target->maps, lo, hi, ret);
}

/*
 * The last bytes of a punned jump are instructions, and somebody (a debugger, the kernel) may put a breakpoint over one of them: then the jump
 * leads to another place. For the first places there is an island there, too, that leads to the same trampoline. Breakpoints on two of
 * these instructions at once are not thought of.
 */
static void place_twins(const struct planning *p, const struct plan_insn *at, struct patch_jump *jump)
{
	utap_addr after = jump->start + jump->prefixes + JUMP;
	struct plan_insn next = *at;

	for (size_t n = 0; n < PATCH_TWINS && p->target->twins < TWINS_MOST; n++) {
		uint32_t distance = (uint32_t)(jump->island - after);
		utap_addr twin;
		unsigned byte;

		next.vaddr += next.insn.length;
		if (next.vaddr >= at->vaddr + jump->prefixes + JUMP || !patch_insn_at(p->module, next.vaddr, &next.insn))
			return;
		byte = (unsigned)(next.vaddr - at->vaddr) - jump->prefixes - 1;
		distance = (distance & ~(0xffU << 8 * byte)) | BREAKPOINT << 8 * byte;
		twin = after + (utap_addr)(int64_t)(int32_t)distance;
		if (twin != jump->island && !space_place(&p->target->space, &p->target->maps, twin, twin, &jump->twins[n]))
			p->target->twins++;
	}
}

static bool try_pun(const struct planning *p, const struct plan_insn *at, const uint8_t *next, size_t available, unsigned prefixes,
		    struct patch_jump *jump)
{
	struct patch_module *module = p->module;
	unsigned length = at->insn.length;
	unsigned tail = prefixes + JUMP - length; /* following bytes the jump depends on */
	unsigned covered = tail + ISA_INSN_MAX - 1 < available ? tail + ISA_INSN_MAX - 1 : (unsigned)available; /* and copies */
	utap_addr island;
	utap_addr lo, hi;

	if (plan_is_patched(p, at->vaddr + length, tail) || isa_pun(&at->insn, next, prefixes, &lo, &hi) || hi < lo)
		return false;
	if (!plan_is_as_in_file(p, at->vaddr + length, covered) || !find_island(p, lo, hi, &island))
		return false;
	*jump = start_jump(p, at, PATCH_L4, length);
	jump->prefixes = (uint8_t)prefixes;
	jump->island = island;
	jump->reach = (uint16_t)reach_of_pun(p, at, length + tail);
	take(p, at->vaddr, length);
	if (p->reserve) {
		plan_set_bits(module->depended, at->vaddr + length - module->low, tail);
		place_twins(p, at, jump);
	}
	return true;
}

bool plan_l4(const struct planning *p, const struct plan_insn *at, struct patch_jump *jump)
{
	unsigned length = at->insn.length;
	size_t available;
	const uint8_t *bytes = object_code(p->module->object, at->vaddr, &available);

	if (!bytes || length >= JUMP || available < length + 4 || is_off(p, PATCH_L4))
		return false;
	for (unsigned prefixes = 0; prefixes < length; prefixes++)
		if (try_pun(p, at, bytes + length, available - length, prefixes, jump))
			return true;
	return false;
}

bool plan_l0(const struct planning *p, const struct plan_insn *at, struct patch_jump *jump)
{
	if (!p->target->allow_trap)
		return false;
	*jump = start_jump(p, at, PATCH_L0, 1);
	take(p, at->vaddr, at->insn.length);
	return true;
}
