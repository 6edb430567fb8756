/* SPDX-License-Identifier: MIT */
/*
 * Landing pads: where the unwinder enters a function again. They are in the call-site table of the function's LSDA
 * (.gcc_except_table; gcc's except.c writes it, libstdc++'s eh_personality.cc reads it). Other personality routines may
 * have other tables: what does not parse is left, and only places that are code are reported.
 */
#include <errno.h>

#include "object/cursor.h"
#include "object/internal.h"

/* Each entry: start, length, landing pad (0: none), action. */
static int call_sites_walk(const struct object *object, struct object_cursor *cursor, uint8_t encoding, uint64_t base,
			   object_landing_fn *fn, void *arg)
{
	while (cursor->at < cursor->end) {
		uint64_t start;
		uint64_t length;
		uint64_t pad;

		if (!object_cursor_format(cursor, encoding & OBJECT_PE_FORMAT, &start) ||
		    !object_cursor_format(cursor, encoding & OBJECT_PE_FORMAT, &length) ||
		    !object_cursor_format(cursor, encoding & OBJECT_PE_FORMAT, &pad))
			break;
		object_cursor_uleb(cursor);
		if (cursor->failed)
			break;
		int r = pad && object_is_code(object, base + pad) ? fn(arg, base + pad) : 0;

		if (r)
			return r;
	}
	return 0;
}

int object_landing_pads(const struct object *object, const struct object_frame *frame, uint64_t *budget,
			object_landing_fn *fn, void *arg)
{
	size_t available;
	const uint8_t *bytes = frame->lsda ? object_data(object, frame->lsda, &available) : NULL;
	uint64_t base = frame->start;

	if (!bytes)
		return 0;
	struct object_cursor cursor = object_cursor_init(bytes, available, frame->lsda);
	uint8_t encoding = object_cursor_u8(&cursor);

	if (encoding != OBJECT_PE_OMIT && !object_cursor_pointer(&cursor, encoding, frame->start, &base))
		return 0;
	if (object_cursor_u8(&cursor) != OBJECT_PE_OMIT)
		object_cursor_uleb(&cursor); /* where the types are */
	encoding = object_cursor_u8(&cursor);
	uint64_t size = object_cursor_uleb(&cursor);

	if (!object_cursor_has(&cursor, size))
		return 0;
	if (size > *budget)
		return -EINVAL;
	*budget -= size;
	cursor.end = cursor.at + size;
	return call_sites_walk(object, &cursor, encoding, base, fn, arg);
}
