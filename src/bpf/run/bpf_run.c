/* SPDX-License-Identifier: MIT */
/*
 * bpf-run: a program as hex bytes on standard input, its memory as hex in the first argument; prints r0 in hex. This is
 * the plugin protocol of the public BPF conformance suite. The program is trusted as far as memory goes: it runs in
 * this process.
 *
 * Usage: bpf-run [MEMORY] < PROGRAM     Exit: 0; 1 when the program is refused or the input is no hex.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bpf/bpf.h"

#define CODE_BYTES_PER_INSN 128
#define CODE_BYTES_FIXED 256

static int hex_digit(int c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = tolower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Hex text, white space between bytes allowed, to bytes in place. */
static int parse_hex(char *text, size_t *size)
{
	size_t used = 0;

	for (const char *at = text; *at;) {
		if (isspace((unsigned char)*at)) {
			at++;
			continue;
		}

		int high = hex_digit((unsigned char)at[0]), low = high < 0 ? -1 : hex_digit((unsigned char)at[1]);

		if (low < 0)
			return -EINVAL;
		text[used++] = (char)(high << 4 | low);
		at += 2;
	}
	*size = used;
	return 0;
}

static int read_program(struct bpf_insn **ret, size_t *count)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	int r = base_file_read("/dev/stdin", &text, &size);

	if (r == 0)
		r = parse_hex(text, &size);
	if (r < 0)
		return r;
	if (size % sizeof(struct bpf_insn))
		return -EINVAL;

	struct bpf_insn *program = malloc(size + 1);

	if (!program)
		return -ENOMEM;
	memcpy(program, text, size);
	*ret = program;
	*count = size / sizeof(*program);
	return 0;
}

static int run(const struct bpf_insn *program, size_t count, void *memory, size_t size, uint64_t *result)
{
	size_t room = base_align_up(count * CODE_BYTES_PER_INSN + CODE_BYTES_FIXED, BASE_PAGE);
	void *code = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct isa_emitter e = { .buffer = code, .size = room, .addr = (utap_addr)(uintptr_t)code };
	struct utap_error err = { 0 };
	uint64_t (*function)(void *, uint64_t);

	if (code == MAP_FAILED)
		return -errno;

	int r = bpf_compile_function(program, count, &e, &err);

	if (r < 0) {
		fprintf(stderr, "bpf-run: %s\n", err.text[0] ? err.text : strerror(-r));
	} else if (mprotect(code, room, PROT_READ | PROT_EXEC) < 0) {
		r = -errno;
	} else {
		memcpy(&function, &code, sizeof(function));
		*result = function(memory, size);
	}
	munmap(code, room);
	return r;
}

int main(int argc, char **argv)
{
	_cleanup_free_ struct bpf_insn *program = NULL;
	_cleanup_free_ char *memory = strdup(argc > 1 ? argv[1] : "");
	size_t count, size;
	uint64_t result;

	if (!memory || parse_hex(memory, &size) < 0) {
		fprintf(stderr, "bpf-run: the memory is not hex\n");
		return 1;
	}

	int r = read_program(&program, &count);

	if (r < 0) {
		fprintf(stderr, "bpf-run: reading the program as hex bytes from standard input: %s\n", strerror(-r));
		return 1;
	}
	if (run(program, count, size ? memory : NULL, size, &result) < 0)
		return 1;
	printf("%llx\n", (unsigned long long)result);
	return 0;
}
