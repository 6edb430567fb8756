#!/bin/sh
# SPDX-License-Identifier: MIT
# What one hit costs, on a function called in a tight loop: without utap, counted, recorded with two arguments.
# Usage: cost.sh UTAP WORKDIR
set -eu
utap=$1 work=$2
root=$(cd "$(dirname "$0")/.." && pwd)

gcc -O2 "$root/tests/programs/hot.c" -o "$work/hot"
"$work/hot" 30 > "$work/hot.out" &
hot=$!
trap 'kill $hot 2> /dev/null || true' EXIT
sleep 0.7

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
during() { # the median of the lines printed while the rest of the arguments ran
	before=$(wc -l < "$work/hot.out")
	"$@" > /dev/null 2>> "$work/cost.err" || { cat "$work/cost.err"; exit 1; }
	sed -n "$((before + 3)),\$p" "$work/hot.out" | sed '$d' | median
}

plain=$(during sleep 0.8)
counted=$(during "$utap" stat -d 1 -e hot_call -p $hot)
recorded=$(during "$utap" record -o "$work/cost.data" -d 1 -e 'hot:hot_call a=%di b=%si' -p $hot)
sleep 0.4
after=$(during sleep 0.6)
awk -v p="$plain" -v c="$counted" -v r="$recorded" -v a="$after" 'BEGIN {
	printf "  a call alone:                             %6.1f ns\n", p
	printf "  counted:                                  %6.1f ns   (+%.1f ns a hit)\n", c, c - p
	printf "  recorded with time, tid, two arguments:   %6.1f ns   (+%.1f ns a hit)\n", r, r - p
	printf "  after detaching:                          %6.1f ns\n", a
}'
