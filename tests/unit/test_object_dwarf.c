/* SPDX-License-Identifier: MIT */
/*
 * Debug information of programs that are compiled here: places, variables, refusals, and each way in which it can be stored. That values are right is
 * compared with gdb in tests/integration/dwarf.sh; here it is that they are found, and what is said where they are not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "object/dwarf.h"

static char folder[] = "/tmp/test-object-dwarf-XXXXXX";

static const char program[] =
    "#include <stdio.h>\n"                                                                         /* 1 */
    "enum color { RED, GREEN = 5 };\n"
    "struct addr { int port[4]; char host[16]; };\n"
    "struct conn { int id; unsigned flag : 3; int low : 5; const char *name; struct addr addr; struct conn *next; double d; enum color c; };\n"
    "static int counter;\n"                                                                        /* 5 */
    "static inline __attribute__((always_inline)) int twice(int v)\n"
    "{\n"
    "	int r = v * 2;\n"
    "	counter += r;\n"
    "	return r;\n"                                                                                /* 10 */
    "}\n"
    "__attribute__((noinline)) int handle(struct conn *conn, int size, const char *what)\n"
    "{\n"
    "	int total = 0;\n"
    "	for (int i = 0; i < size; i++)\n"                                                           /* 15 */
    "		total += twice(i) + conn->addr.port[i & 3];\n"
    "	puts(what);\n"
    "	return total + twice(size);\n"
    "}\n"
    "int main(int argc, char **argv)\n"                                                            /* 20 */
    "{\n"
    "	static struct conn c;\n"
    "	return handle(&c, argc, argv[0]) == 77 && counter;\n"
    "}\n";

static BASE_PRINTF(1, 2) int run(const char *format, ...)
{
	char command[2048];
	int used = snprintf(command, sizeof(command), "cd %s && ", folder);
	va_list ap;

	va_start(ap, format);
	vsnprintf(command + used, sizeof(command) - (size_t)used, format, ap);
	va_end(ap);
	return system(command);
}

static bool has(const char *tool)
{
	char command[128];

	snprintf(command, sizeof(command), "command -v %s > /dev/null 2>&1", tool);
	return system(command) == 0;
}

struct opened {
	struct object *object;
	struct object_dwarf *dwarf;
};

static struct opened open_file(const char *name)
{
	struct opened opened;
	struct utap_error err = { 0 };
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	assert_int_equal(object_open(path, &opened.object, &err), 0);
	if (object_dwarf_open(opened.object, &opened.dwarf, &err))
		fail_msg("%s", err.text);
	return opened;
}

static void close_file(struct opened opened)
{
	object_dwarf_close(opened.dwarf);
	object_close(opened.object);
}

static struct object_dwarf_places *find(struct opened opened, const char *place, const char *arg)
{
	struct object_dwarf_places *places = NULL;
	struct utap_error err = { 0 };

	if (object_dwarf_find(opened.dwarf, place, &arg, arg ? 1 : 0, &places, &err))
		fail_msg("%s %s: %s", place, arg ? arg : "", err.text);
	return places;
}

/* The only argument of the only place. */
static void expect(struct opened opened, const char *place, const char *arg, const char *fetch)
{
	struct object_dwarf_places *places = find(opened, place, arg);

	assert_int_equal(places->count, 1);
	assert_int_equal(places->places[0].nargs, 1);
	if (!places->places[0].args[0].fetch)
		fail_msg("%s: %s", arg, places->places[0].args[0].why);
	assert_string_equal(places->places[0].args[0].fetch, fetch);
	object_dwarf_places_free(places);
}

static void expect_refused(struct opened opened, const char *place, const char *arg, const char *why)
{
	struct object_dwarf_places *places = find(opened, place, arg);

	assert_null(places->places[0].args[0].fetch);
	if (!strstr(places->places[0].args[0].why, why))
		fail_msg("%s: %s, not: %s", arg, places->places[0].args[0].why, why);
	object_dwarf_places_free(places);
}

static void expect_error(struct opened opened, const char *place, const char *arg, int code, const char *text)
{
	struct object_dwarf_places *places = NULL;
	struct utap_error err = { 0 };

	assert_int_equal(object_dwarf_find(opened.dwarf, place, &arg, arg ? 1 : 0, &places, &err), code);
	if (!strstr(err.text, text))
		fail_msg("%s: %s, not: %s", place, err.text, text);
}

static void test_arguments(void **state)
{
	struct opened o = open_file("o2");

	(void)state;
	expect(o, "handle", "size", "%si:s32");
	expect(o, "handle", "what", "+0(%dx):string");
	expect(o, "handle", "what:x64", "%dx:x64");
	expect(o, "handle", "conn", "%di:x64");
	expect(o, "handle", "conn->id", "+0(%di):s32");
	expect(o, "handle", "conn->id:u", "+0(%di):u32");
	expect(o, "handle", "conn->name", "+0(+8(%di)):string");
	expect(o, "handle", "conn->addr.port[2]", "+24(%di):s32");
	expect(o, "handle", "conn->addr.port", "+16(%di):s32[4]");
	expect(o, "handle", "conn->addr.host", "+32(%di):string");
	expect(o, "handle", "conn->flag", "+4(%di):b3@0/32");
	expect(o, "handle", "conn->low", "+4(%di):b5@3/32");
	expect(o, "handle", "conn->next->d", "+56(+48(%di)):x64");
	expect(o, "handle", "conn->c", "+64(%di):u32");
	expect(o, "handle", "n=%di:u32", "%di:u32");
	expect(o, "handle%return", "$retval", "$retval:s32");
	expect_refused(o, "handle", "conn->nothing", "has no member 'nothing'");
	expect_refused(o, "handle", "nobody", "no variable 'nobody'");
	expect_refused(o, "handle", "conn->addr.port[4]", "4 elements");
	expect_refused(o, "handle", "size:u64", "wider than its type");
	expect_refused(o, "handle%return", "size", "not known where a function returns");
	expect_error(o, "handle", "conn->", -EINVAL, "name of a member");
	expect_error(o, "handle", "=size", -EINVAL, "no name");
	expect_error(o, "handle", "size:", -EINVAL, "type is expected");
	close_file(o);
}

static void test_structure(void **state)
{
	static const char *const names[] = { "conn.id",	  "conn.flag", "conn.low", "conn.name", "conn.addr.port", "conn.addr.host",
					     "conn.next", "conn.d",    "conn.c" };
	struct opened o = open_file("o2");
	struct object_dwarf_places *places = find(o, "handle", "*conn");

	(void)state;
	assert_int_equal(places->places[0].nargs, 9);
	for (size_t i = 0; i < 9; i++) {
		assert_string_equal(places->places[0].args[i].name, names[i]);
		assert_non_null(places->places[0].args[i].fetch);
	}
	assert_string_equal(places->places[0].args[7].type, "double");
	assert_int_equal(places->places[0].args[7].show, OBJECT_DWARF_FLOAT);
	object_dwarf_places_free(places);
	close_file(o);
}

static void test_places(void **state)
{
	struct opened o = open_file("o2");
	struct object_dwarf_places *places = find(o, "twice", NULL);

	(void)state;
	assert_int_equal(places->count, 2);
	for (size_t i = 0; i < 2; i++) {
		assert_true(places->places[i].inlined);
		assert_string_equal(places->places[i].function, "twice");
	}
	object_dwarf_places_free(places);
	places = find(o, "twice:3", NULL);
	assert_true(places->count >= 1);
	assert_int_equal(places->places[0].line, 9);
	object_dwarf_places_free(places);
	places = find(o, "prog.c:17", NULL);
	assert_int_equal(places->count, 1);
	assert_string_equal(places->places[0].function, "handle");
	object_dwarf_places_free(places);
	places = find(o, "handle@prog.c;puts(*)", NULL);
	assert_int_equal(places->count, 1);
	assert_int_equal(places->places[0].line, 17);
	object_dwarf_places_free(places);
	expect_error(o, "nothing", NULL, -ENOENT, "nothing");
	expect_error(o, "prog.c:2", NULL, -ENOENT, "the next one that has is");
	expect_error(o, "handle:x", NULL, -EINVAL, "number of a line");
	expect_error(o, "twice%return", NULL, -ENOENT, "only inlined");
	expect_error(o, "handle+100000", NULL, -ENOENT, "outside of the function");
	expect_error(o, "handle@other.c", NULL, -ENOENT, "other.c");
	close_file(o);
}

static void test_prologue(void **state)
{
	struct opened o = open_file("o0");
	struct object_dwarf_places *places = find(o, "handle", "size");
	char at_entry[32];

	(void)state;
	assert_true(places->skipped_prologue);
	assert_true(places->places[0].vaddr > places->places[0].entry);
	assert_non_null(places->places[0].args[0].fetch);
	snprintf(at_entry, sizeof(at_entry), "0x%llx", (unsigned long long)places->places[0].entry);
	object_dwarf_places_free(places);
	expect_refused(o, at_entry, "size", "not stored yet");
	close_file(o);
}

static void test_lines(void **state)
{
	struct opened o = open_file("o0");
	struct object_dwarf_lines *lines;
	struct utap_error err = { 0 };

	(void)state;
	assert_int_equal(object_dwarf_lines(o.dwarf, "handle", &lines, &err), 0);
	assert_int_equal(lines->base, 12);
	assert_int_equal(lines->first, 12);
	assert_int_equal(lines->last, 19);
	assert_true(lines->has_code[2] && lines->has_code[5] && !lines->has_code[0] + lines->has_code[1]);
	object_dwarf_lines_free(lines);
	assert_int_equal(object_dwarf_lines(o.dwarf, "prog.c:1-8", &lines, &err), 0);
	assert_false(lines->has_code[0]);
	assert_int_equal(lines->last, 8);
	object_dwarf_lines_free(lines);
	assert_int_equal(object_dwarf_lines(o.dwarf, "prog.c:8-2", &lines, &err), -EINVAL);
	close_file(o);
}

/* The same answers, however it is stored. */
static void same_answers(const char *name)
{
	struct opened o = open_file(name);
	struct object_dwarf_places *places;

	expect(o, "handle", "conn->addr.port[2]", "+24(%di):s32");
	expect(o, "handle", "what", "+0(%dx):string");
	places = find(o, "twice", NULL);
	assert_int_equal(places->count, 2);
	object_dwarf_places_free(places);
	places = find(o, "prog.c:16", "total");
	assert_non_null(places->places[0].args[0].fetch);
	object_dwarf_places_free(places);
	close_file(o);
}

static void test_storage(void **state)
{
	static const char *const flags[] = { "-gdwarf-4", "-gdwarf-5", "-gdwarf-4 -gz=zlib", "-gdwarf-5 -gz=zlib-gnu",
					     "-gdwarf-4 -fdebug-types-section", "-gdwarf-5 -fdebug-types-section",
					     "-gdwarf-4 -gsplit-dwarf", "-gdwarf-5 -gsplit-dwarf" };

	(void)state;
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		assert_int_equal(run("gcc -O2 %s prog.c -o stored", flags[i]), 0);
		same_answers("stored");
	}
	/* Link-time optimisation: code and declarations in different units. */
	assert_int_equal(run("gcc -O2 -g -flto prog.c -o stored"), 0);
	struct opened o = open_file("stored");
	struct object_dwarf_places *places = find(o, "twice", "v");

	assert_true(places->count >= 1 && places->places[0].inlined);
	object_dwarf_places_free(places);
	object_dwarf_places_free(find(o, "handle", "size"));
	close_file(o);
}

static void test_separate(void **state)
{
	(void)state;
	assert_int_equal(run("gcc -O2 -g prog.c -o whole && objcopy --only-keep-debug whole whole.debug && "
			     "strip -g -o lean whole && objcopy --add-gnu-debuglink=whole.debug lean"), 0);
	same_answers("lean");
	if (!has("dwp"))
		print_message("no dwp here: packages are not tested\n");
	else if (run("gcc -O2 -g -gsplit-dwarf prog.c -o packed && dwp -e packed > /dev/null 2>&1 && rm -f *.dwo") == 0)
		same_answers("packed");
	else if (run("gcc -O2 -gdwarf-4 -gsplit-dwarf prog.c -o packed && dwp -e packed && rm -f *.dwo") == 0)
		same_answers("packed"); /* binutils 2.40's does not know DWARF 5 */
	else
		print_message("dwp fails: packages are not tested\n");
	if (!has("dwz"))
		print_message("no dwz here: what it shares is not tested\n");
	else if (run("gcc -O2 -g -DA prog.c -o one && gcc -O2 -g -DB prog.c -o two && dwz -m shared one two") == 0)
		same_answers("one");
}

static void test_none(void **state)
{
	struct utap_error err = { 0 };
	struct object_dwarf *dwarf;
	struct object *object;
	char path[256];

	(void)state;
	assert_int_equal(run("gcc -O2 prog.c -s -o bare"), 0);
	snprintf(path, sizeof(path), "%s/bare", folder);
	assert_int_equal(object_open(path, &object, &err), 0);
	assert_int_equal(object_dwarf_open(object, &dwarf, &err), -ENOENT);
	assert_non_null(strstr(err.text, "-g"));
	object_close(object);
}

static int prepare(void **state)
{
	char path[256];

	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/prog.c", folder);
	FILE *file = fopen(path, "we");

	if (!file)
		return -1;
	fputs(program, file);
	if (fclose(file))
		return -1;
	return run("gcc -g -O2 prog.c -o o2 && gcc -g -O0 prog.c -o o0");
}

static int clean(void **state)
{
	(void)state;
	return run("rm -f * && rmdir %s", folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arguments), cmocka_unit_test(test_structure), cmocka_unit_test(test_places),
		cmocka_unit_test(test_prologue),  cmocka_unit_test(test_lines),	    cmocka_unit_test(test_storage),
		cmocka_unit_test(test_separate),  cmocka_unit_test(test_none),
	};

	return cmocka_run_group_tests(tests, prepare, clean);
}
