/* SPDX-License-Identifier: MIT */
/*
 * What is known about the code of one file: where instructions start and where branches and pointers lead. Built once a file,
 * pure: bytes in, facts out; all places are vaddrs of the file.
 *
 * Instructions are decoded linearly from the start of each frame description entry. Bytes outside them are unknown: not code
 * to be probed, perhaps padding.
 */
#ifndef PATCH_CODE_H
#define PATCH_CODE_H

#include "base/base.h"
#include "isa/isa.h"
#include "object/object.h"

struct patch_code;

/**
 * patch_code_create() - look at all code of @object (borrowed until destroyed)
 * @allow_no_frame: also decode function symbols with a size that no frame entry covers
 * Return: 0, -ENOMEM, or what reading the object's frames and pointers returned.
 */
int patch_code_create(struct object *object, bool allow_no_frame, struct patch_code **ret,
		      struct utap_error *err) BASE_MUST_CHECK;
void patch_code_destroy(struct patch_code *code);

struct object *patch_code_object(const struct patch_code *code);

bool patch_code_is_start(const struct patch_code *code, uint64_t vaddr);  /* an instruction starts here */
bool patch_code_is_known(const struct patch_code *code, uint64_t vaddr);  /* inside decoded code */
/** Does anything lead strictly inside (vaddr, vaddr + length)? */
bool patch_code_has_inner_target(const struct patch_code *code, uint64_t vaddr, unsigned length);
/** The start of the instruction that holds @vaddr, or 0 */
uint64_t patch_code_start_before(const struct patch_code *code, uint64_t vaddr);
/** The next instruction start after @vaddr in the same decoded stretch, or 0 */
uint64_t patch_code_start_after(const struct patch_code *code, uint64_t vaddr);

/**
 * patch_code_flow_known() - is every way into the middle of the code around @vaddr among the targets known? False when its function holds
 * an indirect jump whose table was not found: then anything in the function may be jumped to (but code before @vaddr is a call's or
 * a pointer's target only where that is known).
 */
bool patch_code_flow_known(const struct patch_code *code, uint64_t vaddr);
/** Is it called, or does data point to it? Not what is only jumped to, as fragments moved away from their function. */
bool patch_code_is_entry(const struct patch_code *code, uint64_t vaddr);
/** Does anything (a branch, a pointer, a symbol, a table, a landing pad, a call's return) lead to @vaddr itself? */
bool patch_code_is_target(const struct patch_code *code, uint64_t vaddr);

/**
 * patch_code_padding() - dead space of at least @size bytes that starts in [from, to], as near to @near as there is: between two
 * frame entries, at most 64 bytes in all, nop, int3 or zero, nothing leads there
 * @taken: asks whether a byte is in use already (may be NULL)
 * Return: its vaddr, or 0.
 */
uint64_t patch_code_padding(const struct patch_code *code, uint64_t near, uint64_t from, uint64_t to, unsigned size,
			    bool (*taken)(const void *arg, uint64_t vaddr, unsigned size), const void *arg);

/** Must this place not be touched for what it is (rseq section, signal restorer ..)? NULL, or the reason */
const char *patch_code_forbidden(const struct patch_code *code, uint64_t vaddr, unsigned length);

/** patch_code_lacks_stack() - may a program that takes @needed bytes of the stack write below a goroutine's there? NULL, or the reason */
const char *patch_code_lacks_stack(const struct patch_code *code, uint64_t vaddr, unsigned needed);

#endif
