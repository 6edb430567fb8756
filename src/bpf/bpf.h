/* SPDX-License-Identifier: MIT */
/*
 * The waist: every front end becomes programs of this instruction set (RFC 9669), every probe runs one. One checker, one
 * code generator, one set of helpers. Nothing here makes system calls or knows about processes.
 */
#ifndef BPF_BPF_H
#define BPF_BPF_H

#include <assert.h>

#include "base/base.h"
#include "isa/isa.h"

/** One instruction as RFC 9669 section 3 lays it out (little endian). */
struct bpf_insn {
	uint8_t opcode;
	uint8_t dst : 4;
	uint8_t src : 4;
	int16_t offset;
	int32_t imm;
};
static_assert(sizeof(struct bpf_insn) == 8, "bpf_insn");

#define BPF_INSN_LIMIT 65536 /* instructions of the longest program */
#define BPF_STACK 512        /* bytes below r10 a standalone program has; a probe's program has BPF_PROBE_STACK */
#define BPF_PROBE_STACK 64

/*
 * Helpers. Numbers below 65536 are the kernel's and mean what they mean there; ours start at 65536.
 */
enum bpf_helper {
	BPF_HELPER_CPU = 8,                /* () -> cpu number */
	BPF_HELPER_PID_TGID = 14,          /* () -> pid << 32 | tid */
	BPF_HELPER_COMM = 16,              /* (to stack, constant 16) -> 0 or negative errno; the thread's name, NUL included */
	BPF_HELPER_READ_USER = 112,        /* (to stack or scratch, constant size, from) -> 0, or negative errno and 0 written; never faults */
	BPF_HELPER_RING_OUTPUT = 130,      /* (ring, data on stack, size, 0) -> 0 or -ENOSPC with the loss counted */
	BPF_HELPER_RING_RESERVE = 131,     /* (ring, constant size, 0) -> memory or 0 with the loss counted */
	BPF_HELPER_RING_SUBMIT = 132,      /* (memory, 0) */
	BPF_HELPER_RING_DISCARD = 133,     /* (memory, 0) */
	BPF_HELPER_COOKIE = 174,           /* (ctx) -> the probe's id */
	BPF_HELPER_TIME = 65536,           /* () -> raw TSC */
	BPF_HELPER_COUNT = 65537,          /* () -> 0; counts one hit of this probe, exactly */
	BPF_HELPER_GOID_OFFSET = 65539,    /* () -> where a goroutine's struct g has its number: a constant of the target */
	BPF_HELPER_STACK_WORD = 65538,     /* (constant n) -> the n-th 8-byte word from the probed place's rsp, 0 if unreadable */
	/*
	 * Long records (WIRE_RECORD_LONG) are made in scratch memory, where any helper but those of the ring may be called, and copied into the
	 * ring at once. Both sizes are multiples of 8, the fixed one from 24 to WIRE_RECORD_MAX, the other from there to WIRE_LONG_MAX. The
	 * scratch starts as zeros; SUBMIT fills in the header's size and time, and the flag LONG. "most bytes" and "bytes" are any numbers:
	 * what does not fit is cut off (WIRE_LOCATOR_SHORT). What is appended starts where the last ended.
	 */
	BPF_HELPER_LONG_RESERVE = 65540,   /* (ring, constant fixed size, constant most) -> scratch of the fixed size, or 0, loss counted */
	BPF_HELPER_LONG_STRING = 65541,    /* (scratch, most bytes, from) -> a locator (wire.h): text appended up to its NUL */
	BPF_HELPER_LONG_BYTES = 65542,     /* (scratch, bytes, from) -> a locator: memory appended */
	BPF_HELPER_LONG_SUBMIT = 65543,    /* (scratch, 0) -> 0; what was appended is in the ring, or lost and counted */
	BPF_HELPER_LONG_DISCARD = 65544,   /* (scratch, 0) -> 0 */
	/*
	 * (scratch, constant WIRE_STACK(), sp, bp) -> a locator: the user stack appended. Of RAW only what follows the registers: the probed place (of
	 * a return where it returns to), then the bytes from sp. Room for 8 bytes, an address each, or the bytes, must be counted in.
	 */
	BPF_HELPER_LONG_STACK = 65545,
	BPF_HELPER_TICKET = 65550,         /* () -> hits of this probe counted on this CPU before (apart: by threads with rseq); counts one */
	/*
	 * (constant n) -> 8 bytes of a vector register as the probed place has it: of xmm(n / 2) the low ones, or where n is odd the high ones. The
	 * code touches none: a value of one is only stored.
	 */
	BPF_HELPER_VECTOR = 65552,
	BPF_HELPER_LIMIT = 65551,          /* (constant TSC ticks a record, constant ticks of a burst) -> 1: it may be recorded, or 0 */
};
#define BPF_MAP_RING 0 /* imm of a pseudo map load (LD_IMM64 with src 1) that names the ring */

/**
 * bpf_assemble() - text in RFC 9669's notation, one instruction a line ("r1 = 5", "w2 += r3", "r0 = *(u32 *)(r1 + 8)",
 * "if r1 s> -3 goto +2", "lock *(u64 *)(r1 + 0) += r2", "r0 = be16 r0", "call 5", "goto label", "label:", "exit", ';' and '#'
 * comments)
 * @ret: heap array of *count instructions, the caller frees
 *
 * Return: 0; -EINVAL with line and column in @err; -ENOMEM.
 */
int bpf_assemble(const char *text, struct bpf_insn **ret, size_t *count, struct utap_error *err) BASE_MUST_CHECK;

/**
 * bpf_disassemble() - the text bpf_assemble() takes, one line a instruction, labels as relative numbers
 * @ret: heap, the caller frees. Unknown encodings become ".raw 0x...": assembling the text gives the same bytes back.
 */
int bpf_disassemble(const struct bpf_insn *program, size_t count, char **ret) BASE_MUST_CHECK;

/** What a program is checked for. */
enum bpf_kind {
	BPF_STANDALONE, /* r1 = memory, r2 = its size: plain addresses, no helpers, loops allowed; the conformance suite */
	BPF_PROBE,      /* r1 = the probe's context (struct pt_regs layout, enum isa_reg * 8), helpers, everything bounded */
};

/**
 * bpf_check() - refuse what must not run
 *
 * Both kinds: known opcodes with reserved fields zero (RFC 9669), jumps inside the program and not into the middle of a
 * 16-byte load, no fall off the end, r10 not written, only initialised registers read.
 * BPF_STANDALONE also: no recursion, at most 8 nested frames of BPF_STACK bytes, each with its own r10.
 * BPF_PROBE also: no backward jump, stack accesses inside BPF_PROBE_STACK, context read only at constant offsets that name a
 * register (u8..u64 within one register; not ISA_IP, since one program serves many places), memory stores only to the stack or between RING_RESERVE and RING_SUBMIT
 * to the reserved bytes (constant offsets inside the reserved size), a reservation tested against 0 before use and always
 * submitted or discarded, no direct loads from other memory (READ_USER is the way), helper arguments of the right kind. Between
 * RESERVE and SUBMIT the code is restartable: no register that was live at RESERVE is written, no helper
 * but TIME, PID_TGID, CPU, COOKIE, VECTOR is called, no atomic operation, no stack store. Records are multiples of 8 bytes, from 24
 * (struct wire_record) to WIRE_RECORD_MAX, those of RING_OUTPUT to BPF_PROBE_STACK.
 * Between LONG_RESERVE and LONG_SUBMIT or LONG_DISCARD, of which one must come, everything is allowed but another record: the scratch
 * memory's fixed part is read and written at constant offsets, after it was tested against 0.
 *
 * Return: 0; -EINVAL with "instruction N: ..." in @err; -ENOMEM.
 */
int bpf_check(const struct bpf_insn *program, size_t count, enum bpf_kind kind, struct utap_error *err) BASE_MUST_CHECK;

/**
 * bpf_long_most() - bytes of the largest LONG record that a BPF_PROBE program may write
 *
 * Return: 0 when it writes none; -EINVAL for a program bpf_check() would refuse; -ENOMEM.
 */
int bpf_long_most(const struct bpf_insn *program, size_t count) BASE_MUST_CHECK;

/**
 * bpf_stack_most() - bytes below the probed place's stack pointer that a BPF_PROBE program's code may write, in whatever target: those that it
 * skips, its own, and the runtime's
 *
 * Return: more than 0; -EINVAL for a program bpf_check() would refuse; -ENOMEM.
 */
int bpf_stack_most(const struct bpf_insn *program, size_t count) BASE_MUST_CHECK;

/** What the code generator has to know about the target process. Addresses are the target's. */
struct bpf_target {
	int32_t rseq_offset; /* of struct rseq from the %fs base; 0: threads have none, use cells only */
	int32_t tid_offset;  /* of the thread's tid (u32) from the %fs base; 0: none, call the runtime */
	bool has_rdpid;
	uint32_t cpus;
	utap_addr table;     /* of wire's table, its entry of CPU 0 */
	utap_addr lost;      /* of wire's lost counters */
	utap_addr limits;    /* of wire's limits; used by programs that call LIMIT */
	utap_addr local;     /* struct wire_local */
	uint64_t ring_size;
	uint64_t counters_at; /* as in struct wire_control */
	uint64_t shared_at;
	uint64_t cells_at;
	uint64_t cells;
	uint64_t cell_size;
	uint64_t long_cells_at; /* 0, as the next two: there are no LONG records */
	uint64_t long_cells;
	uint64_t long_cell_size;
	bool overwrite;       /* nobody reads meanwhile, the newest records replace the oldest (WIRE_TRAILER, WIRE_CELL_BUSY) */
	uint32_t goid_offset;
	utap_addr runtime[16]; /* target addresses by enum wire_runtime_entry */
	/*
	 * For a body that is part of its trampoline: the place's id is a constant, and the trampoline only made room: rax is the
	 * place's own, its rsp is %rsp + 128 at the entry. Else see bpf_compile_probe().
	 */
	bool id_known;
	uint32_t id;
	/*
	 * What ends the code instead of `ret`, for a body that is part of its trampoline; NULL: `ret`. May be called several times for one
	 * place, the last time counts. rsp is then what it was at the entry; unless id_known, a word lies where the return address would.
	 */
	void (*finish)(void *arg, struct isa_emitter *e);
	void *finish_arg;
};

/**
 * bpf_compile_probe() - machine code of a checked BPF_PROBE program, called from a trampoline
 *
 * Entry: by `call`, with eax = the probe's id (zero-extended), the probed place's rax at 8(%rsp), its rsp = %rsp + 144, everything else as at
 * the probed place, flags included. The code returns with `ret`; it preserves every register (but rax) and the flags, uses less than
 * 256 bytes of stack (the 144 included; a counter 160, a record 184, a LONG record 256; a program that uses nearly all registers up to 272,
 * the BPF stack adds what is used of it, reading memory 32, a call of the runtime 16 and what the runtime needs: wire.h), writes no vector
 * register (of VECTOR's it stores the values), and touches no memory but its own, the rings and slots, in STACK_WORD the page that rsp points into, in READ_USER the one
 * that ends at or behind it.
 *
 * Records and counters are committed by one store inside an rseq critical section where target->rseq_offset is set and the
 * thread is registered (cpu_id >= 0), else through locked cells and counters. The descriptors (32-byte aligned) are emitted with the code.
 * The thread's rseq_cs names one only while its ip or a return address is inside the body: then nobody must unmap or overwrite it
 * (the kernel would kill the process), afterwards it may go. A discarded cell is published with the first 8 bytes 0.
 *
 * Return: 0; -ENOSPC, -ERANGE from the emitter; -EINVAL for a program bpf_check() would refuse; -ENOMEM.
 * Source: the kernel's rseq ABI (include/uapi/linux/rseq.h); RFC 9669.
 */
int bpf_compile_probe(const struct bpf_insn *program, size_t count, const struct bpf_target *target,
		      struct isa_emitter *e, struct utap_error *err) BASE_MUST_CHECK;

/**
 * bpf_compile_function() - machine code of a checked BPF_STANDALONE program as a System V function
 * uint64_t f(void *memory, uint64_t size)
 */
int bpf_compile_function(const struct bpf_insn *program, size_t count, struct isa_emitter *e,
			 struct utap_error *err) BASE_MUST_CHECK;

#endif
