/* SPDX-License-Identifier: MIT */
/* Places as perf probe's language writes them: taken apart into function, file, line, pattern, offset. And the match of patterns with lines. */
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "object/dwarf_inside.h"

#define PATTERN_MAX 1024

static int bad(struct utap_error *err, const char *text, const char *what)
{
	return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "'%.200s': %s", text, what);
}

/* Where the name of a function or file ends. Blanks, "::" and what stands in parentheses and angles belong to names. */
static size_t name_end(const char *text, const char *stops)
{
	unsigned nested = 0;
	size_t at = 0;

	for (; text[at]; at++) {
		if (text[at] == '(' || text[at] == '<')
			nested++;
		else if ((text[at] == ')' || text[at] == '>') && nested)
			nested--;
		else if (text[at] == ':' && text[at + 1] == ':')
			at++;
		else if (!nested && strchr(stops, text[at]))
			break;
	}
	return at;
}

static bool number(const char **at, int base, uint64_t *ret)
{
	char *end;

	if (**at < '0' || **at > '9')
		return false;
	errno = 0;
	*ret = strtoull(*at, &end, base);
	*at = end;
	return !errno;
}

static int lines_parse(const char *text, const char *at, bool range, struct dwarf_written *w, struct utap_error *err)
{
	w->has_line = true;
	if (!number(&at, 10, &w->line) || w->line > UINT32_MAX)
		return bad(err, text, "the number of a line is expected after the colon");
	w->last_line = w->line;
	if (range && (*at == '-' || *at == '+')) {
		bool count = *at++ == '+';

		w->has_range = true;
		if (!number(&at, 10, &w->last_line) || w->last_line > UINT32_MAX)
			return bad(err, text, "a range of lines is FIRST-LAST or FIRST+COUNT");
		if (count)
			w->last_line += w->line;
		if (w->last_line < w->line)
			return bad(err, text, "the range of lines ends before it starts");
	}
	return *at ? bad(err, text, "nothing can follow the number of a line") : 0;
}

static int rest_parse(const char *text, const char *at, bool range, struct dwarf_written *w, struct utap_error *err)
{
	switch (*at) {
	case '\0':
		return 0;
	case ':':
		return lines_parse(text, at + 1, range, w, err);
	case ';':
		w->pattern = strdup(at + 1);
		if (!w->pattern)
			return base_error(err, -ENOMEM, UTAP_ERROR_SYSTEM, "no memory");
		return at[1] && strlen(at) < PATTERN_MAX ? 0 : bad(err, text, "a pattern is expected after the semicolon");
	case '+':
		at++;
		return number(&at, 0, &w->offset) && !*at ? 0 : bad(err, text, "an offset in bytes is expected after +");
	case '%':
		w->is_return = strcmp(at, "%return") == 0;
		return w->is_return ? 0 : bad(err, text, "only %return can follow %");
	default:
		return bad(err, text, "it is not understood");
	}
}

void dwarf_written_free(struct dwarf_written *written)
{
	free(written->function);
	free(written->source);
	free(written->pattern);
	*written = (struct dwarf_written) { 0 };
}

/* What can only be meant of a function; what a file cannot do. */
static int check(const char *text, const struct dwarf_written *w, bool range, struct utap_error *err)
{
	if (w->function && !*w->function)
		return bad(err, text, "the name of a function or of a file is missing");
	if (!w->function && !range && !w->has_line && !w->pattern)
		return bad(err, text, "of a file a line is needed: SRC:LINE or SRC;PATTERN");
	if (!w->function && (w->offset || w->is_return))
		return bad(err, text, "offsets and %return are of functions");
	if (range && (w->pattern || w->offset || w->is_return))
		return bad(err, text, "lines are shown of FUNC[@SRC][:FIRST[-LAST]] or SRC[:FIRST[-LAST]]");
	return 0;
}

static int parse(struct object_dwarf *dwarf, const char *text, bool range, struct dwarf_written *w, struct utap_error *err)
{
	size_t end = name_end(text, ":;@+%");
	const char *at = text + end;

	if (strncmp(text, "0x", 2) == 0) {
		at = text;
		w->by_address = number(&at, 16, &w->offset) && !*at;
		return w->by_address ? 0 : bad(err, text, "an address is written 0x and hexadecimal digits");
	}
	w->function = strndup(text, end);
	if (!w->function)
		return base_error(err, -ENOMEM, UTAP_ERROR_SYSTEM, "no memory");
	if (*at == '@') {
		size_t length = name_end(at + 1, ":;+%");

		w->source = strndup(at + 1, length);
		if (!w->source)
			return base_error(err, -ENOMEM, UTAP_ERROR_SYSTEM, "no memory");
		at += 1 + length;
	} else if (strchr(w->function, '.') && (*at == ':' || *at == ';' || range) && dwarf_has_source(dwarf, w->function)) {
		w->source = w->function;
		w->function = NULL;
	}
	int r = rest_parse(text, at, range, w, err);

	return r ? r : check(text, w, range, err);
}

int dwarf_written_parse(struct object_dwarf *dwarf, const char *text, bool range, struct dwarf_written *ret, struct utap_error *err)
{
	struct dwarf_written written = { 0 };
	int r = parse(dwarf, text, range, &written, err);

	if (r) {
		dwarf_written_free(&written);
		return r;
	}
	*ret = written;
	return 0;
}

bool dwarf_has_source(struct object_dwarf *dwarf, const char *source)
{
	for (size_t i = 0; i < dwarf->main->unit_count; i++)
		if (dwarf->main->units[i]->type != DW_UT_type && dwarf_unit_has_source(dwarf->main->units[i], source))
			return true;
	return false;
}

/* Blanks count nowhere, so both are compared without them. */
bool dwarf_pattern_matches(const char *line, size_t length, const char *pattern)
{
	char text[PATTERN_MAX];
	char wanted[PATTERN_MAX + 3];
	size_t used = 0;

	for (size_t i = 0; i < length && used < sizeof(text) - 1; i++)
		if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r')
			text[used++] = line[i];
	text[used] = '\0';
	used = 0;
	if (*pattern != '*')
		wanted[used++] = '*';
	for (; *pattern && used < sizeof(wanted) - 2; pattern++)
		if (*pattern != ' ' && *pattern != '\t')
			wanted[used++] = *pattern;
	if (wanted[used - 1] != '*')
		wanted[used++] = '*';
	wanted[used] = '\0';
	return fnmatch(wanted, text, 0) == 0;
}
