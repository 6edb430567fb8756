/* SPDX-License-Identifier: MIT */
/*
 * What the checker finds out about a probe's program, for the code generator: of every instruction, what its registers
 * hold when it starts and which of them are still needed. Private to the room.
 */
#ifndef BPF_FLOW_H
#define BPF_FLOW_H

#include "bpf/insn.h"

enum bpf_type {
	BPF_UNSET, /* never written, or different kinds on different ways: must not be read */
	BPF_SCALAR,
	BPF_CTX,
	BPF_FRAME,            /* r10 + value */
	BPF_RING,             /* the map */
	BPF_RESERVED,         /* reserved memory + value */
	BPF_RESERVED_OR_NULL, /* the same, not yet tested against 0 */
	BPF_SCRATCH,          /* scratch memory of a LONG record + value */
	BPF_SCRATCH_OR_NULL,
};

struct bpf_reg {
	enum bpf_type type;
	bool known;    /* SCALAR: .value is it */
	int64_t value; /* constant, or offset of FRAME, RESERVED, SCRATCH */
};

/** Before one instruction. reserve and scratch are unique: the checker refuses ways that meet with different reservations. */
struct bpf_state {
	bool reached;
	bool is_target;  /* some jump leads here, or the ways through a reservation meet here again */
	bool tested;     /* the reservation is known to exist */
	int32_t reserve; /* the RING_RESERVE whose memory is open, -1: none */
	int32_t scratch; /* the LONG_RESERVE whose memory is open, -1: none; never both */
	bool has_scratch; /* it is known to exist */
	uint64_t stack;  /* bytes written, bit 0 is r10 - 64 */
	struct bpf_reg reg[BPF_REGS];
};

/**
 * bpf_flow_live() - registers needed at each instruction of a program without backward jumps
 * @live: count + 1 masks
 */
void bpf_flow_live(const struct bpf_insn *program, size_t count, uint16_t *live);

/** bpf_flow_starts() - true for every slot that starts an instruction, false for the second half of a 16-byte load */
void bpf_flow_starts(const struct bpf_insn *program, size_t count, bool *starts);

/** bpf_check_structure() - what both kinds have in common; everything after it may trust opcodes and jump targets */
int bpf_check_structure(const struct bpf_insn *program, size_t count, const bool *starts,
			struct utap_error *err) BASE_MUST_CHECK;

/** bpf_check_standalone() - the rules of BPF_STANDALONE, after bpf_check_structure() */
int bpf_check_standalone(const struct bpf_insn *program, size_t count, struct utap_error *err) BASE_MUST_CHECK;

/** bpf_check_probe() - the rules of BPF_PROBE, after bpf_check_structure(); @states: count of them, zeroed */
int bpf_check_probe(const struct bpf_insn *program, size_t count, struct bpf_state *states, const uint16_t *live,
		    struct utap_error *err) BASE_MUST_CHECK;

/** bpf_refuse() - "instruction N: ..." */
int bpf_refuse(struct utap_error *err, size_t at, const char *format, ...) BASE_PRINTF(3, 4);

#endif
