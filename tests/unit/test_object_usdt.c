/* SPDX-License-Identifier: MIT */
/* object/: statically defined probes. Those of programs that are installed; and operands of every form, each as the fetch argument that reads it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "object/usdt.h"

uint32_t usdt_test_value[4] = { 1, 2, 3, 4 };

static struct object *open_object(const char *path)
{
	struct object *object;
	struct utap_error err = { 0 };

	if (object_open(path, &object, &err))
		fail_msg("%s", err.text);
	return object;
}

struct installed {
	const char *path, *provider;
	size_t least;     /* places */
	const char *name; /* of one of them, and what its arguments are; "" not known */
	const char *args;
	bool semaphore;
};

/* As Debian 12 builds them; what is not installed is not looked at, but libstdc++ is there with the compiler. */
static const struct installed files[] = {
	{ "/usr/lib/x86_64-linux-gnu/libstdc++.so.6", "libstdcxx", 3, "throw", "arg1=%di:u64 arg2=%si:u64", false },
	{ "/usr/bin/python3.11", "python", 8, "function__entry", "", true },
	{ "/usr/lib/postgresql/15/bin/postgres", "postgresql", 60, "query__start", "", true },
};

static void check_installed(const struct installed *file)
{
	struct object *object = open_object(file->path);
	_cleanup_free_ struct object_usdt *probes = NULL;
	struct utap_error err = { 0 };
	size_t count, fetched = 0;
	bool seen = false;

	assert_int_equal(object_usdt(object, &probes, &count, &err), 0);
	assert_true(count >= file->least);
	for (size_t i = 0; i < count; i++) {
		_cleanup_free_ char *args = NULL;
		size_t available;
		const uint8_t *code = object_code(object, probes[i].vaddr, &available);

		assert_string_equal(probes[i].provider, file->provider);
		assert_true(code && code[0] == 0x90); /* a nop is what is marked */
		assert_int_equal(probes[i].semaphore != 0, file->semaphore);
		if (object_usdt_args(object, &probes[i], &args, &err)) {
			assert_true(strstr(err.text, "its argument ") != NULL);
			continue;
		}
		fetched++;
		seen |= !strcmp(probes[i].name, file->name) && (!*file->args || !strcmp(args, file->args));
	}
	assert_true(fetched * 10 >= count * 9);
	assert_true(seen);
	object_close(object);
}

static void test_installed(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (!i || access(files[i].path, R_OK) == 0)
			check_installed(&files[i]);
}

struct row {
	const char *arguments;
	const char *fetched; /* NULL: refused, with .. */
	const char *why;
};

static const struct row rows[] = {
	{ "", "", NULL },
	{ "8@%rdi", "arg1=%di:u64", NULL },
	{ "-4@%edi 8@%r12", "arg1=%di:s32 arg2=%r12:u64", NULL },
	{ "1@%sil 2@%r9w -1@%bpl", "arg1=%si:u8 arg2=%r9:u16 arg3=%bp:s8", NULL },
	{ "1@%ah", "arg1=%ax:b8@8/16", NULL },
	{ "-4@$-17 8@$0x10", "arg1=\\-17:s32 arg2=\\16:u64", NULL },
	{ "-8@-24(%rbp)", "arg1=-24(%bp):s64", NULL },
	{ "  4@(%rsp)   4@0x18(%rsp) ", "arg1=+0(%sp):u32 arg2=+24(%sp):u32", NULL },
	{ "8f@8(%rsp) 4f@(%rax)", "arg1=+8(%sp):f64 arg2=+0(%ax):f32", NULL },
	{ "%rdx $3", "arg1=%dx:u64 arg2=\\3:u64", NULL },
	{ "8f@%xmm0 4f@%xmm15 8@%xmm9", "arg1=%xmm0:f64 arg2=%xmm15:f32 arg3=%xmm9:u64", NULL },
	{ "-4@8(%rax,%rbx,4) 8@(,%rbx,8) 2@-1(%r9,%r10)", "arg1=+8(%ax,%bx,4):s32 arg2=+0(,%bx,8):u64 arg3=-1(%r9,%r10,1):u16", NULL },
	{ "8f@%xmm16", NULL, "its argument 8f@%xmm16 is in a register that cannot be recorded" },
	{ "8f@%ymm1", NULL, "in a register that cannot be recorded" },
	{ "2f@%xmm1", NULL, "of a size that cannot be recorded" },
	{ "4f@%eax 8f@%r8", "arg1=%ax:f32 arg2=%r8:f64", NULL },
	{ "4@(%eax)", NULL, "is none that an assembler writes" },
	{ "4@(%rax,%ebx,4)", NULL, "is none that an assembler writes" },
	{ "4@(%rax,%rsp,4)", NULL, "is none that an assembler writes" },
	{ "4@(%rax,%rbx,3)", NULL, "is none that an assembler writes" },
	{ "4@(%rax,)", NULL, "is none that an assembler writes" },
	{ "-1@%ah", NULL, "in a register" },
	{ "8@()", NULL, "is none that an assembler writes" },
	{ "4@nowhere(%rip)", NULL, "names a symbol that the file does not have" },
	{ "4@usdt_test_value", NULL, "not a register and a distance" },
	{ "4@usdt_test_value(%rax)", NULL, "not a register and a distance" },
	{ "8@$usdt_test_value", NULL, "a constant that only the linker knew" },
	{ "16@%rax", NULL, "of a size that cannot be recorded" },
	{ "@%rax", NULL, "has no size" },
	{ "4x@%rax", NULL, "has no size" },
	{ "4@(%rax", NULL, "is none that an assembler writes" },
	{ "4@(rax)", NULL, "is none that an assembler writes" },
	{ "4@8(%rax)1", NULL, "is none that an assembler writes" },
	{ "4@%raxx", NULL, "in a register" },
	{ "1@$1 1@$1 1@$1 1@$1 1@$1 1@$1 1@$1 1@$1 1@$1 1@$1 1@$1 1@$1 1@$1", NULL, "is one too many" },
};

static void test_operands(void **state)
{
	struct object *object = open_object("/proc/self/exe");

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct object_usdt usdt = { .provider = "p", .name = "n", .arguments = rows[i].arguments };
		_cleanup_free_ char *args = NULL;
		struct utap_error err = { 0 };
		int error = object_usdt_args(object, &usdt, &args, &err);

		if (rows[i].fetched) {
			assert_int_equal(error, 0);
			assert_string_equal(args, rows[i].fetched);
		} else {
			assert_true(error == -ENOTSUP || error == -EINVAL);
			if (!strstr(err.text, rows[i].why))
				fail_msg("\"%s\": %s", rows[i].arguments, err.text);
		}
	}
	object_close(object);
}

/* A variable: as far from the marked place as in memory. */
static void test_static(void **state)
{
	static const char *const forms[] = { "-4@usdt_test_value+8(%rip)", "-4@8+usdt_test_value(%rip)", "-4@usdt_test_value+0x8(%rip)" };
	struct object *object = open_object("/proc/self/exe");
	const struct object_symbol **found;

	(void)state;
	assert_int_equal(object_find(object, "usdt_test_value", false, &found, NULL), 1);
	for (size_t i = 0; i < 3; i++) {
		struct object_usdt usdt = { .vaddr = object_entry(object), .arguments = forms[i] };
		_cleanup_free_ char *args = NULL;
		unsigned long long offset;

		assert_int_equal(object_vaddr_to_offset(object, usdt.vaddr, &usdt.offset), 0);
		assert_int_equal(object_usdt_args(object, &usdt, &args, NULL), 0);
		assert_int_equal(sscanf(args, "arg1=@+0x%llx:s32", &offset), 1);
		assert_int_equal(offset - usdt.offset, found[0]->vaddr + 8 - usdt.vaddr);
	}
	free(found);
	object_close(object);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_installed), cmocka_unit_test(test_operands), cmocka_unit_test(test_static) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
