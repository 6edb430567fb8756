/* SPDX-License-Identifier: MIT */
/*
 * One target's memory file in our address space. Owns the mappings. The geometry is checked once, here: everybody after
 * this file may add and multiply its numbers without a second look.
 *
 * A block is mapped as the target maps it, the ring twice in a row:
 *     address space  [ring page][ring][ring again][counters][shared][cells page][cells][long cells page][long cells]
 *     file           [ring page][ring]            [counters][shared][cells page][cells][long cells page][long cells]
 */
#include "trace/trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define MEMORY_CPUS 8192          /* the most CPUs a Linux kernel can be built for */
#define MEMORY_BYTES (1ULL << 40) /* larger than any file of ours; keeps every sum below far from overflow */

static bool is_power_of_two(uint64_t value)
{
	return value && !(value & (value - 1));
}

static bool is_page_multiple(uint64_t value)
{
	return value && !(value % WIRE_PAGE) && value <= MEMORY_BYTES;
}

/* An area of the data part before the blocks. */
static bool is_area(const struct wire_control *geometry, uint64_t at, uint64_t size)
{
	return at <= geometry->blocks_at && size <= geometry->blocks_at - at && !(at % 8);
}

static bool areas_fit(const struct wire_control *geometry)
{
	return is_area(geometry, 0, sizeof(struct wire_control)) &&
	       is_area(geometry, geometry->table_at, geometry->cpus * sizeof(uint64_t)) &&
	       is_area(geometry, geometry->lost_at, geometry->max_probes * sizeof(uint64_t)) &&
	       is_area(geometry, geometry->journal_at, geometry->max_sites * sizeof(struct wire_site)) &&
	       is_area(geometry, geometry->lend_at, sizeof(struct wire_lend));
}

static bool block_fits(const struct wire_control *geometry)
{
	uint64_t counters = geometry->max_probes * sizeof(uint64_t);

	return is_page_multiple(geometry->ring_size) && is_power_of_two(geometry->ring_size) &&
	       geometry->counters_at >= WIRE_PAGE + 2 * geometry->ring_size && geometry->counters_at <= MEMORY_BYTES &&
	       !(geometry->counters_at % 8) && geometry->shared_at >= geometry->counters_at + counters &&
	       geometry->shared_at <= MEMORY_BYTES && !(geometry->shared_at % 8) &&
	       geometry->cells_at >= geometry->shared_at + counters && geometry->cells_at <= MEMORY_BYTES &&
	       !(geometry->cells_at % 64) && is_power_of_two(geometry->cells) && geometry->cells <= 1U << 24 &&
	       is_power_of_two(geometry->cell_size) &&
	       geometry->cell_size >= sizeof(struct wire_cell) + sizeof(struct wire_record) &&
	       geometry->cell_size <= WIRE_PAGE && is_page_multiple(geometry->block_span) &&
	       geometry->block_span >= geometry->cells_at + WIRE_PAGE + geometry->cells * geometry->cell_size;
}

#define MEMORY_LONG_CELL 65536ULL
static_assert(MEMORY_LONG_CELL == WIRE_LONG_MAX + sizeof(struct wire_cell), "the largest LONG record fills its cell");

static bool long_cells_fit(const struct wire_control *geometry)
{
	uint64_t cells_end = geometry->cells_at + WIRE_PAGE + geometry->cells * geometry->cell_size;

	if (!geometry->long_cells)
		return true;
	return geometry->long_cells_at >= cells_end && geometry->long_cells_at <= MEMORY_BYTES && !(geometry->long_cells_at % 64) &&
	       is_power_of_two(geometry->long_cells) && geometry->long_cells <= 1U << 16 &&
	       is_power_of_two(geometry->long_cell_size) &&
	       geometry->long_cell_size >= sizeof(struct wire_cell) + sizeof(struct wire_record) &&
	       geometry->long_cell_size <= MEMORY_LONG_CELL &&
	       geometry->block_span >= geometry->long_cells_at + WIRE_PAGE + geometry->long_cells * geometry->long_cell_size;
}

static bool geometry_fits(const struct wire_control *geometry, uint64_t file_size)
{
	return geometry->cpus && geometry->cpus <= MEMORY_CPUS && is_page_multiple(geometry->blocks_at) &&
	       areas_fit(geometry) && block_fits(geometry) && long_cells_fit(geometry) && geometry->file_size <= file_size &&
	       geometry->block_file_size == geometry->block_span - geometry->ring_size &&
	       geometry->blocks_at + geometry->cpus * geometry->block_file_size <= geometry->file_size;
}

static int map_piece(uint8_t *at, uint64_t size, int fd, uint64_t offset)
{
	void *piece = mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, (off_t)offset);

	return piece == MAP_FAILED ? -errno : 0;
}

static int map_block(const struct trace_memory *memory, uint32_t cpu, void **ret)
{
	const struct wire_control *geometry = &memory->geometry;
	uint64_t ring = geometry->ring_size;
	uint64_t file = geometry->blocks_at + cpu * geometry->block_file_size;
	uint8_t *block =
	    mmap(NULL, geometry->block_span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int r;

	if (block == MAP_FAILED)
		return -errno;
	r = map_piece(block, WIRE_PAGE + ring, memory->fd, file);
	if (!r)
		r = map_piece(block + WIRE_PAGE + ring, geometry->block_span - WIRE_PAGE - ring, memory->fd,
			      file + WIRE_PAGE);
	/* The second copy of the ring is there now; what follows it in the file came along, at its place. */
	if (r) {
		munmap(block, geometry->block_span);
		return r;
	}
	*ret = block;
	return 0;
}

int trace_memory_map(int fd, const struct wire_control *geometry, struct trace_memory *ret)
{
	struct trace_memory memory = { .fd = fd, .geometry = *geometry };
	struct stat st;
	int r;

	if (fstat(fd, &st))
		return -errno;
	if (!geometry_fits(geometry, (uint64_t)st.st_size))
		return -EINVAL;
	memory.blocks = calloc(geometry->cpus, sizeof(*memory.blocks));
	if (!memory.blocks)
		return -ENOMEM;
	memory.data = mmap(NULL, geometry->blocks_at, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory.data == MAP_FAILED) {
		r = -errno;
		free(memory.blocks);
		return r;
	}
	for (uint32_t cpu = 0; cpu < geometry->cpus; cpu++) {
		r = map_block(&memory, cpu, &memory.blocks[cpu]);
		if (r) {
			trace_memory_unmap(&memory);
			return r;
		}
	}
	*ret = memory;
	return 0;
}

void trace_memory_unmap(struct trace_memory *memory)
{
	for (uint32_t cpu = 0; memory->blocks && cpu < memory->geometry.cpus; cpu++)
		if (memory->blocks[cpu])
			munmap(memory->blocks[cpu], memory->geometry.block_span);
	if (memory->data)
		munmap(memory->data, memory->geometry.blocks_at);
	free(memory->blocks);
	memset(memory, 0, sizeof(*memory));
	memory->fd = -1;
}

static uint64_t counter_read(const void *base, uint64_t at, uint32_t id)
{
	const uint64_t *counters = (const uint64_t *)((const uint8_t *)base + at);

	return __atomic_load_n(&counters[id], __ATOMIC_RELAXED);
}

uint64_t trace_memory_hits(const struct trace_memory *memory, uint32_t id)
{
	uint64_t hits = 0;

	if (id >= memory->geometry.max_probes)
		return 0;
	for (uint32_t cpu = 0; cpu < memory->geometry.cpus; cpu++) {
		hits += counter_read(memory->blocks[cpu], memory->geometry.counters_at, id);
		hits += counter_read(memory->blocks[cpu], memory->geometry.shared_at, id);
	}
	return hits;
}

/* Each counter has tickets of its own, the first of which passed. */
static uint64_t held_of(uint64_t counted, uint64_t every)
{
	return every && counted ? counted - ((counted - 1) / every + 1) : counted;
}

uint64_t trace_memory_held(const struct trace_memory *memory, uint32_t id, uint64_t every)
{
	uint64_t held = 0;

	if (id >= memory->geometry.max_probes)
		return 0;
	for (uint32_t cpu = 0; cpu < memory->geometry.cpus; cpu++) {
		held += held_of(counter_read(memory->blocks[cpu], memory->geometry.counters_at, id), every);
		held += held_of(counter_read(memory->blocks[cpu], memory->geometry.shared_at, id), every);
	}
	return held;
}

uint64_t trace_memory_lost(const struct trace_memory *memory, uint32_t id)
{
	if (id >= memory->geometry.max_probes)
		return 0;
	return counter_read(memory->data, memory->geometry.lost_at, id);
}
