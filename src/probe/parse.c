/* SPDX-License-Identifier: MIT */
/*
 * Probe text -> specification: which form it is, the event's name, the place. Arguments are in args.c.
 *
 * The text comes from outside: nothing about it is assumed but that it is terminated. What later versions will know is
 * refused by its name, so that nobody takes it for a misspelling.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
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

static bool is_name_start(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

bool probe_is_name(const char *at, size_t length)
{
	if (length == 0 || !is_name_start(at[0]))
		return false;
	for (size_t i = 1; i < length; i++) {
		if (!is_name_start(at[i]) && !probe_is_digit(at[i]))
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
	while (is_name_start(*equals) || probe_is_digit(*equals))
		equals++;
	if (*equals != '=' || equals == at)
		return false;
	return !memchr(equals, '/', (size_t)(probe_word_end(equals) - equals));
}

/* ---- numbers ---- */

/* 0x.. or decimal; returns the end of the digits, NULL when there are none, when they overflow, or for octal. */
static const char *parse_number(const char *at, uint64_t *ret)
{
	unsigned base = at[0] == '0' && (at[1] == 'x' || at[1] == 'X') ? 16 : 10;
	const char *start = base == 16 ? at + 2 : at;
	uint64_t value = 0;

	if (base == 10 && at[0] == '0' && probe_is_digit(at[1]))
		return NULL;
	for (at = start; isxdigit((unsigned char)*at) && (base == 16 || probe_is_digit(*at)); at++) {
		unsigned digit = probe_is_digit(*at) ? (unsigned)(*at - '0') : (unsigned)((*at | 0x20) - 'a') + 10;

		if (value > (UINT64_MAX - digit) / base)
			return NULL;
		value = value * base + digit;
	}
	if (at == start)
		return NULL;
	*ret = value;
	return at;
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

/* "FILE:0x1234": @place is known to start with a digit. */
static int parse_file_offset(struct probe_input *input, const struct piece *place, bool kernel_form)
{
	struct probe_spec *spec = input->spec;
	bool hex = place->at[0] == '0' && (place->at[1] == 'x' || place->at[1] == 'X');
	const char *end = parse_number(place->at, &spec->offset);

	if (!hex && !kernel_form)
		return probe_input_fail(input, place->at,
					"source lines (FUNCTION:LINE) are not supported yet, and a file "
					"offset is written in hex: FILE:0x1234");
	if (end && *end == '(')
		return probe_input_fail(input, end,
					"reference counters (OFFSET(COUNTER), of USDT markers) are not "
					"supported yet; probe FILE:OFFSET without it");
	if (!end || end != place->end)
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
	const char *stop = parse_number(at + 1, &spec->offset);

	if (!stop || stop != end)
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

static int parse_bare_symbol(struct probe_input *input, struct piece *place, bool kernel_form)
{
	struct probe_spec *spec = input->spec;
	int error = refuse_later(input, place);
	const char *sign;

	if (!error)
		error = parse_suffix(input, place);
	if (error)
		return error;
	if (place->at < place->end && probe_is_digit(*place->at))
		return parse_file_offset(input, place, kernel_form);
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

static int parse_symbol(struct probe_input *input, const char **at, bool kernel_form)
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
	return parse_bare_symbol(input, &place, kernel_form);
}

static int parse_file(struct probe_input *input, const char **at, bool kernel_form)
{
	struct piece file = { .at = *at, .end = file_end(*at) };
	int error = 0;

	if (is_quote(**at)) {
		error = piece_quoted(input, *at, &file);
		if (error)
			return error;
		if (file.end[1] != ':' || file.end[2] == ':')
			file.end = NULL; /* it was the symbol */
	}
	if (!file.end) {
		if (kernel_form)
			return probe_input_fail(input, *at,
						"after the event's name FILE:SYMBOL or FILE:OFFSET is expected");
		return 0;
	}
	error = copy(input, &file, "file", input->spec->path, sizeof(input->spec->path));
	*at = file.end + (file.quoted ? 2 : 1);
	return error;
}

static int parse_place(struct probe_input *input, const char **at, bool kernel_form)
{
	static const char usdt[] = "%sdt_";
	const char *start = *at;
	int error;

	if (strncmp(start, usdt, strlen(usdt)) == 0)
		return probe_input_fail(input, start, "USDT markers (%%sdt_..) are not supported yet");
	if (probe_is_argument(start))
		return probe_input_fail(input, start,
					"a place is expected before the arguments: [FILE:]SYMBOL[+OFFSET]");
	error = parse_file(input, at, kernel_form);
	if (error)
		return error;
	if (!input->spec->path[0] && (start[0] == '/' || (start[0] == '.' && strchr("./", start[1]))))
		return probe_input_fail(input, start,
					"this is a file; add what to probe in it: FILE:SYMBOL or "
					"FILE:0xOFFSET");
	return parse_symbol(input, at, kernel_form);
}

/* ---- which form ---- */

static int copy_name(struct probe_input *input, const char *at, size_t length, const char *what, char *to)
{
	if (!probe_is_name(at, length))
		return probe_input_fail(input, at,
					"'%.*s' is not a name for %s; use letters, digits and _, a letter first",
					(int)length, at, what);
	if (length >= PROBE_NAME)
		return probe_input_fail(input, at, "the name of %s is longer than %d bytes", what, PROBE_NAME - 1);
	memcpy(to, at, length);
	to[length] = '\0';
	return 0;
}

/* "[GROUP/][EVENT]", [at, end) */
static int parse_event(struct probe_input *input, const char *at, const char *end)
{
	const char *slash = memchr(at, '/', (size_t)(end - at));

	if (slash) {
		int error = copy_name(input, at, (size_t)(slash - at), "a group", input->spec->group);

		if (error)
			return error;
		at = slash + 1;
	}
	return at == end ? 0 : copy_name(input, at, (size_t)(end - at), "an event", input->spec->event);
}

/* Could [at, end) be [GROUP/][EVENT]? A ':' or '.' says that it is a place instead. */
static bool looks_like_event(const char *at, const char *end)
{
	for (; at < end; at++) {
		if (!is_name_start(*at) && !probe_is_digit(*at) && *at != '/' && *at != '-')
			return false;
	}
	return true;
}

/* Is there a place after the blanks at @at? */
static bool place_follows(const char *at)
{
	at = probe_skip_blanks(at);
	return *at && !probe_is_argument(at);
}

/* Behind "p:" or "r:": the kernel's form when an event and a place follow, else the short form. */
static int parse_named(struct probe_input *input, char word, const char *event, const char **at, bool *kernel_form)
{
	const char *end = probe_word_end(event);

	if (!looks_like_event(event, end)) {
		*at = event;
		return 0;
	}
	if (!place_follows(end)) {
		if (end == event || memchr(event, '/', (size_t)(end - event)))
			return probe_input_fail(input, end, "the place is missing: %c:%.*s FILE:SYMBOL", word,
						(int)(end - event), event);
		*at = event;
		return 0;
	}
	*kernel_form = true;
	*at = probe_skip_blanks(end);
	return parse_event(input, event, end);
}

/*
 * The ':' or blank behind the kernel's "p" (at an instruction), "r" or "r8" (at returns; the kernel wants to know how many frames may be
 * open, nobody here does). NULL: a symbol or a file of such a name.
 */
static const char *kernel_word_end(const char *at)
{
	const char *end = at + 1;

	if (at[0] != 'p' && at[0] != 'r')
		return NULL;
	while (at[0] == 'r' && probe_is_digit(*end))
		end++;
	if (*end == ':' && end[1] != ':')
		return end == at + 1 || place_follows(probe_word_end(end)) ? end : NULL;
	return end == at + 1 && probe_is_blank(*end) && place_follows(end) ? end : NULL;
}

static int parse_form(struct probe_input *input, const char **at, bool *kernel_form)
{
	const char *start = *at;
	const char *end;

	*kernel_form = false;
	if (!*start)
		return probe_input_fail(input, start,
					"a probe is expected: [FILE:]SYMBOL[+OFFSET] [ARG...], as in 'malloc' "
					"or 'libc:malloc size=%%di'");
	if (start[0] == '-' && start[1] == ':')
		return probe_input_fail(input, start,
					"-: (removing an event) has no meaning here; probes go when their "
					"session ends");
	end = kernel_word_end(start);
	if (!end)
		return 0;
	if (start[0] == 'r')
		input->spec->kind = PROBE_RETURN;
	if (*end == ':')
		return parse_named(input, start[0], end + 1, at, kernel_form);
	*kernel_form = true;
	*at = probe_skip_blanks(end);
	return 0;
}

static int check_stack_words(struct probe_input *input)
{
	uint32_t words[PROBE_ARGS];
	size_t count = probe_stack_words(input->spec, words);
	size_t most = PROBE_STACK_WORDS - (input->spec->kind == PROBE_RETURN); /* one is the return address */

	if (count <= most)
		return 0;
	return probe_input_fail(input, input->text,
				"%zu different words of the stack are asked for, and a probe can read %zu; leave some "
				"$stackN out",
				count, most);
}

int probe_parse(const char *text, struct probe_spec *ret, size_t *column, struct utap_error *err)
{
	struct probe_spec spec = { .group = "utap" };
	struct probe_input input = { .text = text, .spec = &spec, .err = err };
	const char *at = probe_skip_blanks(text);
	bool kernel_form;
	int error = parse_form(&input, &at, &kernel_form);

	if (!error)
		error = parse_place(&input, &at, kernel_form);
	if (!error)
		error = probe_parse_args(&input, at);
	if (!error)
		error = check_stack_words(&input);
	if (error) {
		if (column)
			*column = input.column;
		return error;
	}
	*ret = spec;
	return 0;
}
