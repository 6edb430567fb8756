#!/bin/sh
# SPDX-License-Identifier: MIT
# Show what utap does, on a real multi-threaded program that knows nothing of it. Usage: demo.sh BUILD
set -eu
build=$1
root=$(cd "$(dirname "$0")/.." && pwd)
utap=$build/utap
work=$(mktemp -d)
target=
trap '[ -z "$target" ] || kill "$target" 2> /dev/null || true; rm -rf "$work"' EXIT INT TERM

say() { printf '\n\033[1m%s\033[0m\n' "$*" | if [ -t 1 ]; then cat; else sed 's/\x1b\[[0-9]*m//g'; fi; }
run() { printf '$ %s\n' "$*"; "$@"; }
maps() { sed 's/ \[heap\]//' "/proc/$target/maps"; }

gcc -O2 -g -pthread "$root/tests/programs/worker.c" -o "$work/worker"
"$work/worker" 60 4 > "$work/worker.out" &
target=$!
while [ ! -s "$work/worker.out" ]; do sleep 0.05; done

say "A program with 5 threads is running as pid $target. Nothing about it was prepared for tracing."
grep -E '^(Name|Pid|Threads)' "/proc/$target/status"
maps > "$work/maps.before"

say "Its calls, live, with arguments (the first lines of two seconds):"
run "$utap" trace -d 2 -e 'p:handle_request worker:handle_request number=%si:s64' \
	-e 'p:malloc libc:malloc size=%di:u64' -p "$target" > "$work/trace.txt" 2> "$work/trace.err" || { cat "$work/trace.err"; exit 1; }
head -16 "$work/trace.txt"
echo "... $(grep -vc '^#' "$work/trace.txt") lines"
cat "$work/trace.err"

say "Counting, exactly, for two seconds:"
run "$utap" stat -d 2 -e handle_request -e worker_hash -e worker_lookup -e libc:malloc -e libc:free -p "$target"

say "What a hit costs the program (rate of requests without and with counters on two of its functions):"
"$root/scripts/cost.sh" "$utap" "$work"

say "Recording to perf.data, and what perf makes of it:"
run "$utap" record -d 1 -o perf.data -e 'worker:handle_request number=%si:s64' -e 'libc:malloc size=%di:u64' -p "$target"
if command -v perf > /dev/null && perf --version > /dev/null 2>&1; then
	printf '$ perf script -i perf.data | head\n'
	perf script -i perf.data 2> /dev/null | head -8 || true
else
	printf '(perf is not installed; utap reads it too)\n$ utap script -i perf.data | head\n'
	"$utap" script -i perf.data | head -12 || true
fi

say "The program's text and mappings, compared with what they were:"
maps > "$work/maps.after"
if diff "$work/maps.before" "$work/maps.after" > "$work/maps.diff"; then
	echo "mappings: as before"
else
	echo "mappings differ:"
	cat "$work/maps.diff"
fi
run "$utap" detach -p "$target"

say "And the program itself, which checked all its results meanwhile:"
kill -TERM "$target"
wait "$target" || true
target=
tail -4 "$work/worker.out"
say "perf.data stays here: try 'perf report -i perf.data' or '$utap report -i perf.data'."
