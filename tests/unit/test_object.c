/* SPDX-License-Identifier: MIT */
/*
 * The object room. What binutils say about files of this machine and about programs compiled here must be what we say;
 * damaged files must be refused or read, never followed. Nothing here runs a target: gcc and binutils are the oracles.
 */
#include "object_oracle.h"

#include "object/cursor.h"

static void test_system_files(void **state)
{
	static const char *const files[] = { LIBC, "/bin/ls", "/usr/bin/python3", "/usr/bin/gdb" };

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		if (access(files[i], R_OK)) {
			print_message("skipped: %s is not installed\n", files[i]);
			continue;
		}
		struct object *object = open_file(files[i]);

		check_symbols(object, false);
		check_ranges(object);
		check_slots(object);
		if (object_interpreter(object) && strcmp(files[i], LIBC) != 0)
			assert_string_equal(object_interpreter(object), "/lib64/ld-linux-x86-64.so.2");
		assert_true(is_pointer(object, object_entry(object)));
		assert_false(object_is_go(object));
		object_close(object);
	}
}

static void test_libc_names(void **state)
{
	struct object *object = open_file(LIBC);
	const struct object_symbol *symbol = symbol_named(object, "malloc");
	const struct object_symbol **found;
	const char *suggested[3];

	assert_string_equal(symbol->name, "malloc");
	assert_true(symbol->exported && symbol->global && symbol->function && symbol->size > 0);
	assert_ptr_equal(symbol_named(object, "malloc@GLIBC_2.2.5"), symbol);
	assert_ptr_equal(symbol_named(object, "malloc@@GLIBC_2.2.5"), symbol);
	assert_int_equal(symbol_named(object, "__libc_malloc")->vaddr, symbol->vaddr);
	assert_string_equal(symbol_named(object, "__libc_malloc")->name, "__libc_malloc");
	assert_ptr_equal(object_symbol_at(object, symbol->vaddr + symbol->size - 1), symbol);
	assert_true(symbol_named(object, "strlen")->ifunc);
	long count = object_find(object, "*alloc", true, &found, NULL);
	bool has_malloc = false;

	for (long i = 0; i < count; i++) {
		assert_true(strlen(found[i]->name) >= 5 && found[i]->function);
		assert_string_equal(found[i]->name + strlen(found[i]->name) - 5, "alloc");
		has_malloc |= found[i] == symbol;
	}
	assert_true(count >= 3 && has_malloc);
	free(found);
	assert_int_equal(count_found(object, "no_such_function"), 0);
	assert_int_equal(count_found(object, "environ"), 0);
	assert_int_equal(symbol_named(object, "environ")->function, false);
	assert_int_equal(object_suggest(object, "mallco", suggested, 3), 3);
	assert_string_equal(suggested[0], "malloc");
	assert_int_equal(object_suggest(object, "qqqqqqqqqqqqqqq", suggested, 3), 0);
	assert_int_equal(object_suggest(object, "malloc", suggested, 0), 0);
	object_close(object);
}

static void test_c_programs(void **state)
{
	static const char *const variants[][2] = {
		{ "pie", "" },
		{ "nopie", "-no-pie -fno-pie" },
		{ "static", "-static" },
		{ "staticpie", "-static-pie" },
		{ "relr", "-Wl,-z,pack-relative-relocs" },
		{ "old", "-no-pie -fno-pie -Wl,-z,noseparate-code -Wl,--hash-style=sysv" },
		{ "exports", "-rdynamic -Wl,-z,now -fno-plt" },
		{ "shared", "-shared -fPIC -Wl,-Bsymbolic" },
	};

	for (size_t i = 0; i < sizeof(variants) / sizeof(variants[0]); i++) {
		run("gcc -O1 %s -Wl,--build-id -o %s a.c", variants[i][1], variants[i][0]);
		check_c_program(variants[i][0]);
	}
	struct object *fixed = open_built("nopie");
	struct object *moving = open_built("pie");

	assert_false(object_is_pie(fixed));
	assert_true(object_is_pie(moving));
	object_close(fixed);
	object_close(moving);
}

/* One name, two versions, two functions: .symtab calls them versioned@V1 and versioned@@V2. */
static void test_versions(void **state)
{
	run("printf '%%s' '__asm__(\".symver first,versioned@V1\\n.symver second,versioned@@V2\"); int first(void) "
	    "{ return 1; } int second(void) { return 2; }' > v.c && "
	    "printf 'V1 { global: versioned; local: *; }; V2 { global: versioned; } V1;' > v.map && "
	    "gcc -shared -fPIC -o versions.so v.c -Wl,--version-script=v.map");
	struct object *object = open_built("versions.so");

	assert_int_equal(count_found(object, "versioned"), 2);
	assert_int_equal(count_found(object, "versioned@V1"), 2);
	assert_int_equal(count_found(object, "version*"), 2);
	size_t count;
	const struct object_symbol *symbols = all_symbols(object, &count);

	for (size_t i = 0; i < count; i++)
		assert_true(!strchr(symbols[i].name, '@') &&
			    (strcmp(symbols[i].name, "versioned") != 0 || symbols[i].exported));
	object_close(object);
}

static int place_note(void *arg, uint64_t vaddr)
{
	uint64_t **next = arg;

	*(*next)++ = vaddr;
	return 0;
}

static void test_relr_words(void **state)
{
	/* A place, the 1st and 63rd word after it, the 2nd word after those, another place. */
	const uint64_t words[] = { 0x1000, 1 | 1ULL << 1 | 1ULL << 63, 1 | 1ULL << 2, 0x9000 };
	const struct object_dynamic dynamic = { .relr = (const uint8_t *)words, .relr_count = 4 };
	const uint64_t expected[] = { 0x1000, 0x1008, 0x1000 + 63 * 8, 0x1000 + 65 * 8, 0x9000 };
	uint64_t places[8] = { 0 };
	uint64_t *next = places;

	assert_int_equal(object_dynamic_relr(&dynamic, place_note, &next), 0);
	assert_int_equal(next - places, 5);
	assert_memory_equal(places, expected, sizeof(expected));
}

/* Linkers may leave the words that relocations will fill empty. */
static void test_rseq_relocated(void **state)
{
	static const uint8_t zeros[8];

	run("cp pie unfilled");
	struct object *object = open_built("unfilled");
	const Elf64_Shdr *section = object_image_section(&object->image, "__rseq_cs");

	assert_non_null(section);
	patch_file("unfilled", (long)section->sh_offset + 8, zeros, 8);
	patch_file("unfilled", (long)section->sh_offset + 24, zeros, 8);
	object_close(object);
	object = open_built("unfilled");
	check_rseq(object);
	object_close(object);
}

/* Without symbols only relocations and data lead to static functions: those of each kind of file must be read. */
static void test_pointers_of_stripped(void **state)
{
	static const char *const files[] = { "pie", "nopie", "relr", "staticpie" };

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		struct object *whole = open_built(files[i]);
		uint64_t quiet = symbol_named(whole, "quiet")->vaddr;
		uint64_t inner = symbol_named(whole, "inner")->vaddr;

		object_close(whole);
		run("strip -o stripped %s", files[i]);
		struct object *object = open_built("stripped");

		assert_int_equal(count_found(object, "quiet"), 0);
		assert_true(is_pointer(object, quiet));
		assert_false(is_pointer(object, inner));
		object_close(object);
	}
	FILE *answer = ask("readelf -S -W", in_folder("relr"));
	char line[512];
	bool relr = false;

	while (fgets(line, sizeof(line), answer))
		relr |= strstr(line, ".relr.dyn") != NULL;
	pclose(answer);
	if (!relr)
		print_message("skipped: this linker makes no RELR\n");
}

/* As sstrip leaves them: no section headers. */
static void test_without_sections(void **state)
{
	static const char *const files[] = { "pie", "exports", "old", "shared" };
	static const uint8_t zeros[8];

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		run("cp %s headless", files[i]);
		patch_file("headless", offsetof(Elf64_Ehdr, e_shoff), zeros, 8);
		patch_file("headless", offsetof(Elf64_Ehdr, e_shnum), zeros, 4);
		struct object *whole = open_built(files[i]);
		struct object *object = open_built("headless");
		const struct object_range *ranges, *expected;
		const struct object_slot *slots;
		size_t count, expected_count, exported = 0;
		const struct object_symbol *symbols = all_symbols(whole, &count);

		for (size_t k = 0; k < count; k++)
			exported += symbols[k].exported;
		all_symbols(object, &count);
		assert_int_equal(count, exported);
		assert_int_equal(object_ranges(whole, &expected, &expected_count, NULL), 0);
		assert_int_equal(object_ranges(object, &ranges, &count, NULL), 0);
		assert_int_equal(count, expected_count);
		assert_memory_equal(ranges, expected, count * sizeof(*ranges));
		assert_int_equal(object_slots(whole, &slots, &expected_count, NULL), 0);
		assert_int_equal(object_slots(object, &slots, &count, NULL), 0);
		assert_int_equal(count, expected_count);
		assert_true(is_pointer(object, symbol_named(whole, "quiet")->vaddr));
		object_close(whole);
		object_close(object);
	}
}

/* Does the image's full symbol table have the static function? */
static bool has_quiet(struct object_image *image)
{
	const Elf64_Shdr *section = object_image_section_by_type(image, SHT_SYMTAB);
	struct object_symbol_table table;
	bool found = false;

	assert_non_null(section);
	assert_int_equal(object_image_symbols(image, section, &table), 0);
	for (size_t i = 0; i < table.count; i++) {
		Elf64_Sym symbol = object_table_symbol(&table, i);
		const char *name = object_strings_at(&table.strings, symbol.st_name);

		found |= name && strcmp(name, "quiet") == 0;
	}
	return found;
}

static void test_debug_by_build_id(void **state)
{
	struct object_image image;
	char hex[65] = "";
	char root[64];
	const uint8_t *id;

	run("strip -o stripped pie");
	struct object *object = open_built("stripped");
	size_t size = object_build_id(object, &id);

	assert_int_equal(size, 20);
	for (size_t i = 0; i < size; i++)
		snprintf(hex + 2 * i, 3, "%02x", id[i]);
	FILE *answer = ask("readelf -n", in_folder("pie"));
	char line[512];
	bool same = false;

	while (fgets(line, sizeof(line), answer))
		same |= strstr(line, "Build ID: ") && strstr(line, hex);
	pclose(answer);
	assert_true(same);

	snprintf(root, sizeof(root), "%s/root", folder);
	assert_int_equal(object_debugfile_open(object, root, &image), -ENOENT);
	run("mkdir -p root/.build-id/%.2s && objcopy --only-keep-debug pie root/.build-id/%.2s/%s.debug", hex, hex,
	    hex + 2);
	assert_int_equal(object_debugfile_open(object, root, &image), 0);
	assert_true(has_quiet(&image));
	object_image_close(&image);
	run("objcopy --only-keep-debug nopie root/.build-id/%.2s/%s.debug", hex, hex + 2);
	assert_int_equal(object_debugfile_open(object, root, &image), -ENOENT);
	object_close(object);
}

static void test_debug_by_link(void **state)
{
	static const char *const places[] = { ".", ".debug" };

	run("gcc -O1 -g -Wl,--build-id=none -o anonymous a.c && objcopy --only-keep-debug anonymous anonymous.dbg && "
	    "strip -o linked anonymous && objcopy --add-gnu-debuglink=anonymous.dbg linked && mkdir -p .debug");
	for (size_t i = 0; i < 2; i++) {
		run("cp anonymous.dbg %s/kept.dbg; mv anonymous.dbg %s/x.dbg; mv %s/x.dbg %s/anonymous.dbg", places[i],
		    places[i], places[i], places[i]);
		struct object *whole = open_built("anonymous");
		struct object *object = open_built("linked");

		assert_int_equal(symbol_named(object, "quiet")->vaddr, symbol_named(whole, "quiet")->vaddr);
		assert_int_equal(symbol_named(object, "quiet")->size, symbol_named(whole, "quiet")->size);
		object_close(whole);
		object_close(object);
		run("mv %s/kept.dbg anonymous.dbg; rm %s/anonymous.dbg 2>/dev/null; cp .debug/kept.dbg anonymous.dbg "
		    "2>/dev/null; true",
		    places[i], i ? places[i] : ".debug");
	}
	/* One byte off: the checksum no longer fits. */
	run("rm -rf .debug && printf X >> anonymous.dbg");
	struct object *object = open_built("linked");

	assert_int_equal(count_found(object, "quiet"), 0);
	object_close(object);
}

static void test_debugdata(void **state)
{
	run("cp pie full && objcopy -S --keep-symbol=quiet full names && strip --strip-debug -o names pie && xz -k -f "
	    "names && "
	    "strip -o mini pie && objcopy --add-section .gnu_debugdata=names.xz mini");
	struct object *whole = open_built("pie");
	struct object *object = open_built("mini");

	assert_int_equal(symbol_named(object, "quiet")->vaddr, symbol_named(whole, "quiet")->vaddr);
	object_close(object);
	object_close(whole);
	/* Cut off: the symbols are gone, the file is still good. */
	run("head -c 300 names.xz > cut.xz && strip -o mini pie && objcopy --add-section .gnu_debugdata=cut.xz mini");
	object = open_built("mini");
	assert_int_equal(count_found(object, "quiet"), 0);
	assert_int_equal(count_found(object, "_init*"), 0);
	object_close(object);
}

static void test_cxx_names(void **state)
{
	static const struct {
		const char *pattern;
		long count;
		const char *first; /* or NULL: any */
	} cases[] = {
		{ "ns::f", 2, NULL },
		{ "ns::f(int)", 1, "_ZN2ns1fEi" },
		{ "ns::f(int, char)", 1, "_ZN2ns1fEic" },
		{ "ns::f(int,char)", 1, "_ZN2ns1fEic" },
		{ "ns::f(long)", 0, NULL },
		{ "_ZN2ns1fEi", 1, "_ZN2ns1fEi" },
		{ "plain", 1, "_Z5plaini" },
		{ "plain(int)", 1, "_Z5plaini" },
		{ "plai", 0, NULL },
		{ "ns::twice", 1, "_ZN2ns5twiceIiEET_S1_" },
		{ "ns::twice<int>", 1, "_ZN2ns5twiceIiEET_S1_" },
		{ "ns::twice<int>(int)", 1, "_ZN2ns5twiceIiEET_S1_" },
		{ "ns::twice<char>", 0, NULL },
		{ "ns::box::width", 1, "_ZNK2ns3box5widthEv" },
		{ "ns::box::width()", 1, "_ZNK2ns3box5widthEv" },
		{ "ns::box::width() const", 1, "_ZNK2ns3box5widthEv" },
		{ "ns::box::operator*", 1, "_ZNK2ns3boxmlEi" },
		{ "ns::box::~box", 1, NULL },
		{ "ns::box::text", 1, NULL },
		{ "ns::(anonymous namespace)::hidden", 1, "_ZN2ns12_GLOBAL__N_16hiddenEj" },
		{ "ns::(anonymous namespace)::hidden(unsigned int)", 1, "_ZN2ns12_GLOBAL__N_16hiddenEj" },
		{ "ns::box::[wt]*", 2, NULL },
		{ "*::box::wid*", 1, NULL },
		{ "ns::?(int*", 2, NULL },
		{ "ns::*", 8, NULL },
	};

	run("g++ -O1 -fcf-protection=full -o cxx b.cc");
	struct object *object = open_built("cxx");

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct object_symbol **found;
		long count = object_find(object, cases[i].pattern, true, &found, NULL);

		if (count != cases[i].count)
			fail_msg("%s: found %ld, not %ld", cases[i].pattern, count, cases[i].count);
		if (cases[i].first)
			assert_string_equal(found[0]->name, cases[i].first);
		free(found);
	}
	const char *suggested[2];

	assert_true(object_suggest(object, "ns::box::widht", suggested, 2) >= 1);
	assert_string_equal(suggested[0], "ns::box::width");
	object_close(object);
}

/* With -fcf-protection each landing pad starts with endbr64: what we take for one must, and there must be some. */
static void test_landing_pads(void **state)
{
	static const uint8_t endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa };
	struct object *object = open_built("cxx");
	const struct object_symbol *catcher = symbol_named(object, "catcher");
	const uint64_t *pointers;
	size_t available;
	size_t count;
	size_t pads = 0;

	assert_int_equal(object_pointers(object, &pointers, &count, NULL), 0);
	for (size_t i = 0; i < count; i++) {
		if (pointers[i] <= catcher->vaddr || pointers[i] >= catcher->vaddr + catcher->size)
			continue;
		const uint8_t *code = object_code(object, pointers[i], &available);

		assert_true(code && available >= 4);
		assert_memory_equal(code, endbr64, 4);
		pads++;
	}
	assert_true(pads >= 1);
	object_close(object);
}

static void test_demangle(void **state)
{
	static const char *const cases[][2] = {
		{ "_ZN2ns1fEi", "ns::f(int)" },
		{ "_ZN2ns5twiceIiEET_S1_", "ns::twice<int>(int)" },
		{ "_ZN4core3fmt9Formatter3pad17h0123456789abcdefE", "core::fmt::Formatter::pad" },
		{ "_RNvNtCs1234_7mycrate3foo3bar", "mycrate::foo::bar" },
		{ "malloc", "malloc" },
		{ "_Z", "_Z" },
		{ "_ZN", "_ZN" },
		{ "_RNtC0c5ke3nm", "_RNtC0c5ke3nm" }, /* an empty identifier */
		{ "", "" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		_cleanup_free_ char *text = object_demangle(cases[i][0]);

		assert_string_equal(text, cases[i][1]);
	}
}

/* Forms that no program compiled here has. */
static void test_pattern(void **state)
{
	static const struct {
		const char *pattern, *name;
		enum object_match match;
	} cases[] = {
		{ "core::fmt::Formatter::pad", "_RNvMsa_NtCsgEmfK2I1SDS_4core3fmtNtB5_9Formatter3pad",
		  OBJECT_MATCH_EXACT },
		{ "<core::fmt::Formatter>::pad", "_RNvMsa_NtCsgEmfK2I1SDS_4core3fmtNtB5_9Formatter3pad",
		  OBJECT_MATCH_EXACT },
		{ "core::fmt::Formatter::pa", "_RNvMsa_NtCsgEmfK2I1SDS_4core3fmtNtB5_9Formatter3pad",
		  OBJECT_MATCH_NONE },
		{ "ns::f", "_ZN2ns1fEi.constprop.0", OBJECT_MATCH_EXACT },
		{ "ns::f", "_ZN2ns1fEi.isra.0.lto_priv.12", OBJECT_MATCH_EXACT },
		{ "ns::f", "_ZN2ns1fEi.cold", OBJECT_MATCH_NONE },
		{ "ns::f*", "_ZN2ns1fEi", OBJECT_MATCH_GLOB },
		{ "std::*string*::append*", "_ZNSs6appendEPKc", OBJECT_MATCH_GLOB },
		{ "f", "f", OBJECT_MATCH_NONE },
		{ "", "_ZN2ns1fEi", OBJECT_MATCH_NONE },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct object_pattern pattern;

		assert_int_equal(object_pattern_init(cases[i].pattern, &pattern), 0);
		if (object_pattern_match(&pattern, cases[i].name) != (int)cases[i].match)
			fail_msg("%s against %s", cases[i].pattern, cases[i].name);
		object_pattern_free(&pattern);
	}
}

/* Each parameter is a pair of the one before: 2^30 times "int". It must end soon, with the name as it is. */
static void test_demangle_bomb(void **state)
{
	static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	char name[512] = "_Z1f4pairIiiE";
	uint64_t start = base_now_ns();

	for (size_t i = 0, used = strlen(name); i < 30; i++)
		used += (size_t)snprintf(name + used, sizeof(name) - used, "S_IS%c_S%c_E", digits[i], digits[i]);
	_cleanup_free_ char *text = object_demangle(name);

	assert_string_equal(text, name);
	/* A binder of millions of lifetimes, in a part that is not printed. */
	static const char binder[] = "_RNvMNvMs_NlCs_4core3fm4FGC0tBs_NlCs_4core3fm4FGC0tB_";
	_cleanup_free_ char *same = object_demangle(binder);

	assert_string_equal(same, binder);
	assert_true(base_now_ns() - start < 2000000000);
	name[strlen("_Z1f4pairIiiES_IS0_S0_E")] = '\0';
	_cleanup_free_ char *mild = object_demangle(name);

	assert_string_equal(mild, "f(pair<int, int>, pair<pair<int, int>, pair<int, int> >)");
}

static void test_go(void **state)
{
	run("printf x > x && objcopy --add-section .gopclntab=x pie gopher");
	struct object *object = open_built("gopher");

	assert_true(object_is_go(object));
	object_close(object);
	object = open_built("pie");
	assert_false(object_is_go(object));
	object_close(object);
}

static int open_code(const char *path)
{
	struct utap_error err = { 0 };
	struct object *object = NULL;
	int r = object_open(path, &object, &err);

	if (r) {
		assert_null(object);
		assert_int_equal(err.code, r);
		assert_non_null(strstr(err.text, path));
	}
	object_close(object);
	return r;
}

static void test_refused(void **state)
{
	uint8_t value[8] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f };

	assert_int_equal(open_code("/no/such/file"), -ENOENT);
	assert_int_equal(open_code("/bin"), -ENOEXEC);
	assert_int_equal(open_code("/dev/null"), -ENOEXEC);
	assert_int_equal(open_code(in_folder("a.c")), -ENOEXEC);
	run("gcc -c -o a.o a.c && mkfifo -m 600 pipe && cp pie other && : > empty && head -c 200 pie > head && head -c "
	    "3000 pie > cut");
	assert_int_equal(open_code(in_folder("a.o")), -ENOEXEC);
	assert_int_equal(open_code(in_folder("pipe")), -ENOEXEC);
	assert_int_equal(open_code(in_folder("empty")), -ENOEXEC);
	assert_int_equal(open_code(in_folder("head")), -EINVAL);
	assert_int_equal(open_code(in_folder("cut")), -EINVAL);
	patch_file("other", offsetof(Elf64_Ehdr, e_phoff), value, 8);
	assert_int_equal(open_code(in_folder("other")), -EINVAL);
	value[0] = 3; /* EM_386 */
	value[1] = 0;
	run("cp pie other");
	patch_file("other", offsetof(Elf64_Ehdr, e_machine), value, 2);
	assert_int_equal(open_code(in_folder("other")), -ENOEXEC);
	run("objcopy --only-keep-debug pie other");
	int r = open_code(in_folder("other"));

	assert_true(r == 0 || r == -EINVAL);
	object_close(NULL);
}

static void use_everything(struct object *object)
{
	const struct object_symbol **found;
	const struct object_symbol *symbols;
	const struct object_range *ranges;
	const struct object_slot *slots;
	const uint64_t *pointers;
	size_t count;

	if (object_symbols(object, &symbols, &count, NULL) == 0)
		for (size_t i = 0; i < count; i++)
			assert_true(!symbols[i].function || object_symbol_at(object, symbols[i].vaddr));
	long n = object_find(object, "*a*", false, &found, NULL);

	if (n >= 0)
		free(found);
	if (object_ranges(object, &ranges, &count, NULL) == 0)
		for (size_t i = 0; i < count; i++)
			assert_true(ranges[i].start < ranges[i].end);
	int r = object_rseq_ranges(object, &ranges, &count, NULL);

	r |= object_slots(object, &slots, &count, NULL);
	r |= object_pointers(object, &pointers, &count, NULL);
	assert_true(r <= 0);
}

/* Bytes of the headers, the dynamic section and the tables at random; the fuzzer does the same for longer. */
static void test_damaged(void **state)
{
	_cleanup_free_ char *bytes = NULL;
	unsigned seed = SEED;
	size_t opened = 0;
	size_t size;

	run("strip -o small pie");
	assert_int_equal(base_file_read(in_folder("small"), &bytes, &size), 0);
	print_message("seed %u\n", seed);
	for (int round = 0; round < 3000; round++) {
		char *copy = malloc(size);
		struct object *object;

		memcpy(copy, bytes, size);
		for (int i = 0; i < 1 + round % 8; i++) {
			size_t at = (size_t)rand_r(&seed) % (round % 2 ? size : 4096);

			copy[at] = rand_r(&seed) % 4 ? (char)rand_r(&seed) : (char)0xff;
		}
		FILE *file = fopen(in_folder("damaged"), "wb");

		assert_int_equal(fwrite(copy, 1, size, file), size);
		fclose(file);
		free(copy);
		if (object_open(in_folder("damaged"), &object, NULL))
			continue;
		opened++;
		use_everything(object);
		object_close(object);
	}
	assert_true(opened > 100);
}

static void test_sort(void **state)
{
	struct object_sort_item items[2000];
	unsigned seed = SEED;

	for (uint32_t i = 0; i < 2000; i++)
		items[i] = (struct object_sort_item) { (uint64_t)rand_r(&seed) % 500 << (i % 2 ? 40 : 3), i };
	assert_int_equal(object_sort(items, 2000), 0);
	uint64_t indexes = items[0].index;

	for (size_t i = 1; i < 2000; i++) {
		assert_true(items[i - 1].key < items[i].key ||
			    (items[i - 1].key == items[i].key && items[i - 1].index < items[i].index));
		indexes += items[i].index;
	}
	assert_int_equal(indexes, 1999 * 2000 / 2);
	assert_int_equal(object_sort(items, 0), 0);
}

static void test_cursor(void **state)
{
	static const uint8_t bytes[] = { 0xe5, 0x8e, 0x26, 0x9b, 0xf1, 0x59, 0xf0, 0xff, 0xff, 0xff, 0x80 };
	struct object_cursor cursor = object_cursor_init(bytes, sizeof(bytes), 0x1000);
	uint64_t value;

	assert_int_equal(object_cursor_uleb(&cursor), 624485);
	assert_int_equal((int64_t)object_cursor_sleb(&cursor), -624485);
	assert_true(object_cursor_pointer(&cursor, OBJECT_PE_PC | OBJECT_PE_S32, 0, &value));
	assert_int_equal(value, 0x1006 - 16);
	assert_false(cursor.failed);
	object_cursor_uleb(&cursor); /* goes on beyond the end */
	assert_true(cursor.failed);
	assert_int_equal(object_cursor_u8(&cursor), 0);
	cursor = object_cursor_init(bytes, 3, 0);
	assert_false(object_cursor_pointer(&cursor, OBJECT_PE_U32, 0, &value));
	cursor = object_cursor_init(bytes, 8, 0);
	assert_true(object_cursor_pointer(&cursor, OBJECT_PE_FUNCTION | OBJECT_PE_U16, 0x10000, &value));
	assert_int_equal(value, 0x10000 + 0x8ee5);
	assert_null(object_cursor_string(&cursor));
}

/* The order matters: later tests use the programs that earlier ones built. */
int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sort),
		cmocka_unit_test(test_cursor),
		cmocka_unit_test(test_demangle),
		cmocka_unit_test(test_pattern),
		cmocka_unit_test(test_demangle_bomb),
		cmocka_unit_test(test_system_files),
		cmocka_unit_test(test_libc_names),
		cmocka_unit_test(test_c_programs),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_relr_words),
		cmocka_unit_test(test_rseq_relocated),
		cmocka_unit_test(test_pointers_of_stripped),
		cmocka_unit_test(test_without_sections),
		cmocka_unit_test(test_debug_by_build_id),
		cmocka_unit_test(test_debug_by_link),
		cmocka_unit_test(test_debugdata),
		cmocka_unit_test(test_cxx_names),
		cmocka_unit_test(test_landing_pads),
		cmocka_unit_test(test_go),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_damaged),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
