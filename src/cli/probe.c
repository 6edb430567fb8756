/* SPDX-License-Identifier: MIT */
/*
 * utap probe: what can be probed by the names of the source, as perf probe shows it - lines (-L), variables (-V), functions (-F), definitions for the
 * kernel's uprobe_events (-D). It reads files only; --explain, which needs a process, is in explain.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "format/format.h"
#include "object/dwarf.h"

#define ARGS_MAX 128 /* of a probe */
#define EVENT_MAX 64 /* the longest name of an event in uprobe_events, its end included */

/* The file of -x, or the program that a process runs. */
static int file_path(const struct cli *cli, char *path, size_t size, struct utap_error *err)
{
	const struct cli_options *options = &cli->options;
	char link[64];

	if (options->exec) {
		if (!realpath(options->exec, path))
			return base_error(err, -errno, UTAP_ERROR_NOT_FOUND, "cannot open %s: %s", options->exec, strerror(errno));
		return 0;
	}
	if (options->npids != 1)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "a file is expected (-x FILE), or one process (-p PID); see utap probe --help");
	snprintf(link, sizeof(link), "/proc/%d/exe", (int)options->pids[0]);
	ssize_t length = readlink(link, path, size - 1);

	if (length < 0)
		return base_error(err, -errno, errno == EACCES || errno == EPERM ? UTAP_ERROR_PERMISSION : UTAP_ERROR_NOT_FOUND,
				  "cannot see which program process %d runs: %s", (int)options->pids[0], strerror(errno));
	path[length] = '\0';
	if (access(path, R_OK) != 0) /* deleted, or in another mount namespace */
		snprintf(path, size, "%s", link);
	return 0;
}

/* ---- -F ---- */

static int by_name(const void *left, const void *right)
{
	return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static int functions_print(struct cli *cli, struct object *object, const char *glob, struct utap_error *err)
{
	const struct object_symbol **found = NULL;
	long count = object_find(object, glob, true, &found, err);

	if (count < 0)
		return (int)count;
	_cleanup_free_ char **names = calloc((size_t)count + 1, sizeof(*names));
	size_t used = 0;

	for (long i = 0; i < count && names; i++) {
		names[used] = object_demangle(found[i]->name);
		used += names[used] != NULL;
	}
	free(found);
	if (!names)
		return base_error_system(err, -ENOMEM, "the list of functions");
	qsort(names, used, sizeof(*names), by_name);
	for (size_t i = 0; i < used; i++) {
		if (!i || strcmp(names[i], names[i - 1]) != 0)
			fprintf(cli->out, "%s\n", names[i]);
	}
	for (size_t i = 0; i < used; i++)
		free(names[i]);
	return used ? 0 : base_error(err, -ENOENT, UTAP_ERROR_NOT_FOUND, "no function matches '%s'", glob);
}

/* ---- -L ---- */

static void lines_print(struct cli *cli, const struct object_dwarf_lines *lines, const char *text)
{
	unsigned number = 1;

	if (lines->function)
		fprintf(cli->out, "<%s@%s:%u>\n", lines->function, lines->source, lines->first - lines->base);
	else
		fprintf(cli->out, "<%s:%u>\n", lines->source, lines->first);
	for (const char *at = text; *at && number <= lines->last; number++) {
		size_t length = strcspn(at, "\n");

		if (number >= lines->first && lines->has_code[number - lines->first])
			fprintf(cli->out, "%7u  %.*s\n", number - lines->base, (int)length, at);
		else if (number >= lines->first)
			fprintf(cli->out, "         %.*s\n", (int)length, at);
		at += length + (at[length] == '\n');
	}
	fputc('\n', cli->out);
}

static int lines_show(struct cli *cli, struct object_dwarf *dwarf, struct utap_error *err)
{
	_cleanup_free_ char *text = NULL;
	struct object_dwarf_lines *lines;
	size_t size;
	int r = object_dwarf_lines(dwarf, cli->options.lines, &lines, err);

	if (r)
		return r;
	r = object_dwarf_source(lines->source, &text, &size, err);
	if (!r)
		lines_print(cli, lines, text);
	object_dwarf_lines_free(lines);
	return r;
}

/* ---- JSON: places with all arguments, refused ones included ---- */

static void json_text(FILE *out, const char *key, const char *text)
{
	fprintf(out, "\"%s\":", key);
	if (text)
		format_json_string(out, text);
	else
		fputs("null", out);
}

static void json_place(FILE *out, const struct object_dwarf_place *place)
{
	fprintf(out, "{\"address\":%" PRIu64 ",\"offset\":%" PRIu64 ",", place->vaddr, place->offset);
	json_text(out, "function", place->function);
	fputc(',', out);
	json_text(out, "source", place->source);
	fprintf(out, ",\"line\":%u,\"inlined\":%s,\"args\":[", place->line, place->inlined ? "true" : "false");
	for (size_t i = 0; i < place->nargs; i++) {
		const struct object_dwarf_arg *arg = &place->args[i];

		fputs(i ? ",{" : "{", out);
		json_text(out, "name", arg->name);
		fputc(',', out);
		json_text(out, "type", arg->type);
		fputc(',', out);
		json_text(out, "fetch", arg->fetch);
		fputc(',', out);
		json_text(out, "why", arg->why);
		fprintf(out, ",\"bits\":%u,\"signed\":%s}", arg->bits, arg->is_signed ? "true" : "false");
	}
	fputs("]}", out);
}

static void json_places(FILE *out, const struct object_dwarf_places *places)
{
	fputc('[', out);
	for (size_t i = 0; i < places->count; i++) {
		fputs(i ? ",\n" : "", out);
		json_place(out, &places->places[i]);
	}
	fputs("]\n", out);
}

/* ---- -V ---- */

static void place_print(struct cli *cli, const struct object_dwarf_place *place)
{
	fprintf(cli->out, "\t@<%s+%" PRIu64 ">", place->function, place->vaddr - place->entry);
	if (place->inlined)
		fputs("\tinlined", cli->out);
	if (place->line && cli->options.verbose)
		fprintf(cli->out, "\t%s:%u", place->source, place->line);
	fputc('\n', cli->out);
	for (size_t i = 0; i < place->nargs; i++) {
		const struct object_dwarf_arg *arg = &place->args[i];

		fprintf(cli->out, "\t\t%s\t%s", arg->type ? arg->type : "?", arg->name);
		if (arg->fetch && cli->options.verbose)
			fprintf(cli->out, "\t%s", arg->fetch);
		else if (arg->why && (cli->options.verbose || strncmp(arg->why, "optimized out", 13) == 0))
			fprintf(cli->out, "\t(%s)", arg->why);
		fputc('\n', cli->out);
	}
	if (!place->nargs)
		fputs("\t\t(No matched variables)\n", cli->out);
}

static int variables_show(struct cli *cli, struct object_dwarf *dwarf, struct utap_error *err)
{
	const struct cli_options *options = &cli->options;
	struct object_dwarf_places *places;
	int r = object_dwarf_variables(dwarf, options->vars, options->externs, options->no_inlines, &places, err);

	if (r)
		return r;
	if (options->json) {
		json_places(cli->out, places);
	} else {
		fprintf(cli->out, "Available variables at %s\n", options->vars);
		for (size_t i = 0; i < places->count; i++)
			place_print(cli, &places->places[i]);
	}
	object_dwarf_places_free(places);
	return 0;
}

/* ---- -D ---- */

static void definition_print(struct cli *cli, const char *path, const struct object_dwarf_place *place, size_t number)
{
	const char *slash = strrchr(path, '/');
	char group[EVENT_MAX];
	char event[EVENT_MAX - 8];

	probe_event_name(slash ? slash + 1 : path, 0, group, sizeof(group) - 6);
	probe_event_name(*place->function ? place->function : "place", 0, event, sizeof(event));
	fprintf(cli->out, "%c:probe_%s/%s%s", place->is_return ? 'r' : 'p', group, event, place->is_return ? "__return" : "");
	if (number)
		fprintf(cli->out, "_%zu", number);
	fprintf(cli->out, " %s:0x%" PRIx64, path, place->offset);
	for (size_t i = 0; i < place->nargs; i++) {
		char name[256];

		if (!place->args[i].fetch || place->args[i].in_vector)
			continue;
		probe_event_name(place->args[i].name, 0, name, sizeof(name));
		fprintf(cli->out, " %s=%s", name, place->args[i].fetch);
	}
	fputc('\n', cli->out);
}

/* A variable that was asked for by its name must be there; of $vars those that are not are left out, with a note. */
static int refusals(struct cli *cli, const struct object_dwarf_place *place, char **args, struct utap_error *err)
{
	for (size_t i = 0; i < place->nargs; i++) {
		const struct object_dwarf_arg *arg = &place->args[i];

		if (arg->in_vector)
			cli_note(cli, "%s: '%s' left out: it is in a vector register, which the kernel's fetch arguments do not have", place->function,
				 arg->name);
		if (arg->fetch)
			continue;
		if (args[arg->from][0] == '$' || strchr(arg->name, '.')) {
			cli_note(cli, "%s: '%s' left out: %s", place->function, arg->name, arg->why);
			continue;
		}
		return base_error(err, -ENOENT, UTAP_ERROR_REFUSED, "%s at %s+0x%" PRIx64 ": %.300s", arg->name, place->function,
				  place->vaddr - place->entry, arg->why);
	}
	return 0;
}

static int definitions_print(struct cli *cli, const char *path, struct object_dwarf_places *places, char **args,
			     struct utap_error *err)
{
	struct utap_error first = { 0 };
	size_t shown = 0;

	for (size_t i = 0; i < places->count; i++) {
		struct utap_error why = { 0 };

		/* Of several copies, those will do in which the variables are known. */
		if (refusals(cli, &places->places[i], args, &why)) {
			if (!first.code)
				first = why;
			if (places->count > 1)
				cli_note(cli, "one of %zu places left out: %s", places->count, why.text);
			continue;
		}
		definition_print(cli, path, &places->places[i], shown);
		shown++;
	}
	if (shown)
		return 0;
	*err = first;
	return first.code;
}

/* "func a b" in one word, and what follows as arguments of the command. */
static int definition_split(struct cli *cli, char *text, char **args, size_t *count, struct utap_error *err)
{
	char *save = NULL;

	*count = 0;
	strtok_r(text, " \t", &save);
	for (char *word = strtok_r(NULL, " \t", &save); word; word = strtok_r(NULL, " \t", &save)) {
		if (*count == ARGS_MAX)
			return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "a probe records at most %d arguments", ARGS_MAX);
		args[(*count)++] = word;
	}
	for (size_t i = 0; i < cli->options.nargs; i++) {
		if (*count == ARGS_MAX)
			return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "a probe records at most %d arguments", ARGS_MAX);
		args[(*count)++] = cli->options.args[i];
	}
	return 0;
}

static int definitions_show(struct cli *cli, const char *path, struct object_dwarf *dwarf, struct utap_error *err)
{
	_cleanup_free_ char *text = strdup(cli->options.definition);
	struct object_dwarf_places *places;
	char *args[ARGS_MAX];
	size_t count;

	if (!text)
		return base_error_system(err, -ENOMEM, "-D");
	int r = definition_split(cli, text, args, &count, err);

	if (!r)
		r = object_dwarf_find(dwarf, text, (const char *const *)args, count, &places, err);
	if (r)
		return r;
	if (places->skipped_prologue)
		cli_note(cli, "it is built without optimisation: the places lie behind the function's prologue, where its variables are stored");
	if (cli->options.json)
		json_places(cli->out, places);
	else
		r = definitions_print(cli, path, places, args, err);
	object_dwarf_places_free(places);
	return r;
}

/* ---- all ---- */

static int check(const struct cli *cli, struct utap_error *err)
{
	const struct cli_options *options = &cli->options;
	int wanted = (options->lines != NULL) + (options->vars != NULL) + (options->definition != NULL) + options->functions;
	size_t takes = options->definition ? SIZE_MAX : options->functions ? 1 : 0;

	if (wanted != 1)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "%s; see utap probe --help",
				  wanted ? "only one of --line, --vars, --funcs, --definition can be asked for" :
					   "one of --line, --vars, --funcs, --definition, or --explain PROBE is missing");
	if (options->nargs > takes)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "'%s' is too much; see utap probe --help", options->args[takes]);
	return 0;
}

static int show(struct cli *cli, struct utap_error *err)
{
	const struct cli_options *options = &cli->options;
	struct object *object = NULL;
	struct object_dwarf *dwarf = NULL;
	char path[PATH_MAX];
	int r = file_path(cli, path, sizeof(path), err);

	if (!r)
		r = object_open(path, &object, err);
	if (!r && options->functions)
		r = functions_print(cli, object, options->nargs ? options->args[0] : "*", err);
	else if (!r && !(r = object_dwarf_open(object, &dwarf, err)))
		r = options->lines ? lines_show(cli, dwarf, err) :
		    options->vars  ? variables_show(cli, dwarf, err) :
				     definitions_show(cli, path, dwarf, err);
	object_dwarf_close(dwarf);
	object_close(object);
	return r;
}

int cli_probe(struct cli *cli)
{
	struct utap_error err = { 0 };

	if (cli->options.explain)
		return cli_explain(cli);
	if (check(cli, &err) || (cli->options.exec && cli_check_output(cli, cli->options.exec, &err)) ||
	    cli_open_output(cli, &err))
		return cli_fail(cli, &err);
	if (show(cli, &err)) {
		int code = cli_fail(cli, &err);

		cli_close_output(cli);
		return code;
	}
	return cli_close_output(cli);
}
