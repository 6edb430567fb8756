/* SPDX-License-Identifier: MIT */
/*
 * Several instructions in a row that are only entered at the first: one trampoline can run them all, and the programs of all places among
 * them. Of a jump that changes only the first instruction the others stay as they are in the text: who is among them when the jump comes
 * runs them there and misses the programs once, as somebody would who had passed the place a moment earlier.
 */
#include <string.h>

#include "patch/planning.h"

static bool is_copied(const struct isa_insn *insn)
{
	switch (insn->class) {
	case ISA_PLAIN:
	case ISA_NOP:
	case ISA_JUMP:
	case ISA_JUMP_INDIRECT:
	case ISA_BRANCH:
	case ISA_LOOP:
	case ISA_RETURN:
		return true;
	case ISA_CALL: /* its copy would unbalance the return predictor: worse */
	case ISA_CALL_INDIRECT:
	case ISA_SYSCALL: /* threads would block inside the trampoline */
	case ISA_ENDBR:
	case ISA_REFUSED:
		return false;
	}
	return false;
}

bool plan_may_copy(const struct planning *p, const struct plan_insn *insn)
{
	return is_copied(&insn->insn) && !patch_code_forbidden(p->module->code, insn->vaddr, insn->insn.length);
}

/* May the one before be run by the same trampoline as @after? NULL, or why not. */
static const char *why_not_before(const struct planning *p, const struct plan_insn *before, const struct plan_insn *after)
{
	if (patch_code_is_target(p->module->code, after->vaddr))
		return "other code leads to it";
	if (before->vaddr + before->insn.length != after->vaddr || !plan_falls_through(&before->insn) || !plan_may_copy(p, before))
		return "what comes before it cannot be moved along with it";
	if (patch_code_has_inner_target(p->module->code, before->vaddr, before->insn.length))
		return "a branch or pointer leads into the middle of the instruction before it";
	if (!plan_is_as_in_file(p, before->vaddr, before->insn.length))
		return "the bytes before it in memory are not those of the file";
	return NULL;
}

void plan_run_find(const struct planning *p, const struct plan_insn *place, struct plan_run *run)
{
	const struct object_range *range = object_range_at(p->module->object, place->vaddr);

	run->insn[0] = *place;
	run->count = 1;
	run->why = NULL;
	if (!range)
		run->why = "no frame description entry covers it";
	else if (!patch_code_flow_known(p->module->code, place->vaddr))
		run->why = "a jump in its function may lead to it, for all that is known";
	while (!run->why && run->count < PLAN_RUN) {
		struct plan_insn *after = &run->insn[run->count - 1];
		struct plan_insn *before = after + 1;

		before->vaddr = after->vaddr > range->start ? patch_code_start_before(p->module->code, after->vaddr - 1) : 0;
		if (!before->vaddr || before->vaddr < range->start || !patch_insn_at(p->module, before->vaddr, &before->insn))
			run->why = "it is the first of its function";
		else
			run->why = why_not_before(p, before, after);
		run->count += !run->why;
	}
}

/* ---- who runs it already ---- */

static struct patch_jump *jump_at(const struct planning *p, uint64_t vaddr)
{
	utap_addr start = vaddr + p->module->bias;
	struct patch_jump *jump;

	HASH_FIND(hh, p->target->jumps, &start, sizeof(start), jump);
	return jump;
}

static uint64_t end_of(const struct planning *p, const struct patch_jump *jump)
{
	return jump->start + jump->reach - p->module->bias;
}

struct patch_jump *plan_covering(const struct planning *p, uint64_t vaddr)
{
	uint64_t at = vaddr;

	if (p->alone || vaddr < p->module->low || vaddr >= p->module->high)
		return NULL;
	for (unsigned back = 0; at && vaddr - at <= PATCH_REACH_MAX + ISA_INSN_MAX; back++) {
		struct patch_jump *jump = jump_at(p, at);

		if (jump)
			return vaddr < end_of(p, jump) ? jump : NULL;
		if (!back && !plan_bit(p->module->carried, vaddr - p->module->low))
			return NULL;
		at = patch_code_start_before(p->module->code, at - 1);
	}
	return NULL;
}

void plan_mark_run(const struct planning *p, const struct patch_jump *jump)
{
	uint64_t at = jump->start - p->module->bias;

	if (!p->reserve)
		return;
	for (at = patch_code_start_after(p->module->code, at); at && at < end_of(p, jump);
	     at = patch_code_start_after(p->module->code, at))
		plan_set_bits(p->module->carried, at - p->module->low, 1);
}

/* Is the way through @jump the only one to the place? */
static bool is_only_way(const struct planning *p, const struct patch_jump *jump, uint64_t vaddr)
{
	uint64_t at = jump->start - p->module->bias;

	if (jump->layer != PATCH_L2 && at != vaddr && !patch_code_flow_known(p->module->code, vaddr))
		return false;
	while (at && at < vaddr) {
		at = patch_code_start_after(p->module->code, at);
		if (at && patch_code_is_target(p->module->code, at))
			return false;
	}
	return at == vaddr;
}

const char *plan_join(const struct planning *p, const struct plan_insn *place, struct patch_jump **ret)
{
	struct patch_jump *jump = plan_covering(p, place->vaddr);

	if (!jump || jump->applied)
		return "another probe is at this place or depends on its bytes";
	if (plan_bit(p->module->sited, place->vaddr - p->module->low) && jump->is_conditional)
		return "another probe is at this place, and asks whether a jump is taken";
	if (plan_bit(p->module->sited, place->vaddr - p->module->low) && jump->nagain == PATCH_AGAIN)
		return "too many other probes are at this place";
	if (!is_only_way(p, jump, place->vaddr))
		return "another probe depends on its bytes, and other code leads to it";
	*ret = jump;
	return NULL;
}

/* From the first instruction that is the jump's (or runs in its trampoline) on, nothing is anybody else's. */
struct patch_jump *plan_extend(const struct planning *p, const struct plan_run *run, bool by_trap)
{
	const struct plan_insn *place = &run->insn[0];
	uint64_t end = place->vaddr + place->insn.length;

	for (unsigned i = 1; i < run->count; i++) {
		struct patch_jump *jump = plan_covering(p, run->insn[i].vaddr);

		if (jump) {
			uint64_t start = jump->start - p->module->bias;

			if (jump->applied || jump->by_call || (jump->layer == PATCH_L0) != by_trap || end_of(p, jump) != run->insn[i - 1].vaddr || end - start > PATCH_REACH_MAX ||
			    !is_only_way(p, jump, place->vaddr))
				return NULL;
			if (p->reserve) {
				jump->reach = (uint16_t)(end - start);
				plan_mark_run(p, jump);
			}
			return jump;
		}
		if (plan_is_taken(p, run->insn[i].vaddr, run->insn[i].insn.length))
			return NULL;
	}
	return NULL;
}

bool plan_carry(const struct planning *p, const struct plan_run *run, bool by_pun, struct patch_jump *jump)
{
	uint64_t end = run->insn[0].vaddr + run->insn[0].insn.length;

	for (unsigned i = 1; i < run->count; i++) {
		const struct plan_insn *at = &run->insn[i];

		if (plan_is_taken(p, at->vaddr, at->insn.length) || end - at->vaddr > PATCH_REACH_MAX)
			return false;
		if (!plan_in_one_mapping(p, at->vaddr, at->insn.length))
			continue;
		if (by_pun ? plan_l4(p, at, jump) : plan_l1(p, at, jump) || plan_l3(p, at, jump)) {
			if (jump->reach < end - at->vaddr)
				jump->reach = (uint16_t)(end - at->vaddr);
			return true;
		}
	}
	return false;
}
