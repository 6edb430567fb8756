#!/bin/bash
# SPDX-License-Identifier: MIT
# utap record --overwrite: a program that is killed or crashes at full speed leaves its last calls in the file; snapshots of one that runs
# have no gap and nothing torn. The target (programs/flight.c) says in a file how far each of its threads came.
#
#   recorder.sh BUILD
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/integration/lib.sh
. "$here/lib.sh"

flight=$programs/flight
step="$flight:flight_step t=%di:s64 n=%si:s64"

# recorder ARGS...: utap record in the background, on the target; its pid in $recorder
recorder()
{
	local i

	"$utap" record -v "$@" -p "$pid" > stdout 2> stderr < /dev/null &
	recorder=$!
	started_pids="$started_pids $recorder"
	for ((i = 0; i < 500; i++)); do
		grep -q 'probed in' stderr && return
		kill -0 "$recorder" 2> /dev/null || break
		sleep 0.02
	done
	problem "utap record $*: does not begin: $(head -3 stderr)"
}

# ended: wait for it; $code
ended()
{
	local i

	for ((i = 0; i < 1500; i++)); do
		kill -0 "$recorder" 2> /dev/null || break
		sleep 0.02
	done
	[ "$i" -lt 1500 ] || { problem "utap does not end"; kill -KILL "$recorder"; }
	wait "$recorder" 2> /dev/null
	code=$?
	started_pids=${started_pids/ $recorder/}
}

# gone SIGNAL: the target dies of it, at full speed
gone()
{
	kill "-$1" "$pid"
	wait "$pid" 2> /dev/null
	started_pids=${started_pids/ $pid/}
	ended
	expect_code 0
}

# How far thread N came: "AFTER BEFORE"
progress()
{
	echo "$(od -A n -t u8 -j $((512 + 8 * $1)) -N 8 progress | tr -d ' ') $(od -A n -t u8 -j $((8 * $1)) -N 8 progress | tr -d ' ')"
}

# events FILE: lines "SECONDS THREAD NUMBER", and "SECONDS alarm", as perf reads them
events()
{
	perf script -i "$1" 2> perf.err | sed -n \
		-e 's/.* \([0-9.]*\): *utap:flight_step: .*t=\([0-9]*\) n=\([0-9]*\).*/\1 \2 \3/p' \
		-e 's/.* \([0-9.]*\): *utap:flight_alarm\(_1\)\{0,1\}: .*/\1 alarm/p' > events
	grep -v -i -e 'kernel' -e 'vmlinux' perf.err | grep -q -i -e error -e fail -e corrupt -e invalid &&
		problem "perf script -i $1: $(head -2 perf.err)"
}

noted() { grep -F "utap: $1: " stderr | tail -1 | sed -n "s/.*$2.*/\\1/p"; }

# readable FILE: perf finds as many events as utap says it wrote, in the order of time; each thread's are without a gap where
# utap says so
readable()
{
	local want whole

	events "$1"
	want=$(noted "$1" ': \([0-9]*\) events* over')
	[ "$(wc -l < events)" = "$want" ] && [ "${want:-0}" -gt 0 ] || problem "$1: $(wc -l < events) events, noted are '$want'"
	whole=$(noted "$1" 'none missing in the last \([0-9.]*\) s')
	sort -s -c -n -k 1,1 events 2> sort.err || problem "$1: not in the order of time: $(cat sort.err)"
	awk -v whole="${whole:-1000000}" '
		NR == FNR { last = $1; next }
		$2 == "alarm" || $1 < last - whole + 0.000002 { next }
		($2 in before) && $3 != before[$2] + 1 { print "thread " $2 ": " before[$2] " then " $3; exit }
		{ before[$2] = $3; checked++ }
		END { if (!checked) print "nothing to check in the last " whole " s" }' events events > gaps
	[ -s gaps ] && problem "$1: $(cat gaps)"
}

# last_of THREAD: its last number in `events`; nothing when its last ones can have been overwritten
last_of()
{
	awk -v thread="$1" -v whole="$(noted "$2" 'none missing in the last \([0-9.]*\) s')" '
		{ end = $1 }
		$2 == thread { number = $3; time = $1 }
		END { if (number && (!whole || time >= end - whole + 0.000002)) print number }' events
}

# expect_last THREAD FILE: it is the last call that was made, or the one it was in
expect_last()
{
	local last after before

	last=$(last_of "$1" "$2")
	[ -n "$last" ] || return 1
	read -r after before <<< "$(progress "$1")"
	[ "$last" -ge "$after" ] && [ "$last" -le "$before" ] ||
		problem "thread $1: the last record is of call $last, the last call was $after to $before"
}

killed()
{
	local i

	for i in 1 2 3; do
		target "$1" progress
		recorder --overwrite -o "data$i" -e "${step/$flight/$1}"
		sleep 0.3
		gone KILL
		readable "data$i"
		expect_last 0 "data$i" || problem "no record of the thread"
		grep -q 'older overwritten' stderr || problem "nothing was overwritten: $(cat stderr)"
	done
}

command -v perf > /dev/null || { echo "SKIP flight recorder$who: perf is not installed"; exit 0; }

begin "flight recorder: a target killed in a hot loop"
killed "$flight"
end

if [ -x "$flight-musl" ]; then
	begin "flight recorder: a target killed in a hot loop, without rseq"
	killed "$flight-musl"
	end
fi

begin "flight recorder: a target that crashes"
target "$flight" progress
recorder --overwrite -e "$step"
sleep 0.3
gone USR2
readable perf.data
read -r after before <<< "$(progress 0)"
[ "$(last_of 0 perf.data)" = "$after" ] && [ "$after" = "$before" ] ||
	problem "the last record is of call $(last_of 0 perf.data), the last call was $after, $before"
# Its threads and mappings are known although nobody could look any more.
perf script -i perf.data 2> perf.err | head -1 | grep -q '^ *flight ' || problem "no name: $(perf script -i perf.data 2> perf.err | head -1)"
perf script -i perf.data -F ip,sym,dso 2> perf.err | head -1 | grep -q 'flight_step' || problem "no symbol"
end

begin "flight recorder: eight threads, killed"
target "$flight" progress 8
recorder --overwrite --ring 2M -e "$step"
sleep 1
gone KILL
readable perf.data
found=0
for thread in 0 1 2 3 4 5 6 7; do
	expect_last "$thread" perf.data && found=$((found + 1))
done
[ "$found" -ge 1 ] || problem "no last records"
end

# snapshots PROGRAM THREADS: of a running target, at any moment; it goes on, and ends correctly
snapshots()
{
	local i count=0 file

	target "$1" progress "$2"
	recorder --overwrite -e "${step/$flight/$1}"
	for ((count = 1; count <= 5; count++)); do
		sleep 0.1
		kill -USR2 "$recorder"
		for ((i = 0; i < 500; i++)); do
			[ "$(grep -c ': perf.data\.20.* written$' stderr)" = "$count" ] && break
			sleep 0.02
		done
	done
	count=0
	kill -INT "$recorder"
	ended
	expect_code 0
	for file in perf.data.*; do
		[[ $file =~ ^perf\.data\.20[0-9]{14}$ ]] || problem "the name $file"
		readable "$file"
		count=$((count + 1))
	done
	[ "$count" = 5 ] || problem "$count snapshots at 5 signals"
	readable perf.data
	as_before
	finish
}

begin "flight recorder: snapshots under load"
snapshots "$flight" 8
end

if [ -x "$flight-musl" ]; then
	begin "flight recorder: snapshots under load, without rseq"
	snapshots "$flight-musl" 1
	end
fi

# triggered ARGS...: a snapshot for a hit of the alarm, with the alarm in it, and none without
triggered()
{
	local file begun count i

	target "$flight" progress 2 1000 # with pauses: on a busy machine it takes utap a while to notice
	recorder --overwrite "$@"
	sleep 0.3
	[ "$(echo perf.data.*)" = 'perf.data.*' ] || problem "a snapshot before the hit"
	kill -USR1 "$pid"
	for ((i = 0; i < 500; i++)); do
		grep -q ': perf.data\.20.* written$' stderr && break
		sleep 0.02
	done
	file=$(echo perf.data.*)
	[[ $file =~ ^perf\.data\.20[0-9]{14}$ ]] || problem "after a hit there is $file: $(cat stderr)"
	readable "$file"
	grep -q alarm events || problem "the snapshot has no alarm"
	begun=$SECONDS
	for i in 1 2 3 4 5 6 7 8 9 10 11 12; do # one snapshot a second, however many hits
		kill -USR1 "$pid"
		sleep 0.1
	done
	sleep 1
	count=$(echo perf.data.* | wc -w)
	[ "$count" -ge 2 ] && [ "$count" -le $((SECONDS - begun + 3)) ] || problem "12 hits: there are $(echo perf.data.*)"
	kill -INT "$recorder"
	ended
	expect_code 0
	readable perf.data
	as_before
	finish
}

begin "flight recorder: a snapshot at the hit of an event"
triggered -e "$step" -e "p:utap/flight_alarm $flight:flight_alarm n=%di" --snapshot-on utap:flight_alarm
rm -f perf.data*
triggered -e "$step" -e "$flight:flight_alarm n" --snapshot-on "$flight:flight_alarm n"
rm -f perf.data*
triggered -e "$step" -e "p:flight_alarm $flight:flight_alarm n" --snapshot-on flight_alarm
rm -f perf.data*
triggered -e "$step" --snapshot-on "$flight:flight_alarm n"
rm -f perf.data*
triggered --ring 4M -e "$flight:flight_* t=%di:s64 n=%si:s64" --snapshot-on "$flight:flight_alarm"
end

begin "flight recorder: utap is killed"
target "$flight" progress 2
recorder --overwrite -e "$step"
sleep 0.2
kill -KILL "$recorder"
wait "$recorder" 2> /dev/null
sleep 0.3
run detach -p "$pid"
expect_code 0
as_before
finish
end

begin "flight recorder: a program that ends by itself, and nothing overwritten"
"$utap" record --overwrite --ring 16M -e libc:write -o data -- /bin/sh -c 'for i in 1 2 3 4 5; do echo $i; done' > stdout 2> stderr < /dev/null
code=$?
expect_code 0
grep -q '^utap: data: [0-9]* events* over [0-9.]* s; [0-9]* KiB written$' stderr || problem "said: $(cat stderr)"
[ "$(perf script -i data 2> perf.err | grep -c 'utap:write')" -ge 5 ] || problem "not all writes are there"
echo precious > data
run record --overwrite -o data -e libc:no_such_function -- /bin/true
expect_error 3 'no function no_such_function'
[ "$(cat data)" = precious ] || problem "a run that failed destroyed the old file"
end

begin "flight recorder: options that make no sense"
run record --overwrite -n 5 -e malloc -p $$
expect_error 2 '-n 5 .*--overwrite'
run record --snapshot-on malloc -e malloc -p $$
expect_error 2 '--snapshot-on malloc is for --overwrite'
run record --overwrite --snapshot-on 'malloc %zz' -e malloc -p $$
expect_error 2 "no register '%zz'"
run record --overwrite --snapshot-on no_such_event -e libc:malloc -p $$
expect_error 3 'no function no_such_event'
for command in trace stat; do
	run "$command" --overwrite -e malloc -p $$
	expect_error 2 "$command takes no option '--overwrite'"
done
[ ! -e perf.data ] || problem "a perf.data is left"
end

summary
