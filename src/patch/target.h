/* SPDX-License-Identifier: MIT */
/*
 * A process being patched: its modules, the sites planned and applied in it, the memory shared with it.
 *
 *   open -> module, site (plan: nothing in the process changes) -> setup (shared memory mapped, one loan) -> apply (text, one loan)
 *   -> undo (text) -> release (memory, when idle) -> close
 *
 * Each step is a transaction: it either happens or leaves the process as it was. What is in the process is always described by the
 * journal in the shared memory, so that anybody can undo it should we be gone (patch_target_adopt()).
 */
#ifndef PATCH_TARGET_H
#define PATCH_TARGET_H

#include "isa/isa.h"
#include "object/object.h"
#include "patch/code.h"
#include "patch/layer.h"
#include "process/process.h"
#include "wire/wire.h"

struct patch_target;

/** A file mapped into the target. */
struct patch_module {
	struct object *object;   /* borrowed (owned by the target when it was adopted) */
	struct patch_code *code; /* borrowed; NULL in an adopted target: nothing can be planned there */
	uint64_t bias;           /* address in the target = vaddr + bias */
	const char *path;        /* as /proc/PID/maps shows it; lives as long as the target */
	uint32_t major, minor;
	uint64_t inode;
	bool deleted;
	/*
	 * Private to patch/, one bit a byte: text that is patched; that a punned jump or an island depends on; instructions that the
	 * trampoline of a jump further up runs; instructions with a site.
	 */
	uint64_t low, high;      /* vaddrs that these cover */
	uint64_t *patched, *depended, *carried, *sited;
};

/** When the program of a place runs. */
enum patch_when {
	PATCH_WHEN_REACHED, /* always, before the instruction */
	PATCH_WHEN_TAKEN,   /* of a conditional jump: only when it jumps */
	PATCH_WHEN_LEAVING, /* of an indirect jump: only when it leads outside of stay[] */
};

struct patch_site {
	uint32_t id;             /* of the probe: what the program gets as its cookie */
	uint32_t program;        /* index into the programs given to patch_target_apply() */
	struct patch_module *module;
	uint64_t vaddr;          /* where the probe was asked for */
	enum patch_when when;
	struct object_range stay[2]; /* LEAVING: vaddrs of the function itself; unused ones are empty */
	utap_addr addr;          /* of the instruction, in the target */
	struct isa_insn insn;
	enum patch_layer layer;  /* of the jump that leads to its program; PATCH_REFUSED: not applied, why says the reason */
	utap_addr start;         /* where that jump stands: addr, or before it; sites with one start share the jump and its trampoline */
	uint8_t changed;         /* bytes changed there */
	utap_addr island;        /* L3: in padding; L4, L2: where the jump lands; else 0 */
	utap_addr stub;          /* the trampoline */
	uint32_t stub_size;
	uint32_t stub_offset;    /* in the code part */
	const char *why;         /* static text */
};

#define PATCH_CODE_SIZE (256ULL << 20) /* of the code part; only what is used takes memory */

struct patch_options {
	uint32_t cpus;           /* possible CPUs */
	uint32_t max_probes;
	uint64_t ring_size;      /* a CPU, power of two, at least a page */
	uint64_t cell_size;      /* power of two, at least the largest record + 8 */
	uint64_t cells;          /* power of two */
	uint64_t long_most;      /* bytes of the largest LONG record, 0: there are none */
	bool has_limits;         /* programs ask whether a record is due: bpf_target.limits */
	bool stacks;             /* LONG records have user stacks: room for patch_target_say_place() */
	uint64_t unwind_size;    /* bytes for the tables of patch_unwind_rows(), 0: there are none */
	uint64_t body_room;      /* bytes that the bodies of all programs may take */
	uint64_t site_room;      /* bytes a site may take besides for a body of its own, which is quicker; 0: only where there are few sites */
	bool more;               /* more sites may come later (libraries loaded then): leave room */
};

/**
 * patch_target_open() - look at a process; nothing changes in it
 * Return: 0; -ESRCH, -EPERM .. (process_explain()); -EBUSY a utap is in it already.
 */
int patch_target_open(pid_t pid, struct patch_target **ret, struct utap_error *err) BASE_MUST_CHECK;

/**
 * patch_target_imagine() - a target that is no process: only to plan for a file that nothing runs
 * @map: filled with a mapping of its code, for patch_target_module()
 */
int patch_target_imagine(const struct object *object, struct patch_target **ret, struct process_map *map) BASE_MUST_CHECK;

/**
 * patch_mapped_file() - open the very file that @pid maps
 * Return: 0; -ESTALE it was replaced or removed and cannot be reached; what object_open() returned.
 */
int patch_mapped_file(pid_t pid, const struct process_map *map, struct object **ret, struct utap_error *err) BASE_MUST_CHECK;

/** patch_target_refresh() - read its mappings again (it loaded a library, or was just started) */
int patch_target_refresh(struct patch_target *target, struct utap_error *err) BASE_MUST_CHECK;

/** patch_target_close() - forget it; what is in the process stays there and keeps working. NULL is fine. */
void patch_target_close(struct patch_target *target);

const struct process_maps *patch_target_maps(const struct patch_target *target);
int patch_target_mem(const struct patch_target *target);

/**
 * patch_target_module() - the module that shows @map's file; made at the first call for a file
 * @code:  facts of the file, borrowed until the target is closed
 * Return: 0; -EINVAL the mapping does not fit the file; -ENOMEM.
 */
int patch_target_module(struct patch_target *target, const struct process_map *map, struct patch_code *code,
			struct patch_module **ret) BASE_MUST_CHECK;

/**
 * patch_target_plan() - decide how to patch one place
 * @site:  id, program, module and vaddr given; the rest is filled. The layer is PATCH_REFUSED when it cannot be done, why says so.
 *
 * Reserves what the plan needs (bytes, padding, pages), so plans made later do not collide. Nothing in the process changes.
 */
void patch_target_plan(struct patch_target *target, struct patch_site *site);

/** patch_target_unplan() - give back what a plan reserved; the site must not be applied any more. Nothing for a refused one. */
void patch_target_unplan(struct patch_target *target, struct patch_site *site);

/** patch_target_judge() - patch_target_plan() as if no other place were planned; reserves nothing */
void patch_target_judge(struct patch_target *target, struct patch_site *site);

#define PATCH_MANY 16384
/**
 * patch_target_expect() - so many places are going to be planned
 * From PATCH_MANY on places in groups are preferred to punned jumps: a page for each of these, and its mapping, cost more then than all threads
 * standing still for a moment.
 */
void patch_target_expect(struct patch_target *target, size_t places);

/** patch_target_allow_trap() - may places that no layer takes become PATCH_L0? Who says so has to handle patch_target_traps(). */
void patch_target_allow_trap(struct patch_target *target, bool allow);

#define PATCH_STACK_USUAL 368 /* of a record of a few words, the runtime included; where nothing was said */
/** patch_target_stack() - the most bytes of a thread's stack that a program may write, below the probed place's stack pointer; for places still to be planned */
void patch_target_stack(struct patch_target *target, unsigned bytes);

/**
 * patch_target_keep_others() - change, run elsewhere and depend on no instruction but those asked for: then breakpoints that a debugger puts
 * on others work, and harm nothing. For places still to be planned.
 */
void patch_target_keep_others(struct patch_target *target);

/** patch_target_exposed() - how many jumps a breakpoint of somebody else, put on another instruction than theirs, would break */
size_t patch_target_exposed(const struct patch_target *target);

/** patch_target_nearest() - the nearest place after @vaddr (same function) that could be patched, or 0 */
uint64_t patch_target_nearest(struct patch_target *target, struct patch_module *module, uint64_t vaddr);

/**
 * patch_target_setup() - map the shared memory and the trampolines' room for the sites planned so far
 * @sites: all that are to be applied; those whose pages were taken meanwhile become PATCH_REFUSED
 *
 * Called again for sites planned later, it adds room for these; what is there stays. Then, of the options, only body_room and site_room count.
 * When it fails the second time, what is there stays, too.
 */
int patch_target_setup(struct patch_target *target, const struct patch_options *options, struct patch_site *sites,
		       size_t count, struct utap_error *err) BASE_MUST_CHECK;

/** What code generation needs to know after setup. */
struct patch_facts {
	int32_t rseq_offset; /* as in struct bpf_target */
	int32_t tid_offset;
	utap_addr data;      /* of struct wire_control in the target */
	utap_addr local;
	utap_addr runtime[RT_ENTRIES];
};
void patch_target_facts(const struct patch_target *target, struct patch_facts *ret);
const struct wire_control *patch_target_geometry(const struct patch_target *target); /* our own copy */
int patch_target_memory_fd(const struct patch_target *target);

/** Code that follows a body, in place of its `ret`. */
struct patch_tail {
	void (*emit)(void *arg, struct isa_emitter *e);
	void *arg;
	uint32_t id; /* of the place: a constant of the body */
};

/**
 * A program's body (patch/ does not know what a program is). Emits position-dependent code for e->addr, once for each program and pool; or, with a
 * @tail, once for each site, as a part of its trampoline. Returns 0 or a negative errno.
 */
typedef int patch_body_fn(void *arg, uint32_t program, const struct patch_tail *tail, struct isa_emitter *e,
			  struct utap_error *err);

/**
 * patch_target_apply() - write the trampolines, then switch the text
 * Sites that turn out not to be possible become PATCH_REFUSED; on an error none of these is patched. Sites of earlier calls are not
 * touched; @programs is the same in all calls.
 *
 * Effect: from its return (and at some instant before it) every thread that reaches a site runs the site's program.
 */
int patch_target_apply(struct patch_target *target, struct patch_site *sites, size_t count, uint32_t programs,
		       patch_body_fn *body, void *arg, struct utap_error *err) BASE_MUST_CHECK;

/** patch_target_modules() - the files patched; valid until one is added or forgotten; returns how many */
size_t patch_target_modules(const struct patch_target *target, struct patch_module *const **ret);

/** patch_target_lost() - is the text of @module that we patched gone (unmapped, or mapped anew since)? Of the mappings as refreshed last. */
bool patch_target_lost(const struct patch_target *target, const struct patch_module *module);

/**
 * patch_target_forget() - the program unmapped @module; what its sites needed becomes free for others
 *
 * The module is freed. Where a child that was forked meanwhile shares the memory, nothing becomes free: there the text may still be.
 */
void patch_target_forget(struct patch_target *target, struct patch_module *module);

/** A place that can only be reached by a trap: its trampoline is there, the trap is not. */
struct patch_trap {
	utap_addr addr;
	utap_addr stub;
	uint8_t length;   /* of the instruction */
	uint8_t original; /* the byte in whose place 0xcc is to be written, by whoever catches the trap; undo takes it out */
};
/** patch_target_traps() - those of all applies; *ret is valid until the next one; returns how many */
size_t patch_target_traps(const struct patch_target *target, const struct patch_trap **ret);

/** What was found when undoing; sums over calls. */
struct patch_report {
	size_t sites, kept;
	uint64_t text_checked, text_foreign;
	uint64_t memory_kept;
	uint64_t stopped_ns; /* the longest single stop */
};

/**
 * patch_target_yield() - give places up that an uprobe of the kernel lies over by now, so that the text is right when that goes away
 * Looks at some places a time: to be called again and again. A debugger's breakpoints are left alone.
 * Return: how many were given up.
 */
long patch_target_yield(struct patch_target *target) BASE_MUST_CHECK;

struct wire_unwind_piece;
struct wire_unwind_row;
/**
 * patch_unwind_rows() - put a file's rows where the target can read them; they stay as long as the memory does
 * @ret: what wire_unwind_piece.rows is to be
 * Return: 0; -ENOSPC.
 */
int patch_unwind_rows(struct patch_target *target, const struct wire_unwind_row *rows, size_t count, uint64_t *ret) BASE_MUST_CHECK;
/**
 * patch_unwind_publish() - from now on stacks are walked by these pieces, sorted by address
 * @pid: as in struct wire_unwind
 * Return: 0; -E2BIG more than WIRE_UNWIND_PIECES: the old list stays.
 */
int patch_unwind_publish(struct patch_target *target, const struct wire_unwind_piece *pieces, size_t count, pid_t pid) BASE_MUST_CHECK;

/** patch_target_undo() - put the original bytes back where the bytes are still ours; sites of all applies */
int patch_target_undo(struct patch_target *target, struct patch_report *report, struct utap_error *err) BASE_MUST_CHECK;

/**
 * patch_target_release() - unmap our memory, when no thread can be inside it
 * Return: 0 (report->memory_kept says what had to stay), or an error.
 */
int patch_target_release(struct patch_target *target, struct patch_report *report,
			 struct utap_error *err) BASE_MUST_CHECK;

/**
 * patch_target_adopt() - take over what a utap that is gone (or a parent of a forked process) left in @pid
 * @owner: pid of the utap that put it there, 0 when that is gone
 * Return: 0; -ENOENT nothing of ours is there; otherwise as patch_target_open().
 */
int patch_target_adopt(pid_t pid, struct patch_target **ret, pid_t *owner, struct utap_error *err) BASE_MUST_CHECK;

/** patch_target_children() - processes other than @target that map the same shared memory (forked since); heap array, or negative */
long patch_target_children(const struct patch_target *target, pid_t **ret);

/** Bytes in the target: code and counters; and rings. For the longest stop so far see stopped_ns. */
void patch_target_cost(const struct patch_target *target, uint64_t *memory, uint64_t *ring, uint64_t *stopped_ns);

/** patch_target_quiet() - from now on the runtime in the target makes no system calls (it came under a seccomp filter) */
void patch_target_quiet(struct patch_target *target);

/** Is the shared memory still mapped there? (Not after exit or exec.) In a child that was forked from it? */
bool patch_target_is_present(const struct patch_target *target);
bool patch_target_is_present_in(const struct patch_target *target, pid_t child);

#endif
