/* SPDX-License-Identifier: MIT */
/*
 * Trampolines.
 *
 *      lea  -128(%rsp), %rsp      keep off the red zone (a call site has no red zone left, but its return address: -120, so that
 *                                 the body finds the program's rsp at the same distance)
 *      push %rax
 *      mov  $id, %eax
 *      call body                  the program, shared by all places that run the same one
 *      pop  %rax
 *      lea  128(%rsp), %rsp
 *      <the displaced instruction>
 *      <L4: those that start under the punned jump>
 *      jmp  <after the original>
 *
 * A punned jump ends inside the next instruction. Coming back there would meet the jump's own entry in the branch predictor, which knows
 * branches by their last byte: 7 ns a hit (docs/decisions/0005). So what starts under the jump is copied too. Nobody else can probe those
 * instructions: the jump depends on their bytes.
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

static void emit_enter(const struct patch_site *site, struct isa_emitter *e)
{
	isa_emit_bytes(e, site->by_call ? code_enter_call : code_enter, sizeof(code_enter));
	isa_emit_u32(e, site->id);
}

/* @skip: bytes not wanted in front */
static void emit_leave(const struct patch_site *site, unsigned skip, struct isa_emitter *e)
{
	if (site->by_call)
		isa_emit_bytes(e, code_leave_call + skip, sizeof(code_leave_call) - skip);
	else
		isa_emit_bytes(e, code_leave + skip, sizeof(code_leave) - skip);
}

/* The bytes that lead from the place to the trampoline; what is left of the instruction becomes int3. */
static int encode_site(struct patch_site *site)
{
	unsigned length = site->insn.length;
	size_t available;
	uint64_t vaddr = site->addr - site->module->bias;
	const uint8_t *bytes = object_code(site->module->object, vaddr, &available);
	struct isa_emitter e = { .buffer = site->bytes, .size = sizeof(site->bytes), .addr = site->addr };

	memset(site->bytes, 0xcc, sizeof(site->bytes));
	site->changed = (uint8_t)length;
	if (site->layer == PATCH_L4)
		return isa_pun_encode(&site->insn, bytes + length, site->prefixes, site->island, site->bytes);
	if (site->layer == PATCH_L3) {
		isa_emit_u8(&e, 0xeb);
		isa_emit_u8(&e, (uint8_t)(int8_t)(int64_t)(site->island - (site->addr + 2)));
	} else if (site->by_call) { /* padded in front: the return address is that of the original */
		for (unsigned i = 5; i < length; i++)
			isa_emit_u8(&e, 0x2e);
		isa_emit_call(&e, site->stub);
	} else {
		isa_emit_jump(&e, site->stub);
	}
	return e.error;
}

static bool may_follow(const struct isa_insn *insn)
{
	switch (insn->class) {
	case ISA_PLAIN:
	case ISA_NOP:
	case ISA_JUMP:
	case ISA_JUMP_INDIRECT:
	case ISA_BRANCH:
	case ISA_LOOP:
	case ISA_RETURN:
		return true;
	case ISA_CALL: /* its copy would unbalance the return predictor: worse */
	case ISA_CALL_INDIRECT:
	case ISA_SYSCALL: /* threads would block inside the trampoline */
	case ISA_ENDBR:
	case ISA_REFUSED:
		return false;
	}
	return false;
}

/* Copy the instructions that start under a punned jump; stops at one that cannot be copied: then control returns there. */
static utap_addr emit_followers(const struct patch_site *site, struct isa_emitter *e, bool *falls_through)
{
	utap_addr next = site->addr + site->insn.length;
	utap_addr end = site->layer == PATCH_L4 ? site->addr + site->prefixes + 5U : next;

	while (*falls_through && next < end) {
		struct isa_emitter before = *e;
		struct isa_insn insn;
		size_t available;
		const char *why;
		const uint8_t *bytes = object_code(site->module->object, next - site->module->bias, &available);

		if (!bytes || isa_decode(bytes, available, next, &insn) || !may_follow(&insn) ||
		    patch_code_forbidden(site->module->code, next - site->module->bias, insn.length))
			break;
		if (isa_relocate(&insn, ISA_BY_JUMP, e, falls_through, &why)) {
			*e = before;
			*falls_through = true;
			break;
		}
		next += insn.length;
	}
	return next;
}

/* The displaced instruction and what has to go with it, and the way back. */
static int emit_displaced(struct patch_site *site, struct isa_emitter *e)
{
	bool falls_through = true;
	utap_addr next;
	int error = isa_relocate(&site->insn, site->by_call ? ISA_BY_CALL : ISA_BY_JUMP, e, &falls_through, &site->why);

	if (error)
		return error;
	next = emit_followers(site, e, &falls_through);
	if (falls_through)
		isa_emit_jump(e, next);
	return e->error;
}

static int finish_site(struct patch_site *site, const struct isa_emitter *e)
{
	if (e->error)
		return e->error;
	site->stub_size = (uint32_t)(isa_emit_here(e) - site->stub);
	return encode_site(site);
}

int patch_stub_emit(struct patch_site *site, utap_addr body, struct isa_emitter *e)
{
	int error;

	site->stub = isa_emit_here(e);
	emit_enter(site, e);
	isa_emit_call(e, body);
	emit_leave(site, 0, e);
	error = emit_displaced(site, e);
	return error ? error : finish_site(site, e);
}

struct whole {
	struct patch_site *site;
	int error;
};

static void emit_tail(void *arg, struct isa_emitter *e)
{
	struct whole *whole = arg;

	emit_leave(whole->site, LEAVE_POP, e);
	whole->error = emit_displaced(whole->site, e);
}

int patch_stub_emit_whole(struct patch_site *site, patch_body_fn *body, void *arg, struct isa_emitter *e,
			  struct utap_error *err)
{
	struct whole whole = { .site = site };
	struct patch_tail tail = { .emit = emit_tail, .arg = &whole, .id = site->id };
	struct isa_emitter rest;
	int error;

	site->stub = isa_emit_here(e);
	isa_emit_bytes(e, site->by_call ? code_enter_call : code_enter, ENTER_LEA);
	rest = (struct isa_emitter){ .buffer = e->buffer + e->used, .size = e->size - e->used, .addr = isa_emit_here(e) };
	error = e->error ? e->error : body(arg, site->program, &tail, &rest, err);
	e->used += rest.used;
	if (whole.error) { /* the place, not the program */
		error = whole.error;
		if (err)
			err->code = 0;
	}
	return error ? error : finish_site(site, e);
}
