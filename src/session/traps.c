/* SPDX-License-Identifier: MIT */
/*
 * Places that only a trap reaches (--allow-trap). Their trampolines are made by patch/; a guardian of engine/ writes the traps, and is
 * the tracer of the process for as long as they are in. So everything that borrows a thread comes before it starts, or after it has ended.
 */
#include <errno.h>
#include <stdlib.h>

#include "engine/trap.h"
#include "session/inside.h"

/* Is it still in a file that the process maps? A library may have been unloaded. */
static bool is_there(const struct patch_target *target, utap_addr addr)
{
	struct patch_module *const *modules;
	size_t count = patch_target_modules(target, &modules);

	for (size_t i = 0; i < count; i++)
		if (addr - (modules[i]->low + modules[i]->bias) < modules[i]->high - modules[i]->low)
			return true;
	return false;
}

static size_t list_traps(const struct patch_target *target, struct engine_trap *list)
{
	const struct patch_trap *traps;
	size_t count = patch_target_traps(target, &traps);
	size_t n = 0;

	for (size_t i = 0; i < count; i++)
		if (is_there(target, traps[i].addr))
			list[n++] = (struct engine_trap){ .addr = traps[i].addr, .stub = traps[i].stub,
							  .byte = traps[i].original, .length = traps[i].length };
	return n;
}

int session_traps_start(struct session_process *process, struct utap_error *err)
{
	const struct patch_trap *traps;
	size_t count = patch_target_traps(process->target, &traps);
	_cleanup_free_ struct engine_trap *list = NULL;

	if (!count || process->traps)
		return 0;
	list = calloc(count, sizeof(*list));
	if (!list)
		return base_error_system(err, -ENOMEM, "cannot put traps into process %d", process->pid);
	count = list_traps(process->target, list);
	process->ntraps = count;
	return count ? engine_traps_start(process->pid, list, count, &process->traps, err) : 0;
}

int session_traps_stop(struct session_process *process, struct utap_error *err)
{
	struct engine_traps_report report = { 0 };
	struct engine_traps *traps = process->traps;
	int error;

	if (!traps)
		return 0;
	process->traps = NULL;
	error = engine_traps_stop(traps, &report, err);
	if (report.kept)
		base_log(BASE_LOG_WARN, "process %d: %llu traps are left alone: somebody else changed their bytes", process->pid,
			 (unsigned long long)report.kept);
	return error;
}

void session_traps_look(struct session *session)
{
	for (size_t i = 0; i < session->nprocesses; i++) {
		struct session_process *process = session->processes[i];
		struct utap_error why = { 0 };

		if (!process->traps || !engine_traps_left(process->traps, &why))
			continue;
		session_traps_stop(process, NULL);
		if (why.code)
			session_note(session, "%s", why.text);
	}
}

int session_traps_renew(struct session_process *process, struct utap_error *err)
{
	const struct patch_trap *traps;
	size_t count = process->traps ? patch_target_traps(process->target, &traps) : 0;
	size_t there = 0;
	int error;

	for (size_t i = 0; i < count; i++)
		there += is_there(process->target, traps[i].addr);
	if (!count || there == process->ntraps)
		return 0;
	error = session_traps_stop(process, err);
	return error ? error : session_traps_start(process, err);
}
