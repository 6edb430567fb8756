/* SPDX-License-Identifier: MIT */
/*
 * Tables for walking stacks in targets (--stack=cfi): made of the files that a process maps, brought into its shared memory, and made anew when
 * it loads or unloads something, while it waits for us (later.c).
 *
 * Invariant: every mapping of code that shows a file, or is ours, is a piece of the list. One of which nothing is known has no rows: there a
 * walk ends. What is in no piece was made at run time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "object/unwind.h"
#include "session/inside.h"

#define VDSO "[vdso]"
#define SPARE (64ULL << 20) /* address space for tables of what is loaded later */
#define LISTS ((uint64_t)WIRE_UNWIND_LISTS * WIRE_UNWIND_LIST_SIZE)

bool session_has_tables(const struct session *session)
{
	return session->options.stack == WIRE_STACK_CFI && session->options.action == PROBE_RECORD;
}

bool session_wants_loads(const struct session *session)
{
	return session_has_tables(session) || (session->options.stack == WIRE_STACK_RAW && session->options.action == PROBE_RECORD);
}

/* ---- tables of files ---- */

void session_file_unwind(struct session_file *file)
{
	struct utap_error why = { 0 };

	if (file->has_unwind)
		return;
	file->has_unwind = true; /* or will never have */
	if (object_unwind_make(file->object, &file->unwind, &why))
		base_log(BASE_LOG_WARN, "stacks end in %s: %s", object_path(file->object), why.text);
}

/* The kernel's own code in every process: the same in all of them. */
static int open_vdso(struct session_process *process, const struct process_map *map, struct object **ret)
{
	uint64_t size = map->end - map->start;
	uint8_t *bytes = malloc(size);
	int error = bytes ? process_read(patch_target_mem(process->target), map->start, bytes, size) : -ENOMEM;

	if (!error)
		return object_open_bytes(VDSO, bytes, size, ret, NULL);
	free(bytes);
	return error;
}

static struct session_file *vdso_of(struct session *session, struct session_process *process, const struct process_map *map)
{
	if (!session->vdso) {
		session->vdso = calloc(1, sizeof(*session->vdso));
		if (session->vdso && open_vdso(process, map, &session->vdso->object)) {
			free(session->vdso);
			session->vdso = NULL;
		}
	}
	return session->vdso;
}

/* The file whose code @map shows, with its table; NULL: none, or nothing is known of it. */
static struct session_file *file_of(struct session *session, struct session_process *process, const struct process_map *map)
{
	struct session_file *file = NULL;

	if (!strcmp(map->path, VDSO))
		file = vdso_of(session, process, map);
	else if (session_is_candidate(map) && session_file_of(session, map, &file, NULL))
		file = NULL;
	if (file)
		session_file_unwind(file);
	return file;
}

/* ---- pieces ---- */

/* Code that no file holds: a memory file is a JIT compiler's, if it is not ours. */
static bool is_made_at_run_time(const struct process_map *map)
{
	return strcmp(map->path, "/memfd:" WIRE_NAME) != 0 && map->path[0] != '[' && !session_is_candidate(map);
}

/* Where a file's rows are in the process; they are brought there when it is the first time. */
static int place_rows(struct session_process *process, const struct session_file *file, uint64_t *ret)
{
	struct session_rows rows = { .file = file };
	int error;

	for (size_t i = 0; i < process->nrows; i++)
		if (process->rows[i].file == file) {
			*ret = process->rows[i].at;
			return 0;
		}
	error = base_grow(&process->rows, &process->rows_cap, process->nrows + 1, sizeof(*process->rows));
	if (!error)
		error = patch_unwind_rows(process->target, file->unwind.rows, file->unwind.count, &rows.at);
	if (error)
		return error;
	process->rows[process->nrows++] = rows;
	*ret = rows.at;
	return 0;
}

static int fill_piece(struct session_process *process, const struct process_map *map, struct session_file *file,
		      struct wire_unwind_piece *piece)
{
	const struct object_unwind *unwind = &file->unwind;
	uint64_t bias;
	int error;

	if (session_map_bias(map, file->object, &bias)) /* of the vDSO, too: its first byte is mapped first */
		return 0;
	error = place_rows(process, file, &piece->rows);
	if (error == -ENOSPC && !process->is_full) {
		process->is_full = true;
		base_log(BASE_LOG_WARN, "no room for more tables of stacks in process %d: stacks end in %s", process->pid, map->path);
	}
	if (error)
		return error == -ENOSPC ? 0 : error;
	piece->base = bias + unwind->base;
	piece->count = (uint32_t)unwind->count;
	piece->check_at = unwind->check_at ? bias + unwind->check_at : 0;
	piece->check = unwind->check;
	return 0;
}

static bool continues(const struct wire_unwind_piece *last, const struct wire_unwind_piece *piece)
{
	return last->end == piece->start && last->base == piece->base && last->rows == piece->rows && last->count == piece->count;
}

static int make_pieces(struct session *session, struct session_process *process, const struct process_maps *maps,
		       struct wire_unwind_piece *pieces, size_t *count)
{
	size_t n = 0;

	for (size_t i = 0; i < maps->count; i++) {
		const struct process_map *map = &maps->map[i];
		struct wire_unwind_piece piece = { .start = map->start, .end = map->end };
		struct session_file *file;
		int error = 0;

		if (!map->execute || is_made_at_run_time(map))
			continue;
		file = file_of(session, process, map);
		if (file)
			error = fill_piece(process, map, file, &piece);
		if (error)
			return error;
		if (n && continues(&pieces[n - 1], &piece))
			pieces[n - 1].end = piece.end;
		else
			pieces[n++] = piece;
	}
	*count = n;
	return 0;
}

/* ---- the list ---- */

/* The process as it sees itself; 0 where it may have loaded something that we have not seen yet: then pieces are checked. */
static pid_t list_pid(const struct session_process *process, size_t count)
{
	return process->polls || count > WIRE_UNWIND_PIECES ? 0 : process->inner_pid;
}

static bool is_published(const struct session_process *process, const struct wire_unwind_piece *pieces, size_t count, pid_t pid)
{
	return process->has_pieces && process->npieces == count && process->list_pid == pid &&
	       (!count || !memcmp(process->pieces, pieces, count * sizeof(*pieces)));
}

static int publish(struct session *session, struct session_process *process, const struct process_maps *maps)
{
	struct wire_unwind_piece *pieces = calloc(maps->count + 1, sizeof(*pieces));
	size_t count = 0;
	int error = pieces ? make_pieces(session, process, maps, pieces, &count) : -ENOMEM;
	pid_t pid = list_pid(process, count);

	if (count > WIRE_UNWIND_PIECES)
		count = WIRE_UNWIND_PIECES;
	if (error || is_published(process, pieces, count, pid)) {
		free(pieces);
		return error;
	}
	free(process->pieces);
	process->pieces = pieces;
	process->npieces = count;
	process->list_pid = pid;
	process->has_pieces = true;
	return patch_unwind_publish(process->target, pieces, count, pid);
}

int session_tables_renew(struct session *session, struct session_process *process)
{
	struct process_maps maps;
	int error;

	if (!session_has_tables(session))
		return session_wants_loads(session) ? session_unwinder_renew(session, process) : 0;
	if (!process->has_memory)
		return 0;
	error = process_maps_read(process->pid, &maps);
	if (error)
		return error;
	error = publish(session, process, &maps);
	process_maps_free(&maps);
	return error;
}

int session_unwinder_fill(struct session *session, struct session_process *process, const struct process_maps *maps,
			  struct session_unwinder *unwinder)
{
	int error = 0;

	for (size_t i = 0; i < maps->count && !error; i++) {
		const struct process_map *map = &maps->map[i];
		bool is_code = map->execute && !is_made_at_run_time(map);
		struct session_file *file = is_code ? file_of(session, process, map) : NULL;

		if (is_code)
			error = session_unwinder_add(unwinder, map->start, map->end, map->offset, file ? file->object : NULL,
						     file ? &file->unwind : NULL);
	}
	return error;
}

uint64_t session_tables_spare(const struct session *session) { return session_has_tables(session) ? SPARE : 0; }

uint64_t session_tables_size(struct session *session, struct session_process *process)
{
	const struct process_maps *maps = patch_target_maps(process->target);
	uint64_t rows = 0;

	if (!session_has_tables(session))
		return 0;
	for (size_t i = 0; i < maps->count; i++) {
		const struct session_file *file = maps->map[i].execute ? file_of(session, process, &maps->map[i]) : NULL;

		rows += file ? file->unwind.count : 0;
	}
	return LISTS + base_align_up(rows * sizeof(struct wire_unwind_row), BASE_PAGE) +
	       (process->is_cramped ? 0 : session_tables_spare(session));
}

void session_vdso_free(struct session *session)
{
	if (!session->vdso)
		return;
	object_unwind_free(&session->vdso->unwind);
	object_close(session->vdso->object);
	free(session->vdso);
}
