/* SPDX-License-Identifier: MIT */
/*
 * Punned jumps: a 5-byte jmp laid over an instruction of 1 to 4 bytes, whose displacement ends in bytes that stay what
 * they are. Prefixes that mean nothing before a jmp rel32 move the displacement up, so that other bytes become its end.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "isa/isa.h"

#define JUMP_LENGTH 5
#define OPCODE_JUMP 0xe9

/* Segment overrides: ignored before a direct jmp in 64-bit mode (Intel SDM 2.1.1, 3.3.7.1 of volume 1). */
static const uint8_t pun_prefixes[] = { 0x2e, 0x3e, 0x26, 0x36 };

static_assert(sizeof(pun_prefixes) >= JUMP_LENGTH - 2, "a prefix for each byte but the opcode");

static bool can_pun(const struct isa_insn *insn, unsigned prefixes)
{
	return insn->length > 0 && insn->length < JUMP_LENGTH && prefixes < insn->length;
}

/* The displacement's bits that come from @next: the mask's, and their value. */
static void fixed_bits(const struct isa_insn *insn, const uint8_t *next, unsigned prefixes, uint32_t *mask,
		       uint32_t *value)
{
	unsigned own = insn->length - prefixes - 1;
	uint8_t bytes[4] = { 0 };

	memcpy(bytes + own, next, 4 - own);
	memcpy(value, bytes, sizeof(*value));
	*mask = (uint32_t)(UINT64_C(0xffffffff) << (8 * own));
}

int isa_pun(const struct isa_insn *insn, const uint8_t *next, unsigned prefixes, utap_addr *lo, utap_addr *hi)
{
	uint32_t mask, value;

	if (!can_pun(insn, prefixes))
		return -EINVAL;
	fixed_bits(insn, next, prefixes, &mask, &value);

	utap_addr end = insn->addr + prefixes + JUMP_LENGTH;

	*lo = end + (uint64_t)(int64_t)(int32_t)value;
	*hi = end + (uint64_t)(int64_t)(int32_t)(value | ~mask);
	return 0;
}

int isa_pun_encode(const struct isa_insn *insn, const uint8_t *next, unsigned prefixes, utap_addr to, uint8_t *bytes)
{
	uint32_t mask, value;

	if (!can_pun(insn, prefixes))
		return -EINVAL;
	fixed_bits(insn, next, prefixes, &mask, &value);

	int64_t distance = (int64_t)(to - (insn->addr + prefixes + JUMP_LENGTH));
	uint32_t displacement = (uint32_t)distance;

	if (distance != (int32_t)distance || (displacement & mask) != value)
		return -ERANGE;
	memcpy(bytes, pun_prefixes, prefixes);
	bytes[prefixes] = OPCODE_JUMP;
	memcpy(bytes + prefixes + 1, &displacement, insn->length - prefixes - 1u);
	return 0;
}

/* Those that make a jump of moderate length when they are its last byte come first. */
static const uint8_t traps[] = { 0xf4, 0x16, 0x17, 0xf1, 0x1e, 0x1f, 0xea, 0x27, 0xd6, 0x2f, 0xd4, 0x37,
				 0xce, 0xcc, 0x3f, 0x0e, 0x06, 0x07, 0x60, 0x61, 0x9a, 0x82 };

const uint8_t *isa_traps(size_t *count)
{
	*count = sizeof(traps);
	return traps;
}
