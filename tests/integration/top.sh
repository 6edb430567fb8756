#!/bin/bash
# SPDX-License-Identifier: MIT
# utap top: tables one after the other, whose sums are the program's own; on a terminal one that is drawn in place, and keys.
#
#   top.sh BUILD
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
worker=$programs/worker

begin 'top: counts'
run top -e 'worker:worker_hash' -e 'worker:worker_lookup' --interval 0.2 --sort hits -- "$worker" 1 2
expect_code 0
[ "$(grep -c HITS/S stdout)" -ge 4 ] || problem "$(grep -c HITS/S stdout) tables in a second"
for function in worker_hash worker_lookup; do
	shown=$(awk -v f="$function" '$NF == f && $1 ~ /^[0-9]+$/ { hits = $2 } END { print hits }' stdout)
	own=$(sed -n "s/^$function \([0-9]*\)$/\1/p" stdout)
	[ -n "$own" ] && [ "$shown" = "$own" ] || problem "$function: '$shown' shown, called '$own' times"
done
# The one with more hits is first in each table.
[ "$(grep -A1 HITS/S stdout | grep -c 'worker_hash$')" = "$(grep -c HITS/S stdout)" ] || problem 'not sorted by hits'
end

begin 'top: latency'
run top --latency -e 'worker:handle_request' -e 'worker:worker_hash' --ring 16M --interval 0.2 --sort p99 -- "$worker" 1 1
expect_code 0
awk '$NF == "handle_request" && $1 ~ /^[0-9]+$/ && $2 > 0 && $4 + 0 > 0 && $6 + 0 >= $4 + 0 { good++ } END { exit !(good > 2) }' stdout ||
	problem "no calls with their times: $(head -3 stdout)"
end

begin 'top: on a terminal'
if command -v script > /dev/null; then
	(sleep 1; printf n; sleep 0.3; printf n; sleep 0.3; printf q) |
		TERM=xterm timeout 20 script -qec "$utap top -e worker:worker_hash -e worker:worker_lookup --interval 0.2 -- $worker 10 1" screen > /dev/null 2>&1
	code=$?
	expect_code 0
	grep -a -q 'by rate' screen || problem 'no table was drawn'
	grep -a -q 'least first' screen || problem 'a key pressed twice does not reverse the order'
else
	skip 'script(1) is not installed'
fi
end

# However fast it is drawn, and whatever ends it: what belongs to the screen is switched off again, after it was used last.
begin 'top: the terminal is as it was'
if ! command -v python3 > /dev/null; then
	skip 'python3 is not there'
else
	for how in '0.01 q' '0.3 q' '0.01 INT' '0.2 end'; do
		python3 "$here/top_terminal.py" "$how" "$utap" "$worker" > told 2>&1 || problem "$how: $(cat told)"
	done
fi
end

begin 'top: output that cannot be written'
(exec "$utap" top -e worker:worker_hash --interval 0.1 -- "$worker" 2 1) 2> stderr | head -1 > /dev/null
code=${PIPESTATUS[0]}
expect_code 0
grep -q 'cannot be written' stderr && problem "said: $(cat stderr)"
if [ -w /dev/full ]; then
	"$utap" top -e worker:worker_hash --interval 0.1 -- "$worker" 1 1 > /dev/full 2> stderr < /dev/null
	code=$?
	expect_code 7
	grep -q 'No space left' stderr || problem "said: $(cat stderr)"
fi
end

begin 'top: what is wrong is said'
run top -e worker:worker_hash --sort p50 -- "$worker" 1 1
expect_error 2 "--sort 'p50'"
run top -- "$worker" 1 1
expect_error 2 'what is to be probed'
run top -e worker:worker_hash --interval 0 -- "$worker" 1 1
expect_error 2 '--interval'
end

summary
