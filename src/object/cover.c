/* SPDX-License-Identifier: MIT */
/*
 * Which function holds an address. Symbols nest and overlap; here they are cut once into ranges that do not, the latest
 * start winning, so that a question is one binary search.
 */
#include <errno.h>
#include <stdlib.h>

#include "object/internal.h"

struct open_symbol {
	uint64_t end;
	uint32_t symbol;
};

struct sweep {
	struct object_cover *covers; /* room for two a function */
	size_t count;
	struct open_symbol *stack; /* room for all functions; the last to start is on top */
	size_t depth;
};

static void cover_emit(struct sweep *sweep, uint64_t start, uint32_t symbol)
{
	if (sweep->count && sweep->covers[sweep->count - 1].start == start)
		sweep->count--;
	sweep->covers[sweep->count++] = (struct object_cover) { .start = start, .symbol = symbol };
}

/* Close what ends at @limit or before; what lies below goes on. */
static void sweep_close(struct sweep *sweep, uint64_t limit)
{
	while (sweep->depth && sweep->stack[sweep->depth - 1].end <= limit) {
		uint64_t end = sweep->stack[sweep->depth - 1].end;

		while (sweep->depth && sweep->stack[sweep->depth - 1].end <= end)
			sweep->depth--;
		cover_emit(sweep, end, sweep->depth ? sweep->stack[sweep->depth - 1].symbol : OBJECT_NO_SYMBOL);
	}
}

static uint64_t symbol_end(const struct object *object, const struct object_symbol *symbol, uint64_t next)
{
	const struct object_segment *segment = object_segment_at(object, symbol->vaddr);
	uint64_t limit = segment->vaddr + segment->memory_size;
	uint64_t wanted = symbol->size ? symbol->vaddr + symbol->size : next;

	return wanted > symbol->vaddr && wanted < limit ? wanted : limit;
}

/*
 * The functions of one vaddr, [first, last): the least preferred at the bottom. One without a size only speaks when
 * none has a size.
 */
static void sweep_group(const struct object *object, struct sweep *sweep, size_t first, size_t last, uint64_t next)
{
	bool sized = false;

	for (size_t i = first; i < last; i++)
		sized |= object->symbols[i].function && object->symbols[i].size;
	for (size_t i = last; i-- > first;) {
		const struct object_symbol *symbol = &object->symbols[i];

		if (!symbol->function || (sized && !symbol->size))
			continue;
		uint64_t end = symbol_end(object, symbol, next);

		sweep_close(sweep, symbol->vaddr);
		sweep->stack[sweep->depth++] = (struct open_symbol) { .end = end, .symbol = (uint32_t)i };
		cover_emit(sweep, symbol->vaddr, (uint32_t)i);
	}
}

static size_t group_end(const struct object *object, size_t first)
{
	size_t last = first;

	while (last < object->symbol_count && object->symbols[last].vaddr == object->symbols[first].vaddr)
		last++;
	return last;
}

/* The vaddr of the first function from index @from on. */
static uint64_t next_function(const struct object *object, size_t from)
{
	while (from < object->symbol_count && !object->symbols[from].function)
		from++;
	return from < object->symbol_count ? object->symbols[from].vaddr : UINT64_MAX;
}

static int covers_build(struct object *object)
{
	size_t count = object->symbol_count;
	_cleanup_free_ struct open_symbol *stack = malloc((count + 1) * sizeof(*stack));
	struct sweep sweep = { .covers = malloc((2 * count + 1) * sizeof(*sweep.covers)), .stack = stack };
	uint64_t next = 0;

	if (!stack || !sweep.covers) {
		free(sweep.covers);
		return -ENOMEM;
	}
	for (size_t first = 0, last; first < count; first = last) {
		last = group_end(object, first);
		if (next <= object->symbols[first].vaddr)
			next = next_function(object, last);
		sweep_group(object, &sweep, first, last, next);
	}
	sweep_close(&sweep, UINT64_MAX);
	object->covers = sweep.covers;
	object->cover_count = sweep.count;
	return 0;
}

const struct object_symbol *object_symbol_at(struct object *object, uint64_t vaddr)
{
	const struct object_symbol *symbols;
	size_t low = 0;
	size_t high;

	if (object_symbols(object, &symbols, &high, NULL) || (!object->covers && covers_build(object)))
		return NULL;
	/* Invariant: covers below low start at or before vaddr, those from high on start after it. */
	for (high = object->cover_count; low < high;) {
		size_t middle = low + (high - low) / 2;

		if (object->covers[middle].start <= vaddr)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || object->covers[low - 1].symbol == OBJECT_NO_SYMBOL)
		return NULL;
	return &symbols[object->covers[low - 1].symbol];
}
