/* SPDX-License-Identifier: MIT */
/*
 * The target of storm.sh: threads that work and check their results, others that are born and die all the time, signals, children, a library
 * that is loaded and unloaded. It counts its own calls in a file that it shares with whoever looks, and stands still while a word there says
 * so: then its counts must be those of a tracer.
 *
 * Usage: storm_target FILE LIBRARY; SIGUSR1: fork children that work, too; SIGUSR2: unload and load the library; SIGTERM: end
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "../programs/target.h"

#define WORKERS 3
#define NAMES 6
#define CHILDREN 3
#define STEPS_IN_CHILD 200

struct shared {
	uint32_t closed;          /* who looks writes 1: stand still */
	uint32_t still;           /* threads that do; WORKERS + 2 of them */
	uint32_t forks, reloads;
	uint64_t calls[NAMES];
};
enum { HASH, LIST, COMPARE, DOWN, JUMP, LEAF };
static const char *const names[NAMES] = { "storm_hash", "storm_list", "storm_compare", "storm_down", "storm_jump", "storm_leaf" };

static struct shared *shared;
static pthread_rwlock_t loaded = PTHREAD_RWLOCK_INITIALIZER;
static long (*library_function)(long);
static const char *library_path;
static void *library;
static volatile sig_atomic_t asked_fork, asked_reload;

#define CALLED(which) __atomic_fetch_add(&shared->calls[which], 1, __ATOMIC_RELAXED)
#define FUNCTION __attribute__((noipa))

unsigned long storm_hash(const char *text, size_t size);
long storm_list(long n);
int storm_compare(const void *a, const void *b);
long storm_down(long depth, long n);
long storm_jump(long n);
long storm_leaf(long n);

FUNCTION unsigned long storm_hash(const char *text, size_t size)
{
	unsigned long hash = 5381;

	CALLED(HASH);
	for (size_t i = 0; i < size; i++)
		hash = hash * 33 ^ (unsigned char)text[i];
	return hash;
}

struct item {
	struct item *next;
	long value;
};

FUNCTION long storm_list(long n)
{
	struct item *head = NULL;
	long sum = 0;

	CALLED(LIST);
	for (long i = 0; i < n; i++) {
		struct item *item = malloc(sizeof(*item));

		*item = (struct item) { head, i };
		head = item;
	}
	while (head) {
		struct item *next = head->next;

		sum += head->value;
		free(head);
		head = next;
	}
	return sum;
}

FUNCTION int storm_compare(const void *a, const void *b)
{
	CALLED(COMPARE);
	return *(const int *)a - *(const int *)b;
}

FUNCTION long storm_down(long depth, long n)
{
	volatile long kept = depth * n;

	CALLED(DOWN);
	return depth ? storm_down(depth - 1, n) + kept - depth * n + 1 : n;
}

static _Thread_local jmp_buf back;

FUNCTION long storm_jump(long n)
{
	volatile long kept = n; /* or the compiler makes a loop of it */

	CALLED(JUMP);
	if (n > 3)
		longjmp(back, (int)n);
	return storm_jump(n + 1) + kept;
}

FUNCTION long storm_leaf(long n)
{
	CALLED(LEAF);
	return n ^ 0x1234;
}

static void expect(const char *what, long got, long want)
{
	if (got != want)
		target_fail("%s gave %ld, not %ld", what, got, want);
}

static void step(long n)
{
	static const char text[] = "a text to be hashed";
	int values[12];

	expect("storm_hash", (long)storm_hash(text, sizeof(text) - 1), (long)9337918326049185750UL);
	expect("storm_list", storm_list(n % 9), (n % 9) * (n % 9 - 1) / 2);
	for (int i = 0; i < 12; i++)
		values[i] = (int)((n * 7 + i * 5) % 12);
	qsort(values, 12, sizeof(values[0]), storm_compare);
	for (int i = 1; i < 12; i++)
		if (values[i - 1] > values[i])
			target_fail("qsort did not sort");
	expect("storm_down", storm_down(n % 20, n), n + n % 20);
	int got = setjmp(back);
	if (!got)
		storm_jump(n % 4);
	expect("storm_jump", got, 4);
	expect("storm_leaf", storm_leaf(n), n ^ 0x1234);
	pthread_rwlock_rdlock(&loaded);
	if (library_function)
		expect("the library's function", library_function(n), n * 3 + 1);
	pthread_rwlock_unlock(&loaded);
}

/* Does nothing for as long as it is told so. */
static void stand_still(void)
{
	if (!__atomic_load_n(&shared->closed, __ATOMIC_SEQ_CST))
		return;
	__atomic_fetch_add(&shared->still, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&shared->closed, __ATOMIC_SEQ_CST) && !target_stopping)
		usleep(500);
	__atomic_fetch_sub(&shared->still, 1, __ATOMIC_SEQ_CST);
}

static void *work(void *arg)
{
	for (long n = (long)arg; !target_stopping; n++) {
		step(n & 0xffff);
		if (n % 16 == 0)
			usleep(100);
		stand_still();
	}
	return NULL;
}

static void *live_shortly(void *arg)
{
	for (long n = 0; n < 5; n++)
		step((long)arg + n);
	return arg;
}

static void *make_threads(void *arg)
{
	(void)arg;
	for (long n = 0; !target_stopping; n++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, live_shortly, (void *)(n & 0xfff)))
			target_fail("no thread");
		pthread_join(thread, NULL);
		stand_still();
	}
	return NULL;
}

static void on_alarm(int number)
{
	(void)number;
	if (!__atomic_load_n(&shared->closed, __ATOMIC_SEQ_CST))
		expect("storm_leaf in a signal handler", storm_leaf(99), 99 ^ 0x1234);
}

static void on_usr(int number)
{
	if (number == SIGUSR1)
		asked_fork = 1;
	else
		asked_reload = 1;
}

static void reload(void)
{
	pthread_rwlock_wrlock(&loaded);
	if (library)
		dlclose(library);
	library = dlopen(library_path, RTLD_NOW);
	library_function = library ? (long (*)(long))dlsym(library, "storm_library") : NULL;
	if (!library_function)
		target_fail("%s", dlerror());
	pthread_rwlock_unlock(&loaded);
	shared->reloads++;
}

/* They take no lock that another thread could have held. */
static void make_children(void)
{
	static const char text[] = "child";
	pid_t children[CHILDREN];

	for (int i = 0; i < CHILDREN; i++) {
		children[i] = fork();
		if (children[i])
			continue;
		unsigned long hash = storm_hash(text, sizeof(text));
		for (long n = 0; n < STEPS_IN_CHILD; n++)
			if (storm_leaf(n) != (n ^ 0x1234) || storm_down(n % 9, n) != n + n % 9 || storm_hash(text, sizeof(text)) != hash)
				_exit(1);
		_exit(0);
	}
	for (int i = 0; i < CHILDREN; i++) {
		int status = 1;

		while (waitpid(children[i], &status, 0) < 0 && errno == EINTR)
			;
		if (children[i] > 0 && status)
			target_fail("a child ended with status 0x%x", (unsigned)status);
	}
	shared->forks++;
}

static void handle(int number, void (*handler)(int))
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };

	sigaction(number, &action, NULL);
}

int main(int argc, char **argv)
{
	struct itimerval often = { { 0, 1000 }, { 0, 1000 } }, never = { 0 };
	pthread_t threads[WORKERS + 1];
	int fd = argc > 2 ? open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;

	if (fd < 0 || ftruncate(fd, sizeof(*shared)))
		target_fail("Usage: storm_target FILE LIBRARY");
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (shared == MAP_FAILED)
		target_fail("no shared file");
	library_path = argv[2];
	handle(SIGALRM, on_alarm);
	handle(SIGUSR1, on_usr);
	handle(SIGUSR2, on_usr);
	target_start();
	reload();
	setitimer(ITIMER_REAL, &often, NULL);
	for (long i = 0; i < WORKERS + 1; i++)
		if (pthread_create(&threads[i], NULL, i < WORKERS ? work : make_threads, (void *)(i * 1000)))
			target_fail("no thread");
	while (!target_stopping) {
		if (asked_fork) {
			asked_fork = 0;
			make_children();
		}
		if (asked_reload) {
			asked_reload = 0;
			reload();
		}
		usleep(1000);
		stand_still();
	}
	setitimer(ITIMER_REAL, &never, NULL);
	for (int i = 0; i < WORKERS + 1; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < NAMES; i++)
		printf("%s %lu\n", names[i], (unsigned long)shared->calls[i]);
	return target_success();
}
