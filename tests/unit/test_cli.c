/* SPDX-License-Identifier: MIT */
/* The options of the command line: nothing here needs a process or a session. */
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

#include "cli/cli.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct cli_command trace = { .name = "trace", .takes = "eFpodnqvJCRNh", .takes_program = true };
static const struct cli_command list = { .name = "list", .takes = "poqvJh" };
static const struct cli_command script = { .name = "script", .takes = "ionqvJCh" };
static const struct cli_command probe = { .name = "probe", .takes = "XpqvNh" };

/* Cuts @line at blanks and parses it; words must live as long as the result. */
static int parse(const struct cli_command *command, char *line, struct cli_options *options, struct utap_error *err)
{
	static char *argv[32];
	int argc = 0;

	for (char *word = strtok(line, " "); word; word = strtok(NULL, " "))
		argv[argc++] = word;
	argv[argc] = NULL;
	memset(err, 0, sizeof(*err));
	return cli_options_parse(command, argc, argv, options, err);
}

static void test_values(void **state)
{
	char line[] = "trace -e malloc -e free --event=read -p 1,22 -p 333 -p 22 -d 1.5 -n 10 -o out --json --ring 4M "
		      "--force-no-frame -q -vv --color=never";
	struct cli_options o;
	struct utap_error err;

	assert_int_equal(parse(&trace, line, &o, &err), 0);
	assert_int_equal(o.nprobes, 3);
	assert_string_equal(o.probes[0].text, "malloc");
	assert_string_equal(o.probes[2].text, "read");
	assert_null(o.probes[0].file);
	assert_int_equal(o.npids, 3); /* a pid twice is one target */
	assert_int_equal(o.pids[0], 1);
	assert_int_equal(o.pids[1], 22);
	assert_int_equal(o.pids[2], 333);
	assert_int_equal(o.duration_ns, 1500000000);
	assert_int_equal(o.events, 10);
	assert_string_equal(o.output, "out");
	assert_int_equal(o.ring, 4 << 20);
	assert_true(o.json && o.allow_no_frame && o.quiet);
	assert_int_equal(o.verbose, 2);
	assert_int_equal(o.color, CLI_COLOR_NEVER);
	assert_int_equal(o.nargs, 0);
	cli_options_free(&o);
}

/* What follows the program's name is the program's. */
static void test_program(void **state)
{
	char with[] = "trace -e x -- ls -l -p 5";
	char without[] = "trace -e x ls -l -e y";
	struct cli_options o;
	struct utap_error err;

	assert_int_equal(parse(&trace, with, &o, &err), 0);
	assert_int_equal(o.nargs, 4);
	assert_string_equal(o.args[0], "ls");
	assert_string_equal(o.args[3], "5");
	assert_null(o.args[4]);
	assert_int_equal(o.npids, 0);
	cli_options_free(&o);
	assert_int_equal(parse(&trace, without, &o, &err), 0);
	assert_int_equal(o.nprobes, 1);
	assert_int_equal(o.nargs, 4);
	cli_options_free(&o);
}

/* A command that starts none takes options anywhere. */
static void test_mixed(void **state)
{
	char line[] = "list /bin/x mem* --json -o out";
	struct cli_options o;
	struct utap_error err;

	assert_int_equal(parse(&list, line, &o, &err), 0);
	assert_int_equal(o.nargs, 2);
	assert_string_equal(o.args[0], "/bin/x");
	assert_true(o.json);
	assert_string_equal(o.output, "out");
	cli_options_free(&o);
}

static void test_refused(void **state)
{
	static const struct {
		const struct cli_command *command;
		const char *line;
		const char *part; /* of the message */
	} cases[] = {
		{ &trace, "trace -x", "trace takes no option '-x'" },
		{ &trace, "trace --jsno", "did you mean '--json'" },
		{ &trace, "trace --banana", "takes no option '--banana'; see utap trace --help" },
		{ &trace, "trace --json=1", "'--json' with a value" },
		{ &trace, "trace -i x", "takes no option '-i'" },
		{ &trace, "trace --explain x", "takes no option '--explain'" },
		{ &script, "script -e x", "takes no option '-e'" },
		{ &probe, "probe --json", "takes no option '--json'" },
		{ &trace, "trace -e", "-e needs a value" },
		{ &trace, "trace --ring", "--ring needs a value" },
		{ &trace, "trace -p x", "'x' is not a process id" },
		{ &trace, "trace -p 1,", "'' is not a process id" },
		{ &trace, "trace -p 0", "'0' is not a process id" },
		{ &trace, "trace -p -5", "'-5' is not a process id" },
		{ &trace, "trace -p 2147483648", "is not a process id" },
		{ &trace, "trace -p 99999999999999999999", "is not a process id" },
		{ &trace, "trace -d 0", "-d 0: a number of seconds" },
		{ &trace, "trace -d -1", "-d -1:" },
		{ &trace, "trace -d 1s", "-d 1s:" },
		{ &trace, "trace -d nan", "-d nan:" },
		{ &trace, "trace -n 0", "-n 0: a number above 0" },
		{ &trace, "trace -n 1e3", "-n 1e3:" },
		{ &trace, "trace --ring 4X", "--ring 4X: a size" },
		{ &trace, "trace --ring 0", "--ring 0: a size" },
		{ &trace, "trace --ring 99999999G", "--ring 99999999G: a size" },
		{ &trace, "trace --color=red", "--color red: auto, always or never" },
		{ &trace, "trace -F /nonexistent/file", "-F /nonexistent/file: there is no such file" },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct cli_options o = { .nargs = 77 };
		struct utap_error err;
		char line[128];

		snprintf(line, sizeof(line), "%s", cases[i].line);
		assert_true(parse(cases[i].command, line, &o, &err) < 0);
		assert_int_equal(o.nargs, 77);
		if (!strstr(err.text, cases[i].part))
			fail_msg("'%s': \"%s\", want \"%s\"", cases[i].line, err.text, cases[i].part);
		if (err.kind != UTAP_ERROR_USAGE)
			assert_int_equal(err.kind, UTAP_ERROR_NOT_FOUND);
	}
}

static void test_file(void **state)
{
	static const char content[] = "# comment\n\n  malloc size=%di\n\t# another\nfree\r\n   \nlibc:read";
	char path[] = "/tmp/utap-test-XXXXXX";
	int fd = mkstemp(path);
	char line[128];
	struct cli_options o;
	struct utap_error err;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, strlen(content)), strlen(content));
	close(fd);
	snprintf(line, sizeof(line), "trace -e first -F %s -e last", path);
	assert_int_equal(parse(&trace, line, &o, &err), 0);
	assert_int_equal(o.nprobes, 5);
	assert_string_equal(o.probes[1].text, "malloc size=%di");
	assert_string_equal(o.probes[1].file, path);
	assert_int_equal(o.probes[1].line, 3);
	assert_int_equal(strncmp(o.probes[2].text, "free", 4), 0);
	assert_int_equal(o.probes[2].line, 5);
	assert_string_equal(o.probes[3].text, "libc:read");
	assert_int_equal(o.probes[3].line, 7);
	assert_string_equal(o.probes[4].text, "last");
	cli_options_free(&o);
	unlink(path);
}

static void test_sizes(void **state)
{
	uint64_t value = 0;

	assert_int_equal(cli_parse_size("65536", &value), 0);
	assert_int_equal(value, 65536);
	assert_int_equal(cli_parse_size("64K", &value), 0);
	assert_int_equal(value, 65536);
	assert_int_equal(cli_parse_size("3g", &value), 0);
	assert_int_equal(value, 3ULL << 30);
	assert_int_equal(cli_parse_size("17179869184G", &value), -EINVAL); /* 2^64 */
	assert_int_equal(cli_parse_size("K", &value), -EINVAL);
	assert_int_equal(cli_parse_size("", &value), -EINVAL);
	assert_int_equal(cli_parse_size("1KK", &value), -EINVAL);
	assert_int_equal(cli_parse_size(" 1K", &value), -EINVAL);
	assert_int_equal(value, 3ULL << 30);
	assert_int_equal(cli_parse_count("18446744073709551615", &value), 0);
	assert_true(value == UINT64_MAX);
	assert_int_equal(cli_parse_count("18446744073709551616", &value), -EINVAL);
	assert_int_equal(cli_parse_count("+1", &value), -EINVAL);
	assert_int_equal(cli_parse_seconds("0.25", &value), 0);
	assert_int_equal(value, 250000000);
	assert_int_equal(cli_parse_seconds("0x10", &value), -EINVAL);
	assert_int_equal(cli_parse_seconds("1e300", &value), -EINVAL);
	assert_int_equal(cli_parse_seconds("0.0000000001", &value), -EINVAL);
}

static void test_help(void **state)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	cli_options_help(out, "eJC");
	fclose(out);
	assert_non_null(strstr(text, "-e, --event PROBE "));
	assert_non_null(strstr(text, "    --json "));
	assert_non_null(strstr(text, "    --color[=WHEN] "));
	assert_null(strstr(text, "--pid"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),  cmocka_unit_test(test_program), cmocka_unit_test(test_mixed),
		cmocka_unit_test(test_refused), cmocka_unit_test(test_file),    cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_help),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
