/* SPDX-License-Identifier: MIT */
/*
 * The state of compiling one probe program. Private to src/bpf/x86_64/.
 *
 * Values are lazy: what a BPF register holds is remembered (a constant, "the probed rdi", "the cookie") and turned into
 * machine code where it is used, so a context load that is only stored again is one mov from the live register. Where
 * ways meet, every live number is in its home register and every pointer is what the checker says (flow.h).
 *
 * The program is emitted several times into the same place until nothing changes: the first pass finds out which
 * machine registers the code scratches, the next one knows where the prologue saved them.
 *
 * Machine registers: rax, rcx, rdx scratch; rbx the record, r11 the ring (in the cell version: the sequence number),
 * the others are homes, in an order that leaves argument registers and rbp for last.
 *
 * Stack, from high to low, after 144 (inline 128) bytes that the trampoline took:
 *     id, if needed       8
 *     saved registers     8 each, only those used; rax is the trampoline's, but where the id is known
 *     flags, if needed    8
 *     BPF stack           as deep as it is used
 *     struct wire_long    32, if the program makes LONG records
 *     tid, pid            4 + 4, as they were before a record was begun; the tid only where the target's threads keep none
 *     struct wire_read    32 with its result, if memory is read
 * Calls of the runtime take 16 more and what it needs (wire.h); while a LONG record is copied, 24.
 */
#ifndef BPF_X86_64_PROBE_H
#define BPF_X86_64_PROBE_H

#include "bpf/flow.h"
#include "bpf/x86_64/alu.h"
#include "wire/wire.h"

#define PROBE_RECORD X86_BX
#define PROBE_BLOCK X86_R11
#define PROBE_CELL_TRIES 64
#define PROBE_RSEQ_CPU_ID 4 /* offsets in struct rseq */
#define PROBE_RSEQ_CS 8
#define PROBE_ENTRY_TO_RSP 144 /* what the trampoline and its call put on the stack */
#define PROBE_INLINE_TO_RSP 128 /* the same where the body is part of the trampoline and knows the id */

enum probe_kind {
	PROBE_NOTHING,
	PROBE_CONSTANT, /* .imm */
	PROBE_HOME,     /* in its home register */
	PROBE_CTX,      /* the context's address: never materialised */
	PROBE_RING,
	PROBE_FRAME,    /* BPF stack address r10 + .imm */
	PROBE_RESERVED, /* PROBE_RECORD + .imm: reserved memory, or the scratch memory of a LONG record */
	PROBE_CONTEXT,  /* the low .size bytes of the probed place's register .reg, extended */
	PROBE_VECTOR,   /* half .reg of the vector registers, as BPF_HELPER_VECTOR counts */
	PROBE_COOKIE,   /* the id, or-ed with .imm, whose low half is 0 */
	PROBE_PID_TGID,
	PROBE_TIME, /* in edx:eax, not yet put together; at most one register */
};

struct probe_value {
	enum probe_kind kind;
	uint8_t reg;  /* enum isa_reg, or a half of a vector register */
	uint8_t size; /* 1, 2, 4, 8 */
	bool is_signed;
	int64_t imm;
};

/** Which version of the code between RESERVE and SUBMIT is being emitted. */
enum probe_mode { PROBE_OUTSIDE, PROBE_RSEQ, PROBE_CELL };

/** What the prologue provides. Only ever grows from pass to pass. */
struct probe_plan {
	uint32_t saved; /* machine registers, bit mask */
	bool flags;
	bool id;
	bool has_long;
	int32_t stack; /* bytes of the BPF stack that are used */
	bool tid;
	bool read;
	bool section; /* rseq_cs is set somewhere */
};

/** One reservation: a RESERVE up to its SUBMIT, or a RING_OUTPUT. */
struct probe_region {
	size_t at;    /* its call */
	size_t last;  /* the last instruction inside */
	int32_t size; /* bytes of the record */
	bool uses_pid;
	size_t retry, start, end, abort, descriptor; /* labels */
	size_t cell, gone, done;                     /* gone: no memory; done: RING_OUTPUT only */
	struct probe_value value[BPF_REGS];          /* when it was reserved */
};

struct probe_gen;

/** Code that is emitted after the main path. */
struct probe_stub {
	void (*emit)(struct probe_gen *g, const struct probe_stub *stub);
	size_t label, back;
	size_t region;
	int32_t pushed; /* as it was when the stub was added */
	int32_t disp;
	uint8_t home;
};

struct probe_descriptor {
	size_t label, start, end, abort;
};

struct probe_gen {
	const struct bpf_insn *program;
	size_t count;
	const struct bpf_state *states;
	const uint16_t *live;
	const struct bpf_target *target;
	struct isa_emitter *e;
	struct x86_labels labels; /* [0, count): instructions; [count, 2 count): their cell versions */
	int error;                /* sticky */

	enum probe_mode mode;
	size_t at;       /* the instruction being emitted */
	size_t falls_to; /* where control goes from here, SIZE_MAX: nowhere */
	bool id_in_ax;
	int32_t pushed; /* bytes on the machine stack below the frame, now */
	struct probe_value value[BPF_REGS];
	uint8_t home[BPF_REGS]; /* X86_NONE: not given yet */
	size_t homes;
	struct probe_plan plan, found;
	size_t region; /* the open one */
	size_t epilogue, literal[RT_ENTRIES];
	uint32_t called; /* entries of the runtime, bit mask */

	struct probe_region *regions;
	size_t regions_used, regions_cap;
	struct probe_stub *stubs;
	size_t stubs_used, stubs_cap;
	struct probe_descriptor *descriptors;
	size_t descriptors_used, descriptors_cap;
};

/* frame.c: the stack, the runtime, the parts after the code */
void probe_prologue(struct probe_gen *g);
void probe_epilogue(struct probe_gen *g);
uint32_t probe_stack_most(const struct probe_gen *g); /* of what was emitted, the runtime included */
struct x86_mem probe_frame_mem(struct probe_gen *g, int64_t offset); /* r10 + offset */
struct x86_mem probe_read_mem(struct probe_gen *g, int32_t offset);  /* struct wire_read, and 8 bytes more */
struct x86_mem probe_tid_mem(struct probe_gen *g);
struct x86_mem probe_pid_mem(struct probe_gen *g);
struct x86_mem probe_long_mem(struct probe_gen *g, int32_t offset); /* struct wire_long */
struct x86_mem probe_id_mem(struct probe_gen *g);
struct x86_mem probe_flags_mem(struct probe_gen *g);
struct x86_mem probe_rsp_mem(struct probe_gen *g, int32_t offset); /* the probed place's rsp + offset */
struct x86_mem probe_saved_mem(struct probe_gen *g, enum x86_reg reg);
void probe_runtime(struct probe_gen *g, enum wire_runtime_entry entry);
size_t probe_label(struct probe_gen *g);
void probe_here(struct probe_gen *g, size_t label);
void probe_add_stub(struct probe_gen *g, struct probe_stub stub);
void probe_add_descriptor(struct probe_gen *g, struct probe_descriptor descriptor);
void probe_emit_tables(struct probe_gen *g);

/* value.c: lazy values and homes */
void probe_use(struct probe_gen *g, enum x86_reg reg); /* it will be scratched: not rax */
void probe_use_ax(struct probe_gen *g);
void probe_use_flags(struct probe_gen *g);
enum x86_reg probe_home(struct probe_gen *g, unsigned reg);
void probe_set_home(struct probe_gen *g, unsigned reg); /* the home was written */
void probe_materialise(struct probe_gen *g, unsigned reg);
enum x86_reg probe_read(struct probe_gen *g, unsigned reg); /* a machine register to read it from */
void probe_flush_time(struct probe_gen *g);
void probe_load_id(struct probe_gen *g, enum x86_reg dst);
void probe_load_context(struct probe_gen *g, const struct bpf_insn *insn);
void probe_store(struct probe_gen *g, struct x86_mem mem, unsigned reg, unsigned size);
void probe_store_constant(struct probe_gen *g, struct x86_mem mem, int64_t value, unsigned size);
void probe_settle(struct probe_gen *g, size_t to); /* make ready for the label of @to */
void probe_assume(struct probe_gen *g, size_t at); /* what values are at the label of @at */

/* helper.c: helpers outside ring.c */
void probe_know_pid(struct probe_gen *g); /* before a reservation: have the pid cached; scratches rax */
void probe_load_pid(struct probe_gen *g); /* into eax */
void probe_load_tid(struct probe_gen *g); /* into eax */
void probe_load_cpu(struct probe_gen *g, enum x86_reg dst); /* without rseq, bounded; scratches rdx and flags */
void probe_helper(struct probe_gen *g, const struct bpf_insn *insn);

/** A ring of cells of one size. */
struct probe_cells {
	uint64_t at, count, size; /* as in struct bpf_target */
	enum x86_reg record;      /* gets the address of the cell's payload */
	int32_t which;            /* low half of what RT_CELL_SLOW is told */
};

/* ring.c: everything that is committed */
struct probe_region *probe_region(struct probe_gen *g);
/** probe_open_region() - everything that both versions of a record of at most @size bytes need is in place; false: an error */
bool probe_open_region(struct probe_gen *g, int32_t size);
/** probe_arm() - arm the section; the block of this CPU (0: the thread has no rseq) goes to @block. rax may be @block. */
void probe_arm(struct probe_gen *g, size_t descriptor, size_t start, enum x86_reg block, enum x86_reg scratch);
/** probe_add_section() - the abort handler and the descriptor of the open region */
void probe_add_section(struct probe_gen *g);
/** probe_reserve_cell() - leaves the sequence number in PROBE_BLOCK; goes to the region's `gone` when there is none, with the loss counted */
void probe_reserve_cell(struct probe_gen *g, const struct probe_cells *cells);
/** probe_count_lost() - one more of this probe; scratches rax, rdx and flags */
void probe_count_lost(struct probe_gen *g);
void probe_load_saved_id(struct probe_gen *g, enum x86_reg dst);
/** probe_load_block() - the block of this CPU without rseq into @dst; scratches rdx, sets ZF when there is none */
void probe_load_block(struct probe_gen *g, enum x86_reg dst);
/** probe_emit_abort() - a section's abort handler, which leads back to its arming */
void probe_emit_abort(struct probe_gen *g, const struct probe_stub *stub);
void probe_output(struct probe_gen *g);
void probe_reserve(struct probe_gen *g);
void probe_close(struct probe_gen *g, bool submit);

/* count.c: counters */
void probe_count(struct probe_gen *g);
void probe_ticket(struct probe_gen *g);
void probe_limit(struct probe_gen *g);

/* long.c: LONG records */
void probe_long_reserve(struct probe_gen *g);
void probe_long_append(struct probe_gen *g, bool is_string);
void probe_long_stack(struct probe_gen *g);
void probe_long_submit(struct probe_gen *g);
void probe_long_discard(struct probe_gen *g);

/* probe.c: the walk */
void probe_emit_region(struct probe_gen *g); /* the instructions of the open region in the present mode */
void probe_emit_gone(struct probe_gen *g);   /* what they do when there was no memory */
void probe_finish_way(struct probe_gen *g);  /* jump to where control goes from here */

#endif
