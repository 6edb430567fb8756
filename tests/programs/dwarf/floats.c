/* SPDX-License-Identifier: MIT */
/* Floating point wherever compilers keep it: vector registers, parts of them, structures passed in them, memory, constants. */
#include <stdio.h>
#include <stdlib.h>

struct point {
	float x, y, z;
};

struct pair {
	double a, b;
};

struct mixed {
	int n;
	float f;
	double d;
};

static volatile double sink;

__attribute__((noinline)) double scale(double value, float factor, int n, double other)
{
	double sum = value;
	float half = factor / 2;

	for (int i = 0; i < n; i++) {
		sum = sum * half + other;
		sink = sum;
	}
	return sum + value * factor;
}

__attribute__((noinline)) float length(struct point p, struct point q)
{
	float dx = p.x - q.x;
	float dy = p.y - q.y;
	float dz = p.z - q.z;
	float sum = dx * dx + dy * dy;

	sink = sum;
	return sum + dz * dz;
}

__attribute__((noinline)) struct pair turn(struct pair p, double by)
{
	struct pair turned = { p.a * by - p.b, p.b * by + p.a };

	sink = turned.a;
	return turned;
}

__attribute__((noinline)) double blend(struct mixed m, const double *table, long count)
{
	double best = -1e300;

	for (long i = 0; i < count; i++) {
		double one = table[i] * m.f + m.d;

		if (one > best)
			best = one;
		sink = one;
	}
	return best + m.n;
}

__attribute__((noinline)) double many(double a, double b, double c, double d, double e, double f, double g, double h, double i, float j)
{
	double left = a * b + c * d, right = e * f + g * h;

	sink = left;
	sink = right;
	return left - right + i * j;
}

int main(int argc, char **argv)
{
	double table[8], total = 0;

	for (int i = 0; i < 8; i++)
		table[i] = (i * 37 % 11) * 0.25 + argc;
	for (int round = 0; round < 200; round++) {
		struct point p = { (float)round, 1.5f, (float)argc }, q = { 0.25f, (float)round / 3, -2 };
		struct mixed m = { round, 0.125f * (float)round, 1e-3 };
		struct pair t = turn((struct pair) { table[round % 8], round }, 0.5);

		total += scale(table[round % 8], 0.75f, round % 5, 1.0 / (round + 1)) + (double)length(p, q) + t.a + t.b;
		total += blend(m, table, 8) + many(1, round, 3, 4.5, 5, 6, round * 0.5, 8, 9, 0.1f);
	}
	printf("%g\n", total);
	return argc > 100 ? atoi(argv[1]) : 0;
}
