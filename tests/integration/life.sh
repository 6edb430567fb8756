#!/bin/bash
# SPDX-License-Identifier: MIT
# Life cycles of targets: libraries that come and go, children, programs executed, other namespaces, tracers on both sides.
#
#   life.sh BUILD
. "$(dirname "$0")/lib.sh"

plugin=$programs/plugin.so

# behind ARGS...: utap in the background, until it is in the target; its pid in $tracer
behind()
{
	local i

	"$utap" "$@" > stdout 2> stderr < /dev/null &
	tracer=$!
	started_pids="$started_pids $tracer"
	for ((i = 0; i < 500; i++)); do
		grep -q memfd:utap "/proc/$pid/maps" 2> /dev/null && break
		kill -0 "$tracer" 2> /dev/null || break
		sleep 0.01
	done
	sleep 0.1
}

# leave: utap ends at SIGINT, with its exit code in $code
leave()
{
	kill -INT "$tracer" 2> /dev/null
	wait "$tracer"
	code=$?
	started_pids=${started_pids/ $tracer/}
}

# told PATTERN: wait until the target printed it
told()
{
	local i

	for ((i = 0; i < 1000; i++)); do
		grep -q "$1" target.out 2> /dev/null && return
		sleep 0.01
	done
	problem "the target does not say '$1': $(tail -2 target.out)"
}

expect_calls()
{
	local want got

	want=$(sed -n 's/^calls //p' target.out)
	got=$(hits "$1")
	[ "$got" = "$((want + ${2:-0}))" ] || problem "$got hits of $((want + ${2:-0})) calls: $(tail -3 stderr)"
}

is_clean()
{
	grep -q memfd:utap "/proc/$1/maps" && problem "process $1 still maps memory of utap"
	"$intact" text "$1" > changed || problem "text of $1: $(head -3 changed)"
	grep -q '^TracerPid:.0$' "/proc/$1/status" || problem "process $1 is traced"
}

# ---- libraries ----

for mode in once cycle copies fork threads; do
	begin "library loaded later: $mode"
	more=0
	[ "$mode" = fork ] && more=101 # of the child: its calls, and its destructor; what it loads then is its own
	target "$programs/loader" "$mode" "$plugin"
	behind stat --json -e "$plugin:plugin_step" -p "$pid"
	kill -USR1 "$pid"
	told calls
	leave
	expect_code 0
	expect_calls plugin_step "$more"
	grep -q 'waits until it does' stderr || problem "nothing is said of the wait: $(cat stderr)"
	is_clean "$pid"
	finish
	end
done

begin 'library loaded later: all functions'
target "$programs/loader" cycle "$plugin"
behind stat -q --json -e '*' -p "$pid"
kill -USR1 "$pid"
told calls
leave
expect_code 0
expect_calls plugin_step
is_clean "$pid"
finish
end

for level in '' -z; do # the file is written anew
	begin "library loaded later: recorded $level"
	target "$programs/loader" cycle "$plugin"
	behind record -q $level -e "$plugin:plugin_step n=%di:s64" -e 'loader:probed_*' -p "$pid" -o data
	kill -USR1 "$pid"
	told calls
	leave
	expect_code 0
	"$utap" script -i data > script 2>&1
	got=$(grep -c 'plugin_step: .*n=' script)
	[ "$got" = "$(sed -n 's/^calls //p' target.out)" ] || problem "$got records: $(head -3 script)"
	is_clean "$pid"
	finish
	end
done

begin 'library replaced by another file of its name'
cp "$plugin" a.so && cp "$programs/plugin2.so" b.so
target "$programs/loader" replace "$work/a.so" "$work/b.so"
behind stat --json -e "$work/a.so:plugin_step" -p "$pid"
kill -USR1 "$pid"
told calls
leave
expect_code 0
expect_calls 'plugin_step[_1]*'
[ "$(grep -o '"event":"plugin_step[^"]*"' stdout | sort -u | wc -l)" = 2 ] || problem "two files, two probes: $(cat stdout)"
is_clean "$pid"
finish
end

begin 'library that is none'
target "$programs/worker"
echo text > text.so
for file in "$work/text.so" "$work/no-such.so"; do
	run stat -e "$file:f" -d 0.05 -p "$pid"
	expect_error 3 'maps no file'
done
as_before
finish
end

begin 'utap killed while libraries come and go'
for delay in 0.05 0.1 0.15 0.2 0.3; do
	target "$programs/loader" cycle "$plugin"
	behind stat -e "$plugin:plugin_step" -e 'loader:*' -p "$pid"
	kill -USR1 "$pid"
	sleep "$delay"
	kill -KILL "$tracer"
	wait "$tracer" 2> /dev/null
	told calls
	run detach -p "$pid"
	expect_code 0
	is_clean "$pid"
	finish
done
end

# ---- children and programs executed ----

begin 'family followed from its start'
run stat -f --json -e family:probed_step -- "$programs/family" now
expect_code 0
sed -n 's/^\(calls .*\)/\1/p' stdout > target.out
expect_calls probed_step
end

begin 'family followed by its pid'
target "$programs/family" wait
behind stat -f --json -e probed_step -p "$pid"
kill -USR1 "$pid"
told calls
leave
expect_code 0
expect_calls probed_step
is_clean "$pid"
as_before files
finish
end

begin 'family recorded'
run record -f -e 'family:probed_step n=%di:s64' -o data -- "$programs/family" now
expect_code 0
"$utap" script -i data > script 2>&1
got=$(grep -c 'probed_step: .*n=' script)
[ "$got" = "$(sed -n 's/^calls //p' stdout)" ] || problem "$got records: $(head -3 script) $(cat stderr)"
end

begin 'programs of a shell, static ones too'
run stat -f --json -e early:probed_step -- sh -c "'$programs/early'; '$programs/early-static' & '$programs/early'; wait"
expect_code 0
[ "$(hits 'probed_step[_1]*')" = 24 ] || problem "$(hits 'probed_step[_1]*') hits, not 24: $(cat stderr)"
[ "$(grep -c EXIT-SUCCESS stdout)" = 3 ] || problem "a program did not end well: $(cat stdout)"
end

begin 'program that executes itself again and again, with two threads'
run stat -f --json -e execer:probed_step -- "$programs/execer" 10 10
expect_code 0
grep -q EXIT-SUCCESS stdout || problem "it did not end well: $(head -3 stdout)"
expect_hits probed_step 1000
end

begin 'exit status of a followed program'
run stat -f -e libc:malloc -- sh -c 'true; exit 3'
expect_code 0
grep -q 'status 3' stderr || problem "the status is not told: $(cat stderr)"
end

begin 'without -f a program executed is told and left alone'
run stat -e libc:malloc -- sh -c 'exec sleep 0.5'
expect_code 0
grep -q 'executed .*sleep.*(-f follows)' stderr || problem "$(cat stderr)"
end

# What a tracee does must not change by being followed.
for args in storm 'forker fork' 'forker vfork' 'forker spawn' churn; do
	begin "followed: $args"
	# shellcheck disable=SC2086
	target "$programs/"$args
	for i in 1 2 3; do
		run stat -f --json -e probed_step -d 0.3 -p "$pid"
		expect_code 0
		expect_hits probed_step
	done
	grep -q '^TracerPid:.0$' "/proc/$pid/status" || problem "still traced"
	as_before files
	finish
	end
done

begin 'stopped and continued while it is followed'
target "$programs/worker"
behind stat -f --json -e handle_request -p "$pid"
for i in 1 2 3; do
	kill -STOP "$pid"
	sleep 0.1
	before=$(awk '{ print $14 + $15 }' "/proc/$pid/stat")
	sleep 0.2
	[ "$(awk '{ print $14 + $15 }' "/proc/$pid/stat")" = "$before" ] || problem "it runs though it is stopped"
	kill -CONT "$pid"
	for ((j = 0; j < 200; j++)); do
		[ "$(awk '{ print $14 + $15 }' "/proc/$pid/stat")" != "$before" ] && break
		sleep 0.01
	done
	[ "$j" -lt 200 ] || problem "it does not run again"
done
kill -STOP "$pid"
leave
expect_code 0
sleep 0.05
grep -q '^State:.T (stopped)' "/proc/$pid/status" || problem "it was stopped and is $(grep State: "/proc/$pid/status")"
kill -CONT "$pid"
is_clean "$pid"
finish
end

begin 'utap -f killed: everything runs on'
for program in 'storm' 'forker fork' 'forker spawn' 'execer 40 10'; do
	for delay in 0.02 0.1 0.25; do
		# shellcheck disable=SC2086
		target "$programs/"$program
		"$utap" stat -f -e probed_step -p "$pid" > stdout 2> stderr < /dev/null &
		tracer=$!
		sleep "$delay"
		kill -KILL "$tracer"
		wait "$tracer" 2> /dev/null
		sleep 0.1
		grep -q '^TracerPid:.0$' "/proc/$pid/status" || problem "$program is traced by a dead utap"
		if [ "${program%% *}" = execer ]; then
			told EXIT-SUCCESS
			wait "$pid" || problem "$program ended with $?"
		else
			run detach -p "$pid"
			expect_code 0
			is_clean "$pid"
			finish
		fi
	done
done
end

begin 'utap -f killed while programs start'
for ((i = 1; i <= 15; i++)); do
	setsid "$utap" stat -f -e probed_step -e libc:malloc -- sh -c "for i in 1 2 3 4 5 6; do '$programs/early'; done; echo all" \
		> "out$i" 2> err < /dev/null &
	tracer=$!
	sleep "$(printf 0.%03d "$((i * 5))")"
	kill -KILL "$tracer" 2> /dev/null
	wait "$tracer" 2> /dev/null
	for ((j = 0; j < 300; j++)); do
		grep -q all "out$i" 2> /dev/null && break
		[ -s "out$i" ] || [ "$j" -lt 50 ] || break # killed before the shell began
		sleep 0.01
	done
	[ -s "out$i" ] || continue
	grep -q all "out$i" || problem "round $i: the shell did not get to its end: $(tail -2 "out$i")"
	[ "$(grep -c EXIT-SUCCESS "out$i")" = 6 ] || problem "round $i: $(grep -c EXIT-SUCCESS "out$i") of 6 programs ended well"
done
end

# ---- side by side ----

if command -v gdb > /dev/null; then
	begin 'followed: a debugger was there first'
	target "$programs/worker"
	gdb -q -batch -p "$pid" -ex 'shell sleep 2' > gdb.out 2>&1 &
	debugger=$!
	for ((i = 0; i < 300; i++)); do
		grep -q '^TracerPid:.0$' "/proc/$pid/status" || break
		sleep 0.01
	done
	run stat -f -e handle_request -d 0.1 -p "$pid"
	expect_error '[1-9]' 'already traced by pid .*gdb'
	wait "$debugger"
	as_before
	finish
	end
fi

# ---- namespaces ----

unshare_flags='--mount --pid --fork --user --map-root-user'
# shellcheck disable=SC2086
if unshare $unshare_flags true 2> /dev/null; then
	begin 'target in namespaces of its own'
	# shellcheck disable=SC2086
	unshare $unshare_flags "$programs/loader" once "$plugin" > target.out 2> target.err < /dev/null &
	outer=$!
	started_pids="$started_pids $outer"
	told '[0-9]'
	pid=$(pgrep -P "$outer")
	behind record -e "$plugin:plugin_step n=%di:s64" -p "$pid" -o data
	kill -USR1 "$pid"
	told calls
	leave
	expect_code 0
	"$utap" script -i data > script 2>&1
	[ "$(grep -c "loader-$pid .*plugin_step:" script)" = "$(sed -n 's/^calls //p' target.out)" ] ||
		problem "records: $(head -5 script) $(cat stderr)"
	is_clean "$pid"
	kill -TERM "$pid"
	wait "$outer"
	end
else
	begin 'target in namespaces of its own'
	skip 'unshare is not allowed here'
	end
fi

if [ "$(id -u)" = 0 ]; then
	begin 'target in another root, whose files are other files here'
	mkdir -p root/lib64 root/lib root/bin
	cp "$programs/loader" "$programs/early" root/bin/ && cp "$plugin" root/bin/
	for file in $(ldd "$programs/loader" | grep -o '/[^ ]*'); do
		mkdir -p "root$(dirname "$file")" && cp -L "$file" "root$file"
	done
	chroot root /bin/loader once /bin/plugin.so > target.out 2> target.err < /dev/null &
	pid=$!
	started_pids="$started_pids $pid"
	told '[0-9]'
	behind stat --json -e 'plugin_*' -e "$work/root/bin/plugin.so:plugin_step" -e libc:malloc -p "$pid"
	code=0
	kill -0 "$tracer" 2> /dev/null || { wait "$tracer"; code=$?; }
	[ "$code" = 3 ] || problem "a glob that matches nothing is taken: $code"
	behind stat --json -e "$work/root/bin/plugin.so:plugin_step" -e libc:malloc -p "$pid"
	kill -USR1 "$pid"
	told calls
	leave
	expect_code 0
	expect_calls plugin_step
	expect_hits malloc
	finish
	run stat -f --json -e early:probed_step -- chroot root /bin/early
	expect_code 0
	[ "$(hits probed_step)" = 8 ] || problem "$(hits probed_step) hits, not 8: $(cat stderr)"
	end
fi

summary
