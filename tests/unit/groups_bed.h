/* SPDX-License-Identifier: MIT */
/*
 * A child to be patched, and a file of it with everything that patching needs, for test_groups.c and test_steps.c. What a probe's program does here is
 * to count its cookie in memory that parent and child share. One child at a time.
 */
#ifndef TESTS_GROUPS_BED_H
#define TESTS_GROUPS_BED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "patch/inside.h"

#define COUNTERS 65536
#define ONLY_L2 (1 << PATCH_L1 | 1 << PATCH_L3 | 1 << PATCH_L4)

struct shared {
	volatile uint32_t order, done; /* the child works when order is ahead of done */
	volatile uint64_t result;
	volatile uint64_t rounds, wrong;
	volatile uint64_t counters[COUNTERS];
};
static struct shared *shared;

static uint64_t seed;

static uint64_t next_random(void)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return seed * 0x2545f4914f6cdd1dULL;
}

/* The seed is printed, and taken from UTAP_TEST_SEED when that is set. */
static int set_up(void)
{
	const char *given = getenv("UTAP_TEST_SEED");

	setvbuf(stdout, NULL, _IOLBF, 0);
	seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 0x9e3779b97f4a7c15ULL;
	print_message("seed: UTAP_TEST_SEED=%#llx\n", (unsigned long long)seed);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return shared == MAP_FAILED ? -1 : 0;
}

/* ---- a child ---- */

static pid_t running; /* what a failed test left */

static pid_t start(void (*run)(void))
{
	pid_t pid;

	if (running) {
		kill(running, SIGKILL);
		waitpid(running, NULL, 0);
	}
	memset((void *)shared, 0, sizeof(*shared));
	pid = running = fork();
	assert_true(pid >= 0);
	if (!pid) {
		alarm(300);
		run();
		_exit(0);
	}
	return pid;
}

static void end(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, WNOHANG), 0); /* it lives */
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	running = 0;
}

/* ---- a file in a target ---- */

struct bed {
	struct object *object;
	struct patch_code *code;
	struct patch_target *target;
	struct patch_module *module;
};

static void bed_open(struct bed *bed, const char *path)
{
	assert_int_equal(object_open(path, &bed->object, NULL), 0);
	assert_int_equal(patch_code_create(bed->object, false, &bed->code, NULL), 0);
}

static void bed_close(struct bed *bed)
{
	patch_code_destroy(bed->code);
	object_close(bed->object);
}

static void bed_enter(struct bed *bed, pid_t pid)
{
	struct utap_error err = { 0 };
	const struct process_maps *maps;
	struct stat status;

	if (patch_target_open(pid, &bed->target, &err))
		fail_msg("%s", err.text);
	maps = patch_target_maps(bed->target);
	assert_int_equal(stat(object_path(bed->object), &status), 0);
	for (size_t i = 0; i < maps->count; i++)
		if (maps->map[i].execute && maps->map[i].inode == status.st_ino) {
			assert_int_equal(patch_target_module(bed->target, &maps->map[i], bed->code, &bed->module), 0);
			return;
		}
	fail_msg("the child does not map %s", object_path(bed->object));
}

/* What a probe's program does here: count its cookie. It gets it in %rax; as a part of a trampoline it has to put it there. */
static int emit_counter(void *arg, uint32_t program, const struct patch_tail *tail, struct isa_emitter *e, struct utap_error *err)
{
	static const uint8_t load_id[] = { 0x50, 0xb8 };			       /* push %rax; mov $id, %eax */
	static const uint8_t enter[] = { 0x9c, 0x52, 0x48, 0xba };		       /* pushf; push %rdx; movabs .., %rdx */
	static const uint8_t count[] = { 0xf0, 0x48, 0xff, 0x04, 0xc2, 0x5a, 0x9d }; /* lock incq (%rdx,%rax,8); pop; popf */

	(void)arg;
	(void)program;
	(void)err;
	if (tail) {
		isa_emit_bytes(e, load_id, sizeof(load_id));
		isa_emit_u32(e, tail->id);
	}
	isa_emit_bytes(e, enter, sizeof(enter));
	isa_emit_u64(e, (uint64_t)shared->counters);
	isa_emit_bytes(e, count, sizeof(count));
	isa_emit_u8(e, tail ? 0x58 : 0xc3); /* pop %rax, ret */
	if (tail)
		tail->emit(tail->arg, e);
	return e->error;
}

static int put_in(struct bed *bed, struct patch_site *sites, size_t count, struct utap_error *err)
{
	const struct patch_options options = { .cpus = 1, .max_probes = COUNTERS, .ring_size = 4096, .cell_size = 64, .cells = 64,
					       .body_room = 4096 };
	int error = patch_target_setup(bed->target, &options, sites, count, err);

	return error ? error : patch_target_apply(bed->target, sites, count, 1, emit_counter, NULL, err);
}

static void take_out(struct bed *bed, struct patch_report *report)
{
	struct utap_error err = { 0 };

	if (patch_target_undo(bed->target, report, &err) || patch_target_release(bed->target, report, &err))
		fail_msg("%s", err.text);
	assert_int_equal(report->kept, 0);
	assert_int_equal(report->text_foreign, 0);
	assert_int_equal(report->memory_kept, 0);
	patch_target_close(bed->target);
}

#endif
