/* SPDX-License-Identifier: MIT */
/* Inside patch/: what a target is made of. */
#ifndef PATCH_INSIDE_H
#define PATCH_INSIDE_H

#include <fcntl.h>
#include <uthash.h>

#include "engine/engine.h"
#include "patch/space.h"
#include "patch/target.h"

#define PATCH_MAX_ISLANDS 65536
#define PATCH_POOLS 128
#define PATCH_REACH_MAX 120 /* bytes of original code that one trampoline runs */
#define POOL_REACH (1ULL << 30) /* a pool is at most so far from the modules it serves */

struct patch_pool {
	utap_addr addr;
	uint64_t size, used;
	uint64_t offset;           /* in the code part */
	bool mapped;               /* in the target */
	utap_addr *bodies;         /* by program, 0: not there yet */
	bool kept;                 /* something unknown may lead into it: never used again */
};

/**
 * A jump over one place of text, planned. Its trampoline runs the instructions in [start, start + reach): all of them are entered only
 * by way of the first, so that sites among them can share it. Only of the first, or of an L2 group, are bytes changed.
 */
#define PATCH_TWINS 4
#define PATCH_AGAIN 15 /* sites more than one a place, in all places of a jump */
struct patch_jump {
	utap_addr start;       /* key */
	uint16_t reach;
	enum patch_layer layer;
	uint8_t length;        /* of the first instruction */
	uint8_t changed;       /* bytes written at start */
	uint8_t prefixes;      /* L4 */
	bool by_call;          /* L1 on a call: it becomes a call */
	bool in_padding;       /* a short jump, to an island in padding: L3, short groups */
	bool applied;          /* its trampoline is written */
	bool is_conditional;   /* it has a site whose program does not run whenever its instruction does */
	uint8_t nagain;        /* places that have one site more than one, once for each of those */
	utap_addr again[PATCH_AGAIN];
	uint32_t boundaries;   /* L2, bit i: an instruction started at start + i */
	utap_addr island;      /* as in struct patch_site */
	utap_addr twins[PATCH_TWINS]; /* islands where a punned jump lands with somebody's breakpoint among its last bytes; 0: none */
	UT_hash_handle hh;
};

struct patch_target {
	pid_t pid;
	int mem;                   /* /proc/PID/mem */
	struct process_maps maps;
	struct patch_module **modules;
	size_t nmodules, modules_cap;
	struct space space;

	/* Since setup: */
	int fd;                    /* the memory file; -1 before, and in an adopted target */
	struct wire_control geometry; /* our copy: authoritative */
	uint8_t *data;             /* file bytes [0, blocks_at) */
	uint8_t *code;             /* the code part */
	uint8_t *unwind;           /* the unwind part; NULL: there is none */
	uint64_t unwind_used;      /* of it */
	uint64_t lists;            /* that were written into it */
	struct patch_pool pools[PATCH_POOLS];
	size_t npools;
	uint64_t code_used;        /* bytes of the code part given to pools and island pages */
	uint64_t *page_offset;     /* by space page index: its offset in the code part, 0: none yet */
	size_t page_offset_cap, page_offsets;
	struct patch_facts facts;
	uint32_t memory_major, memory_minor; /* the memory file's identity in maps */
	uint64_t memory_inode;
	struct wire_site *journal; /* our copy of the journal */
	uint32_t *batches;         /* which apply() made each entry; not in an adopted target */
	size_t sites, sites_cap, batches_cap;
	uint32_t *free_sites;      /* entries below sites that can be used again */
	size_t nfree, free_cap;
	uint32_t batch;            /* of the apply() under way, counted from 1 */
	uint64_t stopped_ns;       /* longest stop */
	uint64_t held_ns;          /* longest time that all threads were held, for groups */
	bool reserved;             /* the data part's range is ours */
	uint64_t door_size;        /* bytes of the door behind the data part, 0: none */
	uint32_t programs;         /* entries of each pool's bodies */
	uint64_t site_room;        /* as in struct patch_options, of the last setup */
	struct patch_jump *jumps;  /* hash by start: what is planned */
	struct patch_trap *traps;
	size_t ntraps, traps_cap;
	bool allow_trap;
	size_t expected;           /* see patch_target_expect() */
	bool keep_others;          /* see patch_target_keep_others() */
	unsigned stack;            /* that programs take; 0: PATCH_STACK_USUAL */
	unsigned without;          /* layers that are not used, a bit each: what the others do can be looked at */
	uint64_t since;            /* clock ticks since boot: nothing older can map the memory */
	bool adopted;
	size_t twins;              /* islands of that kind */
	size_t looked_at;          /* where patch_target_yield() goes on */
};

/** patch_add_module() - a module for the file that @map shows, without facts of its code; found again by later calls */
int patch_add_module(struct patch_target *target, const struct process_map *map, struct object *object,
		     struct patch_module **ret) BASE_MUST_CHECK;

/** patch_is_controlled() - does the utap that described itself there live? Of words that the target can write. */
bool patch_is_controlled(const struct wire_control *control);
void patch_module_free(struct patch_module *module);

/** patch_find_memory() - the start of the shared memory's data part in somebody's mappings, or NULL */
const struct process_map *patch_find_memory(const struct process_maps *maps);

/** patch_release_islands() - those of a jump that is not needed, on pages of their own; never of one in padding (L3) */
void patch_release_islands(struct patch_target *target, const struct patch_jump *jump);

/** patch_forget_jumps() - those planned in [low, high): the text there is gone */
void patch_forget_jumps(struct patch_target *target, utap_addr low, utap_addr high);

/** patch_original() - the file's bytes at @addr of the target; 0, -ENOENT no module, -EIO outside the file */
int patch_original(const struct patch_target *target, utap_addr addr, void *to, size_t size) BASE_MUST_CHECK;
struct patch_module *patch_module_at(const struct patch_target *target, utap_addr addr);

/* Room for trampolines (pools.c). */
/** patch_pools_choose() - pools for @sites: those there are, and new ones (not mapped yet); 0, -ENOENT no site, -ENOSPC, -ENOMEM */
int patch_pools_choose(struct patch_target *target, const struct patch_site *sites, size_t count,
		       const struct patch_options *options) BASE_MUST_CHECK;
/** patch_pools_drop() - forget the pools from index @from on: they could not be mapped */
void patch_pools_drop(struct patch_target *target, size_t from);
/** patch_pages_choose() - pages of the code part for island pages that have none yet */
int patch_pages_choose(struct patch_target *target) BASE_MUST_CHECK;
/** patch_pool_for() - a pool that serves @module, or NULL */
struct patch_pool *patch_pool_for(struct patch_target *target, const struct patch_module *module);
/** patch_pool_at() - the pool that holds @addr, or NULL */
struct patch_pool *patch_pool_at(struct patch_target *target, utap_addr addr);

/* Mapping (memory.c, extend.c). */
/** patch_setup_error() - a sentence for why nothing could be mapped */
int patch_setup_error(const struct patch_target *target, int code, struct utap_error *err);
/** patch_find_facts() - what code generation needs to know of its threads, from the lent one */
void patch_find_facts(struct patch_target *target, const struct engine_loan *loan);
/** patch_undo_batch() - put the original bytes back at the sites of one apply(), 0: of all */
int patch_undo_batch(struct patch_target *target, uint32_t batch, struct patch_report *report,
		     struct utap_error *err) BASE_MUST_CHECK;
/** patch_unwind_map() - map the unwind part, and empty it (unwind.c); 0 or negative errno */
int patch_unwind_map(struct patch_target *target) BASE_MUST_CHECK;
/** patch_refuse_view() - the island page at @page cannot be had: its sites are refused */
void patch_refuse_view(utap_addr page, struct patch_site *sites, size_t count);
/** patch_extend() - room for more sites in a target that is set up; as patch_target_setup() */
int patch_extend(struct patch_target *target, const struct patch_options *options, struct patch_site *sites, size_t count,
		 struct utap_error *err) BASE_MUST_CHECK;

/** The trampoline of a jump, while it is made. */
struct patch_member {
	struct patch_site *site;
	utap_addr body; /* of its program; not used where the body is part of the trampoline */
	size_t branch;  /* stub.c: the copy of a conditional jump, that is to lead to the program */
};
struct patch_stub {
	struct patch_module *module;
	const struct patch_jump *jump;
	struct patch_member *members;   /* by address */
	size_t count;
	utap_addr addr;                 /* filled, as the rest */
	uint8_t bytes[WIRE_SITE_BYTES]; /* to be written at jump->start, jump->changed of them */
	const char *why;                /* static text, on a refusal */
};

/** patch_stub_emit() - a trampoline at the emitter's place: 0, or -ENOTSUP, -ERANGE, -ENOSPC with why set */
int patch_stub_emit(struct patch_stub *stub, struct isa_emitter *e) BASE_MUST_CHECK;

/** patch_stub_emit_whole() - likewise, of a single site and with the body in it: two taken branches less a hit, some 150 bytes more */
int patch_stub_emit_whole(struct patch_stub *stub, patch_body_fn *body, void *arg, struct isa_emitter *e,
			  struct utap_error *err) BASE_MUST_CHECK;

/** patch_insn_at() - the instruction that the file has at @vaddr, decoded for where it runs; false: none */
bool patch_insn_at(const struct patch_module *module, uint64_t vaddr, struct isa_insn *ret);

/** patch_journal_add() - describe a change before it is made; @site: all but its place in the journal */
int patch_journal_add(struct patch_target *target, const struct wire_site *site) BASE_MUST_CHECK;

/** patch_calls() - make @count system calls in the target: in a batch where our memory is mapped, else one by one; stops at the
 *  first that fails; *completed counts the successful ones */
int patch_calls(struct patch_target *target, struct engine_loan *loan, struct wire_call *calls, size_t count,
		size_t *completed) BASE_MUST_CHECK;

/** patch_open_file() - let the target open @module's file and check that it is the very file it maps; *fd in the target */
int patch_open_file(struct patch_target *target, struct engine_loan *loan, const struct patch_module *module, int64_t *fd,
		    struct utap_error *err) BASE_MUST_CHECK;
void patch_close_file(struct engine_loan *loan, int64_t fd);

/*
 * One stretch of text pages that is switched as a whole.
 */
struct patch_run {
	utap_addr start;
	uint64_t size;
	struct patch_module *module;
	const struct process_map *map;
	bool pristine;   /* undo: equals the file again: the moved pages are dropped */
	bool by_file;    /* cannot be moved aside: some page is a private copy already, or it is locked in memory */
	utap_addr stage; /* where its new pages are prepared */
	bool staged;     /* they are mapped there */
	bool locked;     /* the text was locked in memory */
};
/** Bytes to be written into text. */
struct patch_change {
	utap_addr addr;
	uint8_t length;
	uint8_t old[WIRE_SITE_BYTES]; /* what must stand there just before */
	uint8_t bytes[WIRE_SITE_BYTES];
};
int patch_compare_changes(const void *a, const void *b);

enum patch_state {
	PATCH_STATE_OURS,
	PATCH_STATE_TRAPPED, /* ours, but for a breakpoint over its first byte, or the file's byte that was left when one was taken out */
	PATCH_STATE_CLEAN,
	PATCH_STATE_FOREIGN,
};
/** patch_look_at() - what became of a place (look.c); OURS and TRAPPED: *change gives it back to the file */
enum patch_state patch_look_at(const struct patch_target *target, const struct wire_site *site, struct patch_change *change);

/** patch_runs() - the stretches that cover @changes; sorted; @ret heap; count or negative errno */
long patch_runs(struct patch_target *target, const struct patch_change *changes, size_t count, struct patch_run **ret);

/**
 * patch_write_groups() - put L2 jumps into the text while every thread is held and none is inside (held.c)
 * @groups: sorted by address; those that could not be written have why set
 *
 * Return: 0, or -ESRCH .. when nothing more can be done.
 */
struct patch_group {
	struct patch_change change;
	uint32_t boundaries; /* as in struct patch_jump */
	bool written, blocked;
	const char *why;     /* static text */
};
int patch_write_groups(struct patch_target *target, struct patch_group *groups, size_t count,
		       struct utap_error *err) BASE_MUST_CHECK;

/* Who is inside (idle.c): by instruction pointer, or by that of a signal frame on a stack the thread will come back to. */
struct patch_scan {
	const struct patch_target *target;
	bool (*is_inside)(void *arg, utap_addr ip);
	void *arg;
	bool moves;      /* those that wait in a system call of a trampoline are moved to the original (leave.c) */
	uint64_t limit;  /* bytes of a stack looked at; signal frames of a running program are near its top */
	bool unknown;    /* set: a stack that is not in the target's mappings as they were read last */
	uint64_t *chunk; /* private: PATCH_SCAN_CHUNK bytes */
};
#define PATCH_SCAN_CHUNK (256U << 10)
/**
 * patch_way_out() - where a thread that waits in a system call of a trampoline can go on: at or behind the original, once that is back in
 * the text; 0: it has to come out by itself
 */
utap_addr patch_way_out(const struct patch_target *target, const struct user_regs_struct *regs);
/** patch_scan_thread() - an engine_visit_fn, its argument a struct patch_scan: -EAGAIN when the thread is inside */
int patch_scan_thread(void *scan, const struct engine_view *view);

/**
 * patch_text_switch() - replace pages so that @changes (sorted by address) are in the text; the only writer of text
 * Return: 0; -EPERM sealed; -EBUSY text changed under us; -ENOMEM mappings exhausted; -ESRCH.
 */
int patch_text_switch(struct patch_target *target, struct patch_run *runs, size_t nruns,
		      const struct patch_change *changes, size_t nchanges, struct utap_error *err) BASE_MUST_CHECK;

/* What a utap that was killed left half-done (leftover.c). */
/* The two flags in the middle mean nothing when a plain file is read: by them a descriptor forgotten in a target is known to be ours. */
#define PATCH_OPEN_FLAGS (O_RDONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC)
/** patch_note_stages() - where pages are being prepared, for whoever has to clean up; size 0: nowhere any more */
void patch_note_stages(struct patch_target *target, utap_addr addr, uint64_t size);
/** patch_has_leftovers() - is there memory of ours, or a descriptor of it, without a description? */
bool patch_has_leftovers(const struct patch_target *target);
/**
 * patch_sweep() - of an adopted target: once the text is restored and nobody is inside, take away what is still ours
 * First stages and descriptors, then memory, in whose description they stand. Return: 0 or negative errno.
 */
enum patch_sweep { PATCH_SWEEP_STAGES, PATCH_SWEEP_MEMORY };
int patch_sweep(struct patch_target *target, struct engine_loan *loan, enum patch_sweep what) BASE_MUST_CHECK;
/**
 * patch_await_lent() - a thread that a dead utap lent may still be making that one's calls: let it go home and wait until it is there
 * Not while the one that lent it lives.
 */
void patch_await_lent(const struct patch_target *target);
/** patch_lend(), patch_give_back() - engine_lend() and engine_return(), with a note in the shared memory of who is lent */
int patch_lend(struct patch_target *target, struct engine_loan **ret, struct utap_error *err) BASE_MUST_CHECK;
void patch_give_back(struct patch_target *target, struct engine_loan *loan);
/** patch_note_lent() - such a note; 0: nobody any more */
void patch_note_lent(struct patch_target *target, pid_t tid);

/** patch_target_sharers() - processes that run in the very address space of @target (vfork); heap array, count or negative errno */
long patch_target_sharers(const struct patch_target *target, pid_t **ret) BASE_MUST_CHECK;

/**
 * patch_text_mend() - text that equals its file again, but is split into several mappings, becomes one mapping of the file again
 * Nothing is lost when it cannot be done (the file is out of reach, pages are locked): the mappings stay split.
 */
void patch_text_mend(struct patch_target *target);

/** patch_has_private_pages() - is any page of [start, start + size) the process's own copy, or unknown? */
bool patch_has_private_pages(const struct patch_target *target, utap_addr start, uint64_t size);

/** patch_note_stop() - remember the longest stop */
static inline void patch_note_stop(struct patch_target *target, uint64_t ns)
{
	if (ns > target->stopped_ns)
		target->stopped_ns = ns;
}

#endif
