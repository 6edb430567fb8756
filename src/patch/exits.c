/* SPDX-License-Identifier: MIT */
/* The ways out of a function: one pass over each of its parts, after it was made sure that nobody else runs their
 * returns. */
#include "patch/exits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "isa/flow.h"
#include "patch/code_inside.h"

struct search {
	const struct patch_code *code;
	struct code_parts parts;
	struct patch_function *function;
	size_t cap;
	struct code_jump *jumps;
	size_t njumps;
	bool all_led;       /* where its indirect jumps lead is known */
	bool stays_unclear; /* an indirect jump may stay or leave */
	const char *why;
};

static int refuse(struct search *search, const char *why)
{
	search->why = why;
	return -ENOTSUP;
}

static int add_exit(struct search *search, uint64_t vaddr, bool tail, enum patch_when when)
{
	struct patch_function *function = search->function;

	if (base_grow(&function->exits, &search->cap, function->nexits + 1, sizeof(*function->exits)))
		return -ENOMEM;
	function->exits[function->nexits++] = (struct patch_exit) { .vaddr = vaddr, .tail = tail, .when = when };
	return 0;
}

static int look_at_jump(struct search *search, uint64_t vaddr, uint64_t target, bool always)
{
	const struct patch_code *code = search->code;

	if (code_parts_at(code, &search->parts, target) != CODE_NO_RANGE)
		return 0;
	if (code_range_of(code, target) == CODE_NO_RANGE && !patch_code_is_known(code, target))
		return refuse(search, "it jumps to code that no frame description entry covers");
	if (code_is_thunk(code, target))
		return refuse(search, "it jumps through code that jumps on to where a register points");
	return add_exit(search, vaddr, true, always ? PATCH_WHEN_REACHED : PATCH_WHEN_TAKEN);
}

static const struct code_jump *jump_at(const struct search *search, uint64_t vaddr)
{
	size_t above = code_above(search->jumps, search->njumps, sizeof(*search->jumps), vaddr);

	return above && search->jumps[above - 1].vaddr == vaddr ? &search->jumps[above - 1] : NULL;
}

static int look_at_indirect(struct search *search, uint64_t vaddr)
{
	const struct code_jump *jump = jump_at(search, vaddr);

	switch (jump ? jump->kind : CODE_JUMP_UNKNOWN) {
	case CODE_JUMP_TABLE:
		return 0;
	case CODE_JUMP_SLOT:
		return add_exit(search, vaddr, true, PATCH_WHEN_REACHED);
	case CODE_JUMP_POINTER:
	case CODE_JUMP_UNSEEN:
	case CODE_JUMP_UNKNOWN:
		break;
	}
	search->stays_unclear = true;
	return add_exit(search, vaddr, true, PATCH_WHEN_LEAVING);
}

static int look_at(struct search *search, enum isa_lead lead, uint64_t vaddr, uint64_t target)
{
	switch (lead) {
	case ISA_LEAD_JUMP:
		return look_at_jump(search, vaddr, target, true);
	case ISA_LEAD_BRANCH:
		return look_at_jump(search, vaddr, target, false);
	case ISA_LEAD_JUMP_INDIRECT:
		return look_at_indirect(search, vaddr);
	case ISA_LEAD_RETURN:
		if (jump_at(search, vaddr))
			return refuse(search, "it returns to an address that it pushed itself");
		return add_exit(search, vaddr, false, PATCH_WHEN_REACHED);
	case ISA_LEAD_ON:
	case ISA_LEAD_CALL:
	case ISA_LEAD_CALL_INDIRECT:
	case ISA_LEAD_TRAP:
	case ISA_LEAD_ADDRESS:
	case ISA_LEAD_NUMBER:
		break;
	}
	return 0;
}

/* Padding behind the last instruction runs on; a call that returns there would, but as the last one it is one that does
 * not return. */
static bool leads_into_padding(const struct search *search, uint64_t vaddr)
{
	const struct code_segment *segment = code_segment_of(search->code, vaddr);

	return segment && code_bit(segment->targets, vaddr - segment->start);
}

static bool goes_on(enum isa_lead lead)
{
	switch (lead) {
	case ISA_LEAD_CALL: /* at the very end it is one that does not return */
	case ISA_LEAD_CALL_INDIRECT:
	case ISA_LEAD_JUMP:
	case ISA_LEAD_JUMP_INDIRECT:
	case ISA_LEAD_RETURN:
	case ISA_LEAD_TRAP:
		return false;
	case ISA_LEAD_ON:
	case ISA_LEAD_BRANCH:
	case ISA_LEAD_ADDRESS:
	case ISA_LEAD_NUMBER:
		break;
	}
	return true;
}

/* Nobody writes code that is not led to behind these; behind a trap, or a call that does not return, compilers do. */
static bool is_end(enum isa_lead lead)
{
	return lead == ISA_LEAD_JUMP || lead == ISA_LEAD_JUMP_INDIRECT || lead == ISA_LEAD_RETURN;
}

/*
 * All exits of one part, in order. What follows an end must be led to: else it may be another function that is
 * described together with this one, as the entries of a linkage table are.
 */
static int search_part(struct search *search, const struct object_range *part)
{
	uint64_t at = part->start;
	uint64_t stop = part->start; /* behind the last instruction that does not go on */
	bool ended = false;
	size_t available;
	const uint8_t *bytes = object_code(search->code->object, at, &available);

	if (!bytes || available < part->end - part->start)
		return refuse(search, "its code is not in the file");
	while (at < part->end) {
		const uint8_t *here = bytes + (at - part->start);
		bool has_target = false;
		utap_addr target = 0;
		int length = isa_step(here, part->end - at, at, &has_target, &target);

		if (length <= 0)
			return refuse(search, "its code holds bytes that are no instruction this version knows");
		enum isa_lead lead = isa_lead(here, (unsigned)length, at, has_target, &(utap_addr) { 0 });

		if (ended && patch_code_is_target(search->code, at))
			ended = false;
		if (ended && search->all_led && !isa_is_padding(here, (size_t)length))
			return refuse(search,
				      "it holds code that nothing is known to lead to: another function, perhaps");
		int error = look_at(search, lead, at, target);

		if (error)
			return error;
		at += (uint64_t)length;
		if (!goes_on(lead))
			stop = at;
		ended = ended || is_end(lead);
	}
	if (stop == part->start || !isa_is_padding(bytes + (stop - part->start), part->end - stop))
		return refuse(search, "its code runs on into what follows it");
	for (at = stop; at < part->end; at++)
		if (leads_into_padding(search, at))
			return refuse(search, "its code runs on into what follows it");
	return 0;
}

/* Does a function begin inside the part? Its returns would be taken for ours. */
static bool holds_another(const struct patch_code *code, const struct object_range *part)
{
	for (size_t i = code_symbol_from(code, part->start + 1);
	     i < code->nsymbols && code->symbols[i].vaddr < part->end; i++)
		if (code->symbols[i].function)
			return true;
	for (uint64_t at = part->start + 1; at < part->end; at++)
		if (code_called(code, at) && patch_code_is_start(code, at))
			return true;
	return false;
}

static int check_part(struct search *search, size_t index)
{
	const struct patch_code *code = search->code;
	const struct object_range *part = &search->function->parts[index];
	size_t range = search->parts.ranges[index];
	struct code_crosses in = code_incoming(code, part);

	if ((range > 0 && code->ranges[range - 1].end > part->start) ||
	    (range + 1 < code->nranges && code->ranges[range + 1].start < part->end))
		return refuse(search, "frame description entries overlap there");
	if (holds_another(code, part))
		return refuse(search, "another function begins inside it, so a return there may not be its own");
	for (size_t i = 0; i < in.count; i++)
		if (in.first[i].to != search->function->parts[0].start &&
		    code_parts_at(code, &search->parts, in.first[i].from) == CODE_NO_RANGE)
			return refuse(search,
				      "another function jumps into its middle, so a return there may not be its own");
	return 0;
}

static int find_jumps(struct search *search)
{
	int error = code_jumps_find(search->code, &search->parts, &search->jumps, &search->njumps);

	search->all_led = true;
	for (size_t i = 0; i < search->njumps && !error; i++)
		search->all_led &= search->jumps[i].kind != CODE_JUMP_UNKNOWN;
	return error;
}

static int search_all(struct search *search)
{
	struct patch_function *function = search->function;
	int error = 0;

	for (size_t i = 0; i < search->parts.count; i++)
		function->parts[function->nparts++] = search->code->ranges[search->parts.ranges[i]];
	for (size_t i = 0; i < function->nparts && !error; i++)
		error = check_part(search, i);
	if (!error)
		error = find_jumps(search);
	for (size_t i = 0; i < function->nparts && !error; i++)
		error = search_part(search, &function->parts[i]);
	if (!error && search->stays_unclear && function->nparts > 2)
		error =
		    refuse(search, "its code is scattered over too many places for an indirect jump to be followed");
	if (!error)
		code_sort(function->exits, function->nexits, sizeof(*function->exits));
	return error;
}

int patch_function_find(const struct patch_code *code, uint64_t vaddr, struct patch_function *ret, const char **why)
{
	struct patch_function function = { 0 };
	struct search search = { .code = code, .function = &function };
	size_t range = code_range_of(code, vaddr);
	int error = 0;

	if (range == CODE_NO_RANGE)
		error = refuse(&search, "no frame description entry covers it, so its ways out are not known");
	else if (code->ranges[range].start != vaddr)
		error = refuse(&search, "it lies inside another function's frame description entry");
	else
		error = code_parts_find(code, range, &search.parts, &search.why);
	if (!error)
		error = search_all(&search);
	free(search.jumps);
	if (error) {
		patch_function_release(&function);
		if (error == -ENOTSUP)
			*why = search.why;
		return error;
	}
	*ret = function;
	return 0;
}

void patch_function_release(struct patch_function *function)
{
	free(function->exits);
	*function = (struct patch_function) { 0 };
}
