/* SPDX-License-Identifier: MIT */
/* Starting and ending a guardian; what it does itself is guard.c's. */
#include "engine/trap.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/guard.h"

#define TRIES 5
#define BETWEEN_TRIES_NS 20000000L
#define ARM_MS 60000
#define END_MS 60000

struct engine_traps {
	pid_t pid;
	size_t count;
	pid_t guardian;
	int control, answer; /* our ends */
	struct engine_trap *traps;
	struct guard_shared *shared;
};

pid_t engine_traps_guardian(const struct engine_traps *traps) { return traps->guardian; }

uint64_t engine_traps_hits(const struct engine_traps *traps)
{
	return __atomic_load_n(&traps->shared->hits, __ATOMIC_RELAXED);
}

static int compare(const void *a, const void *b)
{
	const struct engine_trap *x = a, *y = b;

	return x->addr < y->addr ? -1 : x->addr > y->addr;
}

static void free_traps(struct engine_traps *traps)
{
	if (traps->control >= 0)
		close(traps->control);
	if (traps->answer >= 0)
		close(traps->answer);
	if (traps->shared)
		munmap(traps->shared, sizeof(*traps->shared));
	free(traps->traps);
	free(traps);
}

static int new_traps(pid_t pid, const struct engine_trap *list, size_t count, struct engine_traps **ret)
{
	struct engine_traps *traps = calloc(1, sizeof(*traps));
	void *shared = mmap(NULL, sizeof(*traps->shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (!traps || shared == MAP_FAILED) {
		free(traps);
		return -ENOMEM;
	}
	*traps = (struct engine_traps){
		.pid = pid, .count = count, .control = -1, .answer = -1, .shared = shared, .traps = calloc(count, sizeof(*list)),
	};
	if (!traps->traps) {
		free_traps(traps);
		return -ENOMEM;
	}
	memcpy(traps->traps, list, count * sizeof(*list));
	qsort(traps->traps, count, sizeof(*list), compare);
	*ret = traps;
	return 0;
}

static int fork_guardian(struct engine_traps *traps, bool held)
{
	struct guard_start start = { .pid = traps->pid, .parent = getpid(), .held = held, .traps = traps->traps,
				     .count = traps->count, .shared = traps->shared };
	int control[2], answer[2];

	if (pipe2(control, O_CLOEXEC) < 0)
		return -errno;
	if (pipe2(answer, O_CLOEXEC) < 0) {
		int error = -errno;

		close(control[0]);
		close(control[1]);
		return error;
	}
	start.control = control[0];
	start.answer = answer[1];
	traps->control = control[1];
	traps->answer = answer[0];
	traps->guardian = fork();
	if (!traps->guardian)
		guard_main(&start);
	close(control[0]);
	close(answer[1]);
	return traps->guardian < 0 ? -errno : 0;
}

/* One that engine_spawn() left stopped: the guardian can only have it once we have let it go, and it must not run meanwhile. */
static void hand_over(pid_t pid)
{
	kill(pid, SIGSTOP);
	engine_release(pid);
}

static int wait_for_answer(const struct engine_traps *traps)
{
	struct pollfd poll_fd = { .fd = traps->answer, .events = POLLIN };
	uint64_t until = base_now_ns() + ARM_MS * 1000000ULL;
	char byte;
	int n;

	do
		n = poll(&poll_fd, 1, ARM_MS);
	while (n < 0 && errno == EINTR && base_now_ns() < until);
	if (n <= 0)
		return -ETIMEDOUT;
	return read(traps->answer, &byte, 1) == 1 ? 0 : -ECHILD;
}

/* 0, -ETIMEDOUT. The signal is sent again and again: it wakes the guardian only when it sleeps. */
static int wait_for_end(struct engine_traps *traps, int *status)
{
	uint64_t start = base_now_ns();
	pid_t got;

	if (traps->control >= 0)
		close(base_steal_fd(&traps->control));
	while ((got = waitpid(traps->guardian, status, WNOHANG)) == 0 || (got < 0 && errno == EINTR)) {
		if (base_now_ns() - start > END_MS * 1000000ULL)
			return -ETIMEDOUT;
		kill(traps->guardian, SIGUSR1);
		nanosleep(&(struct timespec){ .tv_nsec = 500000 }, NULL);
	}
	return got < 0 ? -errno : 0;
}

static int try_once(pid_t pid, const struct engine_trap *list, size_t count, bool held, struct engine_traps **ret,
		    struct utap_error *err)
{
	struct engine_traps *traps;
	int error = new_traps(pid, list, count, &traps);
	int status;

	if (error)
		return base_error_system(err, error, "cannot start a guardian for process %d", pid);
	error = fork_guardian(traps, held);
	if (error) {
		free_traps(traps);
		return base_error_system(err, error, "cannot start a guardian for process %d", pid);
	}
	if (held)
		hand_over(pid);
	if (write(traps->control, "", 1) != 1)
		error = -ECHILD;
	if (!error)
		error = wait_for_answer(traps);
	if (error)
		error = base_error_system(err, error, "the guardian of process %d does not begin", pid);
	else if (traps->shared->code && err)
		*err = traps->shared->error;
	error = error ? error : traps->shared->code;
	if (!error) {
		*ret = traps;
		return 0;
	}
	if (wait_for_end(traps, &status))
		base_log(BASE_LOG_WARN, "the guardian of process %d, pid %d, does not end", pid, traps->guardian);
	free_traps(traps);
	return error;
}

static bool is_ours(pid_t pid)
{
	struct process_status status;

	return !process_status_read(pid, &status) && status.tracer == getpid();
}

int engine_traps_start(pid_t pid, const struct engine_trap *traps, size_t count, struct engine_traps **ret,
		       struct utap_error *err)
{
	bool held = is_ours(pid);
	int error;

	if (!count)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "there are no traps to put into process %d", pid);
	for (int i = 1;; i++) {
		error = try_once(pid, traps, count, held, ret, err);
		if (error != -EAGAIN || i == TRIES)
			return error == -EAGAIN ? -ENOTSUP : error;
		nanosleep(&(struct timespec){ .tv_nsec = BETWEEN_TRIES_NS }, NULL);
	}
}

bool engine_traps_left(const struct engine_traps *traps, struct utap_error *err)
{
	siginfo_t info = { 0 };

	if (waitid(P_PID, (id_t)traps->guardian, &info, WEXITED | WNOHANG | WNOWAIT) || !info.si_pid)
		return false;
	if (info.si_code != CLD_EXITED)
		base_error(err, -ECHILD, UTAP_ERROR_GONE, "the guardian of process %d was killed; its traps are taken out", traps->pid);
	else if (traps->shared->error.code && err)
		*err = traps->shared->error;
	return true;
}

/* What a guardian that was killed left. One byte at a time, under running threads: that is safe. */
static void put_back(const struct engine_traps *traps)
{
	_cleanup_close_ int mem = process_mem_open(traps->pid);

	for (size_t i = 0; mem >= 0 && i < traps->count; i++) {
		const struct engine_trap *trap = &traps->traps[i];
		uint8_t byte = 0;

		if (!process_read(mem, trap->addr, &byte, 1) && byte == GUARD_INT3 &&
		    process_write(mem, trap->addr, &trap->byte, 1))
			base_log(BASE_LOG_WARN, "a trap stays at 0x%llx of process %d", (unsigned long long)trap->addr, traps->pid);
	}
}

int engine_traps_stop(struct engine_traps *traps, struct engine_traps_report *report, struct utap_error *err)
{
	int status = 0;
	int error = wait_for_end(traps, &status);

	if (error) {
		error = base_error_system(err, error, "the guardian of process %d, pid %d, does not end", traps->pid,
					  traps->guardian);
	} else if (!WIFEXITED(status)) {
		put_back(traps);
		error = base_error(err, -ECHILD, UTAP_ERROR_GONE,
				   "the guardian of process %d was killed: a thread that hit a trap before it was taken out died of SIGTRAP",
				   traps->pid);
	}
	if (report)
		*report = (struct engine_traps_report){ .hits = traps->shared->hits, .kept = traps->shared->kept };
	free_traps(traps);
	return error;
}
