/* SPDX-License-Identifier: MIT */
/* What text and JSON share; inside the room only. */
#ifndef FORMAT_INSIDE_H
#define FORMAT_INSIDE_H

#include "format/format.h"

/** format_safe() - the text with '?' for every byte and character that does not belong on a terminal */
void format_safe(FILE *out, const char *text);
/** format_json_arg() - an argument as a JSON value; what could not be read is null */
void format_json_arg(FILE *out, const struct trace_arg *arg, uint64_t word, const struct format_where *where);
/** format_arg_is_short() - could only a part of it be read? */
bool format_arg_is_short(const struct trace_arg *arg, uint64_t word);

/** format_stack_of() - the stack of a record; a copied one unwound, where @call has somebody who does; false: it has none */
bool format_stack_of(const struct trace_probe *probe, const struct trace_record *record, const struct format_call *call,
		     struct trace_stack *ret);
/** format_stack_frame() - address number @i, and of what it is behind what is known; false: nothing. @call may be NULL */
bool format_stack_frame(const struct trace_stack *stack, uint32_t i, const struct trace_record *record,
			const struct format_call *call, uint64_t *address, struct format_symbol *symbol);
/** format_file_name() - the last part of a path; what is no path as it is */
const char *format_file_name(const char *path);
/** format_args_shown() - arguments without the user stack, which is the last */
static inline uint32_t format_args_shown(const struct trace_probe *probe)
{
	return probe->nargs && trace_is_stack(&probe->args[probe->nargs - 1]) ? probe->nargs - 1 : probe->nargs;
}
/** format_stack_text() - a line for each address, as ftrace's: " => symbol+0x12 (file)"; " => ..." where it is cut off */
void format_stack_text(FILE *out, const struct trace_stack *stack, const struct trace_record *record, const struct format_call *call);
/** format_stack_json() - an array of objects; of a copied stack that nobody unwinds an object; null: nothing could be read */
void format_stack_json(FILE *out, const struct trace_stack *stack, const struct trace_record *record, const struct format_call *call);

#endif
