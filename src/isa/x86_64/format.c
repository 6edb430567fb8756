/* SPDX-License-Identifier: MIT */
/*
 * Text in AT&T syntax, with objdump's spelling. For people: nothing in utap reads it back, so what is rare may differ
 * from objdump's (x87 forms, unusual prefixes), but never misleads about an operand.
 *
 * The decoder gives mnemonics in Intel's spelling; where AT&T uses another word, or marks it with the size of the
 * operand, is in the tables here.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <Zydis/Decoder.h>
#include <Zydis/Mnemonic.h>
#include <Zydis/Register.h>

#include "isa/isa.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
#define MNEMONIC_WIDTH 6

/* The caller's buffer, filled from the left; what does not fit is dropped. */
struct text {
	char *at;
	size_t left; /* with the terminator, never 0 */
};

struct decoded {
	ZydisDecodedInstruction i;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	utap_addr addr;
};

static void put(struct text *t, const char *format, ...) BASE_PRINTF(2, 3);

static void put(struct text *t, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int length = vsnprintf(t->at, t->left, format, args);
	va_end(args);
	if (length < 0)
		return;

	size_t step = (size_t)length < t->left ? (size_t)length : t->left - 1;

	t->at += step;
	t->left -= step;
}

struct other_name {
	ZydisMnemonic mnemonic;
	const char *name;
};

static const struct other_name other_names[] = {
	{ ZYDIS_MNEMONIC_CBW, "cbtw" },     { ZYDIS_MNEMONIC_CWDE, "cwtl" },  { ZYDIS_MNEMONIC_CDQE, "cltq" },
	{ ZYDIS_MNEMONIC_CWD, "cwtd" },     { ZYDIS_MNEMONIC_CDQ, "cltd" },   { ZYDIS_MNEMONIC_CQO, "cqto" },
	{ ZYDIS_MNEMONIC_PUSHFQ, "pushf" }, { ZYDIS_MNEMONIC_POPFQ, "popf" }, { ZYDIS_MNEMONIC_IRETD, "iret" },
};

static const struct other_name reversed_names[] = {
	{ ZYDIS_MNEMONIC_FSUB, "fsubr" },   { ZYDIS_MNEMONIC_FSUBR, "fsub" },   { ZYDIS_MNEMONIC_FSUBP, "fsubrp" },
	{ ZYDIS_MNEMONIC_FSUBRP, "fsubp" }, { ZYDIS_MNEMONIC_FDIV, "fdivr" },   { ZYDIS_MNEMONIC_FDIVR, "fdiv" },
	{ ZYDIS_MNEMONIC_FDIVP, "fdivrp" }, { ZYDIS_MNEMONIC_FDIVRP, "fdivp" },
};

static const char *const conditions[] = { "o", "no", "b", "ae", "e", "ne", "be", "a",
					  "s", "ns", "p", "np", "l", "ge", "le", "g" };

static const char *size_suffix(unsigned bits)
{
	switch (bits) {
	case 8:
		return "b";
	case 16:
		return "w";
	case 32:
		return "l";
	case 64:
		return "q";
	}
	return "";
}

static const ZydisDecodedOperand *memory_operand(const struct decoded *d)
{
	for (unsigned n = 0; n < d->i.operand_count_visible; n++)
		if (d->operands[n].type == ZYDIS_OPERAND_TYPE_MEMORY)
			return &d->operands[n];
	return NULL;
}

/* The count of a shift is no operand that tells a size; neither is the mask of a vector instruction. */
static bool has_sized_register(const struct decoded *d)
{
	bool shift = d->i.meta.category == ZYDIS_CATEGORY_SHIFT || d->i.meta.category == ZYDIS_CATEGORY_ROTATE;

	for (unsigned n = 0; n < d->i.operand_count_visible; n++)
		if (d->operands[n].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    !(shift && n == 1 && d->operands[n].reg.value == ZYDIS_REGISTER_CL))
			return true;
	return false;
}

static bool takes_size_suffix(const struct decoded *d)
{
	static const ZydisInstructionCategory sized[] = {
		ZYDIS_CATEGORY_BINARY,  ZYDIS_CATEGORY_LOGICAL, ZYDIS_CATEGORY_SHIFT,   ZYDIS_CATEGORY_ROTATE,
		ZYDIS_CATEGORY_BITBYTE, ZYDIS_CATEGORY_NOP,     ZYDIS_CATEGORY_WIDENOP, ZYDIS_CATEGORY_DATAXFER,
	};

	if (d->i.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY || d->i.meta.isa_ext != ZYDIS_ISA_EXT_BASE)
		return false;
	if (d->i.mnemonic == ZYDIS_MNEMONIC_NOP)
		return memory_operand(d) != NULL;
	for (size_t n = 0; n < COUNT(sized); n++)
		if (d->i.meta.category == sized[n])
			return memory_operand(d) && !has_sized_register(d);
	return false;
}

static void put_x87_suffix(struct text *t, const struct decoded *d)
{
	const ZydisDecodedOperand *memory = memory_operand(d);

	if (!memory || memory->element_count != 1)
		return;

	bool is_float = memory->element_type == ZYDIS_ELEMENT_TYPE_FLOAT32 ||
			memory->element_type == ZYDIS_ELEMENT_TYPE_FLOAT64 ||
			memory->element_type == ZYDIS_ELEMENT_TYPE_FLOAT80;

	if (is_float)
		put(t, "%s", memory->size == 32 ? "s" : memory->size == 64 ? "l" : "t");
	else if (memory->element_type == ZYDIS_ELEMENT_TYPE_INT)
		put(t, "%s", memory->size == 16 ? "s" : memory->size == 32 ? "l" : "ll");
}

static bool is_integer_conversion(const ZydisDecodedInstruction *i)
{
	return i->mnemonic == ZYDIS_MNEMONIC_CVTSI2SD || i->mnemonic == ZYDIS_MNEMONIC_CVTSI2SS ||
	       i->mnemonic == ZYDIS_MNEMONIC_VCVTSI2SD || i->mnemonic == ZYDIS_MNEMONIC_VCVTSI2SS;
}

static bool is_conditional(const ZydisDecodedInstruction *i, const char **stem)
{
	bool first = i->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT;
	bool second = i->opcode_map == ZYDIS_OPCODE_MAP_0F && i->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY;
	uint8_t row = i->opcode & 0xf0;

	if ((first && row == 0x70) || (second && row == 0x80))
		*stem = "j";
	else if (second && row == 0x40)
		*stem = "cmov";
	else if (second && row == 0x90)
		*stem = "set";
	else
		return false;
	return true;
}

static bool is_movabs(const struct decoded *d)
{
	return d->i.mnemonic == ZYDIS_MNEMONIC_MOV && (d->i.raw.imm[0].size == 64 || d->i.raw.disp.size == 64);
}

static void put_extension(struct text *t, const struct decoded *d, const char *stem)
{
	put(t, "%s%s%s", stem, size_suffix(d->operands[1].size), size_suffix(d->operands[0].size));
}

/* A word for the whole instruction, among them those that AT&T exchanged in the 1980s and never changed back. */
static bool put_other_name(struct text *t, const struct decoded *d)
{
	bool reversed = d->i.opcode == 0xdc || d->i.opcode == 0xde;

	if (d->i.mnemonic == ZYDIS_MNEMONIC_NOP && d->i.opcode == 0x90 && d->i.operand_width == 16) {
		put(t, "xchg   %%ax,%%ax");
		return true;
	}
	for (size_t n = 0; n < COUNT(other_names); n++)
		if (d->i.mnemonic == other_names[n].mnemonic) {
			put(t, "%s", other_names[n].name);
			return true;
		}
	for (size_t n = 0; n < COUNT(reversed_names) && reversed && !memory_operand(d); n++)
		if (d->i.mnemonic == reversed_names[n].mnemonic) {
			put(t, "%s", reversed_names[n].name);
			return true;
		}
	return false;
}

static void put_mnemonic(struct text *t, const struct decoded *d)
{
	const ZydisDecodedInstruction *i = &d->i;
	const char *stem;

	if (is_conditional(i, &stem)) {
		put(t, "%s%s", stem, conditions[i->opcode & 0xf]);
		return;
	}
	if (i->mnemonic == ZYDIS_MNEMONIC_MOVZX || i->mnemonic == ZYDIS_MNEMONIC_MOVSX ||
	    (i->mnemonic == ZYDIS_MNEMONIC_MOVSXD && i->operand_width == 64)) {
		put_extension(t, d, i->mnemonic == ZYDIS_MNEMONIC_MOVZX ? "movz" : "movs");
		return;
	}
	if (put_other_name(t, d))
		return;
	put(t, "%s%s", i->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ? "l" : "",
	    is_movabs(d) ? "movabs" : ZydisMnemonicGetString(i->mnemonic));
	if (takes_size_suffix(d))
		put(t, "%s", size_suffix(memory_operand(d)->size));
	else if (is_integer_conversion(i) && memory_operand(d))
		put(t, "%s", size_suffix(memory_operand(d)->size));
	else if (i->meta.isa_ext == ZYDIS_ISA_EXT_X87)
		put_x87_suffix(t, d);
}

static void put_register(struct text *t, const ZydisDecodedOperand *operand)
{
	ZydisRegister reg = operand->reg.value;
	bool is_x87 = reg >= ZYDIS_REGISTER_ST0 && reg <= ZYDIS_REGISTER_ST7;

	if (is_x87 && operand->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM)
		put(t, "%%st(%d)", reg - ZYDIS_REGISTER_ST0);
	else if (is_x87)
		put(t, "%%st");
	else
		put(t, "%%%s", ZydisRegisterGetString(reg));
}

static void put_displacement(struct text *t, const struct decoded *d, const ZydisDecodedOperand *operand)
{
	int64_t value = operand->mem.disp.value;

	if (!d->i.raw.disp.size)
		return;
	if (operand->mem.base == ZYDIS_REGISTER_NONE && operand->mem.index == ZYDIS_REGISTER_NONE)
		put(t, "0x%llx", (unsigned long long)value);
	else
		put(t, "%s0x%llx", value < 0 ? "-" : "",
		    value < 0 ? 0 - (unsigned long long)value : (unsigned long long)value);
}

static void put_memory(struct text *t, const struct decoded *d, const ZydisDecodedOperand *operand)
{
	const uint64_t named = ZYDIS_ATTRIB_HAS_SEGMENT_FS | ZYDIS_ATTRIB_HAS_SEGMENT_GS;

	if (d->i.attributes & named && operand->type == ZYDIS_OPERAND_TYPE_MEMORY)
		put(t, "%%%s:", ZydisRegisterGetString(operand->mem.segment));
	put_displacement(t, d, operand);
	if (operand->mem.base == ZYDIS_REGISTER_NONE && operand->mem.index == ZYDIS_REGISTER_NONE)
		return;
	put(t, "(");
	if (operand->mem.base != ZYDIS_REGISTER_NONE)
		put(t, "%%%s", ZydisRegisterGetString(operand->mem.base));
	if (operand->mem.index != ZYDIS_REGISTER_NONE)
		put(t, ",%%%s,%u", ZydisRegisterGetString(operand->mem.index), operand->mem.scale);
	put(t, ")");
}

static void put_immediate(struct text *t, const struct decoded *d, const ZydisDecodedOperand *operand)
{
	uint64_t value = operand->imm.value.u;
	unsigned bits = d->i.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY ? d->i.operand_width : 8;

	if (operand->imm.is_relative) {
		put(t, "%llx", (unsigned long long)(d->addr + d->i.length + value));
		return;
	}
	if (operand->imm.is_signed && bits < 64)
		value &= (UINT64_C(1) << bits) - 1;
	put(t, "$0x%llx", (unsigned long long)value);
}

static void put_decorations(struct text *t, const struct decoded *d)
{
	if (d->i.avx.mask.reg == ZYDIS_REGISTER_NONE || d->i.avx.mask.reg == ZYDIS_REGISTER_K0)
		return;
	put(t, "{%%%s}%s", ZydisRegisterGetString(d->i.avx.mask.reg), d->i.raw.evex.z ? "{z}" : "");
}

static void put_broadcast(struct text *t, const struct decoded *d)
{
	static const struct {
		ZydisBroadcastMode mode;
		const char *text;
	} modes[] = {
		{ ZYDIS_BROADCAST_MODE_1_TO_2, "{1to2}" },   { ZYDIS_BROADCAST_MODE_1_TO_4, "{1to4}" },
		{ ZYDIS_BROADCAST_MODE_1_TO_8, "{1to8}" },   { ZYDIS_BROADCAST_MODE_1_TO_16, "{1to16}" },
		{ ZYDIS_BROADCAST_MODE_1_TO_32, "{1to32}" },
	};

	if (!(d->i.attributes & ZYDIS_ATTRIB_HAS_EVEX_B) || d->i.avx.broadcast.is_static)
		return;
	for (size_t n = 0; n < COUNT(modes); n++)
		if (d->i.avx.broadcast.mode == modes[n].mode)
			put(t, "%s", modes[n].text);
}

static void put_operand(struct text *t, const struct decoded *d, unsigned number)
{
	const ZydisDecodedOperand *operand = &d->operands[number];
	bool branch = d->i.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE;

	switch (operand->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER:
		if (branch)
			put(t, "*");
		put_register(t, operand);
		break;
	case ZYDIS_OPERAND_TYPE_MEMORY:
		if (branch)
			put(t, "*");
		put_memory(t, d, operand);
		put_broadcast(t, d);
		break;
	case ZYDIS_OPERAND_TYPE_IMMEDIATE:
		put_immediate(t, d, operand);
		break;
	case ZYDIS_OPERAND_TYPE_POINTER:
	case ZYDIS_OPERAND_TYPE_UNUSED:
		break;
	}
	if (number == 0)
		put_decorations(t, d);
}

/* d0 and d1: the count of one is part of the opcode and is not written. */
static bool is_shift_by_one(const ZydisDecodedInstruction *i)
{
	return i->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && (i->opcode == 0xd0 || i->opcode == 0xd1);
}

/* Operands in AT&T's order: the last of Intel's first. A nop's register says nothing. */
static void put_operands(struct text *t, const struct decoded *d)
{
	bool same_order = d->i.mnemonic == ZYDIS_MNEMONIC_ENTER;
	unsigned count = d->i.operand_count_visible;
	const char *separator = "";

	if (count > 1 && (d->i.mnemonic == ZYDIS_MNEMONIC_NOP || is_shift_by_one(&d->i)))
		count = 1;
	for (unsigned n = 0; n < count; n++) {
		unsigned number = same_order ? n : count - 1 - n;

		if (d->operands[number].encoding == ZYDIS_OPERAND_ENCODING_MASK)
			continue;
		put(t, "%s", separator);
		put_operand(t, d, number);
		separator = ",";
	}
}

static const char *accumulator(unsigned bits)
{
	return bits == 8 ? "al" : bits == 16 ? "ax" : bits == 32 ? "eax" : "rax";
}

static const char *source_segment(const ZydisDecodedInstruction *i)
{
	if (i->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_FS)
		return "fs";
	return i->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_GS ? "gs" : "ds";
}

/* String instructions have operands that only AT&T writes down: s(ource), d(estination), r(egister). */
struct string_operation {
	uint8_t opcode; /* of the byte form; the wider one is one more */
	char name[5], operands[3];
	bool sized; /* no register tells the size */
};

static const struct string_operation *find_string_operation(const ZydisDecodedInstruction *i)
{
	static const struct string_operation operations[] = {
		{ 0xa4, "movs", "sd", true },  { 0xa6, "cmps", "ds", true },  { 0xaa, "stos", "rd", false },
		{ 0xac, "lods", "sr", false }, { 0xae, "scas", "dr", false },
	};

	for (size_t n = 0; n < COUNT(operations) && i->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT; n++)
		if (operations[n].opcode == (i->opcode & 0xfe))
			return &operations[n];
	return NULL;
}

static unsigned string_bits(const ZydisDecodedInstruction *i)
{
	return i->opcode & 1 ? i->operand_width : 8;
}

static void put_string_operands(struct text *t, const struct decoded *d, const struct string_operation *string)
{
	char wide = d->i.address_width == 64 ? 'r' : 'e';

	for (const char *operand = string->operands; *operand; operand++) {
		if (operand != string->operands)
			put(t, ",");
		if (*operand == 's')
			put(t, "%%%s:(%%%csi)", source_segment(&d->i), wide);
		else if (*operand == 'd')
			put(t, "%%es:(%%%cdi)", wide);
		else
			put(t, "%%%s", accumulator(string_bits(&d->i)));
	}
}

static const char *repeat_name(const struct decoded *d)
{
	static const struct {
		uint64_t attribute;
		const char *name;
	} repeats[] = {
		{ ZYDIS_ATTRIB_HAS_REP, "rep" },           { ZYDIS_ATTRIB_HAS_REPE, "repz" },
		{ ZYDIS_ATTRIB_HAS_REPNE, "repnz" },       { ZYDIS_ATTRIB_HAS_BND, "bnd" },
		{ ZYDIS_ATTRIB_HAS_XACQUIRE, "xacquire" }, { ZYDIS_ATTRIB_HAS_XRELEASE, "xrelease" },
	};

	for (size_t n = 0; n < COUNT(repeats); n++)
		if (d->i.attributes & repeats[n].attribute)
			return repeats[n].name;
	return d->i.mnemonic == ZYDIS_MNEMONIC_RET ? "repz" : NULL;
}

static const char *segment_name(const struct decoded *d, uint8_t prefix)
{
	static const struct {
		uint8_t prefix;
		const char *name;
	} segments[] = {
		{ 0x2e, "cs" }, { 0x36, "ss" }, { 0x3e, "ds" }, { 0x26, "es" }, { 0x64, "fs" }, { 0x65, "gs" },
	};
	const uint64_t named = ZYDIS_ATTRIB_HAS_SEGMENT_FS | ZYDIS_ATTRIB_HAS_SEGMENT_GS;

	if (prefix == 0x3e && d->i.attributes & ZYDIS_ATTRIB_HAS_NOTRACK)
		return "notrack";
	if (d->i.attributes & (ZYDIS_ATTRIB_HAS_BRANCH_TAKEN | ZYDIS_ATTRIB_HAS_BRANCH_NOT_TAKEN))
		return NULL; /* said behind the mnemonic */
	if (prefix >= 0x64 && d->i.attributes & named)
		return NULL; /* said at the operand */
	for (size_t n = 0; n < COUNT(segments); n++)
		if (segments[n].prefix == prefix)
			return segments[n].name;
	return NULL;
}

/* What a prefix is called when no operand and no mnemonic says it already; NULL when one does. */
static const char *prefix_name(const struct decoded *d, unsigned number)
{
	uint8_t prefix = d->i.raw.prefixes[number].value;
	bool branch = d->i.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE;
	bool repeated = number + 1 < d->i.raw.prefix_count && d->i.raw.prefixes[number + 1].value == prefix;

	if (prefix == 0xf2 || prefix == 0xf3)
		return repeat_name(d);
	if (d->i.raw.prefixes[number].type == ZYDIS_PREFIX_TYPE_MANDATORY)
		return NULL;
	switch (prefix) {
	case 0xf0:
		return "lock";
	case 0x66:
		return repeated || branch || d->i.operand_width != 16 ? "data16" : NULL;
	case 0x67:
		return memory_operand(d) || d->i.address_width == 32 ? NULL : "addr32";
	}
	if ((prefix & 0xf0) == 0x40)
		return branch && prefix & 8 ? "rex.W" : NULL;
	return segment_name(d, prefix);
}

static void put_prefixes(struct text *t, const struct decoded *d)
{
	for (unsigned n = 0; n < d->i.raw.prefix_count; n++) {
		const char *name = prefix_name(d, n);

		if (name)
			put(t, "%s ", name);
	}
}

static void put_instruction(struct text *t, const struct decoded *d)
{
	char name[64] = "";
	struct text head = { .at = name, .left = sizeof(name) };
	const struct string_operation *string = find_string_operation(&d->i);

	put_prefixes(&head, d);
	if (string)
		put(&head, "%s%s", string->name, string->sized ? size_suffix(string_bits(&d->i)) : "");
	else
		put_mnemonic(&head, d);
	if (d->i.attributes & ZYDIS_ATTRIB_HAS_BRANCH_TAKEN)
		put(&head, ",pt");
	if (d->i.attributes & ZYDIS_ATTRIB_HAS_BRANCH_NOT_TAKEN)
		put(&head, ",pn");
	if (!string && !d->i.operand_count_visible) {
		put(t, "%s", name);
		return;
	}
	put(t, "%-*s ", MNEMONIC_WIDTH, name);
	if (string)
		put_string_operands(t, d, string);
	else
		put_operands(t, d);
}

void isa_format(const struct isa_insn *insn, char *text, size_t size)
{
	struct decoded d = { .addr = insn->addr };
	struct text t = { .at = text, .left = size };
	ZydisDecoder decoder;

	if (!size)
		return;
	text[0] = '\0';
	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, insn->bytes, insn->length, &d.i, d.operands))) {
		put(&t, "(bad)");
		return;
	}
	put_instruction(&t, &d);
	if (insn->has_rip_operand)
		put(&t, "        # %llx", (unsigned long long)insn->rip_operand);
}
