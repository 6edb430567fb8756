/* SPDX-License-Identifier: MIT */
/*
 * Tables for walking stacks, in the shared memory: see wire/unwind.h. The target reads this part of the memory file and cannot write it.
 *
 * Invariants: rows are written once and stay; a list is named in the control page only when it is whole, and its place is taken again only
 * after all others were.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "patch/inside.h"
#include "wire/unwind.h"

#define ROWS_AT ((uint64_t)WIRE_UNWIND_LISTS * WIRE_UNWIND_LIST_SIZE)

int patch_unwind_map(struct patch_target *target)
{
	const struct wire_control *geometry = &target->geometry;
	void *part;

	if (geometry->unwind_size <= ROWS_AT)
		return geometry->unwind_size ? -EINVAL : 0;
	part = mmap(NULL, geometry->unwind_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, target->fd,
		    (off_t)(geometry->code_at + geometry->code_size));
	if (part == MAP_FAILED)
		return -errno;
	target->unwind = part;
	target->unwind_used = ROWS_AT;
	return 0;
}

int patch_unwind_rows(struct patch_target *target, const struct wire_unwind_row *rows, size_t count, uint64_t *ret)
{
	uint64_t room = target->unwind ? target->geometry.unwind_size - target->unwind_used : 0;

	if (count > room / sizeof(*rows))
		return -ENOSPC;
	if (count)
		memcpy(target->unwind + target->unwind_used, rows, count * sizeof(*rows));
	*ret = target->unwind_used;
	target->unwind_used += count * sizeof(*rows);
	return 0;
}

/* In the order that who walks by it looks at it: x86-64 shows stores as they were made. */
int patch_unwind_publish(struct patch_target *target, const struct wire_unwind_piece *pieces, size_t count, pid_t pid)
{
	struct wire_control *control = (struct wire_control *)target->data;
	uint64_t at = target->lists % WIRE_UNWIND_LISTS * WIRE_UNWIND_LIST_SIZE;
	struct wire_unwind *list = (struct wire_unwind *)(target->unwind + at);

	if (!target->unwind || count > WIRE_UNWIND_PIECES)
		return target->unwind ? -E2BIG : -EINVAL;
	target->lists++;
	__atomic_store_n(&list->number, 0, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* pairs with the fence of runtime_walk_tables() */
	list->count = (uint32_t)count;
	list->pid = (uint32_t)pid;
	if (count)
		memcpy(list->pieces, pieces, count * sizeof(*pieces));
	__atomic_store_n(&list->number, target->lists, __ATOMIC_RELEASE);
	__atomic_store_n(&control->unwind, target->geometry.unwind_at + at, __ATOMIC_RELEASE); /* pairs with its acquire load */
	return 0;
}
