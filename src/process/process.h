/* SPDX-License-Identifier: MIT */
/*
 * A live process from outside, through procfs: what it maps, its memory, its threads, its state. Nothing here stops it and
 * nothing here uses ptrace. The process can change or vanish between any two calls: that is an error, never a crash.
 */
#ifndef PROCESS_PROCESS_H
#define PROCESS_PROCESS_H

#include <sys/types.h>

#include "base/base.h"

/** One line of /proc/PID/maps. */
struct process_map {
	utap_addr start, end;
	uint64_t offset;
	uint64_t inode;
	uint32_t major, minor;
	bool read, write, execute, shared;
	bool deleted;     /* the path is followed by " (deleted)" */
	const char *path; /* "" for anonymous memory; "[heap]", "[vdso]" .. as the kernel prints; inside process_maps.text */
};

struct process_maps {
	struct process_map *map;
	size_t count;
	uint64_t stack_room; /* bytes that [stack] may still grow into, generously; 0: as is usual */
	char *text; /* what the paths point into */
};

/**
 * process_proc_path() - "/proc/PID/NAME"; of another thread when the first one has ended and the process goes on without it
 * (procfs then shows no memory of the first)
 */
void process_proc_path(pid_t pid, const char *name, char *path, size_t size);

/**
 * process_maps_read() - all mappings, by address, and where there is no heap yet an empty one ("[heap]", start == end)
 * @ret: the caller releases it with process_maps_free()
 *
 * Return: 0; -ESRCH gone (or a zombie: it maps nothing); -EACCES; -EINVAL a line that makes no sense; -ENOMEM.
 */
int process_maps_read(pid_t pid, struct process_maps *ret) BASE_MUST_CHECK;
void process_maps_free(struct process_maps *maps);

/** process_maps_at() - the mapping that holds @addr, or NULL */
const struct process_map *process_maps_at(const struct process_maps *maps, utap_addr addr);

/**
 * process_maps_hole() - a free range of @size bytes (page-aligned) nearest to @near, not below @low nor ending above @high
 * @guard: bytes to stay away from every mapping
 *
 * Keeps clear of where the stack and the heap may grow.
 *
 * Return: 0 and *ret, or -ENOMEM.
 */
int process_maps_hole(const struct process_maps *maps, uint64_t size, utap_addr near, utap_addr low, utap_addr high,
		      uint64_t guard, utap_addr *ret) BASE_MUST_CHECK;

/** process_maps_free_at() - is [addr, addr + size) unmapped and away from where stack and heap may grow? */
bool process_maps_free_at(const struct process_maps *maps, utap_addr addr, uint64_t size);

/** process_read(), process_write() - memory through an open /proc/PID/mem; everything or a negative errno (-EIO unmapped) */
int process_mem_open(pid_t pid) BASE_MUST_CHECK; /* descriptor or negative errno */
int process_read(int mem, utap_addr from, void *to, size_t size) BASE_MUST_CHECK;
int process_write(int mem, utap_addr to, const void *from, size_t size) BASE_MUST_CHECK;

/** process_threads() - the tids of a process; @ret heap, the caller frees; count or negative errno (-ESRCH) */
long process_threads(pid_t pid, pid_t **ret) BASE_MUST_CHECK;

/** Fields of /proc/PID/status (and stat) that decide what can be done. */
struct process_status {
	char state;        /* R S D T t Z X I */
	pid_t tgid;
	pid_t ppid;
	pid_t tracer;      /* 0: nobody */
	pid_t inner_pid;   /* its number in its own pid namespace */
	bool shadow_stack; /* user shadow stacks are on */
	uid_t uid, euid;
	uint64_t blocked;  /* signals, of the thread asked for */
	unsigned seccomp;  /* 0 none, 1 strict, 2 filter */
	uint64_t locked_kib; /* VmLck */
	uint64_t resident_kib;
	uint64_t mapped_kib; /* VmSize */
	uint64_t start_time; /* clock ticks since boot: with the pid, the identity of a process */
};
/** process_status_read() - of a process or thread; 0 or -ESRCH .. */
int process_status_read(pid_t pid, struct process_status *ret) BASE_MUST_CHECK;

/** process_has_ended() - is it gone or a zombie, with all of its threads? */
bool process_has_ended(pid_t pid);

/** process_shares_memory() - do two processes have one address space (vfork, posix_spawn before it executes)? */
bool process_shares_memory(pid_t pid, pid_t other);

#define PROCESS_STAT_START 22 /* when it started, in clock ticks since boot */
/** process_stat_number() - field @number (from 1, as proc(5) counts, above 2) of /proc/PID/stat; 0 when it cannot be read */
uint64_t process_stat_number(pid_t pid, unsigned number);

/** process_is_confined() - does any thread run under a seccomp filter? */
bool process_is_confined(pid_t pid);

/** process_address_room() - bytes that it may still map (RLIMIT_AS); UINT64_MAX: no limit, or nothing can be read */
uint64_t process_address_room(pid_t pid);

/** process_is_locked() - is the mapping that holds @addr locked in memory (mlock)? */
bool process_is_locked(pid_t pid, utap_addr addr);

/** process_comm() - the thread's name without newline, "<...>" when it is gone */
void process_comm(pid_t tid, char *text, size_t size);

/** process_auxv() - an entry of the auxiliary vector; 0, -ENOENT, -ESRCH, -EACCES */
int process_auxv(pid_t pid, uint64_t type, uint64_t *ret) BASE_MUST_CHECK;

/**
 * process_explain() - why a ptrace-like access to @pid failed with @code, as one sentence with what to do
 * Fills @err; returns a negative errno (-ESRCH, -ECHILD, -EPERM, -EBUSY).
 */
int process_explain(pid_t pid, int code, struct utap_error *err);

#endif
