/* SPDX-License-Identifier: MIT */
/* Taking apart what names a place by its source or its static probe. The words of the text are split once; each piece is then a range of one. */
#include "probe/source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "probe/input.h"

#define PIECES 4 /* FILE:FUNC:RLN, FILE:sdt:PROVIDER:NAME */

/* Part of the text. */
struct piece {
	const char *at;
	size_t length;
};

static const char *const suffixes[] = { "c", "h", "cc", "cpp", "cxx", "C", "hh", "hpp", "rs", "go", "S", "s", "f90", "d", "m", "zig", "y", "l" };

static bool is_digits(struct piece piece)
{
	size_t i = 0;

	while (i < piece.length && probe_is_digit(piece.at[i]))
		i++;
	return i && i == piece.length;
}

static bool is_piece(struct piece piece, const char *text) { return strlen(text) == piece.length && !memcmp(piece.at, text, piece.length); }

static struct piece behind(struct piece piece, size_t skip) { return (struct piece){ piece.at + skip, piece.length - skip }; }

/* Does the last part of the path end as a source file's name does? */
static bool is_source(struct piece piece)
{
	size_t dot = piece.length;

	while (dot > 0 && piece.at[dot - 1] != '.' && piece.at[dot - 1] != '/')
		dot--;
	if (dot < 2 || piece.at[dot - 1] != '.')
		return false;
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
		if (is_piece(behind(piece, dot), suffixes[i]))
			return true;
	return false;
}

static bool has(struct piece piece, char c) { return memchr(piece.at, c, piece.length) != NULL; }

/* FUNC@SRC, but not malloc@GLIBC_2.2.5. */
static bool names_source_behind_at(struct piece piece)
{
	const char *at = memchr(piece.at, '@', piece.length);
	size_t skip = at ? (size_t)(at - piece.at) + 1 : 0;
	struct piece rest = behind(piece, skip);

	return at && (has(rest, '/') || is_source((struct piece){ rest.at, strcspn(rest.at, ":;+% \t") < rest.length ?
											 strcspn(rest.at, ":;+% \t") :
											 rest.length }));
}

/* A word ends at a blank, but not inside quotes. */
static const char *word_end(const char *at)
{
	char quote = 0;

	for (; *at && (quote || !probe_is_blank(*at)); at++) {
		if (quote)
			quote = *at == quote ? 0 : quote;
		else if (*at == '\'' || *at == '"')
			quote = *at;
	}
	return at;
}

/* At each ':' that is not part of '::', nor inside quotes; 0: too many. */
static size_t split(struct piece word, struct piece pieces[static PIECES])
{
	size_t count = 1;
	char quote = 0;

	pieces[0] = (struct piece){ word.at, 0 };
	for (size_t i = 0; i < word.length; i++) {
		char c = word.at[i];

		if (quote || c == '\'' || c == '"')
			quote = !quote ? c : c == quote ? 0 : quote;
		if (c == ':' && i + 1 < word.length && word.at[i + 1] == ':' && !quote) {
			pieces[count - 1].length += 2;
			i++;
		} else if (c == ':' && !quote) {
			if (count == PIECES)
				return 0;
			pieces[count++] = (struct piece){ word.at + i + 1, 0 };
		} else {
			pieces[count - 1].length++;
		}
	}
	return count;
}

/* ---- which kind it is ---- */

/* Of an argument, without NAME=: a variable, where uprobe_events would have a fetch argument? */
static bool is_variable(struct piece arg)
{
	size_t name = 0;

	while (name < arg.length && (probe_is_name(arg.at, name + 1)))
		name++;
	if (name && name < arg.length && arg.at[name] == '=')
		arg = behind(arg, name + 1);
	if (!arg.length)
		return false;
	return probe_is_name(arg.at, 1) || *arg.at == '*' || *arg.at == '(' || is_piece(arg, "$vars") || is_piece(arg, "$params");
}

static bool has_variables(const char *args)
{
	for (const char *at = probe_skip_blanks(args); *at && *at != '/'; at = probe_skip_blanks(word_end(at)))
		if (is_variable((struct piece){ at, (size_t)(word_end(at) - at) }))
			return true;
	return false;
}

struct parts {
	struct piece file, place;
	bool is_static;
};

/* false: it is no place of ours. */
static bool find_parts(struct piece word, const char *args, struct parts *ret)
{
	struct piece pieces[PIECES];
	size_t count = split(word, pieces);
	size_t first = 0;
	struct piece last;

	*ret = (struct parts){ .file = { word.at, 0 } };
	if (count >= 3 && (is_piece(pieces[0], "sdt") || (count == 4 && is_piece(pieces[1], "sdt")))) {
		ret->is_static = true;
		ret->file = count == 4 ? pieces[0] : ret->file;
		first = count - 2;
	} else if (count == 2 && word.length > 5 && !memcmp(word.at, "%sdt_", 5)) {
		ret->is_static = true;
		ret->place = behind(word, 5);
		return true;
	} else if (count < 1 || count > 3) {
		return false;
	} else {
		last = pieces[count - 1];
		first = count - 1;
		/* A line number belongs to what is before it. */
		if (count > 1 && is_digits(last) && (is_source(pieces[count - 2]) || !has(pieces[count - 2], '/')))
			first--;
		else if (!has(last, ';') && !names_source_behind_at(last) && !has_variables(args))
			return false;
		if (first > 1 || (count == 3 && first == 0))
			return false;
		if (first)
			ret->file = pieces[0];
		/* In the kernel's language a number is an offset. */
		if (first == count - 1 && last.length && (is_digits(last) || !strncmp(last.at, "0x", 2)))
			return false;
	}
	ret->place = (struct piece){ pieces[first].at, (size_t)(word.at + word.length - pieces[first].at) };
	return true;
}

/* ---- taking it apart ---- */

static char *copy(struct piece piece)
{
	bool quoted = piece.length >= 2 && (*piece.at == '\'' || *piece.at == '"') && piece.at[piece.length - 1] == *piece.at;

	return quoted ? strndup(piece.at + 1, piece.length - 2) : strndup(piece.at, piece.length);
}

static int fail(const char *text, const char *at, const char *why, size_t *column, struct utap_error *err)
{
	size_t where = (size_t)(at - text) + 1;

	if (column)
		*column = where;
	return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "column %zu: %s", where, why);
}

/* "p:", "r:GROUP/EVENT", "p"; *at moves behind it. */
static int take_head(const char *text, const char **at, struct probe_source *source, size_t *column, struct utap_error *err)
{
	const char *start = *at;
	const char *end = word_end(start);
	const char *name = start + 2;
	const char *slash;

	if ((*start != 'p' && *start != 'r') || (start[1] != ':' && !probe_is_blank(start[1])))
		return 0;
	if (start[1] == ':' && start[2] == ':') /* p::f, a function in a namespace */
		return 0;
	source->is_return = *start == 'r';
	*at = probe_skip_blanks(end);
	if (start[1] != ':' || name == end)
		return 0;
	slash = memchr(name, '/', (size_t)(end - name));
	if (slash && (!probe_is_name(name, (size_t)(slash - name)) || slash - name >= PROBE_NAME))
		return fail(text, name, "a group's name is letters, digits and '_'", column, err);
	if (slash) {
		memcpy(source->group, name, (size_t)(slash - name));
		name = slash + 1;
	}
	if ((name < end || !slash) && (!probe_is_name(name, (size_t)(end - name)) || end - name >= PROBE_NAME))
		return fail(text, name, "an event's name is letters, digits and '_'", column, err);
	memcpy(source->event, name, (size_t)(end - name));
	return 0;
}

static int take_args(const char *text, const char *at, struct probe_source *source, size_t *column, struct utap_error *err)
{
	size_t cap = 0;

	for (at = probe_skip_blanks(at); *at && *at != '/'; at = probe_skip_blanks(word_end(at))) {
		if (source->nargs == PROBE_ARGS)
			return fail(text, at, "too many arguments", column, err);
		if (base_grow(&source->args, &cap, source->nargs + 1, sizeof(*source->args)))
			return -ENOMEM;
		source->args[source->nargs] = strndup(at, (size_t)(word_end(at) - at));
		if (!source->args[source->nargs])
			return -ENOMEM;
		source->nargs++;
	}
	source->filter = strdup(at);
	return source->filter ? 0 : -ENOMEM;
}

static int take_place(const char *text, const struct parts *parts, struct probe_source *source, size_t *column, struct utap_error *err)
{
	static const char mark[] = "%return";
	struct piece place = parts->place;
	const char *percent = memchr(place.at, '%', place.length);

	if (percent && !parts->is_static) {
		size_t rest = (size_t)(place.at + place.length - percent);

		if (rest != sizeof(mark) - 1 || memcmp(percent, mark, rest))
			return fail(text, percent, "only %return can follow here", column, err);
		source->is_return = true;
		place.length -= rest;
	}
	if (!place.length)
		return fail(text, place.at, "a function, line or static probe is missing", column, err);
	source->is_static = parts->is_static;
	if (source->is_static && source->is_return)
		return fail(text, text, "a static probe is a place, it has no returns", column, err);
	source->place = copy(place);
	source->file = copy(parts->file);
	source->text = strdup(text);
	return source->place && source->file && source->text ? 0 : -ENOMEM;
}

/* The word that names the place; what has a bad head and is not ours is for probe_parse() to refuse. */
static struct piece place_word(const char *text)
{
	struct probe_source ignored = { 0 };
	struct utap_error why;
	const char *at = probe_skip_blanks(text);

	(void)take_head(text, &at, &ignored, NULL, &why); /* moves on in any case */
	return (struct piece){ at, (size_t)(word_end(at) - at) };
}

int probe_source_parse(const char *text, struct probe_source *ret, size_t *column, struct utap_error *err)
{
	struct probe_source source = { 0 };
	const char *at = probe_skip_blanks(text);
	struct piece word = place_word(text);
	struct parts parts;
	int error;

	if (!word.length || !find_parts(word, word.at + word.length, &parts))
		return 0;
	error = take_head(text, &at, &source, column, err);
	if (!error)
		error = take_place(text, &parts, &source, column, err);
	if (!error)
		error = take_args(text, word.at + word.length, &source, column, err);
	if (error) {
		probe_source_free(&source);
		return error == -ENOMEM ? base_error_system(err, error, "cannot keep a probe") : error;
	}
	*ret = source;
	return 1;
}

void probe_source_free(struct probe_source *source)
{
	for (size_t i = 0; i < source->nargs; i++)
		free(source->args[i]);
	free(source->args);
	free(source->file);
	free(source->place);
	free(source->filter);
	free(source->text);
	*source = (struct probe_source){ 0 };
}
