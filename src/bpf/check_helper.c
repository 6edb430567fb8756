/* SPDX-License-Identifier: MIT */
/*
 * What the helpers of a probe's program demand of their arguments, and what they leave behind. A helper is looked at once, where
 * check_probe.c comes to its call.
 */
#include "bpf/check_inside.h"

#define STACK_WORD_LIMIT (1LL << 28) /* its byte offset is an instruction's displacement */
#define VECTOR_HALVES 32 /* xmm0 to xmm15 */
#define LIMIT_TICKS (1LL << 48)

static int check_size(struct probe_check *c, size_t at, const struct bpf_reg *reg, int64_t min, int64_t max)
{
	if (reg->type != BPF_SCALAR || !reg->known || reg->value < min || reg->value > max)
		return bpf_refuse(c->err, at, "the size must be a constant from %lld to %lld", (long long)min,
				  (long long)max);
	return 0;
}

/* Ring memory starts with a struct wire_record, and positions stay multiples of 8. */
static int check_record_size(struct probe_check *c, size_t at, const struct bpf_reg *reg, int64_t max)
{
	int r = check_size(c, at, reg, sizeof(struct wire_record), max);

	if (r == 0 && reg->value % 8)
		return bpf_refuse(c->err, at, "the size of a record must be a multiple of 8");
	return r;
}

int bpf_check_arg(struct probe_check *c, size_t at, const struct bpf_state *s, int reg, enum bpf_type type)
{
	if (s->reg[reg].type != type)
		return bpf_refuse(c->err, at, "r%d must be %s, it is %s", reg, bpf_type_name(type),
				  bpf_type_name(s->reg[reg].type));
	return 0;
}

static int check_zero(struct probe_check *c, size_t at, const struct bpf_state *s, int reg)
{
	if (s->reg[reg].type != BPF_SCALAR || !s->reg[reg].known || s->reg[reg].value)
		return bpf_refuse(c->err, at, "r%d must be the constant 0", reg);
	return 0;
}

/* One record at a time. */
static int check_no_scratch(struct probe_check *c, size_t at, const struct bpf_state *s)
{
	if (s->scratch >= 0)
		return bpf_refuse(c->err, at, "helper %d while the scratch memory taken at %d is open", c->program[at].imm,
				  s->scratch);
	return 0;
}

static int check_reserve(struct probe_check *c, size_t at, struct bpf_state *s)
{
	int r = check_no_scratch(c, at, s);

	if (r == 0)
		r = bpf_check_arg(c, at, s, 1, BPF_RING);
	if (r == 0)
		r = check_record_size(c, at, &s->reg[2], WIRE_RECORD_MAX);
	if (r == 0)
		r = check_zero(c, at, s, 3);
	s->reserve = (int32_t)at;
	s->tested = false;
	s->reg[0] = (struct bpf_reg) { .type = BPF_RESERVED_OR_NULL };
	return r;
}

static int check_close(struct probe_check *c, size_t at, struct bpf_state *s)
{
	int r = bpf_check_arg(c, at, s, 1, BPF_RESERVED);

	if (r == 0 && s->reg[1].value)
		r = bpf_refuse(c->err, at, "r1 must be the start of the reserved memory");
	if (r == 0)
		r = check_zero(c, at, s, 2);
	s->reserve = -1;
	s->tested = false;
	for (int i = 0; i < BPF_REGS; i++)
		if (s->reg[i].type == BPF_RESERVED)
			s->reg[i] = (struct bpf_reg) { .type = BPF_UNSET };
	s->reg[0] = (struct bpf_reg) { .type = BPF_UNSET };
	return r;
}

static int check_output(struct probe_check *c, size_t at, const struct bpf_state *s)
{
	int r = check_no_scratch(c, at, s);

	if (r == 0)
		r = bpf_check_arg(c, at, s, 1, BPF_RING);
	if (r == 0)
		r = bpf_check_arg(c, at, s, 2, BPF_FRAME);
	if (r == 0)
		r = check_record_size(c, at, &s->reg[3], BPF_PROBE_STACK);
	if (r == 0)
		r = check_zero(c, at, s, 4);
	return r < 0 ? r : bpf_check_stack_read(c, at, s, s->reg[2].value, s->reg[3].value);
}

static int check_read_user(struct probe_check *c, size_t at, struct bpf_state *s)
{
	bool to_scratch = s->reg[1].type == BPF_SCRATCH;
	int r = check_size(c, at, &s->reg[2], 1, to_scratch ? WIRE_RECORD_MAX : BPF_PROBE_STACK);

	if (r == 0)
		r = bpf_check_arg(c, at, s, 3, BPF_SCALAR);
	if (r == 0 && to_scratch)
		return bpf_check_reserved(c, at, s, BPF_SCRATCH, s->reg[1].value, s->reg[2].value);
	if (r == 0)
		r = bpf_check_arg(c, at, s, 1, BPF_FRAME);
	if (r == 0)
		r = bpf_check_stack(c, at, s->reg[1].value, s->reg[2].value);
	if (r == 0)
		s->stack |= bpf_stack_mask(s->reg[1].value, (unsigned)s->reg[2].value);
	return r;
}

static int check_comm(struct probe_check *c, size_t at, struct bpf_state *s)
{
	int r = bpf_check_arg(c, at, s, 1, BPF_FRAME);

	if (r == 0)
		r = check_size(c, at, &s->reg[2], 16, 16);
	if (r == 0)
		r = bpf_check_stack(c, at, s->reg[1].value, 16);
	if (r == 0)
		s->stack |= bpf_stack_mask(s->reg[1].value, 16);
	return r;
}

/* ---- LONG records ---- */

static int check_long_reserve(struct probe_check *c, size_t at, struct bpf_state *s)
{
	int r = bpf_check_arg(c, at, s, 1, BPF_RING);

	if (r == 0 && s->scratch >= 0)
		r = bpf_refuse(c->err, at, "the scratch memory taken at %d is still open", s->scratch);
	if (r == 0)
		r = check_record_size(c, at, &s->reg[2], WIRE_RECORD_MAX);
	if (r == 0)
		r = check_record_size(c, at, &s->reg[3], WIRE_LONG_MAX);
	if (r == 0 && s->reg[3].value < s->reg[2].value)
		r = bpf_refuse(c->err, at, "the largest size, %lld, is less than the fixed one, %lld", (long long)s->reg[3].value,
			       (long long)s->reg[2].value);
	s->scratch = (int32_t)at;
	s->has_scratch = false;
	s->reg[0] = (struct bpf_reg) { .type = BPF_SCRATCH_OR_NULL };
	return r;
}

/* r1 of the helpers that work on it */
static int check_scratch(struct probe_check *c, size_t at, const struct bpf_state *s)
{
	int r = bpf_check_arg(c, at, s, 1, BPF_SCRATCH);

	if (r == 0 && s->reg[1].value)
		r = bpf_refuse(c->err, at, "r1 must be the start of the scratch memory");
	return r;
}

static int check_append(struct probe_check *c, size_t at, const struct bpf_state *s)
{
	int r = check_scratch(c, at, s);

	if (r == 0)
		r = bpf_check_arg(c, at, s, 2, BPF_SCALAR);
	return r < 0 ? r : bpf_check_arg(c, at, s, 3, BPF_SCALAR);
}

static int check_long_stack(struct probe_check *c, size_t at, const struct bpf_state *s)
{
	const struct bpf_reg *what = &s->reg[2];
	uint32_t most = (uint32_t)what->value >> 8;
	uint32_t kind = (uint32_t)what->value & WIRE_STACK_KINDS;
	int r = check_scratch(c, at, s);

	if (r == 0 && (what->type != BPF_SCALAR || !what->known || what->value >> 32))
		r = bpf_refuse(c->err, at, "the kind of stack must be a constant of 32 bits");
	if (r == 0 && kind != WIRE_STACK_FP && kind != WIRE_STACK_CFI && kind != WIRE_STACK_RAW)
		r = bpf_refuse(c->err, at, "there is no kind of stack %u", kind);
	if (r == 0 && (!most || most > (kind == WIRE_STACK_RAW ? WIRE_STACK_BYTES : WIRE_STACK_FRAMES)))
		r = bpf_refuse(c->err, at, "a stack of at most %u %s", most, kind == WIRE_STACK_RAW ? "bytes" : "addresses");
	if (r == 0)
		r = bpf_check_arg(c, at, s, 3, BPF_SCALAR);
	return r < 0 ? r : bpf_check_arg(c, at, s, 4, BPF_SCALAR);
}

static int check_long_close(struct probe_check *c, size_t at, struct bpf_state *s)
{
	int r = check_scratch(c, at, s);

	if (r == 0)
		r = check_zero(c, at, s, 2);
	s->scratch = -1;
	s->has_scratch = false;
	for (int i = 1; i < BPF_REGS; i++)
		if (s->reg[i].type == BPF_SCRATCH)
			s->reg[i] = (struct bpf_reg) { .type = BPF_UNSET };
	return r;
}

static int check_stack_word(struct probe_check *c, size_t at, const struct bpf_state *s)
{
	const struct bpf_reg *n = &s->reg[1];

	if (n->type != BPF_SCALAR || !n->known || n->value < 0 || n->value >= STACK_WORD_LIMIT)
		return bpf_refuse(c->err, at, "the number of the stack word must be a constant from 0 to %lld",
				  STACK_WORD_LIMIT - 1);
	return 0;
}

static int check_vector(struct probe_check *c, size_t at, const struct bpf_state *s)
{
	const struct bpf_reg *n = &s->reg[1];

	if (n->type != BPF_SCALAR || !n->known || n->value < 0 || n->value >= VECTOR_HALVES)
		return bpf_refuse(c->err, at, "the half of a vector register must be a constant from 0 to %d", VECTOR_HALVES - 1);
	return 0;
}

static int check_limit(struct probe_check *c, size_t at, const struct bpf_state *s)
{
	for (int i = 1; i <= 2; i++)
		if (s->reg[i].type != BPF_SCALAR || !s->reg[i].known || s->reg[i].value < 2 - i || s->reg[i].value > LIMIT_TICKS)
			return bpf_refuse(c->err, at, "r%d must be a constant number of ticks, at most %lld", i, LIMIT_TICKS);
	return 0;
}

int bpf_check_helper(struct probe_check *c, size_t at, struct bpf_state *s)
{
	s->reg[0] = (struct bpf_reg) { .type = BPF_SCALAR };
	switch ((enum bpf_helper)c->program[at].imm) {
	case BPF_HELPER_CPU:
	case BPF_HELPER_PID_TGID:
	case BPF_HELPER_TIME:
		return 0;
	case BPF_HELPER_COUNT:
		s->reg[0] = (struct bpf_reg) { .type = BPF_SCALAR, .known = true };
		return 0;
	case BPF_HELPER_READ_USER:
		return check_read_user(c, at, s);
	case BPF_HELPER_COMM:
		return check_comm(c, at, s);
	case BPF_HELPER_RING_OUTPUT:
		return check_output(c, at, s);
	case BPF_HELPER_RING_RESERVE:
		return check_reserve(c, at, s);
	case BPF_HELPER_RING_SUBMIT:
	case BPF_HELPER_RING_DISCARD:
		return check_close(c, at, s);
	case BPF_HELPER_COOKIE:
		return bpf_check_arg(c, at, s, 1, BPF_CTX);
	case BPF_HELPER_STACK_WORD:
		return check_stack_word(c, at, s);
	case BPF_HELPER_GOID_OFFSET:
	case BPF_HELPER_TICKET:
		return 0;
	case BPF_HELPER_VECTOR:
		return check_vector(c, at, s);
	case BPF_HELPER_LIMIT:
		return check_limit(c, at, s);
	case BPF_HELPER_LONG_RESERVE:
		return check_long_reserve(c, at, s);
	case BPF_HELPER_LONG_STRING:
	case BPF_HELPER_LONG_BYTES:
		return check_append(c, at, s);
	case BPF_HELPER_LONG_STACK:
		return check_long_stack(c, at, s);
	case BPF_HELPER_LONG_SUBMIT:
	case BPF_HELPER_LONG_DISCARD:
		return check_long_close(c, at, s);
	}
	return bpf_refuse(c->err, at, "there is no helper %d", c->program[at].imm);
}
