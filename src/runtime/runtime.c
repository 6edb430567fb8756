/* SPDX-License-Identifier: MIT */
/*
 * The code of ours that runs inside targets, besides what is generated: slow paths of the rings, system calls for generated code,
 * and the loop of a lent thread.
 *
 * Rules here: no libc, no TLS, no errno, no vector or x87 register, no lock, no unbounded loop, little stack, position-independent, no
 * writable data. The controller is not trusted to be alive; the target is not disturbed when it is not. In doubt: drop and count.
 */
#include <linux/futex.h>
#include <linux/prctl.h>
#include <sys/syscall.h>

#include "runtime/runtime.h"

#define EPERM_RESULT (-1)
#define LOOK_S 2            /* so long a thread waits for utap to look at the process */
#define LOOK_ROUNDS 100000 /* signals and false wake-ups meanwhile, at most */
#define EAGAIN_RESULT (-11)
#define EINTR_RESULT (-4)
#define PAUSE_NS 1000000   /* a lent thread that is done looks up once a millisecond .. */
#define PAUSES 2000        /* .. for two seconds, then goes home by itself: utap is dead or stopped */
#define ERROR_RANGE 4096UL /* a system call's result above -4096 is an error */

static long call6(long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
	register uint64_t r10 asm("r10") = d;
	register uint64_t r8 asm("r8") = e;
	register uint64_t r9 asm("r9") = f;
	long result;

	asm volatile("syscall"
		     : "=a"(result)
		     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
		     : "rcx", "r11", "memory");
	return result;
}

/* Without arguments: what is in registers may stay there, which spares stack. */
static long call0(long number)
{
	long result;

	asm volatile("syscall" : "=a"(result) : "a"(number) : "rcx", "r11", "memory");
	return result;
}

/* Wake the reader, once, and only if it sleeps. Pairs with the exchange of `sleeping` in trace_reader_wait(). */
static void wake_reader(struct wire_control *shared)
{
	if (shared->quiet || !__atomic_load_n(&shared->sleeping, __ATOMIC_RELAXED))
		return;
	if (__atomic_exchange_n(&shared->sleeping, 0, __ATOMIC_SEQ_CST))
		call6(SYS_futex, (uint64_t)&shared->sleeping, FUTEX_WAKE, 1, 0, 0, 0);
}

void runtime_count_lost(struct wire_control *shared, uint32_t id)
{
	uint64_t *lost = (uint64_t *)((uint8_t *)shared + shared->lost_at);

	if (id < shared->max_probes)
		__atomic_fetch_add(&lost[id], 1, __ATOMIC_RELAXED);
}

/*
 * The head would pass the limit: either the ring is full (drop, count), or the limit was only the reader's watermark (lift it). A
 * limit computed from an old tail is too small, never too large.
 */
uint64_t runtime_ring_slow(struct wire_ring *ring, uint64_t what)
{
	struct wire_control *shared = control();
	uint64_t tail = __atomic_load_n(&ring->tail, __ATOMIC_RELAXED);
	uint64_t end = __atomic_load_n(&ring->head, __ATOMIC_RELAXED) + (uint32_t)what;

	wake_reader(shared);
	if (end - tail > shared->ring_size) {
		runtime_count_lost(shared, (uint32_t)(what >> 32));
		return 0;
	}
	__atomic_store_n(&ring->limit, tail + shared->ring_size, __ATOMIC_RELAXED);
	return 1;
}

uint64_t runtime_cell_slow(struct wire_cells *cells, uint64_t what)
{
	struct wire_control *shared = control();
	uint64_t tail = __atomic_load_n(&cells->tail, __ATOMIC_RELAXED);
	uint64_t count = (uint32_t)what ? shared->long_cells : shared->cells;

	wake_reader(shared);
	if (__atomic_load_n(&cells->next, __ATOMIC_RELAXED) - tail >= count) {
		runtime_count_lost(shared, (uint32_t)(what >> 32));
		return 0;
	}
	__atomic_store_n(&cells->limit, tail + count, __ATOMIC_RELAXED);
	return 1;
}

/* The tid that the C library keeps for this thread; 0: not known. It is where utap found it, so only these places are looked at. */
static uint32_t kept_tid(const struct wire_control *shared)
{
	uint32_t tid = 0;

	switch (shared->tid_offset) {
	case WIRE_TID_GLIBC:
		asm volatile("mov %%fs:%c1, %0" : "=r"(tid) : "i"(WIRE_TID_GLIBC));
		break;
	case WIRE_TID_MUSL:
		asm volatile("mov %%fs:%c1, %0" : "=r"(tid) : "i"(WIRE_TID_MUSL));
		break;
	}
	return tid;
}

/*
 * utap writes down the pid of the process that it attaches to, and a forked child finds none. But a child that shares its parent's memory
 * (vfork, posix_spawn) must not write down its own there: the tid that is kept is the parent's then, while fork() renews it. Where that
 * is not known the kernel is asked each time.
 */
uint64_t runtime_pid(struct wire_local *local, uint64_t unused)
{
	const struct wire_control *shared = control();
	uint32_t pid = __atomic_load_n(&local->pid, __ATOMIC_RELAXED);
	uint32_t kept;

	(void)unused;
	if (pid || shared->quiet)
		return pid;
	kept = kept_tid(shared);
	pid = (uint32_t)call0(SYS_getpid);
	if (kept && kept == (uint32_t)call0(SYS_gettid))
		__atomic_store_n(&local->pid, pid, __ATOMIC_RELAXED);
	return pid;
}

uint64_t runtime_tid(uint64_t unused, uint64_t unused2)
{
	(void)unused;
	(void)unused2;
	return control()->quiet ? 0 : (uint64_t)call0(SYS_gettid);
}

/* The page that our own frame is in is there: a system call costs a hundred times as much. */
static bool copy_near(uint64_t to, uint64_t from, uint64_t size)
{
	uint64_t frame = (uint64_t)__builtin_frame_address(0);
	uint64_t i = 0;

	if ((from ^ frame) / WIRE_PAGE || size > WIRE_PAGE - from % WIRE_PAGE)
		return false;
	for (; i + 8 <= size; i += 8)
		*(volatile uint64_t *)(to + i) = *(const volatile uint64_t *)(from + i);
	for (; i < size; i++)
		*(volatile uint8_t *)(to + i) = *(const volatile uint8_t *)(from + i);
	return true;
}

/* process_vm_readv on ourselves: an unmapped or protected source is an error, never a fault. */
long runtime_copy(struct wire_control *shared, uint64_t to, uint64_t from, uint64_t size)
{
	uint64_t local[2] = { to, size };
	uint64_t remote[2] = { from, size };
	uint64_t pid;

	if (copy_near(to, from, size))
		return (long)size;
	if (shared->quiet)
		return EPERM_RESULT;
	pid = runtime_pid((struct wire_local *)shared->local, 0);
	return call6(SYS_process_vm_readv, pid, (uint64_t)local, 1, (uint64_t)remote, 1, 0);
}

uint64_t runtime_read(const struct wire_read *read, uint64_t unused)
{
	long got = runtime_copy(control(), read->to, read->from, read->size);

	(void)unused;
	if (got < 0)
		return (uint64_t)got;
	return got == (long)read->size ? 0 : (uint64_t)-14; /* EFAULT */
}

uint64_t runtime_comm(uint64_t to, uint64_t unused)
{
	(void)unused;
	if (control()->quiet)
		return (uint64_t)(long)EPERM_RESULT;
	return (uint64_t)call6(SYS_prctl, PR_GET_NAME, to, 0, 0, 0, 0);
}

/* Has utap looked since ticket @ticket was drawn? Numbers wrap around. */
static bool is_resumed(struct wire_control *shared, uint32_t ticket)
{
	return (int32_t)(__atomic_load_n(&shared->resumed, __ATOMIC_ACQUIRE) - ticket) >= 0;
}

/*
 * Let utap look at the process before this thread goes on: it came where the dynamic linker says that what is loaded has changed. The time
 * is limited, and once it was too short nobody waits any more until utap says that it is there again: it may be dead, or stopped.
 */
uint64_t runtime_pause(uint64_t unused, uint64_t unused2)
{
	struct wire_control *shared = control();
	volatile int64_t until[2] = { 0, 0 };
	uint32_t ticket = __atomic_add_fetch(&shared->pauses, 1, __ATOMIC_SEQ_CST);

	(void)unused;
	(void)unused2;
	wake_reader(shared);
	if (shared->quiet || __atomic_load_n(&shared->hurried, __ATOMIC_RELAXED) ||
	    call6(SYS_clock_gettime, 1, (uint64_t)until, 0, 0, 0, 0)) /* CLOCK_MONOTONIC */
		return 0;
	until[0] += LOOK_S;
	for (int i = 0; !is_resumed(shared, ticket); i++) {
		uint32_t seen = __atomic_load_n(&shared->resumed, __ATOMIC_ACQUIRE);
		long result = 0;

		if ((int32_t)(seen - ticket) < 0) /* FUTEX_WAIT_BITSET takes the time of day it ends at */
			result = call6(SYS_futex, (uint64_t)&shared->resumed, FUTEX_WAIT_BITSET, seen, (uint64_t)until, 0,
				       FUTEX_BITSET_MATCH_ANY);
		if (i == LOOK_ROUNDS || (result < 0 && result != EAGAIN_RESULT && result != EINTR_RESULT)) {
			__atomic_store_n(&shared->hurried, 1, __ATOMIC_RELAXED);
			return 0;
		}
	}
	return 1;
}

/*
 * A lent thread's work: make the calls in order, stop at the first error, tell the controller, then wait to be taken home by
 * ptrace. ppoll waits without touching the task's restart block, which belongs to the system call the thread was taken from.
 * When nobody comes the thread goes home by itself: runtime_batch_entry then returns to the signal frame.
 */
void runtime_batch(struct wire_lend *lend)
{
	uint32_t count = lend->count;
	for (uint32_t i = 0; i < count && i < WIRE_BATCH; i++) {
		struct wire_call *call = &lend->calls[i];
		long result = call6((long)call->number, call->args[0], call->args[1], call->args[2], call->args[3],
				    call->args[4], call->args[5]);

		call->result = result;
		__atomic_store_n(&lend->completed, i + 1, __ATOMIC_RELEASE);
		if ((uint64_t)result > -ERROR_RANGE)
			break;
	}
	__atomic_store_n(&lend->done, 1, __ATOMIC_RELEASE);
	call6(SYS_futex, (uint64_t)&lend->done, FUTEX_WAKE, 1, 0, 0, 0);
	for (int i = 0; i < PAUSES && !__atomic_load_n(&lend->released, __ATOMIC_ACQUIRE); i++) {
		volatile uint64_t pause[2] = { 0, PAUSE_NS }; /* the kernel writes the time left into it */

		call6(SYS_ppoll, 0, 0, (uint64_t)pause, 0, 0, 0);
	}
}
