#!/bin/bash
# SPDX-License-Identifier: MIT
# However a run ends, the probes are out and a sentence says why: by signals that would kill, by limits of files and of memory, by readers that go
# away, by somebody else's hand; and what the exit status says.
#
#   ends.sh BUILD
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/integration/lib.sh
. "$here/lib.sh"

# tracing ARGS..: utap in the background; $tracer once the probes are in
tracing()
{
	local i

	: > stderr
	"$utap" "$@" -v > stdout 2> stderr < /dev/null &
	tracer=$!
	started_pids="$started_pids $tracer"
	for ((i = 0; i < 500; i++)); do
		grep -q 'probed in' stderr && return
		kill -0 "$tracer" 2> /dev/null || break
		sleep 0.02
	done
	problem "utap $* does not begin: $(head -3 stderr)"
}

# ended: wait for it; $code
ended()
{
	local i

	for ((i = 0; i < 500; i++)); do
		kill -0 "$tracer" 2> /dev/null || break
		sleep 0.02
	done
	[ "$i" -lt 500 ] || { problem "utap does not end"; kill -KILL "$tracer"; }
	wait "$tracer" 2> /dev/null
	code=$?
	started_pids=${started_pids/ $tracer/}
}

begin "SIGQUIT takes the probes out"
target "$programs/storm"
tracing record -o data -e probed_step -p "$pid"
kill -QUIT "$tracer"
ended
expect_code 0
as_before
finish
end

for signal in USR1 USR2 ALRM XFSZ; do
	begin "SIG$signal ends nothing"
	target "$programs/storm"
	tracing record -o data -e probed_step -p "$pid"
	kill "-$signal" "$tracer"
	sleep 0.3
	kill -0 "$tracer" 2> /dev/null || problem "utap is gone"
	kill -INT "$tracer"
	ended
	expect_code 0
	[[ $signal != USR* ]] || grep -q "SIG$signal does nothing here" stderr || problem "nothing is said: $(cat stderr)"
	as_before
	finish
	end
done

begin 'a limit of the size of files is told'
target "$programs/storm"
(ulimit -f 2000; exec "$utap" record -o data -e probed_step -p "$pid") > stdout 2> stderr < /dev/null
code=$?
expect_error 7 'ulimit -f'
as_before
finish
end

begin 'a reader that goes away is no error'
run record -q -o data -e probed_step -d 0.2 -- "$programs/storm"
for how in '' --graph --latency --json; do
	# shellcheck disable=SC2086
	(sleep 0.2; exec "$utap" report $how -i data) 2> stderr | true
	code=${PIPESTATUS[0]}
	expect_code 0
	[ -s stderr ] && problem "report $how: $(cat stderr)"
done
run report -i data
expect_code 0
[ -s stdout ] || problem "no report"
end

begin 'exit status where something may not be read'
if [ "$(id -u)" = 0 ]; then
	if ! command -v setpriv > /dev/null; then
		skip 'setpriv is not installed'
	else
		chmod 755 .
		target "$programs/storm"
		cp "$utap" ./own && echo secret > data && chmod 600 data
		for command in "probe -F -p $pid" 'script -i data' 'report -i data'; do
			# shellcheck disable=SC2086
			setpriv --reuid 65534 --regid 65534 --clear-groups ./own $command > stdout 2> stderr < /dev/null
			code=$?
			expect_error 4 'Permission denied'
		done
		finish
	fi
else
	echo secret > data && chmod 0 data
	run script -i data
	expect_error 4 'Permission denied'
	run probe -F -p 1
	expect_error 4 'Permission denied'
fi
end

begin 'probes that somebody else took out'
target "$programs/storm"
tracing record -o data -e probed_step -p "$pid"
run_stderr=$(mktemp -p .)
"$utap" detach --force -p "$pid" > "$run_stderr" 2>&1 || problem "detach --force: $(cat "$run_stderr")"
ended
grep -q "somebody took the probes out of pid $pid" stderr || problem "said: $(cat stderr)"
grep -q executed stderr && problem "nothing was executed: $(cat stderr)"
as_before
finish
end

# What a program may map is the program's: utap takes no more of it than it needs.
for kind in cfi raw; do
	begin "address space that is limited, --stack=$kind"
	# shellcheck disable=SC2016 # for the other shell
	target bash -c 'ulimit -v 400000; exec "$0"' "$programs/thrifty"
	tracing record -o data --stack=$kind -e probed_step -p "$pid"
	kill -USR1 "$pid"
	for ((i = 0; i < 200; i++)); do
		grep -q -e got -e memory target.out && break
		sleep 0.02
	done
	grep -q got target.out || problem "the program has no memory: $(grep VmSize "/proc/$pid/status")"
	grep -q 'not followed' stderr || problem "nothing is said: $(cat stderr)"
	kill -INT "$tracer"
	ended
	expect_code 0
	"$utap" script -i data > script 2>&1
	grep -q '=> probed_step' script || problem "no stacks: $(head -8 script)"
	as_before
	finish

	# shellcheck disable=SC2016
	target bash -c 'ulimit -v 400000; exec "$@"' x "$programs/loader" cycle "$programs/plugin.so"
	tracing record -o data --stack=$kind -e libc:rename -e libc:write -p "$pid"
	kill -USR1 "$pid"
	sleep 0.5
	kill -INT "$tracer"
	ended
	expect_code 0
	grep -q '^calls ' target.out || problem 'the libraries were not loaded'
	finish
	end
done

summary
