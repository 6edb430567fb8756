#!/bin/bash
# SPDX-License-Identifier: MIT
# All integration and stress tests, as root where we are root, and as an ordinary user. A line PASS, FAIL or SKIP for each, and at the end how
# many there were.
#
#   run.sh BUILD
set -u
here=$(cd "$(dirname "$0")" && pwd)
build=$(realpath "${1:?build directory}")
log=$(mktemp)
copy=
trap 'rm -rf "$log" "$copy"' EXIT

# The command line alone: one script with its own way of counting.
command_line()
{
	local out

	if out=$("$here/cli.sh" "$1/utap" 2>&1); then
		echo "PASS command line: $out"
	else
		echo "$out"
		echo "FAIL command line"
	fi
}

all()
{
	"$2/integration/targets.sh" "$1"
	"$2/integration/life.sh" "$1"
	"$2/integration/traps.sh" "$1"
	"$2/integration/recorder.sh" "$1"
	"$2/integration/returns.sh" "$1"
	"$2/integration/badinput.sh" "$1"
	"$2/integration/formats.sh" "$1"
	"$2/integration/files.sh" "$1"
	"$2/integration/classes.sh" "$1"
	"$2/integration/beside.sh" "$1"
	"$2/integration/sources.sh" "$1"
	"$2/integration/limits.sh" "$1"
	"$2/integration/top.sh" "$1"
	"$2/integration/ends.sh" "$1"
	"$2/stress/stress.sh" "$1"
	"$2/stress/storm.sh" "$1"
}

run()
{
	command_line "$build"
	all "$build" "$here/.."
	"$here/languages.sh" "$build"
	"$here/dwarf.sh" "$build"
	"$here/stacks.sh" "$build"
	"$here/stacks_tables.sh" "$build"
	[ "$(id -u)" = 0 ] || return
	if ! command -v setpriv > /dev/null; then
		echo "SKIP everything as an ordinary user: setpriv is not installed"
		return
	fi
	# A copy that he can read, wherever we are; his files go into it, too.
	copy=$(mktemp -d /tmp/utap-user.XXXXXX)
	mkdir -p "$copy/build/tests" "$copy/tests" "$copy/tmp"
	cp "$build/utap" "$copy/build/"
	for dir in programs stress; do
		mkdir "$copy/build/tests/$dir"
		find "$build/tests/$dir" -maxdepth 1 -type f -executable -exec cp {} "$copy/build/tests/$dir/" \;
	done
	cp -r "$here" "$here/../stress" "$here/../programs" "$copy/tests/"
	chmod -R a+rX "$copy"
	chmod 1777 "$copy/tmp"
	(
		cd /
		export HOME="$copy/tmp" TMPDIR="$copy/tmp"
		export -f all
		setpriv --reuid=65534 --regid=65534 --clear-groups bash -c "all '$copy/build' '$copy/tests'"
	)
}

run 2>&1 | tee "$log"
passed=$(grep -c '^PASS' "$log")
failed=$(grep -c '^FAIL' "$log")
skipped=$(grep -c '^SKIP' "$log")
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
