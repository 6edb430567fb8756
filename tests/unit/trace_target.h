/* SPDX-License-Identifier: MIT */
/*
 * A target played by the test itself: a memory file laid out as the controller would, and writers that keep the wire's
 * rules in plain code. One thread writes one CPU's ring at a time, which is what rseq guarantees in a real target.
 */
#ifndef TRACE_TARGET_H
#define TRACE_TARGET_H

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "trace/trace.h"

struct target {
	int fd;
	struct trace_memory memory;
};

static inline struct wire_control target_geometry(uint32_t cpus, uint64_t ring_size, uint64_t cells, uint64_t cell_size,
						  uint32_t max_probes)
{
	struct wire_control geometry = {
		.magic = WIRE_MAGIC,
		.version = WIRE_VERSION,
		.cpus = cpus,
		.max_probes = max_probes,
		.ring_size = ring_size,
		.cells = cells,
		.cell_size = cell_size,
	};
	uint64_t counters = base_align_up(max_probes * 8ULL, WIRE_PAGE);

	geometry.table_at = WIRE_PAGE;
	geometry.lost_at = geometry.table_at + base_align_up(8 * (cpus + 2ULL), WIRE_PAGE);
	geometry.journal_at = geometry.lost_at + counters;
	geometry.lend_at = geometry.journal_at;
	geometry.blocks_at = geometry.lend_at + sizeof(struct wire_lend);
	geometry.counters_at = WIRE_PAGE + 2 * ring_size;
	geometry.shared_at = geometry.counters_at + counters;
	geometry.cells_at = geometry.shared_at + counters;
	geometry.block_span = geometry.cells_at + WIRE_PAGE + base_align_up(cells * cell_size, WIRE_PAGE);
	geometry.block_file_size = geometry.block_span - ring_size;
	geometry.code_at = geometry.blocks_at + cpus * geometry.block_file_size;
	geometry.file_size = geometry.code_at;
	return geometry;
}

static inline int target_create(const struct wire_control *geometry, struct target *ret)
{
	int r;

	ret->fd = memfd_create(WIRE_NAME, MFD_CLOEXEC);
	if (ret->fd < 0)
		return -errno;
	if (ftruncate(ret->fd, (off_t)geometry->file_size))
		return -errno;
	r = trace_memory_map(ret->fd, geometry, &ret->memory);
	if (r)
		close(ret->fd);
	return r;
}

static inline void target_destroy(struct target *target)
{
	trace_memory_unmap(&target->memory);
	close(target->fd);
}

static inline struct wire_control *target_control(struct target *target)
{
	return target->memory.data;
}

static inline struct wire_ring *target_ring(struct target *target, uint32_t cpu)
{
	return target->memory.blocks[cpu];
}

static inline uint8_t *target_ring_bytes(struct target *target, uint32_t cpu, uint64_t position)
{
	return (uint8_t *)target->memory.blocks[cpu] + WIRE_PAGE + (position & (target->memory.geometry.ring_size - 1));
}

static inline struct wire_cells *target_cells(struct target *target, uint32_t cpu)
{
	return (void *)((uint8_t *)target->memory.blocks[cpu] + target->memory.geometry.cells_at);
}

static inline struct wire_cell *target_cell(struct target *target, uint32_t cpu, uint64_t position)
{
	const struct wire_control *geometry = &target->memory.geometry;

	return (void *)((uint8_t *)target_cells(target, cpu) + WIRE_PAGE +
			(position & (geometry->cells - 1)) * geometry->cell_size);
}

static inline void target_lose(struct target *target, uint32_t id)
{
	uint64_t *lost = (uint64_t *)((uint8_t *)target->memory.data + target->memory.geometry.lost_at);

	__atomic_fetch_add(&lost[id], 1, __ATOMIC_RELAXED);
}

/* What both slow paths end with: a raised limit, and a reader that is woken if it sleeps. */
static inline void target_wake(struct target *target)
{
	uint32_t *sleeping = &target_control(target)->sleeping;

	if (__atomic_exchange_n(sleeping, 0, __ATOMIC_SEQ_CST))
		syscall(SYS_futex, sleeping, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* The slow path of a ring. Return: whether to try again. */
static inline bool target_ring_slow(struct target *target, uint32_t cpu, uint32_t id, uint64_t size)
{
	struct wire_ring *ring = target_ring(target, cpu);
	uint64_t full = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE) + target->memory.geometry.ring_size;
	bool fits = ring->head + size <= full;

	if (fits)
		__atomic_store_n(&ring->limit, full, __ATOMIC_SEQ_CST);
	else
		target_lose(target, id);
	target_wake(target);
	return fits;
}

/* Write the bytes of a record, whatever they are. Return: false when it was lost. */
static inline bool target_put(struct target *target, uint32_t cpu, const struct wire_record *record, uint64_t size)
{
	struct wire_ring *ring = target_ring(target, cpu);

	while (ring->head + size > __atomic_load_n(&ring->limit, __ATOMIC_RELAXED))
		if (!target_ring_slow(target, cpu, record->id, size))
			return false;
	memcpy(target_ring_bytes(target, cpu, ring->head), record, size);
	__atomic_store_n(&ring->head, ring->head + size, __ATOMIC_RELEASE);
	return true;
}

/* Reserve a cell. Return: false when there is none. */
static inline bool target_cell_reserve(struct target *target, uint32_t cpu, uint32_t id, uint64_t *position)
{
	struct wire_cells *cells = target_cells(target, cpu);

	*position = __atomic_load_n(&cells->next, __ATOMIC_RELAXED);
	for (;;) {
		if (*position >= __atomic_load_n(&cells->limit, __ATOMIC_RELAXED)) {
			uint64_t full = __atomic_load_n(&cells->tail, __ATOMIC_ACQUIRE) + target->memory.geometry.cells;
			bool fits = *position < full;

			if (fits)
				__atomic_store_n(&cells->limit, full, __ATOMIC_SEQ_CST);
			else
				target_lose(target, id);
			target_wake(target);
			if (!fits)
				return false;
		}
		if (__atomic_compare_exchange_n(&cells->next, position, *position + 1, false, __ATOMIC_SEQ_CST,
						__ATOMIC_RELAXED))
			return true;
	}
}

static inline void target_cell_complete(struct target *target, uint32_t cpu, uint64_t position,
					const struct wire_record *record)
{
	struct wire_cell *cell = target_cell(target, cpu, position);

	memcpy(cell->record, record, record->size);
	__atomic_store_n(&cell->seq, position + 1, __ATOMIC_RELEASE);
}

static inline uint64_t target_now(void)
{
	return __builtin_ia32_rdtsc();
}

#endif
