/* SPDX-License-Identifier: MIT */
#include "patch/space.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "isa/isa.h"

#define TRIES 64        /* new pages tried in one window */
#define PAGES_TRIED 64  /* file pages tried for a new view, the youngest first */
#define USER_LOW 0x10000ULL
#define USER_HIGH 0x7fffffff0000ULL

void space_deinit(struct space *space)
{
	free(space->views);
	free(space->pages);
	*space = (struct space){ 0 };
}

static bool is_free(const struct space_page *page, unsigned offset)
{
	for (unsigned i = offset; i < offset + SPACE_ISLAND; i++)
		if (page->used[i >> 6] >> (i & 63) & 1)
			return false;
	return true;
}

/* Bytes from @offset up to and with the last used one that an island there would touch; 0: none. */
static unsigned last_used(const struct space_page *page, unsigned offset)
{
	for (unsigned i = SPACE_ISLAND; i-- > 0;)
		if (page->used[(offset + i) >> 6] >> ((offset + i) & 63) & 1)
			return i + 1;
	return 0;
}

static void take(struct space_page *page, unsigned offset)
{
	for (unsigned i = offset; i < offset + SPACE_ISLAND; i++)
		page->used[i >> 6] |= 1ULL << (i & 63);
}

/* Index of the first view at or above @addr. */
static size_t view_from(const struct space *space, utap_addr addr)
{
	size_t low = 0;
	size_t high = space->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (space->views[middle].addr >= addr)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

struct space_view *space_find(const struct space *space, utap_addr addr)
{
	utap_addr page = base_align_down(addr, BASE_PAGE);
	size_t i = view_from(space, page);

	return i < space->count && space->views[i].addr == page ? &space->views[i] : NULL;
}

void space_release(struct space *space, utap_addr addr)
{
	const struct space_view *view = space_find(space, addr);
	unsigned offset = (unsigned)(addr & (BASE_PAGE - 1));

	for (unsigned i = offset; view && i < offset + SPACE_ISLAND; i++)
		space->pages[view->page].used[i >> 6] &= ~(1ULL << (i & 63));
}

void space_drop(struct space *space, utap_addr addr)
{
	struct space_view *view = space_find(space, addr);

	if (view)
		memmove(view, view + 1, (size_t)(&space->views[--space->count] - view) * sizeof(*view));
}

/* First and last offset in the page at @addr at which an island inside [lo, hi] may start; false when there is none. */
static bool offsets(utap_addr addr, utap_addr lo, utap_addr hi, unsigned *first, unsigned *last)
{
	utap_addr end = addr + BASE_PAGE - SPACE_ISLAND;

	if (hi < addr || lo > end)
		return false;
	*first = lo > addr ? (unsigned)(lo - addr) : 0;
	*last = (unsigned)((hi < end ? hi : end) - addr);
	return true;
}

static bool place_in(struct space *space, utap_addr addr, uint32_t index, utap_addr lo, utap_addr hi, utap_addr *ret)
{
	struct space_page *page = &space->pages[index];
	unsigned first, last;

	if (!offsets(addr, lo, hi, &first, &last))
		return false;
	for (unsigned at = first; at <= last; at++)
		if (is_free(page, at)) {
			take(page, at);
			*ret = addr + at;
			return true;
		}
	return false;
}

static int add_view(struct space *space, utap_addr addr, uint32_t page)
{
	size_t i = view_from(space, addr);

	if (base_grow(&space->views, &space->cap, space->count + 1, sizeof(*space->views)))
		return -ENOMEM;
	memmove(&space->views[i + 1], &space->views[i], (space->count - i) * sizeof(*space->views));
	space->views[i] = (struct space_view){ .addr = addr, .page = page };
	space->count++;
	return 0;
}

/* A new page of the target: show a file page with room at the right offset, the youngest first, else a new one. */
static int place_new(struct space *space, utap_addr addr, utap_addr lo, utap_addr hi, utap_addr *ret)
{
	size_t tried = 0;

	for (size_t i = space->npages; i-- > 0 && tried++ < PAGES_TRIED;)
		if (place_in(space, addr, (uint32_t)i, lo, hi, ret))
			return add_view(space, addr, (uint32_t)i);
	if (base_grow(&space->pages, &space->pages_cap, space->npages + 1, sizeof(*space->pages)))
		return -ENOMEM;
	space->pages[space->npages] = (struct space_page){ { 0 } };
	if (!place_in(space, addr, (uint32_t)space->npages, lo, hi, ret))
		return -ENOSPC;
	return add_view(space, addr, (uint32_t)space->npages++);
}

/*
 * The @i-th page tried for [lo, hi]. Not from the start of the window, whose low bits are those of the place itself: branch predictors look
 * at some 24 bits of an address, and an island that collides with the code it serves costs 7 ns a hit (docs/decisions/0005).
 */
static bool page_to_try(const struct process_maps *maps, utap_addr lo, utap_addr hi, unsigned i, utap_addr *ret)
{
	uint64_t step = base_align_up((hi - lo) / TRIES + 1, BASE_PAGE);
	unsigned first, last;

	*ret = base_align_down(lo, BASE_PAGE) + (i + TRIES / 3) % TRIES * step;
	return *ret <= hi && offsets(*ret, lo, hi, &first, &last) && process_maps_free_at(maps, *ret, BASE_PAGE);
}

static bool keep_to_user_half(utap_addr *lo, utap_addr *hi)
{
	if (*lo < USER_LOW)
		*lo = USER_LOW;
	if (*hi > USER_HIGH)
		*hi = USER_HIGH;
	return *lo <= *hi;
}

int space_place(struct space *space, const struct process_maps *maps, utap_addr lo, utap_addr hi, utap_addr *ret)
{
	utap_addr at;

	if (!keep_to_user_half(&lo, &hi))
		return -ENOSPC;
	for (size_t i = view_from(space, base_align_down(lo, BASE_PAGE)); i < space->count; i++) {
		if (space->views[i].addr > hi)
			break;
		if (place_in(space, space->views[i].addr, space->views[i].page, lo, hi, ret))
			return 0;
	}
	if (space->count >= space->limit)
		return -ENOSPC;
	for (unsigned i = 0; i < TRIES; i++)
		if (page_to_try(maps, lo, hi, i, &at) && !space_find(space, at))
			return place_new(space, at, lo, hi, ret);
	return -ENOSPC;
}

bool space_could(const struct process_maps *maps, utap_addr lo, utap_addr hi)
{
	utap_addr at;

	if (!keep_to_user_half(&lo, &hi))
		return false;
	for (unsigned i = 0; i < TRIES; i++)
		if (page_to_try(maps, lo, hi, i, &at))
			return true;
	return false;
}

/* ---- guarded distances ---- */

#define VIEWS_TRIED 24 /* existing pages looked at, besides those that took the last ones */

struct guard {
	utap_addr after;
	unsigned guarded;
	bool is_trap[256];
};

static struct guard make_guard(utap_addr after, unsigned guarded)
{
	struct guard guard = { .after = after, .guarded = guarded };
	size_t count;
	const uint8_t *traps = isa_traps(&count);

	for (size_t i = 0; i < count; i++)
		guard.is_trap[traps[i]] = true;
	return guard;
}

/* The first address in [at, last] whose distance is guarded; 0: none. A wrong byte is stepped over with all that it is the top of. */
static utap_addr next_guarded(const struct guard *guard, utap_addr at, utap_addr last)
{
	while (at <= last) {
		uint64_t distance = at - guard->after;
		int i = 3;

		while (i >= 0 && (!(guard->guarded >> i & 1) || guard->is_trap[distance >> 8 * i & 0xff]))
			i--;
		if (i < 0)
			return at;
		at += (1ULL << 8 * i) - (distance & ((1ULL << 8 * i) - 1));
	}
	return 0;
}

static bool is_reached(const struct guard *guard, utap_addr at)
{
	return (int64_t)(at - guard->after) == (int32_t)(at - guard->after);
}

/* In the page at @addr, which shows file page @index. */
static bool guarded_in(struct space *space, const struct guard *guard, utap_addr addr, uint32_t index, utap_addr *ret)
{
	struct space_page *page = &space->pages[index];
	utap_addr last = addr + BASE_PAGE - SPACE_ISLAND;

	if (!is_reached(guard, addr) || !is_reached(guard, last))
		return false;
	for (utap_addr at = addr; (at = next_guarded(guard, at, last));) {
		unsigned used = last_used(page, (unsigned)(at - addr));

		if (!used) {
			take(page, (unsigned)(at - addr));
			*ret = at;
			return true;
		}
		at += used;
	}
	return false;
}

static int guarded_new(struct space *space, const struct guard *guard, utap_addr addr, utap_addr *ret)
{
	size_t tried = 0;

	for (size_t i = space->npages; i-- > 0 && tried++ < PAGES_TRIED;)
		if (guarded_in(space, guard, addr, (uint32_t)i, ret))
			return add_view(space, addr, (uint32_t)i);
	if (base_grow(&space->pages, &space->pages_cap, space->npages + 1, sizeof(*space->pages)))
		return -ENOMEM;
	space->pages[space->npages] = (struct space_page){ { 0 } };
	if (!guarded_in(space, guard, addr, (uint32_t)space->npages, ret))
		return -ENOSPC;
	return add_view(space, addr, (uint32_t)space->npages++);
}

/* The top byte of a distance that need not be a trap: some hundred MiB up and down. */
static const uint8_t moderate[] = { 0xe8, 0x18, 0xe0, 0x20, 0xd8, 0x28, 0xf0, 0x10, 0xd0, 0x30, 0xc8, 0x38, 0xb8, 0x48, 0xa0, 0x60 };
/* The byte below: not the place's own low bits (docs/decisions/0005). */
static const uint8_t spread[] = { 0x60, 0xa0, 0x38, 0xc8 };

/* A free page with a guarded distance within 64 KiB from @from; 0: none. */
static utap_addr free_page(const struct process_maps *maps, const struct space *space, const struct guard *guard, utap_addr from)
{
	utap_addr end = from + 0xffff;

	for (utap_addr page = base_align_up(from, BASE_PAGE); page + BASE_PAGE <= end; page += BASE_PAGE)
		if (page >= USER_LOW && page < USER_HIGH && next_guarded(guard, page, page + BASE_PAGE - SPACE_ISLAND) &&
		    !(space && space_find(space, page)) && process_maps_free_at(maps, page, BASE_PAGE))
			return page;
	return 0;
}

static utap_addr find_guarded(const struct process_maps *maps, const struct space *space, const struct guard *guard)
{
	size_t ntraps;
	const uint8_t *traps = isa_traps(&ntraps);
	const uint8_t *tops = guard->guarded & 8 ? traps : moderate;
	const uint8_t *thirds = guard->guarded & 4 ? traps : spread;
	size_t ntops = guard->guarded & 8 ? ntraps : sizeof(moderate);
	size_t nthirds = guard->guarded & 4 ? ntraps : sizeof(spread);

	for (size_t i = 0; i < ntops; i++)
		for (size_t j = 0; j < nthirds; j++) {
			int32_t distance = (int32_t)((uint32_t)tops[i] << 24 | (uint32_t)thirds[j] << 16);
			utap_addr page = free_page(maps, space, guard, guard->after + (uint64_t)(int64_t)distance);

			if (page)
				return page;
		}
	return 0;
}

int space_place_guarded(struct space *space, const struct process_maps *maps, utap_addr after, unsigned guarded, utap_addr *ret)
{
	struct guard guard = make_guard(after, guarded);
	size_t tried = 0;
	utap_addr page;

	for (size_t i = 0; i < SPACE_RECENT; i++) {
		const struct space_view *view = space->recent[i] ? space_find(space, space->recent[i]) : NULL;

		if (view && guarded_in(space, &guard, view->addr, view->page, ret))
			return 0;
	}
	for (size_t i = view_from(space, after > 1ULL << 31 ? after - (1ULL << 31) : 0); i < space->count && tried++ < VIEWS_TRIED; i++)
		if (guarded_in(space, &guard, space->views[i].addr, space->views[i].page, ret))
			return 0;
	if (space->count >= space->limit)
		return -ENOSPC;
	page = find_guarded(maps, space, &guard);
	if (!page)
		return -ENOSPC;
	space->recent[space->next_recent++ % SPACE_RECENT] = page;
	return guarded_new(space, &guard, page, ret);
}

bool space_could_guarded(const struct process_maps *maps, utap_addr after, unsigned guarded)
{
	struct guard guard = make_guard(after, guarded);

	return find_guarded(maps, NULL, &guard) != 0;
}
