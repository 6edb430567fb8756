/* SPDX-License-Identifier: MIT */
/* The words that the assembler reads and the disassembler writes. Private to the room. */
#ifndef BPF_TEXT_H
#define BPF_TEXT_H

#include "bpf/insn.h"

struct bpf_word {
	const char *text;
	uint8_t code;
	uint8_t offset; /* of arithmetic: 1 for the signed forms */
};

/* Longest first where one is the start of another; ends with a NULL text. */
static const struct bpf_word bpf_alu_words[] = {
	{ "s>>=", BPF_ALU_ARSH, 0 }, { "<<=", BPF_ALU_LSH, 0 },
	{ ">>=", BPF_ALU_RSH, 0 },   { "s/=", BPF_ALU_DIV, 1 },
	{ "s%=", BPF_ALU_MOD, 1 },   { "+=", BPF_ALU_ADD, 0 },
	{ "-=", BPF_ALU_SUB, 0 },    { "*=", BPF_ALU_MUL, 0 },
	{ "/=", BPF_ALU_DIV, 0 },    { "%=", BPF_ALU_MOD, 0 },
	{ "|=", BPF_ALU_OR, 0 },     { "&=", BPF_ALU_AND, 0 },
	{ "^=", BPF_ALU_XOR, 0 },    { NULL, 0, 0 },
};

static const struct bpf_word bpf_jump_words[] = {
	{ "s>=", BPF_JUMP_SGE, 0 }, { "s<=", BPF_JUMP_SLE, 0 }, { "s>", BPF_JUMP_SGT, 0 }, { "s<", BPF_JUMP_SLT, 0 },
	{ "==", BPF_JUMP_EQ, 0 },   { "!=", BPF_JUMP_NE, 0 },   { ">=", BPF_JUMP_GE, 0 },  { "<=", BPF_JUMP_LE, 0 },
	{ ">", BPF_JUMP_GT, 0 },    { "<", BPF_JUMP_LT, 0 },    { "&", BPF_JUMP_SET, 0 },  { NULL, 0, 0 },
};

static const struct bpf_word bpf_atomic_words[] = {
	{ "fetch_add", BPF_ATOMIC_ADD | BPF_ATOMIC_FETCH, 0 },
	{ "fetch_or", BPF_ATOMIC_OR | BPF_ATOMIC_FETCH, 0 },
	{ "fetch_and", BPF_ATOMIC_AND | BPF_ATOMIC_FETCH, 0 },
	{ "fetch_xor", BPF_ATOMIC_XOR | BPF_ATOMIC_FETCH, 0 },
	{ "cmpxchg", BPF_ATOMIC_CMPXCHG, 0 },
	{ "xchg", BPF_ATOMIC_XCHG, 0 },
	{ "+=", BPF_ATOMIC_ADD, 0 },
	{ "|=", BPF_ATOMIC_OR, 0 },
	{ "&=", BPF_ATOMIC_AND, 0 },
	{ "^=", BPF_ATOMIC_XOR, 0 },
	{ NULL, 0, 0 },
};

#endif
