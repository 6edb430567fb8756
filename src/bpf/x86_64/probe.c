/* SPDX-License-Identifier: MIT */
/*
 * The walk over a probe's program. Instructions outside of reservations are emitted in order; a RESERVE emits
 * everything up to its SUBMIT behind it, in one piece, and queues the same instructions in their cell version, and
 * those that run when there was no memory, for after the main path.
 */
#include <errno.h>
#include <stdlib.h>

#include "bpf/x86_64/probe.h"

#define SCRAP (64U << 10)
#define SCRAP_MAX (64U << 20)
#define PASSES 32 /* each pass but the last adds a register or a stack slot to the plan */

static size_t label_of(const struct probe_gen *g, size_t at)
{
	return g->mode == PROBE_CELL && g->states[at].reserve >= 0 ? g->count + at : at;
}

void probe_finish_way(struct probe_gen *g)
{
	if (g->falls_to == SIZE_MAX || g->error)
		return;
	if (!g->states[g->falls_to].is_target) {
		g->error = -EINVAL;
		return;
	}
	probe_settle(g, g->falls_to);
	x86_jump(g->e, &g->labels, label_of(g, g->falls_to));
	g->falls_to = SIZE_MAX;
}

/* Control arrives at @at: by falling into it, by jumps, or both. */
static void begin(struct probe_gen *g, size_t at)
{
	if (g->falls_to != at)
		probe_finish_way(g);
	else
		probe_settle(g, at);
	if (g->states[at].is_target) {
		probe_here(g, label_of(g, at));
		probe_assume(g, at);
	}
	g->at = at;
	g->falls_to = at + bpf_length(&g->program[at]);
}

static bool fits_imm(int64_t value, bool wide)
{
	return wide ? value == (int32_t)value : true;
}

/* The immediate form where the second operand is a known constant that fits. */
static struct bpf_insn with_imm(const struct probe_gen *g, const struct bpf_insn *insn, bool wide)
{
	struct bpf_insn form = *insn;
	const struct probe_value *src = &g->value[insn->src];

	if (!bpf_has_source_reg(insn) || (bpf_is_alu(insn) && bpf_code(insn) == BPF_ALU_END) ||
	    src->kind != PROBE_CONSTANT || !fits_imm(src->imm, wide))
		return form;
	form.opcode &= (uint8_t)~BPF_SOURCE_REG;
	form.src = 0;
	form.imm = (int32_t)(uint32_t)(uint64_t)src->imm;
	return form;
}

/* Copies, truncations and constants that need no code. */
static bool lazy_move(struct probe_gen *g, const struct bpf_insn *insn, struct probe_value src)
{
	bool wide = bpf_class(insn) == BPF_CLASS_ALU64;
	struct probe_value *dst = &g->value[insn->dst];

	if (src.kind == PROBE_HOME || insn->offset)
		return false;
	if (wide) {
		*dst = src;
		return true;
	}
	if (src.kind != PROBE_CONTEXT || src.reg == ISA_FLAGS || src.is_signed)
		return false;
	*dst = src;
	if (dst->size == 8)
		dst->size = 4;
	return true;
}

/* id | constant << 32, either way round; pointer plus constant. */
static bool lazy_sum(struct probe_gen *g, const struct bpf_insn *insn, struct probe_value src)
{
	struct probe_value *dst = &g->value[insn->dst];
	unsigned code = bpf_code(insn);

	if (bpf_class(insn) != BPF_CLASS_ALU64)
		return false;
	if (dst->kind == PROBE_FRAME || dst->kind == PROBE_RESERVED) {
		/* The checker knows the constant even where ways have met and it is in a register by now. */
		int64_t by = bpf_has_source_reg(insn) ? g->states[g->at].reg[insn->src].value : insn->imm;

		dst->imm += code == BPF_ALU_SUB ? -by : by;
		return true;
	}
	if (code != BPF_ALU_OR && code != BPF_ALU_ADD)
		return false;
	/* Only now may anything change: when this returns false, the operands are still needed. */
	struct probe_value cookie = dst->kind == PROBE_COOKIE ? *dst : src;
	struct probe_value other = dst->kind == PROBE_COOKIE ? src : *dst;

	if (cookie.kind != PROBE_COOKIE || cookie.imm || other.kind != PROBE_CONSTANT || (uint32_t)other.imm)
		return false;
	cookie.imm = other.imm;
	*dst = cookie;
	return true;
}

static bool lazy_alu(struct probe_gen *g, const struct bpf_insn *insn)
{
	const struct probe_value *dst = &g->value[insn->dst];
	struct probe_value src = { .kind = PROBE_CONSTANT, .imm = insn->imm };
	bool move = bpf_code(insn) == BPF_ALU_MOV;
	uint64_t result;

	if (bpf_code(insn) == BPF_ALU_END)
		return false;
	if (bpf_has_source_reg(insn))
		src = g->value[insn->src];
	if (src.kind == PROBE_CONSTANT && (move || dst->kind == PROBE_CONSTANT) &&
	    bpf_insn_fold(insn, (uint64_t)dst->imm, (uint64_t)src.imm, &result)) {
		g->value[insn->dst] = (struct probe_value) { .kind = PROBE_CONSTANT, .imm = (int64_t)result };
		return true;
	}
	return move ? lazy_move(g, insn, src) : lazy_sum(g, insn, src);
}

static void use_scratch(struct probe_gen *g, uint32_t mask)
{
	if (mask >> X86_AX & 1)
		probe_use_ax(g);
	if (mask >> X86_CX & 1)
		probe_use(g, X86_CX);
	if (mask >> X86_DX & 1)
		probe_use(g, X86_DX);
}

static void emit_alu(struct probe_gen *g, const struct bpf_insn *insn)
{
	struct bpf_insn form = with_imm(g, insn, bpf_class(insn) == BPF_CLASS_ALU64);
	bool move = bpf_code(insn) == BPF_ALU_MOV;
	enum x86_reg src = X86_AX;

	if (bpf_has_source_reg(insn) && g->value[insn->src].kind == PROBE_TIME)
		probe_flush_time(g);
	if (lazy_alu(g, insn))
		return;
	/* Only now: a lazy operand would be written out for nothing. */
	if (!move)
		probe_materialise(g, insn->dst);
	if (bpf_has_source_reg(&form) && bpf_code(&form) != BPF_ALU_END)
		src = probe_read(g, form.src);
	use_scratch(g, bpf_x86_scratch(&form));
	if (!move)
		probe_use_flags(g);
	bpf_x86_alu(g->e, &g->labels, &form, probe_home(g, insn->dst), src);
	probe_set_home(g, insn->dst);
}

/* Where a load or store outside of the context goes. */
static struct x86_mem place(struct probe_gen *g, unsigned base, int offset)
{
	const struct probe_value *v = &g->value[base];

	if (v->kind == PROBE_RESERVED)
		return x86_at(PROBE_RECORD, (int32_t)(v->imm + offset));
	if (v->kind != PROBE_FRAME)
		g->error = -EINVAL;
	return probe_frame_mem(g, v->imm + offset);
}

static void emit_load(struct probe_gen *g, const struct bpf_insn *insn)
{
	if (g->value[insn->src].kind == PROBE_CTX) {
		probe_load_context(g, insn);
		return;
	}

	struct x86_mem mem = place(g, insn->src, insn->offset);

	bpf_x86_load(g->e, insn, probe_home(g, insn->dst), mem);
	probe_set_home(g, insn->dst);
}

static void emit_atomic(struct probe_gen *g, const struct bpf_insn *insn, struct x86_mem mem)
{
	bool exchange = insn->imm == BPF_ATOMIC_CMPXCHG;

	if (exchange)
		probe_materialise(g, 0);
	probe_materialise(g, insn->src);
	use_scratch(g, bpf_x86_scratch(insn));
	probe_use_flags(g);
	bpf_x86_atomic(g->e, &g->labels, insn, mem, g->home[insn->src], exchange ? g->home[0] : X86_AX);
}

static void emit_store(struct probe_gen *g, const struct bpf_insn *insn)
{
	struct x86_mem mem = place(g, insn->dst, insn->offset);

	if (bpf_is_atomic(insn))
		emit_atomic(g, insn, mem);
	else if (bpf_class(insn) == BPF_CLASS_ST)
		probe_store_constant(g, mem, insn->imm, bpf_size(insn));
	else
		probe_store(g, mem, insn->src, bpf_size(insn));
}

static void emit_branch(struct probe_gen *g, const struct bpf_insn *insn)
{
	size_t target = (size_t)bpf_jump_target(g->program, g->at);
	enum x86_reg src = X86_AX;

	if (g->states[g->at].reg[insn->dst].type == BPF_RESERVED_OR_NULL) {
		/* There is memory on this way: it goes where "not 0" goes. */
		if (bpf_code(insn) == BPF_JUMP_NE)
			g->falls_to = target;
		return;
	}
	probe_settle(g, target);
	probe_settle(g, g->falls_to);
	if (g->states[g->at].reg[insn->dst].type == BPF_SCRATCH_OR_NULL) {
		probe_use_flags(g);
		x86_test(g->e, true, PROBE_RECORD, PROBE_RECORD);
		x86_jump_if(g->e, &g->labels, bpf_code(insn) == BPF_JUMP_EQ ? X86_E : X86_NE, label_of(g, target));
		return;
	}

	struct bpf_insn form = with_imm(g, insn, bpf_class(insn) == BPF_CLASS_JMP);
	enum x86_reg dst = probe_read(g, insn->dst);

	if (bpf_has_source_reg(&form))
		src = probe_read(g, form.src);
	probe_use_flags(g);
	bpf_x86_branch(g->e, &g->labels, &form, dst, src, label_of(g, target));
}

static void emit_exit(struct probe_gen *g)
{
	g->falls_to = SIZE_MAX;
	if (x86_label_place(&g->labels, g->epilogue) != SIZE_MAX) {
		x86_jump(g->e, &g->labels, g->epilogue);
		return;
	}
	probe_here(g, g->epilogue);
	probe_epilogue(g);
}

static void emit_jump(struct probe_gen *g, const struct bpf_insn *insn)
{
	if (bpf_is_exit(insn))
		emit_exit(g);
	else if (bpf_is_goto(insn))
		g->falls_to = (size_t)bpf_jump_target(g->program, g->at);
	else if (bpf_is_call(insn))
		probe_helper(g, insn);
	else
		emit_branch(g, insn);
}

static void emit_wide_load(struct probe_gen *g, const struct bpf_insn *insn)
{
	if (insn->src == BPF_LD_MAP)
		g->value[insn->dst] = (struct probe_value) { .kind = PROBE_RING };
	else
		g->value[insn->dst] = (struct probe_value) { .kind = PROBE_CONSTANT, .imm = (int64_t)bpf_imm64(insn) };
}

static void emit_insn(struct probe_gen *g, size_t at)
{
	const struct bpf_insn *insn = &g->program[at];

	switch (bpf_class(insn)) {
	case BPF_CLASS_LD:
		emit_wide_load(g, insn);
		break;
	case BPF_CLASS_LDX:
		emit_load(g, insn);
		break;
	case BPF_CLASS_ST:
	case BPF_CLASS_STX:
		emit_store(g, insn);
		break;
	case BPF_CLASS_ALU:
	case BPF_CLASS_ALU64:
		emit_alu(g, insn);
		break;
	case BPF_CLASS_JMP:
	case BPF_CLASS_JMP32:
		emit_jump(g, insn);
		break;
	}
}

void probe_emit_region(struct probe_gen *g)
{
	size_t at = probe_region(g)->at, last = probe_region(g)->last;

	for (size_t i = at + 1; i <= last && !g->error; i++) {
		if (!g->states[i].reached || g->states[i].reserve != (int32_t)at)
			continue;
		begin(g, i);
		emit_insn(g, i);
	}
}

void probe_emit_gone(struct probe_gen *g)
{
	size_t at = probe_region(g)->at;

	for (size_t i = at + 1; i < g->count && !g->error; i += bpf_length(&g->program[i])) {
		const struct bpf_insn *insn = &g->program[i];

		if (!bpf_is_branch(insn)) {
			g->at = i;
			emit_insn(g, i);
			continue;
		}
		/* The test against 0: nothing else branches before it. */
		g->falls_to = bpf_code(insn) == BPF_JUMP_EQ ? (size_t)bpf_jump_target(g->program, i) : i + 1;
		probe_finish_way(g);
		return;
	}
}

static void emit_stubs(struct probe_gen *g)
{
	for (size_t i = 0; i < g->stubs_used && !g->error; i++) {
		struct probe_stub stub = g->stubs[i]; /* the array may move */

		g->mode = PROBE_OUTSIDE;
		g->pushed = stub.pushed;
		stub.emit(g, &stub);
	}
	g->pushed = 0;
}

static void reset(struct probe_gen *g, size_t used)
{
	g->e->used = used;
	g->e->error = 0;
	x86_labels_reset(&g->labels);
	for (size_t i = 0; i < 2 * g->count; i++)
		probe_label(g);
	g->epilogue = probe_label(g);
	for (size_t i = 0; i < RT_ENTRIES; i++)
		g->literal[i] = SIZE_MAX;
	g->regions_used = g->stubs_used = g->descriptors_used = 0;
	g->called = 0;
	g->found = g->plan;
	g->found.saved = 0;
	g->mode = PROBE_OUTSIDE;
	g->pushed = 0;
	g->falls_to = 0;
	for (unsigned i = 0; i < BPF_REGS; i++)
		g->value[i] = (struct probe_value) { .kind = PROBE_NOTHING };
	g->value[1].kind = PROBE_CTX;
	g->value[BPF_FP].kind = PROBE_FRAME;
}

static int emit_all(struct probe_gen *g, size_t used)
{
	reset(g, used);
	probe_prologue(g);
	for (size_t i = 0; i < g->count && !g->error && !g->e->error; i++) {
		if (!g->states[i].reached || g->states[i].reserve >= 0)
			continue;
		begin(g, i);
		emit_insn(g, i);
	}
	emit_stubs(g);
	probe_emit_tables(g);
	if (g->error)
		return g->error;
	return x86_labels_resolve(&g->labels, g->e);
}

/* Grow the plan by what the last pass found out; true when it needed no more than it had. */
static bool plan_holds(struct probe_gen *g)
{
	struct probe_plan old = g->plan, new = g->found;

	new.saved |= old.saved;
	if (new.flags && g->target->id_known) /* they go through rax */
		new.saved |= 1U << X86_AX;
	g->plan = new;
	return new.saved == old.saved &&new.flags == old.flags &&new.id == old.id &&new.stack == old.stack &&new.tid ==
	       old.tid &&new.read == old.read &&new.section == old.section &&new.has_long == old.has_long;
}

static int compile(struct probe_gen *g)
{
	size_t used = g->e->used;

	for (int pass = 0; pass < PASSES; pass++) {
		int r = emit_all(g, used);

		/* jrcxz does not reach: branch on saved flags instead. Other refusals are final. */
		if (r == -ERANGE && !g->e->error && !g->plan.flags)
			g->found.flags = true;
		else if (r < 0)
			return r;
		if (plan_holds(g))
			return 0;
	}
	return -EINVAL;
}

static void probe_gen_deinit(struct probe_gen *g)
{
	x86_labels_free(&g->labels);
	free(g->regions);
	free(g->stubs);
	free(g->descriptors);
}

static bool is_power_of_two(uint64_t value)
{
	return value && !(value & (value - 1));
}

static int check_target(const struct bpf_target *t, struct utap_error *err)
{
	uint64_t limit = INT32_MAX / 2; /* displacements, and sums of two of them */

	if (!is_power_of_two(t->ring_size) || t->ring_size < WIRE_PAGE || t->ring_size > limit)
		return base_error(err, -EINVAL, UTAP_ERROR_REFUSED,
				  "a ring of %llu bytes: it must be a power of two from a page "
				  "to 512 MiB",
				  (unsigned long long)t->ring_size);
	if (t->cells &&
	    (!is_power_of_two(t->cells) || !is_power_of_two(t->cell_size) || t->cells > limit || t->cell_size > limit))
		return base_error(err, -EINVAL, UTAP_ERROR_REFUSED,
				  "%llu cells of %llu bytes: both must be powers of two", (unsigned long long)t->cells,
				  (unsigned long long)t->cell_size);
	if (t->long_cells && (!is_power_of_two(t->long_cells) || !is_power_of_two(t->long_cell_size) || t->long_cells > limit ||
			      t->long_cell_size > limit || t->long_cells_at > limit))
		return base_error(err, -EINVAL, UTAP_ERROR_REFUSED, "%llu long cells of %llu bytes: both must be powers of two",
				  (unsigned long long)t->long_cells, (unsigned long long)t->long_cell_size);
	if (t->counters_at > limit || t->shared_at > limit || t->cells_at > limit || t->cpus == 0 || t->cpus > limit)
		return base_error(err, -EINVAL, UTAP_ERROR_REFUSED,
				  "the parts of a block are more than 1 GiB apart, or there "
				  "is no cpu");
	return 0;
}

static int generate(struct probe_gen *g, struct utap_error *err)
{
	size_t used = g->e->used;
	int r = compile(g);

	if (r < 0) {
		g->e->used = used;
		return base_error(err, r, UTAP_ERROR_SYSTEM, "compiling a probe's program of %zu instructions: %s",
				  g->count,
				  r == -ENOSPC   ? "the code buffer is too small"
				  : r == -ERANGE ? "a displacement does not reach"
						 : "failed");
	}
	return 0;
}

/* Counting needs no rax. */
static bool only_counts(const struct bpf_insn *program, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		bool move = bpf_is_alu(&program[i]) && bpf_code(&program[i]) == BPF_ALU_MOV && !bpf_has_source_reg(&program[i]);
		bool calls = bpf_is_call(&program[i]) && program[i].imm == BPF_HELPER_COUNT;

		if (!move && !calls && !bpf_is_exit(&program[i]))
			return false;
	}
	return true;
}

static int compile_checked(const struct bpf_insn *program, size_t count, const struct bpf_target *target, struct isa_emitter *e,
			   uint32_t *stack, struct utap_error *err)
{
	_cleanup_free_ bool *starts = calloc(count + 1, sizeof(*starts));
	_cleanup_free_ struct bpf_state *states = calloc(count + 1, sizeof(*states));
	_cleanup_free_ uint16_t *live = calloc(count + 1, sizeof(*live));
	int r;

	if (!starts || !states || !live)
		return -ENOMEM;
	bpf_flow_starts(program, count, starts);
	if ((r = check_target(target, err)) < 0 || (r = bpf_check_structure(program, count, starts, err)) < 0)
		return r;
	bpf_flow_live(program, count, live);
	if ((r = bpf_check_probe(program, count, states, live, err)) < 0)
		return r;

	struct probe_gen g = {
		.program = program, .count = count, .states = states, .live = live, .target = target, .e = e
	};

	for (unsigned i = 0; i < BPF_REGS; i++)
		g.home[i] = X86_NONE;
	if (target->id_known && !only_counts(program, count))
		g.plan.saved = 1U << X86_AX; /* any code may scratch it */
	r = e->error ? e->error : generate(&g, err);
	*stack = probe_stack_most(&g);
	probe_gen_deinit(&g);
	return r;
}

int bpf_compile_probe(const struct bpf_insn *program, size_t count, const struct bpf_target *target,
		      struct isa_emitter *e, struct utap_error *err)
{
	uint32_t stack;

	return compile_checked(program, count, target, e, &stack, err);
}

/* A target whose threads keep no tid, some without rseq: nothing takes more. */
int bpf_stack_most(const struct bpf_insn *program, size_t count)
{
	const struct bpf_target target = { .rseq_offset = -8, .cpus = 1, .ring_size = WIRE_PAGE, .cells = 1, .cell_size = WIRE_RECORD_MAX,
					   .long_cells = 1, .long_cell_size = 2 * (WIRE_LONG_MAX + 8) };
	uint32_t stack = 0;
	int error = -ENOSPC;

	for (size_t size = SCRAP; error == -ENOSPC && size <= SCRAP_MAX; size *= 4) {
		_cleanup_free_ uint8_t *scrap = malloc(size);
		struct isa_emitter e = { .buffer = scrap, .size = size, .addr = WIRE_PAGE };

		error = scrap ? compile_checked(program, count, &target, &e, &stack, NULL) : -ENOMEM;
	}
	return error ? error : (int)stack;
}
