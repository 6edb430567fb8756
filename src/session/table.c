/* SPDX-License-Identifier: MIT */
/*
 * The table of probes: a row for each place in a file, two for a function whose calls are recorded (entry, then return). The row's number is
 * the id in the records; rows never move or go.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session/inside.h"

#define GROUP_DEFAULT "utap"

static struct session_name *find_name(const struct session *session, const char *group, const char *event)
{
	struct session_name *found;
	char name[2 * PROBE_NAME + 2];

	snprintf(name, sizeof(name), "%s/%s", group, event);
	HASH_FIND_STR(session->names, name, found);
	return found;
}

static void take_name(struct session *session, const char *group, const char *event)
{
	struct session_name *name = calloc(1, sizeof(*name));

	if (!name)
		return; /* then a later one may get it too: only a label */
	snprintf(name->name, sizeof(name->name), "%s/%s", group, event);
	HASH_ADD_STR(session->names, name, name);
}

/* A probe's name as perf probe would have it: of returns with a suffix of their own. */
static void derive_name(const struct session_match *match, enum trace_probe_kind kind, uint64_t offset, char *event)
{
	static const char suffix[] = "__return";
	size_t room = kind == TRACE_RETURN ? PROBE_NAME - strlen(suffix) : PROBE_NAME;

	if (match->symbol)
		probe_event_name(match->symbol->name, match->symbol_offset, event, room);
	else
		snprintf(event, room, "at_0x%lx", (unsigned long)offset);
	if (kind == TRACE_RETURN)
		strcat(event, suffix);
}

/* Names are unique in a group, as perf's readers want: a second malloc becomes malloc_1. */
static void name_event(struct session *session, const struct session_match *match, struct trace_probe *probe)
{
	const struct probe_spec *spec = &session->specs[match->spec];
	struct session_name *first;
	char event[PROBE_NAME];

	snprintf(probe->group, sizeof(probe->group), "%s", *spec->group ? spec->group : GROUP_DEFAULT);
	if (*spec->event)
		snprintf(event, sizeof(event), "%s", spec->event);
	else
		derive_name(match, session->options.pairs ? TRACE_PLACE : probe->kind, probe->offset, event);
	snprintf(probe->event, sizeof(probe->event), "%s", event);
	first = find_name(session, probe->group, event);
	while (first && find_name(session, probe->group, probe->event))
		snprintf(probe->event, sizeof(probe->event), "%.50s_%u", event, ++first->copies);
	take_name(session, probe->group, probe->event);
}

static enum probe_part part_of(enum trace_probe_kind kind)
{
	switch (kind) {
	case TRACE_ENTRY:
		return PROBE_PART_ENTRY;
	case TRACE_RETURN:
		return PROBE_PART_RETURN;
	case TRACE_PLACE:
		break;
	}
	return PROBE_PART_PLACE;
}

static int add_probe(struct session *session, const struct session_match *match, utap_addr addr,
		     enum trace_probe_kind kind)
{
	const struct probe_spec *spec = &session->specs[match->spec];
	uint32_t id = session->nprobes;
	struct trace_probe *probe;

	if (base_grow(&session->probes, &session->probes_cap, id + 1, sizeof(*session->probes)) ||
	    base_grow(&session->delivered, &session->delivered_cap, id + 1, sizeof(*session->delivered)) ||
	    base_grow(&session->specs_of, &session->specs_of_cap, id + 1, sizeof(*session->specs_of)))
		return -ENOMEM;
	probe = &session->probes[id];
	*probe = (struct trace_probe){
		.path = strdup(match->map->path),
		.symbol = match->symbol ? object_demangle(match->symbol->name) : strdup(""),
		.kind = kind,
		.symbol_offset = match->symbol_offset,
		.addr = addr,
		.record_size = session->options.action == PROBE_RECORD ? probe_record_size(spec, part_of(kind)) : 0,
		.record_most = session->options.action == PROBE_RECORD ? probe_record_most(spec, part_of(kind)) : 0,
		.nargs = (uint32_t)probe_part_args(spec, part_of(kind)),
		.args = session->programs[match->spec].args,
	};
	if (!probe->path || !probe->symbol ||
	    object_vaddr_to_offset(match->file->object, match->vaddr, &probe->offset)) {
		free((char *)(uintptr_t)probe->path);
		free((char *)(uintptr_t)probe->symbol);
		return -ENOMEM;
	}
	session->delivered[id] = 0;
	session->specs_of[id] = match->spec;
	session->nprobes++;
	return 0;
}

/* The rows of a place in the table: one, or two that stand together. */
static int add_probes(struct session *session, const struct session_match *match, utap_addr addr, enum session_what what)
{
	uint32_t id = session->nprobes;
	int error = 0;

	switch (what) {
	case SESSION_PLACE:
		error = add_probe(session, match, addr, TRACE_PLACE);
		break;
	case SESSION_RETURNS:
		error = add_probe(session, match, addr, TRACE_RETURN);
		break;
	case SESSION_PAIR:
		error = add_probe(session, match, addr, TRACE_ENTRY);
		if (!error)
			error = add_probe(session, match, addr, TRACE_RETURN);
		break;
	}
	if (error)
		return error;
	name_event(session, match, &session->probes[id]);
	for (uint32_t i = id + 1; i < session->nprobes; i++) {
		memcpy(session->probes[i].group, session->probes[id].group, sizeof(session->probes[i].group));
		memcpy(session->probes[i].event, session->probes[id].event, sizeof(session->probes[i].event));
	}
	return 0;
}

static bool is_function(const struct session_match *match)
{
	const struct object_range *range;

	if (match->symbol)
		return !match->symbol_offset;
	range = object_range_at(match->file->object, match->vaddr);
	return range && range->start == match->vaddr;
}

enum session_what session_what_of(const struct session *session, const struct session_match *match)
{
	enum probe_kind kind = session->specs[match->spec].kind;

	if (session->options.pairs && kind != PROBE_EACH && is_function(match))
		return SESSION_PAIR;
	return kind == PROBE_RETURN ? SESSION_RETURNS : SESSION_PLACE;
}

/* A place that is known: is it to be planned once more, in another process or another copy of the file? */
static int known_id(const struct session_attaching *a, struct session_place *place, uint32_t spec,
		    const struct patch_module *module, uint32_t *ret)
{
	if (place->spec != spec)
		return -EADDRINUSE;
	if (place->attach == a->number && place->module == module)
		return -EEXIST;
	place->attach = a->number;
	place->module = module;
	*ret = place->id;
	return 0;
}

int session_id_of(struct session_attaching *a, const struct session_match *match, const struct patch_module *module,
		  uint32_t *ret)
{
	struct session *session = a->session;
	enum session_what what = session_what_of(session, match);
	struct session_place_key key;
	struct session_place *place;
	uint32_t id = session->nprobes;
	int error;

	memset(&key, 0, sizeof(key));
	key.file = match->file;
	key.vaddr = match->vaddr;
	key.what = (uint32_t)what;
	key.spec = what == SESSION_PAIR ? 0 : session->programs[match->spec].stands_for; /* one call in a frame */
	HASH_FIND(hh, session->places, &key, sizeof(key), place);
	if (place)
		return known_id(a, place, match->spec, module, ret);
	place = calloc(1, sizeof(*place));
	if (!place)
		return -ENOMEM;
	error = add_probes(session, match, match->vaddr + module->bias, what);
	if (error) {
		free(place);
		return error;
	}
	place->key = key;
	place->spec = match->spec;
	place->id = id;
	place->attach = a->number;
	place->module = module;
	HASH_ADD(hh, session->places, key, sizeof(place->key), place);
	*ret = place->id;
	return 0;
}
