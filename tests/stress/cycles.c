/* SPDX-License-Identifier: MIT */
/*
 * Many attaches and detaches of one busy program by one process, through the session room. Nothing may pile up: not in
 * the target (mappings, descriptors, memory), not here.
 *
 * Usage: cycles TARGET [CYCLES [SEED]]; or with the environment: UTAP_CYCLES, UTAP_SEED. TARGET as for kill9.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "intact.h"
#include "session/session.h"

#define LOOK_EVERY 50
#define GROWTH_KIB 8192 /* of resident memory, allowed over a whole run: allocators round up */

static const char *const probe_sets[][4] = {
	{ "handle_request n=%si:u64", "worker_hash" },
	{ "worker:*", "libc:strdup s=%di:x64" },
	{ "libc:*mem*" },
	{ "worker_lookup", "libc:malloc size=%di:u64", "libc:free" },
};

static uint64_t random_next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static int count_record(void *arg, const struct trace_record *record)
{
	(void)record;
	++*(uint64_t *)arg;
	return 0;
}

struct cycles {
	pid_t target;
	uint64_t seed, hits, records, kept;
	uint64_t worst_stop_ns;
};

static int add_probes(struct session *session, const char *const *texts, size_t max, struct utap_error *err)
{
	int error = 0;

	for (size_t i = 0; i < max && texts[i] && !error; i++) {
		struct probe_spec spec;

		error = probe_parse(texts[i], &spec, NULL, err);
		if (!error)
			error = session_add(session, &spec, err);
	}
	return error;
}

static uint64_t count_hits(const struct session *session)
{
	const struct trace_probe *probes;
	uint32_t n = session_probes(session, &probes);
	uint64_t hits = 0;

	for (uint32_t id = 0; id < n; id++) {
		struct session_counts counts;

		session_count(session, id, &counts);
		hits += counts.hits;
	}
	return hits;
}

/* Traced for up to 3 ms; sometimes detached at once. */
static int run_attached(struct cycles *c, struct session *session, bool record, struct utap_error *err)
{
	struct session_report report = { 0 };
	uint64_t pause = random_next(&c->seed) % 4;
	int error;

	if (pause)
		usleep((useconds_t)pause * 1000);
	if (record && session_drain(session, false, count_record, &c->records) < 0)
		return -EIO;
	error = session_detach(session, &report, err);
	if (error)
		return error;
	if (record && session_drain(session, true, count_record, &c->records) < 0)
		return -EIO;
	c->hits += count_hits(session);
	c->kept += report.memory_kept != 0;
	if (report.stopped_ns > c->worst_stop_ns)
		c->worst_stop_ns = report.stopped_ns;
	if (report.kept || report.text_foreign) {
		snprintf(err->text, sizeof(err->text), "%zu places kept, %lu bytes of text differ", report.kept,
			 (unsigned long)report.text_foreign);
		return -EIO;
	}
	return 0;
}

static int cycle(struct cycles *c, struct utap_error *err)
{
	bool record = random_next(&c->seed) & 1;
	size_t set = random_next(&c->seed) % (sizeof(probe_sets) / sizeof(probe_sets[0]));
	struct session_options options = { .action = record ? PROBE_RECORD : PROBE_COUNT, .ring_size = 65536 };
	struct session *session;
	int error = session_create(&options, &session, err);
	long places;

	if (error)
		return error;
	error = add_probes(session, probe_sets[set], 4, err);
	if (!error) {
		places = session_attach(session, c->target, err);
		error = places < 0 ? (int)places : 0;
	}
	if (!error)
		error = run_attached(c, session, record, err);
	session_destroy(session);
	return error;
}

static pid_t start_target(char *program)
{
	char *argv[] = { program, NULL };
	int out = open("cycles.out", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	pid_t pid = fork();

	if (!pid) {
		dup2(out, 1);
		execv(argv[0], argv);
		_exit(127);
	}
	close(out);
	usleep(300000);
	return pid;
}

static bool end_target(pid_t pid)
{
	char text[256];
	bool good = false;
	int status = -1;
	FILE *file;

	kill(pid, SIGTERM);
	waitpid(pid, &status, 0);
	file = fopen("cycles.out", "re");
	while (file && fgets(text, sizeof(text), file))
		good = good || !strcmp(text, "EXIT-SUCCESS\n");
	if (file)
		fclose(file);
	unlink("cycles.out");
	if (status || !good)
		printf("the target ended with status 0x%x\n", status);
	return good && !status;
}

static bool same_here(const struct intact *first)
{
	struct intact now;
	bool good;

	if (!intact_take(getpid(), &now))
		return false;
	good = now.fds == first->fds && now.resident_kib <= first->resident_kib + GROWTH_KIB;
	if (!good)
		printf("here: %ld descriptors and %ld KiB, not %ld and %ld\n", now.fds, now.resident_kib, first->fds,
		       first->resident_kib);
	intact_free(&now);
	return good;
}

static bool same_size(pid_t pid, const struct intact *before)
{
	struct intact now;
	bool good;

	if (!intact_take(pid, &now))
		return false;
	good = now.resident_kib <= before->resident_kib + GROWTH_KIB;
	if (!good)
		printf("the target has %ld KiB, not %ld\n", now.resident_kib, before->resident_kib);
	intact_free(&now);
	return good;
}

static bool run(struct cycles *c, unsigned cycles)
{
	struct intact before = { 0 }, here = { 0 };
	bool good = intact_take(c->target, &before);

	for (unsigned i = 0; good && i < cycles; i++) {
		struct utap_error err = { 0 };

		if (cycle(c, &err)) {
			printf("cycle %u: %s\n", i, err.text);
			good = false;
		} else if (!intact_is_alive(c->target)) {
			printf("cycle %u: the target is gone\n", i);
			good = false;
		} else if (i % LOOK_EVERY == 0 || i + 1 == cycles) {
			good = intact_check(c->target, &before, INTACT_ALL, stdout);
			if (!good)
				printf("after cycle %u\n", i);
		}
		if (i == LOOK_EVERY && !intact_take(getpid(), &here)) /* caches and allocators are warm then */
			good = false;
	}
	if (good && here.maps)
		good = same_here(&here) && same_size(c->target, &before);
	intact_free(&before);
	intact_free(&here);
	return good;
}

int main(int argc, char **argv)
{
	const char *cycles_text = argc > 2 ? argv[2] : getenv("UTAP_CYCLES");
	const char *seed_text = argc > 3 ? argv[3] : getenv("UTAP_SEED");
	unsigned cycles = cycles_text ? (unsigned)atoi(cycles_text) : 300;
	struct cycles c = { .seed = seed_text ? strtoull(seed_text, NULL, 0) : base_now_ns() | 1 };
	uint64_t started = base_now_ns();
	bool good;

	if (argc < 2) {
		fprintf(stderr, "usage: cycles TARGET [CYCLES [SEED]]\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("seed %#lx\n", (unsigned long)c.seed);
	c.target = start_target(argv[1]);
	good = run(&c, cycles);
	good = end_target(c.target) && good;
	printf("%u cycles, %.2f ms each, %lu hits, %lu records, memory kept %lu times, a thread stopped for at most "
	       "%.2f ms\n",
	       cycles, (double)(base_now_ns() - started) / 1e6 / (cycles ? cycles : 1), (unsigned long)c.hits,
	       (unsigned long)c.records, (unsigned long)c.kept, (double)c.worst_stop_ns / 1e6);
	if (good && !c.hits) {
		puts("nothing was hit");
		good = false;
	}
	if (good)
		puts("EXIT-SUCCESS");
	return good ? 0 : 1;
}
