/* SPDX-License-Identifier: MIT */
/* A cursor in program text: what the assembler reads with. Private to the room. */
#ifndef BPF_SCAN_H
#define BPF_SCAN_H

#include <ctype.h>

#include "bpf/text.h"

struct bpf_scan {
	const char *at; /* terminated text */
	const char *line_start;
	size_t line; /* from 1 */
	struct utap_error *err;
};

static inline bool bpf_scan_is_name(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '.';
}

/** bpf_scan_fail() - -EINVAL, "line N, column N: @what" */
int bpf_scan_fail(struct bpf_scan *s, const char *what);
void bpf_scan_space(struct bpf_scan *s);

/** bpf_scan_take() - take @text if it stands here; a word must end where @text ends */
bool bpf_scan_take(struct bpf_scan *s, const char *text);
int bpf_scan_expect(struct bpf_scan *s, const char *text) BASE_MUST_CHECK;

/** bpf_scan_word() - the first of @words that stands here, or NULL */
const struct bpf_word *bpf_scan_word(struct bpf_scan *s, const struct bpf_word *words);

/** bpf_scan_reg() - r0 to r10, or w0 to w10 by @letter */
bool bpf_scan_reg(struct bpf_scan *s, char letter, uint8_t *ret);
int bpf_scan_expect_reg(struct bpf_scan *s, char letter, uint8_t *ret) BASE_MUST_CHECK;

/** bpf_scan_number() - decimal or 0x, with a sign or not, of up to 64 bits */
int bpf_scan_number(struct bpf_scan *s, bool *negative, uint64_t *magnitude) BASE_MUST_CHECK;

/** bpf_scan_signed() - a signed number of @bits, or an unsigned one of the same width where @is_unsigned */
int bpf_scan_signed(struct bpf_scan *s, unsigned bits, bool is_unsigned, int64_t *ret) BASE_MUST_CHECK;

#endif
