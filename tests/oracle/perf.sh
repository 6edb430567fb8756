#!/bin/bash
# SPDX-License-Identifier: MIT
# perf reads what utap records, and the target itself says how much there must be.
#
#   perf.sh BUILD: PASS, FAIL and SKIP lines
set -u
build=$(realpath "${1:?build directory}")
utap=$build/utap
worker=$build/tests/oracle/oracle-worker
dir=$(mktemp -d /tmp/utap-perf.XXXXXX)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
failed=0

pass() { echo "PASS perf $*"; }
fail() {
	echo "FAIL perf $*"
	failed=1
}

# same NAME EXPECTED GOT
same() {
	if [ "$2" = "$3" ]; then
		pass "$1: $3"
	else
		fail "$1: expected $2, got $3"
	fi
}

called() { sed -n "s/^$1 //p" out; } # how often the worker says that it called a function

# silent NAME FILE: no warning, no error
silent() {
	if [ -s "$2" ]; then
		fail "$1 complains: $(head -2 "$2")"
	else
		pass "$1 does not complain"
	fi
}

# Counts of four threads, exact.
"$utap" stat -q --json -e handle_request -e worker_hash -e worker_lookup -o stat.json -- "$worker" 1 4 > out 2> err ||
	fail "stat: $(head -1 err)"
grep -q EXIT-SUCCESS out || fail "stat: the worker did not end well: $(tail -1 out)"
for function in handle_request worker_hash worker_lookup; do
	hits=$(grep -o "\"event\":\"$function\"[^}]*" stat.json | sed 's/.*"hits":\([0-9]*\).*/\1/')
	same "stat of $function as the program counted" "$(called $function)" "$hits"
done

if ! command -v perf > /dev/null; then
	echo 'SKIP perf: perf is not installed (linux-perf)'
	exit $failed
fi

# Strings, arrays, bit fields and what cannot be read, as perf shows them.
arguments=$build/tests/oracle/oracle-arguments
"$utap" record -q -o arguments.data -e "p:utap/args $arguments:arguments_work s=+0(%dx):string c=%cx:char bits=+16(%di):b24@8/32 \
array=+36(%di):s16[4] names=+88(%di):string[2] chars=+120(%di):char[8] bad=+0(+136(%di)):string comm=\$comm n=%si:s32" -- "$arguments" \
	> out 2> err || fail "record of arguments: $(head -1 err)"
same 'strings and arrays in perf script' \
	's="call number 3" c='"'D'"' bits=11259375 array={-300,300,-32768,32767} names={"alpha","beta"} chars="charact" bad="(fault)" comm="oracle-args" n=-7' \
	"$(perf script -i arguments.data 2> err | sed -n '4s/^.*) s=/s=/p')"
silent 'perf script of strings and arrays' err
same 'strings and arrays read again' \
	's="call number 3" c='"'D'"' bits=11259375 array={-300,300,-32768,32767} names={"alpha","beta"} chars={'"'c','h','a','r','a','c','t','\\x00'"'} bad=(fault) comm="oracle-args" n=-7' \
	"$("$utap" script -q -i arguments.data | sed -n '4s/^.*) s=/s=/p')"

# One probe with an argument, one thread: the arguments are 0, 1, 2, ...
"$utap" record -q --ring 64M -e "p:utap/req $worker:handle_request n=%si:s64" -o one.data -- "$worker" 1 1 > out 2> err ||
	fail "record: $(head -1 err)"
silent 'utap record' err
grep -q EXIT-SUCCESS out || fail "record: the worker did not end well: $(tail -1 out)"
expected=$(called handle_request)
perf script -i one.data > perf.text 2> err
silent 'perf script' err
same 'script: records as the program counted' "$expected" "$(wc -l < perf.text)"
same 'script: arguments 0 .. n - 1 in order' "$(seq 0 $((expected - 1)) | cksum)" "$(sed 's/.* n=//' perf.text | cksum)"
same 'script: event' utap:req "$(perf evlist -i one.data 2> /dev/null | grep -v '^#')"

# The same records: thread, CPU, time to the microsecond, arguments.
"$utap" script -i one.data 2> err | grep -v '^#' | sed -E 's/^.*-([0-9]+) +\[([0-9]+)\] [^ ]+ +([0-9.]+): .* n=/\1 \2 \3 n=/' > a
silent 'utap script' err
perf script -i one.data -F tid,cpu,time,trace 2> /dev/null |
	sed -E 's/^ *([0-9]+) +\[([0-9]+)\] +([0-9.]+): .* n=/\1 \2 \3 n=/' > b
if cmp -s a b && [ -s a ]; then
	pass "script: utap's and perf's $(wc -l < a) records are the same"
else
	fail "script: utap and perf differ: $(diff a b | head -4 | tr '\n' ' ')"
fi

perf report --stdio -n --sort comm -i one.data > report 2> err
silent 'perf report' err
same 'report: samples as the program counted' "$expected" "$(awk '$1 == "100.00%" { print $2 }' report)"
id=$(readelf -n "$worker" 2> /dev/null | sed -n 's/.*Build ID: //p')
same "build id of the program" "$id $worker" "$(perf buildid-list -i one.data 2> /dev/null | grep -F "$worker")"

# Three probes, four threads: each event's records as the program counted, in order of time.
"$utap" record -q --ring 256M -e handle_request -e worker_hash -e worker_lookup -o many.data -- "$worker" 1 4 > out 2> err ||
	fail "record of four threads: $(head -1 err)"
silent 'utap record of four threads' err
perf report --stdio -n --sort comm -i many.data > report 2> err
silent 'perf report of four threads' err
for function in handle_request worker_hash worker_lookup; do
	samples=$(awk -v event="'utap:$function'" '/^# Samples/ { on = $NF == event } on && $1 == "100.00%" { print $2 }' report)
	same "report: $function of four threads" "$(called $function)" "$samples"
done
perf script -i many.data -F time 2> /dev/null | head -300000 | tr -d ': ' > times
if [ -s times ] && sort -n -c times 2> err; then
	pass 'script: records of four threads are in order of time'
else
	fail "script: out of order: $(head -1 err)"
fi
exit $failed
