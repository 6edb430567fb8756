#!/bin/bash
# SPDX-License-Identifier: MIT
# User stacks along frame pointers, by tables and copied: at each instruction of a function, at its entry and behind its returns, in threads, in signal
# handlers and deep in recursion, compared with gdb's backtrace at the same places; where there is nothing to follow; full rings; a killed utap.
#
#   stacks.sh BUILD
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

fixed='setarch -R'
python=$(command -v python3)
can_compare()
{
	command -v gdb > /dev/null && [ -n "$python" ] && $fixed true 2> /dev/null && return
	skip 'gdb, python3 or setarch -R is not there'
	return 1
}

# gdb_stacks PROGRAM MODE CALLS [STEPS]: what gdb sees, in the file gdb.out
gdb_stacks()
{
	MODE=$2 CALLS=$3 STEPS=${4:-1} timeout -k 5 100 gdb -q -batch -x "$here/stacks_gdb.py" "$1" > gdb.out 2> gdb.err < /dev/null ||
		problem "gdb failed: $(tail -2 gdb.err)"
}

# stacks MODE ARGS..: utap's, in the file stdout; addresses as gdb has them
stacks()
{
	timeout -k 5 60 $fixed "$utap" trace --json -o records "$@" > stdout 2> stderr < /dev/null
	code=$?
	expect_code 0
	grep -q ' 0 lost' stderr || problem "records were lost: $(tail -1 stderr)"
}

compare()
{
	"$python" "$here/stacks_compare.py" gdb.out records "$@" > compared || problem "$(head -3 compared)"
}

for program in stacks stacks-O2 stacks-omit; do
	kinds='fp cfi raw,30000'
	[ $program = stacks-omit ] && kinds='cfi raw,30000'
	for mode in nest thread signal altstack; do
		begin "stacks, $program $mode"
		if can_compare; then
			gdb_stacks "$programs/$program" "$mode" 1
			[ $mode = altstack ] && kinds=${kinds% raw*} # a copy is of one stack
			for kind in $kinds; do
				stacks "--stack=$kind" -e "$program:probed_leaf:*" -- "$programs/$program" "$mode" 1
				compare inside
				stacks "--stack=$kind" -e "$program:probed_leaf%return" -- "$programs/$program" "$mode" 1
				compare returned
			done
		fi
		end
	done

	begin "stacks, $program through probed functions"
	if can_compare; then
		gdb_stacks "$programs/$program" nest 2 0
		for kind in $kinds; do
			stacks "--stack=$kind" -e "$program:probed_leaf" -e "$program:nest_*%return" -e "$program:main:*" -e "$program:run" \
				-- "$programs/$program" nest 2
			grep '"event":"probed_leaf"' records > some && mv some records
			compare inside
		done
	fi
	end

	begin "stacks, $program deep"
	if can_compare; then
		gdb_stacks "$programs/$program" deep 1 0
		for kind in ${kinds% *}; do
			stacks --stack=$kind,512 -e "$program:probed_leaf" -- "$programs/$program" deep 1
			compare inside 512
			[ "$(grep -o '"addr"' records | wc -l)" = 512 ] || problem "not 512 addresses"
			grep -q '"short":\["stack"\]' records || problem "it is not said that the stack goes on"
			run trace --stack=$kind -e "$program:probed_leaf" -- "$programs/$program" deep 1
			[ "$(grep -c '^ => ' stdout)" = 65 ] || problem "$(grep -c '^ => ' stdout) lines, want 64 addresses and ..."
			[ "$(grep '^ => ' stdout | tail -1)" = ' => ...' ] || problem "the last line is not ..."
		done
	fi
	end
done

begin 'fp stacks of callers that keep no frame pointer'
run trace --json -o records --stack=fp -e stacks:probed_leaf -- "$programs/stacks" junk 1
expect_code 0
[ "$(wc -l < records)" = 5 ] || problem "$(wc -l < records) records, want 5"
[ "$(grep -c '"short":\["stack"\],"stack":\[{[^}]*"probed_leaf"[^}]*},{[^}]*"junk_call"[^}]*}\]' records)" = 5 ] ||
	problem "they do not end in junk_call: $(head -1 records)"
end

begin 'stacks as text'
run trace --stack=fp,3 -e 'stacks:probed_leaf n=%di:s64' -- "$programs/stacks" nest 1
expect_code 0
grep -q 'probed_leaf: (probed_leaf+0x0) n=1$' stdout || problem "the event is not a line of its own"
grep -q '<user stack trace>$' stdout || problem "no stack is announced"
grep '^ => ' stdout > lines
printf ' => probed_leaf+0x0 (stacks)\n => nest_three (stacks)\n => nest_two (stacks)\n => ...\n' > want
sed 's/\(nest_[a-z]*\)+0x[0-9a-f]* /\1 /' lines | cmp -s - want || problem "$(head -4 lines)"
end

begin 'copied stacks'
run trace --json -o records --stack=raw,16 -e 'stacks:probed_leaf' -- "$programs/stacks" nest 1
expect_code 0
[ "$(grep -c '"short":\["stack"\],"stack":\[{[^}]*"probed_leaf"[^}]*},{[^}]*"nest_three"[^}]*}\]' records)" = 1 ] ||
	problem "two words of the stack do not end in the caller: $(head -c 600 records)"
run trace --json -o records --stack=raw,60000 -e stacks:probed_leaf -- "$programs/stacks" nest 1
expect_code 0
grep -q '"short"' records && problem "the stack's end was not noticed"
end

begin 'stacks recorded'
target "$programs/stacks" loop
for way in '' --overwrite; do
	run record -o perf.data $way -d 0.3 --stack=fp -e 'stacks:probed_leaf n=%di:s64' -p "$pid"
	expect_code 0
	run script -i perf.data
	expect_code 0
	events=$(grep -c 'probed_leaf: (' stdout)
	[ "$events" -gt 10 ] || problem "$events events $way"
	for line in '<user stack trace>$' '^ => probed_leaf+0x0 (stacks)' '^ => nest_three+0x' '^ => main+0x'; do
		[ "$(grep -c "$line" stdout)" = "$events" ] || problem "$(grep -c "$line" stdout) of $events: $line $way"
	done
done
as_before
finish
end

begin 'stacks of followed programs'
run trace -f --json -o records --stack=fp -e stacks:probed_leaf -- /bin/sh -c "$programs/stacks nest 2; true"
expect_code 0
[ "$(grep -c '"symbol":"nest_one"' records)" = 2 ] || problem "$(head -c 300 records)"
end

begin 'stacks of a Go program'
if ! command -v go > /dev/null; then
	skip 'go is not installed'
elif ! HOME=$work GOFLAGS=-mod=mod GO111MODULE=off GOCACHE=${GOCACHE:-$work/cache} go build -o gostacks "$here/../programs/stacks.go" 2> stderr; then
	problem "it was not built: $(head -3 stderr)"
else
	for kind in fp cfi raw,30000; do
		run trace --json -o records --stack=$kind -e gostacks:main.probed -- ./gostacks
		expect_code 0
		"$python" - stdout records << 'EOF' || problem "$kind: not what runtime.Callers says: $(head -1 stdout) $(head -c 600 records)"
import json, sys
wanted = [[int(x, 16) for x in line.split()] for line in open(sys.argv[1]) if line.startswith("0x")]
got = [[int(f["addr"], 16) for f in json.loads(line)["stack"]] for line in open(sys.argv[2])]
assert len(wanted) == len(got) > 2, (len(wanted), len(got))
for want, have in zip(wanted, got):
    assert have[1:] == want, ([hex(x) for x in have], [hex(x) for x in want])
EOF
	done
fi
end

begin 'stacks and a full ring'
run record -o perf.data --ring 4K --stack=fp -e stacks-O2:probed_leaf -- "$programs/stacks-O2" nest 300000
expect_code 0
read -r events lost < <(sed -n 's/.*[^0-9]\([0-9]*\) events, \([0-9]*\) lost.*/\1 \2/p' stderr)
[ $((${events:-0} + ${lost:-0})) = 300000 ] || problem "$events events and $lost lost are not 300000"
[ "${lost:-0}" -gt 0 ] || skip 'nothing was lost'
end

# All that is recorded begins as it must, also where a signal came while another stack was being walked.
for kind in fp cfi raw,1024; do
	begin "stacks of many threads and signals, $kind"
	run trace --json --ring 32M -o records --stack=$kind -e stacks-O2:probed_leaf -- "$programs/stacks-O2" crowd 4000
	expect_code 0
	calls=$(sed -n 's/^calls //p' stdout)
	grep -q " $calls events, 0 lost" stderr || problem "$(tail -1 stderr), want $calls"
	[ "$calls" -gt 24000 ] || skip "no signal came"
	"$python" - records << 'EOF' > differ || problem "$(head -c 600 differ)"
import json, sys
bad = handled = 0
for line in open(sys.argv[1]):
    names = [frame.get("symbol") for frame in json.loads(line)["stack"]]
    ok = names[:4] == ["probed_leaf", "nest_three", "nest_two", "nest_one"] and names[4] in ("in_crowd", "on_signal")
    handled += names[4:5] == ["on_signal"]
    if not ok or len(names) < 6:
        bad += 1
        print(names, line[:300])
if not handled:
    print("no stack of a handler")
sys.exit(1 if bad or not handled else 0)
EOF
	end
done

begin 'stacks where utap is killed at any time'
if target "$programs/stacks-O2" loop; then
	for ((round = 0; round < 12; round++)); do
		kind=$([ $((round % 2)) = 0 ] && echo fp || echo cfi)
		"$utap" trace -o records --stack="$kind" -e stacks-O2:probed_leaf:* -e 'libc:*sleep' -p "$pid" > stdout 2> stderr &
		killed=$!
		sleep "0.$(printf %03d $((RANDOM % 150)))"
		kill -KILL "$killed"
		wait "$killed" 2> /dev/null
		kill -0 "$pid" || problem "the target is gone in round $round, $kind"
		sleep 0.02
		run detach -p "$pid"
		[ "$code" = 0 ] || [ "$code" = 3 ] || problem "detach says $code: $(head -1 stderr)"
	done
	as_before
	finish
fi
end

begin 'stacks where utap is killed'
if target "$programs/stacks-O2" loop; then
	"$utap" trace -o records --stack=fp -e stacks-O2:probed_leaf -p "$pid" > stdout 2> stderr &
	killed=$!
	sleep 0.5
	kill -KILL "$killed"
	wait "$killed" 2> /dev/null
	sleep 0.1
	kill -0 "$pid" || problem "the target is gone"
	run detach -p "$pid"
	expect_code 0
	as_before
	run trace --json -o records -n 3 --stack=fp -e stacks-O2:probed_leaf -p "$pid"
	expect_code 0
	[ "$(grep -c '"symbol":"nest_three"' records)" = 3 ] || problem "no stacks afterwards"
	as_before
	finish
fi
end

# A copy of a file has its own address, and all records of a probe say the first one's.
begin 'stacks in libraries that come and go, and in copies'
for mode in cycle copies; do
	target "$programs/loader" "$mode" "$programs/plugin.so"
	"$utap" trace --json -o records --stack=fp -e "$programs/plugin.so:plugin_step" -p "$pid" > stdout 2> stderr &
	tracer=$!
	for ((i = 0; i < 300; i++)); do
		grep -q 'waits until it does' stderr && break
		sleep 0.01
	done
	sleep 0.1
	kill -USR1 "$pid"
	for ((i = 0; i < 500; i++)); do
		grep -q '^calls' target.out && break
		sleep 0.01
	done
	finish
	wait "$tracer"
	[ -s records ] || problem "no records: $(tail -3 stderr)"
	grep -v '"stack":\[{"addr":"0x[0-9a-f]*","symbol":"plugin_step","offset":0,' records > others &&
		problem "$mode: a stack does not start at the place: $(head -1 others)"
	if [ "$mode" = copies ]; then
		[ "$(grep -c 'another copy of the file' stderr)" = 2 ] || problem "the copies are not refused: $(tail -3 stderr)"
	else
		grep -q ' 2080 events, 0 lost' stderr || problem "$(tail -1 stderr), want 2080"
	fi
done
end

begin 'stacks refused'
run trace --stack=fp --duration -e stacks:probed_leaf -- "$programs/stacks" nest
expect_error 2 'stack is for single hits'
run stat --stack=fp -e stacks:probed_leaf -- "$programs/stacks" nest
expect_error 2 'stack'
run top --stack fp -e stacks:probed_leaf -- "$programs/stacks" nest
expect_error 2 'stack'
for value in dwarf fp, fp,0 fp,513 raw,60001 raw,x '' fpx; do
	run trace --stack="$value" -e stacks:probed_leaf -- "$programs/stacks" nest
	expect_error 2 'stack'
done
end

summary
