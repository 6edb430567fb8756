/* SPDX-License-Identifier: MIT */
/*
 * Instructions: decode, classify, relocate, emit. No system calls, no global state. Everything that knows an encoding
 * lives in isa/<machine>/; this header is what another machine would have to provide.
 */
#ifndef ISA_ISA_H
#define ISA_ISA_H

#include "base/base.h"

#define ISA_INSN_MAX 15
#define ISA_RELOCATED_MAX 64 /* bytes the longest relocated instruction can take */

enum isa_class {
	ISA_PLAIN,      /* copied, a RIP-relative operand adjusted */
	ISA_CALL,       /* direct near call */
	ISA_CALL_INDIRECT,
	ISA_JUMP,       /* direct near jump */
	ISA_JUMP_INDIRECT,
	ISA_BRANCH,     /* conditional jump */
	ISA_LOOP,       /* loop, loope, loopne, jcxz, jecxz, jrcxz */
	ISA_RETURN,
	ISA_SYSCALL,    /* syscall, sysenter, int 0x80 */
	ISA_ENDBR,      /* endbr64: never overwritten */
	ISA_NOP,
	ISA_REFUSED,    /* decodable, but must not be displaced; isa_insn.why says the reason */
};

/** One decoded instruction. Plain data, owns nothing. */
struct isa_insn {
	utap_addr addr;
	uint8_t bytes[ISA_INSN_MAX];
	uint8_t length;
	enum isa_class class;
	const char *why;      /* static text, set for ISA_REFUSED */
	bool has_target;      /* direct branch or call */
	utap_addr target;
	bool has_rip_operand; /* memory operand relative to the next instruction */
	utap_addr rip_operand;
	uint8_t disp_offset;  /* where in bytes[] the 32-bit displacement of that operand is */
};

/**
 * isa_decode() - decode one instruction
 * @code:  its bytes, @size of them readable
 * @addr:  where it runs
 *
 * Return: 0, or -EILSEQ when the bytes are no instruction (or one this decoder does not know, as APX).
 */
int isa_decode(const uint8_t *code, size_t size, utap_addr addr, struct isa_insn *ret) BASE_MUST_CHECK;

/**
 * isa_step() - length and direct-branch target only, several times faster than isa_decode(); for whole modules
 * @target: written only when *@has_target is set to true (jmp, jcc, call, loop.., xbegin; target of any direct branch)
 *
 * Return: the length, or -EILSEQ.
 */
int isa_step(const uint8_t *code, size_t size, utap_addr addr, bool *has_target, utap_addr *target) BASE_MUST_CHECK;

/**
 * isa_may_fault() - may it fault by itself: reading or writing memory that is not there, dividing?
 * @trusted: registers (bit 0 rax .. 15 r15) whose memory is always there; that of rsp, %fs and of static data is anyway
 */
bool isa_may_fault(const struct isa_insn *insn, uint32_t trusted);

/** isa_format() - text in AT&T syntax, as objdump prints it; always terminated */
void isa_format(const struct isa_insn *insn, char *text, size_t size);

/*
 * An emitter writes into the caller's buffer and keeps a sticky error, checked once at the end (-ENOSPC: buffer full,
 * -ERANGE: a displacement does not reach).
 */
struct isa_emitter {
	uint8_t *buffer;
	size_t size;
	size_t used;
	utap_addr addr; /* where buffer[0] will run */
	int error;
};

static inline utap_addr isa_emit_here(const struct isa_emitter *e) { return e->addr + e->used; }
void isa_emit_bytes(struct isa_emitter *e, const void *bytes, size_t size);
void isa_emit_u8(struct isa_emitter *e, uint8_t value);
void isa_emit_u32(struct isa_emitter *e, uint32_t value);
void isa_emit_u64(struct isa_emitter *e, uint64_t value);
void isa_emit_jump(struct isa_emitter *e, utap_addr to); /* 5 bytes */
void isa_emit_call(struct isa_emitter *e, utap_addr to); /* 5 bytes */

/** How a relocated instruction is entered. */
enum isa_entry {
	ISA_BY_JUMP, /* rsp is what it was at the original place */
	ISA_BY_CALL, /* only for calls: the site became a call, so the return address already stands at (%rsp) */
};

/**
 * isa_relocate() - emit @insn so that it does at the emitter's place what it did at insn->addr
 * @falls_through:  set to false when control never reaches the next instruction of the copy (jmp, ret, calls: a call
 *                  returns to the original place because the original return address is what it pushes)
 * @why:            on refusal, a static sentence
 *
 * A call pushes the original return address: stacks, unwinders and Go never see ours. Flags, registers and stack are
 * exactly those of the original; nothing is scratched.
 *
 * Return: 0, -ENOTSUP (@why set), or the emitter's sticky error (-ERANGE: @why set too; -ENOSPC).
 * Source: Intel SDM volume 2; facts of every class in docs/architecture.md.
 */
int isa_relocate(const struct isa_insn *insn, enum isa_entry entry, struct isa_emitter *e, bool *falls_through,
		 const char **why) BASE_MUST_CHECK;

/**
 * isa_pun() - the possible targets of a jump that changes only an instruction's own bytes
 * @next:      the bytes that follow the instruction in memory (at least 4)
 * @prefixes:  how many one-byte prefixes precede the opcode, 0 .. length - 1
 *
 * A 5-byte jump laid over an instruction shorter than 5 bytes keeps the following bytes as the high bytes of its
 * displacement: the target lies in [*lo, *hi], all values congruent in the fixed high bytes.
 *
 * Return: 0; -EINVAL when @prefixes is out of range or the length is 5 or more.
 */
int isa_pun(const struct isa_insn *insn, const uint8_t *next, unsigned prefixes, utap_addr *lo,
	    utap_addr *hi) BASE_MUST_CHECK;

/** isa_pun_encode() - the bytes (insn->length of them) of the punned jump to @to; 0 or -ERANGE when @to does not fit */
int isa_pun_encode(const struct isa_insn *insn, const uint8_t *next, unsigned prefixes, utap_addr to,
		   uint8_t *bytes) BASE_MUST_CHECK;

/** A stretch of code, [start, end). */
struct isa_stretch {
	utap_addr start, end;
};
/**
 * isa_emit_judge() - before an indirect jump: code that makes the jump @insn itself when it leads into one of @stay, and else goes on behind
 * what was emitted, with every register, flag and byte of the stack as before
 * @stay: empty ones count for nothing
 *
 * Its operand is read once more by whoever makes the jump then: another thread may have changed it in between.
 *
 * Return: 0, -ENOTSUP or -ERANGE (@why set), or the emitter's sticky error.
 */
int isa_emit_judge(const struct isa_insn *insn, const struct isa_stretch *stay, size_t count, struct isa_emitter *e,
		   const char **why) BASE_MUST_CHECK;

/**
 * isa_traps() - bytes with which no instruction starts: whoever runs one traps at once, whatever follows; *count of them
 * Source: Intel SDM volume 2, appendix A (invalid in 64-bit mode), int3, int1, hlt. Not the prefixes of VEX, EVEX and APX, nor what a
 * program with I/O privilege may run.
 */
const uint8_t *isa_traps(size_t *count);

/** isa_is_padding() - are these bytes all nop, int3 or zero (dead space between functions)? */
bool isa_is_padding(const uint8_t *code, size_t size);

/** isa_has_rdpid() - can programs on this machine read their CPU number with rdpid? */
bool isa_has_rdpid(void);

/*
 * The registers a probe can name, in the order of the kernel's struct pt_regs: a context load at offset 8 * number.
 */
enum isa_reg {
	ISA_R15, ISA_R14, ISA_R13, ISA_R12, ISA_BP, ISA_BX, ISA_R11, ISA_R10, ISA_R9, ISA_R8, ISA_AX, ISA_CX, ISA_DX,
	ISA_SI, ISA_DI, ISA_ORIG_AX, ISA_IP, ISA_CS, ISA_FLAGS, ISA_SP, ISA_SS, ISA_REGS
};

/**
 * isa_reg_parse() - a register as the kernel's uprobe_events names it, without '%' ("di", "ax", "r8", "ip", "sp", "bp",
 * "flags"), and as objdump does ("rdi", "edi", "dil", "r8d")
 * @bits: 8, 16, 32 or 64: the width the name stands for ("di" is the whole register, 64, as in the kernel)
 *
 * Return: the number, or -ENOENT.
 */
int isa_reg_parse(const char *name, size_t length, unsigned *bits) BASE_MUST_CHECK;

#endif
