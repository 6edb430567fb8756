/* SPDX-License-Identifier: MIT */
/* Variables of all kinds, for tests/integration/dwarf.sh: compared with gdb at sampled instructions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
enum color { RED, GREEN = 5, BLUE };
struct addr { int port[4]; char host[16]; };
struct conn { int id; unsigned flag : 3; int neg : 5; const char *name; struct addr addr; struct conn *next; union { int i; float f; } u; double d; enum color col; _Bool ok; };
struct conn *head;
static int counter;
int sum_of(const struct conn *c, int n, double w)
{
	int total = 0;
	for (int i = 0; i < n; i++)
		total += c->addr.port[i] * (int)w;
	counter += total;
	return total;
}
static inline int twice(int v) { int r = v * 2; counter += r; return r; }
int handle(struct conn *conn, int size, const char *what)
{
	char buf[32];
	unsigned long big = (unsigned long)size * 3;
	snprintf(buf, sizeof(buf), "%s-%d", what, size);
	int t = twice(size);
	if (conn->flag)
		t += sum_of(conn, 4, conn->d);
	puts(buf);
	return t + (int)big;
}
int main(int argc, char **argv)
{
	struct conn c = { .id = 7, .flag = 5, .neg = -3, .name = "worker", .addr = { { 1, 2, 3, 4 }, "localhost" }, .d = 2.5, .col = GREEN, .ok = 1 };
	head = &c;
	c.next = &c;
	int r = 0;
	for (int i = 0; i < argc + 2; i++)
		r += handle(&c, i * 10, argv[0]);
	return r == 0;
}
