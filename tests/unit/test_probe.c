/* SPDX-License-Identifier: MIT */
/* Probe text -> specification -> program. Programs are run by a small interpreter with helpers that count their calls.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "probe/nearest.h"
#include "probe/probe.h"
#include "wire/wire.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- parsing ---- */

static void put(char *text, size_t size, const char *format, ...)
{
	size_t used = strlen(text);
	va_list ap;

	va_start(ap, format);
	vsnprintf(text + used, size - used, format, ap);
	va_end(ap);
}

/* A specification as one line. */
static void dump(const struct probe_spec *spec, char *text, size_t size)
{
	static const char formats[] = "usx";

	static const char *const kinds[] = { "", "return ", "each " };

	text[0] = '\0';
	put(text, size, "%s%s/%s file=%s ", kinds[spec->kind], spec->group, spec->event, spec->path);
	if (spec->by_offset)
		put(text, size, "at 0x%lx", (unsigned long)spec->offset);
	else
		put(text, size, "%s=%s +0x%lx", spec->glob ? "glob" : "symbol", spec->symbol,
		    (unsigned long)spec->offset);
	for (size_t i = 0; i < spec->nargs; i++) {
		const struct probe_arg *arg = &spec->args[i];

		put(text, size, " %s=%s(", arg->name, arg->text);
		if (arg->source == PROBE_ARG_STACK)
			put(text, size, "stack %u", arg->word);
		else if (arg->source == PROBE_ARG_RETVAL)
			put(text, size, "retval %d", (int)arg->reg);
		else if (arg->source == PROBE_ARG_GOID)
			put(text, size, "goid");
		else
			put(text, size, "reg %d", (int)arg->reg);
		put(text, size, "):%c%u", formats[arg->format], arg->bits);
	}
}

struct good {
	const char *text;
	const char *want;
};

static const struct good goods[] = {
	{ "malloc", "utap/ file= symbol=malloc +0x0" },
	{ "  malloc  \n", "utap/ file= symbol=malloc +0x0" },
	{ "libc:malloc", "utap/ file=libc symbol=malloc +0x0" },
	{ "libc:mem*", "utap/ file=libc glob=mem* +0x0" },
	{ "mem[cs]*", "utap/ file= glob=mem[cs]* +0x0" },
	{ "memse?", "utap/ file= glob=memse? +0x0" },
	{ "./prog:func+0x10", "utap/ file=./prog symbol=func +0x10" },
	{ "./prog:func+16", "utap/ file=./prog symbol=func +0x10" },
	{ "/usr/bin/x:0x1a2B", "utap/ file=/usr/bin/x at 0x1a2b" },
	{ "libc:0xffffffffffffffff", "utap/ file=libc at 0xffffffffffffffff" },
	{ "malloc@GLIBC_2.2.5", "utap/ file= symbol=malloc@GLIBC_2.2.5 +0x0" },
	/* C++ and Rust */
	{ "lib.so:ns::f(int)", "utap/ file=lib.so symbol=ns::f(int) +0x0" },
	{ "ns::f", "utap/ file= symbol=ns::f +0x0" },
	{ "a::b::c+0x4 %di", "utap/ file= symbol=a::b::c +0x4 arg1=%di(reg 14):x64" },
	{ "lib.so:'ns::f(int, char)'+0x3", "utap/ file=lib.so symbol=ns::f(int, char) +0x3" },
	{ "lib.so:\"operator*\"", "utap/ file=lib.so symbol=operator* +0x0" },
	{ "lib.so:ns::f(int, char*) %si", "utap/ file=lib.so symbol=ns::f(int, char*) +0x0 arg1=%si(reg 13):x64" },
	{ "f<int, char>(std::pair<int, int>) %ax",
	  "utap/ file= symbol=f<int, char>(std::pair<int, int>) +0x0 arg1=%ax(reg 10):x64" },
	{ "x:S::operator< %di", "utap/ file=x symbol=S::operator< +0x0 arg1=%di(reg 14):x64" },
	{ "x:S::operator->", "utap/ file=x symbol=S::operator-> +0x0" },
	{ "x:S::operator++", "utap/ file=x symbol=S::operator++ +0x0" },
	{ "x:S::operator+", "utap/ file=x symbol=S::operator+ +0x0" },
	{ "x:S::operator[](int)", "utap/ file=x symbol=S::operator[](int) +0x0" },
	{ "x:'S::operator+'+0x8", "utap/ file=x symbol=S::operator+ +0x8" },
	{ "x:(anonymous namespace)::f", "utap/ file=x symbol=(anonymous namespace)::f +0x0" },
	{ "'/a b:c/prog':main", "utap/ file=/a b:c/prog symbol=main +0x0" },
	{ "'ns::f(int)' a=%di", "utap/ file= symbol=ns::f(int) +0x0 a=%di(reg 14):x64" },
	{ "x:<T as core::Trait>::go", "utap/ file=x symbol=<T as core::Trait>::go +0x0" },
	{ "./g:net/http.Get", "utap/ file=./g symbol=net/http.Get +0x0" },
	/* the kernel's form */
	{ "p:ev /bin/x:0x1234", "utap/ev file=/bin/x at 0x1234" },
	{ "p:ev /bin/x:4660", "utap/ev file=/bin/x at 0x1234" },
	{ "p:grp/ev libc:malloc size=%di:u64", "grp/ev file=libc symbol=malloc +0x0 size=%di(reg 14):u64" },
	{ "p:grp/ /bin/x:main", "grp/ file=/bin/x symbol=main +0x0" },
	{ "p /bin/x:main+4 %bx", "utap/ file=/bin/x symbol=main +0x4 arg1=%bx(reg 5):x64" },
	{ "p: /bin/x:main", "utap/ file=/bin/x symbol=main +0x0" },
	{ "p:libc:malloc size=%di", "utap/ file=libc symbol=malloc +0x0 size=%di(reg 14):x64" },
	{ "p:libc:malloc", "utap/ file=libc symbol=malloc +0x0" },
	{ "p:malloc %di", "utap/ file= symbol=malloc +0x0 arg1=%di(reg 14):x64" },
	{ "p:./prog:main", "utap/ file=./prog symbol=main +0x0" },
	{ "p", "utap/ file= symbol=p +0x0" },
	{ "p %di", "utap/ file= symbol=p +0x0 arg1=%di(reg 14):x64" },
	{ "r", "utap/ file= symbol=r +0x0" },
	{ "r2:main", "utap/ file=r2 symbol=main +0x0" },
	{ "r::f", "utap/ file= symbol=r::f +0x0" },
	{ "p::f", "utap/ file= symbol=p::f +0x0" },
	{ "puts", "utap/ file= symbol=puts +0x0" },
	{ "r1 %di", "utap/ file= symbol=r1 +0x0 arg1=%di(reg 14):x64" },
	/* returns */
	{ "r:ev libc:malloc", "return utap/ev file=libc symbol=malloc +0x0" },
	{ "gor:main.work g=$goid $goid:x32",
	  "utap/ file=gor symbol=main.work +0x0 g=$goid(goid):u64 arg2=$goid(goid):x32" },
	{ "r:grp/ev libc:malloc $retval", "return grp/ev file=libc symbol=malloc +0x0 arg1=$retval(retval 10):x64" },
	{ "r:grp/ /bin/x:0x1234", "return grp/ file=/bin/x at 0x1234" },
	{ "r8:ev libc:malloc", "return utap/ev file=libc symbol=malloc +0x0" },
	{ "r: libc:malloc", "return utap/ file=libc symbol=malloc +0x0" },
	{ "r:libc:malloc", "return utap/ file=libc symbol=malloc +0x0" },
	{ "r libc:malloc p=$retval:s32", "return utap/ file=libc symbol=malloc +0x0 p=$retval(retval 10):s32" },
	{ "r:ev libc:malloc+0", "return utap/ev file=libc symbol=malloc +0x0" },
	{ "malloc%return", "return utap/ file= symbol=malloc +0x0" },
	{ "r:malloc%return", "return utap/ file= symbol=malloc +0x0" },
	{ "p:ev libc:malloc%return $retval:u8", "return utap/ev file=libc symbol=malloc +0x0 arg1=$retval(retval 10):u8" },
	{ "libc:mem*%return", "return utap/ file=libc glob=mem* +0x0" },
	{ "libc:0x123%return", "return utap/ file=libc at 0x123" },
	{ "libc:'f(int, char)'%return %ax", "return utap/ file=libc symbol=f(int, char) +0x0 arg1=%ax(reg 10):x64" },
	{ "x:S::operator%", "utap/ file=x symbol=S::operator% +0x0" },
	/* each instruction */
	{ "libc:malloc:*", "each utap/ file=libc symbol=malloc +0x0" },
	{ "p:ev libc:malloc:* %di", "each utap/ev file=libc symbol=malloc +0x0 arg1=%di(reg 14):x64" },
	{ "libc:mem*:*", "each utap/ file=libc glob=mem* +0x0" },
	{ "x:ns::f:*", "each utap/ file=x symbol=ns::f +0x0" },
	{ "x:'f(int, char)':*", "each utap/ file=x symbol=f(int, char) +0x0" },
	{ "malloc:*", "utap/ file=malloc glob=* +0x0" }, /* decided when it is known which files there are */
	/* arguments */
	{ "f a=%di:u8 b=%si:s32 c=%dx:x16 d=%cx:s64",
	  "utap/ file= symbol=f +0x0 a=%di(reg 14):u8 b=%si(reg 13):s32 c=%dx(reg 12):x16 d=%cx(reg 11):s64" },
	{ "f %rdi %edi %r8d:u8 %dil", "utap/ file= symbol=f +0x0 arg1=%rdi(reg 14):x64 arg2=%edi(reg 14):x32 "
				      "arg3=%r8d(reg 9):u8 arg4=%dil(reg 14):x8" },
	{ "f $stack $stack0 s=$stack12:s16",
	  "utap/ file= symbol=f +0x0 arg1=$stack(reg 19):x64 arg2=$stack0(stack 0):x64 s=$stack12(stack 12):s16" },
	{ "f %flags %bp", "utap/ file= symbol=f +0x0 arg1=%flags(reg 18):x64 arg2=%bp(reg 4):x64" },
};

static void test_good(void **state)
{
	for (size_t i = 0; i < COUNT(goods); i++) {
		struct probe_spec spec;
		struct utap_error err = { 0 };
		char text[1024];

		if (probe_parse(goods[i].text, &spec, NULL, &err))
			fail_msg("'%s' is refused: %s", goods[i].text, err.text);
		dump(&spec, text, sizeof(text));
		if (strcmp(text, goods[i].want) != 0)
			fail_msg("'%s':\n got %s\nwant %s", goods[i].text, text, goods[i].want);
	}
}

struct bad {
	const char *text;
	size_t column;
	const char *part; /* of the message */
};

static const struct bad bads[] = {
	{ "", 1, "a probe is expected" },
	{ "   ", 4, "a probe is expected" },
	{ "%di", 1, "a place is expected" },
	{ "./prog", 1, "this is a file" },
	{ "/bin/ls %di", 1, "this is a file" },
	{ "libc:", 6, "a symbol is expected" },
	{ ":main", 1, "a file is expected" },
	{ "libc:malloc+", 13, "'' is not an offset" },
	{ "libc:malloc+zz", 13, "'zz' is not an offset" },
	{ "libc:malloc+0x", 13, "'0x' is not an offset" },
	{ "libc:malloc+010", 13, "not an offset" },
	{ "libc:malloc+0x10000000000000000", 13, "not an offset" },
	{ "libc:malloc+18446744073709551616", 13, "not an offset" },
	{ "libc:0x12zz", 6, "not a file offset" },
	{ "malloc:12", 8, "source lines" },
	{ "0x1234", 1, "needs its file" },
	{ "libc:'malloc", 6, "quote" },
	{ "libc:'malloc'x", 14, "after a quoted symbol" },
	{ "libc:'' ", 7, "a symbol is expected" },
	{ "f x=", 5, "a value is expected" },
	{ "f =%di", 3, "not a name" },
	{ "f 1a=%di", 3, "not a name" },
	{ "f di", 3, "written with %: %di" },
	{ "f size", 3, "debug information" },
	{ "f %dii", 3, "did you mean %di?" },
	{ "f %rdii", 3, "did you mean %rdi?" },
	{ "f %ip", 3, "the probed place, which every event shows" },
	{ "f %rip:x64", 3, "the probed place" },
	{ "f %xmm0", 3, "no register '%xmm0'" },
	{ "f %", 3, "cannot be recorded" },
	{ "f %di:uu64", 7, "did you mean u64?" },
	{ "f %di:x128", 7, "the types are u8..u64" },
	{ "f %di:", 7, "no type ''" },
	{ "f %edi:u64", 8, "u64 is wider than %edi" },
	{ "f a=%di a=%si", 9, "two arguments are named 'a'" },
	{ "f %di arg1=%si", 7, "two arguments are named 'arg1'" },
	{ "f common_pid=%di", 3, "every event has" },
	{ "f $stack2048", 3, "go up to $stack2047" },
	{ "f $stack99999999999999999999", 3, "go up to" },
	{ "f $stackx", 3, "not a word of the stack" },
	{ "f $foo", 3, "there is no '$foo'" },
	{ "f $0 $1", 3, "there is no '$0'" },
	{ "p:1ev /bin/x:main", 3, "not a name for an event" },
	{ "p:a-b /bin/x:main", 3, "not a name for an event" },
	{ "p:g-p/ev /bin/x:main", 3, "not a name for a group" },
	{ "p:grp/ev", 9, "the place is missing" },
	{ "p:", 3, "the place is missing" },
	{ "p:ev malloc", 6, "FILE:SYMBOL" },
	{ "f $stack0 $stack1 $stack2 $stack3 $stack4 $stack5 $stack6 $stack7 $stack8 $stack9 $stack10", 1,
	  "11 different words" },
	/* later versions */
	{ "r:ev libc:malloc+4", 17, "takes no offset" },
	{ "libc:malloc+0x4%return", 12, "takes no offset" },
	{ "libc:malloc+4:*", 12, "takes no offset" },
	{ "libc:malloc:*%return", 12, "not of each instruction" },
	{ "libc:malloc%return:*", 12, "not of each instruction" },
	{ "libc:0x1234:*", 12, "by its name" },
	{ "r:grp/ev", 9, "the place is missing: r:grp/ev" },
	{ "f $retval", 3, "$retval is known only where a function returns" },
	{ "libc:f:* $retval", 10, "$retval is known only where a function returns" },
	{ "r:f $retvalue", 5, "there is no '$retvalue'" },
	{ "r:f $stack0 $stack1 $stack2 $stack3 $stack4 $stack5 $stack6 $stack7 $stack8 $stack9", 1,
	  "10 different words of the stack are asked for, and a probe can read 9" },
	{ "libc:'malloc'x", 14, "+OFFSET, %return, :*" },
	{ "-:ev", 1, "removing an event" },
	{ "malloc@malloc.c", 7, "source files (@FILE)" },
	{ "malloc;ptr", 7, "source patterns" },
	{ "libc:0x1234(0x10)", 12, "reference counters" },
	{ "%sdt_libc:setjmp", 1, "USDT" },
	{ "f $comm", 3, "$comm" },
	{ "f $arg1", 3, "%di, %si, %dx" },
	{ "f @0x1234", 3, "reading memory (@ADDRESS" },
	{ "f x=+8(%di):u32", 5, "reading memory (+OFFSET(FETCH))" },
	{ "f -8(%di)", 3, "reading memory (-OFFSET" },
	{ "f \\5", 3, "immediate values" },
	{ "f %di:string", 7, "strings are not supported yet" },
	{ "f %di:ustring", 7, "strings are not supported yet" },
	{ "f %di:b4@2/32", 7, "bit fields" },
	{ "f %di:u8[4]", 7, "arrays" },
	{ "f %di:symbol", 7, "symbols as a type" },
};

static void test_bad(void **state)
{
	for (size_t i = 0; i < COUNT(bads); i++) {
		struct probe_spec spec = { .nargs = 77 };
		struct utap_error err = { 0 };
		size_t column = 0;
		char start[32];

		if (probe_parse(bads[i].text, &spec, &column, &err) != -EINVAL)
			fail_msg("'%s' is not refused", bads[i].text);
		assert_int_equal(err.code, -EINVAL);
		assert_int_equal(err.kind, UTAP_ERROR_USAGE);
		assert_int_equal(spec.nargs, 77);
		snprintf(start, sizeof(start), "column %zu: ", bads[i].column);
		if (column != bads[i].column || strncmp(err.text, start, strlen(start)) != 0 ||
		    !strstr(err.text, bads[i].part))
			fail_msg("'%s': column %zu, \"%s\"; want %zu, \"%s\"", bads[i].text, column, err.text,
				 bads[i].column, bads[i].part);
		assert_int_equal(probe_parse(bads[i].text, &spec, NULL, NULL), -EINVAL);
	}
}

/* Long pieces are refused or fit; never cut. */
static void test_long(void **state)
{
	static const struct {
		size_t length;
		const char *before;
		const char *after;
		bool good;
	} cases[] = {
		{ 1023, "x:", "", true },      { 1024, "x:", "", false },   { 4095, "", ":f", true },
		{ 4096, "", ":f", false },     { 63, "f ", "=%di", true },  { 64, "f ", "=%di", false },
		{ 63, "p:", " x:f", true },    { 64, "p:", " x:f", false }, { 63, "p:", "/e x:f", true },
		{ 64, "p:", "/e x:f", false },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		static struct probe_spec spec;
		char text[4200];

		snprintf(text, sizeof(text), "%s", cases[i].before);
		memset(text + strlen(cases[i].before), 'a', cases[i].length);
		snprintf(text + strlen(cases[i].before) + cases[i].length, 16, "%s", cases[i].after);
		assert_int_equal(probe_parse(text, &spec, NULL, NULL), cases[i].good ? 0 : -EINVAL);
	}
}

static void test_many(void **state)
{
	static struct probe_spec spec;
	char text[1024] = "f";

	for (int i = 0; i < PROBE_ARGS; i++)
		strcat(text, " %di");
	assert_int_equal(probe_parse(text, &spec, NULL, NULL), 0);
	assert_int_equal(spec.nargs, PROBE_ARGS);
	assert_string_equal(spec.args[127].name, "arg128");
	assert_int_equal(probe_record_size(&spec, PROBE_PART_PLACE), 24 + 8 * 128);
	assert_true(probe_record_size(&spec, PROBE_PART_RETURN) <= WIRE_RECORD_MAX);
	strcat(text, " %di");
	assert_int_equal(probe_parse(text, &spec, NULL, NULL), -EINVAL);
}

/* ---- programs ---- */

struct machine {
	uint64_t regs[11];
	uint64_t context[ISA_REGS];
	uint64_t stack[BPF_PROBE_STACK / 8];
	uint8_t record[WIRE_RECORD_MAX];
	uint32_t at;       /* in record: where the next one goes */
	uint32_t reserved; /* bytes */
	bool full;         /* RING_RESERVE fails */
	unsigned counts, reserves, submits, words, reads;
	uint64_t read; /* what READ_USER finds */
	bool inside; /* between RESERVE and SUBMIT */
	bool goid;   /* the next READ_USER is of the goroutine's number */
};
#define GOID_OFFSET 0x98

static uint64_t stack_word(uint64_t n)
{
	return 0x8182838485868700ULL + n;
}

static void call(struct machine *m, int32_t helper)
{
	uint64_t result = 0;

	switch (helper) {
	case BPF_HELPER_COUNT:
		m->counts++;
		break;
	case BPF_HELPER_STACK_WORD:
		assert_false(m->inside);
		m->words++;
		result = stack_word(m->regs[1]);
		break;
	case BPF_HELPER_READ_USER:
		assert_false(m->inside);
		m->reads++;
		assert_int_equal(m->regs[2], 8);
		assert_int_equal(m->regs[3], m->context[ISA_R14] + (m->goid ? GOID_OFFSET : 8));
		assert_in_range(m->regs[1], (uint64_t)(uintptr_t)m->stack, (uint64_t)(uintptr_t)(m->stack + BPF_PROBE_STACK / 8 - 1));
		memcpy((void *)(uintptr_t)m->regs[1], &m->read, 8);
		break;
	case BPF_HELPER_GOID_OFFSET:
		assert_false(m->inside);
		m->goid = true;
		result = GOID_OFFSET;
		break;
	case BPF_HELPER_RING_RESERVE:
		assert_int_equal(m->regs[1], 0xf00d);
		assert_int_equal(m->regs[3], 0);
		m->reserves++;
		m->reserved = (uint32_t)m->regs[2];
		m->inside = !m->full;
		result = m->full ? 0 : (uint64_t)(uintptr_t)(m->record + m->at);
		break;
	case BPF_HELPER_COOKIE:
		assert_int_equal(m->regs[1], (uint64_t)(uintptr_t)m->context);
		result = 0xffffffff00000123ULL; /* only 32 bits of it are the id */
		break;
	case BPF_HELPER_TIME:
		result = 0x1122334455667788ULL;
		break;
	case BPF_HELPER_PID_TGID:
		result = 4711ULL << 32 | 4712;
		break;
	case BPF_HELPER_RING_SUBMIT:
		assert_true(m->inside);
		assert_int_equal(m->regs[1], (uint64_t)(uintptr_t)(m->record + m->at));
		assert_int_equal(m->regs[2], 0);
		m->at += m->reserved;
		m->inside = false;
		m->submits++;
		break;
	default:
		fail_msg("unknown helper %d", helper);
	}
	m->regs[0] = result;
	for (int i = 1; i <= 5; i++)
		m->regs[i] = 0xdead0000 + (uint64_t)i; /* a call clobbers them */
}

static unsigned width_of(uint8_t opcode)
{
	static const unsigned widths[] = { 4, 2, 1, 8 };

	return widths[opcode >> 3 & 3];
}

static void load(struct machine *m, const struct bpf_insn *insn, bool is_signed)
{
	const uint8_t *from = (const uint8_t *)(uintptr_t)m->regs[insn->src] + insn->offset;
	unsigned width = width_of(insn->opcode);
	uint64_t value = 0;

	memcpy(&value, from, width);
	if (is_signed)
		value = (uint64_t)((int64_t)(value << (64 - 8 * width)) >> (64 - 8 * width));
	m->regs[insn->dst] = value;
}

static void store(struct machine *m, const struct bpf_insn *insn, uint64_t value)
{
	uint8_t *to = (uint8_t *)(uintptr_t)m->regs[insn->dst] + insn->offset;

	if (insn->dst == 10) {
		assert_true(insn->offset < 0 && insn->offset >= -BPF_PROBE_STACK);
		assert_false(m->inside);
	} else {
		assert_true(m->inside);
		assert_true(insn->offset >= 0 && insn->offset + width_of(insn->opcode) <= m->reserved);
	}
	memcpy(to, &value, width_of(insn->opcode));
}

/* Runs until exit; only the instructions that probe_program() writes. */
static void run(struct machine *m, const struct bpf_insn *program, size_t count)
{
	m->regs[1] = (uint64_t)(uintptr_t)m->context;
	m->regs[10] = (uint64_t)(uintptr_t)(m->stack + BPF_PROBE_STACK / 8);
	for (size_t at = 0; at < count; at++) {
		const struct bpf_insn *insn = &program[at];
		uint64_t *dst = &m->regs[insn->dst];

		switch (insn->opcode) {
		case 0x18:
			assert_int_equal(insn->src, 1);
			assert_int_equal(insn->imm, BPF_MAP_RING);
			*dst = 0xf00d;
			at++;
			break;
		case 0x61:
		case 0x69:
		case 0x71:
		case 0x79:
			load(m, insn, false);
			break;
		case 0x81:
		case 0x89:
		case 0x91:
			load(m, insn, true);
			break;
		case 0x62:
			store(m, insn, (uint64_t)(int64_t)insn->imm);
			break;
		case 0x63:
		case 0x7b:
			store(m, insn, m->regs[insn->src]);
			break;
		case 0xbf:
			*dst = m->regs[insn->src];
			break;
		case 0xb7:
			*dst = (uint64_t)(int64_t)insn->imm;
			break;
		case 0x07:
			*dst += (uint64_t)(int64_t)insn->imm;
			break;
		case 0x0f:
			*dst += m->regs[insn->src];
			break;
		case 0x1f:
			*dst -= m->regs[insn->src];
			break;
		case 0x4f:
			*dst |= m->regs[insn->src];
			break;
		case 0x57:
			*dst &= (uint64_t)(int64_t)insn->imm;
			break;
		case 0x67:
			*dst <<= insn->imm;
			break;
		case 0x77:
			*dst >>= insn->imm;
			break;
		case 0xc7:
			*dst = (uint64_t)((int64_t)*dst >> insn->imm);
			break;
		case 0x15:
			at += *dst == (uint64_t)(int64_t)insn->imm ? (size_t)insn->offset : 0;
			break;
		case 0x85:
			call(m, insn->imm);
			break;
		case 0x95:
			assert_false(m->inside);
			assert_int_equal(m->regs[0], 0);
			return;
		default:
			fail_msg("unknown opcode 0x%02x", insn->opcode);
		}
	}
	fail_msg("no exit");
}

/* Parses, checks, runs; the record is in m->record. */
static void run_part(struct machine *m, const char *text, enum probe_action action, enum probe_part part)
{
	static struct probe_spec spec;
	struct utap_error err = { 0 };
	struct bpf_insn *program;
	size_t count;

	assert_int_equal(probe_parse(text, &spec, NULL, &err), 0);
	assert_int_equal(probe_program(&spec, action, part, &program, &count), 0);
	if (bpf_check(program, count, BPF_PROBE, &err))
		fail_msg("'%s': %s", text, err.text);
	for (int i = 0; i < ISA_REGS; i++)
		m->context[i] = 0xf1f2f3f4f5f6f700ULL + (uint64_t)i;
	run(m, program, count);
	free(program);
}

static void run_text(struct machine *m, const char *text, enum probe_action action)
{
	run_part(m, text, action, PROBE_PART_PLACE);
}

static void test_count(void **state)
{
	struct machine m = { 0 };

	run_text(&m, "f %di", PROBE_COUNT);
	assert_int_equal(m.counts, 1);
	assert_int_equal(m.reserves, 0);
}

static void test_record(void **state)
{
	struct machine m = { 0 };
	struct wire_record header;

	memset(m.record, 0xcc, sizeof(m.record));
	run_text(&m, "f", PROBE_RECORD);
	memcpy(&header, m.record, sizeof(header));
	assert_int_equal(m.reserved, 24);
	assert_int_equal(m.submits, 1);
	assert_int_equal(header.id, 0x123);
	assert_int_equal(header.size, 24);
	assert_int_equal(header.flags, 0);
	assert_int_equal(header.time, 0x1122334455667788ULL);
	assert_int_equal(header.tid, 4712);
	assert_int_equal(header.pid, 4711);
	assert_int_equal(m.record[24], 0xcc);
}

static void check_args(const char *text, const uint64_t *want, size_t count, unsigned words)
{
	struct machine m = { 0 };
	uint64_t got[PROBE_ARGS];

	memset(m.record, 0xcc, sizeof(m.record));
	run_text(&m, text, PROBE_RECORD);
	assert_int_equal(m.reserved, 24 + 8 * count);
	assert_int_equal(m.submits, 1);
	assert_int_equal(m.words, words);
	memcpy(got, m.record + 24, 8 * count);
	for (size_t i = 0; i < count; i++) {
		if (got[i] != want[i])
			fail_msg("'%s': argument %zu is 0x%lx, want 0x%lx", text, i + 1, (unsigned long)got[i],
				 (unsigned long)want[i]);
	}
	assert_int_equal(m.record[24 + 8 * count], 0xcc);
}

static void test_registers(void **state)
{
	static const uint64_t want[] = {
		0xf1f2f3f4f5f6f70eULL,
		0x0e,
		0xf70e,
		0xf5f6f70e,
		0x0e,
		0xfffffffffffff70eULL,
		0xfffffffff5f6f70eULL,
		0xf5f6f70e,
		0xf1f2f3f4f5f6f713ULL,
	};

	check_args("f %di a=%di:u8 b=%di:x16 c=%di:u32 d=%di:s8 e=%di:s16 g=%di:s32 h=%edi $stack", want, COUNT(want),
		   0);
}

static void test_stack(void **state)
{
	/* Ten different words: r8, r9 and all eight slots; a word asked for twice is read once. */
	static const char text[] =
	    "f $stack0:s8 $stack1:s16 $stack2:s32 $stack3:u8 $stack4:u16 $stack5:u32 $stack6:s64 "
	    "$stack7 $stack8 $stack9 a=$stack0 b=$stack1:u8 c=$stack9:s8 d=%si d2=$stack0:s64";
	static const uint64_t want[] = {
		0x00,
		0xffffffffffff8701ULL,
		0xffffffff85868702ULL,
		0x03,
		0x8704,
		0x85868705,
		0x8182838485868706ULL,
		0x8182838485868707ULL,
		0x8182838485868708ULL,
		0x8182838485868709ULL,
		0x8182838485868700ULL,
		0x01,
		0x09,
		0xf1f2f3f4f5f6f70dULL,
		0x8182838485868700ULL,
	};

	check_args(text, want, COUNT(want), 10);
}

#define SP_VALUE 0xf1f2f3f4f5f6f713ULL

/* The record at @at of the machine's, header and words. */
static void check_record(const struct machine *m, size_t at, uint32_t id, uint16_t flags, const uint64_t *want,
			 size_t count)
{
	struct wire_record header;
	uint64_t words[8];

	memcpy(&header, m->record + at, sizeof(header));
	memcpy(words, m->record + at + sizeof(header), 8 * count);
	assert_int_equal(header.id, id);
	assert_int_equal(header.size, 24 + 8 * count);
	assert_int_equal(header.flags, flags);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(words[i], want[i]);
}

/* After a return the stack is one word shorter: $stack0 is what the caller has there. */
static void test_return(void **state)
{
	static const char text[] = "r:f $retval:s16 %di $stack0:u8 $stack2:u16 $stack %sp:u8";
	static const uint64_t want[] = { SP_VALUE, 0x8182838485868700ULL, 0xfffffffffffff70aULL, 0xf1f2f3f4f5f6f70eULL,
					 0x01,	   0x8703,		  SP_VALUE + 8,		 0x1b };
	struct machine m = { 0 };

	run_part(&m, text, PROBE_RECORD, PROBE_PART_RETURN);
	assert_int_equal(m.submits, 1);
	assert_int_equal(m.words, 3);
	check_record(&m, 0, 0x123, WIRE_RECORD_RETURN, want, COUNT(want));
}

/* The number of the goroutine, among as many words of the stack as there may be. */
static void test_goid(void **state)
{
	static const char *const texts[] = { "f $goid", "f $stack0 $stack1 $goid", "r:f $goid $stack0",
					     "f $goid $stack0 $stack1 $stack2 $stack3 $stack4 $stack5 $stack6 $stack7 $stack8" };
	static const size_t at[] = { 0, 2, 2, 0 }; /* the word of its record: a return's begins with frame and caller */
	uint64_t value;

	for (size_t i = 0; i < COUNT(texts); i++) {
		struct machine m = { .read = 4711 };

		run_part(&m, texts[i], PROBE_RECORD, i == 2 ? PROBE_PART_RETURN : PROBE_PART_PLACE);
		assert_int_equal(m.submits, 1);
		assert_int_equal(m.reads, 1);
		memcpy(&value, m.record + sizeof(struct wire_record) + 8 * at[i], 8);
		assert_int_equal(value, 4711);
	}
}

static void test_tail(void **state)
{
	static const uint64_t want[] = { SP_VALUE, 0x8182838485868700ULL, 0, 0xf1f2f3f4f5f6f70aULL };
	struct machine m = { 0 };

	run_part(&m, "r:f $retval %ax", PROBE_RECORD, PROBE_PART_TAIL);
	check_record(&m, 0, 0x123, WIRE_RECORD_RETURN | WIRE_RECORD_TAIL, want, COUNT(want));
}

static void test_entry(void **state)
{
	static const uint64_t want[] = { SP_VALUE, 0xf1f2f3f4f5f6f70eULL, 0x8182838485868701ULL };
	struct machine m = { 0 };

	run_part(&m, "f %di $stack1", PROBE_RECORD, PROBE_PART_ENTRY);
	assert_int_equal(m.words, 1);
	check_record(&m, 0, 0x123, WIRE_RECORD_ENTRY, want, COUNT(want));
}

/* A return probe's arguments are not recorded at the entry of the pair, nor an entry's at its returns. */
static void test_pair_args(void **state)
{
	static const uint64_t frame[] = { SP_VALUE, 0x8182838485868700ULL };
	struct machine m = { 0 };

	run_part(&m, "r:f $retval", PROBE_RECORD, PROBE_PART_ENTRY);
	check_record(&m, 0, 0x123, WIRE_RECORD_ENTRY, frame, 1);
	m = (struct machine) { 0 };
	run_part(&m, "f %di", PROBE_RECORD, PROBE_PART_RETURN);
	check_record(&m, 0, 0x123, WIRE_RECORD_RETURN, frame, 2);
}

/* One place, two records: the second belongs to the next probe of the table. */
static void test_both(void **state)
{
	static const uint64_t first[] = { SP_VALUE, 0xf1f2f3f4f5f6f70eULL };
	static const uint64_t second[] = { SP_VALUE, 0x8182838485868700ULL };
	struct machine m = { 0 };

	run_part(&m, "f %di", PROBE_RECORD, PROBE_PART_ENTRY_RETURN);
	assert_int_equal(m.submits, 2);
	check_record(&m, 0, 0x123, WIRE_RECORD_ENTRY, first, COUNT(first));
	check_record(&m, 40, 0x124, WIRE_RECORD_RETURN, second, COUNT(second));
	m = (struct machine) { 0 };
	run_part(&m, "f %di", PROBE_RECORD, PROBE_PART_ENTRY_TAIL);
	check_record(&m, 40, 0x124, WIRE_RECORD_RETURN | WIRE_RECORD_TAIL, second, COUNT(second));
	m = (struct machine) { .full = true };
	run_part(&m, "f %di", PROBE_RECORD, PROBE_PART_ENTRY_RETURN);
	assert_int_equal(m.reserves, 2);
	assert_int_equal(m.submits, 0);
}

/* Go's stacks move: what is recorded depends on the goroutine and on the distance from the stack's end alone. */
static void test_go_frame(void **state)
{
	uint64_t g = 0xf1f2f3f4f5f6f700ULL + ISA_R14;
	uint64_t frame = 1ULL << 63 | g >> 5 << 27 | 0x40;
	uint64_t entry[] = { frame, 0xf1f2f3f4f5f6f70eULL };
	uint64_t leave[] = { frame, 0x8182838485868700ULL, 0xf1f2f3f4f5f6f70aULL };
	struct machine m = { .read = SP_VALUE + 0x200 };

	run_part(&m, "f %di", PROBE_RECORD, PROBE_PART_GO_ENTRY);
	assert_int_equal(m.reads, 1);
	check_record(&m, 0, 0x123, WIRE_RECORD_ENTRY, entry, COUNT(entry));
	m = (struct machine) { .read = SP_VALUE + 0x200 };
	run_part(&m, "r:f $retval", PROBE_RECORD, PROBE_PART_GO_RETURN);
	check_record(&m, 0, 0x123, WIRE_RECORD_RETURN, leave, COUNT(leave));
	m = (struct machine) { .read = SP_VALUE + 0x200 };
	run_part(&m, "r:f", PROBE_RECORD, PROBE_PART_GO_ENTRY_TAIL);
	assert_int_equal(m.submits, 2);
	check_record(&m, 32, 0x124, WIRE_RECORD_RETURN | WIRE_RECORD_TAIL, leave, 2);
}

/* So many words of the stack that none is left for it: the plain address then. */
static void test_go_full(void **state)
{
	struct machine m = { 0 };
	uint64_t frame;

	run_part(&m, "f $stack0 $stack1 $stack2 $stack3 $stack4 $stack5 $stack6 $stack7 $stack8", PROBE_RECORD, PROBE_PART_GO_ENTRY);
	assert_int_equal(m.reads, 1);
	m = (struct machine) { 0 };
	run_part(&m, "f $stack0 $stack1 $stack2 $stack3 $stack4 $stack5 $stack6 $stack7 $stack8 $stack9", PROBE_RECORD,
		 PROBE_PART_GO_ENTRY);
	assert_int_equal(m.reads, 0);
	memcpy(&frame, m.record + 24, 8);
	assert_int_equal(frame, SP_VALUE);
}

static void test_full(void **state)
{
	struct machine m = { .full = true };

	run_text(&m, "f %di $stack1", PROBE_RECORD);
	assert_int_equal(m.reserves, 1);
	assert_int_equal(m.submits, 0);
}

/* Every register's load stands right before its store. */
static void test_pairs(void **state)
{
	static struct probe_spec spec;
	struct bpf_insn *program;
	size_t count;
	size_t pairs = 0;

	assert_int_equal(probe_parse("f %di %si:s8 %dx:u16 %cx %r8:s32 $stack", &spec, NULL, NULL), 0);
	assert_int_equal(probe_program(&spec, PROBE_RECORD, PROBE_PART_PLACE, &program, &count), 0);
	for (size_t i = 0; i + 1 < count; i++) {
		if (program[i].src != 7 || (program[i].opcode & 7) != 1)
			continue;
		assert_true(program[i].dst >= 1 && program[i].dst <= 5);
		assert_int_equal(program[i + 1].opcode, 0x7b);
		assert_int_equal(program[i + 1].dst, 6);
		assert_int_equal(program[i + 1].src, program[i].dst);
		assert_int_equal(program[i + 1].offset, 24 + 8 * pairs);
		pairs++;
	}
	assert_int_equal(pairs, 6);
	free(program);
}

/* ---- names ---- */

static void test_event_name(void **state)
{
	static const struct {
		const char *symbol;
		uint64_t offset;
		const char *want;
	} cases[] = {
		{ "malloc", 0, "malloc" },
		{ "malloc", 0x10, "malloc_0x10" },
		{ "", 0x1234, "abs_1234" },
		{ "memcpy@@GLIBC_2.14", 0, "memcpy" },
		{ "foo.cold", 0, "foo_cold" },
		{ "foo.part.0", 4, "foo_part_0_0x4" },
		{ "_ZN2ns1fEi", 0, "_ZN2ns1fEi" },
		{ "ns::f(int, char const*)", 0, "ns_f" },
		{ "ns::S<int, 3>::g() const", 0, "ns_S_int_3_g" },
		{ "(anonymous namespace)::f(int)", 0, "anonymous_namespace_f" },
		{ "<T as core::Trait>::go", 0, "T_as_core_Trait_go" },
		{ "S::operator()(int)", 0, "S_operator" },
		{ "1st", 0, "_1st" },
		{ "\xc3\xa9", 0, "probe" },
	};
	char name[64];
	char small[6];

	for (size_t i = 0; i < COUNT(cases); i++) {
		probe_event_name(cases[i].symbol, cases[i].offset, name, sizeof(name));
		assert_string_equal(name, cases[i].want);
	}
	probe_event_name("a_long_name", 0, small, sizeof(small));
	assert_string_equal(small, "a_lon");
	probe_event_name("x", 0, small, 1);
	assert_string_equal(small, "");
	memset(name, 'a', sizeof(name));
	name[63] = '\0';
	probe_event_name(name, UINT64_MAX, name, 0);
	assert_int_equal(strlen(name), 63);
}

/* With the longest symbol the offset stays. */
static void test_event_name_long(void **state)
{
	char symbol[200];
	char name[64];

	memset(symbol, 'a', sizeof(symbol) - 1);
	symbol[sizeof(symbol) - 1] = '\0';
	probe_event_name(symbol, 0xabc, name, sizeof(name));
	assert_int_equal(strlen(name), 63);
	assert_string_equal(name + 63 - 6, "_0xabc");
}

static void test_nearest(void **state)
{
	static const char *const words[] = { "trace", "record", "script", "report", "stat", "list" };

	assert_string_equal(probe_nearest("tarce", 5, words, COUNT(words)), "trace");
	assert_string_equal(probe_nearest("recrd", 5, words, COUNT(words)), "record");
	assert_string_equal(probe_nearest("stats", 5, words, COUNT(words)), "stat");
	assert_string_equal(probe_nearest("tracexyz", 6, words, COUNT(words)), "trace");
	assert_null(probe_nearest("banana", 6, words, COUNT(words)));
	assert_null(probe_nearest("", 0, words, COUNT(words)));
	assert_null(probe_nearest("xy", 2, words, COUNT(words)));
	assert_null(probe_nearest("an-unusually-long-word-of-more-than-32", 38, words, COUNT(words)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),       cmocka_unit_test(test_bad),
		cmocka_unit_test(test_long),       cmocka_unit_test(test_many),
		cmocka_unit_test(test_count),      cmocka_unit_test(test_record),
		cmocka_unit_test(test_registers),  cmocka_unit_test(test_stack),
		cmocka_unit_test(test_return),
		cmocka_unit_test(test_goid),
		cmocka_unit_test(test_tail),
		cmocka_unit_test(test_entry),
		cmocka_unit_test(test_pair_args),
		cmocka_unit_test(test_both),
		cmocka_unit_test(test_go_frame),
		cmocka_unit_test(test_go_full),
		cmocka_unit_test(test_full),       cmocka_unit_test(test_pairs),
		cmocka_unit_test(test_event_name), cmocka_unit_test(test_event_name_long),
		cmocka_unit_test(test_nearest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
