/* SPDX-License-Identifier: MIT */
/*
 * Specification -> bpf program.
 *
 * A record whose values all have a fixed size, and few enough of them come from memory, is written straight into the ring. Between
 * RING_RESERVE and RING_SUBMIT the code may be restarted at any instruction, so everything that cannot be repeated (reading the stack and
 * other memory) is done before, and every value goes through a register that is dead at the reservation: each load stands right before its
 * store, the pair that the code generator makes one move of. All others are LONG records (long.c).
 *
 * A function's return slot is where rsp points at its entry and at each exit. After the return, which is what a return probe shows, rsp
 * is one word higher.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "probe/filter.h"
#include "probe/writer.h"

/* Values that can be held while a plain record is written: the program's own stack, r8 and r9. */
#define HELD_SLOTS (BPF_PROBE_STACK / 8)
#define HELD_MAX (HELD_SLOTS + 2)

/* ---- shapes ---- */

static bool is_return(enum probe_part part)
{
	return part == PROBE_PART_RETURN || part == PROBE_PART_TAIL;
}

bool probe_shape_is_return(const struct probe_shape *shape)
{
	return is_return(shape->part);
}

bool probe_shape_is_unknown(const struct probe_shape *shape, const struct probe_arg *arg)
{
	return arg->source == PROBE_ARG_RETVAL && shape->part == PROBE_PART_TAIL;
}

static struct probe_shape shape_of(const struct probe_spec *spec, enum probe_part part, bool go)
{
	bool at_return = spec->kind == PROBE_RETURN;

	return (struct probe_shape) { .part = part,
				      .nargs = at_return == is_return(part) ? spec->nargs : 0,
				      .frame = part != PROBE_PART_PLACE,
				      .go = go,
				      .caller = is_return(part) };
}

uint32_t probe_shape_args_at(const struct probe_shape *shape)
{
	return (uint32_t)sizeof(struct wire_record) + (shape->frame ? 8 : 0) + (shape->caller ? 8 : 0);
}

uint32_t probe_shape_inline_at(const struct probe_spec *spec, const struct probe_shape *shape, size_t i)
{
	uint32_t at = probe_shape_args_at(shape) + 8 * (uint32_t)shape->nargs;

	for (size_t k = 0; k < i && k < shape->nargs; k++)
		at += probe_arg_inline(spec, &spec->args[k]);
	return at;
}

uint32_t probe_shape_flags(const struct probe_shape *shape)
{
	switch (shape->part) {
	case PROBE_PART_ENTRY:
		return WIRE_RECORD_ENTRY | (shape->left_out ? WIRE_RECORD_LEFT_OUT : 0);
	case PROBE_PART_RETURN:
		return WIRE_RECORD_RETURN;
	case PROBE_PART_TAIL:
		return WIRE_RECORD_RETURN | WIRE_RECORD_TAIL;
	case PROBE_PART_PLACE:
	case PROBE_PART_ENTRY_RETURN:
	case PROBE_PART_ENTRY_TAIL:
	case PROBE_PART_GO_ENTRY:
	case PROBE_PART_GO_RETURN:
	case PROBE_PART_GO_TAIL:
	case PROBE_PART_GO_ENTRY_RETURN:
	case PROBE_PART_GO_ENTRY_TAIL:
		break; /* not the part of a shape */
	}
	return 0;
}

static enum probe_part without_go(enum probe_part part)
{
	return part < PROBE_PART_GO_ENTRY ? part : (enum probe_part)(part - PROBE_PART_GO_ENTRY + PROBE_PART_ENTRY);
}

/* The records that a program writes, one or two. */
static size_t shapes_of(const struct probe_spec *spec, enum probe_part part, struct probe_shape shapes[static 2])
{
	enum probe_part plain = without_go(part);
	bool returns = plain == PROBE_PART_ENTRY_RETURN;
	bool go = plain != part;

	if (!returns && plain != PROBE_PART_ENTRY_TAIL) {
		shapes[0] = shape_of(spec, plain, go);
		return 1;
	}
	shapes[0] = shape_of(spec, PROBE_PART_ENTRY, go);
	shapes[1] = shape_of(spec, returns ? PROBE_PART_RETURN : PROBE_PART_TAIL, go);
	shapes[1].id_add = 1;
	return 2;
}

/* ---- values that are held ---- */

/* A word of the stack, the goroutine's number, or what an argument reads from memory. */
struct held {
	const struct probe_arg *arg; /* NULL: the word */
	uint32_t word;
	bool goid;
};

struct holding {
	struct held values[HELD_MAX];
	size_t count; /* may be more than there is room for */
	uint8_t of[PROBE_ARGS]; /* which one each argument that is not direct is */
};

static size_t hold(struct holding *h, const struct held *value)
{
	for (size_t i = 0; i < h->count && i < HELD_MAX && !value->arg; i++)
		if (!h->values[i].arg && h->values[i].goid == value->goid && h->values[i].word == value->word)
			return i;
	if (h->count < HELD_MAX)
		h->values[h->count] = *value;
	return h->count++;
}

static struct held held_of(const struct probe_shape *shape, const struct probe_arg *arg)
{
	if (arg->nreads)
		return (struct held) { .arg = arg };
	if (arg->source == PROBE_ARG_GOID)
		return (struct held) { .goid = true };
	if (arg->source == PROBE_ARG_IP) /* of a return: the return address */
		return (struct held) { .word = 0 };
	return (struct held) { .word = arg->word + shape->caller };
}

/* Also the return address of a return; it comes first. */
static void hold_all(const struct probe_spec *spec, const struct probe_shape *shape, struct holding *h)
{
	h->count = 0;
	if (shape->caller)
		hold(h, &(struct held) { .word = 0 });
	for (size_t i = 0; i < shape->nargs && h->count <= HELD_MAX; i++) {
		struct held value;

		if (probe_is_direct(shape, &spec->args[i]) || probe_shape_is_unknown(shape, &spec->args[i]))
			continue;
		value = held_of(shape, &spec->args[i]);
		h->of[i] = (uint8_t)hold(h, &value);
	}
}

bool probe_shape_is_long(const struct probe_spec *spec, const struct probe_shape *shape)
{
	struct holding h;

	for (size_t i = 0; i < shape->nargs; i++)
		if (probe_arg_is_long(&spec->args[i]))
			return true;
	hold_all(spec, shape, &h);
	return h.count > HELD_MAX;
}

/* Where the k-th value is kept. */
static bool held_in_register(size_t k, uint8_t *reg)
{
	if (k >= 2)
		return false;
	*reg = (uint8_t)(8 + k);
	return true;
}

static int16_t held_slot(size_t k)
{
	return (int16_t)(-8 * (int)(k - 1));
}

/* Memory into a slot; 0 where it cannot be read. */
static void put_memory(struct probe_writer *w, const struct probe_shape *shape, const struct probe_arg *arg, int16_t slot)
{
	struct probe_faults faults = { 0 };
	size_t last;

	probe_put_chain(w, shape, arg, slot, arg->nreads, arg->bits / 8U, &faults);
	if (w->error)
		return;
	last = faults.at[--faults.count];
	w->insns[last].opcode = OP_JUMP_EQUAL_IMM; /* the last one went well: over the next */
	w->insns[last].offset = 1;
	probe_put_faults_land(w, &faults);
	probe_put(w, OP_STORE_IMM_64, 10, 0, slot, 0);
}

static void put_held(struct probe_writer *w, const struct probe_shape *shape, const struct holding *h)
{
	for (size_t k = 0; k < h->count; k++) {
		const struct held *value = &h->values[k];
		bool through_slot = value->goid || value->arg;
		uint8_t reg = 0;
		bool in_register = held_in_register(k, &reg);
		/* The last slot is filled last, so it is free until then. */
		int16_t slot = held_slot(in_register ? HELD_MAX - 1 : k);

		if (value->goid)
			probe_put_goid(w, slot);
		else if (value->arg)
			put_memory(w, shape, value->arg, slot);
		if (through_slot) {
			if (in_register)
				probe_put(w, value->arg ? probe_load_opcode(value->arg) : OP_LOAD_64, reg, 10, slot, 0);
			continue;
		}
		probe_put(w, OP_MOVE_IMM, 1, 0, 0, (int32_t)value->word);
		probe_put_call(w, BPF_HELPER_STACK_WORD);
		if (in_register)
			probe_put(w, OP_MOVE, reg, 0, 0, 0);
		else
			probe_put(w, OP_STORE_64, 10, 0, slot, 0);
	}
}

/* r1 = a held value, cut and extended */
static void put_load_held(struct probe_writer *w, const struct probe_arg *arg, size_t k)
{
	uint8_t reg;

	if (!held_in_register(k, &reg)) {
		probe_put(w, probe_load_opcode(arg), 1, 10, held_slot(k), 0);
		probe_put_field(w, arg);
		return;
	}
	probe_put(w, OP_MOVE, 1, reg, 0, 0);
	probe_put_cut(w, arg);
}

/* ---- a plain record ---- */

static void put_args(struct probe_writer *w, const struct probe_shape *shape, const struct holding *h)
{
	for (size_t i = 0; i < shape->nargs; i++) {
		const struct probe_arg *arg = &w->spec->args[i];
		int16_t at = (int16_t)(probe_shape_args_at(shape) + 8 * i);

		if (probe_is_direct(shape, arg) || probe_shape_is_unknown(shape, arg))
			probe_put_direct(w, shape, arg);
		else
			put_load_held(w, arg, h->of[i]);
		probe_put(w, OP_STORE_64, 6, 1, at, 0);
	}
}

/* Behind the held values there may be a slot for the frame of Go. */
static bool has_go_slot(const struct probe_shape *shape, const struct holding *h)
{
	return shape->go && h->count < HELD_MAX;
}

static int16_t go_slot(const struct holding *h)
{
	return held_slot(h->count < 2 ? 2 : h->count);
}

static void put_frame(struct probe_writer *w, const struct probe_shape *shape, const struct holding *h)
{
	uint8_t reg;

	if (shape->frame) {
		if (has_go_slot(shape, h))
			probe_put(w, OP_LOAD_64, 1, 10, go_slot(h), 0);
		else
			probe_put(w, OP_LOAD_64, 1, 7, 8 * ISA_SP, 0);
		probe_put(w, OP_STORE_64, 6, 1, sizeof(struct wire_record), 0);
	}
	if (shape->caller && held_in_register(0, &reg))
		probe_put(w, OP_STORE_64, 6, reg, sizeof(struct wire_record) + 8, 0);
}

static void put_plain(struct probe_writer *w, const struct probe_shape *shape)
{
	uint32_t size = probe_shape_inline_at(w->spec, shape, shape->nargs);
	struct holding h;
	size_t jump;

	hold_all(w->spec, shape, &h);
	put_held(w, shape, &h);
	if (has_go_slot(shape, &h))
		probe_put_go_frame(w, go_slot(&h));
	probe_put(w, OP_LOAD_IMM64, 1, MAP_PSEUDO, 0, BPF_MAP_RING);
	probe_put(w, 0, 0, 0, 0, 0);
	probe_put(w, OP_MOVE_IMM, 2, 0, 0, (int32_t)size);
	probe_put(w, OP_MOVE_IMM, 3, 0, 0, 0);
	probe_put_call(w, BPF_HELPER_RING_RESERVE);
	probe_put(w, OP_MOVE, 6, 0, 0, 0);
	jump = w->count;
	probe_put(w, OP_JUMP_EQUAL_IMM, 6, 0, 0, 0);
	probe_put_header(w, shape, size, probe_shape_flags(shape));
	put_frame(w, shape, &h);
	put_args(w, shape, &h);
	probe_put(w, OP_MOVE, 1, 6, 0, 0);
	probe_put(w, OP_MOVE_IMM, 2, 0, 0, 0);
	probe_put_call(w, BPF_HELPER_RING_SUBMIT);
	probe_put_land(w, jump);
}

/* ---- all of it ---- */

size_t probe_part_args(const struct probe_spec *spec, enum probe_part part)
{
	struct probe_shape shapes[2];
	size_t count = shapes_of(spec, part, shapes);

	return shapes[0].nargs > shapes[count - 1].nargs ? shapes[0].nargs : shapes[count - 1].nargs;
}

uint32_t probe_record_size(const struct probe_spec *spec, enum probe_part part)
{
	struct probe_shape shapes[2];
	size_t count = shapes_of(spec, part, shapes);
	uint32_t first = probe_shape_inline_at(spec, &shapes[0], shapes[0].nargs);
	uint32_t last = probe_shape_inline_at(spec, &shapes[count - 1], shapes[count - 1].nargs);

	return first > last ? first : last;
}

uint32_t probe_record_most(const struct probe_spec *spec, enum probe_part part)
{
	struct probe_shape shapes[2];
	size_t count = shapes_of(spec, part, shapes);
	uint32_t most = 0;

	for (size_t i = 0; i < count; i++) {
		uint32_t size = probe_shape_is_long(spec, &shapes[i]) ? probe_shape_most(spec, &shapes[i]) : 0;

		most = size > most ? size : most;
	}
	return most;
}

enum probe_needs probe_needs(const struct probe_spec *spec, enum probe_part part)
{
	enum probe_needs needs = PROBE_NEEDS_NOTHING;

	for (size_t i = 0; i < probe_part_args(spec, part); i++) {
		if (spec->args[i].source == PROBE_ARG_IP && spec->kind != PROBE_RETURN)
			return PROBE_NEEDS_IP;
		if (spec->args[i].source == PROBE_ARG_FILE)
			needs = PROBE_NEEDS_BASE;
	}
	return needs;
}

static void put_record(struct probe_writer *w, const struct probe_shape *shape)
{
	if (probe_shape_is_long(w->spec, shape))
		probe_put_long(w, shape);
	else
		put_plain(w, shape);
}

/* The entry of a call decides about all of it; an exit alone is not asked. */
static void put_calls(struct probe_writer *w, const struct probe_shape *shapes, size_t nshapes)
{
	struct probe_shape left_out = shapes[0];
	struct probe_jumps fail;
	size_t over;

	if (probe_shape_is_return(&shapes[0])) {
		put_record(w, &shapes[0]);
		return;
	}
	left_out.left_out = true;
	left_out.nargs = 0;
	probe_put_filter(w, &shapes[0], &fail);
	probe_put_limits(w, &fail);
	put_record(w, &shapes[0]);
	over = w->count;
	probe_put(w, OP_JUMP, 0, 0, 0, 0);
	probe_put_filter_land(w, &fail);
	put_plain(w, &left_out);
	probe_put_land(w, over);
	if (nshapes > 1)
		put_record(w, &shapes[1]);
}

static void put_hit(struct probe_writer *w, const struct probe_shape *shapes, size_t nshapes, enum probe_action action)
{
	struct probe_jumps fail;

	probe_put_filter(w, &shapes[0], &fail);
	if (action == PROBE_RECORD || action == PROBE_RECORD_CALLS)
		probe_put_limits(w, &fail);
	for (size_t i = 0; i < nshapes && action != PROBE_COUNT; i++)
		put_record(w, &shapes[i]);
	if (action == PROBE_COUNT || action == PROBE_TRIGGER)
		probe_put_call(w, BPF_HELPER_COUNT);
	probe_put_filter_land(w, &fail);
}

static bool has_gate(const struct probe_spec *spec)
{
	return spec->ntests || spec->every > 1 || spec->limit_ticks;
}

int probe_program(const struct probe_spec *spec, enum probe_action action, enum probe_part part,
		  const struct probe_place *place, struct bpf_insn **ret, size_t *count)
{
	struct probe_shape shapes[2];
	size_t nshapes = shapes_of(spec, part, shapes);
	struct probe_writer w = { .spec = spec };

	if (place)
		w.place = *place;
	if (action != PROBE_COUNT || spec->ntests)
		probe_put(&w, OP_MOVE, 7, 1, 0, 0);
	if (action == PROBE_RECORD_CALLS && part != PROBE_PART_PLACE && has_gate(spec))
		put_calls(&w, shapes, nshapes);
	else
		put_hit(&w, shapes, nshapes, action);
	probe_put(&w, OP_MOVE_IMM, 0, 0, 0, 0);
	probe_put(&w, OP_EXIT, 0, 0, 0, 0);
	if (w.error) {
		free(w.insns);
		return w.error;
	}
	*ret = w.insns;
	*count = w.count;
	return 0;
}
