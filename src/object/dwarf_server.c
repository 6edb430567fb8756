/* SPDX-License-Identifier: MIT */
/*
 * Debug files from a server (debuginfod), as gdb gets them: only when DEBUGINFOD_URLS names one, and with libdebuginfod loaded at that
 * moment, so that utap runs where it is not installed.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>

#include "object/dwarf_inside.h"

/* The functions of the library that are used; its types stay unknown here. */
struct server {
	void *library;
	void *(*begin)(void);
	int (*find)(void *client, const unsigned char *build_id, int size, char **path);
	void (*end)(void *client);
};

static bool server_load(struct server *server)
{
	server->library = dlopen("libdebuginfod.so.1", RTLD_NOW | RTLD_LOCAL);
	if (!server->library)
		return false;
	*(void **)&server->begin = dlsym(server->library, "debuginfod_begin");
	*(void **)&server->find = dlsym(server->library, "debuginfod_find_debuginfo");
	*(void **)&server->end = dlsym(server->library, "debuginfod_end");
	return server->begin && server->find && server->end;
}

int dwarf_server_fetch(const uint8_t *build_id, size_t size)
{
	const char *urls = getenv("DEBUGINFOD_URLS");
	struct server server = { 0 };
	int fd = -ENOENT;

	if (!urls || !*urls || !size || size > 64)
		return -ENOENT;
	if (server_load(&server)) {
		void *client = server.begin();

		if (client) {
			fd = server.find(client, build_id, (int)size, NULL);
			server.end(client);
		}
	} else {
		base_log(BASE_LOG_WARN, "DEBUGINFOD_URLS is set, but libdebuginfod.so.1 cannot be loaded");
	}
	/* The library stays loaded: it has threads of others (libcurl's) that would not survive. */
	return fd;
}
