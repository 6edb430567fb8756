/* SPDX-License-Identifier: MIT */
/*
 * What isa_effect() says of an instruction, checked by running it: no register changes that is not said to be written,
 * no flag when flags are said to stay, and where the new value is told, it is that one. The trials of test_isa_exec.c,
 * and the forms that addresses are made with.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "isa/flow.h"
#include "isa_operands.h"

#define TRIALS 400
#define CHILD_CANNOT 77
#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

struct form {
	const char *name;
	uint8_t opcode[2];
	uint8_t opcode_size;
	bool memory_only;
	bool to_operand; /* the ModRM operand is what is written */
	enum isa_effect_kind kind;
};

/* Always with a REX prefix. */
static const struct form forms[] = {
	{ "mov r,rm", { 0x8b }, 1, false, false, ISA_EFFECT_LOAD },
	{ "mov rm,r", { 0x89 }, 1, false, true, ISA_EFFECT_COPY },
	{ "movsxd", { 0x63 }, 1, false, false, ISA_EFFECT_LOAD },
	{ "movzx 8", { 0x0f, 0xb6 }, 2, false, false, ISA_EFFECT_LOAD },
	{ "movzx 16", { 0x0f, 0xb7 }, 2, false, false, ISA_EFFECT_LOAD },
	{ "movsx 8", { 0x0f, 0xbe }, 2, false, false, ISA_EFFECT_LOAD },
	{ "movsx 16", { 0x0f, 0xbf }, 2, false, false, ISA_EFFECT_LOAD },
	{ "lea", { 0x8d }, 1, true, false, ISA_EFFECT_ADDRESS },
	{ "add r,rm", { 0x03 }, 1, false, false, ISA_EFFECT_ADD },
	{ "add rm,r", { 0x01 }, 1, false, true, ISA_EFFECT_ADD },
	{ "xor", { 0x33 }, 1, false, false, ISA_EFFECT_NUMBER },
	{ "cmova", { 0x0f, 0x47 }, 2, false, false, ISA_EFFECT_CHOOSE },
};

static void make_form(struct trial *t, const struct form *form)
{
	unsigned reg = trial_below(t, 16);
	unsigned other = trial_below(t, 16);
	struct trial_operand operand;

	t->size = 0;
	trial_random_state(t);
	/* The arena needs its stack. */
	reg = reg == SP && !form->to_operand ? AX : reg;
	other = other == SP && form->to_operand ? AX : other;
	operand = form->memory_only || trial_chance(t, 50) ? trial_operand_in_memory(t, reg & 7)
							   : trial_operand_in_register(t, reg & 7, other);
	trial_put(t, 0x40 | (trial_chance(t, 70) ? 8 : 0) | reg >> 3 << 2 | operand.rex);
	for (unsigned i = 0; i < form->opcode_size; i++)
		trial_put(t, form->opcode[i]);
	trial_put_operand(t, &operand, 0);
}

static uint64_t extend(uint64_t value, const struct isa_effect *effect)
{
	unsigned unused = 64 - 8 * effect->size;

	return effect->is_signed ? (uint64_t)((int64_t)(value << unused) >> unused) : value << unused >> unused;
}

static uint64_t address_of(const struct arena_regs *in, const struct isa_memory *memory)
{
	uint64_t address = memory->disp;

	if (memory->base != ISA_NO_REGISTER)
		address += in->gpr[memory->base];
	if (memory->index != ISA_NO_REGISTER)
		address += in->gpr[memory->index] * memory->scale;
	return address;
}

/* The value that the register is said to have after; false when it is not said. */
static bool told_value(struct trial *t, const struct isa_effect *effect, uint64_t *ret)
{
	const struct arena_state *state = t->arena->state;
	const struct arena_regs *in = &state->in;

	switch (effect->kind) {
	case ISA_EFFECT_COPY:
		*ret = extend(in->gpr[effect->from], effect);
		return true;
	case ISA_EFFECT_LOAD:
		*ret = extend(trial_peek(t, address_of(in, &effect->memory)), effect);
		return true;
	case ISA_EFFECT_ADDRESS:
		*ret = address_of(in, &effect->memory);
		return true;
	case ISA_EFFECT_NUMBER:
		*ret = effect->number;
		return true;
	case ISA_EFFECT_ADD:
		*ret = in->gpr[effect->to] + in->gpr[effect->from];
		return true;
	case ISA_EFFECT_CHOOSE:
		*ret = state->out.gpr[effect->to] == in->gpr[effect->to] ? in->gpr[effect->to] : in->gpr[effect->from];
		return true;
	case ISA_EFFECT_OTHER:
	case ISA_EFFECT_MIX:
	case ISA_EFFECT_CALL:
	case ISA_EFFECT_COMPARE:
	case ISA_EFFECT_BOUND:
	case ISA_EFFECT_JUMP:
		break;
	}
	return false;
}

static const char *check(struct trial *t, const struct isa_effect *effect)
{
	const struct arena_state *state = t->arena->state;
	uint64_t told;

	for (unsigned n = 0; n < 16; n++)
		if (state->in.gpr[n] != state->out.gpr[n] && !(effect->written >> n & 1))
			return "a register changed that is not said to";
	if (!effect->sets_flags && (state->in.flags ^ state->out.flags) & ARENA_FLAGS)
		return "flags changed that are not said to";
	if (told_value(t, effect, &told) && state->out.gpr[effect->to] != told)
		return "the new value is not what is said";
	return NULL;
}

static const char *try_once(struct trial *t, struct isa_effect *effect)
{
	if (isa_effect(t->code, t->size, arena_site(t->arena), effect))
		return "a trial that is no instruction";
	arena_place(t->arena, t->code, t->size);
	arena_run(t->arena, arena_site(t->arena));
	return t->arena->state->exit >= ARENA_SIGNAL ? NULL : check(t, effect);
}

static bool complain(const struct trial *t, const char *name, const char *what)
{
	if (!what)
		return false;
	fprintf(stderr, "  %s:", name);
	for (size_t n = 0; n < t->size; n++)
		fprintf(stderr, " %02x", t->code[n]);
	fprintf(stderr, ": %s\n", what);
	return true;
}

static unsigned try_form(struct trial *t, const struct form *form)
{
	unsigned wrong = 0, told = 0;
	struct isa_effect effect;

	for (int i = 0; i < TRIALS; i++) {
		make_form(t, form);
		wrong += complain(t, form->name, try_once(t, &effect));
		told += effect.kind == form->kind;
	}
	if (!told)
		wrong += complain(t, form->name, "never understood");
	return wrong;
}

static int child_main(uint64_t seed)
{
	static struct arena arena;
	struct trial trial = { .arena = &arena, .seed = &seed };
	struct isa_effect effect;
	unsigned wrong = 0, lies = 0;

	alarm(120);
	if (arena_create(&arena, true, 0x100000))
		return CHILD_CANNOT;
	for (size_t n = 0; n < COUNT(forms); n++)
		wrong += try_form(&trial, &forms[n]);
	for (size_t n = 0; n < trial_kind_count; n++)
		for (int i = 0; i < TRIALS; i++) {
			trial_prepare(&trial, &trial_kinds[n]);
			wrong += complain(&trial, trial_kinds[n].name, try_once(&trial, &effect));
			effect.written = 0;
			lies += check(&trial, &effect) != NULL;
		}
	if (lies < TRIALS)
		wrong += complain(&trial, "lies", "not seen");
	arena_destroy(&arena);
	return wrong > 50 ? 50 : (int)wrong;
}

static void test_effects(void **state)
{
	const char *given = getenv("UTAP_TEST_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 0x9e3779b97f4a7c15ULL + 1;
	int status;
	pid_t pid;

	print_message("seed: UTAP_TEST_SEED=%#llx\n", (unsigned long long)seed);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		_exit(child_main(seed ? seed : 1));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_CANNOT) {
		print_message("skipped: no such memory to be had\n");
		skip();
	}
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_effects) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
