/* SPDX-License-Identifier: MIT */
/*
 * Lines that the kernel refuses, with a mark before the column that its error_log points at: ours is the same. They are what its selftests of
 * uprobe_events refuse, and of those of kprobe_events what is about names and arguments; besides, what else was tried with Linux 6.18.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "probe/probe.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const malformed[] = {
	"p /bin/sh:^10a",
	"p /bin/sh:10(^1a)",
	"p /bin/sh:10(10^",
	"p /bin/sh:10(10)^a",
	"p /bin/sh:10^%hoge",
	"p /bin/sh:10(10)^%return",
	"p /bin/sh:10 ^@+ab",
	"p /bin/sh:10 ^@symbol",
	"p /bin/sh:10 $stack0:^symstr",
	"p /bin/sh:10 ^$current:u8",
	"p:^/bar /bin/sh:10",
	"p:^12345678901234567890123456789012345678901234567890123456789012345/bar /bin/sh:10",
	"p:^foo.1/bar /bin/sh:10",
	"p:^ /bin/sh:10",
	"p:foo/^12345678901234567890123456789012345678901234567890123456789012345 /bin/sh:10",
	"p:foo/^bar.1 /bin/sh:10",
	"p /bin/sh:10 ^$retval",
	"p /bin/sh:10 ^$stack10000",
	"p /bin/sh:10 ^$arg10000",
	"p /bin/sh:10 ^$none_var",
	"p /bin/sh:10 ^%none_reg",
	"p /bin/sh:10 ^@12345678abcde",
	"p /bin/sh:10 arg1=\\^x",
	"p /bin/sh:10 arg1=\\\"abcd^",
	"p /bin/sh:10 ^+0@0)",
	"p /bin/sh:10 ^+0ab1(@0)",
	"p /bin/sh:10 +0(+0(@0^)",
	"p /bin/sh:10 +0(^$comm)",
	"p /bin/sh:10 ^&1",
	"p /bin/sh:10 +0(^+0(+0(+0(+0(+0(+0(+0(+0(+0(+0(+0(+0(+0(@0))))))))))))))",
	"p /bin/sh:10 +0(@11):u8[10^",
	"p /bin/sh:10 +0(@11):u8[10]^a",
	"p /bin/sh:10 +0(@11):u8[^10a]",
	"p /bin/sh:10 +0(@11):u8[^256]",
	"p /bin/sh:10 @11:^unknown_type",
	"p /bin/sh:10 $stack0:^string",
	"p /bin/sh:10 @11:^b10@a/16",
	"p /bin/sh:10 ^arg123456789012345678901234567890=@11",
	"p /bin/sh:10 ^=@11",
	"p /bin/sh:10 ^var.1=@11",
	"p /bin/sh:10 var1=@11 ^var1=@12",
	"p /bin/sh:10 ^+1234567(+1234567(+1234567(+1234567(+1234567(+1234567(@1234))))))",
	"p /bin/sh:10 arg1=^",
	"p /bin/sh:10 args=^$arg*",
	"p /bin/sh:10 +0(^$arg*)",
	"p /bin/sh:10 ^hoge",
	"p /bin/sh:10 $comm:^u8",
	"p /bin/sh:10 $comm:^string[2]",
	"p /bin/sh:10 \\\"foo\":^u8",
	"p /bin/sh:10 %di:^u64[4]",
	"p /bin/sh:10 +0(%di):u8[^0]",
	"p /bin/sh:10 +0(%di):u8[^65]",
	"p /bin/sh:10 %di:^b0@2/32",
	"p /bin/sh:10 %di:^b40@2/32",
	"p /bin/sh:10 %di:^%pd",
};

/* The text without its mark; returns the column of the mark. */
static size_t unmark(const char *marked, char text[static 256])
{
	size_t at = strcspn(marked, "^");

	snprintf(text, 256, "%.*s%s", (int)at, marked, marked + at + 1);
	return at + 1;
}

static void test_malformed(void **state)
{
	for (size_t i = 0; i < COUNT(malformed); i++) {
		struct utap_error err = { 0 };
		static struct probe_spec spec;
		char text[256];
		size_t want = unmark(malformed[i], text);
		size_t column = 0;

		if (probe_parse(text, &spec, &column, &err) != -EINVAL)
			fail_msg("'%s' is not refused", text);
		if (column != want)
			fail_msg("'%s': column %zu, want %zu; \"%s\"", text, column, want, err.text);
	}
}

/* As /sys/kernel/tracing/uprobe_events prints what it holds. */
static void test_printed(void **state)
{
	static const char *const lines[] = {
		"p:tst/q /tmp/prog:0x0000000000001000 a=@+0x3020:u32 arg2=\\\"hi\" arg3=$comm b=+0(%di):string[3] arg5=+8(%si):char[3]",
		"r:tst/h /tmp/prog:0x0000000000000010 arg1=$retval:s32",
		"p:uprobes/p_prog_0x8 /tmp/prog:0x0000000000000008",
		"p:tst/g /tmp/prog:0x0000000000000010(0x20) arg1=-u8(+0(%r10)):b4@2/32[3]",
		"p:foo/bar /tmp/prog:0x0000000000001000 arg1=%di arg2=%ip:x32 arg3=%orig_ax arg4=%cs:u8 arg5=$stack1023",
		"p:a/b /tmp/prog:0x0000000000001000 arg1=+0(+0(+0(+0(+0(+0(+0(+0(+0(+0(+0(+0(+0(+0(%di))))))))))))))",
	};

	for (size_t i = 0; i < COUNT(lines); i++) {
		struct utap_error err = { 0 };
		static struct probe_spec spec;

		if (probe_parse(lines[i], &spec, NULL, &err))
			fail_msg("'%s': %s", lines[i], err.text);
		assert_true(spec.by_offset);
	}
}

static void test_removal(void **state)
{
	static const struct {
		const char *text, *group, *event;
	} good[] = { { "-:ev", "", "ev" }, { "-:g/ev", "g", "ev" }, { "-:g/", "g", "" }, { "  -:g.ev ", "g", "ev" } };
	static const struct {
		const char *text;
		size_t column;
	} bad[] = { { "-:", 3 }, { "-:g/1", 5 }, { "-:/ev", 3 }, { "-:ev x", 6 }, { "-: ev", 3 } };
	char group[PROBE_NAME], event[PROBE_NAME];
	struct utap_error err;
	size_t column;

	for (size_t i = 0; i < COUNT(good); i++) {
		assert_int_equal(probe_parse_removal(good[i].text, group, event, NULL, NULL), 1);
		assert_string_equal(group, good[i].group);
		assert_string_equal(event, good[i].event);
	}
	for (size_t i = 0; i < COUNT(bad); i++) {
		assert_int_equal(probe_parse_removal(bad[i].text, group, event, &column, &err), -EINVAL);
		assert_int_equal(column, bad[i].column);
	}
	assert_int_equal(probe_parse_removal("p:ev x:f", group, event, NULL, NULL), 0);
	assert_int_equal(probe_parse_removal("", group, event, NULL, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_printed),
		cmocka_unit_test(test_removal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
