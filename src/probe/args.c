/* SPDX-License-Identifier: MIT */
/*
 * The arguments of a probe: [NAME=]FETCH[:TYPE]. FETCH is a register, the stack pointer or a word of the stack; the
 * rest of the kernel's language (memory, strings, variables) is refused by its name.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "probe/input.h"
#include "probe/nearest.h"

#define STACK_WORD_LIMIT 2048 /* as the kernel's: 16 KiB of stack */
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const type_names[] = { "u8",  "u16", "u32", "u64", "s8",  "s16",
					  "s32", "s64", "x8",  "x16", "x32", "x64" };
static const char *const register_names[] = {
	"ax",  "bx",  "cx",  "dx",  "si",  "di",  "bp",  "sp",  "r8",  "r9",  "r10", "r11",   "r12",
	"r13", "r14", "r15", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "flags",
};
/* Fields every event has; an argument of that name could not be told from them. */
static const char *const reserved_names[] = { "common_type", "common_flags", "common_preempt_count", "common_pid",
					      "common_tgid", "__probe_ip",   "__probe_ret_ip",       "__probe_func" };

/* What is known by name and not done yet. */
struct later {
	const char *start;
	const char *why;
};

static const struct later later_fetches[] = {
	{ "$comm", "$comm is not supported yet; every record shows its thread's name anyway" },
	{ "$arg", "$argN is not supported yet; at a function's entry the arguments are %di, %si, %dx, %cx, %r8, %r9" },
	{ "$params", "$params is not supported yet; it needs debug information" },
	{ "$vars", "$vars is not supported yet; it needs debug information" },
	{ "@", "reading memory (@ADDRESS, @+OFFSET) is not supported yet; registers and $stackN are" },
	{ "+", "reading memory (+OFFSET(FETCH)) is not supported yet; registers and $stackN are" },
	{ "-", "reading memory (-OFFSET(FETCH)) is not supported yet; registers and $stackN are" },
	{ "\\", "immediate values (\\VALUE) are not supported yet" },
	{ "%sdt", "USDT markers (%sdt_..) are not supported yet" },
};
static const struct later later_types[] = {
	{ "string", "strings are not supported yet; record the pointer, as x64" },
	{ "ustring", "strings are not supported yet; record the pointer, as x64" },
	{ "symbol", "symbols as a type are not supported yet; record the address, as x64" },
	{ "symstr", "symbols as a type are not supported yet; record the address, as x64" },
	{ "char", "characters as a type are not supported yet; use u8" },
};

static const char *find_later(const struct later *table, size_t count, const char *at, size_t length)
{
	for (size_t i = 0; i < count; i++) {
		size_t start = strlen(table[i].start);

		if (length >= start && memcmp(at, table[i].start, start) == 0)
			return table[i].why;
	}
	return NULL;
}

/* " (did you mean X?)" or nothing. */
static void hint(char *text, size_t size, const char *prefix, const char *nearest)
{
	text[0] = '\0';
	if (nearest)
		snprintf(text, size, "; did you mean %s%s?", prefix, nearest);
}

/* ---- FETCH ---- */

static int parse_register(struct probe_input *input, const char *at, const char *end, struct probe_arg *arg,
			  unsigned *width)
{
	size_t length = (size_t)(end - at) - 1;
	int reg = isa_reg_parse(at + 1, length, width);
	char more[48];

	if (reg == ISA_IP) /* one program serves all places of a probe, and none of them is told its own address */
		return probe_input_fail(input, at,
					"%.*s cannot be recorded: it is the probed place, which every event shows",
					(int)(end - at), at);
	if (reg >= 0) {
		arg->source = PROBE_ARG_REGISTER;
		arg->reg = (enum isa_reg)reg;
		return 0;
	}
	hint(more, sizeof(more), "%", probe_nearest(at + 1, length, register_names, COUNT(register_names)));
	return probe_input_fail(input, at, "there is no register '%.*s'%s", (int)(end - at), at, more);
}

/* "$stack" or "$stackN" */
static int parse_stack(struct probe_input *input, const char *at, const char *end, struct probe_arg *arg)
{
	const char *digits = at + strlen("$stack");
	uint32_t word = 0;

	if (digits == end) {
		arg->source = PROBE_ARG_REGISTER;
		arg->reg = ISA_SP;
		return 0;
	}
	for (const char *c = digits; c < end; c++) {
		if (!probe_is_digit(*c))
			return probe_input_fail(input, at,
						"'%.*s' is not a word of the stack; write $stack0, $stack1 ..",
						(int)(end - at), at);
		word = word * 10 + (uint32_t)(*c - '0');
		if (word >= STACK_WORD_LIMIT)
			return probe_input_fail(input, at, "words of the stack go up to $stack%d",
						STACK_WORD_LIMIT - 1);
	}
	arg->source = PROBE_ARG_STACK;
	arg->word = word;
	return 0;
}

static int parse_retval(struct probe_input *input, const char *at, struct probe_arg *arg)
{
	if (input->spec->kind != PROBE_RETURN)
		return probe_input_fail(input, at,
					"$retval is known only where a function returns; write r:EVENT FILE:SYMBOL or "
					"FILE:SYMBOL%%return");
	arg->source = PROBE_ARG_RETVAL;
	arg->reg = ISA_AX;
	return 0;
}

/* The number of the goroutine (Go). It is read as if it were one of the stack's words, of a number that none has. */
static int parse_goid(struct probe_arg *arg)
{
	arg->source = PROBE_ARG_GOID;
	arg->word = PROBE_GOID_WORD;
	return 0;
}

static int refuse_fetch(struct probe_input *input, const char *at, const char *end)
{
	const char *later = find_later(later_fetches, COUNT(later_fetches), at, (size_t)(end - at));
	int length = (int)(end - at);
	unsigned width;

	if (later)
		return probe_input_fail(input, at, "%s", later);
	if (length == 0)
		return probe_input_fail(input, at, "a value is expected here: %%REGISTER, $stack or $stackN");
	if (*at == '$')
		return probe_input_fail(input, at, "there is no '%.*s'; $stack and $stackN can be recorded", length,
					at);
	if (isa_reg_parse(at, (size_t)length, &width) >= 0)
		return probe_input_fail(input, at, "a register is written with %%: %%%.*s", length, at);
	return probe_input_fail(input, at,
				"'%.*s' cannot be recorded: variables need debug information, which is not "
				"supported yet; name a register (%%di, %%si, %%dx ..) or $stackN",
				length, at);
}

static int parse_fetch(struct probe_input *input, const char *at, const char *end, struct probe_arg *arg,
		       unsigned *width)
{
	size_t length = (size_t)(end - at);

	*width = 64;
	if (length == strlen("$retval") && memcmp(at, "$retval", length) == 0)
		return parse_retval(input, at, arg);
	if (length == strlen("$goid") && memcmp(at, "$goid", length) == 0)
		return parse_goid(arg);
	if (length > strlen("$stack") - 1 && memcmp(at, "$stack", strlen("$stack")) == 0)
		return parse_stack(input, at, end, arg);
	if (*at == '%' && length > 1 && !find_later(later_fetches, COUNT(later_fetches), at, length))
		return parse_register(input, at, end, arg, width);
	return refuse_fetch(input, at, end);
}

/* ---- TYPE ---- */

static int refuse_type(struct probe_input *input, const char *at, const char *end)
{
	size_t length = (size_t)(end - at);
	const char *later = find_later(later_types, COUNT(later_types), at, length);
	char more[48];

	if (length > 1 && at[0] == 'b' && probe_is_digit(at[1]))
		return probe_input_fail(input, at,
					"bit fields (bWIDTH@OFFSET/SIZE) are not supported yet; record the whole "
					"word, as x64");
	if (later)
		return probe_input_fail(input, at, "%s", later);
	if (memchr(at, '[', length))
		return probe_input_fail(input, at,
					"arrays (TYPE[N]) are not supported yet; record the pointer, as x64");
	hint(more, sizeof(more), "", probe_nearest(at, length, type_names, COUNT(type_names)));
	return probe_input_fail(input, at, "there is no type '%.*s'; the types are u8..u64, s8..s64 and x8..x64%s",
				(int)length, at, more);
}

static int parse_type(struct probe_input *input, const char *at, const char *end, struct probe_arg *arg)
{
	static const enum probe_arg_format formats[] = { PROBE_FORMAT_UNSIGNED, PROBE_FORMAT_SIGNED, PROBE_FORMAT_HEX };

	for (size_t i = 0; i < COUNT(type_names); i++) {
		if (strlen(type_names[i]) != (size_t)(end - at) || memcmp(at, type_names[i], (size_t)(end - at)) != 0)
			continue;
		arg->format = formats[i / 4];
		arg->bits = (uint8_t)(8U << (i % 4));
		return 0;
	}
	return refuse_type(input, at, end);
}

/* ---- NAME ---- */

static int check_name(struct probe_input *input, const char *at, const char *name)
{
	const struct probe_spec *spec = input->spec;

	for (size_t i = 0; i < COUNT(reserved_names); i++) {
		if (strcmp(name, reserved_names[i]) == 0)
			return probe_input_fail(input, at, "'%s' is a field that every event has; choose another name",
						name);
	}
	for (size_t i = 0; i < spec->nargs; i++) {
		if (strcmp(name, spec->args[i].name) == 0)
			return probe_input_fail(input, at, "two arguments are named '%s'", name);
	}
	return 0;
}

/* Fills the name and moves *@at behind "NAME=", if there is one. */
static int parse_name(struct probe_input *input, const char **at, const char *end, struct probe_arg *arg)
{
	const char *equals = memchr(*at, '=', (size_t)(end - *at));
	const char *start = *at;
	size_t length;

	if (!equals) {
		snprintf(arg->name, sizeof(arg->name), "arg%zu", input->spec->nargs + 1);
		return check_name(input, start, arg->name);
	}
	length = (size_t)(equals - start);
	if (!probe_is_name(start, length))
		return probe_input_fail(input, start,
					"'%.*s' is not a name for an argument; use letters, digits and _, a "
					"letter first",
					(int)length, start);
	if (length >= sizeof(arg->name))
		return probe_input_fail(input, start, "the name of an argument is longer than %d bytes",
					PROBE_NAME - 1);
	memcpy(arg->name, start, length);
	*at = equals + 1;
	return check_name(input, start, arg->name);
}

/* ---- all of it ---- */

static int parse_arg(struct probe_input *input, const char *at, const char *end, struct probe_arg *arg)
{
	unsigned width;
	const char *colon;
	int error = parse_name(input, &at, end, arg);

	if (error)
		return error;
	colon = memchr(at, ':', (size_t)(end - at));
	error = parse_fetch(input, at, colon ? colon : end, arg, &width);
	if (error)
		return error;
	snprintf(arg->text, sizeof(arg->text), "%.*s", (int)((colon ? colon : end) - at), at);
	arg->format = arg->source == PROBE_ARG_GOID ? PROBE_FORMAT_UNSIGNED : PROBE_FORMAT_HEX;
	arg->bits = (uint8_t)width;
	if (!colon)
		return 0;
	error = parse_type(input, colon + 1, end, arg);
	if (!error && arg->bits > width)
		return probe_input_fail(input, colon + 1, "%.*s is wider than %s, which has %u bits",
					(int)(end - colon - 1), colon + 1, arg->text, width);
	return error;
}

int probe_parse_args(struct probe_input *input, const char *at)
{
	struct probe_spec *spec = input->spec;

	for (at = probe_skip_blanks(at); *at; at = probe_skip_blanks(at)) {
		const char *end = probe_word_end(at);
		int error;

		if (spec->nargs == PROBE_ARGS)
			return probe_input_fail(input, at, "a probe records at most %d arguments", PROBE_ARGS);
		error = parse_arg(input, at, end, &spec->args[spec->nargs]);
		if (error)
			return error;
		spec->nargs++;
		at = end;
	}
	return 0;
}

size_t probe_stack_words(const struct probe_spec *spec, uint32_t *words)
{
	size_t count = 0;

	for (size_t i = 0; i < spec->nargs; i++) {
		size_t known = 0;

		if (spec->args[i].source != PROBE_ARG_STACK && spec->args[i].source != PROBE_ARG_GOID)
			continue;
		while (known < count && words[known] != spec->args[i].word)
			known++;
		if (known == count)
			words[count++] = spec->args[i].word;
	}
	return count;
}
