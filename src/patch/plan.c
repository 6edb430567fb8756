/* SPDX-License-Identifier: MIT */
/*
 * Which layer takes a place. Pure: reads the target's bytes and mappings, changes nothing in it. The proof obligations P1..P10 and P13
 * (docs/architecture.md) are checked here and in layers.c, run.c and group.c; the first that fails is the reason given.
 *
 * In this order: a trampoline that runs the instruction already; a jump over the one instruction (L1, L3); a trampoline that runs the
 * instruction before it; a jump over an earlier instruction, whose trampoline goes on to this one; a punned jump (L4), over the instruction or an earlier
 * one; a group (L2; before the puns where there are very many places); a trap (L0).
 */
#include <stdlib.h>
#include <string.h>

#include "patch/planning.h"

static bool is_inside(const struct patch_module *module, uint64_t vaddr, unsigned count)
{
	return vaddr >= module->low && vaddr + count <= module->high;
}

bool plan_is_patched(const struct planning *p, uint64_t vaddr, unsigned count)
{
	return !is_inside(p->module, vaddr, count) ||
	       (!p->alone && plan_bit_any(p->module->patched, vaddr - p->module->low, count));
}

bool plan_is_taken(const struct planning *p, uint64_t vaddr, unsigned count)
{
	return plan_is_patched(p, vaddr, count) ||
	       (!p->alone && plan_bit_any(p->module->depended, vaddr - p->module->low, count));
}

bool plan_is_as_in_file(const struct planning *p, uint64_t vaddr, unsigned count)
{
	uint8_t live[4 * ISA_INSN_MAX];
	size_t available;
	const uint8_t *file = object_code(p->module->object, vaddr, &available);

	if (!file || available < count || count > sizeof(live))
		return false;
	if (!p->target->pid) /* imagined */
		return true;
	return !process_read(p->target->mem, vaddr + p->module->bias, live, count) && !memcmp(live, file, count);
}

bool plan_in_one_mapping(const struct planning *p, uint64_t vaddr, unsigned count)
{
	const struct process_map *map = process_maps_at(&p->target->maps, vaddr + p->module->bias);

	return !p->target->pid || (map && map->end - (vaddr + p->module->bias) >= count);
}

bool plan_falls_through(const struct isa_insn *insn)
{
	return insn->class != ISA_JUMP && insn->class != ISA_JUMP_INDIRECT && insn->class != ISA_RETURN;
}

bool patch_insn_at(const struct patch_module *module, uint64_t vaddr, struct isa_insn *ret)
{
	size_t available;
	const uint8_t *bytes = object_code(module->object, vaddr, &available);

	return bytes && !isa_decode(bytes, available, vaddr + module->bias, ret);
}

/* Padding inside of a function, before the next thing that is jumped to: nops, decoded along with it. */
static bool is_dead_inside(const struct planning *p, uint64_t from, unsigned count)
{
	uint64_t at = from;

	if (!patch_code_flow_known(p->module->code, from) || patch_code_has_inner_target(p->module->code, from - 1, count + 1))
		return false;
	while (at < from + count) {
		struct isa_insn insn;

		if (!patch_code_is_start(p->module->code, at) || patch_code_is_target(p->module->code, at) ||
		    !patch_insn_at(p->module, at, &insn) || insn.class != ISA_NOP)
			return false;
		at += insn.length;
	}
	return true;
}

bool plan_is_dead_after(const struct planning *p, const struct plan_insn *insn, unsigned count)
{
	uint64_t from = insn->vaddr + insn->insn.length;

	if (plan_is_taken(p, from, count) || !plan_is_as_in_file(p, from, count) ||
	    !plan_in_one_mapping(p, insn->vaddr, insn->insn.length + count))
		return false;
	return patch_code_is_known(p->module->code, from) ? is_dead_inside(p, from, count) :
							    patch_code_padding(p->module->code, from, from, from, count, NULL, NULL) == from;
}

/* ---- one place ---- */

static void refuse(struct patch_site *site, const char *why)
{
	site->layer = PATCH_REFUSED;
	site->why = why;
}

/* The instruction that the program belongs to: the asked one, or the one after an endbr64. NULL, or why not. */
static const char *find_instruction(const struct planning *p, struct patch_site *site, struct plan_insn *ret)
{
	const struct patch_code *code = p->module->code;

	ret->vaddr = site->vaddr;
	for (int i = 0; i < 2; i++) {
		if (!patch_code_is_known(code, ret->vaddr))
			return "no frame description entry covers it, so it may not be code (--force-no-frame probes "
			       "functions that only a symbol describes)";
		if (!patch_code_is_start(code, ret->vaddr))
			return "it is not the start of an instruction";
		if (!patch_insn_at(p->module, ret->vaddr, &ret->insn))
			return "the bytes there are no instruction this version knows";
		if (ret->insn.class != ISA_ENDBR)
			break;
		ret->vaddr += ret->insn.length;
		if (patch_code_is_target(code, ret->vaddr))
			return "code leads behind its landing instruction, as a loop does: hits there are not calls";
	}
	if (ret->insn.class == ISA_REFUSED)
		return ret->insn.why;
	if (ret->insn.class == ISA_ENDBR)
		return "two landing instructions in a row";
	return NULL;
}

static const char *why_not_when(const struct patch_site *site, const struct isa_insn *insn)
{
	if (site->when == PATCH_WHEN_TAKEN && insn->class != ISA_BRANCH && insn->class != ISA_LOOP)
		return "it is no conditional jump";
	if (site->when == PATCH_WHEN_LEAVING && insn->class != ISA_JUMP_INDIRECT)
		return "it is no indirect jump";
	return NULL;
}

static const char *why_not_here(const struct planning *p, const struct patch_site *site, const struct plan_insn *place)
{
	unsigned length = place->insn.length;
	const char *why = why_not_when(site, &place->insn);

	if (why)
		return why;
	if (patch_code_has_inner_target(p->module->code, place->vaddr, length))
		return "a branch or pointer leads into the middle of the instruction";
	why = patch_code_forbidden(p->module->code, place->vaddr, length);
	if (!why)
		why = patch_code_lacks_stack(p->module->code, place->vaddr, p->target->stack ? p->target->stack : PATCH_STACK_USUAL);
	if (why)
		return why;
	if (!plan_is_as_in_file(p, place->vaddr, length))
		return "its bytes in memory are not those of the file: a debugger, a kernel probe or the program itself changed "
		       "them";
	if (!plan_in_one_mapping(p, place->vaddr, length))
		return "it lies across two mappings, which cannot be changed at once";
	return NULL;
}

static struct patch_jump *keep_jump(const struct planning *p, const struct patch_jump *jump)
{
	struct patch_jump *kept = malloc(sizeof(*kept));

	if (!kept)
		return NULL;
	*kept = *jump;
	HASH_ADD(hh, p->target->jumps, start, sizeof(kept->start), kept);
	plan_mark_run(p, kept);
	return kept;
}

static const char why_taken[] = "another probe is at this place or depends on its bytes";

/* A pun takes a page, mostly of its own; a group holds all threads for a moment. */
static bool plan_pun_or_group(const struct planning *p, const struct plan_insn *place, const struct plan_run *run, struct patch_jump *made,
			      const char **why)
{
	bool many = p->target->expected >= PATCH_MANY;

	return (many && plan_group(p, run, made, why)) || plan_l4(p, place, made) || plan_carry(p, run, true, made) ||
	       (!many && plan_group(p, run, made, why));
}

/* The jump that leads to the program: one that is there already, or a new one. NULL: *why is set. */
static struct patch_jump *find_jump(const struct planning *p, const struct plan_insn *place, struct patch_jump *made,
				    const char **why)
{
	struct patch_jump *jump = NULL;
	bool is_taken = plan_is_taken(p, place->vaddr, place->insn.length);
	struct plan_run run;

	if (plan_covering(p, place->vaddr)) {
		*why = plan_join(p, place, &jump);
		return jump;
	}
	if (!is_taken && (plan_l1(p, place, made) || plan_l3(p, place, made)))
		return p->reserve ? keep_jump(p, made) : made;
	if (p->target->keep_others) {
		*why = is_taken ? why_taken : "the instruction is shorter than a jump, and a debugger's breakpoint on one behind it would break a "
					      "longer one (--debugger-safe)";
		return !is_taken && plan_l0(p, place, made) ? p->reserve ? keep_jump(p, made) : made : NULL;
	}
	if (p->alone && plan_l4(p, place, made)) /* there is nothing to extend */
		return made;
	plan_run_find(p, place, &run);
	jump = plan_extend(p, &run, false);
	*why = why_taken;
	if (jump || is_taken)
		return jump;
	if (!plan_carry(p, &run, false, made) && !plan_pun_or_group(p, place, &run, made, why)) {
		jump = plan_extend(p, &run, true);
		if (jump || !plan_l0(p, place, made))
			return jump;
	}
	return p->reserve ? keep_jump(p, made) : made;
}

/* Sites of one place share its trampoline: their programs run in turn. */
static void take_site(const struct planning *p, struct patch_site *site, struct patch_jump *jump)
{
	uint64_t bit = site->addr - p->module->bias - p->module->low;

	if (plan_bit(p->module->sited, bit))
		jump->again[jump->nagain++] = site->addr;
	plan_set_bits(p->module->sited, bit, 1);
	jump->is_conditional |= site->when != PATCH_WHEN_REACHED;
}

static void plan(const struct planning *p, struct patch_site *site)
{
	struct plan_insn place = { 0 };
	struct patch_jump made;
	struct patch_jump *jump;
	const char *why = find_instruction(p, site, &place);

	site->addr = place.vaddr + p->module->bias;
	site->insn = place.insn;
	if (!why)
		why = why_not_here(p, site, &place);
	if (!why && site->when != PATCH_WHEN_REACHED && !p->alone && plan_bit(p->module->sited, place.vaddr - p->module->low))
		why = "another probe is at this place, and this one asks whether a jump is taken";
	if (why) {
		refuse(site, why);
		return;
	}
	why = "out of memory";
	jump = find_jump(p, &place, &made, &why);
	if (!jump) {
		refuse(site, why);
		return;
	}
	site->layer = jump->layer;
	site->start = jump->start;
	site->changed = jump->changed;
	site->island = jump->island;
	site->why = NULL;
	if (p->reserve)
		take_site(p, site, jump);
}

void patch_target_plan(struct patch_target *target, struct patch_site *site)
{
	plan(&(struct planning){ .target = target, .module = site->module, .reserve = true }, site);
}

void patch_target_judge(struct patch_target *target, struct patch_site *site)
{
	plan(&(struct planning){ .target = target, .module = site->module, .alone = true }, site);
}

void patch_target_expect(struct patch_target *target, size_t places) { target->expected = places; }

void patch_target_allow_trap(struct patch_target *target, bool allow) { target->allow_trap = allow; }

void patch_target_stack(struct patch_target *target, unsigned bytes) { target->stack = bytes; }

void patch_target_keep_others(struct patch_target *target) { target->keep_others = true; }

/* Of a group, on any of its inner instructions; of a punned jump, on one that it shares bytes with, where it has no twin for that. */
size_t patch_target_exposed(const struct patch_target *target)
{
	size_t count = 0;

	for (const struct patch_jump *jump = target->jumps; jump; jump = jump->hh.next)
		count += jump->layer == PATCH_L2 || (jump->layer == PATCH_L4 && !jump->twins[0]);
	return count;
}

uint64_t patch_target_nearest(struct patch_target *target, struct patch_module *module, uint64_t vaddr)
{
	const struct planning p = { .target = target, .module = module };
	uint64_t at = patch_code_is_start(module->code, vaddr) ? vaddr : patch_code_start_before(module->code, vaddr);

	for (int i = 0; at && i < 64; i++) {
		struct patch_site site = { .module = module };

		at = patch_code_start_after(module->code, at);
		site.vaddr = at;
		if (!at)
			break;
		plan(&p, &site);
		if (site.layer != PATCH_REFUSED && site.layer != PATCH_L0)
			return at;
	}
	return 0;
}
