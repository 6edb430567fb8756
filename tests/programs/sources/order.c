/* SPDX-License-Identifier: MIT */
/*
 * Values that a test knows beforehand, in variables that probes name, and in static probes (USDT) of which one has a semaphore. Calls take(i) for each i below
 * the number given, and says whether anybody wanted the probe with the semaphore. With a second argument it waits for a line on standard input first.
 */
#define _SDT_HAS_SEMAPHORES 1
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sdt.h>

struct money {
	int whole;
	short cents;
};

struct item {
	const char *name;
	struct money price;
	unsigned amounts[3];
	double weight;
	unsigned kind : 3, fragile : 1;
};

unsigned short shop_wanted_semaphore __attribute__((section(".probes")));
unsigned short shop_taken_semaphore __attribute__((section(".probes")));
unsigned short shop_total_semaphore __attribute__((section(".probes")));
int shop_total;
static long wanted;

__attribute__((noinline)) static long take(const struct item *item, int number)
{
	long sum = 0;

	for (int i = 0; i < 3; i++)
		sum += item->amounts[i] * (unsigned)item->price.whole;
	STAP_PROBE3(shop, taken, number, item->name, sum);
	shop_total += number;
	STAP_PROBE1(shop, total, shop_total);
	if (shop_wanted_semaphore) {
		wanted++;
		STAP_PROBE2(shop, wanted, wanted, item->weight > 1.0 ? 7 : 8);
	}
	return sum; /* the end of take */
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "apple", "brick", "cello" };
	int rounds = argc > 1 ? atoi(argv[1]) : 10;
	long sum = 0;

	if (argc > 2) {
		puts("ready");
		fflush(stdout);
		if (getchar() == EOF)
			return 2;
	}
	for (int i = 0; i < rounds; i++) {
		struct item item = { .name = names[i % 3], .price = { i, (short)-i }, .amounts = { 1, 2, (unsigned)i }, .weight = i * 0.5,
				     .kind = (unsigned)i % 8, .fragile = i % 2 };

		sum += take(&item, i);
	}
	printf("%ld %ld\n", sum, wanted);
	return 0;
}
