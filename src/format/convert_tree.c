/* SPDX-License-Identifier: MIT */
/*
 * The tree of what was called from where, as text or JSON: calls, the time in all and the time that no probed function
 * inside had. What is reached on the same way from a program's threads is one line. Lines that lead from the same
 * caller come with the most time first.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/convert_inside.h"
#include "format/format.h"

#define INDENT_MAX 100 /* levels shown; deeper ones stand below each other */

struct tree {
	struct format_convert *convert;
	bool is_time;
	enum { TREE_BY_TOTAL, TREE_BY_SELF, TREE_BY_CALLS, TREE_BY_NAME } key;
};

static uint64_t weight(const struct tree *tree, const struct format_node *node)
{
	switch (tree->key) {
	case TREE_BY_SELF:
		return node->self;
	case TREE_BY_CALLS:
		return node->calls;
	case TREE_BY_NAME:
		return 0; /* that is how they come */
	case TREE_BY_TOTAL:
		break;
	}
	return node->total;
}

static int compare(const void *left, const void *right, void *arg)
{
	const struct format_node *const *a = left;
	const struct format_node *const *b = right;
	uint64_t weight_a = weight(arg, *a), weight_b = weight(arg, *b);

	if (weight_a != weight_b)
		return weight_a > weight_b ? -1 : 1;
	return strcmp((*a)->name, (*b)->name);
}

/* Heap, the heaviest first; NULL: no memory. */
static const struct format_node **children_of(struct tree *tree, const struct format_node *node, size_t *ret)
{
	size_t count = 0;

	for (const struct format_node *child = node->children; child; child = child->sibling)
		count++;
	const struct format_node **list = calloc(count + 1, sizeof(*list));

	*ret = count;
	count = 0;
	for (const struct format_node *child = node->children; list && child; child = child->sibling)
		list[count++] = child;
	if (list)
		qsort_r(list, *ret, sizeof(*list), compare, tree);
	return list;
}

static void print_line(struct tree *tree, const struct format_node *node, uint64_t whole, unsigned depth)
{
	FILE *out = tree->convert->out;
	char text[32];

	fprintf(out, "%6.2f%% ", whole ? 100.0 * (double)node->total / (double)whole : 0.0);
	if (tree->is_time) {
		format_duration(node->total, text, sizeof(text));
		fprintf(out, "%12s ", text);
		format_duration(node->self, text, sizeof(text));
		fprintf(out, "%12s ", text);
	}
	fprintf(out, "%12" PRIu64 "  %*s%s\n", node->calls, (int)(2 * (depth < INDENT_MAX ? depth : INDENT_MAX)), "",
		format_clean(&tree->convert->text, node->name, "", ""));
}

static int print_text(struct tree *tree, const struct format_node *node, uint64_t whole, unsigned depth)
{
	size_t count;
	_cleanup_free_ const struct format_node **list = children_of(tree, node, &count);
	int error = list ? tree->convert->text.error : -ENOMEM;

	for (size_t i = 0; i < count && !error; i++) {
		print_line(tree, list[i], whole, depth);
		error = print_text(tree, list[i], whole, depth + 1);
	}
	return error;
}

static int print_json(struct tree *tree, const struct format_node *node)
{
	FILE *out = tree->convert->out;
	size_t count;
	_cleanup_free_ const struct format_node **list = children_of(tree, node, &count);
	int error = list ? 0 : -ENOMEM;

	fputs("{\"name\":", out);
	format_json_string(out, node->name);
	fprintf(out, ",\"calls\":%" PRIu64, node->calls);
	if (tree->is_time)
		fprintf(out, ",\"total_ns\":%" PRIu64 ",\"self_ns\":%" PRIu64, node->total, node->self);
	fputs(",\"children\":[", out);
	for (size_t i = 0; i < count && !error; i++) {
		if (i)
			putc(',', out);
		error = print_json(tree, list[i]);
	}
	fputs("]}", out);
	return error;
}

static int end(struct format_convert *convert)
{
	static const char *const keys[] = { "total", "self", "calls", "name" };
	struct tree tree = { .convert = convert };
	const struct format_node *root;
	int error = format_stacks_sort(convert, &root, &tree.is_time);

	for (unsigned i = 0; convert->options.sort && i < sizeof(keys) / sizeof(keys[0]); i++)
		if (strcmp(convert->options.sort, keys[i]) == 0)
			tree.key = i;
	if (error)
		return error;
	if (convert->options.json) {
		error = print_json(&tree, root);
		putc('\n', convert->out);
		return error;
	}
	fprintf(convert->out, "#%6s %s%12s  %s\n", "SHARE", tree.is_time ? "       TOTAL         SELF " : "",
		tree.is_time ? "CALLS" : "HITS", "PROGRAM, FUNCTIONS");
	return print_text(&tree, root, root->total, 0);
}

const struct format_kind format_kind_tree = {
	.name = FORMAT_REPORT_TREE,
	.is_report = true,
	.has_calls = true,
	.begin = format_stacks_begin,
	.record = format_stacks_record,
	.enter = format_stacks_enter,
	.leave = format_stacks_leave,
	.end = end,
	.release = format_stacks_release,
};
