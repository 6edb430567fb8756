#!/bin/bash
# SPDX-License-Identifier: MIT
# utap beside others: gdb, strace, uprobes of the kernel, another utap. Each sees correct behaviour, or a refusal that names the other; the
# program's results are right and its text is the file's once all have gone, in whatever order.
#
#   beside.sh BUILD
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
. "$here/places.sh"

worker=$programs/worker
functions='handle_request worker_hash worker_lookup'
tracing=/sys/kernel/tracing
ours=(-e handle_request -e worker_hash -e worker_lookup)

# beside COMMAND ARGS...: utap in the background, its pid in $tracer; it has its probes in place when this returns
beside()
{
	local i

	"$utap" "$@" -p "$pid" > stdout 2> stderr < /dev/null &
	tracer=$!
	started_pids="$started_pids $tracer"
	for ((i = 0; i < 300; i++)); do
		grep -q memfd:utap "/proc/$pid/maps" 2> /dev/null && break
		sleep 0.01
	done
	sleep 0.1
}

# Waits for it; SIGNAL: after sending that.
beside_ends() # [SIGNAL]
{
	[ -z "${1:-}" ] || kill "-$1" "$tracer" 2> /dev/null
	wait "$tracer"
	code=$?
	started_pids=${started_pids/ $tracer/}
}

# in_gdb TEXT SECONDS: commands for gdb on the target; its output is in gdb.out. After SECONDS it is interrupted, and detaches.
in_gdb()
{
	printf 'set pagination off\nset confirm off\nset width 0\n%s\n' "$1" > gdb.commands
	timeout -k 5 -s INT "$2" gdb -nx -q -batch -p "$pid" -x gdb.commands > gdb.out 2>&1
}

address_of() # SYMBOL
{
	nm "$worker" | sed -n "s/^0*\([0-9a-f]*\) [Tt] $1\$/\1/p"
}

# Functions on the stacks that gdb showed, without numbers, addresses and arguments, a chain a line; without the last if it was cut off.
chains()
{
	sed -n -e 's/^#\([0-9]*\)  *\(0x[0-9a-f]* in \)\{0,1\}\([^ ]*\).*/\1 \3/p' gdb.out |
		awk '$1 == 0 { line = "" } { line = line " " $2 } $2 ~ /^(clone3|_start)$/ { print line }' | sort -u
}

# Offsets of some instructions of a function, for breakpoints: those after the first, and the last.
near() # FUNCTION
{
	instructions_of "$worker" "$1" | sed -n -e '2,4s/.*+//p' -e '$s/.*+//p'
}

have() # PROGRAM
{
	command -v "$1" > /dev/null && return
	skip "$1 is not installed"
	return 1
}

# ---- gdb ----

begin 'gdb comes while utap traces'
if have gdb; then
	target "$worker" 0 2
	beside stat --json -o counts -d 4 "${ours[@]}"
	in_gdb $'info threads\nthread apply all bt\ncontinue' 1.5
	grep -q 'clock_nanosleep' gdb.out || problem "gdb saw nothing: $(tail -3 gdb.out)"
	kill -0 "$tracer" || problem 'utap has gone'
	beside_ends
	expect_code 0
	[ "$(count_of handle_request counts)" -gt 0 ] || problem 'nothing was counted'
	as_before
	finish
fi
end

begin 'gdb breakpoints on probed functions, set and removed'
if have gdb; then
	target "$worker" 0 2
	beside stat --json -o counts -d 5 "${ours[@]}"
	in_gdb "$(for function in $functions; do
		echo "break *$function"
		printf 'commands\nsilent\nprintf "stop at %s\\n"\ncontinue\nend\n' "$function"
	done)
continue" 2
	for function in $functions; do
		[ "$(grep -c "stop at $function" gdb.out)" -gt 3 ] || problem "gdb did not stop at $function: $(tail -2 gdb.out)"
	done
	beside_ends
	expect_code 0
	for function in $functions; do
		[ "$(count_of "$function" counts)" -gt 0 ] || problem "$function was not counted"
	done
	as_before
	finish
fi
end

# Some of these instructions are part of a jump, which a breakpoint changes: the program must go on rightly, though gdb may not see it pass.
begin 'gdb breakpoints right behind probed places'
if have gdb; then
	target "$worker" 0 2
	beside stat --json -o counts -d 4 "${ours[@]}"
	in_gdb "$(for function in $functions; do
		for offset in $(near "$function"); do
			echo "break *($function+$offset)"
			printf 'commands\nsilent\nprintf "stop at %s\\n"\ncontinue\nend\n' "$function+$offset"
		done
	done)
continue" 2
	[ "$(grep -c 'stop at' gdb.out)" -gt 9 ] || problem "gdb did not stop: $(tail -2 gdb.out)"
	kill -0 "$pid" 2> /dev/null || problem "the program died: $(grep SIG gdb.out)"
	beside_ends
	expect_code 0
	as_before
	finish
fi
end

# Each second instruction of three functions is probed, gdb stops at those between.
begin 'gdb breakpoints between probed places, --debugger-safe'
if have gdb; then
	target "$worker" 0 2
	for function in $functions; do
		instructions_of "$worker" "$function" | awk 'NR % 2 == 1' | sed 's/^/-e /'
	done > places
	# shellcheck disable=SC2046
	beside stat -v --json -o counts -d 4 --debugger-safe $(cat places)
	in_gdb "$(for function in $functions; do
		instructions_of "$worker" "$function" | awk 'NR % 2 == 0' | while read -r place; do
			echo "break *($place)"
			printf 'commands\nsilent\nprintf "stop at %s\\n"\ncontinue\nend\n' "$place"
		done
	done)
continue" 2
	[ "$(grep 'stop at' gdb.out | sort -u | wc -l)" -gt 9 ] || problem "gdb did not stop: $(tail -2 gdb.out)"
	kill -0 "$pid" 2> /dev/null || problem "the program died: $(grep SIG gdb.out)"
	beside_ends
	expect_code 0
	grep -q 'places probed' stderr || problem "nothing is probed: $(tail -1 stderr)"
	grep -q -- '--debugger-safe' stderr || problem 'no short instruction is refused'
	! grep -q 'traces process' stderr || problem "it warns of what cannot happen: $(grep 'traces process' stderr)"
	as_before
	finish
fi
end

begin 'gdb comes where a breakpoint could break a jump: it is said'
if have gdb; then
	target "$worker" 0 2
	places=$(for function in $functions; do instructions_of "$worker" "$function"; done | sed 's/^/-e /')
	# shellcheck disable=SC2086
	beside stat --json -o counts -d 3 -e 'libc:*' $places
	in_gdb 'continue' 1
	beside_ends
	expect_code 0
	grep -q "gdb (pid [0-9]*) traces process $pid now: a breakpoint of it inside" stderr || problem "it is not said: $(tail -1 stderr)"
	as_before
	finish
fi
end

begin 'gdb backtraces through probed functions'
if have gdb; then
	stops=$'break worker_lookup\ncommands\nsilent\nbt\ncontinue\nend\nbreak free\ncommands\nsilent\nbt\ncontinue\nend\ncontinue'
	target "$worker" 0 2
	in_gdb "$stops" 2.5
	chains > untraced
	# worker_lookup's own entry and free are gdb's.
	beside stat --json -o counts -d 5 -e handle_request -e worker_hash -e serve -e 'libc:malloc' -e 'libc:strdup'
	in_gdb "$stops" 2.5
	beside_ends
	expect_code 0
	chains > traced
	grep -q 'worker_lookup handle_request serve' untraced || problem "gdb stopped nowhere: $(tail -3 gdb.out)"
	cmp -s untraced traced || problem "backtraces differ: $(diff untraced traced | head -5)"
	as_before
	finish
fi
end

begin 'gdb inside a probed function while utap ends'
if have gdb; then
	target "$worker" 0 2
	beside stat -d 1 "${ours[@]}"
	in_gdb $'break worker_lookup\ncontinue\nshell sleep 2\nbt\ndelete' 6
	beside_ends
	# Either it could clean up between two stops, or it says who is in the way and what to do.
	if [ "$code" != 0 ]; then
		expect_error 4 'gdb.*'
		run detach -p "$pid"
		expect_code 0
	fi
	as_before
	finish
fi
end

begin 'gdb is there first'
if have gdb; then
	target "$worker" 0 2
	gdb -nx -q -batch -p "$pid" -ex 'shell sleep 2' > gdb.out 2>&1 < /dev/null &
	other=$!
	started_pids="$started_pids $other"
	for ((i = 0; i < 200; i++)); do
		grep -q '^TracerPid:.[1-9]' "/proc/$pid/status" && break
		sleep 0.01
	done
	run stat -d 0.1 "${ours[@]}" -p "$pid"
	expect_error 4 "already traced by pid [0-9]+ \(gdb\)"
	wait "$other"
	run stat --json -d 0.1 "${ours[@]}" -p "$pid"
	expect_code 0
	as_before
	finish
fi
end

begin 'gdb is killed and leaves a breakpoint'
if have gdb; then
	target "$worker" 0 2
	gdb -nx -q -batch -p "$pid" -ex 'break worker_hash if 0' -ex 'continue' > gdb.out 2>&1 < /dev/null &
	other=$!
	started_pids="$started_pids $other"
	sleep 1.5
	run stat -d 0.1 -e handle_request -p "$pid"
	expect_error 4 '\(gdb\)'
	kill -KILL "$other" 2> /dev/null
	wait "$other" 2> /dev/null
	# Its int3 may be left: then the program dies by it, as it does without us.
	if kill -0 "$pid" 2> /dev/null; then
		run stat --json -d 0.1 "${ours[@]}" -p "$pid"
		[[ $code = [0356] ]] || problem "exit code $code: $(head -2 stderr)"
	fi
fi
end

# ---- strace ----

begin 'strace comes while utap traces'
if have strace; then
	target "$worker" 0 2
	beside stat --json -o counts -d 2 "${ours[@]}"
	timeout -s INT 0.7 strace -f -c -o strace.out -p "$pid" > /dev/null 2>&1
	grep -q nanosleep strace.out || problem "strace saw nothing: $(head -3 strace.out)"
	beside_ends
	expect_code 0
	[ "$(count_of handle_request counts)" -gt 0 ] || problem 'nothing was counted'
	as_before
	finish
fi
end

begin 'strace is there first'
if have strace; then
	target "$worker" 0 2
	strace -f -o strace.out -p "$pid" > /dev/null 2>&1 < /dev/null &
	other=$!
	started_pids="$started_pids $other"
	for ((i = 0; i < 200; i++)); do
		grep -q '^TracerPid:.[1-9]' "/proc/$pid/status" && break
		sleep 0.01
	done
	run stat -d 0.1 "${ours[@]}" -p "$pid"
	expect_error 4 "already traced by pid $other \(strace\)"
	kill -INT "$other"
	wait "$other"
	run stat --json -d 0.1 "${ours[@]}" -p "$pid"
	expect_code 0
	as_before
	finish
fi
end

begin 'strace stays while utap ends'
if have strace; then
	target "$worker" 0 2
	beside stat -d 1 "${ours[@]}"
	strace -f -c -o strace.out -p "$pid" > /dev/null 2>&1 < /dev/null &
	other=$!
	started_pids="$started_pids $other"
	beside_ends
	expect_error 4 "already traced by pid $other \(strace\)"
	kill -0 "$pid" 2> /dev/null || problem 'the program died'
	kill -INT "$other"
	wait "$other"
	run detach -p "$pid"
	expect_code 0
	as_before
	finish
fi
end

# ---- uprobes of the kernel ----

uprobe_off()
{
	[ -d $tracing/events/utap_test ] || return
	for enable in $tracing/events/utap_test/*/enable; do
		echo 0 > "$enable"
	done
	sed 's,^ *,,' $tracing/uprobe_profile | sed -n 's,.* \(at_[a-z_0-9]*\)  *\([0-9]*\).*,\1 \2,p' > profile
	for event in $tracing/events/utap_test/at_*; do
		echo "-:utap_test/${event##*/}" >> $tracing/uprobe_events
	done
}

# An uprobe at a function of the worker, or at OFFSET from it.
uprobe_on() # FUNCTION [OFFSET]
{
	local offset
	offset=$("$utap" list "$worker" | awk -v name="$1" '$3 == name { print $1 }')

	printf 'p:utap_test/at_%s %s:0x%x\n' "$1${2:+_$2}" "$worker" $((offset + ${2:-0})) >> $tracing/uprobe_events &&
		echo 1 > "$tracing/events/utap_test/at_$1${2:+_$2}/enable"
}

may_uprobe()
{
	[ "$(id -u)" = 0 ] || { skip 'needs root (uprobes of the kernel)'; return 1; }
	[ -w $tracing/uprobe_events ] || { skip "$tracing is not mounted"; return 1; }
}

kernel_hits() { sed -n "s/^at_$1 //p" profile; }

begin "the kernel's uprobes are there first"
if may_uprobe; then
	target "$worker" 0 2
	uprobe_on worker_hash
	sleep 0.1
	run stat -d 0.1 -e worker_hash -p "$pid"
	expect_error 5 'worker_hash.*(kernel probe|uprobe)'
	run stat --json -o counts -d 0.3 -e worker_lookup -e handle_request -p "$pid" # others of the same page
	expect_code 0
	[ "$(count_of worker_lookup counts)" -gt 0 ] || problem 'nothing was counted beside them'
	uprobe_off
	[ "$(kernel_hits worker_hash)" -gt 0 ] || problem 'the kernel counted nothing'
	run stat --json -o counts -d 0.1 "${ours[@]}" -p "$pid"
	expect_code 0
	as_before files # it leaves its own page
	finish
	uprobe_off
fi
end

begin "the kernel's uprobes on other places of a page, while utap traces"
if may_uprobe; then
	target "$worker" 0 2
	beside stat --json -o counts -d 1.5 -e worker_lookup -e handle_request
	uprobe_on worker_hash
	sleep 0.3
	uprobe_off
	[ "$(kernel_hits worker_hash)" -gt 0 ] || problem 'the kernel counted nothing'
	beside_ends
	expect_code 0
	[ "$(count_of worker_lookup counts)" -gt 0 ] || problem 'nothing was counted'
	as_before files # it leaves its own page
	finish
	uprobe_off
fi
end

begin "the kernel's uprobes come and go on probed places"
if may_uprobe; then
	target "$worker" 0 2
	beside stat --json -o counts -d 2 "${ours[@]}"
	for function in $functions; do
		uprobe_on "$function"
	done
	sleep 1
	uprobe_off
	for function in $functions; do
		[ "$(kernel_hits "$function")" -gt 0 ] || problem "the kernel counted nothing at $function"
	done
	sleep 0.1
	kill -0 "$pid" 2> /dev/null || problem 'the program died when the kernel took its probes out'
	beside_ends
	expect_code 0
	as_before files # it leaves its own page
	finish
	uprobe_off
fi
end

begin "the kernel's uprobes come on probed places and stay longer"
if may_uprobe; then
	target "$worker" 0 2
	beside stat --json -o counts -d 0.5 "${ours[@]}"
	for function in $functions; do
		uprobe_on "$function"
	done
	beside_ends
	expect_code 0
	sleep 0.1
	uprobe_off
	sleep 0.1
	kill -0 "$pid" 2> /dev/null || problem 'the program died when the kernel took its probes out'
	run detach -p "$pid"
	expect_code 0
	as_before files # it leaves its own page
	finish
	uprobe_off
fi
end

# ---- another utap ----

begin 'two utaps'
target "$worker" 0 2
beside stat --json -o counts -d 1.5 -e handle_request
run stat -d 0.1 -e worker_hash -p "$pid"
expect_error 5 "already probed by utap pid $tracer"
run record -q -o data -d 0.1 -e handle_request -p "$pid"
expect_error 5 "already probed by utap pid $tracer"
run detach -p "$pid"
expect_error 5 "utap pid $tracer still probes"
beside_ends
expect_code 0
[ "$(count_of handle_request counts)" -gt 0 ] || problem 'nothing was counted'
run stat --json -d 0.1 -e worker_hash -p "$pid"
expect_code 0
as_before
finish
end

begin 'two utaps at the same moment'
target "$worker" 0 2
for ((i = 0; i < 10 && problems == 0; i++)); do
	for which in one two; do
		"$utap" stat -q -d 0.1 "${ours[@]}" -p "$pid" > /dev/null 2> "stderr.$which" &
		eval "$which=\$!"
	done
	wait "$one"
	code_one=$?
	wait "$two"
	code_two=$?
	case $code_one$code_two in
	00) ;; # one after the other
	0[45] | [45]0 | [45][45]) ;; # both may meet the other
	*) problem "exit codes $code_one and $code_two: $(cat stderr.one stderr.two)" ;;
	esac
	[ $code_one = 0 ] || grep -q 'utap' stderr.one || problem "the first does not name the other: $(cat stderr.one)"
	[ $code_two = 0 ] || grep -q 'utap' stderr.two || problem "the second does not name the other: $(cat stderr.two)"
done
as_before
finish
end

summary
