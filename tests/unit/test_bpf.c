/* SPDX-License-Identifier: MIT */
/* bpf: text and back, the checker's rules, standalone programs run. What probes do when they run is in test_bpf_exec.c.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "bpf/bpf.h"
#include "bpf_reference.h"

#define CODE_SIZE (1UL << 20)

static struct bpf_insn *assemble(const char *text, size_t *count)
{
	struct bpf_insn *program = NULL;
	struct utap_error err = { 0 };

	if (bpf_assemble(text, &program, count, &err) < 0)
		fail_msg("%s: %s", text, err.text);
	return program;
}

/* The text of each instruction is what the disassembler prints of it. */
static void test_text_round_trip(void **state)
{
	static const char *const lines[] = {
		"r1 = 5",
		"r1 = -5",
		"w1 = 5",
		"r1 = r2",
		"w1 = w2",
		"r1 += r2",
		"r10 += 8",
		"w3 -= w4",
		"r1 *= -1",
		"r1 /= r2",
		"r1 s/= r2",
		"w1 s/= 3",
		"r1 %= 7",
		"r1 s%= 7",
		"w1 |= w2",
		"r1 &= 255",
		"r1 <<= 3",
		"r1 >>= r2",
		"r1 s>>= 63",
		"w9 ^= w9",
		"r1 = -r1",
		"w1 = -w1",
		"r1 = (s8)r2",
		"r1 = (s16)r2",
		"r1 = (s32)r2",
		"w1 = (s8)w2",
		"w1 = (s16)w2",
		"r0 = be16 r0",
		"r0 = le64 r0",
		"r4 = bswap32 r4",
		"r1 = 0x123456789abcdef0 ll",
		"r1 = map 0",
		"r0 = *(u8 *)(r1 + 0)",
		"r0 = *(u64 *)(r10 - 8)",
		"r0 = *(s32 *)(r1 + 32767)",
		"r0 = *(s8 *)(r1 - 32768)",
		"*(u16 *)(r1 + 2) = 7",
		"*(u64 *)(r10 - 8) = -1",
		"*(u32 *)(r2 + 4) = r3",
		"lock *(u64 *)(r1 + 0) += r2",
		"lock *(u32 *)(r1 + 0) ^= w2",
		"r2 = atomic64_fetch_add((u64 *)(r1 + 8), r2)",
		"w2 = atomic_fetch_or((u32 *)(r1 + 8), w2)",
		"r2 = atomic64_xchg((u64 *)(r1 + 8), r2)",
		"r0 = atomic64_cmpxchg((u64 *)(r1 + 8), r0, r2)",
		"w0 = atomic_cmpxchg((u32 *)(r1 + 8), w0, w2)",
		"goto +0",
		"goto -3",
		"gotol +70000",
		"if r1 == 5 goto +1",
		"if r1 s< -5 goto -1",
		"if w1 >= w2 goto +9",
		"if r1 & 8 goto +2",
		"if r3 != r4 goto +1",
		"call 65537",
		"call +3",
		"call -1",
		"exit",
		".raw 0x00000000000000ff",
		".raw 0xffffffff00000085",
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char expected[100], *printed;
		size_t count;
		_cleanup_free_ struct bpf_insn *program = assemble(lines[i], &count);

		snprintf(expected, sizeof(expected), "%s\n", lines[i]);
		assert_int_equal(bpf_disassemble(program, count, &printed), 0);
		assert_string_equal(printed, expected);
		free(printed);
	}
}

/* Any bytes at all: the text gives them back. */
static void test_raw_round_trip(void **state)
{
	uint64_t seed = 88172645463325252ULL;
	struct bpf_insn program[64];

	for (int round = 0; round < 2000; round++) {
		for (size_t i = 0; i < sizeof(program) / 8; i++) {
			uint64_t bytes = seed = (seed ^ seed << 13 ^ (seed ^ seed << 13) >> 7) * 0x9e3779b97f4a7c15ULL;

			/* Half of them with small fields, which more often are instructions. */
			bytes = round & 1 ? bytes & 0x000000ff000f33ff : bytes;
			memcpy(&program[i], &bytes, 8);
		}

		char *text;
		size_t count;

		assert_int_equal(bpf_disassemble(program, 64, &text), 0);

		_cleanup_free_ struct bpf_insn *again = assemble(text, &count);

		assert_int_equal(count, 64);
		assert_memory_equal(again, program, sizeof(program));
		free(text);
	}
}

static void test_text_errors(void **state)
{
	static const struct {
		const char *text, *error;
	} table[] = {
		{ "r1 = r2\nr1 =", "line 2, column 5: expected a number" },
		{ "r11 = 1", "line 1, column 1: expected an instruction" },
		{ "r1 = 5 6", "line 1, column 8: unexpected text" },
		{ "r1 = 0x100000000", "line 1, column 17: the number does not fit in 32 bits" },
		{ "r1 = 0x80000000", "does not fit in 32 bits (64-bit constants end in 'll')" },
		{ "r1 = 99999999999999999999", "does not fit in 64 bits" },
		{ "goto nowhere", "line 1, column 6: there is no label 'nowhere'" },
		{ "a: exit\na: exit", "the label 'a' stands twice" },
		{ "r1 = *(u8 *)(r1 + 32768)", "the offset does not fit in 16 bits" },
		{ "*(s8 *)(r1 + 0) = 1", "stores have no sign" },
		{ "r1 = be16 r2", "the same register on both sides" },
		{ "lock *(u8 *)(r1 + 0) += r2", "atomic operations are on u32 or u64" },
		{ "r1 = atomic64_fetch_add((u64 *)(r1 + 0), r2)", "the old value goes to the register" },
		{ "if r1 = 5 goto +1", "expected a comparison" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct bpf_insn *program = (void *)1;
		struct utap_error err = { 0 };
		size_t count = 77;

		assert_int_equal(bpf_assemble(table[i].text, &program, &count, &err), -EINVAL);
		if (!strstr(err.text, table[i].error))
			fail_msg("'%s': '%s' is not in '%s'", table[i].text, table[i].error, err.text);
		assert_ptr_equal(program, (void *)1); /* outputs are written on success only */
		assert_int_equal(count, 77);
	}
}

static void test_text_forms(void **state)
{
	size_t count, other;
	_cleanup_free_ struct bpf_insn *a =
	    assemble("  start:\n\tr1=5 ; comment\nif r1==5 goto start # x\n\n*(u8*)(r10)=0\r\n"
		     "last: goto last",
		     &count);
	_cleanup_free_ struct bpf_insn *b =
	    assemble("r1 = 0x5\nif r1 == 5 goto -2\n*(u8 *)(r10 + 0) = 0\ngoto -1", &other);

	assert_int_equal(count, other);
	assert_memory_equal(a, b, count * sizeof(*a));
}

struct verdict {
	const char *text;
	const char *error; /* NULL: accepted */
};

static void check_verdicts(const struct verdict *table, size_t size, enum bpf_kind kind)
{
	for (size_t i = 0; i < size; i++) {
		struct utap_error err = { 0 };
		size_t count;
		_cleanup_free_ struct bpf_insn *program = assemble(table[i].text, &count);
		int r = bpf_check(program, count, kind, &err);

		if (!table[i].error && r < 0)
			fail_msg("'%s' was refused: %s", table[i].text, err.text);
		if (table[i].error && (r != -EINVAL || !strstr(err.text, table[i].error)))
			fail_msg("'%s': %d '%s' instead of '%s'", table[i].text, r, err.text, table[i].error);
	}
}

#define EXIT "r0 = 0\nexit\n"
#define RESERVE "r7 = r1\nr1 = map 0\nr2 = 40\nr3 = 0\ncall 131\n"
#define OPEN RESERVE "if r0 == 0 goto out\nr6 = r0\n"
#define SUBMIT "r1 = r6\nr2 = 0\ncall 132\nout: " EXIT
#define OUTPUT "r1 = map 0\nr2 = r10\nr2 += -24\nr3 = 24\nr4 = 0\ncall 130\n"

static void test_check_standalone(void **state)
{
	static const struct verdict table[] = {
		{ EXIT, NULL },
		{ "loop: r0 = r1\nif r0 != 0 goto loop\nexit", NULL },
		{ "r0 = r2\nexit", NULL },
		{ "call f\nexit\nf: r0 = 3\nexit", NULL },
		{ "exit", "instruction 0: r0 is read before it is written" },
		{ "r0 = r3\nexit", "instruction 0: r3 is read before" },
		{ "if r1 == 0 goto a\nr3 = 1\na: r0 = r3\nexit", "instruction 2: r3 is read before" },
		{ "call f\nr0 = r1\nexit\nf: r0 = 3\nexit", "instruction 1: r1 is read before" },
		{ "r6 = 1\ncall f\nr0 = r6\nexit\nf: r0 = 3\nexit", NULL },
		{ "r6 = 1\ncall f\nexit\nf: r0 = r6\nexit", "instruction 3: r6 is read before" },
		{ "f: call f\nexit", "calls itself" },
		{ "r0 = 0", "instruction 0: execution falls off the end" },
		{ "goto +5\n" EXIT, "instruction 0: jump out of the program, to 6" },
		{ "goto -2\n" EXIT, "jump out of the program, to -1" },
		{ "goto +1\nr0 = 1 ll\nexit", "instruction 0: jump into the middle of the 64-bit load at 1" },
		{ "r10 = 0\n" EXIT, "instruction 0: r10, the frame pointer, is written" },
		{ "r10 = atomic64_xchg((u64 *)(r1 + 0), r10)\n" EXIT, "r10, the frame pointer" },
		{ "call 5\n" EXIT, "a standalone program has no helpers (call 5)" },
		{ "r1 = map 0\n" EXIT, "a standalone program has no maps" },
		{ ".raw 0x00000000000000ff\n" EXIT, "instruction 0:" },
		{ ".raw 0x00000000000000b7\n.raw 0x00000000000010b7\n" EXIT, "instruction 1: reserved operand" },
		{ ".raw 0x000000000000008d\n" EXIT, "calls through a register are not supported" },
		{ ".raw 0x0000000000000020\n" EXIT, "legacy packet access" },
		{ ".raw 0x0000000000000018\n" EXIT, "instruction 0: reserved field in the second half" },
		{ ".raw 0x0000000000000b07\n" EXIT, "no such register" },
		{ ".raw 0x00000002000101db\n" EXIT, "unknown atomic operation" },
		{ ".raw 0x00000011000000d4\n" EXIT, "byte order of a width other than" },
	};

	check_verdicts(table, sizeof(table) / sizeof(table[0]), BPF_STANDALONE);
}

static void test_check_probe(void **state)
{
	static const struct verdict table[] = {
		{ EXIT, NULL },
		{ "call 65537\n" EXIT, NULL },
		{ "r0 = *(u64 *)(r1 + 112)\nif r0 s> 5 goto +0\nexit", NULL },
		{ "r0 = *(u8 *)(r1 + 81)\nexit", NULL },
		{ "loop: r0 = 0\ngoto loop\n", "a probe's program must not jump back" },
		{ "r0 = r2\nexit", "r2 is read before it is written" },
		{ "r0 = *(u64 *)(r1 + 116)\nexit", "8 bytes at context offset 116 name no register" },
		{ "r0 = *(u64 *)(r1 + 168)\nexit", "name no register" },
		{ "r0 = *(u64 *)(r1 - 8)\nexit", "name no register" },
		{ "r0 = *(u64 *)(r1 + 128)\nexit", "has no instruction pointer" },
		{ "*(u64 *)(r1 + 0) = 1\n" EXIT, "r1 is the context: stores go to" },
		{ "r1 += 8\n" EXIT, "arithmetic on r1, which is the context" },
		{ "w2 = w1\n" EXIT, "arithmetic on r1, which is the context" },
		{ "r0 = r1\nexit", "r0 must be a number, it is the context" },
		{ "r2 = *(u64 *)(r1 + 0)\nr0 = *(u64 *)(r2 + 0)\nexit", "memory is read with helper 112" },
		{ "*(u64 *)(r10 - 8) = 1\nr0 = *(u32 *)(r10 - 6)\nexit", NULL },
		{ "r0 = *(u64 *)(r10 - 8)\nexit", "the stack at r10-8 is read before it is written" },
		{ "*(u64 *)(r10 - 72) = 1\n" EXIT, "outside the stack of 64 bytes" },
		{ "*(u64 *)(r10 - 4) = 1\n" EXIT, "outside the stack of 64 bytes" },
		{ "*(u64 *)(r10 - 8) = r10\n" EXIT, "only numbers are stored" },
		{ "r2 = r10\nr2 -= 16\n*(u64 *)(r2 + 8) = 1\n" EXIT, NULL },
		{ "r2 = *(u64 *)(r1 + 0)\nr3 = r10\nr3 += r2\n" EXIT, "only constants are added" },
		{ "if r10 == 0 goto +0\n" EXIT, "only numbers are compared" },
		{ "call f\nf: " EXIT, "a probe's program has no local calls" },
		{ "call 1\n" EXIT, "there is no helper 1" },
		{ "r1 = 5\ncall 174\n" EXIT, "r1 must be the context, it is a number" },
		{ "call 174\nr0 = r1\nexit", "r1 is read before it is written" },
		{ "r1 = 3\ncall 65538\nexit", NULL },
		{ "r1 = *(u64 *)(r1 + 0)\ncall 65538\nexit", "the number of the stack word must be a constant" },
		{ "r3 = *(u64 *)(r1 + 0)\nr1 = r10\nr1 += -64\nr2 = 64\ncall 112\nexit", NULL },
		{ "r3 = *(u64 *)(r1 + 0)\nr1 = r10\nr1 += -64\nr2 = 65\ncall 112\nexit", "constant from 1 to 64" },
		{ "r3 = *(u64 *)(r1 + 0)\nr1 = r10\nr1 += -8\nr2 = 16\ncall 112\nexit", "outside the stack" },
		{ OUTPUT EXIT, "the stack at r10-24 is read before it is written" },
		{ "*(u64 *)(r10 - 8) = 0\n*(u64 *)(r10 - 16) = 0\n*(u64 *)(r10 - 24) = 0\n" OUTPUT "exit", NULL },
	};

	check_verdicts(table, sizeof(table) / sizeof(table[0]), BPF_PROBE);
}

#define LONG "r7 = r1\nr1 = map 0\nr2 = 40\nr3 = 4096\ncall 65540\nr6 = r0\n"
#define LONG_OPEN LONG "if r6 == 0 goto out\n"
#define LONG_SUBMIT "r1 = r6\nr2 = 0\ncall 65543\nout: " EXIT
#define LONG_APPEND(most, from, helper) "r1 = r6\nr2 = " most "\nr3 = " from "\ncall " helper "\n"

static void test_check_long(void **state)
{
	static const struct verdict table[] = {
		{ LONG_OPEN LONG_SUBMIT, NULL },
		{ LONG_OPEN "r1 = r6\nr2 = 0\ncall 65544\nout: " EXIT, NULL },
		{ LONG "if r6 != 0 goto there\n" EXIT "there: *(u64 *)(r6 + 32) = 1\nr1 = r6\nr2 = 0\ncall 65543\n" EXIT, NULL },
		{ LONG_OPEN "r8 = r6\nr8 += 8\n*(u32 *)(r8 + 28) = r2\n" LONG_SUBMIT, "r2 is read before it is written" },
		{ LONG_OPEN "r8 = r6\nr8 += 8\n*(u32 *)(r8 + 28) = r7\n" LONG_SUBMIT, "only numbers are stored" },
		{ LONG_OPEN "r8 = r6\nr8 += 8\nr0 = *(u32 *)(r8 + 28)\n*(u32 *)(r6 + 0) = r0\n" LONG_SUBMIT, NULL },
		{ LONG_OPEN "*(u64 *)(r6 + 33) = 1\n" LONG_SUBMIT, "8 bytes at offset 33 are outside the 40 reserved" },
		{ LONG_OPEN "*(u64 *)(r6 - 8) = 1\n" LONG_SUBMIT, "outside the 40 reserved" },
		{ LONG_OPEN "r0 = *(u64 *)(r6 + 40)\n" LONG_SUBMIT, "outside the 40 reserved" },
		{ LONG_OPEN "lock *(u64 *)(r6 + 0) += r6\n" LONG_SUBMIT, "only numbers are stored" },
		{ LONG_OPEN "r2 = 1\nlock *(u64 *)(r6 + 0) += r2\n" LONG_SUBMIT, "stores go to the stack" },
		{ LONG "*(u64 *)(r6 + 0) = 1\n" EXIT, "scratch memory not yet tested against 0" },
		{ LONG "r1 = r6\nr2 = 0\ncall 65543\n" EXIT, "r1 must be scratch memory, it is scratch memory not yet tested" },
		{ LONG EXIT, "the scratch memory taken at 5 is neither submitted nor discarded" },
		{ LONG_OPEN EXIT "out: " EXIT, "neither submitted nor discarded" },
		{ LONG_OPEN "out: " EXIT, "differ in what they have reserved" },
		{ LONG_OPEN "r1 = r6\nr2 = 0\ncall 65543\nr0 = *(u64 *)(r6 + 0)\nout: " EXIT, "r6 is read before it is written" },
		{ LONG "if r6 == 0 goto out\nr1 = r6\nr2 = 0\ncall 65543\n" EXIT "out: r0 = r6\nexit", "r6 is read before it is written" },
		{ LONG_OPEN "r1 = r6\nr2 = 0\ncall 65543\nr1 = r6\nr2 = 0\ncall 65543\nout: " EXIT, "r6 is read before it is written" },
		{ LONG_OPEN "r1 = r6\nr1 += 8\nr2 = 0\ncall 65543\nout: " EXIT, "r1 must be the start of the scratch memory" },
		{ LONG_OPEN "r1 = r6\nr2 = 1\ncall 65543\nout: " EXIT, "r2 must be the constant 0" },
		{ LONG_OPEN "r1 = map 0\nr2 = 40\nr3 = 48\ncall 65540\nout: " EXIT, "taken at 5 is still open" },
		{ LONG_OPEN "r1 = map 0\nr2 = 40\nr3 = 0\ncall 131\nout: " EXIT, "helper 131 while the scratch memory taken at 5 is open" },
		{ LONG_OPEN "*(u64 *)(r10 - 8) = 0\n*(u64 *)(r10 - 16) = 0\n*(u64 *)(r10 - 24) = 0\n" OUTPUT "out: " EXIT, "helper 130 while" },
		{ OPEN "r1 = map 0\nr2 = 40\nr3 = 48\ncall 65540\n" SUBMIT, "helper 65540 while the memory reserved at 5 is open" },
		/* Sizes. */
		{ "r1 = map 0\nr2 = 42\nr3 = 48\ncall 65540\n" EXIT, "must be a multiple of 8" },
		{ "r1 = map 0\nr2 = 16\nr3 = 48\ncall 65540\n" EXIT, "constant from 24 to 2048" },
		{ "r1 = map 0\nr2 = 2056\nr3 = 4096\ncall 65540\n" EXIT, "constant from 24 to 2048" },
		{ "r1 = map 0\nr2 = 40\nr3 = 65536\ncall 65540\n" EXIT, "constant from 24 to 65528" },
		{ "r1 = map 0\nr2 = 40\nr3 = 44\ncall 65540\n" EXIT, "must be a multiple of 8" },
		{ "r1 = map 0\nr2 = 40\nr3 = 32\ncall 65540\n" EXIT, "the largest size, 32, is less than the fixed one, 40" },
		{ "r3 = *(u64 *)(r1 + 0)\nr1 = map 0\nr2 = 40\ncall 65540\n" EXIT, "the size must be a constant" },
		{ "r1 = 0\nr2 = 40\nr3 = 48\ncall 65540\n" EXIT, "r1 must be the ring, it is a number" },
		/* What is appended: any number of bytes, from anywhere; anything else may happen meanwhile. */
		{ LONG_OPEN LONG_APPEND("100", "0", "65541") "*(u64 *)(r6 + 24) = r0\n" LONG_SUBMIT, NULL },
		{ LONG_OPEN "r8 = *(u64 *)(r7 + 0)\n" LONG_APPEND("r8", "r8", "65542") "if r0 == 0 goto +0\n" LONG_SUBMIT, NULL },
		{ LONG_OPEN LONG_APPEND("r6", "0", "65541") LONG_SUBMIT, "r2 must be a number, it is scratch memory" },
		{ LONG_OPEN LONG_APPEND("1", "r10", "65542") LONG_SUBMIT, "r3 must be a number, it is a stack address" },
		{ "r1 = r10\nr2 = 8\nr3 = 8\ncall 65541\n" EXIT, "r1 must be scratch memory, it is a stack address" },
		{ LONG_OPEN "call 65537\n*(u64 *)(r10 - 8) = 1\nr1 = 3\ncall 65538\n*(u64 *)(r6 + 24) = r0\n" LONG_SUBMIT, NULL },
		/* READ_USER into it. */
		{ LONG_OPEN "r1 = r6\nr1 += 24\nr2 = 16\nr3 = 5\ncall 112\n" LONG_SUBMIT, NULL },
		{ LONG_OPEN "r1 = r6\nr1 += 24\nr2 = 17\nr3 = 5\ncall 112\n" LONG_SUBMIT, "17 bytes at offset 24 are outside the 40" },
		{ LONG "r1 = r6\nr2 = 8\nr3 = 5\ncall 112\n" EXIT, "r1 must be a stack address" },
	};
	_cleanup_free_ struct bpf_insn *program = NULL;
	size_t count;

	check_verdicts(table, sizeof(table) / sizeof(table[0]), BPF_PROBE);
	assert_int_equal(bpf_assemble(LONG_OPEN LONG_SUBMIT, &program, &count, NULL), 0);
	assert_int_equal(bpf_long_most(program, count), 4096);
	assert_int_equal(bpf_long_most(program, 1), -EINVAL);
	free(program);
	assert_int_equal(bpf_assemble(OPEN SUBMIT, &program, &count, NULL), 0);
	assert_int_equal(bpf_long_most(program, count), 0);
}

static void test_check_reservations(void **state)
{
	static const struct verdict table[] = {
		{ OPEN "*(u64 *)(r6 + 32) = 1\n" SUBMIT, NULL },
		{ RESERVE "r6 = r0\nif r6 != 0 goto there\n" EXIT "there: r1 = r6\nr2 = 0\ncall 133\n" EXIT, NULL },
		{ OPEN "*(u64 *)(r6 + 33) = 1\n" SUBMIT, "8 bytes at offset 33 are outside the 40 reserved" },
		{ OPEN "*(u64 *)(r6 - 8) = 1\n" SUBMIT, "outside the 40 reserved" },
		{ RESERVE "*(u64 *)(r0 + 0) = 1\n" EXIT, "not yet tested against 0" },
		{ RESERVE EXIT, "neither submitted nor discarded" },
		{ OPEN "out: " EXIT, "differ in what they have reserved" },
		{ RESERVE "r6 = r0\nif r7 == 0 goto +0\n" EXIT, "branch before the reservation at 5 is tested" },
		{ RESERVE "goto +0\n" EXIT, "jump before the reservation at 5 is tested" },
		{ RESERVE "r6 = r0\ncall 65536\n" EXIT, "call before the reservation at 5 is tested" },
		{ OPEN "*(u64 *)(r10 - 8) = 1\n" SUBMIT, "store to the stack while the memory reserved at 5 is open" },
		{ OPEN "call 65537\n" SUBMIT, "helper 65537 while the memory reserved at 5 is open" },
		{ OPEN "r1 = 1\ncall 65538\n" SUBMIT, "helper 65538 while" },
		{ OPEN "lock *(u64 *)(r6 + 0) += r7\n" SUBMIT, "only numbers are stored" },
		{ OPEN "r1 = 1\nlock *(u64 *)(r6 + 0) += r1\n" SUBMIT, "stores go to the stack or to reserved memory" },
		{ "r8 = 5\n" OPEN "r8 = 6\n*(u64 *)(r6 + 0) = r8\n" SUBMIT, NULL }, /* r8 is dead at the reservation */
		{ "r8 = 5\n" OPEN "*(u64 *)(r6 + 0) = r8\nr8 = 6\n" SUBMIT,
		  "r8 holds a value from before the reservation" },
		{ OPEN "r1 = r6\nr1 += 8\nr2 = 0\ncall 132\nout: " EXIT, "must be the start of the reserved memory" },
		{ OPEN "r1 = r6\nr2 = 1\ncall 132\nout: " EXIT, "r2 must be the constant 0" },
		{ OPEN "r1 = r6\nr2 = 0\ncall 132\n*(u64 *)(r6 + 0) = 1\nout: " EXIT,
		  "r6 is read before it is written" },
		{ OPEN SUBMIT "", NULL },
		{ "r1 = map 0\nr2 = 42\nr3 = 0\ncall 131\n" EXIT, "must be a multiple of 8" },
		{ "r1 = map 0\nr2 = 16\nr3 = 0\ncall 131\n" EXIT, "constant from 24 to 2048" },
		{ "r1 = map 0\nr2 = 2056\nr3 = 0\ncall 131\n" EXIT, "constant from 24 to 2048" },
		{ "r1 = map 1\n" EXIT, "there is no map 1" },
		{ "r1 = 0\nr2 = 40\nr3 = 0\ncall 131\n" EXIT, "r1 must be the ring, it is a number" },
		{ OPEN "r1 = map 0\nr2 = 40\nr3 = 0\ncall 131\nout: " EXIT, "helper 131 while" },
	};

	check_verdicts(table, sizeof(table) / sizeof(table[0]), BPF_PROBE);
}

static void test_check_size(void **state)
{
	struct bpf_insn *program = calloc(BPF_INSN_LIMIT + 1, sizeof(*program));
	struct utap_error err;

	assert_non_null(program);
	for (size_t i = 0; i <= BPF_INSN_LIMIT; i++)
		program[i] = (struct bpf_insn) { .opcode = 0xb7 };
	assert_int_equal(bpf_check(program, 0, BPF_STANDALONE, &err), -EINVAL);
	assert_int_equal(bpf_check(program, BPF_INSN_LIMIT + 1, BPF_STANDALONE, &err), -EINVAL);
	program[BPF_INSN_LIMIT - 1] = (struct bpf_insn) { .opcode = 0x95 };
	assert_int_equal(bpf_check(program, BPF_INSN_LIMIT, BPF_STANDALONE, &err), 0);
	assert_int_equal(bpf_check(program, BPF_INSN_LIMIT, BPF_PROBE, &err), 0);
	free(program);
}

typedef uint64_t standalone(void *memory, uint64_t size);

static standalone *compile(const struct bpf_insn *program, size_t count)
{
	static uint8_t *code;
	struct utap_error err = { 0 };
	standalone *function;

	if (!code)
		code = mmap(NULL, CODE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(code != MAP_FAILED);
	assert_int_equal(mprotect(code, CODE_SIZE, PROT_READ | PROT_WRITE), 0);

	struct isa_emitter e = { .buffer = code, .size = CODE_SIZE, .addr = (utap_addr)(uintptr_t)code };

	if (bpf_compile_function(program, count, &e, &err) < 0)
		fail_msg("compile: %s", err.text);
	assert_int_equal(mprotect(code, CODE_SIZE, PROT_READ | PROT_EXEC), 0);
	memcpy(&function, &code, sizeof(function));
	return function;
}

static void test_run(void **state)
{
	static const struct {
		const char *text;
		uint64_t result;
	} table[] = {
		{ "r0 = 7\nr0 /= 0\nexit", 0 },
		{ "r0 = 7\nr1 = 0\nr0 %= r1\nexit", 7 },
		{ "r0 = -7\nw0 %= 0\nexit", 0xfffffff9 },
		{ "r0 = 0x8000000000000000 ll\nr0 s/= -1\nexit", 0x8000000000000000 },
		{ "r0 = 0x8000000000000000 ll\nr1 = -1\nr0 s%= r1\nexit", 0 },
		{ "w0 = 0x80000000\nw0 s/= -1\nexit", 0x80000000 },
		{ "r0 = -7\nr0 s/= 2\nexit", (uint64_t)-3 },
		{ "r0 = -7\nr0 s%= 2\nexit", (uint64_t)-1 },
		{ "r0 = -1\nr0 /= 2\nexit", 0x7fffffffffffffff },
		{ "r0 = 1\nr1 = 65\nr0 <<= r1\nexit", 2 },
		{ "w0 = 1\nr1 = 33\nw0 <<= w1\nexit", 2 },
		{ "r0 = -1\nw0 >>= 0\nexit", 0xffffffff },
		{ "r0 = -1\nr1 = 32\nw0 s>>= w1\nexit", 0xffffffff },
		{ "r0 = 0x1122334455667788 ll\nr0 = be16 r0\nexit", 0x8877 },
		{ "r0 = 0x1122334455667788 ll\nr0 = bswap64 r0\nexit", 0x8877665544332211 },
		{ "r0 = 0x1122334455667788 ll\nr0 = le32 r0\nexit", 0x55667788 },
		{ "r1 = 0x80\nr0 = (s8)r1\nexit", 0xffffffffffffff80 },
		{ "r1 = 0x80\nw0 = (s8)w1\nexit", 0xffffff80 },
		{ "*(u64 *)(r10 - 8) = -2\nr0 = *(s16 *)(r10 - 8)\nexit", (uint64_t)-2 },
		{ "*(u32 *)(r10 - 8) = 5\nr0 = 5\nr1 = 9\nw0 = atomic_cmpxchg((u32 *)(r10 - 8), w0, w1)\n"
		  "r2 = *(u32 *)(r10 - 8)\nr0 <<= 8\nr0 |= r2\nexit",
		  0x509 },
		{ "*(u64 *)(r10 - 8) = 6\nr1 = 3\nr1 = atomic64_fetch_and((u64 *)(r10 - 8), r1)\n"
		  "r0 = *(u64 *)(r10 - 8)\nr0 <<= 8\nr0 |= r1\nexit",
		  0x206 },
		/* local calls keep r6 and r10, and give each frame its own stack */
		{ "r6 = 5\n*(u64 *)(r10 - 8) = 7\nr1 = 1\ncall f\nr1 = *(u64 *)(r10 - 8)\nr0 += r1\nr0 += r6\nexit\n"
		  "f: r6 = 100\n*(u64 *)(r10 - 8) = 1000\nr0 = r1\nexit",
		  13 },
		{ "r0 = 0\nloop: r0 += 1\nif r0 < 1000 goto loop\nexit", 1000 },
		{ "gotol over\nr0 = 1\nexit\nover: r0 = 2\nexit", 2 },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		size_t count;
		_cleanup_free_ struct bpf_insn *program = assemble(table[i].text, &count);
		uint64_t result = compile(program, count)(NULL, 0);

		if (result != table[i].result)
			fail_msg("%s: %llx instead of %llx", table[i].text, (unsigned long long)result,
				 (unsigned long long)table[i].result);
	}
}

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Random straight arithmetic on random registers, all opcodes, against the reference. */
static void test_run_random(void **state)
{
	static const uint64_t edges[] = { 0, 1, ~0ULL, 1ULL << 63, 1ULL << 31, 0xffffffff, 63, 64, 0x7fffffff };
	uint64_t seed = 0x2545f4914f6cdd1dULL;

	for (int round = 0; round < 20000; round++) {
		struct bpf_insn program[64];
		size_t count = 0;

		for (uint8_t reg = 0; reg < 10; reg++) {
			uint64_t r = next_random(&seed), value = r & 1 ? edges[(r >> 8) % 9] : next_random(&seed);

			program[count++] = (struct bpf_insn) { .opcode = 0x18, .dst = reg, .imm = (int32_t)value };
			program[count++] = (struct bpf_insn) { .imm = (int32_t)(value >> 32) };
		}
		while (count < 40) {
			uint64_t bytes = next_random(&seed);
			struct bpf_insn insn = { .opcode = (uint8_t)((bytes & 0xf8) | (bytes >> 8 & 1 ? 7 : 4)),
						 .dst = bytes >> 16 & 7,
						 .src = bytes >> 24 & 7,
						 .offset = (int16_t[]) { 0, 1, 8, 16, 32, 0, 0, 0 }[bytes >> 32 & 7],
						 .imm = (int32_t[]) { 16, 32, 64, 0, -1,
								      (int32_t)next_random(&seed) }[bytes >> 36 & 3] };

			insn.imm = insn.opcode & 8 && insn.opcode >> 4 != 0xd ? 0 : insn.imm;
			insn.src = insn.opcode & 8 && insn.opcode >> 4 != 0xd ? insn.src : 0;

			struct bpf_insn alone[] = { { .opcode = 0xb7 }, insn, { .opcode = 0x95 } };
			/* Valid? Try it with r0 to r7 written. */
			struct bpf_insn probe[11] = { 0 };

			for (uint8_t reg = 0; reg < 8; reg++)
				probe[reg] = (struct bpf_insn) { .opcode = 0xb7, .dst = reg };
			probe[8] = insn;
			probe[9] = alone[2];
			if (bpf_check(probe, 10, BPF_STANDALONE, NULL) == 0)
				program[count++] = insn;
		}
		for (uint8_t reg = 1; reg < 8; reg++) {
			program[count++] = (struct bpf_insn) { .opcode = 0x27, .imm = 31 };
			program[count++] = (struct bpf_insn) { .opcode = 0x0f, .src = reg };
		}
		program[count++] = (struct bpf_insn) { .opcode = 0x95 };

		struct reference m = { 0 };

		assert_int_equal(reference_run(&m, program), REFERENCE_DONE);
		assert_true(m.reg[0] == compile(program, count)(NULL, 0));
	}
}

static void test_small_buffer(void **state)
{
	size_t count;
	_cleanup_free_ struct bpf_insn *program = assemble("r0 = 1\nr0 *= 3\nexit", &count);
	uint8_t buffer[256];

	for (size_t size = 0; size < sizeof(buffer); size++) {
		struct isa_emitter e = { .buffer = buffer, .size = size, .addr = 0x1000 };
		int r = bpf_compile_function(program, count, &e, NULL);

		assert_true(r == 0 || r == -ENOSPC);
		assert_true(e.used <= size);
		if (size == sizeof(buffer) - 1)
			assert_int_equal(r, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text_round_trip),
		cmocka_unit_test(test_raw_round_trip),
		cmocka_unit_test(test_text_errors),
		cmocka_unit_test(test_text_forms),
		cmocka_unit_test(test_check_standalone),
		cmocka_unit_test(test_check_probe),
		cmocka_unit_test(test_check_reservations),
		cmocka_unit_test(test_check_long),
		cmocka_unit_test(test_check_size),
		cmocka_unit_test(test_run),
		cmocka_unit_test(test_run_random),
		cmocka_unit_test(test_small_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
