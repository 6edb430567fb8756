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
		     "With --duration or --graph a probe of a function is of its calls: they are shown when they end, and how.\n",
	  .takes = "eFpfoDGAdnqvJCRNTBh",
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
	      "of the event of --snapshot-on; these snapshots are FILE.TIMESTAMP.\n",
	  .takes = "eFpfoAdnqvRWSNTBh",
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
	  .details = "Reads perf.data, or the file of -i.\n",
	  .takes = "ioqvJh",
	  .run = cli_report },
	{ .name = "stat",
	  .usage = "-e PROBE... (-p PID[,PID...] | [--] PROGRAM [ARG...])",
	  .summary = "count hits, without recording them",
	  .details =
	      "Counts exactly and prints the counts when it ends: at Ctrl-C, when all targets are gone, or as -d and "
	      "-n\n"
	      "say. With --json it prints one document:\n"
	      "  {\"probes\":[{\"event\":..,\"file\":..,\"offset\":..,\"hits\":N,\"lost\":N},...],\"seconds\":S}\n"
	      "With --latency it measures calls: each is recorded at its entry and at its return.\n",
	  .takes = "eFpfoLAdnqvRJNTBh",
	  .takes_program = true,
	  .run = cli_stat },
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
	  .usage = "--explain PROBE -p PID",
	  .summary = "explain how one probe is done",
	  .details = "Puts the probe in, shows the place, its instruction, what was written over it, and the code that "
		     "runs at\n"
		     "a hit; then takes it out again.\n",
	  .takes = "XpqvNTBh",
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
