/* SPDX-License-Identifier: MIT */
/*
 * Text -> program. One instruction a line; the parser never looks further than the line it is in. It accepts any
 * defined encoding, sensible or not: whether a program may run is the checker's matter.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/scan.h"

#define NAME 64 /* bytes of the longest label, its terminator included */

struct label {
	char name[NAME];
	size_t slot;
};

/* A jump to a name, resolved at the end. */
struct fixup {
	struct label label;
	size_t line, column;
};

struct parser {
	struct bpf_scan scan;
	struct bpf_insn *insns;
	size_t count, insns_cap;
	struct label *labels;
	size_t labels_used, labels_cap;
	struct fixup *fixups;
	size_t fixups_used, fixups_cap;
};

static int emit(struct parser *p, struct bpf_insn insn)
{
	if (p->count == BPF_INSN_LIMIT)
		return bpf_scan_fail(&p->scan, "the program is too long");

	int r = base_grow(&p->insns, &p->insns_cap, p->count + 1, sizeof(*p->insns));

	if (r < 0)
		return r;
	p->insns[p->count++] = insn;
	return 0;
}

static int take_name(struct parser *p, char *name)
{
	size_t length = 0;

	bpf_scan_space(&p->scan);
	while (bpf_scan_is_name(p->scan.at[length]))
		length++;
	if (length == 0 || isdigit((unsigned char)*p->scan.at))
		return bpf_scan_fail(&p->scan, "expected a label or a signed number");
	if (length >= NAME)
		return bpf_scan_fail(&p->scan, "the label is too long");
	memcpy(name, p->scan.at, length);
	name[length] = '\0';
	p->scan.at += length;
	return 0;
}

/* Where a jump leads: a signed number now, or a name, resolved later. Call before emit(). */
static int parse_place(struct parser *p, unsigned bits, int64_t *ret)
{
	bpf_scan_space(&p->scan);
	if (*p->scan.at == '+' || *p->scan.at == '-')
		return bpf_scan_signed(&p->scan, bits, false, ret);

	struct fixup fixup = { .line = p->scan.line, .column = (size_t)(p->scan.at - p->scan.line_start) + 1 };
	int r = take_name(p, fixup.label.name);

	if (r == 0)
		r = base_grow(&p->fixups, &p->fixups_cap, p->fixups_used + 1, sizeof(*p->fixups));
	if (r < 0)
		return r;
	fixup.label.slot = p->count;
	p->fixups[p->fixups_used++] = fixup;
	*ret = 0;
	return 0;
}

/* "(u32 *)(r1 + 8)", also "(r1 - 8)" and "(r1)": sets the size bits, the register and the offset. */
static int parse_place_in_memory(struct parser *p, struct bpf_insn *insn, uint8_t *reg, bool *is_signed)
{
	static const struct bpf_word sizes[] = {
		{ "u32", 0x00, 0 }, { "u16", 0x08, 0 }, { "u8", 0x10, 0 }, { "u64", 0x18, 0 },
		{ "s32", 0x00, 1 }, { "s16", 0x08, 1 }, { "s8", 0x10, 1 }, { NULL, 0, 0 },
	};
	int r = bpf_scan_expect(&p->scan, "(");

	if (r < 0)
		return r;

	const struct bpf_word *size = bpf_scan_word(&p->scan, sizes);

	if (!size)
		return bpf_scan_fail(&p->scan, "expected u8, u16, u32, u64, s8, s16 or s32");
	insn->opcode |= size->code;
	*is_signed = size->offset;
	if ((r = bpf_scan_expect(&p->scan, "*")) < 0 || (r = bpf_scan_expect(&p->scan, ")")) < 0 ||
	    (r = bpf_scan_expect(&p->scan, "(")) < 0 || (r = bpf_scan_expect_reg(&p->scan, 'r', reg)) < 0)
		return r;
	bpf_scan_space(&p->scan);
	if (*p->scan.at == '+' || *p->scan.at == '-') {
		bool minus = *p->scan.at++ == '-';
		int64_t offset;

		if ((r = bpf_scan_signed(&p->scan, 17, false, &offset)) < 0)
			return r;
		offset = minus ? -offset : offset;
		if (offset != (int16_t)offset)
			return bpf_scan_fail(&p->scan, "the offset does not fit in 16 bits");
		insn->offset = (int16_t)offset;
	}
	return bpf_scan_expect(&p->scan, ")");
}

static int parse_imm_or_reg(struct parser *p, struct bpf_insn *insn, char letter)
{
	uint8_t reg;
	int64_t imm;

	if (bpf_scan_reg(&p->scan, letter, &reg)) {
		insn->src = reg & 15;
		insn->opcode |= BPF_SOURCE_REG;
		return 0;
	}

	int r = bpf_scan_signed(&p->scan, 32, letter == 'w', &imm);

	if (r == 0)
		insn->imm = (int32_t)imm;
	return r;
}

static int parse_store(struct parser *p)
{
	struct bpf_insn insn = { .opcode = BPF_MODE_MEM };
	bool is_signed;
	uint8_t reg = 0, src;
	int r = parse_place_in_memory(p, &insn, &reg, &is_signed);

	if (r < 0)
		return r;
	if (is_signed)
		return bpf_scan_fail(&p->scan, "stores have no sign: u8, u16, u32 or u64");
	insn.dst = reg;
	if ((r = bpf_scan_expect(&p->scan, "=")) < 0)
		return r;
	if (bpf_scan_reg(&p->scan, 'r', &src) || bpf_scan_reg(&p->scan, 'w', &src)) {
		insn.opcode |= BPF_CLASS_STX;
		insn.src = src;
		return emit(p, insn);
	}

	int64_t imm;

	insn.opcode |= BPF_CLASS_ST;
	if ((r = bpf_scan_signed(&p->scan, 32, true, &imm)) < 0)
		return r;
	insn.imm = (int32_t)imm;
	return emit(p, insn);
}

static int parse_lock(struct parser *p)
{
	struct bpf_insn insn = { .opcode = BPF_MODE_ATOMIC | BPF_CLASS_STX };
	bool is_signed;
	uint8_t reg = 0;
	int r = bpf_scan_expect(&p->scan, "*");

	if (r < 0 || (r = parse_place_in_memory(p, &insn, &reg, &is_signed)) < 0)
		return r;
	if (is_signed || bpf_size(&insn) < 4)
		return bpf_scan_fail(&p->scan, "atomic operations are on u32 or u64");
	insn.dst = reg;

	const struct bpf_word *word = bpf_scan_word(&p->scan, bpf_atomic_words);

	if (!word || (word->code & BPF_ATOMIC_FETCH))
		return bpf_scan_fail(&p->scan, "expected +=, |=, &= or ^=");
	insn.imm = word->code;
	if (!bpf_scan_reg(&p->scan, 'w', &reg) && (r = bpf_scan_expect_reg(&p->scan, 'r', &reg)) < 0)
		return r;
	insn.src = reg;
	return emit(p, insn);
}

/* "r2 = atomic64_fetch_add((u64 *)(r1 + 0), r2)", "w0 = atomic_cmpxchg((u32 *)(r1 + 0), w0, w2)": after the '_' */
static int parse_fetch(struct parser *p, char letter, uint8_t dst)
{
	struct bpf_insn insn = { .opcode = BPF_MODE_ATOMIC | BPF_CLASS_STX };
	const struct bpf_word *word = bpf_scan_word(&p->scan, bpf_atomic_words);
	bool is_signed;
	uint8_t reg = 0, first = 0;
	int r;

	if (!word || !(word->code & BPF_ATOMIC_FETCH))
		return bpf_scan_fail(&p->scan, "expected fetch_add, fetch_or, fetch_and, fetch_xor, xchg or cmpxchg");
	if ((r = bpf_scan_expect(&p->scan, "(")) < 0 || (r = parse_place_in_memory(p, &insn, &reg, &is_signed)) < 0)
		return r;
	if (is_signed || bpf_size(&insn) != (letter == 'w' ? 4 : 8))
		return bpf_scan_fail(&p->scan,
				     "atomic_ goes with w registers and u32, atomic64_ with r registers and u64");
	insn.dst = reg;
	insn.imm = word->code;
	if (word->code == BPF_ATOMIC_CMPXCHG) {
		if ((r = bpf_scan_expect(&p->scan, ",")) < 0 || (r = bpf_scan_expect_reg(&p->scan, letter, &first)) < 0)
			return r;
		if (first != 0 || dst != 0)
			return bpf_scan_fail(&p->scan, "cmpxchg compares and returns register 0");
	}
	if ((r = bpf_scan_expect(&p->scan, ",")) < 0 || (r = bpf_scan_expect_reg(&p->scan, letter, &reg)) < 0)
		return r;
	if (word->code != BPF_ATOMIC_CMPXCHG && reg != dst)
		return bpf_scan_fail(&p->scan, "the old value goes to the register that held the operand");
	insn.src = reg;
	return (r = bpf_scan_expect(&p->scan, ")")) < 0 ? r : emit(p, insn);
}

static int parse_load(struct parser *p, uint8_t dst)
{
	struct bpf_insn insn = { .opcode = BPF_CLASS_LDX, .dst = dst };
	bool is_signed = false;
	uint8_t reg = 0;
	int r = parse_place_in_memory(p, &insn, &reg, &is_signed);

	insn.src = reg;
	insn.opcode |= is_signed ? BPF_MODE_MEMSX : BPF_MODE_MEM;
	return r < 0 ? r : emit(p, insn);
}

static int emit_wide(struct parser *p, uint8_t dst, uint8_t src, uint64_t value)
{
	int r = emit(p, (struct bpf_insn) {
			    .opcode = BPF_OP_LD_IMM64, .dst = dst, .src = src, .imm = (int32_t)(uint32_t)value });

	return r < 0 ? r : emit(p, (struct bpf_insn) { .imm = (int32_t)(uint32_t)(value >> 32) });
}

/* "be16 r0" and its like; @dst must be the same register */
static int parse_byte_order(struct parser *p, uint8_t dst, bool *found)
{
	static const struct {
		const char *word;
		uint8_t opcode;
		uint8_t bits;
	} table[] = {
		{ "le16", 0xd4, 16 },    { "le32", 0xd4, 32 },    { "le64", 0xd4, 64 },
		{ "be16", 0xdc, 16 },    { "be32", 0xdc, 32 },    { "be64", 0xdc, 64 },
		{ "bswap16", 0xd7, 16 }, { "bswap32", 0xd7, 32 }, { "bswap64", 0xd7, 64 },
	};
	uint8_t src;

	*found = false;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (!bpf_scan_take(&p->scan, table[i].word))
			continue;
		*found = true;

		int r = bpf_scan_expect_reg(&p->scan, 'r', &src);

		if (r < 0)
			return r;
		if (src != dst)
			return bpf_scan_fail(&p->scan,
					     "byte order instructions work in place: the same register on both sides");
		return emit(p, (struct bpf_insn) { .opcode = table[i].opcode, .dst = dst, .imm = table[i].bits });
	}
	return 0;
}

static int parse_number_assignment(struct parser *p, char letter, uint8_t dst)
{
	uint8_t class = letter == 'w' ? BPF_CLASS_ALU : BPF_CLASS_ALU64;
	const char *start = p->scan.at;
	uint64_t magnitude;
	bool negative;
	int64_t imm;
	int r = bpf_scan_number(&p->scan, &negative, &magnitude);

	if (r < 0)
		return r;
	if (letter == 'r' && bpf_scan_take(&p->scan, "ll"))
		return emit_wide(p, dst, 0, negative ? -magnitude : magnitude);
	p->scan.at = start;
	if ((r = bpf_scan_signed(&p->scan, 32, letter == 'w', &imm)) < 0)
		return r;
	return emit(p, (struct bpf_insn) { .opcode = BPF_ALU_MOV << 4 | class, .dst = dst, .imm = (int32_t)imm });
}

/* "(s8)r2" */
static int parse_sign_extension(struct parser *p, char letter, struct bpf_insn insn)
{
	if (bpf_scan_take(&p->scan, "s8"))
		insn.offset = 8;
	else if (bpf_scan_take(&p->scan, "s16"))
		insn.offset = 16;
	else if (letter == 'r' && bpf_scan_take(&p->scan, "s32"))
		insn.offset = 32;
	else
		return bpf_scan_fail(&p->scan, "expected s8, s16, or s32 of a 64-bit register");

	uint8_t reg = 0;
	int r = bpf_scan_expect(&p->scan, ")");

	if (r < 0 || (r = bpf_scan_expect_reg(&p->scan, letter, &reg)) < 0)
		return r;
	insn.src = reg;
	insn.opcode |= BPF_SOURCE_REG;
	return emit(p, insn);
}

/* After "r1 =". */
static int parse_assignment(struct parser *p, char letter, uint8_t dst)
{
	struct bpf_insn insn = { .opcode = letter == 'w' ? BPF_CLASS_ALU : BPF_CLASS_ALU64, .dst = dst };
	uint8_t src;
	bool found;

	if (letter == 'r' && bpf_scan_take(&p->scan, "*"))
		return parse_load(p, dst);
	if (letter == 'r' && bpf_scan_take(&p->scan, "map")) {
		int64_t map;
		int r = bpf_scan_signed(&p->scan, 32, true, &map);

		return r < 0 ? r : emit_wide(p, dst, BPF_LD_MAP, (uint64_t)map);
	}
	bpf_scan_space(&p->scan);
	if (strncmp(p->scan.at, "atomic64_", 9) == 0 || strncmp(p->scan.at, "atomic_", 7) == 0) {
		p->scan.at += p->scan.at[6] == '6' ? 9 : 7;
		return parse_fetch(p, letter, dst);
	}

	int r = letter == 'r' ? parse_byte_order(p, dst, &found) : (found = false, 0);

	if (r < 0 || found)
		return r;
	if (bpf_scan_take(&p->scan, "(")) {
		insn.opcode |= BPF_ALU_MOV << 4;
		return parse_sign_extension(p, letter, insn);
	}
	if (bpf_scan_reg(&p->scan, letter, &src)) {
		insn.opcode |= BPF_ALU_MOV << 4 | BPF_SOURCE_REG;
		insn.src = src;
		return emit(p, insn);
	}
	if (p->scan.at[0] == '-' && p->scan.at[1] == letter) {
		p->scan.at++;
		if ((r = bpf_scan_expect_reg(&p->scan, letter, &src)) < 0)
			return r;
		insn.opcode |= BPF_ALU_NEG << 4;
		return src == dst ? emit(p, insn)
				  : bpf_scan_fail(&p->scan, "negation works in place: the same register on both sides");
	}
	return parse_number_assignment(p, letter, dst);
}

static int parse_alu(struct parser *p, char letter, uint8_t dst)
{
	if (bpf_scan_take(&p->scan, "=="))
		return bpf_scan_fail(&p->scan, "expected an assignment");
	if (bpf_scan_take(&p->scan, "="))
		return parse_assignment(p, letter, dst);

	const struct bpf_word *word = bpf_scan_word(&p->scan, bpf_alu_words);

	if (!word)
		return bpf_scan_fail(&p->scan, "expected an operator, like += or =");

	struct bpf_insn insn = { .opcode =
				     (uint8_t)(word->code << 4 | (letter == 'w' ? BPF_CLASS_ALU : BPF_CLASS_ALU64)),
				 .dst = dst,
				 .offset = word->offset };
	int r = parse_imm_or_reg(p, &insn, letter);

	return r < 0 ? r : emit(p, insn);
}

static int parse_if(struct parser *p)
{
	struct bpf_insn insn = { .opcode = BPF_CLASS_JMP };
	char letter = 'r';
	uint8_t dst = 0;
	int64_t offset;
	int r = 0;

	if (bpf_scan_reg(&p->scan, 'w', &dst)) {
		insn.opcode = BPF_CLASS_JMP32;
		letter = 'w';
	} else {
		r = bpf_scan_expect_reg(&p->scan, 'r', &dst);
	}
	if (r < 0)
		return r;
	insn.dst = dst;

	const struct bpf_word *word = bpf_scan_word(&p->scan, bpf_jump_words);

	if (!word)
		return bpf_scan_fail(&p->scan, "expected a comparison, like == or s<");
	insn.opcode |= (uint8_t)(word->code << 4);
	if ((r = parse_imm_or_reg(p, &insn, letter)) < 0 || (r = bpf_scan_expect(&p->scan, "goto")) < 0 ||
	    (r = parse_place(p, 16, &offset)) < 0)
		return r;
	insn.offset = (int16_t)offset;
	return emit(p, insn);
}

static int parse_goto(struct parser *p, bool is_long)
{
	int64_t offset;
	int r = parse_place(p, is_long ? 32 : 16, &offset);

	if (r < 0)
		return r;
	if (is_long)
		return emit(p, (struct bpf_insn) { .opcode = BPF_OP_JA32, .imm = (int32_t)offset });
	return emit(p, (struct bpf_insn) { .opcode = BPF_OP_JA, .offset = (int16_t)offset });
}

static int parse_call(struct parser *p)
{
	struct bpf_insn insn = { .opcode = BPF_OP_CALL };
	int64_t imm;
	int r;

	bpf_scan_space(&p->scan);
	if (isdigit((unsigned char)*p->scan.at)) {
		r = bpf_scan_signed(&p->scan, 32, false, &imm);
	} else {
		insn.src = BPF_CALL_LOCAL;
		r = parse_place(p, 32, &imm);
	}
	if (r < 0)
		return r;
	insn.imm = (int32_t)imm;
	return emit(p, insn);
}

static int parse_raw(struct parser *p)
{
	struct bpf_insn insn;
	uint64_t bytes;
	bool negative;
	int r = bpf_scan_number(&p->scan, &negative, &bytes);

	if (r < 0)
		return r;
	if (negative)
		return bpf_scan_fail(&p->scan, "raw bytes have no sign");
	memcpy(&insn, &bytes, sizeof(insn));
	return emit(p, insn);
}

static int parse_insn(struct parser *p)
{
	uint8_t reg;

	if (bpf_scan_take(&p->scan, "exit"))
		return emit(p, (struct bpf_insn) { .opcode = BPF_OP_EXIT });
	if (bpf_scan_take(&p->scan, "if"))
		return parse_if(p);
	if (bpf_scan_take(&p->scan, "gotol"))
		return parse_goto(p, true);
	if (bpf_scan_take(&p->scan, "goto"))
		return parse_goto(p, false);
	if (bpf_scan_take(&p->scan, "call"))
		return parse_call(p);
	if (bpf_scan_take(&p->scan, "lock"))
		return parse_lock(p);
	if (bpf_scan_take(&p->scan, ".raw"))
		return parse_raw(p);
	if (bpf_scan_take(&p->scan, "*"))
		return parse_store(p);
	if (bpf_scan_reg(&p->scan, 'r', &reg))
		return parse_alu(p, 'r', reg);
	if (bpf_scan_reg(&p->scan, 'w', &reg))
		return parse_alu(p, 'w', reg);
	return bpf_scan_fail(&p->scan, "expected an instruction");
}

static bool at_end_of_line(struct parser *p)
{
	bpf_scan_space(&p->scan);
	return *p->scan.at == '\0' || *p->scan.at == '\n' || *p->scan.at == '#' || *p->scan.at == ';';
}

/* "name:" at the start of a line */
static int parse_label(struct parser *p, bool *found)
{
	size_t length = 0;

	bpf_scan_space(&p->scan);
	while (bpf_scan_is_name(p->scan.at[length]))
		length++;
	*found = length && p->scan.at[length] == ':';
	if (!*found)
		return 0;

	struct label label = { .slot = p->count };
	int r = take_name(p, label.name);

	if (r == 0)
		r = base_grow(&p->labels, &p->labels_cap, p->labels_used + 1, sizeof(*p->labels));
	if (r < 0)
		return r;
	p->scan.at++;
	p->labels[p->labels_used++] = label;
	return 0;
}

static int parse_line(struct parser *p)
{
	bool found = true;
	int r = 0;

	while (found)
		if ((r = parse_label(p, &found)) < 0)
			return r;
	if (at_end_of_line(p))
		return 0;
	if ((r = parse_insn(p)) < 0)
		return r;
	return at_end_of_line(p) ? 0 : bpf_scan_fail(&p->scan, "unexpected text after the instruction");
}

static int compare_labels(const void *a, const void *b)
{
	return strcmp(((const struct label *)a)->name, ((const struct label *)b)->name);
}

static int resolve(struct parser *p, const struct fixup *fixup)
{
	const struct label *label =
	    p->labels_used ? bsearch(&fixup->label, p->labels, p->labels_used, sizeof(*p->labels), compare_labels)
			   : NULL;
	struct bpf_insn *insn = &p->insns[fixup->label.slot];

	if (!label)
		return base_error(p->scan.err, -EINVAL, UTAP_ERROR_USAGE,
				  "line %zu, column %zu: there is no label '%s'", fixup->line, fixup->column,
				  fixup->label.name);

	int64_t offset = (int64_t)label->slot - (int64_t)fixup->label.slot - 1;

	if (insn->opcode == BPF_OP_JA32 || bpf_is_call(insn)) {
		insn->imm = (int32_t)offset;
		return 0;
	}
	if (offset != (int16_t)offset)
		return base_error(p->scan.err, -EINVAL, UTAP_ERROR_USAGE,
				  "line %zu, column %zu: '%s' is too far (use gotol)", fixup->line, fixup->column,
				  fixup->label.name);
	insn->offset = (int16_t)offset;
	return 0;
}

static int resolve_all(struct parser *p)
{
	if (p->labels_used)
		qsort(p->labels, p->labels_used, sizeof(*p->labels), compare_labels);
	for (size_t i = 1; i < p->labels_used; i++)
		if (compare_labels(&p->labels[i - 1], &p->labels[i]) == 0)
			return base_error(p->scan.err, -EINVAL, UTAP_ERROR_USAGE,
					  "line %zu, column 1: the label '%s' stands twice", p->scan.line,
					  p->labels[i].name);
	for (size_t i = 0; i < p->fixups_used; i++) {
		int r = resolve(p, &p->fixups[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

static int parse_text(struct parser *p)
{
	for (;;) {
		int r = parse_line(p);

		if (r < 0)
			return r;
		p->scan.at += strcspn(p->scan.at, "\n");
		if (!*p->scan.at)
			return resolve_all(p);
		p->scan.line_start = ++p->scan.at;
		p->scan.line++;
	}
}

int bpf_assemble(const char *text, struct bpf_insn **ret, size_t *count, struct utap_error *err)
{
	struct parser p = { .scan = { .at = text, .line_start = text, .line = 1, .err = err } };
	int r = parse_text(&p);

	free(p.labels);
	free(p.fixups);
	if (r == 0 && !p.insns && !(p.insns = malloc(sizeof(*p.insns))))
		r = -ENOMEM;
	if (r < 0) {
		free(p.insns);
		return r;
	}
	*ret = p.insns;
	*count = p.count;
	return 0;
}
