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
	struct patch_change *changes; /* two a site at most: an island in padding, and the place itself */
	size_t nchanges;
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

static void emit_island(struct patch_target *target, const struct patch_site *site)
{
	const struct space_view *view = space_find(&target->space, site->island);
	uint64_t offset = target->page_offset[view->page] + (site->island & (BASE_PAGE - 1));
	static const uint8_t indirect[] = { 0xff, 0x25, 0, 0, 0, 0 };
	struct isa_emitter e = { .buffer = target->code + offset, .size = SPACE_ISLAND, .addr = site->island };

	isa_emit_jump(&e, site->stub);
	if (e.error != -ERANGE)
		return;
	e = (struct isa_emitter){ .buffer = target->code + offset, .size = SPACE_ISLAND, .addr = site->island };
	isa_emit_bytes(&e, indirect, sizeof(indirect));
	isa_emit_u64(&e, site->stub);
}

static int add_change(struct applying *a, utap_addr addr, const uint8_t *bytes, unsigned length)
{
	struct patch_change *change = &a->changes[a->nchanges];

	*change = (struct patch_change){ .addr = addr, .length = (uint8_t)length };
	memcpy(change->bytes, bytes, length);
	if (patch_original(a->target, addr, change->old, length))
		return -EIO;
	a->nchanges++;
	return 0;
}

static int record_site(struct applying *a, const struct patch_site *site)
{
	uint8_t island[5];
	struct isa_emitter e = { .buffer = island, .size = sizeof(island), .addr = site->island };
	int error = 0;

	if (site->layer == PATCH_L3) {
		isa_emit_jump(&e, site->stub);
		error = e.error;
		if (!error)
			error = add_change(a, site->island, island, sizeof(island));
		if (!error)
			error = patch_journal_add(a->target, site->island, WIRE_SITE_ISLAND, site->stub_offset, island,
						  sizeof(island));
	}
	if (!error)
		error = add_change(a, site->addr, site->bytes, site->changed);
	if (!error)
		error = patch_journal_add(a->target, site->addr, site->layer == PATCH_L4 ? WIRE_SITE_PUN : WIRE_SITE_JUMP,
					  site->stub_offset, site->bytes, site->changed);
	return error;
}

/* A site that cannot be made after all: not an error of the whole. */
static void drop_site(struct patch_site *site, int code)
{
	site->layer = PATCH_REFUSED;
	if (!site->why)
		site->why = code == -ERANGE ? "the trampoline or an operand is out of reach" :
					      "the trampolines' memory is full";
}

/* A trampoline that fits into a cache line does not straddle two: cold code pays for each line. */
static void keep_in_line(struct patch_pool *pool, uint64_t size)
{
	uint64_t at = (pool->addr + pool->used) & (CACHE_LINE - 1);

	if (size <= CACHE_LINE && at + size > CACHE_LINE)
		pool->used += CACHE_LINE - at;
}

static int emit_stub(struct applying *a, struct patch_pool *pool, struct patch_site *site, struct isa_emitter *e,
		     struct utap_error *err)
{
	utap_addr body;
	int error;

	if (a->whole) {
		*e = pool_emitter(a->target, pool, WHOLE_ALIGN);
		return patch_stub_emit_whole(site, a->body, a->arg, e, err);
	}
	error = body_of(a, pool, site->program, &body, err);
	if (error)
		return error;
	*e = pool_emitter(a->target, pool, STUB_ALIGN);
	error = patch_stub_emit(site, body, e);
	if (!error && ((e->addr & (CACHE_LINE - 1)) + e->used > CACHE_LINE)) {
		keep_in_line(pool, e->used);
		*e = pool_emitter(a->target, pool, STUB_ALIGN);
		error = patch_stub_emit(site, body, e);
	}
	return error;
}

static int make_site(struct applying *a, struct patch_site *site, struct utap_error *err)
{
	struct patch_pool *pool = patch_pool_for(a->target, site->module);
	struct utap_error reason = { 0 };
	struct isa_emitter e = { 0 };
	int error = pool ? emit_stub(a, pool, site, &e, &reason) : -ERANGE;

	if (error && reason.code) { /* the program, not the place */
		if (err)
			*err = reason;
		return error;
	}
	if (error) {
		drop_site(site, error);
		return 0;
	}
	site->stub_offset = (uint32_t)(pool->offset + (site->stub - pool->addr));
	pool->used += e.used;
	if (site->layer == PATCH_L4)
		emit_island(a->target, site);
	error = record_site(a, site);
	return error == -ENOSPC ? base_error_system(err, error, "the journal is full") : error;
}

/* How much the bodies would take if each trampoline had its own: compiled once each into a scrap of memory. */
static bool bodies_are_small(struct applying *a, const struct patch_site *sites, size_t count)
{
	uint64_t size = 0;

	if (count * 64 > WHOLE_BYTES)
		return false;
	for (size_t i = 0; i < count && size <= WHOLE_BYTES; i++) {
		uint8_t scrap[4096];
		struct isa_emitter e = { .buffer = scrap, .size = sizeof(scrap), .addr = a->target->pools[0].addr };

		if (sites[i].layer == PATCH_REFUSED)
			continue;
		if (a->body(a->arg, sites[i].program, NULL, &e, NULL))
			return false;
		size += e.used + 2 * CACHE_LINE;
	}
	return size <= WHOLE_BYTES;
}

static int compare_changes(const void *a, const void *b)
{
	const struct patch_change *x = a;
	const struct patch_change *y = b;

	return x->addr < y->addr ? -1 : x->addr > y->addr;
}

static int switch_text(struct applying *a, struct utap_error *err)
{
	_cleanup_free_ struct patch_run *runs = NULL;
	long nruns;

	qsort(a->changes, a->nchanges, sizeof(*a->changes), compare_changes);
	nruns = patch_runs(a->target, a->changes, a->nchanges, &runs);
	if (nruns < 0)
		return base_error_system(err, (int)nruns, "cannot plan the change of text");
	return patch_text_switch(a->target, runs, (size_t)nruns, a->changes, a->nchanges, err);
}

int patch_target_apply(struct patch_target *target, struct patch_site *sites, size_t count, uint32_t programs,
		       patch_body_fn *body, void *arg, struct utap_error *err)
{
	struct applying a = { .target = target, .programs = programs, .body = body, .arg = arg };
	_cleanup_free_ struct patch_change *changes = calloc(2 * count + 1, sizeof(*changes));
	int error = changes ? 0 : -ENOMEM;

	a.changes = changes;
	a.whole = bodies_are_small(&a, sites, count);
	target->programs = programs;
	for (size_t i = 0; !error && i < count; i++)
		if (sites[i].layer != PATCH_REFUSED)
			error = make_site(&a, &sites[i], err);
	if (error)
		return err && err->code ? error : base_error_system(err, error, "cannot write trampolines");
	if (!a.nchanges)
		return 0;
	error = switch_text(&a, err);
	if (error) { /* part of it may be in effect */
		struct patch_report report = { 0 };

		if (error != -ESRCH && patch_target_undo(target, &report, NULL))
			base_log(BASE_LOG_WARN, "process %d keeps some patched places; `utap detach -p %d` tries again",
				 target->pid, target->pid);
	}
	return error;
}
