/* SPDX-License-Identifier: MIT */
/*
 * Trampolines. One belongs to a jump and runs a few instructions, the program of each site right before the site's instruction:
 *
 *      <the instructions before the first site>
 *      lea  -128(%rsp), %rsp      keep off the red zone (a call site has no red zone left, but its return address: -120, so that
 *                                 the body finds the program's rsp at the same distance)
 *      push %rax
 *      mov  $id, %eax
 *      call body                  the program, shared by all places that run the same one
 *      pop  %rax
 *      lea  128(%rsp), %rsp
 *      <the site's instruction, those after it, programs of further sites>
 *      jmp  <behind the last>
 *
 * A program that runs only when a conditional jump is taken stands behind all that, and the copy of the jump leads to it; one that runs only
 * when an indirect jump leaves its function stands behind code that finds that out (isa_emit_judge()).
 *
 * Several sites may be at one instruction: their programs stand one behind the other.
 *
 * Besides the site's own there is always what starts under a punned jump. Coming back there would meet the jump's own entry in the branch
 * predictor, which knows branches by their last byte: 7 ns a hit (docs/decisions/0005).
 *
 * Where there are few places the body is part of the trampoline: it knows its id, saves what it needs itself, what follows the call here
 * stands where the body would return, and its slow paths come behind.
 *
 * No flag is touched here; the body keeps what it uses. `call` and `ret` pair up, so return prediction and shadow stacks stay in step.
 */
#include <errno.h>
#include <string.h>

#include "patch/inside.h"

static const uint8_t code_enter[] = { 0x48, 0x8d, 0x64, 0x24, 0x80, 0x50, 0xb8 };
static const uint8_t code_enter_call[] = { 0x48, 0x8d, 0x64, 0x24, 0x88, 0x50, 0xb8 };
static const uint8_t code_leave[] = { 0x58, 0x48, 0x8d, 0xa4, 0x24, 0x80, 0x00, 0x00, 0x00 };
static const uint8_t code_leave_call[] = { 0x58, 0x48, 0x8d, 0x64, 0x24, 0x78 };

#define ENTER_LEA 5 /* bytes of code_enter before the push */
#define LEAVE_POP 1 /* bytes of code_leave before the lea */
#define INT3 0xcc

/* Where the emission of a trampoline stands. Copied where the rest is emitted more than once (a body is compiled until nothing changes). */
struct progress {
	struct patch_stub *stub;
	utap_addr next, end;  /* instructions to be run */
	size_t at;            /* the next site */
	bool entered;         /* its program stands already */
	bool on;              /* control gets to where the emitter is */
	struct isa_insn taken; /* the conditional jump whose program is being emitted */
	patch_body_fn *body;  /* whole; else NULL */
	void *arg;
	struct utap_error *err;
};

static int fail(struct patch_stub *stub, int code, const char *why)
{
	if (!stub->why)
		stub->why = why;
	return code;
}

/* @skip: bytes not wanted in front */
static void emit_leave(const struct patch_stub *stub, unsigned skip, struct isa_emitter *e)
{
	if (stub->jump->by_call)
		isa_emit_bytes(e, code_leave_call + skip, sizeof(code_leave_call) - skip);
	else
		isa_emit_bytes(e, code_leave + skip, sizeof(code_leave) - skip);
}

static void emit_shared(const struct patch_stub *stub, const struct patch_member *member, struct isa_emitter *e)
{
	isa_emit_bytes(e, stub->jump->by_call ? code_enter_call : code_enter, sizeof(code_enter));
	isa_emit_u32(e, member->site->id);
	isa_emit_call(e, member->body);
	emit_leave(stub, 0, e);
}

/* ---- a program with its body, and what comes after it ---- */

typedef int emit_rest_fn(struct progress *g, struct isa_emitter *e);

struct whole {
	const struct progress *before;
	emit_rest_fn *rest;
	int error;
};

static void emit_tail(void *arg, struct isa_emitter *e)
{
	struct whole *whole = arg;
	struct progress g = *whole->before; /* this may be called more than once */

	emit_leave(g.stub, LEAVE_POP, e);
	whole->error = whole->rest(&g, e);
}

static int emit_whole(struct progress *g, const struct patch_site *site, emit_rest_fn *rest, struct isa_emitter *e)
{
	struct whole whole = { .before = g, .rest = rest };
	struct patch_tail tail = { .emit = emit_tail, .arg = &whole, .id = site->id };
	struct isa_emitter behind;
	int error;

	isa_emit_bytes(e, g->stub->jump->by_call ? code_enter_call : code_enter, ENTER_LEA);
	if (e->error)
		return e->error;
	behind = (struct isa_emitter){ .buffer = e->buffer + e->used, .size = e->size - e->used, .addr = isa_emit_here(e) };
	error = g->body(g->arg, site->program, &tail, &behind, g->err);
	e->used += behind.used;
	if (whole.error) { /* the place, not the program */
		error = whole.error;
		if (g->err)
			g->err->code = 0;
	}
	return error;
}

/* ---- conditional jumps ---- */

/* The copy leads to @to instead; emitted where the emitter stands. */
static int emit_branch_to(struct patch_stub *stub, const struct isa_insn *insn, utap_addr to, struct isa_emitter *e)
{
	struct isa_insn copy = *insn;
	bool falls_through;
	const char *why = NULL;
	int error;

	copy.target = to;
	error = isa_relocate(&copy, ISA_BY_JUMP, e, &falls_through, &why);
	return error ? fail(stub, error, why) : 0;
}

/* A copy emitted earlier, at offset @at, leads here. */
static int aim_branch(struct patch_stub *stub, const struct isa_insn *insn, size_t at, struct isa_emitter *e)
{
	struct isa_emitter again = { .buffer = e->buffer + at, .size = e->used - at, .addr = e->addr + at };

	return e->error ? e->error : emit_branch_to(stub, insn, isa_emit_here(e), &again);
}

static int jump_on(struct patch_stub *stub, const struct isa_insn *insn, struct isa_emitter *e)
{
	isa_emit_jump(e, insn->target);
	return e->error == -ERANGE ? fail(stub, -ERANGE, "the branch's target is out of reach of the trampoline") : e->error;
}

static int rest_taken(struct progress *g, struct isa_emitter *e) { return jump_on(g->stub, &g->taken, e); }

/* ---- the run ---- */

static int relocate(struct progress *g, const struct isa_insn *insn, struct isa_emitter *e)
{
	enum isa_entry entry = g->stub->jump->by_call ? ISA_BY_CALL : ISA_BY_JUMP;
	const char *why = NULL;
	int error = isa_relocate(insn, entry, e, &g->on, &why);

	return error ? fail(g->stub, error, why) : 0;
}

static int emit_run(struct progress *g, struct isa_emitter *e);

static int emit_judge(struct progress *g, const struct patch_site *site, struct isa_emitter *e)
{
	uint64_t bias = g->stub->module->bias;
	struct isa_stretch stay[2];
	const char *why = NULL;
	int error;

	for (size_t i = 0; i < 2; i++)
		stay[i] = (struct isa_stretch){ site->stay[i].start + bias, site->stay[i].end + bias };
	error = isa_emit_judge(&site->insn, stay, 2, e, &why);
	return error ? fail(g->stub, error, why) : 0;
}

/* At a site: its program, in front of the instruction. *done: what follows was emitted too. */
static int emit_site(struct progress *g, struct patch_member *member, struct isa_emitter *e, bool *done)
{
	int error = 0;

	g->entered = true;
	if (member->site->when == PATCH_WHEN_TAKEN) { /* its program comes later */
		member->branch = e->used;
		return 0;
	}
	if (member->site->when == PATCH_WHEN_LEAVING)
		error = emit_judge(g, member->site, e);
	if (error)
		return error;
	*done = g->body != NULL;
	if (g->body)
		return emit_whole(g, member->site, emit_run, e);
	emit_shared(g->stub, member, e);
	return 0;
}

/* Programs that run when a branch is taken. */
static int emit_taken(struct progress *g, struct isa_emitter *e)
{
	for (size_t i = 0; i < g->stub->count; i++) {
		struct patch_member *member = &g->stub->members[i];
		int error;

		if (member->site->when != PATCH_WHEN_TAKEN || i >= g->at)
			continue;
		error = aim_branch(g->stub, &member->site->insn, member->branch, e);
		if (error)
			return error;
		g->taken = member->site->insn;
		if (g->body)
			return emit_whole(g, member->site, rest_taken, e);
		emit_shared(g->stub, member, e);
		error = jump_on(g->stub, &g->taken, e);
		if (error)
			return error;
	}
	return 0;
}

/* Its program stands: is the next one of the same place? */
static bool has_another(const struct progress *g)
{
	const struct patch_member *members = g->stub->members;

	return g->at + 1 < g->stub->count && members[g->at + 1].site->addr == members[g->at].site->addr;
}

/* The rest of the instructions from g->next on; it is where control goes back that is not copied when it can be had in the text. */
static int emit_run(struct progress *g, struct isa_emitter *e)
{
	while (g->on && g->next < g->end) {
		bool has_site = g->at < g->stub->count && g->stub->members[g->at].site->addr == g->next;
		struct isa_emitter before;
		struct isa_insn insn;
		bool done = false;
		int error = 0;

		if (!patch_insn_at(g->stub->module, g->next - g->stub->module->bias, &insn))
			return fail(g->stub, -ENOTSUP, "the bytes there are no instruction this version knows");
		if (has_site && !g->entered)
			error = emit_site(g, &g->stub->members[g->at], e, &done);
		if (error || done)
			return error;
		if (has_site && has_another(g)) { /* more than one: their bodies are never part of the trampoline */
			g->at++;
			g->entered = false;
			continue;
		}
		before = *e;
		error = relocate(g, &insn, e);
		if (error && error != -ENOSPC && g->next != g->stub->jump->start && g->at == g->stub->count && !has_site) {
			*e = before; /* it runs where it is, after all sites */
			g->stub->why = NULL;
			g->on = true;
			break;
		}
		if (error)
			return error;
		g->at += has_site;
		g->entered = false;
		g->next += insn.length;
	}
	if (g->on)
		isa_emit_jump(e, g->next);
	return e->error ? e->error : emit_taken(g, e);
}

/* ---- the place ---- */

/* The bytes that lead from the place to the trampoline; what is left of the instructions becomes int3. */
static int encode_jump(struct patch_stub *stub)
{
	const struct patch_jump *jump = stub->jump;
	struct isa_emitter e = { .buffer = stub->bytes, .size = sizeof(stub->bytes), .addr = jump->start };
	size_t available;
	const uint8_t *text = object_code(stub->module->object, jump->start - stub->module->bias, &available);
	struct isa_insn insn;

	memset(stub->bytes, INT3, sizeof(stub->bytes));
	switch (jump->layer) {
	case PATCH_L4:
		if (!patch_insn_at(stub->module, jump->start - stub->module->bias, &insn) || available < insn.length + 4U)
			return -EIO;
		return isa_pun_encode(&insn, text + insn.length, jump->prefixes, jump->island, stub->bytes);
	case PATCH_L3:
	case PATCH_L2:
		if (!jump->in_padding) {
			isa_emit_jump(&e, jump->island);
			break;
		}
		isa_emit_u8(&e, 0xeb);
		isa_emit_u8(&e, (uint8_t)(int8_t)(int64_t)(jump->island - (jump->start + 2)));
		break;
	case PATCH_L1:
		for (unsigned i = 5; jump->by_call && i < jump->length; i++) /* in front: the return address is that of the original */
			isa_emit_u8(&e, 0x2e);
		if (jump->by_call)
			isa_emit_call(&e, stub->addr);
		else
			isa_emit_jump(&e, stub->addr);
		break;
	case PATCH_L0:
	case PATCH_REFUSED:
		break;
	}
	return e.error == -ERANGE ? fail(stub, -ERANGE, "the trampoline is out of reach") : e.error;
}

static int emit(struct patch_stub *stub, struct progress *g, struct isa_emitter *e)
{
	int error;

	stub->addr = isa_emit_here(e);
	stub->why = NULL;
	g->stub = stub;
	g->next = stub->jump->start;
	g->end = stub->jump->start + stub->jump->reach;
	g->on = true;
	error = emit_run(g, e);
	if (!error)
		error = e->error;
	return error ? error : encode_jump(stub);
}

int patch_stub_emit(struct patch_stub *stub, struct isa_emitter *e)
{
	struct progress g = { 0 };

	return emit(stub, &g, e);
}

int patch_stub_emit_whole(struct patch_stub *stub, patch_body_fn *body, void *arg, struct isa_emitter *e, struct utap_error *err)
{
	struct progress g = { .body = body, .arg = arg, .err = err };

	return emit(stub, &g, e);
}
