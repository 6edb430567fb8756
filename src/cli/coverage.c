/* SPDX-License-Identifier: MIT */
/* utap list --coverage: how many places of a file could be probed, by which layer, and why the others could not. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "cli/cli.h"
#include "format/format.h"

/* In the order in which they are tried. */
static const enum patch_layer layers[] = { PATCH_L1, PATCH_L3, PATCH_L4, PATCH_L2 };
#define LAYERS (sizeof(layers) / sizeof(layers[0]))

struct printing {
	struct cli *cli;
	size_t files;
};

static double percent(uint64_t part, uint64_t total) { return total ? 100.0 * (double)part / (double)total : 0; }

static void print_row(FILE *out, const char *name, const struct session_coverage_row *row)
{
	uint64_t sum = 0;

	fprintf(out, "%-13s %10" PRIu64, name, row->total);
	for (size_t i = 0; i < LAYERS; i++) {
		fprintf(out, " %8.2f", percent(row->layers[layers[i]], row->total));
		sum += row->layers[layers[i]];
	}
	fprintf(out, " %8.2f\n", percent(sum, row->total));
}

static void print_text(FILE *out, const struct session_coverage *c, bool first)
{
	fprintf(out, "%s# %s\n%-13s %10s %8s %8s %8s %8s %8s\n", first ? "" : "\n", c->path, "#   % of", "n", "L1", "L3", "L4", "L2", "total");
	print_row(out, "entries", &c->entries);
	print_row(out, "instructions", &c->instructions);
	if (c->sample > 1)
		fprintf(out, "# one of %u instructions was looked at\n", c->sample);
	if (c->nreasons)
		fprintf(out, "# refused: entries, instructions\n");
	for (size_t i = 0; i < c->nreasons; i++)
		fprintf(out, "%13" PRIu64 " %10" PRIu64 "  %s\n", c->reasons[i].entries, c->reasons[i].instructions, c->reasons[i].why);
}

static void print_json_row(FILE *out, const char *name, const struct session_coverage_row *row)
{
	fprintf(out, ",\"%s\":{\"n\":%" PRIu64, name, row->total);
	for (size_t i = 0; i < LAYERS; i++)
		fprintf(out, ",\"%s\":%" PRIu64, cli_layer(layers[i]), row->layers[layers[i]]);
	fprintf(out, ",\"refused\":%" PRIu64 "}", row->layers[PATCH_REFUSED]);
}

static void print_json(FILE *out, const struct session_coverage *c, bool first)
{
	fprintf(out, "%s{\"file\":", first ? "[" : ",\n");
	format_json_string(out, c->path);
	fprintf(out, ",\"sample\":%u", c->sample);
	print_json_row(out, "entries", &c->entries);
	print_json_row(out, "instructions", &c->instructions);
	fputs(",\"refused\":[", out);
	for (size_t i = 0; i < c->nreasons; i++) {
		fprintf(out, "%s{\"entries\":%" PRIu64 ",\"instructions\":%" PRIu64 ",\"why\":", i ? "," : "", c->reasons[i].entries,
			c->reasons[i].instructions);
		format_json_string(out, c->reasons[i].why);
		fputc('}', out);
	}
	fputs("]}", out);
}

static int on_coverage(void *arg, const struct session_coverage *coverage)
{
	struct printing *printing = arg;
	FILE *out = printing->cli->out;

	if (printing->cli->options.json)
		print_json(out, coverage, !printing->files);
	else
		print_text(out, coverage, !printing->files);
	printing->files++;
	if (ferror(out))
		return errno ? -errno : -EIO;
	return cli_signal() ? -EINTR : 0;
}

int cli_coverage(struct cli *cli, pid_t pid, const char *path)
{
	struct printing printing = { .cli = cli };
	struct utap_error err = { 0 };
	int error = session_coverage(pid, path, (unsigned)cli->options.sample, on_coverage, &printing, &err);

	if (error && !ferror(cli->out) && !cli_signal())
		return cli_fail(cli, &err);
	if (cli->options.json)
		fputs(printing.files ? "]\n" : "[]\n", cli->out);
	return 0;
}
