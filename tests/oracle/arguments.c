/* SPDX-License-Identifier: MIT */
/*
 * What arguments.sh looks at: a function with arguments in registers and on the stack, structures behind pointers, strings at page ends and in
 * memory that is not there. The same each time, with address randomisation off.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#define PAGE 4096

struct bits {
	unsigned a : 3, b : 5, c : 24;
	uint64_t wide;
};

struct node {
	struct node *next;
	const char *text;
	struct bits bits;
	int8_t s8[4];
	int16_t s16[4];
	int32_t s32[4];
	int64_t s64[3];
	const char *names[4];
	char chars[8];
	const char *edge;   /* ends with its page */
	const char *absent; /* points nowhere */
};

int64_t arguments_global = -0x123456789abcdefLL;
char arguments_text[32] = "in the data segment";

uint64_t arguments_work(struct node *node, long number, const char *string, int character, uint64_t e, uint64_t f,
			uint64_t on_stack);
__attribute__((noinline)) uint64_t arguments_work(struct node *node, long number, const char *string, int character, uint64_t e,
						  uint64_t f, uint64_t on_stack)
{
	__asm__ volatile("" ::: "memory");
	return (uint64_t)node->s64[0] + (uint64_t)number + (uint64_t)string[0] + (uint64_t)character + e + f + on_stack;
}

static char *edge_of_memory(const char *text)
{
	char *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(pages + PAGE, PAGE);
	return strcpy(pages + PAGE - strlen(text) - 1, text);
}

int main(void)
{
	struct node second = { .text = "the second", .bits = { 7, 1, 0x123456, 0xfedcba9876543210 }, .s8 = { -128, 127, 0, 1 } };
	struct node first = { .next = &second,
			      .text = "the first",
			      .bits = { 5, 17, 0xabcdef, 0x8000000000000001 },
			      .s8 = { -1, 2, -3, 4 },
			      .s16 = { -300, 300, -32768, 32767 },
			      .s32 = { -70000, 70000, INT32_MIN, INT32_MAX },
			      .s64 = { INT64_MIN, INT64_MAX, -1 },
			      .names = { "alpha", "beta", "", "delta" },
			      .chars = "charact",
			      .edge = edge_of_memory("at the edge"),
			      .absent = (const char *)8 };
	uint64_t sum = 0;

	prctl(PR_SET_NAME, "oracle-args");
	for (int i = 0; i < 20; i++) {
		char string[64];

		snprintf(string, sizeof(string), "call number %d", i);
		if (i == 10)
			prctl(PR_SET_NAME, "renamed");
		first.bits.b = (unsigned)i;
		first.s32[1] = i * i;
		sum += arguments_work(&first, i - 10, string, 'A' + i, sum, ~sum, 1000 + (uint64_t)i);
	}
	printf("%lx\n", (unsigned long)sum);
	return 0;
}
