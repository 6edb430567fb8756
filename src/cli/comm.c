/* SPDX-License-Identifier: MIT */
/*
 * Names of threads. A table of fixed size, one place a tid: a process that makes threads without end costs look-ups,
 * never memory. Names are looked up again after a second, for threads that rename themselves; that of a thread that is
 * gone stays.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "process/process.h"

#define SLOTS 4096
#define FRESH_NS 1000000000ULL
#define UNKNOWN "<...>"

struct slot {
	uint32_t tid; /* 0: empty */
	char comm[28];
	uint64_t read_ns;
};

struct cli_comms {
	struct slot slot[SLOTS];
};

int cli_comms_create(struct cli_comms **ret)
{
	struct cli_comms *comms = calloc(1, sizeof(*comms));

	if (!comms)
		return -ENOMEM;
	*ret = comms;
	return 0;
}

void cli_comms_destroy(struct cli_comms *comms)
{
	free(comms);
}

bool cli_comm_known(const char *comm)
{
	return strcmp(comm, UNKNOWN) != 0;
}

const char *cli_comms_get(struct cli_comms *comms, uint32_t tid, uint64_t now_ns, bool *is_news)
{
	struct slot *slot = &comms->slot[tid % SLOTS];
	bool is_known = slot->tid == tid && tid;
	char comm[sizeof(slot->comm)];

	if (is_news)
		*is_news = false;
	if (is_known && now_ns < slot->read_ns + FRESH_NS)
		return slot->comm;
	process_comm((pid_t)tid, comm, sizeof(comm));
	slot->read_ns = now_ns;
	if (is_known && (!cli_comm_known(comm) || strcmp(comm, slot->comm) == 0))
		return slot->comm;
	slot->tid = tid;
	memcpy(slot->comm, comm, sizeof(comm));
	if (is_news)
		*is_news = true;
	return slot->comm;
}
