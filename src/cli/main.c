/* SPDX-License-Identifier: MIT */
/* utap: finds the command, parses its options, runs it, and turns what happened into an exit code. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static void log_line(void *arg, enum base_log_level level, const char *text)
{
	const struct cli *cli = arg;

	switch (level) {
	case BASE_LOG_WARN:
		if (cli->options.quiet)
			return;
		break;
	case BASE_LOG_INFO:
		if (cli->options.verbose < 1)
			return;
		break;
	case BASE_LOG_DEBUG:
		if (cli->options.verbose < 2)
			return;
		break;
	}
	fprintf(stderr, "utap: %s\n", text);
}

static void release(struct cli *cli)
{
	base_log_set(NULL, NULL);
	cli_drop_output(cli);
	session_destroy(cli->session);
	cli_comms_destroy(cli->comms);
	free(cli->seen);
	cli_options_free(&cli->options);
}

/* The result of --help and --version: a full disk must not look like success. */
static int printed(void)
{
	if (fflush(stdout) == 0)
		return 0;
	perror("utap: cannot write to standard output");
	return UTAP_ERROR_SYSTEM;
}

static int run_command(const struct cli_command *command, int argc, char **argv)
{
	struct cli cli = { .command = command, .out = stdout };
	struct utap_error err = { 0 };
	int code;

	if (cli_options_parse(command, argc, argv, &cli.options, &err)) {
		code = cli_fail(&cli, &err);
	} else if (cli.options.help) {
		cli_command_help(stdout, command);
		code = printed();
	} else if (cli_comms_create(&cli.comms)) {
		base_error(&err, -1, UTAP_ERROR_SYSTEM, "no memory");
		code = cli_fail(&cli, &err);
	} else {
		base_log_set(log_line, &cli);
		code = command->run(&cli);
	}
	release(&cli);
	return cli.stopped_early ? 0 : code;
}

static int unknown_command(const char *name)
{
	const char *nearest = cli_command_nearest(name);

	if (name[0] == '-')
		fprintf(stderr, "utap: a command is expected before '%s'; see utap --help\n", name);
	else if (nearest)
		fprintf(stderr, "utap: there is no command '%s'; did you mean '%s'? see utap --help\n", name, nearest);
	else
		fprintf(stderr, "utap: there is no command '%s'; see utap --help\n", name);
	return UTAP_ERROR_USAGE;
}

static int help(int argc, char **argv)
{
	if (argc > 1) {
		const struct cli_command *command = cli_command_find(argv[1]);

		if (!command)
			return unknown_command(argv[1]);
		cli_command_help(stdout, command);
	} else {
		cli_usage(stdout);
	}
	return printed();
}

static bool is_one_of(const char *word, const char *a, const char *b, const char *c)
{
	return strcmp(word, a) == 0 || strcmp(word, b) == 0 || strcmp(word, c) == 0;
}

int main(int argc, char **argv)
{
	const struct cli_command *command;

	cli_signals_files();
	if (argc < 2) {
		cli_usage(stderr);
		return UTAP_ERROR_USAGE;
	}
	if (is_one_of(argv[1], "help", "--help", "-h"))
		return help(argc - 1, argv + 1);
	if (is_one_of(argv[1], "version", "--version", "-V")) {
		cli_version(stdout);
		return printed();
	}
	command = cli_command_find(argv[1]);
	if (!command)
		return unknown_command(argv[1]);
	return run_command(command, argc - 1, argv + 1);
}
