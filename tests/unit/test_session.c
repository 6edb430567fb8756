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
#include "trace/frames.h"

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

/* Ways out of functions: a return with padding behind, a jump of five bytes, one that depends; and functions that are but one instruction. */
long left_by_return(long a); /* a + 5 */
long left_by_jump(long a);   /* a + 1 + 5 */
long left_by_either(long a); /* 0 + 5 where a is 0, else 9 */
long only_jump(long a);      /* a + 5 */
void only_return(void);
void never_left(void);
void landing_loop(long a);
#define FUNCTION(name, code)                                                                        \
	".globl " name "\n.type " name ", @function\n" name ": .cfi_startproc\n" code ".cfi_endproc\n.size " name ", . - " name \
	"\n.skip 15, 0x90\n"
__asm__(".text\n"
	FUNCTION("left_by_return", "mov $5, %eax\n lea (%rax, %rdi), %rax\n ret\n")
	FUNCTION("left_by_jump", "lea 0x1(%rdi), %rdi\n .byte 0xe9\n .long left_by_return - . - 4\n")
	FUNCTION("left_by_either", "cmp $0x7f7f, %rdi\n test %rdi, %rdi\n .byte 0x0f, 0x84\n .long left_by_return - . - 4\n"
				   "mov $9, %eax\n ret\n")
	FUNCTION("only_jump", ".byte 0xe9\n .long left_by_return - . - 4\n")
	FUNCTION("only_return", "ret\n")
	FUNCTION("never_left", "mov $5, %eax\n ud2\n")
	FUNCTION("landing_loop", "endbr64\n 1: lea -0x1(%rdi), %rdi\n test %rdi, %rdi\n jne 1b\n ret\n"));

static void make_returns(long n)
{
	for (long i = 0; i < n; i++) {
		if (left_by_return(i) != i + 5 || left_by_jump(i) != i + 6 || left_by_either(i & 1) != (i & 1 ? 9 : 5) ||
		    only_jump(i) != i + 5)
			_exit(9);
		only_return();
	}
}

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
	char what; /* c: call n times; r: call what returns in all ways; t: in THREADS threads each; f: fork a child that calls; x: execute sleep; q: end
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
	case 'r':
		make_returns(order->n);
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
	static const char *const probes[] = { "test_session:probed", "p:g/again test_session:probed", "test_session:probe[d]", NULL };
	struct child child = start();
	struct session *session;
	struct heard heard;

	session = open_session(PROBE_COUNT, &heard, probes);
	attach(session, child.pid, 2);
	tell(&child, 'c', 10);
	assert_int_equal(hits(session, "probed"), 10);
	assert_int_equal(hits(session, "again"), 10);
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

/* ---- returns, and whole calls ---- */

struct returns {
	struct session *session;
	struct trace_frames *frames; /* NULL: returns alone */
	uint64_t values;             /* sum of what left_by_return() returned */
	uint64_t count[8][4];        /* by probe's name, by ending; returns alone: [][0] returns, [][1] tail calls */
	uint64_t callers;            /* of returns: inside make_returns() */
	uint64_t wrong;
};

static const char *const return_names[] = { "left_by_return", "left_by_jump", "left_by_either", "only_jump", "only_return" };
#define RETURN_NAMES 5

static size_t name_index(const struct returns *returns, uint32_t id)
{
	const struct trace_probe *probes;

	session_probes(returns->session, &probes);
	for (size_t i = 0; i < RETURN_NAMES; i++)
		if (!strcmp(probes[id].symbol, return_names[i]))
			return i;
	fail_msg("a record of %s", probes[id].symbol);
	return 0;
}

static int on_return(void *arg, const struct trace_record *record)
{
	struct returns *returns = arg;
	bool tail = record->flags & WIRE_RECORD_TAIL;
	size_t name = name_index(returns, record->id);

	returns->count[name][tail]++;
	returns->wrong += record->nargs != 1 || !(record->flags & WIRE_RECORD_RETURN) || (tail && record->args[0]);
	if (name == 0)
		returns->values += record->args[0];
	returns->callers += record->caller - (uint64_t)(uintptr_t)make_returns < 1000;
	return 0;
}

static void test_returns(void **state)
{
	static const char *const probes[] = { "r:test_session:left_by_return v=$retval:s64", "test_session:left_by_jump%return v=$retval",
					      "r:g/either test_session:left_by_either $retval", "test_session:only_*%return $retval",
					      NULL };
	struct child child = start();
	struct returns returns = { 0 };
	struct heard heard;
	enum { N = 1000 };

	returns.session = open_session(PROBE_RECORD, &heard, probes);
	attach(returns.session, child.pid, 6); /* left_by_either has two ways out */
	tell(&child, 'r', N);
	assert_int_equal(hits(returns.session, "either"), 0);
	detach(returns.session);
	assert_true(session_drain(returns.session, true, on_return, &returns) > 0);
	assert_int_equal(returns.wrong, 0);
	assert_int_equal(returns.count[0][0], 3 * N + N / 2);
	assert_int_equal(returns.count[1][1], N);
	assert_int_equal(returns.count[2][0], N / 2);
	assert_int_equal(returns.count[2][1], N / 2);
	assert_int_equal(returns.count[3][1], N);
	assert_int_equal(returns.count[4][0], N);
	/* i + 5, i + 6, i + 5 over all i; 5 for each even one */
	assert_int_equal(returns.values, 3 * (uint64_t)N * (N - 1) / 2 + 16 * N + 5 * N / 2);
	assert_true(returns.callers >= 6 * N || returns.callers == 0); /* a sanitizer moves code about, or inlines it */
	assert_int_equal(hits(returns.session, "either"), N);
	session_destroy(returns.session);
	end(&child);
}

static int on_call(void *arg, const struct trace_call *call)
{
	struct returns *returns = arg;

	returns->count[name_index(returns, call->id)][call->ending]++;
	returns->wrong += call->end_ns < call->start_ns || call->nargs != 1;
	return 0;
}

static int on_half(void *arg, const struct trace_record *record)
{
	struct returns *returns = arg;
	const struct trace_probe *probes;

	session_probes(returns->session, &probes);
	return trace_frames_add(returns->frames, &probes[record->id], record);
}

static void test_calls(void **state)
{
	struct session_options options = { .action = PROBE_RECORD, .pairs = true, .ring_size = 1 << 22 };
	struct child child = start();
	struct returns returns = { 0 };
	struct utap_error err = { 0 };
	enum { N = 1000 };

	assert_int_equal(session_create(&options, &returns.session, &err), 0);
	for (size_t i = 0; i < RETURN_NAMES; i++) {
		struct probe_spec spec;
		char text[100];

		snprintf(text, sizeof(text), "test_session:%s a=%%di", return_names[i]);
		assert_int_equal(probe_parse(text, &spec, NULL, &err), 0);
		assert_int_equal(session_add(returns.session, &spec, &err), 0);
	}
	assert_int_equal(trace_frames_create(100, on_call, &returns, &returns.frames), 0);
	attach(returns.session, child.pid, 9); /* entries, and six ways out, two of which are the entry */
	tell(&child, 'r', N);
	detach(returns.session);
	assert_int_equal(session_drain(returns.session, true, on_half, &returns), 2 * (3 * N + N / 2 + 4 * N));
	assert_int_equal(returns.wrong, 0);
	assert_int_equal(returns.count[0][TRACE_RETURNED], 3 * N + N / 2);
	assert_int_equal(returns.count[1][TRACE_TAILED], N);
	assert_int_equal(returns.count[2][TRACE_RETURNED], N / 2);
	assert_int_equal(returns.count[2][TRACE_TAILED], N / 2);
	assert_int_equal(returns.count[3][TRACE_TAILED], N);
	assert_int_equal(returns.count[4][TRACE_RETURNED], N);
	trace_frames_destroy(returns.frames);
	session_destroy(returns.session);
	end(&child);
}

static void test_no_returns(void **state)
{
	static const struct {
		const char *probe, *why;
	} rows[] = {
		{ "r:test_session:never_left", "it never returns" },
		{ "r:test_session:0x10", "" },
		{ "test_session:landing_loop", "code leads behind its landing instruction" },
		{ "r:test_session:nowhere", "no function nowhere" },
	};
	struct child child = start();

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *const probes[] = { rows[i].probe, NULL };
		struct utap_error err = { 0 };
		struct heard heard;
		struct session *session = open_session(PROBE_COUNT, &heard, probes);

		assert_true(session_attach(session, child.pid, &err) < 0);
		assert_non_null(strstr(err.text, rows[i].why));
		session_destroy(session);
	}
	assert_false(maps_ours(child.pid));
	end(&child);
}

/* Each instruction: all of them are reached each time. */
static void test_each(void **state)
{
	static const char *const probes[] = { "test_session:probed:*", NULL };
	static const char *const by_name[] = { "probed:*", NULL };
	struct child child = start();
	const struct trace_probe *table;
	struct session *session;
	struct heard heard;
	uint32_t count;

	session = open_session(PROBE_COUNT, &heard, probes);
	attach(session, child.pid, 5);
	tell(&child, 'c', 77);
	count = session_probes(session, &table);
	assert_int_equal(count, 5);
	for (uint32_t id = 0; id < count; id++) {
		struct session_counts counts;

		session_count(session, id, &counts);
		assert_int_equal(counts.hits, 77);
		assert_string_equal(table[id].symbol, "probed");
		assert_int_equal(table[id].symbol_offset, ((const uint64_t[]) { 0, 5, 8, 12, 15 })[id]);
	}
	assert_string_equal(table[0].event, "probed");
	assert_string_equal(table[1].event, "probed_0x5");
	detach(session);
	session_destroy(session);
	session = open_session(PROBE_COUNT, &heard, by_name);
	attach(session, child.pid, 5);
	detach(session);
	session_destroy(session);
	end(&child);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exact_counts),  cmocka_unit_test(test_records),
		cmocka_unit_test(test_exact_loss),    cmocka_unit_test(test_two_targets),
		cmocka_unit_test(test_fork_and_exec), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_clean),         cmocka_unit_test(test_same_place),
		cmocka_unit_test(test_spawn),	      cmocka_unit_test(test_returns),
		cmocka_unit_test(test_calls),	      cmocka_unit_test(test_no_returns),
		cmocka_unit_test(test_each),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
