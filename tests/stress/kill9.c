/* SPDX-License-Identifier: MIT */
/*
 * utap is killed with SIGKILL at random instants of attach, tracing and detach. Each time the target must go on with
 * correct results, and `utap detach` must bring back its text, mappings and descriptors.
 *
 * Usage: kill9 UTAP ROUNDS TARGET [ARG]. ROUNDS 0: what UTAP_KILLS says, else 100; UTAP_SEED repeats a run. TARGET: a
 * program that prints its pid, ends on SIGTERM and says EXIT-SUCCESS when all its results were right (tests/programs).
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
#define KINDS 4

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

struct state {
	char *utap;
	char probe[64], all[64]; /* one function of the target; all of them */
	enum intact_how how;
	char pid_text[16];
	pid_t target;
	struct intact before;
	char log[64], file[64];
	uint64_t longest_us[KINDS]; /* of each kind, undisturbed */
	unsigned killed, finished, killed_detach;
};

/* The kinds of run that are killed. */
static void make_args(struct state *s, unsigned kind, char **argv)
{
	static char stat[] = "stat", record[] = "record", e[] = "-e", p[] = "-p", d[] = "-d", o[] = "-o";
	static char libc_many[] = "libc:*mem*", libc_strdup[] = "libc:strdup", soon[] = "0.004";
	bool has_libc = strstr(s->before.files, "/libc.so") != NULL;
	char *many = has_libc ? libc_many : s->all, *strdup_ = has_libc ? libc_strdup : s->probe;
	char *const kinds[KINDS][MAX_ARGS] = {
		{ s->utap, stat, e, s->probe, e, strdup_, p, s->pid_text, d, soon },
		{ s->utap, record, e, s->probe, p, s->pid_text, d, soon, o, s->file },
		{ s->utap, stat, e, many, e, s->all, p, s->pid_text, d, soon },
		{ s->utap, record, e, s->all, p, s->pid_text, d, soon, o, s->file },
	};

	memcpy(argv, kinds[kind % KINDS], sizeof(kinds[0]));
}

/* utap detach is killed, too, now and then. */
static void kill_detach(struct state *s, uint64_t delay_us)
{
	char detach[] = "detach", p[] = "-p";
	char *argv[] = { s->utap, detach, p, s->pid_text, NULL };
	pid_t pid = start(argv, s->log);

	if (wait_for(pid, delay_us) == -1) {
		kill_and_reap(pid);
		s->killed_detach++;
	}
}

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
		good = intact_check(s->target, &s->before, s->how, sink);
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

static bool round_of(struct state *s, unsigned kind, uint64_t delay_us, uint64_t detach_delay_us)
{
	char *argv[MAX_ARGS];
	pid_t pid;
	int status;

	make_args(s, kind, argv);
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
	if (detach_delay_us)
		kill_detach(s, detach_delay_us);
	return clean(s);
}

/* How long a run takes when nobody kills it: delays are drawn from that. */
static bool measure(struct state *s)
{
	for (unsigned kind = 0; kind < KINDS; kind++)
		for (int i = 0; i < 3; i++) {
			uint64_t started = now_us();

			if (!round_of(s, kind, 30000000, 0))
				return false;
			if (now_us() - started > s->longest_us[kind])
				s->longest_us[kind] = now_us() - started;
		}
	return true;
}

static bool start_target(struct state *s, char *program, char *arg, const char *output)
{
	char *argv[] = { program, arg, NULL };
	bool worker = strstr(program, "worker") != NULL;
	FILE *file;

	snprintf(s->probe, sizeof(s->probe), worker ? "handle_request n=%%si:u64" : "probed_step n=%%di:s64");
	snprintf(s->all, sizeof(s->all), "%s:*", strrchr(program, '/') ? strrchr(program, '/') + 1 : program);
	s->how = worker ? INTACT_ALL : INTACT_FILES;
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
	if (!s->pid_text[0] || !intact_take(s->target, &s->before))
		return false;
	/* A static program's heap may lie where the one island of a function would have to be: then others will do. */
	if (!strstr(s->before.files, "/libc.so"))
		memcpy(s->probe, s->all, sizeof(s->probe));
	return true;
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

static bool run(struct state *s, unsigned rounds, uint64_t seed)
{
	bool good = measure(s);

	for (unsigned i = 0; good && i < rounds; i++) {
		unsigned kind = (unsigned)random_next(&seed);
		uint64_t delay = random_next(&seed) % s->longest_us[kind % KINDS];
		uint64_t detach_delay = random_next(&seed) % 3 ? 0 : random_next(&seed) % 15000;

		good = round_of(s, kind, delay, detach_delay);
		if (!good)
			printf("round %u, kind %u, killed after %llu us, detach after %llu us\n", i, kind % KINDS,
			       (unsigned long long)delay, (unsigned long long)detach_delay);
	}
	printf("killed %u times, ended before %u times; detach killed %u times\n", s->killed, s->finished,
	       s->killed_detach);
	return good;
}

static void remove_files(struct state *s, const char *output)
{
	char old[80];

	snprintf(old, sizeof(old), "%s.old", s->file);
	unlink(output);
	unlink(s->log);
	unlink(s->file);
	unlink(old);
}

int main(int argc, char **argv)
{
	unsigned rounds = argc > 2 ? (unsigned)atoi(argv[2]) : 0;
	const char *seed_text = getenv("UTAP_SEED");
	uint64_t seed = seed_text ? strtoull(seed_text, NULL, 0) : now_us() * 2654435761u | 1;
	struct state s = { .utap = argc > 3 ? argv[1] : NULL };
	char output[64];
	bool good;

	if (argc < 4) {
		fprintf(stderr, "usage: kill9 UTAP ROUNDS TARGET [ARG]\n");
		return 2;
	}
	if (!rounds)
		rounds = getenv("UTAP_KILLS") ? (unsigned)atoi(getenv("UTAP_KILLS")) : 100;
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("seed %#llx\n", (unsigned long long)seed);
	snprintf(output, sizeof(output), "kill9.%d.out", getpid());
	snprintf(s.log, sizeof(s.log), "kill9.%d.log", getpid());
	snprintf(s.file, sizeof(s.file), "kill9.%d.data", getpid());
	good = start_target(&s, argv[3], argc > 4 ? argv[4] : NULL, output) && run(&s, rounds, seed);
	if (s.target > 0)
		good = end_target(&s, output) && good;
	intact_free(&s.before);
	remove_files(&s, output);
	if (good)
		puts("EXIT-SUCCESS");
	return good ? 0 : 1;
}
