/* SPDX-License-Identifier: MIT */
/* Local calls of standalone programs: how deep they nest. Private to the room. */
#ifndef BPF_CALLS_H
#define BPF_CALLS_H

#include "bpf/insn.h"

#define BPF_FUNCTIONS 64 /* different targets of local calls */
#define BPF_FRAMES 8     /* nested frames, the first one included; each has its own BPF_STACK */

/** bpf_check_calls() - refuse recursion and more than BPF_FRAMES frames; the program's structure is checked */
int bpf_check_calls(const struct bpf_insn *program, size_t count, struct utap_error *err) BASE_MUST_CHECK;

#endif
