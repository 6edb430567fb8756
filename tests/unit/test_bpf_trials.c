/* SPDX-License-Identifier: MIT */
/*
 * bpf: compiled probes, tried: random programs against the reference interpreter, and every instruction of the critical
 * sections interrupted once.
 */
#include <signal.h>

#include "bpf_hit.h"
#include "bpf_trials.h"

/* The bytes of the one new record, wherever it went, and nothing else. */
static const uint64_t *only_record(size_t size)
{
	for (unsigned cpu = 0; cpu < fake.cpus; cpu++) {
		struct wire_ring *ring = fake_ring(&fake, cpu);
		struct wire_cells *cells = fake_cells(&fake, cpu);

		if (ring->head) {
			assert_int_equal(ring->head, size);
			return (const uint64_t *)(fake.table[cpu] + WIRE_PAGE);
		}
		if (cells->next)
			return (const uint64_t *)((uint8_t *)cells + WIRE_PAGE + 8);
	}
	return NULL;
}

static void print_trial(const struct trial *t)
{
	char *text;

	if (bpf_disassemble(t->probe, t->count, &text) == 0)
		print_error("%s", text);
	free(text);
}

/* Random programs against the reference. */
static void test_trials(void **state)
{
	static struct trial t;
	uint64_t was;

	for (int round = 0; round < 6000; round++) {
		struct trial_bytes bytes = { .seed = was = next_random() | 1 };
		struct utap_error err = { 0 };
		uint64_t words[TRIAL_WORDS + 4] = { 0 };
		struct fake_machine m = { 0 };

		if (!enter_world(&worlds[round % WORLDS]))
			continue;
		fake.target.cell_size = 256;
		fake.target.cells = 128;
		trial_make(&t, &bytes);
		if (bpf_check(t.probe, t.count, BPF_PROBE, &err) < 0) {
			print_trial(&t);
			fail_msg("seed %llx: %s", (unsigned long long)was, err.text);
		}

		const void *entry = fake_trampoline(&fake, fake_compile(&fake, t.probe, t.count, NULL), TRIAL_ID, "", 0,
						    fake_address(fake_back));

		hit(&m, entry);
		assert_true(trial_expect(&t, &m, words));

		const uint64_t *got = only_record(t.output ? 64 : TRIAL_RECORD);

		assert_non_null(got);
		got += t.output ? 0 : 3;
		for (size_t i = 0; i < TRIAL_WORDS + (t.output ? 0 : 4); i++)
			if (got[i] != words[i]) {
				print_trial(&t);
				fail_msg("seed %llx, %s, word %zu: %llx instead of %llx", (unsigned long long)was,
					 worlds[round % WORLDS].name, i, (unsigned long long)got[i],
					 (unsigned long long)words[i]);
			}
	}
}

/*
 * Interruptions. int3 is laid over one instruction; the handler takes it away again. Inside a section the kernel has
 * moved the instruction pointer to the abort handler by then; elsewhere the handler goes back to the instruction.
 */
static struct {
	uint8_t *rw;
	utap_addr at;
	uint8_t byte;
	int traps, aborts;
} trap;

static void on_trap(int signal, siginfo_t *info, void *context)
{
	greg_t *ip = &((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];

	*trap.rw = trap.byte;
	trap.traps++;
	if ((utap_addr)*ip == trap.at + 1)
		*ip = (greg_t)trap.at;
	else
		trap.aborts++;
}

static void interrupt_each(const char *text, void (*expect)(const struct fake_machine *), int min_aborts)
{
	struct sigaction action = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO }, old;
	size_t size;
	int aborts = 0, trapped = 0;

	assert_true(enter_world(&worlds[0]));

	utap_addr body = fake_compile_text(&fake, text, &size);
	const void *entry = trampoline(body);
	uint8_t *code = fake.code_rw + (body - fake_address(fake.code_rx));
	struct fake_machine warm = { 0 };

	hit(&warm, entry);
	expect(&warm);
	assert_int_equal(sigaction(SIGTRAP, &action, &old), 0);
	for (size_t at = 0; at < size;) {
		bool has_target;
		utap_addr target;
		int length = isa_step(code + at, size - at, body + at, &has_target, &target);

		if (length < 0) /* the tables behind the code */
			break;

		struct fake_machine m = { 0 };

		trap.rw = code + at;
		trap.at = body + at;
		trap.byte = code[at];
		trap.traps = trap.aborts = 0;
		code[at] = 0xcc;
		hit(&m, entry);
		*trap.rw = trap.byte;
		expect(&m);
		trapped += trap.traps;
		aborts += trap.aborts;
		at += (size_t)length;
	}
	assert_int_equal(sigaction(SIGTRAP, &old, NULL), 0);
	assert_true(trapped > aborts);
	if (aborts < min_aborts)
		fail_msg("%d aborts, %d expected at least", aborts, min_aborts);
}

static uint64_t counted_before;

static void expect_one_more(const struct fake_machine *m)
{
	uint64_t counted = fake_counted(&fake, ID, false);

	assert_int_equal(counted, counted_before + 1);
	counted_before = counted;
}

static void expect_one_record(const struct fake_machine *m)
{
	const struct wire_record *record = expect_record(40);

	assert_int_equal(word(record, 0), m->in[7]);
	assert_int_equal(word(record, 1), m->in[6]);
}

static void expect_ways(const struct fake_machine *m)
{
	const struct wire_record *record = expect_record(32);

	assert_int_equal(word(record, 0), m->in[7] & 2 ? 200 : 100);
}

/* Several rounds of the last: its random branches take different ways. */
static void test_interrupted(void **state)
{
	static const char ways[] =
	    RESERVE(32) "if r6 == 0 goto out\n" HEADER(32) "r8 = *(u64 *)(r7 + 112)\n"
							   "if r8 & 2 goto early\n*(u64 *)(r6 + 24) = 100\n" SUBMIT
							   "goto out\n"
							   "early: *(u64 *)(r6 + 24) = 200\n" SUBMIT "out: " EXIT;

	if (!enter_world(&worlds[0]))
		skip();
	counted_before = 0;
	interrupt_each(count_text, expect_one_more, 7);
	interrupt_each(record_text, expect_one_record, 20);
	for (int i = 0; i < 20; i++)
		interrupt_each(ways, expect_ways, 15);
}

/* The kernel refuses (with SIGSEGV) descriptors that are not aligned or malformed: look at them here, by name. */
static void test_descriptors(void **state)
{
	size_t size, found = 0;

	assert_true(enter_world(&worlds[2])); /* no rseq: no descriptor, no store to %fs */
	fake_compile_text(&fake, record_text, &size);
	if (!enter_world(&worlds[0]))
		skip();
	fake.code_used = 8; /* the tables align themselves */

	utap_addr body = fake_compile_text(&fake, record_text, &size);
	const uint8_t *code = fake.code_rx + (body - fake_address(fake.code_rx));

	for (size_t at = 32 - (body & 31); at + 32 <= size; at += 32) {
		uint64_t d[4];
		uint32_t signature;

		memcpy(d, code + at, sizeof(d));
		if (d[0] || d[1] < body || d[1] >= body + size)
			continue;
		found++;
		assert_true(d[1] + d[2] <= body + at);
		assert_true(d[3] - d[1] >= d[2]); /* the abort handler is outside */
		memcpy(&signature, code + (d[3] - body) - 4, 4);
		assert_int_equal(signature, WIRE_RSEQ_SIGNATURE);
	}
	assert_int_equal(found, 1);
}

/* How deep a body goes below the probed place's rsp: count and record stay under 256 bytes. */
static void test_stack_use(void **state)
{
	static const char *const texts[] = { count_text, record_text };

	for (size_t w = 0; w < 3; w += 2)
		for (size_t t = 0; t < 2; t++) {
			struct fake_machine m = { .in = { [4] = fake_address(stack) + STACK_SIZE / 2 } };

			if (!enter_world(&worlds[w]))
				continue;
			fake.local->pid = (uint32_t)getpid();

			const void *entry = compile(texts[t]);
			uint8_t *sp = stack + STACK_SIZE / 2;

			memset(stack, 0x5a, STACK_SIZE / 2);
			hit(&m, entry);

			size_t used = 0;

			for (size_t i = RED_ZONE; i < 4096; i++)
				if (sp[-1 - (ptrdiff_t)i] != 0x5a)
					used = i + 1;
			assert_in_range(used, 145, 255);
			while (next_record())
				;
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_trials),
		cmocka_unit_test(test_interrupted),
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_stack_use),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
