/* SPDX-License-Identifier: MIT */
/*
 * LONG records while threads run, signals arrive in the middle of them, whose handlers are probed too, jump away or fork, and processes are
 * killed: each record that is there is whole, and each hit has one, or was counted as lost, or was left.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include "long_bed.h"

#define THREADS 3
#define HITS 60000U
#define ID_NESTED 6U
#define KICK_NS 30000
#define KILLS 50
#define FORKS 60
#define CHILD_HITS 4
#define TEXT_MOST 5000U

static const char nested_text[] = "a handler's";
static fake_function *probe, *nested;

struct worker {
	pthread_t thread;
	atomic_bool begun, ended;
	atomic_uint done, left;
	char *text;
};
static struct worker workers[THREADS];
static atomic_ulong nested_hits;
static atomic_bool jump_out;
static _Thread_local sigjmp_buf *way_out;
static _Thread_local unsigned kicks;

/* What a record holds follows from one number. */
static unsigned text_length(uint64_t n)
{
	return (unsigned)(n * 7 % (n % 16 ? 300 : TEXT_MOST));
}
static char text_letter(uint64_t n)
{
	return (char)('a' + n % 26);
}

static void hit_number(char *text, uint64_t n)
{
	n %= 4096;
	memset(text, text_letter(n), text_length(n));
	text[text_length(n)] = 0;
	assert(probe((long)text, (long)n) == (long)text + (long)n);
}

struct found {
	uint64_t probe, nested;
	pid_t only; /* count those of this process; 0: all */
};

static uint64_t lost_both(void)
{
	return long_lost(LONG_ID) + long_lost(ID_NESTED);
}

static void check_bytes(const uint8_t *bytes, unsigned size, char letter)
{
	for (unsigned i = 0; i < size; i++)
		if (bytes[i] != letter)
			fail_msg("byte %u is %x", i, bytes[i]);
}

static int see(void *arg, const struct trace_record *record)
{
	struct found *found = arg;
	uint64_t n = record->args[3];
	uint64_t text = record->args[0];
	unsigned length = text_length(n);
	const uint8_t *bytes = record->bytes + wire_locator_offset(text);

	if (record->id == ID_NESTED) {
		assert_int_equal(wire_locator_bytes(text), sizeof(nested_text));
		assert_memory_equal(bytes, nested_text, sizeof(nested_text));
		found->nested++;
		return 0;
	}
	assert_int_equal(record->id, LONG_ID);
	assert_int_equal(text & (WIRE_LOCATOR_FAILED | WIRE_LOCATOR_SHORT), 0);
	assert_int_equal(wire_locator_bytes(text), length + 1);
	check_bytes(bytes, length, text_letter(n));
	assert_int_equal(bytes[length], 0);
	assert_int_equal(wire_locator_bytes(record->args[1]), n);
	if (n <= length)
		check_bytes(record->bytes + wire_locator_offset(record->args[1]), (unsigned)n, text_letter(n));
	found->probe += !found->only || record->pid == (uint32_t)found->only;
	return 0;
}

static void drain(struct found *found, bool all)
{
	assert_true(trace_reader_drain(bed.reader, all, see, found) >= 0);
	expect_no_damage();
}

static void begin(bool rseq)
{
	long_reset(rseq, false);
	probe = long_function(long_text, LONG_ID);
	nested = long_function(long_text, ID_NESTED);
	nested_hits = 0;
	jump_out = false;
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i].begun = workers[i].ended = false;
		workers[i].done = workers[i].left = 0;
		if (!workers[i].text)
			workers[i].text = fake_map(2 * TEXT_MOST);
	}
}

static bool have_rseq(void)
{
	if (!__rseq_size)
		print_message("skipped: this C library registers no rseq\n");
	return __rseq_size;
}

/* ---- threads, and signals whose handlers are probed ---- */

static void on_kick(int signal)
{
	assert(nested((long)nested_text, 1) == (long)nested_text + 1);
	nested_hits++;
	if (jump_out && way_out && ++kicks % 3 == 0)
		siglongjmp(*way_out, 1);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	sigjmp_buf out;
	volatile unsigned i = 0;

	if (sigsetjmp(out, 1)) {
		w->left++;
		i++;
	}
	w->begun = true;
	way_out = &out;
	while (i < HITS) {
		hit_number(w->text, i);
		i++;
	}
	way_out = NULL;
	w->done = HITS;
	w->ended = true;
	return NULL;
}

static bool all_ended(void)
{
	for (unsigned i = 0; i < THREADS; i++)
		if (!workers[i].ended)
			return false;
	return true;
}

static void run(struct found *found)
{
	struct timespec pause = { .tv_nsec = KICK_NS };

	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	for (unsigned turn = 0; !all_ended(); turn++) {
		struct worker *w = &workers[turn % THREADS];

		if (w->begun && !w->ended)
			pthread_kill(w->thread, SIGUSR1);
		drain(found, false);
		nanosleep(&pause, NULL);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	drain(found, true);
	print_message("%lu records, %lu of handlers, %lu lost, %u slots left\n", found->probe, found->nested, lost_both(), long_slots_taken());
}

static void exact(bool rseq)
{
	struct found found = { 0 };

	begin(rseq);
	run(&found);
	assert_int_equal(found.probe + long_lost(LONG_ID), (uint64_t)THREADS * HITS);
	assert_int_equal(found.nested + long_lost(ID_NESTED), nested_hits);
	assert_true(nested_hits > 100 && found.probe > HITS / 10);
	assert_int_equal(long_slots_taken(), 0);
}

static void test_threads(void **state)
{
	if (!have_rseq())
		skip();
	exact(true);
}

static void test_threads_cells(void **state)
{
	exact(false);
}

/* How many of the slots that are taken can be had again, all being wanted? */
static unsigned take_again(struct wire_long owners[static LONG_SLOTS])
{
	struct found found = { 0 };
	unsigned again = 0;

	for (unsigned misses = 0; misses < 200;) {
		uint64_t before = found.probe;

		for (uint64_t i = 0; i < LONG_SLOTS; i++) {
			owners[i].record = fake_address(long_slot(i)->record);
			if (!long_slot(i)->owner)
				long_slot(i)->owner = fake_address(&owners[i]);
		}
		hit_number(workers[0].text, 1);
		drain(&found, true);
		misses = found.probe == before ? misses + 1 : 0;
		again += found.probe != before;
	}
	return again;
}

/* A hit that a jump left has a record or none; its slot is found again. */
static void test_jumps(void **state)
{
	struct found found = { 0 };
	struct wire_long owners[LONG_SLOTS];
	unsigned left = 0, taken, again;

	if (!have_rseq())
		skip();
	begin(true);
	jump_out = true;
	run(&found);
	for (unsigned i = 0; i < THREADS; i++)
		left += workers[i].left;
	print_message("%u hits were left by a jump\n", left);
	assert_true(left > 30);
	assert_true(found.probe + long_lost(LONG_ID) <= (uint64_t)THREADS * HITS + left);
	assert_true(found.probe + long_lost(LONG_ID) + left >= (uint64_t)THREADS * HITS);
	taken = long_slots_taken();
	again = take_again(owners);
	/* A stack that nobody uses any more may still say so: of a thread that is gone, at the depth where it jumped. */
	print_message("%u slots were taken, %u of them were to be had\n", taken, again);
	assert_true(again + 16 > taken && again <= taken + 1);
}

/* ---- processes that are killed ---- */

static void *work_forever(void *arg)
{
	for (uint64_t i = 0;; i++)
		hit_number(arg, i);
	return NULL;
}

static pid_t start_child(void)
{
	pid_t child = fork();
	pthread_t other;

	assert_true(child >= 0);
	if (child)
		return child;
	pthread_create(&other, NULL, work_forever, workers[0].text);
	work_forever(workers[1].text);
	_exit(1);
}

static uint64_t kill_once(unsigned n)
{
	struct timespec life = { .tv_nsec = 500000 + 7919 * (long)n };
	struct found found = { 0 };
	pid_t child = start_child();

	do {
		nanosleep(&life, NULL);
		drain(&found, false);
	} while (found.probe < 50 && !long_lost(LONG_ID));
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
	drain(&found, true);
	return found.probe;
}

static void test_killed(void **state)
{
	uint64_t records = 0;

	for (unsigned n = 0; n < KILLS; n++) {
		if (n == 0 && have_rseq())
			begin(true);
		else if (n >= KILLS / 2 || !__rseq_size) /* a dead one's cell would be waited for */
			begin(false);
		records += kill_once(n);
		assert_int_equal(long_slots_taken(), 0); /* a child's slots are its own */
	}
	print_message("%lu records of %d killed processes\n", records, KILLS);
	assert_true(records > 50UL * KILLS);
}

/* ---- a handler that forks ---- */

static volatile unsigned forks;
static volatile bool is_child;

static void on_alarm(int signal)
{
	if (forks >= FORKS || is_child)
		return;
	forks++;
	if (fork() == 0)
		is_child = true;
}

static uint64_t fork_in_handlers(bool rseq)
{
	struct itimerval often = { .it_interval.tv_usec = 1700, .it_value.tv_usec = 1000 }, never = { 0 };
	struct found found = { .only = getpid() };
	uint64_t hits = 0;
	sigset_t alarms;

	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	begin(rseq);
	forks = 0;
	setitimer(ITIMER_REAL, &often, NULL);
	for (unsigned more = 0; forks < FORKS || more < 100; hits++) {
		hit_number(workers[0].text + (is_child ? TEXT_MOST : 0), hits);
		if (is_child && more++ == CHILD_HITS)
			_exit(0);
		more += !is_child && forks == FORKS;
		if (is_child || hits % 16) /* an alarm that comes while they are blocked would hit no record */
			continue;
		sigprocmask(SIG_BLOCK, &alarms, NULL); /* a child must not read */
		drain(&found, true);
		sigprocmask(SIG_UNBLOCK, &alarms, NULL);
	}
	setitimer(ITIMER_REAL, &never, NULL);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	drain(&found, true);
	print_message("%lu hits, %lu records of the parent, %lu lost, %u forks\n", hits, found.probe, long_lost(LONG_ID), forks);
	assert_true(found.probe <= hits);
	assert_true(found.probe + long_lost(LONG_ID) >= hits);
	assert_true(long_lost(LONG_ID) <= FORKS); /* what was being made when it was forked */
	return long_lost(LONG_ID);
	assert_int_equal(long_slots_taken(), 0);
}

/* Private text: the parent and its children must not write over each other's. */
static void test_forks(void **state)
{
	char *shared = workers[0].text;
	uint64_t in_the_middle = 0;

	if (!have_rseq())
		skip();
	workers[0].text = calloc(2, TEXT_MOST);
	for (unsigned round = 0; round < 8 && !in_the_middle; round++)
		in_the_middle = fork_in_handlers(true);
	assert_true(in_the_middle);
	free(workers[0].text);
	workers[0].text = shared;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads), cmocka_unit_test(test_threads_cells), cmocka_unit_test(test_jumps),
		cmocka_unit_test(test_killed),  cmocka_unit_test(test_forks),
	};
	struct sigaction kick = { .sa_handler = on_kick }, alarm = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };

	sigaction(SIGUSR1, &kick, NULL);
	sigaction(SIGALRM, &alarm, NULL);
	return cmocka_run_group_tests(tests, long_setup, NULL);
}
