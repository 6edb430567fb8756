#!/bin/bash
# SPDX-License-Identifier: MIT
# Kinds of target: each is counted, recorded and left as it was, with correct results.
#
#   targets.sh BUILD
. "$(dirname "$0")/lib.sh"

# both EVENT PROBE...: count, then record, then compare
both()
{
	local event=$1
	shift
	run stat --json -d 0.15 -p "$pid" "${@/#/-e}"
	expect_code 0
	expect_hits "$event"
	as_before "$how"
	run record -q -d 0.1 -p "$pid" "${@/#/-e}" -o data
	expect_code 0
	as_before "$how"
	"$utap" report -i data > report 2>&1 || problem "the record cannot be read: $(head -2 report)"
	grep -q "$event" report || problem "nothing of $event was recorded: $(head -3 report)"
	rm -f data data.old
}
how=all

for shape in worker worker-nopie worker-static worker-static-pie worker-musl; do
	begin "target $shape"
	if [ -x "$programs/$shape" ]; then
		target "$programs/$shape"
		[ "$shape" = worker-musl ] && how=files # its malloc maps and unmaps pages as it goes
		# Of a static program with its heap close by, not each of the three can be probed at each place of the heap.
		both 'handle_request\|worker_[a-z]*' 'handle_request n=%si:u64' worker_hash worker_lookup
		how=all
		finish
	else
		skip "it was not built (musl-tools is not installed)"
	fi
	end
done

begin 'target worker with 64 threads'
target "$programs/worker" 0 64
both handle_request 'handle_request n=%si:u64'
finish
end

begin 'target stripped, by offset'
target "$programs/worker-stripped"
run stat --json -e handle_request -d 0.1 -p "$pid"
expect_error 3 'no function handle_request.*(stripped|did you mean)'
as_before
offset=$(nm "$programs/worker" | sed -n 's/^0*\([0-9a-f]*\) [Tt] handle_request$/\1/p')
# The unstripped program has the same code at the same place.
both 'at_0x[0-9a-f]*' "$programs/worker-stripped:0x$offset" 2> /dev/null
finish
end

begin 'target stripped, by exported symbol'
target "$programs/worker-exported"
both handle_request 'handle_request n=%si:u64'
finish
end

how=files
begin 'target whose threads come and go'
target "$programs/churn"
for i in 1 2 3 4 5; do
	both probed_step 'probed_step n=%di:s64'
done
finish
end

begin 'target in a storm of signals'
target "$programs/storm"
for i in 1 2 3 4 5 6 7 8; do
	both probed_step 'probed_step n=%di:s64'
done
finish
end
how=all

for mode in handled ignored blocked; do
	begin "target with SIGTRAP $mode"
	target "$programs/sigtrap" "$mode"
	both probed_step 'probed_step n=%di:s64'
	finish
	end
done

begin 'target that is stopped'
target "$programs/worker"
kill -STOP "$pid"
sleep 0.05
run stat --json -e handle_request -d 0.1 -p "$pid"
expect_code 0
[ "$(hits handle_request)" = 0 ] || problem "a stopped program was hit $(hits handle_request) times"
grep -q '^State:.T' "/proc/$pid/status" || problem "it was stopped and is $(grep State: "/proc/$pid/status")"
as_before
kill -CONT "$pid"
both handle_request handle_request
finish
end

begin 'target that locked its memory'
if target "$programs/pinned"; then
	both probed_step probed_step
	finish
else
	skip "$(cat target.err)"
fi
end

begin 'target whose first thread has ended'
target "$programs/headless"
sleep 0.1
run stat --json -e probed_step -d 0.1 -p "$pid"
if [ "$code" = 0 ]; then
	expect_hits probed_step
else
	expect_error 5 'first thread'
fi
finish
end

# ---- system calls that an attach interrupts ----

for kind in $("$programs/blocked"); do
	begin "target blocked in $kind"
	target "$programs/blocked" "$kind"
	for i in 1 2 3 4 5 6; do
		run stat -e probed_step -d 0.05 -p "$pid"
		expect_code 0
	done
	as_before files
	finish
	end
done

# ---- callers inside probed functions ----

begin 'target blocked inside probed functions'
target "$programs/inside"
start=$(nm "$programs/inside" | sed -n 's/^0*\([0-9a-f]*\) [Tt] inside_wait$/\1/p')
probes=()
# Every instruction of the function; those that cannot be probed are refused one by one.
for offset in $(objdump -d --no-show-raw-insn "$programs/inside" | sed -n '/<inside_wait>:/,/^$/s/^ *\([0-9a-f]*\):.*/\1/p'); do
	probes+=(-e "inside_wait+$((0x$offset - 0x$start))")
done
[ "${#probes[@]}" -gt 20 ] || problem "objdump shows ${#probes[@]} arguments"
for i in 1 2 3 4; do
	run stat --json -e inside_wait -p "$pid" -d 0.3 "${probes[@]}"
	expect_code 0
	expect_hits inside_wait
	as_before
done
run record -q -p "$pid" -d 0.3 "${probes[@]}" -o data
expect_code 0
as_before
finish
end

# ---- processes that it makes ----

how=files # posix_spawn maps a stack for a moment
for mode in fork vfork spawn; do
	begin "target that makes processes by $mode"
	target "$programs/forker" "$mode"
	for i in 1 2 3 4 5; do
		both probed_step 'probed_step n=%di:s64'
	done
	finish
	end
done

how=all

begin 'children that inherited probes'
target "$programs/forker" idle
timeout -k 5 60 "$utap" stat -e probed_step -p "$pid" > stdout 2> stderr < /dev/null &
tracer=$!
started_pids="$started_pids $tracer"
for ((i = 0; i < 200; i++)); do
	grep -q memfd:utap "/proc/$pid/maps" && break
	sleep 0.01
done
sleep 0.1
kill -USR1 "$pid"
sleep 0.2
children=$(sed -n 's/^child //p' target.out)
[ "$(echo "$children" | wc -w)" = 3 ] || problem "children: $children"
for child in $children; do
	grep -q memfd:utap "/proc/$child/maps" || problem "child $child did not inherit probes"
done
# timeout(1) hands the signal on
kill -INT "$tracer"
wait "$tracer"
code=$?
expect_code 0
as_before
for child in $children; do
	"$intact" text "$child" > changed || problem "text of child $child: $(head -3 changed)"
	grep -q memfd:utap "/proc/$child/maps" && problem "child $child still maps memory of utap"
	grep -q '^TracerPid:.0$' "/proc/$child/status" || problem "child $child is traced"
done
finish
end

# ---- programs that we start ----

for shape in early early-static; do
	begin "start of $shape"
	run stat --json -e probed_step -- "$programs/$shape"
	expect_code 0
	[ "$(hits probed_step)" = 8 ] || problem "$(hits probed_step) hits, not 8: $(cat stderr)"
	grep -q EXIT-SUCCESS stdout || problem "the program did not end well"
	run record -q -e 'probed_step n=%di:s64' -o data -- "$programs/$shape"
	expect_code 0
	"$utap" script -i data > script 2>&1
	[ "$(sed -n 's/.*n=\([-0-9]*\)$/\1/p' script | tr '\n' ' ')" = '0 1 2 0 1 2 3 4 ' ] || problem "recorded: $(head -20 script)"
	end
done

begin 'start of a program in PATH, with arguments'
run stat --json -e libc:malloc -- sh -c 'exit 3'
expect_code 0
grep -q 'status 3' stderr || problem "the status is not told: $(cat stderr)"
expect_hits malloc
end

begin 'start of a program that is not there'
run stat -e malloc -- ./no-such-program
expect_error 3 'no-such-program.*No such file'
end

summary
