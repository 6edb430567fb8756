/* SPDX-License-Identifier: MIT */
/*
 * Lengths and branch targets, for sweeps over whole modules.
 *
 * The tables know the shapes of the opcodes that compilers emit most, and only those of which every operand is valid;
 * all else (NO, operands a shape excludes, VEX, EVEX, x87, three-byte opcodes, lock) is asked of the full decoder. So
 * the two differ in speed and in nothing else: the unit test compares them over each opcode, prefix and ModRM byte,
 * the fuzzer over anything.
 *
 * Where one instruction starts depends on the length of the one before, so the time is that of one chain of loads and
 * of the branches mispredicted on it: a shape is a single word, and choices are computed where that is cheap.
 *
 * Source: Intel SDM volume 2, 2.1 (instruction format) and appendix A (opcode maps).
 */
#include <errno.h>
#include <string.h>

#include "isa/isa.h"
#include "isa/x86_64/zydis.h"

/* More prefixes than this are left to the decoder, so that the bytes looked at here are among the first 15. */
#define PREFIXES_MAX 8

/*
 * What follows an opcode, in one word: bits 0, 4 and 8: bytes of immediate when operands have 32, 16 or 64 bits;
 * bits 12 and up as named. What a ModRM byte must be for this shape to hold is a bit set of its mod and reg fields.
 */
#define SHAPE_MODRM 0x1000
#define SHAPE_TEST 0x2000     /* the immediate is there only when the reg field is 0 or 1 */
#define SHAPE_RELATIVE 0x4000 /* the immediate is a distance */
#define SHAPE_MODES_AT 16
#define SHAPE_REGS_AT 20

#define SHAPE(bytes, modes, regs) ((uint32_t)(bytes) | (modes) << SHAPE_MODES_AT | (regs) << SHAPE_REGS_AT)
#define ALWAYS(bytes) SHAPE(bytes, 0xf, 0xff)
#define MODRM(bytes) (ALWAYS(bytes) | SHAPE_MODRM)

enum shape {
	NO = 0,                                     /* ask the decoder */
	OP = ALWAYS(0),                             /* nothing */
	IB = ALWAYS(0x111),                         /* 8 bits */
	IZ = ALWAYS(0x424),                         /* 16 or 32 */
	IV = ALWAYS(0x824),                         /* 16, 32 or 64 */
	RB = ALWAYS(0x111) | SHAPE_RELATIVE,        /* a distance of 8 bits */
	RZ = ALWAYS(0x444) | SHAPE_RELATIVE,        /* of 32 */
	MO = MODRM(0),                              /* an operand */
	MB = MODRM(0x111),                          /* and 8 bits */
	MZ = MODRM(0x424),                          /* and 16 or 32 */
	MM = SHAPE(0, 0x7, 0xff) | SHAPE_MODRM,     /* an operand in memory */
	MR = SHAPE(0, 0x8, 0xff) | SHAPE_MODRM,     /* in a register */
	TB = MODRM(0x111) | SHAPE_TEST,             /* f6 */
	TZ = MODRM(0x424) | SHAPE_TEST,             /* f7 */
	AB = SHAPE(0x111, 0xf, 0x01) | SHAPE_MODRM, /* c6 */
	AZ = SHAPE(0x424, 0xf, 0x01) | SHAPE_MODRM, /* c7 */
	A2 = SHAPE(0, 0xf, 0x03) | SHAPE_MODRM,     /* reg 0 and 1 */
	FF = SHAPE(0, 0xf, 0x57) | SHAPE_MODRM,     /* ff without the far branches */
	BT = SHAPE(0x111, 0xf, 0xf0) | SHAPE_MODRM, /* 0f ba */
};

static const uint32_t one_byte[256] = {
	/* clang-format off */
	MO, MO, MO, MO, IB, IZ, NO, NO, MO, MO, MO, MO, IB, IZ, NO, NO, /* 00 */
	MO, MO, MO, MO, IB, IZ, NO, NO, MO, MO, MO, MO, IB, IZ, NO, NO, /* 10 */
	MO, MO, MO, MO, IB, IZ, NO, NO, MO, MO, MO, MO, IB, IZ, NO, NO, /* 20 */
	MO, MO, MO, MO, IB, IZ, NO, NO, MO, MO, MO, MO, IB, IZ, NO, NO, /* 30 */
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, /* 40 */
	OP, OP, OP, OP, OP, OP, OP, OP, OP, OP, OP, OP, OP, OP, OP, OP, /* 50 */
	NO, NO, NO, MO, NO, NO, NO, NO, IZ, MZ, IB, MB, OP, OP, OP, OP, /* 60 */
	RB, RB, RB, RB, RB, RB, RB, RB, RB, RB, RB, RB, RB, RB, RB, RB, /* 70 */
	MB, MZ, NO, MB, MO, MO, MO, MO, MO, MO, MO, MO, A2, MM, NO, NO, /* 80 */
	OP, OP, OP, OP, OP, OP, OP, OP, OP, OP, NO, OP, OP, OP, OP, OP, /* 90 */
	NO, NO, NO, NO, OP, OP, OP, OP, IB, IZ, OP, OP, OP, OP, OP, OP, /* a0 */
	IB, IB, IB, IB, IB, IB, IB, IB, IV, IV, IV, IV, IV, IV, IV, IV, /* b0 */
	MB, MB, NO, OP, NO, NO, AB, AZ, NO, OP, NO, OP, OP, IB, NO, OP, /* c0 */
	MO, MO, MO, MO, NO, NO, NO, OP, MO, NO, MM, A2, MO, A2, MM, MM, /* d0 */
	RB, RB, RB, RB, IB, IB, IB, IB, RZ, RZ, NO, RB, OP, OP, OP, OP, /* e0 */
	NO, OP, NO, NO, OP, OP, TB, TZ, OP, OP, OP, OP, OP, OP, A2, FF, /* f0 */
	/* clang-format on */
};

/* After 0f. */
static const uint32_t two_byte[256] = {
	/* clang-format off */
	A2, MM, MO, MO, NO, OP, OP, OP, OP, OP, NO, OP, NO, MO, OP, NO, /* 00 */
	MO, MO, MM, MM, MO, MO, MM, MM, MO, MO, MR, MR, MO, MO, MO, MO, /* 10 */
	NO, NO, NO, NO, NO, NO, NO, NO, MO, MO, MO, MM, MO, MO, MO, MO, /* 20 */
	OP, OP, OP, OP, OP, OP, NO, OP, NO, NO, NO, NO, NO, NO, NO, NO, /* 30 */
	MO, MO, MO, MO, MO, MO, MO, MO, MO, MO, MO, MO, MO, MO, MO, MO, /* 40 */
	MR, MO, MO, MO, MO, MO, MO, MO, MO, MO, MO, MO, MO, MO, MO, MO, /* 50 */
	MO, MO, MO, MO, MO, MO, MO, MO, MO, MO, MO, MO, MO, MO, MO, MO, /* 60 */
	MB, NO, NO, NO, MO, MO, MO, OP, MO, MR, NO, NO, MO, MO, MO, MO, /* 70 */
	RZ, RZ, RZ, RZ, RZ, RZ, RZ, RZ, RZ, RZ, RZ, RZ, RZ, RZ, RZ, RZ, /* 80 */
	MO, MO, MO, MO, MO, MO, MO, MO, MO, MO, MO, MO, MO, MO, MO, MO, /* 90 */
	OP, OP, OP, MO, MB, MO, NO, NO, OP, OP, OP, MO, MB, MO, MM, MO, /* a0 */
	MO, MO, MM, MO, MM, MM, MO, MO, MO, MO, BT, MO, MO, MO, MO, MO, /* b0 */
	MO, MO, MB, MM, MB, NO, MB, NO, OP, OP, OP, OP, OP, OP, OP, OP, /* c0 */
	MO, MO, MO, MO, MO, MO, MR, MR, MO, MO, MO, MO, MO, MO, MO, MO, /* d0 */
	MO, MO, MO, MO, MO, MO, MO, MM, MO, MO, MO, MO, MO, MO, MO, MO, /* e0 */
	MM, MO, MO, MO, MO, MO, MO, MR, MO, MO, MO, MO, MO, MO, MO, MO, /* f0 */
	/* clang-format on */
};

/* Behind which prefixes the two-byte opcode has its shape: bit 0 none, 1 66, 2 f3, 3 f2; one hexadecimal digit each. */
static const char two_byte_after[] = "f4ff0fffff0f0ff0"  /* 00 */
				     "fff33373ff15ffff"  /* 10 */
				     "0000000033ffff33"  /* 20 */
				     "ffffff0100000000"  /* 30 */
				     "ffffffffffffffff"  /* 40 */
				     "3f553333fff7ffff"  /* 50 */
				     "3333333333332237"  /* 60 */
				     "f00033311b00aa77"  /* 70 */
				     "ffffffffffffffff"  /* 80 */
				     "ffffffffffffffff"  /* 90 */
				     "ffffff00ffffff1f"  /* a0 */
				     "ffffffff4fffffff"  /* b0 */
				     "fff13030ffffffff"  /* c0 */
				     "a33333e333333333"  /* d0 */
				     "333333e333333333"  /* e0 */
				     "833333333333333f"; /* f0 */

enum prefix { PREFIX_NO, PREFIX_SEGMENT, PREFIX_SIZE, PREFIX_ADDRESS, PREFIX_REP, PREFIX_REPNE };

static const uint8_t prefix_of[256] = {
	[0x26] = PREFIX_SEGMENT, [0x2e] = PREFIX_SEGMENT, [0x36] = PREFIX_SEGMENT, [0x3e] = PREFIX_SEGMENT,
	[0x64] = PREFIX_SEGMENT, [0x65] = PREFIX_SEGMENT, [0x66] = PREFIX_SIZE,    [0x67] = PREFIX_ADDRESS,
	[0xf2] = PREFIX_REPNE,   [0xf3] = PREFIX_REP,
};

/* How far to shift a shape for the bytes of the immediate. */
enum operand_size { SIZE_32 = 0, SIZE_16 = 4, SIZE_64 = 8 };

/* The bytes before the opcode. */
struct opening {
	unsigned at; /* of the opcode */
	enum operand_size size;
	unsigned after; /* the bit of two_byte_after; 0: not decided here */
};

static struct opening read_prefixes(const uint8_t *code)
{
	struct opening o = { .size = SIZE_32 };
	unsigned rep = 0;

	for (; prefix_of[code[o.at]] != PREFIX_NO && o.at < PREFIXES_MAX; o.at++) {
		uint8_t prefix = prefix_of[code[o.at]];

		if (prefix == PREFIX_SIZE)
			o.size = SIZE_16;
		if (prefix >= PREFIX_REP)
			rep |= prefix == PREFIX_REP ? 4 : 8;
	}
	if (!rep)
		o.after = o.size == SIZE_16 ? 2 : 1;
	else
		o.after = o.size == SIZE_16 || rep == 12 ? 0 : rep;
	return o;
}

/*
 * Most of the time goes to mispredicted branches: what follows computes with truth values where it could ask, and masks
 * instead of choosing.
 */
static struct opening read_opening(const uint8_t *code)
{
	struct opening o = { .size = SIZE_32, .after = 1 };

	if (prefix_of[code[0]] != PREFIX_NO)
		o = read_prefixes(code);

	unsigned byte = code[o.at];
	unsigned is_rex = byte >> 4 == 4;
	unsigned is_wide = is_rex & byte >> 3;

	o.at += is_rex;
	o.size = (o.size & (is_wide - 1)) | is_wide * SIZE_64;
	return o;
}

static unsigned modrm_length(const uint8_t *modrm)
{
	unsigned mod = modrm[0] >> 6, rm = modrm[0] & 7;
	unsigned has_sib = (rm == 4) & (mod != 3);
	unsigned base = (modrm[has_sib] & 7) == 5; /* none: a displacement instead */

	return 1 + has_sib + (0x0410 >> 4 * mod & 0xf) + ((base & (mod == 0)) << 2);
}

/* The shape of the opcode at code[*at], moving *at behind it. */
static uint32_t find_shape(const uint8_t *code, unsigned after, unsigned *at)
{
	uint8_t opcode = code[(*at)++];

	if (opcode != 0x0f)
		return one_byte[opcode];
	opcode = code[(*at)++];

	unsigned digit = (uint8_t)two_byte_after[opcode];
	unsigned valid = digit <= '9' ? digit - '0' : digit - 'a' + 10;

	return valid & after ? two_byte[opcode] : NO;
}

static utap_addr relative_target(const uint8_t *code, unsigned length, bool is_short, utap_addr addr)
{
	int32_t distance;

	if (is_short)
		return addr + length + (uint64_t)(int64_t)(int8_t)code[length - 1];
	memcpy(&distance, code + length - 4, sizeof(distance));
	return addr + length + (uint64_t)(int64_t)distance;
}

/* The length by the tables, 0 when they do not know. @code has at least ISA_INSN_MAX bytes. */
static unsigned step_by_table(const uint8_t *code, utap_addr addr, bool *has_target, utap_addr *target)
{
	struct opening o = read_opening(code);
	unsigned length = o.at;
	uint32_t shape = find_shape(code, o.after, &length);
	unsigned modrm = code[length];
	unsigned operand = shape & SHAPE_MODRM ? modrm_length(code + length) : 0;
	unsigned immediate = shape >> o.size & 0xf;

	if (!(shape >> SHAPE_MODES_AT >> (modrm >> 6) & shape >> SHAPE_REGS_AT >> (modrm >> 3 & 7) & 1))
		return 0;
	if (shape & SHAPE_TEST && modrm & 0x30)
		immediate = 0;
	length += operand + immediate;
	if (shape & SHAPE_RELATIVE) {
		if (o.size == SIZE_16)
			return 0; /* processors differ */
		*target = relative_target(code, length, immediate == 1, addr);
		*has_target = true;
	}
	return length;
}

static int step_by_decoder(const uint8_t *code, size_t size, utap_addr addr, bool *has_target, utap_addr *target)
{
	ZydisDecodedInstruction i;
	int error = isa_zydis_decode(code, size, &i);

	if (error)
		return error;
	*has_target = isa_zydis_target(&i, addr, target);
	return i.length;
}

int isa_step(const uint8_t *code, size_t size, utap_addr addr, bool *has_target, utap_addr *target)
{
	if (size >= ISA_INSN_MAX) {
		bool found = false;
		unsigned length = step_by_table(code, addr, &found, target);

		if (length && length <= ISA_INSN_MAX) {
			*has_target = found;
			return (int)length;
		}
	}
	return step_by_decoder(code, size, addr, has_target, target);
}
