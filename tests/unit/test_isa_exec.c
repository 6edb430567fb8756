/* SPDX-License-Identifier: MIT */
/*
 * Relocation checked by execution: random instructions of every class, from random states, run where they stand and as
 * relocated copies, near and far. Registers, flags, vector registers, memory, the stack and where control went must be
 * the same. One child process an arena; the seed is printed, and taken from UTAP_TEST_SEED when that is set.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "isa_trials.h"

#define TRIALS 600 /* of each kind, in each arena */
#define GIB 0x40000000LL

/* Deliberate mistakes, to see that they are seen. */
enum mistake { NO_MISTAKE, MISTAKE_FLAGS, MISTAKE_REGISTER, MISTAKE_RED_ZONE, MISTAKE_TARGET, MISTAKES };

struct place {
	const char *name;
	bool low;
	int64_t distance;
};

static const struct place places[] = {
	{ "low, copy near", true, 0x100000 },
	{ "high, copy near", false, -0x40000000LL },
	{ "high, copy far above", false, 3 * GIB / 2 },
	{ "high, copy far below", false, -7 * GIB / 4 },
};

static uint64_t first_seed(void)
{
	const char *given = getenv("UTAP_TEST_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 0x9e3779b97f4a7c15ULL;

	return seed ? seed : 1;
}

/* What a run left behind. */
struct outcome {
	struct arena_regs regs;
	uint32_t exit;
	uint64_t fault_at;
	uint8_t data[2 * ARENA_AREA];
};

static void run(struct arena *a, uint64_t entry, struct outcome *ret)
{
	arena_run(a, entry);
	ret->regs = a->state->out;
	ret->regs.flags &= ARENA_FLAGS;
	ret->exit = a->state->exit;
	ret->fault_at = a->state->fault_at;
	memcpy(ret->data, a->base + ARENA_DATA, sizeof(ret->data));
}

static const char *difference(const struct arena *a, const struct outcome *want, const struct outcome *got)
{
	static char text[128];

	if (want->exit != got->exit || (want->exit >= ARENA_SIGNAL && want->fault_at != got->fault_at)) {
		snprintf(text, sizeof(text), "exit 0x%x at +%llu, not 0x%x at +%llu", got->exit,
			 (unsigned long long)got->fault_at, want->exit, (unsigned long long)want->fault_at);
		return text;
	}
	for (unsigned n = 0; n < 16; n++)
		if (want->regs.gpr[n] != got->regs.gpr[n]) {
			snprintf(text, sizeof(text), "register %u is %llx, not %llx", n,
				 (unsigned long long)got->regs.gpr[n], (unsigned long long)want->regs.gpr[n]);
			return text;
		}
	if (want->exit < ARENA_SIGNAL && want->regs.flags != got->regs.flags)
		return "flags";
	for (unsigned n = 0; n < 16; n++)
		if (memcmp(want->regs.vector[n], got->regs.vector[n], a->has_avx ? 32 : 16))
			return "vector registers";
	for (size_t n = 0; n < sizeof(want->data); n++)
		if (want->data[n] != got->data[n]) {
			snprintf(text, sizeof(text), "%s at +0x%zx", n < ARENA_AREA ? "memory" : "stack", n);
			return text;
		}
	return NULL;
}

static void complain(const struct trial *t, const struct isa_insn *insn, const char *what)
{
	char text[128];

	isa_format(insn, text, sizeof(text));
	fprintf(stderr, "  ");
	for (size_t n = 0; n < t->size; n++)
		fprintf(stderr, "%02x", t->code[n]);
	fprintf(stderr, "  %s: %s\n", text, what);
}

static void emit_mistake(struct isa_emitter *e, enum mistake mistake)
{
	static const uint8_t spoil_red_zone[] = { 0xc6, 0x44, 0x24, 0xe0, 0x5a }; /* movb $0x5a,-32(%rsp) */

	if (mistake == MISTAKE_FLAGS)
		isa_emit_bytes(e, "\xf5", 1); /* cmc */
	if (mistake == MISTAKE_REGISTER)
		isa_emit_bytes(e, "\x4d\x8d\x5b\x01", 4); /* lea 1(%r11),%r11 */
	if (mistake == MISTAKE_RED_ZONE)
		isa_emit_bytes(e, spoil_red_zone, sizeof(spoil_red_zone));
}

/* The copy, and a jump back to the instruction after the original when control gets there. */
static int build_copy(struct arena *a, const struct isa_insn *insn, enum isa_entry entry, enum mistake mistake,
		      const char **why)
{
	struct isa_emitter e = { .buffer = a->copy, .size = ISA_RELOCATED_MAX, .addr = (uint64_t)a->copy };
	struct isa_insn wrong = *insn;
	bool falls_through = false;

	memset(a->copy, 0xcc, 256);
	if (mistake == MISTAKE_TARGET) {
		wrong.target++;
		wrong.rip_operand++;
	}
	emit_mistake(&e, mistake);

	int error = isa_relocate(&wrong, entry, &e, &falls_through, why);

	if (error)
		return error;
	e.size = 256;
	if (falls_through)
		isa_emit_jump(&e, insn->addr + insn->length);
	return e.error;
}

/* The call itself replaced by a padded call, as a patch does it. */
static const char *try_by_call(struct arena *a, const struct isa_insn *insn, const struct outcome *want,
			       enum mistake mistake)
{
	struct isa_emitter e = { .buffer = a->base + ARENA_SITE, .size = insn->length, .addr = insn->addr };
	static struct outcome got;
	const char *why = NULL;

	if (build_copy(a, insn, ISA_BY_CALL, mistake, &why))
		return why ? why : "no copy by call";
	while (e.used + 5 < insn->length)
		isa_emit_u8(&e, 0x2e);
	isa_emit_call(&e, (uint64_t)a->copy);
	run(a, insn->addr, &got);
	return difference(a, want, &got);
}

/* One trial; NULL when both runs agree. */
static const char *compare(struct trial *t, const struct trial_kind *kind, enum mistake mistake, struct isa_insn *insn)
{
	static struct outcome want, got;
	struct arena *a = t->arena;
	const char *why = NULL, *differs;

	if (isa_decode(t->code, t->size, arena_site(a), insn) || insn->length != t->size)
		return "a trial that is no instruction";
	if (insn->class != kind->class)
		return "a trial of the wrong class";
	arena_place(a, t->code, t->size);
	if (build_copy(a, insn, ISA_BY_JUMP, mistake, &why))
		return why ? why : "no copy";
	run(a, arena_site(a), &want);
	run(a, (uint64_t)a->copy, &got);
	differs = difference(a, &want, &got);
	if (!differs && insn->length >= 5 && (insn->class == ISA_CALL || insn->class == ISA_CALL_INDIRECT))
		differs = try_by_call(a, insn, &want, mistake);
	return differs;
}

/* In the child: how many trials of @kind differ, and how many ended by a signal. */
static unsigned run_trials(struct trial *t, const struct trial_kind *kind, enum mistake mistake, unsigned trials)
{
	unsigned different = 0, signals = 0;

	for (unsigned n = 0; n < trials; n++) {
		struct isa_insn insn = { 0 };

		trial_prepare(t, kind);

		const char *what = compare(t, kind, mistake, &insn);

		signals += t->arena->state->exit >= ARENA_SIGNAL;
		if (!what)
			continue;
		different++;
		if (!mistake && different <= 5)
			complain(t, &insn, what);
	}
	if (!mistake && signals > trials / 2) {
		fprintf(stderr, "  %s: %u of %u trials faulted, which tests nothing\n", kind->name, signals, trials);
		return different + 1;
	}
	return different;
}

#define CHILD_CANNOT 77

/* ---- jumps that are judged before they are made ---- */

#define MARK_AT 0xc00 /* in the copy's page: set by code on the way out */
#define JUDGE_STACK 160 /* bytes below the stack pointer that it uses, besides the red zone's 128 it leaves alone */

/* The judging copy: stays quietly, or sets the mark and goes. */
static int build_judge(struct arena *a, const struct isa_insn *insn, const struct isa_stretch *stay, bool mistaken)
{
	struct isa_emitter e = { .buffer = a->copy, .size = 512, .addr = (uint64_t)a->copy };
	static const uint8_t set_mark[] = { 0xc6, 0x05 }; /* movb $1, mark(%rip) */
	bool falls_through;
	const char *why = NULL;
	int error;

	memset(a->copy, 0xcc, 512);
	a->copy[MARK_AT] = 0;
	error = isa_emit_judge(insn, stay, 2, &e, &why);
	isa_emit_bytes(&e, set_mark, sizeof(set_mark));
	isa_emit_u32(&e, (uint32_t)(MARK_AT - (e.used + 5)));
	isa_emit_u8(&e, 1);
	if (mistaken)
		isa_emit_bytes(&e, "\xf5", 1); /* cmc */
	return error ? error : isa_relocate(insn, ISA_BY_JUMP, &e, &falls_through, &why);
}

/* Of [lo, hi) that may hold the target or not; sometimes nothing. */
static struct isa_stretch any_stretch(struct trial *t)
{
	uint64_t site = arena_site(t->arena);
	uint64_t from = site - 0x60 + (trial_random(t->seed) >> 40) % 0xb0;
	uint64_t size = (trial_random(t->seed) >> 40) % 0x90;

	if ((trial_random(t->seed) >> 40) % 5 == 0)
		return (struct isa_stretch){ 0 };
	if ((trial_random(t->seed) >> 40) % 5 == 0)
		return (struct isa_stretch){ site - 0x1000, site + 0x1000 };
	return (struct isa_stretch){ from, from + size };
}

static bool is_in(const struct isa_stretch *stay, uint64_t addr)
{
	return (addr >= stay[0].start && addr < stay[0].end) || (addr >= stay[1].start && addr < stay[1].end);
}

static const char *judge_once(struct trial *t, struct isa_insn *insn, bool mistaken)
{
	static struct outcome want, got;
	struct arena *a = t->arena;
	struct isa_stretch stay[2] = { any_stretch(t), any_stretch(t) };
	uint64_t stack = a->state->in.gpr[SP] - arena_addr(a, ARENA_DATA);
	const char *differs;

	if (isa_decode(t->code, t->size, arena_site(a), insn) || insn->class != ISA_JUMP_INDIRECT)
		return "a trial of the wrong class";
	arena_place(a, t->code, t->size);
	if (build_judge(a, insn, stay, mistaken))
		return "no judging copy";
	run(a, arena_site(a), &want);
	run(a, (uint64_t)a->copy, &got);
	memcpy(got.data + stack - JUDGE_STACK, want.data + stack - JUDGE_STACK, JUDGE_STACK - 128);
	differs = difference(a, &want, &got);
	if (!differs && want.exit < ARENA_SIGNAL &&
	    a->copy[MARK_AT] == is_in(stay, arena_exit_at(a, (enum arena_exit)want.exit, insn->length)))
		differs = "judged wrongly";
	return differs;
}

static int judge_in_child(const struct place *place, uint64_t seed, bool mistaken)
{
	static struct arena arena;
	struct trial trial = { .arena = &arena, .seed = &seed };
	const struct trial_kind *kind = trial_kinds;
	unsigned different = 0;

	while (kind->class != ISA_JUMP_INDIRECT)
		kind++;
	if (arena_create(&arena, place->low, place->distance))
		return CHILD_CANNOT;
	for (unsigned n = 0; n < 10 * TRIALS; n++) {
		struct isa_insn insn = { 0 };
		const char *what;

		trial_prepare(&trial, kind);
		what = judge_once(&trial, &insn, mistaken);
		if (what && ++different <= 5 && !mistaken)
			complain(&trial, &insn, what);
	}
	arena_destroy(&arena);
	return different > 50 ? 50 : (int)different;
}

static void test_judged(void **state)
{
	uint64_t seed = first_seed();

	(void)state;
	for (size_t n = 0; n < 2 * sizeof(places) / sizeof(places[0]); n++) {
		bool mistaken = n & 1;
		int status;
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (!pid) {
			alarm(120);
			_exit(judge_in_child(&places[n / 2], seed + n, mistaken));
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_CANNOT)
			continue;
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status) != 0, mistaken);
	}
}


static int child_main(const struct place *place, uint64_t seed, enum mistake mistake)
{
	static struct arena arena;
	struct trial trial = { .arena = &arena, .seed = &seed };
	unsigned different = 0;

	alarm(120);
	if (arena_create(&arena, place->low, place->distance))
		return CHILD_CANNOT;
	for (size_t n = 0; n < trial_kind_count; n++) {
		unsigned here = run_trials(&trial, &trial_kinds[n], mistake, mistake ? 50 : TRIALS);

		if (here && !mistake)
			fprintf(stderr, "%s, %s: %u of %u differ\n", place->name, trial_kinds[n].name, here, TRIALS);
		different += here;
	}
	arena_destroy(&arena);
	return different > 50 ? 50 : (int)different;
}

static int in_child(const struct place *place, uint64_t seed, enum mistake mistake)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		signal(SIGALRM, SIG_DFL);
		_exit(child_main(place, seed, mistake));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		return -WTERMSIG(status);
	return WEXITSTATUS(status);
}

static void test_same(void **state)
{
	uint64_t seed = first_seed();
	unsigned ran = 0;

	print_message("seed: UTAP_TEST_SEED=%#llx\n", (unsigned long long)seed);
	for (size_t n = 0; n < sizeof(places) / sizeof(places[0]); n++) {
		int different = in_child(&places[n], seed + n, NO_MISTAKE);

		if (different == CHILD_CANNOT) {
			print_message("skipped: %s: no such memory to be had\n", places[n].name);
			continue;
		}
		if (different)
			fail_msg("%s: %d trials differ (below 0: the child died of that signal)", places[n].name,
				 different);
		ran++;
	}
	if (!ran)
		skip();
}

/* A wrong copy may do anything, dying included, but not pass. */
static void test_mistakes_are_seen(void **state)
{
	for (enum mistake mistake = NO_MISTAKE + 1; mistake < MISTAKES; mistake++) {
		int different = in_child(&places[0], 12345, mistake);

		if (different == CHILD_CANNOT)
			skip();
		assert_int_not_equal(different, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same),
		cmocka_unit_test(test_mistakes_are_seen),
		cmocka_unit_test(test_judged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
