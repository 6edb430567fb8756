/* SPDX-License-Identifier: MIT */
/*
 * Folded stacks: a line for each stack, "program;outer;inner NUMBER", which is the nanoseconds spent there itself, or
 * the calls. What does not fit into such a line in a name is replaced.
 */
#include <inttypes.h>
#include <string.h>

#include "format/convert_inside.h"

/* @stack: what leads here, with a ';' behind each */
static int print(struct format_convert *convert, const struct format_node *node, struct format_buffer *stack)
{
	const char *name = format_clean(&convert->text, node->name, "", ";");
	size_t before = stack->size;
	int error;

	format_buffer_add(stack, name, strlen(name));
	error = stack->error ? stack->error : convert->text.error;
	if (error)
		return error;
	if (node->self) {
		fwrite(stack->data, 1, stack->size, convert->out);
		fprintf(convert->out, " %" PRIu64 "\n", node->self);
	}
	format_buffer_add(stack, ";", 1);
	for (const struct format_node *child = node->children; child && !error; child = child->sibling)
		error = print(convert, child, stack);
	if (!error)
		stack->size = before;
	return error;
}

static int print_all(struct format_convert *convert, const struct format_node *root, bool is_time)
{
	_cleanup_buffer_ struct format_buffer stack = { 0 };
	int error = 0;

	(void)is_time;
	for (const struct format_node *child = root->children; child && !error; child = child->sibling)
		error = print(convert, child, &stack);
	return error;
}

static int end(struct format_convert *convert)
{
	return format_stacks_end(convert, print_all);
}

const struct format_kind format_kind_folded = {
	.name = "folded",
	.summary = "folded stacks: a line for each, with the time spent there in ns, or with --by calls the calls",
	.has_calls = true,
	.begin = format_stacks_begin,
	.record = format_stacks_record,
	.enter = format_stacks_enter,
	.leave = format_stacks_leave,
	.end = end,
	.release = format_stacks_release,
};
