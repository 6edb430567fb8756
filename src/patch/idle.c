/* SPDX-License-Identifier: MIT */
/*
 * Who is inside some code: threads whose instruction pointer is there, or that will come back there from a signal handler.
 *
 * Any word on a stack that looks like one of the addresses would be too careful: trampolines leave their return addresses behind below the
 * stack pointer, where later frames with uninitialised buffers keep them, and pools at low addresses look like small numbers. So whole
 * signal frames are looked for, on the live part of the stack and on those that were left for alternate ones.
 */
#include <errno.h>

#include "patch/inside.h"

#define FRAME_WORDS 4     /* rsp, rip, flags, selectors of a signal frame .. */
#define FRAME_BEFORE 20   /* .. and the words before them */
#define STACKS_A_THREAD 4 /* signal handlers on alternate stacks that interrupted one another */

/*
 * The kernel's signal frame holds .., rsp, rip, flags, and one word with the segment selectors.
 * Source: struct sigcontext_64, arch/x86/include/uapi/asm/sigcontext.h.
 */
static bool is_signal_context(const uint64_t *words)
{
	const uint64_t flags = 0x3f7fd7; /* the bits that user code can see in rflags */
	uint16_t ss = (uint16_t)(words[3] >> 48);

	return (uint16_t)words[3] == 0x33 && (ss == 0x2b || !ss) && (words[2] & 2) && !(words[2] & ~flags);
}

/*
 * A handler that ran on an alternate stack leaves its frame there. When that stack is part of a larger mapping, as Go's are of its heap, a
 * frame on it counts only for a thread that is on this very stack.
 * Source: struct ucontext: flags, link, the alternate stack's address, flags and size, then the registers.
 */
static bool is_left_behind(const uint64_t *words, utap_addr at, utap_addr rsp)
{
	utap_addr stack = words[-18];
	uint64_t size = words[-16];

	return at - stack < size && rsp - stack >= size;
}

/* *next: a stack that a signal interrupted, when it is another one than [from, end); else 0. */
static int scan_words(struct patch_scan *scan, size_t count, utap_addr at, utap_addr from, utap_addr end, utap_addr *next)
{
	for (size_t i = FRAME_BEFORE; i + FRAME_WORDS <= count; i++) {
		if (!is_signal_context(&scan->chunk[i]) || is_left_behind(&scan->chunk[i], at + i * 8, from))
			continue;
		if (scan->is_inside(scan->arg, scan->chunk[i + 1]))
			return -EAGAIN;
		if (scan->chunk[i] - from >= end - from)
			*next = scan->chunk[i];
	}
	return 0;
}

static int scan_stack(struct patch_scan *scan, utap_addr rsp, utap_addr *next)
{
	const struct process_map *map = process_maps_at(&scan->target->maps, rsp);
	utap_addr from = base_align_down(rsp, 8);
	utap_addr end;
	int error = 0;

	*next = 0;
	scan->unknown |= !map;
	if (!map)
		return 0;
	end = map->end - from < scan->limit ? map->end : from + scan->limit;
	for (utap_addr at = from; !error && at + FRAME_WORDS * 8 <= end; at += PATCH_SCAN_CHUNK - (FRAME_BEFORE + FRAME_WORDS) * 8) {
		size_t size = end - at < PATCH_SCAN_CHUNK ? end - at : PATCH_SCAN_CHUNK;

		if (process_read(scan->target->mem, at, scan->chunk, size)) {
			scan->unknown = true;
			return 0;
		}
		error = scan_words(scan, size / 8, at, from, end, next);
	}
	return error;
}

static bool move_out(const struct patch_scan *scan, const struct engine_view *view)
{
	utap_addr out = scan->moves && view->elsewhere ? patch_way_out(scan->target, &view->regs) : 0;

	if (out)
		*view->elsewhere = out;
	return out != 0;
}

int patch_scan_thread(void *arg, const struct engine_view *view)
{
	struct patch_scan *scan = arg;
	utap_addr rsp = view->regs.rsp;

	if (scan->is_inside(scan->arg, view->regs.rip) && !move_out(scan, view))
		return -EAGAIN;
	for (int i = 0; rsp && i < STACKS_A_THREAD; i++) {
		int error = scan_stack(scan, rsp, &rsp);

		if (error)
			return error;
	}
	return 0;
}
