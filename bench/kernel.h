/* SPDX-License-Identifier: MIT */
/*
 * The kernel's own uprobes, for comparison: trace events through tracefs, and counting with a BPF program on a uprobe_multi
 * link (Linux 6.6). Both need root; what is missing is said in a sentence.
 */
#ifndef BENCH_KERNEL_H
#define BENCH_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Events of our own tracing instance, so that the buffer of whoever traces this machine is left alone. */
struct kernel_events {
	bool mounted; /* by us */
	size_t count;
	char name[8][32];
};

/**
 * kernel_events_open() - one trace event for each place, enabled, with two register arguments; with @returns of the return of the function
 * that starts there, with its return value
 * @why:  filled when it fails; then nothing is left
 */
bool kernel_events_open(struct kernel_events *events, const char *path, const char *const *names, const uint64_t *offsets,
			size_t count, bool returns, char why[300]);
/** kernel_events_count() - entries that the ring buffers hold or dropped, over all our events */
uint64_t kernel_events_count(const struct kernel_events *events);
void kernel_events_close(struct kernel_events *events);

struct kernel_link {
	int map, program, link;
};

/** kernel_link_open() - count hits of one place in one process in an array map; false: @why says the reason */
bool kernel_link_open(struct kernel_link *link, const char *path, uint64_t offset, pid_t pid, char why[300]);
uint64_t kernel_link_hits(const struct kernel_link *link);
void kernel_link_close(struct kernel_link *link);

#define KERNEL_CHAIN_CPUS 64
struct kernel_chain {
	unsigned cpus;
	int fd[KERNEL_CHAIN_CPUS];
	void *ring[KERNEL_CHAIN_CPUS];
};

/** kernel_chain_open() - record each hit of one place with up to @frames addresses of its user stack; false: @why says the reason */
bool kernel_chain_open(struct kernel_chain *chain, const char *path, uint64_t offset, unsigned frames, char why[300]);
/** kernel_chain_drain() - empty the rings; how many samples, *@addresses grows by those in them */
uint64_t kernel_chain_drain(struct kernel_chain *chain, uint64_t *addresses);
void kernel_chain_close(struct kernel_chain *chain);

#endif
