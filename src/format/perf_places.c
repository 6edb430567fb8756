/* SPDX-License-Identifier: MIT */
/*
 * Where each probe stands in each process, from the mappings the writer is told of: one file is mapped at different
 * addresses by different processes, and perf looks an address up in the maps of the sample's own process.
 *
 * A process holds only code mappings, so the lists are short (of all files: one may be probed later); the mapping learned last wins, and
 * replaces what it covers. The process asked for last is remembered: records come in bursts.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "format/perf_layout.h"

struct place_file {
	char *path;
	uint32_t index;
	UT_hash_handle hh;
};

struct place_map {
	uint64_t start, size, offset;
	uint32_t file;
};

struct place_process {
	uint32_t pid;
	size_t nmaps, cap;
	struct place_map *maps;
	UT_hash_handle hh;
};

struct format_places {
	const struct trace_probe *probes;
	uint32_t nprobes;
	uint32_t *file_of; /* of each probe: place_file.index */
	struct place_file *files;
	struct place_process *processes;
	struct place_process *last;
};

void format_places_destroy(struct format_places *places)
{
	if (!places)
		return;
	struct place_file *file, *next_file;
	struct place_process *process, *next_process;

	HASH_ITER(hh, places->files, file, next_file)
	{
		HASH_DEL(places->files, file);
		free(file->path);
		free(file);
	}
	HASH_ITER(hh, places->processes, process, next_process)
	{
		HASH_DEL(places->processes, process);
		free(process->maps);
		free(process);
	}
	free(places->file_of);
	free(places);
}

/* The file of @path, created when it is new; NULL without memory. */
static struct place_file *places_file(struct format_places *places, const char *path)
{
	struct place_file *file;

	HASH_FIND_STR(places->files, path, file);
	if (file)
		return file;
	file = calloc(1, sizeof(*file));
	if (!file)
		return NULL;
	file->path = strdup(path);
	if (!file->path) {
		free(file);
		return NULL;
	}
	file->index = HASH_COUNT(places->files);
	HASH_ADD_KEYPTR(hh, places->files, file->path, strlen(file->path), file);
	if (!file->hh.tbl) {
		free(file->path);
		free(file);
		return NULL;
	}
	return file;
}

int format_places_grow(struct format_places *places, const struct trace_probe *probes, uint32_t nprobes)
{
	uint32_t *file_of = calloc((size_t)nprobes + 1, sizeof(*file_of));

	for (uint32_t i = 0; file_of && i < nprobes; i++) {
		struct place_file *file = places_file(places, probes[i].path);

		if (!file) {
			free(file_of);
			return -ENOMEM;
		}
		file_of[i] = file->index;
	}
	if (!file_of)
		return -ENOMEM;
	free(places->file_of);
	places->file_of = file_of;
	places->probes = probes;
	places->nprobes = nprobes;
	return 0;
}

int format_places_create(const struct trace_probe *probes, uint32_t nprobes, struct format_places **ret)
{
	struct format_places *places = calloc(1, sizeof(*places));

	if (!places)
		return -ENOMEM;
	if (format_places_grow(places, probes, nprobes)) {
		format_places_destroy(places);
		return -ENOMEM;
	}
	*ret = places;
	return 0;
}

static struct place_process *places_process(struct format_places *places, uint32_t pid)
{
	struct place_process *process;

	HASH_FIND(hh, places->processes, &pid, sizeof(pid), process);
	if (process)
		return process;
	process = calloc(1, sizeof(*process));
	if (!process)
		return NULL;
	process->pid = pid;
	HASH_ADD(hh, places->processes, pid, sizeof(process->pid), process);
	if (!process->hh.tbl) {
		free(process);
		return NULL;
	}
	places->last = NULL;
	return process;
}

int format_places_map(struct format_places *places, const struct format_map *map)
{
	struct place_file *file;

	if (!(map->prot & PROT_EXEC))
		return 0;
	file = places_file(places, map->path);
	if (!file)
		return -ENOMEM;
	struct place_process *process = places_process(places, map->pid);

	if (!process || base_grow(&process->maps, &process->cap, process->nmaps + 1, sizeof(*process->maps)) < 0)
		return -ENOMEM;
	size_t kept = 0;

	for (size_t i = 0; i < process->nmaps; i++) {
		const struct place_map *old = &process->maps[i];
		bool covered = old->start >= map->start && old->start - map->start < map->size &&
			       old->size <= map->size - (old->start - map->start);

		if (!covered)
			process->maps[kept++] = *old;
	}
	process->maps[kept++] = (struct place_map) { map->start, map->size, map->offset, file->index };
	process->nmaps = kept;
	return 0;
}

int format_places_fork(struct format_places *places, uint32_t pid, uint32_t parent)
{
	struct place_process *child = places_process(places, pid);
	struct place_process *from = places_process(places, parent);

	if (!child || !from)
		return -ENOMEM;
	if (child == from || child->nmaps)
		return 0;
	if (base_grow(&child->maps, &child->cap, from->nmaps, sizeof(*child->maps)) < 0)
		return -ENOMEM;
	if (from->nmaps)
		memcpy(child->maps, from->maps, from->nmaps * sizeof(*child->maps));
	child->nmaps = from->nmaps;
	return 0;
}

uint64_t format_places_addr(struct format_places *places, uint32_t id, uint32_t pid)
{
	const struct trace_probe *probe = &places->probes[id];
	struct place_process *process = places->last;

	if (!process || process->pid != pid) {
		HASH_FIND(hh, places->processes, &pid, sizeof(pid), process);
		if (!process)
			return probe->addr;
		places->last = process;
	}
	for (size_t i = process->nmaps; i-- > 0;) {
		const struct place_map *map = &process->maps[i];

		if (map->file == places->file_of[id] && probe->offset >= map->offset &&
		    probe->offset - map->offset < map->size)
			return map->start + (probe->offset - map->offset);
	}
	return probe->addr;
}
