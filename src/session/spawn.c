/* SPDX-License-Identifier: MIT */
/* Starting a program with its probes in place: before its first instruction, but after its dynamic linker brought the libraries. */
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "engine/engine.h"
#include "session/inside.h"

/* Where a freshly started program's dynamic linker says that all libraries are in place and relocated, constructors not yet run. */
struct loader {
	utap_addr notify; /* _dl_debug_state */
	utap_addr state;  /* r_debug.r_state; 0: unknown */
};

static utap_addr loader_symbol(struct object *object, const char *name, uint64_t base)
{
	_cleanup_free_ const struct object_symbol **found = NULL;
	long n = object_find(object, name, false, &found, NULL);

	return n > 0 ? base + found[0]->vaddr : 0;
}

static int find_loader(pid_t pid, struct loader *ret)
{
	struct process_maps maps;
	struct object *object = NULL;
	const struct process_map *map;
	uint64_t base = 0;
	int error = process_auxv(pid, AT_BASE, &base);

	*ret = (struct loader){ 0 };
	if (error || !base)
		return error == -ENOENT ? 0 : error; /* static: nothing to wait for */
	error = process_maps_read(pid, &maps);
	if (error)
		return error;
	map = process_maps_at(&maps, base);
	if (map && !object_open(map->path, &object, NULL)) {
		utap_addr debug = loader_symbol(object, "_r_debug", base);

		ret->notify = loader_symbol(object, "_dl_debug_state", base);
		ret->state = debug ? debug + 24 : 0;
		object_close(object);
	}
	process_maps_free(&maps);
	return 0;
}

static bool is_consistent(pid_t pid, const struct loader *loader)
{
	_cleanup_close_ int mem = process_mem_open(pid);
	uint32_t state = 0;

	return !loader->state || mem < 0 || process_read(mem, loader->state, &state, sizeof(state)) || state == 0;
}

int session_run_to_start(pid_t pid, struct utap_error *err)
{
	struct loader loader;
	uint64_t entry;
	int error = find_loader(pid, &loader);

	if (!error && loader.notify) {
		do
			error = engine_run_to(pid, loader.notify);
		while (!error && !is_consistent(pid, &loader));
	} else if (!error) {
		uint64_t base = 0;

		/* Without the notification: the program's entry; a static program's is its first instruction. */
		error = process_auxv(pid, AT_ENTRY, &entry);
		if (!error && !process_auxv(pid, AT_BASE, &base) && base)
			error = engine_run_to(pid, entry);
	}
	if (error == -ESRCH)
		return base_error(err, -ECHILD, UTAP_ERROR_GONE, "the program ended before it began");
	return error ? base_error_system(err, error, "cannot stop the program before its first instruction") : 0;
}

/* As a program that a followed process executes. */
static long spawn_followed(struct session *session, pid_t pid, struct utap_error *err)
{
	long result = session_attach_executed(session, pid, err);

	if (result >= 0)
		result = session_follow_spawned(session, pid, err);
	if (result >= 0)
		engine_follow_release(session->follow, pid);
	return result;
}

long session_spawn(struct session *session, char *const argv[], pid_t *pid, struct utap_error *err)
{
	pid_t child;
	long result = engine_spawn(argv, &child, err);

	if (result)
		return result;
	result = session->options.follow ? spawn_followed(session, child, err) : session_run_to_start(child, err);
	if (!result && !session->options.follow)
		result = session_attach(session, child, err);
	if (result < 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, __WALL);
		return result;
	}
	if (!session->options.follow)
		engine_release(child);
	*pid = child;
	return result;
}
