/* SPDX-License-Identifier: MIT */
/*
 * bpf: compiled probes, run in this process: counters, records, the context, memory, every helper, with and without
 * rseq, with and without room.
 */
#include <sched.h>

#include "bpf_hit.h"

static void test_count(void **state)
{
	for (size_t w = 0; w < WORLDS; w++) {
		if (!enter_world(&worlds[w]))
			continue;

		const void *entry = compile(count_text);

		for (uint64_t i = 1; i <= 1000; i++) {
			struct fake_machine m = { 0 };

			hit(&m, entry);
			assert_int_equal(fake_counted(&fake, ID, !fake.target.rseq_offset), i);
		}
		assert_int_equal(fake_counted(&fake, ID, fake.target.rseq_offset), 0);
		assert_int_equal(fake_counted(&fake, ID - 1, !fake.target.rseq_offset), 0);
	}
}

static void test_record(void **state)
{
	for (size_t w = 0; w < WORLDS; w++) {
		uint64_t last = 0;

		if (!enter_world(&worlds[w]))
			continue;

		const void *entry = compile(record_text);

		for (int i = 0; i < 5000; i++) { /* more than a ring holds: it wraps */
			struct fake_machine m = { 0 };

			hit(&m, entry);

			const struct wire_record *record = expect_record(40);

			assert_int_equal(word(record, 0), m.in[7]);
			assert_int_equal(word(record, 1), m.in[6]);
			assert_true(record->time > last);
			last = record->time;
		}
		assert_int_equal(fake_runtime->pid, 1); /* asked once, cached */
		assert_int_equal(fake_runtime->tid, fake.target.tid_offset ? 0 : 5000);
	}
}

/* Nobody reads: records fill the ring, the others are counted as lost; when somebody reads it goes on. */
static void test_full(void **state)
{
	for (size_t w = 0; w < WORLDS; w++) {
		if (!enter_world(&worlds[w]))
			continue;

		const void *entry = compile(record_text);
		uint64_t hits = 0, found = 0;

		while (fake.lost[ID] < 100) {
			struct fake_machine m = { 0 };

			hit(&m, entry);
			hits++;
			assert_true(hits < 100000);
		}
		while (next_record())
			found++;
		assert_int_equal(found + fake.lost[ID], hits);
		assert_true(found >= (fake.target.rseq_offset ? FAKE_RING / 40 : FAKE_CELLS));

		struct fake_machine m = { 0 };

		hit(&m, entry);
		expect_record(40);
	}
}

/* A watermark below the end of the ring is lifted by the slow path, which asks to try again. */
static void test_watermark(void **state)
{
	for (size_t w = 0; w < WORLDS; w++) {
		if (!enter_world(&worlds[w]))
			continue;
		for (unsigned cpu = 0; cpu < fake.cpus; cpu++)
			fake_ring(&fake, cpu)->limit = fake_cells(&fake, cpu)->limit = 0;

		const void *entry = compile(record_text);
		struct fake_machine m = { 0 };

		hit(&m, entry);
		expect_record(40);
		assert_int_equal(fake_runtime->ring_slow + fake_runtime->cell_slow, 1);
	}
}

/* A pid that cannot be found out is recorded as 0; it must not be asked for forever. */
static void test_no_pid(void **state)
{
	for (size_t w = 0; w < WORLDS; w++) {
		if (!enter_world(&worlds[w]))
			continue;
		fake_runtime->no_pid = true;

		const void *entry = compile(record_text);
		struct fake_machine m = { 0 };

		hit(&m, entry);

		const struct wire_record *record = next_record();

		assert_non_null(record);
		assert_int_equal(record->pid, 0);
		assert_int_equal(record->tid, syscall(SYS_gettid));
		assert_int_equal(fake_runtime->pid, 1);
	}
}

/* A record that no cell can hold is counted as lost by threads without rseq, and recorded by those with it. */
static void test_large_record(void **state)
{
	for (size_t w = 0; w < WORLDS; w++) {
		if (!enter_world(&worlds[w]))
			continue;

		const void *entry = compile(RESERVE(256) "if r6 == 0 goto out\n" HEADER(256) SUBMIT "out: " EXIT);
		struct fake_machine m = { 0 };

		hit(&m, entry);
		if (fake.target.rseq_offset)
			expect_record(256);
		else
			assert_null(next_record());
		assert_int_equal(fake.lost[ID], fake.target.rseq_offset ? 0 : 1);
	}
}

/* Every register of the context, whole, cut and extended, before and after the program scratched everything. */
static void test_context(void **state)
{
	static const uint8_t numbers[] = { /* x86 number of ISA_R15 .. ISA_DI */
					   15, 14, 13, 12, 5, 3, 11, 10, 9, 8, 0, 1, 2, 6, 7
	};
	static const struct {
		const char *type;
		int shift, bits;
		bool is_signed;
	} loads[] = {
		{ "u64", 0, 64, false }, { "u32", 0, 32, false },  { "u16", 0, 16, false }, { "u8", 0, 8, false },
		{ "s32", 0, 32, true },  { "s16", 0, 16, true },   { "s8", 0, 8, true },    { "u8", 8, 8, false },
		{ "s16", 32, 16, true }, { "u32", 32, 32, false },
	};

	for (size_t w = 0; w < WORLDS; w++)
		for (size_t reg = 0; reg < sizeof(numbers); reg++)
			for (size_t l = 0; l < sizeof(loads) / sizeof(loads[0]); l++) {
				char text[2000];
				int at = (int)(8 * reg) + loads[l].shift / 8;

				if (!enter_world(&worlds[w]))
					continue;
				snprintf(
				    text, sizeof(text),
				    "r8 = *(%s *)(r1 + %d)\n" RESERVE(48) "if r6 == 0 goto out\n" HEADER(
					48) "*(u64 *)(r6 + 24) = r8\nr1 = *(%s *)(r7 + %d)\n*(u64 *)(r6 + 32) = r1\n"
					    "r2 = r8\nr2 += 1\nr3 = 3\nr4 = 4\nr5 = 5\nr3 += r2\nr4 += r3\nr5 += "
					    "r4\nr0 = r5\nr0 *= r2\n"
					    "r0 = *(%s *)(r7 + %d)\n*(u64 *)(r6 + 40) = r0\n" SUBMIT "out: " EXIT,
				    loads[l].type, at, loads[l].type, at, loads[l].type, at);

				const void *entry = compile(text);
				struct fake_machine m = { 0 };

				hit(&m, entry);

				const struct wire_record *record = expect_record(48);
				uint64_t value = m.in[numbers[reg]] >> loads[l].shift;
				int unused = 64 - loads[l].bits;

				value = loads[l].is_signed ? (uint64_t)((int64_t)(value << unused) >> unused)
							   : value << unused >> unused;
				for (size_t i = 0; i < 3; i++)
					assert_int_equal(word(record, i), value);
			}
}

/* The registers that are no general ones. */
static void test_context_special(void **state)
{
	for (size_t w = 0; w < WORLDS; w++)
		for (int round = 0; round < 64; round++) {
			if (!enter_world(&worlds[w]))
				continue;

			const void *entry = compile(RESERVE(64) "if r6 == 0 goto out\n" HEADER(
			    64) "r1 = *(u64 *)(r7 + 144)\n*(u64 *)(r6 + 24) = r1\nr1 = *(u64 *)(r7 + 152)\n*(u64 *)(r6 "
				"+ 32) = r1\n"
				"r1 = *(u64 *)(r7 + 120)\n*(u64 *)(r6 + 40) = r1\nr1 = *(u16 *)(r7 + 136)\n*(u64 *)(r6 "
				"+ 48) = r1\n"
				"r1 = *(u32 *)(r7 + 152)\n*(u64 *)(r6 + 56) = r1\n" SUBMIT "out: " EXIT);
			struct fake_machine m = { 0 };

			hit(&m, entry);

			const struct wire_record *record = expect_record(64);

			assert_int_equal(word(record, 0) & FLAGS_KEPT, m.in_flags & FLAGS_KEPT);
			assert_int_equal(word(record, 0) & 0x202, 0x202);
			assert_int_equal(word(record, 1), m.in[4]);
			assert_int_equal(word(record, 2), ~0ULL);
			assert_int_equal(word(record, 3), 0x33);
			assert_int_equal(word(record, 4), (uint32_t)m.in[4]);
		}
}

/* STACK_WORD: in rsp's page a plain load, beyond it the runtime, and 0 where there is nothing. */
static void test_stack_word(void **state)
{
	static const char text[] =
	    "r7 = r1\nr1 = 0\ncall 65538\nr8 = r0\nr1 = 5\ncall 65538\nr9 = r0\nr1 = 600\ncall 65538\n"
	    "*(u64 *)(r10 - 8) = r0\nr1 = r7\n" RESERVE(48) "if r6 == 0 goto out\n" HEADER(
		48) "*(u64 *)(r6 + 24) = r8\n*(u64 *)(r6 + 32) = r9\nr1 = *(u64 *)(r10 - 8)\n"
		    "*(u64 *)(r6 + 40) = r1\n" SUBMIT "out: " EXIT;

	for (size_t w = 0; w < WORLDS; w++)
		for (size_t place = 0; place < 4; place++) {
			uint64_t tops[] = { BASE_PAGE * 4 + 64, BASE_PAGE * 5 - 40, STACK_SIZE - 8,
					    BASE_PAGE * 5 - 48 };
			size_t slow[] = { 1, 2, 2, 1 };

			if (!enter_world(&worlds[w]))
				continue;

			const void *entry = compile(text);
			struct fake_machine m = { .in = { [4] = fake_address(stack) + tops[place] } };

			for (size_t i = 0; i < STACK_SIZE; i += 8)
				*(uint64_t *)(stack + i) = next_random();
			hit(&m, entry);

			const struct wire_record *record = expect_record(48);
			const uint64_t *top = (const uint64_t *)(stack + tops[place]);

			assert_int_equal(word(record, 0), top[0]);
			assert_int_equal(word(record, 1), place == 2 ? 0 : top[5]);
			assert_int_equal(word(record, 2), place == 2 ? 0 : top[600]);
			assert_int_equal(fake_runtime->read, slow[place]);
		}
}

static void test_read_user(void **state)
{
	static const char text[] = "r7 = r1\n*(u64 *)(r10 - 24) = -1\n*(u64 *)(r10 - 16) = -1\n*(u64 *)(r10 - 8) = -1\n"
				   "r3 = *(u64 *)(r1 + 112)\nr1 = r10\nr1 += -20\nr2 = 15\ncall 112\nr9 = r0\nr1 = "
				   "r7\n" RESERVE(56) "if r6 == 0 goto out\n" HEADER(
				       56) "*(u64 *)(r6 + 24) = r9\nr1 = *(u64 *)(r10 - 24)\n*(u64 *)(r6 + 32) = r1\n"
					   "r1 = *(u64 *)(r10 - 16)\n*(u64 *)(r6 + 40) = r1\nr1 = *(u64 *)(r10 - "
					   "8)\n*(u64 *)(r6 + 48) = r1\n" SUBMIT "out: " EXIT;

	for (size_t w = 0; w < WORLDS; w++)
		for (int bad = 0; bad < 2; bad++) {
			if (!enter_world(&worlds[w]))
				continue;

			/* The source goes through rdi, which hit() fills at random: mostly unmapped. Choose it for the
			 * good case. */
			char patched[sizeof(text) + 64];
			uint8_t expected[24], source[15];
			struct fake_machine m = { 0 };

			for (size_t i = 0; i < sizeof(source); i++)
				source[i] = (uint8_t)next_random();
			memcpy(patched, text, sizeof(text));
			if (!bad) {
				const char *load = strstr(text, "r3 = "), *rest = strchr(load, '\n');

				snprintf(patched, sizeof(patched), "%.*sr3 = 0x%llx ll%s", (int)(load - text), text,
					 (unsigned long long)fake_address(source), rest);
			}

			const void *entry = compile(patched);

			hit(&m, entry);

			const struct wire_record *record = expect_record(56);

			memset(expected, 0xff, sizeof(expected));
			if (bad)
				memset(expected + 4, 0, sizeof(source));
			else
				memcpy(expected + 4, source, sizeof(source));
			assert_int_equal(word(record, 0), bad ? -EFAULT : 0);
			assert_memory_equal((const uint64_t *)(record + 1) + 1, expected, sizeof(expected));
		}
}

/* RING_OUTPUT from the stack, with and without room. */
static void test_output(void **state)
{
	static const char text[] =
	    "r7 = r1\ncall 174\n*(u32 *)(r10 - 32) = r0\n*(u32 *)(r10 - 28) = 32\ncall 65536\n"
	    "*(u64 *)(r10 - 24) = r0\ncall 14\n*(u64 *)(r10 - 16) = r0\nr1 = *(u64 *)(r7 + 104)\n"
	    "*(u64 *)(r10 - 8) = r1\nr1 = map 0\nr2 = r10\nr2 += -32\nr3 = 32\nr4 = 0\ncall 130\n"
	    "if r0 == 0 goto out\nif r0 != -28 goto out\ncall 65537\nout: " EXIT;

	for (size_t w = 0; w < WORLDS; w++) {
		if (!enter_world(&worlds[w]))
			continue;

		const void *entry = compile(text);
		uint64_t hits = 0, found = 1;

		for (; fake.lost[ID] < 10; hits++) {
			struct fake_machine m = { 0 };

			hit(&m, entry);
			if (hits == 0)
				assert_int_equal(word(expect_record(32), 0), m.in[6]);
		}
		while (next_record())
			found++;
		assert_int_equal(found + 10, hits);
		assert_int_equal(fake_counted(&fake, ID, !fake.target.rseq_offset), 10); /* it was told -ENOSPC */
	}
}

/* Branches inside a reservation: one way submits early, one discards, one goes on; then a second reservation. */
static void test_ways(void **state)
{
	static const char text[] = RESERVE(32) "if r6 != 0 goto there\ngoto out\nthere: " HEADER(
	    32) "r8 = *(u64 *)(r7 + 112)\n"
		"if r8 & 1 goto drop\nif r8 & 2 goto early\n*(u64 *)(r6 + 24) = 100\n" SUBMIT "goto second\n"
		"early: *(u64 *)(r6 + 24) = 200\n" SUBMIT "goto out\n"
		"drop: " DISCARD "call 65537\n"
		"second: r1 = map 0\nr2 = 32\nr3 = 0\ncall 131\nr6 = r0\nif r6 == 0 goto out\n" HEADER(
		    32) "r1 = *(u64 *)(r7 + 104)\n*(u64 *)(r6 + 24) = r1\n" SUBMIT "out: " EXIT;

	for (size_t w = 0; w < WORLDS; w++) {
		if (!enter_world(&worlds[w]))
			continue;

		const void *entry = compile(text);
		uint64_t counted = 0;

		for (int i = 0; i < 200; i++) {
			struct fake_machine m = { 0 };
			const struct wire_record *record;

			hit(&m, entry);
			record = next_record();
			assert_non_null(record);
			if (m.in[7] & 1) {
				counted++;
				if (!fake.target
					 .rseq_offset) { /* a discarded cell is there, and says that it is empty */
					assert_int_equal(record->size, 0);
					record = next_record();
				}
			} else {
				assert_int_equal(word(record, 0), m.in[7] & 2 ? 200 : 100);
				if (m.in[7] & 2) {
					assert_null(next_record());
					continue;
				}
				record = next_record();
			}
			assert_non_null(record);
			assert_int_equal(word(record, 0), m.in[6]);
			assert_null(next_record());
		}
		assert_int_equal(fake_counted(&fake, ID, !fake.target.rseq_offset), counted);
	}
}

/* Everything at once: all BPF registers in use across helpers, branches that meet, atomics, division, the CPU. */
static void test_general(void **state)
{
	static const char text[] =
	    "r7 = r1\ncall 8\n*(u64 *)(r10 - 8) = r0\nr8 = *(u64 *)(r7 + 112)\nr9 = *(u32 *)(r7 + 104)\n"
	    "if r8 s> r9 goto more\nr9 = 5\nr8 = r9\nmore: r2 = r8\nr2 /= 7\nr3 = 9\nr4 = r3\nr4 <<= 60\nr5 = r2\nr5 "
	    "^= r4\n"
	    "if w5 < w9 goto low\nr5 = -r5\nlow: *(u64 *)(r10 - 16) = r5\nr1 = 3\n"
	    "r1 = atomic64_fetch_add((u64 *)(r10 - 16), r1)\n*(u64 *)(r10 - 24) = r1\ncall 65536\nr8 = r0\nr0 = "
	    "1\ncall 14\n"
	    "r9 = r0\nr1 = r7\n" RESERVE(64) "if r6 == 0 goto out\n" HEADER(
		64) "r1 = *(u64 *)(r10 - 8)\n*(u64 *)(r6 + 24) = r1\nr1 = *(u64 *)(r10 - 16)\n*(u64 *)(r6 + 32) = r1\n"
		    "r1 = *(u64 *)(r10 - 24)\n*(u64 *)(r6 + 40) = r1\n*(u64 *)(r6 + 48) = r8\n*(u64 *)(r6 + 56) = "
		    "r9\n" SUBMIT "out: " EXIT;

	for (size_t w = 0; w < WORLDS; w++) {
		if (!enter_world(&worlds[w]))
			continue;

		const void *entry = compile(text);

		for (int i = 0; i < 1000; i++) {
			struct fake_machine m = { 0 };

			hit(&m, entry);

			const struct wire_record *record = expect_record(64);
			uint64_t r9 = (uint32_t)m.in[6], r8 = m.in[7], r5;

			if ((int64_t)r8 <= (int64_t)r9)
				r8 = r9 = 5;
			r5 = r8 / 7 ^ 9ULL << 60;
			if ((uint32_t)r5 >= (uint32_t)r9)
				r5 = -r5;
			assert_true(word(record, 0) < fake.cpus);
			assert_int_equal(word(record, 1), r5 + 3);
			assert_int_equal(word(record, 2), r5);
			assert_true(word(record, 3) < record->time);
			assert_int_equal(word(record, 4), (uint64_t)getpid() << 32 | (uint32_t)syscall(SYS_gettid));
		}
	}
}

/* A program whose context is filtered before anything is recorded. */
static void test_filter(void **state)
{
	static const char text[] = "r2 = *(u64 *)(r1 + 112)\nr2 >>= 34\nif r2 > 0x1fffffff goto out\n"
				   "call 65537\nout: " EXIT;

	for (size_t w = 0; w < WORLDS; w++) {
		uint64_t expected = 0;

		if (!enter_world(&worlds[w]))
			continue;

		const void *entry = compile(text);

		for (int i = 0; i < 2000; i++) {
			struct fake_machine m = { 0 };

			hit(&m, entry);
			expected += m.in[7] >> 34 <= 0x1fffffff;
		}
		assert_in_range(expected, 500, 1500);
		assert_int_equal(fake_counted(&fake, ID, !fake.target.rseq_offset), expected);
	}
}

/* ---- nobody reads, the newest replace the oldest ---- */

static struct wire_cell *cell_of(unsigned cpu, uint64_t position)
{
	return (struct wire_cell *)((uint8_t *)fake_cells(&fake, cpu) + WIRE_PAGE +
				    (position & (FAKE_CELLS - 1)) * FAKE_CELL_SIZE);
}

static void lift_limits(void)
{
	fake.target.overwrite = true;
	for (unsigned cpu = 0; cpu < fake.cpus; cpu++)
		fake_ring(&fake, cpu)->limit = fake_cells(&fake, cpu)->limit = UINT64_MAX;
}

/* Backwards from the head: the trailer, then the record it tells of, as far as the ring reaches. Returns how many. */
static uint64_t count_back(unsigned cpu, uint64_t *newest)
{
	uint64_t head = fake_ring(&fake, cpu)->head, at = head, found = 0, time = UINT64_MAX;

	while (at >= 48 && head - at + 48 <= FAKE_RING) {
		const uint8_t *record = fake.table[cpu] + WIRE_PAGE + ((at - 48) & (FAKE_RING - 1));
		const struct wire_record *header = (const struct wire_record *)record;

		assert_int_equal(((const uint64_t *)record)[5], WIRE_TRAILER(40));
		assert_int_equal(header->size, 40);
		assert_int_equal(header->id, ID);
		assert_true(header->time < time);
		time = header->time;
		*newest = found ? *newest : word(header, 0);
		found++;
		at -= 48;
	}
	return found;
}

static void test_overwrite(void **state)
{
	for (size_t w = 0; w < WORLDS; w++) {
		uint64_t found = 0, written = 0, newest = 0, last = 0;

		if (!enter_world(&worlds[w]))
			continue;
		lift_limits();

		const void *entry = compile(record_text);
		struct fake_machine m = { 0 };

		for (int i = 0; i < 6000; i++) {
			m.in[4] = 0;
			hit(&m, entry);
			last = m.in[7];
		}
		for (unsigned cpu = 0; cpu < fake.cpus; cpu++) {
			uint64_t next = fake_cells(&fake, cpu)->next, of_cpu = 0;

			if (fake.target.rseq_offset) {
				found += count_back(cpu, &of_cpu);
				written += fake_ring(&fake, cpu)->head / 48;
				newest = of_cpu == last ? last : newest;
				continue;
			}
			written += next;
			for (uint64_t i = next > FAKE_CELLS ? next - FAKE_CELLS : 0; i < next; i++, found++) {
				const struct wire_record *record = (const struct wire_record *)cell_of(cpu, i)->record;

				assert_int_equal(cell_of(cpu, i)->seq, i + 1);
				assert_int_equal(record->id, ID);
				newest = word(record, 0) == last ? last : newest;
			}
		}
		assert_int_equal(written, 6000);
		assert_true(found >= (fake.target.rseq_offset ? FAKE_RING / 48 : FAKE_CELLS));
		assert_int_equal(newest, last);
		assert_int_equal(fake.lost[ID], 0);
		assert_int_equal(fake_runtime->ring_slow + fake_runtime->cell_slow, 0);
	}
}

/* A cell that another thread is inside, or has filled a lap later, stays what it is: the hit is lost, and counted. */
static void test_overwrite_taken(void **state)
{
	cpu_set_t before, one;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0); /* two hits, one CPU's cells */
	for (size_t w = 0; w < WORLDS; w++) {
		if (worlds[w].rseq || !enter_world(&worlds[w]))
			continue;
		lift_limits();

		const void *entry = compile(record_text);
		static const uint64_t seqs[] = { WIRE_CELL_BUSY(1), WIRE_CELL_BUSY(1 + FAKE_CELLS), 1, 1 + FAKE_CELLS };

		for (size_t i = 0; i < sizeof(seqs) / sizeof(seqs[0]); i++) {
			struct fake_machine m = { 0 };

			for (unsigned cpu = 0; cpu < fake.cpus; cpu++) {
				fake_cells(&fake, cpu)->next = 0;
				cell_of(cpu, 0)->seq = seqs[i];
				memset(cell_of(cpu, 0)->record, 0xee, 40);
			}
			hit(&m, entry);
			assert_int_equal(fake.lost[ID], i + 1);
			for (unsigned cpu = 0; cpu < fake.cpus; cpu++) {
				assert_int_equal(cell_of(cpu, 0)->seq, seqs[i]);
				for (int n = 0; n < 40; n++)
					assert_int_equal(cell_of(cpu, 0)->record[n], 0xee);
			}
			for (unsigned cpu = 0; cpu < fake.cpus; cpu++) /* the next one is free, but for what was there before */
				cell_of(cpu, 1)->seq = 0;
			hit(&m, entry);
			assert_int_equal(fake.lost[ID], i + 1);
		}
	}
	assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
}

static void test_bad_targets(void **state)
{
	static const char text[] = "r0 = 0\nexit";
	struct bpf_insn *program;
	struct utap_error err;
	uint8_t buffer[64];
	size_t count;

	assert_int_equal(bpf_assemble(text, &program, &count, &err), 0);
	enter_world(&worlds[0]);
	for (int i = 0; i < 5; i++) {
		struct bpf_target t = fake.target;
		struct isa_emitter e = { .buffer = buffer, .size = sizeof(buffer), .addr = 0x1000 };

		if (i == 0)
			t.ring_size = 3 * BASE_PAGE;
		if (i == 1)
			t.cell_size = 100;
		if (i == 2)
			t.counters_at = 1ULL << 40;
		if (i == 3)
			t.cpus = 0;
		if (i == 4)
			t.ring_size = 1ULL << 40;
		assert_int_equal(bpf_compile_probe(program, count, &t, &e, &err), -EINVAL);
		assert_int_equal(e.used, 0);
	}
	free(program);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_count),       cmocka_unit_test(test_record),
		cmocka_unit_test(test_full),        cmocka_unit_test(test_watermark),
		cmocka_unit_test(test_no_pid),      cmocka_unit_test(test_large_record),
		cmocka_unit_test(test_context),     cmocka_unit_test(test_context_special),
		cmocka_unit_test(test_stack_word),  cmocka_unit_test(test_read_user),
		cmocka_unit_test(test_output),      cmocka_unit_test(test_ways),
		cmocka_unit_test(test_general),     cmocka_unit_test(test_filter),
		cmocka_unit_test(test_bad_targets), cmocka_unit_test(test_overwrite),
		cmocka_unit_test(test_overwrite_taken),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
