/* SPDX-License-Identifier: MIT */
/* probe/: places named by their source and static probes, told from those that uprobe_events' language names. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "probe/source.h"

/* What it is taken apart to, in one line: [r ][GROUP/EVENT ]FILE|[sdt ]PLACE|ARG|ARG. "": it is none of ours. '!': refused, with that. */
static const char *const rows[][2] = {
	/* the other language's */
	{ "malloc", "" },
	{ "libc:malloc size=%di", "" },
	{ "p:libc/m /lib/libc.so.6:0x1234 %di:s32 +0(%si):string", "" },
	{ "p:m /bin/prog:4660 arg1=%ax", "" },
	{ "r:m /bin/prog:0x10 $retval", "" },
	{ "/bin/prog:4660", "" },
	{ "ns::f", "" },
	{ "p::f", "" },
	{ "prog:ns::f(int)", "" },
	{ "malloc@GLIBC_2.2.5", "" },
	{ "libc:malloc@@GLIBC_2.2.5 %di", "" },
	{ "main:*", "" },
	{ "func+0x10 @+0x40 \\5 $stack2", "" },
	{ "func $comm $arg1 n=$retval", "" },
	{ "func%return $retval", "" },
	{ "", "" },
	{ "p:", "" },
	{ "a:b:c:d:e x", "" },
	/* functions */
	{ "main argc", "|main|argc" },
	{ "prog:main argc argv[0]:string", "prog|main|argc|argv[0]:string" },
	{ "p:handle ./prog:handle conn->addr.port[2] *p n=count:u32", "handle ./prog|handle|conn->addr.port[2]|*p|n=count:u32" },
	{ "p:web/handle prog:handle $params %di", "web/handle prog|handle|$params|%di" },
	{ "libc:malloc $vars", "libc|malloc|$vars" },
	{ "ns::f(int) x", "|ns::f(int)|x" },
	{ "r:back prog:f x=$retval y=var", "r back prog|f|x=$retval|y=var" },
	{ "prog:f%return $retval n", "r prog|f|$retval|n" },
	{ "f+0x10 n", "|f+0x10|n" },
	{ "f@main.c", "|f@main.c|" },
	{ "prog:f@src/main.c:12", "prog|f@src/main.c:12|" },
	{ "f@dir/x", "|f@dir/x|" },
	{ "f:12", "|f:12|" },
	{ "prog:f:12 n", "prog|f:12|n" },
	{ "f;return;", "|f;return;|" },
	{ "f;x=* n", "|f;x=*|n" },
	{ "'f(int, char)' n", "|f(int, char)|n" },
	/* lines */
	{ "main.c:12", "|main.c:12|" },
	{ "src/main.c:12 n", "|src/main.c:12|n" },
	{ "./prog:src/main.c:12", "./prog|src/main.c:12|" },
	{ "main.rs;let", "|main.rs;let|" },
	{ "p:here main.go:9 x", "here |main.go:9|x" },
	/* static probes */
	{ "sdt:libstdcxx:throw", "|sdt libstdcxx:throw|" },
	{ "libstdc++:sdt:libstdcxx:*", "libstdc++|sdt libstdcxx:*|" },
	{ "p:t sdt:python:function__entry arg1:string", "t |sdt python:function__entry|arg1:string" },
	{ "%sdt_libstdcxx:catch", "|sdt libstdcxx:catch|" },
	/* ours, and wrong */
	{ "p:1x f:12", "!column 3: an event's name is letters, digits and '_'" },
	{ "p:a-b/x f:12", "!column 3: a group's name is letters, digits and '_'" },
	{ "f%retrun n", "!column 2: only %return can follow here" },
	{ "r:x sdt:a:b", "!column 1: a static probe is a place" },
	{ "prog:%return n", "!column 6: " },
};

static void print(const struct probe_source *source, char *text, size_t size)
{
	size_t used = (size_t)snprintf(text, size, "%s%s%s%s%s%s|%s%s|", source->is_return ? "r " : "", source->group,
				       *source->group ? "/" : "", source->event, *source->event ? " " : "", source->file,
				       source->is_static ? "sdt " : "", source->place);

	for (size_t i = 0; i < source->nargs; i++)
		used += (size_t)snprintf(text + used, size - used, "%s%s", i ? "|" : "", source->args[i]);
}

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct probe_source source;
		struct utap_error err = { 0 };
		char text[1000] = "";
		int result = probe_source_parse(rows[i][0], &source, NULL, &err);

		if (result > 0) {
			print(&source, text, sizeof(text));
			probe_source_free(&source);
		} else if (result < 0) {
			snprintf(text, sizeof(text), "!%s", err.text);
		}
		if (*rows[i][1] == '!' ? strncmp(text, rows[i][1], strlen(rows[i][1])) : strcmp(text, rows[i][1]))
			fail_msg("\"%s\" is \"%s\", not \"%s\"", rows[i][0], text, rows[i][1]);
	}
}

/* Whatever a text is cut to: no crash, no leak (the sanitizers' builds see those), and the same answer for the same text. */
static void test_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (size_t length = 0; length < strlen(rows[i][0]); length++) {
			char text[200];
			struct probe_source source;
			size_t column = 0;
			int result;

			snprintf(text, sizeof(text), "%.*s", (int)length, rows[i][0]);
			result = probe_source_parse(text, &source, &column, NULL);
			if (result > 0) {
				assert_string_equal(source.text, text);
				assert_true(*source.place);
				probe_source_free(&source);
			} else if (result < 0) {
				assert_in_range(column, 1, length + 1);
			}
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_rows), cmocka_unit_test(test_cut) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
