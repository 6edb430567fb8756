/* SPDX-License-Identifier: MIT */
/*
 * What flows where: which ranges make a function, and whether every way into its middle is known.
 *
 * Compilers move rarely run code of a function away from it; such a fragment has a range of its own. It is told from a
 * function by what leads to it: jumps only, all from one function. A fragment of which that cannot be said makes its
 * functions refused, never guessed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "patch/code_inside.h"

#define CLOSURE_MAX 32 /* ranges looked at for one function */
#define FUNCTION_ALIGN 16

static int by_target(const void *left, const void *right)
{
	const struct code_cross *a = left;
	const struct code_cross *b = right;

	return a->to < b->to ? -1 : a->to > b->to;
}

/* The jumps by target. */
static int incoming_make(const struct patch_code *code)
{
	struct code_cross *incoming;

	if (code->lazy->incoming)
		return 0;
	incoming = malloc((code->ncross + 1) * sizeof(*incoming));
	if (!incoming)
		return -ENOMEM;
	if (code->ncross) {
		memcpy(incoming, code->cross, code->ncross * sizeof(*incoming));
		qsort(incoming, code->ncross, sizeof(*incoming), by_target);
	}
	code->lazy->incoming = incoming;
	return 0;
}

struct code_crosses code_outgoing(const struct patch_code *code, const struct object_range *range)
{
	if (!code->ncross)
		return (struct code_crosses) { 0 };
	size_t first = range->start ? code_above(code->cross, code->ncross, sizeof(*code->cross), range->start - 1) : 0;
	size_t last = code_above(code->cross, code->ncross, sizeof(*code->cross), range->end - 1);

	return (struct code_crosses) { .first = code->cross + first, .count = last - first };
}

struct code_crosses code_incoming(const struct patch_code *code, const struct object_range *range)
{
	const uint8_t *targets = (const uint8_t *)code->lazy->incoming + offsetof(struct code_cross, to);
	size_t first = range->start ? code_above(targets, code->ncross, sizeof(*code->cross), range->start - 1) : 0;
	size_t last = code_above(targets, code->ncross, sizeof(*code->cross), range->end - 1);

	return (struct code_crosses) { .first = code->lazy->incoming + first, .count = last - first };
}

/* NAME.cold, NAME.cold.N */
static bool is_cold_name(const char *name)
{
	const char *cold = NULL;

	for (const char *at = strstr(name, ".cold"); at; at = strstr(at + 1, ".cold"))
		cold = at;
	if (!cold)
		return false;
	cold += strlen(".cold");
	return *cold == '\0' || (*cold == '.' && strspn(cold + 1, "0123456789") == strlen(cold + 1));
}

enum naming { UNNAMED, NAMED_COLD, NAMED };

/* The function symbols of one place; object_symbols() sorts them by it. */
static enum naming naming_of(const struct patch_code *code, uint64_t vaddr)
{
	enum naming naming = UNNAMED;

	for (size_t i = code_symbol_from(code, vaddr); i < code->nsymbols && code->symbols[i].vaddr == vaddr; i++) {
		if (!code->symbols[i].function)
			continue;
		if (!is_cold_name(code->symbols[i].name))
			return NAMED;
		naming = NAMED_COLD;
	}
	return naming;
}

static bool jumps_indirectly(const struct patch_code *code, const struct object_range *range)
{
	size_t at = range->start ? code_above(code->indirect, code->nindirect, sizeof(uint64_t), range->start - 1) : 0;

	return at < code->nindirect && code->indirect[at] < range->end;
}

/*
 * Where the linker left no relocations, entries of jump tables look like pointers, also the one to the start of a
 * fragment. A function does not jump into the middle of another one, but a fragment does, into the function with the
 * table; and compilers align functions only.
 */
static bool is_fragment_in_table(const struct patch_code *code, size_t range)
{
	struct code_crosses out = code_outgoing(code, &code->ranges[range]);

	if (object_is_pie(code->object) || code->ranges[range].start % FUNCTION_ALIGN == 0)
		return false;
	for (size_t i = 0; i < out.count; i++) {
		size_t to = code_range_of(code, out.first[i].to);

		if (to != CODE_NO_RANGE && code->ranges[to].start != out.first[i].to &&
		    code->ranges[to].start % FUNCTION_ALIGN == 0 && jumps_indirectly(code, &code->ranges[to]))
			return true;
	}
	return false;
}

bool code_is_own(const struct patch_code *code, size_t range)
{
	uint64_t start = code->ranges[range].start;
	enum naming naming = naming_of(code, start);

	return naming == NAMED || code_called(code, start) ||
	       (naming == UNNAMED && code_pointed(code, start) && !is_fragment_in_table(code, range));
}

static bool has(const size_t *ranges, size_t count, size_t range)
{
	for (size_t i = 0; i < count; i++)
		if (ranges[i] == range)
			return true;
	return false;
}

/*
 * The parts of a function in the making. Excluded are those that are as good as functions: entered at their start only,
 * and jumping to starts only, so that a jump there is a tail call.
 */
struct closure {
	const struct patch_code *code;
	size_t ranges[CLOSURE_MAX];
	size_t count;
	size_t excluded[CLOSURE_MAX];
	size_t nexcluded;
};

static int closure_add(struct closure *closure, uint64_t vaddr)
{
	size_t range = code_range_of(closure->code, vaddr);

	if (range == CODE_NO_RANGE || has(closure->ranges, closure->count, range) ||
	    has(closure->excluded, closure->nexcluded, range) || code_is_own(closure->code, range) ||
	    code_is_stub(closure->code, vaddr))
		return 0;
	if (closure->count == CLOSURE_MAX)
		return -ENOTSUP;
	closure->ranges[closure->count++] = range;
	return 0;
}

/* All fragments that the first range leads to. */
static int closure_fill(struct closure *closure)
{
	int error = 0;

	closure->count = 1;
	for (size_t i = 0; i < closure->count && !error; i++) {
		struct code_crosses out = code_outgoing(closure->code, &closure->code->ranges[closure->ranges[i]]);

		for (size_t j = 0; j < out.count && !error; j++)
			error = closure_add(closure, out.first[j].to);
	}
	return error;
}

static bool leads_to_start(const struct patch_code *code, const struct code_cross *cross)
{
	size_t range = code_range_of(code, cross->to);

	return range == CODE_NO_RANGE || code->ranges[range].start == cross->to || code_is_stub(code, cross->to);
}

/*
 * Is a shared member, with the fragments that it leads to, as good as a function: entered at its start only, and
 * leaving to starts only?
 */
static bool is_like_function(const struct closure *of, size_t range)
{
	struct closure closure = *of;
	const struct patch_code *code = of->code;

	if (code->lazy->like_functions[range])
		return true;
	closure.ranges[0] = range;
	if (closure_fill(&closure))
		return false;
	for (size_t i = 0; i < closure.count; i++) {
		struct code_crosses in = code_incoming(code, &code->ranges[closure.ranges[i]]);
		struct code_crosses out = code_outgoing(code, &code->ranges[closure.ranges[i]]);

		for (size_t j = 0; j < in.count; j++)
			if (in.first[j].to != code->ranges[range].start &&
			    !has(closure.ranges, closure.count, code_range_of(code, in.first[j].from)))
				return false;
		for (size_t j = 0; j < out.count; j++)
			if (!leads_to_start(code, &out.first[j]) &&
			    !has(closure.ranges, closure.count, code_range_of(code, out.first[j].to)))
				return false;
	}
	code->lazy->like_functions[range] = true;
	return true;
}

/* Do others jump to this member? */
static bool is_shared(const struct closure *closure, size_t range)
{
	struct code_crosses in = code_incoming(closure->code, &closure->code->ranges[range]);

	for (size_t i = 0; i < in.count; i++)
		if (!has(closure->ranges, closure->count, code_range_of(closure->code, in.first[i].from)))
			return true;
	return false;
}

enum fit { FITS, MISFITS, MISFITS_FOR_GOOD };

/* Exclude one member that cannot stay: one that others jump to; when there are too many, one that need not be a part.
 */
static enum fit closure_exclude(struct closure *closure, const char **why)
{
	bool many = closure->count > PATCH_PARTS;
	enum fit fit = many ? MISFITS_FOR_GOOD : FITS;

	*why = "its code is scattered over too many places";
	for (size_t i = closure->count - 1; i > 0; i--) {
		bool shared = is_shared(closure, closure->ranges[i]);

		if (!shared && !many)
			continue;
		if (closure->nexcluded < CLOSURE_MAX && is_like_function(closure, closure->ranges[i])) {
			closure->excluded[closure->nexcluded++] = closure->ranges[i];
			return MISFITS;
		}
		if (shared) {
			*why = "two functions share a fragment of code";
			fit = MISFITS_FOR_GOOD;
		}
	}
	return fit;
}

int code_parts_find(const struct patch_code *code, size_t range, struct code_parts *ret, const char **why)
{
	struct closure closure = { .code = code, .ranges = { range } };
	enum fit fit;

	if (incoming_make(code))
		return -ENOMEM;
	do {
		if (closure_fill(&closure)) {
			*why = "its code is scattered over too many places";
			return -ENOTSUP;
		}
		fit = closure_exclude(&closure, why);
	} while (fit == MISFITS);
	if (fit != FITS)
		return -ENOTSUP;
	*ret = (struct code_parts) { .count = closure.count };
	memcpy(ret->ranges, closure.ranges, closure.count * sizeof(closure.ranges[0]));
	return 0;
}

size_t code_parts_at(const struct patch_code *code, const struct code_parts *parts, uint64_t vaddr)
{
	for (size_t i = 0; i < parts->count; i++)
		if (vaddr >= code->ranges[parts->ranges[i]].start && vaddr < code->ranges[parts->ranges[i]].end)
			return i;
	return CODE_NO_RANGE;
}

/* A function that jumps lead from to @range, fragments in between; @range itself when there is none. code_parts_find()
 * then says more. */
static size_t root_of(const struct patch_code *code, size_t range)
{
	size_t ranges[CLOSURE_MAX] = { range };
	size_t count = 1;

	for (size_t i = 0; i < count; i++) {
		if (code_is_own(code, ranges[i]))
			return ranges[i];
		struct code_crosses in = code_incoming(code, &code->ranges[ranges[i]]);

		for (size_t j = 0; j < in.count && count < CLOSURE_MAX; j++) {
			size_t from = code_range_of(code, in.first[j].from);

			if (from != CODE_NO_RANGE && !has(ranges, count, from))
				ranges[count++] = from;
		}
	}
	return range;
}

/* A jump to code that jumps on to where a register points is an indirect jump of this function. */
static bool uses_thunk(const struct patch_code *code, const struct object_range *range)
{
	struct code_crosses out = code_outgoing(code, range);

	for (size_t i = 0; i < out.count; i++)
		if (code_is_thunk(code, out.first[i].to))
			return true;
	return false;
}

/*
 * Does code that counts as another function jump into the middle of this one, and jump indirectly too? Then it may be
 * one function after all, and a table of one lead into the other.
 */
static bool is_entangled(const struct patch_code *code, const struct code_parts *parts, size_t part)
{
	const struct object_range *range = &code->ranges[parts->ranges[part]];
	struct code_crosses in = code_incoming(code, range);

	for (size_t i = 0; i < in.count; i++) {
		size_t from = code_range_of(code, in.first[i].from);

		if (in.first[i].to != range->start && from != CODE_NO_RANGE &&
		    !has(parts->ranges, parts->count, from) && jumps_indirectly(code, &code->ranges[from]))
			return true;
	}
	return false;
}

/* Are all indirect jumps of the parts known, those to places in their function marked? */
static bool parts_flow_known(const struct patch_code *code, const struct code_parts *parts)
{
	_cleanup_free_ struct code_jump *jumps = NULL;
	size_t count;
	bool known = true;

	if (code_jumps_find(code, parts, &jumps, &count))
		return false;
	for (size_t i = 0; i < count; i++)
		known &= jumps[i].kind != CODE_JUMP_UNKNOWN;
	for (size_t i = 0; i < parts->count && known; i++)
		known = !uses_thunk(code, &code->ranges[parts->ranges[i]]) && !is_entangled(code, parts, i);
	return known;
}

static enum code_flow flow_find(const struct patch_code *code, size_t range)
{
	struct code_parts parts;
	const char *why;
	enum code_flow flow;
	size_t root = root_of(code, range);

	/* A fragment that nothing known leads to is reached in a way that is not known. */
	if (!code_is_own(code, root) || code_parts_find(code, root, &parts, &why))
		return CODE_FLOW_UNKNOWN;
	if (!has(parts.ranges, parts.count, range)) {
		/* As good as a function: its own jumps are all that can lead into its middle. */
		if (!is_like_function(&(struct closure) { .code = code }, range))
			return CODE_FLOW_UNKNOWN;
		parts = (struct code_parts) { .ranges = { range }, .count = 1 };
	}
	flow = parts_flow_known(code, &parts) ? CODE_FLOW_KNOWN : CODE_FLOW_UNKNOWN;
	for (size_t i = 0; i < parts.count; i++)
		code->lazy->states[parts.ranges[i]] = flow;
	return flow;
}

bool patch_code_flow_known(const struct patch_code *code, uint64_t vaddr)
{
	size_t range = code_range_of(code, vaddr);

	if (range == CODE_NO_RANGE || incoming_make(code))
		return false;
	/* Go's scheduler interrupts goroutines anywhere, keeps the address in memory of its own, and comes back to it
	 * later. */
	if (code->is_go)
		return false;
	if (code->lazy->states[range] == CODE_FLOW_UNASKED)
		code->lazy->states[range] = flow_find(code, range);
	return code->lazy->states[range] == CODE_FLOW_KNOWN;
}
