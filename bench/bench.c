/* SPDX-License-Identifier: MIT */
/*
 * The benchmark: what docs and README promise about cost, as ratios measured in one run. Usage: bench BUILD [--quick] [GROUP..]
 * Prints a table, writes BUILD/bench.json. A target that is missed is said plainly; it is no failure of the program.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rows.h"

#define ENOUGH_ROUNDS 7

static const struct {
	const char *name;
	void (*run)(struct bench *bench);
} groups[] = {
	{ "hit", rows_hit },	   { "filter", rows_filter },	   { "cold", rows_cold }, { "change", rows_change },
	{ "memory", rows_memory }, { "idle", rows_idle }, { "reading", rows_reading },
	{ "returns", rows_returns }, { "stacks", rows_stacks },
	{ "programs", rows_programs },
};

int bench_rounds(const struct bench *bench, int usual)
{
	int rounds = usual * bench->effort / 100;

	return rounds < ENOUGH_ROUNDS ? ENOUGH_ROUNDS : rounds;
}

void bench_path(const struct bench *bench, const char *name, char path[4096])
{
	snprintf(path, 4096, "%s/bench/%s", bench->build, name);
}

static bool is_wanted(const char *name, char **wanted)
{
	bool any = false;

	for (; *wanted; wanted++) {
		if (strcmp(*wanted, name) == 0)
			return true;
		any = true;
	}
	return !any;
}

int main(int argc, char **argv)
{
	static struct bench bench = { .effort = 100 };
	char json[4096];
	int error;
	int first = 2;

	if (argc < 2 || !realpath(argv[1], json) || strlen(json) >= sizeof(bench.build)) {
		fprintf(stderr, "usage: bench BUILD [--quick] [GROUP..]   BUILD is the directory with utap and bench/\n");
		return 2;
	}
	snprintf(bench.build, sizeof(bench.build), "%.2000s", json);
	if (argc > 2 && strcmp(argv[2], "--quick") == 0) {
		bench.effort = 25;
		first = 3;
	}
	for (size_t i = 0; i < sizeof(groups) / sizeof(*groups); i++)
		if (is_wanted(groups[i].name, argv + first))
			groups[i].run(&bench);
	report_print(&bench.report);
	snprintf(json, sizeof(json), "%s/bench.json", bench.build);
	error = report_write(&bench.report, json);
	if (error)
		fprintf(stderr, "bench: %s cannot be written: %s\n", json, strerror(-error));
	else
		printf("(also in %s)\n", json);
	return error ? 1 : 0;
}
