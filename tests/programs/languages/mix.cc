/* SPDX-License-Identifier: MIT */
/*
 * What C++ compilers make code for: virtual calls and thunks of multiple bases, templates, lambdas, exceptions with their cold parts,
 * static objects, containers and streams, threads. Usage: mix [ROUNDS]; as tests/programs/classes.
 */
extern "C" {
#include "../classes/class.h"
}
#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

enum { AREA, CHECKED, APPLY, KINDS };
static std::atomic<long> counts[KINDS];

struct shape {
	virtual ~shape() = default;
	virtual long area(long n) const = 0;
};

struct named {
	virtual ~named() = default;
	virtual std::string name() const { return "nothing"; }
};

extern "C" {
CLASS_FUNCTION long mix_area(long a, long b)
{
	counts[AREA]++;
	return a * b;
}

/* The way that throws is cold: compilers move it elsewhere. */
CLASS_FUNCTION long mix_checked(const std::vector<long> &values, long index)
{
	counts[CHECKED]++;
	if (__builtin_expect(index < 0 || static_cast<size_t>(index) >= values.size(), 0)) {
		std::ostringstream text;

		text << "no element " << index << " of " << values.size();
		throw std::out_of_range(text.str());
	}
	return values[static_cast<size_t>(index)];
}

CLASS_FUNCTION long mix_apply(const std::function<long(long)> &function, long n)
{
	counts[APPLY]++;
	return function(n);
}
}

struct square : shape, named {
	long area(long n) const override { return mix_area(n, n); }
	std::string name() const override { return "square"; }
};

struct box : named, shape {
	long side;

	explicit box(long s) : side(s) {}
	long area(long n) const override { return mix_area(n, side) + 1; }
	std::string name() const override { return "box" + std::to_string(side); }
};

template <typename T> static T fold(const std::vector<T> &values, T start)
{
	return std::accumulate(values.begin(), values.end(), start, [](T a, T b) { return a * 31 + b; });
}

static long do_round(long n)
{
	std::vector<std::unique_ptr<shape>> shapes;
	std::map<std::string, long> sizes;
	std::vector<long> values;
	long sum = 0;

	for (long i = 0; i < 10; i++) {
		if (i & 1)
			shapes.emplace_back(new square);
		else
			shapes.emplace_back(new box(i));
		values.push_back((n * 7 + i * 13) % 101);
	}
	for (const auto &s : shapes) {
		sum += s->area(n);
		if (const named *name = dynamic_cast<const named *>(s.get()))
			sizes[name->name()] += sum % 97;
	}
	std::sort(values.begin(), values.end(), [](long a, long b) { return a > b; });
	for (long i = -2; i < 12; i++)
		try {
			sum += mix_checked(values, i);
		} catch (const std::out_of_range &error) {
			sum += static_cast<long>(std::string(error.what()).size());
		}
	sum += mix_apply([&](long x) { return x + fold(values, 1L) % 1000; }, n);
	for (const auto &entry : sizes)
		sum = sum * 3 + entry.second + static_cast<long>(entry.first.size());
	return sum;
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "mix_area", "mix_checked", "mix_apply" };
	unsigned long checksum = 0;

	class_start(argc, argv);
	for (long n = 0; class_goes_on(); n++) {
		long beside = 0;
		std::thread thread([&] { beside = do_round(n * 2); });

		checksum = checksum * 31 + static_cast<unsigned long>(do_round(n));
		thread.join();
		checksum ^= static_cast<unsigned long>(beside);
	}
	printf("checksum %lx\n", checksum);
	for (int i = 0; i < KINDS; i++)
		class_told(names[i], counts[i]);
	return target_success();
}
