#!/bin/bash
# SPDX-License-Identifier: MIT
# The files that utap reads and writes: a run that fails leaves them as they were, and none is read and emptied at once.
#
#   files.sh BUILD
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/integration/lib.sh
. "$here/lib.sh"

# record_some FILE: a few hits of a program
record_some()
{
	run record -q -o "$1" --duration -e libc:malloc -- sh -c ':'
	expect_code 0
	[ -s "$1" ] || problem "nothing was recorded"
}

same() { cmp -s "$1" "$2" || problem "$1 is not as it was"; }

begin 'files: what is read is not written over'
record_some some.data
cp some.data some.copy
ln some.data link.data
for command in script report 'report --latency' 'report --graph' 'convert --to csv'; do
	for output in some.data link.data; do
		# shellcheck disable=SC2086 # words
		run $command -i some.data -o $output
		expect_error 2 "-o $output is the file that is read"
		same some.data some.copy
	done
done
cp some.copy perf.data
run script -o perf.data
expect_error 2 '-o perf.data is the file that is read'
same perf.data some.copy
cp /bin/true program
run list program -o program
expect_error 2 '-o program is the file that is read'
same program /bin/true
run probe -x program -F -o program
expect_error 2 '-o program is the file that is read'
same program /bin/true
end

begin 'files: a record that fails leaves both recordings'
echo one > perf.data
echo two > perf.data.old
for program in 'libc:nofunc -- true' 'libc:malloc -- ./absent' 'libc:malloc -p 4194303'; do
	for way in '' --overwrite; do
		# shellcheck disable=SC2086 # words
		run record $way -e $program
		[ "$code" != 0 ] || problem "record -e $program does not fail"
		[ "$(cat perf.data perf.data.old)" = $'one\ntwo' ] || problem "record $way -e $program: $(head -c 50 perf.data perf.data.old)"
	done
done
[ "$(ls -A | grep perf)" = $'perf.data\nperf.data.old' ] || problem "files: $(ls -A)"
run record -q -e libc:malloc -- true
expect_code 0
[ "$(cat perf.data.old)" = one ] || problem "the older recording is not perf.data.old"
run script -q
expect_code 0
mkdir elsewhere
cp perf.data elsewhere/real
ln -s elsewhere/real linked
run record -q -o linked -e libc:malloc -- true
expect_code 0
[ -L linked ] && [ -s elsewhere/real.old ] || problem "a link does not stay one: $(ls . elsewhere)"
[ "$(ls -d ./.perf* elsewhere/.real* 2> /dev/null)" = '' ] || problem "files: $(ls -A . elsewhere)"
end

begin 'files: a record that is stopped before it began'
for way in '' --overwrite; do
	for pause in 0.001 0.003 0.01 0.03; do
		timeout -s TERM $pause "$utap" record -q $way -o "early$pause$way" -e libc:malloc -- sleep 0.2 > stdout 2> stderr < /dev/null
		for file in "early$pause$way"* ".early$pause$way"*; do
			[ ! -e "$file" ] && continue
			[ -s "$file" ] || problem "$file is left, and empty"
			[ "$file" = "early$pause$way" ] || problem "$file is left"
		done
	done
done
end

begin 'files: a program is not started for an output that cannot be written'
for to in 'ctf -o /tmp' 'csv -o absent/out' 'perfetto -o .'; do
	# shellcheck disable=SC2086 # words
	run trace --to $to -e libc:malloc -- sh -c 'echo started > mark'
	expect_error 7 'cannot be (made|written)'
	[ ! -e mark ] || problem "--to $to: the program was started"
	rm -f mark
done
run trace --to ctf -o new -e libc:nofunc -- true
expect_code 3
[ ! -e new ] || problem 'a directory is left of a run that failed'
run trace --to ctf -o new -e libc:malloc -- true
expect_code 0
[ -s new/metadata ] || problem "no trace in new: $(ls new)"
end

begin 'files: results of a run that fails empty nothing'
for command in trace 'trace --json' 'trace --to csv' stat 'stat --latency' 'top -q'; do
	echo precious > res.txt
	# shellcheck disable=SC2086 # words
	run $command -o res.txt -e libc:nofunc -- true
	expect_code 3
	[ "$(cat res.txt)" = precious ] || problem "$command empties the file of -o"
	# shellcheck disable=SC2086 # words
	run $command -o new.txt -e libc:nofunc -- true
	[ ! -e new.txt ] || problem "$command makes the file of -o"
	seq 100000 > res.txt
	# shellcheck disable=SC2086 # words
	run $command -o res.txt -e libc:malloc -- sh -c :
	expect_code 0
	grep -q -x 99999 res.txt && problem "$command leaves what was in the file of -o"
	[ -s res.txt ] || problem "$command writes nothing"
done
end

begin 'files: probes of -F with comments behind them, and taken back'
python3 - "$programs/worker" << 'EOF'
import sys

program = sys.argv[1]
lines = [f"p:x1 {program}:handle_request n=%si:s64   # trailing", f"p:x2 {program}:worker_hash /comm == \"a # b\"/ # x",
         f"p:x3 {program}:worker_lookup\t# it's a comment", "  # one of its own", "p:x4 %s:worker.c:1 # a line" % program, "-:x4 # no more",
         f"p:g/x5 {program}:handle_request@worker.c:2", "-:g/x5"]
open("probes", "w").write("\n".join(lines) + "\n")
EOF
target "$programs/worker"
run stat -F probes -d 0.2 -p "$pid"
expect_code 0
[ "$(grep -o 'utap:x[0-9]' stdout | tr '\n' ' ')" = 'utap:x1 utap:x2 utap:x3 ' ] || problem "events: $(cat stdout)"
finish
end

begin 'files: a probe that is nowhere has no count'
run stat -e 'libc:__restore_rt*' -e libc:malloc -e 'libc:mem*' -- sh -c :
expect_code 0
grep -q 'not probed: __restore_rt' stderr || skip 'this libc has no function that is refused'
if [ -z "$skipped_why" ]; then
	grep -q '^ *- *- *- *utap:__restore_rt ' stdout || problem "counted: $(grep __restore_rt stdout)"
	grep -q '^ *[1-9][0-9]* *0 *[0-9]* *utap:malloc ' stdout || problem "not counted: $(grep malloc stdout)"
	grep -q '^ *0 *0 *0 *utap:mem' stdout || problem "no function that was not called: $(head -5 stdout)"
	run stat --json -e 'libc:__restore_rt*' -e libc:malloc -- sh -c :
	tr '}' '\n' < stdout | grep -q '"event":"__restore_rt",.*"hits":null,"lost":null,"why":"not probed' || problem "JSON: $(cat stdout)"
	tr '}' '\n' < stdout | grep -q '"event":"malloc",.*"hits":[1-9][0-9]*,"lost":0$' || problem "JSON: $(cat stdout)"
fi
end

begin 'files: report tells entries from returns'
record_some some.data
run report -i some.data
grep -q "^# Samples: [0-9]*  of event '.*malloc', entries$" stdout || problem "no entries: $(grep Samples stdout)"
grep -q "^# Samples: [0-9]*  of event '.*malloc', returns$" stdout || problem "no returns: $(grep Samples stdout)"
run report --json -i some.data
grep -q '"event":"malloc","kind":"entries",.*"event":"malloc","kind":"returns",' stdout || problem "kinds: $(head -c 300 stdout)"
run record -q -o single.data -e libc:malloc -e r:libc:malloc -- true
run report -i single.data
grep -q 'entries\|returns' stdout && problem "kinds of single probes: $(grep Samples stdout)"
end

begin 'files: - is standard output'
run trace -q -o - -e libc:malloc -- sh -c :
expect_code 0
grep -q malloc stdout || problem "nothing on stdout: $(head -2 stdout)"
run stat -o - -e libc:malloc -- sh -c :
expect_code 0
grep -q malloc stdout || problem "nothing on stdout: $(head -2 stdout)"
run record -o - -e libc:malloc -- sh -c 'echo started > mark'
expect_error 2 'o -: a perf.data cannot be written to a pipe'
[ ! -e mark ] || problem 'the program was started'
[ ! -e ./- ] || problem 'there is a file named -'
end

begin 'files: damage inside a compressed recording is told'
target "$programs/worker" 20 2
run record -q -z --ring 16M -n 60000 -o some.data -e "$programs/worker:handle_request" -p "$pid"
expect_code 0
finish
run script -q -i some.data
mv stdout whole
size=$(stat -c %s some.data)
for part in 20 50 90; do
	cp some.data damaged.data
	printf '\252\125\252\125' | dd of=damaged.data bs=1 seek=$((size * part / 100)) conv=notrunc status=none
	for command in 'script -q' report 'convert --to csv'; do
		# shellcheck disable=SC2086 # words
		run $command -i damaged.data
		expect_error 7 'damaged from offset [0-9]+ on' 2
	done
	run script -q -i damaged.data
	[ "$(wc -l < stdout)" -lt "$(wc -l < whole)" ] || problem "damage at $part %, and all records"
	cmp -s stdout <(head -n "$(wc -l < stdout)" whole) || problem "damage at $part %: other records than there were"
done
end

summary
