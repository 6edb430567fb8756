/* SPDX-License-Identifier: MIT */
/*
 * LONG records from end to end in one process: compiled programs, the very image of the runtime that targets get, rings and cells laid out
 * as the controller does it, and the reader.
 *
 * Probed functions are f(address, bytes): a record holds the string at the address and that many bytes from there.
 */
#ifndef TESTS_LONG_BED_H
#define TESTS_LONG_BED_H

#include "bpf_hit.h"
#include "patch/image.h"
#include "trace_target.h"

#define LONG_RING (1UL << 20)
#define LONG_CELLS 64UL
#define LONG_SLOTS 64UL
#define LONG_PROBES 16U
#define LONG_MOST WIRE_LONG_MAX
#define LONG_FIXED 56 /* header, two locators, two words */
#define LONG_ID 5U

struct long_bed {
	struct target file;
	struct wire_control *control;
	struct trace_probe probes[LONG_PROBES];
	struct trace_reader *reader;
	uint8_t *private_memory; /* slots, local page */
	bool overwrite;
	bool rseq; /* the programs compiled from now on use it where there is one */
};
static struct long_bed bed;

static const struct trace_arg long_args[4] = {
	{ .name = "text", .bits = 8, .kind = TRACE_STRING },
	{ .name = "bytes", .bits = 8, .kind = TRACE_BYTES },
	{ .name = "address", .bits = 64 },
	{ .name = "size", .bits = 64 },
};

/* Takes the string and the bytes in this order; %di and %si as words. */
static const char long_text[] = "r7 = r1\nr1 = map 0\nr2 = 56\nr3 = 65528\ncall 65540\nr6 = r0\nif r6 == 0 goto out\n"
				"r1 = r7\ncall 174\n*(u32 *)(r6 + 0) = r0\n*(u32 *)(r6 + 4) = 524344\n" /* 8 << 16 | 56 */
				"call 14\n*(u64 *)(r6 + 16) = r0\n"
				"r1 = *(u64 *)(r7 + 112)\n*(u64 *)(r6 + 40) = r1\nr1 = *(u64 *)(r7 + 104)\n*(u64 *)(r6 + 48) = r1\n"
				"r1 = r6\nr2 = 65528\nr3 = *(u64 *)(r7 + 112)\ncall 65541\n*(u64 *)(r6 + 24) = r0\n"
				"r1 = r6\nr2 = *(u64 *)(r7 + 104)\nr3 = *(u64 *)(r7 + 112)\ncall 65542\n*(u64 *)(r6 + 32) = r0\n"
				"r1 = r6\nr2 = 0\ncall 65543\nout: " EXIT;

/* The same without the string: only the bytes. */
static const char long_bytes_text[] = "r7 = r1\nr1 = map 0\nr2 = 56\nr3 = 65528\ncall 65540\nr6 = r0\nif r6 == 0 goto out\n"
				      "r1 = r7\ncall 174\n*(u32 *)(r6 + 0) = r0\n*(u32 *)(r6 + 4) = 524344\n"
				      "call 14\n*(u64 *)(r6 + 16) = r0\n"
				      "r1 = *(u64 *)(r7 + 112)\n*(u64 *)(r6 + 40) = r1\nr1 = *(u64 *)(r7 + 104)\n*(u64 *)(r6 + 48) = r1\n"
				      "r1 = r6\nr2 = *(u64 *)(r7 + 104)\nr3 = *(u64 *)(r7 + 112)\ncall 65542\n*(u64 *)(r6 + 32) = r0\n"
				      "r1 = r6\nr2 = 0\ncall 65543\nout: " EXIT;

static inline struct wire_control long_geometry(void)
{
	struct wire_control geometry = target_geometry(fake.cpus, LONG_RING, 64, 128, LONG_PROBES);

	geometry.long_cells = LONG_CELLS;
	geometry.long_cell_size = 1UL << 16;
	geometry.long_cells_at = geometry.block_span;
	geometry.block_span += WIRE_PAGE + geometry.long_cells * geometry.long_cell_size;
	geometry.block_file_size = geometry.block_span - geometry.ring_size;
	geometry.file_size = geometry.code_at = geometry.blocks_at + geometry.cpus * geometry.block_file_size;
	geometry.slots = LONG_SLOTS;
	geometry.slot_size = base_align_up(sizeof(struct wire_slot) + LONG_MOST, WIRE_PAGE) + WIRE_STACK_WINDOW + WIRE_STACK_STATE;
	geometry.places_at = geometry.lost_at + LONG_PROBES * sizeof(uint64_t); /* on the same page */
	return geometry;
}

/* As fill_rings() of the controller. */
static inline void long_fill(void)
{
	const struct wire_control *geometry = &bed.file.memory.geometry;

	for (uint32_t cpu = 0; cpu < geometry->cpus; cpu++) {
		uint8_t *block = bed.file.memory.blocks[cpu];

		*(struct wire_ring *)block = (struct wire_ring) { .limit = geometry->ring_size };
		*(struct wire_cells *)(block + geometry->cells_at) = (struct wire_cells) { .limit = geometry->cells };
		*(struct wire_cells *)(block + geometry->long_cells_at) = (struct wire_cells) { .limit = geometry->long_cells };
		for (uint64_t i = 0; i < geometry->long_cells; i++)
			*(uint64_t *)(block + geometry->long_cells_at + WIRE_PAGE + i * geometry->long_cell_size) = 0;
	}
}

static inline void long_place_runtime(void)
{
	struct wire_runtime image;
	uint8_t *at = fake.code_rw;

	memcpy(&image, patch_runtime_image, sizeof(image));
	memcpy(at, patch_runtime_image, patch_runtime_image_size);
	memcpy(at + image.data_slot, &bed.control, sizeof(bed.control));
	for (int i = 0; i < RT_ENTRIES; i++)
		fake.target.runtime[i] = fake_address(fake.code_rx + image.entry[i]);
	fake.code_used = base_align_up(patch_runtime_image_size, 64);
}

static inline struct wire_slot *long_slot(uint64_t i)
{
	return (struct wire_slot *)(bed.control->slots_at + i * bed.control->slot_size);
}

static inline unsigned long_slots_taken(void)
{
	unsigned taken = 0;

	for (uint64_t i = 0; i < bed.control->slots; i++)
		taken += long_slot(i)->owner != 0;
	return taken;
}

static inline void long_read_anew(void)
{
	trace_reader_destroy(bed.reader);
	assert_int_equal(trace_reader_create(bed.probes, LONG_PROBES, &bed.reader), 0);
	if (bed.overwrite)
		trace_reader_overwrite(bed.reader);
	assert_int_equal(trace_reader_add(bed.reader, &bed.file.memory, 1), 0);
}

/* Everything empty, a new reader; programs compiled earlier are gone. */
static inline void long_reset(bool rseq, bool overwrite)
{
	const struct wire_control *geometry = &bed.file.memory.geometry;
	static int32_t rseq_offset;

	rseq_offset = fake.target.rseq_offset ? fake.target.rseq_offset : rseq_offset;
	fake.target.rseq_offset = rseq ? rseq_offset : 0;
	fake.target.overwrite = bed.overwrite = overwrite;
	*bed.control = bed.file.memory.geometry;
	memset((uint8_t *)bed.control + geometry->lost_at, 0, 8UL * LONG_PROBES);
	for (uint64_t i = 0; i < geometry->slots; i++)
		long_slot(i)->owner = 0;
	long_fill();
	long_place_runtime();
	long_read_anew();
}

static inline int long_setup(void **state)
{
	struct wire_control geometry;
	uint64_t slots;

	setup(state);
	fake.code_rx = fake.code_far;
	geometry = long_geometry();
	slots = geometry.slots * geometry.slot_size;
	assert_int_equal(target_create(&geometry, &bed.file), 0);
	bed.control = bed.file.memory.data;
	bed.private_memory = mmap(NULL, slots + WIRE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(bed.private_memory != MAP_FAILED && !madvise(bed.private_memory, slots + WIRE_PAGE, MADV_WIPEONFORK));
	bed.file.memory.geometry.self = fake_address(bed.control);
	bed.file.memory.geometry.slots_at = fake_address(bed.private_memory);
	bed.file.memory.geometry.local = fake_address(bed.private_memory + slots);
	*bed.control = bed.file.memory.geometry;
	for (uint32_t cpu = 0; cpu < geometry.cpus; cpu++)
		((uint64_t *)((uint8_t *)bed.control + geometry.table_at))[2 + cpu] = fake_address(bed.file.memory.blocks[cpu]);
	for (uint32_t i = 0; i < LONG_PROBES; i++)
		bed.probes[i] = (struct trace_probe) {
			.record_size = LONG_FIXED, .record_most = LONG_MOST, .nargs = 4, .args = long_args
		};
	fake.target.table = fake_address(bed.control) + geometry.table_at + 16;
	fake.target.lost = fake_address(bed.control) + geometry.lost_at;
	fake.target.local = bed.control->local;
	fake.target.ring_size = geometry.ring_size;
	fake.target.counters_at = geometry.counters_at;
	fake.target.shared_at = geometry.shared_at;
	fake.target.cells_at = geometry.cells_at;
	fake.target.cells = geometry.cells;
	fake.target.cell_size = geometry.cell_size;
	fake.target.long_cells_at = geometry.long_cells_at;
	fake.target.long_cells = geometry.long_cells;
	fake.target.long_cell_size = geometry.long_cell_size;
	return 0;
}

static inline fake_function *long_function(const char *text, uint32_t id)
{
	return fake_function_at(&fake, fake_compile_text(&fake, text, NULL), id);
}

static inline uint64_t long_lost(uint32_t id)
{
	return trace_memory_lost(&bed.file.memory, id);
}

static inline void expect_no_damage(void)
{
	struct trace_stats stats;

	trace_reader_stats(bed.reader, &stats);
	assert_int_equal(stats.damaged, 0);
	assert_int_equal(stats.overrun, 0);
}

/* The last record that a drain delivered, copied. */
struct long_copy {
	unsigned count;
	struct trace_record record;
	uint64_t args[4];
	uint8_t bytes[WIRE_LONG_MAX];
};
static struct long_copy got;

static inline int long_keep(void *arg, const struct trace_record *record)
{
	struct long_copy *to = arg;

	to->count++;
	to->record = *record;
	assert_true(record->size <= sizeof(to->bytes));
	memcpy(to->bytes, record->bytes, record->size);
	memcpy(to->args, record->args, sizeof(to->args));
	return 0;
}

static inline void long_drain(void)
{
	struct trace_snapshot ignored;

	got.count = 0;
	if (bed.overwrite) {
		assert_true(trace_reader_drain(bed.reader, true, long_keep, &got) >= 0);
		assert_int_equal(trace_reader_snapshot(bed.reader, false, long_keep, &got, &ignored), 0);
	} else {
		assert_true(trace_reader_drain(bed.reader, true, long_keep, &got) >= 0);
	}
}

/* Where that locator leads in what was read last; its bytes are @size. */
static inline const uint8_t *located(unsigned arg, uint64_t flags, uint32_t size)
{
	uint64_t locator = got.args[arg];

	if ((locator & (WIRE_LOCATOR_FAILED | WIRE_LOCATOR_SHORT)) != flags || wire_locator_bytes(locator) != size)
		fail_msg("argument %u is %lx, not %lx with %u bytes", arg, locator, flags, size);
	return got.bytes + wire_locator_offset(locator);
}

#endif
