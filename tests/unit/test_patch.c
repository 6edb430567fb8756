/* SPDX-License-Identifier: MIT */
/*
 * patch/ without a process: room for islands, facts about code, and plans for whole files, of which what is promised must hold: no byte has
 * two owners, and each jump lands where it was planned.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "patch/code.h"
#include "patch/inside.h"

static struct process_map taken[] = { { .start = 0x500000, .end = 0x600000, .path = "/x" } };
static const struct process_maps maps = { .map = taken, .count = 1 };

static void test_islands(void **state)
{
	struct space space = { .limit = 4 };
	utap_addr a, b, c;

	(void)state;
	assert_int_equal(space_place(&space, &maps, 0x400123, 0x400123, &a), 0); /* no choice */
	assert_int_equal(a, 0x400123);
	assert_int_equal(space_place(&space, &maps, 0x400124, 0x400124, &b), -ENOSPC); /* overlaps it */
	assert_int_equal(space_place(&space, &maps, 0x400000, 0x400fff, &b), 0);	    /* the same page */
	assert_true(b + SPACE_ISLAND <= 0x400123 || b >= 0x400123 + SPACE_ISLAND);
	assert_int_equal(space.count, 1);
	assert_int_equal(space_place(&space, &maps, 0x500000, 0x5fffff, &c), -ENOSPC); /* mapped */
	assert_int_equal(space_place(&space, &maps, 0x700800, 0x700800, &c), 0);
	assert_int_equal(space.count, 2);
	assert_int_equal(space.npages, 1); /* another page of the target, the same page of memory */
	assert_int_equal(space_place(&space, &maps, 0x800123, 0x800123, &c), 0);
	assert_int_equal(space.npages, 2); /* the same offset needs another one */
	assert_int_equal(space_place(&space, &maps, 0x900000 + 4090, 0x900000 + 4095, &c), -ENOSPC); /* would straddle */
	assert_int_equal(space_place(&space, &maps, 0xa00000, 0xa00000, &c), 0);
	assert_int_equal(space_place(&space, &maps, 0xb00000, 0xb00000, &c), -ENOSPC); /* the limit */
	assert_int_equal(space_place(&space, &maps, 0, 0x100, &c), -ENOSPC);
	assert_int_equal(space_place(&space, &maps, UINT64_MAX - 100, UINT64_MAX, &c), -ENOSPC);
	space_deinit(&space);
}

static void test_islands_never_overlap(void **state)
{
	struct space space = { .limit = 4000 };
	utap_addr *found = calloc(3000, sizeof(*found));
	size_t n = 0;

	(void)state;
	assert_non_null(found);
	for (int i = 0; i < 3000; i++) {
		utap_addr lo = 0x1000000 + (utap_addr)(random() % (1 << 24));
		utap_addr hi = lo + (i % 3 == 0 ? 0 : i % 3 == 1 ? 255 : 65535);
		utap_addr at;

		if (space_place(&space, &maps, lo, hi, &at))
			continue;
		assert_true(at >= lo && at <= hi);
		assert_true((at & 4095) + SPACE_ISLAND <= 4096);
		assert_non_null(space_find(&space, at));
		found[n++] = at;
	}
	assert_true(n > 2000);
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < i; j++) {
			uint32_t p = space_find(&space, found[i])->page, q = space_find(&space, found[j])->page;
			int64_t apart = (int64_t)(found[i] & 4095) - (int64_t)(found[j] & 4095);

			assert_true(p != q || apart >= SPACE_ISLAND || apart <= -SPACE_ISLAND);
		}
	free(found);
	space_deinit(&space);
}

/* Every byte of the distance that is asked for is a trap, and islands do not overlap. */
static void test_guarded_islands(void **state)
{
	struct space space = { .limit = 1000 };
	size_t ntraps, n = 0;
	const uint8_t *traps = isa_traps(&ntraps);
	utap_addr found[600];

	(void)state;
	for (unsigned i = 0; i < 600; i++) {
		utap_addr after = i % 3 ? 0x400000 + (utap_addr)(random() % (1 << 24)) : 0x7f0000000000 + (utap_addr)random();
		unsigned guarded = 1U + i % 15;
		utap_addr at;
		uint32_t distance;

		if (space_place_guarded(&space, &maps, after, guarded, &at)) {
			assert_false(space_could_guarded(&maps, after, guarded) && space.count < space.limit);
			continue;
		}
		assert_true(space_could_guarded(&maps, after, guarded));
		distance = (uint32_t)(at - after);
		assert_int_equal((int64_t)(at - after), (int32_t)distance);
		for (unsigned j = 0; j < 4; j++)
			assert_true(!(guarded >> j & 1) || memchr(traps, distance >> 8 * j & 0xff, ntraps));
		assert_true((at & 4095) + SPACE_ISLAND <= 4096);
		for (size_t j = 0; j < n; j++) {
			uint32_t p = space_find(&space, found[j])->page, q = space_find(&space, at)->page;
			int64_t apart = (int64_t)(found[j] & 4095) - (int64_t)(at & 4095);

			assert_true(p != q || apart >= SPACE_ISLAND || apart <= -SPACE_ISLAND);
		}
		found[n++] = at;
	}
	assert_true(n > 590);
	space_deinit(&space);
}

/* ---- plans for whole files ---- */

struct file {
	struct object *object;
	struct patch_code *code;
	struct patch_target *target;
	struct patch_module *module;
	struct process_map map;
};

static bool file_open(struct file *file, const char *path)
{
	if (object_open(path, &file->object, NULL)) {
		print_message("SKIP: %s cannot be read\n", path);
		return false;
	}
	assert_int_equal(patch_code_create(file->object, false, &file->code, NULL), 0);
	assert_int_equal(patch_target_imagine(file->object, &file->target, &file->map), 0);
	assert_int_equal(patch_target_module(file->target, &file->map, file->code, &file->module), 0);
	return true;
}

static void file_close(struct file *file)
{
	patch_target_close(file->target);
	patch_code_destroy(file->code);
	object_close(file->object);
}

/* Each byte of text: 0 nobody's, 1 changed, 2 depended on. */
static void claim(uint8_t *owner, uint64_t at, unsigned count, uint8_t kind)
{
	for (uint64_t i = at; i < at + count; i++) {
		assert_true(!owner[i] || (kind == 2 && owner[i] == 2));
		owner[i] = kind;
	}
}

static void check_pun(struct file *file, const struct patch_jump *jump, const uint8_t *text)
{
	uint8_t bytes[ISA_INSN_MAX + 8];
	struct isa_insn insn;
	int32_t rel;

	memcpy(bytes, text, sizeof(bytes));
	assert_true(patch_insn_at(file->module, jump->start - file->module->bias, &insn));
	assert_int_equal(isa_pun_encode(&insn, text + insn.length, jump->prefixes, jump->island, bytes), 0);
	assert_memory_equal(bytes + insn.length, text + insn.length, 4); /* what follows stays */
	assert_int_equal(bytes[jump->prefixes], 0xe9);
	memcpy(&rel, bytes + jump->prefixes + 1, sizeof(rel));
	assert_int_equal(jump->start + jump->prefixes + 5 + (uint64_t)(int64_t)rel, jump->island);
}

/* A short jump in front of breakpoints may also have a byte there that only changes a flag: the breakpoint is next. */
static void check_guard(const uint8_t *bytes, unsigned at, const struct patch_jump *jump)
{
	size_t ntraps;
	const uint8_t *traps = isa_traps(&ntraps);

	if (memchr(traps, bytes[at], ntraps))
		return;
	assert_true(jump->in_padding && at == 1 && jump->changed > 2);
	assert_non_null(memchr("\xf5\xf8\xf9", bytes[at], 3));
}

/* Each byte at which an instruction started traps, and nothing leads to one. */
static void check_group(struct file *file, const struct patch_jump *jump)
{
	uint64_t vaddr = jump->start - file->module->bias;
	const struct object_range *range = object_range_at(file->object, vaddr);
	uint8_t bytes[WIRE_SITE_BYTES];
	struct isa_emitter e = { .buffer = bytes, .size = sizeof(bytes), .addr = jump->start };
	uint32_t boundaries = 0;

	memset(bytes, 0xcc, sizeof(bytes));
	if (jump->in_padding) {
		isa_emit_u8(&e, 0xeb);
		isa_emit_u8(&e, (uint8_t)(jump->island - (jump->start + 2)));
	} else {
		isa_emit_jump(&e, jump->island);
	}
	assert_int_equal(e.error, 0);
	assert_true(jump->changed >= e.used && jump->changed <= WIRE_SITE_BYTES);
	assert_int_equal((jump->start ^ (jump->start + jump->changed - 1)) / 4096, 0);
	assert_true(range && vaddr + jump->reach <= range->end);
	for (uint64_t at = patch_code_start_after(file->code, vaddr); at && at < vaddr + jump->reach && at < vaddr + jump->changed;
	     at = patch_code_start_after(file->code, at)) { /* its trampoline may run more */
		boundaries |= 1U << (at - vaddr);
		check_guard(bytes, (unsigned)(at - vaddr), jump);
		assert_false(patch_code_is_target(file->code, at));
	}
	assert_int_equal(boundaries, jump->boundaries);
	assert_false(patch_code_has_inner_target(file->code, vaddr, jump->reach));
}

/* Nobody runs into padding: going back from it over nops, there is an instruction after which control goes elsewhere. */
static void check_not_run_into(struct file *file, uint64_t padding)
{
	uint64_t last = padding - 1;
	struct isa_insn insn;

	while (!patch_code_is_start(file->code, last))
		last--;
	assert_true(patch_insn_at(file->module, last, &insn));
	if (insn.class == ISA_REFUSED && (insn.bytes[0] == 0xcc || insn.bytes[0] == 0xf4 || !memcmp(insn.bytes, "\x0f\x0b", 2)))
		return;
	assert_true(insn.class == ISA_JUMP || insn.class == ISA_JUMP_INDIRECT || insn.class == ISA_RETURN);
}

static void check_padding(struct file *file, const struct patch_jump *jump, uint8_t *owner)
{
	uint64_t island = jump->island - file->module->bias;

	assert_true(jump->changed >= 2);
	assert_in_range(jump->island - (jump->start + 2) + 128, 0, 255);
	assert_false(patch_code_is_known(file->code, island));
	check_not_run_into(file, island);
	claim(owner, island - file->module->low, 5, 1);
}

/* A jump, once: what it changes and depends on is its own. */
static void check_jump(struct file *file, const struct patch_jump *jump, uint8_t *owner)
{
	uint64_t vaddr = jump->start - file->module->bias;
	uint64_t at = vaddr - file->module->low;
	size_t available;
	const uint8_t *text = object_code(file->object, vaddr, &available);

	assert_true(patch_code_is_start(file->code, vaddr));
	assert_false(patch_code_has_inner_target(file->code, vaddr, jump->length));
	claim(owner, at, jump->changed, 1);
	for (uint64_t i = vaddr + jump->length; jump->layer != PATCH_L2 && i < vaddr + jump->changed; i++) { /* padding */
		assert_false(patch_code_is_target(file->code, i));
		assert_false(patch_code_has_inner_target(file->code, i - 1, 2));
	}
	switch (jump->layer) {
	case PATCH_L1:
		assert_true(jump->changed >= 5);
		break;
	case PATCH_L3:
		check_padding(file, jump, owner);
		break;
	case PATCH_L4:
		claim(owner, at + jump->length, jump->prefixes + 5U - jump->length, 2);
		check_pun(file, jump, text);
		break;
	case PATCH_L2:
		check_group(file, jump);
		if (jump->in_padding)
			check_padding(file, jump, owner);
		break;
	case PATCH_L0:
	case PATCH_REFUSED:
		fail();
	}
}

static struct patch_jump *jump_of(struct file *file, const struct patch_site *site)
{
	struct patch_jump *jump;

	HASH_FIND(hh, file->target->jumps, &site->start, sizeof(site->start), jump);
	return jump;
}

/* The trampoline runs the instruction; whoever gets to it has come by way of the jump. */
static void check_site(struct file *file, const struct patch_site *site)
{
	const struct patch_jump *jump = jump_of(file, site);
	uint64_t at = site->start - file->module->bias;

	assert_non_null(jump);
	assert_int_equal(jump->layer, site->layer);
	assert_true(site->addr >= jump->start && site->addr + site->insn.length <= jump->start + jump->reach);
	while (at && at + file->module->bias < site->addr) {
		struct isa_insn insn;

		assert_true(patch_insn_at(file->module, at, &insn));
		assert_int_not_equal(insn.class, ISA_CALL);
		assert_int_not_equal(insn.class, ISA_RETURN);
		at = patch_code_start_after(file->code, at);
		assert_false(patch_code_is_target(file->code, at));
	}
	assert_int_equal(at + file->module->bias, site->addr);
}

static unsigned long check_jumps(struct file *file, uint8_t *owner)
{
	unsigned long layers[PATCH_L0 + 1] = { 0 };
	struct patch_jump *jump, *next;
	unsigned long n = 0;

	HASH_ITER(hh, file->target->jumps, jump, next) {
		check_jump(file, jump, owner);
		layers[jump->layer]++;
		n++;
	}
	print_message("  %lu jumps: L1 %lu, L3 %lu, L4 %lu, L2 %lu\n", n, layers[PATCH_L1], layers[PATCH_L3], layers[PATCH_L4],
		      layers[PATCH_L2]);
	return n;
}

/* Plan each @step-th instruction start of every function (1: all, 0: entries only). */
static void plan_file(const char *path, unsigned step, double least)
{
	struct file file;
	const struct object_range *ranges;
	size_t count;
	uint8_t *owner;
	unsigned long planned = 0, refused = 0;

	if (!file_open(&file, path))
		return;
	owner = calloc(file.module->high - file.module->low + 64, 1);
	assert_non_null(owner);
	assert_int_equal(object_ranges(file.object, &ranges, &count, NULL), 0);
	for (size_t i = 0; i < count; i++) {
		uint64_t at = ranges[i].start;

		for (unsigned n = 0; at && at < ranges[i].end; n++, at = step ? patch_code_start_after(file.code, at) : 0) {
			struct patch_site site = { .module = file.module, .vaddr = at };

			if (step > 1 && n % step)
				continue;
			patch_target_plan(file.target, &site);
			if (site.layer == PATCH_REFUSED) {
				assert_non_null(site.why);
				refused++;
				continue;
			}
			planned++;
			check_site(&file, &site);
		}
	}
	print_message("%s: %lu planned, %lu refused\n", path, planned, refused);
	assert_true(check_jumps(&file, owner) <= planned);
	assert_true((double)planned >= least * (double)(planned + refused));
	free(owner);
	file_close(&file);
}

static void test_entries(void **state)
{
	(void)state;
	plan_file("/lib/x86_64-linux-gnu/libc.so.6", 0, 0.999);
	plan_file("/usr/bin/python3.11", 0, 0.99); /* to a fixed address: no room below it for half of the punned jumps */
}

static void test_many_instructions(void **state)
{
	(void)state;
	plan_file("/lib/x86_64-linux-gnu/libc.so.6", 6, 0.99);
}

static void test_all_instructions(void **state)
{
	(void)state;
	plan_file("/bin/ls", 1, 0.9); /* neighbours compete for bytes, or share */
}

/* Each place alone: nothing is taken, so the same question has the same answer. */
static void test_judging_takes_nothing(void **state)
{
	struct file file;
	const struct object_range *ranges;
	size_t count;
	unsigned long possible = 0, refused = 0;

	(void)state;
	if (!file_open(&file, "/bin/ls"))
		return;
	assert_int_equal(object_ranges(file.object, &ranges, &count, NULL), 0);
	for (size_t i = 0; i < count; i++)
		for (uint64_t at = ranges[i].start; at && at < ranges[i].end; at = patch_code_start_after(file.code, at)) {
			struct patch_site first = { .module = file.module, .vaddr = at };
			struct patch_site second = { .module = file.module, .vaddr = at };

			patch_target_judge(file.target, &first);
			patch_target_judge(file.target, &second);
			assert_int_equal(first.layer, second.layer);
			possible += first.layer != PATCH_REFUSED;
			refused += first.layer == PATCH_REFUSED;
		}
	assert_null(file.target->jumps);
	assert_int_equal(file.target->space.count, 0);
	print_message("/bin/ls, each alone: %lu possible, %lu not\n", possible, refused);
	assert_true(refused * 200 < possible);
	file_close(&file);
}

/* Some sites may share a place, which is given back with the last of them; one that runs only when a jump is taken may not. */
static void check_again(struct file *file, struct patch_site *first)
{
	struct patch_site sites[PATCH_AGAIN + 1], other = { .module = first->module, .vaddr = first->vaddr, .when = PATCH_WHEN_LEAVING };

	assert_int_not_equal(first->layer, PATCH_REFUSED);
	for (int i = 0; i < PATCH_AGAIN + 1; i++) {
		sites[i] = (struct patch_site){ .id = (uint32_t)i, .module = first->module, .vaddr = first->vaddr };
		patch_target_plan(file->target, &sites[i]);
		if (i < PATCH_AGAIN) {
			assert_int_equal(sites[i].layer, first->layer);
			assert_int_equal(sites[i].start, first->start);
			continue;
		}
		assert_int_equal(sites[i].layer, PATCH_REFUSED);
		assert_non_null(strstr(sites[i].why, "too many other probes"));
	}
	patch_target_plan(file->target, &other);
	assert_int_equal(other.layer, PATCH_REFUSED);
	for (int i = 0; i < PATCH_AGAIN; i++) {
		patch_target_unplan(file->target, &sites[i]);
		assert_non_null(file->target->jumps);
	}
	patch_target_unplan(file->target, first);
	assert_null(file->target->jumps);
}

static void test_refusals(void **state)
{
	struct file file;
	const struct object_range *ranges;
	size_t count;
	struct patch_site twice;

	(void)state;
	assert_true(file_open(&file, "/bin/ls"));
	assert_int_equal(object_ranges(file.object, &ranges, &count, NULL), 0);
	for (size_t i = 0; i < count; i++) {
		uint64_t second = patch_code_start_after(file.code, ranges[i].start);
		struct patch_site site = { .module = file.module, .vaddr = ranges[i].start + 1 };

		if (second == ranges[i].start + 1 || !patch_code_is_known(file.code, ranges[i].start + 1))
			continue;
		patch_target_plan(file.target, &site);
		assert_int_equal(site.layer, PATCH_REFUSED);
		assert_non_null(strstr(site.why, "start of an instruction"));
	}
	twice = (struct patch_site){ .module = file.module, .vaddr = ranges[count / 2].start };
	patch_target_plan(file.target, &twice);
	check_again(&file, &twice);
	twice = (struct patch_site){ .module = file.module, .vaddr = 0x10 };
	patch_target_plan(file.target, &twice);
	assert_int_equal(twice.layer, PATCH_REFUSED);
	file_close(&file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_islands),
		cmocka_unit_test(test_islands_never_overlap),
		cmocka_unit_test(test_guarded_islands),
		cmocka_unit_test(test_entries),
		cmocka_unit_test(test_many_instructions),
		cmocka_unit_test(test_all_instructions),
		cmocka_unit_test(test_judging_takes_nothing),
		cmocka_unit_test(test_refusals),
	};

	srandom(1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
