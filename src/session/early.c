/* SPDX-License-Identifier: MIT */
/*
 * Code of libc that runs in a new thread before libc registered the thread's rseq area. The area's memory is zero, or what
 * a thread that is gone left in it, and so looks registered on some CPU; but the kernel does not restart the sections of
 * such a thread, and it may run on another CPU: its records would be torn into those of the CPU's owner.
 */
#include <string.h>

#include "session/inside.h"

/* glibc: the child's side of clone, start_thread up to the rseq system call, and all it may call until then. */
static const char *const early[] = {
	"clone", "clone3", "start_thread", "ctype_init", "lll_lock_wait", "lll_lock_wait_private", "lll_lock_wake",
	"lll_lock_wake_private",
};

/* Names that are one function: __clone, __GI___clone. */
static const char *plain_name(const char *name)
{
	if (!strncmp(name, "__GI_", 5))
		name += 5;
	while (*name == '_')
		name++;
	return name;
}

bool session_runs_early(const struct session_match *match)
{
	const char *name = match->symbol ? plain_name(match->symbol->name) : "";

	for (size_t i = 0; i < sizeof(early) / sizeof(early[0]); i++)
		if (!strcmp(name, early[i]))
			return true;
	return false;
}
