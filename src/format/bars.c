/* SPDX-License-Identifier: MIT */
/* How long calls took, as bars of text. */
#include <inttypes.h>

#include "format/format.h"

#define BAR 40

void format_duration_column(FILE *out, uint64_t ns)
{
	char text[32];

	format_duration(ns, text, sizeof(text));
	fprintf(out, " %11s", text);
}

void format_bars(FILE *out, const struct trace_histogram *histogram)
{
	static const char full[] = "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@";
	unsigned first = 63, last = 0;
	uint64_t most = 0;

	static_assert(sizeof(full) == BAR + 1, "a whole bar");
	for (unsigned power = 0; power < 63; power++) {
		uint64_t count = trace_histogram_power(histogram, power);

		if (!count)
			continue;
		first = power < first ? power : first;
		last = power;
		most = count > most ? count : most;
	}
	for (unsigned power = first; power <= last && most; power++) {
		uint64_t count = trace_histogram_power(histogram, power);
		int bar = (int)((double)count / (double)most * BAR + 0.5);

		fputs("    ", out);
		format_duration_column(out, power ? 1ULL << power : 0);
		fputs(" ..", out);
		format_duration_column(out, 2ULL << power);
		fprintf(out, " %12" PRIu64 " |%.*s%*s|\n", count, bar, full, BAR - bar, "");
	}
}
