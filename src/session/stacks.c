/* SPDX-License-Identifier: MIT */
/*
 * What user stacks start from: the targets' table of places, by probe id. A program serves many places, so it asks there which one was
 * reached. An id has one address in a process.
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

/* At a function's first instruction the return address is at rsp, and rbp still the caller's. */
static unsigned words_up(const struct patch_site *site)
{
	const struct object_range *range = object_range_at(site->module->object, site->vaddr);
	const struct object_symbol *symbol = range ? NULL : object_symbol_at(site->module->object, site->vaddr);

	return (range && range->start == site->vaddr) || (symbol && symbol->vaddr == site->vaddr);
}

void session_say_places(const struct session_attaching *a)
{
	const struct trace_memory *memory = &a->process->memory;
	uint64_t *places = (uint64_t *)((uint8_t *)memory->data + memory->geometry.places_at);

	for (size_t i = 0; memory->geometry.places_at && i < a->nsites; i++) {
		const struct patch_site *site = &a->sites[i];

		if (session_is_pause(a->session, site) || site->layer == PATCH_REFUSED || site->id >= memory->geometry.max_probes ||
		    a->session->probes[site->id].kind != TRACE_PLACE)
			continue;
		__atomic_store_n(&places[site->id], WIRE_PLACE(site->addr, words_up(site), 0), __ATOMIC_RELEASE);
	}
}
