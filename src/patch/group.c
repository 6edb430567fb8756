/* SPDX-License-Identifier: MIT */
/*
 * L2: a jump over several instructions. The last resort, since a thread may stand on one of the instructions inside: they are written only
 * while every thread is held and none is there (held.c), and whoever came there in spite of all that was proved would trap at once: each
 * byte at which an instruction started becomes one that starts none.
 *
 * Where there is no room for that, or other code leads to one of the instructions, a short group takes fewer of them: a short jump to padding.
 *
 * P9: nothing leads inside. P10: a call only at the end, so that it returns behind the group; no system call, in which threads would wait
 * and be sent back to it.
 */
#include <string.h>

#include "patch/planning.h"

#define JUMP 5
#define SHORT_JUMP 2

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

/* Whole instructions from @first on, until they hold the place and are as long as a jump of @needed bytes; or dead padding makes up for the rest. */
static const char *grow(const struct planning *p, const struct plan_insn *first, uint64_t place, uint64_t end, unsigned needed,
			struct group *group)
{
	*group = (struct group){ .first = *first, .last = *first };
	for (;;) {
		struct plan_insn *last = &group->last;
		uint64_t next = last->vaddr + last->insn.length;
		const char *why;

		group->span = (unsigned)(next - first->vaddr);
		why = why_not_member(p, last, last->vaddr == first->vaddr, group->span >= needed && holds(group, place));
		if (why)
			return why;
		if (group->span > WIRE_SITE_BYTES)
			return why_unmovable;
		if (group->span >= needed && holds(group, place))
			return NULL;
		if (!plan_falls_through(&last->insn))
			return holds(group, place) && plan_is_dead_after(p, last, needed - group->span) ? NULL : why_unmovable;
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

/* ---- short groups ---- */

struct short_jump {
	const struct planning *p;
	uint64_t vaddr;
	unsigned span;
	bool guarded; /* the distance stands where an instruction started */
};

/* A trap; or one that changes a flag, with a breakpoint of ours behind it. */
static bool is_guard(uint8_t byte, bool before_breakpoint)
{
	size_t count;
	const uint8_t *traps = isa_traps(&count);

	return memchr(traps, byte, count) || (before_breakpoint && (byte == 0xf5 || byte == 0xf8 || byte == 0xf9));
}

static bool is_no_island(const void *arg, uint64_t vaddr, unsigned count)
{
	const struct short_jump *at = arg;
	int64_t distance = (int64_t)(vaddr - (at->vaddr + SHORT_JUMP));

	return distance < INT8_MIN || distance > INT8_MAX || plan_is_taken(at->p, vaddr, count) ||
	       (at->guarded && !is_guard((uint8_t)distance, at->span > SHORT_JUMP));
}

static const char *find_padding(const struct planning *p, uint64_t vaddr, const struct group *group, uint64_t *ret)
{
	const struct short_jump at = { .p = p, .vaddr = vaddr, .span = group->span, .guarded = group->boundaries & 2 };
	uint64_t end = vaddr + (group->span < SHORT_JUMP ? SHORT_JUMP : group->span); /* not over its own padding */
	uint64_t from = vaddr > INT8_MAX ? vaddr - INT8_MAX : 0;
	uint64_t to = vaddr + SHORT_JUMP + INT8_MAX;
	uint64_t low;

	*ret = patch_code_padding(p->module->code, vaddr, from, vaddr, JUMP, is_no_island, &at);
	if (!*ret)
		*ret = patch_code_padding(p->module->code, vaddr, end, to, JUMP, is_no_island, &at);
	low = *ret < vaddr ? *ret : vaddr;
	if (!*ret || !plan_is_as_in_file(p, *ret, JUMP) || !plan_in_one_mapping(p, low, (unsigned)(vaddr + *ret - 2 * low) + ISA_INSN_MAX))
		return why_short;
	return NULL;
}

/* ---- the group ---- */

static const char *why_not_changed(const struct planning *p, uint64_t vaddr, unsigned changed)
{
	utap_addr start = vaddr + p->module->bias;

	if (base_align_down(start, BASE_PAGE) != base_align_down(start + changed - 1, BASE_PAGE))
		return why_page;
	return plan_is_as_in_file(p, vaddr, changed) && plan_in_one_mapping(p, vaddr, changed) ? NULL : why_unmovable;
}

/* @needed: JUMP or SHORT_JUMP */
static const char *try_group(const struct planning *p, const struct plan_insn *first, uint64_t place, unsigned needed,
			     struct patch_jump *jump)
{
	const struct object_range *range = object_range_at(p->module->object, place);
	utap_addr start = first->vaddr + p->module->bias;
	uint64_t padding = 0;
	utap_addr island = 0;
	struct group group;
	unsigned changed;
	const char *why;

	if (!range || (first->vaddr != range->start && !patch_code_flow_known(p->module->code, first->vaddr)))
		return why_flow;
	why = grow(p, first, place, range->end, needed, &group);
	changed = group.span < needed ? needed : group.span;
	if (!why)
		why = why_not_changed(p, first->vaddr, changed);
	if (!why && needed == SHORT_JUMP)
		why = find_padding(p, first->vaddr, &group, &padding);
	else if (!why && !find_island(p, start, group.boundaries, &island))
		why = why_space;
	if (why)
		return why;
	*jump = (struct patch_jump){
		.start = start,
		.reach = (uint16_t)group.span,
		.length = first->insn.length,
		.layer = PATCH_L2,
		.changed = (uint8_t)changed,
		.in_padding = padding != 0,
		.boundaries = group.boundaries,
		.island = padding ? padding + p->module->bias : island,
	};
	if (p->reserve)
		plan_set_bits(p->module->patched, first->vaddr - p->module->low, changed);
	if (p->reserve && padding)
		plan_set_bits(p->module->patched, padding - p->module->low, JUMP);
	return NULL;
}

bool plan_group(const struct planning *p, const struct plan_run *run, struct patch_jump *jump, const char **why)
{
	uint64_t place = run->insn[0].vaddr;

	*why = object_is_go(p->module->object) ? why_go : why_short;
	if (*why == why_go || p->target->without >> PATCH_L2 & 1)
		return false;
	for (unsigned i = 0; i < run->count && run->insn[i].vaddr + WIRE_SITE_BYTES > place; i++) {
		const char *reason = try_group(p, &run->insn[i], place, JUMP, jump);

		if (!reason)
			return true;
		if (!i)
			*why = reason;
	}
	for (unsigned i = 0; i < run->count && run->insn[i].vaddr + WIRE_SITE_BYTES > place; i++)
		if (!try_group(p, &run->insn[i], place, SHORT_JUMP, jump))
			return true;
	return false;
}
