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

#endif
