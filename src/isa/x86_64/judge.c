/* SPDX-License-Identifier: MIT */
/*
 * Where does an indirect jump lead? Code that finds out without a trace: the red zone, flags and registers are as they were on both
 * ways out of it.
 *
 *      lea  -128(%rsp), %rsp
 *      push %rax
 *      push %rcx
 *      mov  <operand>, %rcx        relative to rsp: 144 more
 *      lahf; seto %al; push %rax   far cheaper than pushf and popf
 *      lea  <first>(%rip), %rax
 *      sub  %rax, %rcx
 *      cmp  $<size>, %rcx;  jb stay                          once a stretch
 *      jmp  leave
 * stay:   pop %rax; add $127, %al; sahf; pop %rcx; pop %rax; lea 128(%rsp), %rsp;  <the jump>
 * leave:  pop %rax; add $127, %al; sahf; pop %rcx; pop %rax; lea 128(%rsp), %rsp
 */
#include <errno.h>
#include <string.h>

#include "isa/isa.h"

#define LOWERED 144 /* of rsp, when the operand is read */
#define RSP 4
#define RCX 1

static const uint8_t code_enter[] = { 0x48, 0x8d, 0x64, 0x24, 0x80, 0x50, 0x51 };
static const uint8_t code_save[] = { 0x9f, 0x0f, 0x90, 0xc0, 0x50 };
static const uint8_t code_restore[] = { 0x58, 0x04, 0x7f, 0x9e, 0x59, 0x58, 0x48, 0x8d, 0xa4, 0x24, 0x80, 0, 0, 0 };

/* What of an indirect jump matters for reading its operand. */
struct operand {
	uint8_t segment; /* a prefix, or 0 */
	bool narrow;     /* address size prefix */
	uint8_t rex;     /* its X and B */
	uint8_t modrm, sib;
	size_t at;       /* of the ModRM byte */
};

static struct operand read_operand(const struct isa_insn *insn)
{
	struct operand o = { 0 };
	uint8_t byte;

	for (; (byte = insn->bytes[o.at]) != 0xff; o.at++) {
		if (byte == 0x64 || byte == 0x65)
			o.segment = byte;
		o.narrow |= byte == 0x67;
		o.rex = (byte & 0xf0) == 0x40 ? byte & 3 : 0;
	}
	o.at++;
	o.modrm = insn->bytes[o.at];
	o.sib = insn->bytes[o.at + 1];
	return o;
}

static void emit_register(const struct operand *o, struct isa_emitter *e)
{
	unsigned reg = (o->modrm & 7) | (o->rex & 1) << 3;
	static const uint8_t lea_rsp[] = { 0x48, 0x8d, 0x8c, 0x24, LOWERED, 0, 0, 0 };

	if (reg == RSP) {
		isa_emit_bytes(e, lea_rsp, sizeof(lea_rsp));
	} else if (reg != RCX) {
		isa_emit_u8(e, 0x48 | (o->rex & 1) << 2);
		isa_emit_u8(e, 0x89);
		isa_emit_u8(e, (uint8_t)(0xc0 | (reg & 7) << 3 | RCX));
	}
}

static int64_t displacement_of(const struct isa_insn *insn, const struct operand *o, size_t sib)
{
	const uint8_t *at = insn->bytes + o->at + 1 + sib;
	unsigned mod = o->modrm >> 6;
	int32_t wide = 0;

	if (mod == 1)
		return (int8_t)*at;
	if (mod == 2)
		memcpy(&wide, at, sizeof(wide));
	return wide;
}

static void emit_wide(struct isa_emitter *e, int64_t value)
{
	if (value != (int32_t)value && !e->error)
		e->error = -ERANGE;
	isa_emit_u32(e, (uint32_t)value);
}

/* mov <operand>, %rcx */
static void emit_memory(const struct isa_insn *insn, const struct operand *o, struct isa_emitter *e)
{
	bool by_sib = (o->modrm & 7) == 4;

	if (o->segment)
		isa_emit_u8(e, o->segment);
	if (o->narrow)
		isa_emit_u8(e, 0x67);
	isa_emit_u8(e, 0x48 | o->rex);
	isa_emit_u8(e, 0x8b);
	if (by_sib && (o->sib & 7) == RSP && !(o->rex & 1)) {
		isa_emit_u8(e, 0x80 | RCX << 3 | 4);
		isa_emit_u8(e, o->sib);
		emit_wide(e, displacement_of(insn, o, 1) + LOWERED);
		return;
	}
	isa_emit_u8(e, (uint8_t)((o->modrm & 0xc7) | RCX << 3));
	if (insn->has_rip_operand)
		emit_wide(e, (int64_t)(insn->rip_operand - (isa_emit_here(e) + 4)));
	else
		isa_emit_bytes(e, insn->bytes + o->at + 1, insn->length - o->at - 1);
}

/* jb stay, whose distance, at *jump_at, is filled in when it is known. */
static void emit_compare(const struct isa_stretch *stay, utap_addr *base, struct isa_emitter *e, size_t *jump_at)
{
	static const uint8_t lea_rax[] = { 0x48, 0x8d, 0x05 };
	static const uint8_t sub_rax_rcx[] = { 0x48, 0x29, 0xc1 };
	static const uint8_t sub_rcx[] = { 0x48, 0x81, 0xe9 };
	static const uint8_t cmp_rcx[] = { 0x48, 0x81, 0xf9 };

	if (!*base) {
		isa_emit_bytes(e, lea_rax, sizeof(lea_rax));
		emit_wide(e, (int64_t)(stay->start - (isa_emit_here(e) + 4)));
		isa_emit_bytes(e, sub_rax_rcx, sizeof(sub_rax_rcx));
	} else {
		isa_emit_bytes(e, sub_rcx, sizeof(sub_rcx));
		emit_wide(e, (int64_t)(stay->start - *base));
	}
	*base = stay->start;
	isa_emit_bytes(e, cmp_rcx, sizeof(cmp_rcx));
	emit_wide(e, (int64_t)(stay->end - stay->start));
	isa_emit_u8(e, 0x72);
	*jump_at = e->used;
	isa_emit_u8(e, 0);
}

/* The distance byte at @at leads here. */
static void land(struct isa_emitter *e, size_t at)
{
	size_t distance = e->used - at - 1;

	if (!e->error && distance > 127)
		e->error = -ERANGE;
	if (!e->error)
		e->buffer[at] = (uint8_t)distance;
}

#define STRETCHES 4

int isa_emit_judge(const struct isa_insn *insn, const struct isa_stretch *stay, size_t count, struct isa_emitter *e,
		   const char **why)
{
	struct operand o;
	size_t jumps[STRETCHES];
	size_t n = 0;
	size_t leave;
	utap_addr base = 0;
	bool falls_through;
	int error;

	if (insn->class != ISA_JUMP_INDIRECT || count > STRETCHES) {
		*why = "only of an indirect jump can be told where it leads";
		return -ENOTSUP;
	}
	o = read_operand(insn);
	isa_emit_bytes(e, code_enter, sizeof(code_enter));
	if (o.modrm >> 6 == 3)
		emit_register(&o, e);
	else
		emit_memory(insn, &o, e);
	isa_emit_bytes(e, code_save, sizeof(code_save));
	for (size_t i = 0; i < count; i++)
		if (stay[i].end > stay[i].start)
			emit_compare(&stay[i], &base, e, &jumps[n++]);
	isa_emit_u8(e, 0xeb);
	leave = e->used;
	isa_emit_u8(e, 0);
	for (size_t i = 0; i < n; i++)
		land(e, jumps[i]);
	isa_emit_bytes(e, code_restore, sizeof(code_restore));
	error = isa_relocate(insn, ISA_BY_JUMP, e, &falls_through, why);
	if (error)
		return error;
	land(e, leave);
	isa_emit_bytes(e, code_restore, sizeof(code_restore));
	if (e->error == -ERANGE)
		*why = "the operand is out of reach of the trampoline";
	return e->error;
}
