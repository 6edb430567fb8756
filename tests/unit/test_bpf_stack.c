/* SPDX-License-Identifier: MIT */
/*
 * LONG_STACK, compiled and run with the runtime that targets get: stacks made up in memory of which some cannot be
 * read, walked along frame pointers, and copied. A probed f(sp, bp) walks from where it is told; what comes out is
 * compared with what was built, or with a second walk.
 */
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "long_bed.h"
#include "wire/unwind.h"

#define STACK_FIXED 32 /* header, the locator */
#define AREA (64UL << 10)
#define GUARD (16UL << 10) /* more than a made-up frame is away */
#define MOST 64U
#define TRIALS 2000
#define GREGS_IN_FRAME 48 /* the return address, five words of struct ucontext */

static const struct trace_arg stack_arg = { .name = "stack", .bits = 8, .kind = TRACE_BYTES, .format = TRACE_CALLERS };
static uint8_t *area; /* AREA bytes, GUARD bytes around them cannot be touched */
static struct trace_stack walked;

/* A record of nothing but the stack from %di, %si. */
static fake_function *stack_function(uint32_t what)
{
	char text[512];

	sprintf(
	    text,
	    "r7 = r1\nr1 = map 0\nr2 = %d\nr3 = 60064\ncall 65540\nr6 = r0\nif r6 == 0 goto out\n"
	    "r1 = r7\ncall 174\n*(u32 *)(r6 + 0) = r0\n*(u32 *)(r6 + 4) = %d\ncall 14\n*(u64 *)(r6 + 16) = r0\n"
	    "r1 = r6\nr2 = %u\nr3 = *(u64 *)(r7 + 112)\nr4 = *(u64 *)(r7 + 104)\ncall 65545\n*(u64 *)(r6 + 24) = r0\n"
	    "r1 = r6\nr2 = 0\ncall 65543\nout: " EXIT,
	    STACK_FIXED, 8 << 16 | STACK_FIXED, what);
	return long_function(text, LONG_ID);
}

static void enter(bool rseq, uint64_t place)
{
	long_reset(rseq && __rseq_size, false);
	bed.probes[LONG_ID] =
	    (struct trace_probe) { .record_size = STACK_FIXED, .record_most = 60064, .nargs = 1, .args = &stack_arg };
	((uint64_t *)((uint8_t *)bed.control + bed.control->places_at))[LONG_ID] = place;
}

/* One hit; what came out is in `walked`. */
static void walk(fake_function *probe, const void *sp, const void *bp)
{
	probe((long)sp, (long)bp);
	long_drain();
	assert_int_equal(got.count, 1);
	assert_int_equal(long_lost(LONG_ID), 0);
	assert_int_equal(long_slots_taken(), 0);
	expect_no_damage();
	got.record.args = got.args;
	got.record.bytes = got.bytes;
	assert_true(trace_stack_of(&bed.probes[LONG_ID], &got.record, &walked));
}

static void expect(uint32_t count, const uint64_t *addresses, bool is_short)
{
	bool is_exact;

	assert_int_equal(walked.error, 0);
	for (uint32_t i = 0; i < count && i < walked.count; i++)
		if ((trace_stack_address(&walked, i, &is_exact) | (i && is_exact ? WIRE_STACK_EXACT : 0)) !=
		    addresses[i])
			fail_msg("address %u of %u is %lx, not %lx", i, walked.count,
				 trace_stack_address(&walked, i, &is_exact), addresses[i]);
	assert_int_equal(walked.count, count);
	assert_int_equal(walked.is_short, is_short);
}

static uint64_t *at(uint64_t offset)
{
	return (uint64_t *)(void *)(area + offset);
}

/* Frames each @step bytes above the last from @from on; return addresses 0x1000, 0x1001 ..; after the last one rbp is
 * @end. */
static void build(uint64_t from, uint64_t step, unsigned count, uint64_t end)
{
	memset(area, 0x5a, AREA);
	for (unsigned i = 0; i < count; i++, from += step) {
		at(from)[0] = i + 1 < count ? (uint64_t)(uintptr_t)at(from + step) : end;
		at(from)[1] = 0x1000 + i;
	}
}

static uint64_t expected[WIRE_STACK_FRAMES + 1];

/* The place and then @count return addresses. */
static const uint64_t *from_place(unsigned count)
{
	expected[0] = 0x400000;
	for (unsigned i = 0; i < count; i++)
		expected[1 + i] = 0x1000 + i;
	return expected;
}

static const uint64_t PLACE = 0x400000;

static void test_chains(void **state)
{
	static const uint64_t steps[] = { 16, 48, 4096, 4088, 8 * 509 };

	(void)state;
	for (int rseq = 0; rseq < 2; rseq++)
		for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
			unsigned count = (unsigned)((AREA - 64) / steps[i]);

			enter(rseq, PLACE);
			count = count > MOST - 1 ? MOST - 1 : count;
			fake_function *probe = stack_function(WIRE_STACK(WIRE_STACK_FP, MOST));

			build(32, steps[i], count, 0);
			walk(probe, at(8), at(32));
			expect(count + 1, from_place(count), false);
		}
}

/* As many as asked for: one more would be too many. */
static void test_most(void **state)
{
	(void)state;
	enter(true, PLACE);
	build(32, 32, 20, 0);
	walk(stack_function(WIRE_STACK(WIRE_STACK_FP, 21)), at(8), at(32));
	expect(21, from_place(20), false);
	walk(stack_function(WIRE_STACK(WIRE_STACK_FP, 20)), at(8), at(32));
	expect(20, from_place(19), true);
	walk(stack_function(WIRE_STACK(WIRE_STACK_FP, 1)), at(8), at(32));
	expect(1, from_place(0), true);
	build(32, 32, 600, 0);
	walk(stack_function(WIRE_STACK(WIRE_STACK_FP, WIRE_STACK_FRAMES)), at(8), at(32));
	expect(512, from_place(511), true);
}

/* Where rbp is no frame pointer the walk ends, with what was found. */
static void test_broken(void **state)
{
	const uint64_t ends[] = { 1,
				  24,
				  0x7fffffffff0,
				  UINT64_MAX,
				  1ULL << 47,
				  (uint64_t)(uintptr_t)area + 32,
				  (uint64_t)(uintptr_t)area + 32 * 9,
				  (uint64_t)(uintptr_t)area + 32 * 10 + 4,
				  (uint64_t)(uintptr_t)area + AREA,
				  (uint64_t)(uintptr_t)area + AREA - 8,
				  1ULL << 63 };
	fake_function *probe;

	(void)state;
	enter(true, PLACE);
	probe = stack_function(WIRE_STACK(WIRE_STACK_FP, MOST));
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		build(32, 32, 9, ends[i]);
		at(AREA - 8)[0] = 0;
		walk(probe, at(8), at(32));
		expect(10, from_place(9), true);
	}
	build(32, 32, 9, 0);
	walk(probe, at(32 * 3), at(32)); /* below the stack pointer */
	expect(1, from_place(0), true);
	walk(probe, (void *)16, (void *)32);
	expect(1, from_place(0), true);
	walk(probe, at(8), NULL); /* a thread's first function */
	expect(1, from_place(0), false);
	at(32 * 4)[1] = 1ULL << 47;
	walk(probe, at(8), at(32));
	expect(4, from_place(3), true);
	at(32 * 4)[1] = 0;
	walk(probe, at(8), at(32));
	expect(4, from_place(3), false);
}

static void test_unreadable(void **state)
{
	fake_function *probe;

	(void)state;
	enter(true, PLACE);
	probe = stack_function(WIRE_STACK(WIRE_STACK_FP, MOST));
	build(4096 - 64, 32, 9, 0); /* the first two in one page, the others in the next */
	assert_int_equal(mprotect(area + 4096, 4096, PROT_NONE), 0);
	walk(probe, at(8), at(4096 - 64));
	expect(3, from_place(2), true);
	assert_int_equal(mprotect(area, 4096, PROT_NONE), 0);
	walk(probe, at(8), at(4096 - 64));
	expect(1, from_place(0), true);
	assert_int_equal(mprotect(area, 8192, PROT_READ | PROT_WRITE), 0);
	bed.control->quiet = 1; /* no system calls: only our own page */
	walk(probe, at(8), at(4096 - 64));
	expect(1, from_place(0), true);
	bed.control->quiet = 0;
	walk(probe, at(8), at(4096 - 64));
	expect(10, from_place(9), false);
}

/* What the controller knows of the place's own frame. */
static void test_places(void **state)
{
	fake_function *probe;

	(void)state;
	for (unsigned up = 1; up < 200; up += 9) {
		enter(true, WIRE_PLACE(PLACE, up, 0));
		probe = stack_function(WIRE_STACK(WIRE_STACK_FP, MOST));
		build(4000, 64, 5, 0);
		from_place(5);
		memmove(expected + 2, expected + 1, 5 * sizeof(expected[0]));
		expected[1] = at(64 + 8 * (up - 1))[0] = 0x777;
		walk(probe, at(64), at(4000));
		expect(7, expected, false);
		if (up < 3)
			continue;
		enter(true, WIRE_PLACE(PLACE, up, 3));
		probe = stack_function(WIRE_STACK(WIRE_STACK_FP, MOST));
		at(64 + 8 * (up - 3))[0] = (uint64_t)(uintptr_t)at(4000);
		walk(probe, at(64), (void *)0x1234567);
		expect(7, expected, false);
	}
	for (unsigned own = 0; own < 2; own++) { /* rbp the caller's still, or its own frame's already */
		enter(true, WIRE_PLACE(PLACE, 10, WIRE_PLACE_MAYBE));
		probe = stack_function(WIRE_STACK(WIRE_STACK_FP, MOST));
		build(4000, 64, 5, 0);
		from_place(5);
		memmove(expected + 2, expected + 1, 5 * sizeof(expected[0]));
		expected[1] = at(64)[9] = 0x777;
		at(64)[8] = own ? (uint64_t)(uintptr_t)at(4000) : 0x1111111;
		walk(probe, at(64), own ? at(128) : at(4000));
		expect(7, expected, false);
	}
	enter(true, PLACE); /* of a return: the address returned to is below sp, whatever the table says */
	probe = stack_function(WIRE_STACK(WIRE_STACK_FP | WIRE_STACK_RETURN, MOST));
	build(64, 64, 5, 0);
	from_place(5);
	expected[0] = at(24)[0] = 0x555;
	walk(probe, at(32), at(64));
	expect(6, expected, false);
}

static const uint8_t restorers[][16] = { { 0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05 },
					 { 0xb8, 15, 0, 0, 0, 0x0f, 0x05 } };

/* A handler on a stack of its own, above what it interrupted. */
static void test_signal(void **state)
{
	fake_function *probe;

	(void)state;
	enter(true, PLACE);
	probe = stack_function(WIRE_STACK(WIRE_STACK_FP, MOST));
	for (unsigned i = 0; i < 2; i++) {
		uint64_t *handler = at(32768);
		uint64_t *gregs = (uint64_t *)(void *)((uint8_t *)(handler + 1) + GREGS_IN_FRAME);

		build(256, 32, 4, 0);
		memcpy(at(60000), restorers[i], 16);
		handler[0] = gregs[10] = (uint64_t)(uintptr_t)at(256); /* rbp */
		handler[1] = (uint64_t)(uintptr_t)at(60000);
		gregs[15] = (uint64_t)(uintptr_t)at(200); /* rsp */
		gregs[16] = 0x2222;
		expected[0] = PLACE;
		expected[1] = handler[1] | WIRE_STACK_EXACT;
		expected[2] = 0x2222 | WIRE_STACK_EXACT;
		for (unsigned k = 0; k < 4; k++)
			expected[3 + k] = 0x1000 + k;
		walk(probe, at(32000), handler);
		expect(7, expected, false);
		gregs[10] = (uint64_t)(uintptr_t)at(128); /* below rsp */
		handler[0] = gregs[10];
		walk(probe, at(32000), handler);
		expect(3, expected, true);
		gregs[16] = 1ULL << 63;
		walk(probe, at(32000), handler);
		expect(2, expected, true);
		*(uint8_t *)at(60000) = 0x90; /* no restorer: an ordinary frame, whose rbp leads down */
		expected[1] &= ~WIRE_STACK_EXACT;
		walk(probe, at(32000), handler);
		expect(2, expected, true);
	}
}

/* A copy is what lies there; it ends where the mapping does, and is short where more may follow. */
static void test_copies(void **state)
{
	static const uint32_t sizes[] = { 1, 7, 8, 8192, 60000 };
	fake_function *probe;

	(void)state;
	for (size_t i = 0; i < AREA; i++)
		area[i] = (uint8_t)next_random();
	enter(true, PLACE);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		probe = stack_function(WIRE_STACK(WIRE_STACK_RAW, sizes[i]));
		for (uint64_t from = 0; from < AREA; from += 1 + next_random() % 8192) {
			uint64_t there = AREA - from < sizes[i] ? AREA - from : sizes[i];
			const uint8_t *bytes;

			walk(probe, area + from, NULL);
			bytes = located(0, there == sizes[i] ? WIRE_LOCATOR_SHORT : 0, (uint32_t)there + 8);
			assert_int_equal(*(const uint64_t *)(const void *)bytes, PLACE);
			assert_memory_equal(bytes + 8, area + from, there);
		}
		walk(probe, area + AREA, NULL);
		located(0, WIRE_LOCATOR_SHORT, 8);
	}
}

/* ---- any memory ---- */

static bool read_word(uint64_t address, uint64_t *ret)
{
	uint64_t start = (uint64_t)(uintptr_t)area;

	if (address % 8 || address < start || address > start + AREA - 8)
		return false;
	*ret = *(uint64_t *)(uintptr_t)address;
	return true;
}

/* The rules once more: up the chain, each frame above the last return address. Returns how many. */
static uint32_t model(uint64_t sp, uint64_t bp, uint64_t *to, uint32_t most, bool *is_short)
{
	uint32_t count = 0;
	uint64_t low = sp;

	to[count++] = PLACE;
	*is_short = true;
	while (bp) {
		uint64_t next, address;

		if (bp < low || !read_word(bp, &next) || !read_word(bp + 8, &address) || address >> 47)
			return count;
		if (!address)
			break;
		if (count == most)
			return count;
		to[count++] = address;
		low = bp + 16;
		bp = next;
	}
	*is_short = false;
	return count;
}

static void test_random(void **state)
{
	uint64_t start = (uint64_t)(uintptr_t)area;
	fake_function *probe;
	unsigned longest = 0;

	(void)state;
	enter(true, PLACE);
	probe = stack_function(WIRE_STACK(WIRE_STACK_FP, MOST));
	for (unsigned n = 0; n < TRIALS; n++) {
		uint64_t sp = start + (next_random() % 2048 & ~7ULL);
		uint64_t reach = 64 + next_random() % 8192;
		uint32_t count;
		bool is_short;

		for (uint64_t i = 0; i < AREA / 8;
		     i++) { /* mostly words that lead a bit up, some that end, some that are wrong */
			uint64_t dice = next_random();
			uint64_t up = start + 8 * i + (dice >> 8) % reach;

			at(0)[i] = dice % 256 < 3   ? 0
				   : dice % 256 < 6 ? dice
				   : dice % 256 < 9 ? start + 8 * i
						    : up & ~7ULL;
		}
		uint64_t bp = sp + (next_random() % 256 & ~7ULL);

		count = model(sp, bp, expected, MOST, &is_short);
		walk(probe, (void *)(uintptr_t)sp, (void *)(uintptr_t)bp);
		expect(count, expected, is_short);
		longest = count > longest ? count : longest;
	}
	assert_int_equal(longest, MOST);
}

/*
 * What a walk goes deepest with: frames that are in other pages than we run on, each of which looks like a signal's until its code is read; by
 * tables, rules that read memory, and pieces that are to be checked. Frames nearly a window apart: the window moves on where a signal's frame is
 * looked for.
 */
static void make_deep(uint64_t sp, uint64_t apart)
{
	static struct {
		struct {
			uint64_t number;
			uint32_t count, pid;
		} list; /* as struct wire_unwind, before its pieces */
		struct wire_unwind_piece piece;
		struct wire_unwind_row row;
	} tables;
	uint64_t frame = base_align_up(sp, 4096) + 4096;

	tables.list.number = tables.list.count = 1;
	tables.piece = (struct wire_unwind_piece) {
		.start = 4096, .end = PLACE + 4096, .base = 4096, .rows = offsetof(typeof(tables), row), .count = 1, .check_at = frame, .check = frame + apart
	};
	tables.row.rule = WIRE_UNWIND_RULE(WIRE_UNWIND_AT_BP_8, 1, WIRE_UNWIND_BP_AT_BP, 0);
	bed.control->unwind_at = fake_address(&tables);
	bed.control->unwind_size = sizeof(tables);
	bed.control->unwind = fake_address(&tables.list);
	for (unsigned i = 0; i < (apart > 1024 ? 4 : 16); i++, frame += apart) {
		uint64_t *word = (uint64_t *)(uintptr_t)frame;

		word[0] = word[17] = frame + apart;
		word[1] = i % 2 ? 0x1000 : frame + apart; /* by fp a return address, by tables where the frame ends */
	}
}

/* Registers, flags and the red zone stay; how deep it goes is what the code generator says. */
static void test_registers_and_stack(void **state)
{
	static const uint32_t kinds[] = { WIRE_STACK(WIRE_STACK_FP, MOST), WIRE_STACK(WIRE_STACK_RAW, 8192),
					  WIRE_STACK(WIRE_STACK_CFI, MOST) };
	static const char *const names[] = { "fp", "raw", "cfi" };

	(void)state;
	for (unsigned k = 0; k < 6; k++) {
		_cleanup_free_ struct bpf_insn *program = NULL;
		const void *entry;
		unsigned deepest = 0;
		uint32_t longest = 0;
		char text[512];
		size_t count;
		int most;

		enter(k / 3, PLACE);
		((uint64_t *)((uint8_t *)bed.control + bed.control->places_at))[ID] = PLACE;
		sprintf(text,
			"r7 = r1\nr1 = map 0\nr2 = 32\nr3 = 60064\ncall 65540\nr6 = r0\nif r6 == 0 goto out\n"
			"*(u32 *)(r6 + 0) = 5\n*(u32 *)(r6 + 4) = %d\n"
			"r1 = r6\nr2 = %u\nr3 = *(u64 *)(r7 + 152)\nr4 = *(u64 *)(r7 + 32)\ncall 65545\n*(u64 *)(r6 + "
			"24) = r0\n"
			"r1 = r6\nr2 = 0\ncall 65543\nout: " EXIT,
			8 << 16 | STACK_FIXED, kinds[k % 3]);
		assert_int_equal(bpf_assemble(text, &program, &count, NULL), 0);
		most = bpf_stack_most(program, count);
		entry = trampoline(fake_compile_text(&fake, text, NULL));
		for (unsigned n = 0; n < 200; n++) {
			struct fake_machine m = { .in = { [4] = fake_address(stack) + STACK_SIZE / 2 +
								(next_random() & 0xff8) } };
			uint8_t *sp = (uint8_t *)(uintptr_t)m.in[4];
			unsigned deep = 4096;

			make_deep(m.in[4], n % 2 ? 256 : WIRE_STACK_WINDOW - 64);
			m.in[5] = base_align_up(m.in[4], 4096) + 4096;
			memset(sp - 4096, 0xa5, 4096 - RED_ZONE);
			hit(&m, entry);
			while (deep > RED_ZONE && sp[-(long)deep] == 0xa5)
				deep--;
			deepest = deep > deepest ? deep : deepest;
			long_drain();
			assert_int_equal(got.count, 1);
			longest = wire_locator_bytes(got.args[0]) > longest ? wire_locator_bytes(got.args[0]) : longest;
		}
		assert_true(longest > 8); /* it was walked */
		print_message("%s, %s: %u bytes of stack, at most %d are promised\n", names[k % 3],
			      k / 3 ? "rseq" : "cells", deepest, most);
		assert_true((int)deepest <= most);
	}
}

/* ---- a handler that forks in the middle of a walk: the slot is empty there, and the child goes on ---- */

#define FORKS 60
#define CHILD_HITS 3
static volatile sig_atomic_t forked, is_child;

static void on_alarm(int signal)
{
	(void)signal;
	if (is_child || forked == FORKS)
		return;
	forked++;
	if (fork() == 0)
		is_child = 1;
}

static void let_fork(uint32_t what)
{
	const struct itimerval often = { { 0, 1700 }, { 0, 1000 } }, never = { { 0, 0 }, { 0, 0 } };
	fake_function *probe = stack_function(what);
	sigset_t alarms;
	int status;

	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	forked = 0;
	setitimer(ITIMER_REAL, &often, NULL);
	for (unsigned more = 0, n = 0; forked < FORKS; n++) {
		probe((long)at(8), (long)at(32));
		if (is_child && more++ == CHILD_HITS)
			_exit(0);
		if (is_child || n % 16)
			continue;
		sigprocmask(SIG_BLOCK, &alarms, NULL); /* a child must not read */
		long_drain();
		sigprocmask(SIG_UNBLOCK, &alarms, NULL);
	}
	setitimer(ITIMER_REAL, &never, NULL);
	if (is_child)
		_exit(0);
	for (unsigned ended = 0; ended < FORKS; ended++) {
		while (wait(&status) < 0)
			assert_int_equal(errno, EINTR);
		if (status)
			fail_msg("kind %u: a child ended with %x", what & WIRE_STACK_KINDS, (unsigned)status);
	}
	long_drain();
	expect_no_damage();
}

static void test_forks(void **state)
{
	static const uint32_t kinds[] = { WIRE_STACK(WIRE_STACK_FP, MOST), WIRE_STACK(WIRE_STACK_CFI, MOST), WIRE_STACK(WIRE_STACK_RAW, 30000) };
	static struct {
		uint64_t number;
		uint32_t count, pid;
		struct wire_unwind_piece piece;
		struct wire_unwind_row row;
	} list = { .number = 1, .count = 1 };
	const struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };

	(void)state;
	if (!__rseq_size) { /* a child would write the same cell */
		print_message("skipped: this C library registers no rseq\n");
		skip();
	}
	sigaction(SIGALRM, &action, NULL);
	list.pid = (uint32_t)getpid();
	list.piece = (struct wire_unwind_piece) {
		.start = 4096, .end = PLACE + 4096, .base = 4096, .rows = offsetof(typeof(list), row), .count = 1
	};
	list.row.rule = WIRE_UNWIND_RULE_FRAME;
	for (unsigned k = 0; k < 3; k++) {
		enter(true, PLACE);
		bed.control->unwind_at = bed.control->unwind = fake_address(&list);
		bed.control->unwind_size = sizeof(list);
		build(32, WIRE_STACK_WINDOW - 64, 18, 0);
		walk(stack_function(kinds[k]), at(8), at(32));
		assert_true(kinds[k] == kinds[2] || walked.count == 19);
		let_fork(kinds[k]);
	}
}

/* ---- what the target may have written over ---- */

static void test_list_elsewhere(void **state)
{
	static uint64_t list[8] __attribute__((aligned(16)));
	const uint64_t places[] = { 8, 4096, fake_address(area) - 8, fake_address(area) + AREA, fake_address(list) - 16, fake_address(list) + 4,
				    fake_address(list) + sizeof(list) - 8, 1ULL << 63 };
	fake_function *probe;

	(void)state;
	enter(true, PLACE);
	probe = stack_function(WIRE_STACK(WIRE_STACK_CFI, MOST));
	build(32, 32, 9, 0);
	bed.control->unwind_at = fake_address(list);
	bed.control->unwind_size = sizeof(list);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		bed.control->unwind = places[i];
		walk(probe, at(8), at(32));
		expect(0, NULL, true);
	}
}

/* As generated code calls it. */
__attribute__((noinline)) static uint64_t call_runtime(enum wire_runtime_entry entry, struct wire_long *frame, uint64_t what)
{
	uint64_t result;

	__asm__ volatile("lea -128(%%rsp), %%rsp\ncall *%3\nlea 128(%%rsp), %%rsp"
			 : "=a"(result)
			 : "0"(frame), "d"(what), "r"(fake.target.runtime[entry])
			 : "memory", "cc");
	return result;
}

#define SMALL_SLOT 8192U

/* A slot that says that its record may be larger than it is: nothing is written, or read, behind its room. */
static void test_slot_bounds(void **state)
{
	const uint64_t room = SMALL_SLOT - sizeof(struct wire_slot) - WIRE_STACK_WINDOW - WIRE_STACK_STATE;
	const enum wire_runtime_entry entries[] = { RT_LONG_BYTES, RT_LONG_STRING, RT_LONG_STACK, RT_LONG_STACK, RT_LONG_STACK };
	const uint64_t bytes[] = { 30000, 30000, WIRE_STACK(WIRE_STACK_RAW, 30000), WIRE_STACK(WIRE_STACK_FP, WIRE_STACK_FRAMES),
				   WIRE_STACK(WIRE_STACK_CFI, WIRE_STACK_FRAMES) };

	(void)state;
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
		struct wire_long frame = { .what = (uint64_t)LONG_ID << 32 | STACK_FIXED };
		struct wire_slot *slot;
		uint64_t locator;

		enter(true, PLACE);
		build(32, 32, 600, 0);
		bed.control->slot_size = SMALL_SLOT;
		assert_true(call_runtime(RT_LONG_RESERVE, &frame, 2000) == frame.record && frame.record);
		slot = (struct wire_slot *)(uintptr_t)(frame.record - sizeof(*slot));
		slot->most = WIRE_LONG_MAX;
		slot->used = (uint32_t)room - 64;
		memset(slot->record + room, 0xa5, WIRE_STACK_WINDOW);
		memset((uint8_t *)slot + SMALL_SLOT, 0xa5, 4096);
		frame.from = fake_address(at(32));
		frame.bytes = bytes[i];
		locator = call_runtime(entries[i], &frame, entries[i] == RT_LONG_STACK ? fake_address(at(8)) : 0);
		assert_true(wire_locator_bytes(locator) <= 64);
		if (entries[i] != RT_LONG_STACK) /* which has its window there */
			for (uint64_t n = 0; n < WIRE_STACK_WINDOW; n++)
				assert_int_equal(slot->record[room + n], 0xa5);
		for (unsigned n = 0; n < 4096; n++)
			assert_int_equal(((uint8_t *)slot)[SMALL_SLOT + n], 0xa5);
		slot->used = WIRE_LONG_MAX;
		assert_int_equal(call_runtime(RT_LONG_SEAL, &frame, 0), STACK_FIXED);
		call_runtime(RT_LONG_FREE, &frame, 0);
	}
}

/* What no program may ask for. */
static void test_refused(void **state)
{
	static const uint64_t whats[] = { 0,
					  WIRE_STACK(0, 1),
					  WIRE_STACK(4, 1),
					  WIRE_STACK(WIRE_STACK_FP, 0),
					  WIRE_STACK(WIRE_STACK_CFI, 513),
					  WIRE_STACK(WIRE_STACK_FP, 513),
					  WIRE_STACK(WIRE_STACK_RAW, 60001) };

	(void)state;
	for (size_t i = 0; i < sizeof(whats) / sizeof(whats[0]); i++) {
		_cleanup_free_ struct bpf_insn *program = NULL;
		struct utap_error err = { 0 };
		char text[512];
		size_t count;

		sprintf(text,
			"r7 = r1\nr1 = map 0\nr2 = 32\nr3 = 4096\ncall 65540\nr6 = r0\nif r6 == 0 goto out\nr1 = "
			"r6\nr2 = %lu\n"
			"r3 = 0\nr4 = 0\ncall 65545\nr1 = r6\nr2 = 0\ncall 65543\nout: " EXIT,
			whats[i]);
		assert_int_equal(bpf_assemble(text, &program, &count, NULL), 0);
		assert_int_equal(bpf_check(program, count, BPF_PROBE, &err), -EINVAL);
		assert_non_null(strstr(err.text, "stack"));
	}
	enter(true, PLACE); /* a session without stacks has no window */
	bed.control->places_at = 0;
	fake_function *probe = stack_function(WIRE_STACK(WIRE_STACK_FP, MOST));

	build(32, 32, 9, 0);
	walk(probe, at(8), at(32));
	assert_int_equal(walked.error, EINVAL);
}

static int stack_setup(void **state)
{
	int error = long_setup(state);

	area = mmap(NULL, AREA + 2 * GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(area != MAP_FAILED);
	area += GUARD;
	assert_int_equal(mprotect(area, AREA, PROT_READ | PROT_WRITE), 0);
	return error;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chains),
		cmocka_unit_test(test_most),
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_unreadable),
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_signal),
		cmocka_unit_test(test_copies),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_registers_and_stack),
		cmocka_unit_test(test_forks),
		cmocka_unit_test(test_list_elsewhere),
		cmocka_unit_test(test_slot_bounds),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, stack_setup, NULL);
}
