/* SPDX-License-Identifier: MIT */
/*
 * Starting a program under control: the child waits on a pipe until it is seized, executes, and is caught before its first
 * instruction. A hardware breakpoint (no byte of text changes) lets it run to where its libraries are in place.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/thread.h"

#define EXEC_TIMEOUT_MS 60000
#define RUN_TIMEOUT_MS 600000

static void child_main(char *const argv[], int go, int failed)
{
	char byte;
	int code;

	while (read(go, &byte, 1) < 0 && errno == EINTR)
		;
	execvp(argv[0], argv);
	code = errno;
	while (write(failed, &code, sizeof(code)) < 0 && errno == EINTR)
		;
	_exit(127);
}

/* Wait for PTRACE_EVENT_EXEC; signals on the way are delivered. */
static int wait_for_exec(pid_t pid)
{
	for (;;) {
		int status;
		int error = thread_wait(pid, EXEC_TIMEOUT_MS, &status);
		int pass = 0;

		if (error)
			return error;
		if (status >> 16 == PTRACE_EVENT_EXEC)
			return 0;
		if (!(status >> 16))
			pass = WSTOPSIG(status);
		if (ptrace(PTRACE_CONT, pid, 0, (uintptr_t)pass) < 0)
			return -errno;
	}
}

static int exec_error(const char *program, int failed, struct utap_error *err)
{
	int code = 0;

	if (read(failed, &code, sizeof(code)) != sizeof(code))
		return base_error(err, -ECHILD, UTAP_ERROR_GONE, "%s ended before it began", program);
	return base_error(err, -code, code == ENOENT ? UTAP_ERROR_NOT_FOUND : UTAP_ERROR_SYSTEM, "cannot run %s: %s",
			  program, strerror(code));
}

int engine_spawn(char *const argv[], pid_t *pid, struct utap_error *err)
{
	_cleanup_close_ int go_read = -1, go_write = -1, failed_read = -1, failed_write = -1;
	int go[2], failed[2];
	pid_t child;
	int error = 0;

	if (pipe2(go, O_CLOEXEC) < 0)
		return base_error_system(err, -errno, "cannot make a pipe");
	go_read = go[0];
	go_write = go[1];
	if (pipe2(failed, O_CLOEXEC) < 0)
		return base_error_system(err, -errno, "cannot make a pipe");
	failed_read = failed[0];
	failed_write = failed[1];
	child = fork();
	if (child < 0)
		return base_error_system(err, -errno, "cannot start a process");
	if (!child) {
		close(go_write);
		child_main(argv, go_read, failed_write);
	}
	close(base_steal_fd(&failed_write));
	if (ptrace(PTRACE_SEIZE, child, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL) < 0)
		error = -errno;
	close(base_steal_fd(&go_write));
	if (!error)
		error = wait_for_exec(child);
	if (!error)
		error = thread_settle(child, NULL);
	if (error) {
		kill(child, SIGKILL);
		waitpid(child, NULL, __WALL);
		return error == -EPERM ? process_explain(child, error, err) : exec_error(argv[0], failed_read, err);
	}
	*pid = child;
	return 0;
}

#define DEBUG_REGISTER(n) (offsetof(struct user, u_debugreg) + (n) * sizeof(long))

static int set_breakpoint(pid_t pid, utap_addr addr)
{
	if (ptrace(PTRACE_POKEUSER, pid, DEBUG_REGISTER(7), 0) < 0 ||
	    ptrace(PTRACE_POKEUSER, pid, DEBUG_REGISTER(0), addr) < 0 ||
	    (addr && ptrace(PTRACE_POKEUSER, pid, DEBUG_REGISTER(7), 1) < 0))
		return -errno;
	return 0;
}

static int wait_for_breakpoint(pid_t pid, utap_addr addr)
{
	for (;;) {
		struct user_regs_struct regs;
		int status;
		int pass = 0;
		int error;

		error = thread_wait(pid, RUN_TIMEOUT_MS, &status);
		if (error)
			return error;
		if (!(status >> 16))
			pass = WSTOPSIG(status);
		if (pass == SIGTRAP && !thread_regs(pid, &regs) && regs.rip == addr)
			return 0;
		if (ptrace(PTRACE_CONT, pid, 0, (uintptr_t)pass) < 0)
			return -ESRCH;
	}
}

int engine_run_to(pid_t pid, utap_addr addr)
{
	int error = set_breakpoint(pid, addr);

	if (!error && ptrace(PTRACE_CONT, pid, 0, 0) < 0)
		error = -ESRCH;
	if (!error)
		error = wait_for_breakpoint(pid, addr);
	if (!error)
		error = set_breakpoint(pid, 0);
	return error ? error : thread_settle(pid, NULL);
}

void engine_release(pid_t pid)
{
	ptrace(PTRACE_SETOPTIONS, pid, 0, 0);
	thread_detach(pid);
}
