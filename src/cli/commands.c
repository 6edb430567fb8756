/* SPDX-License-Identifier: MIT */
/* The one table of commands, and what is printed from it. Completion and man pages repeat it: change them together. */
#include <string.h>

#include "cli/cli.h"
#include "config.h"
#include "probe/nearest.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct cli_command commands[] = {
	{ .name = "trace",
	  .usage = "-e PROBE... (-p PID[,PID...] | [--] PROGRAM [ARG...])",
	  .summary = "print a line for each hit, live",
	  .details = "Prints a line for each hit, as ftrace does: thread, CPU, time, event, place, arguments.\n"
		     "Ends at Ctrl-C, when all targets are gone, or as -d and -n say; then everything is taken out.\n"
		     "With --duration or --graph a probe of a function is of its calls: they are shown when they end, and how.\n"
		     "With --to it writes another format instead of text; see utap convert.\n",
	  .takes = "eFpfoOY9DGAEIkdnqvJCRNTBh",
	  .takes_program = true,
	  .run = cli_trace },
	{ .name = "record",
	  .usage = "-e PROBE... [-o FILE] (-p PID[,PID...] | [--] PROGRAM [ARG...])",
	  .summary = "write each hit to a perf.data file",
	  .details =
	      "Writes a file that perf script, perf report and utap script read. The default is perf.data; what was\n"
	      "there before becomes perf.data.old.\n"
	      "With --overwrite it is a flight recorder: each CPU's ring keeps its newest hits, nothing is read while it\n"
	      "runs, and they are written at the end (also after the target was killed), at SIGUSR2 to utap, and at hits\n"
	      "of the event of --snapshot-on; these snapshots are FILE.TIMESTAMP.\n"
	      "With --to it writes another format instead, while hits come, to standard output or the file of -o; see\n"
	      "utap convert.\n",
	  .takes = "eFpfozOY9DAEIkdnqvRWSNTBh",
	  .takes_program = true,
	  .run = cli_record },
	{ .name = "script",
	  .usage = "[-i FILE]",
	  .summary = "print a recorded file, a line for each hit",
	  .details = "Reads perf.data, or the file of -i, and prints it as utap trace would have.\n",
	  .takes = "ionqvJCh",
	  .run = cli_script },
	{ .name = "report",
	  .usage = "[-i FILE]",
	  .summary = "sum a recorded file up: counts by event, command and thread",
	  .details = "Reads perf.data, or the file of -i. Where functions were recorded with their returns (see utap help record),\n"
		     "or by a probe of the function and one of its %return, --latency prints a table of functions, and --graph a\n"
		     "tree of what was called from where, with calls, total and own time.\n",
	  .takes = "ioLGZqvJh",
	  .run = cli_report },
	{ .name = "convert",
	  .usage = "--to FORMAT [-i FILE] [-o FILE]",
	  .summary = "write a recorded file in another format",
	  .details = "Reads perf.data, or the file of -i, and writes to standard output, or the file of -o:\n"
		     "  ctf       Common Trace Format 1.8, for babeltrace2 and Trace Compass: a directory, so -o is needed\n"
		     "  perfetto  Perfetto's protobuf, for ui.perfetto.dev and trace_processor\n"
		     "  chrome    JSON for chrome://tracing, Perfetto and speedscope\n"
		     "  folded    a line for each stack of calls, with the ns spent there\n"
		     "  flame     a flame graph: one SVG for a browser, with zoom and search\n"
		     "  ftrace    text as in the kernel's trace file\n"
		     "  systrace  the same columns, with marks of calls that systrace and Perfetto understand\n"
		     "  jsonl     JSON, an object on a line for each hit\n"
		     "  csv       comma-separated values with a header (RFC 4180)\n"
		     "  trace-cmd a trace.dat, for trace-cmd report and KernelShark\n"
		     "Calls need a function's entry and its returns (see utap help record), or a probe of the function and one of its\n"
		     "%return. utap trace and utap record write all these live.\n",
	  .takes = "iOY9onqvh",
	  .run = cli_convert },
	{ .name = "stat",
	  .usage = "-e PROBE... (-p PID[,PID...] | [--] PROGRAM [ARG...])",
	  .summary = "count hits, without recording them",
	  .details =
	      "Counts exactly and prints the counts when it ends: at Ctrl-C, when all targets are gone, or as -d and "
	      "-n\n"
	      "say. With --json it prints one document:\n"
	      "  {\"probes\":[{\"event\":..,\"file\":..,\"offset\":..,\"hits\":N,\"lost\":N},...],\"seconds\":S}\n"
	      "With --latency it measures calls: each is recorded at its entry and at its return.\n",
	  .takes = "eFpfoLAEIdnqvRJNTBh",
	  .takes_program = true,
	  .run = cli_stat },
	{ .name = "top",
	  .usage = "-e PROBE... (-p PID[,PID...] | [--] PROGRAM [ARG...])",
	  .summary = "show what is hit most, as it happens",
	  .details =
	      "A table of the last interval, drawn anew each time: on a terminal in place, else one table after the other.\n"
	      "It counts; with --latency it measures calls of functions, each recorded at its entry and at its return.\n"
	      "--sort: rate (the default), hits, lost, name; with --latency also p50, p99 and time (the default).\n"
	      "Keys: r h l n, with --latency 5 9 t, sort by that, pressed again in reverse order; q quits.\n",
	  .takes = "eFpfoL8ZdqRNTBh",
	  .takes_program = true,
	  .run = cli_top },
	{ .name = "list",
	  .usage = "[--coverage] (FILE | -p PID) [GLOB]",
	  .summary = "show what can be probed, and how, or why not",
	  .details =
	      "One line a function: its offset in the file, how a probe would be put there (L1, L2, L3, L4; - for not at\n"
	      "all), its name, and why not. With --coverage, for each file: what part of all function entries and of all\n"
	      "instructions could be probed, each judged as if it were the only one, and why others could not.\n",
	  .takes = "poQMqvJh",
	  .run = cli_list },
	{ .name = "probe",
	  .usage = "(-L PLACE | -V PLACE | -F [GLOB] | -D PLACE [ARG...]) (-x FILE | -p PID) | --explain PROBE -p PID",
	  .summary = "show lines, variables, functions that can be probed, or explain how one probe is done",
	  .details = "From debug information, as perf probe: source lines (-L), variables in scope (-V), functions (-F), and\n"
		     "definitions for the kernel's uprobe_events (-D). A PLACE is FUNC[@SRC][:LINE|+OFFSET|%return|;PATTERN],\n"
		     "SRC:LINE or SRC;PATTERN.\n"
		     "With --explain it puts the probe in, shows the place, its instruction, what was written over it, and the\n"
		     "code that runs at a hit; then takes it out again.\n",
	  .takes = "7123456XpoqvJNTBh",
	  .run = cli_probe },
	{ .name = "detach",
	  .usage = "-p PID[,PID...]",
	  .summary = "clean up after a utap that was killed",
	  .details = "Takes out everything that a utap that is gone left in the processes. One that still runs is left "
		     "alone,\n"
		     "unless --force is given.\n",
	  .takes = "pKqvh",
	  .run = cli_detach },
};

const struct cli_command *cli_command_find(const char *name)
{
	for (size_t i = 0; i < COUNT(commands); i++) {
		if (strcmp(name, commands[i].name) == 0)
			return &commands[i];
	}
	return NULL;
}

const char *cli_command_nearest(const char *name)
{
	const char *names[COUNT(commands) + 2];

	for (size_t i = 0; i < COUNT(commands); i++)
		names[i] = commands[i].name;
	names[COUNT(commands)] = "help";
	names[COUNT(commands) + 1] = "version";
	return probe_nearest(name, strlen(name), names, COUNT(names));
}

void cli_version(FILE *out)
{
	fprintf(out, "utap %s\n", UTAP_VERSION);
}

void cli_exit_codes(FILE *out)
{
	static const struct {
		enum utap_error_kind code;
		const char *text;
	} rows[] = {
		{ UTAP_ERROR_NONE, "done; also after Ctrl-C, and when the targets ended by themselves" },
		{ UTAP_ERROR_USAGE, "the arguments, or the text of a probe, are wrong" },
		{ UTAP_ERROR_NOT_FOUND, "no such process, file or symbol" },
		{ UTAP_ERROR_PERMISSION, "the kernel or another tracer does not let us" },
		{ UTAP_ERROR_REFUSED, "it could not be done safely" },
		{ UTAP_ERROR_GONE, "the target exited, or executed another program, before it was probed" },
		{ UTAP_ERROR_SYSTEM, "memory, disk, descriptors, damaged files" },
	};

	fputs("\nExit codes:\n", out);
	for (size_t i = 0; i < COUNT(rows); i++)
		fprintf(out, "  %d  %s\n", (int)rows[i].code, rows[i].text);
}

void cli_usage(FILE *out)
{
	fputs("utap puts probes into running programs.\n"
	      "\n"
	      "Usage: utap COMMAND [OPTION...]\n"
	      "\n"
	      "Commands:\n",
	      out);
	for (size_t i = 0; i < COUNT(commands); i++)
		fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].summary);
	fputs("  help     help, also for a command: utap help trace, utap trace --help\n"
	      "  version  the version\n"
	      "\n"
	      "Probes:\n"
	      "  malloc   libc:malloc   libc:mem*   ./prog:func+0x10   /path/lib.so:0xFILEOFFSET   ./prog:func:*\n"
	      "  'libc:malloc size=%di:u64'   'p:group/event /path/prog:func arg=%si:s32 $stack1'\n"
	      "\n"
	      "Example:\n"
	      "  utap trace -e 'libc:malloc size=%di:u64' -p 1234\n",
	      out);
	cli_exit_codes(out);
}

void cli_command_help(FILE *out, const struct cli_command *command)
{
	fprintf(out, "utap %s: %s\n\nUsage: utap %s %s\n", command->name, command->summary, command->name,
		command->usage);
	if (command->details)
		fprintf(out, "\n%s", command->details);
	fputs("\nOptions:\n", out);
	cli_options_help(out, command->takes);
	cli_exit_codes(out);
}
