/* SPDX-License-Identifier: MIT */
/* Sessions: made from the options, attached to the targets, detached with a word about what was found. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/snapshot.h"

#define MANY_PLACES 64 /* of one file are added together */

static void prefix(const struct cli_text *text, struct utap_error *err, bool is_syntax)
{
	struct utap_error old = *err;

	if (text->file)
		base_error(err, old.code, old.kind, "%.200s:%u: %.290s", text->file, text->line, old.text);
	else if (is_syntax)
		base_error(err, old.code, old.kind, "'%.200s': %.290s", text->text, old.text);
}

static bool is_trigger(const struct cli *cli, const struct cli_text *text, const struct probe_spec *spec)
{
	return cli->options.snapshot_on && cli_snapshot_is_trigger(cli->options.snapshot_on, text->text, spec);
}

static bool is_trigger_source(const struct cli *cli, const struct cli_text *text, const struct probe_source *source)
{
	return cli->options.snapshot_on && cli_snapshot_is_trigger_source(cli->options.snapshot_on, text->text, source);
}

/* The text is wrong at @column. */
static int wrong(struct cli *cli, const struct cli_text *text, size_t column, int error, struct utap_error *err)
{
	cli->wrong = error == -EINVAL ? text->text : NULL;
	cli->wrong_column = column;
	prefix(text, err, true);
	return error;
}

/* A place that debug information, or a file's static probes, tell. 1: it was added; 0: it is none. */
static int add_source(struct cli *cli, const struct cli_text *text, struct utap_error *err)
{
	const struct cli_options *options = &cli->options;
	const struct session_search search = { .pids = options->pids, .npids = options->npids,
					       .program = options->nargs ? options->args[0] : NULL };
	struct probe_source source;
	size_t column = 1;
	int error = probe_source_parse(text->text, &source, &column, err);

	if (error <= 0)
		return error ? wrong(cli, text, column, error, err) : 0;
	error = session_add_source(cli->session, &source, &search, is_trigger_source(cli, text, &source), err);
	probe_source_free(&source);
	if (error)
		prefix(text, err, true);
	return error ? error : 1;
}

int cli_session_add(struct cli *cli, const struct cli_text *text, struct utap_error *err)
{
	_cleanup_free_ struct probe_spec *spec = calloc(1, sizeof(*spec));
	size_t column = 1;
	int error = add_source(cli, text, err);

	if (error)
		return error < 0 ? error : 0;
	if (!spec)
		return base_error(err, -ENOMEM, UTAP_ERROR_SYSTEM, "no memory for a probe");
	error = probe_parse(text->text, spec, &column, err);
	if (error)
		return wrong(cli, text, column, error, err);
	if (cli->options.all_instructions && spec->kind == PROBE_PLACE && !spec->by_offset && !spec->offset)
		spec->kind = PROBE_EACH;
	if (is_trigger(cli, text, spec))
		error = session_add_trigger(cli->session, spec, err);
	else
		error = session_add(cli->session, spec, err);
	if (error)
		prefix(text, err, false);
	return error;
}

/* A place of a file and nothing else. */
static bool is_bare_place(const struct probe_spec *spec)
{
	return spec->kind == PROBE_PLACE && spec->by_offset && !spec->reference && !spec->nargs && !*spec->event;
}

/*
 * Very many places of one file, as programs write them, are one probe with a list of offsets: a probe of its own takes some KiB. Returns
 * how many of the probes from @from on these are, with @spec for all of them; 0 when they are too few.
 */
static size_t collect_places(const struct cli_options *options, size_t from, struct probe_spec *spec, uint64_t **offsets)
{
	_cleanup_free_ struct probe_spec *next = calloc(1, sizeof(*next));
	size_t count = 0;
	size_t cap = 0;

	if (!next || options->snapshot_on || !options->probes[from].file || probe_parse(options->probes[from].text, spec, NULL, NULL) ||
	    !is_bare_place(spec))
		return 0;
	for (size_t i = from; i < options->nprobes && options->probes[i].file; i++) {
		if (probe_parse(options->probes[i].text, next, NULL, NULL) || !is_bare_place(next) || strcmp(next->path, spec->path) ||
		    strcmp(next->group, spec->group) || base_grow(offsets, &cap, count + 1, sizeof(**offsets)))
			break;
		(*offsets)[count++] = next->offset;
	}
	return count >= MANY_PLACES ? count : 0;
}

/* The probe at @at, or many from there on; *at is moved behind them. */
static int add_next(struct cli *cli, size_t *at, struct utap_error *err)
{
	_cleanup_free_ struct probe_spec *spec = calloc(1, sizeof(*spec));
	_cleanup_free_ uint64_t *offsets = NULL;
	size_t count = spec ? collect_places(&cli->options, *at, spec, &offsets) : 0;
	const struct cli_text *text = &cli->options.probes[*at];
	int error;

	if (!count)
		return cli_session_add(cli, &cli->options.probes[(*at)++], err);
	error = session_add_places(cli->session, spec, offsets, count, err);
	if (error)
		prefix(text, err, false);
	*at += count;
	return error;
}

/* Does --snapshot-on mean the probe with this text? What is wrong with it is said when it is added. */
static bool names_trigger(const struct cli *cli, const struct cli_text *text, struct probe_spec *spec)
{
	struct probe_source source;
	int kind = probe_source_parse(text->text, &source, NULL, NULL);
	bool is_meant;

	if (kind <= 0)
		return !kind && !probe_parse(text->text, spec, NULL, NULL) && is_trigger(cli, text, spec);
	is_meant = is_trigger_source(cli, text, &source);
	probe_source_free(&source);
	return is_meant;
}

/* --snapshot-on names one of the probes, or is one of its own: then the first, so that no other has its place. */
static int add_own_trigger(struct cli *cli, struct utap_error *err)
{
	_cleanup_free_ struct probe_spec *spec = calloc(1, sizeof(*spec));
	const struct cli_options *options = &cli->options;

	if (!spec)
		return base_error(err, -ENOMEM, UTAP_ERROR_SYSTEM, "no memory for a probe");
	for (size_t i = 0; i < options->nprobes; i++)
		if (names_trigger(cli, &options->probes[i], spec))
			return 0;
	return cli_session_add(cli, &(struct cli_text) { .text = options->snapshot_on }, err);
}

int cli_session_open(struct cli *cli, enum probe_action action, struct utap_error *err)
{
	const struct cli_options *options = &cli->options;
	struct session_options session = {
		.action = action,
		.ring_size = options->ring,
		.allow_no_frame = options->allow_no_frame,
		.allow_trap = options->allow_trap,
		.debugger_safe = options->debugger_safe,
		.pairs = options->durations || options->graph || options->latency,
		.stack = options->stack,
		.stack_most = options->stack_most,
		.overwrite = options->overwrite,
		.every = options->every,
		.rate = options->rate,
		.follow = options->follow,
		.note = cli_session_note,
		.note_arg = cli,
		.mapped = cli_session_mapped,
		.mapped_arg = cli,
		.progress = cli_progress,
		.progress_arg = cli,
		.refused = cli_refused,
		.refused_arg = cli,
	};
	int error = session_create(&session, &cli->session, err);

	if (!error && options->snapshot_on)
		error = add_own_trigger(cli, err);
	for (size_t i = 0; !error && i < options->nprobes;)
		error = add_next(cli, &i, err);
	return error;
}

void cli_session_note(void *arg, const char *text) { cli_note(arg, "%s", text); }

void cli_session_mapped(void *arg, uint32_t source)
{
	struct cli *cli = arg;

	if (cli->mapped)
		cli->mapped(cli, source);
}

/* ---- attach ---- */

static void note_attached(struct cli *cli, pid_t pid, long places)
{
	const struct session_target *targets;
	size_t count = session_targets(cli->session, &targets);

	if (!cli->options.verbose)
		return;
	for (size_t i = 0; i < count; i++) {
		const struct session_target *t = &targets[i];

		if (t->pid == pid)
			cli_note(cli,
				 "pid %d: %ld place%s probed in %.1f ms, one thread stopped for %.1f ms of it; %" PRIu64
				 " KiB added, and %" PRIu64 " KiB of rings",
				 (int)pid, places, places == 1 ? "" : "s", (double)t->attach_ns / 1e6,
				 (double)t->stopped_ns / 1e6, t->memory / 1024, t->ring / 1024);
	}
}

static int spawn(struct cli *cli, struct utap_error *err)
{
	long places = session_spawn(cli->session, cli->options.args, &cli->child, err);

	if (places < 0) {
		cli->child = 0;
		return (int)places;
	}
	note_attached(cli, cli->child, places);
	return 0;
}

static int attach_pids(struct cli *cli, struct utap_error *err)
{
	for (size_t i = 0; i < cli->options.npids && !cli_signal(); i++) {
		pid_t pid = cli->options.pids[i];
		long places = session_attach(cli->session, pid, err);

		if (places < 0)
			return (int)places;
		note_attached(cli, pid, places);
	}
	return 0;
}

int cli_session_attach(struct cli *cli, struct utap_error *err)
{
	struct session_report report = { 0 };
	struct utap_error undo;
	int error;

	cli->stopped_early = cli_signal() != 0;
	if (cli->stopped_early)
		return base_error(err, -EINTR, UTAP_ERROR_SYSTEM, "stopped by a signal before anything was probed");
	cli_attach_begins(cli);
	error = cli->options.npids ? attach_pids(cli, err) : spawn(cli, err);
	cli_attach_ended(cli);
	if (error && session_detach(cli->session, &report, &undo))
		cli_fail(cli, &undo);
	return error;
}

/* ---- detach ---- */

static void note_report(struct cli *cli, const struct session_report *report)
{
	if (cli->options.verbose)
		cli_note(cli,
			 "%zu place%s restored in %.1f ms, a thread stopped for at most %.1f ms of it; %" PRIu64
			 " bytes of text compared with the files%s",
			 report->sites, report->sites == 1 ? "" : "s", (double)report->detach_ns / 1e6,
			 (double)report->stopped_ns / 1e6, report->text_checked, report->text_foreign ? "" : ": equal");
	if (report->kept)
		cli_note(
		    cli,
		    "%zu place%s changed by somebody else meanwhile, and left as %s: the jump there passes through",
		    report->kept, report->kept == 1 ? " was" : "s were", report->kept == 1 ? "it is" : "they are");
	if (report->text_foreign)
		cli_note(cli, "%" PRIu64 " bytes of text differ from the files; none of them was changed by utap",
			 report->text_foreign);
	if (report->memory_kept && cli->options.verbose)
		cli_note(cli,
			 "%" PRIu64 " KiB stay mapped in the target: a thread may still be on its way through them",
			 report->memory_kept / 1024);
}

int cli_session_detach(struct cli *cli)
{
	struct session_report report = { 0 };
	struct utap_error err = { 0 };

	if (session_detach(cli->session, &report, &err))
		return cli_fail(cli, &err);
	note_report(cli, &report);
	return 0;
}
