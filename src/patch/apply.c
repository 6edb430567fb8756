/* SPDX-License-Identifier: MIT */
/*
 * Writing trampolines (into our own mapping of the shared memory: nobody can reach them yet), then switching the text so that
 * the sites lead to them. The journal is complete before the first byte of text changes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "patch/inside.h"

#define STUB_ALIGN 16
#define BODY_ALIGN 64
#define CACHE_LINE 64
#define WHOLE_ALIGN 32        /* the rseq descriptor in it wants that */
#define WHOLE_BYTES (24 << 10) /* trampolines include their bodies while all of them together take no more */

struct applying {
	struct patch_target *target;
	uint32_t programs;
	patch_body_fn *body;
	void *arg;
	bool whole;                   /* trampolines include their bodies */
	struct patch_change *changes; /* two a jump at most: an island in padding, and the place itself */
	size_t nchanges;
	struct patch_group *groups;   /* L2 jumps: written apart */
	size_t ngroups;
	struct patch_member *members; /* all sites, by jump and address */
	size_t nmembers;
};

/* An emitter over what is left of a pool. */
static struct isa_emitter pool_emitter(struct patch_target *target, struct patch_pool *pool, uint64_t align)
{
	pool->used = base_align_up(pool->used, align);
	if (pool->used > pool->size)
		pool->used = pool->size;
	return (struct isa_emitter){
		.buffer = target->code + pool->offset + pool->used,
		.size = pool->size - pool->used,
		.addr = pool->addr + pool->used,
	};
}

static int body_of(struct applying *a, struct patch_pool *pool, uint32_t program, utap_addr *ret, struct utap_error *err)
{
	struct isa_emitter e;
	int error;

	if (!pool->bodies) {
		pool->bodies = calloc(a->programs, sizeof(*pool->bodies));
		if (!pool->bodies)
			return -ENOMEM;
	}
	if (!pool->bodies[program]) {
		e = pool_emitter(a->target, pool, BODY_ALIGN);
		error = a->body(a->arg, program, NULL, &e, err);
		if (!error)
			error = e.error;
		if (error)
			return error;
		pool->bodies[program] = e.addr;
		pool->used += e.used;
	}
	*ret = pool->bodies[program];
	return 0;
}

/* On a page of its own, where an L4 or L2 jump lands. */
static void emit_island(struct patch_target *target, const struct patch_stub *stub, utap_addr island)
{
	const struct space_view *view = space_find(&target->space, island);
	uint64_t offset = target->page_offset[view->page] + (island & (BASE_PAGE - 1));
	static const uint8_t indirect[] = { 0xff, 0x25, 0, 0, 0, 0 };
	struct isa_emitter e = { .buffer = target->code + offset, .size = SPACE_ISLAND, .addr = island };

	isa_emit_jump(&e, stub->addr);
	if (e.error != -ERANGE)
		return;
	e = (struct isa_emitter){ .buffer = target->code + offset, .size = SPACE_ISLAND, .addr = island };
	isa_emit_bytes(&e, indirect, sizeof(indirect));
	isa_emit_u64(&e, stub->addr);
}

static void emit_islands(struct patch_target *target, const struct patch_stub *stub)
{
	emit_island(target, stub, stub->jump->island);
	for (size_t i = 0; i < PATCH_TWINS; i++)
		if (space_find(&target->space, stub->jump->twins[i])) /* its page was free indeed */
			emit_island(target, stub, stub->jump->twins[i]);
}

/* ---- what will be written into the text ---- */

static int describe_change(struct applying *a, struct patch_change *change, utap_addr addr, const uint8_t *bytes, unsigned length)
{
	*change = (struct patch_change){ .addr = addr, .length = (uint8_t)length };
	memcpy(change->bytes, bytes, length);
	return patch_original(a->target, addr, change->old, length) ? -EIO : 0;
}

static int add_change(struct applying *a, utap_addr addr, const uint8_t *bytes, unsigned length)
{
	int error = describe_change(a, &a->changes[a->nchanges], addr, bytes, length);

	a->nchanges += !error;
	return error;
}

static int add_group(struct applying *a, const struct patch_stub *stub)
{
	struct patch_group *group = &a->groups[a->ngroups];
	int error;

	*group = (struct patch_group){ .boundaries = stub->jump->boundaries };
	error = describe_change(a, &group->change, stub->jump->start, stub->bytes, stub->jump->changed);
	a->ngroups += !error;
	return error;
}

static int add_trap(struct applying *a, const struct patch_stub *stub)
{
	struct patch_target *target = a->target;
	struct patch_trap *trap;

	if (base_grow(&target->traps, &target->traps_cap, target->ntraps + 1, sizeof(*target->traps)))
		return -ENOMEM;
	trap = &target->traps[target->ntraps];
	*trap = (struct patch_trap){ .addr = stub->jump->start, .stub = stub->addr, .length = stub->jump->length };
	if (patch_original(target, trap->addr, &trap->original, 1))
		return -EIO;
	target->ntraps++;
	return 0;
}

static enum wire_site_kind kind_of(enum patch_layer layer)
{
	switch (layer) {
	case PATCH_L0:
		return WIRE_SITE_TRAP;
	case PATCH_L2:
		return WIRE_SITE_GROUP;
	case PATCH_L4:
		return WIRE_SITE_PUN;
	case PATCH_L1:
	case PATCH_L3:
	case PATCH_REFUSED:
		break;
	}
	return WIRE_SITE_JUMP;
}

static int note(struct applying *a, utap_addr addr, enum wire_site_kind kind, size_t places, uint32_t offset,
		const uint8_t *bytes, unsigned changed)
{
	struct wire_site site = { .addr = addr, .stub = offset, .kind = (uint8_t)kind, .changed = (uint8_t)changed,
				  .places = (uint16_t)places };

	memcpy(site.wrote, bytes, changed < sizeof(site.wrote) ? changed : sizeof(site.wrote));
	return patch_journal_add(a->target, &site);
}

/* The jump in padding that a short jump leads to. */
static int record_island(struct applying *a, const struct patch_stub *stub, uint32_t offset)
{
	uint8_t bytes[5];
	struct isa_emitter e = { .buffer = bytes, .size = sizeof(bytes), .addr = stub->jump->island };
	int error;

	isa_emit_jump(&e, stub->addr);
	error = e.error ? e.error : add_change(a, stub->jump->island, bytes, sizeof(bytes));
	return error ? error : note(a, stub->jump->island, WIRE_SITE_ISLAND, 0, offset, bytes, sizeof(bytes));
}

static int record_jump(struct applying *a, const struct patch_stub *stub, uint32_t offset)
{
	const struct patch_jump *jump = stub->jump;
	int error = jump->in_padding ? record_island(a, stub, offset) : 0;

	if (!error && jump->layer == PATCH_L0)
		error = add_trap(a, stub);
	else if (!error && jump->layer == PATCH_L2)
		error = add_group(a, stub);
	else if (!error)
		error = add_change(a, jump->start, stub->bytes, jump->changed);
	return error ? error : note(a, jump->start, kind_of(jump->layer), stub->count, offset, stub->bytes, jump->changed);
}

/* ---- trampolines ---- */

/* Sites that cannot be made after all: not an error of the whole. */
static void drop_sites(const struct patch_stub *stub, int code, const char *why)
{
	if (!why)
		why = code == -ERANGE ? "the trampoline or an operand is out of reach" : "the trampolines' memory is full";
	for (size_t i = 0; i < stub->count; i++) {
		stub->members[i].site->layer = PATCH_REFUSED;
		stub->members[i].site->why = why;
	}
}

/* A trampoline that fits into a cache line does not straddle two: cold code pays for each line. */
static void keep_in_line(struct patch_pool *pool, uint64_t size)
{
	uint64_t at = (pool->addr + pool->used) & (CACHE_LINE - 1);

	if (size <= CACHE_LINE && at + size > CACHE_LINE)
		pool->used += CACHE_LINE - at;
}

static int emit_shared(struct applying *a, struct patch_pool *pool, struct patch_stub *stub, struct isa_emitter *e,
		       struct utap_error *err)
{
	int error = 0;

	for (size_t i = 0; !error && i < stub->count; i++)
		error = body_of(a, pool, stub->members[i].site->program, &stub->members[i].body, err);
	if (error)
		return error;
	*e = pool_emitter(a->target, pool, STUB_ALIGN);
	error = patch_stub_emit(stub, e);
	if (!error && ((e->addr & (CACHE_LINE - 1)) + e->used > CACHE_LINE)) {
		keep_in_line(pool, e->used);
		*e = pool_emitter(a->target, pool, STUB_ALIGN);
		error = patch_stub_emit(stub, e);
	}
	return error;
}

static int make_stub(struct applying *a, struct patch_stub *stub, struct utap_error *err)
{
	struct patch_pool *pool = patch_pool_for(a->target, stub->module);
	struct utap_error reason = { 0 };
	struct isa_emitter e = { 0 };
	uint32_t offset;
	int error = -ERANGE;

	if (pool && a->whole && stub->count == 1) {
		e = pool_emitter(a->target, pool, WHOLE_ALIGN);
		error = patch_stub_emit_whole(stub, a->body, a->arg, &e, &reason);
	} else if (pool) {
		error = emit_shared(a, pool, stub, &e, &reason);
	}
	if (error && reason.code) { /* the program, not the place */
		if (err)
			*err = reason;
		return error;
	}
	if (error) {
		drop_sites(stub, error, stub->why);
		return 0;
	}
	offset = (uint32_t)(pool->offset + (stub->addr - pool->addr));
	for (size_t i = 0; i < stub->count; i++) {
		stub->members[i].site->stub = stub->addr;
		stub->members[i].site->stub_size = (uint32_t)e.used;
		stub->members[i].site->stub_offset = offset;
	}
	pool->used += e.used;
	if (stub->jump->island && !stub->jump->in_padding)
		emit_islands(a->target, stub);
	error = record_jump(a, stub, offset);
	return error == -ENOSPC ? base_error_system(err, error, "the journal is full") : error;
}

/* All sites of one jump, from members[*at] on. */
static int make_next(struct applying *a, size_t *at, struct utap_error *err)
{
	struct patch_member *first = &a->members[*at];
	struct patch_stub stub = { .module = first->site->module, .members = first };
	struct patch_jump *jump;

	HASH_FIND(hh, a->target->jumps, &first->site->start, sizeof(first->site->start), jump);
	while (*at < a->nmembers && a->members[*at].site->start == first->site->start) {
		(*at)++;
		stub.count++;
	}
	if (!jump || jump->applied) {
		drop_sites(&stub, -ENOENT, "it was not planned for this target");
		return 0;
	}
	jump->applied = true;
	stub.jump = jump;
	return make_stub(a, &stub, err);
}

static int compare_members(const void *a, const void *b)
{
	const struct patch_site *x = ((const struct patch_member *)a)->site;
	const struct patch_site *y = ((const struct patch_member *)b)->site;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	if (x->addr != y->addr)
		return x->addr < y->addr ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static int make_all(struct applying *a, struct patch_site *sites, size_t count, struct utap_error *err)
{
	int error = 0;

	for (size_t i = 0; i < count; i++)
		if (sites[i].layer != PATCH_REFUSED)
			a->members[a->nmembers++].site = &sites[i];
	qsort(a->members, a->nmembers, sizeof(*a->members), compare_members);
	for (size_t at = 0; !error && at < a->nmembers;)
		error = make_next(a, &at, err);
	return error;
}

/* The size of a body, compiled into a scrap of memory; 0: it does not compile. */
static uint64_t body_size(struct applying *a, uint32_t program)
{
	uint8_t scrap[4096];
	struct isa_emitter e = { .buffer = scrap, .size = sizeof(scrap), .addr = a->target->pools[0].addr };

	return a->body(a->arg, program, NULL, &e, NULL) ? 0 : e.used;
}

/* May each trampoline have its own body? It is quicker, and takes memory: so for few places, or where room was asked for. */
static bool bodies_are_small(struct applying *a, const struct patch_site *sites, size_t count)
{
	_cleanup_free_ uint64_t *sizes = calloc(a->programs + 1, sizeof(*sizes));
	uint64_t most = WHOLE_BYTES + a->target->site_room * count;
	uint64_t size = 0;

	if (!sizes || count * 64 > most)
		return false;
	for (size_t i = 0; i < count && size <= most; i++) {
		if (sites[i].layer == PATCH_REFUSED)
			continue;
		if (!sizes[sites[i].program])
			sizes[sites[i].program] = body_size(a, sites[i].program);
		if (!sizes[sites[i].program])
			return false;
		size += sizes[sites[i].program] + (a->target->site_room ? 0 : 2 * CACHE_LINE);
	}
	return size <= most;
}

static int switch_text(struct applying *a, struct utap_error *err)
{
	_cleanup_free_ struct patch_run *runs = NULL;
	long nruns;

	qsort(a->changes, a->nchanges, sizeof(*a->changes), patch_compare_changes);
	nruns = patch_runs(a->target, a->changes, a->nchanges, &runs);
	if (nruns < 0)
		return base_error_system(err, (int)nruns, "cannot plan the change of text");
	return patch_text_switch(a->target, runs, (size_t)nruns, a->changes, a->nchanges, err);
}

static int compare_groups(const void *a, const void *b)
{
	const struct patch_group *x = a;
	const struct patch_group *y = b;

	return x->change.addr < y->change.addr ? -1 : x->change.addr > y->change.addr;
}

/* Groups that could not be written take their sites with them. */
static int write_groups(struct applying *a, struct utap_error *err)
{
	int error;

	if (!a->ngroups)
		return 0;
	qsort(a->groups, a->ngroups, sizeof(*a->groups), compare_groups);
	error = patch_write_groups(a->target, a->groups, a->ngroups, err);
	for (size_t i = 0, group = 0; !error && i < a->nmembers; i++) {
		struct patch_site *site = a->members[i].site;

		while (group < a->ngroups && a->groups[group].change.addr < site->start)
			group++;
		if (group < a->ngroups && a->groups[group].change.addr == site->start && !a->groups[group].written) {
			site->layer = PATCH_REFUSED;
			site->why = a->groups[group].why;
		}
	}
	return error;
}

static int change_text(struct applying *a, struct utap_error *err)
{
	struct patch_target *target = a->target;
	int error = a->nchanges ? switch_text(a, err) : 0;

	if (!error)
		error = write_groups(a, err);
	if (error) { /* part of it may be in effect */
		struct patch_report report = { 0 };

		if (error != -ESRCH && patch_undo_batch(target, target->batch, &report, NULL))
			base_log(BASE_LOG_WARN, "process %d keeps some patched places; `utap detach -p %d` tries again",
				 target->pid, target->pid);
	}
	return error;
}

int patch_target_apply(struct patch_target *target, struct patch_site *sites, size_t count, uint32_t programs,
		       patch_body_fn *body, void *arg, struct utap_error *err)
{
	_cleanup_free_ struct patch_change *changes = calloc(2 * count + 1, sizeof(*changes));
	_cleanup_free_ struct patch_group *groups = calloc(count + 1, sizeof(*groups));
	_cleanup_free_ struct patch_member *members = calloc(count + 1, sizeof(*members));
	struct applying a = { .target = target, .programs = programs, .body = body, .arg = arg, .changes = changes, .groups = groups,
			      .members = members };
	int error = changes && groups && members ? 0 : -ENOMEM;

	a.whole = bodies_are_small(&a, sites, count);
	target->programs = programs;
	target->batch++;
	if (!error)
		error = make_all(&a, sites, count, err);
	if (error)
		return err && err->code ? error : base_error_system(err, error, "cannot write trampolines");
	return change_text(&a, err);
}

size_t patch_target_traps(const struct patch_target *target, const struct patch_trap **ret)
{
	*ret = target->traps;
	return target->ntraps;
}
