/* SPDX-License-Identifier: MIT */
/* Names of events that nobody named. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "probe/probe.h"

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Where a demangled name's parameters begin; a name in a nameless namespace starts with a bracket that is none. */
static size_t name_length(const char *symbol)
{
	static const char nameless[] = "(anonymous namespace)";
	unsigned depth = 0;
	size_t i = 0;

	while (symbol[i] && symbol[i] != '@') {
		if (strncmp(symbol + i, nameless, strlen(nameless)) == 0) {
			i += strlen(nameless);
			continue;
		}
		if (symbol[i] == '(' && depth == 0 && i > 0)
			break;
		if (symbol[i] == '<')
			depth++;
		else if (symbol[i] == '>' && depth)
			depth--;
		i++;
	}
	return i;
}

/* Runs of what cannot stand in a name become one '_'. */
static size_t put_name(const char *symbol, char *name, size_t size)
{
	size_t length = name_length(symbol);
	size_t used = 0;
	bool pending = false;

	for (size_t i = 0; i < length && used + 1 < size; i++) {
		char c = symbol[i];

		if (!is_letter(c) && !is_digit(c) && c != '_') {
			pending = used > 0;
			continue;
		}
		if ((pending || (used == 0 && is_digit(c))) && used + 2 < size)
			name[used++] = '_';
		pending = false;
		if (used == 0 && is_digit(c))
			continue;
		name[used++] = c;
	}
	name[used] = '\0';
	return used;
}

void probe_event_name(const char *symbol, uint64_t offset, char *name, size_t size)
{
	char tail[24] = "";
	size_t room;

	if (size == 0)
		return;
	if (!symbol[0]) {
		snprintf(name, size, "abs_%" PRIx64, offset);
		return;
	}
	if (offset)
		snprintf(tail, sizeof(tail), "_0x%" PRIx64, offset);
	room = strlen(tail) + 2 < size ? size - strlen(tail) : size;
	if (put_name(symbol, name, room) == 0)
		snprintf(name, room, "probe");
	snprintf(name + strlen(name), size - strlen(name), "%s", tail);
}
