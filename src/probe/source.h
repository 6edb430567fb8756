/* SPDX-License-Identifier: MIT */
/*
 * Probes that only a file's debug information, or its static probes, can place: perf probe's language, and sdt:PROVIDER:NAME. Text -> its parts;
 * nothing is resolved here. What is found for them becomes text of probe_parse()'s language.
 */
#ifndef PROBE_SOURCE_H
#define PROBE_SOURCE_H

#include "probe/probe.h"

struct probe_source {
	char group[PROBE_NAME]; /* "" unless given */
	char event[PROBE_NAME];
	char *file;             /* "" (search all), a path with '/', or a short library name */
	bool is_return;         /* r: */
	bool is_static;         /* sdt: .place is PROVIDER:NAME, both may be globs */
	char *place;            /* FUNC[@SRC][:RLN|+OFFS|%return|;PATTERN], SRC:LINE, SRC;PATTERN; without "%return" when .is_return says so */
	char **args;            /* as written, [NAME=]WHAT[:TYPE] */
	size_t nargs;
	char *filter;           /* "/CONDITION/" or "" */
	char *text;             /* all of it, for messages */
};

/**
 * probe_source_parse() - is this a probe of that kind? Take it apart
 *
 *   [p:[[GROUP/]EVENT] | r:..] [FILE:]FUNC[@SRC][:RLN|+OFFS|%return|;PATTERN] [ARG...]
 *   [p:[[GROUP/]EVENT]] [FILE:]SRC:LINE [ARG...]      [FILE:]SRC;PATTERN [ARG...]
 *   [p:[[GROUP/]EVENT]] [FILE:]sdt:PROVIDER:NAME [ARG...]     %sdt_PROVIDER:NAME
 *
 * A function without line, file or pattern is one only when an argument is a variable: it begins with a letter, '*' or '_', or is $vars or
 * $params. FILE:NUMBER is a line only where FILE looks like a source file (it has one of the suffixes that compilers know), or no path.
 *
 * Return: 1, the caller frees with probe_source_free(); 0 it is none (probe_parse() says what it is); -EINVAL with "column N: ..." in @err and in *@column
 * (may be NULL); -ENOMEM.
 * Source: tools/perf/Documentation/perf-probe.txt (PROBE SYNTAX).
 */
int probe_source_parse(const char *text, struct probe_source *ret, size_t *column, struct utap_error *err) BASE_MUST_CHECK;
void probe_source_free(struct probe_source *source);

#endif
