/* SPDX-License-Identifier: MIT */
/*
 * Decoding and the verdict whether an instruction may run at another place.
 *
 * Invariant: a class other than ISA_REFUSED and ISA_ENDBR is a promise that relocate.c knows an exact equivalent. What
 * is not known to be harmless is refused here, with its reason, so that nobody else has to know an encoding.
 *
 * Lengths follow Intel where processors differ: a near branch with an operand-size prefix is decoded with its full
 * displacement, and refused, because AMD reads two bytes only.
 *
 * Source: Intel SDM volume 2, AMD APM volume 3.
 */
#include <errno.h>
#include <string.h>

#include <Zydis/Decoder.h>

#include "isa/isa.h"
#include "isa/x86_64/zydis.h"

struct refused_mnemonic {
	ZydisMnemonic mnemonic;
	const char *why;
};

struct refused_category {
	ZydisInstructionCategory category;
	const char *why;
};

static const char why_trap[] = "an instruction that traps";
static const char why_privileged[] = "a privileged instruction";

static const struct refused_category refused_categories[] = {
	{ ZYDIS_CATEGORY_INTERRUPT, why_trap },
	{ ZYDIS_CATEGORY_IO, why_privileged },
	{ ZYDIS_CATEGORY_IOSTRINGOP, why_privileged },
	{ ZYDIS_CATEGORY_SYSRET, why_privileged },
	{ ZYDIS_CATEGORY_VTX, "an instruction for hypervisors" },
	{ ZYDIS_CATEGORY_SGX, "an enclave instruction, which keeps its own address" },
};

static const struct refused_mnemonic refused_mnemonics[] = {
	{ ZYDIS_MNEMONIC_UD0, why_trap },
	{ ZYDIS_MNEMONIC_UD1, why_trap },
	{ ZYDIS_MNEMONIC_UD2, why_trap },
	{ ZYDIS_MNEMONIC_CLI, why_privileged },
	{ ZYDIS_MNEMONIC_STI, why_privileged },
	{ ZYDIS_MNEMONIC_HLT, why_privileged },
	{ ZYDIS_MNEMONIC_GETSEC, why_privileged },
	{ ZYDIS_MNEMONIC_VMRUN, why_privileged },
	{ ZYDIS_MNEMONIC_VMLOAD, why_privileged },
	{ ZYDIS_MNEMONIC_VMSAVE, why_privileged },
	{ ZYDIS_MNEMONIC_VMMCALL, "an instruction for hypervisors" },
	{ ZYDIS_MNEMONIC_STGI, why_privileged },
	{ ZYDIS_MNEMONIC_CLGI, why_privileged },
	{ ZYDIS_MNEMONIC_SKINIT, why_privileged },
	{ ZYDIS_MNEMONIC_INVLPGA, why_privileged },
	{ ZYDIS_MNEMONIC_IRET, "a return from an interrupt" },
	{ ZYDIS_MNEMONIC_IRETD, "a return from an interrupt" },
	{ ZYDIS_MNEMONIC_IRETQ, "a return from an interrupt" },
	{ ZYDIS_MNEMONIC_UIRET, "a return from an interrupt" },
	{ ZYDIS_MNEMONIC_XBEGIN, "the start of a transaction: a probe inside it would abort it" },
	{ ZYDIS_MNEMONIC_LSS, "a load of the stack segment" },
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static bool is_int_0x80(const ZydisDecodedInstruction *i)
{
	return i->mnemonic == ZYDIS_MNEMONIC_INT && i->raw.imm[0].value.u == 0x80;
}

static bool is_near_branch(const ZydisDecodedInstruction *i)
{
	return i->meta.branch_type == ZYDIS_BRANCH_TYPE_SHORT || i->meta.branch_type == ZYDIS_BRANCH_TYPE_NEAR;
}

static bool has_ip_operand(const ZydisDecodedInstruction *i)
{
	return (i->attributes & ZYDIS_ATTRIB_HAS_MODRM) && i->raw.modrm.mod == 0 && i->raw.modrm.rm == 5 &&
	       i->raw.disp.size == 32;
}

static const char *why_by_table(const ZydisDecodedInstruction *i)
{
	for (size_t n = 0; n < COUNT(refused_categories); n++)
		if (i->meta.category == refused_categories[n].category)
			return refused_categories[n].why;
	for (size_t n = 0; n < COUNT(refused_mnemonics); n++)
		if (i->mnemonic == refused_mnemonics[n].mnemonic)
			return refused_mnemonics[n].why;
	return NULL;
}

/*
 * call *%rsp and call *mem(%rsp..): the relocated form pushes before it reads, so rsp is 8 lower at the read, which a
 * displacement can make up for, but a register or an unknown index cannot; nor may it read what it just pushed.
 */
static const char *why_stack_call(const ZydisDecodedInstruction *i)
{
	if (i->raw.rex.B)
		return NULL; /* r12 */
	if (i->raw.modrm.mod == 3)
		return i->raw.modrm.rm == 4 ? "a call to the address in the stack pointer" : NULL;
	if (i->raw.modrm.rm != 4 || i->raw.sib.base != 4)
		return NULL;
	if (i->raw.sib.index != 4 || i->raw.rex.X)
		return "a call through a table on the stack";
	if (i->raw.disp.value > -16 && i->raw.disp.value < 0)
		return "a call through the slot of its own return address";
	if (i->length > ISA_INSN_MAX - 3)
		return "a call with more prefixes than its longer displacement leaves room for";
	if (i->raw.disp.value > INT32_MAX - 8)
		return "a call through the stack that is too far away";
	return NULL;
}

static const char *why_refused(const ZydisDecodedInstruction *i)
{
	if (is_int_0x80(i))
		return NULL;
	if (i->attributes & ZYDIS_ATTRIB_IS_PRIVILEGED)
		return why_privileged;
	if (i->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return "a far branch";
	if (is_near_branch(i) && (i->attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE) && !i->raw.rex.W)
		return "a branch with a 16-bit operand, which processors understand differently";
	if (has_ip_operand(i) && i->address_width != 64)
		return "an operand relative to the low 32 bits of the instruction pointer";
	if (i->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && i->opcode == 0x8e && i->raw.modrm.reg == 2)
		return "a load of the stack segment";
	if (i->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && i->opcode == 0xff && i->raw.modrm.reg == 2)
		return why_stack_call(i);
	return why_by_table(i);
}

static enum isa_class class_of_branch(const ZydisDecodedInstruction *i)
{
	bool direct = i->raw.imm[0].is_relative;

	if (i->mnemonic == ZYDIS_MNEMONIC_RET)
		return ISA_RETURN;
	if (i->mnemonic == ZYDIS_MNEMONIC_CALL)
		return direct ? ISA_CALL : ISA_CALL_INDIRECT;
	if (i->mnemonic == ZYDIS_MNEMONIC_JMP)
		return direct ? ISA_JUMP : ISA_JUMP_INDIRECT;
	if (i->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && i->opcode >= 0x70 && i->opcode <= 0x7f)
		return ISA_BRANCH;
	if (i->opcode_map == ZYDIS_OPCODE_MAP_0F && i->opcode >= 0x80 && i->opcode <= 0x8f)
		return ISA_BRANCH;
	if (i->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && i->opcode >= 0xe0 && i->opcode <= 0xe3)
		return ISA_LOOP;
	return ISA_REFUSED;
}

static enum isa_class class_of(const ZydisDecodedInstruction *i)
{
	if (i->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE)
		return class_of_branch(i);
	if (i->meta.category == ZYDIS_CATEGORY_SYSCALL || is_int_0x80(i))
		return ISA_SYSCALL;
	if (i->mnemonic == ZYDIS_MNEMONIC_ENDBR64)
		return ISA_ENDBR;
	if (i->mnemonic == ZYDIS_MNEMONIC_NOP)
		return ISA_NOP;
	return ISA_PLAIN;
}

static void set_operands(const ZydisDecodedInstruction *i, struct isa_insn *insn)
{
	utap_addr next = insn->addr + insn->length;

	insn->has_target = isa_zydis_target(i, insn->addr, &insn->target);
	if (!has_ip_operand(i))
		return;
	insn->has_rip_operand = true;
	insn->rip_operand = next + (uint64_t)i->raw.disp.value;
	insn->disp_offset = i->raw.disp.offset;
}

bool isa_zydis_target(const ZydisDecodedInstruction *i, utap_addr addr, utap_addr *target)
{
	if (!i->raw.imm[0].is_relative)
		return false;
	*target = addr + i->length + i->raw.imm[0].value.u;
	return true;
}

int isa_zydis_decode(const uint8_t *code, size_t size, ZydisDecodedInstruction *ret)
{
	ZydisDecoder decoder;

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, NULL, code, size, ret)))
		return -EILSEQ;
	return 0;
}

int isa_decode(const uint8_t *code, size_t size, utap_addr addr, struct isa_insn *ret)
{
	ZydisDecodedInstruction i;
	int error = isa_zydis_decode(code, size, &i);

	if (error)
		return error;

	struct isa_insn insn = { .addr = addr, .length = i.length, .class = ISA_REFUSED, .why = why_refused(&i) };

	memcpy(insn.bytes, code, i.length);
	set_operands(&i, &insn);
	if (!insn.why) {
		insn.class = class_of(&i);
		if (insn.class == ISA_REFUSED)
			insn.why = "a branch of a kind that is not known here";
	}
	*ret = insn;
	return 0;
}

/* A multi-byte nop counts as a whole only; a stray half of one is no padding. */
bool isa_is_padding(const uint8_t *code, size_t size)
{
	for (size_t at = 0; at < size;) {
		struct isa_insn insn;

		if (code[at] == 0x90 || code[at] == 0xcc || code[at] == 0x00) {
			at++;
			continue;
		}
		if (isa_decode(code + at, size - at, 0, &insn) || insn.class != ISA_NOP)
			return false;
		at += insn.length;
	}
	return true;
}
