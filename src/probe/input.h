/* SPDX-License-Identifier: MIT */
/* What the halves of the parser share; private to this room. */
#ifndef PROBE_INPUT_H
#define PROBE_INPUT_H

#include "probe/probe.h"

#define PROBE_STACK_SLOTS (BPF_PROBE_STACK / 8)
/* Words of the target's stack one probe can read: the program's own stack, r8 and r9. */
#define PROBE_STACK_WORDS (PROBE_STACK_SLOTS + 2)
#define PROBE_GOID_WORD 0x10000 /* stands for $goid among them; no $stackN goes so far */

/** One text being parsed. */
struct probe_input {
	const char *text;
	size_t column;           /* of the error, 1-based */
	struct probe_spec *spec; /* filled as far as parsed */
	struct utap_error *err;  /* may be NULL */
};

/** probe_input_fail() - "column N: ..." for the byte at @at of the text; returns -EINVAL */
int probe_input_fail(struct probe_input *input, const char *at, const char *format, ...) BASE_PRINTF(3, 4);

bool probe_is_blank(char c);
bool probe_is_digit(char c);
/** probe_is_name() - [A-Za-z_][A-Za-z0-9_]* */
bool probe_is_name(const char *at, size_t length);
/** probe_is_argument() - does a word look like [NAME=]FETCH rather than like a place? */
bool probe_is_argument(const char *at);
const char *probe_skip_blanks(const char *at);
const char *probe_word_end(const char *at);

/** probe_parse_args() - all arguments from @at to the end of the text */
int probe_parse_args(struct probe_input *input, const char *at) BASE_MUST_CHECK;

/**
 * probe_stack_words() - the different $stackN of @spec, in order of appearance
 * @words: room for PROBE_ARGS of them
 */
size_t probe_stack_words(const struct probe_spec *spec, uint32_t *words);

#endif
