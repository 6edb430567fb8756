/* SPDX-License-Identifier: MIT */
/*
 * Traps: a one-byte int3 where no jump fits. Somebody has to be there when it is hit: the guardian, a child of ours that traces the
 * process for as long as the traps are in. It sends a thread that hit one to the trap's trampoline, which is like every other.
 *
 * Our death is harmless: the guardian notices it, puts the bytes back and leaves. The guardian's own (SIGKILL, nothing else ends it) is
 * not: a thread that hits a trap then dies of SIGTRAP.
 *
 * While it is there nobody else can trace the process, we included: engine_lend() and engine_visit() say -EBUSY. So traps go in
 * last and come out first.
 */
#ifndef ENGINE_TRAP_H
#define ENGINE_TRAP_H

#include <sys/types.h>

#include "base/base.h"

struct engine_traps;

/** One place. */
struct engine_trap {
	utap_addr addr;
	utap_addr stub; /* where a thread that comes there goes on */
	uint8_t byte;   /* what is there, and will be again */
	uint8_t length; /* of the instruction */
};

/**
 * engine_traps_start() - start a guardian and let it put in the traps, all or none
 * @pid:   a process that nobody traces; or one that engine_spawn() started and that is still stopped: then the guardian takes it over, and
 *         it runs when this returns
 * @traps: copied
 *
 * Effect:  each thread is stopped once, all at the same time, for a moment. From now on each system call of the process stops
 *          its thread twice, for some microseconds: what the program does with SIGTRAP and its signal masks must be known.
 * Return:  0; -EBUSY somebody traces it, or a byte is not what it should be; -ENOTSUP it cannot be made right here (confined by seccomp with
 *          SIGTRAP handled or ignored; a thread that does not stop); -ESRCH, -ECHILD, -EPERM, others. The process is then as it was.
 * Context: forks. Call it in the thread that lives as long as the process does.
 */
int engine_traps_start(pid_t pid, const struct engine_trap *traps, size_t count, struct engine_traps **ret,
		       struct utap_error *err) BASE_MUST_CHECK;

struct engine_traps_report {
	uint64_t hits;
	uint64_t kept; /* bytes that somebody else changed meanwhile: not put back */
};

/**
 * engine_traps_stop() - the bytes are put back, in children too, and nobody is traced any more; frees @traps
 * @report: may be NULL
 *
 * Return: 0; -ETIMEDOUT the guardian does not end (it is left to itself); -ECHILD it was killed: the bytes were put back, but whoever hit a trap
 *         before that has died, and children of the process keep theirs.
 */
int engine_traps_stop(struct engine_traps *traps, struct engine_traps_report *report, struct utap_error *err);

/**
 * engine_traps_left() - is the guardian gone, though nobody asked it to? To be looked at now and then; engine_traps_stop() then cleans up
 * @err: why, where there is more to it than that its processes ended or executed other programs (else untouched)
 */
bool engine_traps_left(const struct engine_traps *traps, struct utap_error *err);

/** engine_traps_guardian() - its pid, for messages */
pid_t engine_traps_guardian(const struct engine_traps *traps);

/** engine_traps_hits() - so far */
uint64_t engine_traps_hits(const struct engine_traps *traps);

#endif
