#!/bin/bash
# SPDX-License-Identifier: MIT
# Calls, at their entries and returns, however they end: the program counts itself, and computes what it computes unprobed.
#
#   returns.sh BUILD
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

calls=$programs/calls
throws=$programs/throws
every="calls:probed_*"

# count FIELD: what the program says of itself in the file counts
count() { sed -n "s/.*$1=\(-\{0,1\}[0-9]*\).*/\1/p" counts; }
# note WORD: the number before the word in the notes about calls
note() { sed -n "s/.* \([0-9]*\) $1.*/\1/p" stderr | tail -1; }

# ends MODE PROGRAM: with all its functions probed the program's output is the same, and each entry has the end it had
ends()
{
	local mode=$1 program=$2 entered returned tailed left

	"$program" "$mode" counts > want.out 2>&1 || problem "the program itself fails: $(head -2 want.out)"
	run trace --duration --json --ring 32M -o records -e "${program##*/}:probed_*" -- "$program" "$mode" counts
	expect_code 0
	cmp -s stdout want.out || problem "output differs: $(head -2 stdout), want $(head -2 want.out)"
	grep -q 'not probed' stderr && problem "$(grep 'not probed' stderr | head -2)"
	grep -q ' 0 lost' stderr || problem "records were lost: $(tail -3 stderr)"
	entered=$(count entered) returned=$(count returned) tailed=$(count tailed)
	left=$((entered - returned - tailed))
	[ "$left" -ge 0 ] || left=0
	[ "$(note 'calls entered')" = "$entered" ] || problem "$(note 'calls entered') entries, want $entered"
	[ "$(note returns)" = "$returned" ] || problem "$(note returns) returns, want $returned"
	[ "$(note 'tail calls')" = "$tailed" ] || problem "$(note 'tail calls') tail calls, want $tailed"
	[ "$(note abandoned)" = "$left" ] || problem "$(note abandoned) abandoned, want $left"
	[ "$(note 'still open')" = 0 ] || problem "$(note 'still open') still open"
	[ "$(grep -c '"how":"return"' records)" = "$((returned - $(grep -c '"how":"unpaired"' records)))" ] ||
		problem "the lines do not add up"
}

for mode in plain threads recursion longjmp signals cancel coroutines vfork; do
	begin "calls $mode"
	ends "$mode" "$calls"
	grep -q '"how":"unpaired"' records && problem 'ends without an entry'
	end
done

# Both processes return from fork(): the child's entry was its parent's.
begin 'calls fork'
ends fork "$calls"
[ "$(grep -c '"how":"unpaired"' records)" = 20 ] || problem "$(grep -c '"how":"unpaired"' records) ends without an entry, want 20"
end

for mode in one threads; do
	begin "calls left by C++ exceptions, $mode"
	if [ -x "$throws" ]; then
		ends "$mode" "$throws"
	else
		skip 'it was not built (g++ is not installed)'
	fi
	end
done

begin 'calls durations'
run trace --duration --json -o records -e "calls:probed_sleep" -- "$calls" sleep counts
expect_code 0
sed -n 's/.*"duration_ns":\([0-9]*\).*/\1/p' records > durations
[ "$(wc -l < durations)" = 2 ] || problem "$(wc -l < durations) durations, want 2"
while read -r ns; do
	[ "$ns" -ge 30000000 ] && [ "$ns" -lt 1000000000 ] || problem "a call that sleeps 30 ms took $ns ns"
done < durations
end

begin 'return values'
run trace --json --ring 16M -o records -e 'r:value calls:probed_value r=$retval:s64' -- "$calls" plain counts
expect_code 0
sum=$(sed -n 's/.*"r":\(-\{0,1\}[0-9]*\).*/\1/p' records | awk '{ s += $1 } END { printf "%d", s }')
[ "$sum" = "$(count results)" ] || problem "the values returned add up to $sum, want $(count results)"
[ "$(grep -c '"how":"return","args":{"r":' records)" = 7500 ] || problem "not 7500 returns"
grep -v '"caller_symbol":"\(run_\)\{0,1\}plain"' records > others && problem "a caller is wrong: $(head -1 others)"
end

begin 'tail calls have no value'
run trace --json -o records -e 'r:tail calls:probed_maybe_tail r=$retval:s64' -- "$calls" plain counts
[ "$(grep -c '"how":"tail","args":{"r":null}' records)" = 1500 ] || problem "$(grep -c tail records) tail calls, want 1500"
[ "$(grep -c '"how":"return","args":{"r":[0-9]*}' records)" = 1500 ] || problem 'not 1500 returns'
run trace -q -o records -e 'r:tail calls:probed_maybe_tail r=$retval:s64' -n 4 -- "$calls" plain counts
grep -q -E ': tail: \([a-z_]+\+0x[0-9a-f]+ <- probed_maybe_tail\) r=\? \(tail call\)$' records || problem "text: $(head -2 records)"
grep -q -E ': tail: \([a-z_]+\+0x[0-9a-f]+ <- probed_maybe_tail\) r=0$' records || problem "text: $(head -2 records)"
end

begin 'entry and return as two events'
run trace --json --ring 16M -o records -e 'p:in calls:probed_value n=%di:s64' -e 'r:out calls:probed_value r=$retval:s64' -- "$calls" plain counts
[ "$(grep -c '"event":"in"' records)" = 7500 ] || problem "$(grep -c '"event":"in"' records) entries"
[ "$(grep -c '"event":"out"' records)" = 7500 ] || problem "$(grep -c '"event":"out"' records) returns"
end

begin 'returns counted'
run stat --json -e "calls:probed_value%return" -e "calls:probed_tail%return" -- "$calls" threads counts
expect_code 0
sed -i '/^threads/d' stdout
expect_hits probed_value__return 59999
[ "$(hits 'probed_[a-z]*__return')" = 84000 ] || problem "$(hits 'probed_[a-z]*__return') returns, want 84000"
end

begin 'call graph'
run trace --graph -q -o tree -e "calls:probed_*" -- "$calls" longjmp counts
expect_code 0
sed -n 's/^.*\] | //p' tree > lines
grep -q '^  probed_jumper() {$' lines || problem "no nested call: $(head -5 lines)"
grep -q '/\* probed_jumper: abandoned \*/' lines || problem "nothing is abandoned: $(head -5 lines)"
run trace --graph -q -o tree -e calls:probed_value -e calls:probed_tail -- "$calls" plain counts
sed -n 's/^ *[0-9.]* us \[ *[0-9]*\] | //p' tree | head -3 > lines
printf '%s\n' 'probed_value();' 'probed_tail(); /* tail call */' 'probed_value();' > want
cmp -s lines want || problem "the tree is: $(cat lines)"
run trace --graph -q --ring 32M -o tree -e 'calls:probed_recursion n=%di:u64' -- "$calls" recursion counts
[ "$(grep -c ' probed_recursion(n=[0-9]*) {$' tree)" = 100000 ] || problem "$(grep -c '{$' tree) calls with calls in them"
[ "$(grep -c ' probed_recursion(n=0);$' tree)" = 1 ] || problem 'the innermost call is not on one line'
[ "$(grep -c '} /\* probed_recursion \*/$' tree)" = 100000 ] || problem "$(grep -c '}' tree) ends"
end

begin 'latencies'
run stat --latency --json -e 'calls:probed_*' -- "$calls" plain counts
expect_code 0
sed -i '/^plain/d' stdout
for want in probed_value:7500 probed_tail:3000 probed_maybe_tail:3000 probed_sleep:0; do
	got=$(tr '{' '\n' < stdout | sed -n "s/^\"event\":\"${want%:*}\".*\"calls\":\([0-9]*\),.*/\1/p")
	[ "$got" = "${want#*:}" ] || problem "$got calls of ${want%:*}, want ${want#*:}"
done
python3 -c '
import json, sys
for f in json.load(open("stdout"))["functions"]:
    assert f["min_ns"] <= f["p50_ns"] <= f["p90_ns"] <= f["p99_ns"] <= f["max_ns"], f
    assert f["calls"] * f["min_ns"] <= f["total_ns"] <= f["calls"] * f["max_ns"], f
    assert sum(h["calls"] for h in f["histogram"]) == f["calls"], f
' 2> python.err || problem "$(tail -1 python.err)"
run stat --latency -v -e calls:probed_sleep -- "$calls" sleep counts
grep -q -E '^ +2 +3[0-9]\.[0-9]{3} ms .*calls:probed_sleep$' stdout || problem "the table: $(sed -n 2,3p stdout)"
grep -q -E '16\.777 ms \.\. +33\.554 ms +2 \|@+\|' stdout || grep -q -E '33\.554 ms \.\.' stdout || problem "no bars: $(cat stdout)"
end

begin 'a recording of returns is read by perf and by utap'
run record -o data -e 'r:grp/ret calls:probed_value r=$retval:s64 $retval:u8' -e 'r:grp/tail calls:probed_tail' -- "$calls" plain counts
expect_code 0
"$utap" script -i data > ours 2> script.err || problem "utap script: $(head -2 script.err)"
[ "$(grep -c ': ret: ([a-z_]*+0x[0-9a-f]* <- probed_value) r=-\{0,1\}[0-9]* arg2=[0-9]*$' ours)" = 7500 ] || problem "utap script: $(sed -n 5,6p ours)"
[ "$(grep -c ': tail: ([a-z_]*+0x[0-9a-f]* <- probed_tail) (tail call)$' ours)" = 3000 ] || problem "utap script: $(grep tail ours | head -1)"
if command -v perf > /dev/null; then
	perf script -i data > theirs 2> perf.err || problem "perf script: $(head -2 perf.err)"
	[ "$(grep -c 'grp:ret: ([0-9a-f]* <- [0-9a-f]*) r=-\{0,1\}[0-9]* arg2=[0-9]*$' theirs)" = 7500 ] || problem "perf script: $(head -1 theirs)"
	[ "$(grep -c 'grp:tail: ([0-9a-f]* <- [0-9a-f]*) (tail call)$' theirs)" = 3000 ] || problem "perf script: $(grep tail theirs | head -1)"
	sed -n 's/.*grp:ret: ([0-9a-f]* <- \([0-9a-f]*\)) \(r=.*\)/\1 \2/p' theirs > theirs.values
	"$utap" script --json -i data |
		sed -n 's/.*"event":"ret".*"caller":"0x\([0-9a-f]*\)".*"r":\(-*[0-9]*\),"arg2":\([0-9]*\).*/\1 r=\2 arg2=\3/p' > ours.values
	cmp -s theirs.values ours.values || problem 'perf reads other values or callers'
else
	skip 'perf is not installed'
fi
end

# What gdb sees of a thread that is deep inside probed functions, by name.
backtrace()
{
	gdb -q -batch -p "$pid" -ex bt 2> /dev/null | sed -n 's/^#\([0-9]*\) .*\(probed_pause\|run_pause\|main\|pause\) (.*/\1 \2/p'
}

begin 'backtrace through probed functions'
if command -v gdb > /dev/null; then
	target "$calls" pause counts
	backtrace > want
	grep -q -c '7 run_pause\|8 main' want || problem "gdb does not see the stack: $(cat want)"
	"$utap" trace --duration --json -o records -p "$pid" -e "$every" > stdout 2> stderr &
	tracer=$!
	started_pids="$started_pids $tracer"
	for ((i = 0; i < 300; i++)); do
		grep -q memfd:utap "/proc/$pid/maps" && break
		sleep 0.02
	done
	sleep 0.3 # the probes are in
	backtrace > got
	cmp -s want got || problem "the backtrace is: $(cat got), want $(cat want)"
	kill -TERM "$pid"
	wait "$pid"
	kill -INT "$tracer" 2> /dev/null
	wait "$tracer"
	[ "$(grep -c '"how":"unpaired"' records)" = 6 ] || problem "the returns of calls that began before: $(tail -2 stderr)"
	grep -q '^pause 15$' target.out || problem "its result is $(tail -1 target.out)"
else
	skip 'gdb is not installed'
fi
end

begin 'each instruction of a function'
run stat --json -e 'calls:probed_value:*' -- "$calls" plain counts
expect_code 0
sed -i '/^plain/d' stdout
[ "$(hits probed_value)" = 7500 ] || problem "its first instruction: $(hits probed_value) hits"
instructions=$(objdump -d --no-show-raw-insn "$calls" | awk '/<probed_value>:/ { on = 1; next } /^$/ { on = 0 } on && !/nop|endbr/ { n++ } END { print n }')
got=$(grep -o '"event":"probed_value' stdout | wc -l)
[ "$got" -ge "$((instructions * 9 / 10))" ] || problem "$got of $instructions instructions: $(grep -c 'not probed' stderr) refused"
run stat --json --all-instructions -e 'calls:probed_value' -- "$calls" plain counts
sed -i '/^plain/d' stdout
[ "$(grep -o '"event":"probed_value' stdout | wc -l)" = "$got" ] || problem '--all-instructions probes others'
run stat --json -e 'probed_value:*' -- "$calls" plain counts
sed -i '/^plain/d' stdout
[ "$(grep -o '"event":"probed_value' stdout | wc -l)" = "$got" ] || problem 'SYMBOL:* probes others'
end

# A line a function in counts: name, returns, abandoned.
begin 'calls of Go: stacks that move, goroutines, panics'
if command -v go > /dev/null; then
	if GO111MODULE=off GOFLAGS=-buildvcs=false GOCACHE=$work/../utap-go-cache go build -o grow "$here/../programs/grow.go" 2> log; then
		./grow counts > want.out
		run trace --duration --json --ring 32M -o records -e 'grow:main.grow*' -e 'grow:main.yield' -e 'grow:main.mayPanic' -- ./grow counts
		expect_code 0
		cmp -s stdout want.out || problem "output differs: $(head -2 stdout), want $(cat want.out)"
		probed=0
		while read -r function returned left; do
			grep -q "not probed: $function+" stderr && continue
			probed=$((probed + 1))
			[ "$(grep -c "\"symbol\":\"$function\".*\"how\":\"return\"" records)" = "$returned" ] ||
				problem "$function: not $returned returns: $(grep "\"symbol\":\"$function\"" records | sed 's/.*"how":"\([a-z]*\)".*/\1/' | sort | uniq -c | tr '\n' ' ')"
			[ "$(grep -c "\"symbol\":\"$function\".*\"how\":\"abandoned\"" records)" = "$left" ] || problem "$function: not $left abandoned"
		done < counts
		[ "$probed" -ge 2 ] || problem "only $probed of its functions could be probed: $(head -3 stderr)"
		grep -q unpaired records && problem "ends without an entry: $(grep unpaired records | head -1)"
	else
		skip "it does not compile: $(head -1 log)"
	fi
else
	skip 'go is not installed'
fi
end

begin 'numbers of goroutines'
cat > numbers.go << 'EOF'
package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
)

//go:noinline
func number(n int) string {
	text := make([]byte, 64)
	return strings.Fields(string(text[:runtime.Stack(text, false)]))[1]
}

func main() {
	out, _ := os.Create(os.Args[1])
	var all sync.WaitGroup
	var lock sync.Mutex
	for i := 0; i < 30; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			text := number(i)
			lock.Lock()
			fmt.Fprintln(out, text)
			lock.Unlock()
		}()
	}
	all.Wait()
}
EOF
if command -v go > /dev/null && GO111MODULE=off GOFLAGS=-buildvcs=false GOCACHE=$work/../utap-go-cache go build -o numbers numbers.go 2> log; then
	run trace -q --json -o records -e 'numbers:main.number g=$goid' -- ./numbers want.numbers
	expect_code 0
	sed 's/.*"g":"*\([0-9]*\).*/\1/' records | sort -n > got.numbers
	sort -n want.numbers | cmp -s - got.numbers || problem "not its own numbers: $(head -3 records; head -3 want.numbers)"
	[ "$(wc -l < got.numbers)" = 30 ] || problem "$(wc -l < got.numbers) records, not 30"
else
	skip 'go is not installed, or does not compile it'
fi
run trace -e 'calls:probed_value $goid' -- "$calls" plain counts
expect_error 5 'it is no Go program'
end

begin 'returns that cannot be had are refused by name'
run trace -e 'r:x calls:probed_value+4' -p $$
expect_error 2 'a return probe is of a whole function'
run trace -e 'r:x calls:main $retvalue' -p $$
expect_error 2 "there is no '.retvalue'"
run trace -e 'libc:exit%return' -- "$calls" plain counts
expect_error 5 'it never returns'
end

summary
