/* SPDX-License-Identifier: MIT */
/* Liveness. One backward pass suffices: a probe's program never jumps back. */
#include "bpf/flow.h"

void bpf_flow_starts(const struct bpf_insn *program, size_t count, bool *starts)
{
	for (size_t i = 0; i < count; i++)
		starts[i] = false;
	for (size_t i = 0; i < count; i += bpf_length(&program[i]))
		starts[i] = true;
}

void bpf_flow_live(const struct bpf_insn *program, size_t count, uint16_t *live)
{
	live[count] = 0;
	for (size_t i = count; i-- > 0;) {
		const struct bpf_insn *insn = &program[i];
		uint16_t after = bpf_is_goto(insn) || bpf_is_exit(insn) ? 0 : live[i + 1];

		if (bpf_is_goto(insn) || bpf_is_branch(insn)) {
			int64_t target = bpf_jump_target(program, i);

			if (target > (int64_t)i && target < (int64_t)count)
				after |= live[target];
		}
		/* The second half of a 16-byte load looks like a load of class LD: it reads nothing and must write
		 * nothing. */
		uint16_t writes = insn->opcode ? bpf_insn_writes(insn) : 0;

		/* Nobody looks at what a probe returns. */
		live[i] = (after & (uint16_t)~writes) | (bpf_is_exit(insn) ? 0 : bpf_insn_reads(insn));
	}
}
