/* SPDX-License-Identifier: MIT */
/*
 * The table of a file: its pieces of code that something describes, sorted, and of each the rows. See unwind.h.
 *
 * Invariant: rows are added by ascending offset; each piece ends at the latest where the next one begins.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "object/internal.h"
#include "object/unwind_inside.h"

#define UNKNOWN WIRE_UNWIND_RULE(WIRE_UNWIND_UNKNOWN, 0, 0, 0)
#define PADDING_MAX 64
#define DESCRIBED_PART 4 /* less than one of so many bytes of code: the file counts as not described */

/* Code of which one source knows. */
enum piece_kind { PIECE_FDE, PIECE_GO, PIECE_RESTORER, PIECE_FRAMES };
struct piece {
	enum piece_kind kind;
	uint64_t start, end;
	uint64_t at; /* FDE: in its section; GO: index of the function */
};

struct maker {
	struct object *object;
	struct object_unwind *unwind;
	struct object_cfi_section section;
	struct object_go_function *functions;
	struct piece *pieces;
	size_t count, cap;
	const struct piece *piece; /* the one under way */
	const struct object_cfi_cie *cie;
	uint32_t before; /* the rule of the FDE's row before */
	bool popped;     /* bp has its caller's value again, though nothing says so */
	uint32_t gap;  /* the rule where nothing is described */
	uint64_t done; /* rows are made up to here */
	uint64_t end;  /* of the piece under way */
	int error;
};

/* ---- rows ---- */

static void add_row(struct maker *maker, uint64_t vaddr, uint32_t rule)
{
	struct object_unwind *unwind = maker->unwind;
	uint32_t offset = (uint32_t)(vaddr - unwind->base);
	uint32_t before = unwind->count ? unwind->rows[unwind->count - 1].rule : UNKNOWN;

	if (maker->error || before == rule)
		return;
	if (base_grow(&unwind->rows, &unwind->cap, unwind->count + 1, sizeof(*unwind->rows))) {
		maker->error = -ENOMEM;
		return;
	}
	unwind->rows[unwind->count++] = (struct wire_unwind_row) { .offset = offset, .rule = rule };
}

/* The length of an instruction that only fills, as assemblers and linkers write them; 0: it is another one. */
static size_t filler(const uint8_t *bytes, size_t size)
{
	size_t i = 0;

	if (bytes[0] == 0xcc || bytes[0] == 0)
		return 1;
	while (i < size && (bytes[i] == 0x66 || bytes[i] == 0x2e))
		i++;
	if (i < size && bytes[i] == 0x90)
		return i + 1;
	if (size - i < 3 || bytes[i] != 0x0f || bytes[i + 1] != 0x1f)
		return 0;
	uint8_t modrm = bytes[i + 2];
	size_t length = i + 3 + ((modrm & 7) == 4) + (modrm >> 6 == 1 ? 1 : modrm >> 6 == 2 ? 4 : 0);

	return modrm >> 6 == 3 || length > size ? 0 : length;
}

/* Nobody is ever in there, so the row before it may stand for it. */
static bool is_padding(const struct object *object, uint64_t start, uint64_t end)
{
	size_t available;
	const uint8_t *bytes = end - start <= PADDING_MAX ? object_code(object, start, &available) : NULL;

	if (!bytes || available < end - start)
		return false;
	for (size_t at = 0, length; at < end - start; at += length) {
		length = filler(bytes + at, end - start - at);
		if (!length)
			return false;
	}
	return true;
}

/* What lies between the last piece and @start. */
static void add_gap(struct maker *maker, uint64_t start)
{
	if (maker->done < start && !is_padding(maker->object, maker->done, start))
		add_row(maker, maker->done, maker->gap);
}

/* Is the slot that bp was saved in below the stack pointer? */
static bool is_below_sp(uint32_t rule)
{
	return wire_unwind_kind(rule) == WIRE_UNWIND_SP && wire_unwind_bp(rule) == WIRE_UNWIND_BP_AT_CFA &&
	       wire_unwind_m(rule) < -wire_unwind_n(rule);
}

/* Does the instruction that ends at @vaddr, and made @rule of the rule before, take bp from the stack? pop %rbp, leave */
static bool is_pop(const struct maker *maker, uint64_t vaddr, uint32_t rule)
{
	size_t available;
	const uint8_t *end = object_code(maker->object, vaddr - 2, &available);
	bool was_sp = wire_unwind_kind(maker->before) == WIRE_UNWIND_SP && wire_unwind_n(maker->before) == wire_unwind_n(rule) + 1;
	bool was_bp = wire_unwind_kind(maker->before) == WIRE_UNWIND_BP;

	if (!end || available < 2)
		return false;
	return ((was_sp || was_bp) && end[1] == 0x5d && end[0] != 0x41) || (was_bp && end[1] == 0xc9);
}

/*
 * In epilogues bp's slot is still described when it was left and bp is restored. What is below the stack pointer does not last, so the register
 * is believed, where it is seen that it was restored.
 */
static uint32_t without_slot(struct maker *maker, uint64_t vaddr, uint32_t rule)
{
	maker->popped = is_below_sp(rule) && (maker->popped || is_pop(maker, vaddr, rule));
	maker->before = rule;
	return maker->popped ? WIRE_UNWIND_RULE(WIRE_UNWIND_SP, wire_unwind_n(rule), WIRE_UNWIND_BP_SAME, 0) : rule;
}

static bool add_cfi_row(void *arg, uint64_t start, uint64_t end, const struct object_cfi_row *row)
{
	struct maker *maker = arg;

	(void)end;
	if (start >= maker->end)
		return false;
	add_row(maker, start > maker->done ? start : maker->done, without_slot(maker, start, object_unwind_rule(maker->cie, row)));
	return !maker->error;
}

static void add_fde(struct maker *maker, const struct piece *piece)
{
	uint64_t at = piece->at;
	size_t before = maker->unwind->count;
	struct object_cfi_fde fde;

	if (!object_cfi_next(&maker->section, &at, &fde))
		return;
	maker->cie = &fde.cie;
	maker->before = UNKNOWN;
	maker->popped = false;
	if (object_cfi_rows(&fde, add_cfi_row, maker))
		return;
	maker->unwind->count = before; /* damaged: nothing of it counts */
	add_row(maker, maker->done, UNKNOWN);
}

/* ---- Go ---- */

static bool is_named(const struct object_go_function *function, const char *const *names)
{
	size_t length = function->name ? strcspn(function->name, ".") : 0;

	if (!length)
		return false;
	if (function->name[length] == '.') /* without .abi0 */
		length += 1 + strcspn(function->name + length + 1, ".");
	for (; *names; names++)
		if (strlen(*names) == length && !strncmp(function->name, *names, length))
			return true;
	return false;
}

/*
 * Does it set the stack pointer in a way that its table does not know: mov r/m, %rsp; mov r, %rsp; and $n, %rsp? So does what goes to another
 * stack. Looked for at each byte: what only looks like it costs a function, no more.
 */
static bool sets_sp(const struct object *object, uint64_t start, uint64_t end)
{
	size_t available;
	const uint8_t *at = object_code(object, start, &available);
	size_t size = at && available >= end - start ? end - start : 0;

	for (size_t i = 0; i + 3 <= size; i++) {
		uint8_t rex = at[i], op = at[i + 1], modrm = at[i + 2];
		bool is_to_rm = (rex == 0x48 || rex == 0x4c) && modrm >> 6 == 3 && (modrm & 7) == 4;
		bool is_to_reg = (rex == 0x48 || rex == 0x49) && (modrm >> 3 & 7) == 4;

		if ((op == 0x89 && is_to_rm) || (op == 0x8b && is_to_reg) ||
		    ((op == 0x83 || op == 0x81) && rex == 0x48 && modrm == 0xe4))
			return true;
	}
	return !size;
}

/* Where in its frame a Go function keeps bp is not told, and only code of other languages would ask. */
static void add_go(struct maker *maker, const struct piece *piece)
{
	static const char *const last[] = { "runtime.goexit", "runtime.mstart", "runtime.rt0_go", "_rt0_amd64_linux", "_rt0_amd64",
					    NULL };
	static const char *const odd[] = { "runtime.asyncPreempt", NULL }; /* entered at any instruction, as if called */
	const struct object_go_function *function = &maker->functions[piece->at];
	struct object_go_depth depth = { 0 };
	uint64_t told = maker->done;

	if (is_named(function, last)) {
		add_row(maker, maker->done, WIRE_UNWIND_RULE(WIRE_UNWIND_END, 0, 0, 0));
		return;
	}
	while (!is_named(function, odd) && !sets_sp(maker->object, function->start, function->end) &&
	       object_go_depth_next(function, &depth) && depth.start < maker->end) {
		bool fits = depth.depth % 8 == 0 && depth.depth / 8 < WIRE_UNWIND_N_MAX;
		uint32_t rule = fits ? WIRE_UNWIND_RULE(WIRE_UNWIND_SP, (int32_t)(depth.depth / 8) + 1, WIRE_UNWIND_BP_LOST, 0) :
				       UNKNOWN;

		if (depth.end <= told)
			continue;
		add_row(maker, depth.start > told ? depth.start : told, rule);
		told = depth.end;
	}
	if (told < maker->end)
		add_row(maker, told, UNKNOWN);
}

/* ---- pieces ---- */

static int add_piece(struct maker *maker, enum piece_kind kind, uint64_t start, uint64_t end, uint64_t at)
{
	if (base_grow(&maker->pieces, &maker->cap, maker->count + 1, sizeof(*maker->pieces)))
		return -ENOMEM;
	maker->pieces[maker->count++] = (struct piece) { .kind = kind, .start = start, .end = end, .at = at };
	return 0;
}

static bool is_code(const struct object *object, uint64_t start, uint64_t end)
{
	size_t available;

	return object_code(object, start, &available) && end - start <= available;
}

/* Linkers leave descriptions of dropped functions behind, with address 0. */
static int find_fdes(struct maker *maker)
{
	struct object_cfi_fde fde;
	int error = 0;

	for (uint64_t at = 0; !error && maker->count < UINT32_MAX && object_cfi_next(&maker->section, &at, &fde);)
		if (is_code(maker->object, fde.start, fde.end))
			error = add_piece(maker, PIECE_FDE, fde.start, fde.end, fde.at);
	return error;
}

static int find_section(struct maker *maker)
{
	struct object_image *image = &maker->object->image;
	const Elf64_Shdr *section;
	const uint8_t *bytes;
	int error = 0;

	if (object_eh_frame(maker->object, &maker->section))
		error = find_fdes(maker);
	section = maker->count || error ? NULL : object_image_section(image, ".debug_frame");
	bytes = section && !(section->sh_flags & SHF_COMPRESSED) ? object_image_section_bytes(image, section) : NULL;
	if (!bytes)
		return error;
	maker->section = (struct object_cfi_section) { .bytes = bytes, .size = section->sh_size };
	return find_fdes(maker);
}

static int find_go(struct maker *maker)
{
	size_t count = 0;
	int error = object_go_functions(maker->object, &maker->functions, &count);

	if (error)
		return error == -ENOENT ? 0 : error;
	for (size_t i = 0; i < count && !error; i++)
		error = add_piece(maker, PIECE_GO, maker->functions[i].start, maker->functions[i].end, i);
	return error;
}

/*
 * What signal handlers return to: mov $15, %eax (or %rax); syscall. A handler returns to its first byte, so the byte before belongs to it: it
 * must be one that nobody is in.
 */
static int find_restorers(struct maker *maker, uint64_t vaddr, const uint8_t *bytes, size_t size)
{
	static const uint8_t ways[][9] = { { 0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05 }, { 0xb8, 15, 0, 0, 0, 0x0f, 0x05 } };
	static const size_t lengths[] = { 9, 7 };
	int error = 0;

	for (size_t w = 0; w < 2; w++)
		for (size_t from = 1; !error && from < size;) {
			const uint8_t *found = memmem(bytes + from, size - from, ways[w], lengths[w]);
			size_t at = found ? (size_t)(found - bytes) : size;

			from = at + 1;
			if (found && filler(found - 1, 1))
				error = add_piece(maker, PIECE_RESTORER, vaddr + at - 1, vaddr + at + lengths[w], 0);
		}
	return error;
}

static int find_pieces(struct maker *maker, uint64_t *described)
{
	const struct object_segment *segments;
	size_t count = object_segments(maker->object, &segments);
	int error = find_section(maker);

	if (!error)
		error = find_go(maker);
	for (size_t i = 0; i < maker->count; i++)
		*described += maker->pieces[i].end - maker->pieces[i].start;
	for (size_t i = 0; i < count && !error; i++) {
		size_t available = 0;
		const uint8_t *bytes = segments[i].execute ? object_code(maker->object, segments[i].vaddr, &available) : NULL;

		if (bytes)
			error = find_restorers(maker, segments[i].vaddr, bytes, available);
	}
	return error;
}

/* ---- V8 ---- */

#define V8_CODE "v8_Default_embedded_blob_code_"
#define V8_SIZE "v8_Default_embedded_blob_code_size_"
#define V8_LEAST (256UL << 10)

static bool find_data(struct object *object, const char *name, uint64_t *vaddr)
{
	_cleanup_free_ const struct object_symbol **found = NULL;

	if (object_find(object, name, false, &found, NULL) <= 0)
		return false;
	*vaddr = found[0]->vaddr;
	return true;
}

static bool has_large_gap(const struct maker *maker)
{
	uint64_t end = maker->count ? maker->pieces[0].end : 0;

	for (size_t i = 1; i < maker->count; i++) {
		if (maker->pieces[i].start > end && maker->pieces[i].start - end >= V8_LEAST)
			return true;
		end = maker->pieces[i].end > end ? maker->pieces[i].end : end;
	}
	return false;
}

/* Its built-in functions are one stretch of which nothing is described. They keep frame pointers: V8 itself walks by them. */
static int find_v8(struct maker *maker, bool *found)
{
	uint64_t start, size_at;
	uint32_t size;
	size_t available;

	*found = false;
	if (!has_large_gap(maker) || !find_data(maker->object, V8_CODE, &start) || !find_data(maker->object, V8_SIZE, &size_at))
		return 0;
	const uint8_t *bytes = object_data(maker->object, size_at, &available);

	if (!bytes || available < sizeof(size))
		return 0;
	memcpy(&size, bytes, sizeof(size));
	if (!size || !is_code(maker->object, start, start + size))
		return 0;
	*found = true;
	return add_piece(maker, PIECE_FRAMES, start, start + size, 0);
}

/* By start; of those that start together FDEs first, then the one that was found first. */
static int sort_pieces(struct maker *maker)
{
	_cleanup_free_ struct object_sort_item *items = malloc((maker->count + 1) * sizeof(*items));
	struct piece *sorted = malloc((maker->count + 1) * sizeof(*sorted));

	for (size_t i = 0; items && i < maker->count; i++)
		items[i] = (struct object_sort_item) { .key = maker->pieces[i].start, .index = (uint32_t)i };
	if (!items || !sorted || maker->count > UINT32_MAX || object_sort(items, maker->count)) {
		free(sorted);
		return -ENOMEM;
	}
	for (size_t i = 0; i < maker->count; i++)
		sorted[i] = maker->pieces[items[i].index];
	free(maker->pieces);
	maker->pieces = sorted;
	return 0;
}

/* A restorer that something describes is described; one in a Go function is what it is, and the function ends before it. */
static bool is_wanted(const struct maker *maker, size_t i)
{
	const struct piece *piece = &maker->pieces[i];

	if (piece->kind != PIECE_RESTORER)
		return true;
	for (size_t back = i; back-- > 0 && i - back < 4;)
		if (maker->pieces[back].kind == PIECE_FDE && maker->pieces[back].end > piece->start)
			return false;
	return i + 1 == maker->count || maker->pieces[i + 1].kind != PIECE_FDE || maker->pieces[i + 1].start >= piece->end;
}

static void add_pieces(struct maker *maker)
{
	size_t kept = 0;

	for (size_t i = 0; i < maker->count; i++)
		if (is_wanted(maker, i))
			maker->pieces[kept++] = maker->pieces[i];
	maker->count = kept;
	for (size_t i = 0; i < maker->count && !maker->error; i++) {
		const struct piece *piece = &maker->pieces[i];
		bool is_cut = i + 1 < maker->count && piece[1].start < piece->end && piece->kind != PIECE_RESTORER;

		maker->end = is_cut ? piece[1].start : piece->end;
		if (maker->end <= maker->done)
			continue;
		add_gap(maker, piece->start);
		maker->done = piece->start > maker->done ? piece->start : maker->done;
		if (piece->kind == PIECE_FDE)
			add_fde(maker, piece);
		else if (piece->kind == PIECE_GO)
			add_go(maker, piece);
		else if (piece->kind == PIECE_FRAMES)
			add_row(maker, maker->done, WIRE_UNWIND_RULE_FRAME);
		else
			add_row(maker, maker->done, WIRE_UNWIND_RULE(WIRE_UNWIND_SIGNAL, 0, 0, 0));
		maker->done = maker->end;
	}
	add_row(maker, maker->done, maker->gap);
}

/* ---- the table ---- */

static uint64_t code_bounds(const struct object *object, uint64_t *start, uint64_t *end)
{
	const struct object_segment *segments;
	size_t count = object_segments(object, &segments);
	uint64_t bytes = 0;

	*start = UINT64_MAX;
	*end = 0;
	for (size_t i = 0; i < count; i++) {
		uint64_t last = segments[i].vaddr + segments[i].file_size;

		if (!segments[i].execute)
			continue;
		*start = segments[i].vaddr < *start ? segments[i].vaddr : *start;
		*end = last > *end ? last : *end;
		bytes += segments[i].file_size;
	}
	return bytes;
}

/* A word of the build-id; else of the ELF header, where sections are, which is about the size of the file. */
static void find_check(const struct object *object, struct object_unwind *unwind)
{
	const uint8_t *id;
	size_t size = object_build_id(object, &id);
	uint64_t offset = size ? (uint64_t)(id - object->image.bytes) : 0;
	uint64_t vaddr;
	size_t available;

	if (size && !object_offset_to_vaddr(object, offset, &vaddr) && (vaddr + 7) / 8 * 8 + 8 <= vaddr + size)
		vaddr = (vaddr + 7) / 8 * 8;
	else if (object_offset_to_vaddr(object, offsetof(Elf64_Ehdr, e_shoff), &vaddr) || vaddr % 8)
		return;
	const uint8_t *bytes = object_data(object, vaddr, &available);

	if (!bytes || available < 8)
		return;
	memcpy(&unwind->check, bytes, 8);
	unwind->check_at = vaddr;
}

int object_unwind_make(struct object *object, struct object_unwind *ret, struct utap_error *err)
{
	struct object_unwind unwind = { 0 };
	struct maker maker = { .object = object, .unwind = &unwind };
	uint64_t end;
	uint64_t described = 0;
	bool has_v8 = false;
	uint64_t bytes = code_bounds(object, &unwind.base, &end);
	int error;

	if (bytes && end - unwind.base > UINT32_MAX)
		return base_error(err, -EFBIG, UTAP_ERROR_REFUSED, "%s: its code spans more than 4 GiB, which tables for stacks cannot describe",
				  object->path);
	error = find_pieces(&maker, &described);
	if (!error)
		error = sort_pieces(&maker);
	if (!error)
		error = find_v8(&maker, &has_v8);
	if (!error && has_v8)
		error = sort_pieces(&maker);
	maker.done = unwind.base;
	maker.gap = described < bytes / DESCRIBED_PART ? WIRE_UNWIND_RULE_FRAME : UNKNOWN;
	if (!error)
		add_pieces(&maker);
	free(maker.pieces);
	free(maker.functions);
	if (error || maker.error) {
		object_unwind_free(&unwind);
		return object_no_memory(object, err);
	}
	find_check(object, &unwind);
	*ret = unwind;
	return 0;
}

void object_unwind_free(struct object_unwind *unwind)
{
	free(unwind->rows);
	*unwind = (struct object_unwind) { 0 };
}
