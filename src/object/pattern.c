/* SPDX-License-Identifier: MIT */
/*
 * Patterns against demangled names. Demangling everything is slow (node: 100,000 names), so a pattern also yields a
 * needle: an identifier that is in the mangled text of whatever it can match. Names that mangling abbreviates
 * (std::string is "Ss") must never become the needle; having none only costs time.
 */
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "object/internal.h"

#define ANONYMOUS "(anonymous namespace)"

static bool is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '$';
}

/* ABI tags are no part of the name a person writes; spaces only count where they part two words. In place. */
static void normalise(char *text)
{
	char *to = text;

	for (const char *from = text; *from;) {
		const char *tag_end = strncmp(from, "[abi:", 5) == 0 ? strchr(from, ']') : NULL;

		if (tag_end) {
			from = tag_end + 1;
			continue;
		}
		if (*from == ' ' && !(to > text && is_word(to[-1]) && is_word(from[1]))) {
			from++;
			continue;
		}
		*to++ = *from++;
	}
	*to = '\0';
}

static void cut_out(char *text, const char *part)
{
	size_t length = strlen(part);

	for (char *at = text; (at = strstr(at, part));)
		memmove(at, at + length, strlen(at + length) + 1);
}

static bool is_abbreviated(const char *word, size_t length)
{
	static const char *const abbreviated[] = { "std",           "allocator",      "basic_string", "basic_istream",
						   "basic_ostream", "basic_iostream", "operator" };
	char copy[16];

	if (length >= sizeof(copy))
		return false;
	memcpy(copy, word, length);
	copy[length] = '\0';
	for (size_t i = 0; i < sizeof(abbreviated) / sizeof(abbreviated[0]); i++)
		if (strstr(abbreviated[i], copy))
			return true;
	return false;
}

/* Past a bracketed part, or to the end. */
static const char *bracket_skip(const char *at, char open, char close)
{
	size_t depth = 0;

	for (; *at; at++) {
		depth += *at == open;
		depth -= *at == close;
		if (depth == 0)
			return at + 1;
	}
	return at;
}

/* The longest word of the path, before the parameters and outside of template arguments. */
static int needle_find(const char *pattern, char **ret)
{
	_cleanup_free_ char *path = strdup(pattern);
	const char *best = NULL;
	size_t best_length = 0;

	if (!path)
		return -ENOMEM;
	cut_out(path, ANONYMOUS "::");
	if (strchr(path, ' ') && (!strchr(path, '(') || strchr(path, ' ') < strchr(path, '(')))
		return 0; /* "vtable for X" and its like */
	for (const char *at = path; *at && *at != '(';) {
		size_t length = 0;

		while (is_word(at[length]))
			length++;
		if (length == 8 && strncmp(at, "operator", 8) == 0)
			break;
		if (length > best_length && !is_abbreviated(at, length)) {
			best = at;
			best_length = length;
		}
		if (length)
			at += length;
		else if (*at == '<')
			at = bracket_skip(at, '<', '>');
		else if (*at == '{')
			at = bracket_skip(at, '{', '}');
		else if (*at == '[')
			at = bracket_skip(at, '[', ']');
		else
			at++;
	}
	if (!best)
		return 0;
	*ret = strndup(best, best_length);
	return *ret ? 0 : -ENOMEM;
}

static bool has_parameters(const char *text)
{
	for (const char *at = text; (at = strchr(at, '(')); at++)
		if (strncmp(at, ANONYMOUS, strlen(ANONYMOUS)) != 0)
			return true;
	return false;
}

int object_pattern_init(const char *text, struct object_pattern *ret)
{
	const char *version = *text ? strchr(text + 1, '@') : NULL;
	struct object_pattern pattern = {
		.text = strndup(text, version ? (size_t)(version - text) : strlen(text)),
	};
	int r = pattern.text ? 0 : -ENOMEM;

	if (!r) {
		pattern.readable = strdup(pattern.text);
		r = pattern.readable ? 0 : -ENOMEM;
	}
	if (!r) {
		normalise(pattern.readable);
		r = needle_find(pattern.readable, &pattern.needle);
	}
	if (r) {
		object_pattern_free(&pattern);
		return r;
	}
	pattern.glob = strpbrk(pattern.text, "*?[");
	pattern.scoped = strstr(pattern.text, "::") || strpbrk(pattern.text, "(<");
	pattern.parameters = has_parameters(pattern.readable);
	*ret = pattern;
	return 0;
}

void object_pattern_free(struct object_pattern *pattern)
{
	free(pattern->text);
	free(pattern->readable);
	free(pattern->needle);
}

/* The compiler's marks on whole functions (not on .cold or .part fragments): f.isra.0, f.constprop.0.lto_priv.1 */
static void clone_marks_cut(char *name)
{
	static const char *const marks[] = { ".isra", ".constprop", ".lto_priv", ".llvm" };

	for (;;) {
		char *dot = strrchr(name, '.');
		bool cut = false;

		if (dot && dot[1] && strspn(dot + 1, "0123456789") == strlen(dot + 1)) {
			*dot = '\0';
			char *word = strrchr(name, '.');

			for (size_t i = 0; word && i < sizeof(marks) / sizeof(marks[0]); i++)
				cut |= strcmp(word, marks[i]) == 0;
			*(cut ? word : dot) = cut ? '\0' : '.';
		}
		if (!cut)
			return;
	}
}

static bool is_qualifiers(const char *text)
{
	static const char *const qualifiers[] = { "const", "volatile", "&&", "&" };

	while (*text) {
		size_t i = 0;

		while (i < 4 && strncmp(text, qualifiers[i], strlen(qualifiers[i])) != 0)
			i++;
		if (i == 4)
			return false;
		text += strlen(qualifiers[i]);
	}
	return true;
}

/* "f" names all f<..>, and f::<..> of Rust. */
static bool is_template_of(const char *name, const char *pattern)
{
	size_t length = strlen(pattern);

	if (!length || pattern[length - 1] == ':' || strncmp(name, pattern, length) != 0)
		return false;
	name += length;
	if (strncmp(name, "::<", 3) == 0)
		name += 2;
	return *name == '<' && *bracket_skip(name, '<', '>') == '\0';
}

/* A method of a Rust type is "<crate::Type>::f" in the newer mangling: people write crate::Type::f. In place. */
static void plain_path(char *name)
{
	if (name[0] != '<')
		return;
	const char *rest = bracket_skip(name, '<', '>');
	const char *trait = strstr(name, " as ");

	if (strncmp(rest, "::", 2) != 0 || (trait && trait < rest))
		return;
	size_t inside = (size_t)(rest - name) - 2;

	memmove(name, name + 1, inside);
	memmove(name + inside, rest, strlen(rest) + 1);
}

/* A part of a function that the compiler moved away. */
static bool is_fragment(const char *mangled)
{
	return strstr(mangled, ".cold") || strstr(mangled, ".part.");
}

static enum object_match compare(const struct object_pattern *pattern, const char *bare, const char *full)
{
	const char *wanted = pattern->readable;
	size_t length = strlen(wanted);

	if (strcmp(bare, wanted) == 0 || strcmp(full, wanted) == 0 || is_template_of(bare, wanted))
		return OBJECT_MATCH_EXACT;
	if (pattern->parameters && strncmp(full, wanted, length) == 0 && is_qualifiers(full + length))
		return OBJECT_MATCH_EXACT;
	if (pattern->glob && (fnmatch(wanted, bare, 0) == 0 || (pattern->parameters && fnmatch(wanted, full, 0) == 0)))
		return OBJECT_MATCH_GLOB;
	return OBJECT_MATCH_NONE;
}

static enum object_match compare_forms(const struct object_pattern *pattern, char *bare, char *full)
{
	normalise(bare);
	if (full)
		normalise(full);
	enum object_match match = compare(pattern, bare, full ? full : bare);

	if (match != OBJECT_MATCH_EXACT && bare[0] == '<') {
		plain_path(bare);
		enum object_match plain = compare(pattern, bare, full ? full : bare);

		match = plain > match ? plain : match;
	}
	return match;
}

int object_pattern_match(const struct object_pattern *pattern, const char *name)
{
	if (!object_demangle_possible(name) || (pattern->needle && !strstr(name, pattern->needle)) || is_fragment(name))
		return OBJECT_MATCH_NONE;
	_cleanup_free_ char *mangled = strdup(name);
	_cleanup_free_ char *bare = NULL;
	_cleanup_free_ char *full = NULL;

	if (!mangled)
		return -ENOMEM;
	clone_marks_cut(mangled);
	int r = object_demangle_as(mangled, OBJECT_DEMANGLE_BARE, &bare);

	if (!r)
		r = pattern->parameters ? object_demangle_as(mangled, OBJECT_DEMANGLE_FULL, &full) : 0;
	if (r)
		return r == -ENOMEM ? r : OBJECT_MATCH_NONE;
	return (int)compare_forms(pattern, bare, full);
}
