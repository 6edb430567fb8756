// SPDX-License-Identifier: MIT
// C++ exceptions through many frames. Usage: throws MODE COUNTS-FILE; as calls.c.
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#define PROBED __attribute__((noinline, noclone, used))

static thread_local unsigned long entered, returned, destroyed;
static unsigned long all_entered, all_returned, all_destroyed;

// Its destructor runs in landing pads, which belong to the functions.
struct guard {
	std::string text = "a text that is too long for the string itself, so it must be freed";
	~guard() { destroyed++; }
};

extern "C" {
PROBED long probed_deep(long n, long throw_at)
{
	guard held;

	entered++;
	if (n == 0) {
		if (throw_at)
			throw std::runtime_error("out of the depth");
		returned++;
		return (long)held.text.size();
	}
	long result = probed_deep(n - 1, throw_at) + 1;

	returned++;
	return result;
}

PROBED long probed_catch(long n, long throw_at)
{
	long result;

	entered++;
	try {
		result = probed_deep(n, throw_at);
	} catch (const std::runtime_error &error) {
		result = (long)strlen(error.what());
	}
	returned++;
	return result;
}

// Catches, and throws again.
PROBED long probed_again(long n)
{
	entered++;
	try {
		return probed_deep(n, 1);
	} catch (...) {
		throw;
	}
}

PROBED long probed_outer(long n)
{
	long result = 0;

	entered++;
	try {
		result = probed_again(n);
	} catch (const std::exception &error) {
		result = -1;
	}
	returned++;
	return result;
}
}

static long work()
{
	long sum = 0;

	for (long i = 0; i < 300; i++)
		sum += probed_catch(20, i & 1) + probed_outer(i % 20);
	return sum;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;

	int nthreads = strcmp(argv[1], "threads") == 0 ? 4 : 1;
	std::vector<std::thread> threads;
	std::vector<long> sums(nthreads);
	std::vector<unsigned long> e(nthreads), r(nthreads), d(nthreads);

	for (int i = 0; i < nthreads; i++)
		threads.emplace_back([&, i] {
			sums[i] = work();
			e[i] = entered, r[i] = returned, d[i] = destroyed;
		});
	long sum = 0;

	for (int i = 0; i < nthreads; i++) {
		threads[i].join();
		sum += sums[i];
		all_entered += e[i], all_returned += r[i], all_destroyed += d[i];
	}
	printf("%s %ld %lu\n", argv[1], sum, all_destroyed);

	FILE *out = fopen(argv[2], "w");

	if (!out)
		return 1;
	fprintf(out, "entered=%lu returned=%lu tailed=0 results=0\n", all_entered, all_returned);
	return fclose(out) ? 1 : 0;
}
