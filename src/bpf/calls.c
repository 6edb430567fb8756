/* SPDX-License-Identifier: MIT */
/*
 * The call graph. A function is an entry and whatever can be reached from it without following calls; two functions may
 * share instructions.
 */
#include <errno.h>
#include <stdlib.h>

#include "bpf/calls.h"
#include "bpf/flow.h"

struct calls {
	const struct bpf_insn *program;
	size_t count;
	uint32_t entry[BPF_FUNCTIONS];
	size_t entries;
	uint64_t callees[BPF_FUNCTIONS]; /* bit masks of entries */
	uint8_t *seen;
	uint32_t *work;
	uint8_t height[BPF_FUNCTIONS]; /* frames it needs; 0: not known */
	bool open[BPF_FUNCTIONS];      /* on the way being followed */
};
static_assert(BPF_FUNCTIONS <= 64, "callees is a mask");

static int entry_of(struct calls *c, size_t at, struct utap_error *err)
{
	uint32_t target = (uint32_t)bpf_jump_target(c->program, at);

	for (size_t i = 0; i < c->entries; i++)
		if (c->entry[i] == target)
			return (int)i;
	if (c->entries == BPF_FUNCTIONS)
		return bpf_refuse(err, at, "more than %d functions", BPF_FUNCTIONS);
	c->entry[c->entries++] = target;
	return (int)c->entries - 1;
}

static void visit(struct calls *c, size_t *used, size_t at)
{
	if (c->seen[at])
		return;
	c->seen[at] = 1;
	c->work[(*used)++] = (uint32_t)at;
}

/* Fill callees[function]; new functions join the end of the list. */
static int scan(struct calls *c, size_t function, struct utap_error *err)
{
	size_t used = 0;

	for (size_t i = 0; i < c->count; i++)
		c->seen[i] = 0;
	visit(c, &used, c->entry[function]);
	while (used) {
		size_t at = c->work[--used];
		const struct bpf_insn *insn = &c->program[at];

		if (bpf_is_call(insn) && insn->src == BPF_CALL_LOCAL) {
			int callee = entry_of(c, at, err);

			if (callee < 0)
				return callee;
			c->callees[function] |= 1ULL << callee;
		}
		if (bpf_is_goto(insn) || bpf_is_branch(insn))
			visit(c, &used, (size_t)bpf_jump_target(c->program, at));
		if (!bpf_is_goto(insn) && !bpf_is_exit(insn))
			visit(c, &used, at + bpf_length(insn));
	}
	return 0;
}

static int measure(struct calls *c, size_t function, struct utap_error *err)
{
	unsigned height = 1;

	if (c->height[function])
		return 0;
	if (c->open[function])
		return bpf_refuse(err, c->entry[function], "the function that starts here calls itself");
	c->open[function] = true;
	for (size_t i = 0; i < c->entries; i++) {
		if (!(c->callees[function] >> i & 1))
			continue;

		int r = measure(c, i, err);

		if (r < 0)
			return r;
		if (height <= c->height[i])
			height = c->height[i] + 1U;
	}
	if (height > BPF_FRAMES)
		return bpf_refuse(err, c->entry[function], "calls nest deeper than %d frames", BPF_FRAMES);
	c->open[function] = false;
	c->height[function] = (uint8_t)height;
	return 0;
}

int bpf_check_calls(const struct bpf_insn *program, size_t count, struct utap_error *err)
{
	_cleanup_free_ uint8_t *seen = calloc(count, 1);
	_cleanup_free_ uint32_t *work = calloc(count, sizeof(*work));

	if (!seen || !work)
		return -ENOMEM;

	struct calls c = { .program = program, .count = count, .entries = 1, .seen = seen, .work = work };

	for (size_t i = 0; i < c.entries; i++) {
		int r = scan(&c, i, err);

		if (r < 0)
			return r;
	}
	return measure(&c, 0, err);
}
