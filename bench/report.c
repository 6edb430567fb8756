/* SPDX-License-Identifier: MIT */
#include "report.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "format/format.h"

static const char *const status_text[] = { "ok", "MISSED", "skipped", "FAILED", "" };
static const char *const status_word[] = { "ok", "missed", "skipped", "failed", "value" };

void report_group(struct report *report, const char *name, const char *what)
{
	snprintf(report->group, sizeof(report->group), "%s", name);
	fprintf(stderr, "bench: %s ..\n", what);
}

static struct report_row *add(struct report *report, enum report_status status, const char *name, const char *unit,
			      const char *note, va_list ap)
{
	static struct report_row spare;
	size_t room = sizeof(report->row) / sizeof(*report->row);
	struct report_row *row = report->count < room ? &report->row[report->count++] : &spare;

	*row = (struct report_row){ .status = status };
	snprintf(row->group, sizeof(row->group), "%s", report->group);
	snprintf(row->name, sizeof(row->name), "%s", name);
	snprintf(row->unit, sizeof(row->unit), "%s", unit);
	vsnprintf(row->note, sizeof(row->note), note, ap);
	return row;
}

void report_limit(struct report *report, const char *name, double measured, double target, const char *unit,
		  const char *note, ...)
{
	bool reached = isfinite(measured) && measured <= target;
	va_list ap;

	va_start(ap, note);

	struct report_row *row = add(report, reached ? REPORT_OK : REPORT_MISSED, name, unit, note, ap);

	va_end(ap);
	row->measured = measured;
	row->target = target;
}

void report_truth(struct report *report, const char *name, bool holds, const char *note, ...)
{
	va_list ap;

	va_start(ap, note);

	struct report_row *row = add(report, holds ? REPORT_OK : REPORT_MISSED, name, "bool", note, ap);

	va_end(ap);
	row->measured = holds;
	row->target = 1;
}

void report_value(struct report *report, const char *name, double measured, const char *unit, const char *note, ...)
{
	va_list ap;

	va_start(ap, note);
	add(report, REPORT_VALUE, name, unit, note, ap)->measured = measured;
	va_end(ap);
}

static void add_absent(struct report *report, enum report_status status, const char *name, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	add(report, status, name, "", format, ap);
	va_end(ap);
}

void report_absent(struct report *report, const char *name, bool failed, const char *why)
{
	add_absent(report, failed ? REPORT_FAILED : REPORT_SKIPPED, name, "%s", why);
}

/* ---- the table ---- */

static bool has_number(const struct report_row *row)
{
	return row->status != REPORT_SKIPPED && row->status != REPORT_FAILED;
}

/* Ratios far below 1 read better as 1/N. */
static void number_text(double value, const char *unit, char *text, size_t size)
{
	if (strcmp(unit, "bool") == 0)
		snprintf(text, size, "%s", value > 0 ? "yes" : "no");
	else if (strcmp(unit, "x") == 0 && value > 0 && value < 0.2)
		snprintf(text, size, "1/%.*f", 1 / value < 100 ? 1 : 0, 1 / value);
	else
		snprintf(text, size, "%.*f %s", fabs(value) < 100 ? 2 : 0, value, unit);
}

static void print_row(const struct report_row *row)
{
	char measured[40] = "-", target[40] = "";

	if (has_number(row))
		number_text(row->measured, row->unit, measured, sizeof(measured));
	if (row->status == REPORT_OK || row->status == REPORT_MISSED)
		number_text(row->target, row->unit, target, sizeof(target));
	printf("%-58s %14s %12s  %-7s %s\n", row->name, measured, target, status_text[row->status], row->note);
}

/* Numbers of a machine that did other things meanwhile are worth less. */
static void print_machine(void)
{
	double load[1] = { 0 };

	if (getloadavg(load, 1) == 1)
		printf("\n%ld CPUs, load average %.2f (the benchmark alone: about 2)\n", sysconf(_SC_NPROCESSORS_ONLN), load[0]);
}

void report_print(const struct report *report)
{
	size_t missed = 0, absent = 0;

	printf("%-58s %14s %12s\n", "", "MEASURED", "TARGET");
	for (size_t i = 0; i < report->count; i++) {
		const struct report_row *row = &report->row[i];

		if (i && strcmp(row->group, report->row[i - 1].group) != 0)
			printf("\n");
		print_row(row);
		missed += row->status == REPORT_MISSED || row->status == REPORT_FAILED;
		absent += row->status == REPORT_SKIPPED;
	}
	print_machine();
	if (missed)
		printf("\n%zu MISSED", missed);
	else
		printf("\nEverything that was measured reaches its target");
	printf(absent ? ", %zu could not be measured here.\n" : ".\n", absent);
}

/* ---- the document ---- */

static void write_row(FILE *out, const struct report_row *row)
{
	fputs("{\"group\":", out);
	format_json_string(out, row->group);
	fputs(",\"name\":", out);
	format_json_string(out, row->name);
	fprintf(out, ",\"status\":\"%s\"", status_word[row->status]);
	if (has_number(row) && isfinite(row->measured))
		fprintf(out, ",\"measured\":%.6g", row->measured);
	if (row->status == REPORT_OK || row->status == REPORT_MISSED)
		fprintf(out, ",\"at_most\":%.6g", row->target);
	fprintf(out, ",\"unit\":\"%s\",\"note\":", row->unit);
	format_json_string(out, row->note);
	fputs("}", out);
}

int report_write(const struct report *report, const char *path)
{
	struct utsname machine = { 0 };
	FILE *out = fopen(path, "w");

	if (!out)
		return -errno;
	uname(&machine);
	fprintf(out, "{\"kernel\":\"%s\",\"cpus\":%ld,\"rows\":[\n", machine.release, sysconf(_SC_NPROCESSORS_ONLN));
	for (size_t i = 0; i < report->count; i++) {
		write_row(out, &report->row[i]);
		fputs(i + 1 < report->count ? ",\n" : "\n", out);
	}
	fputs("]}\n", out);
	return fclose(out) ? -errno : 0;
}
