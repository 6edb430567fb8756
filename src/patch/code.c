/* SPDX-License-Identifier: MIT */
/*
 * What is known about code: decoding, and the questions about single places. Bitmaps a segment; whole modules are
 * decoded, so the loop over them is kept tight, and only notes what flow.c and tables.c look at when they are asked.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "isa/flow.h"
#include "patch/code_inside.h"

#define PADDING_MAX 64

struct code_segment *code_segment_of(const struct patch_code *code, uint64_t vaddr)
{
	for (size_t i = 0; i < code->count; i++)
		if (vaddr >= code->segments[i].start && vaddr < code->segments[i].end)
			return &code->segments[i];
	return NULL;
}

size_t code_above(const void *records, size_t count, size_t size, uint64_t key)
{
	const uint8_t *bytes = records;
	size_t low = 0;

	while (low < count) {
		size_t middle = low + (count - low) / 2;
		uint64_t value;

		memcpy(&value, bytes + middle * size, sizeof(value));
		if (value > key)
			count = middle;
		else
			low = middle + 1;
	}
	return low;
}

size_t code_symbol_from(const struct patch_code *code, uint64_t vaddr)
{
	const uint8_t *vaddrs = (const uint8_t *)code->symbols + offsetof(struct object_symbol, vaddr);

	return vaddr ? code_above(vaddrs, code->nsymbols, sizeof(*code->symbols), vaddr - 1) : 0;
}

size_t code_range_of(const struct patch_code *code, uint64_t vaddr)
{
	size_t above = code_above(code->ranges, code->nranges, sizeof(*code->ranges), vaddr);

	return above && vaddr < code->ranges[above - 1].end ? above - 1 : CODE_NO_RANGE;
}

void code_mark_target(const struct patch_code *code, uint64_t vaddr)
{
	struct code_segment *segment = code_segment_of(code, vaddr);

	if (segment)
		code_set_bit(segment->targets, vaddr - segment->start);
}

static void mark_entry(struct patch_code *code, uint64_t vaddr)
{
	struct code_segment *segment = code_segment_of(code, vaddr);

	if (segment)
		code_set_bit(segment->entries, vaddr - segment->start);
}

static void set_bits(uint64_t *map, uint64_t from, uint64_t to)
{
	while (from < to && (from & 63))
		code_set_bit(map, from++);
	for (; from + 64 <= to; from += 64)
		map[from >> 6] = ~0ULL;
	while (from < to)
		code_set_bit(map, from++);
}

static int note_cross(struct patch_code *code, uint64_t from, uint64_t to)
{
	if (base_grow(&code->cross, &code->cross_cap, code->ncross + 1, sizeof(*code->cross)))
		return -ENOMEM;
	code->cross[code->ncross++] = (struct code_cross) { .from = from, .to = to };
	return 0;
}

static int note_indirect(struct patch_code *code, uint64_t at)
{
	if (base_grow(&code->indirect, &code->indirect_cap, code->nindirect + 1, sizeof(*code->indirect)))
		return -ENOMEM;
	code->indirect[code->nindirect++] = at;
	return 0;
}

/* A jump or call at @at inside @range to @to. */
static int note_direct(struct patch_code *code, const struct object_range *range, enum isa_lead lead, uint64_t at,
		       uint64_t to)
{
	code_mark_target(code, to);
	if (lead == ISA_LEAD_CALL)
		mark_entry(code, to);
	else if (to < range->start || to >= range->end)
		return note_cross(code, at, to);
	return 0;
}

/* Only files linked to a fixed address have code pointers as plain numbers. */
static void note_address(struct patch_code *code, enum isa_lead lead, uint64_t address)
{
	if (lead == ISA_LEAD_ADDRESS || (lead == ISA_LEAD_NUMBER && !object_is_pie(code->object)))
		mark_entry(code, address);
}

/* Decode @range linearly; stop at what is no instruction: everything after it is unknown. */
static int decode_range(struct patch_code *code, const struct object_range *range)
{
	struct code_segment *segment = code_segment_of(code, range->start);
	size_t available;
	const uint8_t *bytes = object_code(code->object, range->start, &available);
	uint64_t end = range->end;
	uint64_t at = range->start;
	unsigned before = 0; /* length of the last instruction */
	int error = 0;

	if (!segment || !bytes)
		return 0;
	end = end < segment->end ? end : segment->end;
	end = end - at < available ? end : at + available;
	while (at < end && !error) {
		const uint8_t *here = bytes + (at - range->start);
		bool has_target = false;
		utap_addr address;
		int length = isa_step(here, end - at, at, &has_target, &address);

		if (length <= 0)
			break;
		code_set_bit(segment->starts, at - segment->start);
		enum isa_lead lead = isa_lead(here, (unsigned)length, at, has_target, &address);

		if (has_target)
			error = note_direct(code, range, lead, at, address);
		else if (lead == ISA_LEAD_JUMP_INDIRECT ||
			 (lead == ISA_LEAD_RETURN && isa_makes_return(here - before, before)))
			error = note_indirect(code, at);
		else if (lead != ISA_LEAD_ON)
			note_address(code, lead, address);
		before = (unsigned)length;
		at += (uint64_t)length;
	}
	set_bits(segment->known, range->start - segment->start, at - segment->start);
	return error;
}

static int add_segments(struct patch_code *code)
{
	const struct object_segment *segments;
	size_t count = object_segments(code->object, &segments);

	code->segments = calloc(count ? count : 1, sizeof(*code->segments));
	if (!code->segments)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		struct code_segment *segment = &code->segments[code->count];
		size_t words = segments[i].file_size / 64 + 1;

		if (!segments[i].execute || !segments[i].file_size)
			continue;
		*segment = (struct code_segment) {
			.start = segments[i].vaddr,
			.end = segments[i].vaddr + segments[i].file_size,
			.starts = calloc(words, 8),
			.targets = calloc(words, 8),
			.known = calloc(words, 8),
			.entries = calloc(words, 8),
		};
		code->count++;
		if (!segment->starts || !segment->targets || !segment->known || !segment->entries)
			return -ENOMEM;
	}
	return 0;
}

static void find_cancel_range(struct patch_code *code)
{
	for (size_t i = 0; i < code->nsymbols; i++) {
		if (!strcmp(code->symbols[i].name, "__syscall_cancel_arch_start"))
			code->cancel.start = code->symbols[i].vaddr;
		if (!strcmp(code->symbols[i].name, "__syscall_cancel_arch_end"))
			code->cancel.end = code->symbols[i].vaddr;
	}
}

static int by_first(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left;
	uint64_t b = *(const uint64_t *)right;

	return a < b ? -1 : a > b;
}

void code_sort(void *records, size_t count, size_t size)
{
	if (count)
		qsort(records, count, size, by_first);
}

/* The ranges, and functions with a size outside of them. */
static int add_symbol_ranges(struct patch_code *code)
{
	struct object_range *ranges = malloc((code->nranges + code->nsymbols + 1) * sizeof(*ranges));
	size_t count = code->nranges;
	int error = 0;

	if (!ranges)
		return -ENOMEM;
	code->own_ranges = ranges;
	if (count)
		memcpy(ranges, code->ranges, count * sizeof(*ranges));
	for (size_t i = 0; i < code->nsymbols && !error; i++) {
		const struct object_symbol *symbol = &code->symbols[i];
		const struct object_range range = { symbol->vaddr, symbol->vaddr + symbol->size };

		if (!symbol->function || range.end <= range.start || patch_code_is_known(code, symbol->vaddr))
			continue;
		error = decode_range(code, &range);
		ranges[count++] = range;
	}
	code_sort(ranges, count, sizeof(*ranges));
	code->ranges = ranges;
	code->nranges = count;
	return error;
}

static void clear_bit(uint64_t *map, uint64_t i)
{
	map[i >> 6] &= ~(1ULL << (i & 63));
}

/* Take the int3 off its end that nothing leads to. */
static void trim_range(struct patch_code *code, struct object_range *range)
{
	struct code_segment *segment = code_segment_of(code, range->start);
	size_t available;
	const uint8_t *bytes = object_code(code->object, range->start, &available);

	if (!segment || range->end > segment->end || !bytes)
		return;
	while (range->end > range->start + 1) {
		uint64_t last = range->end - 1 - segment->start;

		if (bytes[range->end - 1 - range->start] != 0xcc || !code_bit(segment->starts, last) ||
		    code_bit(segment->targets, last) || code_bit(segment->entries, last))
			break;
		clear_bit(segment->starts, last);
		clear_bit(segment->known, last);
		range->end--;
	}
}

/* Go's table of functions has no ends: the padding up to the next one counts as code there. */
static int trim_go_ranges(struct patch_code *code)
{
	if (!code->is_go)
		return 0;
	if (!code->own_ranges) {
		code->own_ranges = malloc((code->nranges + 1) * sizeof(*code->own_ranges));
		if (!code->own_ranges)
			return -ENOMEM;
		if (code->nranges)
			memcpy(code->own_ranges, code->ranges, code->nranges * sizeof(*code->own_ranges));
		code->ranges = code->own_ranges;
	}
	for (size_t i = 0; i < code->nranges; i++)
		trim_range(code, &code->own_ranges[i]);
	return 0;
}

static int build(struct patch_code *code, bool allow_no_frame, struct utap_error *err)
{
	int error = add_segments(code);

	if (!error)
		error = object_ranges(code->object, &code->ranges, &code->nranges, err);
	if (!error)
		error = object_rseq_ranges(code->object, &code->rseq, &code->nrseq, err);
	if (!error)
		error = object_symbols(code->object, &code->symbols, &code->nsymbols, err);
	if (!error)
		error = object_pointers(code->object, &code->pointers, &code->npointers, err);
	for (size_t i = 0; !error && i < code->nranges; i++)
		error = decode_range(code, &code->ranges[i]);
	if (!error && allow_no_frame)
		error = add_symbol_ranges(code);
	if (error)
		return error;
	find_cancel_range(code);
	for (size_t i = 0; i < code->npointers; i++)
		code_mark_target(code, code->pointers[i]);
	error = trim_go_ranges(code);
	if (error)
		return error;
	code_sort(code->cross, code->ncross, sizeof(*code->cross));
	code_sort(code->indirect, code->nindirect, sizeof(*code->indirect));
	code->lazy->states = calloc(code->nranges + 1, sizeof(*code->lazy->states));
	code->lazy->like_functions = calloc(code->nranges + 1, sizeof(*code->lazy->like_functions));
	return code->lazy->states && code->lazy->like_functions ? 0 : -ENOMEM;
}

int patch_code_create(struct object *object, bool allow_no_frame, struct patch_code **ret, struct utap_error *err)
{
	struct patch_code *code = calloc(1, sizeof(*code));
	struct code_lazy *lazy = calloc(1, sizeof(*lazy));
	int error = -ENOMEM;

	if (code && lazy) {
		code->object = object;
		code->lazy = lazy;
		code->is_go = object_is_go(object);
		lazy = NULL;
		error = build(code, allow_no_frame, err);
	}
	if (error) {
		free(lazy);
		patch_code_destroy(code);
		return error == -ENOMEM
			   ? base_error_system(err, error, "cannot look at the code of %s", object_path(object))
			   : error;
	}
	*ret = code;
	return 0;
}

void patch_code_destroy(struct patch_code *code)
{
	if (!code)
		return;
	for (size_t i = 0; i < code->count; i++) {
		free(code->segments[i].starts);
		free(code->segments[i].targets);
		free(code->segments[i].known);
		free(code->segments[i].entries);
	}
	free(code->segments);
	free(code->own_ranges);
	free(code->cross);
	free(code->indirect);
	if (code->lazy) {
		free(code->lazy->incoming);
		free(code->lazy->states);
		free(code->lazy->like_functions);
		free(code->lazy->slots);
		gostack_destroy(code->lazy->stack);
	}
	free(code->lazy);
	free(code);
}

struct object *patch_code_object(const struct patch_code *code)
{
	return code->object;
}

bool patch_code_is_start(const struct patch_code *code, uint64_t vaddr)
{
	const struct code_segment *segment = code_segment_of(code, vaddr);

	return segment && code_bit(segment->starts, vaddr - segment->start);
}

bool patch_code_is_known(const struct patch_code *code, uint64_t vaddr)
{
	const struct code_segment *segment = code_segment_of(code, vaddr);

	return segment && code_bit(segment->known, vaddr - segment->start);
}

bool code_called(const struct patch_code *code, uint64_t vaddr)
{
	const struct code_segment *segment = code_segment_of(code, vaddr);

	return segment && code_bit(segment->entries, vaddr - segment->start);
}

bool code_pointed(const struct patch_code *code, uint64_t vaddr)
{
	size_t above = code_above(code->pointers, code->npointers, sizeof(*code->pointers), vaddr);

	return above && code->pointers[above - 1] == vaddr;
}

enum isa_lead code_lead_at(const struct patch_code *code, uint64_t vaddr, unsigned *length, uint64_t *target)
{
	size_t available;
	const uint8_t *bytes = object_code(code->object, vaddr, &available);
	bool has_target = false;
	int measured = bytes ? isa_step(bytes, available, vaddr, &has_target, target) : 0;
	uint64_t ignored;

	*length = measured > 0 ? (unsigned)measured : 0;
	return *length ? isa_lead(bytes, *length, vaddr, has_target, &ignored) : ISA_LEAD_ON;
}

/* Is the instruction that ends at @vaddr a call? */
static bool follows_call(const struct patch_code *code, uint64_t vaddr)
{
	uint64_t before = vaddr ? patch_code_start_before(code, vaddr - 1) : 0;
	unsigned length;
	uint64_t ignored;
	enum isa_lead lead = code_lead_at(code, before, &length, &ignored);

	return before + length == vaddr && (lead == ISA_LEAD_CALL || lead == ISA_LEAD_CALL_INDIRECT);
}

bool patch_code_is_entry(const struct patch_code *code, uint64_t vaddr)
{
	return code_called(code, vaddr) || code_pointed(code, vaddr);
}

bool patch_code_is_target(const struct patch_code *code, uint64_t vaddr)
{
	const struct code_segment *segment = code_segment_of(code, vaddr);

	if (!segment)
		return false;
	(void)patch_code_flow_known(code, vaddr); /* marks what jump tables lead to */
	if (code_bit(segment->targets, vaddr - segment->start))
		return true;
	/* Only an instruction can follow a call, or be meant by a constant. */
	return patch_code_is_start(code, vaddr) && (code_called(code, vaddr) || follows_call(code, vaddr));
}

bool patch_code_has_inner_target(const struct patch_code *code, uint64_t vaddr, unsigned length)
{
	const struct code_segment *segment = code_segment_of(code, vaddr);

	for (uint64_t at = vaddr + 1; segment && at < vaddr + length && at < segment->end; at++) {
		if (code_bit(segment->targets, at - segment->start))
			return true;
		/* Jump tables and calls lead to instructions only. */
		if (code_bit(segment->starts, at - segment->start) && patch_code_is_target(code, at))
			return true;
	}
	return false;
}

uint64_t patch_code_start_before(const struct patch_code *code, uint64_t vaddr)
{
	for (unsigned i = 0; i < ISA_INSN_MAX && i <= vaddr; i++)
		if (patch_code_is_start(code, vaddr - i))
			return vaddr - i;
	return 0;
}

uint64_t patch_code_start_after(const struct patch_code *code, uint64_t vaddr)
{
	for (unsigned i = 1; i <= ISA_INSN_MAX; i++)
		if (patch_code_is_start(code, vaddr + i))
			return vaddr + i;
	return 0;
}

/*
 * Does the code before @gap stop there? Padding is run through where it does not: glibc's __memcpy_chk compares, branches away or runs on over
 * nops into memcpy.
 */
static bool stops_before(const struct patch_code *code, uint64_t gap)
{
	uint64_t last = patch_code_start_before(code, gap - 1);
	bool has_target = false;
	utap_addr target = 0;
	size_t available;
	const uint8_t *bytes = last ? object_code(code->object, last, &available) : NULL;
	int length = bytes ? isa_step(bytes, available, last, &has_target, &target) : -EILSEQ;

	if (length <= 0 || last + (uint64_t)length != gap)
		return false;
	switch (isa_lead(bytes, (unsigned)length, last, has_target, &target)) {
	case ISA_LEAD_JUMP:
	case ISA_LEAD_JUMP_INDIRECT:
	case ISA_LEAD_RETURN:
	case ISA_LEAD_TRAP:
		return true;
	case ISA_LEAD_CALL: /* it may return */
	case ISA_LEAD_CALL_INDIRECT:
	case ISA_LEAD_ON:
	case ISA_LEAD_BRANCH:
	case ISA_LEAD_ADDRESS:
	case ISA_LEAD_NUMBER:
		break;
	}
	return false;
}

/* Padding is nops, int3 and zeros that nothing leads to. */
static bool is_dead(const struct patch_code *code, uint64_t from, uint64_t to)
{
	const struct code_segment *segment = code_segment_of(code, from);
	const uint8_t *bytes;
	size_t available;

	if (!segment || to > segment->end)
		return false;
	for (uint64_t at = from; at < to; at++)
		if (code_bit(segment->targets, at - segment->start) || code_bit(segment->known, at - segment->start))
			return false;
	bytes = object_code(code->object, from, &available);
	return bytes && available >= to - from && isa_is_padding(bytes, to - from);
}

static uint64_t distance(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

uint64_t patch_code_padding(const struct patch_code *code, uint64_t near, uint64_t from, uint64_t to, unsigned size,
			    bool (*taken)(const void *arg, uint64_t vaddr, unsigned size), const void *arg)
{
	size_t next = code_above(code->ranges, code->nranges, sizeof(*code->ranges), from);
	uint64_t best = 0;

	/* Gaps lie before ranges[next], ranges[next + 1] .. */
	for (; next > 0 && next < code->nranges && code->ranges[next - 1].end <= to; next++) {
		uint64_t gap = code->ranges[next - 1].end;
		uint64_t end = code->ranges[next].start;

		if (gap >= end || end - gap > PADDING_MAX || end - gap < size || !stops_before(code, gap) || !is_dead(code, gap, end))
			continue;
		for (uint64_t at = gap < from ? from : gap; at <= to && at + size <= end; at++)
			if ((!best || distance(at, near) < distance(best, near)) && (!taken || !taken(arg, at, size)))
				best = at;
	}
	return best;
}

static bool overlaps(const struct object_range *range, uint64_t vaddr, unsigned length)
{
	return vaddr < range->end && vaddr + length > range->start;
}

/*
 * Go's runtime makes panics of faults, and finds out by the address where that was. At the first instruction of a function it finds the
 * caller; of a copy elsewhere it knows nothing, and ends the program. r14 holds the goroutine.
 */
static bool is_looked_up(const struct patch_code *code, uint64_t vaddr)
{
	const struct object_range *range = code->is_go ? object_range_at(code->object, vaddr) : NULL;
	size_t available;
	const uint8_t *bytes = range && range->start != vaddr ? object_code(code->object, vaddr, &available) : NULL;
	struct isa_insn insn;

	return bytes && !isa_decode(bytes, available < ISA_INSN_MAX ? available : ISA_INSN_MAX, vaddr, &insn) &&
	       isa_may_fault(&insn, 1U << 14);
}

const char *patch_code_lacks_stack(const struct patch_code *code, uint64_t vaddr, unsigned needed)
{
	if (!code->is_go)
		return NULL;
	if (!code->lazy->stack) {
		int error = gostack_create(code->object, &code->lazy->stack);

		if (error)
			return error == -ENOENT ? NULL : "out of memory";
	}
	return gostack_why_not(code->lazy->stack, vaddr, needed);
}

const char *patch_code_forbidden(const struct patch_code *code, uint64_t vaddr, unsigned length)
{
	static const uint8_t restorer[] = { 0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05 };
	size_t available;
	const uint8_t *bytes = object_code(code->object, vaddr, &available);

	/* The instruction just before a section arms it: moved away, it would be interrupted outside. */
	for (size_t i = 0; i < code->nrseq; i++)
		if (overlaps(&code->rseq[i], vaddr, length + 1))
			return "it lies in a restartable sequence (rseq) of the program";
	if (code->cancel.end > code->cancel.start && overlaps(&code->cancel, vaddr, length))
		return "it lies in libc's cancellable system call, whose addresses libc compares";
	if (bytes && available >= sizeof(restorer) && !memcmp(bytes, restorer, sizeof(restorer)))
		return "it is the signal restorer, whose bytes unwinders recognise";
	if (bytes && available >= 2 && vaddr >= 7 && bytes[0] == 0x0f && bytes[1] == 0x05) {
		const uint8_t *before = object_code(code->object, vaddr - 7, &available);

		if (before && !memcmp(before, restorer, sizeof(restorer)))
			return "it is the signal restorer, whose bytes unwinders recognise";
	}
	if (is_looked_up(code, vaddr))
		return "it may fault, and Go's runtime must then know where it is";
	return NULL;
}
