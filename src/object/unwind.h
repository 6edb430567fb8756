/* SPDX-License-Identifier: MIT */
/*
 * A file's unwind information as a table for the walker (wire/unwind.h): from .eh_frame, from .debug_frame where that is all there is, from the
 * table of a Go program, from the bytes of the signal restorer where nothing describes it, and where V8's built-in functions are.
 */
#ifndef OBJECT_UNWIND_H
#define OBJECT_UNWIND_H

#include "object/object.h"
#include "wire/unwind.h"

/* DWARF's numbers of registers, as in struct wire_stack_raw. */
#define OBJECT_UNWIND_BP 6
#define OBJECT_UNWIND_SP 7
#define OBJECT_UNWIND_IP 16

struct object_unwind {
	uint64_t base; /* vaddr that the rows' offsets count from: the first byte of code */
	struct wire_unwind_row *rows; /* by offset, no two alike next to each other */
	size_t count, cap;
	uint64_t check_at, check; /* a vaddr that is a multiple of 8, and the word there, by which this file is known in memory; 0, 0: none */
};

/**
 * object_unwind_make() - the table of a file; in one without unwind information frame pointers are to be tried
 *
 * Rules that the walker does not have are "unknown", descriptions that are damaged, too. Where descriptions overlap each ends where the next begins.
 * A file of which less than a quarter of the code is described counts as one without: its compiler wrote no information, a library of its did.
 *
 * Return: 0; -EFBIG its code spans 4 GiB or more; -ENOMEM. The caller frees with object_unwind_free().
 */
int object_unwind_make(struct object *object, struct object_unwind *ret, struct utap_error *err) BASE_MUST_CHECK;
void object_unwind_free(struct object_unwind *unwind); /* a zeroed one is fine */

#endif
