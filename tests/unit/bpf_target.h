/* SPDX-License-Identifier: MIT */
/*
 * A target for bpf_compile_probe() inside the test's own process: blocks with doubly mapped rings in shared memory, a
 * trampoline, doubles of the runtime that obey wire.h's calling convention, and a harness that enters a trampoline with
 * every register and flag chosen and reports what came out.
 */
#ifndef TESTS_BPF_TARGET_H
#define TESTS_BPF_TARGET_H

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "bpf/bpf.h"
#include "wire/wire.h"

#define FAKE_RING (64UL * 1024)
#define FAKE_PROBES 512UL /* one page of counters */
#define FAKE_CELLS 256UL
#define FAKE_CELL_SIZE 128UL
#define FAKE_CODE (256UL * 1024)
#define FAKE_TID_OFFSET 0x2d0 /* of struct pthread's tid in glibc 2.36; fake_init() verifies it */
#define FAKE_RSEQ_FLAG_UNREGISTER 1

/* Offsets in a block as mapped: the ring stands there twice. */
#define FAKE_COUNTERS_AT (WIRE_PAGE + 2 * FAKE_RING)
#define FAKE_SHARED_AT (FAKE_COUNTERS_AT + WIRE_PAGE)
#define FAKE_CELLS_AT (FAKE_SHARED_AT + WIRE_PAGE)
#define FAKE_SPAN (FAKE_CELLS_AT + WIRE_PAGE + FAKE_CELLS * FAKE_CELL_SIZE)
#define FAKE_FILE (FAKE_SPAN - FAKE_RING)

struct fake {
	struct bpf_target target;
	unsigned cpus;
	uint8_t **table; /* entry of CPU 0 */
	uint64_t *lost;
	uint64_t *limits;
	struct wire_local *local;
	uint8_t *code_rw, *code_rx;    /* the same memory twice: never writable and executable at one address */
	uint8_t *code_far, *code_near; /* choices for code_rx: out of and in reach of the runtime doubles */
	size_t code_used;
	uint8_t *inline_way; /* 8 bytes of the last inline body: where it goes on */
};

/* What the doubles do, and what they saw. In shared memory, so that forked children report too. */
struct fake_runtime {
	struct fake *fake;
	bool overwrite; /* ring and cells: lift the limit instead of dropping */
	bool no_pid;    /* RT_PID cannot find out, as in a target that may make no system calls */
	uint64_t ring_slow, cell_slow, pid, tid, read;
};
static struct fake_runtime *fake_runtime;

uint64_t fake_ring_slow(struct wire_ring *ring, uint64_t what);
uint64_t fake_cell_slow(struct wire_cells *cells, uint64_t what);
uint64_t fake_pid(struct wire_local *local, uint64_t unused);
uint64_t fake_tid(uint64_t unused, uint64_t unused2);
uint64_t fake_read(const struct wire_read *read, uint64_t unused);

static void fake_lose(uint64_t what)
{
	__atomic_fetch_add(&fake_runtime->fake->lost[what >> 32], 1, __ATOMIC_RELAXED);
}

uint64_t fake_ring_slow(struct wire_ring *ring, uint64_t what)
{
	uint64_t tail = __atomic_load_n(&ring->tail, __ATOMIC_RELAXED);

	__atomic_fetch_add(&fake_runtime->ring_slow, 1, __ATOMIC_RELAXED);
	if (fake_runtime->overwrite) {
		__atomic_store_n(&ring->limit, __atomic_load_n(&ring->head, __ATOMIC_RELAXED) + FAKE_RING,
				 __ATOMIC_RELAXED);
		return 1;
	}
	if (__atomic_load_n(&ring->head, __ATOMIC_RELAXED) + (uint32_t)what - tail > FAKE_RING) {
		fake_lose(what);
		return 0;
	}
	__atomic_store_n(&ring->limit, tail + FAKE_RING, __ATOMIC_RELAXED);
	return 1;
}

uint64_t fake_cell_slow(struct wire_cells *cells, uint64_t what)
{
	uint64_t next = __atomic_load_n(&cells->next, __ATOMIC_RELAXED);
	uint64_t tail = __atomic_load_n(&cells->tail, __ATOMIC_RELAXED);

	__atomic_fetch_add(&fake_runtime->cell_slow, 1, __ATOMIC_RELAXED);
	if (fake_runtime->overwrite)
		tail = next;
	if (next - tail >= FAKE_CELLS) {
		fake_lose(what);
		return 0;
	}
	__atomic_store_n(&cells->limit, tail + FAKE_CELLS, __ATOMIC_RELAXED);
	return 1;
}

uint64_t fake_pid(struct wire_local *local, uint64_t unused)
{
	__atomic_fetch_add(&fake_runtime->pid, 1, __ATOMIC_RELAXED);
	if (!fake_runtime->no_pid)
		local->pid = (uint32_t)getpid();
	return local->pid;
}

uint64_t fake_tid(uint64_t unused, uint64_t unused2)
{
	__atomic_fetch_add(&fake_runtime->tid, 1, __ATOMIC_RELAXED);
	return (uint64_t)syscall(SYS_gettid);
}

uint64_t fake_read(const struct wire_read *read, uint64_t unused)
{
	struct iovec to = { .iov_base = (void *)(uintptr_t)read->to, .iov_len = read->size };
	struct iovec from = { .iov_base = (void *)(uintptr_t)read->from, .iov_len = read->size };
	int saved = errno;

	__atomic_fetch_add(&fake_runtime->read, 1, __ATOMIC_RELAXED);

	ssize_t got = process_vm_readv(getpid(), &to, 1, &from, 1, 0);
	uint64_t result = got == (ssize_t)read->size ? 0 : (uint64_t)-EFAULT;

	errno = saved;
	return result;
}

/*
 * The doubles' entries. Vector registers are saved, because a C library function may use them where the real runtime
 * does not; all other registers are preserved, rcx, rdx and the flags are changed on purpose where the convention
 * allows.
 */
#define FAKE_ENTRY(name)                                                          \
	"	.globl	" #name "_entry\n" #name "_entry:\n"                      \
	"	push	%rbp\n	mov	%rsp, %rbp\n	push	%rcx\n	push	%rdx\n	push	%rsi\n	push	" \
	"%rdi\n"                                                                  \
	"	push	%r8\n	push	%r9\n	push	%r10\n	push	%r11\n"                          \
	"	mov	%rax, %rdi\n	mov	%rdx, %rsi\n"                                      \
	"	sub	$1024, %rsp\n	and	$-64, %rsp\n	fxsave	(%rsp)\n	cld\n"               \
	"	call	" #name "\n"                                              \
	"	fxrstor	(%rsp)\n	lea	-64(%rbp), %rsp\n"                                 \
	"	pop	%r11\n	pop	%r10\n	pop	%r9\n	pop	%r8\n	pop	%rdi\n	pop	%rsi\n	"       \
	"pop	%rdx\n"                                                              \
	"	pop	%rcx\n	pop	%rbp\n"                                                  \
	"	cmp	$-1, %rsp\n	ret\n"
asm("	.text\n" FAKE_ENTRY(fake_ring_slow) FAKE_ENTRY(fake_cell_slow) FAKE_ENTRY(fake_pid) FAKE_ENTRY(fake_tid)
	FAKE_ENTRY(fake_read));
extern const char fake_ring_slow_entry[], fake_cell_slow_entry[], fake_pid_entry[], fake_tid_entry[], fake_read_entry[];

static void *fake_map(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert(memory != MAP_FAILED);
	return memory;
}

static void fake_map_part(uint8_t *at, size_t size, int fd, size_t offset)
{
	void *got = mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, (off_t)offset);

	assert(got == at);
}

static uint8_t *fake_block(void)
{
	uint8_t *block = mmap(NULL, FAKE_SPAN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = memfd_create("block", MFD_CLOEXEC);

	assert(block != MAP_FAILED && fd >= 0 && ftruncate(fd, FAKE_FILE) == 0);
	fake_map_part(block, WIRE_PAGE + FAKE_RING, fd, 0);
	fake_map_part(block + WIRE_PAGE + FAKE_RING, FAKE_RING, fd, WIRE_PAGE);
	fake_map_part(block + FAKE_COUNTERS_AT, FAKE_SPAN - FAKE_COUNTERS_AT, fd, WIRE_PAGE + FAKE_RING);
	close(fd);
	return block;
}

static void fake_map_code(struct fake *f)
{
	int fd = memfd_create("code", MFD_CLOEXEC);

	assert(fd >= 0 && ftruncate(fd, FAKE_CODE) == 0);
	f->code_rw = mmap(NULL, FAKE_CODE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	f->code_far = mmap(NULL, FAKE_CODE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	assert(f->code_rw != MAP_FAILED && f->code_far != MAP_FAILED);
	f->code_near = MAP_FAILED;
	for (uintptr_t to = base_align_down((uintptr_t)fake_ring_slow_entry, BASE_PAGE); f->code_near == MAP_FAILED;) {
		to -= 1UL << 20;
		f->code_near =
		    mmap((void *)to, FAKE_CODE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
	}
	f->code_rx = f->code_far;
	close(fd);
}

static bool fake_has_rdpid(void)
{
	uint32_t a = 7, b, c = 0, d;

	asm("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return c >> 22 & 1;
}

static struct wire_ring *fake_ring(struct fake *f, unsigned cpu)
{
	return (struct wire_ring *)f->table[cpu];
}

static struct wire_cells *fake_cells(struct fake *f, unsigned cpu)
{
	return (struct wire_cells *)(f->table[cpu] + FAKE_CELLS_AT);
}

/* Everything empty, every limit as a reader would set it. */
static void fake_reset(struct fake *f)
{
	struct fake_runtime *r = fake_runtime;

	for (unsigned cpu = 0; cpu < f->cpus; cpu++) {
		memset(f->table[cpu], 0, WIRE_PAGE);
		memset(f->table[cpu] + FAKE_COUNTERS_AT, 0, FAKE_SPAN - FAKE_COUNTERS_AT);
		fake_ring(f, cpu)->limit = FAKE_RING;
		fake_cells(f, cpu)->limit = FAKE_CELLS;
	}
	memset(f->lost, 0, FAKE_PROBES * 8);
	memset(f->limits, 0, FAKE_PROBES * 8);
	r->overwrite = r->no_pid = false;
	r->ring_slow = r->cell_slow = r->pid = r->tid = r->read = 0;
	f->code_used = 0;
}

static void fake_init_memory(struct fake *f)
{
	f->cpus = (unsigned)sysconf(_SC_NPROCESSORS_CONF);
	f->table = (uint8_t **)fake_map((f->cpus + 2) * 8) + 2;
	for (unsigned cpu = 0; cpu < f->cpus; cpu++)
		f->table[cpu] = fake_block();
	f->lost = fake_map(FAKE_PROBES * 8);
	f->limits = fake_map(FAKE_PROBES * 8);
	f->local = mmap(NULL, WIRE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert(f->local != MAP_FAILED && madvise(f->local, WIRE_PAGE, MADV_WIPEONFORK) == 0);
	fake_map_code(f);
	fake_runtime = fake_map(sizeof(*fake_runtime));
	fake_runtime->fake = f;
}

static utap_addr fake_address(const void *pointer)
{
	return (utap_addr)(uintptr_t)pointer;
}

static void fake_init(struct fake *f)
{
	uint32_t tid;

	memset(f, 0, sizeof(*f));
	fake_init_memory(f);
	asm volatile("mov %%fs:%c1, %0" : "=r"(tid) : "i"(FAKE_TID_OFFSET));
	f->target = (struct bpf_target) {
		.rseq_offset = __rseq_size ? (int32_t)__rseq_offset : 0,
		.tid_offset = tid == (uint32_t)syscall(SYS_gettid) ? FAKE_TID_OFFSET : 0,
		.has_rdpid = fake_has_rdpid(),
		.cpus = f->cpus,
		.table = fake_address(f->table),
		.lost = fake_address(f->lost),
		.limits = fake_address(f->limits),
		.local = fake_address(f->local),
		.ring_size = FAKE_RING,
		.counters_at = FAKE_COUNTERS_AT,
		.shared_at = FAKE_SHARED_AT,
		.cells_at = FAKE_CELLS_AT,
		.cells = FAKE_CELLS,
		.cell_size = FAKE_CELL_SIZE,
		.runtime = { [RT_RING_SLOW] = fake_address(fake_ring_slow_entry),
			     [RT_CELL_SLOW] = fake_address(fake_cell_slow_entry),
			     [RT_PID] = fake_address(fake_pid_entry),
			     [RT_TID] = fake_address(fake_tid_entry),
			     [RT_READ] = fake_address(fake_read_entry) },
	};
	fake_reset(f);
}

static struct isa_emitter fake_emitter(struct fake *f)
{
	return (struct isa_emitter) { .buffer = f->code_rw + f->code_used,
				      .size = FAKE_CODE - f->code_used,
				      .addr = fake_address(f->code_rx + f->code_used) };
}

/* An inline body gives the stack back and goes on where fake_trampoline() says. */
static void fake_finish(void *arg, struct isa_emitter *e)
{
	struct fake *f = arg;

	isa_emit_bytes(e, "\x48\x8d\xa4\x24\x80\x00\x00\x00\xff\x25\x00\x00\x00\x00", 14); /* lea 128(%rsp),%rsp; jmp *0(%rip) */
	f->inline_way = e->buffer + e->used;
	isa_emit_u64(e, 0);
}

/* Compile a program; the body's address. The emitter reports its extent. */
static utap_addr fake_compile(struct fake *f, const struct bpf_insn *program, size_t count, size_t *size)
{
	struct isa_emitter e = fake_emitter(f);
	struct utap_error err = { 0 };
	utap_addr body = e.addr;
	int r;

	if (f->target.id_known) {
		isa_emit_bytes(&e, "\x48\x8d\x64\x24\x80", 5); /* lea -128(%rsp),%rsp */
		f->target.finish = fake_finish;
		f->target.finish_arg = f;
	}
	r = bpf_compile_probe(program, count, &f->target, &e, &err);

	if (r < 0) {
		fprintf(stderr, "compile: %d %s\n", r, err.text);
		abort();
	}
	f->code_used += base_align_up(e.used, 64);
	if (size)
		*size = e.used;
	return body;
}

static inline utap_addr fake_compile_text(struct fake *f, const char *text, size_t *size)
{
	_cleanup_free_ struct bpf_insn *program = NULL;
	struct utap_error err = { 0 };
	size_t count;

	if (bpf_assemble(text, &program, &count, &err) < 0) {
		fprintf(stderr, "assemble: %s\n", err.text);
		abort();
	}
	return fake_compile(f, program, count, size);
}

/*
 * What patch/ builds around a body: red zone, rax, the id; then @displaced and a jump to @back (0: the displaced
 * instructions do not fall through).
 */
static void *fake_trampoline(struct fake *f, utap_addr body, uint32_t id, const void *displaced, size_t size,
			     utap_addr back)
{
	struct isa_emitter e = fake_emitter(f);
	void *entry = f->code_rx + f->code_used;

	if (f->target.id_known) {
		memcpy(f->inline_way, &e.addr, 8);
		entry = (void *)(uintptr_t)body;
		goto displaced;
	}
	isa_emit_bytes(&e, "\x48\x8d\x64\x24\x80\x50\xb8", 7); /* lea -128(%rsp),%rsp; push %rax; mov $id,%eax */
	isa_emit_u32(&e, id);
	isa_emit_call(&e, body);
	isa_emit_bytes(&e, "\x58\x48\x8d\xa4\x24\x80\x00\x00\x00", 9); /* pop %rax; lea 128(%rsp),%rsp */
displaced:
	isa_emit_bytes(&e, displaced, size);
	if (back) {
		isa_emit_bytes(&e, "\xff\x25\x00\x00\x00\x00", 6); /* jmp *0(%rip) */
		isa_emit_u64(&e, back);
	}
	assert(!e.error);
	f->code_used += base_align_up(e.used, 64);
	return entry;
}

/* A probed function: long f(long a, long b) { return a + b; } */
typedef long fake_function(long a, long b);
static inline fake_function *fake_function_at(struct fake *f, utap_addr body, uint32_t id)
{
	void *entry = fake_trampoline(f, body, id, "\x48\x8d\x04\x37\xc3", 5, 0); /* lea (%rdi,%rsi),%rax; ret */
	fake_function *function;

	memcpy(&function, &entry, sizeof(function));
	return function;
}

/* All registers, by machine number (rax 0 .. r15 15), and the flags. */
struct fake_machine {
	uint64_t in[16], in_flags;
	uint64_t out[16], out_flags;
	uint64_t host_sp, entry;
};
_Static_assert(offsetof(struct fake_machine, in_flags) == 128, "offsets below");
_Static_assert(offsetof(struct fake_machine, out) == 136, "offsets below");
_Static_assert(offsetof(struct fake_machine, out_flags) == 264, "offsets below");
_Static_assert(offsetof(struct fake_machine, host_sp) == 272, "offsets below");

/* Enter m->entry, a trampoline that jumps to fake_back, with m->in; in[4] is the stack pointer. */
void fake_enter(struct fake_machine *m);
extern const char fake_back[];
asm("	.section .tbss,\"awT\",@nobits\n	.balign 8\n"
    "fake_machine_now:	.zero 8\n"
    "fake_rax_now:	.zero 8\n"
    "	.text\n"
    "	.globl	fake_enter, fake_back\n"
    "fake_enter:\n"
    "	push	%rbx\n	push	%rbp\n	push	%r12\n	push	%r13\n	push	%r14\n	push	%r15\n"
    "	mov	%rdi, %fs:fake_machine_now@tpoff\n"
    "	mov	%rsp, 272(%rdi)\n"
    "	mov	280(%rdi), %rax\n	mov	%rax, %fs:fake_rax_now@tpoff\n"
    "	push	128(%rdi)\n	popfq\n"
    "	mov	0(%rdi), %rax\n	mov	8(%rdi), %rcx\n	mov	16(%rdi), %rdx\n	mov	24(%rdi), %rbx\n"
    "	mov	32(%rdi), %rsp\n	mov	40(%rdi), %rbp\n	mov	48(%rdi), %rsi\n"
    "	mov	64(%rdi), %r8\n	mov	72(%rdi), %r9\n	mov	80(%rdi), %r10\n	mov	88(%rdi), %r11\n"
    "	mov	96(%rdi), %r12\n	mov	104(%rdi), %r13\n	mov	112(%rdi), %r14\n	mov	"
    "120(%rdi), %r15\n"
    "	mov	56(%rdi), %rdi\n"
    "	jmp	*%fs:fake_rax_now@tpoff\n"
    "fake_back:\n"
    "	mov	%rax, %fs:fake_rax_now@tpoff\n"
    "	mov	%fs:fake_machine_now@tpoff, %rax\n"
    "	mov	%rcx, 144(%rax)\n	mov	%rdx, 152(%rax)\n	mov	%rbx, 160(%rax)\n	mov	%rsp, "
    "168(%rax)\n"
    "	mov	%rbp, 176(%rax)\n	mov	%rsi, 184(%rax)\n	mov	%rdi, 192(%rax)\n	mov	%r8, "
    "200(%rax)\n"
    "	mov	%r9, 208(%rax)\n	mov	%r10, 216(%rax)\n	mov	%r11, 224(%rax)\n	mov	%r12, "
    "232(%rax)\n"
    "	mov	%r13, 240(%rax)\n	mov	%r14, 248(%rax)\n	mov	%r15, 256(%rax)\n"
    "	mov	272(%rax), %rsp\n"
    "	pushfq\n	popq	264(%rax)\n	cld\n"
    "	mov	%fs:fake_rax_now@tpoff, %rcx\n	mov	%rcx, 136(%rax)\n"
    "	pop	%r15\n	pop	%r14\n	pop	%r13\n	pop	%r12\n	pop	%rbp\n	pop	%rbx\n"
    "	ret\n");

/* The counter of a probe, over all blocks. */
static inline uint64_t fake_counted(struct fake *f, uint32_t id, bool shared)
{
	uint64_t sum = 0;

	for (unsigned cpu = 0; cpu < f->cpus; cpu++)
		sum += ((uint64_t *)(f->table[cpu] + (shared ? FAKE_SHARED_AT : FAKE_COUNTERS_AT)))[id];
	return sum;
}

#endif
