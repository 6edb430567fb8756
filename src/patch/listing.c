/* SPDX-License-Identifier: MIT */
/*
 * The instructions of one function, and where the value of a register comes from: followed backwards over all ways that
 * lead to a place.
 *
 * What is not understood is UNKNOWN. The ways through indirect jumps are those found so far; tables.c asks again until
 * nothing new is found, and only that last answer is used. A jump that was judged unknown leads everywhere.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "isa/flow.h"
#include "patch/code_inside.h"

#define LISTING_ASKED (1u << 31)
#define DEPTH_MAX 6        /* of values that depend on values */
#define DEPTH_LOAD 2       /* beyond it only constants are of use */
#define VISITS_MAX 2000000 /* of instructions, for all questions about a function */
#define BOUND_STEPS 64

static int list_part(struct code_listing *listing, const struct object_range *range)
{
	size_t available;
	uint64_t at = range->start;
	const uint8_t *bytes = object_code(listing->code->object, at, &available);

	if (!bytes || available < range->end - range->start)
		return 0;
	while (at < range->end) {
		const uint8_t *here = bytes + (at - range->start);
		struct code_line line = { .vaddr = at };
		bool has_target = false;
		utap_addr ignored;
		int length = isa_step(here, range->end - at, at, &has_target, &line.target);

		if (length <= 0)
			break;
		line.length = (uint8_t)length;
		bool constant_leads = at != range->start && code_called(listing->code, at);

		line.pointed = constant_leads || code_pointed(listing->code, at);
		listing->takes_own_address |= constant_leads;
		line.lead = (uint8_t)isa_lead(here, (unsigned)length, at, has_target, &ignored);
		if (base_grow(&listing->lines, &listing->cap, listing->count + 1, sizeof(line)))
			return -ENOMEM;
		listing->lines[listing->count++] = line;
		at += (uint64_t)length;
	}
	return 0;
}

static bool is_branch(const struct code_line *line)
{
	return line->lead == ISA_LEAD_JUMP || line->lead == ISA_LEAD_BRANCH;
}

static int list_branches(struct code_listing *listing)
{
	for (size_t i = 0; i < listing->count; i++) {
		if (!is_branch(&listing->lines[i]))
			continue;
		if (base_grow(&listing->branches, &listing->branches_cap, listing->nbranches + 1,
			      sizeof(*listing->branches)))
			return -ENOMEM;
		listing->branches[listing->nbranches++] = (struct code_branch) { listing->lines[i].target, i };
	}
	code_sort(listing->branches, listing->nbranches, sizeof(*listing->branches));
	return 0;
}

int code_listing_init(struct code_listing *listing, const struct patch_code *code, const struct code_parts *parts,
		      struct code_jump *jumps, size_t njumps)
{
	int error = 0;

	*listing = (struct code_listing) { .code = code, .parts = parts, .jumps = jumps, .njumps = njumps };
	for (size_t i = 0; i < parts->count && !error; i++)
		error = list_part(listing, &code->ranges[parts->ranges[i]]);
	if (!error)
		code_sort(listing->lines, listing->count, sizeof(*listing->lines));
	if (!error)
		error = list_branches(listing);
	listing->written = calloc(listing->count + 1, sizeof(*listing->written));
	return error || listing->written ? error : -ENOMEM;
}

void code_listing_deinit(struct code_listing *listing)
{
	free(listing->lines);
	free(listing->branches);
	free(listing->written);
}

size_t code_listing_at(const struct code_listing *listing, uint64_t vaddr)
{
	size_t above = code_above(listing->lines, listing->count, sizeof(*listing->lines), vaddr);

	return above && listing->lines[above - 1].vaddr == vaddr ? above - 1 : listing->count;
}

static bool effect_of(const struct code_listing *listing, size_t line, struct isa_effect *effect)
{
	size_t available;
	const uint8_t *bytes = object_code(listing->code->object, listing->lines[line].vaddr, &available);

	return bytes && !isa_effect(bytes, available, listing->lines[line].vaddr, effect);
}

static bool writes(struct code_listing *listing, size_t line, uint8_t reg)
{
	struct isa_effect effect;

	if (!(listing->written[line] & LISTING_ASKED))
		listing->written[line] = LISTING_ASKED | (effect_of(listing, line, &effect) ? effect.written : 0xffff);
	return listing->written[line] >> reg & 1;
}

/* ---- values ---- */

static const struct code_value unknown = { .kind = CODE_VALUE_UNKNOWN };

static bool is_pointer(enum code_value_kind kind)
{
	return kind == CODE_VALUE_CONSTANT || kind == CODE_VALUE_POINTER || kind == CODE_VALUE_ENTRY;
}

/* What is true of both. */
static struct code_value meet(struct code_value a, struct code_value b)
{
	if (a.kind == CODE_VALUE_NONE)
		return b;
	if (b.kind == CODE_VALUE_NONE)
		return a;
	if (a.kind == b.kind && a.number == b.number && a.base == b.base && a.is_signed == b.is_signed) {
		if (a.line != b.line)
			a.index = ISA_NO_REGISTER;
		return a;
	}
	if (is_pointer(a.kind) && is_pointer(b.kind))
		return (struct code_value) { .kind = CODE_VALUE_POINTER };
	return unknown;
}

static struct code_value constant(uint64_t number)
{
	return (struct code_value) { .kind = CODE_VALUE_CONSTANT, .number = number };
}

static struct code_value sum(struct code_value a, struct code_value b)
{
	if (b.kind == CODE_VALUE_CONSTANT) {
		struct code_value swap = a;

		a = b;
		b = swap;
	}
	if (a.kind == CODE_VALUE_NONE || b.kind == CODE_VALUE_NONE)
		return (struct code_value) { .kind = CODE_VALUE_NONE };
	if (a.kind != CODE_VALUE_CONSTANT)
		return unknown;
	if (b.kind == CODE_VALUE_CONSTANT)
		return constant(a.number + b.number);
	if (b.kind != CODE_VALUE_OFFSET)
		return unknown;
	b.kind = CODE_VALUE_PLACE;
	b.base = a.number;
	return b;
}

/* A question in the asking: which places and registers were looked at, which are left. */
struct visit {
	size_t line;
	uint8_t reg;
};

struct trace {
	struct code_listing *listing;
	uint16_t *seen; /* a bit a register, a line */
	struct visit *left;
	size_t nleft, cap;
	uint16_t all_calls; /* a bit a register: pushed already */
	uint16_t all_jumps[CODE_JUMP_KINDS];
	struct code_value value;
	bool mixed; /* some way mixes it with a secret */
	unsigned depth;
};

/* Values beyond this depth are asked only whether they are addresses in the stack. */
#define DEPTH_STACK 100

static struct code_value value_before(struct code_listing *listing, size_t line, uint8_t reg, unsigned depth);

static void trace_push(struct trace *trace, size_t line, uint8_t reg)
{
	if (line >= trace->listing->count) { /* a jump that the listing does not reach: nothing is known */
		trace->value = unknown;
		return;
	}
	if (trace->seen[line] >> reg & 1)
		return;
	trace->seen[line] |= (uint16_t)(1u << reg);
	if (trace->listing->visits++ > VISITS_MAX ||
	    base_grow(&trace->left, &trace->cap, trace->nleft + 1, sizeof(*trace->left))) {
		trace->value = unknown;
		return;
	}
	trace->left[trace->nleft++] = (struct visit) { line, reg };
}

static void trace_push_calls(struct trace *trace, uint8_t reg)
{
	if (trace->all_calls >> reg & 1)
		return;
	trace->all_calls |= (uint16_t)(1u << reg);
	for (size_t i = 0; i < trace->listing->count; i++)
		if (trace->listing->lines[i].lead == ISA_LEAD_CALL ||
		    trace->listing->lines[i].lead == ISA_LEAD_CALL_INDIRECT)
			trace_push(trace, i, reg);
}

static void trace_push_jumps(struct trace *trace, uint8_t reg, enum code_jump_kind kind)
{
	if (trace->all_jumps[kind] >> reg & 1)
		return;
	trace->all_jumps[kind] |= (uint16_t)(1u << reg);
	for (size_t i = 0; i < trace->listing->njumps; i++)
		if (trace->listing->jumps[i].kind == kind)
			trace_push(trace, code_listing_at(trace->listing, trace->listing->jumps[i].vaddr), reg);
}

static bool falls_into_next(const struct code_listing *listing, size_t line)
{
	const struct code_line *l = &listing->lines[line];

	if (line + 1 >= listing->count || l->vaddr + l->length != l[1].vaddr)
		return false;
	return l->lead != ISA_LEAD_JUMP && l->lead != ISA_LEAD_JUMP_INDIRECT && l->lead != ISA_LEAD_RETURN &&
	       l->lead != ISA_LEAD_TRAP;
}

/* All instructions that may run just before @line: the value of @reg after them is asked for. */
static void trace_before(struct trace *trace, size_t line, uint8_t reg)
{
	struct code_listing *listing = trace->listing;
	uint64_t vaddr = listing->lines[line].vaddr;
	bool entry = vaddr == listing->code->ranges[listing->parts->ranges[0]].start;
	bool pointed = listing->lines[line].pointed && !entry;
	uint16_t tabled = listing->lines[line].tabled;
	size_t at =
	    vaddr ? code_above(listing->branches, listing->nbranches, sizeof(*listing->branches), vaddr - 1) : 0;

	if (line && falls_into_next(listing, line - 1))
		trace_push(trace, line - 1, reg);
	for (; at < listing->nbranches && listing->branches[at].target == vaddr; at++)
		trace_push(trace, listing->branches[at].line, reg);
	if (entry && trace->depth != DEPTH_STACK)
		trace->value = meet(trace->value, (struct code_value) { .kind = CODE_VALUE_POINTER });
	if (pointed)
		trace_push_jumps(trace, reg, CODE_JUMP_POINTER);
	if (pointed && !tabled) /* perhaps a landing pad, reached from a call */
		trace_push_calls(trace, reg);
	if (tabled == LINE_TABLED_OFTEN)
		trace_push_jumps(trace, reg, CODE_JUMP_TABLE);
	else if (tabled)
		trace_push(trace, code_listing_at(listing, listing->jumps[tabled - 1].vaddr), reg);
	trace_push_jumps(trace, reg, CODE_JUMP_UNKNOWN);
}

static struct code_value narrow(struct code_value value, const struct isa_effect *effect)
{
	if (value.kind == CODE_VALUE_NONE)
		return value;
	if (value.kind == CODE_VALUE_OFFSET && effect->size == 4) {
		value.is_signed = effect->is_signed;
		return value;
	}
	if (value.kind == CODE_VALUE_CONSTANT && effect->size == 4)
		return constant(effect->is_signed ? (uint64_t)(int64_t)(int32_t)value.number : (uint32_t)value.number);
	return unknown;
}

static bool is_stack(struct trace *trace, size_t line, uint8_t reg)
{
	return reg == ISA_STACK || value_before(trace->listing, line, reg, DEPTH_STACK).kind == CODE_VALUE_STACK;
}

static struct code_value value_of_address(struct trace *trace, size_t line, const struct isa_memory *memory)
{
	struct code_value base = constant(0);
	struct code_value index = constant(0);

	if (memory->base == ISA_STACK)
		return (struct code_value) { .kind = CODE_VALUE_STACK };
	if (trace->depth == DEPTH_STACK)
		return unknown;
	if (memory->base != ISA_NO_REGISTER)
		base = value_before(trace->listing, line, memory->base, trace->depth + 1);
	if (memory->index == ISA_NO_REGISTER)
		return sum(base, constant(memory->disp));
	if (memory->scale != 1 || base.kind == CODE_VALUE_UNKNOWN)
		return unknown;
	if (base.kind == CODE_VALUE_NONE)
		return base;
	index = value_before(trace->listing, line, memory->index, trace->depth + 1);
	if (base.kind != CODE_VALUE_CONSTANT && memory->disp)
		return index.kind == CODE_VALUE_NONE ? index : unknown;
	return sum(base.kind == CODE_VALUE_CONSTANT ? constant(base.number + memory->disp) : base, index);
}

/*
 * The constant part of a table's address, and the register that is the index.
 *
 * Return: what kind of number the address is: CONSTANT when it has a constant part.
 */
static enum code_value_kind table_of(struct trace *trace, size_t line, const struct isa_memory *memory, uint64_t *table,
				     uint8_t *index)
{
	struct code_value value = constant(0);

	*index = memory->index;
	if (memory->base != ISA_NO_REGISTER)
		value = value_before(trace->listing, line, memory->base, trace->depth + 1);
	if (value.kind != CODE_VALUE_CONSTANT && value.kind != CODE_VALUE_NONE && memory->index != ISA_NO_REGISTER &&
	    memory->scale == 1) {
		*index = memory->base;
		value = value_before(trace->listing, line, memory->index, trace->depth + 1);
	}
	*table = memory->disp + value.number;
	return value.kind;
}

/* A whole pointer, wherever it is read from, or the distance in a table. */
static struct code_value value_of_load(struct trace *trace, size_t line, const struct isa_memory *memory, unsigned size,
				       bool is_signed)
{
	struct code_value value = { .kind = CODE_VALUE_POINTER, .line = line, .is_signed = is_signed };
	enum code_value_kind table;

	if ((size != 4 && size != 8) || trace->depth > (size == 4 ? DEPTH_LOAD : 0))
		return unknown;
	if (memory->base != ISA_NO_REGISTER && is_stack(trace, line, memory->base))
		return unknown;
	table = table_of(trace, line, memory, &value.number, &value.index);
	if (table == CODE_VALUE_NONE)
		return (struct code_value) { .kind = CODE_VALUE_NONE };
	if (size == 8 && table == CODE_VALUE_CONSTANT && memory->index != ISA_NO_REGISTER && memory->scale == 8)
		value.kind = CODE_VALUE_ENTRY;
	else if (size == 8)
		return (struct code_value) { .kind = CODE_VALUE_POINTER };
	else if (table == CODE_VALUE_CONSTANT && value.index != ISA_NO_REGISTER)
		value.kind = CODE_VALUE_OFFSET;
	else
		return unknown;
	return value;
}

/* The value that @line gives a register, for effects that do not just hand on another one's. */
static struct code_value value_made(struct trace *trace, size_t line, const struct isa_effect *effect, uint8_t reg)
{
	struct code_listing *listing = trace->listing;

	if (effect->kind == ISA_EFFECT_CALL)
		return reg == 0 ? (struct code_value) { .kind = CODE_VALUE_POINTER } : unknown;
	if (effect->to != reg)
		return unknown;
	switch (effect->kind) {
	case ISA_EFFECT_NUMBER:
		return constant(effect->number);
	case ISA_EFFECT_ADDRESS:
		return value_of_address(trace, line, &effect->memory);
	case ISA_EFFECT_LOAD:
		return value_of_load(trace, line, &effect->memory, effect->size, effect->is_signed);
	case ISA_EFFECT_COPY:
		if (effect->from == ISA_STACK && effect->size == 8)
			return (struct code_value) { .kind = CODE_VALUE_STACK };
		if (trace->depth > DEPTH_LOAD)
			return unknown;
		return narrow(value_before(listing, line, effect->from, trace->depth + 1), effect);
	case ISA_EFFECT_ADD:
		if (trace->depth > DEPTH_LOAD)
			return unknown;
		return sum(value_before(listing, line, effect->to, trace->depth + 1),
			   value_before(listing, line, effect->from, trace->depth + 1));
	case ISA_EFFECT_OTHER:
	case ISA_EFFECT_MIX:
	case ISA_EFFECT_CHOOSE:
	case ISA_EFFECT_CALL:
	case ISA_EFFECT_COMPARE:
	case ISA_EFFECT_BOUND:
	case ISA_EFFECT_JUMP:
		break;
	}
	return unknown;
}

static void trace_visit(struct trace *trace, struct visit visit)
{
	struct isa_effect effect;

	if (!writes(trace->listing, visit.line, visit.reg)) {
		trace_before(trace, visit.line, visit.reg);
	} else if (!effect_of(trace->listing, visit.line, &effect)) {
		trace->value = unknown;
	} else if (effect.kind == ISA_EFFECT_COPY && effect.size == 8 && effect.from != ISA_STACK &&
		   effect.to == visit.reg) {
		trace_before(trace, visit.line, effect.from);
	} else if (effect.kind == ISA_EFFECT_MIX && effect.to == visit.reg) {
		trace->mixed = true;
		trace_before(trace, visit.line, visit.reg);
	} else if (effect.kind == ISA_EFFECT_CHOOSE && effect.to == visit.reg) {
		trace_before(trace, visit.line, effect.from);
		trace_before(trace, visit.line, visit.reg);
	} else {
		struct code_value value = value_made(trace, visit.line, &effect, visit.reg);

		if (trace->depth != DEPTH_STACK)
			trace->value = meet(trace->value, value);
		else if (value.kind == CODE_VALUE_STACK)
			trace->value = value;
	}
}

/* The value of @reg when @line is about to run. */
static struct code_value value_before(struct code_listing *listing, size_t line, uint8_t reg, unsigned depth)
{
	struct trace trace = { .listing = listing, .depth = depth };

	if ((depth > DEPTH_MAX && depth != DEPTH_STACK) || reg >= ISA_GENERAL || reg == ISA_STACK)
		return unknown;
	trace.seen = calloc(listing->count, sizeof(*trace.seen));
	if (!trace.seen)
		return unknown;
	trace_before(&trace, line, reg);
	while (trace.nleft && trace.value.kind != CODE_VALUE_UNKNOWN && trace.value.kind != CODE_VALUE_STACK)
		trace_visit(&trace, trace.left[--trace.nleft]);
	free(trace.seen);
	free(trace.left);
	/* A pointer that was hidden stays one made elsewhere; of other values nothing is known. */
	if (trace.mixed && trace.value.kind != CODE_VALUE_NONE)
		return trace.value.kind == CODE_VALUE_POINTER ? trace.value : unknown;
	return trace.value;
}

struct code_value code_listing_jump(struct code_listing *listing, size_t line)
{
	struct trace trace = { .listing = listing };
	struct isa_effect effect;

	if (line >= listing->count || !effect_of(listing, line, &effect) || effect.kind != ISA_EFFECT_JUMP)
		return unknown;
	if (effect.to != ISA_NO_REGISTER)
		return value_before(listing, line, effect.to, 0);
	return value_of_load(&trace, line, &effect.memory, 8, false);
}

/* ---- bounds ---- */

/* What is looked for on the way back from a table: a comparison of index, the branch behind it once that was seen. */
struct limit {
	uint8_t index;
	uint8_t width;   /* bytes of it that the comparison must look at, the rest being 0; 32-bit operations clear the
			    upper half */
	bool branched;   /* a branch that lets only small numbers by was passed; what sets its flags comes next */
	bool with_equal; /* it lets by the number compared with, too */
};

static bool bound_before(struct code_listing *listing, size_t line, struct limit limit, int *steps, uint64_t *bound);

/* Does going from @line to @to by a BOUND mean that the number was small? */
static bool passes_small(const struct code_listing *listing, size_t line, size_t to, const struct isa_effect *effect)
{
	return effect->takes_small == (listing->lines[line].target == listing->lines[to].vaddr);
}

/* @line runs just before @after: is the index bounded at its end? */
static bool bound_after(struct code_listing *listing, size_t line, size_t after, struct limit limit, int *steps,
			uint64_t *bound)
{
	struct isa_effect effect;

	if ((*steps)-- <= 0 || !effect_of(listing, line, &effect))
		return false;
	if (limit.branched && effect.kind == ISA_EFFECT_COMPARE && effect.to == limit.index &&
	    effect.size >= limit.width && effect.number >= !limit.with_equal) {
		uint64_t most = effect.number - !limit.with_equal;

		*bound = most > *bound ? most : *bound;
		return true;
	}
	if (effect.sets_flags)
		limit.branched = false;
	if (effect.kind == ISA_EFFECT_BOUND && passes_small(listing, line, after, &effect)) {
		limit.branched = true;
		limit.with_equal = effect.takes_equal;
	} else if (effect.written >> limit.index & 1) {
		if (effect.kind != ISA_EFFECT_COPY || effect.to != limit.index || effect.is_signed)
			return false;
		limit.index = effect.from;
		limit.width = effect.size < limit.width ? effect.size : limit.width;
	}
	return bound_before(listing, line, limit, steps, bound);
}

/* Is the index bounded on every way to @line? @bound: the largest so far */
static bool bound_before(struct code_listing *listing, size_t line, struct limit limit, int *steps, uint64_t *bound)
{
	uint64_t vaddr = listing->lines[line].vaddr;
	bool falls = line && falls_into_next(listing, line - 1);
	size_t first =
	    vaddr ? code_above(listing->branches, listing->nbranches, sizeof(*listing->branches), vaddr - 1) : 0;
	size_t i = first;

	if (listing->lines[line].tabled || listing->lines[line].pointed ||
	    vaddr == listing->code->ranges[listing->parts->ranges[0]].start)
		return false;
	if (falls && !bound_after(listing, line - 1, line, limit, steps, bound))
		return false;
	for (; i < listing->nbranches && listing->branches[i].target == vaddr; i++)
		if (!bound_after(listing, listing->branches[i].line, line, limit, steps, bound))
			return false;
	return falls || i > first;
}

bool code_listing_bound(struct code_listing *listing, size_t line, uint8_t index, uint64_t *bound)
{
	const struct limit limit = { .index = index, .width = 4 };
	int steps = BOUND_STEPS;
	uint64_t most = 0;

	if (index >= ISA_GENERAL)
		return false;
	for (size_t i = 0; i < listing->njumps; i++)
		if (listing->jumps[i].kind == CODE_JUMP_UNKNOWN)
			return false; /* it may lead behind the comparison */
	if (!bound_before(listing, line, limit, &steps, &most))
		return false;
	*bound = most;
	return true;
}
