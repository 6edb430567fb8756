/* SPDX-License-Identifier: MIT */
/*
 * What is left of a goroutine's stack. Oracle: the listing of Go's linker (-debugnosplit), which proves that chains of functions that do not look
 * fit: for no function may more be promised here than that listing allows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "patch/code.h"
#include "patch/gostack.h"
#include "patch/target.h"

#define LINKER_LEFT 792 /* StackLimit less a return address: what a function that looks leaves its callees */

static char folder[] = "/tmp/test-gostack-XXXXXX";
static bool has_go;

/* first .. fourth take 128 bytes and more each and do not look; even looks. */
static const char program[] = "package main\n"
			      "import (\"fmt\"; \"os\")\n"
			      "//go:noinline\n//go:nosplit\nfunc fourth(p *[15]int, i int) int { return p[i&7] + 1 }\n"
			      "//go:noinline\n//go:nosplit\nfunc third(p *[15]int, i int) int { var a [15]int; a[i&7] = p[i&3]; return fourth(&a, i) + 1 }\n"
			      "//go:noinline\n//go:nosplit\nfunc second(p *[15]int, i int) int { var a [15]int; a[i&7] = p[i&3]; return third(&a, i) + 1 }\n"
			      "//go:noinline\n//go:nosplit\nfunc first(p *[15]int, i int) int { var a [15]int; a[i&7] = p[i&3]; return second(&a, i) + 1 }\n"
			      "//go:noinline\nfunc even(i int) int { var a [15]int; a[i&7] = i; return first(&a, i) }\n"
			      "//go:noinline\nfunc large(i int) int { var a [900]int; a[i&7] = i; return even(a[i&3]) }\n"
			      "func main() { fmt.Println(even(len(os.Args)), large(len(os.Args))) }\n";

static BASE_PRINTF(1, 2) int run(const char *format, ...)
{
	char command[1024];
	int used = snprintf(command, sizeof(command), "cd %s && ", folder);
	va_list ap;

	va_start(ap, format);
	vsnprintf(command + used, sizeof(command) - (size_t)used, format, ap);
	va_end(ap);
	return system(command);
}

/* ---- the linker's listing: "nosplit: NAME<ABI> +GROWTH -> NAME<ABI>" ---- */

struct listed {
	char name[160]; /* as in the table of functions, and <ABI> */
	int left;
};

struct listed_call {
	size_t from, to;
	int growth;
};

struct listing {
	struct listed *functions;
	size_t count, cap;
	struct listed_call *calls;
	size_t call_count, call_cap;
};

static size_t listed_at(struct listing *listing, const char *name)
{
	for (size_t i = 0; i < listing->count; i++)
		if (!strcmp(listing->functions[i].name, name))
			return i;
	assert_int_equal(base_grow(&listing->functions, &listing->cap, listing->count + 1, sizeof(*listing->functions)), 0);
	struct listed *listed = &listing->functions[listing->count];

	assert_true(strlen(name) < sizeof(listed->name));
	strcpy(listed->name, name);
	listed->left = LINKER_LEFT;
	return listing->count++;
}

/* These go to other stacks, or start on large ones; the listing takes no notice of that. */
static bool changes_stacks(const char *name)
{
	static const char *const names[] = { "runtime.rt0_go", "runtime.morestack", "runtime.mcall", "runtime.systemstack", "runtime.cgocallback" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strncmp(name, names[i], strlen(names[i])))
			return true;
	return false;
}

static void listing_read(struct listing *listing)
{
	char path[128], line[1024], from[400], to[400];
	int growth;

	snprintf(path, sizeof(path), "%s/listing", folder);
	FILE *file = fopen(path, "r");

	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "nosplit: %399s +%d -> %399s", from, &growth, to) != 3 || changes_stacks(from) || changes_stacks(to) ||
		    !strcmp(to, "indirect"))
			continue;
		assert_int_equal(base_grow(&listing->calls, &listing->call_cap, listing->call_count + 1, sizeof(*listing->calls)), 0);
		struct listed_call call = { .from = listed_at(listing, from), .growth = growth };

		call.to = listed_at(listing, to);
		listing->calls[listing->call_count++] = call;
	}
	fclose(file);
	for (bool changed = true; changed;) {
		changed = false;
		for (size_t i = 0; i < listing->call_count; i++) {
			const struct listed_call *call = &listing->calls[i];
			int left = listing->functions[call->from].left - call->growth;

			assert_true(left >= 0); /* it has linked */
			if (listing->functions[call->to].left > left) {
				listing->functions[call->to].left = left;
				changed = true;
			}
		}
	}
}

static struct object *built(const char *name)
{
	struct utap_error err = { 0 };
	struct object *object;
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (object_open(path, &object, &err))
		fail_msg("%s", err.text);
	return object;
}

static bool is_of(const struct listed *listed, const char *name)
{
	size_t length = strlen(name);

	return !strncmp(listed->name, name, length) && listed->name[length] == '<';
}

static void compare(struct object *object, struct listing *listing)
{
	struct object_go_function *functions;
	struct gostack *stack;
	size_t count, lower = 0;

	assert_int_equal(object_go_functions(object, &functions, &count), 0);
	assert_int_equal(gostack_create(object, &stack), 0);
	for (size_t i = 0; i < listing->count; i++) {
		unsigned least = UINT32_MAX, left;

		for (size_t j = 0; j < count; j++)
			if (functions[j].name && is_of(&listing->functions[i], functions[j].name) &&
			    gostack_left(stack, functions[j].start, &left) && left < least)
				least = left;
		if (least == UINT32_MAX)
			continue;
		if (least > (unsigned)listing->functions[i].left)
			fail_msg("%s: %u promised, the linker says %d", listing->functions[i].name, least, listing->functions[i].left);
		lower += listing->functions[i].left < LINKER_LEFT - 200;
	}
	print_message("%zu calls, %zu functions, %zu of them deep\n", listing->call_count, listing->count, lower);
	assert_in_range(lower, 10, SIZE_MAX);
	gostack_destroy(stack);
	free(functions);
}

static void test_linker(void **state)
{
	struct listing listing = { 0 };

	if (!has_go || run("go build -ldflags=-debugnosplit -o listed . >listing 2>&1"))
		skip();
	struct object *object = built("listed");

	listing_read(&listing);
	assert_true(listing.call_count > 500);
	compare(object, &listing);
	object_close(object);
	free(listing.functions);
	free(listing.calls);
}

static uint64_t start_of(struct object *object, const char *name)
{
	struct object_go_function *functions;
	size_t count;
	uint64_t start = 0;

	assert_int_equal(object_go_functions(object, &functions, &count), 0);
	for (size_t i = 0; i < count; i++)
		if (functions[i].name && !strcmp(functions[i].name, name))
			start = functions[i].start;
	free(functions);
	assert_true(start);
	return start;
}

static void check_chain(const char *file)
{
	struct object *object = built(file);
	struct patch_code *code;
	struct gostack *stack;
	unsigned left[4], even;

	assert_int_equal(patch_code_create(object, false, &code, NULL), 0);
	assert_int_equal(gostack_create(object, &stack), 0);
	assert_true(gostack_left(stack, start_of(object, "main.even"), &even));
	assert_in_range(even, 600, LINKER_LEFT);
	for (unsigned i = 0; i < 4; i++) {
		static const char *const names[] = { "main.first", "main.second", "main.third", "main.fourth" };

		assert_true(gostack_left(stack, start_of(object, names[i]), &left[i]));
		if (i)
			assert_in_range(left[i - 1] - left[i], 128, 200);
	}
	assert_non_null(strstr(patch_code_lacks_stack(code, start_of(object, "main.fourth"), PATCH_STACK_USUAL), "nosplit"));
	assert_null(patch_code_lacks_stack(code, start_of(object, "main.first"), PATCH_STACK_USUAL));
	assert_null(patch_code_lacks_stack(code, start_of(object, "main.large"), PATCH_STACK_USUAL));
	assert_non_null(strstr(patch_code_lacks_stack(code, start_of(object, "runtime.morestack"), PATCH_STACK_USUAL), "nosplit"));
	assert_non_null(strstr(patch_code_lacks_stack(code, start_of(object, "runtime.asyncPreempt"), PATCH_STACK_USUAL), "nosplit"));
	/* It depends on the program: what a counter takes is there. */
	assert_null(patch_code_lacks_stack(code, start_of(object, "main.third"), left[2] - GOSTACK_CALL));
	assert_non_null(patch_code_lacks_stack(code, start_of(object, "main.third"), left[2] - GOSTACK_CALL + 1));
	assert_non_null(strstr(patch_code_lacks_stack(code, start_of(object, "main.first"), 4096), "only"));
	assert_false(gostack_left(stack, 1, &even));
	gostack_destroy(stack);
	patch_code_destroy(code);
	object_close(object);
}

static void test_chain(void **state)
{
	if (!has_go)
		skip();
	assert_int_equal(run("go build -o plain . && go build -ldflags='-s -w' -o stripped . && go build -buildmode=pie -o pie ."), 0);
	check_chain("plain");
	check_chain("stripped");
	check_chain("pie");
}

/* Names that are not Go's own (an obfuscator's) tell nothing: all is refused. */
static void test_names(void **state)
{
	struct gostack *stack;
	unsigned left = 1;

	if (!has_go)
		skip();
	assert_int_equal(run("go build -o plain . && sed 's/runtime\\.morestack/runtime.mxrestack/g' plain >renamed"), 0);
	struct object *object = built("renamed");

	assert_int_equal(gostack_create(object, &stack), 0);
	assert_true(gostack_left(stack, start_of(object, "main.even"), &left));
	assert_int_equal(left, 0);
	gostack_destroy(stack);
	object_close(object);
}

static int setup(void **state)
{
	char path[128];

	if (!mkdtemp(folder))
		return -1;
	has_go = run("command -v go >/dev/null") == 0;
	if (!has_go)
		print_message("skipped: go is not installed\n");
	setenv("GOFLAGS", "-buildvcs=false", 1);
	snprintf(path, sizeof(path), "%s/main.go", folder);
	FILE *file = fopen(path, "w");

	if (!file || fputs(program, file) < 0 || fclose(file))
		return -1;
	return run("printf 'module gostack\\n' >go.mod");
}

static int teardown(void **state) { return run("rm -rf %s", folder); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_linker),
		cmocka_unit_test(test_chain),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
