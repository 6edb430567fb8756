/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer: the input is what a hostile target leaves in its memory, twice: before the first drain and between drains.
 * Each half is a list of steps: a good record or cell, a word overwritten anywhere, or all the rest of the half poured
 * over the memory as it is.
 *
 * Every other input goes to a reader that drains nothing and makes snapshots of what is there.
 *
 * Holds: no crash, an end, no more records than the bytes could hold, and every delivered record is one that its probe
 * could have written, with readable arguments, and bytes that are there. A snapshot of one CPU's ring does not go back in time.
 */
#include "../unit/trace_target.h"

#define CPUS 2
#define RING 4096
#define CELLS 8
#define CELL 64
#define PROBES 5
#define LONG_ID 4 /* a string, bytes and an array of strings */
#define LONG_FIXED 48
#define LONG_MOST 1024
#define LONG_CELLS 4
#define LONG_CELL 2048

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

static const struct trace_arg long_args[3] = {
	{ .kind = TRACE_STRING },
	{ .kind = TRACE_BYTES },
	{ .kind = TRACE_ARRAY, .format = TRACE_TEXT, .bits = 64 },
};

static void prepare(void)
{
	for (uint32_t i = 0; i < LONG_ID; i++) {
		probe_table[i].kind = i == 1 ? TRACE_ENTRY : i == 2 ? TRACE_RETURN : TRACE_PLACE; /* words of their own come first */
		probe_table[i].nargs = i == 3 ? 0 : i;
		probe_table[i].record_size = i == 3 ? 0 : 24 + 8 * (i + probe_table[i].kind);
	}
	probe_table[LONG_ID] = (struct trace_probe) {
		.record_size = LONG_FIXED, .record_most = LONG_MOST, .nargs = 3, .args = long_args
	};
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

static struct wire_cells *long_cells(struct target *target, uint32_t cpu)
{
	return (void *)((uint8_t *)target->memory.blocks[cpu] + target->memory.geometry.long_cells_at);
}

static uint8_t *long_cell(struct target *target, uint32_t cpu, uint64_t position)
{
	return (uint8_t *)long_cells(target, cpu) + WIRE_PAGE + position % LONG_CELLS * LONG_CELL;
}

/* Positions first, so that short inputs say something; then the bytes they point to; then everything. */
static void step_pour(struct input *input, struct target *target)
{
	for (uint32_t cpu = 0; cpu < CPUS; cpu++) {
		pour(input, target_ring(target, cpu), 24);
		pour(input, target_cells(target, cpu), 24);
		pour(input, long_cells(target, cpu), 24);
	}
	for (uint32_t cpu = 0; cpu < CPUS; cpu++) {
		pour(input, target_ring_bytes(target, cpu, 0), 256);
		pour(input, target_cell(target, cpu, 0), CELLS * CELL);
		pour(input, long_cell(target, cpu, 0), 128);
	}
	pour(input, target_control(target), sizeof(struct wire_control));
	pour(input, target_ring_bytes(target, 0, 256), RING - 256);
	pour(input, target_ring_bytes(target, 1, 256), RING - 256);
}

static uint64_t *word_at(struct target *target, uint32_t cpu, unsigned where, uint64_t at)
{
	switch (where % 7) {
	case 0:
		return &((uint64_t *)target_ring(target, cpu))[at % 3];
	case 1:
		return &((uint64_t *)target_cells(target, cpu))[at % 3];
	case 2: /* among the latest records */
		return (uint64_t *)target_ring_bytes(target, cpu, base_align_down(target_ring(target, cpu)->head, 8)) -
		       at % 32;
	case 3:
		return (uint64_t *)target_cell(target, cpu, at / 8) + at % 8;
	case 4:
		return &((uint64_t *)long_cells(target, cpu))[at % 3];
	case 5:
		return (uint64_t *)(void *)long_cell(target, cpu, at / 64) + at % 64;
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

union record {
	struct wire_record header;
	uint64_t words[LONG_MOST / 8];
};

/* Mostly as a program would write it. */
static void make_long(struct input *input, union record *record)
{
	uint32_t size = LONG_FIXED + 8 * (uint32_t)(pull(input, 1) % ((LONG_MOST - LONG_FIXED) / 8 + 1));
	uint32_t inner = (size - LONG_FIXED) / 2;
	uint64_t wrong = pull(input, 1);

	record->header.size = (uint16_t)size;
	record->header.flags = WIRE_RECORD_LONG;
	record->words[3] = WIRE_LOCATOR(LONG_FIXED, inner);
	record->words[4] = WIRE_LOCATOR(LONG_FIXED + inner, size - LONG_FIXED - inner) | WIRE_LOCATOR_SHORT;
	record->words[5] = size >= 64 ? WIRE_LOCATOR(LONG_FIXED, 16) : WIRE_LOCATOR_FAILURE(14);
	if (size >= 64) {
		record->words[6] = WIRE_LOCATOR(size - 3, 3);
		record->words[7] = WIRE_LOCATOR_FAILURE(1);
	}
	if (wrong > 192)
		record->words[3 + wrong % 5] = pull(input, 8);
	else if (wrong > 128)
		record->words[3 + wrong % 5] ^= 1ULL << pull(input, 1) % 64;
}

static void put_long_cell(struct input *input, struct target *target, uint32_t cpu, const union record *record)
{
	struct wire_cells *cells = long_cells(target, cpu);
	struct wire_cell *cell = (void *)long_cell(target, cpu, cells->next);

	if (!input->overwrites && cells->next - cells->tail >= LONG_CELLS)
		return;
	cells->next++;
	memcpy(cell->record, record, record->header.size);
	if (pull(input, 1) % 4)
		cell->seq = cells->next;
}

static void step_record(struct input *input, struct target *target, bool in_cell)
{
	union record record = { 0 };
	uint32_t cpu = (uint32_t)pull(input, 1) % CPUS;
	uint64_t position;

	record.header.id = (uint32_t)pull(input, 1) % 4;
	if (record.header.id == 3)
		record.header.id = LONG_ID;
	record.header.size = (uint16_t)probe_table[record.header.id].record_size;
	if (record.header.id == LONG_ID)
		make_long(input, &record);
	record.header.time = target_now() - 100000 + pull(input, 2) * 4; /* some older, some younger than the horizon */
	if (!in_cell && input->overwrites)
		put_over(input, target, cpu, &record.header);
	else if (!in_cell)
		(void)target_put(target, cpu, &record.header, record.header.size);
	else if (record.header.id == LONG_ID)
		put_long_cell(input, target, cpu, &record);
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

/* Every byte that a locator names. */
static uint64_t sum_located(const struct trace_record *record, uint64_t locator)
{
	const uint8_t *bytes = record->bytes + wire_locator_offset(locator);
	uint64_t sum = 0;

	if (locator & WIRE_LOCATOR_FAILED)
		return 0;
	if (wire_locator_offset(locator) + (uint64_t)wire_locator_bytes(locator) > record->size)
		abort();
	for (uint32_t i = 0; i < wire_locator_bytes(locator); i++)
		sum += bytes[i];
	return sum;
}

static void look_long(struct seen *seen, const struct trace_record *record)
{
	uint64_t texts = record->args[2];

	if (record->size < LONG_FIXED || record->size > LONG_MOST || record->size % 8)
		abort();
	for (uint32_t i = 0; i < 3; i++)
		seen->sum += sum_located(record, record->args[i]);
	for (uint32_t i = 0; !(texts & WIRE_LOCATOR_FAILED) && i < wire_locator_bytes(texts) / 8; i++) {
		uint64_t text;

		memcpy(&text, record->bytes + wire_locator_offset(texts) + 8 * i, 8);
		seen->sum += sum_located(record, text);
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
	if (record->id == LONG_ID)
		look_long(seen, record);
	seen->records++;
	return seen->stop && seen->records % 3 == 0;
}

static void drain(struct seen *seen, bool all)
{
	uint64_t before = seen->records;
	long r = trace_reader_drain(reader, all, look, seen);

	if (r < 0 || seen->records - before > CPUS * (2 * RING / 24 + 2 * CELLS + 2 * LONG_CELLS))
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
	if (r < 0 || seen->records - before > CPUS * (RING / 32 + CELLS + LONG_CELLS))
		abort();
	if (!r && snapshot.records != seen->records - before)
		abort();
	trace_reader_stats(recorder, &stats);
	if (stats.damaged > CPUS * (RING + CELLS + LONG_CELLS) || snapshot.last_ns < snapshot.first_ns)
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

static struct wire_control fuzzed_geometry(void)
{
	struct wire_control geometry = target_geometry(CPUS, RING, CELLS, CELL, PROBES);

	geometry.long_cells = LONG_CELLS;
	geometry.long_cell_size = LONG_CELL;
	geometry.long_cells_at = geometry.block_span;
	geometry.block_span += WIRE_PAGE + LONG_CELLS * LONG_CELL;
	geometry.block_file_size = geometry.block_span - RING;
	geometry.file_size = geometry.code_at = geometry.blocks_at + CPUS * geometry.block_file_size;
	return geometry;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct wire_control geometry = fuzzed_geometry();
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
