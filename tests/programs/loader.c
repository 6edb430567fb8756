/* SPDX-License-Identifier: MIT */
/*
 * A program that loads libraries when it is told to (SIGUSR1), and says in the end how often it had plugin_step() called ("calls N").
 *
 *   loader once LIB     loads it, calls
 *   loader cycle LIB    loads, calls, unloads, 20 times, each time somewhere else
 *   loader copies LIB   loads it twice more with dlmopen(): three copies
 *   loader replace LIB OTHER  loads LIB, unloads, renames OTHER to LIB, loads again
 *   loader fork LIB     loads, forks, and both call; the child unloads and loads again
 *   loader threads LIB LIB..  a thread for each library, loading and unloading it
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "target.h"

#define CALLS 100
#define EARLY 4 /* of plugin.c's constructor and destructor */
#define ROUNDS 20

typedef long step_fn(long n);

static long calls;

static void *load(const char *path, bool is_copy)
{
	void *library = is_copy ? dlmopen(LM_ID_NEWLM, path, RTLD_NOW) : dlopen(path, RTLD_NOW | RTLD_LOCAL);

	if (!library)
		target_fail("%s", dlerror());
	__atomic_add_fetch(&calls, EARLY - 1, __ATOMIC_RELAXED);
	return library;
}

static void unload(void *library)
{
	if (dlclose(library))
		target_fail("%s", dlerror());
	__atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
}

static void call(void *library)
{
	step_fn *step = (step_fn *)(uintptr_t)dlsym(library, "plugin_step");

	if (!step)
		target_fail("%s", dlerror());
	for (long i = 0; i < CALLS; i++) {
		long want = (1 + (i & 3) * i) ^ (i & 1 ? 0x55 : 0);

		if (step(i) != want)
			target_fail("wrong result of plugin_step(%ld)", i);
	}
	__atomic_add_fetch(&calls, CALLS, __ATOMIC_RELAXED);
}

static uintptr_t page_of(void *library) { return (uintptr_t)dlsym(library, "plugin_step") & ~4095UL; }

/* Something else takes its place, every other time. */
static void cycle(const char *path, int rounds, bool moves)
{
	for (int i = 0; i < rounds; i++) {
		void *library = load(path, false);
		uintptr_t page = page_of(library);

		call(library);
		unload(library);
		if (moves && i % 2 && mmap((void *)page, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED)
			target_fail("mmap: %s", strerror(errno));
	}
}

static void fork_and_call(const char *path)
{
	void *library = load(path, false);
	int status;
	pid_t child = fork();

	call(library);
	if (!child) {
		unload(library);
		library = load(path, false);
		call(library);
		_exit(0);
	}
	waitpid(child, &status, 0);
	if (status)
		target_fail("the child ended with %d", status);
}

static void *thread_main(void *path)
{
	cycle(path, ROUNDS, false);
	return NULL;
}

static void in_threads(char **paths, int count)
{
	pthread_t threads[8];

	for (int i = 0; i < count && i < 8; i++)
		if (pthread_create(&threads[i], NULL, thread_main, paths[i]))
			target_fail("no thread");
	for (int i = 0; i < count && i < 8; i++)
		pthread_join(threads[i], NULL);
}

static void run(int argc, char **argv)
{
	const char *mode = argv[1];

	if (!strcmp(mode, "once")) {
		call(load(argv[2], false));
	} else if (!strcmp(mode, "cycle")) {
		cycle(argv[2], ROUNDS, true);
	} else if (!strcmp(mode, "copies")) {
		void *copies[] = { load(argv[2], false), load(argv[2], true), load(argv[2], true) };

		for (int i = 0; i < 3; i++)
			call(copies[i]);
		unload(copies[1]);
	} else if (!strcmp(mode, "replace")) {
		cycle(argv[2], 1, false);
		if (rename(argv[3], argv[2]))
			target_fail("rename: %s", strerror(errno));
		cycle(argv[2], 1, false);
	} else if (!strcmp(mode, "fork")) {
		fork_and_call(argv[2]);
	} else {
		in_threads(argv + 2, argc - 2);
	}
	printf("calls %ld\n", calls);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	sigset_t start;
	int got;

	if (argc < 3)
		target_fail("usage: loader once|cycle|copies|replace|fork|threads LIB..");
	sigemptyset(&start);
	sigaddset(&start, SIGUSR1);
	sigprocmask(SIG_BLOCK, &start, NULL);
	target_start();
	sigwait(&start, &got);
	run(argc, argv);
	while (!target_stopping)
		pause();
	return target_success();
}
