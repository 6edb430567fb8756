/* SPDX-License-Identifier: MIT */
/*
 * Which form a probe's text has, and the event's name: the short form, the kernel's, or a line that takes an event back.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "probe/input.h"

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

/*
 * "[GROUP/][EVENT]", [at, end); where there is no '/' the kernel takes a '.', too. Each of them may be missing, but not both.
 */
static int parse_event(struct probe_input *input, const char *at, const char *end)
{
	const char *slash = memchr(at, '/', (size_t)(end - at));

	if (!slash)
		slash = memchr(at, '.', (size_t)(end - at));
	if (slash == at)
		return probe_input_fail(input, at, "the name of a group is expected before %c", *slash);
	if (slash) {
		int error = copy_name(input, at, (size_t)(slash - at), "a group", input->spec->group);

		return error || slash + 1 == end ?
			       error :
			       copy_name(input, slash + 1, (size_t)(end - slash) - 1, "an event", input->spec->event);
	}
	if (at == end)
		return probe_input_fail(input, at, "the name of an event is expected here");
	return copy_name(input, at, (size_t)(end - at), "an event", input->spec->event);
}

/* Could [at, end), which a place follows, be [GROUP/][EVENT]? A ':' says that it is a place itself. */
static bool looks_like_event(const char *at, const char *end)
{
	return !memchr(at, ':', (size_t)(end - at));
}

/* Is there a place after the blanks at @at? */
static bool place_follows(const char *at)
{
	at = probe_skip_blanks(at);
	return *at && !probe_is_argument(at);
}

/* Nothing but letters of names, and what may separate or be mistaken in them. */
static bool is_plain_event(const char *at, const char *end)
{
	for (; at < end; at++) {
		if (!probe_is_name_start(*at) && !probe_is_digit(*at) && *at != '/' && *at != '-')
			return false;
	}
	return true;
}

/* Behind "p:" or "r:": the kernel's form when an event and a place follow, else the short form. */
static int parse_named(struct probe_input *input, char word, const char *event, const char **at)
{
	const char *end = probe_word_end(event);

	if (!looks_like_event(event, end) || (!place_follows(end) && !is_plain_event(event, end))) {
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
	input->kernel_form = true;
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

int probe_parse_form(struct probe_input *input, const char **at)
{
	const char *start = *at;
	const char *end;

	if (!*start)
		return probe_input_fail(input, start,
					"a probe is expected: [FILE:]SYMBOL[+OFFSET] [ARG...], as in 'malloc' "
					"or 'libc:malloc size=%%di'");
	if (start[0] == '-' && start[1] == ':')
		return probe_input_fail(input, start,
					"-: (removing an event) is for lists of probes (-F); probes go when "
					"their session ends");
	end = kernel_word_end(start);
	if (!end)
		return 0;
	if (start[0] == 'r')
		input->spec->kind = PROBE_RETURN;
	if (*end == ':')
		return parse_named(input, start[0], end + 1, at);
	input->kernel_form = true;
	*at = probe_skip_blanks(end);
	return 0;
}

int probe_parse_removal(const char *text, char group[static PROBE_NAME], char event[static PROBE_NAME], size_t *column,
			struct utap_error *err)
{
	struct probe_spec spec;
	struct probe_input input = { .text = text, .spec = &spec, .err = err };
	const char *at = probe_skip_blanks(text);
	const char *end = probe_word_end(at);
	int error;

	if (at[0] != '-' || at[1] != ':')
		return 0;
	spec.group[0] = spec.event[0] = '\0';
	error = parse_event(&input, at + 2, end);
	if (!error && *probe_skip_blanks(end))
		error = probe_input_fail(&input, probe_skip_blanks(end), "nothing can follow the event that is removed");
	if (error) {
		if (column)
			*column = input.column;
		return error;
	}
	memcpy(group, spec.group, PROBE_NAME);
	memcpy(event, spec.event, PROBE_NAME);
	return 1;
}
