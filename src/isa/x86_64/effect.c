/* SPDX-License-Identifier: MIT */
/*
 * What an instruction does to general registers. Which of them it may write comes from the decoder's operand list,
 * hidden operands included; a more exact kind is given only to the forms that compilers make addresses with.
 *
 * Source: Intel SDM volume 2; System V ABI, AMD64, 3.2.3 (registers that a callee preserves).
 */
#include <errno.h>

#include <Zydis/Decoder.h>
#include <Zydis/Register.h>

#include "isa/flow.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

/* rax rcx rdx rsi rdi r8 to r11 */
#define CALLEE_CHANGES 0x0fc7u

/* rcx rsi rdi */
#define STRING_CHANGES 0x00c2u

struct decoded {
	ZydisDecodedInstruction i;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	utap_addr addr;
};

/* The number of a general register of any width, or ISA_NO_REGISTER. ah .. bh are parts of the first four. */
static uint8_t number_of(ZydisRegister reg)
{
	if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH)
		return (uint8_t)(reg - ZYDIS_REGISTER_AH);
	ZydisRegister wide = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);

	if (wide < ZYDIS_REGISTER_RAX || wide > ZYDIS_REGISTER_R15)
		return ISA_NO_REGISTER;
	return (uint8_t)(wide - ZYDIS_REGISTER_RAX);
}

static uint32_t written_by(const struct decoded *d)
{
	uint32_t written = 0;

	for (unsigned n = 0; n < d->i.operand_count; n++) {
		const ZydisDecodedOperand *operand = &d->operands[n];

		if (operand->type != ZYDIS_OPERAND_TYPE_REGISTER ||
		    !(operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
			continue;
		uint8_t number = number_of(operand->reg.value);

		if (number != ISA_NO_REGISTER)
			written |= 1u << number;
	}
	return written;
}

static bool sets_flags(const ZydisDecodedInstruction *i)
{
	const ZydisAccessedFlags *flags = i->cpu_flags;

	return flags && (flags->modified | flags->set_0 | flags->set_1 | flags->undefined);
}

static bool is_register(const ZydisDecodedOperand *operand)
{
	return operand->type == ZYDIS_OPERAND_TYPE_REGISTER && number_of(operand->reg.value) != ISA_NO_REGISTER &&
	       !(operand->reg.value >= ZYDIS_REGISTER_AH && operand->reg.value <= ZYDIS_REGISTER_BH);
}

/* A segment's base is not known, and 32-bit addresses wrap. */
static bool memory_of(const struct decoded *d, const ZydisDecodedOperand *operand, struct isa_memory *ret)
{
	const ZydisDecodedOperandMem *mem = &operand->mem;
	struct isa_memory memory = { .base = ISA_NO_REGISTER, .index = ISA_NO_REGISTER };

	if (operand->type != ZYDIS_OPERAND_TYPE_MEMORY || d->i.address_width != 64 ||
	    mem->segment == ZYDIS_REGISTER_FS || mem->segment == ZYDIS_REGISTER_GS)
		return false;
	memory.disp = (uint64_t)mem->disp.value;
	if (mem->base == ZYDIS_REGISTER_RIP)
		memory.disp += d->addr + d->i.length;
	else if (mem->base != ZYDIS_REGISTER_NONE)
		memory.base = number_of(mem->base);
	if (mem->index != ZYDIS_REGISTER_NONE) {
		memory.index = number_of(mem->index);
		memory.scale = mem->scale;
	}
	*ret = memory;
	return true;
}

/* mov, movzx, movsx, movsxd, lea, cmov: the first operand is a register of 32 or 64 bits. */
static void describe_move(const struct decoded *d, bool is_signed, struct isa_effect *effect)
{
	const ZydisDecodedOperand *to = &d->operands[0];
	const ZydisDecodedOperand *from = &d->operands[1];

	if (!is_register(to) || to->size < 32)
		return;
	effect->to = number_of(to->reg.value);
	effect->size = (uint8_t)(from->size / 8);
	/* The sign does not go beyond the 32 bits written. */
	effect->is_signed = is_signed && to->size == 64;
	if (is_signed && to->size == 32 && from->size < 32)
		return;
	if (is_register(from)) {
		effect->from = number_of(from->reg.value);
		effect->kind = ISA_EFFECT_COPY;
	} else if (memory_of(d, from, &effect->memory)) {
		effect->kind = ISA_EFFECT_LOAD;
	} else if (from->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
		effect->number = to->size == 64 ? from->imm.value.u : (uint32_t)from->imm.value.u;
		effect->kind = ISA_EFFECT_NUMBER;
	}
}

static void describe_lea(const struct decoded *d, struct isa_effect *effect)
{
	if (d->operands[0].size != 64 || !memory_of(d, &d->operands[1], &effect->memory))
		return;
	effect->to = number_of(d->operands[0].reg.value);
	effect->kind = ISA_EFFECT_ADDRESS;
}

static void describe_add(const struct decoded *d, struct isa_effect *effect)
{
	if (!is_register(&d->operands[0]) || !is_register(&d->operands[1]) || d->operands[0].size != 64)
		return;
	effect->to = number_of(d->operands[0].reg.value);
	effect->from = number_of(d->operands[1].reg.value);
	effect->kind = ISA_EFFECT_ADD;
}

/* xor of a register with itself, or with a secret that lies beside the thread's block. */
static void describe_xor(const struct decoded *d, struct isa_effect *effect)
{
	const ZydisDecodedOperand *to = &d->operands[0];
	const ZydisDecodedOperand *from = &d->operands[1];

	if (!is_register(to) || to->size < 32)
		return;
	effect->to = number_of(to->reg.value);
	if (is_register(from) && to->reg.value == from->reg.value)
		effect->kind = ISA_EFFECT_NUMBER;
	else if (from->type == ZYDIS_OPERAND_TYPE_MEMORY && from->mem.segment == ZYDIS_REGISTER_FS && to->size == 64)
		effect->kind = ISA_EFFECT_MIX;
}

static void describe_rotation(const struct decoded *d, struct isa_effect *effect)
{
	if (!is_register(&d->operands[0]) || d->operands[0].size != 64 ||
	    d->operands[1].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
		return;
	effect->to = number_of(d->operands[0].reg.value);
	effect->kind = ISA_EFFECT_MIX;
}

static void describe_choice(const struct decoded *d, struct isa_effect *effect)
{
	if (!is_register(&d->operands[0]) || !is_register(&d->operands[1]) || d->operands[0].size != 64)
		return;
	effect->to = number_of(d->operands[0].reg.value);
	effect->from = number_of(d->operands[1].reg.value);
	effect->kind = ISA_EFFECT_CHOOSE;
}

static void describe_compare(const struct decoded *d, struct isa_effect *effect)
{
	if (!is_register(&d->operands[0]) || d->operands[1].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
		return;
	effect->to = number_of(d->operands[0].reg.value);
	effect->size = (uint8_t)(d->operands[0].size / 8);
	effect->number = d->operands[1].imm.value.u;
	if (effect->size < 8)
		effect->number &= (1ULL << effect->size * 8) - 1;
	effect->kind = ISA_EFFECT_COMPARE;
}

static void describe_jump(const struct decoded *d, struct isa_effect *effect)
{
	const ZydisDecodedOperand *operand = &d->operands[0];

	effect->to = ISA_NO_REGISTER;
	if (is_register(operand))
		effect->to = number_of(operand->reg.value);
	else if (!memory_of(d, operand, &effect->memory))
		return;
	effect->kind = ISA_EFFECT_JUMP;
}

static void describe(const struct decoded *d, struct isa_effect *effect)
{
	switch ((int)d->i.mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
	case ZYDIS_MNEMONIC_MOVZX:
		describe_move(d, false, effect);
		break;
	case ZYDIS_MNEMONIC_MOVSX:
	case ZYDIS_MNEMONIC_MOVSXD:
	case ZYDIS_MNEMONIC_CDQE:
		describe_move(d, true, effect);
		break;
	case ZYDIS_MNEMONIC_LEA:
		describe_lea(d, effect);
		break;
	case ZYDIS_MNEMONIC_ADD:
		describe_add(d, effect);
		break;
	case ZYDIS_MNEMONIC_XOR:
		describe_xor(d, effect);
		break;
	case ZYDIS_MNEMONIC_ROR:
	case ZYDIS_MNEMONIC_ROL:
		describe_rotation(d, effect);
		break;
	case ZYDIS_MNEMONIC_CMP:
		describe_compare(d, effect);
		break;
	case ZYDIS_MNEMONIC_CALL:
		effect->kind = ISA_EFFECT_CALL;
		effect->written |= CALLEE_CHANGES;
		break;
	case ZYDIS_MNEMONIC_JNBE:
	case ZYDIS_MNEMONIC_JNB:
	case ZYDIS_MNEMONIC_JBE:
	case ZYDIS_MNEMONIC_JB:
		effect->kind = ISA_EFFECT_BOUND;
		effect->takes_small = d->i.mnemonic == ZYDIS_MNEMONIC_JBE || d->i.mnemonic == ZYDIS_MNEMONIC_JB;
		effect->takes_equal = d->i.mnemonic == ZYDIS_MNEMONIC_JBE || d->i.mnemonic == ZYDIS_MNEMONIC_JNBE;
		break;
	case ZYDIS_MNEMONIC_JMP:
		describe_jump(d, effect);
		break;
	default:
		if (d->i.meta.category == ZYDIS_CATEGORY_CMOV)
			describe_choice(d, effect);
		break;
	}
}

int isa_effect(const uint8_t *code, size_t size, utap_addr addr, struct isa_effect *ret)
{
	struct decoded d = { .addr = addr };
	struct isa_effect effect = { .kind = ISA_EFFECT_OTHER };
	ZydisDecoder decoder;

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code, size, &d.i, d.operands)))
		return -EILSEQ;
	effect.written = written_by(&d);
	effect.sets_flags = sets_flags(&d.i);
	if (d.i.meta.category == ZYDIS_CATEGORY_STRINGOP)
		effect.written |= STRING_CHANGES; /* not all are among the decoder's operands */
	if (d.i.meta.category == ZYDIS_CATEGORY_SYSCALL || d.i.meta.category == ZYDIS_CATEGORY_INTERRUPT)
		effect.written |= 1; /* the result */
	describe(&d, &effect);
	*ret = effect;
	return 0;
}
