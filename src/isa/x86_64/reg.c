/* SPDX-License-Identifier: MIT */
/*
 * Names of registers. Two families meet: the kernel's uprobe_events ("di": the whole register) and the disassembler's
 * ("rdi", "edi", "dil"). Where one word means both, "di", the kernel's meaning wins.
 */
#include <errno.h>
#include <string.h>

#include "isa/isa.h"

struct reg_name {
	char name[8];
	uint8_t reg;
	uint8_t bits;
};

/* ah, bh, ch, dh are absent: no number and width name bits 8 to 15. */
static const struct reg_name reg_names[] = {
	{ "ax", ISA_AX, 64 },           { "rax", ISA_AX, 64 },       { "eax", ISA_AX, 32 },       { "al", ISA_AX, 8 },
	{ "bx", ISA_BX, 64 },           { "rbx", ISA_BX, 64 },       { "ebx", ISA_BX, 32 },       { "bl", ISA_BX, 8 },
	{ "cx", ISA_CX, 64 },           { "rcx", ISA_CX, 64 },       { "ecx", ISA_CX, 32 },       { "cl", ISA_CX, 8 },
	{ "dx", ISA_DX, 64 },           { "rdx", ISA_DX, 64 },       { "edx", ISA_DX, 32 },       { "dl", ISA_DX, 8 },
	{ "si", ISA_SI, 64 },           { "rsi", ISA_SI, 64 },       { "esi", ISA_SI, 32 },       { "sil", ISA_SI, 8 },
	{ "di", ISA_DI, 64 },           { "rdi", ISA_DI, 64 },       { "edi", ISA_DI, 32 },       { "dil", ISA_DI, 8 },
	{ "bp", ISA_BP, 64 },           { "rbp", ISA_BP, 64 },       { "ebp", ISA_BP, 32 },       { "bpl", ISA_BP, 8 },
	{ "sp", ISA_SP, 64 },           { "rsp", ISA_SP, 64 },       { "esp", ISA_SP, 32 },       { "spl", ISA_SP, 8 },
	{ "ip", ISA_IP, 64 },           { "rip", ISA_IP, 64 },       { "eip", ISA_IP, 32 },       { "cs", ISA_CS, 64 },
	{ "flags", ISA_FLAGS, 64 },     { "rflags", ISA_FLAGS, 64 }, { "eflags", ISA_FLAGS, 32 }, { "ss", ISA_SS, 64 },
	{ "orig_ax", ISA_ORIG_AX, 64 },
};

/* r8 to r15, with d, w or b behind for the low part ("l" is an assembler's other word for b). */
static int parse_numbered(const char *name, size_t length, unsigned *bits)
{
	static const uint8_t regs[] = { ISA_R8, ISA_R9, ISA_R10, ISA_R11, ISA_R12, ISA_R13, ISA_R14, ISA_R15 };
	unsigned number = 0;
	size_t at = 1;

	while (at < length && at < 3 && name[at] >= '0' && name[at] <= '9')
		number = number * 10 + (unsigned)(name[at++] - '0');
	if (number < 8 || number > 15 || name[1] == '0' || length - at > 1)
		return -ENOENT;

	unsigned width = 64;

	if (at < length) {
		const char *suffix = strchr("dwbl", name[at]);

		if (!suffix || !*suffix)
			return -ENOENT;
		width = *suffix == 'd' ? 32 : *suffix == 'w' ? 16 : 8;
	}
	*bits = width;
	return regs[number - 8];
}

int isa_reg_parse(const char *name, size_t length, unsigned *bits)
{
	for (size_t n = 0; n < sizeof(reg_names) / sizeof(reg_names[0]); n++) {
		const struct reg_name *r = &reg_names[n];

		if (strlen(r->name) == length && !memcmp(r->name, name, length)) {
			*bits = r->bits;
			return r->reg;
		}
	}
	if (length >= 2 && name[0] == 'r')
		return parse_numbered(name, length, bits);
	return -ENOENT;
}
