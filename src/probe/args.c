/* SPDX-License-Identifier: MIT */
/*
 * The arguments of a probe: [NAME=]FETCH[:TYPE]. FETCH is fetch.c's, TYPE is type.c's; what both together may be, names and sizes are judged
 * here.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "probe/filter.h"
#include "probe/input.h"
#include "wire/wire.h"

#define KERNEL_NAME_MAX 32
#define KERNEL_FETCH_MAX 63
#define DIGITS(number) #number
#define NUMBER(number) DIGITS(number)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Fields every event has; an argument of that name could not be told from them. */
static const char *const reserved_names[] = { "common_type", "common_flags", "common_preempt_count", "common_pid",
					      "common_tgid", "__probe_ip",   "__probe_ret_ip",       "__probe_func" };

void probe_hint(char *text, size_t size, const char *prefix, const char *nearest)
{
	text[0] = '\0';
	if (nearest)
		snprintf(text, size, "; did you mean %s%s?", prefix, nearest);
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
	const char *equals = **at == '\\' ? NULL : memchr(*at, '=', (size_t)(end - *at));
	size_t most = input->kernel_form ? KERNEL_NAME_MAX : PROBE_NAME - 1;
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
	if (length > most)
		return probe_input_fail(input, start, "the name of an argument is longer than %zu bytes", most);
	memcpy(arg->name, start, length);
	*at = equals + 1;
	return check_name(input, start, arg->name);
}

/* ---- FETCH and TYPE together ---- */

/* Strings, and what is known without a TYPE to be one. */
static int check_string(struct probe_input *input, const char *type, const char *end, struct probe_arg *arg)
{
	bool is_known = arg->source == PROBE_ARG_COMM || arg->source == PROBE_ARG_TEXT;

	if (is_known) {
		if (type && ((size_t)(end - type) != strlen("string") || memcmp(type, "string", strlen("string")) != 0))
			return probe_input_fail(input, type, "this is a string, and can only be shown as one");
		arg->is_string = true;
		return 0;
	}
	if (arg->is_string && !arg->nreads && (arg->source != PROBE_ARG_IMMEDIATE || arg->count))
		return probe_input_fail(input, type,
					"a string is read from memory: write +0(FETCH):string where FETCH is its address");
	if (arg->count && !arg->nreads)
		return probe_input_fail(input, type,
					"an array is read from memory: write +0(FETCH):TYPE[N] where FETCH is its address");
	return 0;
}

static int check_type(struct probe_input *input, const char *type, const char *end, struct probe_arg *arg)
{
	int error = check_string(input, type, end, arg);

	if (error || arg->nreads || arg->is_string || !type || arg->bits <= arg->source_bits)
		return error;
	return probe_input_fail(input, type, "%.*s is wider than %.*s, which has %u bits", (int)(end - type), type,
				(int)arg->length, input->text + arg->at, arg->source_bits);
}

/* Of 128 bits a vector register alone has fields; each lies in one of its halves. What a function returns as floating point is in one. */
static int check_vector(struct probe_input *input, const char *type, struct probe_arg *arg)
{
	if (arg->source == PROBE_ARG_RETVAL && arg->format == PROBE_FORMAT_FLOAT && !arg->nreads)
		arg->is_vector = true;
	if (arg->is_vector && arg->nreads)
		return probe_input_fail(input, input->text + arg->at, "a vector register is not an address");
	if (arg->at_entry && arg->source == PROBE_ARG_REGISTER && arg->format == PROBE_FORMAT_FLOAT && !arg->nreads)
		return probe_input_fail(input, type, "$argN counts integers; floating-point arguments are in %%xmm0, %%xmm1 ..");
	if (arg->bits != 128)
		return 0;
	if (!arg->is_vector || arg->count)
		return probe_input_fail(input, type, "only vector registers have 128 bits");
	if (arg->field_at < 64 && arg->field_at + arg->field_bits > 64)
		return probe_input_fail(input, type, "a field of a vector register lies in its low or in its high 64 bits");
	arg->word += arg->field_at >= 64;
	arg->field_at %= 64;
	arg->bits = 64;
	return 0;
}

/* The ':' of ":TYPE"; a string given in the text may hold others. */
static const char *find_type(const char *at, const char *end)
{
	const char *quote = end - at > 2 && at[0] == '\\' && at[1] == '"' ? memchr(at + 2, '"', (size_t)(end - at) - 2) : NULL;

	at = quote ? quote : at;
	return memchr(at, ':', (size_t)(end - at));
}

static int parse_value(struct probe_input *input, const char *at, const char *end, struct probe_arg *arg)
{
	const char *colon = find_type(at, end);
	const char *fetch_end = colon ? colon : end;
	int error = 0;

	if (input->kernel_form && end - at > KERNEL_FETCH_MAX)
		return probe_input_fail(input, at, "this argument is longer than %d bytes, the most in this form", KERNEL_FETCH_MAX);
	if (colon)
		error = probe_parse_type(input, colon + 1, end, arg);
	if (!error)
		error = probe_parse_fetch(input, at, fetch_end, arg);
	if (error)
		return error;
	arg->at = (uint32_t)(at - input->text);
	arg->length = (uint32_t)(fetch_end - at);
	if (!colon) {
		arg->format = arg->source == PROBE_ARG_GOID ? PROBE_FORMAT_UNSIGNED : PROBE_FORMAT_HEX;
		arg->bits = arg->nreads ? 64 : arg->source_bits;
	}
	error = check_vector(input, colon ? colon + 1 : at, arg);
	if (!error && arg->scale && !arg->nreads)
		error = probe_input_fail(input, at, "%%REG,%%REG,SCALE is an address, and what lies there is read: +0(%%REG,%%REG,SCALE)");
	return error ? error : check_type(input, colon ? colon + 1 : NULL, end, arg);
}

/* ---- sizes ---- */

uint32_t probe_arg_inline(const struct probe_spec *spec, const struct probe_arg *arg)
{
	if (arg->source == PROBE_ARG_COMM)
		return 16;
	if (arg->source == PROBE_ARG_CALLERS)
		return arg->word == WIRE_STACK_RAW ? PROBE_STACK_REGISTERS : 0;
	if (arg->source == PROBE_ARG_TEXT)
		return (uint32_t)base_align_up(strlen(spec->strings + arg->value) + 1, 8);
	if (arg->count && arg->is_string)
		return 8 * arg->count;
	if (arg->count && arg->field_bits)
		return (uint32_t)base_align_up(arg->count * (arg->bits / 8U), 8);
	return 0;
}

uint32_t probe_arg_most(const struct probe_arg *arg)
{
	if (arg->source == PROBE_ARG_CALLERS)
		return arg->word == WIRE_STACK_RAW ? 8 + (uint32_t)base_align_up(arg->count, 8) : 8 * arg->count;
	if (arg->is_string)
		return arg->source == PROBE_ARG_COMM || arg->source == PROBE_ARG_TEXT ? 0 : WIRE_LONG_MAX;
	return arg->count && !arg->field_bits ? (uint32_t)base_align_up(arg->count * (arg->bits / 8U), 8) : 0;
}

/* A return's record is the larger one: the frame and the address returned to are in it. NULL when it fits. */
static const char *sizes_forbid(const struct probe_spec *spec)
{
	uint64_t fixed = sizeof(struct wire_record) + 16;
	uint64_t arrays = 0;

	for (size_t i = 0; i < spec->nargs; i++) {
		fixed += 8 + probe_arg_inline(spec, &spec->args[i]);
		if (!spec->args[i].is_string)
			arrays += probe_arg_most(&spec->args[i]);
	}
	if (fixed > WIRE_RECORD_MAX)
		return "bit fields, strings and their arrays do not fit in a record with this one";
	return fixed + arrays > WIRE_LONG_MAX ? "with this a record would have more than " NUMBER(WIRE_LONG_MAX) " bytes" : NULL;
}

static int check_size(struct probe_input *input, const char *at)
{
	const char *why = sizes_forbid(input->spec);

	return why ? probe_input_fail(input, at, "%s", why) : 0;
}

/* Names that are taken get a '_' more. */
static void name_stack(const struct probe_spec *spec, struct probe_arg *arg)
{
	strcpy(arg->name, "stack");
	for (size_t i = 0; i < spec->nargs;)
		if (strcmp(spec->args[i++].name, arg->name) == 0 && strlen(arg->name) + 1 < sizeof(arg->name)) {
			strcat(arg->name, "_");
			i = 0;
		}
}

int probe_add_stack(struct probe_spec *spec, enum wire_stack_kind kind, uint32_t most, struct utap_error *err)
{
	bool is_raw = kind == WIRE_STACK_RAW;
	uint32_t limit = is_raw ? WIRE_STACK_BYTES : WIRE_STACK_FRAMES;
	const char *why;

	if ((!is_raw && kind != WIRE_STACK_FP && kind != WIRE_STACK_CFI) || !most || most > limit)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "a stack can have 1 to %u %s", limit, is_raw ? "bytes" : "addresses");
	if (spec->nargs == PROBE_ARGS)
		return base_error(err, -E2BIG, UTAP_ERROR_USAGE, "a probe records at most %d arguments, and the stack is one", PROBE_ARGS);
	spec->args[spec->nargs] = (struct probe_arg) { .source = PROBE_ARG_CALLERS, .word = kind, .count = most, .bits = 8 };
	name_stack(spec, &spec->args[spec->nargs]);
	spec->nargs++;
	why = sizes_forbid(spec);
	if (!why)
		return 0;
	spec->nargs--;
	return base_error(err, -E2BIG, UTAP_ERROR_USAGE, "the stack: %s", why);
}

/* ---- all of it ---- */

static int parse_arg(struct probe_input *input, const char *at, const char *end)
{
	struct probe_spec *spec = input->spec;
	struct probe_arg *arg = &spec->args[spec->nargs];
	const char *start = at;
	int error = parse_name(input, &at, end, arg);

	if (!error)
		error = parse_value(input, at, end, arg);
	if (error)
		return error;
	spec->nargs++;
	return check_size(input, start);
}

int probe_parse_args(struct probe_input *input, const char *at)
{
	for (at = probe_skip_blanks(at); *at; at = probe_skip_blanks(at)) {
		const char *end = probe_word_end(at);
		int error;

		if (*at == '/')
			return probe_parse_filter(input, at);
		if (input->spec->nargs == PROBE_ARGS)
			return probe_input_fail(input, at, "a probe records at most %d arguments", PROBE_ARGS);
		error = parse_arg(input, at, end);
		if (error)
			return error;
		at = end;
	}
	return 0;
}
