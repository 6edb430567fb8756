/* SPDX-License-Identifier: MIT */
/*
 * The rules of BPF_PROBE. A program without backward jumps is read once, in order: when an instruction is looked at,
 * all ways to it have been. What each register holds is known exactly where it matters (pointers, sizes), because
 * offsets that differ between two ways make the register unreadable where they meet.
 *
 * Between RESERVE and SUBMIT the code may be restarted at any instruction, so nothing it started from may change.
 */
#include <errno.h>

#include "bpf/check_inside.h"

#define OFFSET_LIMIT 4096 /* of pointer arithmetic: far more than any object has */
#define SAVED_REGS 0x3c0  /* r6 to r9 survive calls */

static const struct bpf_reg unset = { .type = BPF_UNSET };
static const struct bpf_reg scalar = { .type = BPF_SCALAR };

static struct bpf_reg constant(int64_t value)
{
	return (struct bpf_reg) { .type = BPF_SCALAR, .known = true, .value = value };
}

const char *bpf_type_name(enum bpf_type type)
{
	static const char *const names[] = { "nothing",
					     "a number",
					     "the context",
					     "a stack address",
					     "the ring",
					     "reserved memory",
					     "reserved memory not yet tested against 0",
					     "scratch memory",
					     "scratch memory not yet tested against 0" };

	return names[type];
}

static struct bpf_reg meet(const struct bpf_reg *a, const struct bpf_reg *b)
{
	if (a->type != b->type)
		return unset;
	if (a->type == BPF_SCALAR)
		return a->known && b->known && a->value == b->value ? *a : scalar;
	return a->value == b->value ? *a : unset;
}

/* A way leads from @at to @to with @state. */
static int flow_to(struct probe_check *c, size_t at, size_t to, const struct bpf_state *state, bool jump)
{
	struct bpf_state *there = &c->states[to];
	bool is_target = there->is_target || jump;

	if (to <= at)
		return bpf_refuse(c->err, at, "a probe's program must not jump back (to %zu)", to);
	if (!there->reached) {
		*there = *state;
		there->reached = true;
		there->is_target = is_target;
		return 0;
	}
	if (there->reserve != state->reserve || there->tested != state->tested || there->scratch != state->scratch ||
	    there->has_scratch != state->has_scratch)
		return bpf_refuse(c->err, at, "the ways that meet at %zu differ in what they have reserved", to);
	for (int i = 0; i < BPF_REGS; i++)
		there->reg[i] = meet(&there->reg[i], &state->reg[i]);
	there->stack &= state->stack;
	there->is_target = is_target;
	return 0;
}

uint64_t bpf_stack_mask(int64_t offset, unsigned size)
{
	uint64_t bits = size >= 64 ? ~0ULL : (1ULL << size) - 1;

	return bits << (offset + BPF_PROBE_STACK);
}

int bpf_check_stack(struct probe_check *c, size_t at, int64_t offset, int64_t size)
{
	if (offset < -BPF_PROBE_STACK || size > BPF_PROBE_STACK || offset + size > 0)
		return bpf_refuse(c->err, at, "%lld bytes at r10%+lld are outside the stack of %d bytes",
				  (long long)size, (long long)offset, BPF_PROBE_STACK);
	return 0;
}

int bpf_check_stack_read(struct probe_check *c, size_t at, const struct bpf_state *s, int64_t offset, int64_t size)
{
	int r = bpf_check_stack(c, at, offset, size);

	if (r < 0)
		return r;

	uint64_t mask = bpf_stack_mask(offset, (unsigned)size);

	if ((s->stack & mask) != mask)
		return bpf_refuse(c->err, at, "the stack at r10%+lld is read before it is written", (long long)offset);
	return 0;
}

/* Of the reserved memory, or of the scratch memory's fixed part. */
int bpf_check_reserved(struct probe_check *c, size_t at, const struct bpf_state *s, enum bpf_type type, int64_t offset,
		       int64_t size)
{
	int64_t reserved = c->states[type == BPF_SCRATCH ? s->scratch : s->reserve].reg[2].value;

	if (offset < 0 || size > reserved || offset + size > reserved)
		return bpf_refuse(c->err, at, "%lld bytes at offset %lld are outside the %lld reserved", (long long)size,
				  (long long)offset, (long long)reserved);
	return 0;
}

static int check_context(struct probe_check *c, size_t at, int64_t offset, unsigned size)
{
	if (offset < 0 || offset >= 8 * ISA_REGS || (offset & 7) + size > 8)
		return bpf_refuse(c->err, at, "%u bytes at context offset %lld name no register", size,
				  (long long)offset);
	if (offset / 8 == ISA_IP)
		return bpf_refuse(c->err, at,
				  "the context has no instruction pointer: one program serves many places, "
				  "the cookie tells which");
	return 0;
}

static int check_load(struct probe_check *c, size_t at, struct bpf_state *s)
{
	const struct bpf_insn *insn = &c->program[at];
	const struct bpf_reg *base = &s->reg[insn->src];
	unsigned size = bpf_size(insn);
	int64_t offset = base->value + insn->offset;
	int r = 0;

	switch (base->type) {
	case BPF_CTX:
		r = check_context(c, at, insn->offset, size);
		break;
	case BPF_FRAME:
		r = bpf_check_stack_read(c, at, s, offset, size);
		break;
	case BPF_RESERVED:
	case BPF_SCRATCH:
		r = bpf_check_reserved(c, at, s, base->type, offset, size);
		break;
	case BPF_UNSET:
	case BPF_SCALAR:
	case BPF_RING:
	case BPF_RESERVED_OR_NULL:
	case BPF_SCRATCH_OR_NULL:
		return bpf_refuse(c->err, at, "r%d is %s: memory is read with helper %d (READ_USER)", insn->src,
				  bpf_type_name(base->type), BPF_HELPER_READ_USER);
	}
	s->reg[insn->dst] = scalar;
	return r;
}

static int check_store(struct probe_check *c, size_t at, struct bpf_state *s)
{
	const struct bpf_insn *insn = &c->program[at];
	const struct bpf_reg *base = &s->reg[insn->dst];
	unsigned size = bpf_size(insn);
	int64_t offset = base->value + insn->offset;

	if (bpf_class(insn) == BPF_CLASS_STX && s->reg[insn->src].type != BPF_SCALAR)
		return bpf_refuse(c->err, at, "r%d is %s: only numbers are stored", insn->src,
				  bpf_type_name(s->reg[insn->src].type));
	if ((base->type == BPF_RESERVED || base->type == BPF_SCRATCH) && !bpf_is_atomic(insn))
		return bpf_check_reserved(c, at, s, base->type, offset, size);
	if (base->type != BPF_FRAME)
		return bpf_refuse(c->err, at, "r%d is %s: stores go to the stack or to reserved memory", insn->dst,
				  bpf_type_name(base->type));
	if (s->reserve >= 0)
		return bpf_refuse(c->err, at, "store to the stack while the memory reserved at %d is open", s->reserve);

	int r = bpf_is_atomic(insn) ? bpf_check_stack_read(c, at, s, offset, size) : bpf_check_stack(c, at, offset, size);

	if (r < 0)
		return r;
	s->stack |= bpf_stack_mask(offset, size);
	return 0;
}

static int check_atomic(struct probe_check *c, size_t at, struct bpf_state *s)
{
	const struct bpf_insn *insn = &c->program[at];
	int r = check_store(c, at, s);

	if (r < 0 || !(insn->imm & BPF_ATOMIC_FETCH))
		return r;
	if (insn->imm == BPF_ATOMIC_CMPXCHG && s->reg[0].type != BPF_SCALAR)
		return bpf_refuse(c->err, at, "r0 is %s: only numbers are compared", bpf_type_name(s->reg[0].type));
	s->reg[insn->imm == BPF_ATOMIC_CMPXCHG ? 0 : insn->src] = scalar;
	return 0;
}

static int check_pointer_alu(struct probe_check *c, size_t at, struct bpf_state *s, const struct bpf_reg *src)
{
	const struct bpf_insn *insn = &c->program[at];
	struct bpf_reg *dst = &s->reg[insn->dst];
	unsigned code = bpf_code(insn);
	bool moves = dst->type == BPF_FRAME || dst->type == BPF_RESERVED || dst->type == BPF_SCRATCH;

	if (!moves || bpf_class(insn) != BPF_CLASS_ALU64 || (code != BPF_ALU_ADD && code != BPF_ALU_SUB) ||
	    src->type != BPF_SCALAR || !src->known)
		return bpf_refuse(c->err, at,
				  "arithmetic on r%d, which is %s: only constants are added to stack and "
				  "reserved addresses",
				  src->type > BPF_SCALAR ? insn->src : insn->dst,
				  bpf_type_name(src->type > BPF_SCALAR ? src->type : dst->type));
	if (src->value > OFFSET_LIMIT || src->value < -OFFSET_LIMIT)
		return bpf_refuse(c->err, at, "offset %lld is out of every object", (long long)src->value);
	dst->value += code == BPF_ALU_ADD ? src->value : -src->value;
	if (dst->value > OFFSET_LIMIT || dst->value < -OFFSET_LIMIT)
		return bpf_refuse(c->err, at, "offset %lld is out of every object", (long long)dst->value);
	return 0;
}

static int check_alu(struct probe_check *c, size_t at, struct bpf_state *s)
{
	const struct bpf_insn *insn = &c->program[at];
	bool by_reg = bpf_has_source_reg(insn) && bpf_code(insn) != BPF_ALU_END;
	struct bpf_reg src = by_reg ? s->reg[insn->src] : constant(insn->imm);
	struct bpf_reg *dst = &s->reg[insn->dst];
	bool move = bpf_code(insn) == BPF_ALU_MOV;

	if (move && bpf_class(insn) == BPF_CLASS_ALU64 && insn->offset == 0) {
		*dst = src;
		return 0;
	}
	if (src.type != BPF_SCALAR || (!move && dst->type != BPF_SCALAR))
		return check_pointer_alu(c, at, s, &src);

	uint64_t result;
	bool known = src.known && (move || dst->known) &&
		     bpf_insn_fold(insn, (uint64_t)dst->value, (uint64_t)src.value, &result);

	*dst = known ? constant((int64_t)result) : scalar;
	return 0;
}

/* Both ways from a test of scratch memory against 0. */
static int check_scratch_test(struct probe_check *c, size_t at, const struct bpf_state *s)
{
	const struct bpf_insn *insn = &c->program[at];
	struct bpf_state there = *s, gone = *s;
	bool equal = bpf_code(insn) == BPF_JUMP_EQ;

	there.has_scratch = true;
	gone.scratch = -1;
	for (int i = 0; i < BPF_REGS; i++) {
		if (s->reg[i].type != BPF_SCRATCH_OR_NULL)
			continue;
		there.reg[i].type = BPF_SCRATCH;
		gone.reg[i] = unset;
	}

	int r = flow_to(c, at, (size_t)bpf_jump_target(c->program, at), equal ? &gone : &there, true);

	return r < 0 ? r : flow_to(c, at, at + 1, equal ? &there : &gone, false);
}

/* Both ways from a test of reserved memory against 0. */
static int check_null_test(struct probe_check *c, size_t at, const struct bpf_state *s)
{
	const struct bpf_insn *insn = &c->program[at];
	struct bpf_state there = *s, gone = *s;
	bool equal = bpf_code(insn) == BPF_JUMP_EQ;

	there.tested = true;
	gone.reserve = -1;
	for (int i = 0; i < BPF_REGS; i++) {
		if (s->reg[i].type != BPF_RESERVED_OR_NULL)
			continue;
		there.reg[i].type = BPF_RESERVED;
		gone.reg[i] = constant(0);
	}

	/* The way without a reservation is compiled apart and joins where it leads. */
	int r = flow_to(c, at, (size_t)bpf_jump_target(c->program, at), equal ? &gone : &there, true);

	return r < 0 ? r : flow_to(c, at, at + 1, equal ? &there : &gone, !equal);
}

static int check_branch(struct probe_check *c, size_t at, const struct bpf_state *s)
{
	const struct bpf_insn *insn = &c->program[at];
	unsigned code = bpf_code(insn);
	bool by_reg = bpf_has_source_reg(insn);

	bool is_null_test = bpf_class(insn) == BPF_CLASS_JMP && !by_reg && insn->imm == 0 &&
			    (code == BPF_JUMP_EQ || code == BPF_JUMP_NE);

	if (is_null_test && s->reg[insn->dst].type == BPF_RESERVED_OR_NULL)
		return check_null_test(c, at, s);
	if (is_null_test && s->reg[insn->dst].type == BPF_SCRATCH_OR_NULL)
		return check_scratch_test(c, at, s);
	if (s->reserve >= 0 && !s->tested)
		return bpf_refuse(c->err, at, "branch before the reservation at %d is tested against 0", s->reserve);
	if (s->reg[insn->dst].type != BPF_SCALAR || (by_reg && s->reg[insn->src].type != BPF_SCALAR))
		return bpf_refuse(c->err, at, "only numbers are compared");

	int r = flow_to(c, at, (size_t)bpf_jump_target(c->program, at), s, true);

	return r < 0 ? r : flow_to(c, at, at + 1, s, false);
}

static bool helper_is_restartable(int32_t helper)
{
	return helper == BPF_HELPER_CPU || helper == BPF_HELPER_PID_TGID || helper == BPF_HELPER_TIME ||
	       helper == BPF_HELPER_COOKIE || helper == BPF_HELPER_VECTOR || helper == BPF_HELPER_RING_SUBMIT || helper == BPF_HELPER_RING_DISCARD;
}

static int check_call(struct probe_check *c, size_t at, struct bpf_state *s)
{
	const struct bpf_insn *insn = &c->program[at];
	bool closes = insn->imm == BPF_HELPER_RING_SUBMIT || insn->imm == BPF_HELPER_RING_DISCARD;

	if (insn->src != BPF_CALL_HELPER)
		return bpf_refuse(c->err, at, "a probe's program has no local calls");
	if (s->reserve >= 0 && !s->tested)
		return bpf_refuse(c->err, at, "call before the reservation at %d is tested against 0", s->reserve);
	if (s->reserve >= 0 && !helper_is_restartable(insn->imm))
		return bpf_refuse(c->err, at, "helper %d while the memory reserved at %d is open", insn->imm,
				  s->reserve);

	int r = bpf_check_helper(c, at, s);

	for (int i = 1; i <= 5; i++)
		s->reg[i] = unset;
	/* Ways that close the same reservation differently are compiled apart and meet here. */
	return r < 0 ? r : flow_to(c, at, at + 1, s, closes);
}

static int check_wide_load(struct probe_check *c, size_t at, struct bpf_state *s)
{
	const struct bpf_insn *insn = &c->program[at];

	if (insn->src == 0) {
		s->reg[insn->dst] = constant((int64_t)bpf_imm64(insn));
		return 0;
	}
	if (bpf_imm64(insn) != BPF_MAP_RING)
		return bpf_refuse(c->err, at, "there is no map %llu", (unsigned long long)bpf_imm64(insn));
	s->reg[insn->dst] = (struct bpf_reg) { .type = BPF_RING };
	return 0;
}

static int check_exit(struct probe_check *c, size_t at, const struct bpf_state *s)
{
	if (s->reserve >= 0)
		return bpf_refuse(c->err, at, "the memory reserved at %d is neither submitted nor discarded",
				  s->reserve);
	if (s->scratch >= 0)
		return bpf_refuse(c->err, at, "the scratch memory taken at %d is neither submitted nor discarded", s->scratch);
	return bpf_check_arg(c, at, s, 0, BPF_SCALAR);
}

static int check_jump(struct probe_check *c, size_t at, const struct bpf_state *s)
{
	if (s->reserve >= 0 && !s->tested)
		return bpf_refuse(c->err, at, "jump before the reservation at %d is tested against 0", s->reserve);
	return flow_to(c, at, (size_t)bpf_jump_target(c->program, at), s, true);
}

static int check_plain(struct probe_check *c, size_t at, struct bpf_state *s)
{
	const struct bpf_insn *insn = &c->program[at];
	int r = 0;

	switch (bpf_class(insn)) {
	case BPF_CLASS_LD:
		r = check_wide_load(c, at, s);
		break;
	case BPF_CLASS_LDX:
		r = check_load(c, at, s);
		break;
	case BPF_CLASS_ST:
	case BPF_CLASS_STX:
		r = bpf_is_atomic(insn) ? check_atomic(c, at, s) : check_store(c, at, s);
		break;
	case BPF_CLASS_ALU:
	case BPF_CLASS_ALU64:
		r = check_alu(c, at, s);
		break;
	case BPF_CLASS_JMP:
	case BPF_CLASS_JMP32:
		break; /* the caller's */
	}
	return r < 0 ? r : flow_to(c, at, at + bpf_length(insn), s, false);
}

static int check_restartable(struct probe_check *c, size_t at, const struct bpf_state *s)
{
	if (s->reserve < 0)
		return 0;

	uint16_t kept = c->live[s->reserve + 1] & SAVED_REGS;
	uint16_t lost = kept & bpf_insn_writes(&c->program[at]);

	if (lost)
		return bpf_refuse(c->err, at,
				  "r%d holds a value from before the reservation at %d and must not be written "
				  "until it is submitted",
				  __builtin_ctz(lost), s->reserve);
	return 0;
}

static int check_step(struct probe_check *c, size_t at)
{
	const struct bpf_insn *insn = &c->program[at];
	struct bpf_state s = c->states[at];

	for (int i = 0; i < BPF_REGS; i++)
		if (bpf_insn_reads(insn) >> i & 1 && s.reg[i].type == BPF_UNSET)
			return bpf_refuse(c->err, at, "r%d is read before it is written", i);

	int r = check_restartable(c, at, &s);

	if (r < 0)
		return r;
	if (bpf_is_exit(insn))
		return check_exit(c, at, &s);
	if (bpf_is_goto(insn))
		return check_jump(c, at, &s);
	if (bpf_is_branch(insn))
		return check_branch(c, at, &s);
	if (bpf_is_call(insn))
		return check_call(c, at, &s);
	return check_plain(c, at, &s);
}

int bpf_check_probe(const struct bpf_insn *program, size_t count, struct bpf_state *states, const uint16_t *live,
		    struct utap_error *err)
{
	struct probe_check c = { .program = program, .count = count, .states = states, .live = live, .err = err };

	states[0] = (struct bpf_state) { .reached = true, .reserve = -1, .scratch = -1 };
	states[0].reg[1].type = BPF_CTX;
	states[0].reg[BPF_FP].type = BPF_FRAME;
	for (size_t i = 0; i < count; i++) {
		int r = states[i].reached ? check_step(&c, i) : 0;

		if (r < 0)
			return r;
	}
	return 0;
}
