/* SPDX-License-Identifier: MIT */
/*
 * Coroutines by swapcontext on stacks of 8 KiB that end at pages that cannot be touched. They give way in the middle of functions that are
 * probed, so that these end in another order than they began, and two threads take turns in running them: a function may begin in one
 * thread and end in another. Usage: coroutine [ROUNDS]
 */
#include <pthread.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "class.h"

#define COROUTINES 32
#define STACK 8192UL
#define PAGE 4096UL

static struct coroutine {
	ucontext_t context;
	long number, turns, ended;
} coroutines[COROUTINES];

static ucontext_t *home; /* of the thread whose turn it is; set anew at each turn */
static ucontext_t homes[2];
static pthread_barrier_t turn;
static long counts[2]; /* coroutine_work, coroutine_inner */
static int over;

long coroutine_work(struct coroutine *self, long depth);
long coroutine_inner(struct coroutine *self, long n);

CLASS_FUNCTION long coroutine_inner(struct coroutine *self, long n)
{
	volatile long kept = n * 17;

	counts[1]++;
	self->turns++;
	swapcontext(&self->context, home);
	return kept + self->number;
}

CLASS_FUNCTION long coroutine_work(struct coroutine *self, long depth)
{
	long sum;

	counts[0]++;
	sum = coroutine_inner(self, depth);
	if (sum != depth * 17 + self->number)
		target_fail("coroutine %ld came back wrongly", self->number);
	return depth ? coroutine_work(self, depth - 1) + sum : sum;
}

static long want_work(const struct coroutine *self, long depth)
{
	return 17 * depth * (depth + 1) / 2 + (depth + 1) * self->number;
}

static void run_coroutine(int index)
{
	struct coroutine *self = &coroutines[index];

	for (long round = 0;; round++) {
		long depth = (self->number + round) % 7;

		if (coroutine_work(self, depth) != want_work(self, depth))
			target_fail("coroutine %ld: a wrong sum", self->number);
		self->ended++;
	}
}

static void make_coroutine(int index)
{
	unsigned char *memory = mmap(NULL, PAGE + STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ucontext_t *context = &coroutines[index].context;

	if (memory == MAP_FAILED || mprotect(memory, PAGE, PROT_NONE) || getcontext(context))
		target_fail("no stack");
	context->uc_stack = (stack_t) { .ss_sp = memory + PAGE, .ss_size = STACK };
	coroutines[index].number = index;
	makecontext(context, (void (*)(void))run_coroutine, 1, index);
}

/* One after the other, each coroutine in an order that depends on the round. */
static void take_turn(int thread, long n)
{
	home = &homes[thread];
	for (long i = 0; i < COROUTINES; i++)
		swapcontext(home, &coroutines[(i * 5 + n) % COROUTINES].context);
}

static void *other_thread(void *arg)
{
	(void)arg;
	for (long n = 1;; n += 2) {
		pthread_barrier_wait(&turn);
		if (over)
			return NULL;
		take_turn(1, n);
		pthread_barrier_wait(&turn);
	}
}

int main(int argc, char **argv)
{
	pthread_t thread;
	long turns = 0;

	for (int i = 0; i < COROUTINES; i++)
		make_coroutine(i);
	pthread_barrier_init(&turn, NULL, 2);
	class_start(argc, argv);
	if (pthread_create(&thread, NULL, other_thread, NULL))
		target_fail("no thread");
	for (long n = 0; class_goes_on(); n += 2) {
		take_turn(0, n);
		pthread_barrier_wait(&turn);
		pthread_barrier_wait(&turn);
		turns += 2;
	}
	over = 1;
	pthread_barrier_wait(&turn);
	pthread_join(thread, NULL);
	for (int i = 0; i < COROUTINES; i++)
		if (coroutines[i].turns != turns)
			target_fail("coroutine %d had %ld turns of %ld", i, coroutines[i].turns, turns);
	class_told("coroutine_work", counts[0]);
	class_told("coroutine_inner", counts[1]);
	return target_success();
}
