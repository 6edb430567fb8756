#!/bin/bash
# SPDX-License-Identifier: MIT
# Places and values by their names in the source, and static probes (USDT): what is recorded is what the program had there.
#
#   sources.sh BUILD
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
source=$here/../programs/sources/order.c

# build FLAGS...: ./order, from a copy of the source beside it
build_order()
{
	cp "$source" .
	gcc -g "$@" -o order order.c 2> gcc.err || skip "it cannot be compiled: $(head -1 gcc.err)"
	[ -z "$skipped_why" ]
}

# printed FIELD: its values, in the order of the records
printed() { sed -n "s/.* $1=\([^ ]*\).*/\1/p" lines; }

expect_values() # FIELD VALUE...
{
	local field=$1
	shift

	[ "$(printed "$field" | tr '\n' ' ')" = "$* " ] || problem "$field is '$(printed "$field" | head -12 | tr '\n' ' ')', not '$*'; $(head -2 stderr)"
}

traced() # ARGS...: of a whole run of ./order 10
{
	timeout -k 5 60 "$utap" trace -q -o lines "$@" -- ./order 10 > stdout 2> stderr < /dev/null
	code=$?
	[ "$code" = 0 ] || problem "exit code $code: $(head -2 stderr)"
}

for level in -O0 -O1 -O2; do
	begin "variables by name, gcc $level"
	if build_order $level; then
		traced -e './order:take number item->price.whole item->amounts[1] name=item->name:string weight=item->weight kind=item->kind'
		expect_values number 0 1 2 3 4 5 6 7 8 9
		expect_values whole 0 1 2 3 4 5 6 7 8 9
		expect_values amounts 2 2 2 2 2 2 2 2 2 2
		expect_values name '"apple"' '"brick"' '"cello"' '"apple"' '"brick"' '"cello"' '"apple"' '"brick"' '"cello"' '"apple"'
		expect_values kind 0 1 2 3 4 5 6 7 0 1
		[ "$(printed weight | awk '{ sum += $1 } END { print sum }')" = 22.5 ] || problem "weight is $(printed weight | tr '\n' ' ')"
	fi
	end
done

# The debug information is read beforehand: what runs at a hit is the same as with the registers written by hand.
begin 'a variable costs what its register costs'
program() { timeout 60 "$utap" trace -vv -o lines "$@" -- ./order 2 2>&1 > stdout < /dev/null | sed -n 's/.*program 0: //p'; }
if build_order -O2; then
	program -e './order:take number item' > named
	"$utap" probe -x ./order -D 'take number item' > definition 2> stderr
	args=$(sed 's/^[^ ]* [^ ]* //' definition)
	offset=$(sed -n 's/^[^ ]* [^:]*:\(0x[0-9a-f]*\).*/\1/p' definition)
	program -e "./order:$offset $args" > typed
	[ -s named ] && cmp named typed > differ || problem "the programs differ: $(cat definition; diff named typed | head -5)"
	grep -q '%' definition || problem "no register: $(cat definition)"
fi
end

begin 'conditions'
if build_order -O0; then
	while read -r want condition; do
		traced -e "./order:take number nm=item->name $condition"
		[ "$(printed number | tr '\n' ,)" = "${want#-}" ] || problem "$condition: '$(printed number | tr '\n' ,)', not '${want#-}': $(head -1 stderr)"
	done <<- 'END'
		8,9, /number > 7/
		3,5, /number == 3 || number == 5/
		8,9, /!(number < 8)/
		2,3,4, /number >= 2 && number <= 4 && pid != 1/
		1,4,7, /nm == "brick"/
		0,2,3, /nm != "brick" && number < 5/
		4,5,6,7, /number & 4/
		1,2,3,4,5,6,7,8,9, /number/
		0,1,2,3,4,5,6,7,8,9, /number > -1 && comm == "order" && cpu < 8192 && tid > 1/
		2, /(number == 1 || number == 2) && (nm == "cello" || number == 9)/
		- /comm == "orde"/
		- /number == 3 && !(number == 3)/
		0,1,2,4,5,6,7,8,9, /!(number == 3 && !(nm == "brick"))/
	END
	traced -e './order:take+0 /cpu < 8192/' -e 'libc:printf format=+0($arg1):string /format == "%ld %ld\n"/'
	[ "$(grep -c ': take: ' lines)" = 10 ] && [ "$(grep -c 'printf: .* format="%ld %ld?"$' lines)" = 1 ] ||
		problem "not ten calls of take and one of printf: $(cat lines)"
	run stat --json -e './order:take number=%si:s32 /number >= 4/' -- ./order 10
	expect_code 0
	[ "$(hits take)" = 6 ] || problem "$(hits take) of 6 counted"
	run trace -e './order:take n=%si /n ==/' -- ./order 1
	expect_error 2 'column 25: a number is expected here' 3
fi
end

begin 'a source line'
if build_order -O0; then
	line=$(grep -n 'the end of take' order.c | cut -d: -f1)
	traced -e "p:last ./order:order.c:$line sum"
	expect_values sum 0 4 10 18 28 40 54 70 88 108
	[ "$(grep -c ': last: ' lines)" = 10 ] || problem "the event is not called last: $(head -1 lines)"
	run trace -e "./order:order.c:99999" -- ./order 1
	expect_error 3 'order.c'
	run trace -e './order:take nothing_of_that_name' -- ./order 1
	expect_error '[35]' 'nothing_of_that_name'
fi
end

begin 'all parameters, returns'
if build_order -O0; then
	traced -e './order:take $params'
	expect_values number 0 1 2 3 4 5 6 7 8 9
	traced -e 'r:back ./order:take sum=$retval'
	[ "$(grep -c ': back: ' lines)" = 10 ] || problem "$(grep -c ': back: ' lines) returns: $(head -2 stderr)"
fi
end

begin 'static probes, and their semaphores'
if build_order -O2; then
	traced -e 'sdt:shop:taken'
	expect_values arg1 0 1 2 3 4 5 6 7 8 9
	traced -e './order:sdt:shop:taken n=arg1 name=arg2:string sum=arg3:s64'
	expect_values name '"apple"' '"brick"' '"cello"' '"apple"' '"brick"' '"cello"' '"apple"' '"brick"' '"cello"' '"apple"'
	expect_values sum 0 4 10 18 28 40 54 70 88 108
	traced -e 'sdt:shop:total'
	expect_values arg1 0 1 3 6 10 15 21 28 36 45
	grep -q '^[0-9]* 0$' stdout || problem "somebody wanted the other probe: $(cat stdout)"
	traced -e 'sdt:shop:wanted'
	expect_values arg1 1 2 3 4 5 6 7 8 9 10
	expect_values arg2 8 8 8 7 7 7 7 7 7 7
	grep -q ' 10$' stdout || problem "nobody wanted it: $(cat stdout)"
	for on in sdt:shop:total total ./order:sdt:shop:total; do
		rm -f perf.data*
		run record --overwrite -e sdt:shop:total --snapshot-on $on -- ./order 10
		expect_code 0
		ls perf.data.20* > /dev/null 2>&1 || problem "--snapshot-on $on: no snapshot: $(cat stderr)"
	done
	run trace -e 'sdt:shop:nothing' -- ./order 1
	expect_error 3 'shop:nothing'
fi
end

# Operands that are floating point, in vector registers too, and addresses with an index.
begin 'static probes: floating point, indices'
cat > mix.c << 'END'
#include <sys/sdt.h>

/* As an assembler writes it, whatever a compiler would choose. */
#define PLACE "990: nop\n.pushsection .note.stapsdt,\"?\",\"note\"\n.balign 4\n.4byte 992f-991f, 994f-993f, 3\n991: .asciz \"stapsdt\"\n" \
	"992: .balign 4\n993: .8byte 990b, _.stapsdt.base, 0\n.asciz \"shop\"\n.asciz \"vector\"\n" \
	".asciz \"8f@%%xmm0 4f@%%xmm9 8@%%xmm9 -4@(%%rdi,%%rsi,4) -4@4(,%%rdx,2)\"\n994: .balign 4\n.popsection\n"

__attribute__((noinline)) void vector(double d, float f, int *table, long i)
{
	register double in0 __asm__("xmm0") = d;
	register float in9 __asm__("xmm9") = f;
	register int *at __asm__("rdi") = table;
	register long index __asm__("rsi") = i;
	register long half __asm__("rdx") = (long)(table + i) / 2;

	__asm__ volatile(PLACE : : "x"(in0), "x"(in9), "r"(at), "r"(index), "r"(half));
}

__attribute__((noinline)) void mix(double d, float f, int *table, long i, char *bytes)
{
	DTRACE_PROBE5(shop, mix, d, f, table[i], bytes[i], d * 2);
	__asm__ volatile("" ::: "memory");
}

int main(void)
{
	int table[11];
	char bytes[16] = "abcdefghijklmno";

	for (int i = 0; i < 11; i++)
		table[i] = i * 111;
	for (int i = 0; i < 10; i++) {
		mix(i * 0.5, i * 0.25f, table, i, bytes);
		vector(i * -0.5, i * 2.5f, table, i);
	}
	return 0;
}
END
if ! gcc -O2 -g -o order mix.c 2> gcc.err; then
	skip "it cannot be compiled: $(head -1 gcc.err)"
else
	traced -e sdt:shop:mix
	expect_values arg1 0 0.5 1 1.5 2 2.5 3 3.5 4 4.5
	expect_values arg2 0 0.25 0.5 0.75 1 1.25 1.5 1.75 2 2.25
	expect_values arg3 0 111 222 333 444 555 666 777 888 999
	expect_values arg4 97 98 99 100 101 102 103 104 105 106
	expect_values arg5 0 1 2 3 4 5 6 7 8 9
	traced -e sdt:shop:vector
	expect_values arg1 -0 -0.5 -1 -1.5 -2 -2.5 -3 -3.5 -4 -4.5
	expect_values arg2 0 2.5 5 7.5 10 12.5 15 17.5 20 22.5
	expect_values arg4 0 111 222 333 444 555 666 777 888 999
	expect_values arg5 111 222 333 444 555 666 777 888 999 1110
fi
end

# What functions take and return as floating point, by name and by register.
begin 'floating point by name'
cp "$here/../programs/dwarf/floats.c" .
if ! gcc -O2 -g -o order floats.c 2> gcc.err; then
	skip "it cannot be compiled: $(head -1 gcc.err)"
else
	traced -e './order:turn p.a by'
	cut -d= -f2- lines | sort | uniq -c > named
	traced -e './order:turn a=%xmm0:f64 by=%xmm2:f64'
	cut -d= -f2- lines | sort | uniq -c > typed
	[ "$(wc -l < named)" -ge 8 ] && cmp -s named typed || problem "by name $(head -2 named), by register $(head -2 typed)"
	traced -e './order:length x=%xmm0:f32 y=%xmm0:f32@32/64 z=%xmm1:f32'
	[ "$(printed y | sort -u) $(printed z | sort -u)" = '1.5 2' ] || problem "y $(printed y | sort -u), z $(printed z | sort -u)"
	[ "$(printed x | tr '\n' ' ')" = "$(seq -s ' ' 0 199) " ] || problem "x $(printed x | head -3)"
	traced -e 'r:./order:length length=$retval:f32 same=%xmm0:f32'
	[ "$(wc -l < lines)" -ge 200 ] && [ "$(printed length)" = "$(printed same)" ] || problem "length $(printed length | head -2)"
	traced -e './order:length x=%xmm0:f32 y=%xmm0:f32@32/64 /x >= 197.5 && y < 2e0 && y != 1.25 && comm ~ "ord*"/'
	expect_values x 198 199
	run trace -e './order:turn $arg1:f64' -- ./order
	expect_error 2 'are in %xmm0' 3
fi
end

# The semaphore of a running process goes up, and down again.
begin 'a semaphore while it runs'
if build_order -O2; then
	mkfifo input
	./order 20 wait < input > out &
	pid=$!
	started_pids="$started_pids $pid"
	exec 5> input
	for ((i = 0; i < 300; i++)); do grep -q ready out 2> /dev/null && break; sleep 0.01; done
	"$utap" trace -q -o lines -e 'sdt:shop:wanted' -p $pid > stdout 2> stderr < /dev/null &
	tracer=$!
	started_pids="$started_pids $tracer"
	for ((i = 0; i < 300; i++)); do grep -q memfd:utap /proc/$pid/maps && break; sleep 0.01; done
	sleep 0.2
	kill -INT $tracer
	wait $tracer
	echo go >&5
	exec 5>&-
	wait $pid
	grep -q ' 0$' out || problem "the semaphore stays up when utap has gone: $(cat out)"
	started_pids=
fi
end

begin 'static probes of libstdc++'
if [ -e "$programs/throws" ]; then
	run stat --json -e 'sdt:libstdcxx:throw' -e 'sdt:libstdcxx:rethrow' -e 'sdt:libstdcxx:catch' -- "$programs/throws" one counts
	expect_code 0
	expect_hits throw
	[ $(($(hits throw) + $(hits rethrow))) = "$(hits catch)" ] || problem "$(hits throw) thrown, $(hits rethrow) again, $(hits catch) caught"
else
	skip 'the program that throws was not built'
fi
end

summary
