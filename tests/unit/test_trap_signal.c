/* SPDX-License-Identifier: MIT */
/*
 * SIGTRAP is the program's: blocked, ignored, handled, raised and sent, changed while traps are in and hit all the time. At each moment
 * it finds its mask and its action as it left them, and gets its own SIGTRAPs, no others.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>

#include <cmocka.h>

#include "unit/trap_room.h"

extern char **environ;

/* ---- what the handler saw ---- */

static volatile int seen, seen_code, seen_pid;
static volatile bool seen_blocked;

static void on_trap(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	seen++;
	seen_code = info->si_code;
	seen_pid = info->si_pid;
	seen_blocked = trap_is_blocked();
	trap_call(9);
	EXPECT(trap_is_blocked() == seen_blocked, seen);
}

static void on_other_trap(int number)
{
	(void)number;
	seen += 1000;
}

/* ---- states ---- */

struct wish {
	void (*handler)(int);
	int flags;
	bool blocked;
};

static const struct wish wishes[] = {
	{ SIG_DFL, 0, false }, { SIG_DFL, 0, true }, { SIG_IGN, 0, false }, { SIG_IGN, 0, true },
	{ on_other_trap, SA_RESTART, false }, { on_other_trap, SA_RESTART, true }, { on_other_trap, SA_NODEFER, true },
	{ (void (*)(int))(void *)on_trap, SA_SIGINFO, false }, { (void (*)(int))(void *)on_trap, SA_SIGINFO, true },
	{ (void (*)(int))(void *)on_trap, SA_SIGINFO | SA_RESETHAND, true },
};
#define WISHES (sizeof(wishes) / sizeof(wishes[0]))

static struct sigaction make(const struct wish *wish)
{
	struct sigaction action = { .sa_handler = wish->handler, .sa_flags = wish->flags };

	sigaddset(&action.sa_mask, SIGUSR2);
	sigaction(SIGTRAP, &action, NULL);
	trap_block(wish->blocked ? SIG_BLOCK : SIG_UNBLOCK, SIGTRAP);
	return action;
}

static void check(const struct wish *wish, const struct sigaction *action, int at)
{
	EXPECT(trap_is_blocked() == wish->blocked, at);
	EXPECT(trap_action_is(action), at);
}

/* Every state, and every change from one to another. */
static void run_states(void)
{
	for (size_t i = 0; i < WISHES * WISHES; i++) {
		const struct wish *pair[] = { &wishes[i / WISHES], &wishes[i % WISHES] };

		for (size_t j = 0; j < 2; j++) {
			struct sigaction action = make(pair[j]);

			trap_calls(2);
			check(pair[j], &action, (int)i);
			trap_calls(1);
			check(pair[j], &action, (int)i);
		}
	}
	EXPECT(seen == 0, seen);
}

static void test_states(void **state)
{
	(void)state;
	whole(run_states);
}

/* The state that it has before the traps come in, and that it finds when they are out. */
static size_t first_wish;

static void run_first(void)
{
	struct sigaction action = make(&wishes[first_wish]);

	trap_shared->detail = 1;
	while (trap_shared->go == 1)
		nap();
	trap_calls(5);
	check(&wishes[first_wish], &action, (int)first_wish);
	trap_shared->done = 1;
	while (trap_shared->go == 3)
		nap();
	check(&wishes[first_wish], &action, (int)first_wish);
	EXPECT(seen == 0, seen);
}

static void test_found(void **state)
{
	(void)state;
	for (first_wish = 0; first_wish < WISHES; first_wish++) {
		pid_t pid = start(run_first);
		struct engine_traps *traps;

		trap_shared->go = 1;
		while (!trap_shared->detail)
			nap();
		traps = put_in(pid);
		trap_shared->go = 3;
		wait_for(&trap_shared->done);
		take_out(traps);
		assert_int_equal(trap_shared->hits, 5 * TRAP_SITES);
		finish(pid);
	}
}

static void *hit_on(void *arg)
{
	(void)arg;
	while (!trap_shared->detail)
		trap_call(8);
	return NULL;
}

/* One thread has it blocked and hits traps; the others look at the action, raise, handle, set it. */
static int blocking;

static void *hit_blocked(void *arg)
{
	(void)arg;
	trap_block(SIG_BLOCK, SIGTRAP);
	__atomic_fetch_add(&blocking, 1, __ATOMIC_SEQ_CST);
	while (!trap_shared->detail) {
		trap_call(5);
		EXPECT(trap_is_blocked(), 0);
	}
	return NULL;
}

static void run_shared_action(void)
{
	pthread_t threads[3];
	int raised = 0;

	make(&wishes[7]);
	for (size_t i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, hit_blocked, NULL);
	while (__atomic_load_n(&blocking, __ATOMIC_SEQ_CST) < 3) /* one that is not there yet might take what is sent to all */
		nap();
	for (int i = 0; i < 200; i++) {
		struct sigaction old;
		const struct wish *wish = &wishes[i % 20 < 10 ? 7 : 2];
		struct sigaction action = make(wish);

		check(wish, &action, i);
		trap_call(1);
		raise(SIGTRAP);
		raised += i % 20 < 10;
		EXPECT(seen == raised, i);
		kill(getpid(), SIGTRAP);
		raised += i % 20 < 10;
		EXPECT(seen == raised, i);
		EXPECT(!sigaction(SIGTRAP, &action, &old) && old.sa_handler == wish->handler, i);
	}
	trap_shared->detail = 1;
	for (size_t i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
}

static void test_shared_action(void **state)
{
	(void)state;
	whole(run_shared_action);
}

/* Ignored by all, hit by all: an ignored signal takes away what is pending, a trap's too. */
static void run_ignored(void)
{
	struct sigaction action = make(&wishes[2]);
	pthread_t threads[3];

	for (size_t i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, hit_on, NULL);
	for (int i = 0; i < 200; i++) {
		trap_call(2);
		raise(SIGTRAP);
		check(&wishes[2], &action, i);
		make(&wishes[2]);
	}
	trap_shared->detail = 1;
	for (size_t i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
}

static void test_ignored(void **state)
{
	(void)state;
	whole(run_ignored);
}

/* ---- its own ---- */

static void run_own(void)
{
	for (int i = 0; i < 20; i++) {
		make(&wishes[7]);
		trap_call(1);
		seen = 0;
		raise(SIGTRAP);
		EXPECT(seen == 1 && seen_code == SI_TKILL && seen_pid == getpid() && seen_blocked, seen_code);
		EXPECT(!trap_is_blocked(), i);
		kill(getpid(), SIGTRAP);
		EXPECT(seen == 2 && seen_code == SI_USER, seen_code);
		__asm__ volatile("int3");
		EXPECT(seen == 3 && seen_code == SI_KERNEL, seen_code);
		trap_call(1);
		make(&wishes[2]);
		raise(SIGTRAP);
		EXPECT(seen == 3, seen);
		make(&wishes[9]);
		trap_block(SIG_UNBLOCK, SIGTRAP);
		raise(SIGTRAP);
		EXPECT(seen == 4, seen);
		EXPECT(trap_action_is(&(struct sigaction){ .sa_flags = SA_SIGINFO | (int)SA_RESETHAND,
							   .sa_mask = { { 1UL << (SIGUSR2 - 1) } } }), i);
		trap_call(1);
	}
}

static void test_own(void **state)
{
	(void)state;
	whole(run_own);
}

/* Sent while blocked it waits, however many traps are hit meanwhile; then it is the one that was sent. */
static void run_pending(void)
{
	for (int i = 0; i < 20; i++) {
		sigset_t pending;

		make(&wishes[8]);
		seen = 0;
		if (i % 2)
			raise(SIGTRAP);
		else
			kill(getpid(), SIGTRAP);
		trap_calls(3);
		EXPECT(seen == 0, i);
		sigpending(&pending);
		EXPECT(sigismember(&pending, SIGTRAP), i);
		EXPECT(trap_is_blocked(), i);
		trap_block(SIG_UNBLOCK, SIGTRAP);
		EXPECT(seen == 1 && seen_code == (i % 2 ? SI_TKILL : SI_USER) && seen_pid == getpid(), seen_code);
		sigpending(&pending);
		EXPECT(!sigismember(&pending, SIGTRAP), i);
	}
}

static void test_pending(void **state)
{
	(void)state;
	whole(run_pending);
}

/* Threads that hit traps are sent SIGTRAPs by another: each arrives. */
static pthread_t targets[2];
static volatile long handled;

static void count_trap(int number)
{
	(void)number;
	__atomic_fetch_add(&handled, 1, __ATOMIC_RELAXED);
	trap_call(1);
}

static void run_sent(void)
{
	struct sigaction action = { .sa_handler = count_trap };

	sigaction(SIGTRAP, &action, NULL);
	for (size_t i = 0; i < 2; i++)
		pthread_create(&targets[i], NULL, hit_on, NULL);
	for (long i = 0; i < 400; i++) {
		pthread_kill(targets[i % 2], SIGTRAP);
		for (int j = 0; j < 5000 && handled != i + 1; j++)
			nap();
		EXPECT(handled == i + 1, i);
	}
	trap_shared->detail = 1;
	for (size_t i = 0; i < 2; i++)
		pthread_join(targets[i], NULL);
}

static void test_sent(void **state)
{
	(void)state;
	whole(run_sent);
}

/* ---- children, and ends ---- */

static int status_of(void (*run)(void))
{
	pid_t pid = fork();
	int status = -1;

	if (!pid) {
		run();
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return status;
}

static void die_raised(void)
{
	make(&wishes[0]);
	trap_call(1);
	raise(SIGTRAP);
}

/* int3 kills when the signal is blocked or ignored, handler or not. */
static void die_of_int3(void)
{
	make(&wishes[(trap_shared->rounds % 2) ? 2 : 8]);
	trap_call(1);
	__asm__ volatile("int3");
}

static void keep(void)
{
	trap_calls(2);
	check(&wishes[8], &(struct sigaction){ .sa_handler = wishes[8].handler, .sa_flags = SA_SIGINFO,
					       .sa_mask = { { 1UL << (SIGUSR2 - 1) } } }, 0);
	trap_block(SIG_UNBLOCK, SIGTRAP);
	raise(SIGTRAP);
	EXPECT(seen == 1, seen);
}

static void run_ends(void)
{
	for (int i = 0; i < 10; i++) {
		char *argv[] = { (char *)"grep", (char *)"-q", (char *)"SigBlk:.*[13579bdf].$", (char *)"/proc/self/status",
				 NULL };
		int status;
		pid_t pid;

		trap_shared->rounds++;
		make(&wishes[8]);
		seen = 0;
		trap_call(1);
		EXPECT((status_of(die_raised) & 0x7f) == SIGTRAP, i);
		EXPECT((status_of(die_of_int3) & 0x7f) == SIGTRAP, i);
		status = status_of(keep);
		EXPECT(status == 0, status);
		/* The mask goes on to programs that it starts. */
		EXPECT(!posix_spawnp(&pid, "grep", NULL, NULL, argv, environ), errno);
		EXPECT(waitpid(pid, &status, 0) == pid && status == 0, status);
		check(&wishes[8], &(struct sigaction){ .sa_handler = wishes[8].handler, .sa_flags = SA_SIGINFO,
						       .sa_mask = { { 1UL << (SIGUSR2 - 1) } } }, i);
	}
}

static void *exec_in_thread(void *arg)
{
	(void)arg;
	trap_calls(3);
	execlp("grep", "grep", "-q", "SigIgn:.*[13579bdf].$", "/proc/self/status", NULL);
	_exit(9);
}

/* What is ignored is ignored by the programs that it executes, in a child or in its own place, by any thread. */
static void run_exec_ignored(void)
{
	make(&wishes[2]);
	for (int i = 0; i < 6; i++) {
		pid_t pid = i % 3 == 2 ? vfork() : fork();
		int status = -1;

		if (!pid) {
			pthread_t threads[2];

			if (i % 3 == 1) {
				pthread_create(&threads[0], NULL, hit_on, NULL);
				pthread_create(&threads[1], NULL, exec_in_thread, NULL);
				pthread_join(threads[1], NULL);
			}
			exec_in_thread(NULL);
		}
		waitpid(pid, &status, 0);
		EXPECT(status == 0, status);
		trap_call(1);
	}
}

static void test_exec_ignored(void **state)
{
	pid_t pid = start(run_exec_ignored);
	struct engine_traps *traps = put_in(pid);

	(void)state;
	trap_shared->go = 1;
	wait_for(&trap_shared->done);
	take_out(traps);
	check_text(pid);
	assert_true(trap_shared->hits >= 6 * 4 * TRAP_SITES);
	finish(pid);
}

static void test_ends(void **state)
{
	(void)state;
	whole(run_ends);
}

/* Waiting for it with sigwait(), which is how a program takes a blocked signal. */
static void *send_soon(void *arg)
{
	usleep(3000);
	pthread_kill(*(pthread_t *)arg, SIGTRAP);
	return NULL;
}

static void run_sigwait(void)
{
	pthread_t self = pthread_self();

	make(&wishes[8]);
	for (int i = 0; i < 20; i++) {
		pthread_t sender;
		sigset_t set;
		int got = 0;

		pthread_create(&sender, NULL, send_soon, &self);
		trap_calls(i);
		sigemptyset(&set);
		sigaddset(&set, SIGTRAP);
		EXPECT(!sigwait(&set, &got) && got == SIGTRAP, got);
		pthread_join(sender, NULL);
		EXPECT(trap_is_blocked() && seen == 0, i);
	}
}

static void test_sigwait(void **state)
{
	(void)state;
	whole(run_sigwait);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_states),   cmocka_unit_test(test_found),   cmocka_unit_test(test_shared_action),
		cmocka_unit_test(test_own),      cmocka_unit_test(test_pending), cmocka_unit_test(test_sent),
		cmocka_unit_test(test_ends),     cmocka_unit_test(test_sigwait), cmocka_unit_test(test_ignored),
		cmocka_unit_test(test_exec_ignored),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
