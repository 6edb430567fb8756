/* SPDX-License-Identifier: MIT */
/*
 * Return probes, and pairs of entry and return: a function's ways out are its probed places. Nothing is put in place of a return address, so
 * exceptions, longjmp, coroutines and backtraces never meet us.
 *
 * A function is probed whole or not at all: with one exit missing some of its returns would not be seen. Sites of a function share a group,
 * so that all fall out when one does.
 *
 * All entries are planned before the first exit: the jump over a return at a function's very end may have to depend on the first bytes of the
 * next function, and would take the place of its entry.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "patch/exits.h"
#include "session/inside.h"

#define WHY 400
#define FELL_OUT "another place of the same function cannot be probed after all"

/** A function whose entry is planned, or has none to be planned. */
struct session_function {
	const struct session_match *match;
	struct patch_module *module;
	struct patch_function function;
	uint32_t id;    /* of its returns */
	uint32_t group;
	size_t entry;   /* its site; SIZE_MAX: only its returns are probed */
};

/* Of which function a place is an entry or an exit; not of two, or the calls of one would seem to end where the other is left. */
struct session_owner {
	utap_addr addr;
	utap_addr function;
	UT_hash_handle hh;
};

/* -EBUSY: another function's. */
static int own(struct session_attaching *a, utap_addr addr, utap_addr function)
{
	struct session_owner *owner;

	HASH_FIND(hh, a->owners, &addr, sizeof(addr), owner);
	if (owner)
		return owner->function == function ? 0 : -EBUSY;
	owner = calloc(1, sizeof(*owner));
	if (!owner)
		return -ENOMEM;
	owner->addr = addr;
	owner->function = function;
	HASH_ADD(hh, a->owners, addr, sizeof(owner->addr), owner);
	return 0;
}

static void disown(struct session_attaching *a, utap_addr addr)
{
	struct session_owner *owner;

	HASH_FIND(hh, a->owners, &addr, sizeof(addr), owner);
	if (!owner)
		return;
	HASH_DEL(a->owners, owner);
	free(owner);
}

static int refuse(char why[static WHY], const char *sentence)
{
	snprintf(why, WHY, "%s", sentence);
	return 0;
}

/* One of Go's, not of C's in the same file: names of Go's packages have a dot. */
static bool is_go_function(const struct session_match *match)
{
	return object_is_go(match->file->object) && match->symbol && strchr(match->symbol->name, '.');
}

/* Go's functions are told apart from others only where calls are put together. */
static enum probe_part part_of(const struct session_attaching *a, const struct session_match *match, enum probe_part part)
{
	return a->session->options.pairs && is_go_function(match) ? probe_part_go(part) : part;
}

/* The part of the function that an indirect jump may stay in. */
static bool note_stay(const struct patch_function *function, struct patch_site *site)
{
	size_t room = sizeof(site->stay) / sizeof(site->stay[0]);

	if (function->nparts > room)
		return false;
	for (size_t i = 0; i < function->nparts; i++)
		site->stay[i] = function->parts[i];
	return true;
}

/* The site at the function's first instruction is at once its exit: one program writes both records. */
static int merge_exit(struct session_attaching *a, const struct session_match *match, struct patch_site *entry,
		      const struct patch_exit *exit, char why[static WHY])
{
	enum probe_part part = exit->tail ? PROBE_PART_ENTRY_TAIL : PROBE_PART_ENTRY_RETURN;

	if (exit->when != PATCH_WHEN_REACHED)
		return refuse(why, "its first instruction only sometimes leaves it");
	const struct probe_place place = { .base = match->map->start - match->map->offset,
					   .ip = entry->vaddr + entry->module->bias };

	return session_program_of(a->session, match, part_of(a, match, part), &place, &entry->program);
}

static int plan_exit(struct session_attaching *a, const struct session_function *f, const struct patch_exit *exit,
		     char why[static WHY])
{
	struct patch_site asked = { .id = f->id, .module = f->module, .vaddr = exit->vaddr, .when = exit->when };
	const struct patch_site *site;
	int error;

	error = own(a, exit->vaddr + f->module->bias, f->match->vaddr + f->module->bias);
	if (error == -EBUSY)
		return refuse(why, "another function that is probed is left by the same instruction");
	if (error)
		return error;
	if (exit->when == PATCH_WHEN_LEAVING && !note_stay(&f->function, &asked))
		return refuse(why, "an indirect jump may lead into any of its many parts");
	error = session_plan_site(a, f->match, &asked, part_of(a, f->match, exit->tail ? PROBE_PART_TAIL : PROBE_PART_RETURN),
				  f->group);
	site = &a->sites[a->nsites - 1];
	if (!error && site->layer == PATCH_REFUSED)
		snprintf(why, WHY, "it is left at %+lld and that place cannot be probed: %s",
			 (long long)(exit->vaddr - f->match->vaddr), site->why);
	return error;
}

static int plan_exits(struct session_attaching *a, const struct session_function *f, bool backwards, char why[static WHY])
{
	size_t count = f->function.nexits;
	int error = 0;

	for (size_t i = 0; i < count && !error && !*why; i++) {
		const struct patch_exit *exit = &f->function.exits[backwards ? count - 1 - i : i];

		if (f->entry != SIZE_MAX && a->sites[f->entry].addr == exit->vaddr + f->module->bias)
			error = merge_exit(a, f->match, &a->sites[f->entry], exit, why);
		else
			error = plan_exit(a, f, exit, why);
	}
	return error;
}

static void give_back(struct session_attaching *a, struct patch_site *site)
{
	if (site->layer == PATCH_REFUSED)
		return;
	patch_target_unplan(a->target, site);
	site->layer = PATCH_REFUSED;
	site->why = FELL_OUT;
}

/* All exits, or none: why[] says why. */
static int try_exits(struct session_attaching *a, const struct session_function *f, bool backwards, char why[static WHY])
{
	size_t first = a->nsites;
	int error = plan_exits(a, f, backwards, why);

	while (*why && a->nsites > first) {
		disown(a, a->sites[--a->nsites].addr);
		give_back(a, &a->sites[a->nsites]);
	}
	return error;
}

/*
 * Its exits, or none of its sites. The jump over one exit may depend on the bytes of the next, whose own jump would not need those of the
 * first: so the other order is tried, too.
 */
static int finish_function(struct session_attaching *a, const struct session_function *f)
{
	char why[WHY] = "";
	char ignored[WHY] = "";
	int error = try_exits(a, f, false, why);

	if (!error && *why && f->function.nexits > 1) {
		error = try_exits(a, f, true, ignored);
		if (!*ignored)
			*why = '\0';
	}
	if (error || !*why)
		return error;
	if (f->entry != SIZE_MAX) {
		disown(a, a->sites[f->entry].addr);
		give_back(a, &a->sites[f->entry]);
	}
	session_refuse_match(a, f->match, f->module, why);
	return 0;
}

/* Entries whose functions fell out. */
static void drop_refused(struct session_attaching *a)
{
	size_t kept = 0;

	for (size_t i = 0; i < a->nsites; i++) {
		if (a->sites[i].layer == PATCH_REFUSED)
			continue;
		a->groups[kept] = a->groups[i];
		a->sites[kept++] = a->sites[i];
	}
	a->nsites = kept;
}

int session_plan_exits(struct session_attaching *a)
{
	int error = 0;

	for (size_t i = 0; i < a->nfunctions && !error; i++) {
		error = finish_function(a, &a->functions[i]);
		if (i % 256 == 0)
			session_progress(a->session, "planning returns", i, a->nfunctions);
	}
	drop_refused(a);
	return error;
}

void session_forget_functions(struct session_attaching *a)
{
	while (a->owners)
		disown(a, a->owners->addr);
	for (size_t i = 0; i < a->nfunctions; i++)
		patch_function_release(&a->functions[i].function);
	free(a->functions);
	a->functions = NULL;
	a->nfunctions = a->functions_cap = 0;
}

static int plan_entry(struct session_attaching *a, struct session_function *f, char why[static WHY])
{
	const struct patch_site asked = { .id = f->id, .module = f->module, .vaddr = f->match->vaddr };
	int error = session_plan_site(a, f->match, &asked, part_of(a, f->match, PROBE_PART_ENTRY), f->group);

	if (error)
		return error;
	f->id++;
	f->entry = a->nsites - 1;
	if (a->sites[f->entry].layer == PATCH_REFUSED) {
		snprintf(why, WHY, "%s", a->sites[--a->nsites].why);
		return 0;
	}
	return own(a, a->sites[f->entry].addr, f->match->vaddr + f->module->bias);
}

static int keep_function(struct session_attaching *a, struct session_function *f, char why[static WHY])
{
	int error = base_grow(&a->functions, &a->functions_cap, a->nfunctions + 1, sizeof(*a->functions));

	if (!error && !f->function.nexits)
		refuse(why, "it never returns");
	else if (!error && session_what_of(a->session, f->match) == SESSION_PAIR)
		error = plan_entry(a, f, why);
	if (error || *why) {
		patch_function_release(&f->function);
		return error;
	}
	a->functions[a->nfunctions++] = *f;
	return 0;
}

int session_plan_function(struct session_attaching *a, const struct session_match *match, struct patch_module *module,
			  uint32_t id, char why[static WHY])
{
	struct session_function f = { .match = match, .module = module, .id = id, .entry = SIZE_MAX };
	const char *sentence = NULL;
	int error = patch_function_find(match->file->code, match->vaddr, &f.function, &sentence);

	if (error == -ENOTSUP)
		return refuse(why, sentence);
	if (error)
		return error;
	f.group = ++a->ngroups;
	return keep_function(a, &f, why);
}

void session_settle_functions(struct session_attaching *a)
{
	_cleanup_free_ bool *fell_out = calloc((size_t)a->ngroups + 1, sizeof(*fell_out));

	for (size_t i = 0; i < a->nsites; i++)
		if (a->sites[i].layer == PATCH_REFUSED && fell_out)
			fell_out[a->groups[i]] = true;
	for (size_t i = 0; i < a->nsites; i++)
		if (a->groups[i] && (!fell_out || fell_out[a->groups[i]]))
			give_back(a, &a->sites[i]);
}

static bool is_any_patched(const struct session_attaching *a, uint32_t group)
{
	for (size_t i = 0; i < a->nsites; i++)
		if (a->groups[i] == group && a->sites[i].layer != PATCH_REFUSED)
			return true;
	return false;
}

/* What falls out in the very last step, when the text is written, takes nothing along: that is written already. */
void session_refuse_site(const struct session_attaching *a, size_t index)
{
	const struct patch_site *site = &a->sites[index];
	const struct trace_probe *probe = &a->session->probes[site->id];
	const char *name = *probe->symbol ? probe->symbol : probe->path;
	char why[WHY];

	if (a->groups[index] && site->why && !strcmp(site->why, FELL_OUT))
		return;
	snprintf(why, sizeof(why), "%s", site->why);
	if (a->groups[index] && is_any_patched(a, a->groups[index]))
		snprintf(why, sizeof(why),
			 "its place at 0x%lx could not be patched after all (%.250s): not all of its calls are seen to begin or to end",
			 (unsigned long)site->addr, site->why);
	session_refuse(a->session, name, why);
}
