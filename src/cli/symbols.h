/* SPDX-License-Identifier: MIT */
/*
 * Names for addresses: of targets that run (asked of the session), and of recorded files (from the mappings that were recorded, and the
 * files they name). Code that no file holds is looked up in /tmp/perf-PID.map.
 *
 * A file is believed to be the recorded one when its build-id is, or where there is none its inode: else its addresses have no names.
 */
#ifndef CLI_SYMBOLS_H
#define CLI_SYMBOLS_H

#include "cli/cli.h"
#include "format/format.h"

struct cli_symbols;

/** cli_symbols_create() - @session: of targets that run; NULL: of a file. Borrowed */
int cli_symbols_create(struct session *session, struct cli_symbols **ret) BASE_MUST_CHECK;
void cli_symbols_destroy(struct cli_symbols *symbols);
/** cli_symbols_event() - the next event of @file: mappings and forks are learned, others passed over; 0 or -ENOMEM */
int cli_symbols_event(struct cli_symbols *symbols, const struct format_perf_file *file,
		      const struct format_perf_event *event) BASE_MUST_CHECK;
/** cli_symbols_find() - a format_symbol_fn; @arg is a struct cli_symbols */
bool cli_symbols_find(void *arg, uint32_t source, uint32_t pid, uint64_t addr, struct format_symbol *ret);
/** cli_symbols_unwind() - a format_unwind_fn; @arg is a struct cli_symbols */
bool cli_symbols_unwind(void *arg, const struct trace_record *record, const struct trace_stack *raw, struct trace_stack *ret);
/** cli_symbols_call() - let @call show symbols: of arguments, stacks, and of where @record returns to. Good for one record */
void cli_symbols_call(struct cli_symbols *symbols, const struct trace_record *record, struct format_call *call);

#endif
