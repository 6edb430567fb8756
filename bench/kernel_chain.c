/* SPDX-License-Identifier: MIT */
/* A uprobe that perf records with call chains, on all CPUs. Source: perf_event_open(2),
 * /sys/bus/event_source/devices/uprobe. */
#include "kernel.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DATA_PAGES 1024UL
#define PAGE 4096UL

static int pmu_type(void)
{
	FILE *in = fopen("/sys/bus/event_source/devices/uprobe/type", "r");
	int type = -1;

	if (!in)
		return -1;
	if (fscanf(in, "%d", &type) != 1)
		type = -1;
	fclose(in);
	return type;
}

static int open_event(int type, const char *path, uint64_t offset, unsigned frames, int cpu)
{
	struct perf_event_attr attr = {
		.type = (uint32_t)type,
		.size = sizeof(attr),
		.config1 = (uintptr_t)path,
		.config2 = offset,
		.sample_period = 1,
		.sample_type = PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_CALLCHAIN,
		.exclude_callchain_kernel = 1,
		.sample_max_stack = (uint16_t)frames,
		.watermark = 1,
		.wakeup_watermark = UINT32_MAX,
	};

	return (int)syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
}

bool kernel_chain_open(struct kernel_chain *chain, const char *path, uint64_t offset, unsigned frames, char why[300])
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	int type = pmu_type();

	*chain = (struct kernel_chain) { 0 };
	for (int cpu = 0; type >= 0 && cpu < cpus && cpu < KERNEL_CHAIN_CPUS; cpu++) {
		int fd = open_event(type, path, offset, frames, cpu);
		void *ring = fd < 0 ? MAP_FAILED
				    : mmap(NULL, (1 + DATA_PAGES) * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		if (fd >= 0)
			chain->fd[chain->cpus] = fd, chain->ring[chain->cpus++] = ring == MAP_FAILED ? NULL : ring;
		if (ring == MAP_FAILED) {
			snprintf(why, 300, "perf_event_open(2) refuses a uprobe with call chains: %s", strerror(errno));
			kernel_chain_close(chain);
			return false;
		}
	}
	if (type < 0)
		snprintf(why, 300, "the kernel has no uprobe events for perf");
	return type >= 0;
}

/* The call chain is behind ip, tid and time: how many there are, the mark of user space, addresses. */
uint64_t kernel_chain_drain(struct kernel_chain *chain, uint64_t *addresses)
{
	uint64_t samples = 0;

	for (unsigned i = 0; i < chain->cpus; i++) {
		struct perf_event_mmap_page *page = chain->ring[i];
		const uint8_t *data = (const uint8_t *)page + PAGE;
		uint64_t head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);
		uint64_t at = page->data_tail;

		while (at < head) {
			const struct perf_event_header *header = (const void *)(data + at % (DATA_PAGES * PAGE));
			uint64_t count;

			if (header->type == PERF_RECORD_SAMPLE) {
				memcpy(&count, data + (at + sizeof(*header) + 24) % (DATA_PAGES * PAGE), sizeof(count));
				*addresses += count - 1;
				samples++;
			}
			at += header->size;
		}
		__atomic_store_n(&page->data_tail, head, __ATOMIC_RELEASE);
	}
	return samples;
}

void kernel_chain_close(struct kernel_chain *chain)
{
	for (unsigned i = 0; i < chain->cpus; i++) {
		if (chain->ring[i])
			munmap(chain->ring[i], (1 + DATA_PAGES) * PAGE);
		close(chain->fd[i]);
	}
	*chain = (struct kernel_chain) { 0 };
}
