/* SPDX-License-Identifier: MIT */
/*
 * L2: a jump over several instructions. The last resort, since a thread may stand on one of the instructions inside: they are written only
 * while every thread is held and none is there (held.c), and whoever came there in spite of all that was proved would trap at once: each
 * byte at which an instruction started becomes one that starts none.
 *
 * P9: nothing leads inside. P10: a call only at the end, so that it returns behind the group; no system call, in which threads would wait
 * and be sent back to it.
 */
#include "patch/planning.h"

#define JUMP 5

static const char why_target[] = "other code leads into the bytes that a jump needs";
static const char why_unmovable[] = "the few instructions around it cannot be moved together";
static const char why_taken[] = "another probe is next to this place or depends on its bytes";
static const char why_flow[] = "not all jumps of its function are known, and some may lead to the instructions around it";
static const char why_go[] = "it needs a patch of several instructions, which Go's goroutines may stand on while they do not run";
static const char why_space[] = "no page that the jump over several instructions would land on is free";
static const char why_page[] = "the few instructions around it lie across two pages";
static const char why_short[] = "the instruction is shorter than a jump, and so is all that is left of its function";

struct group {
	struct plan_insn first, last;
	unsigned span;       /* of whole instructions */
	uint32_t boundaries;
};

static bool holds(const struct group *group, uint64_t vaddr) { return vaddr < group->last.vaddr + group->last.insn.length; }

static const char *why_not_member(const struct planning *p, const struct plan_insn *insn, bool is_first, bool is_last)
{
	unsigned length = insn->insn.length;
	bool is_call = insn->insn.class == ISA_CALL || insn->insn.class == ISA_CALL_INDIRECT;

	if ((!is_first && patch_code_is_target(p->module->code, insn->vaddr)) ||
	    patch_code_has_inner_target(p->module->code, insn->vaddr, length))
		return why_target;
	if (plan_is_taken(p, insn->vaddr, length) || plan_covering(p, insn->vaddr))
		return why_taken;
	if (!plan_may_copy(p, insn) &&
	    !(is_call && is_last && !patch_code_forbidden(p->module->code, insn->vaddr, length)))
		return why_unmovable;
	return NULL;
}

/* Whole instructions from @first on, until they hold the place and are as long as a jump; or dead padding makes up for the rest. */
static const char *grow(const struct planning *p, const struct plan_insn *first, uint64_t place, uint64_t end,
			struct group *group)
{
	*group = (struct group){ .first = *first, .last = *first };
	for (;;) {
		struct plan_insn *last = &group->last;
		uint64_t next = last->vaddr + last->insn.length;
		const char *why;

		group->span = (unsigned)(next - first->vaddr);
		why = why_not_member(p, last, last->vaddr == first->vaddr, group->span >= JUMP && holds(group, place));
		if (why)
			return why;
		if (group->span > WIRE_SITE_BYTES)
			return why_unmovable;
		if (group->span >= JUMP && holds(group, place))
			return NULL;
		if (!plan_falls_through(&last->insn))
			return holds(group, place) && plan_is_dead_after(p, last, JUMP - group->span) ? NULL : why_unmovable;
		last->vaddr = next;
		if (next >= end)
			return why_short;
		if (!patch_insn_at(p->module, next, &last->insn) || next + last->insn.length > end)
			return why_unmovable;
		group->boundaries |= 1U << group->span;
	}
}

static bool find_island(const struct planning *p, utap_addr start, uint32_t boundaries, utap_addr *ret)
{
	unsigned guarded = boundaries >> 1 & 0xf; /* byte 0 of the distance stands at start + 1 */

	*ret = 0;
	if (!p->reserve)
		return space_could_guarded(&p->target->maps, start + JUMP, guarded);
	return !space_place_guarded(&p->target->space, &p->target->maps, start + JUMP, guarded, ret);
}

static const char *try_group(const struct planning *p, const struct plan_insn *first, uint64_t place, struct patch_jump *jump)
{
	const struct object_range *range = object_range_at(p->module->object, place);
	utap_addr start = first->vaddr + p->module->bias;
	struct group group;
	unsigned changed;
	utap_addr island;
	const char *why;

	if (!range || (first->vaddr != range->start && !patch_code_flow_known(p->module->code, first->vaddr)))
		return why_flow;
	why = grow(p, first, place, range->end, &group);
	if (why)
		return why;
	changed = group.span < JUMP ? JUMP : group.span;
	if (base_align_down(start, BASE_PAGE) != base_align_down(start + changed - 1, BASE_PAGE))
		return why_page;
	if (!plan_is_as_in_file(p, first->vaddr, changed) || !plan_in_one_mapping(p, first->vaddr, changed))
		return why_unmovable;
	if (!find_island(p, start, group.boundaries, &island))
		return why_space;
	*jump = (struct patch_jump){
		.start = start,
		.reach = (uint16_t)group.span,
		.length = first->insn.length,
		.layer = PATCH_L2,
		.changed = (uint8_t)changed,
		.boundaries = group.boundaries,
		.island = island,
	};
	if (p->reserve)
		plan_set_bits(p->module->patched, first->vaddr - p->module->low, changed);
	return NULL;
}

bool plan_group(const struct planning *p, const struct plan_run *run, struct patch_jump *jump, const char **why)
{
	uint64_t place = run->insn[0].vaddr;

	*why = object_is_go(p->module->object) ? why_go : why_short;
	if (*why == why_go || p->target->without >> PATCH_L2 & 1)
		return false;
	for (unsigned i = 0; i < run->count && run->insn[i].vaddr + WIRE_SITE_BYTES > place; i++) {
		const char *reason = try_group(p, &run->insn[i], place, jump);

		if (!reason)
			return true;
		if (!i)
			*why = reason;
	}
	return false;
}
