/* SPDX-License-Identifier: MIT */
/*
 * How deep Go's functions are in the stack, place by place, as their runtime unwinds them: a function's record leads to pairs of
 * differences, of the depth and of the place, each a number of seven bits a byte (runtime/symtab.go reads them, cmd/internal/obj/pcln.go
 * writes them).
 *
 * Invariant: what is told of a function lies inside of it and of the file; where the numbers end too early, or say what no stack can be,
 * nothing more is told.
 */
#include <errno.h>
#include <stdlib.h>

#include "object/internal.h"

#define DEPTH_MAX (1 << 30)

int object_go_functions(struct object *object, struct object_go_function **ret, size_t *count)
{
	struct object_go_table table;
	size_t kept = 0;

	if (!object_go_table(object, &table))
		return -ENOENT;
	_cleanup_free_ struct object_go_function *functions = calloc(table.count + 1, sizeof(*functions));

	if (!functions)
		return -ENOMEM;
	for (size_t i = 0; i < table.count; i++)
		if (object_go_function(object, &table, i, &functions[kept]) &&
		    (!kept || functions[kept].start >= functions[kept - 1].end))
			kept++;
	*ret = functions;
	*count = kept;
	functions = NULL;
	return 0;
}

static bool number_read(const uint8_t **at, const uint8_t *end, uint32_t *ret)
{
	uint64_t number = 0;

	for (unsigned shift = 0; shift < 35 && *at < end; shift += 7) {
		uint8_t byte = *(*at)++;

		number |= (uint64_t)(byte & 0x7f) << shift;
		if (byte & 0x80)
			continue;
		*ret = (uint32_t)number;
		return number <= UINT32_MAX;
	}
	return false;
}

bool object_go_depth_next(const struct object_go_function *function, struct object_go_depth *depth)
{
	const uint8_t *at = depth->at ? depth->at : function->depths;
	uint64_t start = depth->at ? depth->end : function->start;
	int64_t value = depth->at ? depth->depth : -1;
	uint32_t change, length;

	if (!at || !number_read(&at, function->depths_end, &change) || (!change && depth->at) ||
	    !number_read(&at, function->depths_end, &length))
		return false;
	value += change & 1 ? -(int64_t)(change >> 1) - 1 : (int64_t)(change >> 1);
	if (!length || length > function->end - start || value < 0 || value > DEPTH_MAX)
		return false;
	*depth = (struct object_go_depth) { .start = start, .end = start + length, .depth = value, .at = at };
	return true;
}
