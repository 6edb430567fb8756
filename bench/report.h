/* SPDX-License-Identifier: MIT */
/* What was measured and what it had to reach: a table for people, a document for programs. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stdbool.h>
#include <stddef.h>

enum report_status { REPORT_OK, REPORT_MISSED, REPORT_SKIPPED, REPORT_FAILED, REPORT_VALUE };

struct report_row {
	enum report_status status;
	char group[24];
	char name[100];
	char unit[16];
	double measured, target;
	char note[400]; /* how it comes about, or why it could not be measured */
};

struct report {
	struct report_row row[128];
	size_t count;
	char group[24]; /* of the rows to come */
};

/** report_group() - what comes now; said on standard error too, since it takes a while */
void report_group(struct report *report, const char *name, const char *what);

/** report_limit() - something with a target: ok when @measured is at most @target */
void report_limit(struct report *report, const char *name, double measured, double target, const char *unit,
		  const char *note, ...) __attribute__((format(printf, 6, 7)));
/** report_truth() - something that must hold */
void report_truth(struct report *report, const char *name, bool holds, const char *note, ...)
	__attribute__((format(printf, 4, 5)));
/** report_value() - something good to know */
void report_value(struct report *report, const char *name, double measured, const char *unit, const char *note, ...)
	__attribute__((format(printf, 5, 6)));
/** report_absent() - not measured, and why: the machine does not let us (skipped), or it went wrong (failed) */
void report_absent(struct report *report, const char *name, bool failed, const char *why);

void report_print(const struct report *report);
/** report_write() - the document; 0 or a negative errno */
int report_write(const struct report *report, const char *path) __attribute__((warn_unused_result));

#endif
