/* SPDX-License-Identifier: MIT */
/* What is said to people on stderr, and the file that results go to. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
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

static bool is_same_file(const char *a, const char *b)
{
	struct stat one, two;

	return !stat(a, &one) && !stat(b, &two) && one.st_dev == two.st_dev && one.st_ino == two.st_ino;
}

/* NULL: standard output. */
static const char *output_path(const struct cli *cli)
{
	const char *path = cli->options.output;

	return path && strcmp(path, "-") != 0 ? path : NULL;
}

int cli_check_output(const struct cli *cli, const char *input, struct utap_error *err)
{
	const char *path = output_path(cli);

	if (!path || !is_same_file(input, path))
		return 0;
	return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "-o %s is the file that is read", path);
}

static void decide_color(struct cli *cli)
{
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
}

int cli_hold_output(struct cli *cli, struct utap_error *err)
{
	const char *path = output_path(cli);

	cli->options.output = path; /* also for who names it in a message */
	if (path) {
		_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
		bool is_new = fd >= 0;

		if (!is_new && errno == EEXIST) /* O_CREAT: it may be a link to nothing */
			fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
		FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;

		if (!file)
			return base_error_system(err, -errno, "%s cannot be written", path);
		base_steal_fd(&fd);
		cli->out = file;
		cli->output_waits = true;
		cli->output_is_new = is_new;
	}
	if (isatty(fileno(cli->out)) != 1)
		setvbuf(cli->out, NULL, _IOFBF, OUTPUT_BUFFER);
	decide_color(cli);
	return 0;
}

int cli_begin_output(struct cli *cli, struct utap_error *err)
{
	struct stat st;
	bool waited = cli->output_waits;

	cli->output_waits = false;
	if (!waited || fstat(fileno(cli->out), &st) || !S_ISREG(st.st_mode) || !ftruncate(fileno(cli->out), 0))
		return 0;
	return base_error_system(err, -errno, "%s cannot be written", cli->options.output);
}

int cli_open_output(struct cli *cli, struct utap_error *err)
{
	int error = cli_hold_output(cli, err);

	return error ? error : cli_begin_output(cli, err);
}

void cli_drop_output(struct cli *cli)
{
	if (!cli->output_waits)
		return;
	fclose(cli->out); /* nothing was written */
	cli->out = stdout;
	cli->output_waits = false;
	if (cli->output_is_new)
		unlink(cli->options.output);
}

/* Of a pipe; the write that said so may be long ago. */
static bool reader_is_gone(FILE *out)
{
	struct pollfd pipe = { .fd = fileno(out), .events = POLLOUT };

	return poll(&pipe, 1, 0) == 1 && pipe.revents & POLLERR;
}

int cli_close_output(struct cli *cli)
{
	struct utap_error err;
	bool failed = ferror(cli->out);
	int error = failed && reader_is_gone(cli->out) ? EPIPE : 0;

	errno = 0;
	if (fflush(cli->out) != 0 && !error)
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
