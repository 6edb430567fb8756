/* SPDX-License-Identifier: MIT */
/* Files that targets map, opened once. Identity is (device, inode): a replaced file is another file. */
#include <errno.h>
#include <stdlib.h>

#include "session/inside.h"

static pid_t any_pid(const struct session *session)
{
	return session->current ? session->current->pid : 0;
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
	error = patch_mapped_file(any_pid(session), map, &file->object, err);
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
		patch_code_destroy(session->files[i]->unframed);
		object_unwind_free(&session->files[i]->unwind);
		object_close(session->files[i]->object);
		free(session->files[i]);
	}
	free(session->files);
	session_vdso_free(session);
}
