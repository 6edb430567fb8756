/* SPDX-License-Identifier: MIT */
/*
 * The place where a process waits for us.
 *
 * The dynamic linker calls a function of its own, which does nothing, whenever the list of what is loaded has changed: for debuggers
 * (_dl_debug_state, r_debug.r_brk). There a place of ours makes the thread wait until we have looked (RT_PAUSE): what was mapped is probed
 * before it is relocated and before its constructors run. The wait is bounded, and over at once should we be gone.
 */
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>

#include "session/inside.h"

#define NOTIFY "_dl_debug_state"

static uint32_t pause_program(const struct session *session) { return session_programs(session) - 1; }

bool session_is_pause(const struct session *session, const struct patch_site *site)
{
	return site->program == pause_program(session);
}

/* What is there from the start stays: only libraries besides can go, and come again. */
static bool may_go(const struct session_match *match)
{
	const char *name = strrchr(match->map->path, '/');

	return name && strncmp(name, "/libc.", 6) && strncmp(name, "/libc-", 6) && strncmp(name, "/ld-", 4);
}

bool session_wants_more(const struct session_attaching *a)
{
	const struct process_map *program = NULL;
	uint64_t entry;

	if (a->process->waits)
		return true;
	for (size_t i = 0; i < a->session->nspecs; i++)
		if (a->session->specs[i].glob && !*a->session->specs[i].path)
			return true;
	if (!process_auxv(a->process->pid, AT_ENTRY, &entry))
		program = process_maps_at(patch_target_maps(a->target), entry);
	for (size_t i = 0; i < a->nmatches; i++)
		if (may_go(&a->matches[i]) && !(program && session_is_same_copy(program, a->matches[i].map)))
			return true;
	return false;
}

static utap_addr find_link_state(struct object *object, uint64_t bias)
{
	_cleanup_free_ const struct object_symbol **found = NULL;

	return object_find(object, "_r_debug", false, &found, NULL) > 0 ?
		       found[0]->vaddr + bias + offsetof(struct r_debug, r_state) :
		       0;
}

/* The dynamic linker's notification; NULL: there is none (a static program), or nothing is known of it. */
static struct session_file *find_notify(struct session_attaching *a, struct patch_site *site)
{
	_cleanup_free_ const struct object_symbol **found = NULL;
	const struct process_map *map = NULL;
	struct session_file *file;
	uint64_t base = 0;
	uint64_t bias;

	if (!process_auxv(a->process->pid, AT_BASE, &base) && base)
		map = process_maps_at(patch_target_maps(a->target), base);
	if (!map || session_file_of(a->session, map, &file, NULL) ||
	    object_find(file->object, NOTIFY, false, &found, NULL) <= 0)
		return NULL;
	bias = base;
	map = process_maps_at(patch_target_maps(a->target), found[0]->vaddr + bias);
	if (!map || !map->execute || session_code_of(a->session, file, NULL) ||
	    patch_target_module(a->target, map, file->code, &site->module))
		return NULL;
	site->vaddr = found[0]->vaddr;
	a->process->link_state = find_link_state(file->object, bias);
	return file;
}

/*
 * musl is built without frame description entries; that its notification is code is known all the same: it is called. Of this place alone
 * the symbols are believed.
 */
static void plan_without_frame(struct session_attaching *a, struct session_file *file, struct patch_site *site)
{
	struct patch_code *usual = site->module->code;

	if (!file->unframed && patch_code_create(file->object, true, &file->unframed, NULL))
		return;
	site->module->code = file->unframed;
	patch_target_plan(a->target, site);
	site->module->code = usual;
}

static bool plan_notify(struct session_attaching *a, struct patch_site *site)
{
	struct session_file *file = find_notify(a, site);

	if (!file)
		return false;
	patch_target_plan(a->target, site);
	if (site->layer == PATCH_REFUSED && !object_range_at(file->object, site->vaddr))
		plan_without_frame(a, file, site);
	return site->layer != PATCH_REFUSED;
}

int session_plan_pause(struct session_attaching *a)
{
	struct patch_site site = { .program = pause_program(a->session) };
	size_t n = a->nsites;
	uint64_t base = 0;

	bool wants_more = session_wants_more(a);

	if ((!wants_more && !session_wants_loads(a->session)) || process_auxv(a->process->pid, AT_BASE, &base) || !base)
		return 0;
	a->process->waits = true;
	a->process->waits_for_tables = !wants_more;
	if (base_grow(&a->sites, &a->sites_cap, n + 1, sizeof(*a->sites)) ||
	    base_grow(&a->groups, &a->groups_cap, n + 1, sizeof(*a->groups)))
		return -ENOMEM;
	a->process->polls = !plan_notify(a, &site);
	if (a->process->polls) {
		base_log(BASE_LOG_INFO, "process %d does not wait where it loads libraries: %s", a->process->pid,
			 site.why ? site.why : "its dynamic linker has no " NOTIFY);
		return 0;
	}
	a->groups[n] = 0;
	a->sites[a->nsites++] = site;
	return 0;
}

/*
 * Entered as any body (bpf_compile_probe()); keeps every register, the flags and, besides those, the direction in which strings are
 * copied, which the runtime needs to be the usual one.
 */
int session_emit_pause(const struct session_attaching *a, const struct patch_tail *tail, struct isa_emitter *e)
{
	static const uint8_t before[] = { 0x50, 0x9c, 0xfc, 0x48, 0xb8 }; /* push %rax; pushf; cld; mov $.., %rax */
	static const uint8_t behind[] = { 0xff, 0xd0, 0x9d, 0x58 };       /* call *%rax; popf; pop %rax */
	struct patch_facts facts;

	patch_target_facts(a->target, &facts);
	isa_emit_bytes(e, before, sizeof(before));
	isa_emit_u64(e, facts.runtime[RT_PAUSE]);
	isa_emit_bytes(e, behind, sizeof(behind));
	if (tail)
		tail->emit(tail->arg, e);
	else
		isa_emit_u8(e, 0xc3);
	return e->error;
}
