/* SPDX-License-Identifier: MIT */
/* The set of what was written is keyed by process and mapping, or process alone; it grows with mappings, never with
 * hits. */
#include "cli/events.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "object/object.h"
#include "process/process.h"

/* Hashed as bytes: no padding. size 0 stands for the process itself. */
struct events_key {
	uint64_t start, size, offset, inode;
	uint64_t pid;
};

struct events_item {
	struct events_key key;
	struct format_map map; /* of a mapping; its path is ours */
	UT_hash_handle hh;
};

struct cli_events {
	struct format_perf *perf;
	struct events_item *written;
	bool with_tables;
};

int cli_events_create(struct format_perf *perf, struct cli_events **ret)
{
	struct cli_events *events = calloc(1, sizeof(*events));

	if (!events)
		return -ENOMEM;
	events->perf = perf;
	*ret = events;
	return 0;
}

void cli_events_with_tables(struct cli_events *events)
{
	events->with_tables = true;
}

void cli_events_destroy(struct cli_events *events)
{
	struct events_item *item;
	struct events_item *next;

	if (!events)
		return;
	HASH_ITER(hh, events->written, item, next)
	{
		HASH_DEL(events->written, item);
		free((char *)(uintptr_t)item->map.path);
		free(item);
	}
	free(events);
}

static bool is_written(const struct cli_events *events, const struct events_key *key)
{
	struct events_item *item;

	HASH_FIND(hh, events->written, key, sizeof(*key), item);
	return item;
}

/* @map: NULL for a process */
static int remember(struct cli_events *events, const struct events_key *key, const struct format_map *map)
{
	struct events_item *item = calloc(1, sizeof(*item));
	char *path = map ? strdup(map->path) : NULL;

	if (item && (path || !map)) {
		item->key = *key;
		if (map)
			item->map = *map;
		item->map.path = path;
		HASH_ADD(hh, events->written, key, sizeof(item->key), item);
		if (item->hh.tbl)
			return 0;
	}
	free(path);
	free(item);
	return -ENOMEM;
}

bool cli_events_is_known(const struct cli_events *events, uint32_t pid)
{
	return is_written(events, &(struct events_key) { .pid = pid });
}

static int write_threads(struct cli_events *events, uint32_t pid)
{
	_cleanup_free_ pid_t *tids = NULL;
	long count = process_threads((pid_t)pid, &tids);
	int error = 0;

	for (long i = 0; i < count && !error; i++) {
		char comm[64];

		process_comm(tids[i], comm, sizeof(comm));
		error = format_perf_comm(events->perf, pid, (uint32_t)tids[i], comm);
	}
	return error;
}

static uint32_t protection(const struct process_map *map)
{
	uint32_t prot = map->read ? PROT_READ : 0;

	prot |= map->write ? PROT_WRITE : 0;
	return prot | (map->execute ? PROT_EXEC : 0);
}

/* What a reader finds at the path later can be another file; what we find there, as well. */
static int write_build_id(struct cli_events *events, const struct format_map *map)
{
	const char *path = map->path;
	struct object *object;
	const uint8_t *id;
	struct stat st;
	int error = 0;

	if (path[0] != '/' || stat(path, &st) || st.st_ino != map->inode || object_open(path, &object, NULL))
		return 0;
	size_t size = object_build_id(object, &id);

	if (size)
		error = format_perf_build_id(events->perf, path, id, size);
	object_close(object);
	return error;
}

/* What is written again when it comes back. */
static void forget_covered(struct cli_events *events, const struct format_map *map)
{
	struct events_item *item, *next;

	HASH_ITER(hh, events->written, item, next)
	{
		if (item->key.pid != map->pid || !item->map.path || item->key.start >= map->start + map->size ||
		    map->start >= item->key.start + item->key.size)
			continue;
		HASH_DEL(events->written, item);
		free((char *)(uintptr_t)item->map.path);
		free(item);
	}
}

static int write_once(struct cli_events *events, const struct format_map *map)
{
	struct events_key key = {
		.start = map->start, .size = map->size, .offset = map->offset, .inode = map->inode, .pid = map->pid
	};
	int error;

	if (is_written(events, &key))
		return 0;
	error = events->perf ? format_perf_map(events->perf, map) : 0;
	if (!error && events->perf)
		error = write_build_id(events, map);
	forget_covered(events, map);
	return error ? error : remember(events, &key, map);
}

static int write_map(struct cli_events *events, uint32_t pid, const struct process_map *map)
{
	struct format_map out = { .pid = pid,
				  .start = map->start,
				  .size = map->end - map->start,
				  .offset = map->offset,
				  .major = map->major,
				  .minor = map->minor,
				  .inode = map->inode,
				  .prot = protection(map),
				  .flags = map->shared ? MAP_SHARED : MAP_PRIVATE,
				  .path = map->path[0] ? map->path : "//anon" };

	return write_once(events, &out);
}

int cli_events_repeat(const struct cli_events *from, struct cli_events *to)
{
	int error = 0;

	for (const struct events_item *item = from->written; item && !error; item = item->hh.next)
		if (item->map.path)
			error = write_once(to, &item->map);
	return error;
}

/* Unwind tables lie in mappings of files that are not executable. */
static bool is_wanted(const struct cli_events *events, const struct process_map *map)
{
	return map->execute || (events->with_tables && map->inode && map->read && !map->write);
}

int cli_events_maps(struct cli_events *events, uint32_t pid, const struct process_maps *maps)
{
	int error = 0;

	for (size_t i = 0; i < maps->count && !error; i++) {
		if (is_wanted(events, &maps->map[i]))
			error = write_map(events, pid, &maps->map[i]);
	}
	return error;
}

static int write_maps(struct cli_events *events, uint32_t pid)
{
	struct process_maps maps;
	int error;

	if (process_maps_read((pid_t)pid, &maps))
		return 0;
	error = cli_events_maps(events, pid, &maps);
	process_maps_free(&maps);
	return error;
}

int cli_events_process(struct cli_events *events, uint32_t pid)
{
	int error = 0;

	if (events->perf && !cli_events_is_known(events, pid)) {
		error = write_threads(events, pid);
		if (!error)
			error = remember(events, &(struct events_key) { .pid = pid }, NULL);
	}
	return error ? error : write_maps(events, pid);
}

int cli_events_build_ids(struct cli_events *events, const struct trace_probe *probes, uint32_t count)
{
	const char *last = "";
	int error = 0;

	for (uint32_t i = 0; i < count && !error; i++) {
		struct object *object;
		const uint8_t *id;
		size_t size;

		if (strcmp(probes[i].path, last) == 0) /* probes of a file stand together */
			continue;
		last = probes[i].path;
		if (object_open(last, &object, NULL))
			continue; /* perf finds symbols by path then */
		size = object_build_id(object, &id);
		if (size)
			error = format_perf_build_id(events->perf, last, id, size);
		object_close(object);
	}
	return error;
}
