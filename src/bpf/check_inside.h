/* SPDX-License-Identifier: MIT */
/* What check_probe.c (the walk) and check_helper.c (the helpers) share. Private to these two. */
#ifndef BPF_CHECK_INSIDE_H
#define BPF_CHECK_INSIDE_H

#include "bpf/flow.h"
#include "wire/wire.h"

struct probe_check {
	const struct bpf_insn *program;
	size_t count;
	struct bpf_state *states;
	const uint16_t *live;
	struct utap_error *err;
};

/** bpf_type_name() - for people: "a number" */
const char *bpf_type_name(enum bpf_type type);

/** bpf_stack_mask() - the bits of bpf_state.stack for @size bytes at r10 + @offset, which are inside the stack */
uint64_t bpf_stack_mask(int64_t offset, unsigned size);

/* Each of these refuses, for the instruction @at. */
int bpf_check_stack(struct probe_check *c, size_t at, int64_t offset, int64_t size) BASE_MUST_CHECK;
int bpf_check_stack_read(struct probe_check *c, size_t at, const struct bpf_state *s, int64_t offset,
			 int64_t size) BASE_MUST_CHECK;
int bpf_check_reserved(struct probe_check *c, size_t at, const struct bpf_state *s, enum bpf_type type, int64_t offset,
		       int64_t size) BASE_MUST_CHECK;
int bpf_check_arg(struct probe_check *c, size_t at, const struct bpf_state *s, int reg, enum bpf_type type) BASE_MUST_CHECK;

/** bpf_check_helper() - the call @at; @s becomes what is behind it, but for r1 to r5 */
int bpf_check_helper(struct probe_check *c, size_t at, struct bpf_state *s) BASE_MUST_CHECK;

#endif
