/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the object room compare with: programs compiled in a folder of their own, and what readelf says
 * about a file. Included by test_object.c only.
 */
#ifndef TESTS_UNIT_OBJECT_ORACLE_H
#define TESTS_UNIT_OBJECT_ORACLE_H

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "object/internal.h"

#define LIBC "/lib/x86_64-linux-gnu/libc.so.6"
#define SEED 20091118U

static const char c_program[] =
    "#include <stdlib.h>\n"
    "#include <stdio.h>\n"
    "int counter = 3; const int limit = 7; __thread int per_thread;\n"
    "static __attribute__((noinline)) int quiet(int a) { return a * limit + counter; }\n"
    "__attribute__((noinline)) int loud(int a) { return quiet(a) + per_thread; }\n"
    "int also_loud(int) __attribute__((alias(\"loud\")));\n"
    "int __weak_loud(int) __attribute__((weak, alias(\"loud\")));\n"
    "int (*const constant_table[])(int) = { quiet, loud };\n"
    "int (*table[])(int) = { loud, quiet };\n"
    "static int one(int a) { return a + 1; }\n"
    "static void *pick(void) { return one; }\n"
    "int picked(int) __attribute__((ifunc(\"pick\")));\n"
    "__asm__(\".pushsection .text\\n\"\n"
    "	\".type outer,@function\\n.type inner,@function\\n.type sizeless,@function\\n\"\n"
    "	\"outer: nop\\n nop\\n inner: nop\\n nop\\n .size inner,2\\n nop\\n nop\\n .size outer,6\\n\"\n"
    "	\"sizeless: nop\\n nop\\n ret\\n.popsection\");\n"
    "int rust_one(int) __asm__(\"_ZN4shop5stock4move17h0123456789abcdefE\");\n"
    "int rust_one(int a) { return a; }\n"
    "int rust_two(int) __asm__(\"_RNvNtCs1234_4shop5stock4sell\");\n"
    "int rust_two(int a) { return a; }\n"
    "__asm__(\".pushsection .text\\n start_ip: nop\\n nop\\n nop\\n post: ret\\n .long 0x53053053\\n abort_ip: "
    "ret\\n\"\n"
    "	\".popsection\\n.pushsection __rseq_cs,\\\"aw\\\"\\n.balign 32\\n.long 0,0\\n\"\n"
    "	\".quad start_ip, 3, abort_ip\\n.popsection\\n\");\n"
    "int main(int c, char **v) { printf(\"%p\", malloc(table[c & 1](c))); return picked(constant_table[c & 1](c)); }\n";

static const char cc_program[] =
    "#include <string>\n"
    "namespace ns { int f(int a) { if (a > 3) throw a; return a; } int f(int a, char b) { return a + b; }\n"
    "template <class T> T twice(T a) { return a + a; } template int twice<int>(int);\n"
    "struct box { int width() const; int operator*(int) const; std::string text(std::string); ~box(); };\n"
    "int box::width() const { return 3; } int box::operator*(int a) const { return a; }\n"
    "std::string box::text(std::string s) { return s; } box::~box() {}\n"
    "namespace { __attribute__((noinline, used)) int hidden(unsigned a) { return a; } } }\n"
    "int plain(int a) { return a; }\n"
    "extern \"C\" int catcher(int a) { try { return ns::f(a); } catch (int b) { return b; } catch (char) { return 7; } "
    "}\n"
    "int main(int c, char **) { return catcher(c) + ns::f(c, 'a') + plain(c) + ns::hidden(c); }\n";

static char folder[] = "/tmp/test-object-XXXXXX";

/* A command in the folder. */
static BASE_PRINTF(1, 2) void run(const char *format, ...)
{
	char command[2048];
	int used = snprintf(command, sizeof(command), "cd %s && ", folder);
	va_list ap;

	va_start(ap, format);
	vsnprintf(command + used, sizeof(command) - (size_t)used, format, ap);
	va_end(ap);
	if (system(command) != 0)
		fail_msg("failed: %s", command);
}

static const char *in_folder(const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static void patch_file(const char *name, long offset, const void *bytes, size_t size)
{
	FILE *file = fopen(in_folder(name), "r+b");

	assert_non_null(file);
	assert_int_equal(fseek(file, offset, SEEK_SET), 0);
	assert_int_equal(fwrite(bytes, 1, size, file), size);
	fclose(file);
}

static struct object *open_file(const char *path)
{
	struct utap_error err = { 0 };
	struct object *object = NULL;

	if (object_open(path, &object, &err))
		fail_msg("%s", err.text);
	return object;
}

static struct object *open_built(const char *name)
{
	return open_file(in_folder(name));
}

static const struct object_symbol *all_symbols(struct object *object, size_t *count)
{
	struct utap_error err = { 0 };
	const struct object_symbol *symbols;

	if (object_symbols(object, &symbols, count, &err))
		fail_msg("%s", err.text);
	return symbols;
}

/* The one symbol of that name. */
static const struct object_symbol *symbol_named(struct object *object, const char *name)
{
	const struct object_symbol **found;
	long count = object_find(object, name, false, &found, NULL);

	if (count != 1)
		fail_msg("%s: %s found %ld times", object_path(object), name, count);
	const struct object_symbol *symbol = found[0];

	free(found);
	return symbol;
}

static long count_found(struct object *object, const char *pattern)
{
	const struct object_symbol **found;
	long count = object_find(object, pattern, true, &found, NULL);

	assert_true(count >= 0);
	for (long i = 1; i < count; i++)
		assert_true(found[i - 1]->vaddr < found[i]->vaddr);
	free(found);
	return count;
}

static FILE *ask(const char *command, const char *path)
{
	char line[PATH_MAX + 256];

	snprintf(line, sizeof(line), "LC_ALL=C %s %s 2>/dev/null", command, path);
	FILE *answer = popen(line, "r");

	assert_non_null(answer);
	return answer;
}

static const struct object_symbol *listed(const struct object_symbol *symbols, size_t count, uint64_t vaddr,
					  const char *name)
{
	size_t low = 0;
	size_t high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (symbols[middle].vaddr < vaddr)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < count && symbols[low].vaddr == vaddr; low++)
		if (strcmp(symbols[low].name, name) == 0)
			return &symbols[low];
	return NULL;
}

/*
 * Each defined symbol that readelf prints must be one of ours; returns how many of ours were named (through @seen).
 * Lines: number, value, size, type, binding, visibility, section, name[@version].
 */
static size_t compare_with_readelf(struct object *object, const char *command, bool dynamic, uint8_t *seen)
{
	size_t count;
	const struct object_symbol *symbols = all_symbols(object, &count);
	FILE *answer = ask(command, object_path(object));
	char line[4096];
	size_t named = 0;

	while (fgets(line, sizeof(line), answer)) {
		char size[32], type[32], binding[32], section[32], name[2048];
		unsigned long long value;

		if (sscanf(line, " %*d: %llx %31s %31s %31s %*s %31s %2047s", &value, size, type, binding, section,
			   name) != 6)
			continue;
		if (section[0] < '0' || section[0] > '9' || strcmp(type, "TLS") == 0 || strcmp(type, "SECTION") == 0 ||
		    strcmp(type, "FILE") == 0 || !object_segment_at(object, value))
			continue;
		name[strcspn(name, "@")] = '\0';
		const struct object_symbol *symbol = listed(symbols, count, value, name);

		if (!symbol)
			fail_msg("%s: %s at 0x%llx is missing", object_path(object), name, value);
		assert_int_equal(symbol->ifunc, strcmp(type, "IFUNC") == 0);
		assert_int_equal(symbol->function, symbol->ifunc || strcmp(type, "FUNC") == 0);
		/* Two versions of a table may share its place, with different sizes: the larger one counts. */
		assert_true(symbol->size == strtoull(size, NULL, 0) ||
			    (!symbol->function && symbol->size > strtoull(size, NULL, 0)));
		assert_true(symbol->exported || !dynamic);
		if (!dynamic)
			assert_int_equal(symbol->global, strcmp(binding, "LOCAL") != 0);
		named += !seen[symbol - symbols];
		seen[symbol - symbols] = 1;
	}
	pclose(answer);
	return named;
}

/* In both directions. */
static void check_symbols(struct object *object, bool whole)
{
	size_t count;
	const struct object_symbol *symbols = all_symbols(object, &count);
	_cleanup_free_ uint8_t *seen = calloc(count + 1, 1);
	size_t exported = 0;

	for (size_t i = 0; i < count; i++) {
		exported += symbols[i].exported;
		assert_true(!i || symbols[i - 1].vaddr <= symbols[i].vaddr);
		if (i && symbols[i - 1].vaddr == symbols[i].vaddr)
			assert_true(symbols[i - 1].global || !symbols[i].global);
	}
	assert_int_equal(compare_with_readelf(object, "readelf --dyn-syms -W", true, seen), exported);
	if (whole)
		assert_int_equal(exported + compare_with_readelf(object, "readelf -s -W", false, seen), count);
}

static int by_address(const void *left, const void *right)
{
	const struct object_range *a = left;
	const struct object_range *b = right;

	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	return (a->end > b->end) - (a->end < b->end);
}

/* The FDEs readelf prints as "pc=START..END"; the empty ones do not count. */
static struct object_range *readelf_ranges(const char *path, size_t *count)
{
	FILE *answer = ask("readelf --debug-dump=frames -W", path);
	struct object_range *ranges = NULL;
	size_t used = 0;
	size_t kept = 0;
	size_t cap = 0;
	char line[512];

	while (fgets(line, sizeof(line), answer)) {
		const char *pc = strstr(line, " FDE ") ? strstr(line, "pc=") : NULL;
		unsigned long long start, end;

		if (!pc || sscanf(pc, "pc=%llx..%llx", &start, &end) != 2 || start == end)
			continue;
		assert_int_equal(base_grow(&ranges, &cap, used + 1, sizeof(*ranges)), 0);
		ranges[used++] = (struct object_range) { start, end };
	}
	pclose(answer);
	if (used)
		qsort(ranges, used, sizeof(*ranges), by_address);
	for (size_t i = 0; i < used; i++)
		if (!kept || by_address(&ranges[kept - 1], &ranges[i]) != 0)
			ranges[kept++] = ranges[i];
	*count = kept;
	return ranges;
}

static void check_ranges(struct object *object)
{
	const struct object_range *ranges;
	size_t count;
	size_t expected_count;
	_cleanup_free_ struct object_range *expected = readelf_ranges(object_path(object), &expected_count);

	assert_int_equal(object_ranges(object, &ranges, &count, NULL), 0);
	assert_true(expected_count > 0);
	assert_int_equal(count, expected_count);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(ranges[i].start, expected[i].start);
		assert_int_equal(ranges[i].end, expected[i].end);
		assert_ptr_equal(object_range_at(object, ranges[i].start), &ranges[i]);
		assert_ptr_equal(object_range_at(object, ranges[i].end - 1), &ranges[i]);
	}
	assert_null(object_range_at(object, 0));
}

static void check_slots(struct object *object)
{
	const struct object_slot *slots;
	size_t jump_slots = 0;
	size_t irelatives = 0;
	char line[1024];
	size_t count;

	assert_int_equal(object_slots(object, &slots, &count, NULL), 0);
	FILE *answer = ask("readelf -r -W", object_path(object));

	while (fgets(line, sizeof(line), answer)) {
		unsigned long long place;
		unsigned long long resolver;
		char kind[64], name[512];
		bool found = false;
		int fields = sscanf(line, "%llx %*x %63s %*x %511s", &place, kind, name);

		if (fields == 3 && strncmp(kind, "R_X86_64_JUMP_SLO", 17) == 0) {
			name[strcspn(name, "@")] = '\0';
			for (size_t i = 0; i < count; i++)
				found |=
				    slots[i].vaddr == place && strcmp(slots[i].name, name) == 0 && !slots[i].resolver;
			assert_true(found);
			jump_slots++;
		} else if (sscanf(line, "%llx %*x R_X86_64_IRELATIV%*s %llx", &place, &resolver) == 2) {
			for (size_t i = 0; i < count; i++)
				found |= slots[i].vaddr == place && !slots[i].name[0] && slots[i].resolver == resolver;
			assert_true(found);
			irelatives++;
		}
	}
	pclose(answer);
	assert_true(jump_slots + irelatives > 0 && jump_slots + irelatives <= count);
}

static bool is_pointer(struct object *object, uint64_t vaddr)
{
	const uint64_t *pointers;
	size_t count;
	bool found = false;

	assert_int_equal(object_pointers(object, &pointers, &count, NULL), 0);
	for (size_t i = 0; i < count; i++) {
		found |= pointers[i] == vaddr;
		assert_true(!i || pointers[i - 1] < pointers[i]);
	}
	return found;
}

static void check_offsets(struct object *object)
{
	const struct object_segment *segments;
	size_t count = object_segments(object, &segments);
	uint64_t vaddr, offset;
	size_t available;

	for (size_t i = 0; i < count; i++) {
		uint64_t end = segments[i].vaddr + segments[i].file_size;

		if (!segments[i].file_size)
			continue;
		assert_int_equal(object_vaddr_to_offset(object, end - 1, &offset), 0);
		assert_int_equal(offset, segments[i].offset + segments[i].file_size - 1);
		assert_non_null(object_data(object, end - 1, &available));
		assert_int_equal(available, 1);
		assert_int_equal(object_code(object, end - 1, &available) != NULL, segments[i].execute);
		if (!segments[i].execute)
			continue;
		assert_int_equal(object_offset_to_vaddr(object, segments[i].offset, &vaddr), 0);
		assert_int_equal(vaddr, segments[i].vaddr);
		assert_int_equal(object_vaddr_to_offset(object, end, &offset), -ENOENT);
	}
	assert_int_equal(object_offset_to_vaddr(object, UINT64_MAX, &vaddr), -ENOENT);
	assert_int_equal(object_vaddr_to_offset(object, UINT64_MAX, &offset), -ENOENT);
	assert_null(object_data(object, UINT64_MAX, &available));
}

static void check_cover(struct object *object)
{
	uint64_t outer = symbol_named(object, "outer")->vaddr;
	static const char *const expected[] = { "outer", "outer", "inner",    "inner",
						"outer", "outer", "sizeless", "sizeless" };

	for (size_t i = 0; i < 8; i++)
		assert_string_equal(object_symbol_at(object, outer + i)->name, expected[i]);
	assert_string_equal(object_symbol_at(object, symbol_named(object, "loud")->vaddr + 1)->name, "loud");
	assert_null(object_symbol_at(object, 0));
	assert_null(object_symbol_at(object, UINT64_MAX));
}

static void check_rseq(struct object *object)
{
	uint64_t start = symbol_named(object, "start_ip")->vaddr;
	const struct object_range *ranges;
	size_t count;

	assert_int_equal(object_rseq_ranges(object, &ranges, &count, NULL), 0);
	assert_int_equal(count, 2);
	assert_int_equal(ranges[0].start, start);
	assert_int_equal(ranges[0].end, start + 3);
	assert_int_equal(ranges[1].start, start + 4);
	assert_int_equal(ranges[1].end, symbol_named(object, "abort_ip")->vaddr);
}

static void check_c_program(const char *name)
{
	struct object *object = open_built(name);

	check_symbols(object, true);
	check_ranges(object);
	check_slots(object);
	check_offsets(object);
	check_cover(object);
	check_rseq(object);
	assert_true(is_pointer(object, symbol_named(object, "quiet")->vaddr));
	assert_false(is_pointer(object, symbol_named(object, "quiet")->vaddr + 1));
	assert_true(symbol_named(object, "picked")->ifunc);
	assert_string_equal(symbol_named(object, "also_loud")->name, "also_loud");
	assert_int_equal(count_found(object, "*loud"), 1);
	assert_string_equal(symbol_named(object, "shop::stock::move")->name, "_ZN4shop5stock4move17h0123456789abcdefE");
	assert_string_equal(symbol_named(object, "shop::stock::sell")->name, "_RNvNtCs1234_4shop5stock4sell");
	assert_int_equal(count_found(object, "shop::*"), 2);
	object_close(object);
}

static void write_text(const char *name, const char *text)
{
	FILE *file = fopen(in_folder(name), "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	fclose(file);
}

static int set_up(void **state)
{
	if (!mkdtemp(folder))
		return -1;
	write_text("a.c", c_program);
	write_text("b.cc", cc_program);
	return 0;
}

static int tear_down(void **state)
{
	char command[PATH_MAX];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

#endif
