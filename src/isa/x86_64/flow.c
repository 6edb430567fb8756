/* SPDX-License-Identifier: MIT */
/*
 * Where control may go, told from the opcode alone.
 *
 * The bytes were measured by isa_step(), so they are an instruction: what is not looked at here cannot make another one
 * of it. VEX and EVEX instructions start with c4, c5 or 62, which no case below has, so their later bytes are never
 * taken for opcodes.
 *
 * Source: Intel SDM volume 2, 2.1 (instruction format) and appendix A (opcode maps).
 */
#include <string.h>

#include "isa/flow.h"

static bool is_legacy_prefix(uint8_t byte)
{
	switch (byte) {
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
	case 0x64:
	case 0x65:
	case 0x66:
	case 0x67:
	case 0xf0:
	case 0xf2:
	case 0xf3:
		return true;
	default:
		return false;
	}
}

static bool is_rex(uint8_t byte)
{
	return byte >> 4 == 4;
}

/* Distances are 1 byte or 4 and end the instruction; the opcode stands before them. */
static enum isa_lead lead_direct(const uint8_t *code, unsigned length)
{
	if (length >= 5 && code[length - 5] == 0xe8)
		return ISA_LEAD_CALL;
	if (length >= 5 && code[length - 5] == 0xe9)
		return ISA_LEAD_JUMP;
	if (length >= 6 && ((code[length - 6] == 0x0f && code[length - 5] >> 4 == 8) || code[length - 6] == 0xc7))
		return ISA_LEAD_BRANCH;
	return code[length - 2] == 0xeb ? ISA_LEAD_JUMP : ISA_LEAD_BRANCH;
}

static enum isa_lead lead_ff(uint8_t modrm)
{
	switch (modrm >> 3 & 7) {
	case 2:
	case 3:
		return ISA_LEAD_CALL_INDIRECT;
	case 4:
	case 5:
		return ISA_LEAD_JUMP_INDIRECT;
	default:
		return ISA_LEAD_ON;
	}
}

static enum isa_lead lead_lea(const uint8_t *modrm, utap_addr next, utap_addr *address)
{
	int32_t distance;

	if ((*modrm & 0xc7) != 0x05)
		return ISA_LEAD_ON;
	memcpy(&distance, modrm + 1, sizeof(distance));
	*address = next + (uint64_t)(int64_t)distance;
	return ISA_LEAD_ADDRESS;
}

/* The last @size bytes of the instruction. */
static enum isa_lead lead_number(const uint8_t *end, unsigned size, utap_addr *address)
{
	*address = 0;
	memcpy(address, end - size, size);
	return ISA_LEAD_NUMBER;
}

static enum isa_lead lead_two_byte(const uint8_t *opcode)
{
	return *opcode == 0x0b || *opcode == 0xb9 || *opcode == 0xff ? ISA_LEAD_TRAP : ISA_LEAD_ON; /* ud2, ud1, ud0 */
}

enum isa_lead isa_lead(const uint8_t *code, unsigned length, utap_addr addr, bool has_target, utap_addr *address)
{
	const uint8_t *end = code + length;
	utap_addr next = addr + length;
	bool wide = false;

	if (has_target)
		return lead_direct(code, length);
	/* Only the REX prefix directly before the opcode counts. */
	for (; code + 1 < end && (is_legacy_prefix(*code) || is_rex(*code)); code++)
		wide = is_rex(*code) && *code & 8;
	switch (*code) {
	case 0x8d:
		return lead_lea(code + 1, next, address);
	case 0xff:
		return lead_ff(code[1]);
	case 0xb8 ... 0xbf:
		return end - code < 5 ? ISA_LEAD_ON : lead_number(end, wide ? 8 : 4, address);
	case 0xc7:
		return end - code < 6 || code[1] == 0xf8 ? ISA_LEAD_ON : lead_number(end, 4, address);
	case 0x68:
		return end - code < 5 ? ISA_LEAD_ON : lead_number(end, 4, address);
	case 0xc2:
	case 0xc3:
	case 0xca:
	case 0xcb:
	case 0xcf:
		return ISA_LEAD_RETURN;
	case 0xcc:
	case 0xf1:
	case 0xf4:
		return ISA_LEAD_TRAP;
	case 0x0f:
		return lead_two_byte(code + 1);
	default:
		return ISA_LEAD_ON;
	}
}

bool isa_makes_return(const uint8_t *code, unsigned length)
{
	const uint8_t *end = code + length;

	while (code + 1 < end && (is_legacy_prefix(*code) || is_rex(*code)))
		code++;
	if ((*code & 0xf8) == 0x50 || *code == 0x68 || *code == 0x6a)
		return true;
	if (*code == 0xff && code + 1 < end)
		return (code[1] >> 3 & 7) == 6;
	/* A write to (%rsp): ModRM without displacement, SIB of the stack pointer alone. */
	if (end - code < 3 || (code[1] & 0xc7) != 0x04 || code[2] != 0x24)
		return false;
	return *code == 0x89 || *code == 0x87 || *code == 0xc7 || *code == 0x01 || *code == 0x29 || *code == 0x31 ||
	       *code == 0x81 || *code == 0x83;
}
