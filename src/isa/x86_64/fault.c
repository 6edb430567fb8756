/* SPDX-License-Identifier: MIT */
/*
 * Which instructions may be interrupted by a fault of their own: memory that is not there, division. A program that looks at where it
 * happened (Go's runtime does, to turn it into a panic) does not know our copy of the instruction.
 *
 * Source: Intel SDM volume 2, the lists of exceptions; a stack that ends is not counted.
 */
#include <Zydis/Decoder.h>
#include <Zydis/Register.h>

#include "isa/isa.h"
#include "isa/x86_64/zydis.h"

static bool is_trusted(const ZydisDecodedOperandMem *memory, uint32_t trusted)
{
	ZydisRegister base = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, memory->base);

	if (memory->segment == ZYDIS_REGISTER_FS)
		return true;
	if (memory->index != ZYDIS_REGISTER_NONE)
		return false;
	if (memory->base == ZYDIS_REGISTER_RIP || base == ZYDIS_REGISTER_RSP)
		return true;
	return base >= ZYDIS_REGISTER_RAX && base <= ZYDIS_REGISTER_R15 && trusted >> (base - ZYDIS_REGISTER_RAX) & 1;
}

bool isa_may_fault(const struct isa_insn *insn, uint32_t trusted)
{
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction i;
	ZydisDecoder decoder;

	if (insn->class == ISA_NOP || insn->class == ISA_ENDBR)
		return false;
	if (!ZYAN_SUCCESS(ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)) ||
	    !ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, insn->bytes, insn->length, &i, operands)))
		return true;
	if (i.mnemonic == ZYDIS_MNEMONIC_DIV || i.mnemonic == ZYDIS_MNEMONIC_IDIV)
		return true;
	for (unsigned n = 0; n < i.operand_count; n++)
		if (operands[n].type == ZYDIS_OPERAND_TYPE_MEMORY && operands[n].mem.type == ZYDIS_MEMOP_TYPE_MEM &&
		    !is_trusted(&operands[n].mem, trusted))
			return true;
	return false;
}
