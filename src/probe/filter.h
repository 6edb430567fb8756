/* SPDX-License-Identifier: MIT */
/* Conditions of probes: /EXPRESSION/ at the end of their text. Private to this room. */
#ifndef PROBE_FILTER_H
#define PROBE_FILTER_H

#include "probe/writer.h"

/** probe_parse_filter() - from the '/' at @at to the end of the text; arguments were read before */
int probe_parse_filter(struct probe_input *input, const char *at) BASE_MUST_CHECK;

/**
 * probe_float_key() - a number that sorts, as a signed one, as the floating-point value of those bits does; not of NaN
 * @bits: of a float in the upper half
 */
static inline uint64_t probe_float_key(uint64_t bits)
{
	return bits >> 63 ? (1ULL << 63) - bits : bits;
}

/** Jumps of a condition that wait for what they lead to: a test's number, PROBE_TEST_PASS, PROBE_TEST_FAIL. */
struct probe_jumps {
	size_t at[PROBE_TESTS * (PROBE_READS + 3) + 1]; /* of a number one less; NaN; one is a limit's */
	uint8_t to[PROBE_TESTS * (PROBE_READS + 3) + 1];
	size_t count;
};

/** probe_put_filter() - go on only where the condition holds; else to @fail. r7 is the context, all others are clobbered */
void probe_put_filter(struct probe_writer *w, const struct probe_shape *shape, struct probe_jumps *fail);
/** probe_put_limits() - behind the condition: go on only when the limits allow it, else to @fail */
void probe_put_limits(struct probe_writer *w, struct probe_jumps *fail);
/** probe_put_filter_land() - where the condition does not hold, or a limit is reached, the program goes on here */
void probe_put_filter_land(struct probe_writer *w, struct probe_jumps *fail);

#endif
