/* SPDX-License-Identifier: MIT */
/*
 * Every instruction of real code probed at once, against the processor's single step: a child of this program does some work in libc, step by step, and
 * it is counted how often each instruction ran, each branch was taken, each indirect jump left its function. Then as many of these places as
 * can be are probed, the same work is done at full speed, and every count must be the same. And the work's result, of course.
 */
#include "groups_bed.h"

#include <regex.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <wchar.h>

#define STEPS_MAX 3000000

/* ---- the work ---- */

static uint64_t mix(uint64_t sum, const void *bytes, size_t size)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < size; i++)
		sum = (sum ^ at[i]) * 0x100000001b3ULL;
	return sum;
}

static int compare_numbers(const void *a, const void *b)
{
	long x = *(const long *)a, y = *(const long *)b;

	return x < y ? -1 : x > y;
}

static uint64_t print_numbers(uint64_t sum)
{
	char text[200];

	for (int i = -1; i < 4; i++) {
		int length = snprintf(text, sizeof(text), "%d %#x %08.3f %g %a %s %c %5.2e %zu|%-7ld|%+d %%", i, i * 77, i * 1.7, i / 3.0,
				      i * 0.1, "word", 'a' + i, i * 1e10, (size_t)i * 9, (long)i * i * i, i);

		sum = mix(sum, text, (size_t)length);
		sum = mix(sum, &(double){ strtod(text + 3, NULL) }, 8);
		sum += strtoul(text, NULL, 0) + (unsigned long)atol(text);
	}
	return sum;
}

static uint64_t search_text(uint64_t sum)
{
	static const char text[] = "the quick brown fox jumps over the lazy dog 1234 times, x=17; y=-4.25e3";
	char copy[sizeof(text)];
	regex_t regex;
	regmatch_t match[3];
	int a = 0;
	float b = 0;

	memcpy(copy, text, sizeof(text));
	for (char *word = strtok(copy, " ,;"); word; word = strtok(NULL, " ,;"))
		sum = mix(sum, word, strlen(word)) + strspn(word, "abcdefgh") + strcspn(word, "xyz=");
	sum += (uint64_t)(strstr(text, "lazy") - text) + (uint64_t)((const char *)memmem(text, sizeof(text), "y=-", 3) - text);
	sum += (uint64_t)(strpbrk(text, "0123456789") - text) + (uint64_t)(strrchr(text, 'o') - text);
	sum += (uint64_t)sscanf(strstr(text, "x="), "x=%d; y=%f", &a, &b) + (uint64_t)a + (uint64_t)(int64_t)b;
	if (!regcomp(&regex, "([a-z]+) (over|under) .*[0-9]{2,}", REG_EXTENDED | REG_ICASE)) {
		sum += (uint64_t)regexec(&regex, text, 3, match, 0) + (uint64_t)match[1].rm_so * 7 + (uint64_t)match[0].rm_eo;
		regfree(&regex);
	}
	return sum;
}

static uint64_t sort_and_allocate(uint64_t sum)
{
	long numbers[40];
	void *blocks[30];
	wchar_t wide[40];

	for (int i = 0; i < 40; i++)
		numbers[i] = (i * 7919 + 13) % 101;
	qsort(numbers, 40, sizeof(numbers[0]), compare_numbers);
	sum = mix(sum, numbers, sizeof(numbers));
	for (size_t i = 0; i < 30; i++) {
		blocks[i] = malloc(16 + i * i * 13);
		memset(blocks[i], (int)i, 16 + i);
	}
	for (size_t i = 0; i < 30; i += 2)
		blocks[i] = realloc(blocks[i], 40 + i * 31);
	for (size_t i = 0; i < 30; i++) {
		sum = mix(sum, blocks[i], 16);
		free(blocks[i]);
	}
	swprintf(wide, 40, L"%ls %d", L"wide", 42);
	return sum + wcslen(wide) + (uint64_t)wcstol(wide + 5, NULL, 10);
}

static uint64_t jump_about(uint64_t sum)
{
	jmp_buf back;
	volatile int times = 0;
	int got = setjmp(back);

	times++;
	if (got < 3)
		longjmp(back, got + 1);
	return sum + (uint64_t)times;
}

static uint64_t work(void)
{
	uint64_t sum = 0xcbf29ce484222325ULL;

	sum = print_numbers(sum);
	sum = search_text(sum);
	sum = sort_and_allocate(sum);
	return jump_about(sum);
}

/* Nothing of libc is touched but by the work: that would be counted. */
static long raw_call(long number, long a, long b, long c, long d)
{
	long result;
	register long r10 __asm__("r10") = d;

	__asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
	return result;
}

/* Each time in a child of its own, so that the heap always looks the same. */
__attribute__((noreturn)) static void child_main(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		long pid;

		while (shared->order == shared->done)
			raw_call(SYS_sched_yield, 0, 0, 0, 0);
		pid = raw_call(SYS_fork, 0, 0, 0, 0);
		if (!pid) {
			shared->result = work();
			raw_call(SYS_exit_group, 0, 0, 0, 0);
		}
		while (raw_call(SYS_wait4, pid, 0, 0, 0) != pid)
			;
		shared->done = shared->order;
	}
}

static uint64_t let_work(pid_t pid)
{
	uint64_t limit = base_now_ns() + 60000000000ULL;

	shared->result = 0;
	shared->order++;
	while (shared->done != shared->order && base_now_ns() < limit) {
		int status;

		if (waitpid(pid, &status, WNOHANG) == pid)
			fail_msg("the child died, status 0x%x", status);
		usleep(500);
	}
	assert_int_equal(shared->done, shared->order);
	return shared->result;
}

/* ---- the oracle ---- */

struct step_count {
	uint32_t ran, taken, left;
};

static bool repeats(const struct bed *bed, uint64_t vaddr)
{
	size_t available;
	const uint8_t *bytes = object_code(bed->object, vaddr, &available);

	return bytes && (bytes[0] == 0xf2 || bytes[0] == 0xf3);
}

static void count_step(struct bed *bed, struct step_count *counts, utap_addr from, utap_addr to)
{
	struct patch_module *module = bed->module;
	uint64_t vaddr = from - module->bias;
	const struct object_range *range;

	if (vaddr < module->low || vaddr >= module->high || (from == to && repeats(bed, vaddr)))
		return;
	counts[vaddr - module->low].ran++;
	counts[vaddr - module->low].taken += to - module->bias != patch_code_start_after(bed->code, vaddr);
	range = object_range_at(bed->object, vaddr);
	counts[vaddr - module->low].left += !range || to - module->bias < range->start || to - module->bias >= range->end;
}

/* Order work and stop the one who does it before its first instruction. */
static pid_t catch_worker(pid_t pid)
{
	unsigned long worker;
	int status;

	assert_int_equal(ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACEFORK), 0);
	shared->order++;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status >> 8, SIGTRAP | PTRACE_EVENT_FORK << 8);
	assert_int_equal(ptrace(PTRACE_GETEVENTMSG, pid, 0, &worker), 0);
	assert_int_equal(waitpid((pid_t)worker, &status, __WALL), worker);
	assert_int_equal(ptrace(PTRACE_DETACH, pid, 0, 0), 0);
	return (pid_t)worker;
}

/* Let it work, step by step. */
static unsigned long step_through(struct bed *bed, pid_t pid, struct step_count *counts)
{
	struct user_regs_struct regs;
	pid_t worker = catch_worker(pid);
	unsigned long steps = 0;
	utap_addr from;
	int status;

	assert_int_equal(ptrace(PTRACE_GETREGS, worker, 0, &regs), 0);
	while (steps++ < STEPS_MAX) {
		from = regs.rip;
		assert_int_equal(ptrace(PTRACE_SINGLESTEP, worker, 0, 0), 0);
		assert_int_equal(waitpid(worker, &status, __WALL), worker);
		if (WIFEXITED(status))
			break;
		assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
		assert_int_equal(ptrace(PTRACE_GETREGS, worker, 0, &regs), 0);
		count_step(bed, counts, from, regs.rip);
	}
	while (shared->done != shared->order)
		usleep(1000);
	return steps;
}

static enum patch_when any_when(const struct isa_insn *insn)
{
	bool half = next_random() >> 40 & 1;

	if (insn->class == ISA_BRANCH || insn->class == ISA_LOOP)
		return half ? PATCH_WHEN_TAKEN : PATCH_WHEN_REACHED;
	if (insn->class == ISA_JUMP_INDIRECT)
		return half ? PATCH_WHEN_LEAVING : PATCH_WHEN_REACHED;
	return PATCH_WHEN_REACHED;
}

static uint64_t expected(const struct bed *bed, const struct step_count *counts, const struct patch_site *site)
{
	const struct step_count *count = &counts[site->addr - bed->module->bias - bed->module->low];

	switch (site->when) {
	case PATCH_WHEN_REACHED:
		return count->ran;
	case PATCH_WHEN_TAKEN:
		return count->taken;
	case PATCH_WHEN_LEAVING:
		return count->left;
	}
	return 0;
}

/* One of @every of the instructions that ran; in random order when @shuffle. Returns how many could be planned. */
static size_t plan_some(struct bed *bed, const struct step_count *counts, unsigned every, bool shuffle, struct patch_site *sites,
			size_t limit, size_t *refused)
{
	uint64_t span = bed->module->high - bed->module->low;
	uint64_t *vaddrs = calloc(span, sizeof(*vaddrs));
	size_t n = 0, planned = 0;

	assert_non_null(vaddrs);
	for (uint64_t i = 0; i < span; i++)
		if (counts[i].ran && (next_random() >> 33) % every == 0)
			vaddrs[n++] = bed->module->low + i;
	for (size_t i = n; shuffle && i > 1; i--) {
		size_t j = (next_random() >> 33) % i;
		uint64_t vaddr = vaddrs[i - 1];

		vaddrs[i - 1] = vaddrs[j];
		vaddrs[j] = vaddr;
	}
	*refused = 0;
	for (size_t i = 0; i < n && planned < limit; i++) {
		struct patch_site *site = &sites[planned];
		const struct object_range *range = object_range_at(bed->object, vaddrs[i]);
		struct isa_insn insn;

		*site = (struct patch_site){ .id = (uint32_t)planned, .module = bed->module, .vaddr = vaddrs[i] };
		if (patch_insn_at(bed->module, vaddrs[i], &insn))
			site->when = any_when(&insn);
		if (range)
			site->stay[next_random() >> 40 & 1] = *range;
		patch_target_plan(bed->target, site);
		if (site->layer == PATCH_REFUSED)
			(*refused)++;
		else if (insn.class == ISA_ENDBR) /* its program stands at the next instruction: that is counted instead */
			(*refused)++, site->layer = PATCH_REFUSED;
		else
			planned++;
	}
	free(vaddrs);
	return planned;
}

static size_t compare_counts(const struct bed *bed, const struct step_count *counts, const struct patch_site *sites, size_t count,
			     size_t *applied)
{
	size_t wrong = 0;

	*applied = 0;
	for (size_t i = 0; i < count; i++) {
		uint64_t want = expected(bed, counts, &sites[i]);
		char text[100];

		if (sites[i].layer == PATCH_REFUSED)
			continue;
		(*applied)++;
		if (shared->counters[i] == want || ++wrong > 10)
			continue;
		isa_format(&sites[i].insn, text, sizeof(text));
		print_message("  %#lx L%d (start %+ld) when %d: %s: %lu, not %lu\n", (unsigned long)sites[i].vaddr, (int)sites[i].layer,
			      (long)(sites[i].start - sites[i].addr), (int)sites[i].when, text, (unsigned long)shared->counters[i],
			      (unsigned long)want);
	}
	return wrong;
}

/* Probe, work, compare, take out. */
static void compare_round(struct bed *bed, pid_t pid, const struct step_count *counts, uint64_t result, unsigned every, bool shuffle,
			  size_t limit, unsigned without)
{
	struct patch_site *sites = calloc(limit, sizeof(*sites));
	unsigned long layers[PATCH_L0 + 1] = { 0 };
	struct patch_report report = { 0 };
	struct utap_error err = { 0 };
	size_t refused, applied, n, joined = 0;

	assert_non_null(sites);
	bed_enter(bed, pid);
	bed->target->without = without;
	bed->target->expected = shuffle ? PATCH_MANY : 0;
	n = plan_some(bed, counts, every, shuffle, sites, limit, &refused);
	memset((void *)shared->counters, 0, sizeof(shared->counters));
	if (put_in(bed, sites, n, &err))
		fail_msg("%s", err.text);
	assert_int_equal(let_work(pid), result);
	for (size_t i = 0; i < n; i++) {
		layers[sites[i].layer]++;
		joined += sites[i].start != sites[i].addr;
		if (sites[i].layer == PATCH_REFUSED)
			print_message("  late refusal: %s\n", sites[i].why);
	}
	assert_int_equal(compare_counts(bed, counts, sites, n, &applied), 0);
	print_message("every %u%s: %zu refused, %zu applied (L1 %lu, L3 %lu, L4 %lu, L2 %lu; %zu by an earlier jump), held %lu us\n", every,
		      shuffle ? ", in random order" : "", refused, applied, layers[PATCH_L1], layers[PATCH_L3], layers[PATCH_L4],
		      layers[PATCH_L2], joined, (unsigned long)(bed->target->stopped_ns / 1000));
	take_out(bed, &report);
	assert_int_equal(report.sites, applied);
	assert_int_equal(let_work(pid), result);
	free(sites);
}

static void test_counts_equal_single_steps(void **state)
{
	struct step_count *counts;
	struct bed bed;
	pid_t pid = start(child_main);
	uint64_t result;
	unsigned long steps;

	(void)state;
	bed_open(&bed, "/lib/x86_64-linux-gnu/libc.so.6");
	bed_enter(&bed, pid);
	counts = calloc(bed.module->high - bed.module->low, sizeof(*counts));
	assert_non_null(counts);
	result = let_work(pid);
	steps = step_through(&bed, pid, counts);
	assert_int_equal(shared->result, result);
	print_message("%lu steps\n", steps);
	patch_target_close(bed.target);
	compare_round(&bed, pid, counts, result, 1, false, COUNTERS, 0);
	compare_round(&bed, pid, counts, result, 1, true, COUNTERS, 0);
	compare_round(&bed, pid, counts, result, 3, false, COUNTERS, 0);
	compare_round(&bed, pid, counts, result, 1, false, COUNTERS, ONLY_L2);
	compare_round(&bed, pid, counts, result, 8, true, COUNTERS, ONLY_L2);
	compare_round(&bed, pid, counts, result, 2, true, COUNTERS, 1 << PATCH_L3 | 1 << PATCH_L4);
	for (int i = 0; i < 6; i++) /* few: their trampolines include the program */
		compare_round(&bed, pid, counts, result, 100, true, 120, i & 1 ? 0 : ONLY_L2);
	end(pid);
	free(counts);
	bed_close(&bed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts_equal_single_steps),
	};

	return set_up() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
