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
/** format_stack_text() - a line for each address, as ftrace's: " => symbol+0x12 (file)"; " => ..." where it is cut off */
void format_stack_text(FILE *out, const struct trace_stack *stack, const struct trace_record *record, const struct format_call *call);
/** format_stack_json() - an array of objects; of a copied stack that nobody unwinds an object; null: nothing could be read */
void format_stack_json(FILE *out, const struct trace_stack *stack, const struct trace_record *record, const struct format_call *call);

#endif
