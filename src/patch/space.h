/* SPDX-License-Identifier: MIT */
/*
 * Islands: the places that punned jumps land on. A punned jump cannot choose its target freely, so each may need a page of its
 * own; many such pages show one page of the memory file, at whose different offsets their islands lie.
 */
#ifndef PATCH_SPACE_H
#define PATCH_SPACE_H

#include "process/process.h"

#define SPACE_ISLAND 14 /* bytes of an island: an indirect jump and its address */
#define SPACE_WORDS (BASE_PAGE / 64)

struct space_view {  /* a page of the target */
	utap_addr addr;
	uint32_t page;   /* index of the file page it shows */
	bool mapped;     /* done by an earlier setup */
};

struct space_page {  /* a page of the memory file: one bit a byte */
	uint64_t used[SPACE_WORDS];
};

#define SPACE_RECENT 8
struct space {
	struct space_view *views; /* sorted by address */
	size_t count, cap;
	struct space_page *pages;
	size_t npages, pages_cap;
	size_t limit;             /* most views we may make */
	utap_addr recent[SPACE_RECENT]; /* the last pages made for guarded distances: tried first */
	size_t next_recent;
};

void space_deinit(struct space *space);

/**
 * space_place() - room for an island whose address lies in [lo, hi]
 * @maps: what the target maps
 * Return: 0 and *ret; -ENOSPC when the window is taken or the limit is reached; -ENOMEM.
 */
int space_place(struct space *space, const struct process_maps *maps, utap_addr lo, utap_addr hi,
		utap_addr *ret) BASE_MUST_CHECK;

/**
 * space_place_guarded() - room for an island for a jump that ends at @after and whose distance has a trap in each byte that @guarded names
 * @guarded: bit i: byte i of the distance
 * Return: as space_place().
 */
int space_place_guarded(struct space *space, const struct process_maps *maps, utap_addr after, unsigned guarded,
			utap_addr *ret) BASE_MUST_CHECK;

/** space_could(), space_could_guarded() - would there be room, were no other island there? Takes nothing. */
bool space_could(const struct process_maps *maps, utap_addr lo, utap_addr hi);
bool space_could_guarded(const struct process_maps *maps, utap_addr after, unsigned guarded);

/** space_release() - the island that space_place() put at @addr is not needed; its page stays reserved */
void space_release(struct space *space, utap_addr addr);

/** space_drop() - forget the view at @addr: it is not mapped */
void space_drop(struct space *space, utap_addr addr);

/** space_find() - the view that holds @addr, or NULL */
struct space_view *space_find(const struct space *space, utap_addr addr);

#endif
