/* SPDX-License-Identifier: MIT */
/*
 * Relocation: the same effect from another address.
 *
 * Invariants: no flag, no register and no byte of the stack but those the original writes is ever touched; the only
 * return address pushed is the original's; every copy is a valid instruction of at most 15 bytes.
 *
 * Code sees its own address through operands relative to the instruction pointer and through rcx after syscall: both
 * are repaired here. Three things stay visible: the x87 instruction pointer that fnstenv, fxsave and xsave store; the
 * address in a signal's frame; and after a fault in the operand of an indirect call, a return address that is already
 * on the stack. An operand of such a call that is addressed through another register than rsp is assumed not to be the
 * slot right below the stack, which no compiler keeps anything in across a call.
 */
#include <errno.h>
#include <string.h>

#include "isa/isa.h"

static const char why_branch_reach[] = "the branch's target is out of reach of the trampoline";
static const char why_operand_reach[] = "the operand is out of reach of the trampoline";

static bool is_legacy_prefix(uint8_t byte)
{
	static const uint8_t prefixes[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3 };

	return memchr(prefixes, byte, sizeof(prefixes)) != NULL;
}

/* Where the opcode stands; the REX prefix right before it, or 0. Only for instructions of the legacy opcode maps. */
static size_t opcode_offset(const struct isa_insn *insn, uint8_t *rex)
{
	uint8_t last = 0;
	size_t at = 0;

	for (; at + 1 < insn->length; at++) {
		bool is_rex = (insn->bytes[at] & 0xf0) == 0x40;

		if (!is_rex && !is_legacy_prefix(insn->bytes[at]))
			break;
		last = is_rex ? insn->bytes[at] : 0; /* a REX prefix counts only when nothing but the opcode follows */
	}
	*rex = last;
	return at;
}

/* The instruction with its RIP-relative operand, if any, meaning the same address from where it is emitted. */
static void emit_adjusted(const struct isa_insn *insn, const uint8_t *bytes, struct isa_emitter *e)
{
	uint8_t copy[ISA_INSN_MAX];

	memcpy(copy, bytes, insn->length);
	if (insn->has_rip_operand) {
		int64_t distance = (int64_t)(insn->rip_operand - (isa_emit_here(e) + insn->length));
		int32_t displacement = (int32_t)distance;

		if (distance != displacement) {
			if (!e->error)
				e->error = -ERANGE;
			return;
		}
		memcpy(copy + insn->disp_offset, &displacement, sizeof(displacement));
	}
	isa_emit_bytes(e, copy, insn->length);
}

/* What a call pushes. A push of 32 bits is extended by its sign; other addresses are stored in halves. */
static void emit_push_return(const struct isa_insn *insn, struct isa_emitter *e)
{
	static const uint8_t lea_rsp[] = { 0x48, 0x8d, 0x64, 0x24, 0xf8 }; /* lea -8(%rsp),%rsp: keeps the flags */
	static const uint8_t movl_lo[] = { 0xc7, 0x04, 0x24 };
	static const uint8_t movl_hi[] = { 0xc7, 0x44, 0x24, 0x04 };
	utap_addr back = insn->addr + insn->length;

	if ((int64_t)back == (int32_t)back) {
		isa_emit_u8(e, 0x68);
		isa_emit_u32(e, (uint32_t)back);
		return;
	}
	isa_emit_bytes(e, lea_rsp, sizeof(lea_rsp));
	isa_emit_bytes(e, movl_lo, sizeof(movl_lo));
	isa_emit_u32(e, (uint32_t)back);
	isa_emit_bytes(e, movl_hi, sizeof(movl_hi));
	isa_emit_u32(e, (uint32_t)(back >> 32));
}

/* jmp *disp+8(%rsp) for call *disp(%rsp): the return address stands below the operand now. */
static void emit_stack_jump(const struct isa_insn *insn, size_t modrm_at, struct isa_emitter *e)
{
	const uint8_t *modrm = insn->bytes + modrm_at;
	unsigned mod = modrm[0] >> 6;
	int32_t displacement = 0;

	if (mod == 1)
		displacement = (int8_t)modrm[2];
	if (mod == 2)
		memcpy(&displacement, modrm + 2, sizeof(displacement));
	displacement += 8; /* decode.c refused what would overflow */
	isa_emit_bytes(e, insn->bytes, modrm_at);
	if (displacement == (int8_t)displacement) {
		isa_emit_u8(e, 0x64); /* mod 1, reg 4 (jmp), rm 4 (SIB) */
		isa_emit_u8(e, modrm[1]);
		isa_emit_u8(e, (uint8_t)displacement);
		return;
	}
	isa_emit_u8(e, 0xa4); /* mod 2, reg 4, rm 4 */
	isa_emit_u8(e, modrm[1]);
	isa_emit_u32(e, (uint32_t)displacement);
}

/* ff /2 becomes ff /4 with the same operand. */
static void emit_callee_jump(const struct isa_insn *insn, struct isa_emitter *e)
{
	uint8_t rex;
	size_t modrm_at = opcode_offset(insn, &rex) + 1;
	uint8_t modrm = insn->bytes[modrm_at];
	bool by_sib = modrm >> 6 != 3 && (modrm & 7) == 4;

	if (by_sib && (insn->bytes[modrm_at + 1] & 7) == 4 && !(rex & 1)) {
		emit_stack_jump(insn, modrm_at, e);
		return;
	}

	uint8_t bytes[ISA_INSN_MAX];

	memcpy(bytes, insn->bytes, insn->length);
	bytes[modrm_at] = (modrm & 0xc7) | 4 << 3;
	emit_adjusted(insn, bytes, e);
}

static void emit_call(const struct isa_insn *insn, enum isa_entry entry, struct isa_emitter *e)
{
	if (entry == ISA_BY_JUMP)
		emit_push_return(insn, e);
	if (insn->class == ISA_CALL)
		isa_emit_jump(e, insn->target);
	else
		emit_callee_jump(insn, e);
}

static void emit_branch(const struct isa_insn *insn, struct isa_emitter *e)
{
	uint8_t rex;
	size_t opcode_at = opcode_offset(insn, &rex);
	uint8_t opcode = insn->bytes[opcode_at];
	uint8_t condition = (opcode == 0x0f ? insn->bytes[opcode_at + 1] : opcode) & 0x0f;
	int64_t distance = (int64_t)(insn->target - (isa_emit_here(e) + 6));

	if (distance != (int32_t)distance) {
		if (!e->error)
			e->error = -ERANGE;
		return;
	}
	isa_emit_u8(e, 0x0f);
	isa_emit_u8(e, 0x80 | condition);
	isa_emit_u32(e, (uint32_t)distance);
}

/* loop +2; jmp +5; jmp rel32. The address size decides between rcx and ecx. */
static void emit_loop(const struct isa_insn *insn, struct isa_emitter *e)
{
	uint8_t rex;
	size_t opcode_at = opcode_offset(insn, &rex);

	if (memchr(insn->bytes, 0x67, opcode_at))
		isa_emit_u8(e, 0x67);
	isa_emit_u8(e, insn->bytes[opcode_at]);
	isa_emit_u8(e, 2);
	isa_emit_u8(e, 0xeb);
	isa_emit_u8(e, 5);
	isa_emit_jump(e, insn->target);
}

/* syscall leaves the address of what follows it in rcx; the program must see its own. */
static void emit_syscall(const struct isa_insn *insn, struct isa_emitter *e)
{
	static const uint8_t movabs_rcx[] = { 0x48, 0xb9 };
	uint8_t rex;
	size_t opcode_at = opcode_offset(insn, &rex);

	isa_emit_bytes(e, insn->bytes, insn->length);
	if (insn->bytes[opcode_at] != 0x0f || insn->bytes[opcode_at + 1] != 0x05)
		return;
	isa_emit_bytes(e, movabs_rcx, sizeof(movabs_rcx));
	isa_emit_u64(e, insn->addr + insn->length);
}

static const char *why_not(const struct isa_insn *insn, enum isa_entry entry)
{
	if (insn->class == ISA_REFUSED)
		return insn->why;
	if (insn->class == ISA_ENDBR)
		return "endbr64 marks a branch target and stays in its place: probe the next instruction";
	if (entry == ISA_BY_CALL && insn->class != ISA_CALL && insn->class != ISA_CALL_INDIRECT)
		return "only a call can be replaced by a call";
	return NULL;
}

int isa_relocate(const struct isa_insn *insn, enum isa_entry entry, struct isa_emitter *e, bool *falls_through,
		 const char **why)
{
	const char *reason = why_not(insn, entry);
	bool continues = true;

	if (reason) {
		*why = reason;
		return -ENOTSUP;
	}
	switch (insn->class) {
	case ISA_CALL:
	case ISA_CALL_INDIRECT:
		emit_call(insn, entry, e);
		continues = false;
		break;
	case ISA_JUMP:
		isa_emit_jump(e, insn->target);
		continues = false;
		break;
	case ISA_JUMP_INDIRECT:
	case ISA_RETURN:
		emit_adjusted(insn, insn->bytes, e);
		continues = false;
		break;
	case ISA_BRANCH:
		emit_branch(insn, e);
		break;
	case ISA_LOOP:
		emit_loop(insn, e);
		break;
	case ISA_SYSCALL:
		emit_syscall(insn, e);
		break;
	case ISA_PLAIN:
	case ISA_NOP:
		emit_adjusted(insn, insn->bytes, e);
		break;
	case ISA_ENDBR:
	case ISA_REFUSED:
		break;
	}
	if (e->error == -ERANGE)
		*why = insn->has_rip_operand ? why_operand_reach : why_branch_reach;
	if (e->error)
		return e->error;
	*falls_through = continues;
	return 0;
}
