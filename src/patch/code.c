/* SPDX-License-Identifier: MIT */
/* Two bitmaps a segment: instruction starts and targets. Whole modules are decoded, so the loop over them is kept tight. */
#include "patch/code.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PADDING_MAX 64

struct code_segment {
	uint64_t start, end; /* vaddr */
	uint64_t *starts;    /* one bit a byte */
	uint64_t *targets;
	uint64_t *known;     /* decoded bytes */
};

struct patch_code {
	struct object *object;
	struct code_segment *segments;
	size_t count;
	const struct object_range *ranges; /* frame entries */
	size_t nranges;
	const struct object_range *rseq;
	size_t nrseq;
	struct object_range cancel; /* glibc's cancellable system call, empty when unknown */
};

static bool bit(const uint64_t *map, uint64_t i) { return map[i >> 6] >> (i & 63) & 1; }
static void set_bit(uint64_t *map, uint64_t i) { map[i >> 6] |= 1ULL << (i & 63); }

static struct code_segment *segment_of(const struct patch_code *code, uint64_t vaddr)
{
	for (size_t i = 0; i < code->count; i++)
		if (vaddr >= code->segments[i].start && vaddr < code->segments[i].end)
			return &code->segments[i];
	return NULL;
}

static void mark_target(struct patch_code *code, uint64_t vaddr)
{
	struct code_segment *segment = segment_of(code, vaddr);

	if (segment)
		set_bit(segment->targets, vaddr - segment->start);
}

static void set_bits(uint64_t *map, uint64_t from, uint64_t to)
{
	while (from < to && (from & 63))
		set_bit(map, from++);
	for (; from + 64 <= to; from += 64)
		map[from >> 6] = ~0ULL;
	while (from < to)
		set_bit(map, from++);
}

/* Decode [start, end) linearly; stop at what is no instruction: everything after it is unknown. */
static void decode_range(struct patch_code *code, uint64_t start, uint64_t end)
{
	struct code_segment *segment = segment_of(code, start);
	const uint8_t *bytes;
	size_t available;
	uint64_t at = start;

	if (!segment)
		return;
	bytes = object_code(code->object, start, &available);
	if (!bytes)
		return;
	if (end > segment->end)
		end = segment->end;
	if (end - start > available)
		end = start + available;
	while (at < end) {
		bool has_target = false;
		utap_addr target;
		int length = isa_step(bytes + (at - start), end - at, at, &has_target, &target);

		if (length <= 0)
			break;
		set_bit(segment->starts, at - segment->start);
		if (has_target)
			mark_target(code, target);
		at += (uint64_t)length;
	}
	set_bits(segment->known, start - segment->start, at - segment->start);
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
		*segment = (struct code_segment){
			.start = segments[i].vaddr,
			.end = segments[i].vaddr + segments[i].file_size,
			.starts = calloc(words, 8),
			.targets = calloc(words, 8),
			.known = calloc(words, 8),
		};
		code->count++;
		if (!segment->starts || !segment->targets || !segment->known)
			return -ENOMEM;
	}
	return 0;
}

static void find_cancel_range(struct patch_code *code, const struct object_symbol *symbols, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (!strcmp(symbols[i].name, "__syscall_cancel_arch_start"))
			code->cancel.start = symbols[i].vaddr;
		if (!strcmp(symbols[i].name, "__syscall_cancel_arch_end"))
			code->cancel.end = symbols[i].vaddr;
	}
}

static void decode_symbols(struct patch_code *code, const struct object_symbol *symbols, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (symbols[i].function && symbols[i].size && !patch_code_is_known(code, symbols[i].vaddr))
			decode_range(code, symbols[i].vaddr, symbols[i].vaddr + symbols[i].size);
}

static int build(struct patch_code *code, bool allow_no_frame, struct utap_error *err)
{
	const struct object_symbol *symbols;
	const uint64_t *pointers;
	size_t count;
	int error = add_segments(code);

	if (!error)
		error = object_ranges(code->object, &code->ranges, &code->nranges, err);
	if (!error)
		error = object_rseq_ranges(code->object, &code->rseq, &code->nrseq, err);
	if (error)
		return error;
	for (size_t i = 0; i < code->nranges; i++)
		decode_range(code, code->ranges[i].start, code->ranges[i].end);
	error = object_symbols(code->object, &symbols, &count, err);
	if (error)
		return error;
	find_cancel_range(code, symbols, count);
	if (allow_no_frame)
		decode_symbols(code, symbols, count);
	error = object_pointers(code->object, &pointers, &count, err);
	for (size_t i = 0; !error && i < count; i++)
		mark_target(code, pointers[i]);
	return error;
}

int patch_code_create(struct object *object, bool allow_no_frame, struct patch_code **ret, struct utap_error *err)
{
	struct patch_code *code = calloc(1, sizeof(*code));
	int error;

	if (!code)
		return base_error_system(err, -ENOMEM, "cannot look at the code of %s", object_path(object));
	code->object = object;
	error = build(code, allow_no_frame, err);
	if (error) {
		patch_code_destroy(code);
		return error;
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
	}
	free(code->segments);
	free(code);
}

struct object *patch_code_object(const struct patch_code *code) { return code->object; }

bool patch_code_is_start(const struct patch_code *code, uint64_t vaddr)
{
	const struct code_segment *segment = segment_of(code, vaddr);

	return segment && bit(segment->starts, vaddr - segment->start);
}

bool patch_code_is_known(const struct patch_code *code, uint64_t vaddr)
{
	const struct code_segment *segment = segment_of(code, vaddr);

	return segment && bit(segment->known, vaddr - segment->start);
}

bool patch_code_has_inner_target(const struct patch_code *code, uint64_t vaddr, unsigned length)
{
	const struct code_segment *segment = segment_of(code, vaddr);

	for (unsigned i = 1; segment && i < length && vaddr + i < segment->end; i++)
		if (bit(segment->targets, vaddr + i - segment->start))
			return true;
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

/* Index of the first frame entry that starts above @vaddr. */
static size_t range_above(const struct patch_code *code, uint64_t vaddr)
{
	size_t low = 0;
	size_t high = code->nranges;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (code->ranges[middle].start > vaddr)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static bool is_dead(const struct patch_code *code, uint64_t from, uint64_t to)
{
	const struct code_segment *segment = segment_of(code, from);
	const uint8_t *bytes;
	size_t available;

	if (!segment || to > segment->end)
		return false;
	for (uint64_t at = from; at < to; at++)
		if (bit(segment->targets, at - segment->start) || bit(segment->known, at - segment->start))
			return false;
	bytes = object_code(code->object, from, &available);
	return bytes && available >= to - from && isa_is_padding(bytes, to - from);
}

static uint64_t distance(uint64_t a, uint64_t b) { return a > b ? a - b : b - a; }

uint64_t patch_code_padding(const struct patch_code *code, uint64_t near, uint64_t from, uint64_t to, unsigned size,
			    bool (*taken)(const void *arg, uint64_t vaddr, unsigned size), const void *arg)
{
	size_t next = range_above(code, from);
	uint64_t best = 0;

	/* Gaps lie before ranges[next], ranges[next + 1] .. */
	for (; next > 0 && next < code->nranges && code->ranges[next - 1].end <= to; next++) {
		uint64_t gap = code->ranges[next - 1].end;
		uint64_t end = code->ranges[next].start;

		if (gap >= end || end - gap > PADDING_MAX || end - gap < size || !is_dead(code, gap, end))
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
	return NULL;
}
