/* SPDX-License-Identifier: MIT */
/*
 * Names of code that no file holds: what a just-in-time compiler writes down in /tmp/perf-PID.map, a line "START SIZE NAME" for each
 * function it made, numbers in hexadecimal. Memory is used again, so of lines that overlap the last one counts.
 *
 * The file is input: what is no such line is passed over.
 *
 * Source: tools/perf/Documentation/jit-interface.txt.
 */
#ifndef OBJECT_JIT_H
#define OBJECT_JIT_H

#include "base/base.h"

struct object_jit;

/**
 * object_jit_open() - names of process @pid
 * @directory: where the file is; NULL: /tmp
 *
 * The file may come later, and grow. It must belong to us, to root or to the owner of the process: others could write one as well.
 *
 * Return: 0 or -ENOMEM.
 */
int object_jit_open(const char *directory, uint32_t pid, struct object_jit **ret) BASE_MUST_CHECK;
void object_jit_close(struct object_jit *jit); /* NULL is fine */
/**
 * object_jit_at() - the function that holds @addr; the file is read (again) when it has changed since, but not often
 * @offset: of @addr from its start
 * Return: valid until the next call; NULL: not known
 */
const char *object_jit_at(struct object_jit *jit, uint64_t addr, uint64_t *offset);

#endif
