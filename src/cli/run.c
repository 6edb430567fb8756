/* SPDX-License-Identifier: MIT */
/*
 * One run of trace, record or stat. However it ends - a signal, a limit, targets that are gone, output that cannot be
 * written - the probes are taken out before anything else is done, then what is left in the rings is read.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

#define LOOK_EVERY_NS 20000000ULL
#define WAIT_MS 100
#define WAIT_CHILD_MS 10 /* the end of a program we started is noticed by looking */

/* ---- checks before anything is touched ---- */

int cli_run_check(const struct cli *cli, struct utap_error *err)
{
	const struct cli_options *options = &cli->options;
	const char *name = cli->command->name;

	if (options->nprobes == 0)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE,
				  "what is to be probed? give -e PROBE; see utap %s --help", name);
	if (options->npids && options->nargs)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE,
				  "give either -p PID or a program to start ('%s'), not both; "
				  "see utap %s --help",
				  options->args[0], name);
	if (!options->npids && !options->nargs)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE,
				  "who is to be probed? give -p PID, or a program to start "
				  "after --; see utap %s --help",
				  name);
	if (options->stack && (options->durations || options->graph || options->latency))
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE,
				  "--stack is for single hits; with --%s there are none: probe the function, or its %%return, instead",
				  options->durations ? "duration" : options->graph ? "graph" : "latency");
	if (options->every && options->rate)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "--every and --max do not go together: which of them held a hit back would not be known");
	return 0;
}

/* ---- while it runs ---- */

int cli_taken(struct cli *cli)
{
	cli->events++;
	if (!cli->options.events || cli->events < cli->options.events)
		return 0;
	cli->stop = CLI_STOP_EVENTS;
	return -ECANCELED;
}

int cli_output_failed(struct cli *cli, int error)
{
	if (cli->stop != CLI_STOP_OUTPUT)
		cli->failure = error;
	cli->stop = CLI_STOP_OUTPUT;
	return error;
}

/* Hits of probes that only count, for -n. */
static uint64_t count_hits(const struct cli *cli)
{
	const struct trace_probe *probes;
	uint32_t count = session_probes(cli->session, &probes);
	uint64_t hits = 0;

	for (uint32_t id = 0; id < count; id++) {
		struct session_counts counts = { 0 };

		session_count(cli->session, id, &counts);
		hits += counts.hits;
	}
	return hits;
}

static void note_stray_signal(struct cli *cli)
{
	int stray = cli_signal_stray();

	if (stray)
		cli_note(cli, "%s", stray == SIGUSR2 ? "SIGUSR2 does nothing here: it takes a snapshot with record --overwrite" :
						       "SIGUSR1 does nothing here; SIGINT ends it");
}

static void check_limits(struct cli *cli, const struct cli_consumer *consumer)
{
	uint64_t limit = cli->options.duration_ns;

	note_stray_signal(cli);
	if (cli->stop != CLI_RUNNING)
		return;
	if (cli_signal())
		cli->stop = CLI_STOP_SIGNAL;
	else if (limit && base_now_ns() - cli->started_ns >= limit)
		cli->stop = CLI_STOP_TIME;
	else if (!consumer->record && cli->options.events && count_hits(cli) >= cli->options.events)
		cli->stop = CLI_STOP_EVENTS;
}

static void drain(struct cli *cli, const struct cli_consumer *consumer, bool all)
{
	long n = consumer->record ? session_drain(cli->session, all, consumer->record, cli) : 0;

	if (n < 0 && cli->stop != CLI_STOP_EVENTS && cli->stop != CLI_STOP_OUTPUT) {
		cli->stop = CLI_STOP_FAILED;
		cli->failure = (int)n;
	}
	if (consumer->idle && cli->stop != CLI_STOP_OUTPUT) {
		int error = consumer->idle(cli);

		if (error)
			cli_output_failed(cli, error);
	}
}

/* A signal between the check and the sleep costs one sleep, at most WAIT_MS. */
static void sleep_a_while(struct cli *cli, const struct cli_consumer *consumer)
{
	int wait = consumer->wait_ms ? consumer->wait_ms : cli->child ? WAIT_CHILD_MS : WAIT_MS;
	uint64_t limit = cli->options.duration_ns;

	if (limit) {
		uint64_t spent = base_now_ns() - cli->started_ns;
		uint64_t left_ms = spent < limit ? (limit - spent) / 1000000 + 1 : 0;

		wait = left_ms < (uint64_t)wait ? (int)left_ms : wait;
	}
	session_wait(cli->session, wait);
}

static void loop(struct cli *cli, const struct cli_consumer *consumer)
{
	uint64_t looked = 0;

	while (cli->stop == CLI_RUNNING) {
		uint64_t now;

		drain(cli, consumer, false);
		check_limits(cli, consumer);
		now = base_now_ns();
		if (cli->stop == CLI_RUNNING && now - looked >= (cli->child ? LOOK_EVERY_NS / 4 : LOOK_EVERY_NS)) {
			looked = now;
			if (!cli_targets_look(cli))
				cli->stop = CLI_STOP_GONE;
		}
		if (cli->stop == CLI_RUNNING)
			sleep_a_while(cli, consumer);
	}
	cli->ended_ns = base_now_ns();
}

/* ---- the whole ---- */

static int run_attached(struct cli *cli, const struct cli_consumer *consumer)
{
	struct utap_error err = { 0 };
	int code = 0;
	int detached;

	cli->started_ns = base_now_ns();
	if (cli_begin_output(cli, &err) || (consumer->start && consumer->start(cli, &err))) {
		cli->stop = CLI_STOP_FAILED;
		code = cli_fail(cli, &err);
	} else {
		cli->mapped = consumer->mapped;
		loop(cli, consumer);
	}
	if (consumer->stop)
		consumer->stop(cli);
	detached = cli_session_detach(cli);
	if (!code && cli->stop != CLI_STOP_EVENTS && cli->stop != CLI_STOP_OUTPUT && cli->stop != CLI_STOP_FAILED)
		drain(cli, consumer, true);
	if (!code && cli->stop == CLI_STOP_FAILED) {
		base_error_system(&err, cli->failure, "reading the rings failed");
		code = cli_fail(cli, &err);
	}
	cli->mapped = NULL;
	cli_child_end(cli);
	return code ? code : detached;
}

int cli_run(struct cli *cli, enum probe_action action, const struct cli_consumer *consumer)
{
	struct utap_error err = { 0 };

	if (cli_session_open(cli, action, &err))
		return cli_fail(cli, &err);
	cli_signals();
	if (cli->options.follow)
		cli_signals_children();
	if (cli_session_attach(cli, &err)) {
		int code = cli_fail(cli, &err);

		cli_child_end(cli);
		return code;
	}
	return run_attached(cli, consumer);
}

/* ---- afterwards ---- */

static struct session_counts count_all(const struct cli *cli)
{
	const struct trace_probe *probes;
	uint32_t count = session_probes(cli->session, &probes);
	struct session_counts all = { 0 };

	for (uint32_t id = 0; id < count; id++) {
		struct session_counts counts = { 0 };

		session_count(cli->session, id, &counts);
		all.hits += counts.hits;
		all.lost += counts.lost;
		all.held += counts.held;
	}
	return all;
}

uint64_t cli_lost(const struct cli *cli) { return count_all(cli).lost; }

uint64_t cli_held(const struct cli *cli) { return count_all(cli).held; }

/* ", N held back", where there is a limit. */
static const char *held_text(const struct cli *cli, uint64_t held, char text[static 48])
{
	text[0] = '\0';
	if (cli->options.every || cli->options.rate)
		snprintf(text, 48, ", %" PRIu64 " held back", held);
	return text;
}

static void note_probes(struct cli *cli)
{
	const struct trace_probe *probes;
	uint32_t count = session_probes(cli->session, &probes);

	for (uint32_t id = 0; id < count; id++) {
		struct session_counts counts = { 0 };
		char held[48];

		session_count(cli->session, id, &counts);
		cli_note(cli, "%s:%s%s: %" PRIu64 " hit%s, %" PRIu64 " lost%s", probes[id].group, probes[id].event,
			 probes[id].kind == TRACE_ENTRY		    ? ", entries"
			 : id && probes[id - 1].kind == TRACE_ENTRY ? ", returns"
								    : "",
			 counts.hits, counts.hits == 1 ? "" : "s", counts.lost, held_text(cli, counts.held, held));
	}
}

void cli_damage(struct cli *cli)
{
	struct trace_stats stats = { 0 };

	session_stats(cli->session, &stats);
	if (stats.damaged || stats.overrun)
		cli_note(cli,
			 "the target wrote over its ring: %" PRIu64 " bytes made no sense and were skipped, %" PRIu64
			 " were lost",
			 stats.damaged, stats.overrun);
	if (stats.abandoned && cli->options.verbose)
		cli_note(cli, "%" PRIu64 " record%s begun by threads that ended before they finished", stats.abandoned,
			 stats.abandoned == 1 ? " was" : "s were");
}

void cli_summary(struct cli *cli)
{
	uint64_t lost = cli_lost(cli);
	char held[48];

	if (cli->options.quiet)
		return;
	if (cli->options.verbose)
		note_probes(cli);
	cli_damage(cli);
	cli_note(cli, "%" PRIu64 " event%s, %" PRIu64 " lost%s%s", cli->events, cli->events == 1 ? "" : "s", lost,
		 lost ? " (--ring gives them more room)" : "", held_text(cli, cli_held(cli), held));
}

int cli_explain_output(struct cli *cli, const char *what)
{
	struct utap_error err = { 0 };

	if (cli->failure == -EPIPE)
		return 0;
	base_error_system(&err, cli->failure, "%s cannot be written any more", what);
	return cli_fail(cli, &err);
}
