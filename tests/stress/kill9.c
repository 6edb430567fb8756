/* SPDX-License-Identifier: MIT */
/*
 * utap is killed with SIGKILL at random instants of attach, tracing and detach. Each time the target must go on with correct results,
 * and `utap detach` must bring back its text, mappings and descriptors.
 *
 * Usage: kill9 UTAP TARGET [ROUNDS [SEED]]; or with the environment: UTAP_KILLS, UTAP_SEED. TARGET: a program that prints its pid,
 * ends on SIGTERM and says EXIT-SUCCESS when all its results were right (tests/programs/worker).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "intact.h"

#define MAX_ARGS 24

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t random_next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static pid_t start(char *const *argv, const char *output)
{
	pid_t pid = fork();

	if (!pid) {
		int fd = open(output, O_WRONLY | O_CREAT | O_TRUNC, 0600);

		if (fd >= 0) {
			dup2(fd, 1);
			dup2(fd, 2);
		}
		execv(argv[0], argv);
		_exit(127);
	}
	return pid;
}

/* Waits at most @timeout_us; -1: it still runs. */
static int wait_for(pid_t pid, uint64_t timeout_us)
{
	uint64_t until = now_us() + timeout_us;
	int status;

	for (;;) {
		pid_t got = waitpid(pid, &status, WNOHANG);

		if (got == pid)
			return status;
		if (now_us() >= until)
			return -1;
		usleep(200);
	}
}

static void kill_and_reap(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void show(const char *path)
{
	char text[4096];
	FILE *file = fopen(path, "re");

	while (file && fgets(text, sizeof(text), file))
		printf("    %s", text);
	if (file)
		fclose(file);
}

/* The kinds of run that are killed. @file: an output file. */
static void make_args(unsigned kind, char *utap, char *pid, char *file, char **argv)
{
	static char stat[] = "stat", record[] = "record", e[] = "-e", p[] = "-p", d[] = "-d", o[] = "-o";
	static char handle[] = "handle_request n=%si:u64", hash[] = "worker_hash", many[] = "libc:*mem*", all[] = "worker:*";
	static char strdup_[] = "libc:strdup", soon[] = "0.004";
	char *const kinds[4][MAX_ARGS] = {
		{ utap, stat, e, hash, e, strdup_, p, pid, d, soon },
		{ utap, record, e, handle, e, hash, p, pid, d, soon, o, file },
		{ utap, stat, e, many, e, all, p, pid, d, soon },
		{ utap, record, e, all, p, pid, d, soon, o, file },
	};

	memcpy(argv, kinds[kind % 4], sizeof(kinds[0]));
}

struct state {
	char *utap;
	char pid_text[16];
	pid_t target;
	struct intact before;
	char log[64], file[64];
	uint64_t longest_us[4]; /* of each kind, undisturbed */
	unsigned killed, finished, cleaned;
};

/* utap detach; repeated when a thread was still inside a trampoline. */
static bool clean(struct state *s)
{
	char detach[] = "detach", p[] = "-p";
	char *argv[] = { s->utap, detach, p, s->pid_text, NULL };

	for (int i = 0; i < 5; i++) {
		char *why = NULL;
		size_t size;
		FILE *sink = open_memstream(&why, &size);
		pid_t pid = start(argv, s->log);
		int status = wait_for(pid, 30000000);
		bool good;

		if (status) {
			if (status < 0)
				kill_and_reap(pid);
			printf("utap detach ended with status 0x%x\n", status);
			show(s->log);
			fclose(sink);
			free(why);
			return false;
		}
		good = intact_check(s->target, &s->before, INTACT_ALL, sink);
		fclose(sink);
		if (good || i == 4)
			fputs(why, stdout);
		free(why);
		if (good)
			return true;
		usleep(50000);
	}
	show(s->log);
	return false;
}

static bool round_of(struct state *s, unsigned kind, uint64_t delay_us)
{
	char *argv[MAX_ARGS];
	pid_t pid;
	int status;

	make_args(kind, s->utap, s->pid_text, s->file, argv);
	pid = start(argv, s->log);
	status = wait_for(pid, delay_us);
	if (status == -1) {
		kill_and_reap(pid);
		s->killed++;
	} else if (status) {
		printf("utap %s ended by itself with status 0x%x\n", argv[1], status);
		show(s->log);
		return false;
	} else {
		s->finished++;
	}
	if (!intact_is_alive(s->target)) {
		printf("the target is gone\n");
		return false;
	}
	return clean(s);
}

/* How long a run takes when nobody kills it: delays are drawn from that. */
static bool measure(struct state *s)
{
	for (unsigned kind = 0; kind < 4; kind++)
		for (int i = 0; i < 3; i++) {
			uint64_t started = now_us();

			if (!round_of(s, kind, 30000000))
				return false;
			if (now_us() - started > s->longest_us[kind])
				s->longest_us[kind] = now_us() - started;
		}
	return true;
}

static bool start_target(struct state *s, char *program, const char *output)
{
	char *argv[] = { program, NULL };
	FILE *file;

	s->target = start(argv, output);
	for (int i = 0; i < 100 && !s->pid_text[0]; i++) {
		usleep(20000);
		file = fopen(output, "re");
		if (file && fgets(s->pid_text, sizeof(s->pid_text), file))
			s->pid_text[strcspn(s->pid_text, "\n")] = '\0';
		if (file)
			fclose(file);
	}
	usleep(100000); /* its threads, their arenas */
	return s->pid_text[0] && intact_take(s->target, &s->before);
}

static bool end_target(const struct state *s, const char *output)
{
	char text[256];
	FILE *file;
	bool good = false;
	int status;

	kill(s->target, SIGTERM);
	status = wait_for(s->target, 20000000);
	if (status == -1)
		kill_and_reap(s->target);
	file = fopen(output, "re");
	while (file && fgets(text, sizeof(text), file))
		good = good || !strcmp(text, "EXIT-SUCCESS\n");
	if (file)
		fclose(file);
	if (status || !good) {
		printf("the target ended with status 0x%x\n", status);
		show(output);
	}
	return good && !status;
}

int main(int argc, char **argv)
{
	const char *rounds_text = argc > 3 ? argv[3] : getenv("UTAP_KILLS");
	const char *seed_text = argc > 4 ? argv[4] : getenv("UTAP_SEED");
	unsigned rounds = rounds_text ? (unsigned)atoi(rounds_text) : 100;
	uint64_t seed = seed_text ? strtoull(seed_text, NULL, 0) : now_us() * 2654435761u | 1;
	struct state s = { .utap = argc > 2 ? argv[1] : NULL };
	char output[64];
	bool good;

	if (argc < 3) {
		fprintf(stderr, "usage: kill9 UTAP TARGET [ROUNDS [SEED]]\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("seed %#llx\n", (unsigned long long)seed);
	snprintf(output, sizeof(output), "kill9.%d.out", getpid());
	snprintf(s.log, sizeof(s.log), "kill9.%d.log", getpid());
	snprintf(s.file, sizeof(s.file), "kill9.%d.data", getpid());
	good = start_target(&s, argv[2], output) && measure(&s);
	for (unsigned i = 0; good && i < rounds; i++) {
		unsigned kind = (unsigned)random_next(&seed);
		uint64_t delay = random_next(&seed) % s.longest_us[kind % 4];

		good = round_of(&s, kind, delay);
		if (!good)
			printf("round %u, kind %u, killed after %llu us\n", i, kind % 4, (unsigned long long)delay);
	}
	printf("killed %u times, ended before %u times\n", s.killed, s.finished);
	if (s.target > 0)
		good = end_target(&s, output) && good;
	intact_free(&s.before);
	unlink(output);
	unlink(s.log);
	unlink(s.file);
	strcat(s.file, ".old");
	unlink(s.file);
	if (good)
		puts("EXIT-SUCCESS");
	return good ? 0 : 1;
}
