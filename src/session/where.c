/* SPDX-License-Identifier: MIT */
/*
 * Addresses of targets -> functions, for people: where calls return to. What was found is kept by address, at a place of the table that a
 * later one may take.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "session/inside.h"

#define WHERES 4096 /* a power of two */
#define REFRESH_NS 1000000000ULL

struct where_entry {
	uint64_t addr;
	uint32_t source;
	char *symbol, *path; /* heap; or NULL */
	uint64_t offset, path_offset;
};

struct session_wheres {
	uint64_t refreshed_ns;
	struct where_entry table[WHERES];
};

static void forget(struct where_entry *where)
{
	free(where->symbol);
	free(where->path);
}

void session_wheres_free(struct session *session)
{
	for (size_t i = 0; session->wheres && i < WHERES; i++)
		forget(&session->wheres->table[i]);
	free(session->wheres);
}

/* The mapping of code that holds @addr; the mappings are read again when it is new, but not often. */
static const struct process_map *map_at(struct session *session, struct session_process *process, uint64_t addr)
{
	const struct process_map *map = process_maps_at(patch_target_maps(process->target), addr);
	uint64_t now = base_now_ns();

	if (map || now - session->wheres->refreshed_ns < REFRESH_NS)
		return map;
	session->wheres->refreshed_ns = now;
	if (patch_target_refresh(process->target, NULL))
		return NULL;
	return process_maps_at(patch_target_maps(process->target), addr);
}

static void look_up(struct session *session, struct where_entry *where)
{
	struct session_process *process = session->processes[where->source];
	const struct process_map *map = process->target ? map_at(session, process, where->addr) : NULL;
	const struct object_symbol *symbol;
	struct session_file *file;
	uint64_t vaddr;

	if (!map)
		return;
	where->path = strdup(map->path);
	where->path_offset = map->offset + (where->addr - map->start);
	if (!map->execute || !map->inode || map->path[0] != '/' || session_file_of(session, map, &file, NULL) ||
	    object_offset_to_vaddr(file->object, where->path_offset, &vaddr))
		return;
	symbol = object_symbol_at(file->object, vaddr);
	if (!symbol)
		return;
	where->symbol = object_demangle(symbol->name);
	where->offset = vaddr - symbol->vaddr;
}

bool session_where(struct session *session, uint32_t source, uint64_t addr, struct session_where *ret)
{
	struct where_entry *where;

	if (!session->wheres)
		session->wheres = calloc(1, sizeof(*session->wheres));
	if (!session->wheres || source >= session->nprocesses)
		return false;
	where = &session->wheres->table[(addr ^ addr >> 12 ^ source) & (WHERES - 1)];
	if (where->addr != addr || where->source != source) {
		forget(where);
		*where = (struct where_entry){ .addr = addr, .source = source };
		look_up(session, where);
	}
	if (!where->path) { /* something may be mapped there later */
		where->addr = 0;
		return false;
	}
	*ret = (struct session_where){ .symbol = where->symbol,
				       .offset = where->offset,
				       .path = where->path,
				       .path_offset = where->path_offset };
	return true;
}

const struct process_maps *session_maps(const struct session *session, uint32_t source)
{
	if (source >= session->nprocesses || !session->processes[source]->target)
		return NULL;
	return patch_target_maps(session->processes[source]->target);
}
