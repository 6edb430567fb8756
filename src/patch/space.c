/* SPDX-License-Identifier: MIT */
#include "patch/space.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

int space_place(struct space *space, const struct process_maps *maps, utap_addr lo, utap_addr hi, utap_addr *ret)
{
	uint64_t step;

	if (lo < USER_LOW)
		lo = USER_LOW;
	if (hi > USER_HIGH)
		hi = USER_HIGH;
	if (lo > hi)
		return -ENOSPC;
	for (size_t i = view_from(space, base_align_down(lo, BASE_PAGE)); i < space->count; i++) {
		if (space->views[i].addr > hi)
			break;
		if (place_in(space, space->views[i].addr, space->views[i].page, lo, hi, ret))
			return 0;
	}
	if (space->count >= space->limit)
		return -ENOSPC;
	/*
	 * Not from the start of the window, whose low bits are those of the place itself: branch predictors look at some 24 bits of an
	 * address, and an island that collides with the code it serves costs 7 ns a hit (docs/decisions/0005).
	 */
	step = base_align_up((hi - lo) / TRIES + 1, BASE_PAGE);
	for (unsigned i = 0; i < TRIES; i++) {
		utap_addr at = base_align_down(lo, BASE_PAGE) + (i + TRIES / 3) % TRIES * step;
		unsigned first, last;

		if (at > hi || space_find(space, at) || !offsets(at, lo, hi, &first, &last) ||
		    !process_maps_free_at(maps, at, BASE_PAGE))
			continue;
		return place_new(space, at, lo, hi, ret);
	}
	return -ENOSPC;
}
