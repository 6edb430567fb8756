/* SPDX-License-Identifier: MIT */
/* Probe text -> specification; names of events. Programs are test_probe_program.c's. */
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

static void put_type(const struct probe_arg *arg, char *text, size_t size)
{
	static const char formats[] = "usxcSf";

	if (arg->is_string)
		put(text, size, "string");
	else if (arg->field_bits)
		put(text, size, "b%u@%u/%u", arg->field_bits, arg->field_at, arg->bits);
	else
		put(text, size, "%c%u", formats[arg->format], arg->bits);
	if (arg->count)
		put(text, size, "[%u]", arg->count);
}

static void put_source(const struct probe_spec *spec, const struct probe_arg *arg, char *text, size_t size)
{
	switch (arg->source) {
	case PROBE_ARG_REGISTER:
		put(text, size, "reg %d", (int)arg->reg);
		break;
	case PROBE_ARG_STACK:
		put(text, size, "stack %u", arg->word);
		break;
	case PROBE_ARG_RETVAL:
		put(text, size, "retval %d", (int)arg->reg);
		break;
	case PROBE_ARG_GOID:
		put(text, size, "goid");
		break;
	case PROBE_ARG_IMMEDIATE:
		put(text, size, "0x%lx", (unsigned long)arg->value);
		break;
	case PROBE_ARG_FILE:
		put(text, size, "file 0x%lx", (unsigned long)arg->value);
		break;
	case PROBE_ARG_IP:
		put(text, size, "ip");
		break;
	case PROBE_ARG_COMM:
		put(text, size, "comm");
		break;
	case PROBE_ARG_CALLERS:
		put(text, size, "callers");
		break;
	case PROBE_ARG_TEXT:
		put(text, size, "\"%s\"", spec->strings + arg->value);
		break;
	}
	for (uint32_t i = 0; i < arg->nreads; i++)
		put(text, size, " %+ld", (long)arg->offset[i]);
}

/* A specification as one line. */
static void dump(const char *from, const struct probe_spec *spec, char *text, size_t size)
{
	static const char *const kinds[] = { "", "return ", "each " };

	text[0] = '\0';
	put(text, size, "%s%s/%s file=%s ", kinds[spec->kind], spec->group, spec->event, spec->path);
	if (spec->by_offset)
		put(text, size, "at 0x%lx", (unsigned long)spec->offset);
	else
		put(text, size, "%s=%s +0x%lx", spec->glob ? "glob" : "symbol", spec->symbol,
		    (unsigned long)spec->offset);
	if (spec->reference)
		put(text, size, " counter 0x%lx", (unsigned long)spec->reference);
	for (size_t i = 0; i < spec->nargs; i++) {
		const struct probe_arg *arg = &spec->args[i];

		put(text, size, " %s=%.*s(", arg->name, (int)arg->length, from + arg->at);
		put_source(spec, arg, text, size);
		put(text, size, "):");
		put_type(arg, text, size);
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
	{ "p:grp.ev /bin/x:main", "grp/ev file=/bin/x symbol=main +0x0" },
	{ "p:libc.so:main %di", "utap/ file=libc.so symbol=main +0x0 arg1=%di(reg 14):x64" },
	{ "p:f.cold %di", "utap/ file= symbol=f.cold +0x0 arg1=%di(reg 14):x64" },
	{ "p:ev /bin/x:010", "utap/ev file=/bin/x at 0x8" }, /* octal, as the kernel reads it */
	{ "p:ev /tmp/a:b:0x0000000000001234 %di", "utap/ev file=/tmp/a:b at 0x1234 arg1=%di(reg 14):x64" },
	{ "p:ev /bin/x:0x1234(0x5678)", "utap/ev file=/bin/x at 0x1234 counter 0x5678" },
	{ "p:ev /bin/x:0x1234%return(0x5678) $retval",
	  "return utap/ev file=/bin/x at 0x1234 counter 0x5678 arg1=$retval(retval 10):x64" },
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
	{ "f +0(%di) a=-8(+0x10(%si)):u32 b=+u4(%dx):s16",
	  "utap/ file= symbol=f +0x0 arg1=+0(%di)(reg 14 +0):x64 a=-8(+0x10(%si))(reg 13 +16 -8):u32 "
	  "b=+u4(%dx)(reg 12 +4):s16" },
	{ "f @0x10 a=@+0x20:u8 +8(@+16) +010(%di)",
	  "utap/ file= symbol=f +0x0 arg1=@0x10(0x10 +0):x64 a=@+0x20(file 0x20 +0):u8 arg3=+8(@+16)(file 0x10 +0 +8):x64 "
	  "arg4=+010(%di)(reg 14 +8):x64" },
	{ "f \\5 \\-1:s32 \\+0x10:u8 \\\"a:b=c\" d=\\\"\":string",
	  "utap/ file= symbol=f +0x0 arg1=\\5(0x5):x64 arg2=\\-1(0xffffffffffffffff):s32 arg3=\\+0x10(0x10):u8 "
	  "arg4=\\\"a:b=c\"(\"a:b=c\"):string d=\\\"\"(\"\"):string" },
	{ "f $arg1 $arg6:u8 $arg7 $comm c=$COMM:string %ip %cs",
	  "utap/ file= symbol=f +0x0 arg1=$arg1(reg 14):x64 arg2=$arg6(reg 8):u8 arg3=$arg7(stack 1):x64 arg4=$comm(comm):string "
	  "c=$COMM(comm):string arg6=%ip(ip):x64 arg7=%cs(0x33):x64" },
	{ "f +0(%di):string +0(%di):ustring[3] \\4096:string +0(%edi):char[8]",
	  "utap/ file= symbol=f +0x0 arg1=+0(%di)(reg 14 +0):string arg2=+0(%di)(reg 14 +0):string[3] "
	  "arg3=\\4096(0x1000):string arg4=+0(%edi)(reg 14 +0):c8[8]" },
	{ "f %di:b4@2/32 +0(%di):b1@63/64[2] %si:symbol %dx:char +8(%di):f64 %cx:f32 +0(%di):symbol[2]",
	  "utap/ file= symbol=f +0x0 arg1=%di(reg 14):b4@2/32 arg2=+0(%di)(reg 14 +0):b1@63/64[2] arg3=%si(reg 13):S64 "
	  "arg4=%dx(reg 12):c8 arg5=+8(%di)(reg 14 +8):f64 arg6=%cx(reg 11):f32 arg7=+0(%di)(reg 14 +0):S64[2]" },
	{ "f +0(%di):u8[4096]", "utap/ file= symbol=f +0x0 arg1=+0(%di)(reg 14 +0):u8[4096]" },
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
		dump(goods[i].text, &spec, text, sizeof(text));
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
	{ "f %xmm16", 3, "no register '%xmm16'" },
	{ "f %xmm", 3, "no register '%xmm'" },
	{ "f %xmm01", 3, "no register" },
	{ "f +0(%xmm0)", 3, "is not an address" },
	{ "f %xmm0:f32@48/128", 9, "in its low or in its high" },
	{ "f %xmm0:f32@100/128", 9, "does not lie" },
	{ "f %xmm0:f16@0/32", 9, "32 or 64 bits" },
	{ "f %xmm0:f32@0/32[2]", 17, "no arrays" },
	{ "f %di:f32@64/128", 7, "only vector registers" },
	{ "f +0(%di):b8@64/128", 11, "only vector registers" },
	{ "f $arg1:f64", 9, "are in %xmm0" },
	{ "f %di,%si,4", 3, "is an address" },
	{ "f +0(%di,%si,3)", 14, "1, 2, 4 or 8" },
	{ "f +0(%di,%esi,4)", 10, "64 bits" },
	{ "f +0(%di,%sp,4)", 10, "64 bits" },
	{ "f +0(%xmm0,%si,4)", 6, "a general register" },
	{ "f +0(%di,)", 10, "an index is expected" },
	{ "f %", 3, "there is no register" },
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
	{ "f $current", 3, "there is no '$current'" },
	{ "f $0 $1", 3, "there is no '$0'" },
	{ "p:1ev /bin/x:main", 3, "not a name for an event" },
	{ "p:a-b /bin/x:main", 3, "not a name for an event" },
	{ "p:g-p/ev /bin/x:main", 3, "not a name for a group" },
	{ "p:grp/ev", 9, "the place is missing" },
	{ "p:ev malloc", 6, "FILE:SYMBOL" },
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
	{ "libc:'malloc'x", 14, "+OFFSET, %return, :*" },
	{ "malloc@malloc.c", 7, "source files (@FILE)" },
	{ "malloc;ptr", 7, "source patterns" },
	{ "%sdt_libc:setjmp", 1, "USDT" },
	{ "f $vars", 3, "$vars needs debug information" },
	{ "f $params", 3, "$params needs debug information" },
	{ "f %sdt_x", 3, "USDT" },
	{ "f %di:symstr", 7, "write symbol" },
	{ "f %di:%pd", 7, "the kernel's own" },
	/* what stands where */
	{ "p:", 3, "the place is missing" },
	{ "p: /bin/x:main", 3, "the name of an event" },
	{ "f $arg0", 3, "no argument of a function" },
	{ "f+4 $arg1", 5, "known only where a function is entered" },
	{ "r:f $arg1", 5, "known only where a function is entered" },
	{ "f:x:* $arg1", 7, "known only where a function is entered" },
	{ "f $arg99999", 3, "no argument of a function" },
	{ "f +0($goid)", 6, "not an address" },
	{ "f +0(\\\"x\")", 6, "not an address" },
	{ "f +0()", 6, "a value is expected" },
	{ "f +(%di)", 3, "'' is not an offset" },
	{ "f +-5(%di)", 3, "not an offset" },
	{ "f +0x8000000000000000(%di)", 3, "not an offset" },
	{ "f +0(%di)x", 10, "behind the bracket" },
	{ "f @", 3, "debug information" },
	{ "f @0x", 3, "not an address" },
	{ "f @+", 3, "not a file offset" },
	{ "f \\", 4, "not a value" },
	{ "f \\-0x8000000000000001", 4, "not a value" },
	{ "f \\\"", 5, "not closed" },
	{ "f \\\"a\"b", 8, "not closed" },
	{ "f %di:string", 7, "+0(FETCH):string" },
	{ "f %di:u8[2]", 7, "+0(FETCH):TYPE[N]" },
	{ "f \\1:string[2]", 6, "+0(FETCH):string" },
	{ "f +0(%di):u8[4097]", 14, "at most 4096 elements" },
	{ "f +0(%di):f32[2]x", 17, "behind an array" },
	{ "f %di:b33@0/32", 7, "does not lie in its 32 bits" },
	{ "f %di:b0@0/32", 7, "does not lie" },
	{ "f %di:b4@2/31", 7, "SIZE is 8, 16, 32 or 64" },
	{ "f %di:b4@2", 7, "SIZE is 8, 16, 32 or 64" },
	{ "f %edi:b4@2/64", 8, "wider than" },
	{ "f %edi:symbol", 8, "wider than" },
	{ "f +0(%di):u64[4096] +0(%di):u64[4096]", 21, "more than 65528 bytes" },
	{ "f +0(%di):string[90] a=+0(%di):string[90] b=+0(%di):string[90]", 43, "do not fit in a record" },
	{ "-:ev", 1, "for lists of probes" },
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
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_event_name),
		cmocka_unit_test(test_event_name_long),
		cmocka_unit_test(test_nearest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
