/* SPDX-License-Identifier: MIT */
/*
 * Copies of the templates of floor.S, each followed by the instructions it displaces. All of it lies in this program's own
 * zeroed memory, so every distance fits 32 bits.
 *
 *   area[cpu]:  +8 head of the ring   +4096 the ring, 64 KiB   +128 KiB one counter a function
 */
#include "floor.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "isa/isa.h"

#define CPUS 64
#define AREA_HEAD 8
#define AREA_COUNTERS (128UL << 10)
#define RECORD 32
#define PLACE 320 /* code bytes that the trampolines of a function may take together, on average of many */
#define JUMP 5
#define RET 0xc3
#define ABORT 16 /* signature and the jump back */
#define TID_SEARCH 4096

struct floor_template {
	const uint8_t *code;
	uint32_t size;
	uint32_t again, start, end;
	uint32_t fix_descriptor, fix_armed, fix_cpu, fix_area, fix_last; /* behind the bytes to be filled */
	uint32_t unused;
};
extern const struct floor_template floor_count __attribute__((visibility("hidden")));
extern const struct floor_template floor_record __attribute__((visibility("hidden")));
extern const struct floor_template floor_enter __attribute__((visibility("hidden")));
extern const struct floor_template floor_leave __attribute__((visibility("hidden")));

/* struct rseq_cs of the kernel's ABI */
struct descriptor {
	uint32_t version, flags;
	uint64_t start, size, abort;
} __attribute__((aligned(32)));

enum copy { COPY_COUNT, COPY_RECORD, COPY_ENTER, COPY_LEAVE, COPIES };

struct place {
	uint8_t *at, *ret; /* ret: NULL without a pair */
	uint8_t original[JUMP], original_ret[JUMP];
	uint8_t *code[COPIES];
};

static uint8_t area[CPUS][FLOOR_AREA] __attribute__((aligned(4096)));
static uint8_t code[FLOOR_PLACES * PLACE] __attribute__((aligned(4096)));
static struct descriptor descriptors[COPIES * FLOOR_PLACES];
static struct place places[FLOOR_PLACES];
static size_t nplaces;
static int32_t tid_offset;

/* Where libc keeps the thread's id: the first word near the thread pointer that is it. */
static int32_t find_tid(void)
{
	const uint8_t *thread = __builtin_thread_pointer();
	int32_t tid = (int32_t)syscall(SYS_gettid);

	for (int32_t at = 0; at < TID_SEARCH; at += 4)
		if (memcmp(thread + at, &tid, sizeof(tid)) == 0)
			return at;
	return 0;
}

static void fill(uint8_t *copy, uint32_t end, int64_t value)
{
	int32_t word = (int32_t)value;

	memcpy(copy + end - sizeof(word), &word, sizeof(word));
}

static void fill_address(uint8_t *copy, uint32_t end, const void *to)
{
	fill(copy, end, (const uint8_t *)to - (copy + end));
}

/* Whole instructions of at least the jump's size, then the way back. */
static const char *displace(uint8_t *function, struct isa_emitter *e)
{
	size_t done = 0;

	while (done < JUMP) {
		const char *why = "the function begins with bytes that are no instruction";
		struct isa_insn insn;
		bool falls_through;

		if (isa_decode(function + done, ISA_INSN_MAX, (uintptr_t)function + done, &insn) ||
		    isa_relocate(&insn, ISA_BY_JUMP, e, &falls_through, &why))
			return why;
		done += insn.length;
	}
	isa_emit_jump(e, (uintptr_t)function + done);
	return NULL;
}

static void emit_abort(struct isa_emitter *e, const uint8_t *again)
{
	isa_emit_u32(e, RSEQ_SIG);
	isa_emit_jump(e, (uintptr_t)again);
}

static const char *make(const struct floor_template *template, size_t index, enum copy kind, struct isa_emitter *e)
{
	struct place *place = &places[index];
	struct descriptor *descriptor = &descriptors[COPIES * index + kind];
	const char *why = NULL;
	uint8_t *copy;

	if (kind >= COPY_ENTER && !place->ret)
		return NULL;
	while (e->used % 16)
		isa_emit_u8(e, 0xcc);
	copy = e->buffer + e->used;
	isa_emit_bytes(e, template->code, template->size);
	if (e->error)
		return "the functions need more trampolines than there is room for";
	fill_address(copy, template->fix_descriptor, descriptor);
	fill(copy, template->fix_armed, __rseq_offset + 8);
	fill(copy, template->fix_cpu, __rseq_offset + 4);
	fill_address(copy, template->fix_area, area);
	fill(copy, template->fix_last, kind == COPY_COUNT ? (int64_t)(AREA_COUNTERS + 8 * index) : tid_offset);
	if (kind == COPY_LEAVE)
		isa_emit_u8(e, RET);
	else
		why = displace(place->at, e);
	emit_abort(e, copy + template->again);
	*descriptor = (struct descriptor){ .start = (uintptr_t)copy + template->start,
					   .size = template->end - template->start,
					   .abort = isa_emit_here(e) - JUMP };
	place->code[kind] = copy;
	return why;
}

static const char *make_all(const struct floor_template *template, enum copy kind, struct isa_emitter *e)
{
	const char *why = NULL;

	for (size_t i = 0; i < nplaces && !why; i++)
		why = make(template, i, kind, e);
	return why;
}

const char *floor_create(uint8_t *const *functions, uint8_t *const *returns, size_t count)
{
	static const struct floor_template *const templates[COPIES] = { &floor_count, &floor_record, &floor_enter, &floor_leave };
	struct isa_emitter e = { .buffer = code, .size = sizeof(code), .addr = (uintptr_t)code };
	const char *why = NULL;

	tid_offset = find_tid();
	if (!__rseq_size || !tid_offset)
		return "this libc registers no rseq area";
	if (sysconf(_SC_NPROCESSORS_CONF) > CPUS)
		return "this machine has more CPUs than the floor's areas";
	if (count > FLOOR_PLACES)
		return "there are more functions than trampolines";
	for (size_t i = 0; i < count; i++) {
		places[i].at = functions[i];
		memcpy(places[i].original, functions[i], JUMP);
		places[i].ret = returns[i];
		if (returns[i])
			memcpy(places[i].original_ret, returns[i], JUMP);
		if (returns[i] && *returns[i] != RET)
			return "a function does not return where it should";
	}
	nplaces = count;
	for (enum copy kind = 0; kind < COPIES && !why; kind++)
		why = make_all(templates[kind], kind, &e);
	if (!why && mprotect(code, sizeof(code), PROT_READ | PROT_EXEC))
		why = "the trampolines cannot be made executable";
	return why;
}

/* @to: NULL: the original bytes again */
static bool write_jump(int mem, const uint8_t *at, const uint8_t original[JUMP], const uint8_t *to)
{
	uint8_t bytes[JUMP] = { 0xe9 };
	int32_t distance = (int32_t)(to - (at + JUMP));

	if (to)
		memcpy(bytes + 1, &distance, sizeof(distance));
	else
		memcpy(bytes, original, JUMP);
	return pwrite(mem, bytes, JUMP, (off_t)(uintptr_t)at) == JUMP;
}

static bool write_place(int mem, const struct place *place, enum floor_mode mode)
{
	static const enum copy copies[] = { [FLOOR_COUNT] = COPY_COUNT, [FLOOR_RECORD] = COPY_RECORD, [FLOOR_PAIR] = COPY_ENTER };
	const uint8_t *leave = mode == FLOOR_PAIR ? place->code[COPY_LEAVE] : NULL;

	if (!write_jump(mem, place->at, place->original, mode == FLOOR_OFF ? NULL : place->code[copies[mode]]))
		return false;
	return !place->ret || write_jump(mem, place->ret, place->original_ret, leave);
}

const char *floor_set(enum floor_mode mode)
{
	int mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	bool good = mem >= 0;

	for (size_t i = 0; i < nplaces && good; i++)
		good = write_place(mem, &places[i], mode);
	if (mem >= 0)
		close(mem);
	return good ? NULL : "this program cannot write its own text";
}

uint64_t floor_hits(void)
{
	uint64_t hits = 0;

	for (size_t cpu = 0; cpu < CPUS; cpu++) {
		uint64_t head;

		memcpy(&head, area[cpu] + AREA_HEAD, sizeof(head));
		hits += head / RECORD;
		for (size_t i = 0; i < nplaces; i++) {
			uint64_t counter;

			memcpy(&counter, area[cpu] + AREA_COUNTERS + 8 * i, sizeof(counter));
			hits += counter;
		}
	}
	return hits;
}
