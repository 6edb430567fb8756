#!/bin/sh
# SPDX-License-Identifier: MIT
# All tests: units and golden files, the same under sanitizers and with clang, short fuzz runs, integration, the kernel as oracle.
# Usage: test.sh BUILD. Ends with one line "N passed, N failed, N skipped"; a skipped test says why on its own line.
set -u
build=$1
root=$(cd "$(dirname "$0")/.." && pwd)
passed=0 failed=0 skipped=0
started=$(date +%s)

count() { # a log whose lines start with PASS, FAIL or SKIP
	passed=$((passed + $(grep -c '^PASS' "$1")))
	failed=$((failed + $(grep -c '^FAIL' "$1")))
	skipped=$((skipped + $(grep -c '^SKIP' "$1")))
}

# meson's own tests of a build directory, as PASS/FAIL/SKIP lines.
meson_tests() { # NAME BUILD ARGS...
	name=$1 dir=$2
	shift 2
	log=$dir/test.log
	meson test -C "$dir" --no-rebuild --print-errorlogs "$@" > "$log" 2>&1
	sed -n -e "s,^ *[0-9]*/[0-9]* \(.*[^ ]\)  *OK  *\([0-9.]*s\).*,PASS $name \1 \2,p" \
		-e "s,^ *[0-9]*/[0-9]* \(.*[^ ]\)  *\(FAIL\|TIMEOUT\|ERROR\|INTERRUPT\)  *\([0-9.]*s\).*,FAIL $name \1 \3,p" \
		-e "s,^ *[0-9]*/[0-9]* \(.*[^ ]\)  *SKIP  *\([0-9.]*s\).*,SKIP $name \1: see its output,p" \
		"$log" > "$dir/test.results"
	if [ ! -s "$dir/test.results" ]; then
		echo "FAIL $name: no test ran" > "$dir/test.results"
		tail -30 "$log"
	fi
	cat "$dir/test.results"
	grep -q '^FAIL' "$dir/test.results" && grep -vE '^ *[0-9]+/[0-9]+ .* (OK|SKIP) ' "$log"
	count "$dir/test.results"
}

build_all() { # NAME DIR SETUP-ARGS...
	name=$1 dir=$2
	shift 2
	[ -f "$dir/build.ninja" ] || meson setup "$dir" "$root" "$@" > "$dir.log" 2>&1 || { cat "$dir.log"; return 1; }
	rm -f "$dir.log"
	ninja -C "$dir" --quiet || return 1
}

step() { printf '== %s (%d s)\n' "$1" $(($(date +%s) - started)); }

variant() { # NAME DIR SUITES SETUP-ARGS...
	name=$1 dir=$2
	shift 2
	if build_all "$name" "$dir" "$@"; then
		meson_tests "$name" "$dir" --suite unit --suite golden
	else
		echo "FAIL $name: does not build"
		failed=$((failed + 1))
	fi
}

step 'unit and golden tests, gcc'
variant gcc "$build"

step 'unit and golden tests, ASan and UBSan'
variant sanitize "$build-sanitize" -Db_sanitize=address,undefined -Db_lundef=false -Dwerror=true

step 'unit and golden tests and fuzzing, clang'
if command -v clang > /dev/null; then
	export CC=clang
	variant clang "$build-clang" -Dfuzz=true -Dwerror=true
	unset CC
	"$root/tests/fuzz/run.sh" "$build-clang" "${UTAP_FUZZ_SECONDS:-10}" > "$build/fuzz.results" 2>&1
	grep -E '^(PASS|FAIL|SKIP)' "$build/fuzz.results"
	grep -q '^FAIL' "$build/fuzz.results" && grep -v '^PASS' "$build/fuzz.results" | tail -200
	count "$build/fuzz.results"
else
	echo 'SKIP clang and fuzzing: clang is not installed'
	skipped=$((skipped + 1))
fi

step 'integration'
for runner in layers integration/run.sh oracle/run.sh suites/run.sh; do
	case $runner in
	layers) "$root/tests/layers.sh" > "$build/layers.results" 2>&1; log=$build/layers.results ;;
	*) log=$build/$(dirname $runner).results; "$root/tests/$runner" "$build" > "$log" 2>&1 ;;
	esac
	grep -E '^(PASS|FAIL|SKIP)' "$log"
	grep -q '^FAIL' "$log" && tail -80 "$log"
	grep -qE '^(PASS|FAIL|SKIP)' "$log" || { echo "FAIL $runner: printed no result"; tail -30 "$log"; failed=$((failed + 1)); }
	count "$log"
done

step done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
