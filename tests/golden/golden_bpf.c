/* SPDX-License-Identifier: MIT */
/*
 * golden_bpf (test|rebase) FILE...: what bpf makes of the programs in a file, written below each of them.
 *
 *   standalone | probe rseq | probe cells
 *   <text of the program>
 *   end
 *
 * Answers start with a tab: the bytes and the disassembly of every instruction, then the generated machine code (or why
 * the program is refused). `test` compares them, `rebase` writes them anew. Lines with '#' outside of programs are
 * kept.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/bpf.h"
#include "wire/wire.h"

#define CODE_AT 0x70000000UL
#define CODE_SIZE 65536
#define PROGRAM_SIZE 16384

/* A made-up target: addresses that are easy to recognise, the runtime in reach, data out of it. */
static const struct bpf_target target = {
	.rseq_offset = 0x920,
	.tid_offset = 0x2d0,
	.has_rdpid = true,
	.cpus = 4,
	.table = 0x7fff00001010,
	.lost = 0x7fff00002000,
	.local = 0x7fff00003000,
	.ring_size = 65536,
	.counters_at = 0x21000,
	.shared_at = 0x22000,
	.cells_at = 0x23000,
	.cells = 256,
	.cell_size = 128,
	.long_cells_at = 0x2c000,
	.long_cells = 64,
	.long_cell_size = 65536,
	.runtime = { [RT_RING_SLOW] = 0x70100000, 0x70100100, 0x70100200, 0x70100300, 0x70100400, 0x70100500,
		     [RT_LONG_RESERVE] = 0x70100700, 0x70100800, 0x70100900, 0x70100a00, 0x70100b00,
		     [RT_LONG_STACK] = 0x70100d00 },
};

static void print_program(FILE *out, const struct bpf_insn *program, size_t count)
{
	char *text = NULL;

	if (bpf_disassemble(program, count, &text) < 0 || !text)
		return;

	const char *line = text;

	for (size_t i = 0; i < count; i++) {
		bool wide = program[i].opcode == 0x18 && i + 1 < count;
		uint64_t bytes;

		memcpy(&bytes, &program[i], 8);
		fprintf(out, "\t%zu: %016llx  ", i, (unsigned long long)__builtin_bswap64(bytes));
		fwrite(line, 1, strcspn(line, "\n"), out);
		fputc('\n', out);
		line += strcspn(line, "\n") + 1;
		if (wide && strncmp(line, ".raw", 4) != 0) {
			memcpy(&bytes, &program[++i], 8);
			fprintf(out, "\t%zu: %016llx\n", i, (unsigned long long)__builtin_bswap64(bytes));
		}
	}
	free(text);
}

static void print_table(FILE *out, const struct isa_emitter *e, size_t at)
{
	at = base_align_up(e->addr + at, 32) - e->addr;
	for (; at + 8 <= e->used; at += 8) {
		uint64_t value;

		memcpy(&value, e->buffer + at, 8);
		fprintf(out, "\t%llx: .quad 0x%llx\n", (unsigned long long)(e->addr + at), (unsigned long long)value);
	}
}

/* Instructions up to the padding before the tables. */
static void print_code(FILE *out, const struct isa_emitter *e)
{
	fprintf(out, "\t%zu bytes of code\n", e->used);
	for (size_t at = 0; at < e->used;) {
		struct isa_insn insn;
		char text[128];

		if (e->buffer[at] == 0xcc || isa_decode(e->buffer + at, e->used - at, e->addr + at, &insn) < 0) {
			print_table(out, e, at);
			return;
		}
		isa_format(&insn, text, sizeof(text));
		fprintf(out, "\t%llx: %s\n", (unsigned long long)insn.addr, text);
		at += insn.length;
	}
}

static void print_answer(FILE *out, const char *kind, const char *text)
{
	static uint8_t buffer[CODE_SIZE];
	struct isa_emitter e = { .buffer = buffer, .size = sizeof(buffer), .addr = CODE_AT };
	struct bpf_target t = target;
	struct utap_error err = { 0 };
	struct bpf_insn *program;
	size_t count;
	int r = bpf_assemble(text, &program, &count, &err);

	if (r == 0) {
		print_program(out, program, count);
		if (strcmp(kind, "probe cells") == 0)
			t.rseq_offset = 0;
		r = strcmp(kind, "standalone") == 0 ? bpf_compile_function(program, count, &e, &err)
						    : bpf_compile_probe(program, count, &t, &e, &err);
		free(program);
	}
	if (r < 0)
		fprintf(out, "\trefused: %s\n", err.text);
	else
		print_code(out, &e);
}

static bool is_kind(const char *line)
{
	return strcmp(line, "standalone") == 0 || strcmp(line, "probe rseq") == 0 || strcmp(line, "probe cells") == 0;
}

/* The file as it should be; NULL with a message when a line is not understood. */
static char *answered(const char *path, char *text)
{
	char kind[32] = "", program[PROGRAM_SIZE] = "", *ret = NULL, *rest = text;
	size_t size;
	FILE *out = open_memstream(&ret, &size);

	for (char *line; out && (line = strsep(&rest, "\n")) && (rest || *line);) {
		if (line[0] == '\t')
			continue;
		fprintf(out, "%s\n", line);
		if (kind[0] && strcmp(line, "end") == 0) {
			print_answer(out, kind, program);
			kind[0] = program[0] = '\0';
		} else if (kind[0] && strlen(program) + strlen(line) + 2 < sizeof(program)) {
			strcat(strcat(program, line), "\n");
		} else if (!kind[0] && is_kind(line)) {
			strcpy(kind, line);
		} else if (line[0] && line[0] != '#') {
			fprintf(stderr, "%s: not understood: %s\n", path, line);
			fclose(out);
			free(ret);
			return NULL;
		}
	}
	if (out)
		fclose(out);
	return ret;
}

static void print_first_difference(const char *path, const char *want, const char *got)
{
	unsigned number = 1;

	for (size_t i = 0; want[i] && want[i] == got[i]; i++)
		if (want[i] == '\n') {
			number++;
			want += i + 1;
			got += i + 1;
			i = (size_t)-1;
		}
	fprintf(stderr, "%s:%u:\n-%.*s\n+%.*s\n", path, number, (int)strcspn(want, "\n"), want, (int)strcspn(got, "\n"),
		got);
}

static int write_file(const char *path, const char *text)
{
	FILE *out = fopen(path, "w");

	if (!out || fputs(text, out) < 0 || fclose(out) != 0) {
		perror(path);
		return 1;
	}
	return 0;
}

static int run_file(const char *path, bool rebase)
{
	_cleanup_free_ char *text = NULL, *want = NULL, *got = NULL;

	if (base_file_read(path, &text, NULL) < 0 || !(want = strdup(text))) {
		fprintf(stderr, "%s: cannot be read\n", path);
		return 1;
	}
	got = answered(path, text);
	if (!got)
		return 1;
	if (rebase)
		return write_file(path, got);
	if (strcmp(want, got) == 0)
		return 0;
	print_first_difference(path, want, got);
	return 1;
}

int main(int argc, char **argv)
{
	int bad = 0;

	if (argc < 3 || (strcmp(argv[1], "test") != 0 && strcmp(argv[1], "rebase") != 0)) {
		fprintf(stderr, "usage: golden_bpf (test|rebase) FILE...\n");
		return 2;
	}
	for (int i = 2; i < argc; i++)
		bad |= run_file(argv[i], argv[1][0] == 'r');
	return bad;
}
