/* SPDX-License-Identifier: MIT */
/*
 * Probes by the ten thousand in programs of others: every eighth instruction of python3 while it computes, every function of a
 * running node. Real programs where they are installed; else the rows say so.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "isa/isa.h"
#include "object/object.h"
#include "rows.h"
#include "samples.h"
#include "session/session.h"

#define EVERY 8
#define PYTHON_ROUNDS 3
#define NODE_ROUNDS 3
#define NODE_SETTLES_US 1500000

static const char *const pythons[] = { "/usr/bin/python3.11", "/usr/bin/python3", NULL };
static const char *const nodes[] = { "/usr/bin/node", "/usr/local/bin/node", NULL };

static const char python_work[] =
	"import json, re\n"
	"def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)\n"
	"d = {}\n"
	"for i in range(200000): d['k%d' % (i % 5000)] = d.get('k%d' % (i * 7 % 5000), 0) + i\n"
	"print(fib(24), sum(d.values()), len(json.dumps(d)))\n"
	"s = ' '.join('w%d' % (i * i % 9973) for i in range(40000))\n"
	"print(len(re.sub(r'w(\\d)(\\d*)', r'\\2\\1', s)), sorted(s.split())[:3], hash(('a', 1)) == hash(('a', 1)))\n"
	"class P:\n"
	"    def __init__(self, x): self.x = x\n"
	"    def step(self): self.x = (self.x * 1103515245 + 12345) % 2147483648; return self.x\n"
	"p = P(1)\n"
	"print(sum(p.step() % 10 for _ in range(150000)), sum(x * 0.5 for x in range(200000)))\n";

static const char node_work[] =
	"setInterval(() => { let s = 0; for (let i = 0; i < 1e5; i++) s += i % 7; JSON.stringify({ s }); }, 5);"
	"const fs = require('fs'); setInterval(() => fs.readFile('/proc/self/stat', () => {}), 3);";

static const char *installed(const char *const *paths)
{
	while (*paths && access(*paths, X_OK))
		paths++;
	return *paths;
}

/* ---- every so-manieth instruction ---- */

static long list_instructions(const char *path, uint64_t **ret, struct utap_error *err)
{
	const struct object_range *ranges;
	struct object *object;
	uint64_t *offsets = NULL;
	size_t nranges, cap = 0, count = 0, seen = 0;
	int error = object_open(path, &object, err);

	if (error)
		return error;
	error = object_ranges(object, &ranges, &nranges, err);
	for (size_t i = 0; !error && i < nranges; i++) {
		size_t available;
		const uint8_t *code = object_code(object, ranges[i].start, &available);
		uint64_t size = ranges[i].end - ranges[i].start;

		for (uint64_t at = 0; code && at < size && at < available && !error;) {
			struct isa_insn insn;

			if (isa_decode(code + at, available - at, ranges[i].start + at, &insn))
				break;
			if (seen++ % EVERY == 0) {
				error = base_grow(&offsets, &cap, count + 1, sizeof(*offsets));
				if (!error && !object_vaddr_to_offset(object, ranges[i].start + at, &offsets[count]))
					count++;
			}
			at += insn.length;
		}
	}
	object_close(object);
	if (error) {
		free(offsets);
		return error;
	}
	*ret = offsets;
	return (long)count;
}

struct python {
	const char *path;
	char output[2][4096]; /* files: untraced, probed */
	uint64_t *offsets;
	long count, places;
	uint64_t hits;
	struct samples plain_s, probed_s;
	struct utap_error err;
};

static int redirect(const char *path)
{
	int saved = dup(STDOUT_FILENO);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	fflush(stdout);
	if (fd >= 0)
		dup2(fd, STDOUT_FILENO);
	close(fd);
	return saved;
}

static void restore(int saved)
{
	dup2(saved, STDOUT_FILENO);
	close(saved);
}

static bool run_plain(struct python *p, char *const argv[])
{
	int saved = redirect(p->output[0]);
	uint64_t began = base_now_ns();
	pid_t pid = fork();
	int status = -1;

	if (!pid) {
		execv(argv[0], argv);
		_exit(127);
	}
	restore(saved);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		return false;
	samples_add(&p->plain_s, (double)(base_now_ns() - began) / 1e9);
	return true;
}

static uint64_t sum_hits(const struct session *session)
{
	const struct trace_probe *probes;
	uint32_t count = session_probes(session, &probes);
	uint64_t hits = 0;

	for (uint32_t id = 0; id < count; id++) {
		struct session_counts counts;

		session_count(session, id, &counts);
		hits += counts.hits;
	}
	return hits;
}

static bool run_probed(struct python *p, char *const argv[])
{
	const struct session_options options = { .action = PROBE_COUNT };
	struct probe_spec spec;
	struct session *session;
	struct session_report report;
	char text[256];
	uint64_t began;
	int status = -1;
	int saved;
	pid_t pid;

	snprintf(text, sizeof(text), "%s:0x1000", p->path);
	if (probe_parse(text, &spec, NULL, &p->err) || session_create(&options, &session, &p->err))
		return false;
	if (session_add_places(session, &spec, p->offsets, (size_t)p->count, &p->err)) {
		session_destroy(session);
		return false;
	}
	saved = redirect(p->output[1]);
	p->places = session_spawn(session, argv, &pid, &p->err);
	began = base_now_ns();
	restore(saved);
	if (p->places > 0 && waitpid(pid, &status, 0) == pid && !status) {
		samples_add(&p->probed_s, (double)(base_now_ns() - began) / 1e9);
		p->hits = sum_hits(session);
	}
	if (p->places > 0 && session_detach(session, &report, &p->err))
		status = -1;
	session_destroy(session);
	return p->places > 0 && !status;
}

static bool same_files(const char *a, const char *b)
{
	_cleanup_free_ char *x = NULL;
	_cleanup_free_ char *y = NULL;
	size_t nx = 0, ny = 1;

	return !base_file_read(a, &x, &nx) && !base_file_read(b, &y, &ny) && nx && nx == ny && !memcmp(x, y, nx);
}

static void rows_python(struct bench *bench)
{
	static const char time_row[] = "python3, every 8th instruction counted, over its time without";
	struct report *report = &bench->report;
	struct python p = { .path = installed(pythons) };
	bool good = true;

	if (!p.path) {
		report_absent(report, time_row, false, "python3 is not installed");
		return;
	}
	char *argv[] = { (char *)(uintptr_t)p.path, "-I", "-S", "-c", (char *)(uintptr_t)python_work, NULL };

	p.count = list_instructions(p.path, &p.offsets, &p.err);
	bench_path(bench, "python.plain", p.output[0]);
	bench_path(bench, "python.probed", p.output[1]);
	for (int i = 0; i < PYTHON_ROUNDS && good && p.count > 0; i++)
		good = run_plain(&p, argv) && run_probed(&p, argv);
	free(p.offsets);
	if (p.count <= 0 || !good) {
		report_absent(report, time_row, true, p.err.code ? p.err.text : "a run failed");
		return;
	}
	report_limit(report, time_row, samples_median(&p.probed_s) / samples_median(&p.plain_s), 3, "x",
		     "%ld of %ld places, %.1f M hits a run, %.2f s and %.2f s", p.places, p.count, (double)p.hits / 1e6,
		     samples_median(&p.probed_s), samples_median(&p.plain_s));
	report_truth(report, "it prints what it prints without probes", same_files(p.output[0], p.output[1]), "%s",
		     p.output[1]);
}

/* ---- every function of a running node ---- */

struct node {
	const char *path;
	pid_t pid;
	long places;
	struct samples insert_ms, stopped_ms, remove_ms, remove_stopped_ms;
	struct utap_error err;
};

static bool start_node(struct node *n)
{
	n->pid = fork();
	if (!n->pid) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		execl(n->path, n->path, "-e", node_work, (char *)NULL);
		_exit(127);
	}
	usleep(NODE_SETTLES_US);
	return n->pid > 0 && !waitpid(n->pid, NULL, WNOHANG);
}

static bool measure_node(struct node *n)
{
	const struct session_options options = { .action = PROBE_COUNT };
	const struct session_target *target;
	struct session_report report;
	struct probe_spec spec;
	struct session *session;
	char text[256];
	bool good;

	snprintf(text, sizeof(text), "%s:*", n->path);
	if (probe_parse(text, &spec, NULL, &n->err) || session_create(&options, &session, &n->err))
		return false;
	good = !session_add(session, &spec, &n->err);
	if (good) {
		n->places = session_attach(session, n->pid, &n->err);
		good = n->places > 0;
	}
	if (good) {
		session_targets(session, &target);
		samples_add(&n->insert_ms, (double)target->attach_ns / 1e6);
		samples_add(&n->stopped_ms, (double)target->stopped_ns / 1e6);
		usleep(200000); /* it runs, probed, and its threads wait inside probed functions */
		good = !session_detach(session, &report, &n->err);
	}
	if (good) {
		samples_add(&n->remove_ms, (double)report.detach_ns / 1e6);
		samples_add(&n->remove_stopped_ms, (double)report.stopped_ns / 1e6);
	}
	session_destroy(session);
	return good && !waitpid(n->pid, NULL, WNOHANG);
}

static void rows_node(struct bench *bench)
{
	static const char insert_row[] = "inserting probes on all functions of a running node";
	struct report *report = &bench->report;
	struct node n = { .path = installed(nodes) };
	bool good;

	if (!n.path) {
		report_absent(report, insert_row, false, "node is not installed");
		return;
	}
	good = start_node(&n);
	for (int i = 0; i < NODE_ROUNDS && good; i++)
		good = measure_node(&n);
	if (!good) {
		report_absent(report, insert_row, true, n.err.code ? n.err.text : "node ended");
	} else {
		report_limit(report, insert_row, samples_median(&n.insert_ms), 3000, "ms", "%ld places; one thread stopped %.1f ms",
			     n.places, samples_median(&n.stopped_ms));
		report_limit(report, "detaching them, its threads blocked inside", samples_median(&n.remove_ms), 1000, "ms",
			     "longest single stop %.1f ms", samples_median(&n.remove_stopped_ms));
	}
	if (n.pid > 0) {
		kill(n.pid, SIGKILL);
		waitpid(n.pid, NULL, 0);
	}
}

void rows_programs(struct bench *bench)
{
	report_group(&bench->report, "programs", "python3 and node, probed everywhere");
	rows_python(bench);
	rows_node(bench);
}
