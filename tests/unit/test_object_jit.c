/* SPDX-License-Identifier: MIT */
/* Names of code that no file holds: what a perf-PID.map says, damaged ones included. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "object/jit.h"

#define PID 4194305 /* more than the kernel gives */

struct bed {
	char directory[64], path[128];
	struct object_jit *jit;
};

static void write_map(const struct bed *bed, const char *text)
{
	FILE *out = fopen(bed->path, "w");

	assert_non_null(out);
	fputs(text, out);
	fclose(out);
}

static int set_up(void **state)
{
	struct bed *bed = calloc(1, sizeof(*bed));

	snprintf(bed->directory, sizeof(bed->directory), "/tmp/utap-jit.XXXXXX");
	assert_non_null(mkdtemp(bed->directory));
	snprintf(bed->path, sizeof(bed->path), "%s/perf-%d.map", bed->directory, PID);
	assert_int_equal(object_jit_open(bed->directory, PID, &bed->jit), 0);
	*state = bed;
	return 0;
}

static int tear_down(void **state)
{
	struct bed *bed = *state;

	object_jit_close(bed->jit);
	unlink(bed->path);
	rmdir(bed->directory);
	free(bed);
	return 0;
}

static void check(const struct bed *bed, uint64_t addr, const char *name, uint64_t offset)
{
	uint64_t got = 0;
	const char *found = object_jit_at(bed->jit, addr, &got);

	if (!name) {
		assert_null(found);
		return;
	}
	assert_non_null(found);
	assert_string_equal(found, name);
	assert_int_equal(got, offset);
}

static void test_names(void **state)
{
	const struct bed *bed = *state;

	write_map(bed, "7f0000001000 20 LazyCompile:*add /srv/a b.js:3\n7f0000000ff0 8 first\n7F0000001040 10 last\n");
	check(bed, 0x7f0000000ff0, "first", 0);
	check(bed, 0x7f0000000ff7, "first", 7);
	check(bed, 0x7f0000000ff8, NULL, 0);
	check(bed, 0x7f000000101f, "LazyCompile:*add /srv/a b.js:3", 0x1f);
	check(bed, 0x7f0000001020, NULL, 0);
	check(bed, 0x7f000000104f, "last", 15);
	check(bed, 0x7f0000001050, NULL, 0);
	check(bed, 0, NULL, 0);
	check(bed, UINT64_MAX, NULL, 0);
}

static void test_later_lines_win(void **state)
{
	const struct bed *bed = *state;

	write_map(bed, "1000 1000 big\n1100 100 small\n1180 10 smaller\n1800 100 x\n1000 900 newest\n");
	check(bed, 0x1000, "newest", 0);
	check(bed, 0x1185, "newest", 0x185);
	check(bed, 0x1880, "newest", 0x880);
	check(bed, 0x1900, "big", 0x900);
	check(bed, 0x1fff, "big", 0xfff);
}

static void test_damage(void **state)
{
	const struct bed *bed = *state;

	write_map(bed, "\n \nzz 10 a\n1000\n1000 10\n1000 10 \n-1000 10 b\n1000 -10 c\n0x4000 10 d\n1000 0 e\nffffffffffffffff 2 f\n"
		       "11111111111111111 10 g\n2000 10 good\n3000 10 not finished");
	check(bed, 0x1000, NULL, 0);
	check(bed, UINT64_MAX, NULL, 0);
	check(bed, 0x2001, "good", 1);
	check(bed, 0x3000, NULL, 0);
	check(bed, 0x4000, "d", 0);
}

static void test_grows(void **state)
{
	const struct bed *bed = *state;

	check(bed, 0x1000, NULL, 0); /* there is no file */
	write_map(bed, "1000 10 a\n");
	usleep(600000);
	check(bed, 0x1000, "a", 0);
	write_map(bed, "1000 10 a\n2000 10 b\n");
	check(bed, 0x2000, NULL, 0); /* not looked at again so soon */
	usleep(600000);
	check(bed, 0x2000, "b", 0);
	check(bed, 0x1000, "a", 0);
}

/* Somebody else's file could say anything. */
static void test_owner(void **state)
{
	const struct bed *bed = *state;

	if (geteuid()) {
		print_message("not root: a file of another owner cannot be made\n");
		skip();
	}
	write_map(bed, "1000 10 a\n");
	assert_int_equal(chown(bed->path, 12345, 12345), 0);
	check(bed, 0x1000, NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_names, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_later_lines_win, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_damage, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_grows, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_owner, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
