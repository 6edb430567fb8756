#!/bin/bash
# SPDX-License-Identifier: MIT
# Stacks of code without frame pointers, by tables in the probe and copied: a C++ program compared with libgcc's unwinder, servers and interpreters
# compared with gdb; libraries that come and go, children, a killed utap; what it costs.
#
#   stacks_tables.sh BUILD
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

python=$(command -v python3)
bed=$(mktemp -d "${TMPDIR:-/tmp}/utap-tables.XXXXXX")
trap 'rm -rf "$bed"; tidy' EXIT

can_build=
if command -v g++ > /dev/null && [ -n "$python" ]; then
	g++ -O2 -fomit-frame-pointer -o "$bed/tables" "$here/../programs/tables.cc" -ldl -lpthread &&
		g++ -O2 -fomit-frame-pointer -shared -fPIC -o "$bed/plugin.so" "$here/../programs/tables_plugin.cc" && can_build=1
fi
must_build() { [ -n "$can_build" ] || { skip 'g++ or python3 is not there'; return 1; }; }

# Of a child that loads a library nothing is said to anybody: its stacks end there. A copy is of one stack, so it ends behind a signal's.
for kind in cfi,200 raw,60000; do
	begin "stacks of C++, ${kind%,*}"
	if must_build; then
		run trace --json -o records --stack=$kind -e 'tables:probed_here' -- "$bed/tables" "$bed/plugin.so"
		expect_code 0
		grep -q ' 0 lost' stderr || problem "$(tail -1 stderr)"
		cut="child's library"
		[ "${kind%,*}" = raw ] && cut="$cut,signal"
		"$python" "$here/stacks_tables.py" told stdout records "$cut" > compared || problem "$(head -3 compared)"
	fi
	end
done

begin 'stacks of C++, through probed functions, by traps, jumps for debuggers'
if must_build; then
	for more in "-e tables:nest*" "-e libc:qsort_r -e libc:raise -e tables:main:* --allow-trap" '--debugger-safe --allow-trap'; do
		# shellcheck disable=SC2086
		run trace --json -o records --stack=cfi,200 $more -e 'tables:probed_here' -- "$bed/tables" "$bed/plugin.so"
		grep '"event":"probed_here"' records > some
		"$python" "$here/stacks_tables.py" told stdout some "child's library" > compared || problem "$more: $(head -3 compared)"
	done
fi
end

# One thread at a time enters the place; what is on its stack is the same again and again.
live()
{
	local place=$1 pid=$2 calls=$3 least=$4 kind

	PLACE=$place CALLS=$calls timeout -k 5 60 gdb -q -batch -p "$pid" -x "$here/stacks_live_gdb.py" > gdb.out 2> gdb.err < /dev/null ||
		problem "gdb failed: $(tail -2 gdb.err)"
	for kind in cfi,200 raw,60000; do
		timeout -k 5 60 "$utap" trace --json -o records -n $((4 * calls)) --stack=$kind -e "$place" -p "$pid" > stdout 2> stderr
		"$python" "$here/stacks_tables.py" gdb gdb.out records "$least" > compared || problem "$kind: $(head -3 compared)"
	done
}

cat > "$bed/loop.py" << 'END'
import os, time
def deep(n):
    if n == 0:
        return os.getppid()
    return deep(n - 1) if n % 2 else sum(map(deep, [n - 1]))
while True:
    deep(5)
    sorted([3, 1, 2], key=lambda x: deep(2))
    time.sleep(0.005)
END

begin 'stacks of python3, against gdb'
if [ -z "$python" ] || ! command -v gdb > /dev/null; then
	skip 'gdb or python3 is not there'
else
	exe=$("$python" -c 'import sys; print(sys.executable)')
	"$exe" "$bed/loop.py" &
	other=$!
	started_pids="$started_pids $other"
	sleep 0.5
	live getppid "$other" 12 2
	kill "$other"
fi
end

# Its own calls, built-in functions, compiled JavaScript and C++ again: all the way down.
begin 'stacks of node'
if ! command -v node > /dev/null; then
	skip 'node is not there'
else
	cat > "$bed/loop.js" << 'END'
function deep(n) { return n ? [n].map((m) => deep(m - 1))[0] : process.ppid; }
setInterval(() => { for (let i = 0; i < 100; i++) deep(3); }, 5);
END
	node "$bed/loop.js" &
	other=$!
	started_pids="$started_pids $other"
	sleep 0.7
	for kind in cfi,500 raw,60000; do
		run trace --json -o records -n 200 --stack=$kind -e libc:getppid -p "$other"
		expect_code 0
		[ "$(grep -c '"symbol":"Builtins_JSEntry".*"symbol":"_start"' records)" = "$(wc -l < records)" ] ||
			problem "$kind: not all lead through JavaScript to the start: $(grep -v '"_start"' records | head -1 | cut -c 1-1500)"
		[ "$(wc -l < records)" -ge 200 ] || problem "$kind: $(wc -l < records) records"
	done
	kill "$other"
fi
end

begin 'stacks of redis, against gdb'
if ! command -v redis-server > /dev/null || ! command -v gdb > /dev/null; then
	skip 'gdb or redis is not there'
else
	redis-server --port 0 --unixsocket "$bed/redis.sock" --save '' --dir "$bed" > /dev/null 2>&1 &
	other=$!
	started_pids="$started_pids $other"
	sleep 0.7
	live epoll_wait "$other" 5 1
	kill "$other"
fi
end

# Each call comes from a library that is gone before anybody reads; the next one takes its place.
begin 'libraries that come late, recorded'
if must_build; then
	cat > late.cc << 'END'
#include <dlfcn.h>
#include <unistd.h>
extern "C" __attribute__((noinline)) void probed(void) { __asm__ volatile("nop; nop; nop; nop; nop" ::: "memory"); }
int main(int argc, char **argv)
{
	usleep(400000);
	for (int i = 1; i < argc; i++) {
		void *library = dlopen(argv[i], RTLD_NOW);
		auto enter = library ? (void (*)(void (*)()))dlsym(library, "enter") : nullptr;

		if (!enter)
			return 1;
		enter(probed);
		dlclose(library);
	}
	return 0;
}
END
	cat > inner.cc << 'END'
__attribute__((noinline)) static void FROM(void (*back)()) { back(); __asm__ volatile("" ::: "memory"); }
extern "C" void enter(void (*back)()) { FROM(back); __asm__ volatile("" ::: "memory"); }
END
	g++ -O2 -o late late.cc -ldl || problem 'late.cc does not compile'
	for which in a b; do
		g++ -O2 -shared -fPIC -DFROM=from_$which -o $which.so inner.cc || problem 'inner.cc does not compile'
	done
	for kind in cfi raw; do
		run record -o data --stack=$kind -e late:probed -- ./late ./a.so ./b.so ./a.so ./b.so
		expect_code 0
		"$utap" script -i data > script 2>&1
		order=$(sed -n 's/.*=> .*\(from_[ab]\).* (\(.*\)).*/\1:\2/p' script | tr '\n' ' ')
		[ "$order" = 'from_a:a.so from_b:b.so from_a:a.so from_b:b.so ' ] || problem "$kind, utap script: '$order'"
		command -v perf > /dev/null || continue
		order=$(perf script -i data 2> /dev/null | sed -n 's/.*\(from_[ab]\).*/\1/p' | tr '\n' ' ')
		[ "$order" = 'from_a from_b from_a from_b ' ] || problem "$kind, perf script: '$order'"
	done
fi
end

begin 'stacks where utap is killed'
if must_build; then
	"$bed/tables" "$bed/plugin.so" 1000000000 &
	other=$!
	started_pids="$started_pids $other"
	sleep 0.3
	for _ in 1 2 3; do
		"$utap" trace -o records --stack=cfi -e tables:probed_here -p "$other" > /dev/null 2>&1 &
		killed=$!
		sleep 0.4
		kill -KILL "$killed"
		wait "$killed" 2> /dev/null
		sleep 0.1
		kill -0 "$other" || problem "the target is gone"
		run detach -p "$other"
		expect_code 0
		grep -q 'memfd:utap' "/proc/$other/maps" && problem "memory of utap's stays: $(grep memfd:utap "/proc/$other/maps" | head -2)"
	done
	run trace --json -o records -n 3 --stack=cfi,200 -e tables:probed_here -p "$other"
	expect_code 0
	[ "$(grep -c '"symbol":"main"' records)" = 3 ] || problem "no stacks afterwards: $(head -c 300 records)"
	grep -q 'memfd:utap' "/proc/$other/maps" && problem "memory of utap's stays at the end"
	kill "$other"
fi
end

# Ten microseconds and a tenth of the bytes are what is promised of 20 frames. The best of three: the machine has others to serve.
begin 'stacks by tables: what they cost'
if must_build; then
	best()
	{
		for _ in 1 2 3; do
			"$utap" record -q --overwrite -o perf.data "$@" -e tables:probed_here -- "$bed/tables" "$bed/plugin.so" 100000 2> /dev/null |
				sed -n 's/ ns$//p'
		done | sort -n | head -1
	}
	without=$(best) with=$(best --stack=cfi)
	took=$(awk "BEGIN { print int($with - $without) }")
	[ "$took" -lt 10000 ] || problem "a stack takes $took ns"
	size() { wc -c < perf.data; }
	run record --ring 32M -o perf.data -e tables:probed_here --stack=cfi -- "$bed/tables" "$bed/plugin.so" 1000
	grep -q ' 0 lost' stderr || problem "$(tail -1 stderr)"
	by_tables=$(size)
	run record --ring 32M -o perf.data -e tables:probed_here --stack=raw,8192 -- "$bed/tables" "$bed/plugin.so" 1000
	grep -q ' 0 lost' stderr || problem "$(tail -1 stderr)"
	copied=$(size)
	[ $((by_tables * 10)) -le "$copied" ] || problem "$by_tables bytes, copied $copied"
	echo "    $took ns a stack of 20 frames, $by_tables bytes of 1000 records, copied $copied"
fi
end

summary
