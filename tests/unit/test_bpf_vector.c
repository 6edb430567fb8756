/* SPDX-License-Identifier: MIT */
/*
 * bpf: values of vector registers, recorded: random contents of all of them, and every bit of all of them (the upper halves of ymm too, where
 * there are any) is as before.
 */
#include "bpf_hit.h"

#define REGISTERS 16

struct vectors {
	uint64_t in[REGISTERS][4], out[REGISTERS][4]; /* 32 bytes each; 16 where there is no AVX */
	fake_function *function;
};

static bool has_avx;

/* All vector registers from @v->in, the function, all of them to @v->out. */
static __attribute__((noinline)) void call_sse(struct vectors *v)
{
	__asm__ volatile("mov %0, %%rbx\n"
			 ".set i, 0\n.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n	movups	i(%%rbx), %%xmm\\n\n	.set i, i + 32\n.endr\n"
			 "mov %%rsp, %%r12\nand $-16, %%rsp\nsub $256, %%rsp\nmov $1, %%edi\nmov $2, %%esi\n	call	*%1\n	mov	%%r12, %%rsp\n"
			 ".set i, 512\n.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n	movups	%%xmm\\n, i(%%rbx)\n	.set i, i + 32\n.endr\n"
			 :
			 : "r"(v), "r"(v->function)
			 : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "memory", "cc", "xmm0", "xmm1", "xmm2",
			   "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

static __attribute__((noinline)) void call_avx(struct vectors *v)
{
	__asm__ volatile("mov %0, %%rbx\n"
			 ".set i, 0\n.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n	vmovdqu	i(%%rbx), %%ymm\\n\n	.set i, i + 32\n.endr\n"
			 "mov %%rsp, %%r12\nand $-16, %%rsp\nsub $256, %%rsp\nmov $1, %%edi\nmov $2, %%esi\n	call	*%1\n	mov	%%r12, %%rsp\n"
			 ".set i, 512\n.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n	vmovdqu	%%ymm\\n, i(%%rbx)\n	.set i, i + 32\n.endr\n"
			 "vzeroupper\n"
			 :
			 : "r"(v), "r"(v->function)
			 : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "memory", "cc", "xmm0", "xmm1", "xmm2",
			   "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

static void call(struct vectors *v)
{
	for (int i = 0; i < REGISTERS; i++)
		for (int k = 0; k < 4; k++)
			v->in[i][k] = next_random();
	memset(v->out, 0, sizeof(v->out));
	if (has_avx)
		call_avx(v);
	else
		call_sse(v);
	for (int i = 0; i < REGISTERS; i++)
		for (int k = 0; k < (has_avx ? 4 : 2); k++)
			if (v->in[i][k] != v->out[i][k])
				fail_msg("xmm%d, word %d: %llx became %llx", i, k, (unsigned long long)v->in[i][k], (unsigned long long)v->out[i][k]);
}

static fake_function *compile_vectors(const char *text)
{
	return fake_function_at(&fake, fake_compile_text(&fake, text, NULL), ID);
}

/* Straight into the record: the whole half, its low part; through a register: shifted, and its low 2 bytes. */
static void test_record(void **state)
{
	for (size_t w = 0; w < 4; w++)
		for (unsigned half = 0; half < 2 * REGISTERS; half++) {
			struct vectors v;
			char text[2000];

			if (!enter_world(&worlds[w]))
				continue;
			snprintf(text, sizeof(text),
				 RESERVE(56) "if r6 == 0 goto out\n" HEADER(56) "r1 = %u\ncall 65552\n*(u64 *)(r6 + 24) = r0\n*(u32 *)(r6 + 32) = "
										"r0\n*(u32 *)(r6 + 36) = 7\n*(u64 *)(r6 + 48) = 0\n*(u16 *)(r6 + 48) = r0\n"
										"r0 >>= 32\n*(u64 *)(r6 + 40) = r0\n" SUBMIT "out: " EXIT,
				 half);
			v.function = compile_vectors(text);
			for (int i = 0; i < 20; i++) {
				const struct wire_record *record;
				uint64_t value;

				call(&v);
				value = v.in[half / 2][half % 2];
				record = expect_record(56);
				assert_int_equal(word(record, 0), value);
				assert_int_equal(word(record, 1), (uint32_t)value | 7ULL << 32);
				assert_int_equal(word(record, 2), value >> 32);
				assert_int_equal(word(record, 3), (uint16_t)value);
			}
		}
}

/* Outside of a reservation: compared, kept over helpers and over ways that meet. */
static void test_kept(void **state)
{
	static const char text[] = "r7 = r1\nr1 = 6\ncall 65552\nr8 = r0\nr1 = 7\ncall 65552\nr9 = r0\nif r8 > r9 goto swap\ngoto on\n"
				   "swap: r1 = r8\nr8 = r9\nr9 = r1\non: call 65537\nr1 = r7\n" RESERVE(40) "if r6 == 0 goto out\n" HEADER(
				       40) "*(u64 *)(r6 + 24) = r8\n*(u64 *)(r6 + 32) = r9\n" SUBMIT "out: " EXIT;

	for (size_t w = 0; w < 4; w++) {
		struct vectors v;

		if (!enter_world(&worlds[w]))
			continue;
		v.function = compile_vectors(text);
		for (int i = 0; i < 200; i++) {
			const struct wire_record *record;
			uint64_t low, high;

			call(&v);
			low = v.in[3][0] < v.in[3][1] ? v.in[3][0] : v.in[3][1];
			high = v.in[3][0] < v.in[3][1] ? v.in[3][1] : v.in[3][0];
			record = expect_record(40);
			assert_int_equal(word(record, 0), low);
			assert_int_equal(word(record, 1), high);
		}
		assert_int_equal(fake_counted(&fake, ID, !fake.target.rseq_offset), 200);
	}
}

static void test_refused(void **state)
{
	static const char *const texts[] = { "r1 = 32\ncall 65552\n" EXIT, "r1 = -1\ncall 65552\n" EXIT, "r1 = *(u64 *)(r1 + 0)\ncall 65552\n" EXIT };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct bpf_insn *program;
		struct utap_error err;
		size_t count;

		assert_int_equal(bpf_assemble(texts[i], &program, &count, &err), 0);
		assert_int_equal(bpf_check(program, count, BPF_PROBE, &err), -EINVAL);
		assert_non_null(strstr(err.text, "vector"));
		free(program);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_record), cmocka_unit_test(test_kept), cmocka_unit_test(test_refused) };

	__builtin_cpu_init();
	has_avx = __builtin_cpu_supports("avx");
	print_message("%s\n", has_avx ? "with the upper halves of ymm" : "skipped: the upper halves of ymm: this machine has no AVX");
	return cmocka_run_group_tests(tests, setup, NULL);
}
