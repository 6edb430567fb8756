/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer: the input is what a hostile target leaves in its memory, twice: before the first drain and between drains.
 * Each half is a list of steps: a good record or cell, a word overwritten anywhere, or all the rest of the half poured
 * over the memory as it is.
 *
 * Every other input goes to a reader that drains nothing and makes snapshots of what is there.
 *
 * Holds: no crash, an end, no more records than the bytes could hold, and every delivered record is one that its probe
 * could have written, with readable arguments. A snapshot of one CPU's ring does not go back in time.
 */
#include "../unit/trace_target.h"

#define CPUS 2
#define RING 4096
#define CELLS 8
#define CELL 64
#define PROBES 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *data;
	size_t size;
	bool overwrites;
};

struct seen {
	const struct trace_probe *probes;
	uint64_t records;
	uint64_t sum;
	uint64_t last_ns;
	bool stop;
};

/* Made at the first call and kept: a new reader takes a millisecond to learn the clock. */
static struct trace_probe probe_table[PROBES];
static struct trace_reader *reader;
static struct trace_reader *recorder; /* the newest records replace the oldest */

static void prepare(void)
{
	for (uint32_t i = 0; i < PROBES; i++) {
		probe_table[i].kind = i == 1 ? TRACE_ENTRY : i == 2 ? TRACE_RETURN : TRACE_PLACE; /* words of their own come first */
		probe_table[i].nargs = i == 3 ? 0 : i;
		probe_table[i].record_size = i == 3 ? 0 : 24 + 8 * (i + probe_table[i].kind);
	}
	if (trace_reader_create(probe_table, PROBES, &reader) || trace_reader_create(probe_table, PROBES, &recorder))
		abort();
	trace_reader_overwrite(recorder);
}

static void pour(struct input *input, void *to, size_t size)
{
	size_t take = size < input->size ? size : input->size;

	if (!take)
		return;
	memcpy(to, input->data, take);
	input->data += take;
	input->size -= take;
}

static uint64_t pull(struct input *input, size_t size)
{
	uint64_t value = 0;

	pour(input, &value, size);
	return value;
}

/* Positions first, so that short inputs say something; then the bytes they point to; then everything. */
static void step_pour(struct input *input, struct target *target)
{
	for (uint32_t cpu = 0; cpu < CPUS; cpu++) {
		pour(input, target_ring(target, cpu), 24);
		pour(input, target_cells(target, cpu), 24);
	}
	for (uint32_t cpu = 0; cpu < CPUS; cpu++) {
		pour(input, target_ring_bytes(target, cpu, 0), 256);
		pour(input, target_cell(target, cpu, 0), CELLS * CELL);
	}
	pour(input, target_control(target), sizeof(struct wire_control));
	pour(input, target_ring_bytes(target, 0, 256), RING - 256);
	pour(input, target_ring_bytes(target, 1, 256), RING - 256);
}

static uint64_t *word_at(struct target *target, uint32_t cpu, unsigned where, uint64_t at)
{
	switch (where % 5) {
	case 0:
		return &((uint64_t *)target_ring(target, cpu))[at % 3];
	case 1:
		return &((uint64_t *)target_cells(target, cpu))[at % 3];
	case 2: /* among the latest records */
		return (uint64_t *)target_ring_bytes(target, cpu, base_align_down(target_ring(target, cpu)->head, 8)) -
		       at % 32;
	case 3:
		return (uint64_t *)target_cell(target, cpu, at / 8) + at % 8;
	}
	return (uint64_t *)target->memory.data + at % (WIRE_PAGE / 8);
}

static void step_overwrite(struct input *input, struct target *target)
{
	uint32_t cpu = (uint32_t)pull(input, 1) % CPUS;
	unsigned where = (unsigned)pull(input, 1);
	uint64_t *word = word_at(target, cpu, where, pull(input, 1));

	if (where & 64)
		*word += (int8_t)pull(input, 1) * 8;
	else if (where & 128)
		*word ^= 1ULL << pull(input, 1) % 64;
	else
		*word = pull(input, 8);
}

/* Never full, and behind each record the word by which it is found; or half of it, as of a thread that was killed. */
static void put_over(struct input *input, struct target *target, uint32_t cpu, const struct wire_record *record)
{
	struct wire_ring *ring = target_ring(target, cpu);
	uint64_t trailer = WIRE_TRAILER(record->size);
	bool is_whole = pull(input, 1) % 16;

	memcpy(target_ring_bytes(target, cpu, ring->head), record, is_whole ? record->size : record->size / 2);
	if (!is_whole)
		return;
	memcpy(target_ring_bytes(target, cpu, ring->head) + record->size, &trailer, sizeof(trailer));
	ring->head += record->size + WIRE_TRAILER_SIZE;
}

static void step_record(struct input *input, struct target *target, bool in_cell)
{
	union {
		struct wire_record header;
		uint64_t words[8];
	} record = { 0 };
	uint32_t cpu = (uint32_t)pull(input, 1) % CPUS;
	uint64_t position;

	record.header.id = (uint32_t)pull(input, 1) % 3;
	record.header.size = (uint16_t)probe_table[record.header.id].record_size;
	record.header.time = target_now() - 100000 + pull(input, 2) * 4; /* some older, some younger than the horizon */
	if (!in_cell && input->overwrites)
		put_over(input, target, cpu, &record.header);
	else if (!in_cell)
		(void)target_put(target, cpu, &record.header, record.header.size);
	else if (target_cell_reserve(target, cpu, record.header.id, &position) && pull(input, 1) % 4)
		target_cell_complete(target, cpu, position, &record.header);
}

static void pour_target(struct input *input, struct target *target)
{
	while (input->size) {
		unsigned step = (unsigned)pull(input, 1);

		if (step < 96)
			step_record(input, target, false);
		else if (step < 160)
			step_record(input, target, true);
		else if (step < 248)
			step_overwrite(input, target);
		else
			step_pour(input, target);
	}
}

static int look(void *arg, const struct trace_record *record)
{
	struct seen *seen = arg;

	if (record->id >= PROBES || !seen->probes[record->id].record_size || record->cpu >= CPUS || record->source != 1)
		abort();
	if (record->nargs != seen->probes[record->id].nargs)
		abort();
	for (uint32_t i = 0; i < record->nargs; i++)
		seen->sum += record->args[i];
	seen->records++;
	return seen->stop && seen->records % 3 == 0;
}

static void drain(struct seen *seen, bool all)
{
	uint64_t before = seen->records;
	long r = trace_reader_drain(reader, all, look, seen);

	if (r < 0 || seen->records - before > CPUS * (2 * RING / 24 + 2 * CELLS))
		abort();
}

static int look_in_order(void *arg, const struct trace_record *record)
{
	struct seen *seen = arg;

	if (record->time_ns < seen->last_ns)
		abort();
	seen->last_ns = record->time_ns;
	return look(arg, record);
}

static void make_snapshot(struct seen *seen, bool live)
{
	struct trace_snapshot snapshot = { 0 };
	struct trace_stats stats;
	uint64_t before = seen->records;
	int r;

	seen->last_ns = 0;
	r = trace_reader_snapshot(recorder, live, look_in_order, seen, &snapshot);
	if (r < 0 || seen->records - before > CPUS * (RING / 32 + CELLS))
		abort();
	if (!r && snapshot.records != seen->records - before)
		abort();
	trace_reader_stats(recorder, &stats);
	if (stats.damaged > CPUS * (RING + CELLS) || snapshot.last_ns < snapshot.first_ns)
		abort();
}

static void run_recorder(struct input *first, struct input *second, struct target *target, struct seen *seen)
{
	first->overwrites = second->overwrites = true;
	if (trace_reader_add(recorder, &target->memory, 1))
		abort();
	pour_target(first, target);
	make_snapshot(seen, true);
	pour_target(second, target);
	if (trace_reader_drain(recorder, true, look, seen))
		abort();
	make_snapshot(seen, false);
	trace_reader_remove(recorder, 1);
}

static void run_reader(struct input *first, struct input *second, struct target *target, struct seen *seen)
{
	if (trace_reader_add(reader, &target->memory, 1))
		abort();
	pour_target(first, target);
	drain(seen, false);
	pour_target(second, target);
	drain(seen, false);
	trace_reader_wait(reader, 0);
	drain(seen, true);
	seen->stop = false;
	drain(seen, true);
	trace_reader_remove(reader, 1);
}

static void check_target(struct target *target)
{
	for (uint32_t id = 0; id <= PROBES; id++) {
		(void)trace_memory_hits(&target->memory, id);
		(void)trace_memory_lost(&target->memory, id);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct wire_control geometry = target_geometry(CPUS, RING, CELLS, CELL, PROBES);
	struct input first = { .data = data, .size = size / 2 };
	struct input second = { .data = data + size / 2, .size = size - size / 2 };
	struct seen seen = { .probes = probe_table, .stop = size % 2 };
	struct target target;

	if (!reader)
		prepare();
	if (target_create(&geometry, &target))
		abort();
	if (size % 4 == 3) /* a memory that was scribbled on before we came */
		pour_target(&first, &target);
	if (size % 8 < 4)
		run_reader(&first, &second, &target, &seen);
	else
		run_recorder(&first, &second, &target, &seen);
	check_target(&target);
	target_destroy(&target);
	return 0;
}
