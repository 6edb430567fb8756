/* SPDX-License-Identifier: MIT */
/*
 * What is known about code: where it can be entered, what belongs to a function, how it is left. The oracles: objdump's
 * own decoding of the same files; that a block nobody leads to is dead, and compilers leave none; programs written so
 * that the answer is known.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "flow_programs.h"
#include "isa/flow.h"
#include "patch/code_inside.h"

#define LIBC "/lib/x86_64-linux-gnu/libc.so.6"
#define SEED 20101119U

static char folder[] = "/tmp/test-flow-XXXXXX";

static BASE_PRINTF(1, 2) int run(const char *format, ...)
{
	char command[2048];
	int used = snprintf(command, sizeof(command), "cd %s && ", folder);
	va_list ap;

	va_start(ap, format);
	vsnprintf(command + used, sizeof(command) - (size_t)used, format, ap);
	va_end(ap);
	return system(command);
}

static bool have(const char *program)
{
	bool found = run("command -v %s >/dev/null", program) == 0;

	if (!found)
		print_message("skipped: %s is not installed\n", program);
	return found;
}

struct file {
	struct object *object;
	struct patch_code *code;
};

static bool file_open(struct file *file, const char *path)
{
	struct utap_error err = { 0 };

	if (object_open(path, &file->object, &err)) {
		print_message("skipped: %s\n", err.text);
		return false;
	}
	assert_int_equal(patch_code_create(file->object, false, &file->code, &err), 0);
	return true;
}

static struct file file_built(const char *name)
{
	struct file file;
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	assert_true(file_open(&file, path));
	return file;
}

static void file_close(struct file *file)
{
	patch_code_destroy(file->code);
	object_close(file->object);
}

static uint64_t address(struct file *file, const char *name)
{
	const struct object_symbol **found;
	uint64_t vaddr;

	if (object_find(file->object, name, false, &found, NULL) != 1)
		fail_msg("no single symbol %s", name);
	vaddr = found[0]->vaddr;
	free(found);
	return vaddr;
}

/* ---- objdump reads the same ---- */

enum line_kind { LINE_OTHER, LINE_RETURN, LINE_DIRECT, LINE_INDIRECT };

struct line {
	uint64_t vaddr, target;
	enum line_kind kind;
};

struct listing {
	struct line *lines;
	size_t count, cap;
};

static bool starts(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

/* "bnd jmp", "repz ret", "notrack jmp": the last word before the operands counts. */
static const char *behind_prefixes(const char *text)
{
	static const char *const prefixes[] = {
		"bnd ", "notrack ", "repz ", "rep ", "data16 ", "cs ", "ds ", "addr32 "
	};

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (starts(text, prefixes[i]))
			return behind_prefixes(text + strlen(prefixes[i]));
	return text;
}

/* "  26500:\tjmp    26510 <abort+0x10>" */
static void listing_add(struct listing *listing, const char *text)
{
	struct line line = { 0 };
	char *end;
	const char *word;

	line.vaddr = strtoull(text, &end, 16);
	if (end == text || *end != ':' || end[1] != '\t')
		return;
	word = behind_prefixes(end + 2);
	if (starts(word, "ret"))
		line.kind = LINE_RETURN;
	else if (*word == 'j' || starts(word, "loop"))
		line.kind = strchr(word, '*') ? LINE_INDIRECT : LINE_DIRECT;
	if (line.kind == LINE_DIRECT) {
		word += strcspn(word, ", ");
		word += strcspn(word, "0123456789abcdef");
		line.target = strtoull(word, NULL, 16);
	}
	assert_int_equal(base_grow(&listing->lines, &listing->cap, listing->count + 1, sizeof(line)), 0);
	listing->lines[listing->count++] = line;
}

static struct listing listing_read(const char *path)
{
	struct listing listing = { 0 };
	char command[300];
	char text[4096];
	FILE *from;

	snprintf(command, sizeof(command), "objdump -d --no-show-raw-insn -w %s", path);
	from = popen(command, "r");
	assert_non_null(from);
	while (fgets(text, sizeof(text), from))
		listing_add(&listing, text + strspn(text, " "));
	pclose(from);
	return listing;
}

static bool inside(const struct patch_function *function, uint64_t vaddr)
{
	for (size_t i = 0; i < function->nparts; i++)
		if (vaddr >= function->parts[i].start && vaddr < function->parts[i].end)
			return true;
	return false;
}

static const struct patch_exit *exit_at(const struct patch_function *function, uint64_t vaddr)
{
	for (size_t i = 0; i < function->nexits; i++)
		if (function->exits[i].vaddr == vaddr)
			return &function->exits[i];
	return NULL;
}

/* Each way out that objdump shows is an exit of the right kind; returns how many those are. */
static size_t check_part(const struct patch_function *function, const struct object_range *part,
			 const struct listing *listing)
{
	size_t ways = 0;

	for (size_t i = code_above(listing->lines, listing->count, sizeof(*listing->lines), part->start - 1);
	     i < listing->count && listing->lines[i].vaddr < part->end; i++) {
		const struct line *line = &listing->lines[i];
		const struct patch_exit *found = exit_at(function, line->vaddr);
		bool leaves = line->kind == LINE_DIRECT && !inside(function, line->target);
		bool wanted = line->kind == LINE_RETURN || leaves;

		if (line->kind == LINE_INDIRECT) {
			ways += found != NULL; /* none through a table of its own */
			continue;
		}
		if (wanted != (found != NULL) || (found && found->tail != leaves))
			fail_msg("%lx: objdump says %d, exits say %d", (long)line->vaddr, wanted, found != NULL);
		ways += wanted;
	}
	return ways;
}

/* @percent: of functions at least, whose exits and flow must be known */
static void check_exits(const char *path, unsigned percent)
{
	struct file file;
	struct listing listing;
	size_t functions = 0, known = 0, flows = 0;

	if (!file_open(&file, path))
		return;
	listing = listing_read(path);
	for (size_t i = 0; i < file.code->nranges; i++) {
		struct patch_function function;
		const char *why = NULL;
		size_t ways = 0;

		if (!code_is_own(file.code, i))
			continue;
		functions++;
		flows += patch_code_flow_known(file.code, file.code->ranges[i].start);
		int error = patch_function_find(file.code, file.code->ranges[i].start, &function, &why);

		if (error) {
			assert_int_equal(error, -ENOTSUP);
			assert_non_null(why);
			continue;
		}
		known++;
		for (size_t j = 0; j < function.nparts; j++)
			ways += check_part(&function, &function.parts[j], &listing);
		assert_int_equal(ways, function.nexits);
		patch_function_release(&function);
	}
	print_message("%s: %zu functions, exits of %.2f %%, flow of %.2f %% known\n", path, functions,
		      100.0 * (double)known / (double)functions, 100.0 * (double)flows / (double)functions);
	assert_true(known * 100 >= functions * percent);
	assert_true(flows * 100 >= functions * percent || object_is_go(file.object));
	free(listing.lines);
	file_close(&file);
}

static void test_exits_as_objdump_reads(void **state)
{
	if (!have("objdump"))
		skip();
	check_exits(LIBC, 97);
	check_exits("/lib/x86_64-linux-gnu/libstdc++.so.6", 99);
	check_exits("/usr/bin/python3.11", 99);
}

/* ---- nothing is reached in a way that is not known ---- */

static bool ends_block(enum isa_lead lead)
{
	return lead == ISA_LEAD_JUMP || lead == ISA_LEAD_RETURN || lead == ISA_LEAD_JUMP_INDIRECT;
}

/* Instructions behind a jump or return that nothing is known to lead to. */
static size_t count_orphans(const struct patch_code *code, const struct object_range *range, size_t *heads)
{
	size_t orphans = 0;
	bool head = false;
	unsigned length;
	uint64_t target;

	for (uint64_t at = range->start; at < range->end; at += length) {
		enum isa_lead lead = code_lead_at(code, at, &length, &target);
		size_t available;
		const uint8_t *bytes = object_code(code->object, at, &available);

		if (!length)
			break;
		if (head && (patch_code_is_target(code, at) || !isa_is_padding(bytes, length))) {
			*heads += 1;
			orphans += !patch_code_is_target(code, at);
			head = false;
		}
		head |= ends_block(lead);
	}
	return orphans;
}

static void check_orphans(struct file *file, const char *name, unsigned per_10000)
{
	size_t heads = 0, orphans = 0;

	for (size_t i = 0; i < file->code->nranges; i++)
		if (patch_code_flow_known(file->code, file->code->ranges[i].start))
			orphans += count_orphans(file->code, &file->code->ranges[i], &heads);
	if (per_10000)
		print_message("%s: %zu of %zu blocks are led to by nothing\n", name, orphans, heads);
	if (orphans * 10000 > heads * per_10000)
		fail_msg("%s: %zu of %zu blocks are led to by nothing", name, orphans, heads);
}

/* Assembly in libc has a few blocks that nothing leads to indeed. */
static void test_no_block_is_an_orphan(void **state)
{
	static const char *const paths[] = { LIBC, "/lib/x86_64-linux-gnu/libstdc++.so.6", "/usr/bin/python3.11",
					     "/usr/bin/gdb" };

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		struct file file;

		if (!file_open(&file, paths[i]))
			continue;
		check_orphans(&file, paths[i], 10);
		file_close(&file);
	}
}

/* ---- programs of which the answer is known ---- */

static const struct variant {
	const char *name, *compiler, *flags;
} variants[] = {
	{ "gcc-pie", "gcc", "-O2 -fPIE -pie" },
	{ "gcc-fixed", "gcc", "-O2 -fno-pie -no-pie" },
	{ "gcc-cet", "gcc", "-O2 -fPIE -pie -fcf-protection=full" },
	{ "gcc-O0", "gcc", "-O0 -fPIE -pie" },
	{ "gcc-O1", "gcc", "-O1 -fno-pie -no-pie" },
	{ "gcc-O3", "gcc", "-O3 -fPIE -pie" },
	{ "gcc-Os", "gcc", "-Os -fPIE -pie" },
	{ "gcc-lto", "gcc", "-O2 -flto -fPIE -pie" },
	{ "gcc-noplt", "gcc", "-O2 -fno-plt -fPIE -pie" },
	{ "gcc-static", "gcc", "-O2 -static" },
	{ "gcc-staticpie", "gcc", "-O2 -static-pie" },
	{ "clang-pie", "clang", "-O2 -fPIE -pie" },
	{ "clang-fixed", "clang", "-O2 -fno-pie -no-pie" },
	{ "clang-O0", "clang", "-O0 -fPIE -pie" },
	{ "clang-Os", "clang", "-Os -fPIE -pie" },
	{ "musl", "musl-gcc", "-O2" },
	{ "musl-static", "musl-gcc", "-O2 -static" },
};

static size_t count_exits(const struct patch_function *function, bool tail, enum patch_when when)
{
	size_t count = 0;

	for (size_t i = 0; i < function->nexits; i++)
		count += function->exits[i].tail == tail && function->exits[i].when == when;
	return count;
}

static struct patch_function find(struct file *file, uint64_t vaddr)
{
	struct patch_function function;
	const char *why = NULL;

	if (patch_function_find(file->code, vaddr, &function, &why))
		fail_msg("%lx: %s", (long)vaddr, why);
	assert_int_equal(function.parts[0].start, vaddr);
	return function;
}

static void check_refused(struct file *file, uint64_t vaddr, const char *wanted)
{
	struct patch_function function;
	const char *why = "";

	assert_int_equal(patch_function_find(file->code, vaddr, &function, &why), -ENOTSUP);
	if (!strstr(why, wanted))
		fail_msg("%lx is refused because %s, not because %s", (long)vaddr, why, wanted);
}

/* All tables of the program's switches were found: no block is an orphan, and the jump through a table leaves the
 * function nowhere. */
static void check_tables(struct file *file, const uint64_t *at, const char *name)
{
	for (int i = 0; i < 2; i++) {
		struct patch_function function = find(file, at[i]);
		size_t heads = 0;

		if (!patch_code_flow_known(file->code, at[i]))
			fail_msg("%s: the jump tables of function %d were not found", name, i);
		if (count_exits(&function, true, PATCH_WHEN_LEAVING))
			fail_msg("%s: a table of function %d was not found to lead into it", name, i);
		for (size_t j = 0; j < function.nparts; j++)
			if (count_orphans(file->code, &function.parts[j], &heads))
				fail_msg("%s: function %d has a block that nothing leads to", name, i);
		assert_true(heads >= 2);
		patch_function_release(&function);
	}
}

/* at: see names[] */
static void check_program(struct file *file, const uint64_t *at, const struct variant *variant)
{
	bool tails = !strstr(variant->name, "O0") && !strstr(variant->name, "O1"); /* compilers make tail calls */
	struct patch_function function;

	check_tables(file, at, variant->name);
	function = find(file, at[2]); /* threaded */
	assert_true(patch_code_flow_known(file->code, at[2]) || !tails);
	assert_true(count_exits(&function, false, PATCH_WHEN_REACHED) >= 1);
	patch_function_release(&function);
	for (int i = 3; i < 5; i++) { /* virtual_tail, pointer_tail */
		assert_true(patch_code_flow_known(file->code, at[i]));
		function = find(file, at[i]);
		if (tails)
			assert_int_equal(count_exits(&function, true, PATCH_WHEN_LEAVING), 1);
		patch_function_release(&function);
	}
	function = find(file, at[5]); /* direct_tail */
	assert_int_equal(function.nexits, 1);
	assert_int_equal(function.exits[0].tail, tails);
	patch_function_release(&function);
	function = find(file, at[6]); /* with_cold */
	assert_true(count_exits(&function, false, PATCH_WHEN_REACHED) >= 1);
	assert_true(function.nparts == 2 || !strstr(variant->name, "gcc-pie"));
	patch_function_release(&function);
	function = find(file, at[7]); /* never */
	assert_int_equal(function.nexits, 0);
	patch_function_release(&function);
}

static void check_assembly(struct file *file, const uint64_t *at)
{
	struct patch_function function;

	check_refused(file, at[0], "jumps into its middle");
	function = find(file, at[1]); /* asm_into */
	assert_int_equal(function.nexits, 1);
	assert_true(function.exits[0].tail);
	patch_function_release(&function);
	check_refused(file, at[2], "runs on");
	check_refused(file, at[3], "pushed itself");
	assert_false(patch_code_flow_known(file->code, at[3]));
	assert_false(patch_code_flow_known(file->code, at[4])); /* asm_computes */
	check_refused(file, at[5], "begins inside");
	check_refused(file, at[6], ""); /* stripped, the thunk looks like a fragment with a call in it */
	assert_false(patch_code_flow_known(file->code, at[6]));
}

static const char *const names[] = { "table",       "two_tables", "threaded",     "virtual_tail", "pointer_tail",
				     "direct_tail", "with_cold",  "never",        "asm_victim",   "asm_into",
				     "asm_falls",   "asm_pushes", "asm_computes", "asm_calls",    "asm_thunked" };
#define NAMES (sizeof(names) / sizeof(names[0]))
#define ASSEMBLY 8

static void check_variant(const struct variant *variant)
{
	uint64_t at[NAMES];
	struct file file;

	if (run("%s %s -g0 -o %s a.c 2>build.log", variant->compiler, variant->flags, variant->name)) {
		run("cat build.log");
		fail_msg("%s: does not compile", variant->name);
	}
	run("strip -o %s.stripped %s", variant->name, variant->name);
	file = file_built(variant->name);
	for (size_t i = 0; i < NAMES; i++)
		at[i] = address(&file, names[i]);
	check_program(&file, at, variant);
	check_assembly(&file, at + ASSEMBLY);
	check_refused(&file, address(&file, "asm_outer"), "begins inside");
	check_refused(&file, address(&file, "inner"), "inside another");
	file_close(&file);

	char stripped[64];

	snprintf(stripped, sizeof(stripped), "%s.stripped", variant->name);
	file = file_built(stripped);
	check_program(&file, at, variant);
	check_assembly(&file, at + ASSEMBLY);
	file_close(&file);
}

static void test_programs(void **state)
{
	for (size_t i = 0; i < sizeof(variants) / sizeof(variants[0]); i++)
		if (have(variants[i].compiler))
			check_variant(&variants[i]);
}

/* ---- what leads to a place ---- */

static void check_targets(const char *flags, bool fixed)
{
	static const char *const led_to[] = { "at_branch", "at_lea", "at_return", "at_pointer", "places", "elsewhere" };
	struct file file;
	uint64_t start;

	assert_int_equal(run("gcc -O1 %s -o targets targets.c", flags), 0);
	file = file_built("targets");
	for (size_t i = 0; i < sizeof(led_to) / sizeof(led_to[0]); i++)
		if (!patch_code_is_target(file.code, address(&file, led_to[i])))
			fail_msg("%s: something leads to %s", flags, led_to[i]);
	assert_false(patch_code_is_target(file.code, address(&file, "nothing")));
	assert_false(patch_code_is_target(file.code, address(&file, "places") + 1));
	assert_int_equal(patch_code_is_target(file.code, address(&file, "at_number")), fixed);
	assert_int_equal(patch_code_is_target(file.code, address(&file, "at_push")), fixed);
	/* Over several instructions */
	start = address(&file, "nothing");
	assert_false(patch_code_has_inner_target(file.code, start, 5));
	assert_true(patch_code_has_inner_target(file.code, start, 6));
	assert_true(patch_code_has_inner_target(file.code, address(&file, "at_return") - 5, 6));
	assert_true(patch_code_flow_known(file.code, start));
	file_close(&file);
}

/* Code without a frame entry is looked at only when that is asked for. */
static void test_without_frame(void **state)
{
	struct patch_function function;
	const char *why = NULL;
	struct file file;
	uint64_t bare;

	if (!have("gcc"))
		skip();
	assert_int_equal(run("gcc -O1 -fPIE -pie -o targets targets.c"), 0);
	file = file_built("targets");
	bare = address(&file, "bare");
	check_refused(&file, bare, "no frame description entry");
	assert_false(patch_code_is_known(file.code, bare) || patch_code_flow_known(file.code, bare));
	patch_code_destroy(file.code);
	assert_int_equal(patch_code_create(file.object, true, &file.code, NULL), 0);
	assert_int_equal(patch_function_find(file.code, bare, &function, &why), 0);
	assert_int_equal(function.nexits, 2);
	assert_true(!function.exits[0].tail && function.exits[1].tail);
	assert_true(patch_code_flow_known(file.code, bare));
	patch_function_release(&function);
	file_close(&file);
}

static void test_targets(void **state)
{
	if (!have("gcc"))
		skip();
	check_targets("-fPIE -pie", false);
	check_targets("-fno-pie -no-pie -DFIXED", true);
}

/* ---- other languages ---- */

static void check_language(const char *compiler, const char *command, unsigned percent)
{
	char path[256];

	if (!have(compiler))
		return;
	if (run("%s 2>build.log", command)) {
		run("cat build.log");
		fail_msg("failed: %s", command);
	}
	snprintf(path, sizeof(path), "%s/language", folder);
	check_exits(path, percent);
}

static void test_languages(void **state)
{
	check_language("g++", "g++ -O2 -o language a.cc", 97);
	check_language("g++", "g++ -O2 -static -o language a.cc", 94); /* much of libc is assembly */
	check_language("clang++", "clang++ -O2 -o language a.cc", 97);
	check_language("rustc", "rustc -O -o language a.rs", 97);
	check_language("rustc", "rustc -C opt-level=s -C panic=abort -o language a.rs", 97);
	check_language("go", "CGO_ENABLED=0 go build -o language a.go", 97);
	check_language("go", "CGO_ENABLED=0 go build -ldflags='-s -w' -o language a.go", 97);
}

/* ---- the quick look at an instruction, and the decoder's ---- */

static bool agrees(const struct isa_insn *insn, enum isa_lead lead)
{
	switch (insn->class) {
	case ISA_CALL:
		return lead == ISA_LEAD_CALL;
	case ISA_CALL_INDIRECT:
		return lead == ISA_LEAD_CALL_INDIRECT;
	case ISA_JUMP:
		return lead == ISA_LEAD_JUMP;
	case ISA_JUMP_INDIRECT:
		return lead == ISA_LEAD_JUMP_INDIRECT;
	case ISA_BRANCH:
	case ISA_LOOP:
		return lead == ISA_LEAD_BRANCH;
	case ISA_RETURN:
		return lead == ISA_LEAD_RETURN;
	case ISA_REFUSED:
		return true; /* far branches, traps */
	case ISA_PLAIN:
	case ISA_SYSCALL:
	case ISA_ENDBR:
	case ISA_NOP:
		break;
	}
	return lead == ISA_LEAD_ON || lead == ISA_LEAD_ADDRESS || lead == ISA_LEAD_NUMBER;
}

static void check_lead(const uint8_t *bytes, size_t size)
{
	struct isa_insn insn;
	bool has_target = false;
	utap_addr target, named = 0;
	int length = isa_step(bytes, size, 0x1000, &has_target, &target);

	if (length <= 0 || isa_decode(bytes, size, 0x1000, &insn))
		return;
	enum isa_lead lead = isa_lead(bytes, (unsigned)length, 0x1000, has_target, &named);

	if (!agrees(&insn, lead) || (lead == ISA_LEAD_ADDRESS && insn.class == ISA_PLAIN &&
				     !(insn.has_rip_operand && insn.rip_operand == named)))
		fail_msg("%02x %02x %02x %02x %02x %02x: class %d, lead %d", bytes[0], bytes[1], bytes[2], bytes[3],
			 bytes[4], bytes[5], insn.class, lead);
}

static void test_leads(void **state)
{
	static const uint8_t prefixes[] = { 0x66, 0xf2, 0xf3, 0x2e, 0x3e, 0x64, 0x48, 0x41, 0x4c };
	uint8_t bytes[32];

	srandom(SEED);
	for (int i = 0; i < 400000; i++) {
		size_t at = 0;

		for (size_t j = 0; j < sizeof(bytes); j++)
			bytes[j] = (uint8_t)random();
		for (int n = (int)(random() % 4); n > 0; n--)
			bytes[at++] = prefixes[(size_t)random() % sizeof(prefixes)];
		bytes[at] = (uint8_t)i;
		if (i & 0x100)
			bytes[at] = 0x0f;
		check_lead(bytes, sizeof(bytes));
	}
}

/* ---- bytes that nobody wrote ---- */

static void use_everything(const struct patch_code *code)
{
	for (size_t i = 0; i < code->nranges; i++) {
		struct patch_function function;
		const char *why = NULL;
		int error = patch_function_find(code, code->ranges[i].start, &function, &why);

		patch_code_flow_known(code, code->ranges[i].start);
		for (uint64_t at = code->ranges[i].start; at < code->ranges[i].end; at++)
			if (patch_code_is_target(code, at) && !patch_code_is_start(code, at) &&
			    at > code->ranges[i].start)
				assert_true(patch_code_has_inner_target(code, at - 1, 2));
		if (error) {
			assert_true(error == -ENOTSUP && why);
			continue;
		}
		for (size_t j = 0; j < function.nexits; j++)
			assert_true(inside(&function, function.exits[j].vaddr) &&
				    patch_code_is_start(code, function.exits[j].vaddr) &&
				    (!j || function.exits[j - 1].vaddr < function.exits[j].vaddr));
		patch_function_release(&function);
	}
}

static void test_damaged_code(void **state)
{
	char path[256];
	char *bytes;
	size_t size;

	snprintf(path, sizeof(path), "%s/gcc-pie", folder);
	if (base_file_read(path, &bytes, &size)) {
		print_message("skipped: no gcc\n");
		skip();
	}
	srandom(SEED);
	for (int round = 0; round < 300; round++) {
		_cleanup_free_ char *copy = malloc(size);
		struct object *object;
		struct patch_code *code;
		FILE *to;

		assert_non_null(copy);
		memcpy(copy, bytes, size);
		for (int i = 0; i < 40; i++)
			copy[0x1000 + random() % 0x1800] = (char)random();
		snprintf(path, sizeof(path), "%s/damaged", folder);
		to = fopen(path, "w");
		assert_non_null(to);
		assert_int_equal(fwrite(copy, 1, size, to), size);
		fclose(to);
		if (object_open(path, &object, NULL))
			continue;
		if (!patch_code_create(object, round & 1, &code, NULL)) {
			use_everything(code);
			patch_code_destroy(code);
		}
		object_close(object);
	}
	free(bytes);
}

static int write_text(const char *name, const char *text)
{
	char path[256];
	FILE *to;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	to = fopen(path, "w");
	if (!to)
		return -1;
	fputs(text, to);
	return fclose(to);
}

static int setup(void **state)
{
	if (!mkdtemp(folder))
		return -1;
	return write_text("a.c", c_program) | write_text("targets.c", targets_program) |
	       write_text("a.cc", cxx_program) | write_text("a.rs", rust_program) | write_text("a.go", go_program);
}

static int teardown(void **state)
{
	return run("rm -rf %s", folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_programs),
		cmocka_unit_test(test_damaged_code),
		cmocka_unit_test(test_leads),
		cmocka_unit_test(test_targets),
		cmocka_unit_test(test_without_frame),
		cmocka_unit_test(test_languages),
		cmocka_unit_test(test_exits_as_objdump_reads),
		cmocka_unit_test(test_no_block_is_an_orphan),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
