/* SPDX-License-Identifier: MIT */
/*
 * A bit of everything that C compilers make code for: calls through pointers, varargs, floating point, structures by value, recursion,
 * tail calls, tables of jumps, functions chosen at run time (ifunc), threads with storage of their own, constructors.
 * Usage: mix [ROUNDS]; as tests/programs/classes.
 */
#include <math.h>
#include <pthread.h>

#include "../classes/class.h"

struct triple {
	long a, b, c;
};

static long counts[9];
enum { COMPARE, SUM, SHAPE, TRIPLE, SWITCH, TAIL, DOWN, CHOSEN, LOCAL };
static const char *const names[] = { "mix_compare", "mix_sum",	"mix_shape", "mix_triple", "mix_switch",
				     "mix_tail",    "mix_down", "mix_chosen_fast", "mix_local" };
static __thread long local;
static long constructed;

#define COUNT(which) __atomic_fetch_add(&counts[which], 1, __ATOMIC_RELAXED)

int mix_compare(const void *a, const void *b);
long mix_sum(int count, ...);
double mix_shape(double x, float y, long n);
struct triple mix_triple(struct triple in, long n);
long mix_switch(long which, long n);
long mix_tail(long n);
long mix_down(long depth, long n);
long mix_local(long n);
long mix_chosen_fast(long n);
long mix_chosen(long n);

__attribute__((constructor)) static void mix_construct(void)
{
	constructed++;
}

CLASS_FUNCTION int mix_compare(const void *a, const void *b)
{
	long x = *(const long *)a, y = *(const long *)b;

	COUNT(COMPARE);
	return x < y ? -1 : x > y;
}

CLASS_FUNCTION long mix_sum(int count, ...)
{
	va_list ap;
	long sum = 0;

	COUNT(SUM);
	va_start(ap, count);
	for (int i = 0; i < count; i++)
		sum += i & 1 ? (long)va_arg(ap, double) : va_arg(ap, long);
	va_end(ap);
	return sum;
}

CLASS_FUNCTION double mix_shape(double x, float y, long n)
{
	COUNT(SHAPE);
	return sqrt(x * x + (double)(y * y)) + (double)n / 3;
}

CLASS_FUNCTION struct triple mix_triple(struct triple in, long n)
{
	COUNT(TRIPLE);
	return (struct triple) { in.c + n, in.a * 2, in.b - n };
}

CLASS_FUNCTION long mix_switch(long which, long n)
{
	COUNT(SWITCH);
	switch (which) {
	case 0: return n + 1;
	case 1: return mix_tail(n);
	case 2: return n * n;
	case 3: return mix_sum(3, n, 2.0, 3L);
	case 4: return ~n;
	case 5: return n >> 3;
	case 6: return n ^ 0x5555;
	case 7: return n % 7;
	}
	return -1;
}

CLASS_FUNCTION long mix_tail(long n)
{
	COUNT(TAIL);
	return mix_local(n + 2);
}

CLASS_FUNCTION long mix_local(long n)
{
	COUNT(LOCAL);
	local += n;
	return local - n;
}

CLASS_FUNCTION long mix_down(long depth, long n)
{
	volatile char used[48];

	COUNT(DOWN);
	used[depth % 48] = (char)n;
	return depth ? mix_down(depth - 1, n) + used[depth % 48] - (char)n + 1 : n;
}

CLASS_FUNCTION long mix_chosen_fast(long n)
{
	COUNT(CHOSEN);
	return n * 5;
}

#ifdef MIX_IFUNC
__attribute__((used)) static long (*choose(void))(long)
{
	return mix_chosen_fast;
}
long mix_chosen(long n) __attribute__((ifunc("choose")));
#else
long mix_chosen(long n)
{
	return mix_chosen_fast(n);
}
#endif

static unsigned long checksum;

static void add(unsigned long value)
{
	checksum = checksum * 1099511628211UL ^ value;
}

static void *work(void *arg)
{
	long sum = 0;

	for (long i = 0; i < 100; i++)
		sum += mix_local((long)arg + i);
	return (void *)sum;
}

static void do_round(long n, uint64_t *seed)
{
	struct triple triple = { n, n + 1, n + 2 };
	long values[64];
	pthread_t thread;
	void *result;

	for (int i = 0; i < 64; i++)
		values[i] = (long)(class_random(seed) >> 50);
	qsort(values, 64, sizeof(values[0]), mix_compare);
	for (int i = 0; i < 64; i++)
		add((unsigned long)values[i]);
	add((unsigned long)mix_sum(6, n, 1.5, 2L, 7.0, n * 2, 9.9));
	add((unsigned long)(mix_shape((double)n, 2.5F, n) * 1000));
	triple = mix_triple(triple, n);
	add((unsigned long)(triple.a ^ triple.b ^ triple.c));
	for (long i = 0; i < 9; i++)
		add((unsigned long)mix_switch(i, n + i));
	add((unsigned long)mix_down(40, n));
	add((unsigned long)mix_chosen(n));
	if (pthread_create(&thread, NULL, work, (void *)n))
		target_fail("no thread");
	pthread_join(thread, &result);
	add((unsigned long)result);
}

int main(int argc, char **argv)
{
	uint64_t seed = 4101842887655102017ULL;
	long rounds = 0;

	class_start(argc, argv);
	if (constructed != 1)
		target_fail("constructors ran %ld times", constructed);
	for (; class_goes_on(); rounds++)
		do_round(rounds, &seed);
	printf("checksum after %ld rounds: %lx\n", rounds, checksum);
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		class_told(names[i], counts[i]);
	return target_success();
}
