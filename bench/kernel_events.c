/* SPDX-License-Identifier: MIT */
/* Uprobe events; source: Documentation/trace/uprobetracer.rst and ftrace.rst (instances). */
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRACING "/sys/kernel/tracing"
#define GROUP "utap_bench"
#define INSTANCE TRACING "/instances/" GROUP

static int write_text(const char *path, int flags, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC | flags);
	int error = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		error = -errno;
	close(fd);
	return error;
}

static int enable(const char *name, bool on)
{
	char path[200];

	snprintf(path, sizeof(path), INSTANCE "/events/" GROUP "/%s/enable", name);
	return write_text(path, 0, on ? "1" : "0");
}

static int define(const char *name, const char *path, uint64_t offset, bool returns)
{
	char text[4300];

	snprintf(text, sizeof(text), "%c:" GROUP "/%s %s:0x%" PRIx64 " %s\n", returns ? 'r' : 'p', name, path, offset,
		 returns ? "r=$retval" : "a=%di b=%si");
	return write_text(TRACING "/uprobe_events", O_APPEND, text);
}

static void forget(const char *name)
{
	char text[100];

	enable(name, false);
	snprintf(text, sizeof(text), "-:" GROUP "/%s\n", name);
	(void)write_text(TRACING "/uprobe_events", O_APPEND, text);
}

static bool prepare(struct kernel_events *events, char why[300])
{
	if (access(TRACING "/uprobe_events", F_OK)) {
		events->mounted = mount("tracefs", TRACING, "tracefs", 0, NULL) == 0;
		if (!events->mounted || access(TRACING "/uprobe_events", F_OK)) {
			snprintf(why, 300, "no tracefs at " TRACING " (%s)", strerror(errno));
			return false;
		}
	}
	if (access(TRACING "/uprobe_events", W_OK)) {
		snprintf(why, 300, "uprobe events need root: %s", strerror(errno));
		return false;
	}
	if (mkdir(INSTANCE, 0700) && errno != EEXIST) {
		snprintf(why, 300, "no tracing instance: %s", strerror(errno));
		return false;
	}
	return true;
}

bool kernel_events_open(struct kernel_events *events, const char *path, const char *const *names, const uint64_t *offsets,
			size_t count, bool returns, char why[300])
{
	*events = (struct kernel_events){ 0 };
	if (!prepare(events, why)) {
		kernel_events_close(events);
		return false;
	}
	for (size_t i = 0; i < count; i++) {
		int error;

		snprintf(events->name[i], sizeof(events->name[i]), "%s", names[i]);
		forget(names[i]); /* of a run that was killed */
		error = define(names[i], path, offsets[i], returns);
		if (!error) {
			events->count++;
			error = enable(names[i], true);
		}
		if (error) {
			snprintf(why, 300, "the kernel refuses a uprobe event on %s: %s", path, strerror(-error));
			kernel_events_close(events);
			return false;
		}
	}
	return true;
}

/* per_cpu/cpuN/stats: "entries: N" is what is still there, "overrun: N" what was overwritten. */
static uint64_t count_cpu(long cpu)
{
	char path[200], line[128];
	uint64_t sum = 0;
	FILE *in;

	snprintf(path, sizeof(path), INSTANCE "/per_cpu/cpu%ld/stats", cpu);
	in = fopen(path, "r");
	while (in && fgets(line, sizeof(line), in)) {
		uint64_t n;

		if (sscanf(line, "entries: %" SCNu64, &n) == 1 || sscanf(line, "overrun: %" SCNu64, &n) == 1)
			sum += n;
	}
	if (in)
		fclose(in);
	return sum;
}

uint64_t kernel_events_count(const struct kernel_events *events)
{
	uint64_t sum = 0;

	for (long cpu = 0; events->count && cpu < sysconf(_SC_NPROCESSORS_CONF); cpu++)
		sum += count_cpu(cpu);
	return sum;
}

void kernel_events_close(struct kernel_events *events)
{
	for (size_t i = 0; i < events->count; i++)
		forget(events->name[i]);
	rmdir(INSTANCE);
	if (events->mounted)
		umount2(TRACING, MNT_DETACH);
	*events = (struct kernel_events){ 0 };
}
