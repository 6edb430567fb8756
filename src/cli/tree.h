/* SPDX-License-Identifier: MIT */
/*
 * utap trace --graph: calls as an indented tree, in the columns of uftrace. Calls of different threads alternate; a call during which no
 * other probed one began stands on one line.
 */
#ifndef CLI_TREE_H
#define CLI_TREE_H

#include <stdio.h>

#include "trace/frames.h"

struct cli_tree;

int cli_tree_create(FILE *out, bool color, struct cli_tree **ret) BASE_MUST_CHECK;
void cli_tree_destroy(struct cli_tree *tree); /* NULL is fine */
void cli_tree_header(FILE *out);

/** cli_tree_enter() - a record of a TRACE_ENTRY; 0 or -ENOMEM */
int cli_tree_enter(struct cli_tree *tree, const struct trace_probe *entry, const struct trace_record *record) BASE_MUST_CHECK;
/** cli_tree_leave() - a call ended; @probe: of its returns, the one before it in the table is that of the entry */
void cli_tree_leave(struct cli_tree *tree, const struct trace_probe *probe, const struct trace_call *call);
/** cli_tree_place() - a hit of a probe that is no function's */
int cli_tree_place(struct cli_tree *tree, const struct trace_probe *probe, const struct trace_record *record) BASE_MUST_CHECK;
/** cli_tree_idle() - show the calls that are waiting to be seen whole */
void cli_tree_idle(struct cli_tree *tree);

#endif
