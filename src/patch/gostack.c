/* SPDX-License-Identifier: MIT */
/*
 * How many bytes of a goroutine's stack are left at each place. A probe's program runs on that stack and does not look whether it reaches.
 *
 * Go's rule: the limit that functions compare with lies GUARD bytes above the end of the stack. A function that looks has at least GUARD
 * bytes, less what it took since, more what it added before it compared. Its callees that do not look ("nosplit") have what it leaves them,
 * and so on; Go's linker proves that each such chain fits, but not how much is left. So here: each function's slack is what is left for certain at
 * its first instruction. It begins with what a function that looks leaves, and is lowered along calls and jumps out of functions that
 * do not look until nothing changes.
 *
 * Invariants: functions are sorted; a slack is a lower bound and at least 0, and 0 where nothing is known: after the stack pointer was moved
 * in a way that the table of depths does not tell, in functions that the runtime lets a signal call, and everywhere when the table's names are
 * not Go's.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "isa/flow.h"
#include "patch/gostack.h"

#define SMALL 128 /* frames up to this need not be added before the comparison (StackSmall) */
#define PUSHED 8  /* a return address */

#define ROUNDS 1000
#define STEP 64 /* of what is told to people, rounded down */
#define LEFT_MOST 1024 /* more is told as this */

#define NEVER UINT64_MAX

struct gostack_function {
	struct object_go_function code;
	struct go_check check; /* .body is NEVER: it does not look */
	uint64_t untold;       /* from here on the stack pointer is not where the table says */
	int32_t slack;
	bool is_cut;    /* what it calls runs on another stack */
	bool calls_out; /* what it calls through pointers is not Go's, or does */
	bool calls_pointers;
};

/** A call or a jump: what is left for @to is what is left for @from less @cost. */
struct gostack_edge {
	uint32_t from, to;
	int32_t cost;
};

struct gostack {
	struct object *object;
	struct gostack_function *functions;
	size_t count;
	struct gostack_edge *edges;
	size_t edge_count, edge_cap;
	int32_t guard;
	bool has_names, is_known;
	char *sentences[LEFT_MOST / STEP]; /* by what is left; made when first wanted */
};

#define TO_ANY UINT32_MAX /* through a pointer */

/* What names say. All but the runtime's own are checked by what they do. */
enum gostack_name {
	NAME_OTHER,
	NAME_MORESTACK, /* called with 8 bytes left, goes to another stack */
	NAME_INJECTED,  /* a signal, or a debugger, makes it called from anywhere */
	NAME_START,     /* runs on the stack that the kernel or a library made, before all goroutines */
	NAME_OUT,       /* calls libraries, the vDSO and what starts on a stack of the system through pointers */
};

static enum gostack_name name_of(const char *name)
{
	static const struct {
		const char *name;
		enum gostack_name kind;
	} known[] = {
		{ "morestack", NAME_MORESTACK },    { "morestack_noctxt", NAME_MORESTACK }, { "morestackc", NAME_MORESTACK },
		{ "asyncPreempt", NAME_INJECTED },  { "sigpanic", NAME_INJECTED },	    { "sigpanic0", NAME_INJECTED },
		{ "debugCallV1", NAME_INJECTED },   { "debugCallV2", NAME_INJECTED },	    { "rt0_go", NAME_START },
		{ "asmcgocall", NAME_OUT },	    { "asmcgocall_no_g", NAME_OUT },	    { "nanotime1", NAME_OUT },
		{ "walltime", NAME_OUT },	    { "sigfwd", NAME_OUT },		    { "callCgoSigaction", NAME_OUT },
		{ "callCgoMmap", NAME_OUT },	    { "callCgoMunmap", NAME_OUT },
		{ "systemstack", NAME_OUT },	    { "mcall", NAME_OUT },		    { "clone", NAME_OUT },
		{ "cgocallback", NAME_OUT },	    { "racecall", NAME_OUT },		    { "msancall", NAME_OUT },
		{ "asancall", NAME_OUT },	    { "write", NAME_OUT }, /* a hook of tests and telephones */
	};

	if (!name || strncmp(name, "runtime.", 8) != 0)
		return name && !strcmp(name, "time.now") ? NAME_OUT : NAME_OTHER;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (!strcmp(name + 8, known[i].name))
			return known[i].kind;
	return NAME_OTHER;
}

static size_t find(const struct gostack *stack, uint64_t vaddr)
{
	size_t low = 0;
	size_t high = stack->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (stack->functions[middle].code.start <= vaddr)
			low = middle + 1;
		else
			high = middle;
	}
	return low && vaddr < stack->functions[low - 1].code.end ? low - 1 : stack->count;
}

static bool is_morestack(const void *arg, uint64_t vaddr)
{
	const struct gostack *stack = arg;
	size_t i = find(stack, vaddr);

	return i < stack->count && stack->functions[i].code.start == vaddr && name_of(stack->functions[i].code.name) == NAME_MORESTACK;
}

/* How deep the function is at @vaddr; -1: not told. */
static int64_t depth_at(const struct object_go_function *function, uint64_t vaddr)
{
	struct object_go_depth depth = { 0 };

	while (object_go_depth_next(function, &depth))
		if (vaddr < depth.end)
			return depth.depth;
	return -1;
}

/* What is left at @vaddr, were @slack left at the entry. */
static int32_t left_at(const struct gostack *stack, const struct gostack_function *function, uint64_t vaddr, int32_t slack)
{
	int64_t depth = depth_at(&function->code, vaddr);
	int64_t left = slack;

	if (depth < 0 || vaddr >= function->untold)
		return 0;
	if (vaddr >= function->check.body && vaddr < function->check.grow && left < stack->guard + (int64_t)function->check.frame)
		left = stack->guard + (int64_t)function->check.frame;
	left -= depth;
	return left > 0 ? left < INT32_MAX ? (int32_t)left : INT32_MAX : 0;
}

static int edge_add(struct gostack *stack, size_t from, uint32_t to, int64_t cost)
{
	if (base_grow(&stack->edges, &stack->edge_cap, stack->edge_count + 1, sizeof(*stack->edges)))
		return -ENOMEM;
	stack->edges[stack->edge_count++] = (struct gostack_edge) { (uint32_t)from, to, cost < INT32_MAX ? (int32_t)cost : INT32_MAX };
	return 0;
}

/* ---- what a function calls ---- */

struct walk {
	struct gostack *stack;
	struct gostack_function *function;
	struct object_go_depth depth;
	bool told;    /* depth holds */
	bool on_other; /* stack, up to where something else leads to */
};

/* A call or jump at @at that leads to @to, with @pushed bytes more on the stack. */
static int lead_note(struct walk *walk, uint64_t at, uint64_t to, unsigned pushed)
{
	struct gostack *stack = walk->stack;
	struct gostack_function *function = walk->function;
	size_t index = find(stack, to);
	bool is_known = walk->told && at < function->untold;
	int64_t cost = is_known ? walk->depth.depth + pushed : INT32_MAX;

	if (index == stack->count || function->is_cut || walk->on_other || name_of(stack->functions[index].code.name) == NAME_MORESTACK)
		return 0;
	/* Into the middle: it is as deep as the table says there. */
	int64_t depth = to == stack->functions[index].code.start ? 0 : depth_at(&stack->functions[index].code, to);

	if (depth > 0 && is_known)
		cost -= depth;
	if (to != stack->functions[index].code.start)
		stack->functions[index].check.body = NEVER;
	return edge_add(stack, (size_t)(function - stack->functions), (uint32_t)index, depth < 0 ? INT32_MAX : cost);
}

static int pointer_note(struct walk *walk, uint64_t at, unsigned pushed)
{
	bool is_known = walk->told && at < walk->function->untold;

	if (walk->function->is_cut || walk->function->calls_out || walk->on_other)
		return 0;
	walk->function->calls_pointers = true;
	return edge_add(walk->stack, (size_t)(walk->function - walk->stack->functions), TO_ANY, is_known ? walk->depth.depth + pushed : INT32_MAX);
}

static int insn_note(struct walk *walk, const uint8_t *bytes, unsigned length, uint64_t at, bool has_target, uint64_t target)
{
	struct gostack_function *function = walk->function;
	enum isa_lead lead = isa_lead(bytes, length, at, has_target, &target);
	bool is_inside = target >= function->code.start && target < function->code.end;

	switch (lead) {
	case ISA_LEAD_CALL:
		return lead_note(walk, at, target, PUSHED);
	case ISA_LEAD_JUMP:
	case ISA_LEAD_BRANCH:
		if (lead == ISA_LEAD_JUMP && is_inside)
			walk->on_other = false;
		return is_inside ? 0 : lead_note(walk, at, target, 0);
	case ISA_LEAD_CALL_INDIRECT:
	case ISA_LEAD_JUMP_INDIRECT:
		return pointer_note(walk, at, lead == ISA_LEAD_CALL_INDIRECT ? PUSHED : 0);
	case ISA_LEAD_RETURN:
	case ISA_LEAD_TRAP:
		walk->on_other = false;
		return 0;
	case ISA_LEAD_ON:
	case ISA_LEAD_ADDRESS:
	case ISA_LEAD_NUMBER:
		break;
	}
	return 0;
}

/* Does the table of depths follow the instruction that ends at @next? */
static void move_note(struct walk *walk, const uint8_t *bytes, unsigned length, uint64_t at)
{
	int64_t change;
	enum go_move move = go_move(bytes, length, at, &change);
	int64_t before = walk->told ? walk->depth.depth : -1;
	int64_t after = at + length < walk->depth.end ? before : depth_at(&walk->function->code, at + length);

	if (move == GO_MOVE_STACK)
		walk->on_other = true;
	if (move == GO_MOVE_TOLD && (!change || after < 0 || after == before + change))
		return;
	if (at + length < walk->function->untold)
		walk->function->untold = at + length;
}

static int walk_function(struct gostack *stack, struct gostack_function *function)
{
	struct walk walk = { .stack = stack, .function = function, .told = true };
	uint64_t at = function->code.start;
	int error = 0;
	size_t available;

	while (at < function->code.end && !error) {
		const uint8_t *bytes = object_code(stack->object, at, &available);
		bool has_target = false;
		uint64_t target = 0;
		int length = bytes ? isa_step(bytes, available, at, &has_target, &target) : 0;

		while (at >= walk.depth.end && walk.told)
			walk.told = object_go_depth_next(&function->code, &walk.depth);
		if (length <= 0 || !walk.told)
			break; /* the padding behind it */
		move_note(&walk, bytes, (unsigned)length, at);
		error = insn_note(&walk, bytes, (unsigned)length, at, has_target, target);
		at += (uint64_t)length;
	}
	return error;
}

/* ---- all of them ---- */

/* Does it take more than it looked for? Assembly pushes. */
static bool takes_more(const struct gostack_function *function)
{
	struct object_go_depth depth = { 0 };

	while (object_go_depth_next(&function->code, &depth))
		if (depth.depth > (int64_t)function->check.frame + SMALL)
			return true;
	return false;
}

static int functions_read(struct gostack *stack)
{
	_cleanup_free_ struct object_go_function *codes = NULL;
	int error = object_go_functions(stack->object, &codes, &stack->count);

	if (error)
		return error;
	stack->functions = calloc(stack->count + 1, sizeof(*stack->functions));
	if (!stack->functions || stack->count >= TO_ANY)
		return -ENOMEM;
	for (size_t i = 0; i < stack->count; i++) {
		enum gostack_name name = name_of(codes[i].name);

		stack->functions[i] = (struct gostack_function) {
			.code = codes[i],
			.untold = NEVER,
			.check.body = NEVER,
			.slack = stack->guard - SMALL - PUSHED,
			.is_cut = name == NAME_MORESTACK || name == NAME_START,
			.calls_out = name == NAME_OUT,
		};
		if (name == NAME_MORESTACK || name == NAME_INJECTED)
			stack->functions[i].slack = 0;
		stack->has_names = stack->has_names || name == NAME_MORESTACK;
	}
	return 0;
}

static int calls_read(struct gostack *stack)
{
	int error = 0;

	for (size_t i = 0; i < stack->count; i++)
		if (!go_check_find(stack->object, &stack->functions[i].code, is_morestack, stack, &stack->functions[i].check))
			stack->functions[i].check.body = NEVER;
	for (size_t i = 0; i < stack->count && !error; i++)
		if (stack->functions[i].check.body == NEVER || takes_more(&stack->functions[i]))
			error = walk_function(stack, &stack->functions[i]);
	return error;
}

static bool lower(struct gostack_function *function, int64_t slack)
{
	slack = slack > 0 ? slack : 0;
	if (function->slack <= slack)
		return false;
	function->slack = (int32_t)slack;
	return true;
}

static int64_t left_after(const struct gostack *stack, const struct gostack_edge *edge)
{
	const struct gostack_function *from = &stack->functions[edge->from];
	int64_t slack = from->slack;

	if (from->check.body != NEVER && slack < stack->guard + (int64_t)from->check.frame)
		slack = stack->guard + (int64_t)from->check.frame;
	return slack - edge->cost;
}

/*
 * What is called through a pointer may be any function but those that do not look and come to such a call themselves: Go's linker takes
 * what functions that do not look call through pointers to look (stackcheck.go), and counts on it.
 */
static bool lower_any(struct gostack *stack, int64_t slack)
{
	bool changed = false;

	for (size_t i = 0; i < stack->count; i++)
		if (stack->functions[i].check.body != NEVER || !stack->functions[i].calls_pointers)
			changed |= lower(&stack->functions[i], slack);
	return changed;
}

/* Who calls a function that does not look and calls through pointers, and does not look either, calls through pointers. */
static void spread_pointers(struct gostack *stack)
{
	bool changed = true;

	while (changed) {
		changed = false;
		for (size_t i = 0; i < stack->edge_count; i++) {
			const struct gostack_edge *edge = &stack->edges[i];
			struct gostack_function *from = &stack->functions[edge->from];

			if (edge->to == TO_ANY || from->calls_pointers || !stack->functions[edge->to].calls_pointers ||
			    stack->functions[edge->to].check.body != NEVER)
				continue;
			from->calls_pointers = true;
			changed = true;
		}
	}
}

/* One call in a chain is lowered a round, and chains are short. False: they were not, so nothing is known. */
static bool settle(struct gostack *stack)
{
	int64_t any = INT32_MAX;

	spread_pointers(stack);
	for (unsigned round = 0; round < ROUNDS; round++) {
		bool changed = false;
		int64_t before = any;

		for (size_t i = 0; i < stack->edge_count; i++) {
			const struct gostack_edge *edge = &stack->edges[i];
			int64_t left = left_after(stack, edge);

			if (edge->to != TO_ANY)
				changed |= lower(&stack->functions[edge->to], left);
			else if (left < any)
				any = left;
		}
		if (any < before)
			changed |= lower_any(stack, any);
		if (!changed)
			return true;
	}
	return false;
}

/*
 * Functions that the runtime gives to systemstack() run where they were called, when that is a stack of the system already. Those that look find
 * enough there, or the program ends: such stacks do not grow. The others are left what systemstack() has.
 */
static void lower_given(struct gostack *stack)
{
	int32_t least = stack->guard;

	for (size_t i = 0; i < stack->count; i++)
		if (stack->functions[i].code.name && !strcmp(stack->functions[i].code.name, "runtime.systemstack") &&
		    stack->functions[i].slack < least)
			least = stack->functions[i].slack;
	for (size_t i = 0; i < stack->count; i++) {
		const char *name = stack->functions[i].code.name;

		if (stack->functions[i].check.body == NEVER && name && !strncmp(name, "runtime.", 8) && strstr(name, ".func"))
			(void)lower(&stack->functions[i], least);
	}
}

/* By _StackGuard in runtime/stack.go and StackGuard in cmd/internal/objabi: 928 since 1.17, and never less than 640 since 1.5. */
static int32_t guard_of(struct object *object)
{
	unsigned minor = object_go_minor(object);

	return minor >= 17 && minor <= 26 ? 928 : 640;
}

int gostack_create(struct object *object, struct gostack **ret)
{
	struct gostack *stack = calloc(1, sizeof(*stack));
	int error = -ENOMEM;

	if (stack) {
		stack->object = object;
		stack->guard = guard_of(object);
		error = functions_read(stack);
	}
	if (!error)
		error = calls_read(stack);
	if (error) {
		gostack_destroy(stack);
		return error;
	}
	stack->is_known = stack->has_names && settle(stack);
	if (stack->is_known)
		lower_given(stack);
	free(stack->edges);
	stack->edges = NULL;
	*ret = stack;
	return 0;
}

void gostack_destroy(struct gostack *stack)
{
	if (!stack)
		return;
	for (size_t i = 0; i < sizeof(stack->sentences) / sizeof(stack->sentences[0]); i++)
		free(stack->sentences[i]);
	free(stack->functions);
	free(stack->edges);
	free(stack);
}

bool gostack_left(const struct gostack *stack, uint64_t vaddr, unsigned *left)
{
	size_t index = find(stack, vaddr);

	if (index == stack->count)
		return false;
	*left = stack->is_known ? (unsigned)left_at(stack, &stack->functions[index], vaddr, stack->functions[index].slack) : 0;
	return true;
}

const char *gostack_why_not(struct gostack *stack, uint64_t vaddr, unsigned needed)
{
	unsigned left;

	if (!gostack_left(stack, vaddr, &left) || left >= needed + GOSTACK_CALL)
		return NULL;
	if (left < STEP)
		return "it may run on the last bytes of a goroutine's stack (nosplit): next to none is sure there";
	left = left < LEFT_MOST ? left : LEFT_MOST - 1;
	char **sentence = &stack->sentences[left / STEP];

	if (!*sentence && asprintf(sentence, "it may run on the last bytes of a goroutine's stack (nosplit): only %u are sure, which is less than the probe takes",
				   left / STEP * STEP) < 0)
		*sentence = NULL;
	return *sentence ? *sentence : "it may run on the last bytes of a goroutine's stack (nosplit)";
}
