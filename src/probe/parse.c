/* SPDX-License-Identifier: MIT */
/*
 * Probe text -> specification: the place. Which form the text has is form.c's, arguments are args.c's.
 *
 * The text comes from outside: nothing about it is assumed but that it is terminated. What later versions will know is
 * refused by its name, so that nobody takes it for a misspelling.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probe/input.h"

/* Ends of source file names, to tell perf's FUNC@FILE.c from a symbol version (malloc@GLIBC_2.2.5). */
static const char *const source_endings[] = { ".c", ".cc", ".cpp", ".cxx", ".h", ".hpp", ".rs", ".go", ".S", ".s" };

int probe_input_fail(struct probe_input *input, const char *at, const char *format, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	input->column = (size_t)(at - input->text) + 1;
	return base_error(input->err, -EINVAL, UTAP_ERROR_USAGE, "column %zu: %s", input->column, text);
}

bool probe_is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

bool probe_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

bool probe_is_name_start(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

bool probe_is_name(const char *at, size_t length)
{
	if (length == 0 || !probe_is_name_start(at[0]))
		return false;
	for (size_t i = 1; i < length; i++) {
		if (!probe_is_name_start(at[i]) && !probe_is_digit(at[i]))
			return false;
	}
	return true;
}

const char *probe_skip_blanks(const char *at)
{
	while (probe_is_blank(*at))
		at++;
	return at;
}

const char *probe_word_end(const char *at)
{
	while (*at && !probe_is_blank(*at))
		at++;
	return at;
}

bool probe_is_argument(const char *at)
{
	const char *equals = at;

	if (*at && strchr("%$@+-\\", *at))
		return true;
	while (probe_is_name_start(*equals) || probe_is_digit(*equals))
		equals++;
	if (*equals != '=' || equals == at)
		return false;
	return !memchr(equals, '/', (size_t)(probe_word_end(equals) - equals));
}

/* ---- numbers ---- */

bool probe_number(const char *at, const char *end, uint64_t *ret)
{
	unsigned base = end - at > 1 && at[0] == '0' ? 8 : 10;
	uint64_t value = 0;

	if (base == 8 && (at[1] == 'x' || at[1] == 'X')) {
		base = 16;
		at += 2;
	}
	if (at >= end)
		return false;
	for (; at < end; at++) {
		unsigned digit = probe_is_digit(*at) ? (unsigned)(*at - '0') : (unsigned)((*at | 0x20) - 'a') + 10;

		if (!isxdigit((unsigned char)*at) || digit >= base || value > (UINT64_MAX - digit) / base)
			return false;
		value = value * base + digit;
	}
	*ret = value;
	return true;
}

/* ---- the place ---- */

/* A piece of the text. */
struct piece {
	const char *at;
	const char *end;
	bool quoted;
};

static int piece_quoted(struct probe_input *input, const char *at, struct piece *ret)
{
	const char *end = strchr(at + 1, *at);

	if (!end)
		return probe_input_fail(input, at, "this quote (%c) is not closed", *at);
	*ret = (struct piece) { .at = at + 1, .end = end, .quoted = true };
	return 0;
}

static bool is_quote(char c)
{
	return c == '\'' || c == '"';
}

/* The ':' that ends FILE: the first that is not part of '::', before the first blank. */
static const char *file_end(const char *at)
{
	for (; *at && !probe_is_blank(*at); at++) {
		if (*at != ':')
			continue;
		if (at[1] != ':')
			return at;
		while (at[1] == ':')
			at++;
	}
	return NULL;
}

/*
 * Where a bare symbol ends: at a blank outside brackets, so that "f<int, char>(int, int)" needs no quotes. Brackets
 * that are not closed ("operator<") are letters like others: then the first blank ends it.
 */
static const char *symbol_end(const char *at)
{
	unsigned depth = 0;
	const char *c = at;

	for (; *c && (depth || !probe_is_blank(*c)); c++) {
		if (*c == '(' || *c == '<')
			depth++;
		else if ((*c == ')' || *c == '>') && depth && !(*c == '>' && c > at && c[-1] == '-'))
			depth--;
	}
	return depth ? probe_word_end(at) : c;
}

static bool ends_with(const char *at, const char *end, const char *tail)
{
	size_t length = strlen(tail);

	return (size_t)(end - at) >= length && memcmp(end - length, tail, length) == 0;
}

/* A '*', '?' or '[' that is not part of a C++ name: an operator, or a type among parameters. */
static bool is_glob(const char *at, const char *end)
{
	unsigned depth = 0;

	for (const char *c = at; c < end; c++) {
		if (*c == '(' || *c == '<')
			depth++;
		else if ((*c == ')' || *c == '>') && depth)
			depth--;
		else if (!depth && strchr("*?[", *c) && !ends_with(at, c, "operator"))
			return true;
	}
	return false;
}

static int copy(struct probe_input *input, const struct piece *piece, const char *what, char *to, size_t size)
{
	size_t length = (size_t)(piece->end - piece->at);

	if (length == 0)
		return probe_input_fail(input, piece->at, "a %s is expected here", what);
	if (length >= size)
		return probe_input_fail(input, piece->at, "this %s is longer than %zu bytes", what, size - 1);
	memcpy(to, piece->at, length);
	to[length] = '\0';
	return 0;
}

/* What can only follow a place in later versions. */
static int refuse_later(struct probe_input *input, const struct piece *place)
{
	const char *at = memchr(place->at, '@', (size_t)(place->end - place->at));

	for (size_t i = 0; at && i < sizeof(source_endings) / sizeof(source_endings[0]); i++) {
		if (ends_with(at, place->end, source_endings[i]))
			return probe_input_fail(input, at,
						"source files (@FILE) are not supported yet; write "
						"FILE:SYMBOL with the program or library as FILE");
	}
	at = memchr(place->at, ';', (size_t)(place->end - place->at));
	if (at)
		return probe_input_fail(input, at, "source patterns (;PATTERN) are not supported yet");
	return 0;
}

/* "%return" and ":*" at the end of a place say what is probed of the function; both are cut off. */
static int parse_suffix(struct probe_input *input, struct piece *place)
{
	static const char returns[] = "%return", each[] = ":*";
	bool is_each = false;

	for (;;) {
		if (ends_with(place->at, place->end, returns)) {
			place->end -= strlen(returns);
			input->spec->kind = PROBE_RETURN;
		} else if (ends_with(place->at, place->end, each)) {
			place->end -= strlen(each);
			is_each = true;
		} else {
			break;
		}
	}
	if (!is_each)
		return 0;
	if (input->spec->kind == PROBE_RETURN)
		return probe_input_fail(input, place->end, "a return probe is of a function, not of each instruction (:*)");
	input->spec->kind = PROBE_EACH;
	return 0;
}

/* "OFFSET(COUNTER)": the counter is cut off. */
static int parse_reference(struct probe_input *input, struct piece *place)
{
	const char *open = memchr(place->at, '(', (size_t)(place->end - place->at));
	const char *close = open ? memchr(open, ')', (size_t)(place->end - open)) : NULL;

	if (!open)
		return 0;
	if (!close)
		return probe_input_fail(input, place->end, "the bracket of the reference counter is not closed");
	if (close + 1 != place->end)
		return probe_input_fail(input, close + 1, "behind the reference counter a blank is expected");
	if (!probe_number(open + 1, close, &input->spec->reference) || !input->spec->reference)
		return probe_input_fail(input, open + 1, "'%.*s' is not the file offset of a reference counter",
					(int)(close - open) - 1, open + 1);
	place->end = open;
	return 0;
}

/* "FILE:0x1234": @place is known to start with a digit; what may follow it is cut off. */
static int parse_file_offset(struct probe_input *input, const struct piece *place)
{
	struct probe_spec *spec = input->spec;
	bool hex = place->at[0] == '0' && (place->at[1] == 'x' || place->at[1] == 'X');
	const char *percent = memchr(place->at, '%', (size_t)(place->end - place->at));

	if (!hex && !input->kernel_form)
		return probe_input_fail(input, place->at,
					"source lines (FUNCTION:LINE) are not supported yet, and a file "
					"offset is written in hex: FILE:0x1234");
	if (percent)
		return probe_input_fail(input, percent, "behind a file offset only %%return can follow");
	if (!probe_number(place->at, place->end, &spec->offset))
		return probe_input_fail(input, place->at, "'%.*s' is not a file offset; write it in hex: FILE:0x1234",
					(int)(place->end - place->at), place->at);
	if (!spec->path[0])
		return probe_input_fail(input, place->at, "a file offset needs its file: FILE:%.*s",
					(int)(place->end - place->at), place->at);
	if (spec->kind == PROBE_EACH)
		return probe_input_fail(input, place->end, "each instruction (:*) is asked for of a function, by its name");
	spec->by_offset = true;
	return 0;
}

/* "+0x10" at @at, ends with the place. */
static int parse_symbol_offset(struct probe_input *input, const char *at, const char *end)
{
	struct probe_spec *spec = input->spec;
	bool octal = end - at > 2 && at[1] == '0' && probe_is_digit(at[2]); /* people mean decimal numbers here */

	if (octal || !probe_number(at + 1, end, &spec->offset))
		return probe_input_fail(input, at + 1, "'%.*s' is not an offset; write +0x10 or +16", (int)(end - at - 1),
					at + 1);
	if (spec->kind == PROBE_RETURN && spec->offset)
		return probe_input_fail(input, at, "a return probe is of a whole function: it takes no offset");
	if (spec->kind == PROBE_EACH)
		return probe_input_fail(input, at, "each instruction (:*) is asked for of a function: it takes no offset");
	return 0;
}

/* The '+' before an offset; that of a C++ operator is none. */
static const char *offset_sign(const struct piece *place)
{
	for (const char *c = place->end; c-- > place->at;) {
		if (*c != '+')
			continue;
		if (ends_with(place->at, c, "operator") || ends_with(place->at, c, "operator+"))
			return NULL;
		return c;
	}
	return NULL;
}

static int parse_bare_symbol(struct probe_input *input, struct piece *place)
{
	struct probe_spec *spec = input->spec;
	bool is_offset = place->at < place->end && probe_is_digit(*place->at);
	int error = refuse_later(input, place);
	const char *sign;

	if (!error && is_offset)
		error = parse_reference(input, place);
	if (!error)
		error = parse_suffix(input, place);
	if (error)
		return error;
	if (is_offset)
		return parse_file_offset(input, place);
	sign = offset_sign(place);
	if (sign) {
		error = parse_symbol_offset(input, sign, place->end);
		if (error)
			return error;
		place->end = sign;
	}
	error = copy(input, place, "symbol", spec->symbol, sizeof(spec->symbol));
	if (error)
		return error;
	spec->glob = is_glob(place->at, place->end);
	return 0;
}

static int parse_quoted_symbol(struct probe_input *input, const struct piece *symbol, const char *rest, const char *end)
{
	struct probe_spec *spec = input->spec;
	struct piece tail = { .at = rest, .end = end };
	int error = refuse_later(input, &tail);

	if (!error)
		error = parse_suffix(input, &tail);
	if (!error)
		error = copy(input, symbol, "symbol", spec->symbol, sizeof(spec->symbol));
	if (error || rest == tail.end)
		return error;
	if (*rest != '+')
		return probe_input_fail(input, rest,
					"after a quoted symbol +OFFSET, %%return, :* or a blank is expected");
	return parse_symbol_offset(input, rest, tail.end);
}

static int parse_symbol(struct probe_input *input, const char **at)
{
	struct piece place = { .at = *at };

	if (is_quote(**at)) {
		int error = piece_quoted(input, *at, &place);

		if (error)
			return error;
		*at = probe_word_end(place.end + 1);
		return parse_quoted_symbol(input, &place, place.end + 1, *at);
	}
	place.end = symbol_end(*at);
	*at = place.end;
	return parse_bare_symbol(input, &place);
}

/* In the kernel's form FILE may hold colons: its last one is followed by the offset, which the kernel prints as 0x.. */
static const char *kernel_file_end(const char *at)
{
	const char *end = probe_word_end(at);
	const char *colon = memrchr(at, ':', (size_t)(end - at));

	return colon && colon > at && colon[-1] != ':' && colon[1] == '0' && colon[2] == 'x' ? colon : file_end(at);
}

static int parse_file(struct probe_input *input, const char **at)
{
	struct piece file = { .at = *at, .end = input->kernel_form ? kernel_file_end(*at) : file_end(*at) };
	int error = 0;

	if (is_quote(**at)) {
		error = piece_quoted(input, *at, &file);
		if (error)
			return error;
		if (file.end[1] != ':' || file.end[2] == ':')
			file.end = NULL; /* it was the symbol */
	}
	if (!file.end) {
		if (input->kernel_form)
			return probe_input_fail(input, *at,
						"after the event's name FILE:SYMBOL or FILE:OFFSET is expected");
		return 0;
	}
	error = copy(input, &file, "file", input->spec->path, sizeof(input->spec->path));
	*at = file.end + (file.quoted ? 2 : 1);
	return error;
}

static int parse_place(struct probe_input *input, const char **at)
{
	static const char usdt[] = "%sdt_";
	const char *start = *at;
	int error;

	if (strncmp(start, usdt, strlen(usdt)) == 0)
		return probe_input_fail(input, start, "USDT markers (%%sdt_..) are not supported yet");
	if (probe_is_argument(start))
		return probe_input_fail(input, start,
					"a place is expected before the arguments: [FILE:]SYMBOL[+OFFSET]");
	error = parse_file(input, at);
	if (error)
		return error;
	if (!input->spec->path[0] && (start[0] == '/' || (start[0] == '.' && strchr("./", start[1]))))
		return probe_input_fail(input, start,
					"this is a file; add what to probe in it: FILE:SYMBOL or "
					"FILE:0xOFFSET");
	return parse_symbol(input, at);
}

int probe_parse(const char *text, struct probe_spec *ret, size_t *column, struct utap_error *err)
{
	_cleanup_free_ struct probe_spec *spec = calloc(1, sizeof(*spec));
	struct probe_input input = { .text = text, .spec = spec, .err = err };
	const char *at = probe_skip_blanks(text);
	int error;

	if (!spec)
		return base_error(err, -ENOMEM, UTAP_ERROR_SYSTEM, "no memory for a probe");
	snprintf(spec->group, sizeof(spec->group), "utap");
	error = probe_parse_form(&input, &at);
	if (!error)
		error = parse_place(&input, &at);
	if (!error)
		error = probe_parse_args(&input, at);
	if (error) {
		if (column)
			*column = input.column;
		return error;
	}
	memcpy(ret, spec, sizeof(*ret));
	return 0;
}
