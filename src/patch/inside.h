/* SPDX-License-Identifier: MIT */
/* Inside patch/: what a target is made of. */
#ifndef PATCH_INSIDE_H
#define PATCH_INSIDE_H

#include <fcntl.h>

#include "engine/engine.h"
#include "patch/space.h"
#include "patch/target.h"

#define PATCH_MAX_ISLANDS 65536
#define POOL_REACH (1ULL << 30) /* a pool is at most so far from the modules it serves */

struct patch_pool {
	utap_addr addr;
	uint64_t size, used;
	uint64_t offset;           /* in the code part */
	bool mapped;               /* in the target */
	utap_addr *bodies;         /* by program, 0: not there yet */
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
	struct patch_pool pools[WIRE_POOLS];
	size_t npools;
	uint64_t code_used;        /* bytes of the code part given to pools and island pages */
	uint64_t *page_offset;     /* by space page index: its offset in the code part, 0: none yet */
	size_t page_offset_cap, page_offsets;
	struct patch_facts facts;
	uint32_t memory_major, memory_minor; /* the memory file's identity in maps */
	uint64_t memory_inode;
	struct wire_site *journal; /* our copy of the journal */
	size_t sites, sites_cap;
	uint64_t stopped_ns;       /* longest stop */
	bool reserved;             /* the data part's range is ours */
	uint32_t programs;         /* entries of each pool's bodies */
	bool adopted;
};

/** patch_add_module() - a module for the file that @map shows, without facts of its code; found again by later calls */
int patch_add_module(struct patch_target *target, const struct process_map *map, struct object *object,
		     struct patch_module **ret) BASE_MUST_CHECK;

/** patch_find_memory() - the start of the shared memory's data part in somebody's mappings, or NULL */
const struct process_map *patch_find_memory(const struct process_maps *maps);

/** patch_original() - the file's bytes at @addr of the target; 0, -ENOENT no module, -EIO outside the file */
int patch_original(const struct patch_target *target, utap_addr addr, void *to, size_t size) BASE_MUST_CHECK;
struct patch_module *patch_module_at(const struct patch_target *target, utap_addr addr);

/** patch_pool_for() - a pool that serves @module, or NULL */
struct patch_pool *patch_pool_for(struct patch_target *target, const struct patch_module *module);

/** patch_stub_emit() - the trampoline of @site at the emitter's place; sets site->stub*, site->bytes, site->changed */
int patch_stub_emit(struct patch_site *site, utap_addr body, struct isa_emitter *e) BASE_MUST_CHECK;

/** patch_stub_emit_whole() - likewise, with the body in it: two taken branches less a hit, some 150 bytes more */
int patch_stub_emit_whole(struct patch_site *site, patch_body_fn *body, void *arg, struct isa_emitter *e,
			  struct utap_error *err) BASE_MUST_CHECK;

/** patch_journal_add() - describe a change before it is made */
int patch_journal_add(struct patch_target *target, utap_addr addr, enum wire_site_kind kind, uint32_t stub,
		      const uint8_t *bytes, unsigned changed) BASE_MUST_CHECK;

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
/** patch_runs() - the stretches that cover @changes; sorted; @ret heap; count or negative errno */
long patch_runs(struct patch_target *target, const struct patch_change *changes, size_t count, struct patch_run **ret);

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
