/* SPDX-License-Identifier: MIT */
/*
 * The layouts that utap and a target share. One memory file ("utap", sealed against shrinking and growing) holds everything;
 * the target maps its data part read-write and its code part read-execute, never one page both ways.
 *
 *   data part, mapped once, contiguous in the target from wire_control.self:
 *     control     struct wire_control
 *     table       target addresses of the per-CPU blocks: entries [-2], [-1] are 0 (rseq's "no CPU"), then one a CPU
 *     lost        u64[max_probes]: records that found no room, one counter a probe, lock-incremented
 *     places      u64[max_probes]: WIRE_PLACE(), for user stacks; only where records have them
 *     limits      u64[max_probes]: TSC from which on the next record is due, of probes with a limited rate; only where there are any
 *     journal     struct wire_site[max_sites]: what was written into the text, for an undo by anybody
 *     lend        the area of a thread that runs system calls for us: struct wire_lend
 *     blocks      one a CPU; in the file a block is [ring page][ring][counters][shared][cells page][cells][long cells page][long cells],
 *                 in the target the ring is mapped twice in a row, so that a record never has to wrap:
 *                 [ring page][ring][ring again][counters][shared][cells page][cells][long cells page][long cells]
 *                 (the last two only where there are LONG records)
 *   code part, mapped piecewise near the modules it serves and as island pages; and, where more can come later, once as a whole behind
 *   the data part (wire_control.door): from there later pieces are mapped without a descriptor. Which pieces there are is read from the
 *   process's mappings, not from here.
 *   unwind part, behind the data part, read-only: tables for walking stacks (unwind.h); only where they are wanted
 *   private memory of the process, right before the data part, which a forked child finds zeroed: [slots][local page]
 *     slots       struct wire_slot: where LONG records are made; only where there are any
 *     local       struct wire_local
 *
 * Distrust: the target can write every byte of the data part. Readers copy a word once, bound it, and never follow an
 * offset or address taken from here without checking it against their own tables.
 *
 * Synchronisation (x86-64, total store order; the reader uses acquire loads):
 *     word              writer                                   reader            order
 *     ring.head         target, last store of an rseq section    utap              record bytes before head
 *     ring.limit        utap when it consumed; target's slow path target           any old value is only too small: safe;
 *                                                                                  UINT64_MAX when records replace each other
 *     ring.tail         utap                                     target slow path  bytes were copied out before tail
 *     cell.seq          target, after the cell's payload; where  utap              payload before seq
 *                       records replace each other also before
 *                       it, by lock cmpxchg (WIRE_CELL_BUSY)
 *     cells.next        target, lock cmpxchg                     utap              reservation only
 *     counters[]        target, single store in an rseq section  utap              none needed: monotonic
 *     shared[], lost[]  target, lock inc                         utap              none needed: monotonic
 *     limits[]          target, lock cmpxchg                     target            a decision only
 *     slot.owner        target: lock cmpxchg takes, a store frees target            wire_long.record is stored before
 *     places[]          utap                                     target            before the probe is there
 *     unwind            utap                                     target            a list is whole before it is named
 *     sleeping          utap sets 1; target exchanges 0 and wakes both             futex
 *     pauses            target, lock inc: a thread waits          utap              what it waits for was done before
 *     resumed           utap: as far as threads may go on        target, futex     what utap did is done before
 *     hurried           target 1 when utap was not in time; utap 0 when it is back  a hint
 */
#ifndef WIRE_WIRE_H
#define WIRE_WIRE_H

#include <assert.h>
#include <stdint.h>

#define WIRE_MAGIC 0x31706174 /* "tap1" */
#define WIRE_VERSION 5
#define WIRE_NAME "utap" /* of the memory file: /memfd:utap in /proc/PID/maps */
#define WIRE_PAGE 4096
#define WIRE_STAGES 64
#define WIRE_TID_GLIBC 0x2d0 /* a thread's tid from its %fs base: struct pthread.tid */
#define WIRE_TID_MUSL 0x30   /* the same */
#define WIRE_BATCH 4096
#define WIRE_CPUS_MAX 8192 /* the most that Linux numbers on x86-64 */
#define WIRE_RSEQ_SIGNATURE 0x53053053

/*
 * A record: header; where the probe is one half of a pair or a function's return, the address of the frame's return slot (rsp at the
 * function's entry and at each of its exits); of a return the address returned to; then one u64 for each argument. Sizes are multiples of
 * 8. The bpf program of a probe writes it.
 */
enum wire_record_flag {
	WIRE_RECORD_ENTRY = 1,  /* a function was entered: the frame follows */
	WIRE_RECORD_RETURN = 2, /* it is left: the frame and the return address follow */
	WIRE_RECORD_TAIL = 4,   /* with RETURN: by a jump to another function, so what it returns is not known */
	/* With ENTRY, and in place of all arguments: a condition or a limit leaves the call out; its end is recorded all the same. */
	WIRE_RECORD_LEFT_OUT = 16,
	WIRE_RECORD_LONG = 8,   /* bytes follow the arguments, and some arguments are locators of them */
};
struct wire_record {
	uint32_t id;    /* the probe, an index of the session's table */
	uint16_t size;  /* bytes, header included */
	uint16_t flags; /* enum wire_record_flag; the same in all records of one place */
	uint64_t time;  /* raw TSC */
	uint32_t tid;
	uint32_t pid;
};
static_assert(sizeof(struct wire_record) == 24, "wire_record");
#define WIRE_RECORD_MAX 2048 /* bytes of the largest record that is not LONG, and of a LONG one's fixed part */
#define WIRE_LONG_MAX 65528  /* bytes of the largest LONG record: u16 in whole u64 */

/*
 * The argument of a LONG record that names bytes of the same record: strings (their NUL included, where it was reached), arrays, memory, stacks.
 * FAILED: nothing could be read, the low half is the errno. SHORT: what follows could not be read, or there was no more room.
 */
#define WIRE_LOCATOR(offset, bytes) ((uint64_t)(offset) << 32 | (uint32_t)(bytes))
#define WIRE_LOCATOR_FAILED (1ULL << 63)
#define WIRE_LOCATOR_SHORT (1ULL << 62)
#define WIRE_LOCATOR_FAILURE(error) (WIRE_LOCATOR_FAILED | (uint32_t)(error)) /* a positive errno */
static inline uint32_t wire_locator_bytes(uint64_t locator) { return (uint32_t)locator; }
static inline uint32_t wire_locator_offset(uint64_t locator) { return (uint32_t)(locator >> 32) & 0xffff; } /* from the record's first byte */

/*
 * A user stack is the last argument of a LONG record: a locator of
 *   FP, CFI  u64 addresses, innermost first: the probed place (of a return the address returned to), then return addresses as they lie on the
 *            stack, which are behind the calls. With WIRE_STACK_EXACT no call is before it: a signal interrupted the thread just there, or it is what a
 *            signal's handler returns to.
 *   RAW      struct wire_stack_raw, then the stack from its rsp upwards
 * SHORT: it goes on, but could not be followed, or there was no more room. It starts at a multiple of 8 in the record.
 */
enum wire_stack_kind {
	WIRE_STACK_FP = 1,      /* along the frame pointers */
	WIRE_STACK_CFI = 2,     /* by the unwind tables */
	WIRE_STACK_RAW = 3,     /* copied, for the reader to unwind */
	WIRE_STACK_KINDS = 127, /* what of the word below is the kind */
	WIRE_STACK_RETURN = 128, /* sp is as after a return: the address returned to lies right below it */
};
#define WIRE_STACK(kind, most) ((uint32_t)(kind) | (uint32_t)(most) << 8) /* most: addresses, or of RAW bytes */
#define WIRE_STACK_EXACT (1ULL << 63)
#define WIRE_STACK_FRAMES 512U
#define WIRE_STACK_BYTES 60000U
#define WIRE_STACK_WINDOW 3584U /* of the stack are read at once, to behind the largest record of a slot; and behind them .. */
#define WIRE_STACK_STATE 512U   /* .. is room for who walks it */

/* By DWARF's numbers: rax rdx rcx rbx rsi rdi rbp rsp r8 .. r15, and the instruction in place of the return address. */
struct wire_stack_raw {
	uint64_t reg[17];
};
static_assert(sizeof(struct wire_stack_raw) == 136, "wire_stack_raw");

/*
 * What a stack starts with at a probed place: its address, and where the caller's are. up: the frame ends (CFA) so many words above rsp, right
 * behind the return address; kept: rbp was saved so many words below that, 0: it is the caller's; MAYBE: it is the caller's, or leads to where that is,
 * right below the return address. up 0: the place's own rbp leads there.
 */
#define WIRE_PLACE_UP_MAX 255U
#define WIRE_PLACE_MAYBE 255U
#define WIRE_PLACE(address, up, kept) ((uint64_t)(address) | (uint64_t)(kept) << 48 | (uint64_t)(up) << 56)
#define WIRE_PLACE_ADDRESS(place) ((place) & ((1ULL << 48) - 1))
#define WIRE_PLACE_KEPT(place) ((unsigned)((place) >> 48) & 255)
#define WIRE_PLACE_UP(place) ((unsigned)((place) >> 56))

/*
 * Where nobody reads and the newest records replace the oldest, one word more follows each record, in the same section:
 * so the records can be found backwards from the head. @size is the record's, without this word. Sign-extended from 32 bits,
 * so that one instruction stores it.
 */
#define WIRE_TRAILER(size) ((uint64_t)(int64_t)(int32_t)(0xb7a50000U | (uint32_t)(size)))
#define WIRE_TRAILER_SIZE 8U

/* A ring of variable-size records, committed by one store inside an rseq critical section. Positions count bytes. */
struct wire_ring {
	uint64_t head;  /* all bytes below it are complete records */
	uint64_t limit; /* a record that would end above it takes the slow path */
	uint64_t tail;  /* bytes consumed */
	uint64_t unused[5];
};
static_assert(sizeof(struct wire_ring) == 64, "wire_ring");

/* A ring of fixed cells for threads that have no rseq area. Positions count cells. */
struct wire_cells {
	uint64_t next;  /* the next cell to be reserved */
	uint64_t limit; /* a reservation at or above it takes the slow path */
	uint64_t tail;  /* cells consumed */
	uint64_t unused[5];
};
static_assert(sizeof(struct wire_cells) == 64, "wire_cells");

/*
 * One cell: cell_size bytes, a power of two. seq is position + 1, stored last. Where cells replace each other a writer first takes the
 * cell by exchanging its seq for WIRE_CELL_BUSY(position + 1); one that finds it taken, or holding a later record, gives up.
 */
#define WIRE_CELL_BUSY(seq) (~(uint64_t)(seq))
struct wire_cell {
	uint64_t seq;
	uint8_t record[]; /* struct wire_record */
};

/*
 * A LONG record is made in a slot and copied from there. The slot is its owner's as long as each names the other: slot.owner is the
 * address of a struct wire_long on the stack of the thread that makes the record, whose .record is the slot's. The frame of a program that
 * runs keeps its bytes, so a slot whose owner's bytes name it no longer (or are gone with their stack) is free: its owner died, or a jump
 * left it. In a forked child all slots are free, and a program that was being run there finds that it has lost its slot.
 */
struct wire_slot {
	uint64_t owner;  /* address of a struct wire_long, 0: free */
	uint32_t used;   /* bytes of the record so far */
	uint32_t most;   /* bytes it may have */
	uint64_t unused[6];
	uint8_t record[]; /* struct wire_record; up to WIRE_LONG_MAX bytes */
};
static_assert(sizeof(struct wire_slot) == 64, "wire_slot");

/* The frame's side. */
struct wire_long {
	uint64_t record; /* address of wire_slot.record */
	uint64_t what;   /* probe id << 32 | bytes of the record's fixed part */
	uint64_t from;   /* what LONG_STRING and LONG_BYTES read; rbp for LONG_STACK */
	uint64_t bytes;  /* how much of it, at most; WIRE_STACK() for LONG_STACK; after LONG_SEAL the record's size */
};

/*
 * What one patch changed. wrote[] holds the first bytes written; bytes changed beyond 8 are 0xcc. A jump may serve several places. A group
 * changes several instructions; a trap is described before whoever catches it writes it, and may never be.
 */
#define WIRE_SITE_BYTES 24 /* the most that one patch changes in one place */
enum wire_site_kind {
	WIRE_SITE_FREE = 0,
	WIRE_SITE_JUMP = 1,
	WIRE_SITE_GROUP = 2,
	WIRE_SITE_ISLAND = 3,
	WIRE_SITE_PUN = 4,
	WIRE_SITE_TRAP = 5,
};
struct wire_site {
	uint64_t addr;
	uint32_t stub;    /* offset of the trampoline in the code part */
	uint8_t kind;     /* enum wire_site_kind */
	uint8_t changed;  /* bytes changed at addr */
	uint16_t places;  /* probes that the jump serves; 0 of an island */
	uint8_t wrote[8];
};
static_assert(sizeof(struct wire_site) == 24, "wire_site");

/* Memory mapped while a change is being prepared; empty outside one. */
struct wire_stage {
	uint64_t addr;
	uint64_t size;
};

/* A system call to be made by a lent thread. */
struct wire_call {
	uint64_t number;
	uint64_t args[6];
	int64_t result;
};
static_assert(sizeof(struct wire_call) == 64, "wire_call");

/* What a lent thread uses instead of its own stack. */
struct wire_lend {
	uint32_t count;     /* calls to make */
	uint32_t completed; /* calls made */
	uint32_t done;      /* futex: 1 when finished */
	uint32_t released;  /* utap sets it to let the thread go back by itself */
	uint8_t unused[48];
	uint8_t frame[16384 - 64]; /* signal frame that takes the thread home should utap die */
	uint8_t stack[4096];
	struct wire_call calls[WIRE_BATCH];
};
static_assert(sizeof(struct wire_lend) % WIRE_PAGE == 0, "wire_lend");

struct wire_control {
	uint32_t magic;
	uint32_t version;
	uint64_t self;       /* target address of this struct */
	uint64_t span;       /* bytes of the data part in the target's address space */
	uint64_t file_size;  /* bytes of the memory file */
	uint64_t local;      /* target address of struct wire_local, a private page wiped in forked children */
	uint32_t cpus;       /* blocks */
	uint32_t max_probes; /* entries of lost, counters, shared */
	uint32_t max_sites;
	int32_t tid_offset;  /* WIRE_TID_ .., 0: not known */
	uint64_t table_at;   /* byte offsets from self, equal to file offsets: */
	uint64_t lost_at;
	uint64_t journal_at;
	uint64_t lend_at;
	uint64_t blocks_at;    /* first block; differs: file offset blocks_at + cpu * block_file_size */
	uint64_t block_span;   /* bytes of a block in an address space */
	uint64_t block_file_size;
	uint64_t ring_size;    /* bytes, a power of two, at least a page */
	uint64_t counters_at;  /* offsets from a block's start, in an address space: */
	uint64_t shared_at;
	uint64_t cells_at;     /* struct wire_cells; its cells follow one page later */
	uint64_t cells;        /* a power of two */
	uint64_t cell_size;
	uint64_t long_cells_at; /* a second struct wire_cells, for LONG records */
	uint64_t long_cells;    /* 0: there are no LONG records */
	uint64_t long_cell_size;
	uint64_t slots_at;      /* target address of the first struct wire_slot */
	uint64_t slots;         /* a power of two; 0: there are no LONG records */
	uint64_t slot_size;     /* bytes from one to the next; where there are stacks the last are window and state */
	uint64_t places_at;     /* offset from self; 0: no stacks */
	uint64_t unwind_at;     /* target address of the tables for WIRE_STACK_CFI (unwind.h), in the file behind the code part; 0: none */
	uint64_t unwind_size;   /* their bytes */
	uint64_t unwind;        /* target address of the list that is good now; 0: none yet */
	uint64_t limits_at;     /* from self; 0: no probe has a limited rate */
	uint64_t code_at;      /* file offset of the code part */
	uint64_t code_size;
	uint64_t door;         /* target address of the whole code part, 0: not mapped */
	uint64_t controller_start; /* when it started (process_status.start_time): with the pid its identity */
	uint32_t controller;   /* pid of the utap that attached */
	uint32_t sleeping;     /* futex: 1 while the reader sleeps */
	uint32_t sites;        /* journal entries in use */
	uint32_t stages_used;
	uint32_t quiet;        /* 1: the target is confined by seccomp, the runtime makes no system calls */
	uint32_t lent;         /* tid of the thread that is lent to whoever changes the target now, 0: none */
	uint32_t pauses;       /* how often a thread waited for utap to look (RT_PAUSE) */
	uint32_t resumed;      /* futex: of these, how many may go on */
	uint32_t hurried;      /* 1: utap did not come in time; nobody waits until it does */
	uint32_t unused2;
	struct wire_stage stages[WIRE_STAGES];
};
static_assert(sizeof(struct wire_control) <= WIRE_PAGE, "wire_control");

/* The page a forked child finds zeroed. */
struct wire_local {
	uint32_t pid; /* of the process whose memory this is; 0: ask the kernel */
	uint32_t unused[15];
};

/*
 * The runtime image starts with a table of 32-bit offsets from its first byte, in this order, followed by the slot
 * that the controller fills with the target address of the data part.
 *
 * Calling convention of all but RT_BATCH, from generated code: arguments in %rax and %rdx, result in %rax, every other
 * register preserved, flags not; needs WIRE_RUNTIME_STACK bytes of stack.
 *   RT_RING_SLOW  rax = struct wire_ring *, rdx = probe id << 32 | record size -> 1: try again, 0: full, loss counted
 *   RT_CELL_SLOW  rax = struct wire_cells *, rdx = probe id << 32 | 1 of the long cells -> likewise
 *   RT_PID        rax = struct wire_local *                                    -> pid of this process; cached there when it is sure whose memory this is
 *   RT_TID                                                                     -> tid of this thread
 *   RT_READ       rax = struct wire_read *                                     -> 0 or negative errno; never faults
 *   RT_BATCH      entered by a lent thread: rdi = struct wire_lend *; does not return
 *   RT_PAUSE                                                                   -> 0 or 1, when utap has looked at the process, or did not in time
 *   RT_LONG_RESERVE rax = struct wire_long *, rdx = bytes of the largest record -> its memory, the fixed part zeroed; 0: no slot, loss counted
 *   RT_LONG_STRING  rax = struct wire_long *                                   -> a locator: text appended up to its NUL
 *   RT_LONG_BYTES   rax = struct wire_long *                                   -> a locator: memory appended
 *   RT_LONG_SEAL    rax = struct wire_long *                                   -> the record's size, its header complete but for the time; 0: the
 *                                                                                 slot is no longer ours, loss counted
 *   RT_LONG_FREE    rax = struct wire_long *                                   -> 0; the slot is free
 *   RT_LONG_STACK   rax = struct wire_long *, rdx = rsp as the unwinding sees it  -> a locator: the user stack appended
 *   RT_COMM         rax = where 16 bytes go                                    -> 0 or negative errno: the name of this thread
 * Those of LONG records need WIRE_RUNTIME_LONG_STACK bytes of stack, RT_LONG_STACK WIRE_RUNTIME_WALK_STACK;
 * runtime/build.sh compares them with the code.
 */
#define WIRE_RUNTIME_STACK 160
#define WIRE_RUNTIME_LONG_STACK 288
#define WIRE_RUNTIME_WALK_STACK 448
enum wire_runtime_entry {
	RT_RING_SLOW,
	RT_CELL_SLOW,
	RT_PID,
	RT_TID,
	RT_READ,
	RT_BATCH,
	RT_PAUSE,
	RT_LONG_RESERVE,
	RT_LONG_STRING,
	RT_LONG_BYTES,
	RT_LONG_SEAL,
	RT_LONG_FREE,
	RT_COMM,
	RT_LONG_STACK,
	RT_ENTRIES,
};
struct wire_runtime {
	uint32_t entry[RT_ENTRIES];
	uint32_t data_slot; /* offset of the u64 that holds wire_control.self */
	uint32_t size;
};

struct wire_read {
	uint64_t to;   /* destination, in the target's own writable memory (our stack space) */
	uint64_t from;
	uint64_t size; /* at most 4096 */
};

#endif
