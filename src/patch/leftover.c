/* SPDX-License-Identifier: MIT */
/*
 * What a utap that was killed had just begun with: a lent thread on its way home, memory mapped but not described yet, pages being
 * prepared, descriptors. Text is never in doubt here: it is switched only when all is described.
 */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "patch/inside.h"

#define MEMORY_PATH "/memfd:" WIRE_NAME

static bool is_memory(const struct process_map *map) { return !strcmp(map->path, MEMORY_PATH); }

/* ---- stages ---- */

/* Behind those of the utap that is gone, which are still to be cleaned up. */
void patch_note_stages(struct patch_target *target, utap_addr addr, uint64_t size)
{
	struct wire_stage stage = { .addr = addr, .size = size };
	uint32_t at = target->geometry.stages_used < WIRE_STAGES ? target->geometry.stages_used : WIRE_STAGES - 1;
	uint32_t used = at + (size != 0);

	if (target->data) {
		struct wire_control *control = (struct wire_control *)target->data;

		control->stages[at] = stage;
		control->stages_used = used;
	} else if (target->adopted && target->geometry.self) {
		utap_addr self = target->geometry.self;

		if (process_write(target->mem, self + offsetof(struct wire_control, stages[at]), &stage, sizeof(stage)) ||
		    process_write(target->mem, self + offsetof(struct wire_control, stages_used), &used, sizeof(used)))
			base_log(BASE_LOG_DEBUG, "cannot note what is prepared in process %d", target->pid);
	}
}

static bool is_staged(const struct patch_target *target, const struct process_map *map)
{
	for (uint32_t i = 0; i < target->geometry.stages_used; i++) {
		const struct wire_stage *stage = &target->geometry.stages[i];

		if (map->start - stage->addr < stage->size && map->end - stage->addr <= stage->size)
			return true;
	}
	return false;
}

/* The program may have mapped something there itself: only a second copy of some other text is ours. */
static bool is_forgotten_stage(const struct patch_target *target, const struct process_maps *maps,
			       const struct process_map *map)
{
	if (!map->inode || !map->execute || map->write || map->shared || !is_staged(target, map))
		return false;
	for (size_t i = 0; i < maps->count; i++) {
		const struct process_map *other = &maps->map[i];

		if (other->execute && other->inode == map->inode && other->major == map->major &&
		    other->minor == map->minor && !is_staged(target, other))
			return true;
	}
	return false;
}

/* ---- descriptors ---- */

static bool is_memory_fd(const struct patch_target *target, const char *path)
{
	struct stat status;
	char link[64];
	ssize_t length = readlink(path, link, sizeof(link) - 1);

	link[length < 0 ? 0 : length] = '\0';
	return !strcmp(link, MEMORY_PATH " (deleted)") && !stat(path, &status) &&
	       (!target->memory_inode || status.st_ino == target->memory_inode);
}

static bool maps_file(const struct patch_target *target, uint64_t inode)
{
	for (size_t i = 0; i < target->maps.count; i++)
		if (target->maps.map[i].execute && target->maps.map[i].inode == inode)
			return true;
	return false;
}

/* A program or library, opened to be mapped anew. */
static bool is_module_fd(const struct patch_target *target, const char *path, unsigned long fd)
{
	_cleanup_free_ char *text = NULL;
	struct stat status;
	char directory[64], info[96];
	const char *flags;

	process_proc_path(target->pid, "fdinfo", directory, sizeof(directory));
	snprintf(info, sizeof(info), "%s/%lu", directory, fd);
	if (stat(path, &status) || !S_ISREG(status.st_mode) || !maps_file(target, status.st_ino) ||
	    base_file_read(info, &text, NULL))
		return false;
	flags = strstr(text, "flags:");
	return flags && (strtoul(flags + 6, NULL, 8) & ~0100000UL) == PATCH_OPEN_FLAGS; /* but O_LARGEFILE */
}

static bool is_ours(const struct patch_target *target, const char *path, unsigned long fd)
{
	return is_memory_fd(target, path) || is_module_fd(target, path, fd);
}

/** @return how many there are; with a loan they are closed */
static size_t close_descriptors(const struct patch_target *target, struct engine_loan *loan)
{
	char directory[64], path[400];
	struct dirent *entry;
	size_t found = 0;
	DIR *dir;

	process_proc_path(target->pid, "fd", directory, sizeof(directory));
	dir = opendir(directory);
	while (dir && (entry = readdir(dir))) {
		uint64_t args[6] = { strtoul(entry->d_name, NULL, 10) };
		int64_t result;

		snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
		if (!isdigit((unsigned char)entry->d_name[0]) || !is_ours(target, path, args[0]))
			continue;
		found++;
		if (loan && engine_call(loan, SYS_close, args, &result))
			break;
	}
	if (dir)
		closedir(dir);
	return found;
}

/* ---- the whole ---- */

bool patch_has_leftovers(const struct patch_target *target)
{
	for (size_t i = 0; i < target->maps.count; i++)
		if (is_memory(&target->maps.map[i]))
			return true;
	return close_descriptors(target, NULL) > 0;
}

int patch_sweep(struct patch_target *target, struct engine_loan *loan)
{
	struct process_maps maps;
	int error = process_maps_read(target->pid, &maps);

	if (error)
		return error;
	for (size_t i = 0; !error && i < maps.count; i++) {
		const struct process_map *map = &maps.map[i];
		uint64_t args[6] = { map->start, map->end - map->start };
		int64_t result;

		if ((is_memory(map) && (!target->memory_inode || map->inode == target->memory_inode)) ||
		    is_forgotten_stage(target, &maps, map))
			error = engine_call(loan, SYS_munmap, args, &result);
	}
	process_maps_free(&maps);
	close_descriptors(target, loan);
	return error;
}

/*
 * A thread that was lent when utap died may still wait in the runtime to be fetched. The word lies in memory that the target can write:
 * if it is scribbled on, the thread goes by itself after two seconds.
 */
void patch_send_home(const struct patch_target *target)
{
	uint32_t one = 1;

	if (target->geometry.self &&
	    process_write(target->mem, target->geometry.self + target->geometry.lend_at + offsetof(struct wire_lend, released),
			  &one, sizeof(one)))
		base_log(BASE_LOG_DEBUG, "cannot send a lent thread of process %d home", target->pid);
}
