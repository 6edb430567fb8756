#!/bin/bash
# SPDX-License-Identifier: MIT
# Variables by name: programs in C, C++ and Rust are stopped by gdb at sampled instructions, and what gdb prints of each variable is compared with what
# the fetch argument of utap probe -D reads there (dwarf_gdb.py). And what utap probe shows; and that a definition counts and records.
#
#   dwarf.sh BUILD          UTAP_ALL=1: thousands of pairs, and more optimisation levels
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
sources=$here/../programs/dwarf
sample=$([ "${UTAP_ALL:-0}" = 1 ] && echo 400 || echo 60)
levels=$([ "${UTAP_ALL:-0}" = 1 ] && echo '0 1 2 3' || echo '0 2 3')

# compared PROGRAM FILES [ARGS]: no variable differs, and enough are equal.
compared()
{
	local total equal

	UTAP=$utap FUNCTIONS=$2 SAMPLE=$sample ARGS=${3:-} timeout 900 gdb -q -nx -batch -x "$here/dwarf_gdb.py" "$1" > gdb.out 2>&1
	total=$(sed -n 's/^TOTAL //p' gdb.out)
	[ -n "$total" ] || { problem "$1: nothing was compared: $(tail -2 gdb.out)"; return; }
	grep -E '^(DIFFERENT|ONLY UTAP)' gdb.out | head -5 | while read -r line; do echo "    $name: $1: $line"; done
	grep -qE '^(DIFFERENT|ONLY UTAP)' gdb.out && problem "$1: variables differ from gdb's: $total"
	equal=$(sed -n 's/^TOTAL .*\bequal \([0-9]*\).*/\1/p' gdb.out)
	for what in 'only gdb' 'unknown to gdb'; do # pointers to what is in registers; frames that gdb picks otherwise where something inlined begins
		[ $((20 * $(sed -n "s/^TOTAL .*\\b$what \([0-9]*\).*/\1/p" gdb.out | grep . || echo 0))) -le $((${equal:-0} + 20)) ] ||
			problem "$1: too much is known to one of them only: $total"
	done
	[ "${equal:-0}" -ge 20 ] || problem "$1: only ${equal:-0} variables were compared: $total"
	pairs=$((pairs + ${equal:-0}))
}

# compiled LANGUAGE COMPILER...: the program of that language, at each level, against gdb
compiled()
{
	local language=$1 level
	shift

	pairs=0
	begin "variables against gdb, $language, $*"
	if ! command -v gdb > /dev/null || ! command -v "$1" > /dev/null; then
		skip "gdb or $1 is not installed"
	else
		for level in $levels; do
			case $language in
			rs) "$@" -g -C opt-level="$level" "$sources/variables.rs" -o "program$level" 2> compile.err ;;
			*) "$@" -g -O"$level" "$sources/variables.$language" -o "program$level" 2> compile.err ;;
			esac || { problem "-O$level does not compile: $(tail -3 compile.err)"; continue; }
			RUST=$([ "$language" = rs ] && echo 1 || echo 0) compared "./program$level" "variables\\.$language\$"
		done
		name="$name: $pairs equal"
	fi
	end
}

compiled c gcc
compiled c gcc -gdwarf-4

# Values in vector registers.
begin 'floating point against gdb'
vectors=0 pairs=0
for level in 1 2 3; do
	gcc -g -O$level "$sources/floats.c" -o floats$level || problem "-O$level does not compile"
	compared ./floats$level 'floats\.c$'
	vectors=$((vectors + $(sed -n 's/^TOTAL .*\bof vectors \([0-9]*\).*/\1/p' gdb.out)))
done
[ "$vectors" -ge 30 ] || problem "only $vectors values were in vector registers"
name="$name: $pairs equal, $vectors of them in vector registers"
end

compiled cc g++
compiled rs rustc
if [ "${UTAP_ALL:-0}" = 1 ]; then
	compiled c clang
	compiled cc clang++
fi

# A real program: utap itself, while it reads a file. As it was built here, or with UTAP_ALL=1 at three levels.
begin 'variables against gdb, a real program'
pairs=0
if ! command -v gdb > /dev/null; then
	skip 'gdb is not installed'
elif [ "${UTAP_ALL:-0}" = 1 ]; then
	for level in 0 2 3; do
		meson setup -Doptimization=$level -Ddebug=true "real$level" "$here/../.." > build.out 2>&1 && ninja -C "real$level" utap >> build.out 2>&1 ||
			{ problem "-O$level: utap does not build: $(tail -2 build.out)"; continue; }
		sample=3000 compared "./real$level/utap" '/src/[a-z]*/.*\.c$' 'list /bin/ls'
		echo "    utap -O$level: $(sed -n 's/^TOTAL //p' gdb.out)"
	done
else
	sample=400 compared "$utap" '/src/[a-z]*/.*\.c$' 'list /bin/ls'
fi
name="$name: $pairs equal"
end

# ---- what is shown ----

begin 'lines, variables, functions, definitions'
gcc -g -O0 "$sources/variables.c" -o program || problem 'it does not compile'
"$utap" probe -x program -L handle > lines || problem 'utap probe -L fails'
line=$(sed -n 's/^ *\([0-9]*\)  .*int t = twice(size).*/\1/p' lines)
[ -n "$line" ] || problem "-L does not number a line with code: $(head -4 lines)"
head -1 lines | grep -q '^<handle@.*variables\.c:0>$' || problem "-L: $(head -1 lines)"
"$utap" probe -x program -V handle > variables || problem 'utap probe -V fails'
grep -q "$(printf '\t\tstruct conn \\*\tconn$')" variables || problem "-V: $(cat variables)"
"$utap" probe -x program -F 'h*le' > functions || problem 'utap probe -F fails'
[ "$(cat functions)" = handle ] || problem "-F: $(cat functions)"
"$utap" probe -q -x program -D "handle:$line conn->id what" > definition || problem 'utap probe -D fails'
grep -qE '^p:probe_program/handle .*/program:0x[0-9a-f]+ id=\+0\(-[0-9]+\(%bp\)\):s32 what=\+0\(-[0-9]+\(%bp\)\):string$' definition ||
	problem "-D: $(cat definition)"
"$utap" probe -x program -D 'handle nobody' 2> err && problem 'a variable that is not there is taken'
grep -q "there is no variable 'nobody' here" err || problem "$(cat err)"
"$utap" probe -x program -L nothing 2> err && problem 'a function that is not there is shown'
strip -o bare program
"$utap" probe -x bare -V handle 2> err && problem 'there are variables without debug information'
grep -q 'has no debug information' err || problem "$(cat err)"
end

# Debug information from a server, as gdb gets it.
begin 'debuginfod'
if ! command -v debuginfod > /dev/null; then
	skip 'debuginfod is not installed'
else
	mkdir -p served
	gcc -g -O2 "$sources/variables.c" -o away && objcopy --only-keep-debug away served/away.debug && strip away
	port=$((20000 + $$ % 20000))
	debuginfod -p "$port" -d :memory: -F served > server.out 2>&1 &
	server=$!
	for _ in $(seq 100); do
		curl -sf "http://127.0.0.1:$port/metrics" 2> /dev/null | grep -q '^thread_work_total{role="traverse"} [1-9]' && break
		sleep 0.1
	done
	export DEBUGINFOD_CACHE_PATH=$PWD/cache DEBUGINFOD_TIMEOUT=5
	DEBUGINFOD_URLS=http://127.0.0.1:$port "$utap" probe -x away -V handle > variables 2> err || problem "utap probe -V fails: $(cat err)"
	grep -q "$(printf '\t\tstruct conn \*\tconn$')" variables || problem "-V: $(cat variables)"
	kill "$server"
	wait "$server" 2> /dev/null
	DEBUGINFOD_URLS=http://127.0.0.1:$port "$utap" probe -x away -V handle > again 2> err || problem "it is not kept: $(cat err)"
	cmp -s variables again || problem 'what was kept is not the same'
	rm -rf cache
	DEBUGINFOD_URLS=http://127.0.0.1:$port timeout 20 "$utap" probe -x away -V handle 2> err && problem 'there are variables without a server'
	grep -q 'has no debug information' err || problem "$(cat err)"
	unset DEBUGINFOD_CACHE_PATH DEBUGINFOD_TIMEOUT
fi
end

# The kernel takes what is printed, where we are root and it has uprobe events.
begin 'definitions in the kernel'
tracing=/sys/kernel/tracing
if [ "$(id -u)" != 0 ] || [ ! -w $tracing/uprobe_events ]; then
	skip 'uprobe_events is not there, or not ours'
else
	gcc -g -O2 "$sources/variables.c" -o program
	"$utap" probe -q -x program -D 'handle size conn->id conn->flag counter' > definition || problem 'utap probe -D fails'
	if cat definition >> $tracing/uprobe_events 2> err; then
		sed -n 's/^p:\([^ ]*\).*/-:\1/p' definition >> $tracing/uprobe_events
	else
		problem "it refuses $(cat definition): $(tail -2 $tracing/error_log)"
	fi
fi
end

begin 'Go'
if ! command -v go > /dev/null; then
	skip 'go is not installed'
else
	mkdir -p gotest && cat > gotest/main.go <<- 'GO'
		package main

		import "os"

		type point struct {
			x, y int
			name string
		}

		//go:noinline
		func handle(p *point, n int) int {
			total := p.x
			for i := 0; i < n; i++ {
				total += p.y * i
			}
			return total
		}

		func main() {
			p := point{1, 2, os.Args[0]}
			os.Exit(handle(&p, len(os.Args)) & 1)
		}
	GO
	if (cd gotest && HOME=$PWD GOCACHE=$PWD/cache GO111MODULE=off go build -o ../goprogram main.go) 2> err; then
		"$utap" probe -q -x goprogram -D 'main.handle p->x p->y n' > definition || problem 'utap probe -D fails'
		grep -q ' x=+0(%ax):s64 y=+8(%ax):s64 n=%bx:s64$' definition || problem "$(cat definition)"
		"$utap" probe -x goprogram -V main.handle | grep -q "$(printf '\\*main.point\tp')" || problem '-V does not name the type'
	else
		problem "it does not compile: $(head -3 err)"
	fi
fi
end
summary
