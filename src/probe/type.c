/* SPDX-License-Identifier: MIT */
/*
 * TYPE: how wide a value is and how it is shown; arrays; what of it may stand behind which FETCH.
 *
 * Source: Documentation/trace/uprobetracer.rst.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "probe/input.h"
#include "probe/nearest.h"

#define KERNEL_ARRAY_MAX 64
#define ARRAY_MAX 4096
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const type_names[] = { "u8",	 "u16",	 "u32",	 "u64",	   "s8",      "s16",	"s32",	   "s64",    "x8",
					  "x16", "x32",	 "x64",	 "char",   "f32",     "f64",	"symbol",  "string", "ustring" };

/* What is known by name and not done. */
static const struct {
	const char *name;
	const char *why;
} others[] = {
	{ "symstr", "symstr is for the kernel's own functions; write symbol" },
	{ "%pd", "%pd is for the kernel's own structures" },
	{ "%pD", "%pD is for the kernel's own structures" },
};

static bool is_word(const char *at, const char *end, const char *word)
{
	return (size_t)(end - at) == strlen(word) && memcmp(at, word, strlen(word)) == 0;
}

static int refuse(struct probe_input *input, const char *at, const char *end)
{
	size_t length = (size_t)(end - at);
	char more[48];

	for (size_t i = 0; i < COUNT(others); i++)
		if (is_word(at, end, others[i].name))
			return probe_input_fail(input, at, "%s", others[i].why);
	probe_hint(more, sizeof(more), "", probe_nearest(at, length, type_names, COUNT(type_names)));
	return probe_input_fail(input, at,
				"there is no type '%.*s'; the types are u8..u64, s8..s64, x8..x64, char, f32, f64, symbol, "
				"string, ustring, bWIDTH@OFFSET/SIZE and arrays of them, as u8[4]%s",
				(int)length, at, more);
}

/* "bWIDTH@OFFSET/SIZE", at the b; with an f floating point. What has 128 bits is judged where FETCH is known. */
static int parse_field(struct probe_input *input, const char *at, const char *end, struct probe_arg *arg)
{
	bool is_float = *at == 'f';
	const char *slash = memchr(at, '/', (size_t)(end - at));
	const char *sign = slash ? memchr(at, '@', (size_t)(slash - at)) : NULL;
	uint64_t width, offset, size;

	if (!slash || !probe_number(slash + 1, end, &size) || (size != 8 && size != 16 && size != 32 && size != 64 && size != 128))
		return probe_input_fail(input, at, "a bit field is written bWIDTH@OFFSET/SIZE, and SIZE is 8, 16, 32 or 64");
	if (!sign || !probe_number(at + 1, sign, &width) || !probe_number(sign + 1, slash, &offset))
		return probe_input_fail(input, at, "'%.*s' is not a bit field; write bWIDTH@OFFSET/SIZE, as b4@2/32",
					(int)(end - at), at);
	if (is_float && width != 32 && width != 64)
		return probe_input_fail(input, at, "floating point has 32 or 64 bits: f32@OFFSET/SIZE, f64@OFFSET/SIZE");
	if (width == 0 || width > 64 || width > size || offset > size - width)
		return probe_input_fail(input, at, "the bit field '%.*s' does not lie in its %u bits", (int)(end - at), at,
					(unsigned)size);
	arg->format = is_float ? PROBE_FORMAT_FLOAT : PROBE_FORMAT_UNSIGNED;
	arg->bits = (uint8_t)size;
	arg->field_bits = (uint8_t)width;
	arg->field_at = (uint8_t)offset;
	return 0;
}

static bool set_plain(struct probe_arg *arg, const char *at, const char *end)
{
	static const enum probe_arg_format formats[] = { PROBE_FORMAT_UNSIGNED, PROBE_FORMAT_SIGNED, PROBE_FORMAT_HEX };

	for (size_t i = 0; i < 12; i++) {
		if (!is_word(at, end, type_names[i]))
			continue;
		arg->format = formats[i / 4];
		arg->bits = (uint8_t)(8U << (i % 4));
		return true;
	}
	return false;
}

static bool set_other(struct probe_arg *arg, const char *at, const char *end)
{
	arg->is_string = is_word(at, end, "string") || is_word(at, end, "ustring");
	arg->bits = 64;
	if (arg->is_string)
		return true;
	if (is_word(at, end, "symbol")) {
		arg->format = PROBE_FORMAT_SYMBOL;
	} else if (is_word(at, end, "char")) {
		arg->format = PROBE_FORMAT_CHAR;
		arg->bits = 8;
	} else if (is_word(at, end, "f64") || is_word(at, end, "f32")) {
		arg->format = PROBE_FORMAT_FLOAT;
		arg->bits = at[1] == '3' ? 32 : 64;
	} else {
		return false;
	}
	return true;
}

/* "[COUNT]", at the bracket */
static int parse_array(struct probe_input *input, const char *at, const char *end, struct probe_arg *arg)
{
	const char *close = memchr(at, ']', (size_t)(end - at));
	uint32_t most = input->kernel_form ? KERNEL_ARRAY_MAX : ARRAY_MAX;
	uint64_t count;

	if (!close)
		return probe_input_fail(input, end, "this array is not closed; write TYPE[N]");
	if (close + 1 != end)
		return probe_input_fail(input, close + 1, "behind an array a blank is expected");
	if (!probe_number(at + 1, close, &count) || count == 0)
		return probe_input_fail(input, at + 1, "'%.*s' is not a number of elements", (int)(close - at) - 1, at + 1);
	if (count > most)
		return probe_input_fail(input, at + 1, "arrays have at most %u elements%s", most,
					input->kernel_form ? " in this form, as the kernel's" : "");
	arg->count = (uint32_t)count;
	return 0;
}

int probe_parse_type(struct probe_input *input, const char *at, const char *end, struct probe_arg *arg)
{
	const char *bracket = memchr(at, '[', (size_t)(end - at));
	const char *name_end = bracket ? bracket : end;
	int error = bracket ? parse_array(input, bracket, end, arg) : 0;

	if (error || set_plain(arg, at, name_end))
		return error;
	if (name_end - at > 1 && (*at == 'b' || (*at == 'f' && memchr(at, '@', (size_t)(name_end - at)))) && probe_is_digit(at[1]))
		return bracket && *at == 'f' ? probe_input_fail(input, bracket, "there are no arrays of such fields") :
					       parse_field(input, at, name_end, arg);
	return set_other(arg, at, name_end) ? 0 : refuse(input, at, name_end);
}
