/* SPDX-License-Identifier: MIT */
/*
 * C++ exceptions through functions that are probed: through 20 frames with destructors, caught and rethrown, nested, thrown while another
 * is handled, of several types, out of constructors, and through a thread. Usage: throw [ROUNDS]
 */
extern "C" {
#include "class.h"
}
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

static thread_local long guards_alive;
static long counts[5];
enum { DEEP, NESTED, CATCHER, THROWER, MAKER };

struct guard {
	guard() { guards_alive++; }
	~guard() { guards_alive--; }
};

struct picky {
	guard first;
	std::string text;

	explicit picky(long n);
};

extern "C" {
CLASS_FUNCTION void throw_value(long n)
{
	__atomic_fetch_add(&counts[THROWER], 1, __ATOMIC_RELAXED);
	switch (n & 3) {
	case 0:
		throw n;
	case 1:
		throw std::runtime_error("number " + std::to_string(n));
	case 2:
		throw std::string(static_cast<size_t>(n % 40), 'x');
	}
	throw picky(n);
}

CLASS_FUNCTION long throw_deep(long depth, long n)
{
	guard here;
	volatile char used[64];

	__atomic_fetch_add(&counts[DEEP], 1, __ATOMIC_RELAXED);
	used[depth & 63] = static_cast<char>(n);
	if (!depth)
		throw_value(n);
	long result = throw_deep(depth - 1, n) + used[depth & 63];
	return result;
}

/* What was thrown, as a number. */
CLASS_FUNCTION long throw_catch(long depth, long n)
{
	__atomic_fetch_add(&counts[CATCHER], 1, __ATOMIC_RELAXED);
	try {
		guard here;

		return throw_deep(depth, n);
	} catch (long value) {
		return value;
	} catch (const std::runtime_error &error) {
		return std::stol(error.what() + 7);
	} catch (const std::string &text) {
		return static_cast<long>(text.size());
	} catch (const picky &made) {
		return static_cast<long>(made.text.size()) + 1000;
	}
}

/* An exception while another one is handled, then the first again. */
CLASS_FUNCTION long throw_nested(long depth, long n)
{
	__atomic_fetch_add(&counts[NESTED], 1, __ATOMIC_RELAXED);
	try {
		guard here;

		if (depth)
			return throw_nested(depth - 1, n);
		throw_value(n & ~3L);
	} catch (long value) {
		if (throw_catch(3, value + 1) != value + 1)
			target_fail("nested: the inner exception is wrong");
		if (std::uncaught_exceptions())
			target_fail("nested: %d uncaught exceptions", std::uncaught_exceptions());
		throw;
	}
	return -1;
}

CLASS_FUNCTION long throw_make(long n)
{
	__atomic_fetch_add(&counts[MAKER], 1, __ATOMIC_RELAXED);
	try {
		picky made(n);

		return static_cast<long>(made.text.size());
	} catch (const std::length_error &) {
		return -1;
	}
}
}

picky::picky(long n) : text(static_cast<size_t>(n % 50), 'p')
{
	if (n % 5 == 0)
		throw std::length_error("five");
}

static void check(bool right, const char *what, long n)
{
	if (!right || guards_alive)
		target_fail("%s is wrong for %ld (%ld destructors were not run)", what, n, guards_alive);
}

static long want_caught(long n)
{
	return (n & 3) < 2 ? n : (n & 3) == 2 ? n % 40 : 1000 + n % 50;
}

static void do_round(long n)
{
	for (long i = 4 * n; i < 4 * n + 4; i++) {
		if ((i & 3) == 3 && i % 5 == 0)
			continue; /* picky would throw while it is made to be thrown */
		check(throw_catch(20, i) == want_caught(i), "what was thrown through 20 frames", i);
	}
	try {
		throw_nested(5, n);
		check(false, "an exception that was lost", n);
	} catch (long value) {
		check(value == (n & ~3L), "a nested exception", n);
	}
	check(throw_make(n) == (n % 5 ? n % 50 : -1), "a constructor's exception", n);
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "throw_deep", "throw_nested", "throw_catch", "throw_value", "throw_make" };

	class_start(argc, argv);
	for (long n = 1; class_goes_on(); n++) {
		std::exception_ptr carried;

		do_round(n);
		std::thread([&] {
			do_round(n + 1);
			try {
				throw_value(n * 4 + 1);
			} catch (...) {
				carried = std::current_exception();
			}
		}).join();
		try {
			std::rethrow_exception(carried);
		} catch (const std::runtime_error &error) {
			check(error.what() == "number " + std::to_string(n * 4 + 1), "an exception from another thread", n);
		}
	}
	for (int i = 0; i < 5; i++)
		class_told(names[i], counts[i]);
	return target_success();
}
