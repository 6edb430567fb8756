/* SPDX-License-Identifier: MIT */
/* What is said to people on stderr, and the file that results go to. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

#define OUTPUT_BUFFER 65536 /* of files and pipes */

#define PROGRESS_AFTER_NS 500000000ULL
#define PROGRESS_EVERY_NS 100000000ULL
#define REFUSED_SHOWN 5

/* A progress line that stands there is wiped before anything else is said. */
static void wipe_progress(struct cli *cli)
{
	if (cli->progress_ns)
		fputs("\r\033[K", stderr);
	cli->progress_ns = 0;
}

/* The text, and a caret below the byte at @column; each character takes one place. */
static void show_wrong(const char *text, size_t column)
{
	size_t places = 0;

	fputs("  ", stderr);
	for (size_t i = 0; text[i] && text[i] != '\n'; i++) {
		bool continues = (text[i] & 0xc0) == 0x80;

		fputc((unsigned char)text[i] < 0x20 || text[i] == 0x7f ? ' ' : text[i], stderr);
		places += i + 1 < column && !continues;
	}
	fprintf(stderr, "\n  %*s^\n", (int)places, "");
}

int cli_fail(struct cli *cli, const struct utap_error *err)
{
	wipe_progress(cli);
	fprintf(stderr, "utap: %s\n", err->text[0] ? err->text : "it failed, and nobody said why");
	if (cli->wrong)
		show_wrong(cli->wrong, cli->wrong_column);
	cli->wrong = NULL;
	return err->kind == UTAP_ERROR_NONE ? UTAP_ERROR_SYSTEM : (int)err->kind;
}

void cli_note(struct cli *cli, const char *format, ...)
{
	va_list ap;

	if (cli->options.quiet)
		return;
	wipe_progress(cli);
	fputs("utap: ", stderr);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
}

void cli_progress(void *arg, const char *what, size_t done, size_t total)
{
	struct cli *cli = arg;
	uint64_t now = base_now_ns();

	if (cli->options.quiet || now < cli->attach_ns + PROGRESS_AFTER_NS ||
	    now < cli->progress_ns + PROGRESS_EVERY_NS)
		return;
	if (!isatty(STDERR_FILENO))
		return;
	cli->progress_ns = now;
	if (total)
		fprintf(stderr, "\rutap: %s %zu of %zu\033[K", what, done, total);
	else
		fprintf(stderr, "\rutap: %s\033[K", what);
}

void cli_refused(void *arg, const char *place, const char *why)
{
	struct cli *cli = arg;

	cli->refused++;
	if (cli->options.verbose || cli->refused <= REFUSED_SHOWN)
		cli_note(cli, "not probed: %s: %s", place, why);
}

void cli_attach_begins(struct cli *cli)
{
	cli->attach_ns = base_now_ns();
	cli->refused = 0;
}

void cli_attach_ended(struct cli *cli)
{
	wipe_progress(cli);
	if (!cli->options.verbose && cli->refused > REFUSED_SHOWN)
		cli_note(cli, "not probed: ... and %llu more (-v lists all)",
			 (unsigned long long)(cli->refused - REFUSED_SHOWN));
	cli->refused = 0;
}

/* ---- the output ---- */

int cli_open_output(struct cli *cli, struct utap_error *err)
{
	const char *path = cli->options.output;

	if (path) {
		FILE *file = fopen(path, "we");

		if (!file)
			return base_error_system(err, -errno, "%s cannot be written", path);
		cli->out = file;
	}
	if (isatty(fileno(cli->out)) != 1)
		setvbuf(cli->out, NULL, _IOFBF, OUTPUT_BUFFER);
	switch (cli->options.color) {
	case CLI_COLOR_AUTO:
		cli->color = isatty(fileno(cli->out)) == 1;
		break;
	case CLI_COLOR_ALWAYS:
		cli->color = true;
		break;
	case CLI_COLOR_NEVER:
		cli->color = false;
		break;
	}
	return 0;
}

int cli_close_output(struct cli *cli)
{
	struct utap_error err;
	bool failed = ferror(cli->out);
	int error = 0;

	errno = 0;
	if (fflush(cli->out) != 0)
		error = errno;
	if (cli->out != stdout && fclose(cli->out) != 0 && !error)
		error = errno;
	cli->out = stdout;
	if ((!failed && !error) || error == EPIPE)
		return 0;
	base_error_system(&err, -(error ? error : EIO), "%s cannot be written",
			  cli->options.output ? cli->options.output : "standard output");
	return cli_fail(cli, &err);
}

const char *cli_layer(enum patch_layer layer)
{
	switch (layer) {
	case PATCH_REFUSED:
		return "-";
	case PATCH_L0:
		return "L0";
	case PATCH_L1:
		return "L1";
	case PATCH_L2:
		return "L2";
	case PATCH_L3:
		return "L3";
	case PATCH_L4:
		return "L4";
	}
	return "?";
}
