/* SPDX-License-Identifier: MIT */
/*
 * Options: one const table of all, each with an id; a command names the ids it takes. Parsing changes nothing but the
 * structure it fills, so that it can be tested without a process.
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "probe/nearest.h"
#include "probe/probe.h"
#include "probe/source.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct option_row {
	char id; /* the letter of its short form, if it has one */
	bool has_short;
	const char *name;
	int has_arg;
	const char *arg; /* as help shows it */
	const char *help;
	char letter; /* where it is not the id: another command means something else by it */
};

static const struct option_row rows[] = {
	{ 'e', true, "event", required_argument, "PROBE", "a probe; may be given more than once (see utap-probes(5))" },
	{ 'F', true, "file", required_argument, "FILE", "read probes from FILE, one a line; # starts a comment, -:EVENT takes one back" },
	{ 'p', true, "pid", required_argument, "PID[,PID...]", "running processes" },
	{ 'f', true, "follow", no_argument, NULL, "also children, and the programs that they execute" },
	{ 'X', false, "explain", required_argument, "PROBE", "the probe to explain" },
	{ '7', true, "exec", required_argument, "FILE", "an executable or library", 'x' },
	{ '1', true, "line", required_argument, "PLACE", "source lines of FUNC[@SRC][:FIRST[-LAST]] or SRC[:FIRST[-LAST]]; numbered ones can be probed", 'L' },
	{ '2', true, "vars", required_argument, "PLACE", "variables that can be named at a place; -v: how they are fetched", 'V' },
	{ '3', true, "funcs", no_argument, NULL, "functions, those that match GLOB", 'F' },
	{ '4', true, "definition", required_argument, "PLACE", "lines for the kernel's uprobe_events; arguments may follow", 'D' },
	{ '5', false, "externs", no_argument, NULL, "with --vars: also variables of the file" },
	{ '6', false, "no-inlines", no_argument, NULL, "with --vars: not in copies that were inlined" },
	{ 'i', true, "input", required_argument, "FILE", "read FILE instead of perf.data" },
	{ 'o', true, "output", required_argument, "FILE", "write to FILE" },
	{ 'z', true, "compression-level", optional_argument, "LEVEL", "compress the file (zstd), 1 (the default, quick) to 22 (small)" },
	{ 'O', false, "to", required_argument, "FORMAT", "write FORMAT: ctf, perfetto, chrome, folded, flame, ftrace, systrace, jsonl, csv, trace-cmd" },
	{ 'Y', false, "by", required_argument, "WEIGHT", "with --to folded or flame: weigh stacks by time (the default) or calls" },
	{ '9', false, "flow", required_argument, "NAME", "with --to perfetto: tie hits together whose arguments NAME are equal" },
	{ 'Z', false, "sort", required_argument, "KEY", "order of the table: see the command's text" },
	{ '8', false, "interval", required_argument, "SECONDS", "a new table so often; 1 is the default" },
	{ 'E', false, "every", required_argument, "N", "record the first of every N hits of a probe, on each CPU; or calls" },
	{ 'I', false, "max", required_argument, "RATE", "record at most RATE hits of a probe a second, as 1000 or 10k/s, in each process" },
	{ 'd', true, "seconds", required_argument, "SECONDS", "stop after SECONDS" },
	{ 'D', false, "duration", no_argument, NULL, "calls, not hits: functions are probed at their entry and all returns" },
	{ 'G', false, "graph", no_argument, NULL, "a tree of the calls of functions, with how long they took" },
	{ 'L', false, "latency", no_argument, NULL, "how long calls of functions take: least, mean, quantiles, most; -v: histograms" },
	{ 'A', false, "all-instructions", no_argument, NULL, "probe each instruction of the functions that probes name" },
	{ 'Q', false, "coverage", no_argument, NULL, "sums instead: how many places could be probed, by layer, and why others not" },
	{ 'M', false, "sample", required_argument, "N", "with --coverage: look at one of N instructions" },
	{ 'n', true, "events", required_argument, "N", "stop after N events" },
	{ 'J', false, "json", no_argument, NULL, "JSON instead of text" },
	{ 'C', false, "color", optional_argument, "WHEN", "colours: auto (the default: on terminals), always, never" },
	{ 'k', false, "stack", required_argument, "KIND[,MOST]", "the user stack with each hit: fp, cfi (frames) or raw (bytes)" },
	{ 'R', false, "ring", required_argument, "SIZE", "bytes of the ring of each CPU, as 256K or 4M" },
	{ 'W', false, "overwrite", no_argument, NULL, "keep the newest hits only; write them at the end and at SIGUSR2" },
	{ 'S', false, "snapshot-on", required_argument, "EVENT", "with --overwrite: write them also when this event or probe is hit" },
	{ 'N', false, "force-no-frame", no_argument, NULL, "probe code without frame description entries too" },
	{ 'T', false, "allow-trap", no_argument, NULL, "where no jump fits, a trap, which is slow, and slows system calls down" },
	{ 'B', false, "debugger-safe", no_argument, NULL, "only where no breakpoint of a debugger can break a jump" },
	{ 'K', false, "force", no_argument, NULL, "also when the utap that attached still runs" },
	{ 'q', true, "quiet", no_argument, NULL, "no notes and no summary" },
	{ 'v', true, "verbose", no_argument, NULL, "more notes; twice: what is done inside" },
	{ 'h', true, "help", no_argument, NULL, "this text" },
};

/* What getopt_long() wants, made for one command. */
struct option_tables {
	char letters[3 + 3 * COUNT(rows) + 1];
	struct option longs[COUNT(rows) + 1];
	const char *names[COUNT(rows)];
	size_t count;
};

static void make_tables(const struct cli_command *command, struct option_tables *t)
{
	size_t used = 0;

	memset(t, 0, sizeof(*t));
	if (command->takes_program)
		t->letters[used++] = '+'; /* the program's options are its own */
	t->letters[used++] = ':';
	for (size_t i = 0; i < COUNT(rows); i++) {
		if (!strchr(command->takes, rows[i].id))
			continue;
		if (rows[i].has_short) {
			t->letters[used++] = rows[i].letter ? rows[i].letter : rows[i].id;
			if (rows[i].has_arg != no_argument)
				t->letters[used++] = ':';
			if (rows[i].has_arg == optional_argument)
				t->letters[used++] = ':';
		}
		t->names[t->count] = rows[i].name;
		t->longs[t->count++] =
		    (struct option) { .name = rows[i].name, .has_arg = rows[i].has_arg, .val = rows[i].id };
	}
}

void cli_options_help(FILE *out, const char *takes)
{
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct option_row *row = &rows[i];
		bool optional = row->has_arg == optional_argument;
		char letter[8] = "    ";
		char text[64];

		if (!strchr(takes, row->id))
			continue;
		if (row->has_short)
			snprintf(letter, sizeof(letter), "-%c, ", row->letter ? row->letter : row->id);
		snprintf(text, sizeof(text), "%s--%s%s%s%s", letter, row->name,
			 optional   ? "[="
			 : row->arg ? " "
				    : "",
			 row->arg ? row->arg : "", optional ? "]" : "");
		fprintf(out, "  %-28s %s\n", text, row->help);
	}
}

/* ---- values ---- */

int cli_parse_count(const char *text, uint64_t *ret)
{
	uint64_t value = 0;

	if (!*text)
		return -EINVAL;
	for (; *text; text++) {
		unsigned digit = (unsigned)(*text - '0');

		if (*text < '0' || *text > '9' || value > (UINT64_MAX - digit) / 10)
			return -EINVAL;
		value = value * 10 + digit;
	}
	*ret = value;
	return 0;
}

int cli_parse_seconds(const char *text, uint64_t *ns)
{
	char *end;
	double value;

	if (*text < '0' || *text > '9') /* no blanks, signs, nan */
		return -EINVAL;
	errno = 0;
	value = strtod(text, &end);
	if (errno || *end || strpbrk(text, "xXpP") || value > 1e9 || value * 1e9 < 1)
		return -EINVAL;
	*ns = (uint64_t)(value * 1e9);
	return 0;
}

int cli_parse_rate(const char *text, uint64_t *ret)
{
	static const struct {
		char letter;
		uint64_t factor;
	} units[] = { { 'k', 1000 }, { 'K', 1000 }, { 'm', 1000000 }, { 'M', 1000000 } };
	size_t length = strlen(text);
	uint64_t value, factor = 1;
	char digits[24];

	if (length > 2 && strcmp(text + length - 2, "/s") == 0)
		length -= 2;
	for (size_t i = 0; i < COUNT(units) && length && factor == 1; i++)
		if (text[length - 1] == units[i].letter)
			factor = units[i].factor;
	length -= factor > 1;
	if (length == 0 || length >= sizeof(digits))
		return -EINVAL;
	memcpy(digits, text, length);
	digits[length] = '\0';
	if (cli_parse_count(digits, &value) || value == 0 || value > UINT64_MAX / factor)
		return -EINVAL;
	*ret = value * factor;
	return 0;
}

int cli_parse_size(const char *text, uint64_t *ret)
{
	static const char units[] = "KMG";
	size_t length = strlen(text);
	unsigned shift = 0;
	char digits[24];
	uint64_t value;

	if (length > 0) {
		char last = text[length - 1];
		const char *unit = strchr(units, last >= 'a' && last <= 'z' ? last - 'a' + 'A' : last);

		if (unit && *unit) {
			shift = 10 * (unsigned)(unit - units + 1);
			length--;
		}
	}
	if (length == 0 || length >= sizeof(digits))
		return -EINVAL;
	memcpy(digits, text, length);
	digits[length] = '\0';
	if (cli_parse_count(digits, &value) || value == 0 || value > UINT64_MAX >> shift)
		return -EINVAL;
	*ret = value << shift;
	return 0;
}

int cli_parse_pid(const char *text, size_t length, pid_t *ret)
{
	char digits[16];
	uint64_t value;

	if (length == 0 || length >= sizeof(digits))
		return -EINVAL;
	memcpy(digits, text, length);
	digits[length] = '\0';
	if (cli_parse_count(digits, &value) || value == 0 || value > INT32_MAX)
		return -EINVAL;
	*ret = (pid_t)value;
	return 0;
}

/* ---- lists ---- */

static int no_memory(struct utap_error *err)
{
	return base_error(err, -ENOMEM, UTAP_ERROR_SYSTEM, "no memory for the options");
}

static int add_probe(struct cli_options *options, const struct cli_text *text, struct utap_error *err)
{
	if (base_grow(&options->probes, &options->probes_cap, options->nprobes + 1, sizeof(*options->probes)))
		return no_memory(err);
	options->probes[options->nprobes++] = *text;
	return 0;
}

static bool is_known_pid(const struct cli_options *options, pid_t pid)
{
	for (size_t i = 0; i < options->npids; i++) {
		if (options->pids[i] == pid)
			return true;
	}
	return false;
}

static int add_pids(struct cli_options *options, const char *list, struct utap_error *err)
{
	for (const char *at = list;; at++) {
		size_t length = strcspn(at, ",");
		pid_t pid;

		if (cli_parse_pid(at, length, &pid))
			return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "-p %s: '%.*s' is not a process id", list,
					  (int)length, at);
		if (!is_known_pid(options, pid)) {
			if (base_grow(&options->pids, &options->pids_cap, options->npids + 1, sizeof(*options->pids)))
				return no_memory(err);
			options->pids[options->npids++] = pid;
		}
		at += length;
		if (!*at)
			return 0;
	}
}

/* Is it the one, or one of those, that a removal names? A group that was not given is the kernel's, too. */
static bool is_one(const char *has_group, const char *has_event, const char *group, const char *event)
{
	if (*event && strcmp(has_event, event) != 0)
		return false;
	return !*group || !strcmp(has_group, group) || (!strcmp(group, "uprobes") && !strcmp(has_group, "utap"));
}

/* A probe as probe_source_parse() takes it apart; its group is "" where none was given. */
static bool is_named_source(const struct cli_text *text, const char *group, const char *event)
{
	struct probe_source source;
	bool is_named;

	if (probe_source_parse(text->text, &source, NULL, NULL) <= 0)
		return false;
	is_named = is_one(*source.group ? source.group : "utap", source.event, group, event);
	probe_source_free(&source);
	return is_named;
}

/* Is that probe named by "-:[GROUP/][EVENT]"? What is wrong with its text is said later. */
static bool is_named(const struct cli_text *text, struct probe_spec *spec, const char *group, const char *event)
{
	if (is_named_source(text, group, event))
		return true;
	return !probe_parse(text->text, spec, NULL, NULL) && is_one(spec->group, spec->event, group, event);
}

/* A line that takes earlier ones back: 1; 0 it is none; or what is wrong with it. */
static int remove_probes(struct cli_options *options, const struct cli_text *line, struct utap_error *err)
{
	char group[PROBE_NAME], event[PROBE_NAME];
	struct utap_error why = { 0 };
	_cleanup_free_ struct probe_spec *spec = NULL;
	size_t kept = 0;
	int result = probe_parse_removal(line->text, group, event, NULL, &why);

	if (result < 0)
		return base_error(err, result, UTAP_ERROR_USAGE, "%.200s:%u: %.290s", line->file, line->line, why.text);
	spec = result ? malloc(sizeof(*spec)) : NULL;
	if (!result || !spec)
		return result ? no_memory(err) : 0;
	for (size_t i = 0; i < options->nprobes; i++)
		if (!is_named(&options->probes[i], spec, group, event))
			options->probes[kept++] = options->probes[i];
	if (kept == options->nprobes)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "%.200s:%u: there is no such event above to be removed",
				  line->file, line->line);
	options->nprobes = kept;
	return 1;
}

/* Ends a line where a comment begins, as the kernel does: at '#', but only after a blank, and in no quotes. */
static void cut_comment(char *line)
{
	char quote = '\0';

	for (char *c = line; *c; c++) {
		if (quote)
			quote = *c == quote ? '\0' : quote;
		else if (*c == '"' || *c == '\'')
			quote = *c;
		else if (*c == '#' && c > line && (c[-1] == ' ' || c[-1] == '\t'))
			*c-- = '\0'; /* the loop ends */
	}
}

/* Cuts @content, which options own, into lines. */
static int add_lines(struct cli_options *options, const char *path, char *content, struct utap_error *err)
{
	unsigned number = 1;

	for (char *line = content; line; number++) {
		char *next = strchr(line, '\n');
		const char *start;

		if (next)
			*next++ = '\0';
		cut_comment(line);
		start = line + strspn(line, " \t\r");
		if (*start && *start != '#') {
			struct cli_text text = { .text = start, .file = path, .line = number };
			int error = remove_probes(options, &text, err);

			if (!error)
				error = add_probe(options, &text, err);
			if (error < 0)
				return error;
		}
		line = next;
	}
	return 0;
}

static int add_file(struct cli_options *options, const char *path, struct utap_error *err)
{
	char *content;
	int error;

	if (base_grow(&options->files, &options->files_cap, options->nfiles + 1, sizeof(*options->files)))
		return no_memory(err);
	error = base_file_read(path, &content, NULL);
	if (error == -ENOENT)
		return base_error(err, error, UTAP_ERROR_NOT_FOUND, "-F %s: there is no such file", path);
	if (error)
		return base_error_system(err, error, "-F %s: cannot be read", path);
	options->files[options->nfiles++] = content;
	return add_lines(options, path, content, err);
}

/* ---- the loop ---- */

static int bad_value(struct utap_error *err, const char *option, const char *value, const char *want)
{
	return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "%s %s: %s is expected", option, value, want);
}

static int set_color(struct cli_options *options, const char *when, struct utap_error *err)
{
	if (!when || strcmp(when, "always") == 0)
		options->color = CLI_COLOR_ALWAYS;
	else if (strcmp(when, "auto") == 0)
		options->color = CLI_COLOR_AUTO;
	else if (strcmp(when, "never") == 0)
		options->color = CLI_COLOR_NEVER;
	else
		return bad_value(err, "--color", when, "auto, always or never");
	return 0;
}

static int set_stack(struct cli_options *options, const char *value, struct utap_error *err)
{
	static const struct {
		const char *name;
		enum wire_stack_kind kind;
		uint32_t usual, most;
	} kinds[] = {
		{ "fp", WIRE_STACK_FP, 64, WIRE_STACK_FRAMES },
		{ "cfi", WIRE_STACK_CFI, 64, WIRE_STACK_FRAMES },
		{ "raw", WIRE_STACK_RAW, 8192, WIRE_STACK_BYTES },
	};
	size_t length = strcspn(value, ",");

	for (size_t i = 0; i < COUNT(kinds); i++) {
		uint64_t most = kinds[i].usual;

		if (strlen(kinds[i].name) != length || memcmp(value, kinds[i].name, length) != 0)
			continue;
		if (value[length] && (cli_parse_count(value + length + 1, &most) || !most || most > kinds[i].most))
			return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "--stack %s: a number from 1 to %u is expected after the comma",
					  value, kinds[i].most);
		options->stack = kinds[i].kind;
		options->stack_most = (uint32_t)most;
		return 0;
	}
	return bad_value(err, "--stack", value, "fp, cfi or raw, and perhaps a number as in fp,32");
}

/* As perf record has it: -z, -z9, -z=9. */
static int set_compression(struct cli_options *options, const char *level, struct utap_error *err)
{
	uint64_t value = 1;

	if (level && *level == '=')
		level++;
	if (level && (cli_parse_count(level, &value) || value < 1 || value > 22))
		return bad_value(err, "-z", level, "a number from 1 to 22");
	options->compression = (unsigned)value;
	return 0;
}

static void set_flag(struct cli_options *options, int id)
{
	options->json |= id == 'J';
	options->coverage |= id == 'Q';
	options->durations |= id == 'D';
	options->graph |= id == 'G';
	options->latency |= id == 'L';
	options->all_instructions |= id == 'A';
	options->allow_no_frame |= id == 'N';
	options->allow_trap |= id == 'T';
	options->debugger_safe |= id == 'B';
	options->force |= id == 'K';
	options->follow |= id == 'f';
	options->functions |= id == '3';
	options->externs |= id == '5';
	options->no_inlines |= id == '6';
	options->overwrite |= id == 'W';
	options->quiet |= id == 'q';
	options->help |= id == 'h';
	options->verbose += id == 'v';
}

/* Where the value of an option goes that is taken as it is; NULL: it is another one. */
static const char **text_of(struct cli_options *options, int id)
{
	switch (id) {
	case 'X':
		return &options->explain;
	case 'S':
		return &options->snapshot_on;
	case '1':
		return &options->lines;
	case '2':
		return &options->vars;
	case '4':
		return &options->definition;
	case '7':
		return &options->exec;
	case 'i':
		return &options->input;
	case 'o':
		return &options->output;
	case 'O':
		return &options->to;
	case 'Y':
		return &options->by;
	case '9':
		return &options->flow;
	case 'Z':
		return &options->sort;
	default:
		return NULL;
	}
}

static int apply(struct cli_options *options, int id, const char *value, struct utap_error *err)
{
	const char **text = text_of(options, id);

	if (text) {
		*text = value;
		return 0;
	}
	switch (id) {
	case 'e':
		return add_probe(options, &(struct cli_text) { .text = value }, err);
	case 'F':
		return add_file(options, value, err);
	case 'p':
		return add_pids(options, value, err);
	case '8':
		if (cli_parse_seconds(value, &options->interval_ns))
			return bad_value(err, "--interval", value, "a number of seconds above 0, as 10 or 0.5");
		return 0;
	case 'd':
		if (cli_parse_seconds(value, &options->duration_ns))
			return bad_value(err, "-d", value, "a number of seconds above 0, as 10 or 0.5");
		return 0;
	case 'n':
		if (cli_parse_count(value, &options->events) || options->events == 0)
			return bad_value(err, "-n", value, "a number above 0");
		return 0;
	case 'M':
		if (cli_parse_count(value, &options->sample) || !options->sample || options->sample > 1000000)
			return bad_value(err, "--sample", value, "a number from 1 to 1000000");
		return 0;
	case 'E':
		if (cli_parse_count(value, &options->every) || !options->every || options->every > PROBE_EVERY)
			return bad_value(err, "--every", value, "a number from 1 to 1000000000");
		return 0;
	case 'I':
		if (cli_parse_rate(value, &options->rate) || options->rate > SESSION_RATE)
			return bad_value(err, "--max", value, "a number a second, as 1000 or 10k/s");
		return 0;
	case 'R':
		if (cli_parse_size(value, &options->ring) || options->ring > 1ULL << 40)
			return bad_value(err, "--ring", value, "a size, as 65536, 256K or 4M");
		return 0;
	case 'k':
		return set_stack(options, value, err);
	case 'z':
		return set_compression(options, value, err);
	case 'C':
		return set_color(options, value, err);
	default:
		set_flag(options, id);
		return 0;
	}
}

/* argv[optind - 1] is what getopt stumbled over. */
static int refuse(const struct cli_command *command, const struct option_tables *t, int id, const char *word,
		  struct utap_error *err)
{
	const char *nearest = NULL;

	if (id == ':')
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "%s needs a value; see utap %s --help", word,
				  command->name);
	if (strncmp(word, "--", 2) == 0 && strchr(word, '='))
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE,
				  "%s takes no option '%.*s' with a value; see utap %s --help", command->name,
				  (int)strcspn(word, "="), word, command->name);
	if (strncmp(word, "--", 2) == 0)
		nearest = probe_nearest(word + 2, strlen(word + 2), t->names, t->count);
	else
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "%s takes no option '-%c'; see utap %s --help",
				  command->name, optopt, command->name);
	return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "%s takes no option '%s'%s%s%s see utap %s --help",
			  command->name, word, nearest ? "; did you mean '--" : "", nearest ? nearest : "",
			  nearest ? "'?" : ";", command->name);
}

/* What getopt_long() hands out is the letter of a short form, or an id. */
static int id_of_letter(const struct cli_command *command, int id)
{
	for (size_t i = 0; i < COUNT(rows); i++)
		if (rows[i].letter && rows[i].letter == id && strchr(command->takes, rows[i].id))
			return rows[i].id;
	return id;
}

int cli_options_parse(const struct cli_command *command, int argc, char **argv, struct cli_options *ret,
		      struct utap_error *err)
{
	struct cli_options options = { 0 };
	struct option_tables tables;
	int error = 0;

	make_tables(command, &tables);
	opterr = 0;
	optind = 0; /* glibc: start afresh */
	while (!error) {
		int id = getopt_long(argc, argv, tables.letters, tables.longs, NULL);

		if (id == -1)
			break;
		id = id_of_letter(command, id);
		if (id == '?' || id == ':')
			error = refuse(command, &tables, id, argv[optind - 1], err);
		else
			error = apply(&options, id, optarg, err);
	}
	if (error) {
		cli_options_free(&options);
		return error;
	}
	options.args = argv + optind;
	options.nargs = (size_t)(argc - optind);
	*ret = options;
	return 0;
}

void cli_options_free(struct cli_options *options)
{
	for (size_t i = 0; i < options->nfiles; i++)
		free(options->files[i]);
	free(options->files);
	free(options->probes);
	free(options->pids);
	*options = (struct cli_options) { 0 };
}
