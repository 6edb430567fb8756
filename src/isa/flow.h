/* SPDX-License-Identifier: MIT */
/*
 * Where control may go after an instruction, and what that depends on. Two views: isa_lead() for sweeps over whole
 * modules, which looks at few bytes, and isa_effect() for following an address backwards from an indirect jump, which
 * knows operands.
 */
#ifndef ISA_FLOW_H
#define ISA_FLOW_H

#include "isa/isa.h"

enum isa_lead {
	ISA_LEAD_ON,   /* to the next instruction, and nothing below */
	ISA_LEAD_CALL, /* direct */
	ISA_LEAD_CALL_INDIRECT,
	ISA_LEAD_JUMP,   /* direct, always taken */
	ISA_LEAD_BRANCH, /* direct, may be taken (also loop.., xbegin) */
	ISA_LEAD_JUMP_INDIRECT,
	ISA_LEAD_RETURN,
	ISA_LEAD_TRAP,    /* does not go on: ud2, hlt, int3 .. */
	ISA_LEAD_ADDRESS, /* on, and takes an address relative to itself (lea) */
	ISA_LEAD_NUMBER,  /* on, and takes a constant that may be an address in files linked to a fixed one */
};

/**
 * isa_lead() - the kind of an instruction that isa_step() has measured
 * @length, @has_target: what isa_step() said; all @length bytes are readable
 * @address: written for ISA_LEAD_ADDRESS and ISA_LEAD_NUMBER
 */
enum isa_lead isa_lead(const uint8_t *code, unsigned length, utap_addr addr, bool has_target, utap_addr *address);

/**
 * isa_makes_return() - does this instruction, run just before a return, put the address there that it returns to? Such
 * a return is an indirect jump (push, mov to the top of the stack).
 */
bool isa_makes_return(const uint8_t *code, unsigned length);

#define ISA_GENERAL 16 /* general registers, by their number in the encoding */
#define ISA_STACK 4    /* the stack pointer's */
#define ISA_NO_REGISTER 255

enum isa_effect_kind {
	ISA_EFFECT_OTHER,   /* nothing below */
	ISA_EFFECT_COPY,    /* to = size bytes of from */
	ISA_EFFECT_LOAD,    /* to = size bytes at memory */
	ISA_EFFECT_ADDRESS, /* to = the address of memory */
	ISA_EFFECT_NUMBER,  /* to = number */
	ISA_EFFECT_ADD,     /* to += from */
	ISA_EFFECT_MIX,     /* to = to mixed with a secret, as libraries hide function pointers */
	ISA_EFFECT_CHOOSE,  /* to = from, or stays */
	ISA_EFFECT_CALL,    /* what a callee may change has changed, by the System V ABI */
	ISA_EFFECT_COMPARE, /* of size bytes of to with number */
	ISA_EFFECT_BOUND,   /* a branch that tells unsigned numbers apart: see takes_small */
	ISA_EFFECT_JUMP,    /* to where the register to points, or memory when to is ISA_NO_REGISTER */
};

/** A memory operand: base + index * scale + disp, all but disp optional. One relative to the instruction has its
 * address in disp. */
struct isa_memory {
	uint8_t base, index, scale;
	uint64_t disp;
};

/** What an instruction does to general registers, as far as following an address needs it. */
struct isa_effect {
	enum isa_effect_kind kind;
	uint32_t written; /* general registers that may have changed, by bits */
	uint8_t to, from;
	uint8_t size; /* bytes; the rest of to is filled by the sign (is_signed) or with zeros */
	bool is_signed;
	struct isa_memory memory;
	uint64_t number;
	bool sets_flags;  /* a later conditional branch may depend on it */
	bool takes_small; /* BOUND: taken when what was compared is smaller; else not taken */
	bool takes_equal; /* BOUND: equal counts as smaller */
};

/** isa_effect() - 0, or -EILSEQ */
int isa_effect(const uint8_t *code, size_t size, utap_addr addr, struct isa_effect *ret) BASE_MUST_CHECK;

#endif
