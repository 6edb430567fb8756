/* SPDX-License-Identifier: MIT */
/*
 * What user stacks start from: the targets' table of places, by probe id. A program serves many places, so it asks
 * there which one was reached. An id has one address in a process.
 */
#include "session/inside.h"

static bool is_other(const struct patch_site *site, uint32_t id, utap_addr addr)
{
	return site->id == id && site->addr != addr && site->layer != PATCH_REFUSED;
}

bool session_stack_is_elsewhere(const struct session_attaching *a, uint32_t id, utap_addr addr)
{
	for (size_t i = 0; i < a->nsites; i++)
		if (!session_is_pause(a->session, &a->sites[i]) && is_other(&a->sites[i], id, addr))
			return true;
	for (size_t i = 0; i < a->process->nsites; i++)
		if (!session_is_pause(a->session, &a->process->sites[i]) && is_other(&a->process->sites[i], id, addr))
			return true;
	return false;
}

/* A function's first instruction, of which no rule says anything. */
static bool is_bare_entry(const struct patch_site *site, uint32_t rule)
{
	const struct object_range *range = object_range_at(site->module->object, site->vaddr);
	const struct object_symbol *symbol = range ? NULL : object_symbol_at(site->module->object, site->vaddr);

	if (range)
		return range->start == site->vaddr && wire_unwind_kind(rule) == WIRE_UNWIND_UNKNOWN;
	return symbol && symbol->vaddr == site->vaddr;
}

/* Where a rule counts from rsp; of others the place's own rbp leads to the caller. */
static uint64_t place_of(const struct patch_site *site, uint32_t rule)
{
	int32_t words = wire_unwind_n(rule);
	unsigned kept = 0;

	if (is_bare_entry(site, rule))
		return WIRE_PLACE(site->addr, 1, 0);
	if (wire_unwind_kind(rule) == WIRE_UNWIND_PLT)
		return WIRE_PLACE(site->addr, (int32_t)(site->addr % 16) >= words ? 2 : 1, 0);
	if (wire_unwind_kind(rule) != WIRE_UNWIND_SP || words < 1 || words > (int32_t)WIRE_PLACE_UP_MAX)
		return WIRE_PLACE(site->addr, 0, 0);
	switch (wire_unwind_bp(rule)) {
	case WIRE_UNWIND_BP_SAME:
		break;
	case WIRE_UNWIND_BP_AT_CFA:
		if (wire_unwind_m(rule) >= 0)
			return WIRE_PLACE(site->addr, 0, 0);
		kept = (unsigned)-wire_unwind_m(rule);
		break;
	case WIRE_UNWIND_BP_AT_BP:
		return WIRE_PLACE(site->addr, 0, 0);
	case WIRE_UNWIND_BP_LOST:
		kept = WIRE_PLACE_MAYBE;
		break;
	}
	return WIRE_PLACE(site->addr, words, kept);
}

/* The rule for a place; made for all of the file when the first one is asked for. */
static uint32_t rule_at(struct session *session, const struct patch_site *site)
{
	struct session_file *file = NULL;
	const struct object_unwind *unwind;

	for (size_t i = 0; i < session->nfiles && !file; i++)
		if (session->files[i]->object == site->module->object)
			file = session->files[i];
	if (!file)
		return 0;
	session_file_unwind(file);
	unwind = &file->unwind;
	return site->vaddr < unwind->base || site->vaddr - unwind->base > UINT32_MAX
		   ? 0
		   : wire_unwind_rule(unwind->rows, (uint32_t)unwind->count, (uint32_t)(site->vaddr - unwind->base));
}

void session_say_places(const struct session_attaching *a)
{
	const struct trace_memory *memory = &a->process->memory;
	uint64_t *places = (uint64_t *)((uint8_t *)memory->data + memory->geometry.places_at);

	for (size_t i = 0; memory->geometry.places_at && i < a->nsites; i++) {
		const struct patch_site *site = &a->sites[i];

		if (session_is_pause(a->session, site) || site->layer == PATCH_REFUSED ||
		    site->id >= memory->geometry.max_probes || a->session->probes[site->id].kind != TRACE_PLACE)
			continue;
		__atomic_store_n(&places[site->id], place_of(site, rule_at(a->session, site)), __ATOMIC_RELEASE);
	}
}
