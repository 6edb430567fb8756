/* SPDX-License-Identifier: MIT */
/*
 * The file behind a mapping. The path that the target shows may be another file for us (a container, a chroot), or gone
 * or replaced: /proc/PID/root, /proc/PID/exe and, for those who may, /proc/PID/map_files lead to the right one. The
 * inode decides.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "patch/target.h"

#define WAYS 4

int patch_mapped_file(pid_t pid, const struct process_map *map, struct object **ret, struct utap_error *err)
{
	char path[WAYS][4200];
	struct utap_error ignored;
	struct stat status;

	snprintf(path[0], sizeof(path[0]), "%s", map->path);
	snprintf(path[1], sizeof(path[1]), "/proc/%d/root%s", pid, map->path);
	snprintf(path[2], sizeof(path[2]), "/proc/%d/exe", pid);
	snprintf(path[3], sizeof(path[3]), "/proc/%d/map_files/%lx-%lx", pid, (unsigned long)map->start,
		 (unsigned long)map->end);
	for (int i = 0; i < WAYS; i++)
		if (!stat(path[i], &status) && status.st_ino == map->inode)
			return object_open(path[i], ret, i ? &ignored : err);
	return base_error(err, -ESTALE, UTAP_ERROR_REFUSED,
			  "%s is not the file any more that process %d runs (replaced or removed); restart the process",
			  map->path, pid);
}
