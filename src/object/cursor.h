/* SPDX-License-Identifier: MIT */
/*
 * Reading the exception-handling tables: numbers, LEB128, encoded pointers. A cursor never leaves its bytes; the first
 * read that would do so sets failed and gives 0, as all later ones do. So one check after a run of reads is enough.
 */
#ifndef OBJECT_CURSOR_H
#define OBJECT_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* How a pointer is written (LSB 5.0, 10.5.1 "DWARF Exception Header Encoding"). */
enum {
	OBJECT_PE_ABSOLUTE = 0x00,
	OBJECT_PE_ULEB = 0x01,
	OBJECT_PE_U16 = 0x02,
	OBJECT_PE_U32 = 0x03,
	OBJECT_PE_U64 = 0x04,
	OBJECT_PE_SIGNED = 0x08, /* the size of an address */
	OBJECT_PE_SLEB = 0x09,
	OBJECT_PE_S16 = 0x0a,
	OBJECT_PE_S32 = 0x0b,
	OBJECT_PE_S64 = 0x0c,
	OBJECT_PE_FORMAT = 0x0f,
	OBJECT_PE_PC = 0x10,
	OBJECT_PE_FUNCTION = 0x40,
	OBJECT_PE_RELATIVE = 0x70, /* mask */
	OBJECT_PE_INDIRECT = 0x80,
	OBJECT_PE_OMIT = 0xff,
};

struct object_cursor {
	const uint8_t *at, *end;
	const uint8_t *start;
	uint64_t vaddr; /* of start */
	bool failed;
};

static inline struct object_cursor object_cursor_init(const uint8_t *bytes, size_t size, uint64_t vaddr)
{
	return (struct object_cursor) { .at = bytes, .end = bytes + size, .start = bytes, .vaddr = vaddr };
}

static inline uint64_t object_cursor_vaddr(const struct object_cursor *cursor)
{
	return cursor->vaddr + (uint64_t)(cursor->at - cursor->start);
}

static inline bool object_cursor_has(struct object_cursor *cursor, uint64_t size)
{
	if (!cursor->failed && size <= (uint64_t)(cursor->end - cursor->at))
		return true;
	cursor->failed = true;
	return false;
}

static inline void object_cursor_skip(struct object_cursor *cursor, uint64_t size)
{
	if (object_cursor_has(cursor, size))
		cursor->at += size;
}

static inline uint64_t object_cursor_number(struct object_cursor *cursor, unsigned size)
{
	uint64_t value = 0;

	if (!object_cursor_has(cursor, size))
		return 0;
	memcpy(&value, cursor->at, size);
	cursor->at += size;
	return value;
}

static inline uint8_t object_cursor_u8(struct object_cursor *cursor)
{
	return (uint8_t)object_cursor_number(cursor, 1);
}
static inline uint32_t object_cursor_u32(struct object_cursor *cursor)
{
	return (uint32_t)object_cursor_number(cursor, 4);
}
static inline uint64_t object_cursor_u64(struct object_cursor *cursor)
{
	return object_cursor_number(cursor, 8);
}

/* Bits beyond the 64th are dropped, as other readers do. @shift: how many bits were read. */
static inline uint64_t object_cursor_leb(struct object_cursor *cursor, unsigned *shift, bool *negative)
{
	uint64_t value = 0;
	uint8_t byte;

	*shift = 0;
	do {
		byte = object_cursor_u8(cursor);
		if (*shift < 64) {
			value |= (uint64_t)(byte & 0x7f) << *shift;
			*shift += 7;
		}
	} while (byte & 0x80);
	*negative = byte & 0x40;
	return value;
}

static inline uint64_t object_cursor_uleb(struct object_cursor *cursor)
{
	unsigned shift;
	bool negative;

	return object_cursor_leb(cursor, &shift, &negative);
}

static inline uint64_t object_cursor_sleb(struct object_cursor *cursor)
{
	unsigned shift;
	bool negative;
	uint64_t value = object_cursor_leb(cursor, &shift, &negative);

	return negative && shift < 64 ? value | UINT64_MAX << shift : value;
}

/** object_cursor_string() - a terminated string, or NULL */
static inline const char *object_cursor_string(struct object_cursor *cursor)
{
	const uint8_t *text = cursor->at;
	const uint8_t *end = cursor->failed ? NULL : memchr(text, '\0', (size_t)(cursor->end - text));

	if (!end) {
		cursor->failed = true;
		return NULL;
	}
	cursor->at = end + 1;
	return (const char *)text;
}

static inline bool object_cursor_format(struct object_cursor *cursor, uint8_t format, uint64_t *ret)
{
	switch (format) {
	case OBJECT_PE_ABSOLUTE:
	case OBJECT_PE_SIGNED:
	case OBJECT_PE_U64:
	case OBJECT_PE_S64:
		*ret = object_cursor_number(cursor, 8);
		break;
	case OBJECT_PE_U32:
		*ret = object_cursor_number(cursor, 4);
		break;
	case OBJECT_PE_S32:
		*ret = (uint64_t)(int64_t)(int32_t)object_cursor_number(cursor, 4);
		break;
	case OBJECT_PE_U16:
		*ret = object_cursor_number(cursor, 2);
		break;
	case OBJECT_PE_S16:
		*ret = (uint64_t)(int64_t)(int16_t)object_cursor_number(cursor, 2);
		break;
	case OBJECT_PE_ULEB:
		*ret = object_cursor_uleb(cursor);
		break;
	case OBJECT_PE_SLEB:
		*ret = object_cursor_sleb(cursor);
		break;
	default:
		cursor->failed = true;
	}
	return !cursor->failed;
}

/**
 * object_cursor_pointer() - an encoded pointer; a written 0 stays 0 ("none"), whatever it is relative to
 * @function: what DW_EH_PE_funcrel counts from
 *
 * Return: false when it is cut off, or encoded in a way that x86-64 does not use (then the position is still right if
 *         only the base is unknown). *@ret holds the address of the address for indirect ones.
 */
static inline bool object_cursor_pointer(struct object_cursor *cursor, uint8_t encoding, uint64_t function,
					 uint64_t *ret)
{
	uint64_t here = object_cursor_vaddr(cursor);
	uint64_t value = 0;

	if (encoding == OBJECT_PE_OMIT) {
		*ret = 0;
		return true;
	}
	if (!object_cursor_format(cursor, encoding & OBJECT_PE_FORMAT, &value))
		return false;
	switch (encoding & OBJECT_PE_RELATIVE) {
	case OBJECT_PE_ABSOLUTE:
		break;
	case OBJECT_PE_PC:
		value += value ? here : 0;
		break;
	case OBJECT_PE_FUNCTION:
		value += value ? function : 0;
		break;
	default:
		return false;
	}
	*ret = value;
	return true;
}

#endif
