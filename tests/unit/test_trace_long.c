/* SPDX-License-Identifier: MIT */
/*
 * Reading LONG records: all sizes, in rings, long cells and where the newest replace the oldest; and locators, sizes and positions that no
 * program of ours writes: never delivered, counted, and what comes after is found again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "trace_target.h"

#include <cmocka.h>

#define CPUS 2U
#define RING (1UL << 19)
#define LONG_CELLS 16UL
#define LONG_CELL (1UL << 16)
#define PROBES 4U
#define FIXED 40U
#define FAILED WIRE_LOCATOR_FAILED
#define SHORT WIRE_LOCATOR_SHORT

static const struct trace_arg args[2] = { { .name = "text", .kind = TRACE_STRING }, { .name = "bytes", .kind = TRACE_BYTES } };
static const struct trace_arg texts[2] = { { .name = "texts", .kind = TRACE_ARRAY, .format = TRACE_TEXT, .bits = 64 },
					   { .name = "word", .kind = TRACE_WORD, .bits = 64 } };

struct room {
	struct target target;
	struct trace_probe probes[PROBES];
	struct trace_reader *reader;
	bool overwrites;
	uint64_t time;
};

/* 0 has words only, 1 is LONG, 2 also, of a function's entry, 3 has an array of texts. */
static void make_probes(struct trace_probe *probes)
{
	for (unsigned i = 0; i < PROBES; i++)
		probes[i] = (struct trace_probe) { .record_size = FIXED, .record_most = WIRE_LONG_MAX, .nargs = 2, .args = i == 3 ? texts : args };
	probes[0].record_most = 0;
	probes[0].args = NULL;
	probes[2].kind = TRACE_ENTRY;
	probes[2].record_size = FIXED + 8;
}

static struct wire_control geometry_of(void)
{
	struct wire_control geometry = target_geometry(CPUS, RING, 16, 64, PROBES);

	geometry.long_cells = LONG_CELLS;
	geometry.long_cell_size = LONG_CELL;
	geometry.long_cells_at = geometry.block_span;
	geometry.block_span += WIRE_PAGE + LONG_CELLS * LONG_CELL;
	geometry.block_file_size = geometry.block_span - RING;
	geometry.file_size = geometry.code_at = geometry.blocks_at + CPUS * geometry.block_file_size;
	return geometry;
}

static struct wire_cells *long_cells(struct room *room, uint32_t cpu)
{
	return (void *)((uint8_t *)room->target.memory.blocks[cpu] + room->target.memory.geometry.long_cells_at);
}

static struct wire_cell *long_cell(struct room *room, uint32_t cpu, uint64_t position)
{
	return (void *)((uint8_t *)long_cells(room, cpu) + WIRE_PAGE + position % LONG_CELLS * LONG_CELL);
}

static void open_room(struct room *room, bool overwrites)
{
	const struct wire_control geometry = geometry_of();

	*room = (struct room) { .overwrites = overwrites, .time = target_now() - 1000000000 };
	make_probes(room->probes);
	assert_int_equal(target_create(&geometry, &room->target), 0);
	assert_int_equal(trace_reader_create(room->probes, PROBES, &room->reader), 0);
	if (overwrites)
		trace_reader_overwrite(room->reader);
	assert_int_equal(trace_reader_add(room->reader, &room->target.memory, 1), 0);
}

static void close_room(struct room *room)
{
	trace_reader_destroy(room->reader);
	target_destroy(&room->target);
}

union record {
	struct wire_record head;
	uint64_t words[WIRE_LONG_MAX / 8];
	uint8_t bytes[WIRE_LONG_MAX];
};

/* All that follows the locators is made of the number, which stands in the tid. */
static void make(struct room *room, union record *r, uint32_t id, uint32_t size, uint32_t number)
{
	uint32_t fixed = room->probes[id].record_size;
	uint32_t half = fixed + (size - fixed) / 2;

	r->head = (struct wire_record) { .id = id, .size = (uint16_t)size, .time = ++room->time, .tid = number, .flags = WIRE_RECORD_LONG };
	r->words[3] = 0x7ffe00001000;
	r->words[fixed / 8 - 2] = WIRE_LOCATOR(fixed, half - fixed);
	r->words[fixed / 8 - 1] = WIRE_LOCATOR(half, size - half);
	for (uint32_t i = fixed; i < size; i++)
		r->bytes[i] = (uint8_t)(number + i);
}

/* Whatever the record says its size is, positions are multiples of 8. */
static bool put_ring(struct room *room, const union record *r)
{
	struct wire_ring *ring = target_ring(&room->target, 0);
	uint64_t trailer = WIRE_TRAILER(r->head.size);

	if (!room->overwrites)
		return target_put(&room->target, 0, &r->head, base_align_up(r->head.size, 8));
	memcpy(target_ring_bytes(&room->target, 0, ring->head), r->bytes, r->head.size);
	memcpy(target_ring_bytes(&room->target, 0, ring->head) + base_align_up(r->head.size, 8), &trailer, sizeof(trailer));
	ring->head += base_align_up(r->head.size, 8) + WIRE_TRAILER_SIZE;
	return true;
}

static void put_cell(struct room *room, const union record *r)
{
	uint64_t position = long_cells(room, 1)->next++;
	struct wire_cell *cell = long_cell(room, 1, position);

	memcpy(cell->record, r->bytes, r->head.size);
	__atomic_store_n(&cell->seq, position + 1, __ATOMIC_RELEASE);
}

struct log {
	uint32_t numbers[4096];
	size_t count;
};

static int look(void *arg, const struct trace_record *record)
{
	struct log *log = arg;
	uint32_t fixed = record->id == 2 ? FIXED + 8 : FIXED;

	assert_true(log->count < sizeof(log->numbers) / sizeof(log->numbers[0]));
	log->numbers[log->count++] = record->tid;
	assert_int_equal(record->nargs, 2);
	if (record->id == 2)
		assert_int_equal(record->frame, 0x7ffe00001000);
	if (record->id != 1 && record->id != 2)
		return 0;
	assert_int_equal(((const struct wire_record *)(const void *)record->bytes)->size, record->size);
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t offset = wire_locator_offset(record->args[i]), bytes = wire_locator_bytes(record->args[i]);

		if (!record->args[i] || record->args[i] & FAILED)
			continue;
		assert_true(offset + bytes <= record->size);
		for (uint32_t n = offset < fixed ? fixed : offset; n < offset + bytes; n++)
			if (record->bytes[n] != (uint8_t)(record->tid + n))
				fail_msg("record %u, byte %u is %x", record->tid, n, record->bytes[n]);
	}
	return 0;
}

static void read_all(struct room *room, struct log *log)
{
	struct trace_snapshot snapshot;

	log->count = 0;
	assert_true(trace_reader_drain(room->reader, true, look, log) >= 0);
	if (room->overwrites)
		assert_int_equal(trace_reader_snapshot(room->reader, false, look, log, &snapshot), 0);
}

static struct trace_stats stats_of(struct room *room)
{
	struct trace_stats stats;

	trace_reader_stats(room->reader, &stats);
	return stats;
}

static uint32_t some_size(uint32_t id, unsigned *seed)
{
	uint32_t fixed = id == 2 ? FIXED + 8 : FIXED;
	uint32_t most = rand_r(seed) % 4 ? 200 : WIRE_LONG_MAX - fixed;

	return id ? fixed + 8 * ((uint32_t)rand_r(seed) % (most / 8 + 1)) : FIXED;
}

static void test_all_sizes(void **state)
{
	static union record r;
	static struct log log;
	unsigned seed = 5;
	uint32_t lost = 0, number = 0;
	struct room room;

	open_room(&room, false);
	for (unsigned lap = 0; lap < 300; lap++) {
		uint32_t first = number;

		for (unsigned n = 0; n < lap % 140; n++) {
			uint32_t id = (uint32_t)rand_r(&seed) % 3;

			make(&room, &r, id, some_size(id, &seed), number);
			if (put_ring(&room, &r))
				number++;
			else
				lost++;
		}
		read_all(&room, &log);
		assert_int_equal(log.count, number - first);
		for (size_t i = 0; i < log.count; i++)
			assert_int_equal(log.numbers[i], first + i);
	}
	for (uint32_t n = 0; n < 10 * LONG_CELLS; n++) {
		make(&room, &r, 1, n % 7 ? some_size(1, &seed) : WIRE_LONG_MAX, n);
		put_cell(&room, &r);
		if (n % 5 == 4) {
			read_all(&room, &log);
			assert_int_equal(log.count, 5);
			assert_int_equal(log.numbers[4], n);
		}
	}
	assert_int_equal(stats_of(&room).damaged + stats_of(&room).overrun + stats_of(&room).abandoned, 0);
	assert_true(lost && number > 1000);
	close_room(&room);
}

static void test_replaced(void **state)
{
	static union record r;
	static struct log log;
	unsigned seed = 9;
	struct room room;

	open_room(&room, true);
	for (uint32_t n = 0; n < 600; n++) {
		uint32_t id = (uint32_t)rand_r(&seed) % 3;

		make(&room, &r, id, some_size(id, &seed), n);
		put_ring(&room, &r);
		if (n % 20 || n < 40)
			continue;
		read_all(&room, &log);
		assert_true(log.count > 4);
		for (size_t i = 0; i < log.count; i++)
			assert_int_equal(log.numbers[i], n + 1 - log.count + i);
		assert_int_equal(stats_of(&room).damaged, 0);
	}
	close_room(&room);

	open_room(&room, true);
	for (uint32_t n = 0; n < 3 * LONG_CELLS; n++) {
		make(&room, &r, 1, WIRE_LONG_MAX - 8 * (n % 3), n);
		put_cell(&room, &r);
	}
	read_all(&room, &log);
	assert_int_equal(log.count, LONG_CELLS);
	for (size_t i = 0; i < log.count; i++)
		assert_int_equal(log.numbers[i], 2 * LONG_CELLS + i);
	close_room(&room);
}

/* Locators of a record of 104 bytes, and whether they are possible. */
static const struct {
	uint64_t word;
	bool good;
} locators[] = {
	{ 0, true },
	{ WIRE_LOCATOR(40, 64), true },
	{ WIRE_LOCATOR(40, 0), true },
	{ WIRE_LOCATOR(104, 0), true },
	{ WIRE_LOCATOR(103, 1), true },
	{ WIRE_LOCATOR(24, 80), true },
	{ WIRE_LOCATOR(41, 63) | SHORT, true },
	{ WIRE_LOCATOR_FAILURE(1), true },
	{ WIRE_LOCATOR_FAILURE(4095), true },
	{ FAILED, false },
	{ WIRE_LOCATOR_FAILURE(4096), false },
	{ WIRE_LOCATOR_FAILURE(14) | SHORT, false },
	{ WIRE_LOCATOR_FAILURE(14) | 1ULL << 40, false },
	{ SHORT, false },
	{ 1, false },
	{ WIRE_LOCATOR(0, 24), false },
	{ WIRE_LOCATOR(23, 1), false },
	{ WIRE_LOCATOR(40, 65), false },
	{ WIRE_LOCATOR(104, 1), false },
	{ WIRE_LOCATOR(105, 0), false },
	{ WIRE_LOCATOR(112, 0), false },
	{ WIRE_LOCATOR(65528, 8), false },
	{ WIRE_LOCATOR(40, 0xffffffc0), false },
	{ WIRE_LOCATOR(40, 64) | 1ULL << 48, false },
	{ WIRE_LOCATOR(40, 64) | 1ULL << 61, false },
	{ ~0ULL, false },
};

/* @bad is one record among good ones. */
static void judge(const union record *bad, bool good, const char *what, size_t n)
{
	static const struct way {
		bool cell, overwrites;
	} ways[] = { { false, false }, { true, false }, { false, true }, { true, true } };
	static union record r;
	static struct log log;

	for (size_t way = 0; way < sizeof(ways) / sizeof(ways[0]); way++) {
		union record *copy = malloc(sizeof(*copy));
		uint64_t expected = ways[way].cell ? 1 : bad->head.size < 24 ? 24 : bad->head.size;
		struct room room;

		open_room(&room, ways[way].overwrites);
		for (uint32_t i = 0; i < 13; i++) {
			make(&room, &r, i % 3, i % 3 ? 8 * (20 + i) : FIXED, i);
			if (i == 6) {
				memcpy(copy, bad, sizeof(*copy));
				copy->head.time = room.time;
				copy->head.tid = 6;
			}
			if (ways[way].cell)
				put_cell(&room, i == 6 ? copy : &r);
			else
				put_ring(&room, i == 6 ? copy : &r);
		}
		read_all(&room, &log);
		if (log.count != 12U + good)
			fail_msg("%s %zu, way %zu: %zu records", what, n, way, log.count);
		if (!good && !stats_of(&room).damaged)
			fail_msg("%s %zu, way %zu: no damage", what, n, way);
		if (!good && bad->head.size == 104)
			assert_int_equal(stats_of(&room).damaged, expected + (ways[way].cell || !ways[way].overwrites ? 0 : 8));
		free(copy);
		close_room(&room);
	}
}

static void test_locators(void **state)
{
	static union record r;
	struct room room;

	open_room(&room, false);
	for (size_t n = 0; n < sizeof(locators) / sizeof(locators[0]); n++)
		for (unsigned arg = 0; arg < 2; arg++) {
			make(&room, &r, 1, 104, 6);
			r.words[3 + arg] = locators[n].word;
			judge(&r, locators[n].good, "locator", n);
		}
	close_room(&room);
}

/* The elements of an array of texts are locators, too. */
static void test_elements(void **state)
{
	static union record r;
	struct room room;

	open_room(&room, false);
	for (size_t n = 0; n < sizeof(locators) / sizeof(locators[0]); n++) {
		make(&room, &r, 3, 104, 6);
		r.words[3] = WIRE_LOCATOR(FIXED, 16);
		r.words[4] = ~0ULL; /* a word may be anything */
		r.words[5] = WIRE_LOCATOR(FIXED + 16, 5);
		r.words[6] = locators[n].word;
		judge(&r, locators[n].good, "element", n);
	}
	close_room(&room);
}

static void test_headers(void **state)
{
	static const struct {
		uint32_t id, size, flags;
		bool good;
	} heads[] = {
		{ 1, 104, WIRE_RECORD_LONG, true }, { 1, 104, 0, false },  { 1, FIXED, 0, true },   { 0, 104, WIRE_RECORD_LONG, false },
		{ 0, FIXED, WIRE_RECORD_LONG, true }, { 1, 32, 8, false }, { 1, 100, 8, false },    { 1, 24, 8, false },
		{ 4, 104, 8, false },		      { 1, 16, 8, false }, { 1, 65528, 8, true },   { 2, 40, 8, false },
	};
	static union record r;
	struct room room;

	open_room(&room, false);
	for (size_t n = 0; n < sizeof(heads) / sizeof(heads[0]); n++) {
		memset(&r, 0, sizeof(r));
		r.head = (struct wire_record) {
			.id = heads[n].id, .size = (uint16_t)heads[n].size, .flags = (uint16_t)heads[n].flags
		};
		judge(&r, heads[n].good, "header", n);
	}
	/* No larger than its row says. */
	room.probes[1].record_most = 96;
	make(&room, &r, 1, 104, 0);
	put_ring(&room, &r);
	trace_reader_probes(room.reader, room.probes, PROBES);
	assert_int_equal(trace_reader_drain(room.reader, true, look, &(struct log) { 0 }), 0);
	assert_int_equal(stats_of(&room).damaged, 104);
	close_room(&room);
}

/* The head, anywhere: in the middle of a record, of its locators, of the next lap. */
static void test_cut(void **state)
{
	static union record r;
	static struct log log;

	for (uint32_t cut = 8; cut < 6000; cut += cut < 200 ? 8 : 264) {
		struct room room;

		open_room(&room, false);
		make(&room, &r, 1, 6000, 0);
		put_ring(&room, &r);
		make(&room, &r, 1, 6000, 1);
		put_ring(&room, &r);
		target_ring(&room.target, 0)->head -= cut;
		read_all(&room, &log);
		assert_int_equal(log.count, 1);
		assert_int_equal(stats_of(&room).damaged, 6000 - cut);
		for (uint32_t n = 2; n < 9; n++) {
			make(&room, &r, n % 3, n % 3 ? 8 * n + 200 : FIXED, n);
			put_ring(&room, &r);
		}
		read_all(&room, &log);
		assert_int_equal(log.count, 7);
		close_room(&room);
	}
}

/* A reader that knew only small records; then larger ones come to the table. */
static void test_growing_table(void **state)
{
	static union record r;
	static struct log log;
	struct room room;

	open_room(&room, false);
	trace_reader_probes(room.reader, room.probes, 1);
	make(&room, &r, 0, FIXED, 0);
	put_ring(&room, &r);
	read_all(&room, &log);
	assert_int_equal(log.count, 1);
	trace_reader_probes(room.reader, room.probes, PROBES);
	for (uint32_t n = 1; n < 7; n++) {
		make(&room, &r, 1, WIRE_LONG_MAX, n);
		assert_true(put_ring(&room, &r));
	}
	read_all(&room, &log);
	assert_int_equal(log.count, 6);
	assert_int_equal(stats_of(&room).damaged, 0);
	close_room(&room);
}

static void test_geometry(void **state)
{
	static const struct {
		size_t field;
		uint64_t value;
	} bad[] = {
		{ offsetof(struct wire_control, long_cells), 24 },
		{ offsetof(struct wire_control, long_cells), 1UL << 40 },
		{ offsetof(struct wire_control, long_cell_size), 100 },
		{ offsetof(struct wire_control, long_cell_size), 1UL << 17 },
		{ offsetof(struct wire_control, long_cell_size), 16 },
		{ offsetof(struct wire_control, long_cells_at), 0 },
		{ offsetof(struct wire_control, long_cells_at), 1UL << 45 },
	};
	struct wire_control geometry = geometry_of();
	struct target target;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct wire_control changed = geometry;
		struct trace_memory memory;

		assert_int_equal(target_create(&geometry, &target), 0);
		memcpy((uint8_t *)&changed + bad[i].field, &bad[i].value, sizeof(bad[i].value));
		assert_int_equal(trace_memory_map(target.fd, &changed, &memory), -EINVAL);
		target_destroy(&target);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_sizes), cmocka_unit_test(test_replaced),	cmocka_unit_test(test_locators),
		cmocka_unit_test(test_elements),  cmocka_unit_test(test_headers),	cmocka_unit_test(test_cut),
		cmocka_unit_test(test_growing_table), cmocka_unit_test(test_geometry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
