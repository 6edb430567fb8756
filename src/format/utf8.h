/* SPDX-License-Identifier: MIT */
/*
 * Text that a target or its files chose (thread names, symbols) goes to terminals and into other programs: only whole,
 * valid, printable characters pass. Inside the room only.
 */
#ifndef FORMAT_UTF8_H
#define FORMAT_UTF8_H

#include <stdint.h>

#define FORMAT_UTF8_INVALID UINT32_MAX

/**
 * format_utf8_next() - the character at **@text, and move behind it
 *
 * Return: its code point; FORMAT_UTF8_INVALID for a byte that begins no valid character (that one byte is skipped);
 *         0 at the end, where @text stays.
 *
 * Source: RFC 3629, section 4.
 */
uint32_t format_utf8_next(const char **text);

/** format_utf8_is_control() - C0, DEL and C1: what terminals obey */
static inline int format_utf8_is_control(uint32_t code)
{
	return code < 0x20 || (code >= 0x7f && code < 0xa0);
}

#endif
