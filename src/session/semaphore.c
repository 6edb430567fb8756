/* SPDX-License-Identifier: MIT */
/*
 * Reference counters of static probes (USDT's semaphores): 16 bits in a program's data that are not 0 while somebody probes, so that it makes
 * arguments only then. Raised once for each counter when the places are probed, lowered when they are taken out. Should we be killed they stay
 * raised, which costs the program the making of arguments and nothing else; children forked meanwhile keep theirs, too.
 *
 * Read and written from outside: another tracer that does so at the same moment may undo it, as everybody's who does it this way.
 */
#include <errno.h>
#include <stdlib.h>

#include "session/inside.h"

int session_semaphore_want(struct session_process *process, const struct session_match *match, uint64_t reference)
{
	uint64_t vaddr, bias;
	utap_addr addr;

	if (object_offset_to_vaddr(match->file->object, reference, &vaddr) || session_map_bias(match->map, match->file->object, &bias))
		return -ENOENT;
	addr = vaddr + bias;
	for (size_t i = 0; i < process->nsemaphores; i++)
		if (process->semaphores[i] == addr)
			return 0;
	if (base_grow(&process->semaphores, &process->semaphores_cap, process->nsemaphores + 1, sizeof(*process->semaphores)))
		return -ENOMEM;
	process->semaphores[process->nsemaphores++] = addr;
	return 0;
}

static int change(const struct session_process *process, utap_addr addr, int by)
{
	int mem = patch_target_mem(process->target);
	uint16_t value;
	int error = process_read(mem, addr, &value, sizeof(value));

	if (error || (by < 0 && !value) || (by > 0 && value == UINT16_MAX))
		return error;
	value = (uint16_t)(value + by);
	return process_write(mem, addr, &value, sizeof(value));
}

int session_semaphores_raise(struct session_process *process)
{
	int error = 0;

	while (!error && process->nraised < process->nsemaphores) {
		error = change(process, process->semaphores[process->nraised], 1);
		process->nraised += !error;
	}
	return error;
}

void session_semaphores_lower(struct session_process *process)
{
	while (process->nraised)
		if (change(process, process->semaphores[--process->nraised], -1))
			base_log(BASE_LOG_DEBUG, "a reference counter of process %d could not be lowered", process->pid);
}
