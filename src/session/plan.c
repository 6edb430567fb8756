/* SPDX-License-Identifier: MIT */
/* From what probes name to places in a target: which layer takes each, or why none does. Nothing in the target changes here. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "session/inside.h"

#define PROGRESS_EVERY 256

static int code_of(struct session *session, struct session_file *file, struct utap_error *err)
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
static void refuse_match(struct session_attaching *a, const struct session_match *match, struct patch_module *module,
			 const char *why)
{
	const struct probe_spec *spec = &a->session->specs[match->spec];
	char text[400];
	char place[1400];
	bool many = spec->glob || a->session->programs[match->spec].noffsets;
	uint64_t nearest = many || !module ? 0 : patch_target_nearest(a->target, module, match->vaddr);

	describe(match, place, sizeof(place));
	if (nearest && match->symbol)
		snprintf(text, sizeof(text), "%s; the nearest place that can be probed is %.100s+0x%lx", why,
			 match->symbol->name, (unsigned long)(nearest - match->symbol->vaddr));
	else
		snprintf(text, sizeof(text), "%s", why);
	session_refuse(a->session, place, text);
}

static int plan_match(struct session_attaching *a, const struct session_match *match, struct utap_error *err)
{
	struct patch_site *site = &a->sites[a->nsites];
	struct patch_module *module;
	uint32_t id;
	int error;

	if (match->map->shared) {
		refuse_match(a, match, NULL, "its mapping is shared: a change would reach the file and other processes");
		return 0;
	}
	if (match->map->write) {
		refuse_match(a, match, NULL, "its mapping is writable: the program may change its code itself");
		return 0;
	}
	error = code_of(a->session, match->file, err);
	if (error)
		return error;
	error = patch_target_module(a->target, match->map, match->file->code, &module);
	if (error)
		return base_error_system(err, error, "the mapping of %s does not fit the file", match->map->path);
	error = session_id_of(a->session, match, match->vaddr + module->bias, &id);
	if (error == -EEXIST)
		return 0; /* an earlier probe is there: one is enough */
	if (error)
		return base_error_system(err, error, "cannot add a probe");
	*site = (struct patch_site){
		.id = id,
		.program = a->session->programs[match->spec].same,
		.module = module,
		.vaddr = match->vaddr,
	};
	if (session_runs_early(match))
		site->program += (uint32_t)a->session->nspecs;
	patch_target_plan(a->target, site);
	if (site->layer == PATCH_REFUSED)
		refuse_match(a, match, module, site->why);
	else
		a->nsites++;
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

int session_plan_all(struct session_attaching *a, struct utap_error *err)
{
	a->sites = calloc(a->nmatches + 1, sizeof(*a->sites));
	if (!a->sites)
		return base_error_system(err, -ENOMEM, "cannot plan %zu probes", a->nmatches);
	for (size_t i = 0; i < a->nmatches; i++) {
		int error = plan_match(a, &a->matches[i], err);

		if (error)
			return error;
		if (i % PROGRESS_EVERY == 0)
			session_progress(a->session, "planning", i, a->nmatches);
	}
	return 0;
}
