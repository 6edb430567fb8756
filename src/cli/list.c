/* SPDX-License-Identifier: MIT */
/* utap list: what can be probed in a file or a process, and by which layer, or why not. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "format/format.h"

struct listing {
	struct cli *cli;
	uint64_t layers[PATCH_L0 + 1];
	uint64_t total;
	char path[4096]; /* of the last line, to head the lines of each file */
};

static void print_json(struct listing *listing, const struct session_candidate *c)
{
	FILE *out = listing->cli->out;

	fprintf(out, "%s{\"file\":", listing->total ? ",\n" : "[");
	format_json_string(out, c->path);
	fprintf(out, ",\"offset\":%" PRIu64 ",\"layer\":", c->offset);
	if (c->layer == PATCH_REFUSED)
		fputs("null", out);
	else
		format_json_string(out, cli_layer(c->layer));
	fputs(",\"symbol\":", out);
	format_json_string(out, c->symbol);
	if (c->layer == PATCH_REFUSED) {
		fputs(",\"why\":", out);
		format_json_string(out, c->why ? c->why : "");
	}
	fputc('}', out);
}

static void print_row(struct listing *listing, const struct session_candidate *c)
{
	FILE *out = listing->cli->out;

	if (strcmp(listing->path, c->path) != 0) {
		fprintf(out, "%s# %s\n#   OFFSET LAYER SYMBOL\n", listing->total ? "\n" : "", c->path);
		snprintf(listing->path, sizeof(listing->path), "%s", c->path);
	}
	fprintf(out, "%#10" PRIx64 " %-5s %s", c->offset, cli_layer(c->layer), c->symbol);
	if (c->layer == PATCH_REFUSED)
		fprintf(out, "  (%s)", c->why ? c->why : "refused");
	fputc('\n', out);
}

static int on_candidate(void *arg, const struct session_candidate *candidate)
{
	struct listing *listing = arg;

	if (listing->cli->options.json)
		print_json(listing, candidate);
	else
		print_row(listing, candidate);
	listing->total++;
	listing->layers[candidate->layer]++;
	if (ferror(listing->cli->out))
		return errno ? -errno : -EIO;
	return cli_signal() ? -EINTR : 0;
}

static int check(struct cli *cli, const char **path, const char **glob, struct utap_error *err)
{
	const struct cli_options *options = &cli->options;
	size_t files = options->npids ? 0 : 1;

	if (options->npids > 1)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "one process at a time; see utap list --help");
	if (!options->npids && !options->nargs)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE,
				  "what is to be listed? give a file, or -p PID; see utap list "
				  "--help");
	if (options->nargs > files + 1)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "'%s' is too much; see utap list --help",
				  options->args[files + 1]);
	*path = files ? options->args[0] : NULL;
	*glob = options->nargs > files ? options->args[files] : NULL;
	if (options->coverage && *glob)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "--coverage is of whole files: '%s' is too much; see utap list --help",
				  *glob);
	return 0;
}

static void print_sum(const struct listing *listing)
{
	FILE *out = listing->cli->out;

	if (listing->cli->options.json) {
		fputs(listing->total ? "]\n" : "[]\n", out);
		return;
	}
	fprintf(out,
		"\n# %" PRIu64 " function%s: L1 %" PRIu64 ", L3 %" PRIu64 ", L4 %" PRIu64 ", L2 %" PRIu64 ", refused %" PRIu64 "\n",
		listing->total, listing->total == 1 ? "" : "s", listing->layers[PATCH_L1], listing->layers[PATCH_L3],
		listing->layers[PATCH_L4], listing->layers[PATCH_L2], listing->layers[PATCH_REFUSED]);
}

static int list(struct cli *cli, struct listing *listing, const char *path, const char *glob)
{
	pid_t pid = cli->options.npids ? cli->options.pids[0] : 0;
	struct utap_error err = { 0 };
	int error = session_list(pid, path, glob, on_candidate, listing, &err);

	if (error && !ferror(cli->out) && !cli_signal())
		return cli_fail(cli, &err);
	if (!listing->total && !error && glob) {
		base_error(&err, -ENOENT, UTAP_ERROR_NOT_FOUND, "no function matches '%s'", glob);
		return cli_fail(cli, &err);
	}
	print_sum(listing);
	return 0;
}

int cli_list(struct cli *cli)
{
	struct listing listing = { .cli = cli };
	struct utap_error err = { 0 };
	const char *path = NULL;
	const char *glob = NULL;
	int code;

	if (check(cli, &path, &glob, &err) || (path && cli_check_output(cli, path, &err)) || cli_open_output(cli, &err))
		return cli_fail(cli, &err);
	cli_signals();
	code = cli->options.coverage ? cli_coverage(cli, cli->options.npids ? cli->options.pids[0] : 0, path) :
				       list(cli, &listing, path, glob);
	if (code) {
		cli_close_output(cli);
		return code;
	}
	return cli_close_output(cli);
}
