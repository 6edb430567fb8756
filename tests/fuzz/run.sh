#!/bin/sh
# SPDX-License-Identifier: MIT
# Run each fuzz target for a while. Usage: run.sh BUILD SECONDS; a crash leaves its input in BUILD/fuzz-crashes/.
# Always the same way, so that what fails here fails for everybody; UTAP_FUZZ_SEED=0 takes a new way each time: for campaigns.
set -u
build=$1 seconds=$2
root=$(cd "$(dirname "$0")/../.." && pwd)
bad=0
mkdir -p "$build/fuzz-crashes" "$build/fuzz-corpus"
for target in "$build"/tests/fuzz/fuzz_*; do
	[ -f "$target" ] && [ -x "$target" ] || continue
	name=$(basename "$target")
	seeds=$root/tests/fuzz/corpus/${name#fuzz_}
	mkdir -p "$build/fuzz-corpus/$name"
	[ -d "$seeds" ] || seeds=
	log=$build/fuzz-corpus/$name.log
	# shellcheck disable=SC2086
	if "$target" -max_total_time="$seconds" -seed="${UTAP_FUZZ_SEED:-1}" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
		-artifact_prefix="$build/fuzz-crashes/$name-" "$build/fuzz-corpus/$name" $seeds > "$log" 2>&1; then
		echo "PASS fuzz $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") runs in $seconds s"
	else
		echo "FAIL fuzz $name"
		grep -vE '^#[0-9]' "$log" | tail -40
		crash=$(sed -n 's/.*Test unit written to //p' "$log" | tail -1)
		[ ! -f "$crash" ] || { echo "the input, gzip and base64:"; gzip -9c "$crash" | base64 | head -400; }
		bad=1
	fi
done
exit $bad
