/* SPDX-License-Identifier: MIT */
/*
 * Program -> text. What the assembler would not turn into exactly the same bytes is printed as raw bytes, so the text
 * is always complete.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/text.h"

#define LINE 96 /* bytes of the longest line, its newline included */

static const char *word_of(const struct bpf_word *words, unsigned code, unsigned offset)
{
	while (words->text && (words->code != code || words->offset != offset))
		words++;
	return words->text;
}

static char letter(const struct bpf_insn *insn)
{
	enum bpf_class class = bpf_class(insn);

	return class == BPF_CLASS_ALU || class == BPF_CLASS_JMP32 ? 'w' : 'r';
}

/* The second operand of arithmetic and branches. */
static void print_source(const struct bpf_insn *insn, char *text, size_t size)
{
	if (bpf_has_source_reg(insn))
		snprintf(text, size, "%c%d", letter(insn), insn->src);
	else
		snprintf(text, size, "%d", insn->imm);
}

static void print_place(const struct bpf_insn *insn, unsigned reg, bool is_signed, char *text, size_t size)
{
	snprintf(text, size, "(%c%u *)(r%u %c %d)", is_signed ? 's' : 'u', 8 * bpf_size(insn), reg,
		 insn->offset < 0 ? '-' : '+', abs(insn->offset));
}

static void print_alu(const struct bpf_insn *insn, char *line)
{
	char source[16], r = letter(insn);
	unsigned code = bpf_code(insn);
	int d = insn->dst;

	print_source(insn, source, sizeof(source));
	if (code == BPF_ALU_END)
		snprintf(line, LINE, "r%d = %s%d r%d", d,
			 bpf_class(insn) == BPF_CLASS_ALU64 ? "bswap"
			 : bpf_has_source_reg(insn)         ? "be"
							    : "le",
			 insn->imm, d);
	else if (code == BPF_ALU_NEG)
		snprintf(line, LINE, "%c%d = -%c%d", r, d, r, d);
	else if (code == BPF_ALU_MOV && insn->offset)
		snprintf(line, LINE, "%c%d = (s%d)%s", r, d, insn->offset, source);
	else if (code == BPF_ALU_MOV)
		snprintf(line, LINE, "%c%d = %s", r, d, source);
	else
		snprintf(line, LINE, "%c%d %s %s", r, d, word_of(bpf_alu_words, code, (unsigned)insn->offset), source);
}

static void print_atomic(const struct bpf_insn *insn, char *line)
{
	char place[48], r = bpf_size(insn) == 8 ? 'r' : 'w';
	const char *word = word_of(bpf_atomic_words, (unsigned)insn->imm & 0xff, 0);
	const char *width = bpf_size(insn) == 8 ? "atomic64" : "atomic";

	print_place(insn, insn->dst, false, place, sizeof(place));
	if (insn->imm == BPF_ATOMIC_CMPXCHG)
		snprintf(line, LINE, "%c0 = %s_%s(%s, %c0, %c%d)", r, width, word, place, r, r, insn->src);
	else if (insn->imm & BPF_ATOMIC_FETCH)
		snprintf(line, LINE, "%c%d = %s_%s(%s, %c%d)", r, insn->src, width, word, place, r, insn->src);
	else
		snprintf(line, LINE, "lock *%s %s %c%d", place, word, r, insn->src);
}

static void print_memory(const struct bpf_insn *insn, char *line)
{
	char place[48];

	if (bpf_class(insn) == BPF_CLASS_LDX) {
		print_place(insn, insn->src, (insn->opcode & BPF_MODE_MASK) == BPF_MODE_MEMSX, place, sizeof(place));
		snprintf(line, LINE, "r%d = *%s", insn->dst, place);
		return;
	}
	if (bpf_is_atomic(insn)) {
		print_atomic(insn, line);
		return;
	}
	print_place(insn, insn->dst, false, place, sizeof(place));
	if (bpf_class(insn) == BPF_CLASS_ST)
		snprintf(line, LINE, "*%s = %d", place, insn->imm);
	else
		snprintf(line, LINE, "*%s = r%d", place, insn->src);
}

static void print_jump(const struct bpf_insn *insn, char *line)
{
	char source[16];

	print_source(insn, source, sizeof(source));
	if (bpf_is_exit(insn))
		snprintf(line, LINE, "exit");
	else if (bpf_is_call(insn))
		snprintf(line, LINE, insn->src == BPF_CALL_LOCAL ? "call %+d" : "call %d", insn->imm);
	else if (insn->opcode == BPF_OP_JA32)
		snprintf(line, LINE, "gotol %+d", insn->imm);
	else if (insn->opcode == BPF_OP_JA)
		snprintf(line, LINE, "goto %+d", insn->offset);
	else
		snprintf(line, LINE, "if %c%d %s %s goto %+d", letter(insn), insn->dst,
			 word_of(bpf_jump_words, bpf_code(insn), 0), source, insn->offset);
}

static void print_raw(const struct bpf_insn *insn, char *line)
{
	uint64_t bytes;

	memcpy(&bytes, insn, sizeof(bytes));
	snprintf(line, LINE, ".raw 0x%016" PRIx64, bytes);
}

static void print_wide_load(const struct bpf_insn *insn, char *line)
{
	if (insn->src == BPF_LD_MAP)
		snprintf(line, LINE, "r%d = map %" PRIu64, insn->dst, bpf_imm64(insn));
	else
		snprintf(line, LINE, "r%d = 0x%" PRIx64 " ll", insn->dst, bpf_imm64(insn));
}

static bool is_whole_wide_load(const struct bpf_insn *insn, size_t left)
{
	return left >= 2 && !insn[1].opcode && !insn[1].dst && !insn[1].src && !insn[1].offset &&
	       (insn->src != BPF_LD_MAP || !insn[1].imm);
}

/* Valid, but the assembler would not read it as it was: "call -1" is a local call. */
static bool has_no_text(const struct bpf_insn *insn, size_t left)
{
	if (bpf_length(insn) == 2)
		return !is_whole_wide_load(insn, left);
	return bpf_is_call(insn) && insn->src == BPF_CALL_HELPER && insn->imm < 0;
}

/* Print one instruction; return the slots it took. */
static size_t print_insn(const struct bpf_insn *insn, size_t left, char *line)
{
	if (bpf_insn_valid(insn) || has_no_text(insn, left)) {
		print_raw(insn, line);
		return 1;
	}
	switch (bpf_class(insn)) {
	case BPF_CLASS_LD:
		print_wide_load(insn, line);
		return 2;
	case BPF_CLASS_LDX:
	case BPF_CLASS_ST:
	case BPF_CLASS_STX:
		print_memory(insn, line);
		break;
	case BPF_CLASS_ALU:
	case BPF_CLASS_ALU64:
		print_alu(insn, line);
		break;
	case BPF_CLASS_JMP:
	case BPF_CLASS_JMP32:
		print_jump(insn, line);
		break;
	}
	return 1;
}

int bpf_disassemble(const struct bpf_insn *program, size_t count, char **ret)
{
	if (count > BPF_INSN_LIMIT)
		return -EINVAL;

	char *text = malloc(count * LINE + 1);
	size_t used = 0;

	if (!text)
		return -ENOMEM;
	text[0] = '\0';
	for (size_t i = 0; i < count;) {
		i += print_insn(&program[i], count - i, text + used);
		used += strlen(text + used);
		text[used++] = '\n';
		text[used] = '\0';
	}
	*ret = text;
	return 0;
}
