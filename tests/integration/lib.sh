# SPDX-License-Identifier: MIT
# For the integration tests: starting a target program, running utap on it, and saying what is wrong. A script sources this with the build
# directory as its argument, and then makes tests of the form
#
#     begin NAME; target PROGRAM ARGS...; utap stat -e ...; ...; finish; end
#
# Each prints one line PASS NAME, FAIL NAME or SKIP NAME: reason; details of a failure precede it.
# shellcheck shell=bash
set -u

build=$(realpath "${1:?build directory}")
utap=$build/utap
programs=$build/tests/programs
stress=$build/tests/stress
intact=$stress/intact
who=
[ "$(id -u)" = 0 ] || who=' (user)'
work=$(mktemp -d "${TMPDIR:-/tmp}/utap-test.XXXXXX")
passed=0 failed=0 skipped=0
name= problems=0 skipped_why= pid= started_pids=
cd "$work" || exit 2

# Only what was started here is stopped.
tidy()
{
	local p

	for p in $started_pids; do
		kill -KILL "$p" 2> /dev/null
	done
	cd / && rm -rf "$work"
}
trap tidy EXIT

begin()
{
	name=$1$who problems=0 skipped_why=
	rm -rf "${work:?}"/*
}

problem()
{
	echo "    $name: $*"
	problems=$((problems + 1))
}

skip() { skipped_why=$1; }

end()
{
	if [ "$problems" -gt 0 ]; then
		echo "FAIL $name"
		failed=$((failed + 1))
	elif [ -n "$skipped_why" ]; then
		echo "SKIP $name: $skipped_why"
		skipped=$((skipped + 1))
	else
		echo "PASS $name"
		passed=$((passed + 1))
	fi
}

# At the end of a script: its exit status.
summary() { [ "$failed" = 0 ]; }

# target PROGRAM ARGS...: start it, wait for its pid, remember its state. 1: it ended at once (then $target_code).
target()
{
	local i

	"$@" > target.out 2> target.err < /dev/null &
	pid=$! target_code=
	started_pids="$started_pids $pid"
	for ((i = 0; i < 500; i++)); do
		[ -s target.out ] && break
		if ! kill -0 "$pid" 2> /dev/null; then
			wait "$pid"
			target_code=$?
			[ -s target.out ] && break
			return 1
		fi
		sleep 0.01
	done
	sleep 0.05 # its threads and their heaps
	"$intact" save "$pid" before
}

# run ARGS...: utap, with its exit code in $code, texts in the files stdout and stderr
run()
{
	timeout -k 5 60 "$utap" "$@" > stdout 2> stderr < /dev/null
	code=$?
	[ "$code" -lt 124 ] || problem "utap $*: ended by signal or timeout ($code): $(head -3 stderr)"
}

# shellcheck disable=SC2053 # a pattern
expect_code() { [[ $code == $1 ]] || problem "exit code $code, want $1: $(head -2 stderr)"; }

# A failure is one sentence on stderr that says this, and the exit code is that.
expect_error()
{
	expect_code "$1"
	grep -q -E -e "$2" stderr || problem "stderr does not say '$2': $(head -3 stderr)"
	[ "$(grep -c '^utap: ' stderr)" -le "${3:-1}" ] || problem "not one sentence: $(cat stderr)"
}

# Hits of the events that a pattern matches, in the JSON of `utap stat --json`; nothing when there is none.
hits()
{
	tr '}' '\n' < stdout | sed -n -e 's/.*"event":"\('"$1"'\)".*"hits":\([0-9]*\).*/\2/p' |
		awk '{ sum += $1 } END { if (NR) printf "%d", sum }'
}
expect_hits() { [ "$(hits "$1")" -gt "${2:-0}" ] 2> /dev/null || problem "$1 was hit '$(hits "$1")' times: $(head -c 300 stderr)"; }

# as_before [all|files]: mappings, text, descriptors of the target
as_before() { "$intact" check "$pid" before "${1:-all}" > changed || problem "not as before: $(head -5 changed)"; }

# finish: the target ends on SIGTERM, with correct results
finish()
{
	local i got

	kill -CONT "$pid" 2> /dev/null
	kill -TERM "$pid" 2> /dev/null
	for ((i = 0; i < 1000; i++)); do
		kill -0 "$pid" 2> /dev/null || break
		sleep 0.01
	done
	[ "$i" -lt 1000 ] || { problem "the target does not end"; kill -KILL "$pid"; }
	wait "$pid" 2> /dev/null
	got=$?
	started_pids=${started_pids/ $pid/}
	[ "$got" = 0 ] && grep -q EXIT-SUCCESS target.out || problem "the target ended with $got: $(head -3 target.err)"
}
