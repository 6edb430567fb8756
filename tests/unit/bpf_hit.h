/* SPDX-License-Identifier: MIT */
/*
 * One hit at a time: enter a trampoline with random registers and flags, check that all of them and the red zone came
 * back, and take the record out of the ring or the cells. Every test runs in each world that this machine has.
 */
#ifndef TESTS_BPF_HIT_H
#define TESTS_BPF_HIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bpf_target.h"

#define STACK_SIZE (64UL * 1024)
#define RED_ZONE 128
#define FLAGS_KEPT 0xcd5ULL /* CF PF AF ZF SF DF OF */
#define ID 3

#define EXIT "r0 = 0\nexit\n"
#define RESERVE(size) "r7 = r1\nr1 = map 0\nr2 = " #size "\nr3 = 0\ncall 131\nr6 = r0\n"
#define HEADER(size)                                                               \
	"r1 = r7\ncall 174\n*(u32 *)(r6 + 0) = r0\n*(u32 *)(r6 + 4) = " #size "\n" \
	"call 65536\n*(u64 *)(r6 + 8) = r0\ncall 14\n*(u64 *)(r6 + 16) = r0\n"
#define SUBMIT "r1 = r6\nr2 = 0\ncall 132\n"
#define DISCARD "r1 = r6\nr2 = 0\ncall 133\n"

static const char count_text[] = "call 65537\n" EXIT;
static const char record_text[] = RESERVE(40) "if r6 == 0 goto out\n" HEADER(
    40) "r1 = *(u64 *)(r7 + 112)\n*(u64 *)(r6 + 24) = r1\nr1 = *(u64 *)(r7 + 104)\n*(u64 *)(r6 + 32) = r1\n" SUBMIT
	"out: " EXIT;

static struct fake fake;
static uint8_t *stack; /* STACK_SIZE bytes between two pages that cannot be touched */
static uint64_t seed = 0x9e3779b97f4a7c15ULL;

static inline uint64_t next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static inline int setup(void **state)
{
	uint8_t *area = mmap(NULL, STACK_SIZE + 4 * BASE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(area != MAP_FAILED);
	stack = area + BASE_PAGE;
	assert_int_equal(mprotect(stack, STACK_SIZE, PROT_READ | PROT_WRITE), 0);
	fake_init(&fake);
	return 0;
}

/* Enter with random registers; the caller may have chosen in[5], and in[4], else the stack pointer is somewhere in the middle. */
static inline void hit(struct fake_machine *m, const void *entry)
{
	for (int i = 0; i < 16; i++)
		if (i != 4 && (i != 5 || !m->in[5]))
			m->in[i] = next_random();
	if (!m->in[4])
		m->in[4] = fake_address(stack) + STACK_SIZE / 2 + (next_random() & 0xff8);
	m->in_flags = (next_random() & FLAGS_KEPT) | 0x202;
	m->entry = fake_address(entry);

	uint8_t *sp = (uint8_t *)(uintptr_t)m->in[4], below[RED_ZONE];

	for (int i = 0; i < RED_ZONE; i++)
		sp[-1 - i] = below[i] = (uint8_t)next_random();
	fake_enter(m);
	for (int i = 0; i < 16; i++)
		if (m->in[i] != m->out[i])
			fail_msg("register %d: %llx became %llx", i, (unsigned long long)m->in[i],
				 (unsigned long long)m->out[i]);
	assert_int_equal(m->in_flags & FLAGS_KEPT, m->out_flags & FLAGS_KEPT);
	for (int i = 0; i < RED_ZONE; i++)
		assert_int_equal(sp[-1 - i], below[i]);
}

static inline const void *trampoline(utap_addr body)
{
	return fake_trampoline(&fake, body, ID, "", 0, fake_address(fake_back));
}
static inline const void *compile(const char *text)
{
	return trampoline(fake_compile_text(&fake, text, NULL));
}

/* The next record of any ring, in the ring's own memory; NULL: none. It is consumed. */
static inline const struct wire_record *next_ring_record(void)
{
	for (unsigned cpu = 0; cpu < fake.cpus; cpu++) {
		struct wire_ring *ring = fake_ring(&fake, cpu);

		if (ring->tail == ring->head)
			continue;

		const struct wire_record *record =
		    (const struct wire_record *)(fake.table[cpu] + WIRE_PAGE + (ring->tail & (FAKE_RING - 1)));

		ring->tail += record->size;
		ring->limit = ring->tail + FAKE_RING;
		return record;
	}
	return NULL;
}

static inline const struct wire_record *next_cell_record(void)
{
	for (unsigned cpu = 0; cpu < fake.cpus; cpu++) {
		struct wire_cells *cells = fake_cells(&fake, cpu);

		if (cells->tail == cells->next)
			continue;

		const struct wire_cell *cell =
		    (const struct wire_cell *)((uint8_t *)cells + WIRE_PAGE +
					       (cells->tail & (FAKE_CELLS - 1)) * FAKE_CELL_SIZE);

		assert_int_equal(cell->seq, cells->tail + 1);
		cells->tail++;
		cells->limit = cells->tail + FAKE_CELLS;
		return (const struct wire_record *)cell->record;
	}
	return NULL;
}

static inline const struct wire_record *next_record(void)
{
	return fake.target.rseq_offset ? next_ring_record() : next_cell_record();
}

static inline uint64_t word(const struct wire_record *record, size_t n)
{
	return ((const uint64_t *)(record + 1))[n];
}

static inline const struct wire_record *expect_record(size_t size)
{
	const struct wire_record *record = next_record();

	assert_non_null(record);
	assert_int_equal(record->id, ID);
	assert_int_equal(record->size, size);
	assert_int_equal(record->flags, 0);
	assert_int_equal(record->pid, getpid());
	assert_int_equal(record->tid, syscall(SYS_gettid));
	assert_null(next_record());
	return record;
}

/* Every test of a program runs in each of these worlds. */
struct world {
	const char *name;
	bool rseq, tid, rdpid;
	bool near; /* the code reaches the runtime by direct calls */
	bool whole; /* the body is part of its trampoline */
};
static const struct world worlds[] = {
	{ "rseq", true, true, true, false, false },
	{ "rseq, tid by system call", true, false, true, true, false },
	{ "cells, rdpid", false, true, true, true, false },
	{ "cells, lsl, tid by system call", false, false, false, false, false },
	{ "rseq, inline", true, true, true, false, true },
	{ "cells, inline, tid by system call", false, false, true, true, true },
};
#define WORLDS (sizeof(worlds) / sizeof(worlds[0]))

static struct bpf_target whole_target;

/* false: this machine has no such world */
static inline bool enter_world(const struct world *world)
{
	if (!whole_target.table)
		whole_target = fake.target;
	fake_reset(&fake);
	fake.local->pid = 0;
	fake.target = whole_target;
	fake.code_rx = world->near ? fake.code_near : fake.code_far;
	if (!world->rseq)
		fake.target.rseq_offset = 0;
	if (!world->tid)
		fake.target.tid_offset = 0;
	if (!world->rdpid)
		fake.target.has_rdpid = false;
	fake.target.id_known = world->whole;
	fake.target.id = ID;
	if ((world->rseq && !whole_target.rseq_offset) || (world->tid && !whole_target.tid_offset) ||
	    (world->rdpid && !whole_target.has_rdpid)) {
		print_message("skipped: %s: this machine has it not\n", world->name);
		return false;
	}
	return true;
}

#endif
