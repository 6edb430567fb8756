/* SPDX-License-Identifier: MIT */
/* The arena of isa_arena.h: mappings, the generated gate, and signals turned into exits. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "isa_arena.h"

/* The arena whose instruction runs, for the signal handler: one process, one arena at a time. */
static struct arena *running;

struct writer {
	struct arena *arena;
	uint8_t *at;
};

static void put_bytes(struct writer *w, const char *bytes, size_t size)
{
	memcpy(w->at, bytes, size);
	w->at += size;
}

#define PUT(w, literal) put_bytes(w, literal, sizeof(literal) - 1)

static void put_u8(struct writer *w, unsigned value)
{
	*w->at++ = (uint8_t)value;
}

/* A ModRM byte and the displacement of a field of the state, @after bytes before the end of the instruction. */
static void put_field(struct writer *w, unsigned reg, const void *field, size_t after)
{
	put_u8(w, (reg & 7) << 3 | 5);

	int32_t distance = (int32_t)((const uint8_t *)field - (w->at + 4 + after));

	memcpy(w->at, &distance, 4);
	w->at += 4;
}

static void put_gpr_move(struct writer *w, unsigned opcode, unsigned reg, const uint64_t *field)
{
	put_u8(w, 0x48 | (reg >> 3) << 2);
	put_u8(w, opcode);
	put_field(w, reg, field, 0);
}

static void put_vector_move(struct writer *w, unsigned opcode, unsigned reg, const uint8_t *field)
{
	if (w->arena->has_avx) {
		put_u8(w, 0xc5);
		put_u8(w, reg < 8 ? 0xfe : 0x7e);
		put_u8(w, opcode);
	} else {
		put_u8(w, 0xf3);
		put_u8(w, 0x40 | (reg >> 3) << 2);
		put_u8(w, 0x0f);
		put_u8(w, opcode);
	}
	put_field(w, reg, field, 0);
}

static void put_enter(struct writer *w)
{
	struct arena_state *s = w->arena->state;

	PUT(w, "\x53\x55\x41\x54\x41\x55\x41\x56\x41\x57\x9c"); /* push what a callee saves, and the flags */
	put_gpr_move(w, 0x89, SP, &s->host_sp);
	PUT(w, "\xdb\xe3"); /* fninit */
	for (unsigned n = 0; n < 16; n++)
		put_vector_move(w, 0x6f, n, s->in.vector[n]);
	put_u8(w, 0xff); /* push in.flags; popf */
	put_field(w, 6, &s->in.flags, 0);
	put_u8(w, 0x9d);
	for (unsigned n = 0; n < 16; n++)
		put_gpr_move(w, 0x8b, n, &s->in.gpr[n]);
	put_u8(w, 0xff);
	put_field(w, 4, &s->entry, 0);
}

static uint8_t *put_collect(struct writer *w)
{
	struct arena_state *s = w->arena->state;

	for (unsigned n = 0; n < 16; n++)
		put_gpr_move(w, 0x89, n, &s->out.gpr[n]);

	uint8_t *tail = w->at;

	put_gpr_move(w, 0x8b, SP, &s->host_sp);
	put_u8(w, 0x9c); /* pushf; pop out.flags */
	put_u8(w, 0x8f);
	put_field(w, 0, &s->out.flags, 0);
	for (unsigned n = 0; n < 16; n++)
		put_vector_move(w, 0x7f, n, s->out.vector[n]);
	PUT(w, "\xdb\xe3");
	if (w->arena->has_avx)
		PUT(w, "\xc5\xf8\x77"); /* vzeroupper */
	PUT(w, "\x9d\x41\x5f\x41\x5e\x41\x5d\x41\x5c\x5d\x5b\xc3");
	return tail;
}

/* movl $number,exit; jmp collect: neither flags nor registers change. */
static void put_exit(struct arena *a, size_t offset, enum arena_exit number)
{
	struct writer w = { .arena = a, .at = a->base + offset };
	uint32_t value = number;

	put_u8(&w, 0xc7);
	put_field(&w, 0, &a->state->exit, 4);
	memcpy(w.at, &value, 4);
	w.at += 4;
	put_u8(&w, 0xe9);

	int32_t distance = (int32_t)(a->base + ARENA_GATE + 0x400 - (w.at + 4));

	memcpy(w.at, &distance, 4);
}

static size_t exit_offset(enum arena_exit number, size_t size)
{
	switch (number) {
	case ARENA_NEXT:
		return ARENA_SITE + size;
	case ARENA_AFTER:
		return ARENA_SITE + 0x48;
	case ARENA_BEFORE:
		return ARENA_SITE - 0x48;
	case ARENA_FAR:
		return ARENA_GATE + 0x900;
	case ARENA_NOWHERE:
	case ARENA_SIGNAL:
		break;
	}
	abort();
}

uint64_t arena_exit_at(const struct arena *a, enum arena_exit number, size_t size)
{
	return arena_addr(a, exit_offset(number, size));
}

/* As if the exit had been reached where the signal came. */
static void on_signal(int number, siginfo_t *info, void *context)
{
	static const int order[] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
				     REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;

	if (!running)
		_Exit(125);

	struct arena_state *s = running->state;

	for (unsigned n = 0; n < 16; n++)
		s->out.gpr[n] = (uint64_t)regs[order[n]];
	s->exit = ARENA_SIGNAL + (uint32_t)number;
	s->fault_at = (uint64_t)regs[REG_RIP] - s->entry;
	regs[REG_RIP] = (greg_t)running->tail;
}

static int catch_signals(void)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP };
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	stack_t stack = { .ss_size = 65536 };

	stack.ss_sp = malloc(stack.ss_size);
	if (!stack.ss_sp || sigaltstack(&stack, NULL))
		return -errno;
	for (size_t n = 0; n < sizeof(signals) / sizeof(signals[0]); n++)
		if (sigaction(signals[n], &action, NULL))
			return -errno;
	return 0;
}

static uint8_t *map_code(uint64_t hint, size_t size, int flags)
{
	uint8_t *memory =
	    mmap((void *)hint, size, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

/* At @wanted, or as near to it as free memory goes. */
static uint8_t *map_copy(uint64_t wanted)
{
	for (uint64_t slide = 0; slide < 0x20000000; slide += 0x1000000) {
		uint8_t *memory = map_code(wanted + slide, 0x1000, MAP_FIXED_NOREPLACE);

		if (memory)
			return memory;
	}
	return NULL;
}

int arena_create(struct arena *a, bool low, int64_t distance)
{
	memset(a, 0, sizeof(*a));
	a->base = map_code(0, ARENA_SIZE, low ? MAP_32BIT : 0);
	if (!a->base)
		return -errno;
	a->copy = map_copy((uint64_t)a->base + (uint64_t)distance);
	if (!a->copy) {
		munmap(a->base, ARENA_SIZE);
		return -ENOMEM;
	}
	a->state = (struct arena_state *)(a->base + ARENA_STATE);
	a->has_avx = __builtin_cpu_supports("avx");

	struct writer enter = { .arena = a, .at = a->base + ARENA_GATE };
	struct writer collect = { .arena = a, .at = a->base + ARENA_GATE + 0x400 };

	put_enter(&enter);
	a->tail = (uint64_t)put_collect(&collect);
	put_exit(a, exit_offset(ARENA_AFTER, 0), ARENA_AFTER);
	put_exit(a, exit_offset(ARENA_BEFORE, 0), ARENA_BEFORE);
	put_exit(a, exit_offset(ARENA_FAR, 0), ARENA_FAR);
	return catch_signals();
}

void arena_destroy(struct arena *a)
{
	munmap(a->base, ARENA_SIZE);
	munmap(a->copy, 0x1000);
}

void arena_place(struct arena *a, const uint8_t *code, size_t size)
{
	memset(a->base + ARENA_SITE, 0xcc, 0x40);
	memcpy(a->base + ARENA_SITE, code, size);
	put_exit(a, exit_offset(ARENA_NEXT, size), ARENA_NEXT);
}

void arena_run(struct arena *a, uint64_t entry)
{
	void (*gate)(void);
	uint8_t *code = a->base + ARENA_GATE;

	memcpy(&gate, &code, sizeof(gate));
	memcpy(a->base + ARENA_DATA, a->data, sizeof(a->data));
	memset(&a->state->out, 0, sizeof(a->state->out));
	a->state->entry = entry;
	a->state->exit = ARENA_NOWHERE;
	a->state->fault_at = 0;
	running = a;
	gate();
	running = NULL;
}
