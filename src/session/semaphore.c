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
		if (process->semaphores[i].addr == addr && process->semaphores[i].inode == match->map->inode)
			return 0;
	if (base_grow(&process->semaphores, &process->semaphores_cap, process->nsemaphores + 1, sizeof(*process->semaphores)))
		return -ENOMEM;
	process->semaphores[process->nsemaphores++] = (struct session_semaphore){
		.addr = addr, .inode = match->map->inode, .major = match->map->major, .minor = match->map->minor };
	return 0;
}

/* Is the file's data there, for the program alone to change? */
static bool is_there(const struct process_maps *maps, const struct session_semaphore *semaphore)
{
	const struct process_map *map = process_maps_at(maps, semaphore->addr);

	return map && map->write && !map->shared && map->inode == semaphore->inode && map->major == semaphore->major &&
	       map->minor == semaphore->minor;
}

static int change(const struct session_process *process, const struct process_maps *maps, const struct session_semaphore *semaphore, int by)
{
	int mem = patch_target_mem(process->target);
	uint16_t value;
	int error = is_there(maps, semaphore) ? process_read(mem, semaphore->addr, &value, sizeof(value)) : -ENOENT;

	if (error || (by < 0 && !value) || (by > 0 && value == UINT16_MAX))
		return error;
	value = (uint16_t)(value + by);
	return process_write(mem, semaphore->addr, &value, sizeof(value));
}

int session_semaphores_raise(struct session_process *process)
{
	struct process_maps maps = { 0 };
	int error = process->nraised < process->nsemaphores ? process_maps_read(process->pid, &maps) : 0;

	while (!error && process->nraised < process->nsemaphores) {
		error = change(process, &maps, &process->semaphores[process->nraised], 1);
		process->nraised += !error;
	}
	process_maps_free(&maps);
	return error;
}

void session_semaphores_lower(struct session_process *process)
{
	struct process_maps maps = { 0 };

	if (process->nraised && process_maps_read(process->pid, &maps))
		process->nraised = 0;
	while (process->nraised)
		if (change(process, &maps, &process->semaphores[--process->nraised], -1))
			base_log(BASE_LOG_DEBUG, "a reference counter of process %d could not be lowered", process->pid);
	process_maps_free(&maps);
}
