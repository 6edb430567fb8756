#!/bin/bash
# SPDX-License-Identifier: MIT
# What goes wrong: one sentence that says what to do, an exit code by kind, and a target as it was, with correct results.
#
#   badinput.sh BUILD
. "$(dirname "$0")/lib.sh"
root() { [ "$(id -u)" = 0 ]; }
as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }

# ---- no such target, no permission ----

begin 'no such process'
run stat -e malloc -p 4194303
expect_error 3 'no process 4194303'
run detach -p 4194303
expect_error 3 'no process 4194303'
end

begin 'a zombie'
sh -c 'sleep 0 & exec sleep 60' &
parent=$!
started_pids="$started_pids $parent"
sleep 0.3
zombie=$(pgrep -P "$parent")
run stat -e malloc -p "$zombie"
expect_error 6 "process $zombie has exited"
kill "$parent"
wait "$parent" 2> /dev/null
end

begin "another user's process"
if root; then
	target "$programs/worker"
	chmod 755 "$work"
	cp "$utap" utap
	timeout 20 setpriv --reuid=65534 --regid=65534 --clear-groups "$work/utap" stat -e malloc -p "$pid" > stdout 2> stderr
	code=$?
	expect_error 4 "belongs to root; run utap as"
	as_before
	finish
else
	run stat -e malloc -p 1
	expect_error 4 "belongs to root; run utap as"
fi
end

begin 'a kernel thread'
if root && grep -q kthreadd /proc/2/comm 2> /dev/null; then
	run stat -e malloc -p 2
	expect_error '[46]' 'process 2 .*kernel thread'
else
	skip 'needs root and no container'
fi
end

for tracer in strace gdb; do
	begin "already traced by $tracer"
	if command -v $tracer > /dev/null; then
		target "$programs/worker"
		case $tracer in
		strace) strace -p "$pid" -e trace=none -o /dev/null > /dev/null 2>&1 & ;;
		gdb) (echo 'shell sleep 5' | gdb -q -nx -p "$pid" > /dev/null 2>&1) & ;;
		esac
		by=$!
		for ((i = 0; i < 300; i++)); do
			grep -q '^TracerPid:.0$' "/proc/$pid/status" || break
			sleep 0.02
		done
		real=$(sed -n 's/^TracerPid:.//p' "/proc/$pid/status")
		run stat -e handle_request -d 0.1 -p "$pid"
		expect_error 4 "already traced by pid $real \($tracer"
		kill "$real"
		wait "$by" 2> /dev/null
		kill -CONT "$pid"
		sleep 0.2
		run stat --json -e handle_request -d 0.1 -p "$pid"
		expect_code 0
		expect_hits handle_request
		as_before
		finish
	else
		skip "$tracer is not installed"
	fi
	end
done

begin 'a debugger that comes while utap traces'
if command -v gdb > /dev/null; then
	target "$programs/worker"
	"$utap" stat -e handle_request -p "$pid" > stdout 2> stderr < /dev/null &
	tracer=$!
	started_pids="$started_pids $tracer"
	for ((i = 0; i < 200; i++)); do
		grep -q memfd:utap "/proc/$pid/maps" && break
		sleep 0.02
	done
	sleep 0.1
	(echo 'shell sleep 20' | gdb -q -nx -p "$pid" > gdb.out 2>&1) &
	by=$!
	for ((i = 0; i < 300; i++)); do
		grep -q 'libc' gdb.out 2> /dev/null && ! grep -q '^TracerPid:.0$' "/proc/$pid/status" && break
		sleep 0.02
	done
	sleep 0.5
	kill -INT "$tracer"
	wait "$tracer"
	code=$?
	debugger=$(sed -n 's/^TracerPid:.//p' "/proc/$pid/status")
	expect_error 4 "already traced by pid $debugger \\(gdb.*"
	kill "$debugger"
	wait "$by" 2> /dev/null
	kill -CONT "$pid"
	sleep 0.2
	run detach -p "$pid"
	expect_code 0
	as_before
	finish
else
	skip 'gdb is not installed'
fi
end

begin 'probed already by another utap'
target "$programs/worker"
"$utap" stat -e worker_hash -p "$pid" > other.out 2>&1 < /dev/null &
other=$!
started_pids="$started_pids $other"
for ((i = 0; i < 200; i++)); do
	grep -q memfd:utap "/proc/$pid/maps" && break
	sleep 0.02
done
sleep 0.1
run stat -e handle_request -d 0.1 -p "$pid"
expect_error 5 "already probed by utap pid $other"
run detach -p "$pid"
expect_error 5 "utap pid $other still probes"
kill -INT "$other"
wait "$other"
[ $? = 0 ] || problem "the other utap ended with $?: $(cat other.out)"
grep -q worker_hash other.out || problem "no counts of the other utap"
as_before
run detach -p "$pid"
expect_code 0
grep -q 'nothing of utap is there' stderr || problem "$(cat stderr)"
finish
end

begin 'one of two targets does not exist'
target "$programs/worker"
run stat -e handle_request -d 0.1 -p "$pid,4194303"
expect_error 3 'no process 4194303'
as_before
finish
end

# ---- how utap ends ----

for signal in INT TERM HUP; do
	begin "utap gets SIG$signal"
	if [ "$signal" = HUP ] && [ $((0x$(sed -n 's/^SigIgn:[[:space:]]*//p' /proc/self/status) & 1)) = 1 ]; then
		skip 'SIGHUP is ignored here (nohup)'
		end
		continue
	fi
	target "$programs/worker"
	# Not through a shell function: a background job of a script ignores SIGINT, which utap is to handle all the same.
	"$utap" record -e 'handle_request n=%si:u64' -p "$pid" -o data > stdout 2> stderr < /dev/null &
	tracer=$!
	started_pids="$started_pids $tracer"
	sleep 0.4
	kill "-$signal" "$tracer"
	wait "$tracer"
	code=$?
	expect_code 0
	grep -q '[1-9][0-9]* events, ' stderr || problem "no summary: $(cat stderr)"
	as_before
	finish
	end
done

begin 'nobody reads the output any more'
target "$programs/worker"
(timeout 20 "$utap" trace -e handle_request -p "$pid" 2> stderr; echo $? > code) | head -3 > stdout
code=$(cat code)
expect_code 0
[ "$(wc -l < stdout)" = 3 ] || problem "$(cat stdout)"
as_before
finish
end

# ---- targets that go ----

begin 'targets that exit during the attach'
codes=
for ((n = 0; n < 60; n++)); do
	rm -f fleeting.out
	"$programs/fleeting" $((RANDOM % 25000)) > fleeting.out 2> fleeting.err &
	fleeting=$!
	until [ -s fleeting.out ] || ! kill -0 $fleeting 2> /dev/null; do :; done
	run stat -q -e probed_step -e libc:malloc -d 0.05 -p "$fleeting"
	codes="$codes $code"
	case $code in 0) ;; *) expect_error '[0367]' "process $fleeting" ;; esac
	case $code in 0 | 3 | 6) ;; *) problem "exit code $code: $(cat stderr)" ;; esac
	wait $fleeting || problem "the target ended with $?: $(cat fleeting.err)"
	[ "$problems" -gt 3 ] && break
done
end

begin 'a target that exits during tracing'
target "$programs/fleeting" 1500000
run record -e 'probed_step n=%di:s64' -p "$pid" -d 20 -o data
expect_code 0
grep -q "pid $pid exited" stderr || problem "$(cat stderr)"
grep -q '[1-9][0-9]* events, ' stderr || problem "no events: $(cat stderr)"
wait "$pid" || problem "the target ended with $?"
end

begin 'a target that is killed during tracing'
target "$programs/worker"
(sleep 0.4; kill -KILL "$pid") &
run stat --json -e handle_request -p "$pid" -d 20
expect_code 0
expect_hits handle_request
grep -q "pid $pid exited" stderr || problem "$(cat stderr)"
wait "$pid" 2> /dev/null
end

begin 'a target that executes another program during tracing'
target "$programs/execer" 2 1500
run stat --json -e probed_step -p "$pid" -d 20
expect_code 0
expect_hits probed_step
grep -q "pid $pid executed .*/execer" stderr || problem "$(cat stderr)"
wait "$pid" || problem "the target ended with $?: $(cat target.err)"
grep -q EXIT-SUCCESS target.out || problem "$(cat target.out)"
end

begin 'a target that executes itself all the time'
target "$programs/execer" 60 50
codes=
for ((n = 0; n < 200; n++)); do
	kill -0 "$pid" 2> /dev/null || break
	run stat -q -e probed_step -d 0.002 -p "$pid"
	codes="$codes $code"
	# Between two programs there is an instant at which it maps nothing, or not all yet.
	case $code in 0 | 3 | 5 | 6) ;; *) problem "exit code $code: $(cat stderr)" ;; esac
	[ "$problems" -gt 3 ] && break
done
wait "$pid" || problem "the target ended with $?: $(cat target.err)"
grep -q EXIT-SUCCESS target.out || problem "$(cat target.out) after codes $codes"
case $codes in *0*) ;; *) problem "it was never probed: $codes" ;; esac
end

# ---- probes that cannot be ----

begin 'no such function'
target "$programs/worker"
run stat -e handle_reqest -d 0.1 -p "$pid"
expect_error 3 'no function handle_reqest .*did you mean handle_request'
run stat -e worker:zzzzzzzzzzzz -d 0.1 -p "$pid"
expect_error 3 'no function zzzzzzzzzzzz in worker'
run stat -e libnothing:malloc -d 0.1 -p "$pid"
expect_error 3 'maps no file libnothing'
as_before
finish
end

begin 'not the start of an instruction'
target "$programs/worker"
# The byte after the start of the first instruction that is longer than one byte.
start=$(nm "$programs/worker" | sed -n 's/^0*\([0-9a-f]*\) [Tt] handle_request$/\1/p')
inside=
while read -r at bytes; do
	[ "$(echo "$bytes" | wc -w)" -gt 2 ] && inside=$((0x$at - 0x$start + 1)) && break
done < <(objdump -d "$programs/worker" --disassemble=handle_request | sed -n 's/^ *\([0-9a-f]*\):\t\([0-9a-f ]*\)\t.*/\1 \2/p')
run stat -e "handle_request+$inside" -d 0.1 -p "$pid"
expect_error 5 'not the start of an instruction' 2
grep -q 'nearest place that can be probed is handle_request+0x' stderr || problem "no nearest place: $(cat stderr)"
run stat -e "handle_request+0x100000" -d 0.1 -p "$pid"
[ "$code" = 3 ] || [ "$code" = 5 ] || problem "exit code $code"
[ -n "$(sed -n 's/^utap: .*: *//p' stderr)" ] || problem "no reason is given: $(cat stderr)"
run stat -e "$programs/worker:0xffffff" -d 0.1 -p "$pid"
expect_error 3 'not in its code'
as_before
finish
end

# ---- files ----

begin 'damaged programs'
n=0
for keep in 0 1 16 63 64 100 500 1000 4095 4096 8000 12000; do
	head -c "$keep" "$programs/worker" > damaged
	chmod 755 damaged
	run list ./damaged
	[ "$code" -gt 0 ] && [ "$(wc -l < stderr)" != 1 ] && problem "cut at $keep: $(head -3 stderr)"
done
for ((n = 0; n < 60; n++)); do
	cp "$programs/worker" damaged
	chmod u+w damaged
	printf "\\x$(printf %x $((RANDOM % 256)))" | dd of=damaged bs=1 seek=$((RANDOM % (n < 30 ? 1024 : 20000))) conv=notrunc 2> /dev/null
	run list ./damaged 'handle*'
	case $code in 0 | 2 | 3 | 5 | 7) ;; *) problem "exit code $code: $(cat stderr)" ;; esac
done
echo text > damaged
run list ./damaged
expect_error '[27]' 'damaged'
run list .
expect_error '[237]' "\\."
end

begin 'a program that was replaced since it started'
cp "$programs/worker" prog
target ./prog
cp "$programs/forker" new
mv new prog
run stat --json -e prog:handle_request -d 0.1 -p "$pid"
if [ "$code" = 0 ]; then
	expect_hits handle_request
else
	expect_error 5 'not the file any more'
fi
as_before
finish
end

begin 'a program that was replaced since a dead utap probed it'
cp "$programs/worker" prog
target ./prog
"$utap" stat -e handle_request -e worker_hash -e worker_lookup -p "$pid" > /dev/null 2>&1 < /dev/null &
tracer=$!
for ((i = 0; i < 200; i++)); do
	grep -q memfd:utap "/proc/$pid/maps" && break
	sleep 0.02
done
sleep 0.2
kill -KILL "$tracer"
wait "$tracer" 2> /dev/null
cp "$programs/worker-nopie" new
mv new prog
run stat -e worker_hash -d 0.1 -p "$pid"
expect_error 5 "utap detach -p $pid"
run detach -p "$pid"
[ "$code" = 0 ] && as_before
[ "$code" = 0 ] || expect_error 5 'not the file any more'
finish
end

begin 'disk full while recording'
mkdir -p full
if root && mount -t tmpfs -o size=512k utap-test full 2> /dev/null; then
	target "$programs/worker"
	run record -e 'handle_request n=%si:u64' -p "$pid" -d 20 -o full/data
	expect_code 7
	grep -q 'full/data.*cannot be written.*No space left' stderr || problem "$(cat stderr)"
	as_before
	"$utap" report -i full/data > report 2>&1 || problem "what was written cannot be read: $(head -2 report)"
	grep -q handle_request report || problem "$(head report)"
	finish
	umount full
else
	skip 'mounting a small tmpfs needs root'
fi
end

begin 'output that cannot be written'
target "$programs/worker"
run trace -e handle_request -p "$pid" -d 5 -o /dev/full
expect_error 7 '/dev/full.*No space left' 3
as_before
run stat -e handle_request -p "$pid" -d 0.1 -o /dev/full
expect_error 7 '/dev/full.*No space left'
as_before
run record -e handle_request -p "$pid" -d 0.1 -o /nonexistent/data
expect_error 7 '/nonexistent/data'
as_before
finish
end

# ---- targets that resist ----

for mode in rings all; do
	begin "a target that scribbles over $mode"
	for seed in 1 2 3; do
		target "$programs/scribble" $mode $((RANDOM))
		run record -q -e 'probed_step n=%di:s64' -p "$pid" -d 0.4 -o data
		expect_code 0
		"$utap" report -i data > /dev/null 2> report.err || problem "the record cannot be read: $(cat report.err)"
		"$intact" text "$pid" > changed || problem "$(head -3 changed)"
		run stat -q -e probed_step -p "$pid" -d 0.2
		expect_code 0
		as_before files
		finish
		grep -q 'written [1-9]' target.out || problem "nothing was scribbled on"
	done
	end
done

for mode in filter strict; do
	begin "a target confined by seccomp ($mode)"
	target "$programs/confined" $mode 60
	run stat --json -e probed_step -p "$pid" -d 0.2
	if ! root; then
		expect_error 5 'seccomp.*root'
	elif [ $mode = filter ]; then
		expect_code 0
		expect_hits probed_step
		as_before
		run record -q -e 'probed_step n=%di:s64' -p "$pid" -d 0.2 -o data
		expect_code 0
	elif [ "$code" != 0 ]; then
		expect_error 5 "process $pid"
	fi
	as_before
	run record -q -e 'probed_step n=%di:s64' -p "$pid" -d 0.1 -o data
	[ $mode = filter ] || [ "$code" = 5 ] || problem "recording needs the clock, which strict mode takes away, and yet: exit code $code"
	as_before
	finish
	end
done

begin 'a target that sealed its text'
if target "$programs/sealed"; then
	run stat -e probed_step -p "$pid" -d 0.1
	expect_error 5 'sealed'
	as_before
	finish
else
	skip "$(cat target.err)"
fi
end

begin 'a target without a free descriptor'
target "$programs/nofds"
run stat -e probed_step -p "$pid" -d 0.1
expect_error 7 'no free file descriptor.*prlimit'
as_before
finish
end

begin 'a target that may not map more memory'
target "$programs/worker"
now=$(awk '/^VmSize/ { print $2 }' "/proc/$pid/status")
prlimit --pid "$pid" --as=$(((now + 512) * 1024))
run record -q -e 'handle_request n=%si:u64' -p "$pid" -d 0.1 -o data
expect_error 7 'process '"$pid"
as_before
finish
end

begin 'a target whose only thread waits uninterruptibly'
target "$programs/forker" held
run stat -e probed_step -p "$pid" -d 0.1
expect_error 5 'no thread of process '"$pid"' can be borrowed.*try again'
as_before files
for ((i = 0; i < 400; i++)); do
	grep -q released target.out && break
	sleep 0.01
done
run stat --json -e probed_step -p "$pid" -d 0.1
expect_code 0
expect_hits probed_step
as_before
finish
end

begin 'many targets at once'
pids=
for i in 1 2 3; do
	"$programs/worker" > "target$i.out" 2>&1 &
	pids="$pids $!"
	started_pids="$started_pids $!"
done
sleep 0.2
for p in $pids; do
	"$intact" save "$p" "before$p"
done
list=$(echo $pids | tr ' ' ,)
run stat --json -e handle_request -d 0.3 -p "$list"
expect_code 0
expect_hits handle_request
for p in $pids; do
	"$intact" check "$p" "before$p" all > changed || problem "$p: $(head -3 changed)"
	kill -TERM "$p"
	wait "$p" || problem "$p ended with $?"
done
[ "$(cat target?.out | grep -c EXIT-SUCCESS)" = 3 ] || problem "wrong results"
end

summary
