/* SPDX-License-Identifier: MIT */
/*
 * The walker of stacks: each rule on a made-up stack, what it must not believe, and this very process's stacks by tables of all the files that it
 * maps, compared with what libgcc's unwinder says (backtrace(3)): nested calls, callbacks of libc, aligned frames, signal handlers, threads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <alloca.h>
#include <execinfo.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "object/unwind.h"

#define NOINLINE __attribute__((noinline))
#define MOST 200

/* As struct wire_unwind, before its pieces. */
struct list_head {
	uint64_t number;
	uint32_t count, pid;
};
static_assert(sizeof(struct list_head) == offsetof(struct wire_unwind, pieces), "list_head");

/* ---- made-up stacks ---- */

#define CODE 0x400000UL
#define STACK 0x7000UL
#define WORDS 64

static struct {
	struct list_head list;
	struct wire_unwind_piece pieces[2];
	struct wire_unwind_row rows[16];
} area;
static uint64_t words[WORDS]; /* at STACK */
static uint64_t addresses[MOST];

static bool made_word(struct wire_unwind_memory *memory, uint64_t address, uint64_t *ret)
{
	(void)memory;
	if (address - STACK > sizeof(words) - 8)
		return false;
	memcpy(ret, (const uint8_t *)words + (address - STACK), 8);
	return true;
}

/* Code at CODE of which each 16 bytes have one rule. */
static void set_rules(const uint32_t *rules, uint32_t count)
{
	area.list = (struct list_head) { .number = 1, .count = 1 };
	area.pieces[0] = (struct wire_unwind_piece) {
		.start = CODE, .end = CODE + 16 * (count + 1), .base = CODE, .rows = offsetof(typeof(area), rows), .count = count
	};
	for (uint32_t i = 0; i < count; i++)
		area.rows[i] = (struct wire_unwind_row) { .offset = 16 * i, .rule = rules[i] };
	memset(words, 0, sizeof(words));
	words[1] = CODE + 24; /* by most rules here: the caller's address */
}

static struct wire_unwind_tables made_tables = {
	.area = (uint64_t)(uintptr_t)&area, .size = sizeof(area), .list = (const struct wire_unwind *)(const void *)&area.list
};

static struct wire_unwind_walk walk_made(uint64_t ip, uint64_t bp, uint32_t most, uint32_t *count)
{
	static struct wire_unwind_memory memory = { .word = made_word };
	struct wire_unwind_walk walk = {
		.memory = &memory,
		.now = { .ip = ip, .sp = STACK, .bp = bp, .is_exact = true },
	};

	*count = wire_unwind_walk(&walk, &made_tables, addresses, most);
	return walk;
}

#define END WIRE_UNWIND_RULE(WIRE_UNWIND_END, 0, 0, 0)

/* One frame by @rule, then one at which the stack ends. */
static void expect_one(uint32_t rule, uint64_t bp, uint64_t cfa)
{
	const uint32_t rules[] = { rule, END };
	uint64_t kept[WORDS];
	uint32_t count;

	memcpy(kept, words, sizeof(kept));
	set_rules(rules, 2);
	memcpy(words, kept, sizeof(words));
	struct wire_unwind_walk walk = walk_made(CODE + 4, bp, MOST, &count);

	assert_int_equal(count, 2);
	assert_false(walk.is_short);
	assert_int_equal(addresses[0], CODE + 4);
	assert_int_equal(addresses[1], CODE + 24);
	assert_int_equal(walk.now.sp, cfa);
}

static void test_rules(void **state)
{
	(void)state;
	memset(words, 0, sizeof(words));
	words[4] = CODE + 24;
	expect_one(WIRE_UNWIND_RULE(WIRE_UNWIND_SP, 5, 0, 0), 0, STACK + 40);
	expect_one(WIRE_UNWIND_RULE(WIRE_UNWIND_BP, 2, 0, 0), STACK + 24, STACK + 40);
	expect_one(WIRE_UNWIND_RULE(WIRE_UNWIND_BP, -2, 0, 0), STACK + 56, STACK + 40);
	words[2] = STACK + 40;
	expect_one(WIRE_UNWIND_RULE(WIRE_UNWIND_AT_SP, 2, 0, 0), 0, STACK + 40);
	expect_one(WIRE_UNWIND_RULE(WIRE_UNWIND_AT_BP, -1, 0, 0), STACK + 24, STACK + 40);
	words[2] = STACK + 32;
	expect_one(WIRE_UNWIND_RULE(WIRE_UNWIND_AT_SP_8, 2, 0, 0), 0, STACK + 40);
	expect_one(WIRE_UNWIND_RULE(WIRE_UNWIND_AT_BP_8, 1, 0, 0), STACK + 8, STACK + 40);
	memset(words, 0, sizeof(words));
	words[0] = CODE + 24;
	expect_one(WIRE_UNWIND_RULE(WIRE_UNWIND_PLT, 5, 0, 0), 0, STACK + 8);
	words[0] = 7;
	words[1] = CODE + 24;
	expect_one(WIRE_UNWIND_RULE(WIRE_UNWIND_PLT, 4, 0, 0), 0, STACK + 16);
}

/* The caller's bp is what the second frame counts from. */
static void expect_bp(enum wire_unwind_bp how, int m, uint64_t bp, bool is_short)
{
	const uint32_t rules[] = { WIRE_UNWIND_RULE(WIRE_UNWIND_SP, 2, how, m), WIRE_UNWIND_RULE_FRAME, END };
	uint32_t count;

	set_rules(rules, 3);
	words[0] = STACK + 80;
	words[5] = STACK + 80;
	words[11] = CODE + 40;
	struct wire_unwind_walk walk = walk_made(CODE + 4, bp, MOST, &count);

	assert_int_equal(walk.is_short, is_short);
	assert_int_equal(count, is_short ? 2 : 3);
	assert_int_equal(addresses[count - 1], is_short ? CODE + 24 : CODE + 40);
}

static void test_bp(void **state)
{
	(void)state;
	expect_bp(WIRE_UNWIND_BP_SAME, 0, STACK + 80, false);
	expect_bp(WIRE_UNWIND_BP_AT_CFA, -2, 3, false);
	expect_bp(WIRE_UNWIND_BP_AT_BP, 2, STACK + 24, false);
	expect_bp(WIRE_UNWIND_BP_LOST, 0, STACK + 80, true);
	expect_bp(WIRE_UNWIND_BP_AT_CFA, 63, STACK + 80, true);  /* not readable */
	expect_bp(WIRE_UNWIND_BP_AT_BP, -64, STACK + 80, true);
}

static void expect_short(uint32_t rule, uint64_t bp)
{
	const uint32_t rules[] = { rule, END };
	uint32_t count;

	set_rules(rules, 2);
	struct wire_unwind_walk walk = walk_made(CODE + 4, bp, MOST, &count);

	assert_int_equal(count, 1);
	assert_true(walk.is_short);
}

/* Frames go upwards, in readable memory, to addresses of user space. */
static void test_not_believed(void **state)
{
	uint32_t count;

	(void)state;
	expect_short(WIRE_UNWIND_RULE(WIRE_UNWIND_UNKNOWN, 0, 0, 0), 0);
	expect_short(WIRE_UNWIND_RULE(WIRE_UNWIND_SP, 0, 0, 0), 0);
	expect_short(WIRE_UNWIND_RULE(WIRE_UNWIND_SP, -1, 0, 0), 0);
	expect_short(WIRE_UNWIND_RULE(WIRE_UNWIND_SP, WORDS + 1, 0, 0), 0);
	expect_short(WIRE_UNWIND_RULE(WIRE_UNWIND_BP, 2, 0, 0), STACK - 16);
	expect_short(WIRE_UNWIND_RULE(WIRE_UNWIND_BP, 2, 0, 0), 1UL << 63);
	expect_short(WIRE_UNWIND_RULE(WIRE_UNWIND_AT_SP, WORDS, 0, 0), 0);
	expect_short(WIRE_UNWIND_RULE(10, 0, 0, 0), 0);
	expect_short(WIRE_UNWIND_RULE(15, 1, 3, 1), 0);

	const uint32_t rules[] = { WIRE_UNWIND_RULE(WIRE_UNWIND_SP, 2, 0, 0) };
	static const uint64_t none[] = { 1, 4095, 1UL << 47, UINT64_MAX };

	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		set_rules(rules, 1);
		words[1] = none[i];
		assert_true(walk_made(CODE, 0, MOST, &count).is_short);
		assert_int_equal(count, 1);
	}
	set_rules(rules, 1);
	words[1] = 0; /* nobody called it */
	assert_false(walk_made(CODE, 0, MOST, &count).is_short);
	assert_int_equal(count, 1);
}

static void test_bounds(void **state)
{
	const uint32_t rules[] = { WIRE_UNWIND_RULE(WIRE_UNWIND_SP, 2, 0, 0), WIRE_UNWIND_RULE(WIRE_UNWIND_SP, 1, 0, 0) };
	uint32_t count;

	(void)state;
	set_rules(rules, 2);
	for (size_t i = 2; i < WORDS; i++)
		words[i] = CODE + 24;
	assert_true(walk_made(CODE, 0, 5, &count).is_short);
	assert_int_equal(count, 5);
	assert_true(walk_made(CODE, 0, MOST, &count).is_short);
	assert_int_equal(count, WORDS);
	walk_made(CODE, 0, 0, &count);
	assert_int_equal(count, 0);
	area.pieces[0].count = UINT32_MAX; /* rows that are not all in the area are none */
	assert_true(walk_made(CODE, 0, MOST, &count).is_short);
	assert_int_equal(count, 1);
	area.pieces[0].count = 2;
	area.pieces[0].rows = UINT64_MAX - 3;
	assert_true(walk_made(CODE, 0, MOST, &count).is_short);
	assert_int_equal(count, 1);
	set_rules(rules, 2);
	area.list.count = UINT32_MAX; /* pieces neither */
	walk_made(CODE, 0, MOST, &count);
}

/* A handler's own stack may lie above: frames start anew. What was interrupted was not calling. */
static void test_signal(void **state)
{
	const uint32_t rules[] = { WIRE_UNWIND_RULE(WIRE_UNWIND_SP, 40, WIRE_UNWIND_BP_LOST, 0),
				   WIRE_UNWIND_RULE(WIRE_UNWIND_SIGNAL, 0, 0, 0), WIRE_UNWIND_RULE_FRAME, END };
	uint32_t count;

	(void)state;
	set_rules(rules, 4);
	words[39] = CODE + 17;
	words[40 + 120 / 8] = STACK + 64;
	words[40 + 160 / 8] = STACK + 8;
	words[40 + 168 / 8] = CODE + 32;
	words[9] = CODE + 49;
	assert_false(walk_made(CODE, 0, MOST, &count).is_short);
	assert_int_equal(count, 4);
	assert_true(addresses[1] == ((CODE + 17) | WIRE_UNWIND_EXACT)); /* the restorer */
	assert_true(addresses[2] == ((CODE + 32) | WIRE_UNWIND_EXACT));
	assert_int_equal(addresses[3], CODE + 49);
}

/* Code of no file; a place that is known better; a process in which something else may be mapped. */
static void test_pieces(void **state)
{
	const uint32_t rules[] = { WIRE_UNWIND_RULE(WIRE_UNWIND_UNKNOWN, 0, 0, 0), END };
	struct wire_unwind_walk walk;
	uint32_t count;

	(void)state;
	set_rules(rules, 2);
	words[9] = CODE + 24;
	assert_false(walk_made(0x900000, STACK + 64, MOST, &count).is_short);
	assert_int_equal(count, 2);
	assert_false(walk_made(0x900000, 0, MOST, &count).is_short); /* the outermost */
	assert_int_equal(count, 1);
	walk = walk_made(CODE + 4, 0, 0, &count);
	walk.now.rule = WIRE_UNWIND_RULE(WIRE_UNWIND_SP, 2, 0, 0);
	assert_int_equal(wire_unwind_walk(&walk, &made_tables, addresses, MOST), 2);
	assert_false(walk.is_short);
	walk = walk_made(0x900000, STACK + 64, 0, &count);
	made_tables.check = true;
	assert_int_equal(wire_unwind_walk(&walk, &made_tables, addresses, MOST), 1);
	assert_true(walk.is_short);
	made_tables.check = false;
	for (uint64_t right = 0; right < 2; right++) {
		const uint32_t known[] = { WIRE_UNWIND_RULE(WIRE_UNWIND_SP, 2, 0, 0), END };

		set_rules(known, 2);
		area.pieces[0].check_at = STACK + 8 * 30;
		area.pieces[0].check = 5 + right;
		words[30] = 6;
		walk = walk_made(CODE + 4, 0, 0, &count);
		made_tables.check = true;
		assert_int_equal(wire_unwind_walk(&walk, &made_tables, addresses, MOST), 1 + right);
		assert_int_equal(walk.is_short, !right);
		made_tables.check = false;
	}
}

/* ---- this process ---- */

static struct {
	struct object *objects[64];
	struct object_unwind tables[64];
	size_t ntables;
	struct list_head list;
	struct wire_unwind_piece pieces[128];
} self;

static struct object_unwind *table_of(const char *path, struct object **object)
{
	for (size_t i = 0; i < self.ntables; i++)
		if (!strcmp(object_path(self.objects[i]), path)) {
			*object = self.objects[i];
			return &self.tables[i];
		}
	if (self.ntables == 64 || object_open(path, &self.objects[self.ntables], NULL))
		return NULL;
	*object = self.objects[self.ntables];
	assert_int_equal(object_unwind_make(*object, &self.tables[self.ntables], NULL), 0);
	return &self.tables[self.ntables++];
}

static void add_map(uint64_t start, uint64_t end, uint64_t offset, const char *path)
{
	struct object *object;
	const struct object_unwind *table = table_of(path, &object);
	uint64_t vaddr;

	if (!table || object_offset_to_vaddr(object, offset, &vaddr))
		return;
	self.pieces[self.list.count++] = (struct wire_unwind_piece) {
		.start = start, .end = end, .base = start - vaddr + table->base, .rows = (uint64_t)(uintptr_t)table->rows,
		.count = (uint32_t)table->count
	};
}

static int self_setup(void **state)
{
	FILE *file = fopen("/proc/self/maps", "r");
	uint64_t start, end, offset;
	char line[1024], rights[8], path[600];
	void *one;

	(void)state;
	backtrace(&one, 1); /* loads libgcc_s */
	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%lx-%lx %7s %lx %*s %*s %599s", &start, &end, rights, &offset, path) == 5 && rights[2] == 'x' && path[0] == '/' &&
		    self.list.count < 128)
			add_map(start, end, offset, path);
	fclose(file);
	self.list.number = 1;
	return 0;
}

static bool own_word(struct wire_unwind_memory *memory, uint64_t address, uint64_t *ret)
{
	struct iovec to = { .iov_base = ret, .iov_len = 8 };
	struct iovec from = { .iov_base = (void *)(uintptr_t)address, .iov_len = 8 };

	(void)memory;
	return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 8;
}

static unsigned compared, deepest;

/* From here outwards, by both. */
NOINLINE static int compare_here(int n)
{
	struct wire_unwind_memory memory = { .word = own_word };
	void *wanted[MOST];
	struct wire_unwind_tables tables = { .size = UINT64_MAX, .list = (const struct wire_unwind *)(const void *)&self.list };
	struct wire_unwind_walk walk = { .memory = &memory, .now = { .is_exact = true } };

	__asm__ volatile("lea 0(%%rip), %0\nmov %%rsp, %1\nmov %%rbp, %2" : "=&r"(walk.now.ip), "=&r"(walk.now.sp), "=&r"(walk.now.bp));
	uint32_t count = wire_unwind_walk(&walk, &tables, addresses, MOST);
	int said = backtrace(wanted, MOST);
	int skip = 0; /* a sanitizer's own frames */

	while (skip < 4 && skip + 1 < said && (uint64_t)(uintptr_t)wanted[skip + 1] != (addresses[1] & ~WIRE_UNWIND_EXACT))
		skip++;
	for (int i = 1; i + skip < said && i < (int)count; i++)
		if ((addresses[i] & ~WIRE_UNWIND_EXACT) != (uint64_t)(uintptr_t)wanted[i + skip])
			fail_msg("%d: address %d of %u is %" PRIx64 ", not %p", n, i, count, addresses[i], wanted[i + skip]);
	assert_int_equal(count, said - skip);
	assert_false(walk.is_short);
	compared++;
	deepest = count > deepest ? count : deepest;
	return n + 1;
}

/* Frames of all sizes; over-aligned ones, whose CFA is found through bp, or through memory. */
NOINLINE static int nest(int n, volatile char *from)
{
	volatile char here[40];

	here[n & 31] = from[0];
	return n ? nest(n - 1, here) + here[3] : compare_here(n);
}

NOINLINE static int aligned(int n, int depth)
{
	_Alignas(64) volatile char here[128];
	volatile char *more = alloca((size_t)n * 16 + 16);

	assert_int_equal((uintptr_t)here % 64, 0);
	more[0] = here[n & 63] = (char)n;
	return depth ? aligned(n + 1, depth - 1) + more[0] : nest(3, here) + more[0];
}

static int by_number(const void *left, const void *right)
{
	compare_here(7);
	return *(const int *)left - *(const int *)right;
}

static void on_signal(int number)
{
	compare_here(number);
}

static void signal_self(int flags)
{
	static char room[65536];
	const stack_t stack = { .ss_sp = room, .ss_size = sizeof(room) };
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = flags };

	assert_int_equal(sigaltstack(&stack, NULL), 0);
	assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
	assert_int_equal(raise(SIGUSR1), 0);
}

static void *in_thread(void *arg)
{
	nest(4, arg);
	return NULL;
}

static void test_own(void **state)
{
	int numbers[] = { 3, 1, 4, 1, 5, 9, 2, 6 };
	volatile char first[8] = { 1 };
	pthread_t thread;

	(void)state;
	for (int n = 0; n < 30; n++)
		nest(n, first);
	for (int n = 0; n < 8; n++)
		aligned(n, n);
	qsort(numbers, 8, sizeof(numbers[0]), by_number);
	signal_self(0);
	signal_self(SA_ONSTACK);
	assert_int_equal(pthread_create(&thread, NULL, in_thread, (void *)(uintptr_t)first), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	print_message("%u stacks compared, the deepest of %u\n", compared, deepest);
	assert_true(compared > 50 && deepest > 30);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),  cmocka_unit_test(test_bp),     cmocka_unit_test(test_not_believed),
		cmocka_unit_test(test_bounds), cmocka_unit_test(test_signal), cmocka_unit_test(test_pieces),
		cmocka_unit_test_setup(test_own, self_setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
