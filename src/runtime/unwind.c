/* SPDX-License-Identifier: MIT */
/*
 * The walker of stacks: from a frame to its caller's by a table's row, again and again. Compiled twice: for targets, where it runs inside of a
 * probe, and for utap. So it needs nothing but its arguments: the rules of runtime.c hold.
 *
 * Whatever the tables and the stack hold, it reads inside of the tables' area and through the given function only, and ends after @most frames.
 */
#include "wire/unwind.h"

#define ADDRESS_END (1ULL << 47)
#define ADDRESS_LEAST 4096

/* The kernel's struct ucontext, to which the stack pointer leads where a signal handler has returned to. */
#define UCONTEXT_BP 120
#define UCONTEXT_SP 160
#define UCONTEXT_IP 168

enum step { STEP_ON, STEP_END, STEP_SHORT };

uint32_t wire_unwind_rule(const struct wire_unwind_row *rows, uint32_t count, uint32_t offset)
{
	uint32_t low = 0;
	uint32_t high = count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (rows[middle].offset <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? rows[low - 1].rule : WIRE_UNWIND_RULE(WIRE_UNWIND_UNKNOWN, 0, 0, 0);
}

bool wire_unwind_has_list(const struct wire_unwind_tables *tables)
{
	uint64_t at = (uint64_t)tables->list - tables->area;

	return tables->list && at <= tables->size && tables->size - at >= sizeof(*tables->list) && !(at % 8);
}

/* How many pieces of the list lie in the area. */
static uint32_t pieces_of(const struct wire_unwind_tables *tables)
{
	uint64_t at = (uint64_t)tables->list - tables->area;
	uint64_t room;
	uint32_t count;

	if (!wire_unwind_has_list(tables))
		return 0;
	room = (tables->size - at - sizeof(*tables->list)) / sizeof(tables->list->pieces[0]);
	count = __atomic_load_n(&tables->list->count, __ATOMIC_RELAXED);
	return count < room ? count : (uint32_t)room;
}

static bool holds(const struct wire_unwind_piece *piece, uint64_t address)
{
	return address >= piece->start && address < piece->end;
}

static bool word_at(struct wire_unwind_walk *walk, uint64_t address, uint64_t *ret)
{
#ifdef WIRE_UNWIND_IN_TARGET /* build.sh */
	return wire_unwind_word(walk, address, ret);
#else
	return walk->memory->word(walk->memory, address, ret);
#endif
}

static bool is_checked(struct wire_unwind_walk *walk, const struct wire_unwind_tables *tables, const struct wire_unwind_piece *piece)
{
	uint64_t word;

	return !tables->check || !piece->check_at || (word_at(walk, piece->check_at, &word) && word == piece->check);
}

/* The piece that holds @address. *@known: false when there is one of which it is not sure that it still is what is mapped there. */
static const struct wire_unwind_piece *piece_at(struct wire_unwind_walk *walk, const struct wire_unwind_tables *tables, uint64_t address,
						bool *known)
{
	uint32_t low = 0;
	uint32_t high = pieces_of(tables);
	uint32_t last = __atomic_load_n(&walk->piece, __ATOMIC_RELAXED);
	const struct wire_unwind_piece *piece;

	*known = true;
	if (last && last <= high && holds(&tables->list->pieces[last - 1], address))
		return &tables->list->pieces[last - 1];
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (tables->list->pieces[middle].start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	piece = low ? &tables->list->pieces[low - 1] : 0;
	if (!piece || !holds(piece, address))
		return 0;
	*known = is_checked(walk, tables, piece);
	walk->piece = *known ? low : 0;
	return piece;
}

static uint32_t rule_in(const struct wire_unwind_tables *tables, const struct wire_unwind_piece *piece, uint64_t address)
{
	uint64_t offset = address - piece->base;
	uint64_t rows = piece->rows;
	uint32_t count = piece->count;

	if (rows > tables->size || (tables->size - rows) / sizeof(struct wire_unwind_row) < count || rows % 4 || offset > UINT32_MAX)
		return WIRE_UNWIND_RULE(WIRE_UNWIND_UNKNOWN, 0, 0, 0);
	return wire_unwind_rule((const struct wire_unwind_row *)(tables->area + rows), count, (uint32_t)offset);
}

/* The rule for the frame that is at its place now. A return address may be the first one behind its function: its call counts. */
static uint32_t rule_now(struct wire_unwind_walk *walk, const struct wire_unwind_tables *tables)
{
	uint64_t address = walk->now.ip - !walk->now.is_exact;
	bool known;
	const struct wire_unwind_piece *piece = piece_at(walk, tables, address, &known);
	uint32_t rule = WIRE_UNWIND_RULE(WIRE_UNWIND_UNKNOWN, 0, 0, 0);

	if (piece && known)
		rule = rule_in(tables, piece, address);
	else if (!piece && !tables->check)
		rule = WIRE_UNWIND_RULE_FRAME;
	if (walk->now.rule && (wire_unwind_kind(rule) == WIRE_UNWIND_UNKNOWN || rule == WIRE_UNWIND_RULE_FRAME))
		return walk->now.rule;
	return rule;
}

/* The CFA by @rule; false: it cannot be had. */
static bool cfa_of(struct wire_unwind_walk *walk, uint32_t rule, uint64_t *cfa)
{
	uint64_t sp = walk->now.sp;
	uint64_t bp = walk->now.bp;
	uint64_t n = (uint64_t)((int64_t)wire_unwind_n(rule) * 8);

	switch (wire_unwind_kind(rule)) {
	case WIRE_UNWIND_SP:
		*cfa = sp + n;
		return true;
	case WIRE_UNWIND_PLT:
		*cfa = sp + 8 + ((walk->now.ip & 15) >= (uint64_t)wire_unwind_n(rule) ? 8 : 0);
		return true;
	case WIRE_UNWIND_AT_SP:
		return word_at(walk, sp + n, cfa);
	case WIRE_UNWIND_AT_SP_8:
		if (!word_at(walk, sp + n, cfa))
			return false;
		*cfa += 8;
		return true;
	case WIRE_UNWIND_BP:
		*cfa = bp + n;
		return !walk->is_bp_lost;
	case WIRE_UNWIND_AT_BP:
		return !walk->is_bp_lost && word_at(walk, bp + n, cfa);
	case WIRE_UNWIND_AT_BP_8:
		if (walk->is_bp_lost || !word_at(walk, bp + n, cfa))
			return false;
		*cfa += 8;
		return true;
	case WIRE_UNWIND_UNKNOWN:
	case WIRE_UNWIND_SIGNAL:
	case WIRE_UNWIND_END:
		break;
	}
	return false;
}

/* The caller's bp. Where it cannot be read it is lost, which matters only to who needs it. */
static void restore_bp(struct wire_unwind_walk *walk, uint32_t rule, uint64_t cfa)
{
	uint64_t offset = (uint64_t)((int64_t)wire_unwind_m(rule) * 8);

	switch (wire_unwind_bp(rule)) {
	case WIRE_UNWIND_BP_SAME:
		break;
	case WIRE_UNWIND_BP_AT_CFA:
		walk->is_bp_lost = !word_at(walk, cfa + offset, &walk->now.bp);
		break;
	case WIRE_UNWIND_BP_AT_BP:
		walk->is_bp_lost = walk->is_bp_lost || !word_at(walk, walk->now.bp + offset, &walk->now.bp);
		break;
	case WIRE_UNWIND_BP_LOST:
		walk->is_bp_lost = true;
		break;
	}
}

static enum step step_signal(struct wire_unwind_walk *walk)
{
	uint64_t sp = walk->now.sp;

	if (!word_at(walk, sp + UCONTEXT_IP, &walk->now.ip) || !word_at(walk, sp + UCONTEXT_BP, &walk->now.bp) ||
	    !word_at(walk, sp + UCONTEXT_SP, &walk->now.sp))
		return STEP_SHORT;
	walk->is_bp_lost = false;
	walk->now.is_exact = true;
	walk->now.rule = 0;
	return STEP_ON;
}

static bool is_address(uint64_t ip)
{
	return ip >= ADDRESS_LEAST && ip < ADDRESS_END;
}

static enum step step(struct wire_unwind_walk *walk, const struct wire_unwind_tables *tables)
{
	uint32_t rule = rule_now(walk, tables);
	uint64_t cfa;

	if (wire_unwind_kind(rule) == WIRE_UNWIND_END || (rule == WIRE_UNWIND_RULE_FRAME && !walk->now.bp && !walk->is_bp_lost))
		return STEP_END; /* the outermost frame has 0 for its caller's (System V ABI, AMD64, 3.4.1) */
	if (wire_unwind_kind(rule) == WIRE_UNWIND_SIGNAL)
		return step_signal(walk);
	if (!cfa_of(walk, rule, &cfa) || cfa <= walk->now.sp || cfa >= ADDRESS_END || !word_at(walk, cfa - 8, &walk->now.ip))
		return STEP_SHORT;
	restore_bp(walk, rule, cfa);
	walk->now.sp = cfa;
	walk->now.is_exact = false;
	walk->now.rule = 0;
	return walk->now.ip ? STEP_ON : STEP_END;
}

uint32_t wire_unwind_walk(struct wire_unwind_walk *walk, const struct wire_unwind_tables *tables, uint64_t *addresses, uint32_t most)
{
	uint32_t count = 0;
	enum step how = STEP_ON;

	while (count < most) {
		addresses[count] = walk->now.ip | (count && walk->now.is_exact ? WIRE_UNWIND_EXACT : 0);
		count++;
		how = step(walk, tables);
		if (how == STEP_ON && walk->now.is_exact && count > 1) /* that was a signal's restorer: no call is before it */
			addresses[count - 1] |= WIRE_UNWIND_EXACT;
		if (how == STEP_ON && !is_address(walk->now.ip))
			how = STEP_SHORT;
		if (how != STEP_ON)
			break;
	}
	walk->is_short = how != STEP_END;
	return count;
}
