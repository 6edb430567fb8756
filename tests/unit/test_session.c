/* SPDX-License-Identifier: MIT */
/*
 * Sessions on children of this program: exact counts, records in order, several probes and processes, what is refused
 * and in which words, and what is left afterwards. The children call probed() when they are told to, so every number is
 * known.
 */
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
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "process/process.h"
#include "session/session.h"

#define THREADS 4

/* ---- the child ---- */

/*
 * In assembly, with first instructions of five bytes: they can be probed however this program is compiled (a sanitizer
 * takes the addresses that other layers would need).
 */
long probed(long a, long b); /* a + (b & 3) * b */
long other_probed(long a);   /* a * 3 + 1 */
__asm__(".text\n"
	".globl probed\n.type probed, @function\n"
	"probed: .cfi_startproc\n"
	"	mov $3, %eax\n"
	"	and %rsi, %rax\n"
	"	imul %rsi, %rax\n"
	"	add %rdi, %rax\n"
	"	ret\n"
	"	.cfi_endproc\n.size probed, . - probed\n"
	".globl other_probed\n.type other_probed, @function\n"
	"other_probed: .cfi_startproc\n"
	"	mov $1, %eax\n"
	"	lea (%rdi, %rdi, 2), %rdi\n"
	"	add %rdi, %rax\n"
	"	ret\n"
	"	.cfi_endproc\n.size other_probed, . - other_probed\n");

static void make_calls(long n)
{
	for (long i = 0; i < n; i++)
		if (probed(i, i + 7) != i + ((i + 7) & 3) * (i + 7) || other_probed(i) != i * 3 + 1)
			_exit(9);
}

static void *thread_main(void *arg)
{
	make_calls(*(long *)arg);
	return NULL;
}

struct order {
	char what; /* c: call n times; t: in THREADS threads each; f: fork a child that calls; x: execute sleep; q: end
		    */
	long n;
};

static void obey(const struct order *order)
{
	pthread_t threads[THREADS];
	int status = 0;
	pid_t child;

	switch (order->what) {
	case 'c':
		make_calls(order->n);
		break;
	case 't':
		for (int i = 0; i < THREADS; i++)
			pthread_create(&threads[i], NULL, thread_main, (void *)(uintptr_t)&order->n);
		for (int i = 0; i < THREADS; i++)
			pthread_join(threads[i], NULL);
		break;
	case 'f':
		child = fork();
		if (!child) {
			make_calls(order->n);
			_exit(0);
		}
		waitpid(child, &status, 0);
		if (status)
			_exit(8);
		break;
	case 'x':
		execlp("sleep", "sleep", "20", NULL);
		break;
	default:
		_exit(0);
	}
}

struct child {
	pid_t pid;
	int orders, answers;
};

static struct child start(void)
{
	struct child child;
	int orders[2], answers[2];
	struct order order;

	assert_int_equal(pipe(orders), 0);
	assert_int_equal(pipe(answers), 0);
	child.pid = fork();
	assert_true(child.pid >= 0);
	if (!child.pid) {
		alarm(120);
		close(orders[1]);
		close(answers[0]);
		while (read(orders[0], &order, sizeof(order)) == sizeof(order)) {
			obey(&order);
			if (write(answers[1], "y", 1) != 1)
				break;
		}
		_exit(0);
	}
	close(orders[0]);
	close(answers[1]);
	child.orders = orders[1];
	child.answers = answers[0];
	return child;
}

static void tell(const struct child *child, char what, long n)
{
	struct order order = { .what = what, .n = n };
	char answer;

	assert_int_equal(write(child->orders, &order, sizeof(order)), sizeof(order));
	if (what != 'x' && what != 'q')
		assert_int_equal(read(child->answers, &answer, 1), 1);
}

static void end(const struct child *child)
{
	int status;

	tell(child, 'q', 0);
	waitpid(child->pid, &status, 0);
	assert_int_equal(status, 0);
	close(child->orders);
	close(child->answers);
}

/* ---- sessions ---- */

struct heard {
	unsigned refused;
	char why[400];
	uint64_t records, wrong;
	long next;
	uint64_t last_ns;
};

static void on_refused(void *arg, const char *place, const char *why)
{
	struct heard *heard = arg;

	(void)place;
	heard->refused++;
	snprintf(heard->why, sizeof(heard->why), "%s", why);
}

static struct session *open_session(enum probe_action action, struct heard *heard, const char *const *probes)
{
	struct session_options options = {
		.action = action, .ring_size = 1 << 22, .refused = on_refused, .refused_arg = heard
	};
	struct utap_error err = { 0 };
	struct session *session;

	memset(heard, 0, sizeof(*heard));
	assert_int_equal(session_create(&options, &session, &err), 0);
	for (; *probes; probes++) {
		struct probe_spec spec;

		if (probe_parse(*probes, &spec, NULL, &err) || session_add(session, &spec, &err))
			fail_msg("%s: %s", *probes, err.text);
	}
	return session;
}

static void attach(struct session *session, pid_t pid, long places)
{
	struct utap_error err = { 0 };
	long got = session_attach(session, pid, &err);

	if (got != places)
		fail_msg("attached %ld places, want %ld: %s", got, places, err.text);
}

static struct session_report detach(struct session *session)
{
	struct session_report report = { 0 };
	struct utap_error err = { 0 };

	if (session_detach(session, &report, &err))
		fail_msg("detach: %s", err.text);
	assert_int_equal(report.kept, 0);
	assert_int_equal(report.text_foreign, 0);
	return report;
}

static uint64_t hits(const struct session *session, const char *event)
{
	const struct trace_probe *probes;
	uint32_t n = session_probes(session, &probes);

	for (uint32_t id = 0; id < n; id++) {
		struct session_counts counts;

		if (strcmp(probes[id].event, event))
			continue;
		session_count(session, id, &counts);
		assert_int_equal(counts.lost, 0);
		return counts.hits;
	}
	fail_msg("there is no event %s", event);
	return 0;
}

static bool maps_ours(pid_t pid)
{
	struct process_maps maps;
	bool found = false;

	assert_int_equal(process_maps_read(pid, &maps), 0);
	for (size_t i = 0; i < maps.count; i++)
		found = found || strstr(maps.map[i].path, "/memfd:utap");
	process_maps_free(&maps);
	return found;
}

/* ---- tests ---- */

static void test_exact_counts(void **state)
{
	static const char *const probes[] = { "test_session:probed", "test_session:other_probed", NULL };
	struct child child = start();
	struct session_report report;
	struct session *session;
	struct heard heard;

	tell(&child, 'c', 10);
	session = open_session(PROBE_COUNT, &heard, probes);
	attach(session, child.pid, 2);
	assert_int_equal(hits(session, "probed"), 0);
	tell(&child, 'c', 1234);
	assert_int_equal(hits(session, "probed"), 1234);
	tell(&child, 't', 100000);
	assert_int_equal(hits(session, "probed"), 1234 + THREADS * 100000);
	assert_int_equal(hits(session, "other_probed"), 1234 + THREADS * 100000);
	assert_int_equal(session_poll(session), 1);
	report = detach(session);
	assert_true(report.sites >= 2);
	assert_true(report.text_checked > 1000);
	assert_int_equal(report.memory_kept, 0);
	assert_false(maps_ours(child.pid));
	tell(&child, 'c', 55);
	assert_int_equal(hits(session, "probed"), 1234 + THREADS * 100000);
	session_destroy(session);
	end(&child);
}

static int on_record(void *arg, const struct trace_record *record)
{
	struct heard *heard = arg;

	heard->wrong += record->nargs != 2 || (long)record->args[0] != heard->next ||
			(long)record->args[1] != heard->next + 7 || record->time_ns < heard->last_ns;
	heard->last_ns = record->time_ns;
	heard->next++;
	heard->records++;
	return 0;
}

static void test_records(void **state)
{
	static const char *const probes[] = { "p:mine/hit test_session:probed a=%di:s64 b=%si:s64", NULL };
	struct child child = start();
	const struct trace_probe *table;
	struct session *session;
	struct heard heard;
	uint64_t before = base_now_ns();

	session = open_session(PROBE_RECORD, &heard, probes);
	attach(session, child.pid, 1);
	assert_int_equal(session_probes(session, &table), 1);
	assert_string_equal(table[0].group, "mine");
	assert_string_equal(table[0].event, "hit");
	assert_string_equal(table[0].symbol, "probed");
	assert_int_equal(table[0].nargs, 2);
	tell(&child, 'c', 5000);
	detach(session);
	assert_int_equal(session_drain(session, true, on_record, &heard), 5000);
	assert_int_equal(heard.wrong, 0);
	assert_true(heard.last_ns > before && heard.last_ns < base_now_ns());
	assert_int_equal(hits(session, "hit"), 5000);
	session_destroy(session);
	end(&child);
}

/* A ring that is too small: what is lost is counted, one by one. */
static int count_only(void *arg, const struct trace_record *record)
{
	(void)record;
	++*(uint64_t *)arg;
	return 0;
}

static void test_exact_loss(void **state)
{
	struct session_options options = { .action = PROBE_RECORD, .ring_size = 4096 };
	struct child child = start();
	struct session_counts counts;
	struct utap_error err = { 0 };
	struct session *session;
	struct probe_spec spec;
	uint64_t seen = 0;

	assert_int_equal(session_create(&options, &session, &err), 0);
	assert_int_equal(probe_parse("test_session:probed a=%di", &spec, NULL, &err), 0);
	assert_int_equal(session_add(session, &spec, &err), 0);
	attach(session, child.pid, 1);
	tell(&child, 'c', 100000);
	detach(session);
	assert_true(session_drain(session, true, count_only, &seen) > 0);
	session_count(session, 0, &counts);
	assert_true(counts.lost > 0);
	assert_int_equal(seen + counts.lost, 100000);
	assert_int_equal(counts.hits, 100000);
	session_destroy(session);
	end(&child);
}

static void test_two_targets(void **state)
{
	static const char *const probes[] = { "test_session:probed", NULL };
	struct child one = start(), two = start();
	const struct session_target *targets;
	struct session *session;
	struct heard heard;

	session = open_session(PROBE_COUNT, &heard, probes);
	attach(session, one.pid, 1);
	attach(session, two.pid, 1);
	tell(&one, 'c', 100);
	tell(&two, 'c', 23);
	assert_int_equal(hits(session, "probed"), 123);
	end(&one);
	usleep(150000);
	assert_int_equal(session_poll(session), 1);
	assert_int_equal(session_targets(session, &targets), 2);
	assert_int_equal(targets[0].state, SESSION_EXITED);
	assert_int_equal(targets[1].state, SESSION_RUNNING);
	tell(&two, 'c', 77);
	detach(session);
	assert_int_equal(hits(session, "probed"), 200);
	session_destroy(session);
	assert_false(maps_ours(two.pid));
	end(&two);
}

static void test_fork_and_exec(void **state)
{
	static const char *const probes[] = { "test_session:probed", NULL };
	const struct session_target *targets;
	struct child child = start();
	struct session *session;
	struct heard heard;

	session = open_session(PROBE_COUNT, &heard, probes);
	attach(session, child.pid, 1);
	tell(&child, 'f', 500);
	assert_int_equal(hits(session, "probed"), 500);
	tell(&child, 'x', 0);
	for (int i = 0; i < 100 && session_poll(session); i++)
		usleep(20000);
	session_targets(session, &targets);
	assert_int_equal(targets[0].state, SESSION_EXECED);
	detach(session);
	assert_int_equal(hits(session, "probed"), 500);
	session_destroy(session);
	kill(child.pid, SIGKILL);
	waitpid(child.pid, NULL, 0);
	close(child.orders);
	close(child.answers);
}

static void test_refused(void **state)
{
	static const struct {
		const char *probe;
		int code;
		enum utap_error_kind kind;
		const char *part;
	} cases[] = {
		{ "test_session:probd", -ENOENT, UTAP_ERROR_NOT_FOUND, "did you mean probed" },
		{ "test_session:zzz*zzz", -ENOENT, UTAP_ERROR_NOT_FOUND, "zzz*zzz" },
		{ "libnone:malloc", -ENOENT, UTAP_ERROR_NOT_FOUND, "maps no file libnone" },
		{ "test_session:probed+0x10000000", -ENOTSUP, UTAP_ERROR_REFUSED, "probed" },
	};
	struct child child = start();

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *const probes[] = { cases[i].probe, NULL };
		struct utap_error err = { 0 };
		struct session *session;
		struct heard heard;

		session = open_session(PROBE_COUNT, &heard, probes);
		assert_int_equal(session_attach(session, child.pid, &err), cases[i].code);
		assert_int_equal(err.kind, cases[i].kind);
		if (!strstr(err.text, cases[i].part))
			fail_msg("%s: \"%s\", want \"%s\"", cases[i].probe, err.text, cases[i].part);
		assert_false(maps_ours(child.pid));
		session_destroy(session);
	}
	end(&child);
	{
		static const char *const probes[] = { "test_session:probed", NULL };
		struct utap_error err = { 0 };
		struct session *session;
		struct heard heard;

		session = open_session(PROBE_COUNT, &heard, probes);
		assert_int_equal(session_attach(session, child.pid, &err), -ESRCH);
		assert_int_equal(err.kind, UTAP_ERROR_NOT_FOUND);
		session_destroy(session);
	}
}

/* One utap at a time; and cleaning up after one that died. */
static void test_clean(void **state)
{
	static const char *const probes[] = { "test_session:probed", "test_session:other_probed", NULL };
	struct child child = start();
	struct session_report report;
	struct utap_error err = { 0 };
	struct session *session;
	struct heard heard;
	pid_t other;
	int status;

	assert_int_equal(session_clean(child.pid, false, &report, &err), 0);
	assert_int_equal(report.sites, 0);
	other = fork();
	if (!other) {
		session = open_session(PROBE_RECORD, &heard, probes);
		if (session_attach(session, child.pid, &err) != 2) {
			print_error("in another process: %s\n", err.text);
			_exit(6);
		}
		_exit(7);
	}
	waitpid(other, &status, 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 7);
	assert_true(maps_ours(child.pid));
	tell(&child, 't', 20000); /* nobody reads: it loses, and goes on */

	session = open_session(PROBE_COUNT, &heard, probes);
	assert_int_equal(session_attach(session, child.pid, &err), -EBUSY);
	assert_non_null(strstr(err.text, "utap detach -p"));
	session_destroy(session);

	assert_int_equal(session_clean(child.pid, false, &report, &err), 0);
	assert_int_equal(report.sites, 2);
	assert_int_equal(report.kept + report.text_foreign + report.memory_kept, 0);
	assert_false(maps_ours(child.pid));
	tell(&child, 't', 20000);
	end(&child);
}

/* The same place asked for twice is one probe. */
static void test_same_place(void **state)
{
	static const char *const probes[] = { "test_session:probed", "p:g/again test_session:probed", NULL };
	struct child child = start();
	struct session *session;
	struct heard heard;

	session = open_session(PROBE_COUNT, &heard, probes);
	attach(session, child.pid, 1);
	tell(&child, 'c', 10);
	assert_int_equal(hits(session, "probed"), 10);
	detach(session);
	session_destroy(session);
	end(&child);
}

static void test_spawn(void **state)
{
	static const char *const probes[] = { "libc:malloc", NULL };
	char shell[] = "sh", option[] = "-c", command[] = "exit 5", absent[] = "./absent";
	char *argv[] = { shell, option, command, NULL };
	struct utap_error err = { 0 };
	struct session *session;
	struct heard heard;
	pid_t pid = 0;
	int status;

	session = open_session(PROBE_COUNT, &heard, probes);
	if (session_spawn(session, argv, &pid, &err) != 1)
		fail_msg("%s", err.text);
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 5);
	detach(session);
	assert_true(hits(session, "malloc") > 0);
	argv[0] = absent;
	assert_int_equal(session_spawn(session, argv, &pid, &err), -ENOENT);
	session_destroy(session);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exact_counts),  cmocka_unit_test(test_records),
		cmocka_unit_test(test_exact_loss),    cmocka_unit_test(test_two_targets),
		cmocka_unit_test(test_fork_and_exec), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_clean),         cmocka_unit_test(test_same_place),
		cmocka_unit_test(test_spawn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
