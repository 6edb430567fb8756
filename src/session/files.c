/* SPDX-License-Identifier: MIT */
/* Files that targets map, opened once. Identity is (device, inode): a replaced file is another file. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "session/inside.h"

/*
 * The path as the target sees it may be another file for us (a container, a chroot) or gone (replaced): /proc/PID/root and, for those
 * who may, /proc/PID/map_files lead to the right one. The inode decides.
 */
static int open_right_file(pid_t pid, const struct process_map *map, struct object **ret, struct utap_error *err)
{
	char path[3][4200];
	struct utap_error ignored;
	struct stat status;

	snprintf(path[0], sizeof(path[0]), "%s", map->path);
	snprintf(path[1], sizeof(path[1]), "/proc/%d/root%s", pid, map->path);
	snprintf(path[2], sizeof(path[2]), "/proc/%d/map_files/%lx-%lx", pid, (unsigned long)map->start,
		 (unsigned long)map->end);
	for (int i = 0; i < 3; i++)
		if (!stat(path[i], &status) && status.st_ino == map->inode)
			return object_open(path[i], ret, i ? &ignored : err);
	return base_error(err, -ESTALE, UTAP_ERROR_REFUSED,
			  "%s is not the file any more that process %d runs (replaced or removed); restart the process", map->path,
			  pid);
}

static pid_t any_pid(const struct session *session)
{
	return session->nprocesses ? session->processes[session->nprocesses - 1]->pid : 0;
}

int session_file_of(struct session *session, const struct process_map *map, struct session_file **ret,
		    struct utap_error *err)
{
	struct session_file *file;
	int error;

	for (size_t i = 0; i < session->nfiles; i++) {
		file = session->files[i];
		if (file->inode == map->inode && file->major == map->major && file->minor == map->minor) {
			*ret = file;
			return 0;
		}
	}
	error = base_grow(&session->files, &session->files_cap, session->nfiles + 1, sizeof(struct session_file *));
	file = error ? NULL : calloc(1, sizeof(*file));
	if (!file)
		return base_error_system(err, -ENOMEM, "cannot open %s", map->path);
	*file = (struct session_file){ .inode = map->inode, .major = map->major, .minor = map->minor };
	error = open_right_file(any_pid(session), map, &file->object, err);
	if (error) {
		free(file);
		return error;
	}
	session->files[session->nfiles++] = file;
	*ret = file;
	return 0;
}

void session_files_free(struct session *session)
{
	for (size_t i = 0; i < session->nfiles; i++) {
		patch_code_destroy(session->files[i]->code);
		object_close(session->files[i]->object);
		free(session->files[i]);
	}
	free(session->files);
}
