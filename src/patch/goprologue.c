/* SPDX-License-Identifier: MIT */
/*
 * The first instructions of Go's functions, as its assembler makes them (cmd/internal/obj/x86/obj6.go describes the forms):
 *
 *     mov  %fs:-8,%rcx            the goroutine, where no register has it (r14 has, since Go 1.17); of PIEs two movs
 *     lea  -frame(%rsp),%r12      frames of more than 128 bytes: less these. Of a page or more: mov, sub, jb grow
 *     cmp  0x10(%r14),%r12        the limit; 0x18 on the stacks of the system
 *     jbe  grow
 *     ...
 *     grow: movs; call runtime.morestack_noctxt; movs; jmp to the first instruction
 *
 * Only what has one of these forms to the last byte counts. Everything else is a function that does not look.
 */
#include <string.h>

#include "isa/flow.h"
#include "patch/gostack.h"

#define GOROUTINE 14 /* r14 */
#define REX_W 0x48
#define REX_R 0x04
#define REX_X 0x02
#define REX_B 0x01

struct reading {
	const uint8_t *at, *end;
};

/* An instruction with REX.W, one byte of opcode, and a ModRM byte: its register numbers. False: another one. */
struct operands {
	uint8_t rex, mod, reg, rm;
};

static bool operands_read(struct reading *r, uint8_t opcode, struct operands *ret)
{
	if (r->end - r->at < 3 || (r->at[0] & 0xf8) != REX_W || r->at[1] != opcode)
		return false;
	ret->rex = r->at[0];
	ret->mod = r->at[2] >> 6;
	ret->reg = (uint8_t)((r->at[2] >> 3 & 7) | (ret->rex & REX_R ? 8 : 0));
	ret->rm = (uint8_t)((r->at[2] & 7) | (ret->rex & REX_B ? 8 : 0));
	r->at += 3;
	return true;
}

static bool signed_read(struct reading *r, unsigned size, int64_t *ret)
{
	uint32_t word = 0;

	if ((size_t)(r->end - r->at) < size)
		return false;
	memcpy(&word, r->at, size);
	r->at += size;
	*ret = size == 1 ? (int8_t)word : (int32_t)word;
	return true;
}

/* Where in the thread's block it is: mov x(%rip),%reg; mov $-8,%reg. */
static bool offset_read(struct reading *r, uint8_t *reg)
{
	struct reading start = *r;
	struct operands mov;
	int64_t number;

	if (operands_read(r, 0x8b, &mov) && mov.mod == 0 && (mov.rm & 7) == 5 && signed_read(r, 4, &number)) {
		*reg = mov.reg;
		return true;
	}
	*r = start;
	if (!operands_read(r, 0xc7, &mov) || mov.mod != 3 || (mov.reg & 7) || !signed_read(r, 4, &number) || number != -8)
		return false;
	*reg = mov.rm;
	return true;
}

/* mov %fs:-8,%reg; or the offset into a register and mov %fs:(%reg),%reg. */
static bool goroutine_read(struct reading *from, uint8_t *goroutine)
{
	struct reading r = *from;
	struct operands load;
	uint8_t offset;
	int64_t ignored;

	if (offset_read(&r, &offset) && r.at < r.end && *r.at++ == 0x64 && operands_read(&r, 0x8b, &load) && load.mod == 0 &&
	    load.rm == offset && (offset & 7) != 4 && (offset & 7) != 5) {
		*goroutine = load.reg;
		*from = r;
		return true;
	}
	r = *from;
	if (r.at >= r.end || *r.at++ != 0x64 || !operands_read(&r, 0x8b, &load) || load.mod != 0 || (load.rm & 7) != 4 || r.at >= r.end ||
	    *r.at++ != 0x25 || load.rex & REX_X || !signed_read(&r, 4, &ignored) || ignored != -8)
		return false;
	*goroutine = load.reg;
	*from = r;
	return true;
}

/* lea -frame(%rsp),%reg */
static bool frame_read(struct reading *from, uint8_t *lowest, uint64_t *frame)
{
	struct reading r = *from;
	struct operands lea;
	int64_t offset;

	if (!operands_read(&r, 0x8d, &lea) || (lea.mod != 1 && lea.mod != 2) || lea.rm != ISA_STACK || r.at >= r.end || *r.at++ != 0x24 ||
	    lea.rex & REX_X || !signed_read(&r, lea.mod == 1 ? 1 : 4, &offset) || offset >= 0)
		return false;
	*lowest = lea.reg;
	*frame = (uint64_t)-offset;
	*from = r;
	return true;
}

/* jb, jbe: where it leads. */
static bool branch_read(struct reading *r, uint8_t condition, const uint8_t *start, uint64_t vaddr, uint64_t *ret)
{
	int64_t distance;
	bool is_short = r->end - r->at >= 2 && r->at[0] == (0x70 | condition);

	if (!is_short && (r->end - r->at < 6 || r->at[0] != 0x0f || r->at[1] != (0x80 | condition)))
		return false;
	r->at += is_short ? 1 : 2;
	if (!signed_read(r, is_short ? 1 : 4, &distance))
		return false;
	*ret = vaddr + (uint64_t)(r->at - start) + (uint64_t)distance;
	return true;
}

#define JB 2
#define JBE 6

/* mov %rsp,%reg; sub $frame,%reg; jb grow */
static bool page_read(struct reading *from, const uint8_t *start, uint64_t vaddr, uint8_t *lowest, uint64_t *frame, uint64_t *grow)
{
	struct reading r = *from;
	struct operands mov, sub;
	int64_t number;

	if (!operands_read(&r, 0x89, &mov) || mov.mod != 3 || mov.reg != ISA_STACK || !operands_read(&r, 0x81, &sub) || sub.mod != 3 ||
	    (sub.reg & 7) != 5 || sub.rm != mov.rm || !signed_read(&r, 4, &number) || number < 0 || !branch_read(&r, JB, start, vaddr, grow))
		return false;
	*lowest = mov.rm;
	*frame = (uint64_t)number;
	*from = r;
	return true;
}

/* Nothing but movs, one call of the function that makes stacks grow, and the jump back. */
static bool does_grow(const struct object *object, const struct object_go_function *function, uint64_t at,
		      bool (*is_morestack)(const void *arg, uint64_t vaddr), const void *arg)
{
	bool called = false;
	size_t available;

	while (at > function->start && at < function->end) {
		const uint8_t *bytes = object_code(object, at, &available);
		bool has_target = false;
		uint64_t target = 0;
		int length = bytes ? isa_step(bytes, available, at, &has_target, &target) : 0;
		int64_t change;

		if (length <= 0 || go_move(bytes, (unsigned)length, at, &change) != GO_MOVE_TOLD)
			return false;
		switch (isa_lead(bytes, (unsigned)length, at, has_target, &target)) {
		case ISA_LEAD_ON:
		case ISA_LEAD_ADDRESS:
		case ISA_LEAD_NUMBER:
			break;
		case ISA_LEAD_CALL:
			if (called || !is_morestack(arg, target))
				return false;
			called = true;
			break;
		case ISA_LEAD_JUMP:
			return called && target == function->start;
		case ISA_LEAD_CALL_INDIRECT:
		case ISA_LEAD_BRANCH:
		case ISA_LEAD_JUMP_INDIRECT:
		case ISA_LEAD_RETURN:
		case ISA_LEAD_TRAP:
			return false;
		}
		at += (uint64_t)length;
	}
	return false;
}

bool go_check_find(const struct object *object, const struct object_go_function *function,
		   bool (*is_morestack)(const void *arg, uint64_t vaddr), const void *arg, struct go_check *ret)
{
	size_t available;
	const uint8_t *start = object_code(object, function->start, &available);
	size_t size = function->end - function->start;
	struct reading r = { start, start ? start + (size < available ? size : available) : NULL };
	uint8_t goroutine = GOROUTINE;
	uint8_t lowest = ISA_STACK;
	struct go_check check = { 0 };
	uint64_t grow = 0;
	struct operands compare;
	int64_t limit;

	if (!start)
		return false;
	(void)goroutine_read(&r, &goroutine);
	if (!frame_read(&r, &lowest, &check.frame))
		(void)page_read(&r, start, function->start, &lowest, &check.frame, &grow);
	if (!operands_read(&r, 0x3b, &compare) || compare.mod != 1 || compare.reg != lowest || compare.rm != goroutine ||
	    (goroutine & 7) == 4 || !signed_read(&r, 1, &limit) || (limit != 0x10 && limit != 0x18) ||
	    !branch_read(&r, JBE, start, function->start, &check.grow) || (grow && grow != check.grow))
		return false;
	check.body = function->start + (uint64_t)(r.at - start);
	if (check.grow < check.body || check.grow >= function->end || !does_grow(object, function, check.grow, is_morestack, arg))
		return false;
	*ret = check;
	return true;
}

/* ---- the stack pointer ---- */

/* sub, add $n,%rsp; lea n(%rsp),%rsp: how far down */
static bool moves_by_number(const uint8_t *code, unsigned length, int64_t *change)
{
	struct reading r = { code, code + length };
	struct operands operands;
	bool is_short = length > 1 && code[1] == 0x83;

	if (operands_read(&r, is_short ? 0x83 : 0x81, &operands)) {
		if (operands.mod != 3 || operands.rm != ISA_STACK || ((operands.reg & 7) != 5 && (operands.reg & 7) != 0) ||
		    !signed_read(&r, is_short ? 1 : 4, change))
			return false;
		*change = (operands.reg & 7) == 5 ? *change : -*change;
		return true;
	}
	if (!operands_read(&r, 0x8d, &operands) || (operands.mod != 1 && operands.mod != 2) || operands.reg != ISA_STACK ||
	    operands.rm != ISA_STACK || r.at >= r.end || *r.at++ != 0x24 || operands.rex & REX_X ||
	    !signed_read(&r, operands.mod == 1 ? 1 : 4, change))
		return false;
	*change = -*change;
	return true;
}

/* Of the instructions that push and pop, those that Go's assembler makes. */
static bool pushes(const uint8_t *code, unsigned length, int64_t *change)
{
	unsigned at = length > 1 && (code[0] & 0xf0) == 0x40 ? 1 : 0;
	uint8_t opcode = code[at];

	if ((opcode & 0xf8) == 0x50 || opcode == 0x9c || opcode == 0x68 || opcode == 0x6a ||
	    (opcode == 0xff && length > at + 1 && (code[at + 1] >> 3 & 7) == 6)) {
		*change = 8;
		return true;
	}
	if (((opcode & 0xf8) == 0x58 && (opcode != 0x5c || at)) || opcode == 0x9d) {
		*change = -8;
		return opcode != 0x5c || code[0] & REX_B;
	}
	return false;
}

enum go_move go_move(const uint8_t *code, unsigned length, uint64_t vaddr, int64_t *change)
{
	struct isa_effect effect;
	bool has_target = false;
	uint64_t target = 0;

	*change = 0;
	if (isa_effect(code, length, vaddr, &effect))
		return GO_MOVE_UNTOLD;
	if (!(effect.written >> ISA_STACK & 1) || pushes(code, length, change) || moves_by_number(code, length, change))
		return GO_MOVE_TOLD;
	*change = 0;
	if (isa_step(code, length, vaddr, &has_target, &target) != (int)length)
		return GO_MOVE_UNTOLD;
	switch (isa_lead(code, length, vaddr, has_target, &target)) {
	case ISA_LEAD_CALL:
	case ISA_LEAD_CALL_INDIRECT:
	case ISA_LEAD_RETURN:
		return GO_MOVE_TOLD;
	case ISA_LEAD_ON:
	case ISA_LEAD_JUMP:
	case ISA_LEAD_BRANCH:
	case ISA_LEAD_JUMP_INDIRECT:
	case ISA_LEAD_TRAP:
	case ISA_LEAD_ADDRESS:
	case ISA_LEAD_NUMBER:
		break;
	}
	return effect.kind == ISA_EFFECT_LOAD && effect.to == ISA_STACK && effect.size == 8 ? GO_MOVE_STACK : GO_MOVE_UNTOLD;
}
