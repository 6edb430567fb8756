/* SPDX-License-Identifier: MIT */
/*
 * The hand-written reference, patched into a program's own functions by the program itself. It is not safe and not meant to be:
 * threads must be outside of the functions while it is switched, and the records have no reader.
 */
#ifndef BENCH_FLOOR_H
#define BENCH_FLOOR_H

#include <stddef.h>
#include <stdint.h>

#define FLOOR_PLACES 10240
#define FLOOR_AREA (1UL << 18) /* bytes a CPU; floor.S knows it too */

enum floor_mode { FLOOR_OFF, FLOOR_COUNT, FLOOR_RECORD, FLOOR_PAIR };

/**
 * floor_create() - make the trampolines of @count functions; one call a process
 * @returns: of each function its only `ret`, with four bytes of padding behind, for FLOOR_PAIR; NULL: it has no pair
 *
 * Return: NULL, or a sentence that says why this machine or program cannot have them.
 */
const char *floor_create(uint8_t *const *functions, uint8_t *const *returns, size_t count);

/** floor_set() - patch all functions, or give them their bytes back; NULL or a sentence */
const char *floor_set(enum floor_mode mode);

/** floor_hits() - what was counted and recorded since the start */
uint64_t floor_hits(void);

#endif
