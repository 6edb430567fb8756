/* SPDX-License-Identifier: MIT */
/*
 * Decoding UTF-8 strictly: no overlong forms, no surrogates, nothing above U+10FFFF.
 */
#include "format/utf8.h"

#include <stddef.h>

/* By leading byte: how many follow, and the smallest code point that needs them. */
struct utf8_form {
	unsigned char mask, lead;
	unsigned char following;
	uint32_t least;
};
static const struct utf8_form forms[] = {
	{ 0x80, 0x00, 0, 0 },
	{ 0xe0, 0xc0, 1, 0x80 },
	{ 0xf0, 0xe0, 2, 0x800 },
	{ 0xf8, 0xf0, 3, 0x10000 },
};

static const struct utf8_form *form_of(unsigned char lead)
{
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		if ((lead & forms[i].mask) == forms[i].lead)
			return &forms[i];
	return NULL;
}

uint32_t format_utf8_next(const char **text)
{
	const unsigned char *at = (const unsigned char *)*text;
	const struct utf8_form *form = form_of(*at);
	uint32_t code;

	if (!*at)
		return 0;
	(*text)++;
	if (!form)
		return FORMAT_UTF8_INVALID;
	code = *at & (unsigned char)~form->mask;
	for (int i = 1; i <= form->following; i++) {
		if ((at[i] & 0xc0) != 0x80) /* the terminator is no follower: never read beyond it */
			return FORMAT_UTF8_INVALID;
		code = code << 6 | (at[i] & 0x3f);
	}
	if (code < form->least || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return FORMAT_UTF8_INVALID;
	*text += form->following;
	return code;
}
