/* SPDX-License-Identifier: MIT */
/*
 * utap top: what is hit most, now. A table of the last interval, drawn anew each time: on a terminal in place (ncurses), else one table after the other.
 * Without --latency only counters are read. With it calls are put together from their records, and the quantiles are those of the calls that
 * ended in the interval.
 */
#include <errno.h>
#include <inttypes.h>
#include <ncurses.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/calls.h"
#include "format/format.h"
#include "trace/histogram.h"

#define INTERVAL_NS 1000000000ULL
#define LOOK_MS 50 /* keys are answered so soon */
#define LINE_SIZE 512

enum sort_by { BY_RATE, BY_HITS, BY_P50, BY_P99, BY_TIME, BY_LOST, BY_NAME, BY_KEYS };

static const struct sort_key {
	const char *name;
	char letter;
	bool latency; /* only where calls are measured */
} sort_keys[BY_KEYS] = {
	[BY_RATE] = { "rate", 'r', false }, [BY_HITS] = { "hits", 'h', false }, [BY_P50] = { "p50", '5', true },
	[BY_P99] = { "p99", '9', true },    [BY_TIME] = { "time", 't', true },  [BY_LOST] = { "lost", 'l', false },
	[BY_NAME] = { "name", 'n', false },
};

/* Of a probe; with --latency of a function: the probe of its returns. */
struct top_row {
	uint64_t hits, before; /* in all, and at the start of the interval */
	uint64_t lost;
	struct trace_histogram *histogram; /* of the interval; NULL: no call yet */
};

struct top {
	struct cli *cli;
	struct trace_frames *frames; /* NULL: only counters */
	struct top_row *rows;        /* by id */
	size_t nrows, rows_cap;
	uint32_t *order; /* ids shown, sorted */
	size_t norder, order_cap;
	enum sort_by key;
	bool reversed;
	bool on_screen;
	bool stopped; /* the terminal is the shell's again: nothing is drawn any more */
	bool quiet; /* as the user wants it */
	uint64_t drawn_ns; /* when the interval began */
	double elapsed;    /* seconds of the interval that is shown */
};

/* ---- counting ---- */

static int grow_rows(struct top *top, size_t count)
{
	size_t before = top->nrows;

	if (count <= before)
		return 0;
	if (base_grow(&top->rows, &top->rows_cap, count, sizeof(*top->rows)) ||
	    base_grow(&top->order, &top->order_cap, count, sizeof(*top->order)))
		return -ENOMEM;
	memset(&top->rows[before], 0, (count - before) * sizeof(*top->rows));
	top->nrows = count;
	return 0;
}

static int on_call(void *arg, const struct trace_call *call)
{
	struct top *top = arg;
	struct top_row *row;

	if (grow_rows(top, (size_t)call->id + 1))
		return -ENOMEM;
	row = &top->rows[call->id];
	if (call->ending != TRACE_RETURNED && call->ending != TRACE_TAILED)
		return 0;
	if (!row->histogram)
		row->histogram = calloc(1, sizeof(*row->histogram));
	if (!row->histogram)
		return -ENOMEM;
	row->hits++;
	trace_histogram_add(row->histogram, call->end_ns - call->start_ns);
	return 0;
}

static int on_record(void *arg, const struct trace_record *record)
{
	struct cli *cli = arg;
	struct top *top = cli->consumer;
	const struct trace_probe *probes;
	int error = 0;

	session_probes(cli->session, &probes);
	if (probes[record->id].kind != TRACE_PLACE)
		error = trace_frames_add(top->frames, &probes[record->id], record);
	return error ? error : cli_taken(cli);
}

/* One line a probe; of calls one a function, with what both of its probes lost. */
static int read_counts(struct top *top)
{
	const struct trace_probe *probes;
	uint32_t count = session_probes(top->cli->session, &probes);

	if (grow_rows(top, count))
		return -ENOMEM;
	top->norder = 0;
	for (uint32_t id = 0; id < count; id++) {
		struct session_counts counts = { 0 };
		struct session_counts entry = { 0 };

		if (top->frames && probes[id].kind != TRACE_RETURN)
			continue;
		session_count(top->cli->session, id, &counts);
		if (top->frames)
			session_count(top->cli->session, id - 1, &entry);
		else
			top->rows[id].hits = counts.hits;
		top->rows[id].lost = counts.lost + entry.lost;
		top->order[top->norder++] = id;
	}
	return 0;
}

/* ---- sorting ---- */

static double value_of(const struct top *top, uint32_t id)
{
	const struct top_row *row = &top->rows[id];

	switch (top->key) {
	case BY_RATE:
		return (double)(row->hits - row->before);
	case BY_HITS:
		return (double)row->hits;
	case BY_P50:
		return row->histogram ? (double)trace_histogram_quantile(row->histogram, 0.5) : 0;
	case BY_P99:
		return row->histogram ? (double)trace_histogram_quantile(row->histogram, 0.99) : 0;
	case BY_TIME:
		return row->histogram ? (double)row->histogram->sum : 0;
	case BY_LOST:
		return (double)row->lost;
	case BY_NAME:
	case BY_KEYS:
		break;
	}
	return 0;
}

static int compare(const void *left, const void *right, void *arg)
{
	const uint32_t *a = left, *b = right;
	const struct top *top = arg;
	const struct trace_probe *probes;
	double x = value_of(top, *a), y = value_of(top, *b);
	int order = x > y ? -1 : x < y;

	session_probes(top->cli->session, &probes);
	if (top->key == BY_NAME)
		order = strcmp(probes[*a].event, probes[*b].event);
	if (top->reversed)
		order = -order;
	return order ? order : *a < *b ? -1 : *a > *b;
}

static int take_sort(struct top *top, struct utap_error *err)
{
	const char *name = top->cli->options.sort;

	for (enum sort_by key = 0; name && key < BY_KEYS; key++)
		if (!strcmp(name, sort_keys[key].name) && (top->frames || !sort_keys[key].latency)) {
			top->key = key;
			return 0;
		}
	if (name)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "--sort '%s': rate, hits, lost, name, and with --latency p50, p99 or time", name);
	top->key = top->frames ? BY_TIME : BY_RATE;
	return 0;
}

/* ---- drawing ---- */

static void put_ns(char *line, size_t size, size_t *used, const struct trace_histogram *h, uint64_t ns)
{
	char text[32] = "-";

	if (h && h->count)
		format_duration(ns, text, sizeof(text));
	*used += (size_t)snprintf(line + *used, size - *used, " %11s", text);
}

static void format_row(const struct top *top, uint32_t id, char line[static LINE_SIZE])
{
	const struct top_row *row = &top->rows[id];
	const struct trace_histogram *h = row->histogram;
	const struct trace_probe *probes;
	size_t used;

	session_probes(top->cli->session, &probes);
	used = (size_t)snprintf(line, LINE_SIZE, "%12.0f %14" PRIu64 " %10" PRIu64, (double)(row->hits - row->before) / top->elapsed, row->hits,
				row->lost);
	if (top->frames) {
		put_ns(line, LINE_SIZE, &used, h, h ? trace_histogram_quantile(h, 0.5) : 0);
		put_ns(line, LINE_SIZE, &used, h, h ? trace_histogram_quantile(h, 0.99) : 0);
		put_ns(line, LINE_SIZE, &used, h, h ? h->most : 0);
		used += (size_t)snprintf(line + used, LINE_SIZE - used, " %6.1f%%", h ? (double)h->sum / 1e7 / top->elapsed : 0.0);
	}
	snprintf(line + used, LINE_SIZE - used, "  %.64s:%.64s  %.200s", probes[id].group, probes[id].event,
		 *probes[id].symbol ? probes[id].symbol : probes[id].path);
}

static void format_head(const struct top *top, char line[static LINE_SIZE])
{
	size_t used = (size_t)snprintf(line, LINE_SIZE, "%12s %14s %10s", top->frames ? "CALLS/S" : "HITS/S", top->frames ? "CALLS" : "HITS", "LOST");

	if (top->frames)
		used += (size_t)snprintf(line + used, LINE_SIZE - used, " %11s %11s %11s %7s", "P50", "P99", "MAX", "TIME");
	snprintf(line + used, LINE_SIZE - used, "  EVENT  FUNCTION");
}

static void draw_screen(const struct top *top)
{
	char line[LINE_SIZE];

	erase();
	snprintf(line, sizeof(line), "utap top  %zu %s, by %s%s   q quits; sort by r rate, h hits, l lost, n name%s; the same again reverses", top->norder,
		 top->frames ? "functions" : "probes", sort_keys[top->key].name, top->reversed ? ", least first" : "",
		 top->frames ? ", 5 p50, 9 p99, t time" : "");
	mvaddnstr(0, 0, line, COLS);
	format_head(top, line);
	attron(A_REVERSE);
	mvaddnstr(1, 0, line, COLS);
	attroff(A_REVERSE);
	for (size_t i = 0; i < top->norder && (int)i + 2 < LINES; i++) {
		format_row(top, top->order[i], line);
		mvaddnstr((int)i + 2, 0, line, COLS);
	}
	refresh();
}

static int print_table(const struct top *top)
{
	FILE *out = top->cli->out;
	char line[LINE_SIZE];

	format_head(top, line);
	fprintf(out, "%s\n", line);
	for (size_t i = 0; i < top->norder; i++) {
		format_row(top, top->order[i], line);
		fprintf(out, "%s\n", line);
	}
	fputc('\n', out);
	errno = 0;
	if (!fflush(out) && !ferror(out))
		return 0;
	return errno ? -errno : -EIO;
}

static int draw(struct top *top)
{
	qsort_r(top->order, top->norder, sizeof(*top->order), compare, top);
	if (!top->on_screen)
		return print_table(top);
	draw_screen(top);
	return 0;
}

/* The next interval begins. */
static void begin_interval(struct top *top, uint64_t now)
{
	top->drawn_ns = now;
	for (size_t i = 0; i < top->nrows; i++) {
		top->rows[i].before = top->rows[i].hits;
		if (top->rows[i].histogram)
			memset(top->rows[i].histogram, 0, sizeof(*top->rows[i].histogram));
	}
}

static bool take_key(struct top *top, int c)
{
	for (enum sort_by key = 0; key < BY_KEYS; key++)
		if (c == sort_keys[key].letter && (top->frames || !sort_keys[key].latency)) {
			top->reversed = key == top->key && !top->reversed;
			top->key = key;
			return true;
		}
	if (c == 'q')
		top->cli->stop = CLI_STOP_SIGNAL;
	return c == KEY_RESIZE;
}

static int end_interval(struct top *top, uint64_t now)
{
	int error;

	top->elapsed = now > top->drawn_ns ? (double)(now - top->drawn_ns) / 1e9 : 1e-9;
	error = read_counts(top);
	if (!error)
		error = draw(top);
	begin_interval(top, now);
	return error;
}

static int on_idle(struct cli *cli)
{
	struct top *top = cli->consumer;
	uint64_t now = base_now_ns();
	uint64_t interval = cli->options.interval_ns ? cli->options.interval_ns : INTERVAL_NS;
	bool due = now - top->drawn_ns >= interval;
	int c;

	if (top->on_screen && top->stopped)
		return 0;
	while (top->on_screen && (c = getch()) != ERR) /* also when each look is due */
		if (take_key(top, c) && !due && top->elapsed > 0) {
			qsort_r(top->order, top->norder, sizeof(*top->order), compare, top);
			draw_screen(top);
		}
	return due ? end_interval(top, now) : 0;
}

/* ---- the command ---- */

static int on_start(struct cli *cli, struct utap_error *err)
{
	struct top *top = cli->consumer;

	top->drawn_ns = base_now_ns();
	if (!isatty(STDOUT_FILENO) || cli->options.output)
		return 0;
	if (!newterm(NULL, stdout, stdin))
		return base_error(err, -EINVAL, UTAP_ERROR_SYSTEM, "the terminal is of no known kind; utap top | cat needs none");
	cbreak();
	noecho();
	curs_set(0);
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	top->on_screen = true;
	cli->options.quiet = true; /* notes would stand in the table */
	return 0;
}

/* What is said from now on is read. */
static void on_stop(struct cli *cli)
{
	struct top *top = cli->consumer;

	top->stopped = true;
	if (top->on_screen)
		endwin();
	cli->options.quiet = top->quiet;
}

static void top_free(struct top *top)
{
	for (size_t i = 0; i < top->nrows; i++)
		free(top->rows[i].histogram);
	free(top->rows);
	free(top->order);
	trace_frames_destroy(top->frames);
}

int cli_top(struct cli *cli)
{
	bool calls = cli->options.latency;
	const struct cli_consumer consumer = { .start = on_start, .record = calls ? on_record : NULL, .idle = on_idle, .stop = on_stop, .wait_ms = LOOK_MS };
	struct top top = { .cli = cli, .quiet = cli->options.quiet };
	struct utap_error err = { 0 };
	int code;

	cli->consumer = &top;
	if (calls && cli_calls_create(on_call, &top, &top.frames)) {
		base_error_system(&err, -ENOMEM, "cannot follow calls");
		return cli_fail(cli, &err);
	}
	if (take_sort(&top, &err) || cli_run_check(cli, &err) || cli_hold_output(cli, &err)) {
		top_free(&top);
		return cli_fail(cli, &err);
	}
	code = cli_run(cli, calls ? PROBE_RECORD : PROBE_COUNT, &consumer);
	if (!code && !top.on_screen && cli->stop != CLI_STOP_OUTPUT) { /* the rest of the last one */
		int error = end_interval(&top, cli->ended_ns);

		if (error)
			cli_output_failed(cli, error);
	}
	top_free(&top);
	if (cli->stop == CLI_STOP_OUTPUT)
		return code ? code : cli_explain_output(cli, "the table");
	return code ? code : cli_close_output(cli);
}
