#!/bin/bash
# SPDX-License-Identifier: MIT
# --allow-trap: places that cannot take any jump. Counts are exact, the program finds its signals as it left them, and whoever is killed, it goes
# on.
#
#   traps.sh BUILD
. "$(dirname "$0")/lib.sh"

address() { nm "$programs/traps" | sed -n "s/^0*\([0-9a-f]*\) [Tt] $1\$/0x\1/p"; }
place="$programs/traps:traps_tight+$(($(address traps_site) - $(address traps_tight)))"
event='traps_tight_0x[0-9a-f]*'

guardian() { sed -n 's/^TracerPid:\t*//p' "/proc/$pid/status"; }

# No thread of it is traced any more, at the latest after a moment.
expect_untraced()
{
	local i

	for ((i = 0; i < 300; i++)); do
		grep -q 'TracerPid:.*[1-9]' "/proc/$pid"/task/*/status 2> /dev/null || return
		sleep 0.01
	done
	problem "process $pid is still traced by $(guardian)"
}

begin 'traps: refused without --allow-trap'
target "$programs/traps"
run stat -d 0.1 -p "$pid" -e "$place"
expect_error 5 'cannot probe traps_tight'
as_before
finish
end

for mode in default blocked ignored handled; do
	begin "traps: SIGTRAP $mode, attached"
	target "$programs/traps" "$mode"
	for ((i = 0; i < 3; i++)); do
		run stat --allow-trap --json -d 0.3 -p "$pid" -e "$place"
		expect_code 0
		expect_hits "$event"
		expect_untraced
		as_before
	done
	finish
	end

	begin "traps: SIGTRAP $mode, started, counts"
	run stat --allow-trap --json -o out.json -e "$place" -- "$programs/traps" "$mode" 1000
	expect_code 0
	grep -q EXIT-SUCCESS stdout || problem "the program failed: $(head -3 stderr)"
	cp out.json stdout
	[ "$(hits "$event")" = 1510 ] || problem "counted '$(hits "$event")' of 1510 hits"
	end
done

begin 'traps: several probes at one place'
run stat --allow-trap --json -o out.json -e "$place" -e "p:other $place n=%di:s64 /n & 2/" -e "p:third $place" -- "$programs/traps" plain 1000
expect_code 0
grep -q EXIT-SUCCESS stdout || problem "the program failed: $(head -3 stderr)"
cp out.json stdout
[ "$(hits "$event") $(hits third)" = '1510 1510' ] || problem "counted $(hits "$event") and $(hits third) of 1510 hits"
[ "$(hits other)" -gt 0 ] && [ "$(hits other)" -lt 1510 ] || problem "$(hits other) hits with a condition"
end

begin 'traps: recorded, explained'
target "$programs/traps"
run record -q --allow-trap -d 0.2 -p "$pid" -e "$place n=%di:s64" -o data
expect_code 0
"$utap" script -i data > script 2>&1 || problem "the record cannot be read: $(head -2 script)"
grep -q 'n=[0-9]*[02468]$' script || problem "nothing was recorded: $(head -3 script)"
grep 'n=[0-9]*[13579]$' script && problem 'recorded where it does not come'
run probe --explain "$place" --allow-trap -p "$pid"
expect_code 0
grep -q L0 stdout || problem "the trap is not explained: $(head -5 stdout)"
as_before
finish
end

begin 'traps: not together with -f'
target "$programs/traps"
run stat --allow-trap -f -d 0.1 -p "$pid" -e "$place"
expect_error 2 'allow-trap and -f'
as_before
finish
end

begin 'traps: a tracer is there, or wants to be'
target "$programs/traps"
timeout 20 "$utap" stat --allow-trap -d 10 -p "$pid" -e "$place" > /dev/null 2> first &
first=$!
for ((i = 0; i < 300 && $(guardian) == 0; i++)); do sleep 0.01; done
run stat -d 0.1 -p "$pid" -e "$programs/traps:call"
expect_code '[1-9]*'
kill -INT "$(pgrep -P "$first" -x utap)"
wait "$first" || problem "the first utap failed: $(cat first)"
expect_untraced
as_before
if command -v strace > /dev/null; then
	strace -q -o /dev/null -p "$pid" &
	tracer=$!
	for ((i = 0; i < 300 && $(guardian) == 0; i++)); do sleep 0.01; done
	run stat --allow-trap -d 0.1 -p "$pid" -e "$place"
	expect_error '[1-9]*' "traced by pid $tracer"
	kill "$tracer"
	wait "$tracer" 2> /dev/null
fi
expect_untraced
as_before
finish
end

for mode in default blocked handled; do
	begin "traps: utap is killed, SIGTRAP $mode"
	target "$programs/traps" "$mode"
	for ((round = 0; round < 8; round++)); do
		"$utap" stat --allow-trap -d 10 -p "$pid" -e "$place" > /dev/null 2>&1 &
		killed=$!
		[ $((round % 2)) = 1 ] && for ((i = 0; i < 300 && $(guardian) == 0; i++)); do sleep 0.01; done
		sleep "0.0$((RANDOM % 10))"
		kill -KILL "$killed"
		wait "$killed" 2> /dev/null
		expect_untraced
		run detach -p "$pid"
		expect_code 0
		as_before
	done
	finish
	end
done

begin 'traps: the terminal says interrupt'
target "$programs/traps"
setsid timeout 40 "$utap" stat --allow-trap --json -d 30 -p "$pid" -e "$place" > stdout 2> stderr &
group=$!
for ((i = 0; i < 1500 && $(guardian) == 0; i++)); do sleep 0.01; done
watcher=$(guardian)
[ "$watcher" != 0 ] && kill -INT "$watcher" && kill -HUP "$watcher" && kill -TERM "$watcher"
sleep 0.1
[ "$(guardian)" = "$watcher" ] || problem 'the guardian left'
kill -INT -- "-$group"
wait "$group" || problem "utap failed: $(cat stderr)"
expect_hits "$event"
expect_untraced
as_before
finish
end

summary
