/* SPDX-License-Identifier: MIT */
/* Conditions of probes: /EXPRESSION/ at the end of their text. Private to this room. */
#ifndef PROBE_FILTER_H
#define PROBE_FILTER_H

#include "probe/writer.h"

/** probe_parse_filter() - from the '/' at @at to the end of the text; arguments were read before */
int probe_parse_filter(struct probe_input *input, const char *at) BASE_MUST_CHECK;

/** Jumps that leave the program because the condition is false. */
struct probe_filter_exits {
	size_t at[PROBE_TESTS + 1];
	size_t count;
};

/** probe_put_filter() - go on only where the condition holds; r7 is the context, all others are clobbered */
void probe_put_filter(struct probe_writer *w, const struct probe_shape *shape, struct probe_filter_exits *exits);
/** probe_put_filter_land() - the exits lead here */
void probe_put_filter_land(struct probe_writer *w, const struct probe_filter_exits *exits);

#endif
