/* SPDX-License-Identifier: MIT */
/* What the halves of the parser share; private to this room. */
#ifndef PROBE_INPUT_H
#define PROBE_INPUT_H

#include "probe/probe.h"

/** One text being parsed. */
struct probe_input {
	const char *text;
	size_t column;           /* of the error, 1-based */
	bool kernel_form;        /* the kernel's limits hold, too */
	struct probe_spec *spec; /* filled as far as parsed */
	struct utap_error *err;  /* may be NULL */
};

/** probe_input_fail() - "column N: ..." for the byte at @at of the text; returns -EINVAL */
int probe_input_fail(struct probe_input *input, const char *at, const char *format, ...) BASE_PRINTF(3, 4);

bool probe_is_blank(char c);
bool probe_is_digit(char c);
bool probe_is_name_start(char c);
/** probe_is_name() - [A-Za-z_][A-Za-z0-9_]* */
bool probe_is_name(const char *at, size_t length);
/** probe_is_argument() - does a word look like [NAME=]FETCH rather than like a place? */
bool probe_is_argument(const char *at);
const char *probe_skip_blanks(const char *at);
const char *probe_word_end(const char *at);

/** probe_number() - all of [at, end) as a number: hexadecimal with 0x, octal with 0, else decimal; false: it is none, or too large */
bool probe_number(const char *at, const char *end, uint64_t *ret) BASE_MUST_CHECK;

/** probe_parse_form() - whether the text is in the kernel's form, what is probed and the event's name; *@at moves to the place */
int probe_parse_form(struct probe_input *input, const char **at) BASE_MUST_CHECK;
/** probe_parse_args() - all arguments from @at to the end of the text */
int probe_parse_args(struct probe_input *input, const char *at) BASE_MUST_CHECK;
/** probe_parse_fetch() - [at, end) is FETCH: source, reads and the width (source_bits) of @arg are filled */
int probe_parse_fetch(struct probe_input *input, const char *at, const char *end, struct probe_arg *arg) BASE_MUST_CHECK;
/** probe_parse_type() - [at, end) is TYPE, behind its ':' */
int probe_parse_type(struct probe_input *input, const char *at, const char *end, struct probe_arg *arg) BASE_MUST_CHECK;

/** probe_hint() - "; did you mean X?" or nothing */
void probe_hint(char *text, size_t size, const char *prefix, const char *nearest);

/* ---- arguments and records ---- */

#define PROBE_STACK_REGISTERS (16 * 8) /* of struct wire_stack_raw, in the fixed part; the rest is appended right behind */

/** probe_arg_is_long() - is its word in the record a locator? */
static inline bool probe_arg_is_long(const struct probe_arg *arg)
{
	return arg->is_string || arg->count;
}

/**
 * probe_arg_inline() - bytes of it in the fixed part, behind the words: strings that are known without reading memory, the locators of an array of
 * strings, bit fields of an array
 */
uint32_t probe_arg_inline(const struct probe_spec *spec, const struct probe_arg *arg);
/** probe_arg_most() - the most bytes of it that follow the fixed part */
uint32_t probe_arg_most(const struct probe_arg *arg);

#endif
