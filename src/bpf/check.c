/* SPDX-License-Identifier: MIT */
/*
 * What both kinds of programs must obey, and the rules of BPF_STANDALONE: every register is written before it is read,
 * on every way. Standalone programs may loop, so this is a worklist over "which registers are surely written";
 * a set only ever shrinks, eleven times at most, so it ends.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "bpf/calls.h"
#include "bpf/flow.h"

int bpf_refuse(struct utap_error *err, size_t at, const char *format, ...)
{
	char text[400];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return base_error(err, -EINVAL, UTAP_ERROR_REFUSED, "instruction %zu: %s", at, text);
}

static int check_wide_load(const struct bpf_insn *program, size_t count, size_t at, struct utap_error *err)
{
	if (at + 1 >= count)
		return bpf_refuse(err, at, "the second half of the 64-bit load is missing");

	const struct bpf_insn *second = &program[at + 1];

	if (second->opcode || second->dst || second->src || second->offset)
		return bpf_refuse(err, at, "reserved field in the second half of a 64-bit load is set");
	return 0;
}

static int check_jump(const struct bpf_insn *program, size_t count, size_t at, const bool *starts,
		      struct utap_error *err)
{
	int64_t target = bpf_jump_target(program, at);

	if (target < 0 || target >= (int64_t)count)
		return bpf_refuse(err, at, "jump out of the program, to %lld", (long long)target);
	if (!starts[target])
		return bpf_refuse(err, at, "jump into the middle of the 64-bit load at %lld", (long long)target - 1);
	return 0;
}

static int check_insn(const struct bpf_insn *program, size_t count, size_t at, const bool *starts,
		      struct utap_error *err)
{
	const struct bpf_insn *insn = &program[at];
	const char *why = bpf_insn_valid(insn);

	if (why)
		return bpf_refuse(err, at, "%s (opcode 0x%02x)", why, insn->opcode);
	if (insn->opcode == BPF_OP_LD_IMM64) {
		int r = check_wide_load(program, count, at, err);

		if (r < 0)
			return r;
	}
	if (bpf_insn_writes(insn) & 1U << BPF_FP)
		return bpf_refuse(err, at, "r10, the frame pointer, is written");
	if (bpf_is_branch(insn) || bpf_is_goto(insn) || (bpf_is_call(insn) && insn->src == BPF_CALL_LOCAL))
		return check_jump(program, count, at, starts, err);
	return 0;
}

int bpf_check_structure(const struct bpf_insn *program, size_t count, const bool *starts, struct utap_error *err)
{
	size_t last = 0;

	if (count == 0 || count > BPF_INSN_LIMIT)
		return base_error(err, -EINVAL, UTAP_ERROR_REFUSED,
				  "instruction 0: a program has 1 to %d instructions, this one %zu", BPF_INSN_LIMIT,
				  count);
	for (size_t i = 0; i < count; i++) {
		if (!starts[i])
			continue;

		int r = check_insn(program, count, i, starts, err);

		if (r < 0)
			return r;
		last = i;
	}
	if (!bpf_is_exit(&program[last]) && !bpf_is_goto(&program[last]))
		return bpf_refuse(err, last, "execution falls off the end");
	return 0;
}

/* The worklist: mask[i] is 0 until the instruction is reached (r10 is always written, so a reached one is not 0). */
struct standalone {
	const struct bpf_insn *program;
	uint16_t *mask;
	uint32_t *work;
	size_t used;
};

static void reach(struct standalone *s, size_t at, uint16_t mask)
{
	uint16_t met = s->mask[at] ? s->mask[at] & mask : mask;

	if (met == s->mask[at])
		return;
	s->mask[at] = met;
	s->work[s->used++] = (uint32_t)at;
}

static int step(struct standalone *s, size_t at, struct utap_error *err)
{
	const struct bpf_insn *insn = &s->program[at];
	uint16_t mask = s->mask[at], missing = bpf_insn_reads(insn) & (uint16_t)~mask;

	if (missing)
		return bpf_refuse(err, at, "r%d is read before it is written", __builtin_ctz(missing));
	if (insn->opcode == BPF_OP_LD_IMM64 && insn->src)
		return bpf_refuse(err, at, "a standalone program has no maps");
	if (bpf_is_exit(insn))
		return 0;
	if (bpf_is_call(insn)) {
		if (insn->src != BPF_CALL_LOCAL)
			return bpf_refuse(err, at, "a standalone program has no helpers (call %d)", insn->imm);
		reach(s, (size_t)bpf_jump_target(s->program, at), mask & 0x43e);
		reach(s, at + 1, (mask & 0x7c0) | 1);
		return 0;
	}
	if (bpf_is_goto(insn) || bpf_is_branch(insn))
		reach(s, (size_t)bpf_jump_target(s->program, at), mask);
	if (!bpf_is_goto(insn))
		reach(s, at + bpf_length(insn), mask | bpf_insn_writes(insn));
	return 0;
}

int bpf_check_standalone(const struct bpf_insn *program, size_t count, struct utap_error *err)
{
	_cleanup_free_ uint16_t *mask = calloc(count, sizeof(*mask));
	/* An instruction is queued once for each of its sets, of which there are at most BPF_REGS + 1. */
	_cleanup_free_ uint32_t *work = calloc(count * (BPF_REGS + 1), sizeof(*work));

	if (!mask || !work)
		return -ENOMEM;

	struct standalone s = { .program = program, .mask = mask, .work = work };

	reach(&s, 0, 1U << 1 | 1U << 2 | 1U << BPF_FP);
	while (s.used) {
		int r = step(&s, s.work[--s.used], err);

		if (r < 0)
			return r;
	}
	return bpf_check_calls(program, count, err);
}

static int check_kind(const struct bpf_insn *program, size_t count, enum bpf_kind kind, struct utap_error *err)
{
	if (kind == BPF_STANDALONE)
		return bpf_check_standalone(program, count, err);

	_cleanup_free_ struct bpf_state *states = calloc(count, sizeof(*states));
	_cleanup_free_ uint16_t *live = calloc(count + 1, sizeof(*live));

	if (!states || !live)
		return -ENOMEM;
	bpf_flow_live(program, count, live);
	return bpf_check_probe(program, count, states, live, err);
}

int bpf_check(const struct bpf_insn *program, size_t count, enum bpf_kind kind, struct utap_error *err)
{
	_cleanup_free_ bool *starts = calloc(count + 1, sizeof(*starts));

	if (!starts)
		return -ENOMEM;
	bpf_flow_starts(program, count, starts);

	int r = bpf_check_structure(program, count, starts, err);

	return r < 0 ? r : check_kind(program, count, kind, err);
}

static int most_of(const struct bpf_insn *program, size_t count, struct bpf_state *states, const uint16_t *live)
{
	struct utap_error ignored;
	int most = 0;
	int r = bpf_check_probe(program, count, states, live, &ignored);

	for (size_t i = 0; i < count && r == 0; i++)
		if (states[i].reached && bpf_is_call(&program[i]) && program[i].imm == BPF_HELPER_LONG_RESERVE &&
		    states[i].reg[3].value > most)
			most = (int)states[i].reg[3].value;
	return r < 0 ? r : most;
}

int bpf_long_most(const struct bpf_insn *program, size_t count)
{
	_cleanup_free_ bool *starts = calloc(count + 1, sizeof(*starts));
	_cleanup_free_ struct bpf_state *states = calloc(count + 1, sizeof(*states));
	_cleanup_free_ uint16_t *live = calloc(count + 1, sizeof(*live));
	struct utap_error ignored;

	if (!starts || !states || !live)
		return -ENOMEM;
	bpf_flow_starts(program, count, starts);

	int r = bpf_check_structure(program, count, starts, &ignored);

	if (r < 0)
		return r;
	bpf_flow_live(program, count, live);
	return most_of(program, count, states, live);
}
