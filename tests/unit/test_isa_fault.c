/* SPDX-License-Identifier: MIT */
/* Which instructions may fault by themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "isa/isa.h"

#define R14 (1U << 14)

static const struct {
	const char *text;
	uint8_t code[12];
	uint8_t size;
	uint32_t trusted;
	bool may;
} cases[] = {
	{ "mov %rsp,%rbp", { 0x48, 0x89, 0xe5 }, 3, 0, false },
	{ "mov 0x10(%rax),%rdx", { 0x48, 0x8b, 0x50, 0x10 }, 4, 0, true },
	{ "mov %rdx,0x10(%rax)", { 0x48, 0x89, 0x50, 0x10 }, 4, 0, true },
	{ "lea 0x10(%rax),%rdx", { 0x48, 0x8d, 0x50, 0x10 }, 4, 0, false },
	{ "mov 0x8(%rsp),%rax", { 0x48, 0x8b, 0x44, 0x24, 0x08 }, 5, 0, false },
	{ "mov 0x8(%rsp,%rax,1),%rax", { 0x48, 0x8b, 0x44, 0x04, 0x08 }, 5, 0, true },
	{ "mov 0x100(%rip),%rax", { 0x48, 0x8b, 0x05, 0, 1, 0, 0 }, 7, 0, false },
	{ "cmp 0x10(%r14),%rsp, any base", { 0x49, 0x3b, 0x66, 0x10 }, 4, 0, true },
	{ "cmp 0x10(%r14),%rsp, r14 trusted", { 0x49, 0x3b, 0x66, 0x10 }, 4, R14, false },
	{ "mov %fs:0x28,%rax", { 0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0 }, 9, 0, false },
	{ "mov 0x1000,%rax", { 0x48, 0x8b, 0x04, 0x25, 0, 0x10, 0, 0 }, 8, 0, true },
	{ "push %rax", { 0x50 }, 1, 0, false },
	{ "push (%rax)", { 0xff, 0x30 }, 2, 0, true },
	{ "ret", { 0xc3 }, 1, 0, false },
	{ "call 0", { 0xe8, 0, 0, 0, 0 }, 5, 0, false },
	{ "call *(%rdx)", { 0xff, 0x12 }, 2, 0, true },
	{ "call *%rdx", { 0xff, 0xd2 }, 2, 0, false },
	{ "idiv %rcx", { 0x48, 0xf7, 0xf9 }, 3, 0, true },
	{ "div %ecx", { 0xf7, 0xf1 }, 2, 0, true },
	{ "imul %rcx", { 0x48, 0xf7, 0xe9 }, 3, 0, false },
	{ "rep stos", { 0xf3, 0x48, 0xab }, 3, 0, true },
	{ "movs", { 0xa4 }, 1, 0, true },
	{ "movups (%rdi),%xmm0", { 0x0f, 0x10, 0x07 }, 3, 0, true },
	{ "nopl 0(%rax)", { 0x0f, 0x1f, 0x40, 0x00 }, 4, 0, false },
	{ "endbr64", { 0xf3, 0x0f, 0x1e, 0xfa }, 4, 0, false },
	{ "vmovdqu (%rax),%ymm1", { 0xc5, 0xfe, 0x6f, 0x08 }, 4, 0, true },
	{ "jmp *0x8(%rsp)", { 0xff, 0x64, 0x24, 0x08 }, 4, 0, false },
	{ "lock xadd %eax,(%rcx)", { 0xf0, 0x0f, 0xc1, 0x01 }, 4, 0, true },
};

static void test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct isa_insn insn;

		assert_int_equal(isa_decode(cases[i].code, cases[i].size, 0x1000, &insn), 0);
		assert_int_equal(insn.length, cases[i].size);
		if (isa_may_fault(&insn, cases[i].trusted) != cases[i].may)
			fail_msg("%s: %s fault", cases[i].text, cases[i].may ? "may" : "cannot");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_cases) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
