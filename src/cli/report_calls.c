/* SPDX-License-Identifier: MIT */
#include "cli/report_calls.h"

#include <errno.h>
#include <string.h>

#include "cli/convert.h"
#include "format/convert.h"

static int check_sort(const struct cli *cli, struct utap_error *err)
{
	const char *sort = cli->options.sort;
	const char *key;

	for (size_t i = 0; sort && (key = format_convert_sort(i)); i++)
		if (strcmp(sort, key) == 0)
			return 0;
	return sort ? base_error(err, -EINVAL, UTAP_ERROR_USAGE,
				 "--sort %.40s: total, self, calls, mean, p50, p99, max or name is expected", sort)
		    : 0;
}

static int read_all(struct format_convert *convert, struct format_perf_file *file, uint64_t *lost,
		    struct utap_error *err)
{
	for (;;) {
		struct format_perf_event event;
		int error = format_perf_next(file, &event, err);
		int failed = 0;

		if (error || event.type == FORMAT_PERF_END)
			return error;
		if (event.type == FORMAT_PERF_SAMPLE)
			failed = format_convert_record(convert, &event.record, 0, event.comm);
		else if (event.type == FORMAT_PERF_LOST)
			failed = format_convert_lost(convert, event.record.id, event.lost, event.record.time_ns);
		if (event.type == FORMAT_PERF_LOST)
			*lost += event.lost;
		if (failed)
			return base_error_system(err, failed, "the calls cannot be summed up");
	}
}

/* A damaged file is summed up as far as it could be read; the exit code says so. */
int cli_report_calls(struct cli *cli, struct format_perf_file *file)
{
	struct format_convert_options options = { .to = cli->options.latency ? FORMAT_REPORT_FUNCTIONS
									     : FORMAT_REPORT_TREE,
						  .sort = cli->options.sort,
						  .json = cli->options.json,
						  .verbose = cli->options.verbose };
	struct format_convert *convert;
	const struct trace_probe *probes;
	size_t nprobes = format_perf_probes(file, &probes);
	struct utap_error err = { 0 };
	uint64_t lost = 0;
	int damaged = 0;
	int error;
	int code;

	if (cli->options.latency && cli->options.graph) {
		base_error(&err, -EINVAL, UTAP_ERROR_USAGE, "--latency or --graph, not both");
		return cli_fail(cli, &err);
	}
	if (check_sort(cli, &err) || cli_open_output(cli, &err))
		return cli_fail(cli, &err);
	options.out = cli->out;
	if (format_convert_create(&options, probes, (uint32_t)nprobes, &convert, &err))
		return cli_fail(cli, &err);
	if (read_all(convert, file, &lost, &err))
		damaged = cli_fail(cli, &err);
	error = format_convert_finish(convert, false);
	code = cli_close_output(cli);
	if (error && error != -EPIPE && !code && !damaged) {
		base_error_system(&err, error, "the report cannot be written");
		code = cli_fail(cli, &err);
	}
	if (!error)
		cli_convert_lost(cli, file, options.to, lost);
	return damaged ? damaged : code;
}
