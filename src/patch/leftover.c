/* SPDX-License-Identifier: MIT */
/*
 * What a utap that was killed had just begun with: a lent thread on its way home, memory mapped but not described yet,
 * pages being prepared, descriptors. Text is never in doubt here: it is switched only when all is described.
 */
#include <ctype.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "patch/inside.h"

#define HOME_MS 3000 /* for a lent thread to be home */
#define MEMORY_PATH "/memfd:" WIRE_NAME

static bool is_memory(const struct process_map *map)
{
	return !strcmp(map->path, MEMORY_PATH);
}

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

		if (process_write(target->mem, self + offsetof(struct wire_control, stages[at]), &stage,
				  sizeof(stage)) ||
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

static bool is_whole_stage(const struct patch_target *target, const struct process_map *map)
{
	for (uint32_t i = 0; i < target->geometry.stages_used; i++)
		if (map->start == target->geometry.stages[i].addr && map->end - map->start == target->geometry.stages[i].size)
			return true;
	return false;
}

/*
 * The program may have mapped something there itself: only a second copy of some other text is ours; or, where the program unloaded that
 * meanwhile, the lone text of a file of which nothing else is mapped (what is loaded comes with its data).
 */
static bool is_forgotten_stage(const struct patch_target *target, const struct process_maps *maps,
			       const struct process_map *map)
{
	bool is_lone = is_whole_stage(target, map);

	if (!map->inode || !map->execute || map->write || map->shared || !is_staged(target, map))
		return false;
	for (size_t i = 0; i < maps->count; i++) {
		const struct process_map *other = &maps->map[i];

		if (other->inode != map->inode || other->major != map->major || other->minor != map->minor || is_staged(target, other))
			continue;
		if (other->execute)
			return true;
		is_lone = false;
	}
	return is_lone;
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

static int unmap_which(struct patch_target *target, struct engine_loan *loan, enum patch_sweep what)
{
	struct process_maps maps;
	int error = process_maps_read(target->pid, &maps);

	if (error)
		return error;
	for (size_t i = 0; !error && i < maps.count; i++) {
		const struct process_map *map = &maps.map[i];
		uint64_t args[6] = { map->start, map->end - map->start };
		bool is_wanted = what == PATCH_SWEEP_STAGES
				     ? is_forgotten_stage(target, &maps, map)
				     : is_memory(map) && (!target->memory_inode || map->inode == target->memory_inode);
		int64_t result;

		if (is_wanted)
			error = engine_call(loan, SYS_munmap, args, &result);
	}
	process_maps_free(&maps);
	return error;
}

int patch_sweep(struct patch_target *target, struct engine_loan *loan, enum patch_sweep what)
{
	if (!target->adopted)
		return 0;
	if (what == PATCH_SWEEP_STAGES)
		close_descriptors(target, loan);
	return unmap_which(target, loan, what);
}

/* ---- lent threads ---- */

void patch_note_lent(struct patch_target *target, pid_t tid)
{
	uint32_t lent = (uint32_t)tid;
	utap_addr at = target->geometry.self + offsetof(struct wire_control, lent);

	if (target->data)
		((struct wire_control *)target->data)->lent = lent;
	else if (target->adopted && target->geometry.self && process_write(target->mem, at, &lent, sizeof(lent)))
		base_log(BASE_LOG_DEBUG, "process %d does not map our memory any more", target->pid);
}

int patch_lend(struct patch_target *target, struct engine_loan **ret, struct utap_error *err)
{
	int error = engine_lend(target->pid, target->mem, ret, err);

	if (!error)
		patch_note_lent(target, engine_loan_tid(*ret));
	return error;
}

void patch_give_back(struct patch_target *target, struct engine_loan *loan)
{
	patch_note_stop(target, engine_return(loan));
	patch_note_lent(target, 0);
}

/* While it is lent every signal is blocked; on its way home it gets back its own mask. */
static bool is_away(pid_t pid, pid_t tid)
{
	const uint64_t unblockable = 1ULL << (SIGKILL - 1) | 1ULL << (SIGSTOP - 1);
	struct process_status status;

	return !process_status_read(tid, &status) && status.tgid == pid && status.state != 'Z' && status.state != 'X' &&
	       (status.blocked | unblockable) == ~0ULL;
}

/*
 * The thread waits in the runtime to be fetched; told so, it goes at once. The words lie in memory that the target can
 * write: if they are scribbled on, it goes by itself after two seconds.
 */
void patch_await_lent(const struct patch_target *target)
{
	utap_addr released = target->geometry.self + target->geometry.lend_at + offsetof(struct wire_lend, released);
	uint32_t one = 1;

	for (int ms = 0; ms < HOME_MS && is_away(target->pid, (pid_t)target->geometry.lent); ms++) {
		if (process_write(target->mem, released, &one, sizeof(one)))
			return;
		nanosleep(&(struct timespec) { .tv_nsec = 1000000 }, NULL);
	}
}
