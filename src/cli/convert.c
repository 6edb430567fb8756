/* SPDX-License-Identifier: MIT */
/*
 * utap convert: a recorded file in another format; and trace and record with --to, which write such a format while the
 * hits come.
 *
 * A damaged file is converted as far as it can be read: the output is complete, and the exit code tells. When the
 * output cannot be written any more it is not completed.
 */
#include "cli/convert.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/symbols.h"
#include "format/convert.h"

#define FLUSH_EVERY_NS 200000000ULL /* live */

struct place {
	pid_t pid;
	uint32_t id;
	utap_addr addr;
};

struct converting {
	struct format_convert *convert;
	struct cli_symbols *symbols;
	uint64_t lost;
	uint64_t flush_ns;
	bool has_directory; /* was made */
	struct place *places; /* of several processes, sorted */
	size_t nplaces, places_cap;
};

/* ---- options ---- */

static int unknown_format(const char *name, struct utap_error *err)
{
	char list[300] = "";
	const char *known;

	for (size_t i = 0; (known = format_convert_name(i, NULL)); i++) {
		size_t used = strlen(list);

		snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "", known);
	}
	if (!name)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "convert to what? give --to FORMAT: %s", list);
	return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "--to %.40s: there is no such format; there are %s", name,
			  list);
}

/* "-" is the standard output, also where it is named. */
static int check_options(struct cli *cli, struct utap_error *err)
{
	const char *to = cli->options.to;
	const char *by = cli->options.by;

	if (cli->options.output && strcmp(cli->options.output, "-") == 0)
		cli->options.output = NULL;
	if (!to || !format_convert_is_known(to))
		return unknown_format(to, err);
	if (by && strcmp(by, "time") != 0 && strcmp(by, "calls") != 0)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "--by %.40s: time or calls is expected", by);
	if (cli->options.flow && strcmp(to, "perfetto") != 0)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "--flow is for --to perfetto, not for --to %.40s", to);
	if (format_convert_is_directory(to) && !cli->options.output)
		return base_error(
		    err, -EINVAL, UTAP_ERROR_USAGE,
		    "--to %s: that is a directory, not a stream; name one that does not exist yet with -o", to);
	return 0;
}

/* Makes the output, which is not emptied before cli_begin_output(). */
static int open_output(struct cli *cli, struct converting *c, struct utap_error *err)
{
	if (!format_convert_is_directory(cli->options.to))
		return cli_hold_output(cli, err);
	if (mkdir(cli->options.output, 0700))
		return base_error_system(err, -errno, "the directory %s cannot be made", cli->options.output);
	c->has_directory = true;
	return 0;
}

/* Nothing was converted: what open_output() made goes. */
static void drop_output(struct cli *cli, const struct converting *c)
{
	cli_drop_output(cli);
	if (c->has_directory)
		rmdir(cli->options.output); /* stays where it is not empty */
}

static int begin(struct cli *cli, struct converting *c, const struct trace_probe *probes, uint32_t nprobes,
		 uint64_t realtime_ns, struct utap_error *err)
{
	struct format_convert_options options = {
		.to = cli->options.to,
		.title = cli->options.input ? cli->options.input : "utap",
		.flow = cli->options.flow,
		.by_count = cli->options.by && strcmp(cli->options.by, "calls") == 0,
		.realtime_ns = realtime_ns,
	};

	int error = cli_symbols_create(cli->session, &c->symbols);

	if (error)
		return base_error_system(err, error, "cannot convert");
	options.symbol = cli_symbols_find;
	options.symbol_arg = c->symbols;
	options.unwind = cli_symbols_unwind;
	options.unwind_arg = c->symbols;
	error = cli_begin_output(cli, err);
	if (error)
		return error;
	if (format_convert_is_directory(options.to))
		options.directory = cli->options.output;
	else
		options.out = cli->out;
	return format_convert_create(&options, probes, nprobes, &c->convert, err);
}

/* Completes the output and closes it. */
static int end(struct cli *cli, struct converting *c)
{
	int error = c->convert ? format_convert_finish(c->convert, cli->stop == CLI_STOP_OUTPUT) : 0;
	int closed;

	c->convert = NULL;
	cli_symbols_destroy(c->symbols);
	free(c->places);
	if (error && cli->stop != CLI_STOP_OUTPUT)
		cli_output_failed(cli, error);
	if (cli->stop != CLI_STOP_OUTPUT)
		return cli_close_output(cli);
	closed = cli_explain_output(cli, cli->options.output ? cli->options.output : "standard output");
	if (cli->out != stdout)
		fclose(cli->out);
	cli->out = stdout;
	return closed;
}

/* ---- from a file ---- */

/* NULL: no calls were recorded. Entries that were probed singly, and files of long ago, do not tell the frame. */
static const char *meaning_of_loss(const struct format_perf_file *file)
{
	const struct trace_probe *probes;
	size_t count = format_perf_probes(file, &probes), returns = 0, entries = 0;

	for (size_t i = 0; i < count; i++) {
		returns += probes[i].kind == TRACE_RETURN;
		entries += probes[i].kind == TRACE_ENTRY && !probes[i].no_frames;
	}
	if (!returns)
		return NULL;
	return returns == entries ? "counts as abandoned once its frame is used again"
				  : "may look as if it had called what follows";
}

void cli_convert_lost(struct cli *cli, const struct format_perf_file *file, const char *format, uint64_t lost)
{
	const char *meaning = meaning_of_loss(file);

	if (lost && meaning && format_convert_has_calls(format))
		cli_note(cli, "%" PRIu64 " records were lost: a call whose return is missing %s", lost, meaning);
}

static int convert_event(struct cli *cli, struct converting *c, const struct format_perf_event *event)
{
	const char *comm = event->comm && cli_comm_known(event->comm) ? event->comm : NULL;
	bool is_return =
	    event->record.flags & WIRE_RECORD_RETURN; /* then event->ip is where it returned to, as perf has it */
	int error = 0;

	switch (event->type) {
	case FORMAT_PERF_SAMPLE:
		error = format_convert_record(c->convert, &event->record, is_return ? 0 : event->ip, comm);
		return error ? cli_output_failed(cli, error) : cli_taken(cli);
	case FORMAT_PERF_LOST:
		c->lost += event->lost;
		error = format_convert_lost(c->convert, event->record.id, event->lost, event->record.time_ns);
		return error ? cli_output_failed(cli, error) : 0;
	case FORMAT_PERF_COMM:
	case FORMAT_PERF_MAP:
	case FORMAT_PERF_FORK:
	case FORMAT_PERF_END:
		break;
	}
	return 0;
}

static int convert_all(struct cli *cli, struct converting *c, struct format_perf_file *file, struct utap_error *err)
{
	struct format_perf_event event;

	while (cli->stop == CLI_RUNNING && !cli_signal()) {
		int error = format_perf_next(file, &event, err);

		if (error || event.type == FORMAT_PERF_END)
			return error;
		if (convert_event(cli, c, &event))
			break;
		error = cli_symbols_event(c->symbols, file, &event);
		if (error)
			return base_error_system(err, error, "cannot remember a mapping");
	}
	return 0;
}

static int convert_file(struct cli *cli, const char *path, struct format_perf_file *file)
{
	struct converting c = { 0 };
	struct utap_error err = { 0 };
	const struct trace_probe *probes;
	size_t nprobes = format_perf_probes(file, &probes);
	int code = 0;
	int ended;

	if (open_output(cli, &c, &err) ||
	    begin(cli, &c, probes, (uint32_t)nprobes, format_perf_realtime(path), &err)) {
		cli_symbols_destroy(c.symbols);
		drop_output(cli, &c);
		return cli_fail(cli, &err);
	}
	cli_signals();
	if (convert_all(cli, &c, file, &err))
		code = cli_fail(cli, &err);
	ended = end(cli, &c);
	if (!ended && (cli->options.verbose || c.lost))
		cli_note(cli, "%" PRIu64 " event%s, %" PRIu64 " lost", cli->events, cli->events == 1 ? "" : "s",
			 c.lost);
	if (!ended)
		cli_convert_lost(cli, file, cli->options.to, c.lost);
	return code ? code : ended;
}

int cli_convert(struct cli *cli)
{
	const char *path = cli->options.input ? cli->options.input : "perf.data";
	struct format_perf_file *file;
	struct utap_error err = { 0 };
	int code;

	if (cli->options.nargs) {
		base_error(&err, -EINVAL, UTAP_ERROR_USAGE, "'%s' is too much; a file is named with -i",
			   cli->options.args[0]);
		return cli_fail(cli, &err);
	}
	if (check_options(cli, &err) || cli_check_output(cli, path, &err) || format_perf_open(path, &file, &err))
		return cli_fail(cli, &err);
	code = convert_file(cli, path, file);
	format_perf_close(file);
	return code;
}

/* ---- live ---- */

static int compare_places(const void *left, const void *right)
{
	const struct place *a = left, *b = right;

	if (a->pid != b->pid)
		return a->pid < b->pid ? -1 : 1;
	return a->id < b->id ? -1 : a->id > b->id;
}

static int learn_places(const struct cli *cli, struct converting *c)
{
	const struct session_site *sites;
	size_t count = session_sites(cli->session, &sites);

	if (count == c->nplaces)
		return 0;
	if (base_grow(&c->places, &c->places_cap, count, sizeof(*c->places)))
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		c->places[i] = (struct place) { .pid = sites[i].pid, .id = sites[i].id, .addr = sites[i].addr };
	qsort(c->places, count, sizeof(*c->places), compare_places);
	c->nplaces = count;
	return 0;
}

/* Where the probe stands in the process of the record; 0: as in the first one. A process forked since has its parent's
 * addresses. */
static uint64_t place_of(const struct cli *cli, const struct converting *c, const struct trace_record *record)
{
	const struct session_target *targets;
	size_t count = session_targets(cli->session, &targets);

	if (count < 2 || record->source >= count || !c->nplaces)
		return 0;
	const struct place key = { .pid = targets[record->source].pid, .id = record->id };
	const struct place *place = bsearch(&key, c->places, c->nplaces, sizeof(key), compare_places);

	return place ? place->addr : 0;
}

static int check_live(const struct cli *cli, struct utap_error *err)
{
	const struct cli_options *options = &cli->options;

	if (options->overwrite || options->snapshot_on)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE,
				  "--to writes hits while they come; what --overwrite recorded is for utap convert");
	if (options->compression)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "-z is for perf.data, not for --to %.40s", options->to);
	if (options->graph || options->json)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "--to %.40s or --%s, not both", options->to,
				  options->graph ? "graph" : "json");
	return cli_run_check(cli, err);
}

static int on_record(void *arg, const struct trace_record *record)
{
	struct cli *cli = arg;
	struct converting *c = cli->consumer;
	const char *comm = cli_comms_get(cli->comms, record->tid, record->time_ns, NULL);
	const struct trace_probe *probes;
	uint32_t nprobes = session_probes(cli->session, &probes);
	int error = format_convert_probes(c->convert, probes, nprobes);

	if (!error)
		error = learn_places(cli, c);
	if (!error)
		error = format_convert_record(c->convert, record, place_of(cli, c, record),
					      cli_comm_known(comm) ? comm : NULL);
	return error ? cli_output_failed(cli, error) : cli_taken(cli);
}

static int on_idle(struct cli *cli)
{
	struct converting *c = cli->consumer;
	uint64_t now = base_now_ns();

	if (now < c->flush_ns)
		return 0;
	c->flush_ns = now + FLUSH_EVERY_NS;
	return format_convert_flush(c->convert);
}

static uint64_t wall_ns(void)
{
	struct timespec time = { 0 };

	clock_gettime(CLOCK_REALTIME, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec - base_now_ns();
}

static int on_start(struct cli *cli, struct utap_error *err)
{
	struct converting *c = cli->consumer;
	const struct trace_probe *probes;
	uint32_t nprobes = session_probes(cli->session, &probes);

	return begin(cli, c, probes, nprobes, wall_ns(), err);
}

static void put_lost(struct cli *cli, struct converting *c)
{
	const struct trace_probe *probes;
	uint32_t nprobes = session_probes(cli->session, &probes);
	int error = format_convert_probes(c->convert, probes, nprobes);

	for (uint32_t id = 0; id < nprobes && !error; id++) {
		struct session_counts counts = { 0 };

		session_count(cli->session, id, &counts);
		error = format_convert_lost(c->convert, id, counts.lost, cli->ended_ns);
	}
	if (error)
		cli_output_failed(cli, error);
}

int cli_convert_live(struct cli *cli)
{
	static const struct cli_consumer consumer = { .start = on_start, .record = on_record, .idle = on_idle };
	struct converting c = { 0 };
	struct utap_error err = { 0 };
	int code;
	int ended;

	cli->consumer = &c;
	if (check_options(cli, &err) || check_live(cli, &err) || open_output(cli, &c, &err))
		return cli_fail(cli, &err);
	code = cli_run(cli, PROBE_RECORD, &consumer);
	if (!c.convert)
		drop_output(cli, &c);
	if (c.convert && cli->stop != CLI_STOP_OUTPUT)
		put_lost(cli, &c);
	ended = end(cli, &c);
	if (!code)
		cli_summary(cli);
	return code ? code : ended;
}
