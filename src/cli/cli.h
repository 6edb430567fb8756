/* SPDX-License-Identifier: MIT */
/*
 * The command line: options in, a session driven, text or files out. This room prints, sets signal handlers and decides
 * exit codes; no other does. All its state hangs on struct cli; the only global is the flag that signal handlers set.
 *
 * A command is a row of the table in commands.c. Exit codes are 0 or an enum utap_error_kind.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdio.h>
#include <sys/types.h>

#include "session/session.h"

struct cli;
struct cli_comms;

/* ---- commands ---- */

struct cli_command {
	const char *name;
	const char *usage;           /* what follows "utap NAME " */
	const char *summary;         /* one line */
	const char *details;         /* paragraphs of --help, may be NULL */
	const char *takes;           /* the ids of its options, see options.c */
	bool takes_program;          /* what follows the options is a program and its arguments */
	int (*run)(struct cli *cli); /* returns the exit code */
};

/** cli_command_find() - by name, or NULL */
const struct cli_command *cli_command_find(const char *name);
/** cli_command_nearest() - the name that was perhaps meant, or NULL */
const char *cli_command_nearest(const char *name);
void cli_usage(FILE *out);
void cli_version(FILE *out);
void cli_command_help(FILE *out, const struct cli_command *command);
void cli_exit_codes(FILE *out);

int cli_trace(struct cli *cli);
int cli_record(struct cli *cli);
int cli_script(struct cli *cli);
int cli_report(struct cli *cli);
int cli_convert(struct cli *cli);
int cli_stat(struct cli *cli);
int cli_top(struct cli *cli);
int cli_list(struct cli *cli);
/** cli_coverage() - the other kind of list: of a file, or of all that a process maps */
int cli_coverage(struct cli *cli, pid_t pid, const char *path);
int cli_probe(struct cli *cli);
/** cli_explain() - the kind of probe that needs a process: put one in, show it */
int cli_explain(struct cli *cli);
int cli_detach(struct cli *cli);

/* ---- options ---- */

enum cli_color { CLI_COLOR_AUTO, CLI_COLOR_ALWAYS, CLI_COLOR_NEVER };

/* A probe as a person wrote it: with -e (no file), or in a line of a file given with -F. */
struct cli_text {
	const char *text;
	const char *file;
	unsigned line;
};

/* Strings are the caller's argv, or point into files[]. */
struct cli_options {
	struct cli_text *probes;
	size_t nprobes, probes_cap;
	char **files; /* contents of what -F named, owned */
	size_t nfiles, files_cap;
	pid_t *pids;
	size_t npids, pids_cap;
	const char *output;
	const char *input;
	const char *explain;
	const char *exec, *lines, *vars, *definition; /* of utap probe */
	bool functions, externs, no_inlines;
	const char *snapshot_on;
	const char *to;       /* a format that utap convert knows */
	const char *by;       /* what stacks weigh by */
	const char *flow;     /* the argument that ties hits together */
	const char *sort;     /* key of a table */
	uint64_t duration_ns; /* -d; 0: no limit */
	uint64_t interval_ns; /* 0: the usual one */
	uint64_t events;      /* 0: no limit */
	uint64_t ring;        /* 0: the session's default */
	uint64_t every, rate; /* limits of what is recorded; 0: none */
	enum cli_color color;
	enum wire_stack_kind stack; /* 0: none */
	uint32_t stack_most;
	unsigned compression; /* level of a perf.data; 0: none */
	unsigned verbose;
	bool durations, graph, latency; /* calls, not hits */
	bool all_instructions;
	bool coverage;
	uint64_t sample;      /* --coverage: one of so many instructions; 0: all */
	bool quiet, json, allow_no_frame, allow_trap, debugger_safe, force, follow, help, overwrite;
	char **args; /* what follows the options, NULL-terminated */
	size_t nargs;
};

/**
 * cli_options_parse() - the options of one command
 * @argv: argv[0] is the command's name
 *
 * Return: 0; -EINVAL with a sentence for what is wrong; -ENOMEM; errors of reading a file of -F.
 */
int cli_options_parse(const struct cli_command *command, int argc, char **argv, struct cli_options *ret,
		      struct utap_error *err) BASE_MUST_CHECK;
void cli_options_free(struct cli_options *options);
/** cli_options_help() - the options that @takes names, one or two lines each */
void cli_options_help(FILE *out, const char *takes);

/** Values of options; 0, or -EINVAL for anything but exactly such a value. */
int cli_parse_seconds(const char *text, uint64_t *ns) BASE_MUST_CHECK;
int cli_parse_count(const char *text, uint64_t *ret) BASE_MUST_CHECK;
int cli_parse_rate(const char *text, uint64_t *ret) BASE_MUST_CHECK; /* a second: 1000, 10k, 10k/s */
int cli_parse_size(const char *text, uint64_t *ret) BASE_MUST_CHECK; /* 64K, 4M, 1G */
int cli_parse_pid(const char *text, size_t length, pid_t *ret) BASE_MUST_CHECK;

/* ---- state ---- */

enum cli_stop {
	CLI_RUNNING,
	CLI_STOP_SIGNAL,
	CLI_STOP_TIME,   /* -d */
	CLI_STOP_EVENTS, /* -n */
	CLI_STOP_GONE,   /* no target runs probed code any more */
	CLI_STOP_OUTPUT, /* what is written cannot be written any more; failure says why */
	CLI_STOP_FAILED, /* reading failed; failure says why */
};

struct cli {
	const struct cli_command *command;
	struct cli_options options;
	struct session *session;
	struct cli_comms *comms;
	FILE *out;  /* where results go: stdout, or the file of -o */
	bool color; /* on out */
	bool output_waits;  /* the file of -o still has what it had; nothing may be written before cli_begin_output() */
	bool output_is_new; /* then: there was none */

	pid_t child; /* started by us and not reaped yet; 0: none */
	enum cli_stop stop;
	bool stopped_early;  /* by a signal, before anything was probed: that is no failure */
	int failure;         /* negative errno of OUTPUT and FAILED */
	uint64_t events;     /* records handed on */
	uint64_t started_ns; /* of tracing */
	uint64_t ended_ns;
	enum session_target_state *seen; /* of each target, as last announced */
	size_t nseen, seen_cap;

	const char *wrong; /* a probe's text that could not be parsed, shown below the error; NULL: none */
	size_t wrong_column; /* where, 1-based */

	/* While attaching: the progress line, and refused places. */
	uint64_t attach_ns;
	uint64_t progress_ns; /* of its last change; 0: not shown */
	uint64_t refused;

	void *consumer; /* the command's own state */
	void (*mapped)(struct cli *cli, uint32_t source); /* its, while it is attached; NULL: it has none */
};

/** cli_fail() - print the sentence; returns the exit code of its kind */
int cli_fail(struct cli *cli, const struct utap_error *err);
/** cli_note() - a line for people on stderr, unless -q */
void cli_note(struct cli *cli, const char *format, ...) BASE_PRINTF(2, 3);
/** cli_check_output() - -EINVAL where -o is the file @input, which is read: it would be empty then */
int cli_check_output(const struct cli *cli, const char *input, struct utap_error *err) BASE_MUST_CHECK;
/**
 * cli_open_output() - cli->out becomes the file of -o, emptied, if there is one and it is not "-"; colour is decided
 * Return: 0 or negative errno with a sentence.
 */
int cli_open_output(struct cli *cli, struct utap_error *err) BASE_MUST_CHECK;
/**
 * cli_hold_output() - cli_open_output() for what may still fail: the file keeps its contents until cli_begin_output()
 *
 * What was held and never begun, cli_drop_output() leaves as it was: a file that there was not is gone again.
 */
int cli_hold_output(struct cli *cli, struct utap_error *err) BASE_MUST_CHECK;
/** cli_begin_output() - results come now: an output that was held is emptied; any other is left alone */
int cli_begin_output(struct cli *cli, struct utap_error *err) BASE_MUST_CHECK;
/** cli_drop_output() - no results came; does nothing unless an output is held */
void cli_drop_output(struct cli *cli);
/**
 * cli_close_output() - flush and close; a reader that went away (EPIPE) is no error
 * Return: 0 or the exit code, after a message.
 */
int cli_close_output(struct cli *cli);

/* ---- signals ---- */

/**
 * cli_signals() - from now on SIGINT, SIGTERM, SIGQUIT and SIGHUP only ask to stop, writing to a closed pipe fails with EPIPE, and
 * SIGUSR1, SIGUSR2 and SIGALRM end nothing: the probes would stay in the targets
 */
void cli_signals(void);
/** cli_signals_output() - of a command that may just be ended: from now on writing to a closed pipe fails with EPIPE */
void cli_signals_output(void);
/** cli_signals_files() - from now on a file that would grow beyond RLIMIT_FSIZE fails with EFBIG */
void cli_signals_files(void);
/** cli_signal_stray() - a signal that means nothing here, since the last call, or 0 */
int cli_signal_stray(void);
/** cli_signals_children() - from now on what a followed process does ends a sleep */
void cli_signals_children(void);
/** cli_signal() - the signal that asked to stop, or 0 */
int cli_signal(void);
/** cli_signals_snapshot() - from now on SIGUSR2 asks for a snapshot */
void cli_signals_snapshot(void);
/** cli_signal_snapshot() - was one asked for since the last call? */
bool cli_signal_snapshot(void);

/* ---- a run: what trace, record and stat have in common ---- */

struct cli_consumer {
	int (*start)(struct cli *cli,
		     struct utap_error *err); /* all targets are probed, nothing was read yet; may be NULL */
	trace_record_fn *record;              /* arg is struct cli; NULL: count-only */
	int (*idle)(struct cli *cli);         /* nothing to read for now; 0 or negative errno; may be NULL */
	void (*mapped)(struct cli *cli, uint32_t source); /* as in struct session_options, once start was called; may be NULL */
	void (*stop)(struct cli *cli);        /* it ends; before targets are left and anything is said; may be NULL */
	int wait_ms;                          /* the longest sleep between two of them; 0: as long as is usual */
};

/** cli_run_check() - do the options say what to probe, and whom? To be asked before any file is written */
int cli_run_check(const struct cli *cli, struct utap_error *err) BASE_MUST_CHECK;
/**
 * cli_run() - attach or start the targets, read until something ends it, detach, read the rest
 *
 * cli->session stays for counts; cli->stop says what ended it.
 * Return: 0 or the exit code, after a message.
 */
int cli_run(struct cli *cli, enum probe_action action, const struct cli_consumer *consumer);
/** cli_taken() - count one record that was handed on; returns what a trace_record_fn has to (-ECANCELED after the last
 * of -n) */
int cli_taken(struct cli *cli);
/** cli_output_failed() - end the run because of @error; returns it for a trace_record_fn to return */
int cli_output_failed(struct cli *cli, int error);
/** cli_summary() - "N events, M lost", and with -v each probe */
void cli_summary(struct cli *cli);
/** cli_damage() - say what a target did to its rings, if it did */
void cli_damage(struct cli *cli);
/** cli_lost() - records lost, of all probes; cli_held() - hits that a limit held back */
uint64_t cli_lost(const struct cli *cli);
uint64_t cli_held(const struct cli *cli);
/** cli_explain_output() - after CLI_STOP_OUTPUT: the message and the exit code */
int cli_explain_output(struct cli *cli, const char *what);

/* ---- opening sessions ---- */

/** cli_session_open() - a session with all probes of the options; cli->session */
int cli_session_open(struct cli *cli, enum probe_action action, struct utap_error *err) BASE_MUST_CHECK;
/** cli_session_add() - parse one probe and add it; messages name its file and line */
int cli_session_add(struct cli *cli, const struct cli_text *text, struct utap_error *err) BASE_MUST_CHECK;
/** cli_session_attach() - all pids of the options, or the program; nothing stays attached on failure */
int cli_session_attach(struct cli *cli, struct utap_error *err) BASE_MUST_CHECK;
/** cli_session_detach() - out of all targets; says what is worth saying of the report; returns 0 or the exit code */
int cli_session_detach(struct cli *cli);

/* Callbacks for struct session_options; arg is struct cli. */
void cli_progress(void *arg, const char *what, size_t done, size_t total);
void cli_refused(void *arg, const char *place, const char *why);
void cli_session_note(void *arg, const char *text);
void cli_session_mapped(void *arg, uint32_t source);
/** cli_attach_begins(), cli_attach_ended() - around attaches: the progress line goes, unlisted refusals are counted */
void cli_attach_begins(struct cli *cli);
void cli_attach_ended(struct cli *cli);

/* ---- targets ---- */

/** cli_targets_look() - say which targets are gone since the last look, and why; true while any is left */
bool cli_targets_look(struct cli *cli);
/** cli_child_end() - the program we started: end it if it still runs, reap it, say how it ended */
void cli_child_end(struct cli *cli);

/* ---- names of threads ---- */

int cli_comms_create(struct cli_comms **ret) BASE_MUST_CHECK;
void cli_comms_destroy(struct cli_comms *comms);
/**
 * cli_comms_get() - name of a thread, looked up again after a second; "<...>" when it went before anybody asked
 * @now_ns:  CLOCK_MONOTONIC, about; the time of the record does
 * @is_news: set to true when the name was not known or is another than at the last call, may be NULL
 */
const char *cli_comms_get(struct cli_comms *comms, uint32_t tid, uint64_t now_ns, bool *is_news);

/** cli_comm_known() - is it a name, not "<...>"? */
bool cli_comm_known(const char *comm);

/** cli_layer() - "L1" .., "-" for a refused place */
const char *cli_layer(enum patch_layer layer);

#endif
