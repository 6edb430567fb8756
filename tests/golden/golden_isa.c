/* SPDX-License-Identifier: MIT */
/*
 * golden_isa (test|rebase) FILE...: what isa says of the instructions in a file, written below each of them.
 *
 *   insn ADDR BYTES to ADDR     decode, print, relocate to the second address
 *   pun ADDR BYTES next BYTES   the windows of the punned jumps over the instruction
 *
 * Lines that start with a tab are the answers; `test` compares them, `rebase` writes them anew. All other lines are
 * kept as they are.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "isa/isa.h"

static const char *const class_names[] = {
	[ISA_PLAIN] = "plain",
	[ISA_CALL] = "call",
	[ISA_CALL_INDIRECT] = "call indirect",
	[ISA_JUMP] = "jump",
	[ISA_LOOP] = "loop",
	[ISA_BRANCH] = "branch",
	[ISA_JUMP_INDIRECT] = "jump indirect",
	[ISA_RETURN] = "return",
	[ISA_SYSCALL] = "syscall",
	[ISA_ENDBR] = "endbr",
	[ISA_NOP] = "nop",
	[ISA_REFUSED] = "refused",
};

static size_t parse_hex(const char *hex, uint8_t *bytes, size_t size)
{
	size_t count = 0;
	unsigned value;
	int used;

	while (count < size && sscanf(hex, "%2x%n", &value, &used) == 1 && used == 2) {
		bytes[count++] = (uint8_t)value;
		hex += used;
	}
	return count;
}

static void print_bytes(FILE *out, const uint8_t *bytes, size_t size)
{
	for (size_t n = 0; n < size; n++)
		fprintf(out, "%02x%s", bytes[n], n + 1 < size ? " " : "");
}

static void print_relocated(FILE *out, const struct isa_insn *insn, enum isa_entry entry, utap_addr to)
{
	uint8_t buffer[ISA_RELOCATED_MAX];
	struct isa_emitter e = { .buffer = buffer, .size = sizeof(buffer), .addr = to };
	bool falls_through = false;
	const char *why = "";
	int error = isa_relocate(insn, entry, &e, &falls_through, &why);

	fprintf(out, "\t%s  ", entry == ISA_BY_JUMP ? "by jump" : "by call");
	if (error) {
		fprintf(out, "%s: %s\n", strerrorname_np(-error), why);
		return;
	}
	print_bytes(out, buffer, e.used);
	fprintf(out, "%s\n", falls_through ? "" : "  (ends)");
	for (size_t at = 0; at < e.used;) {
		struct isa_insn part;
		char text[128];

		if (isa_decode(buffer + at, e.used - at, to + at, &part)) {
			fprintf(out, "\t         %llx: (bad)\n", (unsigned long long)(to + at));
			return;
		}
		isa_format(&part, text, sizeof(text));
		fprintf(out, "\t         %llx: %s\n", (unsigned long long)(to + at), text);
		at += part.length;
	}
}

static void print_step(FILE *out, const struct isa_insn *insn, const uint8_t *code, size_t size)
{
	bool has_target = false;
	utap_addr target = 0;
	int length = isa_step(code, size, insn->addr, &has_target, &target);

	if (length != insn->length || has_target != insn->has_target || (has_target && target != insn->target))
		fprintf(out, "\tisa_step differs: %d\n", length);
}

static void print_insn(FILE *out, utap_addr addr, const uint8_t *code, size_t size, utap_addr to)
{
	struct isa_insn insn;
	char text[128];

	if (isa_decode(code, size, addr, &insn)) {
		fprintf(out, "\tno instruction\n");
		return;
	}
	isa_format(&insn, text, sizeof(text));
	fprintf(out, "\t%s\n", text);
	fprintf(out, "\t%s, %u bytes", class_names[insn.class], insn.length);
	if (insn.why)
		fprintf(out, ": %s", insn.why);
	if (insn.has_target)
		fprintf(out, ", to %llx", (unsigned long long)insn.target);
	if (insn.has_rip_operand)
		fprintf(out, ", of %llx by the bytes at %u", (unsigned long long)insn.rip_operand, insn.disp_offset);
	fprintf(out, "\n");
	print_step(out, &insn, code, size);
	if (insn.class == ISA_REFUSED)
		return;
	print_relocated(out, &insn, ISA_BY_JUMP, to);
	if (insn.class == ISA_CALL || insn.class == ISA_CALL_INDIRECT)
		print_relocated(out, &insn, ISA_BY_CALL, to);
}

static void print_pun(FILE *out, utap_addr addr, const uint8_t *code, size_t size, const uint8_t *next)
{
	struct isa_insn insn;
	utap_addr lo, hi;

	if (isa_decode(code, size, addr, &insn)) {
		fprintf(out, "\tno instruction\n");
		return;
	}
	for (unsigned prefixes = 0; !isa_pun(&insn, next, prefixes, &lo, &hi); prefixes++) {
		uint8_t bytes[ISA_INSN_MAX];

		fprintf(out, "\t%u prefixes: %llx to %llx; the last by ", prefixes, (unsigned long long)lo,
			(unsigned long long)hi);
		if (isa_pun_encode(&insn, next, prefixes, hi, bytes))
			fprintf(out, "nothing");
		else
			print_bytes(out, bytes, insn.length);
		fprintf(out, "\n");
	}
}

static bool answer(FILE *out, const char *line)
{
	unsigned long long addr, to;
	char first[64], second[64];
	uint8_t code[32], next[8];

	if (sscanf(line, "insn %llx %63s to %llx", &addr, first, &to) == 3) {
		print_insn(out, addr, code, parse_hex(first, code, sizeof(code)), to);
		return true;
	}
	if (sscanf(line, "pun %llx %63s next %63s", &addr, first, second) == 3) {
		if (parse_hex(second, next, sizeof(next)) < 4)
			return false;
		print_pun(out, addr, code, parse_hex(first, code, sizeof(code)), next);
		return true;
	}
	return line[0] == '#' || line[0] == '\n';
}

/* The file as it should be; NULL with a message when a line is not understood. */
static char *answered(const char *path, const char *text)
{
	char *ret = NULL;
	size_t size;
	FILE *out = open_memstream(&ret, &size);
	bool good = out != NULL;

	for (const char *line = text; good && *line;) {
		size_t length = strcspn(line, "\n") + 1;

		if (line[0] != '\t') {
			fprintf(out, "%.*s", (int)length, line);
			good = answer(out, line);
			if (!good)
				fprintf(stderr, "%s: not understood: %.*s", path, (int)length, line);
		}
		line += line[length - 1] ? length : length - 1;
	}
	if (out)
		fclose(out);
	if (!good) {
		free(ret);
		return NULL;
	}
	return ret;
}

static void print_first_difference(const char *path, const char *want, const char *got)
{
	unsigned number = 1;

	while (*want && *got) {
		size_t length = strcspn(want, "\n");

		if (strcspn(got, "\n") != length || strncmp(want, got, length) != 0)
			break;
		number++;
		want += length + (want[length] == '\n');
		got += length + (got[length] == '\n');
	}
	fprintf(stderr, "%s:%u:\n-%.*s\n+%.*s\n", path, number, (int)strcspn(want, "\n"), want, (int)strcspn(got, "\n"),
		got);
}

static int write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	if (!file || fputs(text, file) < 0 || fclose(file)) {
		perror(path);
		return 1;
	}
	return 0;
}

static int do_file(const char *path, bool rebase)
{
	_cleanup_free_ char *text = NULL;
	int error = base_file_read(path, &text, NULL);

	if (error) {
		fprintf(stderr, "%s: %s\n", path, strerror(-error));
		return 1;
	}

	_cleanup_free_ char *wanted = answered(path, text);

	if (!wanted)
		return 1;
	if (!strcmp(text, wanted))
		return 0;
	if (rebase)
		return write_file(path, wanted);
	print_first_difference(path, text, wanted);
	return 1;
}

int main(int argc, char **argv)
{
	bool rebase = argc > 1 && !strcmp(argv[1], "rebase");
	int failed = 0;

	if (argc < 3 || (!rebase && strcmp(argv[1], "test") != 0)) {
		fprintf(stderr, "usage: %s test|rebase FILE...\n", argv[0]);
		return 2;
	}
	for (int n = 2; n < argc; n++)
		failed |= do_file(argv[n], rebase);
	return failed;
}
