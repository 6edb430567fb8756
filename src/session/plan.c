/* SPDX-License-Identifier: MIT */
/* From what probes name to places in a target: which layer takes each, or why none does. Nothing in the target changes here. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "session/inside.h"

#define PROGRESS_EVERY 256

int session_code_of(struct session *session, struct session_file *file, struct utap_error *err)
{
	if (file->code)
		return 0;
	return patch_code_create(file->object, session->options.allow_no_frame, &file->code, err);
}

static void describe(const struct session_match *match, char *text, size_t size)
{
	_cleanup_free_ char *name = match->symbol ? object_demangle(match->symbol->name) : NULL;
	uint64_t offset = 0;

	if (name)
		snprintf(text, size, "%s+0x%lx in %s", name, (unsigned long)match->symbol_offset, match->map->path);
	else if (!object_vaddr_to_offset(match->file->object, match->vaddr, &offset))
		snprintf(text, size, "%s:0x%lx", match->map->path, (unsigned long)offset);
	else
		snprintf(text, size, "%s", match->map->path);
}

/* For one place asked for by name a person wants to know where else; for a thousand, not. */
void session_refuse_match(struct session_attaching *a, const struct session_match *match, struct patch_module *module,
			  const char *why)
{
	const struct probe_spec *spec = &a->session->specs[match->spec];
	char text[400];
	char place[1400];
	bool many = spec->glob || spec->kind != PROBE_PLACE || a->session->programs[match->spec].noffsets;
	uint64_t nearest = many || !module ? 0 : patch_target_nearest(a->target, module, match->vaddr);

	describe(match, place, sizeof(place));
	if (nearest && match->symbol)
		snprintf(text, sizeof(text), "%s; the nearest place that can be probed is %.100s+0x%lx", why,
			 match->symbol->name, (unsigned long)(nearest - match->symbol->vaddr));
	else
		snprintf(text, sizeof(text), "%s", why);
	session_refuse(a->session, place, text);
}

int session_plan_site(struct session_attaching *a, const struct session_match *match, const struct patch_site *asked,
		      enum probe_part part, uint32_t group)
{
	struct patch_site site = *asked;
	int error = base_grow(&a->sites, &a->sites_cap, a->nsites + 1, sizeof(*a->sites));

	if (!error)
		error = base_grow(&a->groups, &a->groups_cap, a->nsites + 1, sizeof(*a->groups));
	if (error)
		return error;
	const struct probe_place place = { .base = match->map->start - match->map->offset,
					   .ip = site.vaddr + site.module->bias };

	error = session_program_of(a->session, match, part, &place, &site.program);
	if (error == -E2BIG) {
		site.layer = PATCH_REFUSED;
		site.why = "@+OFFSET and %ip need a program of their own in each file or place, and there are too many";
	} else if (error) {
		return error;
	} else {
		patch_target_plan(a->target, &site);
	}
	a->groups[a->nsites] = group;
	a->sites[a->nsites++] = site;
	return 0;
}

static int plan_place(struct session_attaching *a, const struct session_match *match, struct patch_module *module,
		      uint32_t id, char why[static 400])
{
	const struct patch_site asked = { .id = id, .module = module, .vaddr = match->vaddr };
	int error = session_plan_site(a, match, &asked, PROBE_PART_PLACE, 0);

	if (!error && a->sites[a->nsites - 1].layer == PATCH_REFUSED)
		snprintf(why, 400, "%s", a->sites[--a->nsites].why);
	return error;
}

static const char *mapping_forbids(const struct process_map *map)
{
	if (map->shared)
		return "its mapping is shared: a change would reach the file and other processes";
	if (map->write)
		return "its mapping is writable: the program may change its code itself";
	return NULL;
}

bool session_is_fragment(const struct object_symbol *symbol)
{
	const char *cold = symbol ? strstr(symbol->name, ".cold") : NULL;

	return cold && (!cold[5] || cold[5] == '.');
}

static bool is_entry(const struct session_match *match)
{
	const struct object_range *range;

	if (match->symbol)
		return !match->symbol_offset;
	range = object_range_at(match->file->object, match->vaddr);
	return range && range->start == match->vaddr;
}

/* What the arguments need of the file. */
static const char *arguments_forbid(const struct probe_spec *spec, const struct session_match *match)
{
	struct object *object = match->file->object;
	uint64_t offset;

	for (size_t i = 0; i < spec->nargs; i++)
		if (spec->args[i].at_entry && !is_entry(match))
			return "$argN is known only where a function is entered";
	for (size_t i = 0; i < spec->nargs; i++)
		if (spec->args[i].source == PROBE_ARG_GOID && object_go_goid_offset(object, &offset))
			return object_is_go(object) ? "$goid: where this version of Go keeps a goroutine's number is not known" :
						      "$goid: it is no Go program, so it has no goroutines";
	return NULL;
}

static int plan_match(struct session_attaching *a, const struct session_match *match, struct utap_error *err)
{
	const char *forbidden = mapping_forbids(match->map);
	enum session_what what = session_what_of(a->session, match);
	struct patch_module *module;
	char why[400] = "";
	uint32_t known = a->session->nprobes;
	uint32_t id;
	int error;

	if (what != SESSION_PLACE && session_is_fragment(match->symbol) && a->session->specs[match->spec].glob)
		return 0; /* the function's own symbol matches, too */
	if (what != SESSION_PLACE && session_is_fragment(match->symbol))
		forbidden = "it is a part of a function, which is probed by its own name";
	if (!forbidden)
		forbidden = arguments_forbid(&a->session->specs[match->spec], match);
	if (forbidden) {
		session_refuse_match(a, match, NULL, forbidden);
		return 0;
	}
	error = session_code_of(a->session, match->file, err);
	if (error)
		return error;
	error = patch_target_module(a->target, match->map, match->file->code, &module);
	if (error)
		return base_error_system(err, error, "the mapping of %s does not fit the file", match->map->path);
	error = session_id_of(a, match, module, &id);
	if (error == -EADDRINUSE && *a->session->specs[match->spec].event && !a->session->specs[match->spec].glob) {
		session_refuse_match(a, match, NULL, "the calls of this function are recorded for an earlier probe");
		return 0;
	}
	if (error == -EEXIST || error == -EADDRINUSE)
		return 0; /* an earlier probe is there: one is enough */
	if (!error && what == SESSION_PLACE && a->session->options.stack && id < known &&
	    session_stack_is_elsewhere(a, id, match->vaddr + module->bias)) {
		session_refuse_match(a, match, NULL,
				     "another copy of the file is probed in the process, and with --stack a probe has one address there");
		return 0;
	}
	if (!error && what == SESSION_PLACE)
		error = plan_place(a, match, module, id, why);
	else if (!error)
		error = session_plan_function(a, match, module, id, why);
	if (!error && !*why && a->session->specs[match->spec].reference) {
		error = session_semaphore_want(a->process, match, a->session->specs[match->spec].reference);
		if (error == -ENOENT)
			return base_error(err, -EINVAL, UTAP_ERROR_NOT_FOUND, "the reference counter at offset 0x%llx of %s is not in its memory",
					  (unsigned long long)a->session->specs[match->spec].reference, match->map->path);
	}
	if (error)
		return base_error_system(err, error, "cannot add a probe");
	if (*why)
		session_refuse_match(a, match, module, why);
	return 0;
}

int session_resolve_all(struct session_attaching *a, struct utap_error *err)
{
	for (uint32_t i = 0; i < a->session->nspecs; i++) {
		size_t before = a->nmatches;
		int error = session_resolve(a->session, a->target, i, &a->matches, &a->nmatches, &a->matches_cap, err);

		if (error)
			return error;
		session_progress(a->session, "reading symbols", i + 1, a->session->nspecs);
		base_log(BASE_LOG_DEBUG, "probe %u names %zu places in process %d", i, a->nmatches - before, a->process->pid);
	}
	return 0;
}

static int plan_all(struct session_attaching *a, struct utap_error *err)
{
	a->number = ++a->session->attaches;
	if (base_grow(&a->sites, &a->sites_cap, a->nmatches + 1, sizeof(*a->sites)))
		return base_error_system(err, -ENOMEM, "cannot plan %zu probes", a->nmatches);
	patch_target_expect(a->target, a->nmatches);
	for (size_t i = 0; i < a->nmatches; i++) {
		int error = plan_match(a, &a->matches[i], err);

		if (error)
			return error;
		if (i % PROGRESS_EVERY == 0)
			session_progress(a->session, "planning", i, a->nmatches);
	}
	if (session_plan_exits(a))
		return base_error_system(err, -ENOMEM, "cannot plan the returns of %zu probes", a->nmatches);
	return 0;
}

int session_plan_all(struct session_attaching *a, struct utap_error *err)
{
	int error = plan_all(a, err);

	session_forget_functions(a);
	return error;
}
