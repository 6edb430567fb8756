/* SPDX-License-Identifier: MIT */
/*
 * FETCH: where an argument's value comes from. A register, a word of the stack, a constant; and memory, read as often as it is nested.
 *
 * Columns of errors are those of the kernel's error_log: of what is nested the part that is wrong, of a bracket that is missing where it
 * should be.
 *
 * Source: Documentation/trace/uprobetracer.rst.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "probe/input.h"
#include "probe/nearest.h"

#define STACK_WORD_LIMIT 2048 /* as the kernel's: 16 KiB of stack */
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Between system calls these never change. */
#define USER_CS 0x33
#define USER_SS 0x2b

static const char *const register_names[] = {
	"ax",  "bx",  "cx",  "dx",  "si",  "di",  "bp",	 "sp",	"r8",  "r9",  "r10", "r11",   "r12", "r13",
	"r14", "r15", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "ip",  "flags", "cs",  "ss",
};

/* What is known by name and not done yet. */
static const struct {
	const char *start;
	const char *why;
} later_fetches[] = {
	{ "$params", "$params needs debug information, which is not supported here" },
	{ "$vars", "$vars needs debug information, which is not supported here" },
	{ "%sdt", "USDT markers (%sdt_..) are not supported yet" },
};

static const char *find_later(const char *at, size_t length)
{
	for (size_t i = 0; i < COUNT(later_fetches); i++) {
		size_t start = strlen(later_fetches[i].start);

		if (length >= start && memcmp(at, later_fetches[i].start, start) == 0)
			return later_fetches[i].why;
	}
	return NULL;
}

static bool is_word(const char *at, const char *end, const char *word)
{
	return (size_t)(end - at) == strlen(word) && memcmp(at, word, strlen(word)) == 0;
}

static bool starts_with(const char *at, const char *end, const char *word)
{
	return (size_t)(end - at) >= strlen(word) && memcmp(at, word, strlen(word)) == 0;
}

/* ---- registers ---- */

static void set_immediate(struct probe_arg *arg, uint64_t value)
{
	arg->source = PROBE_ARG_IMMEDIATE;
	arg->value = value;
}

/* "%xmmN"; false: another register, or none. */
static bool parse_vector(const char *at, const char *end, struct probe_arg *arg)
{
	static const char start[] = "%xmm";
	size_t digits = (size_t)(end - at) - strlen(start);
	uint64_t number;

	if ((size_t)(end - at) <= strlen(start) || memcmp(at, start, strlen(start)) || digits > 2 || (digits == 2 && at[4] == '0') ||
	    !probe_is_digit(at[4]) || !probe_number(at + strlen(start), end, &number) || number > 15)
		return false;
	arg->source = PROBE_ARG_REGISTER;
	arg->is_vector = true;
	arg->word = 2 * (uint32_t)number;
	return true;
}

/* "%REG,SCALE" behind a comma, of "%REG,%REG,SCALE". */
static int parse_index(struct probe_input *input, const char *at, const char *end, struct probe_arg *arg)
{
	const char *comma = memchr(at, ',', (size_t)(end - at));
	const char *name_end = comma ? comma : end;
	unsigned width = 0;
	uint64_t scale = 1;
	int reg = *at == '%' ? isa_reg_parse(at + 1, (size_t)(name_end - at) - 1, &width) : -1;

	if (reg < 0 || reg >= ISA_ORIG_AX || width != 64) /* those before it are the general ones, but for sp */
		return probe_input_fail(input, at, "an index is a register of 64 bits: %%REG,%%REG,SCALE");
	if (comma && (!probe_number(comma + 1, end, &scale) || (scale != 1 && scale != 2 && scale != 4 && scale != 8)))
		return probe_input_fail(input, comma + 1, "the scale of an index is 1, 2, 4 or 8");
	arg->index = (enum isa_reg)reg;
	arg->scale = (uint8_t)scale;
	return 0;
}

static int parse_register(struct probe_input *input, const char *at, const char *end, struct probe_arg *arg);

/* "%REG,%REG,SCALE", or without the first. */
static int parse_indexed(struct probe_input *input, const char *at, const char *comma, const char *end, struct probe_arg *arg)
{
	int error = 0;

	if (comma == at)
		set_immediate(arg, 0);
	else
		error = parse_register(input, at, comma, arg);
	if (!error && comma + 1 == end)
		error = probe_input_fail(input, end, "an index is expected here: %%REG,%%REG,SCALE");
	if (!error && (arg->is_vector || arg->source_bits != 64 || (comma > at && arg->source != PROBE_ARG_REGISTER)))
		error = probe_input_fail(input, at, "an address with an index begins with a general register of 64 bits");
	return error ? error : parse_index(input, comma + 1, end, arg);
}

static int parse_register(struct probe_input *input, const char *at, const char *end, struct probe_arg *arg)
{
	size_t length = (size_t)(end - at) - 1;
	unsigned width = 64;
	const char *comma = memchr(at, ',', (size_t)(end - at));
	int reg = isa_reg_parse(at + 1, length, &width);
	char more[48];

	if (comma)
		return parse_indexed(input, at, comma, end, arg);
	if (parse_vector(at, end, arg))
		return 0;
	if (reg < 0) {
		probe_hint(more, sizeof(more), "%", probe_nearest(at + 1, length, register_names, COUNT(register_names)));
		return probe_input_fail(input, at, "there is no register '%.*s'%s", (int)(end - at), at, more);
	}
	arg->source_bits = (uint8_t)width;
	arg->source = PROBE_ARG_REGISTER;
	arg->reg = (enum isa_reg)reg;
	if (reg == ISA_IP)
		arg->source = PROBE_ARG_IP;
	else if (reg == ISA_CS || reg == ISA_SS)
		set_immediate(arg, reg == ISA_CS ? USER_CS : USER_SS);
	else if (reg == ISA_ORIG_AX) /* no system call is being made */
		set_immediate(arg, UINT64_MAX);
	return 0;
}

/* ---- variables ---- */

/* Digits in [at, end), less than @limit. */
static bool parse_digits(const char *at, const char *end, uint32_t limit, uint32_t *ret)
{
	uint32_t value = 0;

	if (at == end)
		return false;
	for (; at < end; at++) {
		if (!probe_is_digit(*at))
			return false;
		value = value * 10 + (uint32_t)(*at - '0');
		if (value >= limit)
			return false;
	}
	*ret = value;
	return true;
}

/* "$stack" or "$stackN" */
static int parse_stack(struct probe_input *input, const char *at, const char *end, struct probe_arg *arg)
{
	const char *digits = at + strlen("$stack");

	arg->source = PROBE_ARG_REGISTER;
	arg->reg = ISA_SP;
	if (digits == end)
		return 0;
	arg->source = PROBE_ARG_STACK;
	if (parse_digits(digits, end, STACK_WORD_LIMIT, &arg->word))
		return 0;
	if (strspn(digits, "0123456789") >= (size_t)(end - digits))
		return probe_input_fail(input, at, "words of the stack go up to $stack%d", STACK_WORD_LIMIT - 1);
	return probe_input_fail(input, at, "'%.*s' is not a word of the stack; write $stack0, $stack1 ..", (int)(end - at),
				at);
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

/* "$argN", from 1: the integers of the System V calling convention. The stack's word 0 is the return address. */
static int parse_argument(struct probe_input *input, const char *at, const char *end, struct probe_arg *arg)
{
	static const enum isa_reg regs[] = { ISA_DI, ISA_SI, ISA_DX, ISA_CX, ISA_R8, ISA_R9 };
	const struct probe_spec *spec = input->spec;
	uint32_t number;

	if (!parse_digits(at + strlen("$arg"), end, STACK_WORD_LIMIT, &number) || number == 0)
		return probe_input_fail(input, at, "'%.*s' is no argument of a function; write $arg1, $arg2 ..",
					(int)(end - at), at);
	if (spec->kind != PROBE_PLACE || (!spec->by_offset && spec->offset))
		return probe_input_fail(input, at, "$arg%u is known only where a function is entered", number);
	arg->at_entry = true;
	arg->source = number <= COUNT(regs) ? PROBE_ARG_REGISTER : PROBE_ARG_STACK;
	if (number <= COUNT(regs))
		arg->reg = regs[number - 1];
	else
		arg->word = number - COUNT(regs);
	return 0;
}

static int parse_variable(struct probe_input *input, const char *at, const char *end, struct probe_arg *arg)
{
	const char *later = find_later(at, (size_t)(end - at));

	if (later)
		return probe_input_fail(input, at, "%s", later);
	if (is_word(at, end, "$retval"))
		return parse_retval(input, at, arg);
	if (starts_with(at, end, "$stack"))
		return parse_stack(input, at, end, arg);
	if (starts_with(at, end, "$arg"))
		return parse_argument(input, at, end, arg);
	if (is_word(at, end, "$goid")) {
		arg->source = PROBE_ARG_GOID;
		return 0;
	}
	if (is_word(at, end, "$comm") || is_word(at, end, "$COMM")) {
		arg->source = PROBE_ARG_COMM;
		return 0;
	}
	return probe_input_fail(input, at,
				"there is no '%.*s'; $stack, $stackN, $retval, $argN, $comm and $goid can be recorded",
				(int)(end - at), at);
}

/* ---- constants ---- */

/* "\"TEXT\"", at the backslash. */
static int parse_text(struct probe_input *input, const char *at, const char *end, struct probe_arg *arg)
{
	struct probe_spec *spec = input->spec;
	size_t length = (size_t)(end - at) - 2;

	if (length == 0 || end[-1] != '"')
		return probe_input_fail(input, end, "this string is not closed; write \\\"text\"");
	if (spec->strings_used + length > sizeof(spec->strings))
		return probe_input_fail(input, at, "the strings of a probe have at most %zu bytes together",
					sizeof(spec->strings));
	arg->source = PROBE_ARG_TEXT;
	arg->value = spec->strings_used;
	memcpy(spec->strings + spec->strings_used, at + 2, length - 1);
	spec->strings_used += (uint32_t)length; /* with the NUL that is there already */
	return 0;
}

/* "\VALUE" */
static int parse_immediate(struct probe_input *input, const char *at, const char *end, struct probe_arg *arg)
{
	const char *digits = at + 1;
	bool negative = false;
	uint64_t value;

	if (digits < end && *digits == '"')
		return parse_text(input, at, end, arg);
	if (digits < end && (*digits == '-' || *digits == '+'))
		negative = *digits++ == '-';
	if (!probe_number(digits, end, &value) || (negative && value > 1ULL << 63))
		return probe_input_fail(input, at + 1, "'%.*s' is not a value; write \\10, \\-1, \\0x10 or \\\"text\"",
					(int)(end - at - 1), at + 1);
	set_immediate(arg, negative ? 0 - value : value);
	return 0;
}

/* ---- memory ---- */

static int add_read(struct probe_input *input, const char *at, struct probe_arg *arg, int64_t offset)
{
	if (arg->nreads == PROBE_READS)
		return probe_input_fail(input, at, "memory is read more than %d times for one value", PROBE_READS);
	arg->offset[arg->nreads++] = offset;
	return 0;
}

/* "@ADDRESS" or "@+FILEOFFSET" */
static int parse_memory(struct probe_input *input, const char *at, const char *end, struct probe_arg *arg)
{
	bool in_file = end - at > 1 && at[1] == '+';

	if (!in_file && (end - at < 2 || !probe_is_digit(at[1])))
		return probe_input_fail(input, at,
					"variables by name (@NAME) need debug information, which is not supported here; write "
					"@ADDRESS or @+FILEOFFSET");
	arg->source = in_file ? PROBE_ARG_FILE : PROBE_ARG_IMMEDIATE;
	if (!probe_number(at + 1 + in_file, end, &arg->value))
		return probe_input_fail(input, at, "'%.*s' is not %s", (int)(end - at) - 1 - in_file, at + 1 + in_file,
					in_file ? "a file offset; write @+0x1234" : "an address; write @0x1234");
	return add_read(input, at, arg, 0);
}

/* "+OFFSET(FETCH)", "-OFFSET(FETCH)", also with a u behind the sign: in user space, where everything is here */
static int parse_nested(struct probe_input *input, const char *at, const char *end, struct probe_arg *arg)
{
	bool negative = *at == '-';
	const char *digits = at + 1 + (end - at > 1 && at[1] == 'u');
	const char *open = memchr(digits, '(', (size_t)(end - digits));
	const char *close;
	uint64_t offset;
	int error;

	if (!open)
		return probe_input_fail(input, at, "memory is read as %cOFFSET(FETCH), with brackets", *at);
	if (!probe_number(digits, open, &offset) || offset > INT64_MAX)
		return probe_input_fail(input, at, "'%.*s' is not an offset; write +8(%%di), +0x10(%%di) or -8(%%bp)",
					(int)(open - digits), digits);
	close = memrchr(open + 1, ')', (size_t)(end - open - 1));
	if (!close)
		return probe_input_fail(input, end, "the bracket of %.*s is not closed", (int)(open - at + 1), at);
	if (close + 1 != end)
		return probe_input_fail(input, close + 1, "behind the bracket :TYPE or a blank is expected");
	error = probe_parse_fetch(input, open + 1, close, arg);
	if (error)
		return error;
	if (arg->source == PROBE_ARG_COMM || arg->source == PROBE_ARG_TEXT || arg->source == PROBE_ARG_GOID)
		return probe_input_fail(input, open + 1, "'%.*s' is not an address", (int)(close - open - 1), open + 1);
	return add_read(input, open + 1, arg, negative ? -(int64_t)offset : (int64_t)offset);
}

static int refuse(struct probe_input *input, const char *at, const char *end)
{
	int length = (int)(end - at);
	unsigned width;

	if (length == 0)
		return probe_input_fail(input, at, "a value is expected here: %%REGISTER, $stackN, +OFFSET(FETCH) ..");
	if (isa_reg_parse(at, (size_t)length, &width) >= 0)
		return probe_input_fail(input, at, "a register is written with %%: %%%.*s", length, at);
	return probe_input_fail(input, at,
				"'%.*s' cannot be recorded: variables need debug information, which is not "
				"supported here; name a register (%%di, %%si, %%dx ..), $stackN or memory, as +8(%%di)",
				length, at);
}

int probe_parse_fetch(struct probe_input *input, const char *at, const char *end, struct probe_arg *arg)
{
	const char *later = find_later(at, (size_t)(end - at));

	arg->source_bits = 64;
	if (at == end)
		return refuse(input, at, end);
	if (*at == '%' && later)
		return probe_input_fail(input, at, "%s", later);
	switch (*at) {
	case '%':
		return parse_register(input, at, end, arg);
	case '$':
		return parse_variable(input, at, end, arg);
	case '@':
		return parse_memory(input, at, end, arg);
	case '+':
	case '-':
		return parse_nested(input, at, end, arg);
	case '\\':
		return parse_immediate(input, at, end, arg);
	case ',':
		return parse_indexed(input, at, at, end, arg);
	default:
		return refuse(input, at, end);
	}
}
