/* SPDX-License-Identifier: MIT */
/*
 * isa: classes and refusals, step against decode (every opcode, and the text of real programs), relocated bytes, puns,
 * padding, register names, text. What relocated code does is checked by running it: test_isa_exec.c; longer lists of
 * bytes are in tests/golden/isa.
 */
#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "isa/isa.h"

#define ADDR 0x7f1234560000ULL
#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static size_t from_hex(const char *hex, uint8_t *bytes, size_t size)
{
	size_t count = 0;
	unsigned value;
	int used;

	while (count < size && sscanf(hex, "%2x%n", &value, &used) == 1) {
		bytes[count++] = (uint8_t)value;
		hex += used;
	}
	return count;
}

static struct isa_insn decoded_at(const char *hex, utap_addr addr)
{
	struct isa_insn insn;
	uint8_t bytes[32];
	size_t size = from_hex(hex, bytes, sizeof(bytes));
	int error = isa_decode(bytes, size, addr, &insn);

	if (error || insn.length != size)
		fail_msg("%s: error %d, length %u of %zu", hex, error, error ? 0 : insn.length, size);
	return insn;
}

static struct isa_insn decoded(const char *hex)
{
	return decoded_at(hex, ADDR);
}

static const struct {
	const char *hex;
	enum isa_class class;
} classes[] = {
	{ "55", ISA_PLAIN },
	{ "4889e5", ISA_PLAIN },
	{ "488b0510000000", ISA_PLAIN },
	{ "64488b042528000000", ISA_PLAIN },
	{ "f0480fb10f", ISA_PLAIN },
	{ "f3a4", ISA_PLAIN },
	{ "c5fe6f05ffff0000", ISA_PLAIN },
	{ "62f17c48100510000000", ISA_PLAIN },
	{ "c9", ISA_PLAIN },
	{ "9c", ISA_PLAIN },
	{ "9d", ISA_PLAIN },
	{ "5c", ISA_PLAIN },
	{ "c8100000", ISA_PLAIN },
	{ "0fa2", ISA_PLAIN },
	{ "0f31", ISA_PLAIN },
	{ "f3480faee8", ISA_PLAIN }, /* incsspq */
	{ "f3480f1ec8", ISA_PLAIN }, /* rdsspq */
	{ "0f01ef", ISA_PLAIN },     /* wrpkru */
	{ "8ed8", ISA_PLAIN },       /* mov %eax,%ds */
	{ "f390", ISA_PLAIN },
	{ "c6f800", ISA_PLAIN }, /* xabort */
	{ "0f01d5", ISA_PLAIN }, /* xend */
	{ "e800000000", ISA_CALL },
	{ "f2e800000000", ISA_CALL },
	{ "666648e800000000", ISA_CALL }, /* thread-local storage, general dynamic */
	{ "67e800000000", ISA_CALL },
	{ "ffd0", ISA_CALL_INDIRECT },
	{ "ff1500000000", ISA_CALL_INDIRECT },
	{ "6648ff1500000000", ISA_CALL_INDIRECT },
	{ "ff542408", ISA_CALL_INDIRECT },
	{ "41ff542408", ISA_CALL_INDIRECT }, /* r12 */
	{ "41ff14c4", ISA_CALL_INDIRECT },   /* (%r12,%rax,8) */
	{ "41ffd4", ISA_CALL_INDIRECT },     /* r12 */
	{ "64ff142510000000", ISA_CALL_INDIRECT },
	{ "ff5424f0", ISA_CALL_INDIRECT }, /* -16(%rsp) */
	{ "eb00", ISA_JUMP },
	{ "e900000000", ISA_JUMP },
	{ "ffe0", ISA_JUMP_INDIRECT },
	{ "3effe0", ISA_JUMP_INDIRECT },
	{ "ff2500000000", ISA_JUMP_INDIRECT },
	{ "7400", ISA_BRANCH },
	{ "2e7400", ISA_BRANCH },
	{ "0f8400000000", ISA_BRANCH },
	{ "e200", ISA_LOOP },
	{ "e300", ISA_LOOP },
	{ "67e300", ISA_LOOP },
	{ "c3", ISA_RETURN },
	{ "f3c3", ISA_RETURN },
	{ "c20800", ISA_RETURN },
	{ "0f05", ISA_SYSCALL },
	{ "0f34", ISA_SYSCALL },
	{ "cd80", ISA_SYSCALL },
	{ "f30f1efa", ISA_ENDBR },
	{ "90", ISA_NOP },
	{ "6690", ISA_NOP },
	{ "0f1f440000", ISA_NOP },
	{ "66662e0f1f840000000000", ISA_NOP },
	{ "cc", ISA_REFUSED },
	{ "f1", ISA_REFUSED },
	{ "cd21", ISA_REFUSED },
	{ "0f0b", ISA_REFUSED },
	{ "0fb900", ISA_REFUSED },
	{ "0fff00", ISA_REFUSED },
	{ "f4", ISA_REFUSED },
	{ "fa", ISA_REFUSED },
	{ "fb", ISA_REFUSED },
	{ "ec", ISA_REFUSED },
	{ "e680", ISA_REFUSED },
	{ "6c", ISA_REFUSED },
	{ "f36f", ISA_REFUSED },
	{ "cf", ISA_REFUSED },
	{ "48cf", ISA_REFUSED },
	{ "cb", ISA_REFUSED },
	{ "ca0800", ISA_REFUSED },
	{ "ff18", ISA_REFUSED },
	{ "ff2d00000000", ISA_REFUSED },
	{ "8ed0", ISA_REFUSED },
	{ "0fb200", ISA_REFUSED },
	{ "c7f800000000", ISA_REFUSED },
	{ "0f22c0", ISA_REFUSED },
	{ "0f01f8", ISA_REFUSED },
	{ "0f30", ISA_REFUSED },
	{ "0f01c1", ISA_REFUSED },
	{ "0f01d7", ISA_REFUSED },
	{ "f30f01ec", ISA_REFUSED },
	{ "66e800000000", ISA_REFUSED },
	{ "66e900000000", ISA_REFUSED },
	{ "66eb00", ISA_REFUSED },
	{ "660f8400000000", ISA_REFUSED },
	{ "66c3", ISA_REFUSED },
	{ "66ffd0", ISA_REFUSED },
	{ "66e300", ISA_REFUSED },
	{ "4866e800000000", ISA_REFUSED }, /* a REX prefix that does not count */
	{ "678b0500000000", ISA_REFUSED },
	{ "ffd4", ISA_REFUSED },     /* call *%rsp */
	{ "ff5424f8", ISA_REFUSED }, /* call *-8(%rsp) */
	{ "ff14c4", ISA_REFUSED },   /* call *(%rsp,%rax,8) */
	{ "ff9424ffffff7f", ISA_REFUSED },
};

static void test_classes(void **state)
{
	for (size_t n = 0; n < COUNT(classes); n++) {
		struct isa_insn insn = decoded(classes[n].hex);

		if (insn.class != classes[n].class)
			fail_msg("%s: class %d (%s), not %d", classes[n].hex, insn.class, insn.why ? insn.why : "",
				 classes[n].class);
		assert_int_equal(insn.class == ISA_REFUSED, insn.why != NULL);
	}
}

static void test_no_instruction(void **state)
{
	static const char *const none[] = {
		"06", "d51050", "62f41848018000000000", "c4", "0f04", "e80000", "f0c3", ""
	};

	for (size_t n = 0; n < COUNT(none); n++) {
		struct isa_insn insn = { .length = 99 };
		bool has_target = true;
		utap_addr target = 7;
		uint8_t bytes[32] = { 0 };
		size_t size = from_hex(none[n], bytes, sizeof(bytes));

		assert_int_equal(isa_decode(bytes, size, ADDR, &insn), -EILSEQ);
		assert_int_equal(insn.length, 99);
		assert_int_equal(isa_step(bytes, size, ADDR, &has_target, &target), -EILSEQ);
		assert_true(has_target);
		assert_int_equal(target, 7);
	}
}

static void test_operands(void **state)
{
	struct isa_insn insn = decoded("488b0510000000");

	assert_true(insn.has_rip_operand);
	assert_int_equal(insn.rip_operand, ADDR + 7 + 0x10);
	assert_int_equal(insn.disp_offset, 3);
	assert_false(insn.has_target);
	insn = decoded("c705f0ffffff78563412"); /* an immediate follows the displacement */
	assert_int_equal(insn.rip_operand, ADDR + 10 - 0x10);
	assert_int_equal(insn.disp_offset, 2);
	insn = decoded("e8f0ffffff");
	assert_true(insn.has_target);
	assert_int_equal(insn.target, ADDR + 5 - 0x10);
	insn = decoded("7580");
	assert_int_equal(insn.target, ADDR + 2 - 0x80);
	assert_false(decoded("ffe0").has_target);
	assert_false(decoded("8b0425efbeadde").has_rip_operand); /* absolute, through a SIB byte */
}

/* Both decoders must say the same of these bytes; hands back how far to go. */
static int compare_step(const uint8_t *code, size_t size, utap_addr addr)
{
	struct isa_insn insn;
	bool has_target = false;
	utap_addr target = 0;
	int error = isa_decode(code, size, addr, &insn);
	int length = isa_step(code, size, addr, &has_target, &target);

	if (error ? length != error
		  : length != insn.length || has_target != insn.has_target || (has_target && target != insn.target))
		fail_msg("%02x %02x %02x %02x %02x %02x %02x %02x: decode %d/%u, step %d", code[0], code[1], code[2],
			 code[3], code[4], code[5], code[6], code[7], error, error ? 0 : insn.length, length);
	return error ? 1 : length;
}

static void compare_opcodes(const uint8_t *prefixes, size_t count)
{
	static const uint8_t sibs[] = { 0x00, 0x25 };
	uint8_t code[20];

	memset(code, 0x11, sizeof(code));
	memcpy(code, prefixes, count);
	for (unsigned opcode = 0; opcode < 256; opcode++)
		for (unsigned modrm = 0; modrm < 256; modrm++)
			for (size_t n = 0; n < COUNT(sibs); n++) {
				code[count] = (uint8_t)opcode;
				code[count + 1] = (uint8_t)modrm;
				code[count + 2] = sibs[n];
				compare_step(code, 16, ADDR);
			}
}

static void test_step_every_opcode(void **state)
{
	static const char *const prefixes[] = { "",
						"66",
						"f3",
						"f2",
						"67",
						"2e",
						"64",
						"66f3",
						"66f2",
						"f2f3",
						"f3f2",
						"f0",
						"48",
						"41",
						"6648",
						"f348",
						"6666",
						"4866",
						"f266",
						"26364c",
						"66662e3e65666666",
						"4f48",
						"f3f0",
						"64676641",
						"f248",
						"2e2e2e2e2e2e2e2e2e" };

	for (size_t n = 0; n < COUNT(prefixes); n++) {
		uint8_t bytes[16];
		size_t count = from_hex(prefixes[n], bytes, sizeof(bytes));

		compare_opcodes(bytes, count);
		bytes[count] = 0x0f;
		compare_opcodes(bytes, count + 1);
	}
}

static void test_step_short_input(void **state)
{
	uint8_t code[16];
	size_t size = from_hex("66662e0f1f840000000000909090909090", code, sizeof(code));

	for (size_t n = 0; n <= size; n++)
		compare_step(code, n, ADDR);
}

static bool is_code(const Elf64_Ehdr *elf, size_t size)
{
	return size >= sizeof(*elf) && !memcmp(elf->e_ident, ELFMAG, SELFMAG) && elf->e_machine == EM_X86_64 &&
	       elf->e_phoff + (uint64_t)elf->e_phnum * sizeof(Elf64_Phdr) <= size;
}

struct sweep {
	size_t insns;
	uint64_t step_ns;
};

static void sweep_segment(const uint8_t *code, size_t size, utap_addr addr, struct sweep *sweep)
{
	for (size_t at = 0; at < size; sweep->insns++)
		at += (size_t)compare_step(code + at, size - at, addr + at);

	uint64_t start = base_now_ns();

	for (size_t at = 0; at < size;) {
		bool has_target;
		utap_addr target;
		int length = isa_step(code + at, size - at, addr + at, &has_target, &target);

		at += length > 0 ? (size_t)length : 1;
	}
	sweep->step_ns += base_now_ns() - start;
}

static bool sweep_file(const char *path, struct sweep *sweep)
{
	_cleanup_free_ char *file = NULL;
	size_t size;

	if (base_file_read(path, &file, &size))
		return false;

	const Elf64_Ehdr *elf = (const void *)file;

	if (!is_code(elf, size))
		return false;

	const Elf64_Phdr *segments = (const void *)(file + elf->e_phoff);

	for (unsigned n = 0; n < elf->e_phnum; n++) {
		const Elf64_Phdr *p = &segments[n];

		if (p->p_type != PT_LOAD || !(p->p_flags & PF_X) || p->p_offset + p->p_filesz > size)
			continue;
		sweep_segment((const uint8_t *)file + p->p_offset, p->p_filesz, p->p_vaddr, sweep);
	}
	return sweep->insns > 0;
}

static void test_step_real_programs(void **state)
{
	static const char *const files[] = { "/lib/x86_64-linux-gnu/libc.so.6", "/lib64/libc.so.6", "/usr/bin/python3",
					     "/usr/lib/x86_64-linux-gnu/libstdc++.so.6", "/proc/self/exe" };
	unsigned swept = 0;

	for (size_t n = 0; n < COUNT(files); n++) {
		struct sweep sweep = { 0 };

		if (!sweep_file(files[n], &sweep)) {
			print_message("skipped: %s is not there\n", files[n]);
			continue;
		}
		swept++;
		print_message("%s: %zu instructions, %.1f ns each by isa_step\n", files[n], sweep.insns,
			      (double)sweep.step_ns / (double)sweep.insns);
	}
	assert_true(swept >= 2);
}

/* Relocate @hex from @from to @to and compare with @want. */
static void check_relocated(const char *hex, utap_addr from, utap_addr to, enum isa_entry entry, const char *want,
			    bool want_falls_through)
{
	struct isa_insn insn = decoded_at(hex, from);
	uint8_t buffer[ISA_RELOCATED_MAX], expected[ISA_RELOCATED_MAX];
	struct isa_emitter e = { .buffer = buffer, .size = sizeof(buffer), .addr = to };
	bool falls_through = !want_falls_through;
	const char *why = NULL;
	int error = isa_relocate(&insn, entry, &e, &falls_through, &why);
	size_t size = from_hex(want, expected, sizeof(expected));

	if (error)
		fail_msg("%s: %d %s", hex, error, why ? why : "");
	assert_int_equal(e.used, size);
	assert_memory_equal(buffer, expected, size);
	assert_int_equal(falls_through, want_falls_through);
}

static void test_relocate_bytes(void **state)
{
	utap_addr low = 0x401000, low_to = 0x501000;
	utap_addr high = 0x7f0000001000, high_to = 0x7f0000101000;

	check_relocated("55", low, low_to, ISA_BY_JUMP, "55", true);
	check_relocated("488b0510000000", low, low_to, ISA_BY_JUMP, "488b051000f0ff", true);
	check_relocated("eb10", low, low_to, ISA_BY_JUMP, "e90d00f0ff", false);
	check_relocated("2e7410", low, low_to, ISA_BY_JUMP, "0f840d00f0ff", true);
	check_relocated("0f8f10000000", low, low_to, ISA_BY_JUMP, "0f8f1000f0ff", true);
	check_relocated("67e310", low, low_to, ISA_BY_JUMP, "67e302eb05e90900f0ff", true);
	check_relocated("e210", low, low_to, ISA_BY_JUMP, "e202eb05e90900f0ff", true);
	check_relocated("e810000000", low, low_to, ISA_BY_JUMP, "6805104000e90b00f0ff", false);
	check_relocated("e810000000", low, low_to, ISA_BY_CALL, "e91000f0ff", false);
	check_relocated("ffd0", high, high_to, ISA_BY_JUMP, "488d6424f8c7042402100000c7442404007f0000ffe0", false);
	check_relocated("ffd0", 0xffffffffffff0000, 0xffffffffffff1000, ISA_BY_JUMP, "680200ffffffe0", false);
	check_relocated("ff542410", low, low_to, ISA_BY_JUMP, "6804104000ff642418", false);
	check_relocated("ff1424", low, low_to, ISA_BY_JUMP, "6803104000ff642408", false);
	check_relocated("ff54247c", low, low_to, ISA_BY_JUMP, "6804104000ffa42484000000", false);
	check_relocated("ff942400010000", low, low_to, ISA_BY_CALL, "ffa42408010000", false);
	check_relocated("41ff542410", low, low_to, ISA_BY_JUMP, "680510400041ff642410", false);
	check_relocated("ff1510000000", low, low_to, ISA_BY_CALL, "ff251000f0ff", false);
	check_relocated("ff2510000000", low, low_to, ISA_BY_JUMP, "ff251000f0ff", false);
	check_relocated("f3c3", low, low_to, ISA_BY_JUMP, "f3c3", false);
	check_relocated("0f05", low, low_to, ISA_BY_JUMP, "0f0548b90210400000000000", true);
	check_relocated("cd80", low, low_to, ISA_BY_JUMP, "cd80", true);
}

static int relocate_far(const char *hex, enum isa_entry entry, size_t size, struct isa_emitter *e, const char **why)
{
	static uint8_t buffer[ISA_RELOCATED_MAX];
	struct isa_insn insn = decoded_at(hex, 0x401000);
	bool falls_through;

	*e = (struct isa_emitter) { .buffer = buffer, .size = size, .addr = 0x7f0000000000 };
	*why = NULL;
	return isa_relocate(&insn, entry, e, &falls_through, why);
}

static void test_relocate_errors(void **state)
{
	static const char *const far[] = { "488b0510000000", "eb10",       "7410",         "0f8410000000",
					   "e310",           "e810000000", "ff1510000000", "ff2510000000" };
	struct isa_emitter e;
	const char *why;

	for (size_t n = 0; n < COUNT(far); n++) {
		assert_int_equal(relocate_far(far[n], ISA_BY_JUMP, ISA_RELOCATED_MAX, &e, &why), -ERANGE);
		assert_non_null(why);
		assert_int_equal(e.error, -ERANGE);
	}
	assert_int_equal(relocate_far("f30f1efa", ISA_BY_JUMP, ISA_RELOCATED_MAX, &e, &why), -ENOTSUP);
	assert_non_null(why);
	assert_int_equal(relocate_far("cc", ISA_BY_JUMP, ISA_RELOCATED_MAX, &e, &why), -ENOTSUP);
	assert_non_null(why);
	assert_int_equal(relocate_far("55", ISA_BY_CALL, ISA_RELOCATED_MAX, &e, &why), -ENOTSUP);
	assert_non_null(why);
	assert_int_equal(e.error, 0);
	assert_int_equal(e.used, 0);
	assert_int_equal(relocate_far("ffd0", ISA_BY_JUMP, 6, &e, &why), -ENOSPC);
	assert_null(why);
}

static void test_pun(void **state)
{
	static const uint8_t next[] = { 0x11, 0x22, 0x33, 0x44 };
	struct isa_insn insn = decoded("4889e5");
	utap_addr lo, hi;
	uint8_t bytes[4] = { 0, 0, 0, 0x77 };

	assert_int_equal(isa_pun(&insn, next, 0, &lo, &hi), 0); /* e9 a b | 11 22 */
	assert_int_equal(lo, ADDR + 5 + 0x22110000);
	assert_int_equal(hi, ADDR + 5 + 0x2211ffff);
	assert_int_equal(isa_pun_encode(&insn, next, 0, lo + 0x1234, bytes), 0);
	assert_memory_equal(bytes, "\xe9\x34\x12\x77", 4);
	assert_int_equal(isa_pun(&insn, next, 2, &lo, &hi), 0); /* 2e 3e e9 | 11 22 33 44 */
	assert_int_equal(lo, ADDR + 7 + 0x44332211);
	assert_int_equal(hi, lo);
	assert_int_equal(isa_pun_encode(&insn, next, 2, lo, bytes), 0);
	assert_memory_equal(bytes, "\x2e\x3e\xe9\x77", 4);
	assert_int_equal(isa_pun_encode(&insn, next, 2, lo + 1, bytes), -ERANGE);
	assert_int_equal(isa_pun(&insn, next, 3, &lo, &hi), -EINVAL);
	insn = decoded("4883ec08");
	assert_int_equal(isa_pun(&insn, (const uint8_t *)"\x80\0\0\0", 0, &lo, &hi), 0); /* backwards */
	assert_int_equal(lo, ADDR + 5 - 0x80000000ULL);
	assert_int_equal(hi, lo + 0xffffff);
	assert_int_equal(isa_pun_encode(&insn, (const uint8_t *)"\x80\0\0\0", 0, hi, bytes), 0);
	assert_memory_equal(bytes, "\xe9\xff\xff\xff", 4);
	assert_int_equal(isa_pun_encode(&insn, (const uint8_t *)"\x80\0\0\0", 0, hi + 1, bytes), -ERANGE);
	assert_int_equal(isa_pun_encode(&insn, (const uint8_t *)"\x80\0\0\0", 0, lo + (1ULL << 32), bytes), -ERANGE);
	insn = decoded("488b4508");
	assert_int_equal(isa_pun(&insn, next, 3, &lo, &hi), 0);
	insn = decoded("488b0510000000");
	assert_int_equal(isa_pun(&insn, next, 0, &lo, &hi), -EINVAL);
}

/* A punned jump, read back together with the bytes behind it, is a jump to where it was meant to go. */
static void test_pun_decodes(void **state)
{
	static const char *const insns[] = { "55", "89e5", "4889e5", "4883ec08" };
	uint8_t code[8], next[4];

	srandom(1);
	for (unsigned n = 0; n < 1000; n++) {
		struct isa_insn insn = decoded(insns[n % 4]), jump;
		utap_addr lo, hi;

		for (size_t b = 0; b < sizeof(next); b++)
			next[b] = (uint8_t)random();
		for (unsigned prefixes = 0; prefixes < insn.length; prefixes++) {
			assert_int_equal(isa_pun(&insn, next, prefixes, &lo, &hi), 0);

			utap_addr to = lo + (uint64_t)random() % (hi - lo + 1);

			assert_int_equal(isa_pun_encode(&insn, next, prefixes, to, code), 0);
			memcpy(code + insn.length, next, sizeof(next));
			assert_int_equal(isa_decode(code, sizeof(code), ADDR, &jump), 0);
			assert_int_equal(jump.class, ISA_JUMP);
			assert_int_equal(jump.length, 5 + prefixes);
			assert_int_equal(jump.target, to);
		}
	}
}

static bool padding(const char *hex)
{
	uint8_t bytes[32];
	size_t size = from_hex(hex, bytes, sizeof(bytes));

	return isa_is_padding(bytes, size);
}

static void test_padding(void **state)
{
	assert_true(padding("9090"));
	assert_true(padding("cccccccc"));
	assert_true(padding("00000000"));
	assert_true(padding("66662e0f1f840000000000"));
	assert_true(padding("90660f1f440000cc0f1f00"));
	assert_true(padding("6690"));
	assert_false(padding("9055"));
	assert_false(padding("c3"));
	assert_false(padding("0f1f44"));
	assert_false(padding("f30f1efa"));
	assert_false(padding("f390"));
}

static void check_reg(const char *name, int reg, unsigned width)
{
	unsigned bits = 0;

	assert_int_equal(isa_reg_parse(name, strlen(name), &bits), reg);
	assert_int_equal(bits, width);
}

static void test_reg(void **state)
{
	static const char *const none[] = { "",    "r",  "r7",   "r16", "r8x", "r08", "r8dd",
					    "dih", "ah", "xmm0", "%di", "RDI", "r1" };

	check_reg("di", ISA_DI, 64);
	check_reg("rdi", ISA_DI, 64);
	check_reg("edi", ISA_DI, 32);
	check_reg("dil", ISA_DI, 8);
	check_reg("al", ISA_AX, 8);
	check_reg("r8", ISA_R8, 64);
	check_reg("r15d", ISA_R15, 32);
	check_reg("r10w", ISA_R10, 16);
	check_reg("r9b", ISA_R9, 8);
	check_reg("r9l", ISA_R9, 8);
	check_reg("ip", ISA_IP, 64);
	check_reg("sp", ISA_SP, 64);
	check_reg("bp", ISA_BP, 64);
	check_reg("flags", ISA_FLAGS, 64);
	check_reg("orig_ax", ISA_ORIG_AX, 64);
	for (size_t n = 0; n < COUNT(none); n++) {
		unsigned bits = 3;

		assert_int_equal(isa_reg_parse(none[n], strlen(none[n]), &bits), -ENOENT);
		assert_int_equal(bits, 3);
	}

	unsigned bits;

	assert_int_equal(isa_reg_parse("axe", 2, &bits), ISA_AX); /* the length counts, not a terminator */
}

static const struct {
	const char *hex;
	const char *text;
} texts[] = {
	{ "55", "push   %rbp" },
	{ "4889e5", "mov    %rsp,%rbp" },
	{ "c3", "ret" },
	{ "e810000000", "call   401015" },
	{ "7410", "je     401012" },
	{ "ffd0", "call   *%rax" },
	{ "ff542408", "call   *0x8(%rsp)" },
	{ "488b0510000000", "mov    0x10(%rip),%rax        # 401017" },
	{ "48c7c0ffffffff", "mov    $0xffffffffffffffff,%rax" },
	{ "c645ff00", "movb   $0x0,-0x1(%rbp)" },
	{ "48c7442408f0ffffff", "movq   $0xfffffffffffffff0,0x8(%rsp)" },
	{ "64488b042528000000", "mov    %fs:0x28,%rax" },
	{ "0fb6c0", "movzbl %al,%eax" },
	{ "4863d0", "movslq %eax,%rdx" },
	{ "4898", "cltq" },
	{ "f3a4", "rep movsb %ds:(%rsi),%es:(%rdi)" },
	{ "f0480fb10f", "lock cmpxchg %rcx,(%rdi)" },
	{ "0f1f440000", "nopl   0x0(%rax,%rax,1)" },
	{ "c5fdefc0", "vpxor  %ymm0,%ymm0,%ymm0" },
};

static void test_format(void **state)
{
	char text[128];

	for (size_t n = 0; n < COUNT(texts); n++) {
		struct isa_insn insn = decoded_at(texts[n].hex, 0x401000);

		isa_format(&insn, text, sizeof(text));
		assert_string_equal(text, texts[n].text);
	}

	struct isa_insn insn = decoded_at("48c7442408f0ffffff", 0x401000);

	for (size_t size = 1; size < 40; size++) {
		memset(text, 'x', sizeof(text));
		isa_format(&insn, text, size);
		assert_true(strlen(text) < size);
		assert_int_equal(text[size], 'x');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_classes),
		cmocka_unit_test(test_no_instruction),
		cmocka_unit_test(test_operands),
		cmocka_unit_test(test_step_every_opcode),
		cmocka_unit_test(test_step_short_input),
		cmocka_unit_test(test_step_real_programs),
		cmocka_unit_test(test_relocate_bytes),
		cmocka_unit_test(test_relocate_errors),
		cmocka_unit_test(test_pun),
		cmocka_unit_test(test_pun_decodes),
		cmocka_unit_test(test_padding),
		cmocka_unit_test(test_reg),
		cmocka_unit_test(test_format),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
