/* SPDX-License-Identifier: MIT */
/*
 * A program confined by seccomp: any system call but the few it needs ends it. Usage: confined filter|strict [SECONDS]
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "target.h"

#define ALLOW(number) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static void confine(int strict)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		ALLOW(SYS_write),
		ALLOW(SYS_exit),
		ALLOW(SYS_exit_group),
		ALLOW(SYS_rt_sigreturn),
		ALLOW(SYS_restart_syscall),
		ALLOW(SYS_clock_nanosleep),
		ALLOW(SYS_nanosleep),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog program = { .len = sizeof(filter) / sizeof(filter[0]), .filter = filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		target_fail("no_new_privs");
	if (strict ? prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) : prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		target_fail("seccomp: %s", strerror(errno));
}

/* Steps of about a second: in strict mode the kernel takes the clock away, too (rdtsc traps). */
static long steps_a_second(void)
{
	uint64_t until = target_now_ns() + 50000000;
	long n = 0;

	while (target_now_ns() < until)
		target_step(n++);
	return n * 20;
}

int main(int argc, char **argv)
{
	static const char success[] = "EXIT-SUCCESS\n";
	int strict = argc > 1 && !strcmp(argv[1], "strict");
	long steps = steps_a_second() * (argc > 2 ? atol(argv[2]) : 60);

	target_start();
	confine(strict);
	for (long i = 0; !target_stopping && i < steps; i++) {
		target_step(i);
		if (!strict && i % 4096 == 0)
			usleep(100);
	}
	if (write(1, success, sizeof(success) - 1) < 0)
		syscall(SYS_exit, 1);
	syscall(SYS_exit, 0); /* strict mode knows no exit_group */
	return 1;
}
