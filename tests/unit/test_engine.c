/* SPDX-License-Identifier: MIT */
/*
 * Borrowed threads: calls in them, what they notice (nothing), and that they go on when their tracer dies at any point.
 * The borrowed process is a child that keeps known values in all of its registers and looks at them all the time.
 */
#include <elf.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/engine.h"
#include "engine/thread.h"

/* What the child tells us. */
struct shared {
	volatile uint64_t rounds;  /* goes up while it lives */
	volatile uint64_t wrong;   /* registers that were not as left */
	volatile uint64_t signals; /* SIGUSR1s handled */
	volatile int result, error;
	volatile uint64_t took_ns;
};
static struct shared *shared;

static void make_shared(void)
{
	if (!shared)
		shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(shared != MAP_FAILED);
	memset(shared, 0, sizeof(*shared));
}

static void on_usr1(int number)
{
	(void)number;
	shared->signals++;
}

/* Fill all registers, spin a little, compare. Returns the number of those that changed. */
static uint64_t check_registers(void)
{
	uint64_t wrong;

	__asm__ volatile("push %%rbp\n\t"
			 "xor %%eax, %%eax\n\t"
			 "mov $0x1111111111111111, %%rbx\n\t mov $0x2222222222222222, %%rcx\n\t"
			 "mov $0x3333333333333333, %%rdx\n\t mov $0x4444444444444444, %%rsi\n\t"
			 "mov $0x5555555555555555, %%rdi\n\t mov $0x6666666666666666, %%rbp\n\t"
			 "mov $0x7777777777777777, %%r8\n\t mov $0x0888888888888888, %%r9\n\t"
			 "mov $0x0999999999999999, %%r10\n\t mov $0x0aaaaaaaaaaaaaaa, %%r11\n\t"
			 "mov $0x0bbbbbbbbbbbbbbb, %%r12\n\t mov $0x0ccccccccccccccc, %%r13\n\t"
			 "mov $0x0ddddddddddddddd, %%r14\n\t mov $20000, %%r15\n\t"
			 "movq %%rbx, %%xmm0\n\t movq %%rcx, %%xmm7\n\t movq %%rdx, %%xmm15\n\t"
			 "movq %%r14, -64(%%rsp)\n\t" /* the red zone */
			 "stc\n"
			 "1:\t lea -1(%%r15), %%r15\n\t"
			 "jnc 3f\n\t" /* the carry flag stays */
			 "mov %%r15, %%rax\n\t inc %%rax\n\t dec %%rax\n\t jnz 1b\n\t"
			 "xor %%eax, %%eax\n\t"
			 "jmp 4f\n"
			 "3:\t mov $0x100, %%eax\n"
			 "4:\t mov $0x1111111111111111, %%r15\n\t cmp %%r15, %%rbx\n\t je 5f\n\t inc %%rax\n"
			 "5:\t movq %%xmm0, %%rbx\n\t cmp %%r15, %%rbx\n\t je 5f\n\t inc %%rax\n"
			 "5:\t mov $0x2222222222222222, %%r15\n\t cmp %%r15, %%rcx\n\t je 5f\n\t inc %%rax\n"
			 "5:\t movq %%xmm7, %%rcx\n\t cmp %%r15, %%rcx\n\t je 5f\n\t inc %%rax\n"
			 "5:\t mov $0x3333333333333333, %%r15\n\t cmp %%r15, %%rdx\n\t je 5f\n\t inc %%rax\n"
			 "5:\t movq %%xmm15, %%rdx\n\t cmp %%r15, %%rdx\n\t je 5f\n\t inc %%rax\n"
			 "5:\t mov $0x4444444444444444, %%r15\n\t cmp %%r15, %%rsi\n\t je 5f\n\t inc %%rax\n"
			 "5:\t mov $0x5555555555555555, %%r15\n\t cmp %%r15, %%rdi\n\t je 5f\n\t inc %%rax\n"
			 "5:\t mov $0x6666666666666666, %%r15\n\t cmp %%r15, %%rbp\n\t je 5f\n\t inc %%rax\n"
			 "5:\t mov $0x7777777777777777, %%r15\n\t cmp %%r15, %%r8\n\t je 5f\n\t inc %%rax\n"
			 "5:\t mov $0x0888888888888888, %%r15\n\t cmp %%r15, %%r9\n\t je 5f\n\t inc %%rax\n"
			 "5:\t mov $0x0999999999999999, %%r15\n\t cmp %%r15, %%r10\n\t je 5f\n\t inc %%rax\n"
			 "5:\t mov $0x0aaaaaaaaaaaaaaa, %%r15\n\t cmp %%r15, %%r11\n\t je 5f\n\t inc %%rax\n"
			 "5:\t mov $0x0bbbbbbbbbbbbbbb, %%r15\n\t cmp %%r15, %%r12\n\t je 5f\n\t inc %%rax\n"
			 "5:\t mov $0x0ccccccccccccccc, %%r15\n\t cmp %%r15, %%r13\n\t je 5f\n\t inc %%rax\n"
			 "5:\t mov $0x0ddddddddddddddd, %%r15\n\t cmp %%r15, %%r14\n\t je 5f\n\t inc %%rax\n"
			 "5:\t cmp %%r15, -64(%%rsp)\n\t je 5f\n\t inc %%rax\n"
			 "5:\t pop %%rbp\n\t"
			 : "=&a"(wrong)
			 :
			 : "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
			   "xmm0", "xmm7", "xmm15", "memory", "cc");
	return wrong;
}

__attribute__((noreturn)) static void spin(void)
{
	struct sigaction action = { .sa_handler = on_usr1 };
	sigset_t set;

	sigaction(SIGUSR1, &action, NULL);
	sigemptyset(&set); /* an odd mask, to be found again */
	sigaddset(&set, SIGWINCH);
	sigaddset(&set, SIGRTMIN + 3);
	sigprocmask(SIG_SETMASK, &set, NULL);
	for (;;) {
		shared->wrong += check_registers();
		shared->rounds++;
	}
}

static void *spin_thread(void *arg)
{
	(void)arg;
	spin();
}

static pid_t start(void (*run)(void))
{
	pid_t pid;

	make_shared();
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		alarm(250); /* a loaded machine is slow */
		run();
		_exit(0);
	}
	return pid;
}

static void spin_one(void)
{
	spin();
}

static void spin_four(void)
{
	pthread_t thread;

	for (int i = 0; i < 3; i++)
		pthread_create(&thread, NULL, spin_thread, NULL);
	spin();
}

static void wait_for_rounds(uint64_t more)
{
	uint64_t until = shared->rounds + more;
	uint64_t limit = base_now_ns() + 10000000000ULL;

	while (shared->rounds < until && base_now_ns() < limit)
		usleep(500);
	assert_true(shared->rounds >= until);
}

static void end(pid_t pid)
{
	int status;

	wait_for_rounds(3);
	assert_int_equal(shared->wrong, 0);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static uint64_t blocked_signals(pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	assert_int_equal(base_file_read(path, &text, NULL), 0);
	return strtoull(strstr(text, "SigBlk:") + 7, NULL, 16);
}

static int64_t call(struct engine_loan *loan, long number, uint64_t a)
{
	uint64_t args[6] = { a };
	int64_t result = -1;

	assert_int_equal(engine_call(loan, number, args, &result), 0);
	return result;
}

/* ---- tests ---- */

static void test_calls(void **state)
{
	pid_t pid = start(spin_one);
	_cleanup_close_ int mem = process_mem_open(pid);
	struct process_status status;
	struct engine_loan *loan;
	struct utap_error err = { 0 };
	uint64_t mask;

	wait_for_rounds(2);
	mask = blocked_signals(pid);
	for (int i = 0; i < 30; i++) {
		assert_int_equal(engine_lend(pid, mem, &loan, &err), 0);
		assert_int_equal(engine_loan_tid(loan), pid);
		for (int j = 0; j < 5; j++) {
			assert_int_equal(call(loan, SYS_getpid, 0), pid);
			assert_int_equal(call(loan, SYS_close, 12345), -EBADF);
			assert_int_equal(call(loan, 99999, 0), -ENOSYS);
		}
		assert_true(engine_return(loan) > 0);
		wait_for_rounds(1);
	}
	assert_int_equal(process_status_read(pid, &status), 0);
	assert_int_equal(status.tracer, 0);
	assert_true(blocked_signals(pid) == mask);
	end(pid);
}

/* What an engine holds when it dies. */
enum death { DEATH_LENT, DEATH_AFTER_CALL, DEATH_IN_CALL, DEATHS };

__attribute__((noreturn)) static void die_holding(pid_t pid, enum death death)
{
	static const uint64_t none[6];
	int mem = process_mem_open(pid);
	struct engine_loan *loan;
	int64_t result;

	if (mem < 0 || engine_lend(pid, mem, &loan, NULL))
		_exit(1);
	if (death == DEATH_AFTER_CALL && (engine_call(loan, SYS_getpid, none, &result) || result != pid))
		_exit(2);
	if (death == DEATH_IN_CALL) {
		/* A call that lasts longer than we live. */
		struct timespec pause = { .tv_nsec = 300000000 };
		uint64_t args[6] = { engine_loan_scratch(loan), 0 };

		if (process_write(mem, args[0], &pause, sizeof(pause)))
			_exit(3);
		if (!fork()) {
			usleep(10000);
			kill(getppid(), SIGKILL);
			_exit(0);
		}
		(void)!engine_call(loan, SYS_nanosleep, args, &result);
		_exit(4);
	}
	kill(getpid(), SIGKILL);
	_exit(5);
}

static void test_death(void **state)
{
	pid_t pid = start(spin_one);
	uint64_t mask;

	wait_for_rounds(2);
	mask = blocked_signals(pid);
	for (int i = 0; i < 30; i++) {
		pid_t tracer = fork();
		int status;

		if (!tracer)
			die_holding(pid, (enum death)(i % DEATHS));
		waitpid(tracer, &status, 0);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		wait_for_rounds(2);
		assert_true(blocked_signals(pid) == mask);
		assert_int_equal(shared->wrong, 0);
	}
	end(pid);
}

/* A signal that comes while the thread is lent is handled once, afterwards; one that stops it stops it then. */
static void test_signals(void **state)
{
	pid_t pid = start(spin_one);
	_cleanup_close_ int mem = process_mem_open(pid);
	struct engine_loan *loan;
	struct process_status status;

	wait_for_rounds(2);
	for (uint64_t i = 1; i <= 20; i++) {
		assert_int_equal(engine_lend(pid, mem, &loan, NULL), 0);
		call(loan, SYS_getpid, 0);
		kill(pid, SIGUSR1);
		call(loan, SYS_getpid, 0);
		assert_int_equal(shared->signals, i - 1);
		engine_return(loan);
		wait_for_rounds(2);
		assert_int_equal(shared->signals, i);
	}
	assert_int_equal(engine_lend(pid, mem, &loan, NULL), 0);
	kill(pid, SIGSTOP);
	assert_int_equal(call(loan, SYS_getpid, 0), pid);
	engine_return(loan);
	for (int i = 0; i < 100 && (process_status_read(pid, &status) || status.state != 'T'); i++)
		usleep(10000);
	assert_int_equal(status.state, 'T');
	/* Stopped: it can be lent all the same, and is stopped again. */
	assert_int_equal(engine_lend(pid, mem, &loan, NULL), 0);
	assert_int_equal(call(loan, SYS_getpid, 0), pid);
	engine_return(loan);
	for (int i = 0; i < 100 && (process_status_read(pid, &status) || status.state != 'T'); i++)
		usleep(10000);
	assert_int_equal(status.state, 'T');
	kill(pid, SIGCONT);
	end(pid);
}

static void sleep_and_tell(void)
{
	uint64_t started = base_now_ns();

	shared->rounds++;
	shared->result = nanosleep(&(struct timespec) { .tv_nsec = 300000000 }, NULL);
	shared->error = errno;
	shared->took_ns = base_now_ns() - started;
}

static void epoll_and_tell(void)
{
	struct epoll_event event;
	int epoll = epoll_create1(0);

	shared->rounds++;
	shared->result = epoll_wait(epoll, &event, 1, 300);
	shared->error = errno;
	shared->took_ns = 300000000;
}

static void borrow_often(pid_t pid)
{
	_cleanup_close_ int mem = process_mem_open(pid);

	for (int i = 0; i < 20; i++) {
		struct engine_loan *loan;

		if (engine_lend(pid, mem, &loan, NULL)) /* it has ended: a slow machine */
			return;
		for (int j = 0; j < i % 4; j++)
			assert_int_equal(call(loan, SYS_getpid, 0), pid);
		engine_return(loan);
		usleep(2000);
	}
}

/* A waiting call goes on as if nothing had been. */
static void test_waiting(void **state)
{
	void (*const waits[])(void) = { sleep_and_tell, epoll_and_tell };

	for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
		pid_t pid = start(waits[i]);
		int status;

		for (int j = 0; j < 1000 && !shared->rounds; j++)
			usleep(1000);
		usleep(20000);
		borrow_often(pid);
		waitpid(pid, &status, 0);
		assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
		if (shared->result)
			fail_msg("wait %zu returned %d: %s", i, shared->result, strerror(shared->error));
		assert_true(shared->took_ns >= 300000000);
	}
}

struct tour {
	int seen, stop_at;
	pid_t tid[8];
};

static int on_view(void *arg, const struct engine_view *view)
{
	struct tour *tour = arg;

	assert_true(view->regs.rip && view->regs.rsp);
	tour->tid[tour->seen++] = view->tid;
	return tour->seen == tour->stop_at ? -EAGAIN : 0;
}

static void test_visit(void **state)
{
	pid_t pid = start(spin_four);
	_cleanup_close_ int mem = process_mem_open(pid);
	struct process_status status;

	wait_for_rounds(10);
	for (int i = 0; i < 20; i++) {
		struct tour tour = { .stop_at = i % 2 ? 2 : 0 };

		assert_int_equal(engine_visit(pid, mem, 0, 0, on_view, &tour), i % 2 ? -EAGAIN : 0);
		assert_int_equal(tour.seen, i % 2 ? 2 : 4);
		for (int j = 0; j < tour.seen; j++) {
			assert_int_equal(process_status_read(tour.tid[j], &status), 0);
			assert_int_equal(status.tgid, pid);
			assert_int_equal(status.tracer, 0);
		}
	}
	end(pid);
}

static int never(void *arg, const struct engine_view *view)
{
	(void)arg;
	(void)view;
	return 0;
}

static void test_refused(void **state)
{
	pid_t pid = start(spin_one);
	_cleanup_close_ int mem = process_mem_open(pid);
	struct engine_loan *loan = NULL;
	struct utap_error err = { 0 };
	char name[32];
	pid_t tracer;
	int ready[2];
	char byte;

	wait_for_rounds(1);
	assert_int_equal(pipe(ready), 0);
	tracer = fork();
	if (!tracer) {
		(void)!write(ready[1], ptrace(PTRACE_SEIZE, pid, 0, 0) ? "n" : "y", 1);
		pause();
		_exit(0);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(byte, 'y');
	assert_int_equal(engine_lend(pid, mem, &loan, &err), -EBUSY);
	assert_int_equal(err.kind, UTAP_ERROR_PERMISSION);
	snprintf(name, sizeof(name), "pid %d", tracer);
	assert_non_null(strstr(err.text, name));
	assert_int_equal(engine_visit(pid, mem, 0, 0, never, NULL), -EBUSY);
	kill(tracer, SIGKILL);
	waitpid(tracer, NULL, 0);
	close(ready[0]);
	close(ready[1]);
	end(pid);
	assert_int_equal(engine_lend(pid, mem, &loan, &err), -ESRCH);
	assert_int_equal(err.kind, UTAP_ERROR_NOT_FOUND);
	assert_null(loan);
	assert_int_equal(engine_visit(pid, mem, 0, 0, never, NULL), -ESRCH);
}

/* The memory descriptor of a program that is not there any more: nothing must be done to the new one. */
static void exec_soon(void)
{
	usleep(30000);
	execlp("sleep", "sleep", "0.4", NULL);
}

static void test_executed_meanwhile(void **state)
{
	pid_t pid = start(exec_soon);
	_cleanup_close_ int mem = process_mem_open(pid);
	struct engine_loan *loan = NULL;
	struct utap_error err = { 0 };
	char comm[32];
	int status;

	for (int i = 0; i < 200; i++) {
		process_comm(pid, comm, sizeof(comm));
		if (!strcmp(comm, "sleep"))
			break;
		usleep(5000);
	}
	usleep(20000);
	assert_true(engine_lend(pid, mem, &loan, &err) < 0);
	assert_null(loan);
	assert_int_equal(err.kind, UTAP_ERROR_GONE);
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_spawn(void **state)
{
	char name[] = "true", absent[] = "./no/such/program", directory[] = "/";
	char *argv[] = { name, NULL };
	struct user_regs_struct regs;
	struct utap_error err = { 0 };
	uint64_t entry;
	int status;
	pid_t pid = 0;

	argv[0] = absent;
	assert_int_equal(engine_spawn(argv, &pid, &err), -ENOENT);
	assert_int_equal(err.kind, UTAP_ERROR_NOT_FOUND);
	assert_non_null(strstr(err.text, "no/such"));
	argv[0] = directory;
	assert_int_equal(engine_spawn(argv, &pid, &err), -EACCES);
	assert_int_equal(pid, 0);
	assert_int_equal(waitpid(-1, &status, WNOHANG), -1); /* nobody is left */

	argv[0] = name;
	assert_int_equal(engine_spawn(argv, &pid, &err), 0);
	assert_int_equal(process_auxv(pid, AT_ENTRY, &entry), 0);
	assert_int_equal(engine_run_to(pid, entry), 0);
	assert_int_equal(thread_regs(pid, &regs), 0);
	assert_true(regs.rip == entry);
	{
		_cleanup_close_ int mem = process_mem_open(pid);
		struct engine_loan *loan;

		assert_int_equal(engine_lend(pid, mem, &loan, &err), 0);
		assert_int_equal(call(loan, SYS_getpid, 0), pid);
		engine_return(loan);
		assert_int_equal(thread_regs(pid, &regs), 0);
		assert_true(regs.rip == entry);
	}
	engine_release(pid);
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);

	/* One that never comes there. */
	assert_int_equal(engine_spawn(argv, &pid, &err), 0);
	assert_int_equal(engine_run_to(pid, entry ^ 0x5000), -ESRCH);
	waitpid(pid, &status, WNOHANG);
}

/* ---- all threads at once ---- */

static int on_held(void *arg, const struct engine_view *view)
{
	struct tour *tour = arg;

	assert_true(view->regs.rip && view->regs.rsp);
	if (tour->seen < 8)
		tour->tid[tour->seen] = view->tid;
	tour->seen++;
	return 0;
}

static void wait_for_threads(pid_t pid, long wanted)
{
	_cleanup_free_ pid_t *tids = NULL;

	for (int i = 0; i < 20000 && process_threads(pid, &tids) != wanted; i++) {
		free(tids);
		tids = NULL;
		usleep(500);
	}
}

static void test_hold(void **state)
{
	pid_t pid = start(spin_four);

	(void)state;
	wait_for_threads(pid, 4);
	wait_for_rounds(10);
	for (int i = 0; i < 50; i++) {
		struct tour tour = { 0 };
		struct engine_hold *hold;
		uint64_t rounds;

		assert_int_equal(engine_hold(&pid, 1, &hold), 0);
		rounds = shared->rounds;
		assert_int_equal(engine_hold_visit(hold, on_held, &tour), 0);
		assert_int_equal(tour.seen, 4);
		assert_int_equal(engine_hold_asleep(hold), 0);
		if (i % 10 == 0)
			usleep(5000);
		assert_int_equal(shared->rounds, rounds); /* nobody runs */
		if (i % 2)
			assert_int_equal(kill(pid, SIGUSR1), 0); /* comes when it is let go */
		assert_true(engine_hold_release(hold) > 0);
		wait_for_rounds(2);
	}
	assert_true(shared->signals > 0);
	end(pid);
}

static void *end_at_once(void *arg)
{
	shared->rounds++;
	return arg;
}

/* Threads come and go all the time. */
__attribute__((noreturn)) static void churn(void)
{
	for (;;) {
		pthread_t threads[3];

		for (int i = 0; i < 3; i++)
			pthread_create(&threads[i], NULL, end_at_once, NULL);
		for (int i = 0; i < 3; i++)
			pthread_join(threads[i], NULL);
	}
}

static void test_hold_while_threads_come(void **state)
{
	pid_t pid = start(churn);

	(void)state;
	wait_for_rounds(10);
	for (int i = 0; i < 100; i++) {
		struct engine_hold *hold;
		uint64_t rounds;

		assert_int_equal(engine_hold(&pid, 1, &hold), 0);
		rounds = shared->rounds;
		usleep(i % 3 ? 100 : 2000);
		assert_int_equal(shared->rounds, rounds);
		engine_hold_release(hold);
		wait_for_rounds(1);
	}
	end(pid);
}

/* Whoever holds dies: the kernel lets all go. */
static void test_holder_dies(void **state)
{
	pid_t pid = start(spin_four);

	(void)state;
	wait_for_rounds(10);
	for (int i = 0; i < 20; i++) {
		pid_t holder = fork();
		int status;

		assert_true(holder >= 0);
		if (!holder) {
			struct engine_hold *hold;

			if (i % 4 == 0)
				_exit(engine_hold(&pid, 1, &hold));
			while (!engine_hold(&pid, 1, &hold) && i % 4 != 1)
				engine_hold_release(hold);
			pause();
		}
		usleep(1000 + 300 * (unsigned)i);
		kill(holder, SIGKILL);
		waitpid(holder, &status, 0);
		wait_for_rounds(2);
	}
	end(pid);
}

/* The parent of a vfork() waits in the kernel where nobody can stop it. */
__attribute__((noreturn)) static void vfork_often(void)
{
	for (;;) {
		pid_t child = vfork();

		if (!child) {
			usleep(20000);
			_exit(0);
		}
		waitpid(child, NULL, 0);
		shared->rounds++;
	}
}

static void test_hold_while_it_sleeps(void **state)
{
	pid_t pid = start(vfork_often);
	size_t asleep = 0;

	(void)state;
	wait_for_rounds(2);
	for (int i = 0; i < 30; i++) {
		struct tour tour = { 0 };
		struct engine_hold *hold;

		assert_int_equal(engine_hold(&pid, 1, &hold), 0);
		asleep += engine_hold_asleep(hold);
		if (!engine_hold_visit(hold, on_held, &tour)) /* or its child ended just then */
			assert_int_equal(tour.seen, 1);
		engine_hold_release(hold);
		wait_for_rounds(1);
	}
	assert_true(asleep > 5);
	end(pid);
}

/* A wait is not cut short by being held. */
static void test_hold_and_waits(void **state)
{
	void (*const waits[])(void) = { sleep_and_tell, epoll_and_tell };

	(void)state;
	for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
		pid_t pid = start(waits[i]);
		int status;

		for (int j = 0; j < 1000 && !shared->rounds; j++)
			usleep(1000);
		usleep(20000);
		for (int j = 0; j < 20; j++) {
			struct engine_hold *hold;

			if (engine_hold(&pid, 1, &hold)) /* it has ended: a slow machine */
				break;
			engine_hold_release(hold);
			usleep(2000);
		}
		waitpid(pid, &status, 0);
		assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
		assert_int_equal(shared->result, 0);
		assert_true(shared->took_ns >= 300000000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls),
		cmocka_unit_test(test_death),
		cmocka_unit_test(test_signals),
		cmocka_unit_test(test_waiting),
		cmocka_unit_test(test_visit),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_executed_meanwhile),
		cmocka_unit_test(test_spawn),
		cmocka_unit_test(test_hold),
		cmocka_unit_test(test_hold_while_threads_come),
		cmocka_unit_test(test_holder_dies),
		cmocka_unit_test(test_hold_while_it_sleeps),
		cmocka_unit_test(test_hold_and_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
