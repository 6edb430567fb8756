// SPDX-License-Identifier: MIT
// Everything that C++'s unwinder has to do, again and again, with results that are printed: throws through 20 frames, nested, rethrown,
// carried to other threads, foreign ones, forced unwinding at a thread's end, uncaught counts, exception specifications, destructors that
// throw and catch inside, function-try-blocks, exceptions of virtual bases. Usage: torture [ROUNDS]
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <future>
#include <memory>
#include <new>
#include <pthread.h>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <typeinfo>
#include <unistd.h>
#include <unwind.h>
#include <vector>

static std::atomic<long> alive;
static unsigned long checksum;

static void add(unsigned long value)
{
	checksum = checksum * 1099511628211UL ^ value;
}

static void expect(bool right, const char *what)
{
	if (right && !alive)
		return;
	std::fprintf(stderr, "%s: wrong (%ld objects were not destroyed)\n", what, alive.load());
	std::_Exit(1);
}

struct object {
	long value;

	explicit object(long v) : value(v) { alive++; }
	object(const object &other) : value(other.value) { alive++; }
	~object() { alive--; }
};

struct base : std::exception {
	long code;

	explicit base(long c) : code(c) {}
	const char *what() const noexcept override { return "base"; }
};
struct left : virtual base {
	explicit left(long c) : base(c) {}
};
struct right : virtual base {
	explicit right(long c) : base(c) {}
};
struct both : left, right {
	explicit both(long c) : base(c), left(c), right(c) {}
	const char *what() const noexcept override { return "both"; }
};

#define FRAME __attribute__((noinline))

FRAME static void throw_it(long n)
{
	switch (n % 7) {
	case 0: throw n;
	case 1: throw std::runtime_error(std::to_string(n));
	case 2: throw both(n);
	case 3: throw object(n);
	case 4: throw static_cast<const char *>("text");
	case 5: throw std::make_unique<long>(n);
	case 6: throw std::system_error(static_cast<int>(n % 30), std::generic_category());
	}
}

FRAME static long through(long depth, long n)
{
	object here(depth);

	if (!depth)
		throw_it(n);
	return through(depth - 1, n) + here.value;
}

FRAME static long name_it(long depth, long n)
{
	try {
		return through(depth, n);
	} catch (long value) {
		return value;
	} catch (const std::system_error &error) {
		return error.code().value() + 2;
	} catch (const std::runtime_error &error) {
		return std::strtol(error.what(), nullptr, 10) + 1;
	} catch (const base &caught) {
		return caught.code + static_cast<long>(std::strlen(caught.what()));
	} catch (const object &caught) {
		return caught.value + 3;
	} catch (const char *text) {
		return static_cast<long>(std::strlen(text));
	} catch (const std::unique_ptr<long> &pointer) {
		return *pointer + 4;
	}
}

FRAME static long rethrown(long depth, long n)
{
	try {
		object here(n);

		return depth ? rethrown(depth - 1, n) : through(3, 7 * n);
	} catch (...) {
		object during(n);

		add(static_cast<unsigned long>(name_it(2, n + depth)));
		throw;
	}
}

/* Throws and catches while it is destroyed by another exception. */
struct busy {
	long n;

	~busy()
	{
		try {
			through(4, n);
		} catch (...) {
			add(static_cast<unsigned long>(std::uncaught_exceptions()));
		}
	}
};

FRAME static long during_unwinding(long n)
{
	try {
		busy one{ n };
		busy two{ n + 1 };

		through(5, n + 2);
	} catch (...) {
		return 1;
	}
	return 0;
}

struct member {
	object part;

	FRAME explicit member(long n)
	try : part(n) {
		throw_it(n);
	} catch (...) {
		add(static_cast<unsigned long>(n));
	} /* and it is thrown again */
};

FRAME static long from_constructor(long n)
{
	try {
		member made(n);

		return made.part.value;
	} catch (...) {
		return -n;
	}
}

FRAME static void no_throw(long n) noexcept
{
	add(static_cast<unsigned long>(name_it(6, n)));
}

/* ---- foreign exceptions and forced unwinding ---- */

struct foreign {
	_Unwind_Exception header;
	long value;
};

static void delete_foreign(_Unwind_Reason_Code, _Unwind_Exception *exception)
{
	std::free(exception);
}

FRAME static long throw_foreign(long depth, long n)
{
	object here(depth);

	if (depth)
		return throw_foreign(depth - 1, n) + here.value;
	foreign *exception = static_cast<foreign *>(std::aligned_alloc(64, 64));
	std::memset(exception, 0, 64);
	exception->header.exception_class = 0x5554415054455354; /* not C++'s */
	exception->header.exception_cleanup = delete_foreign;
	exception->value = n;
	_Unwind_RaiseException(&exception->header);
	return -1;
}

FRAME static long catch_foreign(long n)
{
	try {
		return throw_foreign(12, n);
	} catch (...) {
		return 77;
	}
}

static void *end_thread(void *arg)
{
	object here(1);

	if (reinterpret_cast<long>(arg) & 1) {
		object inner(2);
		pthread_exit(arg);
	}
	for (;;)
		usleep(100000);
}

FRAME static void thread_ends(long n)
{
	for (long i = 0; i < 2; i++) {
		pthread_t thread;
		void *result;

		pthread_create(&thread, nullptr, end_thread, reinterpret_cast<void *>(2 * n + i));
		while (i == 0 && !alive)
			sched_yield();
		if (i == 0)
			pthread_cancel(thread);
		pthread_join(thread, &result);
		expect(i ? result == reinterpret_cast<void *>(2 * n + 1) : result == PTHREAD_CANCELED, "a thread's end");
	}
}

FRAME static void across_threads(long n)
{
	std::future<long> later = std::async(std::launch::async, [n] { return through(10, n); });

	try {
		later.get();
		expect(false, "an exception of another thread was lost");
	} catch (...) {
		add(3);
	}
	std::exception_ptr carried;
	try {
		through(2, n);
	} catch (...) {
		carried = std::current_exception();
	}
	std::thread([&] {
		for (int i = 0; i < 3; i++)
			try {
				std::rethrow_exception(carried);
			} catch (...) {
				carried = std::current_exception();
			}
	}).join();
}

FRAME static long out_of_memory(long n)
{
	try {
		volatile size_t size = ~size_t(0) / 2 + static_cast<size_t>(n);
		delete[] new char[size];
		return 0;
	} catch (const std::bad_alloc &) {
		return 5;
	}
}

static void do_round(long n)
{
	for (long i = 0; i < 14; i++)
		add(static_cast<unsigned long>(name_it(20, n * 3 + i)));
	expect(true, "throws through 20 frames");
	try {
		rethrown(8, n);
	} catch (long value) {
		add(static_cast<unsigned long>(value));
	}
	expect(true, "rethrown ones");
	add(static_cast<unsigned long>(during_unwinding(n)));
	expect(true, "those in destructors");
	add(static_cast<unsigned long>(from_constructor(n)));
	no_throw(n);
	add(static_cast<unsigned long>(catch_foreign(n)));
	expect(true, "foreign ones");
	add(static_cast<unsigned long>(out_of_memory(n)));
	across_threads(n);
	expect(true, "those of other threads");
	thread_ends(n);
	expect(true, "the ends of threads");
}

int main(int argc, char **argv)
{
	long rounds = argc > 1 ? std::strtol(argv[1], nullptr, 0) : 100;

	for (long n = 1; n <= rounds; n++)
		do_round(n);
	std::printf("%ld rounds, checksum %lx\n", rounds, checksum);
	return 0;
}
