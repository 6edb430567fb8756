/* SPDX-License-Identifier: MIT */
/*
 * Groups of instructions patched in and taken out again in a process that runs them all the time: with threads and signals inside, and with the one who
 * patches killed at any instant. Nothing of it may show in the results.
 */
#include "groups_bed.h"

#include <pthread.h>
#include <sys/prctl.h>

#define CYCLES 200
#define THREADS 4

/* ---- threads inside ---- */

/*
 * Nothing here is as long as a jump: (a + 1) * 3 - (b & 7), then down to 0 in a loop that adds up. Two ways in: the second comes in by
 * the middle. In the last one not even the instructions before the loop are; there is padding for a short jump.
 */
long short_steps(long a, long b);
long short_loop(long n);
long tight_loop(long n, long sum);
extern const char short_steps_end[];
__asm__(".text\n.balign 64\n"
	".globl short_steps\n.type short_steps, @function\n"
	"short_steps: .cfi_startproc\n"
	"	push %rbx\n"
	"	push %rsi\n"
	"	mov %rdi, %rbx\n"
	"	inc %rbx\n"
	"	mov %rbx, %rax\n"
	"	add %rbx, %rax\n"
	"	add %rbx, %rax\n"
	"	pop %rsi\n"
	"	and $7, %esi\n"
	"	sub %rsi, %rax\n"
	"	pop %rbx\n"
	"	ret\n"
	"	.cfi_endproc\n.size short_steps, . - short_steps\n"
	"	mov $0, %eax\n	mov $0, %eax\n" /* not padding, and no frame entry */
	".globl short_loop\n.type short_loop, @function\n"
	"short_loop: .cfi_startproc\n"
	"	push %rbx\n"
	"	xor %eax, %eax\n"
	"	mov %rdi, %rbx\n"
	"1:	add %rbx, %rax\n"
	"	nop\n"
	"	dec %rbx\n"
	"	jnz 1b\n"
	"	pop %rbx\n"
	"	ret\n"
	"	.cfi_endproc\n.size short_loop, . - short_loop\n"
	"	.skip 40, 0x90\n"
	".globl tight_loop\n.type tight_loop, @function\n"
	"tight_loop: .cfi_startproc\n"
	"	push %rbx\n"
	"	mov %rdi, %rbx\n"
	"1:	add %rbx, %rsi\n"
	"	dec %rbx\n"
	"	jnz 1b\n"
	"	mov %rsi, %rax\n"
	"	pop %rbx\n"
	"	ret\n"
	"	.cfi_endproc\n.size tight_loop, . - tight_loop\n"
	"	mov $0, %eax\n"
	".globl short_steps_end\nshort_steps_end: ud2\n");

static int threads_wanted;

static void *run_thread(void *arg)
{
	for (long i = (long)(intptr_t)arg;; i++) {
		if (short_steps(i, i + 3) != (i + 1) * 3 - ((i + 3) & 7) || short_loop(i % 20 + 1) != (i % 20 + 1) * (i % 20 + 2) / 2 ||
		    tight_loop(i % 9 + 1, i) != i + (i % 9 + 1) * (i % 9 + 2) / 2)
			__atomic_add_fetch(&shared->wrong, 1, __ATOMIC_RELAXED);
		__atomic_add_fetch(&shared->rounds, 1, __ATOMIC_RELAXED);
		if (i % 500 == 0)
			usleep(300);
	}
	return NULL;
}

/* Signals come while threads are anywhere; the handler takes its time, and uses the same code. */
static void on_alarm(int number)
{
	(void)number;
	for (long i = 1; i < 30; i++)
		if (short_loop(i) != i * (i + 1) / 2 || tight_loop(i, 3) != i * (i + 1) / 2 + 3)
			__atomic_add_fetch(&shared->wrong, 1, __ATOMIC_RELAXED);
}

static void threads_main(void)
{
	struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	timer_t timer;
	struct itimerspec every = { .it_interval = { .tv_nsec = 3000000 }, .it_value = { .tv_nsec = 3000000 } };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	pthread_t thread;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGUSR1, &action, NULL);
	for (int i = 1; i < threads_wanted; i++)
		pthread_create(&thread, NULL, run_thread, (void *)(intptr_t)(i * 1000));
	if (!timer_create(CLOCK_MONOTONIC, &event, &timer))
		timer_settime(timer, 0, &every, NULL);
	run_thread(NULL);
}

/* What can be planned of [from, to). */
static size_t plan_stretch(struct bed *bed, const char *from, const char *to, struct patch_site *sites, size_t n)
{
	uint64_t end = (uint64_t)(uintptr_t)to - bed->module->bias;

	for (uint64_t at = (uint64_t)(uintptr_t)from - bed->module->bias; at && at < end; at = patch_code_start_after(bed->code, at)) {
		sites[n] = (struct patch_site){ .id = (uint32_t)n, .module = bed->module, .vaddr = at };
		patch_target_plan(bed->target, &sites[n]);
		n += sites[n].layer != PATCH_REFUSED;
	}
	return n;
}

static size_t plan_short_steps(struct bed *bed, struct patch_site *sites)
{
	size_t n = plan_stretch(bed, (const char *)(uintptr_t)short_steps, (const char *)(uintptr_t)tight_loop, sites, 0);

	return plan_stretch(bed, (const char *)(uintptr_t)tight_loop, short_steps_end, sites, n);
}

static size_t count_short_groups(const struct bed *bed)
{
	size_t count = 0;

	for (const struct patch_jump *jump = bed->target->jumps; jump; jump = jump->hh.next)
		count += jump->layer == PATCH_L2 && jump->in_padding;
	return count;
}

static void wait_for_rounds(uint64_t more)
{
	uint64_t until = shared->rounds + more;
	uint64_t limit = base_now_ns() + 20000000000ULL;

	while (shared->rounds < until && base_now_ns() < limit)
		usleep(100);
	assert_true(shared->rounds >= until);
}

static int compare_times(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* In and out, again and again; each time every place must be hit, and no result may be wrong. */
static void run_cycles(struct bed *bed, int threads, unsigned cycles)
{
	struct patch_site sites[64];
	uint64_t times[CYCLES];
	size_t late = 0;
	pid_t pid;

	threads_wanted = threads;
	pid = start(threads_main);
	wait_for_rounds(100);
	for (unsigned i = 0; i < cycles; i++) {
		struct patch_report report = { 0 };
		struct utap_error err = { 0 };
		size_t n;

		bed_enter(bed, pid);
		bed->target->without = ONLY_L2;
		n = plan_short_steps(bed, sites);
		assert_in_range(n, 20, 33);
		assert_true(count_short_groups(bed) > 0);
		memset((void *)shared->counters, 0, sizeof(shared->counters));
		if (put_in(bed, sites, n, &err))
			fail_msg("%s", err.text);
		wait_for_rounds(50);
		for (size_t j = 0; j < n; j++) {
			assert_int_equal(shared->counters[j] == 0, sites[j].layer == PATCH_REFUSED);
			late += sites[j].layer == PATCH_REFUSED;
		}
		times[i] = bed->target->held_ns;
		take_out(bed, &report);
		wait_for_rounds(20);
		assert_int_equal(shared->wrong, 0);
	}
	qsort(times, cycles, sizeof(times[0]), compare_times);
	print_message("%d threads, %u cycles: all held for %lu us (median), %lu us at most; %zu sites refused late\n", threads, cycles,
		      (unsigned long)(times[cycles / 2] / 1000), (unsigned long)(times[cycles - 1] / 1000), late);
	assert_true(late <= cycles / 10);
	end(pid);
}

static void test_threads_inside(void **state)
{
	struct bed bed;

	(void)state;
	bed_open(&bed, "/proc/self/exe");
	run_cycles(&bed, 1, 20);
	run_cycles(&bed, THREADS, CYCLES);
	run_cycles(&bed, 100, 1);
	bed_close(&bed);
}

/* ---- killed ---- */

/* Groups in and out without end; somebody will kill us. */
__attribute__((noreturn)) static void patch_for_ever(struct bed *bed, pid_t pid)
{
	for (;;) {
		struct patch_site sites[64];
		struct patch_report report = { 0 };
		struct utap_error err;
		size_t n;

		bed_enter(bed, pid);
		bed->target->without = ONLY_L2;
		n = plan_short_steps(bed, sites);
		if (put_in(bed, sites, n, &err) || patch_target_undo(bed->target, &report, &err) ||
		    patch_target_release(bed->target, &report, &err))
			_exit(1);
		patch_target_close(bed->target);
	}
}

static bool is_original(pid_t pid)
{
	_cleanup_close_ int mem = process_mem_open(pid);
	uint8_t live[512];
	size_t size = (size_t)(short_steps_end - (const char *)(uintptr_t)short_steps);

	assert_true(size <= sizeof(live));
	assert_int_equal(process_read(mem, (utap_addr)(uintptr_t)short_steps, live, size), 0);
	return !memcmp(live, (const void *)(uintptr_t)short_steps, size);
}

/* Take over what is left, as `utap detach` does. @return places that were still patched */
static size_t clean_up(pid_t pid)
{
	struct patch_report report = { 0 };
	struct patch_target *target;
	struct utap_error err = { 0 };
	pid_t owner;
	int error = patch_target_adopt(pid, &target, &owner, &err);

	if (error == -ENOENT)
		return 0;
	if (error || patch_target_undo(target, &report, &err) || patch_target_release(target, &report, &err))
		fail_msg("%s", err.text);
	patch_target_close(target);
	return report.sites;
}

/* At any instant: the target runs on and its results stay right, with the groups in its text or without. */
static void test_killed(void **state)
{
	size_t patched = 0, left = 0;
	struct bed bed;
	pid_t pid;

	(void)state;
	threads_wanted = THREADS;
	pid = start(threads_main);
	bed_open(&bed, "/proc/self/exe");
	wait_for_rounds(100);
	for (int i = 0; i < 60; i++) {
		pid_t attacher = fork();
		int status;

		assert_true(attacher >= 0);
		if (!attacher)
			patch_for_ever(&bed, pid);
		usleep((unsigned)(next_random() >> 33) % 30000);
		assert_int_equal(waitpid(attacher, &status, WNOHANG), 0); /* it has not failed */
		kill(attacher, SIGKILL);
		waitpid(attacher, &status, 0);
		wait_for_rounds(30);
		patched += !is_original(pid);
		left += clean_up(pid) > 0;
		assert_true(is_original(pid));
		wait_for_rounds(30);
		assert_int_equal(shared->wrong, 0);
	}
	print_message("60 killed: %zu left groups in the text\n", patched);
	assert_true(left <= patched); /* a lent thread may have ended its call by itself in between */
	end(pid);
	bed_close(&bed);
}

/* What no jump takes gets a trampoline all the same; its byte is left to whoever catches traps. */
static void test_traps(void **state)
{
	struct patch_site sites[64];
	struct patch_report report = { 0 };
	struct utap_error err = { 0 };
	const struct patch_trap *traps;
	struct bed bed;
	size_t ntraps, n;
	pid_t pid;

	(void)state;
	threads_wanted = 1;
	pid = start(threads_main);
	bed_open(&bed, "/proc/self/exe");
	bed_enter(&bed, pid);
	bed.target->without = ONLY_L2 | 1 << PATCH_L2;
	assert_int_equal(plan_short_steps(&bed, sites), 0);
	patch_target_allow_trap(bed.target, true);
	n = plan_short_steps(&bed, sites);
	assert_true(n > 15);
	if (put_in(&bed, sites, n, &err))
		fail_msg("%s", err.text);
	ntraps = patch_target_traps(bed.target, &traps);
	assert_in_range(ntraps, 3, n); /* a stretch without ways in needs only one */
	for (size_t i = 0; i < n; i++) {
		size_t j = 0;

		assert_int_equal(sites[i].layer, PATCH_L0);
		while (j < ntraps && (traps[j].addr != sites[i].start || traps[j].stub != sites[i].stub))
			j++;
		assert_true(j < ntraps);
	}
	for (size_t i = 0; i < ntraps; i++) {
		struct isa_insn insn;
		uint8_t live;

		assert_int_equal(process_read(bed.target->mem, traps[i].addr, &live, 1), 0);
		assert_int_equal(live, traps[i].original);
		assert_true(patch_insn_at(bed.module, traps[i].addr - bed.module->bias, &insn));
		assert_int_equal(live, insn.bytes[0]);
		assert_int_equal(traps[i].length, insn.length);
		assert_true(traps[i].stub != 0);
	}
	wait_for_rounds(20);
	take_out(&bed, &report);
	assert_int_equal(report.sites, 0);
	wait_for_rounds(20);
	end(pid);
	bed_close(&bed);
}

/* ---- the kernel's uprobes ---- */

__attribute__((noreturn)) static void idle_main(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		usleep(1000);
}

/* What the kernel does when an uprobe over a place of ours is taken out again: the file's first byte comes back, and only that. */
static void restore_first_bytes(struct bed *bed, const struct patch_site *sites, size_t n, bool is_in)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t vaddr = sites[i].start - bed->module->bias;
		size_t available;
		const uint8_t *text = object_code(bed->object, vaddr, &available);
		uint8_t byte = is_in ? 0xcc : text[0];

		assert_int_equal(process_write(bed->target->mem, sites[i].start, &byte, 1), 0);
	}
}

/* Seen while it is there, or only when it is gone: the text becomes the file's. */
static void test_uprobes(void **state)
{
	struct patch_report report = { 0 };
	struct patch_site sites[64];
	struct utap_error err = { 0 };
	struct bed bed;
	size_t n;
	pid_t pid;

	(void)state;
	pid = start(idle_main);
	bed_open(&bed, "/proc/self/exe");
	for (int round = 0; round < 3; round++) {
		bed_enter(&bed, pid);
		bed.target->without = round ? ONLY_L2 : 0;
		n = plan_short_steps(&bed, sites);
		if (put_in(&bed, sites, n, &err))
			fail_msg("%s", err.text);
		assert_false(is_original(pid));
		restore_first_bytes(&bed, sites, n, round == 2);
		assert_true(patch_target_yield(bed.target) > 0);
		if (round == 2)
			restore_first_bytes(&bed, sites, n, false);
		assert_int_equal(patch_target_yield(bed.target), 0);
		take_out(&bed, &report);
		assert_int_equal(report.sites, 0);
		assert_true(is_original(pid));
	}
	end(pid);
	bed_close(&bed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_traps),
		cmocka_unit_test(test_killed),
		cmocka_unit_test(test_uprobes),
		cmocka_unit_test(test_threads_inside),
	};

	return set_up() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
