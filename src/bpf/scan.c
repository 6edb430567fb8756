/* SPDX-License-Identifier: MIT */
/* Words, registers and numbers of program text. Nothing here reads past the end of a line. */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "bpf/scan.h"

int bpf_scan_fail(struct bpf_scan *s, const char *what)
{
	return base_error(s->err, -EINVAL, UTAP_ERROR_USAGE, "line %zu, column %zu: %s", s->line,
			  (size_t)(s->at - s->line_start) + 1, what);
}

void bpf_scan_space(struct bpf_scan *s)
{
	while (*s->at == ' ' || *s->at == '\t' || *s->at == '\r')
		s->at++;
}

/* Take @text if it stands here; a word must end where @text ends. */
bool bpf_scan_take(struct bpf_scan *s, const char *text)
{
	size_t length = strlen(text);

	bpf_scan_space(s);
	if (strncmp(s->at, text, length) != 0)
		return false;
	if (bpf_scan_is_name(text[length - 1]) && bpf_scan_is_name(s->at[length]))
		return false;
	s->at += length;
	return true;
}

int bpf_scan_expect(struct bpf_scan *s, const char *text)
{
	char what[64] = "expected ";

	if (bpf_scan_take(s, text))
		return 0;
	strncat(what, text, sizeof(what) - strlen(what) - 1);
	return bpf_scan_fail(s, what);
}

const struct bpf_word *bpf_scan_word(struct bpf_scan *s, const struct bpf_word *words)
{
	for (; words->text; words++)
		if (bpf_scan_take(s, words->text))
			return words;
	return NULL;
}

/* r0 to r10, w0 to w10. */
bool bpf_scan_reg(struct bpf_scan *s, char letter, uint8_t *ret)
{
	bpf_scan_space(s);
	if (*s->at != letter || !isdigit((unsigned char)s->at[1]))
		return false;

	unsigned reg = (unsigned)(s->at[1] - '0');
	size_t length = 2;

	if (isdigit((unsigned char)s->at[2]))
		reg = reg * 10 + (unsigned)(s->at[length++] - '0');
	if (reg >= BPF_REGS || bpf_scan_is_name(s->at[length]))
		return false;
	s->at += length;
	*ret = (uint8_t)reg;
	return true;
}

int bpf_scan_expect_reg(struct bpf_scan *s, char letter, uint8_t *ret)
{
	if (bpf_scan_reg(s, letter, ret))
		return 0;
	return bpf_scan_fail(s, letter == 'w' ? "expected a 32-bit register, w0 to w10"
					      : "expected a register, r0 to r10");
}

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 16;
}

int bpf_scan_number(struct bpf_scan *s, bool *negative, uint64_t *magnitude)
{
	uint64_t value = 0;
	int base = 10;

	bpf_scan_space(s);
	*negative = *s->at == '-';
	if (*s->at == '-' || *s->at == '+')
		s->at++;
	if (s->at[0] == '0' && (s->at[1] == 'x' || s->at[1] == 'X')) {
		base = 16;
		s->at += 2;
	}
	if (digit_of(*s->at) >= base)
		return bpf_scan_fail(s, "expected a number");
	for (; digit_of(*s->at) < base; s->at++)
		if (__builtin_mul_overflow(value, (uint64_t)base, &value) ||
		    __builtin_add_overflow(value, (uint64_t)digit_of(*s->at), &value))
			return bpf_scan_fail(s, "the number does not fit in 64 bits");
	if (bpf_scan_is_name(*s->at))
		return bpf_scan_fail(s, "expected a number");
	*magnitude = value;
	return 0;
}

/* A signed number of @bits; the unsigned ones of the same width too where @is_unsigned. */
int bpf_scan_signed(struct bpf_scan *s, unsigned bits, bool is_unsigned, int64_t *ret)
{
	uint64_t magnitude, limit = 1ULL << (bits - 1);
	bool negative;
	int r = bpf_scan_number(s, &negative, &magnitude);

	if (r < 0)
		return r;
	if (negative ? magnitude > limit : magnitude >= (is_unsigned ? 2 * limit : limit))
		return bpf_scan_fail(s, bits == 32 ? "the number does not fit in 32 bits (64-bit constants end in 'll')"
						   : "the number does not fit in 16 bits");
	*ret = negative ? -(int64_t)magnitude : (int64_t)magnitude;
	return 0;
}
