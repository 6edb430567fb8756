/* SPDX-License-Identifier: MIT */
/*
 * Go programs, which have no frame entries: their functions come from the runtime's own table. Oracles: the symbols
 * that the same program has when it is not stripped, gdb for the layout of the runtime's structures, tables of older
 * versions written here by hand.
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

#include "object/internal.h"

#define SEED 20091110U

static char folder[] = "/tmp/test-object-go-XXXXXX";
static bool has_go;

static const char go_program[] = "package main\n"
				 "import (\"fmt\"; \"os\")\n"
				 "//go:noinline\n"
				 "func choose(n int) string { switch n { case 0: return \"a\"; case 1: return "
				 "fmt.Sprint(n); case 2: return \"c\"; case 3: return os.Args[0]\n"
				 "case 4: return \"e\"; case 5: return \"f\"; case 6: return fmt.Sprint(n, n); case 7: "
				 "return \"h\"; case 8: return \"i\" }; return \"many\" }\n"
				 "//go:noinline\n"
				 "func careful(n int) (r int) { defer func() { if recover() != nil { r = 7 } }(); for "
				 "i := 0; i < n; i++ { defer fmt.Print() }\n"
				 "  return 10 / (n - 1) }\n"
				 "func main() { fmt.Println(choose(len(os.Args)), careful(len(os.Args))) }\n";

static const char cgo_program[] = "package main\n"
				  "// __attribute__((noinline)) int twice(int a) { return 2 * a; }\n"
				  "import \"C\"\n"
				  "import \"fmt\"\n"
				  "//go:noinline\n"
				  "func choose(n int) int { return int(C.twice(C.int(n))) }\n"
				  "func main() { fmt.Println(choose(4)) }\n";

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

static void write_file(const char *name, const void *bytes, size_t size)
{
	char path[256];
	FILE *to;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	to = fopen(path, "w");
	assert_non_null(to);
	assert_int_equal(fwrite(bytes, 1, size, to), size);
	assert_int_equal(fclose(to), 0);
}

static struct object *open_built(const char *name)
{
	struct utap_error err = { 0 };
	struct object *object;
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (object_open(path, &object, &err))
		fail_msg("%s", err.text);
	return object;
}

static const struct object_symbol *named(struct object *object, const char *name)
{
	const struct object_symbol **found;
	const struct object_symbol *symbol;

	if (object_find(object, name, true, &found, NULL) != 1)
		fail_msg("%s: not one %s", object_path(object), name);
	symbol = found[0];
	free(found);
	return symbol;
}

static bool begins_range(struct object *object, uint64_t vaddr)
{
	const struct object_range *range = object_range_at(object, vaddr);

	return range && range->start == vaddr;
}

/* Go's symbols have the table's names, and ".abi0" or ".abiinternal" behind them where that is not the usual one. */
static bool same_name(const char *in_table, const char *symbol)
{
	size_t length = strlen(in_table);

	return !strncmp(in_table, symbol, length) && (!symbol[length] || !strncmp(symbol + length, ".abi", 4));
}

static bool has_name(const struct object_symbol *symbols, size_t count, const struct object_go_function *function)
{
	for (size_t i = 0; i < count; i++)
		if (symbols[i].vaddr == function->start && same_name(function->name, symbols[i].name))
			return true;
	return false;
}

/* Where a function goes on after a panic it calls runtime.deferreturn (call rel32). */
static void check_landing(struct object *object, uint64_t landing)
{
	size_t available;
	const uint8_t *code = object_code(object, landing, &available);
	int32_t distance;

	assert_true(code && available >= 5 && code[0] == 0xe8);
	memcpy(&distance, code + 1, sizeof(distance));
	assert_int_equal(landing + 5 + (uint64_t)(int64_t)distance, named(object, "runtime.deferreturn")->vaddr);
}

/* What the table says is what the symbols say, one for one. */
static void check_against_symbols(const char *name, size_t careful)
{
	struct object *object = open_built(name);
	const struct object_symbol *symbols;
	struct object_go_table table;
	struct object_go_function function;
	size_t count, checked = 0, landings = 0;

	assert_true(object_is_go(object));
	assert_true(object_go_table(object, &table));
	assert_true(table.count > 500);
	assert_int_equal(object_symbols(object, &symbols, &count, NULL), 0);
	for (size_t i = 0; i < table.count; i++) {
		assert_true(object_go_function(object, &table, i, &function));
		assert_non_null(function.name);
		assert_true(begins_range(object, function.start));
		if (function.landing) {
			check_landing(object, function.landing);
			landings += !strcmp(function.name, "main.careful");
		}
		/* Marks of the linker begin nothing that has a symbol of its own. */
		if (!strncmp(function.name, "go.", 3) || !strncmp(function.name, "type..", 6) ||
		    !strncmp(function.name, "type:", 5) || strchr(function.name, '['))
			continue;
		if (!has_name(symbols, count, &function))
			fail_msg("%s: no symbol for %s", name, function.name);
		checked++;
	}
	assert_true(checked * 10 > table.count * 9);
	assert_int_equal(landings, careful);
	object_close(object);
}

/* A stripped program names the same functions, at the same bytes. */
static void check_stripped(const char *name, const char *stripped)
{
	struct object *whole = open_built(name);
	struct object *object = open_built(stripped);
	const struct object_symbol *a = named(whole, "main.choose");
	const struct object_symbol *b = named(object, "main.choose");
	size_t available;

	assert_null(object_image_section(&object->image, ".symtab"));
	assert_true(b->size >= a->size && b->function);
	assert_true(begins_range(object, b->vaddr));
	assert_ptr_equal(object_symbol_at(object, b->vaddr + 3), b);
	assert_non_null(object_code(object, b->vaddr, &available));
	/* The first instructions have no addresses that differ. */
	assert_memory_equal(object_code(whole, a->vaddr, &available), object_code(object, b->vaddr, &available), 4);
	object_close(whole);
	object_close(object);
}

static void build(const char *name, const char *environment, const char *flags, const char *source)
{
	if (run("%s go build %s -o %s %s 2>go.log", environment, flags, name, source)) {
		run("cat go.log");
		fail_msg("go build %s failed", flags);
	}
}

static void test_programs(void **state)
{
	if (!has_go)
		skip();
	build("plain", "CGO_ENABLED=0", "", "main.go");
	build("stripped", "CGO_ENABLED=0", "-ldflags='-s -w'", "main.go");
	build("pie", "CGO_ENABLED=0", "-buildmode=pie", "main.go");
	build("pie-stripped", "CGO_ENABLED=0", "-buildmode=pie -ldflags='-s -w'", "main.go");
	check_against_symbols("plain", 1);
	check_against_symbols("pie", 1);
	check_stripped("plain", "stripped");
	check_stripped("pie", "pie-stripped");
}

/* The system's linker puts the table into another section, and frame entries of the C part beside it. */
static void test_cgo(void **state)
{
	if (!has_go || run("command -v gcc >/dev/null")) {
		print_message("skipped: no go or no gcc\n");
		skip();
	}
	build("cgo", "CGO_ENABLED=1", "", "cgo.go");
	build("cgo-pie", "CGO_ENABLED=1", "-buildmode=pie -ldflags=-linkmode=external", "cgo.go");
	run("strip -o cgo-pie-stripped cgo-pie");
	check_against_symbols("cgo", 0);
	check_against_symbols("cgo-pie", 0);
	check_stripped("cgo-pie", "cgo-pie-stripped");
	struct object *object = open_built("cgo");

	assert_true(begins_range(object, named(object, "twice")->vaddr));
	object_close(object);
}

static void test_goid(void **state)
{
	struct object *object;
	uint64_t offset = 1;
	long wanted = 0;
	FILE *from;
	char command[512];

	if (!has_go || run("command -v gdb >/dev/null")) {
		print_message("skipped: no go or no gdb\n");
		skip();
	}
	snprintf(command, sizeof(command),
		 "gdb -nx -batch -ex 'set language c' -ex \"print/d &(('runtime.g' *)0)->goid\" %s/plain 2>/dev/null | "
		 "tail -1",
		 folder);
	from = popen(command, "r");
	assert_non_null(from);
	assert_int_equal(fscanf(from, "$1 = %ld", &wanted), 1);
	pclose(from);
	for (int i = 0; i < 2; i++) {
		object = open_built(i ? "pie-stripped" : "plain");
		assert_int_equal(object_go_goid_offset(object, &offset), 0);
		assert_int_equal(offset, wanted);
		object_close(object);
	}
	run("objcopy --remove-section .go.buildinfo plain unknown");
	object = open_built("unknown");
	assert_int_equal(object_go_goid_offset(object, &offset), -ENOENT);
	object_close(object);
	assert_int_equal(object_open("/proc/self/exe", &object, NULL), 0);
	assert_int_equal(object_go_goid_offset(object, &offset), -ENOENT);
	object_close(object);
}

/* ---- tables of other versions, written here ---- */

struct writer {
	uint8_t bytes[1024];
	size_t size;
};

static void put(struct writer *writer, uint64_t value, size_t size)
{
	assert_true(writer->size + size <= sizeof(writer->bytes));
	memcpy(writer->bytes + writer->size, &value, size);
	writer->size += size;
}

static void put_text(struct writer *writer, const char *text)
{
	while (*text)
		put(writer, (uint8_t)*text++, 1);
	put(writer, 0, 1);
}

static void put_magic(struct writer *writer, uint32_t magic, uint64_t count)
{
	put(writer, magic, 4);
	put(writer, 0, 2);
	put(writer, 1, 1);
	put(writer, 8, 1);
	put(writer, count, 8);
}

/* Places at 16; records behind them; names counted from the header. */
static void write_2(struct writer *writer, const uint64_t at[3])
{
	size_t records = 16 + 5 * 8 + 8;

	put_magic(writer, 0xfffffffb, 2);
	for (size_t i = 0; i < 2; i++) {
		put(writer, at[i], 8);
		put(writer, records + 24 * i, 8);
	}
	put(writer, at[2], 8);
	put(writer, 0, 8);
	for (size_t i = 0; i < 2; i++) {
		put(writer, at[i], 8);
		put(writer, records + 48 + 6 * i, 4);
		put(writer, 0, 4);
		put(writer, i, 4); /* frame size, then: no landing */
		put(writer, 0, 4);
	}
	put_text(writer, "go.aa");
	put_text(writer, "go.bb");
}

/* Offsets in the header; records counted from the array. */
static void write_16(struct writer *writer, const uint64_t at[3])
{
	size_t names = 64, places = 80;

	put_magic(writer, 0xfffffffa, 2);
	put(writer, 1, 8);
	put(writer, names, 8);
	for (int i = 0; i < 3; i++)
		put(writer, 0, 8);
	put(writer, places, 8);
	put_text(writer, "go.aa");
	put_text(writer, "go.bb");
	put(writer, 0, places - writer->size > 8 ? 8 : places - writer->size);
	while (writer->size < places)
		put(writer, 0, 1);
	for (size_t i = 0; i < 2; i++) {
		put(writer, at[i], 8);
		put(writer, 40 + 20 * i, 8);
	}
	put(writer, at[2], 8);
	for (size_t i = 0; i < 2; i++) {
		put(writer, at[i], 8);
		put(writer, 6 * i, 4);
		put(writer, 0, 4);
		put(writer, i, 4); /* the second goes on at its second byte */
	}
}

/* Places and offsets of 4 bytes, counted from the start of the text. */
static void write_18(struct writer *writer, const uint64_t at[3])
{
	size_t names = 72, places = 88;

	put_magic(writer, 0xfffffff0, 2);
	put(writer, 1, 8);
	put(writer, at[0] - 16, 8);
	put(writer, names, 8);
	for (int i = 0; i < 3; i++)
		put(writer, 0, 8);
	put(writer, places, 8);
	put_text(writer, "go.aa");
	put_text(writer, "go.bb");
	while (writer->size < places)
		put(writer, 0, 1);
	for (size_t i = 0; i < 2; i++) {
		put(writer, at[i] - at[0] + 16, 4);
		put(writer, 20 + 16 * i, 4);
	}
	put(writer, at[2] - at[0] + 16, 4);
	for (size_t i = 0; i < 2; i++) {
		put(writer, at[i] - at[0] + 16, 4);
		put(writer, 6 * i, 4);
		put(writer, 0, 4);
		put(writer, i, 4);
	}
}

static void check_written(void (*write_table)(struct writer *, const uint64_t *), bool has_landing)
{
	struct writer writer = { .size = 0 };
	struct object *object;
	struct object_go_table table;
	struct object_go_function function;
	uint64_t at[3];

	object = open_built("host");
	at[0] = named(object, "first")->vaddr;
	at[1] = named(object, "second")->vaddr;
	at[2] = at[1] + named(object, "second")->size;
	object_close(object);
	assert_true(at[0] < at[1]);
	write_table(&writer, at);
	write_file("table", writer.bytes, writer.size);
	assert_int_equal(run("objcopy --add-section .gopclntab=table --strip-all host written"), 0);
	object = open_built("written");
	assert_true(object_go_table(object, &table));
	assert_int_equal(table.count, 2);
	for (size_t i = 0; i < 2; i++) {
		assert_true(object_go_function(object, &table, i, &function));
		assert_int_equal(function.start, at[i]);
		assert_int_equal(function.end, at[i + 1]);
		assert_string_equal(function.name, i ? "go.bb" : "go.aa");
		assert_int_equal(function.landing, has_landing && i ? at[1] + 1 : 0);
		assert_true(begins_range(object, at[i]));
		assert_int_equal(named(object, function.name)->vaddr, at[i]);
	}
	object_close(object);
	/* Cut off anywhere, nothing outside is read, and what is told is still true. */
	for (size_t size = 0; size < writer.size; size += 3) {
		write_file("table", writer.bytes, size);
		if (!size || run("objcopy --add-section .gopclntab=table --strip-all host written"))
			continue;
		object = open_built("written");
		if (object_go_table(object, &table) && object_go_function(object, &table, 1, &function))
			assert_int_equal(function.start, at[1]);
		object_close(object);
	}
}

static void test_written_tables(void **state)
{
	if (run("command -v gcc objcopy >/dev/null")) {
		print_message("skipped: no gcc\n");
		skip();
	}
	assert_int_equal(run("printf 'int first(int a) { return a * 3; } int second(int a) { return a * 5 + 1; } int "
			     "main(void) { return 0; }' "
			     ">host.c && gcc -O1 -fno-toplevel-reorder -no-pie -o host host.c"),
			 0);
	check_written(write_2, true);
	check_written(write_16, true);
	check_written(write_18, true);
}

static void use(struct object *object)
{
	const struct object_range *ranges;
	const struct object_symbol *symbols;
	const uint64_t *pointers;
	size_t count, available;
	uint64_t offset;

	if (!object_ranges(object, &ranges, &count, NULL))
		for (size_t i = 0; i < count; i++)
			assert_true(ranges[i].end > ranges[i].start &&
				    object_code(object, ranges[i].start, &available) &&
				    available >= ranges[i].end - ranges[i].start);
	if (!object_symbols(object, &symbols, &count, NULL))
		for (size_t i = 0; i < count; i++)
			assert_true(strlen(symbols[i].name) > 0);
	if (!object_pointers(object, &pointers, &count, NULL))
		for (size_t i = 0; i < count; i++)
			assert_non_null(object_code(object, pointers[i], &available));
	assert_true(object_go_goid_offset(object, &offset) <= 0);
}

static void test_damaged(void **state)
{
	char path[256];
	char *bytes;
	size_t size;

	if (!has_go)
		skip();
	snprintf(path, sizeof(path), "%s/stripped", folder);
	assert_int_equal(base_file_read(path, &bytes, &size), 0);
	struct object *object = open_built("stripped");
	size_t at = object_image_section(&object->image, ".gopclntab")->sh_offset;

	object_close(object);
	srandom(SEED);
	for (int i = 0; i < 60; i++) {
		_cleanup_free_ char *copy = malloc(size);

		assert_non_null(copy);
		memcpy(copy, bytes, size);
		for (int j = 0; j < 1 + i % 4; j++)
			copy[at + 8 + (size_t)random() % (i & 1 ? 64 : 0x40000)] = (char)random();
		write_file("damaged", copy, size);
		object = open_built("damaged");
		use(object);
		object_close(object);
	}
	free(bytes);
}

static int setup(void **state)
{
	if (!mkdtemp(folder))
		return -1;
	has_go = run("command -v go >/dev/null") == 0;
	if (!has_go)
		print_message("skipped: go is not installed\n");
	write_file("main.go", go_program, strlen(go_program));
	write_file("cgo.go", cgo_program, strlen(cgo_program));
	return 0;
}

static int teardown(void **state)
{
	return run("rm -rf %s", folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_programs),       cmocka_unit_test(test_cgo),     cmocka_unit_test(test_goid),
		cmocka_unit_test(test_written_tables), cmocka_unit_test(test_damaged),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
