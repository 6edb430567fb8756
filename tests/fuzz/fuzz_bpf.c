/* SPDX-License-Identifier: MIT */
/*
 * Programs from anybody. The first byte chooses:
 *   0  the rest is a program: both checkers; what is standalone is compiled, run and compared with the reference
 * interpreter (if the reference ends in bounds, and the same way wherever its memory lies: the result is no address);
 *   1  the rest is text: what assembles must disassemble and assemble to the same bytes;
 *   2  the rest makes a random probe program: compiled, run in a made-up target and compared, registers preserved.
 */
#include <stdint.h>

#include "../unit/bpf_reference.h"
#include "../unit/bpf_target.h"
#include "../unit/bpf_trials.h"

#define CODE_SIZE (1UL << 20)
#define MEMORY 64
#define INSNS 512
#define STACK_SIZE 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
	if (!good)
		abort();
}

static void round_trip(const struct bpf_insn *program, size_t count)
{
	struct bpf_insn *again;
	struct utap_error err = { 0 };
	size_t other;
	char *text;

	must(bpf_disassemble(program, count, &text) == 0);
	must(bpf_assemble(text, &again, &other, &err) == 0);
	must(other == count && memcmp(program, again, count * sizeof(*program)) == 0);
	free(text);
	free(again);
}

/* Three worlds that differ in everything a program must not depend on. */
static bool reference_result(const struct bpf_insn *program, const uint8_t *memory, uint64_t *result, uint8_t *after)
{
	static const uint64_t bases[][2] = { { 0x700012345670, 0x1000000008 },
					     { 0x1000, 0xffff800000001000 },
					     { 0x8000000000000010, 0x555555555550 } };
	static const uint8_t fill[] = { 0x00, 0x5a, 0xff };

	for (size_t i = 0; i < 3; i++) {
		uint8_t copy[MEMORY];
		struct reference r = {
			.memory = copy, .memory_at = bases[i][0], .memory_size = MEMORY, .stack_at = bases[i][1]
		};

		memcpy(copy, memory, MEMORY);
		memset(r.stack, fill[i], sizeof(r.stack));
		if (reference_run(&r, program) != REFERENCE_DONE)
			return false;
		if (i && (r.reg[0] != *result || memcmp(copy, after, MEMORY) != 0))
			return false;
		*result = r.reg[0];
		memcpy(after, copy, MEMORY);
	}
	return true;
}

static void run_standalone(const struct bpf_insn *program, size_t count)
{
	static uint8_t *code;
	_Alignas(16) uint8_t memory[MEMORY];
	uint8_t after[MEMORY];
	struct utap_error err = { 0 };
	uint64_t (*function)(void *, uint64_t), expected;

	if (!code)
		code = mmap(NULL, CODE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(code != MAP_FAILED && mprotect(code, CODE_SIZE, PROT_READ | PROT_WRITE) == 0);

	struct isa_emitter e = { .buffer = code, .size = CODE_SIZE, .addr = fake_address(code) };

	must(bpf_compile_function(program, count, &e, &err) == 0);
	for (size_t i = 0; i < MEMORY; i++)
		memory[i] = (uint8_t)(i * 37 + 1);
	if (!reference_result(program, memory, &expected, after))
		return;
	must(mprotect(code, CODE_SIZE, PROT_READ | PROT_EXEC) == 0);
	memcpy(&function, &code, sizeof(function));
	must(function(memory, MEMORY) == expected);
	must(memcmp(memory, after, MEMORY) == 0);
}

static struct fake *the_fake(void)
{
	static struct fake fake;

	if (!fake.table)
		fake_init(&fake);
	fake.target.cell_size = 256;
	fake.target.cells = 128;
	fake_reset(&fake);
	return &fake;
}

static void fuzz_program(const uint8_t *data, size_t size)
{
	static struct bpf_insn program[INSNS];
	static uint8_t buffer[CODE_SIZE];
	size_t count = size / sizeof(*program);
	struct utap_error err = { 0 };

	if (count > INSNS)
		return;
	memcpy(program, data, count * sizeof(*program));
	round_trip(program, count);
	if (bpf_check(program, count, BPF_STANDALONE, &err) == 0)
		run_standalone(program, count);
	if (bpf_check(program, count, BPF_PROBE, &err) == 0) {
		struct isa_emitter e = { .buffer = buffer, .size = sizeof(buffer), .addr = 0x10000000 };
		struct bpf_target target = the_fake()->target;

		must(bpf_compile_probe(program, count, &target, &e, &err) == 0);
		target.rseq_offset = target.tid_offset = 0;
		must(bpf_compile_probe(program, count, &target, &e, &err) == 0);
	}
}

static void fuzz_text(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct bpf_insn *program;
	struct utap_error err = { 0 };
	size_t count;

	must(text != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	if (bpf_assemble(text, &program, &count, &err) == 0) {
		round_trip(program, count);
		free(program);
	} else {
		must(strncmp(err.text, "line ", 5) == 0);
	}
	free(text);
}

static const uint64_t *only_record(struct fake *fake)
{
	for (unsigned cpu = 0; cpu < fake->cpus; cpu++) {
		if (fake_ring(fake, cpu)->head)
			return (const uint64_t *)(fake->table[cpu] + WIRE_PAGE);
		if (fake_cells(fake, cpu)->next)
			return (const uint64_t *)((uint8_t *)fake_cells(fake, cpu) + WIRE_PAGE + 8);
	}
	return NULL;
}

static void fuzz_probe(const uint8_t *data, size_t size)
{
	static struct trial t;
	static uint8_t stack[STACK_SIZE];
	struct fake *fake = the_fake();
	struct trial_bytes bytes = { .at = data, .end = data + size };
	struct fake_machine m = { 0 };
	uint64_t words[TRIAL_WORDS + 4] = { 0 };
	int32_t offset = fake->target.rseq_offset;

	trial_make(&t, &bytes);
	must(bpf_check(t.probe, t.count, BPF_PROBE, NULL) == 0);
	if (size & 1)
		fake->target.rseq_offset = 0;

	void *entry =
	    fake_trampoline(fake, fake_compile(fake, t.probe, t.count, NULL), TRIAL_ID, "", 0, fake_address(fake_back));

	fake->target.rseq_offset = offset;
	for (int i = 0; i < 16; i++)
		m.in[i] = (uint64_t)(i + 1) * 0x9e3779b97f4a7c15ULL ^ size;
	m.in[4] = fake_address(stack) + STACK_SIZE / 2;
	m.in_flags = 0x202 | (size & 0xd5);
	m.entry = fake_address(entry);
	fake_enter(&m);
	must(memcmp(m.in, m.out, sizeof(m.in)) == 0 && m.in_flags == (m.out_flags & 0xed7));
	must(trial_expect(&t, &m, words));

	const uint64_t *got = only_record(fake);

	must(got != NULL);
	got += t.output ? 0 : 3;
	must(memcmp(got, words, 8 * (TRIAL_WORDS + (t.output ? 0 : 4))) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] % 3 == 0)
		fuzz_program(data + 1, size - 1);
	else if (data[0] % 3 == 1)
		fuzz_text(data + 1, size - 1);
	else
		fuzz_probe(data + 1, size - 1);
	return 0;
}
