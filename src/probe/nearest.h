/* SPDX-License-Identifier: MIT */
/* "Did you mean": the nearest word of a short list. */
#ifndef PROBE_NEAREST_H
#define PROBE_NEAREST_H

#include <stddef.h>

/**
 * probe_nearest() - the one of @words that is at most two edits (insert, delete, replace, swap of neighbours) from
 * @word, and fewer edits than half its letters; the first of equals
 * @word: @length bytes, need not be terminated
 *
 * Return: one of @words, or NULL.
 */
const char *probe_nearest(const char *word, size_t length, const char *const *words, size_t count);

#endif
