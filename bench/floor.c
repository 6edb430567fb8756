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
#define PLACE 320 /* code bytes that both trampolines of a function may take together, on average */
#define JUMP 5
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

/* struct rseq_cs of the kernel's ABI */
struct descriptor {
	uint32_t version, flags;
	uint64_t start, size, abort;
} __attribute__((aligned(32)));

struct place {
	uint8_t *at;
	uint8_t original[JUMP];
	uint8_t *code[2]; /* count, record */
};

static uint8_t area[CPUS][FLOOR_AREA] __attribute__((aligned(4096)));
static uint8_t code[FLOOR_PLACES * PLACE] __attribute__((aligned(4096)));
static struct descriptor descriptors[2 * FLOOR_PLACES];
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

static const char *make(const struct floor_template *template, size_t index, bool record, struct isa_emitter *e)
{
	struct place *place = &places[index];
	struct descriptor *descriptor = &descriptors[2 * index + record];
	const char *why;
	uint8_t *copy;

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
	fill(copy, template->fix_last, record ? tid_offset : (int64_t)(AREA_COUNTERS + 8 * index));
	why = displace(place->at, e);
	emit_abort(e, copy + template->again);
	*descriptor = (struct descriptor){ .start = (uintptr_t)copy + template->start,
					   .size = template->end - template->start,
					   .abort = isa_emit_here(e) - JUMP };
	place->code[record] = copy;
	return why;
}

static const char *make_all(const struct floor_template *template, bool record, struct isa_emitter *e)
{
	const char *why = NULL;

	for (size_t i = 0; i < nplaces && !why; i++)
		why = make(template, i, record, e);
	return why;
}

const char *floor_create(uint8_t *const *functions, size_t count)
{
	struct isa_emitter e = { .buffer = code, .size = sizeof(code), .addr = (uintptr_t)code };
	const char *why;

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
	}
	nplaces = count;
	why = make_all(&floor_count, false, &e);
	if (!why)
		why = make_all(&floor_record, true, &e);
	if (!why && mprotect(code, sizeof(code), PROT_READ | PROT_EXEC))
		why = "the trampolines cannot be made executable";
	return why;
}

static bool write_place(int mem, const struct place *place, enum floor_mode mode)
{
	uint8_t bytes[JUMP] = { 0xe9 };
	int32_t distance;

	if (mode == FLOOR_OFF) {
		memcpy(bytes, place->original, JUMP);
	} else {
		distance = (int32_t)(place->code[mode == FLOOR_RECORD] - (place->at + JUMP));
		memcpy(bytes + 1, &distance, sizeof(distance));
	}
	return pwrite(mem, bytes, JUMP, (off_t)(uintptr_t)place->at) == JUMP;
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
