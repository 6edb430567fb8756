/* SPDX-License-Identifier: MIT */
/*
 * Whoever put traps in is killed at random moments: before, while and after they go in or come out. The target - threads, children, a
 * handled and blocked SIGTRAP - goes on with correct results, its text is as it was, and nobody traces it. UTAP_KILLS sets the number of
 * rounds, UTAP_SEED the seed.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <time.h>

#include <cmocka.h>

#include "unit/trap_room.h"

#define TARGETS_EACH 25 /* rounds */

static void on_trap(int number) { (void)number; }

static void *call_checked(void *arg)
{
	struct sigaction action = { .sa_handler = on_trap };
	long calls = (long)(uintptr_t)arg;

	trap_block(SIG_BLOCK, SIGTRAP);
	for (int i = 0; trap_shared->go == 1 && (calls > 3 || i < 20); i++) {
		trap_calls(calls);
		EXPECT(trap_is_blocked() && trap_action_is(&action), 0);
		trap_shared->rounds++;
		usleep(200);
	}
	return NULL;
}

static void *make_threads(void *arg)
{
	(void)arg;
	while (trap_shared->go == 1) {
		pthread_t thread;
		pid_t pid;

		EXPECT(!pthread_create(&thread, NULL, call_checked, (void *)3), errno);
		pthread_detach(thread);
		pid = fork();
		if (!pid) {
			trap_calls(5);
			_exit(6);
		}
		trap_call(2);
		if (pid > 0) {
			int status = -1;

			EXPECT(waitpid(pid, &status, 0) == pid && status == 6 << 8, status);
		}
		pid = vfork();
		if (!pid) {
			trap_calls(2);
			_exit(7);
		}
		if (pid > 0) {
			int status = -1;

			EXPECT(waitpid(pid, &status, 0) == pid && status == 7 << 8, status);
		}
		usleep(300);
	}
	return NULL;
}

static void *call_short(void *arg)
{
	(void)arg;
	trap_calls(10);
	return NULL;
}

static void run_all(void)
{
	struct sigaction action = { .sa_handler = on_trap };
	pthread_t threads[3];

	sigaction(SIGTRAP, &action, NULL);
	pthread_create(&threads[0], NULL, call_checked, (void *)5);
	pthread_create(&threads[1], NULL, call_checked, (void *)4);
	pthread_create(&threads[2], NULL, make_threads, NULL);
	while (trap_shared->go == 1) {
		pthread_t thread;

		EXPECT(!pthread_create(&thread, NULL, call_short, NULL), errno);
		pthread_join(thread, NULL);
		raise(SIGTRAP);
	}
	for (size_t i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
}

/* In its own process, which is to be killed. */
static void in_and_out(pid_t pid)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0;; i++) {
		struct engine_trap list[TRAP_SITES];
		struct engine_traps *traps;

		trap_list(list);
		if (engine_traps_start(pid, list, TRAP_SITES, &traps, NULL))
			continue; /* that of the round before is just leaving; or a vfork() is going on */
		usleep((useconds_t)(i % 3 * 700));
		if (i % 4 && engine_traps_stop(traps, NULL, NULL))
			_exit(1);
		else if (i % 4 == 0)
			pause();
	}
}

static bool is_traced(pid_t pid)
{
	_cleanup_free_ pid_t *tids = NULL;
	long count = process_threads(pid, &tids);

	for (long i = 0; i < count; i++) {
		struct process_status status;

		if (!process_status_read(tids[i], &status) && status.tracer)
			return true;
	}
	return false;
}

static void wait_until_untraced(pid_t pid)
{
	for (int i = 0; is_traced(pid); i++) {
		if (i == 10000)
			fail_msg("process %d is still traced", pid);
		nap();
	}
}

static unsigned seed;

static void round_of_death(pid_t target)
{
	pid_t killed = fork();
	uint64_t rounds;

	assert_true(killed >= 0);
	if (!killed)
		in_and_out(target);
	usleep((useconds_t)(rand_r(&seed) % 20000));
	kill(killed, SIGKILL);
	waitpid(killed, NULL, 0);
	wait_until_untraced(target);
	check_text(target);
	rounds = trap_shared->rounds;
	for (int i = 0; i < 10000 && trap_shared->rounds == rounds; i++)
		nap();
	if (trap_shared->wrong)
		fail_msg("the target found something wrong at line %d: %lld", trap_shared->wrong,
			 (long long)trap_shared->detail);
	assert_true(trap_shared->rounds > rounds);
}

static int number_of(const char *name, int usual)
{
	const char *text = getenv(name);

	return text ? atoi(text) : usual;
}

static void test_killed(void **state)
{
	int rounds = number_of("UTAP_KILLS", 200);
	uint64_t hits = 0;

	(void)state;
	seed = (unsigned)number_of("UTAP_SEED", (int)(time(NULL) & 0xffffff));
	printf("seed %u\n", seed);
	for (int done = 0; done < rounds;) {
		pid_t pid = start(run_all);

		trap_shared->go = 1;
		while (!trap_shared->rounds)
			nap();
		for (int i = 0; i < TARGETS_EACH && done < rounds; i++, done++)
			round_of_death(pid);
		hits += trap_shared->hits;
		trap_shared->go = 0;
		wait_for(&trap_shared->done);
		finish(pid);
	}
	assert_true(hits > (uint64_t)rounds);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_killed) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
