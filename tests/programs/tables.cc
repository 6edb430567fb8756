/* SPDX-License-Identifier: MIT */
/*
 * Stacks without frame pointers, each told by libgcc's unwinder too (backtrace(3)): probed_here() prints the addresses that called it, one line a
 * call. Frames of all sizes, over-aligned ones, callbacks of libraries, exceptions, a signal's own stack, threads, libraries that come and go,
 * a forked child that loads a library of its own.
 *
 *   tables PLUGIN [loop]
 */
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include <alloca.h>
#include <csignal>
#include <dlfcn.h>
#include <execinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))

static bool quiet;
static volatile long sink;

extern "C" NOINLINE void probed_here(const char *what)
{
	void *callers[200];
	int count = quiet ? 0 : backtrace(callers, 200);

	if (quiet) {
		sink++;
		return;
	}
	printf("%d %s", (int)getpid(), what);
	for (int i = 1; i < count; i++)
		printf(" %p", callers[i]);
	putchar('\n');
	fflush(stdout);
}

template <int N> struct nest {
	NOINLINE static long call(const char *what, volatile char *from)
	{
		volatile char here[N * 24 + 8];

		here[N] = from[0];
		return nest<N - 1>::call(what, here) + here[N];
	}
};
template <> struct nest<0> {
	NOINLINE static long call(const char *what, volatile char *from)
	{
		probed_here(what);
		return from[0];
	}
};

NOINLINE static long aligned(int n, int depth)
{
	alignas(64) volatile char here[128];
	volatile char *more = (volatile char *)alloca(n * 16 + 16);

	more[0] = here[n & 63] = (char)n;
	return (depth ? aligned(n + 1, depth - 1) : nest<3>::call("aligned", here)) + more[0];
}

static int by_number(const void *left, const void *right)
{
	probed_here("qsort");
	return *(const int *)left - *(const int *)right;
}

struct guard {
	~guard() { probed_here("unwinding"); }
};

NOINLINE static void thrower(int n)
{
	guard one;

	if (n == 0)
		throw 7;
	thrower(n - 1);
	sink++;
}

static void on_signal(int)
{
	probed_here("signal");
}

static void signals()
{
	static char room[65536];
	stack_t stack = {};
	struct sigaction action = {};

	stack.ss_sp = room;
	stack.ss_size = sizeof(room);
	sigaltstack(&stack, nullptr);
	action.sa_handler = on_signal;
	action.sa_flags = SA_ONSTACK;
	sigaction(SIGUSR1, &action, nullptr);
	raise(SIGUSR1);
}

static void library(const char *path, const char *what)
{
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	auto call = handle ? (long (*)(void (*)(const char *), const char *))dlsym(handle, "tables_plugin") : nullptr;

	if (!call)
		exit(3);
	sink += call(probed_here, what);
	dlclose(handle);
}

static void all(const char *plugin)
{
	volatile char first[8] = { 1 };
	int numbers[] = { 3, 1, 2 };
	std::vector<int> more = { 3, 1, 2 };

	sink += nest<16>::call("nest", first);
	sink += aligned(3, 4);
	qsort(numbers, 3, sizeof(numbers[0]), by_number);
	std::sort(more.begin(), more.end(), [](int a, int b) { probed_here("sort"); return a < b; });
	try {
		thrower(3);
	} catch (int) {
		probed_here("caught");
	}
	std::function<void(int)> deep = [&](int n) { n ? deep(n - 1) : probed_here("function"); };
	deep(4);
	signals();
	std::thread([] { volatile char one[8] = { 1 }; nest<4>::call("thread", one); }).join();
	library(plugin, "library");
	library(plugin, "library again");
}

int main(int argc, char **argv)
{
	const char *plugin = argv[1];
	bool loops = argc > 2;
	void *one;
	volatile char first[8] = { 1 };

	backtrace(&one, 1);
	if (argc < 2)
		return 2;
	if (loops) { /* for measuring: so many calls, 20 frames deep */
		long calls = atol(argv[2]);
		timespec from, to;

		quiet = true;
		clock_gettime(CLOCK_MONOTONIC, &from);
		for (long i = 0; i < calls; i++)
			sink += nest<16>::call("", first);
		clock_gettime(CLOCK_MONOTONIC, &to);
		printf("%.1f ns\n", ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) / (double)calls);
		return 0;
	}
	all(plugin);
	pid_t child = fork();

	if (child == 0) {
		nest<5>::call("child", first);
		library(plugin, "child's library");
		_exit(0);
	}
	waitpid(child, nullptr, 0);
	puts("EXIT-SUCCESS");
	return 0;
}
