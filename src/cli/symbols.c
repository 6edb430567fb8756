/* SPDX-License-Identifier: MIT */
/*
 * Mappings of a process do not overlap: a new one cuts what it covers out of the old ones. What was found is kept by process and address,
 * at a place of the table that a later look-up may take; a new mapping forgets it all.
 */
#include "cli/symbols.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "object/jit.h"
#include "object/object.h"
#include "object/unwind.h"

#define FOUND 8192 /* a power of two */

struct symbols_file {
	char *path;
	uint64_t inode;
	uint8_t build_id[20];
	size_t build_id_size; /* 0: not recorded */
	bool is_tried;
	struct object *object; /* NULL: not there, or another */
	bool has_unwind;
	struct object_unwind unwind;
	UT_hash_handle hh;
};

struct symbols_map {
	uint64_t start, size, offset;
	bool is_code;
	struct symbols_file *file;
};

struct symbols_process {
	uint32_t pid;
	struct symbols_map *maps; /* by start */
	size_t count, cap;
	struct object_jit *jit;
	struct session_unwinder *unwinder; /* NULL: no copied stack was walked yet */
	bool is_unwinder_new; /* it is to be told the mappings */
	UT_hash_handle hh;
};

struct symbols_found {
	uint64_t addr;
	uint32_t pid;
	bool is_known;
	char *name; /* heap, or NULL */
	struct format_symbol symbol;
};

struct cli_symbols {
	struct session *session;
	struct symbols_file *files; /* by path */
	struct symbols_process *processes;
	struct symbols_found found[FOUND];
};

int cli_symbols_create(struct session *session, struct cli_symbols **ret)
{
	struct cli_symbols *symbols = calloc(1, sizeof(*symbols));

	if (!symbols)
		return -ENOMEM;
	symbols->session = session;
	*ret = symbols;
	return 0;
}

static void forget_found(struct cli_symbols *symbols)
{
	for (size_t i = 0; i < FOUND; i++) {
		free(symbols->found[i].name);
		symbols->found[i] = (struct symbols_found) { 0 };
	}
}

static void free_file(struct symbols_file *file)
{
	object_unwind_free(&file->unwind);
	object_close(file->object);
	free(file->path);
	free(file);
}

static void free_process(struct symbols_process *process)
{
	object_jit_close(process->jit);
	session_unwinder_destroy(process->unwinder);
	free(process->maps);
	free(process);
}

void cli_symbols_destroy(struct cli_symbols *symbols)
{
	struct symbols_file *file, *next_file;
	struct symbols_process *process, *next_process;

	if (!symbols)
		return;
	HASH_ITER(hh, symbols->files, file, next_file)
	{
		HASH_DEL(symbols->files, file);
		free_file(file);
	}
	HASH_ITER(hh, symbols->processes, process, next_process)
	{
		HASH_DEL(symbols->processes, process);
		free_process(process);
	}
	forget_found(symbols);
	free(symbols);
}

/* ---- what was recorded ---- */

static struct symbols_file *get_file(struct cli_symbols *symbols, const struct format_perf_file *from,
				     const struct format_map *map)
{
	struct symbols_file *file;
	const uint8_t *id;
	size_t size;

	HASH_FIND_STR(symbols->files, map->path, file);
	if (file)
		return file;
	file = calloc(1, sizeof(*file));
	if (!file)
		return NULL;
	*file = (struct symbols_file) { .path = strdup(map->path), .inode = map->inode };
	size = format_perf_build_id_of(from, map->path, &id);
	if (size && size <= sizeof(file->build_id)) {
		memcpy(file->build_id, id, size);
		file->build_id_size = size;
	}
	if (file->path)
		HASH_ADD_KEYPTR(hh, symbols->files, file->path, strlen(file->path), file);
	if (file->path && file->hh.tbl)
		return file;
	free_file(file);
	return NULL;
}

static struct symbols_process *get_process(struct cli_symbols *symbols, uint32_t pid)
{
	struct symbols_process *process;

	HASH_FIND(hh, symbols->processes, &pid, sizeof(pid), process);
	if (process)
		return process;
	process = calloc(1, sizeof(*process));
	if (!process)
		return NULL;
	process->pid = pid;
	if (!object_jit_open(NULL, pid, &process->jit))
		HASH_ADD(hh, symbols->processes, pid, sizeof(process->pid), process);
	if (process->jit && process->hh.tbl)
		return process;
	free_process(process);
	return NULL;
}

static int add_row(struct symbols_process *process, const struct symbols_map *map)
{
	size_t at = process->count;

	process->is_unwinder_new = true;
	if (base_grow(&process->maps, &process->cap, process->count + 1, sizeof(*process->maps)))
		return -ENOMEM;
	for (; at && process->maps[at - 1].start > map->start; at--)
		process->maps[at] = process->maps[at - 1];
	process->maps[at] = *map;
	process->count++;
	return 0;
}

/* [start, start + size) holds nothing any more. */
static int cut_out(struct symbols_process *process, uint64_t start, uint64_t size)
{
	uint64_t end = start + size;
	struct symbols_map tail = { 0 };
	size_t kept = 0;

	for (size_t i = 0; i < process->count; i++) {
		struct symbols_map map = process->maps[i];
		uint64_t map_end = map.start + map.size;

		if (map.start < start && map_end > end) /* at most one */
			tail = (struct symbols_map) { end, map_end - end, map.offset + (end - map.start), map.is_code, map.file };
		if (map.start < end && map_end > start) {
			if (map.start < start) {
				map.size = start - map.start;
			} else if (map_end > end) {
				map = (struct symbols_map) { end, map_end - end, map.offset + (end - map.start), map.is_code,
							     map.file };
			} else {
				continue;
			}
		}
		process->maps[kept++] = map;
	}
	process->count = kept;
	return tail.size ? add_row(process, &tail) : 0;
}

static int add_map(struct cli_symbols *symbols, const struct format_perf_file *from, const struct format_map *map)
{
	struct symbols_process *process = get_process(symbols, map->pid);
	struct symbols_file *file = get_file(symbols, from, map);
	int error;

	if (!process || !file)
		return -ENOMEM;
	if (!map->size || map->size > UINT64_MAX - map->start)
		return 0;
	forget_found(symbols);
	error = cut_out(process, map->start, map->size);
	return error ? error
		     : add_row(process, &(struct symbols_map) { .start = map->start,
								.size = map->size,
								.offset = map->offset,
								.is_code = map->prot & PROT_EXEC,
								.file = file });
}

/* A child begins with its parent's mappings. */
static int add_fork(struct cli_symbols *symbols, uint32_t pid, uint32_t parent)
{
	struct symbols_process *child = get_process(symbols, pid);
	struct symbols_process *from = get_process(symbols, parent);
	int error = child && from ? 0 : -ENOMEM;

	if (error || pid == parent || child->count)
		return error;
	forget_found(symbols);
	for (size_t i = 0; i < from->count && !error; i++)
		error = add_row(child, &from->maps[i]);
	return error;
}

int cli_symbols_event(struct cli_symbols *symbols, const struct format_perf_file *file, const struct format_perf_event *event)
{
	if (event->type == FORMAT_PERF_MAP)
		return add_map(symbols, file, &event->map);
	if (event->type == FORMAT_PERF_FORK)
		return add_fork(symbols, event->pid, event->parent);
	return 0;
}

/* ---- looking up ---- */

/* The file as it is now, when it is the recorded one. */
static struct object *open_object(struct symbols_file *file)
{
	const uint8_t *id;
	struct stat st;
	size_t size;

	if (file->is_tried)
		return file->object;
	file->is_tried = true;
	if (file->path[0] != '/' || file->path[1] == '/' || object_open(file->path, &file->object, NULL))
		return NULL;
	size = object_build_id(file->object, &id);
	if (file->build_id_size ? size == file->build_id_size && memcmp(id, file->build_id, size) == 0
				: !stat(file->path, &st) && st.st_ino == file->inode)
		return file->object;
	base_log(BASE_LOG_WARN, "%s is not the file that was recorded: its addresses stay numbers", file->path);
	object_close(file->object);
	file->object = NULL;
	return NULL;
}

static const struct symbols_map *map_at(const struct symbols_process *process, uint64_t addr)
{
	size_t low = 0;

	/* Invariant: rows below low start at or before addr, those from high on after it. */
	for (size_t high = process->count; low < high;) {
		size_t middle = low + (high - low) / 2;

		if (process->maps[middle].start <= addr)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low || addr - process->maps[low - 1].start >= process->maps[low - 1].size)
		return NULL;
	return &process->maps[low - 1];
}

/* What people call memory by the name of its mapping. */
static const char *path_name(const char *path)
{
	if (strncmp(path, "/memfd:" WIRE_NAME, strlen("/memfd:" WIRE_NAME)) == 0)
		return "[utap]";
	return *path && strncmp(path, "//", 2) != 0 ? path : "[anon]";
}

static void find_recorded(struct symbols_process *process, uint64_t addr, struct symbols_found *found)
{
	const struct symbols_map *map = map_at(process, addr);
	const struct object_symbol *symbol;
	struct object *object;
	uint64_t vaddr;

	if (!map)
		return;
	found->is_known = true;
	found->symbol.path = path_name(map->file->path);
	found->symbol.path_offset = map->offset + (addr - map->start);
	object = map->is_code ? open_object(map->file) : NULL;
	if (!object || object_offset_to_vaddr(object, found->symbol.path_offset, &vaddr))
		return;
	symbol = object_symbol_at(object, vaddr);
	if (!symbol)
		return;
	found->name = object_demangle(symbol->name);
	found->symbol.name = found->name;
	found->symbol.offset = vaddr - symbol->vaddr;
}

/* Memory that belongs to no file may be a compiler's. */
static void find_jit(struct symbols_process *process, uint64_t addr, struct format_symbol *ret)
{
	if (ret->path && strcmp(ret->path, "[anon]") != 0)
		return;
	ret->name = object_jit_at(process->jit, addr, &ret->offset);
	if (ret->name)
		ret->path = "[jit]";
}

static bool find_live(const struct cli_symbols *symbols, uint32_t source, uint64_t addr, struct format_symbol *ret)
{
	struct session_where where;

	if (!session_where(symbols->session, source, addr, &where))
		return false;
	*ret = (struct format_symbol) { .name = where.symbol,
					.offset = where.offset,
					.path = path_name(where.path),
					.path_offset = where.path_offset };
	return true;
}

bool cli_symbols_find(void *arg, uint32_t source, uint32_t pid, uint64_t addr, struct format_symbol *ret)
{
	struct cli_symbols *symbols = arg;
	struct symbols_process *process = get_process(symbols, pid);
	struct format_symbol symbol = { 0 };
	bool is_known;

	if (!process)
		return false;
	if (symbols->session) {
		is_known = find_live(symbols, source, addr, &symbol);
	} else {
		struct symbols_found *found = &symbols->found[(addr ^ addr >> 13 ^ pid) & (FOUND - 1)];

		if (found->addr != addr || found->pid != pid) {
			free(found->name);
			*found = (struct symbols_found) { .addr = addr, .pid = pid };
			find_recorded(process, addr, found);
		}
		symbol = found->symbol;
		is_known = found->is_known;
	}
	if (!symbol.name)
		find_jit(process, addr, &symbol);
	if (is_known || symbol.name)
		*ret = symbol;
	return is_known || symbol.name;
}

/* ---- copied stacks ---- */

static const struct object_unwind *table_of(struct symbols_file *file)
{
	struct object *object = open_object(file);

	if (!object)
		return NULL;
	if (!file->has_unwind && object_unwind_make(object, &file->unwind, NULL))
		base_log(BASE_LOG_WARN, "stacks end in %s", file->path);
	file->has_unwind = true;
	return &file->unwind;
}

static int tell_maps(struct symbols_process *process)
{
	int error = process->unwinder ? 0 : session_unwinder_create(&process->unwinder);

	if (error || !process->is_unwinder_new)
		return error;
	session_unwinder_clear(process->unwinder);
	for (size_t i = 0; i < process->count && !error; i++) {
		const struct symbols_map *map = &process->maps[i];

		if (map->is_code && strcmp(path_name(map->file->path), "[anon]") != 0)
			error = session_unwinder_add(process->unwinder, map->start, map->start + map->size, map->offset,
						     open_object(map->file), table_of(map->file));
	}
	process->is_unwinder_new = error;
	return error;
}

bool cli_symbols_unwind(void *arg, const struct trace_record *record, const struct trace_stack *raw, struct trace_stack *ret)
{
	struct cli_symbols *symbols = arg;
	struct symbols_process *process;

	if (symbols->session)
		return session_unwind(symbols->session, record, raw, ret);
	process = get_process(symbols, record->pid);
	return process && !tell_maps(process) && session_unwinder_walk(process->unwinder, record, raw, ret);
}

void cli_symbols_call(struct cli_symbols *symbols, const struct trace_record *record, struct format_call *call)
{
	struct format_symbol caller;

	call->symbol = cli_symbols_find;
	call->symbol_arg = symbols;
	call->unwind = cli_symbols_unwind;
	call->unwind_arg = symbols;
	if (!record->caller || !cli_symbols_find(symbols, record->source, record->pid, record->caller, &caller))
		return;
	call->caller = caller.name;
	call->caller_offset = caller.offset;
}
