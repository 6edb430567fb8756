#!/bin/bash
# SPDX-License-Identifier: MIT
# Programs of all kinds: C with glibc and musl, static and not, C++ as compilers optimise it, Rust, Go, Java and node. All functions of
# each are probed at once. It must print what it prints unprobed, and its own counts must be the hits; then probes come and go as it runs.
#
#   languages.sh BUILD [LANGUAGE...]: c c++ rust go java node jit
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
. "$here/places.sh"
shift
only=" $* "
sources=$here/../programs/languages
same_places=
setarch -R true 2> /dev/null && same_places='setarch -R'

wanted() { [ "$only" = '  ' ] || [[ $only == *" $1 "* ]]; }

# compile COMPILER ARGS...: 1 when it is not there or cannot; then the test is skipped
compile()
{
	local log

	if ! command -v "$1" > /dev/null; then
		skip "$1 is not installed"
		return 1
	fi
	if ! log=$("$@" 2>&1); then
		skip "$1 cannot: $(grep -m 1 -i -E 'error|cannot|no such' <<< "$log")"
		return 1
	fi
}

# The counts that the program printed are those of the entries, except what was refused by name.
same_counts()
{
	local function calls hit event

	while read -r function calls; do
		[[ $function =~ ^($counted)$ ]] || continue
		event=${function//./_}
		hit=$(count_of "${event#_}" counts)
		if [ "$hit" = 0 ] && grep -q "not probed: $function+0x0 " stderr; then
			refused="$refused $function"
			continue
		fi
		case $function in
		main.deep) # begins anew when its stack was too small
			[ "$hit" -ge "$calls" ] && [ "$hit" -le $((calls + $(count_of runtime_newstack counts))) ] ;;
		*) [ "$hit" = "$calls" ] ;;
		esac || problem "$function was called $calls times, and hit '$hit' times"
	done < <(grep -E '^[a-z_.]+ [0-9]+$' out)
}

# checked ROUNDS PROBES...: ./program from its start, counted and recorded, then attached to; $how is that of as_before
checked()
{
	local number=$1 sum=0 i
	shift

	timeout 60 ./program "$number" > plain 2> plain.err || problem "unprobed: it ends with $?: $(head -2 plain.err)"
	# shellcheck disable=SC2086
	timeout -k 5 120 $same_places "$utap" stat -v --json -o counts "$@" -- ./program "$number" > out 2> stderr < /dev/null
	code=$?
	[ "$code" = 0 ] && grep -q EXIT-SUCCESS out || problem "counted: $code, $(grep -v 'not probed' stderr | head -3)"
	cmp -s <(tail -n +2 plain) <(tail -n +2 out) || problem "its output differs from the unprobed run's"
	same_counts
	# shellcheck disable=SC2086
	timeout -k 5 120 $same_places "$utap" record --ring 64K -o data "$@" -- ./program "$number" > out 2> stderr < /dev/null
	code=$?
	[ "$code" = 0 ] || problem "recorded: $code, $(grep -v 'not probed' stderr | head -3)"
	cmp -s <(tail -n +2 plain) <(tail -n +2 out) || problem "recorded: its output differs from the unprobed run's"
	grep -q ' events, ' stderr || problem "recorded: $(tail -1 stderr)"
	rm -f data
	for i in "${more[@]}"; do
		# shellcheck disable=SC2086
		timeout -k 5 120 $same_places "$utap" stat -v --json -o counts $i -- ./program "$number" > out 2> stderr < /dev/null
		code=$?
		[ "$code" = 0 ] || problem "$i: $code, $(grep -v 'not probed' stderr | head -3)"
		cmp -s <(tail -n +2 plain) <(tail -n +2 out) || problem "$i: its output differs from the unprobed run's"
		[ "$(count_all counts)" -gt 0 ] || problem "$i: nothing was hit"
	done
	target ./program
	for i in 1 2 3; do
		run stat --json -o counts "$@" -d 0.15 -p "$pid"
		expect_code 0
		sum=$((sum + $(count_all counts)))
		as_before "$how"
	done
	[ "$sum" -gt 0 ] || problem 'attached: nothing was hit'
	run record -q --ring 256K -o data "$@" -d 0.15 -p "$pid"
	expect_code 0
	as_before "$how"
	rm -f data
	finish
	[ -z "$refused" ] || echo "    $name: entries that cannot be probed yet:$refused"
	refused=
}
how=files refused='' counted='.*' # functions whose counts are compared

# What is also probed from the start, each in a run of its own: every instruction of the program's own functions; returns.
more=("--all-instructions -e ./program:mix_*")
with_returns() { "$utap" stat -e 'r:probed_step' -- "$programs/early" > /dev/null 2>&1; }
with_returns && more+=("-e r:./program:*")

# ---- C ----

c() # NAME COMPILER FLAGS...
{
	wanted c || return
	begin "language C: $1"
	compile "${@:2}" -g -fvisibility=hidden -D_GNU_SOURCE -o program "$sources/mix.c" -lm -lpthread && checked 200 -e './program:*'
	end
}

c 'glibc' gcc -O2 -DMIX_IFUNC
c 'glibc, -O0' gcc -O0 -DMIX_IFUNC
c 'glibc, -O3 -flto' gcc -O3 -flto
c 'glibc, not position-independent' gcc -O2 -fno-pie -no-pie
c 'glibc, static' gcc -O2 -static -no-pie
c 'glibc, static-PIE' gcc -O2 -fPIE -static-pie
c 'glibc, clang' clang -O2
c 'musl' musl-gcc -O2
c 'musl, static' musl-gcc -O2 -static

# ---- C++ ----

cxx() # NAME FLAGS...
{
	wanted c++ || return
	begin "language C++: $*"
	local library=(-e 'libstdc++:__cxa_*')

	[[ $* = *-static* ]] && library=()
	compile "$@" -g -D_GNU_SOURCE -o program "$sources/mix.cc" -lpthread && checked 100 -e './program:*' "${library[@]}"
	end
}

for level in -O0 -O1 -O2 -O3; do
	cxx g++ $level
done
cxx g++ -O2 -flto
cxx g++ -O2 -fcf-protection=full
cxx g++ -O2 -static
cxx clang++ -O2

if wanted c++; then
	begin 'language C++: cold parts'
	if compile g++ -O2 -g -D_GNU_SOURCE -o program "$sources/mix.cc" -lpthread; then
		nm program | grep -q ' mix_checked\.cold$' || problem 'the compiler moved nothing away: this test tests nothing'
		counted=mix_checked
		checked 100 -e mix_checked $(instructions_of program mix_checked | sed 's/^/-e /')
		counted='.*'
	fi
	end
fi

# ---- Rust ----

rust() # NAME FLAGS...
{
	wanted rust || return
	begin "language Rust: $1"
	compile rustc "${@:2}" -o program "$sources/mix.rs" && checked 100 -e './program:*'
	end
}

rust 'debug'
rust 'optimised' -O -g
rust 'optimised, link-time optimisation' -O -C lto=fat -C codegen-units=1
rust 'musl' -O --target x86_64-unknown-linux-musl

# ---- Go ----

more=("--all-instructions -e ./program:main.*")
with_returns && more+=("-e r:./program:main.*")

# Code of Go has no frame entries; its own tables say where functions begin and end.
go_probes=(-e './program:*')
no_frame()
{
	"$utap" stat -v "${go_probes[@]}" -- ./program 1 2>&1 | grep -q 'not probed: main.leaf.*frame' && go_probes+=(--force-no-frame)
}

go_program() # NAME SETTINGS FLAGS...
{
	wanted go || return
	begin "language Go: $1"
	if GO111MODULE=off GOFLAGS=-buildvcs=false GOCACHE=$work/../utap-go-cache compile go build "${@:3}" -o program "$sources/mix.go"; then
		no_frame
		# A thread that a signal finds on a jump between functions is the program's end: the runtime knows no such place.
		"$utap" list --coverage ./program | awk '$1 == "entries" && $4 == "0.00" { found = 1 } END { exit !found }' ||
			problem 'jumps lie between functions (L3)'
		eval "export $2"
		checked 100 "${go_probes[@]}"
		unset GOGC GOMAXPROCS GODEBUG
	fi
	end
}

go_program 'go build' 'GOMAXPROCS=4'
go_program 'a collection at every corner' 'GOGC=1 GOMAXPROCS=8'
go_program 'no optimisation' 'GOMAXPROCS=4' -gcflags 'all=-N -l'
go_program 'without asynchronous preemption' 'GODEBUG=asyncpreemptoff=1'

if wanted go; then
	begin 'language Go: -ldflags "-s -w"'
	if GO111MODULE=off GOFLAGS=-buildvcs=false GOCACHE=$work/../utap-go-cache compile go build -ldflags '-s -w' -o program "$sources/mix.go"; then
		# Without symbols, by offset: the code is that of the program with symbols.
		GO111MODULE=off GOFLAGS=-buildvcs=false GOCACHE=$work/../utap-go-cache go build -o whole "$sources/mix.go"
		text=$(readelf -SW program | sed -n 's/.* \.text *PROGBITS *\([0-9a-f]*\) *\([0-9a-f]*\) .*/\1 \2/p')
		at=$(nm whole | sed -n 's/^0*\([0-9a-f]*\) T main.leaf$/\1/p')
		offset=$(printf '0x%x' $((0x$at - 0x${text% *} + 0x${text#* })))
		go_probes=(-e "p:main_leaf ./program:$offset")
		"$utap" stat -v "${go_probes[@]}" -- ./program 1 2>&1 | grep -q 'frame' && go_probes+=(--force-no-frame)
		counted=main.leaf more=()
		checked 100 "${go_probes[@]}"
		counted='.*'
	fi
	end
fi

# Functions that do not look whether their stack reaches: four of them in a chain, on goroutines whose stacks are as small as they get. The
# largest probes are put wherever there is room for certain; where there is not, they are refused by name.
if wanted go; then
	begin 'language Go: on the last bytes of a stack (nosplit)'
	cat > nosplit.go <<-'END'
		package main

		import "fmt"

		//go:noinline
		//go:nosplit
		func fourth(p *[15]int, i int) int { return p[i&7] + 1 }

		//go:noinline
		//go:nosplit
		func third(p *[15]int, i int) int { var a [15]int; a[i&7] = p[i&3]; return fourth(&a, i) + 1 }

		//go:noinline
		//go:nosplit
		func second(p *[15]int, i int) int { var a [15]int; a[i&7] = p[i&3]; return third(&a, i) + 1 }

		//go:noinline
		//go:nosplit
		func first(p *[15]int, i int) int { var a [15]int; a[i&7] = p[i&3]; return second(&a, i) + 1 }

		//go:noinline
		func deep(n, i int) int { var a [15]int; a[i&7] = i; if n == 0 { return first(&a, i) }; return deep(n-1, i) + first(&a, n) }

		func main() {
			sums := make(chan int)
			for i := 0; i < 400; i++ {
				go func(i int) { sums <- deep(i%60, i) }(i)
			}
			sum := 0
			for i := 0; i < 400; i++ {
				sum += <-sums
			}
			fmt.Println("sum", sum)
		}
	END
	if GO111MODULE=off GOFLAGS=-buildvcs=false GOCACHE=$work/../utap-go-cache compile go build -o program nosplit.go; then
		timeout 60 ./program > plain 2>&1 || problem "unprobed: $(head -2 plain)"
		arguments='a=%ax:u64 b=%bx:s8 c=%cx:x32 d=%di:u16 e=%si:s64 f=$stack0:x64 g=%r8:u8 h=%r9:x16'
		timeout 120 "$utap" record -v -o perf.data -e "./program:main.* $arguments" -e "./program:runtime.* $arguments" -- ./program > out 2> stderr ||
			problem "recorded: it ends with $?: $(tail -2 stderr)"
		[ -s perf.data ] || problem 'nothing is recorded'
		cmp -s plain out || problem "it prints $(head -2 out)"
		grep -q 'not probed: main.fourth.*nosplit' stderr || problem 'main.fourth is not refused'
		grep -q 'not probed: main.first.*nosplit' stderr && problem 'main.first is refused'
		"$utap" list --coverage ./program > coverage
		awk '$1 == "entries" && $NF > 90 { found = 1 } END { exit !found }' coverage || problem "coverage: $(grep entries coverage)"
		awk '/nosplit/ { n += $1 } END { exit !(n > 20 && n < 200) }' coverage || problem "refused: $(grep -c nosplit coverage)"
	fi
	end
fi

# ---- Java and node: their native code; what they make at run time is refused ----

if wanted java; then
	begin 'language Java: native code of the virtual machine'
	if compile javac -d . "$sources/Mix.java"; then
		printf '#!/bin/sh\nexec java -Xshare:auto -XX:+UseSerialGC -cp . Mix "$@"\n' > program
		chmod +x program
		java=$(readlink -f "$(command -v java)")
		libjvm=$(find "${java%/bin/java}" -name libjvm.so | head -1)
		timeout 60 "$java" -cp . Mix 20 > plain 2>&1 || problem "unprobed: $(head -2 plain)"
		target "$java" -cp . Mix
		for probe in "$libjvm:JVM_*" "$libjvm:JNI_*" "$libjvm:*GC*"; do
			run stat --json -o counts -e "$probe" -d 0.4 -p "$pid"
			expect_code 0
			[ "$(count_all counts)" -gt 0 ] || [ "$probe" = "$libjvm:JNI_*" ] || problem "$probe: nothing was hit"
		done
		run stat --json -e "[anon]:0x100" -d 0.1 -p "$pid"
		expect_error 5 'what the program makes as it runs \(JIT\)'
		finish
	fi
	end
fi

if wanted node; then
	begin 'language JavaScript: native code of node'
	if command -v node > /dev/null; then
		node=$(readlink -f "$(command -v node)")
		cp "$sources/mix.js" .
		timeout 60 "$node" mix.js 20 > plain 2>&1 || problem "unprobed: $(head -2 plain)"
		timeout -k 5 120 "$utap" stat --json -o counts -e 'node:*uv_*' -e 'node:napi_*' -e 'node:*Builtin_Json*' -- "$node" mix.js 20 > out 2> stderr
		code=$?
		expect_code 0
		cmp -s <(tail -n +2 plain) <(tail -n +2 out) || problem "its output differs from the unprobed run's"
		target "$node" mix.js
		run stat --json -o counts -e 'node:*uv_*' -d 0.5 -p "$pid"
		expect_code 0
		[ "$(count_all counts)" -gt 0 ] || problem 'nothing was hit'
		finish
	else
		skip 'node is not installed'
	fi
	end
fi

if wanted jit; then
	begin 'code that is no file: the vDSO, memory'
	target "$programs/worker" 0 2
	for place in '[vdso]:__vdso_clock_gettime' 'vdso:clock_gettime' 'linux-vdso.so.1:0x100'; do
		run stat -e "$place" -d 0.1 -p "$pid"
		expect_error 5 "cannot probe .*vdso.*the kernel's"
	done
	for place in '[heap]:0x100' '[anon]:0x100' '[stack]:0x0'; do
		run stat -e "$place" -d 0.1 -p "$pid"
		expect_error 5 'cannot probe .*only code of files can be probed'
	done
	as_before
	finish
	end
fi

summary
