/* SPDX-License-Identifier: MIT */
/*
 * LONG records of single hits: what is read of all kinds of memory, what is cut off, what fails, and what it costs of the stack. In each of
 * the worlds: rseq and ring, cells, and both where the newest records replace the oldest.
 */
#include <fcntl.h>
#include <sys/wait.h>
#include <time.h>

#include "long_bed.h"

#define PAGE ((uint64_t)WIRE_PAGE)
#define NAMED_PAGES 24
#define RANDOM_HITS 3000

static const struct long_world {
	const char *name;
	bool rseq, overwrite;
} long_worlds[] = {
	{ "rseq", true, false },
	{ "cells", false, false },
	{ "rseq, replacing", true, true },
	{ "cells, replacing", false, true },
};
#define LONG_WORLDS (sizeof(long_worlds) / sizeof(long_worlds[0]))

static fake_function *probe;

static bool enter(const struct long_world *world)
{
	if (world->rseq && !__rseq_size) {
		print_message("skipped: %s: this C library registers no rseq\n", world->name);
		return false;
	}
	long_reset(world->rseq, world->overwrite);
	probe = long_function(long_text, LONG_ID);
	return true;
}

/* One hit, one record; where nothing is drained it is the youngest of many. */
static void hit_at(const void *address, uint64_t size)
{
	assert_int_equal(probe((long)address, (long)size), (long)address + (long)size);
	long_drain();
	assert_true(bed.overwrite ? got.count : got.count == 1);
	assert_int_equal(long_lost(LONG_ID), 0);
	assert_int_equal(got.record.id, LONG_ID);
	assert_int_equal(got.record.pid, getpid());
	assert_int_equal(got.record.tid, syscall(SYS_gettid));
	assert_true(got.record.flags & WIRE_RECORD_LONG);
	assert_int_equal(got.args[2], (uint64_t)(uintptr_t)address);
	assert_int_equal(got.args[3], size);
	assert_int_equal(got.record.size % 8, 0);
	assert_int_equal(long_slots_taken(), 0);
	expect_no_damage();
}

/* Pages of which some cannot be read. */
static uint8_t *pages(unsigned count)
{
	uint8_t *at = mmap(NULL, (count + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(at != MAP_FAILED);
	assert_int_equal(mprotect(at + PAGE, count * PAGE, PROT_READ | PROT_WRITE), 0);
	return at + PAGE;
}

static void expect_text(const void *at, const char *text)
{
	size_t size = strlen(text) + 1;

	hit_at(at, 0);
	assert_memory_equal(located(0, 0, (uint32_t)size), text, size);
	located(1, 0, 0);
}

static void test_strings(void **state)
{
	uint8_t *two = pages(2);

	for (size_t i = 0; i < LONG_WORLDS; i++) {
		if (!enter(&long_worlds[i]))
			continue;
		expect_text("hello", "hello");
		expect_text("", "");
		memset(two, 'x', 2 * PAGE);
		/* Ends with the page, where nothing can be read behind. */
		two[2 * PAGE - 1] = 0;
		expect_text(two + 2 * PAGE - 1, "");
		expect_text(two + 2 * PAGE - 4, "xxx");
		/* Across the pages' border. */
		two[PAGE + 2] = 0;
		expect_text(two + PAGE - 2, "xxxx");
		/* No NUL before the memory ends. */
		two[2 * PAGE - 1] = 'x';
		hit_at(two + 2 * PAGE - 3, 0);
		assert_memory_equal(located(0, WIRE_LOCATOR_SHORT, 3), "xxx", 3);
	}
	munmap(two - PAGE, 4 * PAGE);
}

static void test_unreadable(void **state)
{
	uint8_t *one = pages(1);
	const void *nowhere[] = { NULL, one - PAGE, one + PAGE, (void *)0xffff888000000000UL, (void *)0x8000000000000UL, (void *)-1L };

	for (size_t i = 0; i < LONG_WORLDS; i++) {
		if (!enter(&long_worlds[i]))
			continue;
		for (size_t n = 0; n < sizeof(nowhere) / sizeof(nowhere[0]); n++) {
			hit_at(nowhere[n], 8);
			assert_int_equal(got.args[0], WIRE_LOCATOR_FAILURE(EFAULT));
			assert_int_equal(got.args[1], WIRE_LOCATOR_FAILURE(EFAULT));
			assert_int_equal(got.record.size, LONG_FIXED);
		}
		/* Of the bytes some. */
		memset(one, 'b', PAGE);
		hit_at(one + PAGE - 16, 100);
		assert_memory_equal(located(0, WIRE_LOCATOR_SHORT, 16), "bbbbbbbbbbbbbbbb", 16);
		assert_memory_equal(located(1, WIRE_LOCATOR_SHORT, 16), "bbbbbbbbbbbbbbbb", 16);
	}
	munmap(one - PAGE, 3 * PAGE);
}

/* In a file, in no memory; and memory that nobody wrote yet. */
static void test_not_resident(void **state)
{
	char name[] = "/tmp/utap-long-XXXXXX";
	int fd = mkstemp(name);
	uint8_t *file, *fresh;
	uint8_t fill[WIRE_PAGE];

	assert_true(fd >= 0);
	unlink(name);
	for (uint8_t n = 0; n < NAMED_PAGES; n++) {
		memset(fill, 'a' + n, sizeof(fill));
		assert_int_equal(write(fd, fill, sizeof(fill)), sizeof(fill));
	}
	assert_int_equal(pwrite(fd, "", 1, 2 * WIRE_PAGE + 5), 1);
	fsync(fd);
	file = mmap(NULL, NAMED_PAGES * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	fresh = mmap(NULL, 1UL << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(file != MAP_FAILED && fresh != MAP_FAILED);
	for (size_t i = 0; i < LONG_WORLDS; i++) {
		if (!enter(&long_worlds[i]))
			continue;
		madvise(file, NAMED_PAGES * PAGE, MADV_DONTNEED);
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		hit_at(file + PAGE, 3 * PAGE);
		assert_int_equal(located(0, 0, PAGE + 6)[PAGE], 'c');
		assert_int_equal(located(1, 0, 3 * PAGE)[2 * PAGE + 7], 'd');
		hit_at(fresh + (i << 24), 5 * PAGE);
		assert_memory_equal(located(0, 0, 1), "", 1);
		assert_int_equal(located(1, 0, 5 * PAGE)[4 * PAGE], 0);
		/* Pages behind a file's end are an error of their own: no fault. */
		assert_int_equal(ftruncate(fd, (off_t)(3 * PAGE)), 0);
		hit_at(file + 3 * PAGE, 10);
		assert_int_equal(got.args[0], WIRE_LOCATOR_FAILURE(EFAULT));
		hit_at(file + 2 * PAGE + 8, 2 * PAGE);
		located(0, WIRE_LOCATOR_SHORT, PAGE - 8);
		located(1, WIRE_LOCATOR_SHORT, PAGE - 8);
		assert_int_equal(ftruncate(fd, (off_t)(NAMED_PAGES * PAGE)), 0);
		memset(fill, 'd', sizeof(fill));
		assert_int_equal(pwrite(fd, fill, sizeof(fill), 3 * WIRE_PAGE), sizeof(fill));
	}
	munmap(file, NAMED_PAGES * PAGE);
	munmap(fresh, 1UL << 30);
	close(fd);
}

static void test_sizes(void **state)
{
	const uint32_t room = LONG_MOST - LONG_FIXED;
	uint8_t *much = pages(NAMED_PAGES);

	for (uint64_t i = 0; i < NAMED_PAGES * PAGE; i++)
		much[i] = (uint8_t)(1 + i % 251);
	for (size_t i = 0; i < LONG_WORLDS; i++) {
		if (!enter(&long_worlds[i]))
			continue;
		/* The string takes all there is; then there is no room for bytes. */
		hit_at(much, 8);
		assert_memory_equal(located(0, WIRE_LOCATOR_SHORT, room), much, room);
		assert_int_equal(got.args[1], WIRE_LOCATOR_FAILURE(ENOSPC));
		assert_int_equal(got.record.size, LONG_MOST);
		/* One byte less, and it is whole; one more does not fit. */
		much[room - 1] = 0;
		hit_at(much, 0);
		assert_memory_equal(located(0, 0, room), much, room);
		much[room - 1] = 'x';
		much[room] = 0;
		hit_at(much, 0);
		located(0, WIRE_LOCATOR_SHORT, room);
		much[room] = 'x';
		/* 64 KiB and a byte of memory, a number that is no size. */
		probe = long_function(long_bytes_text, LONG_ID);
		for (uint64_t size = 65536 - 64 - 8; size <= 65537; size++) {
			bool fits = size <= room;

			hit_at(much, size);
			assert_memory_equal(located(1, fits ? 0 : WIRE_LOCATOR_SHORT, fits ? (uint32_t)size : room), much, fits ? size : room);
		}
		hit_at(much, (uint64_t)-1);
		located(1, WIRE_LOCATOR_SHORT, room);
	}
	munmap(much - PAGE, (NAMED_PAGES + 2) * PAGE);
}

/* What must come of a string and bytes at @at, in pages of which those with a bit in @holes cannot be read. */
static uint64_t readable(const uint8_t *base, uint32_t holes, uint64_t at, uint64_t most)
{
	uint64_t size = 0;

	while (size < most && (at + size) / PAGE < NAMED_PAGES && !(holes >> ((at + size) / PAGE) & 1))
		size++;
	return size;
}

static void random_hit(const uint8_t *base, uint32_t holes)
{
	uint64_t at = next_random() % (NAMED_PAGES * PAGE), want = next_random() % (next_random() % 8 ? 300 : 40000);
	uint64_t room = LONG_MOST - LONG_FIXED, reach = readable(base, holes, at, room), text = 0, bytes;

	hit_at(base + at, want);
	while (text < reach && base[at + text])
		text++;
	if (!reach)
		assert_int_equal(got.args[0], WIRE_LOCATOR_FAILURE(EFAULT));
	else if (text < reach)
		assert_memory_equal(located(0, 0, (uint32_t)text + 1), base + at, text + 1);
	else
		assert_memory_equal(located(0, WIRE_LOCATOR_SHORT, (uint32_t)text), base + at, text);
	text += text < reach; /* the NUL */
	if (text == room || !want || !reach)
		return;
	bytes = want < room - text ? want : room - text;
	bytes = bytes < reach ? bytes : reach;
	assert_memory_equal(located(1, bytes < want ? WIRE_LOCATOR_SHORT : 0, (uint32_t)bytes), base + at, bytes);
}

static void test_random(void **state)
{
	uint8_t *base = pages(NAMED_PAGES);
	uint32_t holes = 0;

	for (uint64_t i = 0; i < NAMED_PAGES * PAGE; i++)
		base[i] = next_random() % 600 ? (uint8_t)(next_random() | 1) : 0;
	for (unsigned i = 0; i < 4; i++)
		holes |= 1U << next_random() % NAMED_PAGES;
	for (unsigned n = 0; n < 40; n++) /* strings of several pages */
		memset(base + next_random() % ((NAMED_PAGES - 3) * PAGE), 'l', 2 * PAGE);
	for (unsigned n = 0; n < NAMED_PAGES; n++)
		if (holes >> n & 1)
			mprotect(base + n * PAGE, PAGE, PROT_NONE);
	for (size_t i = 0; i < 2; i++)
		for (unsigned n = 0; n < RANDOM_HITS && (n || enter(&long_worlds[i])); n++) {
			if (n % 32 == 0)
				long_reset(long_worlds[i].rseq, long_worlds[i].overwrite), probe = long_function(long_text, LONG_ID);
			random_hit(base, holes);
		}
	munmap(base - PAGE, (NAMED_PAGES + 2) * PAGE);
}

static void test_quiet(void **state)
{
	for (size_t i = 0; i < LONG_WORLDS; i++) {
		if (!enter(&long_worlds[i]))
			continue;
		bed.control->quiet = 1;
		((struct wire_local *)(uintptr_t)bed.control->local)->pid = (uint32_t)getpid();
		hit_at("text", 4);
		assert_int_equal(got.args[0], WIRE_LOCATOR_FAILURE(EPERM));
		assert_int_equal(got.args[1], WIRE_LOCATOR_FAILURE(EPERM));
	}
}

/* ---- whose pid, and whose memory ---- */

struct pids {
	uint32_t pid[4]; /* of hits that read so many bytes */
	unsigned read;   /* bits of them: their string was read */
};

static int keep_pid(void *arg, const struct trace_record *record)
{
	struct pids *pids = arg;

	assert_true(record->args[3] < 4);
	pids->pid[record->args[3]] = record->pid;
	if (wire_locator_bytes(record->args[0]) == sizeof("elsewhere"))
		pids->read |= 1U << record->args[3];
	return 0;
}

/* In a forked child the first hit is its vfork child's, whose memory is its own, and which is gone when the next one comes. */
static void hit_in_vfork(const char *text, volatile pid_t *grandchild)
{
	pid_t inner = vfork();

	if (!inner) {
		*grandchild = getpid();
		probe((long)text, 1);
		_exit(0);
	}
	while (waitpid(inner, NULL, 0) < 0)
		;
	probe((long)text, 2);
	probe((long)text, 3);
	_exit(0);
}

static void test_shared_memory(void **state)
{
	char *text = fake_map(PAGE);
	pid_t *grandchild = fake_map(PAGE);

	(void)state;
	strcpy(text, "elsewhere");
	for (size_t i = 0; i < 2 * LONG_WORLDS; i++) {
		struct pids pids = { .read = 0 };
		bool known = i % 2; /* where the C library keeps the tid */
		pid_t child;

		if (!enter(&long_worlds[i / 2]) || bed.overwrite)
			continue;
		bed.control->tid_offset = known ? fake.target.tid_offset : 0;
		child = fork();
		if (!child)
			hit_in_vfork(text, grandchild);
		assert_int_equal(waitpid(child, NULL, 0), child);
		assert_true(trace_reader_drain(bed.reader, true, keep_pid, &pids) >= 0);
		assert_int_equal(pids.pid[1], *grandchild);
		assert_int_equal(pids.pid[2], child);
		assert_int_equal(pids.pid[3], child);
		assert_int_equal(pids.read, 1U << 1 | 1U << 2 | 1U << 3);
	}
}

/* A record larger than the ring, and than what is free in it, is lost, and counted. */
static void test_full(void **state)
{
	uint8_t *much = pages(NAMED_PAGES);
	uint64_t hits = 40;

	memset(much, 'f', NAMED_PAGES * PAGE);
	for (size_t i = 0; i < 2; i++) {
		uint64_t found = 0;

		if (!enter(&long_worlds[i]))
			continue;
		for (uint64_t n = 0; n < hits * (i ? 4 : 1); n++)
			probe((long)much, 8);
		long_drain();
		found = got.count;
		print_message("%s: %lu of %lu large records found room\n", long_worlds[i].name, found, hits * (i ? 4 : 1));
		assert_int_equal(found + long_lost(LONG_ID), hits * (i ? 4 : 1));
		assert_true(found >= LONG_RING / 65536 - 1 && long_lost(LONG_ID));
		expect_no_damage();
		long_reset(long_worlds[i].rseq, false);
		probe = long_function(long_text, LONG_ID);
		hit_at("again", 2);
	}
	munmap(much - PAGE, (NAMED_PAGES + 2) * PAGE);
}

/* No slot is free: each hit is lost and counted. Those whose owners are gone are found again. */
static void test_no_slot(void **state)
{
	uint64_t taken[LONG_SLOTS];
	struct wire_long owners[LONG_SLOTS];

	enter(&long_worlds[__rseq_size ? 0 : 1]);
	for (uint64_t i = 0; i < LONG_SLOTS; i++) {
		owners[i].record = fake_address(long_slot(i)->record);
		long_slot(i)->owner = taken[i] = fake_address(&owners[i]);
	}
	for (unsigned n = 0; n < 10; n++)
		probe((long)"lost", 1);
	long_drain();
	assert_int_equal(got.count, 0);
	assert_int_equal(long_lost(LONG_ID), 10);
	for (uint64_t i = 0; i < LONG_SLOTS; i++)
		assert_int_equal(long_slot(i)->owner, taken[i]);
	for (uint64_t i = 0; i < LONG_SLOTS; i++) /* jumped away: their bytes became something else */
		owners[i].record = i;
	long_slot(3)->owner = 0x1000; /* an unmapped stack */
	for (unsigned n = 0; n < LONG_SLOTS; n++) {
		probe((long)"found", 1);
		long_drain();
		assert_int_equal(got.count, 1);
		assert_memory_equal(located(0, 0, 6), "found", 6);
	}
	assert_int_equal(long_lost(LONG_ID), 10);
	bed.control->slots = 0; /* as where a session has no LONG programs: none is there, none is taken */
	probe((long)"none", 1);
	assert_int_equal(long_lost(LONG_ID), 11);
}

/* Registers, flags and the red zone stay, wherever the probed values are; how deep it goes. */
static void test_registers_and_stack(void **state)
{
	_cleanup_free_ struct bpf_insn *program = NULL;
	size_t count;
	int most;

	assert_int_equal(bpf_assemble(long_text, &program, &count, NULL), 0);
	most = bpf_stack_most(program, count);
	assert_in_range(most, 256, 768); /* a goroutine's stack has 792 to spare where functions look at it */
	for (size_t i = 0; i < LONG_WORLDS; i++) {
		const void *entry;
		unsigned deepest = 0;

		if (!enter(&long_worlds[i]))
			continue;
		entry = trampoline(fake_compile_text(&fake, long_text, NULL));
		for (unsigned n = 0; n < 200; n++) {
			struct fake_machine m = { .in = { [4] = fake_address(stack) + STACK_SIZE / 2 + (next_random() & 0xff8) } };
			uint8_t *sp = (uint8_t *)(uintptr_t)m.in[4];
			unsigned deep = 4096;

			memset(sp - 4096, 0xa5, 4096 - RED_ZONE);
			hit(&m, entry);
			while (deep > RED_ZONE && sp[-(long)deep] == 0xa5)
				deep--;
			deepest = deep > deepest ? deep : deepest;
			long_drain();
			assert_int_equal(got.args[2], m.in[7]);
			assert_int_equal(got.args[3], m.in[6]);
		}
		print_message("%s: %u bytes of stack, at most %d are promised\n", long_worlds[i].name, deepest, most);
		assert_true((int)deepest <= most);
	}
}

/* READ_USER of @size bytes at %di into the third word, what it returns into the fourth. */
static const void *read_program(unsigned size, bool to_scratch)
{
	char text[1024];

	sprintf(text,
		"r7 = r1\nr1 = map 0\nr2 = 56\nr3 = 56\ncall 65540\nr6 = r0\nif r6 == 0 goto out\n"
		"r1 = r7\ncall 174\n*(u32 *)(r6 + 0) = r0\n*(u32 *)(r6 + 4) = 524344\ncall 14\n*(u64 *)(r6 + 16) = r0\n"
		"*(u64 *)(r10 - 8) = 0\nr1 = %s\nr1 += %d\nr2 = %u\nr3 = *(u64 *)(r7 + 112)\ncall 112\n"
		"*(u64 *)(r6 + 48) = r0\nr1 = *(u64 *)(r%d %s)\n*(u64 *)(r6 + 40) = r1\n"
		"r1 = r6\nr2 = 0\ncall 65543\nout: " EXIT,
		to_scratch ? "r6" : "r10", to_scratch ? 40 : -8, size, to_scratch ? 6 : 10, to_scratch ? "+ 40" : "- 8");
	return trampoline(fake_compile_text(&fake, text, NULL));
}

static void read_at(const void *entry, uint8_t *sp, const uint8_t *at, unsigned size)
{
	struct fake_machine m = { .in = { [4] = fake_address(sp), [7] = fake_address(at) }, .in_flags = 0x202, .entry = fake_address(entry) };
	bool is_there = at >= stack && fake_address(at) - fake_address(stack) <= STACK_SIZE - size;
	uint64_t value = 0;

	if (is_there)
		memcpy(&value, at, size);
	fake_enter(&m);
	assert_memory_equal(m.in, m.out, sizeof(m.in));
	long_drain();
	assert_int_equal(got.count, 1);
	assert_int_equal(got.args[3], is_there ? 0 : (uint64_t)-EFAULT);
	assert_int_equal(got.args[2], value);
}

/* In the page of rsp it is read directly, everywhere else as any memory: at all edges the same comes of it. */
static void test_near(void **state)
{
	uint8_t *tops[] = { stack + STACK_SIZE, stack + STACK_SIZE - 8, stack + STACK_SIZE - WIRE_PAGE, stack + STACK_SIZE / 2 + 8,
			    stack + STACK_SIZE / 2 - 2048 };

	for (size_t i = 0; i < STACK_SIZE; i++)
		stack[i] = (uint8_t)next_random();
	for (unsigned n = 0; n < 10; n++) {
		unsigned size = n % 5 == 4 ? 3 : 1U << n % 5;
		const void *entry;

		enter(&long_worlds[__rseq_size ? 0 : 1]);
		entry = read_program(size, n >= 5);
		for (size_t top = 0; top < sizeof(tops) / sizeof(tops[0]); top++)
			for (int edge = -1; edge < 2; edge++)
				for (int off = -9; off < 9; off++)
					read_at(entry, tops[top], (uint8_t *)base_align_down(fake_address(tops[top] - 1), WIRE_PAGE) + edge * WIRE_PAGE + off, size);
		read_at(entry, tops[0], NULL, size);
		read_at(entry, tops[0], (uint8_t *)-1L, size);
		read_at(entry, tops[0], stack - 4096, size);
	}
}

/* 128 values, each behind four pointers: into scratch memory at once. */
static char *deep_program(void)
{
	char *text = malloc(1 << 20);
	size_t used = (size_t)sprintf(text,
				      "r7 = r1\nr1 = map 0\nr2 = 1048\nr3 = 1048\ncall 65540\nr6 = r0\nif r6 == 0 goto out\n"
				      "r1 = r7\ncall 174\n*(u32 *)(r6 + 0) = r0\n*(u32 *)(r6 + 4) = 525336\n"
				      "call 14\n*(u64 *)(r6 + 16) = r0\n");

	for (unsigned arg = 0; arg < 128; arg++) {
		used += (size_t)sprintf(text + used, "r3 = *(u64 *)(r7 + 112)\n");
		for (unsigned level = 0; level < 4; level++)
			used += (size_t)sprintf(text + used,
						"r3 += %u\nr1 = r10\nr1 += -8\nr2 = 8\ncall 112\nif r0 != 0 goto next%u\n"
						"r3 = *(u64 *)(r10 - 8)\n",
						level == 3 ? 8 * arg : 0, arg);
		used += (size_t)sprintf(text + used, "*(u64 *)(r6 + %u) = r3\nnext%u: r3 = 0\n", 24 + 8 * arg, arg);
	}
	sprintf(text + used, "r1 = r6\nr2 = 0\ncall 65543\nout: " EXIT);
	return text;
}

static void test_deep(void **state)
{
	char *text = deep_program();
	uint64_t values[128], *one = values, **two = &one, ***three = &two;
	size_t size;
	struct timespec before, after;

	for (unsigned i = 0; i < 128; i++)
		values[i] = next_random();
	bed.probes[LONG_ID].nargs = 128;
	bed.probes[LONG_ID].record_size = bed.probes[LONG_ID].record_most = 24 + 8 * 128;
	bed.probes[LONG_ID].args = NULL;
	for (size_t i = 0; i < 2; i++) {
		fake_function *deep;

		if (!enter(&long_worlds[i]))
			continue;
		deep = fake_function_at(&fake, fake_compile_text(&fake, text, &size), LONG_ID);
		clock_gettime(CLOCK_MONOTONIC, &before);
		deep((long)&three, 0);
		clock_gettime(CLOCK_MONOTONIC, &after);
		long_drain();
		assert_int_equal(got.count, 1);
		assert_int_equal(got.record.nargs, 128);
		assert_memory_equal(got.bytes + 24, values, sizeof(values));
		print_message("%s: 128 values behind 4 pointers: %zu bytes of code, %ld us\n", long_worlds[i].name, size,
			      (after.tv_nsec - before.tv_nsec) / 1000);
		/* Nothing can be read: 0, and all of it is there. */
		deep(8, 0);
		long_drain();
		assert_int_equal(got.count, 1);
		for (unsigned n = 0; n < 128; n++)
			assert_int_equal(((uint64_t *)(void *)(got.bytes + 24))[n], 0);
	}
	bed.probes[LONG_ID] = bed.probes[0];
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_strings), cmocka_unit_test(test_unreadable), cmocka_unit_test(test_not_resident),
		cmocka_unit_test(test_sizes),   cmocka_unit_test(test_random),     cmocka_unit_test(test_quiet),
		cmocka_unit_test(test_full),    cmocka_unit_test(test_no_slot),    cmocka_unit_test(test_registers_and_stack),
		cmocka_unit_test(test_deep),    cmocka_unit_test(test_near),
		cmocka_unit_test(test_shared_memory),
	};

	return cmocka_run_group_tests(tests, long_setup, NULL);
}
