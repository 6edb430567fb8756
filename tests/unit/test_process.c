/* SPDX-License-Identifier: MIT */
/* process/: the mappings and state of this very process, and room in made-up address spaces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <elf.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process/process.h"

#define MIB (1ULL << 20)

static void test_maps_of_self(void **state)
{
	static char variable = 'x';
	struct process_maps maps;
	const struct process_map *map;

	(void)state;
	assert_int_equal(process_maps_read(getpid(), &maps), 0);
	for (size_t i = 1; i < maps.count; i++)
		assert_true(maps.map[i - 1].end <= maps.map[i].start);
	map = process_maps_at(&maps, (utap_addr)(uintptr_t)&variable);
	assert_non_null(map);
	assert_true(map->read && map->write && !map->execute && !map->shared);
	map = process_maps_at(&maps, (utap_addr)(uintptr_t)&test_maps_of_self);
	assert_non_null(map);
	assert_true(map->execute && map->inode && strstr(map->path, "test_process"));
	map = process_maps_at(&maps, (utap_addr)(uintptr_t)__builtin_frame_address(0));
	assert_non_null(map);
	assert_string_equal(map->path, "[stack]");
	assert_null(process_maps_at(&maps, 0x1000));
	assert_null(process_maps_at(&maps, UINT64_MAX));
	process_maps_free(&maps);
}

static void test_deleted_and_odd_names(void **state)
{
	char path[] = "/tmp/utap test\nprocess-XXXXXX";
	int fd = mkstemp(path);
	struct process_maps maps;
	const struct process_map *map;
	void *page;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 4096), 0);
	page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	assert_true(page != MAP_FAILED);
	assert_int_equal(process_maps_read(getpid(), &maps), 0);
	map = process_maps_at(&maps, (utap_addr)(uintptr_t)page);
	assert_non_null(map);
	assert_string_equal(map->path, path);
	assert_true(map->shared && !map->deleted);
	process_maps_free(&maps);
	unlink(path);
	assert_int_equal(process_maps_read(getpid(), &maps), 0);
	map = process_maps_at(&maps, (utap_addr)(uintptr_t)page);
	assert_non_null(map);
	assert_string_equal(map->path, path);
	assert_true(map->deleted);
	process_maps_free(&maps);
	munmap(page, 4096);
	close(fd);
}

static void test_nobody(void **state)
{
	struct process_maps maps;
	struct process_status status;
	struct utap_error err = { 0 };
	pid_t *tids;
	pid_t child = fork();

	(void)state;
	if (!child)
		_exit(0);
	waitpid(child, NULL, 0);
	assert_int_equal(process_maps_read(child, &maps), -ESRCH);
	assert_int_equal(process_status_read(child, &status), -ESRCH);
	assert_int_equal(process_threads(child, &tids), -ESRCH);
	assert_int_equal(process_mem_open(child), -ESRCH);
	assert_int_equal(process_explain(child, -ESRCH, &err), -ESRCH);
	assert_int_equal(err.kind, UTAP_ERROR_NOT_FOUND);
	assert_non_null(strstr(err.text, "no process"));
}

static void test_zombie(void **state)
{
	struct utap_error err = { 0 };
	struct process_maps maps;
	pid_t child = fork();

	(void)state;
	if (!child)
		_exit(0);
	assert_int_equal(waitid(P_PID, (id_t)child, &(siginfo_t){ 0 }, WEXITED | WNOWAIT), 0);
	assert_int_equal(process_maps_read(child, &maps), -ESRCH);
	process_explain(child, -ESRCH, &err);
	assert_int_equal(err.kind, UTAP_ERROR_GONE);
	waitpid(child, NULL, 0);
}

/* Three mappings: a heap that may grow up, a library, a stack that may grow down. */
static struct process_map space[] = {
	{ .start = 0x10000000, .end = 0x10100000, .path = "[heap]" },
	{ .start = 0x40000000, .end = 0x40200000, .path = "/lib/x.so" },
	{ .start = 0x70000000, .end = 0x70100000, .path = "[stack]" },
};
static const struct process_maps made_up = { .map = space, .count = 3 };

static void test_free_room(void **state)
{
	(void)state;
	assert_false(process_maps_free_at(&made_up, 0x10100000, 4096)); /* the heap's room */
	assert_true(process_maps_free_at(&made_up, 0x10100000 + 128 * MIB, 4096));
	assert_false(process_maps_free_at(&made_up, 0x401ff000, 4096));
	assert_true(process_maps_free_at(&made_up, 0x40200000, 4096));
	assert_false(process_maps_free_at(&made_up, 0x3ffff000, 8192)); /* runs into the library */
	assert_false(process_maps_free_at(&made_up, 0x70000000 - 4096, 4096)); /* the stack's room */
	assert_false(process_maps_free_at(&made_up, 0x1000, 4096));
	assert_false(process_maps_free_at(&made_up, 0x7ffffffff000, 4096));
	assert_false(process_maps_free_at(&made_up, UINT64_MAX - 4095, 4096));
}

static void test_hole(void **state)
{
	utap_addr at;

	(void)state;
	for (unsigned i = 0; i < 2000; i++) {
		uint64_t size = base_align_up((uint64_t)(random() % (64 * MIB)) + 1, BASE_PAGE);
		utap_addr near = (utap_addr)random() * 2;
		utap_addr low = (utap_addr)(random() % 0x60000000);
		utap_addr high = low + size + (utap_addr)(random() % 0x60000000);
		uint64_t guard = BASE_PAGE * (uint64_t)(random() % 3);

		if (process_maps_hole(&made_up, size, near, low, high, guard, &at))
			continue;
		assert_true(at >= low && at + size <= high);
		assert_int_equal(at % BASE_PAGE, 0);
		assert_true(process_maps_free_at(&made_up, at, size));
	}
	assert_int_equal(process_maps_hole(&made_up, 4096, 0x40100000, 0x40000000, 0x40200000, 0, &at), -ENOMEM);
	assert_int_equal(process_maps_hole(&made_up, 4096, 0x40100000, 0x30000000, 0x50000000, 0, &at), 0);
	assert_true(at == 0x40200000 || at == 0x3ffff000); /* next to what is near */
}

static void test_memory(void **state)
{
	char text[64] = "before";
	char copy[64];
	int mem = process_mem_open(getpid());

	(void)state;
	assert_true(mem >= 0);
	assert_int_equal(process_read(mem, (utap_addr)(uintptr_t)text, copy, sizeof(copy)), 0);
	assert_string_equal(copy, "before");
	assert_int_equal(process_write(mem, (utap_addr)(uintptr_t)text, "after", 6), 0);
	assert_string_equal(text, "after");
	assert_int_equal(process_read(mem, 0x1000, copy, 1), -EIO);
	close(mem);
}

static void *wait_for_pipe(void *arg)
{
	char byte;

	return read(*(int *)arg, &byte, 1) == 1 ? arg : NULL;
}

static void test_threads_and_status(void **state)
{
	struct process_status status;
	int fds[2];
	pthread_t thread;
	pid_t *tids;
	char comm[32];
	long count;
	uint64_t value;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(pthread_create(&thread, NULL, wait_for_pipe, &fds[0]), 0);
	count = process_threads(getpid(), &tids);
	assert_int_equal(count, 2);
	assert_true(tids[0] == getpid() || tids[1] == getpid());
	free(tids);
	assert_int_equal(write(fds[1], "x", 1), 1);
	pthread_join(thread, NULL);
	assert_int_equal(process_status_read(getpid(), &status), 0);
	assert_int_equal(status.tgid, getpid());
	assert_int_equal(status.ppid, getppid());
	assert_int_equal(status.euid, geteuid());
	assert_true(status.start_time > 0);
	process_comm(getpid(), comm, sizeof(comm));
	assert_string_equal(comm, "test_process");
	assert_int_equal(process_auxv(getpid(), AT_PAGESZ, &value), 0);
	assert_int_equal(value, 4096);
	assert_int_equal(process_auxv(getpid(), 123456, &value), -ENOENT);
	close(fds[0]);
	close(fds[1]);
}

static void test_locked(void **state)
{
	static char page[8192] __attribute__((aligned(4096)));

	(void)state;
	if (syscall(SYS_mlock, page, sizeof(page))) { /* AddressSanitizer makes mlock() do nothing */
		print_message("SKIP: mlock is not allowed here\n");
		skip();
	}
	assert_true(process_is_locked(getpid(), (utap_addr)(uintptr_t)page));
	syscall(SYS_munlock, page, sizeof(page));
	assert_false(process_is_locked(getpid(), (utap_addr)(uintptr_t)page));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_maps_of_self), cmocka_unit_test(test_deleted_and_odd_names),
		cmocka_unit_test(test_nobody),	     cmocka_unit_test(test_zombie),
		cmocka_unit_test(test_free_room),	     cmocka_unit_test(test_hole),
		cmocka_unit_test(test_memory),	     cmocka_unit_test(test_threads_and_status),
		cmocka_unit_test(test_locked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
