/* SPDX-License-Identifier: MIT */
/*
 * Tables for walking stacks, of real files and of the kernel's vDSO. Oracle: what readelf says of every description. Go's are compared with its runtime
 * in tests/integration/stacks.sh; damaged files are the fuzzer's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "object/internal.h"
#include "object/unwind.h"

#define LINES_MOST 1500000UL

/* A row as readelf prints it. */
struct told {
	uint64_t start;
	char cfa[24], bp[24], back[24];
};

struct reader {
	struct object_unwind *unwind;
	struct object *object;
	char names[512]; /* the header of the columns */
	struct told row; /* the last one of the description */
	bool has_row, is_fde;
	uint64_t end;
	struct { uint64_t at; struct told row; } cies[256];
	size_t ncies;
	uint64_t cie; /* of the FDE; of a CIE where it is */
	size_t rows, unknown, expressions, left;
};

/* ---- what the table should say ---- */

static bool is_same_bp(const char *text)
{
	return !*text || !strcmp(text, "u") || !strcmp(text, "s");
}

/* In epilogues readelf still tells the slot that was left. */
static bool is_left(const struct told *told, uint32_t rule)
{
	return !strncmp(told->bp, "c-", 2) && !strncmp(told->cfa, "rsp+", 4) && atoi(told->bp + 2) > atoi(told->cfa + 4) &&
	       wire_unwind_bp(rule) == WIRE_UNWIND_BP_SAME;
}

static void check_bp(struct reader *reader, const struct told *told, uint32_t rule)
{
	if (is_left(told, rule)) {
		reader->left++;
	} else if (is_same_bp(told->bp)) {
		assert_true(wire_unwind_bp(rule) == WIRE_UNWIND_BP_SAME || wire_unwind_bp(rule) == WIRE_UNWIND_BP_LOST);
	} else if (!strcmp(told->bp, "exp")) {
		assert_true(wire_unwind_bp(rule) == WIRE_UNWIND_BP_AT_BP || wire_unwind_bp(rule) == WIRE_UNWIND_BP_LOST);
	} else if (!strncmp(told->bp, "c-", 2) && wire_unwind_bp(rule) != WIRE_UNWIND_BP_LOST) {
		assert_int_equal(wire_unwind_bp(rule), WIRE_UNWIND_BP_AT_CFA);
		assert_int_equal(wire_unwind_m(rule) * 8, -atoi(told->bp + 2));
	} else if (!strncmp(told->bp, "c-", 2)) {
		assert_true(atoi(told->bp + 2) > 8 * WIRE_UNWIND_M_MAX || atoi(told->bp + 2) % 8);
	}
}

static void check_offset(struct reader *reader, const struct told *told, uint32_t rule, enum wire_unwind_kind kind)
{
	long offset = atol(told->cfa + 3);

	if (offset % 8 || offset / 8 > WIRE_UNWIND_N_MAX) {
		assert_int_equal(wire_unwind_kind(rule), WIRE_UNWIND_UNKNOWN);
		return;
	}
	assert_int_equal(wire_unwind_kind(rule), kind);
	assert_int_equal(wire_unwind_n(rule) * 8L, offset);
	check_bp(reader, told, rule);
}

static void check_rule(struct reader *reader, const struct told *told, uint32_t rule)
{
	enum wire_unwind_kind kind = wire_unwind_kind(rule);

	reader->unknown += kind == WIRE_UNWIND_UNKNOWN;
	if (!strcmp(told->back, "exp")) {
		assert_true(kind == WIRE_UNWIND_SIGNAL || kind == WIRE_UNWIND_UNKNOWN);
	} else if (!strcmp(told->back, "u")) {
		assert_int_equal(kind, WIRE_UNWIND_END);
	} else if (strcmp(told->back, "c-8") != 0) {
		assert_int_equal(kind, WIRE_UNWIND_UNKNOWN);
	} else if (!strncmp(told->cfa, "rsp+", 4)) {
		check_offset(reader, told, rule, WIRE_UNWIND_SP);
	} else if (!strncmp(told->cfa, "rbp+", 4)) {
		check_offset(reader, told, rule, WIRE_UNWIND_BP);
	} else if (!strcmp(told->cfa, "exp")) {
		reader->expressions++;
		assert_true(kind == WIRE_UNWIND_UNKNOWN || kind == WIRE_UNWIND_PLT || (kind >= WIRE_UNWIND_AT_SP && kind <= WIRE_UNWIND_AT_BP_8));
	} else {
		assert_int_equal(kind, WIRE_UNWIND_UNKNOWN);
	}
}

static uint32_t rule_at(const struct reader *reader, uint64_t vaddr)
{
	return wire_unwind_rule(reader->unwind->rows, (uint32_t)reader->unwind->count, (uint32_t)(vaddr - reader->unwind->base));
}

static void check_range(struct reader *reader, const struct told *told, uint64_t end)
{
	const uint64_t at[] = { told->start, told->start + (end - told->start) / 2, end - 1 };
	size_t available;

	if (end <= told->start || !object_code(reader->object, told->start, &available))
		return;
	reader->rows++;
	for (size_t i = 0; i < 3; i++)
		check_rule(reader, told, rule_at(reader, at[i]));
}

/* ---- reading readelf ---- */

static void end_row(struct reader *reader, uint64_t end)
{
	if (reader->has_row && reader->is_fde)
		check_range(reader, &reader->row, end);
	reader->has_row = false;
}

static void end_description(struct reader *reader)
{
	if (reader->has_row && !reader->is_fde && reader->ncies < 256) {
		reader->cies[reader->ncies].at = reader->cie;
		reader->cies[reader->ncies++].row = reader->row;
	}
	end_row(reader, reader->end);
	reader->is_fde = false;
}

/* An FDE that says nothing of its own has what its CIE says. */
static void begin_fde(struct reader *reader, const char *text)
{
	uint64_t start;

	if (sscanf(text, "cie=%lx pc=%lx..%lx", &reader->cie, &start, &reader->end) != 3)
		fail_msg("not understood: %s", text);
	reader->is_fde = true;
	for (size_t i = 0; i < reader->ncies; i++)
		if (reader->cies[i].at == reader->cie) {
			reader->row = reader->cies[i].row;
			reader->row.start = start;
			reader->has_row = true;
		}
}

/* "r10 (r10)" is one value. */
static void drop_brackets(char *text)
{
	for (char *open = strstr(text, " ("), *close; open; open = strstr(open, " (")) {
		close = strchr(open, ')');
		if (!close)
			return;
		memset(open, ' ', (size_t)(close + 1 - open));
	}
}

static void read_row(struct reader *reader, const char *line)
{
	struct told told = { 0 };
	char values[1024], names[512];
	char *value_state, *name_state;

	snprintf(values, sizeof(values), "%s", line);
	snprintf(names, sizeof(names), "%s", reader->names);
	drop_brackets(values);

	char *value = strtok_r(values, " \n", &value_state);
	char *name = strtok_r(names, " \n", &name_state);

	for (; value && name; value = strtok_r(NULL, " \n", &value_state), name = strtok_r(NULL, " \n", &name_state)) {
		if (!strcmp(name, "LOC"))
			told.start = strtoul(value, NULL, 16);
		else if (!strcmp(name, "CFA"))
			snprintf(told.cfa, sizeof(told.cfa), "%s", value);
		else if (!strcmp(name, "rbp"))
			snprintf(told.bp, sizeof(told.bp), "%s", value);
		else if (!strcmp(name, "ra"))
			snprintf(told.back, sizeof(told.back), "%s", value);
	}
	if (reader->has_row && reader->row.start != told.start)
		end_row(reader, told.start);
	reader->row = told;
	reader->has_row = true;
}

static void read_line(struct reader *reader, const char *line)
{
	uint64_t at;
	char second[32], third[32], fourth[32];
	const char *text = strstr(line, "cie=");

	if (sscanf(line, "%lx %31s %31s %31s", &at, second, third, fourth) == 4 && !strcmp(fourth, "CIE")) {
		end_description(reader);
		reader->cie = at;
	} else if (text && strstr(line, " FDE ")) {
		end_description(reader);
		begin_fde(reader, text);
	} else if (strstr(line, "   LOC ")) {
		snprintf(reader->names, sizeof(reader->names), "%s", line);
	} else if (strlen(line) > 24 && strspn(line, "0123456789abcdef") == 16 && line[16] == ' ') {
		read_row(reader, line);
	}
}

/* ---- files ---- */

static double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void check_sorted(const struct object_unwind *unwind)
{
	for (size_t i = 1; i < unwind->count; i++) {
		assert_true(unwind->rows[i - 1].offset < unwind->rows[i].offset);
		assert_int_not_equal(unwind->rows[i - 1].rule, unwind->rows[i].rule);
	}
}

static struct object *open_it(const char *path)
{
	struct utap_error err = { 0 };
	struct object *object;

	if (object_open(path, &object, &err))
		fail_msg("%s", err.text);
	return object;
}

static void check_file(const char *path)
{
	struct object_unwind unwind;
	struct utap_error err = { 0 };
	struct object *object = open_it(path);
	double started = now_ms();
	struct reader reader = { .unwind = &unwind, .object = object };
	char command[700], line[1024];

	if (object_unwind_make(object, &unwind, &err))
		fail_msg("%s", err.text);
	double took = now_ms() - started;

	check_sorted(&unwind);
	snprintf(command, sizeof(command), "readelf -wN -wF '%s' 2>/dev/null | head -n %lu", path, LINES_MOST);
	FILE *file = popen(command, "r");

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		read_line(&reader, line);
	pclose(file);
	print_message("%s: %zu rows of readelf compared, %zu places unknown, %zu with bp restored, %zu expressions; table: %zu rows, %zu bytes, %.1f ms\n", path,
		      reader.rows, reader.unknown, reader.left, reader.expressions, unwind.count, unwind.count * sizeof(*unwind.rows), took);
	assert_true(reader.rows > 8);
	assert_true(reader.unknown * 10 < reader.rows);
	object_unwind_free(&unwind);
	object_close(object);
}

static void check_first(const char *pattern)
{
	glob_t found;

	if (glob(pattern, 0, NULL, &found) || !found.gl_pathc)
		print_message("[   SKIP   ] %s is not here\n", pattern);
	else
		check_file(found.gl_pathv[0]);
	globfree(&found);
}

static void test_readelf(void **state)
{
	static const char *const files[] = { "/lib/x86_64-linux-gnu/libc.so.6", "/usr/lib/x86_64-linux-gnu/libstdc++.so.6", "/bin/ls",
					     "/usr/bin/gdb", "/lib64/ld-linux-x86-64.so.2", "/usr/lib/x86_64-linux-gnu/libcrypto.so.3",
					     "/usr/lib/x86_64-linux-gnu/libpython3*.so.1.0", "/usr/bin/node" };

	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		check_first(files[i]);
}

static size_t vdso_range(const uint8_t **ret)
{
	FILE *file = fopen("/proc/self/maps", "r");
	uint64_t start, end;
	size_t size = 0;
	char line[1024];

	assert_non_null(file);
	while (!size && fgets(line, sizeof(line), file))
		if (strstr(line, "[vdso]") && sscanf(line, "%lx-%lx", &start, &end) == 2) {
			*ret = (const uint8_t *)(uintptr_t)start;
			size = end - start;
		}
	fclose(file);
	return size;
}

/* Read from memory, as in targets. */
static void test_vdso(void **state)
{
	char path[] = "/tmp/test-object-unwind-XXXXXX";
	struct object_unwind unwind;
	struct object *object;
	const uint8_t *vdso;
	size_t size = vdso_range(&vdso);

	(void)state;
	if (!size) {
		print_message("[   SKIP   ] there is no vDSO\n");
		return;
	}
	uint8_t *bytes = malloc(size);
	int fd = mkstemp(path);

	assert_non_null(bytes);
	memcpy(bytes, vdso, size);
	assert_true(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
	close(fd);
	assert_int_equal(object_open_bytes("[vdso]", bytes, size, &object, NULL), 0);
	assert_int_equal(object_unwind_make(object, &unwind, NULL), 0);
	assert_true(unwind.count > 3);
	object_unwind_free(&unwind);
	object_close(object);
	check_file(path);
	unlink(path);
}

/* Hardly anything is described, so frame pointers are tried everywhere else; but the signal restorer is known by its bytes. */
static void test_musl(void **state)
{
	static const char path[] = "/usr/lib/x86_64-linux-musl/libc.so";
	struct object_unwind unwind;
	size_t frames = 0;
	size_t signals = 0;

	(void)state;
	if (access(path, R_OK)) {
		print_message("[   SKIP   ] %s is not here\n", path);
		return;
	}
	struct object *object = open_it(path);

	assert_int_equal(object_unwind_make(object, &unwind, NULL), 0);
	for (size_t i = 0; i < unwind.count; i++) {
		frames += unwind.rows[i].rule == WIRE_UNWIND_RULE_FRAME;
		signals += wire_unwind_kind(unwind.rows[i].rule) == WIRE_UNWIND_SIGNAL;
	}
	assert_true(frames >= 2);
	assert_true(signals >= 1);
	object_unwind_free(&unwind);
	object_close(object);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_readelf),
		cmocka_unit_test(test_vdso),
		cmocka_unit_test(test_musl),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
