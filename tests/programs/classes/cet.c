/* SPDX-License-Identifier: MIT */
/*
 * Built with -fcf-protection=full: functions that are called through pointers begin with endbr64, and jump tables use notrack jumps.
 * Where processors check it, an entry without its endbr64 is fatal; so the bytes are looked at here. Usage: cet [ROUNDS]
 */
#include "class.h"

typedef long operation(long, long);
static long calls[4];

CLASS_FUNCTION long cet_add(long a, long b);
CLASS_FUNCTION long cet_tail(long a, long b);
CLASS_FUNCTION long cet_switch(long a, long b);
CLASS_FUNCTION long cet_leaf(long a, long b);

long cet_leaf(long a, long b)
{
	return a ^ b;
}

long cet_add(long a, long b)
{
	calls[0]++;
	return a + b;
}

long cet_tail(long a, long b)
{
	calls[1]++;
	calls[3]++;
	return cet_leaf(b, a);
}

/* Dense enough for a table. */
long cet_switch(long a, long b)
{
	calls[2]++;
	switch (a) {
	case 0: return b * 3;
	case 1: return cet_add(b, 5);
	case 2: return b ^ 0x77;
	case 3: return cet_tail(b, 9);
	case 4: return b - 1;
	case 5: return b << 3;
	case 6: return cet_add(b, b);
	case 7: return ~b;
	case 8: return b / 7;
	}
	return a;
}

static long want_switch(long a, long b)
{
	const long want[] = { b * 3, b + 5, b ^ 0x77, b ^ 9, b - 1, b << 3, b + b, ~b, b / 7 };

	return a < 9 ? want[a] : a;
}

static void check_entry(const char *name, operation *function)
{
	static const unsigned char endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa };

	if (memcmp((const void *)(uintptr_t)function, endbr64, sizeof(endbr64)))
		target_fail("%s does not begin with endbr64", name);
}

int main(int argc, char **argv)
{
	operation *volatile operations[] = { cet_add, cet_tail, cet_switch, cet_leaf };

	class_start(argc, argv);
	for (long n = 0; class_goes_on(); n++) {
		if (operations[0](n, 2) != n + 2 || operations[1](n, 6) != (n ^ 6) || operations[3](n, 4) != (n ^ 4))
			target_fail("a result is wrong");
		calls[3]++;
		for (long a = 0; a < 12; a++)
			if (operations[2](a, n) != want_switch(a, n))
				target_fail("cet_switch(%ld, %ld) is wrong", a, n);
		check_entry("cet_add", operations[0]);
		check_entry("cet_tail", operations[1]);
		check_entry("cet_switch", operations[2]);
		check_entry("cet_leaf", operations[3]);
	}
	class_told("cet_add", calls[0]);
	class_told("cet_tail", calls[1]);
	class_told("cet_switch", calls[2]);
	class_told("cet_leaf", calls[3]);
	return target_success();
}
